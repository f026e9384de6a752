//! Datacenter options: property strings go in, objects come out.

use crate::pve::property::PropertyString;
use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use serde_json::{Map, Value, json};

/// Options that PVE takes as property strings and shows as objects; with the key of a part that has none.
const OBJECTS: &[(&str, &str)] = &[
    ("crs", ""),
    ("ha", ""),
    ("migration", "type"),
    ("next-id", ""),
    ("notify", ""),
    ("replication", "type"),
    ("tag-style", ""),
    ("u2f", ""),
    ("user-tag-access", ""),
    ("webauthn", ""),
];

/// `GET /cluster/options`.
pub fn get(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let mut out = Map::new();
    // Without Sys.Audit only what every user's interface needs is shown.
    let audit = ctx.may("/", &["Sys.Audit"]);
    for (key, value) in &ctx.world.options {
        if !audit && !matches!(key.as_str(), "console" | "tag-style" | "description" | "consent-text") {
            continue;
        }
        let shown = match OBJECTS.iter().find(|(name, _)| name == key) {
            Some((_, default_key)) => {
                let parts = PropertyString::parse(value, default_key);
                parts.iter().map(|(k, v)| (k.to_owned(), Value::from(v))).collect::<Map<_, _>>().into()
            }
            None if key == "description" => format!("{value}\n").into(),
            None if key == "registered-tags" => value.split(';').collect::<Vec<_>>().into(),
            None => value.parse::<i64>().map_or_else(|_| value.as_str().into(), Value::from),
        };
        out.insert(key.clone(), shown);
    }
    out.entry("description").or_insert_with(|| "".into());
    out.entry("mac_prefix").or_insert_with(|| "BC:24:11".into());
    let tags = out.get("registered-tags").cloned().unwrap_or_else(|| json!([]));
    out.insert("allowed-tags".to_owned(), tags);
    Ok(out.into())
}

/// `PUT /cluster/options`.
pub fn put(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    for key in args.list("delete") {
        ctx.world.options.remove(key);
    }
    for (key, value) in args.values.iter().filter(|(k, _)| *k != "delete") {
        ctx.world.options.insert(key.clone(), value.clone());
    }
    Ok(Value::Null)
}
