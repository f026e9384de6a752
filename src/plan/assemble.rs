//! The plan of a whole set: one delta a resource, orphans of the set, and an order that respects who needs whom.

use crate::base::id::VmId;
use crate::base::links::Links;
use crate::lockout::guard::guard;
use crate::lockout::way::Way;
use crate::plan::batch::gather;
use crate::plan::desired::{Desired, DesiredSet};
use crate::plan::identify::{Identities, identify, unread_version};
use crate::plan::rolling;
use crate::plan::share::share;
use crate::resource::kind::{AnyKind, PlanContext};
use crate::resource::observation::Observation;
use crate::resource::reference::{Claim, Identity, ResourceRef};
use crate::resource::step::{ALLOW_LOCKOUT, Action, Delta, Note, Problem};
use std::collections::{BTreeMap, BTreeSet};

/// How to plan.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Delete what the set owns and no longer declares.
    pub prune: bool,
    /// Delete these, though they are declared (`pvectl delete`).
    pub delete: BTreeSet<ResourceRef>,
    /// Take over these, though they carry no marker (`pvectl adopt`).
    pub adopt: BTreeSet<ResourceRef>,
    /// Only these (`-l`); everything else counts as declared and is left out of the plan.
    pub only: Option<BTreeSet<ResourceRef>>,
    /// Only a part of the set's manifests was read: what is not declared here may be declared elsewhere.
    pub partial: bool,
    /// We speak with a ticket of root@pam.
    pub root_ticket: bool,
    /// The nodes that have a host link.
    pub links: Links,
    /// From where to where we speak: a plan that closes one of them is refused.
    pub ways: Vec<Way>,
    /// The token of PVE's lock on networks that a run of ours may have left.
    pub left_lock: Option<String>,
}

/// An object that the set owns and no longer declares, left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its name in the manifests that once declared it.
    pub resource: ResourceRef,
    /// Which object.
    pub identity: Identity,
    /// It is kept on purpose (`deletion-policy: Retain`).
    pub retained: bool,
}

/// What is to be done about a whole set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The manifest set.
    pub set: String,
    /// One a resource, in an order in which they can run one after the other.
    pub deltas: Vec<Delta>,
    /// What is left alone though nobody declares it.
    pub orphans: Vec<Orphan>,
}

impl Plan {
    /// Whether no delta has a step, nothing is to be created or deleted, and everything could be looked at.
    pub fn is_empty(&self) -> bool {
        self.deltas.iter().all(|d| !d.is_open() && d.steps.is_empty())
    }
}

/// Plans a set against what was seen. Pure: the same input gives the same plan, byte for byte.
pub fn plan(desired: &DesiredSet, seen: &Observation, kinds: &[&'static dyn AnyKind], settings: &Settings) -> Plan {
    let kept;
    let seen = if desired.resources.values().any(|want| !want.ignored.is_empty()) {
        let none: &[String] = &[];
        kept = seen.forgetting(&desired.set, |owner| desired.resources.get(owner).map_or(none, |want| &want.ignored));
        &kept
    } else {
        seen
    };
    let bound = identify(desired, seen);
    let mut plan = Plan { set: desired.set.clone(), ..Plan::default() };
    let mut gone: Vec<Gone> = Vec::new();
    let mut superseded: Vec<Gone> = Vec::new();
    let bound_identities: BTreeSet<&Identity> = bound.known.values().collect();
    for one in owned(desired, seen, kinds) {
        // What a policy makes is declared by the policy.
        let owner = desired.resources.get_key_value(&one.owner.declared()).map_or(&one.owner, |(policy, _)| policy);
        let declared = desired.resources.contains_key(owner);
        let doomed = settings.delete.contains(owner) && !(one.owner.is_member() && one.kind.goes_itself());
        if declared && !doomed {
            let another = bound.known.get(&one.owner).is_some_and(|now| number(now) != number(&one.identity));
            if another && one.version.is_some() {
                superseded.push(one);
            }
        } else if !declared && bound_identities.contains(&one.identity) {
            continue;
        } else if doomed || settings.prune && !one.retain {
            gone.push(one);
        } else {
            let Gone { label: resource, identity, retain: retained, .. } = one;
            plan.orphans.push(Orphan { resource, identity, retained });
        }
    }
    // What cannot carry our marker is deleted by its manifest, never pruned.
    for want in desired.resources.values().filter(|w| settings.delete.contains(&w.resource) && !w.kind.marks()) {
        if want.kind.goes_itself() {
            continue;
        }
        gone.extend(bound.known.get(&want.resource).map(|identity| Gone {
            kind: want.kind,
            owner: want.resource.clone(),
            label: want.resource.clone(),
            version: None,
            identity: identity.clone(),
            retain: false,
        }));
    }
    // A template that is made of a guest of ours changes kinds: whoever declares the identity keeps it.
    gone.retain(|one| settings.delete.contains(&one.owner) || !bound_identities.contains(&one.identity));
    let leaving: BTreeSet<VmId> = gone.iter().filter_map(|one| number(&one.identity)).collect();
    let mut deltas: BTreeMap<ResourceRef, Delta> = BTreeMap::new();
    // Of a policy, what it does to each guest may be asked for by itself.
    let policies: Option<BTreeSet<ResourceRef>> =
        settings.only.as_ref().map(|only| only.iter().map(ResourceRef::declared).collect());
    let asked = |w: &&Desired| policies.as_ref().is_none_or(|only| only.contains(&w.resource));
    let mut members: Vec<Delta> = Vec::new();
    let stays = |w: &&Desired| !settings.delete.contains(&w.resource) || w.kind.goes_itself();
    for want in desired.resources.values().filter(stays).filter(asked) {
        let (delta, of_guests) = one(desired, want, &bound, seen, settings, &leaving);
        deltas.insert(want.resource.clone(), delta);
        members.extend(of_guests);
    }
    if let Some(only) = &settings.only {
        deltas.retain(|resource, _| only.contains(resource));
        members.retain(|delta| only.contains(&delta.resource) || only.contains(&delta.resource.declared()));
        gone.retain(|one| only.contains(&one.owner));
        plan.orphans.clear();
    }
    if settings.partial {
        plan.orphans.clear();
    }
    for delta in deltas.values_mut().filter(|d| settings.prune && d.problems.is_empty()) {
        let want = desired.resources.get(&delta.resource);
        if let Some(vmid) = want.and_then(|want| unread_version(want, delta.identity.as_ref(), seen)) {
            // It is not known to be gone, so this is not done.
            delta.action = if delta.action == Action::NoOp { Action::Update } else { delta.action };
            let why = format!("guest {vmid} cannot be read just now, and may be an older version");
            delta.notes.push(Note::Unsettled(why));
        }
    }
    let scene = Scene { desired, bound: &bound, seen, settings, leaving: &leaving };
    gone.extend(outdated(&scene, superseded, &mut deltas));
    plan.deltas = order(deltas);
    rolling::hold_back(&mut plan.deltas, desired, seen);
    share(&mut plan.deltas);
    plan.deltas.extend(members);
    plan.deltas.extend(deletions(&scene, &gone, kinds));
    gather(&mut plan.deltas);
    let allows = |want: &Desired| want.annotations.get(ALLOW_LOCKOUT).is_some_and(|v| v == "true");
    guard(&mut plan.deltas, seen, &settings.ways, |resource| desired.resources.get(resource).map(allows));
    if seen.index.quorate == Some(false) {
        refuse_without_quorum(&mut plan);
    }
    plan
}

/// The delta of a resource, and those of the guests that it means.
fn one(
    desired: &DesiredSet,
    want: &Desired,
    bound: &Identities,
    seen: &Observation,
    settings: &Settings,
    leaving: &BTreeSet<VmId>,
) -> (Delta, Vec<Delta>) {
    let resource = &want.resource;
    let alone = |delta: Delta| (delta, Vec::new());
    if let Some(problems) = bound.problems.get(resource) {
        return alone(Delta {
            problems: problems.clone(),
            ..Delta::none(resource.clone(), bound.known.get(resource).cloned())
        });
    }
    let Some(identity) = bound.known.get(resource) else {
        let unknown = || Note::Unsettled("its number is not known yet".to_owned());
        return alone(Delta {
            action: Action::Create,
            notes: vec![bound.waiting.get(resource).cloned().unwrap_or_else(unknown)],
            ..Delta::none(resource.clone(), None)
        });
    };
    if let Some(node) = offline(identity, seen) {
        // What is there is not known, which is not the same as absent: it is left alone, and so is nothing else.
        let note = Note::NodeOffline(node.to_owned());
        return alone(Delta { notes: vec![note], ..Delta::none(resource.clone(), Some(identity.clone())) });
    }
    let adopt = settings.adopt.contains(resource);
    let cx = PlanContext {
        resource,
        identity,
        set: &desired.set,
        seen,
        identities: &bound.known,
        leaving,
        going: settings.delete.contains(resource),
        retain: want.retain,
        member_of: want.member_of.as_deref(),
        adopt,
        root_ticket: settings.root_ticket,
        links: &settings.links,
        left_lock: settings.left_lock.as_deref(),
        annotations: &want.annotations,
    };
    let mut delta = match want.kind.plan(&cx, Some(&want.spec)) {
        Ok((delta, _)) => delta,
        Err(error) => {
            let mut delta = Delta::none(resource.clone(), Some(identity.clone()));
            delta.problems.push(
                Problem::new("", format!("it could not be read: {}", error.message))
                    .help("nothing is known of it, so nothing is done; try again when the cluster answers"),
            );
            delta
        }
    };
    for reference in want.kind.refs(&want.spec) {
        let first = declared(desired, bound, reference.to);
        if let Some(first) = first.filter(|first| first != resource && !delta.after.contains(first)) {
            delta.after.push(first);
        }
    }
    if !delta.changes.iter().any(|c| c.path == "node") {
        delta.notes.extend(elsewhere(want, identity, seen));
    }
    let mut members = if delta.problems.is_empty() { want.kind.members(&cx, &want.spec) } else { Vec::new() };
    members.iter_mut().filter(|member| !member.problems.is_empty()).for_each(|member| member.steps.clear());
    members.retain(|_| !want.paused);
    if want.paused && !(delta.steps.is_empty() && delta.changes.is_empty() && delta.batch.is_none()) {
        delta.steps.clear();
        delta.batch = None;
        delta.problems.clear();
        delta.action = Action::NoOp;
        delta.notes.push(Note::Paused);
    }
    if !delta.problems.is_empty() {
        delta.steps.clear();
    }
    (delta, members)
}

/// The resource of the set that a reference means: by its name, or by the id of the object that it is.
fn declared(desired: &DesiredSet, bound: &Identities, to: ResourceRef) -> Option<ResourceRef> {
    if desired.resources.contains_key(&to) {
        return Some(to);
    }
    let number = to.name.parse().ok().and_then(VmId::new);
    let is = |identity: &Identity| match identity {
        Identity::Object { id, .. } => *id == to.name,
        Identity::Guest { vmid, .. } => number == Some(*vmid),
        Identity::Pool(_) => false,
    };
    // Resources are in the order of their kinds: a pool that no manifest declares is not looked for among guests.
    let of_kind =
        bound.known.range(ResourceRef::new(&to.kind, "")..).take_while(|(resource, _)| resource.kind == to.kind);
    of_kind.into_iter().find(|(_, identity)| is(identity)).map(|(resource, _)| resource.clone())
}

/// A guest that is there, on a node that its manifest does not name.
fn elsewhere(want: &Desired, identity: &Identity, seen: &Observation) -> Option<Note> {
    let (Identity::Guest { vmid, .. }, Claim::Guest { nodes, .. }) =
        (identity, want.kind.claim(&want.resource.name, &want.spec))
    else {
        return None;
    };
    let node = seen.index.guests.get(vmid).map(|row| row.node.clone())?;
    (!nodes.is_empty() && !nodes.contains(&node)).then(|| Note::Elsewhere { node, wanted: nodes.join(" or ") })
}

/// The node of a guest that is there, if it does not answer.
fn offline<'a>(identity: &Identity, seen: &'a Observation) -> Option<&'a str> {
    let Identity::Guest { vmid, .. } = identity else { return None };
    let node = &seen.index.guests.get(vmid)?.node;
    seen.index.nodes.get(node).is_some_and(|n| !n.online).then_some(node)
}

/// Without a quorum PVE writes nothing, and says so only when it is asked.
fn refuse_without_quorum(plan: &mut Plan) {
    for delta in plan.deltas.iter_mut().filter(|d| !d.steps.is_empty()) {
        delta.steps.clear();
        delta.problems.push(
            Problem::new("", "the cluster has no quorum, so nothing can be written")
                .help("bring nodes back; pvecm status shows the votes"),
        );
    }
}

/// An object of ours: one that is not declared is gone, and so is one that is not any more in its version.
struct Gone {
    kind: &'static dyn AnyKind,
    owner: ResourceRef,
    /// What it is called: its owner's name, with its version where several are of that name.
    label: ResourceRef,
    version: Option<String>,
    identity: Identity,
    retain: bool,
}

/// Every object that carries a marker of the set.
fn owned(desired: &DesiredSet, seen: &Observation, kinds: &[&'static dyn AnyKind]) -> Vec<Gone> {
    let mut all: Vec<Gone> = Vec::new();
    for kind in kinds {
        for listed in kind.list(seen) {
            let ours = listed.marker.filter(|m| m.set == desired.set && m.owner.kind == kind.name());
            all.extend(ours.map(|marker| Gone {
                kind: *kind,
                owner: marker.owner.clone(),
                label: marker.owner.clone(),
                version: marker.version.clone(),
                identity: listed.identity,
                retain: marker.retain,
            }));
        }
    }
    let mut names: BTreeMap<ResourceRef, usize> = BTreeMap::new();
    for one in &all {
        *names.entry(one.owner.clone()).or_default() += 1;
    }
    for one in &mut all {
        if let (Some(version), Some(2..)) = (&one.version, names.get(&one.owner)) {
            one.label = ResourceRef::new(&one.owner.kind, format!("{}@{version}", one.owner.name));
        }
    }
    all
}

/// What deletions are planned with.
struct Scene<'a> {
    desired: &'a DesiredSet,
    bound: &'a Identities,
    seen: &'a Observation,
    settings: &'a Settings,
    leaving: &'a BTreeSet<VmId>,
}

fn number(identity: &Identity) -> Option<VmId> {
    match identity {
        Identity::Guest { vmid, .. } => Some(*vmid),
        Identity::Pool(_) | Identity::Object { .. } => None,
    }
}

/// Of the versions that came before the declared one, those that may go now: pruning is asked for, the new one is ready, and
/// nothing stands against it, such as a linked clone. What becomes of each is noted with its successor.
fn outdated(scene: &Scene<'_>, superseded: Vec<Gone>, deltas: &mut BTreeMap<ResourceRef, Delta>) -> Vec<Gone> {
    let mut out = Vec::new();
    for old in superseded {
        let Some(successor) = deltas.get_mut(&old.owner) else { continue };
        let ready = !successor.is_open() && successor.steps.is_empty() && successor.problems.is_empty();
        let against = removal(scene, &old).problems.into_iter().next();
        let why = match against {
            _ if old.retain => "it is kept by its deletion policy".to_owned(),
            Some(problem) => format!("it stays: {}", problem.message),
            None if !scene.settings.prune => "nothing is linked to it, and --prune deletes it".to_owned(),
            None if !ready => "it is deleted when the new one is ready".to_owned(),
            None => {
                out.push(old);
                continue;
            }
        };
        let (version, identity) = (old.version.as_deref().unwrap_or(""), &old.identity);
        successor.notes.push(Note::Info(format!("version {version} is {identity}: {why}")));
    }
    out
}

/// What deletes one of them.
fn removal(scene: &Scene<'_>, one: &Gone) -> Delta {
    let none = BTreeMap::new();
    let cx = PlanContext {
        resource: &one.owner,
        identity: &one.identity,
        set: &scene.desired.set,
        seen: scene.seen,
        identities: &scene.bound.known,
        leaving: scene.leaving,
        going: true,
        retain: false,
        member_of: None,
        adopt: false,
        root_ticket: scene.settings.root_ticket,
        links: &scene.settings.links,
        left_lock: scene.settings.left_lock.as_deref(),
        annotations: scene.desired.resources.get(&one.owner).map_or(&none, |want| &want.annotations),
    };
    match one.kind.plan(&cx, None) {
        Ok((delta, _)) => delta,
        Err(error) => Delta {
            action: Action::Delete,
            problems: vec![
                Problem::new("", format!("it could not be read: {}", error.message))
                    .help("nothing is deleted unseen; try again when the cluster answers"),
            ],
            ..Delta::none(one.owner.clone(), Some(one.identity.clone()))
        },
    }
}

fn deletions(scene: &Scene<'_>, gone: &[Gone], kinds: &[&'static dyn AnyKind]) -> Vec<Delta> {
    let mut out: Vec<(usize, Delta)> = Vec::new();
    // Ordinary guests first, then templates, then what holds them: the reverse of how they were made, which is the order
    // of the registry.
    let place = |kind: &str| kinds.iter().rev().position(|k| k.name() == kind).unwrap_or(0);
    let rank = |one: &Gone| match &one.identity {
        Identity::Guest { vmid, .. } => usize::from(scene.seen.index.guests.get(vmid).is_some_and(|r| r.template)),
        Identity::Pool(_) | Identity::Object { .. } => 2 + place(one.kind.name()),
    };
    let mut sorted: Vec<(usize, &Gone)> = gone.iter().map(|one| (rank(one), one)).collect();
    sorted.sort_by_key(|(rank, one)| (*rank, one.owner.clone(), one.identity.clone()));
    for (mine, one) in sorted {
        let mut delta = removal(scene, one);
        delta.resource = one.label.clone();
        if !delta.problems.is_empty() {
            delta.steps.clear();
        }
        delta.after = out.iter().filter(|(rank, _)| *rank < mine).map(|(_, d)| d.resource.clone()).collect();
        out.push((mine, delta));
    }
    out.into_iter().map(|(_, delta)| delta).collect()
}

/// Deltas so that every one comes after those that it names; a cycle is a problem of its members.
fn order(mut deltas: BTreeMap<ResourceRef, Delta>) -> Vec<Delta> {
    let mut out: Vec<Delta> = Vec::new();
    let mut done: BTreeSet<ResourceRef> = BTreeSet::new();
    while !deltas.is_empty() {
        let ready: Vec<ResourceRef> = deltas
            .values()
            .filter(|d| d.after.iter().all(|a| done.contains(a) || !deltas.contains_key(a)))
            .map(|d| d.resource.clone())
            .collect();
        if ready.is_empty() {
            for (_, mut delta) in std::mem::take(&mut deltas) {
                delta.steps.clear();
                delta.problems.push(
                    Problem::new("", "it waits for itself: its references go in a circle")
                        .help("take one of the references out of the circle, so that something can be made first"),
                );
                out.push(delta);
            }
            break;
        }
        for resource in ready {
            if let Some(delta) = deltas.remove(&resource) {
                done.insert(resource);
                out.push(delta);
            }
        }
    }
    out
}
