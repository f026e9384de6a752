//! Runner pools: `/api/v1/runners`, what became of their machines, their jobs, and the page.

use crate::daemon::history::Past;
use crate::daemon::http::api::{Answer, Found, Refused, noted, or_memory, read};
use crate::daemon::http::page::{Leaf, open, rows};
use crate::daemon::http::select::{self, Params};
use crate::daemon::http::site::Site;
use crate::daemon::record::State;
use crate::daemon::runners::{JobRecord, PoolRecord, RunnerRecord};
use axum::extract::{RawQuery, State as Of};
use axum::response::Response;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::sync::Arc;

/// Machines and jobs of the past on the page.
const PAST_SHOWN: usize = 50;

fn pools_of(state: &State, params: &Params) -> Vec<PoolRecord> {
    let wanted = |pool: &&PoolRecord| params.is("source", &pool.source) && params.is("name", &pool.name);
    state.pools.values().filter(wanted).cloned().collect()
}

/// How pools and their machines stand.
pub async fn pools(Of(site): Of<Arc<Site>>, query: RawQuery) -> Answer {
    let params = read(&query, select::RUNNERS)?;
    noted(Found { items: site.look(|state| pools_of(state, &params)), note: None })
}

/// What became of machines.
pub async fn history(Of(site): Of<Arc<Site>>, query: RawQuery) -> Answer {
    let params = read(&query, select::MACHINES)?;
    let past = params.past(site.clock.now_ms()).map_err(Refused::wrong)?;
    noted(past_runners(&site, past, &params).await)
}

/// Jobs.
pub async fn jobs(Of(site): Of<Arc<Site>>, query: RawQuery) -> Answer {
    let params = read(&query, select::JOBS)?;
    let past = params.past(site.clock.now_ms()).map_err(Refused::wrong)?;
    noted(past_jobs(&site, past, &params).await)
}

fn of_pool(past: Past, params: &Params) -> Past {
    Past { kind: None, name: params.get("pool").map(str::to_owned), ..past }
}

/// What became of machines, those that were made last first.
async fn past_runners(site: &Site, past: Past, params: &Params) -> Found<RunnerRecord> {
    let past = of_pool(past, params);
    let read = site.past(past.clone(), |history, past| history.runners(past)).await;
    let mut found = or_memory(read, || {
        site.look(|state| {
            let all = state.runners.runners.values().filter(|runner| past.takes_runner(runner));
            newest(all, past.limit, |runner| (runner.seen_ms, runner.id.clone()))
        })
    });
    found.items.retain(|runner| {
        params.is("result", runner.result.as_deref().unwrap_or_default())
            && params.is("cause", runner.cause.as_deref().unwrap_or_default())
    });
    found
}

/// Jobs, those that came last first.
async fn past_jobs(site: &Site, past: Past, params: &Params) -> Found<JobRecord> {
    let past = of_pool(past, params);
    let read = site.past(past.clone(), |history, past| history.jobs(past)).await;
    let mut found = or_memory(read, || {
        site.look(|state| {
            let all = state.runners.jobs.values().filter(|job| past.takes_job(job));
            newest(all, past.limit, |job| (job.seen_ms, job.id.clone()))
        })
    });
    found.items.retain(|job| params.is("repository", &job.repository));
    found
}

fn newest<'a, T: Clone + 'a>(
    all: impl Iterator<Item = &'a T>,
    limit: usize,
    key: impl Fn(&T) -> (u64, String),
) -> Vec<T> {
    let mut all: Vec<T> = all.cloned().collect();
    all.sort_by_key(|record| Reverse(key(record)));
    all.truncate(limit);
    all
}

/// How a word is painted.
fn tone(word: &str) -> &'static str {
    match word {
        "Done" | "Idle" | "Busy" | "Removed" => "good",
        "Failed" | "Kept" => "bad",
        _ => "warn",
    }
}

/// `/runners`.
pub async fn page(Of(site): Of<Arc<Site>>, query: RawQuery) -> Result<Response, Response> {
    open(async {
        let leaf = Leaf::open(&site, "/runners", &query, select::RUNNERS)?;
        let pools = site.look(|state| pools_of(state, &leaf.params));
        let past = Past { limit: PAST_SHOWN, ..leaf.past()? };
        let named = leaf.params.get("name").map_or_else(Params::default, |name| Params::default().with("pool", name));
        let runners = past_runners(&site, past.clone(), &named).await;
        let jobs = past_jobs(&site, past, &named).await;
        let note = runners.note.or(jobs.note);
        let pool = |pool: &PoolRecord| {
            let mut value = json!(pool);
            let machines = pool.machines.iter().map(|machine| {
                let mut value = json!(machine);
                value["tone"] = tone(&machine.stage).into();
                value
            });
            value["machines"] = machines.collect();
            value
        };
        let runner = |runner: &RunnerRecord| {
            let mut value = json!(runner);
            let result = runner.result.as_deref().unwrap_or_default();
            value["tone"] = tone(result).into();
            (value["readyMs"], value["workedMs"]) = (json!(runner.ready_ms()), json!(runner.worked_ms()));
            value
        };
        let job = |job: &JobRecord| {
            let mut value = json!(job);
            (value["label"], value["waitedMs"]) = (job.label().into(), json!(job.waited_ms()));
            value
        };
        let pools: Vec<Value> = pools.iter().map(pool).collect();
        let runners: Vec<Value> = rows(runners.items).0.iter().map(runner).collect();
        let jobs: Vec<Value> = rows(jobs.items).0.iter().map(job).collect();
        let budgets = site.look(|state| json!(state.budgets));
        leaf.show(
            "runners",
            json!({"pools": pools, "runners": runners, "jobs": jobs, "budgets": budgets, "note": note}),
        )
    })
    .await
}
