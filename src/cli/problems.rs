//! What stands against a plan, each thing with its place in the manifests.

use crate::base::diagnostic::{Diagnostic, render};
use crate::bind::documents::place;
use crate::cli::run::colour_err;
use crate::manifest::load::Loaded;
use crate::plan::assemble::Plan;
use crate::plan::gate::Refusal;
use std::io::Write;

/// Prints what stands against a plan; says how many things there are.
pub fn problems(plan: &Plan, loaded: Option<&Loaded>, refusals: &[Refusal]) -> usize {
    let list = diagnostics(plan, loaded, refusals);
    let nothing = crate::base::source::Sources::default();
    let sources = loaded.map_or(&nothing, |l| &l.sources);
    let mut err = anstream::stderr();
    for diagnostic in &list {
        let _ = writeln!(err, "{}\n", render(diagnostic, sources, colour_err()));
    }
    list.len()
}

/// What stands against a plan, as diagnostics of its manifests.
pub fn diagnostics(plan: &Plan, loaded: Option<&Loaded>, refusals: &[Refusal]) -> Vec<Diagnostic> {
    let mut list: Vec<Diagnostic> = Vec::new();
    for delta in &plan.deltas {
        for problem in &delta.problems {
            let mut diagnostic = Diagnostic::error("refused", format!("{}: {}", delta.resource, problem.message));
            if let Some(span) = loaded.and_then(|l| place(l, &delta.resource.declared(), &problem.path)) {
                diagnostic = diagnostic.at(span, "");
            }
            diagnostic.help.clone_from(&problem.help);
            list.push(diagnostic);
        }
    }
    for refusal in refusals {
        match refusal {
            Refusal::Problem(_, _) => {}
            Refusal::DataLoss(resource, step) => list.push(
                Diagnostic::error("data-loss", format!("{resource}: `{step}` destroys data"))
                    .help("if that is what you want: --allow data-loss"),
            ),
            Refusal::TooManyDeletes { deletes, limit } => list.push(
                Diagnostic::error(
                    "too-many-deletes",
                    format!("{deletes} objects would be deleted, and at most {limit} may"),
                )
                .help(format!("if that is what you want: --max-deletes {deletes}")),
            ),
        }
    }
    list
}
