//! A folder of manifests, watched. What is watched is a hint, what counts is the content: `changed` ends when the digest of
//! the manifests is another one than that of the last reading, and not for a touched file or an editor's swap file. Folders
//! whose events do not arrive (NFS, exhausted limits) are looked at now and then anyway. A reading is of one moment: nothing
//! was written shortly before it nor during it, or it is read again.

use crate::daemon::source::taken::take;
use crate::daemon::source::watch::{Signs, Watch};
use crate::daemon::source::{Broken, Reading, Revision, Source};
use crate::manifest::digest::{Seen, look};
use futures::future::BoxFuture;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// How often a watched folder is looked at even so: events are lost on network file systems.
const LOOK_WATCHED: Duration = Duration::from_secs(30);
/// How often a folder is looked at that cannot be watched.
const LOOK_UNWATCHED: Duration = Duration::from_secs(5);
/// How often a folder that changes under our eyes is read in one go.
const READS_MAX: u32 = 6;
/// Who wrote less than this ago may be in the middle of a save. It is the silence after which a sign is told, so that a
/// reading after a sign need not wait.
const HOLD: Duration = Duration::from_millis(50);
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
            Look { digest: look(&folder).digest, watched, signed }
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
        while let Some(due) = self.signs.due() {
            if self.signs.take() {
                break;
            }
            sleep_until(due).await;
        }
        self.look_at = Instant::now() + if watched { LOOK_WATCHED } else { self.poll };
        self.moved = false;
        let mut pause = PAUSE;
        for _ in 0..READS_MAX {
            let (folder, set) = (self.folder.clone(), self.set.clone());
            let attempt = blocking(move || attempt(&folder, set.as_deref(), watched)).await?;
            match attempt {
                Attempt::Read(digest, reading) => {
                    self.known = Some(digest);
                    return *reading;
                }
                Attempt::Moved(digest) => self.known = Some(digest),
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

/// What one reading came to.
enum Attempt {
    /// All of it is of one moment, with this digest.
    Read(String, Box<Result<Reading, Broken>>),
    /// Somebody is in the middle of a save.
    Moved(String),
}

/// Reads a folder, if nothing was written for as long as a save takes, nor while it was read. It blocks.
fn attempt(folder: &Path, set: Option<&str>, watched: bool) -> Attempt {
    let before = look(folder);
    let age = before.written.map(|written| SystemTime::now().duration_since(written));
    match age {
        Some(Ok(age)) if age < HOLD => {
            std::thread::sleep(HOLD - age);
            return Attempt::Moved(before.digest);
        }
        Some(Ok(_)) if watched => {}
        // Without events it may be a network file system, whose clock is another one.
        Some(Ok(_) | Err(_)) | None => std::thread::sleep(HOLD),
    }
    let revision = Revision { id: before.digest.clone(), subject: None };
    let reading = take(folder, "", set, revision);
    let after = look(folder);
    let Seen { digest, written } = &before;
    if *digest == after.digest && *written == after.written {
        Attempt::Read(after.digest, Box::new(reading))
    } else {
        Attempt::Moved(after.digest)
    }
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
