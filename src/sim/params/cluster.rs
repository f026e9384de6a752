//! Parameters: cluster.
