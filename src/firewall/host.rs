//! What becomes of the first packet of a connection to a node itself. PVE asks the node's own rules, then the datacenter's,
//! then lets its management network in, then takes the datacenter's policy (`enable_host_firewall` of `PVE::Firewall`); the
//! new firewall (`nftables`) lets the management network in first (`default-in` of `proxmox-firewall`).

use crate::firewall::address::{Member, Scopes};
use crate::firewall::evaluate::{Place, Undecided, counts, noise};
use crate::firewall::rule::{Deed, Direction, Rule, Verdict};
use crate::firewall::scene::{Cluster, Packet};
use crate::firewall::traffic::{Ported, Traffic};
use ipnet::IpNet;

/// A node's part, with what the datacenter says for all nodes.
#[derive(Clone, Debug)]
pub struct Host {
    /// Whether its firewall is on; it is unless said otherwise.
    pub enabled: bool,
    /// Whether nftables does the work.
    pub nftables: bool,
    /// Its own rules in order.
    pub own: Vec<Rule>,
    /// The datacenter's rules in order, asked after its own.
    pub common: Vec<Rule>,
    /// What becomes of what no rule decides: the datacenter's policy.
    pub policy_in: Verdict,
    /// The network that its address is in, which PVE counts as management; `None` where it is not known.
    pub local: Option<IpNet>,
}

/// What decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostBy {
    /// The firewall of the cluster, or of the node, is off.
    Off,
    /// It comes from the node itself.
    Loopback,
    /// The cluster's set `blacklist`.
    Blacklist,
    /// A rule of the node.
    Own(Place),
    /// A rule of the datacenter.
    Common(Place),
    /// The set `management`, or the local network, on a port of PVE's.
    Management,
    /// What PVE does before its policy.
    Noise,
    /// The datacenter's policy.
    Policy,
}

/// The set whose members may always reach PVE's ports.
const MANAGEMENT: &str = "management";
/// The alias that stands for the local network of each node, unless somebody set it.
pub const LOCAL_NETWORK: &str = "local_network";

/// Decides about a packet to a node.
///
/// # Errors
/// A rule, or a network, that is not known stands before what would decide.
pub fn evaluate(cluster: &Cluster, host: &Host, packet: &Packet) -> Result<(Verdict, HostBy), String> {
    if !cluster.enabled || !host.enabled {
        return Ok((Verdict::Accept, HostBy::Off));
    }
    if packet.source == packet.dest || packet.source.is_loopback() {
        return Ok((Verdict::Accept, HostBy::Loopback));
    }
    if host.nftables && manages(cluster, host, packet)? {
        return Ok((Verdict::Accept, HostBy::Management));
    }
    let scopes = Scopes { guest: None, cluster: &cluster.names };
    if scopes.matches("+blacklist", packet.source) == Ok(true) {
        return Ok((Verdict::Drop, HostBy::Blacklist));
    }
    type Stands = fn(Place) -> HostBy;
    let lists: [(&[Rule], Stands); 2] = [(&host.own, HostBy::Own), (&host.common, HostBy::Common)];
    for (rules, stands) in lists {
        if let Some((verdict, place)) = first(cluster, rules, packet)? {
            return Ok((verdict, stands(place)));
        }
    }
    if manages(cluster, host, packet)? {
        return Ok((Verdict::Accept, HostBy::Management));
    }
    if host.policy_in != Verdict::Accept
        && let Some(verdict) = noise(host.policy_in, packet)
    {
        return Ok((verdict, HostBy::Noise));
    }
    Ok((host.policy_in, HostBy::Policy))
}

/// The first rule that is about the packet.
fn first(cluster: &Cluster, rules: &[Rule], packet: &Packet) -> Result<Option<(Verdict, Place)>, String> {
    for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.enabled) {
        let asked = |rule: &Rule, place: Place, of: &Rule| -> Result<Option<(Verdict, Place)>, String> {
            let Deed::Decide(Direction::In, verdict) = rule.deed else { return Ok(None) };
            let scopes = Scopes { guest: None, cluster: &cluster.names };
            let unknown = |Undecided { why, .. }: Undecided| why;
            let mut left_out = Vec::new();
            if !rule.enabled || !counts(scopes, rule, packet, &place, &mut left_out).map_err(unknown)? {
                // What names a set of virtual networks is not read here.
                let unread = [&rule.source, &rule.dest]
                    .into_iter()
                    .any(|spec| spec.contains("sdn/") || spec.contains(LOCAL_NETWORK));
                return if unread && !left_out.is_empty() {
                    Err("what a rule names is not known".into())
                } else {
                    Ok(None)
                };
            }
            if !of.interface.is_empty() || !rule.interface.is_empty() {
                return Err("a rule is for one interface, and which one the packet takes is not known".into());
            }
            Ok(Some((verdict, place)))
        };
        let found = match &rule.deed {
            Deed::Decide(..) => asked(rule, Place { rule: index, group: None }, rule)?,
            Deed::Group(name) => {
                let mut found = None;
                for (position, inner) in cluster.groups.get(name).into_iter().flatten().enumerate() {
                    let place = Place { rule: index, group: Some((name.clone(), position)) };
                    found = asked(inner, place, rule)?;
                    if found.is_some() {
                        break;
                    }
                }
                found
            }
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Whether it comes from whom PVE lets in, to one of the ports that it keeps open for them.
fn manages(cluster: &Cluster, host: &Host, packet: &Packet) -> Result<bool, String> {
    let Traffic::Ports { proto: Ported::Tcp, to: 8006 | 5900..=5999 | 3128 | 22 | 60_000..=60_050, .. } =
        packet.traffic
    else {
        return Ok(false);
    };
    let mut names = cluster.names.clone();
    let said = names.aliases.get(LOCAL_NETWORK).cloned();
    let local = said.or_else(|| host.local.map(|net| net.to_string()));
    let known = local.is_some();
    let set = names.sets.entry(MANAGEMENT.to_owned()).or_default();
    set.extend(local.map(|cidr| Member { cidr, nomatch: false }));
    let scopes = Scopes { guest: None, cluster: &names };
    match scopes.matches("+management", packet.source) {
        Ok(true) => Ok(true),
        Ok(false) | Err(_) if !known => Err("the local network of the node is not known".into()),
        Ok(false) | Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(row: serde_json::Value) -> Rule {
        Rule::decode(&row).expect("a rule")
    }

    fn host() -> Host {
        Host {
            enabled: true,
            nftables: false,
            own: Vec::new(),
            common: Vec::new(),
            policy_in: Verdict::Drop,
            local: "192.168.1.0/24".parse().ok(),
        }
    }

    fn packet(source: &str, to: u16) -> Packet {
        let traffic = Traffic::Ports { proto: Ported::Tcp, from: 50_000, to };
        let address = |text: &str| text.parse().expect("an address");
        Packet { direction: Direction::In, source: address(source), dest: address("192.168.1.11"), traffic }
    }

    #[test]
    fn pve_lets_its_management_in_after_the_rules_or_before_them() {
        let mut cluster = Cluster { enabled: true, ..Cluster::default() };
        let member = Member { cidr: "10.9.0.0/16".into(), nomatch: false };
        cluster.names.sets.insert("management".into(), vec![member]);
        let mut host = host();
        for (source, to, expected) in [
            ("192.168.1.50", 8006, (Verdict::Accept, HostBy::Management)),
            ("10.9.1.1", 22, (Verdict::Accept, HostBy::Management)),
            ("10.9.1.1", 80, (Verdict::Drop, HostBy::Policy)),
            ("10.8.1.1", 8006, (Verdict::Drop, HostBy::Policy)),
            ("192.168.1.11", 8006, (Verdict::Accept, HostBy::Loopback)),
        ] {
            assert_eq!(evaluate(&cluster, &host, &packet(source, to)), Ok(expected), "{source} {to}");
        }
        host.common = vec![rule(json!({"type": "in", "action": "DROP", "enable": 1, "proto": "tcp", "dport": "8006"}))];
        let at = Place { rule: 0, group: None };
        let ours = packet("192.168.1.50", 8006);
        assert_eq!(evaluate(&cluster, &host, &ours), Ok((Verdict::Drop, HostBy::Common(at.clone()))));
        let newer = Host { nftables: true, ..host.clone() };
        assert_eq!(evaluate(&cluster, &newer, &ours), Ok((Verdict::Accept, HostBy::Management)));
        // A node's own rules come before the datacenter's.
        host.own = vec![rule(json!({"type": "in", "action": "ACCEPT", "enable": 1, "source": "192.168.1.50"}))];
        assert_eq!(evaluate(&cluster, &host, &ours), Ok((Verdict::Accept, HostBy::Own(at))));
        host.enabled = false;
        assert_eq!(evaluate(&cluster, &host, &packet("10.8.1.1", 8006)), Ok((Verdict::Accept, HostBy::Off)));
    }

    #[test]
    fn what_is_not_known_is_not_decided() {
        let mut cluster = Cluster { enabled: true, ..Cluster::default() };
        let blind = Host { local: None, ..host() };
        assert!(evaluate(&cluster, &blind, &packet("10.8.1.1", 8006)).is_err());
        let row =
            json!({"type": "in", "action": "ACCEPT", "enable": 1, "iface": "vmbr1", "proto": "tcp", "dport": "8006"});
        let wired = Host { own: vec![rule(row)], ..host() };
        assert!(evaluate(&cluster, &wired, &packet("10.8.1.1", 8006)).is_err());
        assert_eq!(evaluate(&cluster, &wired, &packet("10.8.1.1", 22)), Ok((Verdict::Drop, HostBy::Policy)));
        cluster.names.aliases.insert("local_network".into(), "10.8.0.0/16".into());
        assert_eq!(evaluate(&cluster, &blind, &packet("10.8.1.1", 8006)), Ok((Verdict::Accept, HostBy::Management)));
    }
}
