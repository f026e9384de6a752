//! Options of the firewall: of the datacenter, of a node, of a guest. They are always there; each scope has its own.

use crate::kinds::objects::content::member;
use crate::pve::request::segment;
use crate::resource::index::Index;
use crate::resource::kind::PlanContext;
use crate::resource::reference::Reference;
use crate::resource::step::{ALLOW_LOCKOUT, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Options of the firewall of one scope: `cluster: true`, `node`, `guest` or `vmid`. Only the options that are named are managed. PVE
/// gives them no free text, so that they cannot carry a mark of their owner: one that somebody set to another value is changed
/// only once it is adopted, or with the annotation `pvectl/take-over: "true"`. Options are not deleted: name their value.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FirewallOptionsSpec {
    /// Those of the datacenter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<bool>,
    /// Those of this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Those of this guest, by the name of its manifest, which gives it a `vmid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<String>,
    /// Those of this guest, by its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmid: Option<u32>,
    /// Whether the firewall is on. Of the datacenter it is switched on only with the annotation
    /// `pvectl/allow-lockout: "true"`: without a rule that lets you in, it shuts you out of every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// What becomes of traffic that comes in and that no rule names (datacenter, guest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_in: Option<Policy>,
    /// The same of traffic that goes out (datacenter, guest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_out: Option<Policy>,
    /// The same of traffic that goes through (datacenter).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_forward: Option<Policy>,
    /// How much of what comes in is logged (node, guest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level_in: Option<super::firewall::LogLevel>,
    /// How much of what goes out is logged (node, guest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level_out: Option<super::firewall::LogLevel>,
    /// Whether DHCP may pass (guest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<bool>,
    /// Whether only addresses of the guest's own may be used (guest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipfilter: Option<bool>,
    /// Whether only the guest's own MAC addresses may be used (guest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macfilter: Option<bool>,
    /// Whether IPv6's neighbour discovery may pass (node, guest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ndp: Option<bool>,
    /// Whether the guest may announce itself as a router (guest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radv: Option<bool>,
    /// Whether rules of Ethernet are made (datacenter).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ebtables: Option<bool>,
    /// Whether nftables does the work (node).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nftables: Option<bool>,
    /// How often something is logged (datacenter), in PVE's words: `enable=1,rate=1/second`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_ratelimit: Option<String>,
}

/// What becomes of traffic that no rule names.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Policy {
    /// It passes.
    Accept,
    /// It is thrown away.
    Drop,
    /// It is refused with an answer.
    Reject,
}

/// The fields of each scope, as PVE's API schema has them.
const CLUSTER: [&str; 6] = ["enable", "policyIn", "policyOut", "policyForward", "ebtables", "logRatelimit"];
const NODE: [&str; 5] = ["enable", "logLevelIn", "logLevelOut", "ndp", "nftables"];
const GUEST: [&str; 10] =
    ["enable", "policyIn", "policyOut", "logLevelIn", "logLevelOut", "dhcp", "ipfilter", "macfilter", "ndp", "radv"];

/// The scope that a spec names.
pub fn scope(_: &str, spec: &Value) -> String {
    match (spec["node"].as_str(), spec["vmid"].as_u64()) {
        (Some(node), _) => format!("node/{node}"),
        (None, Some(vmid)) => format!("guest/{vmid}"),
        (None, None) => "cluster".to_owned(),
    }
}

/// Where a scope's options are; `None` for a guest that is not there, and a node that is not or does not answer.
pub fn path(id: &str, index: &Index) -> Option<String> {
    match id.split_once('/') {
        None => Some("/cluster/firewall/options".to_owned()),
        Some(("node", node)) => {
            let answers = index.nodes.get(node).is_some_and(|n| n.online);
            answers.then(|| format!("/nodes/{}/firewall/options", segment(node)))
        }
        Some((_, vmid)) => {
            let row = index.guests.values().find(|g| g.vmid.to_string() == vmid)?;
            let answers = index.nodes.get(&row.node).is_none_or(|n| n.online);
            answers.then(|| format!("/nodes/{}/{}/{}/firewall/options", row.node, row.guest, row.vmid))
        }
    }
}

/// The scopes that `get` shows: the datacenter's, and those of its nodes that answer.
pub fn scopes(index: &Index) -> Vec<String> {
    let nodes = index.nodes.values().filter(|n| n.online).map(|n| format!("node/{}", n.name));
    std::iter::once("cluster".to_owned()).chain(nodes).collect()
}

/// What is wrong with a spec.
pub fn check(cx: &PlanContext<'_>, id: &str, spec: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    // A guest's name has become its number where that stands alone (`bind::masters`).
    let named = [spec["cluster"] == true, !spec["node"].is_null(), !spec["guest"].is_null(), !spec["vmid"].is_null()];
    if named.iter().filter(|n| **n).count() != 1 {
        problems.push(
            Problem::new("", "it does not say whose firewall it is about")
                .help("exactly one of `cluster: true`, `node`, `guest` and `vmid`"),
        );
    }
    let (fields, what): (&[&str], &str) = match id.split_once('/') {
        None => (&CLUSTER, "the datacenter"),
        Some(("node", _)) => (&NODE, "a node"),
        Some(_) => (&GUEST, "a guest"),
    };
    for key in spec.as_object().into_iter().flat_map(Map::keys) {
        if !fields.contains(&key.as_str()) && !["cluster", "node", "guest", "vmid"].contains(&key.as_str()) {
            problems.push(
                Problem::new(key, format!("the firewall of {what} has no `{key}`"))
                    .help(format!("it has {}", fields.join(", "))),
            );
        }
    }
    match id.split_once('/') {
        Some(("node", node)) if !cx.seen.index.nodes.contains_key(node) => {
            let names: Vec<&str> = cx.seen.index.nodes.keys().map(String::as_str).collect();
            problems.push(
                Problem::new("node", format!("there is no node `{node}`")).help(format!("nodes: {}", names.join(", "))),
            );
        }
        Some(_) | None => {}
    }
    problems
}

/// Why the datacenter's firewall is not switched on.
pub fn shuts_out(cx: &PlanContext<'_>, id: &str, spec: &Value, now: &Value) -> Option<Problem> {
    let switches = id == "cluster" && spec["enable"] == true && member(now, "enable") != "1";
    if !switches || cx.annotations.get(ALLOW_LOCKOUT).is_some_and(|v| v == "true") {
        return None;
    }
    Some(Problem::new("enable", "the firewall of the whole datacenter would be switched on").help(format!(
        "what no rule lets in is then dropped on every node, SSH and the web interface included, but for what the address set \
         `management` names and the nodes' own network: see that you get in, and then write the annotation {ALLOW_LOCKOUT}: \"true\""
    )))
}

/// The guest comes first.
pub fn refs(spec: &Value) -> Vec<Reference> {
    let vmid = spec["vmid"].as_u64().map(|v| v.to_string());
    let kinds = ["VirtualMachine", "Container", "GuestTemplate"];
    vmid.iter().flat_map(|vmid| kinds.map(|kind| super::table::reference(kind, vmid, "vmid"))).collect()
}

/// The scope as a manifest names it.
pub fn export(id: &str, _: &Value) -> Map<String, Value> {
    let export = match id.split_once('/') {
        None => json!({"cluster": true}),
        Some(("node", node)) => json!({"node": node}),
        Some((_, vmid)) => json!({"vmid": vmid.parse::<u32>().unwrap_or_default()}),
    };
    export.as_object().cloned().unwrap_or_default()
}
