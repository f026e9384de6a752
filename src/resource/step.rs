//! What a kind wants done: changes for people, steps for the machine, notes for why nothing is done, problems for why
//! nothing may be done.

use crate::pve::request::{Call, Query};
use crate::resource::merge::Cause;
use crate::resource::reference::{Identity, ResourceRef};
use std::time::Duration;

/// The annotation with which a manifest says that it may shut people out, pvectl itself among them.
pub const ALLOW_LOCKOUT: &str = "pvectl/allow-lockout";

/// What a step does to a running guest and its data, from nothing to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Impact {
    /// Metadata only.
    None,
    /// Takes effect at once, the guest goes on.
    Live,
    /// Takes effect at the guest's next start.
    AfterReboot,
    /// The guest is started, stopped or rebooted.
    Restart,
    /// The guest moves to another node.
    Migration,
    /// Data may be lost: delete, remove a disk, roll back.
    DataLoss,
}

impl Impact {
    /// The word that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Impact::None => "none",
            Impact::Live => "live",
            Impact::AfterReboot => "after reboot",
            Impact::Restart => "restart",
            Impact::Migration => "migration",
            Impact::DataLoss => "data loss",
        }
    }
}

/// A field before and after, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The field in the manifest's words.
    pub path: String,
    /// What is there.
    pub from: Option<String>,
    /// What shall be there.
    pub to: Option<String>,
    /// Why it differs.
    pub cause: Cause,
    /// What changing it does.
    pub impact: Impact,
}

/// What the answer to a call must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Done when answered.
    Value,
    /// A UPID, to be followed to its end. PVE answers some such calls with nothing: then it is done.
    Task,
}

/// Something that few may do at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// Tasks on a node.
    Node(String),
    /// Work on a storage.
    Storage(String),
    /// Bringing a file to a storage: who asks for the same file waits for the first, and does not ask again.
    File(String),
    /// Clones of one template: two linked clones at once time out on PVE's lock.
    Template(u32),
    /// Writes to the pool list (`user.cfg` has one lock).
    UserConfig,
    /// Writes to another file of the datacenter that has one lock, such as `cluster.fw`.
    Config(&'static str),
    /// What a policy does at one place.
    Policy {
        /// The policy's name.
        of: String,
        /// The node or storage: `node/pve1`.
        at: String,
        /// How much at once: one or more.
        room: u8,
    },
}

/// A list whose rows a call names by their position. Read right before the call, it must still hold these rows; its digest
/// then goes with the call, so that PVE refuses what changed in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// What lists them.
    pub query: Query,
    /// The members that are compared; others are of no meaning.
    pub keys: &'static [&'static str],
    /// The rows, each as the values of those members; what is not there is empty.
    pub rows: Vec<Vec<String>>,
}

/// Looked at once more right before a destructive call: the value of `query` must still carry this marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// What is read again: a guest's `config`.
    pub query: Query,
    /// Whose it must be.
    pub owner: ResourceRef,
    /// Of which manifest set.
    pub set: String,
    /// An applied field that its marker must still have, with this value: numbers are used again, and its owner may be the same.
    pub applied: Option<(String, String)>,
}

/// One API call with its circumstances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it does, in a few words: `clone from 9000`.
    pub title: String,
    /// The call, complete.
    pub call: Call,
    /// What its answer must be.
    pub expect: Expect,
    /// What it does to a running guest.
    pub impact: Impact,
    /// What must have room before it starts.
    pub limits: Vec<Limit>,
    /// What is read right before it: where that fails, it is not sent.
    pub first: Option<Query>,
    /// What is checked again right before it.
    pub guard: Option<Guard>,
    /// How long after its end what it asked for begins to show: the HA manager looks every ten seconds.
    pub settles: Option<Duration>,
    /// The list in which the call names a position.
    pub rows: Option<Rows>,
    /// Its answer, a text, goes with every later request of the same delta.
    pub keeps: Option<Keeps>,
    /// Its answer holds a secret that is told once.
    pub saves: Option<Saves>,
    /// What is sent where this fails, whatever became of it.
    pub undo: Option<Box<Step>>,
}

/// What becomes of an answer that later requests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeps {
    /// The parameter that it is in them.
    pub param: &'static str,
    /// What is to be done where it was lost; the same is not asked twice.
    pub lost: &'static str,
}

/// Where a secret goes that an answer tells once, as its member `value`. The file is made before the request is sent, so that
/// nothing is made whose secret cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saves {
    /// The file, which must not be there.
    pub file: String,
    /// What stands before the secret in it: `ops@pve!ci=`.
    pub before: String,
}

/// Steps of several resources that take effect together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Resources with the same are of the same batch.
    pub name: &'static str,
    /// What comes before all their steps.
    pub open: Vec<Step>,
    /// What comes after all their steps.
    pub close: Step,
    /// It takes up what was left half done; then its opening is that of all.
    pub resumes: bool,
}

impl Step {
    /// A step that is done when answered, with no limits.
    pub fn new(title: impl Into<String>, call: Call, impact: Impact) -> Step {
        Step {
            title: title.into(),
            call,
            expect: Expect::Value,
            impact,
            limits: Vec::new(),
            first: None,
            guard: None,
            settles: None,
            rows: None,
            keeps: None,
            saves: None,
            undo: None,
        }
    }

    /// The same as a task on a node.
    pub fn task(mut self, node: &str) -> Step {
        self.expect = Expect::Task;
        self.limits.push(Limit::Node(node.to_owned()));
        self
    }

    /// The same, with a wait after it until what it asked for begins to show.
    pub fn settles(mut self, wait: Duration) -> Step {
        self.settles = Some(wait);
        self
    }

    /// The same under one more limit.
    pub fn limit(mut self, limit: Limit) -> Step {
        self.limits.push(limit);
        self
    }
}

/// Why nothing is done now, though something could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Another resource must be there first.
    Waiting(ResourceRef),
    /// PVE holds a lock on the guest.
    Locked(String),
    /// The node does not answer: nothing is known, so nothing is done.
    NodeOffline(String),
    /// Which object it is cannot be told yet: why.
    Unsettled(String),
    /// The guest is on another node than its manifest says. Nothing moves it.
    Elsewhere {
        /// Where it is.
        node: String,
        /// Where it shall be.
        wanted: String,
    },
    /// The manifest says `pvectl/paused`.
    Paused,
    /// Changes wait for the guest's next start; the keys.
    RebootRequired(Vec<String>),
    /// It is as its manifest says and yet has no effect: why, and what to do.
    Toothless(String),
    /// Whether its snapshots or backups are as new as they shall be.
    Fresh {
        /// Which.
        copies: Copies,
        /// What is too old, in words; `None`: nothing is.
        late: Option<String>,
    },
    /// It is as its manifest says, and a person should look at it all the same.
    Warning(String),
    /// Something to know.
    Info(String),
}

/// Copies of a guest that grow old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// Snapshots.
    Snapshots,
    /// Backups.
    Backups,
}

impl Note {
    /// The text of something to know; `None` for a reason.
    pub fn info(&self) -> Option<&str> {
        if let Note::Info(text) = self { Some(text) } else { None }
    }
}

/// Why nothing may be done: found before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field of the spec that it is about; empty for the whole resource.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    /// A problem with a field, given as `a.b.c`; empty for the whole.
    pub fn new(path: &str, message: impl Into<String>) -> Problem {
        let path = path.split('.').filter(|p| !p.is_empty()).map(str::to_owned).collect();
        Problem { path, message: message.into(), help: None }
    }

    /// The same with advice.
    pub fn help(self, help: impl Into<String>) -> Problem {
        Problem { help: Some(help.into()), ..self }
    }
}

/// The label of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Nothing differs.
    NoOp,
    /// It is not there and shall be.
    Create,
    /// It is there and differs.
    Update,
    /// It is there and shall not be.
    Delete,
}

impl Action {
    /// The word that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::NoOp => "unchanged",
            Action::Create => "create",
            Action::Update => "update",
            Action::Delete => "delete",
        }
    }
}

/// All that is to be said and done about one resource. Steps run in their order, and stop at the first failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Which resource.
    pub resource: ResourceRef,
    /// Which object of the cluster; `None` while nothing is allotted.
    pub identity: Option<Identity>,
    /// The label.
    pub action: Action,
    /// For people.
    pub changes: Vec<Change>,
    /// For the machine.
    pub steps: Vec<Step>,
    /// Why nothing is done now.
    pub notes: Vec<Note>,
    /// Why nothing may be done.
    pub problems: Vec<Problem>,
    /// Resources whose steps come first, and without which its own are not sent.
    pub after: Vec<ResourceRef>,
    /// Resources whose steps come first in the same round. Where they fail, it is its turn in the next.
    pub behind: Vec<ResourceRef>,
    /// What its steps take effect with; they may be none, and it is still to be closed.
    pub batch: Option<Batch>,
    /// When there is something to do by the passing of time alone, in seconds since 1970.
    pub next: Option<i64>,
    /// When the newest good copy of it was made, in seconds since 1970, where it is about copies.
    pub newest: Option<i64>,
}

impl Delta {
    /// A delta that does nothing.
    pub fn none(resource: ResourceRef, identity: Option<Identity>) -> Delta {
        Delta {
            resource,
            identity,
            action: Action::NoOp,
            changes: Vec::new(),
            steps: Vec::new(),
            notes: Vec::new(),
            problems: Vec::new(),
            after: Vec::new(),
            behind: Vec::new(),
            batch: None,
            next: None,
            newest: None,
        }
    }

    /// Whether it is not as it shall be, or could not be looked at.
    pub fn is_open(&self) -> bool {
        self.action != Action::NoOp || self.unseen().is_some()
    }

    /// The node that does not answer and hides it, if so.
    pub fn unseen(&self) -> Option<&str> {
        self.notes.iter().find_map(|n| if let Note::NodeOffline(node) = n { Some(node.as_str()) } else { None })
    }

    /// The worst impact of its steps.
    pub fn impact(&self) -> Impact {
        self.steps.iter().map(|s| s.impact).max().unwrap_or(Impact::None)
    }
}
