//! How a window stands, for people and machines: whose turn it is, what waits where, and who needs a reboot.

use crate::host::state::{JobState, Phase, State};
use crate::kinds::patch_window::decide::{End, Progress};
use crate::kinds::patch_window::record::{Present, Rebooted, Record, Target, newest, of_guest, of_node, slot_and_word};
use crate::kinds::patch_window::spec::Updates;
use crate::kinds::patch_window::waves::{NodeTurn, Turn, Turns, Wait};
use std::collections::BTreeSet;

/// How far a target is, in the newest opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stand {
    /// Nothing was begun, and nothing will be before the window opens; why it would be left out then, if it would.
    Idle(String),
    /// It is not its turn: why, where that is known.
    Waiting(String),
    /// Something was begun: what.
    Working(String),
    /// It has ended.
    Ended(End),
}

impl Stand {
    /// In one or two words.
    pub fn word(&self) -> &'static str {
        match self {
            Stand::Idle(_) => "idle",
            Stand::Waiting(_) => "waiting",
            Stand::Working(_) => "working",
            Stand::Ended(end) => end_word(end),
        }
    }

    /// The rest of the sentence; empty where there is none.
    pub fn detail(&self) -> &str {
        match self {
            Stand::Idle(why) | Stand::Waiting(why) | Stand::Working(why) => why,
            Stand::Ended(End::LeftOut(why) | End::Failed(why) | End::WentBack(why)) => why,
            Stand::Ended(End::Updated | End::UpToDate) => "",
        }
    }

    /// It ended badly.
    pub fn is_bad(&self) -> bool {
        match self {
            Stand::Ended(End::Failed(_) | End::WentBack(_)) => true,
            Stand::Ended(End::Updated | End::UpToDate | End::LeftOut(_))
            | Stand::Idle(_)
            | Stand::Waiting(_)
            | Stand::Working(_) => false,
        }
    }
}

/// An end in one or two words.
pub fn end_word(end: &End) -> &'static str {
    match end {
        End::Updated => "updated",
        End::UpToDate => "up to date",
        End::LeftOut(_) => "left out",
        End::Failed(_) => "failed",
        End::WentBack(_) => "went back",
    }
}

/// Updates that wait, as the newest look for them tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Security updates; `None`: it is not told which they are.
    pub security: Option<usize>,
    /// Others.
    pub other: usize,
    /// When they were looked for, in seconds since 1970.
    pub at: i64,
}

/// How a target stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who.
    pub target: Target,
    /// Its wave, from zero.
    pub wave: usize,
    /// How far it is.
    pub stand: Stand,
    /// What waits; `None`: nobody has looked, or it cannot be read just now.
    pub waiting: Option<Waiting>,
    /// Why it needs a reboot; `None`: no need is known.
    pub reboot: Option<String>,
    /// What it got in the openings that can still be told.
    pub records: Vec<Record>,
}

/// How everybody of a window stands: guests, then nodes, each in the order of waves.
pub fn standings(turns: &Turns<'_>, updates: &Updates, now: i64) -> Vec<Standing> {
    let Turns { opening, turns, nodes, halted: _ } = turns;
    let open = opening.is_some_and(|opening| opening.is_open(now));
    let guests = turns.iter().map(|turn| guest(turn, updates, open, now));
    guests.chain(nodes.iter().map(|turn| node(turn, open, now))).collect()
}

fn stand(progress: Option<&Progress>, waits: Option<&Wait>, open: bool, newest: Option<&Record>) -> Stand {
    match (progress, waits) {
        (_, Some(wait)) => Stand::Waiting(wait.why.clone()),
        (Some(Progress::Working(what)), None) if !open && newest.is_none() => Stand::Idle(what.clone()),
        (Some(Progress::Working(what)), None) => Stand::Working(what.clone()),
        // What was in an opening that is over, and left no trace, is not known; what would be in the next one is.
        (Some(Progress::Ended(End::LeftOut(why))), None)
            if !open && newest.is_none_or(|record| record.end.is_none()) =>
        {
            Stand::Idle(why.clone())
        }
        (Some(Progress::Ended(end)), None) => Stand::Ended(end.clone()),
        (Some(Progress::Idle), None) if open => Stand::Waiting(String::new()),
        (Some(Progress::Idle) | None, None) => Stand::Idle(String::new()),
    }
}

/// The record of the opening that a decision is about.
fn of_slot(records: &[Record], slot: Option<i64>) -> Option<&Record> {
    records.iter().find(|record| Some(record.slot) == slot)
}

fn node(turn: &NodeTurn<'_>, open: bool, now: i64) -> Standing {
    let NodeTurn { node, wave, decision, waits } = turn;
    let records = of_node(turn, open);
    let newest = of_slot(&records, decision.as_ref().map(|decision| decision.slot));
    let reboot = match records.last().and_then(|record| record.reboot.clone()) {
        Some(Rebooted::Needed(why)) => Some(why),
        Some(Rebooted::Done) | None => decision.as_ref().and_then(|decision| decision.reboot.clone()),
    };
    let pending = node.pending.as_ref().ok();
    Standing {
        target: Target::Node(node.name.to_owned()),
        wave: *wave,
        stand: stand(decision.as_ref().map(|decision| &decision.progress), waits.as_ref(), open, newest),
        waiting: pending.map(|pending| Waiting { security: None, other: pending.len(), at: now }),
        reboot,
        records,
    }
}

fn guest(turn: &Turn<'_>, updates: &Updates, open: bool, now: i64) -> Standing {
    let records = of_guest(turn, updates, open, now);
    let newest = of_slot(&records, turn.decision.as_ref().map(|decision| decision.slot));
    let progress = turn.decision.as_ref().map(|decision| &decision.progress);
    let stand = stand(progress, turn.waits.as_ref(), open, newest);
    let (waiting, reboot) = match turn.guest.inside.read() {
        Some((state, boot)) => {
            let last = records.last().and_then(|record| record.reboot.clone());
            (waiting(state), needed(state, Present::of(&turn.guest, boot, now), last))
        }
        None => (None, None),
    };
    Standing { target: Target::of(turn.guest.row), wave: turn.wave, stand, waiting, reboot, records }
}

/// What waits, as a state file tells: what the newest look found, but for what was installed since.
pub fn waiting(state: &State) -> Option<Waiting> {
    let assess = newest(state)?;
    let at = assess.ended?;
    let later = |job: &&JobState| job.started >= assess.started;
    let installed: BTreeSet<(&str, &str)> = state
        .jobs
        .iter()
        .filter(later)
        .flat_map(|job| &job.changed)
        .map(|changed| (changed.name.as_str(), changed.to.as_str()))
        .collect();
    let still =
        |pending: &&crate::host::state::Pending| !installed.contains(&(pending.name.as_str(), pending.to.as_str()));
    let (security, other): (Vec<_>, Vec<_>) = assess.pending.iter().filter(still).partition(|p| p.security);
    Some(Waiting { security: Some(security.len()), other: other.len(), at })
}

/// Why a reboot is needed, as the newest job says that can know. One before another boot says nothing any more.
fn needed(state: &State, present: Present<'_>, last: Option<Rebooted>) -> Option<String> {
    let knows = |job: &&JobState| {
        job.phase == Phase::Done && slot_and_word(&job.name).is_some_and(|(_, word)| word != "health")
    };
    let newest = state.jobs.iter().filter(knows).max_by_key(|job| job.ended)?;
    if present.is_after(newest) || last == Some(Rebooted::Done) {
        return None;
    }
    newest.reboot.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: &str = "\
[20261122T010000Z-assess]
state=done
exit=0
started=100
ended=120
boot=b1
pending=openssl 1 2 security 0
pending=vim 9.0 9.1 other 0
[20261122T010000Z-patch]
state=done
exit=0
started=130
ended=150
boot=b1
changed=openssl 1 2
reboot=libc6
";

    #[test]
    fn what_was_installed_waits_no_more() {
        assert_eq!(waiting(&State::read(DISK)), Some(Waiting { security: Some(0), other: 1, at: 120 }));
        assert_eq!(waiting(&State::default()), None, "nobody has looked");
        let looked = format!("{DISK}[20261129T010000Z-assess]\nstate=done\nexit=0\nstarted=900\nended=950\n");
        assert_eq!(waiting(&State::read(&looked)), Some(Waiting { security: Some(0), other: 0, at: 950 }));
        let failed = format!("{DISK}[20261129T010000Z-assess]\nstate=done\nexit=100\nstarted=900\nended=950\n");
        assert_eq!(waiting(&State::read(&failed)).map(|w| w.at), Some(120), "one that failed knows nothing");
    }

    #[test]
    fn a_reboot_is_needed_until_there_was_one() {
        let state = State::read(DISK);
        let at = |boot| needed(&state, Present { boot, since: None }, None);
        assert_eq!(at("b1").as_deref(), Some("libc6"));
        assert_eq!(at("b2"), None);
        assert_eq!(needed(&state, Present { boot: "", since: None }, Some(Rebooted::Done)), None);
    }

    #[test]
    fn every_stand_has_a_word() {
        let bad = Stand::Ended(End::WentBack("x".into()));
        assert_eq!((bad.word(), bad.detail(), bad.is_bad()), ("went back", "x", true));
        let left = Stand::Ended(End::LeftOut("it does not run".into()));
        assert_eq!((left.word(), left.is_bad()), ("left out", false));
        assert_eq!((Stand::Idle("y".into()).word(), Stand::Idle("y".into()).detail()), ("idle", "y"));
    }
}
