//! The kind `BackupPolicy`.

use crate::base::id::VmId;
use crate::kinds::backup_policy::members::{Members, Named, members};
use crate::kinds::backup_policy::spec::BackupPolicySpec;
use crate::kinds::backup_policy::{fresh, job};
use crate::kinds::backups;
use crate::kinds::objects::content::member;
use crate::kinds::objects::object::{Object, Seen};
use crate::kinds::objects::refuse::ownership;
use crate::kinds::objects::row::query;
use crate::kinds::objects::storage::job_plan;
use crate::kinds::objects::table::{self, BackupJob};
use crate::pve::request::Query;
use crate::resource::index::{Index, number};
use crate::resource::kind::{DecodeError, Kind, Labelled, Listed, PlanContext};
use crate::resource::marker::Marker;
use crate::resource::observation::Observation;
use crate::resource::privilege::{require, require_any};
use crate::resource::reference::{Claim, Identity, Reference};
use crate::resource::step::{Action, Delta, Impact, Note, Problem, Step};
use crate::schedule::slots::Schedule;
use serde_json::Value;
use std::sync::Arc;

/// The kind.
pub struct BackupPolicyKind;

fn id_of(identity: &Identity) -> &str {
    match identity {
        Identity::Object { id, .. } => id,
        Identity::Guest { .. } | Identity::Pool(_) => unreachable!("a policy is addressed by its job's id"),
    }
}

impl Kind for BackupPolicyKind {
    const NAME: &'static str = job::NAME;
    type Spec = BackupPolicySpec;
    type Observed = Seen;

    fn refs(spec: &BackupPolicySpec) -> Vec<Reference> {
        let storage = table::reference("Storage", &spec.storage, "storage");
        let fleecing = spec.fleecing.as_ref().and_then(|f| f.storage.as_deref());
        let fleecing = fleecing.map(|name| table::reference("Storage", name, "fleecing.storage"));
        let pools = spec.selector.pools.iter().map(|pool| table::reference("Pool", pool, "selector.pools"));
        std::iter::once(storage).chain(fleecing).chain(pools).collect()
    }

    fn check(spec: &BackupPolicySpec) -> Vec<Problem> {
        let mut problems = Vec::new();
        // PVE's own parser says so too, but only when the job is written.
        if let Err(why) = Schedule::calendar(&spec.schedule, None) {
            problems.push(Problem::new("schedule", why).help(
                "PVE's calendar events: `03:30`, `mon..fri 22:00`, `*-*-01 04:00`, `daily`; cron is none of them",
            ));
        }
        if spec.fleecing.as_ref().is_some_and(|f| f.enabled && f.storage.is_none()) {
            problems.push(
                Problem::new("fleecing", "fleecing is on, and no `storage` says where")
                    .help("PVE fails each backup without it: name a fast storage that every node has"),
            );
        }
        problems
    }

    fn choose(spec: &mut BackupPolicySpec, guests: &[Labelled]) {
        spec.selector.choose(guests);
    }

    fn claim(name: &str, _spec: &BackupPolicySpec) -> Claim {
        Claim::Object { kind: Self::NAME, id: job::id(name) }
    }

    fn lists() -> Vec<Query> {
        job::ROW.lists()
    }

    fn reads(_identity: &Identity, spec: Option<&BackupPolicySpec>, index: &Index) -> Vec<Query> {
        let looked = spec.filter(|spec| spec.max_age.is_some());
        looked.map(|spec| backups::queries(index, Some(&spec.storage))).unwrap_or_default()
    }

    fn list(seen: &Observation) -> Vec<Listed> {
        let Some(Ok(jobs)) = seen.index.lists.get(&query(job::ROW.list)) else { return Vec::new() };
        let ours = |row: &Value| {
            let marker = Marker::split(&member(row, "comment")).1.filter(|m| m.owner.kind == Self::NAME)?;
            Some(Listed {
                name: marker.owner.name.clone(),
                identity: Identity::Object { kind: Self::NAME, id: member(row, "id") },
                marker: Some(Arc::new(marker)),
            })
        };
        jobs.as_array().into_iter().flatten().filter_map(ours).collect()
    }

    fn columns(listed: &Listed, seen: &Observation) -> Vec<(&'static str, String)> {
        let observed = Self::decode(&listed.identity, seen).ok().flatten();
        let of = |key: &str| observed.as_ref().map_or_else(String::new, |o| member(&o.row, key));
        let guests = match (of("all").as_str(), of("pool"), job::named(observed.as_ref()).0.len()) {
            ("1", _, _) => "all".to_owned(),
            (_, pool, _) if !pool.is_empty() => format!("pool {pool}"),
            (_, _, count) => count.to_string(),
        };
        let next = observed.as_ref().and_then(|o| number(&o.row["next-run"])).and_then(|n| i64::try_from(n).ok());
        let next = next.and_then(|n| jiff::Timestamp::from_second(n).ok()).map(|t| t.to_string());
        vec![
            ("ID", id_of(&listed.identity).to_owned()),
            ("SCHEDULE", of("schedule")),
            ("STORAGE", of("storage")),
            ("GUESTS", guests),
            ("NEXT", next.unwrap_or_default()),
        ]
    }

    fn decode(identity: &Identity, seen: &Observation) -> Result<Option<Seen>, DecodeError> {
        Object::<BackupJob>::decode(identity, seen)
    }

    fn marker(observed: &Seen) -> Option<&Marker> {
        observed.marker.as_ref()
    }

    fn plan(cx: &PlanContext<'_>, desired: Option<&BackupPolicySpec>, observed: Option<&Seen>) -> Delta {
        let Some(spec) = desired else { return job_plan(&job::ROW, cx, None, observed) };
        let (listed, left_out) = job::named(observed);
        let Named { members, kept } = members(cx, spec, &listed, &left_out);
        let mut delta = match &members {
            Members::These(all) if all.is_empty() => nobody(cx, spec, observed),
            Members::These(_) | Members::Pool(_) | Members::Everyone(_) => {
                job_plan(&job::ROW, cx, Some(job::spec(spec, &members)), observed)
            }
        };
        delta.problems.extend(refusals(cx, spec));
        privileges(cx, spec, &members, &mut delta);
        let (joins, leaves) = job::moved(&delta.changes);
        for (who, what) in [(joins, "comes to be backed up"), (leaves, "is backed up no more")] {
            delta.notes.extend(who.into_iter().map(|vmid| Note::Info(format!("{} {what}", called(cx, vmid)))));
        }
        let stays = |(vmid, why): (&VmId, &&str)| {
            Note::Info(format!("{} keeps its place in the job: {why}", called(cx, *vmid)))
        };
        delta.notes.extend(kept.iter().map(stays));
        job::say(&mut delta.changes);
        if let Some((note, newest)) = fresh::fresh(cx, spec, &kept) {
            delta.notes.push(note);
            delta.newest = newest;
        }
        delta
    }

    fn export(observed: &Seen) -> Value {
        job::export(observed)
    }
}

fn called(cx: &PlanContext<'_>, vmid: VmId) -> String {
    match cx.seen.index.guests.get(&vmid) {
        Some(row) if !row.name.is_empty() => format!("{} ({vmid})", row.name),
        Some(_) | None => format!("guest {vmid}"),
    }
}

/// Nobody is chosen: PVE makes no job that names nobody, so there is none.
fn nobody(cx: &PlanContext<'_>, spec: &BackupPolicySpec, observed: Option<&Seen>) -> Delta {
    let mut delta = Delta::none(cx.resource.clone(), Some(cx.identity.clone()));
    let id = id_of(cx.identity);
    let to_come = |one: &&Labelled| match cx.identities.get(&one.resource) {
        Some(Identity::Guest { vmid, .. }) => !cx.seen.index.guests.contains_key(vmid),
        Some(Identity::Pool(_) | Identity::Object { .. }) | None => false,
    };
    let Some(seen) = observed else {
        if let Some(first) = spec.selector.chosen.iter().find(to_come) {
            delta.action = Action::Create;
            delta.notes.push(Note::Waiting(first.resource.clone()));
            return delta;
        }
        delta.notes.push(Note::Info("it chooses no guest, so there is no job".to_owned()));
        return delta;
    };
    if let Some(problem) = ownership(&job::ROW, cx, id, seen) {
        delta.problems.push(problem);
        return delta;
    }
    delta.action = Action::Update;
    delta.notes.push(Note::Info("it chooses no guest any more; there is a job again when it does".to_owned()));
    require(cx, &mut delta, job::ROW.modify.0, job::ROW.modify.1);
    let call = job::ROW.call(&job::ROW.delete, id);
    delta.steps.push(Step::new(format!("delete backup job {id}"), call, Impact::None).limit(job::ROW.limit.clone()));
    delta
}

/// What stands against a policy, by what else there is.
fn refusals(cx: &PlanContext<'_>, spec: &BackupPolicySpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    let index = &cx.seen.index;
    let declared = |pool: &str| cx.identities.values().any(|i| matches!(i, Identity::Pool(id) if id == pool));
    for pool in spec.selector.pools.iter().filter(|p| !index.pools.contains_key(*p) && !declared(p)) {
        problems.push(
            Problem::new("selector.pools", format!("there is no pool `{pool}`"))
                .help("no manifest of the set declares it, and it is not on the cluster: declare a `kind: Pool`, or mend the name"),
        );
    }
    if let Some(node) = spec.node.as_ref().filter(|node| !index.nodes.contains_key(*node)) {
        let known = index.nodes.keys().cloned().collect::<Vec<_>>().join(", ");
        problems.push(Problem::new("node", format!("there is no node `{node}`")).help(format!("nodes: {known}")));
    }
    let storages = index.lists.get(&query("/storage")).and_then(|list| list.as_ref().ok());
    let storages: Vec<&Value> = storages.and_then(|l| l.as_array()).into_iter().flatten().collect();
    let of_name = |name: &str| storages.iter().copied().find(|row| member(row, "storage") == name);
    let Some(storage) = of_name(&spec.storage) else { return problems };
    let name = &spec.storage;
    if !member(storage, "content").split(',').any(|c| c == "backup") && !table::is_declared(cx, "Storage", name) {
        let fit = storages.iter().filter(|row| member(row, "content").split(',').any(|c| c == "backup"));
        let fit = fit.map(|row| member(row, "storage")).collect::<Vec<_>>().join(", ");
        problems.push(
            Problem::new("storage", format!("storage `{name}` does not take `backup`"))
                .help(format!("allow it: pvesm set {name} --content …,backup; or take one that does: {fit}")),
        );
    }
    if let Some(wanted) = &spec.namespace {
        let held = member(storage, "namespace");
        if member(storage, "type") != "pbs" {
            problems.push(
                Problem::new(
                    "namespace",
                    format!("storage `{name}` is no Proxmox Backup Server, and has no namespace"),
                )
                .help("take `namespace` out, or name a storage of type `pbs`"),
            );
        } else if held != *wanted {
            let held =
                if held.is_empty() { "the root namespace".to_owned() } else { format!("the namespace `{held}`") };
            problems.push(
                Problem::new("namespace", format!("storage `{name}` writes to {held}, and the policy says `{wanted}`"))
                    .help(format!("name a storage that writes to it, or: pvesm set {name} --namespace {wanted}")),
            );
        }
    }
    problems
}

/// What a policy takes beside its job: a guest that is hidden from us would fall out of it.
fn privileges(cx: &PlanContext<'_>, spec: &BackupPolicySpec, members: &Members, delta: &mut Delta) {
    match members {
        Members::Everyone(_) => {}
        Members::Pool(pool) => require_any(cx, delta, &[format!("/pool/{pool}")], &["Pool.Audit"]),
        Members::These(_) => {
            require_any(cx, delta, &["/vms".to_owned()], &["VM.Audit"]);
            for pool in &spec.selector.pools {
                require_any(cx, delta, &[format!("/pool/{pool}")], &["Pool.Audit"]);
            }
        }
    }
    if delta.steps.is_empty() || cx.root_ticket {
        return;
    }
    if let Members::Pool(pool) = members {
        require(cx, delta, &format!("/pool/{pool}"), "VM.Backup");
    }
    if let Some(storage) = spec.fleecing.as_ref().and_then(|f| f.storage.as_deref()) {
        require(cx, delta, &format!("/storage/{storage}"), "Datastore.AllocateSpace");
    }
}
