//! A folder of manifests, watched. What is watched is a hint, what counts is the content: `changed` ends when the digest of
//! the manifests is another one than that of the last reading, and not for a touched file or an editor's swap file. Folders
//! whose events do not arrive (NFS, exhausted limits) are looked at now and then anyway. A reading is of one moment: the
//! digest is the same before and after it, or it is read again.

use crate::daemon::source::taken::take;
use crate::daemon::source::watch::{Signs, Watch};
use crate::daemon::source::{Broken, Reading, Revision, Source};
use crate::manifest::digest::digest;
use futures::future::BoxFuture;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// How often a watched folder is looked at even so: events are lost on network file systems.
const LOOK_WATCHED: Duration = Duration::from_secs(30);
/// How often a folder is looked at that cannot be watched.
const LOOK_UNWATCHED: Duration = Duration::from_secs(5);
/// How often a folder that changes under our eyes is read in one go.
const READS_MAX: u32 = 6;
/// How long a folder must be the same where events do not tell: longer than an editor takes between the writes of one save.
const HOLD: Duration = Duration::from_millis(60);
/// The pause before it is read again, doubled each time: 1.5 s in all.
const PAUSE: Duration = Duration::from_millis(50);

/// A folder, or a link to one.
#[derive(Debug)]
pub struct FolderSource {
    folder: PathBuf,
    set: Option<String>,
    signs: Arc<Signs>,
    /// Held for as long as somebody looks; `None`: only polled.
    watch: Option<Arc<Mutex<Watch>>>,
    /// A look in progress, which goes on when whoever waits for it goes away.
    look: Option<JoinHandle<Look>>,
    /// When to look without any sign.
    look_at: Instant,
    poll: Duration,
    /// What the last reading saw; `None` before the first.
    known: Option<String>,
    moved: bool,
}

/// What a look told.
#[derive(Debug)]
struct Look {
    digest: String,
    watched: bool,
    /// A sign was there, and the folder had calmed down.
    signed: bool,
}

impl FolderSource {
    /// A source of the manifests in `folder` and its subfolders, for the set of that name.
    pub fn new(folder: PathBuf, set: Option<String>) -> FolderSource {
        let signs = Signs::new();
        let watch = Some(Arc::new(Mutex::new(Watch::new(signs.clone()))));
        let (look, look_at, poll) = (None, Instant::now(), LOOK_UNWATCHED);
        FolderSource { folder, set, signs, watch, look, look_at, poll, known: None, moved: false }
    }

    /// The same without events, looked at every `poll`.
    pub fn polled(folder: PathBuf, set: Option<String>, poll: Duration) -> FolderSource {
        FolderSource { watch: None, poll, ..FolderSource::new(folder, set) }
    }

    /// Watches and looks, on a thread that may block.
    fn begin(&mut self, signed: bool) {
        let (watch, folder) = (self.watch.clone(), self.folder.clone());
        self.look = Some(tokio::task::spawn_blocking(move || {
            let watched = armed(watch.as_ref(), &folder);
            Look { digest: digest(&folder), watched, signed }
        }));
    }

    fn looked(&mut self, look: Look) {
        let Look { digest, watched, signed } = look;
        self.look_at = Instant::now() + if watched { LOOK_WATCHED } else { self.poll };
        if self.known.as_ref() == Some(&digest) {
            return;
        }
        if signed {
            self.moved = true;
        } else {
            // Somebody may be in the middle of it: the next look is when it is quiet.
            self.signs.seen();
        }
    }

    async fn wait(&mut self) {
        while self.known.is_some() && !self.moved {
            if let Some(look) = &mut self.look {
                let look = look.await;
                self.look = None;
                match look {
                    Ok(look) => self.looked(look),
                    // The program ends, or a bug was reported by its thread; a reading tells more.
                    Err(_) => self.moved = true,
                }
                continue;
            }
            let signed = self.signs.take();
            if signed || self.look_at <= Instant::now() {
                self.begin(signed);
                continue;
            }
            let next = self.signs.due().map_or(self.look_at, |due| due.min(self.look_at));
            tokio::select! {
                () = self.signs.bell.notified() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    async fn take(&mut self) -> Result<Reading, Broken> {
        // What an older look found was before this reading.
        self.look = None;
        // Watched first, then read: whatever moves in between is a sign.
        let (watch, folder) = (self.watch.clone(), self.folder.clone());
        let watched = blocking(move || armed(watch.as_ref(), &folder)).await?;
        let mut calm = None;
        while calm.is_none() {
            calm = self.signs.settled();
            if let (None, Some(due)) = (calm, self.signs.due()) {
                sleep_until(due).await;
            }
        }
        // Without events, or with events all the time, the digest must be the same for a while.
        let hold = if watched && calm == Some(true) { Duration::ZERO } else { HOLD };
        self.look_at = Instant::now() + if watched { LOOK_WATCHED } else { self.poll };
        self.moved = false;
        let mut pause = PAUSE;
        for _ in 0..READS_MAX {
            let (folder, set) = (self.folder.clone(), self.set.clone());
            let (before, reading, after) = blocking(move || {
                let before = digest(&folder);
                std::thread::sleep(hold);
                let revision = Revision { id: before.clone(), subject: None };
                let reading = take(&folder, "", set.as_deref(), revision);
                (before, reading, digest(&folder))
            })
            .await?;
            let same = before == after;
            self.known = Some(after);
            if same {
                return reading;
            }
            sleep(pause).await;
            pause *= 2;
        }
        let message =
            format!("`{}` changes all the time, and was never the same for one reading", self.folder.display());
        Err(Broken { revision: None, message, diagnostics: Vec::new() })
    }
}

/// Watches what is there now; whether all of it is watched.
fn armed(watch: Option<&Arc<Mutex<Watch>>>, folder: &Path) -> bool {
    watch.is_some_and(|watch| watch.lock().unwrap_or_else(PoisonError::into_inner).arm(folder))
}

/// Work with files, on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Broken> {
    let broken = |error| Broken { message: format!("reading was cut short: {error}"), ..Broken::default() };
    tokio::task::spawn_blocking(work).await.map_err(broken)
}

impl Source for FolderSource {
    fn origin(&self) -> String {
        self.folder.display().to_string()
    }

    fn follows(&self, _: &[String], _: &str) -> bool {
        false
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.wait())
    }

    fn read(&mut self) -> BoxFuture<'_, Result<Reading, Broken>> {
        Box::pin(self.take())
    }
}
