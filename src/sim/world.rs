//! The state of the simulated cluster: plain data that can be saved and tampered with. No behaviour beyond look-ups.

use crate::sim::github::state::GitHub;
use crate::sim::inside::disk::{Disk, Trouble};
use crate::sim::inside::runner::RunnerTrouble;
use crate::sim::task::Task;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

/// Everything that the simulated cluster knows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct World {
    /// Virtual milliseconds since the Unix epoch.
    pub clock_ms: u64,
    /// State of the random number generator (MACs, digests' salts, pids).
    pub seed: u64,
    /// Counter behind process ids and other serial numbers.
    pub serial: u64,
    /// The cluster's name; `None` for a node that is in no cluster.
    pub cluster: Option<String>,
    /// Whether the cluster has a quorum; without one, every write is refused.
    pub quorate: bool,
    /// The node that takes the requests and proxies them to the others.
    pub entry_node: String,
    /// Nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// Storage definitions by id.
    pub storages: BTreeMap<String, Storage>,
    /// All volumes on all storages.
    pub volumes: Vec<Volume>,
    /// Guests by VMID.
    pub guests: BTreeMap<u32, Guest>,
    /// Pools by id.
    pub pools: BTreeMap<String, Pool>,
    /// Users by `name@realm`.
    pub users: BTreeMap<String, User>,
    /// Groups by id; members are in the users.
    pub groups: BTreeMap<String, Group>,
    /// Custom roles by id; the built-in ones are in [`crate::sim::rights`].
    pub roles: BTreeMap<String, BTreeSet<String>>,
    /// Access control entries.
    pub acl: Vec<AclEntry>,
    /// Tickets handed out: ticket text → user.
    pub tickets: BTreeMap<String, String>,
    /// Tasks in the order of their start.
    pub tasks: Vec<Task>,
    /// What the cluster's log says besides logins and tasks, the oldest first.
    #[serde(default)]
    pub messages: VecDeque<Message>,
    /// Datacenter options (`datacenter.cfg`).
    pub options: BTreeMap<String, String>,
    /// Everything that needs no type of its own, by table and id: backup jobs, HA resources and rules, SDN objects,
    /// notification targets, firewall objects, …. Tables are named like their path, `cluster/backup`.
    pub tables: BTreeMap<String, BTreeMap<String, Value>>,
    /// How long an answer takes.
    #[serde(default)]
    pub latency_ms: u64,
    /// How often the nodes collect the figures that the index shows (pvestatd: every 10 seconds); 0 is always at once.
    #[serde(default)]
    pub statistics_every_ms: u64,
    /// The figures of the last collection by VMID. A guest that is not among them is `unknown`.
    #[serde(default)]
    pub statistics: BTreeMap<u32, Value>,
    /// What DNS says, where it is not made up (see [`crate::sim::names`]); without any address a name is not there.
    #[serde(default)]
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// What the server shows, once it was served: a node keeps its certificate, so that a pinned fingerprint holds.
    #[serde(default)]
    pub certificate: Option<Certificate>,
    /// What goes wrong with the next installations, by VMID or node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub troubles: BTreeMap<String, VecDeque<Trouble>>,
    /// What goes wrong with the next runners, by VMID; without one: of any guest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runner_troubles: BTreeMap<String, VecDeque<RunnerTrouble>>,
    /// The GitHub of its runners.
    #[serde(default, skip_serializing_if = "GitHub::is_untouched")]
    pub github: GitHub,
}

/// A message of the cluster's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// On which node.
    pub node: String,
    /// Whose doing it is.
    pub user: String,
    /// Virtual milliseconds since the epoch.
    pub at_ms: u64,
    /// The words.
    pub text: String,
}

/// A server's certificate with its key, both DER in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// Its private key, PKCS #8.
    pub key: String,
}

/// A node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Node {
    /// Whether it answers.
    pub online: bool,
    /// When it booted.
    pub boot_ms: u64,
    /// Number of CPU threads.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Network interfaces by name, as `/nodes/{node}/network` shows them.
    pub interfaces: BTreeMap<String, BTreeMap<String, Value>>,
    /// The node's own options (`/nodes/{node}/config`).
    pub config: BTreeMap<String, String>,
    /// What is on its disk.
    #[serde(default, skip_serializing_if = "Disk::is_untouched")]
    pub disk: Disk,
    /// The kernel that runs; empty in worlds that were saved before it was known.
    #[serde(default)]
    pub running_kernel: String,
}

/// A storage definition with the room behind it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Storage {
    /// `dir`, `lvmthin`, `nfs`, `btrfs`, ….
    pub storage_type: String,
    /// The definition's options as PVE stores them (`content`, `path`, `nodes`, `shared`, `disable`, …).
    pub config: BTreeMap<String, String>,
    /// Bytes in all, per node (once if shared).
    pub size: u64,
    /// Bytes in use beyond the volumes we know.
    pub base_used: u64,
}

/// A volume.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Volume {
    /// `storage:name`.
    pub volid: String,
    /// The node that holds it; `None` on shared storage.
    pub node: Option<String>,
    /// Virtual size in bytes.
    pub size: u64,
    /// Bytes that it really occupies.
    pub used: u64,
    /// `raw`, `qcow2`, `subvol`, `iso`, `tzst`, ….
    pub format: String,
    /// `images`, `rootdir`, `iso`, `vztmpl`, `backup`, `snippets`, `import`.
    pub content: String,
    /// The owner.
    pub vmid: Option<u32>,
    /// The base volume of a linked clone.
    pub parent: Option<String>,
    /// Notes of a backup.
    pub notes: Option<String>,
    /// Whether a backup is protected.
    pub protected: bool,
    /// Seconds since the epoch.
    pub ctime: u64,
    /// Whether a bootable system is on it (clones inherit this): such a guest boots, gets an address, runs its agent.
    pub bootable: bool,
    /// For backups: the guest's configuration and type at that time.
    pub backup_of: Option<Box<Guest>>,
    /// For downloads: the checksum that it was held against, as `sha256:…`.
    #[serde(default)]
    pub checksum: Option<String>,
    /// For backups on a Proxmox Backup Server: how the last verification ended, `ok` or `failed`.
    #[serde(default)]
    pub verification: Option<String>,
    /// For those: the fingerprint of the key, or `1`.
    #[serde(default)]
    pub encrypted: Option<String>,
}

/// Virtual machine or container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestType {
    /// A virtual machine.
    #[default]
    Qemu,
    /// A container.
    Lxc,
}

impl GuestType {
    /// `qemu` or `lxc`.
    pub fn as_str(self) -> &'static str {
        match self {
            GuestType::Qemu => "qemu",
            GuestType::Lxc => "lxc",
        }
    }
}

/// What a guest is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Off.
    #[default]
    Stopped,
    /// On.
    Running,
    /// On, CPU stopped.
    Paused,
}

/// A guest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Guest {
    /// Virtual machine or container.
    pub guest_type: GuestType,
    /// The node it is on.
    pub node: String,
    /// Its configuration as the file has it (`lock`, `parent`, `template` and `digest`'s source included).
    pub config: BTreeMap<String, String>,
    /// Changes that wait for the next start; `None` is a removal.
    pub pending: BTreeMap<String, Option<String>>,
    /// Snapshots by name.
    pub snapshots: BTreeMap<String, Snapshot>,
    /// On or off.
    pub power: Power,
    /// When it was started.
    pub started_ms: u64,
    /// Process id while it runs.
    pub pid: u64,
    /// How many seconds after the start its agent answers; `None` if there is no system in it.
    pub boot_seconds: Option<u64>,
    /// Files and the last command results that the agent knows; addresses under `addresses/net0` that the guest took by itself,
    /// and under `interfaces` cards of its own making, such as a bridge for its containers.
    pub agent: BTreeMap<String, Value>,
    /// What is on its disk.
    #[serde(default, skip_serializing_if = "Disk::is_untouched")]
    pub disk: Disk,
}

/// A snapshot.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// The guest's configuration then, `description`, `snaptime`, `parent` and `vmstate` included.
    pub config: BTreeMap<String, String>,
    /// Whether memory was saved.
    pub with_memory: bool,
    /// The keys of the volumes that have no such snapshot: its task was killed before it came to them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub missing: BTreeSet<String>,
    /// What was on the disk then.
    #[serde(default, skip_serializing_if = "Disk::is_untouched")]
    pub disk: Disk,
}

/// A pool.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pool {
    /// Free text.
    pub comment: Option<String>,
    /// Members.
    pub guests: BTreeSet<u32>,
    /// Members.
    pub storages: BTreeSet<String>,
}

/// A user.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct User {
    /// Options as PVE stores them: `comment`, `email`, `enable`, `expire`, `firstname`, `lastname`, `keys`.
    pub config: BTreeMap<String, String>,
    /// Groups.
    pub groups: BTreeSet<String>,
    /// The password, for realms that have one.
    pub password: Option<String>,
    /// Tokens by name.
    pub tokens: BTreeMap<String, Token>,
}

/// An API token.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Token {
    /// Free text.
    pub comment: Option<String>,
    /// Seconds since the epoch; 0 is never.
    pub expire: u64,
    /// Whether it has rights of its own only.
    pub privsep: bool,
    /// The secret.
    pub secret: String,
}

/// A group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Group {
    /// Free text.
    pub comment: Option<String>,
}

/// One line of the access control list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclEntry {
    /// `/`, `/vms/100`, ….
    pub path: String,
    /// `user`, `group` or `token`.
    pub subject_type: String,
    /// Who.
    pub subject: String,
    /// Role.
    pub role: String,
    /// Whether it holds below the path.
    pub propagate: bool,
}

impl Guest {
    /// The addresses with their prefixes that the guest took by itself for a card, if somebody had it take any.
    pub fn own_addresses(&self, slot: &str) -> Option<Vec<(&str, u8)>> {
        let list = self.agent.get(&format!("addresses/{slot}"))?.as_array()?;
        let pairs = list.iter().filter_map(|a| a.as_str()?.split_once('/'));
        Some(pairs.map(|(address, prefix)| (address, prefix.parse().unwrap_or(24))).collect())
    }

    /// Cards of its own making, as they are shown.
    pub fn own_cards(&self) -> impl Iterator<Item = &Value> {
        self.agent.get("interfaces").and_then(Value::as_array).into_iter().flatten()
    }
}

impl World {
    /// Virtual seconds since the epoch.
    pub fn now(&self) -> u64 {
        self.clock_ms / 1000
    }

    /// The next random number (splitmix64).
    pub fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A process id.
    pub fn new_pid(&mut self) -> u64 {
        self.serial += 1;
        4000 + self.serial
    }

    /// A MAC address with PVE's prefix.
    pub fn new_mac(&mut self) -> String {
        let r = self.random().to_be_bytes();
        format!("BC:24:11:{:02X}:{:02X}:{:02X}", r[0], r[1], r[2])
    }

    /// A random UUID.
    pub fn new_uuid(&mut self) -> String {
        let (a, b) = (self.random(), self.random());
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a >> 32,
            a & 0xffff,
            (a >> 16) & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }

    /// The pool of a guest.
    pub fn pool_of(&self, vmid: u32) -> Option<&str> {
        self.pools.iter().find(|(_, p)| p.guests.contains(&vmid)).map(|(id, _)| id.as_str())
    }

    /// A table of simple objects.
    pub fn table(&mut self, name: &str) -> &mut BTreeMap<String, Value> {
        self.tables.entry(name.to_owned()).or_default()
    }

    /// Runs a test's or an operator's change by hand on a guest's configuration, as if another user had made it.
    pub fn edit_guest(&mut self, vmid: u32, key: &str, value: Option<&str>) {
        if let Some(guest) = self.guests.get_mut(&vmid) {
            match value {
                Some(value) => guest.config.insert(key.to_owned(), value.to_owned()),
                None => guest.config.remove(key),
            };
        }
    }
}
