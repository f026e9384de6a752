//! Runner scale sets and the sessions of who listens to them.

use super::actions::{exception, just_in_time};
use super::exchange::{Asked, empty, json};
use super::state::{At, Job, Purpose, ScaleSet, Session, Status, Token};
use super::words::{service_token, time};
use super::{course, items};
use crate::github::wire::Response;
use crate::sim::world::World;
use serde_json::{Value, json};

/// A listener that was not heard of for so long is gone.
const SESSION_MS: u64 = 5 * 60 * 1000;

pub(super) fn answer(world: &mut World, asked: &Asked, at: &At, rest: &[&str]) -> Response {
    let id = rest.first().and_then(|id| id.parse::<u64>().ok());
    let id = id.filter(|id| world.github.sets.get(id).is_some_and(|set| set.at == *at));
    match (asked.method, rest, id) {
        ("GET", [], _) => list(world, asked, at),
        ("POST", [], _) => make(world, asked, at),
        ("GET", [_], Some(id)) => json(200, &shown(world, id)),
        ("PATCH", [_], Some(id)) => change(world, asked, id),
        ("DELETE", [_], Some(id)) => remove(world, id),
        ("POST", [_, "sessions"], Some(id)) => open(world, asked, id),
        ("PATCH", [_, "sessions", session], Some(id)) => refresh(world, asked, id, session),
        ("DELETE", [_, "sessions", session], Some(id)) => close(world, id, session),
        ("POST", [_, "generatejitconfig"], Some(id)) => just_in_time(world, asked, id),
        _ => exception(404, "RunnerScaleSetNotFoundException", "There is no such runner scale set."),
    }
}

fn shown(world: &World, id: u64) -> Value {
    let Some(set) = world.github.sets.get(&id) else { return Value::Null };
    let labels: Vec<Value> = set.labels.iter().map(|name| json!({ "type": "System", "name": name })).collect();
    json!({
        "id": id, "name": set.name, "runnerGroupId": set.group, "runnerGroupName": world.github.group_name(set.group),
        "labels": labels, "RunnerSetting": { "disableUpdate": set.disable_update }, "createdOn": time(set.created_ms),
        "runnerJitConfigUrl": "", "statistics": items::statistics(&world.github, id),
    })
}

fn list(world: &World, asked: &Asked, at: &At) -> Response {
    let is = |set: &&ScaleSet| {
        set.at == *at
            && asked.param("name").is_none_or(|name| name.eq_ignore_ascii_case(&set.name))
            && asked.number("runnerGroupId").is_none_or(|group| group == set.group)
    };
    let all: Vec<Value> = world.github.sets.values().filter(is).map(|set| shown(world, set.id)).collect();
    json(200, &json!({ "count": all.len(), "value": all }))
}

fn labels(body: &Value) -> Option<Vec<String>> {
    let names = body["labels"].as_array()?.iter().filter_map(|label| label["name"].as_str());
    let names: Vec<String> = names.map(str::to_owned).collect();
    (!names.is_empty()).then_some(names)
}

fn make(world: &mut World, asked: &Asked, at: &At) -> Response {
    let body = &asked.body;
    let (Some(name), Some(labels)) = (body["name"].as_str().filter(|name| !name.is_empty()), labels(body)) else {
        return exception(400, "ArgumentException", "A runner scale set has a name and labels.");
    };
    let group = body["runnerGroupId"].as_u64().unwrap_or(1);
    let same = |set: &ScaleSet| set.at == *at && set.group == group && set.name.eq_ignore_ascii_case(name);
    if world.github.sets.values().any(same) {
        let text = format!("A runner scale set with the name {name} exists already.");
        return exception(409, "RunnerScaleSetExistsException", &text);
    }
    let (id, created_ms) = (world.github.number(), world.clock_ms);
    let disable_update = body["RunnerSetting"]["disableUpdate"] == true;
    let (at, name) = (at.clone(), name.to_owned());
    let new = ScaleSet { id, at, name, group, labels, disable_update, created_ms, ..ScaleSet::default() };
    world.github.sets.insert(id, new);
    course::hand_out(world);
    json(200, &shown(world, id))
}

fn change(world: &mut World, asked: &Asked, id: u64) -> Response {
    let body = &asked.body;
    if let Some(set) = world.github.sets.get_mut(&id) {
        if let Some(name) = body["name"].as_str().filter(|name| !name.is_empty()) {
            name.clone_into(&mut set.name);
        }
        set.group = body["runnerGroupId"].as_u64().filter(|group| *group > 0).unwrap_or(set.group);
        set.labels = labels(body).unwrap_or_else(|| set.labels.clone());
        set.disable_update = body["RunnerSetting"]["disableUpdate"].as_bool().unwrap_or(set.disable_update);
    }
    course::hand_out(world);
    json(200, &shown(world, id))
}

fn remove(world: &mut World, id: u64) -> Response {
    world.github.sets.remove(&id);
    let of_set = |job: &&mut Job| job.set == Some(id) && job.status == Status::Queued;
    // What it had not begun goes to another.
    for job in world.github.jobs.values_mut().filter(of_set) {
        (job.set, job.acquired_ms, job.offered_ms) = (None, None, None);
    }
    let gone: Vec<u64> =
        world.github.runners.values().filter(|r| r.set == Some(id) && r.sent.is_none()).map(|r| r.id).collect();
    gone.into_iter().for_each(|runner| course::unregister(world, runner));
    course::hand_out(world);
    empty(204)
}

/// Where the messages of a set are, and the token for them.
fn queue(world: &World, asked: &Asked, id: u64) -> Value {
    let Some(session) = world.github.sets.get(&id).and_then(|set| set.session.as_ref()) else { return Value::Null };
    let url = format!(
        "{}/_apis/runtime/runnerscalesets/{id}/messages?sessionId={}&api-version=6.0-preview",
        asked.base, session.id
    );
    json!({
        "sessionId": session.id, "ownerName": session.owner, "runnerScaleSet": shown(world, id), "messageQueueUrl": url,
        "messageQueueAccessToken": session.token, "statistics": items::statistics(&world.github, id),
    })
}

fn queue_token(world: &mut World, id: u64) -> String {
    let (serial, expires_ms) = (world.github.number(), world.clock_ms + world.github.settings.queue_seconds * 1000);
    let token = service_token(serial, expires_ms);
    world.github.tokens.insert(token.clone(), Token { purpose: Purpose::Queue(id), expires_ms });
    token
}

fn open(world: &mut World, asked: &Asked, id: u64) -> Response {
    let now = world.clock_ms;
    let held = world.github.sets.get(&id).and_then(|set| set.session.as_ref());
    if let Some(session) = held.filter(|session| session.seen_ms + SESSION_MS > now) {
        let text = format!("The runner scale set has an active session for {} already.", session.owner);
        return exception(409, "RunnerScaleSetSessionConflictException", &text);
    }
    let Some(owner) = asked.body["ownerName"].as_str().filter(|owner| !owner.is_empty()).map(str::to_owned) else {
        return exception(400, "ArgumentException", "A session has an owner.");
    };
    let (session, token) = (world.new_uuid(), queue_token(world, id));
    if let Some(set) = world.github.sets.get_mut(&id) {
        set.session = Some(Session { id: session, owner, token, seen_ms: now });
    }
    items::offer_all(world, id);
    json(200, &queue(world, asked, id))
}

fn of_session<'w>(world: &'w mut World, id: u64, session: &str) -> Option<&'w mut Session> {
    world.github.sets.get_mut(&id)?.session.as_mut().filter(|found| found.id == session)
}

fn refresh(world: &mut World, asked: &Asked, id: u64, session: &str) -> Response {
    let (now, token) = (world.clock_ms, queue_token(world, id));
    match of_session(world, id, session) {
        Some(found) => {
            let old = std::mem::replace(&mut found.token, token);
            found.seen_ms = now;
            world.github.tokens.remove(&old);
            json(200, &queue(world, asked, id))
        }
        None => exception(404, "RunnerScaleSetSessionNotFoundException", "There is no such session."),
    }
}

fn close(world: &mut World, id: u64, session: &str) -> Response {
    match of_session(world, id, session).map(|found| found.token.clone()) {
        Some(token) => {
            world.github.tokens.remove(&token);
            if let Some(set) = world.github.sets.get_mut(&id) {
                set.session = None;
            }
            empty(204)
        }
        None => exception(404, "RunnerScaleSetSessionNotFoundException", "There is no such session."),
    }
}
