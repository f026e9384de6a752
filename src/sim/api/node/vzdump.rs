//! Backups of guests.

use crate::pve::property::PropertyString;
use crate::sim::api::cluster::ha;
use crate::sim::api::storage::prune;
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::world::{GuestType, Volume, World};
use serde_json::{Value, json};

/// `POST /nodes/{node}/vzdump`.
pub fn start(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let vmids = args.list("vmid");
    if vmids.is_empty() && !args.on("all") && args.get("pool").is_none() {
        return Err(Refusal::param("vmid", "property is missing"));
    }
    for vmid in &vmids {
        ctx.require(&format!("/vms/{vmid}"), &["VM.Backup"]).or_else(|refusal| {
            // The storage is checked first where both are wanting.
            let storage = args.get("storage").unwrap_or("local");
            ctx.require(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
            Err(refusal)
        })?;
    }
    if let Some(storage) = args.get("storage") {
        ctx.require(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    }
    let chosen: Vec<u32> = if vmids.is_empty() {
        let excluded = args.list("exclude");
        let in_pool = |vmid: u32| args.get("pool").is_none_or(|p| ctx.world.pool_of(vmid) == Some(p));
        let here = ctx.world.guests.iter().filter(|(v, g)| g.node == node && in_pool(**v));
        here.map(|(v, _)| *v).filter(|v| !excluded.contains(&v.to_string().as_str())).collect()
    } else {
        vmids.iter().filter_map(|v| v.parse().ok()).collect()
    };
    let total: u64 =
        chosen.iter().filter_map(|v| ctx.world.guests.get(v)).map(crate::sim::api::cluster::resources::disk_size).sum();
    let id = if chosen.len() == 1 { chosen[0].to_string() } else { String::new() };
    // Each guest is locked while it is its turn. Turns are not told apart here, so only a run with one guest locks.
    let locks = match chosen.as_slice() {
        [vmid] => ctx.world.guests.get_mut(vmid).filter(|g| !g.config.contains_key("lock")),
        _ => None,
    };
    let locked = locks.map(|g| g.config.insert("lock".to_owned(), "backup".to_owned())).is_some();
    let told = json!({
        "locked": locked, "node": node, "vmids": chosen, "storage": args.get("storage").unwrap_or("local"),
        "compress": args.get("compress").unwrap_or("0"), "notes": args.get("notes-template"),
        "protected": args.on("protected"), "keep": args.get("prune-backups"),
        "mode": args.get("mode"), "remove": args.get("remove").is_none() || args.on("remove"),
    });
    // About 200 MiB a second.
    let task = NewTask::new(node, "vzdump", id).takes_ms(2000 + (total >> 20) * 5);
    Ok(ctx.start(task.says("INFO: starting new backup job: vzdump").then("node.vzdump", told)))
}

/// Takes the lock of a run away again.
pub fn unlock(world: &mut World, told: &Value) {
    let vmid = told["vmids"][0].as_u64().and_then(|v| u32::try_from(v).ok());
    if let Some(vmid) = vmid.filter(|_| told["locked"] == true) {
        world.edit_guest(vmid, "lock", None);
    }
}

/// The end of a backup run.
pub fn run(world: &mut World, told: &Value, lines: &mut Vec<String>) -> End {
    unlock(world, told);
    let node = told["node"].as_str().unwrap_or_default();
    let storage = told["storage"].as_str().unwrap_or_default();
    let Some(definition) = world.storages.get(storage) else {
        let text = format!("storage '{storage}' does not exist");
        return End::Failed(format!(
            "could not activate storage '{storage}': {text} could not get storage information for '{storage}': {text}"
        ));
    };
    if !definition.takes("backup") {
        return End::Failed(format!(
            "could not get storage information for '{storage}': can't use storage '{storage}' for backups - wrong content type"
        ));
    }
    let own = definition.config.get("prune-backups").map(String::as_str);
    let retention = PropertyString::parse(told["keep"].as_str().or(own).unwrap_or_default(), "");
    let (shared, room, pbs) = (definition.shared(), definition.size, definition.storage_type == "pbs");
    let stamp = timestamp(world.now(), "%Y_%m_%d-%H_%M_%S");
    let moment = timestamp(world.now(), "%Y-%m-%dT%H:%M:%SZ");
    let mut failed = false;
    for vmid in told["vmids"].as_array().into_iter().flatten().filter_map(Value::as_u64) {
        let Some((key, guest)) = u32::try_from(vmid).ok().and_then(|v| Some((v, world.guests.get(&v)?.clone()))) else {
            lines.push(format!("ERROR: Backup of VM {vmid} failed - unable to find VM '{vmid}'"));
            failed = true;
            continue;
        };
        let kind = guest.guest_type.as_str();
        let what = if guest.guest_type == GuestType::Lxc { "CT" } else { "VM" };
        lines.push(format!("INFO: Starting Backup of VM {vmid} ({kind})"));
        if let Some(lock) = guest.config.get("lock") {
            lines.push(format!("ERROR: Backup of VM {vmid} failed - {what} is locked ({lock})"));
            failed = true;
            continue;
        }
        let sid = format!("{}:{vmid}", if what == "CT" { "ct" } else { "vm" });
        if told["mode"] == "stop" && ha::state(world, &sid).is_some_and(|state| state == "started") {
            let why = "Cannot execute a backup with stop mode on a HA managed and enabled Service. Use snapshot mode or disable the Service.";
            lines.push(format!("ERROR: Backup of VM {vmid} failed - {why}"));
            failed = true;
            continue;
        }
        let ending = match (guest.guest_type, told["compress"].as_str().unwrap_or("0")) {
            (GuestType::Qemu, "zstd") => "vma.zst",
            (GuestType::Qemu, "gzip") => "vma.gz",
            (GuestType::Qemu, "lzo" | "1") => "vma.lzo",
            (GuestType::Qemu, _) => "vma",
            (GuestType::Lxc, "zstd") => "tar.zst",
            (GuestType::Lxc, "gzip") => "tar.gz",
            (GuestType::Lxc, "lzo" | "1") => "tar.lzo",
            (GuestType::Lxc, _) => "tar",
        };
        let size = crate::sim::api::cluster::resources::disk_size(&guest) / 8;
        if world.storage_used(storage, node) + size > room {
            lines.push(format!("ERROR: Backup of VM {vmid} failed - no space left on device"));
            failed = true;
            continue;
        }
        let lying = prune::marked(world, (node, storage), &retention, Some(key), Some(kind));
        let unprotected = lying.iter().filter(|row| row["mark"] != "protected").count();
        let (limit, protected) = (limit(&retention), told["protected"] == true);
        if limit > 0 && told["remove"] != true && !protected && unprotected >= limit {
            let why = format!(
                "There is a max backup limit of {limit} enforced by the target storage or the vzdump parameters. Either increase the limit or delete old backups."
            );
            lines.push(format!("ERROR: Backup of VM {vmid} failed - {why}"));
            failed = true;
            continue;
        }
        let volid = match pbs {
            true => format!("{storage}:backup/{}/{vmid}/{moment}", if what == "CT" { "ct" } else { "vm" }),
            false => format!("{storage}:backup/vzdump-{kind}-{vmid}-{stamp}.{ending}"),
        };
        let name = crate::sim::api::cluster::resources::name(key, &guest);
        let notes = told["notes"].as_str().map(|n| {
            n.replace("{{guestname}}", &name).replace("{{vmid}}", &vmid.to_string()).replace("{{node}}", node)
        });
        lines.push(format!("INFO: creating vzdump archive '{volid}'"));
        lines.push(format!("INFO: Finished Backup of VM {vmid} (00:00:01)"));
        let ctime = world.now();
        world.volumes.push(Volume {
            volid,
            node: (!shared).then(|| node.to_owned()),
            size,
            used: size,
            format: match (pbs, what) {
                (true, "CT") => "pbs-ct".to_owned(),
                (true, _) => "pbs-vm".to_owned(),
                (false, _) => ending.to_owned(),
            },
            content: "backup".to_owned(),
            vmid: Some(key),
            notes,
            protected: told["protected"] == true,
            ctime,
            bootable: guest.boot_seconds.is_some(),
            backup_of: Some(Box::new(guest)),
            ..Volume::default()
        });
        if told["remove"] == true {
            let rows = prune::marked(world, (node, storage), &retention, Some(key), Some(kind));
            let gone: Vec<Value> =
                rows.into_iter().filter(|row| row["mark"] == "remove").map(|row| row["volid"].clone()).collect();
            prune::pruned(world, &json!({ "node": node, "volids": gone }), lines);
        }
    }
    match failed {
        true => {
            lines.push("INFO: Backup job finished with errors".to_owned());
            End::Failed("job errors".to_owned())
        }
        false => {
            lines.push("INFO: Backup job finished successfully".to_owned());
            End::Ok
        }
    }
}

/// How many backups of a guest a retention lets stay; 0: any number.
fn limit(retention: &PropertyString) -> usize {
    let counts = retention.iter().filter(|(key, _)| key.starts_with("keep-") && *key != "keep-all");
    if retention.get("keep-all") == Some("1") { 0 } else { counts.filter_map(|(_, n)| n.parse::<usize>().ok()).sum() }
}

/// A moment as names of backups have it.
fn timestamp(seconds: u64, form: &str) -> String {
    let text = i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    text.map_or_else(String::new, |t| t.strftime(form).to_string())
}

/// `GET …/vzdump/defaults`.
pub fn defaults(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let storage = args.get("storage").and_then(|name| ctx.world.storages.get(name));
    let retention = storage.and_then(|s| s.config.get("prune-backups")).map_or("keep-all=1", String::as_str);
    Ok(json!({
        "all": 0, "bwlimit": 0, "compress": "0", "dumpdir": "/var/lib/vz/dump", "fleecing": { "enabled": 0 },
        "ionice": 7, "lockwait": 180, "mailnotification": "always", "mode": "snapshot", "notification-mode": "auto",
        "performance": { "max-workers": 16, "pbs-entries-max": 1_048_576 }, "pigz": 0,
        "prune-backups": retention, "quiet": 0, "remove": 1, "stdexcludes": 1, "stop": 0, "stopwait": 10,
        "storage": args.get("storage").unwrap_or("local"), "zstd": 1,
    }))
}

/// `GET …/vzdump/extractconfig`: the guest's configuration as text.
pub fn extract_config(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let volid = args.text("volume");
    crate::sim::api::storage::content::may_restore(ctx, volid, args.text("node"), 0)?;
    let found = ctx.world.volume(volid, args.text("node")).and_then(|v| v.backup_of.as_ref());
    let guest = found.ok_or_else(|| Refusal::died(format!("volume '{volid}' does not exist")))?;
    let mut text = String::new();
    for line in guest.config.get("description").iter().flat_map(|d| d.lines()) {
        text.push_str(&format!("#{}\n", encoded(line)));
    }
    for (key, value) in guest.config.iter().filter(|(k, _)| *k != "description") {
        text.push_str(&format!("{key}: {value}\n"));
    }
    Ok(text.into())
}

/// A line of notes as configuration files keep it (`PVE::Tools::encode_text`).
fn encoded(line: &str) -> String {
    let plain = |byte: u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'%' | b':');
    line.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
