//! Which guest is meant: a name from the manifests, PVE's name, or a number.

use crate::base::diagnostic::nearest;
use crate::base::id::{GuestType, VmId};
use crate::kinds::guest::mapping::TAG;
use crate::pve::request::Query;
use crate::resource::index::{GuestRow, Index};
use crate::resource::marker::Marker;
use crate::resource::observation::{Observation, guest_query};
use crate::resource::reference::ResourceRef;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A guest that somebody named.
#[derive(Clone, Debug)]
pub struct Target {
    /// As it is called in the report.
    pub resource: ResourceRef,
    /// VM or CT.
    pub guest: GuestType,
    /// Its number.
    pub vmid: VmId,
    /// Our marker, where it is ours.
    pub marker: Option<Arc<Marker>>,
}

/// Why a name names no guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTarget {
    /// There is none; perhaps another is meant, or it is on a node that does not answer.
    Absent {
        /// A name that looks like it.
        near: Option<String>,
        /// A node that does not answer.
        offline: Option<String>,
    },
    /// There are several; their numbers.
    Several(Vec<VmId>),
    /// Whose it is could not be read: its number, and why.
    Unread(VmId, String),
}

/// Whether a kind means guests at all.
pub fn is_guests(kind: &str) -> bool {
    matches!(kind, "VirtualMachine" | "Container" | "GuestTemplate")
}

fn fits(kind: &str, row: &GuestRow) -> bool {
    match kind {
        "VirtualMachine" => row.guest == GuestType::Qemu,
        "Container" => row.guest == GuestType::Lxc,
        _ => row.template,
    }
}

/// What must be read to know the names of the guests of a kind: the markers of those that may be ours.
pub fn reads(kind: &str, name: &str, index: &Index) -> BTreeSet<Query> {
    let rows = index.guests.values().filter(|r| fits(kind, r) && index.nodes.get(&r.node).is_none_or(|n| n.online));
    rows.filter(|r| r.tags.contains(TAG) || r.name == name || r.vmid.to_string() == name)
        .map(|r| guest_query(r))
        .collect()
}

/// The guest of that name. The name of a manifest goes before PVE's own.
pub fn find(kind: &str, name: &str, seen: &Observation) -> Result<Target, NoTarget> {
    let owned = |row: &GuestRow| seen.guest_marker(row.vmid).filter(|m| fits(&m.owner.kind, row)).cloned();
    let rows: Vec<&Arc<GuestRow>> = seen.index.guests.values().filter(|r| fits(kind, r)).collect();
    let by_number = rows.iter().filter(|r| r.vmid.to_string() == name);
    let by_manifest = rows.iter().filter(|r| owned(r).is_some_and(|m| m.owner.name == name));
    let by_name = rows.iter().filter(|r| r.name == name);
    let mut found: Vec<&Arc<GuestRow>> = by_number.copied().collect();
    for more in [by_manifest.copied().collect::<Vec<_>>(), by_name.copied().collect()] {
        if found.is_empty() {
            found = more;
        }
    }
    match found.as_slice() {
        [row] => {
            // Somebody's marker may stand there, and with it what a deed has to say and to leave out.
            if let Some(Err(error)) = seen.answer(&guest_query(row)) {
                return Err(NoTarget::Unread(row.vmid, error.to_string()));
            }
            let marker = owned(row);
            let called = marker.as_ref().map_or_else(|| row.name.clone(), |m| m.owner.name.clone());
            Ok(Target { resource: ResourceRef::new(kind, called), guest: row.guest, vmid: row.vmid, marker })
        }
        [] => {
            let names = rows.iter().map(|r| r.name.as_str());
            let offline = seen.index.nodes.values().find(|n| !n.online).map(|n| n.name.clone());
            Err(NoTarget::Absent { near: nearest(name, names).map(str::to_owned), offline })
        }
        several => Err(NoTarget::Several(several.iter().map(|r| r.vmid).collect())),
    }
}
