//! Refuses the delta that would close a way which is not closed now, unless its manifest says that it may. PVE's firewall lets
//! connections go on that are there; pvectl opens new ones, so that what counts is how things are after the plan.

use crate::lockout::answers::Answers;
use crate::lockout::judge::{self, Fate};
use crate::lockout::way::Way;
use crate::resource::index::Index;
use crate::resource::observation::Observation;
use crate::resource::reference::ResourceRef;
use crate::resource::step::{ALLOW_LOCKOUT, Delta, Note, Problem};
use std::net::SocketAddr;

/// The port of the shell by which people mend a node.
const SSH: u16 = 22;

/// Adds what stands against deltas, in the order in which they run, and takes their steps away. `declared` says whether a
/// resource has a manifest, `allowed` whether that allows it.
pub fn guard(deltas: &mut [Delta], seen: &Observation, ways: &[Way], declared: impl Fn(&ResourceRef) -> Option<bool>) {
    let touches = |delta: &Delta| delta.steps.iter().any(|step| Answers::concerns(&step.call));
    if ways.is_empty() || !deltas.iter().any(touches) {
        return;
    }
    for way in ways {
        for part in [judge::out, judge::into] {
            let Some((at, by, remedy)) = closing(deltas, seen, way, part) else { continue };
            let delta = &mut deltas[at];
            let allowed = declared(&delta.resource);
            if allowed != Some(true) {
                delta.problems.push(refusal(way, (&by, &remedy), allowed.is_some()));
                delta.steps.clear();
            }
        }
        let shell = Way { to: SocketAddr::new(way.to.ip(), SSH), ..*way };
        if let Some((at, by, _)) = closing(deltas, seen, &shell, judge::into) {
            let note = Note::Info(format!("SSH would be closed to pvectl's own address: from {shell}, {by}"));
            deltas[at].notes.push(note);
        }
    }
}

fn refusal(way: &Way, (by, remedy): (&str, &str), declared: bool) -> Problem {
    let mean = if declared {
        format!("or, if it is meant, write the annotation {ALLOW_LOCKOUT}: \"true\"")
    } else {
        "no manifest declares it any more, so that none can allow it".to_owned()
    };
    Problem::new("", format!("the way by which pvectl talks to PVE would be closed: from {way}, {by}"))
        .help(format!("{remedy}; {mean}"))
}

/// What says the fate of a way.
type Judge = fn(&Answers<'_>, &Index, &Way) -> Fate;

/// The delta from which on a way is closed to the end, and what closes it; `None` where it stays as it is.
fn closing(deltas: &[Delta], seen: &Observation, way: &Way, fate: Judge) -> Option<(usize, String, String)> {
    let mut answers = Answers::new(seen);
    if matches!(fate(&answers, &seen.index, way), Fate::Closed { .. }) {
        return None;
    }
    // Most plans leave it as it is: they are judged by their end alone.
    let all = deltas.iter().flat_map(|delta| &delta.steps).map(|step| &step.call);
    all.filter(|call| Answers::concerns(call)).for_each(|call| answers.apply(call));
    if !matches!(fate(&answers, &seen.index, way), Fate::Closed { .. }) {
        return None;
    }
    let mut answers = Answers::new(seen);
    let mut closed: Option<(usize, String, String)> = None;
    for (at, delta) in deltas.iter().enumerate() {
        let calls: Vec<_> = delta.steps.iter().map(|s| &s.call).filter(|call| Answers::concerns(call)).collect();
        if calls.is_empty() {
            continue;
        }
        calls.into_iter().for_each(|call| answers.apply(call));
        closed = match (fate(&answers, &seen.index, way), closed) {
            (Fate::Closed { by, remedy }, before) => Some((before.map_or(at, |(at, ..)| at), by, remedy)),
            (Fate::Open | Fate::Unknown, _) => None,
        };
    }
    closed
}
