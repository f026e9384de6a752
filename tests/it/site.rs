//! A daemon's site for tests: a state made by hand, a clock that stands, a loop that answers and remembers what it was asked.

use futures::future::BoxFuture;
use pvectl::base::clock::Clock;
use pvectl::base::secret::Secret;
use pvectl::daemon::history::History;
use pvectl::daemon::http::gate::Gate;
use pvectl::daemon::http::hook::{Hook, Hooked};
use pvectl::daemon::http::listen::{Tls, serve};
use pvectl::daemon::http::site::Site;
use pvectl::daemon::metrics::Metrics;
use pvectl::daemon::record::{
    Actor, ConditionRecord, DriftRecord, EventRecord, FieldRecord, Healer, Level, Mode, ObjectRecord, ProposalRecord,
    RunRecord, SourceRecord, State, TaskRecord, Verdict,
};
use pvectl::daemon::runners::{BudgetRecord, JobRecord, MachineRecord, PoolCondition, PoolRecord, RunnerRecord, Times};
use pvectl::daemon::shared::{Shared, Wish};
use pvectl::daemon::windows::{
    ChangedRecord, LeftRecord, OpeningRecord, PatchRecord, PendingRecord, TargetRecord, WindowRecord,
};
use pvectl::github::place::SecretRef;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// 2026-11-21T17:00:00Z.
pub(crate) const NOW: u64 = 1_795_280_400_000;
const MINUTE: u64 = 60_000;

pub(crate) struct Still;

impl Clock for Still {
    fn now_ms(&self) -> u64 {
        NOW
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

fn condition(condition: &str, status: &str, reason: &str, message: &str) -> ConditionRecord {
    ConditionRecord {
        condition: condition.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_ms: NOW - 30 * MINUTE,
    }
}

fn field(path: &str, from: Option<&str>, to: Option<&str>, cause: &str) -> FieldRecord {
    FieldRecord {
        path: path.into(),
        from: from.map(Into::into),
        to: to.map(Into::into),
        cause: cause.into(),
        impact: "live".into(),
    }
}

pub(crate) fn source(name: &str, ready: bool) -> SourceRecord {
    let broken =
        condition("Degraded", "True", "SourceBroken", "2 errors in the manifests; 3f2a91c04b7e stays in force");
    SourceRecord {
        name: name.into(),
        origin: "/srv/manifests/homelab".into(),
        cluster: "home".into(),
        mode: Mode::Enforce,
        revision: "sha256:3f2a91c04b7e5566778899aabbccddeeff00112233445566778899aabbccddee".into(),
        subject: None,
        conditions: if ready {
            vec![condition("Ready", "True", "InForce", "")]
        } else {
            vec![condition("Ready", "False", "Degraded", ""), broken]
        },
        diagnostics: if ready { Vec::new() } else { vec!["error[unknown-field]: unknown field `corse`".into()] },
        read_ms: NOW - MINUTE,
        seen_ms: NOW - 2_000,
        objects: 2,
        ready: 1,
        drifted: 1,
        suspended: None,
    }
}

pub(crate) fn object(source: &str, name: &str, ready: bool) -> ObjectRecord {
    let drifted = condition("Drifted", "True", "Changed", "hardware.memory was changed on the cluster");
    ObjectRecord {
        source: source.into(),
        kind: "VirtualMachine".into(),
        name: name.into(),
        identity: Some("qemu/101 on pve1".into()),
        mode: Mode::Enforce,
        action: if ready { "NoOp" } else { "Update" }.into(),
        fields: if ready { Vec::new() } else { vec![field("hardware.memory", Some("4Gi"), Some("2Gi"), "drift")] },
        conditions: if ready {
            vec![condition("Ready", "True", "AsDeclared", ""), condition("Drifted", "False", "AsDeclared", "")]
        } else {
            vec![condition("Ready", "False", "Drifted", ""), drifted]
        },
        revision: "3f2a91c04b7e".into(),
        seen_ms: NOW - 2_000,
        failures: 0,
        next_ms: None,
        error: None,
        newest_ms: None,
    }
}

/// What a snapshot policy does to a guest.
pub(crate) fn member(source: &str) -> ObjectRecord {
    ObjectRecord {
        kind: "SnapshotPolicy".into(),
        name: "nightly:101".into(),
        newest_ms: Some(NOW - 3_600_000),
        ..object(source, "nightly", true)
    }
}

pub(crate) fn spell(healed: bool) -> DriftRecord {
    DriftRecord {
        id: format!("homelab/VirtualMachine/web-02@{healed}"),
        source: "homelab".into(),
        kind: "VirtualMachine".into(),
        name: "web-02".into(),
        identity: Some("qemu/103 on pve1".into()),
        fields: vec![
            field("hardware.memory", Some("4Gi"), Some("2Gi"), "drift"),
            field("tags", Some("a"), None, "drift"),
        ],
        seen_ms: NOW - 10 * MINUTE,
        by: (!healed).then(|| Actor {
            user: "root@pam".into(),
            what: "update VM 103: -memory 4096".into(),
            at_ms: NOW - 11 * MINUTE,
        }),
        healed_ms: healed.then_some(NOW - 5 * MINUTE),
        healed_by: healed.then_some(Healer::Pvectl),
    }
}

pub(crate) fn event(reason: &str, level: Level, message: &str) -> EventRecord {
    EventRecord {
        at_ms: NOW - 10 * MINUTE,
        source: "homelab".into(),
        object: Some("VirtualMachine/web-02".into()),
        revision: Some("3f2a91c04b7e".into()),
        level,
        reason: reason.into(),
        message: message.into(),
        count: 3,
    }
}

fn run(id: &str, ended: bool) -> RunRecord {
    RunRecord {
        id: id.into(),
        source: "homelab".into(),
        revision: "3f2a91c04b7e".into(),
        began_ms: NOW - 3 * MINUTE,
        ended_ms: ended.then_some(NOW - 2 * MINUTE),
        objects: vec!["VirtualMachine/web-01".into(), "VirtualMachine/web-02".into()],
        steps: 4,
        doing: if ended {
            BTreeMap::new()
        } else {
            BTreeMap::from([("VirtualMachine/web-02".into(), "clone 9000 to 103 (full) 42%".into())])
        },
        converged: ended.then_some(false),
        failed: if ended {
            BTreeMap::from([("VirtualMachine/web-02".into(), "clone 9000 to 103: no space left on device".into())])
        } else {
            BTreeMap::new()
        },
    }
}

pub(crate) fn proposal(id: &str, verdict: Verdict) -> ProposalRecord {
    ProposalRecord {
        id: id.into(),
        source: "lab".into(),
        revision: "9c1d5e7f0a2b".into(),
        plan: serde_json::json!({"deltas": []}),
        text: "  ~ VirtualMachine/web-02  qemu/103 on pve1\n    ~ hardware.memory: 4Gi → 2Gi  [drift, live]\n\nPlan: 0 to create, 1 to update, 0 to delete, 0 unchanged.\n".into(),
        made_ms: NOW - 20 * MINUTE,
        expires_ms: NOW + 1420 * MINUTE,
        verdict,
        by: (verdict != Verdict::Waiting).then(|| "ann".into()),
    }
}

/// A patch window that is open.
pub(crate) fn window() -> WindowRecord {
    let opening = |at: u64| OpeningRecord { opens_ms: at, cutoff_ms: at + 180 * MINUTE, closes_ms: at + 240 * MINUTE };
    let target = |target: &str, name: &str, wave, state: &str, detail: &str| TargetRecord {
        target: target.into(),
        name: name.into(),
        wave,
        state: state.into(),
        detail: detail.into(),
        pending: None,
        reboot_required: None,
        last_success_ms: None,
    };
    let pending = PendingRecord { security: Some(1), other: 2, seen_ms: NOW - 3 * MINUTE };
    let nodes = PendingRecord { security: None, other: 7, seen_ms: NOW };
    WindowRecord {
        source: "homelab".into(),
        name: "sunday".into(),
        schedule: "Sun 02:00".into(),
        time_zone: "Europe/Berlin".into(),
        open: true,
        opening: Some(opening(NOW - 30 * MINUTE)),
        next: vec![opening(NOW + 10_000 * MINUTE)],
        halted: Some("the window is halted, for web (101) failed".into()),
        targets: vec![
            TargetRecord {
                pending: Some(pending),
                reboot_required: Some("libc6".into()),
                ..target("101", "web", 1, "Failed", "tcp:22: nobody listens")
            },
            TargetRecord {
                last_success_ms: Some(NOW - 20_000 * MINUTE),
                ..target("200", "pg", 2, "Waiting", "wave 1 is not done yet")
            },
            TargetRecord { pending: Some(nodes), ..target("node/pve1", "pve1", 2, "Idle", "") },
        ],
        seen_ms: NOW,
    }
}

/// What its first target got.
pub(crate) fn patch() -> PatchRecord {
    PatchRecord {
        id: "homelab/sunday/101@1".into(),
        source: "homelab".into(),
        window: "sunday".into(),
        target: "101".into(),
        name: "web".into(),
        opened_ms: NOW - 30 * MINUTE,
        began_ms: Some(NOW - 29 * MINUTE),
        ended_ms: Some(NOW - 25 * MINUTE),
        result: Some("Failed".into()),
        why: Some("tcp:22: nobody listens".into()),
        system: Some("debian 12".into()),
        manager: Some("apt".into()),
        changed: vec![ChangedRecord {
            name: "openssl".into(),
            from: "3.0.15-1".into(),
            to: "3.0.16-1".into(),
            security: Some(true),
        }],
        left: vec![LeftRecord { name: "vim".into(), why: Some("excluded by `v*`".into()) }],
        cves: vec!["CVE-2026-1".into()],
        checks: Vec::new(),
        log: vec!["Setting up openssl".into()],
        rebooted: true,
        reboot_required: None,
        attempts: 1,
    }
}

/// A pool with a machine that works and one that waits for its agent.
fn pool() -> PoolRecord {
    let times = Times {
        made_ms: Some(NOW - 3 * MINUTE),
        started_ms: Some(NOW - 170_000),
        registering_ms: Some(NOW - 140_000),
        online_ms: Some(NOW - 130_000),
        busy_ms: Some(NOW - MINUTE),
        ended_ms: None,
    };
    let busy = MachineRecord {
        vmid: 50_000,
        node: "pve1".into(),
        name: "ci-50000-0a1btabc12".into(),
        stage: "Busy".into(),
        since_ms: Some(NOW - MINUTE),
        runner: Some(7),
        online: true,
        busy: true,
        version: Some("2.330.0".into()),
        address: Some("10.0.0.50".into()),
        job: Some("acme/app: CI / build".into()),
        times,
        ..MachineRecord::default()
    };
    let booting = MachineRecord {
        vmid: 50_001,
        node: "pve2".into(),
        name: "ci-50001-0a1btabc34".into(),
        stage: "Booting".into(),
        since_ms: Some(NOW - 20_000),
        waits: Some("for its guest agent".into()),
        times: Times { made_ms: Some(NOW - 30_000), started_ms: Some(NOW - 20_000), ..Times::default() },
        ..MachineRecord::default()
    };
    PoolRecord {
        source: "homelab".into(),
        name: "ci".into(),
        scope: "orgs/acme".into(),
        demand: "ScaleSet".into(),
        template: "linux-runner".into(),
        max: 4,
        idle_wanted: 1,
        target: 3,
        assigned: Some(2),
        running: Some(1),
        waiting_since_ms: Some(NOW - 2 * MINUTE),
        conditions: vec![PoolCondition {
            reason: "JobsWait".into(),
            message: "pve1 has no memory left".into(),
            warns: true,
        }],
        machines: vec![busy, booting],
        orphans: vec!["ci-50009-0a1btabc00".into()],
        foreign: vec![50_777],
        failing: Some("NoAgent".into()),
        seen_ms: NOW - 1_000,
        ..PoolRecord::default()
    }
}

/// What became of one of its machines, and a job.
fn past() -> (RunnerRecord, JobRecord) {
    let runner = RunnerRecord {
        id: "homelab/ci/ci-50002-0a1btabc56".into(),
        source: "homelab".into(),
        pool: "ci".into(),
        name: "ci-50002-0a1btabc56".into(),
        vmid: 50_002,
        node: "pve1".into(),
        times: Times { made_ms: Some(NOW - 20 * MINUTE), ..Times::default() },
        seen_ms: NOW - 20 * MINUTE,
        gone_ms: Some(NOW - 10 * MINUTE),
        result: Some("Failed".into()),
        cause: Some("NoAgent".into()),
        job: None,
    };
    let job = JobRecord {
        id: "homelab/ci/77".into(),
        source: "homelab".into(),
        pool: "ci".into(),
        job: 77,
        repository: "acme/app".into(),
        name: "CI / build".into(),
        labels: vec!["self-hosted".into()],
        seen_ms: NOW - 4 * MINUTE,
        queued_ms: Some(NOW - 4 * MINUTE),
        began_ms: Some(NOW - MINUTE),
        ended_ms: None,
        runner: Some("ci-50000-0a1btabc12".into()),
    };
    (runner, job)
}

/// A state with one of everything.
pub(crate) fn state() -> State {
    let mut state = State { turned_ms: NOW - 1_000, ..State::default() };
    let lab = SourceRecord {
        origin: "https://git.example.org/lab.git, branch main, path pve".into(),
        mode: Mode::Propose,
        subject: Some("More memory for web-02".into()),
        suspended: Some("ann: new switches are put in".into()),
        ..source("lab", false)
    };
    for source in [source("homelab", true), lab] {
        state.sources.insert(source.name.clone(), source);
    }
    let failed = ObjectRecord {
        kind: "Container".into(),
        identity: None,
        action: "Create".into(),
        fields: Vec::new(),
        conditions: vec![condition("Ready", "False", "Failed", "no space")],
        failures: 2,
        next_ms: Some(NOW + 4 * MINUTE),
        error: Some("create lxc 200 on pve1: no space left on device\nhint: make room on local-lvm".into()),
        ..object("lab", "dns", false)
    };
    for object in [object("homelab", "web-01", true), object("homelab", "web-02", false), failed] {
        state.objects.insert((object.source.clone(), object.kind.clone(), object.name.clone()), object);
    }
    state.drift = vec![spell(false)];
    state.windows.insert(("homelab".into(), "sunday".into()), window());
    state.patches.insert(patch().id, patch());
    state.pools.insert(("homelab".into(), "ci".into()), pool());
    let (runner, job) = past();
    state.runners.remember([runner], [job]);
    state.budgets.push(BudgetRecord {
        api: "https://api.github.com".into(),
        account: "token GITHUB_TOKEN".into(),
        resource: "core".into(),
        limit: 5_000,
        remaining: 4_321,
        reset_ms: NOW + 30 * MINUTE,
        limited_until_ms: None,
    });
    for proposal in [proposal("7f3a2c", Verdict::Waiting), proposal("11aa22", Verdict::Done)] {
        state.proposals.insert(proposal.id.clone(), proposal);
    }
    state.running.insert("r-8".into(), run("r-8", false));
    state.ended(run("r-7", true));
    state.tasks = vec![TaskRecord {
        cluster: "home".into(),
        upid: "UPID:pve1:0000C0DE:00000001:673F0000:qmclone:9000:root@pam!ci:".into(),
        node: "pve1".into(),
        user: "root@pam!ci".into(),
        worker: "qmclone".into(),
        object: "9000".into(),
        began_ms: NOW - MINUTE,
    }];
    state.events.push_back(event("DriftSeen", Level::Warning, "hardware.memory: 2Gi → 4Gi, by root@pam"));
    state.events.push_back(EventRecord { object: None, count: 1, ..event("Applied", Level::Normal, "4 steps done") });
    state
}

/// Signed by the word itself; enough to see that it is asked.
struct Word;

impl Hook for Word {
    fn listens(&self, _: &std::collections::BTreeSet<SecretRef>) -> bool {
        true
    }

    fn read(
        &self,
        headers: &axum::http::HeaderMap,
        body: &[u8],
        _: &std::collections::BTreeSet<SecretRef>,
    ) -> Result<Hooked, String> {
        if headers.get("x-hub-signature-256").is_none_or(|shown| shown != "sha256=good") {
            return Err("the signature is not good".into());
        }
        match body {
            b"ping" => Ok(Hooked::Ping),
            b"push" => {
                Ok(Hooked::Pushed { urls: vec!["https://git.example.org/lab.git".into()], branch: "main".into() })
            }
            _ => Ok(Hooked::Other),
        }
    }
}

/// What is served, and how.
#[derive(Default)]
pub(crate) struct Wanted {
    pub(crate) token: Option<&'static str>,
    pub(crate) history: Option<Arc<dyn History>>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) no_hook: bool,
    /// The daemon began an hour ago, not a second.
    pub(crate) long_ago: bool,
    /// The loop hears nothing.
    pub(crate) deaf: bool,
}

/// A site that is served on a port of its own until it is dropped.
pub(crate) struct Served {
    pub(crate) at: SocketAddr,
    pub(crate) shared: Shared,
    pub(crate) wishes: Arc<Mutex<Vec<Wish>>>,
    stop: Option<oneshot::Sender<()>>,
    server: Option<tokio::task::JoinHandle<()>>,
    pub(crate) runtime: Runtime,
}

impl Served {
    pub(crate) fn of(state: State) -> Served {
        Served::with(state, Wanted::default())
    }

    pub(crate) fn with(state: State, wanted: Wanted) -> Served {
        let runtime = Runtime::new().expect("threads");
        let (shared, mut asked) = Shared::new(state);
        let wishes = Arc::new(Mutex::new(Vec::new()));
        let heard = wishes.clone();
        let deaf = wanted.deaf;
        runtime.spawn(async move {
            while let Some(ask) = asked.recv().await {
                if deaf {
                    continue; // the answer is dropped
                }
                let answer = match &ask.what {
                    Wish::Approve { id, .. } if id == "11aa22" => {
                        Err("11aa22 is Done: only what waits is approved".into())
                    }
                    Wish::Approve { id, by } => Ok(format!("{id} is approved by {by}")),
                    Wish::Reject { .. }
                    | Wish::Suspend { .. }
                    | Wish::Resume { .. }
                    | Wish::Reconcile { .. }
                    | Wish::Heard { .. }
                    | Wish::Pushed { .. } => Ok(format!("heard: {:?}", ask.what)),
                };
                heard.lock().expect("nobody failed with it").push(ask.what);
                // Whoever asked may be gone.
                let _ = ask.answer.send(answer);
            }
        });
        let gate = Gate::new(wanted.token.map(Secret::new).as_ref(), vec!["pvectl.example.org".into()]);
        let site = Site {
            shared: shared.clone(),
            metrics: Arc::new(Metrics::new()),
            history: wanted.history,
            hook: (!wanted.no_hook).then(|| Arc::new(Word) as Arc<dyn Hook>),
            clock: Arc::new(Still),
            gate: gate.expect("random numbers"),
            began_ms: if wanted.long_ago { NOW - 60 * MINUTE } else { NOW - 1_000 },
        };
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let at = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let server = runtime.spawn(serve(listener, wanted.tls, Arc::new(site), async {
            let _ = stopped.await;
        }));
        Served { at, shared, wishes, stop: Some(stop), server: Some(server), runtime }
    }

    /// Says stop, and waits for the end.
    pub(crate) fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(server) = self.server.take() {
            let ended = self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), server).await });
            ended.expect("it ends in time").expect("it does not fail");
        }
    }

    /// Sends one request: `GET /path`, headers as `Name: value`, and a body.
    pub(crate) fn ask(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let (method, path) = line.split_once(' ').expect("METHOD /path");
        let client =
            reqwest::Client::builder().no_proxy().tls_backend_preconfigured(roots()).build().expect("a client");
        let mut request = client.request(method.parse().expect("a method"), format!("http://{}{path}", self.at));
        for header in headers {
            let (name, value) = header.split_once(": ").expect("Name: value");
            request = request.header(name, value);
        }
        let request = request.body(body.to_owned());
        self.runtime.block_on(async {
            let response = request.send().await.expect("an answer");
            let status = response.status().as_u16();
            let headers = response.headers().clone();
            Answer { status, headers, text: response.text().await.expect("a text") }
        })
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), &[], "")
    }

    pub(crate) fn json(&self, path: &str) -> serde_json::Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        serde_json::from_str(&answer.text).expect("JSON")
    }

    pub(crate) fn heard(&self) -> Vec<Wish> {
        self.wishes.lock().expect("nobody failed with it").clone()
    }
}

/// reqwest wants a TLS configuration even where it is not used.
fn roots() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
