//! `/repos/{owner}/{repo}/actions/runs`, `…/jobs`.

use crate::github::wire::Response;
use crate::sim::github::course;
use crate::sim::github::exchange::{Asked, empty, json, refusal, with};
use crate::sim::github::shapes;
use crate::sim::github::state::Job;
use crate::sim::world::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// As many jobs as one run has at most.
const JOBS_MAX: u64 = 256;

/// `POST …/workflows/{id}/dispatches`: the inputs of the one workflow that every repository has say what its jobs ask for
/// (`labels`, with commas), how many seconds each takes (`takes`), and how many there are (`count`).
pub(super) fn dispatch(world: &mut World, asked: &Asked, repository: &str) -> Response {
    let input = |name: &str| asked.body["inputs"][name].as_str();
    let number = |name: &str, usual: u64| match input(name) {
        Some(text) => text.parse::<u64>().ok(),
        None => Some(usual),
    };
    let (Some(takes), Some(count)) = (number("takes", 60), number("count", 1).filter(|n| *n <= JOBS_MAX)) else {
        return refusal(
            422,
            "Unexpected inputs provided: `takes` and `count` are numbers, and a run has at most 256 jobs",
        );
    };
    if asked.body["ref"].as_str().is_none_or(str::is_empty) {
        return refusal(422, "Invalid request.\n\n\"ref\" wasn't supplied.");
    }
    let run = world.github.number();
    let labels = input("labels").unwrap_or("self-hosted").split(',').map(|label| label.trim().to_owned()).collect();
    let (api, repository, takes_ms) = (asked.base.clone(), repository.to_owned(), takes.saturating_mul(1000));
    let job = Job { run, api, repository, name: "build".to_owned(), labels, takes_ms, ..Job::default() };
    for _ in 0..count {
        course::queue(world, job.clone());
    }
    empty(204)
}

/// As many runs as a search answers.
const RUNS_MAX: usize = 1000;

pub(super) fn answer(world: &World, asked: &Asked, repository: &str, rest: &[&str]) -> Response {
    match rest {
        ["runs"] => runs(world, asked, repository),
        ["runs", id] => match of_run(world, asked, repository, id) {
            Some((id, jobs)) => json(200, &shapes::run(id, &jobs)),
            None => refusal(404, "Not Found"),
        },
        ["runs", id, "jobs"] => match of_run(world, asked, repository, id) {
            Some((_, jobs)) => {
                let count = jobs.len();
                let (page, next) = asked.page(jobs);
                let rows: Vec<Value> = page.into_iter().map(|job| shapes::job(&world.github, job)).collect();
                let response = json(200, &json!({ "total_count": count, "jobs": rows }));
                next.into_iter().fold(response, |response, link| with(response, "link", link))
            }
            None => refusal(404, "Not Found"),
        },
        ["jobs", id] => {
            let found = id.parse().ok().and_then(|id: u64| world.github.jobs.get(&id));
            match found.filter(|job| is_of(job, asked, repository)) {
                Some(job) => json(200, &shapes::job(&world.github, job)),
                None => refusal(404, "Not Found"),
            }
        }
        _ => refusal(404, "Not Found"),
    }
}

fn is_of(job: &Job, asked: &Asked, repository: &str) -> bool {
    job.api == asked.base && job.repository.eq_ignore_ascii_case(repository)
}

fn of_run<'w>(world: &'w World, asked: &Asked, repository: &str, id: &str) -> Option<(u64, Vec<&'w Job>)> {
    let id = id.parse().ok()?;
    let is = |job: &&Job| job.run == id && is_of(job, asked, repository);
    let jobs: Vec<&Job> = world.github.jobs.values().filter(is).collect();
    (!jobs.is_empty()).then_some((id, jobs))
}

fn runs(world: &World, asked: &Asked, repository: &str) -> Response {
    let mut all: BTreeMap<u64, Vec<&Job>> = BTreeMap::new();
    for job in world.github.jobs.values().filter(|job| is_of(job, asked, repository)) {
        all.entry(job.run).or_default().push(job);
    }
    let wanted = asked.param("status");
    // The newest first, and no more than a search ever shows.
    let found: Vec<(u64, Vec<&Job>)> = all
        .into_iter()
        .rev()
        .filter(|(_, jobs)| wanted.is_none_or(|wanted| shapes::run_status(jobs) == wanted))
        .take(RUNS_MAX)
        .collect();
    let count = found.len();
    let (page, next) = asked.page(found);
    let rows: Vec<Value> = page.iter().map(|(id, jobs)| shapes::run(*id, jobs)).collect();
    let response = json(200, &json!({ "total_count": count, "workflow_runs": rows }));
    next.into_iter().fold(response, |response, link| with(response, "link", link))
}
