//! From how a pool stands to what the daemon tells of it.

use crate::daemon::runners::{JobSeen, MachineRecord, PoolCondition, PoolRecord, Seen, Times};
use crate::kinds::runner_pool::judge::Stage;
use crate::kinds::runner_pool::look::Around;
use crate::kinds::runner_pool::marks::Marks;
use crate::kinds::runner_pool::spec::{DemandMode, RunnerPoolSpec, place};
use crate::kinds::runner_pool::standing::{MachineStanding, Standing, standing};
use crate::plan::desired::{Desired, DesiredSet};
use crate::plan::identify::identify;
use crate::resource::observation::Observation;

/// All pools that a set declares.
pub fn pools(desired: &DesiredSet, seen: &Observation, source: &str) -> Vec<Seen> {
    let specs = desired.resources.values().filter_map(|want| Some((want, want.spec.downcast_ref::<RunnerPoolSpec>()?)));
    let mut specs = specs.peekable();
    if specs.peek().is_none() {
        return Vec::new();
    }
    let identities = identify(desired, seen).known;
    let one = |(want, spec): (&Desired, &RunnerPoolSpec)| {
        let around = Around {
            seen,
            identities: &identities,
            set: &desired.set,
            name: &want.resource.name,
            annotations: &want.annotations,
            going: false,
        };
        record(source, &want.resource.name, spec, &standing(&around, spec), seen.at)
    };
    specs.map(one).collect()
}

fn ms(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
}

/// A moment that GitHub may not tell: zero.
fn known(seconds: i64) -> Option<u64> {
    (seconds > 0).then(|| ms(seconds))
}

/// How a stage is called in the API.
pub fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Cloning => "Cloning",
        Stage::Cloned => "Cloned",
        Stage::Booting => "Booting",
        Stage::Ready => "Ready",
        Stage::Connecting => "Connecting",
        Stage::Idle => "Idle",
        Stage::Busy => "Busy",
        Stage::Ended => "Ended",
        Stage::Failed => "Failed",
        Stage::Leaving => "Leaving",
        Stage::Kept => "Kept",
    }
}

/// How it is learnt how many jobs wait, as manifests say it.
fn mode(demand: DemandMode) -> &'static str {
    match demand {
        DemandMode::ScaleSet => "ScaleSet",
        DemandMode::Webhook => "Webhook",
        DemandMode::Polling => "Polling",
        DemandMode::Idle => "Idle",
    }
}

/// One pool.
pub fn record(source: &str, name: &str, spec: &RunnerPoolSpec, stands: &Standing, now: i64) -> Seen {
    let Standing {
        target,
        idle_wanted,
        max,
        demand,
        machines,
        coming: _,
        orphans,
        strangers: _,
        foreign,
        conditions,
        next: _,
    } = stands;
    // Where nobody is asked, nothing is told of jobs.
    let asked = demand.as_ref().ok().filter(|_| spec.asks());
    let jobs = asked.map(|demand| {
        let jobs = demand.jobs.iter().map(|job| JobSeen {
            id: job.id,
            repository: job.repository.clone(),
            name: job.name.clone(),
            labels: job.labels.clone(),
            queued_ms: known(job.queued),
            runner: job.runner.clone(),
        });
        jobs.collect()
    });
    let condition = |condition: &crate::kinds::runner_pool::decide::Condition| PoolCondition {
        reason: condition.reason.to_owned(),
        message: condition.message.clone(),
        warns: condition.warns,
    };
    let pool = PoolRecord {
        source: source.to_owned(),
        name: name.to_owned(),
        scope: place(spec).scope.path(),
        demand: mode(spec.demand).to_owned(),
        template: spec.template.clone(),
        max: *max,
        idle_wanted: *idle_wanted,
        target: *target,
        assigned: asked.map(|demand| demand.assigned),
        running: asked.map(|demand| demand.running),
        waiting_since_ms: asked.and_then(|demand| demand.waiting_since).and_then(known),
        trouble: demand.as_ref().err().cloned(),
        conditions: conditions.iter().map(condition).collect(),
        machines: machines.iter().map(machine).collect(),
        orphans: orphans.iter().map(|runner| runner.name.clone()).collect(),
        foreign: foreign.iter().map(|foreign| foreign.vmid.get()).collect(),
        failing: None,
        seen_ms: ms(now),
    };
    Seen { pool, jobs }
}

fn machine(stands: &MachineStanding) -> MachineRecord {
    let MachineStanding {
        guest: _,
        vmid,
        node,
        name,
        stage,
        since,
        runner,
        job,
        marks,
        failure,
        waits,
        address,
        version,
    } = stands;
    let job = job.as_ref().map(|(name, repository)| super::label(repository, name));
    MachineRecord {
        vmid: vmid.get(),
        node: node.clone(),
        name: name.clone(),
        stage: word(*stage).to_owned(),
        since_ms: since.and_then(known),
        runner: runner.as_ref().map(|runner| runner.id),
        online: runner.as_ref().is_some_and(|runner| runner.online),
        busy: *stage == Stage::Busy || runner.as_ref().is_some_and(|runner| runner.busy),
        version: version.clone(),
        address: address.map(|address| address.to_string()),
        job,
        cause: failure.as_ref().map(|failure| failure.cause.as_str().to_owned()),
        why: failure.as_ref().map(|failure| failure.why.clone()).filter(|why| !why.is_empty()),
        waits: waits.clone(),
        times: times(marks),
    }
}

fn times(marks: &Marks) -> Times {
    let at = |mark: Option<i64>| mark.and_then(known);
    Times {
        made_ms: known(marks.made),
        started_ms: at(marks.started),
        registering_ms: at(marks.registering),
        online_ms: at(marks.online),
        busy_ms: at(marks.busy),
        ended_ms: at(marks.ended),
    }
}
