//! Resizing and moving volumes.

use crate::base::quantity::Bytes;
use crate::pve::property::PropertyString;
use crate::sim::api::lxc::config;
use crate::sim::ctx::{Ctx, NewTask, guest_digest};
use crate::sim::params::lxc::normal_props;
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::volume::{NewVolume, storage_of};
use crate::sim::world::{Guest, GuestType, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn guest(ctx: &Ctx<'_>, args: &Args) -> Result<Guest, Refusal> {
    let guest = ctx.guest(args.text("node"), GuestType::Lxc, args.vmid())?.clone();
    config::unlocked(&guest)?;
    if args.get("digest").is_some_and(|d| d != guest_digest(&guest)) {
        return Err(Refusal::died("detected modified configuration - file changed by other user? Try again."));
    }
    Ok(guest)
}

/// PVE parses an absent mount point as an empty property string.
fn no_such_mount(key: &str) -> Refusal {
    let missing = "property is missing and it is not optional".to_owned();
    let mut errors = BTreeMap::from([("volume".to_owned(), missing.clone())]);
    if key != "rootfs" {
        errors.insert("mp".to_owned(), missing);
    }
    Refusal { status: 500, reason: "format error".to_owned(), errors }
}

/// `PUT …/resize`: growing only.
pub fn resize(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid, key) = (args.text("node"), args.vmid(), args.text("disk"));
    let guest = guest(ctx, args)?;
    let text = guest.config.get(key).ok_or_else(|| no_such_mount(key))?;
    let volid = config::volume_of(text);
    let volume = ctx.world.volume(&volid, node);
    let old = volume.ok_or_else(|| Refusal::died(format!("volume '{volid}' does not exist")))?.size;
    let wanted = args.text("size");
    let size = match wanted.strip_prefix('+') {
        Some(more) => old + Bytes::parse(more).map_or(0, |b| b.0),
        None => Bytes::parse(wanted).map_or(0, |b| b.0),
    };
    if size < old {
        return Err(Refusal::died("unable to shrink disk size"));
    }
    if size == old {
        return Err(Refusal::died("disk is already at specified size"));
    }
    let storage = storage_of(&volid);
    ctx.require(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    let told = json!({ "node": node, "vmid": vmid, "key": key, "volid": volid, "size": size });
    Ok(ctx.start(NewTask::new(node, "resize", vmid).takes_ms(1500).holds(vmid).then("lxc.resize", told)))
}

/// The end of a resize.
pub fn resized(world: &mut World, told: &Value, lines: &mut Vec<String>) -> End {
    let vmid = told["vmid"].as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
    let text = |key: &str| told[key].as_str().unwrap_or_default();
    let size = told["size"].as_u64().unwrap_or(0);
    let (storage, node) = (storage_of(text("volid")).to_owned(), text("node"));
    let used = world.storage_used(&storage, node);
    let room = world.storages.get(&storage).map_or(0, |s| s.size);
    let Some(volume) = world.volume_mut(text("volid"), node) else {
        return End::Failed(format!("volume '{}' does not exist", text("volid")));
    };
    if used + size.saturating_sub(volume.size) > room {
        return End::Failed(format!("unable to resize: not enough free space on storage '{storage}'"));
    }
    volume.used += size.saturating_sub(volume.size);
    volume.size = size;
    lines.push("Image resized.".to_owned());
    if let Some(value) = world.guests.get_mut(&vmid).and_then(|g| g.config.get_mut(text("key"))) {
        let mut parts = PropertyString::parse(value, "volume");
        parts.set("size", Bytes(size).to_pve());
        *value = normal_props(text("key"), &parts.to_text("volume"));
    }
    End::Ok
}

/// `POST …/move_volume`: to another storage.
pub fn move_volume(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid, key) = (args.text("node"), args.vmid(), args.text("volume"));
    let guest = guest(ctx, args)?;
    if args.get("target-vmid").is_some() {
        return Err(Refusal::new(501, "moving a volume to another container is not simulated"));
    }
    let Some(storage) = args.get("storage") else {
        return Err(Refusal::param("storage", "either set storage or target-vmid, but not both"));
    };
    ctx.require(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    let text = guest.config.get(key).ok_or_else(|| no_such_mount(key))?;
    let volid = config::volume_of(text);
    if volid.starts_with('/') {
        return Err(Refusal::died("you can't move a bind mount"));
    }
    if storage_of(&volid) == storage {
        return Err(Refusal::died("you can't move to the same storage"));
    }
    ctx.world.usable_storage(storage, node)?;
    let size = ctx.world.volume(&volid, node).map_or(0, |v| v.size);
    let told = json!({
        "node": node, "vmid": vmid, "key": key, "volid": volid, "storage": storage, "delete": args.on("delete"),
    });
    let task = NewTask::new(node, "move_volume", vmid).takes_ms(2000 + (size >> 20) * 5).holds(vmid);
    Ok(ctx.start(task.then("lxc.move", told)))
}

/// The end of a move: the old volume goes, or stays as unused.
pub fn moved(world: &mut World, told: &Value, _: &mut Vec<String>) -> End {
    let vmid = told["vmid"].as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
    let text = |key: &str| told[key].as_str().unwrap_or_default();
    let (node, volid, key) = (text("node"), text("volid"), text("key"));
    let Some(old) = world.volume(volid, node).cloned() else {
        return End::Failed(format!("volume '{volid}' does not exist"));
    };
    let wanted = NewVolume {
        storage: text("storage"),
        node,
        vmid,
        size: old.size,
        format: None,
        content: "rootdir",
        label: "disk",
    };
    let new = match world.allocate(&wanted) {
        Ok(new) => new,
        Err(refusal) => return End::Failed(refusal.reason),
    };
    if told["delete"] == true {
        world.free_volume(volid, node);
    }
    if let Some(guest) = world.guests.get_mut(&vmid) {
        if let Some(value) = guest.config.get_mut(key) {
            let mut parts = PropertyString::parse(value, "volume");
            parts.set("volume", new);
            *value = normal_props(key, &parts.to_text("volume"));
        }
        if told["delete"] != true {
            config::park(guest, volid);
        }
    }
    End::Ok
}
