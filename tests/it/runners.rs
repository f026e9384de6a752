//! Runner pools on the simulator and its GitHub, on virtual time: a thousand jobs with something going wrong all the time, and a
//! small farm with something going wrong at every request of both sides.

use crate::apidoc::say;
use crate::faults::Cut;
use crate::world::{ALL, Lab, desired, differences, plain, run, stopped};
use futures::future::BoxFuture;
use pvectl::base::clock::Clock;
use pvectl::engine::door::Door;
use pvectl::engine::reconcile::{Cluster, Report, preview, reconcile};
use pvectl::github::demand::Ask;
use pvectl::github::hub::Hub;
use pvectl::github::place::Place;
use pvectl::kinds::list::KINDS;
use pvectl::kinds::runner_pool::spec::{RunnerPoolSpec, ask, place};
use pvectl::plan::assemble::Settings;
use pvectl::plan::desired::DesiredSet;
use pvectl::pve::api::Api;
use pvectl::pve::error::PveError;
use pvectl::pve::request::{Call, Query};
use pvectl::report::event::Nobody;
use pvectl::resource::reference::ResourceRef;
use pvectl::sim::Sim;
use pvectl::sim::baseline::{Baseline, build};
use pvectl::sim::faults::{Fault, FaultKind};
use pvectl::sim::github::front::SimSecrets;
use pvectl::sim::github::state::Status;
use pvectl::sim::world::World;
use serde_json::Value;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The first and the last number of the pool's machines.
const RANGE: (u32, u32) = (50_000, 50_999);
const LABELS: [&str; 3] = ["self-hosted", "linux", "x64"];

/// Numbers that look random and are the same in every run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// The API of cluster and GitHub, with somebody who counts machines and registrations after every write.
struct Counting {
    door: Door,
    sim: Sim,
    most: Mutex<(usize, usize)>,
    writes: AtomicUsize,
    /// The process is killed with this write, before it leaves or when it was done.
    dies: Option<(usize, Cut)>,
    dead: AtomicBool,
}

impl Api for Counting {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        self.door.get(query)
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        Box::pin(async move {
            let count = self.writes.fetch_add(1, Ordering::Relaxed);
            let last = self.dies.filter(|(at, _)| *at == count).map(|(_, cut)| cut);
            if last == Some(Cut::Before) || self.dead.load(Ordering::Relaxed) {
                self.dead.store(true, Ordering::Relaxed);
                return futures::future::pending().await;
            }
            let answer = self.door.send(call).await;
            if last == Some(Cut::After) {
                self.dead.store(true, Ordering::Relaxed);
                return futures::future::pending().await;
            }
            let count = self.sim.with_world(|w| (machines(w).len(), w.github.runners.len()));
            let mut most = self.most.lock().expect("nobody panics with it");
            *most = (most.0.max(count.0), most.1.max(count.1));
            answer
        })
    }
}

/// The pool's machines that have not failed.
fn machines(world: &World) -> Vec<u32> {
    let ours = |vmid: &u32| (RANGE.0..=RANGE.1).contains(vmid);
    let failed = |vmid: &u32| world.guests[vmid].config.get("description").is_some_and(|d| d.contains("runner.failed"));
    world.guests.keys().copied().filter(|vmid| ours(vmid) && !failed(vmid)).collect()
}

/// A cluster, GitHub, and a pool.
struct Farm {
    lab: Lab,
    hub: Arc<Hub>,
    api: Counting,
    set: DesiredSet,
    place: Place,
    ask: Ask,
    /// So many requests of the cluster came before it was begun.
    before: usize,
}

fn manifest(pool: &str) -> String {
    format!(
        "{{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {{name: ubuntu}}, spec: {{type: VirtualMachine, node: pve1, vmid: 9000, \
         source: {{cloudImage: {{url: 'https://cloud.example.com/ubuntu.qcow2', checksum: 'sha256:{}', storage: local}}}}, \
         hardware: {{cores: 2, memory: 2Gi, osType: l26, scsiController: virtio-scsi-single, guestAgent: true}}, \
         disks: [{{slot: scsi0, storage: local-lvm, size: 8Gi}}], networks: [{{slot: net0, bridge: vmbr0}}]}}}}\n---\n\
         {{apiVersion: pvectl/v1alpha1, kind: RunnerPool, metadata: {{name: ci}}, spec: {{github: {{scope: {{organization: acme}}, auth: {{token: {{env: GITHUB_TOKEN}}}}}}, \
         labels: [self-hosted, linux, x64], template: ubuntu, vmidRange: {}-{}, checks: [], {pool}{}}}}}\n",
        "ab".repeat(32),
        RANGE.0,
        RANGE.1,
        if pool.contains("bootstrap") { "" } else { ", bootstrap: {os: Linux}" }
    )
}

impl Farm {
    /// With its template made.
    fn new(pool: &str) -> Farm {
        let set = desired(&manifest(pool));
        let mut world = build(Baseline::Homelab);
        // Room for many machines.
        world.nodes.values_mut().for_each(|node| node.memory = 256 << 30);
        let lab = Lab::of(world);
        let only = Some(BTreeSet::from([ResourceRef::new("GuestTemplate", "ubuntu")]));
        lab.apply(&set, &Settings { only, ..plain() });
        lab.sim.with_world(|world| {
            world.volumes.iter_mut().filter(|v| v.vmid == Some(9000)).for_each(|v| v.bootable = true);
        });
        Farm::of(lab, set)
    }

    fn of(lab: Lab, set: DesiredSet) -> Farm {
        let hub = Arc::new(Hub::new(Arc::new(lab.sim.github()), Arc::new(lab.sim.clock()), Arc::new(SimSecrets)));
        let door = Door::of(Arc::new(lab.sim.api())).with_hub(Arc::clone(&hub));
        let api = Counting {
            door,
            sim: lab.sim.clone(),
            most: Mutex::default(),
            writes: AtomicUsize::new(0),
            dies: None,
            dead: AtomicBool::new(false),
        };
        let resource = ResourceRef::new("RunnerPool", "ci");
        let spec: &RunnerPoolSpec = set.resources[&resource].spec.downcast_ref().expect("it is a pool");
        let (place, ask) = (place(spec), ask(spec, "ci"));
        let before = lab.sim.request_log().len();
        Farm { lab, hub, api, set, place, ask, before }
    }

    /// The same with a process that has just been started: all that the old one knew is gone.
    fn reborn(self) -> Farm {
        Farm::of(self.lab, self.set)
    }

    fn now(&self) -> i64 {
        i64::try_from(self.lab.sim.clock().now_ms() / 1000).expect("a time")
    }

    /// Listens once, and makes all as it should be.
    fn turn(&self) -> Result<Report, String> {
        let clock = self.lab.sim.clock();
        // Whatever is wrong with it: the look says what is to be said.
        let _ = run(self.hub.listen(&self.place, &self.ask));
        let names = self.lab.sim.names();
        let cluster = Cluster { api: &self.api, clock: &clock, kinds: &KINDS, names: &names, files: &self.lab.files };
        let (agree, settings) = (|_: &_| true, plain());
        let mut future = pin!(reconcile(&cluster, &self.set, &settings, ALL, &Nobody, &agree));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..2_000_000 {
            if let Poll::Ready(report) = future.as_mut().poll(&mut cx) {
                return report.map_err(|halt| stopped(&halt));
            }
            if self.api.dead.load(Ordering::Relaxed) {
                return Err("killed".to_owned());
            }
        }
        panic!("it does not end: everybody waits for somebody");
    }

    /// Goes on, a turn whenever something is due, until `done`, or until it has taken too long.
    fn play(&self, until: i64, mut each: impl FnMut(&Farm), done: impl Fn(&Farm) -> bool) {
        while self.now() < until {
            each(self);
            let next = match self.turn() {
                Ok(report) => report.last.deltas.iter().filter_map(|delta| delta.next).min(),
                Err(_) => Some(self.now() + 5),
            };
            if done(self) || self.api.dead.load(Ordering::Relaxed) {
                return;
            }
            let due = next.unwrap_or(i64::MAX).clamp(self.now() + 1, self.now() + 10);
            self.lab.sim.advance(Duration::from_secs((due - self.now()).unsigned_abs()));
        }
        let clock = self.lab.sim.clock();
        let names = self.lab.sim.names();
        let cluster = Cluster { api: &self.api, clock: &clock, kinds: &KINDS, names: &names, files: &self.lab.files };
        let plan = run(preview(&cluster, &self.set, &plain())).map(|plan| {
            let notes: Vec<String> = plan
                .deltas
                .iter()
                .filter(|d| !d.notes.is_empty())
                .map(|d| format!("{} {:?}", d.resource, d.notes))
                .collect();
            format!("{}\n{}", differences(&plan), notes.join("\n"))
        });
        panic!("it does not come to an end:\n{}\n{:?}", self.left(), plan);
    }

    /// What is there that should not be when nothing is to be done.
    fn left(&self) -> String {
        self.lab.sim.with_world(|w| {
            let guests: Vec<u32> = w.guests.keys().copied().filter(|v| (RANGE.0..=RANGE.1).contains(v)).collect();
            let volumes = w.volumes.iter().filter(|v| v.vmid.is_some_and(|v| (RANGE.0..=RANGE.1).contains(&v))).count();
            let runners: Vec<&String> = w.github.runners.values().map(|r| &r.name).collect();
            let open = w.github.jobs.values().filter(|job| job.ended_ms.is_none()).count();
            format!(
                "machines {guests:?}, {volumes} volumes, registrations {runners:?}, {open} jobs open, {} lost",
                w.github.lost_jobs
            )
        })
    }

    fn is_empty(&self) -> bool {
        self.left() == "machines [], 0 volumes, registrations [], 0 jobs open, 0 lost"
    }
}

#[test]
fn a_job_gets_a_machine_of_its_own_and_nothing_is_left() {
    let farm = Farm::new("size: {max: 2}");
    let job = farm.lab.sim.queue_job("acme/app", &LABELS, Duration::from_secs(90));
    let start = farm.now();
    farm.play(start + 1800, |_| {}, |farm| farm.is_empty());
    let job = farm.lab.sim.github().job(job).expect("it is known");
    assert_eq!((job.status, job.conclusion.as_deref()), (Status::Completed, Some("success")));
    assert_eq!(farm.api.most.lock().expect("nobody panics with it").0, 1);
    // Everything but PVE's tasks, the boot, and GitHub's own seconds.
    let waited = job.started_ms.expect("it was started").saturating_sub(job.queued_ms);
    say(&format!("from the job to its first second: {waited} ms"));
}

#[test]
fn of_strangers_in_its_range_nothing_is_touched() {
    let farm = Farm::new("size: {max: 3}");
    farm.lab.sim.with_world(|world| {
        // A clone made by hand has our tag and our notes, and is nobody's; another has the name that a machine of ours would have.
        let template = world.guests[&9000].clone();
        let mut copy = template.clone();
        copy.config.remove("template");
        copy.config.insert("tags".into(), "pvectl".into());
        copy.config.insert("name".into(), "ci-50000-00000000000".into());
        world.guests.insert(RANGE.0, copy);
    });
    let seen = |farm: &Farm| farm.lab.sim.with_world(|w| serde_json::to_value(&w.guests[&RANGE.0]).expect("JSON"));
    let before = seen(&farm);
    farm.lab.sim.queue_job("acme/app", &LABELS, Duration::from_secs(30));
    let start = farm.now();
    let done = |farm: &Farm| {
        farm.lab
            .sim
            .with_world(|w| w.github.jobs.values().all(|job| job.ended_ms.is_some()) && machines(w) == [RANGE.0])
    };
    farm.play(start + 1800, |_| {}, done);
    assert_eq!(seen(&farm), before);
}

/// What goes wrong while a thousand jobs are done.
fn mishaps() -> Vec<FaultKind> {
    vec![
        FaultKind::DropBefore,
        FaultKind::DropAfter,
        FaultKind::Status(500, "got timeout".into()),
        FaultKind::NodeOffline,
        FaultKind::TaskFails("clone failed: command 'lvcreate' failed: exit code 5".into()),
        FaultKind::LockTimeout,
        FaultKind::Status(503, "Service Unavailable".into()),
        FaultKind::Expired,
    ]
}

#[test]
fn a_thousand_jobs_with_something_wrong_all_the_time() {
    const JOBS: usize = 1000;
    const MAX: usize = 24;
    let farm = Farm::new(&format!("size: {{minIdle: 2, max: {MAX}, maxStarting: 8}}, timeouts: {{minIdleAge: 60s}}"));
    let (mut dice, mut queued, mut due) = (Dice(8), 0, farm.now());
    let mishaps = mishaps();
    let start = farm.now();
    let drained = |farm: &Farm| {
        farm.lab
            .sim
            .with_world(|w| w.github.jobs.len() == JOBS && w.github.jobs.values().all(|job| job.ended_ms.is_some()))
    };
    let each = |farm: &Farm| {
        // Bursts of up to forty, and quiet times.
        if queued < JOBS && farm.now() >= due {
            for _ in 0..(1 + dice.roll(40)).min((JOBS - queued) as u64) {
                let takes = Duration::from_secs(20 + dice.roll(400));
                farm.lab.sim.queue_job("acme/app", &LABELS, takes);
                queued += 1;
            }
            due = farm.now() + 60 + i64::try_from(dice.roll(600)).expect("small");
        }
        let kind = &mishaps[usize::try_from(dice.roll(mishaps.len() as u64)).expect("small")];
        farm.lab.sim.inject(Fault::at(dice.roll(120), kind.clone()));
    };
    farm.play(start + 12 * 3600, each, drained);
    farm.lab.sim.clear_faults();
    // Nobody wants runners any more: what is idle goes.
    let set = desired(&manifest(&format!("size: {{minIdle: 0, max: {MAX}}}")));
    let farm = Farm { set, ..farm };
    let ended = farm.now();
    farm.play(ended + 3600, |_| {}, |farm| farm.is_empty());
    let (jobs, ever) =
        farm.lab.sim.with_world(|w| (w.github.jobs.values().cloned().collect::<Vec<_>>(), w.github.registered_ever));
    assert!(jobs.iter().all(|job| job.conclusion.as_deref() == Some("success") && !job.lost), "a job was lost");
    let (most, registered) = *farm.api.most.lock().expect("nobody panics with it");
    assert!(most <= MAX, "{most} machines at once");
    let mut waits: Vec<u64> =
        jobs.iter().map(|job| job.started_ms.unwrap_or(0).saturating_sub(job.queued_ms) / 1000).collect();
    waits.sort_unstable();
    say(&format!(
        "{JOBS} jobs in {} minutes, at most {most} machines and {registered} registrations at once, {ever} registrations in all; waited for a runner: half {} s, most {} s",
        (ended - start) / 60,
        waits[waits.len() / 2],
        waits[waits.len() * 95 / 100]
    ));
}

/// What happens to one request.
#[derive(Clone, Debug)]
enum Wound {
    /// It goes wrong.
    Fault(FaultKind),
    /// The process is killed, before it or after it.
    Killed(Cut),
}

/// Two jobs that come a minute apart, and a machine that is kept warm until it is not wanted any more.
fn small() -> (Farm, String) {
    let farm = Farm::new("size: {minIdle: 1, max: 2}, timeouts: {minIdleAge: 20s}");
    farm.lab.sim.queue_job("acme/app", &LABELS, Duration::from_secs(40));
    (farm, manifest("size: {minIdle: 0, max: 2}, timeouts: {minIdleAge: 20s}"))
}

/// Plays it to its end, and says what is wrong then.
fn to_its_end((mut farm, last): (Farm, String), wound: Option<(&str, usize, &Wound)>) -> (Farm, Option<String>) {
    match wound {
        None => {}
        Some((request, _, Wound::Fault(kind))) => {
            let (method, path) = request.split_once(' ').expect("a method and a path");
            farm.lab.sim.inject(Fault::on(method, path, kind.clone()));
        }
        Some((_, count, Wound::Killed(cut))) => farm.api.dies = Some((count, *cut)),
    }
    let start = farm.now();
    let over = |farm: &Farm| {
        farm.lab
            .sim
            .with_world(|w| w.github.jobs.len() == 2 && w.github.jobs.values().all(|job| job.ended_ms.is_some()))
    };
    let second = |farm: &Farm| {
        if farm.now() >= start + 60 && farm.lab.sim.with_world(|w| w.github.jobs.len() == 1) {
            farm.lab.sim.queue_job("acme/app", &LABELS, Duration::from_secs(40));
        }
    };
    let (mut most, mut killed) = (0, false);
    for done in [&over as &dyn Fn(&Farm) -> bool, &Farm::is_empty] {
        farm.play(start + 4 * 3600, second, done);
        if farm.api.dead.load(Ordering::Relaxed) {
            most = most.max(farm.api.most.lock().expect("nobody panics with it").0);
            killed = true;
            farm = farm.reborn();
            farm.play(start + 4 * 3600, second, done);
        }
        farm.set = desired(&last);
    }
    most = most.max(farm.api.most.lock().expect("nobody panics with it").0);
    let wounded = match wound {
        None => true,
        Some((_, _, Wound::Fault(_))) => farm.lab.sim.faults_left() == 0,
        Some((_, _, Wound::Killed(_))) => killed,
    };
    if !wounded {
        return (farm, Some("nothing went wrong at all: this tests nothing".to_owned()));
    }
    let bad = farm
        .lab
        .sim
        .with_world(|w| w.github.jobs.values().find(|job| job.conclusion.as_deref() != Some("success")).cloned());
    let wrong = match bad {
        Some(job) => Some(format!("job {} ended as {:?}", job.id, job.conclusion)),
        None => (most > 2).then(|| format!("{most} machines at once")),
    };
    (farm, wrong)
}

#[test]
fn whatever_goes_wrong_with_a_request_no_job_is_lost_and_nothing_is_left() {
    let wounds: Vec<Wound> =
        mishaps().into_iter().map(Wound::Fault).chain([Cut::Before, Cut::After].map(Wound::Killed)).collect();
    let (farm, wrong) = to_its_end(small(), None);
    assert_eq!(wrong, None);
    let of_pve =
        farm.lab.sim.request_log().into_iter().skip(farm.before).map(|(method, path)| format!("{method} {path}"));
    let of_github = farm
        .lab
        .sim
        .github()
        .request_log()
        .into_iter()
        .map(|(method, url)| format!("{method} {}", url.split_once("://").map_or(url.as_str(), |(_, rest)| rest)));
    let mut requests: Vec<String> = of_pve.chain(of_github).collect();
    requests.sort();
    requests.dedup();
    let only = std::env::var("REQUEST").unwrap_or_default();
    let mut cases: Vec<(String, usize, &Wound)> = Vec::new();
    for request in requests.iter().filter(|request| request.contains(&only)) {
        let faults = wounds.iter().filter(|w| matches!(w, Wound::Fault(_)));
        // A read that fails says so, however it fails.
        let fits = |w: &&Wound| {
            let reads = matches!(w, Wound::Fault(FaultKind::DropBefore | FaultKind::NodeOffline | FaultKind::Expired));
            reads || !request.starts_with("GET")
        };
        cases.extend(faults.filter(fits).map(|w| (request.clone(), 0, w)));
    }
    let writes = farm.api.writes.load(Ordering::Relaxed);
    for count in (0..writes).filter(|_| only.is_empty()) {
        cases.extend(
            wounds.iter().filter(|w| matches!(w, Wound::Killed(_))).map(|w| (format!("write {count}"), count, w)),
        );
    }
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some((request, count, wound)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let case = || to_its_end(small(), Some((request, *count, wound))).1;
                    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(case));
                    let found = found.unwrap_or_else(|why| {
                        Some(why.downcast_ref::<String>().cloned().unwrap_or_else(|| "it panicked".to_owned()))
                    });
                    if let Some(why) = found {
                        wrong.lock().expect("nobody panics with it").push(format!("{request} | {wound:?}: {why}"));
                    }
                }
            });
        }
    });
    let (cases, mut wrong) = (cases.len(), wrong.into_inner().expect("nobody panics with it"));
    wrong.iter_mut().for_each(|why| why.truncate(2500));
    let total = wrong.len();
    wrong.truncate(8);
    say(&format!("{} requests, {cases} cases", requests.len()));
    assert!(wrong.is_empty(), "{total} of {cases} cases went wrong:\n{}", wrong.join("\n\n"));
    assert!(!only.is_empty() || cases >= 250, "only {cases} cases");
}
