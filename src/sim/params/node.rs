//! Parameters: node.

use crate::sim::params::{self, VMID};
use crate::sim::verify::{Kind, Param, at_least, between, format, opt, req};

/// `GET /nodes/{node}/tasks`.
pub const TASKS: &[Param] = &[
    opt("errors", Kind::Bool),
    opt("limit", at_least(0)),
    opt("since", Kind::Int(None, None)),
    opt("source", Kind::Enum(&["archive", "active", "all"])),
    opt("start", at_least(0)),
    opt("statusfilter", Kind::List(task_status)),
    opt("typefilter", Kind::Str),
    opt("until", Kind::Int(None, None)),
    opt("userfilter", Kind::Str),
    opt("vmid", VMID),
];

/// `GET …/tasks/{upid}/log`.
pub const TASK_LOG: &[Param] = &[opt("download", Kind::Bool), opt("limit", at_least(0)), opt("start", at_least(0))];

/// `GET …/rrddata`.
pub const RRD: &[Param] = &[
    req("timeframe", Kind::Enum(&["hour", "day", "week", "month", "year", "decade"])),
    opt("cf", Kind::Enum(&["AVERAGE", "MAX"])),
];

/// `POST /nodes/{node}/status`.
pub const COMMAND: &[Param] = &[req("command", Kind::Enum(&["reboot", "shutdown"]))];

/// `GET /nodes/{node}/network`.
pub const NETWORK_LIST: &[Param] = &[opt(
    "type",
    Kind::Enum(&[
        "bridge",
        "bond",
        "eth",
        "alias",
        "vlan",
        "fabric",
        "OVSBridge",
        "OVSBond",
        "OVSPort",
        "OVSIntPort",
        "vnet",
        "any_bridge",
        "any_local_bridge",
        "include_sdn",
    ]),
)];

const NETWORK_TYPE: Param = req(
    "type",
    Kind::Enum(&[
        "bridge",
        "bond",
        "eth",
        "alias",
        "vlan",
        "fabric",
        "OVSBridge",
        "OVSBond",
        "OVSPort",
        "OVSIntPort",
        "vnet",
        "unknown",
    ]),
);

/// An interface, new or changed.
pub const INTERFACE: &[Param] = &[
    req("iface", Kind::Format(params::iface, 20)),
    NETWORK_TYPE,
    opt("address", format(ipv4)),
    opt("address6", format(ipv6)),
    opt("autostart", Kind::Bool),
    opt("bond-primary", format(params::iface)),
    opt(
        "bond_mode",
        Kind::Enum(&[
            "balance-rr",
            "active-backup",
            "balance-xor",
            "broadcast",
            "802.3ad",
            "balance-tlb",
            "balance-alb",
            "balance-slb",
            "lacp-balance-slb",
            "lacp-balance-tcp",
        ]),
    ),
    opt("bond_xmit_hash_policy", Kind::Enum(&["layer2", "layer2+3", "layer3+4"])),
    opt("bridge_ports", Kind::List(params::iface)),
    opt("bridge_vids", Kind::Str),
    opt("bridge_vlan_aware", Kind::Bool),
    opt("cidr", format(cidr)),
    opt("cidr6", format(cidr)),
    opt("comments", Kind::Str),
    opt("comments6", Kind::Str),
    opt("gateway", format(ipv4)),
    opt("gateway6", format(ipv6)),
    opt("mtu", between(1280, 65520)),
    opt("netmask", Kind::Str),
    opt("netmask6", between(0, 128)),
    opt("ovs_bonds", Kind::List(params::iface)),
    opt("ovs_bridge", format(params::iface)),
    opt("ovs_options", Kind::Len(0, 1024)),
    opt("ovs_ports", Kind::List(params::iface)),
    opt("ovs_tag", between(1, 4094)),
    opt("slaves", Kind::List(params::iface)),
    opt("vlan-id", between(1, 4094)),
    opt("vlan-raw-device", format(params::iface)),
];

/// `PUT /nodes/{node}/network/{iface}`.
pub const INTERFACE_DELETE: &[Param] = &[opt("delete", Kind::List(params::config_id))];

/// `PUT /nodes/{node}/network`.
pub const NETWORK_RELOAD: &[Param] = &[opt("regenerate-frr", Kind::Bool)];

/// `PUT /nodes/{node}/dns`.
pub const DNS: &[Param] =
    &[req("search", Kind::Str), opt("dns1", format(ip)), opt("dns2", format(ip)), opt("dns3", format(ip))];

/// `PUT /nodes/{node}/config`.
pub const CONFIG: &[Param] = &[
    opt("acme", Kind::Str),
    crate::sim::verify::many("acmedomain", 6, Kind::Str),
    opt("ballooning-target", between(0, 100)),
    opt("delete", Kind::List(params::config_id)),
    opt("description", Kind::Len(0, 65536)),
    opt("digest", Kind::Len(0, 40)),
    opt("startall-onboot-delay", between(0, 300)),
    opt("wakeonlan", Kind::Str),
];

/// `GET /nodes/{node}/config`.
pub const CONFIG_GET: &[Param] = &[opt(
    "property",
    Kind::Enum(&[
        "acme",
        "acmedomain0",
        "acmedomain1",
        "acmedomain2",
        "acmedomain3",
        "acmedomain4",
        "acmedomain5",
        "ballooning-target",
        "description",
        "startall-onboot-delay",
        "wakeonlan",
    ]),
)];

/// What all of `startall`, `stopall`, `suspendall` and `migrateall` take.
pub const ALL_GUESTS: &[Param] = &[opt("max-workers", between(1, 64)), opt("vms", Kind::List(params::vmid))];

/// `POST /nodes/{node}/startall`.
pub const START_ALL: &[Param] = &[opt("force", Kind::Bool)];

/// `POST /nodes/{node}/stopall`.
pub const STOP_ALL: &[Param] = &[opt("force-stop", Kind::Bool), opt("timeout", between(0, 7200))];

/// `POST /nodes/{node}/migrateall`.
pub const MIGRATE_ALL: &[Param] =
    &[opt("maxworkers", between(1, 64)), req("target", format(params::node)), opt("with-local-disks", Kind::Bool)];

/// `POST /nodes/{node}/apt/update`.
pub const APT_UPDATE: &[Param] = &[opt("notify", Kind::Bool), opt("quiet", Kind::Bool)];

/// `GET /nodes/{node}/apt/changelog`.
pub const CHANGELOG: &[Param] = &[req("name", Kind::Pattern(package, usize::MAX)), opt("version", Kind::Str)];

/// `POST /nodes/{node}/apt/repositories`.
pub const REPOSITORY: &[Param] = &[
    req("path", Kind::Str),
    req("index", Kind::Int(None, None)),
    opt("enabled", Kind::Bool),
    opt("digest", Kind::Len(0, 80)),
];

/// `PUT /nodes/{node}/apt/repositories`.
pub const REPOSITORY_NEW: &[Param] = &[req("handle", Kind::Str), opt("digest", Kind::Len(0, 80))];

/// `GET /nodes/{node}/disks/list`.
pub const DISKS: &[Param] = &[
    opt("include-partitions", Kind::Bool),
    opt("skipsmart", Kind::Bool),
    opt("type", Kind::Enum(&["unused", "journal_disks"])),
];

/// `GET /nodes/{node}/hardware/pci`.
pub const PCI: &[Param] = &[opt("pci-class-blacklist", Kind::List(params::anything)), opt("verbose", Kind::Bool)];

/// `GET /nodes/{node}/capabilities/qemu/…`.
pub const ARCH: &[Param] = &[opt("arch", Kind::Enum(&["x86_64", "aarch64"]))];

/// `GET /nodes/{node}/syslog`.
pub const SYSLOG: &[Param] = &[
    opt("limit", at_least(0)),
    opt("service", Kind::Len(0, 128)),
    opt("since", Kind::Pattern(moment, usize::MAX)),
    opt("start", at_least(0)),
    opt("until", Kind::Pattern(moment, usize::MAX)),
];

/// `GET /nodes/{node}/journal`.
pub const JOURNAL: &[Param] = &[
    opt("endcursor", Kind::Str),
    opt("lastentries", at_least(0)),
    opt("since", at_least(0)),
    opt("startcursor", Kind::Str),
    opt("until", at_least(0)),
];

/// `POST /nodes/{node}/aplinfo`.
pub const APPLIANCE: &[Param] = &[req("storage", format(params::storage_id)), req("template", Kind::Len(0, 255))];

/// `GET /nodes/{node}/query-url-metadata`.
pub const URL: &[Param] = &[req("url", Kind::Pattern(url, usize::MAX)), opt("verify-certificates", Kind::Bool)];

/// `GET /nodes/{node}/scan/nfs`.
pub const SCAN_SERVER: &[Param] = &[req("server", Kind::Str)];

/// `GET /nodes/{node}/scan/lvmthin`.
pub const SCAN_GROUP: &[Param] = &[req("vg", Kind::Len(0, 100))];

/// `PUT /nodes/{node}/time`.
pub const TIME: &[Param] = &[req("timezone", Kind::Str)];

/// `GET /nodes/{node}/services/{service}/state`.
pub const SERVICE: &[Param] = &[req("service", Kind::Enum(SERVICES))];

/// The services that PVE watches.
pub const SERVICES: &[&str] = &[
    "chrony",
    "corosync",
    "cron",
    "ksmtuned",
    "lxcfs",
    "postfix",
    "proxmox-firewall",
    "pve-cluster",
    "pve-firewall",
    "pve-ha-crm",
    "pve-ha-lrm",
    "pve-lxc-syscalld",
    "pvedaemon",
    "pvefw-logger",
    "pveproxy",
    "pvescheduler",
    "pvestatd",
    "qmeventd",
    "spiceproxy",
    "sshd",
    "syslog",
    "systemd-journald",
    "systemd-timesyncd",
];

/// A day, with or without a time.
fn moment(text: &str) -> bool {
    let like = |pattern: &str| {
        text.len() == pattern.len()
            && pattern.bytes().zip(text.bytes()).all(|(p, c)| if p == b'9' { c.is_ascii_digit() } else { p == c })
    };
    ["9999-99-99", "9999-99-99 99:99", "9999-99-99 99:99:99"].iter().any(|p| like(p))
}

fn url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn package(text: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() > 1 && text.starts_with(lower) && text.chars().all(|c| lower(c) || "-+.:".contains(c))
}

fn task_status(text: &str) -> Result<(), String> {
    match text {
        "ok" | "error" | "warning" | "unknown" => Ok(()),
        _ => Err(format!("invalid task status '{text}'\n")),
    }
}

/// `ipv4`.
pub fn ipv4(text: &str) -> Result<(), String> {
    match text.parse::<std::net::Ipv4Addr>() {
        Ok(_) => Ok(()),
        Err(_) => Err("value does not look like a valid ipv4 address\n".to_owned()),
    }
}

/// `ipv6`.
pub fn ipv6(text: &str) -> Result<(), String> {
    match text.parse::<std::net::Ipv6Addr>() {
        Ok(_) => Ok(()),
        Err(_) => Err("value does not look like a valid ipv6 address\n".to_owned()),
    }
}

/// `ip`.
pub fn ip(text: &str) -> Result<(), String> {
    match text.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err("value does not look like a valid IP address\n".to_owned()),
    }
}

/// `CIDR`.
pub fn cidr(text: &str) -> Result<(), String> {
    match text.contains('/') && text.parse::<ipnet::IpNet>().is_ok() {
        true => Ok(()),
        false => Err("value does not look like a valid CIDR network\n".to_owned()),
    }
}

/// `IPorCIDR`.
pub fn ip_or_cidr(text: &str) -> Result<(), String> {
    match text.parse::<std::net::IpAddr>().is_ok() || cidr(text).is_ok() {
        true => Ok(()),
        false => Err("value does not look like a valid IP address or CIDR network\n".to_owned()),
    }
}
