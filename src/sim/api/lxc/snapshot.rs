//! Snapshots: most of what can be wrong fails in the task.

use crate::sim::api::lxc::{config, power, view};
use crate::sim::ctx::{Ctx, NewTask, guest_digest};
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::world::{GuestType, Power, Snapshot, World};
use serde_json::{Map, Value, json};

/// Keys of a snapshot that are no part of the container's configuration.
const OWN: [&str; 4] = ["snaptime", "description", "parent", "snapstate"];

/// `GET …/snapshot`.
pub fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let guest = ctx.guest(args.text("node"), GuestType::Lxc, args.vmid())?;
    let mut rows = Vec::new();
    for (name, snapshot) in &guest.snapshots {
        let text = |key: &str| snapshot.config.get(key).map(String::as_str).unwrap_or_default();
        let mut row = json!({ "name": name, "snaptime": config::typed("snaptime", text("snaptime")) });
        row["description"] = match text("description") {
            "" => "".into(),
            some => config::typed("description", some),
        };
        if let Some(parent) = snapshot.config.get("parent") {
            row["parent"] = parent.as_str().into();
        }
        rows.push(row);
    }
    let mut current = json!({
        "name": "current", "description": "You are here!", "digest": guest_digest(guest),
        "running": u8::from(guest.power != Power::Stopped),
    });
    if let Some(parent) = guest.config.get("parent") {
        current["parent"] = parent.as_str().into();
    }
    rows.push(current);
    Ok(rows.into())
}

fn task(ctx: &mut Ctx<'_>, args: &Args, task_type: &str, effect: &'static str) -> Value {
    let (node, vmid) = (args.text("node"), args.vmid());
    let told = json!({
        "vmid": vmid, "snapname": args.text("snapname"), "description": args.get("description"),
        "start": args.on("start"),
    });
    ctx.start(NewTask::new(node, task_type, vmid).takes_ms(1500).holds(vmid).then(effect, told))
}

/// `POST …/snapshot`.
pub fn take(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let guest = ctx.guest(args.text("node"), GuestType::Lxc, args.vmid())?;
    config::unlocked(guest)?;
    if args.text("snapname") == "current" {
        return Err(Refusal::died("unable to use snapshot name 'current' (reserved name)"));
    }
    Ok(task(ctx, args, "vzsnapshot", "lxc.snapshot"))
}

/// `DELETE …/snapshot/{snapname}`.
pub fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    config::unlocked(ctx.guest(args.text("node"), GuestType::Lxc, args.vmid())?)?;
    Ok(task(ctx, args, "vzdelsnapshot", "lxc.delsnapshot"))
}

/// `POST …/rollback`.
pub fn rollback(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    config::unlocked(ctx.guest(args.text("node"), GuestType::Lxc, args.vmid())?)?;
    Ok(task(ctx, args, "vzrollback", "lxc.rollback"))
}

fn find<'a>(ctx: &'a mut Ctx<'_>, args: &Args) -> Result<&'a mut Snapshot, Refusal> {
    let name = args.text("snapname");
    let guest = ctx.guest_mut(args.text("node"), GuestType::Lxc, args.vmid())?;
    guest.snapshots.get_mut(name).ok_or_else(|| Refusal::died(format!("snapshot '{name}' does not exist")))
}

/// `GET …/snapshot/{snapname}/config`.
pub fn config(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let snapshot = find(ctx, args)?;
    Ok(snapshot.config.iter().map(|(k, v)| (k.clone(), config::typed(k, v))).collect::<Map<_, _>>().into())
}

/// `PUT …/snapshot/{snapname}/config`.
pub fn put_config(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let snapshot = find(ctx, args)?;
    if let Some(text) = args.get("description") {
        snapshot.config.insert("description".to_owned(), text.to_owned());
    }
    Ok(Value::Null)
}

fn told_of(told: &Value) -> (u32, String) {
    let vmid = told["vmid"].as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
    (vmid, told["snapname"].as_str().unwrap_or_default().to_owned())
}

/// The end of a snapshot.
pub fn taken(world: &mut World, told: &Value, _: &mut Vec<String>) -> End {
    let (vmid, name) = told_of(told);
    let now = world.now();
    let able = world.guests.get(&vmid).is_some_and(|g| view::can_snapshot(world, g));
    let Some(guest) = world.guests.get_mut(&vmid) else { return End::Failed(format!("CT {vmid} does not exist")) };
    if guest.snapshots.contains_key(&name) {
        return End::Failed(format!("snapshot name '{name}' already used"));
    }
    if !able {
        return End::Failed("snapshot feature is not available".to_owned());
    }
    let mut kept = guest.config.clone();
    kept.retain(|k, _| !config::numbered(k, "unused") && k != "lock" && k != "description");
    kept.insert("snaptime".to_owned(), now.to_string());
    if let Some(text) = told["description"].as_str() {
        kept.insert("description".to_owned(), text.to_owned());
    }
    guest.snapshots.insert(name.clone(), Snapshot { config: kept, with_memory: false });
    guest.config.insert("parent".to_owned(), name);
    End::Ok
}

/// The end of a removal: children get the grandparent.
pub fn deleted(world: &mut World, told: &Value, _: &mut Vec<String>) -> End {
    let (vmid, name) = told_of(told);
    let Some(guest) = world.guests.get_mut(&vmid) else { return End::Failed(format!("CT {vmid} does not exist")) };
    let Some(gone) = guest.snapshots.remove(&name) else {
        return End::Failed(format!("snapshot '{name}' does not exist"));
    };
    let parent = gone.config.get("parent").cloned();
    let configs = guest.snapshots.values_mut().map(|s| &mut s.config).chain([&mut guest.config]);
    for config in configs.filter(|c| c.get("parent") == Some(&name)) {
        match &parent {
            Some(parent) => config.insert("parent".to_owned(), parent.clone()),
            None => config.remove("parent"),
        };
    }
    End::Ok
}

/// The end of a rollback.
pub fn rolled_back(world: &mut World, told: &Value, _: &mut Vec<String>) -> End {
    let (vmid, name) = told_of(told);
    let (pid, now) = (world.new_pid(), world.clock_ms);
    let Some(guest) = world.guests.get_mut(&vmid) else { return End::Failed(format!("CT {vmid} does not exist")) };
    let Some(snapshot) = guest.snapshots.get(&name).cloned() else {
        return End::Failed(format!("snapshot '{name}' does not exist"));
    };
    let description = guest.config.get("description").cloned();
    let unused: Vec<(String, String)> = guest
        .config
        .iter()
        .filter(|(k, _)| config::numbered(k, "unused"))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    guest.config = snapshot.config;
    guest.config.retain(|k, _| !OWN.contains(&k.as_str()));
    guest.config.extend(unused);
    guest.config.extend(description.map(|d| ("description".to_owned(), d)));
    guest.config.insert("parent".to_owned(), name);
    guest.pending.clear();
    guest.power = Power::Stopped;
    if told["start"] == true
        && let Err(text) = power::start_now(world, vmid, pid, now)
    {
        return End::Failed(text);
    }
    End::Ok
}
