//! A node's own options, name servers, hosts file.

use crate::sim::ctx::{Ctx, digest_of};
use crate::sim::request::{Args, Refusal};
use crate::sim::world::World;
use serde_json::{Map, Value, json};

fn names(world: &World, node: &str) -> Value {
    let stored = world.tables.get("nodes/dns").and_then(|t| t.get(node)).cloned();
    stored.unwrap_or_else(|| json!({ "search": "test.local", "dns1": "127.0.0.1" }))
}

/// A node's search domain.
pub fn search(world: &World, node: &str) -> Option<String> {
    names(world, node)["search"].as_str().map(str::to_owned)
}

/// `GET /nodes/{node}/dns`.
pub fn dns(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    Ok(names(ctx.world, args.text("node")))
}

/// `PUT /nodes/{node}/dns`.
pub fn put_dns(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let kept = args.values.iter().filter(|(k, _)| *k != "node");
    let fields: Map<String, Value> = kept.map(|(k, v)| (k.clone(), v.as_str().into())).collect();
    ctx.world.table("nodes/dns").insert(args.text("node").to_owned(), fields.into());
    Ok(Value::Null)
}

/// `GET /nodes/{node}/hosts`.
pub fn hosts(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let mut text = "127.0.0.1 localhost\n".to_owned();
    for (name, node) in &ctx.world.nodes {
        if let Some(address) = crate::sim::api::cluster::address(node) {
            text.push_str(&format!("{address} {name}.test.local {name}\n"));
        }
    }
    let key = "hosts".to_owned();
    Ok(json!({ "digest": digest_of([(&key, &text)]), "data": text }))
}

/// `GET /nodes/{node}/config`; an absent file has no digest.
pub fn config(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let Some(node) = ctx.world.nodes.get(args.text("node")) else { return Ok(json!({})) };
    let mut out: Map<String, Value> = Map::new();
    for (key, value) in &node.config {
        let shown = match key.as_str() {
            "description" => format!("{value}\n").into(),
            "ballooning-target" | "startall-onboot-delay" => json!(value.parse::<i64>().unwrap_or(0)),
            _ => value.as_str().into(),
        };
        out.insert(key.clone(), shown);
    }
    if !out.is_empty() {
        out.insert("digest".to_owned(), digest_of(&node.config).into());
    }
    match args.get("property") {
        Some(wanted) => Ok(out.into_iter().filter(|(k, _)| k == wanted || k == "digest").collect::<Map<_, _>>().into()),
        None => Ok(out.into()),
    }
}

/// `PUT /nodes/{node}/config`.
pub fn put_config(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let Some(node) = ctx.world.nodes.get_mut(args.text("node")) else { return Ok(Value::Null) };
    if args.get("digest").is_some_and(|d| d != digest_of(&node.config)) {
        return Err(Refusal::died("detected modified configuration - file changed by other user? Try again."));
    }
    for key in args.list("delete") {
        node.config.remove(key);
    }
    for (key, value) in args.values.iter().filter(|(k, _)| !matches!(k.as_str(), "node" | "delete" | "digest")) {
        node.config.insert(key.clone(), value.clone());
    }
    Ok(Value::Null)
}
