//! The kind of any row: one implementation for all of them.
//!
//! An object with a comment carries our marker there and is owned as everything else is. One without (a role, a storage, a
//! zone) cannot say whose it is. It is made where it is not there, and left alone where it is as the manifest says; where it
//! differs, `apply` refuses until a person adopts it, or the manifest carries `pvectl/take-over: "true"`. Of such an object
//! only the fields that the manifest names are managed, nothing is reset, and it is deleted by its manifest only, never
//! pruned.

use crate::kinds::objects::content::{self, member};
use crate::kinds::objects::form::Form;
use crate::kinds::objects::row::{Field, Holds, Mark, Reset, Row, Verb, query};
use crate::kinds::objects::rules;
use crate::pve::request::{Call, Method, Query};
use crate::resource::index::Index;
use crate::resource::kind::{DecodeError, Kind, Listed, PlanContext};
use crate::resource::marker::Marker;
use crate::resource::merge::{Cause, Difference, Fields, merge};
use crate::resource::observation::Observation;
use crate::resource::privilege::require;
use crate::resource::reference::{Claim, Identity, Reference};
use crate::resource::step::{Action, Change, Delta, Impact, Note, Problem, Step};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::marker::PhantomData;
use std::sync::Arc;

/// The annotation with which a manifest says that it owns an object which cannot carry a marker.
pub const TAKE_OVER: &str = "pvectl/take-over";

/// A kind that a row describes.
pub trait Described: Send + Sync + 'static {
    /// The row.
    const ROW: &'static Row;
    /// What the user writes; its field names are the row's paths.
    type Spec: DeserializeOwned + Serialize + JsonSchema + Send + Sync + 'static;
}

/// The [`Kind`] of a row.
pub struct Object<D>(PhantomData<fn() -> D>);

/// An object as it is.
#[derive(Debug)]
pub struct Seen {
    /// The row that PVE lists.
    row: Value,
    /// What it holds.
    held: Value,
    /// People's part of the comment.
    comment: String,
    marker: Option<Marker>,
}

fn id_of(identity: &Identity) -> &str {
    match identity {
        Identity::Object { id, .. } => id,
        Identity::Guest { .. } | Identity::Pool(_) => unreachable!("an object is addressed by its id"),
    }
}

fn spec_value<S: Serialize>(spec: &S) -> Value {
    // A spec was read from JSON, and goes back to it.
    serde_json::to_value(spec).unwrap_or_default()
}

/// The rows of a list, with the parts of ids that stand around a nested one.
fn rows(row: &Row, list: &Value) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    for outer in list.as_array().into_iter().flatten() {
        let inner: Vec<Value> = match row.nested {
            None => vec![outer.clone()],
            Some(nested) => outer[nested].as_array().cloned().unwrap_or_default(),
        };
        for mut one in inner {
            for key in row.id {
                if one[*key].is_null() && !outer[*key].is_null() {
                    one[*key] = outer[*key].clone();
                }
            }
            out.push((row.key(&one), one));
        }
    }
    out
}

fn listed<'a>(row: &Row, index: &'a Index) -> Result<Option<&'a Value>, DecodeError> {
    match index.lists.get(&query(row.list)) {
        Some(Ok(list)) => Ok(Some(list)),
        Some(Err(message)) => Err(DecodeError { message: message.clone() }),
        None => Ok(None),
    }
}

fn marker_of(row: &Row, object: &Value) -> (String, Option<Marker>) {
    match row.mark {
        Mark::Comment { .. } => Marker::split(&member(object, "comment")),
        Mark::Nowhere => (String::new(), None),
    }
}

impl<D: Described> Kind for Object<D> {
    const NAME: &'static str = D::ROW.kind;
    type Spec = D::Spec;
    type Observed = Seen;

    fn refs(spec: &D::Spec) -> Vec<Reference> {
        let spec = spec_value(spec);
        let row = D::ROW;
        let mut refs = (row.refs)(&spec);
        for refer in row.refers {
            refs.extend(
                names(&spec[refer.path]).into_iter().map(|name| super::table::reference(refer.kind, &name, refer.path)),
            );
        }
        refs
    }

    fn claim(name: &str, spec: &D::Spec) -> Claim {
        Claim::Object { kind: Self::NAME, id: (D::ROW.claim)(name, &spec_value(spec)) }
    }

    fn lists() -> Vec<Query> {
        D::ROW.lists()
    }

    fn marks() -> bool {
        D::ROW.mark != Mark::Nowhere
    }

    fn reads(identity: &Identity, _spec: Option<&D::Spec>, index: &Index) -> Vec<Query> {
        let row = D::ROW;
        let id = id_of(identity);
        if let Some(alone) = &row.alone {
            return (alone.path)(id, index).map(Query::new).into_iter().collect();
        }
        let is_there =
            listed(row, index).ok().flatten().is_some_and(|list| rows(row, list).iter().any(|(i, _)| i == id));
        if is_there { row.held(id).into_iter().collect() } else { Vec::new() }
    }

    fn list(seen: &Observation) -> Vec<Listed> {
        let row = D::ROW;
        if let Some(alone) = &row.alone {
            let one = |id: String| Listed {
                name: id.clone(),
                identity: Identity::Object { kind: Self::NAME, id },
                marker: None,
            };
            return (alone.ids)(&seen.index).into_iter().map(one).collect();
        }
        let Ok(Some(list)) = listed(row, &seen.index) else { return Vec::new() };
        let one = |(id, object): (String, Value)| {
            let marker = marker_of(row, &object).1;
            Listed {
                name: marker.as_ref().map_or_else(|| id.clone(), |m| m.owner.name.clone()),
                identity: Identity::Object { kind: Self::NAME, id },
                marker: marker.map(Arc::new),
            }
        };
        rows(row, list).into_iter().map(one).collect()
    }

    fn columns(entry: &Listed, seen: &Observation) -> Vec<(&'static str, String)> {
        let row = D::ROW;
        let id = id_of(&entry.identity);
        // What could not be read is shown without its values.
        let observed = Self::decode(&entry.identity, seen).ok().flatten();
        let of = |key: &str| observed.as_ref().map_or_else(String::new, |o| content::member(&o.row, key));
        let mut columns = vec![("ID", id.to_owned())];
        columns.extend(row.columns.iter().map(|(head, key)| (*head, of(key))));
        if let Some(field) = content::field(row.holds) {
            let head = if field == "members" { "MEMBERS" } else { "RULES" };
            let held = observed.as_ref().and_then(|o| o.held.as_array());
            columns.push((head, held.map_or_else(String::new, |held| held.len().to_string())));
        }
        if row.mark != Mark::Nowhere {
            columns.push(("COMMENT", observed.map(|o| o.comment).unwrap_or_default()));
        }
        columns
    }

    fn decode(identity: &Identity, seen: &Observation) -> Result<Option<Seen>, DecodeError> {
        let row = D::ROW;
        let id = id_of(identity);
        if let Some(alone) = &row.alone {
            let answer = (alone.path)(id, &seen.index).and_then(|path| seen.answer(&Query::new(path)));
            let mut object = match answer {
                None => return Ok(None),
                Some(Ok(value)) => Value::clone(value),
                Some(Err(error)) => return Err(DecodeError { message: error.to_string() }),
            };
            object["id"] = id.into();
            return Ok(Some(Seen { row: object, held: Value::Null, comment: String::new(), marker: None }));
        }
        let Some(list) = listed(row, &seen.index)? else { return Ok(None) };
        let Some((_, object)) = rows(row, list).into_iter().find(|(i, _)| i == id) else { return Ok(None) };
        let held = match row.held(id).map(|q| seen.answer(&q)) {
            None | Some(None) => Value::Null,
            Some(Some(Ok(value))) => Value::clone(value),
            Some(Some(Err(error))) => return Err(DecodeError { message: error.to_string() }),
        };
        let (comment, marker) = marker_of(row, &object);
        Ok(Some(Seen { row: object, held, comment, marker }))
    }

    fn marker(observed: &Seen) -> Option<&Marker> {
        observed.marker.as_ref()
    }

    fn export(observed: &Seen) -> Value {
        export(D::ROW, observed)
    }

    fn plan(cx: &PlanContext<'_>, desired: Option<&D::Spec>, observed: Option<&Seen>) -> Delta {
        plan(D::ROW, cx, desired.map(spec_value), observed)
    }
}

/// A name or a list of names.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::String(name) => vec![name.clone()],
        Value::Array(items) => items.iter().filter_map(|i| i.as_str().map(str::to_owned)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

fn export(row: &Row, seen: &Seen) -> Value {
    let mut out = Map::new();
    out.extend((row.export)(&row.key(&seen.row), &seen.row));
    for field in row.fields {
        let Some(normal) = field.form.normal(&seen.row[field.option]) else { continue };
        if field.default != Some(normal.as_str()) && (!normal.is_empty() || field.form == Form::Words) {
            out.insert(field.path.to_owned(), field.form.export(&normal));
        }
    }
    for (key, value) in &other(row, &seen.row) {
        let options = out.entry("options").or_insert_with(|| Value::Object(Map::new()));
        options[key.as_str()] = value.as_str().into();
    }
    if !seen.comment.is_empty() {
        out.insert("comment".into(), seen.comment.as_str().into());
    }
    if let Some(field) = content::field(row.holds) {
        out.insert(field.to_owned(), content::export(row.holds, &seen.held));
    }
    out.into()
}

/// What a row holds that is none of its fields, where `options` may name anything.
fn other(row: &Row, object: &Value) -> Fields {
    let known =
        |key: &str| row.fields.iter().any(|f| f.option == key) || row.id.contains(&key) || row.hidden.contains(&key);
    match object.as_object() {
        Some(map) if row.options => map
            .iter()
            .filter(|(k, _)| !known(k))
            .filter_map(|(k, v)| Some((k.clone(), Form::Text.normal(v)?)))
            .collect(),
        Some(_) | None => Fields::new(),
    }
}

/// What the manifest wants, in normal form.
fn wanted(row: &Row, spec: &Value) -> Fields {
    let mut fields = Fields::new();
    for field in row.fields {
        if let Some(value) = field.form.normal(&spec[field.path]) {
            fields.insert(field.path.to_owned(), value);
        }
    }
    if row.mark != Mark::Nowhere
        && let Some(comment) = spec["comment"].as_str()
    {
        fields.insert("comment".into(), comment.trim_end().to_owned());
    }
    for (key, value) in spec["options"].as_object().into_iter().flatten().filter(|_| row.options) {
        if let Some(value) = Form::Text.normal(value) {
            // A manifest may write `true` where PVE says 1.
            let value = match value.as_str() {
                "true" => "1".to_owned(),
                "false" => "0".to_owned(),
                _ => value,
            };
            fields.insert(format!("options.{key}"), value);
        }
    }
    if let Some(field) = content::field(row.holds) {
        fields.insert(field.to_owned(), content::normal(row.holds, &spec[field]));
    }
    fields
}

/// What is there, in the same form.
fn current(row: &Row, seen: &Seen, path: &str) -> Option<String> {
    if let Some(field) = row.fields.iter().find(|f| f.path == path) {
        return field.form.normal(&seen.row[field.option]);
    }
    if let Some(key) = path.strip_prefix("options.") {
        return Form::Text.normal(&seen.row[key]);
    }
    if path == "comment" {
        return Some(seen.comment.clone());
    }
    content::field(row.holds).filter(|f| *f == path).map(|_| content::normal(row.holds, &seen.held))
}

fn default(row: &Row, path: &str) -> Option<String> {
    let field = row.fields.iter().find(|f| f.path == path).and_then(|f| f.default);
    if path == "comment" || content::field(row.holds) == Some(path) {
        return Some(String::new());
    }
    field.map(str::to_owned)
}

fn plan(row: &Row, cx: &PlanContext<'_>, desired: Option<Value>, observed: Option<&Seen>) -> Delta {
    let id = id_of(cx.identity);
    let mut delta = Delta::none(cx.resource.clone(), Some(cx.identity.clone()));
    let Some(spec) = desired else {
        if let Some(seen) = observed {
            removal(row, cx, id, seen, &mut delta);
        }
        return delta;
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
    let marker = Marker {
        owner: cx.resource.clone(),
        set: cx.set.to_owned(),
        vmid: None,
        retain: cx.retain,
        applied: fields.clone(),
    };
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

/// What belongs to something that is not there yet, does not answer, or never will be there.
fn unseen(cx: &PlanContext<'_>, id: &str, delta: &mut Delta) {
    let (scope, of) = id.split_once('/').unwrap_or((id, id));
    let index = &cx.seen.index;
    let row = index.guests.values().find(|g| g.vmid.to_string() == of);
    let node = row.map_or(of, |row| row.node.as_str());
    if index.nodes.get(node).is_some_and(|n| !n.online) {
        delta.notes.push(Note::NodeOffline(node.to_owned()));
        return;
    }
    let is = |identity: &Identity| matches!(identity, Identity::Guest { vmid, .. } if vmid.to_string() == of);
    match cx.identities.iter().find(|(_, identity)| is(identity)) {
        Some((resource, _)) => {
            delta.action = Action::Update;
            delta.notes.push(Note::Waiting(resource.clone()));
        }
        None if scope == "guest" => delta.problems.push(
            Problem::new("vmid", format!("there is no guest {of}"))
                .help("no manifest of the set declares it, and it is not on the cluster: mend the number"),
        ),
        None => {}
    }
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
        (Some(Field { option, .. }), _) => call.with(option, value),
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
        match (&difference.to, row.reset) {
            (Some(value), _) => call = set(row, call, &difference.path, value),
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

/// Why an object that is there may not be touched, by its marker.
fn ownership(row: &Row, cx: &PlanContext<'_>, id: &str, seen: &Seen) -> Option<Problem> {
    if row.mark == Mark::Nowhere {
        return None;
    }
    match &seen.marker {
        None if cx.adopt => None,
        None => Some(
            Problem::new("", format!("there is a {} `{id}` already, which pvectl does not own", row.word))
                .help(format!("take it over with: pvectl adopt {} -f …, or choose another id", cx.resource)),
        ),
        Some(marker) if marker.owner != *cx.resource || marker.set != cx.set => Some(
            Problem::new(
                "",
                format!("{} `{id}` belongs to {} of the manifest set `{}`", row.word, marker.owner, marker.set),
            )
            .help("one object has one owner: take it out of the other set first"),
        ),
        Some(_) => None,
    }
}

/// Why an object that cannot say whose it is may not be changed.
fn not_ours(row: &Row, cx: &PlanContext<'_>, id: &str, seen: &Seen, differences: &[Difference]) -> Option<Problem> {
    if differences.is_empty() {
        return None;
    }
    if row.own.is_some_and(|own| member(&seen.row, own) == "1") {
        return Some(
            Problem::new("", format!("{} `{id}` is PVE's own, and cannot be changed", row.word))
                .help("choose another id, and make one of your own"),
        );
    }
    let taken = cx.adopt || cx.annotations.get(TAKE_OVER).is_some_and(|v| v == "true");
    let blank = row.alone.is_some() && differences.iter().all(|d| d.from.is_none());
    if row.mark != Mark::Nowhere || taken || blank {
        return None;
    }
    let fields: Vec<String> =
        differences.iter().map(|d| format!("{} is `{}`", d.path, d.from.as_deref().unwrap_or("not set"))).collect();
    Some(
        Problem::new("", format!("{} `{id}` is there and differs: {}", row.word, fields.join(", "))).help(format!(
            "PVE has no place in it for a mark of who owns it, so pvectl cannot tell: change it once with pvectl adopt {} -f …, or \
             let its manifest say so with the annotation {TAKE_OVER}: \"true\"",
            cx.resource
        )),
    )
}

/// A field that is settled when an object is made.
fn fixed(row: &Row, id: &str, difference: &Difference) -> Option<Problem> {
    let field = row.fields.iter().any(|f| f.path == difference.path && f.fixed);
    if !field && !difference.path.strip_prefix("options.").is_some_and(row.settled) {
        return None;
    }
    let from = difference.from.as_deref().unwrap_or("not set");
    Some(
        Problem::new(
            &difference.path,
            format!("`{}` of {} `{id}` is `{from}`, and cannot be changed", difference.path, row.word),
        )
        .help("it is settled when the object is made: put it back, or delete the object and make it anew"),
    )
}

/// References to objects that are neither there nor made by this set.
fn dangling(row: &Row, cx: &PlanContext<'_>, spec: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    for refer in row.refers {
        let Some(Ok(list)) = cx.seen.index.lists.get(&query(refer.list)) else { continue };
        for name in names(&spec[refer.path]) {
            let there = list.as_array().into_iter().flatten().any(|row| member(row, refer.member) == name);
            if !there && !super::table::is_declared(cx, refer.kind, &name) {
                problems.push(
                    Problem::new(refer.path, format!("there is no {} `{name}`", refer.kind))
                        .help(format!("no manifest of the set declares it, and it is not on the cluster: declare a `kind: {}`, or mend the name", refer.kind)),
                );
            }
        }
    }
    problems
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
