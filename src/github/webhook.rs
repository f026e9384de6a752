//! Webhooks of GitHub about jobs (`workflow_job`): whether one comes from whom it should, and what it says. Pure.

use crate::github::address::api_of;
use crate::github::demand::Job;
use crate::github::fault::seconds;
use ring::hmac;
use serde_json::Value;

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobState {
    /// It waits for a person or another job: no demand, whatever the event is called.
    Waiting,
    /// It waits for a runner.
    Queued,
    /// A runner has it.
    InProgress,
    /// It has ended.
    Completed,
}

/// A `workflow_job` webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvent {
    /// The delivery's id (`X-GitHub-Delivery`): one that comes again has the same.
    pub delivery: String,
    /// The API's base, as the job's own address says: `https://api.github.com`.
    pub api: String,
    /// The enterprise's slug, where the event names one.
    pub enterprise: Option<String>,
    /// The job; its repository says whose it is.
    pub job: Job,
    /// How far it is.
    pub state: JobState,
    /// When it was begun, in seconds since 1970.
    pub started: Option<i64>,
    /// When it has ended, in seconds since 1970.
    pub completed: Option<i64>,
    /// How it has ended: `success`, `failure`, `cancelled`, …
    pub conclusion: Option<String>,
}

/// Why a delivery is not listened to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    /// It is no JSON, or not of the form that GitHub's have.
    #[error("this is no `workflow_job` event of GitHub's: {0}")]
    Malformed(String),
}

/// Whether the hexadecimal digits are the HMAC-SHA256 of a body with this secret. It takes the same time, whatever differs and
/// wherever. An empty secret vouches for nobody.
pub fn is_signed(body: &[u8], secret: &[u8], digits: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    !secret.is_empty() && hex::decode(digits).is_ok_and(|bytes| hmac::verify(&key, body, &bytes).is_ok())
}

impl JobEvent {
    /// Reads the body of a delivery whose signature was checked.
    pub fn read(delivery: &str, body: &[u8]) -> Result<JobEvent, Disbelief> {
        let event = serde_json::from_slice(body).map_err(|error| Disbelief::Malformed(error.to_string()))?;
        JobEvent::of(delivery, &event)
    }

    /// The same, where the body was parsed already.
    pub fn of(delivery: &str, event: &Value) -> Result<JobEvent, Disbelief> {
        let missing = |what: &str| Disbelief::Malformed(format!("it has no {what}"));
        let job = &event["workflow_job"];
        let id = job["id"].as_u64().ok_or_else(|| missing("`workflow_job.id`"))?;
        let repository = event["repository"]["full_name"].as_str().ok_or_else(|| missing("`repository.full_name`"))?;
        let api = job["url"].as_str().and_then(api_of).ok_or_else(|| missing("`workflow_job.url` of an API"))?;
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let status = job["status"].as_str().unwrap_or_default();
        let state = match event["action"].as_str().ok_or_else(|| missing("`action`"))? {
            "completed" => JobState::Completed,
            "in_progress" => JobState::InProgress,
            // An event `queued` of a job that waits for the approval of its environment says `waiting` only here.
            "queued" if status == "queued" => JobState::Queued,
            "queued" | "waiting" => JobState::Waiting,
            other => {
                let other: String = other.chars().take(40).collect();
                return Err(Disbelief::Malformed(format!("its action is `{other}`")));
            }
        };
        Ok(JobEvent {
            delivery: delivery.chars().take(100).collect(),
            api: api.to_owned(),
            enterprise: text(&event["enterprise"]["slug"]),
            job: of_job(job, id, repository, state),
            state,
            started: seconds(&job["started_at"]).filter(|_| state >= JobState::InProgress),
            completed: seconds(&job["completed_at"]),
            conclusion: text(&job["conclusion"]),
        })
    }
}

/// A job as GitHub writes it in webhooks and lists.
pub(super) fn of_job(job: &Value, id: u64, repository: &str, state: JobState) -> Job {
    let text = |key: &str| job[key].as_str().unwrap_or_default();
    let labels = job["labels"].as_array().into_iter().flatten();
    let (workflow, name) = (text("workflow_name"), text("name"));
    Job {
        id,
        repository: repository.to_owned(),
        name: if workflow.is_empty() { name.to_owned() } else { format!("{workflow} / {name}") },
        labels: labels.filter_map(|label| label.as_str().map(str::to_owned)).collect(),
        // Older servers have `started_at` only, which a queued job has too.
        queued: seconds(&job["created_at"]).or_else(|| seconds(&job["started_at"])).unwrap_or(0),
        // Some queued jobs name the runner of an attempt before.
        runner: Some(text("runner_name").to_owned()).filter(|name| !name.is_empty() && state >= JobState::InProgress),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn event(action: &str, status: &str) -> Value {
        json!({
            "action": action,
            "workflow_job": {
                "id": 29_679_449_526_u64, "run_id": 1, "url": "https://api.github.com/repos/acme/app/actions/jobs/29679449526",
                "status": status, "conclusion": null, "created_at": "2026-09-21T14:13:20Z", "started_at": "2026-09-21T14:13:30Z",
                "completed_at": null, "name": "build", "workflow_name": "CI", "labels": ["self-hosted", "x64"],
                "runner_id": null, "runner_name": null,
            },
            "repository": {"full_name": "acme/app"}, "organization": {"login": "acme"}, "enterprise": {"slug": "corp"},
        })
    }

    #[test]
    fn githubs_own_example_of_a_signature() {
        // From GitHub's documentation, "Validating webhook deliveries".
        let digits = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let secret = b"It's a Secret to Everybody";
        assert!(is_signed(b"Hello, World!", secret, digits));
        assert!(!is_signed(b"Hello, World?", secret, digits) && !is_signed(b"Hello, World!", b"another", digits));
        for bad in ["", "zz", &digits[..62], &format!("{digits}00")] {
            assert!(!is_signed(b"Hello, World!", secret, bad), "{bad}");
        }
        let empty = hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b""), b"x"));
        assert!(!is_signed(b"x", b"", &empty));
    }

    #[test]
    fn a_job_is_read() {
        let read = JobEvent::of("d1", &event("queued", "queued")).expect("an event");
        assert_eq!((read.state, read.api.as_str()), (JobState::Queued, "https://api.github.com"));
        assert_eq!((read.job.name.as_str(), read.job.queued), ("CI / build", 1_790_000_000));
        assert_eq!((read.job.runner.as_deref(), read.started, read.enterprise.as_deref()), (None, None, Some("corp")));
        let mut running = event("in_progress", "in_progress");
        running["workflow_job"]["runner_name"] = "ci-50000-abcd".into();
        let read = JobEvent::of("d2", &running).expect("an event");
        assert_eq!((read.state, read.job.runner.as_deref()), (JobState::InProgress, Some("ci-50000-abcd")));
        assert_eq!(read.started, Some(1_790_000_010));
    }

    #[test]
    fn queued_that_is_really_waiting_is_no_demand() {
        for (action, status, want) in [
            ("queued", "waiting", JobState::Waiting),
            ("queued", "pending", JobState::Waiting),
            ("waiting", "waiting", JobState::Waiting),
            ("queued", "queued", JobState::Queued),
            ("completed", "completed", JobState::Completed),
        ] {
            let read = JobEvent::of("d", &event(action, status)).expect("an event");
            assert_eq!(read.state, want, "{action} {status}");
        }
        let mut old = event("queued", "queued");
        old["workflow_job"]["runner_name"] = "of the last attempt".into();
        assert_eq!(JobEvent::of("d", &old).expect("an event").job.runner, None);
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for bad in [json!(null), json!([]), json!({"action": "queued"}), event("renamed", "queued"), {
            let mut other = event("queued", "queued");
            other["workflow_job"]["url"] = "x".into();
            other
        }] {
            assert!(JobEvent::of("d", &bad).is_err(), "{bad}");
        }
        assert!(JobEvent::read("d", b"{").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(body in proptest::collection::vec(any::<u8>(), 0..200), delivery in "\\PC*", digits in "\\PC{0,70}") {
            prop_assert!(JobEvent::read(&delivery, &body).is_err());
            prop_assert!(!is_signed(&body, b"s", &digits) || digits.len() == 64);
        }
    }
}
