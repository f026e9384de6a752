//! The programs that work inside guests and on nodes, run by real shells in a folder of their own. The tools of the systems are
//! stand-ins that keep a small list of packages and write down how they were called; nothing else of this machine is in reach
//! but a few plain tools.

mod apt;
mod managers;
mod node;
mod shells;
mod wellness;
mod windows;

use pvectl::host::job::{ConfigFiles, Deed, Job, Package, System};
use pvectl::host::program;
use pvectl::host::state::{JobState, Phase, State};
use pvectl::host::token::Token;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The tools that every system has.
const PLAIN: &[&str] = &[
    "awk", "cat", "chmod", "cp", "cut", "date", "grep", "gzip", "head", "ln", "ls", "mkdir", "mv", "nohup", "rm",
    "sed", "setsid", "sleep", "sort", "tail", "tee", "timeout", "touch", "tr", "wc", "xargs",
];

pub(crate) fn token(text: &str) -> Token {
    Token::new(text).expect("plain")
}

/// Where a program is on this machine.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The shells that are to be had here: the one of this system, and those that others have.
fn shells() -> Vec<(&'static str, PathBuf)> {
    let found = ["sh", "dash", "bash", "busybox"].map(|name| (name, find(name)));
    let required = std::env::var_os("PVECTL_TEST_REQUIRE_ALL").is_some_and(|v| v == "1");
    let missing: Vec<&str> = found.iter().filter(|(_, path)| path.is_none()).map(|(name, _)| *name).collect();
    assert!(!required || missing.is_empty(), "PVECTL_TEST_REQUIRE_ALL=1, but {missing:?} are not to be had");
    found.into_iter().filter_map(|(name, path)| Some((name, path?))).collect()
}

/// A system in a folder: `root` is what the program takes for `/`, `bin` is its whole PATH.
struct Guest {
    dir: TempDir,
    system: System,
}

impl Guest {
    fn new(system: System) -> Guest {
        Guest::with_shell(system, &find("sh").expect("a shell"))
    }

    fn with_shell(system: System, shell: &Path) -> Guest {
        let guest = Guest { dir: TempDir::new().expect("a folder of its own"), system };
        for folder in
            ["bin", "root/etc", "root/proc/1", "root/proc/net", "root/proc/sys/kernel/random", "root/run", "root/boot"]
        {
            fs::create_dir_all(guest.path(folder)).expect("made");
        }
        let busybox = shell.ends_with("busybox");
        for tool in PLAIN {
            let from =
                if busybox { shell.to_path_buf() } else { find(tool).unwrap_or_else(|| panic!("{tool} is here")) };
            symlink(from, guest.path("bin").join(tool)).expect("linked");
        }
        symlink(shell, guest.path("bin/sh")).expect("linked");
        guest.write("root/etc/os-release", "ID=test\nVERSION_ID=\"1\"\nNAME='$(touch /tmp/never)'\n");
        guest.write("root/proc/sys/kernel/random/boot_id", "0c9e5f6a-boot\n");
        guest.write("root/proc/net/tcp", "  sl  local_address rem_address   st\n");
        guest.write("calls", "");
        guest.tool(
            "uname",
            "case $1 in -r) cat \"$T/kernel\" 2>/dev/null || echo 6.1.0-1-amd64 ;; -m) echo x86_64 ;; esac",
        );
        guest
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn write(&self, below: &str, text: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("below the root")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn read(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).unwrap_or_default()
    }

    /// A stand-in: it writes its arguments down, and does what the script says. `$T` is the test's folder.
    fn tool(&self, name: &str, script: &str) {
        let (sh, here) = (self.path("bin/sh"), self.dir.path().display().to_string());
        let note = format!("{{ printf '{name}'; for a; do printf ' <%s>' \"$a\"; done; echo; }} >>\"$T/calls\"");
        self.write(&format!("bin/{name}"), &format!("#!{}\nT='{here}'\n{note}\n{script}\n", sh.display()));
        fs::set_permissions(self.path(&format!("bin/{name}")), fs::Permissions::from_mode(0o755)).expect("executable");
    }

    fn calls(&self) -> Vec<String> {
        self.read("calls").lines().map(str::to_owned).collect()
    }

    fn called(&self, start: &str) -> Vec<String> {
        self.calls().into_iter().filter(|call| call.starts_with(start)).collect()
    }

    /// Runs a program's text as a guest would; what it printed.
    fn run(&self, args: &[Token], input: &str) -> String {
        let input = input
            .replace("ROOT=''\n", &format!("ROOT='{}'\n", self.path("root").display()))
            .replace("BEAT=10\n", "BEAT=1\n")
            .replace("LOCK_SECONDS_MAX=600\n", "LOCK_SECONDS_MAX=8\n")
            .replace("LOG_BYTES_MAX=4194304\n", "LOG_BYTES_MAX=200000\n")
            .replace("/bin/sh", &self.path("bin/sh").display().to_string())
            .replace(
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                &self.path("bin").display().to_string(),
            );
        let mut child = Command::new(self.path("bin/sh"))
            .args(["-s", "--"])
            .args(args.iter().map(Token::as_str))
            .env_clear()
            .env("PATH", self.path("bin"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("read by the shell");
        let output = child.wait_with_output().expect("ended");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{:?}: {}{}", output.status, text(&output.stdout), text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
        text(&output.stdout)
    }

    fn begin(&self, deed: &Deed) -> String {
        let job = Job { window: token("sunday"), slot: token("20261122T010000Z"), deed: deed.clone() };
        self.run(&job.args(), &program::begin(self.system, &job).expect("it can be written down"))
    }

    /// What the program reads, and what stands in the file: they are the same but for the first line.
    fn state(&self) -> State {
        let window = token("sunday");
        let read = self.run(&program::look_args(&window), &program::look(self.system, &window));
        assert!(read.starts_with("boot="), "{read}");
        State::read(&read)
    }

    fn file(&self) -> State {
        State::read(&self.read("root/var/lib/pvectl/patch/sunday/state"))
    }

    fn job(&self, word: &str) -> JobState {
        let state = self.file();
        let job = state.job(&format!("20261122T010000Z-{word}"));
        job.unwrap_or_else(|| panic!("no {word} in {state:?}")).clone()
    }

    /// Waits until a job is at its end.
    fn ended(&self, word: &str) -> JobState {
        let begun = Instant::now();
        loop {
            let job = self.job(word);
            if job.phase != Phase::Running {
                return job;
            }
            assert!(begun.elapsed() < Duration::from_secs(40), "{word} does not end: {job:?}\n{}", self.log(word));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self, word: &str) -> String {
        self.read(&format!("root/var/lib/pvectl/patch/sunday/20261122T010000Z-{word}/log"))
    }

    /// Begins a job and waits for its end.
    fn done(&self, word: &str, deed: &Deed) -> JobState {
        assert_eq!(self.begin(deed), "begun\n");
        self.ended(word)
    }

    /// Kills a job as the kernel would when memory runs out: its worker, and what it started.
    fn kill(&self, word: &str) {
        let pid = self.read(&format!("root/var/lib/pvectl/patch/sunday/20261122T010000Z-{word}/pid"));
        let pid = pid.split(' ').next().expect("a number").to_owned();
        assert!(pid.parse::<u32>().is_ok_and(|pid| pid > 1), "{pid:?}");
        let status = Command::new("kill").args(["-9", "--", &format!("-{pid}")]).status().expect("kill is here");
        assert!(status.success());
    }
}

fn assess() -> Deed {
    Deed::Assess { attempt: 1, refresh: true }
}

fn patch(attempt: u8, packages: &[(&str, &str)]) -> Deed {
    let package = |(name, version): &(&str, &str)| Package { name: token(name), version: token(version) };
    Deed::Patch { attempt, packages: packages.iter().map(package).collect(), config: ConfigFiles::Keep }
}

fn pending(job: &JobState) -> Vec<(&str, &str, &str, bool)> {
    job.pending.iter().map(|p| (p.name.as_str(), p.from.as_str(), p.to.as_str(), p.security)).collect()
}

fn changed(job: &JobState) -> Vec<(&str, &str, &str)> {
    job.changed.iter().map(|c| (c.name.as_str(), c.from.as_str(), c.to.as_str())).collect()
}
