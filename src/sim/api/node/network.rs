//! A node's network configuration: changes wait in `interfaces.new` until they are applied or reverted.

use crate::sim::api::cluster::sdn;
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::world::World;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

type Interfaces = BTreeMap<String, BTreeMap<String, Value>>;

const NEW: &str = "nodes/network.new";

fn waiting(world: &World, node: &str) -> Option<Interfaces> {
    let text = world.tables.get(NEW)?.get(node)?;
    serde_json::from_value(text.clone()).ok()
}

fn current(world: &World, node: &str) -> Interfaces {
    let running = || world.nodes.get(node).map(|n| n.interfaces.clone()).unwrap_or_default();
    waiting(world, node).unwrap_or_else(running)
}

fn store(world: &mut World, node: &str, interfaces: &Interfaces) {
    world.table(NEW).insert(node.to_owned(), json!(interfaces));
}

/// Whether guests on a node can be connected to a bridge: one of the node's own, or a virtual network that is up there.
pub fn has_bridge(world: &World, node: &str, bridge: &str) -> bool {
    world.nodes.get(node).is_some_and(|n| n.interfaces.contains_key(bridge)) || sdn::nodes::is_up(world, node, bridge)
}

/// `GET /nodes/{node}/network`. Bridges hide from who has no rights on them.
pub fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let audit = ctx.may(&format!("/nodes/{node}"), &["Sys.Audit"]);
    if waiting(ctx.world, node).is_some() {
        ctx.extra["changes"] = "--- /etc/network/interfaces\n+++ /etc/network/interfaces.new\n".into();
    }
    let wanted = args.get("type");
    let mut rows = Vec::new();
    for (name, fields) in current(ctx.world, node) {
        let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
        let bridge = matches!(kind, "bridge" | "OVSBridge");
        let fits = match wanted {
            None => true,
            Some("any_bridge" | "any_local_bridge" | "include_sdn") => bridge,
            Some(wanted) => wanted == kind,
        };
        let path = format!("/sdn/zones/localnetwork/{name}");
        let visible = audit || (bridge && (ctx.may(&path, &["SDN.Audit"]) || ctx.may(&path, &["SDN.Use"])));
        if fits && visible {
            let mut row: Map<String, Value> = fields.into_iter().collect();
            row.insert("iface".to_owned(), name.into());
            rows.push(Value::Object(row));
        }
    }
    Ok(rows.into())
}

/// `GET /nodes/{node}/network/{iface}`.
pub fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let found = current(ctx.world, args.text("node")).remove(args.text("iface"));
    let fields = found.ok_or_else(|| Refusal::param("iface", "interface does not exist"))?;
    Ok(fields.into_iter().collect::<Map<_, _>>().into())
}

fn fields(args: &Args, priority: usize) -> BTreeMap<String, Value> {
    let mut out: BTreeMap<String, Value> = BTreeMap::new();
    for (key, value) in args.values.iter().filter(|(k, _)| !matches!(k.as_str(), "node" | "iface" | "delete")) {
        let shown = match key.as_str() {
            "autostart" | "bridge_vlan_aware" => match value.as_str() {
                "1" => json!(1),
                _ => continue,
            },
            "comments" | "comments6" => format!("{value}\n").into(),
            _ => value.as_str().into(),
        };
        out.insert(key.clone(), shown);
    }
    if args.text("type") == "bridge" {
        out.entry("bridge_ports".to_owned()).or_insert_with(|| "".into());
        out.insert("bridge_stp".to_owned(), "off".into());
        out.insert("bridge_fd".to_owned(), "0".into());
    }
    let mut families = vec!["inet"];
    if let Some((address, mask)) = args.get("cidr").and_then(|c| c.split_once('/')) {
        out.insert("address".to_owned(), address.into());
        out.insert("netmask".to_owned(), mask.into());
    }
    if let Some((address, mask)) = args.get("cidr6").and_then(|c| c.split_once('/')) {
        out.insert("address6".to_owned(), address.into());
        out.insert("netmask6".to_owned(), mask.into());
        families.push("inet6");
    }
    let method = |on: bool| if on { "static" } else { "manual" };
    out.insert("method".to_owned(), method(args.get("cidr").is_some()).into());
    out.insert("method6".to_owned(), method(args.get("cidr6").is_some()).into());
    out.insert("families".to_owned(), families.into());
    out.insert("priority".to_owned(), priority.into());
    out
}

/// `POST /nodes/{node}/network`.
pub fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let mut all = current(ctx.world, node);
    if all.contains_key(args.text("iface")) {
        return Err(Refusal::param("iface", "interface already exists"));
    }
    let priority = all.len() + 3;
    all.insert(args.text("iface").to_owned(), fields(args, priority));
    store(ctx.world, node, &all);
    Ok(Value::Null)
}

/// `PUT /nodes/{node}/network/{iface}`: what is not sent is dropped, as PVE does.
pub fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let mut all = current(ctx.world, node);
    let name = args.text("iface");
    let old = all.get(name).ok_or_else(|| Refusal::param("iface", "interface does not exist"))?;
    let mut new = fields(args, 0);
    for key in ["priority", "active"] {
        if let Some(value) = old.get(key) {
            new.insert(key.to_owned(), value.clone());
        }
    }
    for key in args.list("delete") {
        new.remove(key);
    }
    all.insert(name.to_owned(), new);
    store(ctx.world, node, &all);
    Ok(Value::Null)
}

/// `DELETE /nodes/{node}/network/{iface}`.
pub fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let mut all = current(ctx.world, node);
    if all.remove(args.text("iface")).is_none() {
        return Err(Refusal::param("iface", "interface does not exist"));
    }
    store(ctx.world, node, &all);
    Ok(Value::Null)
}

/// `DELETE /nodes/{node}/network`: forgets what waits.
pub fn revert(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ctx.world.table(NEW).remove(args.text("node"));
    Ok(Value::Null)
}

/// `PUT /nodes/{node}/network`: applies what waits.
pub fn reload(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    super::apt::ifupdown2_fits(ctx.world, node).map_err(Refusal::died)?;
    let task = NewTask::new(node, "srvreload", "networking").takes_ms(2000);
    Ok(ctx.start(task.then("node.network", json!({ "node": node }))))
}

/// The reload's end.
pub fn apply(world: &mut World, told: &Value, _: &mut Vec<String>) -> End {
    let node = told["node"].as_str().unwrap_or_default();
    if let Some(mut interfaces) = waiting(world, node) {
        for fields in interfaces.values_mut() {
            fields.insert("active".to_owned(), 1.into());
        }
        if let Some(n) = world.nodes.get_mut(node) {
            n.interfaces = interfaces;
        }
        world.table(NEW).remove(node);
    }
    End::Ok
}
