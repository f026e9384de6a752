//! For supervisors and Prometheus: does the loop turn, is the daemon ready, the metrics.

use crate::daemon::http::site::Site;
use crate::daemon::metrics::CONTENT_TYPE as METRICS;
use axum::extract::State as Of;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// The loop turns at least every few seconds. After that long without a turn it hangs.
pub const HANGS_AFTER_MS: u64 = 60_000;

/// `/healthz`: 200 while the loop turns; what restarts a program asks this.
pub async fn healthz(Of(site): Of<Arc<Site>>) -> Response {
    let turned_ms = site.look(|state| state.turned_ms).max(site.began_ms);
    let still_ms = site.clock.now_ms().saturating_sub(turned_ms);
    if still_ms > HANGS_AFTER_MS {
        let text = format!("the loop has not turned for {} s\n", still_ms / 1000);
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    "ok\n".into_response()
}

/// `/readyz`: 200 once everything was looked at; the reason why not is for those alone who may come in.
pub async fn readyz(Of(site): Of<Arc<Site>>, headers: HeaderMap) -> Response {
    let Some(why) = site.look(|state| state.unready.clone()) else { return "ready\n".into_response() };
    let why = match site.gate.pass(&Method::GET, &headers) {
        Ok(_) => format!("not ready: {why}\n"),
        Err(_) => "not ready\n".to_owned(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

/// `/metrics`.
pub async fn metrics(Of(site): Of<Arc<Site>>) -> Response {
    let text = site.look(|state| site.metrics.render(state));
    ([(CONTENT_TYPE, METRICS)], text).into_response()
}
