//! Jobs: work on a guest's disk or a node's that goes on by itself. A job is begun by a program that comes by standard input;
//! it makes a folder of the job's name, and where there is one already it begins nothing: none runs twice. What it did stands
//! in the window's state file ([`crate::host::state`]), where a later look finds it.

use crate::host::token::Token;

/// The folder on a Linux guest's disk, or a node's, below which each window has a folder of its own.
pub const FOLDER: &str = "/var/lib/pvectl/patch";

/// The same on Windows.
pub const WINDOWS_FOLDER: &str = r"C:\ProgramData\pvectl\patch";

/// Where a window's state stands on a Linux guest's disk.
pub fn state_file(window: &Token) -> String {
    format!("{FOLDER}/{window}/state")
}

/// Where a window's state stands on a Windows guest's disk.
pub fn windows_state_file(window: &Token) -> String {
    format!(r"{WINDOWS_FOLDER}\{window}\state")
}

/// What system a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum System {
    /// A Linux guest, VM or CT: `/bin/sh`.
    Linux,
    /// A Windows guest: PowerShell.
    Windows,
    /// A Proxmox VE node.
    Node,
}

/// A package in the version that shall be installed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Package {
    /// As the package manager names it: `openssl`, `libc6:amd64`, `KB5034441`.
    pub name: Token,
    /// As the package manager writes it; `-` where it has none.
    pub version: Token,
}

/// What happens to a configuration file that was changed by hand when a package brings a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ConfigFiles {
    /// The old one stays (dpkg's `--force-confold`).
    #[default]
    Keep,
    /// The new one comes, the old one is kept beside it (`--force-confnew`).
    Replace,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Looks what could be updated. Changes nothing but the index of packages, and what an earlier job left half done: that is
    /// ended first.
    Assess {
        /// From one.
        attempt: u8,
        /// Fetch the index before.
        refresh: bool,
    },
    /// Installs these versions of these packages, nothing else but what they need. What an earlier job left half done is
    /// ended first (`dpkg --configure -a`).
    Patch {
        /// From one.
        attempt: u8,
        /// Which.
        packages: Vec<Package>,
        /// What becomes of changed configuration files.
        config: ConfigFiles,
    },
    /// A node's `apt-get dist-upgrade`. What an earlier job left half done is ended first.
    Upgrade {
        /// From one.
        attempt: u8,
    },
    /// Looks whether the guest is well.
    Health {
        /// From one.
        attempt: u8,
        /// TCP ports on which something must listen.
        tcp: Vec<u16>,
        /// No unit of systemd may have failed that was well when the assessment was made.
        units: bool,
        /// Must end with 0: a program and its arguments, no shell.
        command: Vec<String>,
        /// How long it may take until all is well, in seconds.
        timeout: u32,
    },
    /// Writes lines down, for a later look: `key value`. Begins no work; lines of a key that is there already change nothing.
    Note {
        /// What the notes are about: `drain`.
        about: Token,
        /// The lines; no key twice.
        lines: Vec<(Token, Token)>,
    },
    /// Looks whether a job that does not give signs of life still runs; if not, its state says `died`.
    Revive {
        /// The job's name.
        job: Token,
    },
}

/// A job of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The window's name.
    pub window: Token,
    /// The time for which the window opened: `20261122T010000Z`.
    pub slot: Token,
    /// What is done.
    pub deed: Deed,
}

/// A line that cannot be in a list that goes by standard input.
const END: &str = "PVECTL_END";

impl Deed {
    fn word(&self) -> String {
        let tried = |word: &str, attempt: u8| if attempt <= 1 { word.to_owned() } else { format!("{word}{attempt}") };
        match self {
            Deed::Assess { attempt, .. } => tried("assess", *attempt),
            Deed::Patch { attempt, .. } => tried("patch", *attempt),
            Deed::Upgrade { attempt } => tried("upgrade", *attempt),
            Deed::Health { attempt, .. } => tried("health", *attempt),
            Deed::Note { about, .. } => about.to_string(),
            Deed::Revive { .. } => "revive".to_owned(),
        }
    }
}

impl Job {
    /// Its name, once a window: `20261122T010000Z-patch`.
    pub fn name(&self) -> String {
        format!("{}-{}", self.slot, self.deed.word())
    }

    /// The program's arguments: `VERB WINDOW NAME …`.
    pub fn args(&self) -> Vec<Token> {
        let own = |text: String| Token::new(text).expect("made of plain characters");
        let number = |n: u32| own(n.to_string());
        let flag = |on: bool| Token::own(if on { "1" } else { "0" });
        let (verb, rest) = match &self.deed {
            Deed::Assess { refresh, .. } => ("assess", vec![flag(*refresh)]),
            Deed::Patch { config, .. } => {
                ("patch", vec![Token::own(if *config == ConfigFiles::Keep { "keep" } else { "replace" })])
            }
            Deed::Upgrade { .. } => ("upgrade", Vec::new()),
            Deed::Health { units, timeout, .. } => ("health", vec![number(*timeout), flag(*units)]),
            Deed::Note { .. } => ("note", Vec::new()),
            Deed::Revive { job } => {
                return vec![Token::own("revive"), self.window.clone(), job.clone()];
            }
        };
        [Token::own(verb), self.window.clone(), own(self.name())].into_iter().chain(rest).collect()
    }

    /// What goes with it by standard input, a line each: `package NAME VERSION`, `tcp PORT`, `argument TEXT`, `note KEY VALUE`.
    /// `None` where an argument cannot be a line (it holds a line break, or is the word that ends the list).
    pub fn list(&self) -> Option<Vec<String>> {
        let lines = match &self.deed {
            Deed::Patch { packages, .. } => {
                packages.iter().map(|p| format!("package {} {}", p.name, p.version)).collect()
            }
            Deed::Health { tcp, command, .. } => {
                let ports = tcp.iter().map(|port| format!("tcp {port}"));
                ports.chain(command.iter().map(|argument| format!("argument {argument}"))).collect()
            }
            Deed::Note { lines, .. } => lines.iter().map(|(key, value)| format!("note {key} {value}")).collect(),
            Deed::Assess { .. } | Deed::Upgrade { .. } | Deed::Revive { .. } => Vec::new(),
        };
        let plain = |line: &String| !line.contains(['\n', '\r', '\0']) && line != END;
        lines.iter().all(plain).then_some(lines)
    }

    /// What [`Job::args`] and [`Job::list`] say; `None` where they are not of a job.
    pub fn read<'a>(args: &[&str], list: impl IntoIterator<Item = &'a str>) -> Option<Job> {
        let (verb, window, name) = (*args.first()?, Token::argument(*args.get(1)?)?, *args.get(2)?);
        let (slot, word) = name.split_once('-')?;
        let slot = Token::argument(slot)?;
        let attempt = |verb: &str| {
            let rest = word.strip_prefix(verb)?;
            if rest.is_empty() { Some(1) } else { rest.parse().ok() }
        };
        let lines: Vec<(&str, &str)> = list.into_iter().map(|line| line.split_once(' ')).collect::<Option<_>>()?;
        let of = |kind: &'static str| lines.iter().filter(move |(k, _)| *k == kind).map(|(_, rest)| *rest);
        let pair = |rest: &str| {
            let (a, b) = rest.split_once(' ')?;
            Some((Token::argument(a)?, Token::new(b)?))
        };
        let deed = match (verb, &args[3..]) {
            ("assess", [refresh]) => Deed::Assess { attempt: attempt("assess")?, refresh: *refresh == "1" },
            ("patch", [config]) => Deed::Patch {
                attempt: attempt("patch")?,
                packages: of("package")
                    .map(|rest| pair(rest).map(|(name, version)| Package { name, version }))
                    .collect::<Option<_>>()?,
                config: match *config {
                    "keep" => ConfigFiles::Keep,
                    "replace" => ConfigFiles::Replace,
                    _ => return None,
                },
            },
            ("upgrade", []) => Deed::Upgrade { attempt: attempt("upgrade")? },
            ("health", [timeout, units]) => Deed::Health {
                attempt: attempt("health")?,
                tcp: of("tcp").map(|port| port.parse().ok()).collect::<Option<_>>()?,
                units: *units == "1",
                command: of("argument").map(str::to_owned).collect(),
                timeout: timeout.parse().ok()?,
            },
            ("note", []) => {
                Deed::Note { about: Token::argument(word)?, lines: of("note").map(pair).collect::<Option<_>>()? }
            }
            ("revive", []) => Deed::Revive { job: Token::argument(name)? },
            _ => return None,
        };
        Some(Job { window, slot, deed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_can_be_read() {
        let token = |text: &str| Token::new(text).expect("plain");
        let package = Package { name: token("libc6:amd64"), version: token("2.36-9+deb12u14") };
        let deeds = [
            Deed::Assess { attempt: 1, refresh: true },
            Deed::Patch { attempt: 2, packages: vec![package], config: ConfigFiles::Replace },
            Deed::Upgrade { attempt: 1 },
            Deed::Health {
                attempt: 1,
                tcp: vec![22, 443],
                units: true,
                command: vec!["sh".into(), "-c".into(), "it's $HOME; rm".into()],
                timeout: 300,
            },
            Deed::Note { about: token("drain"), lines: vec![(token("101"), token("pve1"))] },
            Deed::Revive { job: token("20261122T010000Z-patch2") },
        ];
        for deed in deeds {
            let job = Job { window: token("sunday"), slot: token("20261122T010000Z"), deed };
            let args = job.args();
            let args: Vec<&str> = args.iter().map(Token::as_str).collect();
            let list = job.list().expect("each is a line");
            assert_eq!(Job::read(&args, list.iter().map(String::as_str)), Some(job));
        }
    }

    #[test]
    fn a_line_break_in_an_argument_is_refused() {
        let command = vec!["sh".to_owned(), "-c".to_owned(), "true\nPVECTL_END\nrm -rf /".to_owned()];
        let deed = Deed::Health { attempt: 1, tcp: Vec::new(), units: false, command, timeout: 1 };
        let job = Job { window: Token::own("w"), slot: Token::own("s"), deed };
        assert_eq!(job.list(), None);
    }
}
