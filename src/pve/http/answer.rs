//! What PVE says: the reason phrase carries the error's text, the body its details.

use crate::pve::error::PveError;
use hyper::ext::ReasonPhrase;
use reqwest::{Response, StatusCode};
use serde_json::Value;
use std::collections::BTreeMap;

/// The longest answer that is read. A cluster of 10 000 guests lists itself in about 8 MiB.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How reading an answer can fail.
pub(super) enum Unread {
    /// The connection broke within the body.
    Broken(reqwest::Error),
    /// The answer says no, or is not an answer of PVE.
    Told(PveError),
}

/// Reads the answer to `request` (`METHOD /path`): its `data`, or what was wrong.
pub(super) async fn read(request: &str, response: Response) -> Result<Value, Unread> {
    let status = response.status();
    let phrase =
        response.extensions().get::<ReasonPhrase>().map(|p| String::from_utf8_lossy(p.as_bytes()).into_owned());
    let location = response
        .headers()
        .get("location")
        .map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned())
        .filter(|_| status.is_redirection());
    let body = body(request, response).await?;
    if let Some(to) = location {
        return Err(garbled(request, format!("a redirection to {to}; Proxmox VE's API sends none")));
    }
    let json = serde_json::from_slice::<Value>(&body).ok();
    if !status.is_success() {
        return Err(refused(request, status, phrase, json, &body));
    }
    match json {
        Some(Value::Object(mut members)) => Ok(members.remove("data").unwrap_or(Value::Null)),
        Some(_) | None => Err(garbled(request, format!("no JSON object but {}", excerpt(&body)))),
    }
}

async fn body(request: &str, mut response: Response) -> Result<Vec<u8>, Unread> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Unread::Broken)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(garbled(request, format!("more than {} MiB", BODY_BYTES_MAX / 1024 / 1024)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn refused(request: &str, status: StatusCode, phrase: Option<String>, json: Option<Value>, body: &[u8]) -> Unread {
    // Some other server's page must not read as "the object is absent".
    if json.is_none() && status == StatusCode::NOT_FOUND && !body.is_empty() {
        return garbled(request, format!("404 with {}", excerpt(body)));
    }
    let json = json.unwrap_or(Value::Null);
    let message = json.get("message").and_then(Value::as_str).map(|text| text.trim_end().to_owned());
    let phrase = phrase.map(|text| text.trim_end().to_owned()).filter(|text| !text.is_empty());
    let reason = match (phrase, message) {
        // The phrase is one line; the message may go on.
        (Some(phrase), Some(message)) if message.starts_with(&phrase) => message,
        (Some(phrase), _) => phrase,
        (None, Some(message)) if !message.is_empty() => message,
        (None, _) => status.canonical_reason().unwrap_or("").to_owned(),
    };
    let errors = match json.get("errors") {
        Some(Value::Object(errors)) => errors.iter().map(|(field, text)| (field.clone(), plain(text))).collect(),
        _ => BTreeMap::new(),
    };
    Unread::Told(PveError::Refused { request: request.to_owned(), status: status.as_u16(), reason, errors })
}

fn plain(text: &Value) -> String {
    match text {
        Value::String(text) => text.trim_end().to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => text.to_string(),
    }
}

fn garbled(request: &str, cause: String) -> Unread {
    Unread::Told(PveError::Garbled { request: request.to_owned(), cause })
}

/// The beginning of a body, on one line.
fn excerpt(body: &[u8]) -> String {
    const CHARS_MAX: usize = 80;
    if body.is_empty() {
        return "an empty body".to_owned();
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * CHARS_MAX)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    format!("`{}`", words.join(" ").chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect::<String>())
}
