//! The door of the simulated GitHub: the wire, and what a test or a person does by hand.

use super::exchange::{Asked, refusal, with};
use super::records::{Exchange, Records};
use super::state::{Delivery, Job, Status};
use super::{actions, course, rest};
use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::github::place::{PUBLIC_API, SecretRef};
use crate::github::wire::{Request, Response, Secrets, Wire, WireError};
use crate::sim::faults::FaultKind;
use crate::sim::front::Sim;
use crate::sim::world::World;
use futures::future::BoxFuture;
use std::time::Duration;

/// How long GitHub holds a poll with nothing to say.
const POLL_MS: u64 = 50_000;
/// How often a poll that is held is looked after, in real time.
const LOOK: Duration = Duration::from_millis(50);

/// The key that an App of a simulated GitHub signs with. It opens nothing.
const KEY: &str = include_str!("../../github/jwt/pkcs1.pem");

/// The GitHub of a simulated cluster; clones share it.
#[derive(Clone, Debug)]
pub struct SimGitHub(pub(in crate::sim) Sim);

/// Jobs to be queued: one run of a workflow.
#[derive(Clone, Debug)]
pub struct NewJobs {
    /// The API's base.
    pub api: String,
    /// `owner/name`.
    pub repository: String,
    /// The enterprise that the owner is of.
    pub enterprise: Option<String>,
    /// `build`.
    pub name: String,
    /// The labels that they ask for.
    pub labels: Vec<String>,
    /// The runner group that they ask for.
    pub group: Option<String>,
    /// How long each takes.
    pub takes: Duration,
    /// How many.
    pub count: usize,
    /// They wait for somebody's approval first.
    pub waiting: bool,
}

impl NewJobs {
    /// One job of a repository on GitHub itself.
    pub fn new(repository: &str, labels: &[&str], takes: Duration) -> NewJobs {
        NewJobs {
            api: PUBLIC_API.to_owned(),
            repository: repository.to_owned(),
            enterprise: None,
            name: "build".to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            group: None,
            takes,
            count: 1,
            waiting: false,
        }
    }
}

impl Sim {
    /// The cluster's GitHub.
    pub fn github(&self) -> SimGitHub {
        SimGitHub(self.clone())
    }

    /// Queues a job of a repository on GitHub.
    pub fn queue_job(&self, repository: &str, labels: &[&str], takes: Duration) -> u64 {
        let ids = self.github().queue(&NewJobs::new(repository, labels, takes));
        ids.first().copied().expect("one was queued")
    }

    /// Takes the webhooks that GitHub has sent.
    pub fn take_webhooks(&self) -> Vec<Delivery> {
        self.with_world(|world| world.github.webhooks.drain(..).collect())
    }
}

impl SimGitHub {
    /// Queues jobs as one run. Their numbers.
    pub fn queue(&self, new: &NewJobs) -> Vec<u64> {
        let NewJobs { api, repository, enterprise, name, labels, group, takes, count, waiting } = new.clone();
        self.0.with_world(|world| {
            let run = world.github.number();
            let takes_ms = u64::try_from(takes.as_millis()).unwrap_or(u64::MAX / 4);
            let status = if waiting { Status::Waiting } else { Status::Queued };
            let job = Job { run, api, repository, enterprise, labels, group, takes_ms, status, ..Job::default() };
            let named = |n: usize| if count == 1 { name.clone() } else { format!("{name} ({n})") };
            (1..=count).map(|n| course::queue(world, Job { name: named(n), ..job.clone() })).collect()
        })
    }

    /// Approves a job that waits for it.
    pub fn approve(&self, job: u64) {
        self.0.with_world(|world| course::approve(world, job));
    }

    /// Cancels a job.
    pub fn cancel(&self, job: u64) {
        self.0.with_world(|world| course::cancel(world, job));
    }

    /// A job as it stands.
    pub fn job(&self, job: u64) -> Option<Job> {
        self.0.with_world(|world| world.github.jobs.get(&job).cloned())
    }

    /// All jobs as they stand.
    pub fn jobs(&self) -> Vec<Job> {
        self.0.with_world(|world| world.github.jobs.values().cloned().collect())
    }

    /// Method and address of every request.
    pub fn request_log(&self) -> Vec<(&'static str, String)> {
        self.0.with_records(|records| records.log().to_vec())
    }

    /// Some exchanges of each sort.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.0.with_records(|records: &mut Records| records.kept().cloned().collect())
    }

    async fn carry(&self, request: Request) -> Result<Response, WireError> {
        let unknown = || WireError::Unsent(format!("{} is no address", request.url));
        let asked = Asked::read(&request).ok_or_else(unknown)?;
        self.0.with_records(|records| records.sent(&request));
        let (mut lost, mut refused) = (false, None);
        let after_scheme = request.url.split_once("://").map_or(request.url.as_str(), |(_, rest)| rest);
        for fault in self.0.github_faults(request.method, after_scheme) {
            match fault {
                FaultKind::Unsent => return Err(WireError::Unsent("connection refused".to_owned())),
                FaultKind::DropBefore => return Err(broken()),
                FaultKind::DropAfter => lost = true,
                FaultKind::Slow(ms) => self.0.advance(Duration::from_millis(ms)),
                FaultKind::Status(status, text) => refused = Some(limited(status, &text)),
                FaultKind::NodeOffline => refused = Some(refusal(502, "Server Error")),
                FaultKind::Expired => refused = Some(refusal(401, "Bad credentials")),
                // These are of clusters only.
                FaultKind::TaskFails(_) | FaultKind::TaskDies(_) | FaultKind::TaskWarns => {}
                FaultKind::Locked(_) | FaultKind::LockTimeout | FaultKind::DigestRace | FaultKind::StorageFull => {}
            }
        }
        if let Some(refused) = refused {
            return if lost { Err(broken()) } else { Ok(refused) };
        }
        let mut response = self.answer(&asked);
        if response.status == 202 && actions::is_poll(&asked) {
            response = self.hold(&asked, response).await;
        }
        self.0.with_records(|records| records.keep(&request, &response));
        if lost { Err(broken()) } else { Ok(response) }
    }

    fn answer(&self, asked: &Asked) -> Response {
        self.0.caught_up(|world: &mut World| match actions::is_asked(asked) {
            true => actions::answer(world, asked),
            false => rest::answer(world, asked),
        })
    }

    /// A poll with nothing waits. Where time stands still between requests, it lets a moment pass only, so that whoever drives
    /// the time is not overtaken.
    async fn hold(&self, asked: &Asked, nothing: Response) -> Response {
        if self.0.speed().is_none() {
            let moment = Duration::from_millis(self.0.with_world(|world| world.github.settings.poll_ms));
            self.0.clock().sleep(moment).await;
            return self.answer(asked);
        }
        let until_ms = self.0.caught_up(|world| world.clock_ms) + POLL_MS;
        loop {
            tokio::time::sleep(LOOK).await;
            let response = self.answer(asked);
            if response.status != nothing.status || self.0.caught_up(|world| world.clock_ms) >= until_ms {
                return response;
            }
        }
    }
}

fn broken() -> WireError {
    WireError::Lost("connection closed before an answer came".to_owned())
}

/// A refusal on demand; one for too many requests says when to come again.
fn limited(status: u16, text: &str) -> Response {
    match status {
        403 | 429 => with(refusal(status, text), "retry-after", 60),
        other => refusal(other, text),
    }
}

impl Wire for SimGitHub {
    fn exchange(&self, request: Request) -> BoxFuture<'_, Result<Response, WireError>> {
        Box::pin(self.carry(request))
    }
}

/// Secrets that a simulated GitHub takes: nothing is read, no program is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimSecrets;

impl Secrets for SimSecrets {
    fn secret(&self, of: &SecretRef) -> Result<Secret, String> {
        let is_key = |name: &str| {
            let name = name.to_ascii_lowercase();
            name.ends_with(".pem") || name.contains("key")
        };
        let key = match of {
            SecretRef::Env(name) | SecretRef::File(name) => is_key(name),
            SecretRef::Command(words) => words.iter().any(|word| is_key(word)),
        };
        Ok(Secret::new(if key { KEY } else { "ghp_simulated" }))
    }
}
