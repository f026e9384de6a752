//! Who listens to GitHub, and what is done when it has news: each pool whose jobs come by a scale set has a listener, as long as
//! its source may change things. What webhooks tell comes in here too.

use super::{Daemon, Thread};
use crate::daemon::github::concerns;
use crate::daemon::listen::{Listener, Told};
use crate::daemon::look;
use crate::daemon::record::{Level, Mode};
use crate::daemon::runners::BudgetRecord;
use crate::daemon::source::Reading;
use crate::daemon::work::{self, Listened};
use crate::github::book::{is_for, is_of_pool};
use crate::github::budget::Budget;
use crate::github::demand::{Ask, Source};
use crate::github::place::{Place, SecretRef};
use crate::github::webhook::{JobEvent, JobState};
use crate::kinds::runner_pool::NAME;
use crate::kinds::runner_pool::look::DRAIN;
use crate::kinds::runner_pool::spec::{RunnerPoolSpec, ask, place};
use crate::resource::reference::ResourceRef;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;

/// A pool of a source, as GitHub is asked for it.
pub(super) struct Pool {
    place: Place,
    ask: Ask,
    /// Where the secret stands with which GitHub signs webhooks for it.
    secret: Option<SecretRef>,
    /// Its manifest lets it be changed.
    enforced: bool,
    /// Its manifest says that it takes no job any more.
    drained: bool,
}

/// A listener, and what ends its turn.
pub(super) struct Ear {
    listener: Listener,
    stop: Arc<Notify>,
}

impl Ear {
    /// The clock was set back.
    pub(super) fn set_back(&mut self, by_ms: u64) {
        self.listener.set_back(by_ms);
    }
}

/// The pools of manifests for which GitHub is asked.
pub(super) fn pools(reading: &Reading, mode: Mode) -> BTreeMap<String, Pool> {
    let specs = reading.desired.resources.values().filter_map(|want| {
        let spec = want.spec.downcast_ref::<RunnerPoolSpec>()?;
        (spec.asks() && !want.paused).then_some((want, spec))
    });
    specs
        .map(|(want, spec)| {
            let name = want.resource.name.clone();
            let enforced = look::mode(mode, &reading.desired, &want.resource) == Mode::Enforce;
            let secret = spec.github.webhook_secret.clone();
            let drained = spec.drained || want.annotations.get(DRAIN).is_some_and(|said| said == "true");
            let pool = Pool { place: place(spec), ask: ask(spec, &name), secret, enforced, drained };
            (name, pool)
        })
        .collect()
}

impl Pool {
    /// Whether a webhook's news is about this pool: a job that its runners could take, or one that they have or had. An
    /// organisation's webhook tells of every job of it, and most are for others' runners.
    fn is_moved_by(&self, event: &JobEvent) -> bool {
        let JobEvent { job, state, .. } = event;
        let waits = match state {
            JobState::Queued => is_for(job, &self.ask),
            // One that is cancelled before it got a runner was waited for.
            JobState::Completed => job.runner.is_none() && is_for(job, &self.ask),
            JobState::Waiting | JobState::InProgress => false,
        };
        let has = job.runner.as_deref().is_some_and(|name| is_of_pool(name, &self.ask.pool));
        self.ask.source == Source::Webhook && concerns(&self.place.scope, event) && (waits || has)
    }
}

impl Thread {
    /// Something is new of which its look must not have an old answer: at once, whoever else waits.
    pub(super) fn hurry(&mut self, now: u64) {
        (self.heard, self.look_ms) = (true, Some(now));
        // The one in progress waits for no budget either, so that the next one can begin.
        self.urgent.store(true, Ordering::Relaxed);
    }
}

impl Daemon {
    /// Begins and ends listeners as manifests, modes and suspensions are, and lets each that is due ask.
    pub(super) fn listen(&mut self, now: u64) {
        let silent = self.once || self.ending;
        let mut wanted: BTreeMap<(usize, String), (Place, Ask)> = BTreeMap::new();
        for (line, thread) in self.threads.iter().enumerate().filter(|_| !silent) {
            if thread.config.mode != Mode::Enforce || self.is_suspended(thread) {
                continue;
            }
            // GitHub gives jobs to whom it hears, so a drained pool must fall silent.
            let listens = thread
                .pools
                .iter()
                .filter(|(_, pool)| pool.enforced && !pool.drained && pool.ask.source == Source::ScaleSet);
            wanted.extend(listens.map(|(name, pool)| ((line, name.clone()), (pool.place.clone(), pool.ask.clone()))));
        }
        for (key, ear) in &mut self.listeners {
            let stays = wanted.get(key).is_some_and(|(place, ask)| ear.listener.moved(place, ask));
            wanted.remove(key);
            if stays || ear.listener.has_ended() {
                continue;
            }
            if ear.listener.end() {
                ear.stop.notify_one();
            } else {
                let Listener { place, ask, .. } = ear.listener.clone();
                let github = Arc::clone(&self.places[self.threads[key.0].place].github);
                self.work.push(work::hang_up(key.clone(), github, (place, ask)));
            }
        }
        for (key, (place, ask)) in wanted {
            let listener = Listener::new(place, ask, now);
            self.listeners.insert(key, Ear { listener, stop: Arc::default() });
        }
        for (key, ear) in &mut self.listeners {
            if ear.listener.begin(now) {
                let Listener { place, ask, .. } = ear.listener.clone();
                let github = Arc::clone(&self.places[self.threads[key.0].place].github);
                self.work.push(work::listen(key.clone(), github, (place, ask), Arc::clone(&ear.stop)));
            }
        }
    }

    /// When a listener asks next.
    pub(super) fn listens_ms(&self) -> Option<u64> {
        self.listeners.values().filter_map(|ear| ear.listener.wake_ms()).min()
    }

    /// A turn of a listener has ended.
    pub(super) fn listened(&mut self, key: (usize, String), ended: Listened, now: u64) {
        let source = self.threads[key.0].config.name.clone();
        let object = ResourceRef::new(NAME, &key.1);
        let (well, why) = match ended {
            Listened::HungUp => {
                self.listeners.remove(&key);
                return;
            }
            Listened::Well(news) => (Some(news), String::new()),
            Listened::Failed(why) => (None, why),
        };
        let Some(ear) = self.listeners.get_mut(&key) else { return };
        if ear.listener.has_ended() {
            // Its turn was over before it was told to end: nobody but us hangs up.
            let Listener { place, ask, .. } = ear.listener.clone();
            let github = Arc::clone(&self.places[self.threads[key.0].place].github);
            self.work.push(work::hang_up(key, github, (place, ask)));
            return;
        }
        let told = ear.listener.ended(well, self.moments, now);
        match told {
            Told::Nothing => {}
            Told::Broken => {
                let text = format!("GitHub cannot be listened to, it is tried again: {why}");
                self.tell(&source, Some(&object), Level::Warning, "NotListening", text, None);
            }
            Told::Mended => {
                let text = "GitHub is listened to again".to_owned();
                self.tell(&source, Some(&object), Level::Normal, "NotListeningMended", text, None);
            }
        }
        if well == Some(true) {
            let thread = &mut self.threads[key.0];
            self.places[thread.place].cache.forget_github();
            thread.hurry(now);
        }
    }

    /// A look that began after so many moments went well: what was told before it is taken in.
    pub(super) fn heeded(&mut self, line: usize, began_after: u64, now: u64) {
        for (_, ear) in self.listeners.iter_mut().filter(|((of, _), _)| *of == line) {
            ear.listener.looked(began_after, now);
        }
    }

    /// Every listener is told to end; a wait for GitHub is not waited for.
    pub(super) fn hang_up(&mut self) {
        let now = self.last_ms;
        self.listen(now);
    }

    /// A webhook told of a job. `by`: the pool's secret that it was signed with, which is good for jobs where such a pool is.
    pub(super) fn heard(&mut self, event: &JobEvent, by: Option<&SecretRef>, now: u64) -> Result<String, String> {
        let mut pools = self.threads.iter().flat_map(|thread| thread.pools.values());
        let vouches = |secret: &SecretRef| {
            let is_of =
                |pool: &Pool| pool.place.api.eq_ignore_ascii_case(&event.api) && concerns(&pool.place.scope, event);
            pools.any(|pool| pool.secret.as_ref() == Some(secret) && is_of(pool))
        };
        if !by.is_none_or(vouches) {
            let repository = &event.job.repository;
            return Err(format!("the pool whose secret signed it is not for jobs of {repository} at {}", event.api));
        }
        let mut news = false;
        for place in &self.places {
            // Each hub keeps its own book.
            news |= place.github.heard(event);
        }
        if !news {
            return Ok("that was known".to_owned());
        }
        let mut looks = 0;
        for thread in &mut self.threads {
            if thread.pools.values().any(|pool| pool.is_moved_by(event)) {
                self.places[thread.place].cache.forget_github();
                thread.hurry(now);
                looks += 1;
            }
        }
        Ok(if looks == 0 { "it is no pool's".to_owned() } else { "heard".to_owned() })
    }

    /// Where the secrets stand with which GitHub signs webhooks.
    pub(super) fn webhook_secrets(&self) -> BTreeSet<SecretRef> {
        self.threads.iter().flat_map(|thread| thread.pools.values()).filter_map(|pool| pool.secret.clone()).collect()
    }

    /// What GitHub lets us ask, as everybody sees it.
    pub(super) fn budgets(&self) -> Vec<BudgetRecord> {
        let ms = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
        let one = |budget: Budget| {
            let Budget { api, account, resource, limit, remaining, reset, limited_until } = budget;
            let (reset_ms, limited_until_ms) = (ms(reset), limited_until.map(ms));
            BudgetRecord { api, account, resource, limit, remaining, reset_ms, limited_until_ms }
        };
        let mut all: Vec<BudgetRecord> = self.places.iter().flat_map(|place| place.github.budgets()).map(one).collect();
        // Of two clusters with the same account the one with the later hour is the newer; in the same hour, who knows of fewer.
        all.sort_by(|a, b| {
            let account = (&a.api, &a.account, &a.resource).cmp(&(&b.api, &b.account, &b.resource));
            account.then(b.reset_ms.cmp(&a.reset_ms)).then(a.remaining.cmp(&b.remaining))
        });
        all.dedup_by(|b, a| (&a.api, &a.account, &a.resource) == (&b.api, &b.account, &b.resource));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::demand::Job;
    use crate::github::place::{Auth, PUBLIC_API, Scope};

    #[test]
    fn a_webhook_is_about_a_pool_that_could_take_the_job_or_has_it() {
        let auth = Auth::Token(SecretRef::Env("TOKEN".into()));
        let place = Place { api: PUBLIC_API.into(), scope: Scope::Organization("acme".into()), auth };
        let ask = Ask { pool: "ci".into(), labels: vec!["linux".into()], source: Source::Webhook, ..Ask::default() };
        let pool = Pool { place, ask, secret: None, enforced: true, drained: false };
        let event = |state, labels: &[&str], runner: Option<&str>| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            let job =
                Job { repository: "acme/app".into(), labels, runner: runner.map(str::to_owned), ..Job::default() };
            let (api, delivery) = (PUBLIC_API.to_owned(), String::new());
            JobEvent { delivery, api, enterprise: None, job, state, started: None, completed: None, conclusion: None }
        };
        let ours = Some("ci-50000-ab12t3w0q1");
        for (state, labels, runner, moved) in [
            (JobState::Queued, ["Linux"], None, true),
            (JobState::Queued, ["ubuntu-latest"], None, false),
            (JobState::Waiting, ["linux"], None, false),
            (JobState::InProgress, ["linux"], Some("elses-1"), false),
            (JobState::InProgress, ["linux"], ours, true),
            (JobState::Completed, ["linux"], ours, true),
            (JobState::Completed, ["linux"], Some("ci-big-50000-ab12t3w0q1"), false),
            (JobState::Completed, ["linux"], None, true),
            (JobState::Completed, ["ubuntu-latest"], None, false),
        ] {
            assert_eq!(pool.is_moved_by(&event(state, &labels, runner)), moved, "{state:?} {labels:?} {runner:?}");
        }
        let mut other = event(JobState::Queued, &["linux"], None);
        other.job.repository = "elsewhere/app".into();
        assert!(!pool.is_moved_by(&other));
    }
}
