//! Snapshots of virtual machines; what their tasks do is in [`crate::sim::api::snapshot`].

use super::config::typed;
use crate::sim::api::snapshot::{self, Work, memory_blockers};
use crate::sim::ctx::{Ctx, guest_digest};
use crate::sim::request::{Args, Refusal};
use crate::sim::world::{GuestType, Power, Snapshot};
use serde_json::{Map, Value, json};

/// `GET …/snapshot`.
pub(super) fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let guest = ctx.guest(args.text("node"), GuestType::Qemu, args.vmid())?;
    let row = |(name, snapshot): (&String, &Snapshot)| {
        let mut row = snapshot::row(name, snapshot);
        row["vmstate"] = i32::from(snapshot.config.contains_key("vmstate")).into();
        row
    };
    let mut rows: Vec<Value> = guest.snapshots.iter().map(row).collect();
    let mut current = json!({
        "name": "current", "description": "You are here!", "digest": guest_digest(guest),
        "running": i32::from(guest.power != Power::Stopped),
    });
    if let Some(parent) = guest.config.get("parent") {
        current["parent"] = parent.as_str().into();
    }
    rows.push(current);
    Ok(rows.into())
}

/// `POST …/snapshot`.
pub(super) fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    snapshot::free_name(GuestType::Qemu, args.text("snapname"))?;
    let guest = ctx.guest(args.text("node"), GuestType::Qemu, args.vmid())?;
    if args.on("vmstate") {
        memory_blockers(guest).map_err(Refusal::died)?;
    }
    Ok(snapshot::start(ctx, args, Work::Take, GuestType::Qemu))
}

/// `GET …/snapshot/{snapname}`.
pub(super) fn index(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(json!([{"cmd": "rollback"}, {"cmd": "config"}]))
}

fn find<'c>(ctx: &'c mut Ctx<'_>, args: &Args) -> Result<&'c mut Snapshot, Refusal> {
    let name = args.text("snapname");
    let guest = ctx.guest_mut(args.text("node"), GuestType::Qemu, args.vmid())?;
    guest.snapshots.get_mut(name).ok_or_else(|| Refusal::died(format!("snapshot '{name}' does not exist")))
}

/// `GET …/snapshot/{snapname}/config`.
pub(super) fn config(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let found = find(ctx, args)?;
    Ok(found.config.iter().map(|(k, v)| (k.clone(), typed(k, v))).collect::<Map<_, _>>().into())
}

/// `PUT …/snapshot/{snapname}/config`.
pub(super) fn set_config(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ctx.lock_file(args.vmid())?;
    let text = args.get("description").map(str::to_owned);
    if let Some(text) = text {
        super::unlocked(ctx.guest(args.text("node"), GuestType::Qemu, args.vmid())?).map_err(Refusal::died)?;
        find(ctx, args)?.config.insert("description".to_owned(), text);
    }
    Ok(Value::Null)
}

/// `DELETE …/snapshot/{snapname}`.
pub(super) fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    Ok(snapshot::start(ctx, args, Work::Delete, GuestType::Qemu))
}

/// `POST …/snapshot/{snapname}/rollback`.
pub(super) fn rollback(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    if args.on("start") {
        ctx.require(&format!("/vms/{}", args.vmid()), &["VM.PowerMgmt"])?;
    }
    Ok(snapshot::start(ctx, args, Work::Rollback, GuestType::Qemu))
}
