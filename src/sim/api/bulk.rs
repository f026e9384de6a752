//! One action on many guests: of a node (`startall`, …) and of the whole cluster (`bulk-action`).
//!
//! The guests are chosen and acted upon at the task's end, in the order that their `startup` option gives. Unlike PVE, no
//! task of its own is started for each of them.

use crate::pve::property::PropertyString;
use crate::sim::api::cluster::ha;
use crate::sim::api::{lxc, qemu, references};
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::params::{cluster::bulk as p, node};
use crate::sim::request::{Args, Check, Refusal, Route};
use crate::sim::task::{Effect, End};
use crate::sim::world::{Guest, GuestType, Power, World};
use serde_json::{Value, json};

/// How long a shutdown may take if nobody says (PVE's default).
const SHUTDOWN_SECONDS: u64 = 180;
const NODE: &[crate::sim::verify::Param] = node::ALL_GUESTS;

const fn post(path: &'static str, params: &'static [&'static [crate::sim::verify::Param]], run: Run) -> Route {
    Route { method: "POST", path, params, check: Check::User, run }
}

type Run = crate::sim::request::Endpoint;

/// The endpoints.
pub const ROUTES: &[Route] = &[
    post("/nodes/{node}/startall", &[NODE, node::START_ALL], |c, a| of_node(c, a, "start", "VM.PowerMgmt")),
    post("/nodes/{node}/stopall", &[NODE, node::STOP_ALL], |c, a| of_node(c, a, "shutdown", "VM.PowerMgmt")),
    post("/nodes/{node}/suspendall", &[NODE], |c, a| of_node(c, a, "suspend", "VM.PowerMgmt")),
    post("/nodes/{node}/migrateall", &[NODE, node::MIGRATE_ALL], |c, a| of_node(c, a, "migrate", "VM.Migrate")),
    post("/cluster/bulk-action/guest/start", &[p::GUESTS, p::START], |c, a| of_cluster(c, a, "start", "VM.PowerMgmt")),
    post("/cluster/bulk-action/guest/shutdown", &[p::GUESTS, p::SHUTDOWN], |c, a| {
        of_cluster(c, a, "shutdown", "VM.PowerMgmt")
    }),
    post("/cluster/bulk-action/guest/suspend", &[p::GUESTS, p::SUSPEND], |c, a| {
        of_cluster(c, a, "suspend", "VM.PowerMgmt")
    }),
    post("/cluster/bulk-action/guest/migrate", &[p::GUESTS, p::MIGRATE], |c, a| {
        of_cluster(c, a, "migrate", "VM.Migrate")
    }),
];

/// What its tasks do.
pub const EFFECTS: &[Effect] = &[Effect { name: "bulk", run: acted }];

/// Demands the privilege on the root, or on every guest that is named.
fn permit(ctx: &Ctx<'_>, named: &[&str], privilege: &str) -> Result<(), Refusal> {
    if named.is_empty() {
        return ctx.require("/", &[privilege]);
    }
    named.iter().try_for_each(|vmid| ctx.require(&format!("/vms/{vmid}"), &[privilege]))
}

fn numbers(named: &[&str]) -> Option<Vec<u32>> {
    (!named.is_empty()).then(|| named.iter().filter_map(|v| v.parse().ok()).collect())
}

fn of_node(ctx: &mut Ctx<'_>, args: &Args, action: &str, privilege: &str) -> Result<Value, Refusal> {
    let (node, named) = (args.text("node").to_owned(), args.list("vms"));
    if !ctx.may("/", &[privilege]) {
        permit(ctx, &named, privilege)?;
    }
    let told = json!({
        "action": action, "node": node, "vms": numbers(&named), "onboot": action == "start" && !args.on("force"),
        "force": args.get("force-stop") != Some("0"), "timeout": args.int("timeout"), "target": args.get("target"),
        "local": args.on("with-local-disks"), "online": true,
    });
    let task_type = match action {
        "shutdown" => "stopall".to_owned(),
        other => format!("{other}all"),
    };
    let ms = duration(ctx.world, &told);
    Ok(ctx.start(NewTask::new(&node, &task_type, "").takes_ms(ms).then("bulk", told)))
}

fn of_cluster(ctx: &mut Ctx<'_>, args: &Args, action: &str, privilege: &str) -> Result<Value, Refusal> {
    let named = args.strings("vms");
    permit(ctx, &named, privilege)?;
    let node = ctx.world.entry_node.clone();
    let told = json!({
        "action": action, "vms": numbers(&named), "force": args.get("force-stop") != Some("0"),
        "timeout": args.int("timeout"), "target": args.get("target"), "local": args.on("with-local-disks"),
        "online": args.on("online"),
    });
    let verb = match action {
        "start" => "Starting",
        "shutdown" => "Shutting down",
        "suspend" => "Suspending",
        _ => "Migrating",
    };
    let to = args.get("target").map(|t| format!(" to {t}")).unwrap_or_default();
    let line = match named.is_empty() {
        true => format!("{verb} all guests{to}"),
        false => format!("{verb} guests{to}: {}", named.join(", ")),
    };
    let ms = duration(ctx.world, &told);
    Ok(ctx.start(NewTask::new(&node, &format!("bulk-{action}"), "").takes_ms(ms).says(line).then("bulk", told)))
}

/// How long it takes: a shutdown that nobody in the guest hears lasts until its time is out.
fn duration(world: &World, told: &Value) -> u64 {
    let deaf = |vmid: &u32| {
        let guest = world.guests.get(vmid);
        guest.is_some_and(|g| g.power != Power::Stopped && g.guest_type == GuestType::Qemu && g.boot_seconds.is_none())
    };
    match told["action"] == "shutdown" && chosen(world, told).iter().any(deaf) {
        true => told["timeout"].as_u64().unwrap_or(SHUTDOWN_SECONDS) * 1000,
        false => 3000,
    }
}

/// The guests meant, in the order in which they start. Templates never are; guests of the HA manager only by name, and
/// only those with `onboot` where a node starts its own.
fn chosen(world: &World, told: &Value) -> Vec<u32> {
    let named: Option<Vec<u32>> = serde_json::from_value(told["vms"].clone()).unwrap_or_default();
    let flag = |g: &Guest, key: &str| g.config.get(key).is_some_and(|v| v == "1");
    let managed = |vmid: u32, guest: &Guest| ha::is_managed(world, &references::sid(guest.guest_type, vmid));
    let order = |g: &Guest| {
        let startup = g.config.get("startup").map(|s| PropertyString::parse(s, "order"));
        startup.and_then(|s| s.get("order").and_then(|o| o.parse::<u32>().ok())).unwrap_or(u32::MAX)
    };
    let mut found: Vec<(u32, u32)> = world
        .guests
        .iter()
        .filter(|(vmid, g)| {
            told["node"].as_str().is_none_or(|n| n == g.node)
                && named.as_ref().map_or_else(|| !managed(**vmid, g), |n| n.contains(vmid))
                && !flag(g, "template")
                && (told["onboot"] != true || flag(g, "onboot"))
        })
        .map(|(vmid, g)| (order(g), *vmid))
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, vmid)| vmid).collect()
}

/// Turns a guest on as its own start does, all checks included.
pub fn turn_on(world: &mut World, vmid: u32) -> Result<(), String> {
    let (node, lock) = match world.guests.get(&vmid) {
        Some(guest) => (guest.node.clone(), guest.config.get("lock").cloned()),
        None => return Err(format!("guest {vmid} does not exist")),
    };
    let what = label(world, vmid);
    if let Some(lock) = lock {
        return Err(format!("{what} is locked ({lock})"));
    }
    match what {
        "CT" => lxc::power::turn_on(world, vmid),
        _ => qemu::turn_on(world, &node, vmid),
    }
}

fn turn_off(world: &mut World, vmid: u32, force: bool) -> Result<(), String> {
    let Some(guest) = world.guests.get_mut(&vmid) else { return Ok(()) };
    match guest.guest_type {
        GuestType::Lxc => guest.power = Power::Stopped,
        GuestType::Qemu if guest.boot_seconds.is_none() && !force => {
            return Err("VM quit/powerdown failed - got timeout".to_owned());
        }
        GuestType::Qemu => qemu::turn_off(guest),
    }
    Ok(())
}

/// `VM` or `CT`.
fn label(world: &World, vmid: u32) -> &'static str {
    match world.guests.get(&vmid).map(|g| g.guest_type) {
        Some(GuestType::Lxc) => "CT",
        Some(GuestType::Qemu) | None => "VM",
    }
}

fn migrate(world: &mut World, vmid: u32, told: &Value) -> Result<(), String> {
    let target = told["target"].as_str().unwrap_or_default().to_owned();
    let guest = world.guests.get(&vmid).ok_or("guest is gone")?;
    let (node, on) = (guest.node.clone(), guest.power != Power::Stopped);
    if !world.nodes.get(&target).is_some_and(|n| n.online) {
        return Err(format!("target node '{target}' is not online"));
    }
    let what = json!({ "node": node, "vmid": vmid, "target": target });
    let end = match guest.guest_type {
        GuestType::Lxc => lxc::migrate::migrated(world, &what, &mut Vec::new()),
        GuestType::Qemu => {
            let local =
                qemu::volumes(&guest.config).iter().any(|v| world.volume(v, &node).is_some_and(|v| v.node.is_some()));
            if on && told["online"] != true {
                return Err("can't migrate running VM without --online".to_owned());
            }
            if on && local && told["local"] != true {
                return Err("can't live migrate attached local disks without with-local-disks option".to_owned());
            }
            qemu::migrated(world, &what)
        }
    };
    match end {
        End::Ok | End::Warnings(_) => Ok(()),
        End::Failed(text) => Err(text),
    }
}

/// The action itself; what fails for one guest holds up no other.
fn acted(world: &mut World, told: &Value, lines: &mut Vec<String>) -> End {
    let action = told["action"].as_str().unwrap_or_default();
    let mut guests = chosen(world, told);
    if action == "shutdown" {
        guests.reverse();
    }
    let (mut failed, mut skipped) = (Vec::new(), 0);
    for vmid in guests {
        let what = label(world, vmid);
        let power = world.guests.get(&vmid).map_or(Power::Stopped, |g| g.power);
        let timeout = told["timeout"].as_u64().unwrap_or(SHUTDOWN_SECONDS);
        let (verb, line, idle) = match action {
            "start" => ("Starting", format!("Starting {what} {vmid}"), power == Power::Running),
            "shutdown" => {
                let line = format!("Stopping {what} {vmid} (timeout = {timeout} seconds)");
                ("Stopping", line, power == Power::Stopped)
            }
            "suspend" => ("Suspending", format!("Suspending {what} {vmid}"), what == "CT" || power != Power::Running),
            _ => {
                let there = world.guests.get(&vmid).is_some_and(|g| told["target"] == g.node.as_str());
                ("Migrating", format!("Migrating {what} {vmid}"), there)
            }
        };
        if idle {
            skipped += 1;
            continue;
        }
        lines.push(line);
        let result = match action {
            "start" if power == Power::Paused => {
                if let Some(guest) = world.guests.get_mut(&vmid) {
                    guest.power = Power::Running;
                }
                Ok(())
            }
            "start" => turn_on(world, vmid),
            "shutdown" => turn_off(world, vmid, told["force"] == true),
            "suspend" => {
                if let Some(guest) = world.guests.get_mut(&vmid) {
                    guest.power = Power::Paused;
                }
                Ok(())
            }
            _ => migrate(world, vmid, told),
        };
        if let Err(text) = result {
            let mark = if told["node"].is_null() { "WARN: " } else { "" };
            lines.push(format!("{mark}{verb} {what} {vmid} failed: {text}"));
            failed.push(vmid.to_string());
        }
    }
    // A node's own list only says what failed; the cluster's fails with it.
    match (told["node"].is_null(), failed.is_empty(), skipped) {
        (true, false, _) => {
            let to = if action == "start" { "start:" } else { action };
            End::Failed(format!("Some guests failed to {to} {}", failed.join(", ")))
        }
        (true, true, skipped @ 1..) => End::Warnings(skipped),
        _ => End::Ok,
    }
}

#[cfg(test)]
mod tests {
    use crate::sim::api::testing::{ended, root};
    use crate::sim::baseline::{Baseline, build};
    use crate::sim::world::Power;
    use serde_json::json;

    #[test]
    fn a_node_starts_what_boots_with_it() {
        let world = &mut build(Baseline::Homelab);
        for vmid in [8100, 8200] {
            world.guests.get_mut(&vmid).expect("there").power = Power::Stopped;
        }
        world.edit_guest(8200, "onboot", None);
        assert_eq!(ended(world, "POST /nodes/pve2/startall", &json!({})), "OK");
        assert_eq!(ended(world, "POST /nodes/pve3/startall", &json!({})), "OK");
        assert_eq!(world.guests[&8100].power, Power::Running);
        assert_eq!(world.guests[&8200].power, Power::Stopped, "it has no onboot");
        ended(world, "POST /nodes/pve3/startall", &json!({ "force": 1 }));
        assert_eq!(world.guests[&8200].power, Power::Running);
    }

    #[test]
    fn what_cannot_start_fails_the_whole_and_holds_up_no_other() {
        let world = &mut build(Baseline::Homelab);
        for vmid in [8100, 8200] {
            world.guests.get_mut(&vmid).expect("there").power = Power::Stopped;
        }
        world.edit_guest(8100, "net1", Some("virtio=BC:24:11:00:81:01,bridge=nowhere"));
        let end = ended(world, "POST /cluster/bulk-action/guest/start", &json!({ "vms": [8100, 8200] }));
        assert_eq!(end, "Some guests failed to start: 8100");
        assert_eq!(world.guests[&8200].power, Power::Running);
        let log = world.tasks.last().expect("the task").log.join("\n");
        assert!(log.contains("WARN: Starting VM 8100 failed: bridge 'nowhere' does not exist"), "{log}");
    }

    #[test]
    fn guests_move_together() {
        let world = &mut build(Baseline::Homelab);
        let end =
            ended(world, "POST /cluster/bulk-action/guest/migrate", &json!({ "target": "pve1", "vms": ["8200"] }));
        assert_eq!((end.as_str(), world.guests[&8200].node.as_str()), ("OK", "pve1"));
        assert!(root(world, "GET /nodes/pve1/lxc/8200/status/current", &json!({})).is_ok());
    }
}
