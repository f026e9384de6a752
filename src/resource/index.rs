//! The table of contents of a cluster: a fixed handful of GETs, shared by all kinds and asked once a pass.

use crate::base::id::{GuestType, VmId};
use crate::pve::request::Query;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// A guest's row in `/cluster/resources`.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestRow {
    /// VM or CT.
    pub guest: GuestType,
    /// Its number.
    pub vmid: VmId,
    /// Where it is.
    pub node: String,
    /// Its name; PVE makes one up (`VM 101`) where there is none.
    pub name: String,
    /// `running`, `stopped`, or `unknown` while its node is away or newly started.
    pub status: String,
    /// Whether it is a template.
    pub template: bool,
    /// PVE's lock, such as `backup`; or the task that works on it just now, such as `qmstart`.
    pub lock: Option<String>,
    /// Its pool; hidden without Pool.Audit.
    pub pool: Option<String>,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// Bytes of memory at most.
    pub memory: u64,
    /// Virtual processors at most.
    pub cpus: u64,
    /// What the HA manager makes of it just now, or was told about it; `None` where it is no HA resource.
    pub ha: Option<String>,
}

impl GuestRow {
    /// Its number as HA names it: `vm:100`, `ct:200`.
    pub fn sid(&self) -> String {
        format!("{}:{}", if self.guest == GuestType::Qemu { "vm" } else { "ct" }, self.vmid)
    }

    /// Whether the HA manager looks after it; it leaves `ignored` ones alone (`PVE::HA::Config::service_is_ha_managed`).
    pub fn ha_managed(&self) -> bool {
        self.ha.as_deref().is_some_and(|state| state != "ignored")
    }
}

/// A node's row.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRow {
    /// Its name.
    pub name: String,
    /// Whether the cluster sees it.
    pub online: bool,
    /// Bytes of memory in use.
    pub memory_used: u64,
    /// Bytes of memory that it has.
    pub memory: u64,
    /// Threads that it has.
    pub cpus: u64,
    /// Share of processor time in use, 0 to 1.
    pub cpu: f64,
}

/// A storage's row: one for each node that has it.
#[derive(Clone, Debug, PartialEq)]
pub struct StorageRow {
    /// Its id.
    pub storage: String,
    /// The node that this row speaks of.
    pub node: String,
    /// Content types it takes, such as `images`.
    pub content: BTreeSet<String>,
    /// Bytes in use.
    pub used: u64,
    /// Bytes that it has.
    pub size: u64,
    /// Whether all nodes see the same volumes.
    pub shared: bool,
    /// Whether it answers.
    pub available: bool,
    /// `dir`, `lvmthin`, …
    pub plugin: String,
}

/// A pool as `/pools` lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolRow {
    /// Its id.
    pub id: String,
    /// Its comment, with our marker if it is ours.
    pub comment: String,
}

/// The table of contents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    /// When it was read, in seconds since 1970; zero where nobody looked at a clock.
    pub at: i64,
    /// `/version`: such as `9.1.7`.
    pub version: String,
    /// Guests by number.
    pub guests: BTreeMap<VmId, Arc<GuestRow>>,
    /// Nodes by name.
    pub nodes: BTreeMap<String, NodeRow>,
    /// Storages by node and id.
    pub storages: BTreeMap<(String, String), StorageRow>,
    /// Pools by id.
    pub pools: BTreeMap<String, PoolRow>,
    /// The addresses by which nodes know each other.
    pub addresses: BTreeMap<String, IpAddr>,
    /// The cluster's name; empty on a node that is in no cluster.
    pub cluster: String,
    /// `None` on a node that is in no cluster.
    pub quorate: Option<bool>,
    /// Privileges by path, as `/access/permissions` tells of us; the flag says whether paths below inherit it.
    pub permissions: BTreeMap<String, BTreeMap<String, bool>>,
    /// The tasks that work on guests just now, by their types.
    pub working: BTreeMap<VmId, String>,
    /// What is being cloned just now: the sources' numbers. A task does not say what it makes of them.
    pub cloning: BTreeSet<VmId>,
    /// Files that a task is fetching just now: node and name.
    pub fetching: BTreeSet<(String, String)>,
    /// Lists of the kinds that are spoken of, or why there is none ([`crate::resource::kind::Kind::lists`]).
    pub lists: BTreeMap<Query, Result<Arc<Value>, String>>,
}

/// The requests that make an index, in the order in which [`Index::decode`] takes their answers. Tasks are asked for before
/// everything else: what ended before that shows in the rest.
pub fn queries() -> [Query; 6] {
    ["/cluster/tasks", "/version", "/cluster/resources", "/cluster/status", "/access/permissions", "/pools"]
        .map(Query::new)
}

/// The read that lists a node's guests of one type as they are now. `/cluster/resources` shows what pvestatd found last, up
/// to ten seconds ago: a guest that was just made has no name there, one that was just started does not run, and one that
/// was just converted is no template (`PVE::API2::Cluster`, `PVE::Service::pvestatd`; recorded as `with-guests`).
pub fn node_guests_query(node: &str, guest: GuestType) -> Query {
    Query::new(format!("/nodes/{node}/{guest}"))
}

/// The node and type of a [`node_guests_query`].
pub fn is_node_guests(query: &Query) -> Option<(&str, GuestType)> {
    let (node, guest) = query.path.strip_prefix("/nodes/")?.split_once('/')?;
    match guest {
        "qemu" => Some((node, GuestType::Qemu)),
        "lxc" => Some((node, GuestType::Lxc)),
        _ => None,
    }
}

/// Whether a task of this type changes the guest that it names. A clone's names its source, which it does not change; a
/// backup locks the guest itself; consoles change nothing.
fn changes_a_guest(task_type: &str) -> bool {
    let ours = task_type.starts_with("qm") || task_type.starts_with("vz");
    (ours && !matches!(task_type, "qmclone" | "vzclone" | "vzdump")) || matches!(task_type, "resize" | "move_volume")
}

/// Whether a task of this type brings the file that it names (`PVE::API2::Storage::Status`, `PVE::API2::Nodes`).
fn fetches_a_file(task_type: &str) -> bool {
    task_type == "download" || task_type.starts_with("oci")
}

/// Text of a member that PVE may send as text or number.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Bool(b) => Some(u8::from(*b).to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number that PVE may send as a number, as text, or in scientific notation.
pub fn number(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(n) => n.as_f64()?,
        Value::String(s) => s.trim().parse().ok()?,
        Value::Bool(b) => f64::from(u8::from(*b)),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (0.0..1.8e19).contains(&number).then_some(number as u64)
}

/// Tags as a set: PVE separates them by `;`, `,` or blanks and may turn them to lower case.
pub fn tags(text: &str) -> BTreeSet<String> {
    text.split([';', ',', ' ']).filter(|t| !t.is_empty()).map(str::to_lowercase).collect()
}

impl Index {
    /// Reads the answers to [`queries`]; rows of types that we do not know are passed over.
    pub fn decode(answers: [&Value; 6]) -> Index {
        let [tasks, version, resources, status, permissions, pools] = answers;
        let mut index = Index { version: member(version, "version"), ..Index::default() };
        for row in resources.as_array().into_iter().flatten() {
            match row["type"].as_str() {
                Some("qemu") => index.add_guest(GuestType::Qemu, row),
                Some("lxc") => index.add_guest(GuestType::Lxc, row),
                Some("node") => index.add_node(row),
                Some("storage") => index.add_storage(row),
                Some(_) | None => {}
            }
        }
        for row in status.as_array().into_iter().flatten() {
            if let (true, Ok(address)) = (row["type"] == "node", member(row, "ip").parse()) {
                index.addresses.insert(member(row, "name"), address);
            }
            if row["type"] == "cluster" {
                index.quorate = number(&row["quorate"]).map(|q| q != 0);
                index.cluster = member(row, "name");
            }
            if row["type"] == "node"
                && let (Some(node), Some(online)) = (index.nodes.get_mut(&member(row, "name")), number(&row["online"]))
            {
                node.online = online != 0;
            }
        }
        for (path, privileges) in permissions.as_object().into_iter().flatten() {
            let held = privileges.as_object().into_iter().flatten();
            let names = held.map(|(name, flag)| (name.clone(), number(flag) == Some(1))).collect();
            index.permissions.insert(path.clone(), names);
        }
        for row in pools.as_array().into_iter().flatten() {
            let pool = PoolRow { id: member(row, "poolid"), comment: member(row, "comment") };
            index.pools.insert(pool.id.clone(), pool);
        }
        for task in tasks.as_array().into_iter().flatten() {
            let kind = member(task, "type");
            if task["endtime"].is_null() && fetches_a_file(&kind) {
                index.fetching.insert((member(task, "node"), member(task, "id")));
            }
            let guest = number(&task["id"]).and_then(VmId::new);
            match guest.filter(|_| task["endtime"].is_null()) {
                Some(vmid) if matches!(kind.as_str(), "qmclone" | "vzclone") => drop(index.cloning.insert(vmid)),
                Some(vmid) if changes_a_guest(&kind) => drop(index.working.entry(vmid).or_insert(kind)),
                Some(_) | None => {}
            }
        }
        for (vmid, task) in &index.working {
            if let Some(row) = index.guests.get_mut(vmid) {
                Arc::make_mut(row).lock.get_or_insert_with(|| task.clone());
            }
        }
        index
    }

    /// Brings the rows of a node's guests up to date with the answer to [`node_guests_query`].
    pub fn refresh(&mut self, node: &str, guest: GuestType, answer: &Value) {
        for now in answer.as_array().into_iter().flatten() {
            let row = number(&now["vmid"]).and_then(VmId::new).and_then(|v| self.guests.get_mut(&v));
            let Some(row) = row.filter(|r| r.node == node && r.guest == guest).map(Arc::make_mut) else { continue };
            row.status = member(now, "status");
            row.template = number(&now["template"]) == Some(1);
            row.name = member(now, "name");
            row.memory = number(&now["maxmem"]).unwrap_or(row.memory);
            row.cpus = number(&now["cpus"]).unwrap_or(row.cpus);
            // What was locked when the index was read may have moved since, its pool for one: it is looked at again.
            if row.lock.is_none() {
                row.lock = text(&now["lock"]).filter(|l| !l.is_empty());
            }
        }
    }

    fn add_guest(&mut self, guest: GuestType, row: &Value) {
        let Some(vmid) = number(&row["vmid"]).and_then(VmId::new) else { return };
        let optional = |key: &str| text(&row[key]).filter(|t| !t.is_empty());
        let row = GuestRow {
            guest,
            vmid,
            node: member(row, "node"),
            name: member(row, "name"),
            status: member(row, "status"),
            template: number(&row["template"]) == Some(1),
            lock: optional("lock"),
            pool: optional("pool"),
            tags: tags(&member(row, "tags")),
            memory: number(&row["maxmem"]).unwrap_or(0),
            cpus: number(&row["maxcpu"]).unwrap_or(0),
            ha: optional("hastate"),
        };
        self.guests.insert(vmid, Arc::new(row));
    }

    fn add_node(&mut self, row: &Value) {
        let node = NodeRow {
            name: member(row, "node"),
            online: row["status"] == "online",
            memory_used: number(&row["mem"]).unwrap_or(0),
            memory: number(&row["maxmem"]).unwrap_or(0),
            cpus: number(&row["maxcpu"]).unwrap_or(0),
            cpu: row["cpu"].as_f64().unwrap_or(0.0),
        };
        self.nodes.insert(node.name.clone(), node);
    }

    fn add_storage(&mut self, row: &Value) {
        let storage = StorageRow {
            storage: member(row, "storage"),
            node: member(row, "node"),
            content: member(row, "content").split(',').map(str::to_owned).collect(),
            used: number(&row["disk"]).unwrap_or(0),
            size: number(&row["maxdisk"]).unwrap_or(0),
            shared: number(&row["shared"]) == Some(1),
            available: row["status"] == "available",
            plugin: member(row, "plugintype"),
        };
        self.storages.insert((storage.node.clone(), storage.storage.clone()), storage);
    }

    /// Whether a task on a node is fetching a file of this name just now.
    pub fn is_fetching(&self, node: &str, name: &str) -> bool {
        self.fetching.contains(&(node.to_owned(), name.to_owned()))
    }

    /// What the cluster is called; a node that is in none goes by its own name.
    pub fn cluster_name(&self) -> &str {
        let alone = || self.nodes.keys().next().map_or("", String::as_str);
        if self.cluster.is_empty() { alone() } else { &self.cluster }
    }

    /// Whether we hold a privilege on a path: the entry of the nearest path above it decides, as PVE resolves it.
    pub fn may(&self, path: &str, privilege: &str) -> bool {
        let mut at = path;
        loop {
            if let Some(held) = self.permissions.get(at) {
                return held.get(privilege).is_some_and(|inherited| *inherited || at == path);
            }
            if at == "/" || at.is_empty() {
                return false;
            }
            at = match at.rfind('/') {
                Some(0) | None => "/",
                Some(cut) => &at[..cut],
            };
        }
    }
}

fn member(row: &Value, key: &str) -> String {
    text(&row[key]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_nearest_path_decides_a_privilege() {
        let permissions = json!({"/": {"Sys.Audit": 1}, "/vms": {"VM.Audit": 1}});
        let null = Value::Null;
        let index = Index::decode([&null, &null, &null, &null, &permissions, &null]);
        assert!(index.may("/vms/100", "VM.Audit") && index.may("/nodes/pve1", "Sys.Audit"));
        assert!(!index.may("/vms/100", "Sys.Audit"));
    }

    #[test]
    fn a_guest_that_a_task_works_on_is_locked() {
        let null = Value::Null;
        let resources = json!([{"type": "qemu", "vmid": 100, "node": "a"}, {"type": "qemu", "vmid": 101, "node": "a"}, {"type": "lxc", "vmid": 102, "node": "a", "lock": "backup"}]);
        let tasks = json!([
            {"type": "qmstart", "id": "100", "endtime": null}, {"type": "qmstart", "id": "101", "endtime": 5},
            {"type": "vncproxy", "id": "101"}, {"type": "qmclone", "id": "101"}, {"type": "qmclone", "id": "102", "endtime": 5}, {"type": "vzstart", "id": "102"}, {"type": "aptupdate", "id": ""},
        ]);
        let index = Index::decode([&tasks, &null, &resources, &null, &null, &null]);
        let locks: Vec<Option<&str>> = index.guests.values().map(|g| g.lock.as_deref()).collect();
        assert_eq!(locks, [Some("qmstart"), None, Some("backup")]);
        assert_eq!(index.cloning.iter().map(|vmid| vmid.get()).collect::<Vec<_>>(), [101]);
    }

    #[test]
    fn a_guest_that_was_locked_stays_so_though_a_newer_list_says_otherwise() {
        let null = Value::Null;
        let resources = json!([{"type": "qemu", "vmid": 100, "node": "a", "lock": "clone"}]);
        let mut index = Index::decode([&null, &null, &resources, &null, &null, &null]);
        index.refresh("a", GuestType::Qemu, &json!([{"vmid": 100, "name": "web", "status": "stopped"}]));
        let row = index.guests.values().next().expect("it is there");
        assert_eq!((row.name.as_str(), row.lock.as_deref()), ("web", Some("clone")), "its pool is not known anew");
    }

    #[test]
    fn numbers_come_in_every_dress() {
        for (value, wanted) in [
            (json!("100"), Some(100)),
            (json!(1e6), Some(1_000_000)),
            (json!("1e+06"), Some(1_000_000)),
            (json!(null), None),
            (json!("x"), None),
        ] {
            assert_eq!(number(&value), wanted, "{value}");
        }
    }
}
