//! Which branch of a `oneOf` or `anyOf` the writer meant, so that the message is about that one and not about all.

use crate::base::diagnostic::Diagnostic;
use crate::manifest::document::{missing, unknown_field};
use crate::manifest::mismatch::{head, is_of, wrong_type};
use crate::manifest::schema::{
    At, allowed, check_at, check_choice, list, of_form, plain, properties, required, resolved, types,
};
use crate::manifest::tree::{Node, NodeValue};
use serde_json::Value;

/// The mismatches of the branch that fits best; none if one fits.
pub(super) fn check(node: &Node, branches: &[&Value], at: At<'_>) -> Vec<Diagnostic> {
    let mut failed: Vec<(&Value, Vec<Diagnostic>)> = Vec::new();
    for branch in branches {
        let diagnostics = check_at(node, branch, at);
        if diagnostics.is_empty() {
            return Vec::new();
        }
        failed.push((branch, diagnostics));
    }
    // Nested choices are flattened, and `null` is no choice to speak of.
    let branches: Vec<&Value> = flat(branches, at.root);
    let fitting: Vec<&Value> = branches.iter().copied().filter(|b| fits(node, b)).collect();
    if fitting.is_empty() {
        let mut wanted: Vec<&str> = Vec::new();
        for name in branches.iter().flat_map(|b| types_of(b)) {
            if !wanted.contains(&name) {
                wanted.push(name);
            }
        }
        let diagnostic = wrong_type(node, at.key, &wanted);
        return vec![branches.iter().fold(diagnostic, |diagnostic, branch| of_form(diagnostic, node, branch))];
    }
    let choices: Vec<&Value> = fitting.iter().flat_map(|b| allowed(b)).collect();
    if fitting.iter().all(|b| !allowed(b).is_empty()) {
        let mappings: Vec<&str> =
            branches.iter().filter(|b| types_of(b) == ["object"]).flat_map(|b| required(b)).collect();
        let choice = check_choice(node, &choices, at).map(|mut diagnostic| {
            if let (Some(help), false) = (&mut diagnostic.help, mappings.is_empty()) {
                help.push_str(&format!(", or a mapping with {}", mappings.join(", ")));
            }
            diagnostic
        });
        return choice.into_iter().collect();
    }
    if let Some(diagnostic) = no_tag(node, &fitting, at) {
        return vec![diagnostic];
    }
    if let Some(diagnostic) = no_variant(node, &fitting, at) {
        return vec![diagnostic];
    }
    let best = fitting.iter().max_by_key(|b| score(node, b, at));
    match best {
        Some(best) => {
            let kept = failed.iter().position(|(branch, _)| std::ptr::eq(resolved(branch, at.root), *best));
            kept.map_or_else(|| check_at(node, best, at), |index| failed.swap_remove(index).1)
        }
        None => Vec::new(),
    }
}

fn flat<'a>(branches: &[&'a Value], root: &'a Value) -> Vec<&'a Value> {
    let mut flat_branches = Vec::new();
    for branch in branches.iter().map(|b| resolved(b, root)) {
        let inner: Vec<&Value> = list(branch, "oneOf").chain(list(branch, "anyOf")).collect();
        if inner.is_empty() || branch.get("properties").is_some() {
            flat_branches.push(branch);
        } else {
            flat_branches.extend(inner.into_iter().map(|b| resolved(b, root)));
        }
    }
    flat_branches.retain(|b| types(b) != ["null"] && b.get("const") != Some(&Value::Null));
    flat_branches
}

/// The types of a branch, by its own word or by the values that it lists; empty means any.
fn types_of(branch: &Value) -> Vec<&str> {
    let named = types(branch);
    if !named.is_empty() {
        return named;
    }
    let listed = allowed(branch);
    if listed.iter().all(|v| v.is_string()) && !listed.is_empty() {
        return vec!["string"];
    }
    if branch.get("properties").is_some() { vec!["object"] } else { Vec::new() }
}

fn fits(node: &Node, branch: &Value) -> bool {
    let types = types_of(branch);
    types.is_empty() || is_of(node, &types)
}

/// For variants told apart by one required key each (`{template: …}` or `{archive: …}`): what is wrong if the mapping has
/// none of the keys that any branch knows.
fn no_variant(node: &Node, fitting: &[&Value], at: At<'_>) -> Option<Diagnostic> {
    let entries = node.as_mapping()?;
    let mut fields: Vec<&str> = Vec::new();
    for name in fitting.iter().flat_map(|b| properties(b)).map(|(name, _)| name) {
        if !fields.contains(&name) {
            fields.push(name);
        }
    }
    let known = entries.iter().any(|(key, _)| fields.contains(&key.text.as_str()));
    if fitting.len() < 2 || known || fitting.iter().any(|b| required(b).next().is_none()) {
        return None;
    }
    match entries.first() {
        Some((key, _)) => Some(unknown_field(key, &fields, &format!("`{}`", at.name))),
        None => Some(
            Diagnostic::error("missing-field", format!("`{}` is empty", at.name))
                .at(head(node, at.key), "")
                .help(format!("one of: {}", fields.join(", "))),
        ),
    }
}

/// For variants told apart by the value of one field that all have (`type: A`): what is wrong if that is no variant's.
fn no_tag(node: &Node, fitting: &[&Value], at: At<'_>) -> Option<Diagnostic> {
    let of = |branch, name: &str| {
        let own = properties(branch).find(|(n, _)| *n == name).map(|(_, schema)| schema);
        own.map(|schema| allowed(resolved(schema, at.root))).unwrap_or_default()
    };
    let (first, rest) = fitting.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let tag = required(first).find(|name| fitting.iter().all(|b| !of(b, name).is_empty()))?;
    let values: Vec<&Value> = std::iter::once(first).chain(rest).flat_map(|b| of(b, tag)).collect();
    match node.entry(tag) {
        Some((key, value)) => check_choice(value, &values, At { name: tag, key: Some(key.span), ..at }),
        None => {
            let all: Vec<String> = values.iter().map(|v| plain(v)).collect();
            Some(missing(tag, head(node, at.key)).help(format!("one of: {}", all.join(", "))))
        }
    }
}

/// How much a branch looks like what was meant: matching tags, then known keys, then few missing ones.
fn score(node: &Node, branch: &Value, at: At<'_>) -> (i64, i64, i64) {
    let NodeValue::Mapping(entries) = &node.value else { return (0, 0, 0) };
    let mut tags = 0;
    let mut known = 0;
    for (key, value) in entries {
        let Some((_, schema)) = properties(branch).find(|(name, _)| *name == key.text) else { continue };
        known += 1;
        let listed = allowed(resolved(schema, at.root));
        if !listed.is_empty() {
            tags += if listed.contains(&&value.to_json()) { 1 } else { -1 };
        }
    }
    let missing = required(branch).filter(|field| node.get(field).is_none()).count();
    (tags, known, -i64::try_from(missing).unwrap_or(i64::MAX))
}
