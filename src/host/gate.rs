//! The gate in front of a node's root shell: `command="pvectl host gate"` before a key in `authorized_keys`. What somebody with
//! that key asks for is run only if it is, word by word and byte by byte, the command of an operation of the closed list; and what
//! is run is made anew from that operation.

use crate::host::operation::{Command, Operation};
use crate::host::token::Token;

/// What is read of the standard input at most, in bytes: a program and the longest list that a window makes.
pub const INPUT_BYTES_MAX: u64 = 4 << 20;

/// The exit code of whoever is refused, as a shell's for what it may not run.
pub const REFUSED: u8 = 126;

/// The command to run for what was asked on this node; else why not. `asked` is `SSH_ORIGINAL_COMMAND`.
pub fn decide(asked: Option<&str>, input: &str, node: &Token) -> Result<Command, String> {
    let asked =
        asked.ok_or("there is no shell behind this key, only the operations that `pvectl host operations` lists")?;
    let words: Vec<&str> = asked.split(' ').collect();
    if let Some(command) = Operation::of_command(&words, input, node).and_then(|operation| operation.command(node)) {
        return Ok(command);
    }
    let is_program = words.contains(&"/bin/sh");
    let first: String = words.first().unwrap_or(&"").chars().filter(|c| !c.is_control()).take(40).collect();
    Err(if is_program {
        format!(
            "this is no program of pvectl {}: the pvectl that asks must be of the same version",
            env!("CARGO_PKG_VERSION")
        )
    } else {
        format!("`{first} …` is not the command of any operation on {node} (pvectl host operations lists them)")
    })
}
