//! Repositories as sources of the daemon: the real git of this machine, and repositories on its disk.

use crate::origins::{broken, declared, names, pool, read};
use pvectl::daemon::config::{GitConfig, SourceConfig, Span};
use pvectl::daemon::source::git::source::GitSource;
use pvectl::daemon::source::{Source, open};
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(30);

/// Whether a program is there; a skip is a failure where everything is required.
fn able(program: &str, question: &str) -> bool {
    let tried = Command::new(program).arg(question).stdin(Stdio::null()).output();
    let able = tried.is_ok();
    if !able {
        let required = std::env::var_os("PVECTL_TEST_REQUIRE_ALL").is_some_and(|v| v == "1");
        assert!(!required, "PVECTL_TEST_REQUIRE_ALL=1, but {program} is not to be had");
        crate::apidoc::say(&format!("skipped: no {program}"));
    }
    able
}

/// A repository that somebody works in, and where the daemon keeps its own.
struct Lab {
    _keep: tempfile::TempDir,
    work: PathBuf,
    state: PathBuf,
}

impl Lab {
    fn new() -> Option<Lab> {
        if !able("git", "--version") {
            return None;
        }
        let keep = tempfile::tempdir().expect("a folder");
        let (work, state) = (keep.path().join("work"), keep.path().join("state"));
        fs::create_dir(&work).expect("a folder");
        let lab = Lab { _keep: keep, work, state };
        lab.git(["init", "--quiet", "--initial-branch=main"]);
        lab.commit("lab/a.yaml", &pool("a", ""), "First things");
        Some(lab)
    }

    fn git<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> String {
        let mut git = Command::new("git");
        git.args(words).current_dir(&self.work).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for (who, value) in [("NAME", "A. Person"), ("EMAIL", "a@example.org")] {
            git.env(format!("GIT_AUTHOR_{who}"), value).env(format!("GIT_COMMITTER_{who}"), value);
        }
        let out = git.output().expect("git");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.work.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// Commits; returns the commit.
    fn commit(&self, file: &str, text: &str, message: &str) -> String {
        self.write(file, text);
        self.git(["add", "--all"]);
        self.git(["commit", "--quiet", "--message", message]);
        self.git(["rev-parse", "HEAD"])
    }

    fn config(&self) -> GitConfig {
        GitConfig {
            url: format!("file://{}", self.work.display()),
            branch: Some("main".to_owned()),
            path: "lab".into(),
            interval: Span(Duration::from_millis(100)),
            verify_signature: false,
        }
    }

    fn source(&self, change: impl FnOnce(&mut GitConfig)) -> GitSource {
        let mut config = self.config();
        change(&mut config);
        GitSource::new("lab", config, None, Some(&self.state))
    }

    /// What the daemon keeps of this source, without the repository.
    fn trees(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.state.join("git/lab")).expect("it was made");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| !path.ends_with("repository.git")).collect()
    }
}

async fn moved(source: &mut GitSource) {
    timeout(LONG, source.changed()).await.expect("a sign");
}

async fn quiet(source: &mut GitSource) {
    assert!(timeout(Duration::from_millis(700), source.changed()).await.is_err(), "nothing has changed");
}

#[tokio::test]
async fn a_branch_is_followed() {
    let Some(lab) = Lab::new() else { return };
    let first = lab.git(["rev-parse", "HEAD"]);
    let mut source = lab.source(|_| {});
    moved(&mut source).await;
    let reading = read(&mut source).await;
    assert_eq!((reading.revision.id.as_str(), reading.revision.subject.as_deref()), (&*first, Some("First things")));
    assert_eq!(declared(&reading), names(&["a"]));
    quiet(&mut source).await;
    assert_eq!(read(&mut source).await.revision, reading.revision);
    let second = lab.commit("lab/b.yaml", &pool("b", ""), "More");
    moved(&mut source).await;
    let reading = read(&mut source).await;
    assert_eq!((reading.revision.id.as_str(), declared(&reading)), (&*second, names(&["a", "b"])));
    assert_eq!(lab.trees().len(), 1, "old ones are removed: {:?}", lab.trees());
    // History is rewritten.
    lab.git(["reset", "--quiet", "--hard", &first]);
    let forced = lab.commit("lab/a.yaml", &pool("c", ""), "Instead");
    moved(&mut source).await;
    let reading = read(&mut source).await;
    assert_eq!((reading.revision.id.as_str(), declared(&reading)), (&*forced, names(&["c"])));
    // What is elsewhere in the repository does not count, but is another revision.
    lab.commit("docs/x.yaml", "no: manifest\n", "Docs");
    moved(&mut source).await;
    assert_eq!(declared(&read(&mut source).await), names(&["c"]));
    // A daemon that starts again goes on with what it has.
    drop(source);
    assert_eq!(declared(&read(&mut lab.source(|_| {})).await), names(&["c"]));
    assert_eq!(lab.trees().len(), 1);
}

#[tokio::test]
async fn a_broken_commit_is_told_and_the_next_one_mends_it() {
    let Some(lab) = Lab::new() else { return };
    let mut source = lab.source(|_| {});
    read(&mut source).await;
    let bad = lab.commit("lab/a.yaml", &pool("a", "").replace("comment", "coment"), "Oops");
    moved(&mut source).await;
    let told = broken(source.read().await);
    assert_eq!(told.message, "1 error in the manifests");
    let revision = told.revision.expect("it came that far");
    assert_eq!((revision.id, revision.subject.as_deref()), (bad, Some("Oops")));
    let text = told.diagnostics.join("\n");
    assert!(text.contains("--> lab/a.yaml:5:"), "the path in the repository: {text}");
    assert!(!text.contains(&lab.state.display().to_string()), "{text}");
    quiet(&mut source).await;
    lab.commit("lab/a.yaml", &pool("a", ""), "Mended");
    moved(&mut source).await;
    read(&mut source).await;
}

#[tokio::test]
async fn a_path_is_a_tree_of_its_own() {
    let Some(lab) = Lab::new() else { return };
    let mut missing = lab.source(|git| git.path = "nowhere".into());
    let told = broken(missing.read().await);
    assert!(told.message.starts_with("`nowhere` is not there in the commit "), "{}", told.message);
    assert!(told.revision.is_some() && told.diagnostics.concat().contains("hint: "), "{told:?}");
    quiet(&mut missing).await;
    let file = broken(lab.source(|git| git.path = "lab/a.yaml".into()).read().await);
    assert!(file.message.starts_with("`lab/a.yaml` is no folder"), "{}", file.message);
    // Settings above hold for all below, which is then not all of the set.
    lab.commit("pvectl.yaml", "set: everything\n", "Settings");
    let part = broken(lab.source(|_| {}).read().await);
    assert!(part.message.starts_with("`lab` is only a part of the tree `.`"), "{}", part.message);
    assert_eq!(read(&mut lab.source(|git| git.path = "".into())).await.desired.set, "everything");
    lab.git(["rm", "--quiet", "pvectl.yaml"]);
    lab.commit("lab/pvectl.yaml", "set: lab\n", "Settings");
    let reading = read(&mut lab.source(|git| git.path = "./lab/".into())).await;
    assert_eq!(reading.desired.set, "lab");
    // Settings of the machine that happen to be above the checkout are nobody's.
    lab.git(["rm", "--quiet", "lab/pvectl.yaml"]);
    lab.commit("lab/b.yaml", &pool("b", ""), "No settings");
    fs::write(lab.state.join("pvectl.yaml"), "set: machine\n").expect("a file");
    assert_eq!(read(&mut lab.source(|_| {})).await.desired.set, "default");
    // The last file of a folder is deleted: the folder is gone.
    lab.git(["rm", "--quiet", "-r", "lab"]);
    lab.commit("x", "", "All gone");
    assert!(broken(lab.source(|_| {}).read().await).message.contains("is not there"));
}

#[tokio::test]
async fn a_branch_that_is_not_there_and_then_is() {
    let Some(lab) = Lab::new() else { return };
    let mut source = lab.source(|git| git.branch = Some("live".to_owned()));
    let told = broken(source.read().await);
    assert!(told.message.starts_with("there is no branch `live` in file://"), "{}", told.message);
    assert_eq!(told.revision, None);
    lab.git(["branch", "live"]);
    moved(&mut source).await;
    assert_eq!(declared(&read(&mut source).await), names(&["a"]));
    lab.git(["branch", "--quiet", "-D", "live"]);
    moved(&mut source).await;
    broken(source.read().await);
    lab.git(["branch", "live"]);
    moved(&mut source).await;
    read(&mut source).await;
    // Nothing was said: the repository's own.
    let mut own = lab.source(|git| git.branch = None);
    assert!(own.follows(&[lab.config().url], "anything"), "nobody knows yet");
    read(&mut own).await;
    assert!(own.origin().ends_with("/work, branch main, path lab"), "{}", own.origin());
    assert!(own.follows(&[lab.config().url], "main") && !own.follows(&[lab.config().url], "live"));
}

#[tokio::test]
async fn a_repository_that_goes_and_comes_back() {
    let Some(lab) = Lab::new() else { return };
    let mut source = lab.source(|_| {});
    read(&mut source).await;
    fs::rename(&lab.work, lab.work.with_extension("away")).expect("a rename");
    moved(&mut source).await;
    let told = broken(source.read().await);
    assert!(told.message.starts_with("git ls-remote failed: fatal: "), "{}", told.message);
    assert!(told.diagnostics.concat().contains("hint: "), "{told:?}");
    fs::rename(lab.work.with_extension("away"), &lab.work).expect("a rename");
    moved(&mut source).await;
    read(&mut source).await;
}

#[tokio::test]
async fn what_a_killed_git_leaves_behind_heals() {
    let Some(lab) = Lab::new() else { return };
    read(&mut lab.source(|_| {})).await;
    let kept = lab.state.join("git/lab");
    fs::write(kept.join("repository.git/shallow.lock"), "").expect("a file");
    fs::create_dir(kept.join("tree-half")).expect("a folder");
    fs::write(kept.join("tree-half.index"), "").expect("a file");
    lab.commit("lab/b.yaml", &pool("b", ""), "More");
    let mut source = lab.source(|_| {});
    let told = broken(source.read().await);
    assert!(told.message.contains("shallow.lock"), "{}", told.message);
    moved(&mut source).await;
    assert_eq!(declared(&read(&mut source).await), names(&["a", "b"]));
    assert_eq!(lab.trees().len(), 1, "{:?}", lab.trees());
    // Objects that a full disk cut short.
    fs::remove_dir_all(kept.join("repository.git/objects")).expect("they were there");
    fs::create_dir(kept.join("repository.git/objects")).expect("a folder");
    let mut source = lab.source(|_| {});
    broken(source.read().await);
    moved(&mut source).await;
    assert_eq!(declared(&read(&mut source).await), names(&["a", "b"]));
}

#[tokio::test]
async fn without_a_state_folder_nothing_stays() {
    let Some(lab) = Lab::new() else { return };
    let name = format!("nostate-{}", std::process::id());
    assert_eq!(kept_in_temporary(&name), 0);
    let config = SourceConfig { folder: None, git: Some(lab.config()), ..SourceConfig::of_folder(&name, "".into()) };
    let mut source = open(&config, None);
    assert_eq!(declared(&read(source.as_mut()).await), names(&["a"]));
    assert_eq!(kept_in_temporary(&name), 1);
    drop(source);
    assert_eq!(kept_in_temporary(&name), 0);
    let folder = open(&SourceConfig::of_folder("lab", lab.work.join("lab")), None);
    assert_eq!(folder.origin(), lab.work.join("lab").display().to_string());
}

fn kept_in_temporary(name: &str) -> usize {
    let entries = fs::read_dir(std::env::temp_dir()).expect("it is there").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("pvectl-{name}-"))).count()
}

#[tokio::test]
async fn a_password_is_seen_nowhere() {
    if !able("git", "--version") {
        return;
    }
    let state = tempfile::tempdir().expect("a folder");
    let config = GitConfig {
        // Nobody listens there.
        url: "http://me:s3cret@127.0.0.1:1/acme/lab.git".to_owned(),
        branch: None,
        path: "".into(),
        interval: Span(Duration::from_secs(60)),
        verify_signature: false,
    };
    let mut source = GitSource::new("lab", config, None, Some(state.path()));
    assert_eq!(source.origin(), "http://***@127.0.0.1:1/acme/lab.git");
    let told = broken(source.read().await);
    let text = format!("{told:?} {source:?}", source = source.origin());
    assert!(text.contains("git ls-remote failed") && text.contains("hint: "), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    let mut open = vec![state.path().to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).expect("ours").flatten().map(|entry| entry.path()));
        } else {
            let bytes = fs::read(&path).expect("ours");
            assert!(!bytes.windows(6).any(|w| w == b"s3cret"), "it is written to {}", path.display());
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_of_a_repository_is_run_and_its_links_lead_nowhere_else() {
    let Some(lab) = Lab::new() else { return };
    let proof = lab.state.with_extension("proof");
    let touch = format!("ext::sh -c touch% {}", proof.display());
    let told = broken(lab.source(|git| git.url = touch).read().await);
    assert!(told.message.contains("'ext' not allowed"), "{}", told.message);
    assert!(!proof.exists());
    let mut source = lab.source(|_| {});
    read(&mut source).await;
    // A hook in the daemon's own copy, however it came there.
    let hooks = lab.state.join("git/lab/repository.git/hooks");
    fs::create_dir_all(&hooks).expect("a folder");
    for hook in ["post-checkout", "reference-transaction"] {
        fs::write(hooks.join(hook), format!("#!/bin/sh\ntouch {}\n", proof.display())).expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(hooks.join(hook), mode).expect("ours");
    }
    lab.commit("lab/b.yaml", &pool("b", ""), "More");
    read(&mut source).await;
    assert!(!proof.exists());
    std::os::unix::fs::symlink("/etc/hostname", lab.work.join("lab/c.yaml")).expect("a link");
    lab.commit("x", "", "A link");
    let told = broken(source.read().await);
    assert_eq!(
        told.message,
        "the link `lab/c.yaml` leads to `/etc/hostname`, which is not in `path` of the repository"
    );
}

#[tokio::test]
async fn only_signed_commits_where_that_is_asked() {
    let Some(lab) = Lab::new() else { return };
    if !able("ssh-keygen", "-?") {
        return;
    }
    let key = lab.state.with_extension("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.expect("ssh-keygen").success());
    let mut source = lab.source(|git| git.verify_signature = true);
    let told = broken(source.read().await);
    assert!(told.message.ends_with("(First things) has no good signature"), "{}", told.message);
    assert!(told.revision.is_some() && told.diagnostics.concat().contains("hint: "));
    // The key is made known to the daemon's git.
    let signers = lab.state.join("signers");
    let public = fs::read_to_string(key.with_extension("key.pub")).expect("a public key");
    fs::write(&signers, format!("a@example.org {public}")).expect("a file");
    let config = lab.state.join("git/lab/repository.git/config");
    lab.git([
        OsStr::new("config"),
        "--file".as_ref(),
        config.as_ref(),
        "gpg.ssh.allowedSignersFile".as_ref(),
        signers.as_ref(),
    ]);
    assert!(broken(source.read().await).message.contains("no good signature"), "it has none at all");
    lab.git(["config", "gpg.format", "ssh"]);
    lab.git(["config".as_ref(), "user.signingKey".as_ref(), key.as_os_str()]);
    lab.git(["config", "commit.gpgSign", "true"]);
    let signed = lab.commit("lab/a.yaml", &pool("signed", ""), "Signed");
    moved(&mut source).await;
    let reading = read(&mut source).await;
    assert_eq!((reading.revision.id.as_str(), declared(&reading)), (&*signed, names(&["signed"])));
    // Somebody else's key.
    fs::write(&signers, "").expect("a file");
    assert!(broken(source.read().await).message.contains("(Signed) has no good signature"));
    // It is tried again, since a key may be added.
    moved(&mut source).await;
}
