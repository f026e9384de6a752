//! Clones, templates and migration.

use super::create::fresh_identity;
use super::disk::{COPY_MS_PER_GIB, copy, parts_of, print_drive};
use super::{discs, drives, ended, file_of, machine, told, unlocked};
use crate::sim::api::cluster::ha;
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::volume::storage_of;
use crate::sim::world::{Guest, GuestType, Power, Volume, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// `POST …/clone`.
pub(super) fn clone(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid) = (args.text("node").to_owned(), args.vmid());
    let newid: u32 = args.text("newid").parse().unwrap_or(0);
    if let Some(pool) = args.get("pool").filter(|p| !ctx.world.pools.contains_key(*p)) {
        return Err(Refusal::forbidden(&format!("pool '{pool}' does not exist")));
    }
    let by_pool = args.get("pool").is_some_and(|p| ctx.may(&format!("/pool/{p}"), &["VM.Allocate"]));
    if !by_pool {
        ctx.require(&format!("/vms/{newid}"), &["VM.Allocate"])?;
    }
    if let Some(storage) = args.get("storage") {
        ctx.require(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    }
    let target = args.get("target").unwrap_or(&node).to_owned();
    if !ctx.world.nodes.contains_key(&target) {
        return Err(Refusal::died(format!("no such cluster node '{target}'")));
    }
    if let Some(storage) = args.get("storage") {
        ctx.world.usable_storage(storage, &target)?;
    }
    ctx.lock_file(vmid)?;
    let source = ctx
        .guest(&node, GuestType::Qemu, vmid)
        .map_err(|_| Refusal::died(format!("unable to find configuration file for VM {vmid} on node '{node}'")))?
        .clone();
    unlocked(&source).map_err(Refusal::died)?;
    let template = source.config.get("template").is_some_and(|t| t == "1");
    let full = args.get("full").map_or(!template, |f| f == "1");
    for name in ["storage", "format"] {
        if !full && args.get(name).is_some() {
            return Err(Refusal::died(format!("parameter '{name}' not allowed for linked clones")));
        }
    }
    if ctx.world.guests.contains_key(&newid) {
        return Err(Refusal::died(format!("unable to create VM {newid}: config file already exists")));
    }
    let from = match args.get("snapname") {
        Some(name) => {
            let found = source.snapshots.get(name);
            found.ok_or_else(|| Refusal::died(format!("snapshot '{name}' does not exist")))?.config.clone()
        }
        None => source.config.clone(),
    };
    let mut bytes = 0;
    for (key, text) in drives(&from) {
        let volid = file_of(&text);
        let volume = ctx.world.volume(volid, &node);
        let volume = volume.ok_or_else(|| Refusal::died(format!("volume '{volid}' does not exist")))?;
        let storage = ctx.world.storages.get(storage_of(volid));
        let cloudinit = volid.contains("-cloudinit");
        let links = template && storage.is_some_and(|s| s.storage_type != "lvm");
        if !full && !cloudinit && !links {
            return Err(Refusal::died(format!("Linked clone feature is not supported for '{volid}' ({key})")));
        }
        if target != node && !storage.is_some_and(|s| s.shared()) {
            return Err(Refusal::died(format!("can't clone VM to node '{target}' (VM uses local storage)")));
        }
        bytes += volume.size;
    }
    let mut config = from.clone();
    for key in ["lock", "parent", "template", "snaptime", "snapstate", "vmstate", "protection"] {
        config.remove(key);
    }
    config.retain(|k, _| !k.starts_with("unused"));
    fresh_identity(ctx.world, &mut config);
    let name = args.get("name").map_or_else(
        || from.get("name").map_or_else(|| format!("Copy-of-VM-{vmid}"), |n| format!("Copy-of-VM-{n}")),
        str::to_owned,
    );
    config.insert("name".to_owned(), name);
    if let Some(text) = args.get("description") {
        config.insert("description".to_owned(), text.to_owned());
    }
    // While it is copied, the new guest has its options and a lock; the disks come at the end.
    let mut first = config.clone();
    first.retain(|k, _| !super::is_disk(k));
    first.insert("lock".to_owned(), "clone".to_owned());
    let guest = Guest { guest_type: GuestType::Qemu, node: node.clone(), config: first, ..Guest::default() };
    ctx.world.guests.insert(newid, guest);
    let what = json!({
        "node": node, "vmid": vmid, "newid": newid, "target": target, "full": full, "config": config,
        "storage": args.get("storage"), "format": args.get("format"), "pool": args.get("pool"),
    });
    let ms = if full { (((bytes >> 20) * COPY_MS_PER_GIB) >> 10).max(1000) } else { 1000 };
    let task = NewTask::new(&node, "qmclone", vmid)
        .takes_ms(ms)
        .says(format!("creating a clone of VM {vmid} with ID {newid}"));
    let task = if full { task.copies(bytes) } else { task };
    Ok(ctx.start(task.then("qemu.clone", what)))
}

pub(super) fn clone_effect(world: &mut World, what: &Value, log: &mut Vec<String>) -> End {
    let (node, _) = told(what);
    let newid = what["newid"].as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
    let before = world.volumes.clone();
    match cloned(world, what, &node, newid, log) {
        Ok(()) => End::Ok,
        Err(text) => {
            world.volumes = before;
            world.guests.remove(&newid);
            End::Failed(format!("clone failed: {text}"))
        }
    }
}

fn cloned(world: &mut World, what: &Value, node: &str, newid: u32, log: &mut Vec<String>) -> Result<(), String> {
    let target = what["target"].as_str().unwrap_or(node);
    let mut config: std::collections::BTreeMap<String, String> =
        serde_json::from_value(what["config"].clone()).unwrap_or_default();
    for (key, text) in drives(&config.clone()) {
        let volid = file_of(&text).to_owned();
        let from = world.volume(&volid, node).cloned().ok_or_else(|| format!("volume '{volid}' does not exist"))?;
        let cloudinit = volid.contains("-cloudinit");
        let new = if what["full"] == true || cloudinit {
            log.push(format!("create full clone of drive {key} ({volid})"));
            copy(world, &from, (node, target), newid, what["storage"].as_str(), what["format"].as_str())?
        } else {
            log.push(format!("create linked clone of drive {key} ({volid})"));
            let made = copy(world, &from, (node, target), newid, None, None)?;
            link(world, &made, target, &from)
        };
        let mut parts = parts_of(&key, &text);
        parts.retain(|(k, _)| k != "file");
        parts.push(("file".to_owned(), new));
        if cloudinit {
            parts.retain(|(k, _)| k != "size");
            parts.push(("size".to_owned(), "4M".to_owned()));
        }
        config.insert(key, print_drive(parts));
    }
    let (_, vmid) = told(what);
    let disk = world.guests.get(&vmid).map(|source| source.disk.clone()).unwrap_or_default();
    let guest = world.guests.get_mut(&newid).ok_or("the new guest is gone")?;
    (guest.config, guest.node, guest.disk) = (config, target.to_owned(), disk);
    if let Some(pool) = what["pool"].as_str().and_then(|p| world.pools.get_mut(p)) {
        pool.guests.insert(newid);
    }
    Ok(())
}

/// Makes a copy a linked one: it occupies nothing yet. Where it hangs on its base, its id says so; thin LVM and btrfs make
/// snapshots that stand on their own.
fn link(world: &mut World, made: &str, node: &str, base: &Volume) -> String {
    let kind = world.storages.get(storage_of(made)).map(|s| s.storage_type.as_str());
    let files = matches!(kind, Some("dir" | "nfs" | "cifs" | "cephfs" | "zfspool" | "rbd"));
    let Some(volume) = world.volume_mut(made, node) else { return made.to_owned() };
    volume.used = 0;
    if files {
        let (storage, name) = made.split_once(':').unwrap_or((made, ""));
        let base_name = base.volid.split_once(':').map_or("", |(_, n)| n);
        volume.volid = format!("{storage}:{base_name}/{name}");
        volume.parent = Some(base.volid.clone());
    }
    volume.volid.clone()
}

/// `POST …/template`.
pub(super) fn template(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid) = (args.text("node").to_owned(), args.vmid());
    ctx.lock_file(vmid)?;
    let guest = ctx.guest(&node, GuestType::Qemu, vmid)?;
    unlocked(guest).map_err(Refusal::died)?;
    if !guest.snapshots.is_empty() {
        return Err(Refusal::died("unable to create template, because VM contains snapshots"));
    }
    if guest.config.get("template").is_some_and(|t| t == "1") && args.get("disk").is_none() {
        return Err(Refusal::died("you can't convert a template to a template"));
    }
    if guest.power != Power::Stopped {
        return Err(Refusal::died("you can't convert a VM to template if VM is running"));
    }
    ctx.guest_mut(&node, GuestType::Qemu, vmid)?.config.insert("template".to_owned(), "1".to_owned());
    let task = NewTask::new(&node, "qmtemplate", vmid).takes_ms(1000).holds(vmid);
    Ok(ctx.start(task.then("qemu.template", json!({"node": node, "vmid": vmid, "disk": args.get("disk")}))))
}

pub(super) fn template_effect(world: &mut World, what: &Value, _: &mut Vec<String>) -> End {
    let (node, vmid) = told(what);
    ended((|| {
        let guest = machine(world, &node, vmid)?;
        guest.config.insert("template".to_owned(), "1".to_owned());
        for (key, text) in drives(&guest.config.clone()) {
            let volid = file_of(&text).to_owned();
            if volid.contains("-cloudinit") || what["disk"].as_str().is_some_and(|d| d != key) {
                continue;
            }
            let base = volid.replace(&format!("vm-{vmid}-"), &format!("base-{vmid}-"));
            if let Some(volume) = world.volume_mut(&volid, &node) {
                volume.volid = base.clone();
            }
            machine(world, &node, vmid)?.config.insert(key, text.replacen(&volid, &base, 1));
        }
        Ok(())
    })())
}

/// `GET …/migrate`.
pub(super) fn migrate_check(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let guest = ctx.guest(node, GuestType::Qemu, args.vmid())?;
    let disks: Vec<Value> = drives(&guest.config)
        .into_iter()
        .chain(discs(&guest.config))
        .filter_map(|(key, text)| {
            let volume = ctx.world.volume(file_of(&text), node)?;
            volume.node.as_ref()?;
            Some(json!({
                "volid": volume.volid, "replicate": 1, "is_attached": 1, "shared": 0, "is_vmstate": 0, "is_unused": 0,
                "is_tpmstate": i32::from(key == "tpmstate0"), "size": volume.size,
                "cdrom": i32::from(text.contains("media=cdrom")),
                "is_cloudinit": i32::from(volume.volid.contains("-cloudinit")), "drivename": key,
            }))
        })
        .collect();
    let storages: BTreeSet<String> =
        drives(&guest.config).iter().map(|(_, t)| storage_of(file_of(t)).to_owned()).collect();
    let (mut allowed, mut not_allowed) = (Vec::new(), serde_json::Map::new());
    for name in ctx.world.nodes.iter().filter(|(n, s)| *n != node && s.online).map(|(n, _)| n) {
        let missing: Vec<&String> = storages.iter().filter(|s| ctx.world.usable_storage(s, name).is_err()).collect();
        if missing.is_empty() {
            allowed.push(name.clone());
        } else {
            not_allowed.insert(name.clone(), json!({ "unavailable_storages": missing }));
        }
    }
    Ok(json!({
        "running": i32::from(guest.power != Power::Stopped), "local_disks": disks, "local_resources": [],
        "mapped-resources": [], "mapped-resource-info": {}, "allowed_nodes": allowed, "not_allowed_nodes": not_allowed,
        "has-dbus-vmstate": 1,
    }))
}

/// `POST …/migrate`.
pub(super) fn migrate(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid, target) = (args.text("node").to_owned(), args.vmid(), args.text("target").to_owned());
    if target == node {
        return Err(Refusal::param("target", "target is local node."));
    }
    match ctx.world.nodes.get(&target) {
        None => return Err(Refusal::died(format!("no such cluster node '{target}'"))),
        Some(n) if !n.online => return Err(Refusal::died(format!("node '{target}' is offline"))),
        Some(_) => {}
    }
    let guest = ctx.guest(&node, GuestType::Qemu, vmid)?;
    unlocked(guest).map_err(Refusal::died)?;
    let on = guest.power != Power::Stopped;
    if on && !args.on("online") {
        return Err(Refusal::died("can't migrate running VM without --online"));
    }
    let local: Vec<(String, u64)> = drives(&guest.config)
        .iter()
        .filter_map(|(_, t)| ctx.world.volume(file_of(t), &node))
        .filter(|v| v.node.is_some())
        .map(|v| (v.volid.clone(), v.size))
        .collect();
    if on && !local.is_empty() && !args.on("with-local-disks") {
        return Err(Refusal::died("can't live migrate attached local disks without with-local-disks option"));
    }
    let sid = format!("vm:{vmid}");
    if ha::is_managed(ctx.world, &sid) {
        let told = json!({ "node": node, "vmid": vmid, "target": target, "storage": args.get("targetstorage") });
        let own = ha::Own { task_type: "qmigrate", effect: "qemu.migrate", told };
        return Ok(ha::relocate(ctx, &node, &sid, &target, &own));
    }
    let bytes: u64 = local.iter().map(|(_, s)| s).sum();
    let what = json!({"node": node, "vmid": vmid, "target": target, "storage": args.get("targetstorage")});
    ctx.guest_mut(&node, GuestType::Qemu, vmid)?.config.insert("lock".to_owned(), "migrate".to_owned());
    let ms = 5000 + (((bytes >> 20) * COPY_MS_PER_GIB) >> 10);
    Ok(ctx.start(NewTask::new(&node, "qmigrate", vmid).takes_ms(ms).copies(bytes).then("qemu.migrate", what)))
}

pub(super) fn migrate_effect(world: &mut World, what: &Value, _: &mut Vec<String>) -> End {
    migrated(world, what)
}

/// Moves a machine, and what is on local storage with it.
pub fn migrated(world: &mut World, what: &Value) -> End {
    let (node, vmid) = told(what);
    let target = what["target"].as_str().unwrap_or_default().to_owned();
    let result = (|| {
        let guest = machine(world, &node, vmid)?;
        guest.config.remove("lock");
        let mut config = guest.config.clone();
        let local = |world: &World, text: &str| world.volume(file_of(text), &node).is_some_and(|v| v.node.is_some());
        if discs(&config).iter().any(|(_, text)| local(world, text)) {
            return Err("Problem found while scanning volumes - can't migrate VM - check log".to_owned());
        }
        for (_, text) in drives(&config).iter().filter(|(_, text)| local(world, text)) {
            let volid = file_of(text);
            if let Some((base, _)) = volid.rsplit_once('/').filter(|(above, _)| above.contains("base-")) {
                let base = base.rsplit([':', '/']).next().unwrap_or(base);
                return Err(format!("can't migrate '{volid}' as it's a clone of '{base}'"));
            }
        }
        let mut moved = Vec::new();
        for (key, text) in drives(&config.clone()) {
            let volid = file_of(&text).to_owned();
            let Some(from) = world.volume(&volid, &node).filter(|v| v.node.is_some()).cloned() else { continue };
            let storage = what["storage"].as_str().filter(|s| *s != "1").unwrap_or(storage_of(&volid));
            let new = copy(world, &from, (&node, &target), vmid, Some(storage), None)?;
            config.insert(key, text.replacen(&volid, &new, 1));
            moved.push(volid);
        }
        moved.iter().for_each(|v| {
            world.free_volume(v, &node);
        });
        let guest = machine(world, &node, vmid)?;
        (guest.config, guest.node) = (config, target);
        Ok(())
    })();
    ended(result.map_err(|e: String| format!("migration problems: {e}")))
}
