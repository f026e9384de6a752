//! What may be typed after `node` and `logs`.

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

/// `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Whose: a guest's name or VMID (web-01, 200, vm/web-01, ct 200), or node/NODE
    #[arg(value_name = "GUEST|node/NODE", required = true, num_args = 1..=2)]
    pub target: Vec<String>,
    /// The newest so many lines [default: 100, or all with --since]
    #[arg(short = 'n', long = "lines", value_name = "LINES")]
    pub lines: Option<usize>,
    /// Not older than this: 2h, 2026-11-21, '2026-11-21 10:00', 2026-11-21T10:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Go on as lines come, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// The logs of a guest's tasks in PVE, not its journal
    #[arg(long)]
    pub tasks: bool,
}
