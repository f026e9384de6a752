//! What was read in a pass: the index, and the raw answers to what kinds asked for. Raw, so that a fixture is JSON.

use crate::pve::error::PveError;
use crate::pve::request::Query;
use crate::resource::index::Index;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The answer to one read: PVE's `data`, or why there is none.
pub type Answer = Result<Arc<Value>, PveError>;

/// Everything that one pass has seen.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The table of contents.
    pub index: Index,
    /// Raw answers by the query that asked.
    pub answers: BTreeMap<Query, Answer>,
}

impl Observation {
    /// The answer to a query that was asked; `None` if it was not asked.
    pub fn answer(&self, query: &Query) -> Option<&Answer> {
        self.answers.get(query)
    }

    /// The value that a query brought, if it was asked and answered.
    pub fn value(&self, query: &Query) -> Option<&Value> {
        match self.answers.get(query) {
            Some(Ok(value)) => Some(value),
            Some(Err(_)) | None => None,
        }
    }
}
