//! What may be typed after `sim`.

use crate::cli::args::duration;
use crate::cli::fault;
use crate::github::place::PUBLIC_API;
use crate::sim::faults::Fault;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// `sim`.
#[derive(Debug, Subcommand)]
pub enum Sim {
    /// Serve a simulated cluster over HTTPS; the first line on standard output is JSON with its address and tokens
    Serve(SimServe),
    /// Let time pass on the cluster of --sim, which stands still between commands
    Advance(SimAdvance),
    /// Queue jobs on the GitHub of --sim, for runner pools
    Job(SimJob),
}

/// `sim job`.
#[derive(Debug, Args)]
pub struct SimJob {
    /// Whose jobs: owner/name
    #[arg(value_name = "OWNER/NAME")]
    pub repository: String,
    /// The labels that each asks for
    #[arg(long, value_delimiter = ',', default_value = "self-hosted", value_name = "LABEL,…")]
    pub labels: Vec<String>,
    /// How long each takes
    #[arg(long, value_parser = duration, default_value = "90s", value_name = "TIME")]
    pub takes: Duration,
    /// How many
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub count: u32,
    /// On which GitHub: the apiUrl of the pool
    #[arg(long, default_value = PUBLIC_API, value_name = "URL")]
    pub api: String,
    /// The enterprise that the owner is of, for pools of an enterprise
    #[arg(long, value_name = "SLUG")]
    pub enterprise: Option<String>,
}

/// `sim advance`.
#[derive(Debug, Args)]
pub struct SimAdvance {
    /// How long: 30m, 12h, 7d
    #[arg(value_parser = duration, value_name = "TIME")]
    pub by: Duration,
}

/// `sim serve`.
#[derive(Debug, Args)]
pub struct SimServe {
    /// Address and port; port 0: any free one
    #[arg(long, default_value = "127.0.0.1:8006", value_name = "ADDRESS:PORT")]
    pub listen: std::net::SocketAddr,
    /// Keep the cluster in this file; without it all is forgotten at the end
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// The cluster to begin with
    #[arg(long, value_enum, default_value_t)]
    pub baseline: Baseline,
    /// How many nodes, with --baseline scale
    #[arg(long, value_name = "N")]
    pub nodes: Option<u32>,
    /// How many guests, with --baseline scale
    #[arg(long, value_name = "N")]
    pub guests: Option<u32>,
    /// How much faster than real time tasks run
    #[arg(long, value_name = "FACTOR")]
    pub speed: Option<f64>,
    /// A fault to serve: WHAT@WHEN, such as drop-after@POST:/clone, slow=5000@3, 503@writes*; repeatable
    #[arg(long, value_name = "FAULT", value_parser = fault::parse)]
    pub fault: Vec<Fault>,
}

/// A cluster to begin with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Baseline {
    /// Three nodes as in manifests/homelab.
    #[default]
    Homelab,
    /// The cluster that the recorded calls were made on.
    Recordings,
    /// As many nodes and guests as asked for.
    Scale,
}
