//! What may run: every refusal comes before the first request that changes anything, and all of them at once.

use crate::plan::assemble::Plan;
use crate::resource::reference::ResourceRef;
use crate::resource::step::{Action, Delta, Impact, Problem};
use std::collections::BTreeSet;

/// What the person at the keyboard has agreed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// What data may be destroyed.
    pub data_loss: DataLoss,
    /// `--max-deletes`; the default is 5, or a tenth of the set, whichever is more.
    pub max_deletes: Option<usize>,
}

/// What data may be destroyed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DataLoss {
    /// None.
    #[default]
    Refused,
    /// That of these resources: each was named by a person.
    Of(BTreeSet<ResourceRef>),
    /// Whatever the plan says: `--allow data-loss`.
    Any,
}

impl DataLoss {
    fn permits(&self, resource: &ResourceRef) -> bool {
        match self {
            DataLoss::Refused => false,
            DataLoss::Of(named) => named.contains(resource),
            DataLoss::Any => true,
        }
    }
}

/// Why a plan may not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A resource cannot be applied as it is written.
    Problem(ResourceRef, Problem),
    /// A step destroys data and nobody agreed.
    DataLoss(ResourceRef, String),
    /// More objects would go than the limit allows.
    TooManyDeletes {
        /// How many would go.
        deletes: usize,
        /// How many may.
        limit: usize,
    },
}

/// All that stands against running a plan; empty: go.
pub fn gate(plan: &Plan, consent: &Consent) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for delta in &plan.deltas {
        refusals.extend(delta.problems.iter().map(|p| Refusal::Problem(delta.resource.clone(), p.clone())));
        if !consent.data_loss.permits(&delta.resource) {
            // One word for each resource; the last such step is the one that destroys, after others made way for it.
            let losing = delta.steps.iter().rfind(|s| s.impact == Impact::DataLoss);
            refusals.extend(losing.map(|s| Refusal::DataLoss(delta.resource.clone(), s.title.clone())));
        }
    }
    // What waits deletes nothing yet; what is against it may be gone when somebody agrees.
    let deletes = |d: &&Delta| d.action == Action::Delete && !(d.steps.is_empty() && d.problems.is_empty());
    let deletes = plan.deltas.iter().filter(deletes).count();
    // What a policy does to each guest is no object of the set.
    let objects = plan.deltas.iter().filter(|d| !d.resource.is_member()).count();
    let limit = consent.max_deletes.unwrap_or_else(|| 5.max(objects / 10));
    if deletes > limit {
        refusals.push(Refusal::TooManyDeletes { deletes, limit });
    }
    refusals
}
