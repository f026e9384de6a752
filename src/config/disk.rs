//! Files that are either the old one or the new one, whenever the power goes.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes a file whole, by way of another beside it; folders on the way are made.
pub fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = std::fs::File::create(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        // Renamed before it is on the disk, it could be empty when the power comes back.
        file.sync_all()
    });
    let moved = written.and_then(|()| std::fs::rename(&temporary, path));
    if moved.is_err() {
        // Half of a file on a full disk is of no use to anybody.
        drop(std::fs::remove_file(&temporary));
    }
    moved
}
