//! What is looked at before a backup is restored: what stands against it, where its volumes go, and what is to be known.

use crate::base::id::GuestType;
use crate::base::quantity::Bytes;
use crate::kinds::backups::Verified;
use crate::kinds::guest::hand::deed::tasks_of;
use crate::kinds::guest::hand::losses::{freed, left_out, losses};
use crate::kinds::guest::hand::put_back::{oddities, over};
use crate::kinds::guest::hand::restore::Restore;
use crate::kinds::guest::hand::snapshot;
use crate::kinds::guest::hand::whose::another;
use crate::kinds::guest::mapping::{self, Config, slot_number};
use crate::kinds::guest::observed::{GuestSeen, decode_row};
use crate::kinds::guest::restore::{check_there, disks};
use crate::kinds::guest::room;
use crate::pve::error::Refusal;
use crate::pve::property::PropertyString;
use crate::resource::hand::Hand;
use crate::resource::index::{GuestRow, number, text};
use crate::resource::kind::PlanContext;
use crate::resource::privilege::{require, require_any};
use crate::resource::step::{Delta, Note, Problem};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One look.
pub struct Look<'a> {
    /// What is restored.
    pub restore: &'a Restore,
    /// What a plan may look at.
    pub cx: PlanContext<'a>,
    /// The guest of the number, where there is one.
    pub row: Option<&'a GuestRow>,
    /// What it does this moment.
    pub current: Option<&'a Value>,
}

impl Look<'_> {
    /// Something stands against it.
    pub fn refuse(&self, delta: &mut Delta, message: impl Into<String>, help: impl Into<String>) {
        delta.problems.push(Problem::new("", message).help(help));
    }

    /// Something is to be known.
    pub fn say(&self, delta: &mut Delta, words: impl Into<String>) {
        delta.notes.push(Note::Info(words.into()));
    }

    /// What such a guest is called for short.
    pub fn word(&self) -> &'static str {
        if self.restore.backup.guest == GuestType::Qemu { "VM" } else { "CT" }
    }

    /// The guest of the number as it is.
    fn now(&self) -> Option<GuestSeen> {
        let seen = self.cx.seen;
        seen.index.guests.get(&self.restore.vmid).and_then(|row| decode_row(row, seen).ok().flatten())
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
    pub fn storage(&self, saved: &Config) -> Option<String> {
        let rootfs = || {
            let text = saved.get("rootfs")?;
            let parts = mapping::parts(GuestType::Lxc, "rootfs", text);
            Some(parts.get("volume")?.split_once(':')?.0.to_owned())
        };
        let given = self.restore.storage.clone();
        given.or_else(|| if self.restore.backup.guest == GuestType::Lxc { rootfs() } else { None })
    }
}

/// What stands against it whatever the backup holds.
pub fn circumstances(look: &Look<'_>, delta: &mut Delta) {
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
    if backup.guest == GuestType::Lxc && !look.restore.in_place() {
        require(&look.cx, delta, &here[0], "VM.Config.Network");
    }
    if look.restore.start {
        require(&look.cx, delta, &here[0], "VM.PowerMgmt");
    }
    let doubts = &look.restore.doubts;
    if let (false, why) = (doubts.is_empty(), doubts.join("; ")) {
        if look.restore.in_place() {
            look.refuse(
                delta,
                format!("which backup is the newest cannot be told: {why}"),
                format!("if it shall be this one, name it: {}", backup.volume),
            );
        } else {
            look.say(delta, format!("there may be a newer backup: {why}"));
        }
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

/// Its options as they are in force: what waits for a start holds no volume yet, and what is to go then still does.
fn as_is(now: &GuestSeen) -> Config {
    now.config.iter().chain(&now.in_force).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Where its volumes go.
pub fn volumes(look: &Look<'_>, saved: &Config, delta: &mut Delta) {
    let Restore { backup, .. } = look.restore;
    let Some(targets) = look.targets(saved) else {
        look.refuse(delta, "nothing says where the volumes of the backup go", "say it with --storage");
        return;
    };
    // A VM's volumes make way first; a container's new ones are made beside the old, and it is lost where they do not fit.
    let now = look.now().filter(|_| look.restore.in_place() && backup.guest == GuestType::Qemu);
    let free = now.map(|now| freed(look.restore.vmid, &as_is(&now), saved)).unwrap_or_default();
    for (storage, size) in &targets {
        let size = Bytes(size.0.saturating_sub(free.get(storage).copied().unwrap_or_default().0));
        room::check_storage(&look.cx, storage, &backup.node, backup.guest, size, "", delta);
    }
    oddities(look, saved, delta);
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
pub fn new(look: &Look<'_>, name: &str, keep_mac: bool, saved: &Config, delta: &mut Delta) {
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
    if keep_mac {
        look.say(delta, "it keeps the MAC addresses of the original: no other guest that has them may run beside it");
    }
    let original = backup.vmid.and_then(|owner| guests.get(&owner)).filter(|row| row.guest == backup.guest);
    if let Some(row) = original.filter(|row| keep_mac && *start && row.status == "running") {
        look.refuse(
            delta,
            format!(
                "the original `{}` ({}) runs, and the new guest would start with its MAC addresses",
                row.name, row.vmid
            ),
            "leave --keep-mac out, or --start, or shut the original down first",
        );
    }
    if look.restore.foreign > 0 {
        look.say(
            delta,
            format!(
                "backups of another guest lie under the number {vmid} ({}): they pass for this one's, and are pruned with its own",
                look.restore.foreign
            ),
        );
    }
    let owner = backup.vmid.filter(|owner| owner != vmid);
    if let Some(owner) = owner.filter(|owner| !guests.contains_key(owner)) {
        look.say(delta, format!("the original's number {owner} is free: --vmid {owner} takes it again"));
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
pub fn itself(look: &Look<'_>, saved: &Config, notes: &str, delta: &mut Delta) {
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
    let Some(now) = look.now() else { return };
    if now.config.get("protection").is_some_and(|p| number(&Value::from(p.as_str())) == Some(1)) {
        look.refuse(
            delta,
            format!("{word} {vmid} is protected, and PVE writes over no protected guest"),
            format!("take the protection off first: `protection: false` in its manifest, or the option of {word} {vmid} in PVE"),
        );
    }
    match another(look.restore, &now, saved, notes) {
        Some(why) if look.restore.other_guest => look.say(delta, format!("the backup may be another guest's: {why}")),
        Some(why) => look.refuse(
            delta,
            format!("the backup may be of another guest that had the number {vmid}: {why}"),
            "restore it to a new guest: leave --in-place out; or, if this guest shall become that one: --other-guest",
        ),
        None => {}
    }
    over(look, &now.config, saved, delta);
    look.say(delta, format!("if it fails half way, {word} {vmid} is gone until a backup is restored"));
    for lost in losses(row.guest, *vmid, &as_is(&now), saved) {
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
