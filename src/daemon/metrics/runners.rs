//! What runner pools come to, in numbers, named after those of GitHub's own controller. Gauges are read off the state; what
//! happens is counted as it happens.

use super::{Buckets, Counters, Gauges, Histograms, Labels, REQUEST, RUN};
use crate::daemon::record::State;
use crate::daemon::runners::news::Count;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// A job: from a look at its branch to a night of tests.
const JOB: Buckets = Buckets(&[5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 21600.0]);

/// A label with its value, bounded.
type Label = (&'static str, String);

/// The metrics of runner pools.
#[derive(Debug)]
pub(super) struct Runners {
    queue: Histograms,
    stage: Histograms,
    job: Histograms,
    failures: Counters,
    assigned: Gauges,
    running: Gauges,
    registered: Gauges,
    busy: Gauges,
    idle: Gauges,
    desired: Gauges,
    min: Gauges,
    max: Gauges,
    machines: Gauges,
    orphans: Gauges,
    condition: Gauges,
    requests: Counters,
    duration: Histograms,
    limit: Gauges,
    remaining: Gauges,
    reset: Gauges,
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "no pool has that many")]
fn count(count: usize) -> f64 {
    count as f64
}

impl Runners {
    /// All of them at nothing.
    pub(super) fn new() -> Runners {
        Runners {
            queue: Family::new_with_constructor(RUN),
            stage: Family::new_with_constructor(JOB),
            job: Family::new_with_constructor(JOB),
            failures: Family::default(),
            assigned: Family::default(),
            running: Family::default(),
            registered: Family::default(),
            busy: Family::default(),
            idle: Family::default(),
            desired: Family::default(),
            min: Family::default(),
            max: Family::default(),
            machines: Family::default(),
            orphans: Family::default(),
            condition: Family::default(),
            requests: Family::default(),
            duration: Family::new_with_constructor(REQUEST),
            limit: Family::default(),
            remaining: Family::default(),
            reset: Family::default(),
        }
    }

    /// Makes a metric known by its whole name, if it is one of these.
    pub(super) fn register(&self, name: &str, help: &'static str, registry: &mut Registry) {
        let bare = name.trim_end_matches("_total");
        match name {
            "pvectl_runner_queue_seconds" => registry.register(bare, help, self.queue.clone()),
            "pvectl_runner_stage_seconds" => registry.register(bare, help, self.stage.clone()),
            "pvectl_runner_job_seconds" => registry.register(bare, help, self.job.clone()),
            "pvectl_runner_failures_total" => registry.register(bare, help, self.failures.clone()),
            "pvectl_runner_assigned_jobs" => registry.register(bare, help, self.assigned.clone()),
            "pvectl_runner_running_jobs" => registry.register(bare, help, self.running.clone()),
            "pvectl_runner_registered_runners" => registry.register(bare, help, self.registered.clone()),
            "pvectl_runner_busy_runners" => registry.register(bare, help, self.busy.clone()),
            "pvectl_runner_idle_runners" => registry.register(bare, help, self.idle.clone()),
            "pvectl_runner_desired_runners" => registry.register(bare, help, self.desired.clone()),
            "pvectl_runner_min_runners" => registry.register(bare, help, self.min.clone()),
            "pvectl_runner_max_runners" => registry.register(bare, help, self.max.clone()),
            "pvectl_runner_machines" => registry.register(bare, help, self.machines.clone()),
            "pvectl_runner_orphans" => registry.register(bare, help, self.orphans.clone()),
            "pvectl_runner_condition" => registry.register(bare, help, self.condition.clone()),
            "pvectl_github_requests_total" => registry.register(bare, help, self.requests.clone()),
            "pvectl_github_request_duration_seconds" => registry.register(bare, help, self.duration.clone()),
            "pvectl_github_rate_limit" => registry.register(bare, help, self.limit.clone()),
            "pvectl_github_rate_remaining" => registry.register(bare, help, self.remaining.clone()),
            "pvectl_github_rate_reset_timestamp_seconds" => registry.register(bare, help, self.reset.clone()),
            _ => {}
        }
    }

    /// A request to GitHub ended.
    pub(super) fn request(&self, scope: Label, method: &'static str, status: Option<u16>, took: Duration) {
        let method = ("method", method.to_owned());
        self.duration.get_or_create(&vec![scope.clone(), method.clone()]).observe(took.as_secs_f64());
        let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        self.requests.get_or_create(&vec![scope, method, ("status", status)]).inc();
    }

    /// Something of a pool.
    pub(super) fn count(&self, pool: [Label; 2], count: &Count, cause: impl Fn(&str) -> Label) {
        let of = |more: Option<Label>| -> Labels { pool.clone().into_iter().chain(more).collect() };
        match count {
            Count::Queued(ms) => self.queue.get_or_create(&of(None)).observe(seconds(*ms)),
            Count::Stage(stage, ms) => {
                self.stage.get_or_create(&of(Some(("stage", (*stage).to_owned())))).observe(seconds(*ms));
            }
            Count::Job(ms) => self.job.get_or_create(&of(None)).observe(seconds(*ms)),
            Count::Failed(why) => drop(self.failures.get_or_create(&of(Some(cause(why)))).inc()),
        }
    }

    /// Takes in how pools stand. What is not known is not told: it is not the same as none.
    pub(super) fn read(&self, state: &State, label: impl Fn(&'static str, &str) -> Label) {
        for family in [&self.assigned, &self.running, &self.registered, &self.busy, &self.idle, &self.desired] {
            family.clear();
        }
        for family in [&self.min, &self.max, &self.machines, &self.orphans, &self.condition] {
            family.clear();
        }
        for family in [&self.limit, &self.remaining, &self.reset] {
            family.clear();
        }
        for pool in state.pools.values() {
            let of: Labels = vec![label("source", &pool.source), label("pool", &pool.name)];
            let set = |family: &Gauges, value: f64| {
                family.get_or_create(&of).set(value);
            };
            if let Some(jobs) = pool.assigned {
                set(&self.assigned, f64::from(jobs));
            }
            if let Some(jobs) = pool.running {
                set(&self.running, f64::from(jobs));
            }
            let machines = |is: fn(&crate::daemon::runners::MachineRecord) -> bool| {
                count(pool.machines.iter().filter(|machine| is(machine)).count())
            };
            set(&self.registered, machines(|m| m.runner.is_some()));
            set(&self.busy, machines(|m| m.busy));
            set(&self.idle, machines(|m| m.online && !m.busy));
            set(&self.desired, f64::from(pool.target));
            set(&self.min, f64::from(pool.idle_wanted));
            set(&self.max, f64::from(pool.max));
            set(&self.orphans, count(pool.orphans.len()));
            for machine in &pool.machines {
                let of: Labels = of.iter().cloned().chain([label("stage", &machine.stage)]).collect();
                self.machines.get_or_create(&of).inc();
            }
            for condition in pool.conditions.iter().filter(|condition| condition.warns) {
                let of: Labels = of.iter().cloned().chain([label("reason", &condition.reason)]).collect();
                self.condition.get_or_create(&of).set(1.0);
            }
        }
        for budget in &state.budgets {
            let of =
                vec![label("api", &budget.api), label("account", &budget.account), label("resource", &budget.resource)];
            #[expect(clippy::cast_precision_loss, reason = "no budget is that large")]
            let number = |number: u64| number as f64;
            self.limit.get_or_create(&of).set(number(budget.limit));
            self.remaining.get_or_create(&of).set(number(budget.remaining));
            self.reset.get_or_create(&of).set(seconds(budget.reset_ms));
        }
    }
}
