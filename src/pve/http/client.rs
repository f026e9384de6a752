//! The client: one request through the first endpoint that answers, repeated only where that is safe.
//!
//! | what happened            | a read                      | a write                     |
//! |--------------------------|-----------------------------|-----------------------------|
//! | certainly not sent       | next endpoint, then again   | next endpoint, then again   |
//! | certificate, timeout     | next endpoint               | next endpoint if not sent   |
//! | sent, no answer          | next endpoint, then again   | `Lost`                      |
//! | 502, 503, 504            | next endpoint, then again   | `Refused`                   |
//! | 595, 596                 | next endpoint               | `Refused`                   |
//! | 401 with a ticket        | new ticket, once            | new ticket, once            |
//! | any other answer         | that is the answer          | that is the answer          |

use super::answer::{self, Unread};
use super::auth::{Auth, Badge};
use super::cause;
use super::endpoint::Endpoint;
use super::limits::{Gate, Limits};
use super::login::Desk;
use super::tls::{self, TlsError, Trust};
use crate::pve::api::Api;
use crate::pve::error::PveError;
use crate::pve::request::{Call, Method, Params, Query, segment};
use backon::{ExponentialBuilder, Retryable};
use futures::future::{BoxFuture, FutureExt};
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// TCP and TLS: a node that needs longer is down or behind a firewall that drops packets.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// A whole request: PVE waits 10 s for a guest's lock and gives up after 30 s in its own proxy.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// pveproxy closes idle connections after 5 s; a connection older than this is not used again.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Repeats after the first attempt: enough for a worker that is being replaced, not for a node that is down.
pub const RETRIES_MAX: usize = 2;
/// The pause before the first repeat; doubled and jittered after it.
pub const RETRY_PAUSE_MIN: Duration = Duration::from_millis(200);
/// The longest pause before a repeat.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long to wait and how often to try; tests shorten it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For TCP and TLS.
    pub connect: Duration,
    /// For a whole request.
    pub request: Duration,
    /// Repeats after the first attempt.
    pub retries: usize,
    /// The pause before the first repeat.
    pub pause_min: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect: CONNECT_TIMEOUT,
            request: REQUEST_TIMEOUT,
            retries: RETRIES_MAX,
            pause_min: RETRY_PAUSE_MIN,
        }
    }
}

/// Everything that a client needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Nodes of one cluster, in order of preference; at least one.
    pub endpoints: Vec<Endpoint>,
    /// Who we are.
    pub auth: Auth,
    /// Whom we trust.
    pub trust: Trust,
    /// How much at once.
    pub limits: Limits,
    /// How long and how often.
    pub patience: Patience,
}

/// A real cluster. Cheap to share by reference; opens no connection before the first request.
pub struct HttpApi {
    doors: Vec<Door>,
    /// The door that answered last.
    healthy: AtomicUsize,
    pub(super) auth: Auth,
    pub(super) desk: tokio::sync::Mutex<Desk>,
    gate: Gate,
    patience: Patience,
}

/// One endpoint with its pool of connections.
struct Door {
    endpoint: Endpoint,
    client: reqwest::Client,
}

/// A request in the client's terms.
pub(super) struct Outgoing<'a> {
    pub(super) verb: reqwest::Method,
    pub(super) path: &'a str,
    pub(super) params: &'a Params,
}

impl Outgoing<'_> {
    fn is_read(&self) -> bool {
        self.verb == reqwest::Method::GET
    }

    pub(super) fn label(&self) -> String {
        format!("{} {}", self.verb, self.path)
    }
}

/// A failed attempt, and whether another may follow.
pub(super) struct Failure {
    pub(super) error: PveError,
    pub(super) again: Again,
}

/// Where another attempt may go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Again {
    /// Nowhere: this is the answer.
    Never,
    /// To another endpoint now, but not to the same one later.
    Elsewhere,
    /// To another endpoint now, and to any of them after a pause.
    Later,
}

impl HttpApi {
    /// A client for a cluster. Warns when nobody's identity is checked.
    pub fn new(settings: Settings) -> Result<HttpApi, TlsError> {
        let Settings { endpoints, auth, trust, limits, patience } = settings;
        if endpoints.is_empty() {
            return Err(TlsError::Setup("there is no endpoint".to_owned()));
        }
        if trust == Trust::Insecure {
            tracing::warn!(
                endpoint = %endpoints[0],
                "the server's certificate is not checked: whoever is in between can read and change everything; pin its fingerprint instead"
            );
        }
        let config = tls::client_config(&trust)?;
        let doors = endpoints
            .into_iter()
            .map(|endpoint| Ok(Door { client: client(&endpoint, config.clone(), &patience)?, endpoint }))
            .collect::<Result<Vec<Door>, TlsError>>()?;
        Ok(HttpApi {
            doors,
            healthy: AtomicUsize::new(0),
            auth,
            desk: tokio::sync::Mutex::default(),
            gate: Gate::new(limits),
            patience,
        })
    }

    /// The endpoint that answered last; the first one before any answer.
    pub fn endpoint(&self) -> &Endpoint {
        &self.doors[self.healthy.load(Ordering::Relaxed)].endpoint
    }

    async fn request(&self, outgoing: &Outgoing<'_>) -> Result<Value, PveError> {
        if outgoing.path.split('/').any(|part| matches!(part, "." | "..")) || !outgoing.path.starts_with('/') {
            return Err(PveError::Unsent {
                request: outgoing.label(),
                cause: "its path would lead elsewhere".to_owned(),
                hint: None,
            });
        }
        let pauses = ExponentialBuilder::default()
            .with_min_delay(self.patience.pause_min)
            .with_max_delay(RETRY_PAUSE_MAX)
            .with_max_times(self.patience.retries)
            .with_jitter();
        (|| self.attempt(outgoing))
            .retry(pauses)
            .when(|failure: &Failure| failure.again == Again::Later)
            .notify(|failure: &Failure, pause| {
                tracing::debug!(error = %failure.error, ?pause, "trying again");
            })
            .await
            .map_err(|failure| failure.error)
    }

    /// One attempt: with a valid badge, within the limits, through any endpoint, and once more with a new ticket.
    async fn attempt(&self, outgoing: &Outgoing<'_>) -> Result<Value, Failure> {
        let badge = self.badge(None).await.map_err(|failure| login_failed(outgoing, failure))?;
        let _permit = self.gate.enter(outgoing.path).await;
        let failure = match self.through(outgoing, &badge).await {
            Ok(data) => return Ok(data),
            Err(failure) => failure,
        };
        match (&failure.error, &badge) {
            // A 401 says that nothing was done: even a write may follow with a new ticket.
            (PveError::Refused { status: 401, .. }, Badge::Session(old)) => {
                let badge = self.badge(Some(old)).await.map_err(|failure| login_failed(outgoing, failure))?;
                self.through(outgoing, &badge).await
            }
            _ => Err(failure),
        }
    }

    /// Tries the endpoints in turn, beginning with the one that answered last.
    pub(super) async fn through(&self, outgoing: &Outgoing<'_>, badge: &Badge) -> Result<Value, Failure> {
        let first = self.healthy.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for turn in 0..self.doors.len() {
            let at = (first + turn) % self.doors.len();
            let failure = match self.doors[at].exchange(outgoing, badge).await {
                Ok(data) => {
                    self.healthy.store(at, Ordering::Relaxed);
                    return Ok(data);
                }
                Err(failure) => failure,
            };
            if failure.again == Again::Never {
                if matches!(failure.error, PveError::Refused { .. }) {
                    self.healthy.store(at, Ordering::Relaxed);
                }
                return Err(failure);
            }
            tracing::debug!(endpoint = %self.doors[at].endpoint, error = %failure.error, "this endpoint failed");
            failures.push(failure);
        }
        Err(merged(outgoing, failures))
    }
}

impl Door {
    async fn exchange(&self, outgoing: &Outgoing<'_>, badge: &Badge) -> Result<Value, Failure> {
        let label = outgoing.label();
        let mut url = format!("{}/api2/json{}", self.endpoint, outgoing.path);
        let form = encoded(outgoing.params);
        let in_body = matches!(outgoing.verb, reqwest::Method::POST | reqwest::Method::PUT);
        if !in_body && !form.is_empty() {
            url.push('?');
            url.push_str(&form);
        }
        let mut request = self.client.request(outgoing.verb.clone(), url);
        for (name, value) in badge.headers(!outgoing.is_read()) {
            let mut value = reqwest::header::HeaderValue::from_str(value.expose()).map_err(|_| Failure {
                error: PveError::Unsent {
                    request: label.clone(),
                    cause: "the credentials hold characters that no header may hold (a line break?)".to_owned(),
                    hint: Some("look for a stray newline or a space in the token or its file".to_owned()),
                },
                again: Again::Never,
            })?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        if in_body {
            // hyper leaves the length of an empty body out; PVE's server is to know that none comes.
            if form.is_empty() {
                request = request.header("content-length", "0");
            }
            request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        }
        let response = request.send().await.map_err(|error| self.unanswered(outgoing, &error))?;
        match answer::read(&label, response).await {
            Ok(data) => Ok(data),
            Err(Unread::Broken(error)) => Err(lost(outgoing, &error)),
            Err(Unread::Told(error)) => {
                let again = match &error {
                    PveError::Refused { status: 502..=504, .. } if outgoing.is_read() => Again::Later,
                    PveError::Refused { status: 595 | 596, .. } if outgoing.is_read() => Again::Elsewhere,
                    PveError::Refused { .. }
                    | PveError::Unsent { .. }
                    | PveError::Lost { .. }
                    | PveError::TaskFailed { .. }
                    | PveError::Garbled { .. } => Again::Never,
                };
                Err(Failure { error, again })
            }
        }
    }

    /// No answer at all. Only a failure to connect (or to build the request) proves that nothing was sent.
    fn unanswered(&self, outgoing: &Outgoing<'_>, error: &reqwest::Error) -> Failure {
        if error.is_connect() || error.is_builder() {
            let cause = cause::unreached(&self.endpoint, error);
            let again = if cause.lasting { Again::Elsewhere } else { Again::Later };
            let error = PveError::Unsent { request: outgoing.label(), cause: cause.text, hint: cause.hint };
            return Failure { error, again };
        }
        lost(outgoing, error)
    }
}

impl Api for HttpApi {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        async move {
            let outgoing = Outgoing { verb: reqwest::Method::GET, path: &query.path, params: &query.params };
            self.request(&outgoing).await
        }
        .boxed()
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        async move {
            let verb = match call.method {
                Method::Post => reqwest::Method::POST,
                Method::Put => reqwest::Method::PUT,
                Method::Delete => reqwest::Method::DELETE,
            };
            self.request(&Outgoing { verb, path: &call.path, params: &call.params }).await
        }
        .boxed()
    }
}

fn client(endpoint: &Endpoint, tls: rustls::ClientConfig, patience: &Patience) -> Result<reqwest::Client, TlsError> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(patience.connect)
        .timeout(patience.request)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .user_agent(concat!("pvectl/", env!("CARGO_PKG_VERSION")));
    if endpoint.is_loopback() {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| TlsError::Setup(error.to_string()))
}

fn lost(outgoing: &Outgoing<'_>, error: &reqwest::Error) -> Failure {
    // A minute without an answer is not repeated on the same node: it would only make it busier.
    let again = match (outgoing.is_read(), error.is_timeout()) {
        (false, _) => Again::Never,
        (true, true) => Again::Elsewhere,
        (true, false) => Again::Later,
    };
    Failure { error: PveError::Lost { request: outgoing.label(), cause: cause::broken(error) }, again }
}

/// `key=value&…`, each percent-encoded: PVE cuts a value at a raw `=`.
fn encoded(params: &Params) -> String {
    let pairs: Vec<String> = params.iter().map(|(key, value)| format!("{}={}", segment(key), segment(value))).collect();
    pairs.join("&")
}

/// One failure out of one per endpoint: what reached PVE says more than what did not.
fn merged(outgoing: &Outgoing<'_>, mut failures: Vec<Failure>) -> Failure {
    let again = failures.iter().map(|f| f.again).max().unwrap_or(Again::Never);
    let reached = failures.iter().position(|f| !matches!(f.error, PveError::Unsent { .. }));
    if failures.len() == 1 || reached.is_some() {
        let error = failures.swap_remove(reached.unwrap_or(0)).error;
        return Failure { error, again };
    }
    let mut causes = Vec::new();
    let mut hints: Vec<String> = Vec::new();
    for failure in failures {
        if let PveError::Unsent { cause, hint, .. } = failure.error {
            causes.push(format!("\n  {cause}"));
            hints.extend(hint.filter(|hint| !hints.contains(hint)));
        }
    }
    let error = PveError::Unsent {
        request: outgoing.label(),
        cause: format!("no endpoint could be reached{}", causes.concat()),
        hint: (!hints.is_empty()).then(|| hints.join("; ")),
    };
    Failure { error, again }
}

/// A login whose answer was lost says nothing about the request that waited for it: that one was never sent.
fn login_failed(outgoing: &Outgoing<'_>, failure: Failure) -> Failure {
    match failure.error {
        PveError::Lost { request, cause } => Failure {
            error: PveError::Unsent {
                request: outgoing.label(),
                cause: format!("the login before it got no answer ({request}: {cause})"),
                hint: None,
            },
            again: Again::Later,
        },
        PveError::Unsent { cause, hint, .. } => {
            Failure { error: PveError::Unsent { request: outgoing.label(), cause, hint }, again: failure.again }
        }
        error @ (PveError::Refused { .. } | PveError::TaskFailed { .. } | PveError::Garbled { .. }) => {
            Failure { error, again: Again::Never }
        }
    }
}
