//! A cluster and manifests in one line: the simulator in process, on virtual time, and what can be done with it.

use pvectl::base::diagnostic::{Diagnostic, render};
use pvectl::base::links::Links;
use pvectl::base::secret::Secret;
use pvectl::base::secret_file::{BegunFile, FileState, SecretFiles};
use pvectl::bind::documents::bind;
use pvectl::engine::reconcile::{Cluster, Halt, Report, preview, reconcile};
use pvectl::kinds::list::KINDS;
use pvectl::manifest::load::{Input, Loaded, load};
use pvectl::plan::assemble::{Plan, Settings};
use pvectl::plan::desired::DesiredSet;
use pvectl::plan::gate::{Consent, DataLoss};
use pvectl::pve::api::Api;
use pvectl::report::event::Nobody;
use pvectl::resource::kind::AnyKind;
use pvectl::resource::reference::ResourceRef;
use pvectl::sim::Sim;
use pvectl::sim::baseline::{Baseline, build};
use pvectl::sim::world::World;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Polls after which a run is taken to hang: every wait is virtual, so each poll gets on.
const POLLS_MAX: usize = 2_000_000;

/// Runs a future to its end on this thread. Nothing in it waits for real time.
#[track_caller]
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
    }
    panic!("it does not end: everybody waits for somebody");
}

/// Manifests as text, read and bound to kinds; what is wrong with them stands in `loaded`.
pub(crate) fn bound(yaml: &str, set: &str) -> (Loaded, DesiredSet) {
    let kinds = pvectl::kinds::list::names();
    let mut loaded = load(&[Input::Text { name: "test.yaml".into(), bytes: yaml.as_bytes().to_vec() }], false, &kinds);
    let desired = bind(&mut loaded, Some(set));
    (loaded, desired)
}

/// Manifests of the set `lab`, which must be without a fault.
#[track_caller]
pub(crate) fn desired(yaml: &str) -> DesiredSet {
    let (loaded, desired) = bound(yaml, "lab");
    let texts: Vec<String> =
        loaded.diagnostics.iter().map(|d: &Diagnostic| render(d, &loaded.sources, false)).collect();
    assert!(texts.is_empty(), "the test's own manifests are wrong:\n{}", texts.join("\n"));
    desired
}

/// A set that wants nothing.
pub(crate) fn nothing() -> DesiredSet {
    DesiredSet { set: "lab".into(), resources: BTreeMap::new() }
}

/// What a test agrees to: everything.
pub(crate) const ALL: Consent = Consent { data_loss: DataLoss::Any, max_deletes: Some(usize::MAX) };

/// Plain settings, as root.
pub(crate) fn plain() -> Settings {
    Settings { root_ticket: true, links: Links::Every, ..Settings::default() }
}

/// The same with pruning.
pub(crate) fn prune() -> Settings {
    Settings { prune: true, ..plain() }
}

/// How those resources of a set are deleted that cannot carry a marker: by their manifests. `None`: there are none.
pub(crate) fn by_manifest(set: &DesiredSet) -> Option<Settings> {
    let unmarked = set.resources.values().filter(|want| !want.kind.marks()).map(|want| want.resource.clone());
    let doomed: BTreeSet<_> = unmarked.collect();
    (!doomed.is_empty()).then(|| Settings { delete: doomed.clone(), only: Some(doomed), ..plain() })
}

/// Files of secrets in memory. One that was begun stays, empty, where the process was killed.
#[derive(Clone, Default)]
pub(crate) struct Shelf(pub(crate) Arc<Mutex<BTreeMap<String, String>>>);

struct Begun(Shelf, String);

impl SecretFiles for Shelf {
    fn look(&self, path: &str) -> FileState {
        match self.0.lock().expect("nobody panics with it").get(path) {
            None => FileState::Absent,
            Some(text) if text.is_empty() => FileState::Empty,
            Some(_) => FileState::Filled,
        }
    }

    fn begin(&self, path: &str) -> Result<Box<dyn BegunFile>, String> {
        if self.look(path) == FileState::Filled {
            return Err("it is there already".into());
        }
        self.0.lock().expect("nobody panics with it").insert(path.to_owned(), String::new());
        Ok(Box::new(Begun(self.clone(), path.to_owned())))
    }
}

impl BegunFile for Begun {
    fn keep(self: Box<Self>, secret: &Secret) -> Result<(), String> {
        self.0.0.lock().expect("nobody panics with it").insert(self.1, secret.expose().to_owned());
        Ok(())
    }

    fn discard(self: Box<Self>) {
        self.0.0.lock().expect("nobody panics with it").remove(&self.1);
    }
}

/// A simulated cluster.
pub(crate) struct Lab {
    /// The simulator.
    pub(crate) sim: Sim,
    /// Files of secrets on this machine.
    pub(crate) files: Shelf,
}

impl Lab {
    /// Three nodes at home, with three strangers on them.
    pub(crate) fn homelab() -> Lab {
        Lab::of(build(Baseline::Homelab))
    }

    /// A cluster in a given state.
    pub(crate) fn of(world: World) -> Lab {
        let sim = Sim::new(Baseline::Recordings);
        sim.with_world(|w| *w = world);
        Lab { sim, files: Shelf::default() }
    }

    /// Does what pvectl says to somebody whose killed run holds the lock of networks, whose dead task holds a guest,
    /// or who made a token whose secret nobody knows; whether it said so.
    pub(crate) fn obeys(&self, said: &str) -> bool {
        let locked = said.contains("invalid lock token") || said.contains("pvesh delete /cluster/sdn/lock --force 1");
        if locked {
            self.sim.with_world(|world| world.table("cluster/sdn/lock").clear());
        }
        let unlock = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok();
        let left: Vec<u32> =
            ["qm unlock ", "pct unlock "].iter().flat_map(|w| said.split(w).skip(1).filter_map(unlock)).collect();
        for vmid in &left {
            self.sim.with_world(|world| world.guests.get_mut(vmid).map(|guest| guest.config.remove("lock")));
            // The node's list is as old as its last collection.
            self.sim.advance(std::time::Duration::from_secs(20));
        }
        let lost: Vec<&str> =
            said.split("pvectl delete apitoken ").skip(1).filter_map(|t| t.split(',').next()).collect();
        for name in &lost {
            let doomed = BTreeSet::from([ResourceRef::new("ApiToken", *name)]);
            self.apply(&nothing(), &Settings { delete: doomed.clone(), only: Some(doomed), ..prune() });
        }
        locked || !lost.is_empty() || !left.is_empty()
    }

    /// Installs a system on every disk, by hand: guests then boot, and shut down when they are asked to.
    pub(crate) fn install(&self) {
        self.sim.with_world(|world| {
            world.volumes.iter_mut().filter(|v| v.vmid.is_some()).for_each(|v| v.bootable = true);
            world.guests.values_mut().for_each(|g| g.boot_seconds = Some(5));
        });
    }

    /// A copy of the state.
    pub(crate) fn world(&self) -> World {
        self.sim.with_world(|w| w.clone())
    }

    /// What would be done, through the given door.
    #[track_caller]
    pub(crate) fn preview_through(&self, api: &dyn Api, set: &DesiredSet, settings: &Settings) -> Plan {
        let clock = self.sim.clock();
        let names = self.sim.names();
        let cluster = Cluster { api, clock: &clock, kinds: &KINDS, names: &names, files: &self.files };
        run(preview(&cluster, set, settings)).expect("the cluster can be read")
    }

    /// What would be done.
    #[track_caller]
    pub(crate) fn preview(&self, set: &DesiredSet, settings: &Settings) -> Plan {
        self.preview_through(&self.sim.api(), set, settings)
    }

    /// Does it, through the given door and with the given kinds.
    pub(crate) fn try_apply(
        &self,
        api: &dyn Api,
        kinds: &[&'static dyn AnyKind],
        set: &DesiredSet,
        settings: &Settings,
    ) -> Result<Report, Halt> {
        let clock = self.sim.clock();
        let names = self.sim.names();
        let cluster = Cluster { api, clock: &clock, kinds, names: &names, files: &self.files };
        run(reconcile(&cluster, set, settings, ALL, &Nobody, &|_| true))
    }

    /// Does it, and insists that all is as the manifests say.
    #[track_caller]
    pub(crate) fn apply(&self, set: &DesiredSet, settings: &Settings) -> Report {
        match self.try_apply(&self.sim.api(), &KINDS, set, settings) {
            Ok(report) if report.converged() => report,
            Ok(report) => panic!("not converged: {}", open(&report)),
            Err(halt) => panic!("halted: {}", stopped(&halt)),
        }
    }

    /// Requests other than reads that came since the log had `from` entries.
    pub(crate) fn writes_since(&self, from: usize) -> Vec<String> {
        self.sim
            .request_log()
            .into_iter()
            .skip(from)
            .filter(|(method, _)| method != "GET")
            .map(|(method, path)| format!("{method} {path}"))
            .collect()
    }
}

/// What a report says is still open, for people.
pub(crate) fn open(report: &Report) -> String {
    let failed: Vec<String> = report.failed.iter().map(|(r, why)| format!("{r} failed: {why}")).collect();
    format!("{}\n{}", failed.join("\n"), differences(&report.last))
}

/// Why a run ended early, for people.
pub(crate) fn stopped(halt: &Halt) -> String {
    match halt {
        Halt::Unreadable(error) => error.to_string(),
        Halt::Blind(blind) => blind.error.to_string(),
        Halt::Refused(_, refusals) => format!("{refusals:?}"),
        Halt::Declined(_) => "declined".to_owned(),
    }
}

/// What a plan wants, for people.
pub(crate) fn differences(plan: &Plan) -> String {
    let mut out = String::new();
    for delta in plan.deltas.iter().filter(|d| {
        !d.steps.is_empty()
            || !d.changes.is_empty()
            || !d.problems.is_empty()
            || d.action != pvectl::resource::step::Action::NoOp
    }) {
        out += &format!("{} {}: ", delta.action.as_str(), delta.resource);
        for change in &delta.changes {
            out += &format!("[{} {:?} -> {:?} {}] ", change.path, change.from, change.to, change.cause.as_str());
        }
        for step in &delta.steps {
            out += &format!("<{} {:?}> ", step.call, step.call.params);
        }
        out += &format!("{:?} {:?}\n", delta.notes, delta.problems);
    }
    out
}

/// The guests of the homelab that are not ours.
pub(crate) const STRANGERS: [u32; 3] = [8000, 8100, 8200];

/// All that is not ours, byte for byte: strangers, their volumes, and everything that is no guest.
pub(crate) fn strangers(world: &World) -> Value {
    let mut value = serde_json::to_value(world).expect("a world is JSON");
    let top = value.as_object_mut().expect("a world is an object");
    for passing in ["clock_ms", "seed", "serial", "statistics", "tasks", "messages", "tickets", "pools"] {
        top.remove(passing);
    }
    // A storage on a mount of ours is ours.
    let marked = |unit: &Value| unit["comment"].as_str().is_some_and(|c| c.contains("<!-- pvectl "));
    let units = top["tables"].get("nodes/units").and_then(Value::as_object).cloned().unwrap_or_default();
    let paths: Vec<&str> =
        units.iter().filter(|(_, unit)| marked(unit)).filter_map(|(at, _)| Some(at.split_once(':')?.1)).collect();
    if let Some(storages) = top["storages"].as_object_mut() {
        storages.retain(|_, s| !s["config"]["path"].as_str().is_some_and(|path| paths.contains(&path)));
    }
    for part in ["groups", "tables", "users"] {
        without_ours(&mut top[part]);
    }
    if let Some(firewalls) = top["tables"].get_mut("firewall").and_then(Value::as_object_mut) {
        // The firewall of a guest of ours is ours, and one in which nothing stands is as none.
        let bare = |part: &Value| match part {
            Value::Object(map) => map.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => part.is_null(),
        };
        firewalls.retain(|scope, firewall| {
            let strange = |id: &str| STRANGERS.iter().any(|s| s.to_string() == id);
            scope.strip_prefix("guest/").is_none_or(strange)
                && !firewall.as_object().is_some_and(|parts| parts.values().all(bare))
        });
    }
    without_empty_tables(top);
    if let Some(guests) = top["guests"].as_object_mut() {
        guests.retain(|id, _| STRANGERS.iter().any(|s| s.to_string() == *id));
    }
    if let Some(volumes) = top["volumes"].as_array_mut() {
        volumes.retain(|v| v["vmid"].is_null() && !is_fetched(v) || STRANGERS.iter().any(|s| v["vmid"] == *s));
    }
    value
}

/// Takes out what carries a marker: it is nobody else's.
fn without_ours(value: &mut Value) {
    let marked = |text: &Value| text.as_str().is_some_and(|t| t.contains("<!-- pvectl "));
    match value {
        Value::Object(map) => {
            map.retain(|_, inner| !marked(&inner["comment"]) && !marked(&inner["config"]["comment"]));
            map.values_mut().for_each(without_ours);
        }
        Value::Array(items) => items.iter_mut().for_each(without_ours),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The state without what differs from run to run: times, process ids, random names, tasks.
pub(crate) fn normal(world: &World) -> Value {
    let mut value = serde_json::to_value(world).expect("a world is JSON");
    let top = value.as_object_mut().expect("a world is an object");
    for passing in ["clock_ms", "seed", "serial", "statistics", "tasks", "messages", "tickets", "latency_ms"] {
        top.remove(passing);
    }
    for user in top["users"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for token in user["tokens"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            token["secret"] = Value::Null;
        }
    }
    // The list of rights is in no order.
    if let Some(acl) = top["acl"].as_array_mut() {
        acl.sort_by_key(Value::to_string);
    }
    // Backup jobs are numbered as they come.
    for job in top["tables"]["cluster/backup"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        job["_order"] = Value::Null;
    }
    without_empty_tables(top);
    for guest in top["guests"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        let guest = guest.as_object_mut().expect("a guest is an object");
        for passing in ["started_ms", "pid"] {
            guest.remove(passing);
        }
        for snapshot in guest["snapshots"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            // What the guest was like hangs on the moment.
            if let Some(config) = snapshot["config"].as_object_mut() {
                config.retain(|key, _| matches!(key.as_str(), "description" | "parent" | "snapstate" | "vmstate"));
            }
        }
        if let Some(config) = guest["config"].as_object_mut() {
            for passing in ["vmgenid", "smbios1", "meta", "digest"] {
                config.remove(passing);
            }
            for text in config.values_mut() {
                *text = without_mac(text.as_str().unwrap_or_default()).into();
            }
        }
    }
    if let Some(volumes) = top["volumes"].as_array_mut() {
        for volume in volumes.iter_mut().filter_map(Value::as_object_mut) {
            volume.remove("ctime");
        }
        volumes.retain(|v| !is_fetched(v));
        volumes.sort_by_key(|v| format!("{} {}", v["volid"], v["node"]));
    }
    value
}

/// A file that a node was told to fetch: it stays when its guest goes, for the next one.
fn is_fetched(volume: &Value) -> bool {
    !volume["checksum"].is_null()
}

/// A table that was looked at is there, and empty.
fn without_empty_tables(world: &mut Map<String, Value>) {
    if let Some(tables) = world["tables"].as_object_mut() {
        let empty =
            |part: &Value| part.as_object().is_some_and(Map::is_empty) || part.as_array().is_some_and(Vec::is_empty);
        if let Some(scopes) = tables.get_mut("firewall").and_then(Value::as_object_mut) {
            scopes.retain(|_, scope| !scope.as_object().is_some_and(|parts| parts.values().all(empty)));
        }
        // A node that generated its networks when there were none left has none, as before.
        if let Some(nodes) = tables.get_mut("nodes/sdn").and_then(Value::as_object_mut) {
            nodes.retain(|_, running| !running.as_object().is_some_and(|parts| parts.values().all(empty)));
        }
        tables.retain(|_, table| table.as_object().is_some_and(|t| !t.is_empty()));
    }
}

/// PVE's own addresses become `MAC`.
fn without_mac(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("BC:24:11:") {
        out += &rest[..at];
        out += "MAC";
        rest = rest.get(at + 17..).unwrap_or("");
    }
    out + rest
}

/// Volumes that nobody's configuration names though they belong to a guest.
pub(crate) fn orphans(world: &World) -> Vec<String> {
    let named: BTreeSet<String> = world
        .guests
        .values()
        .flat_map(|g| {
            let of_snapshots = g.snapshots.values().flat_map(|s| s.config.values());
            g.config.values().chain(g.pending.values().flatten()).chain(of_snapshots)
        })
        .flat_map(|text| {
            text.split(',')
                .map(|part| part.trim_start_matches("file=").trim_start_matches("volume=").to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    world
        .volumes
        .iter()
        .filter(|v| v.vmid.is_some() && v.backup_of.is_none() && !named.contains(&v.volid))
        .map(|v| v.volid.clone())
        .collect()
}

/// Where two values differ, a line each.
pub(crate) fn delta(a: &Value, b: &Value) -> String {
    let mut out = Vec::new();
    walk("", a, b, &mut out);
    out.truncate(12);
    out.join("\n")
}

fn walk(path: &str, a: &Value, b: &Value, out: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let keys: BTreeSet<&String> = x.keys().chain(y.keys()).collect();
            for key in keys {
                walk(
                    &format!("{path}/{key}"),
                    x.get(key).unwrap_or(&Value::Null),
                    y.get(key).unwrap_or(&Value::Null),
                    out,
                );
            }
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            for (i, (a, b)) in x.iter().zip(y).enumerate() {
                walk(&format!("{path}/{i}"), a, b, out);
            }
        }
        _ if a != b => out.push(format!("{path}: {a} | {b}")),
        _ => {}
    }
}
