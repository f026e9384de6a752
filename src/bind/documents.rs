//! From documents to a set of desired resources: schema, typed spec, references; all errors of all files in one run.

use crate::base::diagnostic::{Diagnostic, has_errors, nearest};
use crate::base::source::Span;
use crate::bind::sets::expand;
use crate::bind::{annotations, masters, profiles, twice};
use crate::kinds::list;
use crate::manifest::document::Document;
use crate::manifest::load::Loaded;
use crate::manifest::schema;
use crate::manifest::tree::{Node, NodeValue, PathSegment};
use crate::plan::desired::{Desired, DesiredSet};
use crate::resource::kind::{AnyKind, Labelled};
use crate::resource::reference::{Claim, ResourceRef};
use crate::resource::step::Problem;
use std::collections::{BTreeMap, BTreeSet};

/// The set where neither `--set` nor `pvectl.yaml` names one.
pub const DEFAULT_SET: &str = "default";

/// Binds every document to its kind. Diagnostics go to `loaded`; a document with errors is left out of the set.
pub fn bind(loaded: &mut Loaded, set: Option<&str>) -> DesiredSet {
    let from_tree = loaded.settings.as_ref().and_then(|s| s.set.as_ref()).map(|(name, _)| name.clone());
    let set = set.map(str::to_owned).or(from_tree).unwrap_or_else(|| DEFAULT_SET.to_owned());
    let mut rolling = expand(loaded);
    profiles::expand(loaded);
    masters::bind(loaded);
    let mut resources = BTreeMap::new();
    let mut diagnostics = Vec::new();
    let mut schemas: BTreeMap<&str, serde_json::Value> = BTreeMap::new();
    // Broken documents, as far as they can be read: what they refer to is checked in the same run.
    let mut broken_ones: Vec<Desired> = Vec::new();
    for document in &loaded.documents {
        let Some(kind) = list::KINDS.iter().copied().find(|k| k.name() == document.kind.0) else { continue };
        let schema = schemas.entry(kind.name()).or_insert_with(|| kind.schema());
        let found = schema::check(&document.spec, schema, "spec", Some(document.spec_key));
        let broken = has_errors(&found);
        let places: Vec<Span> = found.iter().filter_map(|d| d.primary.as_ref().map(|(span, _)| *span)).collect();
        diagnostics.extend(found);
        diagnostics.extend(annotations::check(document, schema));
        diagnostics.extend(twice::slots(&document.spec));
        if broken {
            broken_ones.extend(resource(document, without(&document.spec, &places), kind));
            continue;
        }
        match resource(document, document.spec.to_json(), kind) {
            Ok(mut desired) => {
                diagnostics.extend(kind.check(&desired.spec).into_iter().map(|problem| said(document, problem)));
                desired.rolling = rolling.remove(&desired.resource);
                resources.insert(desired.resource.clone(), desired);
            }
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    let guests = labelled(&resources);
    resources.values_mut().for_each(|want| want.kind.choose(&mut want.spec, &guests));
    diagnostics.extend(dangling(loaded, resources.values().chain(&broken_ones)));
    diagnostics.extend(twice::numbers(loaded, &resources));
    loaded.diagnostics.extend(diagnostics);
    once(&mut loaded.diagnostics);
    DesiredSet { set, resources }
}

/// The guests of the manifests, for policies that mean them by their labels.
fn labelled(resources: &BTreeMap<ResourceRef, Desired>) -> Vec<Labelled> {
    let guest = |want: &Desired| match want.kind.claim(&want.resource.name, &want.spec) {
        Claim::Guest { vmid, .. } => {
            Some(Labelled { resource: want.resource.clone(), labels: want.labels.clone(), vmid })
        }
        Claim::Pool(_) | Claim::Object { .. } => None,
    };
    resources.values().filter_map(guest).collect()
}

/// What is wrong with a template or a default is wrong with everything that is made of it: it is said once.
fn once(diagnostics: &mut Vec<Diagnostic>) {
    let mut told = BTreeSet::new();
    diagnostics.retain(|d| {
        // A reference is named together with whoever makes it, which may be any member of a set.
        let message = if d.code == "unknown-reference" { "" } else { d.message.as_str() };
        let place = d.primary.as_ref().map(|(span, _)| (span.source, span.start, span.end));
        place.is_none() || told.insert((d.code, message.to_owned(), place))
    });
}

fn resource(
    document: &Document,
    mut spec: serde_json::Value,
    kind: &'static dyn AnyKind,
) -> Result<Desired, Box<Diagnostic>> {
    let ignored = annotations::ignored(document);
    for field in &ignored {
        remove(&mut spec, &field.split('.').collect::<Vec<_>>());
    }
    let spec = kind.parse(&spec).map_err(|(path, message)| {
        let span = document.spec.place(&PathSegment::path(&path));
        Box::new(Diagnostic::error("invalid-value", message).at(span, format!("`{path}` of {}", kind.name())))
    })?;
    let flag = |name: &str, value: &str| document.annotations.get(name).is_some_and(|v| v == value);
    Ok(Desired {
        resource: ResourceRef::new(kind.name(), &document.name.0),
        kind,
        spec,
        labels: document.labels.clone(),
        paused: flag("pvectl/paused", "true"),
        retain: flag("pvectl/deletion-policy", "Retain"),
        rolling: None,
        member_of: document.member_of.as_ref().map(|(_, name)| name.clone()),
        ignored,
        annotations: document.annotations.clone(),
    })
}

/// What is wrong with a spec by itself, where it stands.
fn said(document: &Document, problem: Problem) -> Diagnostic {
    let span = deepest(&document.spec, document.name.1, &problem.path);
    let diagnostic = Diagnostic::error("invalid-value", problem.message).at(span, "");
    match problem.help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

/// A spec without what stands at the places of errors.
fn without(node: &Node, places: &[Span]) -> serde_json::Value {
    match &node.value {
        NodeValue::Mapping(entries) => {
            let sound = entries.iter().filter(|(key, value)| {
                // A field of the wrong type is underlined by itself, an unknown or misplaced one by its key.
                !places.contains(&key.span) && !places.contains(&value.span)
            });
            sound.map(|(key, value)| (key.text.clone(), without(value, places))).collect()
        }
        NodeValue::Sequence(items) => {
            items.iter().filter(|item| !places.contains(&item.span)).map(|item| without(item, places)).collect()
        }
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Integer(_) | NodeValue::Float(_) | NodeValue::String(..) => {
            node.to_json()
        }
    }
}

/// Takes a field out, so that it is neither touched nor compared.
fn remove(value: &mut serde_json::Value, path: &[&str]) {
    match path {
        [] => {}
        [last] => {
            if let Some(map) = value.as_object_mut() {
                map.remove(*last);
            }
        }
        [first, rest @ ..] => match value.get_mut(*first) {
            Some(serde_json::Value::Array(items)) => {
                for item in items.iter_mut().filter(|i| i["slot"] == rest[0]) {
                    remove(item, &rest[1..]);
                }
            }
            Some(inner) => remove(inner, rest),
            None => {}
        },
    }
}

/// References to resources that no manifest declares.
fn dangling<'a>(loaded: &Loaded, resources: impl Iterator<Item = &'a Desired>) -> Vec<Diagnostic> {
    let declared: Vec<ResourceRef> = loaded.documents.iter().map(|d| ResourceRef::new(&d.kind.0, &d.name.0)).collect();
    let mut out = Vec::new();
    for desired in resources {
        let named = desired.kind.refs(&desired.spec).into_iter().chain(desired.kind.guests(&desired.spec));
        for reference in named {
            if reference.or_on_cluster || declared.contains(&reference.to) {
                continue;
            }
            let names = declared.iter().filter(|d| d.kind == reference.to.kind).map(|d| d.name.as_str());
            let near = nearest(&reference.to.name, names.clone());
            let known = names.collect::<Vec<_>>().join(", ");
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => format!("declare a `kind: {}` of that name", reference.to.kind),
                None => format!("declared: {known}"),
            };
            let message = format!(
                "{} names the {} `{}`, which no manifest declares",
                desired.resource, reference.to.kind, reference.to.name
            );
            let diagnostic = Diagnostic::error("unknown-reference", message);
            let place = place(loaded, &desired.resource, &reference.path);
            out.push(match place {
                Some(span) => diagnostic.at(span, "no such resource").help(help),
                None => diagnostic.help(help),
            });
        }
    }
    out
}

/// Where a field of a resource stands. Lists of slots are addressed by slot: `disks.scsi0.size`.
pub fn place(loaded: &Loaded, resource: &ResourceRef, path: &[String]) -> Option<Span> {
    let document = loaded.documents.iter().find(|d| d.kind.0 == resource.kind && d.name.0 == resource.name)?;
    Some(deepest(&document.spec, document.name.1, path))
}

fn deepest(spec: &Node, name: Span, path: &[String]) -> Span {
    let mut node: &Node = spec;
    let mut deepest = name;
    for word in path {
        let next = match node.as_sequence() {
            Some(items) => items.iter().find(|i| i.get("slot").and_then(Node::as_str) == Some(word)),
            None => node.get(word),
        };
        let Some(next) = next else { break };
        deepest = next.span;
        node = next;
    }
    deepest
}
