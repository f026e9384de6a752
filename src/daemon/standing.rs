//! How a record stands, in a word: what everybody asks who shows one.

use crate::daemon::record::{ConditionRecord, ObjectRecord, ProposalRecord, SourceRecord, Verdict};

impl ProposalRecord {
    /// Whether a person is still asked.
    pub fn waits(&self) -> bool {
        self.verdict == Verdict::Waiting
    }
}

impl SourceRecord {
    /// Whether a condition has this status.
    pub fn says(&self, condition: &str, status: &str) -> bool {
        says(&self.conditions, condition, status)
    }
}

impl ObjectRecord {
    /// Whether a condition has this status.
    pub fn says(&self, condition: &str, status: &str) -> bool {
        says(&self.conditions, condition, status)
    }

    /// The policy and the guest's number, if it is what a snapshot policy does to one guest.
    pub fn snapshots_of(&self) -> Option<(&str, &str)> {
        (self.kind == "SnapshotPolicy").then(|| self.name.split_once(':')).flatten()
    }

    /// In one word how it is: `Failed`, `Drifted`, `Ready`, `Differs`, `NotReady`; the first that is true.
    pub fn standing(&self) -> &'static str {
        match (self.error.is_some(), self.says("Drifted", "True"), self.says("Ready", "True")) {
            (true, _, _) => "Failed",
            (false, true, _) => "Drifted",
            (false, false, true) => "Ready",
            (false, false, false) if self.action != "NoOp" => "Differs",
            (false, false, false) => "NotReady",
        }
    }
}

fn says(conditions: &[ConditionRecord], condition: &str, status: &str) -> bool {
    conditions.iter().any(|c| c.condition == condition && c.status == status)
}
