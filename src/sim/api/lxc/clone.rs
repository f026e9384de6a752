//! Clones and templates.

use crate::sim::api::cluster::resources::disk_size;
use crate::sim::api::lxc::{config, create, view};
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::volume::{NewVolume, storage_of};
use crate::sim::world::{Guest, GuestType, Power, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn is_template(guest: &Guest) -> bool {
    guest.config.get("template").is_some_and(|t| t == "1")
}

/// `POST …/clone`: linked from a template, else full.
pub fn clone(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid) = (args.text("node"), args.vmid());
    let newid = args.int("newid").and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    match args.get("pool") {
        Some(pool) => ctx.require(&format!("/pool/{pool}"), &["VM.Allocate"])?,
        None => ctx.require(&format!("/vms/{newid}"), &["VM.Allocate"])?,
    }
    if let Some(storage) = args.get("storage") {
        ctx.require(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
        ctx.world.usable_storage(storage, args.get("target").unwrap_or(node))?;
    }
    if let Some(pool) = args.get("pool").filter(|p| !ctx.world.pools.contains_key(*p)) {
        return Err(Refusal::died(format!("pool '{pool}' does not exist")));
    }
    let guest = ctx.guest(node, GuestType::Lxc, vmid)?.clone();
    config::unlocked(&guest)?;
    create::free_id(ctx.world, newid)?;
    let target = args.get("target").unwrap_or(node);
    if !ctx.world.nodes.contains_key(target) {
        return Err(Refusal::died(format!("no such cluster node '{target}'")));
    }
    let full = args.get("full").map_or(!is_template(&guest), |f| f == "1");
    let source = match args.get("snapname") {
        None => guest.config.clone(),
        Some(name) => match guest.snapshots.get(name) {
            Some(snapshot) => snapshot.config.clone(),
            None => return Err(Refusal::died(format!("snapshot '{name}' does not exist"))),
        },
    };
    if !full && args.get("storage").is_some() {
        return Err(Refusal::param("storage", "Option storage only allowed with full clone."));
    }
    if !full && !is_template(&guest) {
        return Err(Refusal::died("Linked clone feature is only available for a template"));
    }
    if full && guest.power != Power::Stopped && args.get("snapname").is_none() {
        return Err(Refusal::died("Cannot do full clones on a running container without snapshots"));
    }
    for (_, volid) in config::volumes(&source).filter(|(k, _)| config::is_mount(k)) {
        let shared = ctx.world.storages.get(storage_of(&volid)).is_some_and(|s| s.shared());
        if target != node && !shared {
            return Err(Refusal::died(format!("can't clone CT to node '{target}' (CT uses local storage)")));
        }
    }
    let told = json!({
        "node": node, "target": target, "vmid": vmid, "newid": newid, "full": full, "source": source,
        "storage": args.get("storage"), "hostname": args.get("hostname"), "description": args.get("description"),
    });
    let reserved = BTreeMap::from([("lock".to_owned(), "create".to_owned())]);
    let new = Guest { guest_type: GuestType::Lxc, node: target.to_owned(), config: reserved, ..Guest::default() };
    ctx.world.guests.insert(newid, new);
    if let Some(pool) = args.get("pool").and_then(|p| ctx.world.pools.get_mut(p)) {
        pool.guests.insert(newid);
    }
    let size = disk_size(&guest);
    let line = format!("creating a clone of container {vmid} with ID {newid}");
    // About 200 MiB a second.
    let mut task = NewTask::new(node, "vzclone", vmid).says(line).holds(newid).then("lxc.clone", told);
    task = if full { task.takes_ms(2000 + (size >> 20) * 5) } else { task.takes_ms(1000) };
    Ok(ctx.start(task))
}

/// The end of a clone.
pub fn cloned(world: &mut World, told: &Value, lines: &mut Vec<String>) -> End {
    let newid = told["newid"].as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
    match copy(world, told, newid, lines) {
        Ok(config) => {
            let vmid = told["vmid"].as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
            let disk = world.guests.get(&vmid).map(|source| source.disk.clone()).unwrap_or_default();
            if let Some(guest) = world.guests.get_mut(&newid) {
                (guest.config, guest.disk) = (config, disk);
                guest.boot_seconds = Some(5);
            }
            End::Ok
        }
        Err(text) => {
            world.volumes.retain(|v| !(v.vmid == Some(newid) && v.content == "rootdir"));
            world.guests.remove(&newid);
            for pool in world.pools.values_mut() {
                pool.guests.remove(&newid);
            }
            End::Failed(format!("clone failed: {text}"))
        }
    }
}

fn copy(
    world: &mut World,
    told: &Value,
    newid: u32,
    lines: &mut Vec<String>,
) -> Result<BTreeMap<String, String>, String> {
    let node = told["target"].as_str().unwrap_or_default().to_owned();
    let source: BTreeMap<String, String> = serde_json::from_value(told["source"].clone()).unwrap_or_default();
    let mut config = BTreeMap::new();
    for (key, value) in source {
        if config::numbered(&key, "unused")
            || matches!(key.as_str(), "lock" | "parent" | "template" | "snaptime" | "snapstate")
        {
            continue;
        }
        let value = if config::numbered(&key, "net") {
            let mut net = crate::pve::property::PropertyString::parse(&value, "");
            net.remove("hwaddr");
            config::net(world, &key, &net.to_text(""))
        } else if config::is_mount(&key) && !config::volume_of(&value).starts_with('/') {
            let volid = config::volume_of(&value);
            let old = world.volume(&volid, &node).cloned().ok_or_else(|| format!("volume '{volid}' does not exist"))?;
            let storage = told["storage"].as_str().unwrap_or(storage_of(&volid)).to_owned();
            let how = if told["full"] == true { "full clone of mountpoint" } else { "linked clone of mount point" };
            lines.push(format!("create {how} {key} ({volid})"));
            let wanted = NewVolume {
                storage: &storage,
                node: &node,
                vmid: newid,
                size: old.size,
                format: Some(&old.format).filter(|_| storage == storage_of(&volid)).map(String::as_str),
                content: "rootdir",
                label: "disk",
            };
            let new = world.allocate(&wanted).map_err(|r| r.reason)?;
            let snapshot_copy = world.storages.get(&storage).is_some_and(|s| s.storage_type == "btrfs");
            if let Some(volume) = world.volume_mut(&new, &node) {
                volume.used = if told["full"] == true { old.used } else { 0 };
                volume.parent = (told["full"] != true && !snapshot_copy).then(|| volid.clone());
            }
            let mut parts = crate::pve::property::PropertyString::parse(&value, "volume");
            parts.set("volume", new);
            crate::sim::params::lxc::normal_props(&key, &parts.to_text("volume"))
        } else {
            value
        };
        config.insert(key, value);
    }
    for key in ["hostname", "description"] {
        if let Some(value) = told[key].as_str() {
            config.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(config)
}

/// `POST …/template`: at once, unlike that of a virtual machine.
pub fn template(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid) = (args.text("node"), args.vmid());
    let guest = ctx.guest(node, GuestType::Lxc, vmid)?.clone();
    config::unlocked(&guest)?;
    if !guest.snapshots.is_empty() {
        return Err(Refusal::died("unable to create template, because CT contains snapshots"));
    }
    if is_template(&guest) {
        return Err(Refusal::died("you can't convert a template to a template"));
    }
    if guest.power != Power::Stopped {
        return Err(Refusal::died("you can't convert a CT to template if the CT is running"));
    }
    if !view::can_snapshot(ctx.world, &guest) {
        let volid = config::volumes(&guest.config).next().map(|(_, v)| v).unwrap_or_default();
        return Err(Refusal::died(format!("Template feature is not available for '{volid}'")));
    }
    make_template(ctx.world, vmid, node);
    Ok(Value::Null)
}

/// Turns a container and its volumes into a template.
pub fn make_template(world: &mut World, vmid: u32, node: &str) {
    let Some(mut renamed) = world.guests.get(&vmid).map(|guest| guest.config.clone()) else { return };
    let mounts: Vec<(String, String)> = config::volumes(&renamed).filter(|(key, _)| config::is_mount(key)).collect();
    for (key, volid) in mounts {
        let new = volid.replace(&format!("vm-{vmid}-"), &format!("base-{vmid}-"));
        if let Some(volume) = world.volume_mut(&volid, node) {
            volume.volid = new.clone();
        }
        if let Some(text) = renamed.get_mut(&key) {
            *text = text.replace(&volid, &new);
        }
    }
    renamed.insert("template".to_owned(), "1".to_owned());
    if let Some(guest) = world.guests.get_mut(&vmid) {
        guest.config = renamed;
    }
}
