//! The loop. One turn: what ended is taken in, what is due is set going, what anybody should see is written down. Position is
//! never remembered: a daemon that was killed looks, and goes on from what is there.

use crate::base::clock::Clock;
use crate::base::id::VmId;
use crate::daemon::config::{SourceConfig, WatchConfig};
use crate::daemon::drift::Ledger;
use crate::daemon::look::{self, Known};
use crate::daemon::meter::{Ear, Meter};
use crate::daemon::pace::Haste;
use crate::daemon::proposal;
use crate::daemon::queue::{Batch, Queue};
use crate::daemon::record::{DriftRecord, Level, RunRecord, SourceRecord};
use crate::daemon::run::ran::is_free;
use crate::daemon::shared::{Asked, Shared};
use crate::daemon::signs::Signs;
use crate::daemon::source::{Reading, Source};
use crate::daemon::suspend::Suspensions;
use crate::daemon::work::{self, Errand, Looked, Moment, Place, Poke, Tap, Work};
use crate::plan::assemble::Settings;
use crate::resource::reference::ResourceRef;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

mod taken;

mod seen;

mod windows;

mod runners;

mod listen;

mod told;

mod ran;

mod asked;

/// The loop turns at least this often, so that whoever watches it can tell that it lives.
const TURN_MAX: Duration = Duration::from_secs(5);
/// The least time between two looks of one source that nobody waits for.
const LOOK_GAP_MS: u64 = 500;
/// And the longest: a clock that is set forward makes a look seem long.
const LOOK_GAP_MAX_MS: u64 = 60_000;
/// A look may take this share of the time: one in so many.
const LOOK_SHARE: u64 = 5;
/// As long as this a look may just have waited for room in the budget of requests, which is no work.
const LOOK_WAIT_MS: u64 = 1_000;
/// A source with names of DNS is looked at this often: their addresses live about as long.
const NAMES_MS: u64 = 60_000;
/// The wait after a look that failed, and the longest.
const LOOK_AGAIN_MS: u64 = 2_000;
const LOOK_AGAIN_MAX_MS: u64 = 60_000;
/// Pokes of one source that wait; more of them say nothing new.
const POKES_MAX: usize = 8;
/// How often a cluster's clock is compared with ours.
const COMPARE_MS: u64 = 600_000;
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
    /// Somebody waits for the look in progress.
    urgent: Arc<AtomicBool>,
    /// The manifests moved since the last look.
    moved: bool,
    /// Looks that went well, and failures in a row.
    looks: u64,
    failures: u32,
    last_look_ms: u64,
    look_took_ms: u64,
    /// The guests of its objects, those too that steps for them are about.
    known: BTreeMap<ResourceRef, Known>,
    /// Some object is none of the cluster yet: a guest that comes may be it, or in its way.
    unbound: bool,
    /// Its runner pools for which GitHub is asked, by name.
    pools: BTreeMap<String, listen::Pool>,
    /// GitHub has something new since the last look.
    heard: bool,
    /// After how many moments each object's last run ended, as long as a look may be older than that.
    ran: BTreeMap<ResourceRef, u64>,
}

struct Daemon {
    clock: Arc<dyn Clock>,
    places: Vec<Place>,
    signs: Vec<Signs>,
    poll_failures: Vec<u32>,
    /// Whether each cluster was asked for signs at all, well or badly.
    polled: Vec<bool>,
    /// When each cluster's clock was last compared with ours.
    compared_ms: Vec<Option<u64>>,
    threads: Vec<Thread>,
    watch: WatchConfig,
    shared: Shared,
    ear: Arc<dyn Ear>,
    meter: Arc<dyn Meter>,
    queue: Queue,
    ledger: Ledger,
    suspended: Suspensions,
    work: FuturesUnordered<Work>,
    /// Who listens to GitHub, by line and pool.
    listeners: BTreeMap<(usize, String), listen::Ear>,
    /// Runs in progress on each cluster.
    running: Vec<usize>,
    /// Those among them that may take long: of these there are only so many at once.
    slow: Vec<BTreeSet<String>>,
    runs: u64,
    /// What ended so far, counted: tells before from after within one millisecond.
    moments: u64,
    /// The last time that the clock showed.
    last_ms: u64,
    once: bool,
    ending: bool,
}

/// Runs until it is asked to end, or, with `once`, until nothing is left to do.
pub async fn run(setup: Setup) -> End {
    let Setup { asked: mut asks, mut signal, .. } = setup;
    let mut daemon = Daemon {
        running: vec![0; setup.places.len()],
        slow: vec![BTreeSet::new(); setup.places.len()],
        signs: vec![Signs::default(); setup.places.len()],
        poll_failures: vec![0; setup.places.len()],
        polled: vec![false; setup.places.len()],
        compared_ms: vec![None; setup.places.len()],
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
        listeners: BTreeMap::new(),
        runs: 0,
        moments: 0,
        last_ms: 0,
        once: setup.once,
        ending: false,
    };
    daemon.begin(setup.lines);
    let clock = Arc::clone(&daemon.clock);
    let mut ends: Option<(Signal, BoxFuture<'_, ()>)> = None;
    loop {
        let now = daemon.now();
        daemon.turn(now);
        if let Some((why, _)) = &ends
            && daemon.running.iter().all(|n| *n == 0)
            && daemon.listeners.is_empty()
        {
            return End::Asked(*why, true);
        }
        if daemon.once && daemon.is_done() {
            return End::Done;
        }
        let wait = daemon.wake_ms(now).saturating_sub(now);
        let wait = Duration::from_millis(wait).min(TURN_MAX);
        tokio::select! {
            biased;
            Ok(()) = signal.changed() => {
                ends = match (*signal.borrow_and_update(), ends) {
                    (Signal::Go, ends) => ends,
                    // Whoever ends to begin anew may still be asked to end for good; not the other way round.
                    (why, Some((before, late))) => Some((if before == Signal::Stop { before } else { why }, late)),
                    (why, None) => {
                        daemon.end();
                        Some((why, clock.sleep(ENDING)))
                    }
                };
            }
            why = over(&mut ends) => return End::Asked(why, false),
            Some(moment) = daemon.work.next(), if !daemon.work.is_empty() => daemon.take(moment),
            Some(ask) = asks.recv() => daemon.answer(ask),
            () = clock.sleep(wait) => {}
        }
    }
}

/// Waits until the time is over that an end may take; for ever where none was asked for.
async fn over(ends: &mut Option<(Signal, BoxFuture<'_, ()>)>) -> Signal {
    match ends {
        Some((why, late)) => {
            late.await;
            *why
        }
        None => futures::future::pending().await,
    }
}

impl Daemon {
    /// The time. Where the clock was set back, everything that was planned by it goes back with it: nothing waits for longer.
    fn now(&mut self) -> u64 {
        let now = self.clock.now_ms();
        let back = self.last_ms.saturating_sub(now);
        if back > 0 {
            self.queue.set_back(back);
            self.compared_ms.fill(None);
            self.listeners.values_mut().for_each(|ear| ear.set_back(back));
            for thread in &mut self.threads {
                thread.look_ms = thread.look_ms.map(|at| at.saturating_sub(back));
                thread.last_look_ms = thread.last_look_ms.saturating_sub(back);
            }
        }
        self.last_ms = now;
        now
    }

    fn begin(&mut self, lines: Vec<Line>) {
        for (place, cluster) in self.places.iter().enumerate() {
            let Place { cache, .. } = cluster;
            cache.budget(self.watch.requests_per_second);
            // At once: who changed what before we came is known before anything is told.
            let (cache, clock) = (Arc::clone(cache), Arc::clone(&self.clock));
            self.work.push(work::poll(place, cache, clock, Duration::ZERO, 0, (Vec::new(), None)));
            if !self.once {
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
                urgent: Arc::default(),
                moved: false,
                looks: 0,
                failures: 0,
                last_look_ms: 0,
                look_took_ms: 0,
                known: BTreeMap::new(),
                unbound: false,
                pools: BTreeMap::new(),
                heard: false,
                ran: BTreeMap::new(),
            });
        }
        let names: BTreeSet<&String> = self.threads.iter().map(|t| &t.config.name).collect();
        state.sources.retain(|name, _| names.contains(name));
        state.objects.retain(|(source, ..), _| names.contains(source));
        state.pools.retain(|(source, _), _| names.contains(source));
        // What was queued before this life is queued no more.
        state.objects.values_mut().for_each(|object| (object.failures, object.next_ms) = (0, None));
        drop(state);
        (0..self.threads.len()).for_each(|line| self.show_suspended(line));
    }

    fn scan(&self, place: usize) -> Work {
        let WatchConfig { requests_per_second, scan, .. } = self.watch;
        work::scan(place, Arc::clone(&self.places[place].cache), Arc::clone(&self.clock), requests_per_second, scan.0)
    }

    /// No step is begun any more.
    fn end(&mut self) {
        self.ending = true;
        self.places.iter().for_each(|place| place.cache.close());
        // Whoever works goes on working: only the listening ends.
        self.hang_up();
    }

    fn is_suspended(&self, thread: &Thread) -> bool {
        thread.config.suspend || self.suspended.of(&thread.config.name).is_some()
    }

    /// When something is due that nobody will tell us of.
    fn wake_ms(&self, now: u64) -> u64 {
        if self.ending {
            return u64::MAX;
        }
        let looks = self
            .threads
            .iter()
            .filter(|t| !t.looking && t.reading.is_some() && self.polled[t.place])
            .filter_map(|t| t.look_ms);
        let may = self.may_run();
        let queue = self.queue.wake_ms(|key| is_free(&may, key));
        looks.chain(queue).chain(self.listens_ms()).min().unwrap_or(u64::MAX).max(now)
    }

    /// Sets going what is due, and shows how things stand.
    fn turn(&mut self, now: u64) {
        if !self.ending {
            self.listen(now);
            self.looks(now);
            loop {
                let may = self.may_run();
                let Some(batch) = self.queue.next(now, |key| is_free(&may, key)) else { break };
                batch.objects.values().for_each(|waited| self.meter.waited(*waited));
                let Batch { source, objects } = batch;
                let thread = self.threads.iter().find(|t| t.config.name == source);
                let parts = thread.map(|t| look::part(objects, &t.known)).unwrap_or_default();
                for (objects, slow) in parts {
                    self.start(Batch { source: source.clone(), objects }, None, slow, now);
                }
            }
        }
        self.queue.sweep(now);
        let (added, retried) = self.queue.totals();
        self.meter.queue(self.queue.depth(), added, retried);
        self.meter.memory("keys", self.queue.len());
        self.meter.memory("answers", self.places.iter().map(|place| place.cache.len()).sum());
        let expired = proposal::expire(&mut self.shared.write().proposals, now);
        for old in expired {
            let text = format!("proposal {} was not approved in time", old.id);
            self.tell(&old.source, None, Level::Warning, "ProposalExpired", text, None);
            self.look_soon(&old.source, now);
        }
        let budgets = self.budgets();
        let mut state = self.shared.write();
        (state.turned_ms, state.budgets) = (now, budgets);
        self.meter.memory("events", state.events.len());
        self.meter.memory("runs", state.runs.len());
        for key in self.queue.touched() {
            let at = (key.source.clone(), key.object.kind.clone(), key.object.name.clone());
            if let Some(object) = state.objects.get_mut(&at) {
                (object.failures, object.next_ms) = self.queue.prospects(&key);
            }
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
            let due = thread.look_ms.is_some_and(|due| due <= now) && !thread.looking && self.polled[thread.place];
            let (Some(reading), true) = (thread.reading.clone(), due) else { continue };
            let place = &self.places[thread.place];
            let settings = self.settings(line);
            // For manifests that moved somebody waits; else it is watching, and keeps to its budget.
            let urgent = Arc::new(AtomicBool::new(thread.moved || thread.heard));
            let haste = Haste::Soon(Arc::clone(&urgent));
            self.work.push(work::look(
                (line, self.moments),
                (&thread.config.name, reading),
                place,
                Arc::clone(&self.clock),
                settings,
                haste,
            ));
            let thread = &mut self.threads[line];
            (thread.looking, thread.look_ms, thread.urgent, thread.heard) = (true, None, urgent, false);
        }
    }

    fn settings(&self, line: usize) -> Settings {
        let Thread { config, place, reading, .. } = &self.threads[line];
        let partial = reading.as_ref().is_some_and(|r| r.loaded.partial);
        let Place { root_ticket, links, outside, .. } = &self.places[*place];
        let prune = config.prune && !partial;
        // While a run of ours goes on, the lock is not one that was left.
        let left_lock = if self.running[*place] == 0 { outside.left_lock() } else { None };
        let (root_ticket, links, ways) = (*root_ticket, links.clone(), outside.ways());
        Settings { partial, prune, root_ticket, links, ways, left_lock, ..Settings::default() }
    }

    /// Begins a run. `slow`: it may take long.
    fn start(&mut self, batch: Batch, approved: Option<String>, slow: bool, now: u64) {
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
        if slow {
            self.slow[thread.place].insert(id.clone());
        }
        let guests = self.guests_of(&batch.source, &objects);
        let errand = Errand { id, line, batch, proposal: approved, revision, guests, settings, consent };
        self.work.push(work::run(errand, reading, place, Arc::clone(&self.clock), self.shared.clone()));
    }

    /// The guests of some objects, as far as the last look knows them.
    fn guests_of(&self, source: &str, objects: &BTreeSet<ResourceRef>) -> BTreeSet<VmId> {
        let Some(thread) = self.threads.iter().find(|t| t.config.name == source) else { return BTreeSet::new() };
        objects.iter().filter_map(|object| thread.known.get(object)).flat_map(|k| &k.guests).copied().collect()
    }

    fn look_soon(&mut self, source: &str, at: u64) {
        if let Some(thread) = self.threads.iter_mut().find(|t| t.config.name == source) {
            thread.look_ms = Some(thread.look_ms.map_or(at, |due| due.min(at)));
        }
    }

    /// A look that nobody waits for: not too soon after the last one, and not too often if it is long.
    fn look_later(&mut self, line: usize, now: u64) {
        let thread = &mut self.threads[line];
        let at = now.max(thread.last_look_ms + thread.look_gap_ms());
        thread.look_ms = Some(thread.look_ms.map_or(at, |due| due.min(at)));
    }

    /// Something has ended.
    fn take(&mut self, moment: Moment) {
        let now = self.now();
        self.moments += 1;
        match moment {
            Moment::Read { line, tap, read } => {
                self.read(line, *read, now);
                if !self.once && !self.ending {
                    self.work.push(work::read(line, tap, false));
                }
            }
            Moment::Polled { place, answers, live, ahead_ms } => {
                if let Some(ahead_ms) = ahead_ms {
                    self.signs[place].compared(ahead_ms);
                    self.compared_ms[place] = Some(now);
                }
                let moved = self.signs[place].listed(&live);
                self.news(place, &moved, now);
                self.polled(place, answers, now);
            }
            Moment::Scanned { place, moved, others } => {
                self.news(place, &moved, now);
                if others {
                    // What was read is known anew; whoever declares it looks.
                    (0..self.threads.len())
                        .filter(|line| self.threads[*line].place == place)
                        .collect::<Vec<_>>()
                        .into_iter()
                        .for_each(|line| self.look_later(line, now));
                }
                if !self.ending {
                    self.work.push(self.scan(place));
                }
            }
            Moment::Looked(looked) => {
                let Looked { line, began_ms, after, reading, glance } = *looked;
                let thread = &mut self.threads[line];
                thread.looking = false;
                (thread.look_took_ms, thread.last_look_ms) = (now.saturating_sub(began_ms), now);
                self.looked(line, after, &reading, glance, now);
            }
            Moment::Ran(ran) => self.ran(*ran, now),
            Moment::Listened { key, ended } => self.listened(key, ended, now),
        }
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
        let may = self.may_run();
        let due = self.queue.wake_ms(|key| is_free(&may, key)).is_some_and(|at| at <= now);
        self.threads.iter().all(looked) && idle && !pending && !due
    }
}
