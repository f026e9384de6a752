//! A GitHub runner inside of a guest: how it is begun, and what its state file says. It is begun by a program whose text is ours and
//! constant; what it needs to know comes as arguments, and the one secret (a just-in-time configuration, or a registration token) by
//! standard input, so that it stands in no argument, no log and no configuration of PVE's. The program begins the runner once:
//! its folder is made once, and where there is one already it begins nothing.

mod begin;

mod check;

pub mod look;

mod params;

pub use check::HOOK_BYTES_MAX;
pub use params::Handed;

use crate::host::job::System;

/// How a runner is registered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Registration {
    /// The secret is a just-in-time configuration: it is registered already, and takes one job.
    JustInTime,
    /// The secret is a registration token: `config --ephemeral --unattended`, then it takes one job.
    Token {
        /// Whose runner: `https://github.com/acme`.
        url: String,
        /// Its labels.
        labels: Vec<String>,
        /// Its group; empty: the default one.
        group: String,
        /// The folder in which it works: `_work`.
        folder: String,
    },
}

/// What begins a runner in a guest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Start {
    /// Linux or Windows.
    pub system: System,
    /// The runner's name, and the guest's host name where that is set.
    pub name: String,
    /// Where the runner's program is in the guest: `/opt/actions-runner`, `C:\actions-runner`.
    pub directory: String,
    /// As whom it runs (Linux); the owner of the folder when `None`.
    pub user: Option<String>,
    /// The guest gets the runner's name as its host name; on Windows by the registry, without a reboot.
    pub host_name: bool,
    /// The version that the runner must have; another one is a failure before anything is begun.
    pub version: Option<String>,
    /// Run before the runner, as root or the system: a line for the guest's shell. Its failure is the runner's.
    pub before: Option<String>,
    /// Run after the runner, however it ended.
    pub after: Option<String>,
    /// How it is registered.
    pub registration: Registration,
}

/// Where a runner's state stands on a Linux guest's disk.
pub const STATE: &str = "/var/lib/pvectl/runner/state";

/// The same on Windows.
pub const WINDOWS_STATE: &str = r"C:\ProgramData\pvectl\runner\state";

/// Where what the runner prints stands on a Linux guest's disk.
pub const LOG: &str = "/var/lib/pvectl/runner/log";

/// The same on Windows.
pub const WINDOWS_LOG: &str = r"C:\ProgramData\pvectl\runner\log";

/// How far a runner is, as its guest's disk says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Nothing was begun.
    #[default]
    None,
    /// It is being prepared: host name, hook, configuration.
    Preparing,
    /// It runs.
    Running,
    /// It has ended.
    Ended,
}

/// What the state file says: a line each, `key=value`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunnerState {
    /// `phase=preparing|running|ended`.
    pub phase: Phase,
    /// `name=…`: the runner that was begun.
    pub name: String,
    /// `started=…`: when, in seconds since 1970 by the guest's clock.
    pub started: Option<i64>,
    /// `ended=…`.
    pub ended: Option<i64>,
    /// `exit=…`: the runner's exit code. 0: it took its job, or was told to go; 7: its version is too old for GitHub.
    pub exit: Option<i32>,
    /// `why=…`: what failed before the runner began.
    pub why: Option<String>,
    /// `version=…`: the runner's.
    pub version: Option<String>,
}

impl RunnerState {
    /// Reads a state file; lines that it does not know are passed over.
    pub fn read(text: &str) -> RunnerState {
        let mut state = RunnerState::default();
        for (key, value) in text.lines().filter_map(|line| line.trim().split_once('=')) {
            match key {
                "phase" => {
                    state.phase = match value {
                        "preparing" => Phase::Preparing,
                        "running" => Phase::Running,
                        "ended" => Phase::Ended,
                        _ => state.phase,
                    };
                }
                "name" => value.clone_into(&mut state.name),
                "started" => state.started = value.parse().ok(),
                "ended" => state.ended = value.parse().ok(),
                "exit" => state.exit = value.parse().ok(),
                "why" => state.why = Some(value.to_owned()),
                "version" => state.version = Some(value.to_owned()),
                _ => {}
            }
        }
        state
    }
}

#[cfg(test)]
pub(in crate::host) use begin::tests::sample;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_file_is_read() {
        let text = "name=ci-50000-abc\nphase=running\nstarted=1790000000\nversion=2.330.0\r\nphase=ended\nexit=7\nended=1790000100\n?\n";
        let state = RunnerState::read(text);
        assert_eq!((state.phase, state.exit, state.name.as_str()), (Phase::Ended, Some(7), "ci-50000-abc"));
        assert_eq!(state.version.as_deref(), Some("2.330.0"));
        assert_eq!(RunnerState::read("garbage"), RunnerState::default());
    }
}
