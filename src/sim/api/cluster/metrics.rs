//! Metric servers, and the figures that they would be sent.

use super::objects::{self, Object};
use super::route;
use crate::sim::ctx::Ctx;
use crate::sim::params::cluster::metrics as p;
use crate::sim::request::{Args, Refusal, Route};
use serde_json::{Map, Value, json};

const SERVERS: &str = "cluster/metrics/server";
const NUMBERS: &[&str] = &[
    "disable",
    "max-body-size",
    "mtu",
    "otel-max-body-size",
    "otel-timeout",
    "otel-verify-ssl",
    "port",
    "timeout",
    "verify-certificate",
];

/// The endpoints.
pub const ROUTES: &[Route] = &[
    route("GET", "/cluster/metrics/server", &[], super::AUDIT, list),
    route("GET", "/cluster/metrics/server/{id}", &[p::ID], super::AUDIT, get),
    route("POST", "/cluster/metrics/server/{id}", &[p::SERVER, p::NEW], super::MODIFY, create),
    route("PUT", "/cluster/metrics/server/{id}", &[p::SERVER, p::CHANGE], super::MODIFY, update),
    route("DELETE", "/cluster/metrics/server/{id}", &[p::ID], super::MODIFY, delete),
    route("GET", "/cluster/metrics/export", &[p::EXPORT], super::AUDIT, export),
];

fn list(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let rows = objects::all(ctx, SERVERS).into_iter().map(|(id, server)| {
        let all = objects::typed(&server, NUMBERS);
        let mut row: Map<String, Value> =
            all.into_iter().filter(|(k, _)| ["type", "server", "port", "disable"].contains(&k.as_str())).collect();
        row.entry("disable").or_insert(0.into());
        row.insert("id".to_owned(), id.into());
        Value::Object(row)
    });
    Ok(rows.collect())
}

fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("id");
    let server = objects::get(ctx, SERVERS, id);
    let server = server.ok_or_else(|| Refusal::died(format!("status server entry '{id}' does not exist")))?;
    Ok(objects::typed(&server, NUMBERS).into())
}

/// The options that are kept; the token goes to a file that no answer shows.
fn options(args: &Args) -> Object {
    objects::fields(args, &["id", "token"])
}

fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("id");
    if objects::get(ctx, SERVERS, id).is_some() {
        return Err(Refusal::died(format!("Metric server '{id}' already exists")));
    }
    objects::put(ctx, SERVERS, id, &options(args));
    Ok(Value::Null)
}

fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("id");
    objects::unchanged(args, &objects::digest(ctx, &[SERVERS]))?;
    let server = objects::get(ctx, SERVERS, id);
    let mut server = server.ok_or_else(|| Refusal::died(format!("no such server '{id}'")))?;
    server.extend(options(args));
    objects::remove(args, &mut server, &[p::SERVER], &["id", "server", "port"])?;
    objects::put(ctx, SERVERS, id, &server);
    Ok(Value::Null)
}

fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    match ctx.world.table(SERVERS).remove(args.text("id")) {
        Some(_) => Ok(Value::Null),
        None => Err(Refusal::died(
            "cannot lookup undefined type! at /usr/share/perl5/PVE/API2/Cluster/MetricServer.pm line 324.",
        )),
    }
}

/// A figure's name here, its name in the index, and what kind it is.
type Figure = (&'static str, &'static str, &'static str);
const OF_NODE: &[Figure] = &[
    ("uptime", "uptime", "gauge"),
    ("cpu_current", "cpu", "gauge"),
    ("cpu_max", "maxcpu", "gauge"),
    ("mem_total", "maxmem", "gauge"),
    ("mem_used", "mem", "gauge"),
    ("disk_total", "maxdisk", "gauge"),
    ("disk_used", "disk", "gauge"),
];
const OF_GUEST: &[Figure] = &[
    ("uptime", "uptime", "gauge"),
    ("cpu_max", "maxcpu", "gauge"),
    ("mem_total", "maxmem", "gauge"),
    ("disk_total", "maxdisk", "gauge"),
];
const OF_RUNNING: &[Figure] = &[
    ("cpu_current", "cpu", "gauge"),
    ("mem_used", "mem", "gauge"),
    ("net_in", "netin", "derive"),
    ("net_out", "netout", "derive"),
];
const OF_STORAGE: &[Figure] = &[("disk_total", "maxdisk", "gauge"), ("disk_used", "disk", "gauge")];

/// The last generation only: the simulator keeps no history.
fn export(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let now = ctx.world.now() / 10 * 10;
    let wanted = args.list("node-list");
    let local = ctx.world.entry_node.clone();
    let on = |row: &Value| {
        let node = row["node"].as_str().unwrap_or_default();
        (wanted.is_empty() || wanted.contains(&node)) && (!args.on("local-only") || node == local)
    };
    let late = args.int("start-time").is_none_or(|start| i64::try_from(now).is_ok_and(|now| now > start));
    let mut out = Vec::new();
    let rows = super::resources::list(ctx, &Args::default())?;
    for row in rows.as_array().into_iter().flatten().filter(|r| late && on(r)) {
        let id = row["id"].as_str().unwrap_or_default().to_owned();
        let figures: Vec<&Figure> = match row["type"].as_str().unwrap_or_default() {
            "node" => OF_NODE.iter().collect(),
            "qemu" | "lxc" if row["status"] == "running" => OF_GUEST.iter().chain(OF_RUNNING).collect(),
            "qemu" | "lxc" => OF_GUEST.iter().collect(),
            "storage" => OF_STORAGE.iter().collect(),
            _ => Vec::new(),
        };
        for (name, key, kind) in figures {
            if row[*key].is_number() {
                out.push(json!({ "id": id, "metric": name, "timestamp": now, "type": kind, "value": row[*key] }));
            }
        }
    }
    Ok(json!({ "data": out }))
}

#[cfg(test)]
mod tests {
    use crate::sim::api::testing::{refused, root};
    use crate::sim::baseline::{Baseline, build};
    use serde_json::json;

    #[test]
    fn a_server_is_made_changed_and_removed() {
        let world = &mut build(Baseline::Homelab);
        let server = json!({ "type": "influxdb", "server": "192.168.1.9", "port": 8089, "token": "secret" });
        root(world, "POST /cluster/metrics/server/i1", &server).expect("created");
        let again = refused(root(world, "POST /cluster/metrics/server/i1", &server));
        assert_eq!(again, "Metric server 'i1' already exists");
        let seen = root(world, "GET /cluster/metrics/server/i1", &json!({})).expect("there");
        assert_eq!(seen, json!({ "type": "influxdb", "server": "192.168.1.9", "port": 8089 }));
        let change = json!({ "server": "192.168.1.9", "port": 8090, "disable": 1 });
        root(world, "PUT /cluster/metrics/server/i1", &change).expect("changed");
        let list = root(world, "GET /cluster/metrics/server", &json!({})).expect("list");
        assert_eq!((&list[0]["port"], &list[0]["disable"]), (&json!(8090), &json!(1)));
        root(world, "DELETE /cluster/metrics/server/i1", &json!({})).expect("removed");
        let gone = refused(root(world, "GET /cluster/metrics/server/i1", &json!({})));
        assert_eq!(gone, "status server entry 'i1' does not exist");
    }
}
