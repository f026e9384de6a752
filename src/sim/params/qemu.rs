//! Parameters of virtual machines.

mod config;
mod drive;
mod net;

pub use config::CONFIG;
pub use drive::{DISKS, DRIVE, resize_size};
pub use net::{MODELS, NET, mac};

use crate::sim::params::*;
use crate::sim::verify::{Kind, Param, at_least, between, format, opt, req};

const CONFIG_ID: Kind = Kind::Format(config_id, 40);
const STORAGE: Kind = format(storage_id);
const DIGEST: Param = opt("digest", Kind::Len(0, 40));
const SKIPLOCK: Param = opt("skiplock", Kind::Bool);

/// Only when creating.
pub const CREATE: &[Param] = &[
    req("vmid", VMID),
    opt("archive", Kind::Len(0, 255)),
    opt("bwlimit", at_least(0)),
    opt("force", Kind::Bool),
    opt("ha-managed", Kind::Bool),
    opt("import-working-storage", STORAGE),
    opt("live-restore", Kind::Bool),
    opt("pool", Kind::Str),
    opt("start", Kind::Bool),
    opt("storage", STORAGE),
    opt("unique", Kind::Bool),
];
/// Only when updating.
pub const UPDATE: &[Param] = &[
    opt("delete", Kind::List(config_id)),
    opt("revert", Kind::List(config_id)),
    opt("force", Kind::Bool),
    SKIPLOCK,
    DIGEST,
];
/// Only when updating by POST.
pub const UPDATE_ASYNC: &[Param] = &[opt("background_delay", between(1, 30)), opt("import-working-storage", STORAGE)];
/// Reading the configuration.
pub const READ: &[Param] = &[opt("current", Kind::Bool), opt("snapshot", CONFIG_ID)];
/// Cloning.
pub const CLONE: &[Param] = &[
    req("newid", VMID),
    opt("bwlimit", at_least(0)),
    opt("description", Kind::Str),
    opt("format", Kind::Enum(&["raw", "qcow2", "vmdk"])),
    opt("full", Kind::Bool),
    opt("name", format(dns_name)),
    opt("pool", Kind::Str),
    opt("snapname", CONFIG_ID),
    opt("storage", STORAGE),
    opt("target", format(node)),
];
/// Deleting.
pub const DESTROY: &[Param] = &[opt("destroy-unreferenced-disks", Kind::Bool), opt("purge", Kind::Bool), SKIPLOCK];
/// Starting.
pub const START: &[Param] = &[
    SKIPLOCK,
    opt("timeout", at_least(0)),
    opt("force-cpu", Kind::Str),
    opt("machine", Kind::Str),
    opt("migratedfrom", format(node)),
    opt("migration_network", Kind::Str),
    opt("migration_type", Kind::Enum(&["secure", "insecure"])),
    opt("stateuri", Kind::Len(0, 128)),
    opt("targetstorage", Kind::Str),
];
/// Stopping, shutting down, rebooting, resetting, pausing, resuming.
pub const STOP: &[Param] = &[
    SKIPLOCK,
    opt("timeout", at_least(0)),
    opt("keepActive", Kind::Bool),
    opt("migratedfrom", format(node)),
    opt("overrule-shutdown", Kind::Bool),
];
/// Shutting down.
pub const SHUTDOWN: &[Param] =
    &[SKIPLOCK, opt("timeout", at_least(0)), opt("keepActive", Kind::Bool), opt("forceStop", Kind::Bool)];
/// Rebooting.
pub const REBOOT: &[Param] = &[opt("timeout", at_least(0))];
/// Resetting.
pub const RESET: &[Param] = &[SKIPLOCK];
/// Pausing.
pub const SUSPEND: &[Param] = &[SKIPLOCK, opt("todisk", Kind::Bool), opt("statestorage", STORAGE)];
/// Resuming.
pub const RESUME: &[Param] = &[SKIPLOCK, opt("nocheck", Kind::Bool)];
/// Growing a disk.
pub const RESIZE: &[Param] =
    &[req("disk", Kind::Enum(DISKS)), req("size", Kind::Pattern(resize_size, usize::MAX)), SKIPLOCK, DIGEST];
/// Moving a disk.
pub const MOVE: &[Param] = &[
    req("disk", Kind::Enum(DISKS)),
    opt("storage", STORAGE),
    opt("format", Kind::Enum(&["raw", "qcow2", "vmdk"])),
    opt("delete", Kind::Bool),
    opt("bwlimit", at_least(0)),
    opt("target-vmid", VMID),
    opt("target-disk", Kind::Enum(DISKS)),
    opt("target-digest", Kind::Len(0, 40)),
    DIGEST,
];
/// Migrating.
pub const MIGRATE: &[Param] = &[
    req("target", format(node)),
    opt("bwlimit", at_least(0)),
    opt("force", Kind::Bool),
    opt("migration_network", Kind::Str),
    opt("migration_type", Kind::Enum(&["secure", "insecure"])),
    opt("online", Kind::Bool),
    opt("targetstorage", Kind::Str),
    opt("with-conntrack-state", Kind::Bool),
    opt("with-local-disks", Kind::Bool),
];
/// Asking about a migration.
pub const MIGRATE_CHECK: &[Param] = &[opt("target", format(node))];
/// Unlinking disks.
pub const UNLINK: &[Param] = &[req("idlist", Kind::List(config_id)), opt("force", Kind::Bool)];
/// Turning into a template.
pub const TEMPLATE: &[Param] = &[opt("disk", Kind::Enum(DISKS))];
/// Taking a snapshot.
pub const SNAPSHOT: &[Param] = &[req("snapname", CONFIG_ID), opt("description", Kind::Str), opt("vmstate", Kind::Bool)];
/// Deleting a snapshot.
pub const SNAPSHOT_DELETE: &[Param] = &[opt("force", Kind::Bool)];
/// Changing a snapshot.
pub const SNAPSHOT_CONFIG: &[Param] = &[opt("description", Kind::Str)];
/// Rolling back.
pub const ROLLBACK: &[Param] = &[opt("start", Kind::Bool)];
/// Asking for a feature.
pub const FEATURE: &[Param] = &[req("feature", Kind::Enum(&["snapshot", "clone", "copy"])), opt("snapname", CONFIG_ID)];
/// Listing.
pub const LIST: &[Param] = &[opt("full", Kind::Bool)];
/// Running a command by the agent.
pub const EXEC: &[Param] = &[req("command", Kind::Each(&Kind::Str)), opt("input-data", Kind::Len(0, 65536))];
/// Asking for a command's end.
pub const EXEC_STATUS: &[Param] = &[req("pid", at_least(0))];
/// Reading a file by the agent.
pub const FILE_READ: &[Param] = &[req("file", Kind::Str)];
/// Writing a file by the agent.
pub const FILE_WRITE: &[Param] = &[req("file", Kind::Str), req("content", Kind::Str), opt("encode", Kind::Bool)];
/// A cloud-init dump.
pub const CLOUDINIT_DUMP: &[Param] = &[req("type", Kind::Enum(&["user", "network", "meta"]))];
/// A time frame of statistics.
pub const RRD: &[Param] = &[
    req("timeframe", Kind::Enum(&["hour", "day", "week", "month", "year", "decade"])),
    opt("cf", Kind::Enum(&["AVERAGE", "MAX"])),
];
/// A console.
pub const VNC: &[Param] = &[opt("websocket", Kind::Bool), opt("generate-password", Kind::Bool)];
/// The monitor.
pub const MONITOR: &[Param] = &[req("command", Kind::Str)];
