//! Applying what is configured, and what of it each node has brought up.
//!
//! `PUT /cluster/sdn` makes the configuration the running one and asks every node to generate its interfaces from it.
//! The table `nodes/sdn` keeps what a node generated last; a node that cannot stays behind, and its guests do not find
//! the new networks.

use super::{VNETS, ZONES, lock, part};
use crate::sim::api::node::apt::ifupdown2_fits;
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::world::World;
use serde_json::{Map, Value, json};

const GENERATED: &str = "nodes/sdn";

/// `PUT /cluster/sdn`.
pub(super) fn apply(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    lock::commit(ctx, args)?;
    let node = ctx.world.entry_node.clone();
    let task = NewTask::new(&node, "reloadnetworkall", "").takes_ms(3000);
    Ok(ctx.start(task.then("cluster.sdn", Value::Null)))
}

/// All that runs.
fn configuration(world: &World) -> Value {
    let mut running = Map::new();
    for table in [ZONES, VNETS] {
        let entries = world.tables.get(table).into_iter().flatten();
        let entries = entries.filter(|(_, e)| !e["running"].is_null());
        let objects: Map<String, Value> = entries.map(|(id, e)| (id.clone(), e["running"].clone())).collect();
        running.insert(table.to_owned(), objects.into());
    }
    running.into()
}

/// The end of an application.
pub(super) fn applied(world: &mut World, _: &Value, lines: &mut Vec<String>) -> End {
    let running = configuration(world);
    let nodes: Vec<String> = world.nodes.iter().filter(|(_, n)| n.online).map(|(name, _)| name.clone()).collect();
    for node in nodes {
        lines.push(format!("{node}: reloading network config"));
        match ifupdown2_fits(world, &node) {
            Ok(()) => {
                world.table(GENERATED).insert(node, running.clone());
            }
            Err(text) => {
                lines.push(text);
                lines.push(format!(
                    "command 'pvesh set /nodes/{node}/network --regenerate-frr 0' failed: exit code 255"
                ));
            }
        }
    }
    End::Ok
}

/// Whether a virtual network is up on a node, as a bridge for guests.
pub fn is_up(world: &World, node: &str, vnet: &str) -> bool {
    world.tables.get(GENERATED).and_then(|t| t.get(node)).is_some_and(|g| g[VNETS][vnet].is_object())
}

/// The state of what runs on a node.
fn state(world: &World, node: &str) -> Value {
    let generated = world.tables.get(GENERATED).and_then(|t| t.get(node));
    match generated {
        None => json!({
            "status": "pending",
            "statusmsg": "local sdn network configuration is not yet generated, please reload",
        }),
        // PVE compares one version for all.
        Some(g) if *g == configuration(world) => json!({ "status": "available" }),
        Some(_) => json!({
            "status": "pending",
            "statusmsg": "local sdn network configuration is too old, please reload",
        }),
    }
}

/// A running zone's state on a node; `None` if there is no such zone.
pub fn zone_status(world: &World, node: &str, zone: &str) -> Option<String> {
    running(world, ZONES).find(|(id, _)| *id == zone)?;
    state(world, node)["status"].as_str().map(str::to_owned)
}

/// The objects of a table that run, by id.
fn running<'w>(world: &'w World, table: &str) -> impl Iterator<Item = (&'w String, &'w Value)> {
    let entries = world.tables.get(table).into_iter().flatten();
    entries.map(|(id, e)| (id, &e["running"])).filter(|(_, r)| r.is_object())
}

/// `GET /nodes/{node}/sdn/zones`.
pub(super) fn zones(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let visible = running(ctx.world, ZONES).filter(|(z, _)| {
        let path = format!("/sdn/zones/{z}");
        ctx.may(&path, &["SDN.Audit"]) || ctx.may(&path, &["SDN.Allocate"])
    });
    let rows = visible.map(|(id, _)| json!({ "zone": id, "status": state(ctx.world, node)["status"] }));
    Ok(rows.collect::<Vec<_>>().into())
}

/// `GET /nodes/{node}/sdn/zones/{zone}/content`.
pub(super) fn content(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, zone) = (args.text("node"), args.text("zone"));
    let in_zone = |id: &str| {
        let entry = ctx.world.tables.get(VNETS).and_then(|t| t.get(id));
        entry.and_then(|e| part(e, "running")).is_some_and(|o| o.get("zone").is_some_and(|z| z == zone))
    };
    let rows = running(ctx.world, VNETS).filter(|(id, _)| in_zone(id)).map(|(id, _)| {
        let mut row = state(ctx.world, node);
        row["vnet"] = id.as_str().into();
        row
    });
    Ok(rows.collect::<Vec<_>>().into())
}

#[cfg(test)]
mod tests {
    use crate::sim::api::testing::{ended, root};
    use crate::sim::baseline::{Baseline, build};
    use crate::sim::world::Power;
    use serde_json::json;

    #[test]
    fn a_network_is_there_for_guests_once_its_node_has_generated_it() {
        let world = &mut build(Baseline::Homelab);
        world.guests.get_mut(&8100).expect("there").power = Power::Stopped;
        world.edit_guest(8100, "net0", Some("virtio=BC:24:11:00:81:00,bridge=vn1"));
        root(world, "POST /cluster/sdn/zones", &json!({ "zone": "z1", "type": "simple" })).expect("a zone");
        root(world, "POST /cluster/sdn/vnets", &json!({ "vnet": "vn1", "zone": "z1" })).expect("a network");
        let start = "POST /nodes/pve2/qemu/8100/status/start";
        assert_eq!(ended(world, start, &json!({})), "bridge 'vn1' does not exist");
        assert_eq!(ended(world, "PUT /cluster/sdn", &json!({})), "OK");
        let state = root(world, "GET /nodes/pve2/sdn/zones", &json!({})).expect("zones");
        assert_eq!(state, json!([{ "zone": "z1", "status": "available" }]));
        assert_eq!(ended(world, start, &json!({})), "OK");
    }
}
