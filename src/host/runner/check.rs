//! What can be said to a runner and to what begins it, and what cannot.

use crate::host::job::System;
use crate::host::runner::{Registration, Start};
use crate::pve::request::segment;

/// As long as a hook may be, in bytes.
pub const HOOK_BYTES_MAX: usize = 8 << 10;

/// As much of a request as the command may be, in bytes as a form has them: pveproxy takes 64 KiB for all parameters, and a
/// just-in-time configuration needs some 8 of them.
const COMMAND_BYTES_MAX: usize = 48 << 10;

/// As long as a command line of Windows may be, less what the quotes need.
const WINDOWS_CHARACTERS_MAX: usize = 32_000;

/// What `cmd.exe` does not take as it is, even in quotes.
const WINDOWS_OPEN: [char; 4] = ['"', '%', '^', '!'];

impl Start {
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
            System::Linux => folder.starts_with('/') && !folder.trim_end_matches('/').is_empty(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::runner::begin::tests::start;

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
