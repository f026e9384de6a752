//! The file in which the token of PVE's lock on networks outlives a run that is killed. The file itself is locked while its run
//! lives, so that nobody takes a living run for a dead one; the kernel unlocks it when the run is no more.

use crate::pve::networks_lock::Shelf;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A file for one cluster; without a place for it nothing is remembered.
pub struct FileShelf {
    path: Option<PathBuf>,
    held: Mutex<Option<File>>,
}

impl FileShelf {
    /// In a folder that need not be there yet, for the cluster of that name.
    pub fn new(folder: Option<&Path>, cluster: &str) -> FileShelf {
        let plain: String = cluster.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        FileShelf { path: folder.map(|folder| folder.join(format!("sdn-lock-{plain}"))), held: Mutex::new(None) }
    }

    /// The file, if nobody else has it.
    fn open(&self, create: bool) -> Option<File> {
        let path = self.path.as_ref()?;
        if create {
            std::fs::create_dir_all(path.parent()?).ok()?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).ok()?;
        file.try_lock().ok()?;
        Some(file)
    }
}

impl Shelf for FileShelf {
    fn keep(&self, token: &str) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut file) = held.take().or_else(|| self.open(true)) else { return };
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(token.as_bytes()));
        if written.and_then(|()| file.sync_data()).is_err() {
            tracing::warn!(
                "the token of the lock on networks could not be kept: a run that is killed leaves it locked"
            );
        }
        *held = Some(file);
    }

    fn left(&self) -> Option<String> {
        if self.held.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return None;
        }
        let mut text = String::new();
        self.open(false)?.read_to_string(&mut text).ok()?;
        Some(text).filter(|text| !text.is_empty())
    }

    fn forget(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = held.take().or_else(|| self.open(false)) {
            // What cannot be taken away is a token that opens nothing any more.
            let _ = file.set_len(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_left_by_who_is_no_more_and_by_nobody_else() {
        let folder = tempfile::TempDir::new().expect("a folder of its own");
        let below = folder.path().join("pvectl");
        let shelf = || FileShelf::new(Some(&below), "https://pve1:8006");
        let (first, second) = (shelf(), shelf());
        assert_eq!(second.left(), None);
        first.keep("one");
        assert_eq!((first.left(), second.left()), (None, None), "the first lives");
        drop(first);
        assert_eq!(second.left().as_deref(), Some("one"));
        second.keep("second");
        second.keep("2");
        second.forget();
        assert_eq!(shelf().left(), None);
        FileShelf::new(None, "x").keep("nowhere");
    }
}
