//! Who may ask: tokens of people, of apps' installations, and what opens the service of scale sets.

use crate::github::wire::Response;
use crate::sim::github::exchange::{Asked, json, refusal};
use crate::sim::github::shapes::site;
use crate::sim::github::state::{At, Purpose, Token};
use crate::sim::github::words::{app_token, service_token, time};
use crate::sim::world::World;
use serde_json::json;

/// How long what is handed out here is good.
const HOUR_MS: u64 = 60 * 60 * 1000;

/// Whether the caller may ask. Any token is good that we did not hand out for something else, or too long ago.
pub(super) fn caller(world: &World, asked: &Asked) -> Result<(), Response> {
    let Some(token) = asked.bearer() else { return Err(refusal(401, "Requires authentication")) };
    let good = match world.github.tokens.get(token) {
        None => !token.starts_with("ghs_") && !token.contains('.'),
        Some(Token { purpose: Purpose::Installation(_), expires_ms }) => *expires_ms > world.clock_ms,
        Some(Token { purpose: Purpose::Registration(_) | Purpose::Removal(_), .. }) => false,
        Some(Token { purpose: Purpose::Admin(_) | Purpose::Queue(_), .. }) => false,
    };
    good.then_some(()).ok_or_else(|| refusal(401, "Bad credentials"))
}

/// `POST /app/installations/{id}/access_tokens`.
pub(super) fn installation(world: &mut World, asked: &Asked, id: &str) -> Response {
    let Some(token) = asked.bearer() else { return refusal(401, "A JSON web token could not be decoded") };
    if let Err(why) = app_token(token, world.now()) {
        return refusal(401, why);
    }
    let Ok(id) = id.parse() else { return refusal(404, "Not Found") };
    let token = format!("ghs_{:016x}{:016x}", world.random(), world.random());
    let expires_ms = hand_out(world, &token, Purpose::Installation(id), HOUR_MS);
    let permissions = json!({ "organization_self_hosted_runners": "write", "actions": "read", "metadata": "read" });
    let all = json!({
        "token": token, "expires_at": time(expires_ms), "permissions": permissions, "repository_selection": "all",
    });
    json(201, &all)
}

/// `POST …/registration-token`, `POST …/remove-token`.
pub(super) fn token(world: &mut World, purpose: Purpose) -> Response {
    let token = format!("A{:016X}{:08X}", world.random(), world.random() >> 32);
    let expires_ms = hand_out(world, &token, purpose, HOUR_MS);
    json(201, &json!({ "token": token, "expires_at": time(expires_ms) }))
}

/// `POST /actions/runner-registration`: where the service of scale sets is, and the token for it.
pub(super) fn actions(world: &mut World, asked: &Asked) -> Response {
    let shown = asked.shown.as_ref().filter(|(way, _)| way.eq_ignore_ascii_case("RemoteAuth"));
    let token = shown.and_then(|(_, token)| world.github.tokens.get(token));
    let scope = match token {
        Some(Token { purpose: Purpose::Registration(at), expires_ms }) if *expires_ms > world.clock_ms => at.clone(),
        Some(_) | None => return refusal(401, "Bad credentials"),
    };
    let own = site(&asked.base);
    let url = asked.body["url"].as_str().unwrap_or_default();
    let name = scope.scope.split_once('/').map_or("", |(_, name)| name);
    let wanted = match scope.scope.starts_with("enterprises/") {
        true => format!("{own}/enterprises/{name}"),
        false => format!("{own}/{name}"),
    };
    if asked.body["runner_event"] != "register" || !url.trim_end_matches('/').eq_ignore_ascii_case(&wanted) {
        return refusal(404, "Not Found");
    }
    let place = match world.github.tenants.iter().position(|tenant| *tenant == scope) {
        Some(place) => place,
        None => {
            world.github.tenants.push(scope);
            world.github.tenants.len() - 1
        }
    };
    let (serial, expires_ms) = (world.github.number(), world.clock_ms + world.github.settings.admin_seconds * 1000);
    let token = service_token(serial, expires_ms);
    world.github.tokens.insert(token.clone(), Token { purpose: Purpose::Admin(place), expires_ms });
    let url = match own.as_str() {
        "https://github.com" => format!("https://pipelines.actions.githubusercontent.com/tenant{place}/"),
        server => format!("{server}/_services/pipelines/tenant{place}/"),
    };
    json(200, &json!({ "url": url, "token": token, "token_schema": "OAuthAccessToken" }))
}

/// Remembers a token; those that have expired long ago are forgotten. Until when it is good.
fn hand_out(world: &mut World, token: &str, purpose: Purpose, good_ms: u64) -> u64 {
    let (now, expires_ms) = (world.clock_ms, world.clock_ms + good_ms);
    world.github.tokens.retain(|_, token| token.expires_ms + HOUR_MS > now);
    world.github.tokens.insert(token.to_owned(), Token { purpose, expires_ms });
    expires_ms
}

/// What a registration token is good for, if it still is.
pub(in crate::sim) fn registers(world: &World, token: &str) -> Option<At> {
    match world.github.tokens.get(token)? {
        Token { purpose: Purpose::Registration(at), expires_ms } if *expires_ms > world.clock_ms => Some(at.clone()),
        Token { .. } => None,
    }
}
