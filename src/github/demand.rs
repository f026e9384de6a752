//! How much work waits for a pool's runners.

use serde::{Deserialize, Serialize};

/// Where the knowledge of jobs comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Source {
    /// GitHub's runner scale set: statistics of a long poll.
    #[default]
    ScaleSet,
    /// `workflow_job` webhooks, as they came in.
    Webhook,
    /// The queued runs of repositories, asked for.
    Polling,
}

/// Whose jobs are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// Where the knowledge comes from.
    pub source: Source,
    /// The pool's name: that of its scale set.
    pub pool: String,
    /// The runner group's name; empty: the default one.
    pub group: String,
    /// The labels that its runners have: a job is meant whose labels are all among them.
    pub labels: Vec<String>,
    /// Repositories to ask (`owner/name`), for [`Source::Polling`] of more than one repository, and to find webhooks that were
    /// lost.
    pub repositories: Vec<String>,
    /// As many runners as the pool may ever have: what GitHub is told of its capacity.
    pub max: u32,
}

/// A job that waits or runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// GitHub's number for it, or the scale set's request id.
    pub id: u64,
    /// `owner/name`.
    pub repository: String,
    /// What people see: `CI / build`.
    pub name: String,
    /// The labels that it asks for.
    pub labels: Vec<String>,
    /// When it was queued, in seconds since 1970; zero where that is not known.
    pub queued: i64,
    /// The runner that has it.
    pub runner: Option<String>,
}

/// How much work there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Demand {
    /// Jobs that are the pool's: those that wait for a runner and those that run. It is not the number of `jobs`.
    pub assigned: u32,
    /// Those among them that run.
    pub running: u32,
    /// When it was learnt, in seconds since 1970.
    pub at: i64,
    /// Since when jobs wait for a runner, in seconds since 1970, as far as it is known.
    pub waiting_since: Option<i64>,
    /// Jobs that are known one by one; some may be missing (GitHub tells of 50 at once).
    pub jobs: Vec<Job>,
    /// Why the pool's scale set must be made or brought up to date first ([`crate::github::operation::Operation::ScaleSet`]);
    /// `None` where all is well, and for other sources.
    pub unset: Option<String>,
    /// What a person should know of how it was learnt.
    pub notes: Vec<String>,
}

impl Demand {
    /// Jobs that wait for a runner: at least one where it is known since when, though GitHub's numbers may pass over it.
    pub fn waiting(&self) -> u32 {
        self.assigned.saturating_sub(self.running).max(u32::from(self.waiting_since.is_some()))
    }
}
