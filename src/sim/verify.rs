//! Parameter verification as `PVE::JSONSchema` does it, wording included (read off recorded answers).
//! Schemas are hand-written tables of [`Param`] in [`crate::sim::params`].

use crate::sim::request::{Args, Refusal};
use serde_json::Value;
use std::collections::BTreeMap;

/// A check of a string: `Err` is the text after `invalid format - `, with a trailing newline where PVE has one.
pub type FormatCheck = fn(&str) -> Result<(), String>;

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// 0 or 1; in a JSON body also true and false.
    Bool,
    /// An integer from, to.
    Int(Option<i64>, Option<i64>),
    /// An integer of a format (`pve-vmid`).
    IntFormat(FormatCheck),
    /// A number from, to.
    Num(Option<f64>, Option<f64>),
    /// Any string.
    Str,
    /// A string of a length from, to (characters).
    Len(usize, usize),
    /// One of a few words.
    Enum(&'static [&'static str]),
    /// A string that must match (`value does not match the regex pattern`), and its longest length.
    Pattern(fn(&str) -> bool, usize),
    /// A string of a format, and its longest length.
    Format(FormatCheck, usize),
    /// A list (`,`, `;`, space) of strings of a format; arrays are taken too.
    List(FormatCheck),
    /// A property string: the default key, and the schema of its parts.
    Props(&'static str, &'static [Param]),
    /// An array of values of one kind; a single value counts as one of one. Arrives as [`Args::strings`].
    Each(&'static Kind),
    /// Within a property string: the key is the value of the first, its value that of the second (`virtio=MAC`).
    Alias(&'static str, &'static str),
    /// Within a property string: another name of a key.
    Same(&'static str),
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Name; for `net0`, `net1`, … only `net` and a [`Param::count`].
    pub name: &'static str,
    /// For numbered parameters: how many there are. 0 is a plain one.
    pub count: u32,
    /// Whether it may be absent.
    pub optional: bool,
    /// What the value must be.
    pub kind: Kind,
}

/// An optional parameter.
pub const fn opt(name: &'static str, kind: Kind) -> Param {
    Param { name, count: 0, optional: true, kind }
}

/// A parameter that must be there.
pub const fn req(name: &'static str, kind: Kind) -> Param {
    Param { name, count: 0, optional: false, kind }
}

/// Numbered optional parameters: `name0` to `name{count-1}`.
pub const fn many(name: &'static str, count: u32, kind: Kind) -> Param {
    Param { name, count, optional: true, kind }
}

/// An integer of at least this.
pub const fn at_least(min: i64) -> Kind {
    Kind::Int(Some(min), None)
}

/// An integer within bounds.
pub const fn between(min: i64, max: i64) -> Kind {
    Kind::Int(Some(min), Some(max))
}

/// An unlimited string of a format.
pub const fn format(check: FormatCheck) -> Kind {
    Kind::Format(check, usize::MAX)
}

impl Param {
    /// Whether this declares the parameter called `name`.
    pub fn declares(&self, name: &str) -> bool {
        if self.count == 0 {
            return self.name == name;
        }
        name.strip_prefix(self.name)
            .filter(|n| !n.is_empty() && (*n == "0" || !n.starts_with('0')))
            .and_then(|n| n.parse::<u32>().ok())
            .is_some_and(|n| n < self.count)
    }
}

/// What PVE says about an undeclared parameter.
const UNDECLARED: &str = "property is not defined in schema and the schema does not allow additional properties";

/// Verifies the parameters of a request against the tables; on success all values as strings.
pub fn verify(tables: &[&[Param]], given: &[(String, Value)]) -> Result<Args, Refusal> {
    let mut errors = BTreeMap::new();
    let mut values = BTreeMap::new();
    for (name, value) in given {
        match tables.iter().flat_map(|t| t.iter()).find(|p| p.declares(name)) {
            None => {
                errors.insert(name.clone(), UNDECLARED.to_owned());
            }
            Some(param) => match check(name, &param.kind, value, &mut errors) {
                Some(text) => {
                    values.insert(name.clone(), text);
                }
                None => continue,
            },
        }
    }
    for param in tables.iter().flat_map(|t| t.iter()).filter(|p| !p.optional) {
        if !values.contains_key(param.name) && !errors.contains_key(param.name) {
            errors.insert(param.name.to_owned(), "property is missing and it is not optional".to_owned());
        }
    }
    if errors.is_empty() { Ok(Args { values }) } else { Err(Refusal::params(errors)) }
}

/// The value as a string, or an entry in `errors`.
fn check(name: &str, kind: &Kind, value: &Value, errors: &mut BTreeMap<String, String>) -> Option<String> {
    let wanted = match kind {
        Kind::Bool => "boolean",
        Kind::Int(..) | Kind::IntFormat(_) => "integer",
        Kind::Num(..) => "number",
        Kind::Str
        | Kind::Len(..)
        | Kind::Enum(_)
        | Kind::Pattern(..)
        | Kind::Format(..)
        | Kind::List(_)
        | Kind::Props(..)
        | Kind::Alias(..)
        | Kind::Same(_) => "string",
        Kind::Each(of) => return check_each(name, of, value, errors),
    };
    let mut fail = |text: String| {
        errors.insert(name.to_owned(), text);
        None
    };
    let text = match value {
        // An explicit null of free text is an empty one; any other counts as absent.
        Value::Null if matches!(kind, Kind::Str | Kind::Len(..)) => String::new(),
        Value::Null => return None,
        Value::Bool(b) => if *b { "1" } else { "0" }.to_owned(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => s.clone(),
        Value::Array(items) if matches!(kind, Kind::List(_)) => {
            items.iter().map(|i| i.as_str().map_or_else(|| i.to_string(), str::to_owned)).collect::<Vec<_>>().join(",")
        }
        Value::Array(_) => return fail(format!("type check ('{wanted}') failed - got ARRAY")),
        Value::Object(_) => return fail(format!("type check ('{wanted}') failed - got HASH")),
    };
    match check_text(name, kind, &text) {
        Ok(()) => Some(text),
        Err(error) => fail(error),
    }
}

/// The values of an array, joined with NUL; errors are about `name[0]`, ….
fn check_each(name: &str, of: &Kind, value: &Value, errors: &mut BTreeMap<String, String>) -> Option<String> {
    let items = match value {
        Value::Null => return None,
        Value::Array(items) => items.as_slice(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => std::slice::from_ref(value),
    };
    let checked: Vec<Option<String>> =
        items.iter().enumerate().map(|(i, item)| check(&format!("{name}[{i}]"), of, item, errors)).collect();
    Some(checked.into_iter().collect::<Option<Vec<String>>>()?.join("\0"))
}

/// Checks a scalar; the error is the whole field text.
pub fn check_text(name: &str, kind: &Kind, text: &str) -> Result<(), String> {
    let invalid = |e: String| format!("invalid format - {e}");
    match kind {
        Kind::Bool => match text {
            "0" | "1" => Ok(()),
            _ => Err(format!("type check ('boolean') failed - got '{text}'")),
        },
        Kind::Int(min, max) => {
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(format!("type check ('integer') failed - got '{text}'"));
            }
            let n: f64 = text.parse().unwrap_or(f64::MAX);
            bounds(n, min.map(|m| m as f64), max.map(|m| m as f64))
        }
        Kind::IntFormat(check) => {
            check_text(name, &Kind::Int(None, None), text)?;
            check(text).map_err(invalid)
        }
        Kind::Num(min, max) => match text.parse::<f64>() {
            Ok(n) if n.is_finite() => bounds(n, *min, *max),
            _ => Err(format!("type check ('number') failed - got '{text}'")),
        },
        Kind::Str | Kind::Each(_) | Kind::Alias(..) | Kind::Same(_) => Ok(()),
        Kind::Len(min, max) => lengths(text, *min, *max),
        Kind::Enum(words) if words.contains(&text) => Ok(()),
        Kind::Enum(words) => {
            Err(format!("value '{text}' does not have a value in the enumeration '{}'", words.join(", ")))
        }
        Kind::Pattern(matches, max) => {
            lengths(text, 0, *max)?;
            if matches(text) { Ok(()) } else { Err("value does not match the regex pattern".to_owned()) }
        }
        Kind::Format(check, max) => {
            lengths(text, 0, *max)?;
            check(text).map_err(invalid)
        }
        Kind::List(check) => {
            text.split([',', ';', ' ', '\0']).filter(|p| !p.is_empty()).try_for_each(|p| check(p).map_err(invalid))
        }
        Kind::Props(default_key, schema) => check_props(name, default_key, schema, text).map(|_| ()).map_err(invalid),
    }
}

fn bounds(n: f64, min: Option<f64>, max: Option<f64>) -> Result<(), String> {
    match (min, max) {
        (Some(min), _) if n < min => Err(format!("value must have a minimum value of {min}")),
        (_, Some(max)) if n > max => Err(format!("value must have a maximum value of {max}")),
        _ => Ok(()),
    }
}

fn lengths(text: &str, min: usize, max: usize) -> Result<(), String> {
    let n = text.chars().count();
    if n > max {
        Err(format!("value may only be {max} characters long"))
    } else if n < min {
        Err(format!("value must be at least {min} characters long"))
    } else {
        Ok(())
    }
}

/// Takes a property string apart and checks it; the parts in order. The error follows `invalid format - `.
pub fn check_props(
    name: &str,
    default_key: &str,
    schema: &'static [Param],
    text: &str,
) -> Result<Vec<(String, String)>, String> {
    let mut parts: Vec<(String, String)> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None if default_key.is_empty() => {
                return Err("missing key in comma-separated list property\n".to_owned());
            }
            None => (default_key.to_owned(), part.to_owned()),
        };
        let pairs = match schema.iter().find(|p| p.name == key).map(|p| p.kind) {
            Some(Kind::Alias(of_key, of_value)) => vec![(of_key.to_owned(), key), (of_value.to_owned(), value)],
            Some(Kind::Same(other)) => vec![(other.to_owned(), value)],
            _ => vec![(key, value)],
        };
        for (key, value) in pairs {
            if parts.iter().any(|(k, _)| *k == key) {
                return Err(format!("duplicate key in comma-separated list property: {key}\n"));
            }
            parts.push((key, value));
        }
    }
    let mut errors = BTreeMap::new();
    for (key, value) in &mut parts {
        match schema.iter().find(|p| p.declares(key)) {
            None => {
                errors.insert(key.clone(), UNDECLARED.to_owned());
            }
            Some(param) => {
                if matches!(param.kind, Kind::Bool) {
                    // Property strings know the words that forms do not (parse_boolean).
                    match value.to_ascii_lowercase().as_str() {
                        "on" | "yes" | "true" => *value = "1".to_owned(),
                        "off" | "no" | "false" => *value = "0".to_owned(),
                        _ => {}
                    }
                }
                if let Err(error) = check_text(key, &param.kind, value) {
                    errors.insert(key.clone(), error);
                }
            }
        }
    }
    for param in schema.iter().filter(|p| !p.optional) {
        if !parts.iter().any(|(k, _)| k == param.name) {
            errors.insert(param.name.to_owned(), "property is missing and it is not optional".to_owned());
        }
    }
    if errors.is_empty() {
        return Ok(parts);
    }
    let lines: String = errors.iter().map(|(key, e)| format!("{name}.{key}: {e}\n")).collect();
    Err(format!("format error\n{lines}"))
}
