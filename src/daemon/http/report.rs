//! The drift report as files: `/drift.txt`, `/drift.md`, `/drift.xml` (JUnit). As JSON it is `/api/v1/drift`.

use crate::daemon::http::site::Site;
use crate::daemon::record::State;
use crate::daemon::report::findings::{Compared, Findings, Times};
use crate::daemon::report::{junit, markdown, text};
use axum::extract::State as Of;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

fn written(site: &Site, kind: &'static str, write: fn(&Findings<'_>) -> String) -> Response {
    let (drift, compared) = site.look(|state: &State| (state.drift.clone(), Compared::all(state)));
    let times = Times::Until(site.clock.now_ms());
    let body = write(&Findings { drift: &drift, compared: &compared, times });
    ([(CONTENT_TYPE, kind)], body).into_response()
}

/// As a table for people.
pub async fn plain(Of(site): Of<Arc<Site>>) -> Response {
    written(&site, "text/plain; charset=utf-8", text::write)
}

/// For pull requests.
pub async fn for_pages(Of(site): Of<Arc<Site>>) -> Response {
    written(&site, "text/markdown; charset=utf-8", markdown::write)
}

/// For CI.
pub async fn for_ci(Of(site): Of<Arc<Site>>) -> Response {
    written(&site, "application/xml; charset=utf-8", junit::write)
}
