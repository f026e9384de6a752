//! The history as HTTP asks for it.

use crate::daemon::history::{History, Past};
use crate::daemon::record::{DriftRecord, EventRecord, RunRecord};
use crate::daemon::store::query::{self, Filter};
use crate::daemon::store::schema::StoreError;

fn filter(past: &Past) -> Filter {
    let Past { source, kind, name, since_ms, until_ms, limit } = past.clone();
    Filter { source, kind, name, since_ms, until_ms, limit }
}

impl History for query::History {
    fn drift(&self, past: &Past) -> Result<Vec<DriftRecord>, String> {
        self.drift(&filter(past)).map_err(|e: StoreError| e.in_full())
    }

    fn events(&self, past: &Past) -> Result<Vec<EventRecord>, String> {
        self.events(&filter(past)).map_err(|e: StoreError| e.in_full())
    }

    fn runs(&self, past: &Past) -> Result<Vec<RunRecord>, String> {
        self.runs(&filter(past)).map_err(|e: StoreError| e.in_full())
    }
}
