//! What the simulated GitHub knows: plain data that can be saved and tampered with.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Everything that the simulated GitHub knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GitHub {
    /// Counter behind all numbers that it gives.
    pub serial: u64,
    /// How it behaves.
    pub settings: Settings,
    /// Runners that are registered, by number.
    pub runners: BTreeMap<u64, Registered>,
    /// Jobs by number, those that have ended among them.
    pub jobs: BTreeMap<u64, Job>,
    /// Jobs that have not ended.
    pub open: BTreeSet<u64>,
    /// Runner scale sets by number.
    pub sets: BTreeMap<u64, ScaleSet>,
    /// For whom the service of scale sets was opened; its address has the place in this list.
    pub tenants: Vec<At>,
    /// Runner groups besides the default one.
    pub groups: Vec<Group>,
    /// Tokens that were handed out.
    pub tokens: BTreeMap<String, Token>,
    /// What is left of each caller's budget, by what it was authorised with.
    pub budgets: BTreeMap<String, Budget>,
    /// What happens by itself, by the virtual millisecond.
    pub due: BTreeMap<u64, VecDeque<Event>>,
    /// Webhooks that were sent and not taken yet.
    pub webhooks: VecDeque<Delivery>,
    /// When runners were registered lately, by scope.
    pub registrations: BTreeMap<String, VecDeque<u64>>,
    /// How many runners were ever registered.
    pub registered_ever: u64,
    /// Jobs whose runner died while it worked on them.
    pub lost_jobs: u64,
}

/// How GitHub behaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Requests that a caller has an hour.
    pub requests_per_hour: u64,
    /// Jobs of a scale set are offered, and its listener must acquire them; otherwise they are assigned at once.
    pub offers: bool,
    /// The statistics of scale sets pass over assigned jobs that no runner has, as GitHub's do now and then.
    pub passes_over: bool,
    /// How long a poll with nothing takes while virtual time stands still between requests.
    pub poll_ms: u64,
    /// How long the token of the scale sets' service is good.
    pub admin_seconds: u64,
    /// How long the token of a message queue is good.
    pub queue_seconds: u64,
    /// How long a runner needs from its begin until it is connected.
    pub online_seconds: u64,
    /// The version of the runners in the images.
    pub runner_version: String,
    /// The secret of the webhook; without one nothing is sent.
    pub hook_secret: Option<String>,
    /// So many of the next webhooks are lost.
    pub lose_webhooks: u32,
    /// So many of the next webhooks come twice.
    pub repeat_webhooks: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            requests_per_hour: 5000,
            offers: true,
            passes_over: false,
            poll_ms: 1000,
            admin_seconds: 3600,
            queue_seconds: 3600,
            online_seconds: 8,
            runner_version: "2.330.0".to_owned(),
            hook_secret: None,
            lose_webhooks: 0,
            repeat_webhooks: 0,
        }
    }
}

/// Where on GitHub.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct At {
    /// The API's base: `https://api.github.com`.
    pub api: String,
    /// As it begins REST paths: `orgs/acme`.
    pub scope: String,
}

impl At {
    /// Whether a job's repository is of this scope.
    pub fn covers(&self, job: &Job) -> bool {
        if self.api != job.api {
            return false;
        }
        match self.scope.split_once('/') {
            Some(("repos", repository)) => repository.eq_ignore_ascii_case(&job.repository),
            Some(("orgs", owner)) => owner.eq_ignore_ascii_case(job.owner()),
            Some(("enterprises", slug)) => job.enterprise.as_deref().is_some_and(|e| e.eq_ignore_ascii_case(slug)),
            Some(_) | None => false,
        }
    }
}

/// A runner that is registered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Its number.
    pub id: u64,
    /// Whose it is.
    pub at: At,
    /// Its name, which no other of the scope has.
    pub name: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Its group's number.
    pub group: u64,
    /// The scale set that it is of.
    pub set: Option<u64>,
    /// Linux or Windows, once it was connected.
    pub os: String,
    /// Its just-in-time configuration; empty where it was registered by a token.
    pub blob: String,
    /// The configuration was used.
    pub used: bool,
    /// When it was registered, in virtual milliseconds.
    pub registered_ms: u64,
    /// It is connected, as far as GitHub knows.
    pub online: bool,
    /// The guest and its boot in which it runs.
    pub seat: Option<(u32, u64)>,
    /// The job that was sent to it.
    pub sent: Option<u64>,
    /// It works on that.
    pub busy: bool,
    /// The version that it told.
    pub version: Option<String>,
}

/// What a job has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It waits for somebody to approve it.
    Waiting,
    /// It waits for a runner.
    #[default]
    Queued,
    /// It runs.
    InProgress,
    /// It has ended.
    Completed,
}

/// A job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub id: u64,
    /// The number of its workflow's run.
    pub run: u64,
    /// The API's base.
    pub api: String,
    /// `owner/name`.
    pub repository: String,
    /// The enterprise that the owner is of.
    pub enterprise: Option<String>,
    /// `build`.
    pub name: String,
    /// The labels that it asks for.
    pub labels: Vec<String>,
    /// The runner group that it asks for.
    pub group: Option<String>,
    /// How long it takes, in virtual milliseconds.
    pub takes_ms: u64,
    /// What it has come to.
    pub status: Status,
    /// When it was queued.
    pub queued_ms: u64,
    /// The scale set that it goes to.
    pub set: Option<u64>,
    /// When it was offered to the set the last time.
    pub offered_ms: Option<u64>,
    /// When the set got it.
    pub acquired_ms: Option<u64>,
    /// The runners that it was sent to, and when; the last one has it.
    pub sent: Vec<(u64, String, u64)>,
    /// It waits until the runner that it was sent to takes it.
    pub pending: bool,
    /// When it was begun.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// `success`, `failure`, `cancelled`.
    pub conclusion: Option<String>,
    /// The runner that ran it: number and name.
    pub runner: Option<(u64, String)>,
    /// Its runner died while it worked on it.
    pub lost: bool,
}

impl Job {
    /// Whose the repository is.
    pub fn owner(&self) -> &str {
        self.repository.split('/').next().unwrap_or_default()
    }

    /// Whether all labels that it asks for are among these.
    pub fn fits(&self, labels: &[String]) -> bool {
        self.labels.iter().all(|wanted| labels.iter().any(|has| has.eq_ignore_ascii_case(wanted)))
    }
}

/// A runner scale set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScaleSet {
    /// Its number.
    pub id: u64,
    /// Whose it is.
    pub at: At,
    /// Its name, which no other of its group has.
    pub name: String,
    /// Its group's number.
    pub group: u64,
    /// The labels of its runners.
    pub labels: Vec<String>,
    /// Its runners do not update themselves.
    pub disable_update: bool,
    /// When it was made.
    pub created_ms: u64,
    /// Who listens.
    pub session: Option<Session>,
    /// What happened and is in no message yet.
    pub items: VecDeque<Value>,
    /// Messages that were not acknowledged yet.
    pub messages: VecDeque<Message>,
    /// How many runners its listener said that it may have.
    pub capacity: Option<u32>,
}

/// Somebody listens to a scale set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// A UUID.
    pub id: String,
    /// Who.
    pub owner: String,
    /// The token of the queue; [`GitHub::tokens`] says until when.
    pub token: String,
    /// When it was heard of the last time.
    pub seen_ms: u64,
}

/// A message of a scale set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its number.
    pub id: u64,
    /// What happened.
    pub items: Vec<Value>,
}

/// A runner group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its number.
    pub id: u64,
    /// Whose it is.
    pub at: At,
    /// Its name.
    pub name: String,
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// To register a runner, or to open the service of scale sets.
    Registration(At),
    /// To remove a runner by itself.
    Removal(At),
    /// As an installation of an app.
    Installation(u64),
    /// The service of scale sets: the place in [`GitHub::tenants`].
    Admin(usize),
    /// A scale set's message queue.
    Queue(u64),
}

/// A token that was handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// For what.
    pub purpose: Purpose,
    /// Until when, in virtual milliseconds.
    pub expires_ms: u64,
}

/// What a caller has used of an hour's budget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Requests that were counted.
    pub used: u64,
    /// When the hour ends, in seconds.
    pub reset: u64,
}

/// A webhook on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, exactly as it was signed.
    pub body: String,
    /// When it was sent, in virtual milliseconds.
    pub at_ms: u64,
}

/// What happens by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The runner of a guest connects, or fails to.
    Connect {
        /// The guest.
        vmid: u32,
        /// Its boot.
        boot_ms: u64,
    },
    /// GitHub looks whether a runner is there.
    Beat(u64),
    /// A runner takes the job that was sent to it.
    Pick {
        /// The job.
        job: u64,
        /// The runner.
        runner: u64,
    },
    /// A job is to be at its end.
    End {
        /// The job.
        job: u64,
        /// The runner.
        runner: u64,
    },
    /// A job that nobody took is sent again.
    Again(u64),
    /// A job that was offered and not acquired is offered again.
    Offer(u64),
    /// A job that has waited for a day is cancelled.
    Cancel(u64),
    /// A registration that nobody used for a day is forgotten.
    Forget(u64),
    /// The runner's process in a guest ends.
    Exit {
        /// The guest.
        vmid: u32,
        /// Its boot.
        boot_ms: u64,
        /// Its exit code.
        code: i32,
    },
    /// A guest turns itself off.
    Off {
        /// The guest.
        vmid: u32,
        /// Its boot.
        boot_ms: u64,
    },
}

impl GitHub {
    /// Nobody has spoken to it.
    pub fn is_untouched(&self) -> bool {
        *self == GitHub::default()
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Has something happen.
    pub fn plan(&mut self, at_ms: u64, event: Event) {
        self.due.entry(at_ms).or_default().push_back(event);
    }

    /// When something happens next.
    pub fn next_ms(&self) -> Option<u64> {
        self.due.keys().next().copied()
    }

    /// Takes what happens next.
    pub fn take_next(&mut self) -> Option<Event> {
        let mut first = self.due.first_entry()?;
        let event = first.get_mut().pop_front();
        if first.get().is_empty() {
            first.remove();
        }
        event
    }

    /// The name of a runner group.
    pub fn group_name(&self, id: u64) -> &str {
        self.groups.iter().find(|g| g.id == id).map_or("Default", |g| g.name.as_str())
    }
}
