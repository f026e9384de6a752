//! Which object of the cluster each resource is: by the VMID that the manifest gives, by our marker, or newly allotted in a
//! fixed order. The same input gives the same numbers, whatever order the manifests came in.

use crate::base::id::{GuestType, VmId};
use crate::plan::desired::{Desired, DesiredSet};
use crate::pve::request::Query;
use crate::resource::index::{GuestRow, Index, node_guests_query};
use crate::resource::interfaces;
use crate::resource::kind::AnyKind;
use crate::resource::observation::{Observation, guest_query};
use crate::resource::reference::{Claim, Identity, ResourceRef};
use crate::resource::step::{Note, Problem};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The tag that shows in the index which guests carry a marker.
const TAG: &str = "pvectl";

/// What every resource is, and what stands against it.
#[derive(Debug, Default)]
pub struct Identities {
    /// By resource.
    pub known: BTreeMap<ResourceRef, Identity>,
    /// Resources that could not be bound, with the reason.
    pub problems: BTreeMap<ResourceRef, Vec<Problem>>,
    /// Resources that wait because there is a guest whose owner cannot be read yet.
    pub waiting: BTreeMap<ResourceRef, Note>,
}

/// What the second round of observation asks: every guest that is or may be ours, and what the kinds want to know.
pub fn reads(desired: &DesiredSet, index: &Index, kinds: &[&dyn AnyKind]) -> BTreeSet<Query> {
    let bound = identify(desired, &Observation::new(index.clone()));
    let mut explicit = BTreeSet::new();
    let mut names = BTreeSet::new();
    for want in desired.resources.values() {
        match want.kind.claim(&want.resource.name, &want.spec) {
            Claim::Guest { vmid: Some(vmid), .. } => {
                explicit.insert(vmid);
            }
            Claim::Guest { .. } => {
                names.insert(want.resource.name.as_str());
            }
            Claim::Pool(_) | Claim::Object { .. } => {}
        }
    }
    let mut queries = BTreeSet::new();
    for row in index.guests.values().filter(|r| online(index, &r.node)) {
        let making = row.lock.as_deref().is_some_and(|l| l == "create" || l == "clone") && !names.is_empty();
        if explicit.contains(&row.vmid) || row.tags.contains(TAG) || names.contains(row.name.as_str()) || making {
            queries.insert(guest_query(row));
            queries.insert(node_guests_query(&row.node, row.guest));
        }
    }
    for (resource, identity) in &bound.known {
        if let Some(want) = desired.resources.get(resource) {
            queries.extend(want.kind.reads(identity, Some(&want.spec), index));
        }
    }
    // Objects that are ours and no longer wanted are read like those that are.
    let seen = Observation::new(index.clone());
    for kind in kinds {
        for listed in kind.list(&seen).into_iter().filter(|l| l.marker.is_some()) {
            queries.extend(kind.reads(&listed.identity, None, index));
        }
    }
    queries
}

/// The reads that ask guests for the addresses that resources need: of those that run and are or may be ours, by their number
/// or by their name and our tag. Which of them a manifest means is known when their markers are.
pub fn addresses(desired: &DesiredSet, index: &Index) -> BTreeSet<Query> {
    let wanted: BTreeSet<ResourceRef> =
        desired.resources.values().flat_map(|want| want.kind.guests(&want.spec)).map(|guest| guest.to).collect();
    let (mut numbers, mut names) = (BTreeSet::new(), BTreeSet::new());
    for want in wanted.iter().filter_map(|guest| desired.resources.get(guest)) {
        match want.kind.claim(&want.resource.name, &want.spec) {
            Claim::Guest { guest, vmid: Some(vmid), .. } => {
                numbers.insert((guest, vmid));
            }
            Claim::Guest { guest, vmid: None, .. } => {
                names.insert((guest, want.resource.name.as_str()));
            }
            Claim::Pool(_) | Claim::Object { .. } => {}
        }
    }
    // The index is up to ten seconds old, and knows nothing of what was just made.
    let answers = |row: &&Arc<GuestRow>| {
        row.status != "stopped" && !row.template && row.tags.contains(TAG) && online(index, &row.node)
    };
    let meant = |row: &&Arc<GuestRow>| {
        numbers.contains(&(row.guest, row.vmid)) || names.contains(&(row.guest, row.name.as_str()))
    };
    index.guests.values().filter(answers).filter(meant).map(|row| interfaces::query(row)).collect()
}

fn online(index: &Index, node: &str) -> bool {
    index.nodes.get(node).is_none_or(|n| n.online)
}

/// Binds every resource.
pub fn identify(desired: &DesiredSet, seen: &Observation) -> Identities {
    let mut out = Identities::default();
    let mut owned: BTreeMap<&ResourceRef, Vec<&GuestRow>> = BTreeMap::new();
    let mut making: Option<VmId> = None;
    for row in seen.index.guests.values() {
        match seen.guest_marker(row.vmid) {
            Some(marker) if marker.set == desired.set => owned.entry(&marker.owner).or_default().push(row),
            Some(_) => {}
            None if row.lock.as_deref().is_some_and(|l| l == "create" || l == "clone") => making = Some(row.vmid),
            None => {}
        }
    }
    let unread: Vec<&GuestRow> =
        seen.index.guests.values().map(Arc::as_ref).filter(|row| is_unread(row, seen)).collect();
    let mut taken: BTreeSet<VmId> = seen.index.guests.keys().copied().collect();
    let mut claimed: BTreeMap<VmId, ResourceRef> = BTreeMap::new();
    let mut objects: BTreeMap<Identity, ResourceRef> = BTreeMap::new();
    let mut unnumbered = Vec::new();
    for want in desired.resources.values() {
        match want.kind.claim(&want.resource.name, &want.spec) {
            Claim::Pool(id) => {
                out.known.insert(want.resource.clone(), Identity::Pool(id));
            }
            Claim::Object { kind, id } => {
                let identity = Identity::Object { kind, id };
                if let Some(first) = objects.insert(identity.clone(), want.resource.clone()) {
                    out.problem(
                        &want.resource,
                        Problem::new("", format!("{identity} is {first} already"))
                            .help("one object has one manifest: take one of them out"),
                    );
                }
                out.known.insert(want.resource.clone(), identity);
            }
            Claim::Guest { guest, vmid: Some(vmid), version, .. } => {
                if let Some(first) = claimed.insert(vmid, want.resource.clone()) {
                    out.problem(
                        &want.resource,
                        Problem::new("vmid", format!("VMID {vmid} is given to {first} too"))
                            .help("a VMID is one guest of the whole cluster"),
                    );
                }
                if let Some(problem) = stands_against(vmid, want, &desired.set, &owned, seen) {
                    out.problem(&want.resource, problem);
                } else if let Some(problem) = another_version(vmid, version.as_deref(), want, seen) {
                    out.problem(&want.resource, problem);
                }
                taken.insert(vmid);
                let node = seen.index.guests.get(&vmid).map(|r| r.node.clone()).unwrap_or_default();
                out.known.insert(want.resource.clone(), Identity::Guest { guest, vmid, node });
            }
            Claim::Guest { guest, vmid: None, version, .. } => {
                let rows = owned.get(&want.resource).map(Vec::as_slice).unwrap_or_default();
                match current(rows, version.as_deref(), seen).as_slice() {
                    [row] => {
                        claimed.insert(row.vmid, want.resource.clone());
                        out.known.insert(
                            want.resource.clone(),
                            Identity::Guest { guest, vmid: row.vmid, node: row.node.clone() },
                        );
                    }
                    [] => {
                        match unread.iter().find(|row| may_be(row, &want.resource.name, seen)).copied().or_else(|| {
                            // A copy of somebody's guest has its name at once, and our tag only when it is configured.
                            seen.index
                                .guests
                                .values()
                                .map(Arc::as_ref)
                                .find(|row| row.name == want.resource.name && failed(row, seen))
                        }) {
                            Some(row) => {
                                let note = if online(&seen.index, &row.node) {
                                    Note::Unsettled(format!(
                                        "guest {} cannot be read just now, and may be this one",
                                        row.vmid
                                    ))
                                } else {
                                    Note::NodeOffline(row.node.clone())
                                };
                                out.waiting.insert(want.resource.clone(), note);
                            }
                            None => unnumbered.push(want),
                        }
                    }
                    rows => {
                        let list = rows.iter().map(|r| r.vmid.to_string()).collect::<Vec<_>>().join(", ");
                        out.problem(
                            &want.resource,
                            Problem::new("", format!("several guests say that they are {}: {list}", want.resource))
                                .help("give the right one's number as `vmid`"),
                        );
                    }
                }
            }
        }
    }
    allot(&unnumbered, making, &mut taken, &mut out);
    place(desired, seen, &mut out);
    out
}

/// Why a resource cannot be the guest of the number that its manifest gives: it is another guest already, or that guest is
/// another resource of the set. A guest keeps its number for life, and a second one beside it has its name and addresses.
fn stands_against(
    vmid: VmId,
    want: &Desired,
    set: &str,
    owned: &BTreeMap<&ResourceRef, Vec<&GuestRow>>,
    seen: &Observation,
) -> Option<Problem> {
    let resource = &want.resource;
    let rows = owned.get(resource).map(Vec::as_slice).unwrap_or_default();
    if let [first, ..] = rows
        && rows.iter().all(|row| row.vmid != vmid)
    {
        let old = first.vmid;
        return Some(
            Problem::new("vmid", format!("{resource} is guest {old} already, and a guest keeps its VMID")).help(format!(
                "write `vmid: {old}`; for a new guest beside it take another name, or delete this one first: pvectl delete {} {}",
                resource.kind, resource.name
            )),
        );
    }
    let marker = seen.guest_marker(vmid).filter(|m| m.set == set && m.owner != *resource)?;
    let old = &marker.owner;
    Some(Problem::new("vmid", format!("VMID {vmid} is {old} of this set, not {resource}")).help(format!(
        "give another `vmid`; if it was renamed, put the name `{}` back, or take the comment `<!-- pvectl … -->` out of its notes in PVE and then: pvectl adopt {resource} -f …",
        old.name
    )))
}

/// Of the guests that a resource has, the one of its version. Guests that carry no version yet are taken for it: the label is
/// put on, and nothing is built anew for that. None: it is still to be built; several: which one is meant cannot be told.
fn current<'a>(rows: &[&'a GuestRow], version: Option<&str>, seen: &Observation) -> Vec<&'a GuestRow> {
    let Some(wanted) = version else { return rows.to_vec() };
    let of = |version: Option<&str>| -> Vec<&'a GuestRow> {
        let is = |row: &&&GuestRow| seen.guest_marker(row.vmid).is_some_and(|m| m.version.as_deref() == version);
        rows.iter().filter(is).copied().collect()
    };
    let exact = of(Some(wanted));
    if exact.is_empty() { of(None) } else { exact }
}

/// Why a guest of a fixed number cannot become another version: that one is built beside it, and needs a number of its own.
fn another_version(vmid: VmId, version: Option<&str>, want: &Desired, seen: &Observation) -> Option<Problem> {
    let marker = seen.guest_marker(vmid).filter(|m| m.owner == want.resource)?;
    let (is, wanted) = (marker.version.as_deref()?, version?);
    (is != wanted).then(|| {
        Problem::new(
            "version",
            format!("guest {vmid} is version {is}, and version {wanted} is built beside it, under another number"),
        )
        .help(format!("give a `vmidRange` in place of `vmid: {vmid}`, or put `version: \"{is}\"` back"))
    })
}

/// Whether a guest carries our tag, and nothing is known of its marker: its node is away, or the read failed.
fn is_unread(row: &GuestRow, seen: &Observation) -> bool {
    row.tags.contains(TAG) && (failed(row, seen) || !online(&seen.index, &row.node))
}

/// A guest that could not be read, and may be another version of a resource: by its name and our tag.
pub(super) fn unread_version(want: &Desired, bound: Option<&Identity>, seen: &Observation) -> Option<VmId> {
    let Claim::Guest { version: Some(_), .. } = want.kind.claim(&want.resource.name, &want.spec) else { return None };
    let mut rows = seen.index.guests.values().filter(|row| row.name == want.resource.name && is_unread(row, seen));
    rows.find(|row| !matches!(bound, Some(Identity::Guest { vmid, .. }) if *vmid == row.vmid)).map(|row| row.vmid)
}

/// Whether a guest is there and could not be read.
fn failed(row: &GuestRow, seen: &Observation) -> bool {
    matches!(seen.answer(&guest_query(row)), Some(Err(error)) if !error.is_absent())
}

/// Whether an unread guest may be a resource: by its name, or, while its node answers, by anything. A second guest is worse
/// than a wait.
fn may_be(row: &GuestRow, name: &str, seen: &Observation) -> bool {
    row.name == name || row.name.is_empty() || online(&seen.index, &row.node)
}

/// Numbers for those that have none, lowest first.
fn allot(unnumbered: &[&Desired], making: Option<VmId>, taken: &mut BTreeSet<VmId>, out: &mut Identities) {
    // Where the search for the next number of a range starts: what is below is taken.
    let mut cursors: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    for want in unnumbered {
        let Claim::Guest { guest, range, .. } = want.kind.claim(&want.resource.name, &want.spec) else { continue };
        if let Some(vmid) = making {
            let why = format!("guest {vmid} is just being made, and may be this one");
            out.waiting.insert(want.resource.clone(), Note::Unsettled(why));
            continue;
        }
        let (low, high) = range.map_or((VmId::MIN, VmId::MAX), |(a, b)| (a.get(), b.get()));
        let from = cursors.get(&(low, high)).copied().unwrap_or(low);
        let free = (from..=high).filter_map(|n| VmId::new(n.into())).find(|v| !taken.contains(v));
        match free {
            Some(vmid) => {
                taken.insert(vmid);
                cursors.insert((low, high), vmid.get());
                out.known.insert(want.resource.clone(), Identity::Guest { guest, vmid, node: String::new() });
            }
            None => out.problem(
                &want.resource,
                Problem::new("vmidRange", format!("no VMID is free from {low} to {high}"))
                    .help("widen the range, or delete guests in it"),
            ),
        }
    }
}

/// Nodes for those that are not there yet: the manifest's, the source's, or the one with the most free memory, counting
/// what this plan puts there too.
fn place(desired: &DesiredSet, seen: &Observation, out: &mut Identities) {
    let mut free: BTreeMap<&str, i128> = seen
        .index
        .nodes
        .values()
        .filter(|n| n.online)
        .map(|n| (n.name.as_str(), i128::from(n.memory) - i128::from(n.memory_used)))
        .collect();
    // Sources first, so that what is cloned from them knows where they are.
    for _depth in 0..8 {
        let mut moved = false;
        for want in desired.resources.values() {
            let Some(Identity::Guest { guest, vmid, node }) = out.known.get(&want.resource) else { continue };
            if !node.is_empty() {
                continue;
            }
            let (guest, vmid): (GuestType, VmId) = (*guest, *vmid);
            let Claim::Guest { nodes, source, source_vmid, memory, .. } =
                want.kind.claim(&want.resource.name, &want.spec)
            else {
                continue;
            };
            let at_source = source_vmid.and_then(|v| seen.index.guests.get(&v)).map(|r| r.node.clone());
            let at_source = at_source.or_else(|| match out.known.get(source.as_ref()?) {
                Some(Identity::Guest { node, .. }) => Some(node.clone()),
                Some(Identity::Pool(_) | Identity::Object { .. }) => None,
                // A guest that no manifest declares, by its name.
                None => {
                    let named = |row: &&Arc<GuestRow>| {
                        row.guest == guest && source.as_ref().is_some_and(|s| s.name == row.name)
                    };
                    seen.index.guests.values().find(named).map(|row| row.node.clone())
                }
            });
            let chosen = match (nodes.as_slice(), at_source) {
                ([one], _) => one.clone(),
                ([], Some(node)) if node.is_empty() => continue,
                ([], Some(node)) => node,
                (several, _) => {
                    let candidates = free.iter().filter(|(n, _)| several.is_empty() || several.iter().any(|s| s == *n));
                    // Most free memory; among equals the first by name.
                    match candidates.max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0))) {
                        Some((node, _)) => (*node).to_owned(),
                        None => several.first().cloned().unwrap_or_default(),
                    }
                }
            };
            if chosen.is_empty() {
                continue;
            }
            if let Some(left) = free.get_mut(chosen.as_str()) {
                *left -= i128::from(memory);
            }
            out.known.insert(want.resource.clone(), Identity::Guest { guest, vmid, node: chosen });
            moved = true;
        }
        if !moved {
            break;
        }
    }
    let homeless: Vec<ResourceRef> = out
        .known
        .iter()
        .filter(|(_, i)| matches!(i, Identity::Guest { node, .. } if node.is_empty()))
        .map(|(r, _)| r.clone())
        .collect();
    for resource in homeless {
        out.problem(
            &resource,
            Problem::new("node", "no node can be chosen for it").help("give a `node`; is any node online?"),
        );
    }
}

impl Identities {
    fn problem(&mut self, resource: &ResourceRef, problem: Problem) {
        self.problems.entry(resource.clone()).or_default().push(problem);
    }
}
