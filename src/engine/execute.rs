//! One plan's steps, sent within limits. A delta's steps run one after the other and stop at the first failure; deltas run
//! side by side as their order allows.

use crate::base::secret::Secret;
use crate::base::secret_file::BegunFile;
use crate::engine::follow::{Ended, follow};
use crate::engine::reconcile::Cluster;
use crate::plan::assemble::Plan;
use crate::pve::api::Api;
use crate::pve::error::PveError;
use crate::pve::request::Params;
use crate::pve::upid::Upid;
use crate::report::event::{Event, Outcome, Watch};
use crate::resource::index::text;
use crate::resource::marker::Marker;
use crate::resource::reference::ResourceRef;
use crate::resource::step::{Delta, Expect, Guard, Keeps, Limit, Rows, Saves, Step};
use futures::StreamExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, FutureExt, Shared};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// Deltas in progress at once.
const DELTAS_AT_ONCE: usize = 16;

/// How many may do a thing at once.
fn room(limit: &Limit) -> usize {
    match limit {
        Limit::Node(_) => 4,
        Limit::Storage(_) => 3,
        // Two linked clones from one template at once time out on PVE's lock.
        Limit::Template(_) | Limit::UserConfig | Limit::File(_) | Limit::Config(_) => 1,
        Limit::Policy { room, .. } => usize::from(*room),
    }
}

/// Semaphores by what they guard, made as they are needed.
#[derive(Default)]
struct Limits(Mutex<BTreeMap<Limit, Arc<Semaphore>>>);

impl Limits {
    fn of(&self, limit: &Limit) -> Arc<Semaphore> {
        let mut all = self.0.lock().expect("no holder of this lock panics");
        Arc::clone(all.entry(limit.clone()).or_insert_with(|| Arc::new(Semaphore::new(room(limit)))))
    }
}

/// Why a delta stopped before its end.
#[derive(Clone, Debug)]
pub enum Stop {
    /// A step failed.
    Failed {
        /// Which.
        step: String,
        /// Why.
        error: PveError,
    },
    /// The object is not what it was when the plan was made.
    Guarded(String),
    /// A list is not what it was when the plan was made.
    Changed {
        /// Which step was not sent.
        step: String,
    },
    /// Something that it needs failed.
    Skipped(ResourceRef),
}

/// What became of a delta.
#[derive(Clone, Debug)]
pub struct Done {
    /// Which resource.
    pub resource: ResourceRef,
    /// Steps that ended well.
    pub steps: usize,
    /// `None`: all of them.
    pub stop: Option<Stop>,
}

type Finished = Shared<oneshot::Receiver<bool>>;

/// Runs all steps of a plan and says what became of each delta that had any.
pub async fn execute(cluster: &Cluster<'_>, plan: &Plan, watch: &dyn Watch) -> Vec<Done> {
    let limits = Limits::default();
    let mut finished: BTreeMap<ResourceRef, Finished> = BTreeMap::new();
    let mut jobs = Vec::new();
    for delta in plan.deltas.iter().filter(|d| !d.steps.is_empty()) {
        let find = |r: &ResourceRef| Some((r.clone(), finished.get(r)?.clone()));
        // What it comes behind may be in the middle of something where it did not end well: another round then tells.
        let behind = delta.behind.iter().filter_map(find);
        let needs: Vec<(ResourceRef, Finished)> = delta.after.iter().filter_map(find).chain(behind).collect();
        let (sender, receiver) = oneshot::channel();
        finished.insert(delta.resource.clone(), receiver.shared());
        jobs.push((delta, needs, sender));
    }
    // In the plan's order, so that what others wait for is started first and the bound cannot deadlock.
    let mut runs: Vec<BoxFuture<'_, (usize, Done)>> = Vec::with_capacity(jobs.len());
    for (at, (delta, needs, sender)) in jobs.into_iter().enumerate() {
        let limits = &limits;
        // Boxed, so that the whole run may move between threads.
        runs.push(Box::pin(async move {
            let mut missing = None;
            for (resource, receiver) in needs {
                if receiver.await != Ok(true) {
                    missing = Some(resource);
                    break;
                }
            }
            let done = match missing {
                Some(resource) => {
                    Done { resource: delta.resource.clone(), steps: 0, stop: Some(Stop::Skipped(resource)) }
                }
                None => run(cluster, delta, limits, watch).await,
            };
            let _ = sender.send(done.stop.is_none());
            (at, done)
        }));
    }
    // One that takes long holds up its own place only; they begin in the plan's order all the same.
    let mut ended: Vec<(usize, Done)> = futures::stream::iter(runs).buffer_unordered(DELTAS_AT_ONCE).collect().await;
    ended.sort_by_key(|(at, _)| *at);
    ended.into_iter().map(|(_, done)| done).collect()
}

async fn run(cluster: &Cluster<'_>, delta: &Delta, limits: &Limits, watch: &dyn Watch) -> Done {
    let clock = cluster.clock;
    let mut done = Done { resource: delta.resource.clone(), steps: 0, stop: None };
    let mut kept = Params::new();
    for step in &delta.steps {
        let started = clock.now_ms();
        watch.event(Event::StepStarted { resource: &delta.resource, step, at_ms: started });
        let result = one(cluster, delta, (step, &mut kept), limits, watch).await;
        let outcome = match &result {
            Ok(Ended::Ok) => Outcome::Done,
            Ok(Ended::Warnings(lines)) => Outcome::Warned(lines.clone()),
            Err(Stop::Failed { error, .. }) => Outcome::Failed(error.clone()),
            Err(Stop::Guarded(why)) => Outcome::Guarded(why.clone()),
            Err(Stop::Changed { .. }) => {
                Outcome::Guarded("the list has changed meanwhile; it is looked at anew".into())
            }
            Err(Stop::Skipped(_)) => unreachable!("a step in progress is not skipped"),
        };
        watch.event(Event::StepEnded {
            resource: &delta.resource,
            step,
            outcome,
            took_ms: clock.now_ms().saturating_sub(started),
        });
        match result {
            Ok(_) => done.steps += 1,
            Err(stop) => {
                done.stop = Some(stop);
                if let Some(undo) = &step.undo {
                    take_back(cluster, delta, (undo, kept), watch).await;
                }
                break;
            }
        }
    }
    done
}

/// Sends what takes a failed step back. Its own failure is shown, and changes nothing: the step has failed.
async fn take_back(cluster: &Cluster<'_>, delta: &Delta, (undo, kept): (&Step, Params), watch: &dyn Watch) {
    let Cluster { api, clock, .. } = *cluster;
    let started = clock.now_ms();
    watch.event(Event::StepStarted { resource: &delta.resource, step: undo, at_ms: started });
    let mut call = undo.call.clone();
    call.params.extend(kept);
    let outcome = match api.send(&call).await {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(error),
    };
    let took_ms = clock.now_ms().saturating_sub(started);
    watch.event(Event::StepEnded { resource: &delta.resource, step: undo, outcome, took_ms });
}

async fn one(
    cluster: &Cluster<'_>,
    delta: &Delta,
    (step, kept): (&Step, &mut Params),
    limits: &Limits,
    watch: &dyn Watch,
) -> Result<Ended, Stop> {
    let Cluster { api, clock, files, .. } = *cluster;
    let mut wanted: Vec<&Limit> = step.limits.iter().collect();
    // One order for everybody, or two could wait for each other.
    wanted.sort();
    let mut permits = Vec::with_capacity(wanted.len());
    for limit in wanted {
        permits.push(limits.of(limit).acquire_owned().await.expect("these semaphores are never closed"));
    }
    if let Some(guard) = &step.guard {
        check(api, guard).await?;
    }
    let request = step.call.to_string();
    let failed = |error: PveError| Stop::Failed { step: step.title.clone(), error };
    if let Some(query) = &step.first {
        api.get(query).await.map_err(failed)?;
    }
    let mut call = step.call.clone();
    call.params.extend(kept.iter().cloned());
    if let Some(rows) = &step.rows {
        let now = api.get(&rows.query).await.map_err(failed)?;
        let digest = unchanged(rows, &now).ok_or_else(|| Stop::Changed { step: step.title.clone() })?;
        call.params.extend(digest.map(|digest| ("digest".to_owned(), digest)));
    }
    let begun = step.saves.as_ref().map(|saves| files.begin(&saves.file).map_err(|why| unsaved(&saves.file, &why)));
    let begun = begun.transpose()?;
    let answer = api.send(&call).await;
    if let (Some(saves), Some(begun)) = (&step.saves, begun) {
        return save(saves, begun, answer.and_then(|answer| told_once(answer, &request)).map_err(failed));
    }
    let answer = match (answer, step.keeps) {
        (Err(error @ (PveError::Lost { .. } | PveError::Garbled { .. })), Some(Keeps { param, lost })) => {
            return Err(Stop::Guarded(format!("{error}; the {param} in the answer is lost with it: {lost}")));
        }
        (answer, _) => answer.map_err(failed)?,
    };
    if let Some(Keeps { param, .. }) = step.keeps {
        let garbled = || PveError::Garbled { request: request.clone(), cause: format!("`{answer}` is no {param}") };
        let value = text(&answer).ok_or_else(|| failed(garbled()))?;
        kept.push((param.to_owned(), value));
    }
    let ended = match (step.expect, answer.as_str()) {
        (Expect::Task, Some(text)) => {
            let upid = Upid::parse(text).ok_or_else(|| {
                failed(PveError::Garbled { request: request.clone(), cause: format!("`{text}` is no task id") })
            })?;
            let progress = |percent: u8| watch.event(Event::Progress { resource: &delta.resource, step, percent });
            follow(api, clock, &request, &upid, &progress).await.map_err(failed)
        }
        // Some calls start a task only where there is work (a template of a CT answers null).
        (Expect::Task | Expect::Value, _) => Ok(Ended::Ok),
    };
    if let (Ok(_), Some(wait)) = (&ended, step.settles) {
        clock.sleep(wait).await;
    }
    ended
}

fn unsaved(file: &str, why: &str) -> Stop {
    Stop::Guarded(format!("there is no place for its secret in `{file}`: {why}; nothing was sent"))
}

/// The secret in an answer. What else it is, is never shown.
fn told_once(mut answer: Value, request: &str) -> Result<Secret, PveError> {
    match answer.get_mut("value").map(Value::take) {
        Some(Value::String(secret)) => Ok(Secret::new(secret)),
        Some(_) | None => {
            Err(PveError::Garbled { request: request.to_owned(), cause: "there is no secret in the answer".into() })
        }
    }
}

/// Keeps a secret that was told. Where none was, there is no file either.
fn save(saves: &Saves, begun: Box<dyn BegunFile>, secret: Result<Secret, Stop>) -> Result<Ended, Stop> {
    let secret = match secret {
        Ok(secret) => secret,
        Err(stop) => {
            begun.discard();
            return Err(stop);
        }
    };
    let line = Secret::new(format!("{}{}", saves.before, secret.expose()));
    begun.keep(&line).map(|()| Ended::Ok).map_err(|why| {
        Stop::Guarded(format!(
            "it is made, but its secret could not be written to `{}`, and is lost: {why}",
            saves.file
        ))
    })
}

/// The digest of a list that still holds the rows that the plan was made for; an empty list has none.
fn unchanged(rows: &Rows, now: &Value) -> Option<Option<String>> {
    let list = now.as_array()?;
    let values = |row: &Value| rows.keys.iter().map(|k| text(&row[*k]).unwrap_or_default()).collect();
    let seen: Vec<Vec<String>> = list.iter().map(values).collect();
    (seen == rows.rows).then(|| list.first().and_then(|row| text(&row["digest"])))
}

/// The object as it is this moment, right before something is destroyed: it must still be ours.
async fn check(api: &dyn Api, guard: &Guard) -> Result<(), Stop> {
    let value = match api.get(&guard.query).await {
        Ok(value) => value,
        Err(error) => return Err(Stop::Failed { step: "look once more before deleting".into(), error }),
    };
    still(&value, guard).map_err(Stop::Guarded)
}

/// Whether a configuration is still that of the object which the plan was made for; why not.
fn still(config: &Value, guard: &Guard) -> Result<(), String> {
    let Some(marker) = text(&config["description"]).and_then(|notes| Marker::split(&notes).1) else {
        return Err("it no longer carries our marker; left alone".into());
    };
    if marker.owner != guard.owner || marker.set != guard.set {
        return Err(format!("it now belongs to {} of the set `{}`; left alone", marker.owner, marker.set));
    }
    match &guard.applied {
        Some((field, value)) if marker.applied.get(field) != Some(value) => {
            Err("another one has its number meanwhile; left alone".into())
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pve::request::Query;
    use serde_json::json;

    #[test]
    fn only_what_the_plan_was_made_for_is_destroyed() {
        let owner = ResourceRef::new("RunnerPool", "ci:50000");
        let marker = |owner: &ResourceRef, set: &str, made: &str| Marker {
            owner: owner.clone(),
            set: set.to_owned(),
            vmid: Some(50_000),
            retain: false,
            member_of: None,
            source: None,
            version: None,
            applied: BTreeMap::from([("runner.made".to_owned(), made.to_owned())]),
        };
        let made = |at: &str| Some(("runner.made".to_owned(), at.to_owned()));
        let guard = |applied| Guard { query: Query::new("/x"), owner: owner.clone(), set: "home".into(), applied };
        let config = |marker: Marker| json!({"description": marker.join("")});
        let now = config(marker(&owner, "home", "17"));
        assert_eq!(still(&now, &guard(None)), Ok(()));
        assert_eq!(still(&now, &guard(made("17"))), Ok(()));
        let why = still(&now, &guard(made("16"))).expect_err("its number was used again");
        assert!(why.contains("another one has its number"), "{why}");
        assert!(still(&config(marker(&owner, "work", "17")), &guard(made("17"))).is_err());
        assert!(
            still(&config(marker(&ResourceRef::new("RunnerPool", "cd:50000"), "home", "17")), &guard(None)).is_err()
        );
        assert!(still(&json!({"description": "by hand"}), &guard(None)).is_err());
    }
}
