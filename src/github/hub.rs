//! The hub: what turns a plan's requests to GitHub ([`Operation`]) into GitHub's own, and keeps what these need: tokens, entity
//! tags, budgets, the sessions of scale sets, the jobs that webhooks told of. All of it may be lost at any time and costs some
//! requests only. Nothing of it is written anywhere.

use crate::base::clock::Clock;
use crate::github::budget::{Budget, Requests};
use crate::github::demand::{Ask, Demand, Source};
use crate::github::ear::Ears;
use crate::github::fault::Fault;
use crate::github::line::Line;
use crate::github::operation::Operation;
use crate::github::place::Place;
use crate::github::polled::{Heard, Polled};
use crate::github::registry::{Newcomer, Registry};
use crate::github::scale_set::Way;
use crate::github::tenant::Tenants;
use crate::github::webhook::JobEvent;
use crate::github::wire::{Secrets, Wire};
use crate::pve::api::Api;
use crate::pve::error::PveError;
use crate::pve::request::{Call, Params, Query};
use futures::future::BoxFuture;
use serde_json::Value;
use std::sync::Arc;

/// Everything that speaks to GitHub.
pub struct Hub {
    line: Line,
    registry: Registry,
    tenants: Tenants,
    ears: Ears,
    heard: Heard,
    polled: Polled,
}

impl Hub {
    /// A hub that knows nothing yet.
    pub fn new(wire: Arc<dyn Wire>, clock: Arc<dyn Clock>, secrets: Arc<dyn Secrets>) -> Hub {
        Hub {
            line: Line::new(wire, clock, secrets),
            registry: Registry::default(),
            tenants: Tenants::default(),
            ears: Ears::new("pvectl"),
            heard: Heard::default(),
            polled: Polled::default(),
        }
    }

    /// The same, whose listeners say that they are on this machine: GitHub shows it where a session is in the way.
    pub fn on(mut self, machine: &str) -> Hub {
        self.ears = Ears::new(&format!("pvectl on {machine}"));
        self
    }

    fn way<'a>(&'a self, place: &'a Place) -> Way<'a> {
        Way { line: &self.line, registry: &self.registry, tenants: &self.tenants, place }
    }

    /// One turn of the listener of a pool's scale set: acknowledges what the last turn told of (who calls again has handled it),
    /// opens a session if there is none, long-polls once, acquires the jobs that are to be had, and remembers statistics and jobs.
    /// True: the demand moved, and a look is due. One listener for a pool at a time: another turn waits for this one. Dropping
    /// the future in the middle loses nothing: what was not acknowledged is told again.
    pub async fn listen(&self, place: &Place, ask: &Ask) -> Result<bool, PveError> {
        let turn = self.ears.listen(&self.way(place), ask).await;
        turn.map_err(|fault| fault.told(&format!("GET /github/{}/messages", place.scope.path())))
    }

    /// The orderly end of [`Hub::listen`]: the session is deleted, so that another may have it. What fails is passed over:
    /// GitHub ends a session by itself that nobody asks. A turn that still goes on should be dropped before.
    pub async fn hang_up(&self, place: &Place, ask: &Ask) {
        self.ears.hang_up(&self.way(place), ask).await;
    }

    /// Remembers what a webhook told of a job; the next [`Operation::Demand`] of a pool with [`Source::Webhook`] counts it. True:
    /// it was news, and not a delivery that came before or too late.
    pub fn heard(&self, event: &JobEvent) -> bool {
        self.heard.book().hear(event, self.line.now())
    }

    /// What is left of the budgets that GitHub gave us, as its last answers said.
    pub fn budgets(&self) -> Vec<Budget> {
        self.line.limits().budgets(self.line.now())
    }

    /// The requests that were really sent to GitHub, repeats among them: one operation of a plan may be none, or many.
    pub fn requests(&self) -> Vec<Requests> {
        self.line.sent().all()
    }

    async fn demand(&self, place: &Place, ask: &Ask) -> Result<Demand, Fault> {
        match ask.source {
            Source::ScaleSet => self.ears.demand(&self.way(place), ask).await,
            Source::Webhook => self.heard.demand(&self.line, place, ask).await,
            Source::Polling => self.polled.demand(&self.line, place, ask).await,
        }
    }

    async fn just_in_time(&self, place: &Place, new: &Newcomer<'_>, set: Option<&str>) -> Result<Value, Fault> {
        let Some(pool) = set else { return self.registry.just_in_time(&self.line, place, new).await };
        let way = self.way(place);
        let number = self.ears.number(&way, pool, new.group).await?;
        match way.just_in_time(number, new).await {
            // The scale set was made anew since.
            Err(fault) if fault.status() == Some(404) => {
                self.ears.forget(place, pool, new.group);
                let number = self.ears.number(&way, pool, new.group).await?;
                way.just_in_time(number, new).await
            }
            answer => answer,
        }
    }

    async fn run(&self, place: &Place, operation: &Operation) -> Result<Value, Fault> {
        let (line, registry) = (&self.line, &self.registry);
        match operation {
            Operation::Runners => {
                let begun = line.now();
                let runners = registry.list(line, place).await?;
                self.polled.listed(place, &runners, begun);
                Ok(to_value(&runners))
            }
            Operation::Demand(ask) => Ok(to_value(&self.demand(place, ask).await?)),
            Operation::JustInTime { name, labels, group, folder, scale_set } => {
                self.just_in_time(place, &Newcomer { name, labels, group, folder }, scale_set.as_deref()).await
            }
            Operation::RegistrationToken => {
                let _turn = registry.turn(line, place).await;
                registry.token(line, place).await
            }
            Operation::Remove { runner } => registry.remove(line, place, *runner).await.map(|()| Value::Null),
            Operation::ScaleSet(ask) => self.ears.make(&self.way(place), ask).await.map(|()| Value::Null),
            Operation::RemoveScaleSet { pool, group } => {
                self.ears.remove(&self.way(place), pool, group).await.map(|()| Value::Null)
            }
        }
    }

    async fn answer(&self, method: &str, path: &str, params: &Params) -> Result<Value, PveError> {
        let request = format!("{method} {path}");
        let Some((place, operation)) = Operation::read(method, path, params) else {
            return Err(Fault::refused(501, "this is nothing that is asked of GitHub").told(&request));
        };
        self.run(&place, &operation).await.map_err(|fault| match (&operation, fault) {
            // The one answer that nobody can get again.
            (Operation::JustInTime { name, .. }, Fault::Lost(why)) => {
                let what =
                    format!("{why}; a registration `{name}` that was made is of no use any more, and is taken away");
                Fault::Lost(what).told(&request)
            }
            (_, fault) => fault.told(&request),
        })
    }
}

fn to_value(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("made of texts and numbers")
}

impl Api for Hub {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        Box::pin(self.answer("GET", &query.path, &query.params))
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        Box::pin(self.answer(call.method.as_str(), &call.path, &call.params))
    }
}

#[cfg(test)]
mod tests;
