//! Lists and status.

use super::disk::boot_disk_size;
use super::{drives, file_of};
use crate::sim::api::cluster::ha;
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::request::{Args, Refusal};
use crate::sim::router::may_see;
use crate::sim::world::{Guest, GuestType, Power, World};
use serde_json::{Value, json};

fn number(guest: &Guest, key: &str, default: u64) -> u64 {
    guest.config.get(key).and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// One row of the list, with what only `full` shows.
fn row(world: &World, vmid: u32, guest: &Guest, full: bool) -> Value {
    let on = guest.power != Power::Stopped;
    let memory = number(guest, "memory", 512) << 20;
    let used = if on { memory / 3 } else { 0 };
    let up = if on { world.clock_ms.saturating_sub(guest.started_ms) / 1000 } else { 0 };
    let mut row = json!({
        "vmid": vmid, "status": if on { "running" } else { "stopped" }, "cpu": 0, "uptime": up,
        "name": guest.config.get("name").cloned().unwrap_or_else(|| format!("VM {vmid}")),
        "cpus": number(guest, "vcpus", number(guest, "cores", 1) * number(guest, "sockets", 1)),
        "maxdisk": boot_disk_size(world, vmid), "disk": 0, "maxmem": memory, "mem": used, "memhost": used,
        "netin": 0, "netout": 0,
    });
    for key in ["tags", "lock"] {
        if let Some(value) = guest.config.get(key) {
            row[key] = value.as_str().into();
        }
    }
    if guest.config.get("template").is_some_and(|t| t == "1") {
        row["template"] = 1.into();
    }
    if on {
        row["pid"] = guest.pid.into();
        for key in ["cpusome", "cpufull", "iosome", "iofull", "memorysome", "memoryfull"] {
            row[format!("pressure{key}")] = 0.into();
        }
    }
    if full {
        row["qmpstatus"] = match guest.power {
            Power::Stopped => "stopped",
            Power::Running => "running",
            Power::Paused => "paused",
        }
        .into();
    }
    row
}

/// `GET /nodes/{node}/qemu`.
pub(super) fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let here = |g: &Guest| g.guest_type == GuestType::Qemu && g.node == node;
    let seen = ctx.world.guests.iter().filter(|(id, g)| here(g) && may_see(ctx.world, &ctx.user, **id));
    Ok(seen.map(|(id, g)| row(ctx.world, *id, g, args.on("full"))).collect())
}

/// `GET …/status/current`.
pub(super) fn current(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid) = (args.text("node"), args.vmid());
    let managed = ha::is_managed(ctx.world, &format!("vm:{vmid}"));
    let guest = ctx.guest(node, GuestType::Qemu, vmid)?;
    let mut out = row(ctx.world, vmid, guest, true);
    out["ha"] = json!({"managed": i32::from(managed)});
    let on = |v: &String| v.split(',').any(|p| p == "1" || p == "enabled=1");
    if guest.config.get("agent").is_some_and(on) {
        out["agent"] = 1.into();
    }
    if guest.power == Power::Stopped {
        return Ok(out);
    }
    let memory = out["maxmem"].clone();
    out["balloon"] = memory.clone();
    out["ballooninfo"] = json!({"actual": memory, "max_mem": memory});
    (out["diskread"], out["diskwrite"]) = (512.into(), 0.into());
    out["running-qemu"] = "10.0.13".into();
    out["running-machine"] = "pc-i440fx-10.0+pve1".into();
    let mut support = json!({"pbs-library-version": "stub"});
    for key in [
        "pbs-dirty-bitmap",
        "pbs-dirty-bitmap-savevm",
        "pbs-dirty-bitmap-migration",
        "query-bitmap-info",
        "backup-access-api",
        "pbs-masterkey",
        "backup-max-workers",
        "backup-fleecing",
    ] {
        support[key] = true.into();
    }
    out["proxmox-support"] = support;
    let mut nics = json!({});
    for card in (0..32).filter(|c| guest.config.contains_key(&format!("net{c}"))) {
        nics[format!("tap{vmid}i{card}")] = json!({"netin": 0, "netout": 0});
    }
    out["nics"] = nics;
    let mut blocks = json!({});
    for (key, _) in drives(&guest.config) {
        blocks[key] = block_statistics();
    }
    out["blockstat"] = blocks;
    Ok(out)
}

/// What QEMU counts for a drive, all at zero.
fn block_statistics() -> Value {
    let mut out = json!({"account_failed": true, "account_invalid": true, "timed_stats": [], "wr_highest_offset": 0, "flush_operations": 0});
    for what in ["rd", "wr", "unmap", "zone_append", "flush"] {
        out[format!("{what}_operations")] = 0.into();
        out[format!("{what}_total_time_ns")] = 0.into();
        out[format!("failed_{what}_operations")] = 0.into();
        out[format!("invalid_{what}_operations")] = 0.into();
        if what != "flush" {
            out[format!("{what}_bytes")] = 0.into();
            out[format!("{what}_merged")] = 0.into();
        }
    }
    out
}

/// `GET /nodes/{node}/qemu/{vmid}`.
pub(super) fn index(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    const BELOW: &[&str] = &[
        "config",
        "cloudinit",
        "pending",
        "status",
        "unlink",
        "vncproxy",
        "termproxy",
        "migrate",
        "resize",
        "move",
        "rrd",
        "rrddata",
        "monitor",
        "agent",
        "snapshot",
        "spiceproxy",
        "sendkey",
        "firewall",
        "mtunnel",
        "remote_migrate",
    ];
    Ok(BELOW.iter().map(|s| json!({"subdir": s})).collect())
}

/// `GET …/status`.
pub(super) fn status_index(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(["current", "start", "stop", "reset", "shutdown", "suspend", "reboot"]
        .iter()
        .map(|s| json!({"subdir": s}))
        .collect())
}

/// Whether a test of the storage's type and the volume's format holds for every disk.
fn every_disk(world: &World, guest: &Guest, test: &dyn Fn(&str, &str) -> bool) -> bool {
    drives(&guest.config).iter().filter(|(_, t)| !t.contains("media=cdrom")).all(|(_, text)| {
        let volume = world.volume(file_of(text), &guest.node);
        let storage = world.storages.get(crate::sim::volume::storage_of(file_of(text)));
        test(storage.map_or("", |s| s.storage_type.as_str()), volume.map_or("", |v| v.format.as_str()))
    })
}

/// Whether snapshots of all of a machine's disks can be made.
pub fn can_snapshot(world: &World, guest: &Guest) -> bool {
    let able =
        |storage: &str, format: &str| format == "qcow2" || matches!(storage, "lvmthin" | "btrfs" | "rbd" | "zfspool");
    every_disk(world, guest, &able)
}

/// `GET …/feature`.
pub(super) fn feature(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let guest = ctx.guest(node, GuestType::Qemu, args.vmid())?;
    let template = guest.config.get("template").is_some_and(|t| t == "1");
    if let Some(name) = args.get("snapname").filter(|n| !guest.snapshots.contains_key(*n)) {
        return Err(Refusal::died(format!("snapshot '{name}' does not exist")));
    }
    let has = match args.text("feature") {
        "snapshot" => can_snapshot(ctx.world, guest),
        "clone" => template,
        // ZFSPoolPlugin.pm, volume_has_feature: it copies a volume as it is, and none as it was.
        "copy" if args.get("snapname").is_some() => every_disk(ctx.world, guest, &|storage, _| storage != "zfspool"),
        _ => true,
    };
    let shared =
        drives(&guest.config).iter().all(|(_, t)| ctx.world.volume(file_of(t), node).is_some_and(|v| v.node.is_none()));
    let nodes: Vec<&str> = ctx.world.nodes.keys().map(String::as_str).filter(|n| shared || *n == node).collect();
    Ok(json!({"hasFeature": i32::from(has), "nodes": nodes}))
}

/// `GET …/rrddata`.
pub(super) fn rrddata(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ctx.guest(args.text("node"), GuestType::Qemu, args.vmid())?;
    let now = ctx.world.now() / 60 * 60;
    Ok((0..70).rev().map(|n| json!({"time": now - n * 60})).collect())
}

/// `POST …/monitor`.
pub(super) fn monitor(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ctx.require("/", &["Sys.Modify"])?;
    let guest = ctx.guest(args.text("node"), GuestType::Qemu, args.vmid())?;
    Ok(match guest.power {
        Power::Stopped => format!("ERROR: VM {} not running\n", args.vmid()).into(),
        Power::Running | Power::Paused => "VM status: running\r\n".into(),
    })
}

/// `POST …/vncproxy`: a ticket, and nobody behind the port.
pub(super) fn vncproxy(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid) = (args.text("node").to_owned(), args.vmid());
    ctx.guest(&node, GuestType::Qemu, vmid)?;
    let user = ctx.user.clone();
    let upid = ctx.start(NewTask::new(&node, "vncproxy", vmid).takes_ms(10_000));
    Ok(json!({
        "user": user, "port": "5900", "upid": upid, "ticket": "PVEVNC:6920A5F0::simulated",
        "cert": "-----BEGIN CERTIFICATE-----\nsimulated\n-----END CERTIFICATE-----\n",
    }))
}
