//! `link` of a context: the ways to the nodes, for what no API can do. What it says counts for the endpoints of the same place
//! only: nodes of another cluster may have the same names.

use crate::base::quantity::parse_seconds;
use crate::host::ssh::options::{self, CONNECT_TIMEOUT, Jump, Place, Spot};
use crate::host::token::Token;
use crate::host::ways::Settings;
use indexmap::IndexMap;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The ways to the nodes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping with `local` or `ssh`, or both")]
pub struct ContextLink {
    /// We run on a node, as root: for that node there is no SSH.
    #[serde(default)]
    pub local: bool,
    /// The nodes are reached by SSH.
    pub ssh: Option<ContextSsh>,
}

/// The nodes are reached by SSH.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping with `user`, `port`, `privateKey`, `knownHosts`, `hostKeyAlias`, `jump`, `connectTimeout` and `nodes`, each optional"
)]
pub struct ContextSsh {
    /// As whom; root by default.
    pub user: Option<String>,
    /// sshd's port.
    pub port: Option<u16>,
    /// The file of the key to log in with; else the agent's keys and those of `~/.ssh`.
    pub private_key: Option<PathBuf>,
    /// The file of host keys to believe; else `~/.ssh/known_hosts`.
    pub known_hosts: Option<PathBuf>,
    /// Host keys are looked up by the node's name, as in Proxmox VE's own files.
    #[serde(default)]
    pub host_key_alias: bool,
    /// `[USER@]HOST[:PORT]` through which the nodes are reached.
    pub jump: Option<String>,
    /// How long a connection may take: `10s`.
    pub connect_timeout: Option<String>,
    /// What differs from node to node, by their names.
    #[serde(default)]
    pub nodes: IndexMap<String, ContextNode>,
}

/// What differs from node to node.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping with `host`, `port` and `user`, each optional"
)]
pub struct ContextNode {
    /// Its address; else the one that the cluster tells, else its name.
    pub host: Option<String>,
    /// sshd's port.
    pub port: Option<u16>,
    /// As whom.
    pub user: Option<String>,
}

impl ContextLink {
    /// As the host link takes it. `placed` finds files; the error says which field is wrong.
    pub(super) fn settings(&self, placed: &dyn Fn(&Path) -> PathBuf) -> Result<Settings, String> {
        let ContextLink { local, ssh } = self;
        if !local && ssh.is_none() {
            return Err("link needs `local: true` or `ssh`; for SSH as your own ssh does it: `ssh: {}`".to_owned());
        }
        Ok(Settings { local: *local, ssh: ssh.as_ref().map(|ssh| ssh.settings(placed)).transpose()? })
    }
}

impl ContextSsh {
    fn settings(&self, placed: &dyn Fn(&Path) -> PathBuf) -> Result<options::Settings, String> {
        let ContextSsh { user, port, private_key, known_hosts, host_key_alias, jump, connect_timeout, nodes } = self;
        let spot = |field: &str, path: &Option<PathBuf>| {
            let spot = |path: &PathBuf| {
                let path = placed(path);
                Spot::new(&path).ok_or_else(|| {
                    format!("link.ssh.{field}: {} has characters that ssh reads as more than a name", path.display())
                })
            };
            path.as_ref().map(spot).transpose()
        };
        let jump = jump.as_deref().map(|text| {
            Jump::parse(text)
                .ok_or_else(|| format!("link.ssh.jump: `{text}` is not [USER@]HOST[:PORT], such as admin@bastion:22"))
        });
        let connect_timeout = match connect_timeout.as_deref() {
            None => CONNECT_TIMEOUT,
            Some(text) => match parse_seconds(text) {
                Some(seconds @ 1..=300) => Duration::from_secs(seconds),
                _ => return Err(format!("link.ssh.connectTimeout: `{text}` is not between 1s and 5m")),
            },
        };
        let mut places = BTreeMap::new();
        for (name, ContextNode { host, port, user }) in nodes {
            let at = format!("nodes.{name}.");
            Token::argument(name.as_str()).ok_or_else(|| format!("link.ssh.nodes: `{name}` is no name of a node"))?;
            let host = host.as_deref().map(|text| word(&format!("{at}host"), text)).transpose()?;
            let user = user.as_deref().map(|text| word(&format!("{at}user"), text)).transpose()?;
            places.insert(name.clone(), Place { host, port: checked(&format!("{at}port"), *port)?, user });
        }
        Ok(options::Settings {
            user: user.as_deref().map_or(Ok(Token::own("root")), |text| word("user", text))?,
            port: checked("port", *port)?,
            private_key: spot("privateKey", private_key)?,
            known_hosts: spot("knownHosts", known_hosts)?,
            host_key_alias: *host_key_alias,
            jump: jump.transpose()?,
            connect_timeout,
            nodes: places,
        })
    }
}

fn word(field: &str, text: &str) -> Result<Token, String> {
    let plain = Token::argument(text).filter(|token| !token.as_str().contains('@'));
    plain.ok_or_else(|| format!("link.ssh.{field}: `{text}` must be a plain name or address"))
}

fn checked(field: &str, port: Option<u16>) -> Result<Option<u16>, String> {
    if port == Some(0) { Err(format!("link.ssh.{field}: there is no port 0")) } else { Ok(port) }
}
