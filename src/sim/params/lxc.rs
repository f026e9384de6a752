//! Parameters: containers.

use crate::sim::params::{self, VMID, node, pool};
use crate::sim::verify::{Kind, Param, at_least, between, check_props, format, many, opt, req};

/// A network interface.
pub const NET: &[Param] = &[
    opt("bridge", Kind::Pattern(word, usize::MAX)),
    opt("firewall", Kind::Bool),
    opt("gw", format(node::ipv4)),
    opt("gw6", format(gateway6)),
    opt("host-managed", Kind::Bool),
    opt("hwaddr", format(mac)),
    opt("ip", format(ipv4_config)),
    opt("ip6", format(ipv6_config)),
    opt("link_down", Kind::Bool),
    opt("mtu", between(64, 65535)),
    req("name", Kind::Pattern(word, usize::MAX)),
    opt("rate", Kind::Num(None, None)),
    opt("tag", between(1, 4094)),
    opt("trunks", Kind::Pattern(trunks, usize::MAX)),
    opt("type", Kind::Enum(&["veth"])),
];

/// The root disk.
pub const ROOTFS: &[Param] = &[
    opt("acl", Kind::Bool),
    opt("mountoptions", Kind::Pattern(mount_options, usize::MAX)),
    opt("quota", Kind::Bool),
    opt("replicate", Kind::Bool),
    opt("ro", Kind::Bool),
    opt("shared", Kind::Bool),
    opt("size", format(disk_size)),
    req("volume", Kind::Str),
];

/// A mount point.
pub const MOUNT: &[Param] = &[
    opt("acl", Kind::Bool),
    opt("backup", Kind::Bool),
    opt("keepattrs", Kind::Bool),
    opt("mountoptions", Kind::Pattern(mount_options, usize::MAX)),
    req("mp", Kind::Str),
    opt("quota", Kind::Bool),
    opt("replicate", Kind::Bool),
    opt("ro", Kind::Bool),
    opt("shared", Kind::Bool),
    opt("size", format(disk_size)),
    req("volume", Kind::Str),
];

const DEV: &[Param] = &[
    opt("deny-write", Kind::Bool),
    opt("gid", at_least(0)),
    opt("mode", Kind::Str),
    opt("path", Kind::Str),
    opt("uid", at_least(0)),
];

const FEATURES: &[Param] = &[
    opt("force_rw_sys", Kind::Bool),
    opt("fuse", Kind::Bool),
    opt("keyctl", Kind::Bool),
    opt("mknod", Kind::Bool),
    opt("mount", Kind::Str),
    opt("nesting", Kind::Bool),
];

/// A container's configuration.
pub const CONFIG: &[Param] = &[
    opt("arch", Kind::Enum(&["amd64", "i386", "arm64", "armhf", "riscv32", "riscv64"])),
    opt("cmode", Kind::Enum(&["shell", "console", "tty"])),
    opt("console", Kind::Bool),
    opt("cores", between(1, 8192)),
    opt("cpulimit", Kind::Num(Some(0.0), Some(8192.0))),
    opt("cpuunits", between(0, 500_000)),
    opt("debug", Kind::Bool),
    opt("description", Kind::Len(0, 8192)),
    many("dev", 256, Kind::Props("path", DEV)),
    opt("entrypoint", Kind::Str),
    opt("env", Kind::Str),
    opt("features", Kind::Props("", FEATURES)),
    opt("hookscript", format(params::volume_id)),
    opt("hostname", Kind::Format(params::dns_name, 255)),
    opt(
        "lock",
        Kind::Enum(&[
            "backup",
            "create",
            "destroyed",
            "disk",
            "fstrim",
            "migrate",
            "mounted",
            "rollback",
            "snapshot",
            "snapshot-delete",
        ]),
    ),
    opt("memory", at_least(16)),
    many("mp", 256, Kind::Props("volume", MOUNT)),
    opt("nameserver", Kind::List(name_server)),
    many("net", 32, Kind::Props("", NET)),
    opt("onboot", Kind::Bool),
    opt(
        "ostype",
        Kind::Enum(&[
            "debian",
            "devuan",
            "ubuntu",
            "centos",
            "fedora",
            "opensuse",
            "archlinux",
            "alpine",
            "gentoo",
            "nixos",
            "unmanaged",
        ]),
    ),
    opt("protection", Kind::Bool),
    opt("rootfs", Kind::Props("volume", ROOTFS)),
    opt("searchdomain", Kind::List(params::dns_name)),
    opt("startup", format(startup)),
    opt("swap", at_least(0)),
    opt("tags", Kind::List(params::tag)),
    opt("template", Kind::Bool),
    opt("timezone", Kind::Str),
    opt("tty", between(0, 6)),
    opt("unprivileged", Kind::Bool),
    many("unused", 256, Kind::Props("volume", &[req("volume", format(params::volume_id))])),
];

/// `POST /nodes/{node}/lxc` besides the configuration.
pub const CREATE: &[Param] = &[
    req("vmid", VMID),
    opt("bwlimit", Kind::Num(Some(0.0), None)),
    opt("force", Kind::Bool),
    opt("ha-managed", Kind::Bool),
    opt("ignore-unpack-errors", Kind::Bool),
    req("ostemplate", Kind::Len(0, 255)),
    opt("password", Kind::Len(5, usize::MAX)),
    pool::OF_GUEST,
    opt("restore", Kind::Bool),
    opt("ssh-public-keys", Kind::Str),
    opt("start", Kind::Bool),
    opt("storage", format(params::storage_id)),
    opt("unique", Kind::Bool),
];

/// `PUT …/config` besides the configuration.
pub const UPDATE: &[Param] = &[
    opt("delete", Kind::List(params::config_id)),
    opt("digest", Kind::Len(0, 40)),
    opt("revert", Kind::List(params::config_id)),
];

/// `GET …/config`.
pub const READ: &[Param] = &[opt("current", Kind::Bool), opt("snapshot", format(params::config_id))];

/// `DELETE /nodes/{node}/lxc/{vmid}`.
pub const DESTROY: &[Param] =
    &[opt("destroy-unreferenced-disks", Kind::Bool), opt("force", Kind::Bool), opt("purge", Kind::Bool)];

/// `GET …/migrate`.
pub const MIGRATE_CHECK: &[Param] = &[opt("target", format(params::node))];

/// `POST …/status/start`.
pub const START: &[Param] = &[opt("debug", Kind::Bool), opt("skiplock", Kind::Bool)];

/// `POST …/status/stop`.
pub const STOP: &[Param] = &[opt("overrule-shutdown", Kind::Bool), opt("skiplock", Kind::Bool)];

/// `POST …/status/shutdown`.
pub const SHUTDOWN: &[Param] = &[opt("forceStop", Kind::Bool), opt("timeout", at_least(0))];

/// `POST …/status/reboot`.
pub const REBOOT: &[Param] = &[opt("timeout", at_least(0))];

/// `POST …/clone`.
pub const CLONE: &[Param] = &[
    opt("bwlimit", Kind::Num(Some(0.0), None)),
    opt("description", Kind::Str),
    opt("full", Kind::Bool),
    opt("hostname", format(params::dns_name)),
    req("newid", VMID),
    pool::OF_GUEST,
    opt("snapname", Kind::Format(params::config_id, 40)),
    opt("storage", format(params::storage_id)),
    opt("target", format(params::node)),
];

/// `PUT …/resize`.
pub const RESIZE: &[Param] = &[
    opt("digest", Kind::Len(0, 40)),
    req("disk", Kind::Pattern(volume_key, usize::MAX)),
    req("size", Kind::Pattern(resize, usize::MAX)),
];

/// `POST …/move_volume`.
pub const MOVE: &[Param] = &[
    opt("bwlimit", Kind::Num(Some(0.0), None)),
    opt("delete", Kind::Bool),
    opt("digest", Kind::Len(0, 40)),
    opt("storage", format(params::storage_id)),
    opt("target-digest", Kind::Len(0, 40)),
    opt("target-vmid", VMID),
    opt("target-volume", Kind::Pattern(volume_key, usize::MAX)),
    req("volume", Kind::Pattern(volume_key, usize::MAX)),
];

/// `POST …/migrate`.
pub const MIGRATE: &[Param] = &[
    opt("bwlimit", Kind::Num(Some(0.0), None)),
    opt("online", Kind::Bool),
    opt("restart", Kind::Bool),
    req("target", format(params::node)),
    opt("target-storage", Kind::Str),
    opt("timeout", Kind::Int(None, None)),
];

/// `POST …/snapshot`.
pub const SNAPSHOT: &[Param] = &[opt("description", Kind::Str), req("snapname", Kind::Format(params::config_id, 40))];

/// `PUT …/snapshot/{snapname}/config`.
pub const SNAPSHOT_CONFIG: &[Param] = &[opt("description", Kind::Str)];

/// `DELETE …/snapshot/{snapname}`.
pub const SNAPSHOT_DELETE: &[Param] = &[opt("force", Kind::Bool)];

/// `POST …/rollback`.
pub const ROLLBACK: &[Param] = &[opt("start", Kind::Bool)];

/// `GET …/feature`.
pub const FEATURE: &[Param] =
    &[req("feature", Kind::Enum(&["snapshot", "clone", "copy"])), opt("snapname", format(params::config_id))];

/// The schema behind a key that is a property string, and its default key.
pub fn props_of(key: &str) -> Option<(&'static str, &'static [Param])> {
    match CONFIG.iter().find(|p| p.declares(key))?.kind {
        Kind::Props(default_key, schema) => Some((default_key, schema)),
        Kind::Bool
        | Kind::Int(..)
        | Kind::IntFormat(_)
        | Kind::Num(..)
        | Kind::Str
        | Kind::Len(..)
        | Kind::Enum(_)
        | Kind::Pattern(..)
        | Kind::Format(..)
        | Kind::List(_)
        | Kind::Each(_)
        | Kind::Alias(..)
        | Kind::Same(_) => None,
    }
}

/// A property string as PVE writes it: the default key bare, then what must be there, then the rest by name.
pub fn normal_props(key: &str, text: &str) -> String {
    let Some((default_key, schema)) = props_of(key) else { return text.to_owned() };
    let Ok(mut parts) = check_props(key, default_key, schema, text) else { return text.to_owned() };
    let optional = |k: &str| schema.iter().find(|p| p.declares(k)).is_none_or(|p| p.optional);
    parts.sort_by_key(|(k, _)| (k != default_key, optional(k), k.clone()));
    let show = |(k, v): &(String, String)| if k == default_key { v.clone() } else { format!("{k}={v}") };
    parts.iter().map(show).collect::<Vec<_>>().join(",")
}

fn word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn trunks(text: &str) -> bool {
    text.split(';').all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

fn mount_options(text: &str) -> bool {
    text.split(';').all(|o| matches!(o, "discard" | "lazytime" | "noatime" | "nodev" | "noexec" | "nosuid"))
}

fn disk_size(text: &str) -> Result<(), String> {
    let digits = text.strip_suffix(['K', 'M', 'G', 'T']).unwrap_or(text);
    match digits.parse::<f64>() {
        Ok(n) if n >= 0.0 => Ok(()),
        _ => Err(format!("value does not look like a valid disk size: {text}\n")),
    }
}

fn resize(text: &str) -> bool {
    disk_size(text.strip_prefix('+').unwrap_or(text)).is_ok()
}

fn volume_key(text: &str) -> bool {
    text == "rootfs"
        || ["mp", "unused"]
            .iter()
            .filter_map(|p| text.strip_prefix(p))
            .any(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn mac(text: &str) -> Result<(), String> {
    let octets: Vec<&str> = text.split(':').collect();
    let fine = octets.len() == 6 && octets.iter().all(|o| o.len() == 2 && o.bytes().all(|b| b.is_ascii_hexdigit()));
    let first = octets.first().and_then(|o| u8::from_str_radix(o, 16).ok());
    match fine && first.is_some_and(|f| f & 1 == 0) {
        true => Ok(()),
        false => Err("value is not a valid unicast MAC address\n".to_owned()),
    }
}

fn gateway6(text: &str) -> Result<(), String> {
    if text == "auto" { Ok(()) } else { node::ipv6(text) }
}

fn ipv4_config(text: &str) -> Result<(), String> {
    match matches!(text, "dhcp" | "manual") || text.parse::<ipnet::Ipv4Net>().is_ok() && text.contains('/') {
        true => Ok(()),
        false => Err("value does not look like a valid ipv4 network configuration\n".to_owned()),
    }
}

fn ipv6_config(text: &str) -> Result<(), String> {
    match matches!(text, "auto" | "dhcp" | "manual") || text.parse::<ipnet::Ipv6Net>().is_ok() && text.contains('/') {
        true => Ok(()),
        false => Err("value does not look like a valid ipv6 network configuration\n".to_owned()),
    }
}

fn name_server(text: &str) -> Result<(), String> {
    if text == "host" { Ok(()) } else { node::ip(text.split('%').next().unwrap_or(text)) }
}

fn startup(text: &str) -> Result<(), String> {
    let part = |p: &str| {
        let value = p.strip_prefix("order=").or_else(|| p.strip_prefix("up=")).or_else(|| p.strip_prefix("down="));
        let value = value.unwrap_or(p);
        !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit())
    };
    match text.split(',').all(part) {
        true => Ok(()),
        false => Err("unable to parse startup options\n".to_owned()),
    }
}
