//! Tags: the core schema's are honoured, everything else is refused.

use crate::base::diagnostic::Diagnostic;
use crate::base::source::Span;
use crate::manifest::scalar::{self, BadNumber};
use crate::manifest::tree::{NodeValue, Style};
use granit_parser::{ScalarStyle, Tag};

/// The value of a scalar as its quotes, its tag or else its text says.
pub(super) fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    span: Span,
    diagnostics: &mut Vec<Diagnostic>,
) -> NodeValue {
    let quoted = NodeValue::String(text.to_owned(), Style::Quoted);
    let tag = tag.map(|t| (t.core_suffix(), t));
    let wanted = match tag {
        None if style != ScalarStyle::Plain => return quoted,
        None => None,
        Some((Some("str"), _)) => return quoted,
        Some((None, tag)) if tag.original() == "!" => return quoted,
        Some((Some(core), _)) if !matches!(core, "map" | "seq") => Some(core.to_owned()),
        Some((_, tag)) => {
            diagnostics.push(unknown(tag, span));
            return quoted;
        }
    };
    let value = match scalar::resolve(text) {
        Ok(value) => value,
        Err(BadNumber::TooLarge) => {
            diagnostics.push(
                Diagnostic::error("number-too-large", format!("the number `{text}` does not fit into 64 bits"))
                    .at(span, "")
                    .help("put it in quotes if it is a text"),
            );
            quoted
        }
        Err(BadNumber::NotFinite) => {
            diagnostics.push(
                Diagnostic::error("number-not-finite", format!("`{text}` is not a finite number"))
                    .at(span, "")
                    .help("put it in quotes if it is a text"),
            );
            quoted
        }
    };
    let value = match (wanted.as_deref(), value) {
        (Some("float"), NodeValue::Integer(n)) => NodeValue::Float(n as f64),
        (_, value) => value,
    };
    let fits = match (wanted.as_deref(), &value) {
        (None, _) => true,
        (Some(tag), NodeValue::Null) => tag == "null",
        (Some(tag), NodeValue::Bool(_)) => tag == "bool",
        (Some(tag), NodeValue::Integer(_)) => tag == "int",
        (Some(tag), NodeValue::Float(_)) => tag == "float",
        (Some(_), NodeValue::String(..) | NodeValue::Sequence(_) | NodeValue::Mapping(_)) => false,
    };
    if let (false, Some(tag)) = (fits, wanted) {
        diagnostics.push(Diagnostic::error("tag-mismatch", format!("`{text}` is not a `!!{tag}`")).at(span, ""));
    }
    value
}

/// A collection has no tag but its own.
pub(super) fn collection(tag: Option<&Tag>, own: &str, span: Span, diagnostics: &mut Vec<Diagnostic>) {
    if let Some(tag) = tag
        && tag.core_suffix() != Some(own)
        && tag.original() != "!"
    {
        diagnostics.push(unknown(tag, span));
    }
}

fn unknown(tag: &Tag, span: Span) -> Diagnostic {
    Diagnostic::error("unknown-tag", format!("the tag `{}` is not supported here", tag.original()))
        .at(span, "")
        .help("leave the tag out")
}
