//! A daemon somewhere: its API over HTTP, with its token, and what it means when it does not answer or says no.

use crate::base::cause::whole;
use crate::base::secret::Secret;
use crate::cli::args::daemon::{At, Trust};
use crate::cli::exit;
use crate::cli::run::{Failure, block_on};
use reqwest::{Method, StatusCode};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use url::{Host, Url};

/// Where a daemon is that was told nothing else.
pub const USUAL: &str = "http://127.0.0.1:9180";

/// To be heard at all.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// A little more than the daemon gives itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// No list is longer.
const BYTES_MAX: usize = 256 << 20;

/// A daemon.
pub struct Remote {
    client: reqwest::Client,
    base: Url,
    token: Option<Secret>,
    /// The exit code of what is neither a usage error nor a refusal.
    failed: u8,
}

impl Remote {
    /// The daemon of a verb.
    pub fn of(at: &At) -> Result<Remote, Failure> {
        Remote::open(&at.daemon, &at.trust, exit::FAILED)
    }

    /// A daemon at an address, the usual one where that is empty. Sends nothing yet.
    pub fn open(address: &str, trust: &Trust, failed: u8) -> Result<Remote, Failure> {
        let address = if address.is_empty() { USUAL } else { address };
        let wrong = |why: &str| {
            Failure::new(exit::USAGE, format!("`{address}` is no daemon's address: {why}"))
                .hint(format!("write it like {USUAL}; --daemon or PVECTL_DAEMON"))
        };
        let mut base = Url::parse(address).map_err(|e| wrong(&e.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(wrong("it begins neither with http:// nor with https://"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(Failure::new(exit::USAGE, "the daemon's address holds a user or a password")
                .hint("the token stands in PVECTL_DAEMON_TOKEN or in --daemon-token-file"));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let token = token(trust)?;
        let near = is_loopback(&base);
        if token.is_some() && base.scheme() == "http" && !near {
            tracing::warn!("the token goes to {address} unencrypted");
        }
        let unusable = |why: String| Failure::new(exit::FAILED, format!("no connection can be made: {why}"));
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| unusable(e.to_string()))?
            .with_root_certificates(roots(trust.daemon_ca_file.as_deref())?)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIME)
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none());
        // What is on this machine is behind no proxy.
        let client = if near { client.no_proxy() } else { client };
        let client = client.build().map_err(|e| unusable(whole(&e)))?;
        Ok(Remote { client, base, token, failed })
    }

    /// What there is below `/api/v1/`. Parameters that are empty are left out.
    pub fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.ask(Method::GET, path, query, None)
    }

    /// The records of a list, and the daemon's note on them.
    pub fn list<T: DeserializeOwned>(value: &Value) -> Result<Vec<T>, Failure> {
        let items: Result<Vec<T>, _> = serde_json::from_value(value["items"].clone());
        items.map_err(|e| {
            Failure::new(exit::FAILED, format!("the daemon's answer is not understood: {e}"))
                .hint("is it of another version? pvectl version; GET /metrics tells the daemon's")
        })
    }

    /// Asks for something to be done; returns the daemon's sentence.
    pub fn post(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.ask(Method::POST, path, &[], Some(body))
    }

    fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut request = self.client.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        block_on(async {
            let mut response = request.send().await.map_err(|e| self.silent(&e))?;
            let status = response.status();
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| self.silent(&e))? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > BYTES_MAX {
                    return Err(
                        Failure::new(self.failed, "the daemon's answer does not end").hint("ask for less: --limit")
                    );
                }
            }
            self.understood(status, &bytes)
        })?
    }

    fn silent(&self, error: &reqwest::Error) -> Failure {
        let why = words(error);
        let failure = Failure::new(self.failed, format!("no daemon answers at {}: {why}", self.base));
        if why.contains("certificate") {
            return failure.hint("is it the right certificate? --daemon-ca-file names the CA that signed it");
        }
        failure.hint(
            "is `pvectl run` running? It listens where `http.listen` of its configuration says; --daemon URL or PVECTL_DAEMON names another place",
        )
    }

    fn understood(&self, status: StatusCode, bytes: &[u8]) -> Result<Value, Failure> {
        let value: Option<Value> = serde_json::from_slice(bytes).ok();
        if status.is_success() {
            return value.ok_or_else(|| self.stranger(status));
        }
        let said = value.as_ref().and_then(|v| v["error"].as_str()).map(str::to_owned);
        let Some(said) = said else { return Err(self.stranger(status)) };
        Err(match status {
            StatusCode::UNAUTHORIZED if self.token.is_some() => {
                Failure::new(exit::USAGE, "the daemon does not know this token")
                    .hint("the token is the daemon's `http.token`, not one of Proxmox VE")
            }
            StatusCode::UNAUTHORIZED => Failure::new(exit::USAGE, "the daemon wants a token")
                .hint("set PVECTL_DAEMON_TOKEN, or name a file with --daemon-token-file"),
            StatusCode::BAD_REQUEST => Failure::new(exit::USAGE, said),
            StatusCode::CONFLICT => Failure::new(exit::REFUSED, said),
            _ => Failure::new(self.failed, said),
        })
    }

    fn stranger(&self, status: StatusCode) -> Failure {
        Failure::new(self.failed, format!("what answers at {} is no pvectl: {status}", self.base))
            .hint("--daemon URL or PVECTL_DAEMON names the address of a `pvectl run`")
    }
}

/// The words of an error and its causes, without the address, which stands in the message already.
fn words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let text = whole(error);
    let bare = error.url().map_or_else(|| text.clone(), |url| text.replace(&format!(" for url ({url})"), ""));
    bare.trim_start_matches("error sending request: ").to_owned()
}

fn token(trust: &Trust) -> Result<Option<Secret>, Failure> {
    let Some(path) = &trust.daemon_token_file else {
        let own = std::env::var("PVECTL_DAEMON_TOKEN").ok().filter(|token| !token.is_empty());
        return Ok(own.map(Secret::new));
    };
    let wrong = |why: String| Failure::new(exit::USAGE, format!("the token's file {} {why}", path.display()));
    let text = Secret::new(std::fs::read_to_string(path).map_err(|e| wrong(format!("cannot be read: {e}")))?);
    let token = text.expose().trim();
    if token.is_empty() { Err(wrong("is empty".to_owned())) } else { Ok(Some(Secret::new(token))) }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let wrong =
        |why: String| Failure::new(exit::USAGE, format!("the CA file {} cannot be used: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    let found =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(|e| wrong(e.to_string()))?;
    let (added, _) = roots.add_parsable_certificates(found);
    if added == 0 { Err(wrong("it holds no certificate".to_owned())) } else { Ok(roots) }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(address: &str) -> Failure {
        let opened = Remote::open(address, &Trust::default(), exit::FAILED);
        opened.and_then(|remote| remote.get(&["sources"], &[])).map(|_| ()).expect_err("nobody is there")
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for (address, says) in [
            ("localhost:9180", "http://"),
            ("ftp://localhost", "http://"),
            ("http://", "no daemon's address"),
            ("http://ann:s3cret@localhost:1", "holds a user"),
        ] {
            let failure = failure(address);
            assert!(failure.code == exit::USAGE && failure.message.contains(says), "{address}: {}", failure.message);
        }
        assert!(!failure("http://ann:s3cret@localhost:1").message.contains("s3cret"));
    }

    #[test]
    fn a_daemon_that_is_not_there_is_said_with_what_to_do() {
        let failure = failure("http://127.0.0.1:9");
        assert_eq!(failure.code, exit::FAILED);
        assert!(failure.message.starts_with("no daemon answers at http://127.0.0.1:9/: "), "{}", failure.message);
        assert!(failure.message.contains("refused") && !failure.message.contains("url"), "{}", failure.message);
        assert!(failure.hint.is_some_and(|hint| hint.contains("is `pvectl run` running?")));
    }
}
