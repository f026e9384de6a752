//! A look at a runner in its guest: how far it is, and the last lines of what it printed. Where there is a guest agent it reads
//! the files; this is for those that a host link or SSH reaches.

use crate::host::fed::SHELL;
use crate::host::job::System;
use crate::host::program;
use crate::host::runner::RunnerState;

const LINUX: &str = include_str!("../program/runner_state.sh");
const WINDOWS: &str = include_str!("../program/runner_state.ps1");

/// Where PowerShell has the number of lines.
const LINES: &str = "@LINES@";

/// The line between the state and the log.
const LOG: &str = "[log]";

/// The program's name in its arguments.
const VERB: &str = "runner-state";

/// As many lines of the log come at most.
pub const LINES_MAX: u32 = 5000;

/// What a look brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// How far it is.
    pub state: RunnerState,
    /// The last lines of what it printed, as they are: whoever shows them takes care of what a terminal would read into them.
    pub log: String,
}

impl Look {
    /// Reads what the program printed.
    pub fn read(text: &str) -> Look {
        let text = text.replace("\r\n", "\n");
        let (state, log) = match text.strip_prefix("[log]\n") {
            Some(log) => ("", log),
            None => text.split_once("\n[log]\n").unwrap_or((&text, "")),
        };
        Look { state: RunnerState::read(state), log: log.to_owned() }
    }

    /// What the program prints; for a simulator.
    pub fn write(state: &str, log: &str) -> String {
        format!("{state}{LOG}\n{log}")
    }
}

/// The words that run the program in a guest.
pub fn words(system: System, lines: u32) -> Vec<String> {
    match system {
        System::Linux | System::Node => {
            SHELL.into_iter().chain([VERB]).map(str::to_owned).chain([lines.min(LINES_MAX).to_string()]).collect()
        }
        System::Windows => program::words(System::Windows, &[]),
    }
}

/// The program, as it goes by standard input.
pub fn input(system: System, lines: u32) -> String {
    match system {
        System::Linux | System::Node => LINUX.to_owned(),
        System::Windows => WINDOWS.replace(LINES, &lines.min(LINES_MAX).to_string()),
    }
}

/// How many lines were asked of a Linux guest, by the words and the standard input; `None` where it is another program.
pub fn heard(words: &[&str], input: &str) -> Option<u32> {
    let [verb, lines] = words.strip_prefix(SHELL.as_slice())? else { return None };
    if *verb != VERB || input != LINUX {
        return None;
    }
    lines.parse().ok().filter(|lines: &u32| *lines <= LINES_MAX && lines.to_string() == words[SHELL.len() + 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::runner::Phase;

    #[test]
    fn a_look_is_read() {
        let look = Look::read("phase=running\nname=ci-1\n[log]\nphase=ended\n[log]\nend\n");
        assert_eq!((look.state.phase, look.log.as_str()), (Phase::Running, "phase=ended\n[log]\nend\n"));
        let look = Look::read("phase=running\r\nname=ci-1\r\n[log]\r\na\r\n");
        assert_eq!((look.state.phase, look.state.name.as_str(), look.log.as_str()), (Phase::Running, "ci-1", "a\n"));
        assert_eq!(Look::read("[log]\nx\n"), Look { log: "x\n".into(), ..Look::default() });
        assert_eq!(Look::read(""), Look::default());
        let text = Look::write("phase=ended\nexit=7\n", "a\n");
        assert_eq!((Look::read(&text).state.exit, Look::read(&text).log), (Some(7), "a\n".to_owned()));
    }

    #[test]
    fn what_is_asked_is_heard() {
        let words = words(System::Linux, 20);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(heard(&words, &input(System::Linux, 20)), Some(20));
        assert_eq!(heard(&words, "id\n"), None);
        assert_eq!(heard(&["/bin/sh", "-s", "--", "runner-state", "999999"], LINUX), None);
        assert_eq!(heard(&["/bin/sh", "-s", "--", "runner-state", "020"], LINUX), None);
        assert!(input(System::Windows, 20).contains("-Tail 20"));
    }
}
