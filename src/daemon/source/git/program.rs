//! Runs `git`: the one place of the daemon that starts a process. No shell, no questions to anybody, a time limit, bounded
//! output, and what it prints without secrets. Dropped before its end, it is killed.

use crate::daemon::source::git::address::scrubbed;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// The name under which git knows the repository. Its address goes by the environment: others can read arguments.
pub(super) const REMOTE: &str = "pvectl";
/// No answer that we ask for is longer; a server may send what it likes.
const OUT_BYTES_MAX: u64 = 256 << 10;
/// Enough for a person.
const ERR_BYTES_MAX: u64 = 16 << 10;
/// Where somebody else's call of git would have us work: a daemon may be started from a hook.
const LOCAL: [&str; 16] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CEILING_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];
/// What this machine's settings may not change, each with its reason.
const SETTINGS: [(&str, &str); 11] = [
    ("core.hooksPath", "/dev/null"), // no program of anybody's runs for a fetch or a checkout
    ("core.fsmonitor", "false"),     // that is a program too
    ("protocol.ext.allow", "never"), // an address that is a command
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("core.autocrlf", "false"), // the bytes of the commit
    ("core.quotePath", "false"),
    ("gc.autoDetach", "false"), // nothing stays behind when it has ended
    ("maintenance.autoDetach", "false"),
    ("credential.interactive", "false"), // nobody is there
    ("fetch.writeCommitGraph", "false"),
];

/// What git said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// It ended with 0.
    pub(super) well: bool,
    /// With what else, unless it was killed.
    pub(super) code: Option<i32>,
    /// Standard output.
    pub(super) out: String,
    /// Standard error.
    pub(super) err: String,
}

/// One call of git.
pub(super) struct Call<'a> {
    /// The address that [`REMOTE`] stands for.
    pub(super) url: &'a str,
    /// The bare repository.
    pub(super) repository: &'a Path,
    /// Where files are put, and the index that knows them.
    pub(super) work: Option<(&'a Path, &'a Path)>,
    /// How long it may take.
    pub(super) time_max: Duration,
}

impl Call<'_> {
    /// Runs `git WORDS…`. An error is a sentence: it could not be started, or it took too long.
    pub(super) async fn run<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Said, String> {
        let Call { url, repository, work, time_max } = self;
        let verb = words.first().map(|word| word.as_ref().to_string_lossy().into_owned()).unwrap_or_default();
        let mut git = Command::new("git");
        git.arg("--literal-pathspecs").args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        LOCAL.iter().for_each(|name| {
            git.env_remove(name);
        });
        git.env("GIT_DIR", repository);
        if let Some((tree, index)) = work {
            git.env("GIT_WORK_TREE", tree).env("GIT_INDEX_FILE", index).current_dir(tree);
        }
        git.env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "")
            .env("SSH_ASKPASS", "")
            .env("GIT_OPTIONAL_LOCKS", "0");
        git.env("LC_ALL", "C").env("LANGUAGE", "");
        // Settings that somebody gave by the environment stay in force under ours.
        let given = std::env::var("GIT_CONFIG_COUNT").ok().and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
        let name = format!("remote.{REMOTE}.url");
        let settings = SETTINGS.iter().copied().chain([(name.as_str(), *url)]);
        let mut count = given;
        for (key, value) in settings {
            git.env(format!("GIT_CONFIG_KEY_{count}"), key).env(format!("GIT_CONFIG_VALUE_{count}"), value);
            count += 1;
        }
        git.env("GIT_CONFIG_COUNT", count.to_string()).kill_on_drop(true);
        let mut child = git.spawn().map_err(|error| {
            // The same words stand for a working folder that is gone.
            let here = work.is_none_or(|(tree, _)| tree.is_dir());
            if error.kind() == std::io::ErrorKind::NotFound && here {
                "git is not on the PATH of this machine: install it (Debian: apt install git)".to_owned()
            } else {
                format!("git cannot be started: {error}")
            }
        })?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let all = futures::future::join3(child.wait(), text(out, OUT_BYTES_MAX), text(err, ERR_BYTES_MAX));
        let (status, out, err) = tokio::time::timeout(*time_max, all)
            .await
            .map_err(|_| format!("git {verb} did not end in {} s", time_max.as_secs()))?;
        let status = status.map_err(|error| format!("git {verb} cannot be waited for: {error}"))?;
        Ok(Said { well: status.success(), code: status.code(), out: scrubbed(&out, url), err: scrubbed(&err, url) })
    }
}

/// The first bytes of what it prints; the rest is read and dropped, so that it does not wait for us.
async fn text(from: Option<impl AsyncRead + Unpin>, bytes_max: u64) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut bytes = Vec::new();
    // A pipe that breaks ends the text; how the program ended is told by its status.
    let _ = (&mut from).take(bytes_max).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    async fn run(words: &[&str], time_max: Duration) -> Option<Result<Said, String>> {
        let folder = tempfile::tempdir().expect("a folder");
        let call = Call { url: "https://me:s3cret@host/x", repository: folder.path(), work: None, time_max };
        let said = call.run(words).await;
        // Where git is missing, the tests with repositories say so, or fail where everything is required.
        (!said.as_ref().is_err_and(|why| why.contains("not on the PATH"))).then_some(said)
    }

    #[tokio::test]
    async fn whoever_takes_too_long_is_ended() {
        let begun = std::time::Instant::now();
        let Some(said) = run(&["-c", "alias.x=!sleep 20", "x"], Duration::from_millis(300)).await else { return };
        assert_eq!(said, Err("git -c did not end in 0 s".to_owned()));
        assert!(begun.elapsed() < Duration::from_secs(15));
    }

    #[tokio::test]
    async fn what_it_prints_is_bounded_and_without_secrets() {
        let long = Duration::from_secs(60);
        let loud = "alias.x=!head -c 5000000 /dev/zero | tr '\\0' a; head -c 100000 /dev/zero >&2; exit 3";
        let Some(said) = run(&["-c", loud, "x"], long).await else { return };
        let said = said.expect("it ends");
        assert_eq!((said.well, said.code, said.out.len()), (false, Some(3), 256 << 10));
        assert_eq!(said.err.len(), 16 << 10);
        let url = run(&["config", "--get", "remote.pvectl.url"], long).await.expect("git is there").expect("it ends");
        assert_eq!(url.out.trim(), "https://***@host/x");
    }

    #[tokio::test]
    async fn nobody_is_asked_and_settings_of_others_stay_below() {
        let long = Duration::from_secs(60);
        let show = "alias.x=!echo $GIT_TERMINAL_PROMPT:$GIT_ASKPASS:$SSH_ASKPASS:$LC_ALL; git config --get core.hooksPath; git config --get protocol.ext.allow";
        let Some(said) = run(&["-c", show, "x"], long).await else { return };
        assert_eq!(said.expect("it ends").out, "0:::C\n/dev/null\nnever\n");
    }
}
