//! What was suspended by hand, in a small file of its own: the history may be lost without harm, and this may not.

use crate::config::disk::write_atomically;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A source that is left alone until it is resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suspension {
    /// Who said so.
    pub by: String,
    /// Why.
    pub why: String,
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
}

/// All of them, by source.
#[derive(Clone, Debug, Default)]
pub struct Suspensions {
    file: Option<PathBuf>,
    all: BTreeMap<String, Suspension>,
}

impl Suspensions {
    /// Reads them from `suspended.json` of the state folder; without a folder they last as long as the daemon. A file that
    /// cannot be read is an error: to go on as if nothing were suspended would be no small thing.
    pub fn open(folder: Option<PathBuf>) -> Result<Suspensions, String> {
        let Some(file) = folder.map(|f| f.join("suspended.json")) else { return Ok(Suspensions::default()) };
        let why = |what: String| format!("{}: {what}", file.display());
        let all = match std::fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text).map_err(|e| why(e.to_string()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(why(error.to_string())),
        };
        Ok(Suspensions { file: Some(file), all })
    }

    /// Who suspended a source, and why.
    pub fn of(&self, source: &str) -> Option<&Suspension> {
        self.all.get(source)
    }

    /// Suspends a source, or resumes it with `None`. Says what it means for a restart.
    pub fn set(&mut self, source: &str, suspension: Option<Suspension>) -> Result<&'static str, String> {
        let before = self.all.clone();
        match suspension {
            Some(suspension) => drop(self.all.insert(source.to_owned(), suspension)),
            None => drop(self.all.remove(source)),
        }
        let Some(file) = &self.file else {
            return Ok("; without a `stateFolder` that is forgotten when the daemon ends");
        };
        let text = serde_json::to_string_pretty(&self.all).expect("names and texts serialise");
        if let Err(error) = write_atomically(file, &text) {
            self.all = before;
            return Err(format!("{} cannot be written: {error}", file.display()));
        }
        Ok("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_outlasts_the_daemon_and_a_broken_file_is_no_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Suspensions::open(Some(folder.path().to_owned()));
        let mut all = open().expect("none yet");
        let one = Suspension { by: "anna".into(), why: "maintenance".into(), at_ms: 5 };
        assert_eq!(all.set("home", Some(one.clone())), Ok(""));
        assert_eq!(open().expect("well").of("home"), Some(&one));
        assert_eq!(all.set("home", None), Ok(""));
        assert_eq!(open().expect("well").of("home"), None);
        std::fs::write(folder.path().join("suspended.json"), "{").expect("written");
        assert!(open().is_err());
        assert!(Suspensions::default().set("home", Some(one)).is_ok_and(|note| note.contains("forgotten")));
    }
}
