//! Endpoints: what belongs to no node in particular: version, index of everything, options, cluster-wide objects.

pub mod acme;
pub mod backup;
pub mod firewall;
pub mod ha;
pub mod mapping;
pub mod metrics;
pub mod notifications;
pub mod objects;
pub mod options;
pub mod replication;
pub mod resources;
pub mod sdn;

use crate::sim::api::node::tasks;
use crate::sim::ctx::Ctx;
use crate::sim::params::cluster as params;
use crate::sim::request::{Args, Check, Refusal, Route};
use crate::sim::task::Effect;
use serde_json::{Value, json};

const fn route(
    method: &'static str,
    path: &'static str,
    params: &'static [&'static [crate::sim::verify::Param]],
    check: Check,
    run: crate::sim::request::Endpoint,
) -> Route {
    Route { method, path, params, check, run }
}

const AUDIT: Check = Check::All("/", &["Sys.Audit"]);
const MODIFY: Check = Check::All("/", &["Sys.Modify"]);

const OWN: &[Route] = &[
    route("GET", "/version", &[], Check::User, version),
    route("GET", "/cluster/resources", &[params::RESOURCES], Check::User, resources::list),
    route("GET", "/cluster/status", &[], AUDIT, status),
    route("GET", "/cluster/nextid", &[params::NEXT_ID], Check::User, next_id),
    route("GET", "/cluster/options", &[], Check::User, options::get),
    route("PUT", "/cluster/options", &[params::OPTIONS], MODIFY, options::put),
    route("GET", "/cluster/tasks", &[], Check::User, tasks::of_cluster),
    route("GET", "/cluster/log", &[params::LOG], Check::User, log),
    route("GET", "/cluster/config/nodes", &[], AUDIT, config_nodes),
    route("GET", "/cluster/ceph/status", &[], Check::Any("/", &["Sys.Audit", "Datastore.Audit"]), ceph),
    route("GET", "/cluster/config/join", &[], AUDIT, config_join),
];

const PARTS: &[&[&[Route]]] = &[
    &[OWN, ha::ROUTES, backup::ROUTES, sdn::ROUTES, replication::ROUTES, mapping::ROUTES],
    &[notifications::ROUTES, metrics::ROUTES, acme::ROUTES],
    firewall::ROUTES,
];

const fn count() -> usize {
    let (mut n, mut i) = (0, 0);
    while i < PARTS.len() {
        let mut j = 0;
        while j < PARTS[i].len() {
            n += PARTS[i][j].len();
            j += 1;
        }
        i += 1;
    }
    n
}

const fn joined() -> [Route; count()] {
    let mut all = [OWN[0]; count()];
    let (mut n, mut i) = (0, 0);
    while i < PARTS.len() {
        let mut j = 0;
        while j < PARTS[i].len() {
            let mut k = 0;
            while k < PARTS[i][j].len() {
                all[n] = PARTS[i][j][k];
                n += 1;
                k += 1;
            }
            j += 1;
        }
        i += 1;
    }
    all
}

/// The endpoints.
pub const ROUTES: &[Route] = &joined();

/// What its tasks do.
pub const EFFECTS: &[Effect] = &[sdn::EFFECTS[0], acme::EFFECTS[0], ha::EFFECTS[0], ha::EFFECTS[1], ha::EFFECTS[2]];

/// The version that the recordings were made on.
pub const VERSION: &str = "9.1.7";
/// Its build.
pub const REPO_ID: &str = "0307225d4bc8b3ed";

/// `/version`, also per node.
pub fn version(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(json!({ "version": VERSION, "release": "9.1", "repoid": REPO_ID }))
}

/// A node's address: that of its first interface that has one.
pub fn address(node: &crate::sim::world::Node) -> Option<String> {
    node.interfaces.values().find_map(|i| i.get("address").and_then(Value::as_str)).map(str::to_owned)
}

fn status(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let world = &*ctx.world;
    let mut rows = Vec::new();
    if let Some(name) = &world.cluster {
        rows.push(json!({
            "type": "cluster", "id": "cluster", "name": name, "nodes": world.nodes.len(), "version": world.nodes.len(),
            "quorate": u8::from(world.quorate),
        }));
    }
    for (i, (name, node)) in world.nodes.iter().enumerate() {
        let number = if world.cluster.is_some() { i + 1 } else { 0 };
        rows.push(json!({
            "type": "node", "id": format!("node/{name}"), "name": name, "nodeid": number, "level": "",
            "ip": address(node), "local": u8::from(*name == world.entry_node), "online": u8::from(node.online),
        }));
    }
    Ok(rows.into())
}

fn next_id(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    if args.get("vmid").is_some() {
        let vmid = args.vmid();
        return match ctx.world.guests.contains_key(&vmid) {
            true => Err(Refusal::param("vmid", format!("VM {vmid} already exists"))),
            false => Ok(vmid.to_string().into()),
        };
    }
    let text = ctx.world.options.get("next-id").cloned().unwrap_or_default();
    let range = crate::pve::property::PropertyString::parse(&text, "");
    let bound = |key: &str, default: u32| range.get(key).and_then(|v| v.parse().ok()).unwrap_or(default);
    let (lower, upper) = (bound("lower", 100), bound("upper", 1_000_000));
    match (lower..upper).find(|id| !ctx.world.guests.contains_key(id)) {
        Some(id) => Ok(id.to_string().into()),
        None => Err(Refusal::died(format!("unable to get any free VMID in range [{lower}, {upper}]"))),
    }
}

/// The cluster log: PVE writes a line when a task starts and when somebody logs in.
fn log(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let limit = args.int("max").and_then(|n| usize::try_from(n).ok()).unwrap_or(50);
    let world = &*ctx.world;
    let entry = |number: usize, node: &str, pid: u64, user: &str, time: u64, text: String| {
        json!({
            "uid": number.to_string(), "id": format!("{number}:{node}"), "node": node, "pid": pid, "user": user,
            "time": time, "pri": 6, "tag": "pvedaemon", "msg": text,
        })
    };
    let logins = world.tickets.values().map(|user| {
        (0, world.entry_node.as_str(), 0, "root@pam", world.now(), format!("successful auth for user '{user}'"))
    });
    let tasks = world.tasks.iter().filter(|t| !t.unseen).map(|t| {
        let text = format!("<{}> starting task {}", t.user, t.upid);
        (0, t.node.as_str(), t.pid, t.user.as_str(), t.start_ms / 1000, text)
    });
    let messages = world.messages.iter().map(|m| {
        let text = m.text.clone();
        (0, m.node.as_str(), 0, m.user.as_str(), m.at_ms / 1000, text)
    });
    let mut all: Vec<_> = logins.chain(tasks).chain(messages).collect();
    all.sort_by_key(|(_, _, _, _, time, _)| *time);
    let mut rows: Vec<Value> = all
        .into_iter()
        .enumerate()
        .map(|(i, (_, node, pid, user, time, text))| entry(i + 1, node, pid, user, time, text))
        .collect();
    rows.reverse();
    rows.truncate(limit);
    Ok(rows.into())
}

/// There is no Ceph on any simulated node, unless the table `cluster/ceph` has a `status`.
fn ceph(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let told = ctx.world.tables.get("cluster/ceph").and_then(|t| t.get("status")).cloned();
    told.ok_or_else(|| Refusal::died("binary not installed: /usr/bin/ceph-mon"))
}

fn config_nodes(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    if ctx.world.cluster.is_none() {
        return Ok(json!([]));
    }
    let row = |(i, (name, node)): (usize, (&String, &crate::sim::world::Node))| json!({ "node": name, "name": name, "nodeid": (i + 1).to_string(), "quorum_votes": "1", "ring0_addr": address(node) });
    Ok(ctx.world.nodes.iter().enumerate().map(row).collect::<Vec<_>>().into())
}

fn config_join(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    match &ctx.world.cluster {
        None => Err(Refusal::new(424, "node is not in a cluster, no join info available!")),
        Some(name) => {
            let nodes: Vec<Value> = ctx.world.nodes.keys().map(|n| json!({ "name": n })).collect();
            Ok(json!({ "preferred_node": ctx.world.entry_node, "nodelist": nodes, "totem": { "cluster_name": name } }))
        }
    }
}
