//! What a report is made of: drift, what was compared, and the words that all forms share.

use crate::base::quantity::counted;
use crate::daemon::record::{DriftRecord, ObjectRecord, SourceRecord, State};
use crate::plan::assemble::Plan;
use crate::report::text::visible;
use crate::resource::step::Delta;

/// Letters of a value in a table.
const VALUE_MAX: usize = 60;

/// An object that was compared, or should have been.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Compared {
    /// Whose manifests declare it.
    pub source: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Why it could not be compared.
    pub error: Option<String>,
}

impl Compared {
    /// From what the daemon knows of an object.
    pub fn of(object: &ObjectRecord) -> Compared {
        let ObjectRecord { source, kind, name, error, .. } = object;
        Compared { source: source.clone(), kind: kind.clone(), name: name.clone(), error: error.clone() }
    }

    /// Everything that a daemon knows of: its objects, and the sources that cannot be used as they are.
    pub fn all(state: &State) -> Vec<Compared> {
        let broken = |source: &SourceRecord| {
            let claims = source.conditions.iter().filter(|c| c.condition == "Degraded");
            let words: Vec<&str> =
                claims.map(|c| c.message.as_str()).chain(source.diagnostics.iter().map(String::as_str)).collect();
            (!words.is_empty()).then(|| Compared {
                source: source.name.clone(),
                kind: "Source".to_owned(),
                name: source.name.clone(),
                error: Some(words.join("\n")),
            })
        };
        state.objects.values().map(Compared::of).chain(state.sources.values().filter_map(broken)).collect()
    }
}

/// What a report says of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Nothing: it was looked once, and nobody knows since when.
    None,
    /// Since when. The same drift makes the same text, so that a file changes only when drift does.
    Since,
    /// Since when, and for how long by this moment.
    Until(u64),
}

/// What a report is made of.
#[derive(Clone, Copy, Debug)]
pub struct Findings<'a> {
    /// Spells of drift; those that are over are left out.
    pub drift: &'a [DriftRecord],
    /// Everything that was compared, drifted or not.
    pub compared: &'a [Compared],
    /// What is said of time.
    pub times: Times,
}

impl<'a> Findings<'a> {
    /// Drift that lasts, by source, kind and name.
    pub fn lasting(&self) -> Vec<&'a DriftRecord> {
        let mut list: Vec<&DriftRecord> = self.drift.iter().filter(|drift| drift.healed_ms.is_none()).collect();
        list.sort_by_key(|drift| (&drift.source, &drift.kind, &drift.name, drift.seen_ms));
        list
    }

    /// Objects that could not be compared, in order.
    pub fn unseen(&self) -> Vec<&'a Compared> {
        let mut list: Vec<&Compared> = self.compared.iter().filter(|object| object.error.is_some()).collect();
        list.sort();
        list
    }

    /// `2 objects drifted, in 3 fields; 8 compared, 1 could not be.`
    pub fn summary(&self) -> String {
        let lasting = self.lasting();
        let fields: usize = lasting.iter().map(|drift| drift.fields.len()).sum();
        let unseen = self.unseen().len();
        let rest = if unseen > 0 { format!(", {unseen} could not be") } else { String::new() };
        format!(
            "{} drifted, in {}; {} compared{rest}.",
            counted(lasting.len(), "object"),
            counted(fields, "field"),
            self.compared.len() - unseen
        )
    }

    /// Since when a spell lasts, in words; `None` if nothing is said of time.
    pub fn since(&self, drift: &DriftRecord) -> Option<String> {
        let since = moment(drift.since_ms());
        match self.times {
            Times::None => None,
            Times::Since => Some(since),
            Times::Until(now_ms) => Some(format!("{since} ({})", span(drift.lasted_ms(now_ms)))),
        }
    }
}

/// What one look at a cluster compared.
pub fn compared(plan: &Plan) -> Vec<Compared> {
    let one = |delta: &Delta| {
        let refused = delta.problems.iter().map(|p| p.message.as_str()).collect::<Vec<_>>().join("; ");
        let error = match delta.unseen() {
            Some(node) => Some(format!("node {node} does not answer")),
            None => (!refused.is_empty()).then_some(refused),
        };
        let (kind, name) = (delta.resource.kind.clone(), delta.resource.name.clone());
        Compared { source: plan.set.clone(), kind, name, error }
    };
    plan.deltas.iter().map(one).collect()
}

/// A value on one line, cut for people.
pub(super) fn value(value: Option<&String>) -> String {
    let shown = whole(value);
    match shown.char_indices().nth(VALUE_MAX) {
        None => shown,
        Some((end, _)) => format!("{}…", &shown[..end]),
    }
}

/// A value on one line.
pub(super) fn whole(value: Option<&String>) -> String {
    match value {
        None => "(default)".to_owned(),
        Some(text) if text.is_empty() => "(empty)".to_owned(),
        Some(text) => visible(text),
    }
}

/// A time for people and machines, UTC.
pub fn moment(ms: u64) -> String {
    let stamp = i64::try_from(ms / 1000).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    stamp.map_or_else(|| "(no time)".to_owned(), |stamp| stamp.to_string())
}

/// `3 d 4 h`, `5 min`, `12 s`: the two largest units.
fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
