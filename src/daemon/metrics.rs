//! What Prometheus is told: names after controller-runtime's, with `pvectl_` before them. The loop counts; what stands in the
//! state is read off it when somebody asks. A label is a name of the configuration, a kind or a word of PVE's, and each has a
//! bound: what comes after that many is `other`, so that nothing outside can make the series grow without end.

pub mod count;
pub mod machine;
mod nodes;
mod runners;
pub mod table;
mod windows;

use crate::daemon::record::{Healer, State};
use machine::Machine;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use table::{Described, METRICS};

/// The form of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Values of one label at most. A daemon with more sources than this should be two.
pub const VALUES_MAX: usize = 100;
/// Guests with a metric of their own at most.
const GUESTS_MAX: usize = 10_000;
/// What the others are called.
const OTHER: &str = "other";

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;
type Histograms = Family<Labels, Histogram, Buckets>;

/// Upper ends of a histogram's buckets, in seconds.
#[derive(Clone, Copy, Debug)]
struct Buckets(&'static [f64]);

/// An answer of the API: from a file of PVE's memory to one that times out.
const REQUEST: Buckets = Buckets(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]);
/// A run, and what waits for one: from a look to the copy of a disk.
const RUN: Buckets = Buckets(&[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0]);
/// A task: from a start to a backup of much.
const TASK: Buckets = Buckets(&[0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// How a run ended, in controller-runtime's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunResult {
    /// All is as it should be.
    Success,
    /// Something waits and will be looked at again: a lock, another object, a person.
    Requeue,
    /// Something failed.
    Error,
}

impl RunResult {
    fn as_str(self) -> &'static str {
        match self {
            RunResult::Success => "success",
            RunResult::Requeue => "requeue",
            RunResult::Error => "error",
        }
    }
}

/// How a message to somebody ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was taken.
    Sent,
    /// It was given up.
    Failed,
    /// The line was full, and it was the oldest.
    Dropped,
}

impl Told {
    fn as_str(self) -> &'static str {
        match self {
            Told::Sent => "sent",
            Told::Failed => "failed",
            Told::Dropped => "dropped",
        }
    }
}

/// All metrics of a daemon. Cheap to call from everywhere; one value a program.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    values: Mutex<BTreeMap<&'static str, BTreeSet<String>>>,
    /// Gauges that are read off the state, set and written under one lock.
    scrape: Mutex<()>,
    reconcile: Counters,
    reconcile_errors: Counters,
    reconcile_time: Histograms,
    reconcile_active: Gauges,
    depth: Gauges,
    adds: Counters,
    queue_duration: Histograms,
    work_duration: Histograms,
    retries: Counters,
    memory: Gauges,
    turned: Gauge<f64, AtomicU64>,
    requests: Counters,
    request_duration: Histograms,
    task_duration: Histograms,
    objects: Gauges,
    ready: Gauges,
    drifted: Gauges,
    drift_seen: Counters,
    drift_healed: Counters,
    backup_newest: Gauges,
    snapshot_newest: Gauges,
    source_ready: Gauges,
    source_suspended: Gauges,
    source_read: Gauges,
    proposals: Gauges,
    notifications: Counters,
    history_lost: Counter,
    nodes: nodes::NodeGauges,
    windows: windows::Windows,
    runners: runners::Runners,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// A registry with everything at zero.
    pub fn new() -> Metrics {
        let metrics = Metrics {
            registry: Registry::default(),
            values: Mutex::default(),
            scrape: Mutex::default(),
            reconcile: Family::default(),
            reconcile_errors: Family::default(),
            reconcile_time: Family::new_with_constructor(RUN),
            reconcile_active: Family::default(),
            depth: Family::default(),
            adds: Family::default(),
            queue_duration: Family::new_with_constructor(RUN),
            work_duration: Family::new_with_constructor(RUN),
            retries: Family::default(),
            memory: Family::default(),
            turned: Gauge::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(REQUEST),
            task_duration: Family::new_with_constructor(TASK),
            objects: Family::default(),
            ready: Family::default(),
            drifted: Family::default(),
            drift_seen: Family::default(),
            drift_healed: Family::default(),
            backup_newest: Family::default(),
            snapshot_newest: Family::default(),
            source_ready: Family::default(),
            source_suspended: Family::default(),
            source_read: Family::default(),
            proposals: Family::default(),
            notifications: Family::default(),
            history_lost: Counter::default(),
            nodes: nodes::NodeGauges::default(),
            windows: windows::Windows::default(),
            runners: runners::Runners::new(),
        };
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        registry.register_collector(Box::new(Machine));
        Metrics { registry, ..metrics }
    }

    fn register(&self, registry: &mut Registry) {
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        // The library writes the ends `_total` and `_info`, and the full stop of the help, by itself.
        for metric in METRICS {
            let Described { name, help, .. } = *metric;
            let bare = name.trim_end_matches("_total").trim_end_matches("_info");
            match name {
                "pvectl_reconcile_total" => registry.register(bare, help, self.reconcile.clone()),
                "pvectl_reconcile_errors_total" => registry.register(bare, help, self.reconcile_errors.clone()),
                "pvectl_reconcile_time_seconds" => registry.register(bare, help, self.reconcile_time.clone()),
                "pvectl_reconcile_active" => registry.register(bare, help, self.reconcile_active.clone()),
                "pvectl_workqueue_depth" => registry.register(bare, help, self.depth.clone()),
                "pvectl_workqueue_adds_total" => registry.register(bare, help, self.adds.clone()),
                "pvectl_workqueue_queue_duration_seconds" => registry.register(bare, help, self.queue_duration.clone()),
                "pvectl_workqueue_work_duration_seconds" => registry.register(bare, help, self.work_duration.clone()),
                "pvectl_workqueue_retries_total" => registry.register(bare, help, self.retries.clone()),
                "pvectl_memory_entries" => registry.register(bare, help, self.memory.clone()),
                "pvectl_loop_last_turn_timestamp_seconds" => registry.register(bare, help, self.turned.clone()),
                "pvectl_pve_requests_total" => registry.register(bare, help, self.requests.clone()),
                "pvectl_pve_request_duration_seconds" => registry.register(bare, help, self.request_duration.clone()),
                "pvectl_pve_task_duration_seconds" => registry.register(bare, help, self.task_duration.clone()),
                "pvectl_objects" => registry.register(bare, help, self.objects.clone()),
                "pvectl_objects_ready" => registry.register(bare, help, self.ready.clone()),
                "pvectl_drifted_objects" => registry.register(bare, help, self.drifted.clone()),
                "pvectl_drift_seen_total" => registry.register(bare, help, self.drift_seen.clone()),
                "pvectl_drift_healed_total" => registry.register(bare, help, self.drift_healed.clone()),
                "pvectl_backup_newest_timestamp_seconds" => registry.register(bare, help, self.backup_newest.clone()),
                "pvectl_snapshot_newest_timestamp_seconds" => {
                    registry.register(bare, help, self.snapshot_newest.clone())
                }
                "pvectl_source_ready" => registry.register(bare, help, self.source_ready.clone()),
                "pvectl_source_suspended" => registry.register(bare, help, self.source_suspended.clone()),
                "pvectl_source_last_read_timestamp_seconds" => registry.register(bare, help, self.source_read.clone()),
                "pvectl_proposals_waiting" => registry.register(bare, help, self.proposals.clone()),
                "pvectl_notifications_total" => registry.register(bare, help, self.notifications.clone()),
                "pvectl_history_lost_total" => registry.register(bare, help, self.history_lost.clone()),
                "pvectl_build_info" => registry.register(bare, help, Info::new(version.clone())),
                // The machine's own are collected when they are asked for.
                _ => {
                    self.nodes.register(registry, bare, help);
                    self.windows.register(name, help, registry);
                    self.runners.register(name, help, registry);
                }
            }
        }
    }

    /// A value of a label, or `other` where there are too many of it.
    fn value(&self, label: &'static str, value: &str) -> (&'static str, String) {
        let mut all = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(label).or_default();
        if !known.contains(value) {
            if known.len() >= VALUES_MAX {
                return (label, OTHER.to_owned());
            }
            known.insert(value.to_owned());
        }
        (label, value.to_owned())
    }

    fn of(&self, label: &'static str, value: &str) -> Labels {
        vec![self.value(label, value)]
    }

    /// A run ended.
    pub fn run_ended(&self, source: &str, result: RunResult, took: Duration) {
        let source = self.of("source", source);
        self.reconcile_time.get_or_create(&source).observe(took.as_secs_f64());
        let errors = self.reconcile_errors.get_or_create(&source);
        if result == RunResult::Error {
            errors.inc();
        }
        drop(errors);
        let labels = source.into_iter().chain([("result", result.as_str().to_owned())]).collect();
        self.reconcile.get_or_create(&labels).inc();
    }

    /// How many objects of a cluster wait for a run now.
    pub fn queue_depth(&self, cluster: &str, depth: usize) {
        #[expect(clippy::cast_precision_loss, reason = "no queue is that long")]
        self.depth.get_or_create(&self.of("cluster", cluster)).set(depth as f64);
    }

    /// So many objects came into the queue ever, and so many of them again after a failure.
    pub fn queue_totals(&self, cluster: &str, added: u64, retried: u64) {
        let cluster = self.of("cluster", cluster);
        for (family, total) in [(&self.adds, added), (&self.retries, retried)] {
            let counter = family.get_or_create(&cluster);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
    }

    /// An object came out of the queue for a run.
    pub fn queue_waited(&self, cluster: &str, waited: Duration) {
        self.queue_duration.get_or_create(&self.of("cluster", cluster)).observe(waited.as_secs_f64());
    }

    /// An object's run is over.
    pub fn queue_worked(&self, cluster: &str, took: Duration) {
        self.work_duration.get_or_create(&self.of("cluster", cluster)).observe(took.as_secs_f64());
    }

    /// So many entries of one sort are held in memory.
    pub fn remembered(&self, sort: &'static str, entries: usize) {
        #[expect(clippy::cast_precision_loss, reason = "no memory is that large")]
        self.memory.get_or_create(&self.of("sort", sort)).set(entries as f64);
    }

    /// A request to PVE; `status`: of the answer, if there was one.
    pub fn request(&self, cluster: &str, method: &'static str, status: Option<u16>, took: Duration) {
        let cluster = self.value("cluster", cluster);
        let short = vec![cluster.clone(), ("method", method.to_owned())];
        self.request_duration.get_or_create(&short).observe(took.as_secs_f64());
        let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        let labels = vec![cluster, ("method", method.to_owned()), self.value("status", &status)];
        self.requests.get_or_create(&labels).inc();
    }

    /// A task of PVE's ended; `result`: PVE's exit status (`OK`, `WARNINGS: 2`, or its error).
    pub fn task(&self, cluster: &str, worker: &str, result: &str, took: Duration) {
        let word = match result {
            "OK" => "ok",
            _ if result.starts_with("WARNINGS:") => "warnings",
            _ => "error",
        };
        let labels = vec![self.value("cluster", cluster), self.value("type", worker), ("result", word.to_owned())];
        self.task_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A spell of drift began.
    pub fn drift_seen(&self, source: &str) {
        self.drift_seen.get_or_create(&self.of("source", source)).inc();
    }

    /// A spell of drift ended.
    pub fn drift_healed(&self, source: &str, by: Healer) {
        let labels = vec![self.value("source", source), ("by", by.as_str().to_owned())];
        self.drift_healed.get_or_create(&labels).inc();
    }

    /// Somebody was told so many times, or was not. `sink`: its name in the configuration.
    pub fn notified(&self, sink: &str, result: Told, times: u64) {
        let labels = vec![self.value("sink", sink), ("result", result.as_str().to_owned())];
        self.notifications.get_or_create(&labels).inc_by(times);
    }

    /// A cluster's nodes were looked at.
    pub fn node_health(&self, cluster: &str, looked: &crate::daemon::health::Looked, now_ms: u64) {
        self.nodes.set(self.value("cluster", cluster), looked, now_ms);
    }

    /// A target of a patch window failed.
    pub fn target_failed(&self, source: &str, window: &str) {
        self.windows.failed(self.value("source", source), window);
    }

    /// Records that the history could not keep.
    pub fn history_lost(&self, records: u64) {
        self.history_lost.inc_by(records);
    }

    /// All of it as text, with what the state says now.
    pub fn render(&self, state: &State) -> String {
        let _one = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.read(state);
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn read(&self, state: &State) {
        let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
        let yes = |yes: bool| if yes { 1.0 } else { 0.0 };
        self.turned.set(seconds(state.turned_ms));
        // A source that left the configuration leaves these, too.
        for family in [&self.objects, &self.ready, &self.drifted, &self.source_ready, &self.source_suspended] {
            family.clear();
        }
        for family in
            [&self.source_read, &self.proposals, &self.reconcile_active, &self.snapshot_newest, &self.backup_newest]
        {
            family.clear();
        }
        for source in state.sources.values() {
            let labels = self.of("source", &source.name);
            self.source_ready.get_or_create(&labels).set(yes(source.says("Ready", "True")));
            self.source_suspended.get_or_create(&labels).set(yes(source.suspended.is_some()));
            self.source_read.get_or_create(&labels).set(seconds(source.read_ms));
            self.proposals.get_or_create(&labels).set(0.0);
            self.reconcile_active.get_or_create(&labels).set(0.0);
        }
        for run in state.running.values() {
            self.reconcile_active.get_or_create(&self.of("source", &run.source)).inc();
        }
        for proposal in state.proposals.values().filter(|p| p.waits()) {
            self.proposals.get_or_create(&self.of("source", &proposal.source)).inc();
        }
        for object in state.objects.values() {
            let labels = vec![self.value("source", &object.source), self.value("kind", &object.kind)];
            self.objects.get_or_create(&labels).inc();
            self.ready.get_or_create(&labels).inc_by(yes(object.says("Ready", "True")));
            self.drifted.get_or_create(&labels).inc_by(0.0);
        }
        // What is not known is not told: it is not the same as none.
        let dated = || state.objects.values().filter_map(|object| Some((object, seconds(object.newest_ms?))));
        for (object, newest) in dated().filter(|(object, _)| object.kind == "BackupPolicy") {
            let labels = vec![self.value("source", &object.source), ("policy", object.name.clone())];
            self.backup_newest.get_or_create(&labels).set(newest);
        }
        // One a guest: as many as there are, and no more than a daemon is made for.
        let members = dated().filter_map(|(object, newest)| Some((object, object.snapshots_of()?, newest)));
        for (object, (policy, vmid), newest) in members.take(GUESTS_MAX) {
            let source = self.value("source", &object.source);
            let labels = vec![source, ("policy", policy.to_owned()), ("vmid", vmid.to_owned())];
            self.snapshot_newest.get_or_create(&labels).set(newest);
        }
        self.windows.read(state, |source| self.value("source", source));
        self.runners.read(state, |label, value| self.value(label, value));
        for drift in state.drift.iter().filter(|d| d.healed_ms.is_none()) {
            let labels = vec![self.value("source", &drift.source), self.value("kind", &drift.kind)];
            self.drifted.get_or_create(&labels).inc();
        }
    }
}
