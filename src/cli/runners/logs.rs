//! `runners logs`: what the runner of a machine says of itself, and the last lines that it printed. Read off the guest's disk the
//! way that its pool goes into it: by the agent, by SSH, or through the host link.

use crate::base::id::GuestType;
use crate::cli::args::Global;
use crate::cli::args::runners::Logs;
use crate::cli::exit;
use crate::cli::job;
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::runners::{Found, find, read, survey};
use crate::engine::observe::get;
use crate::engine::reconcile::Cluster;
use crate::host::guest;
use crate::host::job::System;
use crate::host::operation::Operation;
use crate::host::runner::{LOG, STATE, WINDOWS_LOG, WINDOWS_STATE};
use crate::kinds::runner_pool::NAME;
use crate::kinds::runner_pool::spec::{RunnerPoolSpec, Via};
use crate::kinds::runner_pool::standing::MachineStanding;
use crate::kinds::runner_pool::way::login;
use crate::pve::error::{PveError, Refusal};
use crate::pve::request::Query;
use crate::report::text::visible;
use std::io::Write;

/// `runners logs`.
pub fn logs(global: &Global, args: &Logs) -> Ended {
    let (tree, only) = read(&[], &args.files)?;
    let session = job::open(global, &tree)?;
    let text = block_on(async {
        let scene = survey(&session, &tree, &only).await?;
        let pools = scene.pools();
        let (of, machine) = match find(&pools, &args.machine)? {
            Found::Machine(of, machine) => (of, machine),
            Found::Pool(of) => {
                let names: Vec<&str> = of.stands.machines.iter().map(|machine| machine.name.as_str()).collect();
                let failure =
                    Failure::new(exit::USAGE, format!("{NAME}/{} is a pool; name one of its machines", of.name));
                let none = "it has none just now".to_owned();
                return Err(failure.hint(if names.is_empty() { none } else { names.join(", ") }));
            }
        };
        look(&session.cluster(), machine, of.spec, args.tail).await
    })??;
    session.close()?;
    print(&text);
    Ok(exit::DONE)
}

async fn look(
    cluster: &Cluster<'_>,
    machine: &MachineStanding,
    spec: &RunnerPoolSpec,
    tail: usize,
) -> Result<String, Failure> {
    let failed = |error: PveError| {
        let failure = Failure::wire(exit::FAILED, &error);
        Failure {
            message: format!("{} ({}) cannot be looked into: {}", machine.name, machine.vmid, failure.message),
            ..failure
        }
    };
    let lines = u32::try_from(tail).unwrap_or(u32::MAX);
    let query = match (spec.via(machine.guest), machine.guest) {
        (Via::Ssh, _) => {
            let Some(address) = machine.address else {
                let failure =
                    Failure::new(exit::FAILED, format!("{} has no address yet that leads somewhere", machine.name));
                let wait = machine.waits.as_deref().map(visible);
                return Err(wait.map_or(failure.clone(), |wait| failure.hint(wait)));
            };
            let login = login(spec, &machine.name, address).ok_or_else(|| {
                Failure::new(exit::USAGE, "`bootstrap.ssh` does not say how to log in: key, user, host key")
            })?;
            guest::Operation::RunnerState { system: spec.system(), lines }.query(&login)
        }
        (Via::GuestAgent | Via::HostLink, GuestType::Lxc) => {
            Operation::ContainerRunnerState { vmid: machine.vmid, lines }.query(&machine.node)
        }
        (Via::GuestAgent | Via::HostLink, GuestType::Qemu) => None,
    };
    if let Some(query) = query {
        let answer = get(cluster.api, cluster.clock, &query).await.map_err(failed)?;
        return Ok(lines_of(answer.as_str().unwrap_or_default(), usize::MAX));
    }
    let (state, log) = match spec.system() {
        System::Windows => (WINDOWS_STATE, WINDOWS_LOG),
        System::Linux | System::Node => (STATE, LOG),
    };
    let mut text = String::new();
    for (file, tail) in [(state, usize::MAX), (log, tail)] {
        let path = format!("/nodes/{}/qemu/{}/agent/file-read", machine.node, machine.vmid);
        match get(cluster.api, cluster.clock, &Query::new(path).with("file", file)).await {
            Ok(answer) => {
                if answer["truncated"].as_bool() == Some(true) || answer["truncated"] == 1 {
                    let _ = writeln!(
                        anstream::stderr(),
                        "warning: {file} is longer than the agent reads: its end is missing"
                    );
                }
                text += &lines_of(answer["content"].as_str().unwrap_or_default(), tail);
            }
            // Nothing was begun, or it has printed nothing yet.
            Err(error) if error.refusal() == Some(Refusal::Absent) => {
                let _ = writeln!(anstream::stderr(), "note: there is no {file} in {} yet", machine.name);
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(text)
}

/// The last lines. What a terminal would take for commands is shown.
fn lines_of(text: &str, tail: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(tail);
    lines[from..].iter().map(|line| format!("{}\n", line_of(line.trim_end_matches('\r')))).collect()
}

/// A line as it may go to a terminal; a tabulator harms nobody.
fn line_of(line: &str) -> String {
    line.split('\t').map(visible).collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_shown_without_commands_for_the_terminal() {
        let text = lines_of("one\r\ntwo\n\u{1b}[2Jthree\n", 2);
        assert!(text.starts_with("two\n") && text.ends_with("three\n") && !text.contains('\u{1b}'), "{text:?}");
        assert_eq!(lines_of("a\tb \u{1b}[2J\u{9b}K\n", 5), "a\tb \\u{1b}[2J\\u{9b}K\n");
        assert_eq!(lines_of("", 5), "");
    }
}
