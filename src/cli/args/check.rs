//! The arguments of `check`.

use crate::cli::args::{FormatArgs, Sources, duration};
use clap::Args;
use std::time::Duration;

/// `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The kind: only guests of it
    pub kind: Option<String>,
    /// Only these: by their names or VMIDs
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Manifests: only the guests that they declare, each with its `checks` or its annotation `pvectl/checks`.
    #[command(flatten)]
    pub sources: Sources,
    /// Rule sets by name, or a file with a list of rules; repeatable. Without it: what the manifests say, else
    /// ContainerSecurity for containers and Guest for virtual machines
    #[arg(long, value_name = "NAME|FILE")]
    pub rules: Vec<String>,
    /// Also run the rules' commands inside of running guests, through their agents; they only look
    #[arg(long)]
    pub inside: bool,
    /// How old the newest snapshot of a guest may be that has any; looked at where no --rules are named
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = duration, conflicts_with = "rules")]
    pub max_snapshot_age: Duration,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}
