//! The way to the node that we run on: the words go to `execve`, and no shell reads them.

use crate::base::links::Links;
use crate::host::child::{self, Bounds, Trouble};
use crate::host::link::{Link, LinkError, Listener, Output};
use crate::host::operation::{Command, Operation};
use crate::host::token::Token;
use futures::future::BoxFuture;
use std::ffi::OsString;

/// Where a node's programs are. A service may have been started with less.
const PLACES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What the kernel calls this machine, as Proxmox VE names its nodes: the part before the first dot.
pub fn own_name() -> Option<Token> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    node_name(&text)
}

/// The node's name in what `uname -n` says.
pub fn node_name(uname: &str) -> Option<Token> {
    Token::argument(uname.trim().split('.').next()?)
}

/// A `PATH` with the places where a node's programs are.
pub fn path_with(path: Option<OsString>) -> OsString {
    let mut path = path.unwrap_or_default();
    for place in PLACES {
        if !path.is_empty() {
            path.push(":");
        }
        path.push(place);
    }
    path
}

/// The node that we run on.
#[derive(Clone, Debug)]
pub struct Local {
    /// Its name.
    pub node: Token,
    /// Where programs are looked for.
    pub path: OsString,
}

impl Local {
    /// Runs a command here.
    pub async fn command(&self, command: &Command, listener: Option<&mut dyn Listener>) -> Result<Output, LinkError> {
        let Command { words, input, timeout, output_bytes_max } = command;
        let Some((program, arguments)) = words.split_first() else {
            return Err(LinkError::Unsent { cause: "the command is empty".into(), hint: None });
        };
        let mut process = tokio::process::Command::new(program.as_str());
        process.args(arguments.iter().map(Token::as_str)).env("PATH", &self.path).env("LC_ALL", "C");
        let bounds = Bounds { time_max: *timeout, out_bytes_max: *output_bytes_max };
        match child::run(process, input, &bounds, listener).await {
            Ok(ended) => match ended.status.code() {
                Some(code) => Ok(Output { code, out: ended.out, err: ended.err, truncated: ended.truncated }),
                None => Err(LinkError::Lost { cause: format!("`{program}` was killed: {}", ended.status) }),
            },
            Err(Trouble::Unstarted(error)) => Err(LinkError::Unsent {
                cause: format!("`{program}` cannot be started on {}: {error}", self.node),
                hint: Some("is this a Proxmox VE node? pvectl host check says which programs are missing".into()),
            }),
            Err(Trouble::TooLong) => Err(LinkError::Lost {
                cause: format!("`{program}` did not end in {} s, and was killed", timeout.as_secs()),
            }),
            Err(Trouble::Unknown(error)) => {
                Err(LinkError::Lost { cause: format!("`{program}` cannot be waited for: {error}") })
            }
        }
    }
}

impl Link for Local {
    fn links(&self) -> Links {
        Links::These([self.node.to_string()].into())
    }

    fn way(&self, node: &str) -> Option<String> {
        (self.node.as_str() == node).then(|| "local".to_owned())
    }

    fn run<'a>(
        &'a self,
        node: &'a str,
        operation: &'a Operation,
        listener: Option<&'a mut dyn Listener>,
    ) -> BoxFuture<'a, Result<Output, LinkError>> {
        Box::pin(async move {
            if self.node.as_str() != node {
                let hint =
                    format!("this machine is {}; write `ssh` into the context's `link` for the other nodes", self.node);
                return Err(LinkError::Missing { hint });
            }
            match operation.command(&self.node) {
                Some(command) => self.command(&command, listener).await,
                None => Err(LinkError::unwritable(operation)),
            }
        })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::time::Duration;

    fn command(words: &[&'static str]) -> Command {
        let words = words.iter().map(|word| Token::own(word)).collect();
        Command { words, input: "in".into(), timeout: Duration::from_secs(20), output_bytes_max: 100 }
    }

    #[tokio::test]
    async fn words_go_to_the_program_as_they_are() {
        let local = Local { node: Token::own("pve1"), path: path_with(None) };
        let said = local.command(&command(&["cat", "-", "/dev/null"]), None).await.expect("it runs");
        assert_eq!((said.code, said.out.as_str()), (0, "in"));
        assert_eq!(local.command(&command(&["false"]), None).await.expect("it runs").code, 1);
        let none = local.command(&command(&["no-such-program"]), None).await;
        assert!(
            matches!(none, Err(LinkError::Unsent { cause, .. }) if cause.contains("no-such-program")),
            "not started"
        );
        let killed = Command { timeout: Duration::from_millis(200), ..command(&["sleep", "20"]) };
        let lost = local.command(&killed, None).await;
        assert!(matches!(lost, Err(LinkError::Lost { cause }) if cause.contains("did not end")), "it took too long");
        let other = local.run("pve2", &Operation::Health, None).await;
        assert!(
            matches!(other, Err(LinkError::Missing { hint }) if hint.contains("this machine is pve1")),
            "another node"
        );
    }

    #[test]
    fn a_node_is_named_by_the_first_part() {
        assert_eq!(node_name("pve1.example.com\n"), Some(Token::own("pve1")));
        assert_eq!(node_name("\n"), None);
        assert!(path_with(Some("/opt".into())).to_string_lossy().starts_with("/opt:/usr/local/sbin:"));
    }
}
