//! From a profile to a security group and address sets. The same profile always becomes the same, and what becomes of it
//! says from which field of the manifest each rule is.

use crate::firewall::rule::{Deed, Direction, Rule, Verdict};
use crate::kinds::network_profile::peer::Peer;
use crate::kinds::network_profile::ports::Ports;
use crate::kinds::network_profile::spec::{Default, From, NetworkProfileSpec, To};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// The longest name of a security group (`PVE::Firewall`).
const GROUP_MAX: usize = 18;
/// The most numbers in a list of ports (`parse_port_name_number_or_range` of `PVE::Firewall`; a range counts as two).
const PORTS_MAX: usize = 15;

/// An address set that a profile needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name on the cluster.
    pub name: String,
    /// Addresses and networks.
    pub nets: Vec<String>,
    /// Names of DNS whose addresses are in it.
    pub names: Vec<String>,
    /// Guests whose addresses are in it, by labels.
    pub guests: Vec<BTreeMap<String, String>>,
    /// Addresses and networks that are not meant.
    pub except: Vec<String>,
}

/// A rule of the group, and where the profile says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The rule.
    pub rule: Rule,
    /// PVE's log level.
    pub log: Option<&'static str>,
    /// The field of the spec: `egress.allow[0]`.
    pub from: String,
}

/// What a profile becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// The name of the security group.
    pub group: String,
    /// Its rules in order.
    pub rules: Vec<Made>,
    /// The sets that the rules name.
    pub sets: Vec<Set>,
}

/// A name that PVE takes, made of a longer one: the same for the same, and never that of another.
///
/// Short names stand behind `pv-`, others as a hash behind `px-`, so that neither can be taken for the other.
pub fn group_name(profile: &str) -> String {
    let plain = format!("pv-{profile}");
    if plain.len() <= GROUP_MAX {
        return plain;
    }
    format!("px-{}", &digest(profile)[..GROUP_MAX - 3])
}

fn digest(text: &str) -> String {
    // Letters and digits, 5 bits each: 75 bits in a name.
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    Sha256::digest(text.as_bytes()).iter().map(|byte| char::from(LETTERS[usize::from(*byte) % 32])).collect()
}

/// One entry of `allow` or `deny`, whichever side.
struct Entry<'a> {
    peer: &'a Peer,
    ports: &'a [Ports],
    except: &'a [String],
}

impl<'a> std::convert::From<&'a To> for Entry<'a> {
    fn from(to: &'a To) -> Entry<'a> {
        Entry { peer: &to.to, ports: &to.ports, except: &to.except }
    }
}

impl<'a> std::convert::From<&'a From> for Entry<'a> {
    fn from(from: &'a From) -> Entry<'a> {
        Entry { peer: &from.from, ports: &from.ports, except: &from.except }
    }
}

/// Compiles a profile.
///
/// # Errors
/// The field, and what is wrong with it.
pub fn compile(profile: &str, spec: &NetworkProfileSpec) -> Result<Compiled, (String, String)> {
    let mut out = Compiled { group: group_name(profile), rules: Vec::new(), sets: Vec::new() };
    let log = spec.log.as_pve();
    if let Some(egress) = &spec.egress {
        let denied = refusal(egress.default);
        for (list, entries, verdict) in [("allow", &egress.allow, Verdict::Accept), ("deny", &egress.deny, denied)] {
            for (number, entry) in entries.iter().enumerate() {
                let from = format!("egress.{list}[{number}]");
                add(&mut out, profile, &entry.into(), (Direction::Out, verdict), log, from)?;
            }
        }
        close(&mut out, Direction::Out, egress.default, log);
    }
    if let Some(ingress) = &spec.ingress {
        let denied = refusal(ingress.default);
        for (list, entries, verdict) in [("allow", &ingress.allow, Verdict::Accept), ("deny", &ingress.deny, denied)] {
            for (number, entry) in entries.iter().enumerate() {
                let from = format!("ingress.{list}[{number}]");
                add(&mut out, profile, &entry.into(), (Direction::In, verdict), log, from)?;
            }
        }
        close(&mut out, Direction::In, ingress.default, log);
    }
    Ok(out)
}

/// The way to say no that goes with a default.
fn refusal(default: Default) -> Verdict {
    match default {
        Default::Reject => Verdict::Reject,
        Default::Allow | Default::Deny => Verdict::Drop,
    }
}

/// What is allowed by default is so in the group itself: the policy of a guest is that of its strictest profile.
fn close(out: &mut Compiled, direction: Direction, default: Default, log: Option<&'static str>) {
    if default == Default::Allow {
        let from = format!("{}.default", side(direction));
        out.rules.push(Made { rule: Rule::new(Deed::Decide(direction, Verdict::Accept)), log, from });
    }
}

fn side(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "ingress",
        Direction::Out => "egress",
    }
}

fn add(
    out: &mut Compiled,
    profile: &str,
    entry: &Entry<'_>,
    (direction, verdict): (Direction, Verdict),
    log: Option<&'static str>,
    from: String,
) -> Result<(), (String, String)> {
    let word = if direction == Direction::Out { "to" } else { "from" };
    let wrong = |field: &str, why: String| (format!("{from}.{field}"), why);
    let port = match entry.peer {
        Peer::Name(name, Some(port)) if direction == Direction::In => {
            return Err(wrong(word, format!("`{name}:{port}`: a port here would be the guest's: write it in `ports`")));
        }
        Peer::Name(_, Some(port)) if entry.ports.is_empty() => Some(Ports::Tcp(Some((*port, *port)))),
        Peer::Name(name, Some(port)) => {
            return Err(wrong("ports", format!("`{name}:{port}` names a port already: write it in one place")));
        }
        Peer::Any | Peer::Net(_) | Peer::Name(_, None) | Peer::Guests(..) => None,
    };
    for text in entry.except {
        let net = text.parse::<ipnet::IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(Into::into));
        if net.is_none() {
            return Err(wrong("except", format!("`{text}` is neither an address nor a network")));
        }
    }
    let (address, six) = address(out, profile, entry);
    let beside: &[Ports] = match entry.peer {
        Peer::Guests(_, ports) => ports,
        Peer::Any | Peer::Net(_) | Peer::Name(..) => &[],
    };
    let ports: Vec<Ports> = port.into_iter().chain(entry.ports.iter().chain(beside).copied()).collect();
    let mut rule = |proto: &str, dest_ports: String| {
        let mut rule = Rule::new(Deed::Decide(direction, verdict));
        match direction {
            Direction::In => rule.source.clone_from(&address),
            Direction::Out => rule.dest.clone_from(&address),
        }
        proto.clone_into(&mut rule.proto);
        rule.dest_ports = dest_ports;
        out.rules.push(Made { rule, log, from: from.clone() });
    };
    if ports.is_empty() {
        rule("", String::new());
        return Ok(());
    }
    for (proto, ranges) in protocols(&ports) {
        match (proto, ranges) {
            ("icmp", _) => {
                if six != Some(true) {
                    rule("icmp", String::new());
                }
                if six != Some(false) {
                    rule("icmpv6", String::new());
                }
            }
            (proto, None) => rule(proto, String::new()),
            (proto, Some(ranges)) => {
                for list in lists(&ranges) {
                    rule(proto, list);
                }
            }
        }
    }
    Ok(())
}

/// The address of a rule, and its family where it has only one; adds the set that it needs.
fn address(out: &mut Compiled, profile: &str, entry: &Entry<'_>) -> (String, Option<bool>) {
    match entry.peer {
        Peer::Any if entry.except.is_empty() => return (String::new(), None),
        Peer::Net(net) if entry.except.is_empty() => return (entry.peer.to_string(), Some(net.addr().is_ipv6())),
        Peer::Any | Peer::Net(_) | Peer::Name(..) | Peer::Guests(..) => {}
    }
    let mut set = Set {
        name: String::new(),
        nets: Vec::new(),
        names: Vec::new(),
        guests: Vec::new(),
        except: entry.except.to_vec(),
    };
    // The kernel's sets have no network of all addresses; two halves are the same.
    let halves = |six: bool| if six { ["::/1", "8000::/1"] } else { ["0.0.0.0/1", "128.0.0.0/1"] };
    match entry.peer {
        Peer::Any => set.nets.extend([false, true].into_iter().flat_map(halves).map(str::to_owned)),
        Peer::Net(net) if net.prefix_len() == 0 => {
            set.nets.extend(halves(net.addr().is_ipv6()).map(str::to_owned));
        }
        Peer::Net(_) => set.nets.push(entry.peer.to_string()),
        Peer::Name(name, _) => set.names.push(name.clone()),
        Peer::Guests(labels, _) => set.guests.push(labels.clone()),
    }
    let except = entry.except.join(",");
    // A set is named after what it is for: another purpose is another set, and rules move over before the old one goes.
    let key = digest(&format!("{profile}|{}|{except}", entry.peer));
    set.name = format!("{}-{}", out.group, &key[..10]);
    let name = format!("+dc/{}", set.name);
    if out.sets.iter().all(|s| s.name != set.name) {
        out.sets.push(set);
    }
    (name, None)
}

/// First and last ports.
type Ranges = BTreeSet<(u16, u16)>;

/// Ports by protocol, in a fixed order; `None` for all ports of it.
fn protocols(ports: &[Ports]) -> Vec<(&'static str, Option<Ranges>)> {
    let mut out: BTreeMap<&'static str, Option<Ranges>> = BTreeMap::new();
    for one in ports {
        let (proto, range) = match one {
            Ports::Icmp => ("icmp", None),
            Ports::Tcp(range) => ("tcp", *range),
            Ports::Udp(range) => ("udp", *range),
        };
        let ranges = out.entry(proto).or_insert_with(|| Some(BTreeSet::new()));
        match range {
            None => *ranges = None,
            Some(range) => {
                if let Some(ranges) = ranges {
                    ranges.insert(range);
                }
            }
        }
    }
    out.into_iter().collect()
}

/// Lists of ports, none longer than PVE takes.
fn lists(ranges: &BTreeSet<(u16, u16)>) -> Vec<String> {
    let mut out: Vec<(usize, Vec<String>)> = Vec::new();
    for (first, last) in ranges {
        let (weight, text) = if first == last { (1, first.to_string()) } else { (2, format!("{first}:{last}")) };
        match out.last_mut() {
            Some((sum, list)) if *sum + weight <= PORTS_MAX => {
                *sum += weight;
                list.push(text);
            }
            Some(_) | None => out.push((weight, vec![text])),
        }
    }
    out.into_iter().map(|(_, list)| list.join(",")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(value: serde_json::Value) -> NetworkProfileSpec {
        serde_json::from_value(value).expect("a spec")
    }

    fn lines(compiled: &Compiled) -> Vec<String> {
        let one = |made: &Made| {
            let Deed::Decide(direction, verdict) = made.rule.deed else { unreachable!("groups hold no groups") };
            let Rule { source, dest, proto, dest_ports, .. } = &made.rule;
            format!("{} {} {source}{dest} {proto} {dest_ports} <{}>", direction.as_str(), verdict.as_str(), made.from)
        };
        compiled.rules.iter().map(one).collect()
    }

    #[test]
    fn a_profile_becomes_rules_in_order() {
        let compiled = compile(
            "api-access",
            &spec(json!({
                "egress": {"default": "Deny", "allow": [
                    {"to": "api.github.com:443"},
                    {"to": "10.0.0.0/8", "ports": ["tcp/5432", "udp/53", "tcp/80"]},
                    {"to": {"guests": {"labels": {"app": "web"}}, "ports": ["tcp/8080"]}},
                ], "deny": [{"to": "0.0.0.0/0"}]},
                "ingress": {"default": "Allow", "allow": [{"from": "any", "ports": ["icmp"]}], "deny": [{"from": "192.0.2.0/24", "except": ["192.0.2.9"]}]},
            })),
        )
        .expect("it compiles");
        assert_eq!(compiled.group, "pv-api-access");
        let names: Vec<&str> = compiled.sets.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(
            lines(&compiled),
            [
                format!("out ACCEPT +dc/{} tcp 443 <egress.allow[0]>", names[0]),
                "out ACCEPT 10.0.0.0/8 tcp 80,5432 <egress.allow[1]>".to_owned(),
                "out ACCEPT 10.0.0.0/8 udp 53 <egress.allow[1]>".to_owned(),
                format!("out ACCEPT +dc/{} tcp 8080 <egress.allow[2]>", names[1]),
                "out DROP 0.0.0.0/0   <egress.deny[0]>".to_owned(),
                "in ACCEPT  icmp  <ingress.allow[0]>".to_owned(),
                "in ACCEPT  icmpv6  <ingress.allow[0]>".to_owned(),
                format!("in DROP +dc/{}   <ingress.deny[0]>", names[2]),
                "in ACCEPT    <ingress.default>".to_owned(),
            ]
        );
        assert_eq!(compiled.sets[0].names, ["api.github.com"]);
        assert_eq!(
            (compiled.sets[2].nets[0].as_str(), compiled.sets[2].except[0].as_str()),
            ("192.0.2.0/24", "192.0.2.9")
        );
    }

    #[test]
    fn names_are_what_pve_takes_and_never_the_same() {
        let long = "the-profile-of-the-second-floor";
        for profile in ["a", "api-access", "management-access", long, "0day", &"x".repeat(63)] {
            let name = group_name(profile);
            assert!(name.len() <= GROUP_MAX && name.starts_with(|c: char| c.is_ascii_alphabetic()), "{name}");
        }
        assert_eq!(group_name("api-access"), "pv-api-access");
        assert_ne!(group_name(long), group_name("the-profile-of-the-third-floor"));
        // Whoever calls a profile like the hash of another one does not meet it.
        let hash = group_name(long).trim_start_matches("px-").to_owned();
        assert_ne!(group_name(&hash), group_name(long));
    }

    #[test]
    fn lists_of_ports_are_as_long_as_pve_takes() {
        let many: Vec<String> = (1..=40).map(|n| format!("tcp/{}", n * 100)).collect();
        let rules =
            compile("x", &spec(json!({"ingress": {"default": "Deny", "allow": [{"from": "any", "ports": many}]}})));
        let rules = rules.expect("it compiles").rules;
        assert_eq!(rules.len(), 3);
        assert!(rules.iter().all(|r| r.rule.dest_ports.split(',').count() <= PORTS_MAX));
    }

    #[test]
    fn what_cannot_be_meant_is_said_with_its_place() {
        for (value, place) in [
            (json!({"ingress": {"default": "Deny", "allow": [{"from": "a.example.com:22"}]}}), "ingress.allow[0].from"),
            (
                json!({"egress": {"default": "Deny", "allow": [{"to": "a.b:22", "ports": ["tcp/22"]}]}}),
                "egress.allow[0].ports",
            ),
            (json!({"egress": {"default": "Deny", "deny": [{"to": "any", "except": ["x"]}]}}), "egress.deny[0].except"),
        ] {
            let error = compile("x", &spec(value)).expect_err(place);
            assert_eq!(error.0, place);
        }
    }
}
