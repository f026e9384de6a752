//! `/webhooks/github`: a push makes the sources that follow it be read at once, and a job makes the runner pools that it may be
//! of be looked at. Who may send it is the signature's matter,
//! which somebody else checks; here it only comes in and goes to the loop.

use crate::daemon::http::site::Site;
use crate::daemon::shared::Wish;
use crate::github::place::SecretRef;
use crate::github::webhook::JobEvent;
use axum::body::Bytes;
use axum::extract::State as Of;
use axum::http::{HeaderMap, StatusCode};
use std::collections::BTreeSet;
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
    /// Something became of a job.
    Job {
        /// What.
        event: Box<JobEvent>,
        /// Whose secret vouches for it: good for jobs of such pools alone. `None`: the daemon's own.
        by: Option<SecretRef>,
    },
    /// Something that is not for us.
    Other,
}

/// Checks a webhook's signature and reads it.
pub trait Hook: Send + Sync {
    /// `pools`: where the secrets of runner pools stand, which are good for jobs alone. The error says why it is not believed or
    /// not understood, and nothing of a secret.
    fn read(&self, headers: &HeaderMap, body: &[u8], pools: &BTreeSet<SecretRef>) -> Result<Hooked, String>;
    /// Whether there is any secret to sign with.
    fn listens(&self, pools: &BTreeSet<SecretRef>) -> bool;
}

/// The route. The answer comes at once: GitHub waits for ten seconds only.
pub async fn github(Of(site): Of<Arc<Site>>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let pools = site.look(|state| state.webhook_secrets.clone());
    let Some(hook) = site.hook.clone().filter(|hook| hook.listens(&pools)) else {
        let why = "no webhook is configured (`http.githubWebhook`, or `github.webhookSecret` of a RunnerPool)\n";
        return (StatusCode::NOT_FOUND, why.to_owned());
    };
    // A secret may stand in a file of a slow disk, or be told by a program.
    let read = tokio::task::spawn_blocking(move || hook.read(&headers, &body, &pools)).await;
    match read.unwrap_or_else(|_| Err("a bug of pvectl: it could not be read".to_owned())) {
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
        Ok(Hooked::Job { event, by }) => {
            let shared = site.shared.clone();
            tokio::spawn(async move {
                match shared.ask(Wish::Heard { event, by }).await {
                    Ok(said) => tracing::debug!("a job's webhook: {said}"),
                    Err(why) => {
                        tracing::warn!("a job was not heard: {why}; it is found when queued jobs are asked for")
                    }
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
