//! Jobs asked for one repository at a time: the runs that wait or run, and their jobs.

use crate::github::book::{Book, count};
use crate::github::demand::{Ask, Demand, Job};
use crate::github::fault::Fault;
use crate::github::line::Line;
use crate::github::place::{Place, Scope};
use crate::github::webhook::{JobState, of_job};
use futures::StreamExt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// Runs of one repository whose jobs are asked for in one look; a repository with more is told.
const RUNS_MAX: usize = 300;
/// Requests at once; GitHub allows a hundred of one account.
const AT_ONCE: usize = 8;
/// The states of runs that may have a job for us: one that waits for an approval may have others that wait for a runner.
const STATES: [&str; 3] = ["queued", "in_progress", "waiting"];
/// A repository whose webhooks are heard is looked through so often, in seconds.
const SWEEP: i64 = 300;
/// Just after a webhook came nothing is asked, so that its job is not kept waiting, in seconds.
const HUSH: i64 = 5;
/// Jobs that are asked about in one look.
const CONFIRM_MAX: usize = 20;

/// The jobs of a repository that wait or run, and what is to be said of them.
async fn of_repository(
    line: &Line,
    place: &Place,
    repository: &str,
) -> Result<(Vec<(Job, JobState)>, Vec<String>), Fault> {
    if !Scope::Repository(repository.to_owned()).is_plain() {
        return Err(Fault::refused(400, format!("`{repository}` is no repository: write owner/name")));
    }
    let mut runs: BTreeSet<u64> = BTreeSet::new();
    for state in STATES {
        let path = format!("/repos/{repository}/actions/runs?status={state}");
        let rows = line.rows(place, &path, "workflow_runs").await?;
        runs.extend(rows.iter().filter_map(|row| row["id"].as_u64()));
    }
    let mut notes = Vec::new();
    if runs.len() > RUNS_MAX {
        notes.push(format!("{repository} has {} runs that wait or run; only {RUNS_MAX} were looked into", runs.len()));
    }
    let jobs = runs.into_iter().take(RUNS_MAX).map(|run| async move {
        let path = format!("/repos/{repository}/actions/runs/{run}/jobs?filter=latest");
        match line.rows(place, &path, "jobs").await {
            // It was deleted in between.
            Err(fault) if fault.status() == Some(404) => Ok(Vec::new()),
            answer => answer,
        }
    });
    let answers: Vec<Result<Vec<Value>, Fault>> = futures::stream::iter(jobs).buffer_unordered(AT_ONCE).collect().await;
    let mut found = Vec::new();
    for rows in answers {
        found.extend(rows?.iter().filter_map(|row| read(row, repository)));
    }
    found.sort_by_key(|(job, _)| (job.queued, job.id));
    Ok((found, notes))
}

/// A job of a list.
fn read(row: &Value, repository: &str) -> Option<(Job, JobState)> {
    let state = match row["status"].as_str()? {
        "queued" => JobState::Queued,
        "in_progress" => JobState::InProgress,
        "completed" => JobState::Completed,
        _ => JobState::Waiting,
    };
    Some((of_job(row, row["id"].as_u64()?, repository, state), state))
}

/// The repositories that are asked.
fn repositories(place: &Place, ask: &Ask) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = ask.repositories.iter().cloned().collect();
    if let (Scope::Repository(own), true) = (&place.scope, all.is_empty()) {
        all.insert(own.clone());
    }
    all
}

/// How much work there is, by asking.
pub(super) async fn demand(line: &Line, place: &Place, ask: &Ask) -> Result<Demand, Fault> {
    let all = repositories(place, ask);
    if all.is_empty() {
        let why = format!(
            "GitHub does not list the queued jobs of {}: name the repositories to ask (`repositories: [owner/name]`), or let \
             the demand be ScaleSet or Webhook",
            place.scope
        );
        return Err(Fault::refused(400, why));
    }
    let (mut jobs, mut notes, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for repository in &all {
        match of_repository(line, place, repository).await {
            Ok((found, said)) => {
                jobs.extend(found);
                notes.extend(said);
            }
            Err(fault) => faults.push((repository, fault)),
        }
    }
    if faults.len() == all.len()
        && let Some((_, fault)) = faults.pop()
    {
        return Err(fault);
    }
    notes.extend(faults.iter().map(|(of, fault)| format!("the jobs of {of} are not known: {}", fault.text())));
    let demand = count(jobs.iter().map(|(job, state)| (job, *state)), ask, line.now());
    Ok(Demand { notes, ..demand })
}

/// What is known by webhooks, and what is asked to be sure of it.
#[derive(Default)]
pub(super) struct Heard {
    book: Mutex<Book>,
    swept: Mutex<BTreeMap<(String, String), i64>>,
}

impl Heard {
    pub(super) fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().expect("no holder of this lock panics")
    }

    /// How much work there is, as webhooks told it.
    pub(super) async fn demand(&self, line: &Line, place: &Place, ask: &Ask) -> Result<Demand, Fault> {
        let mut notes = Vec::new();
        if self.book().quiet(line.now()) >= HUSH {
            notes.extend(self.sweep(line, place, ask).await);
            notes.extend(self.confirm(line, place, ask).await);
        }
        let demand = self.book().demand(place, ask, line.now());
        if !self.book().has_heard() && self.book().repositories(place).is_empty() && repositories(place, ask).is_empty()
        {
            notes.push(
                "no webhook was heard yet (the daemon hears them), and no repository is named to look for jobs: those that \
                 wait already are not known"
                    .to_owned(),
            );
        }
        Ok(Demand { notes, ..demand })
    }

    /// Looks for jobs whose webhooks were lost.
    async fn sweep(&self, line: &Line, place: &Place, ask: &Ask) -> Vec<String> {
        let mut all = repositories(place, ask);
        all.extend(self.book().repositories(place));
        let now = line.now();
        all.retain(|repository| {
            let mut swept = self.swept.lock().expect("no holder of this lock panics");
            let last = swept.entry((place.api.clone(), repository.to_ascii_lowercase())).or_insert(i64::MIN);
            let is_due = now.saturating_sub(*last) >= SWEEP;
            if is_due {
                *last = now;
            }
            is_due
        });
        let enterprise = match &place.scope {
            Scope::Enterprise(slug) => Some(slug.as_str()),
            Scope::Organization(_) | Scope::Repository(_) => None,
        };
        let mut notes = Vec::new();
        for repository in all {
            match of_repository(line, place, &repository).await {
                Ok((jobs, said)) => {
                    let mut book = self.book();
                    for (job, state) in jobs {
                        book.write(&place.api, enterprise, &job, state, now);
                    }
                    notes.extend(said);
                }
                Err(fault) => {
                    notes
                        .push(format!("jobs of {repository} whose webhooks were lost are not found: {}", fault.text()));
                }
            }
        }
        notes
    }

    /// Asks whether jobs that were heard of a while ago still wait, or run.
    async fn confirm(&self, line: &Line, place: &Place, ask: &Ask) -> Vec<String> {
        let doubtful = self.book().doubtful(place, ask, line.now());
        let asked = doubtful.into_iter().take(CONFIRM_MAX).map(|(id, repository)| async move {
            (id, line.get(place, &format!("/repos/{repository}/actions/jobs/{id}")).await, repository)
        });
        let answers: Vec<_> = futures::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
        let mut notes = Vec::new();
        let now = line.now();
        for (id, answer, repository) in answers {
            match answer.map(|row| read(&row, &repository)) {
                Ok(Some((job, state))) if job.id == id => {
                    self.book().write(&place.api, None, &job, state, now);
                }
                Err(fault) if fault.status() == Some(404) => self.book().strike(&place.api, id),
                Ok(_) => notes.push(format!("what GitHub says of the job {id} of {repository} is no job")),
                Err(fault) => {
                    notes.push(format!(
                        "whether the job {id} of {repository} still waits is not known: {}",
                        fault.text()
                    ));
                }
            }
        }
        notes
    }
}
