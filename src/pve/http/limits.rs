//! How much at once: pveproxy and pvedaemon have three workers each, so more than a few requests per node gain nothing and
//! starve the people at the web interface.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests in flight to one cluster: enough for three nodes at their limit, well below what fills a small machine.
pub const IN_FLIGHT_CLUSTER: usize = 16;
/// Requests in flight for one node: twice its workers, so that each has the next one waiting.
pub const IN_FLIGHT_NODE: usize = 6;

/// The limits of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests in flight in all.
    pub cluster: usize,
    /// Requests in flight for one node, by the node named in the path.
    pub node: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { cluster: IN_FLIGHT_CLUSTER, node: IN_FLIGHT_NODE }
    }
}

/// Lets requests through as far as the limits allow.
pub(super) struct Gate {
    limits: Limits,
    cluster: Arc<Semaphore>,
    nodes: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The right to have one request in flight; dropped when its answer is read.
pub(super) struct Permit {
    _node: Option<OwnedSemaphorePermit>,
    _cluster: OwnedSemaphorePermit,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Gate {
        let limits = Limits { cluster: limits.cluster.max(1), node: limits.node.max(1) };
        Gate { limits, cluster: Arc::new(Semaphore::new(limits.cluster)), nodes: Mutex::default() }
    }

    /// Waits for a place. The node comes first: who waits for a busy node must not hold a place of the cluster meanwhile.
    pub(super) async fn enter(&self, path: &str) -> Permit {
        let node = match node_of(path) {
            Some(node) => Some(take(self.node(node)).await),
            None => None,
        };
        Permit { _node: node, _cluster: take(Arc::clone(&self.cluster)).await }
    }

    fn node(&self, node: &str) -> Arc<Semaphore> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = self.limits.node;
        Arc::clone(nodes.entry(node.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(limit))))
    }
}

async fn take(semaphore: Arc<Semaphore>) -> OwnedSemaphorePermit {
    semaphore.acquire_owned().await.expect("the semaphores of a gate are never closed")
}

/// The node that a path of `/nodes/{node}/…` is about.
fn node_of(path: &str) -> Option<&str> {
    let node = path.strip_prefix("/nodes/")?.split('/').next()?;
    (!node.is_empty()).then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_read_off_the_path() {
        assert_eq!(node_of("/nodes/pve1/qemu/100/config"), Some("pve1"));
        assert_eq!(node_of("/nodes/pve1"), Some("pve1"));
        assert_eq!(node_of("/nodes"), None);
        assert_eq!(node_of("/cluster/resources"), None);
    }
}
