//! Programs that a shell reads from its standard input. Their texts are constant; what differs goes as plain words after
//! `sh -s --`, or in a list that the shell takes literally.

use crate::host::operation::Command;
use crate::host::token::Token;
use std::time::Duration;

/// The line of a program at which its list is put in.
const LIST: &str = "@LIST@";

/// The shell of every node, and what makes it read the program.
pub const SHELL: [&str; 3] = ["/bin/sh", "-s", "--"];

/// The text of a program with a list at its place. No line of it may hold a line break.
pub fn fill(text: &str, list: &[String]) -> String {
    let mut out = String::with_capacity(text.len() + list.iter().map(String::len).sum::<usize>());
    for line in text.lines() {
        match line {
            LIST => list.iter().for_each(|line| {
                out.push_str(line);
                out.push('\n');
            }),
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

/// The list that the text of a program was filled with; `None` where it is another text.
pub fn list<'a>(text: &str, input: &'a str) -> Option<Vec<&'a str>> {
    let (head, tail) = text.split_once(&format!("{LIST}\n"))?;
    let lines = input.strip_prefix(head)?.strip_suffix(tail)?;
    (lines.is_empty() || lines.ends_with('\n')).then(|| lines.lines().collect())
}

/// The command that runs a program on a node.
pub fn program(text: &str, words: &[Token], list: &[String], timeout: Duration, output_bytes_max: usize) -> Command {
    let shell = SHELL.iter().map(|word| Token::own(word));
    Command { words: shell.chain(words.iter().cloned()).collect(), input: fill(text, list), timeout, output_bytes_max }
}
