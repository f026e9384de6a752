//! The endpoints, one file a noun.
//!
//! # How to add an endpoint
//!
//! 1. Parameters: a table in `sim/params/<noun>.rs`, `pub const CREATE: &[Param] = &[req("poolid", Kind::Str), …]` with
//!    the constructors of [`crate::sim::verify`] (`opt`, `req`, `many`, `format`, `at_least`, `between`) and the formats
//!    of [`crate::sim::params`]. Path placeholders need no entry unless [`crate::sim::params::path_param`] lacks them.
//! 2. A function `fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal>`. `args` are verified, all as text.
//!    Refuse with [`crate::sim::request::Refusal`] (`died` is 500, `param` is 400 about a field, `forbidden` is 403).
//!    Look at and change `ctx.world`. Simple objects live in `ctx.world.table("cluster/backup")`, one JSON value an id.
//!    Finer rights: `ctx.require("/vms/100", &["VM.Audit"])?`, `ctx.may(..)`.
//! 3. A line in the file's `ROUTES`: method, path template, `&[params::pool::CREATE]`, [`crate::sim::request::Check`],
//!    the function.
//! 4. A task: `ctx.start(NewTask::new(node, "vzdump", vmid).takes_ms(5000).holds(vmid).then("node.vzdump", json!({…})))`
//!    answers the UPID. What happens at its end is an [`crate::sim::task::Effect`] of that name in the file's `EFFECTS`
//!    (plain functions on the world, so that a saved world can go on). `lock_file` waits for another task's hold.
//! 5. Members beside `data` go to `ctx.extra["total"]`.
//! 6. A test beside it: `testing::{root, refused, ended}` are requests, refusals and finished tasks in one line each.
//!
//! Volumes: `ctx.world.allocate(&NewVolume { … })`, `free_volume`, `volume`, `storage_used`, `usable_storage`.
//! Digests: [`crate::sim::ctx::digest_of`], [`crate::sim::ctx::guest_digest`].

pub mod access;
pub mod bulk;
pub mod cluster;
pub mod folders;
pub mod guest_ssh;
pub mod link;
pub mod link_ct;
pub mod link_health;
pub mod link_journal;
pub mod link_mounts;
pub mod lxc;
pub mod node;
pub mod pool;
pub mod qemu;
pub mod references;
pub mod snapshot;
pub mod storage;

#[cfg(test)]
pub(in crate::sim) mod testing;

use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Check, Refusal, Route};
use crate::sim::task::Effect;
use serde_json::{Value, json};

/// The root of the tree.
const ROOT: &[Route] = &[Route { method: "GET", path: "/", params: &[], check: Check::User, run: index }];

fn index(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(["version", "cluster", "nodes", "storage", "access", "pools"].iter().map(|s| json!({"subdir": s})).collect())
}

/// Every endpoint.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    [
        ROOT,
        qemu::ROUTES,
        lxc::ROUTES,
        storage::ROUTES,
        pool::ROUTES,
        access::ROUTES,
        node::ROUTES,
        cluster::ROUTES,
        bulk::ROUTES,
        link_mounts::ROUTES,
        link_ct::ROUTES,
        link_journal::ROUTES,
        link_health::ROUTES,
    ]
    .into_iter()
    .flatten()
}

/// Every effect of a task.
pub fn effects() -> impl Iterator<Item = &'static Effect> {
    [
        qemu::EFFECTS,
        lxc::EFFECTS,
        storage::EFFECTS,
        pool::EFFECTS,
        access::EFFECTS,
        node::EFFECTS,
        cluster::EFFECTS,
        bulk::EFFECTS,
        snapshot::EFFECTS,
        crate::sim::inside::EFFECTS,
    ]
    .into_iter()
    .flatten()
}
