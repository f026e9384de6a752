//! A day in which nothing stays as it is, on virtual time: the cluster goes away and comes back, answers are lost, DNS fails,
//! people change and delete machines by hand, manifests move and break, the history's disk is full, the clock is set. The
//! daemon keeps up, holds no more in memory than on a quiet day, and at the end all is as it should be.

use crate::daemon::{Running, by_hand, on_virtual_time, ready};
use crate::kills::Dice;
use crate::world::Lab;
use futures::future::BoxFuture;
use pvectl::base::clock::Clock;
use pvectl::daemon::config::Span;
use pvectl::daemon::ears::{Ears, Own};
use pvectl::daemon::history::Past;
use pvectl::daemon::meter::Meter;
use pvectl::daemon::record::{Healer, Level, State};
use pvectl::daemon::runners::news::Count;
use pvectl::daemon::store::book::Bounds;
use pvectl::daemon::store::keeper::{Keeper, Keeping};
use pvectl::pve::api::Api;
use pvectl::pve::error::PveError;
use pvectl::pve::request::{Call, Method};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MINUTE: i64 = 60_000;
/// Something happens this often.
const STEP: u64 = 600;
/// How long a change by hand may stand, whatever happened to the clock before.
const PROMPT: u64 = 120;

/// Remembers how much was ever held in memory.
#[derive(Default)]
struct Most(Mutex<BTreeMap<&'static str, usize>>);

impl Meter for Most {
    fn request(&self, _cluster: &str, _method: &str, _error: Option<&PveError>, _took_ms: u64) {}
    fn task(&self, _cluster: &str, _worker: &str, _well: bool, _seconds: u64) {}
    fn run(&self, _source: &str, _result: &str, _took_ms: u64) {}
    fn waited(&self, _waited_ms: u64) {}
    fn queue(&self, _depth: usize, _added: u64, _retried: u64) {}
    fn memory(&self, sort: &'static str, entries: usize) {
        let mut all = self.0.lock().expect("nobody panics with it");
        let most = all.entry(sort).or_default();
        *most = entries.max(*most);
    }
    fn drift(&self, _source: &str, _healed: Option<Healer>) {}
    fn patch_failed(&self, _source: &str, _window: &str) {}
    fn github(&self, _scope: &str, _method: &str, _error: Option<&PveError>, _took_ms: u64) {}
    fn runner(&self, _source: &str, _pool: &str, _count: &Count) {}
}

/// The time as the history's thread sees it: that of the last event.
#[derive(Default)]
struct Shown(AtomicU64);

impl Clock for Shown {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What is declared.
#[derive(Clone)]
struct Declared {
    cores: u64,
    pool: bool,
}

impl Declared {
    fn yaml(&self) -> String {
        let head = |kind: &str, name: &str| {
            format!("---\napiVersion: pvectl/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n")
        };
        let machine = |name: &str, vmid: u32, cores: u64, net: &str| {
            head("VirtualMachine", name)
                + &format!(
                    "spec: {{vmid: {vmid}, node: pve1, hardware: {{cores: {cores}, memory: 1Gi}}, networks: [{{slot: net0, {net}}}], power: Stopped}}\n"
                )
        };
        let mut out = machine("web", 500, self.cores, "bridge: vmbr0") + &machine("shut", 501, 2, "profile: api");
        out += &machine("still", 502, 2, "bridge: vmbr0");
        out += &head("NetworkProfile", "api");
        out += "spec: {bridge: vmbr1, egress: {default: Deny, allow: [{to: 'api.github.com:443'}]}, ingress: {default: Deny}}\n";
        if self.pool {
            out += &head("Pool", "team");
            out += "spec: {comment: ours}\n";
        }
        out
    }

    /// Each document is one; the profile is a group and the addresses of its name.
    fn objects(&self) -> usize {
        self.yaml().matches("kind: ").count() + 1
    }
}

struct Day {
    lab: Lab,
    daemon: Running,
    dice: Dice,
    declared: Declared,
    shown: Arc<Shown>,
}

impl Day {
    /// Lets some of the time pass that is left of a step.
    async fn pass(&self, left: &mut u64, seconds: u64) {
        let seconds = seconds.min(*left);
        *left -= seconds;
        self.daemon.pass(seconds).await;
        self.shown.0.store(self.daemon.time.now_ms(), Ordering::Relaxed);
    }

    /// What somebody does may be refused: a machine is locked, or gone.
    async fn hand(&self, call: Call) {
        drop(self.lab.sim.api().send(&call).await);
    }

    async fn something(&mut self, left: &mut u64) {
        let long = 60 + self.dice.roll(480);
        match self.dice.roll(10) {
            0 => {
                self.daemon.weather.down.store(true, Ordering::Relaxed);
                self.pass(left, long).await;
                self.daemon.weather.down.store(false, Ordering::Relaxed);
            }
            1 => {
                self.daemon.weather.loses.store(8, Ordering::Relaxed);
                let cores = 1 + self.dice.roll(16);
                self.hand(Call::new(Method::Put, "/nodes/pve1/qemu/500/config").with("cores", cores)).await;
                self.pass(left, long).await;
                self.daemon.weather.loses.store(0, Ordering::Relaxed);
            }
            2 => {
                self.lab.sim.with_world(|w| w.names.insert("api.github.com".into(), Vec::new()));
                self.pass(left, long).await;
                self.lab.sim.with_world(|w| w.names.remove("api.github.com"));
            }
            3 => {
                let cores = 1 + self.dice.roll(16);
                self.hand(Call::new(Method::Put, "/nodes/pve1/qemu/501/config").with("cores", cores)).await;
            }
            4 => self.hand(Call::new(Method::Delete, "/nodes/pve1/qemu/501")).await,
            5 => {
                self.declared.cores = 1 + self.dice.roll(16);
                self.daemon.written.write(&self.declared.yaml());
            }
            6 => {
                self.daemon.written.write("kind: Nonsense\n");
                self.pass(left, long).await;
                self.daemon.written.write(&self.declared.yaml());
            }
            7 => {
                self.declared.pool = !self.declared.pool;
                self.daemon.written.write(&self.declared.yaml());
            }
            8 => self.daemon.time.set(30_000),
            _ => self.daemon.time.set(-30_000),
        }
    }

    /// A change by hand is set right in time.
    async fn is_awake(&self, left: &mut u64) {
        by_hand(&self.lab.sim, 502, "cores", "7");
        self.pass(left, PROMPT).await;
        let cores = self.lab.sim.with_world(|w| w.guests[&502].config["cores"].clone());
        assert_eq!(cores, "2", "{:#?}", self.daemon.shared.state());
    }
}

fn keeping(file: &Path, shown: &Arc<Shown>, own: &Own) -> Keeper {
    let bounds = Bounds { rows: 500, pages: 200, ..Bounds::default() };
    let (own, clock) = (own.clone(), Arc::clone(shown));
    let hear = Box::new(move |news: pvectl::daemon::store::keeper::News| {
        own.leave(news.event(clock.0.load(Ordering::Relaxed)))
    });
    Keeper::start(file, bounds, Arc::clone(shown) as _, hear).0
}

#[test]
#[expect(clippy::print_stderr, reason = "a seed is worth nothing if nobody knows it")]
fn a_day_of_flapping_leaves_nothing_behind() {
    let seed = std::env::var("PVECTL_DAY_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_121);
    eprintln!("again with PVECTL_DAY_SEED={seed}");
    on_virtual_time(day(Dice(seed)));
}

async fn day(dice: Dice) {
    let place = tempfile::tempdir().expect("a folder");
    let (file, aside) = (place.path().join("history.db"), place.path().join("aside"));
    let (lab, own, most, shown) = (Lab::homelab(), Own::default(), Arc::new(Most::default()), Arc::<Shown>::default());
    let on = Call::new(Method::Put, "/cluster/firewall/options").with("enable", 1);
    lab.sim.api().send(&on).await.expect("the firewall is on");
    let ears = Arc::new(Ears { keeper: Some(keeping(&file, &shown, &own)), own, ..Ears::default() });
    let declared = Declared { cores: 2, pool: true };
    let shape = |config: &mut pvectl::daemon::config::SourceConfig| config.prune = true;
    let daemon = Running::shaped(&lab, &declared.yaml(), shape, |setup| {
        let span = |seconds| Span(Duration::from_secs(seconds));
        (setup.watch.every, setup.watch.scan) = (span(20), span(300));
        (setup.meter, setup.ear) = (Arc::clone(&most) as _, Arc::clone(&ears) as _);
    });
    daemon.until(60, "all is made", |s| ready(s, declared.objects())).await;
    let quiet = most.0.lock().expect("nobody panics with it").clone();
    let keeper = ears.keeper.as_ref().expect("it was given");
    let mut day = Day { lab, daemon, dice, declared, shown };
    let folder = || -> Keeping { keeper.keeping() };
    let mut trouble = false;
    for step in 0..24 * 3600 / STEP {
        let mut left = STEP;
        match step {
            // The file gives way to a folder, as where a volume is not mounted; an hour later it is back.
            48 => {
                std::fs::rename(&file, &aside).expect("it is moved");
                std::fs::create_dir(&file).expect("a folder in its place");
            }
            54 => {
                std::fs::remove_dir(&file).expect("nobody put anything there");
                std::fs::rename(&aside, &file).expect("it is back");
            }
            36 => day.daemon.time.set(60 * MINUTE),
            72 => day.daemon.time.set(-30 * MINUTE),
            // While it waits for a cluster that is gone.
            100 | 101 => {
                day.daemon.weather.down.store(true, Ordering::Relaxed);
                day.pass(&mut left, 240).await;
                day.daemon.time.set(if step == 100 { -30 * MINUTE } else { 60 * MINUTE });
                day.daemon.weather.down.store(false, Ordering::Relaxed);
                day.pass(&mut left, 60).await;
            }
            _ => day.something(&mut left).await,
        }
        if matches!(step, 36 | 72 | 100 | 101) {
            day.is_awake(&mut left).await;
        }
        day.pass(&mut left, STEP).await;
        trouble |= folder().trouble.is_some();
    }
    assert!(trouble, "the history had a bad hour");
    let Day { lab, daemon, declared, .. } = day;
    daemon.until(900, "all is as it should be", |s| ready(s, declared.objects()) && s.drift.is_empty()).await;
    let (cores, here) = lab.sim.with_world(|w| (w.guests[&500].config["cores"].clone(), w.guests.contains_key(&501)));
    assert_eq!((cores, here), (declared.cores.to_string(), true));
    let state: State = daemon.shared.state().clone();
    assert!(state.running.is_empty() && state.tasks.is_empty());
    assert_eq!(state.objects.len(), declared.objects());
    let warned = |reason: &str| state.events.iter().any(|e| e.level == Level::Warning && e.reason == reason);
    assert!(warned("DriftSeen") && warned("ClusterUnreadable"), "it was no quiet day");
    let most = most.0.lock().expect("nobody panics with it").clone();
    // What is remembered follows from what is declared, not from what has happened.
    assert!(most["keys"] <= declared.objects() + 1, "{most:?}");
    assert!(most["answers"] <= 2 * quiet["answers"], "{quiet:?}, then {most:?}");
    assert!(most["events"] <= 500 && most["runs"] <= 500, "{most:?}");
    daemon.stop().await;
    let left = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(left, 0, "nobody is left at work");
    assert!(keeper.settle(Duration::from_secs(20)), "the history keeps up");
    assert_eq!(keeper.keeping().trouble, None);
    let kept = keeper.history().events(&Past { limit: 1_000, ..Past::default() }).expect("it reads");
    assert!(kept.iter().any(|e| e.reason == "HistoryMended"), "it tells of its own bad hour");
    eprintln_most(&most, kept.len());
}

#[expect(clippy::print_stderr, reason = "how much it was, for whoever changes the bounds")]
fn eprintln_most(most: &BTreeMap<&'static str, usize>, kept: usize) {
    eprintln!("at most {most:?}; {kept} events kept");
}
