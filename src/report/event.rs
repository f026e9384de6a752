//! Moments of a run, told while it goes on.

use crate::plan::assemble::Plan;
use crate::pve::error::PveError;
use crate::resource::reference::ResourceRef;
use crate::resource::step::Step;

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Done,
    /// Well, with warnings in the task's log.
    Warned(Vec<String>),
    /// Badly.
    Failed(PveError),
    /// Not sent: the object is not what it was.
    Guarded(String),
}

/// A moment.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A round of steps begins.
    RoundStarted {
        /// From 0.
        round: usize,
        /// What will be done.
        plan: &'a Plan,
    },
    /// A step begins.
    StepStarted {
        /// Of which resource.
        resource: &'a ResourceRef,
        /// Which.
        step: &'a Step,
        /// Milliseconds since the epoch.
        at_ms: u64,
    },
    /// A task tells how far it is.
    Progress {
        /// Of which resource.
        resource: &'a ResourceRef,
        /// Which step.
        step: &'a Step,
        /// 0 to 100.
        percent: u8,
    },
    /// A step has ended.
    StepEnded {
        /// Of which resource.
        resource: &'a ResourceRef,
        /// Which.
        step: &'a Step,
        /// How.
        outcome: Outcome,
        /// Milliseconds.
        took_ms: u64,
    },
}

/// Somebody who watches a run.
pub trait Watch: Sync {
    /// Told of a moment.
    fn event(&self, event: Event<'_>);
}

/// Nobody watches.
pub struct Nobody;

impl Watch for Nobody {
    fn event(&self, _event: Event<'_>) {}
}
