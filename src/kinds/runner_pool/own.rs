//! What is done about a pool itself: its scale set, registrations without a machine, and what a person should know.

use crate::github::operation::Operation;
use crate::kinds::runner_pool::decide::Condition;
use crate::kinds::runner_pool::look::Look;
use crate::kinds::runner_pool::member;
use crate::kinds::runner_pool::name::POOL_CHARACTERS_MAX;
use crate::kinds::runner_pool::spec::{DemandMode, RunnerPoolSpec, ask, place};
use crate::resource::kind::PlanContext;
use crate::resource::merge::Cause;
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::{Action, Change, Delta, Impact, Note, Problem, Step};

/// The pool's own delta.
pub fn plan(cx: &PlanContext<'_>, spec: &RunnerPoolSpec, look: &Look, delta: &mut Delta) {
    delta.next = look.decision.next;
    let name = &cx.resource.name;
    if name.len() > POOL_CHARACTERS_MAX {
        delta.problems.push(
            Problem::new(
                "",
                format!("`{name}` is too long: its machines' names begin with it, and a name has 63 characters"),
            )
            .help(format!("{POOL_CHARACTERS_MAX} characters at most")),
        );
    }
    conditions(look, delta);
    if cx.going {
        end(cx, spec, look, delta);
        return;
    }
    if let Some(template) = &look.waits_for {
        delta.notes.push(Note::Waiting(template.clone()));
    }
    let mut against = look.problems.clone();
    against.extend(member::against(cx, spec, look));
    if look.own.is_empty() {
        delta.problems.extend(against);
    } else {
        // Those that are there are looked after all the same.
        let warning = |problem: Problem| Note::Warning(format!("no machine can be made: {}", problem.message));
        delta.notes.extend(against.into_iter().map(warning));
    }
    let unset = look.demand.as_ref().ok().and_then(|demand| demand.unset.as_ref());
    if let (Some(why), DemandMode::ScaleSet) = (unset, spec.demand)
        && let Some(call) = Operation::ScaleSet(ask(spec, name)).call(&place(spec))
    {
        delta.action = Action::Update;
        delta.changes.push(Change {
            path: "scale set".into(),
            from: Some(why.clone()),
            to: Some(name.clone()),
            cause: Cause::Change,
            impact: Impact::None,
        });
        delta.steps.push(Step::new(format!("bring the scale set {name} up to date"), call, Impact::None));
    }
}

fn conditions(look: &Look, delta: &mut Delta) {
    for Condition { reason, message, warns } in &look.decision.conditions {
        let text = format!("{reason}: {message}");
        delta.notes.push(if *warns { Note::Warning(text) } else { Note::Info(text) });
    }
    for unread in &look.unread {
        let text = format!(
            "guest {} `{}` may be one of its machines and counts as one, and nothing is done about it: {}",
            unread.vmid, unread.name, unread.why
        );
        delta.notes.push(Note::Warning(text));
    }
    for foreign in &look.foreign {
        let text = format!(
            "guest {} `{}` is in `vmidRange` and not one of its machines, and is left alone: {}",
            foreign.vmid, foreign.name, foreign.why
        );
        delta.notes.push(Note::Warning(text));
    }
    for (name, why) in &look.decision.strangers {
        delta.notes.push(Note::Warning(format!("runner `{name}` on GitHub is left alone: {why}")));
    }
    let told = look.demand.iter().flat_map(|demand| &demand.notes);
    delta.notes.extend(told.map(|note| Note::Info(note.clone())));
}

/// The end of a pool: when its last machine is gone, its scale set goes.
fn end(cx: &PlanContext<'_>, spec: &RunnerPoolSpec, look: &Look, delta: &mut Delta) {
    let busy = look.own.len() + look.unread.len();
    if busy > 0 {
        delta.action = Action::Delete;
        delta.notes.push(Note::Info(format!(
            "{busy} of its machines are there still; those that have a job are waited for, and the pool goes after them"
        )));
        return;
    }
    if spec.demand != DemandMode::ScaleSet {
        return;
    }
    let there = look.demand.as_ref().is_ok_and(|demand| demand.unset.is_none());
    if let Err(why) = &look.demand {
        delta.action = Action::Delete;
        delta.notes.push(Note::Warning(format!("whether its scale set is there still cannot be told: {why}")));
    }
    let operation = Operation::RemoveScaleSet { pool: cx.resource.name.clone(), group: spec.group().to_owned() };
    if let (true, Some(call)) = (there, operation.call(&place(spec))) {
        delta.action = Action::Delete;
        delta.steps.push(Step::new(format!("take the scale set {} away", cx.resource.name), call, Impact::None));
    }
}

/// Registrations of ours whose machines are gone, a delta each: that one is refused holds up no other.
pub fn registrations(cx: &PlanContext<'_>, spec: &RunnerPoolSpec, look: &Look) -> Vec<Delta> {
    let place = place(spec);
    let delta = |runner: &crate::github::runner::Runner| {
        let call = Operation::Remove { runner: runner.id }.call(&place)?;
        let pool = &cx.resource;
        let resource = ResourceRef::new(&pool.kind, format!("{}:{}", pool.name, runner.name));
        let identity = Identity::Object { kind: super::NAME, id: runner.name.clone() };
        let mut delta = Delta::none(resource, Some(identity));
        delta.action = Action::Update;
        delta.changes.push(Change {
            path: "registration".into(),
            from: Some(runner.name.clone()),
            to: None,
            cause: Cause::Change,
            impact: Impact::None,
        });
        delta.notes.push(Note::Info("its machine is gone".to_owned()));
        delta.steps.push(Step::new(format!("take the registration {} away", runner.id), call, Impact::None));
        Some(delta)
    };
    look.decision.orphans.iter().filter_map(delta).collect()
}
