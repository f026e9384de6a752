//! The host link of a node: its disks, what is mounted, and the mount units in `/etc/systemd/system`. What a test or an operator
//! does by hand goes into tables: `nodes/devices` by node, and by `NODE:PATH` `nodes/units`, `nodes/mounted` (by other means),
//! `nodes/fstab`, `nodes/folders` (the names in one) and `nodes/busy` (somebody has a file open there).

use crate::host::mounts::{Folder, Wish, unit_name};
use crate::host::operation::Operation;
use crate::host::token::Token;
use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Check, Refusal, Route};
use crate::sim::verify::{Kind, Param, req};
use crate::sim::world::World;
use serde_json::{Value, json};

const MOUNT: &[Param] = &[
    req("uuid", Kind::Str),
    req("path", Kind::Str),
    req("type", Kind::Str),
    req("options", Kind::Str),
    req("required", Kind::Bool),
    req("any", Kind::Bool),
    req("marker", Kind::Str),
];
const PATH: &[Param] = &[req("path", Kind::Str)];

/// The endpoints.
pub const ROUTES: &[Route] = &[
    Route { method: "GET", path: "/link/{node}/mounts", params: &[], check: Check::User, run: look },
    Route { method: "GET", path: "/link/{node}/folder", params: &[PATH], check: Check::User, run: folder },
    Route { method: "POST", path: "/link/{node}/mounts", params: &[MOUNT], check: Check::User, run: mount },
    Route { method: "DELETE", path: "/link/{node}/mounts", params: &[PATH], check: Check::User, run: unmount },
];

/// The disk of each node that is free to be mounted, as long as no table says what disks there are.
const FREE: [(&str, &str, &str, &str); 2] = [
    ("pve1", "3f1c2a9e-7d54-4b1e-9c58-2f6b8a0d4e11", "ext4", "backup"),
    ("pve2", "5d0e7c44-21b3-4f0a-8a6e-90c1f2b7d3aa", "xfs", "media"),
];
const ROOT: (&str, &str) = ("/dev/mapper/pve-root", "0a4e1f6c-3b2d-4c55-9d0e-7f8a6b5c4d3e");
const DISK_BYTES: u64 = 500 << 30;

/// How the node's program ends badly.
pub(super) fn exits(code: u8, said: impl std::fmt::Display) -> Refusal {
    Refusal::died(format!("exit status {code}: {said}"))
}

/// The operation of a request, as the transports read it.
pub(super) fn operation(method: &str, args: &Args, path: &str) -> Result<Operation, Refusal> {
    // What stands in the path is no parameter of it.
    let given = args.values.iter().filter(|(key, _)| *key != "node" && (*key != "vmid" || path == "pct"));
    let params: Vec<(String, String)> = given.map(|(k, v)| (k.clone(), v.clone())).collect();
    let path = format!("/link/{}/{path}", args.text("node"));
    let read = Operation::read(method, &path, &params).map(|(_, operation)| operation);
    read.ok_or_else(|| Refusal::new(501, format!("{method} {path} is no operation of the host link")))
}

fn at(node: &str, path: &str) -> String {
    format!("{node}:{path}")
}

fn devices(world: &World, node: &str) -> Vec<Value> {
    if let Some(own) = world.tables.get("nodes/devices").and_then(|t| t.get(node)).and_then(Value::as_array) {
        return own.clone();
    }
    let mut all = vec![
        json!({"path": "/dev/sda", "uuid": null, "fstype": null, "size": DISK_BYTES, "label": null, "type": "disk"}),
        json!({"path": "/dev/sda3", "uuid": "K8QXym-pve", "fstype": "LVM2_member", "size": DISK_BYTES, "label": null, "type": "part"}),
        json!({"path": ROOT.0, "uuid": ROOT.1, "fstype": "ext4", "size": DISK_BYTES / 5, "label": null, "type": "lvm"}),
    ];
    let free = FREE.iter().filter(|(of, ..)| *of == node);
    all.extend(free.map(|(_, uuid, kind, label)| {
        json!({"path": "/dev/sdb1", "uuid": uuid, "fstype": kind, "size": 4 * DISK_BYTES, "label": label, "type": "part"})
    }));
    all
}

/// What lies in a table for a node: paths and values.
fn of_node<'w>(world: &'w World, table: &str, node: &str) -> impl Iterator<Item = (&'w str, &'w Value)> {
    let head = format!("{node}:");
    let rows = world.tables.get(table).into_iter().flatten();
    rows.filter_map(move |(key, value)| Some((key.strip_prefix(&head)?, value)))
}

fn mounted(world: &World, node: &str) -> Vec<Value> {
    let mut all = vec![
        json!({"target": "/", "source": ROOT.0, "fstype": "ext4", "options": "rw,relatime", "uuid": ROOT.1}),
        json!({"target": "/dev", "source": "udev", "fstype": "devtmpfs", "options": "rw,nosuid", "uuid": null}),
    ];
    let devices = devices(world, node);
    let by_units = of_node(world, "nodes/units", node).filter(|(_, unit)| unit["active"] == "active");
    all.extend(by_units.map(|(path, unit)| {
        let device = devices.iter().find(|d| d["uuid"] == unit["uuid"]);
        json!({
            "target": path, "source": device.map_or(Value::Null, |d| d["path"].clone()), "fstype": unit["type"],
            "options": format!("rw,relatime,{}", unit["options"].as_str().unwrap_or_default()), "uuid": unit["uuid"],
        })
    }));
    all.extend(of_node(world, "nodes/mounted", node).map(|(path, row)| {
        let mut row = row.clone();
        row["target"] = path.into();
        row
    }));
    all
}

/// Whether something is mounted at a path of a node.
pub fn is_mounted(world: &World, node: &str, path: &str) -> bool {
    mounted(world, node).iter().any(|row| row["target"] == path)
}

/// `GET /link/{node}/mounts`, as the node's program says it.
fn look(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (world, node) = (&*ctx.world, args.text("node"));
    let mut out = format!("[mounts]\n{}\n", json!({"filesystems": mounted(world, node)}));
    out += &format!("[devices]\n{}\n[fstab]\n", json!({"blockdevices": devices(world, node)}));
    for (path, what) in of_node(world, "nodes/fstab", node) {
        out += &format!("{} {path} ext4 defaults 0 2\n", what.as_str().unwrap_or_default());
    }
    for (path, unit) in of_node(world, "nodes/units", node) {
        let word = |key: &str| unit[key].as_str().unwrap_or_default().to_owned();
        out += &format!("[unit {}]\nenabled={}\nactive={}\n", unit_name(path), word("enabled"), word("active"));
        word("text").lines().for_each(|line| out += &format!("|{line}\n"));
    }
    Ok((out + "[end]\n").into())
}

fn inside(world: &World, node: &str, path: &str) -> Folder {
    match world.tables.get("nodes/folders").and_then(|t| t.get(&at(node, path))) {
        Some(Value::Array(names)) if names.is_empty() => Folder::Empty,
        Some(Value::Array(names)) => Folder::Full(names.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect()),
        Some(_) => Folder::NoFolder,
        None => Folder::Absent,
    }
}

/// `GET /link/{node}/folder`.
fn folder(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    operation("GET", args, "folder")?;
    Ok(inside(ctx.world, args.text("node"), args.text("path")).write().into())
}

/// `POST /link/{node}/mounts`: the same checks in the same order as the node's program.
fn mount(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let Operation::Mount { wish } = operation("POST", args, "mounts")? else {
        return Err(Refusal::new(501, "this is no mount"));
    };
    let node = args.text("node").to_owned();
    if wish.command().is_none() {
        return Err(exits(30, "there is no marker"));
    }
    let (path, uuid) = (wish.path.as_str(), wish.uuid.as_str());
    let key = at(&node, path);
    let name = unit_name(path);
    let world = &mut *ctx.world;
    let held = world.tables.get("nodes/units").and_then(|t| t.get(&key)).cloned();
    if held.as_ref().is_some_and(|unit| unit["comment"].is_null()) && !wish.any {
        return Err(exits(32, format!("there is a unit {name} already, which pvectl did not write")));
    }
    let devices = devices(world, &node);
    let device = devices.iter().find(|d| d["uuid"] == uuid);
    match mounted(world, &node).iter().rfind(|row| row["target"] == path) {
        Some(row) if row["uuid"] != uuid => {
            return Err(exits(
                33,
                format!("{} is mounted at {path} already", row["source"].as_str().unwrap_or_default()),
            ));
        }
        Some(_) => {}
        None => {
            if device.is_none() {
                return Err(exits(35, format!("there is no file system with the UUID {uuid} on this node just now")));
            }
            if of_node(world, "nodes/fstab", &node).any(|(at, _)| at == path) {
                return Err(exits(36, format!("/etc/fstab has a line for {path}")));
            }
            if !matches!(inside(world, &node, path), Folder::Absent | Folder::Empty) {
                return Err(exits(38, format!("{path} is no empty folder: what is in it would be hidden")));
            }
        }
    }
    if device.is_some_and(|d| d["fstype"] != wish.file_system.as_str()) {
        return Err(exits(42, format!("systemctl start {name} failed; see: journalctl -u '{name}'")));
    }
    let options: Vec<&str> = wish.options.iter().map(Token::as_str).collect();
    let Wish { uuid, file_system, marker, .. } = &wish;
    let unit = json!({
        "uuid": uuid.as_str(), "type": file_system.as_str(), "options": options.join(","), "text": wish.unit(),
        "comment": marker, "enabled": "enabled", "active": "active",
    });
    world.table("nodes/units").insert(key, unit);
    Ok("".into())
}

/// `DELETE /link/{node}/mounts`.
fn unmount(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    operation("DELETE", args, "mounts")?;
    let path = args.text("path");
    let key = at(args.text("node"), path);
    let held = |table: &str| ctx.world.tables.get(table).and_then(|t| t.get(&key));
    let Some(unit) = held("nodes/units") else { return Ok("".into()) };
    if unit["comment"].is_null() {
        return Err(exits(32, format!("pvectl did not write {}", unit_name(path))));
    }
    if held("nodes/busy").is_some() && unit["active"] == "active" {
        return Err(exits(44, format!("{path} is still mounted: it is in use by the processes 4711")));
    }
    ctx.world.table("nodes/units").remove(&key);
    Ok("".into())
}
