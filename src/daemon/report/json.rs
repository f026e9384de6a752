//! For programs. The shape is a promise: `{"apiVersion", "kind": "DriftReport", "compared": 8, "drifted": 1, "items": [{drift as
//! /api/v1 has it, and "sinceMs", "lastedMs"}], "unseen": [{"source", "kind", "name", "error"}]}`; `lastedMs` only where the
//! report is of a moment.

use crate::daemon::record::DriftRecord;
use crate::daemon::report::findings::{Findings, Times};
use serde_json::{Value, json};

/// The report.
pub fn write(findings: &Findings<'_>) -> Value {
    let unseen = findings.unseen();
    let items: Vec<Value> = findings.lasting().into_iter().map(|drift| item(drift, findings.times)).collect();
    json!({
        "apiVersion": "pvectl/v1alpha1",
        "kind": "DriftReport",
        "compared": findings.compared.len() - unseen.len(),
        "drifted": items.len(),
        "items": items,
        "unseen": unseen
            .iter()
            .map(|o| json!({"source": o.source, "kind": o.kind, "name": o.name, "error": o.error}))
            .collect::<Vec<_>>(),
    })
}

fn item(drift: &DriftRecord, times: Times) -> Value {
    let mut value = json!(drift);
    match times {
        Times::None => {}
        Times::Since => value["sinceMs"] = drift.since_ms().into(),
        Times::Until(now_ms) => {
            value["sinceMs"] = drift.since_ms().into();
            value["lastedMs"] = drift.lasted_ms(now_ms).into();
        }
    }
    value
}
