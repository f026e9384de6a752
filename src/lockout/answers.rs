//! What PVE answers about its firewall, now and after calls: each call is done to the answers as PVE would do it.

use crate::lockout::reads::CLUSTER;
use crate::pve::request::{Call, Method, Query};
use crate::resource::index::text;
use crate::resource::observation::Observation;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Answers by path: those that were read, and above them those that calls have changed.
pub struct Answers<'a> {
    seen: &'a Observation,
    changed: BTreeMap<String, Value>,
}

/// What a call is about.
enum Part {
    Options,
    /// A list of rules, and a position in it.
    Rules(String, Option<usize>),
    /// A list of named things (groups, sets, aliases): the list, the member that is the name, and the name.
    Named(&'static str, &'static str, Option<String>),
    /// An address set's members: its path, and the member.
    Members(String, Option<String>),
    /// A guest's configuration: where it is read.
    Guest(String),
}

impl<'a> Answers<'a> {
    /// As they were read.
    pub fn new(seen: &'a Observation) -> Answers<'a> {
        Answers { seen, changed: BTreeMap::new() }
    }

    /// The answer at a path; `None` where it is not known.
    pub fn get(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.changed.get(path) {
            return Some(value).filter(|value| !value.is_null());
        }
        let query = Query::new(path);
        let listed = || self.seen.index.lists.get(&query)?.as_ref().ok().map(AsRef::as_ref);
        self.seen.value(&query).or_else(listed)
    }

    /// The rows of a list.
    pub fn rows(&self, path: &str) -> Option<&Vec<Value>> {
        self.get(path)?.as_array()
    }

    /// Whether a call changes what is kept here.
    pub fn concerns(call: &Call) -> bool {
        match part(call) {
            None => false,
            Some(Part::Guest(_)) => {
                let key = |key: &str| key.starts_with("net") || key.starts_with("ipconfig");
                call.params.iter().any(|(k, v)| key(k) || k == "delete" && v.split(',').any(key))
            }
            Some(Part::Options | Part::Rules(..) | Part::Named(..) | Part::Members(..)) => true,
        }
    }

    /// Does a call. One to something that is not known leaves it so.
    pub fn apply(&mut self, call: &Call) {
        match part(call) {
            None => {}
            Some(Part::Options) => self.edit(&call.path, |value| {
                if let Value::Object(map) = value {
                    set(map, call);
                }
            }),
            Some(Part::Rules(list, at)) => self.list(&list, |rows| rule(rows, at, call)),
            Some(Part::Named(list, key, name)) => self.named(list, key, name.as_deref(), call),
            Some(Part::Members(set, member)) => self.list(&set, |rows| members(rows, member.as_deref(), call)),
            Some(Part::Guest(pending)) => self.list(&pending, |rows| configure(rows, call)),
        }
    }

    fn edit(&mut self, path: &str, change: impl FnOnce(&mut Value)) {
        let known = self.changed.remove(path).or_else(|| self.get(path).cloned());
        let Some(mut value) = known else { return };
        change(&mut value);
        self.changed.insert(path.to_owned(), value);
    }

    fn list(&mut self, path: &str, change: impl FnOnce(&mut Vec<Value>)) {
        self.edit(path, |value| {
            if let Value::Array(rows) = value {
                change(rows);
            }
        });
    }

    fn named(&mut self, list: &'static str, key: &'static str, name: Option<&str>, call: &Call) {
        let path = format!("{CLUSTER}/{list}");
        match (call.method, name) {
            // A change of its comment says `rename` with the same name.
            (Method::Post, None) if call.param("rename").is_none() => {
                let Some(new) = call.param(key).map(str::to_owned) else { return };
                self.list(&path, |rows| rows.push(row(call)));
                if list != "aliases" {
                    self.changed.insert(format!("{path}/{new}"), Value::Array(Vec::new()));
                }
            }
            (Method::Put, Some(name)) => self.list(&path, |rows| {
                for row in rows.iter_mut().filter(|row| is(row, key, name)) {
                    if let Value::Object(map) = row {
                        set(map, call);
                    }
                }
            }),
            (Method::Delete, Some(name)) => {
                self.list(&path, |rows| rows.retain(|row| !is(row, key, name)));
                self.changed.insert(format!("{path}/{name}"), Value::Null);
            }
            (Method::Post | Method::Put | Method::Delete, _) => {}
        }
    }
}

/// What a path is about, if it is about packets at all.
fn part(call: &Call) -> Option<Part> {
    let (path, deletes) = (&call.path, call.method == Method::Delete);
    if path.ends_with("/firewall/options") {
        return Some(Part::Options);
    }
    if let Some(list) = path.strip_suffix("/rules").filter(|p| p.ends_with("/firewall")) {
        return Some(Part::Rules(format!("{list}/rules"), None));
    }
    if let Some((list, at)) = path.split_once("/firewall/rules/") {
        return Some(Part::Rules(format!("{list}/firewall/rules"), at.parse().ok()));
    }
    if let Some(rest) = path.strip_prefix(CLUSTER).and_then(|rest| rest.strip_prefix('/')) {
        let parts: Vec<&str> = rest.split('/').collect();
        let name = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        return match parts[..] {
            ["groups"] => Some(Part::Named("groups", "group", None)),
            ["ipset"] => Some(Part::Named("ipset", "name", None)),
            ["aliases"] => Some(Part::Named("aliases", "name", None)),
            ["aliases", alias] => Some(Part::Named("aliases", "name", Some(name(alias)))),
            ["groups", group] if deletes => Some(Part::Named("groups", "group", Some(name(group)))),
            ["ipset", set] if deletes => Some(Part::Named("ipset", "name", Some(name(set)))),
            ["groups", _] => Some(Part::Rules(path.clone(), None)),
            ["ipset", _] => Some(Part::Members(path.clone(), None)),
            ["groups", group, at] => Some(Part::Rules(format!("{CLUSTER}/groups/{group}"), at.parse().ok())),
            ["ipset", set, member] => Some(Part::Members(format!("{CLUSTER}/ipset/{set}"), Some(name(member)))),
            _ => None,
        };
    }
    let guest = path.strip_suffix("/config").filter(|p| p.contains("/qemu/") || p.contains("/lxc/"))?;
    Some(Part::Guest(format!("{guest}/pending")))
}

fn is(row: &Value, key: &str, name: &str) -> bool {
    text(&row[key]).is_some_and(|text| text.eq_ignore_ascii_case(name))
}

fn row(call: &Call) -> Value {
    let mut map = Map::new();
    set(&mut map, call);
    map.into()
}

fn set(map: &mut Map<String, Value>, call: &Call) {
    for (key, value) in &call.params {
        match key.as_str() {
            "delete" => value.split(',').for_each(|gone| {
                map.remove(gone);
            }),
            "digest" => {}
            _ => {
                map.insert(key.clone(), value.as_str().into());
            }
        }
    }
}

/// A rule is made at the front, whatever the request says; one that is moved goes before the one that stands there now.
fn rule(rows: &mut Vec<Value>, at: Option<usize>, call: &Call) {
    let there = at.filter(|at| *at < rows.len());
    match (call.method, there) {
        (Method::Post, _) => rows.insert(0, row(call)),
        (Method::Delete, Some(at)) => {
            rows.remove(at);
        }
        (Method::Put, Some(at)) => match call.param("moveto").and_then(|to| to.parse::<usize>().ok()) {
            Some(to) => {
                let moved = rows.remove(at);
                let to = if to > at { to - 1 } else { to };
                rows.insert(to.min(rows.len()), moved);
            }
            None => {
                if let Value::Object(map) = &mut rows[at] {
                    set(map, call);
                }
            }
        },
        (Method::Put | Method::Delete, None) => {}
    }
}

fn members(rows: &mut Vec<Value>, member: Option<&str>, call: &Call) {
    match (call.method, member) {
        (Method::Post, _) => rows.push(row(call)),
        (Method::Delete, Some(member)) => rows.retain(|row| !is(row, "cidr", member)),
        (Method::Put, Some(member)) => {
            rows.retain(|row| !is(row, "cidr", member));
            let mut new = row(call);
            new["cidr"] = member.into();
            rows.push(new);
        }
        (Method::Put | Method::Delete, None) => {}
    }
}

/// Interfaces of a guest that runs change at once.
fn configure(rows: &mut Vec<Value>, call: &Call) {
    let gone = call.param("delete").into_iter().flat_map(|keys| keys.split(','));
    for key in gone.chain(call.params.iter().map(|(key, _)| key.as_str())) {
        rows.retain(|row| !is(row, "key", key));
    }
    let kept = call.params.iter().filter(|(key, _)| key != "delete" && key != "digest");
    rows.extend(kept.map(|(key, value)| serde_json::json!({"key": key, "value": value})));
}
