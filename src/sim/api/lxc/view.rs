//! What a container looks like from outside.

use crate::pve::property::PropertyString;
use crate::sim::api::cluster::resources::{cores, disk_size, memory, name};
use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use crate::sim::world::{Guest, GuestType, Power, World};
use serde_json::{Value, json};

/// How long after its start a container has its address.
const ADDRESS_SECONDS: u64 = 15;

fn row(world: &World, vmid: u32, guest: &Guest) -> Value {
    let on = guest.power != Power::Stopped;
    let live = |n: u64| if on { n } else { 0 };
    let swap = guest.config.get("swap").and_then(|s| s.parse::<u64>().ok()).unwrap_or(512) << 20;
    let memory = memory(guest);
    let mut row = json!({
        "vmid": vmid, "type": "lxc", "name": name(vmid, guest), "status": if on { "running" } else { "stopped" },
        "cpus": cores(world, guest), "cpu": if on { json!(0.01) } else { json!(0) },
        "maxmem": memory, "mem": live(memory / 8), "maxswap": swap, "swap": 0,
        "maxdisk": disk_size(guest), "disk": live(disk_size(guest) / 8),
        "uptime": live(world.clock_ms.saturating_sub(guest.started_ms) / 1000),
        "diskread": 0, "diskwrite": 0, "netin": 0, "netout": 0,
    });
    for key in ["tags", "lock"] {
        if let Some(value) = guest.config.get(key).filter(|v| !v.is_empty()) {
            row[key] = value.as_str().into();
        }
    }
    if guest.config.get("template").is_some_and(|t| t == "1") {
        row["template"] = 1.into();
    }
    if on {
        row["pid"] = guest.pid.into();
        // Pressure comes as text here, and as a number of a virtual machine.
        for what in ["cpusome", "cpufull", "iosome", "iofull", "memorysome", "memoryfull"] {
            row[format!("pressure{what}")] = "0.00".into();
        }
    }
    row
}

/// `GET /nodes/{node}/lxc`.
pub fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let here = ctx.world.guests.iter().filter(|(_, g)| g.guest_type == GuestType::Lxc && g.node == node);
    let visible = here.filter(|(vmid, _)| ctx.may(&format!("/vms/{vmid}"), &["VM.Audit"]));
    Ok(visible.map(|(vmid, g)| row(ctx.world, *vmid, g)).collect::<Vec<_>>().into())
}

/// `GET /nodes/{node}/lxc/{vmid}`.
pub fn index(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ctx.guest(args.text("node"), GuestType::Lxc, args.vmid())?;
    let names = [
        "config",
        "pending",
        "status",
        "vncproxy",
        "termproxy",
        "vncwebsocket",
        "spiceproxy",
        "migrate",
        "clone",
        "rrd",
        "rrddata",
        "firewall",
        "snapshot",
        "resize",
        "interfaces",
    ];
    Ok(names.iter().map(|n| json!({ "subdir": n })).collect::<Vec<_>>().into())
}

/// `GET …/status/current`.
pub fn current(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let vmid = args.vmid();
    let guest = ctx.guest(args.text("node"), GuestType::Lxc, vmid)?;
    let mut row = row(ctx.world, vmid, guest);
    row["ha"] = match ctx.world.tables.get("cluster/ha/resources").and_then(|t| t.get(&format!("ct:{vmid}"))) {
        None => json!({ "managed": 0 }),
        Some(resource) if resource["state"] == "ignored" => json!({ "managed": 0 }),
        Some(resource) => {
            json!({ "managed": 1, "state": resource["state"], "type": "ct", "sid": format!("ct:{vmid}") })
        }
    };
    Ok(row)
}

/// `GET …/interfaces`: the loopback and what the configuration names; addresses once the system is up.
pub fn interfaces(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let vmid = args.vmid();
    let guest = ctx.guest(args.text("node"), GuestType::Lxc, vmid)?;
    if guest.power == Power::Stopped {
        return Ok(Value::Null);
    }
    let up = ctx.world.clock_ms >= guest.started_ms + ADDRESS_SECONDS * 1000;
    let zero = "00:00:00:00:00:00";
    let mut rows = vec![json!({ "name": "lo", "hwaddr": zero, "hardware-address": zero, "ip-addresses": [] })];
    for (key, text) in guest.config.iter().filter(|(k, _)| super::config::numbered(k, "net")) {
        let net = PropertyString::parse(text, "");
        let mac = net.get("hwaddr").unwrap_or(zero).to_ascii_lowercase();
        let number: u32 = key[3..].parse().unwrap_or(0);
        let mut row = json!({
            "name": net.get("name").unwrap_or("eth0"), "hwaddr": mac, "hardware-address": mac, "ip-addresses": [],
        });
        let address = match net.get("ip") {
            Some("dhcp") => Some(format!("192.168.{}.{}/24", 10 + number, 2 + vmid % 250)),
            Some("manual") | None => None,
            Some(fixed) => Some(fixed.to_owned()),
        };
        if let Some(own) = guest.own_addresses(key).filter(|_| up) {
            let one = |(ip, prefix): &(&str, u8)| {
                let family = if ip.contains(':') { "inet6" } else { "inet" };
                json!({ "ip-address": ip, "ip-address-type": family, "prefix": prefix.to_string() })
            };
            row["ip-addresses"] = own.iter().map(one).collect();
        } else if let Some((ip, prefix)) = address.as_deref().filter(|_| up).and_then(|a| a.split_once('/')) {
            row["inet"] = format!("{ip}/{prefix}").into();
            row["ip-addresses"] = json!([{ "ip-address": ip, "ip-address-type": "inet", "prefix": prefix }]);
        }
        rows.push(row);
    }
    rows.extend(guest.own_cards().cloned());
    Ok(rows.into())
}

/// Whether snapshots of all of a container's volumes can be made: not of raw files in a plain folder.
pub fn can_snapshot(world: &World, guest: &Guest) -> bool {
    super::config::volumes(&guest.config).all(|(_, volid)| {
        let storage = world.storages.get(crate::sim::volume::storage_of(&volid));
        storage.is_some_and(|s| matches!(s.storage_type.as_str(), "btrfs" | "zfspool" | "lvmthin" | "rbd" | "zfs"))
    })
}

/// `GET …/feature`.
pub fn feature(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let guest = ctx.guest(args.text("node"), GuestType::Lxc, args.vmid())?;
    if let Some(name) = args.get("snapname").filter(|n| !guest.snapshots.contains_key(*n)) {
        return Err(Refusal::died(format!("snapshot '{name}' does not exist")));
    }
    let on_zfs = super::config::volumes(&guest.config).any(|(_, volid)| {
        let storage = ctx.world.storages.get(crate::sim::volume::storage_of(&volid));
        storage.is_some_and(|s| s.storage_type == "zfspool")
    });
    let has = match args.text("feature") {
        // ZFSPoolPlugin.pm, volume_has_feature: it copies a volume as it is, and none as it was.
        "copy" if args.get("snapname").is_some() => !on_zfs,
        "snapshot" => can_snapshot(ctx.world, guest),
        "clone" => guest.config.get("template").is_some_and(|t| t == "1") && can_snapshot(ctx.world, guest),
        _ => true,
    };
    Ok(json!({ "hasFeature": u8::from(has) }))
}
