//! Parameters: actions on many guests.

use crate::sim::params::{self, VMID};
use crate::sim::verify::{Kind, Param, between, format, opt, req};

/// What every action takes.
pub const GUESTS: &[Param] =
    &[opt("max-workers", between(1, 64)), opt("maxworkers", between(1, 64)), opt("vms", Kind::Each(&VMID))];
/// A start.
pub const START: &[Param] = &[opt("timeout", Kind::Int(None, None))];
/// A shutdown.
pub const SHUTDOWN: &[Param] = &[opt("force-stop", Kind::Bool), opt("timeout", Kind::Int(None, None))];
/// A suspension.
pub const SUSPEND: &[Param] = &[opt("statestorage", format(params::storage_id)), opt("to-disk", Kind::Bool)];
/// A migration.
pub const MIGRATE: &[Param] =
    &[opt("online", Kind::Bool), req("target", format(params::node)), opt("with-local-disks", Kind::Bool)];
