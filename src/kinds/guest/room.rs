//! Room for volumes: whether what is to be made, grown, moved or plugged in fits where it is to go.

use crate::base::id::GuestType;
use crate::base::quantity::Bytes;
use crate::kinds::guest::fit::{made, original, template_of};
use crate::kinds::guest::mapping::{self, Config};
use crate::kinds::guest::observed::GuestSeen;
use crate::kinds::guest::plan::{GuestDesired, Source};
use crate::kinds::guest::{restore, values};
use crate::resource::index::StorageRow;
use crate::resource::kind::PlanContext;
use crate::resource::merge::Difference;
use crate::resource::privilege::{require, require_any};
use crate::resource::reference::Identity;
use crate::resource::step::{Delta, Problem};
use std::collections::BTreeSet;

/// Disks only grow.
pub fn check_shrink(want: &GuestDesired, seen: &GuestSeen, delta: &mut Delta) {
    for (path, size) in &want.fields {
        let Some((slot, "size")) = mapping::volume_path(path) else { continue };
        let Some(have) = mapping::read(want.guest, &seen.config, path) else { continue };
        if let (Some(want), Some(have)) = (Bytes::parse(size), Bytes::parse(&have))
            && want < have
        {
            delta.problems.push(
                Problem::new(path, format!("{slot} has {have} and cannot shrink to {want}"))
                    .help("PVE only grows disks; write the size that it has, or more"),
            );
        }
    }
}

/// Volumes that are not there yet must say where and how large, and fit.
pub fn check_volumes(cx: &PlanContext<'_>, want: &GuestDesired, seen: Option<&GuestSeen>, delta: &mut Delta) {
    let Identity::Guest { node, guest, .. } = cx.identity else { return };
    let slots: BTreeSet<&str> =
        want.fields.keys().filter_map(|p| mapping::volume_path(p)).map(|(slot, _)| slot).collect();
    for slot in slots {
        let held = seen.map_or_else(|| source_config(cx, want), |s| Some(s.config.clone()));
        if held.is_some_and(|c| c.contains_key(slot)) {
            continue;
        }
        let prefix = prefix(*guest, slot);
        let field = |word: &str| want.fields.get(&format!("{prefix}.{word}"));
        if let Some(volume) = field("volume") {
            check_unused(volume, seen, &prefix, delta);
            continue;
        }
        if ["iso", "hostPath", "device"].iter().any(|word| field(word).is_some()) {
            continue;
        }
        let applied = seen.and_then(|s| Some((&s.marker.as_ref()?.applied, &s.config)));
        if let Some((unused, volume)) = applied.and_then(|(applied, config)| values::unplugged(applied, config, slot)) {
            delta.problems.push(
                Problem::new(&prefix, format!("{slot} was taken out, and {unused} holds {volume}, which may be it"))
                    .help(format!(
                        "plug it in again: write `volume: {volume}` in place of `storage` and `size`; or, for a new and empty one, delete {unused} in \
                         PVE first"
                    )),
            );
            continue;
        }
        // An image brings its size, and the disk grows to the one that is wanted.
        let imported = matches!(&want.source, Source::Image { slot: into, .. } if into == slot);
        // PVE chooses their size.
        let fixed = ["efidisk", "tpmstate"].iter().any(|word| mapping::slot_number(slot, word).is_some());
        let size = field("size").and_then(|s| Bytes::parse(s)).or(fixed.then_some(Bytes(4 << 20)));
        let size = size.or(imported.then_some(Bytes(0)));
        match (field("storage"), size) {
            (Some(storage), Some(size)) => {
                check_storage(cx, storage, node, *guest, size, &format!("{prefix}.storage"), delta)
            }
            (None, _) => delta.problems.push(
                Problem::new(&prefix, format!("{slot} is not there yet, and no `storage` says where to make it"))
                    .help(format!("storages of `{node}` that take it: {}", fitting(cx, node, *guest, Bytes(0)))),
            ),
            (_, None) => delta.problems.push(
                Problem::new(&prefix, format!("{slot} is not there yet, and no `size` says how large to make it"))
                    .help("write its size, such as `size: 20Gi`"),
            ),
        }
    }
}

/// The path of a slot in the manifest.
pub fn prefix(guest: GuestType, slot: &str) -> String {
    match (slot, guest) {
        ("rootfs", _) => slot.to_owned(),
        (_, GuestType::Qemu) => format!("disks.{slot}"),
        (_, GuestType::Lxc) => format!("mounts.{slot}"),
    }
}

/// A volume that is plugged in must be one of the guest's own that no slot holds.
fn check_unused(volume: &str, seen: Option<&GuestSeen>, prefix: &str, delta: &mut Delta) {
    let unused: Vec<&str> = seen
        .into_iter()
        .flat_map(|s| s.config.iter())
        .filter(|(key, _)| mapping::slot_number(key, "unused").is_some())
        .map(|(_, text)| text.as_str())
        .collect();
    if !unused.contains(&volume) {
        let list = if unused.is_empty() { "none".to_owned() } else { unused.join(", ") };
        delta.problems.push(
            Problem::new(&format!("{prefix}.volume"), format!("`{volume}` is no unused volume of this guest"))
                .help(format!("its unused volumes: {list}; to make a new one, give `storage` and `size`")),
        );
    }
}

/// What a slot that is taken cannot become: another volume, or a CD drive in place of a disk.
pub fn check_changed(
    cx: &PlanContext<'_>,
    want: &GuestDesired,
    seen: &GuestSeen,
    differences: &[Difference],
    delta: &mut Delta,
) {
    let Identity::Guest { node, guest, .. } = cx.identity else { return };
    for d in differences {
        let (Some((slot, part)), Some(to)) = (mapping::volume_path(&d.path), &d.to) else { continue };
        let Some(text) = seen.config.get(slot) else { continue };
        match (part, &d.from) {
            ("storage", Some(_)) => check_move(cx, seen, (node, *guest), (&d.path, slot, to), delta),
            ("size" | "iso" | "hostPath" | "device", Some(_)) => {}
            ("volume" | "storage" | "size" | "iso" | "hostPath" | "device", _) => {
                let file = mapping::parts(*guest, slot, text);
                let file = file.get("file").or_else(|| file.get("volume")).unwrap_or("").to_owned();
                delta.problems.push(
                    Problem::new(&d.path, format!("{slot} holds `{file}`, and the manifest says `{part}: {to}`")).help(
                        "what a slot holds is never replaced: take it out first (leave it out of the manifest with `update: {volumes: Detach}`), or use another slot",
                    ),
                );
            }
            ("efiType" | "preEnrolledKeys" | "msCert" | "version", _) => delta.problems.push(
                Problem::new(&d.path, format!("`{part}` of {slot} is decided when it is made"))
                    .help("put the old value back; or leave the slot out with `update: {volumes: Detach}` and have it made anew"),
            ),
            (_, _) => {}
        }
    }
    if want.volumes == crate::kinds::guest::spec::VolumePolicy::Detach
        && seen.config.get("protection").is_some_and(|p| p == "1")
    {
        for slot in crate::kinds::guest::update::leaving(want, seen) {
            delta.problems.push(
                Problem::new(
                    "update.volumes",
                    format!("{slot} left the manifest, and PVE takes no volume out of a protected guest"),
                )
                .help("set `protection: false` and apply that first, or keep the volume: `update: {volumes: Keep}`"),
            );
        }
    }
}

/// Whether a volume may move to another storage.
fn check_move(
    cx: &PlanContext<'_>,
    seen: &GuestSeen,
    (node, guest): (&str, GuestType),
    (path, slot, to): (&str, &str, &str),
    delta: &mut Delta,
) {
    let parts = mapping::parts(guest, slot, seen.config.get(slot).map_or("", String::as_str));
    let size = parts.get("size").and_then(Bytes::parse).unwrap_or_default();
    check_storage(cx, to, node, guest, size, path, delta);
    let vms = [format!("/vms/{}", seen.row.vmid)];
    require_any(cx, delta, &vms, &["VM.Config.Disk"]);
    if guest == GuestType::Lxc && seen.running() {
        delta.problems.push(
            Problem::new(path, format!("{slot} is to move, and PVE moves volumes of a container only at rest"))
                .help("say `power: Stopped`, apply, and start it again after"),
        );
    }
}

fn source_config(cx: &PlanContext<'_>, want: &GuestDesired) -> Option<Config> {
    // Not there yet: whatever slots it will have is not known, so nothing is refused now.
    let unknown = || -> Config {
        let slots = want.fields.keys().filter_map(|p| mapping::volume_path(p));
        slots.map(|(slot, _)| (slot.to_owned(), String::new())).collect()
    };
    match &want.source {
        Source::Template { template, .. } => {
            match template_of(cx, template).filter(|t| t.row.template && t.lock.is_none()) {
                Some(seen) => Some(seen.config),
                None => Some(unknown()),
            }
        }
        Source::Guest { of, .. } => match original(cx, want.guest, of) {
            Ok(Some(row)) => Some(made(cx, row.vmid).map_or_else(unknown, |s| s.config)),
            Ok(None) | Err(_) => Some(unknown()),
        },
        Source::Archive { volume, .. } => Some(restore::config_of(cx, volume).unwrap_or_else(unknown)),
        Source::Empty | Source::Iso(_) | Source::Image { .. } | Source::OsTemplate(_) | Source::Existing => None,
    }
}

/// Whether a storage is there, takes such volumes and has the room.
pub fn check_storage(
    cx: &PlanContext<'_>,
    storage: &str,
    node: &str,
    guest: GuestType,
    size: Bytes,
    path: &str,
    delta: &mut Delta,
) {
    let content = if guest == GuestType::Qemu { "images" } else { "rootdir" };
    let Some(row) = check_takes(cx, storage, node, content, path, delta) else {
        let at = format!("/storage/{storage}");
        if !cx.seen.index.permissions.is_empty() && !cx.seen.index.may(&at, "Datastore.Audit") {
            require(cx, delta, &at, "Datastore.AllocateSpace");
        }
        return;
    };
    if !row.available {
        delta.problems.push(Problem::new(path, format!("storage `{storage}` on `{node}` is not available")).help(
            format!(
                "look at it with: pvesm status --storage {storage}; or take another: {}",
                fitting(cx, node, guest, size)
            ),
        ));
    } else if row.size > 0 && size.0 > row.size.saturating_sub(row.used) {
        let free = row.size.saturating_sub(row.used);
        let unit = if free >> 30 >= 10 { 30 } else { 20 };
        let free = Bytes(free >> unit << unit);
        delta.problems.push(
            Problem::new(path, format!("storage `{storage}` on `{node}` has {free} free, and {size} are asked for"))
                .help(format!("make room, or take another that has it: {}", fitting(cx, node, guest, size))),
        );
    }
    require(cx, delta, &format!("/storage/{storage}"), "Datastore.AllocateSpace");
}

/// Whether a storage is there and takes content of a type; its row, if it is.
pub fn check_takes<'a>(
    cx: &PlanContext<'a>,
    storage: &str,
    node: &str,
    content: &str,
    path: &str,
    delta: &mut Delta,
) -> Option<&'a StorageRow> {
    let index = &cx.seen.index;
    let Some(row) = index.storages.get(&(node.to_owned(), storage.to_owned())) else {
        let at = format!("/storage/{storage}");
        if !index.permissions.is_empty() && !index.may(&at, "Datastore.Audit") {
            // PVE hides it, so whether it is there is not known.
            require(cx, delta, &at, "Datastore.Audit");
            return None;
        }
        let here =
            index.storages.keys().filter(|(n, _)| n == node).map(|(_, s)| s.as_str()).collect::<Vec<_>>().join(", ");
        delta.problems.push(
            Problem::new(path, format!("node `{node}` has no storage `{storage}`"))
                .help(format!("storages of `{node}` that we may see: {here}")),
        );
        return None;
    };
    if !row.content.contains(content) {
        let all: Vec<&str> =
            row.content.iter().map(String::as_str).filter(|c| !c.is_empty() && *c != "none").chain([content]).collect();
        delta.problems.push(
            Problem::new(path, format!("storage `{storage}` does not take `{content}`"))
                .help(format!("allow it: pvesm set {storage} --content {}", all.join(","))),
        );
    }
    Some(row)
}

/// The storages of a node that would take a volume of such a guest, by name.
fn fitting(cx: &PlanContext<'_>, node: &str, guest: GuestType, size: Bytes) -> String {
    let content = if guest == GuestType::Qemu { "images" } else { "rootdir" };
    let rows = cx.seen.index.storages.values().filter(|s| s.node == node && s.available && s.content.contains(content));
    let names: Vec<&str> =
        rows.filter(|s| s.size.saturating_sub(s.used) >= size.0).map(|s| s.storage.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
