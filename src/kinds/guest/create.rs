//! A guest that is not there yet: from nothing, from a file, from a backup, or as a clone. One request makes it, with our
//! marker in it, so that no crash leaves a guest that is nobody's; a file that is not there is fetched before.

use crate::base::id::{GuestType, VmId};
use crate::host::operation::Operation;
use crate::host::token::Token;
use crate::kinds::guest::compose::{self, Write};
use crate::kinds::guest::file::{self, Arrival, File};
use crate::kinds::guest::mapping::{self, Config};
use crate::kinds::guest::observed::GuestSeen;
use crate::kinds::guest::plan::{GuestDesired, Source, add_cloud_init_drive, base, power_step};
use crate::kinds::guest::restore;
use crate::kinds::guest::spec::CloneMode;
use crate::kinds::guest::{firewall, fit, rights};
use crate::pve::request::{Call, Method};
use crate::resource::index::GuestRow;
use crate::resource::kind::PlanContext;
use crate::resource::marker::Marker;
use crate::resource::merge::{Cause, Difference, Fields};
use crate::resource::step::{Action, Change, Delta, Impact, Limit, Note, Problem, Step};

/// What makes it.
pub fn create(cx: &PlanContext<'_>, want: &GuestDesired, delta: &mut Delta) {
    let (guest, ..) = base(cx.identity);
    delta.action = Action::Create;
    let source = source(cx, want, delta);
    let start = source.as_ref().map(|t| t.config.clone()).unwrap_or_default();
    delta.changes = want
        .fields
        .iter()
        .filter(|(path, value)| current(guest, &start, path).as_ref() != Some(*value))
        .map(|(path, value)| Change {
            path: path.clone(),
            from: source.as_ref().and_then(|_| current(guest, &start, path)),
            to: Some(value.clone()),
            cause: Cause::Change,
            impact: Impact::None,
        })
        .collect();
    fit::check_create(cx, want, source.as_ref(), delta);
    let text = want.fields.get("description").map_or("", String::as_str);
    fit::check_notes(&marker(cx, want, want.fields.clone()).join(text), delta);
    match &want.source {
        Source::Existing => {
            let (_, vmid, ..) = base(cx.identity);
            delta.problems.push(
                Problem::new("source.existing.vmid", format!("there is no guest {vmid} to take over"))
                    .help("give the VMID of a guest that exists, or a `clone` source"),
            );
        }
        Source::Empty => make(cx, want, None, delta),
        Source::Iso(file) | Source::Image { file, .. } | Source::OsTemplate(file) => from_file(cx, want, file, delta),
        Source::Template { template, mode, storage } => match fit::source_vmid(cx, template) {
            Some((_, row, true)) => clone(cx, want, &row, (*mode, storage.as_deref(), None), delta),
            Some((_, _, false)) | None => delta.notes.push(Note::Waiting(template.clone())),
        },
        Source::Guest { of, snapshot, mode, storage } => match fit::original(cx, guest, of) {
            Ok(Some(row)) => clone(cx, want, row, (*mode, storage.as_deref(), snapshot.as_deref()), delta),
            Ok(None) => {
                let kind = if guest == GuestType::Qemu { "VirtualMachine" } else { "Container" };
                delta.notes.extend(of.declared(kind).map(Note::Waiting));
            }
            Err(problem) => delta.problems.push(below(want, problem)),
        },
        Source::Archive { .. } => {
            if let Some(saved) = &source {
                let notes = marker(cx, want, Fields::new()).join(text);
                restore::step(cx, want, &notes, saved, delta);
            }
        }
    }
    let later = |step: &Step| step.call.path.ends_with("/clone") || step.call.param("unique").is_some();
    if delta.steps.iter().any(later) {
        let what = if matches!(want.source, Source::Archive { .. }) { "restored guest" } else { "clone" };
        let text = format!("the rest is written when the {what} is there, from the {what}'s own configuration");
        delta.notes.push(Note::Info(text));
    }
}

/// A problem of a source with its place in the manifest: below `from`, or below `source` of a template.
fn below(want: &GuestDesired, mut problem: Problem) -> Problem {
    problem.path.insert(0, if want.template { "source" } else { "from" }.to_owned());
    problem
}

/// The guest that it is made of, as that is, where it is made of one.
fn source(cx: &PlanContext<'_>, want: &GuestDesired, delta: &mut Delta) -> Option<GuestSeen> {
    match &want.source {
        Source::Empty | Source::Iso(_) | Source::Image { .. } | Source::OsTemplate(_) | Source::Existing => None,
        Source::Template { template, .. } => {
            delta.after.push(template.clone());
            fit::template_of(cx, template)
        }
        Source::Guest { of, .. } => {
            let row = fit::original(cx, want.guest, of).ok().flatten()?;
            fit::made(cx, row.vmid)
        }
        Source::Archive { volume, .. } => {
            let path = if want.template { "source.archive" } else { "from.archive" };
            restore::check_there(cx, volume, path, delta);
            restore::saved(cx, volume)
        }
    }
}

/// What the marker of a new guest says.
fn marker(cx: &PlanContext<'_>, want: &GuestDesired, applied: Fields) -> Marker {
    let (_, vmid, ..) = base(cx.identity);
    Marker {
        owner: cx.resource.clone(),
        set: cx.set.to_owned(),
        vmid: Some(vmid.get()),
        retain: cx.retain,
        member_of: cx.member_of.map(str::to_owned),
        source: want.source.summary(),
        version: want.version.clone(),
        applied,
    }
}

/// Makes it from a file, which is fetched before if it is not there.
fn from_file(cx: &PlanContext<'_>, want: &GuestDesired, file: &File, delta: &mut Delta) {
    let root = if want.template { "source" } else { "from" };
    let word = match (&want.source, file) {
        (Source::Iso(_), _) => "iso",
        (Source::Image { .. }, _) if want.template => "cloudImage",
        (Source::Image { .. }, _) => "image",
        (_, File::Appliance { .. }) => "appliance",
        (_, File::Oci { .. }) => "oci",
        (_, File::Volume(..) | File::Url { .. }) => "osTemplate",
    };
    if let Source::Image { slot, .. } = &want.source
        && !want.fields.keys().any(|path| path.starts_with(&format!("disks.{slot}.")))
    {
        let problem = Problem::new(
            &format!("{root}.{word}"),
            format!("the image goes to {slot}, and `disks` says nothing of it"),
        );
        delta.problems.push(problem.help(format!("say where that disk is: disks: [{{slot: {slot}, storage: …}}]")));
    }
    match file::find(cx, file, &format!("{root}.{word}"), delta) {
        Arrival::There(volume) => make(cx, want, Some(&volume), delta),
        Arrival::Fetched(volume, step) => {
            delta.steps.push(*step);
            make(cx, want, Some(&volume), delta);
        }
        Arrival::Awaited(note) => delta.notes.push(note),
        Arrival::Refused => {}
    }
}

/// Makes it with all of its fields in one request; `volume` is the file that it is made of.
fn make(cx: &PlanContext<'_>, want: &GuestDesired, volume: Option<&str>, delta: &mut Delta) {
    let (guest, vmid, node, _) = base(cx.identity);
    let mut call = Call::new(Method::Post, format!("/nodes/{node}/{guest}")).with("vmid", vmid);
    let all: Vec<Difference> = want
        .fields
        .iter()
        .map(|(path, to)| Difference { path: path.clone(), from: None, to: Some(to.clone()), cause: Cause::Change })
        .collect();
    let mut write = compose::write(guest, &Config::new(), &want.fields, &all);
    // Its firewall is set when it is there, and before it runs for the first time.
    let guarded = want.fields.keys().any(|path| firewall::is_field(path));
    let mut applied: Fields = want.fields.clone();
    applied.retain(|path, _| !firewall::is_field(path));
    add_cloud_init_drive(want, &Config::new(), &mut write);
    match (&want.source, volume) {
        (Source::OsTemplate(file), Some(volume)) => {
            call = call.with("ostemplate", volume);
            if matches!(file, File::Oci { .. }) {
                // PVE takes these from the image and passes over what is sent; they are written when it is there.
                for (path, option) in [("entryPoint", "entrypoint"), ("env", "env")] {
                    applied.remove(path);
                    write.set.remove(option);
                }
            }
        }
        (Source::Image { slot, .. }, Some(volume)) => {
            // The image brings its own size; the disk grows when it is there.
            applied.remove(&format!("disks.{slot}.size"));
            import(slot, volume, &mut write);
        }
        (Source::Iso(_), Some(volume)) => insert_cd(volume, &mut write),
        (_, _) => {}
    }
    let text = want.fields.get("description").map_or("", String::as_str);
    write.set.entry("tags".into()).or_insert_with(|| mapping::TAG.into());
    write.set.insert("description".into(), marker(cx, want, applied).join(text));
    call.params.extend(want.at_creation.iter().cloned());
    call.params.extend(write.params());
    if let Some(pool) = want.fields.get("pool") {
        call = call.with("pool", pool);
    }
    let title = format!("create {guest} {vmid} on {node}");
    let mut step = match rights::by_link(cx, want).then(|| by_link(&call, vmid, node)).flatten() {
        // `pct` follows the task itself.
        Some(call) => {
            Step::new(format!("{title} by pct, as root"), call, Impact::None).limit(Limit::Node(node.to_owned()))
        }
        None => Step::new(title, call, Impact::None).task(node),
    };
    for storage in fit::storages(want) {
        step = step.limit(Limit::Storage(storage));
    }
    delta.steps.push(step);
    let grows =
        matches!(&want.source, Source::Image { slot, .. } if want.fields.contains_key(&format!("disks.{slot}.size")));
    if grows {
        delta.notes.push(Note::Info("the disk grows to its size when the image is in it".into()));
    } else if !guarded && want.fields.get("power").is_some_and(|p| p == "Running") {
        delta.steps.push(power_step(cx, "start"));
    }
}

/// The same request through the host link, where root does it. `None` where something of it cannot be said there.
fn by_link(call: &Call, vmid: VmId, node: &str) -> Option<Call> {
    let others = call.params.iter().filter(|(key, _)| key != "vmid" && key != "ostemplate");
    let options = others.map(|(key, value)| Some((Token::argument(key.as_str())?, value.clone())));
    let template = call.param("ostemplate")?.to_owned();
    Operation::ContainerCreate { vmid, template, options: options.collect::<Option<_>>()? }.call(node)
}

/// Has a disk made of an image: `storage:0,import-from=VOLUME` in place of `storage:GiB`.
fn import(slot: &str, volume: &str, write: &mut Write) {
    let Some(text) = write.set.get_mut(slot) else { return };
    let (head, rest) = text.split_once(',').map_or((text.as_str(), String::new()), |(h, r)| (h, format!(",{r}")));
    let storage = head.split(':').next().unwrap_or("");
    *text = format!("{storage}:0,import-from={volume}{rest}");
}

/// Where a CD drive goes, in the order in which PVE's own interface would choose.
const CD_SLOTS: [&str; 10] = ["ide2", "ide0", "ide1", "ide3", "sata0", "sata1", "sata2", "sata3", "sata4", "sata5"];

/// Puts a CD into the first slot that is free. What starts first is left to PVE: a disk, then a CD, then the network.
fn insert_cd(volume: &str, write: &mut Write) {
    if let Some(slot) = CD_SLOTS.iter().find(|slot| !write.set.contains_key(**slot)) {
        write.set.insert((*slot).to_owned(), format!("{volume},media=cdrom"));
    }
}

fn clone(
    cx: &PlanContext<'_>,
    want: &GuestDesired,
    of: &GuestRow,
    (mode, storage, snapshot): (CloneMode, Option<&str>, Option<&str>),
    delta: &mut Delta,
) {
    let (guest, vmid, node, _) = base(cx.identity);
    let (source, at) = (of.vmid, of.node.as_str());
    if let Some(lock) = &of.lock {
        delta.notes.push(Note::Unsettled(format!("PVE holds the lock `{lock}` on {source}, which it is a clone of")));
        return;
    }
    let name_key = if guest == GuestType::Qemu { "name" } else { "hostname" };
    let mut call = Call::new(Method::Post, format!("/nodes/{at}/{guest}/{source}/clone")).with("newid", vmid);
    if let Some(name) = want.fields.get("name") {
        call = call.with(name_key, name);
    }
    let text = want.fields.get("description").map_or("", String::as_str);
    let notes = marker(cx, want, Fields::new()).join(text);
    call = call.with("description", notes).with("full", u8::from(mode == CloneMode::Full));
    if let Some(snapshot) = snapshot {
        call = call.with("snapname", snapshot);
    }
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
    let from = snapshot.map(|s| format!(" at `{s}`")).unwrap_or_default();
    let step = Step::new(format!("clone {source}{from} to {vmid} ({word})"), call, Impact::None)
        .task(at)
        .limit(Limit::Template(source.get()));
    delta.steps.push(step);
}

/// The value of a field as the merge sees it: what is there, or what its absence means.
pub fn current(guest: GuestType, config: &Config, path: &str) -> Option<String> {
    mapping::read(guest, config, path).or_else(|| firewall::default(path)).or_else(|| mapping::default(guest, path))
}
