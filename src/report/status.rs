//! Conditions, computed in one place from what a plan still wants to do.

use crate::base::condition::{Condition, ConditionType, Truth};
use crate::base::quantity::counted;
use crate::resource::merge::Cause;
use crate::resource::step::{Action, Copies, Delta, Note};

/// The conditions of one resource, from the delta of a plan made of what was just seen.
pub fn conditions(delta: &Delta) -> Vec<Condition> {
    let claim = |condition, holds: bool, reason: &str, message: String| Condition {
        condition,
        status: if holds { Truth::True } else { Truth::False },
        reason: reason.to_owned(),
        message,
    };
    let mut out = Vec::new();
    let mut blocked: Option<(&str, String)> = None;
    for note in &delta.notes {
        match note {
            Note::Waiting(resource) => blocked = Some(("DependencyNotReady", format!("waits for {resource}"))),
            Note::Locked(lock) => {
                out.push(claim(ConditionType::Locked, true, "Locked", format!("PVE holds the lock `{lock}`")));
                if delta.action != Action::NoOp {
                    blocked = Some(("Locked", format!("PVE holds the lock `{lock}`")));
                }
            }
            Note::NodeOffline(node) => blocked = Some(("NodeOffline", format!("node `{node}` does not answer"))),
            Note::Unsettled(why) => blocked = Some(("Unsettled", why.clone())),
            Note::Elsewhere { node, wanted } => {
                blocked = Some(("OnAnotherNode", format!("it is on `{node}`, and its manifest says {wanted}")));
            }
            Note::Paused => out.push(claim(ConditionType::Paused, true, "Paused", "its manifest says so".into())),
            Note::RebootRequired(keys) => out.push(claim(
                ConditionType::RebootRequired,
                true,
                "PendingChanges",
                format!("waits for the next start: {}", keys.join(", ")),
            )),
            Note::Toothless(why) => blocked = Some(("WithoutEffect", why.clone())),
            Note::Fresh { copies, late } => {
                let condition = match copies {
                    Copies::Snapshots => ConditionType::SnapshotsFresh,
                    Copies::Backups => ConditionType::BackupsFresh,
                };
                let (reason, message) = match late {
                    Some(late) => ("TooOld", late.clone()),
                    None => ("NewEnough", "as new as they shall be".to_owned()),
                };
                out.push(claim(condition, late.is_none(), reason, message));
            }
            Note::Warning(_) | Note::Info(_) => {}
        }
    }
    if !delta.problems.is_empty() {
        let text = delta.problems.iter().map(|p| p.message.clone()).collect::<Vec<_>>().join("; ");
        out.push(claim(ConditionType::Degraded, true, "Refused", text.clone()));
        blocked = Some(("Refused", text));
    }
    let drifted: Vec<&str> = delta
        .changes
        .iter()
        .filter(|c| matches!(c.cause, Cause::Drift | Cause::Conflict))
        .map(|c| c.path.as_str())
        .collect();
    if !drifted.is_empty() {
        out.push(claim(ConditionType::Drifted, true, "ChangedOnCluster", drifted.join(", ")));
    }
    if delta.notes.contains(&Note::Paused) && !delta.changes.is_empty() {
        blocked = Some(("Paused", format!("{} left alone", counted(delta.changes.len(), "change"))));
    }
    let quiet = delta.action == Action::NoOp && blocked.is_none();
    let (reason, message) = blocked.unwrap_or_else(|| {
        if quiet {
            ("AsDeclared", "the cluster holds what the manifest says".into())
        } else {
            ("Differs", format!("{} to make", counted(delta.changes.len().max(1), "change")))
        }
    });
    out.insert(0, claim(ConditionType::Synced, quiet, reason, message.clone()));
    out.insert(0, claim(ConditionType::Ready, quiet, reason, message));
    out
}
