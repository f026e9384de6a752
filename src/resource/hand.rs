//! What a person does to one object by hand, as values: what is read, what is to be done, and how it is known to be done.
//! The engine drives it as it drives a plan; a kind says what it means.

use crate::pve::request::Query;
use crate::resource::index::Index;
use crate::resource::observation::Observation;
use crate::resource::step::Delta;
use std::collections::BTreeSet;
use std::time::Duration;

/// What shows that a request took effect when its answer was lost, or was a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The state alone: whoever made it so, it is so (a guest that runs).
    State,
    /// The state, unless PVE refused: then somebody else made it so (a snapshot of that name).
    Made,
    /// Only the task: the state before looks the same (a roll-back).
    Task,
}

/// One deed on one object. It is one request; it is never sent twice.
pub trait Hand: Sync {
    /// What must be read, `first` before anything is sent.
    fn reads(&self, index: &Index, first: bool) -> BTreeSet<Query>;
    /// What is to be done. `before` is what was seen before it was sent; without it, everything that stands against the
    /// deed is a problem. No action: it is done.
    fn plan(&self, seen: &Observation, before: Option<&Observation>) -> Delta;
    /// The list in which the task of a request appears whose answer was lost; it is among the first reads.
    fn tasks(&self, seen: &Observation) -> Option<Query>;
    /// Types of that task.
    fn task_types(&self) -> &'static [&'static str];
    /// What shows that it is done.
    fn proof(&self) -> Proof;
    /// How long after its task the effect may take to be seen.
    fn patience(&self) -> Duration;
    /// What to do when its task has failed, beyond what PVE's words say.
    fn remedy(&self) -> Option<String> {
        None
    }
}
