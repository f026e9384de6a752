//! What is asked of GitHub, and what the simulated GitHub answers, against GitHub's own descriptions: the OpenAPI of its REST
//! API (github.com, Enterprise Cloud, Enterprise Server) and of its webhooks, and its examples of webhooks. Path, method,
//! names of the query and body of every request; status and body of every answer.
//!
//! The descriptions are not part of the project: they are looked for in the folder `PVECTL_GITHUB_DATA`, else in
//! `target/github/node_modules`, where `.ci/run` puts them (npm's `@octokit/openapi`, `openapi-webhooks`, `webhooks-examples`).

mod schema;

use crate::apidoc::say;
use crate::world::run;
use pvectl::base::clock::Clock;
use pvectl::base::secret::Secret;
use pvectl::github::demand::{Ask, Demand, Source};
use pvectl::github::http::HttpWire;
use pvectl::github::hub::Hub;
use pvectl::github::operation::Operation;
use pvectl::github::place::{Auth, PUBLIC_API, Place, Scope, SecretRef};
use pvectl::github::runner::Runner;
use pvectl::github::webhook::{JobEvent, JobState, is_signed};
use pvectl::github::wire::{Request, Wire};
use pvectl::host::job::System;
use pvectl::host::runner::{Registration, Start};
use pvectl::pve::api::Api;
use pvectl::pve::error::Refusal;
use pvectl::pve::request::{Call, Method};
use pvectl::sim::Sim;
use pvectl::sim::baseline::Baseline;
use pvectl::sim::faults::{Fault, FaultKind};
use pvectl::sim::github::front::{NewJobs, SimSecrets};
use pvectl::sim::github::records::Exchange;
use pvectl::sim::github::state::Delivery;
use pvectl::sim::serve::serve;
use schema::Schemas;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A description, and the names of its operations.
pub(crate) struct Description(Value);

/// The three that there are of the REST API.
pub(crate) struct Descriptions {
    public: Description,
    cloud: Description,
    server: Description,
}

fn file(path: &str) -> Option<Value> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/github/node_modules");
    let path = std::env::var_os("PVECTL_GITHUB_DATA").map_or_else(beside, PathBuf::from).join("@octokit").join(path);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).expect("JSON")),
        Err(error) if std::env::var_os("PVECTL_TEST_REQUIRE_ALL").is_some_and(|v| v == "1") => {
            panic!("PVECTL_TEST_REQUIRE_ALL=1, but {} cannot be read: {error}", path.display())
        }
        Err(error) => {
            say(&format!("left out: {} cannot be read: {error}", path.display()));
            None
        }
    }
}

impl Descriptions {
    /// `None` where they are absent and may be.
    pub(crate) fn load() -> Option<&'static Descriptions> {
        static ALL: OnceLock<Option<Descriptions>> = OnceLock::new();
        let read = |name: &str| file(&format!("openapi/generated/{name}.json")).map(Description);
        let all =
            || Some(Descriptions { public: read("api.github.com")?, cloud: read("ghec")?, server: read("ghes-3.19")? });
        ALL.get_or_init(all).as_ref()
    }

    /// The description that an address is of, and the path there; `None` for what no description has: the service of scale sets.
    fn of<'a>(&self, url: &'a str) -> Option<(&Description, &'a str)> {
        let path = url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or("/");
        let path = path.split('?').next().unwrap_or_default();
        if path.contains("/_apis/") || path.ends_with("/actions/runner-registration") {
            return None;
        }
        match path.strip_prefix("/api/v3") {
            Some(path) => Some((&self.server, path)),
            None if path.starts_with("/enterprises/") => Some((&self.cloud, path)),
            None => Some((&self.public, path)),
        }
    }

    /// What is wrong with an exchange; and the operation that it is.
    fn problems(&self, exchange: &Exchange) -> (Option<String>, Vec<String>) {
        let Some((description, path)) = self.of(&exchange.url) else { return (None, Vec::new()) };
        let method = exchange.method.to_ascii_lowercase();
        match description.operation(&method, path) {
            Some((name, item, operation)) => {
                let mut found = description.wrong_request(item, operation, exchange);
                found.extend(description.wrong_answer(operation, exchange));
                (Some(format!("{} {name}", exchange.method)), found)
            }
            None => (None, vec!["is not in the description".to_owned()]),
        }
    }
}

impl Description {
    fn schemas(&self, strict: bool) -> Schemas<'_> {
        Schemas { root: &self.0, strict }
    }

    /// The path with the most words of its own that fits: its name, itself, and the method's part.
    fn operation(&self, method: &str, path: &str) -> Option<(&str, &Value, &Value)> {
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |name: &str| {
            let words: Vec<&str> = name.split('/').collect();
            let alike = |(word, part): (&&str, &&str)| word.starts_with('{') && !part.is_empty() || word == part;
            words.len() == parts.len() && words.iter().zip(&parts).all(alike)
        };
        let own = |name: &str| name.split('/').filter(|word| !word.starts_with('{')).count();
        let paths = self.0["paths"].as_object().expect("paths");
        let all = paths.iter().filter(|(name, item)| fits(name) && item.get(method).is_some());
        all.max_by_key(|(name, _)| own(name)).map(|(name, item)| (name.as_str(), item, &item[method]))
    }

    fn wrong_request<'a>(&'a self, item: &'a Value, operation: &'a Value, exchange: &Exchange) -> Vec<String> {
        let schemas = self.schemas(true);
        let declared =
            [&item["parameters"], &operation["parameters"]].into_iter().filter_map(Value::as_array).flatten();
        let in_query: BTreeMap<&str, &Value> = declared
            .map(|parameter| schemas.resolved(parameter))
            .filter(|parameter| parameter["in"] == "query")
            .filter_map(|parameter| Some((parameter["name"].as_str()?, &parameter["schema"])))
            .collect();
        let url = url::Url::parse(&exchange.url).expect("an address");
        let mut found = Vec::new();
        for (name, value) in url.query_pairs() {
            let Some(schema) = in_query.get(name.as_ref()) else {
                found.push(format!("asked: `{name}` is not declared in the query"));
                continue;
            };
            let number = schemas.resolved(schema)["type"] == "integer";
            let value = if number { value.parse::<u64>().map_or(Value::Null, Value::from) } else { value.into() };
            found.extend(schemas.problems(schema, &value).into_iter().map(|what| format!("asked: {name}{what}")));
        }
        let body = schemas.resolved(&operation["requestBody"]);
        match (&exchange.body, &body["content"]["application/json"]["schema"]) {
            (None, _) if body["required"] == true => found.push("asked: without the body".to_owned()),
            (None, _) => {}
            (Some(_), Value::Null) => found.push("asked: there is no body to be sent".to_owned()),
            (Some(text), schema) => {
                let value: Value = serde_json::from_str(text).unwrap_or_default();
                found.extend(schemas.problems(schema, &value).into_iter().map(|what| format!("asked: {what}")));
            }
        }
        found
    }

    fn wrong_answer(&self, operation: &Value, exchange: &Exchange) -> Vec<String> {
        // Refusals say more than is declared for some of them, in GitHub's own answers too.
        let schemas = self.schemas(exchange.status < 400);
        let status = exchange.status.to_string();
        let error = &self.0["components"]["schemas"]["basic-error"];
        let schema = match operation["responses"].get(&status).map(|response| schemas.resolved(response)) {
            Some(response) => &response["content"]["application/json"]["schema"],
            // Any request may be answered so; the description does not say it for each.
            None if matches!(exchange.status, 304 | 400..=404 | 429 | 500..=599) => error,
            None => return vec![format!("answered: {status} is not declared")],
        };
        if exchange.answer.is_empty() {
            let bodiless = schema.is_null() || exchange.status == 304;
            return if bodiless { Vec::new() } else { vec!["answered: without the body".to_owned()] };
        }
        let value: Value = match serde_json::from_slice(&exchange.answer) {
            Ok(value) => value,
            Err(error) => return vec![format!("answered: no JSON: {error}")],
        };
        schemas.problems(schema, &value).into_iter().map(|what| format!("answered: {what}")).collect()
    }
}

/// Holds what a simulated GitHub was asked and answered against the descriptions. The operations that there were; `None` where
/// there are no descriptions.
pub(crate) fn verified(sim: &Sim) -> Option<BTreeSet<String>> {
    let descriptions = Descriptions::load()?;
    let (mut operations, mut wrong) = (BTreeSet::new(), Vec::new());
    for exchange in sim.github().exchanges() {
        let (operation, problems) = descriptions.problems(&exchange);
        operations.extend(operation);
        let what = |problem| format!("{} {} ({}): {problem}", exchange.method, exchange.url, exchange.status);
        wrong.extend(problems.into_iter().map(what));
    }
    assert!(wrong.is_empty(), "not as GitHub describes it:\n{}", wrong.join("\n"));
    Some(operations)
}

fn ask(sim: &Sim, method: &'static str, url: &str, body: &Value) -> (u16, Value) {
    let headers = vec![("user-agent".to_owned(), "test".to_owned())];
    let body = (!body.is_null()).then(|| body.to_string());
    let authorization = Some(Secret::new("Bearer ghp_x"));
    let request = Request { method, url: url.to_owned(), headers, authorization, body };
    let response = run(sim.github().exchange(request)).expect("an answer");
    (response.status, serde_json::from_slice(&response.body).unwrap_or_default())
}

/// Asks all that there is about the runners of a scope.
fn all_of_runners(sim: &Sim, scope: &str) {
    let runners = format!("{scope}/actions/runners");
    let new = json!({ "name": "a", "runner_group_id": 1, "labels": ["self-hosted", "gpu"], "work_folder": "_work" });
    let (status, made) = ask(sim, "POST", &format!("{runners}/generate-jitconfig"), &new);
    assert_eq!(status, 201);
    assert_eq!(ask(sim, "POST", &format!("{runners}/generate-jitconfig"), &new).0, 409);
    ask(sim, "POST", &format!("{runners}/registration-token"), &Value::Null);
    ask(sim, "POST", &format!("{runners}/remove-token"), &Value::Null);
    ask(sim, "GET", &format!("{runners}?per_page=100&page=1"), &Value::Null);
    ask(sim, "GET", &format!("{runners}/downloads"), &Value::Null);
    let one = format!("{runners}/{}", made["runner"]["id"]);
    assert_eq!(ask(sim, "GET", &one, &Value::Null).0, 200);
    assert_eq!(ask(sim, "DELETE", &one, &Value::Null).0, 204);
    assert_eq!(ask(sim, "DELETE", &one, &Value::Null).0, 404);
}

#[test]
fn the_simulated_github_answers_as_githubs_description_says() {
    let sim = Sim::new(Baseline::Homelab);
    for api in ["https://api.github.com", "https://git.example.com/api/v3"] {
        all_of_runners(&sim, &format!("{api}/orgs/acme"));
        all_of_runners(&sim, &format!("{api}/repos/acme/app"));
        all_of_runners(&sim, &format!("{api}/enterprises/corp"));
        ask(&sim, "GET", &format!("{api}/orgs/acme/actions/runner-groups?per_page=100"), &Value::Null);
        ask(&sim, "GET", &format!("{api}/enterprises/corp/actions/runner-groups"), &Value::Null);
        ask(&sim, "GET", &format!("{api}/rate_limit"), &Value::Null);
        let jobs =
            NewJobs { api: api.to_owned(), count: 3, ..NewJobs::new("acme/app", &["x"], Duration::from_secs(9)) };
        let ids = sim.github().queue(&jobs);
        sim.github().cancel(ids[0]);
        let base = format!("{api}/repos/acme/app/actions");
        let dispatch = json!({ "ref": "main", "inputs": { "labels": "x,y", "takes": "30", "count": "2" } });
        assert_eq!(ask(&sim, "POST", &format!("{base}/workflows/ci.yml/dispatches"), &dispatch).0, 204);
        let (_, runs) = ask(&sim, "GET", &format!("{base}/runs?status=in_progress&per_page=10"), &Value::Null);
        let run = &runs["workflow_runs"][0]["id"];
        ask(&sim, "GET", &format!("{base}/runs/{run}/jobs?filter=latest"), &Value::Null);
        ask(&sim, "GET", &format!("{base}/jobs/{}", ids[1]), &Value::Null);
        assert_eq!(ask(&sim, "GET", &format!("{base}/jobs/{}", ids[0]), &Value::Null).1["conclusion"], "cancelled");
    }
    let Some(operations) = verified(&sim) else { return };
    assert!(operations.len() >= 25, "{operations:#?}");
}

#[test]
fn what_is_not_as_described_is_found() {
    let Some(descriptions) = Descriptions::load() else { return };
    let sim = Sim::new(Baseline::Homelab);
    all_of_runners(&sim, "https://api.github.com/orgs/acme");
    let all = sim.github().exchanges();
    let of = |method: &str, end: &str| {
        let is = |e: &&Exchange| e.method == method && e.url.contains(end) && e.status < 300;
        all.iter().find(is).expect("asked").clone()
    };
    let found = |exchange: &Exchange| descriptions.problems(exchange).1.join("; ");
    let (made, listed) = (of("POST", "/generate-jitconfig"), of("GET", "/runners?"));
    assert_eq!((found(&made), found(&listed)), (String::new(), String::new()));
    let changed = |bytes: &[u8], from: &str, to: &str| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        assert!(text.contains(from), "{from} is not in {text}");
        text.replacen(from, to, 1).into_bytes()
    };
    let answered = |from: &str, to: &str| Exchange { answer: changed(&made.answer, from, to), ..made.clone() };
    for (from, to, says) in [
        ("\"encoded_jit_config\"", "\"jit\"", "encoded_jit_config is missing"),
        ("\"busy\":false", "\"busy\":0", "is not of type \"boolean\""),
        ("\"type\":\"custom\"", "\"type\":\"own\"", "is none of"),
        ("\"busy\"", "\"buzy\"", "buzy is not declared"),
    ] {
        let problems = found(&answered(from, to));
        assert!(problems.contains(says), "{says}: {problems}");
    }
    let asked = |from: &str, to: &str| {
        let body = changed(made.body.as_deref().expect("sent").as_bytes(), from, to);
        Exchange { body: String::from_utf8(body).ok(), ..made.clone() }
    };
    for (from, to, says) in [
        ("\"name\"", "\"nome\"", "name is missing"),
        ("\"runner_group_id\":1", "\"runner_group_id\":\"1\"", "is not of type \"integer\""),
        ("[\"self-hosted\",\"gpu\"]", "[]", "too few"),
    ] {
        let problems = found(&asked(from, to));
        assert!(problems.contains(says), "{says}: {problems}");
    }
    let other = |url: &str| Exchange { url: url.to_owned(), ..listed.clone() };
    assert!(found(&other("https://api.github.com/orgs/acme/actions/runners?limit=5")).contains("`limit`"));
    assert!(found(&other("https://api.github.com/orgs/acme/actions/runnerz")).contains("not in the description"));
    assert!(found(&Exchange { status: 418, ..listed.clone() }).contains("418 is not declared"));
}

/// A cluster with a machine that has booted, and its runner's begin.
fn machine() -> Sim {
    let sim = Sim::new(Baseline::Homelab);
    let send = |call: Call| run(sim.api().send(&call)).expect("done");
    let post = |path: &str| Call::new(Method::Post, path.to_owned());
    send(post("/nodes/pve1/qemu/8000/clone").with("newid", 101).with("name", "ci-101"));
    sim.finish_tasks();
    send(post("/nodes/pve1/qemu/101/status/start"));
    sim.finish_tasks();
    sim.advance(Duration::from_secs(20));
    sim
}

fn begin(sim: &Sim, secret: &str) {
    let start = Start {
        system: System::Linux,
        name: "ci-101".to_owned(),
        directory: "/opt/actions-runner".to_owned(),
        user: None,
        host_name: false,
        version: None,
        before: None,
        after: None,
        registration: Registration::JustInTime,
    };
    let call = Call::new(Method::Post, "/nodes/pve1/qemu/101/agent/exec").with("input-data", secret);
    let call = start.command().into_iter().fold(call, |call, word| call.with("command", word));
    run(sim.api().send(&call)).expect("the agent answers");
    sim.advance(Duration::from_secs(12));
}

fn hub(sim: &Sim) -> Hub {
    Hub::new(Arc::new(sim.github()), Arc::new(sim.clock()), Arc::new(SimSecrets))
}

fn place(api: &str, scope: Scope, app: bool) -> Place {
    let auth = match app {
        true => Auth::App { id: "Iv1.x".into(), installation: 7, key: SecretRef::File("/etc/app.pem".into()) },
        false => Auth::Token(SecretRef::Env("GITHUB_TOKEN".into())),
    };
    Place { api: api.to_owned(), scope, auth }
}

fn write(hub: &Hub, place: &Place, operation: &Operation) -> Value {
    let call = operation.call(place).expect("a write");
    run(hub.send(&call)).unwrap_or_else(|error| panic!("{operation:?}: {error}"))
}

fn look(hub: &Hub, place: &Place, operation: &Operation) -> Value {
    let query = operation.query(place).expect("a read");
    run(hub.get(&query)).unwrap_or_else(|error| panic!("{operation:?}: {error}"))
}

fn demand(hub: &Hub, place: &Place, ask: &Ask) -> Demand {
    serde_json::from_value(look(hub, place, &Operation::Demand(ask.clone()))).expect("a demand")
}

fn new_runner(set: Option<&str>) -> Operation {
    Operation::JustInTime {
        name: "ci-101".into(),
        labels: vec!["self-hosted".into(), "x64".into()],
        group: "Default".into(),
        folder: "_work".into(),
        scale_set: set.map(str::to_owned),
    }
}

#[test]
fn what_the_hub_asks_is_as_githubs_description_says() {
    let mut operations = BTreeSet::new();
    for api in [PUBLIC_API, "https://git.example.com/api/v3"] {
        for (scope, app) in [
            (Scope::Organization("acme".into()), true),
            (Scope::Repository("acme/app".into()), false),
            (Scope::Enterprise("corp".into()), false),
        ] {
            let sim = Sim::new(Baseline::Homelab);
            let (hub, place) = (hub(&sim), place(api, scope, app));
            write(&hub, &place, &new_runner(None));
            let listed = Runner::list(&look(&hub, &place, &Operation::Runners)).expect("runners");
            assert_eq!((listed.len(), listed[0].online), (1, false));
            write(&hub, &place, &Operation::Remove { runner: listed[0].id });
            write(&hub, &place, &Operation::Remove { runner: listed[0].id });
            assert!(write(&hub, &place, &Operation::RegistrationToken).is_string());
            let jobs = NewJobs { api: api.to_owned(), enterprise: Some("corp".into()), count: 2, ..job() };
            sim.github().queue(&jobs);
            let labels = vec!["self-hosted".to_owned(), "x64".to_owned()];
            let repositories = vec!["acme/app".to_owned()];
            let ask =
                Ask { source: Source::Polling, pool: "ci".into(), labels, repositories, max: 4, ..Ask::default() };
            assert_eq!(demand(&hub, &place, &ask).waiting(), 2);
            operations.extend(verified(&sim).unwrap_or_default());
        }
    }
    if Descriptions::load().is_some() {
        for wanted in
            ["POST /app/installations/{installation_id}/access_tokens", "GET /enterprises/{enterprise}/actions/runners"]
        {
            assert!(operations.contains(wanted), "{operations:#?}");
        }
    }
}

fn job() -> NewJobs {
    NewJobs::new("acme/app", &["self-hosted", "X64"], Duration::from_secs(30))
}

#[test]
fn the_hub_and_the_simulated_github_agree_on_scale_sets() {
    for app in [true, false] {
        let sim = machine();
        let (hub, place) = (hub(&sim), place(PUBLIC_API, Scope::Organization("acme".into()), app));
        let labels = vec!["self-hosted".to_owned(), "x64".to_owned()];
        let ask = Ask { source: Source::ScaleSet, pool: "ci".into(), labels, max: 4, ..Ask::default() };
        assert!(demand(&hub, &place, &ask).unset.is_some(), "there is no scale set yet");
        write(&hub, &place, &Operation::ScaleSet(ask.clone()));
        assert_eq!(demand(&hub, &place, &ask).unset, None);
        let ids = sim.github().queue(&NewJobs { count: 3, ..job() });
        let listen = || run(hub.listen(&place, &ask)).expect("it listens");
        for _ in 0..4 {
            listen();
        }
        let told = demand(&hub, &place, &ask);
        assert_eq!((told.assigned, told.running), (3, 0), "{told:?}");
        let secret = write(&hub, &place, &new_runner(Some("ci")));
        begin(&sim, secret.as_str().expect("a text"));
        for _ in 0..3 {
            listen();
        }
        let told = demand(&hub, &place, &ask);
        assert_eq!((told.assigned, told.running), (3, 1), "{told:?}");
        // A busy one is not let go, and says so in a way that may pass.
        let busy = Runner::list(&look(&hub, &place, &Operation::Runners)).expect("runners");
        let call = Operation::Remove { runner: busy[0].id }.call(&place).expect("a write");
        let refused = run(hub.send(&call)).expect_err("it works");
        assert_eq!(refused.refusal(), Some(Refusal::Busy), "{refused}");
        sim.advance(Duration::from_secs(60));
        for _ in 0..3 {
            listen();
        }
        assert_eq!(demand(&hub, &place, &ask).assigned, 2);
        assert_eq!(sim.github().job(ids[0]).and_then(|job| job.conclusion).as_deref(), Some("success"));
        run(hub.hang_up(&place, &ask));
        write(&hub, &place, &Operation::RemoveScaleSet { pool: "ci".into(), group: String::new() });
        assert!(sim.with_world(|w| w.github.sets.is_empty()));
        verified(&sim);
    }
}

#[test]
fn a_job_that_githubs_numbers_pass_over_waits_all_the_same() {
    let sim = Sim::new(Baseline::Homelab);
    sim.with_world(|w| w.github.settings.passes_over = true);
    let (hub, place) = (hub(&sim), place(PUBLIC_API, Scope::Organization("acme".into()), true));
    let ask = Ask { pool: "ci".into(), labels: vec!["x64".into()], max: 4, ..Ask::default() };
    write(&hub, &place, &Operation::ScaleSet(ask.clone()));
    sim.github().queue(&NewJobs::new("acme/app", &["x64"], Duration::from_secs(30)));
    for _ in 0..4 {
        run(hub.listen(&place, &ask)).expect("it listens");
    }
    // The numbers are asked for again meanwhile, and say the same.
    sim.advance(Duration::from_secs(300));
    run(hub.listen(&place, &ask)).expect("it listens");
    let told = demand(&hub, &place, &ask);
    assert_eq!((told.assigned, told.waiting(), told.jobs.len()), (0, 1, 1), "{told:?}");
    assert!(told.waiting_since.is_some_and(|since| told.at - since >= 300), "{told:?}");
    assert!(told.notes.iter().any(|note| note.contains("count 0 assigned")), "{told:?}");
}

#[test]
fn the_hub_lives_with_tokens_that_end_and_answers_that_are_lost() {
    let sim = Sim::new(Baseline::Homelab);
    sim.with_world(|w| (w.github.settings.queue_seconds, w.github.settings.admin_seconds) = (90, 300));
    let (hub, place) = (hub(&sim), place(PUBLIC_API, Scope::Organization("acme".into()), true));
    let ask = Ask { pool: "ci".into(), labels: vec!["x64".into()], max: 4, ..Ask::default() };
    write(&hub, &place, &Operation::ScaleSet(ask.clone()));
    let jobs = NewJobs { count: 70, ..NewJobs::new("acme/app", &["x64"], Duration::from_secs(30)) };
    sim.github().queue(&jobs);
    for turn in 0..60 {
        match turn {
            3 => sim.inject(Fault::on("GET", "/messages", FaultKind::DropAfter)),
            6 => sim.inject(Fault::on("DELETE", "/messages/", FaultKind::DropBefore)),
            9 => sim.inject(Fault::on("POST", "acquirejobs", FaultKind::DropAfter)),
            12 => sim.inject(Fault::on("", "pipelines", FaultKind::Status(503, "later".to_owned()))),
            _ => {}
        }
        // A turn may fail; the next one goes on.
        drop(run(hub.listen(&place, &ask)));
        sim.advance(Duration::from_secs(20));
    }
    let told = demand(&hub, &place, &ask);
    assert_eq!((told.assigned, told.waiting()), (70, 70), "{:?}", told.notes);
    assert!(sim.with_world(|w| w.github.jobs.values().all(|job| job.acquired_ms.is_some())));
    // Nothing is asked while the budget is used up.
    sim.with_world(|w| w.github.settings.requests_per_hour = 0);
    let query = Operation::Runners.query(&place).expect("a read");
    let refused = run(hub.get(&query)).expect_err("there is no budget");
    let asked = sim.github().request_log().len();
    assert!(run(hub.get(&query)).is_err());
    assert_eq!(sim.github().request_log().len(), asked, "{refused}");
    verified(&sim);
}

/// The simulator's server, as somebody reaches it who believes its certificate.
fn served(sim: &Sim, ask: impl AsyncFnOnce(Arc<HttpWire>, String)) {
    use rustls::pki_types::CertificateDer;
    let address = "127.0.0.1:0".parse().expect("an address");
    let (tell, told) = tokio::sync::oneshot::channel();
    let server = serve(sim.clone(), address, |ready| tell.send(ready.url).expect("somebody waits"));
    let client = async {
        let url = told.await.expect("it is told");
        let certificate = sim.with_world(|w| w.certificate.clone()).expect("it has one");
        let mut roots = rustls::RootCertStore::empty();
        let der = hex::decode(certificate.certificate).expect("hexadecimal digits");
        roots.add(CertificateDer::from(der)).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the usual versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        ask(Arc::new(HttpWire::new(tls).expect("a client")), url).await;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::select! {
            ended = server => panic!("the server has ended: {ended:?}"),
            () = client => {}
        }
    });
}

#[test]
fn the_simulators_server_is_a_github_enterprise_server_too() {
    let sim = machine();
    sim.set_speed(Some(100.0));
    served(&sim, async |wire, url| {
        let hub = Hub::new(wire, Arc::new(sim.clock()), Arc::new(SimSecrets));
        let place = place(&format!("{url}/api/v3"), Scope::Organization("acme".into()), true);
        let ask = Ask { pool: "ci".into(), labels: vec!["x64".into()], max: 4, ..Ask::default() };
        let write = async |operation: Operation| {
            let call = operation.call(&place).expect("a write");
            hub.send(&call).await.unwrap_or_else(|error| panic!("{operation:?}: {error}"))
        };
        write(Operation::ScaleSet(ask.clone())).await;
        let secret = write(new_runner(Some("ci"))).await;
        assert!(secret.as_str().is_some_and(|text| text.len() > 1000));
        // The session is opened; then a poll with nothing is held until there is something.
        hub.listen(&place, &ask).await.expect("it listens");
        let begun = sim.clock().now_ms();
        let jobs = NewJobs { api: place.api.clone(), ..NewJobs::new("acme/app", &["x64"], Duration::from_secs(9)) };
        let later = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            sim.github().queue(&jobs);
        };
        let (turn, ()) = futures::join!(hub.listen(&place, &ask), later);
        turn.expect("it is told");
        assert!(sim.clock().now_ms() - begun < 50_000, "it was told as it happened");
        for _ in 0..2 {
            hub.listen(&place, &ask).await.expect("it listens");
        }
        let query = Operation::Demand(ask.clone()).query(&place).expect("a read");
        let told: Demand = serde_json::from_value(hub.get(&query).await.expect("a demand")).expect("a demand");
        assert_eq!(told.assigned, 1, "{told:?}");
        hub.hang_up(&place, &ask).await;
    });
    assert!(sim.with_world(|w| w.github.sets.values().all(|set| set.session.is_none())));
    verified(&sim);
}

/// Webhooks of all courses that a job can take.
fn webhooks() -> Vec<Delivery> {
    let sim = machine();
    sim.with_world(|w| w.github.settings.hook_secret = Some("s".to_owned()));
    let waiting = NewJobs { waiting: true, ..job() };
    let ids = sim.github().queue(&waiting);
    sim.github().approve(ids[0]);
    let place = place(PUBLIC_API, Scope::Organization("acme".into()), false);
    let secret = write(&hub(&sim), &place, &new_runner(None));
    begin(&sim, secret.as_str().expect("a text"));
    sim.advance(Duration::from_secs(60));
    sim.take_webhooks()
}

#[test]
fn webhooks_of_the_simulated_github_are_as_described_and_are_understood() {
    let told = webhooks();
    let mut states = Vec::new();
    for hook in &told {
        let of = |name: &str| hook.headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str()).expect("a header");
        let digits = of("x-hub-signature-256").strip_prefix("sha256=").expect("signed");
        assert!(is_signed(hook.body.as_bytes(), b"s", digits));
        let event = JobEvent::read(of("x-github-delivery"), hook.body.as_bytes()).expect("an event");
        assert_eq!((event.api.as_str(), event.job.repository.as_str()), (PUBLIC_API, "acme/app"));
        states.push(event.state);
    }
    use JobState::{Completed, InProgress, Queued, Waiting};
    assert_eq!(states, [Waiting, Waiting, Queued, InProgress, Completed]);
    let Some(description) = file("openapi-webhooks/generated/api.github.com.json") else { return };
    let schemas = Schemas { root: &description, strict: true };
    let mut actions = BTreeSet::new();
    for hook in &told {
        let hook: Value = serde_json::from_str(&hook.body).expect("JSON");
        let action = hook["action"].as_str().expect("a text").replace('_', "-");
        let content = &description["webhooks"][format!("workflow-job-{action}")]["post"]["requestBody"]["content"];
        let schema = &content["application/json"]["schema"];
        assert!(schema.is_object(), "{action} is not in the description");
        assert_eq!(schemas.problems(schema, &hook), Vec::<String>::new(), "{action}");
        actions.insert(action);
    }
    assert_eq!(actions.into_iter().collect::<Vec<_>>(), ["completed", "in-progress", "queued", "waiting"]);
}

#[test]
fn githubs_own_examples_of_webhooks_are_understood() {
    let mut examples = 0;
    for server in ["api.github.com", "ghes-31", "ghes-32", "ghes-33", "ghes-34", "ghes-35"] {
        let Some(all) = file(&format!("webhooks-examples/{server}/index.json")) else { return };
        let of_jobs = all.as_array().expect("a list").iter().filter(|event| event["name"] == "workflow_job");
        for example in of_jobs.flat_map(|event| event["examples"].as_array().expect("a list")) {
            let event = JobEvent::read("1", example.to_string().as_bytes())
                .unwrap_or_else(|error| panic!("{server}: {error}: {example}"));
            let job = &example["workflow_job"];
            assert_eq!(Some(event.job.id), job["id"].as_u64());
            assert_eq!(event.job.labels.len(), job["labels"].as_array().map_or(0, Vec::len));
            let expected = match (example["action"].as_str(), job["status"].as_str()) {
                (Some("queued"), Some("queued")) => JobState::Queued,
                (Some("queued" | "waiting"), _) => JobState::Waiting,
                (Some("in_progress"), _) => JobState::InProgress,
                (Some("completed"), _) => JobState::Completed,
                other => panic!("{server}: {other:?}"),
            };
            assert_eq!(event.state, expected, "{server}");
            // An old sample of a queued job names a runner, which it has not.
            assert!(event.state >= JobState::InProgress || event.job.runner.is_none());
            examples += 1;
        }
    }
    assert!(examples >= 8, "{examples} examples of workflow_job");
}
