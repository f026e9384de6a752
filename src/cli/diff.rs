//! `diff` and `drift`: what differs, and whose doing it is.

use crate::base::quantity::counted;
use crate::cli::args::{self, Global, Guards};
use crate::cli::daemon;
use crate::cli::ending::all_seen;
use crate::cli::output::{self, DriftFormat, Format};
use crate::cli::problems::problems;
use crate::cli::run::{Ended, Failure, block_on, colour_out, print};
use crate::cli::{exit, job, manifests};
use crate::daemon::drift::of_plan;
use crate::daemon::report::findings::{Findings, Times, compared};
use crate::daemon::report::{junit, markdown};
use crate::engine::reconcile::preview;
use crate::plan::assemble::Plan;
use crate::report::{json as as_json, text};
use crate::resource::merge::Cause;
use crate::resource::step::Action;

/// `diff`.
pub fn diff(global: &Global, args: &args::Diff) -> Ended {
    let tree = manifests::read(&args.sources)?;
    let session = job::open(global, &tree)?;
    let settings = job::settings(&tree, &args.guards, &session)?;
    let plan = block_on(preview(&session.cluster(), &tree.desired, &settings))?
        .map_err(|e| Failure::wire(exit::NOT_COMPARED, &e))?;
    session.close()?;
    show(&plan, args.format.output.as_ref())?;
    let problems = problems(&plan, Some(&tree.loaded), &[]);
    if problems > 0 {
        return Err(Failure { code: exit::NOT_COMPARED, ..job::stand_against(problems) });
    }
    all_seen(&plan)?;
    Ok(if plan.is_empty() || !args.exit_code { exit::DONE } else { exit::DIFFERENCES })
}

/// `drift`.
pub fn drift(global: &Global, args: &args::Drift) -> Ended {
    if let Some(address) = &args.daemon {
        let usual = || std::env::var("PVECTL_DAEMON").unwrap_or_default();
        let address = if address.is_empty() { usual() } else { address.clone() };
        return daemon::drift(&address, args);
    }
    let tree = manifests::read(&args.sources)?;
    let session = job::open(global, &tree)?;
    let settings = job::settings(&tree, &Guards::default(), &session)?;
    let mut plan = block_on(preview(&session.cluster(), &tree.desired, &settings))?
        .map_err(|e| Failure::wire(exit::NOT_COMPARED, &e))?;
    session.close()?;
    let problems = problems(&plan, Some(&tree.loaded), &[]);
    let seen = all_seen(&plan);
    let (drifts, looked) = (of_plan(&plan, 0), compared(&plan));
    for delta in &mut plan.deltas {
        delta.changes.retain(|c| matches!(c.cause, Cause::Drift | Cause::Conflict));
        delta.steps.clear();
        delta.notes.clear();
    }
    plan.deltas.retain(|d| !d.changes.is_empty());
    plan.orphans.clear();
    let findings = Findings { drift: &drifts, compared: &looked, times: Times::None };
    match &args.output {
        Some(DriftFormat::Markdown) => print(&markdown::write(&findings)),
        Some(DriftFormat::Junit) => print(&junit::write(&findings)),
        Some(DriftFormat::Plain(Format::Value(form))) => print(&output::write(&as_json::plan(&plan), form)?),
        Some(DriftFormat::Plain(Format::Name)) => {
            plan.deltas.iter().for_each(|d| print(&format!("{}\n", d.resource)));
        }
        Some(DriftFormat::Plain(Format::Table | Format::Wide)) | None => {
            plan.deltas.iter().for_each(|d| print(&text::delta(d, colour_out())));
            let fields: usize = plan.deltas.iter().map(|d| d.changes.len()).sum();
            print(&format!("{} drifted, in {}\n", counted(plan.deltas.len(), "object"), counted(fields, "field")));
        }
    }
    if problems > 0 {
        return Err(Failure::new(
            exit::NOT_COMPARED,
            format!("{}: not everything could be compared", counted(problems, "problem")),
        ));
    }
    seen?;
    Ok(if plan.deltas.is_empty() { exit::DONE } else { exit::DIFFERENCES })
}

/// Prints a plan.
pub fn show(plan: &Plan, format: Option<&Format>) -> Result<(), Failure> {
    match format {
        Some(Format::Value(form)) => print(&output::write(&as_json::plan(plan), form)?),
        Some(Format::Name) => {
            plan.deltas.iter().filter(|d| d.action != Action::NoOp).for_each(|d| print(&format!("{}\n", d.resource)))
        }
        Some(Format::Table | Format::Wide) | None => print(&text::plan(plan, colour_out())),
    }
    Ok(())
}
