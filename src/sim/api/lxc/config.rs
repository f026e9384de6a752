//! A container's configuration: read, change, what waits for the next start.

use super::permit;
use crate::base::quantity::Bytes;
use crate::pve::property::PropertyString;
use crate::sim::ctx::{Ctx, guest_digest};
use crate::sim::params::lxc as params;
use crate::sim::request::{Args, Refusal};
use crate::sim::volume::NewVolume;
use crate::sim::world::{Guest, GuestType, Power, World};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Whether a key is `prefix` and a number.
pub fn numbered(key: &str, prefix: &str) -> bool {
    key.strip_prefix(prefix).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a key names a volume that the container uses.
pub fn is_mount(key: &str) -> bool {
    key == "rootfs" || numbered(key, "mp")
}

/// The volume ids behind a configuration's mounts and unused entries; bind mounts have none.
pub fn volumes(config: &BTreeMap<String, String>) -> impl Iterator<Item = (String, String)> {
    let keyed = config.iter().filter(|(k, _)| is_mount(k) || numbered(k, "unused"));
    keyed.filter_map(|(key, text)| {
        let volid = PropertyString::parse(text, "volume").get("volume")?.to_owned();
        (!volid.starts_with('/')).then(|| (key.clone(), volid))
    })
}

/// A value as PVE's JSON has it.
pub fn typed(key: &str, value: &str) -> Value {
    match key {
        "description" => format!("{}\n", value.trim_end_matches('\n')).into(),
        "memory" | "swap" | "cores" | "cpuunits" | "tty" | "onboot" | "unprivileged" | "protection" | "console"
        | "debug" | "template" | "snaptime" => value.parse::<i64>().map_or_else(|_| value.into(), Value::from),
        "cpulimit" => match (value.parse::<i64>(), value.parse::<f64>()) {
            (Ok(n), _) => n.into(),
            (_, Ok(n)) => n.into(),
            _ => value.into(),
        },
        _ => value.into(),
    }
}

/// The configuration with what waits laid over it.
fn effective(guest: &Guest) -> BTreeMap<String, String> {
    let mut config = guest.config.clone();
    for (key, value) in &guest.pending {
        match value {
            Some(value) => config.insert(key.clone(), value.clone()),
            None => config.remove(key),
        };
    }
    config
}

/// `GET …/config`.
pub fn read(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let guest = ctx.guest(args.text("node"), GuestType::Lxc, args.vmid())?;
    let config = match args.get("snapshot") {
        Some(name) => match guest.snapshots.get(name) {
            Some(snapshot) => snapshot.config.clone(),
            None => return Err(Refusal::died(format!("snapshot '{name}' does not exist"))),
        },
        None if args.on("current") => guest.config.clone(),
        None => effective(guest),
    };
    let mut out: Map<String, Value> = config.iter().map(|(k, v)| (k.clone(), typed(k, v))).collect();
    out.insert("digest".to_owned(), guest_digest(guest).into());
    Ok(out.into())
}

/// `GET …/pending`.
pub fn pending(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let guest = ctx.guest(args.text("node"), GuestType::Lxc, args.vmid())?;
    let mut rows = Vec::new();
    for (key, value) in &guest.config {
        let mut row = json!({ "key": key, "value": typed(key, value) });
        match guest.pending.get(key) {
            Some(Some(new)) => row["pending"] = typed(key, new),
            Some(None) => row["delete"] = 1.into(),
            None => {}
        }
        rows.push(row);
    }
    for (key, value) in guest.pending.iter().filter(|(k, _)| !guest.config.contains_key(*k)) {
        if let Some(value) = value {
            rows.push(json!({ "key": key, "pending": typed(key, value) }));
        }
    }
    rows.push(json!({ "key": "digest", "value": guest_digest(guest) }));
    Ok(rows.into())
}

/// The refusal of a locked container.
pub fn unlocked(guest: &Guest) -> Result<(), Refusal> {
    match guest.config.get("lock") {
        Some(lock) => Err(Refusal::died(format!("CT is locked ({lock})"))),
        None => Ok(()),
    }
}

/// What changes at once while the container runs; everything else waits for its next start.
fn hot(key: &str, new_mount: bool) -> bool {
    matches!(
        key,
        "description"
            | "onboot"
            | "startup"
            | "protection"
            | "hostname"
            | "hookscript"
            | "cores"
            | "cpulimit"
            | "cpuunits"
            | "tags"
            | "lock"
            | "memory"
            | "swap"
    ) || numbered(key, "net")
        || numbered(key, "unused")
        || (numbered(key, "mp") && new_mount)
}

/// A mount's text that stays: a new volume is allocated for `storage:size`, an existing one gets its size.
pub fn mount(world: &mut World, node: &str, vmid: u32, key: &str, text: &str) -> Result<String, Refusal> {
    let mut parts = PropertyString::parse(text, "volume");
    let volume = parts.get("volume").unwrap_or_default().to_owned();
    if volume.starts_with('/') {
        return Ok(params::normal_props(key, text));
    }
    let Some((storage, rest)) = volume.split_once(':') else {
        return Err(Refusal::died(format!("unable to parse volume ID '{volume}'")));
    };
    if world.storages.get(storage).is_some_and(|s| !s.takes("rootdir")) {
        return Err(Refusal::died(format!("storage '{storage}' does not allow content type 'rootdir' (Container)")));
    }
    if let Ok(gib) = rest.parse::<f64>() {
        let size = (gib * f64::from(1 << 30)) as u64;
        let new = NewVolume { storage, node, vmid, size, format: None, content: "rootdir", label: "disk" };
        parts.set("volume", world.allocate(&new)?);
        parts.set("size", Bytes(size).to_pve());
    } else {
        let found = world.volume_mut(&volume, node);
        let found = found.ok_or_else(|| Refusal::died(format!("volume '{volume}' does not exist")))?;
        found.vmid = Some(vmid);
        parts.set("size", Bytes(found.size).to_pve());
    }
    Ok(params::normal_props(key, &parts.to_text("volume")))
}

/// A network interface's text that stays: with a MAC (a new one if none is sent) and its type.
pub fn net(world: &mut World, key: &str, text: &str) -> String {
    let mut parts = PropertyString::parse(text, "");
    match parts.get("hwaddr").map(str::to_ascii_uppercase) {
        Some(mac) => parts.set("hwaddr", mac),
        None => parts.set("hwaddr", world.new_mac()),
    }
    parts.set("type", "veth");
    params::normal_props(key, &parts.to_text(""))
}

/// Tags as PVE keeps them on update: lower-cased, sorted, each once.
pub fn tags(text: &str) -> String {
    let split = text.split([',', ';', ' ']).filter(|t| !t.is_empty()).map(str::to_ascii_lowercase);
    split.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(";")
}

/// Any value's normal form; volumes and MACs are allotted on the way.
pub fn normal(world: &mut World, node: &str, vmid: u32, key: &str, value: &str) -> Result<String, Refusal> {
    Ok(match key {
        _ if is_mount(key) => mount(world, node, vmid, key, value)?,
        _ if numbered(key, "net") => net(world, key, value),
        "features" => params::normal_props(key, value),
        "tags" => tags(value),
        "nameserver" | "searchdomain" => {
            value.split([',', ';', ' ']).filter(|p| !p.is_empty()).collect::<Vec<_>>().join(" ")
        }
        _ => value.to_owned(),
    })
}

fn known(key: &str) -> bool {
    params::CONFIG.iter().any(|p| p.declares(key))
}

fn checked_deletes(args: &Args) -> Result<Vec<String>, Refusal> {
    let mut deletes = Vec::new();
    for key in args.list("delete") {
        if args.get(key).is_some() {
            let text = format!("you can't use '-{key}' and -delete {key}' at the same time");
            return Err(Refusal::param("delete", text));
        }
        if !known(key) {
            return Err(Refusal::param("delete", format!("unknown option '{key}'")));
        }
        deletes.push(key.to_owned());
    }
    Ok(deletes)
}

/// `PUT …/config`.
pub fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid) = (args.text("node"), args.vmid());
    let own = |k: &str| matches!(k, "node" | "vmid" | "digest" | "delete" | "revert");
    let sets: Vec<(String, String)> =
        args.values.iter().filter(|(k, _)| !own(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let deletes = checked_deletes(args)?;
    let reverts = args.list("revert");
    if sets.is_empty() && deletes.is_empty() && reverts.is_empty() {
        return Err(Refusal::died("no options specified"));
    }
    let guest = ctx.guest(node, GuestType::Lxc, vmid)?.clone();
    let unprivileged = guest.config.get("unprivileged").is_some_and(|u| u == "1");
    for (key, new) in sets.iter().map(|(k, v)| (k, Some(v.as_str()))).chain(deletes.iter().map(|k| (k, None))) {
        permit::permit(ctx, vmid, key, new, guest.config.get(key).map(String::as_str), unprivileged)?;
    }
    ctx.lock_file(vmid)?;
    let guest = ctx.guest(node, GuestType::Lxc, vmid)?.clone();
    unlocked(&guest)?;
    if args.get("digest").is_some_and(|d| !d.is_empty() && d != guest_digest(&guest)) {
        return Err(Refusal::died("detected modified configuration - file changed by other user? Try again."));
    }
    let running = guest.power != Power::Stopped;
    protected(&guest, vmid, &deletes, &sets)?;
    for key in &deletes {
        match key.as_str() {
            "rootfs" | "memory" | "hostname" if key != "hostname" => {
                return Err(Refusal::died(format!("unable to delete required option '{key}'")));
            }
            "unprivileged" => return Err(Refusal::died(format!("unable to delete read-only option: '{key}'"))),
            _ => {}
        }
    }
    if sets.iter().any(|(k, _)| k == "unprivileged") {
        return Err(Refusal::died("unable to modify read-only option: 'unprivileged'"));
    }
    for key in deletes {
        let waits = running && !hot(&key, false);
        remove(ctx.world, node, vmid, &key, waits)?;
    }
    // One option that cannot be had keeps back none of the others.
    let mut refused = None;
    for (key, value) in sets {
        let new_mount = !guest.config.contains_key(&key);
        let value = match normal(ctx.world, node, vmid, &key, &value) {
            Ok(value) => value,
            Err(refusal) => {
                refused.get_or_insert(refusal);
                continue;
            }
        };
        let waits = running && !hot(&key, new_mount);
        set(ctx.world, vmid, &key, value, waits);
    }
    if let Some(refusal) = refused {
        return Err(refusal);
    }
    if let Some(guest) = ctx.world.guests.get_mut(&vmid) {
        for key in reverts {
            guest.pending.remove(key);
        }
    }
    Ok(Value::Null)
}

/// Volumes of a protected container can be neither removed nor changed.
fn protected(guest: &Guest, vmid: u32, deletes: &[String], sets: &[(String, String)]) -> Result<(), Refusal> {
    if guest.config.get("protection").is_none_or(|p| p != "1") {
        return Ok(());
    }
    let volume = |key: &str| numbered(key, "mp") || numbered(key, "unused");
    let said = |verb: &str, key: &str| {
        Err(Refusal::died(format!("can't {verb} CT {vmid} drive '{key}' - protection mode enabled")))
    };
    if let Some(key) = deletes.iter().find(|k| volume(k)) {
        return said("remove", key);
    }
    match sets.iter().find(|(k, _)| is_mount(k)) {
        Some((key, _)) => said("update", key),
        None => Ok(()),
    }
}

fn set(world: &mut World, vmid: u32, key: &str, value: String, waits: bool) {
    let Some(guest) = world.guests.get_mut(&vmid) else { return };
    if waits {
        match guest.config.get(key) == Some(&value) {
            true => guest.pending.remove(key),
            false => guest.pending.insert(key.to_owned(), Some(value)),
        };
        return;
    }
    guest.pending.remove(key);
    if is_mount(key)
        && let Some(old) = guest.config.get(key).cloned()
        && volume_of(&old) != volume_of(&value)
    {
        park(guest, &old);
    }
    // A volume that comes back into use is unused no more.
    let volid = volume_of(&value);
    if is_mount(key) {
        guest.config.retain(|k, v| !(numbered(k, "unused") && volume_of(v) == volid));
    }
    guest.config.insert(key.to_owned(), value);
}

/// The volume id (or path) of a mount's text.
pub fn volume_of(text: &str) -> String {
    PropertyString::parse(text, "volume").get("volume").unwrap_or_default().to_owned()
}

/// Keeps a volume that is not mounted any more as the next free `unusedN`.
pub fn park(guest: &mut Guest, text: &str) {
    let volid = volume_of(text);
    if volid.starts_with('/') || volid.is_empty() {
        return;
    }
    let slot = (0..256).map(|n| format!("unused{n}")).find(|k| !guest.config.contains_key(k));
    if let Some(slot) = slot {
        guest.config.insert(slot, volid);
    }
}

fn remove(world: &mut World, node: &str, vmid: u32, key: &str, waits: bool) -> Result<(), Refusal> {
    let Some(guest) = world.guests.get_mut(&vmid) else { return Ok(()) };
    guest.pending.remove(key);
    let Some(old) = guest.config.get(key).cloned() else { return Ok(()) };
    if waits {
        guest.pending.insert(key.to_owned(), None);
        return Ok(());
    }
    guest.config.remove(key);
    if is_mount(key) {
        park(guest, &old);
    } else if numbered(key, "unused") {
        let volid = volume_of(&old);
        let snapshotted = guest.snapshots.values().any(|s| volumes(&s.config).any(|(_, v)| v == volid));
        if snapshotted {
            guest.config.insert(key.to_owned(), old);
            return Err(Refusal::died(format!("unable to remove volume '{volid}' - it is used by a snapshot")));
        }
        world.free_volume(&volid, node);
    }
    Ok(())
}

/// Brings what waits into force, as a start does.
pub fn apply_pending(guest: &mut Guest) {
    for (key, value) in std::mem::take(&mut guest.pending) {
        let old = guest.config.remove(&key);
        if let Some(old) = old.filter(|o| is_mount(&key) && value.as_deref().map(volume_of) != Some(volume_of(o))) {
            park(guest, &old);
        }
        if let Some(value) = value {
            guest.config.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::sim::api::testing::{refused, root};
    use crate::sim::baseline::{Baseline, build};
    use crate::sim::world::Power;
    use serde_json::json;

    const CONFIG: &str = "PUT /nodes/pve3/lxc/8200/config";

    #[test]
    fn volumes_of_a_protected_container_stay_as_they_are() {
        let world = &mut build(Baseline::Homelab);
        root(world, CONFIG, &json!({ "mp0": "local-lvm:1,mp=/data", "protection": 1 })).expect("changed");
        let held = refused(root(world, CONFIG, &json!({ "delete": "mp0" })));
        assert_eq!(held, "can't remove CT 8200 drive 'mp0' - protection mode enabled");
        let held = refused(root(world, CONFIG, &json!({ "mp1": "local-lvm:1,mp=/more" })));
        assert_eq!(held, "can't update CT 8200 drive 'mp1' - protection mode enabled");
    }

    #[test]
    fn a_mount_point_leaves_a_running_container_at_its_next_start() {
        let world = &mut build(Baseline::Homelab);
        root(world, CONFIG, &json!({ "mp0": "local-lvm:1,mp=/data" })).expect("changed");
        root(world, CONFIG, &json!({ "delete": "mp0" })).expect("taken out");
        assert!(world.guests[&8200].config.contains_key("mp0"), "it runs");
        let guest = world.guests.get_mut(&8200).expect("there");
        guest.power = Power::Stopped;
        super::apply_pending(guest);
        assert_eq!(guest.config["unused0"], "local-lvm:vm-8200-disk-1");
        root(world, CONFIG, &json!({ "delete": "unused0" })).expect("removed");
        assert!(world.volume("local-lvm:vm-8200-disk-1", "pve3").is_none());
    }
}
