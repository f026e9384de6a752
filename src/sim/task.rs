//! Tasks on virtual time: what is running, what it will do when it is due, and its log as time passes.

use crate::sim::world::World;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a task ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// `OK`.
    Ok,
    /// `WARNINGS: n`.
    Warnings(u32),
    /// An error text.
    Failed(String),
}

/// What a task does when it is due. Lines pushed to the last argument are added to its log.
pub type EffectFn = fn(&mut World, &Value, &mut Vec<String>) -> End;

/// A named effect: names are stored with the task, so that a saved world can go on.
#[derive(Clone, Copy, Debug)]
pub struct Effect {
    /// Unique name, `qemu.clone`.
    pub name: &'static str,
    /// The work.
    pub run: EffectFn,
}

/// A task.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub upid: String,
    /// `qmclone`, `vzstart`, ….
    pub task_type: String,
    /// What it works on.
    pub id: String,
    /// Where it runs.
    pub node: String,
    /// Who started it.
    pub user: String,
    /// Process id.
    pub pid: u64,
    /// Start.
    pub start_ms: u64,
    /// When it is due.
    pub due_ms: u64,
    /// When it ended; `None` while it runs.
    pub end_ms: Option<u64>,
    /// `OK`, `WARNINGS: 1`, or an error text; empty while it runs.
    pub exit_status: String,
    /// Log lines so far.
    pub log: Vec<String>,
    /// Whether the log shows percentages as time passes, of this many bytes.
    pub progress_of: Option<u64>,
    /// The effect's name (see [`Effect`]); empty for none.
    pub effect: String,
    /// What the effect is told.
    pub told: Value,
    /// The guest whose file lock it holds while it runs.
    pub holds: Option<u32>,
    /// It is no task of PVE's, but something that a daemon does in its time: no list shows it.
    #[serde(default)]
    pub unseen: bool,
}

impl Task {
    /// Whether it runs still.
    pub fn running(&self) -> bool {
        self.end_ms.is_none()
    }
}

impl World {
    /// Moves the clock forward; every task that becomes due on the way is ended in its order.
    pub fn advance_to(&mut self, clock_ms: u64) {
        let rounds = clock_ms.checked_div(self.statistics_every_ms);
        if let Some(collected_ms) = rounds.map(|r| r * self.statistics_every_ms).filter(|ms| *ms > self.clock_ms) {
            self.run_until(collected_ms);
            self.collect_statistics();
        }
        self.run_until(clock_ms);
    }

    fn run_until(&mut self, clock_ms: u64) {
        loop {
            let next = self
                .tasks
                .iter()
                .enumerate()
                .filter(|(_, t)| t.running() && t.due_ms <= clock_ms)
                .min_by_key(|(i, t)| (t.due_ms, *i))
                .map(|(i, t)| (i, t.due_ms));
            let event = self.github.next_ms().filter(|ms| *ms <= clock_ms);
            match (next, event) {
                (None, None) => break,
                (Some((index, due)), event) if event.is_none_or(|ms| due <= ms) => {
                    self.clock_ms = self.clock_ms.max(due);
                    self.end_task(index);
                }
                (_, event) => {
                    self.clock_ms = self.clock_ms.max(event.unwrap_or_default());
                    crate::sim::github::course::happen(self);
                }
            }
        }
        self.clock_ms = self.clock_ms.max(clock_ms);
    }

    /// Ends a task now: its effect takes place, its log is closed.
    fn end_task(&mut self, index: usize) {
        let (name, told) = (self.tasks[index].effect.clone(), self.tasks[index].told.clone());
        let mut lines = Vec::new();
        if let Some(total) = self.tasks[index].progress_of {
            lines.extend(progress_lines(total, 100));
        }
        let effect = crate::sim::api::effects().find(|e| e.name == name);
        // A marked task fails or is killed instead of having its effect (see faults).
        if let Some(done) = told.get("!die").and_then(Value::as_str).and_then(|n| n.parse().ok()) {
            return self.kill_task(index, done);
        }
        let end = match (told.get("!fail").and_then(Value::as_str), effect) {
            // What could not begin says why, and has nothing to fail at.
            (Some(text), _) if told["refused"].is_null() => {
                self.abandon(&told);
                self.abandon_snapshot(&name, &told);
                End::Failed(text.to_owned())
            }
            (_, Some(effect)) => (effect.run)(self, &told, &mut lines),
            (_, None) => End::Ok,
        };
        let end = match (told.get("!warn").is_some(), end) {
            (true, End::Ok) => End::Warnings(1),
            (_, end) => end,
        };
        let now = self.clock_ms;
        let task = &mut self.tasks[index];
        task.exit_status = match end {
            End::Ok => {
                lines.push("TASK OK".to_owned());
                "OK".to_owned()
            }
            End::Warnings(n) => {
                lines.push(format!("TASK WARNINGS: {n}"));
                format!("WARNINGS: {n}")
            }
            End::Failed(text) => {
                lines.push(format!("TASK ERROR: {text}"));
                text
            }
        };
        task.log.extend(lines);
        task.end_ms = Some(now);
    }

    /// Cleans up after a task that fails on demand: PVE removes a half-made guest, and unlocks what did not migrate.
    fn abandon(&mut self, told: &Value) {
        let id = |key: &str| told[key].as_u64().and_then(|v| u32::try_from(v).ok());
        let lock = |w: &World, v: u32| w.guests.get(&v).and_then(|g| g.config.get("lock").cloned()).unwrap_or_default();
        // A clone of a container is reserved like one that is made.
        let cloned = id("newid").filter(|v| matches!(lock(self, *v).as_str(), "clone" | "create"));
        let made = id("vmid").filter(|v| lock(self, *v) == "create");
        // What was to be written over stays as it was.
        let whole = |w: &World, v: u32| w.guests.get(&v).is_some_and(|g| g.config.len() > 1);
        if let Some(old) = made.filter(|v| whole(self, *v)) {
            self.edit_guest(old, "lock", None);
        }
        let made = made.filter(|v| !whole(self, *v));
        for new in cloned.into_iter().chain(made) {
            self.guests.remove(&new);
            for pool in self.pools.values_mut() {
                pool.guests.remove(&new);
            }
        }
        crate::sim::api::node::vzdump::unlock(self, told);
        if let Some(vmid) = id("vmid").filter(|v| lock(self, *v) == "migrate") {
            self.edit_guest(vmid, "lock", None);
        }
    }

    /// Ends a task as a killed one ends: its log stops, and what it has written stays.
    fn kill_task(&mut self, index: usize, done: usize) {
        let task = self.tasks[index].clone();
        self.kill_snapshot(&task, done);
        let now = self.clock_ms;
        let task = &mut self.tasks[index];
        task.exit_status = "unexpected status".to_owned();
        task.end_ms = Some(now);
    }

    /// Stops a running task: no effect, `received interrupt`. The locks that it left on guests stay, as on PVE; a snapshot that
    /// was being taken is taken back.
    pub fn interrupt_task(&mut self, index: usize) {
        let now = self.clock_ms;
        if let Some((effect, told)) =
            self.tasks.get(index).filter(|t| t.running()).map(|t| (t.effect.clone(), t.told.clone()))
        {
            self.abandon_snapshot(&effect, &told);
        }
        if let Some(task) = self.tasks.get_mut(index).filter(|t| t.running()) {
            task.end_ms = Some(now);
            task.exit_status = "received interrupt".to_owned();
            task.log.push("TASK ERROR: received interrupt".to_owned());
        }
    }

    /// The log as it can be read now, running progress included.
    pub fn task_log(&self, task: &Task) -> Vec<String> {
        let mut log = task.log.clone();
        if let (true, Some(total)) = (task.running(), task.progress_of) {
            let (passed, all) = (self.clock_ms.saturating_sub(task.start_ms), task.due_ms - task.start_ms);
            log.extend(progress_lines(total, passed * 100 / all.max(1)));
        }
        log
    }
}

/// The lines of a copy up to some per cent.
fn progress_lines(total: u64, percent: u64) -> Vec<String> {
    let gib = |n: u64| format!("{:.1} GiB", n as f64 / (1u64 << 30) as f64);
    (0..=percent.min(100))
        .step_by(5)
        .map(|p| format!("transferred {} of {} ({p}.00%)", gib(total / 100 * p), gib(total)))
        .collect()
}
