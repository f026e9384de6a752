//! The daemon as a process of its own, at somebody's home: a configuration of contexts, folders of manifests, signals, and
//! what it says over HTTP. What a test waits for is a condition, and the wait has a bound.

use crate::cli::Said;
use crate::remote::Server;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pvectl");
/// Nobody waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody's machine, whose configuration knows some clusters.
pub(crate) struct Home {
    folder: TempDir,
    env: BTreeMap<String, String>,
}

impl Home {
    /// Contexts by name; the first is the current one.
    pub(crate) fn new(clusters: &[(&str, &Server)]) -> Home {
        let folder = TempDir::new().expect("a folder of its own");
        let mut config = format!("currentContext: {}\ncontexts:\n", clusters.first().expect("a cluster").0);
        for (name, server) in clusters {
            let (token, ready) = ("root@pam!test", &server.ready);
            config += &format!(
                "  {name}:\n    endpoint: {}\n    auth: {{token: {{id: \"{token}\", secret: {{file: {name}.token}}}}}}\n    tls: {{fingerprint: \"{}\"}}\n",
                ready.url, ready.fingerprint
            );
        }
        let home = Home { folder, env: BTreeMap::new() };
        home.write(".config/pvectl/config.yaml", &config);
        for (name, server) in clusters {
            let file = format!(".config/pvectl/{name}.token");
            home.write(&file, &server.ready.tokens["root@pam!test"]);
            let ours = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(home.path(&file), ours).expect("it is ours");
        }
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Home {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Writes a file as most editors do: beside it, and then in its place.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it is in the home")).expect("a folder");
        let beside = path.with_extension("new");
        std::fs::write(&beside, text).expect("a file can be written");
        std::fs::rename(&beside, &path).expect("it takes its place");
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(words.split_whitespace())
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("USER", "anna")
            .envs(&self.env)
            .stdin(Stdio::null());
        command
    }

    /// Runs `pvectl WORDS` to its end.
    pub(crate) fn run(&self, words: &str) -> Said {
        self.run_with(words, &[])
    }

    /// The same with more of an environment.
    pub(crate) fn run_with(&self, words: &str, more: &[(&str, &str)]) -> Said {
        let output = self.command(words).envs(more.iter().copied()).output().expect("it runs");
        Said {
            code: output.status.code().expect("it ended by itself"),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts `pvectl WORDS`, a daemon that serves nobody.
    pub(crate) fn start_deaf(&self, words: &str) -> Process {
        let log = self.path("daemon.log");
        let written = File::options().create(true).append(true).open(&log).expect("a log");
        let child = self.command(words).stdout(Stdio::null()).stderr(written).spawn().expect("it starts");
        Process { child, url: String::new(), log }
    }

    /// Starts `pvectl WORDS`, a daemon that says where it listens.
    pub(crate) fn start(&self, words: &str) -> Process {
        let log = self.path("daemon.log");
        let written = File::options().create(true).append(true).open(&log).expect("a log");
        let mut child = self.command(words).stdout(Stdio::piped()).stderr(written).spawn().expect("it starts");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("its output is ours"));
        out.read_line(&mut line).expect("it says where it listens");
        // What it says later must find a reader.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let url = line.trim().strip_prefix("listening on ").map(|url| url.trim_end_matches('/').to_owned());
        let mut process = Process { child, url: url.unwrap_or_default(), log };
        assert!(!process.url.is_empty(), "it does not listen: {line}{}", process.end());
        process
    }

    /// Asks the daemon by a verb.
    pub(crate) fn ask(&self, daemon: &Process, words: &str) -> Said {
        self.run(&format!("{words} --daemon {}", daemon.url))
    }
}

/// A daemon; it is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    url: String,
    log: PathBuf,
}

impl Process {
    /// What it wrote to its log, with everything that ran before it in the same home.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    /// Kills it, and says what it had to say.
    fn end(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log()
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it was ours");
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().expect("a signal").success());
    }

    /// SIGTERM; the exit code, and how long it took.
    #[track_caller]
    pub(crate) fn terminate(self) -> (i32, Duration) {
        self.signal("TERM");
        self.ends()
    }

    /// The exit code of one that was asked to end, and how long it took from now.
    #[track_caller]
    pub(crate) fn ends(mut self) -> (i32, Duration) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return (status.code().expect("no signal ended it"), began.elapsed());
            }
            assert!(began.elapsed() < PATIENCE, "it does not end\n{}", self.end());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `GET path`: the status and the body. One that begins anew is deaf for a moment.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let at = self.url.strip_prefix("http://").expect("plain HTTP");
        let ask = || {
            let mut text = String::new();
            let mut stream = TcpStream::connect(at)?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n")?;
            stream.read_to_string(&mut text).map(|_| text)
        };
        let began = Instant::now();
        let text = loop {
            match ask() {
                Ok(text) if !text.is_empty() => break text,
                other => assert!(began.elapsed() < PATIENCE, "the daemon does not answer: {other:?}\n{}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        (status, body.to_owned())
    }

    /// A list of the API.
    pub(crate) fn items(&self, path: &str) -> Vec<Value> {
        let (status, body) = self.get(&format!("/api/v1/{path}"));
        assert_eq!(status, 200, "{path}: {body}");
        let found: Value = serde_json::from_str(&body).expect("JSON");
        found["items"].as_array().cloned().expect("a list")
    }

    /// Waits until something holds; the test fails, with the log, when it does not in time.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Process) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            let late = began.elapsed() > PATIENCE;
            assert!(!late, "it does not come to pass: {what}\n{}\n{}", self.open(), self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The sources, and the objects that are not as they should be.
    fn open(&self) -> String {
        let open = |o: &Value| o["conditions"].as_array().is_some_and(|all| all.iter().any(|c| c["status"] == "False"));
        let objects = self.items("objects").into_iter().filter(open);
        self.items("sources").into_iter().chain(objects).map(|item| format!("{item}\n")).collect()
    }

    /// Waits for an event of a reason that says something.
    #[track_caller]
    pub(crate) fn hears(&self, reason: &str, says: &str) {
        let told = |e: &Value| e["reason"] == reason && e["message"].as_str().is_some_and(|m| m.contains(says));
        self.until(&format!("event {reason}: {says}"), |d| d.items("events").iter().any(told));
    }

    /// Whether a source is as it is declared, with so many objects, and nothing of it is left that is to go.
    pub(crate) fn is_ready(&self, source: &str, objects: usize) -> bool {
        let all = |s: &Value| s["name"] == source && s["ready"] == objects && s["objects"] == objects;
        let known = || self.items(&format!("objects?source={source}")).len();
        self.items("sources").iter().any(all) && self.get("/readyz").0 == 200 && known() == objects
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The world that a server kept.
pub(crate) fn kept(state: &Path) -> pvectl::sim::world::World {
    let text = std::fs::read_to_string(state).expect("the state is kept");
    let sim = pvectl::sim::Sim::load(&text).expect("it is a world");
    sim.with_world(|world| world.clone())
}
