//! Looks at the health of nodes: two rounds of reads, and what they say. The daemon looks now and then, for its metrics.

use crate::base::clock::Clock;
use crate::base::links::Links;
use crate::daemon::metrics::Metrics;
use crate::engine::observe::{index, read_all};
use crate::kinds::node_health::findings::{Finding, of_cluster, of_node};
use crate::kinds::node_health::{Ceph, NodeHealth, ceph, ceph_query, queries, queries_then, read};
use crate::pve::api::Api;
use crate::pve::error::PveError;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long after its start a daemon looks for the first time: there is more urgent work at first.
const FIRST: Duration = Duration::from_secs(60);
/// How often it looks then. A look is a handful of requests a node, and asks every disk for its SMART values.
const EVERY: Duration = Duration::from_secs(900);

/// What was seen.
#[derive(Debug)]
pub struct Looked {
    /// The nodes, or the one that was asked for.
    pub nodes: Vec<NodeHealth>,
    /// All nodes that there are.
    pub known: Vec<String>,
    /// Ceph, if there is one, or why its health is not known.
    pub ceph: Option<Result<Ceph, String>>,
    /// `None` on a node that is in no cluster.
    pub quorate: Option<bool>,
    /// What needs a person, the worst first.
    pub findings: Vec<Finding>,
}

/// Looks at all nodes, or at one.
pub async fn look(api: &dyn Api, clock: &dyn Clock, links: &Links, only: Option<&str>) -> Result<Looked, PveError> {
    let index = index(api, clock, &BTreeSet::new()).await?;
    let known: Vec<String> = index.nodes.keys().cloned().collect();
    let names: Vec<&String> = known.iter().filter(|name| only.is_none_or(|only| only == *name)).collect();
    let here: Vec<&String> =
        names.iter().filter(|name| index.nodes.get(**name).is_some_and(|row| row.online)).copied().collect();
    let mut first: BTreeSet<_> = here.iter().flat_map(|node| queries(node, links.reach(node))).collect();
    first.insert(ceph_query());
    let mut seen = read_all(api, clock, index.clone(), first).await?;
    let then: BTreeSet<_> = here.iter().flat_map(|node| queries_then(node, &seen)).collect();
    let more = read_all(api, clock, index, then.clone()).await?;
    for query in then {
        if let Some(answer) = more.answer(&query) {
            seen.add(query, answer.clone());
        }
    }
    let now = i64::try_from(clock.now_ms() / 1000).unwrap_or(i64::MAX);
    let nodes: Vec<NodeHealth> = names.iter().map(|node| read(node, &seen)).collect();
    let (ceph, quorate) = (ceph(&seen), seen.index.quorate);
    let mut findings = of_cluster(quorate, ceph.as_ref());
    findings.extend(nodes.iter().flat_map(|node| of_node(node, now)));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(Looked { nodes, known, ceph, quorate, findings })
}

/// Looks at a cluster now and then, for as long as it is let.
pub async fn watch(cluster: String, api: Arc<dyn Api>, clock: Arc<dyn Clock>, links: Links, metrics: Arc<Metrics>) {
    clock.sleep(FIRST).await;
    loop {
        // A cluster that does not answer keeps the last values, whose age is a metric too.
        if let Ok(looked) = look(api.as_ref(), clock.as_ref(), &links, None).await {
            metrics.node_health(&cluster, &looked, clock.now_ms());
        }
        clock.sleep(EVERY).await;
    }
}
