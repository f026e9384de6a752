//! What may be typed after `network`.

use crate::cli::args::{FormatArgs, Sources};
use clap::{Args, Subcommand};

/// `network`.
#[derive(Debug, Args)]
pub struct Network {
    /// What about it.
    #[command(subcommand)]
    pub verb: NetworkVerb,
}

/// Verbs below `network`.
#[derive(Debug, Subcommand)]
pub enum NetworkVerb {
    /// Show a guest's interfaces and the rules that decide about its packets, in the order in which they are asked
    Show(NetworkShow),
    /// Tell what becomes of a connection, and which rule decides; exit 0: it passes, 1: it does not
    Test(NetworkTest),
}

/// `network show`.
#[derive(Debug, Args)]
pub struct NetworkShow {
    /// The guest: its name or its VMID
    pub guest: String,
    /// The manifests, to say which line each rule comes from.
    #[command(flatten)]
    pub sources: Sources,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `network test`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("peer").required(true).args(["to", "from"]))]
pub struct NetworkTest {
    /// The guest: its name or its VMID
    pub guest: String,
    /// Where it connects to: address or name, with the port; a bare host for --icmp
    #[arg(long, value_name = "HOST:PORT")]
    pub to: Option<String>,
    /// Or who connects to it: address or name
    #[arg(long, value_name = "HOST", conflicts_with = "to")]
    pub from: Option<String>,
    /// The guest's port, for --from
    #[arg(long, value_name = "PORT", requires = "from")]
    pub port: Option<u16>,
    /// UDP instead of TCP
    #[arg(long)]
    pub udp: bool,
    /// A ping instead of a connection
    #[arg(long, conflicts_with_all = ["udp", "port"])]
    pub icmp: bool,
    /// The interface [default: the first]
    #[arg(long, value_name = "netN")]
    pub interface: Option<String>,
    /// The guest's own address [default: the one that it is configured with, or says that it has]
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<std::net::IpAddr>,
    /// The manifests, to say which line the rule comes from.
    #[command(flatten)]
    pub sources: Sources,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}
