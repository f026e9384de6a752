//! `network show` and `network test`: what may pass, and why.

use crate::base::resolver::Resolver;
use crate::cli::args::Global;
use crate::cli::args::network::{NetworkShow, NetworkTest};
use crate::cli::exit;
use crate::cli::manifests::{self, Tree};
use crate::cli::output::{self, Format};
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::scene::{self, Card, Found};
use crate::cli::session::Session;
use crate::firewall::evaluate::{By, Decision, Place, Undecided, evaluate};
use crate::firewall::rule::{Deed, Direction, Rule, Verdict};
use crate::firewall::scene::Packet;
use crate::firewall::traffic::{Ported, Traffic};
use crate::kinds::network_profile::compile::compile;
use crate::kinds::network_profile::{parse, spec};
use crate::manifest::tree::PathSegment;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

/// Where the rules of security groups are said in the manifests: by group and position, `file:line`.
type Lines = BTreeMap<(String, usize), String>;

fn lines(tree: Option<&Tree>) -> Lines {
    let mut out = Lines::new();
    let Some(tree) = tree else { return out };
    let sources = &tree.loaded.sources;
    for document in &tree.loaded.documents {
        match document.kind.0.as_str() {
            spec::NAME => {
                let compiled = parse(&document.spec.to_json()).and_then(|spec| compile(&document.name.0, &spec));
                let Ok(compiled) = compiled else { continue };
                for (position, made) in compiled.rules.iter().enumerate() {
                    let path = PathSegment::path(&made.from);
                    out.insert((compiled.group.clone(), position), sources.place(document.spec.place(&path)));
                }
            }
            "SecurityGroup" if document.member_of.is_none() => {
                let id = document.spec.get("id").and_then(|n| n.as_str()).unwrap_or(&document.name.0);
                let rules = document.spec.get("rules").and_then(|n| n.as_sequence()).unwrap_or_default();
                for (position, rule) in rules.iter().enumerate() {
                    out.insert((id.to_owned(), position), sources.place(rule.span));
                }
            }
            _ => {}
        }
    }
    out
}

fn tree(sources: &crate::cli::args::Sources) -> Result<Option<Tree>, Failure> {
    if sources.files.is_empty() { Ok(None) } else { manifests::read(sources).map(Some) }
}

/// What a rule asks, in one line.
fn said(rule: &Rule) -> String {
    let mut words = Vec::new();
    for (word, text) in [
        ("", &rule.macro_name),
        ("from", &rule.source),
        ("to", &rule.dest),
        ("proto", &rule.proto),
        ("source port", &rule.source_ports),
        ("port", &rule.dest_ports),
        ("type", &rule.icmp_type),
    ] {
        match (word, text.as_str()) {
            (_, "") => {}
            ("", text) => words.push(text.to_owned()),
            (word, text) => words.push(format!("{word} {text}")),
        }
    }
    if words.is_empty() { "everything".to_owned() } else { words.join(" ") }
}

/// One line of the order of evaluation.
struct Asked<'a> {
    place: Place,
    rule: &'a Rule,
    verdict: Verdict,
}

/// The rules that are asked about a direction of an interface, in order.
fn asked<'a>(found: &'a Found, card: &Card, direction: Direction) -> Vec<Asked<'a>> {
    let mut out = Vec::new();
    for (index, rule) in found.guest.rules.iter().enumerate() {
        if !rule.enabled || !rule.interface.is_empty() && rule.interface != card.interface.slot {
            continue;
        }
        let mut add = |place: Place, rule: &'a Rule| {
            if let Deed::Decide(way, verdict) = &rule.deed
                && *way == direction
                && rule.enabled
            {
                out.push(Asked { place, rule, verdict: *verdict });
            }
        };
        match &rule.deed {
            Deed::Decide(..) => add(Place { rule: index, group: None }, rule),
            Deed::Group(name) => {
                for (position, rule) in found.cluster.groups.get(name).into_iter().flatten().enumerate() {
                    add(Place { rule: index, group: Some((name.clone(), position)) }, rule);
                }
            }
        }
    }
    out
}

fn stands(place: &Place, lines: &Lines) -> String {
    match &place.group {
        None => format!("rule {} of the guest", place.rule + 1),
        Some((group, position)) => {
            let line = lines.get(&(group.clone(), *position)).map(|l| format!(", {l}")).unwrap_or_default();
            format!("rule {} of {group}{line}", position + 1)
        }
    }
}

/// `network show`.
pub fn show(global: &Global, args: &NetworkShow) -> Ended {
    let tree = tree(&args.sources)?;
    let session = Session::open(global, None)?;
    let found = block_on(scene::read(&session.cluster(), &args.guest))??;
    session.close()?;
    let lines = lines(tree.as_ref());
    match &args.format.output {
        Some(Format::Value(form)) => print(&output::write(&value(&found, &lines), form)?),
        Some(Format::Name) => print(&format!("{}\n", found.name)),
        Some(Format::Table | Format::Wide) | None => print(&text(&found, &lines)),
    }
    Ok(exit::DONE)
}

fn value(found: &Found, lines: &Lines) -> Value {
    let rules = |card: &Card, direction| -> Vec<Value> {
        let one = |a: &Asked<'_>| json!({"action": a.verdict.as_str(), "asks": said(a.rule), "stands": stands(&a.place, lines)});
        asked(found, card, direction).iter().map(one).collect()
    };
    let options = &found.guest.options;
    json!({
        "guest": found.name,
        "vmid": found.seen.row.vmid.get(),
        "node": found.seen.row.node,
        "addresses": found.told,
        "firewall": {"cluster": found.cluster.enabled, "guest": options.enabled, "macFilter": options.mac_filter, "ipFilter": options.ip_filter},
        "interfaces": found.cards.iter().map(|card| json!({
            "slot": card.interface.slot,
            "options": card.options,
            "addresses": card.configured,
            "out": {"rules": rules(card, Direction::Out), "policy": options.policy_out.as_str()},
            "in": {"rules": rules(card, Direction::In), "policy": options.policy_in.as_str()},
        })).collect::<Vec<_>>(),
    })
}

fn text(found: &Found, lines: &Lines) -> String {
    let row = &found.seen.row;
    let options = &found.guest.options;
    let on = |on: bool| if on { "on" } else { "off" };
    let list = |all: &[IpAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut out = format!("{}  {} {} on {}, {}\n", found.name, row.guest, row.vmid, row.node, row.status);
    let filters = format!("MAC filter {}, IP filter {}", on(options.mac_filter), on(options.ip_filter));
    let _ = writeln!(out, "firewall: cluster {}, guest {}, {filters}", on(found.cluster.enabled), on(options.enabled));
    if !found.told.is_empty() {
        let _ = writeln!(out, "addresses, as the guest says: {}", list(&found.told));
    }
    for card in &found.cards {
        let words: Vec<String> = card.options.iter().map(|(key, value)| format!("{key} {value}")).collect();
        let _ = writeln!(out, "\n{}  {}", card.interface.slot, words.join(", "));
        if !card.configured.is_empty() {
            let _ = writeln!(out, "  configured: {}", list(&card.configured));
        }
        for (direction, policy) in [(Direction::Out, options.policy_out), (Direction::In, options.policy_in)] {
            let open = [
                (found.cluster.enabled, "the cluster's firewall is off"),
                (options.enabled, "the guest's firewall is off"),
                (card.interface.firewall, "this interface has no firewall"),
            ];
            if let Some((_, why)) = open.iter().find(|(on, _)| !on) {
                let _ = writeln!(out, "  {}: everything passes: {why}", direction.as_str());
            } else {
                let _ = writeln!(out, "  {}:", direction.as_str());
            }
            for asked in asked(found, card, direction) {
                let place = stands(&asked.place, lines);
                let _ = writeln!(out, "    {:<6}  {}  ({place})", asked.verdict.as_str(), said(asked.rule));
            }
            let _ = writeln!(out, "    {:<6}  all else  (policy)", policy.as_str());
        }
    }
    out
}

/// `network test`.
pub fn test(global: &Global, args: &NetworkTest) -> Ended {
    let (direction, host, port) = peer(args)?;
    let tree = tree(&args.sources)?;
    let session = Session::open(global, None)?;
    let (found, peers) = block_on(async {
        let cluster = session.cluster();
        let peers = resolve(cluster.names, &host).await?;
        Ok::<_, Failure>((scene::read(&cluster, &args.guest).await?, peers))
    })??;
    session.close()?;
    let card = card(&found, args.interface.as_deref())?;
    let lines = lines(tree.as_ref());
    let mut results = Vec::new();
    for peer in peers {
        let own = own_address(&found, card, args.address, peer);
        let (source, dest) = if direction == Direction::Out { (own, peer) } else { (peer, own) };
        let traffic = traffic(args, peer, port);
        let packet = Packet { direction, source, dest, traffic };
        let decision =
            evaluate(&found.cluster, &found.guest, &card.interface, &packet).map_err(|Undecided { place, why }| {
                Failure::new(exit::FAILED, format!("{} cannot be judged: {why}", stands(&place, &lines)))
                    .hint("the rule stands before the one that would decide")
            })?;
        results.push((packet, decision));
    }
    let passes = results.iter().all(|(_, d)| d.verdict == Verdict::Accept);
    match &args.format.output {
        Some(Format::Value(form)) => {
            let all: Vec<Value> = results.iter().map(|(p, d)| result(p, d, &lines)).collect();
            print(&output::write(&Value::from(all), form)?);
        }
        Some(Format::Table | Format::Wide | Format::Name) | None => {
            results.iter().for_each(|(packet, decision)| print(&judged(&found, packet, decision, &lines)));
        }
    }
    Ok(if passes { exit::DONE } else { exit::DIFFERENCES })
}

/// The other side, and the port that it is about.
fn peer(args: &NetworkTest) -> Result<(Direction, String, u16), Failure> {
    let usage = |text: &str| Failure::new(exit::USAGE, text.to_owned());
    match (&args.to, &args.from) {
        (Some(to), _) if args.icmp => Ok((Direction::Out, to.clone(), 0)),
        (Some(to), _) => {
            let (host, port) = to
                .rsplit_once(':')
                .ok_or_else(|| usage("--to takes a host with its port, such as api.github.com:443"))?;
            let port = port.parse().map_err(|_| usage(&format!("`{port}` is no port")))?;
            Ok((Direction::Out, host.trim_matches(['[', ']']).to_owned(), port))
        }
        (None, Some(from)) => match args.port {
            Some(port) => Ok((Direction::In, from.clone(), port)),
            None if args.icmp => Ok((Direction::In, from.clone(), 0)),
            None => Err(usage("--from takes --port with it: the port of the guest").hint("or --icmp, for a ping")),
        },
        (None, None) => Err(usage("say --to HOST:PORT or --from HOST --port PORT")),
    }
}

async fn resolve(names: &dyn Resolver, host: &str) -> Result<Vec<IpAddr>, Failure> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let all = names.resolve(host).await.map_err(|why| Failure::new(exit::FAILED, why))?;
    Ok(all.into_iter().collect())
}

fn card<'a>(found: &'a Found, slot: Option<&str>) -> Result<&'a Card, Failure> {
    let card = found.cards.iter().find(|c| slot.is_none_or(|s| c.interface.slot == s));
    card.ok_or_else(|| {
        let all: Vec<&str> = found.cards.iter().map(|c| c.interface.slot.as_str()).collect();
        let list = if all.is_empty() { "it has none".to_owned() } else { format!("it has {}", all.join(", ")) };
        Failure::new(exit::USAGE, format!("{} has no interface `{}`", found.name, slot.unwrap_or("net0"))).hint(list)
    })
}

/// The guest's address for a peer: what was given, configured, or told, of the same family.
fn own_address(found: &Found, card: &Card, given: Option<IpAddr>, peer: IpAddr) -> IpAddr {
    let unspecified: IpAddr =
        if peer.is_ipv6() { std::net::Ipv6Addr::UNSPECIFIED.into() } else { std::net::Ipv4Addr::UNSPECIFIED.into() };
    let mut all = given.iter().chain(&card.configured).chain(&found.told);
    all.find(|a| a.is_ipv6() == peer.is_ipv6()).copied().unwrap_or(unspecified)
}

fn traffic(args: &NetworkTest, peer: IpAddr, to: u16) -> Traffic {
    if args.icmp {
        return Traffic::Icmp { kind: if peer.is_ipv6() { 128 } else { 8 }, code: 0 };
    }
    let proto = if args.udp { Ported::Udp } else { Ported::Tcp };
    // A port as systems give out for connections; rules seldom ask for it.
    Traffic::Ports { proto, from: 49_152, to }
}

fn why(by: &By, lines: &Lines) -> String {
    match by {
        By::ClusterOff => "the cluster's firewall is off".to_owned(),
        By::GuestOff => "the guest's firewall is off".to_owned(),
        By::InterfaceOff => "the interface has no firewall".to_owned(),
        By::Blacklist => "the cluster's set `blacklist`".to_owned(),
        By::Smurf => "no sender has such an address".to_owned(),
        By::Dhcp => "the option `dhcp`".to_owned(),
        By::Neighbours => "the option `ndp`".to_owned(),
        By::RouterAdvertisement => "the option `radv` is off".to_owned(),
        By::IpFilter => "the IP filter: the sender's address is not one of the guest's".to_owned(),
        By::Rule(place) => stands(place, lines),
        By::Noise => "what PVE does before its policy, with broadcasts, Windows' noise and needed ICMP".to_owned(),
        By::Policy => "the policy: no rule is about it".to_owned(),
    }
}

fn result(packet: &Packet, decision: &Decision, lines: &Lines) -> Value {
    let Packet { direction, source, dest, traffic } = packet;
    json!({"direction": direction.as_str(), "source": source, "dest": dest, "traffic": traffic.to_string(),
        "verdict": decision.verdict.as_str(), "by": why(&decision.by, lines),
        "leftOut": decision.left_out.iter().map(|(place, why)| json!({"rule": stands(place, lines), "why": why})).collect::<Vec<_>>()})
}

fn judged(found: &Found, packet: &Packet, decision: &Decision, lines: &Lines) -> String {
    let peer = if packet.direction == Direction::Out { packet.dest } else { packet.source };
    let way = if packet.direction == Direction::Out { "to" } else { "from" };
    let mut out = format!(
        "{}  {} {way} {peer} {}: {}\n",
        decision.verdict.as_str(),
        found.name,
        packet.traffic,
        why(&decision.by, lines)
    );
    for (place, why) in &decision.left_out {
        let _ = writeln!(out, "  left out: {}: {why}", stands(place, lines));
    }
    out
}
