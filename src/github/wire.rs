//! One exchange with GitHub, as values: what goes out, what comes back. The real wire is named by the command line and the
//! daemon only; the simulator is another.

use crate::base::secret::Secret;
use crate::github::place::SecretRef;
use futures::future::BoxFuture;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, `PATCH`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// All of it, with its query.
    pub url: String,
    /// Headers but `Authorization`, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The value of `Authorization`: `Bearer …`, `RemoteAuth …`.
    pub authorization: Option<Secret>,
    /// JSON.
    pub body: Option<String>,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// HTTP's status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// As it came; it may begin with a byte order mark.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Certainly nothing was sent: the name does not resolve, nobody listens, the certificate is wrong.
    Unsent(String),
    /// It was sent, and no answer came.
    Lost(String),
}

/// What carries requests to GitHub.
pub trait Wire: Send + Sync {
    /// One request, sent at most once. A long poll is answered when there is something, or after about 50 seconds.
    fn exchange(&self, request: Request) -> BoxFuture<'_, Result<Response, WireError>>;
}

/// Where secrets come from.
pub trait Secrets: Send + Sync {
    /// The secret, read now; the text says why there is none, without any part of it.
    fn secret(&self, of: &SecretRef) -> Result<Secret, String>;
}
