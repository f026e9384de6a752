//! The plan of a guest: create, clone, change, power, delete. Position is read off the observation every time: a clone that
//! was just made differs from its manifest, and the next round writes the rest.

use crate::base::id::{GuestType, VmId};
use crate::kinds::guest::compose::Write;
use crate::kinds::guest::file::File;
use crate::kinds::guest::mapping::{self, Config};
use crate::kinds::guest::moving::Moving;
use crate::kinds::guest::observed::GuestSeen;
use crate::kinds::guest::rights;
use crate::kinds::guest::spec::{CloneMode, RebootPolicy, VolumePolicy};
use crate::kinds::guest::{create, fit, ha, update};
use crate::pve::request::{Call, Method, Query};
use crate::resource::kind::PlanContext;
use crate::resource::merge::Fields;
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::{Action, Delta, Guard, Impact, Note, Problem, Step};

/// How long a reboot or an orderly shutdown may take, in seconds; then the task fails and nothing is forced.
pub const SHUTDOWN_SECONDS: u32 = 180;

/// Where a new guest comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From nothing: a VM with empty disks.
    Empty,
    /// From nothing, with a CD to install from.
    Iso(File),
    /// A VM, one disk of which is a copy of an image.
    Image {
        /// The disk's slot.
        slot: String,
        /// The image.
        file: File,
    },
    /// A CT from a container template.
    OsTemplate(File),
    /// A clone of a guest template of the manifests.
    Template {
        /// Which.
        template: ResourceRef,
        /// Linked or full.
        mode: CloneMode,
        /// Where the disks of a full clone go.
        storage: Option<String>,
    },
    /// A clone of a guest.
    Guest {
        /// Which.
        of: Original,
        /// As it was at this snapshot.
        snapshot: Option<String>,
        /// Linked or full.
        mode: CloneMode,
        /// Where the disks of a full clone go.
        storage: Option<String>,
    },
    /// A backup that is restored.
    Archive {
        /// The backup's volume id.
        volume: String,
        /// Where its disks go; where they were, when left out.
        storage: Option<String>,
        /// Whether it keeps the MAC addresses of the original.
        keep_mac: bool,
    },
    /// It exists and is taken over as it stands.
    Existing,
}

/// A guest that another one is a copy of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Original {
    /// By its number.
    Number(VmId),
    /// By its name, in the manifests or on the cluster.
    Name(String),
}

impl Original {
    /// The resource of a kind that it may be; `None` where it is a number.
    pub fn declared(&self, kind: &str) -> Option<ResourceRef> {
        match self {
            Original::Number(_) => None,
            Original::Name(name) => Some(ResourceRef::new(kind, name)),
        }
    }
}

impl Source {
    /// In a few words, for the marker: which source, not how it is copied. `None` where there is none to speak of.
    pub fn summary(&self) -> Option<String> {
        Some(match self {
            Source::Empty | Source::Existing => return None,
            Source::Iso(file) => format!("iso {}", file.summary()),
            Source::Image { file, .. } => format!("image {}", file.summary()),
            Source::OsTemplate(file) => file.summary(),
            Source::Template { template, .. } => format!("template {}", template.name),
            Source::Guest { of, snapshot, .. } => {
                let of = match of {
                    Original::Number(vmid) => vmid.to_string(),
                    Original::Name(name) => name.clone(),
                };
                format!("clone {of}{}", snapshot.as_ref().map(|s| format!("@{s}")).unwrap_or_default())
            }
            Source::Archive { volume, .. } => format!("archive {volume}"),
        })
    }
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
    /// What becomes of a volume whose slot left the manifest.
    pub volumes: VolumePolicy,
    /// The slot and the storage of a cloud-init drive that is to be there.
    pub cloud_init_drive: Option<(String, String)>,
    /// Where it may be, and how it gets there.
    pub moving: Moving,
    /// Whether it is to be a PVE template in the end.
    pub template: bool,
    /// The version of the image that it is, where versions are kept.
    pub version: Option<String>,
    /// Parameters of creation alone (`unprivileged` of a CT), already PVE's.
    pub at_creation: Vec<(String, String)>,
}

/// A guest's path below `/nodes`.
pub fn base(identity: &Identity) -> (GuestType, VmId, &str, String) {
    match identity {
        Identity::Guest { guest, vmid, node } => (*guest, *vmid, node, format!("/nodes/{node}/{guest}/{vmid}")),
        Identity::Pool(_) | Identity::Object { .. } => unreachable!("a guest is addressed by its VMID"),
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
        (Some(want), None) => create::create(cx, want, &mut delta),
        (Some(want), Some(seen)) => update::update(cx, want, seen, &mut delta),
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
    ha::check_delete(seen, delta);
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
    let query = Query::new(format!("{path}/config"));
    let guard = Some(Guard { query, owner: cx.resource.clone(), set: cx.set.to_owned(), applied: None });
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

/// A change of power, as a task.
pub fn power_step(cx: &PlanContext<'_>, verb: &str) -> Step {
    let (guest, vmid, node, path) = base(cx.identity);
    let mut call = Call::new(Method::Post, format!("{path}/status/{verb}"));
    if verb != "start" {
        call = call.with("timeout", SHUTDOWN_SECONDS);
    }
    Step::new(format!("{verb} {guest} {vmid}"), call, Impact::Restart).task(node)
}

/// A cloud-init drive where one is wanted and none is there.
pub fn add_cloud_init_drive(want: &GuestDesired, config: &Config, write: &mut Write) {
    let Some((slot, storage)) = &want.cloud_init_drive else { return };
    let has = config.iter().any(|(k, v)| mapping::is_disk_slot(k) && v.contains("cloudinit"));
    if !has && !config.contains_key(slot) {
        write.set.insert(slot.clone(), format!("{storage}:cloudinit"));
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
