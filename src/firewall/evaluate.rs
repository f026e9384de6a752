//! What becomes of the first packet of a connection, and what decided. Later packets of an accepted connection pass without
//! being asked (`RELATED,ESTABLISHED`).

use crate::firewall::address::{Names, Scopes, Unknown};
use crate::firewall::macros;
use crate::firewall::rule::{Deed, Direction, Rule, Verdict};
use crate::firewall::scene::{Cluster, Guest, Interface, Packet};
use crate::firewall::traffic::{self, Ported, Traffic};
use std::net::IpAddr;

/// Where a rule stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its position among the guest's rules.
    pub rule: usize,
    /// The group and the position in it, where the guest's rule asks a group.
    pub group: Option<(String, usize)>,
}

/// What decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The cluster's firewall is off: nothing is looked at.
    ClusterOff,
    /// The guest's firewall is off.
    GuestOff,
    /// The interface has no `firewall=1`.
    InterfaceOff,
    /// The cluster's set `blacklist`.
    Blacklist,
    /// A source address that no unicast sender has (`nosmurfs`).
    Smurf,
    /// The option `dhcp`.
    Dhcp,
    /// The option `ndp`.
    Neighbours,
    /// The option `radv` is off.
    RouterAdvertisement,
    /// The option `ipfilter`, or a set `ipfilter-netN`: the sender's address is not the guest's.
    IpFilter,
    /// A rule.
    Rule(Place),
    /// What the policies DROP and REJECT do before they take effect: broadcasts, the noise of Windows, needed ICMP.
    Noise,
    /// The policy of the direction.
    Policy,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of it.
    pub verdict: Verdict,
    /// What decided.
    pub by: By,
    /// Rules that PVE leaves out because what they name is not there.
    pub left_out: Vec<(Place, String)>,
}

/// A rule on the way that cannot be judged here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// Which.
    pub place: Place,
    /// Why.
    pub why: String,
}

/// Decides about a packet.
///
/// # Errors
/// A rule that says something that is not known here (a port by a rare name) stands before the one that would decide.
pub fn evaluate(
    cluster: &Cluster,
    guest: &Guest,
    interface: &Interface,
    packet: &Packet,
) -> Result<Decision, Undecided> {
    let mut left_out = Vec::new();
    let (verdict, by) = decide(cluster, guest, interface, packet, &mut left_out)?;
    // A refused ICMP message, and one from a multicast address, is never answered (`PVEFW-reject`).
    let silent = matches!(packet.traffic, Traffic::Icmp { .. }) || !packet.v6() && packet.source.is_multicast();
    let verdict = if verdict == Verdict::Reject && silent { Verdict::Drop } else { verdict };
    Ok(Decision { verdict, by, left_out })
}

fn decide(
    cluster: &Cluster,
    guest: &Guest,
    interface: &Interface,
    packet: &Packet,
    left_out: &mut Vec<(Place, String)>,
) -> Result<(Verdict, By), Undecided> {
    for (on, by) in [
        (cluster.enabled, By::ClusterOff),
        (guest.options.enabled, By::GuestOff),
        (interface.firewall, By::InterfaceOff),
    ] {
        if !on {
            return Ok((Verdict::Accept, by));
        }
    }
    if let Some(decided) = before_rules(cluster, guest, interface, packet) {
        return Ok(decided);
    }
    for (index, rule) in guest.rules.iter().enumerate() {
        if !rule.enabled || !rule.interface.is_empty() && rule.interface != interface.slot {
            continue;
        }
        let scopes = Scopes { guest: Some(&guest.names), cluster: &cluster.names };
        match &rule.deed {
            Deed::Decide(direction, verdict) => {
                let place = Place { rule: index, group: None };
                if *direction == packet.direction && counts(scopes, rule, packet, &place, left_out)? {
                    return Ok((*verdict, By::Rule(place)));
                }
            }
            Deed::Group(name) => {
                // A group that is not there is an empty chain.
                for (position, rule) in cluster.groups.get(name).into_iter().flatten().enumerate() {
                    let Deed::Decide(direction, verdict) = &rule.deed else { continue };
                    let place = Place { rule: index, group: Some((name.clone(), position)) };
                    let scopes = Scopes { guest: None, cluster: &cluster.names };
                    if rule.enabled && *direction == packet.direction && counts(scopes, rule, packet, &place, left_out)?
                    {
                        return Ok((*verdict, By::Rule(place)));
                    }
                }
            }
        }
    }
    let policy = match packet.direction {
        Direction::In => guest.options.policy_in,
        Direction::Out => guest.options.policy_out,
    };
    if policy != Verdict::Accept
        && let Some(verdict) = noise(policy, packet)
    {
        return Ok((verdict, By::Noise));
    }
    Ok((policy, By::Policy))
}

/// What is decided before the rules of the guest are asked.
fn before_rules(cluster: &Cluster, guest: &Guest, interface: &Interface, packet: &Packet) -> Option<(Verdict, By)> {
    let options = &guest.options;
    let v6 = packet.v6();
    let scopes = Scopes { guest: None, cluster: &cluster.names };
    if packet.direction == Direction::In {
        if scopes.matches("+blacklist", packet.source) == Ok(true) {
            return Some((Verdict::Drop, By::Blacklist));
        }
        if !v6 && !packet.source.is_unspecified() && packet.source.is_multicast() {
            return Some((Verdict::Drop, By::Smurf));
        }
    }
    let (client, server) = if v6 { (546, 547) } else { (68, 67) };
    if let (true, Traffic::Ports { proto: Ported::Udp, from, to }) = (options.dhcp, packet.traffic) {
        let asks = packet.direction == Direction::Out && (from, to) == (client, server);
        let answers = packet.direction == Direction::In && (from, to) == (server, client);
        if asks || answers {
            return Some((Verdict::Accept, By::Dhcp));
        }
    }
    let icmp6 = match packet.traffic {
        Traffic::Icmp { kind, .. } if v6 => Some(kind),
        Traffic::Icmp { .. } | Traffic::Ports { .. } | Traffic::Other(_) => None,
    };
    if packet.direction == Direction::Out {
        if icmp6 == Some(134) && !options.radv {
            return Some((Verdict::Drop, By::RouterAdvertisement));
        }
        if let Some(members) = interface.senders(guest) {
            let mut names = Names::default();
            names.sets.insert("senders".to_owned(), members);
            let scopes = Scopes { guest: Some(&names), cluster: &cluster.names };
            if scopes.matches("+senders", packet.source) != Ok(true) {
                return Some((Verdict::Drop, By::IpFilter));
            }
        }
    }
    let advertises = packet.direction == Direction::In || options.radv;
    match icmp6 {
        Some(133 | 135 | 136) if options.ndp => Some((Verdict::Accept, By::Neighbours)),
        Some(134) if options.ndp && advertises => Some((Verdict::Accept, By::Neighbours)),
        Some(_) | None => None,
    }
}

/// Whether a rule is about the packet. What it names and is not there leaves it out.
pub(super) fn counts(
    scopes: Scopes<'_>,
    rule: &Rule,
    packet: &Packet,
    place: &Place,
    left_out: &mut Vec<(Place, String)>,
) -> Result<bool, Undecided> {
    let undecided = |why: String| Undecided { place: place.clone(), why };
    let v6 = packet.v6();
    let addresses = || -> Result<bool, Unknown> {
        for spec in [&rule.source, &rule.dest] {
            if scopes.family(spec)?.is_some_and(|six| six != v6) {
                return Ok(false);
            }
        }
        Ok(scopes.matches(&rule.source, packet.source)? && scopes.matches(&rule.dest, packet.dest)?)
    };
    match addresses() {
        Ok(true) => {}
        Ok(false) => return Ok(false),
        Err(Unknown(why)) => {
            left_out.push((place.clone(), why));
            return Ok(false);
        }
    }
    if rule.macro_name.is_empty() {
        return asked(&rule.proto, &rule.source_ports, &rule.dest_ports, &rule.icmp_type, packet).map_err(undecided);
    }
    let Some(parts) = macros::parts(&rule.macro_name, v6) else {
        return Err(undecided(format!("the macro `{}` is not known here", rule.macro_name)));
    };
    for (proto, from, to) in parts {
        // What the rule says beside its macro stands in place of what the macro says.
        let or = |own: &str, its: &str| if own.is_empty() { its.to_owned() } else { own.to_owned() };
        let (proto, from, to) = (or(&rule.proto, proto), or(&rule.source_ports, from), or(&rule.dest_ports, to));
        if asked(&proto, &from, &to, &rule.icmp_type, packet).map_err(undecided)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether protocol and ports are those that a rule asks for.
fn asked(proto: &str, from: &str, to: &str, icmp_type: &str, packet: &Packet) -> Result<bool, String> {
    if proto.is_empty() {
        return Ok(true);
    }
    // `icmp` is that of IPv4, whatever the packet.
    if traffic::protocol(proto)? != packet.traffic.number(packet.v6()) {
        return Ok(false);
    }
    match packet.traffic {
        Traffic::Ports { from: source, to: dest, .. } => {
            let any =
                |spec: &str, port: u16| if spec.is_empty() { Ok(true) } else { traffic::port_matches(spec, port) };
            Ok(any(from, source)? && any(to, dest)?)
        }
        Traffic::Icmp { kind, code } => {
            // Old rules keep the type where the ports are.
            let spec = if icmp_type.is_empty() { to } else { icmp_type };
            traffic::icmp_matches(spec, packet.v6(), kind, code)
        }
        Traffic::Other(_) => Ok(true),
    }
}

/// The chains `PVEFW-Drop` and `PVEFW-Reject`, asked before a policy takes effect.
pub(super) fn noise(policy: Verdict, packet: &Packet) -> Option<Verdict> {
    let v6 = packet.v6();
    let broadcast = packet.dest.is_multicast() || packet.dest == IpAddr::from([255, 255, 255, 255]);
    match packet.traffic {
        Traffic::Ports { proto: Ported::Tcp, to: 43, .. } if v6 => Some(Verdict::Reject),
        _ if broadcast => Some(Verdict::Drop),
        Traffic::Icmp { kind: 1..=3, .. } if v6 => Some(Verdict::Accept),
        Traffic::Icmp { kind: 3, code: 4 } | Traffic::Icmp { kind: 11, .. } if !v6 => Some(Verdict::Accept),
        Traffic::Ports { proto: Ported::Udp, to: 135 | 137..=139 | 445, .. }
        | Traffic::Ports { proto: Ported::Udp, from: 137, to: 1024.. }
        | Traffic::Ports { proto: Ported::Tcp, to: 135 | 139 | 445, .. } => Some(policy),
        Traffic::Ports { proto: Ported::Udp, to: 1900, .. } | Traffic::Ports { proto: Ported::Udp, from: 53, .. } => {
            Some(Verdict::Drop)
        }
        Traffic::Ports { .. } | Traffic::Icmp { .. } | Traffic::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::address::Member;
    use crate::firewall::scene::Options;
    use serde_json::json;

    fn rule(row: serde_json::Value) -> Rule {
        Rule::decode(&row).expect("a rule")
    }

    fn scene() -> (Cluster, Guest, Interface) {
        let mut cluster = Cluster { enabled: true, ..Cluster::default() };
        let member = |cidr: &str| Member { cidr: cidr.to_owned(), nomatch: false };
        cluster.names.sets.insert("web".into(), vec![member("10.0.0.0/24"), member("fd00::/64")]);
        cluster.groups.insert(
            "api".into(),
            vec![
                rule(json!({"type": "out", "action": "ACCEPT", "enable": 1, "dest": "+dc/web", "proto": "tcp", "dport": "443"})),
                rule(json!({"type": "out", "action": "REJECT", "enable": 1, "dest": "10.0.0.0/8"})),
                rule(json!({"type": "in", "action": "ACCEPT", "enable": 1, "macro": "SSH", "source": "10.0.0.0/8"})),
                rule(json!({"type": "out", "action": "ACCEPT", "enable": 1, "dest": "+nope"})),
            ],
        );
        let guest = Guest {
            options: Options { enabled: true, policy_out: Verdict::Drop, ..Options::decode(&json!({})) },
            rules: vec![
                rule(json!({"type": "out", "action": "DROP", "enable": 0})),
                rule(json!({"type": "out", "action": "DROP", "enable": 1, "iface": "net1"})),
                rule(json!({"type": "group", "action": "api", "enable": 1, "iface": "net0"})),
                rule(
                    json!({"type": "in", "action": "ACCEPT", "enable": 1, "proto": "icmp", "icmp-type": "echo-request"}),
                ),
            ],
            names: Names::default(),
        };
        let mac = "BC:24:11:12:34:56".to_owned();
        (cluster, guest, Interface { slot: "net0".into(), firewall: true, mac, addresses: Vec::new() })
    }

    fn tcp(direction: Direction, source: &str, dest: &str, to: u16) -> Packet {
        let traffic = Traffic::Ports { proto: Ported::Tcp, from: 40000, to };
        Packet { direction, source: source.parse().expect("one"), dest: dest.parse().expect("one"), traffic }
    }

    fn at(rule: usize, group: Option<usize>) -> By {
        By::Rule(Place { rule, group: group.map(|n| ("api".to_owned(), n)) })
    }

    #[test]
    fn rules_are_asked_in_order() {
        let (cluster, guest, net0) = scene();
        let out = |dest: &str, to: u16| {
            let decision = evaluate(&cluster, &guest, &net0, &tcp(Direction::Out, "10.1.0.1", dest, to)).expect("one");
            (decision.verdict, decision.by)
        };
        assert_eq!(out("10.0.0.7", 443), (Verdict::Accept, at(2, Some(0))));
        assert_eq!(out("10.0.0.7", 80), (Verdict::Reject, at(2, Some(1))));
        assert_eq!(out("192.0.2.1", 80), (Verdict::Drop, By::Policy));
        assert_eq!(out("192.0.2.1", 445), (Verdict::Drop, By::Noise));
        let mut six = tcp(Direction::Out, "fd00::1", "fd00::2", 443);
        assert_eq!(evaluate(&cluster, &guest, &net0, &six).expect("one").by, at(2, Some(0)));
        six.dest = "fd01::1".parse().expect("one");
        let decision = evaluate(&cluster, &guest, &net0, &six).expect("one");
        assert_eq!((decision.verdict, decision.by), (Verdict::Drop, By::Policy));
        assert_eq!(decision.left_out.len(), 1, "a rule that names a set that is not there counts for nothing");
        let inbound = evaluate(&cluster, &guest, &net0, &tcp(Direction::In, "10.9.9.9", "10.1.0.1", 22)).expect("one");
        assert_eq!((inbound.verdict, inbound.by), (Verdict::Accept, at(2, Some(2))));
    }

    #[test]
    fn switches_come_first() {
        let (cluster, guest, net0) = scene();
        let packet = tcp(Direction::Out, "10.1.0.1", "192.0.2.1", 80);
        let by = |c: &Cluster, g: &Guest, i: &Interface| evaluate(c, g, i, &packet).expect("one").by;
        assert_eq!(by(&Cluster { enabled: false, ..cluster.clone() }, &guest, &net0), By::ClusterOff);
        let mut off = guest.clone();
        off.options.enabled = false;
        assert_eq!(by(&cluster, &off, &net0), By::GuestOff);
        assert_eq!(by(&cluster, &guest, &Interface { firewall: false, ..net0.clone() }), By::InterfaceOff);
        let mut filtered = guest.clone();
        filtered.options.ip_filter = true;
        assert_eq!(by(&cluster, &filtered, &net0), By::IpFilter);
        let known = Interface { addresses: vec!["10.1.0.1".parse().expect("one")], ..net0 };
        assert_eq!(by(&cluster, &filtered, &known), By::Policy);
    }

    #[test]
    fn what_is_not_known_is_said() {
        let (cluster, mut guest, net0) = scene();
        guest.rules.insert(0, rule(json!({"type": "out", "action": "ACCEPT", "enable": 1, "macro": "Quux"})));
        let undecided = evaluate(&cluster, &guest, &net0, &tcp(Direction::Out, "10.1.0.1", "192.0.2.1", 80));
        assert_eq!(undecided.map_err(|u| u.place), Err(Place { rule: 0, group: None }));
    }
}
