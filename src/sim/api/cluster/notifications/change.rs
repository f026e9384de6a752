//! Making, changing and removing endpoints and matchers.

use super::{KINDS, Kind, all, digest, found};
use crate::sim::api::cluster::objects::{self, Object};
use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use serde_json::Value;

fn bad(text: String) -> Refusal {
    Refusal::new(400, text)
}

/// Endpoints reach out of the cluster: writing them takes more than the mapping's right.
fn may_reach_out(ctx: &Ctx<'_>, kind: Kind) -> Result<(), Refusal> {
    let may = ctx.may("/", &["Sys.Audit", "Sys.Modify"]) || ctx.may("/", &["Sys.AccessNetwork"]);
    match kind == Kind::Matcher || may {
        true => Ok(()),
        false => Err(Refusal::new(403, "Permission check failed")),
    }
}

/// The options that are kept: secrets are not.
fn options(args: &Args, kind: Kind) -> Object {
    let mut object = objects::fields(args, &["name"]);
    match kind {
        Kind::Gotify => {
            object.remove("token");
        }
        Kind::Smtp => {
            object.remove("password");
        }
        Kind::Webhook => {
            if let Some(secrets) = object.get_mut("secret") {
                let name = |s: &str| s.split(',').find(|p| p.starts_with("name=")).unwrap_or_default().to_owned();
                *secrets = secrets.split('\0').map(name).collect::<Vec<_>>().join("\0");
            }
        }
        Kind::Sendmail | Kind::Matcher => {}
    }
    // What is off is not written.
    object.retain(|key, value| !(matches!(key.as_str(), "disable" | "invert-match") && value == "0"));
    object
}

/// What must hold of every object, whatever has been done to it.
fn sound(ctx: &Ctx<'_>, kind: Kind, object: &Object) -> Result<(), Refusal> {
    let mails = matches!(kind, Kind::Sendmail | Kind::Smtp);
    if mails && !object.contains_key("mailto") && !object.contains_key("mailto-user") {
        return Err(bad("must at least provide one recipient, either in mailto or in mailto-user".to_owned()));
    }
    for target in object.get("target").into_iter().flat_map(|t| t.split('\0')) {
        let known = KINDS.into_iter().filter(|k| *k != Kind::Matcher).any(|k| found(ctx, k, target).is_ok());
        if !known {
            return Err(Refusal::new(404, format!("target '{target}' does not exist")));
        }
    }
    Ok(())
}

pub(super) fn create(ctx: &mut Ctx<'_>, args: &Args, kind: Kind) -> Result<Value, Refusal> {
    may_reach_out(ctx, kind)?;
    let name = args.text("name");
    if KINDS.into_iter().any(|k| found(ctx, k, name).is_ok()) {
        return Err(bad(format!("Cannot create '{name}', an entity with the same name already exists")));
    }
    let object = options(args, kind);
    sound(ctx, kind, &object)?;
    objects::put(ctx, kind.table(), name, &object);
    Ok(Value::Null)
}

pub(super) fn update(ctx: &mut Ctx<'_>, args: &Args, kind: Kind) -> Result<Value, Refusal> {
    may_reach_out(ctx, kind)?;
    let name = args.text("name");
    if args.get("digest").is_some_and(|d| d != digest(ctx)) {
        let text = "detected modified configuration - file changed by other user? Try again.";
        return Err(bad(text.to_owned()));
    }
    let (mut object, _) = found(ctx, kind, name)?;
    for key in args.strings("delete") {
        object.remove(key);
    }
    let set = options(args, kind);
    for key in ["disable", "invert-match"] {
        if args.get(key) == Some("0") {
            object.remove(key);
        }
    }
    object.extend(set);
    sound(ctx, kind, &object)?;
    objects::put(ctx, kind.table(), name, &object);
    Ok(Value::Null)
}

/// The matchers that route to a target.
fn referrers(ctx: &Ctx<'_>, target: &str) -> Vec<String> {
    let routes = |o: &Object| o.get("target").is_some_and(|t| t.split('\0').any(|t| t == target));
    all(ctx, Kind::Matcher).into_iter().filter(|(_, o, _)| routes(o)).map(|(name, ..)| name).collect()
}

pub(super) fn delete(ctx: &mut Ctx<'_>, args: &Args, kind: Kind) -> Result<Value, Refusal> {
    let name = args.text("name");
    found(ctx, kind, name)?;
    let used_by = if kind == Kind::Matcher { Vec::new() } else { referrers(ctx, name) };
    if !used_by.is_empty() {
        return Err(bad(format!("cannot delete '{name}', referenced by: {}", used_by.join(", "))));
    }
    ctx.world.table(kind.table()).remove(name);
    Ok(Value::Null)
}

#[cfg(test)]
mod tests {
    use crate::sim::api::testing::{refused, root};
    use crate::sim::baseline::{Baseline, build};
    use serde_json::json;

    const BASE: &str = "/cluster/notifications";

    #[test]
    fn an_endpoint_that_a_matcher_names_stays() {
        let world = &mut build(Baseline::Homelab);
        let hook =
            json!({ "name": "hook", "method": "post", "url": "http://192.168.1.2/x", "secret": ["name=t,value=eA=="] });
        root(world, &format!("POST {BASE}/endpoints/webhook"), &hook).expect("created");
        let seen = root(world, &format!("GET {BASE}/endpoints/webhook/hook"), &json!({})).expect("there");
        assert_eq!(seen["secret"], json!(["name=t"]));
        let matcher = json!({ "name": "all", "target": ["hook", "nowhere"] });
        let unknown = refused(root(world, &format!("POST {BASE}/matchers"), &matcher));
        assert_eq!(unknown, "target 'nowhere' does not exist");
        root(world, &format!("POST {BASE}/matchers"), &json!({ "name": "all", "target": "hook" })).expect("created");
        let used = refused(root(world, &format!("DELETE {BASE}/endpoints/webhook/hook"), &json!({})));
        assert_eq!(used, "cannot delete 'hook', referenced by: all");
        root(world, &format!("DELETE {BASE}/matchers/all"), &json!({})).expect("removed");
        root(world, &format!("DELETE {BASE}/endpoints/webhook/hook"), &json!({})).expect("removed");
        let targets = root(world, &format!("GET {BASE}/targets"), &json!({})).expect("list");
        assert_eq!(targets.as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn what_is_built_in_can_be_changed_and_comes_back() {
        let world = &mut build(Baseline::Homelab);
        let path = format!("{BASE}/matchers/default-matcher");
        root(world, &format!("PUT {path}"), &json!({ "mode": "any", "disable": 1 })).expect("changed");
        let seen = root(world, &format!("GET {path}"), &json!({})).expect("there");
        assert_eq!((&seen["origin"], &seen["disable"]), (&json!("modified-builtin"), &json!(1)));
        root(world, &format!("DELETE {path}"), &json!({})).expect("removed");
        assert_eq!(root(world, &format!("GET {path}"), &json!({})).expect("there")["origin"], "builtin");
    }
}
