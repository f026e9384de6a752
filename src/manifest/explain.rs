//! A field of a kind explained from its schema, in the shape of `kubectl explain`.

use crate::base::diagnostic::nearest;
use crate::manifest::schema::{allowed, list, plain, properties, required, resolved, types};
use serde_json::Value;
use std::fmt::Write;

/// A path that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// The first word that is no field.
    pub field: String,
    /// Where it was looked for; empty for the kind itself.
    pub parent: String,
    /// The field that may have been meant.
    pub nearest: Option<String>,
    /// All fields there are.
    pub fields: Vec<String>,
}

impl std::fmt::Display for UnknownField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let UnknownField { field, parent, nearest, fields } = self;
        let parent = if parent.is_empty() { "the kind" } else { parent };
        write!(f, "no field `{field}` in {parent}")?;
        match nearest {
            Some(near) => write!(f, ": did you mean `{near}`?"),
            None if fields.is_empty() => f.write_str(": it has no fields"),
            None => write!(f, ": fields are {}", fields.join(", ")),
        }
    }
}

impl std::error::Error for UnknownField {}

/// Explains the field at `path` below the spec that `schema` describes; an empty path is the spec. A leading `spec` in the
/// path is passed over.
/// With `tree`, all fields below it follow by name and type alone.
pub fn explain(schema: &Value, kind: &str, path: &[&str], tree: bool) -> Result<String, UnknownField> {
    let path = path.strip_prefix(&["spec"]).unwrap_or(path);
    let mut here = schema;
    for (index, word) in path.iter().enumerate() {
        let fields = fields(here, schema);
        here = match fields.iter().find(|f| f.name == *word) {
            Some(field) => field.schema,
            None => {
                let names = fields.iter().map(|f| f.name);
                return Err(UnknownField {
                    field: (*word).to_owned(),
                    parent: path[..index].join("."),
                    nearest: nearest(word, names.clone()).map(str::to_owned),
                    fields: names.map(str::to_owned).collect(),
                });
            }
        };
    }
    let mut text = format!("KIND:     {kind}\n");
    if !path.is_empty() {
        let _ = writeln!(text, "FIELD:    {} <{}>", path.join("."), type_name(here, schema, 0));
    }
    let description = description(here, schema);
    if !description.is_empty() {
        let _ = write!(text, "\nDESCRIPTION:\n{}", indented(description, "    "));
    }
    text.push_str(&notes(here, schema, "    ").map(|n| format!("\n{n}")).unwrap_or_default());
    let fields = fields(here, schema);
    if tree && !fields.is_empty() {
        text.push_str("\nFIELDS:\n");
        branches(here, schema, 1, &mut text);
    } else if !fields.is_empty() {
        text.push_str("\nFIELDS:\n");
        let width = fields.iter().map(|f| f.name.len()).max().unwrap_or(0);
        for Field { name, schema: field, required } in &fields {
            let mark = if *required { " -required-" } else { "" };
            let _ = writeln!(text, "  {name:width$}  <{}>{mark}", type_name(field, schema, 0));
            let summary = self::description(field, schema).split("\n\n").next().unwrap_or("");
            text.push_str(&indented(summary, "      "));
            text.push_str(&notes(field, schema, "      ").unwrap_or_default());
        }
    }
    Ok(text)
}

/// All fields below a schema, a line each.
fn branches(schema: &Value, root: &Value, layer: usize, text: &mut String) {
    if layer > LAYERS_MAX {
        return;
    }
    for Field { name, schema, required } in fields(schema, root) {
        let mark = if required { " -required-" } else { "" };
        let _ = writeln!(text, "{:width$}{name}  <{}>{mark}", "", type_name(schema, root, 0), width = 2 * layer);
        branches(schema, root, layer + 1, text);
    }
}

struct Field<'a> {
    name: &'a str,
    schema: &'a Value,
    required: bool,
}

/// Nested lists and choices are looked through so many times.
const LAYERS_MAX: usize = 16;

/// The fields of a schema, looking through references, lists, choices and maps of mappings.
fn fields<'a>(schema: &'a Value, root: &'a Value) -> Vec<Field<'a>> {
    let mut found: Vec<Field<'a>> = Vec::new();
    gather(schema, root, true, 0, &mut found);
    found
}

fn gather<'a>(schema: &'a Value, root: &'a Value, sure: bool, layer: usize, found: &mut Vec<Field<'a>>) {
    if layer > LAYERS_MAX {
        return;
    }
    let schema = resolved(schema, root);
    let needed: Vec<&str> = if sure { required(schema).collect() } else { Vec::new() };
    for (name, field) in properties(schema) {
        if !found.iter().any(|f| f.name == name) {
            found.push(Field { name, schema: field, required: needed.contains(&name) });
        }
    }
    for part in list(schema, "allOf") {
        gather(part, root, sure, layer + 1, found);
    }
    let branches: Vec<&Value> =
        list(schema, "oneOf").chain(list(schema, "anyOf")).filter(|b| types(b) != ["null"]).collect();
    for branch in &branches {
        gather(branch, root, sure && branches.len() == 1, layer + 1, found);
    }
    if let Some(items) = schema.get("items") {
        gather(items, root, sure, layer + 1, found);
    }
}

fn description<'a>(schema: &'a Value, root: &'a Value) -> &'a str {
    let own = |s: &'a Value| s.get("description").and_then(Value::as_str);
    let inner = || list(schema, "anyOf").find(|b| types(b) != ["null"]).and_then(|b| own(resolved(b, root)));
    own(schema).or_else(|| own(resolved(schema, root))).or_else(inner).unwrap_or("")
}

/// The values that a schema lists, through its choices.
fn values<'a>(schema: &'a Value, root: &'a Value, layer: usize) -> Vec<&'a Value> {
    if layer > LAYERS_MAX {
        return Vec::new();
    }
    let schema = resolved(schema, root);
    let mut all = allowed(schema);
    for branch in list(schema, "oneOf").chain(list(schema, "anyOf")) {
        all.extend(values(branch, root, layer + 1));
    }
    all.retain(|v| !v.is_null());
    all
}

fn notes(schema: &Value, root: &Value, indent: &str) -> Option<String> {
    let mut text = String::new();
    let values: Vec<String> = values(schema, root, 0).into_iter().map(plain).collect();
    if !values.is_empty() {
        let _ = writeln!(text, "{indent}enum: {}", values.join(", "));
    }
    let default = schema.get("default").or_else(|| resolved(schema, root).get("default"));
    if let Some(default) = default.filter(|d| !d.is_null()) {
        let _ = writeln!(text, "{indent}default: {}", plain(default));
    }
    (!text.is_empty()).then_some(text)
}

fn type_name(schema: &Value, root: &Value, layer: usize) -> String {
    if layer > LAYERS_MAX {
        return "any".to_owned();
    }
    let schema = resolved(schema, root);
    let mut names: Vec<String> = Vec::new();
    for name in types(schema).into_iter().filter(|t| *t != "null") {
        let inner = |word: &str| schema.get(word).map(|s| type_name(s, root, layer + 1));
        names.push(match name {
            "array" => format!("[]{}", inner("items").unwrap_or_else(|| "any".to_owned())),
            "object" if schema.get("properties").is_none() => match schema.get("additionalProperties") {
                Some(Value::Object(_)) => format!("map[string]{}", inner("additionalProperties").unwrap_or_default()),
                Some(_) | None => "object".to_owned(),
            },
            other => other.to_owned(),
        });
    }
    for branch in list(schema, "oneOf").chain(list(schema, "anyOf")).filter(|b| types(b) != ["null"]) {
        names.push(type_name(branch, root, layer + 1));
    }
    let mut unique: Vec<String> = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    match (unique.is_empty(), allowed(schema).iter().any(|v| v.is_string())) {
        (true, true) => "string".to_owned(),
        (true, false) => "any".to_owned(),
        (false, _) => unique.join(" | "),
    }
}

fn indented(text: &str, indent: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{indent}{line}\n") }).collect()
}
