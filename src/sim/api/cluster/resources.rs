//! The index of everything, and its rows (pools show the same ones).

use crate::base::quantity::Bytes;
use crate::pve::property::PropertyString;
use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use crate::sim::world::{Guest, GuestType, Power, World};
use serde_json::{Value, json};

/// `GET /cluster/resources`: what may not be seen is left out without a word.
pub fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let wants = |kind: &str| args.get("type").is_none_or(|t| t == kind);
    let mut rows = Vec::new();
    if args.get("type").is_none() {
        for pool in ctx.world.pools.keys().filter(|p| ctx.may(&format!("/pool/{p}"), &["Pool.Audit"])) {
            rows.push(json!({ "type": "pool", "id": format!("/pool/{pool}"), "pool": pool }));
        }
    }
    if wants("vm") {
        for (vmid, guest) in &ctx.world.guests {
            if !ctx.may(&format!("/vms/{vmid}"), &["VM.Audit"]) {
                continue;
            }
            let mut row = guest_row(ctx.world, *vmid, guest);
            let pool = ctx.world.pool_of(*vmid);
            if let Some(pool) = pool.filter(|p| ctx.may(&format!("/pool/{p}"), &["Pool.Audit"])) {
                row["pool"] = pool.into();
            }
            rows.push(row);
        }
    }
    if wants("node") {
        // Every user sees all nodes, figures only with Sys.Audit.
        rows.extend(ctx.world.nodes.keys().map(|n| {
            let mut row = node_row(ctx.world, n);
            let online = row["status"] == "online";
            if !ctx.may(&format!("/nodes/{n}"), &["Sys.Audit"]) {
                row = json!({ "type": "node", "id": row["id"], "node": n, "status": row["status"] });
            }
            if online {
                row["level"] = "".into();
                row["cgroup-mode"] = 2.into();
            }
            row
        }));
    }
    if wants("storage") {
        for (id, storage) in &ctx.world.storages {
            if !ctx.may(&format!("/storage/{id}"), &["Datastore.Audit"]) || !storage.enabled() {
                continue;
            }
            let nodes = ctx.world.nodes.keys().filter(|n| storage.on_node(n));
            rows.extend(nodes.map(|n| storage_row(ctx.world, id, n)));
        }
    }
    if wants("sdn") {
        rows.extend(zone_rows(ctx));
    }
    Ok(rows.into())
}

fn zone_rows(ctx: &Ctx<'_>) -> Vec<Value> {
    let custom = ctx.world.tables.get("cluster/sdn/zones");
    let running = custom.iter().flat_map(|t| t.iter()).filter(|(_, z)| z.get("running").is_some_and(|r| !r.is_null()));
    let zones: Vec<String> =
        std::iter::once("localnetwork".to_owned()).chain(running.map(|(id, _)| id.clone())).collect();
    let mut rows = Vec::new();
    for zone in zones.iter().filter(|z| ctx.may(&format!("/sdn/zones/{z}"), &["SDN.Audit"])) {
        for (node, state) in &ctx.world.nodes {
            let status = match state.online {
                false => "unknown".to_owned(),
                true => super::sdn::nodes::zone_status(ctx.world, node, zone).unwrap_or_else(|| "ok".to_owned()),
            };
            rows.push(json!({
                "type": "network", "network-type": "zone", "id": format!("network/{node}/zone/{zone}"), "node": node,
                "network": zone, "status": status,
            }));
        }
    }
    rows
}

/// A node as the index and `/nodes` show it.
pub fn node_row(world: &World, name: &str) -> Value {
    let Some(node) = world.nodes.get(name) else { return Value::Null };
    if !node.online {
        return json!({ "type": "node", "id": format!("node/{name}"), "node": name, "status": "offline" });
    }
    let running: u64 = running_on(world, name).map(|g| memory(g) / 2).sum();
    // `local` is a folder of the root file system.
    let root = world.storages.get("local").filter(|s| s.storage_type == "dir");
    let (disk, room) = root.map_or((8 << 30, 64 << 30), |s| (world.storage_used("local", name), s.size));
    json!({
        "type": "node", "id": format!("node/{name}"), "node": name, "status": "online", "level": "",
        "cpu": cpu_load(world, name, node.cpus), "maxcpu": node.cpus,
        "mem": (node.memory / 16 + running).min(node.memory), "maxmem": node.memory,
        "disk": disk, "maxdisk": room, "uptime": (world.clock_ms.saturating_sub(node.boot_ms)) / 1000,
    })
}

fn running_on<'a>(world: &'a World, node: &'a str) -> impl Iterator<Item = &'a Guest> {
    world.guests.values().filter(move |g| g.node == node && g.power != Power::Stopped)
}

fn cpu_load(world: &World, node: &str, cpus: u32) -> f64 {
    let busy: f64 = running_on(world, node).map(|g| f64::from(cores(world, g)) * 0.02).sum();
    (0.01 + busy / f64::from(cpus.max(1))).min(1.0)
}

/// A guest's memory in bytes.
pub fn memory(guest: &Guest) -> u64 {
    let text = guest.config.get("memory").map(|m| m.strip_prefix("current=").unwrap_or(m));
    text.and_then(|m| m.split(',').next()).and_then(|m| m.parse::<u64>().ok()).unwrap_or(512) << 20
}

/// How many CPUs a guest has; a container without a limit has all of its node's.
pub fn cores(world: &World, guest: &Guest) -> u32 {
    let number = |key: &str| guest.config.get(key).and_then(|v| v.parse::<u32>().ok());
    match guest.guest_type {
        GuestType::Qemu => {
            let all = number("cores").unwrap_or(1) * number("sockets").unwrap_or(1);
            number("vcpus").unwrap_or(all)
        }
        GuestType::Lxc => {
            let all = world.nodes.get(&guest.node).map_or(1, |n| n.cpus);
            number("cores").or_else(|| number("cpulimit").filter(|n| *n > 0)).unwrap_or(all)
        }
    }
}

/// The size of the disk that a guest boots from; 0 if it has none.
pub fn disk_size(guest: &Guest) -> u64 {
    let size = |key: &str| {
        let text = guest.config.get(key)?;
        if text.contains("media=cdrom") {
            return None;
        }
        Bytes::parse(PropertyString::parse(text, "file").get("size")?).map(|b| b.0)
    };
    if guest.guest_type == GuestType::Lxc {
        return size("rootfs").unwrap_or(0);
    }
    let boot = guest.config.get("boot").map(|b| b.trim_start_matches("order=")).unwrap_or_default();
    let first = boot.split(';').find_map(&size);
    let any = || {
        guest.config.keys().filter(|k| {
            let bus = k.trim_end_matches(|c: char| c.is_ascii_digit());
            matches!(bus, "scsi" | "virtio" | "sata" | "ide")
        })
    };
    first.or_else(|| any().find_map(|k| size(k))).unwrap_or(0)
}

/// What a guest is called.
pub fn name(vmid: u32, guest: &Guest) -> String {
    let (key, default) = match guest.guest_type {
        GuestType::Qemu => ("name", format!("VM {vmid}")),
        GuestType::Lxc => ("hostname", format!("CT{vmid}")),
    };
    guest.config.get(key).cloned().unwrap_or(default)
}

/// A guest as the index shows it (without its pool).
pub fn guest_row(world: &World, vmid: u32, guest: &Guest) -> Value {
    let kind = guest.guest_type.as_str();
    let mut row = json!({ "type": kind, "id": format!("{kind}/{vmid}"), "vmid": vmid, "node": guest.node });
    if let Some(tags) = guest.config.get("tags").filter(|t| !t.is_empty()) {
        row["tags"] = tags.as_str().into();
    }
    if let Some(lock) = guest.config.get("lock") {
        row["lock"] = lock.as_str().into();
    }
    let sid = format!("{}:{vmid}", if guest.guest_type == GuestType::Qemu { "vm" } else { "ct" });
    if let Some(state) = super::ha::state(world, &sid) {
        row["hastate"] = state.into();
    }
    let known = match world.statistics_every_ms {
        _ if !world.nodes.get(&guest.node).is_some_and(|n| n.online) => None,
        0 => Some(figures(world, vmid, guest)),
        _ => world.statistics.get(&vmid).cloned(),
    };
    match known.as_ref().and_then(Value::as_object) {
        Some(known) => known.iter().for_each(|(key, value)| row[key] = value.clone()),
        None => row["status"] = "unknown".into(),
    }
    row
}

/// What a node's pvestatd finds out about a guest.
fn figures(world: &World, vmid: u32, guest: &Guest) -> Value {
    let on = guest.power != Power::Stopped;
    let memory = memory(guest);
    let live = |n: u64| if on { n } else { 0 };
    let lxc = guest.guest_type == GuestType::Lxc;
    json!({
        "status": if on { "running" } else { "stopped" }, "name": name(vmid, guest),
        "template": u8::from(guest.config.get("template").is_some_and(|t| t == "1")),
        "maxcpu": cores(world, guest), "cpu": if on { json!(0.01) } else { json!(0) },
        "maxmem": memory, "mem": live(memory / 2), "memhost": live(memory / 2),
        "maxdisk": disk_size(guest), "disk": live(if lxc { disk_size(guest) / 4 } else { 0 }),
        "uptime": live(world.clock_ms.saturating_sub(guest.started_ms) / 1000),
        "diskread": 0, "diskwrite": 0, "netin": 0, "netout": 0,
    })
}

impl World {
    /// Collects the figures of all guests, as every node does on its own.
    pub fn collect_statistics(&mut self) {
        let world = &*self;
        self.statistics = world.guests.iter().map(|(vmid, guest)| (*vmid, figures(world, *vmid, guest))).collect();
    }
}

/// A storage on a node as the index shows it.
pub fn storage_row(world: &World, id: &str, node: &str) -> Value {
    let Some(storage) = world.storages.get(id) else { return Value::Null };
    let online = world.nodes.get(node).is_some_and(|n| n.online);
    let mut row = json!({
        "type": "storage", "id": format!("storage/{node}/{id}"), "storage": id, "node": node,
        "plugintype": storage.storage_type, "shared": u8::from(storage.shared()),
        "content": storage.config.get("content").cloned().unwrap_or_default(),
        "status": if online { "available" } else { "unknown" },
    });
    if online {
        row["disk"] = world.storage_used(id, node).into();
        row["maxdisk"] = storage.size.into();
    }
    row
}
