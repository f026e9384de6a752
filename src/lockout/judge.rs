//! Whether a way is open, by the answers as they are or will be: out of the guest that we run in, if we do, and into the node
//! that it leads to. Each is judged for itself: on the way between them, an address may become another one.

use crate::base::id::GuestType;
use crate::firewall::address::{Member, Names, network};
use crate::firewall::evaluate::{By, Place, evaluate};
use crate::firewall::host::{self, Host, HostBy, LOCAL_NETWORK};
use crate::firewall::rule::{Deed, Direction, Rule, Verdict};
use crate::firewall::scene::{Cluster, Guest, Interface, Options, Packet};
use crate::firewall::traffic::{Ported, Traffic};
use crate::lockout::answers::Answers;
use crate::lockout::reads::CLUSTER;
use crate::lockout::way::Way;
use crate::pve::property::PropertyString;
use crate::pve::request::segment;
use crate::resource::index::{GuestRow, Index, text};
use crate::resource::observation::guest_query;
use ipnet::IpNet;
use serde_json::Value;
use std::net::IpAddr;

/// What becomes of a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing stands against it.
    Open,
    /// It is closed: by what, and what would open it.
    Closed {
        /// What decides.
        by: String,
        /// What to write.
        remedy: String,
    },
    /// It cannot be said.
    Unknown,
}

fn packet(way: &Way, direction: Direction) -> Packet {
    // A port as systems give out for connections; rules seldom ask for it.
    let traffic = Traffic::Ports { proto: Ported::Tcp, from: 49_152, to: way.to.port() };
    Packet { direction, source: way.from, dest: way.to.ip(), traffic }
}

fn rules(answers: &Answers<'_>, path: &str) -> Option<Vec<Rule>> {
    Some(answers.rows(path)?.iter().filter_map(Rule::decode).collect())
}

/// The datacenter's part; `None` where any of it is not known.
fn cluster(answers: &Answers<'_>) -> Option<Cluster> {
    let enabled = text(&answers.get(&format!("{CLUSTER}/options"))?["enable"]).is_some_and(|on| on != "0");
    let mut cluster = Cluster { enabled, ..Cluster::default() };
    for row in answers.rows(&format!("{CLUSTER}/aliases"))? {
        cluster.names.aliases.insert(text(&row["name"])?.to_ascii_lowercase(), text(&row["cidr"])?);
    }
    for row in answers.rows(&format!("{CLUSTER}/ipset"))? {
        let name = text(&row["name"])?;
        let members = answers.rows(&format!("{CLUSTER}/ipset/{}", segment(&name)))?;
        let member = |row: &Value| {
            let nomatch = text(&row["nomatch"]).is_some_and(|on| on == "1");
            Some(Member { cidr: text(&row["cidr"])?, nomatch })
        };
        cluster.names.sets.insert(name, members.iter().filter_map(member).collect());
    }
    for row in answers.rows(&format!("{CLUSTER}/groups"))? {
        let name = text(&row["group"])?;
        let rules = rules(answers, &format!("{CLUSTER}/groups/{}", segment(&name)))?;
        cluster.groups.insert(name, rules);
    }
    Some(cluster)
}

// ---- into a node -----------------------------------------------------------------------------------------------------

/// The networks that a node has addresses in.
fn networks(answers: &Answers<'_>, node: &str) -> Vec<IpNet> {
    let rows = answers.rows(&format!("/nodes/{}/network", segment(node)));
    let said = rows.into_iter().flatten().flat_map(|row| [text(&row["cidr"]), text(&row["cidr6"])]);
    said.flatten().filter_map(|cidr| cidr.parse().ok()).collect()
}

/// Into the node that a way leads to, whatever it comes out of.
pub fn into(answers: &Answers<'_>, index: &Index, way: &Way) -> Fate {
    let target = way.to.ip();
    let has = |node: &&String| {
        index.addresses.get(*node) == Some(&target) || networks(answers, node).iter().any(|net| net.addr() == target)
    };
    // An address of none of them is that of something before them, which is not looked into.
    let Some(node) = index.nodes.keys().find(has) else { return Fate::Unknown };
    let Some((cluster, host)) = host(answers, index, node) else { return Fate::Unknown };
    let by = match host::evaluate(&cluster, &host, &packet(way, Direction::In)) {
        Err(_) => return Fate::Unknown,
        Ok((Verdict::Accept, _)) => return Fate::Open,
        Ok((verdict, by)) => format!("{} by {}", verdict.as_str(), said(&by, node)),
    };
    let (from, port) = (way.from, way.to.port());
    let remedy = match by_rule(&host, &cluster, way) {
        true => format!("let {from} in before it, with a rule for tcp port {port}"),
        false => format!("let {from} in first: in the address set `management`, or with a rule for tcp port {port}"),
    };
    Fate::Closed { by, remedy }
}

/// Whether it is a rule that decides, so that the set `management`, which is asked after rules, would not help.
fn by_rule(host: &Host, cluster: &Cluster, way: &Way) -> bool {
    let by = host::evaluate(cluster, host, &packet(way, Direction::In)).map(|(_, by)| by);
    matches!(by, Ok(HostBy::Own(_) | HostBy::Common(_) | HostBy::Blacklist))
}

fn host(answers: &Answers<'_>, index: &Index, node: &str) -> Option<(Cluster, Host)> {
    let mut cluster = cluster(answers)?;
    let own = format!("/nodes/{}/firewall", segment(node));
    let options = answers.get(&format!("{own}/options"))?;
    let datacenter = answers.get(&format!("{CLUSTER}/options"))?;
    let address = index.addresses.get(node);
    let local = networks(answers, node).into_iter().find(|net| Some(&net.addr()) == address).map(|net| net.trunc());
    if let Some(local) = local {
        cluster.names.aliases.entry(LOCAL_NETWORK.to_owned()).or_insert_with(|| local.to_string());
    }
    let host = Host {
        enabled: text(&options["enable"]).is_none_or(|on| on != "0"),
        nftables: text(&options["nftables"]).is_some_and(|on| on == "1"),
        own: rules(answers, &format!("{own}/rules"))?,
        common: rules(answers, &format!("{CLUSTER}/rules"))?,
        policy_in: text(&datacenter["policy_in"]).and_then(|p| Verdict::parse(&p)).unwrap_or(Verdict::Drop),
        local,
    };
    Some((cluster, host))
}

fn said(by: &HostBy, node: &str) -> String {
    match by {
        HostBy::Own(place) => stands(place, &format!("node {node}")),
        HostBy::Common(place) => stands(place, "the datacenter"),
        HostBy::Blacklist => "the datacenter's address set `blacklist`".to_owned(),
        HostBy::Noise => "what PVE refuses before its policy".to_owned(),
        HostBy::Policy => format!("the datacenter's policy for what comes in to node {node}: no rule is about it"),
        HostBy::Off | HostBy::Loopback | HostBy::Management => "nothing".to_owned(),
    }
}

fn stands(place: &Place, of: &str) -> String {
    match &place.group {
        None => format!("rule {} of {of}", place.rule + 1),
        Some((group, position)) => format!("rule {} of security group {group}, which {of} asks", position + 1),
    }
}

// ---- out of a guest --------------------------------------------------------------------------------------------------

/// Out of the guest that has the address which a way begins at.
pub fn out(answers: &Answers<'_>, index: &Index, way: &Way) -> Fate {
    let running = index.guests.values().filter(|row| row.status == "running");
    let ours: Vec<(&GuestRow, Interface)> =
        running.filter_map(|row| Some((row.as_ref(), interface(answers, row, way.from)?))).collect();
    let (row, interface) = match ours.as_slice() {
        // We run elsewhere.
        [] => return Fate::Open,
        [one] => one,
        // The same address in two networks.
        [_, _, ..] => return Fate::Unknown,
    };
    let own = format!("/nodes/{}/{}/{}/firewall", row.node, row.guest, row.vmid);
    let decided = || {
        let options = Options::decode(answers.get(&format!("{own}/options"))?);
        let mut cluster = cluster(answers)?;
        let list = rules(answers, &format!("{own}/rules"))?;
        let sets = answers.rows(&format!("{own}/ipset"));
        let mut names = Names::default();
        for row in answers.rows(&format!("{own}/aliases")).into_iter().flatten() {
            names.aliases.insert(text(&row["name"])?.to_ascii_lowercase(), text(&row["cidr"])?);
        }
        let none = sets.is_some_and(Vec::is_empty);
        let asked =
            list.iter().filter(|rule| rule.enabled && rule.deed == Deed::Decide(Direction::Out, Verdict::Accept));
        if !none && asked.flat_map(|rule| [&rule.source, &rule.dest]).any(|spec| is_own(spec)) {
            return None;
        }
        let filtered = sets.is_none_or(|sets| sets.iter().any(|s| s["name"] == format!("ipfilter-{}", interface.slot)));
        // Where it stands for the node's network, it differs from node to node.
        let local = index.addresses.get(&row.node);
        let net = networks(answers, &row.node).into_iter().find(|net| Some(&net.addr()) == local);
        if let Some(net) = net {
            cluster.names.aliases.entry(LOCAL_NETWORK.to_owned()).or_insert_with(|| net.trunc().to_string());
        }
        let guest = Guest { options, rules: list, names };
        let decision = evaluate(&cluster, &guest, interface, &packet(way, Direction::Out)).ok()?;
        let unread = decision.left_out.iter().any(|(_, why)| why.contains("sdn/") || why.contains(LOCAL_NETWORK));
        if decision.verdict != Verdict::Accept && (unread || decision.by == By::IpFilter && filtered) {
            return None;
        }
        Some((decision.verdict, decision.by))
    };
    match decided() {
        None => Fate::Unknown,
        Some((Verdict::Accept, _)) => Fate::Open,
        Some((verdict, by)) => {
            let guest = format!("guest {} ({}), in which pvectl runs", row.vmid, row.name);
            let (slot, to) = (&interface.slot, way.to);
            let remedy = if by == By::IpFilter {
                format!("put {} into the guest's address set `ipfilter-{slot}`", way.from)
            } else {
                format!(
                    "let it out: `egress: {{allow: [{{to: {}, ports: [\"tcp/{}\"]}}]}}` in its profile",
                    to.ip(),
                    to.port()
                )
            };
            Fate::Closed { by: format!("{} by {}", verdict.as_str(), left(&by, &guest)), remedy }
        }
    }
}

/// Whether an address of a rule may be a name of the guest's own.
fn is_own(spec: &str) -> bool {
    let bare = spec.strip_prefix('+').unwrap_or(spec);
    let named = spec.starts_with('+') || spec.split([',', '-']).any(|part| network(part).is_none());
    !spec.is_empty() && named && !bare.starts_with("dc/")
}

fn left(by: &By, guest: &str) -> String {
    match by {
        By::Rule(place) => stands(place, guest),
        By::IpFilter => format!("the IP filter of {guest}"),
        By::Policy => format!("the policy for what goes out of {guest}: no rule is about it"),
        By::ClusterOff
        | By::GuestOff
        | By::InterfaceOff
        | By::Blacklist
        | By::Smurf
        | By::Dhcp
        | By::Neighbours
        | By::RouterAdvertisement
        | By::Noise => format!("the firewall of {guest}"),
    }
}

/// The interface of a guest that has an address by its configuration.
fn interface(answers: &Answers<'_>, row: &GuestRow, address: IpAddr) -> Option<Interface> {
    let rows = answers.rows(&guest_query(row).path)?;
    let value = |key: &str| rows.iter().find(|row| row["key"] == key).and_then(|row| text(&row["value"]));
    (0..32).find_map(|number| {
        let slot = format!("net{number}");
        let net = PropertyString::parse(&value(&slot)?, "");
        let said = match row.guest {
            GuestType::Lxc => net.clone(),
            GuestType::Qemu => PropertyString::parse(&value(&format!("ipconfig{number}"))?, ""),
        };
        let configured: Vec<IpAddr> =
            ["ip", "ip6"].iter().filter_map(|key| said.get(key)?.split('/').next()?.parse().ok()).collect();
        configured.contains(&address).then(|| Interface {
            slot,
            firewall: net.get("firewall") == Some("1"),
            mac: net.iter().map(|(_, part)| part).find(|part| part.matches(':').count() == 5).unwrap_or("").to_owned(),
            // PVE's filter knows the addresses of containers alone.
            addresses: if row.guest == GuestType::Lxc { configured } else { Vec::new() },
        })
    })
}
