//! What may be typed. Doc comments are the help text. Owns shapes only: no file is opened and no environment is read but
//! through clap.

pub mod auth;
pub mod backups;
pub mod check;
pub mod daemon;
pub mod guests;
pub mod host;
pub mod network;
pub mod node;
pub mod patch;

pub mod runners;
pub mod sim;

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::base::quantity::parse_seconds;
use crate::cli::fault;
use crate::cli::output::{self, DriftFormat, Format};
use crate::sim::faults::Fault;

/// Declarative Proxmox VE: write down what should be, see what would change, let it happen.
#[derive(Debug, Parser)]
#[command(name = "pvectl", version, propagate_version = false, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// Flags of every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags that every verb takes, before or after its name.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Talk to a simulated Proxmox VE inside this process; its state is kept between runs
    #[arg(long = "sim", id = "use_sim", global = true)]
    pub sim: bool,
    /// Keep the simulated cluster in this file [default: $XDG_STATE_HOME/pvectl/sim.json]
    #[arg(long, global = true, value_name = "FILE")]
    pub sim_state: Option<PathBuf>,
    /// A fault for the simulator: WHAT@WHEN, such as drop-after@POST:/clone, slow=5000@3, 503@writes; repeatable
    #[arg(long, global = true, value_name = "FAULT", requires = "use_sim", value_parser = fault::parse)]
    pub sim_fault: Vec<Fault>,
    /// The address from which the simulated cluster is spoken to; without one, it is nowhere in its network
    #[arg(long, global = true, value_name = "ADDRESS", requires = "use_sim")]
    pub sim_from: Option<IpAddr>,
    /// Use this context of the configuration instead of the current one [env: PVECTL_CONTEXT=]
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "use_sim")]
    pub context: Option<String>,
    /// Where to connect; without a configuration it all stands here and in the environment
    #[command(flatten)]
    pub connection: Connection,
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; twice: every request
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// How the log is written to standard error
    #[arg(long, global = true, value_enum, default_value_t, env = "PVECTL_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// When to use colour; `auto` also heeds NO_COLOR and CLICOLOR_FORCE
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
}

/// Where to connect, instead of what the context says.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// The configuration file [default: $XDG_CONFIG_HOME/pvectl/config.yaml]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "use_sim")]
    pub config: Option<PathBuf>,
    /// A node's address, such as https://pve1:8006; repeatable: the next one is asked when one does not answer
    #[arg(long = "endpoint", global = true, value_name = "URL", conflicts_with = "use_sim")]
    pub endpoints: Vec<String>,
    /// The SHA-256 fingerprint of a node's certificate, as PVE shows it; repeatable
    #[arg(long = "fingerprint", global = true, value_name = "HEX", conflicts_with = "use_sim")]
    pub fingerprints: Vec<String>,
    /// A file of CA certificates to trust, such as /etc/pve/pve-root-ca.pem of a node
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "use_sim")]
    pub ca_file: Option<PathBuf>,
    /// Trust whoever answers; warns each time
    #[arg(long, global = true, conflicts_with = "use_sim")]
    pub insecure: bool,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    #[default]
    Auto,
    /// Also in a pipe.
    Always,
    /// Nowhere.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make the cluster what the manifests say: show the plan, ask, do it, verify it
    Apply(Apply),
    /// Show what apply would change; exit 0: nothing, 1: differences, 2 and up: errors
    Diff(Diff),
    /// Show the steps that apply would take, and save them with -o
    Plan(Plan),
    /// Delete objects that pvectl owns, by name or by manifest
    Delete(Delete),
    /// Take over objects that exist and that manifests describe: mark them ours, then apply
    Adopt(Adopt),
    /// Write manifests for what exists, such that nothing differs once they were adopted
    Import(Import),
    /// List objects of a kind
    Get(Get),
    /// Show all that is known about one object
    Describe(Describe),
    /// Show what a kind or a field of it means
    Explain(Explain),
    /// Check manifests without a cluster
    Validate(Validate),
    /// Hold guests against rules, ours or not; exit 0: none failed, 1: some did, 2 and up: errors
    Check(check::Check),
    /// Report what was changed on the cluster although no manifest changed
    Drift(Drift),
    /// Write the JSON Schemas of the kinds
    Schema(Schema),
    /// Send one raw request to the Proxmox VE API
    Api(Api),
    /// What a token must be allowed: the commands that make it so, and what one lacks
    #[command(subcommand)]
    Auth(auth::Auth),
    /// A Proxmox VE in a box
    #[command(subcommand)]
    Sim(sim::Sim),
    /// Look at the health of nodes
    Node(node::Node),
    /// Show the log of a guest or a node, and follow it
    Logs(node::Logs),
    /// Wait until a condition of an object holds
    Wait(Wait),
    /// Start a guest
    Start(guests::Act),
    /// Stop a guest hard, as if its plug were pulled
    Stop(guests::Act),
    /// Shut a guest down: asked through its agent, else by ACPI; never hard
    Shutdown(guests::Orderly),
    /// Restart a running guest as orderly; pending changes take effect
    Restart(guests::Orderly),
    /// Copy a guest, or one of its snapshots
    Clone(guests::Clone),
    /// Move a guest to another node
    Migrate(guests::Migrate),
    /// Take, list, delete, go back to and branch off snapshots
    #[command(subcommand)]
    Snapshot(guests::Snapshot),
    /// Roll a guest back to a snapshot, or make a new guest of it
    Restore(guests::Restore),
    /// Back guests up now, list backups, and restore them
    #[command(subcommand)]
    Backup(backups::Backup),
    /// What may pass a guest's network, and why
    Network(network::Network),
    /// Patch windows: how they stand, what would be installed, what was; run one now
    #[command(subcommand)]
    Patch(patch::Patch),
    /// Runner pools: their machines and jobs, what a runner printed; drain and scale
    #[command(subcommand)]
    Runners(runners::Runners),
    /// The host link: what is done on the nodes themselves because PVE's API cannot do it
    #[command(subcommand)]
    Host(host::Host),
    /// Stay and keep the cluster as the manifests say: follow folders and git, report and heal drift
    Run(daemon::Run),
    /// Show the sources of a daemon (`pvectl run`): what is in force, and what is wrong
    Status(daemon::Status),
    /// List the plans that wait in a daemon for a person, or show one
    Proposals(daemon::Proposals),
    /// Let a daemon carry out a plan that waits
    Approve(daemon::Decide),
    /// Tell a daemon not to carry out a plan that waits
    Reject(daemon::Decide),
    /// Make a daemon do nothing for a source until it is resumed
    Suspend(daemon::Suspend),
    /// Let a daemon go on with a source
    Resume(daemon::Resume),
    /// Make a daemon look at a source, or at one object of it, now
    Reconcile(daemon::Reconcile),
    /// Show what happened in a daemon
    Events(daemon::Events),
    /// Show what drifted in the past, and the runs of a daemon
    History(daemon::Past),
    /// Print the completion script of a shell
    Completion(Completion),
    /// Print the version
    Version(FormatArgs),
}

/// Where manifests come from.
#[derive(Debug, Clone, Default, Args)]
pub struct Sources {
    /// A file, a folder, - for standard input, or an https address; repeatable, the order does not matter
    #[arg(short, long = "filename", value_name = "FILE|DIR|-|URL")]
    pub files: Vec<PathBuf>,
    /// Also read the folders inside folders
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Only objects with these labels: `app=web,tier!=db,canary`
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,
    /// The manifest set these belong to [default: `set` of pvectl.yaml, else `default`]
    #[arg(long, value_name = "NAME")]
    pub set: Option<String>,
}

/// What a plan may do.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Guards")]
pub struct Guards {
    /// Also delete what this set owns and its manifests no longer name
    #[arg(long)]
    pub prune: bool,
    /// Refuse a plan that deletes more objects than this
    #[arg(long, value_name = "N")]
    pub max_deletes: Option<usize>,
    /// Permit what is refused otherwise; repeatable
    #[arg(long, value_enum, value_name = "WHAT")]
    pub allow: Vec<Allow>,
}

/// What has to be permitted by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Allow {
    /// Steps that destroy disks or what is on them.
    DataLoss,
}

/// How the answer is written to standard output.
#[derive(Debug, Clone, Default, Args)]
pub struct FormatArgs {
    /// How to write: table, wide, name, yaml, json, jsonpath=PATHS or template=JINJA
    #[arg(short, long, value_name = "FORMAT", value_parser = output::parse)]
    pub output: Option<Format>,
}

/// `apply`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["plan_file", "files"]))]
pub struct Apply {
    /// A plan saved by `plan -o`; it is done as it stands, or refused when the cluster has moved on
    #[arg(value_name = "PLANFILE", conflicts_with_all = ["files", "recursive", "selector", "set", "prune"])]
    pub plan_file: Option<PathBuf>,
    /// Manifests.
    #[command(flatten)]
    pub sources: Sources,
    /// Guards.
    #[command(flatten)]
    pub guards: Guards,
    /// Show the plan and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// Manifests.
    #[command(flatten)]
    pub sources: Sources,
    /// Guards.
    #[command(flatten)]
    pub guards: Guards,
    /// Exit with 1 when there are differences; --exit-code=false: with 0
    #[arg(long, action = ArgAction::Set, default_value_t = true, default_missing_value = "true", num_args = 0..=1,
          require_equals = true, value_name = "BOOL")]
    pub exit_code: bool,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `plan`. Here -o names the file; the form of output has its long name only.
#[derive(Debug, Args)]
pub struct Plan {
    /// Manifests.
    #[command(flatten)]
    pub sources: Sources,
    /// Guards.
    #[command(flatten)]
    pub guards: Guards,
    /// Save the plan in this file, for `apply FILE`
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// How to write the plan to standard output, as -o of `diff`
    #[arg(long, value_name = "FORMAT", value_parser = output::parse)]
    pub output: Option<Format>,
}

/// `delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// The kind, when objects are named one by one
    #[arg(requires = "names", conflicts_with = "files", required_unless_present = "files")]
    pub kind: Option<String>,
    /// Their names
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Manifests: what they name is deleted.
    #[command(flatten)]
    pub sources: Sources,
    /// Refuse to delete more objects than this
    #[arg(long, value_name = "N")]
    pub max_deletes: Option<usize>,
    /// Permit what is refused otherwise; repeatable
    #[arg(long, value_enum, value_name = "WHAT")]
    pub allow: Vec<Allow>,
    /// Show the plan and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `adopt`.
#[derive(Debug, Args)]
pub struct Adopt {
    /// Which of the manifests' objects: only these are taken over and touched
    #[arg(value_name = "KIND/NAME", required_unless_present = "all")]
    pub objects: Vec<String>,
    /// All objects of the manifests
    #[arg(long, conflicts_with = "objects")]
    pub all: bool,
    /// Manifests.
    #[command(flatten)]
    pub sources: Sources,
    /// Permit what is refused otherwise; repeatable
    #[arg(long, value_enum, value_name = "WHAT")]
    pub allow: Vec<Allow>,
    /// Show the plan and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The kind, in any case, singular or plural
    #[arg(required_unless_present = "all")]
    pub kind: Option<String>,
    /// Only these: names or numbers
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Objects of all kinds
    #[arg(long, conflicts_with = "kind")]
    pub all: bool,
    /// Write a file an object into this folder; to standard output when left out
    #[arg(short = 'o', long = "directory", value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// With -o: also write a pvectl.yaml that names this manifest set
    #[arg(long, value_name = "NAME", requires = "directory", value_parser = crate::cli::import::set_name)]
    pub set: Option<String>,
}

/// `get`.
#[derive(Debug, Args)]
pub struct Get {
    /// The kind, in any case, singular or plural
    pub kind: String,
    /// Only these
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Only objects with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,
    /// The manifests that hold it, for what stands nowhere else: SnapshotPolicy, PatchWindow
    #[arg(short, long = "filename", value_name = "FILE|DIR|-|URL")]
    pub files: Vec<PathBuf>,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `describe`.
#[derive(Debug, Args)]
pub struct Describe {
    /// The kind
    pub kind: String,
    /// The name
    pub name: String,
    /// The manifests that hold it, for what stands nowhere else: SnapshotPolicy, PatchWindow
    #[arg(short, long = "filename", value_name = "FILE|DIR|-|URL")]
    pub files: Vec<PathBuf>,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// A kind, or a field of it: `VirtualMachine.disks.size`
    #[arg(value_name = "KIND[.FIELD…]")]
    pub path: String,
    /// All fields below it, by name and type
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// `validate`.
#[derive(Debug, Args)]
pub struct Validate {
    /// Manifests.
    #[command(flatten)]
    pub sources: Sources,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `drift`.
#[derive(Debug, Args)]
pub struct Drift {
    /// Manifests.
    #[command(flatten)]
    pub sources: Sources,
    /// Ask a daemon what it sees, instead of comparing manifests now [default URL: $PVECTL_DAEMON]
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "",
          conflicts_with_all = ["files", "recursive", "selector", "set", "use_sim"])]
    pub daemon: Option<String>,
    /// Who we are to the daemon.
    #[command(flatten)]
    pub trust: daemon::Trust,
    /// How to write: table, wide, name, yaml, json, markdown, junit, jsonpath=PATHS or template=JINJA
    #[arg(short, long, value_name = "FORMAT", value_parser = output::parse_drift)]
    pub output: Option<DriftFormat>,
}

/// `schema`.
#[derive(Debug, Args)]
pub struct Schema {
    /// Only this kind, on standard output
    pub kind: Option<String>,
    /// Write one file a kind into this folder
    #[arg(short, long, value_name = "DIR", conflicts_with = "kind")]
    pub directory: Option<PathBuf>,
}

/// `api`.
#[derive(Debug, Args)]
pub struct Api {
    /// GET, POST, PUT or DELETE
    #[arg(value_enum, ignore_case = true)]
    pub method: Method,
    /// The path below /api2/json
    #[arg(value_name = "/PATH")]
    pub path: String,
    /// Parameters
    #[arg(value_name = "KEY=VALUE")]
    pub parameters: Vec<KeyValue>,
}

/// A method of HTTP that PVE's API uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
#[expect(missing_docs, reason = "they are HTTP's own words")]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
}

/// One `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// Before the first `=`.
    pub key: String,
    /// After it; may be empty.
    pub value: String,
}

impl FromStr for KeyValue {
    type Err = String;

    fn from_str(text: &str) -> Result<KeyValue, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(KeyValue { key: key.to_owned(), value: value.to_owned() }),
            Some(_) | None => Err("expected key=value".to_owned()),
        }
    }
}

/// `wait`.
#[derive(Debug, Args)]
pub struct Wait {
    /// Which object
    #[arg(value_name = "KIND/NAME")]
    pub object: String,
    /// What to wait for: `condition=Ready`, `condition=Ready=False`, or `delete`
    #[arg(long = "for", default_value = "condition=Ready", value_name = "WHAT")]
    pub until: String,
    /// How long: 30s, 10m, 2h
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_seconds(text).map(Duration::from_secs).ok_or_else(|| "expected a time such as 30s, 10m or 2h".to_owned())
}

/// `completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests;
