//! What can go wrong between us and GitHub, and how it is told to whoever asked: as an error of the wire, as PVE's are, so that
//! the engine treats both alike.

use crate::github::wire::{Response, WireError};
use crate::pve::error::{PveError, Refusal};
use serde_json::Value;
use std::collections::BTreeMap;

/// A failed exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing was sent.
    Unsent(String),
    /// It was sent, and whether it took effect is not known.
    Lost(String),
    /// GitHub lets us ask again at a time only; nothing was sent, or GitHub did nothing.
    Limited {
        /// Until when, in seconds since 1970.
        until: i64,
        /// What GitHub said.
        why: String,
    },
    /// GitHub said no.
    Refused {
        /// HTTP's status.
        status: u16,
        /// The request that it said no to, and its words.
        reason: String,
        /// GitHub's name for it, as its Actions service has them: `AgentExistsException`.
        kind: String,
    },
    /// An answer that is not GitHub's, or not of the expected form.
    Garbled(String),
    /// There is no secret to speak with.
    Secret(String),
}

/// The longest piece of GitHub's words that is told on.
const WORDS_MAX: usize = 300;

impl Fault {
    /// A refusal of our own making.
    pub(super) fn refused(status: u16, reason: impl Into<String>) -> Fault {
        Fault::Refused { status, reason: reason.into(), kind: String::new() }
    }

    /// What an answer of 400 or more says. `what` is the request: `GET /orgs/acme/actions/runners`.
    pub(super) fn of(what: &str, response: &Response) -> Fault {
        let Response { status, body, .. } = response;
        let json = json(body).unwrap_or(Value::Null);
        let mut words = json["message"].as_str().unwrap_or_default().to_owned();
        for error in json["errors"].as_array().into_iter().flatten() {
            let more = error.as_str().or_else(|| error["message"].as_str()).unwrap_or_default();
            if !more.is_empty() {
                words = format!("{words}; {more}");
            }
        }
        if let (true, Some(to)) = ((300..400).contains(status), response.header("location")) {
            words = format!("it is elsewhere now ({to}): was it renamed? write its new name");
        }
        let words: String = words.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
        let says = if words.is_empty() { "it said nothing more".to_owned() } else { words };
        let kind = json["typeName"].as_str().unwrap_or_default().chars().take(WORDS_MAX).collect();
        Fault::Refused { status: *status, reason: format!("GitHub answered {what} with {status}: {says}"), kind }
    }

    /// Why there is no answer at all.
    pub(super) fn no_answer(what: &str, error: WireError) -> Fault {
        match error {
            WireError::Unsent(why) => Fault::Unsent(format!("GitHub is not reached for {what}: {why}")),
            WireError::Lost(why) => Fault::Lost(format!("GitHub did not answer {what}: {why}")),
        }
    }

    /// The status, where GitHub gave one.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Fault::Refused { status, .. } => Some(*status),
            Fault::Unsent(_) | Fault::Lost(_) | Fault::Limited { .. } | Fault::Garbled(_) | Fault::Secret(_) => None,
        }
    }

    /// Whether GitHub's Actions service has this name for it. Its names come with their assembly's: part of it is enough.
    pub(super) fn is(&self, name: &str) -> bool {
        match self {
            Fault::Refused { kind, .. } => kind.contains(name),
            Fault::Unsent(_) | Fault::Lost(_) | Fault::Limited { .. } | Fault::Garbled(_) | Fault::Secret(_) => false,
        }
    }

    /// What a person reads of it.
    pub(super) fn text(&self) -> String {
        match self {
            Fault::Unsent(text) | Fault::Lost(text) | Fault::Garbled(text) | Fault::Secret(text) => text.clone(),
            Fault::Refused { reason, .. } => reason.clone(),
            Fault::Limited { until, why } => format!("nothing is asked of GitHub until {}: {why}", time(*until)),
        }
    }

    /// As the error of a request of a plan's. A read that fails is refused, whatever happened: it must never end a pass over
    /// other things. A status that means something else with PVE is told as the one that means it.
    pub(super) fn told(self, request: &str) -> PveError {
        let is_read = request.starts_with("GET ");
        let request = request.to_owned();
        let refused =
            |status, reason| PveError::Refused { request: request.clone(), status, reason, errors: BTreeMap::new() };
        let text = self.text();
        match self {
            Fault::Unsent(_) | Fault::Lost(_) if is_read => refused(595, text),
            Fault::Unsent(_) => PveError::Unsent { request, cause: text, hint: None },
            Fault::Lost(_) => PveError::Lost { request, cause: text },
            Fault::Limited { .. } => refused(503, text),
            Fault::Garbled(_) => PveError::Garbled { request, cause: text },
            Fault::Secret(_) => refused(401, text),
            Fault::Refused { status, .. } => match status {
                // "Not there" may mean "not for you", and must never read as "there are none".
                404 | 410 => refused(403, text),
                422 => refused(400, text),
                300..=399 => refused(400, text),
                500 | 505..=599 => refused(503, text),
                // PVE's words for an absent thing are everyday words.
                _ if is_read && Refusal::classify(status, &text) == Refusal::Absent => refused(403, text),
                _ => refused(status, text),
            },
        }
    }
}

/// A time for people.
pub(super) fn time(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A body as JSON. GitHub's Actions service begins some with a byte order mark.
pub(super) fn json(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)).ok()
}

/// A time of GitHub's in seconds since 1970; `None` for none, and for the year 1, which its Actions service means by it.
pub(super) fn seconds(value: &Value) -> Option<i64> {
    value.as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second).filter(|s| *s > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pve::error::Refusal;
    use serde_json::json;

    fn answer(status: u16, body: &Value) -> Response {
        Response { status, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    #[test]
    fn what_github_says_is_told_with_the_request() {
        let body = json!({"message": "Validation Failed", "errors": [{"message": "no such group"}, "bad"], "documentation_url": "x"});
        let fault = Fault::of("POST /orgs/a/x", &answer(422, &body));
        assert_eq!(fault.text(), "GitHub answered POST /orgs/a/x with 422: Validation Failed; no such group; bad");
        let named =
            json!({"typeName": "GitHub.DistributedTask.WebApi.JobStillRunningException, GitHub", "message": "m"});
        assert!(Fault::of("DELETE /x", &answer(400, &named)).is("JobStillRunningException"));
        for bytes in [&b""[..], b"\xff\xfe", b"[]", b"{\"message\": 7}"] {
            let fault = Fault::of("GET /x", &Response { status: 500, headers: Vec::new(), body: bytes.to_vec() });
            assert_eq!(fault.text(), "GitHub answered GET /x with 500: it said nothing more");
        }
        let to = Response { status: 301, headers: vec![("location".into(), "https://h/1".into())], body: Vec::new() };
        assert!(Fault::of("GET /x", &to).text().contains("renamed"));
    }

    #[test]
    fn a_read_that_fails_ends_no_pass_and_is_never_none() {
        let read = |fault: Fault| fault.told("GET /github/orgs/a/runners");
        let write = |fault: Fault| fault.told("POST /github/orgs/a/just-in-time");
        assert_eq!(read(Fault::Unsent("x".into())).refusal(), Some(Refusal::NodeOffline));
        assert_eq!(read(Fault::Lost("x".into())).refusal(), Some(Refusal::NodeOffline));
        assert!(matches!(write(Fault::Unsent("x".into())), PveError::Unsent { .. }));
        assert!(matches!(write(Fault::Lost("x".into())), PveError::Lost { .. }));
        for (status, means) in [
            (404, Refusal::Forbidden),
            (410, Refusal::Forbidden),
            (403, Refusal::Forbidden),
            (401, Refusal::Unauthenticated),
            (422, Refusal::Invalid),
            (301, Refusal::Invalid),
            (423, Refusal::Busy),
            (500, Refusal::Unavailable),
            (503, Refusal::Unavailable),
        ] {
            assert_eq!(read(Fault::refused(status, "no")).refusal(), Some(means), "{status}");
        }
        assert_eq!(read(Fault::refused(400, "the group does not exist")).refusal(), Some(Refusal::Forbidden));
        let limited = read(Fault::Limited { until: 1_790_000_000, why: "the budget is spent".into() });
        assert_eq!(limited.refusal(), Some(Refusal::Unavailable));
        assert!(limited.to_string().contains("until 2026-09-21 14:13:20 UTC"), "{limited}");
    }

    #[test]
    fn marks_and_years_of_nothing() {
        assert_eq!(json(b"\xef\xbb\xbf{\"a\":1}"), Some(json!({"a": 1})));
        assert_eq!(seconds(&json!("0001-01-01T00:00:00Z")), None);
        assert_eq!(seconds(&json!("2026-09-21T14:13:20Z")), Some(1_790_000_000));
        assert_eq!(seconds(&json!(7)), None);
    }
}
