//! What stands on a guest's disk, or a node's, about the jobs of a window: a text that the programs write and a later look
//! reads. A section a job, a line a fact:
//!
//! ```text
//! [20261122T010000Z-patch]
//! state=done
//! exit=0
//! started=1795309200
//! ended=1795309260
//! changed=openssl 3.0.15-1 3.0.16-1
//! ```
//!
//! A line that is not known is passed over: the program may be newer.

use std::collections::BTreeMap;
use std::fmt::Write;

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Phase {
    /// It was begun, and has not ended.
    #[default]
    Running,
    /// It has ended; its exit code stands beside it.
    Done,
    /// It is gone without an end: killed, or the guest went down. What it did is not known.
    Died,
}

impl Phase {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Running => "running",
            Phase::Done => "done",
            Phase::Died => "died",
        }
    }
}

/// An update that waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pending {
    /// As the package manager names it.
    pub name: String,
    /// What is installed; `-` where nothing is.
    pub from: String,
    /// What could be.
    pub to: String,
    /// The distribution calls it a security update.
    pub security: bool,
    /// When it was made, or first seen here, in seconds since 1970.
    pub since: i64,
}

/// A package that is another than before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Changed {
    /// As the package manager names it.
    pub name: String,
    /// What was installed; `-`: nothing.
    pub from: String,
    /// What is; `-`: nothing.
    pub to: String,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What: `tcp:22`, `units`, `command`.
    pub what: String,
    /// It is well.
    pub ok: bool,
    /// What was seen.
    pub said: String,
}

/// A job as it stands on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JobState {
    /// Its name: `20261122T010000Z-patch`.
    pub name: String,
    /// How far it is.
    pub phase: Phase,
    /// What it ended with.
    pub exit: Option<i32>,
    /// When it began, by the guest's clock, in seconds since 1970.
    pub started: i64,
    /// When it ended.
    pub ended: Option<i64>,
    /// When it last gave a sign of life.
    pub beat: i64,
    /// Which boot of the system it ran in: another one tells another boot.
    pub boot: String,
    /// `ID` of os-release; `windows`.
    pub os: String,
    /// `VERSION_ID` of os-release, or what stands for it.
    pub release: String,
    /// `apt`, `dnf`, `apk`, `pacman`, `zypper`, `windows-update`; empty: none that is known.
    pub manager: String,
    /// Updates that wait.
    pub pending: Vec<Pending>,
    /// Packages that changed.
    pub changed: Vec<Changed>,
    /// Packages that an administrator holds.
    pub held: Vec<String>,
    /// Why a reboot is needed; `None`: it is not.
    pub reboot: Option<String>,
    /// Vulnerabilities that the changelogs of what changed name.
    pub cves: Vec<String>,
    /// Units of systemd that have failed.
    pub failed_units: Vec<String>,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// What was written down.
    pub notes: BTreeMap<String, String>,
    /// The last lines of its output.
    pub log: Vec<String>,
}

/// All jobs of a window, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct State {
    /// The jobs.
    pub jobs: Vec<JobState>,
}

impl State {
    /// Reads a state file; one that is not there reads as an empty text.
    pub fn read(text: &str) -> State {
        let mut jobs: Vec<JobState> = Vec::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                jobs.push(JobState { name: name.to_owned(), ..JobState::default() });
            } else if let (Some(job), Some((key, value))) = (jobs.last_mut(), line.split_once('=')) {
                job.line(key, value);
            }
        }
        State { jobs }
    }

    /// The text of a state file.
    pub fn write(&self) -> String {
        self.jobs.iter().map(JobState::write).collect()
    }

    /// A job by its name.
    pub fn job(&self, name: &str) -> Option<&JobState> {
        self.jobs.iter().find(|job| job.name == name)
    }
}

impl JobState {
    fn line(&mut self, key: &str, value: &str) {
        let mut words = value.split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        match key {
            "state" => {
                self.phase = match value {
                    "done" => Phase::Done,
                    "died" => Phase::Died,
                    _ => Phase::Running,
                }
            }
            "exit" => self.exit = value.parse().ok(),
            "started" => self.started = value.parse().unwrap_or_default(),
            "ended" => self.ended = value.parse().ok(),
            "beat" => self.beat = value.parse().unwrap_or_default(),
            "boot" => value.clone_into(&mut self.boot),
            "os" => value.clone_into(&mut self.os),
            "release" => value.clone_into(&mut self.release),
            "manager" => value.clone_into(&mut self.manager),
            "pending" => {
                let (name, from, to) = (word(), word(), word());
                let (security, since) = (word() == "security", word().parse().unwrap_or_default());
                self.pending.push(Pending { name, from, to, security, since });
            }
            "changed" => self.changed.push(Changed { name: word(), from: word(), to: word() }),
            "held" => self.held.push(value.to_owned()),
            "reboot" => self.reboot = Some(value.to_owned()),
            "cve" => self.cves.push(value.to_owned()),
            "failed" => self.failed_units.push(value.to_owned()),
            "check" => {
                let (what, ok) = (word(), word() == "ok");
                self.checks.push(Check { what, ok, said: words.collect::<Vec<_>>().join(" ") });
            }
            "note" => {
                let (key, value) = value.split_once(' ').unwrap_or((value, ""));
                self.notes.insert(key.to_owned(), value.to_owned());
            }
            "log" => self.log.push(value.to_owned()),
            _ => {}
        }
    }

    fn write(&self) -> String {
        let mut out = format!("[{}]\nstate={}\n", self.name, self.phase.as_str());
        let mut line = |key: &str, value: &str| {
            let value: String = value.chars().map(|c| if c == '\n' || c == '\r' { ' ' } else { c }).collect();
            let _ = writeln!(out, "{key}={value}");
        };
        if let Some(exit) = self.exit {
            line("exit", &exit.to_string());
        }
        line("started", &self.started.to_string());
        if let Some(ended) = self.ended {
            line("ended", &ended.to_string());
        }
        line("beat", &self.beat.to_string());
        for (key, value) in
            [("boot", &self.boot), ("os", &self.os), ("release", &self.release), ("manager", &self.manager)]
        {
            if !value.is_empty() {
                line(key, value);
            }
        }
        for Pending { name, from, to, security, since } in &self.pending {
            let class = if *security { "security" } else { "other" };
            line("pending", &format!("{name} {from} {to} {class} {since}"));
        }
        for Changed { name, from, to } in &self.changed {
            line("changed", &format!("{name} {from} {to}"));
        }
        self.held.iter().for_each(|name| line("held", name));
        if let Some(why) = &self.reboot {
            line("reboot", why);
        }
        self.cves.iter().for_each(|cve| line("cve", cve));
        self.failed_units.iter().for_each(|unit| line("failed", unit));
        for Check { what, ok, said } in &self.checks {
            line("check", &format!("{what} {} {said}", if *ok { "ok" } else { "bad" }));
        }
        self.notes.iter().for_each(|(key, value)| line("note", &format!("{key} {value}")));
        self.log.iter().for_each(|text| line("log", text));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_can_be_read() {
        let assess = JobState {
            name: "20261122T010000Z-assess".into(),
            phase: Phase::Done,
            exit: Some(0),
            started: 1,
            ended: Some(2),
            beat: 2,
            boot: "b1".into(),
            os: "debian".into(),
            release: "12".into(),
            manager: "apt".into(),
            pending: vec![Pending {
                name: "openssl".into(),
                from: "3.0.15-1".into(),
                to: "3.0.16-1".into(),
                security: true,
                since: 1_795_000_000,
            }],
            held: vec!["nginx".into()],
            failed_units: vec!["x.service".into()],
            log: vec!["a = b".into()],
            ..JobState::default()
        };
        let health = JobState {
            name: "20261122T010000Z-health".into(),
            checks: vec![Check { what: "tcp:22".into(), ok: false, said: "nobody listens".into() }],
            changed: vec![Changed { name: "a".into(), from: "-".into(), to: "2".into() }],
            reboot: Some("linux-image-6.1".into()),
            cves: vec!["CVE-2026-1".into()],
            notes: BTreeMap::from([("101".to_owned(), "running pve1".to_owned())]),
            ..JobState::default()
        };
        let state = State { jobs: vec![assess, health] };
        assert_eq!(State::read(&state.write()), state);
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "(?s).{0,200}") {
            let _ = State::read(&text);
        }

        #[test]
        fn any_lines_can_be_read(lines in proptest::collection::vec("(\\[a\\]|state=|pending=|check=|note=|exit=)[a-z0-9 =]{0,12}", 0..12)) {
            let state = State::read(&lines.join("\n"));
            prop_assert_eq!(State::read(&state.write()).jobs.len(), state.jobs.len());
        }
    }
}
