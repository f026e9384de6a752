//! Maintenance of nodes: what the HA manager looks after is taken away from them, and brought back when it is over. No call of the
//! API says so; `ha-manager` on a node does.

use super::{DEED_MS, RESOURCES, ROUND_MS, daemon, is_managed};
use crate::sim::ctx::NewTask;
use crate::sim::task::End;
use crate::sim::world::{Power, World};
use serde_json::{Value, json};

/// The nodes in maintenance, and the nodes that resources were taken away from because of one.
const MAINTENANCE: &str = "cluster/ha/maintenance";

/// `ha-manager crm-command node-maintenance`: written down at once, seen in the manager's next round.
pub fn set(world: &mut World, node: &str, enable: bool) {
    match enable {
        true => drop(world.table(MAINTENANCE).insert(node.to_owned(), json!({}))),
        false => drop(world.table(MAINTENANCE).remove(node)),
    }
    let round = NewTask::new(node, "ha-manager", "").takes_ms(ROUND_MS).unseen();
    daemon(world).start(round.then("cluster.ha.maintenance", json!({})));
}

/// Whether a node is in maintenance.
pub(super) fn is_on(world: &World, node: &str) -> bool {
    world.tables.get(MAINTENANCE).is_some_and(|t| t.contains_key(node))
}

/// The manager's round about maintenance: what it looks after goes away from such nodes, and comes back to those that are
/// so no more.
pub(super) fn round(world: &mut World, _: &Value, _: &mut Vec<String>) -> End {
    let managed: Vec<String> = world.table(RESOURCES).keys().cloned().collect();
    for sid in managed {
        if !is_managed(world, &sid) {
            continue;
        }
        let vmid = sid.split_once(':').and_then(|(_, n)| n.parse::<u32>().ok()).unwrap_or(0);
        let Some(guest) = world.guests.get(&vmid) else { continue };
        let (from, running) = (guest.node.clone(), guest.power != Power::Stopped);
        let home = world.table(RESOURCES).get(&sid).and_then(|r| r["maintenance-node"].as_str().map(str::to_owned));
        let away = is_on(world, &from);
        let target = match &home {
            Some(home) if !is_on(world, home) => Some(home.clone()),
            _ if away => {
                let able = |n: &&String| **n != from && world.nodes[*n].online && !is_on(world, n);
                world.nodes.keys().find(able).cloned()
            }
            _ => None,
        };
        let Some(target) = target.filter(|t| world.nodes.get(t).is_some_and(|n| n.online)) else { continue };
        if let Some(resource) = world.table(RESOURCES).get_mut(&sid) {
            match away {
                true if home.is_none() => resource["maintenance-node"] = from.as_str().into(),
                true => {}
                false => drop(resource.as_object_mut().and_then(|r| r.remove("maintenance-node"))),
            }
        }
        if target == from {
            continue;
        }
        let (task_type, effect) =
            if sid.starts_with("ct") { ("vzmigrate", "lxc.migrate") } else { ("qmigrate", "qemu.migrate") };
        let told = json!({ "node": from, "vmid": vmid, "target": target, "sid": sid, "online": running });
        let task = NewTask::new(&from, task_type, vmid).takes_ms(DEED_MS);
        daemon(world).start(task.then(effect, told));
    }
    End::Ok
}

/// The rows of the local resource managers in a cluster's HA status (`PVE::API2::HA::Status`).
pub(super) fn local_managers(world: &World) -> Vec<Value> {
    let busy = |name: &str| {
        let number = |sid: &String| sid.split_once(':').and_then(|(_, n)| n.parse::<u32>().ok());
        let managed = world.tables.get(RESOURCES).into_iter().flat_map(|t| t.keys());
        managed.filter_map(number).any(|vmid| world.guests.get(&vmid).is_some_and(|g| g.node == name))
    };
    let nodes = world.nodes.keys().filter(|_| world.cluster.is_some());
    nodes
        .map(|name| {
            let state = match (is_on(world, name), busy(name)) {
                (true, _) => "maintenance mode",
                (false, true) => "active",
                (false, false) => "idle",
            };
            let now = world.now();
            json!({
                "id": format!("lrm:{name}"), "type": "lrm", "node": name, "timestamp": now,
                "status": format!("{name} ({state}, {now})"),
            })
        })
        .collect()
}

/// What the manager makes of each node.
pub(super) fn node_status(world: &World) -> Value {
    let state = |name: &str, online: bool| match (online, is_on(world, name)) {
        (false, _) => "unknown",
        (true, true) => "maintenance",
        (true, false) => "online",
    };
    let nodes = world.nodes.iter().filter(|_| world.cluster.is_some());
    nodes
        .map(|(name, node)| (name.clone(), Value::from(state(name, node.online))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
