//! Two rounds of reads: the index, then what the planner and the kinds ask for. Nothing is asked twice in a pass.

use crate::base::clock::Clock;
use crate::base::links::Links;
use crate::base::resolver::{Resolution, Resolver};
use crate::engine::reconcile::Cluster;
use crate::lockout::reads as lockout;
use crate::plan::assemble::Settings;
use crate::plan::desired::{Desired, DesiredSet};
use crate::plan::identify;
use crate::pve::api::Api;
use crate::pve::error::{PveError, Refusal};
use crate::pve::request::Query;
use crate::resource::index::{self, GuestRow, Index};
use crate::resource::kind::AnyKind;
use crate::resource::observation::{Answer, Observation};
use crate::resource::reference::Identity;
use futures::StreamExt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Reads in flight at once: pveproxy has three workers a node, more than a few gain nothing (facts.md, Transport).
const READS_AT_ONCE: usize = 16;
/// How often a read is tried before its failure is believed.
const ATTEMPTS_MAX: u32 = 4;

/// Guests asked at once for their addresses: an agent that hangs holds one of the three workers of its node.
const GUESTS_AT_ONCE: usize = 6;
/// After this long no further guest is asked: agents that hang must not hang the run. PVE gives up on each after some seconds.
const ASKING_MS_MAX: u64 = 10_000;

/// A read, repeated while its failure may pass.
pub async fn get(api: &dyn Api, clock: &dyn Clock, query: &Query) -> Result<Value, PveError> {
    let mut wait = Duration::from_millis(200);
    let mut attempt = 1;
    loop {
        match api.get(query).await {
            Err(error) if attempt < ATTEMPTS_MAX && may_pass(&error) && !is_agents(query, &error) => {
                clock.sleep(wait).await;
                wait *= 2;
                attempt += 1;
            }
            answer => return answer,
        }
    }
}

/// Whether it is the word of a guest's agent. One that is silent holds a worker for seconds each time: the next look asks it again.
fn is_agents(query: &Query, error: &PveError) -> bool {
    query.path.contains("/agent/") && matches!(error, PveError::Refused { status: 500, .. })
}

/// Whether the same read may succeed a moment later.
fn may_pass(error: &PveError) -> bool {
    match error {
        PveError::Lost { .. } | PveError::Garbled { .. } => true,
        // The client has tried already, on every endpoint.
        PveError::Unsent { .. } | PveError::TaskFailed { .. } => false,
        PveError::Refused { .. } => {
            matches!(
                error.refusal(),
                Some(Refusal::Unavailable | Refusal::Busy | Refusal::NodeOffline | Refusal::Unauthenticated)
            ) || matches!(error, PveError::Refused { status: 500, .. } if error.refusal() == Some(Refusal::Other))
        }
    }
}

/// The table of contents, with the lists that some kinds need. A list that is refused is kept as that: it concerns these
/// kinds only.
pub async fn index(api: &dyn Api, clock: &dyn Clock, lists: &BTreeSet<Query>) -> Result<Index, PveError> {
    let queries = index::queries();
    let (first, others) = queries.split_first().expect("an index has queries");
    let mut answers = vec![get(api, clock, first).await];
    answers.extend(futures::future::join_all(others.iter().map(|q| get(api, clock, q))).await);
    let mut values = Vec::with_capacity(answers.len());
    for (query, answer) in queries.iter().zip(answers) {
        match answer {
            Ok(value) => values.push(value),
            // A token may be forbidden to list pools; everything else is indispensable.
            Err(error) if error.refusal() == Some(Refusal::Forbidden) && query.path == "/pools" => {
                values.push(Value::Null);
            }
            Err(error) => return Err(error),
        }
    }
    let [a, b, c, d, e, f] = &values[..] else { unreachable!("six queries, six answers") };
    let mut index = Index::decode([a, b, c, d, e, f]);
    index.at = i64::try_from(clock.now_ms() / 1000).unwrap_or(i64::MAX);
    let answers = futures::future::join_all(lists.iter().map(|q| get(api, clock, q))).await;
    for (query, answer) in lists.iter().zip(answers) {
        if let Err(error @ PveError::Unsent { .. }) = answer {
            return Err(error);
        }
        index.lists.insert(query.clone(), answer.map(Arc::new).map_err(|error| error.to_string()));
    }
    Ok(index)
}

/// The lists of kinds that only the nodes themselves know.
pub fn on_nodes(kinds: &[&dyn AnyKind], index: &Index, links: &Links) -> BTreeSet<Query> {
    let nodes = index.nodes.values().filter(|node| node.online && links.reach(&node.name));
    nodes.flat_map(|node| kinds.iter().flat_map(|kind| kind.lists_of(&node.name, index))).collect()
}

/// The addresses of names, each asked once.
async fn resolve(names: &dyn Resolver, desired: &DesiredSet) -> BTreeMap<String, Resolution> {
    let all: BTreeSet<String> = desired.resources.values().flat_map(|want| want.kind.names(&want.spec)).collect();
    let asked = all.into_iter().map(|name| async move {
        let resolution = names.resolve(&name).await;
        (name, resolution)
    });
    futures::stream::iter(asked).buffer_unordered(READS_AT_ONCE).collect().await
}

/// What guests say of their addresses, each asked once: one that does not answer now is asked by the next run.
async fn ask(api: &dyn Api, clock: &dyn Clock, asked: BTreeSet<Query>) -> Vec<(Query, Answer)> {
    let start = clock.now_ms();
    let mut asked: Vec<Query> = asked.into_iter().collect();
    // Where the time does not do for all, it is not always for the same ones.
    let first = usize::try_from(start / 1000).unwrap_or_default().checked_rem(asked.len()).unwrap_or_default();
    asked.rotate_left(first);
    let answers = asked.into_iter().map(|query| async move {
        if clock.now_ms().saturating_sub(start) > ASKING_MS_MAX {
            return None;
        }
        let answer = api.get(&query).await;
        Some((query, answer.map(Arc::new)))
    });
    futures::stream::iter(answers).buffer_unordered(GUESTS_AT_ONCE).filter_map(std::future::ready).collect().await
}

/// Everything that a plan of the set needs; to delete, also the lists of kinds that no manifest names any more.
pub async fn observe(
    cluster: &Cluster<'_>,
    desired: &DesiredSet,
    settings: &Settings,
) -> Result<Observation, PveError> {
    let Cluster { api, clock, kinds, names, files } = *cluster;
    let named = |kind: &&&'static dyn AnyKind| desired.resources.keys().any(|r| r.kind == kind.name());
    let doomed = |kind: &&&'static dyn AnyKind| settings.delete.iter().any(|r| r.kind == kind.name());
    let wanted: Vec<&'static dyn AnyKind> =
        kinds.iter().filter(|k| named(k) || doomed(k) || settings.prune && k.marks()).copied().collect();
    let mut lists: BTreeSet<Query> = wanted.iter().flat_map(|k| k.lists()).collect();
    let filters = || desired.resources.values().any(|want| want.kind.filters(&want.spec));
    let guarded = !settings.ways.is_empty() && (lists.iter().any(lockout::is_firewall) || filters());
    if guarded {
        lists.extend(lockout::lists());
    }
    let index = index(api, clock, &lists).await?;
    let mut reads = identify::reads(desired, &index, kinds);
    reads.extend(on_nodes(&wanted, &index, &settings.links));
    if guarded {
        reads.extend(lockout::reads(&index, &homes(desired, &index, settings)));
    }
    // What both rounds ask for is asked once.
    let listed = |query: &Query| Some((query.clone(), index.lists.get(query)?.as_ref().ok()?.clone()));
    let again: Vec<(Query, Arc<Value>)> = reads.iter().filter_map(listed).collect();
    again.iter().for_each(|(query, _)| {
        reads.remove(query);
    });
    let asked = identify::addresses(desired, &index);
    let (seen, names, told) =
        futures::future::join3(read_all(api, clock, index, reads), resolve(names, desired), ask(api, clock, asked))
            .await;
    let mut seen = seen?;
    told.into_iter().for_each(|(query, answer)| seen.add(query, answer));
    for (query, answer) in again {
        seen.add(query, Ok(answer));
    }
    seen.names = names;
    let paths: BTreeSet<String> = desired.resources.values().flat_map(|want| want.kind.files(&want.spec)).collect();
    seen.files = paths.into_iter().map(|path| (path.clone(), files.look(&path))).collect();
    seen.at = i64::try_from(clock.now_ms() / 1000).unwrap_or(i64::MAX);
    Ok(seen)
}

/// The guests in which we may be running, by the addresses that their manifests give them.
fn homes<'a>(desired: &DesiredSet, index: &'a Index, settings: &Settings) -> Vec<&'a GuestRow> {
    let ours = |want: &&Desired| {
        let addresses = want.kind.addresses(&want.spec);
        settings.ways.iter().any(|way| addresses.contains(&way.from))
    };
    let homes: Vec<&Desired> = desired.resources.values().filter(ours).collect();
    if homes.is_empty() {
        return Vec::new();
    }
    let known = identify::identify(desired, &Observation::new(index.clone())).known;
    let identities = homes.iter().filter_map(|want| known.get(&want.resource));
    let row = |identity: &Identity| match identity {
        Identity::Guest { vmid, .. } => index.guests.get(vmid).map(AsRef::as_ref),
        Identity::Object { .. } | Identity::Pool(_) => None,
    };
    identities.filter_map(row).collect()
}

/// Answers to many reads. Failures that concern one object are kept as its answer; those that concern the whole connection
/// end the pass.
pub async fn read_all(
    api: &dyn Api,
    clock: &dyn Clock,
    index: Index,
    reads: BTreeSet<Query>,
) -> Result<Observation, PveError> {
    let mut seen = Observation::new(index);
    let mut answers = futures::stream::iter(reads.into_iter().map(|query| async move {
        let answer = get(api, clock, &query).await;
        (query, answer)
    }))
    .buffer_unordered(READS_AT_ONCE);
    while let Some((query, answer)) = answers.next().await {
        if let Err(error @ PveError::Unsent { .. }) = answer {
            return Err(error);
        }
        seen.add(query, answer.map(Arc::new));
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::pve::request::Call;
    use crate::sim::Sim;
    use crate::sim::baseline::Baseline;
    use crate::sim::clock::SimClock;
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Guests whose agents hang until PVE gives up on them.
    struct Hanging(SimClock, AtomicUsize);

    impl Api for Hanging {
        fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                self.0.sleep(Duration::from_secs(3)).await;
                let reason = "VM 100 qmp command 'guest-network-get-interfaces' failed - got timeout".to_owned();
                Err(PveError::Refused { request: query.to_string(), status: 500, reason, errors: BTreeMap::new() })
            })
        }

        fn send<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
            unreachable!("a look sends nothing")
        }
    }

    #[test]
    fn a_silent_agent_is_asked_once_in_a_look() {
        let clock = Sim::new(Baseline::Homelab).clock();
        let tries = |path: &str| {
            let api = Hanging(clock.clone(), AtomicUsize::new(0));
            let query = Query::new(path);
            let mut run = Box::pin(get(&api, &clock, &query));
            let told = (0..10_000).find_map(|_| (&mut run).now_or_never()).expect("it ends");
            assert!(told.is_err());
            api.1.load(Ordering::Relaxed)
        };
        assert_eq!(tries("/nodes/a/qemu/100/agent/file-read"), 1);
        assert_eq!(tries("/nodes/a/qemu/100/pending"), 4);
    }

    #[test]
    fn agents_that_hang_are_asked_once_and_do_not_hang_the_run() {
        let clock = Sim::new(Baseline::Homelab).clock();
        let api = Hanging(clock.clone(), AtomicUsize::new(0));
        let asked: BTreeSet<Query> = (100..1100).map(|n| Query::new(format!("/nodes/a/qemu/{n}/agent"))).collect();
        let start = clock.now_ms();
        let mut run = Box::pin(ask(&api, &clock, asked));
        let told = (0..10_000).find_map(|_| (&mut run).now_or_never()).expect("it ends");
        let count = api.1.load(Ordering::Relaxed);
        assert!(!told.is_empty() && told.len() == count && count < 100, "{count} guests were asked");
        // Virtual time counts each of those that wait at once.
        let longest = ASKING_MS_MAX + 3000 * (GUESTS_AT_ONCE as u64 + 1);
        assert!(clock.now_ms() - start <= longest, "{} ms", clock.now_ms() - start);
    }
}
