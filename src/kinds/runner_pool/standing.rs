//! How a pool stands, for people and machines.

use crate::base::id::{GuestType, VmId};
use crate::github::demand::Demand;
use crate::github::runner::Runner;
use crate::kinds::runner_pool::decide::Condition;
use crate::kinds::runner_pool::judge::{Act, Stage};
use crate::kinds::runner_pool::look::{Around, Foreign, Look};
use crate::kinds::runner_pool::marks::{Failure, Marks};
use crate::kinds::runner_pool::name;
use crate::kinds::runner_pool::spec::RunnerPoolSpec;
use std::net::IpAddr;

/// How a pool stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many machines there shall be.
    pub target: u32,
    /// How many of them idle.
    pub idle_wanted: u32,
    /// Never more than these.
    pub max: u32,
    /// How much work there is; why that is not known.
    pub demand: Result<Demand, String>,
    /// Its machines, by number.
    pub machines: Vec<MachineStanding>,
    /// Machines that are about to be made: number, node and name.
    pub coming: Vec<(VmId, String, String)>,
    /// Registrations of ours whose machines are gone: they are taken away.
    pub orphans: Vec<Runner>,
    /// Registrations that have a name of this pool and are left alone: name and why.
    pub strangers: Vec<(String, String)>,
    /// Guests of its range that are not provably its machines, or could not be read: left alone.
    pub foreign: Vec<Foreign>,
    /// What a person should know.
    pub conditions: Vec<Condition>,
    /// When something is to be done next at the latest, in seconds since 1970.
    pub next: Option<i64>,
}

/// How a machine stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineStanding {
    /// VM or CT.
    pub guest: GuestType,
    /// Its number.
    pub vmid: VmId,
    /// Where it is.
    pub node: String,
    /// Its name, which is its runner's.
    pub name: String,
    /// How far it is.
    pub stage: Stage,
    /// Since when, in seconds since 1970, as far as it stands on it.
    pub since: Option<i64>,
    /// Its registration.
    pub runner: Option<Runner>,
    /// The job that it has, where that is known: its name and repository.
    pub job: Option<(String, String)>,
    /// What stands on it.
    pub marks: Marks,
    /// How it failed.
    pub failure: Option<Failure>,
    /// What it waits for, or why it goes.
    pub waits: Option<String>,
    /// Its address, where it was asked.
    pub address: Option<IpAddr>,
    /// The version of its runner, where that is known.
    pub version: Option<String>,
}

/// When a stage began, as it stands on a machine.
fn since(stage: Stage, marks: &Marks) -> Option<i64> {
    match stage {
        Stage::Cloning | Stage::Cloned => Some(marks.made),
        Stage::Booting | Stage::Ready => marks.started,
        Stage::Connecting => marks.registering,
        Stage::Idle => marks.online,
        Stage::Busy => marks.busy,
        Stage::Ended => marks.ended,
        Stage::Failed | Stage::Kept => marks.failed.as_ref().map(|failure| failure.at),
        Stage::Leaving => None,
    }
}

/// How a pool stands.
pub fn standing(around: &Around<'_>, spec: &RunnerPoolSpec) -> Standing {
    of_look(around.look(spec), spec)
}

fn of_look(look: Look, spec: &RunnerPoolSpec) -> Standing {
    let Look { own, decision, demand, runners: _, mut foreign, unread, template: _, problems, waits_for } = look;
    foreign.extend(unread);
    let jobs = demand.as_ref().map(|demand| demand.jobs.clone()).unwrap_or_default();
    let machine =
        |(own, verdict): (crate::kinds::runner_pool::look::Own, &crate::kinds::runner_pool::judge::Verdict)| {
            let m = own.machine;
            let job = jobs.iter().find(|job| job.runner.as_deref() == Some(m.name.as_str()));
            let goes = match &verdict.act {
                Some(Act::Leave { why, .. }) => Some(why.clone()),
                Some(Act::Fail { marks, .. }) => marks.failed.as_ref().map(|failure| failure.cause.as_str().to_owned()),
                Some(Act::Configure | Act::Start | Act::Begin { .. } | Act::Mark(_) | Act::Still { .. }) | None => None,
            };
            MachineStanding {
                guest: m.guest,
                vmid: m.vmid,
                node: m.node.clone(),
                stage: verdict.stage,
                since: since(verdict.stage, &m.marks),
                job: job.map(|job| (job.name.clone(), job.repository.clone())),
                failure: m.marks.failed.clone(),
                waits: verdict.waits.clone().or(goes),
                address: m.address(),
                version: m.runner.as_ref().and_then(|r| r.version.clone()).or_else(|| m.state()?.version.clone()),
                name: m.name,
                runner: m.runner,
                marks: m.marks,
            }
        };
    let mut conditions = decision.conditions.clone();
    conditions.extend(problems.into_iter().map(|problem| Condition {
        reason: "TemplateUnfit",
        message: problem.message,
        warns: true,
    }));
    conditions.extend(waits_for.map(|template| Condition {
        reason: "TemplateNotReady",
        message: format!("{template} is not there yet"),
        warns: false,
    }));
    let mut seen: Vec<(&'static str, String)> = Vec::new();
    conditions.retain(|condition| {
        let key = (condition.reason, condition.message.clone());
        let new = !seen.contains(&key);
        seen.push(key);
        new
    });
    Standing {
        target: decision.target,
        idle_wanted: decision.idle_wanted,
        max: spec.size.max,
        demand,
        machines: own.into_iter().zip(&decision.verdicts).map(machine).collect(),
        coming: decision.new.iter().map(|new| (new.vmid, new.node.clone(), new.name.clone())).collect(),
        orphans: decision.orphans,
        strangers: decision.strangers,
        foreign,
        conditions,
        next: decision.next,
    }
}

/// The pool's machine that a word means: its number, or its name.
pub fn named<'a>(standing: &'a Standing, word: &str) -> Option<&'a MachineStanding> {
    standing.machines.iter().find(|m| m.name == word || m.vmid.to_string() == word)
}

/// Whether a word has the form of a machine's name of this pool.
pub fn is_name_of(pool: &str, word: &str) -> bool {
    name::read(pool, word).is_some()
}
