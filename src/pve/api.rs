//! The one door to a Proxmox VE API: two methods on values, so that a simulator, a replay and the real client are the same
//! to everybody else.

use crate::pve::error::PveError;
use crate::pve::request::{Call, Query};
use futures::future::BoxFuture;
use serde_json::Value;

/// A Proxmox VE API. Both methods return the `data` member of the answer (`Null` where PVE sends none).
pub trait Api: Send + Sync {
    /// Reads. May be repeated by the implementation as it likes.
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>>;
    /// Writes, at most once: an implementation may repeat it only while it is certain that nothing was sent.
    /// A task that was started answers with its UPID as a string.
    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>>;
}
