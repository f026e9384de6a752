//! Users, and their passwords.

use crate::sim::api::access::ticket::authentic;
use crate::sim::ctx::Ctx;
use crate::sim::params::access as params;
use crate::sim::request::{Args, Refusal};
use crate::sim::rights;
use crate::sim::world::{Token, User};
use serde_json::{Map, Value, json};

const OPTIONS: &[&str] = &["comment", "email", "enable", "expire", "firstname", "keys", "lastname"];

/// The realms that are always there, with their kind and comment.
const REALMS: &[(&str, &str, &str)] =
    &[("pam", "pam", "Linux PAM standard authentication"), ("pve", "pve", "Proxmox VE authentication server")];

/// Checks the id's form and answers the realm.
fn realm_of(userid: &str) -> Result<&str, Refusal> {
    params::user_id(userid).map_err(|text| Refusal::died(text.trim_end()))?;
    Ok(userid.rsplit_once('@').map_or("", |(_, realm)| realm))
}

/// PVE's words for an absent user.
pub(super) fn absent(userid: &str) -> Refusal {
    Refusal::died(format!("no such user ('{userid}')"))
}

/// The user, or PVE's words for its absence.
pub(super) fn existing<'a>(ctx: &'a Ctx<'_>, userid: &str) -> Result<&'a User, Refusal> {
    realm_of(userid)?;
    ctx.world.users.get(userid).ok_or_else(|| absent(userid))
}

/// Whether one of the privileges is there for all groups or for one of the user's.
fn governs(ctx: &Ctx<'_>, user: &User, privileges: &[&str]) -> bool {
    let may = |path: &str| rights::allowed(ctx.world, &ctx.user, path, privileges, true);
    may("/access/groups") || user.groups.iter().any(|g| may(&format!("/access/groups/{g}")))
}

/// Demands that the user exists and that one of the privileges is there.
fn require(ctx: &Ctx<'_>, userid: &str, privileges: &[&str]) -> Result<(), Refusal> {
    let user = existing(ctx, userid)?;
    if governs(ctx, user, privileges) { Ok(()) } else { ctx.require_any("/access/groups", privileges) }
}

/// The same, but everybody may do it to themselves.
pub(super) fn require_or_self(ctx: &Ctx<'_>, userid: &str, privileges: &[&str]) -> Result<(), Refusal> {
    if ctx.user == userid {
        return existing(ctx, userid).map(|_| ());
    }
    require(ctx, userid, privileges)
}

/// Demands `User.Modify` on each of the groups that a request names.
fn require_groups(ctx: &Ctx<'_>, args: &Args) -> Result<(), Refusal> {
    args.list("groups").into_iter().try_for_each(|g| ctx.require(&format!("/access/groups/{g}"), &["User.Modify"]))
}

fn row(user: &User) -> Map<String, Value> {
    let mut row = Map::new();
    for (key, value) in &user.config {
        let shown: Value = match key.as_str() {
            "enable" | "expire" => value.parse::<i64>().unwrap_or(0).into(),
            _ => value.as_str().into(),
        };
        row.insert(key.clone(), shown);
    }
    row.entry("enable").or_insert(1.into());
    row.entry("expire").or_insert(0.into());
    row
}

/// A token as it is shown; never its secret.
pub(super) fn token_row(token: &Token) -> Value {
    let mut row = json!({ "expire": token.expire, "privsep": u8::from(token.privsep) });
    if let Some(comment) = &token.comment {
        row["comment"] = comment.as_str().into();
    }
    row
}

/// `GET /access/users`.
pub(super) fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let mut rows = Vec::new();
    for (id, user) in &ctx.world.users {
        if *id != ctx.user && !governs(ctx, user, &["User.Modify", "Sys.Audit"]) {
            continue;
        }
        let mut row = row(user);
        if args.get("enabled").is_some_and(|wanted| row["enable"] != i64::from(wanted == "1")) {
            continue;
        }
        if args.on("full") {
            row.insert("groups".to_owned(), user.groups.iter().cloned().collect::<Vec<_>>().join(",").into());
            row.insert("tokens".to_owned(), tokens(user));
        }
        let realm = realm_of(id)?;
        if let Some((_, kind, _)) = REALMS.iter().find(|(name, ..)| *name == realm) {
            row.insert("realm-type".to_owned(), (*kind).into());
        }
        row.insert("userid".to_owned(), id.as_str().into());
        rows.push(Value::Object(row));
    }
    Ok(rows.into())
}

/// A user's tokens as a list; `null` if there never was one.
fn tokens(user: &User) -> Value {
    let named = |(name, token): (&String, &Token)| {
        let mut row = token_row(token);
        row["tokenid"] = name.as_str().into();
        row
    };
    if user.tokens.is_empty() { Value::Null } else { user.tokens.iter().map(named).collect::<Vec<_>>().into() }
}

/// `GET /access/users/{userid}/token`.
pub(super) fn token_list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    require_or_self(ctx, args.text("userid"), &["User.Modify"])?;
    let list = tokens(existing(ctx, args.text("userid"))?);
    Ok(if list.is_null() { json!([]) } else { list })
}

/// `GET /access/users/{userid}`.
pub(super) fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("userid");
    require(ctx, id, &["User.Modify", "Sys.Audit"])?;
    let user = existing(ctx, id)?;
    let mut row = row(user);
    row.insert("groups".to_owned(), json!(user.groups));
    let by_name: Map<String, Value> = user.tokens.iter().map(|(name, t)| (name.clone(), token_row(t))).collect();
    row.insert("tokens".to_owned(), if by_name.is_empty() { Value::Null } else { by_name.into() });
    Ok(row.into())
}

/// Takes over the options and groups of a request.
fn apply(ctx: &Ctx<'_>, user: &mut User, args: &Args, verb: &str) -> Result<(), Refusal> {
    for key in OPTIONS {
        match args.get(key) {
            Some("") => {
                user.config.remove(*key);
            }
            Some(value) => {
                user.config.insert((*key).to_owned(), value.to_owned());
            }
            None => {}
        }
    }
    if args.get("groups").is_some() && !args.on("append") {
        user.groups.clear();
    }
    for group in args.list("groups") {
        if !ctx.world.groups.contains_key(group) {
            return Err(Refusal::died(format!("{verb} user failed: no such group '{group}'")));
        }
        user.groups.insert(group.to_owned());
    }
    Ok(())
}

/// `POST /access/users`. A realm that does not exist is no obstacle.
pub(super) fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("userid");
    let realm = realm_of(id)?;
    ctx.require(&format!("/access/realm/{realm}"), &["Realm.AllocateUser"])?;
    if args.list("groups").is_empty() {
        ctx.require("/access/groups", &["User.Modify"])?;
    }
    require_groups(ctx, args)?;
    if ctx.world.users.contains_key(id) {
        return Err(Refusal::died(format!("create user failed: user '{id}' already exists")));
    }
    let mut user = User { password: args.get("password").map(str::to_owned), ..User::default() };
    user.config.insert("enable".to_owned(), "1".to_owned());
    apply(ctx, &mut user, args, "create")?;
    ctx.world.users.insert(id.to_owned(), user);
    Ok(Value::Null)
}

/// `PUT /access/users/{userid}`.
pub(super) fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("userid");
    if args.get("append").is_some() && args.get("groups").is_none() {
        return Err(Refusal::param("groups", "missing property - 'append' requires this property"));
    }
    require(ctx, id, &["User.Modify"])?;
    require_groups(ctx, args)?;
    let mut user = existing(ctx, id)?.clone();
    apply(ctx, &mut user, args, "update")?;
    ctx.world.users.insert(id.to_owned(), user);
    Ok(Value::Null)
}

/// `DELETE /access/users/{userid}`.
pub(super) fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("userid");
    let realm = realm_of(id)?;
    ctx.require(&format!("/access/realm/{realm}"), &["Realm.AllocateUser"])?;
    require(ctx, id, &["User.Modify"])?;
    ctx.world.users.remove(id);
    let of_token = format!("{id}!");
    ctx.world.acl.retain(|e| e.subject_type == "group" || (e.subject != id && !e.subject.starts_with(&of_token)));
    ctx.world.tickets.retain(|_, user| user != id);
    Ok(Value::Null)
}

/// `PUT /access/password`.
pub(super) fn password(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    if ctx.user.contains('!') {
        let text = "URI '/access/password' not available with API token, need proper ticket.";
        // The parenthesis is lost to a line break in PVE, too.
        return Err(Refusal::new(403, format!("Permission check failed ({text}")));
    }
    let id = args.text("userid");
    let realm = realm_of(id)?;
    if ctx.user != id {
        ctx.require(&format!("/access/realm/{realm}"), &["Realm.AllocateUser"])?;
        require(ctx, id, &["User.Modify"])?;
    }
    if id == "root@pam" && !ctx.is_root() {
        return Err(Refusal::forbidden("only root can change root's password"));
    }
    if args.get("confirmation-password").is_some_and(|own| !authentic(ctx.world, &ctx.user, own)) {
        return Err(Refusal::new(401, "authentication failure"));
    }
    let user = ctx.world.users.get_mut(id).ok_or_else(|| absent(id))?;
    user.password = Some(args.text("password").to_owned());
    Ok(Value::Null)
}

/// `GET /access/domains`.
pub(super) fn realms(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let row = |(realm, kind, comment): &(&str, &str, &str)| json!({ "realm": realm, "type": kind, "comment": comment });
    Ok(REALMS.iter().map(row).collect::<Vec<_>>().into())
}

/// `GET /access/domains/{realm}`.
pub(super) fn realm(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ctx.require_any("/access/realm", &["Realm.Allocate", "Sys.Audit"])?;
    let name = args.text("realm");
    let found = REALMS.iter().find(|(realm, ..)| *realm == name);
    let (_, kind, comment) = found.ok_or_else(|| Refusal::died(format!("domain '{name}' does not exist")))?;
    Ok(json!({ "type": kind, "comment": comment }))
}

/// `GET /access/tfa`; nobody here has a second factor.
pub(super) fn tfa(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(json!([]))
}

/// `GET /access/tfa/{userid}`.
pub(super) fn tfa_of(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    require_or_self(ctx, args.text("userid"), &["User.Modify", "Sys.Audit"])?;
    Ok(json!([]))
}
