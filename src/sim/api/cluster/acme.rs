//! ACME accounts. A simulated authority takes every account at once.

mod plugins;

use super::objects;
use super::route;
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::params::cluster::acme as p;
use crate::sim::request::{Args, Check, Refusal, Route};
use crate::sim::task::{Effect, End};
use crate::sim::world::World;
use serde_json::{Value, json};

const ACCOUNTS: &str = "cluster/acme/account";
/// Let's Encrypt's two directories, which PVE knows by name.
const DIRECTORIES: &[(&str, &str)] = &[
    ("Let's Encrypt V2", "https://acme-v02.api.letsencrypt.org/directory"),
    ("Let's Encrypt V2 Staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
];

/// The endpoints.
pub const ROUTES: &[Route] = &[
    route("GET", "/cluster/acme", &[], Check::User, index),
    route("GET", "/cluster/acme/account", &[], Check::User, list),
    route("POST", "/cluster/acme/account", &[p::NEW], Check::Root, create),
    route("GET", "/cluster/acme/account/{name}", &[p::NAME], Check::Root, get),
    route("PUT", "/cluster/acme/account/{name}", &[p::NAME, p::CHANGE], Check::Root, update),
    route("DELETE", "/cluster/acme/account/{name}", &[p::NAME], Check::Root, delete),
    route("GET", "/cluster/acme/plugins", &[p::PLUGINS], super::MODIFY, plugins::list),
    route("POST", "/cluster/acme/plugins", &[p::PLUGIN, p::PLUGIN_NEW], super::MODIFY, plugins::create),
    route("GET", "/cluster/acme/plugins/{id}", &[p::PLUGIN_ID], super::MODIFY, plugins::get),
    route("PUT", "/cluster/acme/plugins/{id}", &[p::PLUGIN, p::PLUGIN_CHANGE], super::MODIFY, plugins::update),
    route("DELETE", "/cluster/acme/plugins/{id}", &[p::PLUGIN_ID], super::MODIFY, plugins::delete),
    route("GET", "/cluster/acme/directories", &[], Check::User, directories),
];

/// What its tasks do.
pub const EFFECTS: &[Effect] = &[Effect { name: "cluster.acme", run: registered }];

fn index(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let names = ["account", "tos", "meta", "directories", "plugins", "challenge-schema"];
    Ok(names.iter().map(|n| json!({ "name": n })).collect())
}

fn directories(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(DIRECTORIES.iter().map(|(name, url)| json!({ "name": name, "url": url })).collect())
}

fn list(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(objects::all(ctx, ACCOUNTS).iter().map(|(name, _)| json!({ "name": name })).collect())
}

fn name(args: &Args) -> &str {
    args.get("name").unwrap_or("default")
}

fn known(ctx: &Ctx<'_>, args: &Args) -> Result<objects::Object, Refusal> {
    let text = format!("ACME account config file '{}' does not exist.", name(args));
    objects::get(ctx, ACCOUNTS, name(args)).ok_or_else(|| Refusal::param("name", text))
}

fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let account = known(ctx, args)?;
    let text = |key: &str| account.get(key).cloned().unwrap_or_default();
    let contact: Vec<String> =
        text("contact").split([',', ';', ' ']).filter(|c| !c.is_empty()).map(|c| format!("mailto:{c}")).collect();
    let mut out = json!({
        "account": { "status": "valid", "contact": contact },
        "directory": text("directory"), "location": text("location"),
    });
    if let Some(tos) = account.get("tos_url") {
        out["tos"] = tos.as_str().into();
    }
    Ok(out)
}

fn start(ctx: &mut Ctx<'_>, task_type: &str, told: Value) -> Result<Value, Refusal> {
    let node = ctx.world.entry_node.clone();
    Ok(ctx.start(NewTask::new(&node, task_type, "").takes_ms(2000).then("cluster.acme", told)))
}

fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    if objects::get(ctx, ACCOUNTS, name(args)).is_some() {
        let text = format!("ACME account config file '{}' already exists.", name(args));
        return Err(Refusal::param("name", text));
    }
    let mut account = objects::fields(args, &["name", "eab-kid", "eab-hmac-key"]);
    account.entry("directory".to_owned()).or_insert_with(|| DIRECTORIES[0].1.to_owned());
    let host = account["directory"].split('/').take(3).collect::<Vec<_>>().join("/");
    account.insert("location".to_owned(), format!("{host}/acme/acct/{}", ctx.world.new_pid()));
    start(ctx, "acmeregister", json!({ "name": name(args), "account": account }))
}

fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let mut account = known(ctx, args)?;
    account.extend(args.get("contact").map(|c| ("contact".to_owned(), c.to_owned())));
    start(ctx, "acmeupdate", json!({ "name": name(args), "account": account }))
}

fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    known(ctx, args)?;
    start(ctx, "acmedeactivate", json!({ "name": name(args) }))
}

/// The authority has answered.
fn registered(world: &mut World, told: &Value, lines: &mut Vec<String>) -> End {
    let name = told["name"].as_str().unwrap_or_default().to_owned();
    match told.get("account") {
        Some(account) => {
            world.table(ACCOUNTS).insert(name, account.clone());
        }
        None => {
            world.table(ACCOUNTS).remove(&name);
            lines.push("Removing account file".to_owned());
        }
    }
    End::Ok
}
