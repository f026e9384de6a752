//! What is known of a cluster, between the engine and the wire. A *look* compares everything and costs a handful of
//! requests, since configurations come from here; a *run* reads whatever it is about afresh. Guests' configurations are kept
//! until something tells of a change, and are read again in turn meanwhile, within the budget of requests.
//!
//! Nothing is decided on old values: what a run may change it reads anew, and every write carries what it expects.

use crate::base::clock::Clock;
use crate::base::id::VmId;
use crate::daemon::meter::Meter;
use crate::daemon::pace::{Haste, Pace};
use crate::daemon::rota::Rota;
use crate::github::operation::{Operation as OnGitHub, ROOT};
use crate::pve::api::Api;
use crate::pve::error::PveError;
use crate::pve::request::{Call, Query};
use crate::resource::index::is_node_guests;
use futures::future::BoxFuture;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How old a list of a cluster may be in a look: it is read again by every poll.
const LIST_MS: u64 = 2_500;
/// How old anything else may be that is no guest's: permissions, pools, storages, groups of rules.
const OTHER_MS: u64 = 20_000;
/// How old what GitHub said may be in a look. A look that somebody waits for begins with [`Cache::forget_github`].
const GITHUB_MS: u64 = 5_000;
/// What no look has asked for in this time is forgotten.
const UNUSED_MS: u64 = 900_000;
/// Times of our own requests that are remembered for each guest, to know ourselves in PVE's log.
const OURS_MAX: usize = 32;

struct Known {
    /// As text: a tree of JSON takes several times as much memory.
    text: Box<str>,
    read_ms: u64,
    used_ms: u64,
}

#[derive(Default)]
struct Memory {
    known: BTreeMap<Query, Known>,
    /// When we last sent something for a guest.
    ours: BTreeMap<VmId, VecDeque<u64>>,
    rota: Rota,
    /// How often GitHub had something new: what was asked before is not remembered after.
    github: u64,
}

/// The memory of one cluster.
pub struct Cache {
    cluster: String,
    api: Arc<dyn Api>,
    clock: Arc<dyn Clock>,
    meter: Arc<dyn Meter>,
    memory: Mutex<Memory>,
    pace: Pace,
    /// No write is sent any more.
    closed: AtomicBool,
}

/// The guest that a path is about.
pub fn guest_of(path: &str) -> Option<VmId> {
    let rest = path.strip_prefix("/nodes/")?.split_once('/')?.1;
    let rest = rest.strip_prefix("qemu/").or_else(|| rest.strip_prefix("lxc/"))?;
    rest.split('/').next()?.parse().ok().and_then(VmId::new)
}

/// Whose runners a request to GitHub is about: `orgs/acme`. `None`: it is none.
fn scope_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(ROOT)?;
    let parts = if rest.starts_with("repos/") { 3 } else { 2 };
    Some(rest.match_indices('/').nth(parts - 1).map_or(rest, |(at, _)| &rest[..at]))
}

/// Whether an answer holds what people write, and not what is measured or in progress.
fn is_configuration(query: &Query) -> bool {
    let measured = |word: &str| matches!(word, "status" | "agent" | "interfaces" | "rrddata" | "feature" | "migrate");
    let is_measured = query.path.split('/').any(measured);
    !is_measured && (guest_of(&query.path).is_some() || is_of_the_datacenter(query))
}

/// Whether an answer holds what people write of the datacenter: firewall, networks, users, storages, jobs. PVE's log says
/// nothing of these.
fn is_of_the_datacenter(query: &Query) -> bool {
    let path = query.path.as_str();
    let of = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let written = ["/cluster/firewall", "/cluster/sdn", "/cluster/backup", "/storage", "/access"].into_iter().any(of);
    // Of a pool by its name, PVE tells what its members use just now.
    let pools = path == "/pools" && query.params.is_empty();
    let node = path.starts_with("/nodes/") && path.split('/').nth(3) == Some("firewall");
    (written || pools || node) && path != "/access/permissions"
}

/// Whether an answer is worth nothing a moment later.
fn is_fleeting(query: &Query) -> bool {
    query.path.contains("/tasks/") || query.path.starts_with("/cluster/log")
}

/// An answer as it is remembered. PVE lists the options of `/pending` in the order of a Perl hash, which is another one in
/// each of its processes (`PVE::GuestHelpers::config_with_pending_array`): they are sorted, or every reading would differ.
fn text(query: &Query, value: &Value) -> Box<str> {
    match value.as_array() {
        // So do lists of the datacenter; a list whose order matters numbers its rows.
        Some(rows) if query.path.ends_with("/pending") || is_of_the_datacenter(query) => {
            let mut texts: Vec<String> = rows.iter().map(Value::to_string).collect();
            texts.sort();
            format!("[{}]", texts.join(",")).into_boxed_str()
        }
        Some(_) | None => value.to_string().into_boxed_str(),
    }
}

impl Memory {
    /// The configuration to read again next, as it was known until now.
    fn next(&mut self, now_ms: u64, scan_ms: u64) -> Option<(Query, Box<str>)> {
        if self.rota.is_stale(now_ms) {
            self.known.retain(|_, known| now_ms.saturating_sub(known.used_ms) < UNUSED_MS);
            let all = self.known.iter().filter(|(query, _)| is_configuration(query));
            self.rota.fill(now_ms, scan_ms, all.map(|(query, known)| (query, known.read_ms)));
        }
        loop {
            let (query, read_ms) = self.rota.pick()?;
            // What was read or forgotten meanwhile is not due any more.
            if let Some(known) = self.known.get(&query).filter(|known| known.read_ms == read_ms) {
                return Some((query, known.text.clone()));
            }
        }
    }
}

impl Cache {
    /// An empty memory in front of an API.
    pub fn new(cluster: &str, api: Arc<dyn Api>, clock: Arc<dyn Clock>, meter: Arc<dyn Meter>) -> Cache {
        Cache {
            cluster: cluster.to_owned(),
            api,
            clock,
            meter,
            memory: Mutex::default(),
            pace: Pace::default(),
            closed: AtomicBool::new(false),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how many requests a second watching may take.
    pub fn budget(&self, per_second: u32) {
        self.pace.set(per_second);
    }

    /// Reads from the wire and remembers.
    pub async fn fresh(&self, query: &Query, haste: &Haste) -> Result<Value, PveError> {
        // GitHub has budgets of its own, which the hub keeps.
        if !OnGitHub::is_github(&query.path) {
            self.pace.turn(&*self.clock, haste).await;
        }
        let (began, github) = (self.clock.now_ms(), self.memory().github);
        let answer = self.api.get(query).await;
        self.count("GET", &query.path, answer.as_ref().err(), began);
        if let Ok(value) = &answer
            && !is_fleeting(query)
        {
            self.remember(query, value, github);
        }
        answer
    }

    fn count(&self, method: &str, path: &str, error: Option<&PveError>, began_ms: u64) {
        let took = self.clock.now_ms().saturating_sub(began_ms);
        match scope_of(path) {
            Some(scope) => self.meter.github(scope, method, error, took),
            None => self.meter.request(&self.cluster, method, error, took),
        }
    }

    /// `github`: how often GitHub had something new when it was asked.
    fn remember(&self, query: &Query, value: &Value, github: u64) {
        let now = self.clock.now_ms();
        let text = text(query, value);
        let mut memory = self.memory();
        if OnGitHub::is_github(&query.path) && memory.github != github {
            return;
        }
        let used_ms = memory.known.get(query).map_or(now, |known| known.used_ms);
        memory.known.insert(query.clone(), Known { text, read_ms: now, used_ms });
    }

    fn remembered(&self, query: &Query) -> Option<Value> {
        let now = self.clock.now_ms();
        let mut memory = self.memory();
        let known = memory.known.get_mut(query)?;
        let limit = match query.path.as_str() {
            "/cluster/resources" | "/cluster/tasks" => LIST_MS,
            path if OnGitHub::is_github(path) => GITHUB_MS,
            _ if is_configuration(query) && guest_of(&query.path).is_some() => u64::MAX,
            _ => OTHER_MS,
        };
        // A clock that was set back is no reason to believe for longer.
        if now.abs_diff(known.read_ms) > limit {
            return None;
        }
        known.used_ms = now;
        serde_json::from_str(&known.text).ok()
    }

    /// Reads again what was longest not read of the guests' configurations and is older than `scan_ms`. Returns the guest
    /// whose answer is another than before.
    pub async fn scan(&self, scan_ms: u64) -> Scanned {
        let now = self.clock.now_ms();
        let Some((query, before)) = self.memory().next(now, scan_ms) else { return Scanned::Nothing };
        match self.fresh(&query, &Haste::InTurn).await {
            Ok(value) if text(&query, &value) == before => Scanned::Same,
            Ok(_) => Scanned::Moved(guest_of(&query.path)),
            // Gone, or not to be had: the next look will ask itself.
            Err(_) => {
                self.memory().known.remove(&query);
                Scanned::Moved(guest_of(&query.path))
            }
        }
    }

    /// Forgets what is known of guests: the next look reads it anew.
    pub fn forget(&self, guests: &BTreeSet<VmId>) {
        // Lists of guests tell their locks, too.
        let lists = |query: &Query| is_node_guests(query).is_some() && !guests.is_empty();
        let known = |query: &Query| guest_of(&query.path).is_none_or(|guest| !guests.contains(&guest));
        self.memory().known.retain(|query, _| known(query) && !lists(query));
    }

    /// Forgets everything that is no guest's.
    pub fn forget_others(&self) {
        self.memory().known.retain(|query, _| guest_of(&query.path).is_some());
    }

    /// Forgets what GitHub said: it has something new.
    pub fn forget_github(&self) {
        let mut memory = self.memory();
        memory.github += 1;
        memory.known.retain(|query, _| !OnGitHub::is_github(&query.path));
    }

    /// Forgets all: somebody asks for a look that owes nothing to memory.
    pub fn forget_all(&self) {
        self.memory().known.clear();
    }

    /// When we last sent something for a guest.
    pub fn ours(&self, guest: VmId) -> Vec<u64> {
        self.memory().ours.get(&guest).into_iter().flatten().copied().collect()
    }

    /// From now on no write is sent; what was sent is followed to its end.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Answers that are remembered.
    pub fn len(&self) -> usize {
        self.memory().known.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.memory().known.is_empty()
    }

    async fn send(&self, call: &Call) -> Result<Value, PveError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(PveError::Unsent {
                request: call.to_string(),
                cause: "pvectl is about to end".to_owned(),
                hint: None,
            });
        }
        let began = self.clock.now_ms();
        let touched = touched(call);
        {
            let mut memory = self.memory();
            for guest in &touched {
                let times = memory.ours.entry(*guest).or_default();
                times.push_back(began);
                while times.len() > OURS_MAX {
                    times.pop_front();
                }
            }
        }
        let answer = self.api.send(call).await;
        self.count(call.method.as_str(), &call.path, answer.as_ref().err(), began);
        self.forget(&touched);
        self.forget_others();
        answer
    }
}

/// The guests that a write is about, a new one too.
fn touched(call: &Call) -> BTreeSet<VmId> {
    let named = ["newid", "vmid", "target-vmid"].into_iter().filter_map(|key| call.param(key));
    let named = named.filter_map(|text| text.parse().ok().and_then(VmId::new));
    guest_of(&call.path).into_iter().chain(named).collect()
}

/// How a reading in turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// Everything was read lately.
    Nothing,
    /// One was read, and is as it was.
    Same,
    /// One was read, and is not: a guest's, or one of the datacenter.
    Moved(Option<VmId>),
}

/// The cluster as a look sees it.
pub struct Look {
    /// What is known of it.
    pub cache: Arc<Cache>,
    /// Whether somebody waits for this look.
    pub haste: Haste,
}

impl Api for Look {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        Box::pin(async move {
            match self.cache.remembered(query) {
                Some(value) => Ok(value),
                None => self.cache.fresh(query, &self.haste).await,
            }
        })
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        let refusal =
            PveError::Unsent { request: call.to_string(), cause: "a look sends nothing".to_owned(), hint: None };
        Box::pin(async move { Err(refusal) })
    }
}

/// The cluster as a run sees it: its own guests, and everything that is no guest's, afresh.
pub struct Run {
    cache: Arc<Cache>,
    fresh: Mutex<BTreeSet<VmId>>,
}

impl Run {
    /// A run that is about these guests.
    pub fn new(cache: Arc<Cache>, guests: BTreeSet<VmId>) -> Run {
        cache.forget(&guests);
        Run { cache, fresh: Mutex::new(guests) }
    }

    fn about(&self) -> MutexGuard<'_, BTreeSet<VmId>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guests that it was about, those too that it made.
    pub fn guests(&self) -> BTreeSet<VmId> {
        self.about().clone()
    }
}

impl Api for Run {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        Box::pin(async move {
            let strange = guest_of(&query.path).is_some_and(|guest| !self.about().contains(&guest));
            match strange.then(|| self.cache.remembered(query)).flatten() {
                Some(value) => Ok(value),
                None => self.cache.fresh(query, &Haste::Now).await,
            }
        })
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        Box::pin(async move {
            self.about().extend(touched(call));
            self.cache.send(call).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::meter::NoMeter;
    use crate::pve::request::Method;
    use crate::sim::Sim;
    use crate::sim::baseline::Baseline;
    use serde_json::json;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Counting {
        reads: AtomicUsize,
        cores: AtomicUsize,
    }

    impl Api for Counting {
        fn get<'a>(&'a self, _: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let cores = self.cores.load(Ordering::Relaxed);
            Box::pin(async move { Ok(json!({"cores": cores})) })
        }

        fn send<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
            self.cores.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(Value::Null) })
        }
    }

    fn setup() -> (Arc<Counting>, Arc<Cache>, Sim) {
        let (api, sim) = (Arc::new(Counting::default()), Sim::new(Baseline::Homelab));
        let cache =
            Arc::new(Cache::new("c", Arc::clone(&api) as Arc<dyn Api>, Arc::new(sim.clock()), Arc::new(NoMeter)));
        (api, cache, sim)
    }

    fn config(guest: u32) -> Query {
        Query::new(format!("/nodes/a/qemu/{guest}/config"))
    }

    #[tokio::test]
    async fn a_look_asks_once_and_a_run_asks_for_its_own() {
        let (api, cache, _) = setup();
        let look = Look { cache: Arc::clone(&cache), haste: Haste::Now };
        for _ in 0..3 {
            look.get(&config(100)).await.expect("an answer");
            look.get(&config(101)).await.expect("an answer");
        }
        assert_eq!(api.reads.load(Ordering::Relaxed), 2);
        let run = Run::new(Arc::clone(&cache), [VmId::new(100).expect("a VMID")].into());
        run.get(&config(100)).await.expect("an answer");
        run.get(&config(100)).await.expect("an answer");
        run.get(&config(101)).await.expect("an answer");
        assert_eq!(api.reads.load(Ordering::Relaxed), 4, "its own guest each time, the other from memory");
        let call = Call::new(Method::Post, "/nodes/a/qemu/100/clone").with("newid", 200);
        run.send(&call).await.expect("an answer");
        run.get(&config(200)).await.expect("an answer");
        run.get(&config(200)).await.expect("an answer");
        assert_eq!(api.reads.load(Ordering::Relaxed), 6, "what it makes is its own");
        assert_eq!(
            look.get(&config(100)).await.expect("an answer")["cores"],
            1,
            "what was sent for is not from memory"
        );
        assert_eq!(cache.ours(VmId::new(200).expect("a VMID")).len(), 1);
    }

    #[tokio::test]
    async fn what_is_old_is_read_in_turn_and_tells_when_it_moved() {
        let (api, cache, sim) = setup();
        let look = Look { cache: Arc::clone(&cache), haste: Haste::Now };
        look.get(&config(100)).await.expect("an answer");
        look.get(&Query::new("/nodes/a/qemu/100/status/current")).await.expect("an answer");
        assert_eq!(cache.scan(60_000).await, Scanned::Nothing);
        sim.advance(std::time::Duration::from_secs(61));
        assert_eq!(cache.scan(60_000).await, Scanned::Same);
        assert_eq!(cache.scan(60_000).await, Scanned::Nothing, "measurements are not scanned");
        api.cores.store(7, Ordering::Relaxed);
        sim.advance(std::time::Duration::from_secs(61));
        assert_eq!(cache.scan(60_000).await, Scanned::Moved(VmId::new(100)));
        assert_eq!(look.get(&config(100)).await.expect("an answer")["cores"], 7);
        sim.advance(std::time::Duration::from_millis(UNUSED_MS));
        assert_eq!(cache.scan(60_000).await, Scanned::Nothing);
        assert!(cache.is_empty(), "what nobody asks for is forgotten");
    }

    /// A clock that is set.
    struct Set(std::sync::atomic::AtomicU64);

    impl Clock for Set {
        fn now_ms(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        fn sleep(&self, _: std::time::Duration) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_makes_nothing_believed_for_longer() {
        let (api, clock) = (Arc::new(Counting::default()), Arc::new(Set(7_200_000.into())));
        let cache = Arc::new(Cache::new("c", Arc::clone(&api) as _, Arc::clone(&clock) as _, Arc::new(NoMeter)));
        let (look, pools) = (Look { cache: Arc::clone(&cache), haste: Haste::Now }, Query::new("/pools"));
        for query in [&config(100), &pools, &pools] {
            look.get(query).await.expect("an answer");
        }
        assert_eq!((api.reads.load(Ordering::Relaxed), cache.scan(60_000).await), (2, Scanned::Nothing));
        clock.0.store(7_200_000 - 600_000, Ordering::Relaxed);
        look.get(&pools).await.expect("an answer");
        assert_eq!(api.reads.load(Ordering::Relaxed), 3, "it is older than it seems");
        assert_eq!(cache.scan(60_000).await, Scanned::Same, "it is read in turn");
    }

    /// Counts requests of each sort.
    #[derive(Default)]
    struct Sorts(Mutex<Vec<String>>);

    impl Meter for Sorts {
        fn request(&self, cluster: &str, method: &str, _: Option<&PveError>, _: u64) {
            self.0.lock().expect("nobody failed").push(format!("{cluster} {method}"));
        }
        fn github(&self, scope: &str, method: &str, _: Option<&PveError>, _: u64) {
            self.0.lock().expect("nobody failed").push(format!("{scope} {method}"));
        }
        fn task(&self, _: &str, _: &str, _: bool, _: u64) {}
        fn run(&self, _: &str, _: &str, _: u64) {}
        fn waited(&self, _: u64) {}
        fn queue(&self, _: usize, _: u64, _: u64) {}
        fn memory(&self, _: &'static str, _: usize) {}
        fn drift(&self, _: &str, _: Option<crate::daemon::record::Healer>) {}
        fn patch_failed(&self, _: &str, _: &str) {}
        fn runner(&self, _: &str, _: &str, _: &crate::daemon::runners::news::Count) {}
    }

    #[tokio::test]
    async fn what_github_said_is_believed_for_seconds_and_counted_apart() {
        let (api, sim, sorts) =
            (Arc::new(Counting::default()), Sim::new(Baseline::Homelab), Arc::new(Sorts::default()));
        let cache = Cache::new("c", Arc::clone(&api) as Arc<dyn Api>, Arc::new(sim.clock()), Arc::clone(&sorts) as _);
        let cache = Arc::new(cache);
        // As much as nothing: what goes to GitHub does not wait for it.
        cache.budget(1);
        let look = Look { cache: Arc::clone(&cache), haste: Haste::Soon(Arc::default()) };
        let runners = Query::new("/github/repos/acme/app/runners").with("api", "x");
        for _ in 0..3 {
            look.get(&runners).await.expect("an answer");
        }
        assert_eq!(api.reads.load(Ordering::Relaxed), 1);
        sim.advance(std::time::Duration::from_millis(GITHUB_MS + 1));
        look.get(&runners).await.expect("an answer");
        cache.forget_github();
        look.get(&runners).await.expect("an answer");
        Run::new(Arc::clone(&cache), BTreeSet::new()).get(&runners).await.expect("an answer");
        assert_eq!(api.reads.load(Ordering::Relaxed), 4, "old, forgotten, and in a run");
        cache.send(&Call::new(Method::Delete, "/github/orgs/acme/runners/7")).await.expect("an answer");
        look.get(&config(100)).await.expect("an answer");
        let told = sorts.0.lock().expect("nobody failed").clone();
        assert_eq!(told[3..], ["repos/acme/app GET", "orgs/acme DELETE", "c GET"]);
    }

    #[tokio::test]
    async fn an_answer_that_was_asked_for_before_the_news_is_not_remembered() {
        /// GitHub has something new while it answers.
        struct Meanwhile(Mutex<Option<std::sync::Weak<Cache>>>, AtomicUsize);
        impl Api for Meanwhile {
            fn get<'a>(&'a self, _: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
                let count = self.1.fetch_add(1, Ordering::Relaxed);
                let cache = self.0.lock().expect("nobody failed").take().and_then(|cache| cache.upgrade());
                Box::pin(async move {
                    cache.iter().for_each(|cache| cache.forget_github());
                    Ok(json!(count))
                })
            }
            fn send<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
                Box::pin(async { Ok(Value::Null) })
            }
        }
        let (api, sim) = (Arc::new(Meanwhile(Mutex::default(), AtomicUsize::new(0))), Sim::new(Baseline::Homelab));
        let cache = Arc::new(Cache::new("c", Arc::clone(&api) as _, Arc::new(sim.clock()), Arc::new(NoMeter)));
        *api.0.lock().expect("nobody failed") = Some(Arc::downgrade(&cache));
        let look = Look { cache, haste: Haste::Now };
        let runners = Query::new("/github/repos/acme/app/runners");
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(look.get(&runners).await.expect("an answer"));
        }
        assert_eq!(answers, [json!(0), json!(1), json!(1)]);
    }

    #[test]
    fn the_order_of_options_is_no_change() {
        let query = Query::new("/nodes/a/lxc/100/pending");
        let (a, b) = (json!({"key": "cores", "value": 1}), json!({"key": "memory", "value": 2}));
        assert_eq!(text(&query, &json!([a, b])), text(&query, &json!([b, a])), "PVE has no order there");
        assert_ne!(text(&query, &json!([a, b])), text(&query, &json!([a, a])));
        let rules = Query::new("/nodes/a/lxc/100/firewall/rules");
        assert_ne!(text(&rules, &json!([a, b])), text(&rules, &json!([b, a])), "rules have one");
    }

    #[tokio::test]
    async fn a_closed_door_sends_nothing_and_a_look_never_does() {
        let (api, cache, _) = setup();
        let call = Call::new(Method::Post, "/nodes/a/qemu/100/status/start");
        assert!(Look { cache: Arc::clone(&cache), haste: Haste::Now }.send(&call).await.is_err());
        cache.close();
        let run = Run::new(cache, BTreeSet::new());
        assert!(matches!(run.send(&call).await, Err(PveError::Unsent { .. })));
        assert_eq!(api.cores.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_people_write_of_the_datacenter_is_read_in_turn_too() {
        for (path, wanted) in [
            ("/cluster/firewall/groups/web", true),
            ("/access/acl", true),
            ("/access/permissions", false),
            ("/pools", true),
            ("/storage", true),
            ("/storage-of-another-name", false),
            ("/nodes/a/firewall/options", true),
            ("/nodes/a/storage/local/content", false),
            ("/nodes/a/qemu", false),
            ("/cluster/resources", false),
            ("/nodes/a/qemu/100/config", true),
            ("/nodes/a/qemu/100/status/current", false),
        ] {
            assert_eq!(is_configuration(&Query::new(path)), wanted, "{path}");
        }
        assert!(!is_configuration(&Query::new("/pools").with("poolid", "x")));
    }

    #[test]
    fn guests_of_paths() {
        for (path, guest) in [
            ("/nodes/a/qemu/100/config", Some(100)),
            ("/nodes/a/lxc/101", Some(101)),
            ("/nodes/a/qemu", None),
            ("/nodes/a/storage/local/content", None),
            ("/cluster/resources", None),
        ] {
            assert_eq!(guest_of(path), guest.and_then(VmId::new), "{path}");
        }
    }
}
