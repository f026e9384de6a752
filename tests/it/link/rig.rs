//! An OpenSSH server of our own, which plays a node: keys, stand-ins in its PATH, and what they were told.

use pvectl::host::ssh::Ssh;
use pvectl::host::ssh::options::{CONNECT_TIMEOUT, Place, Settings, Spot};
use pvectl::host::token::Token;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where servers are, beside what PATH says: it has no `sbin` for who is not root.
const PLACES: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];
const PATIENCE: Duration = Duration::from_secs(30);

/// What `pct` does here, by the number of the container: 200 reads to the end and says something, others go wrong.
const PCT: &str = r#"
case "$1 $2" in
"exec 200") cat >"$rig/heard.pct"; echo said ;;
"exec 201") cat >/dev/null; echo 'CT 201 not running' >&2; exit 255 ;;
"exec 202") cat >/dev/null; echo seven >&2; exit 7 ;;
"exec 203") cat >/dev/null; head -c 5000000 /dev/zero | tr '\0' x ;;
"exec 204") cat >/dev/null; sleep 60 ;;
"exec 205") cat >/dev/null; kill -9 "$PPID"; sleep 3 ;;
create*) for each in "$@"; do printf '%s\0' "$each"; done >"$rig/created" ;;
*) echo "no such container" >&2; exit 2 ;;
esac
"#;

/// A server; it ends when it is dropped.
pub(crate) struct Rig {
    folder: TempDir,
    server: Child,
    pub(crate) port: u16,
}

impl Rig {
    /// A node called pve1, with our key; nothing where there is no OpenSSH.
    pub(crate) fn start() -> Option<Rig> {
        Rig::with("pve1.example.com", "")
    }

    /// The same with what it calls itself (empty: what this machine does), and what stands before our key in `authorized_keys`.
    pub(crate) fn with(name: &str, options: &str) -> Option<Rig> {
        let sshd = PLACES.iter().map(Path::new).find(|place| place.exists());
        let client = Command::new("ssh").arg("-V").output().is_ok_and(|said| said.status.success());
        let (Some(sshd), true) = (sshd, client) else {
            let missing =
                "OpenSSH's server and client are not here (Debian: apt install openssh-server openssh-client)";
            assert!(std::env::var_os("PVECTL_TEST_REQUIRE_ALL").is_none(), "{missing}");
            crate::apidoc::say(&format!("skipped: {missing}"));
            return None;
        };
        let folder = tempfile::Builder::new().prefix("rig").tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for key in ["host", "client", "other"] {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at(key)).status();
            assert!(made.expect("ssh-keygen runs").success(), "a key");
        }
        std::fs::create_dir(at("bin")).expect("a folder");
        // Without it, a server of root does not start.
        if user() == "root" {
            std::fs::create_dir_all("/run/sshd").expect("a folder");
        }
        let port = free_port();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", at("bin").display());
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {host}\nPidFile none\nAuthorizedKeysFile {keys}\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nLogLevel VERBOSE\n\
             MaxStartups 100\nSetEnv PATH={path} rig={rig}\n",
            host = at("host").display(),
            keys = at("authorized_keys").display(),
            rig = folder.path().display(),
        );
        std::fs::write(at("sshd_config"), config).expect("a file");
        std::fs::write(at("authorized_keys"), "").expect("a file");
        let log = std::fs::File::create(at("log")).expect("a file");
        let mut command = Command::new(sshd);
        command.args(["-D", "-e", "-f"]).arg(at("sshd_config")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let server = command.spawn().expect("it starts");
        let mut rig = Rig { folder, server, port };
        let options = if options.is_empty() { String::new() } else { format!("{options} ") };
        rig.admit(&format!("{options}{}", rig.public_key("client")));
        std::fs::write(rig.path("known_hosts"), rig.known_hosts()).expect("a file");
        rig.stand_in("pct", PCT);
        rig.stand_in("ha-manager", "");
        rig.stand_in("pveversion", "echo pve-manager/9.1.1/0000000000000000");
        if !name.is_empty() {
            rig.stand_in("uname", &format!("echo {name}"));
        }
        rig.wait();
        Some(rig)
    }

    fn wait(&mut self) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.server.try_wait().expect("it is ours");
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "sshd does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until something holds.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Rig) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(begun.elapsed() < PATIENCE, "it does not come to pass: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A program of the node that writes down what it is told before it does something.
    pub(crate) fn stand_in(&self, name: &str, does: &str) {
        let path = self.path("bin").join(name);
        let rig = self.folder.path().display();
        let text = format!("#!/bin/sh\nrig='{rig}'\nprintf '%s\\n' \"$*\" >>\"$rig/told.{name}\"\n{does}\n");
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    /// What a stand-in was told, each time.
    pub(crate) fn told(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(&format!("told.{name}"))).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What a stand-in read from its standard input the last time.
    pub(crate) fn heard(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("heard.{name}"))).expect("it read something")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn public_key(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.path(&format!("{name}.pub"))).expect("a key");
        text.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn known_hosts(&self) -> String {
        format!("[127.0.0.1]:{} {}\n", self.port, self.public_key("host"))
    }

    /// Lets a key in.
    pub(crate) fn admit(&self, line: &str) {
        let mut text = std::fs::read_to_string(self.path("authorized_keys")).expect("a file");
        text += &format!("{line}\n");
        std::fs::write(self.path("authorized_keys"), text).expect("a file");
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).expect("a log")
    }

    /// How often somebody logged in.
    pub(crate) fn logins(&self) -> usize {
        self.log().matches("Accepted publickey").count()
    }

    pub(crate) fn settings(&self) -> Settings {
        let place = Place { host: Some(Token::own("127.0.0.1")), port: Some(self.port), user: None };
        Settings {
            user: Token::new(user()).expect("a plain name"),
            port: None,
            private_key: Spot::new(&self.path("client")),
            known_hosts: Spot::new(&self.path("known_hosts")),
            host_key_alias: false,
            jump: None,
            connect_timeout: CONNECT_TIMEOUT,
            nodes: [("pve1".to_owned(), place)].into(),
        }
    }

    pub(crate) fn ssh(&self) -> Ssh {
        Ssh::new(self.settings())
    }

    /// The way to the same node by another name.
    pub(crate) fn ssh_to(&self, host: &str) -> Ssh {
        let mut settings = self.settings();
        settings.nodes.entry("pve1".to_owned()).or_default().host = Token::argument(host);
        Ssh::new(settings)
    }

    /// `ssh WORDS…` by hand, with what goes to its standard input.
    pub(crate) fn by_hand(&self, words: &str, input: &str) -> crate::cli::Said {
        use std::io::Write;
        let mut ssh = Command::new("ssh");
        ssh.args(["-T", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i"]).arg(self.path("client"));
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", self.path("known_hosts").display()));
        ssh.args(["-p", &self.port.to_string(), "-l", &user(), "--", "127.0.0.1"]).args(words.split_whitespace());
        let mut child =
            ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ssh starts");
        // One that is refused does not read it.
        let _ = child.stdin.take().expect("it is ours").write_all(input.as_bytes());
        let said = child.wait_with_output().expect("it ends");
        crate::cli::Said {
            code: said.status.code().expect("it ended by itself"),
            out: String::from_utf8_lossy(&said.stdout).into_owned(),
            err: String::from_utf8_lossy(&said.stderr).into_owned(),
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// As whom we run.
pub(crate) fn user() -> String {
    let said = Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("it has one").port()
}
