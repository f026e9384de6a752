//! Pools of runners against the simulated cluster and the simulated GitHub: a job comes, a machine is made for it, and nothing is
//! left of it.

use crate::world::{ALL, Lab, desired, differences, plain, run, stopped};
use futures::future::BoxFuture;
use pvectl::base::secret::Secret;
use pvectl::engine::door::Door;
use pvectl::engine::reconcile::{Cluster, Report, preview, reconcile};
use pvectl::github::hub::Hub;
use pvectl::github::place::SecretRef;
use pvectl::github::wire::Secrets;
use pvectl::kinds::list::KINDS;
use pvectl::plan::assemble::{Plan, Settings};
use pvectl::plan::desired::DesiredSet;
use pvectl::pve::api::Api;
use pvectl::pve::error::PveError;
use pvectl::pve::request::{Call, Params, Query};
use pvectl::report::event::Nobody;
use pvectl::resource::reference::ResourceRef;
use pvectl::resource::step::Note;
use pvectl::sim::inside::runner::RunnerTrouble;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Known;

impl Secrets for Known {
    fn secret(&self, _of: &SecretRef) -> Result<Secret, String> {
        Ok(Secret::new("ghp_0123456789abcdefghijklmnopqrstuvwxyz01"))
    }
}

/// A request: method, path and parameters.
type Asked = (String, String, Params);

/// A cluster with a template, a GitHub, and what was sent.
struct Ground {
    lab: Lab,
    asked: Mutex<BTreeSet<Asked>>,
    door: Door,
    sent: Mutex<Vec<String>>,
    dies: Mutex<Option<Death>>,
    /// Reads of this path fail.
    blind: Mutex<Option<&'static str>>,
}

/// The process is killed at a write, before it takes effect or after. Nothing is sent any more until it is started again.
#[derive(Clone, Copy)]
struct Death {
    after: usize,
    done: bool,
}

const TEMPLATE: &str = "{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {name: debian}, spec: {node: pve1, protection: true, vmid: 9000, source: {clone: {vmid: 8000, mode: Full}}, hardware: {cores: 2, memory: 2Gi, guestAgent: true, osType: l26}, disks: [{slot: scsi0, storage: local-lvm, size: 4Gi, discard: true, ioThread: true}]}}";

/// A pool beside its template; `more` are further fields of its spec.
fn pool(more: &str) -> String {
    format!(
        "{TEMPLATE}\n---\n{{apiVersion: pvectl/v1alpha1, kind: RunnerPool, metadata: {{name: ci}}, spec: {{github: {{scope: {{repository: acme/app}}, auth: {{token: {{env: GITHUB_TOKEN}}}}}}, labels: [self-hosted, linux], template: debian, vmidRange: 50000-50099, checks: [], {more}}}}}"
    )
}

const POLLING: &str = "demand: Polling, bootstrap: {}, size: {max: 3, maxStarting: 3}";

impl Ground {
    fn new() -> Ground {
        let lab = Lab::homelab();
        let clock = Arc::new(lab.sim.clock());
        let hub = Arc::new(Hub::new(Arc::new(lab.sim.github()), clock, Arc::new(Known)));
        let door = Door::of(Arc::new(lab.sim.api())).with_hub(hub);
        Ground {
            lab,
            door,
            asked: Mutex::default(),
            sent: Mutex::default(),
            dies: Mutex::default(),
            blind: Mutex::default(),
        }
    }

    /// With the template there, and a system on it.
    fn ready(yaml: &str) -> (Ground, DesiredSet) {
        let ground = Ground::new();
        let template = desired(TEMPLATE);
        ground.pass(&template);
        ground.lab.install();
        ground.lab.sim.advance(Duration::from_secs(20));
        (ground, desired(yaml))
    }

    fn cluster<R>(&self, with: impl FnOnce(&Cluster<'_>) -> R) -> R {
        let (clock, names) = (self.lab.sim.clock(), self.lab.sim.names());
        with(&Cluster { api: self, clock: &clock, kinds: &KINDS, names: &names, files: &self.lab.files })
    }

    #[track_caller]
    fn run(&self, set: &DesiredSet, settings: &Settings) -> Report {
        let report = self.cluster(|cluster| run(reconcile(cluster, set, settings, ALL, &Nobody, &|_| true)));
        report.unwrap_or_else(|halt| panic!("halted: {}", stopped(&halt)))
    }

    #[track_caller]
    fn pass(&self, set: &DesiredSet) -> Report {
        self.run(set, &plain())
    }

    #[track_caller]
    fn preview(&self, set: &DesiredSet) -> Plan {
        self.cluster(|cluster| run(preview(cluster, set, &plain())).expect("the cluster can be read"))
    }

    /// Passes, some seconds apart, until something is so.
    #[track_caller]
    fn until(&self, set: &DesiredSet, what: &str, so: impl Fn(&Ground) -> bool) {
        for _ in 0..200 {
            self.pass(set);
            if so(self) {
                return;
            }
            self.lab.sim.advance(Duration::from_secs(5));
        }
        let plan = self.preview(set);
        let notes: Vec<String> =
            plan.deltas.iter().map(|d| format!("{}: {:?} {:?}", d.resource, d.notes, d.problems)).collect();
        let jobs = self.lab.sim.github().jobs();
        panic!("not so after 200 passes: {what}\n{}\n{}\n{jobs:?}", differences(&plan), notes.join("\n"));
    }

    fn machines(&self) -> BTreeSet<u32> {
        self.lab
            .sim
            .with_world(|world| world.guests.keys().copied().filter(|v| (50_000..=50_099).contains(v)).collect())
    }

    fn runners(&self) -> usize {
        self.lab.sim.with_world(|world| world.github.runners.len())
    }

    fn queue(&self, seconds: u64) -> u64 {
        self.lab.sim.queue_job("acme/app", &["self-hosted", "linux"], Duration::from_secs(seconds))
    }

    fn is_done(&self, job: u64) -> bool {
        self.lab.sim.github().job(job).is_some_and(|job| job.ended_ms.is_some())
    }

    fn note(&self, method: &str, path: &str, params: &Params) {
        let asked = (method.to_owned(), path.to_owned(), params.clone());
        self.asked.lock().expect("nobody panics with it").insert(asked);
    }

    fn writes(&self) -> Vec<String> {
        std::mem::take(&mut *self.sent.lock().expect("nobody panics with it"))
    }
}

fn dead(request: &str) -> PveError {
    PveError::Lost { request: request.to_owned(), cause: "the process was killed".to_owned() }
}

impl Api for Ground {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        let killed = self.dies.lock().expect("nobody panics with it").is_some_and(|death| death.after == 0);
        if killed {
            return Box::pin(async { Err(dead(&query.path)) });
        }
        self.note("GET", &query.path, &query.params);
        let blind = *self.blind.lock().expect("nobody panics with it");
        if blind.is_some_and(|path| query.path == path) {
            let (request, reason) = (query.to_string(), "got timeout".to_owned());
            return Box::pin(async move { Err(PveError::Refused { request, status: 500, reason, errors: [].into() }) });
        }
        self.door.get(query)
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        let fate = {
            let mut dies = self.dies.lock().expect("nobody panics with it");
            match dies.as_mut() {
                None => None,
                Some(Death { after: 0, .. }) => Some(false),
                Some(death) => {
                    death.after -= 1;
                    (death.after == 0).then_some(death.done)
                }
            }
        };
        if fate == Some(false) {
            return Box::pin(async { Err(dead(&call.path)) });
        }
        self.note(call.method.as_str(), &call.path, &call.params);
        self.sent.lock().expect("nobody panics with it").push(format!("{} {}", call.method.as_str(), call.path));
        Box::pin(async move {
            let answer = self.door.send(call).await;
            if fate == Some(true) { Err(dead(&call.path)) } else { answer }
        })
    }
}

const SSH: &str = "demand: Polling, bootstrap: {via: SSH, ssh: {user: ci, privateKey: {file: /etc/pvectl/runner_key}, acceptNew: true}}, size: {max: 2}";

const CONTAINER: &str = "{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {name: debian}, spec: {type: Container, node: pve1, vmid: 9000, source: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}, rootfs: {storage: local-lvm, size: 1Gi}, networks: [{slot: net0, bridge: vmbr0, ip: dhcp}], unprivileged: true}}";

const PROFILE: &str = "{apiVersion: pvectl/v1alpha1, kind: NetworkProfile, metadata: {name: out}, spec: {bridge: vmbr1, vlan: 20, egress: {default: Deny, allow: [{to: 10.0.0.0/8, ports: ['tcp/443']}]}}}";

/// A pool of containers, with their template there.
fn containers() -> (Ground, DesiredSet) {
    let yaml = pool("demand: Polling, bootstrap: {}, size: {max: 2}").replace(TEMPLATE, CONTAINER);
    let ground = Ground::new();
    ground.pass(&desired(CONTAINER));
    ground.lab.sim.advance(Duration::from_secs(20));
    (ground, desired(&yaml))
}

/// Every request of pools: each way, what fails, and their end.
pub(crate) fn every_request(note: &dyn Fn(&str, &str, &Params)) {
    let guarded = "demand: Polling, bootstrap: {registration: Token}, size: {max: 1}, networkProfile: out, tags: [ci]";
    let guarded = format!("{}\n---\n{PROFILE}", pool(guarded));
    let set = pool("bootstrap: {}, size: {max: 1}");
    for (ground, set) in [Ground::ready(&pool(SSH)), containers(), Ground::ready(&guarded), Ground::ready(&set)] {
        ground.lab.sim.with_world(|world| {
            world.github.settings.offers = false;
            world.runner_trouble(None, RunnerTrouble::NeverOnline);
        });
        ground.pass(&set);
        let job = ground.queue(20);
        ground.until(&set, "the job is done and its machine gone", |g| g.is_done(job) && g.machines().is_empty());
        ground.run(&set, &goes());
        for (method, path, params) in ground.asked.lock().expect("nobody panics with it").iter() {
            note(method, path, params);
        }
    }
}

/// The pool is deleted.
fn goes() -> Settings {
    let doomed = BTreeSet::from([ResourceRef::new("RunnerPool", "ci")]);
    Settings { delete: doomed.clone(), only: Some(doomed), ..plain() }
}

#[test]
fn a_job_gets_a_machine_and_nothing_is_left_of_it() {
    let (ground, set) = Ground::ready(&pool(POLLING));
    ground.pass(&set);
    assert!(ground.machines().is_empty(), "nothing waits, and nothing is made");
    let job = ground.queue(60);
    ground.writes();
    ground.until(&set, "the job is done and its machine gone", |g| g.is_done(job) && g.machines().is_empty());
    assert_eq!(ground.runners(), 0);
    let writes = ground.writes();
    let at = |word: &str| writes.iter().position(|w| w.contains(word)).unwrap_or_else(|| panic!("{word}: {writes:#?}"));
    let order = [
        "/clone",
        "/config",
        "/status/start",
        "/github/repos/acme/app/just-in-time",
        "/agent/exec",
        "DELETE /nodes/pve1/qemu/50000",
    ];
    let places: Vec<usize> = order.iter().map(|word| at(word)).collect();
    assert!(places.is_sorted(), "{writes:#?}");
    assert_eq!(writes.iter().filter(|w| w.contains("/clone")).count(), 1, "{writes:#?}");
    assert!(ground.preview(&set).is_empty());
}

#[test]
fn as_many_machines_as_jobs_but_never_more_than_may_be() {
    let (ground, set) = Ground::ready(&pool(POLLING));
    let jobs: Vec<u64> = (0..7).map(|n| ground.queue(20 + n)).collect();
    let most = Mutex::new(0);
    ground.until(&set, "all jobs are done", |g| {
        let mut most = most.lock().expect("nobody panics with it");
        *most = g.machines().len().max(*most);
        jobs.iter().all(|job| g.is_done(*job)) && g.machines().is_empty()
    });
    assert_eq!(*most.lock().expect("nobody panics with it"), 3);
    assert_eq!(ground.runners(), 0);
}

#[test]
fn the_secret_is_in_no_plan_and_no_configuration() {
    let (ground, set) = Ground::ready(&pool("demand: Idle, bootstrap: {}, size: {minIdle: 1, max: 1}"));
    ground.until(&set, "a runner is there", |g| g.runners() == 1);
    ground.lab.sim.with_world(|world| {
        let runner = world.guests.get(&50_000).expect("a machine");
        let text = serde_json::to_string(&runner.config).expect("plain");
        assert!(!text.contains("input-data") && !text.contains("jit"), "{text}");
    });
}

#[test]
fn a_pool_by_a_scale_set() {
    let (ground, set) = Ground::ready(&pool("bootstrap: {}, size: {max: 2}"));
    // Nobody listens here to whom a job could be offered.
    ground.lab.sim.with_world(|world| world.github.settings.offers = false);
    ground.pass(&set);
    let job = ground.queue(30);
    ground.until(&set, "the job is done and its machine gone", |g| g.is_done(job) && g.machines().is_empty());
    assert_eq!(ground.runners(), 0);
}

#[test]
fn idle_ones_are_replaced_and_go_with_the_pool() {
    let (ground, set) = Ground::ready(&pool("demand: Idle, bootstrap: {}, size: {minIdle: 2, max: 3}"));
    let online = |g: &Ground, wanted: usize| {
        let standing = g.lab.sim.with_world(|world| world.github.runners.values().filter(|r| r.online).count());
        standing == wanted
    };
    ground.until(&set, "two runners are online", |g| online(g, 2));
    let job = ground.queue(600);
    ground.lab.sim.advance(Duration::from_secs(5));
    ground.until(&set, "another one is there beside the one that works", |g| online(g, 3));
    let settings = goes();
    let report = ground.run(&set, &settings);
    assert!(!report.converged(), "a job runs still");
    assert_eq!(ground.machines().len(), 1, "who has a job ends it");
    for _ in 0..200 {
        if ground.run(&set, &settings).converged() {
            break;
        }
        ground.lab.sim.advance(Duration::from_secs(10));
    }
    assert!(ground.is_done(job) && ground.machines().is_empty());
    assert_eq!(ground.runners(), 0);
}

#[test]
fn a_machine_that_fails_is_put_away_and_the_next_one_takes_the_job() {
    for trouble in
        [RunnerTrouble::AgentDead, RunnerTrouble::NeverOnline, RunnerTrouble::Exits(1), RunnerTrouble::HostName]
    {
        let (ground, set) = Ground::ready(&pool(POLLING));
        ground.lab.sim.with_world(|world| world.runner_trouble(None, trouble));
        let job = ground.queue(30);
        ground.until(&set, &format!("{trouble:?}: the job is done, and nothing is left"), |g| {
            g.is_done(job) && g.machines().is_empty()
        });
        assert_eq!(ground.runners(), 0, "{trouble:?}");
    }
}

#[test]
fn a_runner_that_is_too_old_stops_the_pool() {
    let (ground, set) = Ground::ready(&pool(POLLING));
    ground.lab.sim.with_world(|world| world.runner_trouble(None, RunnerTrouble::Exits(7)));
    ground.queue(30);
    let warned = |g: &Ground| {
        let plan = g.preview(&set);
        plan.deltas
            .iter()
            .flat_map(|d| &d.notes)
            .any(|n| matches!(n, Note::Warning(text) if text.starts_with("VersionTooOld: ")))
    };
    ground.until(&set, "it says so", warned);
    ground.until(&set, "its machine is put away", |g| g.runners() == 0);
    ground.writes();
    for _ in 0..50 {
        ground.pass(&set);
        ground.lab.sim.advance(Duration::from_secs(120));
    }
    assert!(!ground.writes().iter().any(|w| w.contains("/clone")), "no machine is made that GitHub would not take");
}

/// What guards a machine is there before it runs.
#[test]
fn a_network_profile_guards_machines_from_their_first_moment() {
    let pool = pool("demand: Idle, bootstrap: {}, size: {minIdle: 1, max: 1}, networkProfile: out, tags: [ci]");
    let yaml = format!("{pool}\n---\n{PROFILE}");
    let (ground, set) = Ground::ready(&yaml);
    ground.writes();
    ground.until(&set, "a runner is there", |g| g.runners() == 1);
    let writes = ground.writes();
    let at = |word: &str| writes.iter().position(|w| w.contains(word)).unwrap_or_else(|| panic!("{word}: {writes:#?}"));
    assert!(at("qemu/50000/firewall/rules") < at("qemu/50000/status/start"), "{writes:#?}");
    assert!(at("qemu/50000/firewall/options") < at("qemu/50000/status/start"), "{writes:#?}");
    let (net, tags) = ground.lab.sim.with_world(|world| {
        let config = &world.guests[&50_000].config;
        (config["net0"].clone(), config["tags"].clone())
    });
    assert!(net.contains("bridge=vmbr1") && net.contains("tag=20") && net.contains("firewall=1"), "{net}");
    assert_eq!(tags, "ci;pvectl");
}

/// What is not provably ours is never touched, whatever it is called and wherever it stands.
#[test]
fn strangers_in_the_range_are_left_alone() {
    let (ground, set) = Ground::ready(&pool(POLLING));
    ground.lab.sim.with_world(|world| {
        let mut stranger = world.guests.get(&8000).cloned().expect("there is one");
        stranger.config.insert("name".into(), "ci-50000-abcd000000".into());
        stranger.config.insert("tags".into(), "pvectl".into());
        stranger.config.retain(|key, _| key == "name" || key == "tags" || key == "memory");
        world.guests.insert(50_000, stranger);
    });
    ground.lab.sim.advance(Duration::from_secs(20));
    let before = ground.lab.sim.with_world(|world| serde_json::to_value(&world.guests[&50_000]).expect("plain"));
    let job = ground.queue(10);
    ground.until(&set, "the job is done", |g| g.is_done(job) && g.machines().len() == 1);
    let after = ground.lab.sim.with_world(|world| serde_json::to_value(&world.guests[&50_000]).expect("plain"));
    assert_eq!(before, after);
    let notes: Vec<Note> = ground.preview(&set).deltas.iter().flat_map(|d| d.notes.clone()).collect();
    assert!(notes.iter().any(|n| matches!(n, Note::Warning(text) if text.contains("guest 50000"))), "{notes:?}");
}

fn warns(ground: &Ground, set: &DesiredSet, words: &str) {
    let notes: Vec<Note> = ground.preview(set).deltas.iter().flat_map(|d| d.notes.clone()).collect();
    assert!(notes.iter().any(|n| matches!(n, Note::Warning(text) if text.contains(words))), "{notes:?}");
}

/// It may have a job: no other one is made in its place, and the pool does not go before it.
#[test]
fn a_machine_that_cannot_be_read_counts() {
    let (ground, set) = Ground::ready(&pool("demand: Idle, bootstrap: {}, size: {minIdle: 1, max: 1}"));
    ground.until(&set, "a runner is there", |g| g.runners() == 1);
    *ground.blind.lock().expect("nobody panics with it") = Some("/nodes/pve1/qemu/50000/pending");
    for _ in 0..5 {
        ground.lab.sim.advance(Duration::from_secs(20));
        ground.pass(&set);
        assert_eq!(ground.machines().len(), 1);
    }
    warns(&ground, &set, "guest 50000 `ci-50000-");
    warns(&ground, &set, "counts as one");
    *ground.blind.lock().expect("nobody panics with it") = None;
    ground.pass(&set);
    assert_eq!((ground.machines().len(), ground.runners()), (1, 1));
}

/// A clone that was cut off before it had its marker is nobody's: the pool goes on, and a person is told what to do.
#[test]
fn a_clone_that_was_cut_off_is_told() {
    let (ground, set) = Ground::ready(&pool(POLLING));
    ground.lab.sim.with_world(|world| {
        let mut cut = world.guests.get(&8000).cloned().expect("there is one");
        cut.config.retain(|key, _| key == "memory");
        cut.config.insert("lock".into(), "create".into());
        world.guests.insert(50_000, cut);
    });
    ground.lab.sim.advance(Duration::from_secs(20));
    let job = ground.queue(10);
    ground.until(&set, "the job is done", |g| g.is_done(job) && g.machines().len() == 1);
    warns(&ground, &set, "a clone of it was cut off: look at it, then on pve1: qm unlock 50000, qm destroy 50000");
}

#[test]
fn runners_that_register_themselves_with_a_token() {
    let (ground, set) = Ground::ready(&pool("demand: Polling, bootstrap: {registration: Token}, size: {max: 2}"));
    let job = ground.queue(20);
    ground.until(&set, "the job is done and its machine gone", |g| g.is_done(job) && g.machines().is_empty());
    assert_eq!(ground.runners(), 0);
}

#[test]
fn containers_are_begun_by_the_host_link() {
    let (ground, set) = containers();
    let job = ground.queue(20);
    ground.until(&set, "the job is done and its machine gone", |g| g.is_done(job) && g.machines().is_empty());
    assert_eq!(ground.runners(), 0);
    assert!(ground.writes().iter().any(|w| w.contains("/link/pve1/pct/50000/runner")));
}

#[test]
fn machines_are_reached_by_ssh() {
    let (ground, set) = Ground::ready(&pool(SSH));
    let job = ground.queue(20);
    ground.until(&set, "the job is done and its machine gone", |g| g.is_done(job) && g.machines().is_empty());
    assert_eq!(ground.runners(), 0);
    assert!(ground.writes().iter().any(|w| w.starts_with("POST /guest/")));
}

/// A clone has every option of its template's; what keeps a template from being deleted would keep its machines too.
#[test]
fn what_protects_a_template_does_not_protect_its_machines() {
    let (ground, set) = Ground::ready(&pool(POLLING));
    let job = ground.queue(20);
    *ground.dies.lock().expect("nobody panics with it") = Some(Death { after: 1, done: true });
    let _ = ground.cluster(|cluster| run(reconcile(cluster, &set, &plain(), ALL, &Nobody, &|_| true)));
    *ground.dies.lock().expect("nobody panics with it") = None;
    ground.lab.sim.advance(Duration::from_secs(20));
    ground.lab.sim.with_world(|world| {
        world.edit_guest(50_000, "protection", Some("1"));
        world.edit_guest(50_000, "onboot", Some("1"));
    });
    ground.until(&set, "it is configured", |g| g.lab.sim.with_world(|world| world.guests[&50_000].started_ms > 0));
    let onboot = ground.lab.sim.with_world(|world| world.guests[&50_000].config.get("onboot").cloned());
    assert_ne!(onboot.as_deref(), Some("1"), "a node that was restarted starts no machine of a pool");
    ground.until(&set, "the job is done and its machine gone", |g| g.is_done(job) && g.machines().is_empty());
}

/// What stands against machines, before any is made.
#[test]
fn what_stands_against_machines_is_told_before_anything_is_sent() {
    let says = |more: &str, words: &str| {
        let yaml = pool(&format!("demand: Idle, bootstrap: {{}}, size: {{minIdle: 1, max: 1}}{more}"));
        let (ground, set) = Ground::ready(&yaml);
        ground.writes();
        let plan = ground.preview(&set);
        let of_pool = plan.deltas.iter().find(|d| d.resource.name == "ci").expect("the pool");
        let told = format!("{:?} {:?}", of_pool.problems, of_pool.notes);
        assert!(told.contains(words), "{more}: {told}");
        assert!(plan.deltas.iter().all(|d| d.steps.is_empty()), "{more}: {}", differences(&plan));
        assert!(ground.writes().is_empty());
    };
    says(", networks: [{slot: net0, bridge: vmbr9}]", "has no bridge `vmbr9`");
    says(", pool: nowhere", "there is no pool `nowhere`");
    says(", nodes: [pve2]", "on storage of `pve1` alone");
    says(", minFreeMemory: 900Gi", "NoCapacity");
    says(", minFreeStorage: 900Gi", "has only");
}

#[test]
fn a_template_that_is_unfit_is_named_with_its_rule() {
    let yaml = pool("demand: Idle, bootstrap: {}, size: {minIdle: 1, max: 1}").replace("checks: [], ", "");
    let unfit = yaml.replace("osType: l26", "osType: other");
    let ground = Ground::new();
    ground.pass(&desired(unfit.split("---").next().expect("a template")));
    let plan = ground.preview(&desired(&unfit));
    let problems: Vec<String> = plan.deltas.iter().flat_map(|d| &d.problems).map(|p| p.message.clone()).collect();
    assert!(problems.iter().any(|p| p.contains("it fails the rule `os-type` of LinuxRunner")), "{problems:?}");
}

#[test]
fn a_template_that_is_not_there_is_waited_for() {
    let ground = Ground::new();
    let set = desired(&pool("demand: Idle, bootstrap: {}, size: {minIdle: 1, max: 1}"));
    let plan = ground.preview(&set);
    let of_pool = plan.deltas.iter().find(|d| d.resource.name == "ci").expect("the pool");
    assert!(of_pool.notes.contains(&Note::Waiting(ResourceRef::new("GuestTemplate", "debian"))), "{:?}", of_pool.notes);
}

/// Killed at any write, before it or after it, and started again: the job is done once, never more machines than may be, and nothing
/// is left.
#[test]
fn killed_at_any_write_it_goes_on() {
    let writes = {
        let (ground, set) = Ground::ready(&pool(POLLING));
        ground.writes();
        let job = ground.queue(30);
        ground.until(&set, "the job is done and its machine gone", |g| g.is_done(job) && g.machines().is_empty());
        ground.writes().len()
    };
    for (after, done) in (1..=writes).flat_map(|n| [(n, false), (n, true)]) {
        let (ground, set) = Ground::ready(&pool(POLLING));
        let job = ground.queue(30);
        *ground.dies.lock().expect("nobody panics with it") = Some(Death { after, done });
        for _ in 0..60 {
            // Its end is no matter: it is started again.
            let _ = ground.cluster(|cluster| run(reconcile(cluster, &set, &plain(), ALL, &Nobody, &|_| true)));
            ground.lab.sim.advance(Duration::from_secs(5));
            let mut dies = ground.dies.lock().expect("nobody panics with it");
            if dies.is_some_and(|death| death.after == 0) {
                *dies = None;
                break;
            }
        }
        let what = format!("killed at write {after}, {}", if done { "after it was done" } else { "before" });
        ground.until(&set, &what, |g| {
            assert!(g.machines().len() <= 3, "{what}: {:?}", g.machines());
            g.is_done(job) && g.machines().is_empty() && g.runners() == 0
        });
        let lost = ground.lab.sim.with_world(|world| world.github.lost_jobs);
        assert_eq!(lost, 0, "{what}");
    }
}

/// A pool whose manifest is gone: its machines are deleted as guests are, where that is asked for.
#[test]
fn a_pool_without_a_manifest_is_pruned_machine_by_machine() {
    let (ground, set) = Ground::ready(&pool("demand: Idle, bootstrap: {}, size: {minIdle: 2, max: 3}"));
    ground.until(&set, "two runners are there", |g| g.runners() == 2);
    let left = desired(TEMPLATE);
    let plan = ground.preview(&left);
    assert_eq!(plan.orphans.len(), 2, "without --prune they are told of, and stay");
    assert!(plan.deltas.iter().all(|d| d.steps.is_empty()));
    let report = ground.run(&left, &Settings { prune: true, ..plain() });
    assert!(report.converged(), "{}", crate::world::open(&report));
    assert!(ground.machines().is_empty());
}
