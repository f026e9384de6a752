//! What a look at the cluster means for a source: what is told of each object, what is to be run, what waits for a person.
//! Pure: a plan and what was known before go in, a verdict comes out.

use crate::base::condition::Truth;
use crate::base::id::VmId;
use crate::daemon::record::{ConditionRecord, Level, Mode, ObjectRecord};
use crate::plan::assemble::Plan;
use crate::plan::desired::DesiredSet;
use crate::plan::gate::{Consent, DataLoss, Refusal, gate};
use crate::report::status::conditions;
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::{Action, Delta, Expect};
use std::collections::{BTreeMap, BTreeSet};

/// The annotation by which a manifest asks for less than its source may do.
pub const MODE: &str = "pvectl/mode";

/// What is to be done about the objects of a source.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Those that differ and may be set right now.
    pub run: BTreeSet<ResourceRef>,
    /// Those that differ and wait for a person.
    pub ask: BTreeSet<ResourceRef>,
    /// Those that are as they should be, or are left alone.
    pub quiet: BTreeSet<ResourceRef>,
    /// Those that cannot be as they are written, with why.
    pub refused: BTreeMap<ResourceRef, String>,
    /// More would be deleted than the limit allows: how many, and the limit. None of them is.
    pub held: Option<(usize, usize)>,
}

impl Verdict {
    /// The same, saying nothing of some objects.
    #[must_use]
    pub fn without(mut self, of_no_use: impl Fn(&ResourceRef) -> bool) -> Verdict {
        let Verdict { run, ask, quiet, refused, held: _ } = &mut self;
        [run, ask, quiet].into_iter().for_each(|objects| objects.retain(|object| !of_no_use(object)));
        refused.retain(|object, _| !of_no_use(object));
        self
    }
}

/// What may be done to an object: what its source may, or less if its manifest says so.
pub fn mode(source: Mode, desired: &DesiredSet, resource: &ResourceRef) -> Mode {
    let said = desired.resources.get(&resource.declared()).and_then(|want| want.annotations.get(MODE));
    let asked = match said.map(String::as_str) {
        Some("Observe") => Mode::Observe,
        Some("Propose") => Mode::Propose,
        Some(_) | None => Mode::Enforce,
    };
    source.min(asked)
}

/// Weighs a plan of everything that a source declares.
pub fn weigh(plan: &Plan, desired: &DesiredSet, source: Mode, consent: &Consent) -> Verdict {
    let mut verdict = Verdict::default();
    let mut losing = BTreeSet::new();
    for refusal in gate(plan, consent) {
        match refusal {
            Refusal::Problem(resource, problem) => {
                let text = verdict.refused.entry(resource).or_default();
                *text = if text.is_empty() { problem.message } else { format!("{text}; {}", problem.message) };
            }
            Refusal::DataLoss(resource, _) => drop(losing.insert(resource)),
            Refusal::TooManyDeletes { deletes, limit } => verdict.held = Some((deletes, limit)),
        }
    }
    for delta in &plan.deltas {
        let resource = &delta.resource;
        let held = verdict.held.is_some() && delta.action == Action::Delete;
        if verdict.refused.contains_key(resource) || held {
            continue;
        }
        if delta.steps.is_empty() {
            verdict.quiet.insert(resource.clone());
            continue;
        }
        match mode(source, desired, resource) {
            Mode::Observe => verdict.quiet.insert(resource.clone()),
            Mode::Propose => verdict.ask.insert(resource.clone()),
            Mode::Enforce if losing.contains(resource) => verdict.ask.insert(resource.clone()),
            Mode::Enforce => verdict.run.insert(resource.clone()),
        };
    }
    verdict
}

/// What stands against a plan, by object.
pub fn words(refusals: &[Refusal]) -> BTreeMap<ResourceRef, String> {
    let mut all: BTreeMap<ResourceRef, String> = BTreeMap::new();
    for refusal in refusals {
        let (resource, text) = match refusal {
            Refusal::Problem(resource, problem) => (resource, problem.message.clone()),
            Refusal::DataLoss(resource, step) => (resource, format!("`{step}` destroys data and was not agreed to")),
            Refusal::TooManyDeletes { .. } => continue,
        };
        let old = all.entry(resource.clone()).or_default();
        *old = if old.is_empty() { text } else { format!("{old}; {text}") };
    }
    all
}

/// What a person agreed to by approving these objects, or nobody had to.
pub fn consent(allow_data_loss: bool, max_deletes: Option<usize>, approved: Option<&BTreeSet<ResourceRef>>) -> Consent {
    let data_loss = match (allow_data_loss, approved) {
        (_, Some(objects)) => DataLoss::Of(objects.clone()),
        (true, None) => DataLoss::Any,
        (false, None) => DataLoss::Refused,
    };
    // Whoever approves a plan has seen how much goes.
    let max_deletes = approved.map_or(max_deletes, |objects| Some(objects.len()));
    Consent { data_loss, max_deletes }
}

/// The guests of a plan, those too that its steps are about.
pub fn guests<'a>(deltas: impl IntoIterator<Item = &'a Delta>) -> BTreeSet<VmId> {
    let mut all = BTreeSet::new();
    for delta in deltas {
        if let Some(Identity::Guest { vmid, .. }) = &delta.identity {
            all.insert(*vmid);
        }
        all.extend(delta.steps.iter().filter_map(|step| crate::daemon::cache::guest_of(&step.call.path)));
    }
    all
}

/// What a run should know of an object before it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its guests.
    pub guests: BTreeSet<VmId>,
    /// What comes before it.
    pub after: Vec<ResourceRef>,
    /// Some step of it is a task of PVE, which may take minutes.
    pub long: bool,
}

impl Known {
    /// Of a delta.
    pub fn of(delta: &Delta) -> Known {
        let long = delta.steps.iter().any(|step| step.expect == Expect::Task);
        let after = delta.after.iter().chain(&delta.behind).cloned().collect();
        Known { guests: guests([delta]), after, long }
    }
}

/// Those objects of which a run may take long, and those that they need or that need them: they stay together.
pub fn slow<'a>(
    objects: impl Iterator<Item = &'a ResourceRef> + Clone,
    known: &BTreeMap<ResourceRef, Known>,
) -> BTreeSet<ResourceRef> {
    let of = |object: &ResourceRef| known.get(object);
    let mut slow: BTreeSet<ResourceRef> = objects.clone().filter(|o| of(o).is_some_and(|k| k.long)).cloned().collect();
    // Who needs one of these, or is needed by one, goes along; and so on.
    loop {
        let needed: Vec<&ResourceRef> = slow.iter().filter_map(of).flat_map(|k| &k.after).collect();
        let joins = |o: &&'a ResourceRef| {
            let needs = of(o).is_some_and(|k| k.after.iter().any(|first| slow.contains(first)));
            !slow.contains(*o) && (needs || needed.contains(o))
        };
        let more: Vec<ResourceRef> = objects.clone().filter(joins).cloned().collect();
        if more.is_empty() {
            return slow;
        }
        slow.extend(more);
    }
}

/// Parts what may take long from what does not, so that a change of a minute does not wait for a clone of an hour: the quick
/// ones first, and whether a part is slow.
pub fn part(
    objects: BTreeMap<ResourceRef, u64>,
    known: &BTreeMap<ResourceRef, Known>,
) -> Vec<(BTreeMap<ResourceRef, u64>, bool)> {
    let slow = slow(objects.keys(), known);
    let (slow, quick): (BTreeMap<_, _>, BTreeMap<_, _>) = objects.into_iter().partition(|(o, _)| slow.contains(o));
    [(quick, false), (slow, true)].into_iter().filter(|(part, _)| !part.is_empty()).collect()
}

/// An object as it was just seen. `before` keeps the times of what did not change, and its last error while it differs.
pub fn record(
    source: &str,
    revision: &str,
    mode: Mode,
    delta: &Delta,
    before: Option<&ObjectRecord>,
    now_ms: u64,
) -> ObjectRecord {
    let mut claims: Vec<ConditionRecord> = conditions(delta).into_iter().map(|c| claim(&c, before, now_ms)).collect();
    let error = before.and_then(|b| b.error.clone()).filter(|_| delta.is_open());
    if let Some(error) = &error
        && !claims.iter().any(|c| c.condition == "Degraded")
    {
        claims.push(transition(
            ConditionRecord {
                condition: "Degraded".into(),
                status: "True".into(),
                reason: "ApplyFailed".into(),
                message: error.clone(),
                last_transition_ms: now_ms,
            },
            before,
        ));
    }
    ObjectRecord {
        source: source.to_owned(),
        kind: delta.resource.kind.clone(),
        name: delta.resource.name.clone(),
        identity: delta.identity.as_ref().map(ToString::to_string),
        mode,
        action: delta.action.as_str().to_owned(),
        fields: crate::daemon::drift::fields(delta),
        conditions: claims,
        revision: revision.to_owned(),
        seen_ms: now_ms,
        failures: before.map_or(0, |b| b.failures),
        next_ms: before.and_then(|b| b.next_ms),
        error,
        newest_ms: delta.newest.and_then(|at| u64::try_from(at).ok()).map(|at| at.saturating_mul(1000)),
    }
}

fn claim(condition: &crate::base::condition::Condition, before: Option<&ObjectRecord>, now_ms: u64) -> ConditionRecord {
    let status = match condition.status {
        Truth::True => "True",
        Truth::False => "False",
        Truth::Unknown => "Unknown",
    };
    let new = ConditionRecord {
        condition: condition.condition.as_str().into(),
        status: status.into(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_transition_ms: now_ms,
    };
    transition(new, before)
}

/// A claim whose status is as before keeps the time of its last change.
fn transition(mut new: ConditionRecord, before: Option<&ObjectRecord>) -> ConditionRecord {
    let old = before.and_then(|b| b.conditions.iter().find(|c| c.condition == new.condition));
    if let Some(old) = old.filter(|old| old.status == new.status) {
        new.last_transition_ms = old.last_transition_ms;
    }
    new
}

/// What is to be told of copies that grew too old since the last look, or are new again.
pub fn grown_old(before: Option<&ObjectRecord>, now: &ObjectRecord) -> Vec<(Level, &'static str, String)> {
    let kinds = [("SnapshotsFresh", "SnapshotsTooOld"), ("BackupsFresh", "BackupsTooOld")];
    let told = kinds.into_iter().filter_map(|(condition, old)| {
        let of = |object: &ObjectRecord| object.conditions.iter().find(|c| c.condition == condition).cloned();
        let is = of(now)?;
        let was_good = before.and_then(of).is_none_or(|was| was.status == "True");
        match (was_good, is.status == "True") {
            (true, false) => Some((Level::Warning, old, is.message)),
            (false, true) => Some((Level::Normal, condition, is.message)),
            (true, true) | (false, false) => None,
        }
    });
    told.collect()
}

/// How many objects of the manifests are Ready: a policy is where all that it does to guests is.
pub fn ready<'a>(objects: impl Iterator<Item = &'a ObjectRecord>) -> usize {
    let of = |object: &ObjectRecord| ResourceRef::new(&object.kind, &object.name);
    let (well, not): (Vec<ResourceRef>, Vec<ResourceRef>) = {
        let (well, not): (Vec<_>, Vec<_>) = objects.partition(|object| is_ready(object));
        (well.into_iter().map(of).collect(), not.into_iter().map(of).collect())
    };
    let held: BTreeSet<ResourceRef> = not.iter().map(ResourceRef::declared).collect();
    well.iter().filter(|object| !object.is_member() && !held.contains(object)).count()
}

/// Whether an object is Ready.
pub fn is_ready(object: &ObjectRecord) -> bool {
    object.conditions.iter().any(|c| c.condition == "Ready" && c.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> ResourceRef {
        ResourceRef::new("VirtualMachine", name)
    }

    #[test]
    fn what_is_quick_does_not_wait_for_what_is_long_unless_they_need_one_another() {
        let known =
            |after: &[&str], long| Known { after: after.iter().map(|n| of(n)).collect(), long, ..Known::default() };
        let all: BTreeMap<ResourceRef, Known> = [
            (of("pool"), known(&[], false)),
            (of("clone"), known(&["pool"], true)),
            (of("tenant"), known(&["clone"], false)),
            (of("other"), known(&[], false)),
        ]
        .into();
        let objects = |names: &[&str]| names.iter().map(|n| (of(n), 0)).collect::<BTreeMap<_, _>>();
        let parts = part(objects(&["pool", "clone", "tenant", "other"]), &all);
        assert_eq!(parts, [(objects(&["other"]), false), (objects(&["clone", "pool", "tenant"]), true)]);
        assert_eq!(part(objects(&["pool", "other"]), &all), [(objects(&["other", "pool"]), false)]);
        assert_eq!(part(objects(&["unheard-of"]), &all).len(), 1);
        assert!(part(BTreeMap::new(), &all).is_empty());
    }
}
