//! The way into guests: OpenSSH's own client, told the same as for nodes ([`crate::host::ssh::options`]). A guest of a pool lives for
//! one job, so that no connection is kept: each operation is a log-in.

use crate::host::child::{self, Bounds, Ended, Trouble};
use crate::host::guest::verdict::{unreached, verdict};
use crate::host::guest::{HostKeys, Login, Operation};
use crate::host::link::{LinkError, Output};
use crate::host::ssh::options::{CONNECT_TIMEOUT, Settings, Spot, Target};
use crate::host::ssh::verdict::Verdict;
use crate::host::ssh::{private_folder, read_and_remove, unplaced, unstarted};
use crate::host::token::Token;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;

/// Log-ins at once: a pool that starts many machines must not start as many processes.
const LOGINS_AT_ONCE: usize = 8;

/// The file of host keys that were believed at first sight.
const ACCEPTED: &str = "accepted";

/// The way into guests.
pub struct Guests {
    /// Where logs and host keys are: ours alone.
    folder: OnceLock<Result<PathBuf, String>>,
    numbers: AtomicU64,
    permits: Semaphore,
}

impl Default for Guests {
    fn default() -> Guests {
        Guests { folder: OnceLock::new(), numbers: AtomicU64::new(0), permits: Semaphore::new(LOGINS_AT_ONCE) }
    }
}

impl Guests {
    /// Runs an operation in a guest, at most once.
    pub async fn run(&self, login: &Login, operation: &Operation) -> Result<Output, LinkError> {
        if cfg!(not(unix)) {
            let hint =
                "by SSH guests are reached from Linux, BSD or macOS; `bootstrap: {via: GuestAgent}` needs no SSH";
            return Err(LinkError::Missing { hint: hint.to_owned() });
        }
        let Some(command) = operation.command(login) else {
            let cause = format!("what begins the runner {} cannot be written down", login.name);
            return Err(LinkError::Unsent { cause, hint: None });
        };
        let _permit =
            self.permits.acquire().await.map_err(|_| LinkError::Lost { cause: "the way was closed".into() })?;
        let folder = self.folder.get_or_init(private_folder).as_deref().map_err(|why| unplaced(why))?;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let log = folder.join(format!("{number}.log"));
        let known = Known::new(login, folder, number)?;
        let mut ssh = tokio::process::Command::new("ssh");
        // The first that is said of an option counts.
        ssh.args(["-o", "LogLevel=DEBUG1", "-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "CheckHostIP=no"]);
        if login.host_keys == HostKeys::AcceptNew {
            ssh.args(["-o", "StrictHostKeyChecking=accept-new"]);
        }
        ssh.args(told(login, &known.file)).arg("-E").arg(&log).env("LC_ALL", "C");
        ssh.arg("--").arg(login.address.to_string()).args(command.words.iter().map(Token::as_str));
        let bounds = Bounds { time_max: command.timeout + CONNECT_TIMEOUT, out_bytes_max: command.output_bytes_max };
        let ended = child::run(ssh, &command.input, &bounds, None).await;
        let said = read_and_remove(&log);
        let unsent = |said: &str| {
            let (cause, hint) = unreached(said, login);
            Err(LinkError::Unsent { cause, hint: Some(hint) })
        };
        match ended {
            Ok(Ended { status, out, err, truncated }) => match verdict(status.code(), &said) {
                Verdict::Done(code) => Ok(Output { code, out, err, truncated }),
                Verdict::NotBegun(_) => unsent(&format!("{said}\n{err}")),
                Verdict::Lost(cause) => Err(LinkError::Lost { cause }),
            },
            Err(Trouble::TooLong) => match verdict(Some(255), &said) {
                Verdict::NotBegun(_) => unsent(&format!("{said}\ntimed out")),
                Verdict::Done(_) | Verdict::Lost(_) => {
                    Err(LinkError::Lost { cause: format!("no end in {} s", bounds.time_max.as_secs()) })
                }
            },
            Err(Trouble::Unstarted(error)) => Err(unstarted(&error)),
            Err(Trouble::Unknown(error)) => {
                Err(LinkError::Lost { cause: format!("ssh cannot be waited for: {error}") })
            }
        }
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        if let Some(Ok(folder)) = self.folder.get() {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// The file of host keys for a log-in; one that was made for it goes with it.
struct Known {
    file: Spot,
    own: bool,
}

impl Known {
    fn new(login: &Login, folder: &Path, number: u64) -> Result<Known, LinkError> {
        let spot = |path: &Path| Spot::new(path).ok_or_else(|| unplaced("its name is not plain"));
        match &login.host_keys {
            HostKeys::File(file) => Ok(Known { file: file.clone(), own: false }),
            HostKeys::AcceptNew => Ok(Known { file: spot(&folder.join(ACCEPTED))?, own: false }),
            HostKeys::Pinned(key) => {
                let path = folder.join(format!("{number}.hosts"));
                std::fs::write(&path, format!("{} {key}\n", login.name))
                    .map_err(|error| unplaced(&error.to_string()))?;
                Ok(Known { file: spot(&path)?, own: true })
            }
        }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        if self.own {
            let _ = std::fs::remove_file(self.file.path());
        }
    }
}

/// What ssh is told. Addresses are given to one guest after the other, so that a key of ours is kept by the guest's name.
fn told(login: &Login, known: &Spot) -> Vec<String> {
    let settings = Settings {
        user: login.user.clone(),
        port: Some(login.port),
        private_key: Some(login.private_key.clone()),
        known_hosts: Some(known.clone()),
        host_key_alias: !matches!(login.host_keys, HostKeys::File(_)),
        jump: None,
        connect_timeout: CONNECT_TIMEOUT,
        nodes: BTreeMap::new(),
    };
    let host = Token::argument(login.address.to_string()).expect("an address is plain");
    settings.common(&Target { node: login.name.clone(), host, user: login.user.clone(), port: Some(login.port) })
}
