//! Whether the manifests of a folder are still the same: a digest of their names and bytes, without their sense. Times and
//! owners of files are not in it, so that the same content has the same digest wherever and whenever it was written.

use crate::manifest::load::{bytes, files};
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// The digest of what [`crate::manifest::load::load`] would read of this folder and its subfolders: `sha256:…`. What cannot
/// be read is in it with its reason, so that it differs from the same folder when it can.
pub fn digest(folder: &Path) -> String {
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
    for file in files {
        let name = file.strip_prefix(folder).unwrap_or(&file);
        add(b'n', name.as_os_str().as_encoded_bytes());
        match bytes(&file) {
            Ok(bytes) => add(b'b', &bytes),
            Err(error) => add(b'!', error.to_string().as_bytes()),
        }
    }
    format!("sha256:{}", hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

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
