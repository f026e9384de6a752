//! A backup that becomes a guest: a new one, or the guest itself as it was. Beside a manifest's `from: {archive}`, which makes a
//! guest of ours, this makes a guest of nobody: the marker in the backup is that of the original, and is never on a copy.
//! Restored in place, a guest keeps the notes and the marker that it has now, so that `diff` shows what went back.

use crate::base::id::{GuestType, VmId};
use crate::base::links::Links;
use crate::kinds::backups::{Backup, age};
use crate::kinds::guest::hand::deed::{current_query, open, tasks_of};
use crate::kinds::guest::hand::restore_checks::{Look, circumstances, itself, new, volumes};
use crate::kinds::guest::hand::snapshot;
use crate::kinds::guest::mapping::{Config, TAG};
use crate::kinds::guest::observed::{GuestSeen, decode_row};
use crate::kinds::guest::restore::{extract_query, notes_in, options_in, reads as reads_of};
use crate::pve::request::{Call, Method, Query};
use crate::resource::hand::{Hand, Proof};
use crate::resource::index::{GuestRow, Index, text};
use crate::resource::kind::PlanContext;
use crate::resource::marker::Marker;
use crate::resource::observation::{Observation, guest_query};
use crate::resource::privilege::require;
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::{Action, Delta, Impact, Limit, Note, Step};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a backup becomes.
#[derive(Clone, Debug)]
pub enum Becomes {
    /// Another guest.
    New {
        /// Its name.
        name: String,
        /// It has the original's MAC addresses.
        keep_mac: bool,
    },
    /// The guest that it is a backup of.
    Itself,
}

/// A backup to be restored.
#[derive(Clone, Debug)]
pub struct Restore {
    /// As it is called in the report.
    pub resource: ResourceRef,
    /// Which backup; its node is where it is restored.
    pub backup: Backup,
    /// The number of the guest.
    pub vmid: VmId,
    /// What it becomes.
    pub becomes: Becomes,
    /// Where the volumes go.
    pub storage: Option<String>,
    /// Start it after that.
    pub start: bool,
    /// Why a newer backup may be there than this one, where the newest is meant.
    pub doubts: Vec<String>,
    /// Backups of others that lie under the number of the new guest.
    pub foreign: usize,
    /// Where it becomes the guest itself: it may be the backup of another guest that had this number.
    pub other_guest: bool,
    /// We speak with a ticket of root@pam.
    pub root_ticket: bool,
}

impl Restore {
    /// Whether the guest itself is written over.
    pub fn in_place(&self) -> bool {
        matches!(self.becomes, Becomes::Itself)
    }

    fn row<'a>(&self, index: &'a Index) -> Option<&'a GuestRow> {
        index.guests.get(&self.vmid).map(AsRef::as_ref)
    }

    fn identity(&self) -> Identity {
        Identity::Guest { guest: self.backup.guest, vmid: self.vmid, node: self.backup.node.clone() }
    }

    /// The option that holds its name.
    pub fn name_key(&self) -> &'static str {
        if self.backup.guest == GuestType::Qemu { "name" } else { "hostname" }
    }

    fn is_there(&self, seen: &Observation, delta: &mut Delta) -> bool {
        let Some(row) = seen.index.guests.get(&self.vmid).filter(|r| r.guest == self.backup.guest) else {
            return false;
        };
        let Ok(Some(made)) = decode_row(row, seen) else { return false };
        if let Some(lock) = made.lock {
            delta.notes.push(Note::Locked(lock));
            return false;
        }
        match &self.becomes {
            Becomes::New { name, .. } if made.config.get(self.name_key()) == Some(name) => {
                self.bare(&made, delta);
                true
            }
            Becomes::New { .. } => false,
            Becomes::Itself => {
                self.bare(&made, delta);
                true
            }
        }
    }

    /// Our tag is on nothing that has no marker of ours.
    fn bare(&self, made: &GuestSeen, delta: &mut Delta) {
        if made.marker.is_none() && only_ours(made.config.get("tags")) {
            open(delta, &format!("the tag `{TAG}`"), Some("on it"), Some("off"), self.untag());
        }
    }

    /// A tag of ours that is the only one cannot go with the request: PVE would write an option without a value.
    fn untag(&self) -> Step {
        let Backup { guest, node, .. } = &self.backup;
        let call = Call::new(Method::Put, format!("/nodes/{node}/{guest}/{}/config", self.vmid)).with("delete", "tags");
        Step::new(format!("take the tag `{TAG}` off {}", self.vmid), call, Impact::None)
    }
}

/// Whether our tag is there, and no other.
fn only_ours(tags: Option<&String>) -> bool {
    let mut all = tags.into_iter().flat_map(|t| t.split([';', ',', ' '])).filter(|t| !t.is_empty()).peekable();
    all.peek().is_some() && all.all(|tag| tag == TAG)
}

impl Hand for Restore {
    fn reads(&self, index: &Index, first: bool) -> BTreeSet<Query> {
        let mut reads = BTreeSet::new();
        if first {
            reads.extend(reads_of(&self.backup.volume, &self.backup.node, index));
            reads.insert(tasks_of(&self.backup.node, self.vmid));
        }
        if let Some(row) = self.row(index).filter(|r| index.nodes.get(&r.node).is_none_or(|n| n.online)) {
            reads.insert(guest_query(row));
            if self.in_place() {
                reads.extend([current_query(row), snapshot::list_query(row)]);
            }
        }
        reads
    }

    fn plan(&self, seen: &Observation, before: Option<&Observation>) -> Delta {
        let identity = self.identity();
        let mut delta = Delta::none(self.resource.clone(), Some(identity.clone()));
        if before.is_some() && self.is_there(seen, &mut delta) {
            return delta;
        }
        let row = self.row(&seen.index);
        let look = Look {
            restore: self,
            cx: PlanContext {
                resource: &self.resource,
                identity: &identity,
                set: "",
                seen,
                identities: &BTreeMap::new(),
                leaving: &BTreeSet::new(),
                going: false,
                retain: false,
                member_of: None,
                adopt: false,
                root_ticket: self.root_ticket,
                links: &Links::None,
                left_lock: None,
                annotations: &BTreeMap::new(),
            },
            row,
            current: row.and_then(|row| seen.value(&current_query(row))),
        };
        // After the request only what is there counts; what was to be done is told from what was seen before.
        let from = before.unwrap_or(seen);
        let saved = from.value(&extract_query(&self.backup.node, &self.backup.volume)).and_then(Value::as_str);
        if before.is_none() {
            circumstances(&look, &mut delta);
        }
        let Some(saved) = saved else {
            delta.action = Action::Update;
            return delta;
        };
        let (config, notes) = (options_in(saved), notes_in(saved));
        if before.is_none() {
            let (description, tags) = marks(&look, &config, &notes);
            if description.is_some() || tags.is_some() {
                require(&look.cx, &mut delta, &format!("/vms/{}", self.vmid), "VM.Config.Options");
            }
            volumes(&look, &config, &mut delta);
            match &self.becomes {
                Becomes::New { name, keep_mac } => new(&look, name, *keep_mac, &config, &mut delta),
                Becomes::Itself => itself(&look, &config, &notes, &mut delta),
            }
        }
        deed(&look, &config, &notes, &mut delta);
        delta
    }

    fn tasks(&self, _: &Observation) -> Option<Query> {
        Some(tasks_of(&self.backup.node, self.vmid))
    }

    fn task_types(&self) -> &'static [&'static str] {
        &["qmrestore", "vzrestore"]
    }

    fn proof(&self) -> Proof {
        // A guest that was there before shows nothing of whether it was written over.
        if self.in_place() { Proof::Task } else { Proof::Made }
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }

    fn remedy(&self) -> Option<String> {
        let (vmid, volume) = (self.vmid, &self.backup.volume);
        self.in_place().then(|| {
            format!(
                "look at guest {vmid} before anything else: its volumes may be gone. If there is none of that number any more: \
                 pvectl backup restore {volume} --vmid {vmid} --keep-hostname --keep-mac"
            )
        })
    }
}

/// The notes and the tags that it gets. In place they are those of now, where it is ours: what the backup says of who owns it
/// may be long out of date. Anywhere else there is no marker, and no tag of ours.
fn marks(look: &Look<'_>, saved: &Config, notes: &str) -> (Option<String>, Option<String>) {
    let tags: BTreeSet<&str> =
        saved.get("tags").into_iter().flat_map(|t| t.split([';', ',', ' '])).filter(|t| !t.is_empty()).collect();
    let join = |tags: &BTreeSet<&str>| tags.iter().copied().collect::<Vec<_>>().join(";");
    let own = look.row.filter(|_| look.restore.in_place()).and_then(|row| {
        look.cx.seen.guest_marker(row.vmid)?;
        let options = look.cx.seen.value(&guest_query(row))?.as_array()?;
        text(&options.iter().find(|o| o["key"] == "description")?["value"])
    });
    if let Some(notes) = own {
        let with = tags.iter().copied().chain([TAG]).collect();
        return (Some(notes.trim_end().to_owned()), Some(join(&with)));
    }
    let (people, marker) = Marker::split(notes);
    let without: BTreeSet<&str> = tags.iter().copied().filter(|t| *t != TAG).collect();
    let tags = (without.len() < tags.len() && !without.is_empty()).then(|| join(&without));
    match (&look.restore.becomes, marker.is_some()) {
        (Becomes::Itself, false) => (None, tags),
        (Becomes::New { .. } | Becomes::Itself, _) if people.trim().is_empty() => {
            (Some(format!("restored from {}", look.restore.backup.volume)), tags)
        }
        (Becomes::New { .. } | Becomes::Itself, _) => (Some(people), tags),
    }
}

/// The one request.
fn deed(look: &Look<'_>, saved: &Config, notes: &str, delta: &mut Delta) {
    let Restore { backup, vmid, becomes, start, .. } = look.restore;
    let Backup { guest, node, volume, .. } = backup;
    let mut call = Call::new(Method::Post, format!("/nodes/{node}/{guest}")).with("vmid", vmid);
    call = match guest {
        GuestType::Qemu => call.with("archive", volume),
        GuestType::Lxc => call.with("ostemplate", volume).with("restore", 1),
    };
    let to = look.storage(saved);
    if let Some(to) = &to {
        call = call.with("storage", to);
    }
    let (description, tags) = marks(look, saved, notes);
    if let Some(description) = description {
        call = call.with("description", description);
    }
    if let Some(tags) = tags {
        // As they stand: what is ours puts our tag on.
        call = call.with("tags", tags);
    }
    if *start {
        call = call.with("start", 1);
    }
    let at = look.cx.seen.at;
    let when = format!(", {} old", age(at - backup.time));
    let (title, path, from, to_be, impact) = match becomes {
        Becomes::New { name, keep_mac } => {
            call = call.with(look.restore.name_key(), name).with("unique", u8::from(!keep_mac));
            let title = format!("restore {volume} as {guest} {vmid} on {node}");
            (title, format!("guest {name}"), "not there", format!("VMID {vmid} on {node}"), Impact::None)
        }
        Becomes::Itself => {
            call = call.with("force", 1);
            let title = format!("restore {volume} over {guest} {vmid}");
            (title, "state".to_owned(), "as it is", format!("as in {volume}{when}"), Impact::DataLoss)
        }
    };
    let mut step = Step::new(title, call, impact).task(node);
    for storage in to.into_iter().chain([backup.storage.clone()]).collect::<BTreeSet<_>>() {
        step = step.limit(Limit::Storage(storage));
    }
    open(delta, &path, Some(from), Some(&to_be), step);
    let ours = look.restore.in_place() && look.row.is_some_and(|row| look.cx.seen.guest_marker(row.vmid).is_some());
    if !ours && only_ours(saved.get("tags")) {
        delta.steps.push(look.restore.untag());
    }
}
