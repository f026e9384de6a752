//! kubectl's JSONPath templates: text with paths in braces, such as `{range .items[*]}{.metadata.name}{"\n"}{end}`.
//! What a path may be is RFC 9535, which the crate knows; this room knows what kubectl adds to it: braces, `range`, quoted
//! texts, a left-out `$`, and names with `-` (<https://kubernetes.io/docs/reference/kubectl/jsonpath/>).

use serde_json::Value;

/// How deep `range` may stand in `range`.
const DEPTH_MAX: usize = 16;

/// A template that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Piece>);

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Path(Path),
    Range(Path, Vec<Piece>),
}

/// A path with what it begins at.
#[derive(Debug, Clone, PartialEq)]
struct Path {
    query: serde_json_path::JsonPath,
    /// It begins at the whole value (`$`), not at the item of the `range` around it.
    absolute: bool,
}

impl JsonPath {
    /// Reads a template. Without any brace the whole text is one path.
    pub fn parse(text: &str) -> Result<JsonPath, String> {
        if !text.contains('{') {
            return Ok(JsonPath(vec![Piece::Path(path(text)?)]));
        }
        let mut open: Vec<(Option<Path>, Vec<Piece>)> = vec![(None, Vec::new())];
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            add(&mut open, Piece::Text(rest[..start].to_owned()));
            let inside = &rest[start + 1..];
            let end = closing(inside).ok_or_else(|| format!("`{{{inside}` has no closing brace"))?;
            let content = inside[..end].trim();
            rest = &inside[end + 1..];
            if let Some(quoted) = literal(content)? {
                add(&mut open, Piece::Text(quoted));
            } else if content == "end" {
                match open.pop() {
                    Some((Some(over), body)) => add(&mut open, Piece::Range(over, body)),
                    Some((None, _)) | None => return Err("`{end}` without a `{range …}` before it".to_owned()),
                }
            } else if let Some(over) = content.strip_prefix("range ") {
                if open.len() > DEPTH_MAX {
                    return Err(format!("more than {DEPTH_MAX} `range`s in each other"));
                }
                open.push((Some(path(over)?), Vec::new()));
            } else {
                add(&mut open, Piece::Path(path(content)?));
            }
        }
        add(&mut open, Piece::Text(rest.to_owned()));
        match (open.pop(), open.is_empty()) {
            (Some((None, pieces)), true) => Ok(JsonPath(pieces)),
            _ => Err("a `{range …}` has no `{end}`".to_owned()),
        }
    }

    /// The text that the template makes of a value. What is not there is nothing.
    pub fn write(&self, value: &Value) -> String {
        let mut out = String::new();
        write(&self.0, value, value, &mut out);
        out
    }
}

fn add(open: &mut [(Option<Path>, Vec<Piece>)], piece: Piece) {
    if let (Some((_, pieces)), false) = (open.last_mut(), piece == Piece::Text(String::new())) {
        pieces.push(piece);
    }
}

fn write(pieces: &[Piece], root: &Value, here: &Value, out: &mut String) {
    let found = |p: &Path| p.query.query(if p.absolute { root } else { here }).all();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Path(path) => {
                let texts = found(path).into_iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
                out.push_str(&texts.collect::<Vec<_>>().join(" "));
            }
            Piece::Range(over, body) => found(over).into_iter().for_each(|item| write(body, root, item, out)),
        }
    }
}

/// Where the brace closes that was opened before the text: quotes hide braces.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '}') => return Some(at),
            (None, _) => {}
        }
    }
    None
}

/// `"\n"` as the text it means; `None` if it is not quoted.
fn literal(content: &str) -> Result<Option<String>, String> {
    let Some(quote) = content.chars().next().filter(|c| matches!(c, '"' | '\'')) else { return Ok(None) };
    let inner = content[1..].strip_suffix(quote).ok_or_else(|| format!("{content} is not a quoted text"))?;
    let json = format!("\"{}\"", if quote == '\'' { inner.replace('"', "\\\"") } else { inner.to_owned() });
    serde_json::from_str(&json).map(Some).map_err(|e| format!("{content} is not a quoted text: {e}"))
}

/// A path of kubectl's as one of RFC 9535: `.a.my-key` is `$['a']['my-key']`.
fn path(text: &str) -> Result<Path, String> {
    let text = text.trim();
    let absolute = text.starts_with('$');
    let wrong = |why: &str| format!("`{text}` is no path: {why}; write it like {{.items[*].metadata.name}}");
    let mut rest = text.trim_start_matches(['$', '@']);
    let mut query = "$".to_owned();
    if !(rest.is_empty() || rest.starts_with(['.', '['])) {
        return Err(wrong("it begins with a dot"));
    }
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("..") {
            query.push_str("..");
            rest = name(after, &mut query);
        } else if let Some(after) = rest.strip_prefix('.') {
            rest = if after.is_empty() || after.starts_with('[') { after } else { name(after, &mut query) };
        } else if rest.starts_with('[') {
            let end = bracket(rest).ok_or_else(|| wrong("a bracket is not closed"))?;
            query.push_str(&rest[..=end]);
            rest = &rest[end + 1..];
        } else {
            return Err(wrong(&format!("`{rest}` is not expected")));
        }
    }
    let query = serde_json_path::JsonPath::parse(&query).map_err(|e| wrong(&e.to_string()))?;
    Ok(Path { query, absolute })
}

/// Takes one name (`a`, `*`, `app\.kubernetes\.io`) off the front and adds its selector; returns the rest.
fn name<'a>(text: &'a str, query: &mut String) -> &'a str {
    if let Some(rest) = text.strip_prefix('*') {
        query.push_str("[*]");
        return rest;
    }
    let mut word = String::new();
    let mut escaped = false;
    let mut end = text.len();
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                word.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '.' | '[' => {
                end = at;
                break;
            }
            _ => word.push(c),
        }
    }
    if word.is_empty() {
        return &text[end..];
    }
    query.push_str(&format!("[{}]", Value::from(word)));
    &text[end..]
}

/// Where the bracket closes that the text begins with.
fn bracket(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            (None, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn made(template: &str) -> String {
        let value = json!({"kind": "List", "items": [
            {"metadata": {"name": "web-01", "labels": {"a.b/c-d": "x"}}, "spec": {"hardware": {"cores": 2}, "on": true}},
            {"metadata": {"name": "web-02"}, "spec": {"hardware": {"cores": 4}}},
        ]});
        JsonPath::parse(template).expect("is a template").write(&value)
    }

    #[test]
    fn paths_as_kubectl_users_write_them() {
        for (template, wanted) in [
            ("{.kind}", "List"),
            (".kind", "List"),
            ("{$.kind}", "List"),
            ("{.items[*].metadata.name}", "web-01 web-02"),
            ("{.items[0].spec.hardware}", r#"{"cores":2}"#),
            ("{.items[-1:].metadata.name}", "web-02"),
            ("{..cores}", "2 4"),
            ("{.items[?(@.spec.hardware.cores==4)].metadata.name}", "web-02"),
            (r#"{.items[?(@.metadata.name=="web-01")].spec.on}"#, "true"),
            (r"{.items[0].metadata.labels.a\.b/c-d}", "x"),
            ("{.items[0].metadata.labels['a.b/c-d']}", "x"),
            ("{.nothing.there}", ""),
            ("n={.kind}!", "n=List!"),
            (r#"{range .items[*]}{.metadata.name}{"\t"}{.spec.hardware.cores}{"\n"}{end}"#, "web-01\t2\nweb-02\t4\n"),
            ("{range .items[*]}{$.kind}{'}'}{end}", "List}List}"),
        ] {
            assert_eq!(made(template), wanted, "{template}");
        }
    }

    #[test]
    fn templates_that_are_none_are_refused() {
        for template in ["{", "{.a", "{a}", "{.a[}", "{range .a}", "{end}", "{'a}", "{.a b[}", "{.a[?(]}"] {
            assert!(JsonPath::parse(template).is_err(), "{template}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}", braces in r#"[{}\[\].'"$@a*?()\\ -]{0,40}"#) {
            for text in [text, braces] {
                if let Ok(path) = JsonPath::parse(&text) {
                    path.write(&json!({"a": [1, {"a": "b"}]}));
                }
            }
        }
    }
}
