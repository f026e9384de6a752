//! What Prometheus is told of the health of nodes.

use crate::daemon::health::Looked;
use crate::daemon::metrics::{Gauges, Labels};
use crate::host::health::{Measure, Smart};
use crate::kinds::node_health::findings::Severity;
use crate::kinds::node_health::{Disk, NodeHealth, Pool};
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Disks, pools and sensors with metrics of their own at most, of each sort and cluster.
const PARTS_MAX: usize = 2000;

const NAMES: [&str; 11] = [
    "pvectl_node_disk_healthy",
    "pvectl_node_disk_worn_ratio",
    "pvectl_node_disk_temperature_celsius",
    "pvectl_node_disk_reallocated_sectors",
    "pvectl_node_disk_pending_sectors",
    "pvectl_node_disk_uncorrectable_errors",
    "pvectl_node_pool_healthy",
    "pvectl_node_pool_filled_ratio",
    "pvectl_node_sensor_temperature_celsius",
    "pvectl_node_findings",
    "pvectl_node_health_last_look_timestamp_seconds",
];

/// A value of a metric, with the labels after the cluster's.
type Sample = (&'static str, Labels, f64);

/// The gauges, and the last samples of each cluster.
#[derive(Debug)]
pub(super) struct NodeGauges {
    families: BTreeMap<&'static str, Gauges>,
    samples: Mutex<BTreeMap<String, Vec<Sample>>>,
}

impl Default for NodeGauges {
    fn default() -> NodeGauges {
        let families = NAMES.iter().map(|name| (*name, Gauges::default())).collect();
        NodeGauges { families, samples: Mutex::default() }
    }
}

impl NodeGauges {
    /// Registers the metric of this name, if it is one of these.
    pub(super) fn register(&self, registry: &mut Registry, name: &str, help: &str) {
        if let Some(family) = self.families.get(name) {
            registry.register(name, help, family.clone());
        }
    }

    /// Takes in what was seen of a cluster in the place of what was known of it.
    pub(super) fn set(&self, cluster: (&'static str, String), looked: &Looked, now_ms: u64) {
        let mut all = self.samples.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.insert(cluster.1.clone(), samples(looked, now_ms));
        // What is gone, a disk that was pulled, is told no more.
        self.families.values().for_each(Gauges::clear);
        for (name, samples) in all.iter() {
            for (metric, labels, value) in samples {
                let labels = std::iter::once((cluster.0, name.clone())).chain(labels.iter().cloned()).collect();
                if let Some(family) = self.families.get(metric) {
                    family.get_or_create(&labels).set(*value);
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
fn number(value: u64) -> f64 {
    value as f64
}

fn yes(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

fn ratio((part, whole): (u64, u64)) -> Option<f64> {
    (whole > 0).then(|| number(part) / number(whole))
}

fn samples(looked: &Looked, now_ms: u64) -> Vec<Sample> {
    let at = std::time::Duration::from_millis(now_ms).as_secs_f64();
    let mut out: Vec<Sample> = vec![("pvectl_node_health_last_look_timestamp_seconds", Labels::new(), at)];
    for node in &looked.nodes {
        let own = || ("node", node.node.clone());
        for severity in [Severity::Info, Severity::Warning, Severity::Critical] {
            let count = looked.findings.iter().filter(|f| f.node == node.node && f.severity == severity).count();
            let labels = vec![own(), ("severity", severity.as_str().to_owned())];
            out.push(("pvectl_node_findings", labels, number(u64::try_from(count).unwrap_or(u64::MAX))));
        }
        parts(node, &mut |metric, label, name, value| {
            if let Some(value) = value {
                out.push((metric, vec![own(), (label, name.to_owned())], value));
            }
        });
    }
    out
}

/// Hears a metric, the label of a part, the part's name, and the value where it is known.
type Tell<'a> = dyn FnMut(&'static str, &'static str, &str, Option<f64>) + 'a;

/// The values of a node's parts; what is not known is not told.
fn parts(node: &NodeHealth, tell: &mut Tell<'_>) {
    for Disk { smart, .. } in node.disks.iter().take(PARTS_MAX) {
        let Smart { device, passed, celsius, worn_percent, reallocated, pending, uncorrectable, .. } = smart;
        let degrees = celsius.and_then(|c| i32::try_from(c).ok()).map(f64::from);
        tell("pvectl_node_disk_healthy", "disk", device, passed.map(yes));
        tell("pvectl_node_disk_worn_ratio", "disk", device, worn_percent.map(|p| number(p) / 100.0));
        tell("pvectl_node_disk_temperature_celsius", "disk", device, degrees);
        tell("pvectl_node_disk_reallocated_sectors", "disk", device, reallocated.map(number));
        tell("pvectl_node_disk_pending_sectors", "disk", device, pending.map(number));
        tell("pvectl_node_disk_uncorrectable_errors", "disk", device, uncorrectable.map(number));
    }
    for Pool { name, state, filled, .. } in node.pools.iter().take(PARTS_MAX) {
        tell("pvectl_node_pool_healthy", "pool", name, Some(yes(state == "ONLINE")));
        tell("pvectl_node_pool_filled_ratio", "pool", name, ratio(*filled));
    }
    for sensor in node.sensors.iter().filter(|s| s.measure == Measure::Temperature).take(PARTS_MAX) {
        let degrees = i32::try_from(sensor.value).ok().map(|value| f64::from(value) / 1000.0);
        let name = format!("{} {}", sensor.chip, sensor.label);
        tell("pvectl_node_sensor_temperature_celsius", "sensor", &name, degrees);
    }
}
