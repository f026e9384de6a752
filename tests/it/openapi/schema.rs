//! A small validator of OpenAPI's schemas: type, required, properties, enum, items, allOf, anyOf, oneOf, `$ref`, nullable, the
//! formats date-time and uri. A property that a plain object schema does not know is a problem too: in an answer that we
//! make ourselves it is a slip of the pen.

use serde_json::Value;

/// As deep as it looks.
const DEPTH_MAX: usize = 40;

/// What a schema's references lead to, and how strict it is.
#[derive(Clone, Copy)]
pub(crate) struct Schemas<'a> {
    pub(crate) root: &'a Value,
    /// Properties that are not declared are problems.
    pub(crate) strict: bool,
}

impl<'a> Schemas<'a> {
    /// Follows references.
    pub(crate) fn resolved(&self, mut schema: &'a Value) -> &'a Value {
        for _ in 0..DEPTH_MAX {
            let Some(pointer) = schema["$ref"].as_str().and_then(|text| text.strip_prefix('#')) else { break };
            schema = self.root.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in the description"));
        }
        schema
    }

    /// What is wrong with a value; nothing: it is as the schema says.
    pub(crate) fn problems(&self, schema: &'a Value, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.look(schema, value, "", 0, &mut found);
        found
    }

    fn look(&self, schema: &'a Value, value: &Value, at: &str, depth: usize, found: &mut Vec<String>) {
        let schema = self.resolved(schema);
        if depth > DEPTH_MAX || value.is_null() && schema["nullable"] == true {
            return;
        }
        let mut problem = |what: String| found.push(format!("{}: {what}", if at.is_empty() { "." } else { at }));
        if !is_of_type(&schema["type"], value) {
            return problem(format!("{value} is not of type {}", schema["type"]));
        }
        if let Some(all) = schema["enum"].as_array().filter(|all| !all.contains(value)) {
            problem(format!("{value} is none of {all:?}"));
        }
        if let Some(text) = value.as_str() {
            let fits = match schema["format"].as_str() {
                Some("date-time") => text.parse::<jiff::Timestamp>().is_ok(),
                Some("uri") => url::Url::parse(text).is_ok(),
                Some(_) | None => true,
            };
            if !fits {
                problem(format!("`{text}` is no {}", schema["format"]));
            }
        }
        if let Some(list) = value.as_array() {
            let count = |key: &str| schema[key].as_u64().and_then(|n| usize::try_from(n).ok());
            if count("minItems").is_some_and(|n| list.len() < n) || count("maxItems").is_some_and(|n| list.len() > n) {
                problem(format!("{} items are too few or too many", list.len()));
            }
            for (n, item) in list.iter().enumerate() {
                self.look(&schema["items"], item, &format!("{at}[{n}]"), depth + 1, found);
            }
        }
        self.properties(schema, value, at, depth, found);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            // Each part knows some of the properties only.
            Schemas { strict: false, ..*self }.look(part, value, at, depth + 1, found);
        }
        for key in ["anyOf", "oneOf"] {
            let Some(ways) = schema[key].as_array() else { continue };
            let tried: Vec<Vec<String>> = ways
                .iter()
                .map(|way| {
                    let mut found = Vec::new();
                    self.look(way, value, at, depth + 1, &mut found);
                    found
                })
                .collect();
            if let Some(least) = tried.into_iter().min_by_key(Vec::len) {
                found.extend(least);
            }
        }
    }

    fn properties(&self, schema: &'a Value, value: &Value, at: &str, depth: usize, found: &mut Vec<String>) {
        let Some(object) = value.as_object() else { return };
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                found.push(format!("{at}.{name} is missing"));
            }
        }
        let more = &schema["additionalProperties"];
        let composed = ["allOf", "anyOf", "oneOf"].iter().any(|key| schema.get(key).is_some());
        for (name, inner) in object {
            let at = format!("{at}.{name}");
            match schema["properties"].get(name) {
                Some(declared) => self.look(declared, inner, &at, depth + 1, found),
                None if more.is_object() => self.look(more, inner, &at, depth + 1, found),
                None if *more == false => found.push(format!("{at} is not allowed")),
                None if self.strict && !composed && more.is_null() && schema["properties"].is_object() => {
                    found.push(format!("{at} is not declared"));
                }
                None => {}
            }
        }
    }
}

fn is_of_type(wanted: &Value, value: &Value) -> bool {
    let one = |wanted: &str| match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("a type `{other}` in a schema"),
    };
    match wanted {
        Value::String(wanted) => one(wanted),
        Value::Array(all) => all.iter().filter_map(Value::as_str).any(one),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    }
}
