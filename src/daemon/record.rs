//! What the daemon tells of itself, as values: the store keeps them, HTTP serves them, reports and messages render them.
//! These shapes are a promise to whoever reads the API or the store. Times are milliseconds since the epoch.

use crate::daemon::runners::past::Known as Runners;
use crate::daemon::runners::{BudgetRecord, PoolRecord};
use crate::daemon::windows::WindowRecord;
use crate::daemon::windows::news::Known;
use crate::github::place::SecretRef;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a source may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mode {
    /// Report only.
    Observe,
    /// Plan, and wait for `pvectl approve`.
    #[default]
    Propose,
    /// Make the cluster as the manifests say, and heal drift.
    Enforce,
}

impl Mode {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Observe => "Observe",
            Mode::Propose => "Propose",
            Mode::Enforce => "Enforce",
        }
    }
}

/// A claim about an object or a source, as Kubernetes has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionRecord {
    /// `Ready`, `Synced`, `Drifted`, …
    #[serde(rename = "type")]
    pub condition: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// When `status` last changed.
    pub last_transition_ms: u64,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FieldRecord {
    /// The field in the manifest's words.
    pub path: String,
    /// What the cluster holds; absent for PVE's default.
    pub from: Option<String>,
    /// What the manifest says; absent for PVE's default.
    pub to: Option<String>,
    /// `change`, `drift`, `conflict`, `removed`.
    pub cause: String,
    /// What setting it right does to a running guest.
    pub impact: String,
}

/// One object of a source, as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRecord {
    /// Whose manifests declare it.
    pub source: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Which object of the cluster it is.
    pub identity: Option<String>,
    /// What the daemon may do to it.
    pub mode: Mode,
    /// `Create`, `Update`, `Delete`, `NoOp`: what is to be done.
    pub action: String,
    /// What differs.
    pub fields: Vec<FieldRecord>,
    /// Claims about it.
    pub conditions: Vec<ConditionRecord>,
    /// The commit or the digest of the manifests that it was compared with.
    pub revision: String,
    /// When it was last compared.
    pub seen_ms: u64,
    /// How often in a row it failed.
    pub failures: u32,
    /// When it is tried again, if it waits.
    pub next_ms: Option<u64>,
    /// The last error, in full.
    pub error: Option<String>,
    /// When the newest good copy of it was made, where it is about copies: a snapshot of one guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_ms: Option<u64>,
}

/// Who changed something, as PVE's log or task list tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// `root@pam`.
    pub user: String,
    /// PVE's words: `update VM 101: -cores 8`, or the type of a task.
    pub what: String,
    /// When, by PVE's clock.
    pub at_ms: u64,
}

/// What set drift right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Healer {
    /// A run of ours.
    Pvectl,
    /// Somebody put it back on the cluster.
    Hand,
    /// The manifest was moved to what the cluster holds, or no longer speaks of it.
    Manifest,
}

impl Healer {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Healer::Pvectl => "pvectl",
            Healer::Hand => "hand",
            Healer::Manifest => "manifest",
        }
    }
}

/// One spell of drift of one object: from when it was seen until it was gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftRecord {
    /// Unique: `SOURCE/KIND/NAME@SEEN`.
    pub id: String,
    /// Whose manifests.
    pub source: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Which object of the cluster.
    pub identity: Option<String>,
    /// The fields that drifted, all that were seen in this spell.
    pub fields: Vec<FieldRecord>,
    /// When it was first seen.
    pub seen_ms: u64,
    /// Who did it, where PVE knows.
    pub by: Option<Actor>,
    /// When it was gone; absent while it lasts.
    pub healed_ms: Option<u64>,
    /// What set it right.
    pub healed_by: Option<Healer>,
}

impl DriftRecord {
    /// Since when the cluster differs: PVE's own time where it is known, and when it was seen otherwise.
    pub fn since_ms(&self) -> u64 {
        self.by.as_ref().map_or(self.seen_ms, |by| by.at_ms.min(self.seen_ms))
    }

    /// How long it lasted, or has lasted by `now_ms`.
    pub fn lasted_ms(&self, now_ms: u64) -> u64 {
        self.healed_ms.unwrap_or(now_ms).saturating_sub(self.since_ms())
    }
}

/// Whether an event is worth a person's eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// Things go as they should.
    Normal,
    /// They do not.
    Warning,
}

impl Level {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Normal => "Normal",
            Level::Warning => "Warning",
        }
    }
}

/// A moment worth telling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRecord {
    /// When.
    pub at_ms: u64,
    /// Of which source.
    pub source: String,
    /// Of which object, `Kind/name`.
    pub object: Option<String>,
    /// The commit or digest of the manifests in force.
    pub revision: Option<String>,
    /// Normal or Warning.
    pub level: Level,
    /// One CamelCase word: `DriftSeen`, `DriftHealed`, `Applied`, `ApplyFailed`, `SourceBroken`, `SourceMended`, `Proposed`, …
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// How often in a row the very same was told.
    pub count: u32,
}

/// One run of the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRecord {
    /// Unique among the runs of a daemon's life and its history.
    pub id: String,
    /// Of which source.
    pub source: String,
    /// The commit or digest of the manifests.
    pub revision: String,
    /// When it began.
    pub began_ms: u64,
    /// When it ended; absent while it runs.
    pub ended_ms: Option<u64>,
    /// The objects it was for, `Kind/name`.
    pub objects: Vec<String>,
    /// Steps that ended well so far.
    pub steps: usize,
    /// The step of each object in progress, with its percentage where PVE tells one.
    pub doing: BTreeMap<String, String>,
    /// Whether all is as it should be after it; absent while it runs.
    pub converged: Option<bool>,
    /// What failed, by object.
    pub failed: BTreeMap<String, String>,
}

/// How far a proposal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It waits for a person.
    Waiting,
    /// Approved, and not yet done.
    Approved,
    /// Done.
    Done,
    /// Nobody came in time.
    Expired,
    /// What it was made from has changed: another one takes its place.
    Stale,
    /// A person said no.
    Rejected,
}

impl Verdict {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Waiting => "Waiting",
            Verdict::Approved => "Approved",
            Verdict::Done => "Done",
            Verdict::Expired => "Expired",
            Verdict::Stale => "Stale",
            Verdict::Rejected => "Rejected",
        }
    }
}

/// A plan that waits for a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposalRecord {
    /// Short, from what the plan says: the same plan has the same id.
    pub id: String,
    /// Of which source.
    pub source: String,
    /// The commit or digest of the manifests.
    pub revision: String,
    /// The plan as `pvectl plan -o json` prints it.
    pub plan: serde_json::Value,
    /// The plan as people read it, without colour.
    pub text: String,
    /// When it was made.
    pub made_ms: u64,
    /// Until when it may be approved.
    pub expires_ms: u64,
    /// How far it is.
    pub verdict: Verdict,
    /// Who approved or rejected it, as they said.
    pub by: Option<String>,
}

/// A source of manifests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRecord {
    /// Its name.
    pub name: String,
    /// The folder, or the repository with its branch and path; never with a password.
    pub origin: String,
    /// The cluster: a context's name, or `sim`.
    pub cluster: String,
    /// What it may do.
    pub mode: Mode,
    /// What is in force: a commit, or a digest of the files. Empty before the first good reading.
    pub revision: String,
    /// The subject line of the commit in force.
    pub subject: Option<String>,
    /// Ready, Degraded (with the reason), Suspended.
    pub conditions: Vec<ConditionRecord>,
    /// What is wrong with the newest revision, as `pvectl validate` prints it, without colour; empty if nothing is.
    pub diagnostics: Vec<String>,
    /// When it was last read, well or badly.
    pub read_ms: u64,
    /// When the cluster was last looked at for it.
    pub seen_ms: u64,
    /// Objects declared.
    pub objects: usize,
    /// Of these, Ready.
    pub ready: usize,
    /// Of these, drifted.
    pub drifted: usize,
    /// Who suspended it, and why.
    pub suspended: Option<String>,
}

/// A task of the cluster that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskRecord {
    /// The cluster's name.
    pub cluster: String,
    /// PVE's id of it.
    pub upid: String,
    /// Where.
    pub node: String,
    /// Whose.
    pub user: String,
    /// `qmclone`, `vzdump`, …
    #[serde(rename = "type")]
    pub worker: String,
    /// What it works on: a VMID, a storage.
    pub object: String,
    /// Since when.
    pub began_ms: u64,
}

/// Events and runs kept in memory, whatever the store does.
const RECENT_MAX: usize = 500;

/// Everything that HTTP shows. One writer, the loop; many readers.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// By name.
    pub sources: BTreeMap<String, SourceRecord>,
    /// By source, kind and name.
    pub objects: BTreeMap<(String, String, String), ObjectRecord>,
    /// Drift that lasts.
    pub drift: Vec<DriftRecord>,
    /// By id: those that wait, and the last that ended.
    pub proposals: BTreeMap<String, ProposalRecord>,
    /// Runs in progress, by id.
    pub running: BTreeMap<String, RunRecord>,
    /// Tasks of the clusters that run.
    pub tasks: Vec<TaskRecord>,
    /// The last events, the newest first.
    pub events: VecDeque<EventRecord>,
    /// The last runs that ended, the newest first.
    pub runs: VecDeque<RunRecord>,
    /// Patch windows, by source and name.
    pub windows: BTreeMap<(String, String), WindowRecord>,
    /// What targets of windows got, by id.
    pub patches: Known,
    /// Runner pools, by source and name.
    pub pools: BTreeMap<(String, String), PoolRecord>,
    /// What became of their machines, and their jobs.
    pub runners: Runners,
    /// Where the secrets stand with which GitHub signs what it tells runner pools.
    pub webhook_secrets: BTreeSet<SecretRef>,
    /// What is left of what GitHub lets us ask.
    pub budgets: Vec<BudgetRecord>,
    /// What targets of windows got outlives the daemon.
    pub remembers: bool,
    /// Why the daemon is not ready yet, or no longer; `None`: it is.
    pub unready: Option<String>,
    /// The loop's last turn: an old one means that it hangs.
    pub turned_ms: u64,
}

impl State {
    /// Remembers an event; the very same as the last one of its object only counts it up. Returns the record as it now is.
    pub fn tell(&mut self, event: EventRecord) -> EventRecord {
        let same = |old: &&mut EventRecord| old.source == event.source && old.object == event.object;
        if let Some(old) = self.events.iter_mut().find(same)
            && (old.reason == event.reason && old.message == event.message)
        {
            old.count += 1;
            old.at_ms = event.at_ms;
            return old.clone();
        }
        self.events.push_front(event.clone());
        self.events.truncate(RECENT_MAX);
        event
    }

    /// Remembers a run that ended.
    pub fn ended(&mut self, run: RunRecord) {
        self.running.remove(&run.id);
        self.runs.push_front(run);
        self.runs.truncate(RECENT_MAX);
    }
}
