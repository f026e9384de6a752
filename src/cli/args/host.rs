//! What may be typed after `host`.

use crate::cli::args::FormatArgs;
use clap::{Args, Subcommand};

/// `host`.
#[derive(Debug, Subcommand)]
pub enum Host {
    /// Try the way to each node: by what, as whom, and which programs are there; exit 0: all is well, 1: something is not
    Check(HostCheck),
    /// List what is done on nodes beside PVE's API, and why the API cannot do it
    Operations(FormatArgs),
    /// Run on a node the one operation that its SSH client asked for: for `command="pvectl host gate"` in authorized_keys
    Gate(HostGate),
}

/// `host check`.
#[derive(Debug, Args)]
pub struct HostCheck {
    /// Only this node
    pub node: Option<String>,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `host gate`.
#[derive(Debug, Args)]
pub struct HostGate {
    /// Operations pass too by which one becomes root on the node: containers with hookscripts, devices or folders of the node, or
    /// privileged ones, and mounts outside of /mnt, /media and /srv
    #[arg(long)]
    pub allow_root: bool,
}
