//! Backups as storages list them, and where to ask for the lists: a shared storage on one node that answers, a local one on
//! each. What is hidden from us is not in a list, and nothing in it says so: see [`may_see`].

use crate::base::id::{GuestType, VmId};
use crate::kinds::guest::file::content_query;
use crate::pve::request::Query;
use crate::resource::index::{Index, number, text};
use crate::resource::observation::Observation;
use serde_json::Value;
use std::collections::BTreeSet;

/// How the last verification on a Proxmox Backup Server ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// It was never verified, or is on no such server.
    Never,
    /// Well.
    Ok,
    /// It is damaged.
    Failed,
    /// What this version does not know.
    Unknown(String),
}

impl Verified {
    /// The server's word; `-` for none.
    pub fn as_str(&self) -> &str {
        match self {
            Verified::Never => "-",
            Verified::Ok => "ok",
            Verified::Failed => "failed",
            Verified::Unknown(word) => word,
        }
    }
}

/// A backup of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// PVE's id for it: `local:backup/vzdump-qemu-101-….vma.zst`.
    pub volume: String,
    /// The storage.
    pub storage: String,
    /// A node that sees it.
    pub node: String,
    /// What it is a backup of.
    pub guest: GuestType,
    /// The number that the guest had.
    pub vmid: Option<VmId>,
    /// When it was made, in seconds since 1970.
    pub time: i64,
    /// Bytes.
    pub size: u64,
    /// `vma.zst`, `tar.zst`, `pbs-vm`, ….
    pub format: String,
    /// The first line of its notes.
    pub notes: String,
    /// It is neither pruned nor deleted.
    pub protected: bool,
    /// How its verification ended.
    pub verified: Verified,
    /// Nobody reads it without a key.
    pub encrypted: bool,
}

impl Backup {
    /// Whether one can go back to it, as far as is known.
    pub fn is_good(&self) -> bool {
        self.verified != Verified::Failed
    }
}

/// Node and storage of every list of backups, or of those of one storage; only what answers.
pub fn places(index: &Index, storage: Option<&str>) -> Vec<(String, String)> {
    let mut places: Vec<(String, String)> = Vec::new();
    let online = |node: &str| index.nodes.get(node).is_none_or(|n| n.online);
    for row in index.storages.values().filter(|row| storage.is_none_or(|name| row.storage == name)) {
        let again = row.shared && places.iter().any(|(_, storage)| *storage == row.storage);
        if row.content.contains("backup") && row.available && online(&row.node) && !again {
            places.push((row.node.clone(), row.storage.clone()));
        }
    }
    places
}

/// Which lists of backups cannot be asked for just now, each with the reason: a local storage is one list on each node.
pub fn away(index: &Index, storage: Option<&str>) -> Vec<String> {
    let asked = places(index, storage);
    let mut away: Vec<String> = Vec::new();
    for row in index.storages.values().filter(|row| storage.is_none_or(|name| row.storage == name)) {
        let answers = asked.iter().any(|(node, name)| *name == row.storage && (row.shared || *node == row.node));
        if !row.content.contains("backup") || answers {
            continue;
        }
        let (name, node) = (&row.storage, &row.node);
        let why = match (row.shared, index.nodes.get(node).is_none_or(|n| n.online)) {
            (true, _) => format!("storage `{name}` answers on no node"),
            (false, false) => format!("node {node} is away, and `{name}` on it"),
            (false, true) => format!("storage `{name}` is not available on {node}"),
        };
        if !away.contains(&why) {
            away.push(why);
        }
    }
    away
}

/// Why there may be newer backups of a guest than those that lists show.
pub fn doubts(index: &Index, vmid: VmId) -> Vec<String> {
    let mut doubts = away(index, None);
    let names: BTreeSet<&str> =
        index.storages.values().filter(|r| r.content.contains("backup")).map(|r| r.storage.as_str()).collect();
    let hidden = names.into_iter().filter(|name| !may_see(index, name, vmid));
    doubts.extend(hidden.map(|name| format!("its backups on `{name}` are hidden from us")));
    doubts
}

/// The reads that list the backups on a storage, or on all.
pub fn queries(index: &Index, storage: Option<&str>) -> Vec<Query> {
    places(index, storage).iter().map(|(node, storage)| content_query(node, storage, "backup")).collect()
}

/// The backups of a list, oldest first.
pub fn rows(list: &Value, node: &str) -> Vec<Backup> {
    let one = |row: &Value| {
        let volume = text(&row["volid"])?;
        let (storage, name) = volume.split_once(':')?;
        let (storage, ct) = (storage.to_owned(), name.contains("vzdump-lxc-") || name.starts_with("backup/ct/"));
        let state = text(&row["verification"]["state"]);
        Some(Backup {
            guest: if row["subtype"] == "lxc" || row["subtype"].is_null() && ct {
                GuestType::Lxc
            } else {
                GuestType::Qemu
            },
            vmid: number(&row["vmid"]).and_then(VmId::new),
            time: number(&row["ctime"]).and_then(|n| i64::try_from(n).ok()).unwrap_or(0),
            size: number(&row["size"]).unwrap_or(0),
            format: text(&row["format"]).unwrap_or_default(),
            notes: text(&row["notes"]).unwrap_or_default(),
            protected: number(&row["protected"]) == Some(1),
            verified: match state.as_deref() {
                None | Some("" | "none") => Verified::Never,
                Some("ok") => Verified::Ok,
                Some("failed") => Verified::Failed,
                Some(word) => Verified::Unknown(word.to_owned()),
            },
            encrypted: text(&row["encrypted"]).is_some_and(|e| !e.is_empty() && e != "0"),
            node: node.to_owned(),
            storage,
            volume,
        })
    };
    let mut rows: Vec<Backup> = list.as_array().into_iter().flatten().filter_map(one).collect();
    rows.sort_by(|a, b| (a.time, &a.volume).cmp(&(b.time, &b.volume)));
    rows
}

/// Every backup on a storage, or on all, and why lists of it could not be read.
pub fn all(seen: &Observation, storage: Option<&str>) -> (Vec<Backup>, Vec<String>) {
    let (mut backups, mut unread) = (Vec::new(), Vec::new());
    for (node, storage) in places(&seen.index, storage) {
        match seen.answer(&content_query(&node, &storage, "backup")) {
            Some(Ok(list)) => backups.extend(rows(list, &node)),
            Some(Err(error)) => unread.push(format!("the backups on `{storage}` could not be read: {error}")),
            None => unread.push(format!("the backups on `{storage}` were not read")),
        }
    }
    backups.sort_by(|a, b| (a.time, &a.volume).cmp(&(b.time, &b.volume)));
    (backups, unread)
}

/// Whether a list of a storage would show us the backups of a guest (`PVE::Storage::check_volume_access`).
pub fn may_see(index: &Index, storage: &str, vmid: VmId) -> bool {
    let at = format!("/storage/{storage}");
    index.permissions.is_empty()
        || index.may(&at, "Datastore.Allocate")
        || index.may(&at, "Datastore.AllocateSpace") && index.may(&format!("/vms/{vmid}"), "VM.Backup")
}

/// How long ago something was, roughly: `35m`, `14h`, `3d`, `5w`.
pub fn age(seconds: i64) -> String {
    let (minute, hour, day, week) = (60, 3600, 86_400, 7 * 86_400);
    match seconds.max(0) {
        s if s < minute => format!("{s}s"),
        s if s < 2 * hour => format!("{}m", s / minute),
        s if s < 2 * day => format!("{}h", s / hour),
        s if s < 4 * week => format!("{}d", s / day),
        s => format!("{}w", s / week),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_in_every_dress() {
        let list = json!([
            {"volid": "pbs:backup/ct/200/2026-11-21T02:00:00Z", "ctime": "300", "vmid": "200", "size": 5, "format": "pbs-ct",
             "verification": {"state": "failed", "upid": "UPID:…"}, "encrypted": "ab:cd", "protected": 1},
            {"volid": "local:backup/vzdump-qemu-101-2026_11_21-02_00_00.vma.zst", "ctime": 100, "vmid": 101, "subtype": "qemu",
             "notes": "web", "format": "vma.zst"},
            {"volid": "pbs:backup/vm/102/2026-11-21T02:00:00Z", "ctime": 200, "vmid": 102, "subtype": "qemu",
             "verification": {"state": "ok"}},
            {"volid": "local:backup/by-hand.tar", "ctime": 50},
        ]);
        let rows = rows(&list, "pve1");
        let told: Vec<_> =
            rows.iter().map(|b| (b.vmid.map(VmId::get), b.guest, b.is_good(), b.verified.as_str())).collect();
        assert_eq!(
            told,
            [
                (None, GuestType::Qemu, true, "-"),
                (Some(101), GuestType::Qemu, true, "-"),
                (Some(102), GuestType::Qemu, true, "ok"),
                (Some(200), GuestType::Lxc, false, "failed"),
            ]
        );
        assert!(rows[3].encrypted && rows[3].protected && !rows[1].encrypted);
        assert_eq!((rows[1].notes.as_str(), rows[3].storage.as_str()), ("web", "pbs"));
    }

    #[test]
    fn a_shared_storage_is_asked_once_and_a_local_one_on_every_node_that_answers() {
        let null = Value::Null;
        let row = |storage: &str, node: &str, shared: u8, status: &str| json!({"type": "storage", "storage": storage, "node": node, "shared": shared, "content": "backup,iso", "status": status});
        let mut rows: Vec<Value> = ["a", "b", "c"]
            .iter()
            .map(|n| json!({"type": "node", "node": n, "status": if *n == "c" { "offline" } else { "online" }}))
            .collect();
        for node in ["a", "b", "c"] {
            rows.push(row("local", node, 0, "available"));
            rows.push(row("pbs", node, 1, if node == "a" { "unknown" } else { "available" }));
        }
        let index = Index::decode([&null, &null, &Value::from(rows), &null, &null, &null]);
        let all: Vec<String> = places(&index, None).iter().map(|(n, s)| format!("{n}/{s}")).collect();
        assert_eq!(all, ["a/local", "b/local", "b/pbs"]);
        assert_eq!(places(&index, Some("pbs")).len(), 1);
        assert_eq!(away(&index, None), ["node c is away, and `local` on it"]);
        assert_eq!(away(&index, Some("pbs")), [""; 0]);
    }

    #[test]
    fn ages_in_one_word() {
        let told = [5, 90, 7199, 7200, 172_799, 172_800, 2_419_200].map(age);
        assert_eq!(told, ["5s", "1m", "119m", "2h", "47h", "2d", "4w"]);
    }
}
