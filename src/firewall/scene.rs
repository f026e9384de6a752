//! All that decides about a packet: the cluster's firewall, the guest's, and the interface.

use crate::firewall::address::{Member, Names};
use crate::firewall::rule::{Direction, Rule, Verdict, text};
use crate::firewall::traffic::Traffic;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The cluster's part.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Whether the firewall is on at all (`enable` of the cluster's options).
    pub enabled: bool,
    /// Its sets and aliases.
    pub names: Names,
    /// Security groups: their rules in order.
    pub groups: BTreeMap<String, Vec<Rule>>,
}

/// The guest's part.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its options.
    pub options: Options,
    /// Its rules in order.
    pub rules: Vec<Rule>,
    /// Its own sets and aliases.
    pub names: Names,
}

/// Options of a guest's firewall, with PVE's defaults where nothing is said (`PVE::Firewall`, as compiled).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether it is on.
    pub enabled: bool,
    /// What becomes of packets to the guest that no rule decides.
    pub policy_in: Verdict,
    /// And of those from it.
    pub policy_out: Verdict,
    /// DHCP passes before all rules.
    pub dhcp: bool,
    /// Neighbour discovery passes before all rules.
    pub ndp: bool,
    /// The guest may send router advertisements.
    pub radv: bool,
    /// Only its own MAC address may send.
    pub mac_filter: bool,
    /// Only its own addresses may send.
    pub ip_filter: bool,
}

impl Options {
    /// Reads the answer of `GET …/firewall/options`.
    pub fn decode(value: &Value) -> Options {
        let text = |key: &str| text(&value[key]);
        let flag = |key: &str, default: bool| match text(key).as_str() {
            "" => default,
            text => text != "0",
        };
        let policy = |key: &str, default: Verdict| Verdict::parse(&text(key)).unwrap_or(default);
        Options {
            enabled: flag("enable", false),
            policy_in: policy("policy_in", Verdict::Drop),
            policy_out: policy("policy_out", Verdict::Accept),
            dhcp: flag("dhcp", true),
            ndp: flag("ndp", true),
            radv: flag("radv", false),
            mac_filter: flag("macfilter", true),
            ip_filter: flag("ipfilter", false),
        }
    }
}

/// The interface that a packet passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its slot, such as `net0`.
    pub slot: String,
    /// Whether the firewall looks at it (`firewall=1`).
    pub firewall: bool,
    /// Its MAC address.
    pub mac: String,
    /// Addresses that PVE knows from the configuration of a container; `ipfilter` lets them send.
    pub addresses: Vec<IpAddr>,
}

impl Interface {
    /// The addresses that may send when PVE filters them: the set `ipfilter-netN`, the configured ones of a container, and
    /// the link-local one that follows from the MAC (`compile_ipsets` of `PVE::Firewall`). `None`: nothing is filtered.
    pub fn senders(&self, guest: &Guest) -> Option<Vec<Member>> {
        let own = guest.names.sets.get(&format!("ipfilter-{}", self.slot));
        if !guest.options.ip_filter && own.is_none() {
            return None;
        }
        let member = |cidr: String, nomatch: bool| Member { cidr, nomatch };
        let mut all: Vec<Member> = own.cloned().unwrap_or_default();
        all.extend(link_local(&self.mac).map(|a| member(a.to_string(), false)));
        all.push(member("fe80::/10".to_owned(), true));
        all.extend(self.addresses.iter().map(|a| member(a.to_string(), false)));
        Some(all)
    }
}

/// The link-local address of a MAC (RFC 4291, appendix A).
fn link_local(mac: &str) -> Option<IpAddr> {
    let bytes: Vec<u8> = mac.split(':').filter_map(|b| u8::from_str_radix(b, 16).ok()).collect();
    let [a, b, c, d, e, f] = bytes[..] else { return None };
    let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Some(IpAddr::from([0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f)]))
}

/// The first packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// To the guest, or from it.
    pub direction: Direction,
    /// Who sends it.
    pub source: IpAddr,
    /// Who is to get it.
    pub dest: IpAddr,
    /// What for.
    pub traffic: Traffic,
}

impl Packet {
    /// Whether it is IPv6.
    pub fn v6(&self) -> bool {
        self.dest.is_ipv6()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_are_those_of_pve() {
        let bare = Options::decode(&json!({"digest": "x"}));
        assert!(!bare.enabled && bare.dhcp && bare.ndp && bare.mac_filter && !bare.ip_filter && !bare.radv);
        assert_eq!((bare.policy_in, bare.policy_out), (Verdict::Drop, Verdict::Accept));
        let said = Options::decode(&json!({"enable": 1, "policy_out": "REJECT", "dhcp": 0, "ipfilter": "1"}));
        assert!(said.enabled && !said.dhcp && said.ip_filter);
        assert_eq!(said.policy_out, Verdict::Reject);
    }

    #[test]
    fn a_mac_makes_an_address() {
        let address = link_local("BC:24:11:12:34:56").expect("an address");
        assert_eq!(address.to_string(), "fe80::be24:11ff:fe12:3456");
    }
}
