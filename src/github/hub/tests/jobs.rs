//! Jobs: heard of by webhooks, and asked for.

use super::*;
use crate::github::webhook::JobState;
use serde_json::json;

fn ask(source: Source) -> Ask {
    Ask { source, pool: "ci".into(), labels: vec!["self-hosted".into(), "x64".into()], max: 4, ..Ask::default() }
}

fn repository() -> Place {
    Place { scope: Scope::Repository("acme/app".into()), ..place() }
}

fn job(id: u64, status: &str, labels: &[&str], runner: Option<&str>) -> Value {
    json!({
        "id": id, "status": status, "labels": labels, "runner_name": runner, "name": "build", "workflow_name": "CI",
        "created_at": "2026-09-21T14:13:00Z", "started_at": "2026-09-21T14:13:10Z",
    })
}

/// A repository with a run that waits and one that runs.
fn github(request: &Request) -> Result<Response, WireError> {
    let url = request.url.as_str();
    let runs = |ids: &[u64]| {
        let rows: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
        ok(200, &json!({"total_count": rows.len(), "workflow_runs": rows}))
    };
    let jobs = |rows: &[Value]| ok(200, &json!({"total_count": rows.len(), "jobs": rows}));
    let all: &[&str] = &["self-hosted", "X64"];
    match () {
        () if url.contains("/runs?status=queued") => runs(&[1]),
        () if url.contains("/runs?status=in_progress") => runs(&[2]),
        () if url.contains("/runs?status=") => runs(&[]),
        () if url.contains("/runs/1/jobs") => jobs(&[
            job(11, "queued", all, None),
            job(12, "queued", &["ubuntu-latest"], None),
            job(13, "waiting", all, None),
        ]),
        () if url.contains("/runs/2/jobs") => jobs(&[
            job(21, "in_progress", all, Some("ci-50000-aaaa")),
            job(22, "in_progress", all, Some("other-1")),
            job(23, "queued", all, None),
            job(24, "completed", all, Some("ci-50001-aaaa")),
        ]),
        () => {
            let id = url.rsplit_once("/actions/jobs/").and_then(|(_, id)| id.parse().ok());
            ok(200, &job(id.unwrap_or_else(|| panic!("{url}")), "queued", all, None))
        }
    }
}

async fn demand(world: &World, place: &Place, ask: Ask) -> Result<Demand, PveError> {
    let answer = world.ask(place, &Operation::Demand(ask)).await?;
    Ok(serde_json::from_value(answer).expect("a demand"))
}

fn event(id: u64, state: JobState) -> JobEvent {
    let job = crate::github::demand::Job {
        id,
        repository: "acme/app".into(),
        labels: vec!["x64".into()],
        queued: NOW,
        runner: (state == JobState::InProgress).then(|| "ci-50000-aaaa".to_owned()),
        ..Default::default()
    };
    JobEvent {
        delivery: format!("{id}-{state:?}"),
        api: PUBLIC_API.into(),
        enterprise: None,
        job,
        state,
        started: None,
        completed: None,
        conclusion: None,
    }
}

#[tokio::test]
async fn polling_counts_the_jobs_that_are_the_pools() {
    let world = World::new(github);
    let told = demand(&world, &repository(), ask(Source::Polling)).await.expect("a demand");
    assert_eq!((told.assigned, told.running, told.waiting()), (3, 1, 2), "{told:?}");
    assert_eq!(told.waiting_since, Some(NOW - 20));
    assert_eq!(told.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [11, 21, 23]);
}

/// The same, and how much is left of an hour's budget.
fn counted(left: u32) -> impl Fn(&Request) -> Result<Response, WireError> {
    move |request| {
        let (left, reset) = (left.to_string(), (NOW + 3600).to_string());
        let budget =
            [("x-ratelimit-limit", "1000"), ("x-ratelimit-remaining", left.as_str()), ("x-ratelimit-reset", &reset)];
        with(github(request), &budget)
    }
}

#[tokio::test]
async fn polling_leaves_the_budget_to_the_runners() {
    let world = World::new(counted(900));
    for look in 0..4 {
        let told = demand(&world, &repository(), ask(Source::Polling)).await.expect("a demand");
        assert_eq!((told.assigned, told.at), (3, NOW), "look {look}");
        assert_eq!(world.sent().len(), if look == 0 { 5 } else { 0 }, "look {look}");
        world.pass(5);
    }
    // Five requests of a quarter of a thousand an hour: each 72 seconds. All looks of a day cost no more than that quarter.
    world.pass(52);
    let told = demand(&world, &repository(), ask(Source::Polling)).await.expect("a demand");
    assert_eq!((told.at, world.sent().len()), (NOW + 72, 5));
    // Another pool asks for itself, and both share the quarter.
    let other = Ask { pool: "big".into(), ..ask(Source::Polling) };
    demand(&world, &repository(), other.clone()).await.expect("a demand");
    assert_eq!(world.sent().len(), 5);
    world.pass(143);
    demand(&world, &repository(), other.clone()).await.expect("a demand");
    assert_eq!(world.sent().len(), 0);
    world.pass(1);
    demand(&world, &repository(), other).await.expect("a demand");
    assert_eq!(world.sent().len(), 5);
    let sent = world.hub.requests();
    assert!(sent.len() == 1 && sent[0].count == 20 && sent[0].status == Some(200), "{sent:?}");
    assert_eq!((sent[0].method, sent[0].resource), ("GET", "core"));

    let world = World::new(counted(100));
    demand(&world, &repository(), ask(Source::Polling)).await.expect("a demand");
    world.pass(359);
    world.sent();
    demand(&world, &repository(), ask(Source::Polling)).await.expect("a demand");
    assert_eq!(world.sent().len(), 0, "little is left: half of it, until the rest is back");
    world.pass(1);
    demand(&world, &repository(), ask(Source::Polling)).await.expect("a demand");
    assert_eq!(world.sent().len(), 5);
}

#[tokio::test]
async fn a_job_whose_runner_is_gone_is_counted_no_more() {
    let world = World::new(|request| {
        if !request.url.contains("/actions/runners?") {
            return github(request);
        }
        ok(200, &json!({"total_count": 0, "runners": []}))
    });
    let runners = |names: &[&str]| {
        let row = |(id, name): (usize, &&str)| json!({"id": id + 1, "name": name, "os": "linux", "status": "online", "busy": true, "labels": []});
        let rows: Vec<Value> = names.iter().enumerate().map(row).collect();
        ok(200, &json!({"total_count": rows.len(), "runners": rows}))
    };
    let here = repository();
    let told = demand(&world, &here, ask(Source::Polling)).await.expect("a demand");
    assert_eq!((told.assigned, told.running), (3, 1));
    // One of those that waited has begun; then both are done. Nobody asked for jobs meanwhile.
    for (there, want) in [
        (&["ci-50000-aaaa", "ci-50001-aaaa", "ci-big-50002-aaaa"][..], (3, 2)),
        (&["ci-50001-aaaa"], (2, 1)),
        (&[], (1, 0)),
        (&[], (1, 0)),
    ] {
        world.pass(2);
        world.once("/actions/runners?", runners(there));
        world.ask(&here, &Operation::Runners).await.expect("runners");
        let told = demand(&world, &here, ask(Source::Polling)).await.expect("a demand");
        assert_eq!((told.assigned, told.running), want, "{there:?}");
        assert_eq!(told.waiting_since, Some(NOW - 20));
    }
    assert!(world.sent().iter().filter(|line| line.contains("/runs?")).count() == 3, "asked once");
}

#[tokio::test]
async fn what_polling_could_not_learn_is_not_asked_at_each_look() {
    let world = World::new(|_| ok(403, &json!({"message": "Resource not accessible"})));
    for (pass, want) in [(0, 1), (9, 0), (1, 1)] {
        world.pass(pass);
        demand(&world, &repository(), ask(Source::Polling)).await.expect_err("forbidden");
        assert_eq!(world.sent().len(), want, "after {pass} s");
    }
}

#[tokio::test]
async fn a_pool_has_no_job_of_one_whose_name_begins_alike() {
    let world = World::new(|request| match request.url.contains("/runs/2/jobs") {
        true => {
            let row = job(21, "in_progress", &["self-hosted", "X64"], Some("ci-big-50000-abcd0123ab"));
            ok(200, &json!({"total_count": 1, "jobs": [row]}))
        }
        false => github(request),
    });
    let told = demand(&world, &repository(), ask(Source::Polling)).await.expect("a demand");
    assert_eq!((told.assigned, told.running), (1, 0), "{told:?}");
    let big = Ask { pool: "ci-big".into(), ..ask(Source::Polling) };
    let told = demand(&world, &repository(), big).await.expect("a demand");
    assert_eq!((told.assigned, told.running), (2, 1), "{told:?}");
}

#[tokio::test]
async fn an_organisation_must_say_which_repositories() {
    let world = World::new(|_| panic!("whom?"));
    let error = demand(&world, &place(), ask(Source::Polling)).await.expect_err("which?");
    assert!(error.to_string().contains("repositories: [owner/name]"), "{error}");
    let odd = Ask { repositories: vec!["../../user".into()], ..ask(Source::Polling) };
    assert!(demand(&world, &place(), odd).await.is_err(), "no path of another thing");

    let world = World::new(|request| match request.url.contains("/acme/secret/") {
        true => ok(404, &json!({"message": "Not Found"})),
        false => github(request),
    });
    let some = Ask { repositories: vec!["acme/app".into(), "acme/secret".into()], ..ask(Source::Polling) };
    let told = demand(&world, &place(), some).await.expect("what is known");
    assert!(told.assigned == 3 && told.notes[0].contains("the jobs of acme/secret are not known"), "{told:?}");
    let none = Ask { repositories: vec!["acme/secret".into()], ..ask(Source::Polling) };
    assert!(demand(&world, &place(), none).await.is_err(), "nothing is known");
}

#[tokio::test]
async fn webhooks_are_counted_at_once_and_doubted_later() {
    let world = World::new(github);
    let here = place();
    assert!(world.hub.heard(&event(31, JobState::Queued)));
    assert!(!world.hub.heard(&event(31, JobState::Queued)), "a replay");
    let told = demand(&world, &here, ask(Source::Webhook)).await.expect("a demand");
    assert_eq!((told.assigned, world.sent().len()), (1, 0), "nothing is asked before it is counted");

    world.pass(31);
    let told = demand(&world, &here, ask(Source::Webhook)).await.expect("a demand");
    assert_eq!(told.assigned, 4, "those whose webhooks were lost too: {told:?}");
    let sent = world.sent();
    assert!(sent.iter().any(|line| line.ends_with("/actions/jobs/31")), "{sent:?}");
    demand(&world, &here, ask(Source::Webhook)).await.expect("a demand");
    assert!(world.sent().is_empty(), "not each time");

    // It was cancelled, and nobody told.
    world.pass(61);
    world.once("/actions/jobs/31", ok(200, &job(31, "completed", &["x64"], None)));
    for id in [11, 21, 23] {
        world.once(&format!("/actions/jobs/{id}"), ok(404, &json!({})));
    }
    let told = demand(&world, &here, ask(Source::Webhook)).await.expect("a demand");
    assert_eq!((told.assigned, told.jobs[0].id), (1, 21), "one that runs is asked about every five minutes: {told:?}");
    assert!(!world.hub.heard(&event(31, JobState::InProgress)), "it does not come back");
}

#[tokio::test]
async fn who_hears_no_webhooks_says_so() {
    let world = World::new(|_| panic!("whom?"));
    let told = demand(&world, &place(), ask(Source::Webhook)).await.expect("what is known");
    assert!(told.assigned == 0 && told.notes[0].contains("no webhook was heard yet"), "{told:?}");
    world.hub.heard(&event(31, JobState::Queued));
    let told = demand(&world, &place(), ask(Source::Webhook)).await.expect("what is known");
    assert!(told.assigned == 1 && told.notes.is_empty(), "{told:?}");
    // Whose repository is known needs none.
    let world = World::new(github);
    let told = demand(&world, &repository(), ask(Source::Webhook)).await.expect("what is known");
    assert!(told.assigned == 3 && told.notes.is_empty(), "{told:?}");
}

#[tokio::test]
async fn github_that_is_away_costs_no_webhook() {
    let world = World::new(|_| Err(WireError::Lost("reset".into())));
    world.hub.heard(&event(31, JobState::Queued));
    world.pass(40);
    let told = demand(&world, &place(), ask(Source::Webhook)).await.expect("what is known");
    assert_eq!((told.assigned, told.notes.len()), (1, 2), "{told:?}");
}

#[tokio::test]
async fn a_refused_confirmation_is_not_asked_again_at_each_look() {
    let world = World::new(|request| match request.url.contains("/actions/jobs/31") {
        true => ok(403, &json!({"message": "Resource not accessible"})),
        false => github(request),
    });
    world.hub.heard(&event(31, JobState::Queued));
    let asked = |world: &World| world.sent().iter().filter(|line| line.ends_with("/actions/jobs/31")).count();
    for (pass, want) in [(31, 1), (1, 0), (58, 0), (1, 1)] {
        world.pass(pass);
        demand(&world, &place(), ask(Source::Webhook)).await.expect("what is known");
        assert_eq!(asked(&world), want, "after {pass} s");
    }
}

#[tokio::test]
async fn a_busy_organisation_stops_no_search_for_lost_webhooks() {
    let quiet = Ask { repositories: vec!["acme/app".into()], ..ask(Source::Webhook) };
    // News of others' jobs are none.
    let world = World::new(github);
    let mut theirs = event(90, JobState::Queued);
    theirs.job.labels = vec!["ubuntu-latest".into()];
    world.hub.heard(&theirs);
    demand(&world, &place(), quiet.clone()).await.expect("a demand");
    assert!(!world.sent().is_empty());

    // And where its own come all the time it waits for half a minute.
    let world = World::new(github);
    let mut searched = None;
    for second in 0..60 {
        world.hub.heard(&event(100 + second, JobState::Queued));
        demand(&world, &place(), quiet.clone()).await.expect("a demand");
        if !world.sent().is_empty() && searched.is_none() {
            searched = Some(second);
        }
        world.pass(1);
    }
    assert_eq!(searched, Some(30));
}

#[tokio::test]
async fn a_search_for_lost_webhooks_leaves_the_budget_to_the_runners() {
    let world = World::new(|request| {
        let reset = (NOW + 7200).to_string();
        with(
            github(request),
            &[("x-ratelimit-limit", "100"), ("x-ratelimit-remaining", "90"), ("x-ratelimit-reset", &reset)],
        )
    });
    demand(&world, &repository(), ask(Source::Webhook)).await.expect("a demand");
    assert_eq!(world.sent().len(), 5);
    // Those that it found are asked about one by one; the search itself waits for 5 × 3600 / 25 seconds.
    for (pass, want) in [(719, 0), (1, 3)] {
        world.pass(pass);
        demand(&world, &repository(), ask(Source::Webhook)).await.expect("a demand");
        assert_eq!(world.sent().iter().filter(|line| line.contains("/runs?")).count(), want, "after {pass} s");
    }
}
