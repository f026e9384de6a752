//! What stands against a deed on a snapshot, and what is said before it.

use crate::base::diagnostic::nearest;
use crate::kinds::guest::hand::clone::storages_of;
use crate::kinds::guest::hand::deed::{Scene, tasks_query};
use crate::kinds::guest::hand::half_made::{half_made, task_runs};
use crate::kinds::guest::hand::snapshot::{Row, names};
use crate::kinds::guest::mapping::slot_number;
use crate::kinds::guest::observed::{GuestSeen, decode_row};
use crate::resource::step::Delta;
use serde_json::Value;
use std::collections::BTreeSet;

/// There is no snapshot of that name.
pub fn unknown(name: &str, list: &Value, scene: &Scene<'_>, delta: &mut Delta) {
    let known = names(list);
    let help = match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "it has no snapshots".to_owned(),
        None => format!("its snapshots: {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    };
    scene.refuse(delta, format!("{} {} has no snapshot `{name}`", scene.word(), scene.row.vmid), help);
}

/// A snapshot that is not whole is there, and is of no use but to be deleted.
pub fn not_whole(found: Option<&Row>, scene: &Scene<'_>, delta: &mut Delta) {
    let Some(row) = found.filter(|r| r.state.is_some()) else { return };
    let tasks = scene.seen.value(&tasks_query(scene.row));
    let lock = scene.lock();
    let broken = half_made(std::slice::from_ref(row), lock.as_deref(), tasks.is_some_and(task_runs));
    for half in broken {
        let kind = &scene.target.resource.kind;
        let what = format!(
            "snapshot `{}` of {} is half made ({}): {}",
            half.name,
            scene.row.vmid,
            half.state.as_str(),
            half.story()
        );
        scene.refuse(delta, what, half.remedy(scene.row, kind));
    }
}

/// What keeps a VM's memory from being saved: some of it PVE refuses itself (`check_non_migratable_resources` of qemu-server),
/// devices of the host QEMU refuses in the task (`0000:01:00.0: VFIO migration is not supported in kernel`), unless they are
/// mapped and can be migrated live.
pub fn memory_can_be_saved(scene: &Scene<'_>, delta: &mut Delta) {
    let row = scene.seen.index.guests.get(&scene.row.vmid);
    let Some(seen) = row.and_then(|row| decode_row(row, scene.seen).ok().flatten()) else { return };
    for (key, value, surely) in holds_memory(&seen) {
        if surely {
            let why = format!("the memory of VM {} cannot be saved: it has {key} ({value})", scene.row.vmid);
            scene.refuse(delta, why, "leave --ram out");
        } else {
            scene.say(delta, format!("{key} is a device of the host: its memory can be saved only where the mapping is live-migration-capable"));
        }
    }
}

/// The options of a VM that keep its memory from being saved, each with its value, and whether they surely do.
pub fn holds_memory(guest: &GuestSeen) -> Vec<(&str, &str, bool)> {
    // What waits for the next start is not what runs.
    let now = guest.config.iter().filter(|(key, _)| !guest.pending.contains(key)).chain(&guest.in_force);
    let holds = now.filter_map(|(key, value): (&String, &String)| {
        let device = slot_number(key, "hostpci").is_some();
        let mapped = device && value.split(',').any(|part| part.starts_with("mapping="));
        let other = slot_number(key, "virtiofs").is_some() || matches!(key.as_str(), "amd-sev" | "intel-tdx");
        (device || other).then_some((key.as_str(), value.as_str(), !mapped))
    });
    holds.collect()
}

/// Snapshots that were taken after it stay where they are, and the guest goes on beside them.
pub fn other_branch(found: &Row, snapshots: &[Row], scene: &Scene<'_>, delta: &mut Delta) {
    let newer: Vec<&Row> = snapshots.iter().filter(|r| r.time > found.time).collect();
    if newer.is_empty() {
        return;
    }
    let names = newer.iter().map(|r| r.name.as_str()).collect::<Vec<_>>().join(", ");
    scene.say(delta, format!("snapshots that are newer stay, in another branch: {names}"));
    let policies: BTreeSet<&str> =
        newer.iter().filter_map(|r| r.policy.as_ref()).map(|(_, name)| name.as_str()).collect();
    for policy in policies {
        scene.say(
            delta,
            format!("SnapshotPolicy {policy} keeps and prunes its snapshots in both branches by their ages"),
        );
    }
}

/// ZFS and chains of volumes go back to the newest snapshot only; whether it is refused.
pub fn only_the_newest(found: &Row, snapshots: &[Row], scene: &Scene<'_>, delta: &mut Delta) -> bool {
    let plugin = |s: &String| {
        let row = scene.seen.index.storages.get(&(scene.row.node.clone(), s.clone()));
        row.is_some_and(|r| matches!(r.plugin.as_str(), "zfspool" | "zfs" | "lvm"))
    };
    let strict: Vec<String> = storages_of(scene).into_iter().filter(plugin).collect();
    let newer: Vec<&str> = snapshots.iter().filter(|r| r.time > found.time).map(|r| r.name.as_str()).collect();
    if !strict.is_empty() && !newer.is_empty() {
        scene.refuse(
            delta,
            format!(
                "`{}` is not the newest snapshot, and storage `{}` goes back to the newest only",
                found.name,
                strict.join("`, `")
            ),
            format!("delete the newer ones first: {}", newer.join(", ")),
        );
    }
    !strict.is_empty() && !newer.is_empty()
}
