//! Which guests a policy's job takes, and in which of PVE's ways that is said: all, a pool, or a list of numbers. What is not
//! known of a guest takes it off no list: while its node is away or newly started, PVE tells neither its name nor whether it is
//! a template (`PVE::API2Tools::extract_vm_stats`).

use crate::base::id::VmId;
use crate::kinds::backup_policy::spec::BackupPolicySpec;
use crate::kinds::selector::Selector;
use crate::resource::index::GuestRow;
use crate::resource::kind::PlanContext;
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

/// How the job names its guests; `listed` and `left_out` are the numbers that it names now.
pub fn members(
    cx: &PlanContext<'_>,
    spec: &BackupPolicySpec,
    listed: &BTreeSet<VmId>,
    left_out: &BTreeSet<VmId>,
) -> Members {
    let index = &cx.seen.index;
    let guests = || index.guests.values().map(AsRef::as_ref);
    let of = |row: &GuestRow| row.vmid;
    if spec.selector.is_all() {
        let templates = guests().filter(|row| row.template || is_dim(row) && left_out.contains(&row.vmid));
        return Members::Everyone(templates.map(of).collect());
    }
    if let Some(pool) = spec.selector.only_pool() {
        let mut inside = guests().filter(|row| row.pool.as_deref() == Some(pool));
        // A list stays one until it is known that no template is among them.
        if !inside.any(|row| row.template || is_dim(row) && !listed.is_empty()) {
            return Members::Pool(pool.to_owned());
        }
    }
    let mut all: BTreeSet<VmId> = chosen(cx, spec).into_iter().filter(|row| !is_dim(row)).map(of).collect();
    // What is not known of them: a name, and so which manifest it is.
    let known = Selector { labels: BTreeMap::new(), names: Vec::new(), chosen: Vec::new(), ..spec.selector.clone() };
    let none: BTreeMap<ResourceRef, Identity> = BTreeMap::new();
    all.extend(known.guests(index, &none).filter(|row| is_dim(row) && listed.contains(&row.vmid)).map(of));
    Members::These(all)
}
