//! The health of a node: what is asked, what it says, and what of it needs a person, each with its evidence and what to do.
//! What only the node itself knows comes through the host link; without one, the API tells less, and that is said.

pub mod findings;

use crate::host::health::{Health, Sensor, Smart};
use crate::host::operation::Operation;
use crate::pve::error::{PveError, Refusal};
use crate::pve::request::{Query, segment};
use crate::resource::index::{number, text};
use crate::resource::observation::Observation;
use serde_json::Value;

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Disk {
    /// What SMART says, from the node or from the API.
    pub smart: Smart,
    /// In bytes.
    pub size: u64,
    /// What uses it: `LVM`, `ZFS`, `mounted`; empty: nothing.
    pub used: String,
}

/// A ZFS pool.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// `ONLINE`, `DEGRADED`, …
    pub state: String,
    /// Bytes in use, and in all.
    pub filled: (u64, u64),
    /// What `zpool status` says about errors.
    pub errors: String,
    /// What it says about the last scrub or resilver.
    pub scan: String,
    /// Parts that are not as they should be: name, state, errors of reading, writing and checksums.
    pub parts: Vec<(String, String, [u64; 3])>,
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct NodeHealth {
    /// Its name.
    pub node: String,
    /// Why nothing is known of it; `None`: it answers.
    pub away: Option<String>,
    /// Why the node itself could not be asked; `None`: it was.
    pub unlinked: Option<String>,
    /// In seconds.
    pub uptime: u64,
    /// The mean of the last minute, of five and of fifteen.
    pub load: [f64; 3],
    /// Threads.
    pub cpus: u64,
    /// Bytes in use, and in all.
    pub memory: (u64, u64),
    /// Bytes in use, and in all.
    pub swap: (u64, u64),
    /// Bytes in use, and in all.
    pub root: (u64, u64),
    /// Its disks.
    pub disks: Vec<Disk>,
    /// Its ZFS pools.
    pub pools: Vec<Pool>,
    /// Its sensors.
    pub sensors: Vec<Sensor>,
    /// Programs that it does not have.
    pub missing: Vec<String>,
    /// What could not be read, and why.
    pub unread: Vec<String>,
}

/// The health of Ceph; `None` where there is no Ceph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceph {
    /// `HEALTH_OK`, `HEALTH_WARN`, `HEALTH_ERR`.
    pub status: String,
    /// Its checks: name, severity, and what they say.
    pub checks: Vec<(String, String, String)>,
}

/// The read of Ceph's health.
pub fn ceph_query() -> Query {
    Query::new("/cluster/ceph/status")
}

fn status_query(node: &str) -> Query {
    Query::new(format!("/nodes/{node}/status"))
}

fn disks_query(node: &str) -> Query {
    Query::new(format!("/nodes/{node}/disks/list"))
}

fn pools_query(node: &str) -> Query {
    Query::new(format!("/nodes/{node}/disks/zfs"))
}

fn pool_query(node: &str, pool: &str) -> Query {
    Query::new(format!("/nodes/{node}/disks/zfs/{}", segment(pool)))
}

fn smart_query(node: &str, disk: &str) -> Query {
    Query::new(format!("/nodes/{node}/disks/smart")).with("disk", disk)
}

fn link_query(node: &str) -> Query {
    Operation::Health.query(node).expect("to look is a read")
}

/// What is asked of a node first; `linked`: there is a way to it.
pub fn queries(node: &str, linked: bool) -> Vec<Query> {
    let api = [status_query(node), disks_query(node), pools_query(node)];
    api.into_iter().chain(linked.then(|| link_query(node))).collect()
}

/// What is asked then: the state of each pool, and of each disk that the node itself did not tell of.
pub fn queries_then(node: &str, seen: &Observation) -> Vec<Query> {
    let rows = |query: Query| seen.value(&query).and_then(Value::as_array).cloned().unwrap_or_default();
    let pools = rows(pools_query(node)).into_iter().filter_map(|row| Some(pool_query(node, &text(&row["name"])?)));
    let told = linked(node, seen).is_ok();
    let asked = |row: &Value| !told && text(&row["health"]).is_some_and(|health| health != "UNKNOWN");
    let disks = rows(disks_query(node)).into_iter().filter(asked);
    let disks = disks.filter_map(|row| Some(smart_query(node, &text(&row["devpath"])?)));
    pools.chain(disks).collect()
}

/// What the node itself says, or why it was not asked.
fn linked(node: &str, seen: &Observation) -> Result<Health, String> {
    match seen.answer(&link_query(node)) {
        None => Err(format!("no host link to node {node} is configured")),
        Some(Ok(value)) => Health::read(value.as_str().unwrap_or_default()),
        Some(Err(PveError::Refused { reason, .. })) => Err(reason.clone()),
        Some(Err(error)) => Err(error.to_string()),
    }
}

fn pair(value: &Value) -> (u64, u64) {
    (number(&value["used"]).unwrap_or_default(), number(&value["total"]).unwrap_or_default())
}

/// What the API's own reading of SMART says: attributes of an ATA disk, a text of others.
fn of_api(device: &str, row: &Value, smart: Option<&Value>) -> Smart {
    let raw = |id: &str| {
        let list = smart.and_then(|s| s["attributes"].as_array());
        let row = list?.iter().find(|a| text(&a["id"]).is_some_and(|i| i.trim() == id))?;
        text(&row["raw"])?.split(' ').next()?.parse::<u64>().ok()
    };
    let passed = match text(&row["health"]).unwrap_or_default().as_str() {
        "PASSED" | "OK" => Some(true),
        "UNKNOWN" | "" => None,
        _ => Some(false),
    };
    // Of an NVMe disk PVE has smartctl's own text.
    let lines = smart.and_then(|s| s["text"].as_str()).unwrap_or_default();
    let line = |name: &str| {
        let rest = lines.lines().find_map(|l| l.trim().strip_prefix(name))?.trim_start_matches(':').trim();
        rest.replace(',', "").split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    let left = number(&row["wearout"]).filter(|left| *left <= 100);
    Smart {
        device: device.to_owned(),
        model: text(&row["model"]).unwrap_or_default(),
        serial: text(&row["serial"]).unwrap_or_default(),
        passed,
        celsius: raw("194").or_else(|| line("Temperature")).and_then(|c| i64::try_from(c).ok()),
        hours: raw("9").or_else(|| line("Power On Hours")),
        worn_percent: left.map(|left| 100 - left),
        reallocated: raw("5"),
        pending: raw("197"),
        uncorrectable: raw("198").or_else(|| line("Media and Data Integrity Errors")),
        spare: line("Available Spare").zip(line("Available Spare Threshold")),
        asleep: false,
    }
}

/// What is known of a node.
pub fn read(node: &str, seen: &Observation) -> NodeHealth {
    let mut out = NodeHealth { node: node.to_owned(), ..NodeHealth::default() };
    if seen.index.nodes.get(node).is_some_and(|row| !row.online) {
        out.away = Some("the cluster does not see it".to_owned());
        return out;
    }
    match seen.answer(&status_query(node)) {
        Some(Ok(status)) => {
            let load = |n: usize| text(&status["loadavg"][n]).and_then(|l| l.parse().ok()).unwrap_or_default();
            out.uptime = number(&status["uptime"]).unwrap_or_default();
            out.load = [load(0), load(1), load(2)];
            out.cpus = number(&status["cpuinfo"]["cpus"]).unwrap_or_default();
            (out.memory, out.swap, out.root) =
                (pair(&status["memory"]), pair(&status["swap"]), pair(&status["rootfs"]));
        }
        Some(Err(error)) if error.refusal() == Some(Refusal::NodeOffline) => {
            out.away = Some(error.to_string());
            return out;
        }
        Some(Err(error)) => out.unread.push(error.to_string()),
        None => out.unread.push("its state was not asked for".to_owned()),
    }
    let told = linked(node, seen);
    out.unlinked = told.as_ref().err().cloned();
    let mut told = told.unwrap_or_default();
    out.missing = std::mem::take(&mut told.missing);
    out.sensors = std::mem::take(&mut told.sensors);
    match seen.answer(&disks_query(node)) {
        Some(Ok(rows)) => {
            for row in rows.as_array().into_iter().flatten() {
                let device = text(&row["devpath"]).unwrap_or_default();
                let own = told.disks.iter().position(|smart| smart.device == device).map(|at| told.disks.remove(at));
                // A disk that smartctl cannot ask tells nothing; the API may know its model all the same.
                let api = of_api(&device, row, seen.value(&smart_query(node, &device)));
                let smart = own.map_or(api.clone(), |own| Smart {
                    model: if own.model.is_empty() { api.model } else { own.model },
                    serial: if own.serial.is_empty() { api.serial } else { own.serial },
                    passed: own.passed.or(api.passed),
                    worn_percent: own.worn_percent.or(api.worn_percent),
                    ..own
                });
                let used = text(&row["used"]).unwrap_or_default();
                out.disks.push(Disk { smart, size: number(&row["size"]).unwrap_or_default(), used });
            }
        }
        Some(Err(error)) => out.unread.push(error.to_string()),
        None => out.unread.push("its disks were not asked for".to_owned()),
    }
    out.disks.extend(told.disks.into_iter().map(|smart| Disk { smart, ..Disk::default() }));
    match seen.answer(&pools_query(node)) {
        Some(Ok(rows)) => out.pools = rows.as_array().into_iter().flatten().map(|row| pool(node, row, seen)).collect(),
        // A node without ZFS has no pools to list.
        Some(Err(error)) if error.refusal() == Some(Refusal::Other) => {}
        Some(Err(error)) => out.unread.push(error.to_string()),
        None => {}
    }
    out
}

fn pool(node: &str, row: &Value, seen: &Observation) -> Pool {
    let name = text(&row["name"]).unwrap_or_default();
    let none = Value::Null;
    let detail = seen.value(&pool_query(node, &name)).unwrap_or(&none);
    let word = |key: &str| text(&detail[key]).unwrap_or_default();
    let mut parts = Vec::new();
    bad_parts(&detail["children"], &mut parts);
    Pool {
        state: text(&detail["state"]).or_else(|| text(&row["health"])).unwrap_or_default(),
        filled: (number(&row["alloc"]).unwrap_or_default(), number(&row["size"]).unwrap_or_default()),
        errors: word("errors"),
        scan: word("scan"),
        parts,
        name,
    }
}

/// The parts of a pool with errors, or in another state than they should be.
fn bad_parts(children: &Value, out: &mut Vec<(String, String, [u64; 3])>) {
    for child in children.as_array().into_iter().flatten() {
        let count = |key: &str| number(&child[key]).unwrap_or_default();
        let counts = [count("read"), count("write"), count("cksum")];
        let state = text(&child["state"]).unwrap_or_default();
        let leaf = child["children"].as_array().is_none_or(Vec::is_empty);
        let fine = matches!(state.as_str(), "" | "ONLINE" | "AVAIL") && counts == [0; 3];
        if leaf && !fine {
            out.push((text(&child["name"]).unwrap_or_default(), state, counts));
        }
        bad_parts(&child["children"], out);
    }
}

/// The health of Ceph, if there is one, or why it is not known.
pub fn ceph(seen: &Observation) -> Option<Result<Ceph, String>> {
    match seen.answer(&ceph_query())? {
        Ok(value) => {
            let health = &value["health"];
            let checks = health["checks"].as_object().into_iter().flatten();
            let check = |(name, check): (&String, &Value)| {
                let word = |value: &Value| text(value).unwrap_or_default();
                (name.clone(), word(&check["severity"]), word(&check["summary"]["message"]))
            };
            let status = text(&health["status"]).unwrap_or_default();
            Some(Ok(Ceph { status, checks: checks.map(check).collect() }))
        }
        // Not installed, or not set up: there is none (a recorded answer).
        Err(PveError::Refused { status: 500, reason, .. })
            if reason.contains("not installed") || reason.contains("not initialized") =>
        {
            None
        }
        Err(error) => Some(Err(error.to_string())),
    }
}
