//! Virtual networks: each in a zone, whose rights they have.

use super::{
    NESTED, SUBNETS, VNETS, ZONES, absent, change, children, configured, keep, list, lock, options, row, within,
};
use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use serde_json::Value;

/// Demands a privilege on a virtual network, by the zone that it is in.
pub(super) fn allowed(ctx: &Ctx<'_>, vnet: &str, privilege: &str) -> Result<(), Refusal> {
    let zone = configured(ctx, VNETS, vnet).and_then(|v| v.get("zone").cloned()).unwrap_or_default();
    ctx.require(&format!("/sdn/zones/{zone}/{vnet}"), &[privilege])
}

pub(super) fn all(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    Ok(list(ctx, VNETS, "vnet", args, |id| allowed(ctx, id, "SDN.Audit").is_ok()))
}

pub(super) fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("vnet");
    allowed(ctx, id, "SDN.Audit")?;
    row(ctx, VNETS, "vnet", id, args).ok_or_else(|| absent(id))
}

pub(super) fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (id, zone) = (args.text("vnet"), args.text("zone"));
    ctx.require(&format!("/sdn/zones/{zone}"), &["SDN.Allocate"])?;
    lock::check_object(ctx, args, "create sdn vnet")?;
    let failed = |text: String| within("create sdn vnet", text);
    if configured(ctx, VNETS, id).is_some() {
        return Err(failed(format!("sdn vnet object ID '{id}' already defined")));
    }
    let Some(parent) = configured(ctx, ZONES, zone) else {
        let place = "/usr/share/perl5/PVE/API2/Network/SDN/Vnets.pm line 326.";
        return Err(failed(format!("cannot lookup undefined type! at {place}")));
    };
    let simple = parent.get("type").is_some_and(|t| t == "simple");
    if args.get("tag").is_some() == simple {
        return Err(failed(NESTED.to_owned()));
    }
    let mut object = options(args, &["vnet"]);
    object.insert("type".to_owned(), "vnet".to_owned());
    keep(ctx, VNETS, id, Some(&object));
    Ok(Value::Null)
}

pub(super) fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    allowed(ctx, args.text("vnet"), "SDN.Allocate")?;
    lock::check_object(ctx, args, "update sdn vnet")?;
    let object = change(ctx, args, VNETS, args.text("vnet"), &["vnet"])?;
    keep(ctx, VNETS, args.text("vnet"), Some(&object));
    Ok(Value::Null)
}

pub(super) fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("vnet");
    allowed(ctx, id, "SDN.Allocate")?;
    lock::check_object(ctx, args, "delete sdn vnet")?;
    if configured(ctx, VNETS, id).is_none() {
        return Err(within("delete sdn vnet", format!("sdn '{id}' does not exist")));
    }
    if children(ctx, SUBNETS, "vnet", id).is_some() {
        return Err(within("delete sdn vnet", NESTED));
    }
    keep(ctx, VNETS, id, None);
    Ok(Value::Null)
}
