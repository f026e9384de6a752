//! The budget of requests for watching one cluster: in no second are there more. Whoever waits for a look goes before reading
//! in turn, which takes what is left. What a change needs is sent without asking, and does not count.

use crate::base::clock::Clock;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The time in which requests are counted.
const WINDOW_MS: u64 = 1_000;
/// Who waits looks up this often whether it may have become urgent meanwhile.
const WAIT_MS_MAX: u64 = 50;

/// Whether a request waits for its turn.
#[derive(Clone, Debug)]
pub enum Haste {
    /// It is part of a change, or of a look that one waits for: at once.
    Now,
    /// Watching: when the budget has room, or as soon as the flag says that somebody waits for it.
    Soon(Arc<AtomicBool>),
    /// Reading in turn: when nobody else wants the room.
    InTurn,
}

/// The requests of the last second, and who waits.
#[derive(Debug)]
pub struct Pace {
    per_second: AtomicU32,
    sent: Mutex<VecDeque<u64>>,
    /// Those that go before reading in turn.
    waiting: AtomicUsize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { per_second: AtomicU32::new(u32::MAX), sent: Mutex::default(), waiting: AtomicUsize::new(0) }
    }
}

impl Pace {
    /// Sets the budget; it has none before that.
    pub fn set(&self, per_second: u32) {
        self.per_second.store(per_second.max(1), Ordering::Relaxed);
    }

    /// Waits until a request may be sent, and counts it.
    pub async fn turn(&self, clock: &dyn Clock, haste: &Haste) {
        match haste {
            Haste::Now => {}
            Haste::Soon(urgent) => {
                let _waiting = Waiting::new(&self.waiting);
                while let Some(wait) = self.room(clock.now_ms()) {
                    if urgent.load(Ordering::Relaxed) {
                        return;
                    }
                    clock.sleep(Duration::from_millis(wait.min(WAIT_MS_MAX))).await;
                }
            }
            Haste::InTurn => loop {
                let wait = match self.waiting.load(Ordering::Relaxed) {
                    0 => self.room(clock.now_ms()),
                    _ => Some(WAIT_MS_MAX),
                };
                let Some(wait) = wait else { return };
                clock.sleep(Duration::from_millis(wait)).await;
            },
        }
    }

    /// Takes a place in the last second, or says how long there is none.
    fn room(&self, now_ms: u64) -> Option<u64> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back makes what was sent seem to come.
        sent.retain(|at| *at <= now_ms && now_ms - at < WINDOW_MS);
        let most = usize::try_from(self.per_second.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        if sent.len() < most {
            sent.push_back(now_ms);
            return None;
        }
        sent.front().map(|at| (at + WINDOW_MS).saturating_sub(now_ms).max(1))
    }
}

/// Counts one who waits for as long as it lives: a request may be given up.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn new(count: &AtomicUsize) -> Waiting<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
