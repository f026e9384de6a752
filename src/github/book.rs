//! The jobs that webhooks told of. Pure. A job only ever goes on: what comes late, or a second time, changes nothing.

use crate::github::demand::{Ask, Demand, Job};
use crate::github::place::{Place, Scope};
use crate::github::webhook::{JobEvent, JobState};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Jobs that are remembered.
const JOBS_MAX: usize = 20_000;
/// Deliveries that are remembered.
const DELIVERIES_MAX: usize = 20_000;
/// A job that has ended is remembered so long, so that news of its beginning come too late, in seconds.
const ENDED_SECONDS: i64 = 3600;
/// GitHub cancels a job that was queued for a day, and one that runs for five.
const QUEUED_SECONDS: i64 = 24 * 3600;
const RUNNING_SECONDS: i64 = 5 * 24 * 3600;
/// A queued job is asked about when this has passed since it was heard of, or asked about, in seconds.
const CONFIRM_QUEUED: (i64, i64) = (30, 60);
/// The same for one that runs: its end may have been lost.
const CONFIRM_RUNNING: (i64, i64) = (300, 300);
/// Repositories that are known by their jobs.
const REPOSITORIES_MAX: usize = 50;

/// The book.
#[derive(Debug, Default)]
pub(super) struct Book {
    jobs: BTreeMap<(String, u64), Entry>,
    deliveries: BTreeSet<String>,
    order: VecDeque<String>,
    /// When a webhook came last, in seconds since 1970.
    heard: i64,
}

#[derive(Clone, Debug)]
struct Entry {
    job: Job,
    state: JobState,
    enterprise: Option<String>,
    /// When it was last told how far it is, in seconds since 1970.
    at: i64,
    /// When GitHub confirmed it.
    confirmed: i64,
}

impl Book {
    /// Writes a webhook down. True: it is news.
    pub(super) fn hear(&mut self, event: &JobEvent, now: i64) -> bool {
        if !event.delivery.is_empty() {
            if !self.deliveries.insert(event.delivery.clone()) {
                return false;
            }
            self.order.push_back(event.delivery.clone());
            if self.order.len() > DELIVERIES_MAX
                && let Some(old) = self.order.pop_front()
            {
                self.deliveries.remove(&old);
            }
        }
        self.heard = now;
        self.write(&event.api, event.enterprise.as_deref(), &event.job, event.state, now)
    }

    /// Writes down how far a job is. True: it is news.
    pub(super) fn write(&mut self, api: &str, enterprise: Option<&str>, job: &Job, state: JobState, now: i64) -> bool {
        let key = (api.to_ascii_lowercase(), job.id);
        let entry = Entry {
            job: job.clone(),
            state,
            enterprise: enterprise.map(str::to_ascii_lowercase),
            at: now,
            confirmed: now,
        };
        match self.jobs.get_mut(&key) {
            Some(known) if known.state < state => {
                let enterprise = entry.enterprise.clone().or_else(|| known.enterprise.clone());
                *known = Entry { enterprise, ..entry };
                true
            }
            Some(known) => {
                if known.state == state {
                    known.confirmed = now;
                }
                false
            }
            None => {
                self.tidy(now);
                let has_room = self.jobs.len() < JOBS_MAX;
                if has_room {
                    self.jobs.insert(key, entry);
                }
                has_room
            }
        }
    }

    /// Forgets a job that GitHub does not know.
    pub(super) fn strike(&mut self, api: &str, id: u64) {
        self.jobs.remove(&(api.to_ascii_lowercase(), id));
    }

    /// Whether any webhook came.
    pub(super) fn has_heard(&self) -> bool {
        self.heard != 0
    }

    /// Seconds since a webhook came last.
    pub(super) fn quiet(&self, now: i64) -> i64 {
        now - self.heard
    }

    fn tidy(&mut self, now: i64) {
        if !self.jobs.len().is_multiple_of(100) && self.jobs.len() < JOBS_MAX {
            return;
        }
        self.jobs.retain(|_, entry| entry.lives(now));
    }

    fn of<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a Entry> {
        let api = place.api.to_ascii_lowercase();
        let all = self.jobs.range((api.clone(), 0)..=(api, u64::MAX)).map(|(_, entry)| entry);
        all.filter(|entry| entry.is_of(&place.scope))
    }

    /// Jobs of a pool that are to be asked about, those first that were not for longest: number and repository.
    pub(super) fn doubtful(&self, place: &Place, ask: &Ask, now: i64) -> Vec<(u64, String)> {
        let mine = self.of(place).filter(|entry| {
            let (heard, again) = match entry.state {
                JobState::Queued => CONFIRM_QUEUED,
                JobState::InProgress => CONFIRM_RUNNING,
                JobState::Waiting | JobState::Completed => return false,
            };
            is_for(&entry.job, ask)
                && now - entry.at >= heard
                && (entry.confirmed == entry.at || now - entry.confirmed >= again)
        });
        let mut doubtful: Vec<(i64, u64, &str)> =
            mine.map(|entry| (entry.confirmed, entry.job.id, entry.job.repository.as_str())).collect();
        doubtful.sort_unstable();
        doubtful.into_iter().map(|(_, id, repository)| (id, repository.to_owned())).collect()
    }

    /// The repositories whose jobs were heard of.
    pub(super) fn repositories(&self, place: &Place) -> BTreeSet<String> {
        self.of(place).map(|entry| entry.job.repository.clone()).take(REPOSITORIES_MAX).collect()
    }

    /// The work of a pool.
    pub(super) fn demand(&self, place: &Place, ask: &Ask, now: i64) -> Demand {
        let entries = self.of(place).filter(|entry| entry.lives(now));
        count(entries.map(|entry| (&entry.job, entry.state)), ask, now)
    }
}

impl Entry {
    fn is_of(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Repository(name) => self.job.repository.eq_ignore_ascii_case(name),
            Scope::Organization(name) => {
                self.job.repository.split('/').next().is_some_and(|owner| owner.eq_ignore_ascii_case(name))
            }
            Scope::Enterprise(slug) => self.enterprise.as_deref().is_some_and(|have| have.eq_ignore_ascii_case(slug)),
        }
    }

    fn lives(&self, now: i64) -> bool {
        let span = match self.state {
            JobState::Queued | JobState::Waiting => QUEUED_SECONDS,
            JobState::InProgress => RUNNING_SECONDS,
            JobState::Completed => ENDED_SECONDS,
        };
        now - self.at < span
    }
}

/// Whether a pool's runners could take a job: it asks for labels, and for none that they lack.
pub(crate) fn is_for(job: &Job, ask: &Ask) -> bool {
    let has = |label: &String| ask.labels.iter().any(|have| have.to_lowercase() == label.to_lowercase());
    !job.labels.is_empty() && job.labels.iter().all(has)
}

/// Whether a runner has a name that a pool gives: `POOL-VMID-HHHHTTTTTT`. The pool `ci` has none of `ci-big`.
pub(crate) fn is_of_pool(runner: &str, pool: &str) -> bool {
    let (runner, pool) = (runner.to_lowercase(), pool.to_lowercase());
    let rest = runner.strip_prefix(&pool).and_then(|rest| rest.strip_prefix('-'));
    let parts = rest.and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(vmid, made)| vmid.parse::<u32>().is_ok() && !made.is_empty() && !made.contains('-'))
}

/// Counts the jobs that are a pool's: those that wait and that it could take, and those that its runners have.
pub(super) fn count<'a>(jobs: impl Iterator<Item = (&'a Job, JobState)>, ask: &Ask, now: i64) -> Demand {
    let has = |job: &Job| job.runner.as_deref().is_some_and(|name| is_of_pool(name, &ask.pool));
    let mine = jobs.filter(|(job, state)| match state {
        JobState::Queued => is_for(job, ask),
        JobState::InProgress => has(job),
        JobState::Waiting | JobState::Completed => false,
    });
    let mut demand = Demand { at: now, ..Demand::default() };
    for (job, state) in mine {
        demand.assigned = demand.assigned.saturating_add(1);
        if state == JobState::InProgress {
            demand.running += 1;
        } else {
            let queued = if job.queued > 0 { job.queued } else { now };
            demand.waiting_since = Some(demand.waiting_since.map_or(queued, |since| since.min(queued)));
        }
        demand.jobs.push(job.clone());
    }
    demand
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::place::{Auth, PUBLIC_API, SecretRef};
    use proptest::prelude::*;

    const NOW: i64 = 1_790_000_000;

    fn place(scope: Scope) -> Place {
        Place { api: PUBLIC_API.into(), scope, auth: Auth::Token(SecretRef::Env("T".into())) }
    }

    fn ask() -> Ask {
        Ask { pool: "ci".into(), labels: vec!["self-hosted".into(), "Linux".into(), "x64".into()], ..Ask::default() }
    }

    fn event(id: u64, labels: &[&str], state: JobState, delivery: &str) -> JobEvent {
        let runner = (state >= JobState::InProgress).then(|| "ci-50000-aaaa".to_owned());
        JobEvent {
            delivery: delivery.into(),
            api: PUBLIC_API.into(),
            enterprise: Some("Corp".into()),
            job: Job {
                id,
                repository: "Acme/app".into(),
                name: "build".into(),
                labels: labels.iter().map(|label| (*label).to_owned()).collect(),
                queued: NOW - 5,
                runner,
            },
            state,
            started: None,
            completed: None,
            conclusion: None,
        }
    }

    #[test]
    fn a_jobs_labels_must_all_be_the_pools() {
        for (labels, want) in [
            (&["linux"][..], true),
            (&["self-hosted", "LINUX", "X64"], true),
            (&["self-hosted", "linux", "gpu"], false),
            (&["ubuntu-latest"], false),
            (&[], false),
        ] {
            assert_eq!(is_for(&event(1, labels, JobState::Queued, "").job, &ask()), want, "{labels:?}");
        }
    }

    #[test]
    fn a_pool_whose_name_begins_with_anothers_is_another() {
        for (runner, pool, want) in [
            ("ci-50000-abcd0123ab", "ci", true),
            ("CI-50000-abcd0123ab", "ci", true),
            ("ci-big-50000-abcd0123ab", "ci", false),
            ("ci-big-50000-abcd0123ab", "ci-big", true),
            ("ci-5-50000-abcd0123ab", "ci", false),
            ("ci-5-50000-abcd0123ab", "ci-5", true),
            ("ci-50000", "ci", false),
            ("ci-50000-", "ci", false),
            ("ci", "ci", false),
            ("other-1", "ci", false),
        ] {
            assert_eq!(is_of_pool(runner, pool), want, "{runner} of {pool}");
        }
        let mut book = Book::default();
        let mut theirs = event(1, &["x64"], JobState::InProgress, "a");
        theirs.job.runner = Some("ci-big-50000-abcd0123ab".into());
        book.hear(&theirs, NOW);
        let here = place(Scope::Organization("acme".into()));
        assert_eq!(book.demand(&here, &ask(), NOW).assigned, 0);
        assert_eq!(book.demand(&here, &Ask { pool: "ci-big".into(), ..ask() }, NOW).assigned, 1);
    }

    #[test]
    fn a_job_goes_on_and_never_back() {
        let (mut book, here) = (Book::default(), place(Scope::Organization("acme".into())));
        let numbers = |book: &Book| {
            let demand = book.demand(&here, &ask(), NOW);
            (demand.assigned, demand.running, demand.waiting_since)
        };
        assert!(book.hear(&event(1, &["x64"], JobState::Waiting, "a"), NOW));
        assert_eq!(numbers(&book), (0, 0, None), "a gate is no demand");
        assert!(book.hear(&event(1, &["x64"], JobState::Queued, "b"), NOW));
        assert!(!book.hear(&event(1, &["x64"], JobState::Queued, "b"), NOW), "a replay");
        assert_eq!(numbers(&book), (1, 0, Some(NOW - 5)));
        assert!(book.hear(&event(1, &["x64"], JobState::InProgress, "c"), NOW));
        assert!(!book.hear(&event(1, &["x64"], JobState::Queued, "d"), NOW), "too late");
        assert_eq!(numbers(&book), (1, 1, None));
        assert!(book.hear(&event(1, &["x64"], JobState::Completed, "e"), NOW));
        assert!(!book.hear(&event(1, &["x64"], JobState::InProgress, "f"), NOW));
        assert_eq!(numbers(&book), (0, 0, None));
    }

    #[test]
    fn whose_a_job_is() {
        let mut book = Book::default();
        book.hear(&event(1, &["x64"], JobState::Queued, "a"), NOW);
        for (scope, want) in [
            (Scope::Organization("ACME".into()), 1),
            (Scope::Organization("acm".into()), 0),
            (Scope::Repository("acme/App".into()), 1),
            (Scope::Repository("acme/other".into()), 0),
            (Scope::Enterprise("corp".into()), 1),
            (Scope::Enterprise("acme".into()), 0),
        ] {
            assert_eq!(book.demand(&place(scope.clone()), &ask(), NOW).assigned, want, "{scope:?}");
        }
        let elsewhere =
            Place { api: "https://ghes.example/api/v3".into(), ..place(Scope::Organization("acme".into())) };
        assert_eq!(book.demand(&elsewhere, &ask(), NOW).assigned, 0);
        // Another pool's runner has it.
        let other = Ask { pool: "gpu".into(), ..ask() };
        book.hear(&event(1, &["x64"], JobState::InProgress, "b"), NOW);
        assert_eq!(book.demand(&place(Scope::Organization("acme".into())), &other, NOW).assigned, 0);
    }

    #[test]
    fn what_is_doubtful_is_asked_about_and_what_is_old_is_gone() {
        let (mut book, here) = (Book::default(), place(Scope::Organization("acme".into())));
        book.hear(&event(1, &["x64"], JobState::Queued, "a"), NOW);
        book.hear(&event(2, &["gpu"], JobState::Queued, "b"), NOW);
        assert_eq!(book.doubtful(&here, &ask(), NOW + 29), []);
        assert_eq!(book.doubtful(&here, &ask(), NOW + 30), [(1, "Acme/app".to_owned())]);
        book.write(PUBLIC_API, None, &event(1, &["x64"], JobState::Queued, "").job, JobState::Queued, NOW + 31);
        assert_eq!(book.doubtful(&here, &ask(), NOW + 90), []);
        assert_eq!(book.doubtful(&here, &ask(), NOW + 91).len(), 1);
        assert_eq!(book.demand(&here, &ask(), NOW + QUEUED_SECONDS - 1).assigned, 1);
        assert_eq!(book.demand(&here, &ask(), NOW + QUEUED_SECONDS).assigned, 0);
        book.strike(PUBLIC_API, 1);
        assert_eq!(book.demand(&here, &ask(), NOW).assigned, 0);
        assert_eq!(book.repositories(&here).len(), 1);
    }

    proptest! {
        #[test]
        fn no_order_of_webhooks_brings_a_job_back(order in Just((0..4_usize).collect::<Vec<_>>()).prop_shuffle(), again in 0..4_usize) {
            let states = [JobState::Waiting, JobState::Queued, JobState::InProgress, JobState::Completed];
            let (mut book, here) = (Book::default(), place(Scope::Organization("acme".into())));
            for (i, at) in order.iter().chain([&again]).enumerate() {
                book.hear(&event(1, &["x64"], states[*at], &i.to_string()), NOW);
            }
            prop_assert_eq!(book.demand(&here, &ask(), NOW).assigned, 0);
        }

        #[test]
        fn it_does_not_grow_for_ever(jobs in 1_u64..400) {
            let mut book = Book::default();
            for id in 0..jobs {
                let now = NOW + i64::try_from(id).expect("small") * 600;
                book.hear(&event(id, &["x64"], JobState::Queued, &format!("q{id}")), now);
                book.hear(&event(id, &["x64"], JobState::Completed, &format!("c{id}")), now);
            }
            prop_assert!(book.jobs.len() <= 200, "{}", book.jobs.len());
        }
    }
}
