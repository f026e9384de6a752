//! What may be typed after `patch`.

use crate::base::quantity::parse_seconds;
use crate::cli::args::FormatArgs;
use crate::cli::output;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `patch`.
#[derive(Debug, Subcommand)]
pub enum Patch {
    /// Show how windows stand: when they open, whose turn it is, what waits, who needs a reboot
    Status(Status),
    /// Show what each target would get, by the newest look for updates; changes nothing
    Plan(Plan),
    /// Carry a window out; exit 1: some target failed
    Run(Run),
    /// Report what targets got: packages, vulnerabilities, checks, reboots
    Report(Report),
}

/// Which windows.
#[derive(Debug, Clone, Default, Args)]
pub struct Which {
    /// Only these windows
    #[arg(value_name = "WINDOW")]
    pub windows: Vec<String>,
    /// The manifests that hold them
    #[arg(short, long = "filename", value_name = "FILE|DIR|-|URL")]
    pub files: Vec<PathBuf>,
}

/// `patch status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Which.
    #[command(flatten)]
    pub which: Which,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `patch plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// Which.
    #[command(flatten)]
    pub which: Which,
    /// Look for updates now, in every guest that runs: fetches the index of packages, installs nothing, takes no snapshot
    #[arg(long)]
    pub look: bool,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `patch run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Which window
    #[arg(value_name = "WINDOW")]
    pub window: String,
    /// The manifests that hold it
    #[arg(short, long = "filename", value_name = "FILE|DIR|-|URL")]
    pub files: Vec<PathBuf>,
    /// Open it at this moment, for as long as it says; without it, only while it is open by its schedule
    #[arg(long)]
    pub now: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `patch report`.
#[derive(Debug, Args)]
pub struct Report {
    /// Which.
    #[command(flatten)]
    pub which: Which,
    /// Only what was begun, or would have been, this long ago or later: 36h, 30d
    #[arg(long, value_parser = span, value_name = "TIME")]
    pub since: Option<i64>,
    /// How to write: text, markdown, html, yaml, json, jsonpath=PATHS or template=JINJA
    #[arg(short, long, value_name = "FORMAT", default_value = "text", value_parser = output::parse_report)]
    pub output: output::ReportFormat,
}

fn span(text: &str) -> Result<i64, String> {
    let seconds = parse_seconds(text).and_then(|seconds| i64::try_from(seconds).ok());
    seconds.ok_or_else(|| "expected a time such as 36h or 30d".to_owned())
}
