//! Why an object may not be made, changed or taken over: whose it is, what is settled, and what its manifest names in vain.

use crate::kinds::objects::content::member;
use crate::kinds::objects::object::{Seen, names};
use crate::kinds::objects::row::{Mark, Row, query};
use crate::kinds::objects::table::is_declared;
use crate::resource::kind::PlanContext;
use crate::resource::merge::Difference;
use crate::resource::reference::Identity;
use crate::resource::step::{Action, Delta, Note, Problem};
use serde_json::Value;

/// The annotation with which a manifest says that it owns an object which cannot carry a marker.
pub const TAKE_OVER: &str = "pvectl/take-over";

/// What belongs to something that is not there yet, does not answer, or never will be there.
pub fn unseen(cx: &PlanContext<'_>, id: &str, delta: &mut Delta) {
    let (scope, of) = id.split_once('/').unwrap_or((id, id));
    let index = &cx.seen.index;
    let row = index.guests.values().find(|g| g.vmid.to_string() == of);
    let node = row.map_or(of, |row| row.node.as_str());
    if index.nodes.get(node).is_some_and(|n| !n.online) {
        delta.notes.push(Note::NodeOffline(node.to_owned()));
        return;
    }
    let is = |identity: &Identity| matches!(identity, Identity::Guest { vmid, .. } if vmid.to_string() == of);
    match cx.identities.iter().find(|(_, identity)| is(identity)) {
        Some((resource, _)) => {
            delta.action = Action::Update;
            delta.notes.push(Note::Waiting(resource.clone()));
        }
        None if scope == "guest" => delta.problems.push(
            Problem::new("vmid", format!("there is no guest {of}"))
                .help("no manifest of the set declares it, and it is not on the cluster: mend the number"),
        ),
        None => {}
    }
}

/// Why an object that is there may not be touched, by its marker.
pub fn ownership(row: &Row, cx: &PlanContext<'_>, id: &str, seen: &Seen) -> Option<Problem> {
    if row.mark == Mark::Nowhere {
        return None;
    }
    match &seen.marker {
        None if cx.adopt => None,
        None => Some(
            Problem::new("", format!("there is a {} `{id}` already, which pvectl does not own", row.word))
                .help(format!("take it over with: pvectl adopt {} -f …, or choose another id", cx.resource)),
        ),
        Some(marker) if marker.owner != *cx.resource || marker.set != cx.set => Some(
            Problem::new(
                "",
                format!("{} `{id}` belongs to {} of the manifest set `{}`", row.word, marker.owner, marker.set),
            )
            .help("one object has one owner: take it out of the other set first"),
        ),
        Some(_) => None,
    }
}

/// Why an object that cannot say whose it is may not be changed.
pub fn not_ours(row: &Row, cx: &PlanContext<'_>, id: &str, seen: &Seen, differences: &[Difference]) -> Option<Problem> {
    if differences.is_empty() {
        return None;
    }
    if row.own.is_some_and(|own| member(&seen.row, own) == "1") {
        return Some(
            Problem::new("", format!("{} `{id}` is PVE's own, and cannot be changed", row.word))
                .help("choose another id, and make one of your own"),
        );
    }
    let taken = cx.adopt || cx.annotations.get(TAKE_OVER).is_some_and(|v| v == "true");
    let blank = row.alone.is_some() && differences.iter().all(|d| d.from.is_none());
    if row.mark != Mark::Nowhere || taken || blank {
        return None;
    }
    let fields: Vec<String> =
        differences.iter().map(|d| format!("{} is `{}`", d.path, d.from.as_deref().unwrap_or("not set"))).collect();
    Some(
        Problem::new("", format!("{} `{id}` is there and differs: {}", row.word, fields.join(", "))).help(format!(
            "PVE has no place in it for a mark of who owns it, so pvectl cannot tell: change it once with pvectl adopt {} -f …, or \
             let its manifest say so with the annotation {TAKE_OVER}: \"true\"",
            cx.resource
        )),
    )
}

/// A field that is settled when an object is made.
pub fn fixed(row: &Row, id: &str, difference: &Difference) -> Option<Problem> {
    let field = row.fields.iter().any(|f| f.path == difference.path && f.fixed);
    if !field && !difference.path.strip_prefix("options.").is_some_and(row.settled) {
        return None;
    }
    let from = difference.from.as_deref().unwrap_or("not set");
    Some(
        Problem::new(
            &difference.path,
            format!("`{}` of {} `{id}` is `{from}`, and cannot be changed", difference.path, row.word),
        )
        .help("it is settled when the object is made: put it back, or delete the object and make it anew"),
    )
}

/// References to objects that are neither there nor made by this set.
pub fn dangling(row: &Row, cx: &PlanContext<'_>, spec: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    for refer in row.refers {
        let Some(Ok(list)) = cx.seen.index.lists.get(&query(refer.list)) else { continue };
        for name in names(&spec[refer.path]) {
            let there = list.as_array().into_iter().flatten().any(|row| member(row, refer.member) == name);
            if !there && !is_declared(cx, refer.kind, &name) {
                problems.push(
                    Problem::new(refer.path, format!("there is no {} `{name}`", refer.kind))
                        .help(format!("no manifest of the set declares it, and it is not on the cluster: declare a `kind: {}`, or mend the name", refer.kind)),
                );
            }
        }
    }
    problems
}
