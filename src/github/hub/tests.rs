//! The hub in front of a desk that answers by a rule: what goes out, and what becomes of what comes back.

mod account;

mod garbage;

mod jobs;

mod registry;

mod scale_set;

use super::*;
use crate::base::secret::Secret;
use crate::github::place::{Auth, PUBLIC_API, Scope, SecretRef};
use crate::github::wire::{Request, Response, WireError};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const NOW: i64 = 1_790_000_000;

/// Time that passes when somebody waits for it.
struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.0.fetch_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        })
    }
}

type Rule = Box<dyn Fn(&Request) -> Result<Response, WireError> + Send + Sync>;

/// Answers by a rule; what was put aside for a request comes first.
struct Desk {
    rule: Rule,
    first: Mutex<VecDeque<(String, Result<Response, WireError>)>>,
    log: Mutex<Vec<Request>>,
    clock: Arc<Ticks>,
    slow_ms: AtomicU64,
}

impl Wire for Desk {
    fn exchange(&self, request: Request) -> BoxFuture<'_, Result<Response, WireError>> {
        Box::pin(async move {
            self.clock.0.fetch_add(self.slow_ms.load(Ordering::SeqCst), Ordering::SeqCst);
            self.log.lock().expect("a log").push(request.clone());
            let line = format!("{} {}", request.method, request.url);
            let mut first = self.first.lock().expect("a list");
            let at = first.iter().position(|(part, _)| line.contains(part.as_str()));
            if let Some((_, answer)) = at.and_then(|at| first.remove(at)) {
                return answer;
            }
            drop(first);
            (self.rule)(&request)
        })
    }
}

struct Purse;

impl Secrets for Purse {
    fn secret(&self, of: &SecretRef) -> Result<Secret, String> {
        match of {
            SecretRef::Env(name) if name == "KEY" => Ok(Secret::new(crate::github::jwt::tests::PKCS8)),
            SecretRef::Env(name) if name == "NONE" => Err("$NONE: it is not set".to_owned()),
            SecretRef::Env(_) | SecretRef::File(_) | SecretRef::Command(_) => Ok(Secret::new("pat\n")),
        }
    }
}

struct World {
    hub: Hub,
    desk: Arc<Desk>,
    clock: Arc<Ticks>,
}

impl World {
    fn new(rule: impl Fn(&Request) -> Result<Response, WireError> + Send + Sync + 'static) -> World {
        let clock = Arc::new(Ticks(AtomicU64::new(u64::try_from(NOW).expect("after 1970") * 1000)));
        let desk = Arc::new(Desk {
            rule: Box::new(rule),
            first: Mutex::default(),
            log: Mutex::default(),
            clock: Arc::clone(&clock),
            slow_ms: AtomicU64::new(0),
        });
        let hub = Hub::new(Arc::clone(&desk) as _, Arc::clone(&clock) as _, Arc::new(Purse));
        World { hub, desk, clock }
    }

    /// The next request that contains this is answered so.
    fn once(&self, part: &str, answer: Result<Response, WireError>) {
        self.desk.first.lock().expect("a list").push_back((part.to_owned(), answer));
    }

    /// What was sent since the last time: method, and path below the host.
    fn sent(&self) -> Vec<String> {
        let all = std::mem::take(&mut *self.desk.log.lock().expect("a log"));
        all.iter()
            .map(|request| {
                let path = request.url.splitn(4, '/').nth(3).unwrap_or_default();
                format!("{} /{path}", request.method)
            })
            .collect()
    }

    fn requests(&self) -> Vec<Request> {
        self.desk.log.lock().expect("a log").clone()
    }

    fn pass(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    async fn ask(&self, place: &Place, operation: &Operation) -> Result<Value, PveError> {
        match (operation.query(place), operation.call(place)) {
            (Some(query), _) => self.hub.get(&query).await,
            (None, Some(call)) => self.hub.send(&call).await,
            (None, None) => unreachable!("it is one of both"),
        }
    }
}

fn ok(status: u16, body: &Value) -> Result<Response, WireError> {
    Ok(Response { status, headers: Vec::new(), body: body.to_string().into_bytes() })
}

fn with(answer: Result<Response, WireError>, headers: &[(&str, &str)]) -> Result<Response, WireError> {
    answer.map(|mut response| {
        response.headers.extend(headers.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        response
    })
}

fn nothing() -> Result<Response, WireError> {
    Ok(Response { status: 204, ..Response::default() })
}

fn token() -> Auth {
    Auth::Token(SecretRef::Env("TOKEN".into()))
}

fn place() -> Place {
    Place { api: PUBLIC_API.into(), scope: Scope::Organization("acme".into()), auth: token() }
}
