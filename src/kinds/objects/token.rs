//! Tokens of PVE's API. The secret of one is told once, in the answer that makes it: where it is kept is settled before
//! anything is sent, and it goes there and nowhere else.

use crate::base::secret_file::FileState;
use crate::kinds::objects::access::expire;
use crate::kinds::objects::content::member;
use crate::kinds::objects::object::Seen;
use crate::kinds::objects::plan::plan as change;
use crate::kinds::objects::row::Row;
use crate::resource::kind::PlanContext;
use crate::resource::step::{Action, Delta, Note, Problem, Saves};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A token of a user, with which a program speaks to PVE's API. Its rights are given with an `AclEntry`, unless `privsep` is
/// false.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiTokenSpec {
    /// Whose it is: `ops@pve`.
    pub user: String,
    /// Its name without that of its user, where `metadata.name` cannot be that: a letter, then letters, digits, `-`, `_` and
    /// `.`, two at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// When it ends, such as `2027-01-01T00:00:00Z`; left out: never. With its user it ends in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire: Option<String>,
    /// Whether it has rights of its own, which an `AclEntry` gives it; PVE does so where it is left out. With `false` it may
    /// do all that its user may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privsep: Option<bool>,
    /// Where its secret is kept, which PVE tells only once. A token that is there needs none: take it out once you have
    /// moved the secret to its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeptSecret>,
}

/// A place for a secret.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeptSecret {
    /// A file that is not there yet, on the machine that pvectl runs on; a relative path starts from the folder that it was
    /// started in. The file is made with mode 0600, and holds the line `USER@REALM!TOKENID=SECRET`.
    pub file: String,
}

/// The parts of a token's id: user and name.
pub fn id(name: &str, spec: &Value) -> String {
    format!("{}!{}", member(spec, "user"), spec["id"].as_str().unwrap_or(name))
}

/// All tokens of a list of users.
pub fn of_users(list: &Value) -> Value {
    let of_one = |user: &Value| -> Vec<Value> {
        let whose = |token: &Value| {
            let mut token = token.clone();
            token["userid"] = user["userid"].clone();
            token
        };
        user["tokens"].as_array().into_iter().flatten().map(whose).collect()
    };
    list.as_array().into_iter().flatten().flat_map(of_one).collect()
}

/// A token as its manifest names it.
pub fn export(_: &str, object: &Value) -> Map<String, Value> {
    let names = json!({"user": member(object, "userid"), "id": member(object, "tokenid")});
    names.as_object().cloned().unwrap_or_default()
}

/// The file that a spec names.
pub fn files(spec: &Value) -> Vec<String> {
    spec["secret"]["file"].as_str().map(str::to_owned).into_iter().collect()
}

/// What is wrong with a token, by PVE's rule for names of tokens (`PVE::AccessControl`, `pve-tokenid`).
pub fn check(id: &str, spec: &Value) -> Vec<Problem> {
    let mut problems: Vec<Problem> = expire(spec).into_iter().collect();
    let name = id.rsplit_once('!').map_or(id, |(_, name)| name);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.len() < 2 || !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(plain) {
        let help = "a letter, then letters, digits, `-`, `_` and `.`, two signs at least; give another as `id`";
        problems.push(Problem::new("id", format!("`{name}` is no name of a token")).help(help));
    }
    problems
}

/// What is to be done about a token. One is made only where its secret can be kept; one whose secret is in no file that its
/// manifest names is of no use, and is said to be.
pub fn plan(row: &Row, cx: &PlanContext<'_>, desired: Option<Value>, observed: Option<&Seen>) -> Delta {
    let file = desired.as_ref().and_then(|spec| files(spec).pop());
    let wanted = desired.is_some();
    let mut delta = change(row, cx, desired, observed);
    if !wanted {
        return delta;
    }
    let id = delta.identity.as_ref().map(super::object::id_of).unwrap_or_default().to_owned();
    let Some(file) = file else {
        if observed.is_none() {
            delta.problems.push(
                Problem::new(
                    "secret",
                    format!("PVE tells the secret of `{id}` once, and nothing says where to keep it"),
                )
                .help("name a file that is not there yet: `secret: {file: …}`"),
            );
        }
        return delta;
    };
    let state = cx.seen.files.get(&file).cloned().unwrap_or(FileState::Absent);
    match (observed, state) {
        (None, FileState::Absent | FileState::Empty) => {
            if let Some(step) = delta.steps.first_mut() {
                step.title += &format!(", its secret to {file}");
                step.saves = Some(Saves { file, before: format!("{id}=") });
            }
        }
        (None, FileState::Filled) => delta.problems.push(
            Problem::new("secret.file", format!("`{file}` is there already, and is never overwritten"))
                .help("name a file that is not there yet, or move this one away; what it holds may be in use"),
        ),
        (None, FileState::Unusable(why)) => delta.problems.push(
            Problem::new("secret.file", format!("the secret cannot be kept in `{file}`: {why}"))
                .help("name a file that is not there yet, in a folder that is there"),
        ),
        (Some(_), FileState::Filled) => {}
        (Some(_), FileState::Absent | FileState::Empty | FileState::Unusable(_)) => {
            delta.notes.push(Note::Toothless(format!(
                "its secret is not in `{file}`, and PVE tells it only once. If you have it elsewhere, take `secret` out of \
                 the manifest; if it is lost: pvectl delete {} {}, then apply",
                row.kind.to_lowercase(),
                cx.resource.name
            )));
            if delta.action == Action::NoOp {
                delta.action = Action::Update;
            }
        }
    }
    delta
}
