//! What the daemon tells of numbers and moments, without knowing who counts, keeps or passes them on.

use crate::daemon::record::{DriftRecord, EventRecord, Healer, RunRecord, State};
use crate::daemon::runners::news::Count;
use crate::daemon::runners::{JobRecord, RunnerRecord};
use crate::daemon::windows::PatchRecord;
use crate::pve::error::PveError;

/// Somebody who counts.
pub trait Meter: Send + Sync {
    /// A request to a cluster ended: its method, its failure if it failed, and how long it took.
    fn request(&self, cluster: &str, method: &str, error: Option<&PveError>, took_ms: u64);
    /// A plan's request to GitHub ended: whose runners it was about, its method, its failure if it failed, how long it took.
    fn github(&self, scope: &str, method: &str, error: Option<&PveError>, took_ms: u64);
    /// A task of a cluster ended.
    fn task(&self, cluster: &str, worker: &str, well: bool, seconds: u64);
    /// A run of a source ended: `success`, `open` or `error`.
    fn run(&self, source: &str, result: &str, took_ms: u64);
    /// An object waited that long for its run.
    fn waited(&self, waited_ms: u64);
    /// The queue as it is: what waits, and what came and was retried ever.
    fn queue(&self, depth: usize, added: u64, retried: u64);
    /// So many entries of one sort are held in memory: `keys` of the queue, `answers` of the clusters, `events`, `runs`.
    fn memory(&self, sort: &'static str, entries: usize);
    /// Drift was seen, or set right.
    fn drift(&self, source: &str, healed: Option<Healer>);
    /// A target of a patch window failed, or went back to its snapshot.
    fn patch_failed(&self, source: &str, window: &str);
    /// Something of a runner pool.
    fn runner(&self, source: &str, pool: &str, count: &Count);
}

/// Nobody counts.
pub struct NoMeter;

impl Meter for NoMeter {
    fn request(&self, _cluster: &str, _method: &str, _error: Option<&PveError>, _took_ms: u64) {}
    fn github(&self, _scope: &str, _method: &str, _error: Option<&PveError>, _took_ms: u64) {}
    fn task(&self, _cluster: &str, _worker: &str, _well: bool, _seconds: u64) {}
    fn run(&self, _source: &str, _result: &str, _took_ms: u64) {}
    fn waited(&self, _waited_ms: u64) {}
    fn queue(&self, _depth: usize, _added: u64, _retried: u64) {}
    fn memory(&self, _sort: &'static str, _entries: usize) {}
    fn drift(&self, _source: &str, _healed: Option<Healer>) {}
    fn patch_failed(&self, _source: &str, _window: &str) {}
    fn runner(&self, _source: &str, _pool: &str, _count: &Count) {}
}

/// Somebody who is told what happens: the history, whoever is notified, the supervisor. None of these may block.
pub trait Ear: Send + Sync {
    /// A moment, with the drift that it is about.
    fn event(&self, event: &EventRecord, drift: Option<&DriftRecord>);
    /// A spell of drift began, grew or ended.
    fn drift(&self, spell: &DriftRecord);
    /// A run ended.
    fn run(&self, run: &RunRecord);
    /// What a target of a patch window got is known, or known better.
    fn patch(&self, patch: &PatchRecord);
    /// What became of a machine of a runner pool is known, or known better.
    fn runner(&self, runner: &RunnerRecord);
    /// The same of a job.
    fn job(&self, job: &JobRecord);
    /// The loop has turned; everything is as this says.
    fn turned(&self, state: &State);
}

/// Nobody listens.
pub struct NoEar;

impl Ear for NoEar {
    fn event(&self, _event: &EventRecord, _drift: Option<&DriftRecord>) {}
    fn drift(&self, _spell: &DriftRecord) {}
    fn run(&self, _run: &RunRecord) {}
    fn patch(&self, _patch: &PatchRecord) {}
    fn runner(&self, _runner: &RunnerRecord) {}
    fn job(&self, _job: &JobRecord) {}
    fn turned(&self, _state: &State) {}
}
