//! Time as the simulated cluster has it: sleeping moves it at once.

use crate::base::clock::Clock;
use crate::sim::front::Sim;
use futures::future::BoxFuture;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The cluster's virtual clock.
#[derive(Clone, Debug)]
pub struct SimClock(pub(crate) Sim);

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        self.0.with_world(|w| w.clock_ms)
    }

    /// Moves virtual time forward and lets others run once.
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            YieldOnce(false).await;
            self.0.advance(duration);
        })
    }
}

/// Pending once, and woken at once: works with any executor.
struct YieldOnce(bool);

impl Future for YieldOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
