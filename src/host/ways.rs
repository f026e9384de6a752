//! The ways of one cluster, as its context says: this machine for itself, SSH for the others.

use crate::base::links::Links;
use crate::host::link::{Link, LinkError, Listener, Output, UNCONFIGURED};
use crate::host::local::{Local, own_name, path_with};
use crate::host::operation::Operation;
use crate::host::ssh::{Ssh, options};
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::fmt;

/// Which ways there are.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    /// We may be a node ourselves.
    pub local: bool,
    /// Nodes are reached by SSH.
    pub ssh: Option<options::Settings>,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { local, ssh } = self;
        let local = local.then(|| "this machine for itself".to_owned());
        let ssh = ssh.as_ref().map(|ssh| {
            let through = ssh.jump.as_ref().map(|jump| format!(" through {}", jump.host)).unwrap_or_default();
            format!("ssh as {}{through}", ssh.user)
        });
        f.write_str(&local.into_iter().chain(ssh).collect::<Vec<_>>().join(", "))
    }
}

/// The ways of a cluster.
pub struct Ways {
    local: Option<Local>,
    ssh: Option<Ssh>,
}

impl Ways {
    /// As the settings say; nothing is opened yet.
    pub fn new(settings: Settings) -> Ways {
        let Settings { local, ssh } = settings;
        let here = || Some(Local { node: own_name()?, path: path_with(std::env::var_os("PATH")) });
        Ways { local: local.then(here).flatten(), ssh: ssh.map(Ssh::new) }
    }

    fn to(&self, node: &str) -> Option<&dyn Link> {
        let local = self.local.as_ref().filter(|local| local.way(node).is_some()).map(|local| local as &dyn Link);
        local.or(self.ssh.as_ref().map(|ssh| ssh as &dyn Link))
    }
}

impl Link for Ways {
    fn links(&self) -> Links {
        match (&self.ssh, &self.local) {
            (Some(ssh), _) => ssh.links(),
            (None, Some(local)) => local.links(),
            (None, None) => Links::None,
        }
    }

    fn way(&self, node: &str) -> Option<String> {
        self.to(node)?.way(node)
    }

    fn learn(&self, addresses: &BTreeMap<String, String>) {
        if let Some(ssh) = &self.ssh {
            ssh.learn(addresses);
        }
    }

    fn run<'a>(
        &'a self,
        node: &'a str,
        operation: &'a Operation,
        listener: Option<&'a mut dyn Listener>,
    ) -> BoxFuture<'a, Result<Output, LinkError>> {
        match (self.to(node), &self.local) {
            (Some(way), _) => way.run(node, operation, listener),
            (None, Some(local)) => local.run(node, operation, listener),
            (None, None) => Box::pin(async { Err(LinkError::Missing { hint: UNCONFIGURED.to_owned() }) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::token::Token;

    #[tokio::test]
    async fn a_node_has_its_way_or_the_reason_why_not() {
        let here = Local { node: Token::own("pve1"), path: path_with(None) };
        let ways = Ways { local: Some(here), ssh: None };
        assert_eq!(ways.way("pve1").as_deref(), Some("local"));
        assert!(ways.links().reach("pve1") && !ways.links().reach("pve2") && ways.way("pve2").is_none());
        let why = ways.run("pve2", &Operation::Tools, None).await;
        assert!(matches!(why, Err(LinkError::Missing { hint }) if hint.contains("this machine is pve1")));
        let none = Ways::new(Settings::default());
        let why = none.run("pve1", &Operation::Tools, None).await;
        assert!(matches!(why, Err(LinkError::Missing { hint }) if hint.contains("link")));
    }
}
