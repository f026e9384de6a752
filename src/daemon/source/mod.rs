//! Where manifests come from: a folder that is watched, or a repository that is fetched. A source tells when something may
//! have moved, and reads all of it, well or badly; what is in force is the loop's matter.

use crate::daemon::config::SourceConfig;
use crate::manifest::load::Loaded;
use crate::plan::desired::DesiredSet;
use futures::future::BoxFuture;
use std::path::Path;

mod taken;

pub mod debounce;

mod watch;

pub mod folder;

pub mod git;

pub mod webhook;

/// Which manifests these are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// The commit, or the digest of names and contents of the files (`sha256:…`). The same manifests have the same id.
    pub id: String,
    /// The subject line of the commit.
    pub subject: Option<String>,
}

/// Manifests that were read and are well.
pub struct Reading {
    /// Which.
    pub revision: Revision,
    /// Texts and documents, for places in messages.
    pub loaded: Loaded,
    /// What they want.
    pub desired: DesiredSet,
}

/// Manifests that cannot be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// Which, if it came that far.
    pub revision: Option<Revision>,
    /// One sentence: `3 errors in the manifests`, `git fetch failed: …`.
    pub message: String,
    /// Every diagnostic as `pvectl validate` prints it, without colour.
    pub diagnostics: Vec<String>,
}

/// A place that manifests come from.
pub trait Source: Send {
    /// For people: the folder, or the repository with branch and path, without any password.
    fn origin(&self) -> String;
    /// Whether a push to this repository (one of its addresses) and branch concerns it.
    fn follows(&self, urls: &[String], branch: &str) -> bool;
    /// Ends when something may have moved since the last `read`; bursts come as one. May be dropped and called again.
    fn changed(&mut self) -> BoxFuture<'_, ()>;
    /// Reads it now.
    fn read(&mut self) -> BoxFuture<'_, Result<Reading, Broken>>;
}

/// The source that a configuration names. What git fetches is kept in `state_folder`; without one, in a temporary folder.
pub fn open(config: &SourceConfig, state_folder: Option<&Path>) -> Box<dyn Source> {
    match (&config.git, &config.folder) {
        (Some(git), _) => {
            Box::new(git::source::GitSource::new(&config.name, git.clone(), config.set.clone(), state_folder))
        }
        (None, folder) => {
            // The configuration was checked: a source has one of the two.
            let folder = folder.clone().unwrap_or_default();
            Box::new(folder::FolderSource::new(folder, config.set.clone()))
        }
    }
}
