//! Parameters: the firewall of the cluster, of nodes, of guests.

use crate::sim::params::{self, node};
use crate::sim::verify::{Kind, Param, at_least, between, format, opt, req};

const LEVEL: Kind = Kind::Enum(&["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"]);
const POLICY: Kind = Kind::Enum(&["ACCEPT", "REJECT", "DROP"]);
const DIGEST: Param = opt("digest", Kind::Len(0, 64));
const DELETE: Param = opt("delete", Kind::List(params::config_id));

/// Options of the cluster.
pub const CLUSTER_OPTIONS: &[Param] = &[
    opt("ebtables", Kind::Bool),
    opt("enable", at_least(0)),
    opt(
        "log_ratelimit",
        Kind::Props("", &[opt("burst", at_least(0)), opt("enable", Kind::Bool), opt("rate", Kind::Str)]),
    ),
    opt("policy_forward", Kind::Enum(&["ACCEPT", "DROP"])),
    opt("policy_in", POLICY),
    opt("policy_out", POLICY),
    DELETE,
    DIGEST,
];

/// Options of a guest.
pub const GUEST_OPTIONS: &[Param] = &[
    opt("dhcp", Kind::Bool),
    opt("enable", Kind::Bool),
    opt("ipfilter", Kind::Bool),
    opt("log_level_in", LEVEL),
    opt("log_level_out", LEVEL),
    opt("macfilter", Kind::Bool),
    opt("ndp", Kind::Bool),
    opt("policy_in", POLICY),
    opt("policy_out", POLICY),
    opt("radv", Kind::Bool),
    DELETE,
    DIGEST,
];

/// Options of a node.
pub const NODE_OPTIONS: &[Param] = &[
    opt("enable", Kind::Bool),
    opt("log_level_forward", LEVEL),
    opt("log_level_in", LEVEL),
    opt("log_level_out", LEVEL),
    opt("log_nf_conntrack", Kind::Bool),
    opt("ndp", Kind::Bool),
    opt("nf_conntrack_allow_invalid", Kind::Bool),
    opt("nf_conntrack_helpers", Kind::Str),
    opt("nf_conntrack_max", at_least(32768)),
    opt("nf_conntrack_tcp_timeout_established", at_least(7875)),
    opt("nf_conntrack_tcp_timeout_syn_recv", between(30, 60)),
    opt("nftables", Kind::Bool),
    opt("nosmurfs", Kind::Bool),
    opt("protection_synflood", Kind::Bool),
    opt("protection_synflood_burst", Kind::Int(None, None)),
    opt("protection_synflood_rate", Kind::Int(None, None)),
    opt("smurf_log_level", LEVEL),
    opt("tcp_flags_log_level", LEVEL),
    opt("tcpflags", Kind::Bool),
    DELETE,
    DIGEST,
];

/// A rule's fields beyond its type and action.
pub const RULE: &[Param] = &[
    opt("comment", Kind::Str),
    opt("dest", Kind::Len(0, 512)),
    DIGEST,
    opt("dport", format(ports)),
    opt("enable", at_least(0)),
    opt("icmp-type", Kind::Str),
    opt("iface", Kind::Format(params::iface, 20)),
    opt("log", LEVEL),
    opt("macro", Kind::Len(0, 128)),
    opt("proto", Kind::Str),
    opt("source", Kind::Len(0, 512)),
    opt("sport", format(ports)),
];

const TYPES: Kind = Kind::Enum(&["in", "out", "forward", "group"]);

/// A new rule.
pub const RULE_NEW: &[Param] = &[req("action", Kind::Pattern(action, 20)), req("type", TYPES), opt("pos", at_least(0))];

/// A changed rule.
pub const RULE_CHANGE: &[Param] =
    &[opt("action", Kind::Pattern(action, 20)), opt("type", TYPES), opt("moveto", at_least(0)), DELETE];

/// A removed rule.
pub const RULE_DELETE: &[Param] = &[DIGEST];

/// A new alias.
pub const ALIAS_NEW: &[Param] =
    &[req("name", Kind::Pattern(name, 64)), req("cidr", format(node::ip_or_cidr)), opt("comment", Kind::Str)];

/// A changed alias.
pub const ALIAS_CHANGE: &[Param] =
    &[req("cidr", format(node::ip_or_cidr)), opt("comment", Kind::Str), DIGEST, opt("rename", Kind::Pattern(name, 64))];

/// A new ipset (or one renamed).
pub const IPSET_NEW: &[Param] =
    &[req("name", Kind::Pattern(name, 64)), opt("comment", Kind::Str), DIGEST, opt("rename", Kind::Pattern(name, 64))];

/// A removed ipset.
pub const IPSET_DELETE: &[Param] = &[opt("force", Kind::Bool)];

/// A new entry of an ipset.
pub const ENTRY_NEW: &[Param] =
    &[req("cidr", format(address_or_alias)), opt("comment", Kind::Str), opt("nomatch", Kind::Bool)];

/// A changed entry.
pub const ENTRY_CHANGE: &[Param] = &[opt("comment", Kind::Str), DIGEST, opt("nomatch", Kind::Bool)];

/// A new security group (or one renamed).
pub const GROUP_NEW: &[Param] = &[
    req("group", Kind::Pattern(group, 18)),
    opt("comment", Kind::Str),
    DIGEST,
    opt("rename", Kind::Pattern(group, 18)),
];

/// `GET …/refs`.
pub const REFS: &[Param] = &[opt("type", Kind::Enum(&["alias", "ipset"]))];

/// `GET …/log`.
pub const LOG: &[Param] =
    &[opt("limit", at_least(0)), opt("since", at_least(0)), opt("start", at_least(0)), opt("until", at_least(0))];

fn name(text: &str) -> bool {
    text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

fn group(text: &str) -> bool {
    name(text)
}

fn action(text: &str) -> bool {
    name(text)
}

fn ports(text: &str) -> Result<(), String> {
    for part in text.split([',', ':']).map(str::trim) {
        let numeric = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let fine = match numeric {
            true => part.parse::<u32>().is_ok_and(|n| n <= 65535),
            false => !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)),
        };
        if !fine {
            return Err(format!("invalid port '{part}'\n"));
        }
    }
    Ok(())
}

fn address_or_alias(text: &str) -> Result<(), String> {
    let bare = text.strip_prefix("dc/").or_else(|| text.strip_prefix("guest/")).unwrap_or(text);
    if name(bare) { Ok(()) } else { node::ip_or_cidr(text) }
}
