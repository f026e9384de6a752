//! GitHub's REST API, as far as runners and jobs go.

mod auth;
mod jobs;
pub(in crate::sim) mod runners;

use super::exchange::{Asked, budgeted, json, marked, refusal, with};
use super::state::At;
use crate::github::wire::Response;
use crate::sim::world::World;
use serde_json::json;

/// Answers a request.
pub(super) fn answer(world: &mut World, asked: &Asked) -> Response {
    if asked.header("user-agent").is_none_or(str::is_empty) {
        let text = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header";
        return refusal(403, text);
    }
    let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
    let response = match (asked.method, path.as_slice()) {
        ("POST", ["actions", "runner-registration"]) => auth::actions(world, asked),
        ("POST", ["app", "installations", id, "access_tokens"]) => auth::installation(world, asked, id),
        (_, path) => match auth::caller(world, asked) {
            Err(refused) => refused,
            Ok(()) => budgeted(world, asked, |world| marked(asked, known(world, asked, path))),
        },
    };
    let serial = world.github.number();
    with(response, "x-github-request-id", format!("{serial:X}"))
}

fn known(world: &mut World, asked: &Asked, path: &[&str]) -> Response {
    let at = |scope: &str, name: &str| At { api: asked.base.clone(), scope: format!("{scope}/{name}") };
    match (asked.method, path) {
        ("GET", ["rate_limit"]) => rate_limit(world),
        (_, [scope @ ("orgs" | "enterprises"), name, "actions", rest @ ..]) => {
            runners::answer(world, asked, &at(scope, name), rest)
        }
        (_, ["repos", owner, name, "actions", "runners", ..]) => {
            runners::answer(world, asked, &at("repos", &format!("{owner}/{name}")), &path[4..])
        }
        ("GET", ["repos", owner, name, "actions", rest @ ..]) => {
            jobs::answer(world, asked, &format!("{owner}/{name}"), rest)
        }
        ("POST", ["repos", owner, name, "actions", "workflows", _, "dispatches"]) => {
            jobs::dispatch(world, asked, &format!("{owner}/{name}"))
        }
        _ => refusal(404, "Not Found"),
    }
}

fn rate_limit(world: &World) -> Response {
    let limit = world.github.settings.requests_per_hour;
    let all = json!({ "limit": limit, "used": 0, "remaining": limit, "reset": world.now() + 3600 });
    json(200, &json!({ "resources": { "core": all, "search": all, "actions_runner_registration": all }, "rate": all }))
}
