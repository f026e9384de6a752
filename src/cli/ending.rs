//! How a run ended, for people and for machines: what is done, what is left, what could not be looked at.

use crate::base::quantity::counted;
use crate::cli::exit;
use crate::cli::live::View;
use crate::cli::run::{Ended, Failure, print};
use crate::engine::reconcile::{Blind, Report};
use crate::plan::assemble::Plan;
use crate::report::text;
use crate::resource::reference::ResourceRef;
use crate::resource::step::{Delta, Note};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// Sums a run up; fails if something is left.
pub fn finish(report: &Report, view: View) -> Ended {
    let Report { first, last, failed, hints, refused: _, steps } = report;
    let open: Vec<&ResourceRef> = last.deltas.iter().filter(|d| d.is_open()).map(|d| &d.resource).collect();
    if view == View::Json {
        let failed: BTreeMap<String, &String> = failed.iter().map(|(r, why)| (r.to_string(), why)).collect();
        print(&format!(
            "{}\n",
            json!({"event": "Finished", "steps": steps, "failed": failed, "open": open.iter().map(ToString::to_string).collect::<Vec<_>>()})
        ));
    } else if view == View::Lines {
        let mut err = anstream::stderr();
        let other = last.deltas.iter().filter(|d| d.is_open() || left_alone(d)).count();
        if first.is_empty() {
            let _ = writeln!(err, "Nothing to do: {}.", as_they_say(last.deltas.len() - other, last.deltas.len()));
        } else {
            let well =
                format!("{} of {} objects are as their manifests say", last.deltas.len() - other, last.deltas.len());
            let objects = if last.deltas.is_empty() { "nothing is left to do".to_owned() } else { well };
            let _ = writeln!(err, "\n{} done; {objects}.", counted(*steps, "step"));
        }
        for delta in &last.deltas {
            if left_alone(delta) || toothless(delta) {
                let why: Vec<String> = delta.notes.iter().filter(|n| holds_back(n)).map(text::note).collect();
                let _ = writeln!(err, "  {}: {}", delta.resource, why.join("; "));
            }
            for note in &delta.notes {
                if let Note::RebootRequired(keys) = note {
                    let _ = writeln!(err, "  RebootRequired {}: {}", delta.resource, keys.join(", "));
                }
                if let Note::Fresh { late: Some(text), .. } | Note::Warning(text) = note {
                    let _ = writeln!(err, "  warning: {}: {text}", delta.resource);
                }
            }
        }
    }
    for (resource, why) in failed {
        let _ = writeln!(anstream::stderr(), "error: {resource}: {why}");
        if let Some(hint) = hints.get(resource) {
            let _ = writeln!(anstream::stderr(), "hint: {hint}");
        }
    }
    if report.converged() {
        return Ok(exit::DONE);
    }
    let left = open.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let again = "run the same command again: it goes on from what is there";
    let told = last.deltas.iter().filter(|d| d.is_open()).all(toothless);
    let hint = match unseen(last) {
        None if told => "what each of them lacks is said above, with the way out".to_owned(),
        Some((_, nodes)) => format!("{nodes} does not answer: bring it back, then {again}"),
        None => again.to_owned(),
    };
    Err(Failure::new(exit::FAILED, format!("not everything is done; left: {left}")).hint(hint))
}

/// The cluster went away in the middle: what is done, what was done without a look at it, and what is left.
pub fn went_blind(blind: &Blind, view: View) -> Failure {
    let Blind { error, report, unverified } = blind;
    let open = report.last.deltas.iter().filter(|d| d.is_open()).map(|d| &d.resource);
    let (done, left): (Vec<&ResourceRef>, Vec<&ResourceRef>) = open.partition(|r| unverified.contains(*r));
    if view == View::Json {
        let names = |list: &[&ResourceRef]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        print(&format!(
            "{}\n",
            json!({"event": "Finished", "steps": report.steps, "error": error.to_string(), "unverified": names(&done), "open": names(&left)})
        ));
    }
    let names = |list: &[&ResourceRef]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut message = format!("{error}\n  {} done before that", counted(report.steps, "step"));
    if !done.is_empty() {
        message += &format!("\n  done, but not looked at again: {}", names(&done));
    }
    if !left.is_empty() {
        message += &format!("\n  left: {}", names(&left));
    }
    let again = "when the cluster answers again, run the same command: it goes on from what is there";
    let hint = error.hint().map_or_else(|| again.to_owned(), |why| format!("{why}\nhint: {again}"));
    Failure::new(exit::FAILED, message).hint(hint)
}

/// Whether a resource may differ from its manifest although nothing is to be done about it.
fn left_alone(delta: &Delta) -> bool {
    !delta.is_open() && delta.notes.iter().any(holds_back)
}

/// Whether nothing that pvectl may do makes it of use.
fn toothless(delta: &Delta) -> bool {
    delta.is_open() && delta.steps.is_empty() && delta.notes.iter().any(|n| matches!(n, Note::Toothless(_)))
}

fn holds_back(note: &Note) -> bool {
    match note {
        Note::Locked(_)
        | Note::Unsettled(_)
        | Note::Elsewhere { .. }
        | Note::Paused
        | Note::NodeOffline(_)
        | Note::Toothless(_) => true,
        Note::Waiting(_) | Note::RebootRequired(_) | Note::Fresh { .. } | Note::Warning(_) | Note::Info(_) => false,
    }
}

fn as_they_say(objects: usize, all: usize) -> String {
    match objects {
        _ if objects < all => format!("{objects} of {all} objects are as their manifests say"),
        0 => "there is no such object".to_owned(),
        1 => "1 object is as its manifest says".to_owned(),
        n => format!("{n} objects are as their manifests say"),
    }
}

/// Objects that could not be looked at, and the nodes that hide them.
fn unseen(plan: &Plan) -> Option<(usize, String)> {
    let nodes: Vec<&str> = plan.deltas.iter().filter_map(|d| d.unseen()).collect();
    let names: BTreeSet<&&str> = nodes.iter().collect();
    let list = names.iter().map(|n| format!("node {n}")).collect::<Vec<_>>().join(", ");
    (!nodes.is_empty()).then_some((nodes.len(), list))
}

/// Refuses to call something compared that could not be looked at.
pub fn all_seen(plan: &Plan) -> Result<(), Failure> {
    match unseen(plan) {
        None => Ok(()),
        Some((count, nodes)) => Err(Failure::new(
            exit::NOT_COMPARED,
            format!("{} could not be compared: {nodes} does not answer", counted(count, "object")),
        )
        .hint("look at it with pvecm status, or wait until it is back")),
    }
}
