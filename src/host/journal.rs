//! The journal of a guest: the program that reads it inside, and what it says, as lines with the place after each. Where systemd
//! keeps a journal it is asked, else the files of syslog.

use crate::host::fed::{SHELL, fill};
use crate::host::token::Token;
use serde_json::Value;

const PROGRAM: &str = include_str!("program/journal.sh");

/// As many lines come at once. The rest is asked for with the place of the last.
pub const LINES_AT_ONCE_MAX: u32 = 1000;

/// Which lines.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ask {
    /// The newest so many; of them the oldest [`LINES_AT_ONCE_MAX`] come.
    pub lines: u32,
    /// Not older than this, in seconds since 1970. Files of syslog are not asked so: their lines carry no year.
    pub since: Option<i64>,
    /// Those after this place, whatever else is asked.
    pub after: Option<String>,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, in seconds since 1970, where it is told.
    pub at: Option<i64>,
    /// Who says it: `sshd[12]`; empty in a file of syslog, whose lines are whole.
    pub who: String,
    /// What it says.
    pub text: String,
    /// The place after it, from which reading goes on.
    pub place: String,
}

/// The words that run the program in a guest.
pub fn words(ask: &Ask) -> Vec<Token> {
    let number = |n: i64| Token::new(n.to_string()).expect("digits are plain");
    let since = ask.since.filter(|since| *since >= 0);
    let since = since.map_or_else(|| Token::own("-"), number);
    SHELL.iter().map(|word| Token::own(word)).chain([Token::own("journal"), number(ask.lines.into()), since]).collect()
}

/// The program as it goes by standard input. `None` where the place is no line.
pub fn input(ask: &Ask) -> Option<String> {
    let place: Vec<String> = ask.after.iter().cloned().collect();
    let plain = |line: &String| !line.contains(['\n', '\r', '\0']) && line != "PVECTL_END";
    place.iter().all(plain).then(|| fill(PROGRAM, &place))
}

/// What was asked, by the words and the standard input; for a simulator.
pub fn heard(words: &[&str], input: &str) -> Option<Ask> {
    let [verb, lines, since] = words.strip_prefix(SHELL.as_slice())? else { return None };
    let whole = fill(PROGRAM, &[]);
    let (before, after) = whole.split_at(whole.find("PVECTL_END\n}")?);
    let list = input.strip_prefix(before)?.strip_suffix(after)?;
    (*verb == "journal").then_some(())?;
    Some(Ask { lines: lines.parse().ok()?, since: since.parse().ok(), after: list.lines().next().map(str::to_owned) })
}

/// A text of journald: it writes what is not UTF-8 as a list of bytes.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(bytes) => {
            let bytes: Vec<u8> = bytes.iter().filter_map(|b| b.as_u64().and_then(|b| u8::try_from(b).ok())).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

fn of_journald(line: &str) -> Option<Line> {
    let entry: Value = serde_json::from_str(line).ok()?;
    let place = entry["__CURSOR"].as_str()?.to_owned();
    let at = entry["__REALTIME_TIMESTAMP"].as_str().and_then(|t| t.parse::<i64>().ok()).map(|micro| micro / 1_000_000);
    let name = [&entry["SYSLOG_IDENTIFIER"], &entry["_COMM"]].into_iter().map(text).find(|name| !name.is_empty());
    let pid = text(&entry["_PID"]);
    let who = name.map_or_else(String::new, |n| if pid.is_empty() { n } else { format!("{n}[{pid}]") });
    Some(Line { at, who, text: text(&entry["MESSAGE"]), place })
}

/// What the program says: how it read, and the lines. A line that was cut off at the end is left out: it comes again. With a
/// place to begin at and nothing new, the place stays what it was.
pub fn read(out: &str) -> Result<Vec<Line>, String> {
    let Some((head, rest)) = out.split_once('\n') else {
        return Err("the guest's journal has no beginning".to_owned());
    };
    let whole = rest.rfind('\n').map_or("", |end| &rest[..=end]);
    match head.split_once(' ').unwrap_or((head, "")) {
        ("journald", _) => Ok(whole.lines().filter_map(of_journald).collect()),
        // A file goes on at the byte after the last line.
        ("file", told) => {
            let mut words = told.split(' ');
            let (Some(file), Some(start)) = (words.next(), words.next().and_then(|n| n.parse::<usize>().ok())) else {
                return Err(format!("`{head}` says no place in a file"));
            };
            let mut at = start;
            let line = |text: &str| {
                at += text.len();
                let plain = text.trim_end_matches(['\n', '\r']).to_owned();
                Line { at: None, who: String::new(), text: plain, place: format!("{file} {at}") }
            };
            Ok(whole.split_inclusive('\n').map(line).collect())
        }
        ("none", _) => Err("there is no journal in it, and no file of syslog".to_owned()),
        (_, _) => Err(format!("`{head}` is no beginning of a journal")),
    }
}
