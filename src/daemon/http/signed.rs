//! The webhook's secret, held against what comes in.

use crate::base::secret::Secret;
use crate::daemon::http::hook::{Hook, Hooked};
use crate::daemon::source::webhook::{self, pushed};
use axum::http::HeaderMap;

/// Believes who knows the secret.
pub struct Signed(pub Secret);

impl Hook for Signed {
    fn read(&self, headers: &HeaderMap, body: &[u8]) -> Result<Hooked, String> {
        match pushed(headers, body, self.0.expose().as_bytes()) {
            Ok(webhook::Hook::Push { urls, branch }) => Ok(Hooked::Pushed { urls, branch }),
            Ok(webhook::Hook::Ping) => Ok(Hooked::Ping),
            Ok(webhook::Hook::Other(_)) => Ok(Hooked::Other),
            Err(refused) => Err(refused.to_string()),
        }
    }
}
