//! Moving a container to another node; a running one is restarted there.

use crate::sim::api::cluster::ha;
use crate::sim::api::cluster::resources::disk_size;
use crate::sim::api::lxc::config;
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::volume::storage_of;
use crate::sim::world::{GuestType, Power, World};
use serde_json::{Value, json};

/// `GET …/migrate`.
pub fn check(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let guest = ctx.guest(node, GuestType::Lxc, args.vmid())?;
    let others = ctx.world.nodes.iter().filter(|(name, n)| *name != node && n.online).map(|(name, _)| name);
    Ok(json!({
        "running": u8::from(guest.power != Power::Stopped), "allowed-nodes": others.collect::<Vec<_>>(),
        "not-allowed-nodes": {}, "dependent-ha-resources": [],
    }))
}

/// `POST …/migrate`.
pub fn migrate(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, vmid, target) = (args.text("node"), args.vmid(), args.text("target"));
    if target == node {
        return Err(Refusal::param("target", "target is local node."));
    }
    match ctx.world.nodes.get(target) {
        None => return Err(Refusal::died(format!("no such cluster node '{target}'"))),
        Some(n) if !n.online => return Err(Refusal::died(format!("node '{target}' is not online"))),
        Some(_) => {}
    }
    let guest = ctx.guest(node, GuestType::Lxc, vmid)?.clone();
    config::unlocked(&guest)?;
    if guest.power != Power::Stopped && !args.on("online") && !args.on("restart") {
        return Err(Refusal::died("can't migrate running container without --online or --restart"));
    }
    let told = json!({ "vmid": vmid, "node": node, "target": target, "target-storage": args.get("target-storage") });
    let sid = format!("ct:{vmid}");
    if ha::is_managed(ctx.world, &sid) {
        let own = ha::Own { task_type: "vzmigrate", effect: "lxc.migrate", told };
        return Ok(ha::relocate(ctx, node, &sid, target, &own));
    }
    let ms = 5000 + (disk_size(&guest) >> 20) * 10;
    Ok(ctx.start(NewTask::new(node, "vzmigrate", vmid).takes_ms(ms).holds(vmid).then("lxc.migrate", told)))
}

/// The end of a migration.
pub fn migrated(world: &mut World, told: &Value, lines: &mut Vec<String>) -> End {
    let vmid = told["vmid"].as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
    let target = told["target"].as_str().unwrap_or_default().to_owned();
    let Some(guest) = world.guests.get(&vmid).cloned() else {
        return End::Failed(format!("CT {vmid} does not exist"));
    };
    let own: Vec<String> = config::volumes(&guest.config).map(|(_, v)| v).collect();
    for volid in &own {
        let storage = storage_of(volid);
        if let Err(refusal) = world.usable_storage(storage, &target) {
            lines.push(refusal.reason);
            return End::Failed("migration aborted".to_owned());
        }
    }
    for volume in world.volumes.iter_mut().filter(|v| own.contains(&v.volid) && v.node.as_deref() == Some(&guest.node))
    {
        volume.node = Some(target.clone());
    }
    let (pid, now) = (world.new_pid(), world.clock_ms);
    if let Some(guest) = world.guests.get_mut(&vmid) {
        guest.node = target;
        if guest.power != Power::Stopped {
            guest.started_ms = now;
            guest.pid = pid;
        }
    }
    lines.push("migration finished successfully".to_owned());
    End::Ok
}
