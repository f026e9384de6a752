//! The closed list of what is done on a node, and why PVE's API cannot do it. An operation travels through plans and
//! simulators as a request whose path begins with `/link/`; here it becomes the command that a transport runs.

use crate::base::id::{GuestType, VmId};
use crate::host::job::Job;
use crate::host::journal::Ask;
use crate::host::mounts::Wish;
use crate::host::runner::{Handed, Start, look};
use crate::host::token::Token;
use crate::pve::request::{Call, Method, Query};
use std::fmt;
use std::time::Duration;

/// What the path of a request to the host link begins with. PVE's API has nothing there.
pub const ROOT: &str = "/link/";

/// What is done on a node. Which command each is stands in [`crate::host::command`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads the state of a window's jobs in a container that runs. PVE's API cannot look into a container.
    ContainerJobs {
        /// Which container.
        vmid: VmId,
        /// The window's name.
        window: Token,
    },
    /// Begins a job in a container that runs. PVE's API runs nothing in a container.
    ContainerJob {
        /// Which container.
        vmid: VmId,
        /// The job.
        job: Job,
    },
    /// Reads the state of a window's jobs on the node. PVE's API reads no files.
    NodeJobs {
        /// The window's name.
        window: Token,
    },
    /// Begins a job on the node. PVE's API lists updates and installs none.
    NodeJob {
        /// The job.
        job: Job,
    },
    /// Says to the HA manager that the node goes into maintenance, or comes out of it. It is in no API (ha-manager(1)).
    Maintenance {
        /// Into it.
        enable: bool,
    },
    /// Creates a container with options that PVE leaves to root@pam, which no token can be.
    ContainerCreate {
        /// Its number.
        vmid: VmId,
        /// What it is made from: `local:vztmpl/…`.
        template: String,
        /// Options as `pct create` has them, without dashes. They go by standard input, a NUL after each.
        options: Vec<(Token, String)>,
    },
    /// Takes away the lock that a task left on a guest when it died, if no task works on it. The API lets nobody but root@pam pass
    /// by a lock (`skiplock`), and takes none away.
    Unlock {
        /// VM or CT.
        guest: GuestType,
        /// Which.
        vmid: VmId,
        /// The lock that is meant: another one stays.
        lock: Token,
    },
    /// Reads the journal of a container that runs. PVE's API reads that of nodes only.
    ContainerJournal {
        /// Which container.
        vmid: VmId,
        /// Which lines.
        ask: Ask,
    },
    /// Reads how far a GitHub runner in a container is, and the last lines of what it printed. PVE's API cannot look into a container.
    ContainerRunnerState {
        /// Which container.
        vmid: VmId,
        /// So many lines of its log.
        lines: u32,
    },
    /// Begins a GitHub runner in a container that runs, once. PVE's API runs nothing in a container.
    ContainerRunner {
        /// Which container.
        vmid: VmId,
        /// What is begun.
        start: Start,
        /// What it registers with.
        secret: Handed,
    },
    /// Reads what is mounted, the file systems of all block devices, and the mount units. PVE's API tells of disks, not of mounts.
    Mounts,
    /// Reads whether a folder is there, and empty. PVE's API shows no folders.
    Folder {
        /// Which: an absolute path.
        path: Token,
    },
    /// Writes a systemd mount unit for a file system and mounts it. PVE's API formats disks, and mounts none that has data.
    Mount {
        /// What, where and how.
        wish: Wish,
    },
    /// Unmounts what our unit mounted, and removes the unit. The file system stays as it is. PVE's API unmounts nothing.
    Unmount {
        /// Where it is mounted.
        path: Token,
    },
    /// Reads SMART values of all disks and the kernel's sensors. PVE's API has no sensors, and of NVMe disks only a text.
    Health,
    /// Reads what the node calls itself, as whom we are there, and which programs are there
    /// ([`crate::host::tools::Found`]). PVE's API does not say where a way of ours ends.
    Tools,
}

/// A command as a transport runs it: every word is plain, so that no shell can read more into it. Its `Debug` does not show the
/// input, in which a secret may be.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub words: Vec<Token>,
    /// What it reads from its standard input.
    pub input: String,
    /// How long it may take.
    pub timeout: Duration,
    /// As much of its output is kept, in bytes.
    pub output_bytes_max: usize,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Command { words, input, timeout, output_bytes_max } = self;
        f.debug_struct("Command")
            .field("words", words)
            .field("input", &format_args!("{} bytes", input.len()))
            .field("timeout", timeout)
            .field("output_bytes_max", output_bytes_max)
            .finish()
    }
}

impl Operation {
    /// The request that a plan holds for this on a node: a read.
    pub fn query(&self, node: &str) -> Option<Query> {
        let path = |rest: String| format!("{ROOT}{node}{rest}");
        Some(match self {
            Operation::ContainerJobs { vmid, window } => {
                Query::new(path(format!("/pct/{vmid}/jobs"))).with("window", window)
            }
            Operation::NodeJobs { window } => Query::new(path("/jobs".into())).with("window", window),
            Operation::ContainerJournal { vmid, ask: Ask { lines, since, after } } => {
                let query = Query::new(path(format!("/pct/{vmid}/journal"))).with("lines", lines);
                let query = since.iter().fold(query, |query, since| query.with("since", since));
                after.iter().fold(query, |query, after| query.with("after", after))
            }
            Operation::ContainerRunnerState { vmid, lines } => {
                Query::new(path(format!("/pct/{vmid}/runner"))).with("lines", lines)
            }
            Operation::Mounts => Query::new(path("/mounts".into())),
            Operation::Folder { path: at } => Query::new(path("/folder".into())).with("path", at),
            Operation::Health => Query::new(path("/health".into())),
            Operation::Tools => Query::new(path("/tools".into())),
            Operation::ContainerJob { .. }
            | Operation::ContainerRunner { .. }
            | Operation::NodeJob { .. }
            | Operation::Maintenance { .. }
            | Operation::Unlock { .. }
            | Operation::ContainerCreate { .. }
            | Operation::Mount { .. }
            | Operation::Unmount { .. } => return None,
        })
    }

    /// The request that a plan holds for this on a node: a write. `None` for a read, and for a job that cannot be written down. A
    /// secret that is not there yet is a parameter that comes later.
    pub fn call(&self, node: &str) -> Option<Call> {
        let path = |rest: String| format!("{ROOT}{node}{rest}");
        let begin = |path: String, job: &Job| {
            let words: Vec<String> = job.args().iter().map(Token::to_string).collect();
            let list = job.list()?;
            let call = Call::new(Method::Post, path).with("job", words.join(" "));
            Some(if list.is_empty() { call } else { call.with("list", list.join("\n")) })
        };
        match self {
            Operation::ContainerJob { vmid, job } => begin(path(format!("/pct/{vmid}/jobs")), job),
            Operation::NodeJob { job } => begin(path("/jobs".into()), job),
            Operation::ContainerRunner { vmid, start, secret } => {
                let call = Call::new(Method::Post, path(format!("/pct/{vmid}/runner")));
                let call = start.params().iter().fold(call, |call, (key, value)| call.with(key.as_str(), value));
                Some(secret.expose().iter().fold(call, |call, secret| call.with(Handed::PARAM, secret)))
            }
            Operation::Maintenance { enable } => {
                Some(Call::new(Method::Put, path("/maintenance".into())).with("enable", u8::from(*enable)))
            }
            Operation::Unlock { guest, vmid, lock } => {
                Some(Call::new(Method::Delete, path(format!("/{guest}/{vmid}/lock"))).with("lock", lock))
            }
            Operation::ContainerCreate { vmid, template, options } => {
                let call = Call::new(Method::Post, path("/pct".into())).with("vmid", vmid).with("ostemplate", template);
                Some(options.iter().fold(call, |call, (key, value)| call.with(key.as_str(), value)))
            }
            Operation::Mount { wish: Wish { uuid, path: at, file_system, options, required, any, marker } } => {
                let options: Vec<String> = options.iter().map(Token::to_string).collect();
                let call = Call::new(Method::Post, path("/mounts".into())).with("uuid", uuid).with("path", at);
                let call = call.with("type", file_system).with("options", options.join(","));
                let call = call.with("required", u8::from(*required)).with("any", u8::from(*any));
                Some(call.with("marker", marker))
            }
            Operation::Unmount { path: at } => Some(Call::new(Method::Delete, path("/mounts".into())).with("path", at)),
            Operation::ContainerJobs { .. }
            | Operation::NodeJobs { .. }
            | Operation::ContainerJournal { .. }
            | Operation::ContainerRunnerState { .. }
            | Operation::Mounts
            | Operation::Folder { .. }
            | Operation::Health
            | Operation::Tools => None,
        }
    }

    /// Whether a path is one of the host link's.
    pub fn is_link(path: &str) -> bool {
        path.starts_with(ROOT)
    }

    /// The node and the operation that a request means; `None` where it means none, or holds what is not plain. `method` is that of
    /// the wire.
    pub fn read(method: &str, path: &str, params: &[(String, String)]) -> Option<(String, Operation)> {
        let mut segments = path.strip_prefix(ROOT)?.split('/');
        let node = Token::argument(segments.next()?)?;
        let rest: Vec<&str> = segments.collect();
        let param = |key: &str| params.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        let token = |key: &str| Token::argument(param(key)?);
        let number = |text: &str| VmId::new(text.parse().ok()?);
        let job = || {
            let words: Vec<&str> = param("job")?.split(' ').collect();
            Job::read(&words, param("list").into_iter().flat_map(|list| list.split('\n')))
        };
        let operation = match (method, rest.as_slice()) {
            ("GET", ["pct", vmid, "jobs"]) => {
                Operation::ContainerJobs { vmid: number(vmid)?, window: token("window")? }
            }
            ("POST", ["pct", vmid, "jobs"]) => Operation::ContainerJob { vmid: number(vmid)?, job: job()? },
            ("GET", ["pct", vmid, "journal"]) => Operation::ContainerJournal {
                vmid: number(vmid)?,
                ask: Ask {
                    lines: param("lines")?.parse().ok()?,
                    since: match param("since") {
                        Some(text) => Some(text.parse().ok()?),
                        None => None,
                    },
                    after: param("after").map(str::to_owned),
                },
            },
            ("GET", ["pct", vmid, "runner"]) => Operation::ContainerRunnerState {
                vmid: number(vmid)?,
                lines: param("lines")?.parse().ok().filter(|lines| *lines <= look::LINES_MAX)?,
            },
            ("POST", ["pct", vmid, "runner"]) => Operation::ContainerRunner {
                vmid: number(vmid)?,
                start: Start::of_params(params)?,
                secret: Handed::of(params),
            },
            ("POST", ["pct"]) => {
                let others = params.iter().filter(|(key, _)| key != "vmid" && key != "ostemplate");
                let options = others.map(|(key, value)| Some((Token::argument(key.as_str())?, value.clone())));
                Operation::ContainerCreate {
                    vmid: number(param("vmid")?)?,
                    template: param("ostemplate")?.to_owned(),
                    options: options.collect::<Option<_>>()?,
                }
            }
            ("DELETE", [kind @ ("qemu" | "lxc"), vmid, "lock"]) => Operation::Unlock {
                guest: if *kind == "qemu" { GuestType::Qemu } else { GuestType::Lxc },
                vmid: number(vmid)?,
                lock: token("lock")?,
            },
            ("GET", ["jobs"]) => Operation::NodeJobs { window: token("window")? },
            ("POST", ["jobs"]) => Operation::NodeJob { job: job()? },
            ("PUT", ["maintenance"]) => Operation::Maintenance { enable: param("enable")? == "1" },
            ("GET", ["mounts"]) => Operation::Mounts,
            ("GET", ["folder"]) => Operation::Folder { path: token("path")? },
            ("POST", ["mounts"]) => {
                let options = param("options")?.split(',').filter(|o| !o.is_empty()).map(Token::argument);
                let wish = Wish {
                    uuid: token("uuid")?,
                    path: token("path")?,
                    file_system: token("type")?,
                    options: options.collect::<Option<_>>()?,
                    required: param("required")? == "1",
                    any: param("any")? == "1",
                    marker: param("marker")?.to_owned(),
                };
                Operation::Mount { wish }
            }
            ("DELETE", ["mounts"]) => Operation::Unmount { path: token("path")? },
            ("GET", ["health"]) => Operation::Health,
            ("GET", ["tools"]) => Operation::Tools,
            _ => return None,
        };
        Some((node.to_string(), operation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::job::Deed;

    #[test]
    fn every_operation_is_its_request() {
        let token = |text: &str| Token::new(text).expect("plain");
        let vmid = VmId::new(200).expect("a number of a guest");
        let deed = Deed::Health { attempt: 1, tcp: vec![22], units: true, command: vec!["a b".into()], timeout: 60 };
        let job = Job { window: token("sunday"), slot: token("20261122T010000Z"), deed };
        let all = [
            Operation::ContainerJobs { vmid, window: token("sunday") },
            Operation::ContainerJob { vmid, job: job.clone() },
            Operation::NodeJobs { window: token("sunday") },
            Operation::NodeJob { job },
            Operation::Maintenance { enable: true },
            Operation::Unlock { guest: GuestType::Lxc, vmid, lock: token("rollback") },
            Operation::ContainerCreate {
                vmid,
                template: "local:vztmpl/debian-12.tar.zst".into(),
                options: vec![(token("features"), "nesting=1,keyctl=1".into()), (token("description"), "a\nb'".into())],
            },
            Operation::ContainerJournal {
                vmid,
                ask: Ask { lines: 10, since: Some(5), after: Some("s=1;i=2 x".into()) },
            },
            Operation::ContainerRunnerState { vmid, lines: 20 },
            Operation::ContainerRunner { vmid, start: crate::host::runner::sample(), secret: Handed::new("c2VjcmV0") },
            Operation::Mounts,
            Operation::Folder { path: token("/mnt/usb") },
            Operation::Mount {
                wish: Wish {
                    uuid: token("1b2c"),
                    path: token("/mnt/usb"),
                    file_system: token("ext4"),
                    options: vec![token("nofail"), token("noatime")],
                    required: false,
                    any: true,
                    marker: "<!-- pvectl {\"kind\":\"HostMount\"} -->".into(),
                },
            },
            Operation::Unmount { path: token("/mnt/usb") },
            Operation::Health,
            Operation::Tools,
        ];
        for operation in all {
            let read = match (operation.query("pve1"), operation.call("pve1")) {
                (Some(query), None) => Operation::read("GET", &query.path, &query.params),
                (None, Some(call)) => Operation::read(call.method.as_str(), &call.path, &call.params),
                both => panic!("{operation:?} is {both:?}"),
            };
            assert_eq!(read, Some(("pve1".to_owned(), operation)));
        }
    }
}
