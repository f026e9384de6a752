//! The thread that writes. The loop hands it records and never waits; what cannot be written is held back within a bound,
//! and beyond that it is lost and counted. Trouble is told once when it begins and once when it is over.

use crate::base::clock::Clock;
use crate::daemon::record::{DriftRecord, EventRecord, Level};
use crate::daemon::store::book::{Book, Bounds, Record};
use crate::daemon::store::query::History;
use crate::daemon::store::schema::StoreError;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Records on their way to the thread.
const CHANNEL_MAX: usize = 1_024;
/// Records that wait for the file to be writable again; the oldest are lost first.
const BACKLOG_MAX: usize = 2_048;
/// Records of one transaction.
const BATCH_MAX: usize = 256;
/// The first pause after a failure; doubled up to the longest.
const RETRY_MS: u64 = 1_000;
const RETRY_MAX_MS: u64 = 60_000;
/// Trouble that comes and goes is told this often at most.
const TELL_EVERY_MS: u64 = 600_000;
/// How often old rows are looked for.
const PRUNE_EVERY_MS: u64 = 3_600_000;
/// How long the thread sleeps when nobody wakes it.
const IDLE: Duration = Duration::from_secs(1);

/// What the loop should make an event of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// History is not written, and why.
    Broken(String),
    /// It is written again.
    Mended {
        /// Records that were lost since it was told that it was not.
        lost: u64,
    },
}

impl News {
    /// As an event of the daemon itself.
    pub fn event(&self, at_ms: u64) -> EventRecord {
        let (level, reason, message) = match self {
            News::Broken(why) => (Level::Warning, "HistoryLost", format!("history is not written: {why}")),
            News::Mended { lost: 0 } => (Level::Normal, "HistoryMended", "history is written again".to_owned()),
            News::Mended { lost } => {
                (Level::Normal, "HistoryMended", format!("history is written again; {lost} records were lost"))
            }
        };
        let (reason, object, revision) = (reason.to_owned(), None, None);
        EventRecord { at_ms, source: String::new(), object, revision, level, reason, message, count: 1 }
    }
}

/// How the keeping goes, for metrics and the status page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Records written.
    pub kept: u64,
    /// Records lost.
    pub lost: u64,
    /// Why nothing is written now.
    pub trouble: Option<String>,
}

#[derive(Debug, Default)]
struct Gauge {
    kept: AtomicU64,
    lost: AtomicU64,
    trouble: Mutex<Option<String>>,
}

enum Told {
    Keep(Box<Record>),
    Written(SyncSender<()>),
    End,
}

/// The daemon's end of the thread.
#[derive(Debug)]
pub struct Keeper {
    told: SyncSender<Told>,
    ended: Mutex<Receiver<()>>,
    gauge: Arc<Gauge>,
    path: PathBuf,
}

/// Hears of trouble. It is called on the keeper's thread and must not block.
pub type Hear = Box<dyn Fn(News) + Send>;

impl Keeper {
    /// Opens the file and starts the thread. Also says which drift had not ended; none if the file cannot be used yet, which is
    /// told as news and never an error: the daemon works without history.
    pub fn start(path: &Path, bounds: Bounds, clock: Arc<dyn Clock>, hear: Hear) -> (Keeper, Vec<DriftRecord>) {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            // Without it opening fails, and says so.
            drop(std::fs::create_dir_all(folder));
        }
        let gauge = Arc::new(Gauge::default());
        let mut desk = Desk::new(path, bounds, Arc::clone(&gauge), hear);
        let lasting = desk.start(clock.now_ms());
        let (told, tells) = sync_channel(CHANNEL_MAX);
        let (end, ended) = sync_channel(1);
        let started = std::thread::Builder::new().name("history".to_owned()).spawn(move || {
            run(&mut desk, &tells, clock.as_ref());
            drop(desk);
            drop(end);
        });
        if let Err(error) = started {
            // Everything is then counted as lost: the other end of the channel is gone.
            tracing::warn!("history is not written: no thread could be started: {error}");
        }
        (Keeper { told, ended: Mutex::new(ended), gauge, path: path.to_owned() }, lasting)
    }

    /// Hands a record over; at once, and without a way to fail.
    pub fn keep(&self, record: Record) {
        match self.told.try_send(Told::Keep(Box::new(record))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.gauge.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits until what was handed over before is written or has failed to be; true if that was in time.
    pub fn settle(&self, within: Duration) -> bool {
        let (written, wait) = sync_channel(1);
        let left = self.insist(&|| Told::Written(written.clone()), within);
        left.is_some_and(|left| wait.recv_timeout(left).is_ok())
    }

    /// Hands over what may not be lost. Returns what is left of the time; `None`: it could not be done in time.
    fn insist(&self, tell: &dyn Fn() -> Told, within: Duration) -> Option<Duration> {
        const PAUSE: Duration = Duration::from_millis(5);
        let mut left = within;
        while let Err(error) = self.told.try_send(tell()) {
            if matches!(error, TrySendError::Disconnected(_)) || left.is_zero() {
                return None;
            }
            std::thread::sleep(PAUSE);
            left = left.saturating_sub(PAUSE);
        }
        Some(left)
    }

    /// How it goes.
    pub fn keeping(&self) -> Keeping {
        Keeping {
            kept: self.gauge.kept.load(Ordering::Relaxed),
            lost: self.gauge.lost.load(Ordering::Relaxed),
            trouble: self.gauge.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// For those who read it.
    pub fn history(&self) -> History {
        History::new(&self.path)
    }

    /// Writes what is left and closes the file; true if that was done in time. A disk that hangs is left behind. What is kept
    /// after that is lost.
    pub fn close(&self, within: Duration) -> bool {
        let Some(left) = self.insist(&|| Told::End, within) else { return false };
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(left);
        matches!(ended, Err(RecvTimeoutError::Disconnected))
    }
}

fn run(desk: &mut Desk, tells: &Receiver<Told>, clock: &dyn Clock) {
    let mut open = true;
    while open {
        let mut written = Vec::new();
        let mut next = tells.recv_timeout(IDLE);
        let mut taken = 0;
        loop {
            match next {
                Ok(Told::Keep(record)) => desk.take(*record),
                Ok(Told::Written(who)) => written.push(who),
                Err(RecvTimeoutError::Timeout) => break,
                Ok(Told::End) | Err(RecvTimeoutError::Disconnected) => {
                    open = false;
                    break;
                }
            }
            taken += 1;
            if taken >= BATCH_MAX {
                break;
            }
            next = tells.recv_timeout(Duration::ZERO);
        }
        if !open {
            desk.hurry();
        }
        desk.turn(clock.now_ms());
        // Who asked may have given up.
        for who in written {
            let _ = who.try_send(());
        }
    }
}

/// What the thread knows. Each turn is handed the time.
struct Desk {
    path: PathBuf,
    bounds: Bounds,
    book: Option<Book>,
    backlog: VecDeque<Record>,
    gauge: Arc<Gauge>,
    hear: Hear,
    failures: u32,
    retry_ms: u64,
    pruned_ms: Option<u64>,
    told_ms: Option<u64>,
    /// What was lost when trouble was told; `None` when nobody knows of any.
    told_lost: Option<u64>,
}

impl Desk {
    fn new(path: &Path, bounds: Bounds, gauge: Arc<Gauge>, hear: Hear) -> Desk {
        Desk {
            path: path.to_owned(),
            bounds,
            book: None,
            backlog: VecDeque::new(),
            gauge,
            hear,
            failures: 0,
            retry_ms: 0,
            pruned_ms: None,
            told_ms: None,
            told_lost: None,
        }
    }

    /// Opens the file for the first time.
    fn start(&mut self, now_ms: u64) -> Vec<DriftRecord> {
        let opened = Book::open(&self.path, &self.bounds).and_then(|mut book| {
            book.abandon_runs(now_ms)?;
            let lasting = book.open_drift()?;
            Ok((book, lasting))
        });
        match opened {
            Ok((book, lasting)) => {
                self.book = Some(book);
                lasting
            }
            Err(error) => {
                self.failed(&error, now_ms);
                Vec::new()
            }
        }
    }

    fn take(&mut self, record: Record) {
        if self.backlog.len() >= BACKLOG_MAX {
            self.backlog.pop_front();
            self.gauge.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.backlog.push_back(record);
    }

    /// The next turn is the last: no pause counts.
    fn hurry(&mut self) {
        self.retry_ms = 0;
        self.failures = 0;
    }

    fn turn(&mut self, now_ms: u64) {
        let prunes = self.pruned_ms.is_none_or(|at| now_ms.abs_diff(at) >= PRUNE_EVERY_MS);
        if self.backlog.is_empty() && self.book.is_some() && !prunes {
            return;
        }
        // A clock that was set back is no reason to wait for long.
        let waits = self.failures > 0 && now_ms < self.retry_ms && self.retry_ms - now_ms <= RETRY_MAX_MS;
        if waits {
            return;
        }
        match self.write(now_ms, prunes) {
            Ok(()) => self.mended(),
            Err(error) => {
                self.book = None;
                self.failed(&error, now_ms);
            }
        }
    }

    fn write(&mut self, now_ms: u64, prunes: bool) -> Result<(), StoreError> {
        if self.book.as_ref().is_some_and(|book| !book.is_there()) {
            // Closed before another is made in its place: SQLite tidies up beside it.
            self.book = None;
            self.tell_broken("the file was deleted or replaced; a new one is begun", now_ms);
        }
        let book = match &mut self.book {
            Some(book) => book,
            None => self.book.insert(Book::open(&self.path, &self.bounds)?),
        };
        if prunes {
            book.prune(now_ms.saturating_sub(self.bounds.age_ms), self.bounds.rows)?;
            self.pruned_ms = Some(now_ms);
        }
        while !self.backlog.is_empty() {
            let count = self.backlog.len().min(BATCH_MAX);
            self.backlog.make_contiguous();
            let batch = &self.backlog.as_slices().0[..count];
            book.keep(batch)?;
            self.backlog.drain(..count);
            self.gauge.kept.fetch_add(count as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn failed(&mut self, error: &StoreError, now_ms: u64) {
        let why = error.in_full();
        self.retry_ms = now_ms + (RETRY_MS << self.failures.min(6)).min(RETRY_MAX_MS);
        self.failures += 1;
        *self.gauge.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
        self.tell_broken(&why, now_ms);
    }

    fn tell_broken(&mut self, why: &str, now_ms: u64) {
        let recently = self.told_ms.is_some_and(|at| now_ms.abs_diff(at) < TELL_EVERY_MS);
        if self.told_lost.is_none() && !recently {
            self.told_lost = Some(self.gauge.lost.load(Ordering::Relaxed));
            self.told_ms = Some(now_ms);
            (self.hear)(News::Broken(why.to_owned()));
        }
    }

    fn mended(&mut self) {
        self.failures = 0;
        *self.gauge.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(before) = self.told_lost.take() {
            (self.hear)(News::Mended { lost: self.gauge.lost.load(Ordering::Relaxed) - before });
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.gauge.lost.fetch_add(self.backlog.len() as u64, Ordering::Relaxed);
    }
}
