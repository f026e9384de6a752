//! From arguments to an exit code: sets up colour and logs, calls the verb, prints what went wrong.

use crate::cli::args::network::NetworkVerb;
use crate::cli::args::node::NodeVerb;
use crate::cli::args::{Cli, Color, Global, LogFormat, Verb};
use crate::cli::session::Unusable;
use crate::cli::{
    actions, adopt, apply, auth, check, daemon, delete, diff, exit, host, import, keep, manifests, raw, show, simulate,
    wait,
};
use crate::cli::{backups, logs, network, node_health, patch, runners};
use crate::pve::error::PveError;
use clap::Parser;
use std::future::Future;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing_subscriber::EnvFilter;

/// How a verb ends badly.
#[derive(Debug, Clone)]
pub struct Failure {
    /// One of [`exit`]'s.
    pub code: u8,
    /// What went wrong; empty if it was said already.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with its code and words.
    pub fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), hint: None }
    }

    /// The same with advice.
    pub fn hint(self, hint: impl Into<String>) -> Failure {
        Failure { hint: Some(hint.into()), ..self }
    }

    /// A failed request.
    pub fn wire(code: u8, error: &PveError) -> Failure {
        Failure { code, message: error.to_string(), hint: error.hint() }
    }
}

impl From<Unusable> for Failure {
    fn from(unusable: Unusable) -> Failure {
        Failure { code: exit::USAGE, message: unusable.message, hint: unusable.hint }
    }
}

/// A verb's end: an exit code, or a failure to print.
pub type Ended = Result<u8, Failure>;

/// Parses, runs, prints.
pub fn main() -> ExitCode {
    // Clap exits with 2 on wrong arguments, and 0 on --help and --version.
    let cli = Cli::parse();
    setup(&cli.global);
    let code = match dispatch(&cli) {
        Ok(code) => code,
        Err(failure) => {
            if !failure.message.is_empty() {
                let _ = writeln!(anstream::stderr(), "error: {}", failure.message);
            }
            if let Some(hint) = failure.hint {
                let _ = writeln!(anstream::stderr(), "hint: {hint}");
            }
            failure.code
        }
    };
    let lost = code == exit::DONE && OUTPUT_LOST.load(Ordering::Relaxed);
    ExitCode::from(if lost { exit::FAILED } else { code })
}

fn setup(global: &Global) {
    match global.color {
        // anstream takes any value for a yes; by the convention (bixense.com/clicolors) `0` is none, and terminals decide.
        Color::Auto if std::env::var_os("CLICOLOR_FORCE").is_some_and(|force| force == "0") => {
            if !(std::io::stdout().is_terminal() && std::io::stderr().is_terminal()) {
                anstream::ColorChoice::Never.write_global();
            }
        }
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    let level = match global.verbose {
        0 if global.quiet => "error",
        0 => "warn",
        1 => "pvectl=info,warn",
        _ => "pvectl=debug,warn",
    };
    let filter = EnvFilter::try_from_env("PVECTL_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(colour_err());
    let set = match global.log_format {
        LogFormat::Text => builder.without_time().try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    // A second subscriber can only be a test's own.
    drop(set);
}

/// Runs a future to its end on a runtime of its own. Ctrl-C ends the program with a word on what that means.
pub fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    run_on(future, true)
}

/// The same for what listens to signals by itself.
pub fn block_on_deaf<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    run_on(future, false)
}

fn run_on<T>(future: impl Future<Output = T>, listens: bool) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(exit::FAILED, format!("no threads could be started: {e}")))?;
    if listens {
        // On a thread of its own: ours may be waiting for an answer at the terminal.
        runtime.spawn(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                let mut err = anstream::stderr();
                let _ = writeln!(err, "\nerror: interrupted");
                let _ = writeln!(
                    err,
                    "hint: tasks that were started go on in PVE; the same command goes on from what is there"
                );
                std::process::exit(exit::FAILED.into());
            }
        });
    }
    Ok(runtime.block_on(future))
}

fn dispatch(cli: &Cli) -> Ended {
    let global = &cli.global;
    match &cli.verb {
        Verb::Apply(args) => apply::apply(global, args),
        Verb::Diff(args) => diff::diff(global, args),
        Verb::Plan(args) => apply::plan(global, args),
        Verb::Delete(args) => delete::delete(global, args),
        Verb::Adopt(args) => adopt::adopt(global, args),
        Verb::Check(args) => check::check(global, args),
        Verb::Import(args) => import::import(global, args),
        Verb::Drift(args) => diff::drift(global, args),
        Verb::Validate(args) => manifests::validate(global, args),
        Verb::Get(args) => show::get(global, args),
        Verb::Describe(args) => show::describe(global, args),
        Verb::Explain(args) => show::explain(args),
        Verb::Schema(args) => show::schema(args),
        Verb::Api(args) => raw::api(global, args),
        Verb::Auth(args) => auth::auth(global, args),
        Verb::Sim(args) => simulate::sim(global, args),
        Verb::Node(args) => match &args.verb {
            NodeVerb::Health(args) => node_health::health(global, args),
        },
        Verb::Logs(args) => logs::verb::logs(global, args),
        Verb::Wait(args) => wait::wait(global, args),
        Verb::Start(_)
        | Verb::Stop(_)
        | Verb::Shutdown(_)
        | Verb::Restart(_)
        | Verb::Clone(_)
        | Verb::Migrate(_)
        | Verb::Snapshot(_)
        | Verb::Restore(_) => actions::act(global, &cli.verb),
        Verb::Backup(verb) => backups::run(global, verb),
        Verb::Network(args) => match &args.verb {
            NetworkVerb::Show(args) => network::show(global, args),
            NetworkVerb::Test(args) => network::test(global, args),
        },
        Verb::Patch(verb) => patch::run(global, verb),
        Verb::Runners(verb) => runners::run(global, verb),
        Verb::Host(verb) => host::host(global, verb),
        Verb::Run(args) => keep::run(global, args),
        Verb::Status(args) => daemon::status(args),
        Verb::Proposals(args) => daemon::proposals(args),
        Verb::Approve(args) => daemon::approve(args),
        Verb::Reject(args) => daemon::reject(args),
        Verb::Suspend(args) => daemon::suspend(args),
        Verb::Resume(args) => daemon::resume(args),
        Verb::Reconcile(args) => daemon::reconcile(args),
        Verb::Events(args) => daemon::events(args),
        Verb::History(args) => daemon::history(args),
        Verb::Completion(args) => show::completion(args),
        Verb::Version(args) => show::version(args),
    }
}

/// Whether something could not be written to standard output. Work in progress goes on; the exit code tells.
static OUTPUT_LOST: AtomicBool = AtomicBool::new(false);

/// Writes to stdout; a closed pipe (`| head`) is no failure, a full disk is.
pub fn print(text: &str) {
    offer(text);
}

/// The same; whether anybody reads it still.
pub fn offer(text: &str) -> bool {
    let mut out = anstream::stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = &written
        && error.kind() != std::io::ErrorKind::BrokenPipe
        && !OUTPUT_LOST.swap(true, Ordering::Relaxed)
    {
        let _ = writeln!(anstream::stderr(), "error: standard output cannot be written: {error}");
    }
    written.is_ok()
}

/// Whether stdout takes colour.
pub fn colour_out() -> bool {
    anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
}

/// Whether stderr takes colour.
pub fn colour_err() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}
