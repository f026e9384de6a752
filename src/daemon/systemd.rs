//! What the supervisor hears: that we are ready, that the loop turns, how things stand (sd_notify(3)). Without one, nothing.

use crate::daemon::meter::Ear;
use crate::daemon::record::{DriftRecord, EventRecord, RunRecord, State};
use crate::daemon::runners::{JobRecord, RunnerRecord};
use crate::daemon::windows::PatchRecord;
use sd_notify::NotifyState;
use std::sync::atomic::{AtomicU64, Ordering};

/// The supervisor is told this often at most.
const EVERY_MS: u64 = 1_000;

/// Passes everything on, and tells the supervisor that the loop turns.
pub struct Pulse<E> {
    /// Who else listens.
    pub ear: E,
    told_ms: AtomicU64,
}

impl<E> Pulse<E> {
    /// In front of somebody who listens.
    pub fn new(ear: E) -> Pulse<E> {
        Pulse { ear, told_ms: AtomicU64::new(0) }
    }
}

/// Tells the supervisor something; whether it hears does not matter to us.
pub fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!("the supervisor cannot be told: {error}");
    }
}

/// How things stand, on one line.
fn status(state: &State) -> String {
    match &state.unready {
        Some(why) => why.clone(),
        None => {
            let sum =
                |of: fn(&crate::daemon::record::SourceRecord) -> usize| state.sources.values().map(of).sum::<usize>();
            format!("{} of {} objects ready, {} drifted", sum(|s| s.ready), sum(|s| s.objects), sum(|s| s.drifted))
        }
    }
}

impl<E: Ear> Ear for Pulse<E> {
    fn event(&self, event: &EventRecord, drift: Option<&DriftRecord>) {
        self.ear.event(event, drift);
    }

    fn drift(&self, spell: &DriftRecord) {
        self.ear.drift(spell);
    }

    fn run(&self, run: &RunRecord) {
        self.ear.run(run);
    }

    fn patch(&self, patch: &PatchRecord) {
        self.ear.patch(patch);
    }

    fn runner(&self, runner: &RunnerRecord) {
        self.ear.runner(runner);
    }

    fn job(&self, job: &JobRecord) {
        self.ear.job(job);
    }

    fn turned(&self, state: &State) {
        self.ear.turned(state);
        if state.turned_ms.abs_diff(self.told_ms.load(Ordering::Relaxed)) >= EVERY_MS {
            self.told_ms.store(state.turned_ms, Ordering::Relaxed);
            let status = status(state);
            tell(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
        }
    }
}
