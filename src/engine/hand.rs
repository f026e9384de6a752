//! One deed by hand: looked at, agreed to, sent once, followed, and looked at again. A request whose answer is lost is
//! searched for in the task list and in the object itself; it is never sent a second time.

use crate::engine::execute::{Stop, execute};
use crate::engine::follow::follow;
use crate::engine::observe::{get, index, read_all};
use crate::engine::reconcile::{Cluster, Halt};
use crate::plan::assemble::Plan;
use crate::plan::gate::{self, Consent};
use crate::pve::error::{PveError, Refusal};
use crate::pve::request::Query;
use crate::pve::upid::Upid;
use crate::report::event::{Event, Watch};
use crate::resource::hand::{Hand, Proof};
use crate::resource::observation::Observation;
use crate::resource::reference::ResourceRef;
use crate::resource::step::{Action, Delta, Note};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// Looks into the task list for a request whose answer was lost: a proxy may hand it on late.
const LOST_LOOKS_MAX: u32 = 5;
/// How long a lost request may take to show.
const LOST_PATIENCE: Duration = Duration::from_secs(10);
/// How long a lock that came after our request is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(600);
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Failed looks in a row after which what is there is not known.
const BLIND_LOOKS_MAX: u32 = 5;

/// How a deed ended.
#[derive(Debug)]
pub struct Performed {
    /// What was to be done.
    pub first: Plan,
    /// What is still to be done; empty when it is done.
    pub last: Plan,
    /// Worth knowing, though it is done.
    pub warning: Option<String>,
    /// Why it is not done, or not known to be; and what to do.
    pub failure: Option<(String, Option<String>)>,
}

/// What became of the request.
enum Fate {
    /// Its task, or it itself, ended well.
    Ended,
    /// Its answer was lost, and its task was found and ended well.
    Found(PveError),
    /// It may have taken effect.
    Unknown(PveError),
    /// It has not, says PVE.
    Failed(PveError),
}

/// What would be done, without doing it.
pub async fn preview(cluster: &Cluster<'_>, hand: &dyn Hand) -> Result<Plan, PveError> {
    let seen = look(cluster, hand, true).await?;
    Ok(alone(hand.plan(&seen, None)))
}

/// Does it. `agree` is shown the plan and decides whether it runs.
pub async fn perform(
    cluster: &Cluster<'_>,
    hand: &dyn Hand,
    consent: &Consent,
    watch: &dyn Watch,
    agree: &(dyn Fn(&Plan) -> bool + Sync),
) -> Result<Performed, Halt> {
    let before = look(cluster, hand, true).await.map_err(Halt::Unreadable)?;
    let first = alone(hand.plan(&before, None));
    let refusals = gate::gate(&first, consent);
    if !refusals.is_empty() {
        return Err(Halt::Refused(first, refusals));
    }
    if first.is_empty() {
        return Ok(Performed { last: first.clone(), first, warning: None, failure: None });
    }
    if !agree(&first) {
        return Err(Halt::Declined(first));
    }
    watch.event(Event::RoundStarted { round: 0, plan: &first });
    let done = execute(cluster, &first, watch).await;
    let fate = match done.into_iter().find_map(|d| d.stop) {
        None => Fate::Ended,
        Some(Stop::Failed { step, error }) if is_open(&error) => {
            let fate = adopt(cluster, hand, &before, error).await;
            if matches!(fate, Fate::Found(_)) {
                follow_up(cluster, hand, (&before, &first), &step, watch).await;
            }
            fate
        }
        Some(Stop::Failed { error, .. }) => Fate::Failed(error),
        Some(Stop::Guarded(_) | Stop::Skipped(_) | Stop::Changed { .. }) => {
            unreachable!("a deed has no guard and waits for nobody")
        }
    };
    let (last, blind) = verify(cluster, hand, &before, &fate).await;
    let last = last.unwrap_or_else(|| first.clone());
    let (warning, failure) = conclude(hand, fate, &last, blind);
    Ok(Performed { first, last, warning, failure })
}

/// Sends what was to come after the first request, whose answer was lost and whose task was found. What becomes of it shows
/// in the look that follows.
async fn follow_up(
    cluster: &Cluster<'_>,
    hand: &dyn Hand,
    (before, first): (&Observation, &Plan),
    lost: &str,
    watch: &dyn Watch,
) {
    let steps: Vec<_> = first.deltas.iter().flat_map(|d| &d.steps).collect();
    let later = match steps.as_slice() {
        [head, later @ ..] if head.title == lost && !later.is_empty() => later,
        _ => return,
    };
    let Ok(seen) = look(cluster, hand, false).await else { return };
    let mut rest = hand.plan(&seen, Some(before));
    rest.steps.retain(|step| later.contains(&step));
    if !rest.steps.is_empty() {
        execute(cluster, &alone(rest), watch).await;
    }
}

fn alone(delta: Delta) -> Plan {
    Plan { set: String::new(), deltas: vec![delta], orphans: Vec::new() }
}

async fn look(cluster: &Cluster<'_>, hand: &dyn Hand, first: bool) -> Result<Observation, PveError> {
    let index = index(cluster.api, cluster.clock, &BTreeSet::new()).await?;
    let reads = hand.reads(&index, first);
    let mut seen = read_all(cluster.api, cluster.clock, index, reads).await?;
    seen.at = i64::try_from(cluster.clock.now_ms() / 1000).unwrap_or(i64::MAX);
    Ok(seen)
}

/// Whether a failed request may have taken effect all the same: what lies between us and the guest's node may break after
/// the node has heard it.
fn is_open(error: &PveError) -> bool {
    match error {
        PveError::Lost { .. } | PveError::Garbled { .. } => true,
        PveError::Refused { .. } => matches!(error.refusal(), Some(Refusal::Unavailable | Refusal::NodeOffline)),
        PveError::Unsent { .. } | PveError::TaskFailed { .. } => false,
    }
}

/// Searches the task of a request whose answer was lost, and follows it.
async fn adopt(cluster: &Cluster<'_>, hand: &dyn Hand, before: &Observation, error: PveError) -> Fate {
    let Some((query, known)) = hand.tasks(before).and_then(|q| Some((q.clone(), upids(Some(before.value(&q)?)))))
    else {
        return Fate::Unknown(error);
    };
    let mut wait = FIRST_WAIT;
    for _ in 0..LOST_LOOKS_MAX {
        if let Some(upid) = new_task(cluster, hand, &query, &known).await {
            let request = format!("the request of {upid}");
            return match follow(cluster.api, cluster.clock, &request, &upid, &|_| ()).await {
                Ok(_) => Fate::Found(error),
                Err(failed @ PveError::TaskFailed { .. }) => Fate::Failed(failed),
                Err(lost) => Fate::Unknown(lost),
            };
        }
        cluster.clock.sleep(wait).await;
        wait = LONGEST_WAIT.min(wait * 2);
    }
    Fate::Unknown(error)
}

async fn new_task(cluster: &Cluster<'_>, hand: &dyn Hand, query: &Query, known: &BTreeSet<String>) -> Option<Upid> {
    let list = get(cluster.api, cluster.clock, query).await.ok()?;
    let fresh = upids(Some(&list)).into_iter().filter(|u| !known.contains(u)).filter_map(|u| Upid::parse(&u));
    fresh.filter(|u| hand.task_types().contains(&u.task_type.as_str())).last()
}

fn upids(list: Option<&Value>) -> BTreeSet<String> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(|t| Some(t["upid"].as_str()?.to_owned())).collect()
}

/// Looks until it is done or there is no hope; `Some` beside it: the last look failed.
async fn verify(
    cluster: &Cluster<'_>,
    hand: &dyn Hand,
    before: &Observation,
    fate: &Fate,
) -> (Option<Plan>, Option<PveError>) {
    let patience = match fate {
        Fate::Ended | Fate::Found(_) => hand.patience(),
        Fate::Unknown(_) => LOST_PATIENCE,
        Fate::Failed(_) => Duration::ZERO,
    };
    let after = |d: Duration| cluster.clock.now_ms() + u64::try_from(d.as_millis()).unwrap_or(u64::MAX / 2);
    let (end, end_of_lock) = (after(patience), after(LOCK_PATIENCE));
    let (mut last, mut blind, mut wait) = (None, 0, FIRST_WAIT);
    loop {
        let failed = match look(cluster, hand, false).await {
            Ok(seen) => {
                let delta = hand.plan(&seen, Some(before));
                let locked = delta.notes.iter().any(|n| matches!(n, Note::Locked(_)));
                let open = delta.is_open();
                last = Some(alone(delta));
                let late = cluster.clock.now_ms() >= if locked { end_of_lock } else { end };
                // A lock after a failure is worth a wait only where somebody else may make it so; a snapshot's own task leaves one.
                let hopeless = matches!(fate, Fate::Failed(_)) && (!locked || hand.proof() != Proof::State);
                if !open || late || hopeless {
                    return (last, None);
                }
                blind = 0;
                None
            }
            Err(error) => {
                blind += 1;
                Some(error)
            }
        };
        if blind >= BLIND_LOOKS_MAX {
            return (last, failed);
        }
        cluster.clock.sleep(wait).await;
        wait = LONGEST_WAIT.min(wait * 2);
    }
}

type Ending = (Option<String>, Option<(String, Option<String>)>);

fn conclude(hand: &dyn Hand, fate: Fate, last: &Plan, blind: Option<PveError>) -> Ending {
    let reached = blind.is_none() && last.deltas.iter().all(|d| d.action == Action::NoOp);
    let again = "look at it with pvectl describe before you repeat it: it was sent once, and not again".to_owned();
    match (fate, reached, hand.proof()) {
        (Fate::Ended, true, _) => (None, None),
        (Fate::Found(error), true, _) => (Some(format!("{error}; its task was found, and it ended well")), None),
        (Fate::Ended | Fate::Found(_), false, _) => {
            let why = match blind {
                Some(error) => format!("PVE says that it is done, but it could not be looked at again: {error}"),
                None => format!("PVE says that it is done, and yet {}", open(last)),
            };
            (None, Some((why, Some(again))))
        }
        (Fate::Unknown(error), true, Proof::State | Proof::Made) => {
            (Some(format!("{error}; it was looked for, and it is done")), None)
        }
        (Fate::Unknown(error), true, Proof::Task) => {
            (None, Some((format!("{error}; its task was not found, so whether it ran cannot be told"), Some(again))))
        }
        (Fate::Unknown(error), false, _) => {
            (None, Some((format!("{error}; it was looked for, and {}", open(last)), Some(again))))
        }
        (Fate::Failed(error), true, Proof::State) => (Some(format!("{error}; and yet it is as it was asked")), None),
        (Fate::Failed(error), _, _) => {
            (None, Some((error.to_string(), left(last).or_else(|| hand.remedy()).or_else(|| error.hint()))))
        }
    }
}

/// What to do about a lock that the task has left.
fn left(last: &Plan) -> Option<String> {
    let locked = last.deltas.iter().find_map(|delta| {
        let lock = delta.notes.iter().find_map(|n| if let Note::Locked(lock) = n { Some(lock) } else { None })?;
        Some((delta, lock))
    });
    let (delta, lock) = locked.filter(|(_, lock)| lock.starts_with("snapshot") || *lock == "rollback")?;
    let ResourceRef { kind, name } = &delta.resource;
    Some(format!("PVE left the lock `{lock}`: pvectl snapshot list {kind} {name} says what is left and what to do"))
}

/// What is not as it was asked, in words.
fn open(last: &Plan) -> String {
    let mut words = Vec::new();
    for delta in &last.deltas {
        words.extend(
            delta.changes.iter().map(|c| {
                format!("{} is {}", c.path, c.from.as_deref().filter(|f| !f.is_empty()).unwrap_or("not there"))
            }),
        );
        words.extend(delta.notes.iter().filter_map(|n| {
            if let Note::Locked(lock) = n { Some(format!("PVE holds the lock `{lock}`")) } else { None }
        }));
        words.extend(delta.problems.iter().map(|p| p.message.clone()));
    }
    if words.is_empty() { "it is not so".to_owned() } else { words.join("; ") }
}
