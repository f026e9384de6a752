//! What the loop tells, counted.

use crate::daemon::meter::Meter;
use crate::daemon::metrics::{Metrics, RunResult};
use crate::daemon::record::Healer;
use crate::daemon::runners::news::Count;
use crate::pve::error::PveError;
use std::time::Duration;

/// The loop has one queue for all clusters.
const ALL: &str = "all";

impl Meter for Metrics {
    fn request(&self, cluster: &str, method: &str, error: Option<&PveError>, took_ms: u64) {
        // A word of ours, whatever is said: this is a label.
        let known = ["GET", "POST", "PUT", "DELETE"].into_iter().find(|known| *known == method);
        let took = Duration::from_millis(took_ms);
        Metrics::request(self, cluster, known.unwrap_or("other"), status(error), took);
    }

    fn github(&self, scope: &str, method: &str, error: Option<&PveError>, took_ms: u64) {
        let known = ["GET", "POST", "PUT", "DELETE"].into_iter().find(|known| *known == method).unwrap_or("other");
        self.runners.request(self.value("scope", scope), known, status(error), Duration::from_millis(took_ms));
    }

    fn task(&self, cluster: &str, worker: &str, well: bool, seconds: u64) {
        let result = if well { "OK" } else { "failed" };
        Metrics::task(self, cluster, worker, result, Duration::from_secs(seconds));
    }

    fn run(&self, source: &str, result: &str, took_ms: u64) {
        let result = match result {
            "success" => RunResult::Success,
            "open" => RunResult::Requeue,
            _ => RunResult::Error,
        };
        let took = Duration::from_millis(took_ms);
        self.run_ended(source, result, took);
        self.queue_worked(ALL, took);
    }

    fn waited(&self, waited_ms: u64) {
        self.queue_waited(ALL, Duration::from_millis(waited_ms));
    }

    fn queue(&self, depth: usize, added: u64, retried: u64) {
        self.queue_depth(ALL, depth);
        self.queue_totals(ALL, added, retried);
    }

    fn memory(&self, sort: &'static str, entries: usize) {
        self.remembered(sort, entries);
    }

    fn drift(&self, source: &str, healed: Option<Healer>) {
        match healed {
            None => self.drift_seen(source),
            Some(by) => self.drift_healed(source, by),
        }
    }

    fn patch_failed(&self, source: &str, window: &str) {
        self.target_failed(source, window);
    }

    fn runner(&self, source: &str, pool: &str, count: &Count) {
        self.runners
            .count([self.value("source", source), self.value("pool", pool)], count, |cause| self.value("cause", cause));
    }
}

/// The status of PVE's answer, if there was one.
fn status(error: Option<&PveError>) -> Option<u16> {
    match error {
        // A task that fails was accepted.
        None | Some(PveError::TaskFailed { .. }) => Some(200),
        Some(PveError::Refused { status, .. }) => Some(*status),
        Some(PveError::Unsent { .. } | PveError::Lost { .. } | PveError::Garbled { .. }) => None,
    }
}
