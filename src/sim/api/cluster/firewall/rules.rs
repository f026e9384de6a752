//! Rules, of a scope or of a security group.

use super::{Firewall, Group, digest, load, scope, store, typed, unchanged};
use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

type Rule = BTreeMap<String, String>;

/// The names of PVE's macros.
const MACROS: &[&str] = &[
    "Amanda",
    "Auth",
    "BGP",
    "BitTorrent",
    "BitTorrent32",
    "CVS",
    "Ceph",
    "Citrix",
    "DAAP",
    "DCC",
    "DHCPfwd",
    "DHCPv6",
    "DNS",
    "Distcc",
    "FTP",
    "Finger",
    "GNUnet",
    "GRE",
    "Git",
    "HKP",
    "HTTP",
    "HTTP/3",
    "HTTPS",
    "ICPV2",
    "ICQ",
    "IMAP",
    "IMAPS",
    "IPIP",
    "IPsec",
    "IPsecah",
    "IPsecnat",
    "IRC",
    "Jetdirect",
    "L2TP",
    "LDAP",
    "LDAPS",
    "MDNS",
    "MSNP",
    "MSSQL",
    "Mail",
    "Munin",
    "MySQL",
    "NNTP",
    "NNTPS",
    "NTP",
    "NeighborDiscovery",
    "OSPF",
    "OpenVPN",
    "PBS",
    "PCA",
    "PMG",
    "POP3",
    "POP3S",
    "PPtP",
    "Ping",
    "PostgreSQL",
    "Printer",
    "RDP",
    "RIP",
    "RNDC",
    "Razor",
    "Rdate",
    "Rsync",
    "SANE",
    "SMB",
    "SMBswat",
    "SMTP",
    "SMTPS",
    "SNMP",
    "SPAMD",
    "SPICEproxy",
    "SSH",
    "SVN",
    "SixXS",
    "Squid",
    "Submission",
    "Syslog",
    "TFTP",
    "Telnet",
    "Telnets",
    "Time",
    "Trcrt",
    "VNC",
    "VNCL",
    "Web",
    "Webcache",
    "Webmin",
    "Whois",
];

/// The rules that a request is about.
fn rules<'a>(firewall: &'a mut Firewall, args: &Args) -> Result<&'a mut Vec<Rule>, Refusal> {
    match args.get("group") {
        None => Ok(&mut firewall.rules),
        Some(group) => match firewall.groups.get_mut(group) {
            Some(found) => Ok(&mut found.rules),
            None => Err(Refusal::died(format!("no such security group '{group}'"))),
        },
    }
}

fn position(args: &Args) -> usize {
    args.int("pos").and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX)
}

fn absent(pos: usize) -> Refusal {
    Refusal::died(format!("no rule at position {pos}"))
}

fn row(rule: &Rule, all: &[Rule]) -> Map<String, Value> {
    let mut out: Map<String, Value> = rule.iter().map(|(k, v)| (k.clone(), typed(k, v))).collect();
    out.entry("enable").or_insert_with(|| 0.into());
    let address = |key: &str| rule.get(key).and_then(|t| t.split([',', '-', '/']).next().map(str::to_owned));
    let parsed = ["source", "dest"].iter().filter_map(|k| address(k)).find_map(|a| a.parse::<std::net::IpAddr>().ok());
    let version = match (parsed, rule.get("proto").map(String::as_str)) {
        (Some(ip), _) => Some(if ip.is_ipv4() { 4 } else { 6 }),
        (None, Some("icmp")) => Some(4),
        (None, Some("ipv6-icmp" | "icmpv6")) => Some(6),
        (None, _) => None,
    };
    if let Some(version) = version {
        out.insert("ipversion".to_owned(), version.into());
    }
    out.insert("digest".to_owned(), digest(&all).into());
    out
}

/// `GET …/rules`.
pub fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let mut firewall = load(ctx, &scope(args));
    let all = rules(&mut firewall, args)?;
    let rows = all.iter().enumerate().map(|(pos, rule)| {
        let mut row = row(rule, all);
        row.insert("pos".to_owned(), pos.into());
        Value::Object(row)
    });
    Ok(rows.collect::<Vec<_>>().into())
}

/// `GET …/rules/{pos}`; here the position is text.
pub fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let mut firewall = load(ctx, &scope(args));
    let all = rules(&mut firewall, args)?;
    let pos = position(args);
    let mut row = row(all.get(pos).ok_or_else(|| absent(pos))?, all);
    row.insert("pos".to_owned(), pos.to_string().into());
    Ok(row.into())
}

fn fields(args: &Args) -> impl Iterator<Item = (&String, &String)> {
    let own = |k: &str| matches!(k, "node" | "vmid" | "group" | "pos" | "digest" | "delete" | "moveto");
    args.values.iter().filter(move |(k, _)| !own(k))
}

/// What the tables of parameters cannot say.
fn check(ctx: &Ctx<'_>, scope: &str, rule: &Rule) -> Result<(), Refusal> {
    let get = |key: &str| rule.get(key).map(String::as_str);
    let action = get("action").unwrap_or_default();
    if get("type") == Some("group") {
        return Ok(());
    }
    if !matches!(action, "ACCEPT" | "DROP" | "REJECT") {
        return Err(Refusal::param("action", format!("unknown action '{action}'")));
    }
    if let Some(name) = get("macro").filter(|m| !MACROS.contains(m)) {
        return Err(Refusal::param("macro", format!("unknown macro '{name}'")));
    }
    for key in ["dport", "sport"] {
        if get(key).is_some() && get("proto").is_none() && get("macro").is_none() {
            return Err(Refusal::param("proto", format!("missing property - '{key}' requires this property")));
        }
    }
    for key in ["source", "dest"] {
        if let Some(text) = get(key) {
            check_address(ctx, scope, text).map_err(|e| Refusal::param(key, e))?;
        }
    }
    Ok(())
}

/// An address list, a range, an alias or a set (`+name`, `+dc/name`, `+guest/name`).
fn check_address(ctx: &Ctx<'_>, scope: &str, text: &str) -> Result<(), String> {
    let (here, cluster) = (load(ctx, scope), load(ctx, "cluster"));
    let split = |name: &str| match name.split_once('/') {
        Some(("dc", name)) => (true, false, name.to_owned()),
        Some(("guest", name)) => (false, true, name.to_owned()),
        _ => (true, true, name.to_owned()),
    };
    if let Some(set) = text.strip_prefix('+') {
        let (in_cluster, in_here, name) = split(set);
        let found = (in_cluster && cluster.ipsets.contains_key(&name)) || (in_here && here.ipsets.contains_key(&name));
        // Sets that SDN and guests bring with them are not looked up.
        let foreign = set.starts_with("sdn/");
        return if found || foreign { Ok(()) } else { Err(format!("no such ipset '{set}'")) };
    }
    let ip = |t: &str| t.parse::<std::net::IpAddr>().is_ok();
    for part in text.split(',').map(str::trim) {
        let range = part.split_once('-').is_some_and(|(a, b)| ip(a) && ip(b));
        if ip(part) || range || part.parse::<ipnet::IpNet>().is_ok() {
            continue;
        }
        let (in_cluster, in_here, name) = split(part);
        let name = name.to_ascii_lowercase();
        let found =
            (in_cluster && cluster.aliases.contains_key(&name)) || (in_here && here.aliases.contains_key(&name));
        if !found {
            return Err(format!("no such alias '{part}'"));
        }
    }
    Ok(())
}

/// `POST …/rules`: always first, whatever `pos` says.
pub fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let scope = scope(args);
    let mut firewall = load(ctx, &scope);
    let rule: Rule = fields(args).map(|(k, v)| (k.clone(), v.clone())).collect();
    check(ctx, &scope, &rule)?;
    let all = rules(&mut firewall, args)?;
    unchanged(args, &digest(all))?;
    all.insert(0, rule);
    store(ctx, &scope, &firewall);
    Ok(Value::Null)
}

/// `PUT …/rules/{pos}`: with `moveto`, everything else is ignored.
pub fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (scope, pos) = (scope(args), position(args));
    let mut firewall = load(ctx, &scope);
    let all = rules(&mut firewall, args)?;
    unchanged(args, &digest(all))?;
    let mut rule = all.get(pos).cloned().ok_or_else(|| absent(pos))?;
    if let Some(to) = args.int("moveto").and_then(|n| usize::try_from(n).ok()) {
        // The rule goes before the one that stands at the target now.
        all.remove(pos);
        let to = if to > pos { to - 1 } else { to };
        all.insert(to.min(all.len()), rule);
        store(ctx, &scope, &firewall);
        return Ok(Value::Null);
    }
    rule.extend(fields(args).map(|(k, v)| (k.clone(), v.clone())));
    for key in args.list("delete") {
        let known = crate::sim::params::cluster::firewall::RULE.iter().any(|p| p.name == key);
        if !known {
            return Err(Refusal::param("delete", format!("no such property ('{key}')")));
        }
        rule.remove(key);
    }
    all[pos] = rule.clone();
    check(ctx, &scope, &rule)?;
    store(ctx, &scope, &firewall);
    Ok(Value::Null)
}

/// `DELETE …/rules/{pos}`.
pub fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (scope, pos) = (scope(args), position(args));
    let mut firewall = load(ctx, &scope);
    let all = rules(&mut firewall, args)?;
    unchanged(args, &digest(all))?;
    if pos >= all.len() {
        return Err(absent(pos));
    }
    all.remove(pos);
    store(ctx, &scope, &firewall);
    Ok(Value::Null)
}

/// `GET /cluster/firewall/macros`.
pub fn macros(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(MACROS.iter().map(|m| json!({ "macro": m, "descr": format!("{m} traffic") })).collect::<Vec<_>>().into())
}

/// `GET /cluster/firewall/groups`.
pub fn groups(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let firewall = load(ctx, "cluster");
    let digest = digest(&firewall.groups);
    let rows = firewall.groups.iter().map(|(name, group)| {
        let mut row = json!({ "group": name, "digest": digest });
        if let Some(comment) = &group.comment {
            row["comment"] = comment.as_str().into();
        }
        row
    });
    Ok(rows.collect::<Vec<_>>().into())
}

/// `POST /cluster/firewall/groups`: also renames.
pub fn create_group(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let mut firewall = load(ctx, "cluster");
    unchanged(args, &digest(&firewall.groups))?;
    let name = args.text("group");
    let comment = args.get("comment").map(str::to_owned);
    if let Some(old) = args.get("rename") {
        let Some(mut group) = firewall.groups.remove(old) else {
            return Err(Refusal::param("group", format!("Security group '{old}' does not exist")));
        };
        group.comment = comment.or(group.comment);
        firewall.groups.insert(name.to_owned(), group);
    } else if firewall.groups.contains_key(name) {
        return Err(Refusal::param("group", format!("Security group '{name}' already exists")));
    } else {
        firewall.groups.insert(name.to_owned(), Group { comment, rules: Vec::new() });
    }
    store(ctx, "cluster", &firewall);
    Ok(Value::Null)
}

/// `DELETE /cluster/firewall/groups/{group}`.
pub fn delete_group(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let mut firewall = load(ctx, "cluster");
    if !rules(&mut firewall, args)?.is_empty() {
        return Err(Refusal::died(format!("Security group '{}' is not empty", args.text("group"))));
    }
    firewall.groups.remove(args.text("group"));
    store(ctx, "cluster", &firewall);
    Ok(Value::Null)
}
