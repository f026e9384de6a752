//! Creation from a template or a backup, and removal.

use crate::sim::api::lxc::{clone, config, permit, power};
use crate::sim::api::references;
use crate::sim::api::storage::content;
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::volume::storage_of;
use crate::sim::world::{Guest, GuestType, Power, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The size of a root disk that nobody asked for, in GiB.
const DEFAULT_ROOTFS_GIB: u32 = 4;
/// A template smaller than this is no archive.
const SMALLEST_TEMPLATE: u64 = 64 << 10;

/// Refuses an id that is taken.
pub fn free_id(world: &World, vmid: u32) -> Result<(), Refusal> {
    match world.guests.get(&vmid) {
        None => Ok(()),
        Some(guest) => {
            let what = if guest.guest_type == GuestType::Lxc { "CT" } else { "VM" };
            Err(Refusal::died(format!("{what} {vmid} already exists on node '{}'", guest.node)))
        }
    }
}

/// Rights on what a new container's configuration names.
fn permitted(
    ctx: &Ctx<'_>,
    args: &Args,
    settings: &BTreeMap<String, String>,
    unprivileged: bool,
) -> Result<(), Refusal> {
    let vmid = args.vmid();
    if ctx.is_root() {
        return Ok(());
    }
    if let Some(features) = settings.get("features") {
        permit::permit(ctx, vmid, "features", Some(features), None, unprivileged)?;
    }
    for (key, text) in settings {
        let volume = config::volume_of(text);
        if config::is_mount(key) && volume.starts_with('/') {
            permit::permit(ctx, vmid, key, Some(text), None, unprivileged)?;
        } else if config::is_mount(key) {
            ctx.require(&format!("/storage/{}", storage_of(&volume)), &["Datastore.AllocateSpace"])?;
        } else if config::numbered(key, "dev") || matches!(key.as_str(), "hookscript" | "lock" | "template") {
            permit::permit(ctx, vmid, key, Some(text), None, unprivileged)?;
        } else if config::numbered(key, "net") {
            let net = crate::pve::property::PropertyString::parse(text, "");
            if let Some(bridge) = net.get("bridge") {
                ctx.require(&format!("/sdn/zones/localnetwork/{bridge}"), &["SDN.Use"])?;
            }
        }
    }
    Ok(())
}

/// `POST /nodes/{node}/lxc`.
pub fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid, template) = (args.text("node"), args.vmid(), args.text("ostemplate"));
    let restore = args.on("restore");
    let allowed = ctx.may(&format!("/vms/{vmid}"), &["VM.Allocate"])
        || args.get("pool").is_some_and(|p| ctx.may(&format!("/pool/{p}"), &["VM.Allocate"]))
        || restore
            && args.on("force")
            && ctx.world.guests.contains_key(&vmid)
            && ctx.may(&format!("/vms/{vmid}"), &["VM.Backup"]);
    if !allowed {
        return Err(Refusal::new(403, "Permission check failed"));
    }
    if let Some(pool) = args.get("pool") {
        ctx.require(&format!("/pool/{pool}"), &["VM.Allocate"])?;
        if !ctx.world.pools.contains_key(pool) {
            return Err(Refusal::died(format!("no such pool '{pool}'")));
        }
    }
    let again = ctx.world.guests.get(&vmid).filter(|g| restore && args.on("force") && g.guest_type == GuestType::Lxc);
    match again {
        None => free_id(ctx.world, vmid)?,
        Some(guest) if guest.power != Power::Stopped => {
            return Err(Refusal::died("can't overwrite running container"));
        }
        Some(guest) if guest.config.get("protection").is_some_and(|p| p == "1") => {
            return Err(Refusal::died(format!("unable to restore CT {vmid} - protection mode enabled")));
        }
        Some(guest) => {
            if let Some(lock) = guest.config.get("lock") {
                return Err(Refusal::died(format!("unable to restore CT {vmid} - CT is locked ({lock})")));
            }
        }
    }
    if args.get("ssh-public-keys").is_some_and(|k| !k.lines().all(|l| l.is_empty() || l.contains(' '))) {
        return Err(Refusal::died("SSH public key validation error"));
    }
    let extra = |k: &str| {
        matches!(
            k,
            "node"
                | "vmid"
                | "ostemplate"
                | "password"
                | "ssh-public-keys"
                | "storage"
                | "start"
                | "restore"
                | "pool"
                | "force"
                | "unique"
                | "bwlimit"
                | "ignore-unpack-errors"
                | "ha-managed"
        )
    };
    let settings: BTreeMap<String, String> =
        args.values.iter().filter(|(k, _)| !extra(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let unprivileged = settings.get("unprivileged").is_none_or(|u| u == "1");
    permitted(ctx, args, &settings, unprivileged)?;
    let storage = args.get("storage").unwrap_or("local");
    if !settings.contains_key("rootfs") {
        ctx.require(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    }
    if !template.contains(':') {
        let text = "Only root can pass arbitrary filesystem paths. at /usr/share/perl5/PVE/Storage.pm line 651.";
        return Err(Refusal::died(text));
    }
    for volume in settings.iter().filter(|(k, _)| config::is_mount(k)).map(|(_, v)| config::volume_of(v)) {
        if !volume.starts_with('/') {
            ctx.world.usable_storage(storage_of(&volume), node)?;
        }
    }
    if restore {
        content::may_restore(ctx, template, node, vmid)?;
    }
    let told = json!({
        "node": node, "vmid": vmid, "template": template, "storage": storage, "settings": settings,
        "start": args.on("start"), "restore": restore, "unique": args.on("unique"), "root": ctx.is_root(),
    });
    // `create_and_lock_config`: what is there is locked as it is, and goes only when its successor has its volumes.
    let reserved =
        || Guest { guest_type: GuestType::Lxc, node: node.to_owned(), config: BTreeMap::new(), ..Guest::default() };
    ctx.world.guests.entry(vmid).or_insert_with(reserved).config.insert("lock".to_owned(), "create".to_owned());
    if let Some(pool) = args.get("pool").and_then(|p| ctx.world.pools.get_mut(p)) {
        pool.guests.insert(vmid);
    }
    let (task_type, ms) = if restore { ("vzrestore", 8000) } else { ("vzcreate", 5000) };
    Ok(ctx.start(NewTask::new(node, task_type, vmid).takes_ms(ms).holds(vmid).then("lxc.create", told)))
}

/// The end of a creation: all or nothing. What was to be overwritten stays while nothing was made; after that its
/// configuration goes, and its volumes lie about (`destroy_config_on_error`).
pub fn created(world: &mut World, told: &Value, lines: &mut Vec<String>) -> End {
    let vmid = told["vmid"].as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
    let node = told["node"].as_str().unwrap_or_default().to_owned();
    let before: Vec<String> = world.volumes.iter().filter(|v| v.vmid == Some(vmid)).map(|v| v.volid.clone()).collect();
    let old = world.guests.get(&vmid).filter(|g| g.config.len() > 1).map(|g| g.config.clone()).unwrap_or_default();
    let mut begun = false;
    match build(world, told, (vmid, &node), &mut begun, lines) {
        Ok(()) => {
            for (_, volid) in config::volumes(&old) {
                if world.volume(&volid, &node).is_some_and(|v| v.vmid == Some(vmid)) {
                    world.free_volume(&volid, &node);
                }
            }
            if told["start"] == true {
                let (pid, now) = (world.new_pid(), world.clock_ms);
                if let Err(text) = power::start_now(world, vmid, pid, now) {
                    return End::Failed(text);
                }
            }
            End::Ok
        }
        Err(text) => {
            world.volumes.retain(|v| v.vmid != Some(vmid) || v.content != "rootdir" || before.contains(&v.volid));
            if begun || old.is_empty() {
                references::forget(world, vmid);
            } else {
                world.edit_guest(vmid, "lock", None);
            }
            End::Failed(format!(
                "unable to {} CT {vmid} - {text}",
                if told["restore"] == true { "restore" } else { "create" }
            ))
        }
    }
}

/// Makes it; `begun` is set when volumes are made.
fn build(
    world: &mut World,
    told: &Value,
    (vmid, node): (u32, &str),
    begun: &mut bool,
    lines: &mut Vec<String>,
) -> Result<(), String> {
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    let mut settings: BTreeMap<String, String> = serde_json::from_value(told["settings"].clone()).unwrap_or_default();
    let source = world.volume(&text("template"), node).cloned();
    let mut base: BTreeMap<String, String> = BTreeMap::new();
    if told["restore"] == true {
        let backup = source.as_ref().and_then(|v| v.backup_of.clone());
        let backup = backup.ok_or_else(|| format!("volume '{}' does not exist", text("template")))?;
        let mounts_sent = settings.keys().any(|key| config::is_mount(key));
        for (key, value) in &backup.config {
            if config::is_mount(key) && mounts_sent {
                // Whoever sends one, says all of them.
            } else if config::is_mount(key) && config::volume_of(value).starts_with('/') {
                if told["root"] != true {
                    return Err(format!("restoring '{key}' to bind mount is only possible for root"));
                }
                settings.entry(key.clone()).or_insert_with(|| value.clone());
            } else if config::is_mount(key) {
                let size = crate::pve::property::PropertyString::parse(value, "volume");
                let gib = size
                    .get("size")
                    .and_then(crate::base::quantity::Bytes::parse)
                    .map_or(1.0, |b| b.0 as f64 / f64::from(1 << 30));
                let mut parts = crate::pve::property::PropertyString::parse(value, "volume");
                parts.set("volume", format!("{}:{gib}", text("storage")));
                settings.entry(key.clone()).or_insert_with(|| parts.to_text("volume"));
            } else if config::numbered(key, "net") && told["unique"] == true {
                let mut parts = crate::pve::property::PropertyString::parse(value, "");
                parts.remove("hwaddr");
                base.insert(key.clone(), config::net(world, key, &parts.to_text("")));
            } else if !config::numbered(key, "unused") && !matches!(key.as_str(), "lock" | "parent" | "template") {
                base.insert(key.clone(), value.clone());
            }
        }
    }
    *begun = true;
    settings.entry("rootfs".to_owned()).or_insert_with(|| format!("{}:{DEFAULT_ROOTFS_GIB}", text("storage")));
    // The root disk is made first, then the mount points.
    let (root, others): (Vec<_>, Vec<_>) = settings.iter().partition(|(key, _)| *key == "rootfs");
    for (key, value) in root.into_iter().chain(others) {
        let value = match key.as_str() {
            // Tags are not normalised on creation.
            "tags" => value.clone(),
            _ => config::normal(world, node, vmid, key, value).map_err(|r| r.reason)?,
        };
        base.insert(key.clone(), value);
    }
    let source = source.ok_or_else(|| format!("volume '{}' does not exist", text("template")))?;
    lines.push(format!("extracting archive '{}'", crate::sim::api::storage::content::path_of(world, &source.volid)));
    if source.content == "vztmpl" && source.size < SMALLEST_TEMPLATE {
        return Err(no_archive(base.get("unprivileged").is_none_or(|u| u == "1"), vmid));
    }
    let system =
        ["debian", "devuan", "ubuntu", "centos", "fedora", "opensuse", "archlinux", "alpine", "gentoo", "nixos"];
    let named = system.iter().find(|s| source.volid.contains(**s)).copied().unwrap_or("unmanaged");
    if source.format == "toci" {
        // PVE takes these from the image, whatever is sent.
        base.insert("entrypoint".to_owned(), "/docker-entrypoint.sh nginx -g 'daemon off;'".to_owned());
        base.insert("env".to_owned(), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
        lines.push("Detected OCI archive".to_owned());
    }
    let mut default = |key: &str, value: &str| {
        base.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    };
    default("arch", "amd64");
    default("ostype", named);
    default("memory", "512");
    default("swap", "512");
    default("hostname", &format!("CT{vmid}"));
    // A backup knows whether it is; anything else is unless said.
    default("unprivileged", if told["restore"] == true { "0" } else { "1" });
    if base.get("unprivileged").is_some_and(|u| u == "0") {
        base.remove("unprivileged");
    }
    lines.push("Detected container architecture: amd64".to_owned());
    if let Some(guest) = world.guests.get_mut(&vmid) {
        guest.config = base;
        guest.config.retain(|key, text| key != "description" || !text.is_empty());
        guest.disk = source.backup_of.as_ref().map(|g| g.disk.clone()).unwrap_or_default();
        guest.snapshots.clear();
        guest.pending.clear();
        guest.boot_seconds = Some(5);
    }
    if told["restore"] == true && source.backup_of.as_ref().is_some_and(|g| g.config.contains_key("template")) {
        lines.push("Convert restored container to template...".to_owned());
        clone::make_template(world, vmid, node);
    }
    Ok(())
}

/// What tar says of a file that is no archive.
fn no_archive(unprivileged: bool, vmid: u32) -> String {
    let mapped = match unprivileged {
        true => "lxc-usernsexec -m u:0:100000:65536 -m g:0:100000:65536 -- ",
        false => "",
    };
    format!(
        "command '{mapped}tar xpf - -z --totals --one-file-system -p --sparse --numeric-owner --acls --xattrs \
         '--xattrs-include=user.*' '--xattrs-include=security.capability' '--warning=no-file-ignored' \
         '--warning=no-xattr-write' -C /var/lib/lxc/{vmid}/rootfs --skip-old-files --anchored --exclude './dev/*'' \
         failed: exit code 2"
    )
}

/// `DELETE /nodes/{node}/lxc/{vmid}`.
pub fn destroy(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid) = (args.text("node"), args.vmid());
    let guest = ctx.guest(node, GuestType::Lxc, vmid)?;
    config::unlocked(guest)?;
    if guest.config.get("protection").is_some_and(|p| p == "1") {
        return Err(Refusal::died(format!("can't remove CT {vmid} - protection mode enabled")));
    }
    if guest.power != Power::Stopped && !args.on("force") {
        return Err(Refusal::died(format!("unable to destroy CT {vmid} - container is running")));
    }
    if !args.on("purge") {
        references::none_left(ctx.world, GuestType::Lxc, vmid)?;
    }
    ctx.lock_file(vmid)?;
    let told = json!({ "node": node, "vmid": vmid, "purge": args.on("purge") });
    Ok(ctx.start(NewTask::new(node, "vzdestroy", vmid).takes_ms(1500).holds(vmid).then("lxc.destroy", told)))
}

/// The end of a removal.
pub fn destroyed(world: &mut World, told: &Value, lines: &mut Vec<String>) -> End {
    let vmid = told["vmid"].as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
    let node = told["node"].as_str().unwrap_or_default();
    let Some(guest) = world.guests.get(&vmid).cloned() else {
        return End::Failed(format!("Configuration file 'nodes/{node}/lxc/{vmid}.conf' does not exist"));
    };
    let own: Vec<String> = config::volumes(&guest.config).map(|(_, v)| v).collect();
    let base = own.iter().find(|v| world.volumes.iter().any(|o| o.parent.as_ref() == Some(v)));
    if let Some(base) = base {
        return End::Failed(format!("base volume '{base}' is still in use by linked cloned"));
    }
    for volid in &own {
        world.free_volume(volid, node);
    }
    if told["purge"] == true {
        references::purge(world, GuestType::Lxc, vmid, lines);
    }
    references::forget(world, vmid);
    End::Ok
}

#[cfg(test)]
mod tests {
    use crate::sim::api::lxc::config;
    use crate::sim::api::testing::{ended, refused, root};
    use crate::sim::baseline::{Baseline, build};
    use crate::sim::world::{Power, World};
    use serde_json::json;

    fn backed_up() -> (World, String) {
        let mut world = build(Baseline::Homelab);
        let made = json!({
            "vmid": 310, "ostemplate": "local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz", "hostname": "pg",
            "rootfs": "local-lvm:1", "mp0": "local-lvm:2,mp=/scratch", "unprivileged": 1,
        });
        assert_eq!(ended(&mut world, "POST /nodes/pve1/lxc", &made), "OK");
        assert_eq!(ended(&mut world, "POST /nodes/pve1/vzdump", &json!({ "vmid": 310, "storage": "nfs" })), "OK");
        let backup = world.volumes.iter().find(|v| v.content == "backup" && v.vmid == Some(310)).expect("taken");
        let backup = backup.volid.clone();
        (world, backup)
    }

    #[test]
    fn in_place_every_volume_of_a_container_is_new() {
        let (mut world, backup) = backed_up();
        let old: Vec<String> = config::volumes(&world.guests[&310].config).map(|(_, v)| v).collect();
        let again = json!({ "vmid": 310, "ostemplate": backup, "restore": 1, "force": 1, "storage": "local-lvm" });
        world.guests.get_mut(&310).expect("there").power = Power::Running;
        assert_eq!(refused(root(&mut world, "POST /nodes/pve1/lxc", &again)), "can't overwrite running container");
        world.guests.get_mut(&310).expect("there").power = Power::Stopped;
        world.edit_guest(310, "protection", Some("1"));
        let why = refused(root(&mut world, "POST /nodes/pve1/lxc", &again));
        assert_eq!(why, "unable to restore CT 310 - protection mode enabled");
        world.edit_guest(310, "protection", None);
        assert_eq!(ended(&mut world, "POST /nodes/pve1/lxc", &again), "OK");
        let new: Vec<String> = config::volumes(&world.guests[&310].config).map(|(_, v)| v).collect();
        assert_eq!((old.len(), new.len()), (2, 2));
        assert!(old.iter().all(|v| !world.volumes.iter().any(|w| w.volid == *v)), "the old ones are gone: {old:?}");
        assert_eq!(world.guests[&310].config["hostname"], "pg");
        assert!(!world.guests[&310].config.contains_key("lock"));
    }

    #[test]
    fn without_room_for_both_the_container_is_lost() {
        let (mut world, backup) = backed_up();
        let used = world.storage_used("local-lvm", "pve1");
        world.storages.get_mut("local-lvm").expect("there").size = used + 1;
        let again = json!({ "vmid": 310, "ostemplate": backup, "restore": 1, "force": 1, "storage": "local-lvm" });
        let end = ended(&mut world, "POST /nodes/pve1/lxc", &again);
        assert!(end.contains("not enough free space"), "{end}");
        assert!(!world.guests.contains_key(&310), "its configuration is gone");
        assert!(world.volumes.iter().any(|v| v.vmid == Some(310) && v.content == "rootdir"), "its volumes lie about");
    }
}
