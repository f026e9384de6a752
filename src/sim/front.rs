//! The door of the simulator: a shared world, its faults and counters, and the API in process.

use crate::pve::api::Api;
use crate::pve::error::PveError;
use crate::pve::request::{Call, Params, Query};
use crate::sim::baseline::{self, Baseline};
use crate::sim::clock::SimClock;
use crate::sim::faults::{Fault, FaultKind, Faults};
use crate::sim::github::records::Records;
use crate::sim::names::SimNames;
use crate::sim::request::{Auth, Refusal, WireAnswer, WireRequest, gathered};
use crate::sim::router;
use crate::sim::world::World;
use futures::future::BoxFuture;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A simulated cluster; clones share it.
#[derive(Clone, Debug)]
pub struct Sim {
    inside: Arc<Mutex<Inside>>,
}

#[derive(Debug)]
struct Inside {
    world: World,
    faults: Faults,
    log: Vec<(String, String)>,
    /// Real time × speed runs the clock; `None`: only sleeping moves it.
    speed: Option<f64>,
    records: Records,
    seen: Instant,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// Answered.
    Answered(WireAnswer),
    /// Never left the caller.
    Unsent,
    /// Sent, and no answer comes.
    Lost,
}

impl Sim {
    /// A fresh cluster.
    pub fn new(baseline: Baseline) -> Sim {
        Sim::of(baseline::build(baseline))
    }

    /// A cluster as [`Sim::save`] wrote it.
    pub fn load(json: &str) -> Result<Sim, serde_json::Error> {
        serde_json::from_str(json).map(Sim::of)
    }

    fn of(world: World) -> Sim {
        let inside = Inside {
            world,
            faults: Faults::default(),
            log: Vec::new(),
            speed: None,
            records: Records::default(),
            seen: Instant::now(),
        };
        Sim { inside: Arc::new(Mutex::new(inside)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The whole state as JSON.
    pub fn save(&self) -> String {
        serde_json::to_string(&self.lock().world).unwrap_or_default()
    }

    /// The whole state, to be compared.
    pub fn snapshot_json(&self) -> Value {
        serde_json::to_value(&self.lock().world).unwrap_or_default()
    }

    /// The API in process, for root@pam.
    pub fn api(&self) -> SimApi {
        self.api_as("root@pam")
    }

    /// The API in process for a user or a token (`user@realm!name`).
    pub fn api_as(&self, user: &str) -> SimApi {
        SimApi { sim: self.clone(), user: user.to_owned() }
    }

    /// Its DNS.
    pub fn names(&self) -> SimNames {
        SimNames(self.clone())
    }

    /// The virtual clock.
    pub fn clock(&self) -> SimClock {
        SimClock(self.clone())
    }

    /// Lets real time run the clock at a speed; `None` stops it.
    pub fn set_speed(&self, speed: Option<f64>) {
        let mut inside = self.lock();
        inside.catch_up();
        inside.speed = speed;
    }

    /// Moves virtual time forward.
    pub fn advance(&self, duration: Duration) {
        let mut inside = self.lock();
        let to = inside.world.clock_ms + u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4);
        inside.world.advance_to(to);
    }

    /// Moves virtual time to the end of every running task.
    pub fn finish_tasks(&self) {
        let mut inside = self.lock();
        let last = inside.world.tasks.iter().filter(|t| t.running()).map(|t| t.due_ms).max();
        if let Some(last) = last {
            inside.world.advance_to(last);
        }
    }

    /// Looks at the world, or changes it by hand as another user would.
    pub fn with_world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.lock().world)
    }

    /// The same, when the clock has caught up with real time.
    pub(in crate::sim) fn caught_up<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        let mut inside = self.lock();
        inside.catch_up();
        look(&mut inside.world)
    }

    /// The faults that a request to GitHub meets.
    pub(in crate::sim) fn github_faults(&self, method: &str, path: &str) -> Vec<FaultKind> {
        self.lock().faults.meet(method, path)
    }

    /// What was asked of GitHub.
    pub(in crate::sim) fn with_records<T>(&self, look: impl FnOnce(&mut Records) -> T) -> T {
        look(&mut self.lock().records)
    }

    /// How fast real time runs the clock.
    pub(in crate::sim) fn speed(&self) -> Option<f64> {
        self.lock().speed
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.add(fault);
    }

    /// Takes all faults away.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// Faults that no request has met yet.
    pub fn faults_left(&self) -> usize {
        self.lock().faults.len()
    }

    /// Every token (`user@realm!name`) with its secret.
    pub fn tokens(&self) -> BTreeMap<String, String> {
        let of_user = |(user, u): (&String, &crate::sim::world::User)| {
            let tokens = u.tokens.iter().map(|(name, t)| (format!("{user}!{name}"), t.secret.clone()));
            tokens.collect::<Vec<_>>()
        };
        self.lock().world.users.iter().flat_map(of_user).collect()
    }

    /// How many requests came.
    pub fn requests(&self) -> u64 {
        self.lock().log.len() as u64
    }

    /// Method and path of every request.
    pub fn request_log(&self) -> Vec<(String, String)> {
        self.lock().log.clone()
    }

    /// Answers a request, faults included.
    pub fn meet(&self, request: &WireRequest) -> Fate {
        let mut inside = self.lock();
        inside.catch_up();
        inside.log.push((request.method.clone(), request.path.clone()));
        let faults = inside.faults.meet(&request.method, &request.path);
        let world = &mut inside.world;
        let (mut task_fault, mut lost) = (None, false);
        let mut restore: Option<World> = None;
        for fault in faults {
            let refused = match fault {
                FaultKind::Unsent => return Fate::Unsent,
                FaultKind::DropBefore => return Fate::Lost,
                FaultKind::DropAfter => {
                    lost = true;
                    continue;
                }
                FaultKind::Slow(ms) => {
                    let to = world.clock_ms + ms;
                    world.advance_to(to);
                    continue;
                }
                FaultKind::TaskFails(text) => {
                    task_fault = Some(("!fail".to_owned(), text));
                    continue;
                }
                FaultKind::TaskDies(done) => {
                    task_fault = Some(("!die".to_owned(), done.to_string()));
                    continue;
                }
                FaultKind::TaskWarns => {
                    task_fault = Some(("!warn".to_owned(), String::new()));
                    continue;
                }
                FaultKind::DigestRace => {
                    if let Some(guest) = vmid_of(&request.path).and_then(|v| world.guests.get_mut(&v)) {
                        let text = guest.config.entry("description".to_owned()).or_default();
                        text.push_str("changed by another user");
                    }
                    continue;
                }
                FaultKind::StorageFull => {
                    restore = Some(World { storages: world.storages.clone(), ..World::default() });
                    world.storages.values_mut().for_each(|s| s.base_used = s.size);
                    continue;
                }
                FaultKind::Status(status, text) => Refusal::new(status, text),
                FaultKind::NodeOffline => Refusal::new(595, "No route to host"),
                FaultKind::Locked(lock) => {
                    let what = if request.path.contains("/qemu/") { "VM" } else { "CT" };
                    Refusal::died(format!("{what} is locked ({lock})"))
                }
                FaultKind::LockTimeout => Refusal::died(format!(
                    "can't lock file '/var/lock/qemu-server/lock-{}.conf' - got timeout",
                    vmid_of(&request.path).unwrap_or(100)
                )),
                FaultKind::Expired => {
                    let reason = "permission denied - invalid PVE ticket".to_owned();
                    return Fate::Answered(WireAnswer { status: 401, reason, body: None });
                }
            };
            return if lost { Fate::Lost } else { Fate::Answered(refused.into_answer()) };
        }
        let answer = router::answer(world, request, task_fault);
        if let Some(before) = restore {
            for (id, storage) in before.storages {
                if let Some(now) = world.storages.get_mut(&id) {
                    now.base_used = storage.base_used;
                }
            }
        }
        if lost { Fate::Lost } else { Fate::Answered(answer) }
    }

    /// Answers a request; a lost one is shown as 596, the proxy's word for a broken connection.
    pub fn handle(&self, request: &WireRequest) -> WireAnswer {
        match self.meet(request) {
            Fate::Answered(answer) => answer,
            Fate::Unsent | Fate::Lost => WireAnswer { status: 596, reason: "Broken pipe".to_owned(), body: None },
        }
    }
}

impl Inside {
    fn catch_up(&mut self) {
        let now = Instant::now();
        if let Some(speed) = self.speed {
            let passed = now.duration_since(self.seen).as_secs_f64() * 1000.0 * speed;
            let to = self.world.clock_ms + passed.min(1e15) as u64;
            self.world.advance_to(to);
        }
        self.seen = now;
    }
}

/// The guest in a path.
fn vmid_of(path: &str) -> Option<u32> {
    path.split('/').skip_while(|s| !matches!(*s, "qemu" | "lxc" | "pct")).nth(1)?.parse().ok()
}

/// The API of a simulated cluster, in process.
#[derive(Clone, Debug)]
pub struct SimApi {
    sim: Sim,
    user: String,
}

impl SimApi {
    fn ask(&self, method: &str, path: &str, params: &Params) -> Result<Value, PveError> {
        let request = format!("{method} {path}");
        let wire = WireRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            params: gathered(params.iter().cloned()),
            auth: Auth::Trusted(self.user.clone()),
        };
        let answer = match self.sim.meet(&wire) {
            Fate::Unsent => {
                let cause = "connection refused".to_owned();
                return Err(PveError::Unsent { request, cause, hint: None });
            }
            Fate::Lost => {
                return Err(PveError::Lost { request, cause: "connection closed before an answer came".to_owned() });
            }
            Fate::Answered(answer) => answer,
        };
        let WireAnswer { status, reason, body } = answer;
        let mut body = body.unwrap_or_default();
        if status < 400 {
            return Ok(body.get_mut("data").map(Value::take).unwrap_or_default());
        }
        let errors: BTreeMap<String, String> =
            body.get_mut("errors").map(Value::take).and_then(|e| serde_json::from_value(e).ok()).unwrap_or_default();
        Err(PveError::Refused { request, status, reason, errors })
    }
}

impl Api for SimApi {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        Box::pin(async move { self.ask("GET", &query.path, &query.params) })
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        Box::pin(async move { self.ask(call.method.as_str(), &call.path, &call.params) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::pve::error::Refusal as Meaning;
    use crate::pve::request::Method;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn config(sim: &Sim, vmid: u32) -> Result<Value, PveError> {
        run(sim.api().get(&Query::new(format!("/nodes/pve1/qemu/{vmid}/config"))))
    }

    fn clone(sim: &Sim, full: u8) -> Result<Value, PveError> {
        let call = Call::new(Method::Post, "/nodes/pve1/qemu/8000/clone");
        run(sim.api().send(&call.with("newid", 101).with("name", "web").with("full", full)))
    }

    #[test]
    fn a_full_clone_is_locked_until_virtual_time_has_passed() {
        let sim = Sim::new(Baseline::Homelab);
        clone(&sim, 1).unwrap();
        assert_eq!(config(&sim, 101).unwrap()["lock"], "clone");
        run(sim.clock().sleep(Duration::from_secs(5)));
        assert_eq!(config(&sim, 101).unwrap()["lock"], "clone");
        run(sim.clock().sleep(Duration::from_secs(60)));
        let done = config(&sim, 101).unwrap();
        assert_eq!((done.get("lock"), &done["scsi0"]), (None, &"local-lvm:vm-101-disk-0,size=4G".into()));
    }

    #[test]
    fn a_saved_cluster_goes_on_where_it_was() {
        let sim = Sim::new(Baseline::Homelab);
        clone(&sim, 1).unwrap();
        let again = Sim::load(&sim.save()).unwrap();
        again.finish_tasks();
        assert!(config(&again, 101).unwrap().get("lock").is_none());
        assert_eq!(Sim::load(&again.save()).unwrap().snapshot_json(), again.snapshot_json());
    }

    #[test]
    fn faults_meet_the_requests_they_were_made_for() {
        let put = Call::new(Method::Put, "/nodes/pve1/qemu/8000/config").with("cores", 4);
        let sim = Sim::new(Baseline::Homelab);
        sim.inject(Fault::on("PUT", "/config", FaultKind::DropBefore));
        assert!(matches!(run(sim.api().send(&put)), Err(PveError::Lost { .. })));
        assert_eq!(config(&sim, 8000).unwrap()["cores"], 2);
        sim.inject(Fault::on("PUT", "/config", FaultKind::DropAfter));
        assert!(matches!(run(sim.api().send(&put)), Err(PveError::Lost { .. })));
        assert_eq!(config(&sim, 8000).unwrap()["cores"], 4);
        let digest = config(&sim, 8000).unwrap()["digest"].as_str().unwrap().to_owned();
        sim.inject(Fault::at(0, FaultKind::DigestRace));
        let raced = run(sim.api().send(&put.clone().with("digest", digest))).unwrap_err();
        assert_eq!(raced.refusal(), Some(Meaning::Digest));
        sim.inject(Fault::at(0, FaultKind::LockTimeout));
        assert_eq!(run(sim.api().send(&put)).unwrap_err().refusal(), Some(Meaning::Busy));
        sim.inject(Fault::on("POST", "/clone", FaultKind::TaskFails("no space".to_owned())));
        clone(&sim, 1).unwrap();
        sim.finish_tasks();
        assert_eq!(sim.with_world(|w| w.tasks[0].exit_status.clone()), "no space");
        assert_eq!(sim.requests(), sim.request_log().len() as u64);
    }

    #[test]
    fn faults_meet_what_goes_by_the_host_link_too() {
        use crate::host::operation::Operation;
        let sim = Sim::new(Baseline::Homelab);
        let write = |enable| Operation::Maintenance { enable }.call("pve2").unwrap();
        let read = Operation::Tools.query("pve2").unwrap();
        assert!(run(sim.api().get(&read)).unwrap().as_str().unwrap().starts_with("name=pve2\n"));
        let before = sim.snapshot_json();
        sim.inject(Fault::on("PUT", "/link/pve2/", FaultKind::Unsent));
        assert!(matches!(run(sim.api().send(&write(true))), Err(PveError::Unsent { .. })));
        sim.inject(Fault::on("PUT", "/maintenance", FaultKind::DropBefore));
        assert!(matches!(run(sim.api().send(&write(true))), Err(PveError::Lost { .. })));
        let same = |a: &Value, b: &Value| a["tables"] == b["tables"] && a["guests"] == b["guests"];
        assert!(same(&before, &sim.snapshot_json()), "it took no effect");
        sim.inject(Fault::on("PUT", "/maintenance", FaultKind::DropAfter));
        assert!(matches!(run(sim.api().send(&write(true))), Err(PveError::Lost { .. })));
        assert_ne!(before, sim.snapshot_json());
        for (kind, meaning) in [
            (FaultKind::NodeOffline, Meaning::NodeOffline),
            (FaultKind::Status(500, "exit status 100: dpkg was interrupted".to_owned()), Meaning::Other),
            (FaultKind::Status(501, "no host link to node pve2 is configured".to_owned()), Meaning::Unsupported),
        ] {
            sim.inject(Fault::on("GET", "/link/", kind));
            assert_eq!(run(sim.api().get(&read)).unwrap_err().refusal(), Some(meaning));
        }
        let now = sim.clock().now_ms();
        sim.inject(Fault::at(0, FaultKind::Slow(5000)));
        run(sim.api().get(&read)).unwrap();
        assert!(sim.clock().now_ms() >= now + 5000);
        sim.with_world(|w| w.nodes.get_mut("pve2").unwrap().online = false);
        assert_eq!(run(sim.api().get(&read)).unwrap_err().refusal(), Some(Meaning::NodeOffline));
        assert_eq!(vmid_of("/link/pve1/pct/200/jobs"), Some(200));
    }

    #[test]
    fn a_booted_cloud_image_has_an_agent_and_an_address() {
        let sim = Sim::new(Baseline::Homelab);
        clone(&sim, 1).unwrap();
        sim.finish_tasks();
        run(sim.api().send(&Call::new(Method::Post, "/nodes/pve1/qemu/101/status/start"))).unwrap();
        sim.finish_tasks();
        let ping = Call::new(Method::Post, "/nodes/pve1/qemu/101/agent/ping");
        assert!(run(sim.api().send(&ping)).is_err());
        run(sim.clock().sleep(Duration::from_secs(20)));
        run(sim.api().send(&ping)).unwrap();
        let path = "/nodes/pve1/qemu/101/agent/network-get-interfaces";
        let seen = run(sim.api().get(&Query::new(path))).unwrap();
        assert_eq!(seen["result"][1]["ip-addresses"][0]["ip-address-type"], "ipv4");
        assert!(sim.clock().now_ms() > 0);
    }

    #[test]
    fn a_node_that_is_down_and_a_lost_quorum_are_told() {
        let sim = Sim::new(Baseline::Homelab);
        sim.with_world(|w| w.nodes.get_mut("pve1").unwrap().online = false);
        assert_eq!(config(&sim, 8000).unwrap_err().refusal(), Some(Meaning::NodeOffline));
        sim.with_world(|w| {
            w.nodes.get_mut("pve1").unwrap().online = true;
            w.quorate = false;
        });
        assert_eq!(clone(&sim, 1).unwrap_err().refusal(), Some(Meaning::NoQuorum));
    }
}
