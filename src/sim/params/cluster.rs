//! Parameters: cluster.

pub mod acme;
pub mod backup;
pub mod bulk;
pub mod firewall;
pub mod ha;
pub mod mapping;
pub mod metrics;
pub mod notifications;
pub mod replication;
pub mod sdn;

use crate::sim::params::{self, VMID};
use crate::sim::verify::{Kind, Param, at_least, format, opt};

/// `GET /cluster/resources`.
pub const RESOURCES: &[Param] = &[opt("type", Kind::Enum(&["vm", "storage", "node", "sdn"]))];

/// `GET /cluster/nextid`.
pub const NEXT_ID: &[Param] = &[opt("vmid", VMID)];

/// `GET /cluster/log`.
pub const LOG: &[Param] = &[opt("max", at_least(1))];

const ACTIONS: &[&str] = &["auto", "always", "never"];
const NETWORK_TYPE: &[Param] = &[opt("type", Kind::Enum(&["secure", "insecure"])), opt("network", Kind::Str)];

/// `PUT /cluster/options`.
pub const OPTIONS: &[Param] = &[
    opt(
        "bwlimit",
        Kind::Props(
            "",
            &[
                opt("clone", Kind::Num(Some(0.0), None)),
                opt("default", Kind::Num(Some(0.0), None)),
                opt("migration", Kind::Num(Some(0.0), None)),
                opt("move", Kind::Num(Some(0.0), None)),
                opt("restore", Kind::Num(Some(0.0), None)),
            ],
        ),
    ),
    opt("consent-text", Kind::Len(0, 65536)),
    opt("console", Kind::Enum(&["applet", "vv", "html5", "xtermjs"])),
    opt(
        "crs",
        Kind::Props(
            "",
            &[opt("ha", Kind::Enum(&["basic", "static", "dynamic"])), opt("ha-rebalance-on-start", Kind::Bool)],
        ),
    ),
    opt("delete", Kind::List(params::config_id)),
    opt("description", Kind::Len(0, 65536)),
    opt("email_from", Kind::Str),
    opt("fencing", Kind::Enum(&["watchdog", "hardware", "both"])),
    opt(
        "ha",
        Kind::Props("", &[opt("shutdown_policy", Kind::Enum(&["freeze", "failover", "conditional", "migrate"]))]),
    ),
    opt("http_proxy", Kind::Str),
    opt("keyboard", Kind::Str),
    opt("language", Kind::Str),
    opt("mac_prefix", format(mac_prefix)),
    opt("max_workers", at_least(1)),
    opt("migration", Kind::Props("type", NETWORK_TYPE)),
    opt("migration_unsecure", Kind::Bool),
    opt(
        "next-id",
        Kind::Props("", &[opt("lower", at_least(100)), opt("upper", Kind::Int(Some(100), Some(1_000_000_000)))]),
    ),
    opt(
        "notify",
        Kind::Props(
            "",
            &[
                opt("fencing", Kind::Enum(ACTIONS)),
                opt("package-updates", Kind::Enum(ACTIONS)),
                opt("replication", Kind::Enum(ACTIONS)),
                opt("target-fencing", Kind::Str),
                opt("target-package-updates", Kind::Str),
                opt("target-replication", Kind::Str),
            ],
        ),
    ),
    opt("registered-tags", Kind::Str),
    opt("replication", Kind::Props("type", NETWORK_TYPE)),
    opt(
        "tag-style",
        Kind::Props(
            "",
            &[
                opt("case-sensitive", Kind::Bool),
                opt("color-map", Kind::Str),
                opt("ordering", Kind::Enum(&["config", "alphabetical"])),
                opt("shape", Kind::Enum(&["full", "circle", "dense", "none"])),
            ],
        ),
    ),
    opt("u2f", Kind::Str),
    opt(
        "user-tag-access",
        Kind::Props(
            "",
            &[opt("user-allow", Kind::Enum(&["none", "list", "existing", "free"])), opt("user-allow-list", Kind::Str)],
        ),
    ),
    opt("webauthn", Kind::Str),
];

fn mac_prefix(text: &str) -> Result<(), String> {
    let octets: Vec<&str> = text.split(':').collect();
    let hex = |o: &&str| o.len() == 2 && o.bytes().all(|b| b.is_ascii_hexdigit());
    match (1..=5).contains(&octets.len()) && octets.iter().all(hex) {
        true => Ok(()),
        false => Err("value is not a valid unicast MAC address prefix\n".to_owned()),
    }
}
