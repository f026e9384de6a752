//! The host link to a node: `pct create`, which is what PVE's API does, as root@pam, and it waits for the end of its task.

use crate::sim::api::link_mounts::{exits, operation};
use crate::sim::api::lxc::create::create as by_api;
use crate::sim::ctx::Ctx;
use crate::sim::params::lxc;
use crate::sim::request::{Args, Check, Refusal, Route};
use serde_json::Value;

/// What `pct` exits with when something dies in it.
const DIED: u8 = 255;

/// The endpoints.
pub const ROUTES: &[Route] = &[Route {
    method: "POST",
    path: "/link/{node}/pct",
    params: &[lxc::CREATE, lxc::CONFIG],
    check: Check::User,
    run: create,
}];

/// `POST /link/{node}/pct`.
fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    operation("POST", args, "pct")?;
    // Whoever asks through the link is root on the node.
    let asker = std::mem::replace(&mut ctx.user, "root@pam".to_owned());
    let answer = by_api(ctx, args);
    ctx.user = asker;
    let upid = answer.map_err(|refusal| exits(DIED, refusal.reason.trim()))?;
    let task = |ctx: &Ctx<'_>| ctx.world.tasks.iter().find(|t| upid == t.upid.as_str()).cloned();
    if let Some(task) = task(ctx) {
        ctx.world.advance_to(task.due_ms);
    }
    match task(ctx) {
        Some(task) if task.exit_status == "OK" || task.exit_status.starts_with("WARNINGS") => Ok("".into()),
        Some(task) => Err(exits(DIED, task.exit_status)),
        None => Err(exits(DIED, "its task is gone")),
    }
}
