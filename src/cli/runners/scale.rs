//! `runners scale`: so many idle runners, now and once. What a manifest says counts again afterwards.

use crate::cli::args::Global;
use crate::cli::args::runners::Scale;
use crate::cli::exit;
use crate::cli::job::{self, AtTerminal, Job};
use crate::cli::run::{Ended, Failure, block_on};
use crate::cli::runners::drive::{Drive, End};
use crate::cli::runners::{Of, read};
use crate::kinds::runner_pool::judge::Stage;
use crate::kinds::runner_pool::look::IDLE;
use crate::kinds::runner_pool::spec::RunnerPoolSpec;
use std::io::Write;

/// `runners scale`.
pub fn scale(global: &Global, args: &Scale) -> Ended {
    let (mut tree, only) = read(std::slice::from_ref(&args.pool), &args.files)?;
    for want in tree.desired.resources.values_mut().filter(|want| only.contains(&want.resource)) {
        want.annotations.insert(IDLE.to_owned(), args.count.to_string());
        let Some(spec) = want.spec.downcast_ref::<RunnerPoolSpec>() else { continue };
        if args.count > spec.size.max {
            let failure = Failure::new(
                exit::USAGE,
                format!("{} are more than its `size.max`, which is {}", args.count, spec.size.max),
            );
            return Err(failure.hint("raise it in the manifest"));
        }
    }
    let session = job::open(global, &tree)?;
    let ended = block_on(async {
        let job = Job {
            global,
            format: args.format.output.as_ref(),
            yes: args.yes,
            dry_run: false,
            consent: job::consent(&[], None),
            person: &AtTerminal,
        };
        let drive = Drive { session: &session, tree: &tree, only, job, timeout: args.timeout };
        let idle = |of: &Of<'_>| of.stands.machines.iter().filter(|machine| machine.stage == Stage::Idle).count();
        let end = |of: &Of<'_>| {
            let (there, wanted) = (idle(of), usize::try_from(args.count).unwrap_or(usize::MAX));
            // A pool that is full of machines that work gives no more.
            let serving = of.stands.machines.iter().filter(|machine| machine.stage.serves()).count();
            let starting = of.stands.machines.iter().any(|machine| machine.stage.is_starting());
            let full = serving >= usize::try_from(of.spec.size.max).unwrap_or(usize::MAX) && !starting;
            let there = if wanted == 0 { there == 0 } else { there >= wanted };
            if there || full { End::There } else { End::Further }
        };
        let stands = drive.until(end).await?;
        if !global.quiet {
            let idle = stands.machines.iter().filter(|machine| machine.stage == Stage::Idle).count();
            let _ = writeln!(
                anstream::stderr(),
                "{idle} idle now. What the manifest says counts again at the next look of whoever keeps the pool; to keep it \
                 so, write `size.minIdle`"
            );
        }
        Ok(exit::DONE)
    })?;
    session.close()?;
    ended
}
