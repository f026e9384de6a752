//! What a node sees of the world around it: templates to download, URLs, other machines' exports.
//!
//! There is no network in the box. This very machine refuses connections, any other server exists exactly if a storage of
//! the cluster is on it.

use super::apt;
use crate::sim::api::storage::content;
use crate::sim::ctx::{Ctx, NewTask, digest_of};
use crate::sim::request::{Args, Refusal};
use serde_json::{Value, json};

/// Package, version, file ending, system, section, MiB.
const APPLIANCES: &[(&str, &str, &str, &str, &str, u64)] = &[
    ("alpine-3.22-default", "20250617", "tar.xz", "alpine", "system", 3),
    ("debian-12-standard", "12.12-1", "tar.zst", "debian-12", "system", 124),
    ("debian-13-standard", "13.1-2", "tar.zst", "debian-13", "system", 124),
    ("ubuntu-24.04-standard", "24.04-2", "tar.zst", "ubuntu-24.04", "system", 135),
    ("fedora-43-default", "20260115", "tar.xz", "fedora", "system", 100),
    ("rockylinux-10-default", "20251001", "tar.xz", "centos", "system", 110),
];
const MIRROR: &str = "http://download.proxmox.com/images";

fn file((package, version, ending, ..): &(&str, &str, &str, &str, &str, u64)) -> String {
    format!("{package}_{version}_amd64.{ending}")
}

/// What the list says of a file: as long as a SHA-512.
fn sha512(name: &str) -> String {
    let name = name.to_owned();
    let sum = digest_of([(&name, &name)]);
    format!("{}{}", sum.repeat(3), &sum[..8])
}

/// `GET /nodes/{node}/aplinfo`.
pub fn appliances(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let rows = APPLIANCES.iter().map(|appliance| {
        let (package, version, _, os, section, _) = appliance;
        let name = file(appliance);
        let sum = sha512(&name);
        json!({
            "package": package, "version": version, "template": name, "os": os, "section": section, "type": "lxc",
            "architecture": "amd64", "source": MIRROR, "location": format!("{MIRROR}/{section}/{name}"),
            "headline": format!("LXC default image for {os} ({version})"), "description": "",
            "infopage": "https://linuxcontainers.org", "maintainer": "Proxmox Support Team <support@proxmox.com>",
            "md5sum": &sum[..32], "sha512sum": &sum,
        })
    });
    Ok(rows.collect())
}

/// `POST /nodes/{node}/aplinfo`: downloads a template.
pub fn download(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, storage, template) = (args.text("node"), args.text("storage"), args.text("template"));
    ctx.require(&format!("/storage/{storage}"), &["Datastore.AllocateTemplate"])?;
    let known = APPLIANCES.iter().find(|a| file(a) == template);
    let (.., section, mib) = known.ok_or_else(|| Refusal::param("template", "no such template"))?;
    if !ctx.world.usable_storage(storage, node)?.takes("vztmpl") {
        return Err(Refusal::died(format!("storage '{storage}' does not support templates")));
    }
    let url = format!("{MIRROR}/{section}/{template}");
    let mut told = content::arrival(node, storage, "vztmpl", template, &url, mib << 20);
    told["checksum"] = format!("sha512:{}", sha512(template)).into();
    told["keep"] = true.into();
    let line = format!("downloading {url} to {}", content::path_of(ctx.world, &format!("{storage}:vztmpl/{template}")));
    Ok(ctx.start(NewTask::new(node, "download", template).takes_ms(mib * 50).says(line).then("storage.file", told)))
}

/// `GET /nodes/{node}/query-url-metadata`: by the same rules as a download of the URL.
pub fn url_metadata(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    if !ctx.may("/", &["Sys.Audit", "Sys.Modify"]) {
        ctx.require(&format!("/nodes/{node}"), &["Sys.AccessNetwork"])?;
    }
    let url = args.text("url");
    let bad = |status: String| Err(Refusal::died(format!("invalid server response: '{status}'")));
    if let Some(host) = content::refused(url) {
        return bad(format!("500 Can't connect to {host} (Connection refused)"));
    }
    if url.contains("missing") {
        return bad("404 Not Found".to_owned());
    }
    let name = url.split(['?', '#']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    let mime = match name.rsplit('.').next().unwrap_or_default() {
        "iso" => "application/x-iso9660-image",
        "gz" => "application/gzip",
        "xz" => "application/x-xz",
        _ => "application/octet-stream",
    };
    Ok(json!({ "filename": name, "size": content::DOWNLOAD_SIZE, "mimetype": mime }))
}

/// The option of all storages of a type on a server.
fn on_server(ctx: &Ctx<'_>, storage_type: &str, server: &str, key: &str) -> Vec<String> {
    let fits = ctx
        .world
        .storages
        .values()
        .filter(|s| s.storage_type == storage_type && s.config.get("server").is_some_and(|host| host == server));
    fits.filter_map(|s| s.config.get(key).cloned()).collect()
}

/// `GET /nodes/{node}/scan/nfs`.
pub fn nfs(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let server = args.text("server");
    let command = format!("/sbin/showmount --no-headers --exports {server}");
    if !apt::has(ctx.world, args.text("node"), "nfs-common") {
        let text = format!("open3: exec of {command} failed: No such file or directory");
        let place = "/usr/share/perl5/PVE/Tools.pm line 435.";
        return Err(Refusal::died(format!("command '{command}' failed: {text} at {place}")));
    }
    let exports = on_server(ctx, "nfs", server, "export");
    match exports.is_empty() {
        true => Err(Refusal::died(format!("command '{command}' failed: exit code 1"))),
        false => Ok(exports.iter().map(|path| json!({ "path": path, "options": "*" })).collect()),
    }
}

/// `GET /nodes/{node}/scan/lvm`: the volume groups of this node's storages.
pub fn lvm(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let here = ctx.world.storages.values().filter(|s| s.on_node(args.text("node")));
    let groups: std::collections::BTreeSet<&String> = here.filter_map(|s| s.config.get("vgname")).collect();
    Ok(groups.into_iter().map(|vg| json!({ "vg": vg })).collect())
}

/// `GET /nodes/{node}/scan/lvmthin`.
pub fn lvmthin(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let here = ctx
        .world
        .storages
        .values()
        .filter(|s| s.on_node(args.text("node")) && s.config.get("vgname").is_some_and(|vg| vg == args.text("vg")));
    Ok(here.filter_map(|s| s.config.get("thinpool")).map(|lv| json!({ "lv": lv })).collect())
}

/// `GET /nodes/{node}/scan/zfs`.
pub fn zfs(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let here = ctx.world.storages.values().filter(|s| s.on_node(args.text("node")));
    Ok(here.filter_map(|s| s.config.get("pool")).map(|pool| json!({ "pool": pool })).collect())
}

/// `GET /nodes/{node}/scan`.
pub fn index(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let names = ["cifs", "iscsi", "lvm", "lvmthin", "nfs", "pbs", "zfs"];
    Ok(names.iter().map(|n| json!({ "method": n })).collect())
}
