//! A list of rules: what PVE and manifests write in one normal form, and the requests that make one list of another.

use crate::kinds::firewall_rules::script::{Edit, Item, edit, script};
use crate::pve::request::{Call, Method, Query};
use crate::resource::index::text;
use crate::resource::step::{Impact, Limit, Rows, Step};
use serde_json::Value;
use std::collections::BTreeMap;

/// The members of a rule in PVE and in manifests, in the order in which people read them.
pub const KEYS: [(&str, &str); 13] = [
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
const OPTIONS: [&str; KEYS.len()] = {
    let mut out = [""; KEYS.len()];
    let mut n = 0;
    while n < KEYS.len() {
        out[n] = KEYS[n].0;
        n += 1;
    }
    out
};

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
            let value = if row[option].is_null() {
                text(&row[field]).unwrap_or_default()
            } else {
                text(&row[option]).unwrap_or_default()
            };
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

/// The values by which PVE's list is known again.
fn values(rule: &Value) -> Vec<String> {
    OPTIONS.iter().map(|option| text(&rule[*option]).unwrap_or_default()).collect()
}

/// A list on its way from what is there to what shall be.
pub struct List {
    base: String,
    limit: Limit,
    /// Nobody asks it yet.
    fresh: bool,
    now: Vec<Rule>,
    shown: Vec<Vec<String>>,
}

impl List {
    /// The list at a path. `raw` is what PVE shows of it; `null` for one that is yet to be made.
    pub fn new(base: String, limit: Limit, raw: &Value) -> List {
        let shown = raw.as_array().into_iter().flatten().map(values).collect();
        List { base, limit, fresh: raw.is_null(), now: normal(raw), shown }
    }

    /// The steps that make it `want`, after those that were asked for before. Each edit is given to `title` and `seen` with
    /// the list as it is then.
    pub fn edits(
        &mut self,
        want: &[Rule],
        title: impl Fn(&Edit<Rule>, &[Rule]) -> String,
        mut seen: impl FnMut(&Edit<Rule>, &[Rule]),
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        for next in script(&self.now, want, self.fresh) {
            let mut step = Step::new(title(&next, &self.now), self.call(&next), Impact::Live).limit(self.limit.clone());
            step.rows = Some(Rows { query: Query::new(&self.base), keys: &OPTIONS, rows: self.shown.clone() });
            steps.push(step);
            seen(&next, &self.now);
            let shown = after(&next, &self.now, &self.shown);
            edit(&mut self.shown, &shown);
            edit(&mut self.now, &next);
        }
        steps
    }

    fn call(&self, next: &Edit<Rule>) -> Call {
        let at = |place: &usize| format!("{}/{place}", self.base);
        let send = |call: Call, rule: &Rule| rule.iter().fold(call, |call, (option, value)| call.with(option, value));
        match next {
            Edit::Insert(rule) => send(Call::new(Method::Post, self.base.clone()), rule),
            Edit::Change(place, rule) => {
                let gone: Vec<&str> = self.now[*place].keys().filter(|k| !rule.contains_key(*k)).copied().collect();
                let call = send(Call::new(Method::Put, at(place)), rule);
                if gone.is_empty() { call } else { call.with("delete", gone.join(",")) }
            }
            Edit::Move(from, to) => Call::new(Method::Put, at(from)).with("moveto", to),
            Edit::Delete(place) => Call::new(Method::Delete, at(place)),
        }
    }
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
