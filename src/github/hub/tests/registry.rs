//! Runners: listed, registered, taken away.

use super::*;
use crate::github::runner::Runner;
use crate::pve::error::Refusal;
use serde_json::json;

fn jit(name: &str, group: &str) -> Operation {
    Operation::JustInTime {
        name: name.into(),
        labels: vec!["x64".into()],
        group: group.into(),
        folder: "_work".into(),
        scale_set: None,
    }
}

fn page(request: &Request) -> u64 {
    let url = url::Url::parse(&request.url).expect("an address");
    url.query_pairs().find(|(key, _)| key == "page").and_then(|(_, value)| value.parse().ok()).expect("a page")
}

fn runners(from: u64, to: u64, total: u64) -> Value {
    let row = |id| json!({"id": id, "name": format!("r{id}"), "status": "online", "busy": false, "labels": []});
    json!({"total_count": total, "runners": (from..to).map(row).collect::<Vec<_>>()})
}

#[tokio::test]
async fn all_pages_are_read_with_the_headers_that_github_wants() {
    let world = World::new(|request| ok(200, &runners((page(request) - 1) * 100, (page(request) * 100).min(250), 250)));
    let rows = world.ask(&place(), &Operation::Runners).await.expect("a list");
    assert_eq!(Runner::list(&rows).map(|rows| rows.len()), Some(250));
    let first = &world.requests()[0];
    for (key, value) in [
        ("accept", "application/vnd.github+json"),
        ("x-github-api-version", "2022-11-28"),
        ("user-agent", concat!("pvectl/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert!(first.headers.contains(&(key.to_owned(), value.to_owned())), "{key}");
    }
    assert_eq!(first.authorization.as_ref().map(Secret::expose), Some("Bearer pat"));
    let at = |page| format!("GET /orgs/acme/actions/runners?per_page=100&page={page}");
    assert_eq!(world.sent(), [at(1), at(2), at(3)]);
}

#[tokio::test]
async fn a_runner_that_was_there_all_the_time_is_never_missed() {
    // The first runner goes while the list is read: what was first on the second page is now last on the first one.
    let reads = AtomicU64::new(0);
    let world = World::new(move |request| {
        let gone = u64::from(reads.fetch_add(1, Ordering::SeqCst) > 0);
        let from = gone + (page(request) - 1) * 100;
        ok(200, &runners(from, (from + 100).min(150), 150 - gone))
    });
    let rows = world.ask(&place(), &Operation::Runners).await.expect("a list");
    let ids: Vec<u64> = Runner::list(&rows).expect("runners").iter().map(|runner| runner.id).collect();
    assert!((1..150).all(|id| ids.contains(&id)), "{ids:?}");
}

#[tokio::test]
async fn what_has_not_changed_costs_nothing() {
    let world = World::new(|request| {
        let tag = request.headers.iter().find(|(key, _)| key == "if-none-match").map(|(_, value)| value.as_str());
        match tag {
            Some("W/\"1\"") => Ok(Response { status: 304, ..Response::default() }),
            _ => with(ok(200, &runners(1, 3, 2)), &[("etag", "W/\"1\"")]),
        }
    });
    let first = world.ask(&place(), &Operation::Runners).await.expect("a list");
    assert_eq!(world.ask(&place(), &Operation::Runners).await.expect("the same"), first);
    let tagged = |request: &Request| request.headers.iter().any(|(key, _)| key == "if-none-match");
    assert_eq!(world.requests().iter().map(tagged).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn a_runner_is_registered_with_its_group() {
    let world = World::new(|request| match request.method {
        "GET" => ok(
            200,
            &json!({"total_count": 2, "runner_groups": [{"id": 1, "name": "Default"}, {"id": 7, "name": "Lab"}]}),
        ),
        _ => ok(201, &json!({"runner": {"id": 5, "name": "ci-1"}, "encoded_jit_config": "c2VjcmV0"})),
    });
    assert_eq!(world.ask(&place(), &jit("ci-1", "lab")).await, Ok(json!("c2VjcmV0")));
    let asked = world.requests().last().and_then(|request| request.body.clone()).expect("a body");
    let want = json!({"name": "ci-1", "runner_group_id": 7, "labels": ["x64"], "work_folder": "_work"});
    assert_eq!(serde_json::from_str::<Value>(&asked).expect("JSON"), want);
    world.sent();
    world.ask(&place(), &jit("ci-1", "LAB")).await.expect("registered");
    world.ask(&place(), &jit("ci-1", "Default")).await.expect("registered");
    assert_eq!(world.sent(), ["POST /orgs/acme/actions/runners/generate-jitconfig"; 2], "the group's number is known");

    let missing = world.ask(&place(), &jit("ci-1", "other")).await.expect_err("no such group");
    assert!(missing.to_string().contains("has no runner group `other`; it has Default, Lab"), "{missing}");
    let repository = Place { scope: Scope::Repository("acme/app".into()), ..place() };
    world.sent();
    let none = world.ask(&repository, &jit("ci-1", "lab")).await.expect_err("a repository has none");
    assert!(none.to_string().contains("no runner group but Default") && world.sent().is_empty(), "{none}");
}

#[tokio::test]
async fn a_registration_is_asked_for_once_and_its_loss_is_told() {
    for lost in [Err(WireError::Lost("reset".into())), ok(502, &json!({}))] {
        let world = World::new(|_| panic!("never twice"));
        world.once("generate-jitconfig", lost);
        let error = world.ask(&place(), &jit("ci-1", "")).await.expect_err("lost");
        assert!(
            matches!(&error, PveError::Lost { .. }) && error.to_string().contains("a registration `ci-1`"),
            "{error}"
        );
        assert_eq!(world.sent().len(), 1);
    }
    // What was certainly not sent is.
    let world = World::new(|_| ok(201, &json!({"runner": {"name": "ci-1"}, "encoded_jit_config": "x"})));
    world.once("generate-jitconfig", Err(WireError::Unsent("refused".into())));
    assert!(world.ask(&place(), &jit("ci-1", "")).await.is_ok());
    assert_eq!(world.sent().len(), 2);
}

#[tokio::test]
async fn what_github_says_to_a_registration() {
    for (answer, want) in [
        (ok(409, &json!({"message": "Conflict"})), Refusal::Exists),
        (ok(422, &json!({"message": "Validation Failed"})), Refusal::Invalid),
        (ok(404, &json!({"message": "Not Found"})), Refusal::Forbidden),
        (ok(403, &json!({"message": "Resource not accessible by integration"})), Refusal::Forbidden),
    ] {
        let world = World::new(|_| panic!("once"));
        world.once("generate-jitconfig", answer);
        let error = world.ask(&place(), &jit("ci-1", "")).await.expect_err("refused");
        assert_eq!(error.refusal(), Some(want), "{error}");
        assert!(!error.hint().unwrap_or_default().contains("pveum"), "no hint of PVE's: {error}");
    }
    let world = World::new(|_| ok(201, &json!({"runner": {"name": "other"}, "encoded_jit_config": "s3cret"})));
    let error = world.ask(&place(), &jit("ci-1", "")).await.expect_err("another's");
    assert!(error.to_string().contains("`other`") && !error.to_string().contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_busy_runner_stays_and_one_that_is_gone_is_done() {
    let remove = Operation::Remove { runner: 9 };
    for (answer, want) in [(nothing(), Ok(Value::Null)), (ok(404, &json!({"message": "Not Found"})), Ok(Value::Null))] {
        let world = World::new(|_| panic!("once"));
        world.once("DELETE https://api.github.com/orgs/acme/actions/runners/9", answer);
        assert_eq!(world.ask(&place(), &remove).await, want);
    }
    let named = json!({"typeName": "GitHub.DistributedTask.WebApi.JobStillRunningException", "message": "busy"});
    for answer in [ok(422, &json!({"message": "Bad request - Runner \"r\" is still running a job\""})), ok(400, &named)]
    {
        let world = World::new(|_| panic!("once"));
        world.once("DELETE", answer);
        let error = world.ask(&place(), &remove).await.expect_err("busy");
        assert_eq!(error.refusal(), Some(Refusal::Busy), "{error}");
    }
}

#[tokio::test]
async fn reads_are_repeated_and_a_failure_ends_no_pass() {
    for trouble in [Err(WireError::Lost("reset".into())), ok(502, &json!({})), Err(WireError::Unsent("refused".into()))]
    {
        let world = World::new(|_| ok(200, &runners(1, 2, 1)));
        world.once("GET", trouble.clone());
        world.once("GET", trouble.clone());
        assert!(world.ask(&place(), &Operation::Runners).await.is_ok());
        world.once("GET", trouble.clone());
        world.once("GET", trouble.clone());
        world.once("GET", trouble.clone());
        let error = world.ask(&place(), &Operation::Runners).await.expect_err("three times");
        let may_pass = [Some(Refusal::NodeOffline), Some(Refusal::Unavailable)];
        assert!(may_pass.contains(&error.refusal()), "{error}");
    }
    // Nobody waits for a firewall twice.
    let world = World::new(|_| Err(WireError::Unsent("no connection in time".into())));
    world.desk.slow_ms.store(8_000, Ordering::SeqCst);
    for _ in 0..3 {
        world.ask(&place(), &Operation::Runners).await.expect_err("not reached");
    }
    assert_eq!(world.sent().len(), 1);
    world.pass(11);
    world.ask(&place(), &Operation::Runners).await.expect_err("still not");
    assert_eq!(world.sent().len(), 1, "it is tried again after a while");
}

#[tokio::test]
async fn while_github_limits_us_nothing_is_sent() {
    let world = World::new(|_| ok(200, &runners(1, 2, 1)));
    world.once("GET", with(ok(429, &json!({"message": "slow down"})), &[("retry-after", "120")]));
    let first = world.ask(&place(), &Operation::Runners).await.expect_err("limited");
    assert_eq!((first.refusal(), world.sent().len()), (Some(Refusal::Unavailable), 1));
    let held = world.ask(&place(), &Operation::Runners).await.expect_err("limited");
    assert!(held.to_string().contains("until 2026-09-21 14:15:20 UTC"), "{held}");
    assert!(world.sent().is_empty());
    let budget = world.hub.budgets().pop().expect("a budget");
    assert_eq!((budget.account.as_str(), budget.limited_until), ("token $TOKEN", Some(NOW + 120)));
    world.pass(121);
    assert!(world.ask(&place(), &Operation::Runners).await.is_ok());
}

#[tokio::test]
async fn many_registrations_are_staggered() {
    let world = World::new(|request| {
        let body: Value = serde_json::from_str(request.body.as_deref().unwrap_or("null")).expect("JSON");
        ok(201, &json!({"runner": {"name": body["name"]}, "encoded_jit_config": "x"}))
    });
    let begun = world.clock.now_ms();
    let here = place();
    let all: Vec<Operation> = (0..300).map(|i| jit(&format!("ci-{i}"), "")).collect();
    let answers = futures::future::join_all(all.iter().map(|operation| world.ask(&here, operation))).await;
    assert!(answers.iter().all(Result::is_ok));
    let took = world.clock.now_ms() - begun;
    assert!((100_000..200_000).contains(&took), "290 at 140 a minute: {took} ms");
}
