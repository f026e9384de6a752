//! Simple objects of a table: options as text by name.

use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// An object's options as PVE's file has them.
pub type Object = BTreeMap<String, String>;

/// All objects of a table by id.
pub fn all(ctx: &Ctx<'_>, table: &str) -> Vec<(String, Object)> {
    let stored = ctx.world.tables.get(table).into_iter().flatten();
    stored.filter_map(|(id, v)| Some((id.clone(), serde_json::from_value(v.clone()).ok()?))).collect()
}

/// One object.
pub fn get(ctx: &Ctx<'_>, table: &str, id: &str) -> Option<Object> {
    serde_json::from_value(ctx.world.tables.get(table)?.get(id)?.clone()).ok()
}

/// Keeps an object.
pub fn put(ctx: &mut Ctx<'_>, table: &str, id: &str, object: &Object) {
    ctx.world.table(table).insert(id.to_owned(), json!(object));
}

/// The options of a request, without its ids and what only steers the change.
pub fn fields(args: &Args, ids: &[&str]) -> Object {
    let own = |k: &str| ids.contains(&k) || matches!(k, "delete" | "digest" | "node");
    args.values.iter().filter(|(k, _)| !own(k)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// An object as JSON; the named options are numbers.
pub fn typed(object: &Object, numbers: &[&str]) -> Map<String, Value> {
    let shown = |k: &String, v: &String| match numbers.contains(&k.as_str()) {
        true => v.parse::<i64>().map_or_else(|_| v.as_str().into(), Value::from),
        false => v.as_str().into(),
    };
    object.iter().map(|(k, v)| (k.clone(), shown(k, v))).collect()
}

/// Refuses a change of what has changed meanwhile.
pub fn unchanged(args: &Args, now: &str) -> Result<(), Refusal> {
    match args.get("digest") {
        Some(digest) if digest != now => {
            Err(Refusal::died("detected modified configuration - file changed by other user? Try again."))
        }
        _ => Ok(()),
    }
}
