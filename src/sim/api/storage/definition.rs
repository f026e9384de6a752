//! Storage definitions, and what a node says about them.

use crate::sim::api::link_mounts;
use crate::sim::ctx::{Ctx, digest_of};
use crate::sim::request::{Args, Refusal};
use crate::sim::world::{Storage, World};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Options that are numbers in answers.
const NUMBERS: &[&str] = &[
    "create-base-path",
    "create-subdirs",
    "disable",
    "fuse",
    "krbd",
    "max-protected-backups",
    "mkdir",
    "nocow",
    "port",
    "saferemove",
    "shared",
    "skip-cert-verification",
    "snapshot-as-volume-chain",
    "sparse",
    "tagged_only",
];
/// Options without which a type cannot be defined.
const REQUIRED: &[(&str, &[&str])] = &[
    ("dir", &["path"]),
    ("btrfs", &["path"]),
    ("nfs", &["server", "export"]),
    ("cifs", &["server", "share"]),
    ("lvm", &["vgname"]),
    ("lvmthin", &["vgname", "thinpool"]),
    ("zfspool", &["pool"]),
    ("pbs", &["server", "datastore"]),
    ("iscsi", &["portal", "target"]),
];
/// The room behind a new storage.
const NEW_SIZE: u64 = 500 << 30;

/// The digest of the one file that holds all definitions.
fn digest(world: &World) -> String {
    let flat: BTreeMap<String, String> =
        world.storages.iter().map(|(id, s)| (id.clone(), format!("{}{:?}", s.storage_type, s.config))).collect();
    digest_of(&flat)
}

fn row(world: &World, id: &str, storage: &Storage) -> Value {
    let mut out: Map<String, Value> = Map::new();
    for (key, value) in &storage.config {
        let shown = match NUMBERS.contains(&key.as_str()) {
            true => value.parse::<i64>().map_or_else(|_| value.as_str().into(), Value::from),
            false => value.as_str().into(),
        };
        out.insert(key.clone(), shown);
    }
    out.insert("storage".to_owned(), id.into());
    out.insert("type".to_owned(), storage.storage_type.as_str().into());
    out.insert("digest".to_owned(), digest(world).into());
    out.into()
}

/// `GET /storage`.
pub fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let visible = |id: &str| {
        let path = format!("/storage/{id}");
        ctx.may(&path, &["Datastore.Audit"]) || ctx.may(&path, &["Datastore.AllocateSpace"])
    };
    let wanted = |s: &Storage| args.get("type").is_none_or(|t| t == s.storage_type);
    let found = ctx.world.storages.iter().filter(|(id, s)| visible(id) && wanted(s));
    Ok(found.map(|(id, s)| row(ctx.world, id, s)).collect::<Vec<_>>().into())
}

/// `GET /storage/{storage}`.
pub fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("storage");
    let found = ctx.world.storages.get(id).ok_or_else(|| Refusal::died(format!("storage '{id}' does not exist")))?;
    Ok(row(ctx.world, id, found))
}

/// The path that a new storage wants to be a mount point, if nothing is mounted there. Only the node that takes the request
/// looks (`PVE::API2::Storage::Config`, `PVE::Storage::DirPlugin::activate_storage`).
fn unmounted<'a>(world: &World, args: &'a Args) -> Option<&'a str> {
    let path = match args.get("is_mountpoint")? {
        "0" | "no" | "off" | "false" => return None,
        "1" | "yes" | "on" | "true" => args.get("path")?,
        path => path,
    };
    let node = world.entry_node.as_str();
    let here = args.list("nodes").is_empty() || args.list("nodes").contains(&node);
    (here && !link_mounts::is_mounted(world, node, path)).then_some(path)
}

/// `POST /storage`.
pub fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (id, storage_type) = (args.text("storage"), args.text("type"));
    let required = REQUIRED.iter().find(|(t, _)| *t == storage_type).map_or(&[][..], |(_, keys)| keys);
    if let Some(key) = required.iter().find(|k| args.get(k).is_none()) {
        return Err(Refusal::died(format!("missing value for required option '{key}'")));
    }
    if ctx.world.storages.contains_key(id) {
        return Err(Refusal::died(format!("create storage failed: storage ID '{id}' already defined")));
    }
    if let Some(path) = unmounted(ctx.world, args) {
        return Err(Refusal::died(format!(
            "create storage failed: unable to activate storage '{id}' - directory is expected to be a mount point but is not \
             mounted: '{path}'"
        )));
    }
    let kept = |k: &str| !matches!(k, "storage" | "type" | "password" | "encryption-key");
    let mut config: BTreeMap<String, String> =
        args.values.iter().filter(|(k, _)| kept(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let usual = match storage_type {
        "pbs" => "backup",
        "esxi" => "import",
        "lvm" | "lvmthin" | "zfspool" | "rbd" => "images,rootdir",
        _ => "images",
    };
    config.entry("content".to_owned()).or_insert_with(|| usual.to_owned());
    if matches!(storage_type, "nfs" | "cifs" | "cephfs") {
        config.entry("path".to_owned()).or_insert_with(|| format!("/mnt/pve/{id}"));
    }
    let storage = Storage { storage_type: storage_type.to_owned(), config, size: NEW_SIZE, base_used: 0 };
    ctx.world.storages.insert(id.to_owned(), storage);
    Ok(json!({ "storage": id, "type": storage_type }))
}

/// `PUT /storage/{storage}`.
pub fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("storage");
    let failed = |text: String| Refusal::died(format!("update storage failed: {text}"));
    let now = digest(ctx.world);
    if args.get("digest").is_some_and(|d| d != now) {
        return Err(failed("detected modified configuration - file changed by other user? Try again.".to_owned()));
    }
    let storage = ctx.world.storages.get_mut(id).ok_or_else(|| failed(format!("storage '{id}' does not exist")))?;
    for key in args.list("delete") {
        let known = crate::sim::params::storage::OPTIONS.iter().any(|p| p.name == key);
        if !known {
            return Err(failed(format!("no such option '{key}'")));
        }
        if args.get(key).is_some() {
            return Err(failed(format!("unable to delete required option '{key}'")));
        }
        storage.config.remove(key);
    }
    for (key, value) in &args.values {
        match key.as_str() {
            "storage" | "delete" | "digest" | "password" | "encryption-key" => {}
            "disable" | "shared" if value == "0" => {
                storage.config.remove(key);
            }
            _ => {
                storage.config.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(json!({ "storage": id, "type": storage.storage_type }))
}

/// `DELETE /storage/{storage}`: the definition only; volumes stay where they are, unseen.
pub fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("storage");
    let failed = |text: String| Refusal::died(format!("delete storage failed: {text}"));
    let used = format!("{id}:");
    if ctx.world.volumes.iter().any(|v| v.volid.starts_with(&used) && v.parent.is_some()) {
        return Err(failed(format!("can't remove storage - storage is used as base of '{id}'")));
    }
    match ctx.world.storages.remove(id) {
        Some(_) => Ok(Value::Null),
        None => Err(failed(format!("storage '{id}' does not exist"))),
    }
}

fn figures(world: &World, id: &str, storage: &Storage, node: &str) -> Value {
    let active = storage.enabled() && world.nodes.get(node).is_some_and(|n| n.online);
    let used = world.storage_used(id, node);
    json!({
        "type": storage.storage_type, "content": storage.config.get("content").cloned().unwrap_or_default(),
        "shared": u8::from(storage.shared()), "enabled": u8::from(storage.enabled()), "active": u8::from(active),
        "total": if active { storage.size } else { 0 }, "used": if active { used } else { 0 },
        "avail": if active { storage.size.saturating_sub(used) } else { 0 },
    })
}

/// `GET /nodes/{node}/storage`.
pub fn on_node(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let wanted = args.list("content");
    let mut rows = Vec::new();
    for (id, storage) in &ctx.world.storages {
        let path = format!("/storage/{id}");
        let visible = ctx.may(&path, &["Datastore.Audit"]) || ctx.may(&path, &["Datastore.AllocateSpace"]);
        let fits = storage.on_node(node)
            && args.get("target").is_none_or(|t| storage.on_node(t) && storage.enabled())
            && args.get("storage").is_none_or(|s| s == id)
            && (wanted.is_empty() || wanted.iter().any(|c| storage.takes(c)))
            && (!args.on("enabled") || storage.enabled());
        if !visible || !fits {
            continue;
        }
        let mut row = figures(ctx.world, id, storage, node);
        row["storage"] = id.as_str().into();
        if let (Some(used), Some(total)) = (row["used"].as_f64(), row["total"].as_f64().filter(|t| *t > 0.0)) {
            row["used_fraction"] = (used / total).into();
        }
        rows.push(row);
    }
    Ok(rows.into())
}

/// `GET /nodes/{node}/storage/{storage}/status`.
pub fn status(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, id) = (args.text("node"), args.text("storage"));
    let found = ctx.world.storages.get(id).filter(|s| s.on_node(node));
    let storage = found.ok_or_else(|| Refusal::param("storage", "No such storage."))?;
    Ok(figures(ctx.world, id, storage, node))
}
