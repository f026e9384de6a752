//! What can go wrong on the wire, split by what is known about the request: never sent, lost, refused, failed as a task, or
//! answered with garbage. The only file that may read PVE's words: [`Refusal::classify`], with a recorded sample per rule.

use std::collections::BTreeMap;
use std::fmt;

/// How a log-in is named in [`PveError`]'s `request`.
pub const LOGIN: &str = "POST /access/ticket";

/// A failed request. `request` is `METHOD /path` in every variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PveError {
    /// Nothing left this machine, or nothing reached PVE: safe to repeat.
    Unsent {
        /// What was attempted.
        request: String,
        /// Why, with what it means (name resolution, refused connection, certificate, …).
        cause: String,
        /// What to do about it, where we know.
        hint: Option<String>,
    },
    /// Sent, and no answer came: it may or may not have taken effect. Observe again; never repeat a write.
    Lost {
        /// What was attempted.
        request: String,
        /// How the connection ended.
        cause: String,
    },
    /// PVE answered with a status of 400 or more.
    Refused {
        /// What was attempted.
        request: String,
        /// The HTTP status.
        status: u16,
        /// The reason phrase, which carries PVE's error text.
        reason: String,
        /// Errors by field, for status 400.
        errors: BTreeMap<String, String>,
    },
    /// A task was started and ended badly.
    TaskFailed {
        /// What was attempted.
        request: String,
        /// The task.
        upid: String,
        /// PVE's exit status text.
        exit_status: String,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// An answer that is not PVE's, or not of the expected form.
    Garbled {
        /// What was attempted.
        request: String,
        /// What was wrong with the answer.
        cause: String,
    },
}

/// What to do about a guest that goes on.
const STILL_RUNNING: &str = "the guest did not shut down in time: is there a system in it, with a guest agent or ACPI? \
     pvectl never pulls the plug by itself; by hand: qm stop VMID, pct stop VMID";

/// What to do about a lock that has no end.
const NETWORKS_LOCKED: &str = "somebody holds PVE's lock on software defined networks, and PVE does not say who: another tool at work, or a \
     run that was killed on another machine, or before it knew the lock's token. If nobody is at it, release it: pvesh delete \
     /cluster/sdn/lock --force 1, or: pvectl api DELETE /cluster/sdn/lock force=1; what waits to be applied stays, and the \
     next run goes on from there, or names what of it is not its own";

/// What a refusal means for what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The object is not there.
    Absent,
    /// An object of that name or number is there already.
    Exists,
    /// The configuration moved since it was read: observe and plan again.
    Digest,
    /// The guest carries a `lock`.
    Locked,
    /// Somebody holds the lock of the software defined networks.
    NetworksLocked,
    /// Changes of the software defined networks wait to be applied.
    NetworksPending,
    /// Another task holds the guest's file lock, or the cluster file system was busy for a moment.
    Busy,
    /// The guest was asked to shut down and did not in the time it was given.
    StillRunning,
    /// Ticket or token not accepted (401).
    Unauthenticated,
    /// A privilege is missing (403).
    Forbidden,
    /// Only root@pam's ticket may do this.
    RootOnly,
    /// The node does not answer the node that we speak to (595, 596, 599).
    NodeOffline,
    /// The cluster has no quorum; its file system is read-only.
    NoQuorum,
    /// A parameter is wrong (400).
    Invalid,
    /// PVE does not know this path or method (501).
    Unsupported,
    /// The server is overloaded or restarting (502, 503, 504): try again later.
    Unavailable,
    /// Anything else.
    Other,
}

impl Refusal {
    /// What a status and PVE's words mean. The rules were read off recorded answers of PVE 9.1; samples in the tests.
    pub fn classify(status: u16, text: &str) -> Refusal {
        let says = |words: &[&str]| words.iter().any(|w| text.contains(w));
        match status {
            401 => Refusal::Unauthenticated,
            403 => Refusal::Forbidden,
            404 => Refusal::Absent,
            // PVE has no such status; it is how a GitHub runner is told that works on a job.
            423 => Refusal::Busy,
            501 => Refusal::Unsupported,
            502..=504 => Refusal::Unavailable,
            595 | 596 | 599 => Refusal::NodeOffline,
            _ if says(&["detected modified configuration", "checksum mismatch (file change by other user?)"]) => {
                Refusal::Digest
            }
            // `guest-file-open` of QEMU's agent. Why it fails is in the language of a Windows: what is no other reason is that
            // there is no such file.
            _ if says(&["Agent error: failed to open file '"])
                && !says(&["ermission denied", "ccess is denied", "is being used by another process"]) =>
            {
                Refusal::Absent
            }
            _ if says(&["is locked ("]) => Refusal::Locked,
            // `PVE::Network::SDN::lock_sdn_config`, and `POST /cluster/sdn/lock`.
            _ if says(&["invalid lock token provided"]) => Refusal::NetworksLocked,
            _ if says(&["configuration has pending changes"]) => Refusal::NetworksPending,
            // `PVE::QemuServer::vm_stop`; `PVE::LXC::vm_stop` runs lxc-stop, whose exit code is all there is.
            _ if says(&["quit/powerdown failed", "'lxc-stop -n"]) => Refusal::StillRunning,
            _ if says(&["can't lock file", "got timeout", "got lock request timeout", "got no worker upid"]) => {
                Refusal::Busy
            }
            _ if says(&["no quorum", "cluster not ready"]) => Refusal::NoQuorum,
            _ if says(&["only root can set", "only allowed for root@pam"]) => Refusal::RootOnly,
            _ if says(&["does not exist", "no such ", "No such file"]) => Refusal::Absent,
            _ if says(&["already exists", "already defined"]) => Refusal::Exists,
            400 => Refusal::Invalid,
            _ => Refusal::Other,
        }
    }
}

impl PveError {
    /// For refusals: what it means. `None` for every other failure.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            PveError::Refused { status, reason, errors, .. } => {
                let mut text = reason.clone();
                for error in errors.values() {
                    text.push('\n');
                    text.push_str(error);
                }
                Some(Refusal::classify(*status, &text))
            }
            PveError::TaskFailed { .. }
            | PveError::Unsent { .. }
            | PveError::Lost { .. }
            | PveError::Garbled { .. } => None,
        }
    }

    /// Whether PVE says that the object is not there.
    pub fn is_absent(&self) -> bool {
        self.refusal() == Some(Refusal::Absent)
    }

    /// What to do about it, for the person who reads it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            PveError::Unsent { hint, .. } => return hint.clone(),
            PveError::Lost { .. } => {
                "whether it took effect is not known; run the same command again, it looks before it writes"
            }
            PveError::TaskFailed { exit_status, .. }
                if Refusal::classify(500, exit_status) == Refusal::StillRunning =>
            {
                STILL_RUNNING
            }
            PveError::TaskFailed { .. } => {
                "the task's own log above says what failed; the whole log: pvectl api GET /nodes/NODE/tasks/UPID/log"
            }
            PveError::Garbled { request, .. } if is_github(request) => {
                "is `apiUrl` the base of GitHub's API (https://api.github.com, https://HOST/api/v3)? A proxy in between answers like this"
            }
            PveError::Garbled { .. } => {
                "is this a Proxmox VE API? A proxy or a login page in between answers like this"
            }
            PveError::Refused { request, reason, .. } => match self.refusal()? {
                refusal if is_github(request) => return github(refusal).map(str::to_owned),
                Refusal::Unauthenticated if request == LOGIN => {
                    "check the user (with its realm: root@pam, admin@pve), the password, and that the user is enabled"
                }
                Refusal::Unauthenticated => {
                    "the token or the ticket was not accepted: check the token id (user@realm!name) and its secret"
                }
                Refusal::Forbidden => return Some(grant(reason)),
                Refusal::RootOnly => {
                    "no API token may set this, not even root's own: log in as root@pam with a password, or leave the option to the host"
                }
                Refusal::NodeOffline if is_link(request) => {
                    "pvectl host check tries the way to each node and says what is in it"
                }
                Refusal::NodeOffline => {
                    "the node does not answer its cluster: look at it with pvecm status, or wait until it is back"
                }
                Refusal::NoQuorum => {
                    "the cluster has lost its quorum and is read-only: bring nodes back; pvecm status shows the votes"
                }
                Refusal::Locked => {
                    "a backup, migration or snapshot holds the guest: wait for it; qm unlock VMID only if its task is dead"
                }
                Refusal::NetworksLocked => NETWORKS_LOCKED,
                Refusal::NetworksPending => {
                    "somebody changed networks and has not applied them: apply them (pvesh set /cluster/sdn) or take them back (pvesh create /cluster/sdn/rollback)"
                }
                Refusal::StillRunning => STILL_RUNNING,
                Refusal::Busy => "another task holds the guest: try again in a moment",
                Refusal::Digest => "somebody else changed it in the same moment: run the command again",
                Refusal::Unavailable => "pveproxy is overloaded or restarting: try again in a moment",
                Refusal::Unsupported if is_link(request) => {
                    "PVE's API cannot do this: it takes a host link to the node (docs/host-link.md); pvectl host operations \
                     lists what goes by it"
                }
                Refusal::Unsupported => {
                    "this Proxmox VE does not know that call: which version is it? pvectl api GET /version"
                }
                Refusal::Absent | Refusal::Exists | Refusal::Invalid | Refusal::Other => return None,
            },
        };
        Some(text.to_owned())
    }
}

/// Whether a request goes by the host link, and not to PVE's API.
fn is_link(request: &str) -> bool {
    request.split(' ').nth(1).is_some_and(|path| path.starts_with("/link/"))
}

/// Whether a request goes to GitHub.
fn is_github(request: &str) -> bool {
    request.split(' ').nth(1).is_some_and(|path| path.starts_with("/github/"))
}

/// What to do about GitHub's refusals.
fn github(refusal: Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::Unauthenticated => Some(
            "GitHub did not take the token, or there is none: is it expired or revoked, and does it stand where the manifest says?",
        ),
        Refusal::Forbidden => Some(
            "the name may be wrong, or the token or the App lacks a right. Organisation: `admin:org`, or Self-hosted runners: write; \
             repository: `repo`, or Administration: write; enterprise: `manage_runners:enterprise`; jobs of repositories: Actions: read",
        ),
        Refusal::NodeOffline => {
            Some("does this machine reach GitHub's API (name, firewall, HTTPS_PROXY)? https://www.githubstatus.com")
        }
        Refusal::Unavailable => {
            Some("nothing is made or taken away for the pool until GitHub answers; it is asked again by itself")
        }
        Refusal::Busy => Some("the runner goes when its job has ended"),
        Refusal::Unsupported => Some("this command has no way to GitHub"),
        Refusal::Absent
        | Refusal::Exists
        | Refusal::Digest
        | Refusal::Locked
        | Refusal::NetworksLocked
        | Refusal::NetworksPending
        | Refusal::StillRunning
        | Refusal::RootOnly
        | Refusal::NoQuorum
        | Refusal::Invalid
        | Refusal::Other => None,
    }
}

/// How to grant what `Permission check failed (/vms/100, VM.Audit)` says is missing.
fn grant(reason: &str) -> String {
    let said = reason.split_once("Permission check failed (").and_then(|(_, rest)| rest.split_once(')'));
    let missing = said.and_then(|(inside, _)| inside.split_once(", ")).filter(|(path, _)| path.starts_with('/'));
    let (path, privilege) = match missing {
        // Where PVE names several, one of them is enough (`|`), or all are needed (`, `).
        Some((path, privileges)) => (path, privileges.split('|').next().unwrap_or(privileges).replace(' ', "")),
        None => ("PATH", "PRIVILEGE".to_owned()),
    };
    format!(
        "the user or the token lacks a privilege. Add it to the role that it has on {path} (pveum acl list): pveum role \
         modify ROLE --append 1 --privs {privilege}; if it has none there: pveum acl modify {path} --tokens \
         'USER@REALM!NAME' --roles ROLE (a privilege-separated token needs its own)"
    )
}

impl fmt::Display for PveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PveError::Unsent { request, cause, .. } => write!(f, "{request} was not sent: {cause}"),
            PveError::Lost { request, cause } => {
                write!(f, "{request} was sent, and what became of it is not known: {cause}")
            }
            PveError::Refused { request, status, reason, errors } => {
                write!(f, "{request} was refused: {status} {}", reason.trim_end())?;
                errors.iter().try_for_each(|(field, text)| write!(f, "\n  {field}: {}", text.trim_end()))
            }
            PveError::TaskFailed { request, exit_status, log, .. } => {
                write!(f, "the task of {request} failed: {exit_status}")?;
                log.iter().try_for_each(|line| write!(f, "\n  | {line}"))
            }
            PveError::Garbled { request, cause } => {
                write!(f, "{request} was answered with something else than expected: {cause}")
            }
        }
    }
}

impl std::error::Error for PveError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_refusals_are_understood() {
        let samples = [
            (500, "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist", Refusal::Absent),
            (500, "detected modified configuration - file changed by other user? Try again.", Refusal::Digest),
            (500, "checksum mismatch (file change by other user?)", Refusal::Digest),
            (
                500,
                "could not acquire lock for SDN config: invalid lock token provided! at /usr/share/perl5/PVE/Network/SDN.pm line 291.",
                Refusal::NetworksLocked,
            ),
            (
                500,
                "could not acquire lock for SDN config: configuration has pending changes at /usr/share/perl5/PVE/API2/Network/SDN.pm line 149.",
                Refusal::NetworksPending,
            ),
            (
                500,
                "Agent error: failed to open file '/var/lib/pvectl/patch/w/state' (mode: 'r'): No such file or directory",
                Refusal::Absent,
            ),
            (
                500,
                r"Agent error: failed to open file 'C:\ProgramData\pvectl\patch\w\state': The system cannot find the path specified.",
                Refusal::Absent,
            ),
            (
                500,
                r"Agent error: failed to open file 'C:\w\state': Das System kann den angegebenen Pfad nicht finden.",
                Refusal::Absent,
            ),
            (500, r"Agent error: failed to open file 'C:\w\state': Access is denied.", Refusal::Other),
            (500, "Agent error: failed to open file '/w/state' (mode: 'r'): Permission denied", Refusal::Other),
            (500, "QEMU guest agent is not running", Refusal::Other),
            (500, "VM is locked (backup)", Refusal::Locked),
            (500, "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout", Refusal::Busy),
            (500, "VM quit/powerdown failed - got timeout", Refusal::StillRunning),
            (500, "command 'lxc-stop -n 200 --timeout 60' failed: exit code 1", Refusal::StillRunning),
            (500, "cfs-lock 'file-user_cfg' error: got lock request timeout", Refusal::Busy),
            (500, "only root can set 'args' config", Refusal::RootOnly),
            (403, "Permission check failed (/vms/100, VM.Audit)", Refusal::Forbidden),
            (401, "Authentication failed!", Refusal::Unauthenticated),
            (595, "No route to host", Refusal::NodeOffline),
            (500, "cluster not ready - no quorum?", Refusal::NoQuorum),
            (400, "Parameter verification failed.", Refusal::Invalid),
            (423, "the runner works on a job", Refusal::Busy),
        ];
        for (status, text, meaning) in samples {
            assert_eq!(Refusal::classify(status, text), meaning, "{status} {text}");
        }
    }

    #[test]
    fn what_github_refuses_is_not_told_in_pves_words() {
        let refused = |request: &str, status| PveError::Refused {
            request: request.into(),
            status,
            reason: "no".into(),
            errors: BTreeMap::new(),
        };
        for (status, says) in [
            (401, "expired or revoked"),
            (403, "admin:org"),
            (423, "when its job has ended"),
            (501, "no way to GitHub"),
            (503, "until GitHub answers"),
            (595, "HTTPS_PROXY"),
        ] {
            let hint = refused("GET /github/orgs/acme/runners", status).hint().expect("a hint");
            assert!(hint.contains(says) && !hint.contains("pve"), "{status}: {hint}");
            let own = refused("GET /nodes/github/status", status).hint().expect("a hint");
            assert!(!own.contains(says), "{status}: {own}");
        }
        assert_eq!(refused("POST /github/orgs/acme/just-in-time", 400).hint(), None);
        let garbled = PveError::Garbled { request: "GET /github/orgs/acme/runners".into(), cause: "x".into() };
        assert!(garbled.hint().is_some_and(|hint| hint.contains("apiUrl")));
    }
}
