//! What is to be done about a mount. Everything that stands against it is found before anything is sent.

use crate::base::quantity::Bytes;
use crate::host::mounts::{Device, Folder, Mounted, Mounts, Wish, unit_name};
use crate::host::operation::Operation;
use crate::host::token::Token;
use crate::kinds::host_mount::seen::{self, HostMountSeen, There, Unread, place};
use crate::kinds::host_mount::spec::{HostMountSpec, NOFAIL, is_no_file_system};
use crate::kinds::host_mount::storage;
use crate::resource::kind::PlanContext;
use crate::resource::merge::{Cause, Fields, merge};
use crate::resource::step::{Action, Change, Delta, Impact, Limit, Note, Problem, Step};
use std::collections::BTreeSet;

/// The delta of a mount.
pub fn plan(cx: &PlanContext<'_>, desired: Option<&HostMountSpec>, observed: Option<&HostMountSeen>) -> Delta {
    let mut delta = Delta::none(cx.resource.clone(), Some(cx.identity.clone()));
    let (node, path) = place(cx.identity);
    match cx.seen.index.nodes.get(node) {
        Some(row) if row.online => {}
        Some(_) => {
            delta.notes.push(Note::NodeOffline(node.to_owned()));
            return delta;
        }
        None => {
            let known = cx.seen.index.nodes.keys().cloned().collect::<Vec<_>>().join(", ");
            let problem = Problem::new("node", format!("there is no node `{node}`")).help(format!("nodes: {known}"));
            delta.problems.push(problem);
            return delta;
        }
    }
    let there = match observed {
        Some(HostMountSeen::Unread(why)) => {
            unread(node, why, &mut delta);
            return delta;
        }
        Some(HostMountSeen::There(there)) => Some(there.as_ref()),
        None => None,
    };
    if let Some(problem) = there.and_then(|there| ownership(cx, path, there)) {
        delta.problems.push(problem);
        return delta;
    }
    match (desired, there, seen::mounts(node, cx.seen)) {
        (Some(spec), there, Some(Ok(mounts))) => keep(cx, spec, there, &mounts, &mut delta),
        (Some(_), _, Some(Err(why))) => unread(node, &why, &mut delta),
        (Some(_), _, None) => unread(node, &Unread::Failed("its mounts were not asked for".into()), &mut delta),
        (None, Some(there), _) => remove(cx, there, &mut delta),
        (None, None, _) => {}
    }
    delta
}

/// Says why nothing is known of a node.
fn unread(node: &str, why: &Unread, delta: &mut Delta) {
    match why {
        Unread::Away => delta.notes.push(Note::NodeOffline(node.to_owned())),
        Unread::NoLink(reason) => delta.problems.push(
            Problem::new("node", format!("a mount takes the host link: {reason}"))
                .help("PVE's API mounts nothing that has data; the context's `link:` says how the node is reached"),
        ),
        Unread::Failed(why) => delta.problems.push(
            Problem::new("node", format!("the mounts of {node} could not be read: {why}"))
                .help("nothing is known of them, so nothing is done; try again when the node answers"),
        ),
    }
}

/// Why a unit that is there may not be touched, if so.
fn ownership(cx: &PlanContext<'_>, path: &str, there: &There) -> Option<Problem> {
    let name = &there.unit.name;
    match &there.marker {
        None if cx.adopt => None,
        None => Some(
            Problem::new(
                "path",
                format!("the unit {name} mounts `{}` at {path}, and pvectl did not write it", there.unit.what),
            )
            .help(format!("take it over with: pvectl adopt {} -f …, or choose another path", cx.resource)),
        ),
        Some(marker) if marker.owner != *cx.resource || marker.set != cx.set => Some(
            Problem::new("path", format!("{path} belongs to {} of the manifest set `{}`", marker.owner, marker.set))
                .help("one object has one owner: take it out of the other set first"),
        ),
        Some(_) => None,
    }
}

/// A file system for people: `ext4 1b2c on /dev/sdb1 (backup, 500Gi)`.
fn described(device: &Device) -> String {
    let Device { path, uuid, file_system, size, label } = device;
    let label = if label.is_empty() { String::new() } else { format!("{label}, ") };
    format!("{file_system} {uuid} on {path} ({label}{})", Bytes(*size))
}

/// What stands against mounting it.
fn against(cx: &PlanContext<'_>, spec: &HostMountSpec, there: Option<&There>, mounts: &Mounts) -> Vec<Problem> {
    let HostMountSpec { node, uuid, path, fs_type, .. } = spec;
    let mut problems = Vec::new();
    let held = there.and_then(|t| t.unit.uuid());
    if let Some(held) = held.filter(|held| held != uuid) {
        problems.push(
            Problem::new("uuid", format!("{held} is mounted at {path}, and the manifest says {uuid}"))
                .help("another disk is another mount: delete this one first (pvectl delete -f …), then apply"),
        );
    }
    match mounts.devices.iter().find(|d| d.uuid == *uuid) {
        None if there.is_none() => {
            let fit = |d: &&Device| {
                let free = !mounts.mounted.iter().any(|m| m.uuid == d.uuid);
                free && !d.uuid.is_empty() && !is_no_file_system(&d.file_system)
            };
            let free: Vec<String> = mounts.devices.iter().filter(fit).map(described).collect();
            let help = if free.is_empty() {
                "every file system there is mounted already; is the disk connected?".to_owned()
            } else {
                format!("not mounted are: {}", free.join("; "))
            };
            let text = format!("there is no file system with the UUID {uuid} on {node}");
            problems.push(Problem::new("uuid", text).help(help));
        }
        Some(device) if !is_type(&device.file_system, fs_type) => {
            let is = if device.file_system.is_empty() { "nothing known" } else { &device.file_system };
            problems.push(
                Problem::new("fsType", format!("{uuid} on {} is {is}, not {fs_type}", device.path))
                    .help("write what it is; pvectl formats nothing"),
            );
        }
        Some(_) | None => {}
    }
    // A bind mount of a folder of it, or one subvolume more, is no other place of the whole: `/dev/sdb1[/x]`.
    let elsewhere = |m: &&Mounted| m.uuid == *uuid && m.at != *path && !m.source.ends_with(']');
    if let Some(other) = mounts.mounted.iter().find(elsewhere) {
        problems.push(
            Problem::new("uuid", format!("{uuid} is mounted at {} already", other.at))
                .help("mount it in one place: unmount it there, and see that no fstab line or unit mounts it again"),
        );
    }
    let on_top = mounts.at(path);
    if let Some(other) = on_top.filter(|m| m.uuid != *uuid) {
        problems.push(
            Problem::new("path", format!("{} ({}) is mounted at {path}", other.source, other.file_system))
                .help("choose another path, or unmount it first"),
        );
    }
    let by_uuid = [format!("UUID={uuid}"), format!("UUID=\"{uuid}\""), format!("/dev/disk/by-uuid/{uuid}")];
    if let Some((what, at)) = mounts.fstab.iter().find(|(what, at)| at == path || by_uuid.contains(what)) {
        problems.push(
            Problem::new("path", format!("/etc/fstab of {node} has a line for it: {what} at {at}"))
                .help("two that mount the same get in each other's way: take the line out (it stays mounted), systemctl daemon-reload, and apply again"),
        );
    }
    if on_top.is_none() {
        let full = match seen::folder(node, path, cx.seen) {
            Some(Folder::Absent | Folder::Empty) => None,
            Some(Folder::Full(names)) => Some(format!("{path} on {node} is not empty: {}", names.join(", "))),
            Some(Folder::NoFolder) => Some(format!("{path} on {node} is no folder")),
            None => Some(format!("whether {path} on {node} is empty could not be read")),
        };
        problems.extend(full.map(|text| {
            Problem::new("path", text).help("what is in it would be hidden: empty it, or choose another path")
        }));
    }
    problems
}

/// Whether a type in a manifest is what lsblk calls it: NTFS has several drivers.
fn is_type(held: &str, wanted: &str) -> bool {
    held == wanted || held == "ntfs" && ["ntfs3", "ntfs-3g"].contains(&wanted)
}

/// The fields that the unit holds.
fn fields(spec: &HostMountSpec) -> Fields {
    let HostMountSpec { node: _, path: _, uuid, fs_type, options, required, storage: _ } = spec;
    let mut fields = Fields::from([("uuid".into(), uuid.clone()), ("fsType".into(), fs_type.clone())]);
    if let Some(options) = options {
        fields.insert("options".into(), seen::options(options.iter().map(String::as_str)));
    }
    if let Some(required) = required {
        fields.insert("required".into(), u8::from(*required).to_string());
    }
    fields
}

fn keep(cx: &PlanContext<'_>, spec: &HostMountSpec, there: Option<&There>, mounts: &Mounts, delta: &mut Delta) {
    let HostMountSpec { node, uuid, path, .. } = spec;
    delta.problems.extend(against(cx, spec, there, mounts));
    if !delta.problems.is_empty() {
        return;
    }
    let wanted = fields(spec);
    let applied = seen::applied(there);
    let mut unit_applied = applied.clone();
    unit_applied.retain(|field, _| !field.starts_with("storage."));
    let differences = merge(&wanted, &unit_applied, |field| there.and_then(|t| t.field(field)), seen::default);
    let mut all = wanted.clone();
    if let Some(storage) = &spec.storage {
        all.insert(storage::ID.into(), storage.id.clone());
        if let Some(content) = &storage.content {
            let content: BTreeSet<&str> = content.iter().map(String::as_str).collect();
            all.insert(storage::CONTENT.into(), content.into_iter().collect::<Vec<_>>().join(","));
        }
    }
    let marker = cx.marker(all);
    let changed = |path: &str, from: Option<String>, to: Option<String>, cause: Cause| Change {
        path: path.to_owned(),
        from,
        to,
        cause,
        impact: Impact::Live,
    };
    delta.changes.extend(differences.iter().map(|d| changed(&d.path, d.from.clone(), d.to.clone(), d.cause)));
    let away = !mounts.devices.iter().any(|d| d.uuid == *uuid);
    if let Some(there) = there {
        for (field, holds) in [("mounted", there.is_mounted() || away), ("enabled", there.is_enabled())] {
            if !holds {
                delta.changes.push(changed(field, Some("no".into()), Some("yes".into()), Cause::Drift));
            }
        }
    }
    if away {
        // It was ours once: a disk that is unplugged is no fault of the manifests.
        let text = format!("the disk {uuid} is not connected to {node} just now; it is mounted when it is back");
        delta.changes.clear();
        delta.notes.push(Note::Warning(text));
        return;
    }
    let told = there.and_then(|t| t.marker.as_ref()).is_some_and(|held| marker.is_as(held));
    let ours = applied.get(storage::ID).is_some_and(|id| spec.storage.as_ref().is_some_and(|s| s.id == *id));
    if let (Some(there), false) = (there, ours) {
        storage::remove(cx, (node, path), there, delta);
    }
    if there.is_none() || !told || !delta.changes.is_empty() {
        match wish(cx, spec, &wanted, there, marker.join("")) {
            Some(wish) => delta.steps.push(mount(node, there.is_none(), wish)),
            None => delta.problems.push(
                Problem::new("", "the mount cannot be written down").help("give it a shorter path and shorter options"),
            ),
        }
    }
    if let Some(want) = &spec.storage {
        storage::keep(cx, (node, path), want, ours, delta);
    }
    delta.action = match (there, delta.steps.is_empty()) {
        (None, _) => Action::Create,
        (Some(_), false) => Action::Update,
        (Some(_), true) => Action::NoOp,
    };
}

fn mount(node: &str, new: bool, wish: Wish) -> Step {
    let unit = unit_name(wish.path.as_str());
    let title = if new {
        format!("mount {} at {} on {node} ({unit})", wish.uuid, wish.path)
    } else {
        format!("write {unit} on {node} anew and mount by it")
    };
    let call = Operation::Mount { wish }.call(node).expect("to mount is a write");
    Step::new(title, call, Impact::Live).limit(Limit::Node(node.to_owned()))
}

/// What is sent. `None` where something of it is not plain.
fn wish(
    cx: &PlanContext<'_>,
    spec: &HostMountSpec,
    wanted: &Fields,
    there: Option<&There>,
    marker: String,
) -> Option<Wish> {
    let held = |field: &str| wanted.get(field).cloned().or_else(|| there.and_then(|t| t.field(field)));
    // A field that left the manifest goes back to its default, where the unit still holds what was applied.
    let applied = seen::applied(there);
    let of = |field: &str| {
        let left = !wanted.contains_key(field) && applied.contains_key(field);
        if left { seen::default(field) } else { held(field) }.unwrap_or_default()
    };
    let required = of("required") == "1";
    let own = of("options");
    let mut options: Vec<&str> = own.split(',').filter(|o| !o.is_empty()).collect();
    if !required {
        options.insert(0, NOFAIL);
    } else if options.is_empty() {
        options.push("defaults");
    }
    Some(Wish {
        uuid: Token::argument(spec.uuid.as_str())?,
        path: Token::argument(spec.path.as_str())?,
        file_system: Token::argument(spec.fs_type.as_str())?,
        options: options.into_iter().map(Token::argument).collect::<Option<_>>()?,
        required,
        any: cx.adopt,
        marker,
    })
}

fn remove(cx: &PlanContext<'_>, there: &There, delta: &mut Delta) {
    let (node, path) = place(cx.identity);
    delta.action = Action::Delete;
    storage::remove(cx, (node, path), there, delta);
    let ours = seen::applied(Some(there)).remove(storage::ID);
    let others: Vec<String> =
        storage::on(&cx.seen.index, path).into_iter().filter(|id| Some(id) != ours.as_ref()).collect();
    if !others.is_empty() {
        delta.problems.push(
            Problem::new("", format!("other storages lie on {path}: {}", others.join(", ")))
                .help("they would be offline: delete their definitions first, or keep the manifest"),
        );
    }
    let Some(path) = Token::argument(path) else { return };
    let title = format!("unmount {path} on {node}; what is on the disk stays");
    let call = Operation::Unmount { path }.call(node).expect("to unmount is a write");
    delta.steps.push(Step::new(title, call, Impact::Live).limit(Limit::Node(node.to_owned())));
}
