//! Who hears what the loop tells: the history, those who are notified, the folder of reports. Nothing of it blocks. What they
//! have to tell of themselves (a full disk, a webhook that is gone) is heard by the others.

use crate::base::clock::Clock;
use crate::daemon::meter::Ear;
use crate::daemon::metrics::{Metrics, Told};
use crate::daemon::notice::sinks::{Notices, Sending};
use crate::daemon::record::{DriftRecord, EventRecord, Level, RunRecord, State};
use crate::daemon::report::findings::Compared;
use crate::daemon::report::writer::Writer;
use crate::daemon::runners::{JobRecord, RunnerRecord};
use crate::daemon::store::book::Record;
use crate::daemon::store::keeper::Keeper;
use crate::daemon::windows::PatchRecord;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Events of the ears themselves that wait for the next turn.
const OWN_MAX: usize = 100;
/// How often the reports are looked at.
const REPORT_EVERY_MS: u64 = 5_000;

/// What the ears have to tell of themselves; from any thread, at once.
#[derive(Clone, Debug, Default)]
pub struct Own(Arc<Mutex<VecDeque<EventRecord>>>);

impl Own {
    /// Leaves an event for the next turn of the loop.
    pub fn leave(&self, event: EventRecord) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.push_back(event);
        if events.len() > OWN_MAX {
            events.pop_front();
        }
    }

    fn take(&self) -> VecDeque<EventRecord> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All of them; each may be absent.
#[derive(Default)]
pub struct Ears {
    /// The history.
    pub keeper: Option<Keeper>,
    /// Those who are notified.
    pub notices: Option<Notices>,
    /// The folder of reports.
    pub reports: Option<Writer>,
    /// What they have to tell of themselves.
    pub own: Own,
    /// When the reports were last looked at.
    pub reported_ms: AtomicU64,
    /// Who counts what was told and what was lost.
    pub metrics: Option<Arc<Metrics>>,
    /// What was counted so far.
    pub counted: Mutex<Counted>,
}

/// What was counted so far: messages of each sink by how they ended, and records that were lost.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    sinks: BTreeMap<String, [u64; 3]>,
    lost: u64,
}

impl Ears {
    /// Sends and writes what waits, as far as that is done in time.
    pub async fn close(&self, within: Duration, clock: &dyn Clock) {
        if let Some(notices) = &self.notices {
            notices.close(within, clock).await;
        }
        if let Some(reports) = &self.reports {
            reports.close(within);
        }
        if let Some(keeper) = &self.keeper {
            keeper.close(within);
        }
    }

    /// Counts what happened since the last time.
    fn count(&self) {
        let Some(metrics) = &self.metrics else { return };
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for Sending { name, sent, failed, dropped, .. } in self.notices.iter().flat_map(Notices::sending) {
            let before = counted.sinks.entry(name.clone()).or_default();
            let now = [sent, failed, dropped];
            for ((result, now), before) in [Told::Sent, Told::Failed, Told::Dropped].into_iter().zip(now).zip(before) {
                if now > *before {
                    metrics.notified(&name, result, now - *before);
                    *before = now;
                }
            }
        }
        if let Some(keeper) = &self.keeper {
            let lost = keeper.keeping().lost;
            metrics.history_lost(lost.saturating_sub(counted.lost));
            counted.lost = lost;
        }
    }

    fn keep(&self, record: impl FnOnce() -> Record) {
        if let Some(keeper) = &self.keeper {
            keeper.keep(record());
        }
    }
}

impl Ear for Ears {
    fn event(&self, event: &EventRecord, drift: Option<&DriftRecord>) {
        self.keep(|| Record::Event(event.clone()));
        if let Some(notices) = &self.notices {
            notices.tell(event, drift, event.at_ms);
        }
    }

    fn drift(&self, spell: &DriftRecord) {
        self.keep(|| Record::Drift(spell.clone()));
    }

    fn run(&self, run: &RunRecord) {
        self.keep(|| Record::Run(run.clone()));
    }

    fn patch(&self, patch: &PatchRecord) {
        self.keep(|| Record::Patch(patch.clone()));
    }

    fn runner(&self, runner: &RunnerRecord) {
        self.keep(|| Record::Runner(runner.clone()));
    }

    fn job(&self, job: &JobRecord) {
        self.keep(|| Record::Job(job.clone()));
    }

    fn turned(&self, state: &State) {
        for event in self.own.take() {
            match event.level {
                Level::Normal => tracing::info!("{}: {}", event.reason, event.message),
                Level::Warning => tracing::warn!("{}: {}", event.reason, event.message),
            }
            self.event(&event, None);
        }
        self.count();
        let Some(reports) = &self.reports else { return };
        let before = self.reported_ms.load(Ordering::Relaxed);
        if state.turned_ms.abs_diff(before) >= REPORT_EVERY_MS && state.unready.is_none() {
            self.reported_ms.store(state.turned_ms, Ordering::Relaxed);
            reports.write(state.drift.clone(), Compared::all(state));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::history::Past;
    use crate::daemon::record::{Mode, ObjectRecord};
    use crate::daemon::store::book::Bounds;
    use futures::future::BoxFuture;

    struct Still;

    impl Clock for Still {
        fn now_ms(&self) -> u64 {
            1
        }
        fn sleep(&self, _: Duration) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    fn event(reason: &str) -> EventRecord {
        EventRecord {
            at_ms: 1,
            source: String::new(),
            object: None,
            revision: None,
            level: Level::Warning,
            reason: reason.into(),
            message: "x".into(),
            count: 1,
        }
    }

    fn state() -> State {
        let object = ObjectRecord {
            source: "lab".into(),
            kind: "Pool".into(),
            name: "a".into(),
            identity: None,
            mode: Mode::Observe,
            action: "NoOp".into(),
            fields: Vec::new(),
            conditions: Vec::new(),
            revision: "r".into(),
            seen_ms: 1,
            failures: 0,
            next_ms: None,
            error: None,
            newest_ms: None,
        };
        let key = ("lab".to_owned(), "Pool".to_owned(), "a".to_owned());
        State { objects: [(key, object)].into(), turned_ms: 100_000, ..State::default() }
    }

    #[tokio::test]
    async fn what_the_loop_and_the_ears_tell_is_kept_and_reported() {
        let place = tempfile::tempdir().expect("a folder");
        let own = Own::default();
        let (keeper, _) =
            Keeper::start(&place.path().join("h.db"), Bounds::default(), Arc::new(Still), Box::new(|_| {}));
        let left = own.clone();
        let reports = Writer::start(&place.path().join("reports"), Arc::new(Still), Box::new(move |e| left.leave(e)));
        let metrics = Arc::new(Metrics::new());
        let counts = Some(Arc::clone(&metrics));
        let ears =
            Ears { keeper: Some(keeper), reports: Some(reports), own: own.clone(), metrics: counts, ..Ears::default() };
        (0..OWN_MAX + 5).for_each(|n| own.leave(event(&format!("Own{n}"))));
        ears.event(&event("Told"), None);
        ears.turned(&state());
        let keeper = ears.keeper.as_ref().expect("it was given");
        ears.close(Duration::from_secs(20), &Still).await;
        // It is over, and nobody hangs.
        ears.turned(&state());
        ears.event(&event("Late"), None);
        assert_eq!(keeper.keeping().lost, 1);
        ears.turned(&state());
        ears.turned(&state());
        let text = metrics.render(&state());
        assert!(text.contains("pvectl_history_lost_total 1\n"), "counted once: {text}");
        let past = Past { limit: 1_000, ..Past::default() };
        let kept = keeper.history().events(&past).expect("it reads");
        assert_eq!(kept.len(), 1 + OWN_MAX, "what nobody took is bounded");
        let text = std::fs::read_to_string(place.path().join("reports/drift.txt")).expect("it was written");
        assert_eq!(text, "0 objects drifted, in 0 fields; 1 compared.\n");
    }
}
