//! What was, as somebody keeps it who is not the loop: past drift, events and runs. Reading may block and may fail; nothing
//! of the daemon's work depends on it.

use crate::daemon::record::{DriftRecord, EventRecord, RunRecord};
use crate::daemon::runners::{JobRecord, RunnerRecord};
use crate::daemon::store::query;
use crate::daemon::windows::PatchRecord;

/// Records of one answer at most, where nothing else is said.
pub const LIMIT: usize = 200;
/// Records of one answer at most, whatever is said.
pub const LIMIT_MAX: usize = 5_000;

/// Which records. A field that is absent lets all through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Of this source.
    pub source: Option<String>,
    /// Of this kind of object.
    pub kind: Option<String>,
    /// Of objects of this name.
    pub name: Option<String>,
    /// Not over before then: drift that lasted, a run that ended, an event that was told at or after it.
    pub since_ms: Option<u64>,
    /// Begun before then.
    pub until_ms: Option<u64>,
    /// So many at most.
    pub limit: usize,
}

/// Who keeps what was. The newest come first.
pub trait History: Send + Sync {
    /// Spells of drift, those that last among them.
    fn drift(&self, past: &Past) -> Result<Vec<DriftRecord>, String>;
    /// Events.
    fn events(&self, past: &Past) -> Result<Vec<EventRecord>, String>;
    /// Runs that ended.
    fn runs(&self, past: &Past) -> Result<Vec<RunRecord>, String>;
    /// What targets of patch windows got; `name` is the window.
    fn patches(&self, past: &Past) -> Result<Vec<PatchRecord>, String>;
    /// What became of machines of runner pools; `name` is the pool.
    fn runners(&self, past: &Past) -> Result<Vec<RunnerRecord>, String>;
    /// Jobs of runner pools; `name` is the pool.
    fn jobs(&self, past: &Past) -> Result<Vec<JobRecord>, String>;
}

/// The SQLite file, each time through a connection of its own that cannot write.
impl History for query::History {
    fn drift(&self, past: &Past) -> Result<Vec<DriftRecord>, String> {
        query::History::drift(self, past).map_err(|e| e.in_full())
    }
    fn events(&self, past: &Past) -> Result<Vec<EventRecord>, String> {
        query::History::events(self, past).map_err(|e| e.in_full())
    }
    fn runs(&self, past: &Past) -> Result<Vec<RunRecord>, String> {
        query::History::runs(self, past).map_err(|e| e.in_full())
    }
    fn patches(&self, past: &Past) -> Result<Vec<PatchRecord>, String> {
        query::History::patches(self, past).map_err(|e| e.in_full())
    }
    fn runners(&self, past: &Past) -> Result<Vec<RunnerRecord>, String> {
        query::History::runners(self, past).map_err(|e| e.in_full())
    }
    fn jobs(&self, past: &Past) -> Result<Vec<JobRecord>, String> {
        query::History::jobs(self, past).map_err(|e| e.in_full())
    }
}

impl Default for Past {
    fn default() -> Past {
        Past { source: None, kind: None, name: None, since_ms: None, until_ms: None, limit: LIMIT }
    }
}

impl Past {
    /// Whether an object `Kind/name` is meant.
    pub fn is_about(&self, object: &str) -> bool {
        let (kind, name) = object.split_once('/').unwrap_or((object, ""));
        let same = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w.eq_ignore_ascii_case(found));
        same(&self.kind, kind) && same(&self.name, name)
    }

    /// Whether a spell of drift is meant.
    pub fn takes_drift(&self, drift: &DriftRecord) -> bool {
        self.is_of(&drift.source)
            && self.is_about(&format!("{}/{}", drift.kind, drift.name))
            && self.reaches(drift.since_ms(), drift.healed_ms)
    }

    /// Whether an event is meant. One of no object is about none in particular.
    pub fn takes_event(&self, event: &EventRecord) -> bool {
        let all = self.kind.is_none() && self.name.is_none();
        self.is_of(&event.source)
            && event.object.as_ref().map_or(all, |object| self.is_about(object))
            && self.reaches(event.at_ms, Some(event.at_ms))
    }

    /// Whether a run is meant: one of its objects is enough, or of what failed in it.
    pub fn takes_run(&self, run: &RunRecord) -> bool {
        let all = self.kind.is_none() && self.name.is_none();
        self.is_of(&run.source)
            && (all || run.objects.iter().chain(run.failed.keys()).any(|object| self.is_about(object)))
            && self.reaches(run.began_ms, run.ended_ms)
    }

    /// Whether what a target got is meant: `name` is the window.
    pub fn takes_patch(&self, patch: &PatchRecord) -> bool {
        self.is_of(&patch.source)
            && self.name.as_ref().is_none_or(|window| window.eq_ignore_ascii_case(&patch.window))
            && self.reaches(patch.opened_ms, Some(patch.ended_ms.unwrap_or(patch.opened_ms)))
    }

    /// Whether what became of a machine is meant: `name` is the pool.
    pub fn takes_runner(&self, runner: &RunnerRecord) -> bool {
        self.is_of(&runner.source) && self.is_pool(&runner.pool) && self.reaches(runner.seen_ms, runner.gone_ms)
    }

    /// Whether a job is meant: `name` is the pool.
    pub fn takes_job(&self, job: &JobRecord) -> bool {
        self.is_of(&job.source) && self.is_pool(&job.pool) && self.reaches(job.seen_ms, job.ended_ms)
    }

    fn is_pool(&self, pool: &str) -> bool {
        self.name.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(pool))
    }

    fn is_of(&self, source: &str) -> bool {
        self.source.as_ref().is_none_or(|wanted| wanted == source)
    }

    fn reaches(&self, began_ms: u64, ended_ms: Option<u64>) -> bool {
        self.since_ms.is_none_or(|since| ended_ms.is_none_or(|ended| ended >= since))
            && self.until_ms.is_none_or(|until| began_ms < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_reaches_into_every_later_time() {
        let between = |since, until| Past { since_ms: Some(since), until_ms: Some(until), ..Past::default() };
        assert!(between(50, 60).reaches(10, None) && !between(50, 60).reaches(70, None));
        assert!(between(50, 60).reaches(10, Some(50)) && !between(50, 60).reaches(10, Some(49)));
        assert!(between(50, 60).reaches(59, Some(90)) && !between(50, 60).reaches(60, Some(90)));
    }

    #[test]
    fn objects_are_known_by_kind_and_name() {
        let web = Past { kind: Some("virtualmachine".into()), name: Some("web".into()), ..Past::default() };
        assert!(web.is_about("VirtualMachine/web"));
        assert!(!web.is_about("VirtualMachine/web-2") && !web.is_about("Container/web"));
        let event = |object: Option<&str>| EventRecord {
            at_ms: 1,
            source: "a".into(),
            object: object.map(str::to_owned),
            revision: None,
            level: crate::daemon::record::Level::Normal,
            reason: "Applied".into(),
            message: String::new(),
            count: 1,
        };
        assert!(Past::default().takes_event(&event(None)) && !web.takes_event(&event(None)));
        assert!(web.takes_event(&event(Some("VirtualMachine/web"))));
        assert!(!Past { source: Some("b".into()), ..Past::default() }.takes_event(&event(None)));
    }
}
