//! What is seen of a node that a window means.

use crate::base::id::{GuestType, VmId};
use crate::host::operation::Operation;
use crate::host::state::Changed;
use crate::host::token::Token;
use crate::kinds::guest::hand::deed::base;
use crate::kinds::guest::precheck;
use crate::kinds::patch_window::inside::Inside;
use crate::kinds::patch_window::spec::{Migrate, PatchWindowSpec};
use crate::pve::error::Refusal;
use crate::pve::request::Query;
use crate::resource::index::{GuestRow, Index, node_guests_query, number, text};
use crate::resource::observation::Observation;
use serde_json::Value;
use std::collections::BTreeMap;

/// The state of Ceph, where it is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceph {
    /// Why no node should go down; `None`: it is well.
    pub ill: Option<String>,
    /// Nothing is moved when a node goes down.
    pub noout: bool,
}

/// A node as it was seen.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// Its name.
    pub name: &'a str,
    /// The state of the window's jobs on it.
    pub inside: Inside,
    /// What PVE says could be updated; why that is not known.
    pub pending: Result<Vec<Changed>, String>,
    /// The index of packages was fetched since the window opened.
    pub refreshed: bool,
    /// It is being fetched.
    pub refreshing: bool,
    /// How often it could not be fetched since then, and why the last time.
    pub unfetched: (usize, String),
    /// The HA manager keeps guests away from it; `None`: it could not be asked.
    pub maintenance: Option<bool>,
    /// Some guest is looked after by the HA manager.
    pub ha: bool,
    /// Ceph, where it is in use.
    pub ceph: Option<Ceph>,
    /// A ZFS pool of it that is not whole.
    pub pool: Option<String>,
    /// Where each running guest of it may go, the best first; one that may go nowhere is not here.
    pub ways: BTreeMap<VmId, Vec<String>>,
    /// Free memory of each node, in bytes.
    pub free: BTreeMap<String, u64>,
    /// All guests of the cluster.
    pub guests: &'a BTreeMap<VmId, std::sync::Arc<GuestRow>>,
}

fn updates_query(node: &str) -> Query {
    Query::new(format!("/nodes/{node}/apt/update"))
}

fn refreshes_query(node: &str, since: i64) -> Query {
    Query::new(format!("/nodes/{node}/tasks"))
        .with("typefilter", "aptupdate")
        .with("source", "all")
        .with("since", since)
}

fn manager_query() -> Query {
    Query::new("/cluster/ha/status/manager_status")
}

fn pools_query(node: &str) -> Query {
    Query::new(format!("/nodes/{node}/disks/zfs"))
}

fn ceph_query() -> Query {
    Query::new("/cluster/ceph/status")
}

fn flags_query() -> Query {
    Query::new("/cluster/ceph/flags")
}

fn check_query(row: &GuestRow) -> Query {
    Query::new(format!("{}/migrate", base(row)))
}

/// Whether the HA manager keeps guests away from a node, or was told to: what was asked stands in `node_request`, what is so in
/// `node_status`, which for some seconds after a reboot says otherwise (`PVE::HA::Manager`, `PVE::HA::NodeStatus`).
fn kept_free(status: &Value, node: &str) -> bool {
    let manager = &status["manager_status"];
    number(&manager["node_request"][node]["maintenance"]) == Some(1) || manager["node_status"][node] == "maintenance"
}

/// The nodes that the HA manager keeps guests away from.
pub fn in_maintenance(seen: &Observation) -> Vec<String> {
    let Some(status) = seen.value(&manager_query()) else { return Vec::new() };
    seen.index.nodes.keys().filter(|node| kept_free(status, node)).cloned().collect()
}

fn uses(index: &Index, plugins: &[&str], node: Option<&str>) -> bool {
    let of = |on: &str| node.is_none_or(|node| node == on);
    index.storages.values().any(|storage| plugins.contains(&storage.plugin.as_str()) && of(&storage.node))
}

/// What is read of a node. `slot` is the newest opening.
pub fn reads(node: &str, spec: &PatchWindowSpec, window: &Token, slot: i64, index: &Index) -> Vec<Query> {
    let mut reads: Vec<Query> = Operation::NodeJobs { window: window.clone() }.query(node).into_iter().collect();
    reads.extend([updates_query(node), refreshes_query(node, slot)]);
    reads.extend([GuestType::Qemu, GuestType::Lxc].map(|guest| node_guests_query(node, guest)));
    if index.guests.values().any(|row| row.ha_managed()) {
        reads.push(manager_query());
    }
    if uses(index, &["zfspool"], Some(node)) {
        reads.push(pools_query(node));
    }
    if uses(index, &["rbd", "cephfs"], None) {
        reads.extend([ceph_query(), flags_query()]);
    }
    if spec.drain.migrate != Migrate::Never {
        // A guest that left must find its way back, so all that run somewhere are asked about.
        let run = |row: &&GuestRow| row.status == "running" && !row.template && row.node == node && !row.ha_managed();
        reads.extend(index.guests.values().map(AsRef::as_ref).filter(run).map(check_query));
    }
    reads
}

impl<'a> Node<'a> {
    /// What was seen of a node.
    pub fn read(name: &'a str, window: &Token, slot: i64, seen: &'a Observation) -> Node<'a> {
        let index = &seen.index;
        let jobs = Operation::NodeJobs { window: window.clone() }.query(name);
        let online = index.nodes.get(name).is_some_and(|node| node.online);
        let inside = match jobs.and_then(|query| seen.answer(&query)) {
            _ if !online => Inside::Away(format!("node `{name}` is offline")),
            Some(Ok(value)) => Inside::of_link(value.as_str().unwrap_or_default()),
            Some(Err(error)) => match error.refusal() {
                Some(Refusal::Unsupported | Refusal::Forbidden) => Inside::Shut(error.to_string()),
                Some(Refusal::NodeOffline) => Inside::Away(error.to_string()),
                Some(_) | None => Inside::Silent(error.to_string()),
            },
            None => Inside::Silent("it was not looked at yet".to_owned()),
        };
        let tasks = seen.value(&refreshes_query(name, slot)).and_then(Value::as_array);
        let tasks: Vec<&Value> = tasks.into_iter().flatten().filter(|task| task["type"] == "aptupdate").collect();
        let since =
            |task: &&&Value| number(&task["starttime"]).and_then(|n| i64::try_from(n).ok()).is_some_and(|n| n >= slot);
        let well = |task: &&&Value| {
            text(&task["status"]).is_some_and(|status| status == "OK" || status.starts_with("WARNINGS"))
        };
        let runs = |task: &&&Value| task["endtime"].is_null();
        let ended = tasks.iter().filter(since).filter(|task| !runs(task) && !well(task));
        let bad: Vec<String> = ended.filter_map(|task| text(&task["status"])).collect();
        Node {
            name,
            inside,
            pending: pending(name, seen),
            refreshed: tasks.iter().filter(since).any(|task| well(&task)),
            refreshing: tasks.iter().any(|task| runs(&task)),
            maintenance: seen.value(&manager_query()).map(|status| kept_free(status, name)),
            unfetched: (bad.len(), bad.first().cloned().unwrap_or_default()),
            ha: index.guests.values().any(|row| row.ha_managed()),
            ceph: ceph(seen),
            pool: pool(name, seen),
            ways: ways(name, seen),
            free: index.nodes.values().map(|n| (n.name.clone(), n.memory.saturating_sub(n.memory_used))).collect(),
            guests: &index.guests,
        }
    }

    /// The guests that are on it.
    pub fn here(&self) -> impl Iterator<Item = &GuestRow> {
        self.guests.values().map(AsRef::as_ref).filter(|row| row.node == self.name && !row.template)
    }
}

fn pending(name: &str, seen: &Observation) -> Result<Vec<Changed>, String> {
    match seen.answer(&updates_query(name)) {
        Some(Ok(list)) => {
            let one = |row: &Value| {
                let from = text(&row["OldVersion"]).filter(|v| !v.is_empty()).unwrap_or_else(|| "-".to_owned());
                Some(Changed { name: text(&row["Package"])?, from, to: text(&row["Version"])? })
            };
            Ok(list.as_array().into_iter().flatten().filter_map(one).collect())
        }
        Some(Err(error)) => Err(format!("its updates could not be read: {error}")),
        None => Err("it was not looked at yet".to_owned()),
    }
}

/// `PVE::API2::Ceph`: `ceph status` as it is; the flags as a list of `{name, value}`.
fn ceph(seen: &Observation) -> Option<Ceph> {
    let status = seen.value(&ceph_query())?;
    let flags = seen.value(&flags_query()).and_then(Value::as_array);
    let noout = flags.into_iter().flatten().any(|flag| flag["name"] == "noout" && number(&flag["value"]) == Some(1));
    let health = text(&status["health"]["status"]).unwrap_or_default();
    let checks = status["health"]["checks"].as_object();
    // The flag by itself is a warning of Ceph's.
    let others: Vec<&String> =
        checks.into_iter().flatten().map(|(name, _)| name).filter(|name| *name != "OSDMAP_FLAGS").collect();
    let well = health == "HEALTH_OK" || health == "HEALTH_WARN" && noout && others.is_empty();
    let names: Vec<&str> = others.iter().map(|name| name.as_str()).collect();
    Some(Ceph { ill: (!well).then(|| format!("Ceph says {health} {}", names.join(", ")).trim_end().to_owned()), noout })
}

fn pool(name: &str, seen: &Observation) -> Option<String> {
    let pools = seen.value(&pools_query(name))?.as_array()?;
    pools.iter().find_map(|pool| {
        let health = text(&pool["health"]).filter(|health| health != "ONLINE")?;
        Some(format!("ZFS pool `{}` on {name} is {health}", text(&pool["name"]).unwrap_or_default()))
    })
}

/// Where guests may go: online nodes against which PVE's precheck has nothing and to which no local disk has to be copied, the
/// one with the most free memory first.
fn ways(name: &str, seen: &Observation) -> BTreeMap<VmId, Vec<String>> {
    let index = &seen.index;
    let mut nodes: Vec<_> = index.nodes.values().filter(|node| node.online && node.name != name).collect();
    nodes.sort_by_key(|node| (std::cmp::Reverse(node.memory.saturating_sub(node.memory_used)), node.name.clone()));
    let mut ways = BTreeMap::new();
    for row in index.guests.values().filter(|row| row.node == name && row.status == "running") {
        let Some(check) = seen.value(&check_query(row)) else { continue };
        let fits = |to: &&str| {
            let read = precheck::read(check, name, to);
            let room = index.nodes.get(*to).is_some_and(|n| n.memory.saturating_sub(n.memory_used) > row.memory);
            room && read.storages.is_empty()
                && read.reasons.is_empty()
                && read.disks.is_empty()
                && read.local.is_empty()
                && (row.guest == GuestType::Lxc || read.mapped.is_empty())
        };
        let to: Vec<String> = nodes.iter().map(|node| node.name.as_str()).filter(fits).map(str::to_owned).collect();
        if !to.is_empty() {
            ways.insert(row.vmid, to);
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn with_ceph(status: &Value, flags: &Value) -> Option<Ceph> {
        let mut seen = Observation::default();
        seen.add(ceph_query(), Ok(Arc::new(status.clone())));
        seen.add(flags_query(), Ok(Arc::new(flags.clone())));
        ceph(&seen)
    }

    #[test]
    fn ceph_is_well_or_has_only_our_flag() {
        let set = json!([{"name": "noout", "value": true}, {"name": "nodown", "value": false}]);
        let unset = json!([{"name": "noout", "value": 0}]);
        let ok = json!({"health": {"status": "HEALTH_OK", "checks": {}}});
        let flag =
            json!({"health": {"status": "HEALTH_WARN", "checks": {"OSDMAP_FLAGS": {"severity": "HEALTH_WARN"}}}});
        let ill = json!({"health": {"status": "HEALTH_WARN", "checks": {"OSDMAP_FLAGS": {}, "PG_DEGRADED": {}}}});
        assert_eq!(with_ceph(&ok, &unset), Some(Ceph { ill: None, noout: false }));
        assert_eq!(with_ceph(&flag, &set), Some(Ceph { ill: None, noout: true }));
        assert_eq!(with_ceph(&ill, &set).and_then(|c| c.ill).as_deref(), Some("Ceph says HEALTH_WARN PG_DEGRADED"));
        assert!(with_ceph(&json!({"health": {"status": "HEALTH_ERR"}}), &unset).is_some_and(|c| c.ill.is_some()));
        assert_eq!(ceph(&Observation::default()), None);
    }

    #[test]
    fn a_pool_that_is_not_whole_is_named() {
        let mut seen = Observation::default();
        let pools = json!([{"name": "rpool", "health": "ONLINE"}, {"name": "tank", "health": "DEGRADED"}]);
        seen.add(pools_query("pve1"), Ok(Arc::new(pools)));
        assert_eq!(pool("pve1", &seen).as_deref(), Some("ZFS pool `tank` on pve1 is DEGRADED"));
        assert_eq!(pool("pve2", &seen), None);
    }
}
