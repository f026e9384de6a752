//! What OpenSSH's client is told, whatever its own configuration says: nobody is asked, no host key is believed blindly,
//! nothing is forwarded.

use crate::host::token::Token;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a connection may take, where nobody says otherwise.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection of which nothing is heard for three times this long is dead.
const ALIVE_INTERVAL_S: u32 = 15;

/// How nodes are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// As whom.
    pub user: Token,
    /// sshd's port; what ssh takes by itself where there is none.
    pub port: Option<u16>,
    /// The key to log in with, and no other; else the agent's and those of `~/.ssh`.
    pub private_key: Option<Spot>,
    /// The file of host keys to believe, and no other; else `~/.ssh/known_hosts` and the machine's.
    pub known_hosts: Option<Spot>,
    /// Host keys are looked up by the node's name, as in Proxmox VE's own files.
    pub host_key_alias: bool,
    /// Through which host.
    pub jump: Option<Jump>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// What differs from node to node.
    pub nodes: BTreeMap<String, Place>,
}

/// What differs from node to node.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// Its address; else the one that the cluster tells, else its name.
    pub host: Option<Token>,
    /// sshd's port.
    pub port: Option<u16>,
    /// As whom.
    pub user: Option<Token>,
}

/// A host in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jump {
    /// As whom; else as ssh's own configuration says.
    pub user: Option<Token>,
    /// Which.
    pub host: Token,
    /// sshd's port there.
    pub port: Option<u16>,
}

impl Jump {
    /// Reads `[USER@]HOST[:PORT]`; an IPv6 address with a port stands in brackets.
    pub fn parse(text: &str) -> Option<Jump> {
        let (user, rest) = match text.split_once('@') {
            Some((user, rest)) => (Some(Token::argument(user)?), rest),
            None => (None, text),
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(inside) => {
                let (host, port) = inside.split_once(']')?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
            }
            None => match rest.split_once(':') {
                Some((_, more)) if more.contains(':') => (rest, None),
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port =
            port.map(|port| port.parse().ok().filter(|n| *n != 0)).map_or(Some(None), |n: Option<u16>| n.map(Some))?;
        let host = Token::argument(host).filter(|host| !host.as_str().contains(['@', '/', '=', ',']))?;
        Some(Jump { user, host, port })
    }
}

/// A file whose name ssh takes as it stands: ssh reads `%`, `$`, quotes and blanks in names as more than characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot(Token);

impl Spot {
    /// The file; `None` for one whose name is not plain.
    pub fn new(path: &Path) -> Option<Spot> {
        Token::argument(path.to_str()?).map(Spot)
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(self.0.as_str())
    }
}

/// A node, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::host) struct Target {
    pub(in crate::host) node: Token,
    pub(in crate::host) host: Token,
    pub(in crate::host) user: Token,
    pub(in crate::host) port: Option<u16>,
}

impl Settings {
    /// Where a node is. `address` is what the cluster tells.
    pub(super) fn target(&self, node: &Token, address: Option<Token>) -> Target {
        let place = self.nodes.get(node.as_str()).cloned().unwrap_or_default();
        Target {
            node: node.clone(),
            host: place.host.or(address).unwrap_or_else(|| node.clone()),
            user: place.user.unwrap_or_else(|| self.user.clone()),
            port: place.port.or(self.port),
        }
    }

    /// The host in between, as if it were a node.
    pub(super) fn between(&self, target: &Target) -> Option<Target> {
        let Jump { user, host, port } = self.jump.clone()?;
        Some(Target { node: host.clone(), host, user: user.unwrap_or_else(|| target.user.clone()), port })
    }

    /// What every call is told.
    pub(in crate::host) fn common(&self, target: &Target) -> Vec<String> {
        let seconds = self.connect_timeout.as_secs().max(1);
        let mut all = vec!["-T".to_owned()];
        let mut option = |text: String| all.extend(["-o".to_owned(), text]);
        for text in [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "UpdateHostKeys=no",
            "ConnectionAttempts=1",
            "ServerAliveCountMax=3",
            "ForwardAgent=no",
            "ForwardX11=no",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "RemoteCommand=none",
            "RequestTTY=no",
            "EscapeChar=none",
            "LogLevel=INFO",
        ] {
            option(text.to_owned());
        }
        option(format!("ConnectTimeout={seconds}"));
        option(format!("ServerAliveInterval={ALIVE_INTERVAL_S}"));
        if let Some(Spot(file)) = &self.known_hosts {
            option(format!("UserKnownHostsFile={file}"));
            option("GlobalKnownHostsFile=/dev/null".to_owned());
        }
        if self.host_key_alias {
            option(format!("HostKeyAlias={}", target.node));
        }
        if let Some(Spot(key)) = &self.private_key {
            option("IdentitiesOnly=yes".to_owned());
            all.extend(["-i".to_owned(), key.to_string()]);
        }
        if let Some(port) = target.port {
            all.extend(["-p".to_owned(), port.to_string()]);
        }
        all.extend(["-l".to_owned(), target.user.to_string()]);
        all
    }

    /// The way through the host in between. ssh's own `-J` would not take our options there, and could ask somebody about a
    /// host key. A shell reads this, so every word but `%h` and `%p` is plain. What it has to say goes into a log of its own: with
    /// a connection that is kept, its standard error goes nowhere (`ssh_proxy_connect` in OpenSSH's `sshconnect.c`).
    pub(super) fn through(&self, log: &Spot) -> Option<String> {
        let Jump { user, host, port } = self.jump.as_ref()?;
        let seconds = self.connect_timeout.as_secs().max(1);
        let mut words = vec![format!(
            "ssh -T -o BatchMode=yes -o StrictHostKeyChecking=yes -o UpdateHostKeys=no -o ConnectTimeout={seconds} \
             -o ControlMaster=no -o ControlPath=none -o LogLevel=INFO -E {}",
            log.0
        )];
        if let Some(Spot(file)) = &self.known_hosts {
            words.push(format!("-o UserKnownHostsFile={file} -o GlobalKnownHostsFile=/dev/null"));
        }
        words.extend(self.private_key.iter().map(|Spot(key)| format!("-i {key}")));
        words.extend(user.iter().map(|user| format!("-l {user}")));
        words.extend(port.iter().map(|port| format!("-p {port}")));
        words.push(format!("-W '[%h]:%p' -- {host}"));
        Some(words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn settings() -> Settings {
        Settings {
            user: Token::own("root"),
            port: None,
            private_key: None,
            known_hosts: None,
            host_key_alias: false,
            jump: None,
            connect_timeout: CONNECT_TIMEOUT,
            nodes: BTreeMap::new(),
        }
    }

    #[test]
    fn a_jump_host_is_read() {
        let jump = |user: Option<&'static str>, host: &'static str, port| {
            Some(Jump { user: user.map(Token::own), host: Token::own(host), port })
        };
        assert_eq!(Jump::parse("bastion"), jump(None, "bastion", None));
        assert_eq!(Jump::parse("me@bastion.lan:2222"), jump(Some("me"), "bastion.lan", Some(2222)));
        assert_eq!(Jump::parse("fd00::1"), jump(None, "fd00::1", None));
        assert_eq!(Jump::parse("me@[fd00::1]:22"), jump(Some("me"), "fd00::1", Some(22)));
        assert_eq!(Jump::parse("[fd00::1]"), jump(None, "fd00::1", None));
        for bad in ["", "a b", "-oProxyCommand=x", "a:0", "a:x", "a:70000", "me@", "@a", "a;b", "[a]x", "a@b@c", "$(x)"]
        {
            assert_eq!(Jump::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_ssh_is_told() {
        let node = Token::own("pve1");
        let plain = settings();
        let target = plain.target(&node, Some(Token::own("10.0.0.1")));
        assert_eq!((target.host.as_str(), target.user.as_str(), target.port), ("10.0.0.1", "root", None));
        let told = plain.common(&target).join(" ");
        for word in ["BatchMode=yes", "StrictHostKeyChecking=yes", "ForwardAgent=no", "ConnectTimeout=10", "-l root"] {
            assert!(told.contains(word), "{word} is missing in {told}");
        }
        assert!(!told.contains("UserKnownHostsFile") && !told.contains("-i ") && !told.contains("HostKeyAlias"));
        let log = Spot::new(Path::new("/run/x.log")).expect("a plain name");
        assert_eq!(plain.through(&log), None);
        let place = Place { host: Some(Token::own("pve1.lan")), port: Some(23), user: Some(Token::own("admin")) };
        let full = Settings {
            port: Some(22),
            private_key: Spot::new(Path::new("/k/id")),
            known_hosts: Spot::new(Path::new("/k/hosts")),
            host_key_alias: true,
            jump: Jump::parse("me@bastion:2222"),
            nodes: BTreeMap::from([("pve1".to_owned(), place)]),
            ..settings()
        };
        let target = full.target(&node, Some(Token::own("10.0.0.1")));
        assert_eq!((target.host.as_str(), target.user.as_str(), target.port), ("pve1.lan", "admin", Some(23)));
        let told = full.common(&target).join(" ");
        for word in ["UserKnownHostsFile=/k/hosts", "HostKeyAlias=pve1", "IdentitiesOnly=yes -i /k/id -p 23 -l admin"] {
            assert!(told.contains(word), "{word} is missing in {told}");
        }
        let through = full.through(&log).expect("there is a host in between");
        assert!(through.ends_with("-i /k/id -l me -p 2222 -W '[%h]:%p' -- bastion"), "{through}");
        assert!(through.contains("StrictHostKeyChecking=yes") && through.contains("UserKnownHostsFile=/k/hosts"));
        for bad in ["/a b", "/%d/key", "/${HOME}/x", "/a\"b", "-x", "/a'b"] {
            assert_eq!(Spot::new(Path::new(bad)), None, "{bad}");
        }
    }
}
