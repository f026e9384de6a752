//! All guests of a window together: whose turn it is. A later wave waits for the one before it, failures stop what was not begun,
//! and only so many are worked on at once.

use crate::base::id::VmId;
use crate::kinds::patch_window::choose::{Canaries, learn};
use crate::kinds::patch_window::decide::{Act, Decision, End, Progress, Scene};
use crate::kinds::patch_window::guest::Guest;
use crate::kinds::patch_window::spec::{OnFailure, PatchWindowSpec};
use crate::kinds::patch_window::window::{Opening, Window};

/// A guest, its wave, and what is next for it.
#[derive(Clone, Debug)]
pub struct Turn<'a> {
    /// The guest.
    pub guest: Guest<'a>,
    /// Its wave, from zero.
    pub wave: usize,
    /// What is next; `None`: no opening concerns it.
    pub decision: Option<Decision>,
    /// Why it is not its turn.
    pub waits: Option<Wait>,
}

/// Why it is not a guest's turn, and when that may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Why.
    pub why: String,
    /// In seconds since 1970; `None`: when something else moves.
    pub until: Option<i64>,
    /// A person should look at it.
    pub warns: bool,
}

/// All turns of a window.
#[derive(Clone, Debug)]
pub struct Turns<'a> {
    /// The newest opening.
    pub opening: Option<Opening>,
    /// A turn a guest, in the order of waves and numbers.
    pub turns: Vec<Turn<'a>>,
    /// Why nothing new is started.
    pub halted: Option<String>,
}

/// How a guest is called for people.
pub fn called(guest: &Guest<'_>) -> String {
    let row = guest.row;
    if row.name.is_empty() { row.vmid.to_string() } else { format!("{} ({})", row.name, row.vmid) }
}

/// What a wave got in an opening.
fn learned(turns: &[Turn<'_>], wave: usize, slot: i64) -> Canaries {
    let mut canaries = Canaries::new();
    for turn in turns.iter().filter(|turn| turn.wave == wave) {
        let ended = turn.decision.as_ref().filter(|d| d.slot == slot).map(|d| &d.progress);
        if matches!(ended, Some(Progress::Ended(End::WentBack(_) | End::Failed(_)))) {
            continue;
        }
        let Some((_, assess)) = turn.guest.latest(slot, "assess") else { continue };
        learn(&mut canaries, assess, turn.guest.latest(slot, "patch").map(|(_, patch)| patch));
    }
    canaries
}

/// Whether a wave is done with an opening; then when its last update was, if there was one.
fn settled(turns: &[Turn<'_>], wave: usize, slot: i64) -> Option<Option<i64>> {
    let mut last = None;
    for turn in turns.iter().filter(|turn| turn.wave == wave) {
        match turn.decision.as_ref().filter(|d| d.slot == slot).map(|d| &d.progress) {
            Some(Progress::Ended(_)) => last = last.max(used_since(&turn.guest, slot)),
            Some(Progress::Idle | Progress::Working(_)) | None => return None,
        }
    }
    Some(last)
}

/// Since when the updates of an opening are in use in a guest.
fn used_since(guest: &Guest<'_>, slot: i64) -> Option<i64> {
    let (_, patch) = guest.latest(slot, "patch")?;
    patch.ended.max(guest.latest(slot, "health").and_then(|(_, health)| health.ended))
}

fn soak(spec: &PatchWindowSpec, wave: usize) -> i64 {
    spec.waves.get(wave).and_then(|wave| wave.soak).map_or(0, |s| i64::try_from(s.0).unwrap_or(i64::MAX))
}

/// Whether a guest was looked at in an opening.
fn had(guest: &Guest<'_>, slot: i64) -> bool {
    guest.latest(slot, "assess").is_some()
}

/// What a guest's wave waits for in an opening; `None`: it may begin.
fn gate(turns: &[Turn<'_>], spec: &PatchWindowSpec, wave: usize, opening: Opening, now: i64) -> Option<Wait> {
    let before = wave.checked_sub(1)?;
    let wait = |why: String, until: Option<i64>| Some(Wait { why, until, warns: false });
    let Some(last) = settled(turns, before, opening.slot) else {
        return wait(format!("wave {wave} is not done yet"), None);
    };
    let ready = last?.saturating_add(soak(spec, before));
    if ready <= now {
        None
    } else if ready < opening.cutoff {
        wait(format!("what wave {wave} got is soaking"), Some(ready))
    } else {
        wait(format!("what wave {wave} got soaks until the window closes: it comes with the next one"), None)
    }
}

/// Everybody's turn. `guests` are in no order; each with its wave.
pub fn turns<'a>(
    spec: &PatchWindowSpec,
    window: &Window,
    guests: Vec<(usize, Guest<'a>)>,
    nodes_busy: Option<&str>,
    now: i64,
) -> Turns<'a> {
    let opening = window.last(now);
    let mut turns: Vec<Turn<'a>> =
        guests.into_iter().map(|(wave, guest)| Turn { guest, wave, decision: None, waits: None }).collect();
    turns.sort_by_key(|turn| (turn.wave, turn.guest.row.vmid));
    let frozen = window.frozen(now);
    let frozen = frozen.map(|day| format!("nothing is started on {day}"));
    decide(&mut turns, (spec, window), opening, now, frozen.as_deref());
    let failed = failures(&turns, opening);
    let halted = frozen.or_else(|| {
        let limit = if spec.on_failure == OnFailure::Stop { 1 } else { spec.max_errors };
        let enough = failed.len() >= usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
        enough.then(|| format!("the window is halted, for {} failed", failed.join(", ")))
    });
    if halted.is_some() {
        decide(&mut turns, (spec, window), opening, now, halted.as_deref());
    }
    gates(&mut turns, spec, window, (opening, halted.as_deref(), nodes_busy), now);
    Turns { opening, turns, halted }
}

fn decide(
    turns: &mut [Turn<'_>],
    (spec, window): (&PatchWindowSpec, &Window),
    opening: Option<Opening>,
    now: i64,
    halted: Option<&str>,
) {
    let waves = spec.waves.len().max(1);
    // Wave by wave: what one got is what the next may get.
    for wave in 0..waves {
        let of = |slot: Option<i64>| {
            wave.checked_sub(1).map(|before| slot.map_or_else(Canaries::new, |slot| learned(turns, before, slot)))
        };
        let before = opening.and_then(|opening| window.before(opening.slot - 1)).map(|opening| opening.slot);
        let (newest, older) = (of(opening.map(|opening| opening.slot)), of(before));
        for at in 0..turns.len() {
            if turns[at].wave != wave {
                continue;
            }
            let late = before.is_some_and(|slot| behind(turns, spec, at, slot, now));
            let canaries = if late { &older } else { &newest };
            let scene = Scene { spec, opening, now, canaries: canaries.as_ref(), halted };
            turns[at].decision = scene.decide(&turns[at].guest);
        }
    }
}

/// Who failed in an opening.
fn failures(turns: &[Turn<'_>], opening: Option<Opening>) -> Vec<String> {
    let of = |decision: &&Decision| opening.is_some_and(|opening| opening.slot == decision.slot);
    let failed = |turn: &&Turn<'_>| match turn.decision.as_ref().filter(of).map(|d| &d.progress) {
        Some(Progress::Ended(End::Failed(_) | End::WentBack(_))) => true,
        Some(Progress::Working(what)) => what.starts_with("failed") || what.starts_with("going back"),
        Some(Progress::Ended(_) | Progress::Idle) | None => false,
    };
    turns.iter().filter(failed).map(|turn| called(&turn.guest)).collect()
}

/// Whether an act begins work on a guest on which nothing was begun.
fn begins(decision: &Decision) -> bool {
    decision.progress == Progress::Idle && matches!(decision.act, Some(Act::Assess(_) | Act::Snapshot(_)))
}

fn gates(
    turns: &mut [Turn<'_>],
    spec: &PatchWindowSpec,
    window: &Window,
    (opening, halted, nodes_busy): (Option<Opening>, Option<&str>, Option<&str>),
    now: i64,
) {
    let mut busy = turns
        .iter()
        .filter(|t| t.decision.as_ref().is_some_and(|d| matches!(d.progress, Progress::Working(_))))
        .count();
    let room = usize::try_from(spec.max_concurrent.max(1)).unwrap_or(usize::MAX);
    for at in 0..turns.len() {
        if !turns[at].decision.as_ref().is_some_and(begins) {
            continue;
        }
        let Some(opening) = opening else { continue };
        let wait = |why: String| Wait { why, until: None, warns: false };
        let waits = if let Some(why) = halted {
            Some(Wait { warns: true, ..wait(why.to_owned()) })
        } else if !opening.starts(now) {
            Some(wait("the window closes: nothing new is started".to_owned()))
        } else if let Some(why) = nodes_busy {
            Some(wait(why.to_owned()))
        } else if busy >= room {
            Some(wait(format!("{busy} are worked on, and maxConcurrent is {room}")))
        } else {
            let before = window.before(opening.slot - 1);
            let late = before.is_some_and(|before| behind(turns, spec, at, before.slot, now));
            if late { None } else { gate(turns, spec, turns[at].wave, opening, now) }
        };
        match waits {
            None => busy += 1,
            Some(_) => {
                if let Some(decision) = turns[at].decision.as_mut() {
                    decision.act = None;
                }
            }
        }
        turns[at].waits = waits;
    }
}

/// Whether a guest did not get its turn in an opening and may have now what the wave before it got then.
fn behind(turns: &[Turn<'_>], spec: &PatchWindowSpec, at: usize, slot: i64, now: i64) -> bool {
    let turn = &turns[at];
    let Some(before) = turn.wave.checked_sub(1) else { return false };
    if had(&turn.guest, slot) {
        return false;
    }
    let mut last = None;
    for canary in turns.iter().filter(|turn| turn.wave == before) {
        let Some((_, patch)) = canary.guest.latest(slot, "patch") else { continue };
        let health = canary.guest.latest(slot, "health").map(|(_, health)| health);
        if patch.exit != Some(0) || health.is_some_and(|health| health.exit != Some(0)) {
            return false;
        }
        last = last.max(used_since(&canary.guest, slot));
    }
    last.is_some_and(|last| last.saturating_add(soak(spec, before)) <= now)
}

/// The wave of each guest: the first that means it.
pub fn wave_of(vmid: VmId, waves: &[Vec<VmId>]) -> Option<usize> {
    if waves.is_empty() { Some(0) } else { waves.iter().position(|wave| wave.contains(&vmid)) }
}
