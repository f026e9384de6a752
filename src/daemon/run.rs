//! The loop. One turn: what ended is taken in, what is due is set going, what anybody should see is written down. Position is
//! never remembered: a daemon that was killed looks, and goes on from what is there.

use crate::base::clock::Clock;
use crate::base::id::VmId;
use crate::daemon::config::{SourceConfig, WatchConfig};
use crate::daemon::drift::{Ledger, drifted};
use crate::daemon::look::{self, Verdict};
use crate::daemon::meter::{Ear, Meter};
use crate::daemon::proposal;
use crate::daemon::queue::{Batch, Ended, Key, Queue, Why};
use crate::daemon::record::{ConditionRecord, DriftRecord, EventRecord, Healer, Level, Mode, RunRecord, SourceRecord};
use crate::daemon::shared::{Ask, Asked, Shared, Wish};
use crate::daemon::signs::{News, Signs};
use crate::daemon::source::{Broken, Reading, Source};
use crate::daemon::suspend::Suspensions;
use crate::daemon::work::{self, Errand, Moment, Place, Poke, Ran, Tap, Work};
use crate::engine::reconcile::Halt;
use crate::plan::assemble::{Plan, Settings};
use crate::pve::error::PveError;
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::Delta;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// The loop turns at least this often, so that whoever watches it can tell that it lives.
const TURN_MAX: Duration = Duration::from_secs(5);
/// The least time between two looks of one source that nobody waits for.
const LOOK_GAP_MS: u64 = 500;
/// A look may take this share of the time: one in so many.
const LOOK_SHARE: u64 = 5;
/// A source with names of DNS is looked at this often: their addresses live about as long.
const NAMES_MS: u64 = 60_000;
/// The wait after a look that failed, and the longest.
const LOOK_AGAIN_MS: u64 = 2_000;
const LOOK_AGAIN_MAX_MS: u64 = 60_000;
/// Pokes of one source that wait; more of them say nothing new.
const POKES_MAX: usize = 8;
/// How long the steps in progress may go on when the daemon ends.
pub const ENDING: Duration = Duration::from_secs(60);

/// What the world asks of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Go on.
    Go,
    /// End, and begin anew with another configuration.
    Reload,
    /// End.
    Stop,
}

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to end; whether all that was in progress ended too.
    Asked(Signal, bool),
    /// `--once`: everything was looked at, and nothing is left that could be done now.
    Done,
}

/// A source and its cluster.
pub struct Line {
    /// How it is configured.
    pub config: SourceConfig,
    /// Its cluster, by position.
    pub place: usize,
    /// Where its manifests come from.
    pub source: Box<dyn Source>,
}

/// What the loop is made of.
pub struct Setup {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The clusters.
    pub places: Vec<Place>,
    /// The sources.
    pub lines: Vec<Line>,
    /// How closely clusters are watched.
    pub watch: WatchConfig,
    /// What everybody sees.
    pub shared: Shared,
    /// What everybody asks.
    pub asked: Asked,
    /// What the world asks.
    pub signal: watch::Receiver<Signal>,
    /// Who listens.
    pub ear: Arc<dyn Ear>,
    /// Who counts.
    pub meter: Arc<dyn Meter>,
    /// Drift that lasted when the daemon ended.
    pub open_drift: Vec<DriftRecord>,
    /// What was suspended.
    pub suspended: Suspensions,
    /// End when nothing is left to do.
    pub once: bool,
}

/// A source at work.
struct Thread {
    config: SourceConfig,
    place: usize,
    pokes: mpsc::Sender<Poke>,
    /// Manifests in force.
    reading: Option<Arc<Reading>>,
    /// Whether it was read at all, well or badly.
    read: bool,
    has_names: bool,
    /// When to look next; `None`: when something is new.
    look_ms: Option<u64>,
    looking: bool,
    /// The manifests moved since the last look.
    moved: bool,
    /// Looks that went well, and failures in a row.
    looks: u64,
    failures: u32,
    last_look_ms: u64,
    look_took_ms: u64,
    /// The guests of its objects, those too that steps for them are about.
    known: BTreeMap<ResourceRef, BTreeSet<VmId>>,
    /// Some object is none of the cluster yet: a guest that comes may be it, or in its way.
    unbound: bool,
    /// After how many moments each object's last run ended, as long as a look may be older than that.
    ran: BTreeMap<ResourceRef, u64>,
}

struct Daemon {
    clock: Arc<dyn Clock>,
    places: Vec<Place>,
    signs: Vec<Signs>,
    poll_failures: Vec<u32>,
    threads: Vec<Thread>,
    watch: WatchConfig,
    shared: Shared,
    ear: Arc<dyn Ear>,
    meter: Arc<dyn Meter>,
    queue: Queue,
    ledger: Ledger,
    suspended: Suspensions,
    work: FuturesUnordered<Work>,
    /// Runs in progress on each cluster.
    running: Vec<usize>,
    runs: u64,
    /// What ended so far, counted: tells before from after within one millisecond.
    moments: u64,
    once: bool,
    ending: bool,
}

/// Runs until it is asked to end, or, with `once`, until nothing is left to do.
pub async fn run(setup: Setup) -> End {
    let Setup { asked: mut asks, mut signal, .. } = setup;
    let mut daemon = Daemon {
        running: vec![0; setup.places.len()],
        signs: vec![Signs::default(); setup.places.len()],
        poll_failures: vec![0; setup.places.len()],
        clock: setup.clock,
        places: setup.places,
        threads: Vec::new(),
        watch: setup.watch,
        shared: setup.shared,
        ear: setup.ear,
        meter: setup.meter,
        queue: Queue::default(),
        ledger: Ledger::resume(setup.open_drift),
        suspended: setup.suspended,
        work: FuturesUnordered::new(),
        runs: 0,
        moments: 0,
        once: setup.once,
        ending: false,
    };
    daemon.begin(setup.lines);
    let mut ends_ms = None;
    loop {
        let now = daemon.clock.now_ms();
        daemon.turn(now);
        if let Some((why, by)) = ends_ms {
            let idle = daemon.running.iter().all(|n| *n == 0);
            if idle || now >= by {
                return End::Asked(why, idle);
            }
        }
        if daemon.once && daemon.is_done() {
            return End::Done;
        }
        let wait = daemon.wake_ms(now).saturating_sub(now);
        let wait = Duration::from_millis(wait).min(TURN_MAX);
        let clock = Arc::clone(&daemon.clock);
        tokio::select! {
            biased;
            Ok(()) = signal.changed(), if ends_ms.is_none() => {
                let why = *signal.borrow_and_update();
                if why != Signal::Go {
                    daemon.end();
                    let bound = u64::try_from(ENDING.as_millis()).unwrap_or(u64::MAX);
                    ends_ms = Some((why, daemon.clock.now_ms() + bound));
                }
            }
            Some(moment) = daemon.work.next(), if !daemon.work.is_empty() => daemon.take(moment),
            Some(ask) = asks.recv() => daemon.answer(ask),
            () = clock.sleep(wait) => {}
        }
    }
}

impl Daemon {
    fn begin(&mut self, lines: Vec<Line>) {
        for (place, cluster) in self.places.iter().enumerate() {
            let Place { cache, .. } = cluster;
            if !self.once {
                self.work.push(work::poll(place, Arc::clone(cache), Arc::clone(&self.clock), self.watch.every.0, 0));
                self.work.push(self.scan(place));
            }
        }
        let mut state = self.shared.write();
        state.unready = Some("the sources are being read".to_owned());
        state.drift = self.ledger.open();
        for (line, Line { config, place, source }) in lines.into_iter().enumerate() {
            let origin = source.origin();
            let old = state.sources.remove(&config.name);
            let record = SourceRecord {
                name: config.name.clone(),
                origin,
                cluster: self.places[place].name.clone(),
                mode: config.mode,
                revision: String::new(),
                subject: None,
                conditions: Vec::new(),
                diagnostics: Vec::new(),
                read_ms: 0,
                seen_ms: 0,
                objects: 0,
                ready: 0,
                drifted: 0,
                suspended: None,
            };
            state.sources.insert(
                config.name.clone(),
                old.map_or(record.clone(), |old| {
                    let SourceRecord { origin, cluster, mode, .. } = record;
                    SourceRecord { origin, cluster, mode, ..old }
                }),
            );
            let (pokes, receiver) = mpsc::channel(POKES_MAX);
            self.work.push(work::read(line, Tap { source, pokes: receiver }, true));
            self.threads.push(Thread {
                config,
                place,
                pokes,
                reading: None,
                read: false,
                has_names: false,
                look_ms: None,
                looking: false,
                moved: false,
                looks: 0,
                failures: 0,
                last_look_ms: 0,
                look_took_ms: 0,
                known: BTreeMap::new(),
                unbound: false,
                ran: BTreeMap::new(),
            });
        }
        let names: BTreeSet<&String> = self.threads.iter().map(|t| &t.config.name).collect();
        state.sources.retain(|name, _| names.contains(name));
        state.objects.retain(|(source, ..), _| names.contains(source));
    }

    fn scan(&self, place: usize) -> Work {
        let WatchConfig { requests_per_second, every, scan, .. } = self.watch;
        // What the polls take is not left for reading in turn.
        let polls = 3_f64 / every.0.as_secs_f64();
        let left = (f64::from(requests_per_second) - polls).max(1.0) as u32;
        work::scan(place, Arc::clone(&self.places[place].cache), Arc::clone(&self.clock), left, scan.0)
    }

    /// No step is begun any more.
    fn end(&mut self) {
        self.ending = true;
        self.places.iter().for_each(|place| place.cache.close());
    }

    fn is_suspended(&self, thread: &Thread) -> bool {
        thread.config.suspend || self.suspended.of(&thread.config.name).is_some()
    }

    /// Whether runs of a source may begin.
    fn may_run(&self, source: &str) -> bool {
        let thread = self.threads.iter().find(|t| t.config.name == source);
        !self.ending
            && thread.is_some_and(|t| {
                !self.is_suspended(t) && self.running[t.place] < self.watch.runs && t.reading.is_some()
            })
    }

    /// When something is due that nobody will tell us of.
    fn wake_ms(&self, now: u64) -> u64 {
        if self.ending {
            return u64::MAX;
        }
        let looks = self.threads.iter().filter(|t| !t.looking && t.reading.is_some()).filter_map(|t| t.look_ms);
        let queue = self.queue.wake_ms(|source| self.may_run(source));
        looks.chain(queue).min().unwrap_or(u64::MAX).max(now)
    }

    /// Sets going what is due, and shows how things stand.
    fn turn(&mut self, now: u64) {
        if !self.ending {
            self.looks(now);
            loop {
                let sources = self.threads.iter().map(|t| t.config.name.clone());
                let may: BTreeSet<String> = sources.filter(|source| self.may_run(source)).collect();
                let Some(batch) = self.queue.next(now, |source| may.contains(source)) else { break };
                batch.objects.values().for_each(|waited| self.meter.waited(*waited));
                self.start(batch, None, now);
            }
        }
        self.queue.sweep(now);
        let (added, retried) = self.queue.totals();
        self.meter.queue(self.queue.depth(), added, retried);
        let expired = proposal::expire(&mut self.shared.write().proposals, now);
        for old in expired {
            let text = format!("proposal {} was not approved in time", old.id);
            self.tell(&old.source, None, Level::Warning, "ProposalExpired", text, None);
            self.look_soon(&old.source, now);
        }
        let mut state = self.shared.write();
        state.turned_ms = now;
        for (key, object) in &mut state.objects {
            let key = Key { source: key.0.clone(), object: ResourceRef::new(&key.1, &key.2) };
            (object.failures, object.next_ms) = self.queue.prospects(&key);
        }
        let waits = self.threads.iter().find(|t| !t.read || t.reading.is_some() && t.looks == 0);
        state.unready = waits.map(|t| match t.read {
            false => format!("source {} is being read", t.config.name),
            true => format!("the cluster of source {} was not looked at yet", t.config.name),
        });
        self.ear.turned(&state);
    }

    fn looks(&mut self, now: u64) {
        for line in 0..self.threads.len() {
            let thread = &self.threads[line];
            let due = thread.look_ms.is_some_and(|due| due <= now) && !thread.looking;
            let (Some(reading), true) = (thread.reading.clone(), due) else { continue };
            let place = &self.places[thread.place];
            let settings = self.settings(line);
            self.work.push(work::look((line, self.moments), reading, place, Arc::clone(&self.clock), settings));
            let thread = &mut self.threads[line];
            (thread.looking, thread.look_ms) = (true, None);
        }
    }

    fn settings(&self, line: usize) -> Settings {
        let Thread { config, place, reading, .. } = &self.threads[line];
        let partial = reading.as_ref().is_some_and(|r| r.loaded.partial);
        let Place { root_ticket, outside, .. } = &self.places[*place];
        let prune = config.prune && !partial;
        // While a run of ours goes on, the lock is not one that was left.
        let left_lock = if self.running[*place] == 0 { outside.left_lock() } else { None };
        Settings { partial, prune, root_ticket: *root_ticket, ways: outside.ways(), left_lock, ..Settings::default() }
    }

    /// Begins a run.
    fn start(&mut self, batch: Batch, approved: Option<String>, now: u64) {
        let Some(line) = self.threads.iter().position(|t| t.config.name == batch.source) else { return };
        let thread = &self.threads[line];
        let Some(reading) = thread.reading.clone() else { return };
        let objects: BTreeSet<ResourceRef> = batch.objects.keys().cloned().collect();
        let mut settings = self.settings(line);
        // An old version is told apart by its name; who owns it is the name alone.
        let owners = objects.iter().filter_map(|r| Some(ResourceRef::new(&r.kind, r.name.split_once('@')?.0)));
        settings.only = Some(objects.iter().cloned().chain(owners).collect());
        let config = &thread.config;
        let consent = look::consent(config.allow_data_loss, config.max_deletes, approved.as_ref().map(|_| &objects));
        self.runs += 1;
        let id = format!("{now:x}-{}", self.runs);
        let revision = reading.revision.id.clone();
        let names = objects.iter().map(ToString::to_string).collect();
        let record = RunRecord {
            id: id.clone(),
            source: batch.source.clone(),
            revision: revision.clone(),
            began_ms: now,
            ended_ms: None,
            objects: names,
            steps: 0,
            doing: BTreeMap::new(),
            converged: None,
            failed: BTreeMap::new(),
        };
        self.shared.write().running.insert(id.clone(), record);
        let place = &self.places[thread.place];
        self.running[thread.place] += 1;
        let guests = self.guests_of(&batch.source, &objects);
        let errand = Errand { id, line, batch, proposal: approved, revision, guests, settings, consent };
        self.work.push(work::run(errand, reading, place, Arc::clone(&self.clock), self.shared.clone()));
    }

    /// The guests of some objects, as far as the last look knows them.
    fn guests_of(&self, source: &str, objects: &BTreeSet<ResourceRef>) -> BTreeSet<VmId> {
        let Some(thread) = self.threads.iter().find(|t| t.config.name == source) else { return BTreeSet::new() };
        objects.iter().filter_map(|object| thread.known.get(object)).flatten().copied().collect()
    }

    fn look_soon(&mut self, source: &str, at: u64) {
        if let Some(thread) = self.threads.iter_mut().find(|t| t.config.name == source) {
            thread.look_ms = Some(thread.look_ms.map_or(at, |due| due.min(at)));
        }
    }

    /// A look that nobody waits for: not too soon after the last one, and not too often if it is long.
    fn look_later(&mut self, line: usize, now: u64) {
        let thread = &mut self.threads[line];
        let gap = LOOK_GAP_MS.max(thread.look_took_ms * LOOK_SHARE);
        let at = now.max(thread.last_look_ms + gap);
        thread.look_ms = Some(thread.look_ms.map_or(at, |due| due.min(at)));
    }

    /// Something has ended.
    fn take(&mut self, moment: Moment) {
        let now = self.clock.now_ms();
        self.moments += 1;
        match moment {
            Moment::Read { line, tap, read } => {
                self.read(line, read, now);
                if !self.once && !self.ending {
                    self.work.push(work::read(line, tap, false));
                }
            }
            Moment::Polled { place, answers } => self.polled(place, answers, now),
            Moment::Scanned { place, moved } => {
                self.news(place, &moved, now);
                if !self.ending {
                    self.work.push(self.scan(place));
                }
            }
            Moment::Looked { line, began_ms, after, reading, plan } => {
                let thread = &mut self.threads[line];
                thread.looking = false;
                (thread.look_took_ms, thread.last_look_ms) = (now.saturating_sub(began_ms), now);
                self.looked(line, after, &reading, plan, now);
            }
            Moment::Ran(ran) => self.ran(*ran, now),
        }
    }

    fn read(&mut self, line: usize, read: Result<Reading, Broken>, now: u64) {
        let thread = &mut self.threads[line];
        let name = thread.config.name.clone();
        thread.read = true;
        let (broken, message) = match read {
            Ok(reading) => {
                let same = thread.reading.as_ref().is_some_and(|old| old.revision.id == reading.revision.id);
                let (revision, objects) = (reading.revision.clone(), reading.desired.resources.len());
                if !same {
                    thread.has_names = reading.desired.resources.values().any(|d| !d.kind.names(&d.spec).is_empty());
                    thread.reading = Some(Arc::new(reading));
                    (thread.moved, thread.look_ms) = (true, Some(now));
                }
                let mut state = self.shared.write();
                if let Some(record) = state.sources.get_mut(&name) {
                    (record.revision, record.subject) = (revision.id.clone(), revision.subject.clone());
                    (record.objects, record.read_ms) = (objects, now);
                    record.diagnostics.clear();
                }
                drop(state);
                let subject = revision.subject.map(|s| format!(" ({s})")).unwrap_or_default();
                let short: String = revision.id.chars().take(19).collect();
                (None, (!same).then(|| format!("{objects} objects at {short}{subject}")))
            }
            Err(broken) => {
                if let Some(record) = self.shared.write().sources.get_mut(&name) {
                    record.read_ms = now;
                    record.diagnostics.clone_from(&broken.diagnostics);
                }
                (Some(broken.message), None)
            }
        };
        self.source_is(line, broken, "SourceBroken", now);
        if let Some(message) = message {
            self.tell(&name, None, Level::Normal, "SourceRead", message, None);
        }
    }

    /// What is wrong with a source, or with its cluster, as its conditions; told when it changes.
    fn source_is(&mut self, line: usize, broken: Option<String>, reason: &str, now: u64) {
        let name = self.threads[line].config.name.clone();
        let in_force = self.threads[line].reading.is_some();
        let mut state = self.shared.write();
        let Some(record) = state.sources.get_mut(&name) else { return };
        let old = record.conditions.iter().position(|c| c.condition == "Degraded" && c.reason == reason);
        let event = match (old, broken) {
            (None, None) => None,
            (Some(at), None) => {
                record.conditions.remove(at);
                let mended = if reason == "SourceBroken" { "SourceMended" } else { "ClusterAnswers" };
                Some((Level::Normal, mended, "it is well again".to_owned()))
            }
            (old, Some(why)) => {
                let since = old.map_or(now, |at| record.conditions.remove(at).last_transition_ms);
                let keeps =
                    if reason == "SourceBroken" && in_force { "; the last good revision stays in force" } else { "" };
                let message = format!("{why}{keeps}");
                record.conditions.push(ConditionRecord {
                    condition: "Degraded".into(),
                    status: "True".into(),
                    reason: reason.into(),
                    message: message.clone(),
                    last_transition_ms: since,
                });
                Some((Level::Warning, reason, message))
            }
        };
        let degraded = record.conditions.iter().any(|c| c.condition == "Degraded");
        let (status, why) = if degraded { ("False", "Degraded") } else { ("True", "Read") };
        let since = record.conditions.iter().find(|c| c.condition == "Ready" && c.status == status);
        let since = since.map_or(now, |c| c.last_transition_ms);
        record.conditions.retain(|c| c.condition != "Ready");
        record.conditions.insert(
            0,
            ConditionRecord {
                condition: "Ready".into(),
                status: status.into(),
                reason: why.into(),
                message: String::new(),
                last_transition_ms: since,
            },
        );
        drop(state);
        if let Some((level, reason, message)) = event {
            self.tell(&name, None, level, reason, message, None);
        }
    }

    fn polled(&mut self, place: usize, answers: Vec<Result<Value, PveError>>, now: u64) {
        let [resources, tasks, log] = &answers[..] else { unreachable!("three queries, three answers") };
        let value = |answer: &Result<Value, PveError>| answer.as_ref().ok().cloned();
        let values = [value(resources), value(tasks), value(log)];
        let cluster = self.places[place].name.clone();
        let News { guests, running, ended } = self.signs[place].read(&cluster, values.each_ref().map(Option::as_ref));
        for (worker, well, seconds) in ended {
            self.meter.task(&cluster, &worker, well, seconds);
        }
        if values[1].is_some() {
            let mut state = self.shared.write();
            state.tasks.retain(|t| t.cluster != cluster);
            state.tasks.extend(running);
        }
        let broken = resources.as_ref().err().map(ToString::to_string);
        let failures = &mut self.poll_failures[place];
        *failures = if broken.is_some() { failures.saturating_add(1) } else { 0 };
        let failures = *failures;
        for line in 0..self.threads.len() {
            if self.threads[line].place == place {
                self.source_is(line, broken.clone(), "ClusterUnreadable", now);
            }
        }
        self.news(place, &guests, now);
        if !self.ending {
            let Place { cache, .. } = &self.places[place];
            let (cache, clock) = (Arc::clone(cache), Arc::clone(&self.clock));
            self.work.push(work::poll(place, cache, clock, self.watch.every.0, failures));
        }
    }

    /// Some guests may have changed: what is known of them is forgotten, and whoever declares them looks.
    fn news(&mut self, place: usize, guests: &BTreeSet<VmId>, now: u64) {
        if guests.is_empty() {
            return;
        }
        self.places[place].cache.forget(guests);
        for line in 0..self.threads.len() {
            let thread = &self.threads[line];
            let concerns = thread.unbound || thread.known.values().flatten().any(|guest| guests.contains(guest));
            if thread.place == place && concerns {
                self.look_later(line, now);
            }
        }
    }

    fn looked(&mut self, line: usize, after: u64, reading: &Arc<Reading>, plan: Result<Plan, String>, now: u64) {
        let thread = &mut self.threads[line];
        let name = thread.config.name.clone();
        let plan = match plan {
            Ok(plan) => plan,
            Err(why) => {
                thread.failures += 1;
                let wait = (LOOK_AGAIN_MS << thread.failures.min(10)).min(LOOK_AGAIN_MAX_MS);
                thread.look_ms = Some(now + wait);
                self.source_is(line, Some(why), "ClusterUnreadable", now);
                return;
            }
        };
        if thread.reading.as_ref().is_some_and(|inforce| inforce.revision.id != reading.revision.id) {
            // The manifests moved while it was made: what it says is of no use any more.
            thread.look_ms = Some(now);
            return;
        }
        thread.failures = 0;
        thread.looks += 1;
        let interval = u64::try_from(thread.config.interval.0.as_millis()).unwrap_or(u64::MAX);
        let rest = if thread.has_names { interval.min(NAMES_MS) } else { interval };
        // Not all sources at once: an eighth more or less, by the name.
        let spread = rest / 8 * (name.bytes().map(u64::from).sum::<u64>() + thread.looks) % (rest / 4).max(1);
        let again = now + rest - rest / 8 + spread;
        thread.look_ms = Some(thread.look_ms.map_or(again, |due| due.min(again)));
        let why = if std::mem::take(&mut thread.moved) { Why::Anew } else { Why::Seen };
        thread.known = plan.deltas.iter().map(|d| (d.resource.clone(), look::guests([d]))).collect();
        thread.unbound = plan.deltas.iter().any(|d| d.identity.is_none());
        let config = thread.config.clone();
        self.source_is(line, None, "ClusterUnreadable", now);
        let consent = look::consent(config.allow_data_loss, config.max_deletes, None);
        let verdict = look::weigh(&plan, &reading.desired, config.mode, &consent);
        // What is in a run, or was while this look was made, is known better by the run.
        let busy = |daemon: &Daemon, resource: &ResourceRef| {
            let key = Key { source: name.clone(), object: resource.clone() };
            let ran = daemon.threads[line].ran.get(resource).is_some_and(|at| *at > after);
            daemon.queue.is_running(&key) || ran
        };
        let mut again = false;
        for delta in &plan.deltas {
            if busy(self, &delta.resource) {
                again |= !self.queue.is_running(&Key { source: name.clone(), object: delta.resource.clone() });
                continue;
            }
            let mode = look::mode(config.mode, &reading.desired, &delta.resource);
            self.see(&name, &reading.revision.id, mode, delta, now);
        }
        self.lost(&name, &plan, now);
        self.decide(line, &plan, &verdict, why, now);
        self.count(&name, now);
        self.threads[line].ran.retain(|_, at| *at > after);
        if again {
            self.look_later(line, now);
        }
    }

    /// Takes in how an object stands.
    fn see(&mut self, source: &str, revision: &str, mode: Mode, delta: &Delta, now: u64) {
        let key = Key { source: source.to_owned(), object: delta.resource.clone() };
        let at = (source.to_owned(), delta.resource.kind.clone(), delta.resource.name.clone());
        let mut state = self.shared.write();
        let before = state.objects.get(&at);
        let moved = before.is_none_or(|b| b.revision != revision);
        let record = look::record(source, revision, mode, delta, before, now);
        state.objects.insert(at, record);
        drop(state);
        if delta.unseen().is_some() {
            return;
        }
        let fields = drifted(delta);
        if fields.is_empty() {
            let touched = self.threads.iter().any(|t| t.config.name == source && t.ran.contains_key(&delta.resource));
            let healer = match (touched, moved) {
                (true, _) => Healer::Pvectl,
                (false, true) => Healer::Manifest,
                (false, false) => Healer::Hand,
            };
            self.healed(&key, healer, now);
            return;
        }
        let by = match &delta.identity {
            Some(Identity::Guest { vmid, .. }) => {
                let place = self.threads.iter().find(|t| t.config.name == source).map(|t| t.place);
                place.and_then(|p| self.signs[p].actor(*vmid, &self.places[p].cache.ours(*vmid)))
            }
            Some(Identity::Pool(_) | Identity::Object { .. }) | None => None,
        };
        let identity = delta.identity.as_ref().map(ToString::to_string);
        let lasted = self.ledger.lasts(&key);
        let Some(spell) = self.ledger.seen(&key, identity, fields, by, now) else { return };
        self.ear.drift(&spell);
        if !lasted {
            self.meter.drift(source, None);
        }
        let text = said(&spell);
        self.tell(source, Some(&key.object), Level::Warning, "DriftSeen", text, Some(&spell));
    }

    fn healed(&mut self, key: &Key, by: Healer, now: u64) {
        let Some(spell) = self.ledger.gone(key, by, now) else { return };
        self.ear.drift(&spell);
        self.meter.drift(&key.source, Some(by));
        let seconds = spell.lasted_ms(now) / 1000;
        let text = format!("set right by {} after {seconds} s", by.as_str());
        self.tell(&key.source, Some(&key.object), Level::Normal, "DriftHealed", text, Some(&spell));
    }

    /// Objects that no manifest declares any more, and that are gone or let go.
    fn lost(&mut self, source: &str, plan: &Plan, now: u64) {
        let known: BTreeSet<&ResourceRef> = plan.deltas.iter().map(|d| &d.resource).collect();
        let mut state = self.shared.write();
        state.objects.retain(|(of, kind, name), _| of != source || known.contains(&ResourceRef::new(kind, name)));
        drop(state);
        let spells: Vec<Key> = self.ledger.of_source(source).filter(|k| !known.contains(&k.object)).cloned().collect();
        spells.iter().for_each(|key| self.healed(key, Healer::Manifest, now));
        let queued: Vec<Key> = self.queue.of_source(source).filter(|k| !known.contains(&k.object)).cloned().collect();
        queued.iter().for_each(|key| self.queue.drop(key, now));
    }

    /// What a look means: what is queued, proposed, refused.
    fn decide(&mut self, line: usize, plan: &Plan, verdict: &Verdict, why: Why, now: u64) {
        let config = self.threads[line].config.clone();
        let source = &config.name;
        let key = |object: &ResourceRef| Key { source: source.clone(), object: object.clone() };
        let Verdict { run, ask, quiet, refused, held } = verdict;
        for object in run {
            let quarrel = self.queue.is_quarrel(&key(object));
            self.queue.add(key(object), why, now);
            if self.queue.is_quarrel(&key(object)) && !quarrel {
                let text =
                    "somebody undoes what pvectl does, again and again; it is set right less often now".to_owned();
                self.tell(source, Some(object), Level::Warning, "Quarrel", text, None);
            }
        }
        quiet.iter().chain(ask).for_each(|object| self.queue.drop(&key(object), now));
        for (object, problem) in refused {
            self.queue.drop(&key(object), now);
            self.tell(source, Some(object), Level::Warning, "Refused", problem.clone(), None);
        }
        if let Some((deletes, limit)) = held {
            let text = format!(
                "{deletes} objects would be deleted, and the limit is {limit}: none is. If that is meant, raise `maxDeletes` of the source"
            );
            self.tell(source, None, Level::Warning, "TooManyDeletes", text, None);
        }
        // What is approved already is being carried out.
        let ask: BTreeSet<ResourceRef> = ask.iter().filter(|o| !self.queue.is_running(&key(o))).cloned().collect();
        let new = (!ask.is_empty()).then(|| {
            let within = u64::try_from(config.approve_within.0.as_millis()).unwrap_or(u64::MAX);
            let revision = self.threads[line].reading.as_ref().map(|r| r.revision.id.clone()).unwrap_or_default();
            proposal::propose(source, &revision, &proposal::part(plan, &ask), now, within)
        });
        let (new, stale) = proposal::replace(&mut self.shared.write().proposals, source, new);
        for old in stale {
            let text = format!("proposal {} is stale: what it was made from has changed", old.id);
            self.tell(source, None, Level::Normal, "ProposalStale", text, None);
        }
        if let Some(new) = new {
            let names = ask.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let text = format!("proposal {} waits for: pvectl approve {} ({names})", new.id, new.id);
            self.tell(source, None, Level::Normal, "Proposed", text, None);
        }
    }

    fn count(&self, source: &str, now: u64) {
        let mut state = self.shared.write();
        state.drift = self.ledger.open();
        let drifted = self.ledger.of_source(source).count();
        let ready = state.objects.values().filter(|o| o.source == source && look::is_ready(o)).count();
        if let Some(record) = state.sources.get_mut(source) {
            (record.ready, record.drifted, record.seen_ms) = (ready, drifted, now);
        }
    }

    /// A run has ended.
    fn ran(&mut self, ran: Ran, now: u64) {
        let Ran { id, line, batch, proposal, guests, began_ms, ended } = ran;
        let thread = &mut self.threads[line];
        let source = thread.config.name.clone();
        self.running[thread.place] -= 1;
        self.places[thread.place].cache.forget(&guests);
        thread.ran.extend(batch.objects.keys().map(|object| (object.clone(), self.moments)));
        thread.look_ms = Some(now);
        let took = now.saturating_sub(began_ms);
        let all = |text: String| batch.objects.keys().map(|o| (o.clone(), text.clone())).collect::<BTreeMap<_, _>>();
        let mut stale = None;
        let (mut failed, mut refused, mut open, mut steps) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new(), 0);
        match ended {
            Ok(Ok(report)) => {
                open = report.last.deltas.iter().filter(|d| d.is_open()).map(|d| d.resource.clone()).collect();
                steps = report.steps;
                (failed, refused) = (report.failed, report.refused);
                for (resource, hint) in report.hints {
                    failed.entry(resource).and_modify(|text| *text = format!("{text}\nhint: {hint}"));
                }
                if proposal.is_none() {
                    let touched =
                        |r: &ResourceRef| report.first.deltas.iter().any(|d| d.resource == *r && !d.steps.is_empty());
                    for object in
                        batch.objects.keys().filter(|o| touched(o) && !failed.contains_key(*o) && !open.contains(*o))
                    {
                        let first = report.first.deltas.iter().find(|d| d.resource == *object);
                        let text = first.map(done).unwrap_or_default();
                        self.tell(&source, Some(object), Level::Normal, "Applied", text, None);
                    }
                }
            }
            Ok(Err(Halt::Unreadable(error))) => failed = all(format!("the cluster could not be read: {error}")),
            Ok(Err(Halt::Blind(blind))) => {
                steps = blind.report.steps;
                failed = all(format!("the cluster went away: {}", blind.error));
            }
            Ok(Err(Halt::Refused(_, refusals))) => {
                let words = crate::daemon::look::words(&refusals);
                // Nothing was sent for any of them; those that nothing stands against are run without the others.
                refused.extend(words.keys().filter(|r| batch.objects.contains_key(*r)).cloned());
                open.extend(batch.objects.keys().filter(|r| !refused.contains(*r)).cloned());
                failed = words;
            }
            Ok(Err(Halt::Declined(_))) => stale = proposal.clone(),
            Err(bug) => failed = all(bug),
        }
        for object in batch.objects.keys() {
            let key = Key { source: source.clone(), object: object.clone() };
            let ended = match failed.get(object) {
                Some(_) if refused.contains(object) => Ended::Refused,
                Some(_) => Ended::Failed,
                None if open.contains(object) || stale.is_some() => Ended::Open,
                None => Ended::Well,
            };
            self.queue.done(&key, ended, now);
            if let Some(record) =
                self.shared.write().objects.get_mut(&(source.clone(), object.kind.clone(), object.name.clone()))
            {
                record.error = failed.get(object).cloned();
            }
        }
        let result = match (failed.is_empty(), open.is_empty()) {
            (false, _) => "error",
            (true, false) => "open",
            (true, true) => "success",
        };
        self.meter.run(&source, result, took);
        // A run that ends because the daemon does is no failure worth a message.
        if !self.ending {
            for (object, why) in &failed {
                self.tell(&source, Some(object), Level::Warning, "ApplyFailed", why.clone(), None);
            }
        }
        let mut state = self.shared.write();
        if let Some(mut run) = state.running.get(&id).cloned() {
            run.ended_ms = Some(now);
            run.steps = steps.max(run.steps);
            run.doing.clear();
            run.converged = Some(result == "success" && stale.is_none());
            run.failed = failed.iter().map(|(o, why)| (o.to_string(), why.clone())).collect();
            self.ear.run(&run);
            state.ended(run);
        }
        let verdict = match (&proposal, &stale) {
            (None, _) => None,
            (Some(_), Some(_)) => Some(crate::daemon::record::Verdict::Stale),
            (Some(_), None) => Some(crate::daemon::record::Verdict::Done),
        };
        if let (Some(id), Some(verdict)) = (&proposal, verdict)
            && let Some(record) = state.proposals.get_mut(id)
        {
            record.verdict = verdict;
        }
        drop(state);
        if let Some(id) = proposal {
            let (level, reason, text) = match stale {
                Some(_) => (
                    Level::Warning,
                    "ProposalStale",
                    format!("proposal {id} was approved, but what it was made from has changed: nothing was sent"),
                ),
                None => (Level::Normal, "ProposalDone", format!("proposal {id}: {steps} steps done")),
            };
            self.tell(&source, None, level, reason, text, None);
        }
    }

    /// Tells a moment to everybody.
    fn tell(
        &self,
        source: &str,
        object: Option<&ResourceRef>,
        level: Level,
        reason: &str,
        message: String,
        drift: Option<&DriftRecord>,
    ) {
        let mut state = self.shared.write();
        let revision = state.sources.get(source).map(|s| s.revision.clone()).filter(|r| !r.is_empty());
        let event = EventRecord {
            at_ms: self.clock.now_ms(),
            source: source.to_owned(),
            object: object.map(ToString::to_string),
            revision,
            level,
            reason: reason.to_owned(),
            message,
            count: 1,
        };
        let event = state.tell(event);
        drop(state);
        let place = event.object.as_deref().map_or_else(|| source.to_owned(), |object| format!("{source}: {object}"));
        match level {
            _ if event.count > 1 => tracing::debug!("{place}: {reason}: {}", event.message),
            Level::Normal => tracing::info!("{place}: {reason}: {}", event.message),
            Level::Warning => tracing::warn!("{place}: {reason}: {}", event.message),
        }
        self.ear.event(&event, drift);
    }

    fn answer(&mut self, ask: Ask) {
        let Ask { what, answer } = ask;
        let now = self.clock.now_ms();
        let said = self.wish(what, now);
        // Whoever asked may have gone.
        drop(answer.send(said));
    }

    fn wish(&mut self, what: Wish, now: u64) -> Result<String, String> {
        match what {
            Wish::Approve { id, by } => self.approve(&id, &by, now),
            Wish::Reject { id, by } => {
                let record = proposal::judge(&mut self.shared.write().proposals, &id, &by, false, now)?;
                self.tell(
                    &record.source,
                    None,
                    Level::Normal,
                    "ProposalRejected",
                    format!("proposal {id}, by {by}"),
                    None,
                );
                Ok(format!("proposal {id} is rejected"))
            }
            Wish::Suspend { source, by, why } => {
                let line = self.line(&source)?;
                let suspension = crate::daemon::suspend::Suspension { by: by.clone(), why: why.clone(), at_ms: now };
                let note = self.suspended.set(&source, Some(suspension))?;
                self.show_suspended(line);
                self.tell(&source, None, Level::Normal, "Suspended", format!("by {by}: {why}"), None);
                Ok(format!("source {source} is suspended: drift is reported, nothing is changed{note}"))
            }
            Wish::Resume { source, by } => {
                let line = self.line(&source)?;
                if self.threads[line].config.suspend {
                    return Err(format!("source {source} is suspended by its configuration: take `suspend: true` out"));
                }
                self.suspended.set(&source, None)?;
                self.show_suspended(line);
                self.threads[line].look_ms = Some(now);
                self.tell(&source, None, Level::Normal, "Resumed", format!("by {by}"), None);
                Ok(format!("source {source} goes on"))
            }
            Wish::Reconcile { source, object } => {
                let line = self.line(&source)?;
                let keys: Vec<Key> = self.queue.of_source(&source).cloned().collect();
                for key in keys.iter().filter(|k| object.as_ref().is_none_or(|o| k.object.to_string() == *o)) {
                    self.queue.moved(key);
                }
                let known = object.as_ref().is_none_or(|o| {
                    self.shared
                        .state()
                        .objects
                        .keys()
                        .any(|(s, kind, name)| *s == source && format!("{kind}/{name}") == *o)
                });
                if !known {
                    return Err(format!("source {source} declares no `{}`", object.unwrap_or_default()));
                }
                let thread = &mut self.threads[line];
                self.places[thread.place].cache.forget_all();
                (thread.moved, thread.look_ms) = (true, Some(now));
                // A poke that waits already says the same.
                drop(thread.pokes.try_send(Poke::Asked));
                Ok(format!("source {source} is read and compared anew"))
            }
            Wish::Pushed { urls, branch } => {
                for thread in &self.threads {
                    drop(thread.pokes.try_send(Poke::Pushed(urls.clone(), branch.clone())));
                }
                Ok("the sources that follow it are read".to_owned())
            }
        }
    }

    fn line(&self, source: &str) -> Result<usize, String> {
        self.threads.iter().position(|t| t.config.name == source).ok_or_else(|| {
            let names: Vec<&str> = self.threads.iter().map(|t| t.config.name.as_str()).collect();
            format!("there is no source `{source}`; there are: {}", names.join(", "))
        })
    }

    fn show_suspended(&self, line: usize) {
        let config = &self.threads[line].config;
        let said = self.suspended.of(&config.name).map(|s| format!("by {}: {}", s.by, s.why));
        let said = said.or_else(|| config.suspend.then(|| "by the configuration".to_owned()));
        if let Some(record) = self.shared.write().sources.get_mut(&config.name) {
            record.suspended = said;
        }
    }

    fn approve(&mut self, id: &str, by: &str, now: u64) -> Result<String, String> {
        let source = self.shared.state().proposals.get(id).map(|p| p.source.clone());
        if let Some(line) = source.as_deref().and_then(|s| self.threads.iter().position(|t| t.config.name == s))
            && self.is_suspended(&self.threads[line])
        {
            return Err(format!(
                "source {} is suspended; first: pvectl resume {}",
                self.threads[line].config.name, self.threads[line].config.name
            ));
        }
        let record = proposal::judge(&mut self.shared.write().proposals, id, by, true, now)?;
        let rows = record.plan["resources"].as_array().cloned().unwrap_or_default();
        let word = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let objects: Vec<ResourceRef> =
            rows.iter().map(|r| ResourceRef::new(word(r, "kind"), word(r, "name"))).collect();
        let mut batch = Batch { source: record.source.clone(), objects: BTreeMap::new() };
        for object in objects {
            let key = Key { source: record.source.clone(), object: object.clone() };
            if self.queue.take(&key, now) {
                batch.objects.insert(object, 0);
            }
        }
        self.tell(&record.source, None, Level::Normal, "Approved", format!("proposal {id}, by {by}"), None);
        self.start(batch, Some(id.to_owned()), now);
        Ok(format!("proposal {id} is approved and begins; watch it with: pvectl events"))
    }

    /// `--once`: everything was read and looked at, and what could be done is done.
    fn is_done(&self) -> bool {
        let looked =
            |t: &Thread| t.read && (t.reading.is_none() || t.failures > 0 || t.looks > 0 && !t.looking && !t.moved);
        let idle = self.running.iter().all(|n| *n == 0);
        let now = self.clock.now_ms();
        let pending = self
            .threads
            .iter()
            .any(|t| t.looking || t.reading.is_some() && t.failures == 0 && t.look_ms.is_some_and(|at| at <= now));
        let due = self.queue.wake_ms(|source| self.may_run(source)).is_some_and(|at| at <= now);
        self.threads.iter().all(looked) && idle && !pending && !due
    }
}

/// Drift in a sentence.
fn said(spell: &DriftRecord) -> String {
    let value = |v: &Option<String>| v.clone().unwrap_or_else(|| "PVE's default".to_owned());
    let field =
        |f: &crate::daemon::record::FieldRecord| format!("{} is {}, declared {}", f.path, value(&f.from), value(&f.to));
    let fields = spell.fields.iter().map(field).collect::<Vec<_>>().join("; ");
    match &spell.by {
        Some(by) => format!("{fields}; by {} ({})", by.user, by.what),
        None => fields,
    }
}

/// What a run did to an object, in a sentence.
fn done(delta: &Delta) -> String {
    delta.steps.iter().map(|step| step.title.as_str()).collect::<Vec<_>>().join(", ")
}
