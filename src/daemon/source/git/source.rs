//! A branch of a repository as a source. It is asked where it is at intervals, and read when it is elsewhere than at the last
//! reading; a repository that fails is asked less and less often, and read as soon as it answers again. What is wrong with
//! a commit stays wrong until there is another one.

use crate::daemon::config::GitConfig;
use crate::daemon::source::folder::blocking;
use crate::daemon::source::git::address::{normal, shown};
use crate::daemon::source::git::checkout::{checkout, remove_others};
use crate::daemon::source::git::pace::pause;
use crate::daemon::source::git::repository::{Cure, Fault, Head, Repository};
use crate::daemon::source::taken::take;
use crate::daemon::source::{Broken, Reading, Revision, Source};
use futures::future::BoxFuture;
use ring::rand::{SecureRandom, SystemRandom};
use std::path::{Path, PathBuf};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// A branch of a repository.
#[derive(Debug)]
pub struct GitSource {
    config: GitConfig,
    set: Option<String>,
    /// Where the repository and the checkout are.
    folder: PathBuf,
    /// It is removed in the end.
    temporary: bool,
    /// It was made, and what others left in it is gone.
    ready: bool,
    /// A git may have been ended in the middle of its work.
    spoilt: bool,
    repository: Repository,
    /// The branch, as the repository told.
    branch: Option<String>,
    /// Where it was at the last reading; `Err`: nothing was read. `None` before the first.
    known: Option<Result<String, ()>>,
    failures: u32,
    ask_at: Instant,
    /// A question in progress, which goes on when whoever waits for it goes away.
    asking: Option<Asking>,
    moved: bool,
}

/// Ends with its owner: git is killed.
#[derive(Debug)]
struct Asking(JoinHandle<Result<Head, Fault>>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A random number. Where the machine has none, all daemons ask at once, and names of folders are refused when they exist.
pub(super) fn roll() -> u64 {
    let mut bytes = [0; 8];
    let filled = SystemRandom::new().fill(&mut bytes);
    if filled.is_ok() { u64::from_be_bytes(bytes) } else { u64::from(std::process::id()) }
}

impl GitSource {
    /// The source `name`, kept in `state_folder`, for the set of that name.
    pub fn new(name: &str, config: GitConfig, set: Option<String>, state_folder: Option<&Path>) -> GitSource {
        let folder = match state_folder {
            Some(state) => state.join("git").join(name),
            None => std::env::temp_dir().join(format!("pvectl-{name}-{:016x}", roll())),
        };
        // Git is started in other folders than this one.
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let repository = Repository::new(config.url.clone(), config.branch.clone(), folder.join("repository.git"));
        GitSource {
            branch: config.branch.clone(),
            config,
            set,
            folder,
            temporary: state_folder.is_none(),
            ready: false,
            spoilt: false,
            repository,
            known: None,
            failures: 0,
            ask_at: Instant::now(),
            asking: None,
            moved: false,
        }
    }

    async fn wait(&mut self) {
        while self.known.is_some() && !self.moved {
            let Some(asking) = &mut self.asking else {
                sleep_until(self.ask_at).await;
                let repository = self.repository.clone();
                self.asking = Some(Asking(tokio::spawn(async move { repository.head().await })));
                continue;
            };
            let answer = (&mut asking.0).await;
            self.asking = None;
            match (answer, &self.known) {
                (Ok(Ok(head)), known) => {
                    self.moved = known != &Some(Ok(head.commit));
                    self.failures = 0;
                }
                // It was well, and is not: a reading tells how.
                (Ok(Err(_)), Some(Ok(_))) => self.moved = true,
                (Ok(Err(_)), Some(Err(())) | None) => self.failures = self.failures.saturating_add(1),
                // The program ends, or a bug was reported by its thread; a reading tells more.
                (Err(_), _) => self.moved = true,
            }
            self.pause();
        }
    }

    fn pause(&mut self) {
        self.ask_at = Instant::now() + pause(self.config.interval.0, self.failures, roll());
    }

    async fn take(&mut self) -> Result<Reading, Broken> {
        self.asking = None;
        self.moved = false;
        let mut revision = None;
        let taken = self.fetch(&mut revision).await;
        let cure = taken.as_ref().err().map(|fault| fault.cure);
        // Dropped before this line, it stays spoilt.
        self.spoilt = cure == Some(Cure::Copy);
        match cure {
            None | Some(Cure::Commit) => self.failures = 0,
            Some(Cure::Time | Cure::Copy) => {
                self.known = Some(Err(()));
                self.failures = self.failures.saturating_add(1);
            }
        }
        self.pause();
        let (root, revision) = match (taken, revision) {
            (Ok(root), Some(revision)) => (root, revision),
            (Ok(_), None) => return Err(Broken { message: "no commit was read".to_owned(), ..Broken::default() }),
            (Err(fault), revision) => return Err(fault.broken(revision)),
        };
        let (folder, set, path) = (self.folder.clone(), self.set.clone(), self.config.path.clone());
        blocking(move || {
            let tree: PathBuf = root.join(&path).components().collect();
            let reading = take(&tree, &root.display().to_string(), set.as_deref(), revision);
            remove_others(&folder, Some(&root));
            reading
        })
        .await?
    }

    /// The files of the newest commit, and which one it is as soon as that is known.
    async fn fetch(&mut self, revision: &mut Option<Revision>) -> Result<PathBuf, Fault> {
        if !self.ready {
            let folder = self.folder.clone();
            let made = blocking(move || {
                make(&folder)?;
                remove_others(&folder, None);
                Ok(())
            });
            let made: Result<(), std::io::Error> =
                made.await.map_err(|broken| Fault::new(broken.message, Cure::Time))?;
            made.map_err(|e| Fault::new(format!("`{}` cannot be made: {e}", self.folder.display()), Cure::Time))?;
            self.ready = true;
        }
        if self.spoilt {
            let repository = self.repository.clone();
            blocking(move || repository.forget()).await.map_err(|broken| Fault::new(broken.message, Cure::Copy))?;
        }
        self.spoilt = true;
        let head = self.repository.head().await?;
        let commit = self.repository.fetch(&head).await?;
        if head.branch.is_some() {
            self.branch = head.branch;
        }
        self.known = Some(Ok(commit.id.clone()));
        *revision = Some(Revision { id: commit.id.clone(), subject: commit.subject.clone() });
        if self.config.verify_signature {
            self.repository.verify(&commit).await?;
        }
        checkout(&self.repository, &commit, &self.config.path, &self.folder).await
    }
}

/// A folder for this user alone: manifests may be private.
fn make(folder: &Path) -> Result<(), std::io::Error> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

impl Drop for GitSource {
    fn drop(&mut self) {
        if self.temporary && self.ready {
            // Nobody is left to tell.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

impl Source for GitSource {
    fn origin(&self) -> String {
        let GitConfig { url, path, .. } = &self.config;
        let branch = self.branch.as_ref().map(|branch| format!(", branch {branch}")).unwrap_or_default();
        let path = if path.as_os_str().is_empty() { String::new() } else { format!(", path {}", path.display()) };
        format!("{}{branch}{path}", shown(url))
    }

    fn follows(&self, urls: &[String], branch: &str) -> bool {
        let ours = normal(&self.config.url);
        // Before the repository told its default branch, any push may be one to it.
        self.branch.as_ref().is_none_or(|our| our == branch) && urls.iter().any(|url| normal(url) == ours)
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.wait())
    }

    fn read(&mut self) -> BoxFuture<'_, Result<Reading, Broken>> {
        Box::pin(self.take())
    }
}
