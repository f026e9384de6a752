//! A backup that becomes a guest: a new one, or the guest itself as it was. Beside a manifest's `from: {archive}`, which makes a
//! guest of ours, this makes a guest of nobody: the marker in the backup is that of the original, and is never on a copy.
//! Restored in place, a guest keeps the notes and the marker that it has now, so that `diff` shows what went back.

use crate::base::id::{GuestType, VmId};
use crate::base::quantity::Bytes;
use crate::kinds::backups::{Backup, Verified, age};
use crate::kinds::guest::hand::deed::{current_query, open, tasks_of};
use crate::kinds::guest::hand::losses::{left_out, losses};
use crate::kinds::guest::hand::snapshot;
use crate::kinds::guest::mapping::{self, Config, TAG, slot_number};
use crate::kinds::guest::observed::decode_row;
use crate::kinds::guest::restore::{check_there, disks, extract_query, notes_in, options_in, reads as reads_of};
use crate::kinds::guest::room;
use crate::pve::error::Refusal;
use crate::pve::property::PropertyString;
use crate::pve::request::{Call, Method, Query};
use crate::resource::hand::{Hand, Proof};
use crate::resource::index::{GuestRow, Index, number, text};
use crate::resource::kind::PlanContext;
use crate::resource::marker::Marker;
use crate::resource::observation::{Observation, guest_query};
use crate::resource::privilege::{require, require_any};
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::{Action, Delta, Impact, Limit, Note, Problem, Step};
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
    /// We speak with a ticket of root@pam.
    pub root_ticket: bool,
}

/// One look.
struct Look<'a> {
    restore: &'a Restore,
    cx: PlanContext<'a>,
    row: Option<&'a GuestRow>,
    current: Option<&'a Value>,
}

impl Restore {
    fn in_place(&self) -> bool {
        matches!(self.becomes, Becomes::Itself)
    }

    fn row<'a>(&self, index: &'a Index) -> Option<&'a GuestRow> {
        index.guests.get(&self.vmid).map(AsRef::as_ref)
    }

    fn identity(&self) -> Identity {
        Identity::Guest { guest: self.backup.guest, vmid: self.vmid, node: self.backup.node.clone() }
    }

    /// The option that holds its name.
    fn name_key(&self) -> &'static str {
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
                if only_ours(made.config.get("tags")) {
                    open(delta, &format!("the tag `{TAG}`"), Some("on it"), Some("off"), self.untag());
                }
                true
            }
            Becomes::New { .. } => false,
            Becomes::Itself => true,
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

impl Look<'_> {
    fn refuse(&self, delta: &mut Delta, message: impl Into<String>, help: impl Into<String>) {
        delta.problems.push(Problem::new("", message).help(help));
    }

    fn say(&self, delta: &mut Delta, words: impl Into<String>) {
        delta.notes.push(Note::Info(words.into()));
    }

    fn word(&self) -> &'static str {
        if self.restore.backup.guest == GuestType::Qemu { "VM" } else { "CT" }
    }

    /// The storages that the volumes go to, each with the bytes that it takes. `None`: it is not said where.
    fn targets(&self, saved: &Config) -> Option<BTreeMap<String, Bytes>> {
        let guest = self.restore.backup.guest;
        let out: Vec<String> = left_out(guest, saved).into_iter().map(|(slot, _)| slot).collect();
        // A VM's disks that were not backed up do not come back; a container's mount points do, empty.
        let held: Config = saved
            .iter()
            .filter(|(key, _)| guest == GuestType::Lxc || !out.contains(key))
            .filter(|(key, _)| slot_number(key, "unused").is_none())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let to = self.storage(saved);
        let mut sums: BTreeMap<String, Bytes> = BTreeMap::new();
        for (store, size) in disks(guest, &held) {
            let store = match (&to, guest) {
                (Some(to), _) => to.clone(),
                (None, GuestType::Qemu) => store,
                (None, GuestType::Lxc) => return None,
            };
            let sum = sums.entry(store).or_default();
            *sum = Bytes(sum.0 + size.0);
        }
        Some(sums)
    }

    /// The storage that is sent: PVE puts all volumes of a container on one, `local` where nothing is said.
    fn storage(&self, saved: &Config) -> Option<String> {
        let rootfs = || {
            let text = saved.get("rootfs")?;
            let parts = mapping::parts(GuestType::Lxc, "rootfs", text);
            Some(parts.get("volume")?.split_once(':')?.0.to_owned())
        };
        let given = self.restore.storage.clone();
        given.or_else(|| if self.restore.backup.guest == GuestType::Lxc { rootfs() } else { None })
    }
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
                retain: false,
                member_of: None,
                adopt: false,
                root_ticket: self.root_ticket,
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
            volumes(&look, &config, &mut delta);
            match &self.becomes {
                Becomes::New { name, keep_mac } => new(&look, name, *keep_mac, &config, &mut delta),
                Becomes::Itself => itself(&look, &config, &mut delta),
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
}

/// What stands against it whatever the backup holds.
fn circumstances(look: &Look<'_>, delta: &mut Delta) {
    let Restore { backup, vmid, .. } = look.restore;
    let index = &look.cx.seen.index;
    if index.quorate == Some(false) {
        look.refuse(
            delta,
            "the cluster has no quorum, so nothing can be written",
            "bring nodes back; pvecm status shows the votes",
        );
    }
    if !index.nodes.get(&backup.node).is_some_and(|n| n.online) {
        look.refuse(delta, format!("node `{}` does not answer", backup.node), "wait until it is back");
        return;
    }
    check_there(&look.cx, &backup.volume, "", delta);
    let here = [format!("/vms/{vmid}")];
    let makes: &[&str] = if look.restore.in_place() { &["VM.Backup", "VM.Allocate"] } else { &["VM.Allocate"] };
    require_any(&look.cx, delta, &here, makes);
    // The notes are sent along, unless they are somebody else's.
    if !look.restore.in_place() || look.cx.seen.guest_marker(*vmid).is_some() {
        require(&look.cx, delta, &here[0], "VM.Config.Options");
    }
    if backup.guest == GuestType::Lxc && !look.restore.in_place() {
        require(&look.cx, delta, &here[0], "VM.Config.Network");
    }
    if look.restore.start {
        require(&look.cx, delta, &here[0], "VM.PowerMgmt");
    }
    let tasks = tasks_of(&backup.node, *vmid);
    let failed = look.restore.reads(index, true).into_iter().filter(|query| *query != tasks).filter_map(|query| {
        match look.cx.seen.answer(&query) {
            Some(Err(error)) if error.refusal() != Some(Refusal::Unsupported) => Some(error.clone()),
            Some(_) | None => None,
        }
    });
    if delta.problems.is_empty() {
        delta.problems.extend(failed.map(|error| {
            let problem = Problem::new("", format!("what it takes could not be read: {error}"));
            Problem { help: error.hint(), ..problem }
        }));
    }
    match (&backup.verified, look.restore.in_place()) {
        (Verified::Failed, true) => look.refuse(
            delta,
            "the last verification of this backup failed: what it holds may be damaged, and what is there would be gone",
            "take another backup, or restore this one to a new guest and look at it first",
        ),
        (Verified::Failed, false) => {
            look.say(delta, "its last verification failed: what it holds may be damaged");
        }
        (Verified::Ok | Verified::Never | Verified::Unknown(_), _) => {}
    }
}

/// Where its volumes go.
fn volumes(look: &Look<'_>, saved: &Config, delta: &mut Delta) {
    let Restore { backup, .. } = look.restore;
    let Some(targets) = look.targets(saved) else {
        look.refuse(delta, "nothing says where the volumes of the backup go", "say it with --storage");
        return;
    };
    for (storage, size) in &targets {
        // A VM's volumes make way first; a container's new ones are made beside the old, and it is lost where they do not fit.
        let size = if look.restore.in_place() && backup.guest == GuestType::Qemu { Bytes(0) } else { *size };
        room::check_storage(&look.cx, storage, &backup.node, backup.guest, size, "", delta);
    }
    let bound = saved.iter().find(|(key, text)| {
        slot_number(key, "mp").is_some()
            && mapping::parts(backup.guest, key, text).get("volume").is_some_and(|v| v.starts_with('/'))
    });
    if let (Some((slot, _)), GuestType::Lxc, false) = (bound, backup.guest, look.restore.root_ticket) {
        look.refuse(
            delta,
            format!("{slot} of the backup mounts a place of the host, which PVE restores for root@pam alone"),
            "log in with user root@pam and a password, or restore it on the host with pct restore",
        );
    }
    let to = look.storage(saved);
    let others: BTreeSet<String> = disks(backup.guest, saved).into_iter().map(|(store, _)| store).collect();
    let others: Vec<&String> = others.iter().filter(|store| to.as_ref().is_some_and(|to| to != *store)).collect();
    if let (Some(to), false) = (to, others.is_empty()) {
        let list = others.iter().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(", ");
        look.say(delta, format!("what was on {list} goes to `{to}`"));
    }
}

/// What is to be known of a new guest.
fn new(look: &Look<'_>, name: &str, keep_mac: bool, saved: &Config, delta: &mut Delta) {
    let Restore { backup, vmid, start, .. } = look.restore;
    let guests = &look.cx.seen.index.guests;
    if let Some(other) = guests.get(vmid) {
        look.refuse(
            delta,
            format!("VMID {vmid} is taken by `{}`", other.name),
            "leave --vmid out, or give another; to write over it: --in-place",
        );
    }
    if let Some(other) = guests.values().find(|r| r.name == *name) {
        look.refuse(
            delta,
            format!("there is a guest called `{name}` already ({} on {})", other.vmid, other.node),
            "give another name with --as: a name that two guests have names neither",
        );
    }
    let is_template = saved.get("template").is_some_and(|t| t == "1");
    if is_template && *start {
        look.refuse(delta, "it is a backup of a template, and a template has no power", "leave --start out");
    } else if is_template {
        look.say(delta, "it is a backup of a template, and becomes one");
    }
    for (slot, volume) in left_out(backup.guest, saved) {
        look.say(
            delta,
            match backup.guest {
                GuestType::Qemu => format!("{slot} ({volume}) was not backed up, and does not come back"),
                GuestType::Lxc => format!("{slot} ({volume}) was not backed up, and comes back empty"),
            },
        );
    }
    let owner = backup.vmid.filter(|owner| owner != vmid);
    match owner.map(|owner| guests.contains_key(&owner)) {
        Some(true) if keep_mac => {
            look.say(delta, "it keeps the MAC addresses of the original; the two must not run side by side");
        }
        Some(false) => {
            let owner = owner.map(|o| o.to_string()).unwrap_or_default();
            look.say(delta, format!("the original's number {owner} is free: --vmid {owner} takes it again"));
        }
        Some(true) | None => {}
    }
    let fixed = addresses(backup.guest, saved);
    if !fixed.is_empty() {
        look.say(
            delta,
            format!("it has the original's fixed address ({}): change it before both run", fixed.join(", ")),
        );
    }
    look.say(delta, "it belongs to no manifest; pvectl adopt takes it over");
}

/// What stands against going back in place, and what is lost by it.
fn itself(look: &Look<'_>, saved: &Config, delta: &mut Delta) {
    let Restore { backup, vmid, start, .. } = look.restore;
    let (word, kind) = (look.word(), &look.restore.resource.kind);
    let Some(row) = look.row else {
        look.refuse(
            delta,
            format!("there is no guest {vmid} to write over"),
            format!("make a new one of it: leave --in-place out, and say --vmid {vmid} for its old number"),
        );
        return;
    };
    if row.guest != backup.guest {
        look.refuse(
            delta,
            format!("guest {vmid} is no {word}, and the backup is one of a {word}"),
            "restore it to a new guest: leave --in-place out",
        );
        return;
    }
    if row.template {
        look.refuse(
            delta,
            format!("{word} {vmid} is a template, and what was cloned from it may hang on its disks"),
            "restore it to a new guest: leave --in-place out",
        );
    }
    let running = look.current.map_or(row.status == "running", |c| c["status"] == "running");
    if running {
        look.refuse(
            delta,
            format!("{word} {vmid} runs, and PVE writes over no guest that runs"),
            format!("shut it down first: pvectl shutdown {kind} {vmid}"),
        );
    }
    let lock = look.current.and_then(|c| text(&c["lock"])).or_else(|| row.lock.clone()).filter(|l| !l.is_empty());
    if let Some(lock) = lock {
        look.refuse(
            delta,
            format!("{word} {vmid} is locked ({lock})"),
            "wait until its task has ended; if there is none any more, qm unlock or pct unlock on the node",
        );
    }
    let seen = look.cx.seen;
    let now = seen.index.guests.get(vmid).and_then(|row| decode_row(row, seen).ok().flatten());
    let Some(now) = now else { return };
    if now.config.get("protection").is_some_and(|p| number(&Value::from(p.as_str())) == Some(1)) {
        look.refuse(
            delta,
            format!("{word} {vmid} is protected, and PVE writes over no protected guest"),
            format!("take the protection off first: `protection: false` in its manifest, or the option of {word} {vmid} in PVE"),
        );
    }
    for lost in losses(row.guest, *vmid, &now.config, saved) {
        look.say(delta, lost);
    }
    let snapshots = seen.value(&snapshot::list_query(row)).map(snapshot::names).unwrap_or_default();
    if !snapshots.is_empty() {
        look.say(delta, format!("its snapshots go: {}", snapshots.into_iter().collect::<Vec<_>>().join(", ")));
    }
    let managed = look.current.is_some_and(|c| number(&c["ha"]["managed"]) == Some(1));
    if managed && !start {
        look.say(delta, "HA manages it, and starts it again if it is to run");
    }
    if now.marker.is_some() {
        look.say(
            delta,
            "it stays what its manifest declares; its configuration goes back: pvectl diff shows what the manifest then wants changed",
        );
    } else {
        look.say(delta, "pvectl does not own it; this is done because it was named");
    }
}

/// Addresses that a configuration gives.
fn addresses(guest: GuestType, config: &Config) -> Vec<String> {
    let word = if guest == GuestType::Qemu { "ipconfig" } else { "net" };
    let options = config.iter().filter(|(key, _)| slot_number(key, word).is_some());
    let fixed = options.flat_map(|(_, text)| {
        let parts = PropertyString::parse(text, "");
        ["ip", "ip6"].map(|key| parts.get(key).filter(|ip| ip.contains('/')).map(str::to_owned))
    });
    fixed.flatten().collect()
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
        call = call.with("tags", mapping::encode(*guest, "tags", &mapping::normal_tags(tags.split(';'))));
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
    if matches!(becomes, Becomes::New { .. }) && only_ours(saved.get("tags")) {
        delta.steps.push(look.restore.untag());
    }
}
