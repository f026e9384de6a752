//! Endpoints: pools. Both forms of each write exist: the id in the path (deprecated since 8) or as a parameter.

use crate::sim::api::cluster::resources::{guest_row, storage_row};
use crate::sim::ctx::Ctx;
use crate::sim::params::pool as params;
use crate::sim::request::{Args, Check, Refusal, Route};
use crate::sim::task::Effect;
use crate::sim::world::{GuestType, Pool};
use serde_json::{Map, Value, json};

/// The endpoints.
pub const ROUTES: &[Route] = &[
    Route { method: "GET", path: "/pools", params: &[params::LIST], check: Check::User, run: list },
    Route { method: "POST", path: "/pools", params: &[params::CREATE], check: Check::User, run: create },
    Route { method: "PUT", path: "/pools", params: &[params::UPDATE], check: Check::User, run: update },
    Route { method: "DELETE", path: "/pools", params: &[params::DELETE], check: Check::User, run: delete },
    Route { method: "GET", path: "/pools/{poolid}", params: &[params::GET], check: Check::User, run: get },
    Route { method: "PUT", path: "/pools/{poolid}", params: &[params::UPDATE], check: Check::User, run: update },
    Route { method: "DELETE", path: "/pools/{poolid}", params: &[], check: Check::User, run: delete },
];

/// What its tasks do.
pub const EFFECTS: &[Effect] = &[];

/// Demands a privilege on the pool. An id that is none makes an empty path, which nobody has rights on.
fn require(ctx: &Ctx<'_>, id: &str, privilege: &str) -> Result<(), Refusal> {
    match params::pool_id(id) {
        Ok(()) => ctx.require(&format!("/pool/{id}"), &[privilege]),
        Err(_) => Err(Refusal::forbidden(&format!(", {privilege}"))),
    }
}

fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    if let Some(id) = args.get("poolid") {
        let mut row = one(ctx, id, args.get("type"))?;
        row["poolid"] = id.into();
        return Ok(json!([row]));
    }
    let visible = ctx.world.pools.iter().filter(|(id, _)| ctx.may(&format!("/pool/{id}"), &["Pool.Audit"]));
    let row = |(id, pool): (&String, &Pool)| {
        let mut row = json!({ "poolid": id });
        if let Some(comment) = &pool.comment {
            row["comment"] = comment.as_str().into();
        }
        row
    };
    Ok(visible.map(row).collect::<Vec<_>>().into())
}

fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("poolid");
    let mut row = one(ctx, id, args.get("type"))?;
    row["poolid"] = id.into();
    Ok(row)
}

fn one(ctx: &Ctx<'_>, id: &str, kind: Option<&str>) -> Result<Value, Refusal> {
    require(ctx, id, "Pool.Audit")?;
    let pool = ctx.world.pools.get(id).ok_or_else(|| Refusal::died(format!("pool '{id}' does not exist")))?;
    let mut members = Vec::new();
    for vmid in &pool.guests {
        let Some(guest) = ctx.world.guests.get(vmid) else { continue };
        if kind.is_none_or(|k| k == guest.guest_type.as_str()) {
            members.push(guest_row(ctx.world, *vmid, guest));
        }
    }
    if kind.is_none_or(|k| k == "storage") {
        for storage in &pool.storages {
            let Some(definition) = ctx.world.storages.get(storage) else { continue };
            let nodes = ctx.world.nodes.keys().filter(|n| definition.on_node(n));
            members.extend(nodes.map(|n| storage_row(ctx.world, storage, n)));
        }
    }
    let mut out = Map::new();
    out.insert("members".to_owned(), members.into());
    if let Some(comment) = &pool.comment {
        out.insert("comment".to_owned(), comment.as_str().into());
    }
    Ok(out.into())
}

fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("poolid");
    require(ctx, id, "Pool.Allocate")?;
    let failed = |text: String| Refusal::died(format!("create pool failed: {text}"));
    if ctx.world.pools.contains_key(id) {
        return Err(failed(format!("pool '{id}' already exists")));
    }
    if let Some((parent, _)) = id.rsplit_once('/')
        && !ctx.world.pools.contains_key(parent)
    {
        return Err(failed(format!("parent '{parent}' of pool '{id}' does not exist")));
    }
    let pool = Pool { comment: args.get("comment").map(str::to_owned), ..Pool::default() };
    ctx.world.pools.insert(id.to_owned(), pool);
    Ok(Value::Null)
}

fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("poolid");
    require(ctx, id, "Pool.Allocate")?;
    let failed = |text: String| Refusal::died(format!("update pools failed: {text}"));
    let mut pool = ctx.world.pools.get(id).cloned().ok_or_else(|| failed(format!("pool '{id}' does not exist")))?;
    let remove = args.on("delete");
    let mut moved = Vec::new();
    for vmid in args.list("vms").into_iter().filter_map(|v| v.parse::<u32>().ok()) {
        // Who takes a guest in or out needs the right to change its permissions.
        if !ctx.may(&format!("/vms/{vmid}"), &["Permissions.Modify"])
            && !ctx.may(&format!("/vms/{vmid}"), &["VM.Allocate"])
        {
            return Err(Refusal::forbidden(&format!("/vms/{vmid}, VM.Allocate")));
        }
        if remove {
            if !pool.guests.remove(&vmid) {
                return Err(failed(format!("VM {vmid} is not a pool member")));
            }
            continue;
        }
        match ctx.world.pool_of(vmid) {
            Some(own) if own == id => return Err(failed(format!("VM {vmid} is already a pool member"))),
            Some(other) if !args.on("allow-move") => {
                let text = format!("VM {vmid} belongs already to pool '{other}' and 'allow-move' is not set");
                return Err(failed(text));
            }
            Some(_) => moved.push(vmid),
            None => {}
        }
        pool.guests.insert(vmid);
    }
    for storage in args.list("storage") {
        ctx.require(&format!("/storage/{storage}"), &["Datastore.Allocate"])?;
        let changed = match remove {
            true => pool.storages.remove(storage),
            false => pool.storages.insert(storage.to_owned()),
        };
        if !changed {
            let is = if remove { "is not" } else { "is already" };
            return Err(failed(format!("Storage '{storage}' {is} a pool member")));
        }
    }
    if let Some(comment) = args.get("comment") {
        pool.comment = Some(comment.to_owned());
    }
    for other in ctx.world.pools.values_mut() {
        other.guests.retain(|v| !moved.contains(v));
    }
    ctx.world.pools.insert(id.to_owned(), pool);
    Ok(Value::Null)
}

fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("poolid");
    require(ctx, id, "Pool.Allocate")?;
    let failed = |text: String| Refusal::died(format!("delete pool failed: {text}"));
    let pool = ctx.world.pools.get(id).ok_or_else(|| failed(format!("pool '{id}' does not exist")))?;
    let below = format!("{id}/");
    let held = if let Some(child) = ctx.world.pools.keys().find(|p| p.starts_with(&below)) {
        Some(format!("pool '{child}'"))
    } else if let Some(vmid) = pool.guests.iter().find(|v| ctx.world.guests.contains_key(v)) {
        let kind = ctx.world.guests.get(vmid).map(|g| g.guest_type);
        Some(format!("{} {vmid}", if kind == Some(GuestType::Lxc) { "CT" } else { "VM" }))
    } else {
        pool.storages.iter().find(|s| ctx.world.storages.contains_key(*s)).map(|s| format!("storage '{s}'"))
    };
    if let Some(what) = held {
        return Err(failed(format!("pool '{id}' is not empty (contains {what})")));
    }
    ctx.world.pools.remove(id);
    ctx.world.acl.retain(|e| e.path != format!("/pool/{id}"));
    Ok(Value::Null)
}
