//! A GitHub runner inside of a guest: how it is begun, and what its state file says. It is begun by a program whose text is ours and
//! constant; what it needs to know comes as arguments, and the one secret (a just-in-time configuration, or a registration token) by
//! standard input, so that it stands in no argument, no log and no configuration of PVE's. The program begins the runner once:
//! its folder is made once, and where there is one already it begins nothing.

use crate::host::job::System;
use crate::host::program::{base64, compact, of_base64};
use crate::pve::request::segment;

const LINUX: &str = include_str!("program/runner.sh");
const WINDOWS: &str = include_str!("program/runner.ps1");

/// The line of the shell program at which it comes to its secret.
const SECRET: &str = "@SECRET@";

/// What the guest agent's program is called in a list of processes.
const CALLED: &str = "pvectl-runner";

/// As long as a hook may be, in bytes.
pub const HOOK_BYTES_MAX: usize = 8 << 10;

/// As much of a request as the command may be, in bytes as a form has them: pveproxy takes 64 KiB for all parameters, and a
/// just-in-time configuration needs some 8 of them.
const COMMAND_BYTES_MAX: usize = 48 << 10;

/// As long as a command line of Windows may be, less what the quotes need.
const WINDOWS_CHARACTERS_MAX: usize = 32_000;

/// How a runner is registered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Registration {
    /// The secret is a just-in-time configuration: it is registered already, and takes one job.
    JustInTime,
    /// The secret is a registration token: `config --ephemeral --unattended`, then it takes one job.
    Token {
        /// Whose runner: `https://github.com/acme`.
        url: String,
        /// Its labels.
        labels: Vec<String>,
        /// Its group; empty: the default one.
        group: String,
        /// The folder in which it works: `_work`.
        folder: String,
    },
}

/// What begins a runner in a guest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Start {
    /// Linux or Windows.
    pub system: System,
    /// The runner's name, and the guest's host name where that is set.
    pub name: String,
    /// Where the runner's program is in the guest: `/opt/actions-runner`, `C:\actions-runner`.
    pub directory: String,
    /// As whom it runs (Linux); the owner of the folder when `None`.
    pub user: Option<String>,
    /// The guest gets the runner's name as its host name; on Windows by the registry, without a reboot.
    pub host_name: bool,
    /// The version that the runner must have; another one is a failure before anything is begun.
    pub version: Option<String>,
    /// Run before the runner, as root or the system: a line for the guest's shell. Its failure is the runner's.
    pub before: Option<String>,
    /// Run after the runner, however it ended.
    pub after: Option<String>,
    /// How it is registered.
    pub registration: Registration,
}

impl Start {
    /// The program and its arguments as the guest agent's `exec` runs them. The secret goes by standard input, and nothing else.
    pub fn command(&self) -> Vec<String> {
        match self.system {
            System::Linux | System::Node => {
                let start = ["/bin/sh".to_owned(), "-c".to_owned(), from_input(), CALLED.to_owned()];
                start.into_iter().chain(self.words()).collect()
            }
            System::Windows => {
                // No `\"` in it, which no two programs quote alike; the words are literal in any text of base64.
                let words: Vec<String> =
                    self.words().iter().map(|word| format!("'{}'", base64(word.as_bytes()))).collect();
                let [before, between, after] = windows_text();
                let text =
                    format!("{before}{}{between}{}{after}", base64(compact(WINDOWS).as_bytes()), words.join(","));
                WINDOWS_START.into_iter().map(str::to_owned).chain([text]).collect()
            }
        }
    }

    /// What [`Start::command`] says; `None` where it is none of ours.
    pub fn of_words(words: &[String]) -> Option<Start> {
        let linux = || {
            let args = match words {
                [shell, flag, _, called, args @ ..] if shell == "/bin/sh" && flag == "-c" && called == CALLED => args,
                _ => return None,
            };
            Start::of_args(System::Linux, args)
        };
        let windows = || {
            let [_, between, after] = windows_text();
            let text = words.last()?.split_once(&between)?.1.strip_suffix(&after)?;
            let word = |code: &str| String::from_utf8(of_base64(code.strip_prefix('\'')?.strip_suffix('\'')?)?).ok();
            Start::of_args(System::Windows, &text.split(',').map(word).collect::<Option<Vec<String>>>()?)
        };
        // Nothing is taken for ours that we would not have written so.
        linux().or_else(windows).filter(|start| start.command() == words)
    }

    /// What goes to `/bin/sh -s` where a host link or SSH carries it: the same program, with its words and the secret inside, as
    /// texts that the shell takes literally. `None` where the secret is not plain.
    pub fn script(&self, secret: &str) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "+/=_.-".contains(c);
        if secret.is_empty() || !secret.chars().all(plain) {
            return None;
        }
        let words: Vec<String> = self.words().iter().map(|word| quoted(word)).collect();
        let program = compact(LINUX).replace(SECRET, &format!("secret='{secret}'"));
        Some(format!("set -- {}\n{program}", words.join(" ")))
    }

    /// The start and the secret of a script; `None` where it is none of ours.
    pub fn of_script(text: &str) -> Option<(Start, String)> {
        let (words, rest) = unquoted(text.strip_prefix("set --")?)?;
        let program = compact(LINUX);
        let (before, after) = program.split_once(SECRET)?;
        let rest = rest.strip_prefix('\n')?.strip_prefix(before)?.strip_suffix(after)?;
        let secret = rest.strip_prefix("secret='")?.strip_suffix('\'')?;
        let start = Start::of_args(System::Linux, &words)?;
        (start.script(secret)? == text).then(|| (start, secret.to_owned()))
    }

    /// Why it cannot be begun so: what no command line or no runner takes.
    pub fn check(&self) -> Result<(), String> {
        let name = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        if !name(&self.name) || self.name.len() > 63 {
            return Err(format!(
                "`{}` cannot be a runner's name: letters, digits, `.`, `_` and `-`, 63 at most",
                self.name
            ));
        }
        let folder = self.directory.as_str();
        let absolute = match self.system {
            System::Linux => folder.starts_with('/') && folder.trim_end_matches('/') != "",
            System::Windows => {
                let rest =
                    folder.strip_prefix(|c: char| c.is_ascii_alphabetic()).and_then(|rest| rest.strip_prefix(r":\"));
                rest.is_some_and(|rest| {
                    !rest.is_empty() && !rest.contains(WINDOWS_OPEN) && !rest.contains(['<', '>', '|', '?', '*'])
                })
            }
            System::Node => return Err("no runner is begun on a node".to_owned()),
        };
        if !absolute || folder.contains(char::is_control) {
            let example = if self.system == System::Linux { "/opt/actions-runner" } else { r"C:\actions-runner" };
            return Err(format!("the runner's folder must be an absolute path such as {example}, and is `{folder}`"));
        }
        match &self.user {
            Some(_) if self.system == System::Windows => {
                return Err("on Windows the runner is the system's: no user can be named".to_owned());
            }
            Some(user) if !name(user) => return Err(format!("`{user}` cannot be a user's name")),
            Some(_) | None => {}
        }
        let version =
            |text: &str| text.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()));
        if let Some(text) = self.version.as_deref().filter(|text| !version(text)) {
            return Err(format!("a runner's version is numbers with dots, such as 2.330.0, and not `{text}`"));
        }
        for (when, hook) in [("before", &self.before), ("after", &self.after)] {
            let Some(hook) = hook else { continue };
            if hook.trim().is_empty() || hook.ends_with('\n') || hook.contains('\0') || hook.len() > HOOK_BYTES_MAX {
                return Err(format!(
                    "the hook {when} the runner must be a text of {HOOK_BYTES_MAX} bytes at most, without a line break at its end"
                ));
            }
        }
        self.registration.check(self.system)?;
        let command = self.command();
        let bytes: usize = command.iter().map(|word| segment(word).len() + "&command=".len()).sum();
        let characters: usize = command.iter().map(|word| word.len() + 3).sum();
        if bytes > COMMAND_BYTES_MAX || self.system == System::Windows && characters > WINDOWS_CHARACTERS_MAX {
            return Err("what begins the runner is too long for a guest agent: the hooks must be shorter".to_owned());
        }
        Ok(())
    }

    /// The program's arguments. What is not asked for is empty.
    fn words(&self) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let host_name = if self.host_name { "1" } else { "0" }.to_owned();
        let mut out = vec![self.name.clone(), self.directory.clone()];
        if self.system != System::Windows {
            out.push(text(&self.user));
        }
        out.extend([host_name, text(&self.version), text(&self.before), text(&self.after)]);
        match &self.registration {
            Registration::JustInTime => out.extend(["jit", "", "", "", ""].map(str::to_owned)),
            Registration::Token { url, labels, group, folder } => {
                out.extend(["token".to_owned(), url.clone(), labels.join(","), group.clone(), folder.clone()]);
            }
        }
        out
    }

    fn of_args(system: System, args: &[String]) -> Option<Start> {
        let (name, directory, user, rest) = match (system, args) {
            (System::Windows, [name, directory, rest @ ..]) => (name, directory, "", rest),
            (System::Linux, [name, directory, user, rest @ ..]) => (name, directory, user.as_str(), rest),
            (System::Linux | System::Windows | System::Node, _) => return None,
        };
        let [host_name, version, before, after, way, url, labels, group, folder] = rest else { return None };
        let asked = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let registration = match way.as_str() {
            "jit" => Registration::JustInTime,
            "token" => Registration::Token {
                url: url.clone(),
                labels: labels.split(',').map(str::to_owned).collect(),
                group: group.clone(),
                folder: folder.clone(),
            },
            _ => return None,
        };
        Some(Start {
            system,
            name: name.clone(),
            directory: directory.clone(),
            user: asked(user),
            host_name: host_name == "1",
            version: asked(version),
            before: asked(before),
            after: asked(after),
            registration,
        })
    }
}

impl Registration {
    fn check(&self, system: System) -> Result<(), String> {
        let Registration::Token { url, labels, group, folder } = self else { return Ok(()) };
        // `cmd.exe` reads more into these, whatever quotes are around them.
        let open = |text: &str| system == System::Windows && text.contains(WINDOWS_OPEN);
        let plain = |text: &str| !text.starts_with('-') && !text.contains(char::is_control) && !open(text);
        let web = url.starts_with("https://") || url.starts_with("http://");
        if !web || url.contains(char::is_whitespace) || !plain(url) {
            return Err(format!("`{url}` is no address of a repository, an organisation or an enterprise"));
        }
        let label = |label: &String| !label.trim().is_empty() && !label.contains(',') && plain(label);
        if labels.is_empty() || !labels.iter().all(label) {
            return Err("a runner needs labels, none of them empty or with a comma in it".to_owned());
        }
        if !plain(group) || !plain(folder) || folder.is_empty() {
            return Err(format!("the runner group `{group}` or the folder `{folder}` cannot be said to a runner"));
        }
        Ok(())
    }
}

/// What `cmd.exe` does not take as it is, even in quotes.
const WINDOWS_OPEN: [char; 4] = ['"', '%', '^', '!'];

/// What runs a text in PowerShell.
const WINDOWS_START: [&str; 6] =
    ["powershell.exe", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-Command"];

/// What stands before the program, between it and its words, and after them.
fn windows_text() -> [String; 3] {
    let text = |code: &str| format!("[Text.Encoding]::UTF8.GetString([Convert]::FromBase64String({code}))");
    let program = text("'@'");
    let (before, after) = program.split_once('@').expect("it has its mark");
    [
        format!("& ([ScriptBlock]::Create({before}"),
        format!("{after})) @(@("),
        format!(") | ForEach-Object {{ {} }})", text("$_")),
    ]
}

/// The shell program that reads its secret from its standard input.
fn from_input() -> String {
    compact(LINUX).replace(SECRET, "IFS= read -r secret || :")
}

/// As a shell takes it literally.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What [`quoted`] words say, each with a space before it, and what stands after them.
fn unquoted(mut text: &str) -> Option<(Vec<String>, &str)> {
    let mut words = Vec::new();
    while let Some(rest) = text.strip_prefix(" '") {
        let (word, mut after) = rest.split_once('\'')?;
        let mut word = word.to_owned();
        while let Some(rest) = after.strip_prefix(r"\''") {
            let (more, next) = rest.split_once('\'')?;
            word.push('\'');
            word.push_str(more);
            after = next;
        }
        words.push(word);
        text = after;
    }
    Some((words, text))
}

/// Where a runner's state stands on a Linux guest's disk.
pub const STATE: &str = "/var/lib/pvectl/runner/state";

/// The same on Windows.
pub const WINDOWS_STATE: &str = r"C:\ProgramData\pvectl\runner\state";

/// Where what the runner prints stands on a Linux guest's disk.
pub const LOG: &str = "/var/lib/pvectl/runner/log";

/// The same on Windows.
pub const WINDOWS_LOG: &str = r"C:\ProgramData\pvectl\runner\log";

/// How far a runner is, as its guest's disk says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Nothing was begun.
    #[default]
    None,
    /// It is being prepared: host name, hook, configuration.
    Preparing,
    /// It runs.
    Running,
    /// It has ended.
    Ended,
}

/// What the state file says: a line each, `key=value`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunnerState {
    /// `phase=preparing|running|ended`.
    pub phase: Phase,
    /// `name=…`: the runner that was begun.
    pub name: String,
    /// `started=…`: when, in seconds since 1970 by the guest's clock.
    pub started: Option<i64>,
    /// `ended=…`.
    pub ended: Option<i64>,
    /// `exit=…`: the runner's exit code. 0: it took its job, or was told to go; 7: its version is too old for GitHub.
    pub exit: Option<i32>,
    /// `why=…`: what failed before the runner began.
    pub why: Option<String>,
    /// `version=…`: the runner's.
    pub version: Option<String>,
}

impl RunnerState {
    /// Reads a state file; lines that it does not know are passed over.
    pub fn read(text: &str) -> RunnerState {
        let mut state = RunnerState::default();
        for (key, value) in text.lines().filter_map(|line| line.trim().split_once('=')) {
            match key {
                "phase" => {
                    state.phase = match value {
                        "preparing" => Phase::Preparing,
                        "running" => Phase::Running,
                        "ended" => Phase::Ended,
                        _ => state.phase,
                    };
                }
                "name" => value.clone_into(&mut state.name),
                "started" => state.started = value.parse().ok(),
                "ended" => state.ended = value.parse().ok(),
                "exit" => state.exit = value.parse().ok(),
                "why" => state.why = Some(value.to_owned()),
                "version" => state.version = Some(value.to_owned()),
                _ => {}
            }
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_state_file_is_read() {
        let text = "name=ci-50000-abc\nphase=running\nstarted=1790000000\nversion=2.330.0\r\nphase=ended\nexit=7\nended=1790000100\n?\n";
        let state = RunnerState::read(text);
        assert_eq!((state.phase, state.exit, state.name.as_str()), (Phase::Ended, Some(7), "ci-50000-abc"));
        assert_eq!(state.version.as_deref(), Some("2.330.0"));
        assert_eq!(RunnerState::read("garbage"), RunnerState::default());
    }

    fn start(system: System) -> Start {
        Start {
            system,
            name: "ci-50000-ab12t3w0q1".into(),
            directory: if system == System::Windows { r"C:\actions-runner" } else { "/opt/actions-runner" }.into(),
            user: None,
            host_name: true,
            version: Some("2.330.0".into()),
            before: Some("mount /cache || echo \"it's $HOSTNAME\"\ntrue".into()),
            after: None,
            registration: Registration::JustInTime,
        }
    }

    fn any_start() -> impl Strategy<Value = Start> {
        let hook = || proptest::option::of("[ -~äß\n'\"$`]{0,60}[a-z'\\\\]");
        let token = ("[a-z]{1,8}", proptest::collection::vec("[a-z][a-z0-9 ']{0,8}", 1..4), "[A-Za-z ']{0,10}")
            .prop_map(|(owner, labels, group)| Registration::Token {
                url: format!("https://github.com/{owner}"),
                labels,
                group,
                folder: "_work".into(),
            });
        let registration = prop_oneof![Just(Registration::JustInTime), token];
        (
            any::<bool>(),
            "[a-z][a-z0-9-]{0,40}",
            "[A-Za-z0-9 ']{1,20}",
            proptest::option::of("[a-z]{1,8}"),
            any::<bool>(),
            proptest::option::of("[0-9]{1,2}\\.[0-9]{1,3}"),
            hook(),
            hook(),
            registration,
        )
            .prop_map(|(windows, name, directory, user, host_name, version, before, after, registration)| {
                Start {
                    system: if windows { System::Windows } else { System::Linux },
                    name,
                    directory: if windows { format!(r"C:\{directory}") } else { format!("/{directory}") },
                    user: user.filter(|_| !windows),
                    host_name,
                    version,
                    before,
                    after,
                    registration,
                }
            })
    }

    proptest! {
        #[test]
        fn what_begins_a_runner_can_be_read(start in any_start(), secret in "[A-Za-z0-9+/]{1,80}={0,2}") {
            let sayable = start.check().is_ok();
            let words = start.command();
            prop_assert_eq!(Start::of_words(&words).as_ref() == Some(&start), true, "{:?}: {}", start, sayable);
            for at in 0..words.len() {
                let mut other = words.clone();
                other[at].push('x');
                prop_assert!(Start::of_words(&other).as_ref() != Some(&start));
            }
            if start.system == System::Linux {
                let script = start.script(&secret).expect("the secret is plain");
                prop_assert_eq!(Start::of_script(&script), Some((start, secret)));
                prop_assert_eq!(Start::of_script(&format!("{script}id\n")), None);
                prop_assert_eq!(Start::of_script(&script.replacen("umask 077", "umask 000", 1)), None);
            }
        }
    }

    #[test]
    fn no_program_but_ours_is_heard() {
        let words = start(System::Linux).command();
        let mut other = words.clone();
        other[2] = "id".into();
        assert_eq!(Start::of_words(&other), None);
        let mut other = start(System::Windows).command();
        other[6] = other[6].replacen("FromBase64String('", "FromBase64String('AAAA", 1);
        assert_eq!(Start::of_words(&other), None);
        assert_eq!(Start::of_words(&[]), None);
    }

    #[test]
    fn the_secret_is_in_no_word() {
        for system in [System::Linux, System::Windows] {
            let words = start(system).command();
            assert!(!words.iter().any(|word| word.contains(SECRET)), "the mark is filled in");
            assert!(words.iter().all(|word| word.chars().all(|c| c == '\n' || c == '\t' || (' '..='~').contains(&c))));
        }
        for bad in ["", "a'b", "a b", "a\nb", "$(id)"] {
            assert_eq!(start(System::Linux).script(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let linux = start(System::Linux);
        let windows = start(System::Windows);
        assert_eq!((linux.check(), windows.check()), (Ok(()), Ok(())));
        let token = |url: &str, labels: &[&str], group: &str| Registration::Token {
            url: url.into(),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            group: group.into(),
            folder: "_work".into(),
        };
        let with = |registration: Registration| Start { registration, ..windows.clone() };
        assert_eq!(with(token("https://github.com/acme", &["a b"], "my group")).check(), Ok(()));
        for bad in [
            Start { name: "-x".into(), ..linux.clone() },
            Start { name: "a b".into(), ..linux.clone() },
            Start { name: "a".repeat(64), ..linux.clone() },
            Start { directory: "opt".into(), ..linux.clone() },
            Start { directory: "/".into(), ..linux.clone() },
            Start { directory: "/a\nb".into(), ..linux.clone() },
            Start { directory: "/opt".into(), ..windows.clone() },
            Start { directory: r"C:\a%b".into(), ..windows.clone() },
            Start { user: Some("ci".into()), ..windows.clone() },
            Start { user: Some(String::new()), ..linux.clone() },
            Start { user: Some("-x".into()), ..linux.clone() },
            Start { version: Some("latest".into()), ..linux.clone() },
            Start { before: Some(" ".into()), ..linux.clone() },
            Start { after: Some("x".repeat(HOOK_BYTES_MAX + 1)), ..linux.clone() },
            Start { after: Some("a\0b".into()), ..linux.clone() },
            Start { before: Some("\u{1f600}".repeat(2000)), after: Some("\u{1f600}".repeat(2000)), ..linux.clone() },
            Start { system: System::Node, ..linux.clone() },
            with(token("acme", &["a"], "")),
            with(token("https://github.com/acme", &[], "")),
            with(token("https://github.com/acme", &["a,b"], "")),
            with(token("https://github.com/acme", &["-a"], "")),
            with(token("https://github.com/acme", &["a\"b"], "")),
            with(token("https://github.com/acme", &["a"], "%PATH%")),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    /// The program shares what a request and a command line of Windows may have with the secret and the hooks.
    #[test]
    fn programs_stay_small() {
        let hooks = Some("x".repeat(2048));
        for system in [System::Linux, System::Windows] {
            let start = Start { before: hooks.clone(), after: hooks.clone(), ..start(system) };
            let bytes: usize = start.command().iter().map(|word| segment(word).len()).sum();
            assert_eq!(start.check(), Ok(()), "{system:?}: {bytes} bytes");
        }
    }
}
