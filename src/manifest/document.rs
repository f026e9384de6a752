//! The envelope that every document has (`apiVersion`, `kind`, `metadata`, `spec`), checked without knowing any kind.

use crate::base::diagnostic::{Diagnostic, nearest};
use crate::base::source::Span;
use crate::manifest::mismatch::{found, head};
use crate::manifest::tree::{Key, Node, NodeValue};
use std::collections::{BTreeMap, HashMap};

/// The only `apiVersion` there is.
pub const API_VERSION: &str = "pvectl/v1alpha1";
/// The kind of a document that holds others under `items`, as `get -o json` writes it and as kubectl's users know it.
pub const LIST: &str = "List";
/// RFC 1123's longest label, and so the longest name.
pub const NAME_CHARACTERS_MAX: usize = 63;

const FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
const LIST_FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "items"];
const METADATA_FIELDS: [&str; 3] = ["name", "labels", "annotations"];

/// One manifest document whose envelope is right.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// `apiVersion` and its place.
    pub api_version: (String, Span),
    /// `kind` and its place.
    pub kind: (String, Span),
    /// `metadata.name` and its place.
    pub name: (String, Span),
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// The whole of `metadata`, for places.
    pub metadata: Node,
    /// `spec`; an empty mapping if it was left out.
    pub spec: Node,
    /// The key `spec`, or the kind's place if it was left out: where a missing field is reported.
    pub spec_key: Span,
    /// The whole document.
    pub span: Span,
    /// Kind and name of the document that it is made of; it stands in no file of its own.
    pub member_of: Option<(String, String)>,
}

impl Document {
    /// Reads the envelope of a tree. `None` if there is no usable kind or name; the diagnostics say why.
    pub fn from_node(node: &Node, kinds: &[&str]) -> (Option<Document>, Vec<Diagnostic>) {
        let mut diagnostics = Vec::new();
        let document = envelope(node, kinds, &mut diagnostics);
        (document, diagnostics)
    }

    /// The place of an annotation's value.
    pub fn annotation_span(&self, name: &str) -> Option<Span> {
        self.metadata.get("annotations")?.get(name).map(|n| n.span)
    }

    /// The place of a label's value.
    pub fn label_span(&self, name: &str) -> Option<Span> {
        self.metadata.get("labels")?.get(name).map(|n| n.span)
    }
}

/// The documents of one node: the items of a [`LIST`], or the node itself.
pub fn unpacked<'a>(node: &'a Node, diagnostics: &mut Vec<Diagnostic>) -> Vec<&'a Node> {
    if node.get("kind").and_then(Node::as_str) != Some(LIST) {
        return vec![node];
    }
    unknown_fields(node.as_mapping().unwrap_or_default(), &LIST_FIELDS, "a List", diagnostics);
    match node.entry("items") {
        None => {
            diagnostics.push(missing("items", head(node, None)));
            Vec::new()
        }
        Some((key, items)) => match items.as_sequence() {
            Some(items) => items.iter().collect(),
            None => {
                let message = format!("`items` must be a list, found {}", found(items));
                let place = head(items, Some(key.span));
                diagnostics.push(Diagnostic::error("wrong-type", message).at(place, "expected a list of documents"));
                Vec::new()
            }
        },
    }
}

/// One diagnostic for each document whose kind and name another one before it has.
pub fn duplicates(documents: &[Document]) -> Vec<Diagnostic> {
    let mut first: HashMap<(&str, &str), Span> = HashMap::new();
    let mut diagnostics = Vec::new();
    for Document { kind: (kind, _), name: (name, span), .. } in documents {
        match first.get(&(kind.as_str(), name.as_str())) {
            None => {
                first.insert((kind, name), *span);
            }
            Some(earlier) => diagnostics.push(
                Diagnostic::error("duplicate-document", format!("{kind}/{name} stands in the manifests twice"))
                    .at(*span, "again here")
                    .also(*earlier, "first here")
                    .help("rename or remove one of the two"),
            ),
        }
    }
    diagnostics
}

/// Whether a text is a DNS label of RFC 1123: lower-case letters, digits and `-`, not at either end.
pub fn is_dns_label(text: &str) -> bool {
    (1..=NAME_CHARACTERS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn envelope(node: &Node, kinds: &[&str], diagnostics: &mut Vec<Diagnostic>) -> Option<Document> {
    let Some(entries) = node.as_mapping() else {
        diagnostics.push(
            Diagnostic::error("not-a-document", format!("a document is a mapping, and this is {}", found(node)))
                .at(node.span, "")
                .help("a document begins with `apiVersion: pvectl/v1alpha1` and `kind:`"),
        );
        return None;
    };
    unknown_fields(entries, &FIELDS, "a document", diagnostics);
    let place = head(node, None);
    let api_version = text_field(node, "apiVersion", place, diagnostics);
    if let Some((version, span)) = &api_version
        && version != API_VERSION
    {
        diagnostics.push(
            Diagnostic::error("unknown-api-version", format!("unknown apiVersion `{version}`"))
                .at(*span, "")
                .help(format!("write `{API_VERSION}`")),
        );
    }
    let kind =
        text_field(node, "kind", place, diagnostics).filter(|(kind, span)| known(kind, *span, kinds, diagnostics));
    let (metadata, name, labels, annotations) = metadata(node, place, diagnostics);
    let (spec_key, spec) = match node.entry("spec") {
        None => (kind.as_ref().map_or(place, |(_, span)| *span), None),
        Some((key, spec)) => (key.span, Some((key, spec))),
    };
    let spec = match spec {
        Some((_, spec)) if spec.as_mapping().is_some() => spec.clone(),
        None => Node::empty_mapping(spec_key),
        Some((key, spec)) if spec.value == NodeValue::Null => Node::empty_mapping(key.span),
        Some((key, spec)) => {
            diagnostics.push(mapping_wanted("spec", key, spec));
            Node::empty_mapping(key.span)
        }
    };
    let document_span = node.span;
    Some(Document {
        api_version: api_version.unwrap_or_else(|| (String::new(), place)),
        kind: kind?,
        name: name?,
        labels,
        annotations,
        metadata,
        spec,
        spec_key,
        span: document_span,
        member_of: None,
    })
}

type Metadata = (Node, Option<(String, Span)>, BTreeMap<String, String>, BTreeMap<String, String>);

fn metadata(node: &Node, place: Span, diagnostics: &mut Vec<Diagnostic>) -> Metadata {
    let none = |span| (Node::empty_mapping(span), None, BTreeMap::new(), BTreeMap::new());
    let Some((key, metadata)) = node.entry("metadata") else {
        diagnostics.push(missing("metadata", place).help("write `metadata: {name: …}`"));
        return none(place);
    };
    let Some(entries) = metadata.as_mapping() else {
        diagnostics.push(mapping_wanted("metadata", key, metadata));
        return none(key.span);
    };
    unknown_fields(entries, &METADATA_FIELDS, "`metadata`", diagnostics);
    let name = text_field(metadata, "name", key.span, diagnostics);
    if let Some((name, span)) = &name
        && !is_dns_label(name)
    {
        let message = format!("`{}` is not a name", name.chars().take(80).collect::<String>());
        let rule = "a name has lower-case letters, digits and `-`, begins and ends with a letter or digit, and has at most 63 characters";
        diagnostics.push(Diagnostic::error("invalid-name", message).at(*span, "not a DNS label (RFC 1123)").help(rule));
    }
    let labels = string_map(metadata, "labels", diagnostics);
    let annotations = string_map(metadata, "annotations", diagnostics);
    (metadata.clone(), name, labels, annotations)
}

fn known(kind: &str, span: Span, kinds: &[&str], diagnostics: &mut Vec<Diagnostic>) -> bool {
    if kinds.contains(&kind) {
        return true;
    }
    let help = match nearest(kind, kinds.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("kinds: {}", kinds.join(", ")),
    };
    diagnostics.push(Diagnostic::error("unknown-kind", format!("unknown kind `{kind}`")).at(span, "").help(help));
    false
}

fn unknown_fields(entries: &[(Key, Node)], fields: &[&str], of: &str, diagnostics: &mut Vec<Diagnostic>) {
    for (key, _) in entries.iter().filter(|(key, _)| !fields.contains(&key.text.as_str())) {
        diagnostics.push(unknown_field(key, fields, of));
    }
}

/// The diagnostic for a key that is no field of `of`.
pub(super) fn unknown_field(key: &Key, fields: &[&str], of: &str) -> Diagnostic {
    let near = nearest(&key.text, fields.iter().copied()).map(|near| format!("did you mean `{near}`? "));
    let list =
        if fields.is_empty() { "there are no fields".to_owned() } else { format!("fields: {}", fields.join(", ")) };
    Diagnostic::error("unknown-field", format!("unknown field `{}`", key.text))
        .at(key.span, format!("not a field of {of}"))
        .help(format!("{}{list}", near.unwrap_or_default()))
}

/// The diagnostic for a field that is not there.
pub(super) fn missing(field: &str, place: Span) -> Diagnostic {
    Diagnostic::error("missing-field", format!("missing field `{field}`")).at(place, format!("needs `{field}`"))
}

fn mapping_wanted(field: &str, key: &Key, node: &Node) -> Diagnostic {
    Diagnostic::error("wrong-type", format!("`{field}` must be a mapping, found {}", found(node)))
        .at(head(node, Some(key.span)), "expected a mapping")
}

fn text_field(node: &Node, field: &str, place: Span, diagnostics: &mut Vec<Diagnostic>) -> Option<(String, Span)> {
    let Some((key, value)) = node.entry(field) else {
        diagnostics.push(missing(field, place));
        return None;
    };
    match value.as_str() {
        Some(text) => Some((text.to_owned(), value.span)),
        None => {
            diagnostics.push(string_wanted(&format!("`{field}`"), key, value));
            None
        }
    }
}

fn string_wanted(what: &str, key: &Key, node: &Node) -> Diagnostic {
    let diagnostic = Diagnostic::error("wrong-type", format!("{what} must be a string, found {}", found(node)))
        .at(head(node, Some(key.span)), "expected a string");
    let scalar = matches!(node.value, NodeValue::Bool(_) | NodeValue::Integer(_) | NodeValue::Float(_));
    if scalar { diagnostic.help("put it in quotes") } else { diagnostic }
}

fn string_map(metadata: &Node, field: &str, diagnostics: &mut Vec<Diagnostic>) -> BTreeMap<String, String> {
    let Some((key, node)) = metadata.entry(field) else { return BTreeMap::new() };
    let Some(entries) = node.as_mapping() else {
        if node.value != NodeValue::Null {
            diagnostics.push(mapping_wanted(field, key, node));
        }
        return BTreeMap::new();
    };
    let mut map = BTreeMap::new();
    for (key, value) in entries {
        match value.as_str() {
            Some(text) => {
                map.insert(key.text.clone(), text.to_owned());
            }
            None => diagnostics.push(string_wanted(&format!("`{field}.{}`", key.text), key, value)),
        }
    }
    map
}
