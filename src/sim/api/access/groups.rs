//! Groups and roles.

use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use crate::sim::rights;
use crate::sim::world::{Group, World};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

fn members(world: &World, group: &str) -> Vec<String> {
    world.users.iter().filter(|(_, u)| u.groups.contains(group)).map(|(id, _)| id.clone()).collect()
}

/// `GET /access/groups`.
pub(super) fn list(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let mut rows = Vec::new();
    for (id, group) in &ctx.world.groups {
        let path = format!("/access/groups/{id}");
        let wanted = ["User.Modify", "Sys.Audit", "Group.Allocate"];
        if !rights::allowed(ctx.world, &ctx.user, &path, &wanted, true) {
            continue;
        }
        let mut row = json!({ "groupid": id, "users": members(ctx.world, id).join(",") });
        if let Some(comment) = &group.comment {
            row["comment"] = comment.as_str().into();
        }
        rows.push(row);
    }
    Ok(rows.into())
}

/// `GET /access/groups/{groupid}`.
pub(super) fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("groupid");
    let group = ctx.world.groups.get(id).ok_or_else(|| Refusal::died(format!("group '{id}' does not exist")))?;
    let mut row = json!({ "members": members(ctx.world, id) });
    if let Some(comment) = &group.comment {
        row["comment"] = comment.as_str().into();
    }
    Ok(row)
}

/// `POST /access/groups`.
pub(super) fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("groupid");
    if ctx.world.groups.contains_key(id) {
        return Err(Refusal::died(format!("create group failed: group '{id}' already exists")));
    }
    ctx.world.groups.insert(id.to_owned(), Group { comment: args.get("comment").map(str::to_owned) });
    Ok(Value::Null)
}

/// `PUT /access/groups/{groupid}`.
pub(super) fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("groupid");
    let gone = || Refusal::died(format!("update group failed: group '{id}' does not exist"));
    let group = ctx.world.groups.get_mut(id).ok_or_else(gone)?;
    if let Some(comment) = args.get("comment") {
        group.comment = Some(comment.to_owned()).filter(|c| !c.is_empty());
    }
    Ok(Value::Null)
}

/// `DELETE /access/groups/{groupid}`, with its memberships and rights.
pub(super) fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("groupid");
    if ctx.world.groups.remove(id).is_none() {
        return Err(Refusal::died(format!("delete group failed: group '{id}' does not exist")));
    }
    for user in ctx.world.users.values_mut() {
        user.groups.remove(id);
    }
    ctx.world.acl.retain(|e| e.subject_type != "group" || e.subject != id);
    Ok(Value::Null)
}

/// `GET /access/roles`.
pub(super) fn roles(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let built_in = rights::BUILT_IN_ROLES.iter().map(|id| ((*id).to_owned(), 1));
    let custom = ctx.world.roles.keys().map(|id| (id.clone(), 0));
    let row = |(id, special): (String, u8)| {
        let privileges: Vec<String> = rights::role_privileges(ctx.world, &id).into_iter().flatten().collect();
        json!({ "roleid": id, "privs": privileges.join(","), "special": special })
    };
    Ok(built_in.chain(custom).map(row).collect::<Vec<_>>().into())
}

/// `GET /access/roles/{roleid}`.
pub(super) fn role(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("roleid");
    let privileges = rights::role_privileges(ctx.world, id);
    let privileges = privileges.ok_or_else(|| Refusal::died(format!("role '{id}' does not exist")))?;
    Ok(privileges.into_iter().map(|p| (p, 1.into())).collect::<Map<_, _>>().into())
}

fn named_privileges(args: &Args) -> BTreeSet<String> {
    args.list("privs").into_iter().map(str::to_owned).collect()
}

/// `POST /access/roles`.
pub(super) fn role_create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("roleid");
    if id.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("pve")) {
        let text = "cannot use role ID starting with the (case-insensitive) 'PVE' namespace";
        return Err(Refusal::param("roleid", text));
    }
    if rights::role_privileges(ctx.world, id).is_some() {
        return Err(Refusal::died(format!("create role failed: role '{id}' already exists")));
    }
    ctx.world.roles.insert(id.to_owned(), named_privileges(args));
    Ok(Value::Null)
}

fn refuse_built_in(id: &str, verb: &str) -> Result<(), Refusal> {
    match rights::BUILT_IN_ROLES.contains(&id) {
        true => Err(Refusal::died(format!("auto-generated role '{id}' cannot be {verb}"))),
        false => Ok(()),
    }
}

/// `PUT /access/roles/{roleid}`.
pub(super) fn role_update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("roleid");
    if args.get("append").is_some() && args.get("privs").is_none() {
        return Err(Refusal::param("privs", "missing property - 'append' requires this property"));
    }
    refuse_built_in(id, "modified")?;
    let gone = || Refusal::died(format!("update role failed: role '{id}' does not exist"));
    let role = ctx.world.roles.get_mut(id).ok_or_else(gone)?;
    if !args.on("append") {
        role.clear();
    }
    role.extend(named_privileges(args));
    Ok(Value::Null)
}

/// `DELETE /access/roles/{roleid}`, with the entries that grant it.
pub(super) fn role_delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("roleid");
    refuse_built_in(id, "deleted")?;
    if ctx.world.roles.remove(id).is_none() {
        return Err(Refusal::died(format!("delete role failed: role '{id}' does not exist")));
    }
    ctx.world.acl.retain(|e| e.role != id);
    Ok(Value::Null)
}
