//! Which guests a policy's job takes, and in which of PVE's ways that is said: all, a pool, or a list of numbers. What is not
//! known of a guest takes it off no list: while its node is away or newly started, PVE tells neither its name nor whether it is
//! a template (`PVE::API2Tools::extract_vm_stats`).

use crate::base::id::VmId;
use crate::kinds::backup_policy::spec::BackupPolicySpec;
use crate::kinds::selector::{Selector, TAG};
use crate::resource::index::GuestRow;
use crate::resource::kind::PlanContext;
use crate::resource::observation::guest_query;
use crate::resource::reference::{Identity, ResourceRef};
use std::collections::{BTreeMap, BTreeSet};

/// How a job names its guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// Every guest, those to come included, but not these: templates.
    Everyone(BTreeSet<VmId>),
    /// Those of a pool.
    Pool(String),
    /// These; PVE makes no job that names nobody.
    These(BTreeSet<VmId>),
}

/// The guests that a policy means, as the index shows them just now; guests that are about to be deleted are not among them.
pub fn chosen<'a>(cx: &PlanContext<'a>, spec: &'a BackupPolicySpec) -> Vec<&'a GuestRow> {
    let here = |row: &&GuestRow| spec.node.as_ref().is_none_or(|node| *node == row.node);
    let stays = |row: &&GuestRow| !cx.leaving.contains(&row.vmid);
    spec.selector.guests(&cx.seen.index, cx.identities).filter(here).filter(stays).collect()
}

/// Whether PVE does not tell its name just now, nor whether it is a template.
fn is_dim(row: &GuestRow) -> bool {
    row.name.is_empty()
}

/// How the job names its guests, and which of them are on its list only because it cannot be told that they shall leave it,
/// with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// How.
    pub members: Members,
    /// Who keeps a place, and why.
    pub kept: BTreeMap<VmId, &'static str>,
}

/// How the job names its guests; `listed` and `left_out` are the numbers that it names now.
pub fn members(
    cx: &PlanContext<'_>,
    spec: &BackupPolicySpec,
    listed: &BTreeSet<VmId>,
    left_out: &BTreeSet<VmId>,
) -> Named {
    let index = &cx.seen.index;
    let guests = || index.guests.values().map(AsRef::as_ref);
    let of = |row: &GuestRow| row.vmid;
    let plain = |members: Members| Named { members, kept: BTreeMap::new() };
    if spec.selector.is_all() {
        let templates = guests().filter(|row| row.template || is_dim(row) && left_out.contains(&row.vmid));
        return plain(Members::Everyone(templates.map(of).collect()));
    }
    if let Some(pool) = spec.selector.only_pool() {
        let mut inside = guests().filter(|row| row.pool.as_deref() == Some(pool));
        // A list stays one until it is known that no template is among them.
        if !inside.any(|row| row.template || is_dim(row) && !listed.is_empty()) {
            return plain(Members::Pool(pool.to_owned()));
        }
    }
    let mut all: BTreeSet<VmId> = chosen(cx, spec).into_iter().filter(|row| !is_dim(row)).map(of).collect();
    let mut kept = kept(cx, spec, listed);
    kept.retain(|vmid, _| !all.contains(vmid));
    all.extend(kept.keys());
    Named { members: Members::These(all), kept }
}

/// The guests on the list of which it cannot be told that they are meant no more: a list that loses them loses their backups.
fn kept(cx: &PlanContext<'_>, spec: &BackupPolicySpec, listed: &BTreeSet<VmId>) -> BTreeMap<VmId, &'static str> {
    let index = &cx.seen.index;
    let none: BTreeMap<ResourceRef, Identity> = BTreeMap::new();
    let hidden = |vmid: &&VmId| !index.guests.contains_key(vmid) && !index.may(&format!("/vms/{vmid}"), "VM.Audit");
    let mut kept: BTreeMap<VmId, &'static str> =
        listed.iter().filter(hidden).map(|vmid| (*vmid, "it is hidden from us")).collect();
    let here = |row: &&GuestRow| {
        spec.node.as_ref().is_none_or(|node| *node == row.node)
            && listed.contains(&row.vmid)
            && !cx.leaving.contains(&row.vmid)
    };
    // What is not known of those whose node is away: a name, and so which manifest it is.
    let blind = Selector { labels: BTreeMap::new(), names: Vec::new(), chosen: Vec::new(), ..spec.selector.clone() };
    let dim = blind.guests(index, &none).filter(here).filter(|row| is_dim(row));
    kept.extend(dim.map(|row| (row.vmid, "its node does not tell what it is just now")));
    if !spec.selector.labels.is_empty() {
        let any = Selector { labels: BTreeMap::new(), chosen: Vec::new(), ..spec.selector.clone() };
        let told = any.guests(index, &none).filter(here).filter(|row| !is_dim(row));
        kept.extend(told.filter_map(|row| Some((row.vmid, unread(cx, spec, row)?))));
    }
    kept
}

/// Why it cannot be told whether a guest's manifest carries the labels; `None`: it can.
fn unread(cx: &PlanContext<'_>, spec: &BackupPolicySpec, row: &GuestRow) -> Option<&'static str> {
    let is_it = |is: &Identity| matches!(is, Identity::Guest { vmid, .. } if *vmid == row.vmid);
    if cx.identities.values().any(is_it) {
        return None;
    }
    match cx.seen.guest_marker(row.vmid) {
        Some(marker) if marker.set != cx.set => None,
        Some(marker) if !cx.identities.contains_key(&marker.owner) => {
            Some("its manifest is not among those that were read")
        }
        Some(_) => None,
        None if cx.seen.value(&guest_query(row)).is_none() && row.tags.contains(TAG) => {
            Some("its configuration could not be read, so it is not known whose it is")
        }
        // Any of them may be the manifest that is none of the guests yet.
        None => {
            let lost = spec.selector.chosen.iter().any(|one| !cx.identities.contains_key(&one.resource));
            lost.then_some("which guest each manifest is cannot be told just now")
        }
    }
}
