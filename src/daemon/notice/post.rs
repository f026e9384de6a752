//! Sending, for real: the one place of the messages that touches the network. What fails is told without the address.

use crate::base::cause::whole;
use crate::config::roots;
use crate::daemon::notice::retry::{Answer, retry_after};
use crate::daemon::notice::target::Outgoing;
use futures::future::BoxFuture;
use std::time::Duration;

/// How long one try may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 4_096;
/// Letters of an answer that are shown.
const SAID_MAX: usize = 200;
/// Parts of an address that are as long as this may be keys.
const KEY_LETTERS: usize = 6;

/// Something that sends. `now_ms` is for what the answer says of time.
pub trait Post: Send + Sync {
    /// Sends once. The error says why there is no answer, without the address.
    fn post<'a>(&'a self, outgoing: &'a Outgoing, now_ms: u64) -> BoxFuture<'a, Result<Answer, String>>;
}

/// Over HTTP and TLS with the roots of the machine, through the proxy of the environment.
pub struct Web {
    client: reqwest::Client,
}

impl Web {
    /// Ready to send.
    pub fn new() -> Result<Web, String> {
        let tls = roots::client().map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(PATIENCE)
            // A redirect would carry the message, and with it a token, to a place that nobody wrote down.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("pvectl/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| whole(&error.without_url()))?;
        Ok(Web { client })
    }

    async fn send(&self, outgoing: &Outgoing, now_ms: u64) -> Result<Answer, reqwest::Error> {
        let mut request = self.client.post(outgoing.url.expose()).header("Content-Type", "application/json");
        if let Some((name, value)) = &outgoing.header {
            request = request.header(*name, value.expose());
        }
        let mut response = request.body(outgoing.body.clone()).send().await?;
        let header = response.headers().get("Retry-After").and_then(|value| value.to_str().ok());
        let wait = header.and_then(|text| retry_after(text, now_ms));
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        if !response.status().is_success() {
            while let Some(chunk) = response.chunk().await? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() >= ANSWER_BYTES {
                    break;
                }
            }
        }
        let said = said(&String::from_utf8_lossy(&bytes), outgoing.url.expose());
        Ok(Answer { status, retry_after: wait, said })
    }
}

impl Post for Web {
    fn post<'a>(&'a self, outgoing: &'a Outgoing, now_ms: u64) -> BoxFuture<'a, Result<Answer, String>> {
        Box::pin(async move { self.send(outgoing, now_ms).await.map_err(|error| whole(&error.without_url())) })
    }
}

/// The first line of an answer; nothing of one that repeats a part of the address, as pages of errors like to do.
fn said(answer: &str, url: &str) -> String {
    let line = answer.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let beyond_host = url.splitn(4, '/').nth(3).unwrap_or_default();
    let parts = beyond_host.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'));
    if parts.into_iter().any(|part| part.len() >= KEY_LETTERS && answer.contains(part)) || line.starts_with('<') {
        return String::new();
    }
    line.chars().filter(|c| !c.is_control()).take(SAID_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_shown_unless_it_repeats_the_address() {
        let url = "https://hooks.example.org/services/T0123456/x?key=abcdef";
        assert_eq!(said("\n invalid_payload \nmore", url), "invalid_payload");
        for echo in ["Cannot POST /services/T0123456", "no key abcdef", "<!DOCTYPE html>\n<p>x"] {
            assert_eq!(said(echo, url), "", "{echo}");
        }
    }
}
