//! Disks: how they are written, made, grown and moved.

use super::{drives, ended, file_of, machine, told, unlocked};
use crate::base::quantity::Bytes;
use crate::sim::ctx::{Ctx, NewTask, guest_digest};
use crate::sim::params::qemu::DRIVE;
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::verify::check_props;
use crate::sim::volume::{NewVolume, storage_of};
use crate::sim::world::{GuestType, Volume, World};
use serde_json::{Value, json};

/// Virtual milliseconds to copy a GiB.
pub(super) const COPY_MS_PER_GIB: u64 = 5000;

/// Parts of a drive in PVE's order: the file first and bare, the others sorted.
pub(super) fn print_drive(mut parts: Vec<(String, String)>) -> String {
    let file = parts.iter().position(|(k, _)| k == "file").map(|i| parts.remove(i).1).unwrap_or_default();
    parts.sort();
    parts.iter().fold(file, |text, (k, v)| format!("{text},{k}={v}"))
}

pub(super) fn parts_of(key: &str, text: &str) -> Vec<(String, String)> {
    check_props(key, "file", DRIVE, text).unwrap_or_default()
}

fn part<'a>(parts: &'a [(String, String)], key: &str) -> Option<&'a str> {
    parts.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
}

fn set(parts: &mut Vec<(String, String)>, key: &str, value: String) {
    parts.retain(|(k, _)| k != key);
    parts.push((key.to_owned(), value));
}

/// `storage:32` or `storage:cloudinit`: a disk still to be made.
pub(super) fn wanted(file: &str) -> Option<(&str, &str)> {
    let (storage, what) = file.split_once(':')?;
    (what == "cloudinit" || what.parse::<f64>().is_ok()).then_some((storage, what))
}

/// Writes a drive as PVE would: makes the disk if it is to be made, else looks for its volume.
pub(super) fn resolve(
    world: &mut World,
    node: &str,
    vmid: u32,
    key: &str,
    text: &str,
    log: &mut Vec<String>,
) -> Result<String, String> {
    let mut parts = parts_of(key, text);
    let file = part(&parts, "file").unwrap_or_default().to_owned();
    let said = |r: Refusal| r.reason;
    if file == "none" || file == "cdrom" || file.starts_with('/') {
        return Ok(print_drive(parts));
    }
    let Some((storage, what)) = wanted(&file) else {
        world.usable_storage(storage_of(&file), node).map_err(said)?;
        let volume = world.volume(&file, node).ok_or_else(|| format!("volume '{file}' does not exist"))?;
        if part(&parts, "size").is_none() {
            let size = Bytes(volume.size).to_pve();
            set(&mut parts, "size", size);
        }
        return Ok(print_drive(parts));
    };
    let format = part(&parts, "format").map(str::to_owned);
    parts.retain(|(k, _)| k != "format");
    if what == "cloudinit" {
        let new = NewVolume {
            storage,
            node,
            vmid,
            size: 4 << 20,
            format: format.as_deref(),
            content: "images",
            label: "cloudinit",
        };
        let volid = world.allocate(&new).map_err(said)?;
        set(&mut parts, "media", "cdrom".to_owned());
        log.push(format!("{key}: successfully created disk '{volid},media=cdrom'"));
        set(&mut parts, "file", volid);
        return Ok(print_drive(parts));
    }
    let source = part(&parts, "import-from").map(str::to_owned);
    parts.retain(|(k, _)| k != "import-from");
    let mut size = (what.parse::<f64>().unwrap_or(0.0) * (1u64 << 30) as f64) as u64;
    match key {
        "efidisk0" => size = if part(&parts, "efitype") == Some("4m") { 528 << 10 } else { 128 << 10 },
        "tpmstate0" => size = 4 << 20,
        _ => {}
    }
    let mut bootable = false;
    if let Some(source) = source {
        let from = world.volume(&source, node).ok_or_else(|| format!("volume '{source}' does not exist"))?;
        (size, bootable) = (from.size.max(1 << 30), true);
    }
    let format = if key == "tpmstate0" { Some("raw".to_owned()) } else { format };
    let new = NewVolume { storage, node, vmid, size, format: format.as_deref(), content: "images", label: "disk" };
    let volid = world.allocate(&new).map_err(said)?;
    if let Some(volume) = world.volume_mut(&volid, node) {
        volume.bootable = bootable;
    }
    log.push(format!("{key}: successfully created disk '{volid},size={}'", Bytes(size).to_pve()));
    set(&mut parts, "file", volid);
    set(&mut parts, "size", Bytes(size).to_pve());
    Ok(print_drive(parts))
}

/// Copies a volume for a guest; answers the new id.
pub(super) fn copy(
    world: &mut World,
    from: &Volume,
    (from_node, node): (&str, &str),
    vmid: u32,
    storage: Option<&str>,
    format: Option<&str>,
) -> Result<String, String> {
    let storage = storage.unwrap_or(storage_of(&from.volid)).to_owned();
    let same = storage == storage_of(&from.volid);
    let kept = (same || format.is_none()).then_some(from.format.as_str());
    let fits = |f: &&str| match world.storages.get(&storage).map(|s| s.storage_type.as_str()) {
        Some("dir" | "nfs" | "cifs") => true,
        _ => *f == "raw",
    };
    let format = format.or(kept).filter(fits);
    let label = if from.volid.contains("-cloudinit") { "cloudinit" } else { "disk" };
    let new = NewVolume { storage: &storage, node, vmid, size: from.size, format, content: "images", label };
    let volid = world.allocate(&new).map_err(|r| r.reason)?;
    if let Some(volume) = world.volume_mut(&volid, node) {
        volume.bootable = from.bootable;
    }
    debug_assert!(!from_node.is_empty());
    Ok(volid)
}

/// `PUT …/resize`.
pub(super) fn resize(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid) = (args.text("node").to_owned(), args.vmid());
    let guest = ctx.guest(&node, GuestType::Qemu, vmid)?;
    if args.get("digest").is_some_and(|d| d != guest_digest(guest)) {
        return Err(Refusal::died("checksum mismatch (file change by other user?)"));
    }
    let what = json!({"node": node, "vmid": vmid, "disk": args.text("disk"), "size": args.text("size")});
    Ok(ctx.start(NewTask::new(&node, "resize", vmid).takes_ms(1000).holds(vmid).then("qemu.resize", what)))
}

pub(super) fn resize_effect(world: &mut World, what: &Value, log: &mut Vec<String>) -> End {
    let (node, vmid) = told(what);
    let (key, size) = (what["disk"].as_str().unwrap_or_default(), what["size"].as_str().unwrap_or_default());
    ended((|| {
        let guest = machine(world, &node, vmid)?;
        unlocked(guest)?;
        let text = guest.config.get(key).cloned().ok_or_else(|| format!("disk '{key}' does not exist"))?;
        if text.contains("media=cdrom") {
            return Err("you can't resize a cdrom".to_owned());
        }
        let mut parts = parts_of(key, &text);
        let volid = file_of(&text).to_owned();
        let old =
            world.volume(&volid, &node).map(|v| v.size).ok_or_else(|| format!("volume '{volid}' does not exist"))?;
        let number = Bytes::parse(size.trim_start_matches('+')).map_or(0, |b| b.0);
        let new = if size.starts_with('+') { old + number } else { number };
        if new < old {
            return Err("shrinking disks is not supported".to_owned());
        }
        if new == old {
            return Ok(());
        }
        let free = world.storages.get(storage_of(&volid)).map_or(0, |s| s.size);
        if world.storage_used(storage_of(&volid), &node) + (new - old) / 8 > free {
            return Err("unable to grow the image: not enough free space".to_owned());
        }
        if let Some(volume) = world.volume_mut(&volid, &node) {
            volume.size = new;
        }
        set(&mut parts, "size", Bytes(new).to_pve());
        machine(world, &node, vmid)?.config.insert(key.to_owned(), print_drive(parts));
        log.push("Image resized.".to_owned());
        Ok(())
    })())
}

/// `POST …/move_disk`.
pub(super) fn move_disk(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid, key) = (args.text("node").to_owned(), args.vmid(), args.text("disk").to_owned());
    if args.get("target-vmid").is_some() {
        return Err(Refusal::died("moving a disk to another guest is not simulated"));
    }
    let storage = args.get("storage").ok_or_else(|| Refusal::param("storage", "parameter is required"))?.to_owned();
    ctx.require(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    let guest = ctx.guest(&node, GuestType::Qemu, vmid)?;
    unlocked(guest).map_err(Refusal::died)?;
    if args.get("digest").is_some_and(|d| d != guest_digest(guest)) {
        return Err(Refusal::died("checksum mismatch (file change by other user?)"));
    }
    let text = guest.config.get(&key).ok_or_else(|| Refusal::died(format!("disk '{key}' does not exist")))?;
    let volid = file_of(text).to_owned();
    ctx.world.usable_storage(&storage, &node)?;
    let volume =
        ctx.world.volume(&volid, &node).ok_or_else(|| Refusal::died(format!("volume '{volid}' does not exist")))?;
    if storage_of(&volid) == storage && args.get("format").is_none_or(|f| f == volume.format) {
        return Err(Refusal::died("you can't move to the same storage with same format"));
    }
    let size = volume.size;
    let what = json!({"node": node, "vmid": vmid, "disk": key, "storage": storage, "format": args.get("format"), "delete": args.on("delete")});
    let first = format!("create full clone of drive {key} ({volid})");
    let task = NewTask::new(&node, "qmmove", vmid).takes_ms(((size >> 20) * COPY_MS_PER_GIB) >> 10).copies(size);
    Ok(ctx.start(task.holds(vmid).says(first).then("qemu.move", what)))
}

pub(super) fn move_effect(world: &mut World, what: &Value, log: &mut Vec<String>) -> End {
    let (node, vmid) = told(what);
    let key = what["disk"].as_str().unwrap_or_default();
    ended((|| {
        let text = machine(world, &node, vmid)?.config.get(key).cloned().ok_or("disk is gone")?;
        let volid = file_of(&text).to_owned();
        let from = world.volume(&volid, &node).cloned().ok_or_else(|| format!("volume '{volid}' does not exist"))?;
        let new = copy(world, &from, (&node, &node), vmid, what["storage"].as_str(), what["format"].as_str())
            .map_err(|e| format!("storage migration failed: {e}"))?;
        let mut parts = parts_of(key, &text);
        set(&mut parts, "file", new);
        machine(world, &node, vmid)?.config.insert(key.to_owned(), print_drive(parts));
        if what["delete"] == true {
            world.free_volume(&volid, &node);
            log.push(format!("removing source volume '{volid}' after successful copy"));
        } else {
            add_unused(&mut machine(world, &node, vmid)?.config, &volid);
        }
        Ok(())
    })())
}

/// Keeps a volume as `unusedN`.
pub(super) fn add_unused(config: &mut std::collections::BTreeMap<String, String>, volid: &str) {
    if config.iter().any(|(k, v)| k.starts_with("unused") && file_of(v) == volid) {
        return;
    }
    if let Some(key) = (0..256).map(|n| format!("unused{n}")).find(|k| !config.contains_key(k)) {
        config.insert(key, volid.to_owned());
    }
}

/// The size of the boot disk, as lists show it.
pub(super) fn boot_disk_size(world: &World, vmid: u32) -> u64 {
    let Some(guest) = world.guests.get(&vmid) else { return 0 };
    let order = guest.config.get("boot").cloned().unwrap_or_default();
    let order: Vec<&str> = order.trim_start_matches("order=").split(';').collect();
    let mut found = drives(&guest.config);
    found.retain(|(k, v)| {
        !v.contains("media=cdrom") && (order.contains(&k.as_str()) || order == [""] || order == [" "])
    });
    let size = |v: &str| v.split(',').find_map(|p| p.strip_prefix("size=")).and_then(Bytes::parse).map_or(0, |b| b.0);
    order.iter().find_map(|o| found.iter().find(|(k, _)| k == o)).map_or(0, |(_, v)| size(v))
}
