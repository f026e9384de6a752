//! The way back to a snapshot, in PVE's two steps.

use super::{NOT_COPIED, absent, guest_of, is_template, locked, told_of, volumes};
use crate::sim::api::lxc::{config, power};
use crate::sim::api::qemu;
use crate::sim::task::End;
use crate::sim::volume::storage_of;
use crate::sim::world::{Guest, GuestType, Power, Snapshot, World};
use serde_json::Value;

/// Up to the guest's stop and `lock: rollback`.
pub(super) fn begin(world: &mut World, told: &Value) -> Result<(), String> {
    let (_, name) = told_of(told);
    let guest = guest_of(world, told)?.clone();
    if is_template(&guest) {
        return Err("you can't rollback if vm is a template".to_owned());
    }
    let snapshot = guest.snapshots.get(name).ok_or_else(|| absent(name))?;
    for (key, volid) in volumes(guest.guest_type, &snapshot.config) {
        possible(world, &guest, name, &key, &volid)?;
    }
    if let Some(state) = snapshot.config.get("snapstate") {
        return Err(format!("unable to rollback to incomplete snapshot (snapstate = {state})"));
    }
    locked(&guest)?;
    let guest = guest_of(world, told)?;
    match guest.guest_type {
        GuestType::Qemu => qemu::turn_off(guest),
        GuestType::Lxc => guest.power = Power::Stopped,
    }
    guest.config.insert("lock".to_owned(), "rollback".to_owned());
    Ok(())
}

/// `volume_rollback_is_possible` of the storage plugins: ZFS goes back to the newest alone.
fn possible(world: &World, guest: &Guest, name: &str, key: &str, volid: &str) -> Result<(), String> {
    let storage = world.storages.get(storage_of(volid));
    let chain = storage.is_some_and(|s| s.config.get("snapshot-as-volume-chain").is_some_and(|v| v == "1"));
    if !chain && storage.is_none_or(|s| s.storage_type != "zfspool") {
        return Ok(());
    }
    let here =
        |s: &Snapshot| volumes(guest.guest_type, &s.config).iter().any(|(k, v)| v == volid && !s.missing.contains(k));
    let time = |s: &Snapshot| s.config.get("snaptime").and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
    let wanted = guest.snapshots.get(name).filter(|s| !s.missing.contains(key));
    let Some(wanted) = wanted else {
        return Err(format!("can't rollback, snapshot '{name}' does not exist on '{volid}'"));
    };
    let newer = |s: &Snapshot| {
        time(s) > time(wanted) || (time(s) == time(wanted) && s.config.get("parent").is_some_and(|p| p == name))
    };
    if guest.snapshots.values().any(|s| here(s) && newer(s)) {
        return Err(format!("can't rollback, '{name}' is not most recent snapshot on '{volid}'"));
    }
    Ok(())
}

/// The volumes are what they were, the configuration becomes so, and the guest runs if its memory was saved.
pub(super) fn rolled_back(world: &mut World, told: &Value, _: &mut Vec<String>) -> End {
    let (vmid, name) = told_of(told);
    if let Some(text) = told["refused"].as_str() {
        return End::Failed(text.to_owned());
    }
    let id = world.new_uuid();
    let Ok(guest) = guest_of(world, told) else { return End::Failed(absent(name)) };
    if guest.config.get("lock").is_none_or(|lock| lock != "rollback") {
        return End::Failed("got wrong lock".to_owned());
    }
    let Some(snapshot) = guest.snapshots.get(name).cloned() else { return End::Failed(absent(name)) };
    let (guest_type, node) = (guest.guest_type, guest.node.clone());
    let mut config = snapshot.config;
    config.retain(|k, _| !NOT_COPIED.contains(&k.as_str()));
    let kept: Vec<String> = volumes(guest_type, &config).into_iter().map(|(_, volid)| volid).collect();
    // The guest keeps its own description and its unused volumes; the snapshot's words stay with it.
    let unused = |k: &str, v: &str| config::numbered(k, "unused") && !kept.iter().any(|volid| volid == v);
    let own = guest.config.iter().filter(|(k, v)| k.as_str() == "description" || unused(k, v));
    config.extend(own.map(|(k, v)| (k.clone(), v.clone())).collect::<Vec<_>>());
    config.insert("parent".to_owned(), name.to_owned());
    if guest_type == GuestType::Qemu {
        config.insert("vmgenid".to_owned(), id);
    }
    guest.config = config;
    guest.disk = snapshot.disk;
    guest.pending.clear();
    let start = snapshot.with_memory || told["start"] == true;
    if guest_type == GuestType::Qemu {
        qemu::sizes_of_config(world, &node, vmid);
    }
    let started = match (start, guest_type) {
        (false, _) => Ok(()),
        (true, GuestType::Qemu) => qemu::turn_on(world, &node, vmid),
        (true, GuestType::Lxc) => {
            let (pid, now) = (world.new_pid(), world.clock_ms);
            power::start_now(world, vmid, pid, now)
        }
    };
    started.map_or_else(End::Failed, |()| End::Ok)
}
