//! Who may do what: roles, groups, users, and the entries of the access control list.

use crate::kinds::objects::content::member;
use crate::kinds::objects::row::query;
use crate::kinds::objects::table::{API_TOKEN, USERS, is_declared, reference};
use crate::kinds::objects::token;
use crate::resource::kind::PlanContext;
use crate::resource::reference::Reference;
use crate::resource::step::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A role: a set of privileges with a name. PVE gives a role no free text, so that it cannot carry a mark of its owner: one
/// that is there and differs is changed only once it is adopted, or with the annotation `pvectl/take-over: "true"`, and it
/// is deleted by its manifest (`pvectl delete -f`), never pruned.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleSpec {
    /// PVE's id for it, where `metadata.name` cannot be that (`BackupOperator`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// All its privileges, such as `VM.Audit`, in any order.
    pub privs: Vec<String>,
}

/// A group of users.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupSpec {
    /// PVE's id for it, where `metadata.name` cannot be that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A user. Its password is never set and never looked at: it logs in by its realm, or a person sets it (`pveum passwd`).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserSpec {
    /// Its id with its realm: `ops@pve`.
    pub id: String,
    /// A line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Where mail to it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Its first name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// Its last name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    /// Whether it may log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// When it ends, such as `2027-01-01T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire: Option<String>,
    /// All its groups, by their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
}

/// One entry of the access control list: a role for a user, a group or a token, on a path. PVE gives an entry no free text,
/// so that it cannot carry a mark of its owner: one that is there with another `propagate` is changed only once it is adopted, or with
/// the annotation `pvectl/take-over: "true"`, and it is deleted by its manifest (`pvectl delete -f`), never pruned.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AclEntrySpec {
    /// The path, such as `/vms/100`, `/pool/web` or `/`.
    pub path: String,
    /// The role, by its id.
    pub role: String,
    /// The user, by its id: `ops@pve`. Exactly one of user, group and token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The group, by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The token: `ops@pve!ci`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Whether it holds below the path too; left out: it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagate: Option<bool>,
}

/// PVE's rule for ids of groups and roles (`PVE::AccessControl`, `pve-groupid` and `pve-roleid`).
pub fn plain_id(id: &str) -> Vec<Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !id.is_empty() && id.chars().all(plain) {
        return Vec::new();
    }
    let help = "letters, digits, `-`, `_` and `.`; give another as `id`";
    vec![Problem::new("id", format!("`{id}` is no id for PVE")).help(help)]
}

/// What is wrong with a role. That one begins with PVE matters only where it is to be made.
pub fn role(cx: &PlanContext<'_>, id: &str) -> Vec<Problem> {
    let mut problems = plain_id(id);
    let list = cx.seen.index.lists.get(&query("/access/roles"));
    let there = |list: &Value| list.as_array().into_iter().flatten().any(|row| member(row, "roleid") == id);
    let reserved = id.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("pve"));
    if reserved && !list.is_some_and(|list| list.as_ref().is_ok_and(|list| there(list))) {
        problems.push(
            Problem::new("id", format!("`{id}` begins with PVE, as only PVE's own roles do"))
                .help("choose another id, and make a role of your own"),
        );
    }
    problems
}

/// What is wrong with a user.
pub fn user(id: &str, spec: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let (name, realm) = id.rsplit_once('@').unwrap_or((id, ""));
    let plain = |c: char| !c.is_whitespace() && !matches!(c, ':' | '/' | '@' | '!');
    if name.is_empty() || realm.is_empty() || id.len() < 3 || id.len() > 64 || !name.chars().all(plain) {
        problems.push(
            Problem::new("id", format!("`{id}` is no user of PVE")).help("write it with its realm, such as ops@pve"),
        );
    }
    if id == "root@pam" && spec["enable"] == false {
        problems.push(
            Problem::new("enable", "root@pam would be shut out").help("PVE cannot do without it: leave `enable` out"),
        );
    }
    problems.extend(expire(spec));
    problems
}

/// What is wrong with the end of a user or a token.
pub fn expire(spec: &Value) -> Option<Problem> {
    let text = spec["expire"].as_str().filter(|text| text.parse::<jiff::Timestamp>().is_err())?;
    Some(Problem::new("expire", format!("`{text}` is no moment")).help("write it like 2027-01-01T00:00:00Z"))
}

/// The parts of an entry: path, role, type of its subject, subject.
pub fn acl_id(_: &str, spec: &Value) -> String {
    let subject = ["user", "group", "token"].into_iter().find(|kind| !spec[*kind].is_null()).unwrap_or("user");
    let path: Vec<&str> = spec["path"].as_str().unwrap_or_default().split('/').filter(|p| !p.is_empty()).collect();
    format!("/{} {} {subject} {}", path.join("/"), member(spec, "role"), member(spec, subject))
}

/// What is wrong with an entry.
pub fn acl(cx: &PlanContext<'_>, _: &str, spec: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let subjects = ["user", "group", "token"].into_iter().filter(|kind| !spec[*kind].is_null()).count();
    if subjects != 1 {
        problems.push(
            Problem::new("", format!("it names {subjects} of user, group and token"))
                .help("an entry is for exactly one: write one entry for each"),
        );
    }
    if !member(spec, "path").starts_with('/') {
        problems.push(
            Problem::new("path", format!("`{}` is no path", member(spec, "path")))
                .help("it begins with /, such as /vms/100, /pool/web, /storage/nfs or /"),
        );
    }
    if let Some(id) = spec["token"].as_str()
        && let Some(Ok(list)) = cx.seen.index.lists.get(&query(USERS))
        && !token::of_users(list).as_array().into_iter().flatten().any(|row| API_TOKEN.key(row) == id)
        && !is_declared(cx, "ApiToken", id)
    {
        problems.push(Problem::new("token", format!("there is no token `{id}`")).help(
            "it is written USER@REALM!NAME; no manifest of the set declares it, and it is not on the cluster: declare a \
             `kind: ApiToken`, or mend the name",
        ));
    }
    problems
}

/// An entry as its manifest names it.
pub fn export_acl(_: &str, object: &Value) -> Map<String, Value> {
    let subject = member(object, "type");
    let export =
        json!({"path": member(object, "path"), "role": member(object, "roleid"), subject: member(object, "ugid")});
    export.as_object().cloned().unwrap_or_default()
}

/// A token comes before what names it.
pub fn acl_refs(spec: &Value) -> Vec<Reference> {
    spec["token"].as_str().into_iter().map(|token| reference("ApiToken", token, "token")).collect()
}
