//! `/api/v1`: what there is, as `{"items": […]}` of the records, which are a promise. A `note` beside the items says why they
//! may not be all.

use crate::daemon::history::Past;
use crate::daemon::http::select::{self, Params};
use crate::daemon::http::site::Site;
use crate::daemon::record::{DriftRecord, EventRecord, RunRecord};
use axum::Json;
use axum::extract::{Path, RawQuery, State as Of};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// An answer, or a refusal with its sentence.
pub type Answer = Result<Json<Value>, Refused>;

/// A refusal as JSON.
#[derive(Clone, Debug)]
pub struct Refused(pub StatusCode, pub String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

impl Refused {
    /// The request is not well.
    pub fn wrong(why: String) -> Refused {
        Refused(StatusCode::BAD_REQUEST, why)
    }

    /// There is no such thing.
    pub fn absent(what: &str, name: &str) -> Refused {
        Refused(StatusCode::NOT_FOUND, format!("there is no {what} `{name}`"))
    }
}

/// Records, and why they may not be all.
pub struct Found<T> {
    /// The records.
    pub items: Vec<T>,
    /// What is missing, as a sentence.
    pub note: Option<String>,
}

fn items<T: Serialize>(items: Vec<T>) -> Answer {
    noted(Found { items, note: None })
}

/// Records with their note.
pub fn noted<T: Serialize>(found: Found<T>) -> Answer {
    let Found { items, note } = found;
    let mut value = json!({"items": items});
    if let Some(note) = note {
        value["note"] = note.into();
    }
    Ok(Json(value))
}

/// The parameters of a request.
pub fn read(query: &RawQuery, known: &[&str]) -> Result<Params, Refused> {
    Params::read(query.0.as_deref(), known).map_err(Refused::wrong)
}

/// Sources.
pub async fn sources(Of(site): Of<Arc<Site>>, query: RawQuery) -> Answer {
    let params = read(&query, select::SOURCES)?;
    items(site.look(|state| select::sources(state, &params)))
}

/// Objects.
pub async fn objects(Of(site): Of<Arc<Site>>, query: RawQuery) -> Answer {
    let params = read(&query, select::OBJECTS)?;
    items(site.look(|state| select::objects(state, &params)))
}

/// One object; of each source that declares one of this name.
pub async fn object(Of(site): Of<Arc<Site>>, Path((kind, name)): Path<(String, String)>, query: RawQuery) -> Answer {
    let params = read(&query, select::OBJECT)?.with("kind", &kind).with("name", &name);
    let found = site.look(|state| select::objects(state, &params));
    if found.is_empty() { Err(Refused::absent("object", &format!("{kind}/{name}"))) } else { items(found) }
}

/// Drift that lasts.
pub async fn drift(Of(site): Of<Arc<Site>>, query: RawQuery) -> Answer {
    let params = read(&query, select::DRIFT)?;
    items(site.look(|state| select::drift(state, &params)))
}

/// Drift that was, and that lasts.
pub async fn drift_history(Of(site): Of<Arc<Site>>, query: RawQuery) -> Answer {
    let past = read(&query, select::HISTORY)?.past(site.clock.now_ms()).map_err(Refused::wrong)?;
    noted(past_drift(&site, past).await)
}

/// Events.
pub async fn events(Of(site): Of<Arc<Site>>, query: RawQuery) -> Answer {
    let params = read(&query, select::EVENTS)?;
    let past = params.past(site.clock.now_ms()).map_err(Refused::wrong)?;
    noted(past_events(&site, past, &params).await)
}

/// Runs: those in progress, then those that ended.
pub async fn runs(Of(site): Of<Arc<Site>>, query: RawQuery) -> Answer {
    let past = read(&query, select::HISTORY)?.past(site.clock.now_ms()).map_err(Refused::wrong)?;
    let mut found = past_runs(&site, past.clone()).await;
    let mut all = site.look(|state| select::running(state, &past));
    all.append(&mut found.items);
    noted(Found { items: all, ..found })
}

/// Tasks of the clusters that run.
pub async fn tasks(Of(site): Of<Arc<Site>>, query: RawQuery) -> Answer {
    let params = read(&query, select::TASKS)?;
    items(site.look(|state| select::tasks(state, &params)))
}

/// Proposals.
pub async fn proposals(Of(site): Of<Arc<Site>>, query: RawQuery) -> Answer {
    let params = read(&query, select::PROPOSALS)?;
    items(site.look(|state| select::proposals(state, &params)))
}

/// One proposal, itself and no list.
pub async fn proposal(Of(site): Of<Arc<Site>>, Path(id): Path<String>) -> Answer {
    let found = site.look(|state| state.proposals.get(&id).cloned());
    found.map(|p| Json(json!(p))).ok_or_else(|| Refused::absent("proposal", &id))
}

const NO_HISTORY: &str = "no history is kept (`store` is not configured): this is what the daemon remembers by itself";

fn unread(why: &str) -> String {
    format!("the history cannot be read ({why}): this is what the daemon remembers by itself")
}

/// What the history has, or else what is in memory with a note.
pub fn or_memory<T>(read: Option<Result<Vec<T>, String>>, memory: impl FnOnce() -> Vec<T>) -> Found<T> {
    match read {
        Some(Ok(items)) => Found { items, note: None },
        Some(Err(why)) => Found { items: memory(), note: Some(unread(&why)) },
        None => Found { items: memory(), note: Some(NO_HISTORY.to_owned()) },
    }
}

/// Drift that was, and that lasts.
pub async fn past_drift(site: &Site, past: Past) -> Found<DriftRecord> {
    let read = site.past(past.clone(), |history, past| history.drift(past)).await;
    or_memory(read, || {
        site.look(|state| {
            let mut found: Vec<_> = state.drift.iter().filter(|d| past.takes_drift(d)).cloned().collect();
            found.sort_by_key(|drift| std::cmp::Reverse(drift.seen_ms));
            found.truncate(past.limit);
            found
        })
    })
}

/// Events.
pub async fn past_events(site: &Site, past: Past, params: &Params) -> Found<EventRecord> {
    let read = site.past(past.clone(), |history, past| history.events(past)).await;
    let mut found = or_memory(read, || site.look(|state| select::events(state, &past)));
    found.items.retain(|event| select::is_wanted(event, params));
    found
}

/// Runs that ended.
pub async fn past_runs(site: &Site, past: Past) -> Found<RunRecord> {
    let read = site.past(past.clone(), |history, past| history.runs(past)).await;
    let mut found = or_memory(read, || site.look(|state| select::ended(state, &past)));
    found.items.retain(|run| run.ended_ms.is_some());
    found
}
