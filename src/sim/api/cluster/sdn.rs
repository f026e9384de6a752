//! Software defined networks: zones, virtual networks, subnets. What is configured runs only after `PUT /cluster/sdn`.
//! An entry of a table is `{"config": {…} or null, "running": {…} or null}`.

use super::objects::{Object, fields};
use super::route;
use crate::sim::ctx::{Ctx, NewTask, digest_of};
use crate::sim::params::cluster::sdn as p;
use crate::sim::request::{Args, Check, Refusal, Route};
use crate::sim::task::{Effect, End};
use crate::sim::world::World;
use serde_json::{Map, Value, json};

const ZONES: &str = "cluster/sdn/zones";
const VNETS: &str = "cluster/sdn/vnets";
const SUBNETS: &str = "cluster/sdn/subnets";
const NUMBERS: &[&str] = &[
    "advertise-subnets",
    "bridge-disable-mac-learning",
    "disable-arp-nd-suppression",
    "dp-id",
    "exitnodes-local-routing",
    "isolate-ports",
    "mtu",
    "snat",
    "tag",
    "vlanaware",
    "vrf-vxlan",
    "vxlan-port",
];
const ZONES_WRITE: Check = Check::All("/sdn/zones", &["SDN.Allocate"]);
const ZONE_READ: Check = Check::All("/sdn/zones/{zone}", &["SDN.Audit"]);
const ZONE_WRITE: Check = Check::All("/sdn/zones/{zone}", &["SDN.Allocate"]);

/// The endpoints.
pub const ROUTES: &[Route] = &[
    route("GET", "/cluster/sdn", &[], Check::All("/sdn", &["SDN.Audit"]), index),
    route("PUT", "/cluster/sdn", &[p::APPLY], Check::All("/sdn", &["SDN.Allocate"]), apply),
    route("GET", "/cluster/sdn/zones", &[p::LIST, p::ZONES], Check::User, zones),
    route("POST", "/cluster/sdn/zones", &[p::ZONE, p::ZONE_NEW], ZONES_WRITE, create_zone),
    route("GET", "/cluster/sdn/zones/{zone}", &[p::GET], ZONE_READ, zone),
    route("PUT", "/cluster/sdn/zones/{zone}", &[p::ZONE, p::CHANGE], ZONE_WRITE, update_zone),
    route("DELETE", "/cluster/sdn/zones/{zone}", &[p::DELETE], ZONE_WRITE, delete_zone),
    route("GET", "/cluster/sdn/vnets", &[p::LIST], Check::User, vnets),
    route("POST", "/cluster/sdn/vnets", &[p::VNET, p::VNET_NEW], Check::User, create_vnet),
    route("GET", "/cluster/sdn/vnets/{vnet}", &[p::GET], Check::User, vnet),
    route("PUT", "/cluster/sdn/vnets/{vnet}", &[p::VNET, p::VNET_CHANGE, p::CHANGE], Check::User, update_vnet),
    route("DELETE", "/cluster/sdn/vnets/{vnet}", &[p::DELETE], Check::User, delete_vnet),
    route("GET", "/cluster/sdn/vnets/{vnet}/subnets", &[p::LIST], Check::User, subnets),
    route("POST", "/cluster/sdn/vnets/{vnet}/subnets", &[p::SUBNET, p::SUBNET_NEW], Check::User, create_subnet),
    route("GET", "/cluster/sdn/vnets/{vnet}/subnets/{subnet}", &[p::GET], Check::User, subnet),
    route("PUT", "/cluster/sdn/vnets/{vnet}/subnets/{subnet}", &[p::SUBNET, p::CHANGE], Check::User, update_subnet),
    route("DELETE", "/cluster/sdn/vnets/{vnet}/subnets/{subnet}", &[p::DELETE], Check::User, delete_subnet),
    route("GET", "/cluster/sdn/controllers", &[p::LIST], Check::User, nothing),
    route("GET", "/cluster/sdn/dns", &[], Check::User, nothing),
    route("GET", "/cluster/sdn/ipams", &[], Check::User, ipams),
    route("GET", "/nodes/{node}/sdn/zones", &[], Check::User, on_node),
    route("GET", "/nodes/{node}/sdn/zones/{zone}/content", &[], ZONE_READ, zone_content),
];

/// What its tasks do.
pub const EFFECTS: &[Effect] = &[Effect { name: "cluster.sdn", run: applied }];

fn index(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let names = ["vnets", "zones", "controllers", "ipams", "dns", "fabrics"];
    Ok(names.iter().map(|n| json!({ "id": n })).collect::<Vec<_>>().into())
}

fn nothing(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(json!([]))
}

fn ipams(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(json!([{ "ipam": "pve", "type": "pve", "digest": digest_of([]) }]))
}

fn part(entry: &Value, name: &str) -> Option<Object> {
    serde_json::from_value(entry.get(name)?.clone()).ok()
}

fn configured(ctx: &Ctx<'_>, table: &str, id: &str) -> Option<Object> {
    part(ctx.world.tables.get(table)?.get(id)?, "config")
}

fn keep(ctx: &mut Ctx<'_>, table: &str, id: &str, config: Option<&Object>) {
    let entry = ctx.world.table(table).entry(id.to_owned()).or_insert_with(|| json!({ "running": null }));
    entry["config"] = json!(config);
    if config.is_none() && entry["running"].is_null() {
        ctx.world.table(table).remove(id);
    }
}

fn digest(ctx: &Ctx<'_>, table: &str) -> String {
    let text = ctx.world.tables.get(table).map(|t| json!(t).to_string()).unwrap_or_default();
    digest_of([(&String::new(), &text)])
}

fn shown(object: &Object) -> Map<String, Value> {
    let mut out = super::objects::typed(object, NUMBERS);
    if let Some(ranges) = object.get("dhcp-range") {
        let split = |r: &str| -> Map<String, Value> {
            crate::pve::property::PropertyString::parse(r, "").iter().map(|(k, v)| (k.to_owned(), v.into())).collect()
        };
        out.insert("dhcp-range".to_owned(), ranges.split(';').map(|r| Value::Object(split(r))).collect());
    }
    out
}

/// An object as it is configured, as it runs, or with what is to change; `None` if it is not there in that view.
fn row(ctx: &Ctx<'_>, table: &str, key: &str, id: &str, args: &Args) -> Option<Value> {
    let entry = ctx.world.tables.get(table)?.get(id)?;
    let (config, running) = (part(entry, "config"), part(entry, "running"));
    let mut out = if args.on("running") {
        shown(&running?)
    } else if args.on("pending") {
        let mut out = running.as_ref().map(shown).unwrap_or_default();
        let (new, old) = (config.clone().unwrap_or_default(), running.clone().unwrap_or_default());
        let state = match (&config, &running) {
            (None, _) => Some("deleted"),
            (Some(_), None) => Some("new"),
            (Some(_), Some(_)) if new != old => Some("changed"),
            (Some(_), Some(_)) => None,
        };
        if let Some(state) = state {
            out.insert("state".to_owned(), state.into());
            let differs =
                |(k, v): &(&String, &Value)| *k != "type" && old.get(*k).map(|o| json!(o)) != Some((*v).clone());
            let mut pending: Map<String, Value> =
                shown(&new).iter().filter(differs).map(|(k, v)| (k.clone(), v.clone())).collect();
            for gone in old.keys().filter(|k| config.is_some() && !new.contains_key(*k)) {
                pending.insert(gone.clone(), "deleted".into());
            }
            out.insert("pending".to_owned(), pending.into());
        }
        if let Some(kind) = new.get("type").or_else(|| old.get("type")) {
            out.insert("type".to_owned(), kind.as_str().into());
        }
        out.insert("digest".to_owned(), Value::Null);
        out
    } else {
        let mut out = shown(&config?);
        out.insert("digest".to_owned(), digest(ctx, table).into());
        out
    };
    out.insert(key.to_owned(), id.into());
    Some(out.into())
}

fn list(ctx: &Ctx<'_>, table: &str, key: &str, args: &Args, wanted: impl Fn(&str) -> bool) -> Value {
    let ids: Vec<String> = ctx.world.tables.get(table).map(|t| t.keys().cloned().collect()).unwrap_or_default();
    ids.iter().filter(|id| wanted(id)).filter_map(|id| row(ctx, table, key, id, args)).collect()
}

fn absent(id: &str) -> Refusal {
    Refusal::died(format!("sdn '{id}' does not exist"))
}

/// A refusal with what it happened in.
fn within(what: &str, text: impl std::fmt::Display) -> Refusal {
    Refusal::died(format!("{what} object failed: {text}"))
}

const NESTED: &str = "400 Parameter verification failed.";

fn change(ctx: &mut Ctx<'_>, args: &Args, table: &str, id: &str, ids: &[&str]) -> Result<Object, Refusal> {
    let mut object = configured(ctx, table, id).ok_or_else(|| absent(id))?;
    super::objects::unchanged(args, &digest(ctx, table))?;
    for key in args.list("delete") {
        object.remove(key);
    }
    let ids: Vec<&str> = ids.iter().copied().chain(["lock-token"]).collect();
    object.extend(fields(args, &ids));
    Ok(object)
}

fn options(args: &Args, ids: &[&str]) -> Object {
    let ids: Vec<&str> = ids.iter().copied().chain(["lock-token"]).collect();
    let mut object = fields(args, &ids);
    // Which nodes a zone is on is a part of it, unlike the node of other requests.
    object.extend(args.get("nodes").map(|n| ("nodes".to_owned(), n.to_owned())));
    object
}

fn zones(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let wanted = |id: &str| {
        let path = format!("/sdn/zones/{id}");
        let kind = || configured(ctx, ZONES, id).and_then(|z| z.get("type").cloned());
        (ctx.may(&path, &["SDN.Audit"]) || ctx.may(&path, &["SDN.Allocate"]))
            && args.get("type").is_none_or(|t| kind().as_deref() == Some(t))
    };
    Ok(list(ctx, ZONES, "zone", args, wanted))
}

fn zone(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    row(ctx, ZONES, "zone", args.text("zone"), args).ok_or_else(|| absent(args.text("zone")))
}

fn create_zone(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (id, kind) = (args.text("zone"), args.text("type"));
    let required: &[&str] = match kind {
        "vlan" => &["bridge"],
        "qinq" => &["tag", "bridge"],
        "vxlan" => &["peers"],
        "evpn" => &["vrf-vxlan", "controller"],
        _ => &[],
    };
    if let Some(key) = required.iter().find(|k| args.get(k).is_none()) {
        return Err(Refusal::died(format!("missing value for required option '{key}'")));
    }
    if configured(ctx, ZONES, id).is_some() {
        return Err(within("create sdn zone", format!("sdn zone object ID '{id}' already defined")));
    }
    let object = options(args, &["zone"]);
    keep(ctx, ZONES, id, Some(&object));
    Ok(Value::Null)
}

fn update_zone(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let object = change(ctx, args, ZONES, args.text("zone"), &["zone"])?;
    keep(ctx, ZONES, args.text("zone"), Some(&object));
    Ok(Value::Null)
}

fn children(ctx: &Ctx<'_>, table: &str, key: &str, parent: &str) -> Option<String> {
    let entries = ctx.world.tables.get(table)?;
    let of_parent = |e: &Value| part(e, "config").is_some_and(|c| c.get(key).is_some_and(|p| p == parent));
    entries.iter().find(|(_, e)| of_parent(e)).map(|(id, _)| id.clone())
}

fn delete_zone(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("zone");
    if configured(ctx, ZONES, id).is_none() {
        return Err(within("delete sdn zone", format!("sdn '{id}' does not exist")));
    }
    if let Some(vnet) = children(ctx, VNETS, "zone", id) {
        let place = "/usr/share/perl5/PVE/Network/SDN/Zones/Plugin.pm line 149.";
        return Err(within("delete sdn zone", format!("zone {id} is used by vnet {vnet} at {place}")));
    }
    keep(ctx, ZONES, id, None);
    Ok(Value::Null)
}

/// Demands a privilege on a virtual network, by the zone that it is in.
fn vnet_right(ctx: &Ctx<'_>, vnet: &str, privilege: &str) -> Result<(), Refusal> {
    let zone = configured(ctx, VNETS, vnet).and_then(|v| v.get("zone").cloned()).unwrap_or_default();
    ctx.require(&format!("/sdn/zones/{zone}/{vnet}"), &[privilege])
}

fn vnets(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    Ok(list(ctx, VNETS, "vnet", args, |id| vnet_right(ctx, id, "SDN.Audit").is_ok()))
}

fn vnet(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("vnet");
    vnet_right(ctx, id, "SDN.Audit")?;
    row(ctx, VNETS, "vnet", id, args).ok_or_else(|| absent(id))
}

fn create_vnet(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (id, zone) = (args.text("vnet"), args.text("zone"));
    ctx.require(&format!("/sdn/zones/{zone}"), &["SDN.Allocate"])?;
    let failed = |text: String| within("create sdn vnet", text);
    if configured(ctx, VNETS, id).is_some() {
        return Err(failed(format!("sdn vnet object ID '{id}' already defined")));
    }
    let Some(parent) = configured(ctx, ZONES, zone) else {
        let place = "/usr/share/perl5/PVE/API2/Network/SDN/Vnets.pm line 326.";
        return Err(failed(format!("cannot lookup undefined type! at {place}")));
    };
    let simple = parent.get("type").is_some_and(|t| t == "simple");
    if args.get("tag").is_some() == simple {
        return Err(failed(NESTED.to_owned()));
    }
    let mut object = options(args, &["vnet"]);
    object.insert("type".to_owned(), "vnet".to_owned());
    keep(ctx, VNETS, id, Some(&object));
    Ok(Value::Null)
}

fn update_vnet(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    vnet_right(ctx, args.text("vnet"), "SDN.Allocate")?;
    let object = change(ctx, args, VNETS, args.text("vnet"), &["vnet"])?;
    keep(ctx, VNETS, args.text("vnet"), Some(&object));
    Ok(Value::Null)
}

fn delete_vnet(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("vnet");
    vnet_right(ctx, id, "SDN.Allocate")?;
    if configured(ctx, VNETS, id).is_none() {
        return Err(within("delete sdn vnet", format!("sdn '{id}' does not exist")));
    }
    if children(ctx, SUBNETS, "vnet", id).is_some() {
        return Err(within("delete sdn vnet", NESTED));
    }
    keep(ctx, VNETS, id, None);
    Ok(Value::Null)
}

fn subnets(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let vnet = args.text("vnet");
    vnet_right(ctx, vnet, "SDN.Audit")?;
    let of_vnet = |id: &str| {
        let entry = ctx.world.tables.get(SUBNETS).and_then(|t| t.get(id));
        let parts = entry.into_iter().flat_map(|e| [part(e, "config"), part(e, "running")]).flatten();
        parts.into_iter().any(|o| o.get("vnet").is_some_and(|v| v == vnet))
    };
    let mut rows = list(ctx, SUBNETS, "subnet", args, of_vnet);
    for row in rows.as_array_mut().into_iter().flatten() {
        complete(row);
    }
    Ok(rows)
}

/// What PVE derives from a subnet's id.
fn complete(row: &mut Value) {
    row["id"] = row["subnet"].clone();
    if let Some((network, mask)) = row["cidr"].as_str().and_then(|c| c.split_once('/')) {
        let (network, mask) = (network.to_owned(), mask.to_owned());
        row["network"] = network.into();
        row["mask"] = mask.into();
    }
    if row["dhcp-range"].is_null() {
        row["dhcp-range"] = json!([]);
    }
}

fn subnet(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("subnet");
    vnet_right(ctx, args.text("vnet"), "SDN.Audit")?;
    let mut row = row(ctx, SUBNETS, "subnet", id, args).ok_or_else(|| absent(id))?;
    complete(&mut row);
    Ok(row)
}

fn ranges(args: &Args, object: &mut Object) {
    // Arrays arrive joined with commas, and a range has one within.
    if let Some(text) = args.get("dhcp-range") {
        object.insert("dhcp-range".to_owned(), text.replace(",start-address", ";start-address"));
    }
}

fn create_subnet(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (vnet, cidr) = (args.text("vnet"), args.text("subnet"));
    vnet_right(ctx, vnet, "SDN.Allocate")?;
    let parent = configured(ctx, VNETS, vnet).ok_or_else(|| absent(vnet))?;
    let zone = parent.get("zone").cloned().unwrap_or_default();
    let id = format!("{zone}-{}", cidr.replace('/', "-"));
    if configured(ctx, SUBNETS, &id).is_some() {
        return Err(within("create sdn subnet", format!("sdn subnet object ID '{id}' already defined")));
    }
    let mut object = options(args, &["subnet"]);
    ranges(args, &mut object);
    for (key, value) in [("zone", zone.as_str()), ("vnet", vnet), ("cidr", cidr), ("type", "subnet")] {
        object.insert(key.to_owned(), value.to_owned());
    }
    keep(ctx, SUBNETS, &id, Some(&object));
    Ok(Value::Null)
}

fn update_subnet(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    vnet_right(ctx, args.text("vnet"), "SDN.Allocate")?;
    let mut object = change(ctx, args, SUBNETS, args.text("subnet"), &["subnet"])?;
    ranges(args, &mut object);
    keep(ctx, SUBNETS, args.text("subnet"), Some(&object));
    Ok(Value::Null)
}

fn delete_subnet(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    vnet_right(ctx, args.text("vnet"), "SDN.Allocate")?;
    if configured(ctx, SUBNETS, args.text("subnet")).is_none() {
        return Err(within("delete sdn subnet", format!("sdn '{}' does not exist", args.text("subnet"))));
    }
    keep(ctx, SUBNETS, args.text("subnet"), None);
    Ok(Value::Null)
}

fn apply(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let node = ctx.world.entry_node.clone();
    let line = format!("{node}: reloading network config");
    let task = NewTask::new(&node, "reloadnetworkall", "").takes_ms(3000).says(line);
    Ok(ctx.start(task.then("cluster.sdn", Value::Null)))
}

/// The end of an application: what is configured runs.
pub fn applied(world: &mut World, _: &Value, _: &mut Vec<String>) -> End {
    for table in [ZONES, VNETS, SUBNETS] {
        let entries = world.table(table);
        entries.retain(|_, entry| !entry["config"].is_null());
        for entry in entries.values_mut() {
            entry["running"] = entry["config"].clone();
        }
    }
    End::Ok
}

fn state(ctx: &Ctx<'_>, table: &str, id: &str) -> &'static str {
    let entry = ctx.world.tables.get(table).and_then(|t| t.get(id));
    if entry.is_some_and(|e| e["running"] == e["config"]) { "available" } else { "pending" }
}

fn on_node(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let ids = ctx.world.tables.get(ZONES).into_iter().flat_map(|t| t.keys());
    let visible = ids.filter(|z| ctx.may(&format!("/sdn/zones/{z}"), &["SDN.Audit"]));
    Ok(visible.map(|z| json!({ "zone": z, "status": state(ctx, ZONES, z) })).collect::<Vec<_>>().into())
}

fn zone_content(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let in_zone = |e: &Value| {
        [part(e, "config"), part(e, "running")]
            .iter()
            .flatten()
            .any(|o| o.get("zone").is_some_and(|z| z == args.text("zone")))
    };
    let found = ctx.world.tables.get(VNETS).into_iter().flatten().filter(|(_, e)| in_zone(e));
    let rows = found.map(|(id, _)| {
        let status = state(ctx, VNETS, id);
        let mut row = json!({ "vnet": id, "status": status });
        if status == "pending" {
            row["statusmsg"] = "local sdn network configuration is not yet generated, please reload".into();
        }
        row
    });
    Ok(rows.collect::<Vec<_>>().into())
}
