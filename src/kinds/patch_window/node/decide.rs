//! What is next for one node, told from what is seen alone.

use crate::base::id::VmId;
use crate::host::state::{Changed, JobState, Phase};
use crate::kinds::patch_window::decide::{End, Progress};
use crate::kinds::patch_window::inside::{Inside, last_words, not_well};
use crate::kinds::patch_window::node::seen::Node;
use crate::kinds::patch_window::outcome::of_stamp;
use crate::kinds::patch_window::spec::{Migrate, PatchWindowSpec, Reboot};
use crate::kinds::patch_window::window::{Opening, Window, late};
use crate::resource::index::GuestRow;
use std::collections::BTreeSet;

/// A job that gave no sign of life for so long, in seconds, is looked after.
const BEAT_MAX: i64 = 600;
/// So long after the end of its opening what has not come back is given up, in seconds.
const PAST: i64 = 1800;
/// How often the index of packages may fail to be fetched.
const FETCHES_MAX: usize = 3;
/// In the note that all is back: a guest that is not.
const MISSING: &str = "not-back";
/// How often an upgrade is tried anew when it was killed.
const ATTEMPTS_MAX: u8 = 3;
/// What an upgrade with its reboot takes on a node that never had one here, in seconds.
const ESTIMATE: i64 = 2700;

/// What an upgrade of a node takes, in seconds, to the end of the look whether it is well.
pub fn estimate(node: &Node<'_>) -> i64 {
    node.inside.took(&["-upgrade"]).map_or(ESTIMATE, |took| took.saturating_add(900))
}

/// The note of what was there before.
pub const DRAIN: &str = "drain";
/// The note that all is back.
pub const BACK: &str = "back";
/// In a note: how it ended.
const OUTCOME: &str = "outcome";
/// In the note of what was there: the node was in maintenance, the flag was set.
const MAINTENANCE: &str = "maintenance";
const NOOUT: &str = "noout";
/// In the note of what was there: a guest that ran.
const RAN: &str = "running";

/// How a guest is dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// It goes to another node.
    Move(VmId, String),
    /// It is started where it is.
    Start(VmId),
}

/// One thing that is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeAct {
    /// Fetch the index of packages.
    Refresh,
    /// Write down what is there.
    Note(&'static str, Vec<(String, String)>),
    /// Tell the HA manager.
    Maintenance(bool),
    /// Tell Ceph.
    NoOut(bool),
    /// Guests go, or come back.
    Guests(Vec<Transfer>),
    /// `dist-upgrade`.
    Upgrade(u8),
    /// Look whether a job still runs.
    Revive(String),
    /// Reboot it.
    Reboot,
    /// Look whether it is well.
    Health(u8),
}

/// What is next for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDecision {
    /// The opening that it is about.
    pub slot: i64,
    /// How far it is.
    pub progress: Progress,
    /// What is done next, if anything.
    pub act: Option<NodeAct>,
    /// A reboot is needed and not given: why it is needed.
    pub reboot: Option<String>,
}

/// What a decision looks at besides the node.
#[derive(Clone, Copy)]
pub struct NodeScene<'a> {
    /// The window.
    pub spec: &'a PatchWindowSpec,
    /// When it is open.
    pub window: &'a Window,
    /// Its newest opening.
    pub opening: Option<Opening>,
    /// The present moment, in seconds since 1970.
    pub now: i64,
    /// What the nodes of the waves before got; `None` for the first.
    pub canaries: Option<&'a BTreeSet<(String, String)>>,
    /// Nothing new is started: why.
    pub halted: Option<&'a str>,
}

fn working(slot: i64, what: &str, act: NodeAct) -> NodeDecision {
    NodeDecision { slot, progress: Progress::Working(what.to_owned()), act: Some(act), reboot: None }
}

fn waits(slot: i64, what: impl Into<String>) -> NodeDecision {
    NodeDecision { slot, progress: Progress::Working(what.into()), act: None, reboot: None }
}

fn ended(slot: i64, end: End) -> NodeDecision {
    NodeDecision { slot, progress: Progress::Ended(end), act: None, reboot: None }
}

/// What a node got in an opening.
pub fn got<'a>(node: &'a Node<'_>, slot: i64) -> impl Iterator<Item = (String, String)> + 'a {
    let upgrade = node.inside.latest(slot, "upgrade").map(|(_, job)| job).filter(|job| job.exit == Some(0));
    upgrade.into_iter().flat_map(|job| job.changed.iter().map(|Changed { name, to, .. }| (name.clone(), to.clone())))
}

/// Why an upgrade is not good; `None`: it is, or there was none.
fn trouble(node: &Node<'_>, slot: i64) -> Option<String> {
    if let Some((_, upgrade)) = node.inside.latest(slot, "upgrade") {
        match (upgrade.phase, upgrade.exit) {
            (Phase::Died, _) => return Some("the upgrade was killed in the middle".to_owned()),
            (Phase::Done, Some(0)) | (Phase::Running, _) => {}
            (Phase::Done, code) => {
                let code = code.map_or_else(|| "nothing".to_owned(), |code| code.to_string());
                return Some(format!("the upgrade ended with {code}{}", last_words(upgrade)));
            }
        }
    }
    let (_, health) = node.inside.latest(slot, "health")?;
    if health.phase == Phase::Died {
        return Some("the look whether it is well was killed".to_owned());
    }
    if health.phase != Phase::Done || health.exit == Some(0) {
        return None;
    }
    Some(not_well(health))
}

impl NodeScene<'_> {
    /// What is next for a node; `None` where no opening concerns it.
    pub fn decide(&self, node: &Node<'_>) -> Option<NodeDecision> {
        let slot = self.begun(node).or(self.opening.map(|opening| opening.slot))?;
        Some(match &node.inside {
            Inside::Read { boot, .. } => self.read(node, slot, boot),
            // Whatever hides it: it may be in the middle of something, and while it is, no other node may go.
            Inside::Away(why) | Inside::Silent(why) if self.is_open(slot) => waits(slot, why.clone()),
            Inside::Away(why) | Inside::Shut(why) | Inside::Silent(why) => ended(slot, End::LeftOut(why.clone())),
            Inside::Off => ended(slot, End::LeftOut("it does not run".to_owned())),
        })
    }

    /// The oldest opening that was begun on it and has not ended.
    fn begun(&self, node: &Node<'_>) -> Option<i64> {
        let state = node.inside.state()?;
        let began = state.jobs.iter().filter_map(|job| job.name.strip_suffix(&format!("-{DRAIN}")));
        let open = began.filter(|slot| state.job(&format!("{slot}-{BACK}")).is_none());
        open.filter_map(of_stamp).min()
    }

    /// The opening of a slot, whoever opened it, is open.
    fn is_open(&self, slot: i64) -> bool {
        self.window.opening(slot).is_open(self.now)
    }

    /// The opening of a slot was over long ago: what has not come back since then is given up.
    fn is_past(&self, slot: i64) -> bool {
        self.now >= self.window.opening(slot).end.saturating_add(PAST)
    }

    /// Why nothing may be changed on it in this opening any more.
    fn late(&self, node: &Node<'_>, slot: i64) -> Option<String> {
        late(self.window.opening(slot), self.now, self.halted, estimate(node))
    }

    fn read(&self, node: &Node<'_>, slot: i64, boot: &str) -> NodeDecision {
        if let Some((_, back)) = node.inside.latest(slot, BACK) {
            let missing: Vec<&str> =
                back.notes.iter().filter(|(_, value)| *value == MISSING).map(|(key, _)| key.as_str()).collect();
            let lost = (!missing.is_empty()).then(|| format!("did not come back: {}", missing.join(", ")));
            let why = match (trouble(node, slot), lost) {
                (Some(why), Some(lost)) => Some(format!("{why}; {lost}")),
                (why, lost) => why.or(lost),
            };
            let end = match (why, back.notes.get(OUTCOME).map(String::as_str)) {
                (Some(why), _) => End::Failed(why),
                (None, Some("updated")) => End::Updated,
                (None, _) => End::LeftOut("the window closed before it was upgraded".to_owned()),
            };
            let mut decision = ended(slot, end);
            let upgrade = node.inside.latest(slot, "upgrade").map(|(_, job)| job);
            decision.reboot = upgrade.filter(|job| job.boot == boot).and_then(|job| job.reboot.clone());
            return decision;
        }
        let Some((_, drain)) = node.inside.latest(slot, DRAIN) else { return self.fresh(node, slot) };
        let Some((attempt, upgrade)) = node.inside.latest(slot, "upgrade") else {
            return self.drain(node, slot, drain);
        };
        match upgrade.phase {
            Phase::Running => return self.runs(slot, upgrade, boot, "upgrading"),
            Phase::Died if attempt < ATTEMPTS_MAX && self.is_open(slot) => {
                return working(slot, "upgrading: it was killed in the middle", NodeAct::Upgrade(attempt + 1));
            }
            Phase::Died => return self.bring_back(node, slot, drain, "failed"),
            Phase::Done if upgrade.exit != Some(0) => return self.bring_back(node, slot, drain, "failed"),
            Phase::Done => {}
        }
        let wanted = match self.spec.reboot {
            Reboot::Always => true,
            Reboot::IfRequired => upgrade.reboot.is_some(),
            Reboot::Never => false,
        };
        if wanted && upgrade.boot == boot && self.is_open(slot) {
            return working(slot, "rebooting", NodeAct::Reboot);
        }
        match node.inside.latest(slot, "health") {
            None => return working(slot, "looking whether it is well", NodeAct::Health(1)),
            Some((_, health)) if health.phase == Phase::Running => {
                return self.runs(slot, health, boot, "looking whether it is well");
            }
            Some((attempt, health)) if health.phase == Phase::Died && attempt < ATTEMPTS_MAX => {
                return working(slot, "looking whether it is well", NodeAct::Health(attempt + 1));
            }
            Some(_) => {}
        }
        let outcome = if trouble(node, slot).is_some() { "failed" } else { "updated" };
        self.bring_back(node, slot, drain, outcome)
    }

    fn runs(&self, slot: i64, job: &JobState, boot: &str, what: &str) -> NodeDecision {
        if boot != job.boot || self.now.saturating_sub(job.beat) > BEAT_MAX {
            return working(slot, what, NodeAct::Revive(job.name.clone()));
        }
        if self.is_past(slot) {
            return waits(
                slot,
                format!("`{}` still runs long after the window has closed: look at it on the node", job.name),
            );
        }
        waits(slot, what)
    }

    /// Nothing was begun on it in this opening.
    fn fresh(&self, node: &Node<'_>, slot: i64) -> NodeDecision {
        let idle = |act: Option<NodeAct>| NodeDecision { slot, progress: Progress::Idle, act, reboot: None };
        if !self.is_open(slot) {
            return idle(None);
        }
        if self.spec.before.refresh_index && !node.refreshed {
            let (times, last) = &node.unfetched;
            return if node.refreshing {
                waits(slot, "fetching the index of packages")
            } else if *times >= FETCHES_MAX {
                ended(slot, End::LeftOut(format!("its index of packages could not be fetched: {last}")))
            } else {
                idle(Some(NodeAct::Refresh))
            };
        }
        // What an upgrade left that was killed waits in no list: the next one repairs it.
        let newest =
            node.inside.state().and_then(|state| state.jobs.iter().rev().find(|job| job.name.contains("-upgrade")));
        let half = newest.is_some_and(|job| job.phase == Phase::Died);
        let pending = match &node.pending {
            Ok(pending) if pending.is_empty() && !half => return ended(slot, End::UpToDate),
            Ok(pending) => pending,
            Err(why) => return ended(slot, End::LeftOut(why.clone())),
        };
        if let Some(canaries) = self.canaries {
            let other = pending.iter().find(|one| !canaries.contains(&(one.name.clone(), one.to.clone())));
            if let Some(Changed { name, to, .. }) = other {
                let why =
                    format!("{name} {to} is not what the nodes of the wave before got; a node takes all or nothing");
                return ended(slot, End::LeftOut(why));
            }
        }
        if let Some(why) = self.late(node, slot) {
            return ended(slot, End::LeftOut(format!("not begun: {why}")));
        }
        let flag = |on: bool| if on { "1" } else { "0" }.to_owned();
        let mut lines = vec![(MAINTENANCE.to_owned(), flag(node.maintenance == Some(true)))];
        lines.extend(node.ceph.as_ref().map(|ceph| (NOOUT.to_owned(), flag(ceph.noout))));
        let running = node.here().filter(|row| row.status == "running");
        lines.extend(running.map(|row| (row.vmid.to_string(), RAN.to_owned())));
        idle(Some(NodeAct::Note(DRAIN, lines)))
    }

    /// Guests leave, then the upgrade begins.
    fn drain(&self, node: &Node<'_>, slot: i64, drain: &JobState) -> NodeDecision {
        if self.late(node, slot).is_some() {
            return self.bring_back(node, slot, drain, "left");
        }
        if node.ceph.as_ref().is_some_and(|ceph| !ceph.noout) {
            return working(slot, "telling Ceph", NodeAct::NoOut(true));
        }
        if self.spec.drain.node_maintenance && node.ha {
            if node.maintenance != Some(true) {
                return working(slot, "into maintenance", NodeAct::Maintenance(true));
            }
            let left = node.here().filter(|row| row.ha_managed() && row.status == "running").count();
            if left > 0 {
                return waits(slot, format!("the HA manager moves {left} guests away"));
            }
        }
        if self.spec.drain.migrate != Migrate::Never {
            let mut free = node.free.clone();
            let mut moves = Vec::new();
            for row in node.here().filter(|row| row.status == "running" && !row.ha_managed()) {
                // Each takes its room from those that come after it.
                let room = |to: &&String| free.get(*to).is_some_and(|free| *free > row.memory);
                let ways = node.ways.get(&row.vmid).into_iter().flatten().filter(room);
                let Some(to) = ways.max_by_key(|to| free.get(*to).copied().unwrap_or(0)).cloned() else { continue };
                free.entry(to.clone()).and_modify(|free| *free = free.saturating_sub(row.memory));
                moves.push(Transfer::Move(row.vmid, to));
            }
            if !moves.is_empty() {
                return working(slot, "guests leave", NodeAct::Guests(moves));
            }
            // One that was shut down to be moved, and was not started where it is now.
            let stopped = |row: &&GuestRow| row.node != node.name && row.status == "stopped";
            let starts: Vec<Transfer> =
                self.ran(node, drain).filter(stopped).map(|row| Transfer::Start(row.vmid)).collect();
            if !starts.is_empty() {
                return working(slot, "guests leave", NodeAct::Guests(starts));
            }
        }
        working(slot, "upgrading", NodeAct::Upgrade(1))
    }

    /// The guests that ran on it before, as they are now. What the HA manager looks after is its business.
    fn ran<'a>(&self, node: &'a Node<'_>, drain: &'a JobState) -> impl Iterator<Item = &'a GuestRow> {
        let ran = drain.notes.iter().filter(|(_, value)| *value == RAN);
        let vmids = ran.filter_map(|(key, _)| VmId::new(key.parse().ok()?));
        vmids.filter_map(|vmid| node.guests.get(&vmid)).map(AsRef::as_ref).filter(|row| !row.ha_managed())
    }

    /// What was there comes back, then the end is written down. A node that is not well keeps nothing but what is on it: what
    /// runs elsewhere stays there, and the HA manager keeps away from it until a person has looked.
    fn bring_back(&self, node: &Node<'_>, slot: i64, drain: &JobState, outcome: &'static str) -> NodeDecision {
        let noted = |key: &str| drain.notes.get(key).map(String::as_str);
        let (failed, past) = (outcome == "failed", self.is_past(slot));
        if self.spec.drain.node_maintenance && node.ha && !failed && noted(MAINTENANCE) == Some("0") {
            match node.maintenance {
                Some(true) => return working(slot, "out of maintenance", NodeAct::Maintenance(false)),
                None if !past => return waits(slot, "whether it is in maintenance could not be asked"),
                Some(false) | None => {}
            }
        }
        if noted(NOOUT) == Some("0") {
            match &node.ceph {
                Some(ceph) if ceph.noout => return working(slot, "telling Ceph", NodeAct::NoOut(false)),
                None if !past => return waits(slot, "whether Ceph's noout is set could not be asked"),
                Some(_) | None => {}
            }
        }
        let back = |row: &GuestRow| {
            if row.lock.is_some() {
                None
            } else if !failed
                && row.node != node.name
                && self.spec.drain.migrate != Migrate::Never
                && row.status == "running"
            {
                Some(Transfer::Move(row.vmid, node.name.to_owned()))
            } else {
                (row.status == "stopped").then_some(Transfer::Start(row.vmid))
            }
        };
        let transfers: Vec<Transfer> = self.ran(node, drain).filter_map(back).collect();
        if !transfers.is_empty() && !past {
            return working(slot, "guests come back", NodeAct::Guests(transfers));
        }
        let unsure = |row: &&GuestRow| row.lock.is_some() || !matches!(row.status.as_str(), "running" | "stopped");
        if self.ran(node, drain).any(|row| unsure(&row)) && !past {
            return waits(slot, "guests come back");
        }
        let missing = self.ran(node, drain).filter(|row| row.status != "running");
        let lines = missing.map(|row| (format!("guest-{}", row.vmid), MISSING.to_owned()));
        let lines = std::iter::once((OUTCOME.to_owned(), outcome.to_owned())).chain(lines);
        working(slot, "ending", NodeAct::Note(BACK, lines.collect()))
    }
}
