//! Snapshots of containers; what their tasks do is in [`crate::sim::api::snapshot`].

use crate::sim::api::lxc::config;
use crate::sim::api::snapshot::{self, Work};
use crate::sim::ctx::{Ctx, guest_digest};
use crate::sim::request::{Args, Refusal};
use crate::sim::world::{GuestType, Power, Snapshot};
use serde_json::{Map, Value, json};

/// `GET …/snapshot`.
pub fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let guest = ctx.guest(args.text("node"), GuestType::Lxc, args.vmid())?;
    let row = |(name, snapshot): (&String, &Snapshot)| {
        let mut row = snapshot::row(name, snapshot);
        if let Some(text) = row["description"].as_str().filter(|t| !t.is_empty()) {
            row["description"] = config::typed("description", text);
        }
        row
    };
    let mut rows: Vec<Value> = guest.snapshots.iter().map(row).collect();
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

/// `POST …/snapshot`.
pub fn take(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    snapshot::free_name(GuestType::Lxc, args.text("snapname"))?;
    Ok(snapshot::start(ctx, args, Work::Take, GuestType::Lxc))
}

/// `DELETE …/snapshot/{snapname}`.
pub fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    Ok(snapshot::start(ctx, args, Work::Delete, GuestType::Lxc))
}

/// `POST …/rollback`.
pub fn rollback(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    Ok(snapshot::start(ctx, args, Work::Rollback, GuestType::Lxc))
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
    if let Some(text) = args.get("description") {
        config::unlocked(ctx.guest(args.text("node"), GuestType::Lxc, args.vmid())?)?;
        find(ctx, args)?.config.insert("description".to_owned(), text.to_owned());
    }
    Ok(Value::Null)
}
