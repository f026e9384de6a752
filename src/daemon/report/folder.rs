//! The reports as files. Each is written beside its place and moved into it, so that nobody ever reads half of one; and only when it
//! says something else, so that its time of change is that of the drift.

use crate::config::disk::write_atomically;
use crate::daemon::report::findings::Findings;
use crate::daemon::report::{json, junit, markdown, text};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Why a report was not written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write the drift report {path}")]
pub struct FolderError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

impl FolderError {
    /// With its cause, on one line.
    pub fn in_full(&self) -> String {
        format!("{self}: {}", self.source)
    }
}

/// Writes `drift.txt`, `drift.json`, `drift.md` and `drift.xml`; says which of them changed. Blocks. Give it
/// [`Times::Since`](crate::daemon::report::findings::Times): with durations every report would differ.
pub fn write(folder: &Path, findings: &Findings<'_>) -> Result<Vec<&'static str>, FolderError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| FolderError { path, source }
    };
    let files = [
        ("drift.txt", text::write(findings)),
        ("drift.json", format!("{:#}\n", json::write(findings))),
        ("drift.md", markdown::write(findings)),
        ("drift.xml", junit::write(findings)),
    ];
    let mut changed = Vec::new();
    for (name, content) in files {
        let path = folder.join(name);
        if put(&path, &content).map_err(failed(&path))? {
            changed.push(name);
        }
    }
    Ok(changed)
}

/// Whether there was something to write.
fn put(path: &Path, content: &str) -> std::io::Result<bool> {
    match std::fs::read(path) {
        Ok(old) if old == content.as_bytes() => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    write_atomically(path, content)?;
    Ok(true)
}
