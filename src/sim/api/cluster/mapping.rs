//! Mappings: names for devices and directories that differ from node to node.

use super::objects::{self, Object};
use super::route;
use crate::pve::property::PropertyString;
use crate::sim::ctx::Ctx;
use crate::sim::params::cluster::mapping as p;
use crate::sim::request::{Args, Check, Refusal, Route};
use serde_json::{Map, Value, json};

/// What is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pci,
    Usb,
    Dir,
}

const READ: &[&str] = &["Mapping.Use", "Mapping.Modify", "Mapping.Audit"];
const WRITE: &[&str] = &["Mapping.Modify"];
const NUMBERS: &[&str] = &["live-migration-capable", "mdev"];

/// The endpoints.
pub const ROUTES: &[Route] = &[
    route("GET", "/cluster/mapping", &[], Check::User, index),
    route("GET", "/cluster/mapping/pci", &[p::LIST], Check::User, |c, a| list(c, a, Kind::Pci)),
    route("POST", "/cluster/mapping/pci", &[p::PCI, p::PCI_NEW], Check::All("/mapping/pci", WRITE), |c, a| {
        create(c, a, Kind::Pci)
    }),
    route("GET", "/cluster/mapping/pci/{id}", &[p::GET], Check::Any("/mapping/pci/{id}", READ), |c, a| {
        get(c, a, Kind::Pci)
    }),
    route(
        "PUT",
        "/cluster/mapping/pci/{id}",
        &[p::PCI, p::PCI_CHANGE, p::CHANGE],
        Check::All("/mapping/pci/{id}", WRITE),
        |c, a| update(c, a, Kind::Pci),
    ),
    route("DELETE", "/cluster/mapping/pci/{id}", &[p::GET], Check::All("/mapping/pci", WRITE), |c, a| {
        delete(c, a, Kind::Pci)
    }),
    route("GET", "/cluster/mapping/usb", &[p::LIST], Check::User, |c, a| list(c, a, Kind::Usb)),
    route("POST", "/cluster/mapping/usb", &[p::OTHER, p::USB_NEW], Check::All("/mapping/usb", WRITE), |c, a| {
        create(c, a, Kind::Usb)
    }),
    route("GET", "/cluster/mapping/usb/{id}", &[p::GET], Check::Any("/mapping/usb/{id}", READ), |c, a| {
        get(c, a, Kind::Usb)
    }),
    route(
        "PUT",
        "/cluster/mapping/usb/{id}",
        &[p::OTHER, p::USB_NEW, p::CHANGE],
        Check::All("/mapping/usb/{id}", WRITE),
        |c, a| update(c, a, Kind::Usb),
    ),
    route("DELETE", "/cluster/mapping/usb/{id}", &[p::GET], Check::All("/mapping/usb", WRITE), |c, a| {
        delete(c, a, Kind::Usb)
    }),
    route("GET", "/cluster/mapping/dir", &[p::LIST], Check::User, |c, a| list(c, a, Kind::Dir)),
    route("POST", "/cluster/mapping/dir", &[p::OTHER, p::DIR_NEW], Check::All("/mapping/dir", WRITE), |c, a| {
        create(c, a, Kind::Dir)
    }),
    route("GET", "/cluster/mapping/dir/{id}", &[p::GET], Check::Any("/mapping/dir/{id}", READ), |c, a| {
        get(c, a, Kind::Dir)
    }),
    route(
        "PUT",
        "/cluster/mapping/dir/{id}",
        &[p::OTHER, p::DIR_CHANGE, p::CHANGE],
        Check::All("/mapping/dir/{id}", WRITE),
        |c, a| update(c, a, Kind::Dir),
    ),
    route("DELETE", "/cluster/mapping/dir/{id}", &[p::GET], Check::All("/mapping/dir", WRITE), |c, a| {
        delete(c, a, Kind::Dir)
    }),
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Pci => "pci",
            Kind::Usb => "usb",
            Kind::Dir => "dir",
        }
    }

    fn table(self) -> &'static str {
        match self {
            Kind::Pci => "cluster/mapping/pci",
            Kind::Usb => "cluster/mapping/usb",
            Kind::Dir => "cluster/mapping/dir",
        }
    }

    /// What refusals call it.
    fn noun(self) -> &'static str {
        match self {
            Kind::Pci | Kind::Usb => "hardware",
            Kind::Dir => "directory",
        }
    }
}

fn index(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(["dir", "pci", "usb"].iter().map(|n| json!({ "name": n })).collect())
}

fn shown(ctx: &Ctx<'_>, kind: Kind, mapping: &Object) -> Map<String, Value> {
    let mut out = objects::typed(mapping, NUMBERS);
    objects::arrays(mapping, &["map"], &mut out);
    out.insert("type".to_owned(), kind.name().into());
    out.insert("digest".to_owned(), objects::digest(ctx, &[kind.table()]).into());
    out
}

fn list(ctx: &mut Ctx<'_>, args: &Args, kind: Kind) -> Result<Value, Refusal> {
    let local = ctx.world.entry_node.clone();
    let checked = args.get("check-node").map(|n| if n == "localhost" { local.as_str() } else { n });
    if let Some(other) = checked.filter(|n| *n != local) {
        return Err(Refusal::died(match kind {
            Kind::Usb => "Wrong node to check".to_owned(),
            Kind::Pci | Kind::Dir => format!("wrong node to check - {other} != {local}"),
        }));
    }
    let mut rows = Vec::new();
    for (id, mapping) in objects::all(ctx, kind.table()) {
        let path = format!("/mapping/{}/{id}", kind.name());
        if !READ.iter().any(|privilege| ctx.may(&path, &[privilege])) {
            continue;
        }
        let mut row = shown(ctx, kind, &mapping);
        if let Some(node) = checked {
            let here = nodes(&mapping).iter().any(|n| n == node);
            let warning = json!({ "severity": "warning", "message": format!("No mapping for node {node}.") });
            let found: Vec<Value> = if here { Vec::new() } else { vec![warning] };
            row.insert(if kind == Kind::Usb { "errors" } else { "checks" }.to_owned(), found.into());
        }
        row.insert("id".to_owned(), id.into());
        rows.push(Value::Object(row));
    }
    Ok(rows.into())
}

fn nodes(mapping: &Object) -> Vec<String> {
    let maps = mapping.get("map").into_iter().flat_map(|m| m.split('\0'));
    maps.filter_map(|m| PropertyString::parse(m, "").get("node").map(str::to_owned)).collect()
}

fn get(ctx: &mut Ctx<'_>, args: &Args, kind: Kind) -> Result<Value, Refusal> {
    let id = args.text("id");
    let mapping = objects::get(ctx, kind.table(), id);
    Ok(shown(ctx, kind, &mapping.ok_or_else(|| Refusal::died(format!("mapping '{id}' not found")))?).into())
}

/// A directory is mapped once a node.
fn once_a_node(kind: Kind, mapping: &Object) -> Result<(), Refusal> {
    let nodes = nodes(mapping);
    let times = |node: &String| nodes.iter().filter(|n| *n == node).count();
    match nodes.iter().find(|n| kind == Kind::Dir && times(n) > 1) {
        Some(node) => Err(Refusal::died(format!("Node '{node}' is specified {} times.", times(node)))),
        None => Ok(()),
    }
}

fn create(ctx: &mut Ctx<'_>, args: &Args, kind: Kind) -> Result<Value, Refusal> {
    let id = args.text("id");
    let mapping = objects::fields(args, &["id"]);
    once_a_node(kind, &mapping)?;
    if objects::get(ctx, kind.table(), id).is_some() {
        let text = format!("create {} mapping failed: {} ID '{id}' already defined", kind.noun(), kind.name());
        return Err(Refusal::died(text));
    }
    objects::put(ctx, kind.table(), id, &mapping);
    Ok(Value::Null)
}

fn update(ctx: &mut Ctx<'_>, args: &Args, kind: Kind) -> Result<Value, Refusal> {
    let id = args.text("id");
    let failed = |text: &str| Refusal::died(format!("update {} mapping failed: {text}", kind.noun()));
    objects::unchanged(args, &objects::digest(ctx, &[kind.table()])).map_err(|r| failed(&r.reason))?;
    let mapping = objects::get(ctx, kind.table(), id);
    let mut mapping = mapping.ok_or_else(|| failed(&format!("{} ID '{id}' does not exist", kind.name())))?;
    let known: &[&[crate::sim::verify::Param]] = &[if kind == Kind::Pci { p::PCI } else { p::OTHER }, p::PCI_CHANGE];
    objects::remove(args, &mut mapping, known, &["id", "map"]).map_err(|r| failed(&r.reason))?;
    mapping.extend(objects::fields(args, &["id"]));
    once_a_node(kind, &mapping)?;
    objects::put(ctx, kind.table(), id, &mapping);
    Ok(Value::Null)
}

/// Also of what is absent.
fn delete(ctx: &mut Ctx<'_>, args: &Args, kind: Kind) -> Result<Value, Refusal> {
    ctx.world.table(kind.table()).remove(args.text("id"));
    Ok(Value::Null)
}

#[cfg(test)]
mod tests {
    use crate::sim::api::testing::{refused, root};
    use crate::sim::baseline::{Baseline, build};
    use serde_json::json;

    #[test]
    fn a_mapping_is_made_changed_and_removed() {
        let world = &mut build(Baseline::Homelab);
        let map = json!({ "id": "gpu", "map": ["node=pve1,path=0000:01:00.0,id=10de:1234"], "mdev": "1" });
        root(world, "POST /cluster/mapping/pci", &map).expect("created");
        assert_eq!(
            refused(root(world, "POST /cluster/mapping/pci", &map)),
            "create hardware mapping failed: pci ID 'gpu' already defined"
        );
        let change = json!({ "map": ["node=pve1,path=0000:02:00.0,id=10de:1234"], "delete": "mdev" });
        root(world, "PUT /cluster/mapping/pci/gpu", &change).expect("changed");
        let seen = root(world, "GET /cluster/mapping/pci/gpu", &json!({})).expect("there");
        assert_eq!(seen["map"], json!(["node=pve1,path=0000:02:00.0,id=10de:1234"]));
        assert!(seen.get("mdev").is_none());
        root(world, "DELETE /cluster/mapping/pci/gpu", &json!({})).expect("removed");
        assert_eq!(refused(root(world, "GET /cluster/mapping/pci/gpu", &json!({}))), "mapping 'gpu' not found");
    }

    #[test]
    fn a_bad_map_is_refused_by_its_place() {
        let world = &mut build(Baseline::Homelab);
        let map = json!({ "id": "m1", "map": ["node=pve1,path=srv"] });
        let refusal = root(world, "POST /cluster/mapping/dir", &map).expect_err("refused");
        assert!(refusal["errors"]["map[0]"].as_str().is_some_and(|e| e.contains("absolute path")), "{refusal}");
    }
}
