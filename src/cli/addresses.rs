//! The IP addresses of guests, for `get -o wide` alone: asked of the guest agent and of containers, within a budget. Whoever
//! does not answer has none.

use crate::base::id::{GuestType, VmId};
use crate::engine::reconcile::Cluster;
use crate::kinds::guest::observed::decode_row;
use crate::pve::request::Query;
use crate::resource::index::GuestRow;
use crate::resource::interfaces::{cards, query};
use crate::resource::kind::Listed;
use crate::resource::observation::Observation;
use crate::resource::reference::Identity;
use futures::StreamExt;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// Guests asked at most: an agent that hangs holds a worker of its node for seconds.
pub const GUESTS_MAX: usize = 100;
/// Guests asked at once; pveproxy has three workers a node.
const AT_ONCE: usize = 8;
/// Time for all of it.
const TIME_MAX: Duration = Duration::from_secs(4);

/// Addresses by guest; one that did not answer in time is not among them.
pub async fn addresses(cluster: &Cluster<'_>, listed: &[Listed], seen: &Observation) -> BTreeMap<VmId, Vec<String>> {
    let rows = listed.iter().filter_map(|l| match &l.identity {
        Identity::Guest { vmid, .. } => seen.index.guests.get(vmid),
        Identity::Pool(_) | Identity::Object { .. } => None,
    });
    let asked: Vec<(VmId, Query)> =
        rows.filter(|r| may_answer(r, seen)).map(|r| (r.vmid, query(r))).take(GUESTS_MAX).collect();
    let found = Mutex::new(BTreeMap::new());
    let all = futures::stream::iter(asked).for_each_concurrent(AT_ONCE, |(vmid, query)| {
        let found = &found;
        async move {
            // Asked once: this is a look, not a need.
            if let Ok(answer) = cluster.api.get(&query).await {
                found.lock().expect("no holder of this lock panics").insert(vmid, read(&answer));
            }
        }
    });
    // The answers that came in time are kept.
    let _ = tokio::time::timeout(TIME_MAX, all).await;
    found.into_inner().expect("no holder of this lock panics")
}

/// Whether somebody is there to answer: it runs, on a node that is there, and a VM has its agent switched on.
fn may_answer(row: &std::sync::Arc<GuestRow>, seen: &Observation) -> bool {
    let online = seen.index.nodes.get(&row.node).is_none_or(|n| n.online);
    let agent = |text: &String| text.split(',').any(|part| matches!(part, "1" | "enabled=1"));
    let willing = match row.guest {
        GuestType::Lxc => true,
        GuestType::Qemu => {
            decode_row(row, seen).ok().flatten().is_some_and(|guest| guest.config.get("agent").is_some_and(agent))
        }
    };
    online && willing && row.status == "running"
}

/// Addresses in an answer of [`query`], without the loopback's and those that lead no farther than the wire.
pub fn read(answer: &Value) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for address in cards(answer).into_iter().filter(|c| c.name != "lo").flat_map(|c| c.addresses) {
        let address = address.to_string();
        if !out.contains(&address) {
            out.push(address);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::list;
    use crate::pve::api::Api;
    use crate::pve::error::PveError;
    use crate::pve::request::Call;
    use crate::resource::index::Index;
    use crate::secret_files::Folder;
    use crate::sim::Sim;
    use crate::sim::baseline::Baseline;
    use futures::future::BoxFuture;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Answers for the guests with an even number, and never for the others.
    struct Moody(AtomicUsize);

    impl Api for Moody {
        fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let answers = query.path.trim_end_matches("/interfaces").ends_with(['0', '2', '4', '6', '8']);
            Box::pin(async move {
                if answers {
                    return Ok(json!([{"name": "eth0", "inet": "10.0.0.1/24"}]));
                }
                futures::future::pending().await
            })
        }

        fn send<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
            unreachable!("a look sends nothing")
        }
    }

    #[test]
    fn agents_that_hang_hold_up_nobody_for_long_and_not_all_of_many_are_asked() {
        let rows: Vec<Value> = (0..GUESTS_MAX as u32 + 50)
            .map(|n| json!({"type": "lxc", "vmid": 100 + n, "node": "a", "status": "running"}))
            .collect();
        let null = Value::Null;
        let index = Index::decode([&null, &null, &Value::from(rows), &null, &null, &null]);
        let seen = Observation::new(index);
        let listed = list::find("ct").expect("a kind").list(&seen);
        let (api, clock) = (Moody(AtomicUsize::new(0)), Sim::new(Baseline::Homelab).clock());
        let names = Sim::new(Baseline::Homelab).names();
        let cluster = Cluster { api: &api, clock: &clock, kinds: &list::KINDS, names: &names, files: &Folder::new("") };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let found = runtime.expect("a runtime").block_on(addresses(&cluster, &listed, &seen));
        assert!(!found.is_empty() && found.len() < GUESTS_MAX, "{} answered", found.len());
        assert_eq!(found.values().next().map(Vec::as_slice), Some(&["10.0.0.1".to_owned()][..]));
        assert!(api.0.load(Ordering::Relaxed) <= GUESTS_MAX);
    }

    #[test]
    fn addresses_that_lead_somewhere() {
        let agent = json!({"result": [
            {"name": "lo", "ip-addresses": [{"ip-address": "127.0.0.1"}]},
            {"name": "eth0", "ip-addresses": [{"ip-address": "10.0.0.5"}, {"ip-address": "fe80::1"}, {"ip-address": "2001:db8::5"}]},
            {"name": "docker0"},
        ]});
        assert_eq!(read(&agent), ["10.0.0.5", "2001:db8::5"]);
        let old = json!([{"name": "lo", "inet": "127.0.0.1/8"}, {"name": "eth0", "inet": "10.0.0.6/24", "inet6": "fe80::2/64"}]);
        assert_eq!(read(&old), ["10.0.0.6"]);
        assert!(read(&Value::Null).is_empty());
    }
}
