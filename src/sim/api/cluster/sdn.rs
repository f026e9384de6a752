//! Software defined networks: zones, virtual networks, subnets. What is configured runs only after `PUT /cluster/sdn`.
//! An entry of a table is `{"config": {…} or null, "running": {…} or null}`.

mod lock;
pub mod nodes;
mod subnets;
mod vnets;
mod zones;

use super::objects::{Object, fields};
use super::route;
use crate::sim::ctx::{Ctx, digest_of};
use crate::sim::params::cluster::sdn as p;
use crate::sim::request::{Args, Check, Refusal, Route};
use crate::sim::task::Effect;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

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
/// What never waits (`PVE::Network::SDN::pending_config`).
const AT_THE_TOP: [&str; 2] = ["type", "vnet"];
const ZONES_WRITE: Check = Check::All("/sdn/zones", &["SDN.Allocate"]);
const ZONE_READ: Check = Check::All("/sdn/zones/{zone}", &["SDN.Audit"]);
const ZONE_WRITE: Check = Check::All("/sdn/zones/{zone}", &["SDN.Allocate"]);

/// The endpoints.
pub const ROUTES: &[Route] = &[
    route("GET", "/cluster/sdn", &[], Check::All("/sdn", &["SDN.Audit"]), index),
    route("PUT", "/cluster/sdn", &[p::APPLY], Check::All("/sdn", &["SDN.Allocate"]), nodes::apply),
    route("POST", "/cluster/sdn/lock", &[p::TAKE], Check::All("/sdn", &["SDN.Allocate"]), lock::take),
    route("DELETE", "/cluster/sdn/lock", &[p::RELEASE], Check::All("/sdn", &["SDN.Allocate"]), lock::release),
    route("POST", "/cluster/sdn/rollback", &[p::APPLY], Check::All("/sdn", &["SDN.Allocate"]), lock::rollback),
    route("GET", "/cluster/sdn/zones", &[p::LIST, p::ZONES], Check::User, zones::all),
    route("POST", "/cluster/sdn/zones", &[p::ZONE, p::ZONE_NEW], ZONES_WRITE, zones::create),
    route("GET", "/cluster/sdn/zones/{zone}", &[p::GET], ZONE_READ, zones::get),
    route("PUT", "/cluster/sdn/zones/{zone}", &[p::ZONE, p::CHANGE], ZONE_WRITE, zones::update),
    route("DELETE", "/cluster/sdn/zones/{zone}", &[p::DELETE], ZONE_WRITE, zones::delete),
    route("GET", "/cluster/sdn/vnets", &[p::LIST], Check::User, vnets::all),
    route("POST", "/cluster/sdn/vnets", &[p::VNET, p::VNET_NEW], Check::User, vnets::create),
    route("GET", "/cluster/sdn/vnets/{vnet}", &[p::GET], Check::User, vnets::get),
    route("PUT", "/cluster/sdn/vnets/{vnet}", &[p::VNET, p::VNET_CHANGE, p::CHANGE], Check::User, vnets::update),
    route("DELETE", "/cluster/sdn/vnets/{vnet}", &[p::DELETE], Check::User, vnets::delete),
    route("GET", "/cluster/sdn/vnets/{vnet}/subnets", &[p::LIST], Check::User, subnets::all),
    route("POST", "/cluster/sdn/vnets/{vnet}/subnets", &[p::SUBNET, p::SUBNET_NEW], Check::User, subnets::create),
    route("GET", "/cluster/sdn/vnets/{vnet}/subnets/{subnet}", &[p::GET], Check::User, subnets::get),
    route("PUT", "/cluster/sdn/vnets/{vnet}/subnets/{subnet}", &[p::SUBNET, p::CHANGE], Check::User, subnets::update),
    route("DELETE", "/cluster/sdn/vnets/{vnet}/subnets/{subnet}", &[p::DELETE], Check::User, subnets::delete),
    route("GET", "/cluster/sdn/controllers", &[p::LIST], Check::User, nothing),
    route("GET", "/cluster/sdn/dns", &[], Check::User, nothing),
    route("GET", "/cluster/sdn/ipams", &[], Check::User, ipams),
    route("GET", "/nodes/{node}/sdn/zones", &[], Check::User, nodes::zones),
    route("GET", "/nodes/{node}/sdn/zones/{zone}/content", &[], ZONE_READ, nodes::content),
];

/// What its tasks do.
pub const EFFECTS: &[Effect] = &[Effect { name: "cluster.sdn", run: nodes::applied }];

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

/// An option that is an array: its elements are kept as texts.
const RANGES: &str = "dhcp-range";

fn shown(object: &Object) -> Map<String, Value> {
    let mut out = super::objects::typed(object, NUMBERS);
    super::objects::arrays(object, &[RANGES], &mut out);
    out
}

/// Whether an option means the same: of an array the order does not count (`PVE::Network::SDN::encode_value`).
fn same(key: &str, a: Option<&String>, b: Option<&String>) -> bool {
    let sorted = |text: &String| text.split('\0').map(str::to_owned).collect::<BTreeSet<_>>();
    if key == RANGES { a.map(sorted) == b.map(sorted) } else { a == b }
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
            (Some(_), Some(_)) if new.keys().chain(old.keys()).any(|k| !same(k, new.get(k), old.get(k))) => {
                Some("changed")
            }
            (Some(_), Some(_)) => None,
        };
        if let Some(state) = state {
            out.insert("state".to_owned(), state.into());
            let differs =
                |(k, _): &(&String, &Value)| !AT_THE_TOP.contains(&k.as_str()) && !same(k, new.get(*k), old.get(*k));
            let mut pending: Map<String, Value> =
                shown(&new).iter().filter(differs).map(|(k, v)| (k.clone(), v.clone())).collect();
            for gone in old.keys().filter(|k| config.is_some() && !new.contains_key(*k)) {
                pending.insert(gone.clone(), "deleted".into());
            }
            out.insert("pending".to_owned(), pending.into());
        }
        for key in AT_THE_TOP {
            if let Some(value) = new.get(key).or_else(|| old.get(key)) {
                out.insert(key.to_owned(), value.as_str().into());
            }
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

fn children(ctx: &Ctx<'_>, table: &str, key: &str, parent: &str) -> Option<String> {
    let entries = ctx.world.tables.get(table)?;
    let of_parent = |e: &Value| part(e, "config").is_some_and(|c| c.get(key).is_some_and(|p| p == parent));
    entries.iter().find(|(_, e)| of_parent(e)).map(|(id, _)| id.clone())
}
