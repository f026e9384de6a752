//! Folders of the tree of paths that only say what is in them.

use crate::sim::request::{Check, Endpoint, Refusal, Route};
use serde_json::{Value, json};

const fn folder(path: &'static str, check: Check, run: Endpoint) -> Route {
    Route { method: "GET", path, params: &[], check, run }
}

fn names(key: &str, names: &[&str]) -> Result<Value, Refusal> {
    Ok(names.iter().map(|n| json!({ key: n })).collect())
}

const AUDIT: Check = Check::All("/", &["Sys.Audit"]);
const NODE: Check = Check::All("/nodes/{node}", &["Sys.Audit"]);

/// The endpoints.
pub const ROUTES: &[Route] = &[
    folder("/cluster", Check::User, |_, _| {
        let first = ["log", "options", "resources", "status", "tasks", "nextid"];
        let rest = ["acme", "backup", "backup-info", "bulk-action", "ceph", "config", "firewall", "ha", "jobs"];
        let last = ["mapping", "metrics", "notifications", "replication", "sdn"];
        names("name", &[&first[..], &rest[..], &last[..]].concat())
    }),
    folder("/cluster/metrics", Check::User, |_, _| names("name", &["server", "export"])),
    folder("/cluster/backup-info", Check::User, |_, _| names("subdir", &["not-backed-up"])),
    folder("/cluster/config", AUDIT, |_, _| names("name", &["nodes", "totem", "join", "qdevice", "apiversion"])),
    folder("/cluster/ha", AUDIT, |_, _| names("id", &["status", "resources", "rules", "groups"])),
    folder("/cluster/ha/status", Check::User, |_, _| names("name", &["current", "manager_status"])),
    folder("/cluster/jobs", Check::User, |_, _| names("subdir", &["schedule-analyze", "realm-sync"])),
    folder("/cluster/bulk-action", Check::User, |_, _| names("name", &["guest"])),
    folder("/cluster/bulk-action/guest", Check::User, |_, _| {
        names("name", &["start", "shutdown", "suspend", "migrate"])
    }),
    folder("/nodes/{node}/hardware", Check::User, |_, _| names("type", &["pci", "usb"])),
    folder("/nodes/{node}/capabilities/qemu", Check::User, |_, _| {
        names("name", &["cpu", "cpu-flags", "machines", "migration"])
    }),
    folder("/nodes/{node}/disks", Check::User, |_, _| {
        names("name", &["list", "initgpt", "smart", "lvm", "lvmthin", "directory", "wipedisk", "zfs"])
    }),
    folder("/nodes/{node}/certificates", Check::User, |_, _| names("name", &["acme", "custom", "info"])),
    folder("/nodes/{node}/sdn", Check::User, |_, _| names("name", &["fabrics", "vnets", "zones"])),
    folder("/nodes/{node}/services/{service}", NODE, |_, _| {
        names("subdir", &["state", "start", "stop", "restart", "reload"])
    }),
    folder("/nodes/{node}/lxc/{vmid}/status", Check::User, |_, _| {
        names("subdir", &["current", "start", "stop", "shutdown", "migrate"])
    }),
];
