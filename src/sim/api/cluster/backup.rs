//! Backup jobs. They are kept and shown, not run: nothing in the simulator watches the calendar.

use super::objects::{self, Object};
use super::route;
use crate::pve::property::PropertyString;
use crate::sim::api::lxc::config::{is_mount, volume_of};
use crate::sim::ctx::Ctx;
use crate::sim::params::cluster::backup as p;
use crate::sim::request::{Args, Check, Refusal, Route};
use crate::sim::world::{Guest, GuestType, World};
use serde_json::{Map, Value, json};

const JOBS: &str = "cluster/backup";
/// Hidden option: jobs are shown in the order in which they were made.
const ORDER: &str = "_order";
const NUMBERS: &[&str] = &[
    "all",
    "bwlimit",
    "enabled",
    "ionice",
    "lockwait",
    "pigz",
    "protected",
    "quiet",
    "remove",
    "repeat-missed",
    "stdexcludes",
    "stop",
    "stopwait",
    "zstd",
];

/// The endpoints.
pub const ROUTES: &[Route] = &[
    route("GET", "/cluster/backup", &[], super::AUDIT, list),
    route("POST", "/cluster/backup", &[p::VZDUMP, p::JOB, p::ID], super::MODIFY, create),
    route("GET", "/cluster/backup/{id}", &[], super::AUDIT, get),
    route("PUT", "/cluster/backup/{id}", &[p::VZDUMP, p::JOB, p::DELETE], super::MODIFY, update),
    route("DELETE", "/cluster/backup/{id}", &[], super::MODIFY, delete),
    route("GET", "/cluster/backup/{id}/included_volumes", &[], super::AUDIT, included),
    route("GET", "/cluster/backup-info/not-backed-up", &[], Check::User, not_backed_up),
    route("GET", "/cluster/jobs/schedule-analyze", &[p::ANALYZE], Check::User, analyze),
];

fn row(id: &str, job: &Object) -> Map<String, Value> {
    let mut out = objects::typed(job, NUMBERS);
    out.remove(ORDER);
    for key in ["prune-backups", "fleecing", "performance"] {
        if let Some(text) = job.get(key) {
            let parts = PropertyString::parse(text, "enabled");
            let object: Map<String, Value> = parts.iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
            out.insert(key.to_owned(), object.into());
        }
    }
    out.insert("id".to_owned(), id.into());
    out.insert("type".to_owned(), "vzdump".into());
    out
}

fn list(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let now = ctx.world.now();
    let mut jobs = objects::all(ctx, JOBS);
    jobs.sort_by_key(|(_, job)| job.get(ORDER).cloned());
    let rows = jobs.into_iter().map(|(id, job)| {
        let mut out = row(&id, &job);
        // Only a rough guess: the next midnight.
        if job.get("enabled").is_none_or(|e| e == "1") {
            out.insert("next-run".to_owned(), ((now / 86_400 + 1) * 86_400).into());
        }
        Value::Object(out)
    });
    Ok(rows.collect::<Vec<_>>().into())
}

fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("id");
    match objects::get(ctx, JOBS, id) {
        Some(job) => Ok(row(id, &job).into()),
        None => Err(Refusal::param("id", format!("No such job '{id}'"))),
    }
}

/// What a job backs up must be said in exactly one way; the refusal is a 400 within a 500.
fn check(job: &Object) -> Result<(), Refusal> {
    if job.contains_key("exclude") && job.contains_key("vmid") {
        return Err(nested());
    }
    let named = ["vmid", "all", "pool"].iter().filter(|k| job.get(**k).is_some_and(|v| v != "0")).count();
    match named {
        1 => Ok(()),
        _ => Err(nested()),
    }
}

/// A job is written by whoever may change the storage that it writes to (`assert_param_permission_create`, `…_update`).
fn may_write(ctx: &Ctx<'_>, storage: &str) -> Result<(), Refusal> {
    if ctx.is_root() { Ok(()) } else { ctx.require(&format!("/storage/{storage}"), &["Datastore.Allocate"]) }
}

fn nested() -> Refusal {
    Refusal::died("400 Parameter verification failed.")
}

fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    if args.get("schedule").is_none() && args.get("starttime").is_none() {
        return Err(Refusal::param("schedule", "neither 'starttime' nor 'schedule' were set"));
    }
    may_write(ctx, args.get("storage").unwrap_or("local"))?;
    let id = args.get("id").map_or_else(|| ctx.world.new_uuid(), str::to_owned);
    if objects::get(ctx, JOBS, &id).is_some() {
        return Err(Refusal::died(format!("Job '{id}' already exists")));
    }
    let mut job = objects::fields(args, &["id"]);
    // A job's node is a part of it, unlike that of other requests.
    job.extend(args.get("node").map(|n| ("node".to_owned(), n.to_owned())));
    if let Some(time) = job.remove("starttime") {
        let days = job.remove("dow").filter(|d| d.split(',').count() < 7);
        job.insert("schedule".to_owned(), days.map_or_else(|| time.clone(), |d| format!("{d} {time}")));
    }
    job.entry("enabled".to_owned()).or_insert_with(|| "1".to_owned());
    check(&job)?;
    let order = ctx.world.new_pid();
    job.insert(ORDER.to_owned(), format!("{order:012}"));
    objects::put(ctx, JOBS, &id, &job);
    Ok(Value::Null)
}

fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("id");
    let mut job = objects::get(ctx, JOBS, id).ok_or_else(|| Refusal::died("no such vzdump job"))?;
    for storage in [args.get("storage"), job.get("storage").map(String::as_str).or(Some("local"))] {
        storage.map_or(Ok(()), |storage| may_write(ctx, storage))?;
    }
    for key in args.list("delete") {
        // `enabled` and `schedule` are changed, and never taken out (`PVE::API2::Backup`, `$deletable`).
        let known =
            p::VZDUMP.iter().any(|param| param.declares(key)) || matches!(key, "comment" | "node" | "repeat-missed");
        if !known {
            return Err(nested());
        }
        job.remove(key);
    }
    let mut set = objects::fields(args, &["id"]);
    set.extend(args.get("node").map(|n| ("node".to_owned(), n.to_owned())));
    // One way of naming guests takes the place of another.
    for key in ["vmid", "all", "pool"] {
        if ["vmid", "all", "pool"].iter().any(|other| *other != key && set.contains_key(*other)) {
            job.remove(key);
        }
    }
    if set.contains_key("vmid") || set.contains_key("pool") {
        job.remove("exclude");
    }
    job.extend(set);
    check(&job)?;
    objects::put(ctx, JOBS, id, &job);
    Ok(Value::Null)
}

fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    match ctx.world.table(JOBS).remove(args.text("id")) {
        Some(_) => Ok(Value::Null),
        None => Err(nested()),
    }
}

/// Takes a guest off the lists of all jobs; a job that named no other goes with it.
pub fn forget(world: &mut World, vmid: u32) {
    let gone = vmid.to_string();
    world.table(JOBS).retain(|_, job| {
        for key in ["vmid", "exclude"] {
            let Some(text) = job[key].as_str() else { continue };
            let rest: Vec<&str> = text.split(',').filter(|v| *v != gone).collect();
            if rest.is_empty() && key == "vmid" {
                return false;
            }
            job[key] = rest.join(",").into();
        }
        true
    });
}

/// Whether a job takes a guest.
fn takes(ctx: &Ctx<'_>, job: &Object, vmid: u32, guest: &Guest) -> bool {
    let lists = |key: &str| job.get(key).is_some_and(|l| l.split(',').any(|v| v == vmid.to_string()));
    let on_node = job.get("node").is_none_or(|n| *n == guest.node);
    on_node
        && match (job.get("pool"), job.get("all").is_some_and(|a| a == "1")) {
            (Some(pool), _) => ctx.world.pool_of(vmid) == Some(pool),
            (None, true) => !lists("exclude"),
            (None, false) => lists("vmid"),
        }
}

fn included(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let id = args.text("id");
    let job = objects::get(ctx, JOBS, id).ok_or_else(|| Refusal::param("id", format!("No such job '{id}'")))?;
    let mut guests = Vec::new();
    for (vmid, guest) in ctx.world.guests.iter().filter(|(v, g)| takes(ctx, &job, **v, g)) {
        let lxc = guest.guest_type == GuestType::Lxc;
        let disk = |key: &str, text: &str| match lxc {
            true => is_mount(key),
            false => {
                let bus = key.trim_end_matches(|c: char| c.is_ascii_digit());
                matches!(bus, "scsi" | "virtio" | "sata" | "ide" | "efidisk" | "tpmstate")
                    && key != bus
                    && !text.contains("media=cdrom")
            }
        };
        let children = guest.config.iter().filter(|(k, v)| disk(k, v)).map(|(key, text)| {
            let parts = PropertyString::parse(text, "volume");
            let backup = parts.get("backup");
            let (included, reason) = match (lxc, key.as_str(), backup) {
                (true, "rootfs", _) => (true, "rootfs"),
                (true, _, Some("1")) => (true, "enabled"),
                (true, ..) => (false, "disabled"),
                (false, _, Some("0")) => (false, "backup=no"),
                (false, ..) => (true, "backup=yes"),
            };
            json!({
                "id": format!("{vmid}:{key}"), "name": volume_of(text), "leaf": 1, "included": u8::from(included),
                "reason": reason,
            })
        });
        guests.push(json!({
            "id": vmid, "name": super::resources::name(*vmid, guest), "type": guest.guest_type.as_str(), "leaf": 0,
            "children": children.collect::<Vec<_>>(),
        }));
    }
    Ok(json!({ "children": guests }))
}

fn not_backed_up(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let jobs = objects::all(ctx, JOBS);
    let free = ctx.world.guests.iter().filter(|(v, g)| !jobs.iter().any(|(_, j)| takes(ctx, j, **v, g)));
    let visible = free.filter(|(v, _)| ctx.may(&format!("/vms/{v}"), &["VM.Audit"]));
    let row = |(vmid, guest): (&u32, &Guest)| json!({ "vmid": vmid, "name": super::resources::name(*vmid, guest), "type": guest.guest_type.as_str() });
    Ok(visible.map(row).collect::<Vec<_>>().into())
}

/// Only steps of an hour, a day or a week are known; anything finer counts as daily.
fn analyze(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let step = match args.text("schedule") {
        "hourly" => 3600,
        "weekly" => 7 * 86_400,
        _ => 86_400,
    };
    let count = args.int("iterations").unwrap_or(10);
    let start = args.int("starttime").and_then(|s| u64::try_from(s).ok()).unwrap_or_else(|| ctx.world.now());
    let mut at = start / step * step;
    let mut rows = Vec::new();
    for _ in 0..count {
        at += step;
        let stamp = i64::try_from(at).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
        let text = stamp.map_or_else(String::new, |t| t.strftime("%a %b %e %H:%M:%S %Y").to_string());
        rows.push(json!({ "timestamp": at, "utc": text }));
    }
    Ok(rows.into())
}
