//! Rules that look inside of guests: a command through the agent, waited for with little patience. The commands change
//! nothing, so one whose answer is lost is simply not known.

use crate::engine::reconcile::Cluster;
use crate::kinds::guest::observed::GuestSeen;
use crate::kinds::guest::rules::checks::Checks;
use crate::kinds::guest::rules::evaluate::{Inside, probes};
use crate::kinds::guest::rules::inside::{Probe, exit_code, status_query};
use std::time::Duration;

/// How often a command is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often at most: a look at a file or a service takes no ten seconds.
const LOOKS_MAX: u32 = 20;

/// Runs what the rules of a guest would know, one after the other.
pub async fn look(cluster: &Cluster<'_>, checks: &Checks, guest: &GuestSeen) -> Inside {
    let mut found = Inside::new();
    for probe in probes(checks, guest) {
        found.insert(probe, ask(cluster, guest, probe).await);
    }
    found
}

async fn ask(cluster: &Cluster<'_>, guest: &GuestSeen, probe: Probe) -> Result<i64, String> {
    let started = cluster.api.send(&probe.call(&guest.row)).await.map_err(|e| e.to_string())?;
    let pid = started["pid"].as_u64().ok_or("the agent tells no process id")?;
    for _ in 0..LOOKS_MAX {
        let answer = cluster.api.get(&status_query(&guest.row, pid)).await.map_err(|e| e.to_string())?;
        if let Some(code) = exit_code(&answer) {
            return code;
        }
        cluster.clock.sleep(LOOK_EVERY).await;
    }
    Err(format!("the command did not end in {} s", LOOKS_MAX * 500 / 1000))
}
