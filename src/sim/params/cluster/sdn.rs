//! Parameters: software defined networks.

use crate::sim::params::{self, node};
use crate::sim::verify::{Kind, Param, at_least, between, format, opt, req};

const ZONE_TYPES: Kind = Kind::Enum(&["evpn", "faucet", "qinq", "simple", "vlan", "vxlan"]);
const LOCK: Param = opt("lock-token", Kind::Str);

/// Every list.
pub const LIST: &[Param] = &[opt("pending", Kind::Bool), opt("running", Kind::Bool)];

/// One object.
pub const GET: &[Param] = LIST;

/// The list of zones.
pub const ZONES: &[Param] = &[opt("type", ZONE_TYPES)];

/// A zone's options.
pub const ZONE: &[Param] = &[
    opt("advertise-subnets", Kind::Bool),
    opt("bridge", Kind::Str),
    opt("bridge-disable-mac-learning", Kind::Bool),
    opt("controller", Kind::Str),
    opt("dhcp", Kind::Enum(&["dnsmasq"])),
    opt("disable-arp-nd-suppression", Kind::Bool),
    opt("dns", Kind::Str),
    opt("dnszone", format(params::dns_name)),
    opt("dp-id", Kind::Int(None, None)),
    opt("exitnodes", Kind::List(params::node)),
    opt("exitnodes-local-routing", Kind::Bool),
    opt("exitnodes-primary", format(params::node)),
    opt("fabric", Kind::Str),
    opt("ipam", Kind::Str),
    LOCK,
    opt("mac", Kind::Str),
    opt("mtu", Kind::Int(None, None)),
    opt("nodes", Kind::List(params::node)),
    opt("peers", Kind::List(node::ip)),
    opt("reversedns", Kind::Str),
    opt("rt-import", Kind::Str),
    opt("tag", at_least(0)),
    opt("vlan-protocol", Kind::Enum(&["802.1q", "802.1ad"])),
    opt("vrf-vxlan", between(1, 16_777_215)),
    opt("vxlan-port", between(1, 65536)),
];

/// A new zone.
pub const ZONE_NEW: &[Param] = &[req("type", ZONE_TYPES), req("zone", Kind::Len(2, 8))];

/// A changed object.
pub const CHANGE: &[Param] = &[opt("delete", Kind::List(params::config_id)), opt("digest", Kind::Len(0, 64))];

/// A removed object.
pub const DELETE: &[Param] = &[LOCK];

/// A virtual network's options.
pub const VNET: &[Param] = &[
    opt("alias", Kind::Len(0, 256)),
    opt("isolate-ports", Kind::Bool),
    LOCK,
    opt("tag", between(1, 16_777_215)),
    opt("vlanaware", Kind::Bool),
];

/// A new virtual network.
pub const VNET_NEW: &[Param] =
    &[opt("type", Kind::Enum(&["vnet"])), req("vnet", Kind::Len(2, 8)), req("zone", Kind::Str)];

/// A changed virtual network.
pub const VNET_CHANGE: &[Param] = &[opt("zone", Kind::Str)];

/// A subnet's options.
pub const SUBNET: &[Param] = &[
    opt("dhcp-dns-server", format(node::ip)),
    opt("dhcp-range", Kind::Each(&Kind::Str)),
    opt("dnszoneprefix", Kind::Str),
    opt("gateway", format(node::ip)),
    LOCK,
    opt("snat", Kind::Bool),
];

/// A new subnet.
pub const SUBNET_NEW: &[Param] = &[req("subnet", format(node::cidr)), req("type", Kind::Enum(&["subnet"]))];

/// `POST /cluster/sdn/lock`.
pub const TAKE: &[Param] = &[opt("allow-pending", Kind::Bool)];

/// `DELETE /cluster/sdn/lock`.
pub const RELEASE: &[Param] = &[opt("force", Kind::Bool), LOCK];

/// `PUT /cluster/sdn`, and what takes it back.
pub const APPLY: &[Param] = &[LOCK, opt("release-lock", Kind::Bool)];
