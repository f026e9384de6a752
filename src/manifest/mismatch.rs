//! How a value is named to people, and what is said when its type is not the wanted one.

use crate::base::diagnostic::Diagnostic;
use crate::base::source::Span;
use crate::manifest::scalar;
use crate::manifest::tree::{Node, NodeValue, Style};

/// The longest text that a message quotes.
const QUOTED_CHARACTERS_MAX: usize = 60;

/// A value in a sentence: "the string `two`".
pub fn found(node: &Node) -> String {
    match &node.value {
        NodeValue::Null => "nothing (null)".to_owned(),
        NodeValue::Bool(value) => format!("the boolean `{value}`"),
        NodeValue::Integer(value) => format!("the integer `{value}`"),
        NodeValue::Float(value) => format!("the number `{value:?}`"),
        NodeValue::String(text, _) => format!("the string `{}`", short(text)),
        NodeValue::Sequence(_) => "a list".to_owned(),
        NodeValue::Mapping(_) => "a mapping".to_owned(),
    }
}

/// The beginning of a text, on one line.
pub fn short(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTED_CHARACTERS_MAX).collect();
    if text.chars().count() > QUOTED_CHARACTERS_MAX { format!("{line}…") } else { line }
}

/// The place at which to speak of a value as a whole: itself if it is a scalar, else its key, else its first key.
pub fn head(node: &Node, key: Option<Span>) -> Span {
    match &node.value {
        NodeValue::Bool(_) | NodeValue::Integer(_) | NodeValue::Float(_) | NodeValue::String(..) => node.span,
        NodeValue::Null if node.span.start < node.span.end => node.span,
        NodeValue::Null => key.unwrap_or(node.span),
        NodeValue::Sequence(items) => key.or_else(|| items.first().map(|n| head(n, None))).unwrap_or(node.span),
        NodeValue::Mapping(entries) => key.or_else(|| entries.first().map(|(k, _)| k.span)).unwrap_or(node.span),
    }
}

/// JSON Schema's word for a value's type.
pub fn type_of(node: &Node) -> &'static str {
    match &node.value {
        NodeValue::Null => "null",
        NodeValue::Bool(_) => "boolean",
        NodeValue::Integer(_) => "integer",
        NodeValue::Float(_) => "number",
        NodeValue::String(..) => "string",
        NodeValue::Sequence(_) => "array",
        NodeValue::Mapping(_) => "object",
    }
}

/// Whether a value is of one of JSON Schema's types.
pub fn is_of(node: &Node, types: &[&str]) -> bool {
    let own = type_of(node);
    types.contains(&own) || (own == "integer" && types.contains(&"number"))
}

/// Types in a sentence: "an integer or a string". Null is not named: people leave a field out.
pub fn expected(types: &[&str]) -> String {
    let names: Vec<&str> = types.iter().filter(|t| **t != "null" || types.len() == 1).map(|t| article(t)).collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn article(name: &str) -> &'static str {
    match name {
        "null" => "nothing",
        "boolean" => "a boolean",
        "integer" => "an integer",
        "number" => "a number",
        "string" => "a string",
        "array" => "a list",
        _ => "a mapping",
    }
}

/// The diagnostic for a value that is of none of `types`.
pub fn wrong_type(node: &Node, key: Option<Span>, types: &[&str]) -> Diagnostic {
    let expected = expected(types);
    let diagnostic = Diagnostic::error("wrong-type", format!("expected {expected}, found {}", found(node)))
        .at(head(node, key), format!("expected {expected}"));
    match advice(node, types) {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

fn advice(node: &Node, types: &[&str]) -> Option<String> {
    let number = types.contains(&"integer") || types.contains(&"number");
    match &node.value {
        NodeValue::Null => Some("leave the field out if it is not to be managed".to_owned()),
        NodeValue::String(text, Style::Quoted) => {
            let plain = scalar::resolve(text).ok()?;
            let fits = match plain {
                NodeValue::Bool(_) => types.contains(&"boolean"),
                NodeValue::Integer(_) => number,
                NodeValue::Float(_) => types.contains(&"number"),
                NodeValue::Null | NodeValue::String(..) | NodeValue::Sequence(_) | NodeValue::Mapping(_) => false,
            };
            let help = || types.contains(&"boolean").then(|| scalar::boolean_hint(text)).flatten();
            if fits { Some("take the quotes away".to_owned()) } else { help() }
        }
        NodeValue::String(text, Style::Plain) => {
            let boolean = types.contains(&"boolean").then(|| scalar::boolean_hint(text)).flatten();
            boolean.or_else(|| number.then(|| scalar::number_hint(text)).flatten())
        }
        NodeValue::Bool(_) | NodeValue::Integer(_) | NodeValue::Float(_) => {
            types.contains(&"string").then(|| "put it in quotes".to_owned())
        }
        NodeValue::Sequence(_) | NodeValue::Mapping(_) => None,
    }
}
