//! The daemon's loop on the simulator, on virtual time: what it does without being told, and what it leaves alone.

use crate::fleet::{fleet, manifests};
use crate::world::{Lab, Shelf, bound};
use futures::future::BoxFuture;
use pvectl::base::clock::Clock;
use pvectl::base::links::Links;
use pvectl::daemon::cache::Cache;
use pvectl::daemon::config::{SourceConfig, WatchConfig};
use pvectl::daemon::meter::{NoEar, NoMeter};
use pvectl::daemon::record::{Mode, SourceRecord, State, Verdict};
use pvectl::daemon::run::{End, Line, Setup, Signal, run};
use pvectl::daemon::shared::{Shared, Wish};
use pvectl::daemon::source::{Broken, Reading, Revision, Source};
use pvectl::daemon::suspend::Suspensions;
use pvectl::daemon::work::{Outside, Place};
use pvectl::engine::door::Door;
use pvectl::github::hub::Hub;
use pvectl::lockout::way::Way;
use pvectl::pve::api::Api;
use pvectl::pve::error::PveError;
use pvectl::pve::request::{Call, Method, Query};
use pvectl::sim::Sim;
use pvectl::sim::faults::{Fault, FaultKind};
use pvectl::sim::front::SimApi;
use pvectl::sim::github::front::SimSecrets;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Manifests that a test writes and changes.
#[derive(Clone)]
pub(crate) struct Written {
    set: String,
    text: Arc<Mutex<String>>,
    moved: Arc<Notify>,
}

impl Written {
    fn new(text: &str, set: &str) -> Written {
        Written { set: set.to_owned(), text: Arc::new(Mutex::new(text.to_owned())), moved: Arc::new(Notify::new()) }
    }

    pub(crate) fn write(&self, text: &str) {
        *self.text.lock().expect("no test panics with it") = text.to_owned();
        self.moved.notify_one();
    }
}

impl Source for Written {
    fn origin(&self) -> String {
        "a test".into()
    }

    fn follows(&self, _urls: &[String], _branch: &str) -> bool {
        false
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.moved.notified().await })
    }

    fn read(&mut self) -> BoxFuture<'_, Result<Reading, Broken>> {
        let (text, set) = (self.text.lock().expect("no test panics with it").clone(), self.set.clone());
        Box::pin(async move {
            let (loaded, desired) = bound(&text, &set);
            if pvectl::base::diagnostic::has_errors(&loaded.diagnostics) {
                let diagnostics = loaded.diagnostics.iter().map(|d| d.message.clone()).collect();
                return Err(Broken { revision: None, message: "errors in the manifests".into(), diagnostics });
            }
            let id = text.bytes().fold(7_u64, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
            Ok(Reading { revision: Revision { id: format!("{id:x}"), subject: None }, loaded, desired })
        })
    }
}

/// Time that passes when everybody waits, for the daemon and the cluster alike; the daemon's clock may be set.
#[derive(Clone)]
pub(crate) struct Time {
    sim: Sim,
    from_ms: u64,
    from: Instant,
    set_ms: Arc<AtomicI64>,
}

impl Time {
    fn of(sim: &Sim) -> Time {
        let from_ms = sim.with_world(|w| w.clock_ms);
        Time { sim: sim.clone(), from_ms, from: Instant::now(), set_ms: Arc::default() }
    }

    /// Sets the daemon's clock, forward or back.
    pub(crate) fn set(&self, by_ms: i64) {
        self.set_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Brings the cluster's time up to ours.
    fn tick(&self) -> u64 {
        let now = self.from_ms + u64::try_from(self.from.elapsed().as_millis()).expect("a short test");
        let behind = now.saturating_sub(self.sim.with_world(|w| w.clock_ms));
        if behind > 0 {
            self.sim.advance(Duration::from_millis(behind));
        }
        now.saturating_add_signed(self.set_ms.load(Ordering::Relaxed))
    }
}

impl Clock for Time {
    fn now_ms(&self) -> u64 {
        self.tick()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            tokio::time::sleep(duration).await;
            self.tick();
        })
    }
}

/// What the way to the cluster is like.
#[derive(Default)]
pub(crate) struct Weather {
    /// Nothing gets through.
    pub(crate) down: AtomicBool,
    /// One answer in so many is lost; 0: none.
    pub(crate) loses: AtomicU64,
    /// Requests so far.
    count: AtomicU64,
}

impl Weather {
    fn passes(&self, request: &impl ToString) -> Result<(), PveError> {
        let (request, cause) = (request.to_string(), "no route to host".to_owned());
        if self.down.load(Ordering::Relaxed) { Err(PveError::Unsent { request, cause, hint: None }) } else { Ok(()) }
    }

    /// What becomes of an answer on its way back.
    fn back(&self, request: &impl ToString, answer: Result<Value, PveError>) -> Result<Value, PveError> {
        let (count, loses) = (self.count.fetch_add(1, Ordering::Relaxed), self.loses.load(Ordering::Relaxed));
        // Not each n-th: what is asked in a fixed order would always meet the same request.
        let lost = loses > 0 && (count.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33).is_multiple_of(loses);
        if lost { Err(PveError::Lost { request: request.to_string(), cause: "reset".into() }) } else { answer }
    }
}

/// The cluster, a few milliseconds away, counting what it is asked.
struct Wire {
    api: SimApi,
    time: Time,
    reads: Arc<AtomicUsize>,
    weather: Arc<Weather>,
    /// When each was.
    times: Arc<Mutex<Vec<Instant>>>,
}

impl Api for Wire {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.times.lock().expect("no test panics with it").push(Instant::now());
        Box::pin(async move {
            self.time.sleep(Duration::from_millis(5)).await;
            self.weather.passes(query)?;
            self.weather.back(query, self.api.get(query).await)
        })
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        Box::pin(async move {
            self.time.sleep(Duration::from_millis(5)).await;
            self.weather.passes(call)?;
            self.weather.back(call, self.api.send(call).await)
        })
    }
}

/// Nothing is known of the way to the cluster.
struct Nowhere;

impl Outside for Nowhere {
    fn ways(&self) -> Vec<Way> {
        Vec::new()
    }

    fn left_lock(&self) -> Option<String> {
        None
    }
}

/// A daemon at work.
pub(crate) struct Running {
    reads: Arc<AtomicUsize>,
    times: Arc<Mutex<Vec<Instant>>>,
    pub(crate) shared: Shared,
    pub(crate) written: Written,
    signal: watch::Sender<Signal>,
    pub(crate) time: Time,
    pub(crate) weather: Arc<Weather>,
    handle: tokio::task::JoinHandle<End>,
}

fn setup(lab: &Lab, text: &str, shape: impl FnOnce(&mut SourceConfig), once: bool) -> (Setup, Ends) {
    let mut config = SourceConfig::of_folder("lab", PathBuf::from("/nowhere"));
    config.mode = Mode::Enforce;
    shape(&mut config);
    let written = Written::new(text, config.set.as_deref().unwrap_or("lab"));
    let time = Time::of(&lab.sim);
    let reads = Arc::new(AtomicUsize::new(0));
    let clock: Arc<dyn Clock> = Arc::new(time.clone());
    let weather = Arc::new(Weather::default());
    let times = Arc::new(Mutex::new(Vec::new()));
    let wire = Wire {
        api: lab.sim.api(),
        time: time.clone(),
        reads: Arc::clone(&reads),
        weather: Arc::clone(&weather),
        times: Arc::clone(&times),
    };
    let hub = Arc::new(Hub::new(Arc::new(lab.sim.github()), Arc::clone(&clock), Arc::new(SimSecrets)));
    let door = Door::of(Arc::new(wire)).with_hub(Arc::clone(&hub));
    let cache = Cache::new("sim", Arc::new(door), Arc::clone(&clock), Arc::new(NoMeter));
    let place = Place {
        name: "sim".into(),
        cache: Arc::new(cache),
        names: Arc::new(lab.sim.names()),
        files: Arc::new(Shelf::default()),
        outside: Arc::new(Nowhere),
        root_ticket: true,
        links: Links::Every,
        github: hub,
    };
    let (shared, asked) = Shared::new(State::default());
    let (signal, receiver) = watch::channel(Signal::Go);
    let setup = Setup {
        clock,
        places: vec![place],
        lines: vec![Line { config, place: 0, source: Box::new(written.clone()) }],
        watch: WatchConfig::default(),
        shared: shared.clone(),
        asked,
        signal: receiver,
        ear: Arc::new(NoEar),
        meter: Arc::new(NoMeter),
        open_drift: Vec::new(),
        suspended: Suspensions::default(),
        once,
    };
    (setup, Ends { shared, written, signal, reads, times, time, weather })
}

/// How a test reaches a daemon.
struct Ends {
    shared: Shared,
    written: Written,
    signal: watch::Sender<Signal>,
    reads: Arc<AtomicUsize>,
    times: Arc<Mutex<Vec<Instant>>>,
    time: Time,
    weather: Arc<Weather>,
}

impl Running {
    fn start(lab: &Lab, text: &str, shape: impl FnOnce(&mut SourceConfig)) -> Running {
        Running::shaped(lab, text, shape, |_| {})
    }

    /// The same, with something else about it.
    pub(crate) fn shaped(
        lab: &Lab,
        text: &str,
        shape: impl FnOnce(&mut SourceConfig),
        more: impl FnOnce(&mut Setup),
    ) -> Running {
        let (mut setup, Ends { shared, written, signal, reads, times, time, weather }) = setup(lab, text, shape, false);
        more(&mut setup);
        Running { shared, written, signal, reads, times, time, weather, handle: tokio::spawn(run(setup)) }
    }

    /// Lets virtual time pass until something holds; the test fails when it does not within `seconds`.
    #[track_caller]
    pub(crate) fn until(
        &self,
        seconds: u64,
        what: &str,
        holds: impl Fn(&State) -> bool,
    ) -> impl Future<Output = Duration> {
        let caller = std::panic::Location::caller();
        let (shared, what) = (self.shared.clone(), what.to_owned());
        async move {
            let began = Instant::now();
            while !holds(&shared.state()) {
                let state = shared.state().clone();
                let late = began.elapsed() > Duration::from_secs(seconds);
                assert!(!late, "{caller}: not within {seconds} s: {what}\n{state:#?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            began.elapsed()
        }
    }

    pub(crate) async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    pub(crate) async fn stop(self) -> End {
        self.signal.send(Signal::Stop).expect("it runs");
        self.handle.await.expect("no panic")
    }
}

pub(crate) fn on_virtual_time<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future)
}

pub(crate) fn ready(state: &State, objects: usize) -> bool {
    let all = |lab: &SourceRecord| lab.ready == objects && lab.objects == objects;
    state.unready.is_none() && state.sources.get("lab").is_some_and(all)
}

const WEB: &str = "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {name: web}\nspec: {vmid: 500, node: pve1, hardware: {cores: 2, memory: 1Gi}, power: Stopped}\n";
const POOL: &str = "---\napiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {name: team}\nspec: {comment: ours}\n";

/// Somebody changes a machine by hand.
pub(crate) fn by_hand(sim: &Sim, vmid: u32, key: &str, value: &str) {
    let call = Call::new(Method::Put, format!("/nodes/pve1/qemu/{vmid}/config")).with(key, value);
    crate::world::run(sim.api().send(&call)).expect("a change by hand");
}

#[test]
fn it_makes_what_is_written_and_follows_what_is_written_next() {
    on_virtual_time(async {
        let lab = Lab::homelab();
        let daemon = Running::start(&lab, WEB, |_| {});
        daemon.until(60, "the machine is made", |s| ready(s, 1)).await;
        daemon.written.write(&format!("{}{POOL}", WEB.replace("cores: 2", "cores: 4")));
        daemon.until(60, "the change is made", |s| ready(s, 2)).await;
        assert_eq!(lab.sim.with_world(|w| w.guests[&500].config["cores"].clone()), "4");
        assert!(lab.sim.with_world(|w| w.pools.contains_key("team")));
        let state = daemon.shared.state().clone();
        assert!(state.drift.is_empty() && state.running.is_empty());
        assert!(state.events.iter().any(|e| e.reason == "Applied" && e.object.as_deref() == Some("Pool/team")));
        assert_eq!(daemon.stop().await, End::Asked(Signal::Stop, true));
    });
}

#[test]
fn a_change_by_hand_is_told_with_its_author_and_healed() {
    on_virtual_time(async {
        let lab = Lab::homelab();
        let daemon = Running::start(&lab, WEB, |_| {});
        daemon.until(60, "the machine is made", |s| ready(s, 1)).await;
        daemon.pass(30).await;
        by_hand(&lab.sim, 500, "cores", "8");
        let took = daemon
            .until(10, "it is told", |s| {
                s.events.iter().any(|e| e.reason == "DriftSeen" && e.message.contains("cores"))
            })
            .await;
        assert!(took < Duration::from_secs(4), "{took:?}");
        daemon.until(30, "it is healed", |s| s.events.iter().any(|e| e.reason == "DriftHealed")).await;
        assert_eq!(lab.sim.with_world(|w| w.guests[&500].config["cores"].clone()), "2");
        let state = daemon.shared.state().clone();
        let seen = state.events.iter().find(|e| e.reason == "DriftSeen").expect("told");
        assert!(seen.message.contains("root@pam") && seen.message.contains("update VM 500"), "{}", seen.message);
        daemon.pass(60).await;
        let mut runs = Vec::new();
        for n in 0..10 {
            let before = daemon.shared.state().runs.len();
            by_hand(&lab.sim, 500, "cores", "8");
            // Others of the cluster keep it looking meanwhile.
            daemon.pass(n % 4).await;
            by_hand(&lab.sim, 500, "memory", "4096");
            daemon.pass(900).await;
            runs.push(daemon.shared.state().runs.len() - before);
        }
        assert!(
            runs.iter().all(|n| (1..=2).contains(n)),
            "a change by hand takes a run, two take two at most: {runs:?}"
        );
        daemon.stop().await;
    });
}

#[test]
fn what_is_no_guest_is_watched_too() {
    on_virtual_time(async {
        let lab = Lab::homelab();
        let group = "apiVersion: pvectl/v1alpha1\nkind: SecurityGroup\nmetadata: {name: web}\nspec: {comment: ours, rules: [{type: in, action: ACCEPT, macro: SSH}]}\n";
        let daemon = Running::start(&lab, group, |_| {});
        daemon.until(60, "the group is made", |s| ready(s, 1)).await;
        daemon.pass(60).await;
        let rule = Call::new(Method::Put, "/cluster/firewall/groups/web/0").with("macro", "HTTP");
        crate::world::run(lab.sim.api().send(&rule)).expect("a change by hand");
        daemon.until(30, "it is told", |s| s.events.iter().any(|e| e.reason == "DriftSeen")).await;
        daemon.until(30, "it is healed", |s| s.events.iter().any(|e| e.reason == "DriftHealed")).await;
        daemon.stop().await;
    });
}

#[test]
fn what_may_only_be_watched_is_reported_and_left_alone() {
    on_virtual_time(async {
        let lab = Lab::homelab();
        let first = Running::start(&lab, WEB, |_| {});
        first.until(60, "the machine is made", |s| ready(s, 1)).await;
        first.stop().await;
        let daemon = Running::start(&lab, WEB, |c| c.mode = Mode::Observe);
        daemon.until(60, "it has looked", |s| ready(s, 1)).await;
        by_hand(&lab.sim, 500, "cores", "8");
        daemon.until(20, "it drifts", |s| s.drift.len() == 1).await;
        // Another one that begins now knows who it was.
        let late = Running::start(&lab, WEB, |c| c.mode = Mode::Observe);
        late.until(20, "it drifts", |s| s.drift.first().is_some_and(|d| d.by.is_some())).await;
        late.stop().await;
        daemon.pass(900).await;
        assert_eq!(lab.sim.with_world(|w| w.guests[&500].config["cores"].clone()), "8");
        by_hand(&lab.sim, 500, "cores", "2");
        daemon.until(20, "the hand that put it back is told", |s| s.drift.is_empty()).await;
        let state = daemon.shared.state().clone();
        assert!(state.events.iter().any(|e| e.reason == "DriftHealed" && e.message.contains("hand")));
        assert!(state.runs.is_empty());
        daemon.stop().await;
    });
}

#[test]
fn a_proposal_waits_is_approved_once_and_is_refused_when_stale() {
    on_virtual_time(async {
        let lab = Lab::homelab();
        let daemon = Running::start(&lab, WEB, |c| c.mode = Mode::Propose);
        let waiting = |s: &State| s.proposals.values().find(|p| p.verdict == Verdict::Waiting).map(|p| p.id.clone());
        daemon.until(60, "a proposal", |s| waiting(s).is_some()).await;
        daemon.pass(60).await;
        assert!(!lab.sim.with_world(|w| w.guests.contains_key(&500)), "nobody agreed");
        let id = waiting(&daemon.shared.state()).expect("it waits");
        let approve = |id: &str| Wish::Approve { id: id.to_owned(), by: "anna".into() };
        daemon.shared.ask(approve(&id)).await.expect("it is approved");
        daemon.until(60, "it is done", |s| ready(s, 1)).await;
        assert_eq!(daemon.shared.state().proposals[&id].verdict, Verdict::Done);
        assert!(daemon.shared.ask(approve(&id)).await.is_err_and(|why| why.contains("is done")));
        // A second plan is made, and then the machine moves under it.
        daemon.written.write(&WEB.replace("cores: 2", "cores: 4"));
        daemon.until(60, "another proposal", |s| waiting(s).is_some()).await;
        let old = waiting(&daemon.shared.state()).expect("it waits");
        by_hand(&lab.sim, 500, "description", "moved");
        daemon.until(60, "the first is stale", |s| s.proposals[&old].verdict == Verdict::Stale).await;
        assert!(daemon.shared.ask(approve(&old)).await.is_err_and(|why| why.contains("has changed")));
        daemon.stop().await;
    });
}

#[test]
fn a_broken_revision_leaves_the_last_good_one_in_force() {
    on_virtual_time(async {
        let lab = Lab::homelab();
        let daemon = Running::start(&lab, WEB, |c| c.prune = true);
        daemon.until(60, "the machine is made", |s| ready(s, 1)).await;
        daemon.written.write("kind: Nonsense\n");
        daemon.until(20, "it is told", |s| s.events.iter().any(|e| e.reason == "SourceBroken")).await;
        by_hand(&lab.sim, 500, "cores", "8");
        daemon.until(60, "the good revision is healed", |s| s.events.iter().any(|e| e.reason == "DriftHealed")).await;
        assert!(!daemon.shared.state().sources["lab"].diagnostics.is_empty());
        daemon.written.write(WEB);
        daemon.until(20, "it is mended", |s| s.events.iter().any(|e| e.reason == "SourceMended")).await;
        assert!(lab.sim.with_world(|w| w.guests.contains_key(&500)));
        daemon.stop().await;
    });
}

#[test]
fn what_is_suspended_is_watched_only_and_what_destroys_waits_for_a_person() {
    on_virtual_time(async {
        let lab = Lab::homelab();
        let daemon = Running::start(&lab, &format!("{WEB}{POOL}"), |c| c.prune = true);
        daemon.until(60, "all is made", |s| ready(s, 2)).await;
        let suspend = Wish::Suspend { source: "lab".into(), by: "anna".into(), why: "a test".into() };
        daemon.shared.ask(suspend).await.expect("suspended");
        by_hand(&lab.sim, 500, "cores", "8");
        daemon.until(20, "it drifts", |s| s.drift.len() == 1).await;
        daemon.pass(300).await;
        assert_eq!(lab.sim.with_world(|w| w.guests[&500].config["cores"].clone()), "8");
        daemon.shared.ask(Wish::Resume { source: "lab".into(), by: "anna".into() }).await.expect("resumed");
        daemon.until(60, "it is healed", |s| s.drift.is_empty()).await;
        // The machine leaves the manifests: to prune it destroys data, and nobody agreed to that.
        daemon.written.write(&POOL.replace("---\n", ""));
        daemon
            .until(60, "it waits for a person", |s| s.proposals.values().any(|p| p.verdict == Verdict::Waiting))
            .await;
        daemon.pass(300).await;
        assert!(lab.sim.with_world(|w| w.guests.contains_key(&500)));
        let id = daemon.shared.state().proposals.values().find(|p| p.verdict == Verdict::Waiting).map(|p| p.id.clone());
        let id = id.expect("it waits");
        daemon.shared.ask(Wish::Approve { id: id.clone(), by: "anna".into() }).await.expect("approved");
        daemon.until(60, "it is gone", |s| s.proposals[&id].verdict == Verdict::Done && ready(s, 1)).await;
        assert!(!lab.sim.with_world(|w| w.guests.contains_key(&500)));
        daemon.stop().await;
    });
}

#[test]
fn once_ends_when_nothing_is_left() {
    on_virtual_time(async {
        let lab = Lab::homelab();
        let (setup, Ends { shared, .. }) = setup(&lab, &format!("{WEB}{POOL}"), |_| {}, true);
        assert_eq!(run(setup).await, End::Done);
        assert!(ready(&shared.state(), 2), "{:#?}", shared.state());
    });
}

const HOURLY: &str = "apiVersion: pvectl/v1alpha1\nkind: SnapshotPolicy\nmetadata: {name: hourly}\nspec: {selector: {vmids: [8000, 8200]}, schedule: hourly, jitter: 5m, freshness: 90m, retention: {keepLast: 3}}\n";

/// When the snapshots of a guest were due, and when they were taken, in seconds since 1970.
fn kept(lab: &Lab, vmid: u32) -> Vec<(i64, i64)> {
    let due = |name: &str| pvectl::retention::class::slot(name).expect("a policy's name");
    lab.sim.with_world(|w| {
        let time = |s: &pvectl::sim::world::Snapshot| s.config["snaptime"].parse().expect("a time");
        w.guests[&vmid].snapshots.iter().map(|(name, s)| (due(name), time(s))).collect()
    })
}

#[test]
fn a_policy_is_carried_out_in_time_hour_after_hour() {
    on_virtual_time(async {
        let lab = Lab::homelab();
        let daemon = Running::start(&lab, HOURLY, |_| {});
        daemon.until(60, "the first are taken", |s| ready(s, 1) && s.objects.len() == 3).await;
        daemon.pass(6 * 3600).await;
        for vmid in [8000, 8200] {
            let all = kept(&lab, vmid);
            assert_eq!(all.len(), 3, "{all:?}");
            assert!(all.windows(2).all(|w| w[1].0 - w[0].0 == 3600), "{all:?}");
            assert!(all.iter().all(|(due, at)| (0..=300 + 15).contains(&(at - due))), "in its turn, and soon: {all:?}");
        }
        let state = daemon.shared.state().clone();
        let newest = |s: &State| s.objects.values().find_map(|o| o.newest_ms);
        assert!(newest(&state).is_some_and(|at| at > 0) && ready(&state, 1));
        // Nobody can take any more: after a while somebody is told, and once.
        lab.sim.inject(Fault::on("POST", "/snapshot", FaultKind::TaskFails("no space left on device".into())).always());
        daemon.pass(4 * 3600).await;
        let state = daemon.shared.state().clone();
        let old = |s: &State| s.events.iter().filter(|e| e.reason == "SnapshotsTooOld").map(|e| e.count).sum::<u32>();
        assert_eq!(old(&state), 2, "one for each guest: {:#?}", state.events);
        assert!(!ready(&state, 1) && kept(&lab, 8000).len() == 3, "and nothing is pruned");
        lab.sim.clear_faults();
        daemon.until(3600, "they are taken again", |s| ready(s, 1)).await;
        assert!(daemon.shared.state().events.iter().any(|e| e.reason == "SnapshotsFresh"));
        daemon.stop().await;
    });
}

#[test]
fn a_lost_daemon_misses_one_and_no_run_takes_it_twice() {
    on_virtual_time(async {
        let lab = Lab::homelab();
        for hours in [0_u64, 5, 1] {
            lab.sim.advance(Duration::from_secs(hours * 3600));
            // As from cron, each time a new process.
            let (setup, Ends { shared, .. }) = setup(&lab, HOURLY, |_| {}, true);
            assert_eq!(run(setup).await, End::Done);
            assert!(ready(&shared.state(), 1), "{:#?}", shared.state());
        }
        let all = kept(&lab, 8200);
        assert_eq!(all.len(), 3, "one was made up for, not five: {all:?}");
    });
}

#[test]
fn one_that_ends_sends_nothing_more() {
    on_virtual_time(async {
        let lab = Lab::homelab();
        let many: String = (0..12)
            .map(|n| format!("---\n{}", WEB.replace("web", &format!("w{n}")).replace("500", &format!("5{n:02}"))))
            .collect();
        let daemon = Running::start(&lab, &many, |_| {});
        daemon.until(60, "it has begun", |s| s.running.values().any(|r| r.steps > 0)).await;
        let sim = lab.sim.clone();
        let shared = daemon.shared.clone();
        assert_eq!(daemon.stop().await, End::Asked(Signal::Stop, true));
        let made = sim.with_world(|w| w.guests.keys().filter(|v| **v >= 500).count());
        tokio::task::yield_now().await;
        assert_eq!(sim.with_world(|w| w.guests.keys().filter(|v| **v >= 500).count()), made);
        assert!(!shared.state().events.iter().any(|e| e.reason == "ApplyFailed"), "an end is no failure");
        // The next one goes on from what is there.
        let next = Running::start(&lab, &many, |_| {});
        next.until(120, "all are made", |s| ready(s, 12)).await;
        next.stop().await;
    });
}

#[test]
fn one_that_is_about_to_begin_anew_can_be_stopped_for_good() {
    on_virtual_time(async {
        let lab = Lab::homelab();
        let daemon = Running::start(&lab, WEB, |_| {});
        daemon.until(60, "it has begun", |s| s.running.values().any(|r| !r.doing.is_empty())).await;
        daemon.signal.send(Signal::Reload).expect("it runs");
        tokio::time::sleep(Duration::from_millis(1)).await;
        daemon.signal.send(Signal::Stop).expect("it runs");
        assert_eq!(daemon.handle.await.expect("no panic"), End::Asked(Signal::Stop, true));
    });
}

#[test]
fn a_quiet_hour_costs_few_requests_and_no_memory() {
    on_virtual_time(async {
        let lab = Lab::homelab();
        let daemon = Running::start(&lab, &format!("{WEB}{POOL}"), |_| {});
        daemon.until(60, "all is made", |s| ready(s, 2)).await;
        let events = daemon.shared.state().events.len();
        let before = daemon.reads.load(Ordering::Relaxed);
        daemon.pass(3600).await;
        let reads = daemon.reads.load(Ordering::Relaxed) - before;
        // Three lists and those of two nodes every two seconds, the pools every ten, the machine once a minute, and a look every five.
        assert!(reads < 3600 * 27 / 10, "{reads} requests in an hour");
        let state = daemon.shared.state().clone();
        assert_eq!(state.events.len(), events, "nothing happened: {:#?}", state.events.front());
        assert!(ready(&state, 2));
        daemon.stop().await;
    });
}

#[test]
fn watching_keeps_to_its_budget_in_every_second() {
    on_virtual_time(async {
        let (lab, set) = fleet(4, 300);
        let adopted = set.resources.len();
        let text = manifests(300, 4);
        let daemon = Running::start(&lab, &text, |c| (c.mode, c.set) = (Mode::Observe, Some("fleet".into())));
        daemon.until(60, "it has looked", |s| ready(s, adopted)).await;
        daemon.pass(5).await;
        daemon.times.lock().expect("no test panics with it").clear();
        // Hands, looks in turn, and reading in turn, for a quarter of an hour.
        for round in 0..30 {
            by_hand(&lab.sim, 1000 + 4 * round, "cores", "3");
            daemon.pass(30).await;
        }
        assert_eq!(daemon.shared.state().drift.len(), 30);
        let times = daemon.times.lock().expect("no test panics with it").clone();
        let budget = WatchConfig::default().requests_per_second as usize;
        let window = |at: usize| times[at..].iter().take_while(|t| **t - times[at] < Duration::from_secs(1)).count();
        let most = (0..times.len()).map(window).max().unwrap_or(0);
        assert!(most <= budget, "{most} requests in one second");
        assert!(times.len() > 900 * 6, "only {} requests: is it watching?", times.len());
        daemon.stop().await;
    });
}
