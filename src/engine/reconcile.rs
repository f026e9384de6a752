//! Observe, plan, execute, and look again, until nothing is left to do. What was lost, busy or changed under our hands is
//! observed anew and planned again; what PVE refused is reported and not tried twice.

use crate::base::clock::Clock;
use crate::base::resolver::Resolver;
use crate::base::secret_file::SecretFiles;
use crate::engine::execute::{Stop, execute};
use crate::engine::observe::observe;
use crate::plan::assemble::{Plan, Settings, plan};
use crate::plan::desired::DesiredSet;
use crate::plan::gate::{self, Consent};
use crate::pve::api::Api;
use crate::pve::error::{PveError, Refusal};
use crate::pve::request::Call;
use crate::report::event::{Event, Watch};
use crate::resource::kind::AnyKind;
use crate::resource::reference::ResourceRef;
use crate::resource::step::{Action, Delta, Note};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Rounds of observe-plan-execute in one run: a template, a clone of it, its configuration, its power, and room for repeats.
const ROUNDS_MAX: usize = 24;
/// How often one resource may fail in a way that may pass.
const ATTEMPTS_MAX: u32 = 6;
/// Rounds spent waiting for locks that others hold.
const WAITS_MAX: u32 = 10;
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Everything that a run needs besides its manifests.
pub struct Cluster<'a> {
    /// The door to PVE.
    pub api: &'a dyn Api,
    /// Time.
    pub clock: &'a dyn Clock,
    /// The registry.
    pub kinds: &'a [&'static dyn AnyKind],
    /// DNS.
    pub names: &'a dyn Resolver,
    /// Where secrets are kept that PVE tells once.
    pub files: &'a dyn SecretFiles,
}

/// What a run did and how it ended.
#[derive(Debug)]
pub struct Report {
    /// The first plan: what was to be done.
    pub first: Plan,
    /// The plan after the last step: what is still open; empty when all is as it shall be.
    pub last: Plan,
    /// Resources that failed, with the last reason.
    pub failed: BTreeMap<ResourceRef, String>,
    /// What to do about them.
    pub hints: BTreeMap<ResourceRef, String>,
    /// Of those that failed: PVE will say the same again until the manifest, or what we may do, changes.
    pub refused: BTreeSet<ResourceRef>,
    /// Steps that ended well.
    pub steps: usize,
}

impl Report {
    /// Whether everything is as the manifests say.
    pub fn converged(&self) -> bool {
        self.failed.is_empty() && self.last.is_empty()
    }
}

/// How a run can end early.
#[derive(Debug)]
pub enum Halt {
    /// The cluster could not be read; nothing was done.
    Unreadable(PveError),
    /// The cluster could not be read any more in the middle of the run.
    Blind(Box<Blind>),
    /// A guard refused the plan; nothing was done.
    Refused(Plan, Vec<gate::Refusal>),
    /// The person said no; nothing was done.
    Declined(Plan),
}

/// A run whose cluster went away.
#[derive(Debug)]
pub struct Blind {
    /// Why.
    pub error: PveError,
    /// What was done until then; its last plan is the one that was being done.
    pub report: Report,
    /// Whose steps all ended well, without a look at the result.
    pub unverified: BTreeSet<ResourceRef>,
}

/// What is to be done, without doing any of it.
pub async fn preview(cluster: &Cluster<'_>, desired: &DesiredSet, settings: &Settings) -> Result<Plan, PveError> {
    let seen = observe(cluster, desired, settings).await?;
    Ok(plan(desired, &seen, cluster.kinds, settings))
}

/// Makes the cluster as the set says. `agree` is shown the first plan and decides whether it runs.
pub async fn reconcile(
    cluster: &Cluster<'_>,
    desired: &DesiredSet,
    settings: &Settings,
    consent: Consent,
    watch: &dyn Watch,
    agree: &(dyn Fn(&Plan) -> bool + Sync),
) -> Result<Report, Halt> {
    let first = preview(cluster, desired, settings).await.map_err(Halt::Unreadable)?;
    let refusals = gate::gate(&first, &consent);
    if !refusals.is_empty() {
        return Err(Halt::Refused(first, refusals));
    }
    if !first.is_empty() && !agree(&first) {
        return Err(Halt::Declined(first));
    }
    let mut run = Run::default();
    let mut current = first.clone();
    // A rolling change takes a round a member.
    let members = desired.resources.values().filter(|d| d.rolling.is_some()).count();
    for round in 0..ROUNDS_MAX + members {
        run.hold_back(&mut current);
        let moving = |d: &Delta| {
            d.action != Action::NoOp && d.notes.iter().any(|n| matches!(n, Note::Locked(_) | Note::Unsettled(_)))
        };
        let waiting = current.deltas.iter().any(|d| d.steps.is_empty() && moving(d));
        if current.deltas.iter().all(|d| d.steps.is_empty()) && !(waiting && run.waits < WAITS_MAX) {
            break;
        }
        if current.deltas.iter().any(|d| !d.steps.is_empty()) {
            watch.event(Event::RoundStarted { round, plan: &current });
            run.execute(cluster, &current, watch).await;
        } else {
            run.waits += 1;
            run.pause = true;
        }
        if run.pause {
            cluster.clock.sleep(run.backoff()).await;
        }
        current = match preview(cluster, desired, settings).await {
            Ok(plan) => plan,
            Err(error) => {
                let Run { failed, hints, refused, steps, finished: unverified, .. } = run;
                let report = Report { first, last: current, failed, hints, refused, steps };
                return Err(Halt::Blind(Box::new(Blind { error, report, unverified })));
            }
        };
        run.refuse(&gate::gate(&current, &consent), &mut current);
    }
    let last_failed: BTreeSet<ResourceRef> =
        current.deltas.iter().filter(|d| d.is_open()).map(|d| d.resource.clone()).collect();
    // What failed on the way and is as it shall be after all is no failure.
    run.failed.retain(|r, _| last_failed.contains(r));
    let Run { failed, hints, mut refused, steps, .. } = run;
    refused.retain(|r| failed.contains_key(r));
    Ok(Report { first, last: current, failed, hints, refused, steps })
}

#[derive(Default)]
struct Run {
    failed: BTreeMap<ResourceRef, String>,
    hints: BTreeMap<ResourceRef, String>,
    refused: BTreeSet<ResourceRef>,
    attempts: BTreeMap<ResourceRef, u32>,
    steps: usize,
    /// Whose steps of this round all ended well.
    finished: BTreeSet<ResourceRef>,
    /// The requests of batches that were closed: PVE says that it is done, and the same again would say the same.
    closed: BTreeMap<ResourceRef, Vec<Call>>,
    waits: u32,
    pause: bool,
    pauses: u32,
}

impl Run {
    async fn execute(&mut self, cluster: &Cluster<'_>, plan: &Plan, watch: &dyn Watch) {
        self.pause = false;
        self.finished.clear();
        for done in execute(cluster, plan, watch).await {
            self.steps += done.steps;
            match done.stop {
                None => {
                    let delta = plan.deltas.iter().find(|d| d.resource == done.resource && d.batch.is_some());
                    self.closed.extend(delta.map(|d| (d.resource.clone(), calls(d))));
                    self.finished.insert(done.resource);
                }
                Some(Stop::Skipped(_)) => {}
                Some(Stop::Guarded(why)) => {
                    self.failed.insert(done.resource, why);
                }
                Some(Stop::Changed { step }) => self.changed(done.resource, &step),
                Some(Stop::Failed { step, error }) => self.failure(done.resource, &step, &error),
            }
        }
    }

    /// What failed is not tried again, and what comes after something that is not done waits for it.
    fn hold_back(&mut self, plan: &mut Plan) {
        let mut open: BTreeSet<ResourceRef> = BTreeSet::new();
        for delta in &mut plan.deltas {
            if !delta.steps.is_empty() && self.closed.get(&delta.resource).is_some_and(|sent| *sent == calls(delta)) {
                let notes: Vec<&str> = delta.notes.iter().filter_map(Note::info).collect();
                let why = format!("PVE says that it is done, and yet: {}", notes.join("; "));
                self.failed.insert(delta.resource.clone(), why);
            }
            if self.failed.contains_key(&delta.resource) {
                delta.steps.clear();
            }
            let first = delta.after.iter().find(|r| open.contains(*r)).cloned();
            if let (Some(first), false) = (first, delta.steps.is_empty()) {
                delta.steps.clear();
                delta.notes.push(Note::Waiting(first));
            }
            if delta.is_open() && delta.steps.is_empty() {
                open.insert(delta.resource.clone());
            }
        }
    }

    fn failure(&mut self, resource: ResourceRef, step: &str, error: &PveError) {
        let attempts = self.attempts.entry(resource.clone()).or_insert(0);
        *attempts += 1;
        if may_pass(error) && *attempts < ATTEMPTS_MAX {
            self.pause = true;
            return;
        }
        if let Some(hint) = error.hint() {
            self.hints.insert(resource.clone(), hint);
        }
        let says_no = |refusal| {
            matches!(refusal, Refusal::Invalid | Refusal::Forbidden | Refusal::RootOnly | Refusal::Unsupported)
        };
        if error.refusal().is_some_and(says_no) {
            self.refused.insert(resource.clone());
        }
        self.failed.insert(resource, format!("{step}: {error}"));
    }

    /// A list is not as it was when the plan was made: it is looked at anew.
    fn changed(&mut self, resource: ResourceRef, step: &str) {
        let attempts = self.attempts.entry(resource.clone()).or_insert(0);
        *attempts += 1;
        if *attempts < ATTEMPTS_MAX {
            self.pause = true;
            return;
        }
        self.failed
            .insert(resource, format!("{step}: the list changes while it is being changed; somebody else is at it"));
    }

    fn backoff(&mut self) -> Duration {
        self.pauses += 1;
        LONGEST_WAIT.min(Duration::from_millis(250) * 2u32.saturating_pow(self.pauses.min(8)))
    }

    /// A later round may bring what the first could not know (a template's disks): it passes the same gate.
    fn refuse(&mut self, refusals: &[gate::Refusal], plan: &mut Plan) {
        for refusal in refusals {
            let (resource, why) = match refusal {
                gate::Refusal::Problem(resource, problem) => (resource.clone(), problem.message.clone()),
                gate::Refusal::DataLoss(resource, step) => {
                    (resource.clone(), format!("`{step}` destroys data and was not agreed to"))
                }
                gate::Refusal::TooManyDeletes { .. } => continue,
            };
            if let Some(delta) = plan.deltas.iter_mut().find(|d| d.resource == resource) {
                delta.steps.clear();
                delta.action = if delta.action == Action::NoOp { Action::Update } else { delta.action };
            }
            self.failed.insert(resource, why);
        }
    }
}

fn calls(delta: &Delta) -> Vec<Call> {
    delta.steps.iter().map(|step| step.call.clone()).collect()
}

/// Whether it is worth observing and planning that object again.
fn may_pass(error: &PveError) -> bool {
    match error {
        PveError::Lost { .. } | PveError::Unsent { .. } | PveError::Garbled { .. } => true,
        PveError::TaskFailed { exit_status, .. } => {
            matches!(
                Refusal::classify(500, exit_status),
                Refusal::Busy | Refusal::Locked | Refusal::Exists | Refusal::Digest
            )
        }
        PveError::Refused { .. } => matches!(
            error.refusal(),
            Some(
                Refusal::Absent
                    | Refusal::Exists
                    | Refusal::Digest
                    | Refusal::NetworksLocked
                    | Refusal::Locked
                    | Refusal::Busy
                    | Refusal::NodeOffline
                    | Refusal::Unavailable
                    | Refusal::Unauthenticated
            )
        ),
    }
}
