//! What a guest's configuration and its storages say of a snapshot: whether memory can be saved, whether there is room.

use crate::base::id::GuestType;
use crate::kinds::guest::fit::volumes;
use crate::kinds::guest::hand::snapshot_checks::holds_memory;
use crate::kinds::guest::observed::{GuestSeen, decode_row};
use crate::kinds::snapshot_policy::spec::SnapshotPolicySpec;
use crate::pve::request::Query;
use crate::resource::index::{GuestRow, number, text};
use crate::resource::observation::{Observation, guest_query};
use std::collections::BTreeSet;

/// What has room for no more than this share is full, in hundredths.
const WHOLE: u128 = 100;

/// Whether a policy must know its guests' configurations.
pub fn needs_config(spec: &SnapshotPolicySpec) -> bool {
    spec.include_memory || spec.limits.min_free_storage.is_some() || spec.concurrency.per_storage.is_some()
}

/// What is read of a guest and its node, besides its snapshots.
pub fn reads(spec: &SnapshotPolicySpec, row: &GuestRow) -> Vec<Query> {
    let mut reads = Vec::new();
    if needs_config(spec) {
        reads.push(guest_query(row));
    }
    if spec.limits.min_free_storage.is_some() {
        reads.extend([pools_query(&row.node), definitions_query()]);
    }
    reads
}

/// The read that lists a node's thin pools, with the room for their metadata: the table of storages tells of data only.
fn pools_query(node: &str) -> Query {
    Query::new(format!("/nodes/{node}/disks/lvmthin"))
}

/// The read that tells which thin pool a storage is.
fn definitions_query() -> Query {
    Query::new("/storage")
}

/// A guest's configuration, if it was read.
pub fn guest(row: &GuestRow, seen: &Observation) -> Option<GuestSeen> {
    decode_row(seen.index.guests.get(&row.vmid)?, seen).ok().flatten()
}

/// The storages that a guest's volumes are on.
pub fn storages(guest: &GuestSeen) -> BTreeSet<String> {
    let list = volumes(guest.row.guest, &guest.config);
    list.iter().filter_map(|v| Some(v.split_once(':')?.0.to_owned())).collect()
}

/// Why memory cannot be saved of a guest that runs. PVE's API of containers has no such parameter.
pub fn without_memory(row: &GuestRow, guest: Option<&GuestSeen>) -> Option<String> {
    if row.guest == GuestType::Lxc {
        return Some(
            "PVE saves no memory of containers: say `types: [VirtualMachine]`, or leave includeMemory out".into(),
        );
    }
    let (key, value, _) = holds_memory(guest?).into_iter().find(|(_, _, surely)| *surely)?;
    Some(format!("its memory cannot be saved: it has {key} ({value}); leave includeMemory out for it"))
}

/// The storage of a guest that has too little room for one more snapshot, in words.
pub fn too_full(spec: &SnapshotPolicySpec, guest: &GuestSeen, seen: &Observation) -> Option<String> {
    let wanted = spec.limits.min_free_storage?;
    let node = &guest.row.node;
    storages(guest).into_iter().find_map(|storage| {
        let row = seen.index.storages.get(&(node.clone(), storage.clone()))?;
        let data = (row.used, row.size, "room");
        let metadata = (row.plugin == "lvmthin").then(|| metadata(node, &storage, seen)).flatten();
        let metadata = metadata.map(|(used, size)| (used, size, "room for metadata"));
        let (free, what) = [Some(data), metadata].into_iter().flatten().find_map(|(used, size, what)| {
            let free = u128::from(size.saturating_sub(used)) * WHOLE / u128::from(size.max(1));
            (size > 0 && free < u128::from(wanted.0)).then_some((free, what))
        })?;
        Some(format!("storage `{storage}` has {free} % of its {what} left, and {} % shall stay free", wanted.0))
    })
}

/// What a thin pool has used of its metadata, and how much it has. PVE shows it to Sys.Audit on the node only; unseen, the data
/// alone decide.
fn metadata(node: &str, storage: &str, seen: &Observation) -> Option<(u64, u64)> {
    let definitions = seen.value(&definitions_query())?.as_array()?;
    let definition = definitions.iter().find(|d| d["storage"] == storage)?;
    let (group, pool) = (text(&definition["vgname"])?, text(&definition["thinpool"])?);
    let pools = seen.value(&pools_query(node))?.as_array()?;
    let row = pools.iter().find(|p| p["vg"] == group.as_str() && p["lv"] == pool.as_str())?;
    Some((number(&row["metadata_used"])?, number(&row["metadata_size"])?))
}
