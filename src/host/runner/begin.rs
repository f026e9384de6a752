//! The texts that begin a runner: a constant program, its words, and the secret beside them; and what such a text means.

use crate::host::job::System;
use crate::host::program::{base64, compact, of_base64};
use crate::host::runner::Start;

const LINUX: &str = include_str!("../program/runner.sh");
const WINDOWS: &str = include_str!("../program/runner.ps1");

/// Where a program comes to its secret.
const SECRET: &str = "@SECRET@";

/// How the shell program reads it from its standard input.
const LINUX_INPUT: &str = "IFS= read -r secret || :";

/// The same in PowerShell.
const WINDOWS_INPUT: &str =
    "(New-Object IO.StreamReader ([Console]::OpenStandardInput()), ([Text.Encoding]::UTF8)).ReadToEnd().Trim()";

/// What the guest agent's program is called in a list of processes.
const CALLED: &str = "pvectl-runner";

/// What runs a text in PowerShell.
const WINDOWS_START: [&str; 6] =
    ["powershell.exe", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-Command"];

impl Start {
    /// The program and its arguments as the guest agent's `exec` runs them. The secret goes by standard input, and nothing else.
    pub fn command(&self) -> Vec<String> {
        match self.system {
            System::Linux | System::Node => {
                let program = compact(LINUX).replace(SECRET, LINUX_INPUT);
                let start = ["/bin/sh".to_owned(), "-c".to_owned(), program, CALLED.to_owned()];
                start.into_iter().chain(self.words()).collect()
            }
            System::Windows => {
                let text = windows(&compact(WINDOWS).replace(SECRET, WINDOWS_INPUT), &self.words());
                WINDOWS_START.into_iter().map(str::to_owned).chain([text]).collect()
            }
        }
    }

    /// What [`Start::command`] says; `None` where it is none of ours.
    pub fn of_words(words: &[String]) -> Option<Start> {
        let linux = || match words {
            [shell, flag, _, called, args @ ..] if shell == "/bin/sh" && flag == "-c" && called == CALLED => {
                Start::of_args(System::Linux, args)
            }
            _ => None,
        };
        let windows = || Start::of_args(System::Windows, &of_windows(words.last()?)?.1);
        // Nothing is taken for ours that we would not have written so.
        linux().or_else(windows).filter(|start| start.command() == words)
    }

    /// What goes to a shell's standard input where a host link or SSH carries it (`/bin/sh -s`, and what
    /// [`crate::host::program::words`] starts on Windows): the same program, with its words and the secret inside, as texts that the
    /// shell takes literally. `None` where the secret is not plain.
    pub fn script(&self, secret: &str) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "+/=_.-".contains(c);
        if secret.is_empty() || !secret.chars().all(plain) {
            return None;
        }
        Some(match self.system {
            System::Linux | System::Node => {
                let words: String = self.words().iter().map(|word| quoted(word)).collect();
                format!("set --{words}\n{}", compact(LINUX).replace(SECRET, &format!("secret='{secret}'")))
            }
            System::Windows => {
                let text = windows(&compact(WINDOWS).replace(SECRET, &format!("'{secret}'")), &self.words());
                format!("{text}\n")
            }
        })
    }

    /// The start and the secret of a script; `None` where it is none of ours.
    pub fn of_script(text: &str) -> Option<(Start, String)> {
        let linux = || {
            let (words, rest) = unquoted(text.strip_prefix("set --")?)?;
            let secret = between(&compact(LINUX), rest.strip_prefix('\n')?)?;
            Some((Start::of_args(System::Linux, &words)?, secret.strip_prefix("secret=")?.to_owned()))
        };
        let windows = || {
            let (program, words) = of_windows(text.strip_suffix('\n')?)?;
            Some((Start::of_args(System::Windows, &words)?, between(&compact(WINDOWS), &program)?))
        };
        let (start, secret) = linux().or_else(windows)?;
        let secret = secret.strip_prefix('\'')?.strip_suffix('\'')?;
        (start.script(secret)? == text).then(|| (start, secret.to_owned()))
    }
}

/// What stands in a text where the program has its mark.
fn between(program: &str, text: &str) -> Option<String> {
    let (before, after) = program.split_once(SECRET)?;
    Some(text.strip_prefix(before)?.strip_suffix(after)?.to_owned())
}

/// A text for PowerShell that runs a program with words. No `"` is in it, which no two programs quote alike.
fn windows(program: &str, words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("'{}'", base64(word.as_bytes()))).collect();
    let [before, between, after] = frame();
    format!("{before}{}{between}{}{after}", base64(program.as_bytes()), words.join(","))
}

/// The program and the words of such a text.
fn of_windows(text: &str) -> Option<(String, Vec<String>)> {
    let [before, between, after] = frame();
    let (program, words) = text.strip_prefix(&before)?.strip_suffix(&after)?.split_once(&between)?;
    let text = |code: &str| String::from_utf8(of_base64(code)?).ok();
    let word = |code: &str| text(code.strip_prefix('\'')?.strip_suffix('\'')?);
    Some((text(program)?, words.split(',').map(word).collect::<Option<_>>()?))
}

/// What stands before the program, between it and its words, and after them.
fn frame() -> [String; 3] {
    let text = |code: &str| format!("[Text.Encoding]::UTF8.GetString([Convert]::FromBase64String({code}))");
    let program = text("'@'");
    let (before, after) = program.split_once('@').expect("it has its mark");
    [
        format!("& ([ScriptBlock]::Create({before}"),
        format!("{after})) @(@("),
        format!(") | ForEach-Object {{ {} }})", text("$_")),
    ]
}

/// As a shell takes it literally, with a space before it.
fn quoted(text: &str) -> String {
    format!(" '{}'", text.replace('\'', r"'\''"))
}

/// What [`quoted`] words say, and what stands after them.
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::host::runner::Registration;
    use proptest::prelude::*;

    pub(in crate::host) fn sample() -> Start {
        start(System::Linux)
    }

    pub(in crate::host) fn start(system: System) -> Start {
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
            let script = start.script(&secret).expect("the secret is plain");
            prop_assert_eq!(Start::of_script(&format!("{script}id\n")), None);
            prop_assert_eq!(Start::of_script(&script.replacen("umask 077", "umask 000", 1)).is_none(), start.system == System::Linux);
            prop_assert_eq!(Start::of_script(&script), Some((start, secret)));
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
}
