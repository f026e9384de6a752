//! GitHub as the loop needs it, besides what plans ask of it: who waits for what it has to tell, who hears its webhooks, who
//! knows what it lets us ask.

use crate::github::budget::Budget;
use crate::github::demand::Ask;
use crate::github::hub::Hub;
use crate::github::place::{Place, Scope};
use crate::github::webhook::JobEvent;
use crate::pve::error::PveError;
use futures::future::BoxFuture;

/// What speaks to GitHub.
pub trait GitHub: Send + Sync {
    /// One turn of a scale set's listener: acknowledges what the last one told of, waits, remembers. True: there is news.
    fn listen<'a>(&'a self, place: &'a Place, ask: &'a Ask) -> BoxFuture<'a, Result<bool, PveError>>;
    /// Its orderly end.
    fn hang_up<'a>(&'a self, place: &'a Place, ask: &'a Ask) -> BoxFuture<'a, ()>;
    /// Remembers what a webhook told. True: it was news.
    fn heard(&self, event: &JobEvent) -> bool;
    /// What GitHub lets us ask.
    fn budgets(&self) -> Vec<Budget>;
}

impl GitHub for Hub {
    fn listen<'a>(&'a self, place: &'a Place, ask: &'a Ask) -> BoxFuture<'a, Result<bool, PveError>> {
        Box::pin(Hub::listen(self, place, ask))
    }

    fn hang_up<'a>(&'a self, place: &'a Place, ask: &'a Ask) -> BoxFuture<'a, ()> {
        Box::pin(Hub::hang_up(self, place, ask))
    }

    fn heard(&self, event: &JobEvent) -> bool {
        Hub::heard(self, event)
    }

    fn budgets(&self) -> Vec<Budget> {
        Hub::budgets(self)
    }
}

/// Nobody: what is asked stays unanswered.
pub struct Nobody;

impl GitHub for Nobody {
    fn listen<'a>(&'a self, _place: &'a Place, _ask: &'a Ask) -> BoxFuture<'a, Result<bool, PveError>> {
        Box::pin(std::future::pending())
    }

    fn hang_up<'a>(&'a self, _place: &'a Place, _ask: &'a Ask) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    fn heard(&self, _event: &JobEvent) -> bool {
        false
    }

    fn budgets(&self) -> Vec<Budget> {
        Vec::new()
    }
}

/// Whether a webhook's job may be one of a scope's.
pub fn concerns(scope: &Scope, event: &JobEvent) -> bool {
    match scope {
        Scope::Repository(name) => name.eq_ignore_ascii_case(&event.job.repository),
        Scope::Organization(name) => {
            event.job.repository.split_once('/').is_some_and(|(owner, _)| owner.eq_ignore_ascii_case(name))
        }
        Scope::Enterprise(slug) => {
            event.enterprise.as_ref().is_some_and(|enterprise| enterprise.eq_ignore_ascii_case(slug))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::demand::Job;
    use crate::github::webhook::JobState;

    #[test]
    fn a_job_is_of_its_repository_its_owner_and_its_enterprise() {
        let event = JobEvent {
            delivery: String::new(),
            api: String::new(),
            enterprise: Some("corp".into()),
            job: Job { repository: "Acme/app".into(), ..Job::default() },
            state: JobState::Queued,
            started: None,
            completed: None,
            conclusion: None,
        };
        for (scope, concerned) in [
            (Scope::Organization("acme".into()), true),
            (Scope::Organization("acm".into()), false),
            (Scope::Repository("acme/APP".into()), true),
            (Scope::Repository("acme/app2".into()), false),
            (Scope::Enterprise("Corp".into()), true),
            (Scope::Enterprise("acme".into()), false),
        ] {
            assert_eq!(concerns(&scope, &event), concerned, "{scope}");
        }
    }
}
