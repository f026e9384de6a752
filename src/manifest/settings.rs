//! `pvectl.yaml` at the root of a tree of manifests: the set's name, the context, and defaults by kind.

use crate::base::diagnostic::{Diagnostic, nearest};
use crate::base::source::Span;
use crate::manifest::document::unknown_field;
use crate::manifest::mismatch::{found, head, wrong_type};
use crate::manifest::tree::{Node, NodeValue};
use std::collections::BTreeMap;

/// The name of the file.
pub const FILE_NAME: &str = "pvectl.yaml";

const FIELDS: [&str; 3] = ["set", "context", "defaults"];

/// What `pvectl.yaml` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TreeSettings {
    /// The manifest set's name and its place.
    pub set: Option<(String, Span)>,
    /// The context's name and its place.
    pub context: Option<(String, Span)>,
    /// By kind, what is merged under every spec of that kind.
    pub defaults: BTreeMap<String, Node>,
}

impl TreeSettings {
    /// Reads the file's one document.
    pub fn from_node(node: &Node, kinds: &[&str]) -> (TreeSettings, Vec<Diagnostic>) {
        let mut settings = TreeSettings::default();
        let mut diagnostics = Vec::new();
        let Some(entries) = node.as_mapping() else {
            diagnostics.push(wrong_type(node, None, &["object"]));
            return (settings, diagnostics);
        };
        for (key, value) in entries {
            match key.text.as_str() {
                "set" => settings.set = text(value, key.span, &mut diagnostics),
                "context" => settings.context = text(value, key.span, &mut diagnostics),
                "defaults" => settings.defaults = defaults(value, key.span, kinds, &mut diagnostics),
                _ => diagnostics.push(unknown_field(key, &FIELDS, "`pvectl.yaml`")),
            }
        }
        (settings, diagnostics)
    }
}

fn text(node: &Node, key: Span, diagnostics: &mut Vec<Diagnostic>) -> Option<(String, Span)> {
    let text = node.as_str().map(|text| (text.to_owned(), node.span));
    if text.is_none() && node.value != NodeValue::Null {
        diagnostics.push(wrong_type(node, Some(key), &["string"]));
    }
    text
}

fn defaults(node: &Node, key: Span, kinds: &[&str], diagnostics: &mut Vec<Diagnostic>) -> BTreeMap<String, Node> {
    let mut defaults = BTreeMap::new();
    let Some(entries) = node.as_mapping() else {
        if node.value != NodeValue::Null {
            diagnostics.push(wrong_type(node, Some(key), &["object"]));
        }
        return defaults;
    };
    for (kind, spec) in entries {
        if !kinds.contains(&kind.text.as_str()) {
            let near = nearest(&kind.text, kinds.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let help = near.unwrap_or_else(|| format!("kinds: {}", kinds.join(", ")));
            let message = format!("unknown kind `{}`", kind.text);
            diagnostics.push(Diagnostic::error("unknown-kind", message).at(kind.span, "").help(help));
        } else if spec.as_mapping().is_none() {
            let message = format!("defaults are a mapping as in `spec`, found {}", found(spec));
            diagnostics
                .push(Diagnostic::error("wrong-type", message).at(head(spec, Some(kind.span)), "expected a mapping"));
        } else {
            defaults.insert(kind.text.clone(), spec.clone());
        }
    }
    defaults
}
