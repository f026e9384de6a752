//! All guests of a window together: whose turn it is. A later wave waits for the one before it, failures stop what was not begun,
//! and only so many are worked on at once.

use crate::base::id::VmId;
use crate::kinds::patch_window::choose::{Canaries, learn};
use crate::kinds::patch_window::decide::{Act, Decision, End, Progress, Scene};
use crate::kinds::patch_window::guest::Guest;
use crate::kinds::patch_window::node::decide::{NodeAct, NodeDecision, NodeScene, got};
use crate::kinds::patch_window::node::seen::Node;
use crate::kinds::patch_window::spec::{OnFailure, Order, PatchWindowSpec};
use crate::kinds::patch_window::window::{Opening, Window};
use std::collections::BTreeSet;

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

/// A node, its wave, and what is next for it.
#[derive(Clone, Debug)]
pub struct NodeTurn<'a> {
    /// The node.
    pub node: Node<'a>,
    /// Its wave, from zero.
    pub wave: usize,
    /// What is next; `None`: no opening concerns it.
    pub decision: Option<NodeDecision>,
    /// Why it is not its turn.
    pub waits: Option<Wait>,
}

/// The cluster's nodes, as they count for its quorum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quorum {
    /// How many there are.
    pub nodes: usize,
    /// Those that are away.
    pub away: Vec<String>,
    /// Those that the HA manager keeps guests away from.
    pub maintenance: Vec<String>,
    /// The cluster has its quorum.
    pub quorate: bool,
}

impl Quorum {
    /// Why a node should not go; `None`: it may.
    fn against(&self, node: &str, loss: bool) -> Option<String> {
        let other = self.maintenance.iter().find(|other| *other != node);
        let left = self.nodes.saturating_sub(self.away.len() + 1);
        if !self.away.is_empty() {
            Some(format!("{} is away, and no second node goes down beside it", self.away.join(", ")))
        } else if let Some(other) = other {
            Some(format!("{other} is in maintenance, and no second node goes beside it"))
        } else if !self.quorate {
            Some("the cluster has no quorum".to_owned())
        } else if self.nodes > 1 && left < self.nodes / 2 + 1 && !loss {
            Some(format!(
                "{left} of {} nodes would be left, which is no quorum: guests run on and nothing can be changed meanwhile; `allowQuorumLoss: true` says that this is all right",
                self.nodes
            ))
        } else {
            None
        }
    }
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
    /// A turn a node, in the order of waves and names.
    pub nodes: Vec<NodeTurn<'a>>,
    /// Why nothing new is started.
    pub halted: Option<String>,
}

/// How a guest is called for people.
pub fn called(guest: &Guest<'_>) -> String {
    let row = guest.row;
    if row.name.is_empty() { row.vmid.to_string() } else { format!("{} ({})", row.name, row.vmid) }
}

/// What the waves before one got in an opening.
fn learned(turns: &[Turn<'_>], before: usize, slot: i64) -> Canaries {
    let mut canaries = Canaries::new();
    for turn in turns.iter().filter(|turn| turn.wave < before) {
        let ended = turn.decision.as_ref().filter(|d| d.slot == slot).map(|d| &d.progress);
        if matches!(ended, Some(Progress::Ended(End::WentBack(_) | End::Failed(_)))) {
            continue;
        }
        let Some((_, assess)) = turn.guest.inside.latest(slot, "assess") else { continue };
        learn(&mut canaries, assess, turn.guest.inside.latest(slot, "patch").map(|(_, patch)| patch));
    }
    canaries
}

/// Whether a wave is done with an opening; then when its last update was, if there was one.
fn settled((turns, nodes): (&[Turn<'_>], &[NodeTurn<'_>]), wave: usize, slot: i64) -> Option<Option<i64>> {
    let mut last = None;
    for turn in nodes.iter().filter(|turn| turn.wave == wave) {
        match turn.decision.as_ref().filter(|d| d.slot == slot).map(|d| &d.progress) {
            Some(Progress::Ended(_)) => {
                let health = turn.node.inside.latest(slot, "health").and_then(|(_, health)| health.ended);
                last = last
                    .max(turn.node.inside.latest(slot, "upgrade").and_then(|(_, upgrade)| upgrade.ended.max(health)));
            }
            Some(Progress::Idle | Progress::Working(_)) | None => return None,
        }
    }
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
    let (_, patch) = guest.inside.latest(slot, "patch")?;
    patch.ended.max(guest.inside.latest(slot, "health").and_then(|(_, health)| health.ended))
}

fn soak(spec: &PatchWindowSpec, wave: usize) -> i64 {
    spec.waves.get(wave).and_then(|wave| wave.soak).map_or(0, |soak| soak.signed())
}

/// Whether a guest was looked at in an opening.
fn had(guest: &Guest<'_>, slot: i64) -> bool {
    guest.inside.latest(slot, "assess").is_some()
}

/// What a guest's wave waits for in an opening; `None`: it may begin.
fn gate(
    all: (&[Turn<'_>], &[NodeTurn<'_>]),
    spec: &PatchWindowSpec,
    wave: usize,
    opening: Opening,
    now: i64,
) -> Option<Wait> {
    let wait = |why: String, until: Option<i64>| Some(Wait { why, until, warns: false });
    (0..wave).find_map(|before| {
        let number = before + 1;
        let Some(last) = settled(all, before, opening.slot) else {
            return wait(format!("wave {number} is not done yet"), None);
        };
        let ready = last?.saturating_add(soak(spec, before));
        if ready <= now {
            None
        } else if ready < opening.cutoff {
            wait(format!("what wave {number} got is soaking"), Some(ready))
        } else {
            wait(format!("what wave {number} got soaks until the window closes: it comes with the next one"), None)
        }
    })
}

/// Who is meant, in no order; each with its wave.
#[derive(Clone, Debug, Default)]
pub struct Meant<'a> {
    /// Guests.
    pub guests: Vec<(usize, Guest<'a>)>,
    /// Nodes.
    pub nodes: Vec<(usize, Node<'a>)>,
}

/// Everybody's turn.
pub fn turns<'a>(
    spec: &PatchWindowSpec,
    window: &Window,
    Meant { guests, nodes }: Meant<'a>,
    quorum: &Quorum,
    now: i64,
) -> Turns<'a> {
    let opening = window.last(now);
    let mut turns: Vec<Turn<'a>> =
        guests.into_iter().map(|(wave, guest)| Turn { guest, wave, decision: None, waits: None }).collect();
    turns.sort_by_key(|turn| (turn.wave, turn.guest.row.vmid));
    let mut nodes: Vec<NodeTurn<'a>> =
        nodes.into_iter().map(|(wave, node)| NodeTurn { node, wave, decision: None, waits: None }).collect();
    nodes.sort_by_key(|turn| (turn.wave, turn.node.name));
    let frozen = window.frozen(now);
    let frozen = frozen.map(|day| format!("nothing is started on {day}"));
    decide(&mut turns, (spec, window), opening, now, frozen.as_deref());
    decide_nodes(&mut nodes, (spec, window), opening, now, frozen.as_deref());
    let failed = failures(&turns, &nodes, opening);
    let halted = frozen.or_else(|| {
        let limit = if spec.on_failure == OnFailure::Stop { 1 } else { spec.max_errors };
        let enough = failed.len() >= usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
        enough.then(|| format!("the window is halted, for {} failed", failed.join(", ")))
    });
    if halted.is_some() {
        decide(&mut turns, (spec, window), opening, now, halted.as_deref());
        decide_nodes(&mut nodes, (spec, window), opening, now, halted.as_deref());
    }
    gates((&mut turns, &nodes), spec, window, (opening, halted.as_deref()), now);
    node_gates((&turns, &mut nodes), spec, (opening, halted.as_deref(), quorum), now);
    Turns { opening, turns, nodes, halted }
}

fn decide_nodes(
    nodes: &mut [NodeTurn<'_>],
    (spec, window): (&PatchWindowSpec, &Window),
    opening: Option<Opening>,
    now: i64,
    halted: Option<&str>,
) {
    for wave in 0..spec.waves.len().max(1) {
        let earlier = nodes.iter().filter(|turn| turn.wave < wave);
        let got: BTreeSet<(String, String)> = match opening {
            Some(opening) => earlier.clone().flat_map(|turn| got(&turn.node, opening.slot)).collect(),
            None => BTreeSet::new(),
        };
        // Where no node comes before these, there is nobody whose versions they could get.
        let canaries = (earlier.count() > 0).then_some(&got);
        for turn in nodes.iter_mut().filter(|turn| turn.wave == wave) {
            turn.decision = NodeScene { spec, window, opening, now, canaries, halted }.decide(&turn.node);
        }
    }
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
        // Where no guest comes before these, there is nobody whose versions they could get.
        let follows = turns.iter().any(|turn| turn.wave < wave);
        let of =
            |slot: Option<i64>| follows.then(|| slot.map_or_else(Canaries::new, |slot| learned(turns, wave, slot)));
        let before = opening.and_then(|opening| window.before(opening.slot - 1)).map(|opening| opening.slot);
        let (newest, older) = (of(opening.map(|opening| opening.slot)), of(before));
        for at in 0..turns.len() {
            if turns[at].wave != wave {
                continue;
            }
            let late = before.is_some_and(|slot| behind(turns, spec, at, slot, now));
            let canaries = if late { &older } else { &newest };
            let scene = Scene { spec, window, opening, now, canaries: canaries.as_ref(), halted };
            turns[at].decision = scene.decide(&turns[at].guest);
        }
    }
}

/// Who failed in an opening.
fn failures(turns: &[Turn<'_>], nodes: &[NodeTurn<'_>], opening: Option<Opening>) -> Vec<String> {
    let node = |turn: &&NodeTurn<'_>| {
        let decision = turn.decision.as_ref().filter(|d| opening.is_some_and(|opening| opening.slot == d.slot));
        matches!(decision.map(|d| &d.progress), Some(Progress::Ended(End::Failed(_) | End::WentBack(_))))
    };
    let nodes = nodes.iter().filter(node).map(|turn| format!("node {}", turn.node.name));
    let of = |decision: &&Decision| opening.is_some_and(|opening| opening.slot == decision.slot);
    let failed = |turn: &&Turn<'_>| {
        let over = |d: &Decision| matches!(d.progress, Progress::Ended(End::Failed(_) | End::WentBack(_)));
        turn.decision.as_ref().filter(of).is_some_and(|decision| decision.failing || over(decision))
    };
    turns.iter().filter(failed).map(|turn| called(&turn.guest)).chain(nodes).collect()
}

/// Whether an act begins work on a guest on which nothing was begun.
fn begins(decision: &Decision) -> bool {
    decision.progress == Progress::Idle && matches!(decision.act, Some(Act::Assess(_) | Act::Snapshot(_)))
}

/// Whether something of a wave is not done with an opening.
fn unfinished(progress: Option<&Progress>) -> bool {
    !matches!(progress, Some(Progress::Ended(_)))
}

fn gates(
    (turns, nodes): (&mut [Turn<'_>], &[NodeTurn<'_>]),
    spec: &PatchWindowSpec,
    window: &Window,
    (opening, halted): (Option<Opening>, Option<&str>),
    now: i64,
) {
    let working =
        |turn: &&NodeTurn<'_>| matches!(turn.decision.as_ref().map(|d| &d.progress), Some(Progress::Working(_)));
    let busy_node = nodes.iter().find(working).map(|turn| format!("node {} is worked on", turn.node.name));
    let first = |wave: usize| {
        let open = |turn: &&NodeTurn<'_>| turn.wave == wave && unfinished(turn.decision.as_ref().map(|d| &d.progress));
        let wanted = spec.order == Order::HostsFirst;
        nodes.iter().find(|turn| wanted && open(turn)).map(|turn| format!("node {} comes first", turn.node.name))
    };
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
        } else if let Some(why) = busy_node.clone().or_else(|| first(turns[at].wave)) {
            Some(wait(why))
        } else if busy >= room {
            Some(wait(format!("{busy} are worked on, and maxConcurrent is {room}")))
        } else {
            let before = window.before(opening.slot - 1);
            let late = before.is_some_and(|before| behind(turns, spec, at, before.slot, now));
            if late { None } else { gate((turns, nodes), spec, turns[at].wave, opening, now) }
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

fn node_gates(
    (turns, nodes): (&[Turn<'_>], &mut [NodeTurn<'_>]),
    spec: &PatchWindowSpec,
    (opening, halted, quorum): (Option<Opening>, Option<&str>, &Quorum),
    now: i64,
) {
    let progress = |turn: &NodeTurn<'_>| turn.decision.as_ref().map(|d| d.progress.clone());
    let mut busy: Option<String> = nodes
        .iter()
        .find(|turn| matches!(progress(turn), Some(Progress::Working(_))))
        .map(|turn| turn.node.name.to_owned());
    for at in 0..nodes.len() {
        let ill = {
            let node = &nodes[at].node;
            let ceph = node.ceph.as_ref().and_then(|ceph| ceph.ill.clone());
            quorum.against(node.name, spec.allow_quorum_loss).or(ceph).or_else(|| node.pool.clone())
        };
        // What happened elsewhere meanwhile holds up what would take this one down, too.
        let takes_down = nodes[at].decision.as_ref().is_some_and(|decision| {
            matches!(decision.act, Some(NodeAct::Upgrade(1) | NodeAct::Reboot | NodeAct::Maintenance(true)))
        });
        if let Some(why) = ill.clone().filter(|_| takes_down) {
            if let Some(decision) = nodes[at].decision.as_mut() {
                decision.act = None;
            }
            nodes[at].waits = Some(Wait { why, until: None, warns: true });
            continue;
        }
        let begins = nodes[at].decision.as_ref().is_some_and(|decision| {
            decision.progress == Progress::Idle && matches!(decision.act, Some(NodeAct::Refresh | NodeAct::Note(..)))
        });
        let Some(opening) = opening.filter(|_| begins) else { continue };
        let wave = nodes[at].wave;
        let wait = |why: String| Wait { why, until: None, warns: false };
        let guest = |turn: &&Turn<'_>| {
            let open = unfinished(turn.decision.as_ref().map(|d| &d.progress));
            let works = matches!(turn.decision.as_ref().map(|d| &d.progress), Some(Progress::Working(_)));
            works || open && spec.order == Order::GuestsFirst && turn.wave == wave
        };
        let waits = if let Some(why) = halted {
            Some(Wait { warns: true, ..wait(why.to_owned()) })
        } else if !opening.starts(now) {
            Some(wait("the window closes: nothing new is started".to_owned()))
        } else if let Some(busy) = &busy {
            Some(wait(format!("node {busy} is worked on")))
        } else if let Some(turn) = turns.iter().find(guest) {
            Some(wait(format!("{} comes first", called(&turn.guest))))
        } else if let Some(why) = ill {
            Some(Wait { warns: true, ..wait(why) })
        } else {
            gate((turns, nodes), spec, wave, opening, now)
        };
        match waits {
            None => busy = Some(nodes[at].node.name.to_owned()),
            Some(_) => {
                if let Some(decision) = nodes[at].decision.as_mut() {
                    decision.act = None;
                }
            }
        }
        nodes[at].waits = waits;
    }
}

/// Whether a guest did not get its turn in an opening and may have now what the wave before it got then.
fn behind(turns: &[Turn<'_>], spec: &PatchWindowSpec, at: usize, slot: i64, now: i64) -> bool {
    let turn = &turns[at];
    if turn.wave == 0 || had(&turn.guest, slot) {
        return false;
    }
    let mut ready = None;
    for canary in turns.iter().filter(|canary| canary.wave < turn.wave) {
        let Some((_, patch)) = canary.guest.inside.latest(slot, "patch") else { continue };
        let health = canary.guest.inside.latest(slot, "health").map(|(_, health)| health);
        if patch.exit != Some(0) || health.is_some_and(|health| health.exit != Some(0)) {
            return false;
        }
        let since = used_since(&canary.guest, slot).map(|since| since.saturating_add(soak(spec, canary.wave)));
        ready = ready.max(since);
    }
    ready.is_some_and(|ready| ready <= now)
}

/// The wave of each guest: the first that means it.
pub fn wave_of(vmid: VmId, waves: &[Vec<VmId>]) -> Option<usize> {
    if waves.is_empty() { Some(0) } else { waves.iter().position(|wave| wave.contains(&vmid)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quorum(nodes: usize, away: &[&str], quorate: bool) -> Quorum {
        let away = away.iter().map(|n| (*n).to_owned()).collect();
        Quorum { nodes, away, maintenance: Vec::new(), quorate }
    }

    #[test]
    fn no_node_goes_where_the_rest_would_have_no_quorum() {
        assert_eq!(quorum(1, &[], true).against("pve1", false), None, "a node by itself");
        assert!(quorum(2, &[], true).against("pve1", false).is_some_and(|why| why.contains("allowQuorumLoss")));
        assert_eq!(quorum(2, &[], true).against("pve1", true), None);
        assert_eq!(quorum(3, &[], true).against("pve1", false), None);
        assert_eq!(quorum(4, &[], true).against("pve1", false), None);
        for loss in [false, true] {
            assert!(
                quorum(5, &["pve3"], true).against("pve1", loss).is_some_and(|why| why.starts_with("pve3 is away"))
            );
            assert!(quorum(3, &[], false).against("pve1", loss).is_some());
        }
        let beside = Quorum { maintenance: vec!["pve2".to_owned()], ..quorum(3, &[], true) };
        assert!(beside.against("pve1", false).is_some_and(|why| why.starts_with("pve2 is in maintenance")));
        assert_eq!(beside.against("pve2", false), None, "its own");
    }
}
