//! From a spec to fields in normal form: the flat map that the three-way merge takes. The table says where in the spec a
//! field stands, so nothing here names one.

use crate::base::id::GuestType;
use crate::kinds::guest::spec::Options;
use crate::kinds::guest::table::{self, Row};
use crate::resource::merge::Fields;
use serde::Serialize;
use serde_json::Value;

/// Collects fields; absent ones are not managed and leave no trace.
pub struct Collect {
    guest: GuestType,
    /// What was collected.
    pub fields: Fields,
}

impl Collect {
    /// Nothing yet.
    pub fn new(guest: GuestType) -> Collect {
        Collect { guest, fields: Fields::new() }
    }

    /// All fields below one word of the spec.
    pub fn part(&mut self, word: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).expect("a spec is made of maps with text as keys");
        for row in table::rows(self.guest) {
            let Some(below) = row.path.strip_prefix(word) else { continue };
            if below.is_empty() || below.starts_with('.') {
                self.row(row, below.trim_start_matches('.'), &value);
            }
        }
    }

    fn row(&mut self, row: &Row, below: &str, value: &Value) {
        if let Some(below) = below.strip_prefix("*.") {
            for entry in value.as_array().into_iter().flatten() {
                let slot = entry["slot"].as_str().unwrap_or("");
                let found = lookup(entry, below).and_then(|v| row.form.of_manifest(v));
                self.fields.extend(found.map(|text| (row.path.replace('*', slot), text)));
            }
        } else if let Some(text) = lookup(value, below).and_then(|v| row.form.of_manifest(v)) {
            self.fields.insert(row.path.to_owned(), text);
        }
    }

    /// The guest's name in PVE: the manifest's, unless it says another; none where it says an empty one.
    pub fn name(&mut self, manifest: &str, own: Option<&str>) {
        match own {
            Some("") => {}
            own => self.text("name", own.unwrap_or(manifest)),
        }
    }

    /// A field that the spec does not say in so many words.
    pub fn text(&mut self, path: impl Into<String>, value: &str) {
        self.fields.insert(path.into(), value.to_owned());
    }

    /// Options of PVE, verbatim.
    pub fn options(&mut self, options: &Options) {
        for (key, value) in options {
            self.text(format!("options.{key}"), &value.0);
        }
    }
}

/// The value at dotted words; of what is an object, the part that stands for the whole.
fn lookup<'a>(value: &'a Value, words: &str) -> Option<&'a Value> {
    let found = words.split('.').filter(|w| !w.is_empty()).try_fold(value, |value, word| value.get(word))?;
    match found {
        Value::Object(parts) => parts.get("enabled").or_else(|| parts.get("type")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Some(found),
    }
}
