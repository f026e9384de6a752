//! GitHub's Actions service, which is behind runner scale sets: what its public client calls, with its manners. Every answer
//! begins with a byte order mark, as some of GitHub's do.

use super::exchange::{Asked, empty, json};
use super::rest::runners::{Refused, register};
use super::sets;
use super::state::{At, Purpose, Registered, Token};
use super::{course, items};
use crate::github::wire::Response;
use crate::sim::world::World;
use serde_json::{Value, json};

const MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether a request is for this service.
pub(super) fn is_asked(asked: &Asked) -> bool {
    asked.path.first().is_some_and(|part| part == "_apis")
}

/// Whether a request is a poll of a message queue.
pub(super) fn is_poll(asked: &Asked) -> bool {
    asked.method == "GET" && asked.path.last().is_some_and(|part| part == "messages")
}

/// Answers a request.
pub(super) fn answer(world: &mut World, asked: &Asked) -> Response {
    let mut response = whole(world, asked);
    if !response.body.is_empty() {
        response.body.splice(0..0, MARK.iter().copied());
    }
    response
}

/// A refusal with the name of the exception.
pub(super) fn exception(status: u16, name: &str, message: &str) -> Response {
    let type_name = format!("GitHub.DistributedTask.WebApi.{name}, GitHub.DistributedTask.WebApi");
    json(status, &json!({ "typeName": type_name, "typeKey": name, "message": message, "errorCode": 0 }))
}

fn whole(world: &mut World, asked: &Asked) -> Response {
    if asked.param("api-version") != Some("6.0-preview") {
        return exception(400, "VssVersionNotSpecifiedException", "No api-version was supplied for the request.");
    }
    let place = asked.base.rsplit('/').next().and_then(|name| name.strip_prefix("tenant")?.parse::<usize>().ok());
    let tenant = place.and_then(|place| Some((place, world.github.tenants.get(place)?.clone())));
    let Some((place, at)) = tenant else {
        return exception(404, "TenantNotFoundException", "There is no such tenant.");
    };
    let now = world.clock_ms;
    let purpose =
        asked.bearer().and_then(|token| world.github.tokens.get(token)).filter(|token| token.expires_ms > now);
    let (admin, queue) = match purpose.map(|Token { purpose, .. }| purpose.clone()) {
        Some(Purpose::Admin(of)) => (of == place, None),
        Some(Purpose::Queue(set)) => (false, Some(set)),
        Some(Purpose::Registration(_) | Purpose::Removal(_) | Purpose::Installation(_)) | None => (false, None),
    };
    let path: Vec<&str> = asked.path.iter().skip(1).map(String::as_str).collect();
    let of_queue = |id: &str| queue.is_some() && id.parse().ok() == queue;
    match (asked.method, path.as_slice()) {
        ("GET", ["runtime", "runnerscalesets", id, "messages"]) if of_queue(id) => poll(world, asked, queue),
        ("DELETE", ["runtime", "runnerscalesets", id, "messages", message]) if of_queue(id) => {
            acknowledge(world, queue, message)
        }
        ("POST", ["runtime", "runnerscalesets", id, "acquirejobs"]) if of_queue(id) => acquire(world, asked, queue),
        (_, ["runtime", "runnerscalesets", _, "messages" | "acquirejobs", ..]) => {
            exception(401, "UnauthorizedException", "The token of the message queue has expired.")
        }
        _ if !admin => exception(401, "UnauthorizedException", "The token is not good for this, or no longer."),
        (_, ["runtime", "runnergroups"]) => groups(world, asked, &at),
        (_, ["runtime", "runnerscalesets", rest @ ..]) => sets::answer(world, asked, &at, rest),
        (method, ["distributedtask", "pools", "0", "agents", rest @ ..]) => agents(world, asked, &at, method, rest),
        _ => exception(404, "VssResourceNotFoundException", "There is nothing of that name."),
    }
}

fn poll(world: &mut World, asked: &Asked, set: Option<u64>) -> Response {
    let now = world.clock_ms;
    let Some(id) = set else { return empty(401) };
    let capacity = asked.header("x-scalesetmaxcapacity").and_then(|n| n.parse().ok());
    let accepts = asked.header("accept").is_some_and(|accept| accept.contains("api-version=6.0-preview"));
    let Some(found) = world.github.sets.get_mut(&id) else { return empty(401) };
    match found.session.as_mut().filter(|session| asked.bearer() == Some(session.token.as_str())) {
        Some(session) => session.seen_ms = now,
        None => return empty(401),
    }
    if !accepts || capacity.is_none() {
        return exception(400, "ArgumentException", "Accept must name the version, X-ScaleSetMaxCapacity a number.");
    }
    found.capacity = capacity;
    match items::message(&mut world.github, id, asked.number("lastMessageId").unwrap_or(0)) {
        Some(message) => json(200, &message),
        None => empty(202),
    }
}

fn acknowledge(world: &mut World, set: Option<u64>, message: &str) -> Response {
    if let (Some(set), Ok(message)) = (set.and_then(|id| world.github.sets.get_mut(&id)), message.parse::<u64>()) {
        set.messages.retain(|found| found.id != message);
    }
    empty(204)
}

fn acquire(world: &mut World, asked: &Asked, set: Option<u64>) -> Response {
    let Some(wanted) = asked.body.as_array() else {
        return exception(400, "ArgumentException", "The numbers of jobs are a list.");
    };
    let is_offered = |world: &World, id: &u64| {
        let job = world.github.jobs.get(id);
        job.is_some_and(|job| job.set == set && job.acquired_ms.is_none() && world.github.open.contains(id))
    };
    let got: Vec<u64> = wanted.iter().filter_map(Value::as_u64).filter(|id| is_offered(world, id)).collect();
    got.iter().for_each(|id| course::acquire(world, *id));
    course::hand_out(world);
    json(200, &json!({ "count": got.len(), "value": got }))
}

fn groups(world: &World, asked: &Asked, at: &At) -> Response {
    let mut all = vec![(1, "Default")];
    all.extend(world.github.groups.iter().filter(|g| g.at == *at).map(|g| (g.id, g.name.as_str())));
    all.retain(|(_, name)| asked.param("groupName").is_none_or(|wanted| wanted.eq_ignore_ascii_case(name)));
    let row = |(id, name): &(u64, &str)| json!({ "id": id, "name": name, "size": 0, "isDefaultGroup": *id == 1 });
    json(200, &json!({ "count": all.len(), "value": all.iter().map(row).collect::<Vec<_>>() }))
}

fn agents(world: &mut World, asked: &Asked, at: &At, method: &str, rest: &[&str]) -> Response {
    let row = |runner: &Registered| json!({ "id": runner.id, "name": runner.name, "runnerScaleSetId": runner.set });
    let found = rest.first().and_then(|id| world.github.runners.get(&id.parse().ok()?)).filter(|r| r.at == *at);
    match (method, rest, found) {
        ("GET", [], _) => {
            let named = |runner: &&Registered| asked.param("agentName").is_none_or(|name| runner.name == name);
            let all = world.github.runners.values().filter(|runner| runner.at == *at).filter(named);
            let rows: Vec<Value> = all.map(row).collect();
            json(200, &json!({ "count": rows.len(), "value": rows }))
        }
        ("GET", [_], Some(runner)) => json(200, &row(runner)),
        ("DELETE", [_], Some(runner)) if runner.sent.is_some() => {
            exception(400, "JobStillRunningException", &format!("Runner {} is still running a job.", runner.name))
        }
        ("DELETE", [_], Some(runner)) => {
            let id = runner.id;
            course::unregister(world, id);
            empty(204)
        }
        _ => exception(404, "AgentNotFoundException", "There is no such agent."),
    }
}

/// `POST …/{id}/generatejitconfig`.
pub(super) fn just_in_time(world: &mut World, asked: &Asked, set: u64) -> Response {
    let Some(found) = world.github.sets.get(&set) else { return empty(404) };
    let Some(name) = asked.body["name"].as_str().filter(|name| !name.is_empty() && name.len() <= 64) else {
        return exception(400, "ArgumentException", "A runner has a name of at most 64 characters.");
    };
    let (at, labels, group) = (found.at.clone(), found.labels.clone(), found.group);
    let new = Registered { at, name: name.to_owned(), labels, group, set: Some(set), ..Registered::default() };
    match register(world, new) {
        Err(Refused::Exists) => {
            exception(409, "AgentExistsException", &format!("A runner exists with the same name {name}."))
        }
        Err(Refused::TooMany) => exception(429, "RequestBlockedException", "Too many runners were registered."),
        Ok(id) => {
            let runner = json!({ "id": id, "name": name, "runnerScaleSetId": set });
            json(200, &json!({ "runner": runner, "encodedJITConfig": world.github.runners[&id].blob }))
        }
    }
}
