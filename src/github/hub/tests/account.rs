//! As whom we speak.

use super::*;
use serde_json::json;

fn app() -> Place {
    let key = SecretRef::Env("KEY".into());
    Place { auth: Auth::App { id: "Iv1.x".into(), installation: 34, key }, ..place() }
}

/// An installation's token lives an hour from the time of the clock at the beginning, and again.
fn github(request: &Request) -> Result<Response, WireError> {
    if request.url.ends_with("/app/installations/34/access_tokens") {
        let word = request.authorization.as_ref().map(Secret::expose).unwrap_or_default();
        assert!(word.starts_with("Bearer eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9."), "a signed word");
        return ok(201, &json!({"token": "ghs_1", "expires_at": "2026-09-21T15:13:20Z"}));
    }
    ok(200, &json!({"total_count": 0, "runners": []}))
}

#[tokio::test]
async fn an_app_gets_a_token_once_an_hour() {
    let world = World::new(github);
    let here = app();
    let reads = (0..20).map(|_| world.ask(&here, &Operation::Runners));
    assert!(futures::future::join_all(reads).await.iter().all(Result::is_ok));
    let renewals = |world: &World| world.sent().iter().filter(|line| line.ends_with("access_tokens")).count();
    let used = world.requests().last().and_then(|request| request.authorization.clone());
    assert_eq!(used.as_ref().map(Secret::expose), Some("Bearer ghs_1"));
    assert_eq!(renewals(&world), 1, "one renewal, however many ask");
    world.pass(3299);
    world.ask(&here, &Operation::Runners).await.expect("a list");
    assert_eq!(renewals(&world), 0);
    world.pass(1);
    world.ask(&here, &Operation::Runners).await.expect("a list");
    assert_eq!(renewals(&world), 1, "five minutes before its end");
}

#[tokio::test]
async fn a_token_that_is_not_taken_any_more_is_got_again_once() {
    let world = World::new(github);
    let here = app();
    world.ask(&here, &Operation::Runners).await.expect("a list");
    world.sent();
    world.once("/actions/runners", ok(401, &json!({"message": "Bad credentials"})));
    assert!(world.ask(&here, &Operation::Runners).await.is_ok());
    assert_eq!(world.sent().len(), 3, "refused, renewed, answered");

    let refused = World::new(|_| ok(401, &json!({"message": "Bad credentials"})));
    let error = refused.ask(&place(), &Operation::Runners).await.expect_err("never taken");
    assert_eq!(refused.sent().len(), 1, "what was read just now is not read again");
    assert!(error.to_string().contains("Bad credentials"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("expired")), "{error}");
}

#[tokio::test]
async fn why_there_is_no_token() {
    let none = Place { auth: Auth::Token(SecretRef::Env("NONE".into())), ..place() };
    let world = World::new(|_| panic!("nothing to speak with"));
    let error = world.ask(&none, &Operation::Runners).await.expect_err("no secret");
    assert!(error.to_string().contains("$NONE: it is not set"), "{error}");
    // What is no key is not shown.
    let here =
        Place { auth: Auth::App { id: "1".into(), installation: 34, key: SecretRef::Env("TOKEN".into()) }, ..place() };
    let error = world.ask(&here, &Operation::Runners).await.expect_err("no key");
    assert!(error.to_string().contains("private key") && !error.to_string().contains("pat"), "{error}");
    for (status, says) in [(401, "this machine's clock"), (404, "still installed")] {
        let world = World::new(move |_| ok(status, &json!({"message": "no"})));
        let error = world.ask(&app(), &Operation::Runners).await.expect_err("no token");
        assert!(error.to_string().contains(says), "{error}");
    }
}
