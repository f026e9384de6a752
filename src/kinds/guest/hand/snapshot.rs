//! Snapshots: taken, deleted, gone back to. A snapshot that pvectl took says so in its description; one that it did not take
//! is somebody's, and goes only with consent.

use crate::base::id::GuestType;
use crate::kinds::guest::hand::clone::storages_of;
use crate::kinds::guest::hand::deed::{Scene, base, open, task};
use crate::kinds::guest::hand::half_made::by_force;
use crate::kinds::guest::hand::snapshot_checks::{
    memory_can_be_saved, not_whole, only_the_newest, other_branch, unknown,
};
use crate::pve::request::{Call, Method, Query, segment};
use crate::resource::index::{GuestRow, number, text};
use crate::resource::observation::guest_query;
use crate::resource::step::{Action, Delta, Impact};
use serde_json::Value;
use std::collections::BTreeSet;

/// The last line of the description of a snapshot that pvectl took.
pub const TAKEN_BY: &str = "taken with pvectl";
/// The same line where a policy had it taken, before the policy's name.
const TAKEN_FOR: &str = "taken with pvectl for SnapshotPolicy/";
/// The same where it is the way back from a window's updates.
const TAKEN_FOR_WINDOW: &str = "taken with pvectl for PatchWindow/";
/// PVE's bound of a snapshot's name.
const NAME_MAX: usize = 40;

/// What is done to a guest's snapshots.
#[derive(Clone, Debug)]
pub enum Snapshot {
    /// Take one.
    Create {
        /// Its name.
        name: String,
        /// With what is in memory.
        memory: bool,
        /// For people.
        description: Option<String>,
    },
    /// Delete one.
    Delete {
        /// Its name.
        name: String,
    },
    /// Go back to one: everything since then is lost.
    Rollback {
        /// Its name.
        name: String,
        /// Start the guest after it.
        start: bool,
    },
}

/// What a snapshot is in the middle of, or was when its task died. One that is whole has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapState {
    /// It is being taken.
    Prepare,
    /// It is being deleted.
    Delete,
    /// What this version does not know.
    Unknown(String),
}

impl SnapState {
    fn parse(word: &str) -> SnapState {
        match word {
            "prepare" => SnapState::Prepare,
            "delete" => SnapState::Delete,
            other => SnapState::Unknown(other.to_owned()),
        }
    }

    /// PVE's word.
    pub fn as_str(&self) -> &str {
        match self {
            SnapState::Prepare => "prepare",
            SnapState::Delete => "delete",
            SnapState::Unknown(word) => word,
        }
    }
}

/// A snapshot as the list shows it. The list says that memory was saved, and not where: `…/snapshot/NAME/config` names the
/// volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// For people, without our line.
    pub description: String,
    /// Seconds since the epoch.
    pub time: Option<u64>,
    /// With what was in memory.
    pub memory: bool,
    /// The one before it.
    pub parent: Option<String>,
    /// pvectl took it, by hand or for a policy.
    pub ours: bool,
    /// The set and the name of the SnapshotPolicy that it was taken for.
    pub policy: Option<(String, String)>,
    /// The set and the name of the PatchWindow that it was taken for.
    pub window: Option<(String, String)>,
    /// It is not whole: being taken or deleted, or left so.
    pub state: Option<SnapState>,
}

/// The last line of the description of a snapshot that is taken for a policy.
pub fn policy_line(set: &str, name: &str) -> String {
    format!("{TAKEN_FOR}{name} of {set}")
}

/// The last line of the description of a snapshot that is taken for a window.
pub fn window_line(set: &str, name: &str) -> String {
    format!("{TAKEN_FOR_WINDOW}{name} of {set}")
}

/// The set and the name in such a line.
fn taken_for(line: &str, what: &str) -> Option<(String, String)> {
    let (name, set) = line.strip_prefix(what)?.split_once(" of ")?;
    let word = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
    (word(name) && word(set)).then(|| (set.to_owned(), name.to_owned()))
}

/// The read that lists a guest's snapshots.
pub fn list_query(row: &GuestRow) -> Query {
    Query::new(format!("{}/snapshot", base(row)))
}

/// The read that says on which volume a snapshot's memory is.
pub fn config_query(row: &GuestRow, name: &str) -> Query {
    Query::new(format!("{}/snapshot/{}/config", base(row), segment(name)))
}

/// The volume with what was in memory, out of a snapshot's configuration: its storage and its whole id.
pub fn memory_volume(config: &Value) -> Option<(String, String)> {
    let volume = text(&config["vmstate"])?;
    let storage = volume.split_once(':')?.0.to_owned();
    Some((storage, volume))
}

/// The snapshot after which a guest became what it is now.
pub fn here(list: &Value) -> Option<String> {
    let current = list.as_array().into_iter().flatten().find(|r| r["name"] == "current");
    current.and_then(|c| text(&c["parent"])).filter(|parent| !parent.is_empty())
}

/// The snapshots of a list, oldest first; where the guest stands is none.
pub fn rows(list: &Value) -> Vec<Row> {
    let mut rows: Vec<Row> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter(|r| r["name"] != "current")
        .filter_map(|r| {
            let words = text(&r["description"]).unwrap_or_default();
            let words = words.trim_end();
            let (above, last) = words.rsplit_once('\n').unwrap_or(("", words));
            let policy = taken_for(last, TAKEN_FOR);
            let window = taken_for(last, TAKEN_FOR_WINDOW);
            let ours = policy.is_some() || window.is_some() || last == TAKEN_BY;
            Some(Row {
                name: text(&r["name"])?,
                description: if ours { above } else { words }.trim_end().to_owned(),
                time: number(&r["snaptime"]),
                memory: number(&r["vmstate"]) == Some(1),
                parent: text(&r["parent"]),
                ours,
                policy,
                window,
                state: text(&r["snapstate"]).filter(|s| !s.is_empty()).map(|s| SnapState::parse(&s)),
            })
        })
        .collect();
    rows.sort_by(|a, b| (a.time, &a.name).cmp(&(b.time, &b.name)));
    rows
}

/// The names in a list.
pub fn names(list: &Value) -> BTreeSet<String> {
    rows(list).into_iter().map(|r| r.name).collect()
}

/// What PVE takes as a name (`pve-configid`); why not, otherwise.
pub fn check_name(name: &str) -> Result<String, String> {
    let mut letters = name.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic());
    let rest = letters.all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !first || !rest || name.len() < 2 || name.len() > NAME_MAX {
        return Err(format!(
            "a snapshot's name begins with a letter, goes on with letters, digits, - and _, and has 2 to {NAME_MAX} of them"
        ));
    }
    if name == "current" {
        return Err(format!("PVE keeps the name `{name}` for itself"));
    }
    Ok(name.to_owned())
}

/// Whether PVE keeps a name for itself when a snapshot of this type of guest is taken. Where the guest stands is `current` in
/// every list; a VM's file has a section `[PENDING]`; and a container's backup makes and deletes a snapshot `vzdump`
/// (qemu-server `API2/Qemu.pm`, pve-container `API2/LXC/Snapshot.pm`). One that is there all the same can be deleted.
pub fn is_reserved(guest: GuestType, name: &str) -> bool {
    match guest {
        GuestType::Qemu => name == "current" || name.eq_ignore_ascii_case("pending"),
        GuestType::Lxc => matches!(name, "current" | "vzdump"),
    }
}

/// Types of the task.
pub fn task_types(snapshot: &Snapshot) -> &'static [&'static str] {
    match snapshot {
        Snapshot::Create { .. } => &["qmsnapshot", "vzsnapshot"],
        Snapshot::Delete { .. } => &["qmdelsnapshot", "vzdelsnapshot"],
        Snapshot::Rollback { .. } => &["qmrollback", "vzrollback"],
    }
}

fn feature_query(row: &GuestRow) -> Query {
    Query::new(format!("{}/feature", base(row))).with("feature", "snapshot")
}

/// What is read.
pub fn reads(snapshot: &Snapshot, row: &GuestRow, first: bool) -> BTreeSet<Query> {
    let mut reads = BTreeSet::from([list_query(row)]);
    match snapshot {
        Snapshot::Create { .. } if first => reads.extend([feature_query(row), guest_query(row)]),
        Snapshot::Rollback { .. } if first => reads.extend([guest_query(row)]),
        Snapshot::Create { .. } | Snapshot::Delete { .. } | Snapshot::Rollback { .. } => {}
    }
    reads
}

/// What is to be done.
pub fn plan(snapshot: &Snapshot, scene: &Scene<'_>, delta: &mut Delta) {
    let Some(list) = scene.seen.value(&list_query(scene.row)) else {
        // Why not is said with everything else that could not be read.
        delta.action = Action::Update;
        return;
    };
    match snapshot {
        Snapshot::Create { name, memory, description } => {
            create(name, *memory, description.as_deref(), list, scene, delta)
        }
        Snapshot::Delete { name } => delete(name, list, scene, delta),
        Snapshot::Rollback { name, start } => rollback(name, *start, list, scene, delta),
    }
}

fn create(name: &str, memory: bool, description: Option<&str>, list: &Value, scene: &Scene<'_>, delta: &mut Delta) {
    let taken = names(list).contains(name);
    // While it is taken it is in the list, with a state of its own.
    let in_work = |r: &&Value| r["name"] == name && !r["snapstate"].is_null();
    if taken && !scene.is_first() && list.as_array().into_iter().flatten().find(in_work).is_none() {
        return;
    }
    let (vmid, row) = (scene.row.vmid, scene.row);
    if is_reserved(row.guest, name) {
        scene.refuse(delta, format!("PVE keeps the snapshot name `{name}` for itself"), "take another name");
    }
    if scene.row.template {
        scene.refuse(
            delta,
            format!("{} {vmid} is a template, and PVE takes no snapshots of one", scene.word()),
            "clone it",
        );
    }
    let broken = rows(list).into_iter().find(|r| r.name == name).filter(|r| r.state.is_some());
    if broken.is_some() {
        not_whole(broken.as_ref(), scene, delta);
    } else if taken {
        let other = format!("{} {vmid} has a snapshot `{name}` already", scene.word());
        let kind = &scene.target.resource.kind;
        scene.refuse(delta, other, format!("take another name, or: pvectl snapshot delete {kind} {vmid} {name}"));
    }
    scene.require_here(delta, &["VM.Snapshot"]);
    let able = scene.seen.value(&feature_query(row)).and_then(|v| number(&v["hasFeature"]));
    if able == Some(0) {
        let on = storages_of(scene).into_iter().collect::<Vec<_>>().join(", ");
        scene.refuse(
            delta,
            format!("the storages of {} {vmid} ({on}) cannot take snapshots", scene.word()),
            "move its disks to thin LVM, ZFS, btrfs or Ceph, or to qcow2 files; or back it up with vzdump",
        );
    }
    if memory && row.guest == GuestType::Lxc {
        scene.refuse(delta, "PVE saves no memory of containers", "leave --ram out");
    } else if memory && !scene.running() {
        scene.refuse(delta, format!("VM {vmid} does not run, so there is no memory to save"), "leave --ram out");
    }
    if memory && scene.running() {
        memory_can_be_saved(scene, delta);
    }
    if !memory && scene.running() {
        scene
            .say(delta, "it runs, and its memory is not saved: going back to it is like a start after a power failure");
    }
    let words = description.map(str::trim).filter(|d| !d.is_empty());
    let words = words.map_or_else(|| TAKEN_BY.to_owned(), |d| format!("{d}\n{TAKEN_BY}"));
    let mut call =
        Call::new(Method::Post, format!("{}/snapshot", base(row))).with("snapname", name).with("description", words);
    if memory {
        call = call.with("vmstate", 1);
    }
    let with = if memory { "disks and memory" } else { "disks" };
    let step = task(format!("take snapshot `{name}` of {vmid} ({with})"), call, Impact::Live, row);
    open(delta, &format!("snapshot {name}"), Some("not there"), Some(&format!("there ({with})")), step);
}

fn delete(name: &str, list: &Value, scene: &Scene<'_>, delta: &mut Delta) {
    let Some(found) = rows(list).into_iter().find(|r| r.name == name) else {
        if scene.is_first() {
            delta.action = Action::Update;
            unknown(name, list, scene, delta);
        }
        return;
    };
    scene.require_here(delta, &["VM.Snapshot"]);
    let impact = if found.ours { Impact::Live } else { Impact::DataLoss };
    if !found.ours {
        scene.say(delta, format!("pvectl did not take `{name}`: somebody else may count on it"));
    }
    if let Some(state) = &found.state {
        scene.say(
            delta,
            format!(
                "it is half made ({}); where a disk has no such snapshot PVE fails and locks {} again: then it goes only by \
                 hand, as root on node {}: {}",
                state.as_str(),
                scene.row.vmid,
                scene.row.node,
                by_force(scene.row, name),
            ),
        );
    }
    let call = Call::new(Method::Delete, format!("{}/snapshot/{}", base(scene.row), segment(name)));
    let step = task(format!("delete snapshot `{name}` of {}", scene.row.vmid), call, impact, scene.row);
    open(delta, &format!("snapshot {name}"), Some("there"), Some("gone"), step);
}

fn rollback(name: &str, start: bool, list: &Value, scene: &Scene<'_>, delta: &mut Delta) {
    let snapshots = rows(list);
    let Some(found) = snapshots.iter().find(|r| r.name == name) else {
        delta.action = Action::Update;
        unknown(name, list, scene, delta);
        return;
    };
    let parent = here(list);
    let back = parent.as_deref() == Some(name);
    if !scene.is_first() && back && (!start || scene.running()) {
        return;
    }
    let vmid = scene.row.vmid;
    scene.require_here(delta, &["VM.Snapshot.Rollback", "VM.Snapshot"]);
    if start {
        scene.require_here(delta, &["VM.PowerMgmt"]);
    }
    not_whole(Some(found), scene, delta);
    if !only_the_newest(found, &snapshots, scene, delta) {
        other_branch(found, &snapshots, scene, delta);
    }
    if scene.running() {
        scene.say(delta, "it runs: PVE stops it hard before it goes back");
    }
    scene.say(
        delta,
        match (start || found.memory, scene.managed()) {
            (true, _) => "it runs after it",
            (false, true) => "it is stopped after it, and the HA manager starts it again",
            (false, false) => "it is stopped after it; --start starts it",
        },
    );
    if scene.target.marker.is_some() {
        scene.say(delta, "its configuration goes back too: pvectl diff shows what its manifest then wants changed");
    }
    let mut call = Call::new(Method::Post, format!("{}/snapshot/{}/rollback", base(scene.row), segment(name)));
    if start {
        call = call.with("start", 1);
    }
    let step = task(format!("roll {vmid} back to `{name}`"), call, Impact::DataLoss, scene.row);
    let from = parent.map_or_else(|| "as it is".to_owned(), |parent| format!("as it became after {parent}"));
    open(delta, "state", Some(&from), Some(&format!("as at {name}")), step);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_that_pve_takes() {
        for good in ["ab", "before-upgrade", "A_1"] {
            assert_eq!(check_name(good).as_deref(), Ok(good));
        }
        let long = "a".repeat(41);
        for bad in ["", "a", "1a", "a b", "ä1", "current", &long] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert_eq!(check_name(&"a".repeat(40)).map(|n| n.len()), Ok(40));
        // A backup's left-over can be deleted, so its name may be said.
        for word in ["vzdump", "pending"] {
            assert!(check_name(word).is_ok(), "{word}");
        }
        let kept = |guest| ["current", "Current", "pending", "PENDING", "vzdump", "ab"].map(|n| is_reserved(guest, n));
        assert_eq!(kept(GuestType::Qemu), [true, false, true, true, false, false]);
        assert_eq!(kept(GuestType::Lxc), [true, false, false, false, true, false]);
    }

    #[test]
    fn a_list_in_every_dress() {
        let list = json!([
            {"name": "late", "snaptime": "200", "vmstate": "1", "parent": "early", "description": "by hand\n"},
            {"name": "early", "snaptime": 100, "description": "mine\ntaken with pvectl"},
            {"name": "current", "parent": "late"},
        ]);
        let rows = rows(&list);
        assert_eq!(rows.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["early", "late"]);
        assert_eq!((rows[0].ours, rows[0].description.as_str(), rows[0].memory), (true, "mine", false));
        assert_eq!((rows[1].ours, rows[1].description.as_str(), rows[1].memory), (false, "by hand", true));
    }

    #[test]
    fn whose_a_snapshot_is_stands_in_its_last_line() {
        let one = |description: &str| rows(&json!([{"name": "ab", "description": description}])).remove(0);
        let policy = one(&format!("words\nmore\n{}\n", policy_line("homelab", "nightly")));
        assert_eq!(policy.policy, Some(("homelab".to_owned(), "nightly".to_owned())));
        assert_eq!((policy.ours, policy.description.as_str()), (true, "words\nmore"));
        let by_hand = one("taken with pvectl\n");
        assert_eq!((by_hand.ours, by_hand.policy, by_hand.description.as_str()), (true, None, ""));
        // Somebody's words that only look like ours.
        for words in [
            "not taken with pvectl",
            "taken with pvectl\nand then edited",
            "taken with pvectl for SnapshotPolicy/nightly",
            "taken with pvectl for SnapshotPolicy/nightly of two words",
        ] {
            let row = one(words);
            assert_eq!((row.ours, row.policy, row.description.as_str()), (false, None, words), "{words}");
        }
    }

    #[test]
    fn one_that_is_not_whole_says_so() {
        let list = json!([
            {"name": "aa", "snaptime": 1, "snapstate": "prepare"},
            {"name": "bb", "snaptime": 2, "snapstate": "delete"},
            {"name": "cc", "snaptime": 3, "snapstate": "someday"},
            {"name": "dd", "snaptime": 4},
        ]);
        let states: Vec<_> = rows(&list).into_iter().map(|r| r.state).collect();
        let unknown = SnapState::Unknown("someday".to_owned());
        assert_eq!(states, [Some(SnapState::Prepare), Some(SnapState::Delete), Some(unknown), None]);
    }
}
