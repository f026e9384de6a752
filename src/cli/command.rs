//! Commands that tell a secret (`secret: {command: [pass, show, pve]}`): the one place of the command line that starts a
//! process. No shell: the words are the program and its arguments. What it prints is the secret, and stands in no message.

use crate::base::secret::Secret;
use crate::config::connect::Commands;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A password manager may ask a person for its own password; who does not answer in two minutes is not there.
const TIME_MAX: Duration = Duration::from_secs(120);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long its output may stay open when it has ended.
const GRACE: Duration = Duration::from_secs(5);
/// No secret is longer.
const BYTES_MAX: u64 = 64 << 10;

/// Programs of this machine.
pub struct Programs {
    /// How long one may take.
    pub time_max: Duration,
}

impl Default for Programs {
    fn default() -> Programs {
        Programs { time_max: TIME_MAX }
    }
}

impl Commands for Programs {
    fn run(&self, words: &[String]) -> Result<Secret, String> {
        let (program, arguments) = words.split_first().ok_or("no program is named")?;
        // Its questions go to the terminal, by standard input and error.
        let started = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|e| format!("it cannot be started: {e}"))?;
        let out = child.stdout.take().ok_or("its output cannot be read")?;
        let (sender, answer) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let read = out.take(BYTES_MAX).read_to_string(&mut text);
            // Nobody listens any more where it took too long.
            let _ = sender.send(read.map(|_| Secret::new(text)).map_err(|e| e.to_string()));
        });
        let end = Instant::now() + self.time_max;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < end => std::thread::sleep(LOOK_EVERY),
                Ok(None) => {
                    // It may be gone by now: then there is nothing to end.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("it did not end in {} s", self.time_max.as_secs()));
                }
                Err(error) => return Err(format!("it cannot be waited for: {error}")),
            }
        };
        if !status.success() {
            return Err(status
                .code()
                .map_or_else(|| "it was ended".to_owned(), |code| format!("it ended with {code}")));
        }
        // A daemon that it left behind may hold its output open.
        let left = end.saturating_duration_since(Instant::now()).min(GRACE);
        let text = answer.recv_timeout(left).map_err(|_| "its output does not end: does it leave a daemon behind?")?;
        let text = text.map_err(|e| format!("its output cannot be read: {e}"))?;
        let secret = text.expose().trim_end_matches(['\r', '\n']);
        if secret.is_empty() { Err("it printed nothing".to_owned()) } else { Ok(Secret::new(secret)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str], time_max: Duration) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        Programs { time_max }.run(&words).map(|secret| secret.expose().to_owned())
    }

    #[cfg(unix)]
    #[test]
    fn a_program_tells_a_secret_or_why_not() {
        let long = Duration::from_secs(20);
        assert_eq!(run(&["printf", "s3cret two\\n\\n"], long).as_deref(), Ok("s3cret two"));
        // The words are no shell's.
        assert_eq!(run(&["echo", "$HOME;", "`id`"], long).as_deref(), Ok("$HOME; `id`"));
        for (words, says) in [
            (&["/bin/sh", "-c", "echo s3cret; exit 3"][..], "ended with 3"),
            (&["true"], "printed nothing"),
            (&["/nowhere/pass"], "cannot be started"),
            (&[], "no program"),
        ] {
            let why = run(words, long).expect_err("it tells none");
            assert!(why.contains(says) && !why.contains("s3cret"), "{why}");
        }
        let begun = Instant::now();
        assert!(run(&["sleep", "30"], Duration::from_millis(50)).is_err_and(|why| why.contains("did not end")));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
