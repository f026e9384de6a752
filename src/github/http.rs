//! The real wire to GitHub: HTTPS, through the proxy of the environment (`HTTPS_PROXY`), with whichever roots it was given.
//! Named by the command line and the daemon only. It logs no body and no authorization, follows nobody elsewhere, and sends
//! a request once.

use crate::base::cause::whole;
use crate::github::ear::CAPACITY;
use crate::github::wire::{Request, Response, Wire, WireError};
use futures::future::BoxFuture;
use std::net::IpAddr;
use std::time::Duration;
use url::{Host, Url};

/// TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// GitHub itself gives up after ten seconds; the way back takes a while.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A long poll is answered after fifty seconds, says GitHub; ninety were seen.
const POLL_TIMEOUT: Duration = Duration::from_secs(120);
/// GitHub's load balancers close idle connections after a minute or so.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is read: a hundred jobs with their steps are about 1 MiB.
const BODY_BYTES_MAX: usize = 32 << 20;

/// GitHub over HTTPS.
pub struct HttpWire {
    client: reqwest::Client,
}

impl HttpWire {
    /// A wire that believes whom this says. Opens no connection yet.
    pub fn new(tls: rustls::ClientConfig) -> Result<HttpWire, String> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            // A redirect would carry a token to a place that nobody wrote down.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()
            .map_err(|error| whole(&error.without_url()))?;
        Ok(HttpWire { client })
    }

    async fn send(&self, request: Request) -> Result<Response, WireError> {
        let Request { method, url, headers, authorization, body } = request;
        let url = Url::parse(&url).map_err(|_| WireError::Unsent("its address is none".to_owned()))?;
        if url.scheme() != "https" && !is_loopback(&url) {
            let host = url.host_str().unwrap_or_default();
            return Err(WireError::Unsent(format!("a token is not sent to {host} without TLS: write https://")));
        }
        let method = reqwest::Method::from_bytes(method.as_bytes())
            .map_err(|_| WireError::Unsent(format!("`{method}` is no method")))?;
        let is_poll = headers.iter().any(|(name, _)| name == CAPACITY);
        let mut outgoing = self.client.request(method, url).timeout(if is_poll { POLL_TIMEOUT } else { TIMEOUT });
        for (name, value) in &headers {
            outgoing = outgoing.header(name.as_str(), value.as_str());
        }
        if let Some(authorization) = &authorization {
            let value = reqwest::header::HeaderValue::from_str(authorization.expose());
            // The library's own words would show it.
            let mut value =
                value.map_err(|_| WireError::Unsent("the token has letters that no header takes".to_owned()))?;
            value.set_sensitive(true);
            outgoing = outgoing.header(reqwest::header::AUTHORIZATION, value);
        }
        if let Some(body) = body {
            outgoing = outgoing.body(body);
        }
        let mut answer = outgoing.send().await.map_err(unanswered)?;
        let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = answer.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let mut response = Response { status: answer.status().as_u16(), headers, body: Vec::new() };
        while let Some(chunk) = answer.chunk().await.map_err(unanswered)? {
            if response.body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(WireError::Lost(format!("its answer has more than {} MiB", BODY_BYTES_MAX >> 20)));
            }
            response.body.extend_from_slice(&chunk);
        }
        Ok(response)
    }
}

impl Wire for HttpWire {
    fn exchange(&self, request: Request) -> BoxFuture<'_, Result<Response, WireError>> {
        Box::pin(self.send(request))
    }
}

/// Only a failure to connect, or to build the request, proves that nothing was sent.
fn unanswered(error: reqwest::Error) -> WireError {
    let (is_unsent, is_timeout) = (error.is_connect() || error.is_builder(), error.is_timeout());
    let words = whole(&error.without_url());
    match (is_unsent, is_timeout) {
        (true, true) => WireError::Unsent(format!("no connection in time ({words}): is a firewall in between?")),
        (true, false) => WireError::Unsent(words),
        (false, true) => WireError::Lost("no answer in time".to_owned()),
        (false, false) => WireError::Lost(words),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
