//! The command of each operation: what a transport runs, and how its words and its input are read back to the operation
//! (for the gate, which lets nothing else pass). One pair of functions an operation.
//!
//! Words are [`Token`]s: a command line of them is the same to `execve` and to the shell of OpenSSH's server. What is not
//! plain goes by standard input, in the list of a constant program.

use crate::base::id::{GuestType, VmId};
use crate::host::fed::{SHELL, fill, list};
use crate::host::health;
use crate::host::job::{Deed, Job, System};
use crate::host::journal::{self, Ask};
use crate::host::mounts;
use crate::host::operation::{Command, Operation};
use crate::host::program::{self, Request};
use crate::host::runner::{Handed, Start, look as runner_look};
use crate::host::token::Token;
use crate::host::tools;
use std::time::Duration;

const CREATE: &str = include_str!("program/create.sh");
const UNLOCK: &str = include_str!("program/unlock.sh");
const TOOLS: &str = include_str!("program/tools.sh");

/// A look at what stands on a disk.
const LOOK_TIME_MAX: Duration = Duration::from_secs(60);
/// To begin a job, or to tell a daemon something. The job itself goes on without us.
const BEGIN_TIME_MAX: Duration = Duration::from_secs(120);
/// To unpack a template onto a slow storage.
const CREATE_TIME_MAX: Duration = Duration::from_secs(1800);
/// A state file holds some hundred lines a job, and a window keeps a few jobs.
const STATE_BYTES_MAX: usize = 2 << 20;
/// What a program says that was begun.
const SAID_BYTES_MAX: usize = 256 << 10;

/// Reads words and input back; whether they are exactly the operation's is not said.
type Reader = fn(&[&str], &str) -> Option<Operation>;

impl Operation {
    /// What is run on the node for this. `None` for what no command line and no list can hold: a value with a NUL in it.
    pub fn command(&self, node: &Token) -> Option<Command> {
        match self {
            Operation::ContainerJobs { vmid, window } => Some(container_jobs(*vmid, window)),
            Operation::ContainerJob { vmid, job } => container_job(*vmid, job),
            Operation::NodeJobs { window } => Some(node_jobs(window)),
            Operation::NodeJob { job } => node_job(job),
            Operation::Maintenance { enable } => Some(maintenance(*enable, node)),
            Operation::Unlock { guest, vmid, lock } => Some(unlock(*guest, *vmid, lock)),
            Operation::ContainerCreate { vmid, template, options } => container_create(*vmid, template, options),
            Operation::ContainerJournal { vmid, ask } => container_journal(*vmid, ask),
            Operation::ContainerRunnerState { vmid, lines } => Some(container_runner_state(*vmid, *lines)),
            Operation::ContainerRunner { vmid, start, secret } => container_runner(*vmid, start, secret),
            Operation::Mounts => Some(mounts::look()),
            Operation::Folder { path } => Some(mounts::folder(path)),
            Operation::Mount { wish } => wish.command(),
            Operation::Unmount { path } => Some(mounts::unmount(path)),
            Operation::Health => Some(health::look()),
            Operation::Tools => Some(tools()),
        }
    }

    /// The operation whose command on this node is exactly these words and this input; `None` where there is none.
    pub fn of_command(words: &[&str], input: &str, node: &Token) -> Option<Operation> {
        let readers: [Reader; 10] = [
            read_container_jobs,
            read_node_jobs,
            read_maintenance,
            read_unlock,
            read_container_create,
            read_container_journal,
            read_container_runner,
            read_mounts,
            read_health,
            read_tools,
        ];
        let same = |operation: &Operation| {
            operation
                .command(node)
                .is_some_and(|own| own.words.iter().map(Token::as_str).eq(words.iter().copied()) && own.input == input)
        };
        readers.iter().find_map(|read| read(words, input).filter(same))
    }
}

// ---- jobs and their state ---------------------------------------------------------------------------------------------

fn container_jobs(vmid: VmId, window: &Token) -> Command {
    let words = in_container(vmid, shell(&program::look_args(window)));
    look(words, program::look(System::Linux, window))
}

fn container_job(vmid: VmId, job: &Job) -> Option<Command> {
    let words = in_container(vmid, shell(&job.args()));
    Some(begin(words, program::whole(System::Linux, job)?))
}

fn node_jobs(window: &Token) -> Command {
    look(shell(&program::look_args(window)), program::look(System::Node, window))
}

/// On a node no program of a manifest's runs: it would be root's.
fn node_job(job: &Job) -> Option<Command> {
    match &job.deed {
        Deed::Health { command, .. } if !command.is_empty() => return None,
        Deed::Assess { .. } | Deed::Patch { .. } => return None,
        Deed::Health { .. } | Deed::Upgrade { .. } | Deed::Note { .. } | Deed::Revive { .. } => {}
    }
    Some(begin(shell(&job.args()), program::whole(System::Node, job)?))
}

fn read_container_jobs(words: &[&str], input: &str) -> Option<Operation> {
    let ["pct", "exec", vmid, "--", inside @ ..] = words else { return None };
    let vmid = number(vmid)?;
    Some(match program::heard(inside, input)? {
        (System::Linux, Request::Look { window }) => Operation::ContainerJobs { vmid, window },
        (System::Linux, Request::Begin(job)) => Operation::ContainerJob { vmid, job },
        (System::Node | System::Windows, _) => return None,
    })
}

fn read_node_jobs(words: &[&str], input: &str) -> Option<Operation> {
    Some(match program::heard(words, input)? {
        (System::Node, Request::Look { window }) => Operation::NodeJobs { window },
        (System::Node, Request::Begin(job)) => Operation::NodeJob { job },
        (System::Linux | System::Windows, _) => return None,
    })
}

// ---- high availability ------------------------------------------------------------------------------------------------

fn maintenance(enable: bool, node: &Token) -> Command {
    let mode = if enable { "enable" } else { "disable" };
    let mut words = own(&["ha-manager", "crm-command", "node-maintenance", mode]);
    words.push(node.clone());
    begin(words, String::new())
}

fn read_maintenance(words: &[&str], _: &str) -> Option<Operation> {
    match words {
        ["ha-manager", "crm-command", "node-maintenance", mode @ ("enable" | "disable"), _] => {
            Some(Operation::Maintenance { enable: *mode == "enable" })
        }
        _ => None,
    }
}

// ---- locks ------------------------------------------------------------------------------------------------------------

fn unlock(guest: GuestType, vmid: VmId, lock: &Token) -> Command {
    let kind = Token::own(if guest == GuestType::Qemu { "qemu" } else { "lxc" });
    begin(shell(&[Token::own("unlock"), kind, digits(vmid), lock.clone()]), UNLOCK.to_owned())
}

fn read_unlock(words: &[&str], input: &str) -> Option<Operation> {
    let [.., "unlock", kind @ ("qemu" | "lxc"), vmid, lock] = words else { return None };
    let guest = if *kind == "qemu" { GuestType::Qemu } else { GuestType::Lxc };
    let lock = Token::argument(*lock)?;
    (input == UNLOCK).then_some(Operation::Unlock { guest, vmid: number(vmid)?, lock })
}

// ---- creation of containers -------------------------------------------------------------------------------------------

fn container_create(vmid: VmId, template: &str, options: &[(Token, String)]) -> Option<Command> {
    let is_key = |key: &Token| key.as_str() != "template" && !key.as_str().starts_with('-');
    let mut keys: Vec<&Token> = options.iter().map(|(key, _)| key).collect();
    keys.sort();
    let twice = keys.windows(2).any(|two| two[0] == two[1]);
    // `pct` would take it for an option.
    if twice || template.starts_with('-') || !keys.into_iter().all(is_key) {
        return None;
    }
    let mut lines = vec![format!("template {}", escaped(template)?)];
    for (key, value) in options {
        lines.push(format!("{key} {}", escaped(value)?));
    }
    let args = [Token::own("create"), digits(vmid)];
    let command = begin(shell(&args), fill(CREATE, &lines));
    Some(Command { timeout: CREATE_TIME_MAX, ..command })
}

fn read_container_create(words: &[&str], input: &str) -> Option<Operation> {
    let ["/bin/sh", "-s", "--", "create", vmid] = words else { return None };
    let lines = list(CREATE, input)?;
    let mut pairs = lines.iter().map(|line| {
        let (key, text) = line.split_once(' ')?;
        Some((Token::argument(key)?, unescaped(text)?))
    });
    let (_, template) = pairs.next()??;
    Some(Operation::ContainerCreate { vmid: number(vmid)?, template, options: pairs.collect::<Option<_>>()? })
}

/// A text for `printf %b`: what is not plain is `\0` and three octal digits. `None` with a NUL, which no argument can hold.
fn escaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            0 => return None,
            _ if byte.is_ascii_alphanumeric() || b"._:/@=,+-".contains(&byte) => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\0{byte:03o}")),
        }
    }
    Some(out)
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(number) = rest.strip_prefix("\\0") {
            bytes.push(u8::from_str_radix(number.get(..3)?, 8).ok()?);
            rest = &number[3..];
        } else {
            bytes.push(u8::try_from(first).ok()?);
            rest = &rest[first.len_utf8()..];
        }
    }
    String::from_utf8(bytes).ok()
}

// ---- the node's disks, and journals -----------------------------------------------------------------------------------

fn container_journal(vmid: VmId, ask: &Ask) -> Option<Command> {
    Some(look(in_container(vmid, journal::words(ask)), journal::input(ask)?))
}

fn read_container_journal(words: &[&str], input: &str) -> Option<Operation> {
    let ["pct", "exec", vmid, "--", inside @ ..] = words else { return None };
    Some(Operation::ContainerJournal { vmid: number(vmid)?, ask: journal::heard(inside, input)? })
}

fn read_mounts(words: &[&str], input: &str) -> Option<Operation> {
    Some(match words.strip_prefix(SHELL.as_slice())? {
        ["look"] => Operation::Mounts,
        ["folder", path] => Operation::Folder { path: Token::argument(*path)? },
        ["unmount", path] => Operation::Unmount { path: Token::argument(*path)? },
        ["mount", rest @ ..] => Operation::Mount { wish: mounts::heard(rest, input)? },
        _ => return None,
    })
}

fn read_health(words: &[&str], _: &str) -> Option<Operation> {
    (words.strip_prefix(SHELL.as_slice())? == ["health"]).then_some(Operation::Health)
}

// ---- the node itself --------------------------------------------------------------------------------------------------

fn tools() -> Command {
    let names: Vec<Token> = tools::TOOLS.iter().map(|tool| Token::own(tool.name)).collect();
    look(shell(&names), TOOLS.to_owned())
}

fn read_tools(_: &[&str], input: &str) -> Option<Operation> {
    (input == TOOLS).then_some(Operation::Tools)
}

// ---- GitHub runners in containers -------------------------------------------------------------------------------------

fn container_runner_state(vmid: VmId, lines: u32) -> Command {
    let words = runner_look::words(System::Linux, lines).into_iter().map(|word| Token::new(word).expect("plain"));
    look(in_container(vmid, words.collect()), runner_look::input(System::Linux, lines))
}

/// The secret is in the input, and nowhere else.
fn container_runner(vmid: VmId, start: &Start, secret: &Handed) -> Option<Command> {
    if start.system != System::Linux || start.check().is_err() {
        return None;
    }
    Some(begin(in_container(vmid, shell(&[Token::own("runner")])), start.script(secret.expose()?)?))
}

fn read_container_runner(words: &[&str], input: &str) -> Option<Operation> {
    let ["pct", "exec", vmid, "--", inside @ ..] = words else { return None };
    let vmid = number(vmid)?;
    if let Some(lines) = runner_look::heard(inside, input) {
        return Some(Operation::ContainerRunnerState { vmid, lines });
    }
    let (start, secret) = Start::of_script(input)?;
    Some(Operation::ContainerRunner { vmid, start, secret: Handed::new(&secret) })
}

// ---- what they are made of --------------------------------------------------------------------------------------------

fn own(words: &[&'static str]) -> Vec<Token> {
    words.iter().map(|word| Token::own(word)).collect()
}

fn digits(vmid: VmId) -> Token {
    Token::new(vmid.to_string()).expect("digits are plain")
}

fn number(text: &str) -> Option<VmId> {
    VmId::new(text.parse().ok()?)
}

/// A shell that reads its program from standard input.
fn shell(args: &[Token]) -> Vec<Token> {
    own(&SHELL).into_iter().chain(args.iter().cloned()).collect()
}

fn in_container(vmid: VmId, words: Vec<Token>) -> Vec<Token> {
    own(&["pct", "exec"]).into_iter().chain([digits(vmid), Token::own("--")]).chain(words).collect()
}

fn look(words: Vec<Token>, input: String) -> Command {
    Command { words, input, timeout: LOOK_TIME_MAX, output_bytes_max: STATE_BYTES_MAX }
}

fn begin(words: Vec<Token>, input: String) -> Command {
    Command { words, input, timeout: BEGIN_TIME_MAX, output_bytes_max: SAID_BYTES_MAX }
}
