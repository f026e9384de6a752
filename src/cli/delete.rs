//! `delete`: what pvectl owns, by name or by manifest.

use crate::cli::args::{self, Global};
use crate::cli::job::{self, Job};
use crate::cli::kind::find_kind;
use crate::cli::run::{Ended, Failure, block_on};
use crate::cli::session::Session;
use crate::cli::{exit, manifests};
use crate::engine::observe::observe;
use crate::engine::reconcile::Cluster;
use crate::plan::assemble::Settings;
use crate::plan::desired::DesiredSet;
use crate::resource::reference::ResourceRef;
use std::collections::{BTreeMap, BTreeSet};

/// `delete`.
pub fn delete(global: &Global, args: &args::Delete) -> Ended {
    let job = Job {
        global,
        format: args.format.output.as_ref(),
        yes: args.yes,
        dry_run: args.dry_run,
        consent: job::consent(&args.allow, args.max_deletes),
        person: &job::AtTerminal,
    };
    if let Some(kind) = &args.kind {
        return delete_by_name(&job, kind, &args.names);
    }
    let tree = manifests::read(&args.sources)?;
    let session = job::open(global, &tree)?;
    let doomed: BTreeSet<ResourceRef> =
        tree.only.clone().unwrap_or_else(|| tree.desired.resources.keys().cloned().collect());
    let settings = Settings {
        delete: doomed.clone(),
        only: Some(doomed),
        root_ticket: session.root_ticket,
        links: session.links.clone(),
        ways: session.ways(),
        left_lock: session.left_lock(),
        ..Settings::default()
    };
    let ended = block_on(job.run(&session, &tree.desired, &settings, Some(&tree.loaded)))?;
    session.close()?;
    ended
}

fn delete_by_name(job: &Job<'_>, kind: &str, names: &[String]) -> Ended {
    let kind = find_kind(kind)?;
    let session = Session::open(job.global, None)?;
    let ended = block_on(async {
        let cluster = session.cluster();
        let nothing = DesiredSet { set: String::new(), resources: BTreeMap::new() };
        let settings = Settings { prune: true, ..Settings::default() };
        let seen = observe(&Cluster { kinds: &[kind], ..cluster }, &nothing, &settings)
            .await
            .map_err(|e| Failure::wire(exit::FAILED, &e))?;
        let listed = kind.list(&seen);
        let mut sets: BTreeMap<String, BTreeSet<ResourceRef>> = BTreeMap::new();
        for name in names {
            let resource = ResourceRef::new(kind.name(), name);
            let found: Vec<_> =
                listed.iter().filter(|l| l.marker.as_ref().is_some_and(|m| m.owner == resource)).collect();
            let Some(marker) = found.first().and_then(|l| l.marker.as_ref()) else {
                let foreign = listed.iter().any(|l| l.name == *name);
                let offline = seen.index.nodes.values().find(|n| !n.online).map(|n| n.name.as_str());
                let hint = match (foreign, offline) {
                    (true, _) => "it is there, but pvectl does not own it, so pvectl does not delete it".to_owned(),
                    (false, Some(node)) => format!("node {node} does not answer, and what is on it is not known"),
                    (false, None) => "pvectl get lists what there is".to_owned(),
                };
                return Err(Failure::new(exit::REFUSED, format!("pvectl owns no {resource}")).hint(hint));
            };
            if found.len() > 1 {
                return Err(Failure::new(
                    exit::REFUSED,
                    format!("{} objects say that they are {resource}", found.len()),
                )
                .hint("delete the wrong ones in PVE first"));
            }
            sets.entry(marker.set.clone()).or_default().insert(resource);
        }
        let mut code = exit::DONE;
        for (set, doomed) in sets {
            let settings = Settings {
                delete: doomed.clone(),
                only: Some(doomed),
                root_ticket: session.root_ticket,
                links: session.links.clone(),
                ways: session.ways(),
                left_lock: session.left_lock(),
                ..Settings::default()
            };
            code = code.max(job.run(&session, &DesiredSet { set, resources: BTreeMap::new() }, &settings, None).await?);
        }
        Ok(code)
    })?;
    session.close()?;
    ended
}
