//! Simple objects of a table: options as text by name.

use crate::sim::ctx::{Ctx, digest_of};
use crate::sim::request::{Args, Refusal};
use crate::sim::verify::Param;
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

/// The named options as arrays.
pub fn arrays(object: &Object, names: &[&str], out: &mut Map<String, Value>) {
    for name in names {
        if let Some(text) = object.get(*name) {
            out.insert((*name).to_owned(), text.split('\0').map(Value::from).collect());
        }
    }
}

/// The digest of the file that holds the objects of some tables.
pub fn digest(ctx: &Ctx<'_>, tables: &[&str]) -> String {
    let texts: BTreeMap<String, String> = tables
        .iter()
        .map(|t| ((*t).to_owned(), ctx.world.tables.get(*t).map(|t| json!(t).to_string()).unwrap_or_default()))
        .collect();
    digest_of(&texts)
}

/// Removes the options that `delete` names; `known` are all that there are, `required` must stay.
pub fn remove(args: &Args, object: &mut Object, known: &[&[Param]], required: &[&str]) -> Result<(), Refusal> {
    for key in args.list("delete") {
        if !known.iter().any(|t| t.iter().any(|p| p.declares(key))) {
            return Err(Refusal::died(format!("no such option '{key}'")));
        }
        if required.contains(&key) {
            return Err(Refusal::died(format!("unable to delete required option '{key}'")));
        }
        if args.get(key).is_some() {
            return Err(Refusal::died(format!("cannot set and delete property '{key}' at the same time!")));
        }
        object.remove(key);
    }
    Ok(())
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
