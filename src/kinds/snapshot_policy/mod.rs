//! Snapshot policies: what is due on each guest, and what the rule lets go. PVE holds no object for a policy; it is in force
//! while a manifest declares it, and what it did stands on the snapshots themselves.

pub mod spec;

pub mod rule;

pub mod name;

pub mod room;

pub mod member;

use crate::kinds::guest::hand::snapshot::list_query;
use crate::kinds::snapshot_policy::member::Member;
use crate::kinds::snapshot_policy::rule::understand;
use crate::kinds::snapshot_policy::spec::SnapshotPolicySpec;
use crate::pve::request::Query;
use crate::resource::index::{GuestRow, Index, node_guests_query};
use crate::resource::kind::{DecodeError, Kind, Labelled, Listed, PlanContext};
use crate::resource::marker::Marker;
use crate::resource::observation::Observation;
use crate::resource::reference::{Claim, Identity, Reference};
use crate::resource::step::{Delta, Note, Problem};
use serde_json::Value;
use std::collections::BTreeSet;

/// Its name in manifests.
pub const NAME: &str = "SnapshotPolicy";

/// The kind `SnapshotPolicy`.
pub struct SnapshotPolicyKind;

impl Kind for SnapshotPolicyKind {
    const NAME: &'static str = NAME;
    type Spec = SnapshotPolicySpec;
    /// The cluster holds nothing of a policy.
    type Observed = ();

    fn refs(_spec: &SnapshotPolicySpec) -> Vec<Reference> {
        Vec::new()
    }

    fn check(spec: &SnapshotPolicySpec) -> Vec<Problem> {
        let mut problems: Vec<Problem> = understand(spec).err().into_iter().collect();
        problems.extend(rule::unclear(&spec.retention));
        problems.extend(rule::wrong(spec));
        if spec.retention.min_keep == Some(0) {
            problems.push(Problem::new("retention.minKeep", "the newest snapshot is kept in any case: say 1 or more"));
        }
        problems
    }

    fn choose(spec: &mut SnapshotPolicySpec, guests: &[Labelled]) {
        spec.selector.choose(guests);
    }

    fn claim(name: &str, _spec: &SnapshotPolicySpec) -> Claim {
        Claim::Object { kind: NAME, id: name.to_owned() }
    }

    fn marks() -> bool {
        false
    }

    fn reads(_identity: &Identity, spec: Option<&SnapshotPolicySpec>, index: &Index) -> Vec<Query> {
        let Some(spec) = spec else { return Vec::new() };
        let online = |row: &&GuestRow| index.nodes.get(&row.node).is_none_or(|n| n.online);
        let rows = spec.selector.candidates(index).filter(online);
        // The node's own list is live: whether a guest runs, and what lock it has.
        let of = |row: &GuestRow| [list_query(row), node_guests_query(&row.node, row.guest)];
        let reads: BTreeSet<Query> = rows.flat_map(|row| of(row).into_iter().chain(room::reads(spec, row))).collect();
        reads.into_iter().collect()
    }

    fn list(_seen: &Observation) -> Vec<Listed> {
        Vec::new()
    }

    fn columns(_listed: &Listed, _seen: &Observation) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn decode(_identity: &Identity, _seen: &Observation) -> Result<Option<()>, DecodeError> {
        Ok(None)
    }

    fn marker(_observed: &()) -> Option<&Marker> {
        None
    }

    fn plan(cx: &PlanContext<'_>, desired: Option<&SnapshotPolicySpec>, _observed: Option<&()>) -> Delta {
        let mut delta = Delta::none(cx.resource.clone(), Some(cx.identity.clone()));
        let Some(spec) = desired else { return delta };
        match understand(spec) {
            Ok(rule) => {
                delta.problems.extend(rule::never(spec, &rule, cx.seen.at));
                if guests(cx, spec).next().is_none() {
                    delta.notes.push(Note::Warning("its selector means no guest".into()));
                }
            }
            Err(problem) => delta.problems.push(problem),
        }
        delta
    }

    fn members(cx: &PlanContext<'_>, spec: &SnapshotPolicySpec) -> Vec<Delta> {
        let Ok(rule) = understand(spec) else { return Vec::new() };
        let (policy, set, now) = (cx.resource.name.as_str(), cx.set, cx.seen.at);
        let declared = cx.declared();
        let member = |row: &GuestRow| {
            let resource = declared.get(&row.vmid);
            Member { policy, set, now, spec, rule: &rule, row, resource }.plan(cx)
        };
        guests(cx, spec).map(member).collect()
    }

    fn export(_observed: &()) -> Value {
        Value::Null
    }
}

/// The guests that a policy means, templates left out.
fn guests<'a>(cx: &'a PlanContext<'a>, spec: &'a SnapshotPolicySpec) -> impl Iterator<Item = &'a GuestRow> {
    spec.selector.guests(&cx.seen.index, cx.identities).filter(|row| !cx.leaving.contains(&row.vmid))
}
