//! A guest's spec as the manifest that would make it so: what `get -o yaml` shows.

use crate::base::id::GuestType;
use crate::kinds::guest::mapping;
use crate::kinds::guest::observed::GuestSeen;
use serde_json::{Map, Value, json};

const VM_FIELDS: [&str; 11] = [
    "cores",
    "sockets",
    "cpu",
    "memory",
    "balloon",
    "machine",
    "bios",
    "osType",
    "scsiController",
    "guestAgent",
    "vga",
];
const CT_FIELDS: [&str; 3] = ["cores", "memory", "swap"];
const NUMBERS: [&str; 5] = ["cores", "sockets", "vlan", "mtu", "order"];
const FLAGS: [&str; 8] = ["guestAgent", "discard", "ssd", "ioThread", "backup", "firewall", "onBoot", "nesting"];

/// The spec that describes the guest as it is.
pub fn export(seen: &GuestSeen) -> Value {
    let guest = seen.row.guest;
    let read = |path: &str| mapping::read(guest, &seen.config, path);
    let typed = |word: &str, value: String| {
        if NUMBERS.contains(&word) {
            value.parse::<u64>().map_or_else(|_| json!(value), |n| json!(n))
        } else if FLAGS.contains(&word) {
            json!(value == "1")
        } else {
            json!(value)
        }
    };
    let group = |prefix: &str, words: &[&str]| {
        let found = words.iter().filter_map(|w| Some(((*w).to_owned(), typed(w, read(&format!("{prefix}.{w}"))?))));
        Value::Object(found.collect::<Map<_, _>>())
    };
    let mut spec = Map::new();
    spec.insert("vmid".into(), json!(seen.row.vmid.get()));
    spec.insert("node".into(), json!(seen.row.node));
    if let Some(pool) = &seen.row.pool {
        spec.insert("pool".into(), json!(pool));
    }
    if let Some(tags) = read("tags").filter(|t| !t.is_empty()) {
        spec.insert("tags".into(), json!(tags.split(';').collect::<Vec<_>>()));
    }
    if let Some(text) = read("description").filter(|t| !t.is_empty()) {
        spec.insert("description".into(), json!(text));
    }
    if !seen.row.template {
        match seen.row.status.as_str() {
            "running" => spec.insert("power".into(), json!("Running")),
            "stopped" => spec.insert("power".into(), json!("Stopped")),
            _ => None,
        };
    }
    let vm = guest == GuestType::Qemu;
    spec.insert("hardware".into(), group("hardware", if vm { &VM_FIELDS } else { &CT_FIELDS }));
    let slots = |wanted: &dyn Fn(&str) -> bool| seen.config.keys().filter(|k| wanted(k)).cloned().collect::<Vec<_>>();
    let with_slot = |slot: &str, value: Value| {
        let mut map = Map::from_iter([("slot".to_owned(), json!(slot))]);
        map.extend(value.as_object().cloned().unwrap_or_default());
        Value::Object(map)
    };
    let volumes = |prefix: &str, wanted: &dyn Fn(&str) -> bool, words: &[&str]| {
        let list = slots(wanted).into_iter().filter(|s| read(&format!("{prefix}.{s}.size")).is_some());
        list.map(|s| with_slot(&s, group(&format!("{prefix}.{s}"), words))).collect::<Vec<_>>()
    };
    if vm {
        spec.insert(
            "disks".into(),
            json!(volumes(
                "disks",
                &mapping::is_disk_slot,
                &["storage", "size", "discard", "ssd", "ioThread", "cache", "backup"]
            )),
        );
    } else {
        spec.insert("rootfs".into(), group("rootfs", &["storage", "size"]));
        spec.insert(
            "mounts".into(),
            json!(volumes(
                "mounts",
                &|k| mapping::slot_number(k, "mp").is_some(),
                &["storage", "size", "path", "backup"]
            )),
        );
    }
    let words: &[&str] = if vm {
        &["bridge", "vlan", "model", "mac", "firewall", "mtu", "ip", "gateway"]
    } else {
        &["name", "bridge", "vlan", "mac", "firewall", "mtu", "ip", "gateway"]
    };
    let networks: Vec<Value> =
        slots(&mapping::is_network).iter().map(|s| with_slot(s, group(&format!("networks.{s}"), words))).collect();
    spec.insert("networks".into(), json!(networks));
    let startup = group("startup", &["onBoot", "order"]);
    if startup.as_object().is_some_and(|s| !s.is_empty()) {
        spec.insert("startup".into(), startup);
    }
    if let Some(protection) = read("protection") {
        spec.insert("protection".into(), json!(protection == "1"));
    }
    spec.retain(|_, v| !matches!(v, Value::Array(a) if a.is_empty()) && !matches!(v, Value::Object(o) if o.is_empty()));
    Value::Object(spec)
}
