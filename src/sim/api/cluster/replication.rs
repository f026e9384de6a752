//! Replication jobs. They are kept and shown, not run: nothing in the simulator watches the calendar.

use super::objects::{self, Object};
use super::route;
use crate::sim::api::lxc::config as lxc;
use crate::sim::api::qemu;
use crate::sim::ctx::Ctx;
use crate::sim::params::cluster::replication as p;
use crate::sim::request::{Args, Check, Refusal, Route};
use crate::sim::volume::storage_of;
use crate::sim::world::{Guest, GuestType, World};
use serde_json::Value;

const JOBS: &str = "cluster/replication";
/// Hidden option: when a job that is marked for removal is gone.
const UNTIL: &str = "_until";
/// How long the removal of a job takes (the scheduler looks once a minute).
const REMOVAL_SECONDS: u64 = 60;
const NUMBERS: &[&str] = &["disable", "guest", "jobnum", "rate"];

/// The endpoints.
pub const ROUTES: &[Route] = &[
    route("GET", "/cluster/replication", &[], Check::User, list),
    route("POST", "/cluster/replication", &[p::JOB, p::NEW], Check::User, create),
    route("GET", "/cluster/replication/{id}", &[p::GET], Check::User, get),
    route("PUT", "/cluster/replication/{id}", &[p::JOB, p::CHANGE], Check::User, update),
    route("DELETE", "/cluster/replication/{id}", &[p::DELETE], Check::User, delete),
    route("GET", "/nodes/{node}/replication", &[p::ON_NODE], Check::User, on_node),
    route("GET", "/nodes/{node}/replication/{id}/status", &[p::GET], Check::User, status),
];

fn alive(ctx: &Ctx<'_>, job: &Object) -> bool {
    job.get(UNTIL).and_then(|t| t.parse::<u64>().ok()).is_none_or(|t| ctx.world.now() < t)
}

fn found(ctx: &Ctx<'_>, id: &str) -> Option<Object> {
    objects::get(ctx, JOBS, id).filter(|job| alive(ctx, job))
}

/// A job of a guest.
pub fn job_of(world: &World, vmid: u32) -> Option<String> {
    world.tables.get(JOBS).into_iter().flat_map(|t| t.keys()).find(|id| guest_of(id) == vmid).cloned()
}

/// Drops all jobs of a guest.
pub fn forget(world: &mut World, vmid: u32) {
    world.table(JOBS).retain(|id, _| guest_of(id) != vmid);
}

fn guest_of(id: &str) -> u32 {
    id.split('-').next().and_then(|g| g.parse().ok()).unwrap_or(0)
}

fn shown(id: &str, job: &Object) -> Value {
    let mut out = objects::typed(job, NUMBERS);
    out.remove(UNTIL);
    out.insert("id".to_owned(), id.into());
    out.into()
}

fn digest(ctx: &Ctx<'_>) -> String {
    objects::digest(ctx, &[JOBS])
}

fn list(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let jobs = objects::all(ctx, JOBS);
    let visible =
        jobs.iter().filter(|(id, job)| alive(ctx, job) && ctx.may(&format!("/vms/{}", guest_of(id)), &["VM.Audit"]));
    Ok(visible.map(|(id, job)| shown(id, job)).collect())
}

fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("id");
    let job = found(ctx, id).ok_or_else(|| Refusal::died(format!("no such replication job '{id}'")))?;
    ctx.require(&format!("/vms/{}", guest_of(id)), &["VM.Audit"])?;
    let mut out = shown(id, &job);
    out["digest"] = digest(ctx).into();
    Ok(out)
}

/// Every volume of the guest must be on a storage that can replicate, which is ZFS alone.
fn replicates(ctx: &Ctx<'_>, guest: &Guest) -> Result<(), Refusal> {
    let volumes: Vec<String> = match guest.guest_type {
        GuestType::Qemu => qemu::volumes(&guest.config),
        GuestType::Lxc => lxc::volumes(&guest.config).map(|(_, v)| v).collect(),
    };
    if volumes.is_empty() {
        return Err(Refusal::died("No replicatable volumes found"));
    }
    let zfs = |v: &str| ctx.world.storages.get(storage_of(v)).is_some_and(|s| s.storage_type == "zfspool");
    match volumes.iter().find(|v| !zfs(v)) {
        Some(volid) => Err(Refusal::died(format!("missing replicate feature on volume '{volid}'"))),
        None => Ok(()),
    }
}

fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (id, target, vmid) = (args.text("id"), args.text("target"), guest_of(args.text("id")));
    ctx.require(&format!("/vms/{vmid}"), &["VM.Replicate"])?;
    let guest = ctx.world.guests.get(&vmid);
    let guest = guest.ok_or_else(|| Refusal::died(format!("Guest '{vmid}' does not exist.")))?.clone();
    // A node that is in no cluster has no members, not even itself.
    if ctx.world.cluster.is_none() || !ctx.world.nodes.contains_key(target) {
        return Err(Refusal::died(format!("Target '{target}' does not exist.")));
    }
    let source = guest.node.clone();
    if let Some(other) = args.get("source").filter(|s| *s != source) {
        return Err(Refusal::died(format!(
            "Source '{other}' does not match current node of guest '{vmid}' ({source})"
        )));
    }
    if target == source {
        return Err(Refusal::died("Source and target must not be identical"));
    }
    replicates(ctx, &guest)?;
    if found(ctx, id).is_some() {
        return Err(Refusal::died(format!("replication job '{id}' already exists")));
    }
    let same = |job: &Object| job.get("target").is_some_and(|t| t == target);
    if objects::all(ctx, JOBS).iter().any(|(i, job)| guest_of(i) == vmid && alive(ctx, job) && same(job)) {
        let text = format!("replication job for guest '{vmid}' to target 'local/{target}' already exists");
        return Err(Refusal::died(text));
    }
    let mut job = objects::fields(args, &["id"]);
    job.insert("source".to_owned(), source);
    job.insert("guest".to_owned(), vmid.to_string());
    job.insert("jobnum".to_owned(), id.split('-').nth(1).unwrap_or("0").to_owned());
    objects::put(ctx, JOBS, id, &job);
    Ok(Value::Null)
}

fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("id");
    ctx.require(&format!("/vms/{}", guest_of(id)), &["VM.Replicate"])?;
    objects::unchanged(args, &digest(ctx))?;
    let mut job = found(ctx, id).ok_or_else(|| Refusal::died(format!("no such job '{id}'")))?;
    job.extend(objects::fields(args, &["id"]));
    objects::remove(args, &mut job, &[p::JOB, p::NEW], &["target", "type"])?;
    objects::put(ctx, JOBS, id, &job);
    Ok(Value::Null)
}

fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("id");
    ctx.require(&format!("/vms/{}", guest_of(id)), &["VM.Replicate"])?;
    if args.on("force") {
        if args.on("keep") {
            return Err(Refusal::param("keep", "conflicts with parameter 'force'"));
        }
        ctx.world.table(JOBS).remove(id);
        return Ok(Value::Null);
    }
    let mut job = found(ctx, id).ok_or_else(|| Refusal::died(format!("no such job '{id}'")))?;
    let how = if args.on("keep") { "local" } else { "full" };
    job.insert("remove_job".to_owned(), how.to_owned());
    job.insert(UNTIL.to_owned(), (ctx.world.now() + REMOVAL_SECONDS).to_string());
    objects::put(ctx, JOBS, id, &job);
    Ok(Value::Null)
}

/// A job as the node sees it that runs it: it has never run.
fn seen(id: &str, job: &Object) -> Value {
    let mut out = shown(id, job);
    for key in ["last_sync", "last_try", "next_sync", "fail_count", "duration"] {
        out[key] = 0.into();
    }
    out["vmtype"] = "qemu".into();
    out
}

fn on_node(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let wanted = |id: &str| args.get("guest").is_none_or(|g| g == guest_of(id).to_string());
    let jobs = objects::all(ctx, JOBS);
    let here = jobs.iter().filter(|(id, job)| {
        alive(ctx, job)
            && wanted(id)
            && job.get("source").is_some_and(|s| s == args.text("node"))
            && ctx.may(&format!("/vms/{}", guest_of(id)), &["VM.Audit"])
    });
    Ok(here.map(|(id, job)| with_type(ctx, seen(id, job), guest_of(id))).collect())
}

fn with_type(ctx: &Ctx<'_>, mut row: Value, vmid: u32) -> Value {
    if let Some(guest) = ctx.world.guests.get(&vmid) {
        row["vmtype"] = guest.guest_type.as_str().into();
    }
    row
}

fn status(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("id");
    let job = found(ctx, id).ok_or_else(|| Refusal::died(format!("no such replication job '{id}'")))?;
    ctx.require(&format!("/vms/{}", guest_of(id)), &["VM.Audit"])?;
    Ok(with_type(ctx, seen(id, &job), guest_of(id)))
}

#[cfg(test)]
mod tests {
    use crate::sim::api::testing::{refused, root};
    use crate::sim::baseline::{Baseline, build};
    use serde_json::json;

    #[test]
    fn a_job_lives_from_its_creation_to_a_minute_after_its_removal() {
        let world = &mut build(Baseline::Homelab);
        let job = json!({ "id": "8200-0", "type": "local", "target": "pve1" });
        let thin = refused(root(world, "POST /cluster/replication", &job));
        assert_eq!(thin, "missing replicate feature on volume 'local-lvm:vm-8200-disk-0'");
        if let Some(storage) = world.storages.get_mut("local-lvm") {
            storage.storage_type = "zfspool".to_owned();
        }
        root(world, "POST /cluster/replication", &job).expect("created");
        let again = refused(root(world, "POST /cluster/replication", &job));
        assert_eq!(again, "replication job '8200-0' already exists");
        root(world, "PUT /cluster/replication/8200-0", &json!({ "rate": "10", "comment": "x" })).expect("set");
        let seen = root(world, "GET /cluster/replication/8200-0", &json!({})).expect("there");
        assert_eq!((&seen["rate"], &seen["guest"], &seen["source"]), (&json!(10), &json!(8200), &json!("pve3")));
        root(world, "DELETE /cluster/replication/8200-0", &json!({})).expect("marked");
        let marked = root(world, "GET /cluster/replication/8200-0", &json!({})).expect("still there");
        assert_eq!(marked["remove_job"], "full");
        let later = world.clock_ms + 61_000;
        world.advance_to(later);
        assert_eq!(root(world, "GET /cluster/replication", &json!({})).expect("list"), json!([]));
    }
}
