//! The annotations that the engine knows, `pvectl/…`. One that is misspelt would be no guard at all, so it is an error;
//! those of other programs are theirs.

use crate::base::diagnostic::{Diagnostic, nearest};
use crate::kinds::guest::rules::checks::{ANNOTATION as CHECKS, Checks};
use crate::manifest::document::Document;
use crate::manifest::explain::explain;
use serde_json::Value;

const PREFIX: &str = "pvectl/";
const IGNORE_FIELDS: &str = "pvectl/ignore-fields";
/// Those with a closed list of values.
const CHOICES: [(&str, &[&str]); 6] = [
    ("pvectl/paused", &["true", "false"]),
    ("pvectl/mode", &["Observe", "Propose", "Enforce"]),
    ("pvectl/deletion-policy", &["Retain", "Delete"]),
    ("pvectl/take-over", &["true", "false"]),
    ("pvectl/allow-lockout", &["true", "false"]),
    ("pvectl/runners-drain", &["true", "false"]),
];
/// So many idle runners, whatever a pool's spec says.
const RUNNERS_IDLE: &str = "pvectl/runners-idle";

/// The fields of `pvectl/ignore-fields`.
pub fn ignored(document: &Document) -> Vec<String> {
    let list = document.annotations.get(IGNORE_FIELDS).into_iter().flat_map(|fields| fields.split(','));
    list.map(|field| field.trim().trim_start_matches("spec.").to_owned()).filter(|field| !field.is_empty()).collect()
}

/// What is wrong with a document's annotations. `schema` is its kind's.
pub fn check(document: &Document, schema: &Value) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (name, value) in document.annotations.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        let at = |diagnostic: Diagnostic| match document.annotation_span(name) {
            Some(span) => diagnostic.at(span, ""),
            None => diagnostic,
        };
        if let Some((_, allowed)) = CHOICES.iter().find(|(known, _)| known == name) {
            if !allowed.contains(&value.as_str()) {
                let message = format!("`{name}` cannot be the string `{value}`");
                found.push(at(
                    Diagnostic::error("unknown-value", message).help(format!("one of: {}", allowed.join(", ")))
                ));
            }
        } else if name == IGNORE_FIELDS {
            let unknown = ignored(document).into_iter().filter_map(|field| leads_nowhere(document, schema, &field));
            found.extend(unknown.map(at));
        } else if name == RUNNERS_IDLE {
            if value.parse::<u32>().is_err() {
                let message = format!("`{name}` cannot be the string `{value}`");
                found.push(at(Diagnostic::error("unknown-value", message).help("a number, as a string: \"3\"")));
            }
        } else if name == CHECKS {
            let wrong = Checks::by_names(value).err().map(|why| Diagnostic::error("unknown-value", why));
            found.extend(wrong.map(at));
        } else {
            let others = [IGNORE_FIELDS, CHECKS, RUNNERS_IDLE];
            let known: Vec<&str> = CHOICES.iter().map(|(known, _)| *known).chain(others).collect();
            let near = nearest(name, known.iter().copied()).map(|near| format!("did you mean `{near}`? "));
            let help = format!("{}annotations: {}", near.unwrap_or_default(), known.join(", "));
            found.push(at(Diagnostic::error("unknown-annotation", format!("unknown annotation `{name}`")).help(help)));
        }
    }
    found
}

/// A field to be ignored that the kind does not have. Lists of slots are addressed by slot, which the schema does not know.
fn leads_nowhere(document: &Document, schema: &Value, field: &str) -> Option<Diagnostic> {
    let words: Vec<&str> = field.split('.').collect();
    let is_slot =
        |word: &str| word.starts_with(|c: char| c.is_ascii_lowercase()) && word.ends_with(|c: char| c.is_ascii_digit());
    let path: Vec<&str> = words.iter().copied().filter(|word| !is_slot(word)).collect();
    let free = words.first() == Some(&"options");
    let unknown = explain(schema, &document.kind.0, &path, false).err().filter(|_| !free)?;
    let near = unknown.nearest.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    Some(
        Diagnostic::error(
            "unknown-field",
            format!("`{IGNORE_FIELDS}` names `{field}`, which {} does not have", document.kind.0),
        )
        .help(format!("{near}write it like hardware.cores, disks.scsi0.size, tags")),
    )
}
