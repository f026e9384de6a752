//! The line to GitHub's REST API: whoever we are there, what is left of the budget, what has not changed since the last time.
//! A read is repeated while that may help; a write is sent once, and again only when it is certain that nothing was done.

use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::github::account::Accounts;
use crate::github::budget::{Account, Class, Cost, Limits, Sent};
use crate::github::fault::{Fault, json};
use crate::github::place::Place;
use crate::github::tags::Tags;
use crate::github::wire::{Request, Response, Secrets, Wire};
use crate::pve::request::segment;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Who we are, for GitHub's logs; it refuses requests without.
pub(super) const AGENT: &str = concat!("pvectl/", env!("CARGO_PKG_VERSION"));
/// The version of the API that this is written for.
const VERSION: &str = "2022-11-28";
/// Repeats of a request after the first attempt.
const AGAIN_MAX: u32 = 2;
/// The pause before the first repeat; the next one is four times as long.
const PAUSE: Duration = Duration::from_millis(250);
/// As many rows as GitHub gives at once.
pub(super) const PAGE: usize = 100;
/// Pages of one list: GitHub has at most 10 000 runners in a group.
const PAGES_MAX: usize = 120;
/// How often a list is read that moves while it is read.
const READINGS_MAX: usize = 3;
/// An attempt to connect that took longer than this is remembered, so that not everybody waits for it.
const SLOW_MS: u64 = 2_000;
/// For so long.
const DOWN_MS: u64 = 10_000;

/// The line.
pub(super) struct Line {
    pub(super) wire: Arc<dyn Wire>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) accounts: Accounts,
    limits: Mutex<Limits>,
    tags: Mutex<Tags>,
    sent: Mutex<Sent>,
    /// Where nobody is reached: until when, and why.
    down: Mutex<BTreeMap<String, (u64, String)>>,
}

/// A request of the REST API.
#[derive(Clone, Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'static str,
    /// Below the API's base, with its query: `/orgs/acme/actions/runners?per_page=100`.
    pub(super) path: &'a str,
    pub(super) body: Option<Value>,
    pub(super) class: Class,
}

impl Line {
    pub(super) fn new(wire: Arc<dyn Wire>, clock: Arc<dyn Clock>, secrets: Arc<dyn Secrets>) -> Line {
        Line {
            wire,
            clock,
            accounts: Accounts::new(secrets),
            limits: Mutex::default(),
            tags: Mutex::default(),
            sent: Mutex::default(),
            down: Mutex::default(),
        }
    }

    /// Seconds since 1970.
    pub(super) fn now(&self) -> i64 {
        i64::try_from(self.clock.now_ms() / 1000).unwrap_or(i64::MAX)
    }

    pub(super) fn limits(&self) -> std::sync::MutexGuard<'_, Limits> {
        self.limits.lock().expect("no holder of this lock panics")
    }

    /// What was sent so far.
    pub(super) fn sent(&self) -> std::sync::MutexGuard<'_, Sent> {
        self.sent.lock().expect("no holder of this lock panics")
    }

    /// What an account's reads and writes of the REST API have cost so far.
    pub(super) fn cost(&self, account: &Account) -> Cost {
        self.sent().cost(account, Class::Core)
    }

    /// A read of the REST API.
    pub(super) async fn get(&self, place: &Place, path: &str) -> Result<Value, Fault> {
        let asked = Asked { method: "GET", path, body: None, class: Class::Core };
        let response = self.ask(place, &asked).await?;
        json(&response.body).ok_or_else(|| garbled(&asked, &response))
    }

    /// A write of the REST API: its answer, whatever it is below 300.
    pub(super) async fn write(&self, place: &Place, asked: &Asked<'_>) -> Result<Response, Fault> {
        self.ask(place, asked).await
    }

    /// All rows of a list, below `key` of each page. A row that was there all the time is among them, even where the list
    /// moves from page to page while it is read; one that went or came may be.
    pub(super) async fn rows(&self, place: &Place, path: &str, key: &str) -> Result<Vec<Value>, Fault> {
        let mut rows: BTreeMap<u64, Value> = BTreeMap::new();
        let many = if path.contains('?') { '&' } else { '?' };
        for reading in 1..=READINGS_MAX {
            let mut totals = Vec::new();
            let mut count = 0;
            for page in 1..=PAGES_MAX {
                let at = format!("{path}{many}per_page={PAGE}&page={page}");
                let answer = self.get(place, &at).await?;
                let found = answer[key].as_array();
                let found = found.ok_or_else(|| Fault::Garbled(format!("the answer to GET {at} has no `{key}`")))?;
                totals.extend(answer["total_count"].as_u64());
                rows.extend(found.iter().filter_map(|row| Some((row["id"].as_u64()?, row.clone()))));
                count += found.len();
                if found.len() < PAGE || totals.last().is_some_and(|total| *total <= count as u64) {
                    break;
                }
            }
            let whole = totals.iter().all(|total| *total == count as u64);
            if whole || totals.len() < 2 || reading == READINGS_MAX {
                break;
            }
        }
        Ok(rows.into_values().collect())
    }

    async fn ask(&self, place: &Place, asked: &Asked<'_>) -> Result<Response, Fault> {
        let account = self.accounts.of(place);
        let key = format!("{} {}", account.name, asked.path);
        let tag = if asked.method == "GET" { self.tags().tag(&place.api, &key) } else { None };
        let mut renewed = false;
        loop {
            let (token, is_fresh) = self.accounts.token(self, place).await?;
            let mut headers = vec![
                ("accept".to_owned(), "application/vnd.github+json".to_owned()),
                ("x-github-api-version".to_owned(), VERSION.to_owned()),
            ];
            headers.extend(tag.iter().map(|tag| ("if-none-match".to_owned(), tag.clone())));
            let request = request(asked.method, format!("{}{}", place.api, asked.path), headers, asked.body.as_ref());
            let request = Request { authorization: Some(Secret::new(format!("Bearer {}", token.expose()))), ..request };
            match self.send(&account, asked.class, &what(asked), request).await {
                Err(fault) if fault.status() == Some(401) && !renewed && !is_fresh => {
                    // What we held is not taken any more; there may be another by now.
                    self.accounts.forget(place).await;
                    renewed = true;
                }
                Ok(response) if response.status == 304 => {
                    return self.tags().body(&place.api, &key).ok_or_else(|| garbled(asked, &response));
                }
                Ok(response) => {
                    if asked.method == "GET" {
                        self.tags().keep(&place.api, &key, &response, self.clock.now_ms());
                    }
                    return Ok(response);
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    fn tags(&self) -> std::sync::MutexGuard<'_, Tags> {
        self.tags.lock().expect("no holder of this lock panics")
    }

    /// Sends a request, within the limits, and again while that is safe and may help. An answer of 400 or more is a fault.
    pub(super) async fn send(
        &self,
        account: &Account,
        class: Class,
        what: &str,
        request: Request,
    ) -> Result<Response, Fault> {
        let is_read = request.method == "GET";
        let mut pause = PAUSE;
        for attempt in 0.. {
            let fault = match self.once(account, class, what, request.clone()).await {
                Ok(response) => return Ok(response),
                Err(fault) => fault,
            };
            let may_pass = match &fault {
                Fault::Unsent(_) => true,
                Fault::Lost(_) => is_read,
                Fault::Refused { status, .. } => is_read && *status >= 500,
                Fault::Limited { .. } | Fault::Garbled(_) | Fault::Secret(_) => false,
            };
            if !may_pass || attempt >= AGAIN_MAX || self.is_down(&account.api).is_some() {
                // A gateway that gives up on a write does not say what became of it.
                let is_lost = !is_read && fault.status().is_some_and(|status| status >= 500);
                return Err(if is_lost { Fault::Lost(fault.text()) } else { fault });
            }
            self.clock.sleep(pause).await;
            pause *= 4;
        }
        unreachable!("the loop returns")
    }

    async fn once(&self, account: &Account, class: Class, what: &str, request: Request) -> Result<Response, Fault> {
        if let Some(why) = self.is_down(&account.api) {
            return Err(Fault::Unsent(why));
        }
        self.limits().check(account, class, self.now())?;
        let (begun, method) = (self.clock.now_ms(), request.method);
        let answer = self.wire.exchange(request).await;
        self.sent().count(account, class, method, answer.as_ref().ok().map(|response| response.status));
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                let fault = Fault::no_answer(what, error);
                let now = self.clock.now_ms();
                if let (Fault::Unsent(why), true) = (&fault, now.saturating_sub(begun) > SLOW_MS) {
                    let down = (now + DOWN_MS, why.clone());
                    self.down.lock().expect("no holder of this lock panics").insert(account.api.clone(), down);
                }
                return Err(fault);
            }
        };
        tracing::debug!("GitHub answered {what} with {}", response.status);
        if let Some(limited) = self.limits().learn(account, class, &response, self.now()) {
            return Err(limited);
        }
        match response.status {
            200..=299 | 304 => Ok(response),
            _ => Err(Fault::of(what, &response)),
        }
    }

    fn is_down(&self, api: &str) -> Option<String> {
        let now = self.clock.now_ms();
        let mut down = self.down.lock().expect("no holder of this lock panics");
        down.retain(|_, (until, _)| *until > now);
        down.get(api).map(|(_, why)| why.clone())
    }
}

/// A request without authorization.
pub(super) fn request(
    method: &'static str,
    url: String,
    mut headers: Vec<(String, String)>,
    body: Option<&Value>,
) -> Request {
    headers.push(("user-agent".to_owned(), AGENT.to_owned()));
    if body.is_some() {
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
    Request { method, url, headers, authorization: None, body: body.map(Value::to_string) }
}

/// The path of a scope's own things: `/orgs/acme/actions/runners`.
pub(super) fn own(place: &Place, rest: &str) -> String {
    format!("/{}/{rest}", place.scope.path())
}

/// A text in a query.
pub(super) fn quoted(text: &str) -> String {
    segment(text)
}

fn what(asked: &Asked<'_>) -> String {
    let path = asked.path.split('?').next().unwrap_or(asked.path);
    format!("{} {path}", asked.method)
}

fn garbled(asked: &Asked<'_>, response: &Response) -> Fault {
    let bytes = response.body.len();
    Fault::Garbled(format!(
        "the answer to {} ({}, {bytes} bytes) is not what GitHub's is",
        what(asked),
        response.status
    ))
}
