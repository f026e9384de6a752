//! Whether the manifests of a folder are still the same: a digest of their names and bytes, without their sense. Times and
//! owners of files are not in it, so that the same content has the same digest wherever and whenever it was written. When
//! something was written last is told beside it: who reads just after that may read half of a save.

use crate::manifest::load::{bytes, files};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A folder at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The digest of what [`crate::manifest::load::load`] would read of it and its subfolders: `sha256:…`. What cannot be
    /// read is in it with its reason, so that it differs from the same folder when it can.
    pub digest: String,
    /// When the newest of its manifests was written, or one came or went, by the clock of the file system.
    pub written: Option<SystemTime>,
}

/// Looks at a folder and its subfolders.
pub fn look(folder: &Path) -> Seen {
    let (files, diagnostics) = files(folder);
    let mut hash = Sha256::new();
    // Lengths go first: otherwise the end of a name could pass for the beginning of a text.
    let mut add = |tag: u8, bytes: &[u8]| {
        hash.update([tag]);
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for diagnostic in diagnostics {
        add(b'!', diagnostic.message.as_bytes());
    }
    let mut places: BTreeSet<PathBuf> = BTreeSet::from([folder.to_owned()]);
    for file in files {
        let name = file.strip_prefix(folder).unwrap_or(&file);
        add(b'n', name.as_os_str().as_encoded_bytes());
        match bytes(&file) {
            Ok(bytes) => add(b'b', &bytes),
            Err(error) => add(b'!', error.to_string().as_bytes()),
        }
        places.extend(file.ancestors().take_while(|above| *above != folder).map(Path::to_owned));
    }
    let written = places.iter().filter_map(|place| std::fs::metadata(place).ok()?.modified().ok()).max();
    Seen { digest: format!("sha256:{}", hex::encode(hash.finalize())), written }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn digest(folder: &Path) -> String {
        look(folder).digest
    }

    #[test]
    fn names_and_bytes_count_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let other = tempfile::tempdir().expect("a folder");
        for at in [&folder, &other] {
            fs::create_dir(at.path().join("sub")).expect("a folder");
            fs::write(at.path().join("a.yaml"), "a: 1\n").expect("a file");
            fs::write(at.path().join("sub/b.yml"), "b: 2\n").expect("a file");
        }
        let first = digest(folder.path());
        assert!(first.starts_with("sha256:") && first.len() == 71, "{first}");
        assert_eq!(first, digest(other.path()), "where it stands does not count");
        fs::write(folder.path().join("notes.txt"), "no manifest").expect("a file");
        fs::write(folder.path().join(".a.yaml.swp"), "an editor's").expect("a file");
        fs::write(folder.path().join("a.yaml"), "a: 1\n").expect("the same again");
        assert_eq!(first, digest(folder.path()));
        fs::write(folder.path().join("a.yaml"), "a: 2\n").expect("a file");
        let second = digest(folder.path());
        assert_ne!(first, second);
        fs::rename(folder.path().join("a.yaml"), folder.path().join("c.yaml")).expect("a rename");
        assert_ne!(second, digest(folder.path()), "a name counts");
    }

    #[test]
    fn the_last_write_counts_whatever_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let long_ago = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let age = |place: &Path| fs::File::open(place).and_then(|file| file.set_modified(long_ago)).expect("ours");
        fs::create_dir(folder.path().join("sub")).expect("a folder");
        let (file, sub) = (folder.path().join("sub/a.yaml"), folder.path().join("sub"));
        fs::write(&file, "a: 1\n").expect("a file");
        [&file, &sub, &folder.path().to_owned()].into_iter().for_each(|place| age(place));
        assert_eq!(look(folder.path()).written, Some(long_ago));
        fs::write(&file, "a: 1\n").expect("a file");
        assert!(look(folder.path()).written > Some(long_ago), "a file");
        age(&file);
        fs::remove_file(&file).expect("it was there");
        fs::write(sub.join("b.yaml"), "").expect("a file");
        age(&sub.join("b.yaml"));
        assert!(look(folder.path()).written > Some(long_ago), "what came and went");
        assert_eq!(look(&folder.path().join("nowhere")).written, None);
    }

    #[test]
    fn a_text_cannot_pass_for_another_file() {
        let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        fs::write(one.path().join("a.yaml"), "xb.yamly").expect("a file");
        fs::write(two.path().join("a.yaml"), "x").expect("a file");
        fs::write(two.path().join("b.yaml"), "y").expect("a file");
        assert_ne!(digest(one.path()), digest(two.path()));
    }

    #[test]
    fn what_is_missing_differs_from_what_is_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_ne!(digest(folder.path()), digest(&folder.path().join("nowhere")));
    }
}
