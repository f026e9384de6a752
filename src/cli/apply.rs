//! `apply`, `diff`, `plan`, `delete`, `drift`: one preview behind all of them.

use crate::base::diagnostic::{Diagnostic, render};
use crate::cli::args::{self, Allow, Format, Global, Guards};
use crate::cli::bind::place;
use crate::cli::live::{Live, View};
use crate::cli::manifests::{self, Tree};
use crate::cli::run::{Ended, Failure, block_on, colour_err, colour_out, print};
use crate::cli::session::Session;
use crate::cli::{exit, saved};
use crate::engine::observe::observe;
use crate::engine::reconcile::{Blind, Halt, Report, preview, reconcile};
use crate::kinds::list;
use crate::manifest::load::Loaded;
use crate::plan::assemble::{Plan, Settings};
use crate::plan::desired::DesiredSet;
use crate::plan::gate::{Consent, Refusal, gate};
use crate::report::{json as as_json, text};
use crate::resource::merge::Cause;
use crate::resource::reference::ResourceRef;
use crate::resource::step::{Action, Note};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, IsTerminal, Write};

fn settings(tree: &Tree, guards: &Guards, session: &Session) -> Result<Settings, Failure> {
    if guards.prune && tree.only.is_some() {
        return Err(Failure::new(exit::USAGE, "--prune and -l do not go together: what a selector hides is not gone"));
    }
    if guards.prune && tree.loaded.partial {
        let failure = Failure::new(exit::USAGE, "--prune wants the whole tree: what was not read is not gone");
        return Err(failure.hint("name the folder that holds pvectl.yaml"));
    }
    Ok(Settings {
        partial: tree.loaded.partial,
        prune: guards.prune,
        only: tree.only.clone(),
        root_ticket: session.root_ticket,
        ..Settings::default()
    })
}

fn consent(allow: &[Allow], max_deletes: Option<usize>) -> Consent {
    Consent { data_loss: allow.contains(&Allow::DataLoss), max_deletes }
}

fn open(global: &Global, tree: &Tree) -> Result<Session, Failure> {
    let context = tree.loaded.settings.as_ref().and_then(|s| s.context.as_ref()).map(|(name, _)| name.as_str());
    Ok(Session::open(global, context)?)
}

/// `apply`.
pub fn apply(global: &Global, args: &args::Apply) -> Ended {
    let (tree, expected) = match &args.plan_file {
        Some(path) => saved::load_file(path).map(|(tree, saved)| (tree, Some(saved)))?,
        None => (manifests::read(&args.sources)?, None),
    };
    let session = open(global, &tree)?;
    let mut settings = settings(&tree, &args.guards, &session)?;
    if let Some(expected) = &expected {
        settings.prune = expected.prune;
        settings.only.clone_from(&tree.only);
    }
    let job = Job {
        global,
        json: args.format.output == Some(Format::Json),
        yes: args.yes,
        dry_run: args.dry_run,
        consent: consent(&args.guards.allow, args.guards.max_deletes),
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

/// `diff`.
pub fn diff(global: &Global, args: &args::Diff) -> Ended {
    let tree = manifests::read(&args.sources)?;
    let session = open(global, &tree)?;
    let settings = settings(&tree, &args.guards, &session)?;
    let plan = block_on(preview(&session.cluster(), &tree.desired, &settings))?
        .map_err(|e| Failure::wire(exit::NOT_COMPARED, &e))?;
    session.close()?;
    show(&plan, args.format.output);
    let problems = problems(&plan, Some(&tree.loaded), &[]);
    if problems > 0 {
        return Err(Failure::new(
            exit::NOT_COMPARED,
            format!("{problems} problems stand against this plan; nothing was sent"),
        ));
    }
    all_seen(&plan)?;
    Ok(if plan.is_empty() || !args.exit_code { exit::DONE } else { exit::DIFFERENCES })
}

/// `plan`.
pub fn plan(global: &Global, args: &args::Plan) -> Ended {
    let tree = manifests::read(&args.sources)?;
    let session = open(global, &tree)?;
    let settings = settings(&tree, &args.guards, &session)?;
    let plan = block_on(preview(&session.cluster(), &tree.desired, &settings))?
        .map_err(|e| Failure::wire(exit::FAILED, &e))?;
    session.close()?;
    show(&plan, args.output);
    let refusals = gate(&plan, consent(&args.guards.allow, args.guards.max_deletes));
    let count = problems(&plan, Some(&tree.loaded), &refusals);
    if count > 0 {
        return Err(Failure::new(exit::REFUSED, format!("{count} things stand against this plan; nothing was sent")));
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

/// `delete`.
pub fn delete(global: &Global, args: &args::Delete) -> Ended {
    let job = Job {
        global,
        json: args.format.output == Some(Format::Json),
        yes: args.yes,
        dry_run: args.dry_run,
        consent: consent(&args.allow, args.max_deletes),
    };
    if let Some(kind) = &args.kind {
        return delete_by_name(&job, kind, &args.names);
    }
    let tree = manifests::read(&args.sources)?;
    let session = open(global, &tree)?;
    let doomed: BTreeSet<ResourceRef> =
        tree.only.clone().unwrap_or_else(|| tree.desired.resources.keys().cloned().collect());
    let settings = Settings {
        delete: doomed.clone(),
        only: Some(doomed),
        root_ticket: session.root_ticket,
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
        let seen = observe(cluster.api, cluster.clock, &nothing, cluster.kinds)
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
                ..Settings::default()
            };
            code = code.max(job.run(&session, &DesiredSet { set, resources: BTreeMap::new() }, &settings, None).await?);
        }
        Ok(code)
    })?;
    session.close()?;
    ended
}

/// `adopt`.
pub fn adopt(global: &Global, args: &args::Adopt) -> Ended {
    let tree = manifests::read(&args.sources)?;
    let mut chosen = BTreeSet::new();
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
    let session = open(global, &tree)?;
    let settings =
        Settings { adopt: chosen.clone(), only: Some(chosen), root_ticket: session.root_ticket, ..Settings::default() };
    let job = Job {
        global,
        json: args.format.output == Some(Format::Json),
        yes: args.yes,
        dry_run: args.dry_run,
        consent: consent(&args.allow, None),
    };
    let ended = block_on(job.run(&session, &tree.desired, &settings, Some(&tree.loaded)))?;
    session.close()?;
    ended
}

/// `drift`.
pub fn drift(global: &Global, args: &args::Drift) -> Ended {
    let tree = manifests::read(&args.sources)?;
    let session = open(global, &tree)?;
    let settings = settings(&tree, &Guards::default(), &session)?;
    let mut plan = block_on(preview(&session.cluster(), &tree.desired, &settings))?
        .map_err(|e| Failure::wire(exit::NOT_COMPARED, &e))?;
    session.close()?;
    let problems = problems(&plan, Some(&tree.loaded), &[]);
    let compared = all_seen(&plan);
    for delta in &mut plan.deltas {
        delta.changes.retain(|c| matches!(c.cause, Cause::Drift | Cause::Conflict));
        delta.steps.clear();
        delta.notes.clear();
    }
    plan.deltas.retain(|d| !d.changes.is_empty());
    plan.orphans.clear();
    match args.format.output {
        Some(Format::Json) => print(&format!("{:#}\n", as_json::plan(&plan))),
        Some(Format::Yaml) => print(&yaml(&as_json::plan(&plan))),
        Some(Format::Name) => plan.deltas.iter().for_each(|d| print(&format!("{}\n", d.resource))),
        Some(Format::Table | Format::Wide) | None => {
            plan.deltas.iter().for_each(|d| print(&text::delta(d, colour_out())));
            let fields: usize = plan.deltas.iter().map(|d| d.changes.len()).sum();
            print(&format!("{} objects drifted, in {fields} fields\n", plan.deltas.len()));
        }
    }
    if problems > 0 {
        return Err(Failure::new(exit::NOT_COMPARED, format!("{problems} problems: not everything could be compared")));
    }
    compared?;
    Ok(if plan.deltas.is_empty() { exit::DONE } else { exit::DIFFERENCES })
}

/// A kind by what was typed.
pub fn find_kind(name: &str) -> Result<&'static dyn crate::resource::kind::AnyKind, Failure> {
    list::find(name).ok_or_else(|| {
        let names: Vec<&str> = list::KINDS.iter().map(|k| k.name()).collect();
        let near = crate::base::diagnostic::nearest(name, names.iter().copied());
        let hint = near.map_or_else(|| format!("kinds: {}", names.join(", ")), |n| format!("did you mean `{n}`?"));
        Failure::new(exit::USAGE, format!("there is no kind `{name}`")).hint(hint)
    })
}

/// YAML of a value, as a document.
pub fn yaml(value: &serde_json::Value) -> String {
    serde_yaml::to_string(value).unwrap_or_else(|e| format!("# {e}\n"))
}

fn show(plan: &Plan, format: Option<Format>) {
    match format {
        Some(Format::Json) => print(&format!("{:#}\n", as_json::plan(plan))),
        Some(Format::Yaml) => print(&yaml(&as_json::plan(plan))),
        Some(Format::Name) => {
            plan.deltas.iter().filter(|d| d.action != Action::NoOp).for_each(|d| print(&format!("{}\n", d.resource)))
        }
        Some(Format::Table | Format::Wide) | None => print(&text::plan(plan, colour_out())),
    }
}

/// Prints what stands against a plan, each with its place in the manifests; says how many there are.
fn problems(plan: &Plan, loaded: Option<&Loaded>, refusals: &[Refusal]) -> usize {
    let mut err = anstream::stderr();
    let mut list: Vec<Diagnostic> = Vec::new();
    for delta in &plan.deltas {
        for problem in &delta.problems {
            let mut diagnostic = Diagnostic::error("refused", format!("{}: {}", delta.resource, problem.message));
            if let Some(span) = loaded.and_then(|l| place(l, &delta.resource, &problem.path)) {
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
    let nothing = crate::base::source::Sources::default();
    let sources = loaded.map_or(&nothing, |l| &l.sources);
    for diagnostic in &list {
        let _ = writeln!(err, "{}\n", render(diagnostic, sources, colour_err()));
    }
    list.len()
}

/// One run of the engine with its circumstances.
struct Job<'a> {
    global: &'a Global,
    json: bool,
    yes: bool,
    dry_run: bool,
    consent: Consent,
}

impl Job<'_> {
    async fn run(
        &self,
        session: &Session,
        desired: &DesiredSet,
        settings: &Settings,
        loaded: Option<&Loaded>,
    ) -> Ended {
        let view = match (self.json, self.global.quiet) {
            (true, _) => View::Json,
            (false, true) => View::Quiet,
            (false, false) => View::Lines,
        };
        if self.dry_run {
            let plan =
                preview(&session.cluster(), desired, settings).await.map_err(|e| Failure::wire(exit::FAILED, &e))?;
            show(&plan, self.json.then_some(Format::Json));
            let refusals = gate(&plan, self.consent);
            let count = problems(&plan, loaded, &refusals);
            if count > 0 {
                return Err(Failure::new(
                    exit::REFUSED,
                    format!("{count} things stand against this plan; nothing was sent"),
                ));
            }
            return Ok(exit::DONE);
        }
        let live = Live::new(view);
        let agree = |plan: &Plan| {
            match view {
                View::Lines => print(&text::plan(plan, colour_out())),
                View::Json => print(&format!("{}\n", json!({"event": "Planned", "plan": as_json::plan(plan)}))),
                View::Quiet => {}
            }
            self.yes || ask()
        };
        match reconcile(&session.cluster(), desired, settings, self.consent, &live, &agree).await {
            Ok(report) => self.finish(&report),
            Err(Halt::Unreadable(error)) => Err(Failure::wire(exit::FAILED, &error)),
            Err(Halt::Blind(blind)) => Err(self.blind(&blind)),
            Err(Halt::Declined(_)) => Err(Failure::new(exit::REFUSED, "not agreed to; nothing was sent")
                .hint("on a terminal it asks; elsewhere say --yes")),
            Err(Halt::Refused(plan, refusals)) => {
                if view == View::Lines {
                    print(&text::plan(&plan, colour_out()));
                }
                let count = problems(&plan, loaded, &refusals);
                Err(Failure::new(exit::REFUSED, format!("{count} things stand against this plan; nothing was sent")))
            }
        }
    }

    /// The cluster went away in the middle: what is done, what was done without a look at it, and what is left.
    fn blind(&self, blind: &Blind) -> Failure {
        let Blind { error, report, unverified } = blind;
        let open = report.last.deltas.iter().filter(|d| d.is_open()).map(|d| &d.resource);
        let (done, left): (Vec<&ResourceRef>, Vec<&ResourceRef>) = open.partition(|r| unverified.contains(*r));
        if self.json {
            let names = |list: &[&ResourceRef]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
            print(&format!(
                "{}\n",
                json!({"event": "Finished", "steps": report.steps, "error": error.to_string(), "unverified": names(&done), "open": names(&left)})
            ));
        }
        let names = |list: &[&ResourceRef]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut message = format!("{error}\n  {} steps were done before that", report.steps);
        if !done.is_empty() {
            message += &format!("\n  done, but not looked at again: {}", names(&done));
        }
        if !left.is_empty() {
            message += &format!("\n  left: {}", names(&left));
        }
        let again = "when the cluster answers again, run the same command: it goes on from what is there";
        let hint = error.hint().map_or_else(|| again.to_owned(), |why| format!("{why}\nhint: {again}"));
        Failure::new(exit::FAILED, message).hint(hint)
    }

    fn finish(&self, report: &Report) -> Ended {
        let Report { first, last, failed, hints, steps } = report;
        let open: Vec<&ResourceRef> = last.deltas.iter().filter(|d| d.is_open()).map(|d| &d.resource).collect();
        if self.json {
            let failed: BTreeMap<String, &String> = failed.iter().map(|(r, why)| (r.to_string(), why)).collect();
            print(&format!(
                "{}\n",
                json!({"event": "Finished", "steps": steps, "failed": failed, "open": open.iter().map(ToString::to_string).collect::<Vec<_>>()})
            ));
        } else if !self.global.quiet {
            let mut err = anstream::stderr();
            if first.is_empty() {
                let _ = writeln!(err, "Nothing to do: {} objects are as their manifests say.", last.deltas.len());
            } else {
                let _ = writeln!(
                    err,
                    "\n{steps} steps done; {} of {} objects are as their manifests say.",
                    last.deltas.len() - open.len(),
                    last.deltas.len()
                );
            }
            for delta in &last.deltas {
                for note in &delta.notes {
                    if let Note::RebootRequired(keys) = note {
                        let _ = writeln!(err, "  RebootRequired {}: {}", delta.resource, keys.join(", "));
                    }
                }
            }
        }
        for (resource, why) in failed {
            let _ = writeln!(anstream::stderr(), "error: {resource}: {why}");
            if let Some(hint) = hints.get(resource) {
                let _ = writeln!(anstream::stderr(), "hint: {hint}");
            }
        }
        if report.converged() {
            return Ok(exit::DONE);
        }
        let left = open.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let again = "run the same command again: it goes on from what is there";
        let hint = match unseen(last) {
            Some((_, nodes)) => format!("{nodes} does not answer: bring it back, then {again}"),
            None => again.to_owned(),
        };
        Err(Failure::new(exit::FAILED, format!("not everything is done; left: {left}")).hint(hint))
    }
}

/// Objects that could not be looked at, and the nodes that hide them.
fn unseen(plan: &Plan) -> Option<(usize, String)> {
    let nodes: Vec<&str> = plan.deltas.iter().filter_map(|d| d.unseen()).collect();
    let names: BTreeSet<&&str> = nodes.iter().collect();
    let list = names.iter().map(|n| format!("node {n}")).collect::<Vec<_>>().join(", ");
    (!nodes.is_empty()).then_some((nodes.len(), list))
}

/// Refuses to call something compared that could not be looked at.
fn all_seen(plan: &Plan) -> Result<(), Failure> {
    match unseen(plan) {
        None => Ok(()),
        Some((count, nodes)) => Err(Failure::new(
            exit::NOT_COMPARED,
            format!("{count} objects could not be compared: {nodes} does not answer"),
        )
        .hint("look at it with pvecm status, or wait until it is back")),
    }
}

/// Asks on a terminal; elsewhere the answer is no.
fn ask() -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    let _ = write!(anstream::stderr(), "Do this? [y/N] ");
    let _ = anstream::stderr().flush();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).is_ok() && matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}
