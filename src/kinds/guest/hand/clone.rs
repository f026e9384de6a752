//! A copy of a guest, or of one of its snapshots (a branch). PVE says itself whether the storages can do it (`feature`), and
//! it is asked before anything is sent.

use crate::base::id::{GuestType, VmId};
use crate::kinds::guest::fit::volumes;
use crate::kinds::guest::hand::deed::{Scene, base, open, task};
use crate::kinds::guest::hand::snapshot::{list_query, names, rows};
use crate::kinds::guest::hand::snapshot_checks::{not_whole, unknown};
use crate::kinds::guest::mapping::{TAG, slot_number};
use crate::kinds::guest::observed::decode_row;
use crate::pve::property::PropertyString;
use crate::pve::request::{Call, Method, Query};
use crate::resource::index::{GuestRow, Index, number};
use crate::resource::observation::guest_query;
use crate::resource::step::{Action, Delta, Impact, Limit, Note, Step};
use std::collections::BTreeSet;

/// A copy to be made.
#[derive(Clone, Debug)]
pub struct Clone {
    /// How the new guest is called.
    pub name: String,
    /// Its number; chosen before the first look at it, so that every look speaks of the same.
    pub vmid: VmId,
    /// Full or linked; PVE's default is linked for a template, full for everything else.
    pub full: Option<bool>,
    /// Where the disks of a full copy go; beside the source's when left out.
    pub storage: Option<String>,
    /// The node of the new guest.
    pub node: Option<String>,
    /// Out of this snapshot.
    pub snapshot: Option<String>,
}

/// The smallest number that nobody has.
pub fn free_number(index: &Index) -> Option<VmId> {
    free_beside(index, &BTreeSet::new())
}

/// The smallest free number that is none of these either.
pub fn free_beside(index: &Index, others: &BTreeSet<VmId>) -> Option<VmId> {
    let free = |v: &VmId| !index.guests.contains_key(v) && !others.contains(v);
    (u64::from(VmId::MIN)..=u64::from(VmId::MAX)).filter_map(VmId::new).find(free)
}

fn is_full(clone: &Clone, row: &GuestRow) -> bool {
    clone.full.unwrap_or(!row.template)
}

fn feature_query(clone: &Clone, row: &GuestRow) -> Query {
    let feature = if is_full(clone, row) { "copy" } else { "clone" };
    let query = Query::new(format!("{}/feature", base(row))).with("feature", feature);
    match &clone.snapshot {
        Some(name) => query.with("snapname", name),
        None => query,
    }
}

/// What is read.
pub fn reads(clone: &Clone, row: &GuestRow, index: &Index, first: bool) -> BTreeSet<Query> {
    let mut reads = BTreeSet::new();
    if first {
        reads.extend([guest_query(row), feature_query(clone, row)]);
        reads.extend(clone.snapshot.as_ref().map(|_| list_query(row)));
    }
    reads.extend(index.guests.get(&clone.vmid).map(|made| guest_query(made)));
    reads
}

/// What is to be done.
pub fn plan(clone: &Clone, scene: &Scene<'_>, delta: &mut Delta) {
    let row = scene.row;
    let full = is_full(clone, row);
    let target = clone.node.as_deref().unwrap_or(&row.node);
    if !scene.is_first() {
        if is_there(clone, scene, delta) {
            if let Some(tags) = scene.seen.index.guests.get(&clone.vmid).and_then(|made| tags(made, scene)) {
                open(delta, &format!("the tag `{TAG}`"), Some("on it"), Some("off"), untag(clone, target, tags, row));
            }
            return;
        }
    } else {
        names_taken(clone, scene, delta);
        privileges(clone, full, scene, delta);
        storages(clone, full, target, scene, delta);
        feature(clone, full, scene, delta);
    }
    let new = clone.vmid;
    let name_key = if row.guest == GuestType::Qemu { "name" } else { "hostname" };
    let mut call = Call::new(Method::Post, format!("{}/clone", base(row)))
        .with("newid", new)
        .with(name_key, &clone.name)
        .with("full", u8::from(full));
    if let Some(notes) = notes(clone, scene) {
        call = call.with("description", notes);
    }
    for (key, value) in [("snapname", &clone.snapshot), ("storage", &clone.storage)] {
        if let Some(value) = value {
            call = call.with(key, value);
        }
    }
    if target != row.node {
        call = call.with("target", target);
    }
    let from = clone.snapshot.as_ref().map(|s| format!(" at `{s}`")).unwrap_or_default();
    let how = if full { "full" } else { "linked" };
    let title = format!("clone {}{from} to {new} ({how})", row.vmid);
    let step = task(title, call, Impact::None, row).limit(Limit::Template(row.vmid.get()));
    scene.say(delta, "the new guest belongs to no manifest; pvectl adopt takes it over");
    let fixed = addresses(scene);
    if !fixed.is_empty() {
        scene
            .say(delta, format!("it has its source's fixed address ({}): change it before both run", fixed.join(", ")));
    }
    let made = format!("VMID {new} on {target}");
    open(delta, &format!("clone {}", clone.name), Some("not there"), Some(&made), step);
    if let Some(tags) = tags(row, scene) {
        delta.steps.push(untag(clone, target, tags, row));
        scene.require(delta, &format!("/vms/{new}"), &["VM.Config.Options"]);
    }
}

/// The tags of a guest without ours; `None` where it does not carry it.
fn tags(row: &GuestRow, scene: &Scene<'_>) -> Option<String> {
    let row = scene.seen.index.guests.get(&row.vmid)?;
    let seen = decode_row(row, scene.seen).ok().flatten()?;
    let tags: Vec<&str> = seen.config.get("tags")?.split([';', ',', ' ']).filter(|t| !t.is_empty()).collect();
    let others: Vec<&str> = tags.iter().copied().filter(|t| *t != TAG).collect();
    (others.len() < tags.len()).then(|| others.join(";"))
}

/// PVE copies tags, and ours says that a guest is one of ours.
fn untag(clone: &Clone, node: &str, tags: String, row: &GuestRow) -> Step {
    let new = clone.vmid;
    let call = Call::new(Method::Put, format!("/nodes/{node}/{}/{new}/config", row.guest));
    let call = if tags.is_empty() { call.with("delete", "tags") } else { call.with("tags", tags) };
    Step::new(format!("take the tag `{TAG}` off {new}"), call, Impact::None)
}

/// Whether the copy is there and finished; a lock on it is one on the deed.
fn is_there(clone: &Clone, scene: &Scene<'_>, delta: &mut Delta) -> bool {
    let Some(made) = scene.seen.index.guests.get(&clone.vmid).filter(|r| r.guest == scene.row.guest) else {
        return false;
    };
    let Ok(Some(seen)) = decode_row(made, scene.seen) else { return false };
    if let Some(lock) = seen.lock {
        delta.notes.push(Note::Locked(lock));
        return false;
    }
    let name_key = if made.guest == GuestType::Qemu { "name" } else { "hostname" };
    delta.action = Action::NoOp;
    seen.config.get(name_key).is_some_and(|name| *name == clone.name)
}

/// The source's notes without our marker, which speaks of the source alone.
fn notes(clone: &Clone, scene: &Scene<'_>) -> Option<String> {
    let marker = scene.target.marker.as_ref()?;
    let text = decode_row(scene.seen.index.guests.get(&scene.row.vmid)?, scene.seen).ok().flatten();
    let text = text.and_then(|seen| seen.config.get("description").cloned()).filter(|t| !t.trim().is_empty());
    // PVE takes an empty text for none, and would copy the source's.
    Some(text.unwrap_or_else(|| {
        let at = clone.snapshot.as_ref().map(|s| format!(" at {s}")).unwrap_or_default();
        format!("clone of {} ({}){at}", marker.owner.name, scene.row.vmid)
    }))
}

/// Addresses that the source's configuration gives, and its copy's will give too.
fn addresses(scene: &Scene<'_>) -> Vec<String> {
    let row = scene.seen.index.guests.get(&scene.row.vmid);
    let Some(seen) = row.and_then(|row| decode_row(row, scene.seen).ok().flatten()) else { return Vec::new() };
    let word = if seen.row.guest == GuestType::Qemu { "ipconfig" } else { "net" };
    let options = seen.config.iter().filter(|(key, _)| slot_number(key, word).is_some());
    let fixed = options.flat_map(|(_, text)| {
        let parts = PropertyString::parse(text, "");
        ["ip", "ip6"].map(|key| parts.get(key).filter(|ip| ip.contains('/')).map(str::to_owned))
    });
    fixed.flatten().collect()
}

fn names_taken(clone: &Clone, scene: &Scene<'_>, delta: &mut Delta) {
    let guests = &scene.seen.index.guests;
    if let Some(other) = guests.get(&clone.vmid) {
        let free = free_number(&scene.seen.index).map(|v| format!("; {v} is free")).unwrap_or_default();
        let whose = format!("VMID {} is taken by `{}`", clone.vmid, other.name);
        scene.refuse(delta, whose, format!("leave --vmid out, or give another{free}"));
    }
    if let Some(other) = guests.values().find(|r| r.name == clone.name) {
        scene.refuse(
            delta,
            format!("there is a guest called `{}` already ({} on {})", clone.name, other.vmid, other.node),
            "give another name: a name that two guests have names neither",
        );
    }
}

fn privileges(clone: &Clone, full: bool, scene: &Scene<'_>, delta: &mut Delta) {
    scene.require_here(delta, &["VM.Clone"]);
    scene.require(delta, &format!("/vms/{}", clone.vmid), &["VM.Allocate"]);
    let own = storages_of(scene);
    let onto = match &clone.storage {
        Some(storage) if full => BTreeSet::from([storage.clone()]),
        Some(_) | None => own,
    };
    for storage in onto {
        scene.require(delta, &format!("/storage/{storage}"), &["Datastore.AllocateSpace"]);
    }
}

/// The storages that a guest's volumes are on.
pub fn storages_of(scene: &Scene<'_>) -> BTreeSet<String> {
    let row = scene.seen.index.guests.get(&scene.row.vmid);
    let seen = row.and_then(|row| decode_row(row, scene.seen).ok().flatten());
    let list = seen.map(|s| volumes(s.row.guest, &s.config)).unwrap_or_default();
    list.iter().filter_map(|v| Some(v.split_once(':')?.0.to_owned())).collect()
}

fn storages(clone: &Clone, full: bool, target: &str, scene: &Scene<'_>, delta: &mut Delta) {
    let index = &scene.seen.index;
    match index.nodes.get(target) {
        None => {
            let known = index.nodes.keys().cloned().collect::<Vec<_>>().join(", ");
            scene.refuse(delta, format!("there is no node `{target}`"), format!("nodes: {known}"));
            return;
        }
        Some(node) if !node.online => {
            scene.refuse(delta, format!("node `{target}` does not answer"), "take another, or wait until it is back");
        }
        Some(_) => {}
    }
    if let (Some(_), false) = (&clone.storage, full) {
        scene.refuse(delta, "a linked clone stays on the storage of its base", "leave --storage out, or say --full");
    }
    if let Some(storage) = clone.storage.as_ref().filter(|_| full) {
        let content = if scene.row.guest == GuestType::Qemu { "images" } else { "rootdir" };
        let key = |s: &str| (target.to_owned(), s.to_owned());
        let fit = index.storages.values().filter(|s| s.node == target && s.available && s.content.contains(content));
        let names = fit.map(|s| s.storage.clone()).collect::<Vec<_>>().join(", ");
        match index.storages.get(&key(storage)) {
            Some(row) if row.available && row.content.contains(content) => {}
            Some(row) if !row.available => {
                scene.refuse(delta, format!("storage `{storage}` is not available on `{target}`"), names);
            }
            Some(_) => scene.refuse(
                delta,
                format!("storage `{storage}` does not take `{content}`"),
                format!("storages of `{target}` that do: {names}"),
            ),
            None => scene.refuse(
                delta,
                format!("node `{target}` has no storage `{storage}`"),
                format!("storages of `{target}` that take `{content}`: {names}"),
            ),
        }
    }
    if target != scene.row.node {
        let shared = |s: &String| index.storages.get(&(scene.row.node.clone(), s.clone())).is_some_and(|r| r.shared);
        let local: Vec<String> = storages_of(scene).into_iter().filter(|s| !shared(s)).collect();
        if !local.is_empty() {
            let list = local.iter().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(", ");
            scene.refuse(
                delta,
                format!(
                    "it cannot be cloned to node `{target}`: its disks are on {list}, which only `{}` has",
                    scene.row.node
                ),
                format!("clone it on `{}`, and migrate the copy", scene.row.node),
            );
        }
    }
}

/// What PVE says about the storages, and what it says only while it works.
fn feature(clone: &Clone, full: bool, scene: &Scene<'_>, delta: &mut Delta) {
    let kind = &scene.target.resource.kind;
    if let Some(name) = &clone.snapshot {
        match scene.seen.value(&list_query(scene.row)) {
            Some(list) if !names(list).contains(name) => {
                unknown(name, list, scene, delta);
                return;
            }
            Some(list) => not_whole(rows(list).iter().find(|r| r.name == *name), scene, delta),
            None => {}
        }
    }
    let able = scene.seen.value(&feature_query(clone, scene.row)).and_then(|v| number(&v["hasFeature"]));
    if able == Some(0) {
        let list = storages_of(scene).into_iter().collect::<Vec<_>>().join(", ");
        let (why, help) = match (&clone.snapshot, full) {
            (Some(name), true) => (
                format!("its storages ({list}) cannot copy out of a snapshot, so there is no branch of `{name}`"),
                format!("roll back to it in place: pvectl restore {kind} {} {name}", scene.row.vmid),
            ),
            (_, true) => {
                (format!("its storages ({list}) cannot copy a disk"), "move its disks to another storage".into())
            }
            (_, false) => (
                format!("its storages ({list}) make linked clones of templates only, if at all"),
                "say --full, or make it a template".to_owned(),
            ),
        };
        scene.refuse(delta, why, help);
    }
    if scene.row.guest == GuestType::Lxc && full && scene.running() && clone.snapshot.is_none() {
        let vmid = scene.row.vmid;
        scene.refuse(
            delta,
            format!("CT {vmid} runs, and PVE copies a running container only out of a snapshot"),
            format!(
                "pvectl snapshot create {kind} {vmid} NAME, then clone with --snapshot NAME; or shut it down first"
            ),
        );
    }
}
