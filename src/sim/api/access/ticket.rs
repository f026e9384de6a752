//! Log-in, and who may do what.

use crate::sim::ctx::{Ctx, digest_of};
use crate::sim::request::{Args, Refusal};
use crate::sim::rights;
use crate::sim::router::csrf_of;
use crate::sim::world::World;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The paths that are looked at even if no entry names them.
const USUAL_PATHS: &[&str] =
    &["/", "/access", "/access/groups", "/mapping", "/nodes", "/pool", "/sdn", "/storage", "/vms"];

/// `GET /access/permissions`.
pub(super) fn permissions(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let who = args.get("userid").unwrap_or(&ctx.user).to_owned();
    let own = who == ctx.user || who.strip_prefix(&ctx.user).is_some_and(|rest| rest.starts_with('!'));
    if !own {
        ctx.require("/access", &["Sys.Audit"])?;
    }
    if let Some(path) = args.get("path") {
        return Ok(json!({ path: marked(ctx.world, &who, path) }));
    }
    let all = effective(ctx.world, &who).into_keys().map(|path| {
        let privileges = marked(ctx.world, &who, &path);
        (path, privileges)
    });
    Ok(all.collect::<Map<_, _>>().into())
}

/// The privileges at a path: 1 if they hold below it too.
fn marked(world: &World, who: &str, path: &str) -> Value {
    let here = rights::privileges_at(world, who, path);
    let ends_here = world.acl.iter().any(|e| e.path == path && !e.propagate);
    let below = match ends_here {
        true => rights::privileges_at(world, who, &format!("{}/\0", path.trim_end_matches('/'))),
        false => here.clone(),
    };
    here.into_iter().map(|p| (p.clone(), u8::from(below.contains(&p)).into())).collect::<Map<_, _>>().into()
}

/// Everything that somebody may do, by path; paths without any right are left out.
fn effective(world: &World, who: &str) -> BTreeMap<String, BTreeSet<String>> {
    let of_acl = world.acl.iter().map(|e| e.path.as_str());
    USUAL_PATHS
        .iter()
        .copied()
        .chain(of_acl)
        .map(|path| (path.to_owned(), rights::privileges_at(world, who, path)))
        .filter(|(_, privileges)| !privileges.is_empty())
        .collect()
}

/// What a web interface is told about a user's rights.
fn capabilities(world: &World, who: &str) -> Value {
    let all = effective(world, who);
    let under = |root: &str, prefixes: &[&str], also: &[&str]| -> Value {
        let within = |path: &str| path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
        let wanted = |p: &&String| prefixes.iter().any(|x| p.starts_with(x)) || also.contains(&p.as_str());
        all.iter()
            .filter(|(path, _)| if root == "/" { *path == "/" } else { within(path) })
            .flat_map(|(_, privileges)| privileges.iter().filter(wanted))
            .map(|p| (p.clone(), 1.into()))
            .collect::<Map<_, _>>()
            .into()
    };
    json!({
        "access": under("/access", &[], &["User.Modify", "Group.Allocate", "Permissions.Modify"]),
        "dc": under("/", &["SDN."], &["Sys.Audit", "Sys.Modify"]),
        "mapping": under("/mapping", &["Mapping."], &["Permissions.Modify"]),
        "nodes": under("/nodes", &["Sys."], &["Permissions.Modify"]),
        "sdn": under("/sdn", &["SDN."], &["Permissions.Modify"]),
        "storage": under("/storage", &["Datastore."], &["Permissions.Modify"]),
        "vms": under("/vms", &["VM."], &["Permissions.Modify"]),
    })
}

/// `GET /access/ticket`, which exists for clients that probe it.
pub(super) fn dummy(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(Value::Null)
}

/// Whether a password, or a ticket in its place, is the user's.
pub(super) fn authentic(world: &World, user: &str, password: &str) -> bool {
    let Some(entry) = world.users.get(user) else { return false };
    let enabled = entry.config.get("enable").is_none_or(|e| e != "0");
    let expire = entry.config.get("expire").and_then(|e| e.parse::<u64>().ok()).unwrap_or(0);
    let known = entry.password.as_deref() == Some(password) || world.tickets.get(password).is_some_and(|u| u == user);
    enabled && (expire == 0 || expire > world.now()) && known
}

/// `POST /access/ticket`.
pub(super) fn login(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let needs = |field: &str, other: &str| {
        Err(Refusal::param(field, format!("missing property - '{other}' requires this property")))
    };
    match (args.get("path"), args.get("privs")) {
        (Some(_), None) => return needs("privs", "path"),
        (None, Some(_)) => return needs("path", "privs"),
        (Some(_), Some(_)) | (None, None) => {}
    }
    let name = args.text("username");
    let user = match args.get("realm") {
        Some(realm) => format!("{name}@{realm}"),
        None => name.to_owned(),
    };
    let failure = || Refusal::new(401, "authentication failure");
    if !authentic(ctx.world, &user, args.text("password")) {
        return Err(failure());
    }
    let mut answer = json!({ "username": user, "cap": capabilities(ctx.world, &user) });
    if let Some(path) = args.get("path") {
        // Only asks whether somebody else's password and rights are right; no new ticket.
        return match rights::allowed(ctx.world, &user, path, &args.list("privs"), false) {
            true => Ok(answer),
            false => Err(failure()),
        };
    }
    let salt = ctx.world.random().to_string();
    let ticket = format!("PVE:{user}:{:08X}::{}", ctx.world.now(), digest_of([(&user, &salt)]));
    answer["CSRFPreventionToken"] = csrf_of(&ticket).into();
    answer["ticket"] = ticket.as_str().into();
    if let Some(cluster) = &ctx.world.cluster
        && rights::allowed(ctx.world, &user, "/", &["Sys.Audit"], false)
    {
        answer["clustername"] = cluster.as_str().into();
    }
    ctx.world.tickets.insert(ticket, user);
    Ok(answer)
}
