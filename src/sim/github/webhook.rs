//! `workflow_job` webhooks: what GitHub would send, signed, to be taken by whoever plays the network.

use super::shapes;
use super::state::Delivery;
use crate::sim::world::World;
use serde_json::{Value, json};

/// The number of the webhook.
const HOOK: u64 = 42;

/// Sends a webhook about a job, if there is one that is told.
pub(super) fn tell(world: &mut World, id: u64, action: &str) {
    let Some(secret) = world.github.settings.hook_secret.clone() else { return };
    let settings = &mut world.github.settings;
    if settings.lose_webhooks > 0 {
        settings.lose_webhooks -= 1;
        return;
    }
    let times = if settings.repeat_webhooks > 0 { 2 } else { 1 };
    settings.repeat_webhooks = settings.repeat_webhooks.saturating_sub(1);
    let (guid, at_ms) = (world.new_uuid(), world.clock_ms);
    let Some(body) = payload(world, id, action).map(|payload| payload.to_string()) else { return };
    let headers = [
        ("content-type", "application/json"),
        ("user-agent", "GitHub-Hookshot/simulated"),
        ("x-github-event", "workflow_job"),
        ("x-github-delivery", &guid),
        ("x-github-hook-id", &HOOK.to_string()),
        ("x-github-hook-installation-target-type", "organization"),
        ("x-github-hook-installation-target-id", "1"),
        ("x-hub-signature-256", &signature(&secret, body.as_bytes())),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let delivery = Delivery { headers, body, at_ms };
    world.github.webhooks.extend(std::iter::repeat_n(delivery, times));
}

/// What GitHub signs a webhook with.
pub fn signature(secret: &str, body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    format!("sha256={}", hex::encode(ring::hmac::sign(&key, body).as_ref()))
}

fn payload(world: &World, id: u64, action: &str) -> Option<Value> {
    let job = world.github.jobs.get(&id)?;
    let mut told = shapes::job(&world.github, job);
    if action == "queued" {
        for key in ["runner_id", "runner_name", "runner_group_id", "runner_group_name"] {
            told[key] = Value::Null;
        }
    }
    let mut repository = shapes::repository(&job.api, &job.repository);
    shapes::complete_repository(&mut repository, job.queued_ms);
    Some(json!({
        "action": action,
        "workflow_job": told,
        "repository": repository,
        "organization": shapes::organization(&job.api, job.owner()),
        "sender": shapes::user(&job.api, "octocat"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_githubs_own_example() {
        let signed = signature("It's a Secret to Everybody", b"Hello, World!");
        assert_eq!(signed, "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
    }
}
