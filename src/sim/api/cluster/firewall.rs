//! The firewall, once for every scope: the cluster, a node, a guest. Guests need not exist, as in PVE.

pub mod rules;
pub mod sets;

use crate::sim::ctx::{Ctx, digest_of};
use crate::sim::params::cluster::firewall as p;
use crate::sim::request::{Args, Check, Refusal, Route};
use crate::sim::verify::Param;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The firewall of one scope; options, rules and so on as PVE's file has them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Firewall {
    /// Options.
    pub options: BTreeMap<String, String>,
    /// Rules in order.
    pub rules: Vec<BTreeMap<String, String>>,
    /// Aliases by lower-cased name.
    pub aliases: BTreeMap<String, BTreeMap<String, String>>,
    /// Address sets by name.
    pub ipsets: BTreeMap<String, IpSet>,
    /// Security groups (of the cluster only).
    pub groups: BTreeMap<String, Group>,
}

/// A set of addresses.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IpSet {
    /// Free text.
    pub comment: Option<String>,
    /// Entries in order.
    pub entries: Vec<BTreeMap<String, String>>,
}

/// A security group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Group {
    /// Free text.
    pub comment: Option<String>,
    /// Rules in order.
    pub rules: Vec<BTreeMap<String, String>>,
}

/// Where all firewalls are kept.
const TABLE: &str = "firewall";

/// The key of the request's scope.
pub fn scope(args: &Args) -> String {
    match (args.get("vmid"), args.get("node")) {
        (Some(vmid), _) => format!("guest/{vmid}"),
        (None, Some(node)) => format!("node/{node}"),
        (None, None) => "cluster".to_owned(),
    }
}

/// A scope's firewall; one that nobody has touched is empty.
pub fn load(ctx: &Ctx<'_>, scope: &str) -> Firewall {
    let stored = ctx.world.tables.get(TABLE).and_then(|t| t.get(scope)).cloned();
    stored.and_then(|v| serde_json::from_value(v).ok()).unwrap_or_default()
}

/// Keeps a scope's firewall.
pub fn store(ctx: &mut Ctx<'_>, scope: &str, firewall: &Firewall) {
    ctx.world.table(TABLE).insert(scope.to_owned(), json!(firewall));
}

/// The digest of a part of the file.
pub fn digest(part: &impl Serialize) -> String {
    let text = serde_json::to_string(part).unwrap_or_default();
    digest_of([(&String::new(), &text)])
}

/// Refuses a change of what has changed meanwhile.
pub fn unchanged(args: &Args, now: &str) -> Result<(), Refusal> {
    match args.get("digest") {
        Some(digest) if digest != now => {
            Err(Refusal::died("detected modified configuration - file changed by other user? Try again."))
        }
        _ => Ok(()),
    }
}

/// Numbers as numbers, all else as text.
pub fn typed(key: &str, value: &str) -> Value {
    let text = ["comment", "dport", "sport", "source", "dest", "name", "cidr", "proto", "icmp-type"].contains(&key);
    match value.parse::<i64>() {
        Ok(n) if !text => n.into(),
        _ => value.into(),
    }
}

/// `GET …/options`.
fn options(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let firewall = load(ctx, &scope(args));
    let mut out: Map<String, Value> = firewall.options.iter().map(|(k, v)| (k.clone(), typed(k, v))).collect();
    out.insert("digest".to_owned(), digest(&firewall.options).into());
    Ok(out.into())
}

/// `PUT …/options`.
fn put_options(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let scope = scope(args);
    let mut firewall = load(ctx, &scope);
    unchanged(args, &digest(&firewall.options))?;
    let table: &[Param] = match scope.split('/').next() {
        Some("guest") => p::GUEST_OPTIONS,
        Some("node") => p::NODE_OPTIONS,
        _ => p::CLUSTER_OPTIONS,
    };
    let own = |k: &str| matches!(k, "node" | "vmid" | "digest" | "delete");
    for key in args.list("delete") {
        if own(key) || !table.iter().any(|param| param.declares(key)) {
            return Err(Refusal::param("delete", format!("no such option '{key}'")));
        }
        firewall.options.remove(key);
    }
    for (key, value) in args.values.iter().filter(|(k, _)| !own(k)) {
        firewall.options.insert(key.clone(), value.clone());
    }
    store(ctx, &scope, &firewall);
    Ok(Value::Null)
}

fn index(_: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let names: &[&str] = match (args.get("vmid"), args.get("node")) {
        (Some(_), _) => &["rules", "aliases", "ipset", "refs", "options"],
        (None, Some(_)) => &["rules", "options", "log"],
        (None, None) => &["rules", "options", "groups", "ipset", "macros", "aliases", "refs"],
    };
    Ok(names.iter().map(|n| json!({ "name": n })).collect::<Vec<_>>().into())
}

/// Nothing is ever logged here.
fn log(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    ctx.extra["total"] = 1.into();
    Ok(json!([{ "n": 1, "t": "unable to open file - No such file or directory" }]))
}

/// What a rule's source may name, of this scope and the cluster's.
fn refs(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let scope = scope(args);
    let mut rows = Vec::new();
    let mut scopes = vec![("dc", "cluster".to_owned())];
    if scope != "cluster" {
        scopes.push(("guest", scope));
    }
    for (prefix, scope) in scopes {
        let firewall = load(ctx, &scope);
        let kind = |k: &str| args.get("type").is_none_or(|t| t == k);
        for name in firewall.aliases.keys().filter(|_| kind("alias")) {
            rows.push(json!({ "type": "alias", "name": name, "ref": format!("{prefix}/{name}"), "scope": prefix }));
        }
        for name in firewall.ipsets.keys().filter(|_| kind("ipset")) {
            rows.push(json!({ "type": "ipset", "name": name, "ref": format!("+{prefix}/{name}"), "scope": prefix }));
        }
    }
    Ok(rows.into())
}

macro_rules! scope_routes {
    ($base:literal, $options:expr, $read:expr, $write:expr) => {
        [
            route("GET", $base, &[], $read, index),
            route("GET", concat!($base, "/options"), &[], $read, options),
            route("PUT", concat!($base, "/options"), &[$options], $write, put_options),
            route("GET", concat!($base, "/rules"), &[], $read, rules::list),
            route("POST", concat!($base, "/rules"), &[p::RULE, p::RULE_NEW], $write, rules::create),
            route("GET", concat!($base, "/rules/{pos}"), &[], $read, rules::get),
            route("PUT", concat!($base, "/rules/{pos}"), &[p::RULE, p::RULE_CHANGE], $write, rules::update),
            route("DELETE", concat!($base, "/rules/{pos}"), &[p::RULE_DELETE], $write, rules::delete),
        ]
    };
}

macro_rules! set_routes {
    ($base:literal, $read:expr, $write:expr) => {
        [
            route("GET", concat!($base, "/refs"), &[p::REFS], $read, refs),
            route("GET", concat!($base, "/aliases"), &[], $read, sets::aliases),
            route("POST", concat!($base, "/aliases"), &[p::ALIAS_NEW], $write, sets::create_alias),
            route("GET", concat!($base, "/aliases/{name}"), &[], $read, sets::alias),
            route("PUT", concat!($base, "/aliases/{name}"), &[p::ALIAS_CHANGE], $write, sets::update_alias),
            route("DELETE", concat!($base, "/aliases/{name}"), &[p::RULE_DELETE], $write, sets::delete_alias),
            route("GET", concat!($base, "/ipset"), &[], $read, sets::ipsets),
            route("POST", concat!($base, "/ipset"), &[p::IPSET_NEW], $write, sets::create_ipset),
            route("GET", concat!($base, "/ipset/{name}"), &[], $read, sets::entries),
            route("POST", concat!($base, "/ipset/{name}"), &[p::ENTRY_NEW], $write, sets::create_entry),
            route("DELETE", concat!($base, "/ipset/{name}"), &[p::IPSET_DELETE], $write, sets::delete_ipset),
            route("GET", concat!($base, "/ipset/{name}/{cidr}"), &[], $read, sets::entry),
            route("PUT", concat!($base, "/ipset/{name}/{cidr}"), &[p::ENTRY_CHANGE], $write, sets::update_entry),
            route("DELETE", concat!($base, "/ipset/{name}/{cidr}"), &[p::RULE_DELETE], $write, sets::delete_entry),
        ]
    };
}

use super::route;

const GUEST_READ: Check = Check::All("/vms/{vmid}", &["VM.Audit"]);
const GUEST_WRITE: Check = Check::All("/vms/{vmid}", &["VM.Config.Network"]);
const NODE_READ: Check = Check::All("/nodes/{node}", &["Sys.Audit"]);
const NODE_WRITE: Check = Check::All("/nodes/{node}", &["Sys.Modify"]);

/// The endpoints, by scope.
pub const ROUTES: &[&[Route]] = &[
    &scope_routes!("/cluster/firewall", p::CLUSTER_OPTIONS, super::AUDIT, super::MODIFY),
    &scope_routes!("/nodes/{node}/firewall", p::NODE_OPTIONS, NODE_READ, NODE_WRITE),
    &scope_routes!("/nodes/{node}/qemu/{vmid}/firewall", p::GUEST_OPTIONS, GUEST_READ, GUEST_WRITE),
    &scope_routes!("/nodes/{node}/lxc/{vmid}/firewall", p::GUEST_OPTIONS, GUEST_READ, GUEST_WRITE),
    &set_routes!("/cluster/firewall", super::AUDIT, super::MODIFY),
    &set_routes!("/nodes/{node}/qemu/{vmid}/firewall", GUEST_READ, GUEST_WRITE),
    &set_routes!("/nodes/{node}/lxc/{vmid}/firewall", GUEST_READ, GUEST_WRITE),
    &[
        route("GET", "/nodes/{node}/firewall/log", &[p::LOG], NODE_READ, log),
        route("GET", "/nodes/{node}/qemu/{vmid}/firewall/log", &[p::LOG], GUEST_READ, log),
        route("GET", "/nodes/{node}/lxc/{vmid}/firewall/log", &[p::LOG], GUEST_READ, log),
        route("GET", "/cluster/firewall/macros", &[], Check::User, rules::macros),
        route("GET", "/cluster/firewall/groups", &[], Check::User, rules::groups),
        route("POST", "/cluster/firewall/groups", &[p::GROUP_NEW], super::MODIFY, rules::create_group),
        route("DELETE", "/cluster/firewall/groups/{group}", &[], super::MODIFY, rules::delete_group),
        route("GET", "/cluster/firewall/groups/{group}", &[], super::AUDIT, rules::list),
        route("POST", "/cluster/firewall/groups/{group}", &[p::RULE, p::RULE_NEW], super::MODIFY, rules::create),
        route("GET", "/cluster/firewall/groups/{group}/{pos}", &[], super::AUDIT, rules::get),
        route(
            "PUT",
            "/cluster/firewall/groups/{group}/{pos}",
            &[p::RULE, p::RULE_CHANGE],
            super::MODIFY,
            rules::update,
        ),
        route("DELETE", "/cluster/firewall/groups/{group}/{pos}", &[p::RULE_DELETE], super::MODIFY, rules::delete),
    ],
];
