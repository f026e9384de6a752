//! Changing a machine's configuration: what a running one cannot take at once waits for its next start.

use super::disk::{add_unused, resolve};
use super::permit::permitted;
use super::{file_of, is_disk, unlocked};
use crate::sim::ctx::{Ctx, NewTask, guest_digest};
use crate::sim::params::qemu::{CONFIG, MODELS, NET};
use crate::sim::request::{Args, Refusal};
use crate::sim::verify::check_props;
use crate::sim::world::{Guest, GuestType, Power, World};
use serde_json::Value;
use std::collections::BTreeMap;

/// `PUT …/config`.
pub(super) fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    change(ctx, args)?;
    Ok(Value::Null)
}

/// `POST …/config`: the same in a task.
pub(super) fn update_async(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    change(ctx, args)?;
    let node = args.text("node").to_owned();
    let line = spoken(args);
    Ok(ctx.start(NewTask::new(&node, "qmconfig", args.vmid()).takes_ms(200).says(line)))
}

/// A change in the words of PVE's logs.
fn spoken(args: &Args) -> String {
    let sent: String = args
        .values
        .iter()
        .filter(|(k, _)| !matches!(k.as_str(), "node" | "vmid" | "digest"))
        .map(|(k, v)| if k == "cipassword" { format!(" -{k} <hidden>") } else { format!(" -{k} {v}") })
        .collect();
    format!("update VM {}:{sent}", args.vmid())
}

/// `PUT …/unlink`.
pub(super) fn unlink(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let mut as_delete = args.clone();
    if let Some(list) = as_delete.values.remove("idlist") {
        as_delete.values.insert("delete".to_owned(), list);
    }
    change(ctx, &as_delete)?;
    Ok(Value::Null)
}

/// A network card's text with a MAC, the model first.
pub(super) fn print_net(world: &mut World, key: &str, text: &str) -> String {
    let mut parts: BTreeMap<String, String> =
        check_props(key, "model", NET, text).unwrap_or_default().into_iter().collect();
    let model = parts.remove("model").unwrap_or_default();
    let mac = parts.remove("macaddr").map_or_else(|| world.new_mac(), |m| m.to_uppercase());
    debug_assert!(MODELS.contains(&model.as_str()));
    parts.iter().fold(format!("{model}={mac}"), |text, (k, v)| format!("{text},{k}={v}"))
}

/// Tags as PVE keeps them after an update.
pub(super) fn tidy_tags(text: &str) -> String {
    let mut tags: Vec<String> = text.split([',', ';', ' ']).filter(|t| !t.is_empty()).map(str::to_lowercase).collect();
    tags.sort();
    tags.dedup();
    tags.join(";")
}

/// Whether a running machine takes a change at once.
fn live(guest: &Guest, key: &str, new: Option<&str>) -> bool {
    let hotplug = guest.config.get("hotplug").map_or("network,disk,usb", String::as_str);
    let plugs = |what: &str| hotplug == "1" || hotplug.split(',').any(|h| h == what);
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    match stem {
        "net" => plugs("network"),
        "scsi" | "virtio" => plugs("disk"),
        "ide" | "sata" => {
            let cdrom = |v: Option<&str>| v.is_some_and(|v| v.contains("media=cdrom"));
            cdrom(new) && cdrom(guest.config.get(key).map(String::as_str))
        }
        // Only of systems that are known to bear it.
        "usb" => {
            plugs("usb")
                && guest.config.get("ostype").is_some_and(|o| matches!(o.as_str(), "l26" | "win8" | "win10" | "win11"))
        }
        "tablet" => plugs("usb"),
        "hotplug" => {
            let slow = |text: Option<&str>| text.is_some_and(|t| t.contains("cpu") || t.contains("memory"));
            !slow(new) && !slow(guest.config.get("hotplug").map(String::as_str))
        }
        "cores" | "sockets" | "vcpus" => plugs("cpu") && key == "vcpus",
        "memory" => plugs("memory"),
        "balloon" => new.is_some_and(|v| v != "0"),
        "ipconfig" | "unused" => true,
        _ => matches!(
            key,
            "lock"
                | "name"
                | "onboot"
                | "migrate_downtime"
                | "migrate_speed"
                | "shares"
                | "startup"
                | "description"
                | "protection"
                | "vmstatestorage"
                | "hookscript"
                | "tags"
                | "autostart"
                | "template"
                | "cpuunits"
                | "cpulimit"
                | "cicustom"
                | "cipassword"
                | "citype"
                | "ciuser"
                | "ciupgrade"
                | "nameserver"
                | "searchdomain"
                | "sshkeys"
        ),
    }
}

fn known(key: &str) -> bool {
    CONFIG.iter().any(|p| p.declares(key)) || matches!(key, "meta" | "runningcpu" | "runningmachine")
}

/// The change itself, in PVE's order: words first, then rights, then the guest, its digest and its lock.
fn change(ctx: &mut Ctx<'_>, args: &Args) -> Result<(), Refusal> {
    let (node, vmid) = (args.text("node").to_owned(), args.vmid());
    let (deletes, reverts) = (args.list("delete"), args.list("revert"));
    const CONTROLS: &[&str] = &[
        "node",
        "vmid",
        "delete",
        "revert",
        "force",
        "skiplock",
        "digest",
        "background_delay",
        "import-working-storage",
    ];
    let sets: Vec<(&str, &str)> = args
        .values
        .iter()
        .filter(|(k, _)| !CONTROLS.contains(&k.as_str()))
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    if args.on("skiplock") && !ctx.is_root() {
        return Err(Refusal::param("skiplock", "Only root may use this option."));
    }
    if sets.is_empty() && deletes.is_empty() && reverts.is_empty() {
        return Err(Refusal::died("no options specified"));
    }
    if let Some(script) = args.get("hookscript").filter(|s| ctx.world.volume(s, &node).is_none()) {
        return Err(Refusal::param("hookscript", format!("script '{script}' does not exist\n")));
    }
    for (name, list) in [("delete", &deletes), ("revert", &reverts)] {
        for key in list {
            if !known(key) {
                return Err(Refusal::param(name, format!("unknown option '{key}'")));
            }
            if args.get(key).is_some() {
                let text = format!("you can't use '-{key}' and -{name} {key}' at the same time");
                return Err(Refusal::param(name, text));
            }
        }
    }
    let path = format!("/vms/{vmid}");
    for key in deletes.iter().chain(&reverts) {
        permitted(ctx, &path, key, None)?;
    }
    for (key, value) in &sets {
        permitted(ctx, &path, key, Some(value))?;
    }
    ctx.lock_file(vmid)?;
    let guest = ctx.guest(&node, GuestType::Qemu, vmid)?;
    if args.get("digest").is_some_and(|d| d != guest_digest(guest)) {
        return Err(Refusal::died("checksum mismatch (file change by other user?)"));
    }
    if !args.on("skiplock") {
        unlocked(guest).map_err(Refusal::died)?;
    }
    for key in &reverts {
        ctx.guest_mut(&node, GuestType::Qemu, vmid)?.pending.remove(*key);
    }
    for key in deletes {
        delete(ctx.world, &node, vmid, key, args.on("force"))?;
    }
    for (key, value) in sets {
        set(ctx.world, &node, vmid, key, value)?;
    }
    // Every change is told, also one without a task (`PVE::API2::Qemu`, `update_vm_api`).
    ctx.tell(&node, spoken(args));
    Ok(())
}

fn guest_of(world: &mut World, vmid: u32) -> Result<&mut Guest, Refusal> {
    world.guests.get_mut(&vmid).ok_or_else(|| Refusal::died("guest is gone"))
}

fn delete(world: &mut World, node: &str, vmid: u32, key: &str, force: bool) -> Result<(), Refusal> {
    let guest = guest_of(world, vmid)?;
    let Some(value) = guest.config.get(key).cloned() else {
        guest.pending.remove(key);
        return Ok(());
    };
    let volid = file_of(&value).to_owned();
    let protects = guest.config.get("protection").is_some_and(|p| p == "1");
    if key.starts_with("unused") {
        if protects {
            return Err(Refusal::died(format!("can't remove unused disk '{volid}' - protection mode enabled")));
        }
        if guest.snapshots.values().any(|s| s.config.values().any(|v| file_of(v) == volid)) {
            return Err(Refusal::died(format!("unable to delete '{volid}' - volume is still in use (snapshot?)")));
        }
        guest.config.remove(key);
        world.free_volume(&volid, node);
        return Ok(());
    }
    if is_disk(key) && protects {
        return Err(Refusal::died(format!("can't remove drive '{key}' - protection mode enabled")));
    }
    if guest.power != Power::Stopped && !live(guest, key, Some(&value)) {
        guest.pending.insert(key.to_owned(), None);
        return Ok(());
    }
    guest.config.remove(key);
    guest.pending.remove(key);
    if let Some(boot) = guest.config.get_mut("boot").filter(|b| b.starts_with("order=")) {
        let rest: Vec<&str> = boot["order=".len()..].split(';').filter(|d| *d != key).collect();
        *boot = format!("order={}", rest.join(";"));
    }
    if is_disk(key) {
        release(world, node, vmid, &value, force)?;
    }
    Ok(())
}

/// What becomes of a disk that no slot names any more: cloud-init's goes, one of our own is kept as unused.
fn release(world: &mut World, node: &str, vmid: u32, text: &str, force: bool) -> Result<(), Refusal> {
    let volid = file_of(text).to_owned();
    let ours = world.volume(&volid, node).is_some_and(|v| v.vmid == Some(vmid));
    if !ours || (text.contains("media=cdrom") && !volid.contains("-cloudinit")) {
        return Ok(());
    }
    if force || volid.contains("-cloudinit") {
        world.free_volume(&volid, node);
    } else {
        add_unused(&mut guest_of(world, vmid)?.config, &volid);
    }
    Ok(())
}

fn set(world: &mut World, node: &str, vmid: u32, key: &str, value: &str) -> Result<(), Refusal> {
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    let old = guest_of(world, vmid)?.config.get(key).cloned();
    let value = match stem {
        "net" => print_net(world, key, value),
        "tags" => tidy_tags(value),
        _ if is_disk(key) => resolve(world, node, vmid, key, value, &mut Vec::new()).map_err(Refusal::died)?,
        _ => value.to_owned(),
    };
    let guest = guest_of(world, vmid)?;
    if matches!(key, "description" | "tags") && value.is_empty() {
        guest.config.remove(key);
        return Ok(());
    }
    if guest.power != Power::Stopped && !live(guest, key, Some(&value)) {
        if old.as_deref() == Some(value.as_str()) {
            guest.pending.remove(key);
        } else {
            guest.pending.insert(key.to_owned(), Some(value));
        }
        return Ok(());
    }
    guest.config.insert(key.to_owned(), value.clone());
    guest.pending.remove(key);
    if is_disk(key) {
        let file = file_of(&value);
        guest.config.retain(|k, v| !(k.starts_with("unused") && file_of(v) == file));
        if let Some(old) = old.filter(|o| file_of(o) != file) {
            release(world, node, vmid, &old, false)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::sim::api::testing::{refused, root};
    use crate::sim::baseline::{Baseline, build};
    use serde_json::json;

    const CONFIG: &str = "/nodes/pve2/qemu/8100/config";

    #[test]
    fn what_a_running_machine_cannot_take_waits() {
        let world = &mut build(Baseline::Homelab);
        let change = json!({ "name": "wall", "tablet": 0, "cores": 4, "boot": "order=scsi0;net0", "usb0": "spice" });
        root(world, &format!("PUT {CONFIG}"), &change).expect("changed");
        let guest = &world.guests[&8100];
        let waiting: Vec<&String> = guest.pending.keys().collect();
        // USB devices are plugged into systems that are known to bear it; this one is of type `other`.
        assert_eq!(waiting, ["boot", "cores", "usb0"]);
        assert_eq!((guest.config["name"].as_str(), guest.config["tablet"].as_str()), ("wall", "0"));
    }

    #[test]
    fn hotplug_of_memory_is_not_turned_on_while_it_runs() {
        let world = &mut build(Baseline::Homelab);
        root(world, &format!("PUT {CONFIG}"), &json!({ "hotplug": "network,disk" })).expect("changed");
        assert_eq!(world.guests[&8100].config["hotplug"], "network,disk");
        root(world, &format!("PUT {CONFIG}"), &json!({ "hotplug": "network,memory" })).expect("changed");
        assert_eq!(world.guests[&8100].config["hotplug"], "network,disk");
        root(world, &format!("PUT {CONFIG}"), &json!({ "net2": "virtio,bridge=vmbr0", "scsi1": "local-lvm:1" }))
            .expect("set");
        let guest = &world.guests[&8100];
        assert!(guest.config.contains_key("net2") && guest.config.contains_key("scsi1"));
    }

    #[test]
    fn a_disk_taken_out_is_kept_until_it_is_removed_for_good() {
        let world = &mut build(Baseline::Homelab);
        world.edit_guest(8100, "protection", Some("1"));
        let held = refused(root(world, &format!("PUT {CONFIG}"), &json!({ "delete": "scsi0" })));
        assert_eq!(held, "can't remove drive 'scsi0' - protection mode enabled");
        world.edit_guest(8100, "protection", None);
        root(world, &format!("PUT {CONFIG}"), &json!({ "delete": "scsi0" })).expect("taken out");
        assert_eq!(world.guests[&8100].config["unused0"], "local-lvm:vm-8100-disk-0");
        world.edit_guest(8100, "protection", Some("1"));
        let held = refused(root(world, &format!("PUT {CONFIG}"), &json!({ "delete": "unused0" })));
        assert_eq!(held, "can't remove unused disk 'local-lvm:vm-8100-disk-0' - protection mode enabled");
        world.edit_guest(8100, "protection", None);
        root(world, &format!("PUT {CONFIG}"), &json!({ "delete": "unused0" })).expect("removed");
        assert!(world.volume("local-lvm:vm-8100-disk-0", "pve2").is_none());
    }
}
