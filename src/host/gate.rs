//! The gate in front of a node's root shell: `command="pvectl host gate"` before a key in `authorized_keys`. What somebody with
//! that key asks for is run only if it is, word by word and byte by byte, the command of an operation of the closed list; and what
//! is run is made anew from that operation.

use crate::host::operation::{Command, Operation};
use crate::host::token::Token;

/// What is read of the standard input at most, in bytes: a program and the longest list that a window makes.
pub const INPUT_BYTES_MAX: u64 = 4 << 20;

/// The exit code of whoever is refused, as a shell's for what it may not run.
pub const REFUSED: u8 = 126;

/// How an operation would make whoever asks for it root on the node; `None`: it does not.
fn opens(operation: &Operation) -> Option<String> {
    match operation {
        Operation::ContainerCreate { options, .. } => options.iter().find_map(|(key, value)| {
            let key = key.as_str();
            let numbered = |word: &str| {
                key.strip_prefix(word).is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()))
            };
            let place = (numbered("mp") || key == "rootfs") && (value.starts_with('/') || value.contains("volume=/"));
            let open = key == "hookscript" || numbered("dev") || place || key == "unprivileged" && value != "1";
            open.then(|| format!("a container with `{key}: {value}`"))
        }),
        Operation::Mount { wish } => {
            let path = wish.path.as_str();
            let plain = ["/mnt/", "/media/", "/srv/"].iter().any(|folder| path.starts_with(folder));
            (!plain || path.split('/').any(|part| part == "..")).then(|| format!("a mount at {path}"))
        }
        // What it runs by somebody's words (hooks, the runner) is root in the container, as the command of a health check is.
        Operation::ContainerRunner { .. }
        | Operation::ContainerRunnerState { .. }
        | Operation::ContainerJobs { .. }
        | Operation::ContainerJob { .. }
        | Operation::NodeJobs { .. }
        | Operation::NodeJob { .. }
        | Operation::Maintenance { .. }
        | Operation::Unlock { .. }
        | Operation::ContainerJournal { .. }
        | Operation::Mounts
        | Operation::Folder { .. }
        | Operation::Unmount { .. }
        | Operation::Health
        | Operation::Tools => None,
    }
}

/// The command to run for what was asked on this node; else why not. `asked` is `SSH_ORIGINAL_COMMAND`; `root`: operations that make
/// whoever asks root on the node pass too.
pub fn decide(asked: Option<&str>, input: &str, node: &Token, root: bool) -> Result<Command, String> {
    let asked =
        asked.ok_or("there is no shell behind this key, only the operations that `pvectl host operations` lists")?;
    let words: Vec<&str> = asked.split(' ').collect();
    let operation = Operation::of_command(&words, input, node);
    if let Some(what) = operation.as_ref().and_then(opens).filter(|_| !root) {
        return Err(format!(
            "{what} makes who asks for it root on {node}: `pvectl host gate --allow-root` lets it pass"
        ));
    }
    if let Some(command) = operation.and_then(|operation| operation.command(node)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::VmId;
    use crate::host::job::{Deed, Job};

    fn asks(operation: &Operation, root: bool) -> Result<Command, String> {
        let node = Token::own("pve1");
        let command = operation.command(&node).ok_or("it is no command")?;
        let words: Vec<&str> = command.words.iter().map(Token::as_str).collect();
        decide(Some(&words.join(" ")), &command.input, &node, root)
    }

    #[test]
    fn no_operation_opens_a_shell_of_root() {
        let vmid = VmId::new(300).expect("a number of a guest");
        let create = |key: &'static str, value: &str| Operation::ContainerCreate {
            vmid,
            template: "local:vztmpl/x.tar.zst".into(),
            options: vec![(Token::own(key), value.to_owned())],
        };
        assert!(asks(&create("features", "nesting=1,keyctl=1"), false).is_ok());
        for (key, value) in [
            ("hookscript", "local:snippets/x"),
            ("dev0", "/dev/sda"),
            ("mp0", "/,mp=/host"),
            ("mp1", "volume=/etc,mp=/x"),
            ("rootfs", "/"),
            ("unprivileged", "0"),
        ] {
            assert!(asks(&create(key, value), false).is_err_and(|why| why.contains("--allow-root")), "{key}");
            assert!(asks(&create(key, value), true).is_ok(), "{key}");
        }
        // A look whether a node is well runs no program of anybody's choice, whoever asks.
        let deed = |command: &[&str]| Deed::Health {
            attempt: 1,
            tcp: vec![8006],
            units: true,
            command: command.iter().map(|&word| word.to_owned()).collect(),
            timeout: 60,
        };
        let health = |command: &[&str]| Operation::NodeJob {
            job: Job { window: Token::own("w"), slot: Token::own("20261122T010000Z"), deed: deed(command) },
        };
        assert!(asks(&health(&[]), false).is_ok());
        assert_eq!(health(&["/bin/sh", "-c", "id"]).command(&Token::own("pve1")), None);
    }
}
