//! The rules of a security group, whose order decides. PVE puts a new rule at the front whatever the request says, and
//! ignores everything else where a rule is moved; positions shift with each request, so each is sent only for the list that
//! it was made for, with that list's digest.

use crate::kinds::objects::content::{Work, member};
use crate::kinds::objects::row::{Holds, Row};
use crate::kinds::objects::script::{Edit, Item, edit, script};
use crate::pve::request::{Call, Method, Query, segment};
use crate::resource::step::{Impact, Problem, Rows, Step};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The members of a rule in PVE and in manifests, in the order in which people read them.
const KEYS: [(&str, &str); 13] = [
    ("type", "type"),
    ("action", "action"),
    ("macro", "macro"),
    ("iface", "iface"),
    ("source", "source"),
    ("dest", "dest"),
    ("proto", "proto"),
    ("sport", "sport"),
    ("dport", "dport"),
    ("icmp-type", "icmpType"),
    ("log", "log"),
    ("enable", "enable"),
    ("comment", "comment"),
];
/// The same as PVE calls them.
const OPTIONS: [&str; 13] = [
    "type",
    "action",
    "macro",
    "iface",
    "source",
    "dest",
    "proto",
    "sport",
    "dport",
    "icmp-type",
    "log",
    "enable",
    "comment",
];

/// A rule in normal form: PVE's members, without those that say nothing.
pub type Rule = BTreeMap<&'static str, String>;

impl Item for Rule {
    fn is_alike(&self, other: &Rule) -> bool {
        let decides = |rule: &Rule| {
            rule.iter()
                .filter(|(k, _)| !matches!(**k, "comment" | "log"))
                .map(|(k, v)| (*k, v.clone()))
                .collect::<Rule>()
        };
        decides(self) == decides(other)
    }

    fn switched(&self, on: bool) -> Rule {
        let mut rule = self.clone();
        rule.insert("enable", u8::from(on).to_string());
        rule
    }
}

/// Rules in their order, PVE's or a manifest's. A manifest's rule is on unless it says otherwise; PVE says so of each.
pub fn normal(list: &Value) -> Vec<Rule> {
    let one = |row: &Value| {
        let mut rule = Rule::new();
        for (option, field) in KEYS {
            let value = if row[option].is_null() { member(row, field) } else { member(row, option) };
            let value = value.trim().to_owned();
            if option == "enable" {
                rule.insert(option, if value == "0" { "0" } else { "1" }.to_owned());
            } else if !(value.is_empty() || option == "log" && value == "nolog") {
                rule.insert(option, value);
            }
        }
        rule
    };
    list.as_array().into_iter().flatten().map(one).collect()
}

/// A rule in one line.
pub fn line(rule: &Rule) -> String {
    let mut words = Vec::new();
    for (option, _) in KEYS {
        let Some(value) = rule.get(option) else { continue };
        match option {
            "type" | "action" => words.push(value.clone()),
            "enable" if value == "1" => {}
            "enable" => words.push("off".into()),
            "comment" => words.push(format!("# {value}")),
            _ => words.push(format!("{option} {value}")),
        }
    }
    words.join(" ")
}

/// A rule as a manifest writes it.
pub fn export(rule: &Rule) -> Value {
    let mut out = Map::new();
    for (option, field) in KEYS {
        match rule.get(option) {
            Some(value) if option == "enable" && value == "0" => {
                out.insert(field.to_owned(), false.into());
            }
            Some(value) if option != "enable" => {
                out.insert(field.to_owned(), value.as_str().into());
            }
            Some(_) | None => {}
        }
    }
    out.into()
}

/// What is wrong with the rules of a manifest, as far as the schema cannot say.
pub fn check(list: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, rule) in normal(list).iter().enumerate() {
        let mut wrong = |field: &str, message: &str, help: &str| {
            let message = format!("rule {}: {message}", at + 1);
            problems.push(Problem::new(&format!("rules.{at}.{field}"), message).help(help));
        };
        let has = |key: &str| rule.contains_key(key);
        if rule.get("comment").is_some_and(|c| c.contains('\n')) {
            wrong(
                "comment",
                "its comment has more than one line",
                "PVE keeps it on one line of its file: write it in one",
            );
        }
        if (has("dport") || has("sport")) && !has("proto") && !has("macro") {
            wrong("proto", "it names ports and no protocol", "write `proto: tcp` or `proto: udp`, as PVE demands");
        }
        if has("icmp-type") && !rule.get("proto").is_some_and(|p| p.contains("icmp")) {
            wrong(
                "icmpType",
                "it names a type of ICMP and another protocol",
                "write `proto: icmp` or `proto: ipv6-icmp`",
            );
        }
        if has("macro") && has("proto") {
            wrong("proto", "it names a macro and a protocol", "a macro says the protocol itself: take one of them out");
        }
    }
    problems
}

/// The names of address sets and of aliases that rules name: in source and destination, where no address stands.
pub fn named(list: &Value) -> Vec<(usize, &'static str, &'static str, String)> {
    let mut out = Vec::new();
    for (at, rule) in normal(list).iter().enumerate() {
        for side in ["source", "dest"] {
            for word in rule.get(side).into_iter().flat_map(|text| text.split(',')).map(str::trim) {
                let (kind, name) = match word.strip_prefix('+') {
                    Some(set) => ("IpSet", set),
                    None => ("FirewallAlias", word),
                };
                let name = name.strip_prefix("dc/").unwrap_or(name);
                // Addresses, ranges, and the sets that SDN and guests bring with them.
                let address = name.starts_with(|c: char| c.is_ascii_digit()) || name.contains([':', '/']);
                if !name.is_empty() && !address {
                    out.push((at, side, kind, name.to_ascii_lowercase()));
                }
            }
        }
    }
    out
}

/// The values by which PVE's list is known again.
fn values(rule: &Value) -> Vec<String> {
    OPTIONS.iter().map(|option| member(rule, option)).collect()
}

/// What makes one list of the other. `raw` is what PVE shows of `have`.
pub fn work(row: &Row, id: &str, raw: &Value, have: &[Rule], want: &[Rule]) -> Work {
    let mut work = Work::default();
    let mut now: Vec<Rule> = have.to_vec();
    let mut shown: Vec<Vec<String>> = raw.as_array().into_iter().flatten().map(values).collect();
    let base = format!("{}/{}", row.list, segment(id));
    for next in script(have, want, raw.is_null()) {
        let (title, call) = match &next {
            Edit::Insert(rule) => {
                (format!("add rule `{}` to", line(rule)), send(Call::new(Method::Post, base.clone()), rule))
            }
            Edit::Change(at, rule) => {
                let gone: Vec<&str> = now[*at].keys().filter(|k| !rule.contains_key(*k)).copied().collect();
                let call = send(Call::new(Method::Put, format!("{base}/{at}")), rule);
                let call = if gone.is_empty() { call } else { call.with("delete", gone.join(",")) };
                (format!("change rule {} of", at + 1), call)
            }
            Edit::Move(from, to) => (
                format!("move rule {} of", from + 1),
                Call::new(Method::Put, format!("{base}/{from}")).with("moveto", to),
            ),
            Edit::Delete(at) => {
                (format!("delete rule {} of", at + 1), Call::new(Method::Delete, format!("{base}/{at}")))
            }
        };
        work.changes.push(told(&now, &next));
        let mut step = Step::new(format!("{title} {} {id}", row.word), call, Impact::Live).limit(row.limit.clone());
        step.rows = Some(Rows { query: Query::new(&base), keys: &OPTIONS, rows: shown.clone() });
        work.steps.push(step);
        let seen = after(&next, &now, &shown);
        edit(&mut shown, &seen);
        edit(&mut now, &next);
    }
    work
}

/// What PVE will show after an edit.
fn after(next: &Edit<Rule>, now: &[Rule], shown: &[Vec<String>]) -> Edit<Vec<String>> {
    let of = |rule: &Rule| OPTIONS.iter().map(|o| rule.get(o).cloned().unwrap_or_default()).collect();
    match next {
        Edit::Insert(rule) => Edit::Insert(of(rule)),
        Edit::Change(at, rule) => {
            // What says nothing (`log: nolog`) is neither sent nor taken out.
            let kept = |(o, old): (&&str, &String)| match (rule.get(*o), now[*at].contains_key(*o)) {
                (Some(new), _) => new.clone(),
                (None, true) => String::new(),
                (None, false) => old.clone(),
            };
            Edit::Change(*at, OPTIONS.iter().zip(&shown[*at]).map(kept).collect())
        }
        Edit::Move(from, to) => Edit::Move(*from, *to),
        Edit::Delete(at) => Edit::Delete(*at),
    }
}

fn send(call: Call, rule: &Rule) -> Call {
    rule.iter().fold(call, |call, (option, value)| call.with(option, value))
}

/// A change in people's words.
fn told(now: &[Rule], next: &Edit<Rule>) -> (String, Option<String>, Option<String>) {
    match next {
        Edit::Insert(rule) => ("rules".to_owned(), None, Some(line(rule))),
        Edit::Change(at, rule) => (format!("rules.{at}"), Some(line(&now[*at])), Some(line(rule))),
        Edit::Move(from, to) => {
            (format!("rules.{from}"), Some(line(&now[*from])), Some(format!("the same, before rule {}", to + 1)))
        }
        Edit::Delete(at) => (format!("rules.{at}"), Some(line(&now[*at])), None),
    }
}

/// The steps that empty a group, last rule first: PVE deletes only empty ones.
pub fn clear(row: &Row, id: &str, have: &Value) -> Vec<Step> {
    if row.holds != Holds::Rules {
        return Vec::new();
    }
    let raw: Vec<Vec<String>> = have.as_array().into_iter().flatten().map(values).collect();
    let base = format!("{}/{}", row.list, segment(id));
    let one = |left: usize| {
        let call = Call::new(Method::Delete, format!("{base}/{}", left - 1));
        let mut step =
            Step::new(format!("delete rule {left} of {} {id}", row.word), call, Impact::Live).limit(row.limit.clone());
        step.rows = Some(Rows { query: Query::new(&base), keys: &OPTIONS, rows: raw[..left].to_vec() });
        step
    };
    (1..=raw.len()).rev().map(one).collect()
}
