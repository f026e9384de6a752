//! Volumes: list, allocate, free, attributes, downloads.

use crate::base::quantity::Bytes;
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::volume::storage_of;
use crate::sim::world::{Volume, World};
use serde_json::{Map, Value, json};

/// What a download is taken to weigh; nothing is really fetched.
pub const DOWNLOAD_SIZE: u64 = 512 << 20;

fn definition<'a>(ctx: &'a Ctx<'_>, args: &Args) -> Result<&'a crate::sim::world::Storage, Refusal> {
    ctx.world.usable_storage(args.text("storage"), args.text("node"))
}

/// The id in the path: whole, or only the name on this storage.
fn volid(args: &Args) -> String {
    let (storage, name) = (args.text("storage"), args.text("volume"));
    if name.starts_with(&format!("{storage}:")) { name.to_owned() } else { format!("{storage}:{name}") }
}

/// A file's place, for storages made of files.
pub fn path_of(world: &World, volid: &str) -> String {
    let (storage, name) = volid.split_once(':').unwrap_or((volid, ""));
    let base = world.storages.get(storage).and_then(|s| s.config.get("path")).cloned();
    let Some(base) = base else { return format!("/dev/{storage}/{name}") };
    let place = match name.split_once('/') {
        Some(("iso", file)) => format!("template/iso/{file}"),
        Some(("vztmpl", file)) => format!("template/cache/{file}"),
        Some(("backup", file)) => format!("dump/{file}"),
        Some(("snippets", file)) => format!("snippets/{file}"),
        Some(("import", file)) => format!("import/{file}"),
        _ => format!("images/{name}"),
    };
    format!("{base}/{place}")
}

fn row(world: &World, volume: &Volume) -> Value {
    let mut row = json!({
        "volid": volume.volid, "content": volume.content, "format": volume.format, "size": volume.size,
        "ctime": volume.ctime,
    });
    let files = world.storages.get(storage_of(&volume.volid)).is_some_and(|s| s.is_files());
    if matches!(volume.content.as_str(), "images" | "rootdir") {
        if files {
            row["used"] = volume.used.into();
            row["parent"] = volume.parent.clone().map_or(Value::Null, Value::from);
        } else if let Some(parent) = &volume.parent {
            row["parent"] = parent.as_str().into();
        }
    }
    if let Some(vmid) = volume.vmid {
        row["vmid"] = vmid.into();
    }
    if volume.content == "backup" {
        let lxc = volume.volid.contains("vzdump-lxc") || volume.volid.contains("backup/ct/");
        row["subtype"] = if lxc { "lxc" } else { "qemu" }.into();
        if let Some(first) = volume.notes.as_deref().and_then(|notes| notes.lines().next()) {
            row["notes"] = first.into();
        }
        if volume.protected {
            row["protected"] = 1.into();
        }
        // `PVE::Storage::PBSPlugin::list_volumes`.
        if let Some(state) = &volume.verification {
            row["verification"] = json!({ "state": state, "upid": "" });
        }
        if let Some(key) = &volume.encrypted {
            row["encrypted"] = key.as_str().into();
        }
    }
    row
}

/// `GET …/content`. A guest's volumes need rights on the guest or to allocate on the storage.
pub fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    definition(ctx, args)?;
    let (node, storage) = (args.text("node"), args.text("storage"));
    let allocates = ctx.may(&format!("/storage/{storage}"), &["Datastore.Allocate"]);
    let visible = |v: &Volume| match v.vmid {
        // `PVE::Storage::check_volume_access`.
        Some(vmid) if !allocates && v.content == "backup" => {
            ctx.may(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])
                && ctx.may(&format!("/vms/{vmid}"), &["VM.Backup"])
        }
        Some(vmid) if !allocates => {
            ctx.may(&format!("/vms/{vmid}"), &["VM.Config.Disk"])
                || ctx.may(&format!("/storage/{storage}"), &["Datastore.Audit"])
        }
        _ => true,
    };
    let found = ctx.world.volumes.iter().filter(|v| {
        storage_of(&v.volid) == storage
            && v.node.as_deref().is_none_or(|n| n == node)
            && args.get("content").is_none_or(|c| c == v.content)
            && (args.get("vmid").is_none() || v.vmid == Some(args.vmid()))
            && visible(v)
    });
    let mut rows: Vec<(String, Value)> = found.map(|v| (v.volid.clone(), row(ctx.world, v))).collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>().into())
}

/// `POST …/content`.
pub fn allocate(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let storage = definition(ctx, args)?;
    let (node, id, name, vmid) = (args.text("node"), args.text("storage"), args.text("filename"), args.vmid());
    let text = args.text("size");
    // A bare number is kilobytes here.
    let size = match text.parse::<u64>() {
        Ok(kib) => kib << 10,
        Err(_) => Bytes::parse(text).map_or(0, |b| b.0),
    };
    let ending = name.rsplit_once('.').map(|(_, e)| e.to_owned()).filter(|_| storage.is_files());
    let format = args.get("format").map(str::to_owned).or_else(|| ending.clone()).unwrap_or_else(|| "raw".to_owned());
    if ending.is_some_and(|e| e != format) {
        return Err(Refusal::param("format", format!("different storage formats ({format})")));
    }
    let volid = if storage.is_files() { format!("{id}:{vmid}/{name}") } else { format!("{id}:{name}") };
    let (room, shared) = (storage.size, storage.shared());
    if ctx.world.volume(&volid, node).is_some() {
        return Err(Refusal::died(format!("disk image '{}' already exists", path_of(ctx.world, &volid))));
    }
    if ctx.world.storage_used(id, node) + size > room {
        return Err(Refusal::died(format!("unable to create image: not enough free space on storage '{id}'")));
    }
    let ctime = ctx.world.now();
    ctx.world.volumes.push(Volume {
        volid: volid.clone(),
        node: (!shared).then(|| node.to_owned()),
        size,
        used: if format == "qcow2" { size / 8 } else { size },
        format,
        content: "images".to_owned(),
        vmid: Some(vmid),
        ctime,
        ..Volume::default()
    });
    Ok(volid.into())
}

/// Rights on a volume: those of its guest, or of its storage.
fn access(ctx: &Ctx<'_>, args: &Args, volume: Option<&Volume>, privilege: &str) -> Result<(), Refusal> {
    let storage = format!("/storage/{}", args.text("storage"));
    match volume.and_then(|v| v.vmid).filter(|_| volume.is_some_and(|v| v.content != "backup")) {
        Some(vmid) if ctx.may(&format!("/vms/{vmid}"), &["VM.Config.Disk"]) => Ok(()),
        Some(_) => ctx.require(&storage, &["Datastore.Allocate"]),
        None => match ctx.may(&storage, &["Datastore.Allocate"]) {
            true => Ok(()),
            false => ctx.require(&storage, &[privilege]),
        },
    }
}

/// `GET …/content/{volume}`.
pub fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    definition(ctx, args)?;
    let volid = volid(args);
    let found = ctx.world.volume(&volid, args.text("node"));
    access(ctx, args, found, "Datastore.Audit")?;
    let volume = found.ok_or_else(|| Refusal::died(format!("volume_size_info on '{volid}' failed - no size info")))?;
    let format = if matches!(volume.content.as_str(), "images" | "rootdir") { volume.format.as_str() } else { "raw" };
    let mut out: Map<String, Value> = Map::new();
    out.insert("path".to_owned(), path_of(ctx.world, &volid).into());
    out.insert("format".to_owned(), format.into());
    out.insert("size".to_owned(), volume.size.into());
    out.insert("used".to_owned(), volume.used.into());
    if volume.content == "backup" {
        out.insert("protected".to_owned(), u8::from(volume.protected).into());
        out.insert("notes".to_owned(), volume.notes.clone().unwrap_or_default().into());
    }
    Ok(out.into())
}

/// `PUT …/content/{volume}`: notes and protection of a backup.
pub fn put(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    definition(ctx, args)?;
    let volid = volid(args);
    access(ctx, args, ctx.world.volume(&volid, args.text("node")), "Datastore.Allocate")?;
    let Some(volume) = ctx.world.volume_mut(&volid, args.text("node")) else {
        return Err(Refusal::died(format!("volume '{volid}' does not exist")));
    };
    if let Some(notes) = args.get("notes") {
        volume.notes = Some(notes.to_owned());
    }
    if args.get("protected").is_some() {
        volume.protected = args.on("protected");
    }
    Ok(Value::Null)
}

/// `DELETE …/content/{volume}`: also of what is absent.
pub fn free(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    definition(ctx, args)?;
    let (node, storage, volid) = (args.text("node"), args.text("storage"), volid(args));
    let found = ctx.world.volume(&volid, node);
    access(ctx, args, found, "Datastore.AllocateSpace")?;
    let by_name = volid.split(['/', '-', ':']).filter_map(|p| p.parse::<u32>().ok()).find(|n| *n >= 100);
    let owner = found.and_then(|v| v.vmid).or(by_name);
    let id = owner.map_or_else(|| format!("@{storage}"), |vmid| format!("{vmid}@{storage}"));
    let told = json!({ "node": node, "volid": volid });
    Ok(ctx.start(NewTask::new(node, "imgdel", id).takes_ms(500).then("storage.free", told)))
}

/// The end of a removal.
pub fn freed(world: &mut World, told: &Value, lines: &mut Vec<String>) -> End {
    let (node, volid) = (told["node"].as_str().unwrap_or_default(), told["volid"].as_str().unwrap_or_default());
    let (storage, name) = volid.split_once(':').unwrap_or((volid, ""));
    let child = world.volumes.iter().find(|v| v.parent.as_deref() == Some(volid));
    if child.is_some() {
        return End::Failed(format!("base volume '{volid}' is still in use by linked cloned"));
    }
    match world.volume(volid, node) {
        Some(v) if v.protected => {
            return End::Failed(format!("cannot remove protected volume '{name}' on '{storage}'"));
        }
        Some(_) => {
            world.free_volume(volid, node);
        }
        None => lines.push(format!("disk image '{}' does not exist", path_of(world, volid))),
    }
    lines.push(format!("Removed volume '{volid}'"));
    End::Ok
}

/// Whether a file may be called this as content of a type; PVE's words if not.
fn right_ending(content: &str, name: &str) -> Result<(), Refusal> {
    let endings: &[&str] = match content {
        "iso" => &[".iso", ".img"],
        "vztmpl" => &[".tar.gz", ".tar.xz", ".tar.zst", ".tar"],
        // `.img` is none of them (`PVE::Storage`, `UPLOAD_IMPORT_EXT_RE_1`).
        _ => &[".ova", ".qcow2", ".raw", ".vmdk"],
    };
    let safe = name.chars().all(|c| c.is_ascii_alphanumeric() || "-.+=_".contains(c));
    match endings.iter().any(|e| name.ends_with(e)) {
        true if content != "import" || safe => Ok(()),
        true => Err(Refusal::param("filename", "invalid filename or wrong extension")),
        false if content == "import" => Err(Refusal::param("filename", "invalid filename or wrong extension")),
        false => Err(Refusal::param("filename", "wrong file extension")),
    }
}

/// What a file of a URL weighs: distributions' images by their names, anything else [`DOWNLOAD_SIZE`].
fn weight(url: &str) -> u64 {
    let name = url.split(['?', '#']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    let table =
        [("genericcloud", 330), ("debian", 410), ("cloudimg", 600), ("ubuntu", 600), ("alpine", 60), ("Rocky", 560)];
    table.iter().find(|(word, _)| name.contains(word)).map_or(DOWNLOAD_SIZE, |(_, mib)| mib << 20)
}

/// What the effect `storage.file` is told about a file that will arrive.
pub fn arrival(node: &str, storage: &str, content: &str, filename: &str, url: &str, size: u64) -> Value {
    json!({ "node": node, "storage": storage, "content": content, "filename": filename, "url": url, "size": size })
}

fn file_told(args: &Args, size: u64) -> Value {
    let text = |key: &str| args.text(key);
    arrival(text("node"), text("storage"), text("content"), text("filename"), text("url"), size)
}

/// The host of a URL, if it refuses connections.
pub fn refused(url: &str) -> Option<&str> {
    let host = url.split("://").nth(1).and_then(|r| r.split('/').next()).unwrap_or_default();
    let refuses = host.starts_with("127.0.0.1") || host.starts_with("localhost") || url.contains("unreachable");
    refuses.then_some(host)
}

/// `POST …/download-url`. Nothing is fetched: a URL on this very machine is refused as no server listens there, one with
/// `unreachable` or `missing` in it fails, any other yields a file.
pub fn download(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    if !ctx.may("/", &["Sys.Audit", "Sys.Modify"])
        && !ctx.may(&format!("/nodes/{}", args.text("node")), &["Sys.AccessNetwork"])
    {
        return Err(Refusal::forbidden(&format!("/nodes/{}, Sys.AccessNetwork", args.text("node"))));
    }
    if !definition(ctx, args)?.takes(args.text("content")) {
        let text = format!("storage is not configured for content-type '{}'", args.text("content"));
        return Err(Refusal::param("storage", text));
    }
    right_ending(args.text("content"), args.text("filename"))?;
    let (node, url) = (args.text("node"), args.text("url"));
    let volid = format!("{}:{}/{}", args.text("storage"), args.text("content"), args.text("filename"));
    let line = format!("downloading {url} to {}", path_of(ctx.world, &volid));
    let size = weight(url);
    let mut told = file_told(args, size);
    if let (Some(algorithm), Some(digits)) = (args.get("checksum-algorithm"), args.get("checksum")) {
        told["checksum"] = format!("{algorithm}:{}", digits.to_lowercase()).into();
    }
    told["keep"] = true.into();
    // About 50 MiB a second.
    let task = NewTask::new(node, "download", args.text("filename")).takes_ms((size >> 20) * 20).says(line);
    Ok(ctx.start(task.then("storage.file", told)))
}

/// `POST …/oci-registry-pull`: PVE puts the ending to the name itself. The references that fail are those of [`download`].
pub fn pull(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, storage, reference) = (args.text("node"), args.text("storage"), args.text("reference"));
    ctx.require(&format!("/nodes/{node}"), &["Sys.AccessNetwork"])?;
    if !definition(ctx, args)?.takes("vztmpl") {
        return Err(Refusal::died(format!("storage '{storage}' does not support templates")));
    }
    let last = reference.rsplit('/').next().unwrap_or_default();
    let name = args.get("filename").unwrap_or(last);
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-._+".contains(c) { c } else { '_' }).collect();
    let filename = format!("{name}.tar");
    let mut told = arrival(node, storage, "vztmpl", &filename, &format!("docker://{reference}"), 70 << 20);
    told["keep"] = true.into();
    told["mark"] = format!("oci:{reference}").into();
    let line = format!("pulling {reference} to {}", path_of(ctx.world, &format!("{storage}:vztmpl/{filename}")));
    Ok(ctx.start(NewTask::new(node, "ocipull", &filename).takes_ms(4000).says(line).then("storage.file", told)))
}

/// Whether a user may read a backup for a guest: that of the guest itself, or with rights on its storage and its guest
/// (`PVE::Storage::check_volume_access`).
pub fn may_restore(ctx: &Ctx<'_>, volid: &str, node: &str, vmid: u32) -> Result<(), Refusal> {
    let storage = format!("/storage/{}", storage_of(volid));
    let owner = ctx.world.volume(volid, node).and_then(|v| v.vmid);
    match owner {
        _ if ctx.may(&storage, &["Datastore.Allocate"]) => Ok(()),
        Some(owner) if owner == vmid => Ok(()),
        Some(owner) => {
            ctx.require(&storage, &["Datastore.AllocateSpace"])?;
            ctx.require(&format!("/vms/{owner}"), &["VM.Backup"])
        }
        None => Ok(()),
    }
}

/// `POST …/upload`.
pub fn upload(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    if !definition(ctx, args)?.takes(args.text("content")) {
        let text =
            format!("storage '{}' is not configured for content-type '{}'", args.text("storage"), args.text("content"));
        return Err(Refusal::died(text));
    }
    right_ending(args.text("content"), args.text("filename"))?;
    let task = NewTask::new(args.text("node"), "imgcopy", "").takes_ms(1000);
    Ok(ctx.start(task.then("storage.file", file_told(args, 1 << 20))))
}

/// What becomes of a download whose file is there: the right one stays, another is never written over
/// (`PVE::Tools::download_file_from_url`).
fn kept(there: &Volume, wanted: Option<&str>, path: &str, lines: &mut Vec<String>) -> End {
    match (wanted, there.checksum.as_deref()) {
        (None, _) => End::Failed(format!("refusing to override existing file '{path}'")),
        (Some(wanted), Some(held)) if wanted == held => {
            lines.push(
                "calculating checksum of existing file...OK, got correct file already, no need to download".into(),
            );
            End::Ok
        }
        (Some(wanted), held) => {
            let digits = |sum: &str| sum.split_once(':').map_or_else(String::new, |(_, d)| d.to_owned());
            let got = held.map_or_else(|| "0".repeat(64), digits);
            End::Failed(format!("checksum mismatch: got '{got}' != expect '{}', aborting", digits(wanted)))
        }
    }
}

/// The end of a download or upload.
pub fn arrived(world: &mut World, told: &Value, lines: &mut Vec<String>) -> End {
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    let (storage, content, filename, url) = (text("storage"), text("content"), text("filename"), text("url"));
    if let Some(host) = refused(&url) {
        return End::Failed(format!("download failed: Connecting to {host}... failed: Connection refused."));
    }
    if url.contains("missing") {
        return End::Failed("download failed: HTTP request sent, awaiting response... 404 Not Found".to_owned());
    }
    let size = told["size"].as_u64().unwrap_or(0);
    let volid = format!("{storage}:{content}/{filename}");
    let wanted = told["checksum"].as_str();
    if let (Some(there), true) = (world.volume(&volid, &text("node")), told["keep"] == true) {
        return kept(there, wanted, &path_of(world, &volid), lines);
    }
    // What was tampered with has another checksum than the one that its publisher gives.
    if let (Some((algorithm, digits)), true) = (wanted.and_then(|w| w.split_once(':')), url.contains("tampered")) {
        let got = crate::sim::ctx::digest_of([(&url, &algorithm.to_owned())]).repeat(4)[..digits.len()].to_owned();
        return End::Failed(format!("download failed: checksum mismatch: got '{got}' != expect '{digits}'"));
    }
    let checksum = wanted.or(told["mark"].as_str()).map(str::to_owned);
    let Some(definition) = world.storages.get(&storage) else {
        return End::Failed(format!("storage '{storage}' does not exist"));
    };
    let (shared, node) = (definition.shared(), text("node"));
    if world.storage_used(&storage, &node) + size > definition.size {
        return End::Failed("download failed: no space left on device".to_owned());
    }
    let format = match content.as_str() {
        "vztmpl" if filename.ends_with(".gz") => "tgz",
        "vztmpl" if filename.ends_with(".xz") => "txz",
        "vztmpl" if url.starts_with("docker://") => "toci",
        "vztmpl" => "tzst",
        _ => filename.rsplit('.').next().unwrap_or("raw"),
    }
    .to_owned();
    world.free_volume(&volid, &node);
    lines.push(format!("finished file import to '{volid}'"));
    let ctime = world.now();
    world.volumes.push(Volume {
        volid,
        node: (!shared).then_some(node),
        size,
        used: size,
        format,
        bootable: content == "import",
        content,
        ctime,
        checksum,
        ..Volume::default()
    });
    End::Ok
}
