//! Which guests a policy's job takes, and in which of PVE's ways that is said: all, a pool, or a list of numbers. What is not
//! known of a guest takes it off no list: while its node is away, PVE tells neither its name nor whether it is a template.

use crate::base::id::VmId;
use crate::kinds::backup_policy::spec::BackupPolicySpec;
use crate::kinds::selector::Selector;
use crate::resource::index::{GuestRow, Index};
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

fn is_away(index: &Index, row: &GuestRow) -> bool {
    index.nodes.get(&row.node).is_some_and(|n| !n.online)
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
        let templates = guests().filter(|row| row.template || is_away(index, row) && left_out.contains(&row.vmid));
        return Members::Everyone(templates.map(of).collect());
    }
    if let Some(pool) = spec.selector.only_pool() {
        let clean = !guests().any(|row| row.template && row.pool.as_deref() == Some(pool));
        if clean {
            return Members::Pool(pool.to_owned());
        }
    }
    let mut all: BTreeSet<VmId> = chosen(cx, spec).into_iter().map(of).collect();
    // What PVE does not tell of a guest whose node is away: its name, and so which manifest it is.
    let known = Selector { labels: BTreeMap::new(), names: Vec::new(), chosen: Vec::new(), ..spec.selector.clone() };
    let none: BTreeMap<ResourceRef, Identity> = BTreeMap::new();
    let away = known.guests(index, &none).filter(|row| is_away(index, row) && listed.contains(&row.vmid));
    all.extend(away.map(of));
    Members::These(all)
}
