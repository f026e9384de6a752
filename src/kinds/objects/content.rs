//! What an object holds besides its fields, for the kinds that hold anything: how it is read, said and changed.

use crate::kinds::firewall_rules::list;
use crate::kinds::objects::row::{Holds, Row};
use crate::kinds::objects::{members, rules};
use crate::resource::index::text;
use crate::resource::merge::Cause;
use crate::resource::step::{Change, Impact, Problem, Step};
use serde_json::Value;

/// What is to be said and done about what an object holds.
#[derive(Default)]
pub struct Work {
    /// For people.
    pub changes: Vec<(String, Option<String>, Option<String>)>,
    /// For the machine.
    pub steps: Vec<Step>,
}

impl Work {
    /// The changes with their reason.
    pub fn changes(&self, cause: Cause) -> Vec<Change> {
        let change = |(path, from, to): &(String, Option<String>, Option<String>)| Change {
            path: path.clone(),
            from: from.clone(),
            to: to.clone(),
            cause,
            impact: Impact::None,
        };
        self.changes.iter().map(change).collect()
    }
}

/// The field in manifests.
pub fn field(holds: Holds) -> Option<&'static str> {
    match holds {
        Holds::Nothing => None,
        Holds::Members => Some("members"),
        Holds::Rules => Some("rules"),
    }
}

/// One text for all that it holds, so that two of them can be compared.
pub fn normal(holds: Holds, list: &Value) -> String {
    match holds {
        Holds::Nothing => String::new(),
        Holds::Members => members::normal(list).iter().map(members::line).collect::<Vec<_>>().join("; "),
        Holds::Rules => list::normal(list).iter().map(list::line).collect::<Vec<_>>().join("; "),
    }
}

/// As a manifest writes it.
pub fn export(holds: Holds, list: &Value) -> Value {
    match holds {
        Holds::Nothing => Value::Null,
        Holds::Members => members::normal(list).iter().map(members::export).collect(),
        Holds::Rules => list::normal(list).iter().map(rules::export).collect(),
    }
}

/// What makes one of the other.
pub fn work(row: &Row, id: &str, have: &Value, want: &Value) -> Work {
    match row.holds {
        Holds::Nothing => Work::default(),
        Holds::Members => members::work(row, id, &members::normal(have), &members::normal(want)),
        Holds::Rules => rules::work(row, id, have, &list::normal(want)),
    }
}

/// What is wrong with what a manifest says.
pub fn check(holds: Holds, list: &Value) -> Vec<Problem> {
    match holds {
        Holds::Nothing => Vec::new(),
        Holds::Members => members::check(list),
        Holds::Rules => rules::check(list),
    }
}

/// The text of a member of a row; nothing for what is not there.
pub fn member(row: &Value, name: &str) -> String {
    text(&row[name]).unwrap_or_default()
}
