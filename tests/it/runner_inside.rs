//! The program that begins a GitHub runner in a guest, run by real shells in a folder of its own. The runner is a stand-in that waits
//! until it may end, so that everything can be looked at while it runs; nothing of this machine is in reach that could stop it.

mod begin;
mod failures;
mod users;
mod windows;

use pvectl::host::job::System;
use pvectl::host::runner::look::{self, Look};
use pvectl::host::runner::{Phase, Registration, RunnerState, Start};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The tools that every system has.
const PLAIN: &[&str] = &[
    "awk", "cat", "cut", "date", "env", "grep", "id", "ls", "mkdir", "mkfifo", "mv", "nohup", "rm", "sed", "setsid",
    "sleep", "tail", "timeout", "tr", "wc",
];

/// Base64, as a just-in-time configuration is.
const SECRET: &str = "eyJzZWNyZXQiOiJ2ZXJ5IHNlY3JldCBpbmRlZWQifQ==";

/// What the stand-in of the runner does: it notes what it was given, waits, and ends as it is told.
const RUN: &str = r#"#!/bin/sh
PATH=/usr/bin:/bin
export PATH
hash() { printf '%s' "$1" | cksum; }
{
	echo "args=$#"
	echo "jit=$(hash "$ACTIONS_RUNNER_INPUT_JITCONFIG")"
	echo "token=$(hash "$ACTIONS_RUNNER_INPUT_TOKEN")"
	echo "deprecated=$ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE"
	echo "as_root=$RUNNER_ALLOW_RUNASROOT"
	echo "user=$(id -un) home=$HOME name=$USER $LOGNAME"
	echo "umask=$(umask) locale=${LC_ALL-none} folder=$(pwd)"
} >>"$PWD/ran"
echo 'Listening for Jobs'
until [ -e "$PWD/go" ]; do sleep 0.05; done
echo 'Exiting runner...'
exit "$(cat "$PWD/go")"
"#;

/// The same for its configuration.
const CONFIG: &str = r#"#!/bin/sh
PATH=/usr/bin:/bin
export PATH
{
	for a; do printf '<%s>\n' "$a"; done
	echo "token=$(printf '%s' "$ACTIONS_RUNNER_INPUT_TOKEN" | cksum) user=$(id -un)"
} >>"$PWD/configured"
: >"$PWD/.credentials"
echo 'Runner successfully added'
exit "$(cat "$PWD/config-exit" 2>/dev/null || echo 0)"
"#;

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The shells that are to be had here.
fn shells() -> Vec<(&'static str, PathBuf)> {
    let found = ["dash", "bash", "busybox"].map(|name| (name, find(name)));
    let required = std::env::var_os("PVECTL_TEST_REQUIRE_ALL").is_some_and(|v| v == "1");
    assert!(!required || found.iter().all(|(_, path)| path.is_some()), "PVECTL_TEST_REQUIRE_ALL=1: {found:?}");
    let found: Vec<_> = found.into_iter().filter_map(|(name, path)| Some((name, path?))).collect();
    assert!(!found.is_empty(), "no shell is here");
    found
}

/// What `cksum` says of a text, as the stand-ins note it.
fn hash(text: &str) -> String {
    let mut child = Command::new("cksum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("cksum is here");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("read");
    String::from_utf8_lossy(&child.wait_with_output().expect("ended").stdout).trim().to_owned()
}

/// A guest in a folder: `root` is what the program takes for `/`, `bin` is its whole PATH, `runner` has the runner.
struct Machine {
    dir: TempDir,
}

impl Machine {
    fn new() -> Machine {
        Machine::with_shell(&find("sh").expect("a shell"))
    }

    fn with_shell(shell: &Path) -> Machine {
        let machine =
            Machine { dir: tempfile::Builder::new().prefix("runner").tempdir().expect("a folder of its own") };
        // Whoever the runner runs as must come to its folder.
        fs::set_permissions(machine.dir.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        for folder in ["bin", "root/etc", "root/run", "runner/bin"] {
            fs::create_dir_all(machine.path(folder)).expect("made");
        }
        let busybox = shell.ends_with("busybox");
        for tool in PLAIN {
            let own =
                if busybox { shell.to_path_buf() } else { find(tool).unwrap_or_else(|| panic!("{tool} is here")) };
            symlink(own, machine.path("bin").join(tool)).expect("linked");
        }
        symlink(shell, machine.path("bin/sh")).expect("linked");
        for tool in ["systemctl", "hostnamectl", "hostname"] {
            machine.tool(tool, "");
        }
        machine.tool("uname", "echo template");
        machine.script("runner/run.sh", RUN);
        machine.script("runner/config.sh", CONFIG);
        machine.script("runner/bin/Runner.Listener", "#!/bin/sh\n/usr/bin/id -un >>\"$PWD/asked\"\necho 2.330.0\n");
        machine
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn read(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).unwrap_or_default()
    }

    fn script(&self, below: &str, text: &str) {
        fs::write(self.path(below), text).expect("written");
        fs::set_permissions(self.path(below), fs::Permissions::from_mode(0o755)).expect("executable");
    }

    /// A stand-in: it writes its arguments down, and does what the script says. `$T` is the machine's folder.
    fn tool(&self, name: &str, script: &str) {
        let note = format!("{{ printf '{name}'; for a; do printf ' <%s>' \"$a\"; done; echo; }} >>\"$T/calls\"");
        let sh = find("sh").expect("a shell");
        let _ = fs::remove_file(self.path("bin").join(name));
        self.script(
            &format!("bin/{name}"),
            &format!("#!{}\nT='{}'\n{note}\n{script}\n", sh.display(), self.dir.path().display()),
        );
    }

    fn calls(&self, start: &str) -> Vec<String> {
        self.read("calls").lines().filter(|call| call.starts_with(start)).map(str::to_owned).collect()
    }

    fn start(&self) -> Start {
        Start {
            system: System::Linux,
            name: "ci-50000-ab12t3w0q1".into(),
            directory: self.path("runner").display().to_string(),
            user: None,
            host_name: false,
            version: None,
            before: None,
            after: None,
            registration: Registration::JustInTime,
        }
    }

    /// A text of ours, for this folder in place of `/`.
    fn here(&self, text: &str) -> String {
        let own = text
            .replace("ROOT=''\n", &format!("ROOT='{}'\n", self.path("root").display()))
            .replace("PIPE_SECONDS_MAX=60\n", "PIPE_SECONDS_MAX=2\n")
            .replace("HOOK_SECONDS_MAX=900\n", "HOOK_SECONDS_MAX=2\n")
            .replace("/bin/sh", &self.path("bin/sh").display().to_string())
            .replace(
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                &self.path("bin").display().to_string(),
            );
        assert!(!own.contains("/usr/sbin"), "nothing of this machine is in reach: it could be powered off");
        own
    }

    fn shell(&self) -> Command {
        let mut shell = Command::new(self.path("bin/sh"));
        shell.env_clear().env("PATH", self.path("bin"));
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        shell
    }

    fn spawn(&self, start: &Start, secret: &str) -> Child {
        start.check().expect("it can be said");
        let words = start.command();
        let mut shell = self.shell();
        let mut child = shell.arg("-c").arg(self.here(&words[2])).args(&words[3..]).spawn().expect("started");
        child.stdin.take().expect("piped").write_all(secret.as_bytes()).expect("read");
        child
    }

    /// Begins it as the guest agent does; what was said.
    fn begin(&self, start: &Start) -> String {
        ended(self.spawn(start, SECRET))
    }

    /// Begins it as a host link does.
    fn begin_by_script(&self, script: &str) -> String {
        let mut child = self.shell().args(["-s", "--", "runner"]).spawn().expect("started");
        child.stdin.take().expect("piped").write_all(self.here(script).as_bytes()).expect("read");
        ended(child)
    }

    fn state(&self) -> RunnerState {
        RunnerState::read(&self.read("root/var/lib/pvectl/runner/state"))
    }

    fn look(&self, lines: u32) -> Look {
        let words = look::words(System::Linux, lines);
        let mut child = self.shell().args(&words[1..]).spawn().expect("started");
        let input = self.here(&look::input(System::Linux, lines));
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("read");
        Look::read(&ended(child))
    }

    fn log(&self) -> String {
        self.read("root/var/lib/pvectl/runner/log")
    }

    fn until(&self, what: &str, holds: impl Fn(&Machine) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "it does not come to pass: {what}\n{:?}\n{}",
                self.state(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the runner listens.
    fn listens(&self) {
        self.until("it listens", |machine| machine.log().contains("Listening for Jobs"));
        assert_eq!(self.state().phase, Phase::Running);
    }

    /// Lets the runner end, and waits for that.
    fn go(&self, exit: u8) -> RunnerState {
        fs::write(self.path("runner/go"), exit.to_string()).expect("written");
        self.ended()
    }

    fn ended(&self) -> RunnerState {
        self.until("it ends", |machine| machine.state().phase == Phase::Ended);
        self.state()
    }

    /// The secret is in no file below our folder, and in no process's arguments.
    fn keeps_the_secret(&self, when: &str) {
        assert_eq!(holding(self.dir.path(), SECRET.as_bytes()), Vec::<PathBuf>::new(), "{when}");
        for entry in fs::read_dir("/proc").expect("a system with /proc").flatten() {
            let told = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            assert!(!contains(&told, SECRET.as_bytes()), "{when}: {}", String::from_utf8_lossy(&told));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A stand-in that waits is let go.
        let _ = fs::write(self.path("runner/go"), "9");
    }
}

fn ended(child: Child) -> String {
    let output = child.wait_with_output().expect("ended");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{:?}: {}{}", output.status, text(&output.stdout), text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|part| part == what)
}

/// The files below a folder that hold something. A pipe holds nothing that stays.
fn holding(folder: &Path, what: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().expect("it has a type");
        if kind.is_dir() {
            found.extend(holding(&entry.path(), what));
        } else if kind.is_file() && contains(&fs::read(entry.path()).unwrap_or_default(), what) {
            found.push(entry.path());
        }
    }
    found
}
