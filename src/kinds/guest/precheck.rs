//! What PVE's own precheck of a migration says (`GET …/migrate`): why a node cannot take a guest, each reason with what to do.

use crate::resource::index::{number, text};
use serde_json::Value;

/// Something that stands against a move, or against moving in that way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Reason {
    /// A reason with its remedy.
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Reason {
        Reason { message: message.into(), help: help.into() }
    }
}

/// A precheck, read for one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precheck {
    /// Storages of the guest that the node does not have.
    pub storages: Vec<String>,
    /// What else stands against the node.
    pub reasons: Vec<Reason>,
    /// Disks that only the guest's node has.
    pub disks: Vec<String>,
    /// Volumes that only the guest's node has, those that PVE makes anew there among them.
    pub local: Vec<String>,
    /// Devices by mappings, which not all move with a running guest.
    pub mapped: Vec<String>,
    /// HA resources that an affinity rule moves along.
    pub along: Vec<String>,
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(text).collect()
}

/// What the answer says about moving from one node to another. Containers have a precheck since 9.1; its keys are written
/// with `-`.
pub fn read(check: &Value, from: &str, to: &str) -> Precheck {
    let mut out = Precheck::default();
    for list in ["not_allowed_nodes", "not-allowed-nodes"] {
        let why = &check[list][to];
        out.storages.extend(words(&why["unavailable_storages"]));
        let mapped = words(&why["unavailable-resources"]);
        if !mapped.is_empty() {
            out.reasons.push(Reason::new(
                format!("`{to}` does not have the devices that it uses: {}", mapped.join(", ")),
                "map them on that node, or take them out of its configuration",
            ));
        }
        let blocking = why["blocking-ha-resources"].as_array().into_iter().flatten();
        let blocking: Vec<String> = blocking.filter_map(|r| text(&r["sid"])).collect();
        if !blocking.is_empty() {
            out.reasons.push(Reason::new(
                format!("an HA affinity rule keeps it from `{to}`: {}", blocking.join(", ")),
                "change the rule, or move those first",
            ));
        }
    }
    let own = words(&check["local_resources"]);
    if !own.is_empty() {
        out.reasons.push(Reason::new(
            format!("it uses what only `{from}` has: {}", own.join(", ")),
            "take it out of its configuration, or use a resource mapping",
        ));
    }
    let disks = check["local_disks"].as_array().cloned().unwrap_or_default();
    let flag = |d: &Value, key: &str| number(&d[key]) == Some(1);
    let ids = |list: &[&Value]| list.iter().filter_map(|d| text(&d["volid"])).collect::<Vec<_>>();
    let (made_anew, rest): (Vec<&Value>, Vec<&Value>) = disks.iter().partition(|d| flag(d, "is_cloudinit"));
    let (discs, disks): (Vec<&Value>, Vec<&Value>) = rest.into_iter().partition(|d| flag(d, "cdrom"));
    if !discs.is_empty() {
        out.reasons.push(Reason::new(
            format!("a disc that only `{from}` has is in its drive: {}", ids(&discs).join(", ")),
            "take it out, or keep the ISO on shared storage",
        ));
    }
    out.disks = ids(&disks);
    out.local = out.disks.iter().cloned().chain(ids(&made_anew)).collect();
    out.mapped = words(&check["mapped-resources"]);
    out.along = words(&check["dependent-ha-resources"]);
    out
}

/// The reason for storages that a node does not have.
pub fn without_storages(to: &str, storages: &[String]) -> Reason {
    Reason::new(
        format!("`{to}` does not have the storages that it is on: {}", storages.join(", ")),
        "move its disks to a storage that both nodes have",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_reason_is_told_for_its_node_alone() {
        let check = json!({
            "local_disks": [
                {"volid": "local:iso/a.iso", "cdrom": 1, "is_cloudinit": 0}, {"volid": "lvm:vm-1-disk-0", "cdrom": 0, "is_cloudinit": 0},
                {"volid": "lvm:vm-1-cloudinit", "cdrom": 1, "is_cloudinit": 1},
            ],
            "local_resources": ["hostpci0"], "mapped-resources": ["gpu"], "dependent-ha-resources": ["vm:101"],
            "not_allowed_nodes": {"b": {"unavailable_storages": ["lvm"], "unavailable-resources": ["gpu"], "blocking-ha-resources": [{"sid": "vm:102"}]}},
        });
        let b = read(&check, "a", "b");
        let said: Vec<&str> = b.reasons.iter().map(|r| r.message.as_str()).collect();
        assert_eq!(
            said,
            [
                "`b` does not have the devices that it uses: gpu",
                "an HA affinity rule keeps it from `b`: vm:102",
                "it uses what only `a` has: hostpci0",
                "a disc that only `a` has is in its drive: local:iso/a.iso",
            ]
        );
        assert_eq!((b.storages.join(","), b.disks.join(",")), ("lvm".to_owned(), "lvm:vm-1-disk-0".to_owned()));
        assert_eq!(b.local, ["lvm:vm-1-disk-0", "lvm:vm-1-cloudinit"]);
        let c = read(&check, "a", "c");
        assert_eq!((c.storages.len(), c.reasons.len()), (0, 2));
    }
}
