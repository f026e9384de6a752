//! The one door to the privileged side of nodes: a transport runs an operation and brings its output.

use crate::base::links::Links;
use crate::host::operation::Operation;
use futures::future::BoxFuture;
use std::collections::BTreeMap;

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
    /// The nodes to which there is a way. Says nothing of whether they answer.
    fn links(&self) -> Links;

    /// What that way is, for people: `ssh root@10.0.0.1`. `None` where there is none.
    fn way(&self, node: &str) -> Option<String>;

    /// Hears at which addresses the cluster says that its nodes are.
    fn learn(&self, addresses: &BTreeMap<String, String>) {
        let _ = addresses;
    }

    /// Runs an operation on a node, at most once.
    fn run<'a>(
        &'a self,
        node: &'a str,
        operation: &'a Operation,
        listener: Option<&'a mut dyn Listener>,
    ) -> BoxFuture<'a, Result<Output, LinkError>>;
}

/// No way to any node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nowhere;

impl Link for Nowhere {
    fn links(&self) -> Links {
        Links::None
    }

    fn way(&self, _: &str) -> Option<String> {
        None
    }

    fn run<'a>(
        &'a self,
        _: &'a str,
        _: &'a Operation,
        _: Option<&'a mut dyn Listener>,
    ) -> BoxFuture<'a, Result<Output, LinkError>> {
        Box::pin(async { Err(LinkError::Missing { hint: UNCONFIGURED.to_owned() }) })
    }
}

/// What to do where no link is configured.
pub(super) const UNCONFIGURED: &str =
    "write `link: {ssh: {}}` into the context, or `link: {local: true}` on the node itself (docs/host-link.md)";

impl LinkError {
    /// An operation that no command line can hold.
    pub(super) fn unwritable(operation: &Operation) -> LinkError {
        let cause = format!("{} holds what no command line can hold", operation.entry().name);
        LinkError::Unsent { cause, hint: None }
    }
}
