//! `apply` and `plan`: the steps, saved or done.

use crate::cli::args::{self, Global};
use crate::cli::diff::show;
use crate::cli::job::{self, Job};
use crate::cli::problems::problems;
use crate::cli::run::{Ended, Failure, block_on};
use crate::cli::{exit, manifests, saved};
use crate::engine::reconcile::preview;
use crate::plan::gate::gate;
use std::io::Write;

/// `apply`.
pub fn apply(global: &Global, args: &args::Apply) -> Ended {
    let (tree, expected) = match &args.plan_file {
        Some(path) => saved::load_file(path).map(|(tree, saved)| (tree, Some(saved)))?,
        None => (manifests::read(&args.sources)?, None),
    };
    let session = job::open(global, &tree)?;
    let mut settings = job::settings(&tree, &args.guards, &session)?;
    if let Some(expected) = &expected {
        settings.prune = expected.prune;
        settings.only.clone_from(&tree.only);
    }
    let job = Job {
        global,
        format: args.format.output.as_ref(),
        yes: args.yes,
        dry_run: args.dry_run,
        consent: job::consent(&args.guards.allow, args.guards.max_deletes),
        person: &job::AtTerminal,
    };
    let ended = block_on(async {
        if let Some(expected) = &expected {
            let plan = preview(&session.cluster(), &tree.desired, &settings)
                .await
                .map_err(|e| Failure::wire(exit::FAILED, &e))?;
            saved::compare(expected, &plan)?;
        }
        job.run(&session, &tree.desired, &settings, Some(&tree.loaded)).await
    })?;
    session.close()?;
    ended
}

/// `plan`.
pub fn plan(global: &Global, args: &args::Plan) -> Ended {
    let tree = manifests::read(&args.sources)?;
    let session = job::open(global, &tree)?;
    let settings = job::settings(&tree, &args.guards, &session)?;
    let plan = block_on(preview(&session.cluster(), &tree.desired, &settings))?
        .map_err(|e| Failure::wire(exit::FAILED, &e))?;
    session.close()?;
    show(&plan, args.output.as_ref())?;
    let refusals = gate(&plan, &job::consent(&args.guards.allow, args.guards.max_deletes));
    let count = problems(&plan, Some(&tree.loaded), &refusals);
    if count > 0 {
        return Err(job::stand_against(count));
    }
    if let Some(path) = &args.out {
        saved::save(path, &tree, &settings, &plan)?;
        if !global.quiet {
            let _ = writeln!(
                anstream::stderr(),
                "saved in {}; do it with: pvectl apply {}",
                path.display(),
                path.display()
            );
        }
    }
    Ok(exit::DONE)
}
