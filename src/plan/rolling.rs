//! Rolling changes: of guests that belong together only so many are down at once; the others wait until these are ready.
//! Which are down is read from the observation, so a run that was killed goes on where it stood.

use crate::plan::desired::DesiredSet;
use crate::resource::observation::Observation;
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::{Action, Delta, Impact, Note};
use std::collections::BTreeMap;

/// How guests that belong together are changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rolling {
    /// The set that they are members of.
    pub group: ResourceRef,
    /// Which of them this is, from 0.
    pub ordinal: u32,
    /// How many may be down at once.
    pub max_unavailable: usize,
}

/// Takes the steps that bring a member down out of the deltas of those whose turn has not come.
pub fn hold_back(deltas: &mut [Delta], desired: &DesiredSet, seen: &Observation) {
    let mut groups: BTreeMap<&ResourceRef, Vec<(u32, usize, usize)>> = BTreeMap::new();
    for (at, delta) in deltas.iter().enumerate() {
        if let Some(rolling) = desired.resources.get(&delta.resource).and_then(|d| d.rolling.as_ref()) {
            groups.entry(&rolling.group).or_default().push((rolling.ordinal, at, rolling.max_unavailable));
        }
    }
    for members in groups.values_mut() {
        members.sort_unstable();
        let down: Vec<usize> = members.iter().map(|(_, at, _)| *at).filter(|at| is_down(&deltas[*at], seen)).collect();
        let mut room = members.first().map_or(0, |(_, _, max)| *max).saturating_sub(down.len());
        let mut ahead = down.first().map(|at| deltas[*at].resource.clone());
        for (_, at, _) in members.iter() {
            if down.contains(at) || !goes_down(&deltas[*at]) {
                continue;
            }
            if room > 0 {
                room -= 1;
                ahead = Some(deltas[*at].resource.clone());
                continue;
            }
            let delta = &mut deltas[*at];
            delta.steps.retain(|step| step.impact < Impact::Restart);
            delta.notes.extend(ahead.clone().map(Note::Waiting));
        }
    }
}

/// Whether a member is not at work now, and not because it shall not be.
fn is_down(delta: &Delta, seen: &Observation) -> bool {
    let Some(Identity::Guest { vmid, .. }) = &delta.identity else { return true };
    let runs = seen.index.guests.get(vmid).is_some_and(|row| row.status == "running");
    delta.is_open() && !runs
}

/// Whether its steps bring it down.
fn goes_down(delta: &Delta) -> bool {
    delta.action == Action::Update && delta.steps.iter().any(|step| step.impact >= Impact::Restart)
}
