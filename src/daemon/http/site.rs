//! What is served, on which paths, and what every answer carries. The order: a time for the request, the gate, the route.

use crate::base::clock::Clock;
use crate::daemon::history::{History, Past};
use crate::daemon::http::gate::{Gate, Refusal};
use crate::daemon::http::hook::Hook;
use crate::daemon::http::{api, health, hook, page, report, runners, windows, wish};
use crate::daemon::metrics::Metrics;
use crate::daemon::record::State;
use crate::daemon::shared::Shared;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Request, State as Of};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a request may take, its body and the loop's answer included.
const REQUEST_TIME: Duration = Duration::from_secs(45);
/// The longest body, but for the webhook's.
const BODY_MAX: usize = 64 << 10;

/// No script, nothing from elsewhere, in nobody's frame, forms to us alone.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// All that is served.
pub struct Site {
    /// The state, and the loop's ear.
    pub shared: Shared,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// What was; absent where nobody keeps it.
    pub history: Option<Arc<dyn History>>,
    /// GitHub's webhook; absent where no secret is configured.
    pub hook: Option<Arc<dyn Hook>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who may come in.
    pub gate: Gate,
    /// When the daemon began: the loop need not have turned before that.
    pub began_ms: u64,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl Site {
    /// Looks at the state. Copy what you need and let go.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.state())
    }

    /// Reads the history away from where requests are served, because it may block. `None`: there is none.
    pub async fn past<T: Send + 'static>(
        &self,
        past: Past,
        read: fn(&dyn History, &Past) -> Result<Vec<T>, String>,
    ) -> Option<Result<Vec<T>, String>> {
        let history = self.history.clone()?;
        let read = tokio::task::spawn_blocking(move || read(history.as_ref(), &past)).await;
        Some(read.unwrap_or_else(|_| Err("reading it failed".to_owned())))
    }
}

/// Every path there is.
pub fn routes(site: Arc<Site>) -> Router {
    let api = Router::new()
        .route("/sources", get(api::sources))
        .route("/objects", get(api::objects))
        .route("/objects/{kind}/{name}", get(api::object))
        .route("/drift", get(api::drift))
        .route("/drift/history", get(api::drift_history))
        .route("/events", get(api::events))
        .route("/runs", get(api::runs))
        .route("/tasks", get(api::tasks))
        .route("/windows", get(windows::windows))
        .route("/patches", get(windows::patches))
        .route("/runners", get(runners::pools))
        .route("/runners/history", get(runners::history))
        .route("/runners/jobs", get(runners::jobs))
        .route("/proposals", get(api::proposals))
        .route("/proposals/{id}", get(api::proposal))
        .route("/proposals/{id}/approve", post(wish::approve))
        .route("/proposals/{id}/reject", post(wish::reject))
        .route("/sources/{name}/suspend", post(wish::suspend))
        .route("/sources/{name}/resume", post(wish::resume))
        .route("/sources/{name}/reconcile", post(wish::reconcile));
    let pages = Router::new()
        .route("/", get(page::overview))
        .route("/objects", get(page::objects))
        .route("/objects/{kind}/{name}", get(page::object))
        .route("/drift", get(page::drift))
        .route("/drift.txt", get(report::plain))
        .route("/drift.md", get(report::for_pages))
        .route("/drift.xml", get(report::for_ci))
        .route("/proposals", get(page::proposals))
        .route("/proposals/{id}", get(page::proposal))
        .route("/runs", get(page::runs))
        .route("/windows", get(windows::page))
        .route("/runners", get(runners::page))
        .route("/events", get(page::events))
        .route("/style.css", get(page::style))
        .route("/proposals/{id}/{verb}", post(page::decide))
        .route("/sources/{name}/{verb}", post(page::source_wish));
    Router::new()
        .route("/metrics", get(health::metrics))
        .nest("/api/v1", api)
        .merge(pages)
        .fallback(nowhere)
        .layer(from_fn_with_state(site.clone(), guard))
        // These are for whoever asks: a supervisor has no token, and GitHub signs.
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/webhooks/github", post(hook::github).layer(DefaultBodyLimit::max(hook::BODY_MAX)))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn_with_state(site.clone(), dress))
        .with_state(site)
}

async fn nowhere(request: Request) -> Response {
    refuse(request.uri().path(), StatusCode::NOT_FOUND, "there is nothing here")
}

/// The gate.
async fn guard(Of(site): Of<Arc<Site>>, peer: Option<Extension<Peer>>, mut request: Request, next: Next) -> Response {
    match site.gate.pass(request.method(), request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => {
            let path = request.uri().path();
            if refusal != Refusal::Nothing {
                let peer = peer.map(|Extension(Peer(peer))| peer.to_string()).unwrap_or_default();
                tracing::warn!(peer, path, "refused: {}", refusal.as_str());
            }
            let status = match refusal {
                Refusal::Nothing | Refusal::Wrong => StatusCode::UNAUTHORIZED,
                Refusal::Host | Refusal::Foreign => StatusCode::FORBIDDEN,
            };
            let mut response = refuse(path, status, refusal.as_str());
            if status == StatusCode::UNAUTHORIZED {
                let ask = HeaderValue::from_static("Basic realm=\"pvectl\", charset=\"UTF-8\"");
                response.headers_mut().insert(WWW_AUTHENTICATE, ask);
            }
            response
        }
    }
}

/// A refusal in the form that whoever asked can read.
pub fn refuse(path: &str, status: StatusCode, why: &str) -> Response {
    if path.starts_with("/api/") {
        return (status, axum::Json(json!({"error": why}))).into_response();
    }
    (status, format!("{why}\n")).into_response()
}

/// The time of a request, and what every answer carries.
async fn dress(Of(site): Of<Arc<Site>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let began_ms = site.clock.now_ms();
    let mut response = match tokio::time::timeout(REQUEST_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(&path, StatusCode::REQUEST_TIMEOUT, "this took too long"),
    };
    let took_ms = site.clock.now_ms().saturating_sub(began_ms);
    tracing::debug!(%method, path, status = response.status().as_u16(), took_ms, "answered");
    let headers = response.headers_mut();
    carry(headers, X_CONTENT_TYPE_OPTIONS, "nosniff");
    carry(headers, X_FRAME_OPTIONS, "DENY");
    carry(headers, REFERRER_POLICY, "same-origin");
    carry(headers, CONTENT_SECURITY_POLICY, POLICY);
    carry(headers, HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    carry(headers, HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    if !headers.contains_key(CACHE_CONTROL) {
        carry(headers, CACHE_CONTROL, "no-store");
    }
    if !headers.contains_key(CONTENT_TYPE) {
        carry(headers, CONTENT_TYPE, "text/plain; charset=utf-8");
    }
    response
}

fn carry(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
