//! The tree of a guest's snapshots: which came after which, and where the guest stands. Pure: from a list to lines or JSON.

use crate::kinds::guest::hand::snapshot::Row;
use serde_json::{Map, Value, json};

/// What stands where the guest is.
const HERE: &str = "you are here";

/// A place in the tree: a snapshot with what came after it, or where the guest stands.
struct Place<'a> {
    row: Option<&'a Row>,
    after: Vec<Place<'a>>,
}

/// The tree as lines. `head` is the first of them, `label` says what stands at a snapshot.
pub fn draw(rows: &[Row], here: Option<&str>, head: &str, label: &dyn Fn(&Row) -> String) -> String {
    let mut text = format!("{head}\n");
    lines(&tree(rows, here), "", label, &mut text);
    text
}

/// The tree as JSON: each snapshot has what came `after` it, and where the guest stands is `{"here": true}`.
pub fn nested(rows: &[Row], here: Option<&str>, value: &dyn Fn(&Row) -> Value) -> Value {
    branches(&tree(rows, here), value)
}

/// Parents that are gone, or go in a circle, leave their children at the root.
fn tree<'a>(rows: &'a [Row], here: Option<&str>) -> Vec<Place<'a>> {
    let mut done = Vec::new();
    let known = |name: &str| rows.iter().any(|r| r.name == name);
    let roots = rows.iter().filter(|r| r.parent.as_deref().is_none_or(|p| !known(p)));
    let mut places: Vec<Place<'a>> = roots.map(|row| place(row, rows, here, &mut done)).collect();
    for row in rows {
        if !done.contains(&row.name.as_str()) {
            places.push(place(row, rows, here, &mut done));
        }
    }
    if here.is_none_or(|name| !known(name)) {
        places.push(Place { row: None, after: Vec::new() });
    }
    places
}

fn place<'a>(row: &'a Row, rows: &'a [Row], here: Option<&str>, done: &mut Vec<&'a str>) -> Place<'a> {
    done.push(&row.name);
    let mut after = Vec::new();
    for next in rows.iter().filter(|r| r.parent.as_deref() == Some(&row.name)) {
        if !done.contains(&next.name.as_str()) {
            after.push(place(next, rows, here, done));
        }
    }
    if here == Some(row.name.as_str()) {
        after.push(Place { row: None, after: Vec::new() });
    }
    Place { row: Some(row), after }
}

fn lines(places: &[Place<'_>], before: &str, label: &dyn Fn(&Row) -> String, text: &mut String) {
    for (n, Place { row, after }) in places.iter().enumerate() {
        let (fork, side) = if n + 1 == places.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let words = row.map_or_else(|| HERE.to_owned(), label);
        text.push_str(&format!("{before}{fork}{words}\n"));
        lines(after, &format!("{before}{side}"), label, text);
    }
}

fn branches(places: &[Place<'_>], value: &dyn Fn(&Row) -> Value) -> Value {
    let one = |Place { row, after }: &Place<'_>| {
        let Some(row) = row else { return json!({"here": true}) };
        let mut fields: Map<String, Value> = value(row).as_object().cloned().unwrap_or_default();
        fields.insert("after".to_owned(), branches(after, value));
        Value::Object(fields)
    };
    places.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::guest::hand::snapshot::rows;

    fn drawn(list: Value, here: Option<&str>) -> String {
        draw(&rows(&list), here, "web", &|r| r.name.clone())
    }

    #[test]
    fn branches_stand_under_the_one_they_came_from() {
        let list = json!([
            {"name": "base", "snaptime": 1},
            {"name": "left", "snaptime": 2, "parent": "base"},
            {"name": "far", "snaptime": 3, "parent": "left"},
            {"name": "right", "snaptime": 4, "parent": "base"},
            {"name": "current", "parent": "right"},
        ]);
        insta::assert_snapshot!(drawn(list.clone(), Some("right")), @r"
        web
        └─ base
           ├─ left
           │  └─ far
           └─ right
              └─ you are here
        ");
        let value = nested(&rows(&list), Some("left"), &|r| json!({"name": r.name}));
        assert_eq!(value[0]["after"][0]["after"][1], json!({"here": true}));
        assert_eq!(value[0]["after"][1], json!({"name": "right", "after": []}));
    }

    #[test]
    fn a_parent_that_is_gone_and_a_circle_hide_nobody() {
        let list = json!([
            {"name": "orphan", "snaptime": 1, "parent": "gone"},
            {"name": "hen", "snaptime": 2, "parent": "egg"},
            {"name": "egg", "snaptime": 3, "parent": "hen"},
        ]);
        insta::assert_snapshot!(drawn(list, None), @r"
        web
        ├─ orphan
        ├─ hen
        │  └─ egg
        └─ you are here
        ");
        insta::assert_snapshot!(drawn(json!([]), None), @r"
        web
        └─ you are here
        ");
    }
}
