//! Endpoints of virtual machines.

pub(in crate::sim) mod agent;
mod change;
mod clone;
mod cloudinit;
mod config;
mod create;
mod disk;
mod permit;
mod power;
mod snapshot;
mod view;

pub use clone::migrated;
pub use power::{turn_off, turn_on};
pub use view::can_snapshot;

use crate::sim::params::qemu as p;
use crate::sim::request::{Check, Endpoint, Route};
use crate::sim::task::Effect;
use crate::sim::verify::Param;

const AUDIT: Check = Check::All("/vms/{vmid}", &["VM.Audit"]);
const POWER: Check = Check::All("/vms/{vmid}", &["VM.PowerMgmt"]);
const DISK: Check = Check::All("/vms/{vmid}", &["VM.Config.Disk"]);
const SNAPSHOT: Check = Check::All("/vms/{vmid}", &["VM.Snapshot"]);
const ALLOCATE: Check = Check::All("/vms/{vmid}", &["VM.Allocate"]);
const AGENT: Check = Check::Any("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]);
const FREEZE: Check = Check::Any("/vms/{vmid}", &["VM.GuestAgent.FileSystemMgmt", "VM.GuestAgent.Unrestricted"]);
const CONFIG: Check = Check::Any(
    "/vms/{vmid}",
    &[
        "VM.Config.Disk",
        "VM.Config.CDROM",
        "VM.Config.CPU",
        "VM.Config.Memory",
        "VM.Config.Network",
        "VM.Config.HWType",
        "VM.Config.Options",
        "VM.Config.Cloudinit",
    ],
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
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/vncproxy",
        &[p::VNC],
        Check::All("/vms/{vmid}", &["VM.Console"]),
        view::vncproxy,
    ),
    route("GET", "/nodes/{node}/qemu", &[p::LIST], Check::User, view::list),
    route("POST", "/nodes/{node}/qemu", &[p::CREATE, p::CONFIG], Check::User, create::create),
    route("GET", "/nodes/{node}/qemu/{vmid}", &[], Check::User, view::index),
    route("DELETE", "/nodes/{node}/qemu/{vmid}", &[p::DESTROY], ALLOCATE, create::destroy),
    route("GET", "/nodes/{node}/qemu/{vmid}/config", &[p::READ], AUDIT, config::read),
    route("PUT", "/nodes/{node}/qemu/{vmid}/config", &[p::UPDATE, p::CONFIG], CONFIG, change::update),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/config",
        &[p::UPDATE, p::UPDATE_ASYNC, p::CONFIG],
        CONFIG,
        change::update_async,
    ),
    route("GET", "/nodes/{node}/qemu/{vmid}/pending", &[], AUDIT, config::pending),
    route("GET", "/nodes/{node}/qemu/{vmid}/cloudinit", &[], AUDIT, cloudinit::options),
    route("PUT", "/nodes/{node}/qemu/{vmid}/cloudinit", &[], CONFIG, cloudinit::rebuild),
    route("GET", "/nodes/{node}/qemu/{vmid}/cloudinit/dump", &[p::CLOUDINIT_DUMP], AUDIT, cloudinit::dump),
    route("PUT", "/nodes/{node}/qemu/{vmid}/unlink", &[p::UNLINK], DISK, change::unlink),
    route("PUT", "/nodes/{node}/qemu/{vmid}/resize", &[p::RESIZE], DISK, disk::resize),
    route("POST", "/nodes/{node}/qemu/{vmid}/move_disk", &[p::MOVE], DISK, disk::move_disk),
    route("POST", "/nodes/{node}/qemu/{vmid}/template", &[p::TEMPLATE], ALLOCATE, clone::template),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/clone",
        &[p::CLONE],
        Check::All("/vms/{vmid}", &["VM.Clone"]),
        clone::clone,
    ),
    route(
        "GET",
        "/nodes/{node}/qemu/{vmid}/migrate",
        &[p::MIGRATE_CHECK],
        Check::All("/vms/{vmid}", &["VM.Migrate"]),
        clone::migrate_check,
    ),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/migrate",
        &[p::MIGRATE],
        Check::All("/vms/{vmid}", &["VM.Migrate"]),
        clone::migrate,
    ),
    route("GET", "/nodes/{node}/qemu/{vmid}/feature", &[p::FEATURE], AUDIT, view::feature),
    route("GET", "/nodes/{node}/qemu/{vmid}/rrddata", &[p::RRD], AUDIT, view::rrddata),
    route("GET", "/nodes/{node}/qemu/{vmid}/status", &[], Check::User, view::status_index),
    route("GET", "/nodes/{node}/qemu/{vmid}/status/current", &[], AUDIT, view::current),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/start", &[p::START], POWER, power::start),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/stop", &[p::STOP], POWER, power::stop),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/shutdown", &[p::SHUTDOWN], POWER, power::shutdown),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/reboot", &[p::REBOOT], POWER, power::reboot),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/reset", &[p::RESET], POWER, power::reset),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/suspend", &[p::SUSPEND], POWER, power::suspend),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/resume", &[p::RESUME], POWER, power::resume),
    route("GET", "/nodes/{node}/qemu/{vmid}/snapshot", &[], AUDIT, snapshot::list),
    route("POST", "/nodes/{node}/qemu/{vmid}/snapshot", &[p::SNAPSHOT], SNAPSHOT, snapshot::create),
    route("GET", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}", &[], Check::User, snapshot::index),
    route("DELETE", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}", &[p::SNAPSHOT_DELETE], SNAPSHOT, snapshot::delete),
    route(
        "GET",
        "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/config",
        &[],
        Check::Any("/vms/{vmid}", &["VM.Snapshot", "VM.Snapshot.Rollback", "VM.Audit"]),
        snapshot::config,
    ),
    route(
        "PUT",
        "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/config",
        &[p::SNAPSHOT_CONFIG],
        SNAPSHOT,
        snapshot::set_config,
    ),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/rollback",
        &[p::ROLLBACK],
        Check::Any("/vms/{vmid}", &["VM.Snapshot", "VM.Snapshot.Rollback"]),
        snapshot::rollback,
    ),
    route("POST", "/nodes/{node}/qemu/{vmid}/monitor", &[p::MONITOR], Check::User, view::monitor),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/ping", &[], AGENT, agent::ping),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces", &[], AGENT, agent::interfaces),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-osinfo", &[], AGENT, agent::os_info),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-host-name", &[], AGENT, agent::host_name),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/info", &[], AGENT, agent::about),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-time", &[], AGENT, agent::time),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-timezone", &[], AGENT, agent::timezone),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-users", &[], AGENT, agent::users),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-vcpus", &[], AGENT, agent::vcpus),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-fsinfo", &[], AGENT, agent::file_systems),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/fsfreeze-freeze", &[], FREEZE, |c, a| agent::freeze(c, a, true)),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/fsfreeze-thaw", &[], FREEZE, |c, a| agent::freeze(c, a, false)),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/fsfreeze-status", &[], FREEZE, agent::frozen),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/fstrim", &[], FREEZE, agent::trim),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/agent/exec",
        &[p::EXEC],
        Check::All("/vms/{vmid}", &["VM.GuestAgent.Unrestricted"]),
        agent::exec,
    ),
    route(
        "GET",
        "/nodes/{node}/qemu/{vmid}/agent/exec-status",
        &[p::EXEC_STATUS],
        Check::All("/vms/{vmid}", &["VM.GuestAgent.Unrestricted"]),
        agent::exec_status,
    ),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/file-read", &[p::FILE_READ], AGENT, agent::file_read),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/file-write", &[p::FILE_WRITE], AGENT, agent::file_write),
];

/// What its tasks do.
pub const EFFECTS: &[Effect] = &[
    Effect { name: "qemu.fail", run: power::fail },
    Effect { name: "qemu.create", run: create::create_effect },
    Effect { name: "qemu.restore", run: create::restore_effect },
    Effect { name: "qemu.destroy", run: create::destroy_effect },
    Effect { name: "qemu.power", run: power::power_effect },
    Effect { name: "qemu.resize", run: disk::resize_effect },
    Effect { name: "qemu.move", run: disk::move_effect },
    Effect { name: "qemu.clone", run: clone::clone_effect },
    Effect { name: "qemu.template", run: clone::template_effect },
    Effect { name: "qemu.migrate", run: clone::migrate_effect },
];

use crate::base::quantity::Bytes;
use crate::sim::world::{Guest, GuestType, World};

/// Whether a key is a disk slot.
fn is_disk(key: &str) -> bool {
    p::DISKS.contains(&key)
}

/// The volumes that a configuration names, by key; CD-ROMs that are not cloud-init's are left out.
pub fn drives(config: &std::collections::BTreeMap<String, String>) -> Vec<(String, String)> {
    p::DISKS
        .iter()
        .filter_map(|k| config.get(*k).map(|v| ((*k).to_owned(), v.clone())))
        .filter(|(_, v)| !v.contains("media=cdrom") || v.contains("-cloudinit"))
        .collect()
}

/// Discs in a machine's drives.
fn discs(config: &std::collections::BTreeMap<String, String>) -> Vec<(String, String)> {
    let slots = p::DISKS.iter().filter_map(|k| config.get(*k).map(|v| ((*k).to_owned(), v.clone())));
    slots.filter(|(_, v)| v.contains("media=cdrom") && !v.contains("-cloudinit")).collect()
}

/// The volumes on a machine's drives.
pub fn volumes(config: &std::collections::BTreeMap<String, String>) -> Vec<String> {
    drives(config).iter().map(|(_, text)| file_of(text).to_owned()).collect()
}

/// The volume id of a drive's text.
pub fn file_of(text: &str) -> &str {
    let first = text.split(',').next().unwrap_or_default();
    first.strip_prefix("file=").or_else(|| first.strip_prefix("volume=")).unwrap_or(first)
}

/// Gives the volumes of a machine's drives the sizes that its configuration says, as a rollback does.
pub fn sizes_of_config(world: &mut World, node: &str, vmid: u32) {
    let Some(guest) = world.guests.get(&vmid) else { return };
    for (_, text) in drives(&guest.config) {
        let size = text.split(',').find_map(|p| p.strip_prefix("size=")).and_then(Bytes::parse);
        if let (Some(volume), Some(size)) = (world.volume_mut(file_of(&text), node), size) {
            volume.size = size.0;
        }
    }
}

/// A virtual machine for a task's effect, or the words with which the task fails.
fn machine<'w>(world: &'w mut World, node: &str, vmid: u32) -> Result<&'w mut Guest, String> {
    match world.guests.get_mut(&vmid) {
        Some(g) if g.node == node && g.guest_type == GuestType::Qemu => Ok(g),
        _ => Err(format!("Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist")),
    }
}

/// Refuses a guest that carries a lock.
fn unlocked(guest: &Guest) -> Result<(), String> {
    match guest.config.get("lock") {
        Some(lock) => Err(format!("VM is locked ({lock})")),
        None => Ok(()),
    }
}

/// `node` and `vmid` as a task's effect is told.
fn told(told: &serde_json::Value) -> (String, u32) {
    let node = told["node"].as_str().unwrap_or_default().to_owned();
    (node, told["vmid"].as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or(0))
}

/// Runs the fallible inside of an effect.
fn ended(result: Result<(), String>) -> crate::sim::task::End {
    match result {
        Ok(()) => crate::sim::task::End::Ok,
        Err(text) => crate::sim::task::End::Failed(text.trim_end().to_owned()),
    }
}
