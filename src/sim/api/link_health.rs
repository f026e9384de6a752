//! The health of a node: disks and pools as PVE's API tells of them, and what the node itself says through the host link. What a
//! test or an operator wants otherwise stands in tables, by node: `nodes/disks` (rows), `nodes/zfs` (pools with their `detail`), and
//! `nodes/health` (the program's text).

use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Check, Refusal, Route};
use crate::sim::verify::{Kind, Param, opt, req};
use serde_json::{Value, json};

const AUDIT: Check = Check::All("/", &["Sys.Audit"]);
const SMART: &[Param] = &[req("disk", Kind::Str), opt("healthonly", Kind::Bool)];

/// The endpoints.
pub const ROUTES: &[Route] = &[
    Route { method: "GET", path: "/link/{node}/health", params: &[], check: Check::User, run: health },
    Route { method: "GET", path: "/nodes/{node}/disks/smart", params: &[SMART], check: AUDIT, run: smart },
    Route { method: "GET", path: "/nodes/{node}/disks/zfs", params: &[], check: AUDIT, run: pools },
    Route { method: "GET", path: "/nodes/{node}/disks/zfs/{name}", params: &[], check: AUDIT, run: pool },
];

/// What a table holds for a node.
pub(super) fn told(ctx: &Ctx<'_>, table: &str, node: &str) -> Option<Value> {
    ctx.world.tables.get(table).and_then(|t| t.get(node)).cloned()
}

/// `GET /link/{node}/health`, as the node's program says it: one disk of a virtual machine, which knows no SMART.
fn health(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let usual = || {
        let disk = json!({"smartctl": {"exit_status": 4}, "device": {"name": "/dev/vda"}});
        format!("[disk /dev/vda]\n{disk}\n[sensors]\ncoretemp Package_id_0 temp 47000 100000\n[end]\n").into()
    };
    Ok(told(ctx, "nodes/health", args.text("node")).unwrap_or_else(usual))
}

/// `GET /nodes/{node}/disks/smart`: the member `smart` of the disk's row.
fn smart(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let rows = told(ctx, "nodes/disks", args.text("node")).unwrap_or_default();
    let row = rows.as_array().into_iter().flatten().find(|row| row["devpath"] == args.text("disk")).cloned();
    let found = row.map(|row| row["smart"].clone()).filter(|smart| !smart.is_null());
    Ok(found.unwrap_or_else(|| json!({"health": "UNKNOWN", "type": "text", "text": ""})))
}

/// `GET /nodes/{node}/disks/zfs`.
fn pools(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let mut rows = told(ctx, "nodes/zfs", args.text("node")).unwrap_or_else(|| json!([]));
    for row in rows.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        row.remove("detail");
    }
    Ok(rows)
}

/// `GET /nodes/{node}/disks/zfs/{name}`.
fn pool(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (rows, name) = (told(ctx, "nodes/zfs", args.text("node")).unwrap_or_default(), args.text("name"));
    let row = rows.as_array().into_iter().flatten().find(|row| row["name"] == name).cloned();
    let absent = || Refusal::died(format!("command '/sbin/zpool status -P {name}' failed: exit code 1"));
    row.map(|row| row["detail"].clone()).ok_or_else(absent)
}
