//! A node's packages: what is installed, what could be, and where they come from.
//!
//! Tables: `nodes/apt` is the list of available updates as PVE shows it, `nodes/packages` the installed versions that
//! differ from the usual ones (`null` for what is not installed), `nodes/apt.repositories` the repositories of `/etc/apt/sources.list.d`.

use crate::sim::api::cluster::VERSION;
use crate::sim::ctx::{Ctx, NewTask, digest_of};
use crate::sim::inside::packages::Update;
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::world::World;
use serde_json::{Map, Value, json};

const REPOSITORIES: &str = "nodes/apt.repositories";
/// Name, title, section, version of what PVE's version list shows.
const PACKAGES: &[(&str, &str, &str, &str)] = &[
    ("proxmox-ve", "Proxmox Virtual Environment", "admin", "9.1.0"),
    ("pve-manager", "Proxmox Virtual Environment Management Tools", "admin", VERSION),
    ("qemu-server", "QEMU Server Tools", "admin", "9.1.6"),
    ("pve-container", "Proxmox VE Container management tool", "perl", "6.1.2"),
    ("corosync", "cluster engine daemon and utilities", "admin", "3.1.10-pve1"),
    ("ifupdown2", "Network Interface Management tool similar to ifupdown", "admin", "3.3.0-1+pmx11"),
];
/// Handle, name, component of the repositories that PVE knows.
const STANDARD: &[(&str, &str, &str)] = &[
    ("enterprise", "Enterprise", "pve-enterprise"),
    ("no-subscription", "No-Subscription", "pve-no-subscription"),
    ("test", "Test", "pve-test"),
    ("ceph-squid-enterprise", "Ceph Squid Enterprise", "enterprise"),
    ("ceph-squid-no-subscription", "Ceph Squid No-Subscription", "no-subscription"),
    ("ceph-squid-test", "Ceph Squid Test", "test"),
];

fn installed(world: &World, node: &str, name: &str, usual: &str) -> String {
    let own = world.tables.get("nodes/packages").and_then(|t| t.get(node)).and_then(|p| p[name].as_str());
    let upgraded = world.nodes.get(node).and_then(|n| n.disk.packages.get(name)).map(String::as_str);
    own.or(upgraded).unwrap_or(usual).to_owned()
}

/// Whether a package that PVE does not list is there: it is, unless the node's table says `null`.
pub fn has(world: &World, node: &str, name: &str) -> bool {
    let own = world.tables.get("nodes/packages").and_then(|t| t.get(node));
    !own.is_some_and(|p| p.get(name).is_some_and(Value::is_null))
}

/// Whether a node's ifupdown2 is Proxmox's, without which SDN does not come up; else what PVE says.
pub fn ifupdown2_fits(world: &World, node: &str) -> Result<(), String> {
    let version = installed(world, node, "ifupdown2", "+pmx");
    match version.contains("pmx") || version.contains("pve") {
        true => Ok(()),
        false => Err(format!(
            "incompatible 'ifupdown2' package version '{version}'! Did you install from Proxmox repositories?"
        )),
    }
}

/// `GET /nodes/{node}/apt`.
pub fn index(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let names = ["changelog", "repositories", "update", "versions"];
    Ok(names.iter().map(|n| json!({ "id": n })).collect::<Vec<_>>().into())
}

fn updates_of(world: &World, node: &str) -> Value {
    if let Some(own) = world.tables.get("nodes/apt").and_then(|t| t.get(node)) {
        return own.clone();
    }
    let row = |update: Update| {
        let Update { name, from, to, security, .. } = update;
        let origin = if security && !name.contains("proxmox") && !name.contains("pve") { "Debian" } else { "Proxmox" };
        let title = PACKAGES.iter().find(|(n, ..)| *n == name).map_or(name.as_str(), |(_, title, ..)| title);
        let mut row = json!({
            "Package": name, "Title": title, "Description": title, "Arch": "amd64", "Section": "admin",
            "Priority": "optional", "Origin": origin, "Version": to,
        });
        // What is newly needed has no version yet.
        if from != "-" {
            row["OldVersion"] = from.into();
        }
        row
    };
    world.node_updates(node).into_iter().map(row).collect::<Vec<_>>().into()
}

/// `GET /nodes/{node}/apt/update`.
pub fn updates(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    Ok(updates_of(ctx.world, args.text("node")))
}

/// `POST /nodes/{node}/apt/update`.
pub fn refresh(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let told = json!({ "node": args.text("node") });
    let task = NewTask::new(args.text("node"), "aptupdate", "").takes_ms(3000).then("node.apt.update", told);
    Ok(ctx.start(task.says("starting apt-get update")))
}

/// The index is as new as the repositories are.
pub fn refreshed(world: &mut World, told: &Value, _: &mut Vec<String>) -> End {
    let now_ms = world.clock_ms;
    if let Some(node) = world.nodes.get_mut(told["node"].as_str().unwrap_or_default()) {
        node.disk.index_ms = Some(now_ms);
    }
    End::Ok
}

/// `GET /nodes/{node}/apt/versions`.
pub fn versions(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, updates) = (args.text("node"), updates_of(ctx.world, args.text("node")));
    let rows = PACKAGES.iter().map(|(name, title, section, usual)| {
        let old = installed(ctx.world, node, name, usual);
        let update = updates.as_array().into_iter().flatten().find(|u| u["Package"] == *name);
        let new = update.and_then(|u| u["Version"].as_str()).unwrap_or(&old).to_owned();
        json!({
            "Package": name, "Title": title, "Description": title, "Section": section, "Priority": "optional",
            "Origin": if old == *usual { "Proxmox" } else { "unknown" }, "Arch": "amd64",
            "CurrentState": "Installed", "OldVersion": old, "Version": new,
        })
    });
    Ok(rows.collect::<Vec<_>>().into())
}

/// `GET /nodes/{node}/apt/changelog`: it is fetched from servers that a simulated node cannot reach.
pub fn changelog(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, name) = (args.text("node"), args.text("name"));
    let updates = updates_of(ctx.world, node);
    let update = updates.as_array().into_iter().flatten().find(|u| u["Package"] == name);
    let known = PACKAGES.iter().find(|(n, ..)| *n == name).map(|(.., usual)| installed(ctx.world, node, name, usual));
    let newest = update.and_then(|u| u["Version"].as_str()).map(str::to_owned).or(known);
    let text = match args.get("version").map(str::to_owned).or(newest) {
        Some(version) => format!(
            "E: Failed to fetch changelog:/{name}.changelog  Changelog unavailable for {name}={version}\nRC: 100"
        ),
        None => format!("E: Unable to locate package {name}\nRC: 100"),
    };
    Ok(text.into())
}

fn listed(world: &World, node: &str) -> Vec<Value> {
    let own = world.tables.get(REPOSITORIES).and_then(|t| t.get(node)).and_then(Value::as_array).cloned();
    own.unwrap_or_else(|| {
        vec![json!({
            "Types": ["deb"], "URIs": ["http://deb.debian.org/debian"], "Suites": ["trixie"],
            "Components": ["main", "contrib"], "Options": [{ "Key": "trusted", "Values": ["yes"] }],
            "FileType": "list", "Enabled": 1,
        })]
    })
}

fn digest(world: &World, node: &str) -> String {
    // PVE's are SHA-256 here: 64 digits, where others have 40.
    let (key, text) = (node.to_owned(), Value::from(listed(world, node)).to_string());
    format!("{}{}", digest_of([(&key, &text)]), &digest_of([(&text, &key)])[..24])
}

fn component(repository: &Value) -> impl Iterator<Item = &str> {
    repository["Components"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// `GET /nodes/{node}/apt/repositories`.
pub fn repositories(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let all = listed(ctx.world, node);
    let standard = STANDARD.iter().map(|(handle, name, part)| {
        let mut row: Map<String, Value> = Map::new();
        row.insert("handle".to_owned(), (*handle).into());
        row.insert("name".to_owned(), (*name).into());
        row.insert("description".to_owned(), format!("The {name} repository.").into());
        if let Some(found) = all.iter().find(|r| r["handle"] == *handle || component(r).any(|c| c == *part)) {
            row.insert("status".to_owned(), found["Enabled"].clone());
        }
        Value::Object(row)
    });
    let digest = digest(ctx.world, node);
    let bytes: Vec<u8> =
        (0..32).filter_map(|i| u8::from_str_radix(digest.get(2 * i..2 * i + 2).unwrap_or_default(), 16).ok()).collect();
    let shown = all.iter().cloned().map(|mut r| {
        if let Some(r) = r.as_object_mut() {
            r.remove("handle");
        }
        r
    });
    let file = json!({
        "path": "/etc/apt/sources.list", "file-type": "list", "digest": bytes,
        "repositories": shown.collect::<Vec<_>>(),
    });
    Ok(json!({
        "digest": digest, "errors": [], "infos": [], "files": [file],
        "standard-repos": standard.collect::<Vec<_>>(),
    }))
}

fn unchanged(world: &World, args: &Args) -> Result<(), Refusal> {
    match args.get("digest").is_some_and(|d| d != digest(world, args.text("node"))) {
        true => Err(Refusal::died("detected modified configuration - file changed by other user? Try again.")),
        false => Ok(()),
    }
}

fn keep(world: &mut World, node: &str, all: Vec<Value>) {
    world.table(REPOSITORIES).insert(node.to_owned(), all.into());
}

/// `POST /nodes/{node}/apt/repositories`: one on or off.
pub fn set_repository(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    unchanged(ctx.world, args)?;
    let (node, path) = (args.text("node"), args.text("path"));
    if path != "/etc/apt/sources.list" {
        return Err(Refusal::died(format!("invalid path - {path}")));
    }
    let mut all = listed(ctx.world, node);
    let found = args.int("index").and_then(|i| usize::try_from(i).ok()).and_then(|i| all.get_mut(i));
    let repository = found.ok_or_else(|| Refusal::died(format!("invalid index - {}", args.text("index"))))?;
    if args.get("enabled").is_some() {
        repository["Enabled"] = i32::from(args.on("enabled")).into();
    }
    keep(ctx.world, node, all);
    Ok(Value::Null)
}

/// `PUT /nodes/{node}/apt/repositories`: one of the standard ones, added or turned on.
pub fn add_repository(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    unchanged(ctx.world, args)?;
    let (node, handle) = (args.text("node"), args.text("handle"));
    let known = STANDARD.iter().find(|(h, ..)| *h == handle);
    let (_, _, part) = known.ok_or_else(|| Refusal::died(format!("unknown repository handle '{handle}'")))?;
    let mut all = listed(ctx.world, node);
    match all.iter_mut().find(|r| r["handle"] == handle) {
        Some(repository) => repository["Enabled"] = 1.into(),
        None => {
            let (host, folder) = match (*part, handle.starts_with("ceph")) {
                ("enterprise" | "pve-enterprise", false) => ("https://enterprise.proxmox.com", "pve"),
                ("enterprise", true) => ("https://enterprise.proxmox.com", "ceph-squid"),
                (_, true) => ("http://download.proxmox.com", "ceph-squid"),
                (_, false) => ("http://download.proxmox.com", "pve"),
            };
            all.push(json!({
                "handle": handle, "Types": ["deb"], "URIs": [format!("{host}/debian/{folder}")],
                "Suites": ["trixie"], "Components": [part], "FileType": "list", "Enabled": 1,
            }));
        }
    }
    keep(ctx.world, node, all);
    Ok(Value::Null)
}
