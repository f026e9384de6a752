//! Runner pools as the daemon tells of them: how each stands, what became of its machines, and which jobs they had. The shapes
//! are a promise to whoever reads the API or the store. Pure: what was seen goes in, records come out.

pub mod news;

pub mod past;

pub mod seen;

use serde::{Deserialize, Serialize};

/// A runner pool, as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRecord {
    /// Whose manifests declare it.
    pub source: String,
    /// Its name.
    pub name: String,
    /// Whose runners they are: `orgs/acme`, `repos/acme/app`.
    pub scope: String,
    /// How it is learnt how many jobs wait: `ScaleSet`, `Webhook`, `Polling`, `Idle`.
    pub demand: String,
    /// What its machines are cloned from.
    pub template: String,
    /// Never more machines than these.
    pub max: u32,
    /// So many idle runners are to be ready now.
    pub idle_wanted: u32,
    /// So many machines are to be there now.
    pub target: u32,
    /// Jobs that are its own: those that wait and those that run; absent: not known.
    pub assigned: Option<u32>,
    /// Those that run.
    pub running: Option<u32>,
    /// Since when jobs wait, as far as that is known.
    pub waiting_since_ms: Option<u64>,
    /// Why it is not known how many jobs wait.
    pub trouble: Option<String>,
    /// What a person should know of it.
    pub conditions: Vec<PoolCondition>,
    /// Its machines.
    pub machines: Vec<MachineRecord>,
    /// Registrations of it without a machine.
    pub orphans: Vec<String>,
    /// Guests in its range of numbers that are not provably its own, and are left alone.
    pub foreign: Vec<u32>,
    /// The cause of the last failure; absent once a machine came online after it.
    pub failing: Option<String>,
    /// When it was looked at.
    pub seen_ms: u64,
}

/// Something about a pool that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolCondition {
    /// One CamelCase word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// A person should look at it.
    pub warns: bool,
}

/// A machine of a pool, as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineRecord {
    /// Its number.
    pub vmid: u32,
    /// Where it is.
    pub node: String,
    /// Its name, which is its runner's.
    pub name: String,
    /// How far it is: `Cloning`, `Booting`, `Idle`, `Busy`, …
    pub stage: String,
    /// Since when.
    pub since_ms: Option<u64>,
    /// The number of its registration; absent: it has none.
    pub runner: Option<u64>,
    /// Its runner is connected.
    pub online: bool,
    /// Its runner works.
    pub busy: bool,
    /// The runner's version.
    pub version: Option<String>,
    /// Its address, where it is known.
    pub address: Option<String>,
    /// The job that it has, where it is known.
    pub job: Option<String>,
    /// Why it failed: `NoAgent`, `NeverOnline`, …
    pub cause: Option<String>,
    /// The same in more words.
    pub why: Option<String>,
    /// What it waits for, or why it goes.
    pub waits: Option<String>,
    /// When it got how far.
    pub times: Times,
}

/// When a machine got how far; absent: it did not yet, or nobody saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// It was asked for.
    pub made_ms: Option<u64>,
    /// It was started.
    pub started_ms: Option<u64>,
    /// Its runner was registered and begun.
    pub registering_ms: Option<u64>,
    /// Its runner was online.
    pub online_ms: Option<u64>,
    /// It had its job.
    pub busy_ms: Option<u64>,
    /// Its runner ended.
    pub ended_ms: Option<u64>,
}

/// What became of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerRecord {
    /// Unique: `SOURCE/POOL/NAME`.
    pub id: String,
    /// Whose manifests declare the pool.
    pub source: String,
    /// The pool.
    pub pool: String,
    /// Its name, which is its runner's.
    pub name: String,
    /// Its number.
    pub vmid: u32,
    /// Where it was.
    pub node: String,
    /// When it got how far.
    pub times: Times,
    /// When it was first seen.
    pub seen_ms: u64,
    /// When it was seen that it is gone; absent: it is there.
    pub gone_ms: Option<u64>,
    /// `Done`, `Failed`, `Removed` (it had no job); absent: it has not ended.
    pub result: Option<String>,
    /// Why it failed: `NoAgent`, `NeverOnline`, …
    pub cause: Option<String>,
    /// Its job: `acme/app: CI / build`; absent: none, or it is not known.
    pub job: Option<String>,
}

/// A job of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobRecord {
    /// Unique: `SOURCE/POOL/JOB`.
    pub id: String,
    /// Whose manifests declare the pool.
    pub source: String,
    /// The pool.
    pub pool: String,
    /// GitHub's number for it.
    pub job: u64,
    /// `owner/name`.
    pub repository: String,
    /// `CI / build`.
    pub name: String,
    /// The labels that it asks for.
    pub labels: Vec<String>,
    /// When it was first seen.
    pub seen_ms: u64,
    /// When it was queued; absent: that is not known.
    pub queued_ms: Option<u64>,
    /// When a runner had it.
    pub began_ms: Option<u64>,
    /// When it had ended, or was not waiting any more.
    pub ended_ms: Option<u64>,
    /// The runner that had it.
    pub runner: Option<String>,
}

/// What GitHub lets an account ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetRecord {
    /// The API's base.
    pub api: String,
    /// Whose: `token ENV`, `app 12 installation 34`.
    pub account: String,
    /// Which of its budgets: `core`.
    pub resource: String,
    /// Requests in the whole span.
    pub limit: u64,
    /// Those that are left.
    pub remaining: u64,
    /// When all of them are back.
    pub reset_ms: u64,
    /// Until when nothing is sent, because GitHub said so.
    pub limited_until_ms: Option<u64>,
}

/// A look at one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How it stands.
    pub pool: PoolRecord,
    /// Jobs that wait or run and are known one by one; `None`: nobody could be asked.
    pub jobs: Option<Vec<JobSeen>>,
}

/// A job, as GitHub tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobSeen {
    /// GitHub's number for it.
    pub id: u64,
    /// `owner/name`.
    pub repository: String,
    /// `CI / build`.
    pub name: String,
    /// The labels that it asks for.
    pub labels: Vec<String>,
    /// When it was queued.
    pub queued_ms: Option<u64>,
    /// The runner that has it.
    pub runner: Option<String>,
}

impl RunnerRecord {
    /// It is there still.
    pub fn lives(&self) -> bool {
        self.gone_ms.is_none()
    }

    /// What it took from its making until its runner was online.
    pub fn ready_ms(&self) -> Option<u64> {
        Some(self.times.online_ms?.saturating_sub(self.times.made_ms?))
    }

    /// How long it had a job.
    pub fn worked_ms(&self) -> Option<u64> {
        Some(self.times.ended_ms?.saturating_sub(self.times.busy_ms?))
    }
}

impl JobRecord {
    /// It waits or runs.
    pub fn lasts(&self) -> bool {
        self.ended_ms.is_none()
    }

    /// For people: `acme/app: CI / build`.
    pub fn label(&self) -> String {
        label(&self.repository, &self.name)
    }

    /// How long it waited for a runner.
    pub fn waited_ms(&self) -> Option<u64> {
        Some(self.began_ms?.saturating_sub(self.queued_ms?))
    }
}

impl JobSeen {
    /// For people.
    pub fn label(&self) -> String {
        label(&self.repository, &self.name)
    }
}

fn label(repository: &str, name: &str) -> String {
    match (repository, name) {
        ("", name) => name.to_owned(),
        (repository, "") => repository.to_owned(),
        (repository, name) => format!("{repository}: {name}"),
    }
}

impl Times {
    /// Each stage that is over, with what it took in milliseconds. The names are labels of a metric.
    pub fn stages(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let Times { made_ms, started_ms, registering_ms, online_ms, busy_ms, ended_ms } = *self;
        let all = [
            ("clone", made_ms, started_ms),
            ("boot", started_ms, registering_ms),
            ("register", registering_ms, online_ms),
            ("idle", online_ms, busy_ms),
            ("job", busy_ms, ended_ms),
        ];
        all.into_iter().filter_map(|(stage, from, to)| Some((stage, to?.saturating_sub(from?))))
    }

    /// What is known of both; what was known first counts.
    #[must_use]
    pub fn or(self, other: Times) -> Times {
        Times {
            made_ms: self.made_ms.or(other.made_ms),
            started_ms: self.started_ms.or(other.started_ms),
            registering_ms: self.registering_ms.or(other.registering_ms),
            online_ms: self.online_ms.or(other.online_ms),
            busy_ms: self.busy_ms.or(other.busy_ms),
            ended_ms: self.ended_ms.or(other.ended_ms),
        }
    }
}
