//! A guest that is there: what differs is written, grown, moved, plugged and unplugged; then power and restarts.

use crate::base::id::GuestType;
use crate::base::quantity::Bytes;
use crate::kinds::guest::compose::{self};
use crate::kinds::guest::mapping::{self};
use crate::kinds::guest::moving::{self, Move};
use crate::kinds::guest::observed::GuestSeen;
use crate::kinds::guest::plan::{GuestDesired, Source, add_cloud_init_drive, base, power_step};
use crate::kinds::guest::spec::{RebootPolicy, VolumePolicy};
use crate::kinds::guest::{firewall, fit, ha, room};
use crate::pve::request::{Call, Method, segment};
use crate::resource::kind::PlanContext;
use crate::resource::marker::{Marker, shorten};
use crate::resource::merge::{Difference, Fields, merge};
use crate::resource::reference::ResourceRef;
use crate::resource::step::{Action, Change, Delta, Impact, Limit, Note, Problem, Step};
use std::collections::BTreeSet;

/// What makes it as it shall be.
pub fn update(cx: &PlanContext<'_>, want: &GuestDesired, seen: &GuestSeen, delta: &mut Delta) {
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
    let mut differences = merge(
        &want.fields,
        applied,
        |p| fact(guest, seen, p),
        |p| firewall::default(p).or_else(|| mapping::default(guest, p)),
    );
    unmanage(&mut differences, &want.fields);
    fit::check_update(cx, want, seen, &differences, delta);
    delta.changes = differences
        .iter()
        .map(|d| {
            let impact = if firewall::is_field(&d.path) { Impact::Live } else { mapping::impact(guest, &d.path) };
            let impact = if impact == Impact::AfterReboot && !seen.running() { Impact::Live } else { impact };
            Change { path: d.path.clone(), from: d.from.clone(), to: d.to.clone(), cause: d.cause, impact }
        })
        .collect();
    firewall::check(cx, &want.fields, delta);
    firewall::say(&want.fields, applied, seen.firewall.as_ref(), delta);
    let (before, after) = firewall::steps(cx, seen.firewall.as_ref(), &differences, delta);
    delta.steps.extend(before);
    let detached = leave(want, seen, delta);
    made_of(want, seen, delta);
    write_steps(cx, want, seen, (&differences, &detached), applied, delta);
    delta.steps.extend(after);
    let restart = restart_needed(want, seen, delta);
    let go = moving::decide(cx, want, seen, delta);
    power_steps(cx, want, seen, restart, go.as_ref(), delta);
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
    if let (Some(state), false) = (ha::at_work(&seen.row), delta.steps.is_empty()) {
        delta.steps.clear();
        delta.notes.push(Note::Unsettled(format!("the HA manager is at work on it ({state})")));
    }
    if !delta.steps.is_empty() || delta.notes.iter().any(|n| matches!(n, Note::Unsettled(_))) {
        delta.action = Action::Update;
    }
    if let Some(lock) = &seen.lock {
        delta.steps.clear();
        delta.notes.push(Note::Locked(lock.clone()));
    }
}

/// Takes out what left the manifest and is not reset: what was decided at creation, and what a slot holds.
fn unmanage(differences: &mut Vec<Difference>, desired: &Fields) {
    differences.retain(|d| {
        if d.to.is_some() {
            return true;
        }
        match mapping::volume_path(&d.path) {
            Some((slot, part)) => {
                let managed = desired.keys().any(|p| mapping::volume_path(p).is_some_and(|(s, _)| s == slot));
                managed && !matches!(part, "size" | "storage" | "path" | "volume" | "iso" | "hostPath" | "device")
            }
            // What PVE made up at first stays as it was made up, or said, last.
            None => {
                let made_up = matches!(d.path.as_str(), "unprivileged" | "hardware.vmGenId" | "hardware.smbios.uuid");
                !(made_up || d.path.starts_with("networks.") && d.path.ends_with(".mac"))
            }
        }
    });
}

/// Slots that left the manifest and still hold something.
pub fn leaving(want: &GuestDesired, seen: &GuestSeen) -> Vec<String> {
    let slot_of = |path: &str| mapping::volume_path(path).map(|(slot, _)| slot.to_owned());
    let managed: BTreeSet<String> = want.fields.keys().filter_map(|p| slot_of(p)).collect();
    let last = seen.marker.iter().flat_map(|m| m.applied.keys()).filter_map(|p| slot_of(p)).collect::<BTreeSet<_>>();
    last.into_iter().filter(|s| s != "rootfs" && !managed.contains(s) && seen.config.contains_key(s)).collect()
}

/// Says what becomes of slots that left the manifest; those that are to be emptied.
fn leave(want: &GuestDesired, seen: &GuestSeen, delta: &mut Delta) -> Vec<String> {
    let left = leaving(want, seen);
    for slot in &left {
        let text = match want.volumes {
            VolumePolicy::Keep => {
                format!("{slot} left the manifest; its volume stays as it is, and is no longer managed")
            }
            VolumePolicy::Detach => {
                format!("{slot} left the manifest; its volume is taken out and stays with the guest as `unusedN`")
            }
        };
        delta.notes.push(Note::Info(text));
    }
    if want.volumes == VolumePolicy::Keep {
        return Vec::new();
    }
    for slot in &left {
        delta.changes.push(Change {
            path: room::prefix(want.guest, slot),
            from: seen.config.get(slot).cloned(),
            to: None,
            cause: crate::resource::merge::Cause::Removed,
            impact: Impact::Live,
        });
    }
    left
}

/// A source that changed in the manifest is told; a guest that is there is never made anew for it.
fn made_of(want: &GuestDesired, seen: &GuestSeen, delta: &mut Delta) {
    let was = seen.marker.as_ref().and_then(|m| m.source.as_deref());
    if let (Some(was), Some(now)) = (was, want.source.summary())
        && shorten(&now) != shorten(was)
    {
        let way =
            if want.template { "change `version` for a new image beside it" } else { "a new guest is made from it" };
        delta
            .notes
            .push(Note::Info(format!("source changed from `{was}` to `{now}`; the guest stays as it is, and {way}")));
    }
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
        _ if firewall::is_field(path) => seen.firewall.as_ref().and_then(|f| f.fact(path)),
        _ => mapping::read(guest, &seen.config, path),
    }
}

fn write_steps(
    cx: &PlanContext<'_>,
    want: &GuestDesired,
    seen: &GuestSeen,
    (differences, detached): (&[Difference], &[String]),
    applied: &Fields,
    delta: &mut Delta,
) {
    let (guest, vmid, node, path) = base(cx.identity);
    let Volumes { grown, moved, at_work } = volumes(seen, differences, delta);
    let written: Vec<Difference> = differences
        .iter()
        .filter(|d| mapping::volume_path(&d.path).is_none_or(|(slot, _)| !at_work.contains(slot)))
        .cloned()
        .collect();
    let mut write = compose::write(guest, &seen.config, &want.fields, &written);
    write.delete.extend(detached.iter().cloned());
    add_cloud_init_drive(want, &seen.config, &mut write);
    let tagged = seen.config.get("tags").is_some_and(|t| t.split([';', ',', ' ']).any(|t| t == mapping::TAG));
    if !tagged && !write.set.contains_key("tags") {
        let own = seen.config.get("tags").map(String::as_str).unwrap_or("");
        write
            .set
            .insert("tags".into(), mapping::encode(guest, "tags", &mapping::normal_tags(own.split([';', ',', ' ']))));
    }
    // The marker says what is applied once this write is done; power, pool and sizes follow in the same run, and are
    // looked at again in the next.
    let marker = Marker {
        owner: cx.resource.clone(),
        set: cx.set.to_owned(),
        vmid: Some(vmid.get()),
        retain: cx.retain,
        member_of: cx.member_of.map(str::to_owned),
        // What it was made of is told once; the label of a version may be put on later.
        source: seen.marker.as_ref().and_then(|m| m.source.clone()),
        version: want.version.clone().or_else(|| seen.marker.as_ref().and_then(|m| m.version.clone())),
        applied: firewall::still_applied(&want.fields, applied, differences),
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
    let configured = delta.steps.len();
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
            format!("configure {guest} {vmid} ({count} option{})", if count == 1 { "" } else { "s" })
        };
        delta.steps.push(Step::new(title, call, impact));
    }
    for (slot, from, to) in moved {
        delta.steps.push(move_step(cx, seen, slot, (from, to)));
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
        let step = step.limit(Limit::UserConfig);
        match &pool.to {
            Some(id) => {
                delta.steps.push(step);
                delta.after.push(ResourceRef::new("Pool", id.clone()));
            }
            // Before the marker forgets that the pool was ours to say: a run that ends in between would leave it there.
            None => delta.steps.insert(configured, step),
        }
    }
}

/// What is done to volumes that are there.
#[derive(Default)]
struct Volumes<'a> {
    /// Slot and size.
    grown: Vec<(&'a str, &'a str)>,
    /// Slot, storage, and storage to be.
    moved: Vec<(&'a str, &'a str, &'a str)>,
    /// Slots whose other options are written when that is done. PVE keeps what a running guest does not take at once as the
    /// whole text of the slot, which would name the volume as it was before, and bring it back at the next start.
    at_work: BTreeSet<&'a str>,
}

/// Which volumes grow and move now. For the same reason a slot with something pending waits for the guest's restart.
fn volumes<'a>(seen: &GuestSeen, differences: &'a [Difference], delta: &mut Delta) -> Volumes<'a> {
    let mut out = Volumes::default();
    for d in differences {
        let (Some((slot, part)), Some(to)) = (mapping::volume_path(&d.path), d.to.as_deref()) else { continue };
        if !seen.config.contains_key(slot) || !matches!(part, "size" | "storage") {
            continue;
        }
        if seen.running() && seen.pending.iter().any(|p| p == slot) {
            let text =
                format!("{slot} is left as it is until the guest has restarted: a change of it is pending in PVE");
            if !delta.notes.contains(&Note::Info(text.clone())) {
                delta.notes.push(Note::Info(text));
            }
            continue;
        }
        match (part, d.from.as_deref()) {
            ("size", _) => out.grown.push((slot, to)),
            (_, Some(from)) => out.moved.push((slot, from, to)),
            (_, None) => continue,
        }
        if seen.running() {
            out.at_work.insert(slot);
        }
    }
    out
}

/// Moves a volume to another storage. Its source goes when the copy is whole, unless a snapshot may still need it: then PVE
/// keeps it as `unusedN`, and refuses to do otherwise.
fn move_step(cx: &PlanContext<'_>, seen: &GuestSeen, slot: &str, (from, to): (&str, &str)) -> Step {
    let (guest, _, node, path) = base(cx.identity);
    let (verb, word) = match guest {
        GuestType::Qemu => ("move_disk", "disk"),
        GuestType::Lxc => ("move_volume", "volume"),
    };
    let mut call = Call::new(Method::Post, format!("{path}/{verb}")).with(word, slot).with("storage", to);
    if !seen.config.contains_key("parent") {
        call = call.with("delete", 1);
    }
    Step::new(format!("move {slot} from {from} to {to}"), call, Impact::Live)
        .task(node)
        .limit(Limit::Storage(from.to_owned()))
        .limit(Limit::Storage(to.to_owned()))
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
    // PVE holds these already: they differ in nothing, and are not in force.
    delta
        .notes
        .extend(seen.pending_changes().into_iter().map(|change| Note::Info(format!("pending in PVE, {change}"))));
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

fn power_steps(
    cx: &PlanContext<'_>,
    want: &GuestDesired,
    seen: &GuestSeen,
    restart: bool,
    go: Option<&Move>,
    delta: &mut Delta,
) {
    let power = want.fields.get("power").map(String::as_str);
    let (starts, stops) = match (power, seen.row.status.as_str()) {
        (Some("Running"), "stopped") => (!seen.row.template, false),
        (Some("Stopped"), "running") => (false, true),
        (_, _) => (false, false),
    };
    let begins_anew = stops || go.is_some_and(|g| g.at_rest || g.restarts);
    if begins_anew {
        delta.notes.retain(|n| !matches!(n, Note::RebootRequired(_)));
    }
    match (stops, go) {
        // What the manager was asked for takes its time: a move comes in a later round.
        (true, _) if seen.row.ha_managed() => {
            ha::power(cx, seen, false, delta);
            return;
        }
        (true, _) => delta.steps.push(power_step(cx, "shutdown")),
        (false, Some(go)) if go.at_rest => delta.steps.push(power_step(cx, "shutdown")),
        // A guest that becomes a template is shut down for that anyway.
        (false, _) if restart && !begins_anew && !want.template => delta.steps.push(power_step(cx, "reboot")),
        (false, _) => {}
    }
    if let Some(go) = go {
        moving::steps(cx, want, seen, go, delta);
    }
    match go {
        _ if !starts && !go.is_some_and(|g| g.at_rest) => {}
        None if seen.row.ha_managed() => ha::power(cx, seen, true, delta),
        None => delta.steps.push(power_step(cx, "start")),
        // When it is there.
        Some(_) if seen.row.ha_managed() => {}
        Some(go) => {
            let (guest, vmid, _, _) = base(cx.identity);
            let call = Call::new(Method::Post, format!("/nodes/{}/{guest}/{vmid}/status/start", go.to));
            delta
                .steps
                .push(Step::new(format!("start {guest} {vmid} on {}", go.to), call, Impact::Restart).task(&go.to));
        }
    }
}
