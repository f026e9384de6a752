//! Reading a machine's configuration, what waits included.

use crate::sim::ctx::{Ctx, guest_digest};
use crate::sim::params::qemu::CONFIG;
use crate::sim::request::{Args, Refusal};
use crate::sim::verify::Kind;
use crate::sim::world::GuestType;
use serde_json::{Map, Value, json};

/// A value as PVE sends it: numbers and switches as numbers, all else as text, passwords hidden.
pub(super) fn typed(key: &str, value: &str) -> Value {
    if key == "cipassword" {
        return "**********".into();
    }
    let kind = CONFIG.iter().find(|p| p.declares(key)).map(|p| p.kind);
    match kind {
        Some(Kind::Bool | Kind::Int(..)) => value.parse::<i64>().map_or_else(|_| value.into(), Value::from),
        Some(Kind::Num(..)) => {
            value.parse::<i64>().map(Value::from).or_else(|_| value.parse::<f64>().map(Value::from)).unwrap_or_default()
        }
        _ if key == "snaptime" => value.parse::<i64>().map_or_else(|_| value.into(), Value::from),
        _ => value.into(),
    }
}

/// `GET …/config`.
pub(super) fn read(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let guest = ctx.guest(args.text("node"), GuestType::Qemu, args.vmid())?;
    let mut config = guest.config.clone();
    if let Some(name) = args.get("snapshot") {
        let snapshot = guest.snapshots.get(name);
        config = snapshot.ok_or_else(|| Refusal::died(format!("snapshot '{name}' does not exist")))?.config.clone();
    } else if !args.on("current") {
        for (key, value) in &guest.pending {
            match value {
                Some(value) => config.insert(key.clone(), value.clone()),
                None => config.remove(key),
            };
        }
    }
    let mut out: Map<String, Value> = config.iter().map(|(k, v)| (k.clone(), typed(k, v))).collect();
    out.insert("digest".to_owned(), guest_digest(guest).into());
    Ok(out.into())
}

/// `GET …/pending`.
pub(super) fn pending(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let guest = ctx.guest(args.text("node"), GuestType::Qemu, args.vmid())?;
    let mut rows = vec![json!({"key": "digest", "value": guest_digest(guest)})];
    for (key, value) in &guest.config {
        let mut row = json!({"key": key, "value": typed(key, value)});
        match guest.pending.get(key) {
            Some(Some(new)) => row["pending"] = typed(key, new),
            Some(None) => row["delete"] = 1.into(),
            None => {}
        }
        rows.push(row);
    }
    for (key, value) in guest.pending.iter().filter(|(k, _)| !guest.config.contains_key(*k)) {
        if let Some(value) = value {
            rows.push(json!({"key": key, "pending": typed(key, value)}));
        }
    }
    Ok(rows.into())
}
