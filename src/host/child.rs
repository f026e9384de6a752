//! A process of ours: its input is written, its output read to a bound, its time limited. It leads a group of its own, and
//! whoever stops waiting for it ends the group.

use crate::host::link::Listener;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// How long its output may stay open when it has ended: a daemon that it left behind may hold it.
const GRACE: Duration = Duration::from_secs(2);
/// As much of its standard error is kept, of the end: the last line says what went wrong.
const ERR_BYTES_MAX: usize = 16 << 10;
/// As much is read at once.
const CHUNK_BYTES: usize = 16 << 10;

/// What a process brought.
#[derive(Debug)]
pub(super) struct Ended {
    /// How it ended.
    pub(super) status: ExitStatus,
    /// The begin of its standard output.
    pub(super) out: String,
    /// The end of its standard error.
    pub(super) err: String,
    /// There was more of the one or the other.
    pub(super) truncated: bool,
}

/// Why there is no end.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It could not be started.
    Unstarted(io::Error),
    /// It took too long, and was killed with all that it had started.
    TooLong,
    /// It was started, and cannot be waited for.
    Unknown(io::Error),
}

/// What a process may take and bring.
pub(super) struct Bounds {
    /// How long it may take.
    pub(super) time_max: Duration,
    /// As much of its standard output is kept, in bytes.
    pub(super) out_bytes_max: usize,
}

/// Runs a process to its end.
pub(super) async fn run(
    mut command: Command,
    input: &str,
    bounds: &Bounds,
    listener: Option<&mut dyn Listener>,
) -> Result<Ended, Trouble> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn().map_err(Trouble::Unstarted)?;
    let group = Group::of(&child);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // One that ends without reading says by its status what was wrong.
            let _ = stdin.write_all(input.as_bytes()).await;
            let _ = stdin.shutdown().await;
        }
    };
    let (mut out, mut err) = (Kept::first(bounds.out_bytes_max), Kept::last(ERR_BYTES_MAX));
    let all = async {
        let mut reading = std::pin::pin!(async {
            tokio::join!(write, out.read(stdout, listener), err.read(stderr, None));
        });
        // Its output may end before it does, and what it left behind may hold the output open when it has ended.
        let status = tokio::select! {
            status = child.wait() => {
                let _ = tokio::time::timeout(GRACE, reading).await;
                status
            }
            () = &mut reading => child.wait().await,
        };
        status.map_err(Trouble::Unknown)
    };
    let status = tokio::time::timeout(bounds.time_max, all).await.map_err(|_| Trouble::TooLong)??;
    group.forget();
    // Of what it complained, the end is kept; only what it brought must be whole.
    let truncated = out.truncated;
    Ok(Ended { status, out: out.text(), err: err.text(), truncated })
}

/// What is kept of a stream.
struct Kept {
    bytes: Vec<u8>,
    max: usize,
    /// The end is kept, not the begin.
    end: bool,
    truncated: bool,
}

impl Kept {
    fn first(max: usize) -> Kept {
        Kept { bytes: Vec::new(), max, end: false, truncated: false }
    }

    fn last(max: usize) -> Kept {
        Kept { bytes: Vec::new(), max, end: true, truncated: false }
    }

    /// Reads to the end: whoever writes must not wait for us. A pipe that breaks ends the text.
    async fn read(&mut self, from: Option<impl AsyncRead + Unpin>, mut listener: Option<&mut dyn Listener>) {
        let Some(mut from) = from else { return };
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut heard = 0;
        while let Ok(count @ 1..) = from.read(&mut chunk).await {
            self.add(&chunk[..count]);
            if let Some(listener) = &mut listener {
                heard += tell(*listener, &self.bytes[heard..]);
            }
        }
        if let Some(listener) = listener
            && heard < self.bytes.len()
        {
            listener.out(&String::from_utf8_lossy(&self.bytes[heard..]));
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.end {
            self.bytes.extend_from_slice(bytes);
            let over = self.bytes.len().saturating_sub(self.max);
            self.truncated |= over > 0;
            self.bytes.drain(..over);
        } else {
            let room = bytes.len().min(self.max - self.bytes.len());
            self.truncated |= room < bytes.len();
            self.bytes.extend_from_slice(&bytes[..room]);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Tells all but a character that is not whole yet; says how many bytes that was.
fn tell(listener: &mut dyn Listener, bytes: &[u8]) -> usize {
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => bytes.len(),
    };
    if whole > 0 {
        listener.out(&String::from_utf8_lossy(&bytes[..whole]));
    }
    whole
}

/// A process and all that it started: killed when it is dropped before its end.
struct Group {
    #[cfg(unix)]
    leader: Option<rustix::process::Pid>,
}

impl Group {
    #[cfg(unix)]
    fn of(child: &Child) -> Group {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Group { leader: id.and_then(rustix::process::Pid::from_raw) }
    }

    #[cfg(not(unix))]
    fn of(_: &Child) -> Group {
        Group {}
    }

    /// It has ended by itself: what it left behind on purpose may go on.
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there is nothing to forget"))]
    fn forget(mut self) {
        #[cfg(unix)]
        {
            self.leader = None;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(leader) = self.leader {
            // It may be gone by now: then there is nothing to end.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::time::Instant;

    const LONG: Bounds = Bounds { time_max: Duration::from_secs(60), out_bytes_max: 1 << 20 };

    fn shell(text: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(text);
        command
    }

    #[derive(Default)]
    struct Heard(Vec<String>);

    impl Listener for Heard {
        fn out(&mut self, text: &str) {
            self.0.push(text.to_owned());
        }
    }

    #[tokio::test]
    async fn input_output_and_status_are_kept() {
        let mut heard = Heard::default();
        let said = run(shell("cat; echo bad >&2; exit 7"), "in\nput ü\n", &LONG, Some(&mut heard)).await;
        let said = said.expect("it ends");
        assert_eq!(
            (said.status.code(), said.out.as_str(), said.err.as_str(), said.truncated),
            (Some(7), "in\nput ü\n", "bad\n", false)
        );
        assert_eq!(heard.0.concat(), "in\nput ü\n");
    }

    #[tokio::test]
    async fn a_character_that_comes_in_two_pieces_is_told_once() {
        let mut heard = Heard::default();
        let halves = "printf 'a\\303'; sleep 0.3; printf '\\274b'";
        run(shell(halves), "", &LONG, Some(&mut heard)).await.expect("it ends");
        assert_eq!(heard.0, ["a", "üb"]);
    }

    #[tokio::test]
    async fn output_is_bounded_and_input_that_nobody_reads_is_no_failure() {
        let bounds = Bounds { out_bytes_max: 10, ..LONG };
        let loud = "head -c 5000000 /dev/zero | tr '\\0' a; head -c 100000 /dev/zero | tr '\\0' e >&2; echo last >&2";
        let said = run(shell(loud), &"x".repeat(1 << 20), &bounds, None).await.expect("it ends");
        assert_eq!((said.status.code(), said.out.as_str(), said.truncated), (Some(0), "aaaaaaaaaa", true));
        assert!(said.err.ends_with("e\nlast\n") || said.err.ends_with("elast\n"), "{}", said.err.len());
        assert_eq!(said.err.len(), ERR_BYTES_MAX);
    }

    #[tokio::test]
    async fn whoever_takes_too_long_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("mark");
        let text = format!("(sleep 2; echo alive >'{}') & sleep 30", mark.display());
        let bounds = Bounds { time_max: Duration::from_millis(300), ..LONG };
        let begun = Instant::now();
        assert!(matches!(run(shell(&text), "", &bounds, None).await, Err(Trouble::TooLong)));
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!mark.exists(), "its child went on");
    }

    #[tokio::test]
    async fn output_that_a_daemon_holds_open_is_not_waited_for() {
        let begun = Instant::now();
        let said = run(shell("echo out; sleep 20 & exit 0"), "", &LONG, None).await.expect("it ends");
        assert_eq!((said.status.code(), said.out.as_str()), (Some(0), "out\n"));
        assert!(begun.elapsed() < Duration::from_secs(15));
        let none = run(Command::new("/nowhere/x"), "", &LONG, None).await;
        assert!(matches!(none, Err(Trouble::Unstarted(_))));
    }
}
