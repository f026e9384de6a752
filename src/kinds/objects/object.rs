//! The kind of any row: one implementation for all of them.
//!
//! An object with a comment carries our marker there and is owned as everything else is. One without (a role, a storage, a
//! zone) cannot say whose it is. It is made where it is not there, and left alone where it is as the manifest says; where it
//! differs, `apply` refuses until a person adopts it, or the manifest carries `pvectl/take-over: "true"`. Of such an object
//! only the fields that the manifest names are managed, nothing is reset, and it is deleted by its manifest only, never
//! pruned.

use crate::kinds::objects::content::{self, member};
use crate::kinds::objects::form::Form;
use crate::kinds::objects::row::{Holds, Mark, Row, query};
use crate::kinds::objects::{followed, sdn, table};
use crate::pve::request::Query;
use crate::resource::index::Index;
use crate::resource::kind::{DecodeError, Kind, Listed, PlanContext};
use crate::resource::marker::Marker;
use crate::resource::merge::Fields;
use crate::resource::observation::Observation;
use crate::resource::reference::{Claim, Identity, Reference};
use crate::resource::step::Delta;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

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
    pub row: Value,
    /// What it holds.
    pub held: Value,
    /// People's part of the comment.
    pub comment: String,
    /// Our marker, if one stands on it.
    pub marker: Option<Marker>,
}

pub(super) fn id_of(identity: &Identity) -> &str {
    match identity {
        Identity::Object { id, .. } => id,
        Identity::Guest { .. } | Identity::Pool(_) => unreachable!("an object is addressed by its id"),
    }
}

fn spec_value<S: Serialize>(spec: &S) -> Value {
    // A spec was read from JSON, and goes back to it.
    serde_json::to_value(spec).unwrap_or_default()
}

/// The row of an object in its list.
fn find<'a>(row: &Row, list: &'a Value, id: &str) -> Option<&'a Value> {
    list.as_array().into_iter().flatten().find(|object| row.key(object) == id)
}

fn listed<'a>(row: &Row, index: &'a Index) -> Result<Option<Cow<'a, Value>>, DecodeError> {
    match index.lists.get(&query(row.list)) {
        Some(Ok(list)) => Ok(Some(row.nested.map_or(Cow::Borrowed(list), |nested| Cow::Owned(nested(list))))),
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
                names(&spec[refer.path]).into_iter().map(|name| table::reference(refer.kind, &name, refer.path)),
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

    fn is_native(identity: &Identity, seen: &Observation) -> bool {
        let observed = Self::decode(identity, seen).ok().flatten();
        D::ROW.own.is_some_and(|own| observed.is_some_and(|seen| member(&seen.row, own) == "1"))
    }

    fn names(spec: &D::Spec) -> Vec<String> {
        match D::ROW.holds {
            Holds::Members => names(&spec_value(spec)["names"]),
            Holds::Rules | Holds::Nothing => Vec::new(),
        }
    }

    fn filters(_spec: &D::Spec) -> bool {
        D::ROW.list.starts_with("/cluster/firewall") || D::ROW.kind == table::FIREWALL_OPTIONS.kind
    }

    fn guests(spec: &D::Spec) -> Vec<Reference> {
        match D::ROW.holds {
            Holds::Members => followed::guests(&spec_value(spec)).into_iter().map(followed::reference).collect(),
            Holds::Rules | Holds::Nothing => Vec::new(),
        }
    }

    fn files(spec: &D::Spec) -> Vec<String> {
        (D::ROW.files)(&spec_value(spec))
    }

    fn reads(identity: &Identity, _spec: Option<&D::Spec>, index: &Index) -> Vec<Query> {
        let row = D::ROW;
        let id = id_of(identity);
        if let Some(alone) = &row.alone {
            return (alone.path)(id, index).map(Query::new).into_iter().collect();
        }
        if row.waits {
            return sdn::looks(index);
        }
        let is_there = listed(row, index).ok().flatten().is_some_and(|list| find(row, &list, id).is_some());
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
        let list = match row.within {
            Some(within) => Cow::Owned(sdn::inside(&list, within, seen)),
            None => list,
        };
        let one = |object: &Value| {
            let id = row.key(object);
            let marker = marker_of(row, object).1;
            Listed {
                name: marker.as_ref().map_or_else(|| id.clone(), |m| m.owner.name.clone()),
                identity: Identity::Object { kind: Self::NAME, id },
                marker: marker.map(Arc::new),
            }
        };
        // What a policy made is the policy's.
        let own = |listed: &Listed| listed.marker.as_ref().is_none_or(|m| m.owner.kind == Self::NAME);
        list.as_array().into_iter().flatten().map(one).filter(own).collect()
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
        let list = match row.within {
            Some(within) => match sdn::listed_in(&list, row.parts(id)[0], within, seen)? {
                Some(list) => Cow::Borrowed(list),
                None => return Ok(None),
            },
            None => list,
        };
        let Some(object) = find(row, &list, id) else { return Ok(None) };
        let held = match row.held(id).map(|q| seen.answer(&q)) {
            None => Value::Null,
            Some(None) => return Err(DecodeError { message: "what it holds was not read".into() }),
            Some(Some(Ok(value))) => Value::clone(value),
            Some(Some(Err(error))) => return Err(DecodeError { message: error.to_string() }),
        };
        let (comment, marker) = marker_of(row, object);
        let object = if row.waits { sdn::configured(object) } else { object.clone() };
        Ok(Some(Seen { row: object, held, comment, marker }))
    }

    fn marker(observed: &Seen) -> Option<&Marker> {
        observed.marker.as_ref()
    }

    fn export(observed: &Seen) -> Value {
        export(D::ROW, observed)
    }

    fn plan(cx: &PlanContext<'_>, desired: Option<&D::Spec>, observed: Option<&Seen>) -> Delta {
        (D::ROW.plan)(D::ROW, cx, desired.map(spec_value), observed)
    }
}

/// A name or a list of names.
pub(super) fn names(value: &Value) -> Vec<String> {
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
pub(super) fn wanted(row: &Row, spec: &Value) -> Fields {
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
pub(super) fn current(row: &Row, seen: &Seen, path: &str) -> Option<String> {
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

pub(super) fn default(row: &Row, path: &str) -> Option<String> {
    let field = row.fields.iter().find(|f| f.path == path).and_then(|f| f.default);
    if path == "comment" || content::field(row.holds) == Some(path) {
        return Some(String::new());
    }
    field.map(str::to_owned)
}
