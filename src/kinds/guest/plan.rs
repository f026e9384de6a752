//! The plan of a guest: create, clone, change, power, delete. Position is read off the observation every time: a clone that
//! was just made differs from its manifest, and the next round writes the rest.

use crate::base::id::{GuestType, VmId};
use crate::base::quantity::Bytes;
use crate::kinds::guest::compose::{self, Write};
use crate::kinds::guest::fit;
use crate::kinds::guest::mapping::{self, Config};
use crate::kinds::guest::observed::GuestSeen;
use crate::kinds::guest::rights;
use crate::kinds::guest::spec::{CloneMode, RebootPolicy};
use crate::pve::request::{Call, Method, Query, segment};
use crate::resource::kind::PlanContext;
use crate::resource::marker::Marker;
use crate::resource::merge::{Difference, Fields, merge};
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::{Action, Change, Delta, Guard, Impact, Limit, Note, Problem, Step};

/// How long a reboot or an orderly shutdown may take, in seconds; then the task fails and nothing is forced.
pub const SHUTDOWN_SECONDS: u32 = 180;

/// Where a new guest comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// From nothing: a VM with empty disks.
    Empty,
    /// A CT from an archive in a storage.
    OsTemplate(String),
    /// A clone of a guest template of the manifests.
    Template {
        /// Which.
        template: ResourceRef,
        /// Linked or full.
        mode: CloneMode,
        /// Where the disks of a full clone go.
        storage: Option<String>,
    },
    /// A clone of a guest by its number.
    Guest {
        /// Which.
        vmid: VmId,
        /// Linked or full.
        mode: CloneMode,
        /// Where the disks of a full clone go.
        storage: Option<String>,
    },
    /// It exists and is taken over as it stands.
    Existing,
}

/// A guest as it shall be, whatever kind wrote it.
#[derive(Debug, Clone)]
pub struct GuestDesired {
    /// VM or CT.
    pub guest: GuestType,
    /// Managed fields in normal form; `name` among them.
    pub fields: Fields,
    /// Where a new one comes from.
    pub source: Source,
    /// What to do when a change waits for a restart.
    pub reboot: RebootPolicy,
    /// The storage of a cloud-init drive that is to be there.
    pub cloud_init_storage: Option<String>,
    /// Whether it is to be a PVE template in the end.
    pub template: bool,
    /// Parameters of creation alone (`unprivileged` of a CT), already PVE's.
    pub at_creation: Vec<(String, String)>,
}

/// A guest's path below `/nodes`.
fn base(identity: &Identity) -> (GuestType, VmId, &str, String) {
    match identity {
        Identity::Guest { guest, vmid, node } => (*guest, *vmid, node, format!("/nodes/{node}/{guest}/{vmid}")),
        Identity::Pool(_) => unreachable!("a guest is addressed by its VMID"),
    }
}

/// What is to be done about a guest.
pub fn plan(cx: &PlanContext<'_>, desired: Option<&GuestDesired>, observed: Option<&GuestSeen>) -> Delta {
    let mut delta = Delta::none(cx.resource.clone(), Some(cx.identity.clone()));
    let (_, _, node, _) = base(cx.identity);
    if let Some(row) = cx.seen.index.nodes.get(node)
        && !row.online
    {
        delta.notes.push(Note::NodeOffline(node.to_owned()));
        delta.action = if observed.is_some() { Action::NoOp } else { Action::Create };
        return delta;
    }
    match (desired, observed) {
        (None, None) => {}
        (None, Some(seen)) => delete(cx, seen, &mut delta),
        (Some(want), None) => create(cx, want, &mut delta),
        (Some(want), Some(seen)) => update(cx, want, seen, &mut delta),
    }
    delta
}

fn delete(cx: &PlanContext<'_>, seen: &GuestSeen, delta: &mut Delta) {
    let (guest, vmid, node, path) = base(cx.identity);
    delta.action = Action::Delete;
    if let Some(lock) = &seen.lock {
        delta.notes.push(Note::Locked(lock.clone()));
        return;
    }
    if seen.config.get("protection").is_some_and(|p| p == "1") {
        delta.problems.push(
            Problem::new("protection", format!("guest {vmid} is protected"))
                .help("set `protection: false` in its manifest and apply that first"),
        );
    }
    let mut clones = fit::linked_clones(cx.seen, vmid);
    clones.retain(|c| !cx.leaving.contains(c));
    if seen.row.template && !clones.is_empty() {
        let list = clones.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        delta.problems.push(
            Problem::new("", format!("template {vmid} still has linked clones: {list}"))
                .help("delete the clones first, or keep the template"),
        );
    }
    rights::require_delete(cx, seen, delta);
    let volumes = fit::volumes(guest, &seen.config);
    if !volumes.is_empty() {
        delta.notes.push(Note::Info(format!("these volumes go with it: {}", volumes.join(", "))));
    }
    let guard =
        Some(Guard { query: Query::new(format!("{path}/config")), owner: cx.resource.clone(), set: cx.set.to_owned() });
    if seen.running() {
        let call = Call::new(Method::Post, format!("{path}/status/stop"));
        let mut step = Step::new(format!("stop {guest} {vmid}"), call, Impact::DataLoss).task(node);
        step.guard.clone_from(&guard);
        delta.steps.push(step);
    }
    // Both default to false in PVE, and stay so: what is not in the configuration is not ours to destroy.
    let call = Call::new(Method::Delete, path).with("purge", 0).with("destroy-unreferenced-disks", 0);
    let mut step = Step::new(format!("delete {guest} {vmid}"), call, Impact::DataLoss).task(node);
    step.guard = guard;
    delta.steps.push(step);
}

fn create(cx: &PlanContext<'_>, want: &GuestDesired, delta: &mut Delta) {
    let (guest, vmid, node, _) = base(cx.identity);
    delta.action = Action::Create;
    let template_config = match &want.source {
        Source::Empty | Source::OsTemplate(_) | Source::Existing => None,
        Source::Template { template, .. } => {
            delta.after.push(template.clone());
            fit::template_of(cx, template)
        }
        Source::Guest { vmid, .. } => fit::guest_of(cx, *vmid),
    };
    let start = template_config.as_ref().map(|t| t.config.clone()).unwrap_or_default();
    delta.changes = want
        .fields
        .iter()
        .filter(|(path, value)| current(guest, &start, path).as_ref() != Some(*value))
        .map(|(path, value)| Change {
            path: path.clone(),
            from: template_config.as_ref().and_then(|_| current(guest, &start, path)),
            to: Some(value.clone()),
            cause: crate::resource::merge::Cause::Change,
            impact: Impact::None,
        })
        .collect();
    fit::check_create(cx, want, template_config.as_ref(), delta);
    let pool = want.fields.get("pool");
    let marker = |applied: Fields| Marker {
        owner: cx.resource.clone(),
        set: cx.set.to_owned(),
        vmid: Some(vmid.get()),
        retain: cx.retain,
        applied,
    };
    let text = want.fields.get("description").cloned();
    fit::check_notes(&marker(want.fields.clone()).join(text.as_deref().unwrap_or("")), delta);
    match &want.source {
        Source::Existing => {
            delta.problems.push(
                Problem::new("source.existing.vmid", format!("there is no guest {vmid} to take over"))
                    .help("give the VMID of a guest that exists, or a `clone` source"),
            );
        }
        Source::Empty | Source::OsTemplate(_) => {
            let applied: Fields = want.fields.clone();
            let mut call = Call::new(Method::Post, format!("/nodes/{node}/{guest}")).with("vmid", vmid);
            if let Source::OsTemplate(volume) = &want.source {
                call = call.with("ostemplate", volume);
            }
            let all: Vec<Difference> = want
                .fields
                .iter()
                .map(|(path, to)| Difference {
                    path: path.clone(),
                    from: None,
                    to: Some(to.clone()),
                    cause: crate::resource::merge::Cause::Change,
                })
                .collect();
            let mut write = compose::write(guest, &Config::new(), &want.fields, &all);
            write.set.entry("tags".into()).or_insert_with(|| mapping::TAG.into());
            write.set.insert("description".into(), marker(applied).join(text.as_deref().unwrap_or("")));
            add_cloud_init_drive(want, &Config::new(), &mut write);
            call.params.extend(want.at_creation.iter().cloned());
            call.params.extend(write.params());
            if let Some(pool) = pool {
                call = call.with("pool", pool);
            }
            let mut step = Step::new(format!("create {guest} {vmid} on {node}"), call, Impact::None).task(node);
            for storage in fit::storages(want) {
                step = step.limit(Limit::Storage(storage));
            }
            delta.steps.push(step);
            if want.fields.get("power").is_some_and(|p| p == "Running") {
                delta.steps.push(power_step(cx, "start"));
            }
        }
        Source::Template { template, mode, storage } => match fit::source_vmid(cx, template) {
            None => delta.notes.push(Note::Waiting(template.clone())),
            Some((source, at, ready)) => {
                if ready {
                    delta.steps.push(clone_step(
                        cx,
                        source,
                        &at,
                        *mode,
                        storage.as_deref(),
                        &marker(Fields::new()),
                        want,
                    ));
                } else {
                    delta.notes.push(Note::Waiting(template.clone()));
                }
            }
        },
        Source::Guest { vmid: source, mode, storage } => match cx.seen.index.guests.get(source) {
            None => delta.problems.push(
                Problem::new("source.clone.vmid", format!("there is no guest {source} to clone"))
                    .help("give the VMID of a guest that is there: pvectl get vm"),
            ),
            Some(row) => delta.steps.push(clone_step(
                cx,
                *source,
                &row.node.clone(),
                *mode,
                storage.as_deref(),
                &marker(Fields::new()),
                want,
            )),
        },
    }
    if delta.steps.iter().any(|s| s.call.path.ends_with("/clone")) {
        delta
            .notes
            .push(Note::Info("the rest is written when the clone is there, from the clone's own configuration".into()));
    }
}

fn clone_step(
    cx: &PlanContext<'_>,
    source: VmId,
    at: &str,
    mode: CloneMode,
    storage: Option<&str>,
    marker: &Marker,
    want: &GuestDesired,
) -> Step {
    let (guest, vmid, node, _) = base(cx.identity);
    let name_key = if guest == GuestType::Qemu { "name" } else { "hostname" };
    let mut call = Call::new(Method::Post, format!("/nodes/{at}/{guest}/{source}/clone")).with("newid", vmid);
    if let Some(name) = want.fields.get("name") {
        call = call.with(name_key, name);
    }
    let text = want.fields.get("description").cloned().unwrap_or_default();
    call = call.with("description", marker.join(&text)).with("full", u8::from(mode == CloneMode::Full));
    if let (CloneMode::Full, Some(storage)) = (mode, storage) {
        call = call.with("storage", storage);
    }
    if node != at {
        call = call.with("target", node);
    }
    if let Some(pool) = want.fields.get("pool") {
        call = call.with("pool", pool);
    }
    let word = if mode == CloneMode::Full { "full" } else { "linked" };
    Step::new(format!("clone {source} to {vmid} ({word})"), call, Impact::None)
        .task(at)
        .limit(Limit::Template(source.get()))
}

fn power_step(cx: &PlanContext<'_>, verb: &str) -> Step {
    let (guest, vmid, node, path) = base(cx.identity);
    let mut call = Call::new(Method::Post, format!("{path}/status/{verb}"));
    if verb != "start" {
        call = call.with("timeout", SHUTDOWN_SECONDS);
    }
    Step::new(format!("{verb} {guest} {vmid}"), call, Impact::Restart).task(node)
}

/// The value of a field as the merge sees it: what is there, or what its absence means.
fn current(guest: GuestType, config: &Config, path: &str) -> Option<String> {
    mapping::read(guest, config, path).or_else(|| mapping::default(guest, path))
}

fn update(cx: &PlanContext<'_>, want: &GuestDesired, seen: &GuestSeen, delta: &mut Delta) {
    let (guest, vmid, node, path) = base(cx.identity);
    if seen.row.guest != guest {
        delta.problems.push(
            Problem::new("vmid", format!("VMID {vmid} is a guest of the other type ({})", seen.row.guest))
                .help("give another `vmid`"),
        );
        return;
    }
    let takes_over = matches!(want.source, Source::Existing) && seen.marker.is_none();
    match &seen.marker {
        None if seen.lock.as_deref().is_some_and(|l| l == "clone" || l == "create") => {}
        None if takes_over || cx.adopt => {}
        None => {
            delta.problems.push(
                Problem::new("vmid", format!("VMID {vmid} is taken by `{}`, which pvectl does not own", seen.row.name))
                    .help(format!("give another `vmid`, or take it over with: pvectl adopt {} -f …", cx.resource)),
            );
            return;
        }
        Some(marker) if marker.owner != *cx.resource || marker.set != cx.set => {
            delta.problems.push(
                Problem::new(
                    "vmid",
                    format!(
                        "VMID {vmid} belongs to {} of the manifest set `{}`, not to {} of `{}`",
                        marker.owner, marker.set, cx.resource, cx.set
                    ),
                )
                .help("one object has one owner: give another `vmid`, or take it out of the other set first"),
            );
            return;
        }
        Some(_) => {}
    }
    if let Some(lock) = seen.lock.as_ref().filter(|l| matches!(l.as_str(), "create" | "clone")) {
        // It is being made: what it will be is not there to be compared yet.
        delta.action = Action::Create;
        delta.notes.push(Note::Locked(lock.clone()));
        return;
    }
    let nothing = Fields::new();
    let applied = seen.marker.as_ref().map_or(&nothing, |m| &m.applied);
    let mut differences = merge(&want.fields, applied, |p| fact(guest, seen, p), |p| mapping::default(guest, p));
    let left = unmanage(&mut differences, &want.fields);
    for slot in left {
        delta
            .notes
            .push(Note::Info(format!("{slot} left the manifest; its volume stays as it is, and is no longer managed")));
    }
    fit::check_update(cx, want, seen, &differences, delta);
    delta.changes = differences
        .iter()
        .map(|d| {
            let impact = mapping::impact(guest, &d.path);
            let impact = if impact == Impact::AfterReboot && !seen.running() { Impact::Live } else { impact };
            Change { path: d.path.clone(), from: d.from.clone(), to: d.to.clone(), cause: d.cause, impact }
        })
        .collect();
    write_steps(cx, want, seen, &differences, applied, delta);
    let restart = restart_needed(want, seen, delta);
    power_steps(cx, want, seen, restart, delta);
    if want.template && !seen.row.template {
        if seen.running() {
            delta.steps.push(power_step(cx, "shutdown"));
        }
        // A template cannot become a guest again, but nothing of it is lost.
        let call = Call::new(Method::Post, format!("{path}/template"));
        delta.steps.push(Step::new(format!("turn {guest} {vmid} into a template"), call, Impact::Restart).task(node));
        delta.changes.push(Change {
            path: "template".into(),
            from: Some("0".into()),
            to: Some("1".into()),
            cause: crate::resource::merge::Cause::Change,
            impact: Impact::Restart,
        });
    }
    if want.template && seen.row.template {
        // The flag is set first: a conversion that failed half-way is finished disk by disk.
        for slot in fit::unconverted(seen) {
            let call = Call::new(Method::Post, format!("{path}/template")).with("disk", &slot);
            delta.steps.push(Step::new(format!("make {slot} of {vmid} a base image"), call, Impact::None).task(node));
        }
    }
    if !delta.steps.is_empty() {
        delta.action = Action::Update;
    }
    if let Some(lock) = &seen.lock {
        delta.steps.clear();
        delta.notes.push(Note::Locked(lock.clone()));
    }
}

/// Takes out what left the manifest and is not reset: what was decided at creation, and volumes, which stay as they are.
/// Says which volumes left.
fn unmanage(differences: &mut Vec<Difference>, desired: &Fields) -> Vec<String> {
    let mut left = Vec::new();
    differences.retain(|d| {
        if d.to.is_some() {
            return true;
        }
        match mapping::volume_path(&d.path) {
            Some((slot, part)) => {
                let managed = desired.keys().any(|p| mapping::volume_path(p).is_some_and(|(s, _)| s == slot));
                if !managed && part == "storage" {
                    left.push(slot.to_owned());
                }
                managed && !matches!(part, "size" | "storage" | "path")
            }
            None => d.path != "unprivileged",
        }
    });
    left
}

/// What is there for a field, index facts included.
fn fact(guest: GuestType, seen: &GuestSeen, path: &str) -> Option<String> {
    match path {
        "power" => match seen.row.status.as_str() {
            "running" => Some("Running".into()),
            "stopped" => Some("Stopped".into()),
            _ => None,
        },
        "pool" => seen.row.pool.clone(),
        _ => mapping::read(guest, &seen.config, path),
    }
}

fn write_steps(
    cx: &PlanContext<'_>,
    want: &GuestDesired,
    seen: &GuestSeen,
    differences: &[Difference],
    applied: &Fields,
    delta: &mut Delta,
) {
    let (guest, vmid, node, path) = base(cx.identity);
    let grown: Vec<(&str, &str)> = differences
        .iter()
        .filter_map(|d| {
            let (slot, part) = mapping::volume_path(&d.path)?;
            (part == "size" && seen.config.contains_key(slot)).then_some((slot, d.to.as_deref()?))
        })
        .collect();
    let mut write = compose::write(guest, &seen.config, &want.fields, differences);
    add_cloud_init_drive(want, &seen.config, &mut write);
    let tagged = seen.config.get("tags").is_some_and(|t| t.split([';', ',', ' ']).any(|t| t == mapping::TAG));
    if !tagged && !write.set.contains_key("tags") {
        let own = seen.config.get("tags").map(String::as_str).unwrap_or("");
        write.set.insert("tags".into(), mapping::encode("tags", &mapping::normal_tags(own.split([';', ',', ' ']))));
    }
    // The marker says what is applied once this write is done; power, pool and sizes follow in the same run, and are
    // looked at again in the next.
    let marker = Marker {
        owner: cx.resource.clone(),
        set: cx.set.to_owned(),
        vmid: Some(vmid.get()),
        retain: cx.retain,
        applied: want.fields.clone(),
    };
    let marker_moves = !seen.marker.as_ref().is_some_and(|m| m.is_as(&marker));
    write.delete.remove("description");
    write.set.remove("description");
    if marker_moves || differences.iter().any(|d| d.path == "description") {
        let text = want.fields.get("description").or_else(|| {
            let reset = applied.contains_key("description") && differences.iter().any(|d| d.path == "description");
            seen.config.get("description").filter(|_| !reset)
        });
        let notes = marker.join(text.map_or("", String::as_str));
        fit::check_notes(&notes, delta);
        write.set.insert("description".into(), notes);
    }
    if !write.is_empty() {
        let mut call = Call::new(Method::Put, format!("{path}/config"));
        call.params = write.params();
        if let Some(digest) = &seen.digest {
            call = call.with("digest", digest);
        }
        let impact = delta.changes.iter().filter(|c| c.path != "power").map(|c| c.impact).max().unwrap_or(Impact::None);
        let count = write.set.keys().chain(&write.delete).filter(|k| *k != "description").count();
        let title = if count == 0 {
            format!("note what is applied on {guest} {vmid}")
        } else {
            format!("configure {guest} {vmid} ({count} options)")
        };
        delta.steps.push(Step::new(title, call, impact));
    }
    for (slot, size) in grown {
        let bytes = Bytes::parse(size).unwrap_or_default();
        let call = Call::new(Method::Put, format!("{path}/resize")).with("disk", slot).with("size", bytes.to_pve());
        delta.steps.push(Step::new(format!("grow {slot} to {size}"), call, Impact::Live).task(node));
    }
    if let Some(pool) = differences.iter().find(|d| d.path == "pool") {
        let step = match &pool.to {
            Some(id) => Step::new(
                format!("put guest {vmid} into pool {id}"),
                Call::new(Method::Put, format!("/pools/{}", segment(id))).with("vms", vmid).with("allow-move", 1),
                Impact::None,
            ),
            None => {
                let id = pool.from.clone().unwrap_or_default();
                Step::new(
                    format!("take guest {vmid} out of pool {id}"),
                    Call::new(Method::Put, format!("/pools/{}", segment(&id))).with("vms", vmid).with("delete", 1),
                    Impact::None,
                )
            }
        };
        delta.steps.push(step.limit(Limit::UserConfig));
        if let Some(id) = &pool.to {
            delta.after.push(ResourceRef::new("Pool", id.clone()));
        }
    }
}

/// Whether the guest must restart now. What is written in this plan is not counted yet: PVE's own answer decides, and it is
/// seen in the next round, when the write is done.
fn restart_needed(want: &GuestDesired, seen: &GuestSeen, delta: &mut Delta) -> bool {
    if !seen.running() {
        return false;
    }
    let writes = delta.steps.iter().any(|s| s.call.path.ends_with("/config"));
    let later: Vec<String> =
        delta.changes.iter().filter(|c| c.impact == Impact::AfterReboot).map(|c| c.path.clone()).collect();
    match want.reboot {
        RebootPolicy::IfRequired if writes => {
            if !later.is_empty() {
                let text = "reboots in order when it is written, if PVE says that a change waits for it";
                delta.notes.push(Note::Info(text.into()));
            }
            false
        }
        RebootPolicy::IfRequired => !seen.pending.is_empty(),
        RebootPolicy::Never => {
            let waiting: Vec<String> = seen.pending.iter().cloned().chain(later).collect();
            if !waiting.is_empty() {
                delta.notes.push(Note::RebootRequired(waiting));
            }
            false
        }
    }
}

fn power_steps(cx: &PlanContext<'_>, want: &GuestDesired, seen: &GuestSeen, restart: bool, delta: &mut Delta) {
    let power = want.fields.get("power").map(String::as_str);
    match (power, seen.row.status.as_str()) {
        (Some("Running"), "stopped") if !seen.row.template => delta.steps.push(power_step(cx, "start")),
        (Some("Stopped"), "running") => delta.steps.push(power_step(cx, "shutdown")),
        _ if restart => delta.steps.push(power_step(cx, "reboot")),
        _ => {}
    }
    if restart && want.template {
        // It is shut down to become a template anyway.
        delta.steps.retain(|s| !s.call.path.ends_with("/reboot"));
    }
}

/// A cloud-init drive at `ide2` where one is wanted and none is there.
fn add_cloud_init_drive(want: &GuestDesired, config: &Config, write: &mut Write) {
    let Some(storage) = &want.cloud_init_storage else { return };
    let has = config.iter().any(|(k, v)| mapping::is_disk_slot(k) && v.contains("cloudinit"));
    if !has && !config.contains_key("ide2") {
        write.set.insert("ide2".into(), format!("{storage}:cloudinit"));
    }
}

/// The nodes that a spec allows, `node` before `placement`.
pub fn nodes(node: Option<&String>, placement: Option<&crate::kinds::guest::spec::Placement>) -> Vec<String> {
    match (node, placement) {
        (Some(node), _) => vec![node.clone()],
        (None, Some(placement)) => placement.nodes.clone(),
        (None, None) => Vec::new(),
    }
}
