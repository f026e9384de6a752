//! The simulated GitHub on the simulator's server, as a GitHub Enterprise Server of that address is: below `/api/v3`, and the
//! service of scale sets below `/_services`.

use super::body;
use crate::base::secret::Secret;
use crate::github::wire::{Request, Wire};
use crate::sim::front::Sim;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use std::io;

/// Whether a request is for GitHub.
pub(super) fn is_asked(target: &str) -> bool {
    target.starts_with("/api/v3/") || target.starts_with("/_services/")
}

/// Answers a request. An error closes the connection without an answer.
pub(super) async fn answer(
    sim: &Sim,
    parts: &Parts,
    target: &str,
    body: Incoming,
) -> io::Result<Response<Full<Bytes>>> {
    let methods = ["GET", "POST", "PATCH", "PUT", "DELETE"];
    let method = methods.into_iter().find(|method| *method == parts.method.as_str());
    let method = method.ok_or(io::ErrorKind::InvalidInput)?;
    let body = Limited::new(body, body::LIMIT).collect().await.map_err(io::Error::other)?.to_bytes();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let host = parts.headers.get(HOST).map(text).unwrap_or_default();
    let others = parts.headers.iter().filter(|(name, _)| **name != AUTHORIZATION);
    let request = Request {
        method,
        url: format!("https://{host}{target}"),
        headers: others.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
        authorization: parts.headers.get(AUTHORIZATION).map(|value| Secret::new(text(value))),
        body: (!body.is_empty()).then(|| String::from_utf8_lossy(&body).into_owned()),
    };
    let told = sim.github().exchange(request).await.map_err(|_| io::ErrorKind::ConnectionAborted)?;
    let mut response = Response::new(Full::new(Bytes::from(told.body)));
    *response.status_mut() = StatusCode::from_u16(told.status).map_err(io::Error::other)?;
    for (name, value) in told.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
        response.headers_mut().append(name, HeaderValue::from_str(&value).map_err(io::Error::other)?);
    }
    Ok(response)
}
