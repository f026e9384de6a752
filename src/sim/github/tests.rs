//! Whole courses: runners in guests of the simulated cluster, jobs, scale sets, faults.

use super::front::NewJobs;
use super::state::{Job, Status};
use crate::base::clock::Clock;
use crate::base::id::VmId;
use crate::base::secret::Secret;
use crate::github::wire::{Request, Response, Wire, WireError};
use crate::host::guest::{HostKeys, Login, Operation as InGuest};
use crate::host::job::System;
use crate::host::operation::Operation;
use crate::host::runner::look::Look;
use crate::host::runner::{Handed, Phase, Registration, RunnerState, STATE, Start};
use crate::host::ssh::options::Spot;
use crate::host::token::Token;
use crate::pve::api::Api;
use crate::pve::request::{Call, Method, Query};
use crate::sim::Sim;
use crate::sim::baseline::Baseline;
use crate::sim::faults::{Fault, FaultKind};
use crate::sim::inside::runner::RunnerTrouble;
use crate::sim::world::Power;
use serde_json::{Value, json};
use std::time::Duration;

const API: &str = "https://api.github.com";
const AGENT: &str = "/nodes/pve1/qemu/101/agent";
const SECOND: Duration = Duration::from_secs(1);

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

fn sent(
    sim: &Sim,
    method: &'static str,
    url: &str,
    shown: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Result<Response, WireError> {
    let mut all = vec![("user-agent".to_owned(), "test".to_owned())];
    all.extend(headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    let body = (!body.is_null()).then(|| body.to_string());
    let authorization = (!shown.is_empty()).then(|| Secret::new(shown));
    run(sim.github().exchange(Request { method, url: url.to_owned(), headers: all, authorization, body }))
}

fn read(response: &Response) -> Value {
    let body = response.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&response.body);
    serde_json::from_slice(body).unwrap_or_default()
}

/// A request of the REST API, as somebody with a token.
fn rest(sim: &Sim, method: &'static str, path: &str, body: &Value) -> (u16, Value) {
    let response = sent(sim, method, &format!("{API}{path}"), "Bearer ghp_x", &[], body).expect("an answer");
    (response.status, read(&response))
}

fn jit(sim: &Sim, name: &str) -> String {
    let body = json!({ "name": name, "runner_group_id": 1, "labels": ["self-hosted", "x64"], "work_folder": "_work" });
    let (status, answer) = rest(sim, "POST", "/orgs/acme/actions/runners/generate-jitconfig", &body);
    assert_eq!(status, 201, "{answer}");
    answer["encoded_jit_config"].as_str().expect("a text").to_owned()
}

/// A cluster with a machine that has booted.
fn cluster() -> Sim {
    let sim = Sim::new(Baseline::Homelab);
    let call = |path: &str| Call::new(Method::Post, path.to_owned());
    run(sim.api().send(&call("/nodes/pve1/qemu/8000/clone").with("newid", 101).with("name", "ci-101")))
        .expect("cloned");
    sim.finish_tasks();
    run(sim.api().send(&call("/nodes/pve1/qemu/101/status/start"))).expect("started");
    sim.finish_tasks();
    sim.advance(20 * SECOND);
    sim
}

fn start(name: &str) -> Start {
    Start {
        system: System::Linux,
        name: name.to_owned(),
        directory: "/opt/actions-runner".to_owned(),
        user: None,
        host_name: true,
        version: None,
        before: None,
        after: None,
        registration: Registration::JustInTime,
    }
}

fn begin(sim: &Sim, start: &Start, secret: &str) -> String {
    let call = Call::new(Method::Post, format!("{AGENT}/exec")).with("input-data", secret);
    let call = start.command().into_iter().fold(call, |call, word| call.with("command", word));
    let pid = run(sim.api().send(&call)).expect("the agent answers")["pid"].clone();
    let status = Query::new(format!("{AGENT}/exec-status")).with("pid", pid.to_string());
    run(sim.api().get(&status)).expect("it has ended")["out-data"].as_str().expect("a text").to_owned()
}

fn state(sim: &Sim) -> RunnerState {
    let file = run(sim.api().get(&Query::new(format!("{AGENT}/file-read")).with("file", STATE))).expect("there");
    RunnerState::read(file["content"].as_str().expect("a text"))
}

fn job(sim: &Sim, id: u64) -> Job {
    sim.github().job(id).expect("known")
}

fn runners(sim: &Sim) -> Vec<Value> {
    rest(sim, "GET", "/orgs/acme/actions/runners", &Value::Null).1["runners"].as_array().expect("a list").clone()
}

#[test]
fn a_job_is_run_by_a_runner_in_a_guest_that_is_gone_after_it() {
    let sim = cluster();
    let id = sim.queue_job("acme/app", &["self-hosted", "X64"], 90 * SECOND);
    let secret = jit(&sim, "ci-101");
    assert_eq!(runners(&sim)[0]["status"], "offline");
    assert_eq!(begin(&sim, &start("ci-101"), &secret), "begun\n");
    assert_eq!(state(&sim).phase, Phase::Preparing);
    assert_eq!(begin(&sim, &start("ci-101"), &secret), "there already\n");
    sim.advance(8 * SECOND);
    assert_eq!(state(&sim).phase, Phase::Running);
    let row = runners(&sim)[0].clone();
    assert_eq!((&row["status"], &row["busy"], &row["version"]), (&"online".into(), &false.into(), &"2.330.0".into()));
    // It has been given the job that no list shows yet.
    let number = row["id"].as_u64().expect("a number");
    let path = format!("/orgs/acme/actions/runners/{number}");
    assert_eq!(rest(&sim, "DELETE", &path, &Value::Null).0, 422);
    sim.advance(2 * SECOND);
    assert_eq!(runners(&sim)[0]["busy"], true);
    assert_eq!(job(&sim, id).status, Status::InProgress);
    let host = run(sim.api().get(&Query::new(format!("{AGENT}/get-host-name")))).expect("an answer");
    assert_eq!(host["result"]["host-name"], "ci-101");
    sim.advance(100 * SECOND);
    let done = job(&sim, id);
    assert_eq!((done.status, done.conclusion.as_deref()), (Status::Completed, Some("success")));
    assert_eq!(done.runner, Some((number, "ci-101".to_owned())));
    assert!(runners(&sim).is_empty(), "an ephemeral runner leaves the list");
    assert_eq!(sim.with_world(|w| w.guests[&101].power), Power::Stopped);
    let left = sim.with_world(|w| crate::sim::inside::runner::state(w, 101)).expect("a state");
    assert_eq!(RunnerState::read(&left).exit, Some(0));
    assert_eq!(sim.with_world(|w| (w.github.registered_ever, w.github.lost_jobs)), (1, 0));
    assert!(!sim.save().contains(&secret), "the secret is nowhere");
}

#[test]
fn what_goes_wrong_in_guests_looks_as_it_does() {
    for (trouble, exit, online) in [
        (RunnerTrouble::Exits(7), Some(7), false),
        (RunnerTrouble::NeverOnline, None, false),
        (RunnerTrouble::HostName, Some(1), false),
        (RunnerTrouble::Hangs, None, true),
    ] {
        let sim = cluster();
        sim.with_world(|w| w.runner_trouble(None, trouble));
        let id = sim.queue_job("acme/app", &["x64"], SECOND);
        let secret = jit(&sim, "ci-101");
        begin(&sim, &start("ci-101"), &secret);
        sim.advance(60 * 60 * SECOND);
        assert_eq!((state(&sim).exit, runners(&sim)[0]["status"] == "online"), (exit, online), "{trouble:?}");
        let stands = if online { Status::InProgress } else { Status::Queued };
        assert_eq!(job(&sim, id).status, stands, "{trouble:?}");
    }
    let sim = cluster();
    let secret = jit(&sim, "ci-101");
    let wanted = Start { version: Some("2.1.0".to_owned()), ..start("ci-101") };
    begin(&sim, &wanted, &secret);
    assert!(state(&sim).why.is_some_and(|why| why.contains("2.1.0")));
    let sim = cluster();
    begin(&sim, &start("ci-101"), "wrong");
    sim.advance(20 * SECOND);
    assert_eq!((state(&sim).phase, state(&sim).exit), (Phase::Ended, Some(1)));
    let sim = cluster();
    sim.with_world(|w| w.runner_trouble(Some(101), RunnerTrouble::AgentDead));
    for verb in ["stop", "start"] {
        run(sim.api().send(&Call::new(Method::Post, format!("/nodes/pve1/qemu/101/status/{verb}")))).expect("done");
        sim.finish_tasks();
    }
    sim.advance(600 * SECOND);
    assert!(run(sim.api().send(&Call::new(Method::Post, format!("{AGENT}/ping")))).is_err());
}

#[test]
fn containers_are_reached_by_the_host_link_and_machines_by_ssh() {
    let sim = cluster();
    let secrets = [jit(&sim, "ct-8200"), jit(&sim, "ci-101")];
    let vmid = VmId::new(8200).expect("a number");
    let handed = |secret: &str| Handed::new(secret);
    let operation = Operation::ContainerRunner { vmid, start: start("ct-8200"), secret: handed(&secrets[0]) };
    let said = run(sim.api().send(&operation.call("pve3").expect("a write"))).expect("it runs");
    assert_eq!(said, "begun\n");
    let login = Login {
        name: Token::own("ci-101"),
        address: "192.168.1.121".parse().expect("an address"),
        port: 22,
        user: Token::own("ci"),
        private_key: Spot::new(std::path::Path::new("/etc/pvectl/id")).expect("a plain name"),
        host_keys: HostKeys::AcceptNew,
    };
    let begin = InGuest::Runner { start: Box::new(start("ci-101")), secret: handed(&secrets[1]) };
    assert_eq!(run(sim.api().send(&begin.call(&login).expect("a write"))).expect("it runs"), "begun\n");
    assert_eq!(run(sim.api().send(&begin.call(&login).expect("a write"))).expect("it runs"), "there already\n");
    sim.advance(10 * SECOND);
    assert!(runners(&sim).iter().all(|runner| runner["status"] == "online"));
    let query = Operation::ContainerRunnerState { vmid, lines: 1 }.query("pve3").expect("a read");
    let seen = run(sim.api().get(&query)).expect("it runs");
    let seen = Look::read(seen.as_str().expect("a text"));
    assert_eq!((seen.state.phase, seen.log.as_str()), (Phase::Running, "Listening for Jobs\n"));
    let look = InGuest::RunnerState { system: System::Linux, lines: 0 };
    let seen = run(sim.api().get(&look.query(&login).expect("a read"))).expect("it runs");
    assert_eq!(Look::read(seen.as_str().expect("a text")).state.name, "ci-101");
    // Each takes a job, and is off after it.
    let jobs = NewJobs { count: 2, ..NewJobs::new("acme/app", &["x64"], SECOND) };
    assert_eq!(sim.github().queue(&jobs).len(), 2);
    sim.advance(30 * SECOND);
    assert!(runners(&sim).is_empty());
    for vmid in [101, 8200] {
        assert_eq!(sim.with_world(|w| w.guests[&vmid].power), Power::Stopped);
    }
    let refused = run(sim.api().get(&look.query(&login).expect("a read"))).expect_err("it is off");
    assert!(refused.to_string().contains("No route to host"), "{refused}");
}

#[test]
fn a_runner_that_dies_loses_its_job_or_gives_it_back() {
    // It is off before it takes the job: another gets it a minute later.
    let sim = cluster();
    let secret = jit(&sim, "ci-101");
    begin(&sim, &start("ci-101"), &secret);
    sim.advance(10 * SECOND);
    sim.with_world(|w| w.guests.get_mut(&101).expect("there").power = Power::Stopped);
    let id = sim.queue_job("acme/app", &["x64"], SECOND);
    assert!(job(&sim, id).pending);
    sim.advance(61 * SECOND);
    let given_back = job(&sim, id);
    assert_eq!((given_back.status, given_back.pending, given_back.sent.len()), (Status::Queued, false, 1));
    assert_eq!(runners(&sim)[0]["status"], "offline");
    // It is off in the middle of it.
    let sim = cluster();
    sim.with_world(|w| w.runner_trouble(None, RunnerTrouble::TurnsOff(20)));
    let id = sim.queue_job("acme/app", &["x64"], 600 * SECOND);
    let secret = jit(&sim, "ci-101");
    begin(&sim, &start("ci-101"), &secret);
    sim.advance(120 * SECOND);
    assert!(job(&sim, id).lost);
    assert_eq!(sim.with_world(|w| w.github.lost_jobs), 1);
    // Nobody comes: after a day it is cancelled, and the registration is forgotten.
    let sim = cluster();
    let id = sim.queue_job("acme/app", &["arm64"], SECOND);
    jit(&sim, "ci-101");
    sim.advance(Duration::from_secs(25 * 60 * 60));
    assert_eq!(job(&sim, id).conclusion.as_deref(), Some("cancelled"));
    assert!(runners(&sim).is_empty());
}

#[test]
fn the_list_of_runners_has_pages_marks_and_a_budget() {
    let sim = Sim::new(Baseline::Homelab);
    for n in 0..35 {
        jit(&sim, &format!("r-{n}"));
    }
    let body = json!({ "name": "R-0", "runner_group_id": 1, "labels": ["x"] });
    let path = "/orgs/acme/actions/runners";
    assert_eq!(rest(&sim, "POST", &format!("{path}/generate-jitconfig"), &body).0, 409);
    for bad in [json!({}), json!({ "name": "a", "runner_group_id": 1, "labels": [] })] {
        assert_eq!(rest(&sim, "POST", &format!("{path}/generate-jitconfig"), &bad).0, 422);
    }
    assert_eq!(rest(&sim, "GET", path, &Value::Null).1["runners"].as_array().map(Vec::len), Some(30));
    let second = rest(&sim, "GET", &format!("{path}?per_page=20&page=2"), &Value::Null).1;
    assert_eq!((second["runners"].as_array().map(Vec::len), &second["total_count"]), (Some(15), &35.into()));
    assert_eq!(rest(&sim, "GET", &format!("{path}?name=r-7"), &Value::Null).1["total_count"], 1);
    let url = format!("{API}{path}?per_page=100");
    let first = sent(&sim, "GET", &url, "Bearer t", &[], &Value::Null).expect("an answer");
    let mark = first.header("etag").expect("a mark").to_owned();
    let left = |response: &Response| response.header("x-ratelimit-remaining").and_then(|n| n.parse::<u64>().ok());
    let again = sent(&sim, "GET", &url, "Bearer t", &[("if-none-match", &mark)], &Value::Null).expect("an answer");
    assert_eq!((again.status, again.body.len(), left(&again)), (304, 0, left(&first)));
    sim.with_world(|w| w.github.settings.requests_per_hour = 2);
    sent(&sim, "GET", &url, "Bearer t", &[], &Value::Null).expect("an answer");
    let none = sent(&sim, "GET", &url, "Bearer t", &[], &Value::Null).expect("an answer");
    assert_eq!((none.status, left(&none)), (403, Some(0)));
    sim.advance(Duration::from_secs(3601));
    assert_eq!(sent(&sim, "GET", &url, "Bearer t", &[], &Value::Null).expect("an answer").status, 200);
    assert_eq!(sent(&sim, "GET", &url, "", &[], &Value::Null).expect("an answer").status, 401);
    assert_eq!(sent(&sim, "GET", &url, "Bearer ghs_never", &[], &Value::Null).expect("an answer").status, 401);
}

/// What a scale set's listener has.
struct Listener {
    sim: Sim,
    service: String,
    admin: String,
}

impl Listener {
    fn new(sim: &Sim) -> Listener {
        let (_, token) = rest(sim, "POST", "/orgs/acme/actions/runners/registration-token", &Value::Null);
        let shown = format!("RemoteAuth {}", token["token"].as_str().expect("a text"));
        let body = json!({ "url": "https://github.com/acme", "runner_event": "register" });
        let answer =
            sent(sim, "POST", &format!("{API}/actions/runner-registration"), &shown, &[], &body).expect("an answer");
        let told = read(&answer);
        let text = |key: &str| told[key].as_str().expect("a text").to_owned();
        Listener { sim: sim.clone(), service: text("url"), admin: format!("Bearer {}", text("token")) }
    }

    fn ask(&self, method: &'static str, path: &str, body: &Value) -> (u16, Value) {
        let mark = if path.contains('?') { '&' } else { '?' };
        let url = format!("{}_apis/{path}{mark}api-version=6.0-preview", self.service);
        let response = sent(&self.sim, method, &url, &self.admin, &[], body).expect("an answer");
        assert!(response.body.is_empty() || response.body.starts_with(b"\xef\xbb\xbf"));
        (response.status, read(&response))
    }

    fn set(&self) -> u64 {
        let body = json!({ "name": "ci", "runnerGroupId": 1, "labels": [{ "type": "System", "name": "ci" }] });
        let (status, set) = self.ask("POST", "runtime/runnerscalesets", &body);
        assert_eq!((status, set["name"].as_str()), (200, Some("ci")));
        assert_eq!(self.ask("POST", "runtime/runnerscalesets", &body).0, 409);
        set["id"].as_u64().expect("a number")
    }

    fn open(&self, set: u64) -> (u16, Value) {
        self.ask("POST", &format!("runtime/runnerscalesets/{set}/sessions"), &json!({ "ownerName": "me" }))
    }

    fn poll(&self, session: &Value, after: u64) -> (u16, Value) {
        let url = format!("{}&lastMessageId={after}", session["messageQueueUrl"].as_str().expect("a text"));
        let headers = [("accept", "application/json; api-version=6.0-preview"), ("x-scalesetmaxcapacity", "4")];
        let response = sent(&self.sim, "GET", &url, &shown(session), &headers, &Value::Null).expect("an answer");
        (response.status, read(&response))
    }
}

fn shown(session: &Value) -> String {
    format!("Bearer {}", session["messageQueueAccessToken"].as_str().expect("a text"))
}

fn items(message: &Value) -> Vec<Value> {
    serde_json::from_str(message["body"].as_str().expect("a text")).expect("a list")
}

#[test]
fn a_scale_set_is_told_of_jobs_and_gets_those_that_it_acquires() {
    let sim = cluster();
    let listener = Listener::new(&sim);
    let set = listener.set();
    let (status, session) = listener.open(set);
    assert_eq!(status, 200);
    assert_eq!(listener.open(set).0, 409, "one listens at a time");
    assert_eq!(listener.poll(&session, 0).0, 202);
    let jobs = NewJobs { count: 60, ..NewJobs::new("acme/app", &["CI"], 30 * SECOND) };
    let ids = sim.github().queue(&jobs);
    let (_, first) = listener.poll(&session, 0);
    assert_eq!((items(&first).len(), &first["statistics"]["totalAvailableJobs"]), (50, &60.into()));
    assert_eq!(first["messageType"], "RunnerScaleSetJobMessages");
    assert_eq!(listener.poll(&session, 0).1["messageId"], first["messageId"], "until it is acknowledged");
    let number = first["messageId"].as_u64().expect("a number");
    assert_eq!(items(&listener.poll(&session, number).1).len(), 10);
    let queue = session["messageQueueUrl"].as_str().expect("a text");
    let one = queue.replacen("/messages?", &format!("/messages/{number}?"), 1);
    let gone = sent(&sim, "DELETE", &one, &shown(&session), &[], &Value::Null).expect("an answer");
    assert_eq!(gone.status, 204);
    let path = format!("runtime/runnerscalesets/{set}/acquirejobs");
    assert_eq!(listener.ask("POST", &path, &json!([ids[0]])).0, 401, "it needs the queue's token");
    let url = format!("{}_apis/{path}?api-version=6.0-preview", listener.service);
    let got = sent(&sim, "POST", &url, &shown(&session), &[], &json!([ids[0], ids[1], 999_999])).expect("an answer");
    assert_eq!(read(&got)["value"], json!([ids[0], ids[1]]));
    let (status, made) = listener.ask(
        "POST",
        &format!("runtime/runnerscalesets/{set}/generatejitconfig"),
        &json!({ "name": "ci-101", "workFolder": "_work" }),
    );
    assert_eq!(status, 200);
    begin(&sim, &start("ci-101"), made["encodedJITConfig"].as_str().expect("a text"));
    sim.advance(10 * SECOND);
    assert_eq!(job(&sim, ids[0]).status, Status::InProgress);
    let agent = format!("distributedtask/pools/0/agents/{}", made["runner"]["id"]);
    let (status, refused) = listener.ask("DELETE", &agent, &Value::Null);
    assert_eq!(status, 400);
    assert!(refused["typeName"].as_str().is_some_and(|name| name.contains("JobStillRunningException")));
    assert_eq!(runners(&sim)[0]["busy"], true, "the REST API shows the runners of sets too");
    sim.advance(40 * SECOND);
    let (_, statistics) = listener.ask("GET", &format!("runtime/runnerscalesets/{set}"), &Value::Null);
    assert_eq!(statistics["statistics"]["totalAssignedJobs"], 1);
    let mut after = 0;
    let mut kinds = Vec::new();
    while let (200, message) = listener.poll(&session, after) {
        after = message["messageId"].as_u64().expect("a number");
        kinds.extend(items(&message).iter().map(|item| item["messageType"].as_str().unwrap_or_default().to_owned()));
    }
    let count = |kind: &str| kinds.iter().filter(|k| *k == kind).count();
    assert_eq!((count("JobAssigned"), count("JobStarted"), count("JobCompleted")), (2, 1, 1));
}

#[test]
fn a_session_ends_with_its_token_its_deletion_or_its_silence() {
    let sim = Sim::new(Baseline::Homelab);
    sim.with_world(|w| (w.github.settings.queue_seconds, w.github.settings.admin_seconds) = (60, 7200));
    let listener = Listener::new(&sim);
    let set = listener.set();
    let (_, session) = listener.open(set);
    sim.advance(61 * SECOND);
    assert_eq!(listener.poll(&session, 0).0, 401);
    let path = format!("runtime/runnerscalesets/{set}/sessions/{}", session["sessionId"].as_str().expect("a text"));
    let (status, session) = listener.ask("PATCH", &path, &Value::Null);
    assert_eq!((status, listener.poll(&session, 0).0), (200, 202));
    // Who comes after it is told again of what nobody took.
    sim.queue_job("acme/app", &["ci"], SECOND);
    assert_eq!(items(&listener.poll(&session, 0).1).len(), 1);
    assert_eq!(listener.open(set).0, 409);
    sim.advance(301 * SECOND);
    let (status, second) = listener.open(set);
    assert_eq!(status, 200);
    assert_eq!(items(&listener.poll(&second, 0).1).len(), 1);
    let path = format!("runtime/runnerscalesets/{set}/sessions/{}", second["sessionId"].as_str().expect("a text"));
    assert_eq!(listener.ask("DELETE", &path, &Value::Null).0, 204);
    assert_eq!((listener.poll(&second, 0).0, listener.open(set).0), (401, 200));
    sim.advance(7200 * SECOND);
    assert_eq!(listener.open(set).0, 401, "the service's token has ended");
    let wrong = Listener { admin: "Bearer ghp_x".to_owned(), ..Listener::new(&sim) };
    assert_eq!(wrong.open(set).0, 401);
}

#[test]
fn faults_meet_requests_to_github() {
    let sim = Sim::new(Baseline::Homelab);
    let path = "/orgs/acme/actions/runners/generate-jitconfig";
    let body = json!({ "name": "a", "runner_group_id": 1, "labels": ["x"] });
    let ask = || sent(&sim, "POST", &format!("{API}{path}"), "Bearer t", &[], &body);
    let known = || sim.with_world(|w| w.github.runners.len());
    sim.inject(Fault::on("POST", "api.github.com/orgs", FaultKind::Unsent));
    assert!(matches!(ask(), Err(WireError::Unsent(_))));
    sim.inject(Fault::on("POST", "generate-jitconfig", FaultKind::DropBefore));
    assert!(matches!(ask(), Err(WireError::Lost(_))));
    assert_eq!(known(), 0);
    sim.inject(Fault::on("POST", "generate-jitconfig", FaultKind::Status(429, "slow down".to_owned())));
    let limited = ask().expect("an answer");
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("60")));
    sim.inject(Fault::on("POST", "generate-jitconfig", FaultKind::DropAfter));
    assert!(matches!(ask(), Err(WireError::Lost(_))));
    assert_eq!(known(), 1);
    let before = sim.clock().now_ms();
    sim.inject(Fault::on("", "github", FaultKind::Slow(7000)));
    assert_eq!(ask().expect("an answer").status, 409);
    assert_eq!(sim.clock().now_ms(), before + 7000);
    assert_eq!(sim.github().request_log().len(), 5);
    assert_eq!(sim.requests(), 0, "the cluster's requests are counted apart");
}

#[test]
fn webhooks_are_signed_lost_repeated_and_queued_while_they_wait() {
    let sim = Sim::new(Baseline::Homelab);
    sim.queue_job("acme/app", &["x64"], SECOND);
    assert!(sim.take_webhooks().is_empty(), "nobody listens");
    sim.with_world(|w| w.github.settings.hook_secret = Some("s".to_owned()));
    let waiting = NewJobs { waiting: true, ..NewJobs::new("acme/app", &["x64"], SECOND) };
    let id = sim.github().queue(&waiting)[0];
    sim.github().approve(id);
    sim.github().cancel(id);
    let told: Vec<Value> = sim
        .take_webhooks()
        .iter()
        .map(|hook| {
            let signed = hook.headers.iter().find(|(name, _)| name == "x-hub-signature-256").expect("signed");
            assert_eq!(signed.1, super::webhook::signature("s", hook.body.as_bytes()));
            serde_json::from_str(&hook.body).expect("JSON")
        })
        .collect();
    let said: Vec<_> =
        told.iter().map(|hook| (hook["action"].as_str(), hook["workflow_job"]["status"].as_str())).collect();
    let pair = |action, status| (Some(action), Some(status));
    let expected = [("queued", "waiting"), ("waiting", "waiting"), ("queued", "queued"), ("completed", "completed")];
    assert_eq!(said, expected.map(|(action, status)| pair(action, status)));
    sim.with_world(|w| (w.github.settings.lose_webhooks, w.github.settings.repeat_webhooks) = (1, 1));
    sim.queue_job("acme/app", &["x64"], SECOND);
    assert!(sim.take_webhooks().is_empty());
    sim.queue_job("acme/app", &["x64"], SECOND);
    let twice = sim.take_webhooks();
    assert_eq!((twice.len(), &twice[0]), (2, &twice[1]));
}

#[test]
fn github_is_saved_with_the_cluster() {
    let sim = cluster();
    assert!(!sim.save().contains("\"github\""), "who does not use it does not have it");
    let id = sim.queue_job("acme/app", &["x64"], 60 * SECOND);
    let secret = jit(&sim, "ci-101");
    begin(&sim, &start("ci-101"), &secret);
    sim.advance(20 * SECOND);
    let again = Sim::load(&sim.save()).expect("readable");
    again.advance(60 * SECOND);
    assert_eq!(job(&again, id).conclusion.as_deref(), Some("success"));
    assert_eq!(Sim::load(&again.save()).expect("readable").snapshot_json(), again.snapshot_json());
}

#[test]
fn runs_and_jobs_of_a_repository_can_be_read() {
    let sim = Sim::new(Baseline::Homelab);
    let jobs = NewJobs { count: 3, ..NewJobs::new("acme/app", &["x64"], SECOND) };
    let ids = sim.github().queue(&jobs);
    sim.github().cancel(ids[2]);
    let read = |path: &str| rest(&sim, "GET", &format!("/repos/acme/app/actions/{path}"), &Value::Null);
    assert_eq!(read("runs?status=queued").1["total_count"], 0, "a run of which a job has ended is in progress");
    let runs = read("runs?status=in_progress").1;
    assert_eq!(runs["total_count"], 1);
    let jobs = read(&format!("runs/{}/jobs?filter=latest", runs["workflow_runs"][0]["id"])).1;
    assert_eq!((&jobs["total_count"], &jobs["jobs"][0]["status"]), (&3.into(), &"queued".into()));
    assert_eq!(read(&format!("jobs/{}", ids[2])).1["conclusion"], "cancelled");
    assert_eq!(read("jobs/999").0, 404);
    assert_eq!(rest(&sim, "GET", &format!("/repos/acme/other/actions/jobs/{}", ids[0]), &Value::Null).0, 404);
}
