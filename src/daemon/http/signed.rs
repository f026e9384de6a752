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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a pool's secret is believed: whoever sends forgeries must not make us start programs for each.
const KNOWN_MS: u64 = 60_000;
/// One that fits nothing may be signed with a new secret: it is read again when it was read so long ago.
const AGAIN_MS: u64 = 5_000;

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

    fn known(&self) -> MutexGuard<'_, BTreeMap<SecretRef, (u64, Option<Secret>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pool's secret, read at most so long ago, and whether it was read just now. One that cannot be read is told of once in a
    /// while, and signs nothing.
    fn secret(&self, of: &SecretRef, age_ms: u64) -> (Option<Secret>, bool) {
        let now = self.clock.now_ms();
        {
            let mut known = self.known();
            if let Some((at, secret)) = known.get_mut(of) {
                if now.abs_diff(*at) < age_ms {
                    return (secret.clone(), false);
                }
                // Whoever comes meanwhile takes the old one: it is read once.
                *at = now;
            }
        }
        // A program may take its time; others are not held up by it.
        let read = self.secrets.secret(of);
        if let Err(why) = &read {
            tracing::warn!("the secret of a pool's webhooks cannot be read: {why}");
        }
        let secret = read.ok();
        self.known().insert(of.clone(), (now, secret.clone()));
        (secret, true)
    }

    /// What a webhook means that is signed with a pool's secret; `None`: it is not.
    fn of_pool(&self, pool: &SecretRef, headers: &HeaderMap, body: &[u8]) -> Result<Option<webhook::Hook>, String> {
        for age_ms in [KNOWN_MS, AGAIN_MS] {
            let (secret, fresh) = self.secret(pool, age_ms);
            match secret.map(|secret| pushed(headers, body, secret.expose().as_bytes())) {
                Some(Ok(hook)) => return Ok(Some(hook)),
                Some(Err(Refused::Forged)) | None if fresh => return Ok(None),
                Some(Err(Refused::Forged)) | None => {}
                Some(Err(refused @ (Refused::Unsigned | Refused::TooLarge | Refused::Malformed(_)))) => {
                    return Err(refused.to_string());
                }
            }
        }
        Ok(None)
    }
}

impl Hook for Signed {
    fn read(&self, headers: &HeaderMap, body: &[u8], pools: &BTreeSet<SecretRef>) -> Result<Hooked, String> {
        let delivery = headers.get("x-github-delivery").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let own = self.own.as_ref().map(|own| pushed(headers, body, own.expose().as_bytes()));
        match own {
            Some(Ok(hook)) => return meant(hook, delivery, None),
            Some(Err(Refused::Forged)) | None => {}
            Some(Err(refused @ (Refused::Unsigned | Refused::TooLarge | Refused::Malformed(_)))) => {
                return Err(refused.to_string());
            }
        }
        for pool in pools {
            if let Some(hook) = self.of_pool(pool, headers, body)? {
                return meant(hook, delivery, Some(pool));
            }
        }
        Err(Refused::Forged.to_string())
    }

    fn listens(&self, pools: &BTreeSet<SecretRef>) -> bool {
        self.own.is_some() || !pools.is_empty()
    }
}

/// What it means for us.
fn meant(hook: webhook::Hook, delivery: &str, by: Option<&SecretRef>) -> Result<Hooked, String> {
    match hook {
        webhook::Hook::Push { .. } if by.is_some() => Ok(Hooked::Other),
        webhook::Hook::Push { urls, branch } => Ok(Hooked::Pushed { urls, branch }),
        webhook::Hook::Job(event) => match JobEvent::of(delivery, &event) {
            Ok(event) => Ok(Hooked::Job { event: Box::new(event), by: by.cloned() }),
            Err(disbelief) => Err(disbelief.to_string()),
        },
        webhook::Hook::Ping => Ok(Hooked::Ping),
        webhook::Hook::Other(_) => Ok(Hooked::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::BoxFuture;
    use ring::hmac;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    /// A clock that is set, and a secret that is changed; how often it was read.
    #[derive(Default)]
    struct Scene {
        now: AtomicU64,
        secret: Mutex<(String, u32)>,
    }

    impl Clock for Scene {
        fn now_ms(&self) -> u64 {
            self.now.load(Ordering::Relaxed)
        }

        fn sleep(&self, _: Duration) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    impl Secrets for Scene {
        fn secret(&self, _: &SecretRef) -> Result<Secret, String> {
            let mut secret = self.secret.lock().expect("nobody failed");
            secret.1 += 1;
            Ok(Secret::new(secret.0.clone()))
        }
    }

    #[test]
    fn a_new_secret_is_read_when_the_old_one_fits_no_more_but_not_for_each_forgery() {
        let scene = Arc::new(Scene::default());
        scene.secret.lock().expect("nobody failed").0 = "old".to_owned();
        let signed = Signed::new(None, Arc::clone(&scene) as _, Arc::clone(&scene) as _);
        let pools = BTreeSet::from([SecretRef::Env("SECRET".into())]);
        let ping = |key: &str| {
            let digits = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), b"{}");
            let mut headers = HeaderMap::new();
            let signature = format!("sha256={}", hex::encode(digits)).parse().expect("a value");
            headers.insert("x-hub-signature-256", signature);
            headers.insert("x-github-event", "ping".parse().expect("a value"));
            signed.read(&headers, b"{}", &pools) == Ok(Hooked::Ping)
        };
        let reads = || scene.secret.lock().expect("nobody failed").1;
        assert!(ping("old") && ping("old"));
        assert_eq!(reads(), 1);
        scene.secret.lock().expect("nobody failed").0 = "new".to_owned();
        assert!(!ping("new"), "it was read just now");
        scene.now.store(AGAIN_MS, Ordering::Relaxed);
        assert!(ping("new") && ping("new"));
        assert_eq!(reads(), 2);
        assert!(!(0..10).any(|_| ping("forged")));
        assert_eq!(reads(), 2, "forgeries start no programs");
    }
}
