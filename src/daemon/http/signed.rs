//! Webhooks' secrets, held against what comes in: the daemon's own, and those of runner pools, which are good for jobs alone.

use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::daemon::http::hook::{Hook, Hooked};
use crate::daemon::source::webhook::{self, Refused, pushed};
use crate::github::place::SecretRef;
use crate::github::webhook::JobEvent;
use crate::github::wire::Secrets;
use axum::http::HeaderMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// How long a pool's secret is believed: whoever sends forgeries must not make us start programs for each.
const KNOWN_MS: u64 = 60_000;

/// Believes who knows a secret.
pub struct Signed {
    own: Option<Secret>,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    /// What was read, and when.
    known: Mutex<BTreeMap<SecretRef, (u64, Option<Secret>)>>,
}

impl Signed {
    /// With the daemon's own secret, and who reads those of pools.
    pub fn new(own: Option<Secret>, secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Signed {
        Signed { own, secrets, clock, known: Mutex::default() }
    }

    /// A pool's secret. One that cannot be read is told of once in a while, and signs nothing.
    fn secret(&self, of: &SecretRef) -> Option<Secret> {
        let now = self.clock.now_ms();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, secret)) = known.get(of)
            && now.abs_diff(*at) < KNOWN_MS
        {
            return secret.clone();
        }
        let read = self.secrets.secret(of);
        if let Err(why) = &read {
            tracing::warn!("the secret of a pool's webhooks cannot be read: {why}");
        }
        let secret = read.ok();
        known.insert(of.clone(), (now, secret.clone()));
        secret
    }
}

impl Hook for Signed {
    fn read(&self, headers: &HeaderMap, body: &[u8], pools: &BTreeSet<SecretRef>) -> Result<Hooked, String> {
        let delivery = headers.get("x-github-delivery").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let own = self.own.as_ref().map(|own| pushed(headers, body, own.expose().as_bytes()));
        match own {
            Some(Ok(hook)) => return meant(hook, delivery, false),
            Some(Err(Refused::Forged)) | None => {}
            Some(Err(refused @ (Refused::Unsigned | Refused::TooLarge | Refused::Malformed(_)))) => {
                return Err(refused.to_string());
            }
        }
        for pool in pools {
            let Some(secret) = self.secret(pool) else { continue };
            match pushed(headers, body, secret.expose().as_bytes()) {
                Ok(hook) => return meant(hook, delivery, true),
                Err(Refused::Forged) => {}
                Err(refused @ (Refused::Unsigned | Refused::TooLarge | Refused::Malformed(_))) => {
                    return Err(refused.to_string());
                }
            }
        }
        Err(Refused::Forged.to_string())
    }

    fn listens(&self, pools: &BTreeSet<SecretRef>) -> bool {
        self.own.is_some() || !pools.is_empty()
    }
}

/// What it means for us.
fn meant(hook: webhook::Hook, delivery: &str, of_pool: bool) -> Result<Hooked, String> {
    match hook {
        webhook::Hook::Push { .. } if of_pool => Ok(Hooked::Other),
        webhook::Hook::Push { urls, branch } => Ok(Hooked::Pushed { urls, branch }),
        webhook::Hook::Job(event) => match JobEvent::of(delivery, &event) {
            Ok(event) => Ok(Hooked::Job(Box::new(event))),
            Err(disbelief) => Err(disbelief.to_string()),
        },
        webhook::Hook::Ping => Ok(Hooked::Ping),
        webhook::Hook::Other(_) => Ok(Hooked::Other),
    }
}
