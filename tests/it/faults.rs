//! The fault matrix: every scenario, every request of it, every fault, and a killed process before and after it; then the
//! same run once more without faults. The end is the same as if nothing had happened, and nothing is left lying about.

use crate::corpus::LIVES;
use crate::world::{ALL, Lab, delta, desired, normal, nothing, open, orphans, prune, stopped, strangers};
use futures::future::BoxFuture;
use pvectl::engine::reconcile::{Cluster, reconcile};
use pvectl::kinds::list::KINDS;
use pvectl::plan::assemble::Settings;
use pvectl::plan::desired::DesiredSet;
use pvectl::pve::api::Api;
use pvectl::pve::error::PveError;
use pvectl::pve::request::{Call, Query};
use pvectl::report::event::Nobody;
use pvectl::resource::kind::AnyKind;
use pvectl::sim::SimApi;
use pvectl::sim::faults::{Fault, FaultKind};
use pvectl::sim::world::World;
use serde_json::Value;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

// ---- a killed process ------------------------------------------------------------------------------------------------

/// Where the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Before the request leaves.
    Before,
    /// When the cluster has done it.
    After,
}

pub(crate) struct Mortal {
    api: SimApi,
    counted: AtomicUsize,
    dies_at: usize,
    cut: Cut,
    writes_only: bool,
    dead: AtomicBool,
}

impl Mortal {
    /// Dies at the n-th request.
    pub(crate) fn at(api: SimApi, dies_at: usize, cut: Cut) -> Mortal {
        Mortal { api, counted: AtomicUsize::new(0), dies_at, cut, writes_only: false, dead: AtomicBool::new(false) }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    async fn live<T>(&self, write: bool, request: impl Future<Output = T>) -> T {
        let counts = write || !self.writes_only;
        let last = counts && self.counted.fetch_add(1, Ordering::Relaxed) == self.dies_at;
        if last && self.cut == Cut::After {
            let _ = request.await;
            self.dead.store(true, Ordering::Relaxed);
            return futures::future::pending().await;
        }
        if last || self.dead.load(Ordering::Relaxed) {
            self.dead.store(true, Ordering::Relaxed);
            return futures::future::pending().await;
        }
        request.await
    }
}

impl Api for Mortal {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        Box::pin(self.live(false, self.api.get(query)))
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        Box::pin(self.live(true, self.api.send(call)))
    }
}

/// Runs until the n-th request (or write), and dies there. `None`: the run ended before.
pub(crate) fn crash(
    lab: &Lab,
    kinds: &[&'static dyn AnyKind],
    set: &DesiredSet,
    settings: &Settings,
    n: usize,
    cut: Cut,
    writes_only: bool,
) -> Option<()> {
    let api = Mortal {
        api: lab.sim.api(),
        counted: AtomicUsize::new(0),
        dies_at: n,
        cut,
        writes_only,
        dead: AtomicBool::new(false),
    };
    let clock = lab.sim.clock();
    let names = lab.sim.names();
    let cluster = Cluster { api: &api, clock: &clock, kinds, names: &names, files: &lab.files };
    let agree = |_: &_| true;
    let mut future = pin!(reconcile(&cluster, set, settings, ALL, &Nobody, &agree));
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if future.as_mut().poll(&mut cx).is_ready() {
            return None;
        }
        if api.dead.load(Ordering::Relaxed) {
            return Some(());
        }
    }
    panic!("it neither ends nor dies");
}

// ---- scenarios -------------------------------------------------------------------------------------------------------

struct Scenario {
    name: &'static str,
    /// What was applied before.
    before: Option<&'static str>,
    /// What is applied under faults; `None`: nothing is left in the manifests.
    then: Option<&'static str>,
    /// What somebody else has done in between.
    meanwhile: fn(&mut World),
}

impl Scenario {
    fn new(name: &'static str, before: Option<&'static str>, then: Option<&'static str>) -> Scenario {
        Scenario { name, before, then, meanwhile: |_| {} }
    }

    /// HA looks after guest 120.
    fn under_ha(self) -> Scenario {
        let meanwhile = |world: &mut World| {
            let resource = serde_json::json!({"sid": "vm:120", "type": "vm", "state": "started"});
            world.table("cluster/ha/resources").insert("vm:120".into(), resource);
        };
        Scenario { meanwhile, ..self }
    }
}

const MACHINE: &str = r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: one}
spec:
  vmid: 120
  node: pve2
  tags: [a]
  description: one
  power: Running
  hardware: {cores: 1, memory: 1Gi}
  disks: [{slot: scsi0, storage: local-lvm, size: 4Gi}]
  networks: [{slot: net0, bridge: vmbr0}]
  startup: {order: 3}
";

const MACHINE_LIVE: &str = r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: one}
spec:
  vmid: 120
  node: pve2
  tags: [b, c]
  description: changed
  power: Running
  hardware: {cores: 1, memory: 1Gi}
  disks: [{slot: scsi0, storage: local-lvm, size: 4Gi, backup: false}]
  networks: [{slot: net0, bridge: vmbr1, vlan: 5}]
  startup: {onBoot: true, order: 4}
";

const MACHINE_RESTART: &str = r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: one}
spec:
  vmid: 120
  node: pve2
  tags: [a]
  description: one
  power: Running
  hardware: {cores: 4, memory: 2Gi, cpu: host}
  disks: [{slot: scsi0, storage: local-lvm, size: 4Gi}]
  networks: [{slot: net0, bridge: vmbr0}]
  startup: {order: 3}
  update: {reboot: IfRequired}
";

const MACHINE_GROWN: &str = r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: one}
spec:
  vmid: 120
  node: pve2
  tags: [a]
  description: one
  power: Running
  hardware: {cores: 1, memory: 1Gi}
  disks: [{slot: scsi0, storage: local-lvm, size: 7Gi}, {slot: scsi1, storage: local-lvm, size: 1Gi}]
  networks: [{slot: net0, bridge: vmbr0}]
  startup: {order: 3}
";

const MACHINE_ELSEWHERE: &str = r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: one}
spec:
  vmid: 120
  node: pve3
  tags: [a]
  description: moved
  power: Running
  hardware: {cores: 1, memory: 1Gi}
  disks: [{slot: scsi0, storage: local-lvm, size: 4Gi}]
  networks: [{slot: net0, bridge: vmbr0}]
  startup: {order: 3}
  update: {migrate: Online}
";

const MACHINE_AT_REST: &str = r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: one}
spec:
  vmid: 120
  node: pve3
  tags: [a]
  description: moved
  power: Running
  hardware: {cores: 2, memory: 1Gi}
  disks: [{slot: scsi0, storage: local-lvm, size: 4Gi}]
  networks: [{slot: net0, bridge: vmbr0}]
  startup: {order: 3}
  update: {migrate: Offline}
";

const MACHINE_STOPPED: &str = r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: one}
spec:
  vmid: 120
  node: pve2
  tags: [a]
  description: one
  power: Stopped
  hardware: {cores: 1, memory: 1Gi}
  disks: [{slot: scsi0, storage: local-lvm, size: 4Gi}]
  networks: [{slot: net0, bridge: vmbr0}]
  startup: {order: 3}
";

const SEVERAL: &str = r"
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: a}, spec: {vmid: 121, node: pve1, description: a, tags: [x], power: Stopped, disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}]}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: b}, spec: {vmid: 122, node: pve2, description: b, tags: [x], power: Running, disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}]}}
";

const SEVERAL_CHANGED: &str = r"
{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {name: p}, spec: {comment: all}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: a}, spec: {vmid: 121, node: pve1, description: a, tags: [y], pool: p, power: Running, disks: [{slot: scsi0, storage: local-lvm, size: 2Gi}]}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: b}, spec: {vmid: 122, node: pve2, description: b2, tags: [y], power: Stopped, disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}]}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: c}, spec: {node: pve3, description: c, tags: [y], pool: p, disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}]}}
---
{apiVersion: pvectl/v1alpha1, kind: Container, metadata: {name: d}, spec: {vmid: 221, node: pve3, from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}, description: d, rootfs: {storage: local-lvm, size: 1Gi}}}
";

/// Two machines of one image, which is fetched once.
const IMAGES: &str = r"
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: a}, spec: {vmid: 121, node: pve1, description: a, from: {image: {url: 'https://cloud.debian.org/debian-12-generic-amd64.qcow2', checksum: 'sha256:4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c', storage: local}}, disks: [{slot: scsi0, storage: local-lvm, size: 6Gi}], power: Running}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: b}, spec: {node: pve1, description: b, from: {image: {url: 'https://cloud.debian.org/debian-12-generic-amd64.qcow2', checksum: 'sha256:4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c', storage: local}}, disks: [{slot: scsi0, storage: local-lvm}]}}
";

/// Copies of guests that are there, beside them.
const RESTORED: &str = r"
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: a}, spec: {node: pve2, description: a, from: {archive: 'nfs:backup/vzdump-qemu-8000-2026_11_15-02_00_00.vma.zst', storage: local-lvm}, disks: [{slot: scsi0, size: 5Gi}]}}
---
{apiVersion: pvectl/v1alpha1, kind: Container, metadata: {name: b}, spec: {node: pve2, description: b, from: {archive: 'nfs:backup/vzdump-lxc-8200-2026_11_15-02_00_00.tar.zst', storage: local-lvm}, hardware: {cores: 2}}}
";

const VERSION_1: &str = r"
{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {name: base}, spec: {description: base, vmidRange: 9000-9009, version: '1', node: pve1, source: {clone: {vmid: 8000, storage: nfs}}}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: a}, spec: {vmid: 121, description: a, from: {template: base}}}
";

/// The old version stays for `a`, which is linked to it.
const VERSION_2: &str = r"
{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {name: base}, spec: {description: base, vmidRange: 9000-9009, version: '2', node: pve1, source: {clone: {vmid: 8000, storage: nfs}}, hardware: {cores: 1}}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: a}, spec: {vmid: 121, description: a, from: {template: base}}}
";

const VERSION_1_ALONE: &str = r"
{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {name: base}, spec: {description: base, vmidRange: 9000-9009, version: '1', node: pve1, source: {clone: {vmid: 8000, storage: nfs}}}}
";

/// Nothing is linked to the old version: it goes when the new one is ready.
const VERSION_3: &str = r"
{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {name: base}, spec: {description: base, vmidRange: 9000-9009, version: '3', node: pve1, source: {clone: {vmid: 8000, storage: nfs}}}}
";

const MACHINE_KEPT: &str = r"
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: one}
spec:
  vmid: 120
  node: pve2
  tags: [a]
  description: one
  power: Running
  hardware: {cores: 1, memory: 1Gi}
  disks: [{slot: scsi0, storage: local-lvm, size: 4Gi}]
  networks: [{slot: net0, bridge: vmbr0}]
  startup: {order: 3}
---
{apiVersion: pvectl/v1alpha1, kind: SnapshotPolicy, metadata: {name: keep}, spec: {selector: {vmids: [120]}, schedule: '00:00', includeMemory: true, retention: {keepDaily: 2}}}
";

/// Four snapshots of a policy that are some days old.
fn kept_before(world: &mut World) {
    let now = world.clock_ms / 1000;
    let guest = world.guests.get_mut(&120).expect("it is there");
    for days in (1..=4).rev() {
        let time = now - days * 86_400;
        let at = jiff::Timestamp::from_second(i64::try_from(time).expect("a time")).expect("a time");
        let mut config = guest.config.clone();
        config.insert("snaptime".into(), time.to_string());
        config.insert("description".into(), "taken with pvectl for SnapshotPolicy/keep of lab".into());
        let name = at.strftime("keep-%Y%m%dT000000Z").to_string();
        guest.config.insert("parent".into(), name.clone());
        guest.snapshots.insert(name, pvectl::sim::world::Snapshot { config, ..Default::default() });
    }
}

/// All that is not ours. What HA was told about our guest is ours to say.
fn foreign(world: &World) -> Value {
    let mut world = world.clone();
    world.table("cluster/ha/resources").remove("vm:120");
    strangers(&world)
}

fn scenarios() -> Vec<Scenario> {
    let web = LIVES[3].states;
    let dns = LIVES[5].states;
    let rights = LIVES.iter().find(|l| l.name.starts_with("who may")).expect("a life").states;
    let token = LIVES.iter().find(|l| l.name.starts_with("a token")).expect("a life").states;
    let vault = LIVES.iter().find(|l| l.name.starts_with("storage with")).expect("a life").states;
    let profile = LIVES.iter().find(|l| l.name.starts_with("network profiles")).expect("a life").states;
    let wall = LIVES.iter().find(|l| l.name.starts_with("firewall of")).expect("a life").states;
    let backups = LIVES.iter().find(|l| l.name.starts_with("a backup policy")).expect("a life").states;
    let nets = LIVES.iter().find(|l| l.name.starts_with("zones with")).expect("a life").states;
    let mounts = LIVES.iter().find(|l| l.name.starts_with("a disk that is mounted")).expect("a life").states;
    vec![
        Scenario::new("mount disks, with a storage", None, Some(mounts[0])),
        Scenario::new("change mounts and their storage", Some(mounts[0]), Some(mounts[1])),
        Scenario::new("unmount disks", Some(mounts[0]), None),
        Scenario::new("create from a template that is made too", None, Some(web[0])),
        Scenario::new("update live", Some(MACHINE), Some(MACHINE_LIVE)),
        Scenario::new("update with a restart", Some(MACHINE), Some(MACHINE_RESTART)),
        Scenario::new("grow a disk and add one", Some(MACHINE), Some(MACHINE_GROWN)),
        Scenario::new("change several guests at once", Some(SEVERAL), Some(SEVERAL_CHANGED)),
        Scenario::new("delete all with prune", Some(web[0]), None),
        Scenario::new("create a container", None, Some(dns[0])),
        Scenario::new("change a container", Some(dns[0]), Some(dns[1])),
        Scenario::new("machines of an image that is fetched", None, Some(IMAGES)),
        Scenario::new("restore from backups", None, Some(RESTORED)),
        Scenario::new("a new version beside the old", Some(VERSION_1), Some(VERSION_2)),
        Scenario::new("a new version in place of the old", Some(VERSION_1_ALONE), Some(VERSION_3)),
        Scenario::new("move to another pool and change a clone", Some(web[0]), Some(web[1])),
        Scenario::new("move to another node while it runs", Some(MACHINE), Some(MACHINE_ELSEWHERE)),
        Scenario::new("move to another node at rest", Some(MACHINE), Some(MACHINE_AT_REST)),
        Scenario::new("move a container by a restart", Some(LIVES[9].states[0]), Some(LIVES[9].states[1])),
        Scenario::new("have HA move a machine", Some(MACHINE), Some(MACHINE_ELSEWHERE)).under_ha(),
        Scenario::new("have HA stop a machine", Some(MACHINE), Some(MACHINE_STOPPED)).under_ha(),
        Scenario::new("change a firewall", Some(wall[0]), Some(wall[1])),
        Scenario::new("change who may do what", Some(rights[0]), Some(rights[1])),
        Scenario::new("make a token", None, Some(token[0])),
        Scenario::new("change a token", Some(token[0]), Some(token[1])),
        Scenario::new("change a storage and its backup job", Some(vault[0]), Some(vault[1])),
        Scenario::new("make a backup policy", None, Some(backups[0])),
        Scenario::new("have a backup policy follow its guests", Some(backups[0]), Some(backups[1])),
        Scenario::new("make networks", None, Some(nets[0])),
        Scenario::new("change networks", Some(nets[0]), Some(nets[1])),
        Scenario {
            meanwhile: kept_before,
            ..Scenario::new("take a snapshot and prune others", Some(MACHINE), Some(MACHINE_KEPT))
        },
        Scenario::new("change a network profile", Some(profile[0]), Some(profile[1])),
    ]
}

// ---- wounds ----------------------------------------------------------------------------------------------------------

/// What goes wrong in a case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wound {
    Fault(FaultKind),
    /// Killed, and run again when all tasks have ended.
    Killed(Cut),
    /// Killed, and run again at once, while they still run.
    KilledAndAgain,
}

fn wounds() -> Vec<Wound> {
    let mut all: Vec<Wound> = [
        FaultKind::Unsent,
        FaultKind::DropBefore,
        FaultKind::DropAfter,
        FaultKind::Slow(90_000),
        FaultKind::Status(500, "unable to read the configuration".into()),
        FaultKind::Status(503, "Service Unavailable".into()),
        FaultKind::Status(403, "Permission check failed".into()),
        FaultKind::NodeOffline,
        FaultKind::TaskFails("command 'lvcreate' failed: exit code 5".into()),
        FaultKind::TaskWarns,
        FaultKind::Locked("backup".into()),
        FaultKind::LockTimeout,
        FaultKind::StorageFull,
        FaultKind::DigestRace,
        FaultKind::Expired,
    ]
    .into_iter()
    .map(Wound::Fault)
    .collect();
    all.extend([Wound::Killed(Cut::Before), Wound::Killed(Cut::After), Wound::KilledAndAgain]);
    all
}

/// A list of every fault that the simulator knows: a new one must be added to [`wounds`].
fn is_in_the_matrix(kind: &FaultKind) {
    match kind {
        FaultKind::Unsent
        | FaultKind::DropBefore
        | FaultKind::DropAfter
        | FaultKind::Slow(_)
        | FaultKind::Status(..) => {}
        FaultKind::NodeOffline | FaultKind::TaskFails(_) | FaultKind::TaskWarns | FaultKind::Locked(_) => {}
        // What it leaves is cleaned up by root, on the node: the half-made snapshots of `hands.rs`.
        FaultKind::TaskDies(_) => {}
        FaultKind::LockTimeout | FaultKind::StorageFull | FaultKind::DigestRace | FaultKind::Expired => {}
    }
}

// ---- the matrix ------------------------------------------------------------------------------------------------------

/// A scenario ready to be wounded.
struct Ready {
    name: &'static str,
    start: World,
    set: DesiredSet,
    wanted: Value,
    /// All that is not ours, as it is at the end. What cannot carry a marker looks like a stranger, and is changed.
    strangers: Value,
    /// The requests that are wounded, by number.
    requests: Vec<usize>,
}

fn set(yaml: Option<&str>) -> DesiredSet {
    yaml.map_or_else(nothing, desired)
}

fn ready(scenario: &Scenario) -> Ready {
    let lab = Lab::homelab();
    if let Some(before) = scenario.before {
        lab.apply(&desired(before), &prune());
        lab.install();
        lab.sim.with_world(scenario.meanwhile);
    }
    let start = lab.world();
    let log = lab.sim.request_log().len();
    let set = set(scenario.then);
    lab.apply(&set, &prune());
    let paths: Vec<(String, String)> = lab.sim.request_log().split_off(log);
    // Of the many looks at one task, three stand for all.
    let looks = |n: usize| paths[n].1.contains("/tasks/") && paths[..n].iter().filter(|p| **p == paths[n]).count() >= 3;
    let requests = (0..paths.len()).filter(|n| !looks(*n)).collect();
    let world = lab.world();
    assert!(
        orphans(&world).is_empty(),
        "{}: volumes without a guest even without faults: {:?}",
        scenario.name,
        orphans(&world)
    );
    let others = foreign(&world);
    if set.resources.values().all(|want| want.kind.marks()) {
        assert!(others == foreign(&start), "{}: strangers were touched even without faults", scenario.name);
    }
    Ready { name: scenario.name, start, set, wanted: normal(&world), strangers: others, requests }
}

/// Notes that the fault itself wrote on strangers.
fn without_strangers_notes(value: &mut Value) {
    for vmid in crate::world::STRANGERS {
        if let Some(config) = value.pointer_mut(&format!("/guests/{vmid}/config")).and_then(Value::as_object_mut) {
            config.remove("description");
        }
    }
    // A version that was followed by another is nobody's to write on.
    for guest in value["guests"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
        let notes = guest["config"]["description"].as_str().unwrap_or_default();
        if notes.contains(r#""version":"1""#) {
            guest["config"]["description"] = notes.replace("changed by another user", "").trim().into();
        }
    }
}

/// One case; `Err` says what is wrong.
fn case(ready: &Ready, n: usize, wound: &Wound) -> Result<(), String> {
    let lab = Lab::of(ready.start.clone());
    let settings = prune();
    let mut after_first = None;
    match wound {
        Wound::Fault(kind) => {
            is_in_the_matrix(kind);
            lab.sim.inject(Fault::at(n as u64, kind.clone()));
            after_first = lab.try_apply(&lab.sim.api(), &KINDS, &ready.set, &settings).ok();
            lab.sim.clear_faults();
        }
        Wound::Killed(cut) => {
            crash(&lab, &KINDS, &ready.set, &settings, n, *cut, false);
            lab.sim.finish_tasks();
        }
        Wound::KilledAndAgain => {
            crash(&lab, &KINDS, &ready.set, &settings, n, Cut::After, false);
        }
    }
    let race = *wound == Wound::Fault(FaultKind::DigestRace);
    let same = |what: &str, a: &Value, b: &Value| {
        let (mut a, mut b) = (a.clone(), b.clone());
        if race {
            without_strangers_notes(&mut a);
            without_strangers_notes(&mut b);
        }
        if a == b { Ok(()) } else { Err(format!("{what}: {}", delta(&a, &b))) }
    };
    // What a run calls done is done, fault or not; only a change by hand in its last look may come after.
    if after_first.is_some_and(|report| report.converged()) && !race {
        same("it says that all is done, but", &ready.wanted, &normal(&lab.world()))?;
    }
    let again = || lab.try_apply(&lab.sim.api(), &KINDS, &ready.set, &settings);
    let second = match again() {
        Ok(report) if !report.converged() && lab.obeys(&open(&report)) => again(),
        second => second,
    };
    match second {
        Ok(report) if report.converged() => {}
        Ok(report) => return Err(format!("the run after it does not converge: {}", open(&report))),
        Err(halt) => return Err(format!("the run after it halts: {}", stopped(&halt))),
    }
    lab.sim.finish_tasks();
    let world = lab.world();
    same("another end", &ready.wanted, &normal(&world))?;
    same("strangers were touched", &ready.strangers, &foreign(&world))?;
    let left = orphans(&world);
    if left.is_empty() { Ok(()) } else { Err(format!("volumes without a guest: {left:?}")) }
}

/// All cases of a scenario; those that went wrong.
fn matrix(ready: &Ready) -> (usize, Vec<String>) {
    let wounds = wounds();
    let cases: Vec<(usize, &Wound)> = ready.requests.iter().flat_map(|n| wounds.iter().map(move |w| (*n, w))).collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((n, wound)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = case(ready, *n, wound) {
                        let mut wrong = wrong.lock().unwrap_or_else(PoisonError::into_inner);
                        wrong.push(format!("{} | request {n} | {wound:?}: {why}", ready.name));
                    }
                }
            });
        }
    });
    (cases.len(), wrong.into_inner().unwrap_or_else(PoisonError::into_inner))
}

#[test]
#[expect(clippy::print_stderr, reason = "the number of cases is worth knowing")]
fn whatever_goes_wrong_the_next_run_sets_it_right() {
    let started = std::time::Instant::now();
    let only = std::env::var("SCENARIO").unwrap_or_default();
    let (mut cases, mut wrong, mut count) = (0, Vec::new(), 0);
    for scenario in scenarios().iter().filter(|s| s.name.contains(&only)) {
        let ready = ready(scenario);
        let (tried, failed) = matrix(&ready);
        eprintln!("{:45} {:4} requests {tried:6} cases {:4} wrong", scenario.name, ready.requests.len(), failed.len());
        (cases, count) = (cases + tried, count + 1);
        wrong.extend(failed);
    }
    eprintln!("{cases} cases in {:.1} s", started.elapsed().as_secs_f32());
    let total = wrong.len();
    wrong.iter_mut().for_each(|why| why.truncate(1200));
    wrong.truncate(25);
    assert!(wrong.is_empty(), "{total} of {cases} cases went wrong:\n{}", wrong.join("\n\n"));
    assert!(!only.is_empty() || (count >= 6 && cases >= 3000), "only {cases} cases of {count} scenarios");
}

#[test]
fn mutant_the_matrix_sees_a_wrong_end() {
    let scenario = Scenario::new("pool", None, Some(LIVES[0].states[0]));
    let mut ready = ready(&scenario);
    ready.wanted["pools"]["lab"]["comment"] = "something else".into();
    assert!(case(&ready, 0, &Wound::Fault(FaultKind::Expired)).is_err());
}
