//! The queues: telling never waits, each sink has a future and a bound of its own, and what is too much is dropped from the
//! oldest on and counted.

use crate::base::clock::Clock;
use crate::config::connect::Commands;
use crate::config::error::ConfigError;
use crate::daemon::config::{NotifyConfig, reveal};
use crate::daemon::notice::message::Message;
use crate::daemon::notice::post::{PATIENCE, Post};
use crate::daemon::notice::retry::{Next, next};
use crate::daemon::notice::route::{FAILED, MENDED, Route, Verdict};
use crate::daemon::notice::target::Target;
use crate::daemon::record::{DriftRecord, EventRecord, Level};
use futures::future::{Either, join_all, select};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Messages that wait for one sink.
const QUEUE_MAX: usize = 100;

/// Hears of sinks that fail and of those that work again, as events of the daemon itself. It must not block.
pub type Hear = Arc<dyn Fn(EventRecord) + Send + Sync>;

/// How it goes with one sink, for metrics and the status page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sending {
    /// Its name.
    pub name: String,
    /// All that may be shown of its address.
    pub host: String,
    /// Messages that it took.
    pub sent: u64,
    /// Messages that it did not take.
    pub failed: u64,
    /// Messages that were dropped because too many waited.
    pub dropped: u64,
    /// Messages that wait.
    pub waiting: usize,
    /// Why the last one was not taken.
    pub trouble: Option<String>,
}

/// Everybody who is told.
pub struct Notices {
    sinks: Vec<Sink>,
}

struct Sink {
    route: Mutex<Route>,
    queue: Arc<Queue>,
    future: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    inside: Mutex<Inside>,
    wake: Notify,
}

#[derive(Default)]
struct Inside {
    waiting: VecDeque<Message>,
    /// Dropped since the last message that was taken out.
    dropped: u64,
    ends: bool,
    sending: Sending,
}

impl Queue {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message; `None` when there will be none.
    async fn next(&self) -> Option<Message> {
        loop {
            {
                let mut inside = self.inside();
                if let Some(message) = inside.waiting.pop_front() {
                    let dropped = std::mem::take(&mut inside.dropped);
                    return Some(Message { dropped, ..message });
                }
                if inside.ends {
                    return None;
                }
            }
            self.wake.notified().await;
        }
    }
}

/// Reads the secrets of the configuration.
pub fn targets(configs: &[NotifyConfig], commands: &dyn Commands) -> Result<Vec<(NotifyConfig, Target)>, ConfigError> {
    let target = |config: &NotifyConfig| {
        let url = reveal(&config.url, commands)?;
        let token = config.token.as_ref().map(|token| reveal(token, commands)).transpose()?;
        let wrong = |cause| ConfigError::Value { origin: format!("`url` of `{}` in `notify`", config.name), cause };
        Ok((config.clone(), Target::new(config.form, &url, token.as_ref()).map_err(wrong)?))
    };
    configs.iter().map(target).collect()
}

impl Notices {
    /// Starts a future for each of them; inside a runtime.
    pub fn start(
        targets: Vec<(NotifyConfig, Target)>,
        post: Arc<dyn Post>,
        clock: Arc<dyn Clock>,
        hear: Hear,
    ) -> Notices {
        let start = |(config, target): (NotifyConfig, Target)| {
            let queue = Arc::new(Queue::default());
            queue.inside().sending =
                Sending { name: config.name.clone(), host: target.host().to_owned(), ..Sending::default() };
            let line = Line { target, queue: Arc::clone(&queue), post: Arc::clone(&post), clock: Arc::clone(&clock) };
            let hear = Arc::clone(&hear);
            let future = Mutex::new(Some(tokio::spawn(async move { line.run(&hear).await })));
            Sink { route: Mutex::new(Route::new(&config)), queue, future }
        };
        Notices { sinks: targets.into_iter().map(start).collect() }
    }

    /// Tells everybody who wants to know; at once.
    pub fn tell(&self, event: &EventRecord, drift: Option<&DriftRecord>, now_ms: u64) {
        for Sink { route, queue, future: _ } in &self.sinks {
            let verdict = route.lock().unwrap_or_else(PoisonError::into_inner).judge(event, now_ms);
            let note = match verdict {
                Verdict::Tell(note) => note,
                Verdict::Quiet => continue,
            };
            let message = Message { event: event.clone(), drift: drift.cloned(), note, dropped: 0 };
            let mut inside = queue.inside();
            if inside.waiting.len() >= QUEUE_MAX {
                inside.waiting.pop_front();
                inside.dropped += 1;
                inside.sending.dropped += 1;
            }
            inside.waiting.push_back(message);
            drop(inside);
            queue.wake.notify_one();
        }
    }

    /// How it goes with each.
    pub fn sending(&self) -> Vec<Sending> {
        let one = |sink: &Sink| {
            let inside = sink.queue.inside();
            Sending { waiting: inside.waiting.len(), ..inside.sending.clone() }
        };
        self.sinks.iter().map(one).collect()
    }

    /// Sends what waits, as far as that is done in time; the rest is left.
    pub async fn close(&self, within: Duration, clock: &dyn Clock) {
        for sink in &self.sinks {
            sink.queue.inside().ends = true;
            sink.queue.wake.notify_one();
        }
        let take = |sink: &Sink| sink.future.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut futures: Vec<JoinHandle<()>> = self.sinks.iter().filter_map(take).collect();
        let ended = join_all(futures.iter_mut());
        // A future that panicked has ended as well.
        drop(select(std::pin::pin!(ended), clock.sleep(within)).await);
        futures.iter().for_each(JoinHandle::abort);
    }
}

/// One sink's future.
struct Line {
    target: Target,
    queue: Arc<Queue>,
    post: Arc<dyn Post>,
    clock: Arc<dyn Clock>,
}

impl Line {
    async fn run(&self, hear: &Hear) {
        while let Some(message) = self.queue.next().await {
            let ended = self.deliver(&message).await;
            let mut inside = self.queue.inside();
            let Sending { name, host, sent, failed, trouble, dropped: _, waiting: _ } = &mut inside.sending;
            let was = trouble.is_some();
            match ended {
                Ok(()) => {
                    *sent += 1;
                    *trouble = None;
                }
                Err(why) => {
                    *failed += 1;
                    *trouble = Some(why);
                }
            }
            let (reason, level, said) = match (was, &*trouble) {
                (false, Some(why)) => (FAILED, Level::Warning, format!("`{name}` at {host} cannot be told: {why}")),
                (true, None) => {
                    (MENDED, Level::Normal, format!("`{name}` at {host} is told again; {failed} were lost"))
                }
                (true, Some(_)) | (false, None) => continue,
            };
            let event = EventRecord {
                at_ms: self.clock.now_ms(),
                source: String::new(),
                object: Some(format!("Notice/{name}")),
                revision: None,
                level,
                reason: reason.to_owned(),
                message: said,
                count: 1,
            };
            // Nobody is called with the lock held: who hears it may tell the next.
            drop(inside);
            hear(event);
        }
    }

    async fn deliver(&self, message: &Message) -> Result<(), String> {
        let outgoing = self.target.render(message);
        let mut tries = 0;
        loop {
            tries += 1;
            let post = self.post.post(&outgoing, self.clock.now_ms());
            let ended = match select(post, self.clock.sleep(PATIENCE)).await {
                Either::Left((ended, _)) => ended,
                Either::Right(((), _)) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            };
            match next(tries, &ended, dice()) {
                Next::Done => return Ok(()),
                Next::Again(pause) => self.clock.sleep(pause).await,
                Next::GiveUp(why) => return Err(why),
            }
        }
    }
}

/// Between 0 and 1; good enough for pauses.
fn dice() -> f64 {
    f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
