//! ACME challenge plugins: how a node shows that a name is its own. `standalone` is built in.

use crate::sim::api::cluster::objects::{self, Object};
use crate::sim::ctx::Ctx;
use crate::sim::params::cluster::acme as p;
use crate::sim::request::{Args, Refusal};
use serde_json::Value;

const PLUGINS: &str = "cluster/acme/plugins";
const NUMBERS: &[&str] = &["disable", "validation-delay"];
const BUILT_IN: &str = "standalone";

fn all(ctx: &Ctx<'_>) -> Vec<(String, Object)> {
    let mut out = objects::all(ctx, PLUGINS);
    if !out.iter().any(|(id, _)| id == BUILT_IN) {
        out.push((BUILT_IN.to_owned(), [("type".to_owned(), BUILT_IN.to_owned())].into()));
    }
    out
}

fn found(ctx: &Ctx<'_>, id: &str) -> Option<Object> {
    all(ctx).into_iter().find(|(own, _)| own == id).map(|(_, plugin)| plugin)
}

fn shown(ctx: &Ctx<'_>, id: &str, plugin: &Object) -> Value {
    let mut out = objects::typed(plugin, NUMBERS);
    out.insert("plugin".to_owned(), id.into());
    out.insert("digest".to_owned(), objects::digest(ctx, &[PLUGINS]).into());
    out.into()
}

pub(super) fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let wanted = |plugin: &Object| args.get("type").is_none_or(|t| plugin.get("type").is_some_and(|own| own == t));
    Ok(all(ctx).iter().filter(|(_, plugin)| wanted(plugin)).map(|(id, plugin)| shown(ctx, id, plugin)).collect())
}

pub(super) fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("id");
    let plugin = found(ctx, id).ok_or_else(|| Refusal::died(format!("ACME plugin '{id}' not defined")))?;
    Ok(shown(ctx, id, &plugin))
}

pub(super) fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("id");
    if args.text("type") == "dns" && args.get("api").is_none() {
        return Err(Refusal::died("missing value for required option 'api'"));
    }
    if found(ctx, id).is_some() {
        return Err(Refusal::died(format!("ACME plugin ID '{id}' already exists")));
    }
    let mut plugin = objects::fields(args, &["id"]);
    plugin.extend(args.get("nodes").map(|n| ("nodes".to_owned(), n.to_owned())));
    objects::put(ctx, PLUGINS, id, &plugin);
    Ok(Value::Null)
}

pub(super) fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("id");
    objects::unchanged(args, &objects::digest(ctx, &[PLUGINS]))?;
    let plugin = found(ctx, id);
    let mut plugin = plugin.ok_or_else(|| Refusal::died(format!("ACME plugin ID '{id}' does not exist")))?;
    objects::remove(args, &mut plugin, &[p::PLUGIN, p::PLUGIN_NEW], &["id", "type", "api"])?;
    plugin.extend(objects::fields(args, &["id"]));
    objects::put(ctx, PLUGINS, id, &plugin);
    Ok(Value::Null)
}

pub(super) fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ctx.world.table(PLUGINS).remove(args.text("id"));
    Ok(Value::Null)
}

#[cfg(test)]
mod tests {
    use crate::sim::api::testing::{refused, root};
    use crate::sim::baseline::{Baseline, build};
    use serde_json::json;

    #[test]
    fn a_plugin_is_made_changed_and_removed() {
        let world = &mut build(Baseline::Homelab);
        let plugin =
            json!({ "id": "dns1", "type": "dns", "api": "cf", "data": "Q0ZfVG9rZW49eA==", "validation-delay": 60 });
        root(world, "POST /cluster/acme/plugins", &plugin).expect("created");
        let again = refused(root(world, "POST /cluster/acme/plugins", &plugin));
        assert_eq!(again, "ACME plugin ID 'dns1' already exists");
        root(world, "PUT /cluster/acme/plugins/dns1", &json!({ "delete": "validation-delay" })).expect("changed");
        let seen = root(world, "GET /cluster/acme/plugins/dns1", &json!({})).expect("there");
        assert_eq!((seen.get("validation-delay"), &seen["api"]), (None, &json!("cf")));
        root(world, "DELETE /cluster/acme/plugins/dns1", &json!({})).expect("removed");
        let list = root(world, "GET /cluster/acme/plugins", &json!({})).expect("list");
        assert_eq!(list.as_array().map(Vec::len), Some(1), "one is built in");
    }
}
