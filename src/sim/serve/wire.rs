//! What pveproxy does with a request before and after the API: formatters, bodies, credentials. Pure, without sockets.

use crate::sim::front::{Fate, Sim};
use crate::sim::request::{Auth, WireAnswer, WireRequest};
use crate::sim::serve::body;
use serde_json::{Value, json};

/// A request as HTTP has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawRequest {
    /// Method.
    pub(crate) method: String,
    /// Path and query, encoded.
    pub(crate) target: String,
    /// `Authorization`.
    pub(crate) authorization: Option<String>,
    /// `Cookie`.
    pub(crate) cookie: Option<String>,
    /// `CSRFPreventionToken`.
    pub(crate) csrf: Option<String>,
    /// `Content-Type`.
    pub(crate) content_type: Option<String>,
    /// Body.
    pub(crate) body: Vec<u8>,
}

/// An answer as HTTP has it.
#[derive(Clone, Debug)]
pub(crate) struct RawAnswer {
    /// Status.
    pub(crate) status: u16,
    /// Reason phrase: one line.
    pub(crate) reason: String,
    /// `Content-Type`; refusals of the proxy itself have none.
    pub(crate) content_type: Option<&'static str>,
    /// Body.
    pub(crate) body: Vec<u8>,
}

/// A refusal by the proxy itself: plain text, not JSON.
pub(crate) fn plain(status: u16, text: &str) -> RawAnswer {
    RawAnswer { status, reason: first_line(text), content_type: None, body: text.as_bytes().to_vec() }
}

/// Answers a request; `None` when no answer comes (a fault).
pub(crate) fn respond(sim: &Sim, raw: &RawRequest) -> Option<RawAnswer> {
    if !matches!(raw.method.as_str(), "GET" | "POST" | "PUT" | "DELETE") {
        return Some(plain(501, &format!("method '{}' not available", raw.method)));
    }
    let (path, query) = raw.target.split_once('?').unwrap_or((&raw.target, ""));
    let Some((format, path)) = formatter(path) else {
        return Some(outside(path));
    };
    let auth = credentials(raw);
    // The proxy looks at credentials before it looks at anything else.
    let refused = |status, text: &str| {
        let probe =
            WireRequest { method: "GET".into(), path: "/version".into(), params: Vec::new(), auth: auth.clone() };
        let stranger = !path.starts_with("/access/ticket") && sim.handle(&probe).status == 401;
        let answer = if stranger { sim.handle(&probe) } else { return Some(plain(status, text)) };
        Some(RawAnswer { status: 401, reason: answer.reason, content_type: None, body: Vec::new() })
    };
    if format != "json" && format != "extjs" {
        return refused(501, &format!("no formatter for uri {}, {format}", body::unescape(path)));
    }
    let mut params = match body::params(raw, path) {
        Ok(params) => params,
        Err((status, text)) => return refused(status, &text),
    };
    for (key, value) in body::urlencoded(query.as_bytes()) {
        params.retain(|(k, _)| *k != key);
        params.push((key, value));
    }
    let request = WireRequest { method: raw.method.clone(), path: path.to_owned(), params, auth };
    match sim.meet(&request) {
        Fate::Answered(answer) => Some(written(answer, format == "extjs")),
        Fate::Unsent | Fate::Lost => None,
    }
}

/// `/api2/json/version` → `json`, `/version`.
fn formatter(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/api2/")?.trim_start_matches('/');
    let (format, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    (!format.is_empty()).then_some((format, path))
}

/// Everything beside the API: the web interface is not simulated.
fn outside(path: &str) -> RawAnswer {
    if path == "/" {
        let body =
            b"<!DOCTYPE html><title>pvectl simulator</title><p>A simulated Proxmox VE: the API is below /api2/json.\n";
        let content_type = Some("text/html; charset=UTF-8");
        return RawAnswer { status: 200, reason: "OK".to_owned(), content_type, body: body.to_vec() };
    }
    plain(501, &format!("no such file '{}'", body::unescape(path)))
}

/// A token in the header wins over a ticket in the cookie; other schemes (`Bearer`) are no credentials at all.
fn credentials(raw: &RawRequest) -> Auth {
    let ticket = raw.cookie.as_deref().and_then(|cookies| {
        cookies.split(';').find_map(|c| c.trim().strip_prefix("PVEAuthCookie=")).map(body::unescape)
    });
    match (&raw.authorization, ticket) {
        (Some(header), _) if header.starts_with("PVEAPIToken") => Auth::Header(header.clone()),
        (_, Some(ticket)) => Auth::Ticket { ticket, csrf: raw.csrf.clone() },
        (Some(header), None) => Auth::Header(header.clone()),
        (None, None) => Auth::None,
    }
}

/// The answer in the format that was asked for: `extjs` is always 200 and says in the body how it went.
fn written(answer: WireAnswer, extjs: bool) -> RawAnswer {
    let WireAnswer { mut status, mut reason, body } = answer;
    let Some(mut body) = body else {
        return RawAnswer { status, reason: first_line(&reason), content_type: None, body: Vec::new() };
    };
    if extjs {
        let good = status < 400;
        body["success"] = json!(u8::from(good));
        if !good {
            body["status"] = json!(status);
            (status, reason) = (200, "OK".to_owned());
        }
    }
    let content_type = Some("application/json;charset=UTF-8");
    RawAnswer { status, reason: first_line(&reason), content_type, body: text_of(&body).into_bytes() }
}

fn text_of(body: &Value) -> String {
    serde_json::to_string(body).unwrap_or_default()
}

/// PVE's messages may have several lines; the reason phrase is the first.
fn first_line(text: &str) -> String {
    text.trim_end().lines().next().unwrap_or_default().to_owned()
}
