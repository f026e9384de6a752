//! Zones: how virtual networks get from node to node.

use super::{VNETS, ZONES, absent, change, children, configured, keep, list, lock, options, row, within};
use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use serde_json::Value;

pub(super) fn all(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let wanted = |id: &str| {
        let path = format!("/sdn/zones/{id}");
        let kind = || configured(ctx, ZONES, id).and_then(|z| z.get("type").cloned());
        (ctx.may(&path, &["SDN.Audit"]) || ctx.may(&path, &["SDN.Allocate"]))
            && args.get("type").is_none_or(|t| kind().as_deref() == Some(t))
    };
    Ok(list(ctx, ZONES, "zone", args, wanted))
}

pub(super) fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    row(ctx, ZONES, "zone", args.text("zone"), args).ok_or_else(|| absent(args.text("zone")))
}

pub(super) fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (id, kind) = (args.text("zone"), args.text("type"));
    let required: &[&str] = match kind {
        "vlan" => &["bridge"],
        "qinq" => &["tag", "bridge"],
        "vxlan" => &["peers"],
        "evpn" => &["vrf-vxlan", "controller"],
        _ => &[],
    };
    if let Some(key) = required.iter().find(|k| args.get(k).is_none()) {
        return Err(Refusal::died(format!("missing value for required option '{key}'")));
    }
    lock::check_object(ctx, args, "create sdn zone")?;
    if configured(ctx, ZONES, id).is_some() {
        return Err(within("create sdn zone", format!("sdn zone object ID '{id}' already defined")));
    }
    let object = options(args, &["zone"]);
    keep(ctx, ZONES, id, Some(&object));
    Ok(Value::Null)
}

pub(super) fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    lock::check_object(ctx, args, "update sdn zone")?;
    let object = change(ctx, args, ZONES, args.text("zone"), &["zone"])?;
    keep(ctx, ZONES, args.text("zone"), Some(&object));
    Ok(Value::Null)
}

pub(super) fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("zone");
    lock::check_object(ctx, args, "delete sdn zone")?;
    if configured(ctx, ZONES, id).is_none() {
        return Err(within("delete sdn zone", format!("sdn '{id}' does not exist")));
    }
    if let Some(vnet) = children(ctx, VNETS, "zone", id) {
        let place = "/usr/share/perl5/PVE/Network/SDN/Zones/Plugin.pm line 149.";
        return Err(within("delete sdn zone", format!("zone {id} is used by vnet {vnet} at {place}")));
    }
    keep(ctx, ZONES, id, None);
    Ok(Value::Null)
}
