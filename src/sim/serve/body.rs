//! Bodies as pveproxy reads them, its oddities included.

use crate::sim::request::gathered;
use crate::sim::serve::wire::RawRequest;
use serde_json::Value;

/// The largest body that is no upload (pveproxy's own limit).
pub(crate) const LIMIT: usize = 64 * 1024;
/// The largest upload that the simulator takes.
pub(crate) const UPLOAD_LIMIT: usize = 64 * 1024 * 1024;
/// Where the proxy's decoder dies, as its messages say.
const DECODER: &str = "at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 934.";

type Refused = (u16, String);

/// The parameters that a body holds.
pub(crate) fn params(raw: &RawRequest, path: &str) -> Result<Vec<(String, Value)>, Refused> {
    let full = raw.content_type.as_deref().unwrap_or_default();
    let kind = full.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let writes = raw.method == "POST" || raw.method == "PUT";
    if !writes {
        return match raw.body.is_empty() {
            true => Ok(Vec::new()),
            false => Err((501, format!("Unexpected content for method '{}'", raw.method))),
        };
    }
    if is_upload(&raw.method, path) && kind == "multipart/form-data" {
        return multipart(full, &raw.body);
    }
    if raw.body.len() > LIMIT {
        return Err((501, "for data too large".to_owned()));
    }
    if kind == "application/json" {
        return from_json(&String::from_utf8_lossy(&raw.body));
    }
    if raw.body.is_empty() || kind.is_empty() || kind == "application/x-www-form-urlencoded" {
        return Ok(urlencoded(&raw.body));
    }
    Err((506, format!("upload 'Content-Type '{full}' not implemented")))
}

/// Whether a file may come in the body.
pub(crate) fn is_upload(method: &str, path: &str) -> bool {
    method == "POST" && path.starts_with("/nodes/") && path.ends_with("/upload")
}

/// `a=1&b=2`: a value ends at the next raw `=`; a key that comes twice has a list.
pub(crate) fn urlencoded(text: &[u8]) -> Vec<(String, Value)> {
    let text = String::from_utf8_lossy(text);
    let pairs = text.split(['&', ';']).filter(|p| !p.is_empty()).map(|pair| {
        let mut parts = pair.split('=');
        let key = form_text(parts.next().unwrap_or_default());
        (key, form_text(parts.next().unwrap_or_default()))
    });
    gathered(pairs)
}

fn form_text(text: &str) -> String {
    unescape(&text.replace('+', " "))
}

/// Percent-decoding.
pub(crate) fn unescape(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn from_json(text: &str) -> Result<Vec<(String, Value)>, Refused> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(members)) => Ok(members.into_iter().collect()),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err((500, format!("Not a HASH reference {DECODER}\n")))
        }
        Err(error) => Err((500, malformed(text, &error))),
    }
}

/// The words of Perl's JSON module for a body that is none.
fn malformed(text: &str, error: &serde_json::Error) -> String {
    let before: usize =
        text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(|l| l.chars().count()).sum();
    let at = if error.is_eof() { text.chars().count() } else { before + error.column().saturating_sub(1) };
    let rest: String = text.chars().skip(at).collect();
    let shown = if rest.is_empty() { "(end of string)".to_owned() } else { rest };
    let said = error.to_string();
    let what = if said.starts_with("trailing characters") {
        "garbage after JSON object"
    } else if said.contains("parsing a string") {
        "unexpected end of string while parsing JSON string"
    } else if said.contains("`,` or `}`") || (said.contains("parsing an object") && !text.trim_end().ends_with(':')) {
        ", or } expected while parsing object/hash"
    } else if said.contains("`,` or `]`") {
        ", or ] expected while parsing array"
    } else {
        "malformed JSON string, neither tag, array, object, number, string or atom"
    };
    format!("{what}, at character offset {at} (before \"{shown}\") {DECODER}\n")
}

/// An upload: text fields, and the file's name and where the proxy has put it.
fn multipart(content_type: &str, body: &[u8]) -> Result<Vec<(String, Value)>, Refused> {
    let boundary =
        content_type.split(';').find_map(|p| p.trim().strip_prefix("boundary=")).map(|b| b.trim_matches('"'));
    let Some(boundary) = boundary.filter(|b| !b.is_empty()) else {
        return Err((501, "multipart/form-data without boundary not implemented".to_owned()));
    };
    let text = String::from_utf8_lossy(body);
    let mut out = Vec::new();
    for part in text.split(&format!("--{boundary}")).skip(1) {
        let Some((head, content)) = part.split_once("\r\n\r\n") else { continue };
        let content = content.strip_suffix("\r\n").unwrap_or(content);
        let field = |name: &str| {
            let start = format!("{name}=\"");
            head.split([';', '\n']).find_map(|p| p.trim().strip_prefix(start.as_str())?.split('"').next())
        };
        match (field("name"), field("filename")) {
            (_, Some(file)) => {
                out.push(("filename".to_owned(), file.into()));
                out.push(("tmpfilename".to_owned(), format!("/var/tmp/pveupload-{:032x}", content.len()).into()));
            }
            (Some(name), None) => out.push((name.to_owned(), content.into())),
            (None, None) => continue,
        }
    }
    Ok(out)
}
