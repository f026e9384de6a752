//! A guest that is not there yet: from nothing, from an archive, or as a clone.

use crate::base::id::{GuestType, VmId};
use crate::kinds::guest::compose::{self};
use crate::kinds::guest::mapping::{self, Config};
use crate::kinds::guest::plan::{GuestDesired, Source, add_cloud_init_drive, base, power_step};
use crate::kinds::guest::spec::CloneMode;
use crate::kinds::guest::{firewall, fit};
use crate::pve::request::{Call, Method};
use crate::resource::kind::PlanContext;
use crate::resource::marker::Marker;
use crate::resource::merge::{Difference, Fields};
use crate::resource::step::{Action, Change, Delta, Impact, Limit, Note, Problem, Step};

/// What makes it.
pub fn create(cx: &PlanContext<'_>, want: &GuestDesired, delta: &mut Delta) {
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
            // Its firewall is set when it is there, and before it runs for the first time.
            let guarded = want.fields.keys().any(|path| firewall::is_field(path));
            let applied: Fields = want
                .fields
                .iter()
                .filter(|(p, _)| !firewall::is_field(p))
                .map(|(p, v)| (p.clone(), v.clone()))
                .collect();
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
            if !guarded && want.fields.get("power").is_some_and(|p| p == "Running") {
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

/// The value of a field as the merge sees it: what is there, or what its absence means.
pub fn current(guest: GuestType, config: &Config, path: &str) -> Option<String> {
    mapping::read(guest, config, path).or_else(|| firewall::default(path)).or_else(|| mapping::default(guest, path))
}
