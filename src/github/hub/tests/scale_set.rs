//! Scale sets: made, listened to, ended.

use super::*;
use crate::github::place::Scope;
use crate::pve::error::Refusal;
use serde_json::json;

const QUEUE: &str = "https://queue.example/messages/7?sessionId=s1";

fn ask() -> Ask {
    Ask { pool: "ci".into(), labels: vec!["self-hosted".into(), "x64".into()], max: 4, ..Ask::default() }
}

fn labels(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"type": "System", "name": name})).collect()
}

fn statistics(assigned: u32, running: u32) -> Value {
    json!({"totalAvailableJobs": 0, "totalAssignedJobs": assigned, "totalRunningJobs": running})
}

fn session(token: &str) -> Value {
    json!({
        "sessionId": "5d4b0f9e-0000-4000-8000-000000000001", "ownerName": "pvectl", "messageQueueUrl": QUEUE,
        "messageQueueAccessToken": token, "statistics": statistics(1, 0),
    })
}

/// `{"exp": 1790003600}`, an hour after the beginning.
const ADMIN: &str = "e30.eyJleHAiOjE3OTAwMDM2MDB9.x";

/// GitHub with one scale set.
fn github(request: &Request) -> Result<Response, WireError> {
    let authorization = request.authorization.as_ref().map(Secret::expose).unwrap_or_default();
    let url = request.url.as_str();
    let path = url.split('?').next().unwrap_or_default();
    if url.ends_with("/orgs/acme/actions/runners/registration-token") {
        return ok(201, &json!({"token": "REG", "expires_at": "2026-09-21T15:13:20Z"}));
    }
    if url == "https://api.github.com/actions/runner-registration" {
        assert_eq!(authorization, "RemoteAuth REG");
        let body: Value = serde_json::from_str(request.body.as_deref().unwrap_or("")).expect("JSON");
        assert_eq!(body, json!({"url": "https://github.com/acme", "runner_event": "register"}));
        let mut answer = b"\xef\xbb\xbf".to_vec();
        answer.extend(json!({"url": "https://pipelines.example/t/", "token": ADMIN}).to_string().bytes());
        return Ok(Response { status: 200, headers: Vec::new(), body: answer });
    }
    if let Some(rest) = path.strip_prefix("https://pipelines.example/t/_apis/runtime/runnerscalesets") {
        assert!(url.contains("api-version=6.0-preview"), "{url}");
        let want = if rest.ends_with("/acquirejobs") { "Bearer queue" } else { "Bearer e30" };
        assert!(authorization.starts_with(want), "{url}");
        return match (request.method, rest) {
            ("GET", "") => ok(
                200,
                &json!({"count": 1, "value": [{"id": 8, "name": "ci", "labels": labels(&["x64", "self-hosted", "CI"])}]}),
            ),
            ("POST", "/8/sessions") => ok(200, &session("queue1")),
            ("PATCH", _) => ok(200, &session("queue2")),
            ("DELETE", _) => nothing(),
            ("POST", "/8/acquirejobs") => ok(200, &json!({"count": 1, "value": [11]})),
            ("POST", "/8/generatejitconfig") => {
                let body: Value = serde_json::from_str(request.body.as_deref().unwrap_or("")).expect("JSON");
                assert_eq!(body, json!({"name": "ci-1", "workFolder": "_work"}));
                ok(200, &json!({"runner": {"id": 5, "name": "ci-1"}, "encodedJITConfig": "c2VjcmV0"}))
            }
            other => panic!("{other:?}"),
        };
    }
    if path.starts_with("https://queue.example/messages/7") {
        assert!(authorization.starts_with("Bearer queue"), "{url}");
        return if request.method == "GET" { Ok(Response { status: 202, ..Response::default() }) } else { nothing() };
    }
    panic!("nobody answers {} {url}", request.method)
}

fn message(id: u64, assigned: u32, running: u32, items: &Value) -> Result<Response, WireError> {
    ok(
        200,
        &json!({
            "messageId": id, "messageType": "RunnerScaleSetJobMessages", "body": items.to_string(),
            "statistics": statistics(assigned, running),
        }),
    )
}

fn item(kind: &str, id: u64) -> Value {
    json!({"messageType": kind, "runnerRequestId": id, "ownerName": "acme", "repositoryName": "app", "runnerName": "ci-1"})
}

async fn demand(world: &World) -> Demand {
    let answer = world.ask(&place(), &Operation::Demand(ask())).await.expect("a demand");
    serde_json::from_value(answer).expect("a demand")
}

#[tokio::test]
async fn a_message_is_acknowledged_by_the_turn_that_follows() {
    let world = World::new(github);
    assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(true), "what a new session counts is news");
    assert_eq!(demand(&world).await.assigned, 1);
    world.sent();

    world.once(
        "GET https://queue.example",
        message(3, 60, 0, &json!([item("JobAvailable", 11), item("JobAssigned", 12)])),
    );
    assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(true));
    let poll = &world.requests()[0];
    for header in [("x-scalesetmaxcapacity", "4"), ("accept", "application/json; api-version=6.0-preview")] {
        assert!(poll.headers.contains(&(header.0.to_owned(), header.1.to_owned())), "{header:?}");
    }
    assert_eq!(
        world.sent(),
        ["GET /messages/7?sessionId=s1", "POST /t/_apis/runtime/runnerscalesets/8/acquirejobs?api-version=6.0-preview"],
        "it is not acknowledged yet"
    );
    assert_eq!(demand(&world).await.assigned, 60, "statistics, not messages");
    assert!(world.sent().is_empty(), "what the listener knows is not asked");

    assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(false), "nothing came");
    assert_eq!(world.sent(), ["DELETE /messages/7/3?sessionId=s1", "GET /messages/7?sessionId=s1&lastMessageId=3"]);
    world.hub.hang_up(&place(), &ask()).await;
    let end = "DELETE /t/_apis/runtime/runnerscalesets/8/sessions/5d4b0f9e-0000-4000-8000-000000000001?api-version=6.0-preview";
    assert_eq!(world.sent(), [end]);
}

#[tokio::test]
async fn jobs_that_were_not_acquired_are_before_anything_is_acknowledged() {
    let world = World::new(github);
    world.hub.listen(&place(), &ask()).await.expect("a session");
    world.once("GET https://queue.example", message(3, 1, 0, &json!([item("JobAvailable", 11)])));
    world.once("acquirejobs", Err(WireError::Lost("reset".into())));
    world.hub.listen(&place(), &ask()).await.expect_err("lost");
    world.sent();
    world.hub.listen(&place(), &ask()).await.expect("again");
    let sent = world.sent();
    assert!(sent[0].contains("acquirejobs") && sent[1].starts_with("DELETE /messages/7/3"), "{sent:?}");
}

#[tokio::test]
async fn a_token_of_the_queue_that_has_ended_is_renewed_once() {
    let world = World::new(github);
    world.hub.listen(&place(), &ask()).await.expect("a session");
    world.once("GET https://queue.example", ok(401, &json!({})));
    assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(false));
    let used = world.requests().last().and_then(|request| request.authorization.clone());
    assert_eq!(used.as_ref().map(Secret::expose), Some("Bearer queue2"));
    world.once("acquirejobs", ok(401, &json!({})));
    world.once("GET https://queue.example", message(4, 1, 0, &json!([item("JobAvailable", 11)])));
    assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(true));

    // A session that GitHub does not know any more is opened anew.
    world.once("DELETE https://queue.example", nothing());
    world.once("GET https://queue.example", ok(401, &json!({})));
    world.once("PATCH", ok(404, &json!({})));
    world.hub.listen(&place(), &ask()).await.expect_err("no such session");
    assert!(world.sent().last().is_some_and(|line| line.starts_with("DELETE") && line.contains("/sessions/")));
    assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(true));
    assert!(world.sent().iter().any(|line| line.starts_with("POST") && line.contains("/8/sessions")));
}

#[tokio::test]
async fn a_message_that_is_none_leaves_no_session_in_the_way() {
    let world = World::new(github);
    world.hub.listen(&place(), &ask()).await.expect("a session");
    world.once("GET https://queue.example", Ok(Response { status: 200, ..Response::default() }));
    assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(false), "an empty answer is no message");
    world.once("GET https://queue.example", ok(200, &json!({"odd": true})));
    world.once("DELETE https://pipelines", Err(WireError::Lost("reset".into())));
    world.hub.listen(&place(), &ask()).await.expect_err("no message");
    world.sent();
    // It could not be ended: it is still ours.
    assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(false));
    assert_eq!(world.sent(), ["GET /messages/7?sessionId=s1"]);
    world.once("GET https://queue.example", ok(200, &json!({"odd": true})));
    world.once("DELETE https://pipelines", ok(400, &json!({"typeName": "RunnerScaleSetSessionExpiredException"})));
    world.hub.listen(&place(), &ask()).await.expect_err("no message");
    assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(true), "another one is opened");
}

#[tokio::test]
async fn a_lost_poll_loses_no_session() {
    let world = World::new(github);
    world.hub.listen(&place(), &ask()).await.expect("a session");
    for _ in 0..3 {
        world.once("GET https://queue.example", Err(WireError::Lost("reset".into())));
    }
    let error = world.hub.listen(&place(), &ask()).await.expect_err("lost");
    assert_eq!(error.refusal(), Some(Refusal::NodeOffline), "{error}");
    world.sent();
    world.hub.listen(&place(), &ask()).await.expect("as before");
    assert_eq!(world.sent(), ["GET /messages/7?sessionId=s1"]);
}

#[tokio::test]
async fn without_a_listener_a_session_is_opened_for_a_moment() {
    let world = World::new(github);
    let told = demand(&world).await;
    assert_eq!((told.assigned, told.at, told.unset), (1, NOW, None));
    let sent = world.sent();
    assert!(sent[sent.len() - 2].starts_with("POST") && sent[sent.len() - 1].starts_with("DELETE"), "{sent:?}");
    // Where GitHub tells the numbers with the set, nothing is opened.
    let row =
        json!({"id": 8, "name": "ci", "labels": labels(&["ci", "self-hosted", "x64"]), "statistics": statistics(5, 2)});
    world.once("GET https://pipelines", ok(200, &json!({"count": 1, "value": [row]})));
    assert_eq!(demand(&world).await.assigned, 5);
    assert_eq!(world.sent().len(), 1);
    // Somebody else has the session.
    world.once(
        "/sessions",
        ok(409, &json!({"message": "The actions runner ci already has an active session for owner x"})),
    );
    let told = demand(&world).await;
    assert_eq!(told.assigned, 5, "what is known counts");
    let note = &told.notes[0];
    assert!(note.contains("somebody else listens") && note.contains("owner x"), "{note}");
    assert!(note.contains("what was told at 2026-09-21 14:13:20 UTC counts"), "{note}");
}

#[tokio::test]
async fn a_session_that_a_killed_process_left_stops_no_idle_machines() {
    let world = World::new(github);
    world.once("/sessions", ok(409, &json!({"message": "ci already has an active session for owner x"})));
    let told = demand(&world).await;
    assert_eq!((told.assigned, told.unset), (0, None));
    assert!(told.notes[0].contains("no job is counted until then"), "{:?}", told.notes);
    assert_eq!(demand(&world).await.assigned, 1, "it has ended by now");
}

fn row(assigned: u32) -> Result<Response, WireError> {
    let labels = labels(&["ci", "self-hosted", "x64"]);
    let row = json!({"id": 8, "name": "ci", "labels": labels, "statistics": statistics(assigned, 0)});
    ok(200, &json!({"count": 1, "value": [row]}))
}

#[tokio::test]
async fn polls_that_bring_nothing_do_not_make_old_numbers_new() {
    let world = World::new(github);
    world.hub.listen(&place(), &ask()).await.expect("a session");
    world.pass(60);
    assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(false));
    world.sent();
    assert_eq!((demand(&world).await.assigned, world.sent().len()), (1, 0), "told a minute ago");
    world.pass(60);
    assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(false));
    world.once("GET https://pipelines", row(3));
    assert_eq!(demand(&world).await.assigned, 3, "the scale set is asked");
    world.sent();
    assert_eq!((demand(&world).await.assigned, world.sent().len()), (3, 0));

    // A scale set that does not tell its numbers: the listener asks for them.
    world.pass(120);
    assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(false));
    let told = demand(&world).await;
    assert_eq!((told.assigned, told.notes.len()), (3, 1), "{told:?}");
    world.sent();
    assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(true), "the numbers are others");
    assert!(world.sent().iter().any(|line| line.starts_with("PATCH") && line.contains("/sessions/")));
    assert_eq!(demand(&world).await.assigned, 1);
    assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(false));
    assert!(world.sent().iter().all(|line| !line.starts_with("PATCH")), "not at each turn");
}

#[tokio::test]
async fn a_server_that_keeps_the_name_only_is_not_asked_for_labels_again_and_again() {
    let here = Place { api: "https://git.example.com/api/v3".into(), ..place() };
    let answers = |labels: Value| {
        move |request: &Request| {
            let url = request.url.as_str();
            let row = json!({"id": 8, "name": "ci", "labels": labels, "statistics": statistics(0, 0)});
            match () {
                () if url.ends_with("/registration-token") => ok(201, &json!({"token": "REG"})),
                () if url.ends_with("/runner-registration") => {
                    ok(200, &json!({"url": "https://git.example.com/_services/pipelines/t/", "token": ADMIN}))
                }
                () => ok(200, &json!({"count": 1, "value": [row]})),
            }
        }
    };
    let world = World::new(answers(labels(&["CI"])));
    let told = world.ask(&here, &Operation::Demand(ask())).await.expect("a demand");
    assert_eq!(told["unset"], Value::Null);
    assert!(told["notes"].to_string().contains("AllowRunnerScaleSetCustomLabels"), "{told}");
    // One that has others takes them, and GitHub's own does in any case.
    let world = World::new(answers(labels(&["ci", "arm64"])));
    let told = world.ask(&here, &Operation::Demand(ask())).await.expect("a demand");
    assert!(told["unset"].is_string(), "{told}");
}

#[tokio::test]
async fn a_listener_that_was_away_for_long_is_not_disturbed() {
    let world = World::new(github);
    world.hub.listen(&place(), &ask()).await.expect("a session");
    world.pass(151);
    world.sent();
    let told = demand(&world).await;
    assert_eq!((told.assigned, told.notes.len()), (1, 1), "{told:?}");
    assert!(world.sent().iter().all(|line| !line.contains("sessions")), "its session is not taken");
}

#[tokio::test]
async fn the_admin_token_is_renewed_and_a_fresh_registration_is_waited_for() {
    let world = World::new(github);
    world.once("runner-registration", ok(401, &json!({})));
    world.once("runner-registration", ok(403, &json!({})));
    demand(&world).await;
    let registrations = |world: &World| world.sent().iter().filter(|l| l.contains("runner-registration")).count();
    assert_eq!(registrations(&world), 3);
    world.pass(3530);
    demand(&world).await;
    assert_eq!(registrations(&world), 0);
    world.once("runnerscalesets", ok(401, &json!({})));
    demand(&world).await;
    assert_eq!(registrations(&world), 1, "GitHub took it back before");
    world.pass(10);
    let later = "e30.eyJleHAiOjE3OTAwMDcyMDB9.x";
    world.once("runner-registration", ok(200, &json!({"url": "https://pipelines.example/t/", "token": later})));
    demand(&world).await;
    assert_eq!(registrations(&world), 1, "less than a minute is left");
}

#[tokio::test]
async fn a_scale_set_is_made_changed_and_taken_away() {
    let world = World::new(github);
    let none = || ok(200, &json!({"count": 0, "value": []}));
    world.once("GET https://pipelines", none());
    let told = demand(&world).await;
    assert!(told.unset.as_deref().is_some_and(|why| why.contains("no scale set `ci`")), "{told:?}");
    assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(true), "it is there by now");
    world.hub.hang_up(&place(), &ask()).await;

    world.once("GET https://pipelines", none());
    let made = json!({"id": 8, "name": "ci", "labels": labels(&["ci", "self-hosted", "x64"])});
    world.once("POST https://pipelines.example/t/_apis/runtime/runnerscalesets?", ok(200, &made));
    world.sent();
    assert_eq!(world.ask(&place(), &Operation::ScaleSet(ask())).await, Ok(Value::Null));
    let body = world.requests().last().and_then(|request| request.body.clone()).expect("a body");
    let want = json!({
        "name": "ci", "runnerGroupId": 1, "labels": labels(&["ci", "self-hosted", "x64"]), "RunnerSetting": {"disableUpdate": true},
    });
    assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON"), want);
    world.sent();
    assert_eq!(world.ask(&place(), &Operation::ScaleSet(ask())).await, Ok(Value::Null));
    assert_eq!(world.sent().len(), 1, "it is as it should be");

    // GitHub keeps the labels that it had: said, and not tried for ever.
    let wide = Ask { labels: vec!["self-hosted".into(), "x64".into(), "gpu".into()], ..ask() };
    let answer = world.ask(&place(), &Operation::Demand(wide.clone())).await.expect("a demand");
    assert!(answer["unset"].as_str().is_some_and(|why| why.contains("gpu")), "{answer}");
    world.once("PATCH", ok(200, &made));
    world.ask(&place(), &Operation::ScaleSet(wide.clone())).await.expect("sent");
    let row =
        json!({"id": 8, "name": "ci", "labels": labels(&["ci", "self-hosted", "x64"]), "statistics": statistics(0, 0)});
    world.once("GET https://pipelines", ok(200, &json!({"count": 1, "value": [row]})));
    let answer = world.ask(&place(), &Operation::Demand(wide)).await.expect("a demand");
    assert_eq!(answer["unset"], Value::Null);
    assert!(answer["notes"].to_string().contains("GitHub keeps the labels"), "{answer}");

    let gone = Operation::RemoveScaleSet { pool: "ci".into(), group: String::new() };
    assert_eq!(world.ask(&place(), &gone).await, Ok(Value::Null));
    assert!(world.sent().last().is_some_and(|line| line.starts_with("DELETE") && line.contains("runnerscalesets/8?")));
    world.once("GET https://pipelines", none());
    assert_eq!(world.ask(&place(), &gone).await, Ok(Value::Null), "gone already");
}

#[tokio::test]
async fn a_listener_waits_for_its_scale_set_without_haste() {
    let world = World::new(github);
    for want in [true, false, false] {
        let before = world.clock.now_ms();
        world.once("GET https://pipelines", ok(200, &json!({"count": 0, "value": []})));
        assert_eq!(world.hub.listen(&place(), &ask()).await, Ok(want));
        assert_eq!(world.clock.now_ms() - before >= 10_000, !want);
    }
}

#[tokio::test]
async fn a_runner_is_registered_in_its_scale_set() {
    let world = World::new(github);
    let jit = Operation::JustInTime {
        name: "ci-1".into(),
        labels: vec!["x64".into()],
        group: String::new(),
        folder: "_work".into(),
        scale_set: Some("ci".into()),
    };
    assert_eq!(world.ask(&place(), &jit).await, Ok(json!("c2VjcmV0")));
    world.sent();
    // The set was made anew: its number is asked for again.
    world.once("generatejitconfig", ok(404, &json!({})));
    assert_eq!(world.ask(&place(), &jit).await, Ok(json!("c2VjcmV0")));
    assert_eq!(world.sent().len(), 3);
    let exists = json!({"typeName": "GitHub.DistributedTask.WebApi.AgentExistsException", "message": "exists"});
    world.once("generatejitconfig", ok(409, &exists));
    let error = world.ask(&place(), &jit).await.expect_err("the name is taken");
    assert_eq!(error.refusal(), Some(Refusal::Exists), "{error}");
}

#[tokio::test]
async fn no_token_goes_where_it_is_not_safe() {
    let world = World::new(github);
    world.once("runner-registration", ok(200, &json!({"url": "http://pipelines.example/t/", "token": ADMIN})));
    let error = world.ask(&place(), &Operation::Demand(ask())).await.expect_err("not safe");
    assert!(error.to_string().contains("no token of ours is sent"), "{error}");
    let mut bad = session("queue1");
    bad["messageQueueUrl"] = "http://queue.example/".into();
    world.once("/sessions", ok(200, &bad));
    assert!(world.ask(&place(), &Operation::Demand(ask())).await.is_err());
    // A server of somebody's own has its registration below its path.
    let here = Place {
        api: "https://git.example.com/api/v3".into(),
        scope: Scope::Organization("acme".into()),
        auth: token(),
    };
    let world = World::new(|request| {
        let registers = request.url == "https://git.example.com/api/v3/actions/runner-registration";
        let is_token = request.url.ends_with("/registration-token");
        assert!(registers || is_token, "{}", request.url);
        if is_token { ok(201, &json!({"token": "REG"})) } else { ok(400, &json!({"message": "no"})) }
    });
    assert!(world.ask(&here, &Operation::Demand(ask())).await.is_err());
}
