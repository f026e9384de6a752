//! What is to be done about an object: the three-way merge of its fields, the work on what it holds, and the marker with the
//! last request of a change, so that what was cut short is taken up again.

use crate::kinds::objects::content::{self, member};
use crate::kinds::objects::object::{Seen, current, default, id_of, wanted};
use crate::kinds::objects::refuse::{dangling, fixed, not_ours, ownership, unseen};
use crate::kinds::objects::row::{Field, Holds, Mark, Reset, Row, Verb};
use crate::kinds::objects::{followed, rules};
use crate::pve::request::{Call, Method};
use crate::resource::index::Index;
use crate::resource::kind::PlanContext;
use crate::resource::marker::Marker;
use crate::resource::merge::{Cause, Difference, Fields, merge};
use crate::resource::privilege::require;
use crate::resource::step::{Action, Change, Delta, Impact, Problem, Step};
use serde_json::Value;

/// What is to be done about an object of a row: the whole of it, for all kinds.
pub fn plan(row: &Row, cx: &PlanContext<'_>, desired: Option<Value>, observed: Option<&Seen>) -> Delta {
    let id = id_of(cx.identity);
    let mut delta = Delta::none(cx.resource.clone(), Some(cx.identity.clone()));
    let Some(spec) = desired else {
        if let Some(seen) = observed {
            removal(row, cx, id, seen, &mut delta);
        }
        return delta;
    };
    let held = observed.map_or(&Value::Null, |seen| &seen.held);
    let spec = match row.holds {
        Holds::Members => followed::with_addresses(spec, held, cx, &mut delta.notes),
        Holds::Rules | Holds::Nothing => spec,
    };
    delta.problems.extend((row.check)(cx, id, &spec));
    if let Some(field) = content::field(row.holds) {
        delta.problems.extend(content::check(row.holds, &spec[field]));
    }
    delta.problems.extend(dangling(row, cx, &spec));
    if let Some(seen) = observed {
        delta.problems.extend(ownership(row, cx, id, seen));
    } else {
        // PVE hides what one may not see: without this, absence would be a guess.
        require(cx, &mut delta, row.audit.0, row.audit.1);
    }
    if let Some(alone) = &row.alone {
        match observed {
            Some(seen) => delta.problems.extend((alone.refuse)(cx, id, &spec, &seen.row)),
            None => {
                unseen(cx, id, &mut delta);
                return delta;
            }
        }
    }
    if !delta.problems.is_empty() {
        return delta;
    }
    let fields = wanted(row, &spec);
    let marker = cx.marker(fields.clone());
    let applied = observed.and_then(|o| o.marker.as_ref()).map(|m| m.applied.clone()).unwrap_or_default();
    let differences =
        merge(&fields, &applied, |p| observed.and_then(|seen| current(row, seen, p)), |p| default(row, p));
    let held = content::field(row.holds).map(|field| {
        let have = observed.map_or(&Value::Null, |seen| &seen.held);
        (field, content::work(row, id, have, &spec[field]))
    });
    for difference in differences.iter().filter(|d| Some(d.path.as_str()) != held.as_ref().map(|(f, _)| *f)) {
        let Difference { path, from, to, cause } = difference.clone();
        delta.changes.push(Change { path, from, to, cause, impact: Impact::None });
    }
    let held = held.map(|(field, work)| {
        let cause = differences.iter().find(|d| d.path == field).map_or(Cause::Change, |d| d.cause);
        delta.changes.extend(work.changes(cause));
        work.steps
    });
    let comment = match comment(row, &marker, &fields, observed, &differences) {
        Ok(comment) => comment,
        Err(problem) => {
            delta.problems.push(problem);
            return delta;
        }
    };
    match observed {
        None => {
            delta.action = Action::Create;
            let call = fields.iter().fold(row.call(&row.create, id), |call, (path, value)| set(row, call, path, value));
            let call = comment.iter().fold(call, |call, text| call.with("comment", text));
            delta.steps.push(step(row, format!("create {} {id}", row.word), call));
            delta.steps.extend(held.unwrap_or_default());
        }
        Some(seen) => {
            if let Some(problem) = not_ours(row, cx, id, seen, &differences) {
                delta.problems.push(problem);
                return delta;
            }
            delta.problems.extend(differences.iter().filter_map(|d| fixed(row, id, d)));
            delta.steps.extend(held.unwrap_or_default());
            delta.steps.extend(update(row, (id, &cx.seen.index), &fields, seen, &differences, comment.as_deref()));
            if !delta.steps.is_empty() {
                delta.action = Action::Update;
            }
        }
    }
    if !delta.steps.is_empty() {
        may_modify(row, cx, id, &mut delta);
    }
    delta
}

fn may_modify(row: &Row, cx: &PlanContext<'_>, id: &str, delta: &mut Delta) {
    let (path, privilege) = row.modify;
    let first = row.parts(id).first().copied().unwrap_or_default();
    require(cx, delta, &path.replace("{0}", first), privilege);
}

fn step(row: &Row, title: String, call: Call) -> Step {
    Step::new(title, call, Impact::None).limit(row.limit.clone())
}

/// The option of a field, and its value as it is sent.
fn set(row: &Row, call: Call, path: &str, value: &str) -> Call {
    match (row.fields.iter().find(|f| f.path == path), path.strip_prefix("options.")) {
        (Some(Field { option, form, .. }), _) => form.sent(value).into_iter().fold(call, |c, v| c.with(option, v)),
        (None, Some(option)) => call.with(option, value),
        (None, None) => call,
    }
}

/// The comment with the marker, for kinds that have one.
fn comment(
    row: &Row,
    marker: &Marker,
    fields: &Fields,
    observed: Option<&Seen>,
    differences: &[Difference],
) -> Result<Option<String>, Problem> {
    let Mark::Comment { one_line, max } = row.mark else { return Ok(None) };
    let changed = differences.iter().any(|d| d.path == "comment");
    let text = match (fields.get("comment"), observed) {
        (Some(comment), _) => comment.clone(),
        (None, Some(seen)) if !changed => seen.comment.clone(),
        (None, Some(_) | None) => String::new(),
    };
    if one_line && text.contains('\n') {
        return Err(Problem::new("comment", format!("the comment of a {} has one line", row.word))
            .help("PVE keeps it on one line of its file: write it in one"));
    }
    let whole = marker.join(&text);
    let whole = if one_line { whole.replace('\n', " ") } else { whole };
    let length = whole.chars().count();
    if length > max {
        return Err(Problem::new(
            "comment",
            format!("with what pvectl notes in it, the comment has {length} characters; PVE takes {max} at most"),
        )
        .help("shorten the comment, or manage fewer fields"));
    }
    Ok(Some(whole))
}

/// The request that changes what differs, and the marker with it.
fn update(
    row: &Row,
    (id, index): (&str, &Index),
    fields: &Fields,
    seen: &Seen,
    differences: &[Difference],
    comment: Option<&str>,
) -> Option<Step> {
    let held = content::field(row.holds);
    let changed: Vec<&Difference> =
        differences.iter().filter(|d| d.path != "comment" && Some(d.path.as_str()) != held).collect();
    let marked = comment.is_some_and(|comment| comment.trim_end() != member(&seen.row, "comment").trim_end());
    if changed.is_empty() && !marked {
        return None;
    }
    let mut call = match row.alone.as_ref().and_then(|alone| (alone.path)(id, index)) {
        Some(path) => Call::new(Method::Put, path).with("digest", member(&seen.row, "digest")),
        None => row.call(&row.update, id),
    };
    if row.update.whole {
        for field in row.fields {
            let now = fields.get(field.path).cloned().or_else(|| current(row, seen, field.path));
            let untouched = |_: &String| !changed.iter().any(|d| d.path == field.path);
            call = now.filter(untouched).into_iter().fold(call, |call, value| call.with(field.option, value));
        }
    }
    let mut unset = Vec::new();
    for difference in changed {
        let field = row.fields.iter().find(|f| f.path == difference.path);
        match (&difference.to, row.reset) {
            // An array without elements cannot be sent.
            (Some(value), _) if field.is_some_and(|f| f.form.sent(value).is_empty()) => {
                unset.extend(field.map(|f| f.option));
            }
            (Some(value), _) => call = set(row, call, &difference.path, value),
            (None, Reset::Delete) if field.is_some_and(|f| row.kept.contains(&f.option)) => {
                call = set(row, call, &difference.path, &default(row, &difference.path).unwrap_or_default());
            }
            (None, Reset::Default) => {
                call = set(row, call, &difference.path, &default(row, &difference.path).unwrap_or_default());
            }
            (None, Reset::Delete) => {
                unset.extend(row.fields.iter().find(|f| f.path == difference.path).map(|f| f.option));
                unset.extend(difference.path.strip_prefix("options."));
            }
        }
    }
    if !unset.is_empty() {
        call = call.with("delete", unset.join(","));
    }
    let call = comment.into_iter().fold(call, |call, text| call.with("comment", text));
    Some(step(row, format!("update {} {id}", row.word), call))
}

fn removal(row: &Row, cx: &PlanContext<'_>, id: &str, seen: &Seen, delta: &mut Delta) {
    if row.alone.is_some() {
        delta.problems.push(
            Problem::new("", "options of the firewall are always there, and cannot be deleted")
                .help("write the values that they shall have, and apply; what leaves the manifest stays as it is"),
        );
        return;
    }
    delta.action = Action::Delete;
    may_modify(row, cx, id, delta);
    if row.own.is_some_and(|own| member(&seen.row, own) == "1") || row.stays.contains(&id) {
        delta.problems.push(
            Problem::new("", format!("{} `{id}` is PVE's own, and cannot be deleted", row.word))
                .help("take it out of the manifests; nothing of it is left behind"),
        );
        return;
    }
    if row.holds == Holds::Rules {
        delta.steps.extend(rules::clear(row, id, &seen.held));
    }
    let verb: &Verb = &row.delete;
    delta.steps.push(step(row, format!("delete {} {id}", row.word), row.call(verb, id)));
}
