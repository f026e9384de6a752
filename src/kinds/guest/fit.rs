//! Does it fit before it starts: storage, content type, room, bridge, VMID, template, privileges. All problems at once, and
//! all before the first request that changes anything.

use crate::base::id::{GuestType, VmId};
use crate::base::quantity::Bytes;
use crate::kinds::guest::mapping::{self, Config};
use crate::kinds::guest::observed::{self, GuestSeen};
use crate::kinds::guest::plan::{GuestDesired, Source};
use crate::kinds::guest::spec::CloneMode;
use crate::kinds::guest::{rights, room, values, words};
use crate::pve::request::Query;
use crate::resource::index::{GuestRow, Index, node_guests_query};
use crate::resource::kind::PlanContext;
use crate::resource::merge::Difference;
use crate::resource::observation::{Observation, guest_query};
use crate::resource::privilege::{require, require_any};
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::{Delta, Problem};
use std::collections::BTreeSet;

/// The read that lists a node's bridges.
pub fn bridges_query(node: &str) -> Query {
    Query::new(format!("/nodes/{node}/network")).with("type", "any_bridge")
}

/// The read that lists the CT archives of a storage.
pub fn archives_query(node: &str, storage: &str) -> Query {
    Query::new(format!("/nodes/{node}/storage/{storage}/content")).with("content", "vztmpl")
}

/// What a guest's plan reads: its own configuration where it is there, its source's, the bridges of its node, and for a
/// new CT the archives of the storage that its template names.
pub fn reads(identity: &Identity, networks: bool, archive: Option<&str>, index: &Index) -> Vec<Query> {
    let Identity::Guest { vmid, node, .. } = identity else { return Vec::new() };
    let row = index.guests.get(vmid);
    let mut reads: Vec<Query> = row.into_iter().flat_map(|row| looks(row)).collect();
    let online = index.nodes.get(node).is_some_and(|n| n.online);
    if networks && online {
        reads.push(bridges_query(node));
    }
    if let (None, true, Some((storage, _))) = (row, online, archive.and_then(|a| a.split_once(':'))) {
        reads.push(archives_query(node, storage));
    }
    reads
}

/// The index's row of a guest.
pub fn row<'a>(identity: &Identity, index: &'a Index) -> Option<&'a GuestRow> {
    let Identity::Guest { vmid, .. } = identity else { return None };
    index.guests.get(vmid).map(std::convert::AsRef::as_ref)
}

/// What shows a guest that is there: its configuration, and how it is just now.
pub fn looks(row: &GuestRow) -> [Query; 2] {
    [guest_query(row), node_guests_query(&row.node, row.guest)]
}

/// Volumes of a guest's configuration, unused ones included.
pub fn volumes(guest: GuestType, config: &Config) -> Vec<String> {
    let slots = config.iter().filter(|(k, _)| {
        mapping::is_disk_slot(k)
            || *k == "rootfs"
            || mapping::slot_number(k, "mp").is_some()
            || mapping::slot_number(k, "unused").is_some()
            || k.starts_with("efidisk")
            || k.starts_with("tpmstate")
    });
    slots
        .filter_map(|(k, v)| {
            let parts = mapping::parts(guest, k, v);
            let volume = parts.get("file").or_else(|| parts.get("volume"))?;
            (volume.contains(':') && !volume.contains(":iso/")).then(|| volume.to_owned())
        })
        .collect()
}

/// Guests whose disks stand on a template's, by their volume names (`base-9000-disk-0/vm-101-disk-0`).
pub fn linked_clones(seen: &Observation, template: VmId) -> Vec<VmId> {
    let needle = format!("base-{template}-");
    let guests = seen.index.guests.values().filter(|row| row.vmid != template);
    guests
        .filter(|row| {
            let Some(Ok(value)) = seen.answer(&guest_query(row)) else { return false };
            value.as_array().into_iter().flatten().any(|e| e["value"].as_str().is_some_and(|v| v.contains(&needle)))
        })
        .map(|row| row.vmid)
        .collect()
}

/// The template behind a reference, as it is.
pub fn template_of(cx: &PlanContext<'_>, template: &ResourceRef) -> Option<GuestSeen> {
    match cx.identities.get(template)? {
        Identity::Guest { vmid, .. } => guest_of(cx, *vmid),
        Identity::Pool(_) | Identity::Object { .. } => None,
    }
}

/// A guest by its number, as it is.
pub fn guest_of(cx: &PlanContext<'_>, vmid: VmId) -> Option<GuestSeen> {
    observed::decode_row(cx.seen.index.guests.get(&vmid)?, cx.seen).ok().flatten()
}

/// Number and node of a template, and whether it is one already, with all its disks.
pub fn source_vmid(cx: &PlanContext<'_>, template: &ResourceRef) -> Option<(VmId, String, bool)> {
    let Identity::Guest { vmid, .. } = cx.identities.get(template)? else { return None };
    let row = cx.seen.index.guests.get(vmid)?;
    let whole = guest_of(cx, *vmid).is_some_and(|seen| unconverted(&seen).is_empty());
    Some((*vmid, row.node.clone(), row.template && row.lock.is_none() && whole))
}

/// Disks of a VM template that are no base images yet: `qm template` sets the flag first, and may fail at a disk.
pub fn unconverted(seen: &GuestSeen) -> Vec<String> {
    if seen.row.guest != GuestType::Qemu {
        return Vec::new();
    }
    let slots = seen
        .config
        .iter()
        .filter(|(k, v)| mapping::is_disk_slot(k) && !v.contains("media=cdrom") && !v.contains("cloudinit"));
    slots
        .filter(|(k, v)| mapping::parts(seen.row.guest, k, v).get("file").is_some_and(is_no_base))
        .map(|(k, _)| k.clone())
        .collect()
}

fn is_no_base(volume: &str) -> bool {
    volume.split_once(':').is_some_and(|(_, name)| !name.rsplit('/').next().unwrap_or(name).starts_with("base-"))
}

/// Storages that a new guest's volumes go to.
pub fn storages(want: &GuestDesired) -> BTreeSet<String> {
    let volumes = want
        .fields
        .iter()
        .filter(|(path, _)| path.ends_with(".storage") && mapping::volume_path(path).is_some())
        .map(|(_, s)| s.clone());
    volumes.chain(want.cloud_init_drive.iter().map(|(_, storage)| storage.clone())).collect()
}

/// The pool must be there, or be made in the same run.
fn check_pool(cx: &PlanContext<'_>, want: &GuestDesired, delta: &mut Delta) {
    let Some(pool) = want.fields.get("pool") else { return };
    // PVE hides a guest's pool too.
    require(cx, delta, &format!("/pool/{pool}"), "Pool.Audit");
    let index = &cx.seen.index;
    let hidden = index.pools.is_empty() && !index.may(&format!("/pool/{pool}"), "Pool.Audit");
    if !hidden
        && !index.pools.contains_key(pool)
        && !cx.identities.contains_key(&ResourceRef::new("Pool", pool.clone()))
    {
        let near = crate::base::diagnostic::nearest(pool, index.pools.keys().map(String::as_str));
        let help = near.map_or_else(
            || "declare it: `kind: Pool`".to_owned(),
            |n| format!("did you mean `{n}`? Or declare it: `kind: Pool`"),
        );
        delta.problems.push(Problem::new("pool", format!("there is no pool `{pool}`")).help(help));
    }
}

/// Checks before a guest is made.
pub fn check_create(cx: &PlanContext<'_>, want: &GuestDesired, source: Option<&GuestSeen>, delta: &mut Delta) {
    let Identity::Guest { guest, vmid: _, node } = cx.identity else { return };
    let index = &cx.seen.index;
    if !index.nodes.contains_key(node) {
        let known = index.nodes.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        delta.problems.push(
            Problem::new("node", format!("there is no node `{node}`")).help(format!("nodes of this cluster: {known}")),
        );
        return;
    }
    rights::require_create(cx, want, source, delta);
    values::check(want, delta);
    check_pool(cx, want, delta);
    room::check_volumes(cx, want, None, delta);
    check_networks(cx, want, delta);
    words::check_options(cx, want, delta);
    if let Source::OsTemplate(volume) = &want.source {
        check_archive(cx, volume, node, delta);
    }
    if let Source::Template { storage, .. } | Source::Guest { storage, .. } = &want.source {
        if let Some(storage) = storage {
            room::check_storage(cx, storage, node, *guest, Bytes(0), "from.storage", delta);
        }
        if let Some(source) = source {
            if source.row.guest != *guest {
                let path = if want.template { "source.clone" } else { "from" };
                let (number, is, shall) = (source.row.vmid, noun(source.row.guest), noun(*guest));
                delta.problems.push(
                    Problem::new(path, format!("guest {number} is a {is}, and this is to be a {shall}"))
                        .help(format!("clone a {shall}, or declare a {is}")),
                );
            }
            check_copy(want, source, delta);
            room::check_shrink(want, source, delta);
            let away = source.row.node != *node;
            let fixed = volumes(source.row.guest, &source.config)
                .iter()
                .filter_map(|v| v.split_once(':'))
                .any(|(s, _)| index.storages.get(&(source.row.node.clone(), s.to_owned())).is_some_and(|s| !s.shared));
            if away && fixed {
                delta.problems.push(
                    Problem::new(
                        "node",
                        format!(
                            "its source {} is on node `{}`, on storage that `{node}` does not share",
                            source.row.vmid, source.row.node
                        ),
                    )
                    .help(format!("put it on `{}`, or keep a template on `{node}` too", source.row.node)),
                );
            }
        }
    }
}

/// What PVE copies only of a template, or only at rest.
fn check_copy(want: &GuestDesired, source: &GuestSeen, delta: &mut Delta) {
    let Source::Guest { vmid, mode, .. } = &want.source else { return };
    if *mode == CloneMode::Linked && !source.row.template {
        delta.problems.push(
            Problem::new(
                "source.clone.mode",
                format!("guest {vmid} is no template, and only a template has linked clones"),
            )
            .help("say `mode: Full`, or declare it as a GuestTemplate and clone that"),
        );
    }
    if source.row.guest == GuestType::Lxc && source.running() {
        delta.problems.push(
            Problem::new(
                "source.clone.vmid",
                format!("container {vmid} runs, and PVE copies a container only at rest"),
            )
            .help(format!("stop it for the copy: pct shutdown {vmid}")),
        );
    }
}

/// The longest description that PVE keeps (its API's schema), our marker included.
const NOTES_MAX: usize = 8192;

/// The notes as they will be written in the end.
pub fn check_notes(notes: &str, delta: &mut Delta) {
    let length = notes.chars().count();
    if length > NOTES_MAX {
        delta.problems.push(
            Problem::new(
                "description",
                format!("the notes would have {length} characters with our marker, and PVE keeps {NOTES_MAX}"),
            )
            .help(format!("shorten the description by {} characters", length - NOTES_MAX)),
        );
    }
}

fn noun(guest: GuestType) -> &'static str {
    match guest {
        GuestType::Qemu => "virtual machine",
        GuestType::Lxc => "container",
    }
}

/// Checks before a guest is changed.
pub fn check_update(
    cx: &PlanContext<'_>,
    want: &GuestDesired,
    seen: &GuestSeen,
    differences: &[Difference],
    delta: &mut Delta,
) {
    values::check(want, delta);
    room::check_shrink(want, seen, delta);
    check_pool(cx, want, delta);
    room::check_volumes(cx, want, Some(seen), delta);
    words::check_options(cx, want, delta);
    if differences.iter().any(|d| d.path.starts_with("networks.") && d.path.ends_with(".bridge")) {
        check_networks(cx, want, delta);
    }
    room::check_changed(cx, want, seen, differences, delta);
    for d in differences {
        if d.path == "unprivileged" {
            delta.problems.push(
                Problem::new("unprivileged", "whether a container is unprivileged is decided when it is made")
                    .help("take a backup and restore it the other way, or put the old value back"),
            );
        }
    }
    rights::require_update(cx, want, seen, differences, delta);
}

fn check_networks(cx: &PlanContext<'_>, want: &GuestDesired, delta: &mut Delta) {
    let Identity::Guest { node, .. } = cx.identity else { return };
    let Some(list) = cx.seen.value(&bridges_query(node)).and_then(|v| v.as_array()) else { return };
    // PVE hides bridges without SDN rights: an empty list proves nothing.
    let known: BTreeSet<&str> = list.iter().filter_map(|b| b["iface"].as_str()).collect();
    for (path, bridge) in want.fields.iter().filter(|(p, _)| p.starts_with("networks.") && p.ends_with(".bridge")) {
        let hidden = !cx.seen.index.permissions.is_empty()
            && !["SDN.Use", "SDN.Audit"]
                .iter()
                .any(|p| cx.seen.index.may(&format!("/sdn/zones/localnetwork/{bridge}"), p))
            && !cx.seen.index.may(&format!("/nodes/{node}"), "Sys.Audit");
        if !known.is_empty() && !known.contains(bridge.as_str()) && !hidden {
            let names = known.iter().copied().collect::<Vec<_>>().join(", ");
            delta.problems.push(
                Problem::new(path, format!("node `{node}` has no bridge `{bridge}`"))
                    .help(format!("bridges of `{node}`: {names}")),
            );
        }
    }
}

fn check_archive(cx: &PlanContext<'_>, volume: &str, node: &str, delta: &mut Delta) {
    let Some((storage, _)) = volume.split_once(':') else {
        delta.problems.push(
            Problem::new("from.osTemplate", format!("`{volume}` is no volume id"))
                .help("write it like local:vztmpl/NAME.tar.zst; pveam list local shows them"),
        );
        return;
    };
    let at = [format!("/storage/{storage}")];
    require_any(cx, delta, &at, &["Datastore.Audit", "Datastore.AllocateSpace"]);
    let Some(list) = cx.seen.value(&archives_query(node, storage)).and_then(|v| v.as_array()) else { return };
    if !list.iter().any(|v| v["volid"] == volume) {
        let names = list.iter().filter_map(|v| v["volid"].as_str()).collect::<Vec<_>>();
        let near = crate::base::diagnostic::nearest(volume, names.iter().copied());
        let help = near.map_or_else(|| format!("there are: {}", names.join(", ")), |n| format!("did you mean `{n}`?"));
        delta
            .problems
            .push(Problem::new("from.osTemplate", format!("node `{node}` has no CT template `{volume}`")).help(help));
    }
}
