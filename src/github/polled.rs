//! Jobs asked for one repository at a time: the runs that wait or run, and their jobs.

use crate::github::book::{Book, count, is_of_pool};
use crate::github::budget::{Account, Class, Cost};
use crate::github::demand::{Ask, Demand, Job};
use crate::github::fault::Fault;
use crate::github::line::Line;
use crate::github::place::{Place, Scope};
use crate::github::runner::Runner;
use crate::github::webhook::{JobState, of_job};
use futures::StreamExt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

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
/// And not for longer than this, in seconds: where jobs come all the time there is no quiet moment.
const HUSH_MAX: i64 = 30;
/// What was asked is forgotten when nobody wanted it for so long, in seconds.
const KEPT: i64 = 3600;
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
async fn asked(line: &Line, place: &Place, ask: &Ask) -> Result<Demand, Fault> {
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

/// What was asked, so that not every look asks it again: the looks of a fleet would spend the budget that its runners need.
#[derive(Default)]
pub(super) struct Polled {
    kept: Mutex<BTreeMap<(Place, Ask), Kept>>,
    /// One pool of an account asks at a time, so that what it costs is known.
    turns: Mutex<BTreeMap<Account, Arc<tokio::sync::Mutex<()>>>>,
}

/// An answer, or why there is none.
struct Kept {
    answer: Result<Demand, Fault>,
    account: Account,
    cost: Cost,
    /// Runners of the pool that have a job.
    at_work: BTreeSet<String>,
    /// Those that had one since it was asked, and are gone: their jobs are over.
    over: BTreeSet<String>,
    /// Until when it is used, in seconds since 1970.
    until: i64,
}

impl Kept {
    /// The answer, as far as it is true still.
    fn told(&self) -> Result<Demand, Fault> {
        let mut demand = self.answer.clone()?;
        let many = |names: &BTreeSet<String>| u32::try_from(names.len()).unwrap_or(u32::MAX);
        demand.assigned = demand.assigned.saturating_sub(many(&self.over));
        demand.running = many(&self.at_work).min(demand.assigned);
        demand.jobs.retain(|job| job.runner.as_ref().is_none_or(|name| !self.over.contains(name)));
        demand.waiting_since = demand.waiting_since.filter(|_| demand.assigned > demand.running);
        Ok(demand)
    }
}

impl Polled {
    fn kept(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Place, Ask), Kept>> {
        self.kept.lock().expect("no holder of this lock panics")
    }

    fn remembered(&self, key: &(Place, Ask), now: i64) -> Option<Result<Demand, Fault>> {
        self.kept().get(key).filter(|kept| kept.until > now).map(Kept::told)
    }

    /// Takes notice of a list of runners that was begun at a time: a runner that is gone has no job any more, and no machine is
    /// to be made for it.
    pub(super) fn listed(&self, place: &Place, runners: &[Runner], begun: i64) {
        for ((of, ask), kept) in self.kept().iter_mut() {
            let is_later = kept.answer.as_ref().is_ok_and(|demand| demand.at <= begun);
            if is_later && of.api == place.api && of.scope == place.scope {
                let (there, gone): (BTreeSet<_>, BTreeSet<_>) = std::mem::take(&mut kept.at_work)
                    .into_iter()
                    .partition(|name| runners.iter().any(|runner| runner.name == *name));
                let busy = runners.iter().filter(|runner| runner.busy && is_of_pool(&runner.name, &ask.pool));
                kept.over.extend(gone);
                kept.at_work = there.into_iter().chain(busy.map(|runner| runner.name.clone())).collect();
            }
        }
    }

    /// How much work there is: as it was asked a moment ago, else asked for.
    pub(super) async fn demand(&self, line: &Line, place: &Place, ask: &Ask) -> Result<Demand, Fault> {
        let key = (place.clone(), ask.clone());
        if let Some(answer) = self.remembered(&key, line.now()) {
            return answer;
        }
        let account = line.accounts.of(place);
        let turn = {
            let mut turns = self.turns.lock().expect("no holder of this lock panics");
            Arc::clone(turns.entry(account.clone()).or_default())
        };
        let _turn = turn.lock().await;
        // Somebody else may have asked it meanwhile.
        if let Some(answer) = self.remembered(&key, line.now()) {
            return answer;
        }
        let before = line.cost(&account);
        let answer = asked(line, place, ask).await;
        let (cost, now) = (line.cost(&account) - before, line.now());
        let mut kept = self.kept();
        let is_earlier = |of: &Place, its: &Ask| of.api == place.api && of.scope == place.scope && its.pool == ask.pool;
        kept.retain(|(of, its), kept| kept.until + KEPT > now && !is_earlier(of, its));
        // All that poll with this account share its budget.
        let others = kept.values().filter(|kept| kept.account == account).map(|kept| kept.cost);
        let all: Cost = others.chain([cost]).sum();
        let until = now + line.limits().rest(&account, Class::Core, all, now);
        let jobs = answer.iter().flat_map(|demand| &demand.jobs);
        let at_work = jobs.filter_map(|job| job.runner.clone()).collect();
        kept.insert(key, Kept { answer: answer.clone(), account, cost, at_work, over: BTreeSet::new(), until });
        answer
    }
}

/// What is known by webhooks, and what is asked to be sure of it.
#[derive(Default)]
pub(super) struct Heard {
    book: Mutex<Book>,
    /// When a repository of an API is to be looked through again, in seconds since 1970.
    due: Mutex<BTreeMap<(String, String), i64>>,
    /// When GitHub was asked last for a pool.
    looked: Mutex<BTreeMap<(String, Scope, String), i64>>,
}

impl Heard {
    pub(super) fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().expect("no holder of this lock panics")
    }

    /// How much work there is, as webhooks told it.
    pub(super) async fn demand(&self, line: &Line, place: &Place, ask: &Ask) -> Result<Demand, Fault> {
        let mut notes = Vec::new();
        if self.may_look(place, ask, line.now()) {
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

    /// Whether GitHub may be asked now, and the job that a webhook told of just now is not kept waiting by it.
    fn may_look(&self, place: &Place, ask: &Ask, now: i64) -> bool {
        let quiet = self.book().quiet(place, ask, now);
        let mut looked = self.looked.lock().expect("no holder of this lock panics");
        let last = looked.entry((place.api.clone(), place.scope.clone(), ask.pool.clone())).or_insert(now);
        let may = quiet >= HUSH || now - *last >= HUSH_MAX;
        if may {
            *last = now;
        }
        may
    }

    /// Looks for jobs whose webhooks were lost.
    async fn sweep(&self, line: &Line, place: &Place, ask: &Ask) -> Vec<String> {
        let mut all = repositories(place, ask);
        all.extend(self.book().repositories(place));
        let now = line.now();
        let key = |repository: &String| (place.api.clone(), repository.to_ascii_lowercase());
        all.retain(|repository| {
            let mut due = self.due.lock().expect("no holder of this lock panics");
            let at = due.entry(key(repository)).or_insert(i64::MIN);
            let is_due = *at <= now;
            if is_due {
                *at = now + SWEEP;
            }
            is_due
        });
        let account = line.accounts.of(place);
        let before = line.cost(&account);
        let enterprise = match &place.scope {
            Scope::Enterprise(slug) => Some(slug.as_str()),
            Scope::Organization(_) | Scope::Repository(_) => None,
        };
        let mut notes = Vec::new();
        for repository in &all {
            match of_repository(line, place, repository).await {
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
        let rest = line.limits().rest(&account, Class::Core, line.cost(&account) - before, now);
        if rest > SWEEP {
            let mut due = self.due.lock().expect("no holder of this lock panics");
            due.extend(all.iter().map(|repository| (key(repository), now + rest)));
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
            // A refusal is an answer, too: who asks at each look is refused everything at last.
            self.book().asked(&place.api, id, now);
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
