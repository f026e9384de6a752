//! Endpoints: containers.

pub mod clone;
pub mod config;
pub mod create;
pub mod disk;
pub mod migrate;
pub mod permit;
pub mod power;
pub mod snapshot;
pub mod view;

use crate::sim::params::{lxc as p, node};
use crate::sim::request::{Check, Endpoint, Route};
use crate::sim::task::Effect;
use crate::sim::verify::Param;

const AUDIT: Check = Check::All("/vms/{vmid}", &["VM.Audit"]);
const POWER: Check = Check::All("/vms/{vmid}", &["VM.PowerMgmt"]);
const DISK: Check = Check::All("/vms/{vmid}", &["VM.Config.Disk"]);
const SNAPSHOT: Check = Check::All("/vms/{vmid}", &["VM.Snapshot"]);
const ROLLBACK: Check = Check::Any("/vms/{vmid}", &["VM.Snapshot", "VM.Snapshot.Rollback"]);
const ALLOCATE: Check = Check::All("/vms/{vmid}", &["VM.Allocate"]);
const CONFIG: Check = Check::Any(
    "/vms/{vmid}",
    &["VM.Config.Disk", "VM.Config.CPU", "VM.Config.Memory", "VM.Config.Network", "VM.Config.Options"],
);

const fn route(
    method: &'static str,
    path: &'static str,
    params: &'static [&'static [Param]],
    check: Check,
    run: Endpoint,
) -> Route {
    Route { method, path, params, check, run }
}

/// The endpoints.
pub const ROUTES: &[Route] = &[
    route("GET", "/nodes/{node}/lxc", &[], Check::User, view::list),
    route("POST", "/nodes/{node}/lxc", &[p::CREATE, p::CONFIG], Check::User, create::create),
    route("GET", "/nodes/{node}/lxc/{vmid}", &[], Check::User, view::index),
    route("DELETE", "/nodes/{node}/lxc/{vmid}", &[p::DESTROY], ALLOCATE, create::destroy),
    route("GET", "/nodes/{node}/lxc/{vmid}/config", &[p::READ], AUDIT, config::read),
    route("PUT", "/nodes/{node}/lxc/{vmid}/config", &[p::UPDATE, p::CONFIG], CONFIG, config::update),
    route("GET", "/nodes/{node}/lxc/{vmid}/pending", &[], AUDIT, config::pending),
    route("GET", "/nodes/{node}/lxc/{vmid}/status/current", &[], AUDIT, view::current),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/start", &[p::START], POWER, power::start),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/stop", &[p::STOP], POWER, power::stop),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/shutdown", &[p::SHUTDOWN], POWER, power::shutdown),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/reboot", &[p::REBOOT], POWER, power::reboot),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/suspend", &[], POWER, power::suspend),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/resume", &[], POWER, power::resume),
    route("GET", "/nodes/{node}/lxc/{vmid}/interfaces", &[], AUDIT, view::interfaces),
    route("GET", "/nodes/{node}/lxc/{vmid}/rrddata", &[node::RRD], AUDIT, crate::sim::api::node::about::rrd),
    route("GET", "/nodes/{node}/lxc/{vmid}/feature", &[p::FEATURE], AUDIT, view::feature),
    route("GET", "/nodes/{node}/lxc/{vmid}/snapshot", &[], AUDIT, snapshot::list),
    route("POST", "/nodes/{node}/lxc/{vmid}/snapshot", &[p::SNAPSHOT], SNAPSHOT, snapshot::take),
    route("DELETE", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}", &[p::SNAPSHOT_DELETE], SNAPSHOT, snapshot::delete),
    route("GET", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config", &[], ROLLBACK, snapshot::config),
    route(
        "PUT",
        "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config",
        &[p::SNAPSHOT_CONFIG],
        SNAPSHOT,
        snapshot::put_config,
    ),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/rollback",
        &[p::ROLLBACK],
        ROLLBACK,
        snapshot::rollback,
    ),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/clone",
        &[p::CLONE],
        Check::All("/vms/{vmid}", &["VM.Clone"]),
        clone::clone,
    ),
    route("POST", "/nodes/{node}/lxc/{vmid}/template", &[], ALLOCATE, clone::template),
    route("PUT", "/nodes/{node}/lxc/{vmid}/resize", &[p::RESIZE], DISK, disk::resize),
    route("POST", "/nodes/{node}/lxc/{vmid}/move_volume", &[p::MOVE], DISK, disk::move_volume),
    route(
        "GET",
        "/nodes/{node}/lxc/{vmid}/migrate",
        &[p::MIGRATE_CHECK],
        Check::All("/vms/{vmid}", &["VM.Migrate"]),
        migrate::check,
    ),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/migrate",
        &[p::MIGRATE],
        Check::All("/vms/{vmid}", &["VM.Migrate"]),
        migrate::migrate,
    ),
];

/// What its tasks do.
pub const EFFECTS: &[Effect] = &[
    Effect { name: "lxc.create", run: create::created },
    Effect { name: "lxc.destroy", run: create::destroyed },
    Effect { name: "lxc.power", run: power::changed },
    Effect { name: "lxc.clone", run: clone::cloned },
    Effect { name: "lxc.resize", run: disk::resized },
    Effect { name: "lxc.move", run: disk::moved },
    Effect { name: "lxc.migrate", run: migrate::migrated },
];
