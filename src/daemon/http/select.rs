//! What of the state somebody wants: the parameters after `?`, and which records they let through. Strict: an unknown
//! parameter is refused, because a filter with a typo would show too much.

use crate::base::diagnostic::nearest;
use crate::base::quantity::parse_seconds;
use crate::daemon::history::{LIMIT, LIMIT_MAX, Past};
use crate::daemon::record::{
    DriftRecord, EventRecord, ObjectRecord, ProposalRecord, RunRecord, SourceRecord, State, TaskRecord,
};
use std::collections::BTreeMap;

/// Parameters of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(BTreeMap<String, String>);

impl Params {
    /// Reads them. One without a value is as if it were not there: forms send empty fields.
    pub fn read(query: Option<&str>, known: &[&str]) -> Result<Params, String> {
        let mut params = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let near = nearest(&name, known.iter().copied());
                let hint =
                    near.map_or_else(|| format!("known are: {}", known.join(", ")), |n| format!("did you mean `{n}`?"));
                return Err(format!("unknown parameter `{name}`; {hint}"));
            }
            if !value.is_empty() && params.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(format!("parameter `{name}` is there twice"));
            }
        }
        Ok(Params(params))
    }

    /// A parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All of them, for the form that shows what is chosen.
    pub fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Sets one that stands in the path.
    pub fn with(mut self, name: &str, value: &str) -> Params {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Whether a parameter lets a value through.
    pub fn is(&self, name: &str, found: &str) -> bool {
        self.get(name).is_none_or(|wanted| wanted.eq_ignore_ascii_case(found))
    }

    /// As the history takes them.
    pub fn past(&self, now_ms: u64) -> Result<Past, String> {
        let own = |name| self.get(name).map(str::to_owned);
        let limit = match self.get("limit") {
            None => LIMIT,
            Some(text) => match text.parse::<usize>() {
                Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => limit,
                Ok(_) | Err(_) => return Err(format!("`limit={text}`: a number from 1 to {LIMIT_MAX} is wanted")),
            },
        };
        let (kind, name) = match self.get("object").map(|object| object.split_once('/')) {
            None => (own("kind"), own("name")),
            Some(Some((kind, name))) => (Some(kind.to_owned()), Some(name.to_owned())),
            Some(None) => return Err("`object` is written like VirtualMachine/web-01".to_owned()),
        };
        let time = |name| self.get(name).map(|text| moment(text, now_ms)).transpose();
        Ok(Past { source: own("source"), kind, name, since_ms: time("since")?, until_ms: time("until")?, limit })
    }
}

/// A moment: milliseconds since the epoch, RFC 3339, or how long ago (`24h`).
fn moment(text: &str, now_ms: u64) -> Result<u64, String> {
    if let Ok(ms) = text.parse::<u64>() {
        return Ok(ms);
    }
    if let Some(seconds) = parse_seconds(text) {
        return Ok(now_ms.saturating_sub(seconds.saturating_mul(1000)));
    }
    let at = text.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
    at.ok_or_else(|| format!("`{text}` is no time: 24h (ago), 2026-11-21T17:00:00Z, or milliseconds since 1970"))
}

/// Sources.
pub const SOURCES: &[&str] = &["name"];
/// Objects.
pub const OBJECTS: &[&str] = &["source", "kind", "name", "state"];
/// One object.
pub const OBJECT: &[&str] = &["source"];
/// Drift that lasts.
pub const DRIFT: &[&str] = &["source", "kind", "name"];
/// What was.
pub const HISTORY: &[&str] = &["source", "kind", "name", "object", "since", "until", "limit"];
/// Events.
pub const EVENTS: &[&str] = &["source", "kind", "name", "object", "level", "reason", "since", "until", "limit"];
/// Tasks of the clusters.
pub const TASKS: &[&str] = &["cluster", "node"];
/// Proposals.
pub const PROPOSALS: &[&str] = &["source", "verdict"];

/// Patch windows.
pub const WINDOWS: &[&str] = &["source", "name"];
/// What targets of patch windows got.
pub const PATCHES: &[&str] = &["source", "window", "target", "result", "since", "until", "limit"];

/// Runner pools.
pub const RUNNERS: &[&str] = &["source", "name"];
/// What became of their machines.
pub const MACHINES: &[&str] = &["source", "pool", "result", "cause", "since", "until", "limit"];
/// Their jobs.
pub const JOBS: &[&str] = &["source", "pool", "repository", "since", "until", "limit"];

/// Sources that are wanted.
pub fn sources(state: &State, params: &Params) -> Vec<SourceRecord> {
    state.sources.values().filter(|s| params.is("name", &s.name)).cloned().collect()
}

/// Objects that are wanted.
pub fn objects(state: &State, params: &Params) -> Vec<ObjectRecord> {
    let wanted = |o: &&ObjectRecord| {
        params.is("source", &o.source)
            && params.is("kind", &o.kind)
            && params.is("name", &o.name)
            && params.is("state", o.standing())
    };
    state.objects.values().filter(wanted).cloned().collect()
}

/// Drift that lasts, the newest first.
pub fn drift(state: &State, params: &Params) -> Vec<DriftRecord> {
    let wanted = |d: &&DriftRecord| {
        d.healed_ms.is_none()
            && params.is("source", &d.source)
            && params.is("kind", &d.kind)
            && params.is("name", &d.name)
    };
    let mut found: Vec<DriftRecord> = state.drift.iter().filter(wanted).cloned().collect();
    found.sort_by(|a, b| b.seen_ms.cmp(&a.seen_ms).then_with(|| a.id.cmp(&b.id)));
    found
}

/// Events out of memory.
pub fn events(state: &State, past: &Past) -> Vec<EventRecord> {
    state.events.iter().filter(|e| past.takes_event(e)).take(past.limit).cloned().collect()
}

/// Whether an event is of the level and reason that are wanted, which the history does not look at.
pub fn is_wanted(event: &EventRecord, params: &Params) -> bool {
    params.is("level", event.level.as_str()) && params.is("reason", &event.reason)
}

/// Runs in progress, the newest first.
pub fn running(state: &State, past: &Past) -> Vec<RunRecord> {
    let mut found: Vec<RunRecord> = state.running.values().filter(|r| past.takes_run(r)).cloned().collect();
    found.sort_by(|a, b| b.began_ms.cmp(&a.began_ms).then_with(|| a.id.cmp(&b.id)));
    found
}

/// Runs that ended, out of memory.
pub fn ended(state: &State, past: &Past) -> Vec<RunRecord> {
    state.runs.iter().filter(|r| past.takes_run(r)).take(past.limit).cloned().collect()
}

/// Tasks that are wanted.
pub fn tasks(state: &State, params: &Params) -> Vec<TaskRecord> {
    let wanted = |t: &&TaskRecord| params.is("cluster", &t.cluster) && params.is("node", &t.node);
    state.tasks.iter().filter(wanted).cloned().collect()
}

/// Proposals that are wanted: those that wait first, then the newest.
pub fn proposals(state: &State, params: &Params) -> Vec<ProposalRecord> {
    let wanted = |p: &&ProposalRecord| params.is("source", &p.source) && params.is("verdict", p.verdict.as_str());
    let mut found: Vec<ProposalRecord> = state.proposals.values().filter(wanted).cloned().collect();
    found.sort_by_key(|p| (!p.waits(), std::cmp::Reverse(p.made_ms), p.id.clone()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_strict_and_empty_ones_are_none() {
        let read = |query| Params::read(Some(query), OBJECTS);
        let params = read("kind=VirtualMachine&name=&state=ready").expect("well");
        assert_eq!((params.get("kind"), params.get("name")), (Some("VirtualMachine"), None));
        assert!(params.is("state", "Ready") && !params.is("state", "Failed") && params.is("name", "x"));
        for (query, says) in [("knd=x", "did you mean `kind`?"), ("zzzzzz=1", "known are"), ("kind=a&kind=b", "twice")]
        {
            assert!(read(query).is_err_and(|why| why.contains(says)), "{query}");
        }
    }

    #[test]
    fn times_are_read_in_three_forms() {
        let past = |query| Params::read(Some(query), HISTORY).and_then(|p| p.past(10_000_000));
        assert_eq!(past("since=1h").map(|p| p.since_ms), Ok(Some(6_400_000)));
        assert_eq!(past("since=123").map(|p| p.since_ms), Ok(Some(123)));
        assert_eq!(past("until=1970-01-01T00:00:01Z").map(|p| p.until_ms), Ok(Some(1000)));
        assert_eq!(past("").map(|p| p.limit), Ok(LIMIT));
        let object = past("object=Container/dns").expect("well");
        assert_eq!((object.kind.as_deref(), object.name.as_deref()), (Some("Container"), Some("dns")));
        for wrong in ["since=soon", "limit=0", "limit=99999999", "limit=x", "object=dns", "until=1960-01-01T00:00:00Z"]
        {
            assert!(past(wrong).is_err(), "{wrong}");
        }
    }
}
