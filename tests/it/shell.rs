//! Programs of the host link, run by the real `sh`, with stand-ins for what they call.

use pvectl::host::operation::Command;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command as Process, Stdio};

/// A folder with stand-ins. They find it as `$STAGE`.
pub(crate) struct Stage(tempfile::TempDir);

impl Stage {
    /// Stand-ins by name; each is the body of a shell script.
    pub(crate) fn new(programs: &[(&str, &str)]) -> Stage {
        let stage = Stage(tempfile::tempdir().expect("a folder"));
        std::fs::create_dir(stage.path("bin")).expect("a folder");
        for (name, text) in programs {
            stage.program(name, text);
        }
        stage
    }

    /// One more stand-in.
    pub(crate) fn program(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let file = self.path("bin").join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).expect("a file");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("it can be run");
    }

    /// A path below it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What the stand-ins wrote down.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// Runs a command's words with a text on standard input: exit code, standard output, standard error.
pub(crate) fn run_command(stage: &Stage, command: &Command, input: &str) -> (i32, String, String) {
    let words: Vec<&str> = command.words.iter().map(|w| w.as_str()).collect();
    run_words(stage, &words, input)
}

/// The same for plain words.
pub(crate) fn run_words(stage: &Stage, words: &[&str], input: &str) -> (i32, String, String) {
    let path = format!("{}:{}", stage.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    let mut child = Process::new(words[0])
        .args(&words[1..])
        .env("PATH", path)
        .env("STAGE", stage.path(""))
        .current_dir(stage.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let feeder = std::thread::spawn(move || {
        // A program that ends early reads no more.
        let _ = stdin.write_all(input.as_bytes());
    });
    let out = child.wait_with_output().expect("it ends");
    feeder.join().expect("it writes");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

/// Says that a program of this machine is missing; where all must be there, it is an error.
#[expect(clippy::print_stderr, reason = "a test says what it skipped")]
pub(crate) fn missing(program: &str) {
    assert!(std::env::var_os("PVECTL_TEST_REQUIRE_ALL").is_none_or(|v| v != "1"), "{program} is missing");
    eprintln!("skipped: {program} is missing");
}
