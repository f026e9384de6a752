//! What may be typed after `node`.

use crate::cli::args::FormatArgs;
use clap::{Args, Subcommand};

/// `node`.
#[derive(Debug, Args)]
pub struct Node {
    /// What about it.
    #[command(subcommand)]
    pub verb: NodeVerb,
}

/// Verbs below `node`.
#[derive(Debug, Subcommand)]
pub enum NodeVerb {
    /// Look at disks, sensors, ZFS, Ceph, memory and quorum; exit 0: all is well, 1: something needs a person
    Health(NodeHealth),
}

/// `node health`.
#[derive(Debug, Args)]
pub struct NodeHealth {
    /// Of this node only
    pub node: Option<String>,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}
