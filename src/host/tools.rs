//! Where a way to a node ends, and which programs are there. The first thing that is asked of a node: one that calls itself
//! otherwise than we call it is another node, and nothing is done there.

/// A program that operations need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// Debian's package.
    pub package: &'static str,
    /// What does not work without it.
    pub need: &'static str,
    /// Every node of Proxmox VE has it.
    pub always: bool,
}

const fn tool(name: &'static str, package: &'static str, need: &'static str, always: bool) -> Tool {
    Tool { name, package, need, always }
}

/// The programs that operations run on a node.
pub const TOOLS: [Tool; 10] = [
    tool("pct", "pve-container", "everything in containers", true),
    tool("ha-manager", "pve-ha-manager", "maintenance of nodes", true),
    tool("apt-get", "apt", "patches of nodes", true),
    tool("dpkg-query", "dpkg", "patches of nodes", true),
    tool("systemctl", "systemd", "mounts, health", true),
    tool("systemd-run", "systemd", "work that goes on by itself", true),
    tool("systemd-escape", "systemd", "mounts", true),
    tool("findmnt", "util-linux", "mounts", true),
    tool("lsblk", "util-linux", "mounts", true),
    tool("smartctl", "smartmontools", "health of disks", true),
];

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Found {
    /// What it calls itself, as `uname -n` says.
    pub name: String,
    /// As whom we are there.
    pub user: String,
    /// What `pveversion` says; `None` where it is no node of Proxmox VE.
    pub version: Option<String>,
    /// The programs that are there, by the names of [`TOOLS`].
    pub tools: Vec<String>,
}

impl Found {
    /// Reads the output of [`crate::host::operation::Operation::Tools`]. A line that is not known is passed over.
    pub fn read(text: &str) -> Found {
        let mut found = Found::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "name" => value.clone_into(&mut found.name),
                "user" => value.clone_into(&mut found.user),
                "version" if !value.is_empty() => found.version = Some(value.to_owned()),
                "tool" => found.tools.extend(value.split(' ').next().map(str::to_owned)),
                _ => {}
            }
        }
        found
    }

    /// The output that reads so; the places of programs are not in it.
    pub fn write(&self) -> String {
        let Found { name, user, version, tools } = self;
        let version = version.iter().map(|version| format!("version={version}\n"));
        let tools = tools.iter().map(|tool| format!("tool={tool}\n"));
        format!("name={name}\nuser={user}\n{}", version.chain(tools).collect::<String>())
    }

    /// The programs that are not there.
    pub fn missing(&self) -> impl Iterator<Item = &'static Tool> {
        TOOLS.iter().filter(|tool| !self.tools.iter().any(|there| there == tool.name))
    }

    /// Whether it is the node of this name.
    pub fn is(&self, node: &str) -> bool {
        self.name.split('.').next() == Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_of_itself() {
        let text = "name=pve1.lan\nuser=root\nversion=pve-manager/9.1.1/abc\ntool=pct /usr/sbin/pct\nnoise\n";
        let found = Found::read(text);
        assert_eq!((found.name.as_str(), found.user.as_str()), ("pve1.lan", "root"));
        assert!(found.is("pve1") && !found.is("pve2") && !found.is("pve"));
        assert_eq!(found.version.as_deref(), Some("pve-manager/9.1.1/abc"));
        let missing: Vec<&str> = found.missing().map(|tool| tool.name).collect();
        assert!(missing.contains(&"smartctl") && !missing.contains(&"pct"));
        assert_eq!(Found::read(&found.write()), found);
        assert!(!Found::read("").is("pve1") && Found::read("version=\n").version.is_none());
    }
}
