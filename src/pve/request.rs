//! Requests as values: what a plan holds, a test compares and a recording stores.

use std::fmt;

/// An HTTP method that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE; its parameters travel in the query string (a body is answered with 501).
    Delete,
}

impl Method {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }
}

/// Parameters in the order in which they are sent; values not yet percent-encoded. Booleans are `0` and `1`.
pub type Params = Vec<(String, String)>;

/// A read: `GET` of a path below `/api2/json`, such as `/nodes/pve1/qemu/100/config`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Query {
    /// Path, percent-encoded where a segment needs it.
    pub path: String,
    /// Query string, decoded.
    pub params: Params,
}

impl Query {
    /// A read without parameters.
    pub fn new(path: impl Into<String>) -> Query {
        Query { path: path.into(), params: Vec::new() }
    }

    /// The same with one more parameter.
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Query {
        self.params.push((key.to_owned(), value.to_string()));
        self
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GET {}", self.path)?;
        for (i, (key, value)) in self.params.iter().enumerate() {
            write!(f, "{}{key}={value}", if i == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

/// A write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// POST, PUT or DELETE.
    pub method: Method,
    /// Path, percent-encoded where a segment needs it.
    pub path: String,
    /// Form (POST, PUT) or query string (DELETE), decoded.
    pub params: Params,
}

impl Call {
    /// A write without parameters.
    pub fn new(method: Method, path: impl Into<String>) -> Call {
        Call { method, path: path.into(), params: Vec::new() }
    }

    /// The same with one more parameter.
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Call {
        self.params.push((key.to_owned(), value.to_string()));
        self
    }

    /// The value of a parameter.
    pub fn param(&self, key: &str) -> Option<&str> {
        self.params.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.as_str(), self.path)
    }
}

/// A path segment with everything percent-encoded that is not plain (RFC 3986, section 3.3), UPIDs and volume ids included.
pub fn segment(text: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    percent_encoding::utf8_percent_encode(text, KEEP).to_string()
}
