//! Endpoints: nodes: their state, tasks, network, options, backups.

pub mod about;
pub mod apt;
pub mod hardware;
pub mod journal;
pub mod network;
pub mod options;
pub mod outside;
pub mod services;
pub mod tasks;
pub mod vzdump;

use crate::sim::api::cluster;
use crate::sim::params::{cluster::backup, node as params};
use crate::sim::request::{Check, Endpoint, Route};
use crate::sim::task::Effect;
use crate::sim::verify::Param;

const AUDIT: Check = Check::All("/nodes/{node}", &["Sys.Audit"]);
const SYSLOG: Check = Check::All("/nodes/{node}", &["Sys.Syslog"]);
const SCAN: Check = Check::All("/storage", &["Datastore.Allocate"]);
const MODIFY: Check = Check::All("/nodes/{node}", &["Sys.Modify"]);

const fn get(path: &'static str, params: &'static [&'static [Param]], check: Check, run: Endpoint) -> Route {
    Route { method: "GET", path, params, check, run }
}

const fn put(path: &'static str, params: &'static [&'static [Param]], check: Check, run: Endpoint) -> Route {
    Route { method: "PUT", path, params, check, run }
}

const fn post(path: &'static str, params: &'static [&'static [Param]], check: Check, run: Endpoint) -> Route {
    Route { method: "POST", path, params, check, run }
}

const fn delete(path: &'static str, params: &'static [&'static [Param]], check: Check, run: Endpoint) -> Route {
    Route { method: "DELETE", path, params, check, run }
}

/// The endpoints.
pub const ROUTES: &[Route] = &[
    get("/nodes", &[], Check::User, about::list),
    get("/nodes/{node}", &[], Check::User, about::index),
    get("/nodes/{node}/version", &[], Check::User, cluster::version),
    get("/nodes/{node}/status", &[], AUDIT, about::status),
    post("/nodes/{node}/status", &[params::COMMAND], Check::All("/nodes/{node}", &["Sys.PowerMgmt"]), about::command),
    get("/nodes/{node}/time", &[], AUDIT, services::time),
    put("/nodes/{node}/time", &[params::TIME], MODIFY, services::put_time),
    get("/nodes/{node}/rrddata", &[params::RRD], AUDIT, about::rrd),
    get("/nodes/{node}/subscription", &[], Check::User, about::subscription),
    get("/nodes/{node}/services", &[], AUDIT, services::list),
    get("/nodes/{node}/services/{service}/state", &[params::SERVICE], AUDIT, services::state),
    post("/nodes/{node}/services/{service}/start", &[params::SERVICE], MODIFY, |c, a| services::command(c, a, "start")),
    post("/nodes/{node}/services/{service}/stop", &[params::SERVICE], MODIFY, |c, a| services::command(c, a, "stop")),
    post("/nodes/{node}/services/{service}/restart", &[params::SERVICE], MODIFY, |c, a| {
        services::command(c, a, "restart")
    }),
    post("/nodes/{node}/services/{service}/reload", &[params::SERVICE], MODIFY, |c, a| {
        services::command(c, a, "reload")
    }),
    get("/nodes/{node}/netstat", &[], AUDIT, about::nothing),
    get("/nodes/{node}/aplinfo", &[], Check::User, outside::appliances),
    post("/nodes/{node}/aplinfo", &[params::APPLIANCE], Check::User, outside::download),
    get("/nodes/{node}/query-url-metadata", &[params::URL], Check::User, outside::url_metadata),
    get("/nodes/{node}/scan", &[], Check::User, outside::index),
    get("/nodes/{node}/scan/nfs", &[params::SCAN_SERVER], SCAN, outside::nfs),
    get("/nodes/{node}/scan/lvm", &[], SCAN, outside::lvm),
    get("/nodes/{node}/scan/lvmthin", &[params::SCAN_GROUP], SCAN, outside::lvmthin),
    get("/nodes/{node}/scan/zfs", &[], SCAN, outside::zfs),
    get("/nodes/{node}/certificates/info", &[], Check::User, hardware::certificates),
    get("/nodes/{node}/disks/list", &[params::DISKS], AUDIT, hardware::disks),
    get("/nodes/{node}/disks/lvmthin", &[], Check::All("/", &["Sys.Audit"]), hardware::thin_pools),
    get("/nodes/{node}/hardware/pci", &[params::PCI], Check::Any("/", &["Sys.Audit", "Sys.Modify"]), hardware::pci),
    get("/nodes/{node}/capabilities", &[], Check::User, hardware::capabilities),
    get("/nodes/{node}/capabilities/qemu/cpu", &[params::ARCH], Check::User, hardware::cpus),
    get("/nodes/{node}/capabilities/qemu/machines", &[params::ARCH], Check::User, hardware::machines),
    get("/nodes/{node}/syslog", &[params::SYSLOG], SYSLOG, journal::syslog),
    get("/nodes/{node}/journal", &[params::JOURNAL], SYSLOG, journal::journal),
    get("/nodes/{node}/apt", &[], Check::User, apt::index),
    get("/nodes/{node}/apt/update", &[], MODIFY, apt::updates),
    post("/nodes/{node}/apt/update", &[params::APT_UPDATE], MODIFY, apt::refresh),
    get("/nodes/{node}/apt/versions", &[], AUDIT, apt::versions),
    get("/nodes/{node}/apt/changelog", &[params::CHANGELOG], MODIFY, apt::changelog),
    get("/nodes/{node}/apt/repositories", &[], AUDIT, apt::repositories),
    post("/nodes/{node}/apt/repositories", &[params::REPOSITORY], MODIFY, apt::set_repository),
    put("/nodes/{node}/apt/repositories", &[params::REPOSITORY_NEW], MODIFY, apt::add_repository),
    get("/nodes/{node}/tasks", &[params::TASKS], Check::User, tasks::list),
    get("/nodes/{node}/tasks/{upid}", &[], Check::User, tasks::index),
    delete("/nodes/{node}/tasks/{upid}", &[], Check::User, tasks::stop),
    get("/nodes/{node}/tasks/{upid}/status", &[], Check::User, tasks::status),
    get("/nodes/{node}/tasks/{upid}/log", &[params::TASK_LOG], Check::User, tasks::log),
    get("/nodes/{node}/network", &[params::NETWORK_LIST], Check::User, network::list),
    post("/nodes/{node}/network", &[params::INTERFACE], MODIFY, network::create),
    put("/nodes/{node}/network", &[params::NETWORK_RELOAD], MODIFY, network::reload),
    delete("/nodes/{node}/network", &[], MODIFY, network::revert),
    get("/nodes/{node}/network/{iface}", &[], AUDIT, network::get),
    put("/nodes/{node}/network/{iface}", &[params::INTERFACE, params::INTERFACE_DELETE], MODIFY, network::update),
    delete("/nodes/{node}/network/{iface}", &[], MODIFY, network::delete),
    get("/nodes/{node}/dns", &[], AUDIT, options::dns),
    put("/nodes/{node}/dns", &[params::DNS], MODIFY, options::put_dns),
    get("/nodes/{node}/hosts", &[], AUDIT, options::hosts),
    get("/nodes/{node}/config", &[params::CONFIG_GET], Check::All("/", &["Sys.Audit"]), options::config),
    put("/nodes/{node}/config", &[params::CONFIG], Check::All("/", &["Sys.Modify"]), options::put_config),
    post("/nodes/{node}/vzdump", &[backup::VZDUMP, backup::RUN], Check::User, vzdump::start),
    get("/nodes/{node}/vzdump/defaults", &[backup::DEFAULTS], Check::User, vzdump::defaults),
    get("/nodes/{node}/vzdump/extractconfig", &[backup::EXTRACT], Check::User, vzdump::extract_config),
];

/// What its tasks do.
pub const EFFECTS: &[Effect] = &[
    Effect { name: "node.power", run: about::power },
    Effect { name: "node.boot", run: about::booted },
    Effect { name: "node.apt.update", run: apt::refreshed },
    Effect { name: "node.service", run: services::commanded },
    Effect { name: "node.network", run: network::apply },
    Effect { name: "node.vzdump", run: vzdump::run },
];
