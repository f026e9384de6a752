//! Members of address sets that nobody writes down: the addresses of names, as DNS tells them, and of guests, as they tell them
//! themselves. Whose an address is stands in the comment of its entry, and since when it is gone; nothing else is remembered.

use crate::kinds::objects::content::member;
use crate::kinds::objects::form::network;
use crate::pve::error::PveError;
use crate::resource::addresses::{self, Known};
use crate::resource::index::text;
use crate::resource::interfaces;
use crate::resource::kind::PlanContext;
use crate::resource::observation::guest_query;
use crate::resource::reference::{Identity, Reference, ResourceRef};
use crate::resource::step::Note;
use ipnet::IpNet;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The most addresses of one guest, those included that it had within the last hour: more than a host with several cards
/// and IPv6 has, and fewer than would fill a set.
const OF_A_GUEST_MAX: usize = 16;

/// The guests that a spec follows.
pub fn guests(spec: &Value) -> Vec<ResourceRef> {
    let list = spec["guests"].as_array().into_iter().flatten();
    list.map(|guest| ResourceRef::new(member(guest, "kind"), member(guest, "name"))).collect()
}

/// A guest as what a manifest must declare.
pub fn reference(guest: ResourceRef) -> Reference {
    Reference { to: guest, path: vec!["guests".to_owned()], or_on_cluster: false }
}

/// The comment of a guest's entry; that of a name of DNS has no such sign in it.
pub fn owner(guest: &ResourceRef) -> String {
    guest.to_string()
}

/// The spec with the addresses of its names and guests among its members, as they are now and as the set has them already.
pub fn with_addresses(mut spec: Value, held: &Value, cx: &PlanContext<'_>, notes: &mut Vec<Note>) -> Value {
    let names: Vec<String> = spec["names"].as_array().into_iter().flatten().filter_map(text).collect();
    let guests = guests(&spec);
    if names.is_empty() && guests.is_empty() {
        return spec;
    }
    let mut followed: Vec<(String, Known)> = Vec::new();
    let unasked = Err("it was not asked".to_owned());
    for name in names {
        let known = known(held, &name);
        let resolution = cx.seen.names.get(&name).unwrap_or(&unasked);
        let now = addresses::refresh(&known, resolution, cx.seen.at, addresses::GRACE_SECONDS);
        match resolution {
            Err(why) if now.is_empty() => {
                notes.push(Note::Toothless(format!(
                    "no address of `{name}` is known, and nothing of it is in the set: {why}"
                )));
            }
            Err(why) => notes.push(Note::Info(format!("`{name}` keeps its last known addresses: {why}"))),
            Ok(_) => {}
        }
        followed.push((name, now));
    }
    // Many guests keep silent for one reason: it is said once.
    let mut silent: BTreeMap<(bool, String), Vec<String>> = BTreeMap::new();
    for guest in guests {
        let known = known(held, &owner(&guest));
        let told = told(cx, &guest);
        let all = addresses::refresh(&known, &told, cx.seen.at, addresses::GRACE_SECONDS);
        let now = addresses::at_most(OF_A_GUEST_MAX, all, &known);
        match told {
            Err(why) => silent.entry((now.is_empty(), why)).or_default().push(guest.to_string()),
            Ok(told) if told.len() > OF_A_GUEST_MAX => notes.push(Note::Info(format!(
                "{guest} tells of {} addresses: {OF_A_GUEST_MAX} of them are in the set",
                told.len()
            ))),
            Ok(_) => {}
        }
        followed.push((owner(&guest), now));
    }
    notes.extend(silent.into_iter().map(|((nothing, why), guests)| Note::Info(quiet(nothing, &why, &guests))));
    spec["members"] = add(spec["members"].as_array().cloned().unwrap_or_default(), &followed).into();
    spec
}

fn quiet(nothing: bool, why: &str, guests: &[String]) -> String {
    let (all, one) = (guests.join(", "), guests.len() == 1);
    match (nothing, one) {
        (true, true) => format!("no address of {all} is in the set yet: {why}"),
        (true, false) => format!("no addresses of {all} are in the set yet: {why}"),
        (false, true) => format!("{all} keeps its last known addresses: {why}"),
        (false, false) => format!("{all} keep their last known addresses: {why}"),
    }
}

/// What the set has of somebody already.
fn known(held: &Value, owner: &str) -> Known {
    let one = |row: &Value| {
        let comment = member(row, "comment");
        let (whose, gone) = addresses::read_comment(&comment);
        (whose == owner).then_some(())?;
        Some((network(&member(row, "cidr")).parse().ok()?, gone))
    };
    held.as_array().into_iter().flatten().filter_map(one).collect()
}

/// The members with what is followed behind them. An address that is written down stays as written; one within a network
/// that the manifest takes out is no member: the kernel would let the narrower entry win.
fn add(mut members: Vec<Value>, followed: &[(String, Known)]) -> Vec<Value> {
    let out = |m: &&Value| m["nomatch"] == true || member(m, "nomatch") == "1";
    let not: Vec<IpNet> = members.iter().filter(out).filter_map(|m| net(&member(m, "cidr"))).collect();
    let mut taken: BTreeSet<String> = members.iter().map(|m| network(&member(m, "cidr"))).collect();
    let each =
        followed.iter().flat_map(|(owner, known)| known.iter().map(move |(address, gone)| (owner, address, gone)));
    let mut all: Vec<(&String, &IpAddr, &Option<i64>)> =
        each.filter(|(_, address, _)| !not.iter().any(|n| n.contains(*address))).collect();
    // An address that moved from one to another is the new one's.
    all.sort_by_key(|(_, _, gone)| gone.is_some());
    for (owner, address, gone) in all {
        if taken.insert(address.to_string()) {
            members.push(json!({"cidr": address.to_string(), "comment": addresses::comment(owner, *gone)}));
        }
    }
    members
}

fn net(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// What a guest says of its addresses just now, or why nothing is known of them.
fn told(cx: &PlanContext<'_>, guest: &ResourceRef) -> Result<BTreeSet<IpAddr>, String> {
    let seen = cx.seen;
    let absent = || "not there yet".to_owned();
    let Some(Identity::Guest { vmid, .. }) = cx.identities.get(guest) else { return Err(absent()) };
    let row = seen.index.guests.get(vmid).ok_or_else(absent)?;
    if seen.index.nodes.get(&row.node).is_some_and(|n| !n.online) {
        return Err(format!("node `{}` does not answer", row.node));
    }
    // A stranger under the number that the manifest gives is not asked for its word.
    if !seen.guest_marker(*vmid).is_some_and(|m| m.owner == *guest && m.set == cx.set) {
        return Err(format!("guest {vmid} carries no mark of being it"));
    }
    if row.status != "running" {
        return Err("not running".to_owned());
    }
    let answer = match seen.answer(&interfaces::query(row)) {
        None => return Err("not asked yet".to_owned()),
        Some(Ok(answer)) => answer,
        Some(Err(PveError::Refused { reason, .. })) => return Err(format!("PVE says: {}", reason.trim_end())),
        Some(Err(error)) => return Err(error.to_string()),
    };
    let own = interfaces::own(answer, seen.value(&guest_query(row)).unwrap_or(&Value::Null));
    if own.is_empty() { Err("no address on a network card of its own".to_owned()) } else { Ok(own) }
}
