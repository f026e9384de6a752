//! What only the guest itself can tell: whether its agent answers, and what a command says inside it. Queries and calls as
//! values; running a command is a write (`POST …/agent/exec`), so that it is never part of a plain check.

use crate::base::id::GuestType;
use crate::kinds::guest::mapping::{self, Config};
use crate::pve::request::{Call, Method, Query};
use crate::resource::index::GuestRow;
use serde_json::Value;

/// A question that a command answers: it ends with 0 for yes and with 1 for no, changes nothing, and prints nothing of worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// Windows: the OpenSSH server is there.
    WindowsSsh,
    /// Windows: the runner's directory is there.
    WindowsRunner,
    /// Linux: the OpenSSH server is there.
    LinuxSsh,
    /// Linux: the runner's directory is there.
    LinuxRunner,
}

impl Probe {
    /// What it asks about.
    pub fn subject(self) -> &'static str {
        match self {
            Probe::WindowsSsh | Probe::LinuxSsh => "OpenSSH server",
            Probe::WindowsRunner => r"C:\actions-runner",
            Probe::LinuxRunner => "/opt/actions-runner",
        }
    }

    /// The command, word by word; PVE hands them to the agent without a shell (`PVE::API2::Qemu::Agent`).
    pub fn command(self) -> [&'static str; 3] {
        match self {
            Probe::WindowsSsh => ["cmd.exe", "/c", "sc.exe query sshd >NUL 2>&1 && exit 0 || exit 1"],
            Probe::WindowsRunner => ["cmd.exe", "/c", r"if exist C:\actions-runner\run.cmd (exit 0) else (exit 1)"],
            Probe::LinuxSsh => ["/bin/sh", "-c", "test -x /usr/sbin/sshd || command -v sshd >/dev/null"],
            Probe::LinuxRunner => ["/bin/sh", "-c", "test -x /opt/actions-runner/run.sh"],
        }
    }

    /// The call that starts it in a guest.
    pub fn call(self, row: &GuestRow) -> Call {
        let call = Call::new(Method::Post, format!("/nodes/{}/qemu/{}/agent/exec", row.node, row.vmid));
        self.command().into_iter().fold(call, |call, word| call.with("command", word))
    }
}

/// The read that tells how a command goes on.
pub fn status_query(row: &GuestRow, pid: u64) -> Query {
    Query::new(format!("/nodes/{}/qemu/{}/agent/exec-status", row.node, row.vmid)).with("pid", pid)
}

/// The exit code in an answer to [`status_query`]; `None` while it still runs.
pub fn exit_code(answer: &Value) -> Option<Result<i64, String>> {
    let ended = answer["exited"] == 1 || answer["exited"] == true;
    ended.then(|| match (answer["exitcode"].as_i64(), answer["signal"].as_i64()) {
        (Some(code), _) => Ok(code),
        (None, Some(signal)) => Err(format!("the command was ended by signal {signal}")),
        (None, None) => Err("the agent tells no exit code".to_owned()),
    })
}

/// The read that a working agent answers. It is a GET, unlike `agent/ping`.
pub fn agent_query(row: &GuestRow) -> Query {
    Query::new(format!("/nodes/{}/qemu/{}/agent/info", row.node, row.vmid))
}

/// Whether an agent may be asked at all; the reason why not.
pub fn silent(row: &GuestRow, config: &Config) -> Option<String> {
    if row.guest == GuestType::Lxc {
        return Some("a container has no guest agent".to_owned());
    }
    if row.template {
        return Some("a template does not run".to_owned());
    }
    if row.status != "running" {
        return Some(format!("it is {}", row.status));
    }
    let on = mapping::read(GuestType::Qemu, config, "hardware.guestAgent").as_deref() == Some("1");
    (!on).then(|| "its agent is switched off".to_owned())
}
