//! High availability: resources and rules. Groups are gone since 9.

pub mod maintenance;

use super::objects::{self, Object};
use super::route;
use crate::sim::ctx::{Ctx, NewTask, digest_of};
use crate::sim::params::cluster::ha as p;
use crate::sim::request::{Args, Check, Refusal, Route};
use crate::sim::task::{Effect, End};
use crate::sim::world::{GuestType, Power, World};
use serde_json::{Value, json};

const RESOURCES: &str = "cluster/ha/resources";
const RULES: &str = "cluster/ha/rules";
const WRITE: Check = Check::All("/", &["Sys.Console"]);

/// How long the HA manager takes to see what it is asked for: it looks every ten seconds.
const ROUND_MS: u64 = 10_000;
/// How long what it does then takes.
const DEED_MS: u64 = 4000;

/// What its tasks do.
pub const EFFECTS: &[Effect] = &[
    Effect { name: "cluster.ha.request", run: requested },
    Effect { name: "cluster.ha.round", run: round },
    Effect { name: "cluster.ha.maintenance", run: maintenance::round },
];

/// The endpoints.
pub const ROUTES: &[Route] = &[
    route("GET", "/cluster/ha/resources", &[p::LIST], super::AUDIT, list),
    route("POST", "/cluster/ha/resources", &[p::RESOURCE, p::RESOURCE_NEW], WRITE, create),
    route("GET", "/cluster/ha/resources/{sid}", &[], super::AUDIT, get),
    route("PUT", "/cluster/ha/resources/{sid}", &[p::RESOURCE, p::CHANGE], WRITE, update),
    route("DELETE", "/cluster/ha/resources/{sid}", &[p::RESOURCE_DELETE], WRITE, delete),
    route("GET", "/cluster/ha/rules", &[p::RULES], super::AUDIT, rules),
    route("POST", "/cluster/ha/rules", &[p::RULE, p::RULE_TYPE, p::RULE_NEW], WRITE, create_rule),
    route("GET", "/cluster/ha/rules/{rule}", &[], super::AUDIT, rule),
    route("PUT", "/cluster/ha/rules/{rule}", &[p::RULE, p::RULE_TYPE, p::CHANGE], WRITE, update_rule),
    route("DELETE", "/cluster/ha/rules/{rule}", &[], WRITE, delete_rule),
    route("GET", "/cluster/ha/groups", &[], super::AUDIT, groups),
    route("POST", "/cluster/ha/groups", &[p::GROUP], WRITE, create_group),
    route("GET", "/cluster/ha/status/current", &[], super::AUDIT, current),
    route("GET", "/cluster/ha/status/manager_status", &[], super::AUDIT, manager),
];

fn digest(ctx: &Ctx<'_>, table: &str) -> String {
    let text = ctx.world.tables.get(table).map(|t| json!(t).to_string()).unwrap_or_default();
    digest_of([(&String::new(), &text)])
}

fn row(ctx: &Ctx<'_>, table: &str, key: &str, id: &str, object: &Object) -> Value {
    let mut out = objects::typed(object, &["max_restart", "max_relocate", "failback", "order", "disable", "strict"]);
    out.insert(key.to_owned(), id.into());
    out.insert("digest".to_owned(), digest(ctx, table).into());
    out.into()
}

fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let rows = objects::all(ctx, RESOURCES).into_iter();
    let wanted = rows.filter(|(_, o)| args.get("type").is_none_or(|t| o.get("type").is_some_and(|own| own == t)));
    Ok(wanted.map(|(id, o)| row(ctx, RESOURCES, "sid", &id, &o)).collect::<Vec<_>>().into())
}

/// `vm:100`, `ct:200`, or only the number of a guest.
fn sid(ctx: &Ctx<'_>, text: &str) -> Result<String, Refusal> {
    let (kind, number) = text.split_once(':').unwrap_or(("", text));
    if !matches!(kind, "" | "vm" | "ct") {
        return Err(Refusal::died(format!("unknown section type '{kind}'")));
    }
    let guest = number.parse::<u32>().ok().and_then(|n| ctx.world.guests.get(&n));
    let own = guest.map(|g| if g.guest_type == GuestType::Lxc { "ct" } else { "vm" });
    match (kind, own) {
        ("", Some(own)) => Ok(format!("{own}:{number}")),
        ("", None) => Err(Refusal::died(format!("resource 'vm:{number}' does not exist in cluster"))),
        _ => Ok(text.to_owned()),
    }
}

fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let sid = sid(ctx, args.text("sid"))?;
    let (kind, number) = sid.split_once(':').unwrap_or(("vm", ""));
    if args.get("group").is_some() {
        return Err(Refusal::died("create resource failed: ha groups have been migrated to rules"));
    }
    let wanted = if kind == "ct" { GuestType::Lxc } else { GuestType::Qemu };
    let guest = number.parse::<u32>().ok().and_then(|n| ctx.world.guests.get(&n));
    if guest.is_none_or(|g| g.guest_type != wanted) {
        return Err(Refusal::died(format!("resource '{sid}' does not exist in cluster")));
    }
    if objects::get(ctx, RESOURCES, &sid).is_some() {
        return Err(Refusal::died(format!("create resource failed: resource ID '{sid}' already defined")));
    }
    let mut object = objects::fields(args, &["sid"]);
    object.insert("type".to_owned(), kind.to_owned());
    object.entry("state".to_owned()).or_insert_with(|| "started".to_owned());
    objects::put(ctx, RESOURCES, &sid, &object);
    power(ctx, &sid);
    Ok(Value::Null)
}

fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let sid = sid(ctx, args.text("sid"))?;
    let object = objects::get(ctx, RESOURCES, &sid);
    let object = object.ok_or_else(|| Refusal::died(format!("no such resource '{sid}'")))?;
    Ok(row(ctx, RESOURCES, "sid", &sid, &object))
}

fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let sid = sid(ctx, args.text("sid"))?;
    let Some(mut object) = objects::get(ctx, RESOURCES, &sid) else {
        return Err(Refusal::died(format!("no such resource '{sid}'")));
    };
    objects::unchanged(args, &digest(ctx, RESOURCES))?;
    for key in args.list("delete") {
        object.remove(key);
    }
    object.extend(objects::fields(args, &["sid"]));
    objects::put(ctx, RESOURCES, &sid, &object);
    power(ctx, &sid);
    Ok(Value::Null)
}

fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let sid = sid(ctx, args.text("sid"))?;
    match remove(ctx.world, &sid, args.get("purge") != Some("0")) {
        true => Ok(Value::Null),
        false => Err(Refusal::died(format!("cannot delete service '{sid}', not HA managed!"))),
    }
}

/// Whether there is such a resource, in whatever state.
pub fn is_configured(world: &World, sid: &str) -> bool {
    world.tables.get(RESOURCES).is_some_and(|t| t.contains_key(sid))
}

/// Whether the HA manager looks after a resource; it leaves `ignored` ones alone.
pub fn is_managed(world: &World, sid: &str) -> bool {
    let resource = world.tables.get(RESOURCES).and_then(|t| t.get(sid));
    resource.is_some_and(|r| r["state"] != "ignored")
}

/// Drops a resource, and with `purge` from the rules that name it; whether there was one.
pub fn remove(world: &mut World, sid: &str, purge: bool) -> bool {
    if purge {
        world.table(RULES).retain(|_, rule| {
            let Some(text) = rule["resources"].as_str() else { return true };
            let rest: Vec<&str> = text.split(',').filter(|r| *r != sid).collect();
            let stays = !rest.is_empty();
            rule["resources"] = rest.join(",").into();
            stays
        });
    }
    world.table(RESOURCES).remove(sid).is_some()
}

/// Asks the HA manager for a state, as a start or stop of a managed guest does: the task ends once that is written down,
/// what it asks for happens later and in a task of the manager's own.
pub fn request(ctx: &mut Ctx<'_>, node: &str, sid: &str, state: &str, own: &Own<'_>) -> Value {
    let (kind, vmid) = sid.split_once(':').unwrap_or(("vm", ""));
    let what = if kind == "ct" { "CT" } else { "VM" };
    let verb = if state == "started" { "start" } else { "stop" };
    let Own { task_type, effect, told } = own;
    let told = json!({ "sid": sid, "state": state, "node": node, "id": vmid, "type": task_type, "effect": effect, "told": told });
    let task = NewTask::new(node, &format!("ha{verb}"), vmid).takes_ms(1000);
    ctx.start(task.says(format!("Requesting HA {verb} for {what} {vmid}")).then("cluster.ha.request", told))
}

/// Asks the HA manager to move a resource, as a migration of a managed guest does; it does so later.
pub fn relocate(ctx: &mut Ctx<'_>, node: &str, sid: &str, target: &str, own: &Own<'_>) -> Value {
    let (kind, vmid) = sid.split_once(':').unwrap_or(("vm", ""));
    let what = if kind == "ct" { "CT" } else { "VM" };
    let Own { task_type, effect, told } = own;
    let state = ctx.world.table(RESOURCES).get(sid).map(|r| r["state"].clone());
    let told = json!({ "sid": sid, "state": state, "node": node, "id": vmid, "type": task_type, "effect": effect, "told": told });
    let task = NewTask::new(node, "hamigrate", vmid).takes_ms(1000);
    ctx.start(
        task.says(format!("Requesting HA migration for {what} {vmid} to node {target}"))
            .then("cluster.ha.request", told),
    )
}

/// The task in which the HA manager does what it was asked for.
#[derive(Clone, Debug)]
pub struct Own<'a> {
    /// `qmstart`, `vzshutdown`, ….
    pub task_type: &'a str,
    /// What happens at its end.
    pub effect: &'static str,
    /// What the effect is told.
    pub told: Value,
}

fn requested(world: &mut World, told: &Value, _: &mut Vec<String>) -> End {
    let sid = told["sid"].as_str().unwrap_or_default().to_owned();
    if let Some(resource) = world.table(RESOURCES).get_mut(&sid) {
        resource["state"] = told["state"].clone();
    }
    later(&mut daemon(world), told);
    End::Ok
}

/// The manager's own hands.
fn daemon(world: &mut World) -> Ctx<'_> {
    Ctx { world, user: "root@pam".to_owned(), task_fault: None, extra: json!({}) }
}

/// Has the manager see in its next round what it is to do.
fn later(ctx: &mut Ctx<'_>, told: &Value) {
    let node = told["node"].as_str().unwrap_or_default();
    let round = NewTask::new(node, "ha-manager", told["sid"].as_str().unwrap_or_default()).takes_ms(ROUND_MS);
    ctx.start(round.unseen().then("cluster.ha.round", told.clone()));
}

/// The manager's round: it does what it was asked for, unless that is not so any more.
fn round(world: &mut World, told: &Value, _: &mut Vec<String>) -> End {
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    let guest = text("id").parse::<u32>().ok().and_then(|n| world.guests.get(&n));
    let there = guest.is_some_and(|g| g.node == text("node"));
    let asked =
        world.tables.get(RESOURCES).and_then(|t| t.get(&text("sid"))).is_some_and(|r| r["state"] == told["state"]);
    let Some(effect) = crate::sim::api::effects().find(|e| e.name == text("effect")) else { return End::Ok };
    if there && asked {
        let mut deed = told["told"].clone();
        deed["sid"] = told["sid"].clone();
        let task = NewTask::new(&text("node"), &text("type"), text("id")).takes_ms(DEED_MS);
        daemon(world).start(task.then(effect.name, deed));
    }
    End::Ok
}

/// Makes a guest's power what its resource says, in the manager's next round.
fn power(ctx: &mut Ctx<'_>, sid: &str) {
    let state = ctx.world.table(RESOURCES).get(sid).map(|r| r["state"].clone()).unwrap_or_default();
    let on = match state.as_str() {
        Some("started" | "enabled") => true,
        Some("stopped" | "disabled") => false,
        _ => return,
    };
    let Some(vmid) = sid.split_once(':').and_then(|(_, n)| n.parse::<u32>().ok()) else { return };
    let Some(guest) = ctx.world.guests.get(&vmid) else { return };
    if (guest.power != Power::Stopped) == on {
        return;
    }
    let node = guest.node.clone();
    let (task_type, effect, deed) = match (guest.guest_type, on) {
        (GuestType::Qemu, true) => ("qmstart", "qemu.power", json!({ "what": "start", "force": true })),
        (GuestType::Qemu, false) => ("qmshutdown", "qemu.power", json!({ "what": "shutdown", "force": true })),
        (GuestType::Lxc, true) => ("vzstart", "lxc.power", json!({ "action": "start" })),
        (GuestType::Lxc, false) => ("vzshutdown", "lxc.power", json!({ "action": "stop" })),
    };
    let mut deed = deed;
    (deed["node"], deed["vmid"], deed["skiplock"]) = (node.as_str().into(), vmid.into(), false.into());
    let told = json!({
        "sid": sid, "state": state, "node": node, "id": vmid.to_string(), "type": task_type, "effect": effect, "told": deed,
    });
    later(ctx, &told);
}

/// What the manager makes of a resource just now (`hastate`): what it is doing with it, else the state asked for.
pub fn state(world: &World, sid: &str) -> Option<String> {
    let resource = world.tables.get(RESOURCES)?.get(sid)?;
    let own =
        world.tasks.iter().find(|t| t.running() && !t.unseen && t.told["sid"] == sid && !t.task_type.starts_with("ha"));
    Some(match own.map(|t| t.task_type.as_str()) {
        Some("qmigrate" | "vzmigrate") => "migrate".to_owned(),
        Some("qmshutdown" | "vzshutdown" | "qmstop" | "vzstop") => "request_stop".to_owned(),
        Some(_) | None => resource["state"].as_str().unwrap_or("started").to_owned(),
    })
}

fn rules(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let rows = objects::all(ctx, RULES).into_iter().filter(|(_, o)| {
        let has = |key: &str, text: &str| o.get(key).is_some_and(|v| v.split(',').any(|p| p == text));
        args.get("type").is_none_or(|t| has("type", t)) && args.get("resource").is_none_or(|r| has("resources", r))
    });
    let rows = rows.enumerate().map(|(i, (id, o))| {
        let mut row = row(ctx, RULES, "rule", &id, &o);
        row["order"] = (i + 1).into();
        row
    });
    Ok(rows.collect::<Vec<_>>().into())
}

fn check_rule(ctx: &Ctx<'_>, object: &Object, what: &str) -> Result<(), Refusal> {
    let nodes = object.get("nodes").map(String::as_str).unwrap_or_default();
    let name = |n: &str| n.split(':').next().unwrap_or(n).to_owned();
    let absent: Vec<String> =
        nodes.split(',').filter(|n| !n.is_empty()).map(name).filter(|n| !ctx.world.nodes.contains_key(n)).collect();
    match absent.is_empty() {
        true => Ok(()),
        false => {
            let text = format!("{what} ha rule failed: cannot use non-existent node(s) {}.", absent.join(", "));
            Err(Refusal::died(text))
        }
    }
}

fn create_rule(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("rule");
    let required: &[&str] =
        if args.text("type") == "node-affinity" { &["resources", "nodes"] } else { &["resources", "affinity"] };
    if let Some(key) = required.iter().find(|k| args.get(k).is_none()) {
        return Err(Refusal::died(format!("missing value for required option '{key}'")));
    }
    if objects::get(ctx, RULES, id).is_some() {
        return Err(Refusal::died(format!("create ha rule failed: HA rule '{id}' already defined")));
    }
    let object = objects::fields(args, &["rule"]);
    check_rule(ctx, &object, "create")?;
    objects::put(ctx, RULES, id, &object);
    Ok(Value::Null)
}

fn no_rule(id: &str) -> Refusal {
    Refusal::died(format!("no such ha rule '{id}'"))
}

fn rule(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("rule");
    let object = objects::get(ctx, RULES, id).ok_or_else(|| no_rule(id))?;
    Ok(row(ctx, RULES, "rule", id, &object))
}

fn update_rule(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("rule");
    let mut object = objects::get(ctx, RULES, id).ok_or_else(|| no_rule(id))?;
    objects::unchanged(args, &digest(ctx, RULES))?;
    for key in args.list("delete") {
        object.remove(key);
    }
    object.extend(objects::fields(args, &["rule"]));
    check_rule(ctx, &object, "update")?;
    objects::put(ctx, RULES, id, &object);
    Ok(Value::Null)
}

fn delete_rule(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ctx.world.table(RULES).remove(args.text("rule"));
    Ok(Value::Null)
}

fn groups(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Err(Refusal::died("cannot index groups: ha groups have been migrated to rules"))
}

fn create_group(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Err(Refusal::died("cannot create group: ha groups have been migrated to rules"))
}

fn current(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let node = ctx.world.entry_node.clone();
    let mut rows = vec![
        json!({ "id": "quorum", "type": "quorum", "node": node, "quorate": u8::from(ctx.world.quorate), "status": "OK" }),
        json!({
            "id": "fencing", "type": "fencing", "node": node, "armed-state": "standby",
            "status": "standby (CRM watchdog standby)",
        }),
    ];
    rows.extend(maintenance::local_managers(ctx.world));
    for (sid, object) in objects::all(ctx, RESOURCES) {
        let number = sid.split(':').nth(1).and_then(|n| n.parse::<u32>().ok());
        let on = number.and_then(|n| ctx.world.guests.get(&n)).map(|g| g.node.clone()).unwrap_or_default();
        let state = object.get("state").cloned().unwrap_or_default();
        rows.push(json!({
            "id": format!("service:{sid}"), "type": "service", "sid": sid, "node": on, "state": state,
            "request_state": state, "status": format!("{sid} ({on}, {state})"),
        }));
    }
    Ok(rows.into())
}

fn manager(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let quorate = if ctx.world.quorate { "1" } else { "0" };
    let nodes = maintenance::node_status(ctx.world);
    Ok(json!({
        "quorum": { "node": ctx.world.entry_node, "quorate": quorate }, "manager_status": { "node_status": nodes },
    }))
}
