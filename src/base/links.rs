//! Which nodes have a host link.

use std::collections::BTreeSet;

/// The nodes that have a host link, as far as the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// None is configured.
    #[default]
    None,
    /// These.
    These(BTreeSet<String>),
    /// Every node of the cluster.
    Every,
}

impl Links {
    /// Whether a node has one.
    pub fn reach(&self, node: &str) -> bool {
        match self {
            Links::None => false,
            Links::These(nodes) => nodes.contains(node),
            Links::Every => true,
        }
    }
}
