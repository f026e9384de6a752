//! A deed by hand on one guest: what all of them read, and what stands against any of them: a node that does not answer, no
//! quorum, PVE's lock, a privilege that is missing.

use crate::base::id::{GuestType, VmId};
use crate::base::links::Links;
use crate::kinds::guest::hand::backup::{self, Backup};
use crate::kinds::guest::hand::clone::{self, Clone};
use crate::kinds::guest::hand::half_made;
use crate::kinds::guest::hand::migrate::{self, Migrate};
use crate::kinds::guest::hand::power::{self, Power};
use crate::kinds::guest::hand::snapshot::{self, Snapshot};
use crate::kinds::guest::hand::target::Target;
use crate::pve::error::Refusal;
use crate::pve::request::{Call, Query};
use crate::resource::hand::{Hand, Proof};
use crate::resource::index::{GuestRow, Index, number, text};
use crate::resource::kind::PlanContext;
use crate::resource::merge::Cause;
use crate::resource::observation::Observation;
use crate::resource::privilege::require_any;
use crate::resource::reference::Identity;
use crate::resource::step::{Action, Change, Delta, Impact, Note, Problem, Step};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Tasks of one guest that a look at its list shows.
const TASKS_SHOWN: u32 = 50;

/// What is done.
#[derive(Debug)]
pub enum Deed {
    /// Start, stop, shut down, restart.
    Power(Power),
    /// A copy, perhaps out of a snapshot.
    Clone(Clone),
    /// To another node.
    Migrate(Migrate),
    /// Take, delete or go back to a snapshot.
    Snapshot(Snapshot),
    /// Back it up.
    Backup(Backup),
}

/// A deed on a guest.
#[derive(Debug)]
pub struct ByHand {
    /// Which guest.
    pub target: Target,
    /// What.
    pub deed: Deed,
}

/// A guest as one look shows it.
pub struct Scene<'a> {
    /// Which guest.
    pub target: &'a Target,
    /// Its row.
    pub row: &'a GuestRow,
    /// Everything seen.
    pub seen: &'a Observation,
    /// What was seen before the request.
    pub before: Option<&'a Observation>,
    /// `status/current`.
    pub current: Option<&'a Value>,
}

/// `/nodes/NODE/TYPE/VMID`.
pub fn base(row: &GuestRow) -> String {
    format!("/nodes/{}/{}/{}", row.node, row.guest, row.vmid)
}

/// The read of what a guest does this moment; the index shows what was so some seconds ago.
pub fn current_query(row: &GuestRow) -> Query {
    Query::new(format!("{}/status/current", base(row)))
}

impl Scene<'_> {
    /// Whether nothing was sent yet.
    pub fn is_first(&self) -> bool {
        self.before.is_none()
    }

    /// Whether it runs (or is paused).
    pub fn running(&self) -> bool {
        self.current.map_or(self.row.status == "running", |c| c["status"] == "running")
    }

    /// `running`, `stopped` or `paused`.
    pub fn power(&self) -> &'static str {
        match (self.running(), self.current.is_some_and(|c| c["qmpstatus"] == "paused")) {
            (true, true) => "paused",
            (true, false) => "running",
            (false, _) => "stopped",
        }
    }

    /// Whether the HA manager looks after it.
    pub fn managed(&self) -> bool {
        self.current.is_some_and(|c| number(&c["ha"]["managed"]) == Some(1))
    }

    /// PVE's word for it.
    pub fn word(&self) -> &'static str {
        if self.row.guest == GuestType::Qemu { "VM" } else { "CT" }
    }

    /// PVE's lock, or the task that works on it.
    pub fn lock(&self) -> Option<String> {
        self.current.and_then(|c| text(&c["lock"])).or_else(|| self.row.lock.clone()).filter(|l| !l.is_empty())
    }

    /// Demands one of the privileges on a path.
    pub fn require(&self, delta: &mut Delta, path: &str, privileges: &[&str]) {
        if !self.is_first() {
            return;
        }
        let identity = identity(self.row);
        let cx = PlanContext {
            resource: &self.target.resource,
            identity: &identity,
            set: "",
            seen: self.seen,
            identities: &BTreeMap::new(),
            leaving: &BTreeSet::new(),
            going: false,
            retain: false,
            member_of: None,
            adopt: false,
            root_ticket: false,
            links: &Links::None,
            left_lock: None,
            annotations: &BTreeMap::new(),
        };
        require_any(&cx, delta, &[path.to_owned()], privileges);
    }

    /// Demands one of the privileges on the guest.
    pub fn require_here(&self, delta: &mut Delta, privileges: &[&str]) {
        self.require(delta, &format!("/vms/{}", self.row.vmid), privileges);
    }

    /// Says something, before anything is sent.
    pub fn say(&self, delta: &mut Delta, words: impl Into<String>) {
        if self.is_first() {
            delta.notes.push(Note::Info(words.into()));
        }
    }

    /// Something stands against it; once it was sent, nothing does any more.
    pub fn refuse(&self, delta: &mut Delta, message: impl Into<String>, help: impl Into<String>) {
        if self.is_first() {
            delta.problems.push(Problem::new("", message).help(help));
        }
    }
}

/// It is not as it was asked: what changes, and the step that does it.
pub fn open(delta: &mut Delta, path: &str, from: Option<&str>, to: Option<&str>, step: Step) {
    delta.action = Action::Update;
    delta.changes.push(Change {
        path: path.to_owned(),
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
        cause: Cause::Change,
        impact: step.impact,
    });
    delta.steps.push(step);
}

fn identity(row: &GuestRow) -> Identity {
    Identity::Guest { guest: row.guest, vmid: row.vmid, node: row.node.clone() }
}

impl ByHand {
    fn row<'a>(&self, index: &'a Index) -> Option<&'a Arc<GuestRow>> {
        index.guests.get(&self.target.vmid)
    }

    fn deed(&self, scene: &Scene<'_>, delta: &mut Delta) {
        match &self.deed {
            Deed::Power(power) => power::plan(power, scene, delta),
            Deed::Clone(clone) => clone::plan(clone, scene, delta),
            Deed::Migrate(migrate) => migrate::plan(migrate, scene, delta),
            Deed::Snapshot(snapshot) => snapshot::plan(snapshot, scene, delta),
            Deed::Backup(backup) => backup::plan(backup, scene, delta),
        }
    }

    /// What had to be known and could not be read. A precheck that this version does not have is none, and the task list is
    /// for the worst case only.
    fn unread(&self, seen: &Observation) -> Vec<Problem> {
        let tasks = self.tasks(seen);
        let reads = self.reads(&seen.index, true).into_iter().filter(|query| tasks.as_ref() != Some(query));
        let failed = reads.filter_map(|query| match seen.answer(&query) {
            Some(Err(error)) if error.refusal() != Some(Refusal::Unsupported) => Some(error),
            Some(_) | None => None,
        });
        failed
            .map(|error| {
                let problem = Problem::new("", format!("what it takes could not be read: {error}"));
                Problem { help: error.hint(), ..problem }
            })
            .collect()
    }

    /// Whether the deed is one that this lock does not hold up.
    fn passes(&self, lock: &str) -> bool {
        match &self.deed {
            Deed::Power(power) => power::passes(power, lock),
            Deed::Clone(_) | Deed::Migrate(_) | Deed::Snapshot(_) | Deed::Backup(_) => false,
        }
    }
}

/// The tasks of a guest, the latest first.
pub fn tasks_query(row: &GuestRow) -> Query {
    tasks_of(&row.node, row.vmid)
}

/// The tasks of a guest on a node, where it may not be yet.
pub fn tasks_of(node: &str, vmid: VmId) -> Query {
    Query::new(format!("/nodes/{node}/tasks")).with("vmid", vmid).with("source", "all").with("limit", TASKS_SHOWN)
}

impl Hand for ByHand {
    fn reads(&self, index: &Index, first: bool) -> BTreeSet<Query> {
        let Some(row) = self.row(index) else { return BTreeSet::new() };
        if index.nodes.get(&row.node).is_some_and(|n| !n.online) {
            return BTreeSet::new();
        }
        let mut reads = BTreeSet::from([current_query(row)]);
        if first {
            reads.insert(tasks_query(row));
        }
        match &self.deed {
            Deed::Power(_) => {}
            Deed::Clone(clone) => reads.extend(clone::reads(clone, row, index, first)),
            Deed::Migrate(migrate) => reads.extend(migrate::reads(migrate, row, first)),
            Deed::Snapshot(snapshot) => reads.extend(snapshot::reads(snapshot, row, first)),
            Deed::Backup(backup) => reads.extend(backup::reads(backup, row, index, first)),
        }
        reads
    }

    fn plan(&self, seen: &Observation, before: Option<&Observation>) -> Delta {
        let Some(row) = self.row(&seen.index) else {
            let mut delta = Delta::none(self.target.resource.clone(), None);
            delta.action = Action::Update;
            delta.problems.push(Problem::new("", format!("guest {} is not there any more", self.target.vmid)));
            return delta;
        };
        let mut delta = Delta::none(self.target.resource.clone(), Some(identity(row)));
        if seen.index.nodes.get(&row.node).is_some_and(|n| !n.online) {
            delta.action = Action::Update;
            delta.problems.push(
                Problem::new("", format!("node `{}` does not answer, and guest {} is on it", row.node, row.vmid))
                    .help("look at it with pvecm status, or wait until it is back"),
            );
            return delta;
        }
        let answer = seen.answer(&current_query(row));
        let current = answer.and_then(|a| a.as_ref().ok()).map(Arc::as_ref);
        let scene = Scene { target: &self.target, row, seen, before, current };
        scene.require_here(&mut delta, &["VM.Audit"]);
        if let (Some(Err(error)), true) = (answer, delta.problems.is_empty()) {
            delta.action = Action::Update;
            delta.problems.push(Problem::new("", format!("guest {} could not be looked at: {error}", row.vmid)));
            return delta;
        }
        self.deed(&scene, &mut delta);
        if before.is_none() && delta.problems.is_empty() && delta.action != Action::NoOp {
            delta.problems.extend(self.unread(seen));
        }
        if delta.action == Action::NoOp && !scene.lock().is_some_and(|l| !scene.is_first() && !self.passes(&l)) {
            return delta;
        }
        if seen.index.quorate == Some(false) {
            scene.refuse(
                &mut delta,
                "the cluster has no quorum, so nothing can be written",
                "bring nodes back; pvecm status shows the votes",
            );
        }
        match scene.lock().filter(|lock| !self.passes(lock)) {
            Some(lock) if scene.is_first() => {
                let runs = seen.value(&tasks_query(row)).is_some_and(half_made::task_runs);
                let help = if half_made::is_left(Some(&lock), runs) {
                    half_made::unlocked_first(row)
                } else {
                    let unlock = half_made::unlock(row);
                    format!(
                        "wait until its task has ended; if there is none any more, as root on node {}: {unlock}",
                        row.node
                    )
                };
                scene.refuse(&mut delta, format!("{} {} is locked ({lock})", scene.word(), row.vmid), help);
            }
            Some(lock) => {
                delta.action = Action::Update;
                delta.notes.push(Note::Locked(lock));
            }
            None => {}
        }
        if self.target.marker.is_none() {
            scene.say(&mut delta, "pvectl does not own it; this is done because it was named");
        }
        delta
    }

    fn tasks(&self, seen: &Observation) -> Option<Query> {
        self.row(&seen.index).map(|row| tasks_query(row))
    }

    fn task_types(&self) -> &'static [&'static str] {
        match &self.deed {
            Deed::Power(power) => power::task_types(power),
            Deed::Clone(_) => &["qmclone", "vzclone"],
            Deed::Migrate(_) => &["qmigrate", "vzmigrate", "hamigrate"],
            Deed::Snapshot(snapshot) => snapshot::task_types(snapshot),
            Deed::Backup(_) => &["vzdump"],
        }
    }

    fn proof(&self) -> Proof {
        match &self.deed {
            Deed::Power(_) | Deed::Migrate(_) => Proof::State,
            Deed::Clone(_) | Deed::Backup(_) => Proof::Made,
            Deed::Snapshot(Snapshot::Rollback { .. }) => Proof::Task,
            Deed::Snapshot(Snapshot::Create { .. } | Snapshot::Delete { .. }) => Proof::Made,
        }
    }

    fn patience(&self) -> Duration {
        match &self.deed {
            Deed::Power(power) => power::patience(power),
            // The HA manager looks every ten seconds, and then moves memory and disks.
            Deed::Migrate(_) => Duration::from_secs(600),
            Deed::Clone(_) | Deed::Snapshot(_) | Deed::Backup(_) => Duration::from_secs(20),
        }
    }
}

/// `task` of a step on the node of a guest.
pub fn task(title: String, call: Call, impact: Impact, row: &GuestRow) -> Step {
    Step::new(title, call, impact).task(&row.node)
}
