//! `get NetworkProfile` and `describe NetworkProfile`: a profile has no object of its own on the cluster, so it is read off
//! the markers of the security group and the address sets that were made for it, and off the guests that ask the group.

use crate::base::diagnostic::nearest;
use crate::cli::args::{self, Global};
use crate::cli::exit;
use crate::cli::output::{self, Format};
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::session::Session;
use crate::cli::sets::columns;
use crate::engine::observe::{index, read_all};
use crate::firewall::rule::{Deed, Rule};
use crate::kinds::network_profile::spec::NAME;
use crate::pve::request::{Query, segment};
use crate::resource::index::{GuestRow, node_guests_query, text};
use crate::resource::marker::Marker;
use crate::resource::observation::Observation;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const GROUPS: &str = "/cluster/firewall/groups";
const SETS: &str = "/cluster/firewall/ipset";
const OPTIONS: &str = "/cluster/firewall/options";

/// What became of a profile.
#[derive(Default)]
struct Profile {
    group: String,
    rules: usize,
    /// Address sets with the number of addresses and networks that they mean.
    sets: BTreeMap<String, usize>,
    users: Vec<User>,
}

/// A guest that asks the group.
struct User {
    name: String,
    vmid: u32,
    node: String,
    /// Its interfaces that do, such as `net0`.
    interfaces: BTreeSet<String>,
}

/// All profiles, by manifest set and name.
struct Found {
    profiles: BTreeMap<(String, String), Profile>,
    /// Whether the firewall of the datacenter is on; `None` where we may not know.
    on: Option<bool>,
    /// Guests whose rules could not be read.
    unread: Vec<u32>,
}

fn rules_of(row: &GuestRow) -> Query {
    Query::new(format!("/nodes/{}/{}/{}/firewall/rules", segment(&row.node), row.guest, row.vmid))
}

/// The objects of a list that were made for profiles: whose, and under which name.
fn made(list: &Value, key: &str) -> Vec<((String, String), String)> {
    let one = |row: &Value| {
        let marker = Marker::split(&text(&row["comment"])?).1?;
        Some(((marker.set, marker.member_of?), text(&row[key])?))
    };
    list.as_array().into_iter().flatten().filter_map(one).collect()
}

async fn survey(session: &Session) -> Result<Found, Failure> {
    let cluster = session.cluster();
    let wire = |e: crate::pve::error::PveError| Failure::wire(exit::FAILED, &e);
    let lists = BTreeSet::from([Query::new(GROUPS), Query::new(SETS)]);
    let index = index(cluster.api, cluster.clock, &lists).await.map_err(wire)?;
    let list = |path: &str| match index.lists.get(&Query::new(path)) {
        Some(Ok(list)) => Ok(list.clone()),
        Some(Err(why)) => Err(Failure::new(exit::FAILED, why.clone())),
        None => Err(Failure::new(exit::FAILED, format!("{path} was not read"))),
    };
    let (groups, sets) = (made(&*list(GROUPS)?, "group"), made(&*list(SETS)?, "name"));
    let mut reads = BTreeSet::from([Query::new(OPTIONS)]);
    reads.extend(groups.iter().map(|(_, group)| Query::new(format!("{GROUPS}/{}", segment(group)))));
    reads.extend(sets.iter().map(|(_, set)| Query::new(format!("{SETS}/{}", segment(set)))));
    if !groups.is_empty() {
        let online = |row: &&Arc<GuestRow>| index.nodes.get(&row.node).is_some_and(|n| n.online);
        // The index may be ten seconds old; the nodes' own lists are not.
        let of = |row: &Arc<GuestRow>| [rules_of(row), node_guests_query(&row.node, row.guest)];
        reads.extend(index.guests.values().filter(online).flat_map(of));
    }
    let seen = read_all(cluster.api, cluster.clock, index, reads).await.map_err(wire)?;
    Ok(found(&seen, groups, sets))
}

type Made = Vec<((String, String), String)>;

fn found(seen: &Observation, groups: Made, sets: Made) -> Found {
    let mut profiles: BTreeMap<(String, String), Profile> = BTreeMap::new();
    for (key, group) in groups {
        let rules = seen.value(&Query::new(format!("{GROUPS}/{}", segment(&group))));
        let rules = rules.and_then(Value::as_array).map_or(0, Vec::len);
        profiles.insert(key, Profile { group, rules, ..Profile::default() });
    }
    for (key, set) in sets {
        let members = seen.value(&Query::new(format!("{SETS}/{}", segment(&set)))).and_then(Value::as_array);
        let meant = |member: &&Value| text(&member["nomatch"]).is_none_or(|not| not == "0");
        let addresses = members.into_iter().flatten().filter(meant).count();
        profiles.entry(key).or_default().sets.insert(set, addresses);
    }
    let mut unread = Vec::new();
    let asked = profiles.values().any(|profile| !profile.group.is_empty());
    for row in seen.index.guests.values().filter(|_| asked) {
        let Some(list) = seen.value(&rules_of(row)).and_then(Value::as_array) else {
            unread.push(row.vmid.get());
            continue;
        };
        let rules: Vec<Rule> = list.iter().filter_map(Rule::decode).filter(|rule| rule.enabled).collect();
        for profile in profiles.values_mut() {
            let asks = |rule: &&Rule| matches!(&rule.deed, Deed::Group(group) if *group == profile.group);
            let interfaces: BTreeSet<String> = rules.iter().filter(asks).map(interface).collect();
            if !interfaces.is_empty() {
                let (name, node) = (row.name.clone(), row.node.clone());
                profile.users.push(User { name, vmid: row.vmid.get(), node, interfaces });
            }
        }
    }
    // The datacenter's firewall is off where nobody says that it is on (`PVE::Firewall`).
    let on = seen.value(&Query::new(OPTIONS)).map(|o| text(&o["enable"]).is_some_and(|enable| enable != "0"));
    Found { profiles, on, unread }
}

fn interface(rule: &Rule) -> String {
    if rule.interface.is_empty() { "all".to_owned() } else { rule.interface.clone() }
}

fn read(global: &Global) -> Result<Found, Failure> {
    let session = Session::open(global, None)?;
    let found = block_on(survey(&session))??;
    session.close()?;
    Ok(found)
}

fn absent(name: &str, found: &Found) -> Failure {
    let failure = Failure::new(exit::FAILED, format!("nothing on the cluster was made for a {NAME} `{name}`"));
    match nearest(name, found.profiles.keys().map(|(_, n)| n.as_str())) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint("a profile that says neither `egress` nor `ingress` leaves no trace on the cluster"),
    }
}

fn value((set, name): &(String, String), profile: &Profile, found: &Found) -> Value {
    let Profile { group, rules, sets, users } = profile;
    let sets: Vec<Value> = sets.iter().map(|(name, n)| json!({"name": name, "addresses": n})).collect();
    let user = |u: &User| json!({"name": u.name, "vmid": u.vmid, "node": u.node, "interfaces": u.interfaces});
    json!({
        "kind": NAME,
        "name": name,
        "set": set,
        "group": group,
        "rules": rules,
        "addressSets": sets,
        "guests": users.iter().map(user).collect::<Vec<_>>(),
        "unread": found.unread,
        "inForce": found.on,
    })
}

fn in_force(on: Option<bool>) -> &'static str {
    match on {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    }
}

/// `get NetworkProfile`.
pub fn get(global: &Global, args: &args::Get) -> Ended {
    let found = read(global)?;
    let missing = args.names.iter().find(|n| !found.profiles.keys().any(|(_, name)| name == *n));
    let missing = missing.map(|name| absent(name, &found));
    let shown: Vec<_> =
        found.profiles.iter().filter(|((_, n), _)| args.names.is_empty() || args.names.contains(n)).collect();
    match &args.format.output {
        Some(Format::Name) => shown.iter().for_each(|((_, name), _)| print(&format!("{NAME}/{name}\n"))),
        Some(Format::Value(form)) => {
            let items: Vec<Value> = shown.iter().map(|(key, profile)| value(key, profile, &found)).collect();
            print(&output::write(&json!({"items": items}), form)?);
        }
        Some(Format::Table | Format::Wide) | None => {
            let mut rows =
                vec![["NAME", "SET", "GROUP", "RULES", "ADDRESSES", "GUESTS", "IN-FORCE"].map(str::to_owned)];
            for ((set, name), profile) in &shown {
                let addresses: usize = profile.sets.values().sum();
                let unread = if found.unread.is_empty() { "" } else { "+?" };
                rows.push([
                    name.clone(),
                    set.clone(),
                    if profile.group.is_empty() { "-".to_owned() } else { profile.group.clone() },
                    profile.rules.to_string(),
                    addresses.to_string(),
                    format!("{}{unread}", profile.users.len()),
                    in_force(found.on).to_owned(),
                ]);
            }
            print(&if shown.is_empty() { "none\n".to_owned() } else { columns(&rows) });
        }
    }
    missing.map_or(Ok(exit::DONE), Err)
}

/// `describe NetworkProfile`.
pub fn describe(global: &Global, args: &args::Describe) -> Ended {
    let found = read(global)?;
    let named: Vec<_> = found.profiles.iter().filter(|((_, name), _)| *name == args.name).collect();
    if named.is_empty() {
        return Err(absent(&args.name, &found));
    }
    for (key, profile) in named {
        match &args.format.output {
            Some(Format::Value(form)) => print(&output::write(&value(key, profile, &found), form)?),
            Some(Format::Name) => print(&format!("{NAME}/{}\n", key.1)),
            Some(Format::Table | Format::Wide) | None => print(&told(key, profile, &found)),
        }
    }
    Ok(exit::DONE)
}

fn told((set, name): &(String, String), profile: &Profile, found: &Found) -> String {
    let Profile { group, rules, sets, users } = profile;
    let force = match found.on {
        Some(true) => "yes: the firewall of the datacenter is on".to_owned(),
        Some(false) => "no: the firewall of the datacenter is off, so that no rule is asked".to_owned(),
        None => "unknown: the options of the datacenter's firewall could not be read".to_owned(),
    };
    let group = match group.as_str() {
        "" => "none: somebody has deleted it".to_owned(),
        group => format!("{group}, {}", counted(*rules, "rule")),
    };
    let mut out = format!(
        "Name:     {name}\nKind:     {NAME}\nOwner:    the manifest set `{set}`\nGroup:    {group}\nIn force: {force}\n"
    );
    let mut lines = |head: &str, rows: String| {
        out.push_str(&format!("{head}:{}\n", if rows.is_empty() { " none" } else { "" }));
        rows.lines().for_each(|line| out.push_str(&format!("  {line}\n")));
    };
    let counts: Vec<[String; 2]> = sets.iter().map(|(name, n)| [name.clone(), counted(*n, "address")]).collect();
    lines("Address sets", columns(&counts));
    let of = |u: &User| {
        let interfaces = u.interfaces.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        [u.name.clone(), u.vmid.to_string(), u.node.clone(), interfaces]
    };
    let mut guests = Vec::new();
    if !users.is_empty() {
        guests.push(["NAME", "VMID", "NODE", "INTERFACES"].map(str::to_owned));
        guests.extend(users.iter().map(of));
    }
    lines("Guests", columns(&guests));
    if !found.unread.is_empty() {
        let ids: Vec<String> = found.unread.iter().map(u32::to_string).collect();
        out.push_str(&format!("Not read: {} (their rules could not be looked at just now)\n", ids.join(", ")));
    }
    out
}

/// `1 rule`, `2 rules`, `2 addresses`.
fn counted(n: usize, thing: &str) -> String {
    let end = match (n, thing.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{n} {thing}{end}")
}
