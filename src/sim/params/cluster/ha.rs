//! Parameters: high availability.

use crate::sim::params;
use crate::sim::verify::{Kind, Param, at_least, opt, req};

const STATE: Kind = Kind::Enum(&["started", "stopped", "enabled", "disabled", "ignored"]);

/// `GET /cluster/ha/resources`.
pub const LIST: &[Param] = &[opt("type", Kind::Enum(&["ct", "vm"]))];

/// A resource's options.
pub const RESOURCE: &[Param] = &[
    opt("comment", Kind::Len(0, 4096)),
    opt("failback", Kind::Bool),
    opt("group", Kind::Str),
    opt("max_relocate", at_least(0)),
    opt("max_restart", at_least(0)),
    opt("state", STATE),
];

/// A new resource.
pub const RESOURCE_NEW: &[Param] = &[req("sid", Kind::Str), opt("type", Kind::Enum(&["ct", "vm"]))];

/// A changed object.
pub const CHANGE: &[Param] = &[opt("delete", Kind::List(params::config_id)), opt("digest", Kind::Len(0, 64))];

/// A removed resource.
pub const RESOURCE_DELETE: &[Param] = &[opt("purge", Kind::Bool)];

/// `GET /cluster/ha/rules`.
pub const RULES: &[Param] =
    &[opt("resource", Kind::Str), opt("type", Kind::Enum(&["node-affinity", "resource-affinity"]))];

/// A rule's options.
pub const RULE: &[Param] = &[
    opt("affinity", Kind::Enum(&["positive", "negative"])),
    opt("comment", Kind::Len(0, 4096)),
    opt("disable", Kind::Bool),
    opt("nodes", Kind::Str),
    opt("resources", Kind::Str),
    opt("strict", Kind::Bool),
];

/// What every write of a rule names.
pub const RULE_TYPE: &[Param] = &[req("type", Kind::Enum(&["node-affinity", "resource-affinity"]))];

/// A new rule.
pub const RULE_NEW: &[Param] = &[req("rule", Kind::Str)];

/// The groups that are gone.
pub const GROUP: &[Param] = &[
    req("group", Kind::Str),
    req("nodes", Kind::Str),
    opt("comment", Kind::Str),
    opt("nofailback", Kind::Bool),
    opt("restricted", Kind::Bool),
    opt("type", Kind::Str),
];
