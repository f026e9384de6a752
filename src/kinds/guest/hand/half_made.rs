//! Snapshots that are not whole, and what can be done about them.
//!
//! PVE takes and deletes a snapshot in steps, and writes first what it begins: a `lock` on the guest, and `snapstate` in the
//! snapshot's section (`PVE/AbstractConfig.pm` of pve-guest-common). What a task leaves that did not end:
//!
//! - A creation that fails takes back all that it made. One that is killed (its node lost power) leaves `lock: snapshot` and
//!   `snapstate: prepare`.
//! - A deletion that fails or is killed leaves `lock: snapshot-delete` and `snapstate: delete`.
//! - A rollback that fails or is killed leaves `lock: rollback`, the guest stopped, its disks in part as they were.
//!
//! With any lock there, PVE refuses to take, delete and go back to snapshots; the deletion of the broken one too, and one with
//! `force` too. Nothing of the API takes the lock away for a token, so somebody has to say `qm unlock` or `pct unlock` on the
//! node. Without the lock a broken snapshot is deleted like any other. Where a disk never got its snapshot that fails, and the
//! lock is back: then only `force` helps, which removes the snapshot from the configuration whatever its disks say. pvectl never
//! sends it. Replication keeps a snapshot that its next run still needs (`run replication first`).

use crate::base::id::GuestType;
use crate::kinds::guest::hand::snapshot::{Row, SnapState};
use crate::resource::index::GuestRow;
use serde_json::Value;

/// The locks that work on snapshots takes.
const LOCKS: [&str; 3] = ["snapshot", "snapshot-delete", "rollback"];
/// The types of its tasks. A container's backup takes and deletes a snapshot `vzdump`, and lays its lock `backup` down for both
/// (pve-container `VZDump/LXC.pm`); the task of a backup of several guests names none of them.
const TASKS: [&str; 7] =
    ["qmsnapshot", "vzsnapshot", "qmdelsnapshot", "vzdelsnapshot", "qmrollback", "vzrollback", "vzdump"];

/// A snapshot that is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HalfMade {
    /// Its name.
    pub name: String,
    /// What it is in the middle of.
    pub state: SnapState,
    /// pvectl took it.
    pub ours: bool,
    /// The set and the name of its SnapshotPolicy.
    pub policy: Option<(String, String)>,
    /// What can be done.
    pub way: Way,
}

/// What can be done about a snapshot that is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing: its task runs.
    Wait,
    /// It can be deleted through the API, now.
    Delete,
    /// Its task is gone and left its lock: first the lock has to be taken away on the node.
    Unlock,
    /// Something else holds the guest, such as `backup`.
    Locked(String),
}

/// The snapshots of a list that are not whole. `lock` is the guest's; `task_runs`: a task works on its snapshots now.
pub fn half_made(rows: &[Row], lock: Option<&str>, task_runs: bool) -> Vec<HalfMade> {
    let way = match lock.filter(|l| !l.is_empty()) {
        _ if task_runs => Way::Wait,
        None => Way::Delete,
        Some(lock) if LOCKS.contains(&lock) => Way::Unlock,
        Some(lock) => Way::Locked(lock.to_owned()),
    };
    let broken = rows.iter().filter_map(|row| Some((row, row.state.clone()?)));
    broken
        .map(|(row, state)| HalfMade {
            name: row.name.clone(),
            state,
            ours: row.ours,
            policy: row.policy.clone(),
            way: way.clone(),
        })
        .collect()
}

/// Whether a lock is what a task left that worked on snapshots and is gone.
pub fn is_left(lock: Option<&str>, task_runs: bool) -> bool {
    !task_runs && lock.is_some_and(|lock| LOCKS.contains(&lock))
}

/// Whether tasks of this type work on snapshots.
pub fn is_of_snapshots(task_type: &str) -> bool {
    TASKS.contains(&task_type)
}

/// Whether a task of a node's list works on a guest's snapshots now.
pub fn task_runs(tasks: &Value) -> bool {
    let running = |task: &&Value| task["endtime"].is_null() && task["status"].as_str().is_none_or(|s| s == "RUNNING");
    let ours = |task: &Value| task["type"].as_str().is_some_and(is_of_snapshots);
    tasks.as_array().into_iter().flatten().filter(running).any(ours)
}

/// The command that takes a lock away, on the guest's node.
pub fn unlock(row: &GuestRow) -> String {
    let program = if row.guest == GuestType::Qemu { "qm" } else { "pct" };
    format!("{program} unlock {}", row.vmid)
}

/// The commands that remove a snapshot whose disks do not have it, on the guest's node.
pub fn by_force(row: &GuestRow, name: &str) -> String {
    let program = if row.guest == GuestType::Qemu { "qm" } else { "pct" };
    format!("{} && {program} delsnapshot {} {name} --force", unlock(row), row.vmid)
}

/// What to do about a lock that was left: in words, for the person who has to.
pub fn unlocked_first(row: &GuestRow) -> String {
    format!("when no task and no backup works on it any more, as root on node {}: {}", row.node, unlock(row))
}

impl HalfMade {
    /// What happened to it.
    pub fn story(&self) -> &'static str {
        match (&self.state, &self.way) {
            (SnapState::Prepare, Way::Wait) => "it is being taken",
            (SnapState::Prepare, _) => "it was being taken when its task died",
            (SnapState::Delete, Way::Wait) => "it is being deleted",
            (SnapState::Delete, _) => "it was being deleted when its task failed or died",
            (SnapState::Unknown(_), _) => "it is not whole",
        }
    }

    /// What to do.
    pub fn remedy(&self, row: &GuestRow, kind: &str) -> String {
        // What pvectl did not take goes only with consent, half made or whole.
        let consent = if self.ours { "" } else { " --allow data-loss" };
        let delete = format!("pvectl snapshot delete {kind} {} {}{consent}", row.vmid, self.name);
        match &self.way {
            Way::Wait => "wait until its task has ended".to_owned(),
            Way::Delete => delete,
            Way::Unlock => format!("{}; then {delete}", unlocked_first(row)),
            Way::Locked(lock) => format!("wait until the lock `{lock}` is gone; then {delete}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::guest::hand::snapshot::{policy_line, rows};
    use serde_json::json;

    fn broken(lock: Option<&str>, runs: bool) -> Vec<(String, Way)> {
        let list = json!([
            {"name": "whole", "snaptime": 1},
            {"name": "taking", "snaptime": 2, "snapstate": "prepare", "description": policy_line("lab", "nightly")},
            {"name": "going", "snaptime": 3, "snapstate": "delete"},
            {"name": "current"},
        ]);
        let found = half_made(&rows(&list), lock, runs);
        assert_eq!((found[0].ours, found[1].ours), (true, false));
        assert_eq!(found[0].policy, Some(("lab".to_owned(), "nightly".to_owned())));
        found.into_iter().map(|h| (h.name, h.way)).collect()
    }

    #[test]
    fn what_can_be_done_hangs_on_the_lock_and_the_task() {
        let both = |way: Way| vec![("taking".to_owned(), way.clone()), ("going".to_owned(), way)];
        assert_eq!(broken(Some("snapshot"), true), both(Way::Wait));
        assert_eq!(broken(Some("snapshot"), false), both(Way::Unlock));
        assert_eq!(broken(Some("snapshot-delete"), false), both(Way::Unlock));
        assert_eq!(broken(Some("backup"), false), both(Way::Locked("backup".to_owned())));
        assert_eq!(broken(None, false), both(Way::Delete));
        assert_eq!(broken(Some(""), false), both(Way::Delete));
        let left = |lock, runs| is_left(lock, runs);
        assert_eq!(
            [
                left(Some("rollback"), false),
                left(Some("rollback"), true),
                left(Some("backup"), false),
                left(None, false)
            ],
            [true, false, false, false]
        );
    }

    #[test]
    fn a_task_that_runs_has_no_end() {
        let done = json!({"type": "qmsnapshot", "endtime": 5, "status": "OK"});
        let other = json!({"type": "qmstart"});
        let runs = json!({"type": "vzdelsnapshot", "status": "RUNNING"});
        assert!(!task_runs(&json!([done, other])));
        assert!(task_runs(&json!([done, other, runs])) && task_runs(&json!([{"type": "qmrollback"}])));
        assert!(task_runs(&json!([{"type": "vzdump"}])), "a container's backup takes a snapshot, too");
    }
}
