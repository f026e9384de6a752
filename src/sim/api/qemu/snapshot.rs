//! Snapshots.

use super::config::typed;
use super::power::{turn_off, turn_on};
use super::{drives, ended, file_of, machine, told, unlocked};
use crate::base::quantity::Bytes;
use crate::sim::ctx::{Ctx, NewTask, guest_digest};
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::volume::NewVolume;
use crate::sim::world::{GuestType, Power, Snapshot, World};
use serde_json::{Map, Value, json};

/// `GET …/snapshot`.
pub(super) fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let guest = ctx.guest(args.text("node"), GuestType::Qemu, args.vmid())?;
    let mut rows: Vec<Value> = guest
        .snapshots
        .iter()
        .map(|(name, s)| {
            let mut row = json!({
                "name": name, "vmstate": i32::from(s.with_memory),
                "description": s.config.get("description").cloned().unwrap_or_default(),
                "snaptime": s.config.get("snaptime").and_then(|t| t.parse::<u64>().ok()),
            });
            if let Some(parent) = s.config.get("parent") {
                row["parent"] = parent.as_str().into();
            }
            row
        })
        .collect();
    let mut current = json!({
        "name": "current", "description": "You are here!", "digest": guest_digest(guest),
        "running": i32::from(guest.power != Power::Stopped),
    });
    if let Some(parent) = guest.config.get("parent") {
        current["parent"] = parent.as_str().into();
    }
    rows.push(current);
    Ok(rows.into())
}

/// `POST …/snapshot`.
pub(super) fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid, name) = (args.text("node").to_owned(), args.vmid(), args.text("snapname").to_owned());
    if matches!(name.as_str(), "current" | "pending") {
        return Err(Refusal::died(format!("unable to use snapshot name '{name}' (reserved name)")));
    }
    let what = json!({
        "node": node, "vmid": vmid, "name": name, "memory": args.on("vmstate"), "description": args.get("description"),
    });
    let ms = if args.on("vmstate") { 5000 } else { 1000 };
    Ok(ctx.start(NewTask::new(&node, "qmsnapshot", vmid).takes_ms(ms).holds(vmid).then("qemu.snapshot", what)))
}

pub(super) fn create_effect(world: &mut World, what: &Value, log: &mut Vec<String>) -> End {
    let (node, vmid) = told(what);
    let name = what["name"].as_str().unwrap_or_default().to_owned();
    ended((|| {
        let now = world.now();
        let guest = machine(world, &node, vmid)?;
        if guest.config.get("template").is_some_and(|t| t == "1") {
            return Err("you can't take a snapshot if it's a template".to_owned());
        }
        unlocked(guest)?;
        if guest.snapshots.contains_key(&name) {
            return Err(format!("snapshot name '{name}' already used"));
        }
        let with_memory = what["memory"] == true && guest.power != Power::Stopped;
        let mut config = guest.config.clone();
        config.retain(|k, _| !k.starts_with("unused") && k != "description");
        if let Some(text) = what["description"].as_str() {
            config.insert("description".to_owned(), text.to_owned());
        }
        config.insert("snaptime".to_owned(), now.to_string());
        let disks = drives(&guest.config);
        if with_memory {
            let storage = disks.first().map_or("local", |(_, t)| crate::sim::volume::storage_of(file_of(t))).to_owned();
            let label = format!("state-{name}");
            let new = NewVolume {
                storage: &storage,
                node: &node,
                vmid,
                size: 792_723_456,
                format: Some("raw"),
                content: "images",
                label: &label,
            };
            let volid = world.allocate(&new).map_err(|r| r.reason)?;
            config.insert("vmstate".to_owned(), volid);
        }
        for (key, text) in disks.iter().filter(|(_, t)| !t.contains("media=cdrom")) {
            log.push(format!("snapshotting 'drive-{key}' ({})", file_of(text)));
        }
        let guest = machine(world, &node, vmid)?;
        guest.snapshots.insert(name.clone(), Snapshot { config, with_memory });
        guest.config.insert("parent".to_owned(), name);
        Ok(())
    })())
}

/// `GET …/snapshot/{snapname}`.
pub(super) fn index(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(json!([{"cmd": "rollback"}, {"cmd": "config"}]))
}

fn find<'c>(ctx: &'c mut Ctx<'_>, args: &Args) -> Result<&'c mut Snapshot, Refusal> {
    let name = args.text("snapname");
    let guest = ctx.guest_mut(args.text("node"), GuestType::Qemu, args.vmid())?;
    guest.snapshots.get_mut(name).ok_or_else(|| Refusal::died(format!("snapshot '{name}' does not exist")))
}

/// `GET …/snapshot/{snapname}/config`.
pub(super) fn config(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let found = find(ctx, args)?;
    Ok(found.config.iter().map(|(k, v)| (k.clone(), typed(k, v))).collect::<Map<_, _>>().into())
}

/// `PUT …/snapshot/{snapname}/config`.
pub(super) fn set_config(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ctx.lock_file(args.vmid())?;
    let text = args.get("description").map(str::to_owned);
    if let Some(text) = text {
        find(ctx, args)?.config.insert("description".to_owned(), text);
    }
    Ok(Value::Null)
}

/// `DELETE …/snapshot/{snapname}`.
pub(super) fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid) = (args.text("node").to_owned(), args.vmid());
    let what = json!({"node": node, "vmid": vmid, "name": args.text("snapname")});
    let task = NewTask::new(&node, "qmdelsnapshot", vmid).takes_ms(1000).holds(vmid);
    Ok(ctx.start(task.then("qemu.snapshot.delete", what)))
}

pub(super) fn delete_effect(world: &mut World, what: &Value, _: &mut Vec<String>) -> End {
    let (node, vmid) = told(what);
    let name = what["name"].as_str().unwrap_or_default();
    ended((|| {
        let guest = machine(world, &node, vmid)?;
        unlocked(guest)?;
        let gone = guest.snapshots.remove(name).ok_or_else(|| format!("snapshot '{name}' does not exist"))?;
        let above = gone.config.get("parent").cloned();
        for config in guest.snapshots.values_mut().map(|s| &mut s.config).chain([&mut guest.config]) {
            if config.get("parent").is_some_and(|p| p == name) {
                match &above {
                    Some(parent) => config.insert("parent".to_owned(), parent.clone()),
                    None => config.remove("parent"),
                };
            }
        }
        if let Some(state) = gone.config.get("vmstate") {
            world.free_volume(state, &node);
        }
        Ok(())
    })())
}

/// `POST …/snapshot/{snapname}/rollback`.
pub(super) fn rollback(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid) = (args.text("node").to_owned(), args.vmid());
    let what = json!({"node": node, "vmid": vmid, "name": args.text("snapname"), "start": args.on("start")});
    let task = NewTask::new(&node, "qmrollback", vmid).takes_ms(2000).holds(vmid);
    Ok(ctx.start(task.then("qemu.rollback", what)))
}

pub(super) fn rollback_effect(world: &mut World, what: &Value, _: &mut Vec<String>) -> End {
    let (node, vmid) = told(what);
    let name = what["name"].as_str().unwrap_or_default();
    ended((|| {
        let id = world.new_uuid();
        let guest = machine(world, &node, vmid)?;
        unlocked(guest)?;
        let snapshot = guest.snapshots.get(name).cloned().ok_or_else(|| format!("snapshot '{name}' does not exist"))?;
        turn_off(guest);
        guest.pending.clear();
        let mut config = snapshot.config;
        for key in ["snaptime", "vmstate", "description"] {
            config.remove(key);
        }
        // The machine keeps its own description; that of the snapshot stays there.
        if let Some(text) = guest.config.get("description") {
            config.insert("description".to_owned(), text.clone());
        }
        config.insert("parent".to_owned(), name.to_owned());
        config.insert("vmgenid".to_owned(), id);
        let kept: Vec<String> = config.values().map(|v| file_of(v).to_owned()).collect();
        let unused =
            guest.config.iter().filter(|(k, v)| k.starts_with("unused") && !kept.contains(&file_of(v).to_owned()));
        config.extend(unused.map(|(k, v)| (k.clone(), v.clone())).collect::<Vec<_>>());
        guest.config = config.clone();
        for (_, text) in drives(&config) {
            let size = text.split(',').find_map(|p| p.strip_prefix("size=")).and_then(Bytes::parse);
            if let (Some(volume), Some(size)) = (world.volume_mut(file_of(&text), &node), size) {
                volume.size = size.0;
            }
        }
        if snapshot.with_memory || what["start"] == true { turn_on(world, &node, vmid) } else { Ok(()) }
    })())
}
