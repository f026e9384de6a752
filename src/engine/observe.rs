//! Two rounds of reads: the index, then what the planner and the kinds ask for. Nothing is asked twice in a pass.

use crate::base::clock::Clock;
use crate::base::resolver::{Resolution, Resolver};
use crate::engine::reconcile::Cluster;
use crate::plan::assemble::Settings;
use crate::plan::desired::DesiredSet;
use crate::plan::identify;
use crate::pve::api::Api;
use crate::pve::error::{PveError, Refusal};
use crate::pve::request::Query;
use crate::resource::index::{self, Index};
use crate::resource::kind::AnyKind;
use crate::resource::observation::Observation;
use futures::StreamExt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Reads in flight at once: pveproxy has three workers a node, more than a few gain nothing (facts.md, Transport).
const READS_AT_ONCE: usize = 16;
/// How often a read is tried before its failure is believed.
const ATTEMPTS_MAX: u32 = 4;

/// A read, repeated while its failure may pass.
pub async fn get(api: &dyn Api, clock: &dyn Clock, query: &Query) -> Result<Value, PveError> {
    let mut wait = Duration::from_millis(200);
    let mut attempt = 1;
    loop {
        match api.get(query).await {
            Err(error) if attempt < ATTEMPTS_MAX && may_pass(&error) => {
                clock.sleep(wait).await;
                wait *= 2;
                attempt += 1;
            }
            answer => return answer,
        }
    }
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
    let answers = futures::future::join_all(lists.iter().map(|q| get(api, clock, q))).await;
    for (query, answer) in lists.iter().zip(answers) {
        if let Err(error @ PveError::Unsent { .. }) = answer {
            return Err(error);
        }
        index.lists.insert(query.clone(), answer.map(Arc::new).map_err(|error| error.to_string()));
    }
    Ok(index)
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

/// Everything that a plan of the set needs; to delete, also the lists of kinds that no manifest names any more.
pub async fn observe(
    cluster: &Cluster<'_>,
    desired: &DesiredSet,
    settings: &Settings,
) -> Result<Observation, PveError> {
    let Cluster { api, clock, kinds, names, files } = *cluster;
    let named = |kind: &&&'static dyn AnyKind| desired.resources.keys().any(|r| r.kind == kind.name());
    let doomed = |kind: &&&'static dyn AnyKind| settings.delete.iter().any(|r| r.kind == kind.name());
    let wanted = kinds.iter().filter(|k| named(k) || doomed(k) || settings.prune && k.marks());
    let lists = wanted.flat_map(|k| k.lists()).collect();
    let index = index(api, clock, &lists).await?;
    let reads = identify::reads(desired, &index, kinds);
    let (seen, names) = futures::future::join(read_all(api, clock, index, reads), resolve(names, desired)).await;
    let mut seen = seen?;
    seen.names = names;
    let paths: BTreeSet<String> = desired.resources.values().flat_map(|want| want.kind.files(&want.spec)).collect();
    seen.files = paths.into_iter().map(|path| (path.clone(), files.look(&path))).collect();
    seen.at = i64::try_from(clock.now_ms() / 1000).unwrap_or(i64::MAX);
    Ok(seen)
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
