//! Subnets of virtual networks.

use super::vnets::allowed;
use super::{NESTED, Object, SUBNETS, VNETS, absent, change, configured, keep, list, lock, options, part, row, within};
use crate::pve::property::PropertyString;
use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use serde_json::Value;
use std::net::IpAddr;

pub(super) fn all(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let vnet = args.text("vnet");
    allowed(ctx, vnet, "SDN.Audit")?;
    let of_vnet = |id: &str| {
        let entry = ctx.world.tables.get(SUBNETS).and_then(|t| t.get(id));
        let parts = entry.into_iter().flat_map(|e| [part(e, "config"), part(e, "running")]).flatten();
        parts.into_iter().any(|o| o.get("vnet").is_some_and(|v| v == vnet))
    };
    let mut rows = list(ctx, SUBNETS, "subnet", args, of_vnet);
    for row in rows.as_array_mut().into_iter().flatten() {
        complete(row);
    }
    Ok(rows)
}

/// What PVE derives from a subnet's id.
fn complete(row: &mut Value) {
    row["id"] = row["subnet"].clone();
    let id = row["subnet"].as_str().unwrap_or_default().to_owned();
    if let [zone, network, mask] = id.split('-').collect::<Vec<_>>()[..] {
        row["zone"] = zone.into();
        row["cidr"] = format!("{network}/{mask}").into();
        row["network"] = network.into();
        row["mask"] = mask.into();
    }
    // What waits keeps its texts; what is in force is taken apart (`get_dhcp_ranges`).
    let texts = row["dhcp-range"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let ranges: Vec<Value> = texts.map(|text| PropertyString::parse(text, "").iter().collect::<Value>()).collect();
    row["dhcp-range"] = ranges.into();
}

/// `validate_dhcp_ranges` of PVE's subnets, as far as it refuses.
fn fits(object: &Object, cidr: &str, what: &str) -> Result<(), Refusal> {
    let failed = || within(what, NESTED);
    let net = cidr.parse::<ipnet::IpNet>().map_err(|_| failed())?;
    let mut before: Vec<(IpAddr, IpAddr)> = Vec::new();
    for text in object.get("dhcp-range").into_iter().flat_map(|ranges| ranges.split('\0')) {
        let parts = PropertyString::parse(text, "");
        let end = |key: &str| parts.get(key).and_then(|a| a.parse::<IpAddr>().ok()).filter(|a| net.contains(a));
        let (Some(first), Some(last)) = (end("start-address"), end("end-address")) else { return Err(failed()) };
        if first > last || before.iter().any(|(a, b)| first <= *b && *a <= last) {
            return Err(failed());
        }
        before.push((first, last));
    }
    Ok(())
}

pub(super) fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("subnet");
    allowed(ctx, args.text("vnet"), "SDN.Audit")?;
    let mut row = row(ctx, SUBNETS, "subnet", id, args).ok_or_else(|| absent(id))?;
    complete(&mut row);
    Ok(row)
}

pub(super) fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (vnet, cidr) = (args.text("vnet"), args.text("subnet"));
    allowed(ctx, vnet, "SDN.Allocate")?;
    lock::check_object(ctx, args, "create sdn subnet")?;
    let parent = configured(ctx, VNETS, vnet).ok_or_else(|| absent(vnet))?;
    let zone = parent.get("zone").cloned().unwrap_or_default();
    let id = format!("{zone}-{}", cidr.replace('/', "-"));
    if configured(ctx, SUBNETS, &id).is_some() {
        return Err(within("create sdn subnet", format!("sdn subnet object ID '{id}' already defined")));
    }
    let mut object = options(args, &["subnet"]);
    for (key, value) in [("vnet", vnet), ("type", "subnet")] {
        object.insert(key.to_owned(), value.to_owned());
    }
    fits(&object, cidr, "create sdn subnet")?;
    keep(ctx, SUBNETS, &id, Some(&object));
    Ok(Value::Null)
}

pub(super) fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    allowed(ctx, args.text("vnet"), "SDN.Allocate")?;
    lock::check_object(ctx, args, "update sdn subnet")?;
    let object = change(ctx, args, SUBNETS, args.text("subnet"), &["subnet"])?;
    let cidr = args.text("subnet").splitn(2, '-').last().unwrap_or_default().replacen('-', "/", 1);
    fits(&object, &cidr, "update sdn subnet")?;
    keep(ctx, SUBNETS, args.text("subnet"), Some(&object));
    Ok(Value::Null)
}

pub(super) fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    allowed(ctx, args.text("vnet"), "SDN.Allocate")?;
    lock::check_object(ctx, args, "delete sdn subnet")?;
    if configured(ctx, SUBNETS, args.text("subnet")).is_none() {
        return Err(within("delete sdn subnet", format!("sdn '{}' does not exist", args.text("subnet"))));
    }
    keep(ctx, SUBNETS, args.text("subnet"), None);
    Ok(Value::Null)
}
