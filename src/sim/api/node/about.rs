//! What a node says about itself, and its power.

use crate::sim::api::cluster::ha;
use crate::sim::api::cluster::resources::node_row;
use crate::sim::api::cluster::{REPO_ID, VERSION};
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::inside::packages::KERNEL;
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::world::{GuestType, Power, World};
use serde_json::{Value, json};

/// `GET /nodes`: every user sees all names, figures only with Sys.Audit.
pub fn list(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let rows = ctx.world.nodes.keys().map(|name| {
        let audit = ctx.may(&format!("/nodes/{name}"), &["Sys.Audit"]);
        let row = node_row(ctx.world, name);
        let mut row = match audit {
            true => row,
            false => json!({ "type": "node", "id": format!("node/{name}"), "node": name, "status": row["status"] }),
        };
        let fingerprint = crate::sim::ctx::digest_of([(name, name)]).to_uppercase().repeat(2);
        let octets: Vec<&str> = (0..32).filter_map(|i| fingerprint.get(2 * i..2 * i + 2)).collect();
        let served = ctx.world.certificate.as_ref().and_then(|c| hex::decode(&c.certificate).ok());
        let shown = served.map_or_else(|| octets.join(":"), |der| crate::sim::serve::fingerprint(&der));
        row["ssl_fingerprint"] = shown.into();
        row
    });
    Ok(rows.collect::<Vec<_>>().into())
}

/// `GET /nodes/{node}`.
pub fn index(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let names = [
        "aplinfo",
        "apt",
        "capabilities",
        "ceph",
        "certificates",
        "config",
        "disks",
        "dns",
        "firewall",
        "hardware",
        "hosts",
        "journal",
        "lxc",
        "migrateall",
        "netstat",
        "network",
        "qemu",
        "query-oci-repo-tags",
        "query-url-metadata",
        "replication",
        "report",
        "rrd",
        "rrddata",
        "scan",
        "sdn",
        "services",
        "spiceshell",
        "startall",
        "status",
        "stopall",
        "storage",
        "subscription",
        "suspendall",
        "syslog",
        "tasks",
        "termproxy",
        "time",
        "version",
        "vncshell",
        "vzdump",
        "wakeonlan",
    ];
    Ok(names.iter().map(|n| json!({ "name": n })).collect::<Vec<_>>().into())
}

/// `GET /nodes/{node}/status`.
pub fn status(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let row = node_row(ctx.world, args.text("node"));
    let number = |key: &str| row[key].as_u64().unwrap_or(0);
    let (memory, used, cpus) = (number("maxmem"), number("mem"), number("maxcpu"));
    let (disk, disk_used) = (number("maxdisk"), number("disk"));
    let known = ctx.world.nodes.get(args.text("node")).map(|n| n.running_kernel.clone());
    let kernel = known.filter(|kernel| !kernel.is_empty()).unwrap_or_else(|| KERNEL.to_owned());
    let built = format!("#1 SMP PREEMPT_DYNAMIC PMX {} (2025-10-21T11:55Z)", kernel.trim_end_matches("-pve"));
    Ok(json!({
        "uptime": row["uptime"], "wait": 0, "idle": 0, "cpu": row["cpu"], "loadavg": ["0.10", "0.12", "0.09"],
        "kversion": format!("Linux {kernel} {built}"),
        "current-kernel": { "sysname": "Linux", "release": kernel, "version": built, "machine": "x86_64" },
        "boot-info": { "mode": "legacy-bios" }, "ksm": { "shared": 0 },
        "pveversion": format!("pve-manager/{VERSION}/{REPO_ID}"),
        "cpuinfo": {
            "model": "Simulated CPU", "vendor": "GenuineIntel", "family": "6", "mhz": "2600.000", "hvm": "1",
            "cores": cpus, "cpus": cpus, "sockets": 1, "user_hz": 100, "flags": "fpu vme de pse tsc msr pae vmx aes",
        },
        "memory": { "total": memory, "used": used, "free": memory - used, "available": memory - used },
        "swap": { "total": 0, "used": 0, "free": 0 },
        "rootfs": { "total": disk, "used": disk_used, "free": disk - disk_used, "avail": disk - disk_used },
    }))
}

/// `POST /nodes/{node}/status`: the node goes down, and after a reboot comes back.
pub fn command(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let told = json!({ "node": args.text("node"), "command": args.text("command") });
    ctx.start(NewTask::new(args.text("node"), "srvrestart", "power").takes_ms(DOWN_MS).then("node.power", told));
    Ok(Value::Null)
}

/// How long a node takes to stop its guests and itself.
const DOWN_MS: u64 = 20_000;

/// How long it takes from then to answer again.
const BOOT_MS: u64 = 100_000;

/// A node is down, with all that was on it; after a reboot it comes back later.
pub fn power(world: &mut World, told: &Value, _: &mut Vec<String>) -> End {
    let name = told["node"].as_str().unwrap_or_default();
    for guest in world.guests.values_mut().filter(|g| g.node == name) {
        (guest.power, guest.pid) = (Power::Stopped, 0);
    }
    if let Some(node) = world.nodes.get_mut(name) {
        node.online = false;
    }
    if told["command"] == "reboot" {
        let mut ctx = Ctx { world, user: "root@pam".to_owned(), task_fault: None, extra: json!({}) };
        ctx.start(NewTask::new(name, "boot", "").takes_ms(BOOT_MS).unseen().then("node.boot", json!({ "node": name })));
    }
    End::Ok
}

/// A node is up again, with the newest kernel, and starts what boots with it.
pub fn booted(world: &mut World, told: &Value, lines: &mut Vec<String>) -> End {
    let name = told["node"].as_str().unwrap_or_default();
    let now = world.clock_ms;
    if let Some(node) = world.nodes.get_mut(name) {
        (node.online, node.boot_ms) = (true, now);
        if let Some(kernel) = &node.disk.kernel {
            node.running_kernel.clone_from(kernel);
        }
    }
    let again: Vec<u32> = world.guests.iter().filter(|(_, g)| g.node == name).map(|(vmid, _)| *vmid).collect();
    let boots = |vmid: &u32| {
        let guest = &world.guests[vmid];
        let kind = if guest.guest_type == GuestType::Lxc { "ct" } else { "vm" };
        let started = ha::state(world, &format!("{kind}:{vmid}")).is_some_and(|s| s == "started" || s == "enabled");
        started || guest.config.get("onboot").is_some_and(|o| o == "1")
    };
    let again: Vec<u32> = again.into_iter().filter(boots).collect();
    for vmid in again {
        if let Err(text) = crate::sim::api::bulk::turn_on(world, vmid) {
            lines.push(format!("Starting {vmid} failed: {text}"));
        }
    }
    End::Ok
}

/// `…/rrddata`: times without figures, as a young PVE answers.
pub fn rrd(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let step = match args.text("timeframe") {
        "hour" => 60,
        "day" => 60 * 30,
        "week" => 3 * 3600,
        "month" => 12 * 3600,
        _ => 7 * 86_400,
    };
    let end = ctx.world.now() / step * step;
    Ok((0..60).map(|i| json!({ "time": end.saturating_sub((59 - i) * step) })).collect::<Vec<_>>().into())
}

/// `GET /nodes/{node}/subscription`.
pub fn subscription(_: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node").to_owned();
    let id = crate::sim::ctx::digest_of([(&node, &node)]).to_uppercase();
    Ok(json!({
        "status": "notfound", "message": "There is no subscription key", "serverid": &id[..32],
        "url": "https://www.proxmox.com/en/proxmox-virtual-environment/pricing",
    }))
}

/// An empty list that is true of this cluster.
pub fn nothing(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(json!([]))
}
