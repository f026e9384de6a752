//! What a row of the table says of a kind.

use crate::kinds::objects::form::Form;
use crate::kinds::objects::object::Seen;
use crate::pve::request::{Call, Method, Query, segment};
use crate::resource::index::{Index, text};
use crate::resource::kind::PlanContext;
use crate::resource::reference::Reference;
use crate::resource::step::{Delta, Limit, Problem};
use serde_json::{Map, Value};

/// Everything that sets one kind apart from the others.
pub struct Row {
    /// Its name in manifests.
    pub kind: &'static str,
    /// What people call one.
    pub word: &'static str,
    /// The path and query that list all of them.
    pub list: &'static str,
    /// The members of a list's row that are its id, joined by `join`.
    pub id: &'static [&'static str],
    /// What joins an id of several parts.
    pub join: char,
    /// Lists that references are checked against.
    pub refers: &'static [Refer],
    /// Other lists that its checks look into.
    pub also: &'static [&'static str],
    /// How one is made.
    pub create: Verb,
    /// How one is changed.
    pub update: Verb,
    /// How one is deleted.
    pub delete: Verb,
    /// How an option goes back to PVE's default.
    pub reset: Reset,
    /// Options that no `delete` may name: they are set to their default.
    pub kept: &'static [&'static str],
    /// Its fields, beside `comment` and what it holds.
    pub fields: &'static [Field],
    /// Where our marker stands.
    pub mark: Mark,
    /// What it holds.
    pub holds: Holds,
    /// The lock under which PVE writes them.
    pub limit: Limit,
    /// The privilege without which one may be hidden: path and name.
    pub audit: (&'static str, &'static str),
    /// The privilege to change one.
    pub modify: (&'static str, &'static str),
    /// The id that a spec asks for, where it is not `metadata.name`.
    pub claim: fn(name: &str, spec: &Value) -> String,
    /// What is wrong with a spec, beside what the schema says.
    pub check: fn(cx: &PlanContext<'_>, id: &str, spec: &Value) -> Vec<Problem>,
    /// Why PVE's own may not be touched: the member of its row that says so.
    pub own: Option<&'static str>,
    /// Ids that PVE cannot do without: never deleted.
    pub stays: &'static [&'static str],
    /// Other names in a spec.
    pub refs: fn(spec: &Value) -> Vec<Reference>,
    /// Whether `options` may name any other of PVE's options.
    pub options: bool,
    /// Whether an option that `options` names is settled when the object is made.
    pub settled: fn(&str) -> bool,
    /// Members of PVE's row that are no option.
    pub hidden: &'static [&'static str],
    /// Where it is, for what is no entry of a list but always there.
    pub alone: Option<Alone>,
    /// What an export says besides fields, from the id and PVE's row.
    pub export: fn(id: &str, object: &Value) -> Map<String, Value>,
    /// Its objects where they stand within the rows of `list`.
    pub nested: Option<fn(list: &Value) -> Value>,
    /// Files of secrets that a spec names.
    pub files: fn(spec: &Value) -> Vec<String>,
    /// What is to be done about one.
    pub plan: fn(row: &Row, cx: &PlanContext<'_>, desired: Option<Value>, observed: Option<&Seen>) -> Delta,
    /// Its changes wait in PVE until all of them are applied at once ([`crate::kinds::objects::sdn`]).
    pub waits: bool,
    /// What lists its objects within one of those that `list` lists, where they have no list of their own.
    pub within: Option<fn(&str) -> Query>,
    /// A column of `get`: header and member of the row.
    pub columns: &'static [(&'static str, &'static str)],
}

/// An object that is always there, and whose options are all that can be changed.
pub struct Alone {
    /// Where it is read and written; `None`: what it belongs to is not there.
    pub path: fn(id: &str, index: &Index) -> Option<String>,
    /// The ids that `get` shows.
    pub ids: fn(index: &Index) -> Vec<String>,
    /// Why it may not become what the spec says, by what it is now.
    pub refuse: fn(cx: &PlanContext<'_>, id: &str, spec: &Value, now: &Value) -> Option<Problem>,
}

/// A field that names another object.
pub struct Refer {
    /// The field in the manifest; one name or a list of them.
    pub path: &'static str,
    /// The kind that it names.
    pub kind: &'static str,
    /// What lists those.
    pub list: &'static str,
    /// The member that is their id.
    pub member: &'static str,
}

/// One request.
pub struct Verb {
    /// Its method.
    pub method: Method,
    /// Its path; `{0}`, `{1}` … are parts of the id.
    pub path: &'static str,
    /// What goes with it besides fields.
    pub with: &'static [With],
    /// Whether fields that do not change must be sent too.
    pub whole: bool,
}

/// A parameter that is no field.
pub enum With {
    /// A part of the id by this name.
    Id(&'static str, usize),
    /// A part of the id, by a name that another part says: `user` as `users`.
    Plural(usize, usize),
    /// Always the same.
    Fixed(&'static str, &'static str),
}

/// How an option goes back to PVE's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// It is named in `delete`.
    Delete,
    /// It is set to the default.
    Default,
}

/// A field.
pub struct Field {
    /// In manifests.
    pub path: &'static str,
    /// In PVE's API.
    pub option: &'static str,
    /// How its value is written.
    pub form: Form,
    /// What absence means.
    pub default: Option<&'static str>,
    /// It cannot be changed later.
    pub fixed: bool,
}

impl Field {
    /// A field that may change, without a default.
    pub const fn new(path: &'static str, option: &'static str, form: Form) -> Field {
        Field { path, option, form, default: None, fixed: false }
    }

    /// The same with what absence means.
    pub const fn default(self, default: &'static str) -> Field {
        Field { path: self.path, option: self.option, form: self.form, default: Some(default), fixed: self.fixed }
    }

    /// The same, settled when the object is made.
    pub const fn fixed(self) -> Field {
        Field { path: self.path, option: self.option, form: self.form, default: self.default, fixed: true }
    }
}

/// Where the marker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// In `comment`.
    Comment {
        /// PVE keeps it on one line of a file.
        one_line: bool,
        /// How long it may be, in characters.
        max: usize,
    },
    /// Nowhere: PVE gives such an object no free text.
    Nowhere,
}

/// What an object holds, in a list of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Nothing.
    Nothing,
    /// Addresses: `members`.
    Members,
    /// Rules: `rules`.
    Rules,
}

impl Row {
    /// The parts of an id.
    pub fn parts<'a>(&self, id: &'a str) -> Vec<&'a str> {
        // From the right: of the parts, only the first may hold what joins them.
        let mut parts: Vec<&str> = id.rsplitn(self.id.len().max(1), self.join).collect();
        parts.reverse();
        parts
    }

    /// A path with the parts of an id in their places.
    pub fn path(&self, template: &str, id: &str) -> String {
        let parts = self.parts(id);
        parts
            .iter()
            .enumerate()
            .fold(template.to_owned(), |path, (n, part)| path.replace(&format!("{{{n}}}"), &segment(part)))
    }

    /// A request of an object, with what is always part of it.
    pub fn call(&self, verb: &Verb, id: &str) -> Call {
        let parts = self.parts(id);
        let part = |n: usize| parts.get(n).copied().unwrap_or_default();
        verb.with.iter().fold(Call::new(verb.method, self.path(verb.path, id)), |call, with| match with {
            With::Id(name, n) => call.with(name, part(*n)),
            With::Plural(name, n) => call.with(&format!("{}s", part(*name)), part(*n)),
            With::Fixed(name, value) => call.with(name, value),
        })
    }

    /// The id of an object as PVE lists it.
    pub fn key(&self, object: &Value) -> String {
        let parts: Vec<String> = self.id.iter().map(|key| text(&object[*key]).unwrap_or_default()).collect();
        parts.join(&self.join.to_string())
    }

    /// The read that lists its objects, and those that it refers to.
    pub fn lists(&self) -> Vec<Query> {
        let mut all: Vec<Query> = if self.alone.is_some() { Vec::new() } else { vec![query(self.list)] };
        all.extend(self.refers.iter().map(|r| r.list).chain(self.also.iter().copied()).map(query));
        all
    }

    /// The read of what an object holds.
    pub fn held(&self, id: &str) -> Option<Query> {
        match self.holds {
            Holds::Nothing => None,
            Holds::Members | Holds::Rules => Some(Query::new(format!("{}/{}", self.list, segment(id)))),
        }
    }
}

/// A path with its query string as a read.
pub fn query(text: &str) -> Query {
    let (path, params) = text.split_once('?').unwrap_or((text, ""));
    let pairs = params.split('&').filter_map(|pair| pair.split_once('='));
    pairs.fold(Query::new(path), |query, (key, value)| query.with(key, value))
}
