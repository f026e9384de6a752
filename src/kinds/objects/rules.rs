//! The rules of a security group, whose order decides.

use crate::kinds::firewall_rules::list::{KEYS, List, Rule, line, normal};
use crate::kinds::firewall_rules::script::Edit;
use crate::kinds::objects::content::Work;
use crate::kinds::objects::row::{Holds, Row};
use crate::pve::request::segment;
use crate::resource::step::{Problem, Step};
use serde_json::{Map, Value};

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

/// What makes one list of the other. `raw` is what PVE shows of `have`; nothing is shown of a group that is yet to be made.
pub fn work(row: &Row, id: &str, raw: &Value, want: &[Rule]) -> Work {
    let mut work = Work::default();
    let base = format!("{}/{}", row.list, segment(id));
    let title = |next: &Edit<Rule>, _: &[Rule]| {
        let what = match next {
            Edit::Insert(rule) => format!("add rule `{}` to", line(rule)),
            Edit::Change(at, _) => format!("change rule {} of", at + 1),
            Edit::Move(from, _) => format!("move rule {} of", from + 1),
            Edit::Delete(at) => format!("delete rule {} of", at + 1),
        };
        format!("{what} {} {id}", row.word)
    };
    let mut list = List::new(base, row.limit.clone(), raw);
    work.steps = list.edits(want, title, |next, now| work.changes.push(told(now, next)));
    work
}

/// The steps that empty a group, last rule first: PVE deletes only empty ones.
pub fn clear(row: &Row, id: &str, have: &Value) -> Vec<Step> {
    if row.holds == Holds::Rules { work(row, id, have, &[]).steps } else { Vec::new() }
}
