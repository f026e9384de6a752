//! Whether the backups of a policy's guests are as new as it wants them: by what really lies on the storage, not by what ran.
//! A backup whose last verification failed does not count; one that was never verified does.

use crate::base::id::VmId;
use crate::base::quantity::counted;
use crate::kinds::backup_policy::members::chosen;
use crate::kinds::backup_policy::spec::BackupPolicySpec;
use crate::kinds::backups::{self, Backup, Verified, age};
use crate::kinds::guest::observed::{created, decode_row};
use crate::resource::index::GuestRow;
use crate::resource::kind::PlanContext;
use crate::resource::step::{Copies, Note};
use std::collections::{BTreeMap, BTreeSet};

/// Guests that a message names; of more it gives the number.
const NAMED_MAX: usize = 10;

fn who(row: &GuestRow) -> String {
    if row.name.is_empty() { format!("guest {}", row.vmid) } else { format!("{} ({})", row.name, row.vmid) }
}

/// What is wrong with a guest's backups, in words; `None`: nothing.
fn late(row: &GuestRow, of_it: &[&Backup], now: i64, max_age: i64) -> Option<String> {
    let who = who(row);
    let newest = of_it.iter().rev().find(|backup| backup.is_good());
    let broken = of_it.last().filter(|backup| backup.verified == Verified::Failed);
    let broken = broken.map(|_| "the verification of its newest backup failed");
    match (newest, broken) {
        (Some(newest), broken) if now - newest.time > max_age => {
            let newest = format!("its newest good backup is {} old", age(now - newest.time));
            Some(format!("{who}: {}{newest}", broken.map_or_else(String::new, |why| format!("{why}, and "))))
        }
        // It has one that is new enough; that another is damaged is still to be known.
        (Some(_), Some(why)) => Some(format!("{who}: {why}")),
        (Some(_), None) => None,
        (None, Some(why)) => Some(format!("{who}: {why}, and it has no good one")),
        (None, None) => Some(format!("{who}: no backup yet")),
    }
}

/// The note on a policy, and when the newest good backup was made of the guest that is worst off. Those who keep a place in
/// the job are looked at like those that are chosen.
pub fn fresh(
    cx: &PlanContext<'_>,
    spec: &BackupPolicySpec,
    kept: &BTreeMap<VmId, &'static str>,
) -> Option<(Note, Option<i64>)> {
    let max_age = spec.max_age?.signed();
    let index = &cx.seen.index;
    let note = |late: Option<String>| Note::Fresh { copies: Copies::Backups, late };
    let mut guests = chosen(cx, spec);
    let already: BTreeSet<VmId> = guests.iter().map(|row| row.vmid).collect();
    let others = kept.keys().filter(|vmid| !already.contains(vmid)).filter_map(|vmid| index.guests.get(vmid));
    guests.extend(others.map(AsRef::as_ref));
    if guests.is_empty() {
        return Some((note(None), None));
    }
    if backups::places(index, Some(&spec.storage)).is_empty() {
        let why = format!("storage `{}` answers on no node, so what backups there are is not known", spec.storage);
        return Some((note(Some(why)), None));
    }
    let (held, mut said) = backups::all(cx.seen, Some(&spec.storage));
    let hidden: Vec<VmId> =
        guests.iter().map(|row| row.vmid).filter(|vmid| !backups::may_see(index, &spec.storage, *vmid)).collect();
    let mut oldest: Option<i64> = None;
    if let Some(first) = hidden.first() {
        said.push(format!(
            "backups of {} are hidden from us: that takes Datastore.Allocate on /storage/{}, or Datastore.AllocateSpace \
             there and VM.Backup on /vms/{first}",
            counted(hidden.len(), "guest"),
            spec.storage
        ));
    }
    // What could not be read is no sign that there is nothing.
    if said.is_empty() {
        let away = backups::away(index, Some(&spec.storage)).join("; ");
        let mut names: Vec<String> = Vec::new();
        for row in &guests {
            let since = made(cx, row);
            let of_it = |b: &&Backup| b.vmid == Some(row.vmid) && b.guest == row.guest && b.time >= since;
            let of_it: Vec<&Backup> = held.iter().filter(of_it).collect();
            let late = late(row, &of_it, cx.seen.at, max_age);
            names.extend(
                late.map(|late| if away.is_empty() { late } else { format!("{}: not known: {away}", who(row)) }),
            );
            let newest = of_it.iter().rev().find(|b| b.is_good()).map(|b| b.time);
            oldest = [oldest, newest].into_iter().flatten().min();
        }
        let more = names.len().saturating_sub(NAMED_MAX);
        names.truncate(NAMED_MAX);
        said.extend(names);
        if more > 0 {
            said.push(format!("and {}", counted(more, "guest")));
        }
    }
    let said = said.join("; ");
    Some((note((!said.is_empty()).then_some(said)), oldest))
}

/// When the guest was made, as far as is known: an older backup is of another guest that had its number.
fn made(cx: &PlanContext<'_>, row: &GuestRow) -> i64 {
    let seen = cx.seen.index.guests.get(&row.vmid).and_then(|row| decode_row(row, cx.seen).ok().flatten());
    seen.and_then(|seen| created(&seen.config)).unwrap_or(i64::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::index::Index;
    use serde_json::{Value, json};

    const DAY: i64 = 86_400;

    fn told(list: &Value) -> String {
        let null = Value::Null;
        let resources = json!([{"type": "qemu", "vmid": 101, "node": "a", "name": "web"}]);
        let index = Index::decode([&null, &null, &resources, &null, &null, &null]);
        let row = index.guests.values().next().expect("it is there");
        let rows = backups::rows(list, "a");
        let of_it: Vec<&Backup> = rows.iter().collect();
        late(row, &of_it, 100 * DAY, 36 * 3600).unwrap_or_default()
    }

    #[test]
    fn the_newest_good_backup_counts() {
        let one = |day: i64, state: &str| {
            let verification = if state.is_empty() { Value::Null } else { json!({"state": state}) };
            json!({"volid": format!("pbs:backup/vm/101/{day}"), "vmid": 101, "subtype": "qemu", "ctime": day * DAY, "verification": verification})
        };
        assert_eq!(told(&json!([])), "web (101): no backup yet");
        assert_eq!(told(&json!([one(90, "ok"), one(99, "")])), "", "one that was never verified counts");
        assert_eq!(told(&json!([one(97, "ok")])), "web (101): its newest good backup is 3d old");
        assert_eq!(
            told(&json!([one(99, "ok"), one(100, "failed")])),
            "web (101): the verification of its newest backup failed"
        );
        assert_eq!(
            told(&json!([one(95, "ok"), one(100, "failed")])),
            "web (101): the verification of its newest backup failed, and its newest good backup is 5d old"
        );
        assert_eq!(
            told(&json!([one(100, "failed")])),
            "web (101): the verification of its newest backup failed, and it has no good one"
        );
    }
}
