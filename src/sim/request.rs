//! Requests and answers of the simulator as values, and what an endpoint is.

use crate::sim::ctx::Ctx;
use crate::sim::verify::Param;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nobody.
    None,
    /// The `Authorization` header's text.
    Header(String),
    /// The ticket cookie, and the CSRF token if one was sent.
    Ticket {
        /// `PVEAuthCookie`.
        ticket: String,
        /// `CSRFPreventionToken`.
        csrf: Option<String>,
    },
    /// In process: believed as it is (`root@pam`, `user@realm!token`).
    Trusted(String),
}

/// A request. Parameters are strings (form, query), or whatever JSON had.
#[derive(Clone, Debug, PartialEq)]
pub struct WireRequest {
    /// GET, POST, PUT, DELETE.
    pub method: String,
    /// Below `/api2/json`, percent-encoded.
    pub path: String,
    /// Parameters in the order in which they came; repeated keys become an array.
    pub params: Vec<(String, Value)>,
    /// Who asks.
    pub auth: Auth,
}

/// Parameters as the wire has them: a key that comes twice has a list.
pub fn gathered(pairs: impl Iterator<Item = (String, String)>) -> Vec<(String, Value)> {
    let mut out: Vec<(String, Value)> = Vec::new();
    for (key, value) in pairs {
        match out.iter_mut().find(|(k, _)| *k == key) {
            Some((_, Value::Array(many))) => many.push(value.into()),
            Some((_, one)) => *one = Value::Array(vec![one.take(), value.into()]),
            None => out.push((key, value.into())),
        }
    }
    out
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct WireAnswer {
    /// HTTP status.
    pub status: u16,
    /// Reason phrase.
    pub reason: String,
    /// Body; `None` is an empty one.
    pub body: Option<Value>,
}

/// Why a request is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Reason phrase.
    pub reason: String,
    /// Errors by field.
    pub errors: BTreeMap<String, String>,
}

impl Refusal {
    /// Any status with its reason.
    pub fn new(status: u16, reason: impl Into<String>) -> Refusal {
        Refusal { status, reason: reason.into(), errors: BTreeMap::new() }
    }

    /// 500, as most of PVE's refusals: the text is the reason phrase and the `message`.
    pub fn died(text: impl Into<String>) -> Refusal {
        Refusal::new(500, text)
    }

    /// 400 `Parameter verification failed.` about one field (`raise_param_exc`).
    pub fn param(field: &str, text: impl Into<String>) -> Refusal {
        Refusal::params([(field.to_owned(), text.into())].into())
    }

    /// 400 `Parameter verification failed.` about several fields.
    pub fn params(errors: BTreeMap<String, String>) -> Refusal {
        Refusal { status: 400, reason: "Parameter verification failed.".to_owned(), errors }
    }

    /// 403 `Permission check failed (what)`.
    pub fn forbidden(what: &str) -> Refusal {
        Refusal::new(403, format!("Permission check failed ({what})"))
    }

    /// The answer that carries it.
    pub fn into_answer(self) -> WireAnswer {
        let Refusal { status, reason, errors } = self;
        let reason = reason.trim_end().to_owned();
        let mut body = Map::new();
        body.insert("data".to_owned(), Value::Null);
        if !errors.is_empty() {
            body.insert("errors".to_owned(), serde_json::json!(errors));
        }
        body.insert("message".to_owned(), format!("{reason}\n").into());
        WireAnswer { status, reason, body: Some(Value::Object(body)) }
    }
}

/// Verified parameters, those of the path included: every value as PVE's Perl would have it, a string. Lists that came as
/// arrays are joined with `,`, arrays proper with NUL; JSON booleans are `1` and `0`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// Values by name.
    pub values: BTreeMap<String, String>,
}

impl Args {
    /// A value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A value that verification has made sure of (or the empty text).
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// An integer.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(|v| v.parse().ok())
    }

    /// A switch; absent is `false`.
    pub fn on(&self, name: &str) -> bool {
        self.get(name) == Some("1")
    }

    /// The `vmid` of the path or of the parameters; 0 if there is none.
    pub fn vmid(&self) -> u32 {
        self.get("vmid").and_then(|v| v.parse().ok()).unwrap_or(0)
    }

    /// The values of an array.
    pub fn strings(&self, name: &str) -> Vec<&str> {
        self.get(name).map(|v| v.split('\0').collect()).unwrap_or_default()
    }

    /// A list (separated by `,`, `;`, space or NUL).
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.text(name).split([',', ';', ' ', '\0']).filter(|p| !p.is_empty()).collect()
    }
}

/// What an endpoint demands before its parameters are even looked at.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// Nobody has to be logged in.
    World,
    /// Any user; the endpoint filters or checks by itself.
    User,
    /// All of the privileges on a path (`/vms/{vmid}`; placeholders are filled in).
    All(&'static str, &'static [&'static str]),
    /// Any of the privileges on a path.
    Any(&'static str, &'static [&'static str]),
    /// Only root@pam by ticket or in process.
    Root,
}

/// An endpoint's work.
pub type Endpoint = fn(&mut Ctx<'_>, &Args) -> Result<Value, Refusal>;

/// One endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// GET, POST, PUT, DELETE.
    pub method: &'static str,
    /// `/nodes/{node}/qemu/{vmid}/config`.
    pub path: &'static str,
    /// Parameters beyond those of the path (a path's may be listed too, if they need another check than the usual).
    pub params: &'static [&'static [Param]],
    /// Who may.
    pub check: Check,
    /// The work.
    pub run: Endpoint,
}
