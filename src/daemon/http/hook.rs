//! `/webhooks/github`: a push makes the sources that follow it be read at once. Who may send it is the signature's matter,
//! which somebody else checks; here it only comes in and goes to the loop.

use crate::daemon::http::site::Site;
use crate::daemon::shared::Wish;
use axum::body::Bytes;
use axum::extract::State as Of;
use axum::http::{HeaderMap, StatusCode};
use std::sync::Arc;

/// A push of many commits; larger ones are left to the poll.
pub const BODY_MAX: usize = 4 << 20;

/// What a webhook tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hooked {
    /// Whether we are there.
    Ping,
    /// A branch moved.
    Pushed {
        /// The repository's addresses.
        urls: Vec<String>,
        /// The branch.
        branch: String,
    },
    /// Something that is not for us.
    Other,
}

/// Checks a webhook's signature and reads it.
pub trait Hook: Send + Sync {
    /// The error says why it is not believed or not understood, and nothing of the secret.
    fn read(&self, headers: &HeaderMap, body: &[u8]) -> Result<Hooked, String>;
}

/// The route. The answer comes at once: GitHub waits for ten seconds only.
pub async fn github(Of(site): Of<Arc<Site>>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let Some(hook) = site.hook.clone() else {
        return (StatusCode::NOT_FOUND, "no webhook is configured (`http.githubWebhook`)\n".to_owned());
    };
    match hook.read(&headers, &body) {
        Ok(Hooked::Ping) => (StatusCode::OK, "pong\n".to_owned()),
        Ok(Hooked::Other) => (StatusCode::ACCEPTED, "not for us\n".to_owned()),
        Ok(Hooked::Pushed { urls, branch }) => {
            let shared = site.shared.clone();
            tokio::spawn(async move {
                if let Err(why) = shared.ask(Wish::Pushed { urls, branch }).await {
                    tracing::warn!("a push was not heard: {why}; the next poll finds it");
                }
            });
            (StatusCode::ACCEPTED, "heard\n".to_owned())
        }
        Err(why) => {
            tracing::warn!("a webhook was refused: {why}");
            (StatusCode::FORBIDDEN, format!("{why}\n"))
        }
    }
}
