//! Time as the edge hands it in, so that a test can run a day in a millisecond.

use futures::future::BoxFuture;
use std::time::Duration;

/// A source of time. The real one is in the command line's shell; the simulator has a virtual one.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
    /// Waits for `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()>;
}
