//! What is done in a guest by SSH, from the machine that pvectl runs on: begin a runner, and look how far it is. An operation
//! travels through plans and simulators as a request whose path begins with `/guest/`; how to log in goes with it (the key by the
//! name of its file), and no node is on the way.

mod verdict;

pub mod ssh;

use crate::host::job::System;
use crate::host::operation::Command;
use crate::host::program;
use crate::host::runner::{Handed, Start, look};
use crate::host::ssh::options::Spot;
use crate::host::token::Token;
use crate::pve::request::{Call, Method, Params, Query};
// Addresses are values; what opens connections is in `std`.
use core::net::IpAddr;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// What the path of a request to a guest begins with. PVE's API has nothing there.
pub const ROOT: &str = "/guest/";

/// To read two files.
const LOOK_TIME_MAX: Duration = Duration::from_secs(60);
/// To begin a runner, which goes on without us.
const BEGIN_TIME_MAX: Duration = Duration::from_secs(180);
/// A state file has a few lines, and a log as many as were asked for.
const LOOK_BYTES_MAX: usize = 2 << 20;
/// What the program says that begins one.
const SAID_BYTES_MAX: usize = 64 << 10;
/// As long as a host key may be, in characters: RSA keys are the longest.
const KEY_CHARACTERS_MAX: usize = 4096;

/// Which host keys are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKeys {
    /// Those of this file, which names the guest's address (`10.0.5.*` and `*` are names, too).
    File(Spot),
    /// This one, `ssh-ed25519 AAAA…`: the template's, which its clones have too.
    Pinned(String),
    /// Whatever the guest shows the first time, and only that from then on, as long as we run. Who is between us and a guest of which
    /// nothing is known yet can take its place.
    AcceptNew,
}

/// How to log in to a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// What the guest is called here, by which a host key is kept: the runner's name.
    pub name: Token,
    /// Where it is.
    pub address: IpAddr,
    /// sshd's port.
    pub port: u16,
    /// As whom. Who is not root on a Linux guest works by `sudo -n`.
    pub user: Token,
    /// The file of the key to log in with.
    pub private_key: Spot,
    /// Which host keys are believed.
    pub host_keys: HostKeys,
}

/// What is done in a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads how far the runner is, and the last lines of what it printed ([`look::Look`]).
    RunnerState {
        /// Linux or Windows.
        system: System,
        /// So many lines of its log.
        lines: u32,
    },
    /// Begins a runner, once.
    Runner {
        /// What is begun.
        start: Box<Start>,
        /// What it registers with.
        secret: Handed,
    },
}

impl HostKeys {
    /// A host key as `ssh-keyscan` and the files of a guest have it, with or without a comment; `None` for anything else.
    pub fn pinned(text: &str) -> Option<HostKeys> {
        let mut words = text.split_whitespace();
        let (kind, key) = (words.next()?, words.next()?);
        let plain = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
        let fits = key.starts_with("AAAA") && key.len() <= KEY_CHARACTERS_MAX && plain(key, "+/=");
        (fits && kind.len() < 100 && plain(kind, "-@.")).then(|| HostKeys::Pinned(format!("{kind} {key}")))
    }

    fn read(text: &str) -> Option<HostKeys> {
        match text.split_once(' ') {
            None if text == "accept-new" => Some(HostKeys::AcceptNew),
            Some(("file", path)) => Some(HostKeys::File(Spot::new(Path::new(path))?)),
            Some(("pinned", key)) => HostKeys::pinned(key),
            Some(_) | None => None,
        }
    }
}

impl fmt::Display for HostKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostKeys::File(file) => write!(f, "file {}", file.path().display()),
            HostKeys::Pinned(key) => write!(f, "pinned {key}"),
            HostKeys::AcceptNew => f.write_str("accept-new"),
        }
    }
}

impl Login {
    fn path(&self) -> String {
        format!("{ROOT}{}/runner", self.address)
    }

    fn params(&self) -> Params {
        let Login { name, address: _, port, user, private_key, host_keys } = self;
        [
            ("machine", name.to_string()),
            ("port", port.to_string()),
            ("login", user.to_string()),
            ("key", private_key.path().display().to_string()),
            ("host-keys", host_keys.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec()
    }

    fn read(address: &str, params: &Params) -> Option<Login> {
        let param = |key: &str| params.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        Some(Login {
            name: Token::argument(param("machine")?)?,
            address: address.parse().ok()?,
            port: param("port")?.parse().ok().filter(|port| *port != 0)?,
            user: Token::argument(param("login")?)?,
            private_key: Spot::new(Path::new(param("key")?))?,
            host_keys: HostKeys::read(param("host-keys")?)?,
        })
    }
}

impl Operation {
    /// Whether a path is of a request to a guest.
    pub fn is_guest(path: &str) -> bool {
        path.starts_with(ROOT)
    }

    /// The request that a plan holds for this: a read; `None` for a write.
    pub fn query(&self, login: &Login) -> Option<Query> {
        match self {
            Operation::RunnerState { system, lines } => {
                let query = Query { path: login.path(), params: login.params() };
                let system = if *system == System::Windows { "windows" } else { "linux" };
                Some(query.with("system", system).with("lines", lines))
            }
            Operation::Runner { .. } => None,
        }
    }

    /// The request that a plan holds for this: a write; `None` for a read. A secret that is not there yet is a parameter that comes
    /// later ([`Handed::PARAM`]).
    pub fn call(&self, login: &Login) -> Option<Call> {
        match self {
            Operation::RunnerState { .. } => None,
            Operation::Runner { start, secret } => {
                let call = Call { method: Method::Post, path: login.path(), params: login.params() };
                let call = start.params().iter().fold(call, |call, (key, value)| call.with(key.as_str(), value));
                Some(secret.expose().iter().fold(call, |call, secret| call.with(Handed::PARAM, secret)))
            }
        }
    }

    /// What a request means; `None` if it is none of ours. `method` is that of the wire.
    pub fn read(method: &str, path: &str, params: &Params) -> Option<(Login, Operation)> {
        let login = Login::read(path.strip_prefix(ROOT)?.strip_suffix("/runner")?, params)?;
        let param = |key: &str| params.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        let operation = match method {
            "GET" => Operation::RunnerState {
                system: match param("system")? {
                    "linux" => System::Linux,
                    "windows" => System::Windows,
                    _ => return None,
                },
                lines: param("lines")?.parse().ok().filter(|lines| *lines <= look::LINES_MAX)?,
            },
            "POST" => Operation::Runner { start: Box::new(Start::of_params(params)?), secret: Handed::of(params) },
            _ => return None,
        };
        Some((login, operation))
    }

    /// What is run in the guest. `None` where the secret is missing or is not plain, and for a start that cannot be said.
    pub fn command(&self, login: &Login) -> Option<Command> {
        let words = |system: System, own: Vec<String>| {
            let root = system == System::Windows || login.user.as_str() == "root";
            let by: &[&str] = if root { &[] } else { &["sudo", "-n"] };
            by.iter().map(|&word| word.to_owned()).chain(own).map(Token::new).collect::<Option<Vec<Token>>>()
        };
        match self {
            Operation::RunnerState { system, lines } => Some(Command {
                words: words(*system, look::words(*system, *lines))?,
                input: look::input(*system, *lines),
                timeout: LOOK_TIME_MAX,
                output_bytes_max: LOOK_BYTES_MAX,
            }),
            Operation::Runner { start, secret } => {
                start.check().ok()?;
                let args = if start.system == System::Windows { vec![] } else { vec![Token::own("runner")] };
                Some(Command {
                    words: words(start.system, program::words(start.system, &args))?,
                    input: start.script(secret.expose()?)?,
                    timeout: BEGIN_TIME_MAX,
                    output_bytes_max: SAID_BYTES_MAX,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::runner::sample;

    fn login(host_keys: HostKeys) -> Login {
        Login {
            name: Token::own("ci-50000-ab12t3w0q1"),
            address: "fd00::5".parse().expect("an address"),
            port: 22,
            user: Token::own("ci"),
            private_key: Spot::new(Path::new("/etc/pvectl/id")).expect("a plain name"),
            host_keys,
        }
    }

    #[test]
    fn every_operation_is_its_request() {
        let pinned = HostKeys::pinned("ssh-ed25519 AAAAC3Nza root@template\n").expect("a key");
        let file = HostKeys::File(Spot::new(Path::new("/etc/pvectl/hosts")).expect("a plain name"));
        for host_keys in [HostKeys::AcceptNew, pinned, file] {
            let login = login(host_keys);
            for operation in [
                Operation::RunnerState { system: System::Windows, lines: 40 },
                Operation::RunnerState { system: System::Linux, lines: 0 },
                Operation::Runner { start: Box::new(sample()), secret: Handed::new("c2VjcmV0") },
                Operation::Runner { start: Box::new(sample()), secret: Handed::default() },
            ] {
                let read = match (operation.query(&login), operation.call(&login)) {
                    (Some(query), None) => Operation::read("GET", &query.path, &query.params),
                    (None, Some(call)) => Operation::read(call.method.as_str(), &call.path, &call.params),
                    both => panic!("{operation:?} is {both:?}"),
                };
                assert_eq!(read, Some((login.clone(), operation)));
            }
        }
    }

    #[test]
    fn what_is_no_host_key_is_refused() {
        for bad in
            ["", "ssh-ed25519", "ssh-ed25519 key", "@cert-authority AAAA* x", "* ssh-ed25519 AAAA", "ssh-rsa AAAA;id"]
        {
            assert_eq!(HostKeys::pinned(bad), None, "{bad}");
        }
        assert_eq!(HostKeys::read("accept"), None);
        assert_eq!(HostKeys::read("file /a b"), None);
    }

    #[test]
    fn the_secret_is_in_the_input_alone() {
        let windows = Start { system: System::Windows, directory: r"C:\r".into(), ..sample() };
        for start in [sample(), windows] {
            let operation = Operation::Runner { start: Box::new(start), secret: Handed::new("c2VjcmV0") };
            let command = operation.command(&login(HostKeys::AcceptNew)).expect("a command");
            assert!(!format!("{operation:?}{command:?}").contains("c2VjcmV0"));
            assert_eq!(Start::of_script(&command.input).map(|(_, secret)| secret).as_deref(), Some("c2VjcmV0"));
        }
        let none = Operation::Runner { start: Box::new(sample()), secret: Handed::default() };
        assert_eq!(none.command(&login(HostKeys::AcceptNew)), None);
    }

    #[test]
    fn who_is_not_root_asks_sudo() {
        let first = |user: &'static str, system| {
            let login = Login { user: Token::own(user), ..login(HostKeys::AcceptNew) };
            let command = Operation::RunnerState { system, lines: 1 }.command(&login).expect("a command");
            command.words[0].to_string()
        };
        assert_eq!(first("ci", System::Linux), "sudo");
        assert_eq!(first("root", System::Linux), "/bin/sh");
        assert_eq!(first("Administrator", System::Windows), "powershell.exe");
    }
}
