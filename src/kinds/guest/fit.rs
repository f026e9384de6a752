//! Does it fit before it starts: storage, content type, room, bridge, VMID, template, privileges. All problems at once, and
//! all before the first request that changes anything.

use crate::base::id::{GuestType, VmId};
use crate::base::quantity::Bytes;
use crate::kinds::guest::hand::snapshot;
use crate::kinds::guest::mapping::{self, Config};
use crate::kinds::guest::observed::{self, GuestSeen};
use crate::kinds::guest::plan::{GuestDesired, Original, Source};
use crate::kinds::guest::spec::CloneMode;
use crate::kinds::guest::{restore, rights, room, values, words};
use crate::pve::request::Query;
use crate::resource::index::{GuestRow, Index, node_guests_query};
use crate::resource::kind::PlanContext;
use crate::resource::merge::Difference;
use crate::resource::observation::{Observation, guest_query};
use crate::resource::privilege::{require, require_any};
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::{Delta, Problem};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The read that lists a node's bridges.
pub fn bridges_query(node: &str) -> Query {
    Query::new(format!("/nodes/{node}/network")).with("type", "any_bridge")
}

/// What a guest's plan reads: its own configuration where it is there, the bridges of its node, and for a new one what it is
/// made of, on every node that it may be made on: which one it will be is settled with what is read.
pub fn reads(
    identity: &Identity,
    networks: bool,
    source: Option<&Source>,
    nodes: &[String],
    index: &Index,
) -> Vec<Query> {
    let Identity::Guest { vmid, node, guest } = identity else { return Vec::new() };
    let row = index.guests.get(vmid);
    let mut reads: Vec<Query> = row.into_iter().flat_map(|row| looks(row)).collect();
    let online = index.nodes.get(node).is_some_and(|n| n.online);
    if networks && online {
        reads.push(bridges_query(node));
    }
    if row.is_some() {
        return reads;
    }
    let anywhere: Vec<&String> = match nodes {
        [] => index.nodes.keys().collect(),
        some => some.iter().collect(),
    };
    match source {
        Some(Source::Iso(file) | Source::Image { file, .. } | Source::OsTemplate(file)) => {
            reads.extend(anywhere.iter().flat_map(|node| file.reads(node, index)));
        }
        Some(Source::Archive { volume, .. }) => {
            reads.extend(anywhere.iter().flat_map(|node| restore::reads(volume, node, index)));
        }
        Some(Source::Guest { of, snapshot, .. }) => {
            let rows = index.guests.values().filter(|row| match of {
                Original::Number(vmid) => row.vmid == *vmid,
                Original::Name(name) => row.name == *name && row.guest == *guest,
            });
            let rows = rows.filter(|row| index.nodes.get(&row.node).is_some_and(|n| n.online));
            reads.extend(
                rows.flat_map(|row| looks(row).into_iter().chain(snapshot.as_ref().map(|_| snapshot::list_query(row)))),
            );
        }
        Some(Source::Empty | Source::Template { .. } | Source::Existing) | None => {}
    }
    reads
}

/// The guest that a clone is of. `Ok(None)`: a manifest declares it, and it is not there yet.
pub fn original<'a>(
    cx: &PlanContext<'a>,
    guest: GuestType,
    of: &Original,
) -> Result<Option<&'a Arc<GuestRow>>, Problem> {
    let index = &cx.seen.index;
    let vmid = match of {
        Original::Number(vmid) => *vmid,
        Original::Name(name) => {
            let kind = if guest == GuestType::Qemu { "VirtualMachine" } else { "Container" };
            match cx.identities.get(&ResourceRef::new(kind, name)) {
                Some(Identity::Guest { vmid, .. }) => return Ok(index.guests.get(vmid)),
                Some(Identity::Pool(_) | Identity::Object { .. }) | None => {}
            }
            let mut named = index.guests.values().filter(|row| row.name == *name && row.guest == guest);
            return match (named.next(), named.next()) {
                (Some(row), None) => Ok(Some(row)),
                (Some(a), Some(b)) => Err(Problem::new(
                    "clone.guest",
                    format!("several guests are called `{name}`: {} and {}", a.vmid, b.vmid),
                )
                .help("give the number of the one that is meant: `vmid`")),
                (None, _) => {
                    let names = index.guests.values().filter(|row| row.guest == guest).map(|row| row.name.as_str());
                    let near = crate::base::diagnostic::nearest(name, names);
                    let help = near.map_or_else(
                        || "give its name in the manifests or in PVE, or its number: `vmid`".to_owned(),
                        |near| format!("did you mean `{near}`?"),
                    );
                    Err(Problem::new("clone.guest", format!("there is no {} `{name}`", noun(guest))).help(help))
                }
            };
        }
    };
    index.guests.get(&vmid).map(Some).ok_or_else(|| {
        Problem::new("clone.vmid", format!("there is no guest {vmid} to clone"))
            .help("give the VMID of a guest that is there: pvectl get vm")
    })
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

/// The same for a guest that is copied: what is just being made is not there to be compared yet.
pub fn made(cx: &PlanContext<'_>, vmid: VmId) -> Option<GuestSeen> {
    guest_of(cx, vmid).filter(|seen| !seen.lock.as_deref().is_some_and(|l| l == "create" || l == "clone"))
}

/// Number and node of a template, and whether it is one already, with all its disks.
pub fn source_vmid(cx: &PlanContext<'_>, template: &ResourceRef) -> Option<(VmId, Arc<GuestRow>, bool)> {
    let Identity::Guest { vmid, .. } = cx.identities.get(template)? else { return None };
    let row = cx.seen.index.guests.get(vmid)?;
    let whole = guest_of(cx, *vmid).is_some_and(|seen| unconverted(&seen).is_empty());
    Some((*vmid, Arc::clone(row), row.template && row.lock.is_none() && whole))
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
    if let (Source::Archive { volume, storage, .. }, Some(source)) = (&want.source, source) {
        restore::check(cx, want, volume, storage.as_deref(), source, delta);
        room::check_shrink(want, source, delta);
        return;
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
            check_copy(cx, want, source, delta);
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
fn check_copy(cx: &PlanContext<'_>, want: &GuestDesired, source: &GuestSeen, delta: &mut Delta) {
    let Source::Guest { mode, snapshot, .. } = &want.source else { return };
    let (vmid, at) = (source.row.vmid, if want.template { "source.clone" } else { "from.clone" });
    if *mode == CloneMode::Linked && !source.row.template {
        delta.problems.push(
            Problem::new(
                &format!("{at}.mode"),
                format!("guest {vmid} is no template, and only a template has linked clones"),
            )
            .help("say `mode: Full`, or declare it as a GuestTemplate and clone that"),
        );
    }
    if source.row.guest == GuestType::Lxc && source.running() && snapshot.is_none() {
        delta.problems.push(
            Problem::new(
                &format!("{at}.vmid"),
                format!("container {vmid} runs, and PVE copies a container only at rest"),
            )
            .help(format!("stop it for the copy: pct shutdown {vmid}; or clone one of its snapshots")),
        );
    }
    if let Some(name) = snapshot {
        check_snapshot(cx, source, name, at, delta);
    }
}

/// The snapshot that is copied must be there.
fn check_snapshot(cx: &PlanContext<'_>, source: &GuestSeen, name: &str, at: &str, delta: &mut Delta) {
    let (row, at) = (&source.row, format!("{at}.snapshot"));
    require_any(cx, delta, &[format!("/vms/{}", row.vmid)], &["VM.Audit"]);
    let Some(list) = cx.seen.value(&snapshot::list_query(row)) else { return };
    let known = snapshot::names(list);
    if !known.contains(name) {
        let help = match crate::base::diagnostic::nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "it has no snapshots; pvectl snapshot create makes one".to_owned(),
            None => format!("its snapshots: {}", known.into_iter().collect::<Vec<_>>().join(", ")),
        };
        let (noun, vmid) = (noun(row.guest), row.vmid);
        delta.problems.push(Problem::new(&at, format!("{noun} {vmid} has no snapshot `{name}`")).help(help));
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

/// What people call a type of guest.
pub fn noun(guest: GuestType) -> &'static str {
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
        if !known.is_empty() && !known.contains(bridge.as_str()) && !is_hidden(cx, node, bridge) {
            if let Some(network) = network_to_come(cx, bridge) {
                if !delta.after.contains(network) {
                    delta.after.push(network.clone());
                }
                continue;
            }
            let names = known.iter().copied().collect::<Vec<_>>().join(", ");
            delta.problems.push(
                Problem::new(path, format!("node `{node}` has no bridge `{bridge}`"))
                    .help(format!("bridges of `{node}`: {names}")),
            );
        }
    }
}

/// The virtual network of the set that makes a bridge and is not applied yet: the guest comes after it.
fn network_to_come<'a>(cx: &PlanContext<'a>, bridge: &str) -> Option<&'a ResourceRef> {
    let all = cx.seen.index.lists.get(&Query::new("/cluster/sdn/vnets").with("pending", "1"));
    let rows = all.and_then(|list| list.as_ref().ok()).and_then(|list| list.as_array()).into_iter().flatten();
    let runs = rows.into_iter().any(|row| row["vnet"] == bridge && row["state"].is_null());
    let is = |identity: &Identity| matches!(identity, Identity::Object { kind: "SdnVnet", id } if id == bridge);
    cx.identities.iter().find(|(_, identity)| !runs && is(identity)).map(|(resource, _)| resource)
}

/// Whether PVE would hide a bridge of a node from us.
pub fn is_hidden(cx: &PlanContext<'_>, node: &str, bridge: &str) -> bool {
    let index = &cx.seen.index;
    let at = format!("/sdn/zones/localnetwork/{bridge}");
    !index.permissions.is_empty()
        && !["SDN.Use", "SDN.Audit"].iter().any(|p| index.may(&at, p))
        && !index.may(&format!("/nodes/{node}"), "Sys.Audit")
}
