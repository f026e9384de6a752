//! The thread that writes the folder of reports: the loop leaves what is newest and goes on. What could not be written is told once,
//! and once more when it can be.

use crate::base::clock::Clock;
use crate::daemon::record::{DriftRecord, EventRecord, Level};
use crate::daemon::report::findings::{Compared, Findings, Times};
use crate::daemon::report::folder;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

type Newest = Arc<Mutex<Option<(Vec<DriftRecord>, Vec<Compared>)>>>;

/// Hears of trouble, as events of the daemon itself; on the writer's thread. It must not block.
pub type Hear = Box<dyn Fn(EventRecord) + Send>;

/// The loop's end of the thread.
pub struct Writer {
    newest: Newest,
    wake: Mutex<Option<SyncSender<()>>>,
    ended: Mutex<Receiver<()>>,
}

impl Writer {
    /// Starts the thread. The folder is made when there is something to write.
    pub fn start(path: &Path, clock: Arc<dyn Clock>, hear: Hear) -> Writer {
        let newest = Newest::default();
        let (wake, woken) = sync_channel(1);
        let (end, ended) = sync_channel(1);
        let (path, take) = (path.to_owned(), Arc::clone(&newest));
        let started = std::thread::Builder::new().name("reports".to_owned()).spawn(move || {
            run(&path, &take, &woken, clock.as_ref(), &hear);
            drop(end);
        });
        if let Err(error) = started {
            tracing::warn!("drift reports are not written: no thread could be started: {error}");
        }
        Writer { newest, wake: Mutex::new(Some(wake)), ended: Mutex::new(ended) }
    }

    /// Leaves what is to be written; what was not written yet is replaced.
    pub fn write(&self, drift: Vec<DriftRecord>, compared: Vec<Compared>) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((drift, compared));
        // A full channel: it is awake already.
        if let Some(wake) = &*self.wake.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = wake.try_send(());
        }
    }

    /// Writes what is left; true if that was done in time.
    pub fn close(&self, within: Duration) -> bool {
        drop(self.wake.lock().unwrap_or_else(PoisonError::into_inner).take());
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(within);
        matches!(ended, Err(RecvTimeoutError::Disconnected))
    }
}

fn run(path: &Path, newest: &Newest, woken: &Receiver<()>, clock: &dyn Clock, hear: &Hear) {
    let mut trouble = false;
    let mut open = true;
    while open {
        open = woken.recv().is_ok();
        let Some((drift, compared)) = newest.lock().unwrap_or_else(PoisonError::into_inner).take() else { continue };
        let findings = Findings { drift: &drift, compared: &compared, times: Times::Since };
        let (level, reason, message) = match (folder::write(path, &findings), trouble) {
            (Ok(_), true) => (Level::Normal, "ReportsMended", "drift reports are written again".to_owned()),
            (Err(error), false) => (Level::Warning, "ReportsFailed", error.in_full()),
            (Ok(_), false) | (Err(_), true) => continue,
        };
        trouble = level == Level::Warning;
        let (source, reason) = (String::new(), reason.to_owned());
        let at_ms = clock.now_ms();
        hear(EventRecord { at_ms, source, object: None, revision: None, level, reason, message, count: 1 });
    }
}
