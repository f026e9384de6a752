//! The machine's file system as [`SecretFiles`]: files of mode 0600 that were not there before, and never another's.

use crate::base::secret::Secret;
use crate::base::secret_file::{BegunFile, FileState, SecretFiles};
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Blanks that a file is begun with, so that its disk has room for the secret; a token with its id is shorter.
const ROOM: usize = 256;
/// What is longer than this is not looked through for something that is not blank.
const BLANK_MAX: u64 = 4096;

/// Paths as they are given; relative ones start from this folder.
pub struct Folder(PathBuf);

impl Folder {
    /// Relative paths start from `root`; where that is empty, from the folder that the program was started in.
    pub fn new(root: impl Into<PathBuf>) -> Folder {
        Folder(root.into())
    }
}

impl SecretFiles for Folder {
    fn look(&self, path: &str) -> FileState {
        let path = self.0.join(path);
        match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => FileState::Unusable("it is a folder".into()),
            Ok(found) if !found.is_file() => FileState::Unusable("it is no plain file".into()),
            // What cannot be read is not known to be empty.
            Ok(found) if File::open(&path).is_ok_and(|mut file| is_blank(&found, &mut file)) => FileState::Empty,
            Ok(_) => FileState::Filled,
            Err(error) if error.kind() != ErrorKind::NotFound => FileState::Unusable(error.to_string()),
            Err(_) if path.symlink_metadata().is_ok() => FileState::Unusable("it is a link to nothing".into()),
            Err(_) => match folder_of(&path) {
                folder if folder.is_dir() => FileState::Absent,
                folder => FileState::Unusable(format!("there is no folder `{}`", folder.display())),
            },
        }
    }

    fn begin(&self, path: &str) -> Result<Box<dyn BegunFile>, String> {
        let path = self.0.join(path);
        let told = |error: std::io::Error| error.to_string();
        let mut how = OpenOptions::new();
        how.read(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut how, 0o600);
        let mut file = match how.clone().create_new(true).open(&path) {
            // A killed run left it. It is taken only while nobody else holds it, and with nothing in it.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && is_plain(&path) => {
                how.open(&path).map_err(told)?
            }
            file => file.map_err(told)?,
        };
        // A file system without locks has none to wait for.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err("another run is writing it".into());
        }
        let found = file.metadata().map_err(told)?;
        if !is_under(&found, &path) || !is_blank(&found, &mut file) {
            return Err("it is there already, and is not overwritten".into());
        }
        let begun = Begun { file, path };
        match begun.make_room() {
            Ok(()) => Ok(Box::new(begun)),
            Err(error) => {
                Box::new(begun).discard();
                Err(told(error))
            }
        }
    }
}

struct Begun {
    file: File,
    path: PathBuf,
}

impl Begun {
    fn make_room(&self) -> std::io::Result<()> {
        #[cfg(unix)]
        self.file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        self.write(&[b' '; ROOM])?;
        #[cfg(unix)]
        File::open(folder_of(&self.path))?.sync_all()?;
        Ok(())
    }

    fn write(&self, text: &[u8]) -> std::io::Result<()> {
        let mut file = &self.file;
        file.rewind()?;
        file.write_all(text)?;
        file.set_len(text.len() as u64)?;
        file.sync_all()
    }
}

impl BegunFile for Begun {
    fn keep(self: Box<Self>, secret: &Secret) -> Result<(), String> {
        let line = Secret::new(format!("{}\n", secret.expose()));
        self.write(line.expose().as_bytes()).map_err(|error| error.to_string())
    }

    fn discard(self: Box<Self>) {
        // What stays is empty, and the next run takes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn is_plain(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_file())
}

/// Whether there is nothing in a file but what it was begun with.
fn is_blank(found: &Metadata, file: &mut File) -> bool {
    let mut text = Vec::new();
    found.len() <= BLANK_MAX
        && file.take(BLANK_MAX).read_to_end(&mut text).is_ok()
        && text.iter().all(u8::is_ascii_whitespace)
}

/// Whether an open file is still the one under its path: another run may have taken it away in between.
#[cfg(unix)]
fn is_under(found: &Metadata, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |other: Metadata| (other.dev(), other.ino()) == (found.dev(), found.ino());
    path.symlink_metadata().is_ok_and(same)
}

#[cfg(not(unix))]
fn is_under(_: &Metadata, path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(folder: &Path, name: &str) -> String {
        std::fs::read_to_string(folder.join(name)).expect("it is there")
    }

    #[test]
    fn a_secret_is_kept_in_a_new_file_that_only_its_owner_reads() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Folder::new(folder.path());
        assert_eq!(files.look("a"), FileState::Absent);
        let begun = files.begin("a").expect("it can be made");
        assert_eq!(files.look("a"), FileState::Empty, "begun, and nothing in it");
        begun.keep(&Secret::new("u@pve!t=1")).expect("it can be written");
        assert_eq!(text(folder.path(), "a"), "u@pve!t=1\n");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = folder.path().join("a").metadata().expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(files.look("a"), FileState::Filled);
        assert!(files.begin("a").is_err(), "it would be overwritten");
        assert_eq!(text(folder.path(), "a"), "u@pve!t=1\n");
    }

    #[test]
    fn what_a_killed_run_left_is_taken_and_what_a_living_one_holds_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Folder::new(folder.path());
        let living = files.begin("a").expect("it can be made");
        assert_eq!(files.begin("a").err().as_deref(), Some("another run is writing it"));
        living.discard();
        assert_eq!(files.look("a"), FileState::Absent);
        std::fs::write(folder.path().join("a"), " \n").expect("it can be written");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let wide = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(folder.path().join("a"), wide).expect("it is ours");
        }
        files.begin("a").expect("it is empty").keep(&Secret::new("x")).expect("it can be written");
        assert_eq!(text(folder.path(), "a"), "x\n");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = folder.path().join("a").metadata().expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "it was readable by others");
        }
    }

    #[test]
    fn what_cannot_be_a_file_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Folder::new(folder.path());
        assert_eq!(files.look(""), FileState::Unusable("it is a folder".into()));
        assert!(matches!(files.look("none/a"), FileState::Unusable(why) if why.contains("there is no folder")));
        assert!(files.begin("none/a").is_err() && files.begin("").is_err());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("nowhere", folder.path().join("link")).expect("it can be made");
            assert!(matches!(files.look("link"), FileState::Unusable(why) if why.contains("a link to nothing")));
            assert!(files.begin("link").is_err());
            assert!(!folder.path().join("nowhere").exists(), "the link was followed");
        }
    }
}
