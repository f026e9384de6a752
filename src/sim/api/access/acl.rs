//! The access control list.

use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use crate::sim::rights;
use crate::sim::world::{AclEntry, World};
use serde_json::{Value, json};

/// The privileges of which one lets change the entries of a path.
fn governing(path: &str) -> &'static [&'static str] {
    match path.split('/').nth(1) {
        Some("vms") => &["Permissions.Modify", "VM.Allocate"],
        Some("storage") => &["Permissions.Modify", "Datastore.Allocate"],
        Some("pool") => &["Permissions.Modify", "Pool.Allocate"],
        Some("sdn") => &["Permissions.Modify", "SDN.Allocate"],
        _ => &["Permissions.Modify"],
    }
}

/// One `/` in front, none at the end, none doubled.
fn normal(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

/// Whether PVE knows such paths.
fn known(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let vmid = |id: &str| id.parse::<u64>().is_ok_and(|n| n >= 100);
    match parts[..] {
        [] | ["access" | "mapping" | "nodes" | "pool" | "sdn" | "storage" | "vms"] => true,
        ["access", "groups" | "realm"] | ["access", "groups" | "realm", _] => true,
        ["mapping", kind] | ["mapping", kind, _] => matches!(kind, "pci" | "usb" | "dir" | "notifications"),
        ["nodes" | "storage", _] => true,
        ["pool", ..] => parts.len() <= 4,
        ["sdn", "zones" | "controllers" | "dns" | "ipams" | "fabrics"] => true,
        ["sdn", "controllers" | "dns" | "ipams" | "fabrics", _] => true,
        ["sdn", "zones", ..] => parts.len() <= 5,
        ["vms", id] => vmid(id),
        _ => false,
    }
}

/// `GET /access/acl`.
pub(super) fn list(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let all = ctx.may("/access", &["Sys.Audit"]);
    let visible = |e: &&AclEntry| all || rights::allowed(ctx.world, &ctx.user, &e.path, governing(&e.path), true);
    let row = |e: &AclEntry| {
        json!({
            "path": e.path,
            "type": e.subject_type,
            "ugid": e.subject,
            "roleid": e.role,
            "propagate": u8::from(e.propagate),
        })
    };
    Ok(ctx.world.acl.iter().filter(visible).map(row).collect::<Vec<_>>().into())
}

/// Whether a subject exists, or PVE's words for its absence.
fn subject_exists(world: &World, kind: &str, subject: &str) -> Result<(), String> {
    let (found, text) = match kind {
        "group" => (world.groups.contains_key(subject), format!("group '{subject}' does not exist")),
        "token" => {
            let (user, name) = subject.split_once('!').unwrap_or((subject, ""));
            let found = world.users.get(user).is_some_and(|u| u.tokens.contains_key(name));
            (found, format!("no such token '{name}' for user '{user}'"))
        }
        _ => (world.users.contains_key(subject), format!("user '{subject}' does not exist")),
    };
    if found { Ok(()) } else { Err(text) }
}

/// `PUT /access/acl`: all of the roles for all of the subjects.
pub(super) fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let path = normal(args.text("path"));
    ctx.require_any(&path, governing(&path))?;
    let fields = [("users", "user"), ("groups", "group"), ("tokens", "token")];
    if fields.iter().all(|(field, _)| args.get(field).is_none()) {
        let text = "either 'users', 'groups' or 'tokens' is required.";
        return Err(Refusal::params(fields.map(|(field, _)| (field.to_owned(), text.to_owned())).into()));
    }
    if !known(&path) {
        return Err(Refusal::param("path", format!("invalid ACL path '{}'", args.text("path"))));
    }
    let failed = |text: String| Refusal::died(format!("ACL update failed: {text}"));
    let delegated = !ctx.may(&path, &["Permissions.Modify"]);
    let propagate = args.get("propagate").is_none_or(|p| p == "1");
    let mut acl = ctx.world.acl.clone();
    for role in args.list("roles") {
        let Some(privileges) = rights::role_privileges(ctx.world, role) else {
            return Err(failed(format!("role '{role}' does not exist")));
        };
        let names: Vec<&str> = privileges.iter().map(String::as_str).collect();
        if delegated && !ctx.may(&path, &names) {
            // Who may only allocate can hand out no more than they have.
            return Err(Refusal::forbidden(&format!("{path}, Permissions.Modify")));
        }
        for (field, kind) in fields {
            for subject in args.list(field) {
                subject_exists(ctx.world, kind, subject).map_err(failed)?;
                acl.retain(|e| e.path != path || e.subject_type != kind || e.subject != subject || e.role != role);
                if !args.on("delete") {
                    acl.push(AclEntry {
                        path: path.clone(),
                        subject_type: kind.to_owned(),
                        subject: subject.to_owned(),
                        role: role.to_owned(),
                        propagate,
                    });
                }
            }
        }
    }
    ctx.world.acl = acl;
    Ok(Value::Null)
}
