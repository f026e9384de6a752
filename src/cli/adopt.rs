//! `adopt`: takes over objects that exist and that manifests describe.

use crate::cli::args::{self, Global};
use crate::cli::job::{self, Job};
use crate::cli::kind::find_kind;
use crate::cli::run::{Ended, Failure, block_on};
use crate::cli::{exit, manifests};
use crate::plan::assemble::Settings;
use crate::resource::reference::ResourceRef;
use std::collections::BTreeSet;

/// `adopt`.
pub fn adopt(global: &Global, args: &args::Adopt) -> Ended {
    let tree = manifests::read(&args.sources)?;
    let mut chosen: BTreeSet<ResourceRef> =
        if args.all { tree.desired.resources.keys().cloned().collect() } else { BTreeSet::new() };
    for object in &args.objects {
        let (kind, name) = object.split_once('/').ok_or_else(|| {
            Failure::new(exit::USAGE, format!("`{object}` names no object")).hint("write it like VirtualMachine/web-01")
        })?;
        let resource = ResourceRef::new(find_kind(kind)?.name(), name);
        if !tree.desired.resources.contains_key(&resource) {
            let failure = Failure::new(exit::USAGE, format!("no manifest declares {resource}"));
            return Err(failure.hint("what is adopted needs a manifest that says what it shall be"));
        }
        chosen.insert(resource);
    }
    let session = job::open(global, &tree)?;
    let settings = Settings {
        adopt: chosen.clone(),
        only: Some(chosen),
        root_ticket: session.root_ticket,
        links: session.links.clone(),
        ways: session.ways(),
        left_lock: session.left_lock(),
        ..Settings::default()
    };
    let job = Job {
        global,
        format: args.format.output.as_ref(),
        yes: args.yes,
        dry_run: args.dry_run,
        consent: job::consent(&args.allow, None),
        person: &job::AtTerminal,
    };
    let ended = block_on(job.run(&session, &tree.desired, &settings, Some(&tree.loaded)))?;
    session.close()?;
    ended
}
