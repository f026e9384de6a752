//! Parameters: node.
