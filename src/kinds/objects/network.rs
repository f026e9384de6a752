//! Zones and virtual networks as manifests write them.

use crate::kinds::objects::content::member;
use crate::kinds::objects::row::query;
use crate::kinds::objects::sdn::{VNETS, ZONES, configured};
use crate::kinds::objects::storage;
use crate::kinds::objects::table::SDN_ZONE;
use crate::resource::kind::PlanContext;
use crate::resource::step::{Note, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A zone of PVE's software defined networks: how virtual networks get from node to node. What a run changes in zones and
/// virtual networks is applied once, on all nodes, at its end, under PVE's lock (PVE 8 has none). PVE gives a zone no free
/// text, so that it cannot carry a mark of its owner: one that is there and differs is changed only once it is adopted, or
/// with the annotation `pvectl/take-over: "true"`, and it is deleted by its manifest (`pvectl delete -f`), never pruned.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SdnZoneSpec {
    /// PVE's id for it, where `metadata.name` cannot be that: a letter, then letters and digits, 2 to 8 in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How it works. Settled when it is made.
    #[serde(rename = "type")]
    pub zone_type: ZoneType,
    /// The nodes that it is on; left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<String>>,
    /// The bridge that carries its VLANs (`vlan`, `qinq`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The outer VLAN tag (`qinq`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<u32>,
    /// The protocol of the outer tag (`qinq`): `802.1q`, which is the default, or `802.1ad`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan_protocol: Option<String>,
    /// Addresses of all nodes in it (`vxlan`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<String>>,
    /// The UDP port of its tunnels (`vxlan`); 4789 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vxlan_port: Option<u32>,
    /// The controller (`evpn`), which is made in PVE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// The number of the VXLAN between its networks (`evpn`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf_vxlan: Option<u32>,
    /// Nodes that lead out of it (`evpn`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_nodes: Option<Vec<String>>,
    /// The largest packet, in bytes: 50 less than that of the network below for VXLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The registry of its addresses; `pve` is PVE's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipam: Option<String>,
    /// The server that hands out addresses: `dnsmasq` (`simple` only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<String>,
    /// The DNS server, by its id in PVE, that gets names of its guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// The DNS server, by its id in PVE, that gets names of its addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse_dns: Option<String>,
    /// The domain of its guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_zone: Option<String>,
    /// Any other option of PVE's zone API, by its own name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Value>,
}

/// How a zone works.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ZoneType {
    /// A bridge on each node, for itself.
    Simple,
    /// VLANs of a bridge.
    Vlan,
    /// VLANs within a VLAN of a bridge.
    Qinq,
    /// Tunnels between nodes.
    Vxlan,
    /// Tunnels with routing, by a controller.
    Evpn,
}

/// A virtual network: a bridge by its name on every node of its zone. As a zone, it cannot carry a mark of its owner.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SdnVnetSpec {
    /// PVE's id for it, and the name of the bridge, where `metadata.name` cannot be that: a letter, then letters and digits,
    /// 2 to 8 in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its zone, by PVE's id.
    pub zone: String,
    /// The VLAN tag (`vlan`, `qinq`), or the number of the VXLAN (`vxlan`, `evpn`); none in a `simple` zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<u32>,
    /// What people call it: letters, digits, blanks and plain signs such as `( ) - . , /`, 256 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Whether guests may tag their packets in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan_aware: Option<bool>,
    /// Whether guests in it are kept from each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolate_ports: Option<bool>,
}

/// Addresses of a virtual network. Deleting it takes nothing from guests. It cannot carry a mark of its owner, as a zone.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SdnSubnetSpec {
    /// Its virtual network, by PVE's id.
    pub vnet: String,
    /// The addresses: `10.0.7.0/24`.
    pub cidr: String,
    /// The address of the gateway; in a zone of type `simple` or `evpn` the nodes have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Whether what leaves it carries the node's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snat: Option<bool>,
    /// What stands between a guest's name and the domain of the zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_zone_prefix: Option<String>,
    /// The DNS server that guests are told by DHCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp_dns_server: Option<String>,
    /// The addresses that DHCP gives to guests; an empty list takes out all of them. Their zone must have `dhcp: dnsmasq`.
    /// Their order means nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp_ranges: Option<Vec<DhcpRange>>,
}

/// A range of addresses that DHCP gives to guests.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DhcpRange {
    /// The first of them.
    pub start_address: String,
    /// The last of them.
    pub end_address: String,
}

/// A subnet's id here: its network, and its addresses. PVE's own holds the zone, which the manifest does not say.
pub fn subnet_id(_name: &str, spec: &Value) -> String {
    format!("{} {}", member(spec, "vnet"), member(spec, "cidr"))
}

/// What an export says of a subnet besides its fields.
pub fn export_subnet(_id: &str, row: &Value) -> Map<String, Value> {
    ["vnet", "cidr"].into_iter().map(|key| (key.to_owned(), member(row, key).into())).collect()
}

/// What is wrong with a subnet (`PVE::Network::SDN::SubnetPlugin::on_update_hook`).
pub fn subnet(_id: &str, spec: &Value) -> Vec<Problem> {
    let cidr = member(spec, "cidr");
    let Some(net) = cidr.parse::<ipnet::IpNet>().ok().filter(|net| net.trunc() == *net) else {
        return vec![
            Problem::new("cidr", format!("`{cidr}` is no network"))
                .help("write the first address and the length: 10.0.7.0/24"),
        ];
    };
    let mut problems = Vec::new();
    for field in ["gateway", "dhcpDnsServer"].into_iter().filter(|field| !spec[*field].is_null()) {
        let text = member(spec, field);
        let address = text.parse::<IpAddr>().ok();
        let alone = net.prefix_len() == 32 && net.addr().is_ipv4();
        if address.is_none() {
            let problem = Problem::new(field, format!("`{text}` is no address"));
            problems.push(problem.help("write one address, without a length"));
        } else if field == "gateway" && !alone && address.is_some_and(|address| !net.contains(&address)) {
            let problem = Problem::new(field, format!("`{text}` is not in {net}"));
            problems.push(problem.help("a gateway is in its subnet"));
        }
    }
    problems.extend(ranges(net, &spec["dhcpRanges"]));
    problems
}

/// What is wrong with ranges of DHCP (`PVE::Network::SDN::SubnetPlugin::validate_dhcp_ranges`).
fn ranges(net: ipnet::IpNet, list: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut before: Vec<(IpAddr, IpAddr)> = Vec::new();
    for (number, range) in list.as_array().into_iter().flatten().enumerate() {
        let mut ends = Vec::new();
        for key in ["startAddress", "endAddress"] {
            let text = member(range, key);
            let field = format!("dhcpRanges.{number}.{key}");
            match text.parse::<IpAddr>() {
                Err(_) => problems.push(
                    Problem::new(&field, format!("`{text}` is no address")).help("write one address, without a length"),
                ),
                Ok(address) if !net.contains(&address) => problems.push(
                    Problem::new(&field, format!("`{text}` is not in {net}"))
                        .help("DHCP gives addresses of its subnet"),
                ),
                Ok(address) => ends.push(address),
            }
        }
        let [first, last] = ends[..] else { continue };
        let field = format!("dhcpRanges.{number}");
        if first > last {
            problems.push(
                Problem::new(&field, format!("{first} comes after {last}"))
                    .help("`startAddress` is the lower of the two"),
            );
        } else if let Some((a, b)) = before.iter().find(|(a, b)| first <= *b && *a <= last) {
            problems.push(
                Problem::new(&field, format!("{first} to {last} overlaps with {a} to {b}"))
                    .help("make one range of the two"),
            );
        }
        before.push((first, last));
    }
    problems
}

/// Ranges of a subnet whose zone hands out none, by what the cluster says of the zone.
pub fn without_dhcp(cx: &PlanContext<'_>, spec: &Value) -> Option<Note> {
    spec["dhcpRanges"].as_array().filter(|list| !list.is_empty())?;
    let find = |list: &str, key: &str, id: &str| {
        let rows = cx.seen.index.lists.get(&query(list))?.as_ref().ok()?.as_array()?;
        rows.iter().map(configured).find(|row| member(row, key) == id)
    };
    let zone = member(&find(VNETS, "vnet", &member(spec, "vnet"))?, "zone");
    let row = find(ZONES, "zone", &zone)?;
    member(&row, "dhcp").is_empty().then(|| {
        Note::Toothless(format!(
            "nobody hands out the addresses of `dhcpRanges`: give zone `{zone}` `dhcp: dnsmasq` and `ipam: pve`, and its nodes \
             the package dnsmasq"
        ))
    })
}

/// What PVE takes as an id of either (`pve-sdn-zone-id`, `pve-sdn-vnet-id`).
fn id(id: &str) -> Option<Problem> {
    let plain = id.len() >= 2 && id.len() <= 8 && id.chars().all(|c| c.is_ascii_alphanumeric());
    (!plain || !id.starts_with(|c: char| c.is_ascii_alphabetic())).then(|| {
        Problem::new("id", format!("`{id}` is no id of a network"))
            .help("it is a letter, then letters and digits, 2 to 8 in all: write it as `id`")
    })
}

/// What is wrong with a zone. What each type needs is in PVE's plugins (`PVE::Network::SDN::Zones::*Plugin`).
pub fn zone(name: &str, spec: &Value) -> Vec<Problem> {
    let mut problems: Vec<Problem> = id(name).into_iter().collect();
    let kind = member(spec, "type");
    let needed: &[&str] = match kind.as_str() {
        "vlan" => &["bridge"],
        "qinq" => &["bridge", "tag"],
        "vxlan" if spec["options"]["fabric"].is_null() => &["peers"],
        "evpn" => &["controller", "vrfVxlan"],
        _ => &[],
    };
    for field in needed.iter().filter(|field| spec[**field].is_null()) {
        let text = format!("a zone of type `{kind}` needs `{field}`");
        problems.push(Problem::new(field, text).help(format!("write `{field}`, or another `type`")));
    }
    for peer in spec["peers"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if peer.parse::<IpAddr>().is_err() {
            problems.push(
                Problem::new("peers", format!("`{peer}` is no address"))
                    .help("write the address of each node that is in the zone, such as 10.0.0.11"),
            );
        }
    }
    let fields: Vec<(&str, &str)> = SDN_ZONE.fields.iter().map(|field| (field.path, field.option)).collect();
    problems.extend(storage::options(spec, &fields));
    problems
}

/// What is wrong with a virtual network. A zone that the same run makes says itself what it takes.
pub fn vnet(cx: &PlanContext<'_>, name: &str, spec: &Value) -> Vec<Problem> {
    let mut problems: Vec<Problem> = id(name).into_iter().collect();
    let of = member(spec, "zone");
    let list = cx.seen.index.lists.get(&query(ZONES)).and_then(|list| list.as_ref().ok());
    let zone = list.and_then(|list| list.as_array()?.iter().find(|row| member(row, "zone") == of).map(configured));
    let simple = zone.map(|zone| member(&zone, "type") == "simple");
    let alias = member(spec, "alias");
    // The pattern of `alias` in the API, whose `)-_` is a range.
    let fits = |c: char| c == '(' || (')'..='_').contains(&c) || c.is_alphanumeric() || c.is_whitespace();
    if alias.chars().count() > 256 || !alias.chars().all(fits) {
        problems.push(
            Problem::new("alias", "PVE does not take this `alias`")
                .help("256 letters, digits, blanks and plain signs at most, no quotes and no `#`, `%`, `&`"),
        );
    }
    match (simple, spec["tag"].is_null()) {
        (Some(true), false) => problems.push(
            Problem::new("tag", format!("zone `{of}` is of type `simple`, whose networks have no tag"))
                .help("leave `tag` out, or name another zone"),
        ),
        (Some(false), true) => problems.push(
            Problem::new("tag", format!("a network of zone `{of}` needs a tag"))
                .help("write `tag`, a number of its own"),
        ),
        (Some(_) | None, _) => {}
    }
    problems
}
