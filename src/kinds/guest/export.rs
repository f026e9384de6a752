//! A guest's spec as the manifest that would make it so: what `get -o yaml` shows. Every field of the table that PVE holds
//! something for, and every option without a field under `options`.

use crate::base::id::GuestType;
use crate::kinds::guest::mapping::{self, slot_number};
use crate::kinds::guest::observed::GuestSeen;
use crate::kinds::guest::table::{self, At, Row};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Options that PVE keeps for itself.
const OF_PVE: [&str; 8] =
    ["meta", "parent", "runningcpu", "runningmachine", "snapstate", "snaptime", "vmstate", "digest"];

/// Fields whose values PVE makes up; they stay as they are, and would be wrong in a copy.
const MADE_UP: [&str; 4] = ["disks.*.volume", "mounts.*.volume", "hardware.vmGenId", "hardware.smbios.uuid"];

/// The spec that describes the guest as it is.
pub fn export(seen: &GuestSeen) -> Value {
    let guest = seen.row.guest;
    let mut spec = Map::new();
    spec.insert("vmid".into(), json!(seen.row.vmid.get()));
    spec.insert("node".into(), json!(seen.row.node));
    if let Some(name) = own_name(seen) {
        spec.insert("hostName".into(), json!(name));
    }
    if let Some(pool) = &seen.row.pool {
        spec.insert("pool".into(), json!(pool));
    }
    if let (false, power @ ("running" | "stopped")) = (seen.row.template, seen.row.status.as_str()) {
        spec.insert("power".into(), json!(if power == "running" { "Running" } else { "Stopped" }));
    }
    let mut said = BTreeSet::new();
    for row in table::rows(guest).iter().filter(|r| r.path != "name" && r.at != At::Index) {
        match row.list() {
            None => insert(seen, row, "", row.path, &mut spec, &mut said),
            Some(list) => {
                let ours = |key: &str| table::buses(guest, list).iter().any(|bus| slot_number(key, bus).is_some());
                for slot in slots(seen, row).iter().filter(|s| ours(s)) {
                    let entries = spec.entry(list).or_insert_with(|| json!([]));
                    let entry = entry_of(entries, slot);
                    let below = row.path.split_once("*.").map_or(row.path, |(_, below)| below);
                    insert(seen, row, slot, below, entry, &mut said);
                }
            }
        }
    }
    drop_incomplete(guest, &mut spec);
    if let Some((slot, text)) = seen.config.iter().find(|(k, v)| cloud_init(guest, k, v)) {
        let storage = text.split(':').next().unwrap_or("");
        let told = spec.entry("cloudInit").or_insert_with(|| json!({}));
        told["storage"] = json!(storage);
        told["drive"] = json!(slot);
    }
    let options: Map<String, Value> = seen
        .config
        .iter()
        .filter(|(key, _)| !said.contains(*key) && !OF_PVE.contains(&key.as_str()))
        .filter(|(key, _)| table::engine_managed(key).is_none() && table::field_of(guest, key).is_none())
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    spec.insert("options".into(), Value::Object(options));
    spec.retain(|_, v| !matches!(v, Value::Array(a) if a.is_empty()) && !matches!(v, Value::Object(o) if o.is_empty()));
    Value::Object(spec)
}

/// The name that PVE has, where it is another than that of the manifest whose guest it is; empty where PVE has none.
fn own_name(seen: &GuestSeen) -> Option<String> {
    let key = if seen.row.guest == GuestType::Qemu { "name" } else { "hostname" };
    let own = seen.config.get(key).cloned().unwrap_or_default();
    seen.marker.as_ref().is_some_and(|m| m.owner.name != own).then_some(own)
}

/// What the guest has and its spec does not say, in words. Values are not among them: one may be a secret.
pub fn unsaid(seen: &GuestSeen) -> Vec<String> {
    let mut words = Vec::new();
    if seen.config.contains_key("cipassword") {
        words.push("cloud-init's password, which PVE does not tell".to_owned());
    }
    let unused: Vec<String> = seen
        .config
        .iter()
        .filter(|(key, _)| slot_number(key, "unused").is_some())
        .map(|(key, volume)| format!("{key} ({volume})"))
        .collect();
    if !unused.is_empty() {
        words.push(format!("volumes that no slot holds: {}", unused.join(", ")));
    }
    if seen.config.contains_key("parent") {
        words.push("its snapshots".to_owned());
    }
    if !seen.pending.is_empty() {
        words.push(format!("that a restart is still to bring into force: {}", seen.pending.join(", ")));
    }
    if seen.row.ha.is_some() {
        words.push("that it is an HA resource".to_owned());
    }
    let raw: Vec<&str> = seen.config.keys().filter(|k| k.starts_with("lxc.")).map(String::as_str).collect();
    if !raw.is_empty() {
        words.push(format!("raw keys, which only the node's file has: {}", raw.join(", ")));
    }
    words
}

/// The slots that may say something about a field: those of the options there, with the numbers of `ipconfigN` as `netN`.
fn slots(seen: &GuestSeen, row: &Row) -> Vec<String> {
    let keys = seen.config.keys();
    match row.at {
        At::Numbered(stem, _) => keys.filter_map(|k| slot_number(k, stem)).map(|n| format!("net{n}")).collect(),
        At::Option(_) | At::Part(..) | At::Slot | At::SlotPart(_) | At::Volume | At::Index => keys.cloned().collect(),
    }
}

fn cloud_init(guest: GuestType, key: &str, text: &str) -> bool {
    guest == GuestType::Qemu && mapping::is_disk_slot(key) && mapping::is_cloud_init(&mapping::parts(guest, key, text))
}

/// The entry of a slot in a list; made where there is none.
fn entry_of<'a>(list: &'a mut Value, slot: &str) -> &'a mut Map<String, Value> {
    let entries = list.as_array_mut().expect("lists are made as lists");
    let at = entries.iter().position(|e| e["slot"] == slot).unwrap_or_else(|| {
        entries.push(json!({"slot": slot}));
        entries.len() - 1
    });
    entries[at].as_object_mut().expect("entries are made as maps")
}

fn insert(
    seen: &GuestSeen,
    row: &Row,
    slot: &str,
    path: &str,
    into: &mut Map<String, Value>,
    said: &mut BTreeSet<String>,
) {
    let guest = seen.row.guest;
    let whole = row.option(slot).and_then(|o| Some((seen.config.get(&o)?, o)));
    // Cloud-init's drive has fields of its own.
    if whole.as_ref().is_some_and(|(text, option)| cloud_init(guest, option, text)) {
        return;
    }
    let Some(value) = mapping::read_row(guest, &seen.config, row, slot).filter(|_| !MADE_UP.contains(&row.path)) else {
        return;
    };
    if value.is_empty() {
        return;
    }
    said.extend(whole.map(|(_, option)| option));
    let words: Vec<&str> = path.split('.').collect();
    put(into, &words, row.form.to_manifest(&value));
}

fn put(into: &mut Map<String, Value>, words: &[&str], value: Value) {
    match words {
        [] => {}
        [word] => {
            into.insert((*word).to_owned(), value);
        }
        [word, rest @ ..] => {
            let inner = into.entry(*word).or_insert_with(|| json!({}));
            // What stands for the whole is written in full beside its details.
            if !inner.is_object() {
                let name = if inner.is_boolean() { "enabled" } else { "type" };
                *inner = json!({name: inner.clone()});
            }
            put(inner.as_object_mut().expect("just made one"), rest, value);
        }
    }
}

/// Entries that PVE holds and a manifest cannot say, such as the addresses of an interface that is not there, are left out.
fn drop_incomplete(guest: GuestType, spec: &mut Map<String, Value>) {
    let vm = guest == GuestType::Qemu;
    for (list, part) in [("disks", "storage"), ("disks", "iso"), ("networks", "bridge")] {
        let Some(entries) = spec.get_mut(list).and_then(Value::as_array_mut) else { continue };
        let whole = |e: &Value| match (list, part) {
            ("disks", "storage") => e["storage"].is_string() || e["iso"].is_string(),
            ("networks", _) if vm => e["model"].is_string() || e["mac"].is_string() || e["bridge"].is_string(),
            (_, _) => true,
        };
        entries.retain(whole);
    }
}
