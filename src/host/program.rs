//! The programs that go to guests and nodes by standard input. Their texts are constant; what differs goes as plain words, or
//! in a list that the shell takes literally. What was sent can be told from anything else ([`heard`]).

use crate::host::job::{Job, System};
use crate::host::token::Token;
use crate::pve::request::segment;

/// As much input as goes to a QEMU guest agent, in bytes as a form has them: pveproxy takes 64 KiB for all parameters of a
/// request (newer ones take more), and the words of the command need some of it.
pub const INPUT_BYTES_MAX: usize = 62 * 1024;

/// The line of a program at which the list of a job is put in.
const LIST: &str = "@LIST@";

/// The line before functions that only some verbs need, with these verbs; the others are not sent them.
const ONLY: &str = "# only: ";

/// The line before functions that each verb needs.
const ALL: &str = "# for all";

/// The line of a shell program at which its parts are put in.
const PROGRAM: &str = "@PROGRAM@";

/// Where PowerShell has the words that a shell has as its arguments.
const WORDS: &str = "@WORDS@";

const OUTER: &str = include_str!("program/outer.sh");
const LINUX: &[&str] = &[
    include_str!("program/job.sh"),
    include_str!("program/linux.sh"),
    include_str!("program/apt.sh"),
    include_str!("program/dnf.sh"),
    include_str!("program/zypper.sh"),
    include_str!("program/apk.sh"),
    include_str!("program/pacman.sh"),
    include_str!("program/last.sh"),
];
const NODE: &[&str] = &[
    include_str!("program/job.sh"),
    include_str!("program/linux.sh"),
    include_str!("program/apt.sh"),
    include_str!("program/node.sh"),
    include_str!("program/last.sh"),
];
const WINDOWS: &str = include_str!("program/windows.ps1");

/// What PowerShell runs: all of its standard input as one script. (With `-Command -` it would read line by line, as typed.)
const WINDOWS_START: &str = "$Text = (New-Object IO.StreamReader ([Console]::OpenStandardInput()), \
     ([Text.Encoding]::UTF8)).ReadToEnd(); & ([ScriptBlock]::Create($Text))";

/// What was sent to a guest or a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To read what stands there about a window.
    Look {
        /// The window's name.
        window: Token,
    },
    /// To begin a job.
    Begin(Job),
}

/// The program and its arguments as the QEMU guest agent's `exec`, `pct exec` or a node runs them. Windows has its arguments in
/// the text of [`begin`] and [`look`].
pub fn words(system: System, args: &[Token]) -> Vec<String> {
    match system {
        System::Linux | System::Node => {
            ["/bin/sh", "-s", "--"].into_iter().map(str::to_owned).chain(args.iter().map(Token::to_string)).collect()
        }
        System::Windows => {
            let bytes: Vec<u8> = WINDOWS_START.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let start = base64(&bytes);
            ["powershell.exe", "-NoProfile", "-NonInteractive", "-EncodedCommand", &start].map(str::to_owned).to_vec()
        }
    }
}

/// What goes to a guest agent to begin a job. `None` where its list cannot be written down, or would be more than goes there.
pub fn begin(system: System, job: &Job) -> Option<String> {
    whole(system, job).filter(|text| segment(text).len() <= INPUT_BYTES_MAX)
}

/// The same where it goes by a host link, which takes more.
pub fn whole(system: System, job: &Job) -> Option<String> {
    Some(fill(system, &job.args(), &job.list()?))
}

/// What goes by standard input to read a window's state.
pub fn look(system: System, window: &Token) -> String {
    fill(system, &look_args(window), &[])
}

/// The arguments with which a window's state is read.
pub fn look_args(window: &Token) -> Vec<Token> {
    vec![Token::own("read"), window.clone()]
}

/// What these words and this input mean, if they are exactly what [`words`], [`begin`] and [`look`] make.
pub fn heard(words: &[&str], input: &str) -> Option<(System, Request)> {
    let systems = [System::Linux, System::Node, System::Windows];
    systems.into_iter().find_map(|system| Some((system, heard_as(system, words, input)?)))
}

fn heard_as(system: System, given: &[&str], input: &str) -> Option<Request> {
    let start = words(system, &[]);
    let args = given.strip_prefix(start.iter().map(String::as_str).collect::<Vec<_>>().as_slice())?;
    let text = template(system, args.first().copied().unwrap_or_default());
    let (head, tail) = text.split_once(&format!("{LIST}\n"))?;
    let (said, list) = match head.split_once(WORDS) {
        None => (args.to_vec(), input.strip_prefix(head)?.strip_suffix(tail)?),
        Some((before, after)) => {
            let (said, rest) = input.strip_prefix(before)?.split_once(after)?;
            (said.split(' ').collect(), rest.strip_suffix(tail)?)
        }
    };
    let request = match said.as_slice() {
        ["read", window] => Request::Look { window: Token::argument(*window)? },
        said => Request::Begin(Job::read(said, list.lines())?),
    };
    // Nothing is taken for ours that we would not have written so.
    let again = match &request {
        Request::Look { window } => (words(system, &shell_args(system, look_args(window))), look(system, window)),
        Request::Begin(job) => (words(system, &shell_args(system, job.args())), whole(system, job)?),
    };
    (again.0 == given && again.1 == input).then_some(request)
}

/// The words that stand on the command line.
fn shell_args(system: System, args: Vec<Token>) -> Vec<Token> {
    match system {
        System::Linux | System::Node => args,
        System::Windows => Vec::new(),
    }
}

/// The constant text of a program for a verb, without what is only for its readers.
fn template(system: System, verb: &str) -> String {
    match system {
        System::Linux => shell(LINUX, verb),
        System::Node => shell(NODE, verb),
        System::Windows => compact(WINDOWS),
    }
}

fn fill(system: System, args: &[Token], list: &[String]) -> String {
    let args: Vec<&str> = args.iter().map(Token::as_str).collect();
    let list: String = list.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    let text = template(system, args.first().copied().unwrap_or_default());
    let Some((head, tail)) = text.split_once(&format!("{LIST}\n")) else { return text };
    format!("{}{list}{tail}", head.replace(WORDS, &args.join(" ")))
}

fn shell(parts: &[&str], verb: &str) -> String {
    let parts: String = parts.iter().map(|part| compact(&needed(part, verb))).collect();
    compact(OUTER).replace(&format!("{PROGRAM}\n"), &parts)
}

/// What a verb needs of a part.
fn needed(part: &str, verb: &str) -> String {
    let mut on = true;
    let mut out = String::new();
    for line in part.lines() {
        match line.strip_prefix(ONLY) {
            Some(verbs) => on = verbs.split(' ').any(|one| one == verb),
            None if line == ALL => on = true,
            None if on => out.extend([line, "\n"]),
            None => {}
        }
    }
    out
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64, as PowerShell takes a command that no quoting can change.
pub(in crate::host) fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let all = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = DIGITS[(all >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// What [`base64`] says; `None` where it is another text.
pub(in crate::host) fn of_base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        let plain: Vec<u8> = chunk.iter().copied().take_while(|c| *c != b'=').collect();
        let mut all = 0;
        for at in 0..4 {
            let digit = match plain.get(at) {
                Some(c) => u32::try_from(DIGITS.iter().position(|digit| digit == c)?).ok()?,
                None => 0,
            };
            all = all << 6 | digit;
        }
        let bytes = all.to_be_bytes();
        out.extend_from_slice(&bytes[1..plain.len().max(1)]);
    }
    (base64(&out) == text).then_some(out)
}

/// Without comments, indentation and empty lines: a guest agent takes little.
pub(in crate::host) fn compact(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::job::{ConfigFiles, Deed, Package};

    fn job(deed: Deed) -> Job {
        Job { window: Token::own("sunday"), slot: Token::own("20261122T010000Z"), deed }
    }

    fn patch(packages: usize) -> Job {
        let package = |n| Package {
            name: Token::new(format!("package-number-{n}")).expect("plain"),
            version: Token::own("1:2.36-9+deb12u14"),
        };
        job(Deed::Patch { attempt: 1, packages: (0..packages).map(package).collect(), config: ConfigFiles::Keep })
    }

    #[test]
    fn what_is_sent_is_heard_and_nothing_else() {
        let command = vec!["sh".to_owned(), "-c".to_owned(), "it's $(id) `id` \"@LIST@\" @WORDS@".to_owned()];
        let health = Deed::Health { attempt: 1, tcp: vec![22], units: true, command, timeout: 60 };
        let window = Token::own("sunday");
        for system in [System::Linux, System::Node, System::Windows] {
            for job in [job(Deed::Assess { attempt: 1, refresh: true }), patch(3), job(health.clone())] {
                let words = words(system, &shell_args(system, job.args()));
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let input = begin(system, &job).expect("it can be written down");
                assert_eq!(heard(&words, &input), Some((system, Request::Begin(job))));
                assert_eq!(heard(&words, &format!("id\n{input}")), None);
                assert_eq!(heard(&words, &format!("{input}id\n")), None);
                assert_eq!(heard(&words, &input.replacen("exit", "exec", 1)), None);
                assert_eq!(heard(&[&words[..], &["x"]].concat(), &input), None);
            }
            let words = words(system, &shell_args(system, look_args(&window)));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let request = Request::Look { window: window.clone() };
            assert_eq!(heard(&words, &look(system, &window)), Some((system, request)));
        }
        assert_eq!(heard(&["/bin/sh", "-s", "--", "read", "sunday"], "id\n"), None);
    }

    #[test]
    fn base64_is_that_of_everybody_else() {
        for (text, code) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob?~", "Zm9vYj9+")] {
            assert_eq!(base64(text.as_bytes()), code);
            assert_eq!(of_base64(code).as_deref(), Some(text.as_bytes()));
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for code in ["Z", "Zg", "Zg=", "Z===", "Zg==Zg==", "Zh==", "Zm9v\n", "Zm-v"] {
            assert_eq!(of_base64(code), None, "{code}");
        }
    }

    #[test]
    fn hundreds_of_packages_fit_and_too_many_are_refused() {
        for system in [System::Linux, System::Node, System::Windows] {
            assert!(begin(system, &patch(420)).is_some(), "{system:?}");
            assert_eq!(begin(system, &patch(2000)), None, "{system:?}");
            let all = patch(2000);
            let (words, input) = (words(system, &shell_args(system, all.args())), whole(system, &all).expect("plain"));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert_eq!(heard(&words, &input), Some((system, Request::Begin(all))), "by a link there is more room");
        }
    }

    /// The programs share 64 KiB with the lists, as a form writes them.
    #[test]
    fn programs_stay_small() {
        for (system, verb, bytes_max) in [
            (System::Linux, "assess", 35_000),
            (System::Linux, "patch", 39_000),
            (System::Linux, "health", 30_000),
            (System::Linux, "read", 26_000),
            (System::Node, "upgrade", 22_000),
            (System::Windows, "patch", 22_000),
        ] {
            let bytes = segment(&template(system, verb)).len();
            assert!(bytes <= bytes_max, "{system:?} {verb}: {bytes} bytes");
        }
    }

    #[test]
    fn a_verb_is_sent_what_it_needs() {
        let text = |verb| template(System::Linux, verb);
        assert!(text("patch").contains("apt_install() {") && !text("patch").contains("work_health() {"));
        assert!(text("health").contains("work_health() {") && !text("health").contains("apt_install() {"));
        assert!(text("assess").contains("work_assess() {") && text("revive").contains("remains() {"));
        assert!(!text("read").contains("work_assess"), "{}", text("read"));
    }

    #[test]
    fn a_program_has_its_marks_once_and_plain_characters() {
        for (system, verb) in [System::Linux, System::Node, System::Windows]
            .into_iter()
            .flat_map(|system| ["read", "assess", "patch", "upgrade", "health", "note"].map(|verb| (system, verb)))
        {
            let text = template(system, verb);
            assert_eq!(text.matches(&format!("{LIST}\n")).count(), 1, "{system:?} {verb}");
            assert_eq!(text.matches(PROGRAM).count(), 0, "{system:?} {verb}");
            assert_eq!(text.matches(WORDS).count(), usize::from(system == System::Windows));
            assert!(text.chars().all(|c| c == '\n' || c == '\t' || (' '..='~').contains(&c)), "{system:?} {verb}");
        }
    }
}
