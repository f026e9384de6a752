//! The way by SSH, with OpenSSH's own client and not a library: it knows the user's agent, keys in hardware, `~/.ssh/config`,
//! certificates and every algorithm of the nodes, and is kept up to date by the system.
//!
//! Each node has one connection, which is opened first and on its own (`-N`): what fails there has run nothing. Commands then
//! go through it as sessions, four at once, so that a hundred reads cost one log-in. A session never opens a connection by
//! itself: OpenSSH's client would do so when the kept one dies under it, and could run a command twice
//! (`mux_client_request_session`); a `ProxyCommand` that fails forbids it.

pub mod options;

pub(in crate::host) mod verdict;

use crate::base::links::Links;
use crate::host::child::{self, Bounds, Ended, Trouble};
use crate::host::link::{Link, LinkError, Listener, Output};
use crate::host::operation::{Command, Operation};
use crate::host::token::Token;
use crate::host::tools::Found;
use futures::future::BoxFuture;
use options::{Settings, Spot, Target};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as Turn, Semaphore};
use tokio::time::Instant;
use verdict::{Verdict, unreached, verdict};

/// Sessions at once on a node's connection: sshd's `MaxSessions` is 10, and a node has other things to do.
const SESSIONS_AT_ONCE: usize = 4;
/// What logging in may take beyond the connection itself.
const LOGIN_TIME_MAX: Duration = Duration::from_secs(20);
/// For so long a node that was not reached is not tried again: a pass asks for many things.
const REFUSED_FOR: Duration = Duration::from_secs(15);
/// A connection that nobody uses for so many seconds closes by itself.
const IDLE_S: u32 = 60;
/// The name of a socket is at most 104 bytes long on some systems, and ssh adds 17 to ours while it opens it.
const SOCKET_BYTES_MAX: usize = 104 - 17 - 1;
/// As much of ssh's log is read.
const LOG_BYTES_MAX: usize = 256 << 10;

/// The way to nodes by SSH.
pub struct Ssh {
    settings: Settings,
    /// Where the sockets are: ours alone.
    folder: OnceLock<Result<PathBuf, String>>,
    peers: Mutex<BTreeMap<Token, Arc<Peer>>>,
    addresses: Mutex<BTreeMap<String, Token>>,
    logs: AtomicU64,
}

/// A node's connection.
struct Peer {
    number: usize,
    permits: Semaphore,
    state: Turn<State>,
}

#[derive(Default)]
struct State {
    /// It was opened, to there.
    open: Option<Target>,
    /// The node is the one that it should be.
    known: bool,
    /// It could not be opened, and when that was.
    refused: Option<(Instant, LinkError)>,
}

impl Ssh {
    /// A way; nothing is opened yet.
    pub fn new(settings: Settings) -> Ssh {
        let (peers, addresses) = (Mutex::default(), Mutex::default());
        Ssh { settings, folder: OnceLock::new(), peers, addresses, logs: AtomicU64::new(0) }
    }

    fn peer(&self, node: &Token) -> Arc<Peer> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let number = peers.len();
        let new = || Peer { number, permits: Semaphore::new(SESSIONS_AT_ONCE), state: Turn::default() };
        Arc::clone(peers.entry(node.clone()).or_insert_with(|| Arc::new(new())))
    }

    fn target(&self, node: &Token) -> Target {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        self.settings.target(node, addresses.get(node.as_str()).cloned())
    }

    fn folder(&self) -> Result<&Path, LinkError> {
        let folder = self.folder.get_or_init(private_folder);
        folder.as_deref().map_err(|why| unplaced(why))
    }

    /// Runs a command on a node, as soon as fewer than some others run there.
    pub async fn command(
        &self,
        node: &Token,
        command: &Command,
        mut listener: Option<&mut dyn Listener>,
    ) -> Result<Output, LinkError> {
        let peer = self.peer(node);
        let _permit = peer.permits.acquire().await.map_err(|_| lost("the way was closed"))?;
        let mut tries = 0;
        loop {
            let (target, socket) = self.ready(node, &peer).await?;
            let hear = listener.as_mut().map(|listener| &mut **listener as &mut dyn Listener);
            match self.session(&target, &socket, command, hear).await? {
                Ok(output) => return Ok(output),
                // The connection closed since; nothing was begun.
                Err(_) if tries == 0 => {
                    tries += 1;
                    // It takes no session more, or its process is gone and the socket stayed: another one is opened in its place.
                    // What runs over the old one goes on.
                    peer.state.lock().await.open = None;
                    let _ = std::fs::remove_file(&socket);
                }
                Err(why) => {
                    let hint = Some("pvectl host check tries the way to each node".to_owned());
                    return Err(LinkError::Unsent { cause: format!("{} took no command: {why}", target.host), hint });
                }
            }
        }
    }

    /// Opens the node's connection where it is not open.
    async fn ready(&self, node: &Token, peer: &Peer) -> Result<(Target, PathBuf), LinkError> {
        let socket = self.folder()?.join(format!("{}.s", peer.number));
        let mut state = peer.state.lock().await;
        if let Some(target) = state.open.clone().filter(|_| socket.exists()) {
            return Ok((target, socket));
        }
        if let Some((when, why)) = &state.refused
            && when.elapsed() < REFUSED_FOR
        {
            return Err(why.clone());
        }
        state.open = None;
        let target = self.target(node);
        let opened = async {
            self.open(&target, &socket).await?;
            if state.known { Ok(()) } else { self.look(&target, &socket).await }
        };
        match opened.await {
            Ok(()) => {
                *state = State { open: Some(target.clone()), known: true, refused: None };
                Ok((target, socket))
            }
            Err(why) => {
                self.close(&target, &socket).await;
                state.refused = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    async fn open(&self, target: &Target, socket: &Path) -> Result<(), LinkError> {
        let log = self.log(socket);
        let mut ssh = tokio::process::Command::new("ssh");
        ssh.args(self.settings.common(target)).args(["-f", "-N", "-M", "-o"]).arg(format!("ControlPersist={IDLE_S}"));
        ssh.arg("-S").arg(socket).arg("-E").arg(&log).env("LC_ALL", "C");
        let log_between = self.log(socket);
        if self.settings.jump.is_some() {
            let through = Spot::new(&log_between)
                .and_then(|log| self.settings.through(&log))
                .ok_or_else(|| unplaced("its name is not plain"))?;
            ssh.arg("-o").arg(format!("ProxyCommand={through}"));
        }
        ssh.args(["--", target.host.as_str()]);
        let time_max = self.settings.connect_timeout + LOGIN_TIME_MAX;
        let ended = child::run(ssh, "", &Bounds { time_max, out_bytes_max: 0 }, None).await;
        let (mut said, between) = (read_and_remove(&log), read_and_remove(&log_between));
        // Where the host in between says something, it is there that nobody got on.
        let mut at = target.clone();
        if let Some(host) = self.settings.between(target).filter(|_| !between.trim().is_empty()) {
            (said, at) = (between, host);
        }
        let known_hosts = self.settings.known_hosts.as_ref().map(|file| file.path().display().to_string());
        let known_hosts = known_hosts.unwrap_or_else(|| "~/.ssh/known_hosts".to_owned());
        match ended {
            Ok(Ended { status, .. }) if status.success() && socket.exists() => Ok(()),
            Ok(Ended { err, .. }) => {
                let (cause, hint) = unreached(&format!("{err}\n{said}"), &at, &known_hosts);
                Err(LinkError::Unsent { cause, hint })
            }
            Err(Trouble::TooLong) => {
                let (cause, hint) = unreached(&format!("{said}\ntimed out"), &at, &known_hosts);
                Err(LinkError::Unsent { cause, hint })
            }
            Err(Trouble::Unstarted(error)) => Err(unstarted(&error)),
            Err(Trouble::Unknown(error)) => {
                Err(LinkError::Unsent { cause: format!("ssh cannot be waited for: {error}"), hint: None })
            }
        }
    }

    /// Whether the other end is the node that we mean. Two addresses that were exchanged in a configuration would otherwise
    /// upgrade a node that still has its guests.
    async fn look(&self, target: &Target, socket: &Path) -> Result<(), LinkError> {
        let command = Operation::Tools.command(&target.node).expect("it has no values");
        let unsent = |cause: String, hint: Option<String>| LinkError::Unsent { cause, hint };
        let said = match self.session(target, socket, &command, None).await {
            Ok(Ok(output)) => output,
            Ok(Err(why)) | Err(LinkError::Lost { cause: why }) => {
                return Err(unsent(format!("{} took no command: {why}", target.host), None));
            }
            Err(other) => return Err(other),
        };
        let found = Found::read(&said.out);
        if found.is(target.node.as_str()) {
            return Ok(());
        }
        if found.name.is_empty() {
            let line = said.err.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            let hint = "is a forced command in authorized_keys in the way? `pvectl host gate` must be of this version";
            return Err(unsent(format!("{} does not say what it is: {line}", target.host), Some(hint.to_owned())));
        }
        let hint = format!("correct link.ssh.nodes.{}.host, or the name that {} resolves to", target.node, target.host);
        Err(unsent(format!("{} calls itself {}, and is not {}", target.host, found.name, target.node), Some(hint)))
    }

    /// Runs a command through the connection; the inner error says why it was not begun.
    async fn session(
        &self,
        target: &Target,
        socket: &Path,
        command: &Command,
        listener: Option<&mut dyn Listener>,
    ) -> Result<Result<Output, String>, LinkError> {
        let Command { words, input, timeout, output_bytes_max } = command;
        let log = self.log(socket);
        let mut ssh = tokio::process::Command::new("ssh");
        // The first that is said of an option counts.
        ssh.args(["-o", "LogLevel=DEBUG2", "-o", "ControlMaster=no", "-o", "ProxyCommand=false"]);
        ssh.args(self.settings.common(target)).arg("-S").arg(socket).arg("-E").arg(&log).env("LC_ALL", "C");
        ssh.args(["--", target.host.as_str()]).args(words.iter().map(Token::as_str));
        let bounds = Bounds { time_max: *timeout, out_bytes_max: *output_bytes_max };
        let ended = child::run(ssh, input, &bounds, listener).await;
        let said = read_and_remove(&log);
        match ended {
            Ok(Ended { status, out, err, truncated }) => match verdict(status.code(), &said) {
                Verdict::Done(code) => Ok(Ok(Output { code, out, err, truncated })),
                Verdict::NotBegun(why) => Ok(Err(why)),
                Verdict::Lost(cause) => Err(LinkError::Lost { cause }),
            },
            Err(Trouble::TooLong) => Err(lost(&format!("no end in {} s", timeout.as_secs()))),
            Err(Trouble::Unstarted(error)) => Err(unstarted(&error)),
            Err(Trouble::Unknown(error)) => Err(lost(&format!("ssh cannot be waited for: {error}"))),
        }
    }

    async fn close(&self, target: &Target, socket: &Path) {
        if socket.exists() {
            let mut ssh = tokio::process::Command::new("ssh");
            ssh.args(closing(target, socket));
            // It closes by itself soon, where this fails.
            let _ = child::run(ssh, "", &Bounds { time_max: Duration::from_secs(5), out_bytes_max: 0 }, None).await;
        }
    }

    fn log(&self, socket: &Path) -> PathBuf {
        socket.with_extension(format!("{}.log", self.logs.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Link for Ssh {
    fn links(&self) -> Links {
        Links::Every
    }

    fn way(&self, node: &str) -> Option<String> {
        let Target { host, user, port, .. } = self.target(&Token::argument(node)?);
        let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
        let jump = self.settings.jump.as_ref().map(|jump| format!(" through {}", jump.host)).unwrap_or_default();
        Some(format!("ssh {user}@{host}{port}{jump}"))
    }

    fn learn(&self, addresses: &BTreeMap<String, String>) {
        let plain = addresses.iter().filter_map(|(node, at)| Some((node.clone(), Token::argument(at.as_str())?)));
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = plain.collect();
    }

    fn run<'a>(
        &'a self,
        node: &'a str,
        operation: &'a Operation,
        listener: Option<&'a mut dyn Listener>,
    ) -> BoxFuture<'a, Result<Output, LinkError>> {
        Box::pin(async move {
            if cfg!(not(unix)) {
                return Err(LinkError::Missing {
                    hint: "by SSH nodes are reached from Linux, BSD or macOS".to_owned(),
                });
            }
            let Some(node) = Token::argument(node) else {
                return Err(LinkError::Missing { hint: format!("`{node}` is no name of a node") });
            };
            match operation.command(&node) {
                Some(command) => self.command(&node, &command, listener).await,
                None => Err(LinkError::unwritable(operation)),
            }
        })
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        let Some(Ok(folder)) = self.folder.get() else { return };
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let closing: Vec<_> = peers
            .iter()
            .filter_map(|(node, peer)| {
                let socket = folder.join(format!("{}.s", peer.number));
                if !socket.exists() {
                    return None;
                }
                let mut ssh = std::process::Command::new("ssh");
                let null = std::process::Stdio::null;
                ssh.args(self::closing(&self.target(node), &socket)).stdin(null()).stdout(null()).stderr(null());
                ssh.spawn().ok()
            })
            .collect();
        for mut child in closing {
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn closing(target: &Target, socket: &Path) -> Vec<std::ffi::OsString> {
    let words = ["-o", "LogLevel=QUIET", "-O", "exit", "-S"].map(Into::into).into_iter();
    words.chain([socket.into(), "--".into(), target.host.as_str().into()]).collect()
}

fn lost(cause: &str) -> LinkError {
    LinkError::Lost { cause: cause.to_owned() }
}

pub(in crate::host) fn unplaced(why: &str) -> LinkError {
    let hint = "set XDG_RUNTIME_DIR to a folder of yours with a short and plain name";
    LinkError::Unsent {
        cause: format!("there is no place for the connection's socket: {why}"),
        hint: Some(hint.to_owned()),
    }
}

pub(in crate::host) fn unstarted(error: &std::io::Error) -> LinkError {
    let hint = "OpenSSH's client must be on the PATH of this machine (Debian: apt install openssh-client)";
    LinkError::Unsent { cause: format!("ssh cannot be started: {error}"), hint: Some(hint.to_owned()) }
}

/// A folder that nobody else can read, with a name short enough for a socket.
pub(in crate::host) fn private_folder() -> Result<PathBuf, String> {
    static FOLDERS: AtomicU64 = AtomicU64::new(0);
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let mut why = "no folder is short enough".to_owned();
    for base in runtime.into_iter().chain([std::env::temp_dir(), PathBuf::from("/tmp")]) {
        // A number that is taken is that of a process that was killed.
        for _ in 0..100 {
            let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
            let folder = base.join(format!("pvectl-{}-{number}", std::process::id()));
            if folder.as_os_str().len() + "/1000.s".len() > SOCKET_BYTES_MAX {
                break;
            }
            let mut builder = std::fs::DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            match builder.create(&folder) {
                Ok(()) => return Ok(folder),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    why = format!("{}: {error}", base.display());
                    break;
                }
            }
        }
    }
    Err(why)
}

/// The end of a log, which nobody needs any more.
pub(in crate::host) fn read_and_remove(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let _ = std::fs::remove_file(log);
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_BYTES_MAX)..]).into_owned()
}
