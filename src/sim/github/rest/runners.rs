//! `…/actions/runners`, `…/actions/runner-groups`.

use super::auth;
use crate::github::wire::Response;
use crate::sim::github::course::{DAY_MS, unregister};
use crate::sim::github::exchange::{Asked, empty, json, refusal, with};
use crate::sim::github::shapes;
use crate::sim::github::state::{At, Event, Purpose, Registered};
use crate::sim::github::words::base64;
use crate::sim::world::World;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(in crate::sim) use auth::registers;

/// Registrations that a scope has in five minutes.
const REGISTRATIONS_MAX: usize = 1500;
const REGISTRATIONS_MS: u64 = 5 * 60 * 1000;
/// The default runner group.
const DEFAULT_GROUP: u64 = 1;
const NAME_MAX: usize = 64;

pub(super) fn answer(world: &mut World, asked: &Asked, at: &At, rest: &[&str]) -> Response {
    match (asked.method, rest) {
        ("GET", ["runners"]) => list(world, asked, at),
        ("GET", ["runners", "downloads"]) => downloads(world),
        ("POST", ["runners", "generate-jitconfig"]) => just_in_time(world, asked, at),
        ("POST", ["runners", "registration-token"]) => auth::token(world, Purpose::Registration(at.clone())),
        ("POST", ["runners", "remove-token"]) => auth::token(world, Purpose::Removal(at.clone())),
        ("GET", ["runners", id]) => match of_scope(world, at, id) {
            Some(runner) => json(200, &shapes::runner(runner)),
            None => refusal(404, "Not Found"),
        },
        ("DELETE", ["runners", id]) => remove(world, at, id),
        ("GET", ["runner-groups"]) if !at.scope.starts_with("repos/") => groups(world, asked, at),
        _ => refusal(404, "Not Found"),
    }
}

fn of_scope<'w>(world: &'w World, at: &At, id: &str) -> Option<&'w Registered> {
    world.github.runners.get(&id.parse().ok()?).filter(|runner| runner.at == *at)
}

fn list(world: &World, asked: &Asked, at: &At) -> Response {
    let named = |runner: &&Registered| asked.param("name").is_none_or(|name| runner.name == name);
    let all: Vec<&Registered> = world.github.runners.values().filter(|r| r.at == *at).filter(named).collect();
    let count = all.len();
    let (page, next) = asked.page(all);
    let rows: Vec<Value> = page.into_iter().map(shapes::runner).collect();
    let response = json(200, &json!({ "total_count": count, "runners": rows }));
    next.into_iter().fold(response, |response, link| with(response, "link", link))
}

fn remove(world: &mut World, at: &At, id: &str) -> Response {
    let Some(runner) = of_scope(world, at, id) else { return refusal(404, "Not Found") };
    let (id, name) = (runner.id, runner.name.clone());
    // It may have been given a job that no list shows yet.
    if runner.sent.is_some() {
        let text = format!("Bad request - Runner \"{name}\" is currently running a job and cannot be deleted.");
        return refusal(422, &text);
    }
    unregister(world, id);
    empty(204)
}

fn just_in_time(world: &mut World, asked: &Asked, at: &At) -> Response {
    let body = &asked.body;
    let labels: Option<Vec<String>> = body["labels"].as_array().and_then(|labels| {
        labels.iter().map(|label| label.as_str().filter(|l| !l.is_empty()).map(str::to_owned)).collect()
    });
    let (Some(name), Some(group), Some(labels)) = (body["name"].as_str(), body["runner_group_id"].as_u64(), labels)
    else {
        return refusal(
            422,
            "Invalid request.\n\nFor 'properties/name', 'properties/runner_group_id', 'properties/labels'",
        );
    };
    if name.is_empty() || name.len() > NAME_MAX || labels.is_empty() || labels.len() > 100 {
        return refusal(422, "Validation Failed: name has at most 64 characters, there are 1 to 100 labels");
    }
    let known = group == DEFAULT_GROUP || world.github.groups.iter().any(|g| g.id == group && g.at == *at);
    if !known {
        return refusal(404, "Not Found");
    }
    let new = Registered { at: at.clone(), name: name.to_owned(), labels, group, ..Registered::default() };
    match register(world, new) {
        Err(Refused::Exists) => {
            refusal(409, &format!("Already exists - A runner with the name {name} already exists."))
        }
        Err(Refused::TooMany) => {
            let refused = refusal(
                403,
                "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
            );
            with(refused, "retry-after", 60)
        }
        Ok(id) => {
            let runner = &world.github.runners[&id];
            json(201, &json!({ "runner": shapes::runner(runner), "encoded_jit_config": runner.blob }))
        }
    }
}

/// Why a runner is not registered.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sim) enum Refused {
    /// There is one of this name.
    Exists,
    /// Too many were registered lately.
    TooMany,
}

/// Registers a runner, with a configuration that it can use once.
pub(in crate::sim) fn register(world: &mut World, new: Registered) -> Result<u64, Refused> {
    let now = world.clock_ms;
    let same = |runner: &&Registered| runner.at == new.at && runner.name.eq_ignore_ascii_case(&new.name);
    if world.github.runners.values().any(|runner| same(&runner)) {
        return Err(Refused::Exists);
    }
    let lately = world.github.registrations.entry(format!("{} {}", new.at.api, new.at.scope)).or_default();
    while lately.front().is_some_and(|ms| ms + REGISTRATIONS_MS <= now) {
        lately.pop_front();
    }
    if lately.len() >= REGISTRATIONS_MAX {
        return Err(Refused::TooMany);
    }
    lately.push_back(now);
    let (id, random) = (world.github.number(), world.random());
    let blob = blob(id, &new.name, random);
    world.github.registered_ever += 1;
    world.github.plan(now + DAY_MS, Event::Forget(id));
    world.github.runners.insert(id, Registered { id, blob, registered_ms: now, ..new });
    Ok(id)
}

/// A configuration as long as GitHub's: some files, each in base64.
fn blob(id: u64, name: &str, random: u64) -> String {
    let key: String =
        (0..24u64).map(|n| hex::encode(Sha256::digest([random.to_be_bytes(), n.to_be_bytes()].concat()))).collect();
    let settings = json!({ "agentId": id.to_string(), "agentName": name, "ephemeral": true }).to_string();
    let files = json!({ ".runner": base64(settings.as_bytes()), ".credentials_rsaparams": base64(key.as_bytes()) });
    base64(files.to_string().as_bytes())
}

fn groups(world: &World, asked: &Asked, at: &At) -> Response {
    let mut all = vec![(DEFAULT_GROUP, "Default")];
    all.extend(world.github.groups.iter().filter(|g| g.at == *at).map(|g| (g.id, g.name.as_str())));
    let count = all.len();
    let (page, next) = asked.page(all);
    let base = format!("{}/{}/actions/runner-groups", at.api, at.scope);
    let rows: Vec<Value> = page
        .into_iter()
        .map(|(id, name)| {
            let mut row = json!({
                "id": id, "name": name, "visibility": "all", "default": id == DEFAULT_GROUP,
                "runners_url": format!("{base}/{id}/runners"), "allows_public_repositories": false,
                "restricted_to_workflows": false, "selected_workflows": [], "workflow_restrictions_read_only": false,
            });
            // An enterprise's groups are nobody else's.
            if at.scope.starts_with("orgs/") {
                row["inherited"] = false.into();
            }
            row
        })
        .collect();
    let response = json(200, &json!({ "total_count": count, "runner_groups": rows }));
    next.into_iter().fold(response, |response, link| with(response, "link", link))
}

fn downloads(world: &World) -> Response {
    let version = &world.github.settings.runner_version;
    let one = |(os, end): (&str, &str)| {
        let filename = format!("actions-runner-{os}-x64-{version}.{end}");
        json!({
            "os": os, "architecture": "x64", "filename": filename,
            "download_url": format!("https://github.com/actions/runner/releases/download/v{version}/{filename}"),
            "sha256_checksum": hex::encode(Sha256::digest(filename.as_bytes())),
        })
    };
    json(200, &[("linux", "tar.gz"), ("win", "zip")].into_iter().map(one).collect())
}
