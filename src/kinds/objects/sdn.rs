//! Software defined networks. What is written to them waits in PVE until all of it is applied at once, on every node. One run
//! writes under PVE's lock (PVE 9) and applies once; what fails on the way is taken back.
//!
//! A run that was killed leaves the lock. The next one shows PVE the token of it, if it knows that.
//!
//! What waits is ours where it makes an object as its manifest says: a run that was killed left it, and the next one applies
//! it. Everything else that waits is somebody's, and would be applied with ours: it is refused by name.

use crate::kinds::objects::content::member;
use crate::kinds::objects::network;
use crate::kinds::objects::object::{Seen, current, default, wanted};
use crate::kinds::objects::plan::plan as change;
use crate::kinds::objects::row::{Row, query};
use crate::kinds::objects::table::is_declared;
use crate::pve::networks_lock::{LOCK, TOKEN};
use crate::pve::request::{Call, Method, Query, segment};
use crate::resource::index::Index;
use crate::resource::kind::{DecodeError, PlanContext};
use crate::resource::observation::Observation;
use crate::resource::step::{Action, Batch, Delta, Expect, Impact, Keeps, Note, Problem, Step};
use serde_json::{Value, json};
use std::time::Duration;

/// All zones, with what waits to be applied.
pub const ZONES: &str = "/cluster/sdn/zones?pending=1";
/// All virtual networks, with what waits to be applied.
pub const VNETS: &str = "/cluster/sdn/vnets?pending=1";

/// All controllers, which no manifest declares, with what waits to be applied.
pub const CONTROLLERS: &str = "/cluster/sdn/controllers?pending=1";

const REMEDY: &str = "look at it in PVE under Datacenter, SDN; apply it there (pvesh set /cluster/sdn) or take it back \
     (pvesh create /cluster/sdn/rollback, PVE 9), and run this again";

/// How long a node may take to begin with what it was told: the task of `PUT /cluster/sdn` does not wait for it.
const SETTLES: Duration = Duration::from_secs(5);
const LOST: &str = "whether the lock is held is not known. If it is and nobody is at it, release it: pvesh delete \
     /cluster/sdn/lock --force 1; then run this again";

/// A row as it is configured: what waits is in its place.
pub fn configured(row: &Value) -> Value {
    let mut out = row.clone();
    let Some(object) = out.as_object_mut() else { return out };
    for (key, value) in row["pending"].as_object().into_iter().flatten() {
        if value == "deleted" {
            object.remove(key);
        } else {
            object.insert(key.clone(), value.clone());
        }
    }
    out
}

/// The subnets of a virtual network, with what waits to be applied.
pub fn subnets(vnet: &str) -> Query {
    Query::new(format!("/cluster/sdn/vnets/{}/subnets", segment(vnet))).with("pending", "1")
}

/// Virtual networks whose subnets can be read. PVE looks for one that is to go among those that are configured, and does not
/// find it; none that has subnets can go.
fn readable(list: &Value) -> impl Iterator<Item = String> {
    let rows = list.as_array().into_iter().flatten().filter(|row| row["state"] != "deleted");
    rows.map(|row| member(row, "vnet"))
}

/// All objects within others. Those that were not read stand for themselves, by the other's name.
pub fn inside(list: &Value, within: fn(&str) -> Query, seen: &Observation) -> Value {
    let rows = |parent: String| match seen.value(&within(&parent)).and_then(Value::as_array) {
        Some(rows) => rows.clone(),
        None => vec![json!({ "vnet": parent })],
    };
    readable(list).flat_map(rows).collect()
}

/// The list that an object within another is in; `None` where the other is not there.
pub fn listed_in<'a>(
    list: &Value,
    parent: &str,
    within: fn(&str) -> Query,
    seen: &'a Observation,
) -> Result<Option<&'a Value>, DecodeError> {
    if !readable(list).any(|vnet| vnet == parent) {
        return Ok(None);
    }
    match seen.answer(&within(parent)) {
        Some(Ok(list)) => Ok(Some(list)),
        Some(Err(error)) => Err(DecodeError { message: error.to_string() }),
        None => Err(DecodeError { message: format!("what is in {parent} was not read") }),
    }
}

/// What each node says of the networks that run on it, and the subnets of all networks.
pub fn looks(index: &Index) -> Vec<Query> {
    let online = index.nodes.iter().filter(|(_, node)| node.online);
    let nodes = online.map(|(name, _)| Query::new(format!("/nodes/{}/sdn/zones", segment(name))));
    let vnets = index.lists.get(&query(VNETS)).and_then(|list| list.as_ref().ok());
    nodes.chain(vnets.into_iter().flat_map(|list| readable(list).map(|vnet| subnets(&vnet)))).collect()
}

/// Nodes on which a zone runs as it was before: they have not generated their interfaces anew
/// (`PVE::Network::SDN::Zones::status`).
fn behind(cx: &PlanContext<'_>, zone: &str) -> Vec<String> {
    let is_behind = |node: &&String| {
        let at = Query::new(format!("/nodes/{}/sdn/zones", segment(node)));
        let rows = cx.seen.value(&at).and_then(Value::as_array).into_iter().flatten();
        rows.into_iter().any(|row| member(row, "zone") == zone && member(row, "status") == "pending")
    };
    cx.seen.index.nodes.keys().filter(is_behind).cloned().collect()
}

/// Whether this PVE has the lock (libpve-network-perl 1.1.3 came with PVE 9).
fn locks(version: &str) -> bool {
    version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 9)
}

/// What opens and closes the changes of a run.
fn batch(cx: &PlanContext<'_>, resumes: bool) -> Batch {
    let apply = Call::new(Method::Put, "/cluster/sdn");
    let title = "apply the networks on all nodes";
    if !locks(&cx.seen.index.version) {
        let mut close = Step::new(title, apply, Impact::Live).settles(SETTLES);
        close.expect = Expect::Task;
        return Batch { name: "sdn", open: Vec::new(), close, resumes };
    }
    // What is shown the token of a lock lets go of that one and of no other, and of none where there is none.
    let left = cx.left_lock.map(|token| Call::new(Method::Delete, LOCK).with(TOKEN, token));
    let left = left.map(|call| Step::new("release the lock that a run of ours may have left", call, Impact::None));
    let lock = Call::new(Method::Post, LOCK);
    let lock = if resumes { lock.with("allow-pending", "1") } else { lock };
    let mut open = Step::new("lock the networks", lock, Impact::None);
    open.keeps = Some(Keeps { param: TOKEN, lost: LOST });
    let mut close = Step::new(title, apply.with("release-lock", "1"), Impact::Live).settles(SETTLES);
    close.expect = Expect::Task;
    // It may have been done: it is not taken back, and the lock is let go if it is still ours.
    let release = Call::new(Method::Delete, LOCK);
    close.undo = Some(Box::new(Step::new("release the lock of the networks", release, Impact::None)));
    Batch { name: "sdn", open: left.into_iter().chain([open]).collect(), close, resumes }
}

fn rollback() -> Step {
    let call = Call::new(Method::Post, "/cluster/sdn/rollback").with("release-lock", "1");
    Step::new("take back what is not applied yet", call, Impact::None)
}

/// What is to be done about an object of a row whose changes wait.
pub fn plan(row: &Row, cx: &PlanContext<'_>, desired: Option<Value>, observed: Option<&Seen>) -> Delta {
    let state = observed.map(|seen| member(&seen.row, "state")).unwrap_or_default();
    let mut delta = Delta::none(cx.resource.clone(), Some(cx.identity.clone()));
    match (&desired, observed) {
        (Some(spec), Some(seen)) if !state.is_empty() && !is_as_written(row, spec, seen) => {
            delta.problems.push(in_the_way(row, &row.key(&seen.row), &state));
            return delta;
        }
        // It is deleted already; that is all that is known of it.
        (None, Some(_)) if state == "deleted" => delta.action = Action::Delete,
        (_, _) => delta = change(row, cx, desired.clone(), observed),
    }
    if row.within.is_some() {
        delta.notes.extend(desired.as_ref().and_then(|spec| network::without_dhcp(cx, spec)));
    }
    // PVE's id of a subnet is known where there is one.
    let subnet = observed.map(|seen| segment(&member(&seen.row, "subnet"))).unwrap_or_default();
    for step in &mut delta.steps {
        step.call.path = step.call.path.replace("{subnet}", &subnet);
    }
    if !delta.problems.is_empty() {
        return delta;
    }
    let seen = observed.filter(|_| desired.is_some() && state.is_empty() && delta.steps.is_empty());
    let late = seen.map(|seen| behind(cx, &member(&seen.row, "zone"))).unwrap_or_default();
    if delta.steps.is_empty() && state.is_empty() && late.is_empty() {
        return delta;
    }
    if delta.steps.is_empty() && !state.is_empty() {
        delta.notes.push(Note::Info("it is configured so, and not applied yet".into()));
    }
    if !late.is_empty() {
        delta.notes.push(Note::Info(format!("{} runs its networks as they were before", late.join(", "))));
    }
    if delta.action == Action::NoOp {
        delta.action = Action::Update;
    }
    delta.problems.extend(foreign(cx));
    crate::resource::privilege::require(cx, &mut delta, "/sdn", "SDN.Allocate");
    if locks(&cx.seen.index.version) {
        for step in &mut delta.steps {
            step.undo = Some(Box::new(rollback()));
        }
    }
    delta.batch = Some(batch(cx, !state.is_empty()));
    delta
}

/// Whether what waits makes the object as its manifest says, and nothing else of it.
fn is_as_written(row: &Row, spec: &Value, seen: &Seen) -> bool {
    let fields = wanted(row, spec);
    let as_said = fields
        .iter()
        .all(|(path, value)| current(row, seen, path).or_else(|| default(row, path)).as_ref() == Some(value));
    let named = |key: &str| {
        let field = row.fields.iter().find(|f| f.option == key).map(|f| f.path.to_owned());
        fields.contains_key(&field.unwrap_or_else(|| format!("options.{key}")))
    };
    let pending = seen.row["pending"].as_object();
    member(&seen.row, "state") != "deleted" && as_said && pending.into_iter().flatten().all(|(key, _)| named(key))
}

fn in_the_way(row: &Row, id: &str, state: &str) -> Problem {
    let text =
        format!("a change of {} `{id}` ({state}) waits to be applied, and is not what its manifest says", row.word);
    Problem::new("", text).help(REMEDY)
}

/// What waits and is in no manifest of the set.
fn foreign(cx: &PlanContext<'_>) -> Option<Problem> {
    let mut names = Vec::new();
    let vnets = cx.seen.index.lists.get(&query(VNETS)).and_then(|list| list.as_ref().ok());
    for vnet in vnets.into_iter().flat_map(|list| readable(list)) {
        let rows = cx.seen.value(&subnets(&vnet)).and_then(Value::as_array).into_iter().flatten();
        for row in rows.filter(|row| !row["state"].is_null()) {
            let id = format!("{vnet} {}", member(row, "cidr"));
            if !is_declared(cx, "SdnSubnet", &id) {
                names.push(format!("subnet `{id}` ({})", member(row, "state")));
            }
        }
    }
    for (kind, word, list, key) in [
        ("SdnZone", "zone", ZONES, "zone"),
        ("SdnVnet", "virtual network", VNETS, "vnet"),
        ("SdnController", "controller", CONTROLLERS, "controller"),
    ] {
        let Some(Ok(list)) = cx.seen.index.lists.get(&query(list)) else { continue };
        for row in list.as_array().into_iter().flatten().filter(|row| !row["state"].is_null()) {
            let id = member(row, key);
            if !is_declared(cx, kind, &id) {
                names.push(format!("{word} `{id}` ({})", member(row, "state")));
            }
        }
    }
    let what = names.join(", ");
    (!names.is_empty()).then(|| {
        Problem::new("", format!("changes of others wait to be applied, and would be applied with ours: {what}"))
            .help(REMEDY)
    })
}
