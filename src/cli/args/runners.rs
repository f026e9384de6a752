//! What may be typed after `runners`.

use crate::base::quantity::parse_seconds;
use crate::cli::args::FormatArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `runners`.
#[derive(Debug, Subcommand)]
pub enum Runners {
    /// List the machines of runner pools: how far each is, and what it waits for
    List(List),
    /// Show a pool, or one of its machines, in full
    Describe(Describe),
    /// Show what the runner of a machine says of itself, and the last lines that it printed
    Logs(Logs),
    /// Take idle machines of a pool away, or one machine; whoever works ends its job first
    Drain(Drain),
    /// Make so many idle runners of a pool ready now, whatever its manifest says
    Scale(Scale),
}

/// `runners list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only these pools
    #[arg(value_name = "POOL")]
    pub pools: Vec<String>,
    /// The manifests that hold them
    #[arg(short, long = "filename", value_name = "FILE|DIR|-|URL")]
    pub files: Vec<PathBuf>,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `runners describe`.
#[derive(Debug, Args)]
pub struct Describe {
    /// Which pool; or which machine, by its name or number
    #[arg(value_name = "POOL|MACHINE")]
    pub name: String,
    /// The manifests that hold it
    #[arg(short, long = "filename", value_name = "FILE|DIR|-|URL")]
    pub files: Vec<PathBuf>,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `runners logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Which machine, by its name or number
    #[arg(value_name = "MACHINE")]
    pub machine: String,
    /// The manifests that hold its pool
    #[arg(short, long = "filename", value_name = "FILE|DIR|-|URL")]
    pub files: Vec<PathBuf>,
    /// So many of the last lines
    #[arg(long, value_name = "LINES", default_value_t = 100)]
    pub tail: usize,
}

/// `runners drain`.
#[derive(Debug, Args)]
pub struct Drain {
    /// Which pool; or which machine, by its name or number
    #[arg(value_name = "POOL|MACHINE")]
    pub name: String,
    /// The manifests that hold it
    #[arg(short, long = "filename", value_name = "FILE|DIR|-|URL")]
    pub files: Vec<PathBuf>,
    /// Wait until those that work have ended their jobs, too
    #[arg(long)]
    pub wait: bool,
    /// Give up after this time: 30m, 6h
    #[arg(long, value_parser = span, value_name = "TIME", default_value = "30m")]
    pub timeout: i64,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `runners scale`.
#[derive(Debug, Args)]
pub struct Scale {
    /// Which pool
    #[arg(value_name = "POOL")]
    pub pool: String,
    /// So many idle runners
    #[arg(value_name = "COUNT")]
    pub count: u32,
    /// The manifests that hold it
    #[arg(short, long = "filename", value_name = "FILE|DIR|-|URL")]
    pub files: Vec<PathBuf>,
    /// Give up after this time: 30m, 6h
    #[arg(long, value_parser = span, value_name = "TIME", default_value = "30m")]
    pub timeout: i64,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

fn span(text: &str) -> Result<i64, String> {
    let seconds = parse_seconds(text).and_then(|seconds| i64::try_from(seconds).ok());
    seconds.ok_or_else(|| "expected a time such as 30m or 6h".to_owned())
}
