//! Creating, restoring and destroying machines.

use super::change::print_net;
use super::disk::{copy, print_drive, resolve};
use super::permit::permitted;
use super::{drives, ended, file_of, is_disk, machine, told, unlocked};
use crate::sim::api::references;
use crate::sim::api::storage::content;
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::params::qemu::{CREATE, DISKS};
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::world::{Guest, GuestType, Power, Volume, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// `POST /nodes/{node}/qemu`.
pub(super) fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid) = (args.text("node").to_owned(), args.vmid());
    let path = format!("/vms/{vmid}");
    if let Some(pool) = args.get("pool").filter(|p| !ctx.world.pools.contains_key(*p)) {
        return Err(Refusal::forbidden(&format!("pool '{pool}' does not exist")));
    }
    let by_pool = args.get("pool").is_some_and(|p| ctx.may(&format!("/pool/{p}"), &["VM.Allocate"]));
    let over = args.get("archive").is_some() && args.on("force") && ctx.world.guests.contains_key(&vmid);
    let backs_up = over && ctx.may(&path, &["VM.Backup"]);
    if !by_pool && !ctx.may(&path, &["VM.Allocate"]) && !backs_up {
        return Err(Refusal::new(403, "Permission check failed"));
    }
    let config: BTreeMap<String, String> = args
        .values
        .iter()
        .filter(|(k, _)| k.as_str() != "node" && !CREATE.iter().any(|p| p.declares(k)))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if !by_pool {
        for (key, value) in &config {
            permitted(ctx, &path, key, Some(value))?;
        }
    }
    let restoring = args.get("archive").is_some();
    if let Some(drive) = config.keys().find(|key| restoring && is_disk(key)) {
        return Err(Refusal::param(drive, "option conflicts with option 'archive'"));
    }
    let there = ctx.world.guests.get(&vmid).map(|g| g.node.clone());
    if let Some(at) = there.filter(|_| !(restoring && args.on("force"))) {
        let verb = if restoring { "restore" } else { "create" };
        return Err(Refusal::died(format!("unable to {verb} VM {vmid} - VM {vmid} already exists on node '{at}'")));
    }
    if let Some(archive) = args.get("archive") {
        let volume = ctx.world.volume(archive, &node);
        let volume = volume.ok_or_else(|| Refusal::died(format!("volume '{archive}' does not exist")))?;
        let size = volume.size.max(1 << 30);
        content::may_restore(ctx, archive, &node, vmid)?;
        // What is sent overrides what was saved (`restore_merge_config`).
        let what = json!({
            "node": node, "vmid": vmid, "archive": archive, "storage": args.get("storage"), "config": config,
            "unique": args.on("unique"), "pool": args.get("pool"), "start": args.on("start"),
        });
        match ctx.world.guests.get(&vmid).map(|g| (g.guest_type, g.config.get("lock").cloned())) {
            None => reserve(ctx.world, &node, vmid),
            // `create_and_lock_config`: what is there is locked as it is.
            Some((GuestType::Qemu, None)) => ctx.world.edit_guest(vmid, "lock", Some("create")),
            Some((GuestType::Qemu, Some(lock))) => {
                return Err(Refusal::died(format!("unable to restore VM {vmid} - VM is locked ({lock})")));
            }
            Some((GuestType::Lxc, _)) => {
                return Err(Refusal::died(format!(
                    "unable to restore VM {vmid} - CT {vmid} already exists on node '{node}'"
                )));
            }
        }
        let task = NewTask::new(&node, "qmrestore", vmid).takes_ms((size >> 20) * 5).copies(size).holds(vmid);
        return Ok(ctx.start(task.then("qemu.restore", what)));
    }
    let what =
        json!({"node": node, "vmid": vmid, "config": config, "pool": args.get("pool"), "start": args.on("start")});
    reserve(ctx.world, &node, vmid);
    Ok(ctx.start(NewTask::new(&node, "qmcreate", vmid).takes_ms(1500).holds(vmid).then("qemu.create", what)))
}

/// The number is taken before the task starts (`create_and_lock_config`).
fn reserve(world: &mut World, node: &str, vmid: u32) {
    let reserved = BTreeMap::from([("lock".to_owned(), "create".to_owned())]);
    let guest = Guest { guest_type: GuestType::Qemu, node: node.to_owned(), config: reserved, ..Guest::default() };
    world.guests.insert(vmid, guest);
}

/// The order in which a machine tries to boot, if nobody says.
fn default_boot(config: &BTreeMap<String, String>) -> String {
    let has = |cdrom: bool| {
        DISKS
            .iter()
            .filter(|k| !matches!(**k, "efidisk0" | "tpmstate0"))
            .find(|k| config.get(**k).is_some_and(|v| v.contains("media=cdrom") == cdrom))
            .map(|k| (*k).to_owned())
    };
    let net = (0..32).map(|n| format!("net{n}")).find(|k| config.contains_key(k));
    let order: Vec<String> = [has(false), has(true), net].into_iter().flatten().collect();
    if order.is_empty() { " ".to_owned() } else { format!("order={}", order.join(";")) }
}

pub(super) fn create_effect(world: &mut World, what: &Value, log: &mut Vec<String>) -> End {
    let (node, vmid) = told(what);
    let sent: BTreeMap<String, String> = serde_json::from_value(what["config"].clone()).unwrap_or_default();
    let volumes = world.volumes.clone();
    let mut config = BTreeMap::new();
    for (key, value) in &sent {
        let value = if is_disk(key) {
            match resolve(world, &node, vmid, key, value, log) {
                Ok(value) => value,
                Err(text) => {
                    world.volumes = volumes;
                    world.guests.remove(&vmid);
                    return End::Failed(format!("unable to create VM {vmid} - {text}"));
                }
            }
        } else if key.starts_with("net") {
            print_net(world, key, value)
        } else {
            value.clone()
        };
        config.insert(key.clone(), value);
    }
    if !config.contains_key("boot") {
        let boot = default_boot(&config);
        config.insert("boot".to_owned(), boot);
    }
    let (uuid, id, now) = (world.new_uuid(), world.new_uuid(), world.now());
    config.entry("smbios1".to_owned()).or_insert(format!("uuid={uuid}"));
    config.entry("vmgenid".to_owned()).or_insert(id);
    config.insert("meta".to_owned(), format!("creation-qemu=10.0.13,ctime={now}"));
    let guest = Guest { guest_type: GuestType::Qemu, node: node.clone(), config, ..Guest::default() };
    world.guests.insert(vmid, guest);
    finish(world, &node, vmid, what)
}

/// Pool and start of a new machine.
fn finish(world: &mut World, node: &str, vmid: u32, what: &Value) -> End {
    if let Some(pool) = what["pool"].as_str().and_then(|p| world.pools.get_mut(p)) {
        pool.guests.insert(vmid);
    }
    if what["start"] == true {
        return ended(super::power::turn_on(world, node, vmid));
    }
    End::Ok
}

pub(super) fn restore_effect(world: &mut World, what: &Value, log: &mut Vec<String>) -> End {
    let (node, vmid) = told(what);
    let volumes = world.volumes.clone();
    match restored(world, what, log) {
        Ok(template) => {
            let end = finish(world, &node, vmid, what);
            if template {
                log.push("Convert to template.".to_owned());
                return super::clone::template_effect(world, &json!({"node": node, "vmid": vmid}), log);
            }
            end
        }
        Err(text) => {
            world.volumes = volumes;
            // What was reserved for it goes again; a guest that was to be overwritten stays.
            match world.guests.get(&vmid) {
                Some(guest) if guest.config.len() > 1 => world.edit_guest(vmid, "lock", None),
                Some(_) => drop(world.guests.remove(&vmid)),
                None => {}
            }
            End::Failed(format!("unable to restore VM {vmid} - {text}"))
        }
    }
}

/// Whether a drive's text keeps it out of backups.
fn left_out(text: &str) -> bool {
    text.split(',').any(|part| matches!(part, "backup=0" | "backup=no" | "backup=off"))
}

/// Makes way for what a backup brings: of a machine that is there, the volumes in the slots that the backup has too, and
/// what was saved of its memory. Its other volumes stay (`restore_cleanup_oldconf`).
fn make_way(world: &mut World, node: &str, vmid: u32, slots: &[String]) {
    let Some(old) = world.guests.remove(&vmid) else { return };
    let own = |world: &World, volid: &str| world.volume(volid, node).is_some_and(|v| v.vmid == Some(vmid));
    for (key, text) in drives(&old.config) {
        if slots.contains(&key) && own(world, file_of(&text)) {
            world.free_volume(file_of(&text), node);
        }
    }
    for state in old.snapshots.values().filter_map(|s| s.config.get("vmstate")) {
        if own(world, state) {
            world.free_volume(state, node);
        }
    }
}

/// Volumes of a machine that none of its options names become `unusedN` (`update_disk_config`).
fn rescan(world: &World, node: &str, vmid: u32, config: &mut BTreeMap<String, String>) {
    let used: Vec<String> = config.values().map(|text| file_of(text).to_owned()).collect();
    let mut free: Vec<String> = world
        .volumes
        .iter()
        .filter(|v| v.vmid == Some(vmid) && v.content == "images" && v.node.as_deref().is_none_or(|n| n == node))
        .map(|v| v.volid.clone())
        .filter(|volid| !used.contains(volid) && !volid.contains(&format!("vm-{vmid}-state-")))
        .collect();
    free.sort();
    for volid in free {
        let slot = (0..256).map(|n| format!("unused{n}")).find(|slot| !config.contains_key(slot));
        config.extend(slot.map(|slot| (slot, volid)));
    }
}

/// Whether the restored machine was a template.
fn restored(world: &mut World, what: &Value, log: &mut Vec<String>) -> Result<bool, String> {
    let (node, vmid) = told(what);
    let archive = what["archive"].as_str().unwrap_or_default();
    let saved = world.volume(archive, &node).and_then(|v| v.backup_of.clone());
    let saved = saved.ok_or_else(|| format!("unable to read archive '{archive}'"))?;
    if world.guests.get(&vmid).is_some_and(|g| g.config.get("protection").is_some_and(|p| p == "1")) {
        return Err("- protection mode enabled".to_owned());
    }
    if world.guests.get(&vmid).is_some_and(|g| g.power != Power::Stopped) {
        return Err("vm is running".to_owned());
    }
    let before = world.guests.get(&vmid).cloned();
    let (out, held): (Vec<_>, Vec<_>) = drives(&saved.config).into_iter().partition(|(_, text)| left_out(text));
    let slots: Vec<String> = held.iter().map(|(key, _)| key.clone()).collect();
    let volumes: Vec<Option<Volume>> =
        held.iter().map(|(_, text)| world.volume(file_of(text), &saved.node).cloned()).collect();
    make_way(world, &node, vmid, &slots);
    let mut config = saved.config.clone();
    let template = config.get("template").is_some_and(|t| t == "1");
    for key in ["lock", "parent", "template"] {
        config.remove(key);
    }
    config.retain(|key, _| !key.starts_with("unused"));
    for ((key, text), from) in held.into_iter().zip(volumes) {
        let size = text.split(',').find_map(|p| p.strip_prefix("size=")).and_then(crate::base::quantity::Bytes::parse);
        let from = from.unwrap_or_else(|| Volume {
            volid: file_of(&text).to_owned(),
            size: 1 << 30,
            format: "raw".to_owned(),
            bootable: true,
            ..Volume::default()
        });
        // The volume that is there may have grown since.
        let from = Volume { size: size.map_or(from.size, |s| s.0), ..from };
        match copy(world, &from, (&node, &node), vmid, what["storage"].as_str(), None) {
            Ok(volid) => {
                log.push(format!("new volume ID is '{volid}'"));
                let mut parts = super::disk::parts_of(&key, &text);
                parts.retain(|(k, _)| k != "file");
                parts.push(("file".to_owned(), volid));
                config.insert(key, print_drive(parts));
            }
            Err(text) => {
                world.guests.extend(before.map(|guest| (vmid, guest)));
                return Err(text);
            }
        }
    }
    // What was not saved is a line of the notes.
    for (key, text) in out {
        config.remove(&key);
        let notes = config.entry("description".to_owned()).or_default();
        let gap = if notes.is_empty() || notes.ends_with('\n') { "" } else { "\n" };
        notes.push_str(&format!("{gap}{key}: {text}"));
    }
    if what["unique"] == true {
        fresh_identity(world, &mut config);
    }
    let sent: BTreeMap<String, String> = serde_json::from_value(what["config"].clone()).unwrap_or_default();
    for (key, value) in sent {
        let value = if key.starts_with("net") { print_net(world, &key, &value) } else { value };
        config.insert(key, value);
    }
    config.retain(|key, value| key != "description" || !value.is_empty());
    rescan(world, &node, vmid, &mut config);
    let disk = saved.disk.clone();
    let guest = Guest { guest_type: GuestType::Qemu, node: node.clone(), config, disk, ..Guest::default() };
    world.guests.insert(vmid, guest);
    Ok(template)
}

/// New UUIDs and MACs.
pub(super) fn fresh_identity(world: &mut World, config: &mut BTreeMap<String, String>) {
    let (uuid, id) = (world.new_uuid(), world.new_uuid());
    config.insert("smbios1".to_owned(), format!("uuid={uuid}"));
    config.insert("vmgenid".to_owned(), id);
    let nets: Vec<String> = config.keys().filter(|k| k.starts_with("net")).cloned().collect();
    for key in nets {
        let text = config.get(&key).cloned().unwrap_or_default();
        let (first, rest) = text.split_once(',').unwrap_or((&text, ""));
        let model = first.split('=').next().unwrap_or_default();
        let mac = world.new_mac();
        let comma = if rest.is_empty() { "" } else { "," };
        config.insert(key, format!("{model}={mac}{comma}{rest}"));
    }
}

/// `DELETE /nodes/{node}/qemu/{vmid}`.
pub(super) fn destroy(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid) = (args.text("node").to_owned(), args.vmid());
    if args.on("skiplock") && !ctx.is_root() {
        return Err(Refusal::param("skiplock", "Only root may use this option."));
    }
    let guest = ctx.guest(&node, GuestType::Qemu, vmid)?;
    if guest.config.get("protection").is_some_and(|p| p == "1") {
        return Err(Refusal::died(format!("can't remove VM {vmid} - protection mode enabled")));
    }
    if guest.power != Power::Stopped {
        return Err(Refusal::died(format!("VM {vmid} is running - destroy failed")));
    }
    if !args.on("purge") {
        references::none_left(ctx.world, GuestType::Qemu, vmid)?;
    }
    let what = json!({
        "node": node, "vmid": vmid, "purge": args.on("purge"), "skiplock": args.on("skiplock"),
        "sweep": args.on("destroy-unreferenced-disks"),
    });
    let task = NewTask::new(&node, "qmdestroy", vmid).takes_ms(1000).holds(vmid);
    Ok(ctx.start(task.then("qemu.destroy", what)))
}

pub(super) fn destroy_effect(world: &mut World, what: &Value, log: &mut Vec<String>) -> End {
    let (node, vmid) = told(what);
    ended((|| {
        let guest = machine(world, &node, vmid)?;
        if what["skiplock"] != true {
            unlocked(guest)?;
        }
        if guest.power != Power::Stopped {
            return Err(format!("VM {vmid} is running - destroy failed"));
        }
        for (_, text) in drives(&guest.config.clone()) {
            let volid = file_of(&text);
            if world.volumes.iter().any(|v| v.parent.as_deref() == Some(volid)) {
                return Err(format!("base volume '{volid}' is still in use by linked cloned"));
            }
        }
        wipe(world, &node, vmid);
        if what["sweep"] == true {
            world.volumes.retain(|v| v.vmid != Some(vmid) || v.content == "backup");
        }
        references::forget(world, vmid);
        if what["purge"] == true {
            references::purge(world, GuestType::Qemu, vmid, log);
        }
        Ok(())
    })())
}

/// Takes a machine and all of its own volumes away.
fn wipe(world: &mut World, node: &str, vmid: u32) {
    let Some(guest) = world.guests.remove(&vmid) else { return };
    let texts = guest.config.values().chain(guest.snapshots.values().flat_map(|s| s.config.values()));
    for volid in texts.map(|t| file_of(t).to_owned()) {
        if world.volume(&volid, node).is_some_and(|v| v.vmid == Some(vmid)) {
            world.free_volume(&volid, node);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::sim::api::testing::{ended, root};
    use crate::sim::baseline::{Baseline, build};
    use crate::sim::world::{Power, Snapshot, World};
    use serde_json::{Value, json};

    fn volume(world: &World, volid: &str) -> bool {
        world.volumes.iter().any(|v| v.volid == volid)
    }

    /// Machine 300 with a disk that is backed up, one that is not, and one that came after the backup.
    fn backed_up() -> (World, String) {
        let mut world = build(Baseline::Homelab);
        let config = json!({
            "vmid": 300, "name": "db", "memory": "512", "scsi0": "local-lvm:4", "scsi1": "local-lvm:2,backup=0",
            "net0": "virtio,bridge=vmbr0", "description": "front: 100% ours",
        });
        assert_eq!(ended(&mut world, "POST /nodes/pve1/qemu", &config), "OK");
        let asked = json!({ "vmid": 300, "storage": "nfs", "compress": "zstd" });
        assert_eq!(ended(&mut world, "POST /nodes/pve1/vzdump", &asked), "OK");
        let backup = world.volumes.iter().find(|v| v.content == "backup" && v.vmid == Some(300)).expect("taken");
        let backup = backup.volid.clone();
        let more = json!({ "scsi2": "local-lvm:1", "memory": "1024" });
        assert_eq!(ended(&mut world, "POST /nodes/pve1/qemu/300/config", &more), "OK");
        (world, backup)
    }

    #[test]
    fn in_place_only_what_the_backup_has_is_replaced() {
        let (mut world, backup) = backed_up();
        let old = world.guests[&300].clone();
        let volid = |key: &str| super::file_of(&old.config[key]).to_owned();
        world.guests.get_mut(&300).expect("there").snapshots.insert("before".into(), Snapshot::default());
        let asked = json!({ "vmid": 300, "archive": backup, "force": 1 });
        assert_eq!(ended(&mut world, "POST /nodes/pve1/qemu", &asked), "OK");
        let now = &world.guests[&300];
        assert_eq!((now.config["memory"].as_str(), now.snapshots.len(), now.config.get("lock")), ("512", 0, None));
        assert_eq!(now.config["net0"], old.config["net0"], "the MAC address is that of the backup");
        assert!(!now.config.contains_key("scsi1") && !now.config.contains_key("scsi2"));
        let unused: Vec<&String> = ["unused0", "unused1"].map(|k| &now.config[k]).into();
        assert_eq!(unused, [&volid("scsi1"), &volid("scsi2")]);
        assert!(now.config["description"].starts_with("front: 100% ours\nscsi1: "), "{}", now.config["description"]);
        assert!(volume(&world, super::file_of(&world.guests[&300].config["scsi0"])));
    }

    #[test]
    fn what_runs_or_is_protected_stays() {
        let (mut world, backup) = backed_up();
        let asked = json!({ "vmid": 300, "archive": backup, "force": 1 });
        for (change, words) in [("protection", "protection mode enabled"), ("power", "vm is running")] {
            let guest = world.guests.get_mut(&300).expect("there");
            match change {
                "power" => guest.power = Power::Running,
                _ => drop(guest.config.insert("protection".into(), "1".into())),
            }
            let before = world.guests[&300].config.clone();
            let end = ended(&mut world, "POST /nodes/pve1/qemu", &asked);
            assert!(end.contains(words), "{end}");
            assert_eq!(world.guests[&300].config, before);
            world.edit_guest(300, "protection", None);
        }
    }

    #[test]
    fn a_configuration_in_a_backup_is_written_as_its_file() {
        let (mut world, backup) = backed_up();
        let asked = json!({ "volume": backup });
        let text: Value = root(&mut world, "GET /nodes/pve1/vzdump/extractconfig", &asked).expect("it is there");
        assert!(text.as_str().is_some_and(|t| t.starts_with("#front%3A 100%25 ours\n")), "{text}");
    }
}
