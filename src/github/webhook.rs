//! Webhooks of GitHub about jobs (`workflow_job`): whether one comes from whom it should, and what it says. Pure.

use crate::github::demand::Job;

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobState {
    /// It waits for a runner.
    Queued,
    /// It waits for a person or another job: no demand, whatever the event is called.
    Waiting,
    /// A runner has it.
    InProgress,
    /// It has ended.
    Completed,
}

/// A `workflow_job` webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvent {
    /// The API's base, as the job's own address says: `https://api.github.com`.
    pub api: String,
    /// The enterprise's slug, where the event names one.
    pub enterprise: Option<String>,
    /// The job; its repository says whose it is.
    pub job: Job,
    /// How far it is.
    pub state: JobState,
    /// When it was begun, in seconds since 1970.
    pub started: Option<i64>,
    /// When it has ended, in seconds since 1970.
    pub completed: Option<i64>,
    /// How it has ended: `success`, `failure`, `cancelled`, …
    pub conclusion: Option<String>,
}

/// Why a delivery is not listened to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    /// It is no JSON, or not of the form that GitHub's have.
    #[error("this is no `workflow_job` event of GitHub's: {0}")]
    Malformed(String),
}
