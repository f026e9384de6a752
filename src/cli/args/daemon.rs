//! What may be typed after the verbs that talk to a daemon.

use crate::cli::args::FormatArgs;
use clap::Args;
use std::path::PathBuf;

/// Where the daemon is.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Daemon")]
pub struct At {
    /// The address of the daemon, a `pvectl run`
    #[arg(long, env = "PVECTL_DAEMON", default_value = crate::cli::remote::USUAL, value_name = "URL")]
    pub daemon: String,
    /// Who we are to it, and whom we trust.
    #[command(flatten)]
    pub trust: Trust,
}

/// Who we are to the daemon, and whom we trust.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Daemon")]
pub struct Trust {
    /// A file with the daemon's token; the token itself may stand in PVECTL_DAEMON_TOKEN
    #[arg(long, env = "PVECTL_DAEMON_TOKEN_FILE", value_name = "FILE")]
    pub daemon_token_file: Option<PathBuf>,
    /// A file of CA certificates that the daemon's is held against, instead of the machine's roots
    #[arg(long, env = "PVECTL_DAEMON_CA_FILE", value_name = "FILE")]
    pub daemon_ca_file: Option<PathBuf>,
}

/// Who decides.
#[derive(Debug, Clone, Default, Args)]
pub struct By {
    /// Who says so, for the history
    #[arg(long = "by", env = "USER", hide_env = true, value_name = "NAME")]
    pub by: Option<String>,
}

/// `approve` and `reject`.
#[derive(Debug, Args)]
pub struct Decide {
    /// The proposal, as `pvectl proposals` shows it
    pub id: String,
    /// Who.
    #[command(flatten)]
    pub by: By,
    /// Where.
    #[command(flatten)]
    pub at: At,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `suspend`.
#[derive(Debug, Args)]
pub struct Suspend {
    /// The source
    pub source: String,
    /// Why, for whoever wonders later
    #[arg(long, value_name = "TEXT")]
    pub why: String,
    /// Who.
    #[command(flatten)]
    pub by: By,
    /// Where.
    #[command(flatten)]
    pub at: At,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// The source
    pub source: String,
    /// Who.
    #[command(flatten)]
    pub by: By,
    /// Where.
    #[command(flatten)]
    pub at: At,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `reconcile`.
#[derive(Debug, Args)]
pub struct Reconcile {
    /// The source
    pub source: String,
    /// Only this object of it
    #[arg(value_name = "KIND/NAME")]
    pub object: Option<String>,
    /// Where.
    #[command(flatten)]
    pub at: At,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// What was, and of what.
#[derive(Debug, Args)]
pub struct Past {
    /// Only of this object
    #[arg(value_name = "KIND/NAME")]
    pub object: Option<String>,
    /// Only of this source
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Not older than this: 24h, or 2026-11-21T17:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// So many at most [default: 200]
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
    /// Where.
    #[command(flatten)]
    pub at: At,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Only warnings
    #[arg(long)]
    pub warnings: bool,
    /// Which.
    #[command(flatten)]
    pub past: Past,
}

/// `proposals`.
#[derive(Debug, Args)]
pub struct Proposals {
    /// Show the whole plan of this one
    pub id: Option<String>,
    /// Where.
    #[command(flatten)]
    pub at: At,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Where.
    #[command(flatten)]
    pub at: At,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `run`.
#[derive(Debug, Args)]
pub struct Run {
    // Not `config`: that is the name of the client's own, and the parser would take one for the other.
    /// The daemon's configuration; or one folder with -f
    #[arg(value_name = "FILE", required_unless_present = "folder", conflicts_with = "folder")]
    pub file: Option<PathBuf>,
    /// A folder of manifests to follow, as the only source
    #[arg(short = 'f', long = "filename", value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// What may be done to the cluster, with -f
    #[arg(long, value_enum, ignore_case = true, default_value_t, requires = "folder")]
    pub mode: RunMode,
    /// Delete what the set owns and no longer declares, with -f
    #[arg(long, requires = "folder")]
    pub prune: bool,
    /// The manifest set, with -f, where pvectl.yaml names none
    #[arg(long, value_name = "NAME", requires = "folder")]
    pub set: Option<String>,
    /// The file of the history (SQLite), with -f
    #[arg(long, value_name = "FILE", requires = "folder")]
    pub store: Option<PathBuf>,
    /// Where status, metrics, API and web page are served; `none`: nowhere [default: 127.0.0.1:9180]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Look once, do what may be done, and end: 0 all is as declared, 1 something differs, 2 and up errors
    #[arg(long)]
    pub once: bool,
}

/// What may be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RunMode {
    /// Report only
    Observe,
    /// Plan, and wait for `pvectl approve`
    #[default]
    Propose,
    /// Make the cluster as the manifests say, and heal drift
    Enforce,
}
