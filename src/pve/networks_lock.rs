//! The token of PVE's lock on software defined networks, remembered where a run that is killed leaves it. PVE does not say who
//! holds the lock; but it lets go for whoever shows the token of it. So a lock that a run of ours left is known by that alone:
//! a token that is not of the lock opens nothing, and where no lock is held it changes nothing (`lock_sdn_config` of
//! `PVE::Network::SDN`).

use crate::pve::api::Api;
use crate::pve::error::{PveError, Refusal};
use crate::pve::request::{Call, Method, Query};
use futures::future::BoxFuture;
use serde_json::Value;

/// Where the lock is taken and released.
pub const LOCK: &str = "/cluster/sdn/lock";
/// The parameter by which the token is shown.
pub const TOKEN: &str = "lock-token";

/// A place that outlives the process. What it loses costs a word from a person, never more.
pub trait Shelf: Send + Sync {
    /// Puts a token there, and holds the place until [`Shelf::forget`] or the end of the process.
    fn keep(&self, token: &str);
    /// The token that a run which is no more has left; `None` while another run holds the place.
    fn left(&self) -> Option<String>;
    /// Takes the token away.
    fn forget(&self);
}

impl<S: Shelf + ?Sized> Shelf for std::sync::Arc<S> {
    fn keep(&self, token: &str) {
        (**self).keep(token);
    }

    fn left(&self) -> Option<String> {
        (**self).left()
    }

    fn forget(&self) {
        (**self).forget();
    }
}

/// A door to PVE that remembers the token of the lock while we hold it.
pub struct Remembering<A, S> {
    /// The door.
    pub api: A,
    /// The place.
    pub shelf: S,
}

/// Whether a request lets the lock go, if it is done.
fn releases(call: &Call) -> bool {
    let kept = call.param("release-lock") == Some("0");
    match (call.method, call.path.as_str()) {
        (Method::Delete, LOCK) => true,
        (Method::Put, "/cluster/sdn") | (Method::Post, "/cluster/sdn/rollback") => !kept,
        (Method::Delete | Method::Put | Method::Post, _) => false,
    }
}

impl<A: Api, S: Shelf> Api for Remembering<A, S> {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        self.api.get(query)
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        Box::pin(async move {
            let answer = self.api.send(call).await;
            match &answer {
                Ok(token) if call.method == Method::Post && call.path == LOCK => {
                    token.as_str().into_iter().for_each(|token| self.shelf.keep(token));
                }
                Ok(_) if call.param(TOKEN).is_some() && releases(call) => self.shelf.forget(),
                // Somebody else has the lock: ours was released in another way.
                Err(error) if error.refusal() == Some(Refusal::NetworksLocked) && call.param(TOKEN).is_some() => {
                    self.shelf.forget();
                }
                Ok(_) | Err(_) => {}
            }
            answer
        })
    }
}
