//! Names of DNS as the edge resolves them.

use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// All addresses of a name, of both families, or why there are none. An empty set is never an answer.
pub type Resolution = Result<BTreeSet<IpAddr>, String>;

/// A source of addresses. The real one asks the machine's DNS servers; the simulator has a table.
pub trait Resolver: Send + Sync {
    /// All addresses of a name, A and AAAA.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Resolution>;
}
