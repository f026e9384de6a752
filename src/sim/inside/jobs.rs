//! Jobs in virtual time: begun once, seen by their state, lost with their boot.

use super::deeds;
use super::disk::{Disk, Trouble, Worker};
use super::system::{Place, System};
use crate::host::job::{Deed, FOLDER, Job, WINDOWS_FOLDER};
use crate::host::state::{JobState, Phase, State};
use crate::host::token::Token;
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::task::End;
use crate::sim::world::World;
use serde_json::{Value, json};

/// The effect of a job's end.
pub(super) const DUE: &str = "inside.due";

/// The effect of a worker's death.
pub(super) const KILLED: &str = "inside.killed";

/// How often a worker gives signs of life, in seconds.
const BEAT_SECONDS: u64 = 10;

/// Begins a job, or does what is done at once. What it says on standard output.
pub fn begin(world: &mut World, place: &Place, job: &Job) -> String {
    settle(world, place);
    match &job.deed {
        Deed::Note { lines, .. } => note(world, place, job, lines),
        Deed::Revive { job: name } => revive(world, place, &job.window, name),
        Deed::Assess { .. } | Deed::Patch { .. } | Deed::Upgrade { .. } | Deed::Health { .. } => {
            return start(world, place, job);
        }
    }
    String::new()
}

/// What stands on the disk about a window; `None` where there is no such file.
pub fn state(world: &mut World, place: &Place, window: &str) -> Option<String> {
    settle(world, place);
    let (now, system) = (world.now(), world.system(place)?);
    let disk = world.disk(place)?;
    let mut state = State::read(disk.windows.get(window)?);
    for worker in disk.workers.iter().filter(|w| w.runs(&system)) {
        let job = worker.job().filter(|job| job.window.as_str() == window);
        let found = job.and_then(|job| state.jobs.iter_mut().find(|j| j.name == job.name()));
        if let Some(found) = found {
            found.beat = seconds(now - (now - worker.begun_ms / 1000) % BEAT_SECONDS);
        }
    }
    Some(state.write())
}

/// A file of a system as the guest agent reads it, if it is one of those that jobs write, or tells the boot.
pub fn file(world: &mut World, place: &Place, path: &str) -> Option<String> {
    let windows = world.runs_windows(place);
    if path == "/proc/sys/kernel/random/boot_id" && !windows {
        return Some(format!("{}\n", world.boot_mark(place)));
    }
    let (folder, end) = match windows {
        true => (format!("{WINDOWS_FOLDER}\\"), r"\state"),
        false => (format!("{FOLDER}/"), "/state"),
    };
    let window = path.strip_prefix(&folder)?.strip_suffix(end)?.to_owned();
    state(world, place, &window)
}

pub(super) fn seconds(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Worker {
    pub(super) fn job(&self) -> Option<Job> {
        let words: Vec<&str> = self.job.0.split(' ').collect();
        Job::read(&words, self.job.1.lines())
    }

    fn runs(&self, system: &System) -> bool {
        system.up && self.boot_ms == system.boot_ms
    }
}

/// Changes the section of a job; makes one where there is none.
pub(super) fn write(disk: &mut Disk, window: &Token, name: &str, change: impl FnOnce(&mut JobState)) {
    let text = disk.windows.entry(window.to_string()).or_default();
    let mut state = State::read(text);
    match state.jobs.iter_mut().find(|job| job.name == name) {
        Some(found) => change(found),
        None => {
            let mut job = JobState { name: name.to_owned(), ..JobState::default() };
            change(&mut job);
            state.jobs.push(job);
        }
    }
    *text = state.write();
}

fn there(disk: &Disk, job: &Job) -> bool {
    disk.windows.get(job.window.as_str()).is_some_and(|text| State::read(text).job(&job.name()).is_some())
}

fn start(world: &mut World, place: &Place, job: &Job) -> String {
    let Some(system) = world.system(place) else { return String::new() };
    let (now, clock_ms, mark) = (world.now(), world.clock_ms, world.boot_mark(place));
    if world.disk(place).is_some_and(|disk| there(disk, job)) {
        return "there already\n".to_owned();
    }
    let installs = matches!(job.deed, Deed::Patch { .. } | Deed::Upgrade { .. });
    let trouble = if installs { world.next_trouble(place) } else { None };
    let takes_ms = deeds::takes_ms(world, place, job);
    let worker = Worker {
        job: (words(job), job.list().unwrap_or_default().join("\n")),
        boot_ms: system.boot_ms,
        begun_ms: clock_ms,
        due_ms: (trouble != Some(Trouble::Hangs)).then_some(clock_ms + takes_ms),
        trouble,
    };
    if let Some(disk) = world.disk(place) {
        disk.workers.push(worker);
        write(disk, &job.window, &job.name(), |state| {
            (state.started, state.beat, state.boot) = (seconds(now), seconds(now), mark);
        });
    }
    match trouble {
        Some(Trouble::Hangs) => {}
        Some(Trouble::Killed) => later(world, place, job, KILLED, takes_ms / 2),
        Some(Trouble::Breaks | Trouble::Exits(_)) | None => later(world, place, job, DUE, takes_ms),
    }
    "begun\n".to_owned()
}

fn words(job: &Job) -> String {
    job.args().iter().map(Token::to_string).collect::<Vec<_>>().join(" ")
}

/// Has something happen to a job in virtual time.
pub(super) fn later(world: &mut World, place: &Place, job: &Job, effect: &'static str, ms: u64) {
    let mut told = place.told();
    (told["window"], told["name"]) = (job.window.to_string().into(), job.name().into());
    let node = place.node(world);
    let mut ctx = Ctx { world, user: "root@pam".to_owned(), task_fault: None, extra: json!({}) };
    ctx.start(NewTask::new(&node, "inside", "").takes_ms(ms).unseen().then(effect, told));
}

/// The worker that a task is about, if it runs still.
fn worker(world: &mut World, told: &Value) -> Option<(Place, System, Worker)> {
    let place = Place::of(told);
    settle(world, &place);
    let system = world.system(&place)?;
    let is = |w: &Worker| {
        w.job().is_some_and(|job| told["window"] == job.window.as_str() && told["name"] == job.name().as_str())
    };
    let found = world.disk(&place)?.workers.iter().find(|w| is(w)).cloned()?;
    Some((place, system, found))
}

/// The end of a job.
pub(super) fn due(world: &mut World, told: &Value, _: &mut Vec<String>) -> End {
    if let Some((place, system, worker)) = worker(world, told)
        && let Some(job) = worker.job()
        && let Some(state) = deeds::done(world, &place, &system, &worker, &job)
        && let Some(disk) = world.disk(&place)
    {
        disk.workers.retain(|w| *w != worker);
        write(disk, &job.window, &job.name(), |found| *found = JobState { name: found.name.clone(), ..state });
    }
    End::Ok
}

/// The death of a worker in a system that goes on.
pub(super) fn killed(world: &mut World, told: &Value, _: &mut Vec<String>) -> End {
    let now_ms = world.clock_ms;
    if let Some((place, system, worker)) = worker(world, told) {
        if let Some(disk) = world.disk(&place) {
            disk.workers.retain(|w| *w != worker);
        }
        lose(world, &place, &system, &worker, now_ms);
    }
    End::Ok
}

/// Jobs of another boot are gone: what they had begun stays as it was when the system went down.
fn settle(world: &mut World, place: &Place) {
    let Some(system) = world.system(place) else { return };
    let Some(disk) = world.disk(place) else { return };
    let (alive, gone): (Vec<Worker>, Vec<Worker>) = disk.workers.drain(..).partition(|w| w.runs(&system));
    disk.workers = alive;
    for worker in gone {
        let half = worker.due_ms.map_or(worker.begun_ms, |due| (worker.begun_ms + due) / 2);
        lose(world, place, &system, &worker, half);
    }
}

/// What a worker leaves that died: half of its packages, one half configured, and a last sign of life.
fn lose(world: &mut World, place: &Place, system: &System, worker: &Worker, died_ms: u64) {
    let Some(job) = worker.job() else { return };
    deeds::half_done(world, place, system, &job);
    if let Some(disk) = world.disk(place) {
        write(disk, &job.window, &job.name(), |state| state.beat = seconds(died_ms / 1000));
    }
}

fn note(world: &mut World, place: &Place, job: &Job, lines: &[(Token, Token)]) {
    let (now, mark) = (seconds(world.now()), world.boot_mark(place));
    let Some(disk) = world.disk(place) else { return };
    write(disk, &job.window, &job.name(), |state| {
        if state.started == 0 {
            (state.started, state.boot) = (now, mark);
        }
        (state.phase, state.exit, state.ended, state.beat) = (Phase::Done, Some(0), Some(now), now);
        for (key, value) in lines {
            state.notes.entry(key.to_string()).or_insert_with(|| value.to_string());
        }
    });
}

fn revive(world: &mut World, place: &Place, window: &Token, name: &Token) {
    let now = seconds(world.now());
    let Some(disk) = world.disk(place) else { return };
    let alive = disk.workers.iter().filter_map(Worker::job).any(|j| j.window == *window && j.name() == name.as_str());
    let text = disk.windows.get(window.as_str()).map(String::as_str).unwrap_or_default();
    let says = State::read(text).job(name.as_str()).map(|job| job.phase);
    if says == Some(Phase::Running) && !alive {
        write(disk, window, name.as_str(), |state| (state.phase, state.ended) = (Phase::Died, Some(now)));
    }
}
