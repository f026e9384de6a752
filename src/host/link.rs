//! The one door to the privileged side of nodes: a transport runs an operation and brings its output.

use crate::host::operation::Operation;
use futures::future::BoxFuture;

/// What an operation brought.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Output {
    /// Its exit code.
    pub code: i32,
    /// Standard output, at most as much as the operation's bound.
    pub out: String,
    /// Standard error, at most as much.
    pub err: String,
    /// There was more than the bound.
    pub truncated: bool,
}

/// Why there is no output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// There is no way to the node: none is configured.
    Missing {
        /// What to do.
        hint: String,
    },
    /// The node was not reached, or refused us: nothing was run.
    Unsent {
        /// Why.
        cause: String,
        /// What to do about it, where we know.
        hint: Option<String>,
    },
    /// It was begun, and how it ended is not known: look again, never repeat it.
    Lost {
        /// How the connection ended.
        cause: String,
    },
}

/// Who hears output as it comes.
pub trait Listener: Send {
    /// A piece of standard output.
    fn out(&mut self, text: &str);
}

/// A way to nodes.
pub trait Link: Send + Sync {
    /// Runs an operation on a node, at most once.
    fn run<'a>(
        &'a self,
        node: &'a str,
        operation: &'a Operation,
        listener: Option<&'a mut dyn Listener>,
    ) -> BoxFuture<'a, Result<Output, LinkError>>;
}
