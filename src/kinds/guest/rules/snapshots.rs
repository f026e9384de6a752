//! Rules on a guest's snapshots: how old the newest is, whether all are whole, and what somebody forgot. They need no
//! configuration, but the list, PVE's lock and the time, so they are a function of their own.

use crate::base::id::GuestType;
use crate::kinds::guest::hand::half_made::{Way, half_made, is_left, unlocked_first};
use crate::kinds::guest::hand::snapshot::{Row, rows};
use crate::kinds::guest::rules::rule::{Finding, Rule, Verdict};
use crate::kinds::guest::rules::want::Want;
use crate::resource::index::GuestRow;
use serde_json::Value;

/// What people see as the set of these rules.
pub const SET: &str = "Snapshots";
/// How old a snapshot may be that pvectl did not take; then it is forgotten rather than kept, and each write to the disks
/// keeps the old data too.
pub const FORGOTTEN_DAYS: u64 = 90;
const DAY: u64 = 86_400;

/// A guest's snapshots as they were read, and when.
pub struct Read<'a> {
    /// Its row.
    pub row: &'a GuestRow,
    /// The list, or why there is none.
    pub list: Result<&'a Value, String>,
    /// PVE's lock.
    pub lock: Option<&'a str>,
    /// A task works on its snapshots.
    pub task_runs: bool,
    /// Seconds since the epoch.
    pub now: u64,
    /// How old the newest whole snapshot may be, in seconds.
    pub age_max: u64,
}

/// Whether a list says that something may be wrong, so that its guest's tasks are worth a look.
pub fn needs_tasks(list: &Value, lock: Option<&str>) -> bool {
    is_left(lock, false) || rows(list).iter().any(|row| row.state.is_some())
}

/// What came of the rules. A guest without any snapshot fails none of them: not every guest needs one.
pub fn findings(read: &Read<'_>) -> Vec<Finding> {
    let list = match &read.list {
        Ok(list) => rows(list),
        Err(why) => {
            let wanted = format!("at most {} old", days(read.age_max));
            let remedy = "look at why it could not be read".to_owned();
            return vec![Finding { rule: age_rule(), verdict: Verdict::NotKnown, read: why.clone(), wanted, remedy }];
        }
    };
    let mut found: Vec<Finding> = newest(&list, read).into_iter().collect();
    found.extend(broken(&list, read));
    found.extend(forgotten(&list, read));
    found
}

fn rule(id: &str, why: &str) -> Rule {
    Rule { set: Some(SET), ..Rule::new(id, "snapshots", Want::Present(true), why) }
}

fn age_rule() -> Rule {
    rule("snapshot-age", "whoever takes snapshots of a guest counts on a fresh one when something breaks").advice()
}

/// The kind of a guest that is no template.
fn kind(row: &GuestRow) -> &'static str {
    match row.guest {
        GuestType::Qemu => "VirtualMachine",
        GuestType::Lxc => "Container",
    }
}

fn age(row: &Row, now: u64) -> u64 {
    row.time.map_or(0, |time| now.saturating_sub(time))
}

/// An age in words, in its largest unit: `two weeks` is `14 days`.
fn days(seconds: u64) -> String {
    let (count, word) = match seconds {
        0..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / DAY, "day"),
    };
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// The newest whole snapshot, where there is one.
fn newest(list: &[Row], read: &Read<'_>) -> Option<Finding> {
    // A container's backup makes a `vzdump` for as long as it runs, and deletes one that is left over.
    let passing = |r: &Row| read.row.guest == GuestType::Lxc && r.name == "vzdump";
    let newest = list.iter().filter(|r| r.state.is_none() && !passing(r)).max_by_key(|r| r.time)?;
    let old = age(newest, read.now);
    let verdict = if old > read.age_max { Verdict::Fail } else { Verdict::Pass };
    Some(Finding {
        rule: age_rule(),
        verdict,
        read: format!("the last snapshot, `{}`, is {} old", newest.name, days(old)),
        wanted: format!("at most {} old", days(read.age_max)),
        remedy: format!("pvectl snapshot create {} {} NAME, or a SnapshotPolicy", kind(read.row), read.row.vmid),
    })
}

fn broken(list: &[Row], read: &Read<'_>) -> Vec<Finding> {
    let finding = |verdict: Verdict, text: String, remedy: String| Finding {
        rule: rule(
            "snapshot-broken",
            "nobody can go back to it, it keeps space, and its lock stops backups and changes",
        ),
        verdict,
        read: text,
        wanted: "whole".to_owned(),
        remedy,
    };
    let half = half_made(list, read.lock, read.task_runs);
    let stuck = half.iter().filter(|h| h.way != Way::Wait).map(|h| {
        let text = format!("`{}` is half made ({}): {}", h.name, h.state.as_str(), h.story());
        finding(Verdict::Fail, text, h.remedy(read.row, kind(read.row)))
    });
    let mut found: Vec<Finding> = stuck.collect();
    if half.is_empty() && is_left(read.lock, read.task_runs) {
        let text = format!("locked ({}), and its task seems to be gone", read.lock.unwrap_or_default());
        found.push(finding(Verdict::Fail, text, unlocked_first(read.row)));
    }
    if found.is_empty() && !list.is_empty() {
        found.push(finding(Verdict::Pass, "each is whole".to_owned(), String::new()));
    }
    found
}

/// What somebody took and forgot.
fn forgotten(list: &[Row], read: &Read<'_>) -> Vec<Finding> {
    let rule =
        || rule("snapshot-old", "what is overwritten on the disks stays as long as a snapshot needs it").advice();
    let wanted = format!("younger than {FORGOTTEN_DAYS} days, or taken with pvectl");
    let old = |row: &&Row| !row.ours && row.state.is_none() && age(row, read.now) > FORGOTTEN_DAYS * DAY;
    let mut found: Vec<Finding> = list
        .iter()
        .filter(old)
        .map(|row| Finding {
            rule: rule(),
            verdict: Verdict::Fail,
            read: format!("`{}` is {} old, and pvectl did not take it", row.name, days(age(row, read.now))),
            wanted: wanted.clone(),
            remedy: format!(
                "when nobody needs it: pvectl snapshot delete {} {} {} --allow data-loss",
                kind(read.row),
                read.row.vmid,
                row.name
            ),
        })
        .collect();
    if found.is_empty() && !list.is_empty() {
        found.push(Finding {
            rule: rule(),
            verdict: Verdict::Pass,
            read: "none is forgotten".to_owned(),
            wanted,
            remedy: String::new(),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::VmId;
    use serde_json::json;
    use std::collections::BTreeSet;

    const NOW: u64 = 200 * DAY;

    fn row() -> GuestRow {
        GuestRow {
            guest: GuestType::Qemu,
            vmid: VmId::new(101).expect("a VMID"),
            node: "pve1".to_owned(),
            name: "web".to_owned(),
            status: "running".to_owned(),
            template: false,
            lock: None,
            pool: None,
            tags: BTreeSet::new(),
            memory: 0,
            cpus: 1,
            ha: None,
        }
    }

    fn failed(list: Value, lock: Option<&str>, task_runs: bool) -> Vec<String> {
        failed_of(&row(), &list, lock, task_runs)
    }

    fn failed_of(row: &GuestRow, list: &Value, lock: Option<&str>, task_runs: bool) -> Vec<String> {
        let read = Read { row, list: Ok(list), lock, task_runs, now: NOW, age_max: 14 * DAY };
        let bad = findings(&read).into_iter().filter(|f| f.verdict == Verdict::Fail);
        bad.map(|f| format!("{}: {} | {}", f.rule.id, f.read, f.remedy)).collect()
    }

    #[test]
    fn the_newest_whole_one_counts() {
        let day = |n: u64| NOW - n * DAY;
        let fresh = json!([{"name": "s1", "snaptime": day(40)}, {"name": "s2", "snaptime": day(14)}]);
        assert_eq!(failed(fresh, None, false), Vec::<String>::new());
        let stale = json!([
            {"name": "s1", "snaptime": day(15)},
            {"name": "s2", "snaptime": day(1), "snapstate": "prepare"},
        ]);
        let words = "snapshot-age: the last snapshot, `s1`, is 15 days old | pvectl snapshot create VirtualMachine 101 NAME, or a SnapshotPolicy";
        assert_eq!(failed(stale, Some("snapshot"), true), [words]);
        assert_eq!(failed(json!([{"name": "current"}]), None, false), Vec::<String>::new(), "it has none");
    }

    #[test]
    fn what_a_backup_makes_in_passing_is_no_snapshot_of_anybody() {
        let container = GuestRow { guest: GuestType::Lxc, ..row() };
        let list = json!([{"name": "s1", "snaptime": NOW - 15 * DAY}, {"name": "vzdump", "snaptime": NOW}]);
        assert!(failed_of(&container, &list, None, false)[0].contains("`s1`, is 15 days old"));
        assert_eq!(failed(list, None, false), Vec::<String>::new(), "of a machine it is a name like any other");
    }

    #[test]
    fn what_is_left_half_made_comes_with_what_to_do() {
        let list = json!([{"name": "s1", "snaptime": NOW, "snapstate": "delete"}]);
        let delete = "pvectl snapshot delete VirtualMachine 101 s1 --allow data-loss";
        let story = "snapshot-broken: `s1` is half made (delete): it was being deleted when its task failed or died";
        let unlock = "when no task and no backup works on it any more, as root on node pve1: qm unlock 101";
        assert_eq!(failed(list.clone(), None, false), [format!("{story} | {delete}")]);
        assert_eq!(
            failed(list.clone(), Some("snapshot-delete"), false),
            [format!("{story} | {unlock}; then {delete}")]
        );
        assert_eq!(failed(list, Some("snapshot-delete"), true), Vec::<String>::new(), "it is being deleted");
        let words = format!("snapshot-broken: locked (rollback), and its task seems to be gone | {unlock}");
        assert_eq!(failed(json!([]), Some("rollback"), false), [words]);
    }

    #[test]
    fn what_somebody_forgot_is_told_and_ours_is_not() {
        let list = json!([
            {"name": "theirs", "snaptime": NOW - 91 * DAY},
            {"name": "ours", "snaptime": NOW - 92 * DAY, "description": "taken with pvectl"},
            {"name": "young", "snaptime": NOW - 90 * DAY},
            {"name": "fresh", "snaptime": NOW},
        ]);
        let words = "snapshot-old: `theirs` is 91 days old, and pvectl did not take it | when nobody needs it: pvectl snapshot delete VirtualMachine 101 theirs --allow data-loss";
        assert_eq!(failed(list, None, false), [words]);
    }
}
