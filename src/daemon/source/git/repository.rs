//! The bare repository of one source: which commit the branch is at, that commit fetched, its signature. It holds nothing
//! that cannot be fetched again, and after a failure it is: a git that was killed leaves locks and halves behind.

use crate::daemon::source::Broken;
use crate::daemon::source::git::address::shown;
use crate::daemon::source::git::program::{Call, REMOTE, Said};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a look at the branch may take; it is one answer of the server.
const LOOK_TIME_MAX: Duration = Duration::from_secs(60);
/// One commit of a large repository by a slow line.
const FETCH_TIME_MAX: Duration = Duration::from_secs(600);
/// What happens on this machine alone.
const LOCAL_TIME_MAX: Duration = Duration::from_secs(120);
/// The ref that the branch is fetched to: what no ref names, git throws away one day.
const REF: &str = "refs/pvectl/head";
/// Longer subjects are cut: they stand in every event.
const SUBJECT_CHARS_MAX: usize = 200;
/// Longer words of git's are cut in the sentence, and stand in the diagnostics.
const WORDS_CHARS_MAX: usize = 300;

/// Why there is no commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// A sentence.
    pub(super) message: String,
    /// Git's own words, and what helps.
    pub(super) words: Vec<String>,
    /// What may end it.
    pub(super) cure: Cure,
}

/// What may end a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cure {
    /// Another commit, and nothing else.
    Commit,
    /// Somebody else, elsewhere: a server comes back, a key is added. It is tried again.
    Time,
    /// The copy here may be spoilt: it is made anew when it is tried again.
    Copy,
}

impl Fault {
    /// A fault that git said nothing about.
    pub(super) fn new(message: impl Into<String>, cure: Cure) -> Fault {
        Fault { message: message.into(), words: Vec::new(), cure }
    }

    /// Git ended badly.
    pub(super) fn said(what: &str, said: &Said) -> Fault {
        let lines: Vec<&str> = said.err.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let all = lines.join("; ");
        let mut words: String = all.chars().take(WORDS_CHARS_MAX).collect();
        if words.is_empty() {
            words = said.code.map_or_else(|| "it was killed".to_owned(), |code| format!("it ended with {code}"));
        }
        let words = if words.len() < all.len() { words + "…" } else { words };
        Fault { message: format!("{what} failed: {words}"), words: vec![lines.join("\n")], cure: Cure::Copy }
    }

    /// The same with another cure.
    pub(super) fn cured_by(self, cure: Cure) -> Fault {
        Fault { cure, ..self }
    }

    /// The same with what helps.
    pub(super) fn hint(mut self, hint: impl std::fmt::Display) -> Fault {
        self.words.push(format!("hint: {hint}"));
        self
    }

    /// As the loop takes it.
    pub(super) fn broken(self, revision: Option<crate::daemon::source::Revision>) -> Broken {
        let Fault { message, words, cure: _ } = self;
        Broken { revision, message, diagnostics: words.into_iter().filter(|words| !words.is_empty()).collect() }
    }
}

/// Where a branch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The commit.
    pub(super) commit: String,
    /// The branch, where the repository tells its own default one.
    pub(super) branch: Option<String>,
}

/// A commit that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    /// All its digits.
    pub(super) id: String,
    /// The first line of its message.
    pub(super) subject: Option<String>,
}

impl Commit {
    /// As people name it.
    pub(super) fn short(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

/// The repository of one source.
#[derive(Clone, Debug)]
pub(super) struct Repository {
    url: String,
    branch: Option<String>,
    bare: PathBuf,
}

impl Repository {
    /// The branch of the repository at `url`, kept in `bare`.
    pub(super) fn new(url: String, branch: Option<String>, bare: PathBuf) -> Repository {
        Repository { url, branch, bare }
    }

    /// Runs git on it.
    pub(super) async fn git(
        &self,
        words: &[&str],
        work: Option<(&Path, &Path)>,
        time_max: Duration,
    ) -> Result<Said, Fault> {
        let call = Call { url: &self.url, repository: &self.bare, work, time_max };
        call.run(words).await.map_err(|why| Fault::new(why, Cure::Copy))
    }

    /// The same for what happens on this machine alone.
    pub(super) async fn local(&self, words: &[&str]) -> Result<Said, Fault> {
        self.git(words, None, LOCAL_TIME_MAX).await
    }

    /// What the branch is called there.
    fn name(&self) -> String {
        self.branch.as_ref().map_or_else(|| "HEAD".to_owned(), |branch| format!("refs/heads/{branch}"))
    }

    /// Begins an empty repository where there is none.
    async fn begin(&self) -> Result<(), Fault> {
        if self.bare.join("HEAD").is_file() {
            return Ok(());
        }
        let said = self.local(&["init", "--bare", "--quiet", "--template="]).await?;
        if said.well { Ok(()) } else { Err(Fault::said("git init", &said)) }
    }

    /// Asks where the branch is. Nothing is fetched.
    pub(super) async fn head(&self) -> Result<Head, Fault> {
        self.begin().await?;
        self.look().await.map_err(|fault| fault.cured_by(Cure::Time))
    }

    async fn look(&self) -> Result<Head, Fault> {
        let name = self.name();
        let words = ["ls-remote", "--exit-code", "--symref", "--", REMOTE, &name];
        let said = self.git(&words, None, LOOK_TIME_MAX).await?;
        // Its manual: 2 is for no such ref.
        let nothing = said.code == Some(2) && said.out.is_empty();
        if !said.well && !nothing {
            return Err(Fault::said("git ls-remote", &said).hint(self.access()));
        }
        let mut head = Head { commit: String::new(), branch: self.branch.clone() };
        for line in said.out.lines() {
            match line.split_once('\t') {
                Some((id, of)) if of == name => match id.strip_prefix("ref: refs/heads/") {
                    Some(branch) => head.branch = Some(branch.to_owned()),
                    None if is_id(id) => id.clone_into(&mut head.commit),
                    None => {}
                },
                Some(_) | None => {}
            }
        }
        match (&self.branch, head.commit.is_empty()) {
            (_, false) => Ok(head),
            (Some(branch), true) => {
                Err(Fault::new(format!("there is no branch `{branch}` in {}", shown(&self.url)), Cure::Time))
            }
            (None, true) => Err(Fault::new(format!("there is no commit in {}", shown(&self.url)), Cure::Time)
                .hint("the repository is empty, or its default branch is not there: set `branch`")),
        }
    }

    /// What to look at when a repository does not answer.
    fn access(&self) -> String {
        let url = shown(&self.url);
        if url.starts_with("http:") || url.starts_with("https:") {
            format!(
                "nobody is asked for a password: as the user of the daemon, `GIT_TERMINAL_PROMPT=0 git ls-remote {url}` must work; give it a credential helper or a token"
            )
        } else if url.contains("://") || url.contains(':') {
            format!(
                "nobody is asked for a passphrase or a host's key: as the user of the daemon, `git ls-remote {url}` must work without asking"
            )
        } else {
            format!("as the user of the daemon, `git ls-remote {url}` must work")
        }
    }

    /// Fetches the branch, unless it is here already.
    pub(super) async fn fetch(&self, head: &Head) -> Result<Commit, Fault> {
        if let Some(commit) = self.fetched().await?
            && commit.id == head.commit
        {
            return Ok(commit);
        }
        let refspec = format!("+{}:{REF}", self.name());
        let words = [
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--",
            REMOTE,
            &refspec,
        ];
        let said = self.git(&words, None, FETCH_TIME_MAX).await?;
        if !said.well {
            return Err(Fault::said("git fetch", &said).hint(self.access()));
        }
        self.fetched().await?.ok_or_else(|| Fault::new("git fetch brought no commit", Cure::Copy))
    }

    /// What was fetched last.
    async fn fetched(&self) -> Result<Option<Commit>, Fault> {
        let said = self.local(&["for-each-ref", "--format=%(objectname)%00%(subject)", REF]).await?;
        if !said.well {
            return Err(Fault::said("git for-each-ref", &said));
        }
        let line = said.out.lines().next().unwrap_or_default();
        Ok(line.split_once('\0').filter(|(id, _)| is_id(id)).map(|(id, subject)| {
            let subject: String = subject.chars().filter(|c| !c.is_control()).take(SUBJECT_CHARS_MAX).collect();
            Commit { id: id.to_owned(), subject: Some(subject).filter(|subject| !subject.is_empty()) }
        }))
    }

    /// Whether git accepts the commit's signature.
    pub(super) async fn verify(&self, commit: &Commit) -> Result<(), Fault> {
        let said = self.local(&["verify-commit", "--raw", &commit.id]).await?;
        if said.well {
            return Ok(());
        }
        let subject = commit.subject.as_ref().map(|subject| format!(" ({subject})")).unwrap_or_default();
        let mut fault = Fault::new(format!("the commit {}{subject} has no good signature", commit.short()), Cure::Time);
        fault.words.push(said.err.trim().to_owned());
        Err(fault.hint(
            "git verify-commit decides: the signer's key must be in the keyring of the daemon's user, or in git's gpg.ssh.allowedSignersFile",
        ))
    }

    /// Throws away what was fetched. It blocks.
    pub(super) fn forget(&self) {
        // Where it cannot be removed, the next git says what is wrong with it.
        let _ = std::fs::remove_dir_all(&self.bare);
    }
}

/// Whether a text is all digits of a commit: SHA-1's or SHA-256's.
fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}
