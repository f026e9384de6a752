//! A tree held against a JSON Schema as `schemars` writes it. Reports every mismatch at its place; what it cannot say
//! (patterns, formats of text) the decoding says.

use crate::base::diagnostic::{Diagnostic, nearest};
use crate::base::source::Span;
use crate::manifest::branch;
use crate::manifest::document::{missing, unknown_field};
use crate::manifest::mismatch::{found, head, is_of, wrong_type};
use crate::manifest::tree::{Node, NodeValue};
use serde_json::Value;

/// How many `$ref`, `allOf` and `oneOf` may follow each other without going into the value: a cycle ends here.
const HOPS_MAX: usize = 32;

/// Where the checker stands: what to call the value, the key before it, and the schema that `$ref` looks into.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) root: &'a Value,
    pub(super) name: &'a str,
    pub(super) key: Option<Span>,
    pub(super) hops: usize,
}

impl<'a> At<'a> {
    fn hop(self) -> At<'a> {
        At { hops: self.hops + 1, ..self }
    }
}

/// Everything in `node` that `schema` does not allow. `name` is what messages call the value (`spec`); `key` is the place
/// of its key, where missing fields are reported.
pub fn check(node: &Node, schema: &Value, name: &str, key: Option<Span>) -> Vec<Diagnostic> {
    check_at(node, schema, At { root: schema, name, key, hops: 0 })
}

pub(super) fn check_at(node: &Node, schema: &Value, at: At<'_>) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    if at.hops >= HOPS_MAX {
        return diagnostics;
    }
    if schema == &Value::Bool(false) {
        let message = format!("`{}` may not stand here", at.name);
        return vec![Diagnostic::error("not-allowed", message).at(head(node, at.key), "")];
    }
    if let Some(target) = target(schema, at.root) {
        diagnostics.extend(check_at(node, target, at.hop()));
    }
    let types = types(schema);
    if !types.is_empty() && !is_of(node, &types) {
        diagnostics.push(of_form(wrong_type(node, at.key, &types), node, schema));
        return diagnostics;
    }
    diagnostics.extend(check_choice(node, &allowed(schema), at));
    for part in list(schema, "allOf") {
        diagnostics.extend(check_at(node, part, at.hop()));
    }
    for word in ["oneOf", "anyOf"] {
        let branches: Vec<&Value> = list(schema, word).collect();
        if !branches.is_empty() {
            diagnostics.extend(branch::check(node, &branches, at.hop()));
        }
    }
    match &node.value {
        NodeValue::Integer(number) => diagnostics.extend(check_range(node, *number as f64, schema)),
        NodeValue::Float(number) => diagnostics.extend(check_range(node, *number, schema)),
        NodeValue::Sequence(items) => diagnostics.extend(check_items(node, items, schema, at)),
        NodeValue::Mapping(_) => diagnostics.extend(check_fields(node, schema, at)),
        NodeValue::String(text, _) => diagnostics.extend(check_pattern(node, text, schema, at)),
        NodeValue::Null | NodeValue::Bool(_) => {}
    }
    diagnostics
}

/// A text has the form that the schema's `pattern` asks for; the schema's description says it in words.
fn check_pattern(node: &Node, text: &str, schema: &Value, at: At<'_>) -> Option<Diagnostic> {
    let pattern = schema.get("pattern").and_then(Value::as_str)?;
    // Our own schemas' patterns compile: a test parses them all.
    if regex_lite::Regex::new(pattern).ok()?.is_match(text) {
        return None;
    }
    let diagnostic = Diagnostic::error("invalid-value", format!("`{}` cannot be {}", at.name, found(node)))
        .at(node.span, "not of the form that is wanted");
    Some(match wanted(schema) {
        Some(words) => diagnostic.help(words),
        None => diagnostic,
    })
}

/// A diagnostic of a wrong type with the form that is wanted: in quotes a bare number would be text, and not of that form
/// (`memory: 2048` is no 2 GiB).
pub(super) fn of_form(diagnostic: Diagnostic, node: &Node, schema: &Value) -> Diagnostic {
    match wanted(schema) {
        Some(words) if node.value != NodeValue::Null => diagnostic.help(words),
        Some(_) | None => diagnostic,
    }
}

/// The form of a text in the words of its schema's description.
fn wanted(schema: &Value) -> Option<String> {
    let pattern = schema.get("pattern").and_then(Value::as_str)?;
    let words = schema.get("description").and_then(Value::as_str).unwrap_or(pattern);
    Some(format!("wanted: {}", words.lines().next().unwrap_or(pattern)))
}

/// What a `$ref` points to.
pub(super) fn target<'a>(schema: &'a Value, root: &'a Value) -> Option<&'a Value> {
    let pointer = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
    root.pointer(pointer)
}

/// A schema with its `$ref`s followed.
pub(super) fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let mut schema = schema;
    for _ in 0..HOPS_MAX {
        match target(schema, root) {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

pub(super) fn list<'a>(schema: &'a Value, word: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    schema.get(word).and_then(Value::as_array).into_iter().flatten()
}

/// The types that a schema names itself.
pub(super) fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The values that a schema's own `const` or `enum` lists; empty if it lists none.
pub(super) fn allowed(schema: &Value) -> Vec<&Value> {
    schema.get("const").into_iter().chain(list(schema, "enum")).collect()
}

/// A schema's properties.
pub(super) fn properties(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
}

/// A schema's required properties.
pub(super) fn required(schema: &Value) -> impl Iterator<Item = &str> {
    list(schema, "required").filter_map(Value::as_str)
}

/// The value is one of `allowed`, if there are any.
pub(super) fn check_choice(node: &Node, allowed: &[&Value], at: At<'_>) -> Option<Diagnostic> {
    if allowed.is_empty() || allowed.contains(&&node.to_json()) {
        return None;
    }
    let words: Vec<&str> = allowed.iter().filter_map(|v| v.as_str()).collect();
    if !words.is_empty() && node.as_str().is_none() {
        let types = if allowed.iter().any(|v| v.is_null()) { vec!["string", "null"] } else { vec!["string"] };
        let diagnostic = wrong_type(node, at.key, &types);
        return Some(diagnostic.help(format!("one of: {}", words.join(", "))));
    }
    let near = node.as_str().and_then(|text| nearest(text, words.iter().copied()));
    let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    let all: Vec<String> = allowed.iter().filter(|v| !v.is_null()).map(|v| plain(v)).collect();
    Some(
        Diagnostic::error("unknown-value", format!("`{}` cannot be {}", at.name, found(node)))
            .at(head(node, at.key), "")
            .help(format!("{near}one of: {}", all.join(", "))),
    )
}

/// A JSON value as it would stand in a manifest.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The bounds that a schema's `minimum`, `maximum` and integer `format` set.
fn bounds(schema: &Value) -> (Option<f64>, Option<f64>) {
    let format = schema.get("format").and_then(Value::as_str).unwrap_or("");
    let (low, high) = match format {
        "uint8" => (Some(0.0), Some(f64::from(u8::MAX))),
        "uint16" => (Some(0.0), Some(f64::from(u16::MAX))),
        "uint32" => (Some(0.0), Some(f64::from(u32::MAX))),
        "uint64" | "uint" => (Some(0.0), None),
        "int8" => (Some(f64::from(i8::MIN)), Some(f64::from(i8::MAX))),
        "int16" => (Some(f64::from(i16::MIN)), Some(f64::from(i16::MAX))),
        "int32" => (Some(f64::from(i32::MIN)), Some(f64::from(i32::MAX))),
        _ => (None, None),
    };
    let own = |word: &str| schema.get(word).and_then(Value::as_f64);
    (own("minimum").or(low), own("maximum").or(high))
}

fn check_range(node: &Node, number: f64, schema: &Value) -> Option<Diagnostic> {
    let (low, high) = bounds(schema);
    let outside = low.is_some_and(|low| number < low) || high.is_some_and(|high| number > high);
    let range = match (low, high) {
        (Some(low), Some(high)) => format!("from {low} to {high}"),
        (Some(low), None) => format!("at least {low}"),
        (None, Some(high)) => format!("at most {high}"),
        (None, None) => return None,
    };
    outside.then(|| {
        Diagnostic::error("out-of-range", format!("{} is out of range", found(node)))
            .at(node.span, format!("must be {range}"))
    })
}

fn check_items(node: &Node, items: &[Node], schema: &Value, at: At<'_>) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    for (word, too) in [("minItems", "few"), ("maxItems", "many")] {
        let Some(limit) = schema.get(word).and_then(Value::as_u64) else { continue };
        let count = items.len() as u64;
        if (word == "minItems" && count < limit) || (word == "maxItems" && count > limit) {
            let label = format!("has {count}, must have at {} {limit}", if too == "few" { "least" } else { "most" });
            let message = format!("`{}` has too {too} items", at.name);
            diagnostics.push(Diagnostic::error("item-count", message).at(head(node, at.key), label));
        }
    }
    if let Some(item) = schema.get("items") {
        let name = format!("{}[]", at.name);
        let at = At { name: &name, key: None, hops: 0, root: at.root };
        diagnostics.extend(items.iter().flat_map(|node| check_at(node, item, at)));
    }
    diagnostics
}

fn check_fields(node: &Node, schema: &Value, at: At<'_>) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    let fields: Vec<&str> = properties(schema).map(|(name, _)| name).collect();
    let pattern = schema.get("patternProperties").and_then(Value::as_object).and_then(|p| p.values().next());
    let other = pattern.or_else(|| schema.get("additionalProperties"));
    for (key, value) in node.as_mapping().unwrap_or(&[]) {
        let below = At { name: &key.text, key: Some(key.span), hops: 0, ..at };
        let own = schema.get("properties").and_then(|p| p.get(&key.text));
        match own.or(other) {
            Some(Value::Bool(false)) if own.is_none() => {
                diagnostics.push(unknown_field(key, &fields, &format!("`{}`", at.name)));
            }
            Some(schema) => diagnostics.extend(check_at(value, schema, below)),
            None => {}
        }
    }
    for field in required(schema).filter(|field| node.get(field).is_none()) {
        diagnostics.push(missing(field, head(node, at.key)));
    }
    diagnostics
}
