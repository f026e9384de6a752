//! Pools of runners of GitHub Actions. PVE holds no object for a pool; it is in force while a manifest declares it, and how far
//! each of its machines is stands on the machine itself, on its guest's disk, and in GitHub's list of runners.

pub mod spec;

pub mod check;

pub mod warm;

pub mod name;

pub mod marks;

pub mod machine;

pub mod judge;

pub mod decide;

pub mod way;

pub mod look;

pub mod wanted;

pub mod member;

pub mod own;

pub mod standing;

use crate::kinds::guest::firewall;
use crate::kinds::guest::observed::{self, GuestSeen};
use crate::kinds::runner_pool::look::Around;
use crate::kinds::runner_pool::spec::RunnerPoolSpec;
use crate::pve::request::Query;
use crate::resource::index::Index;
use crate::resource::kind::{DecodeError, Kind, Listed, PlanContext};
use crate::resource::marker::Marker;
use crate::resource::merge::Fields;
use crate::resource::observation::Observation;
use crate::resource::reference::{Claim, Identity, Reference, ResourceRef};
use crate::resource::step::{Delta, Problem};
use serde_json::Value;

/// Its name in manifests.
pub const NAME: &str = "RunnerPool";

/// The kind `RunnerPool`.
pub struct RunnerPoolKind;

impl Kind for RunnerPoolKind {
    const NAME: &'static str = NAME;
    type Spec = RunnerPoolSpec;
    /// A machine; of the pool itself the cluster holds nothing.
    type Observed = GuestSeen;

    fn refs(spec: &RunnerPoolSpec) -> Vec<Reference> {
        let template = Reference { to: look::template_ref(spec), path: vec!["template".into()], or_on_cluster: false };
        let pool = spec.pool.as_ref().map(|pool| Reference {
            to: ResourceRef::new("Pool", pool),
            path: vec!["pool".into()],
            or_on_cluster: true,
        });
        std::iter::once(template).chain(pool).chain(firewall::refs(spec.firewall.as_ref())).collect()
    }

    fn check(spec: &RunnerPoolSpec) -> Vec<Problem> {
        check::check(spec)
    }

    fn claim(name: &str, _spec: &RunnerPoolSpec) -> Claim {
        Claim::Object { kind: NAME, id: name.to_owned() }
    }

    fn marks() -> bool {
        false
    }

    fn goes_itself() -> bool {
        true
    }

    fn filters(spec: &RunnerPoolSpec) -> bool {
        spec.firewall.is_some() || spec.networks.iter().any(|network| network.firewall == Some(true))
    }

    fn reads(identity: &Identity, spec: Option<&RunnerPoolSpec>, index: &Index) -> Vec<Query> {
        match (spec, identity) {
            (Some(spec), Identity::Object { id, .. }) => look::reads(id, spec, index),
            (_, Identity::Guest { .. } | Identity::Pool(_) | Identity::Object { .. }) => Vec::new(),
        }
    }

    fn list(seen: &Observation) -> Vec<Listed> {
        let rows = seen.index.guests.values();
        let machine = |row: &std::sync::Arc<crate::resource::index::GuestRow>| {
            let marker = seen.guest_marker(row.vmid).filter(|m| m.owner.kind == NAME && m.owner.is_member())?;
            let identity = Identity::Guest { guest: row.guest, vmid: row.vmid, node: row.node.clone() };
            Some(Listed { name: marker.owner.name.clone(), identity, marker: Some(marker.clone()) })
        };
        rows.filter_map(machine).collect()
    }

    fn columns(listed: &Listed, seen: &Observation) -> Vec<(&'static str, String)> {
        observed::columns(listed, seen)
    }

    fn decode(identity: &Identity, seen: &Observation) -> Result<Option<GuestSeen>, DecodeError> {
        match identity {
            Identity::Guest { .. } => observed::decode(identity, seen),
            Identity::Pool(_) | Identity::Object { .. } => Ok(None),
        }
    }

    fn marker(observed: &GuestSeen) -> Option<&Marker> {
        observed.marker.as_deref()
    }

    fn plan(cx: &PlanContext<'_>, desired: Option<&RunnerPoolSpec>, observed: Option<&GuestSeen>) -> Delta {
        let mut delta = Delta::none(cx.resource.clone(), Some(cx.identity.clone()));
        match (desired, observed) {
            (Some(spec), _) => own::plan(cx, spec, &Around::of(cx).look(spec), &mut delta),
            (None, Some(machine)) => {
                let none = Fields::new();
                let applied = machine.marker.as_ref().map_or(&none, |marker| &marker.applied);
                member::forsaken(cx, machine, applied, &mut delta);
            }
            (None, None) => {}
        }
        delta
    }

    fn members(cx: &PlanContext<'_>, spec: &RunnerPoolSpec) -> Vec<Delta> {
        let look = Around::of(cx).look(spec);
        member::deltas(cx, spec, &look).into_iter().chain(own::registrations(cx, spec, &look)).collect()
    }

    fn export(_observed: &GuestSeen) -> Value {
        Value::Null
    }
}

impl<'a> Around<'a> {
    fn of(cx: &'a PlanContext<'a>) -> Around<'a> {
        Around {
            seen: cx.seen,
            identities: cx.identities,
            set: cx.set,
            name: &cx.resource.name,
            annotations: cx.annotations,
            going: cx.going,
        }
    }
}
