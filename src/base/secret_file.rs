//! Files in which secrets are kept that PVE tells only once. The engine decides when; who holds the files is at the edge.

use crate::base::secret::Secret;

/// What stands under a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Nothing, in a folder that is there.
    Absent,
    /// A file with nothing in it: a run that was cut short left it.
    Empty,
    /// A file with something in it, which is never overwritten.
    Filled,
    /// No file can be there: why.
    Unusable(String),
}

/// A keeper of such files. The real one is the machine's own file system.
pub trait SecretFiles: Send + Sync {
    /// What stands under a path.
    fn look(&self, path: &str) -> FileState;
    /// Makes a file that only its owner can read, with room for a secret, before there is one.
    ///
    /// # Errors
    /// Why there can be none, in words; something in it already is such a reason.
    fn begin(&self, path: &str) -> Result<Box<dyn BegunFile>, String>;
}

/// A file that waits for its secret.
pub trait BegunFile: Send {
    /// Writes the secret, so that it outlives a crash of the machine.
    ///
    /// # Errors
    /// Why it is not there, in words.
    fn keep(self: Box<Self>, secret: &Secret) -> Result<(), String>;
    /// Takes the file away: there will be no secret.
    fn discard(self: Box<Self>);
}
