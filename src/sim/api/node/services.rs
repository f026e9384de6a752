//! A node's services and its clock. The table `nodes/services` keeps which service is not as it was at boot.

use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::params::node::SERVICES;
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::world::World;
use serde_json::{Value, json};

const TABLE: &str = "nodes/services";
const ZONES: &str = "nodes/timezone";
/// Without these a node could not be reached any more.
const ESSENTIAL: &[&str] = &["pveproxy", "pvedaemon", "pve-cluster"];

/// State, active state, unit state of a service that nobody has touched.
fn usual(world: &World, name: &str) -> (&'static str, &'static str, &'static str) {
    match name {
        "chrony" => ("dead", "inactive", "not-found"),
        // It needs a cluster.
        "corosync" if world.cluster.is_none() => ("dead", "inactive", "enabled"),
        _ => ("running", "active", "enabled"),
    }
}

fn row(world: &World, node: &str, name: &str) -> Value {
    let (mut state, mut active, unit) = usual(world, name);
    let stored = world.tables.get(TABLE).and_then(|t| t.get(&format!("{node}/{name}")));
    match stored.and_then(Value::as_str) {
        Some("running") => (state, active) = ("running", "active"),
        Some(_) => (state, active) = ("dead", "inactive"),
        None => {}
    }
    let described = match name {
        "pvedaemon" => "PVE API Daemon",
        "pveproxy" => "PVE API Proxy Server",
        "pvestatd" => "PVE Status Daemon",
        "pvescheduler" => "Proxmox VE scheduler",
        "pve-cluster" => "The Proxmox VE cluster filesystem",
        "pve-firewall" => "Proxmox VE firewall",
        "pve-ha-crm" => "PVE Cluster HA Resource Manager Daemon",
        "pve-ha-lrm" => "PVE Local HA Resource Manager Daemon",
        _ => "",
    };
    let described = if described.is_empty() { format!("{name}.service") } else { described.to_owned() };
    json!({
        "service": name, "name": name, "desc": described, "state": state, "active-state": active, "unit-state": unit,
    })
}

/// `GET /nodes/{node}/services`.
pub fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    Ok(SERVICES.iter().map(|s| row(ctx.world, args.text("node"), s)).collect())
}

/// `GET /nodes/{node}/services/{service}/state`.
pub fn state(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    Ok(row(ctx.world, args.text("node"), args.text("service")))
}

/// `POST /nodes/{node}/services/{service}/{command}`.
pub fn command(ctx: &mut Ctx<'_>, args: &Args, command: &str) -> Result<Value, Refusal> {
    let (node, service) = (args.text("node"), args.text("service"));
    if command == "stop" && ESSENTIAL.contains(&service) {
        let text = format!("invalid service cmd '{service} {command}': refusing to stop essential service!");
        return Err(Refusal::died(text));
    }
    let told = json!({ "node": node, "service": service, "command": command });
    let task = NewTask::new(node, &format!("srv{command}"), service).takes_ms(1000);
    Ok(ctx.start(task.then("node.service", told)))
}

/// The end of a command.
pub fn commanded(world: &mut World, told: &Value, _: &mut Vec<String>) -> End {
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    let (node, service, command) = (text("node"), text("service"), text("command"));
    if usual(world, &service).2 == "not-found" {
        return End::Failed(format!("command 'systemctl {command} {service}' failed: exit code 5"));
    }
    let runs = row(world, &node, &service)["state"] == "running";
    if command == "reload" && !runs {
        return End::Failed(format!("command 'systemctl reload {service}' failed: exit code 1"));
    }
    let state = if command == "stop" { "dead" } else { "running" };
    world.table(TABLE).insert(format!("{node}/{service}"), state.into());
    End::Ok
}

/// `GET /nodes/{node}/time`. Every zone is at Greenwich here.
pub fn time(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let now = ctx.world.now();
    let zone = ctx.world.tables.get(ZONES).and_then(|t| t.get(args.text("node")));
    Ok(json!({ "timezone": zone.cloned().unwrap_or_else(|| "Etc/UTC".into()), "time": now, "localtime": now }))
}

/// `PUT /nodes/{node}/time`.
pub fn put_time(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let zone = args.text("timezone");
    let known =
        zone == "UTC" || zone.split_once('/').is_some_and(|(area, place)| !area.is_empty() && !place.is_empty());
    if !known {
        return Err(Refusal::died(format!("No such timezone: '{zone}'")));
    }
    ctx.world.table(ZONES).insert(args.text("node").to_owned(), zone.into());
    Ok(Value::Null)
}

#[cfg(test)]
mod tests {
    use crate::sim::api::testing::{ended, refused, root};
    use crate::sim::baseline::{Baseline, build};
    use serde_json::json;

    #[test]
    fn a_service_stops_and_starts() {
        let world = &mut build(Baseline::Homelab);
        let base = "/nodes/pve1/services/pvescheduler";
        assert_eq!(ended(world, &format!("POST {base}/stop"), &json!({})), "OK");
        assert_eq!(root(world, &format!("GET {base}/state"), &json!({})).expect("state")["state"], "dead");
        assert_eq!(ended(world, &format!("POST {base}/restart"), &json!({})), "OK");
        assert_eq!(root(world, &format!("GET {base}/state"), &json!({})).expect("state")["state"], "running");
        let essential = refused(root(world, "POST /nodes/pve1/services/pveproxy/stop", &json!({})));
        assert!(essential.contains("refusing to stop essential service"), "{essential}");
    }
}
