//! A tree to a typed value; an error is mapped back to its place.

use crate::base::diagnostic::Diagnostic;
use crate::manifest::mismatch::head;
use crate::manifest::tree::{Node, PathSegment};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

/// Decodes a tree. The schema's check comes first and reports everything; this reports what only decoding knows.
#[expect(clippy::result_large_err, reason = "made once a document, and every caller collects diagnostics by value")]
pub fn decode<T: DeserializeOwned>(node: &Node) -> Result<T, Diagnostic> {
    serde_path_to_error::deserialize(node.to_json()).map_err(|error| {
        let path: Vec<PathSegment> = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                Segment::Map { key } => Some(PathSegment::Key(key.clone())),
                Segment::Enum { variant } => Some(PathSegment::Key(variant.clone())),
                Segment::Seq { index } => Some(PathSegment::Index(*index)),
                Segment::Unknown => None,
            })
            .collect();
        let place = (0..=path.len()).rev().find_map(|length| {
            let value = node.at(&path[..length])?;
            let key = match path[..length].split_last() {
                Some((PathSegment::Key(key), above)) => node.at(above).and_then(|n| n.entry(key)).map(|(k, _)| k.span),
                Some((PathSegment::Index(_), _)) | None => None,
            };
            Some(head(value, key))
        });
        let field = error.path().to_string();
        let label = if field == "." { String::new() } else { format!("in `{field}`") };
        Diagnostic::error("invalid-value", error.into_inner().to_string()).at(place.unwrap_or(node.span), label)
    })
}
