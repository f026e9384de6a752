//! What of the file system is watched for a folder of manifests, and the watching of it. Directories only, each by its real
//! path and for itself: a watch on a link gives one event when the link is switched and nothing of its new target, so the
//! place where a link stands is watched instead, and everything is looked up again after each burst. Kubernetes' `..data`,
//! git-sync's `current`, a folder that is deleted and comes back are then the same thing: a name that means something else.

use crate::daemon::source::debounce::Debounce;
use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Links of one path that are followed: as many as Linux follows.
const LINKS_MAX: usize = 40;
/// Directories and linked places of one folder that are watched; beyond that it is polled. Each costs kernel memory.
const PLACES_MAX: usize = 8_192;
/// How deep folders are walked: as deep as manifests are read.
const DEPTH_MAX: usize = crate::manifest::load::FOLDER_DEPTH_MAX;

/// Directories by real path, and which names in them matter; `None`: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places(BTreeMap<PathBuf, Option<BTreeSet<OsString>>>);

impl Places {
    /// What must be watched to learn that the manifests of `folder` may have changed, as things are now.
    pub(super) fn of(folder: &Path) -> Places {
        let mut places = Places::default();
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        if let Some(real) = places.trace(&folder) {
            places.tree(&real, &mut Vec::new());
        }
        places
    }

    /// Whether an event of this path matters.
    fn concern(&self, path: &Path) -> bool {
        let named = || {
            let (dir, name) = (path.parent()?, path.file_name()?);
            self.0.get(dir).map(|names| names.as_ref().is_none_or(|names| names.contains(name)))
        };
        // An event of a directory itself: it is deleted, moved away, or its rights changed.
        self.0.contains_key(path) || named().unwrap_or(false)
    }

    fn name(&mut self, dir: &Path, name: &std::ffi::OsStr) {
        if let Some(names) = self.0.entry(dir.to_owned()).or_insert_with(|| Some(BTreeSet::new())) {
            names.insert(name.to_owned());
        }
    }

    /// Follows a path to what it really is; `None` where something is missing, which is then waited for.
    fn trace(&mut self, path: &Path) -> Option<PathBuf> {
        let mut ahead: Vec<OsString> = Vec::new();
        let mut real = PathBuf::new();
        let mut links = 0;
        let push = |ahead: &mut Vec<OsString>, path: &Path| {
            ahead.extend(path.components().rev().map(|c| c.as_os_str().to_owned()));
        };
        push(&mut ahead, path);
        while let Some(word) = ahead.pop() {
            match Path::new(&word).components().next() {
                None | Some(Component::CurDir) => {}
                Some(Component::ParentDir) => {
                    real.pop();
                }
                Some(Component::Prefix(_) | Component::RootDir) => real = real.join(&word),
                Some(Component::Normal(_)) => {
                    let next = real.join(&word);
                    match std::fs::symlink_metadata(&next) {
                        Ok(metadata) if metadata.file_type().is_symlink() => {
                            self.name(&real, &word);
                            links += 1;
                            let target = std::fs::read_link(&next).ok().filter(|_| links <= LINKS_MAX)?;
                            push(&mut ahead, &target);
                        }
                        Ok(_) => {
                            if ahead.is_empty() {
                                self.name(&real, &word);
                            }
                            real = next;
                        }
                        Err(_) => {
                            self.name(&real, &word);
                            return None;
                        }
                    }
                }
            }
        }
        Some(real)
    }

    /// A directory with its subfolders, as manifests are read: hidden ones left out, links followed.
    fn tree(&mut self, dir: &Path, trail: &mut Vec<PathBuf>) {
        if trail.len() >= DEPTH_MAX || self.0.len() > PLACES_MAX || trail.iter().any(|above| above == dir) {
            return;
        }
        self.0.insert(dir.to_owned(), None);
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        trail.push(dir.to_owned());
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if kind.is_dir() {
                self.tree(&entry.path(), trail);
            } else if kind.is_symlink()
                && let Some(target) = self.trace(&entry.path())
                && target.is_dir()
            {
                self.tree(&target, trail);
            }
        }
        trail.pop();
    }
}

/// Whether an event may mean a change. Looking at files makes events too: who minds them looks for ever.
fn matters(event: &Event, places: &Places) -> bool {
    let reading = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => false,
    };
    event.need_rescan() || (!reading && (event.paths.is_empty() || event.paths.iter().any(|p| places.concern(p))))
}

/// What the watcher's thread tells: bounded, however long nobody asks.
#[derive(Debug)]
pub(super) struct Signs {
    state: Mutex<(Debounce, Places)>,
    /// Rung at each event.
    pub(super) bell: tokio::sync::Notify,
    began: Instant,
}

impl Signs {
    pub(super) fn new() -> Arc<Signs> {
        let state = Mutex::new((Debounce::default(), Places::default()));
        Arc::new(Signs { state, bell: tokio::sync::Notify::new(), began: Instant::now() })
    }

    fn state(&self) -> MutexGuard<'_, (Debounce, Places)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// An event that matters.
    pub(super) fn seen(&self) {
        let now_ms = self.now_ms();
        self.state().0.seen(now_ms);
        self.bell.notify_one();
    }

    /// When the folder may be looked at; `None` if nothing was seen.
    pub(super) fn due(&self) -> Option<Instant> {
        self.state().0.due_ms().map(|ms| self.began + std::time::Duration::from_millis(ms))
    }

    /// Whether it may be looked at now; then what was seen is forgotten.
    pub(super) fn take(&self) -> bool {
        let now_ms = self.now_ms();
        self.state().0.take(now_ms)
    }
}

/// The watching of one folder.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    signs: Arc<Signs>,
    armed: BTreeSet<PathBuf>,
    /// Why it is polled instead; told once.
    lost: Option<String>,
}

impl Watch {
    /// Nothing is watched yet.
    pub(super) fn new(signs: Arc<Signs>) -> Watch {
        Watch { watcher: None, signs, armed: BTreeSet::new(), lost: None }
    }

    /// Watches what matters now. All of it is armed again each time: a directory that was deleted and made again has the
    /// same path, and may have the same inode, but no watch. Returns whether everything is watched. It blocks.
    pub(super) fn arm(&mut self, folder: &Path) -> bool {
        let places = Places::of(folder);
        self.signs.state().1 = places.clone();
        let lost = self.try_arm(&places).err();
        if let Some(why) = &lost
            && self.lost != lost
        {
            tracing::warn!("{} is looked at every few seconds, since it cannot be watched: {why}", folder.display());
        }
        self.lost = lost;
        self.lost.is_none()
    }

    fn try_arm(&mut self, places: &Places) -> Result<(), String> {
        if places.0.len() > PLACES_MAX {
            self.watcher = None;
            self.armed.clear();
            return Err(format!("it has more than {PLACES_MAX} folders"));
        }
        if self.watcher.is_none() {
            let signs = self.signs.clone();
            let hear = move |event: Result<Event, notify::Error>| {
                let matters = event.as_ref().map_or(true, |event| matters(event, &signs.state().1));
                if matters {
                    signs.seen();
                }
            };
            self.watcher = Some(notify::recommended_watcher(hear).map_err(|e| why(&e))?);
        }
        let Some(watcher) = &mut self.watcher else { return Ok(()) };
        for gone in self.armed.iter().filter(|path| !places.0.contains_key(*path)) {
            // It may be gone by itself, with its directory.
            let _ = watcher.unwatch(gone);
        }
        self.armed.clear();
        let mut lost = None;
        for place in places.0.keys() {
            match watcher.watch(place, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.armed.insert(place.clone());
                }
                // It went away since it was listed, which is an event of the directory above.
                Err(error) if matches!(error.kind, ErrorKind::PathNotFound | ErrorKind::WatchNotFound) => {}
                Err(error) => {
                    lost.get_or_insert_with(|| why(&error));
                    if matches!(error.kind, ErrorKind::MaxFilesWatch) {
                        break;
                    }
                }
            }
        }
        lost.map_or(Ok(()), Err)
    }
}

/// Why it cannot be watched, and what helps.
fn why(error: &notify::Error) -> String {
    let limit = match &error.kind {
        ErrorKind::MaxFilesWatch => Some("fs.inotify.max_user_watches"),
        ErrorKind::Io(io) if io.raw_os_error() == Some(24) => Some("fs.inotify.max_user_instances"),
        ErrorKind::Io(_)
        | ErrorKind::Generic(_)
        | ErrorKind::PathNotFound
        | ErrorKind::WatchNotFound
        | ErrorKind::InvalidConfig(_) => None,
    };
    match limit {
        Some(limit) => format!("the limit {limit} is reached; raise it with sysctl"),
        None => error.to_string(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use notify::event::{CreateKind, Flag, ModifyKind};
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Places below `top`, with `*` for all names.
    fn told(places: &Places, top: &Path) -> Vec<String> {
        let one = |(dir, names): (&PathBuf, &Option<BTreeSet<OsString>>)| {
            let dir = dir.strip_prefix(top).ok()?.display().to_string();
            let names = names
                .as_ref()
                .map(|names| names.iter().map(|n| n.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" "));
            Some(format!("{dir}: {}", names.unwrap_or_else(|| "*".to_owned())))
        };
        places.0.iter().filter_map(one).collect()
    }

    fn top() -> (tempfile::TempDir, PathBuf) {
        let top = tempfile::tempdir().expect("a folder");
        let real = fs::canonicalize(top.path()).expect("it is there");
        (top, real)
    }

    #[test]
    fn a_mounted_volume_is_watched_where_its_links_stand_and_lead() {
        let (_keep, top) = top();
        let mount = top.join("mount");
        fs::create_dir_all(mount.join("..2026")).expect("a folder");
        fs::write(mount.join("..2026/a.yaml"), "").expect("a file");
        symlink("..2026", mount.join("..data")).expect("a link");
        symlink("..data/a.yaml", mount.join("a.yaml")).expect("a link");
        assert_eq!(told(&Places::of(&mount), &top), [": mount", "mount: *", "mount/..2026: a.yaml"]);
    }

    #[test]
    fn a_link_to_a_folder_is_watched_from_above() {
        let (_keep, top) = top();
        fs::create_dir_all(top.join("trees/1/sub/.git")).expect("a folder");
        symlink("trees/1", top.join("current")).expect("a link");
        let places = Places::of(&top.join("current"));
        assert_eq!(told(&places, &top), [": current", "trees: 1", "trees/1: *", "trees/1/sub: *"]);
        for (path, concern) in
            [("current", true), ("other", false), ("trees/1/x", true), ("trees/2", false), ("trees/1/sub", true)]
        {
            assert_eq!(places.concern(&top.join(path)), concern, "{path}");
        }
    }

    #[test]
    fn what_is_missing_is_waited_for_where_it_will_be_and_circles_end() {
        let (_keep, top) = top();
        assert_eq!(told(&Places::of(&top.join("a/b/c")), &top), [": a"]);
        symlink("two", top.join("one")).expect("a link");
        symlink("one", top.join("two")).expect("a link");
        assert_eq!(told(&Places::of(&top.join("one")), &top), [": one two"]);
        fs::create_dir_all(top.join("tree/sub")).expect("a folder");
        symlink("..", top.join("tree/sub/up")).expect("a link");
        assert_eq!(told(&Places::of(&top.join("tree")), &top), [": tree", "tree: *", "tree/sub: *"]);
    }

    #[test]
    fn our_own_reading_is_no_sign() {
        let (_keep, top) = top();
        let places = Places::of(&top);
        let event = |kind| Event::new(kind).add_path(top.join("a.yaml"));
        for kind in [
            EventKind::Access(AccessKind::Open(AccessMode::Any)),
            EventKind::Access(AccessKind::Read),
            EventKind::Access(AccessKind::Close(AccessMode::Read)),
        ] {
            assert!(!matters(&event(kind), &places), "{kind:?}");
        }
        for kind in [
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            EventKind::Create(CreateKind::File),
            EventKind::Modify(ModifyKind::Any),
        ] {
            assert!(matters(&event(kind), &places), "{kind:?}");
            assert!(!matters(&Event::new(kind).add_path(PathBuf::from("/elsewhere")), &places), "{kind:?}");
        }
        let access = EventKind::Access(AccessKind::Any);
        assert!(matters(&event(access).set_flag(Flag::Rescan), &places), "events were lost");
        assert!(matters(&Event::new(EventKind::Other), &places));
    }

    #[test]
    fn limits_are_named() {
        let io = |code| notify::Error::io(std::io::Error::from_raw_os_error(code));
        assert!(why(&notify::Error::new(ErrorKind::MaxFilesWatch)).contains("max_user_watches"));
        assert!(why(&io(24)).contains("max_user_instances"));
        assert!(!why(&io(13)).contains("max_user"));
    }
}
