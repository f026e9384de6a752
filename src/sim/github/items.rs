//! What scale sets are told of: items, messages of at most fifty of them, statistics.

use super::state::{GitHub, Job, Message, Registered, Status};
use super::words::time;
use crate::sim::world::World;
use serde_json::{Value, json};

/// As many items as a message has at most.
const ITEMS_MAX: usize = 50;

/// What a moment that has not come is written as.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Tells the scale set of a job, if it is of one, what happened.
pub(super) fn tell(world: &mut World, id: u64, what: &str) {
    let github = &mut world.github;
    let Some(job) = github.jobs.get(&id) else { return };
    let item = item(job, what);
    if let Some(set) = job.set.and_then(|set| github.sets.get_mut(&set)) {
        set.items.push_back(item);
    }
}

fn item(job: &Job, what: &str) -> Value {
    let at = |ms: Option<u64>| ms.map_or_else(|| NEVER.to_owned(), time);
    let name = job.repository.split('/').nth(1).unwrap_or_default();
    let mut item = json!({
        "messageType": what,
        "runnerRequestId": job.id,
        "repositoryName": name,
        "ownerName": job.owner(),
        "jobId": format!("{:08x}-0000-4000-8000-{:012x}", job.run, job.id),
        "jobWorkflowRef": format!("{}/.github/workflows/ci.yml@refs/heads/main", job.repository),
        "jobDisplayName": job.name,
        "workflowRunId": job.run,
        "eventName": "push",
        "requestLabels": job.labels,
        "queueTime": time(job.queued_ms),
        "scaleSetAssignTime": at(job.acquired_ms),
        "runnerAssignTime": at(job.started_ms),
        "finishTime": at(job.ended_ms),
    });
    if what == "JobAvailable" {
        item["acquireJobUrl"] = "".into();
    }
    if matches!(what, "JobStarted" | "JobCompleted") {
        let (runner, name) = job.runner.clone().unwrap_or_default();
        (item["runnerId"], item["runnerName"]) = (runner.into(), name.into());
    }
    if what == "JobCompleted" {
        item["result"] = match job.conclusion.as_deref() {
            Some("success") => "succeeded".into(),
            Some("cancelled") => "canceled".into(),
            Some(_) | None => "failed".into(),
        };
    }
    item
}

/// Offers again what nobody has acquired: a new listener hears of it.
pub(super) fn offer_all(world: &mut World, set: u64) {
    let Some(found) = world.github.sets.get_mut(&set) else { return };
    let (acquirable, is_offer) = ("JobAvailable", |item: &Value| item["messageType"] == "JobAvailable");
    found.items.retain(|item| !is_offer(item));
    found.messages.iter_mut().for_each(|message| message.items.retain(|item| !is_offer(item)));
    found.messages.retain(|message| !message.items.is_empty());
    let github = &world.github;
    let waits = |job: &&Job| job.set == Some(set) && job.status == Status::Queued && job.acquired_ms.is_none();
    let all: Vec<u64> =
        github.open.iter().filter_map(|id| github.jobs.get(id)).filter(waits).map(|job| job.id).collect();
    all.into_iter().for_each(|id| tell(world, id, acquirable));
}

/// The message after one, if there is any: one that was not acknowledged, or a new one.
pub(super) fn message(github: &mut GitHub, set: u64, after: u64) -> Option<Value> {
    let number = match github.sets.get(&set)? {
        found if found.messages.iter().any(|message| message.id > after) => None,
        found if found.items.is_empty() => return None,
        _ => Some(github.number()),
    };
    let found = github.sets.get_mut(&set)?;
    if let Some(id) = number {
        let items = found.items.drain(..found.items.len().min(ITEMS_MAX)).collect();
        found.messages.push_back(Message { id, items });
    }
    let message = found.messages.iter().find(|message| message.id > after)?;
    let body = serde_json::to_string(&message.items).unwrap_or_default();
    let mut answer = json!({ "messageId": message.id, "messageType": "RunnerScaleSetJobMessages", "body": body });
    answer["statistics"] = statistics(github, set);
    Some(answer)
}

/// How a scale set stands.
pub(super) fn statistics(github: &GitHub, set: u64) -> Value {
    let jobs = || github.open.iter().filter_map(|id| github.jobs.get(id)).filter(|job| job.set == Some(set));
    let runners = || github.runners.values().filter(|runner| runner.set == Some(set));
    let counts = |job: &&Job| job.status == Status::InProgress || !github.settings.passes_over;
    let is_idle = |runner: &&Registered| runner.online && !runner.busy;
    json!({
        "totalAvailableJobs": jobs().filter(|job| job.acquired_ms.is_none()).count(),
        "totalAcquiredJobs": 0,
        "totalAssignedJobs": jobs().filter(|job| job.acquired_ms.is_some()).filter(counts).count(),
        "totalRunningJobs": jobs().filter(|job| job.status == Status::InProgress).count(),
        "totalRegisteredRunners": runners().count(),
        "totalBusyRunners": runners().filter(|runner| runner.busy).count(),
        "totalIdleRunners": runners().filter(is_idle).count(),
    })
}
