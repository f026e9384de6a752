//! The members of an address set: a set of addresses. What is new is added before what is old is taken out, so that a set
//! which lets somebody in is never empty on the way.

use crate::kinds::objects::content::{Work, member};
use crate::kinds::objects::form::network;
use crate::kinds::objects::row::Row;
use crate::pve::request::{Call, Method, segment};
use crate::resource::step::{Impact, Problem, Step};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// A member in normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    cidr: String,
    nomatch: bool,
    comment: String,
}

/// Members in the order of their addresses, PVE's or a manifest's.
pub fn normal(list: &Value) -> Vec<Member> {
    let all: BTreeMap<String, Member> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| {
            let cidr = network(&member(row, "cidr"));
            let nomatch = matches!(member(row, "nomatch").as_str(), "1");
            (cidr.clone(), Member { cidr, nomatch, comment: member(row, "comment").trim().to_owned() })
        })
        .collect();
    all.into_values().collect()
}

/// A member in one line.
pub fn line(member: &Member) -> String {
    let Member { cidr, nomatch, comment } = member;
    let not = if *nomatch { "not " } else { "" };
    let comment = if comment.is_empty() { String::new() } else { format!(" # {comment}") };
    format!("{not}{cidr}{comment}")
}

/// A member as a manifest writes it.
pub fn export(member: &Member) -> Value {
    let Member { cidr, nomatch, comment } = member;
    let mut out = Map::from_iter([("cidr".to_owned(), Value::from(cidr.as_str()))]);
    if *nomatch {
        out.insert("nomatch".into(), true.into());
    }
    if !comment.is_empty() {
        out.insert("comment".into(), comment.as_str().into());
    }
    out.into()
}

/// What is wrong with the members of a manifest.
pub fn check(list: &Value) -> Vec<Problem> {
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    for row in list.as_array().into_iter().flatten() {
        let written = member(row, "cidr");
        let cidr = network(&written);
        if !seen.insert(cidr.clone()) {
            let also = if cidr == written { String::new() } else { format!(" (`{written}` is the same)") };
            problems.push(
                Problem::new("members", format!("`{cidr}` is there twice{also}"))
                    .help("PVE keeps each address or network once: take one of them out"),
            );
        }
        if member(row, "comment").contains('\n') {
            problems.push(
                Problem::new("members", format!("the comment of `{cidr}` has more than one line"))
                    .help("PVE keeps it on one line of its file: write it in one"),
            );
        }
    }
    problems
}

/// What makes one set of the other.
pub fn work(row: &Row, id: &str, have: &[Member], want: &[Member]) -> Work {
    let mut work = Work::default();
    let old = |cidr: &str| have.iter().find(|m| m.cidr == cidr);
    let (mut adds, mut updates, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
    let path = |cidr: &str| format!("{}/{}/{}", row.list, segment(id), segment(cidr));
    let step = |title: String, call: Call| Step::new(title, call, Impact::Live).limit(row.limit.clone());
    for member in want {
        let field = format!("members.{}", member.cidr);
        let flags = |call: Call| call.with("nomatch", u8::from(member.nomatch)).with("comment", &member.comment);
        match old(&member.cidr) {
            None => {
                let call = Call::new(Method::Post, format!("{}/{}", row.list, segment(id))).with("cidr", &member.cidr);
                adds.push(step(format!("add {} to {} {id}", member.cidr, row.word), flags(call)));
                work.changes.push((field, None, Some(line(member))));
            }
            Some(old) if old != member => {
                let call = flags(Call::new(Method::Put, path(&member.cidr)));
                updates.push(step(format!("change {} in {} {id}", member.cidr, row.word), call));
                work.changes.push((field, Some(line(old)), Some(line(member))));
            }
            Some(_) => {}
        }
    }
    for gone in have.iter().filter(|m| !want.iter().any(|w| w.cidr == m.cidr)) {
        let call = Call::new(Method::Delete, path(&gone.cidr));
        deletes.push(step(format!("take {} out of {} {id}", gone.cidr, row.word), call));
        work.changes.push((format!("members.{}", gone.cidr), Some(line(gone)), None));
    }
    work.steps = adds.into_iter().chain(updates).chain(deletes).collect();
    work
}
