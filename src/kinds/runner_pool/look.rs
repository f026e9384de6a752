//! From what was read to what is decided about: a pool's machines, what is not provably its own, GitHub's lists, the template, and
//! the room on nodes.

use crate::base::id::{GuestType, VmId};
use crate::github::demand::Demand;
use crate::github::operation::Operation;
use crate::github::runner::Runner;
use crate::kinds::guest::observed::{GuestSeen, decode_row};
use crate::kinds::guest::rules::checks::Checks;
use crate::kinds::guest::rules::evaluate::stops_conversion;
use crate::kinds::guest::rules::sets::RuleSet;
use crate::kinds::guest::spec::CloneMode;
use crate::kinds::guest::{firewall, fit, mapping};
use crate::kinds::runner_pool::decide::{Decision, Room, Seen, Template, decide};
use crate::kinds::runner_pool::machine::{Inside, Machine, Power};
use crate::kinds::runner_pool::marks::Marks;
use crate::kinds::runner_pool::name;
use crate::kinds::runner_pool::spec::{DemandMode, Os, RunnerPoolSpec, ask, place};
use crate::kinds::runner_pool::{NAME, warm, way};
use crate::pve::request::Query;
use crate::resource::index::{GuestRow, Index};
use crate::resource::observation::{Observation, guest_query};
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::Problem;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The annotation of a manifest with which a pool is drained: `pvectl/runners-drain: "true"`.
pub const DRAIN: &str = "pvectl/runners-drain";
/// The annotation of a manifest that says how many idle ones are kept, whatever its spec says: `pvectl/runners-idle: "3"`.
pub const IDLE: &str = "pvectl/runners-idle";

/// What a look at a pool needs besides its spec.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// Everything seen.
    pub seen: &'a Observation,
    /// What every resource of the set is.
    pub identities: &'a BTreeMap<ResourceRef, Identity>,
    /// The manifest set.
    pub set: &'a str,
    /// The pool's name.
    pub name: &'a str,
    /// Its manifest's annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// The pool itself goes.
    pub going: bool,
}

/// A guest in a pool's range that is not provably one of its machines. It is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its number.
    pub vmid: VmId,
    /// Its name.
    pub name: String,
    /// Why it is not ours.
    pub why: String,
}

/// A machine with all that was read of it.
pub struct Own {
    /// As it is decided about.
    pub machine: Machine,
    /// Its configuration and marker.
    pub guest: GuestSeen,
}

/// A pool as it was seen, and what is decided.
pub struct Look {
    /// Its machines, by number.
    pub own: Vec<Own>,
    /// What is decided: verdicts in the order of the machines.
    pub decision: Decision,
    /// How much work there is, or why that could not be read.
    pub demand: Result<Demand, String>,
    /// GitHub's runners, or why they could not be read.
    pub runners: Result<Vec<Runner>, String>,
    /// What is not provably the pool's.
    pub foreign: Vec<Foreign>,
    /// What may be its machines, and could not be read.
    pub unread: Vec<Foreign>,
    /// The template, where machines can be made of it.
    pub template: Option<GuestSeen>,
    /// What stands against new machines, by field.
    pub problems: Vec<Problem>,
    /// The template is not there yet.
    pub waits_for: Option<ResourceRef>,
}

/// What stands in a pool's range, or has its marker.
#[derive(Default)]
struct Ranks {
    /// Its machines.
    own: Vec<Own>,
    /// Numbers under which something is being made.
    making: BTreeSet<VmId>,
    /// What may be its machines, and could not be read.
    unread: Vec<Foreign>,
    /// How many of the foreign ones are clones that were cut off.
    cut_off: usize,
    /// What is not provably its own.
    foreign: Vec<Foreign>,
}

/// How far a guest is that carries no marker yet.
enum Unfinished {
    /// A task makes it.
    Making,
    /// No task does.
    CutOff,
}

/// What a person does about a clone that nobody makes any more.
fn cut_off(row: &GuestRow) -> String {
    let (tool, vmid) = (if row.guest == GuestType::Qemu { "qm" } else { "pct" }, row.vmid);
    format!("a clone of it was cut off: look at it, then on {}: {tool} unlock {vmid}, {tool} destroy {vmid}", row.node)
}

/// What machines are made of.
struct Origin {
    /// The template; why no machine can be made of it.
    usable: Result<(Template, GuestSeen), String>,
    /// What stands against it, by field.
    problems: Vec<Problem>,
    /// It is not there yet.
    waits_for: Option<ResourceRef>,
}

/// The template of a pool, as manifests name it.
pub fn template_ref(spec: &RunnerPoolSpec) -> ResourceRef {
    ResourceRef::new("GuestTemplate", &spec.template)
}

/// Whether a row may be a machine of a pool of this name: by its number, or by its name.
fn may_be(row: &GuestRow, spec: &RunnerPoolSpec, pool: &str) -> bool {
    !row.template && (in_range(row.vmid, spec) || name::read(pool, &row.name).is_some())
}

fn in_range(vmid: VmId, spec: &RunnerPoolSpec) -> bool {
    (spec.vmid_range.0..=spec.vmid_range.1).contains(&vmid)
}

/// What is read of a pool. `pool` is its name.
pub fn reads(pool: &str, spec: &RunnerPoolSpec, index: &Index) -> Vec<Query> {
    let mut reads = BTreeSet::new();
    let place = place(spec);
    reads.extend(Operation::Runners.query(&place));
    if spec.asks() {
        reads.extend(Operation::Demand(ask(spec, pool)).query(&place));
    }
    let online = |row: &&Arc<GuestRow>| index.nodes.get(&row.node).is_none_or(|n| n.online);
    if !spec.networks.is_empty() {
        let nodes = index.nodes.values().filter(|node| node.online).map(|node| &node.name);
        let meant = nodes.filter(|node| spec.nodes.is_empty() || spec.nodes.contains(node));
        reads.extend(meant.map(|node| fit::bridges_query(node)));
    }
    reads.extend(firewall::reads(None, spec.firewall.as_ref()));
    for row in index.guests.values().filter(online).filter(|row| may_be(row, spec, pool)) {
        reads.extend(fit::looks(row));
        // A guest that was just made or started is neither in the index, which is up to ten seconds old.
        if row.status != "running" {
            reads.extend(firewall::reads(Some(row), spec.firewall.as_ref()));
        }
        if row.status != "stopped" {
            reads.extend(way::reads(row, spec));
        }
    }
    reads.into_iter().collect()
}

impl Around<'_> {
    /// The proof in names of the pool's machines.
    pub fn proof(&self, spec: &RunnerPoolSpec) -> String {
        name::proof(self.seen.index.cluster_name(), self.set, self.name, &place(spec))
    }

    /// Whether the pool is drained.
    fn drained(&self, spec: &RunnerPoolSpec) -> bool {
        spec.drained || self.annotations.get(DRAIN).is_some_and(|v| v == "true")
    }

    /// What was seen, and what is decided.
    pub fn look(&self, spec: &RunnerPoolSpec) -> Look {
        let place = place(spec);
        let runners = match Operation::Runners.query(&place).and_then(|query| self.seen.answer(&query)) {
            Some(Ok(answer)) => Runner::list(answer).ok_or_else(|| "the list of runners is no list".to_owned()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("it was not asked".to_owned()),
        };
        let demand = self.demand(spec);
        let Ranks { own, making, unread, cut_off, foreign } =
            self.machines(spec, runners.as_deref().unwrap_or_default());
        let Origin { usable, problems, waits_for } = self.template(spec);
        let declared = self.identities.values().filter_map(|identity| match identity {
            Identity::Guest { vmid, .. } => Some(*vmid),
            Identity::Pool(_) | Identity::Object { .. } => None,
        });
        let mut idle = warm::idle(spec, self.seen.at);
        if let Some(wanted) = self.annotations.get(IDLE).and_then(|v| v.parse::<u32>().ok()) {
            idle.wanted = wanted.min(spec.size.max);
        }
        let proof = self.proof(spec);
        let (template, guest) = match usable {
            Ok((template, guest)) => (Ok(template), Some(guest)),
            Err(why) => (Err(why), None),
        };
        let mut decision = decide(&Seen {
            spec,
            pool: self.name,
            now: self.seen.at,
            idle,
            proof: &proof,
            runners: runners.as_deref().map_err(Clone::clone),
            demand: demand.as_ref().map_err(Clone::clone),
            machines: own.iter().map(|own| own.machine.clone()).collect(),
            making,
            unread: unread.iter().map(|guest| guest.vmid).collect(),
            cut_off,
            taken: self.seen.index.guests.keys().copied().chain(declared).collect(),
            rooms: self.rooms(spec, guest.as_ref()),
            template,
            drained: self.drained(spec),
            going: self.going,
        });
        if waits_for.is_some() {
            // That it is not there yet is told as what is waited for.
            decision.conditions.retain(|condition| condition.reason != "TemplateUnfit");
        }
        Look { own, decision, demand, runners, foreign, unread, template: guest, problems, waits_for }
    }

    fn demand(&self, spec: &RunnerPoolSpec) -> Result<Demand, String> {
        if spec.demand == DemandMode::Idle {
            return Ok(Demand { at: self.seen.at, ..Demand::default() });
        }
        let query = Operation::Demand(ask(spec, self.name)).query(&place(spec));
        match query.and_then(|query| self.seen.answer(&query)) {
            Some(Ok(answer)) => {
                Demand::deserialize(answer.as_ref()).map_err(|error| format!("its demand is none: {error}"))
            }
            Some(Err(error)) => Err(error.to_string()),
            None => Err("it was not asked".to_owned()),
        }
    }

    /// The pool's machines, and what else stands in its range.
    fn machines(&self, spec: &RunnerPoolSpec, runners: &[Runner]) -> Ranks {
        let mut ranks = Ranks::default();
        let pool = ResourceRef::new(NAME, self.name);
        let foreign = |row: &GuestRow, why| Foreign { vmid: row.vmid, name: row.name.clone(), why };
        for row in self.seen.index.guests.values() {
            let marker = self.seen.guest_marker(row.vmid);
            let member = pool.member(row.vmid);
            match marker {
                Some(m) if m.owner == member && m.set == self.set && m.vmid == Some(row.vmid.get()) => {
                    match decode_row(row, self.seen) {
                        Ok(Some(guest)) => ranks.own.push(self.own(row, guest, spec, runners)),
                        Ok(None) => {}
                        Err(error) => {
                            ranks.unread.push(foreign(row, format!("it could not be read: {}", error.message)));
                        }
                    }
                }
                Some(m) if in_range(row.vmid, spec) => {
                    ranks.foreign.push(foreign(row, format!("it belongs to {} of the set `{}`", m.owner, m.set)));
                }
                None if self.may_be_unread(row, spec) => ranks.unread.push(foreign(row, self.unproven(row))),
                None if in_range(row.vmid, spec) => match self.unfinished(row, spec) {
                    Some(Unfinished::Making) => drop(ranks.making.insert(row.vmid)),
                    Some(Unfinished::CutOff) => {
                        ranks.cut_off += 1;
                        ranks.foreign.push(foreign(row, cut_off(row)));
                    }
                    None => ranks.foreign.push(foreign(row, self.unproven(row))),
                },
                Some(_) | None => {}
            }
        }
        ranks
    }

    /// Whether a guest without a marker may be one of the pool's machines that cannot be read just now: its node is away, or the
    /// request failed.
    fn may_be_unread(&self, row: &GuestRow, spec: &RunnerPoolSpec) -> bool {
        let read = matches!(self.seen.answer(&guest_query(row)), Some(Ok(_)));
        !read && row.tags.contains(mapping::TAG) && may_be(row, spec, self.name)
    }

    /// How far a guest of the range is that is being made and carries no marker yet: it may be one of ours.
    fn unfinished(&self, row: &GuestRow, spec: &RunnerPoolSpec) -> Option<Unfinished> {
        row.lock.as_deref().filter(|lock| matches!(*lock, "clone" | "create" | "qmcreate" | "vzcreate"))?;
        let template = match self.identities.get(&template_ref(spec)) {
            Some(Identity::Guest { vmid, .. }) => Some(vmid),
            Some(Identity::Pool(_) | Identity::Object { .. }) | None => None,
        };
        let index = &self.seen.index;
        let ours = template.is_some_and(|vmid| index.cloning.contains(vmid));
        match () {
            () if ours || index.working.contains_key(&row.vmid) => Some(Unfinished::Making),
            // Somebody clones something else.
            () if !index.cloning.is_empty() => None,
            () => Some(Unfinished::CutOff),
        }
    }

    fn unproven(&self, row: &GuestRow) -> String {
        match self.seen.answer(&guest_query(row)) {
            Some(Ok(_)) if row.template => "it is a template".to_owned(),
            Some(Ok(_)) => "it carries no marker of pvectl's".to_owned(),
            Some(Err(error)) => format!("it could not be read: {error}"),
            None => "it was not read".to_owned(),
        }
    }

    fn own(&self, row: &Arc<GuestRow>, guest: GuestSeen, spec: &RunnerPoolSpec, runners: &[Runner]) -> Own {
        let key = if row.guest == GuestType::Qemu { "name" } else { "hostname" };
        let marker = guest.marker.as_deref();
        let marks = marker.map(|m| Marks::read(&m.applied)).unwrap_or_default();
        // Its runner goes by the name that it was made with, whatever the guest is called by now.
        let name = if marks.made > 0 && !marks.proof.is_empty() {
            name::name(self.name, row.vmid, &marks.proof, marks.made)
        } else {
            guest.config.get(key).unwrap_or(&row.name).clone()
        };
        let online = self.seen.index.nodes.get(&row.node).is_none_or(|n| n.online);
        let power = match row.status.as_str() {
            _ if !online => Power::Unknown,
            "running" => Power::Running,
            "stopped" => Power::Stopped,
            _ => Power::Unknown,
        };
        let inside = if power == Power::Running { way::inside(row, spec, self.seen) } else { Inside::Off };
        // The task of a clone names its source alone.
        let young = guest.lock.as_deref().is_some_and(|lock| lock == "clone" || lock == "create");
        let cloned = young && marks.template.is_some_and(|vmid| self.seen.index.cloning.contains(&vmid));
        let machine = Machine {
            guest: row.guest,
            vmid: row.vmid,
            node: row.node.clone(),
            runner: runners.iter().find(|runner| runner.name == name).cloned(),
            name,
            power,
            lock: guest.lock.clone(),
            working: self.seen.index.working.contains_key(&row.vmid) || cloned,
            memory: row.memory,
            version: marker.and_then(|m| m.version.clone()),
            marks,
            inside,
        };
        Own { machine, guest }
    }

    /// The template, and what stands against machines made of it.
    fn template(&self, spec: &RunnerPoolSpec) -> Origin {
        let to = template_ref(spec);
        let missing = |why: String| Origin { usable: Err(why), problems: Vec::new(), waits_for: Some(to.clone()) };
        let Some(Identity::Guest { vmid, .. }) = self.identities.get(&to) else {
            return missing(format!("{to} is not there yet"));
        };
        let row = self.seen.index.guests.get(vmid);
        let Some(guest) = row.and_then(|row| decode_row(row, self.seen).ok().flatten()) else {
            return missing(format!("{to} is not there yet, or cannot be read"));
        };
        if !guest.row.template || guest.lock.is_some() || !fit::unconverted(&guest).is_empty() {
            return missing(format!("{to} is no template yet"));
        }
        let mut problems = Vec::new();
        if let Some(checks) = checks(spec, guest.row.guest) {
            problems.extend(stops_conversion(&checks, &guest).into_iter().map(|mut problem| {
                problem.message = format!("the template {vmid}: {}", problem.message);
                problem
            }));
        }
        problems.extend(way::against(guest.row.guest, spec));
        let usable = match problems.first() {
            Some(problem) => Err(problem.message.clone()),
            None => {
                let version = guest.marker.as_ref().and_then(|m| m.version.clone());
                Ok((Template { vmid: *vmid, version, memory: guest.row.memory }, guest))
            }
        };
        Origin { usable, problems, waits_for: None }
    }

    /// The nodes that machines may be made on, and what is free there.
    fn rooms(&self, spec: &RunnerPoolSpec, template: Option<&GuestSeen>) -> Vec<Room> {
        let Some(template) = template else { return Vec::new() };
        let index = &self.seen.index;
        let home = template.row.node.clone();
        let nodes = if spec.nodes.is_empty() { vec![home.clone()] } else { spec.nodes.clone() };
        let volumes = fit::volumes(template.row.guest, &template.config);
        let storages: BTreeSet<&str> = match (&spec.clone.mode, &spec.clone.storage) {
            (CloneMode::Full, Some(storage)) => std::iter::once(storage.as_str()).collect(),
            (CloneMode::Full | CloneMode::Linked, _) => {
                volumes.iter().filter_map(|v| Some(v.split_once(':')?.0)).collect()
            }
        };
        let size = if spec.clone.mode == CloneMode::Full { disks(template) } else { 0 };
        let floor = spec.min_free_storage.map_or(0, |size| size.0.0);
        let keep = spec.min_free_memory.map_or(0, |size| i64::try_from(size.0.0).unwrap_or(i64::MAX));
        let room = |node: String| {
            let Some(row) = index.nodes.get(&node) else {
                return Room { node, memory: 0, against: Some("there is no such node".to_owned()) };
            };
            let free =
                i64::try_from(row.memory).unwrap_or(i64::MAX) - i64::try_from(row.memory_used).unwrap_or(i64::MAX);
            let storage = |name: &&str| -> Option<String> {
                let at = index.storages.get(&(node.clone(), (*name).to_owned()));
                let Some(at) = at.filter(|at| at.available) else {
                    return Some(format!("storage `{name}` is not there"));
                };
                let left = at.size.saturating_sub(at.used);
                let wants = size.saturating_add(floor);
                // What tells no size cannot be full.
                (at.size > 0 && left < wants.max(1)).then(|| {
                    let shown = crate::base::quantity::Bytes(left);
                    format!("storage `{name}` has only {shown} left")
                })
            };
            let bound =
                |name: &&str| index.storages.get(&(home.clone(), (*name).to_owned())).is_some_and(|s| !s.shared);
            let of_template = || volumes.iter().filter_map(|v| Some(v.split_once(':')?.0));
            let against = match () {
                () if !row.online => Some("it does not answer".to_owned()),
                () if node != home && of_template().any(|name| bound(&name)) => {
                    Some(format!("the template's disks are on storage of `{home}` alone"))
                }
                () => storages.iter().find_map(storage),
            };
            Room { memory: free.saturating_sub(keep), against, node }
        };
        nodes.into_iter().map(room).collect()
    }
}

/// The rules that a template must pass.
fn checks(spec: &RunnerPoolSpec, guest: GuestType) -> Option<Checks> {
    match (&spec.checks, guest) {
        (Some(checks), _) => Some(checks.clone()),
        (None, GuestType::Lxc) => None,
        (None, GuestType::Qemu) => Some(Checks::of(match spec.bootstrap.os {
            Os::Linux => RuleSet::LinuxRunner,
            Os::Windows => RuleSet::WindowsRunner,
        })),
    }
}

/// Bytes of a template's disks.
fn disks(template: &GuestSeen) -> u64 {
    let slots = template.config.iter().filter(|(key, _)| mapping::is_volume_slot(template.row.guest, key));
    let size = |(key, value): (&String, &String)| {
        let parts = mapping::parts(template.row.guest, key, value);
        crate::base::quantity::Bytes::parse(parts.get("size")?).map(|bytes| bytes.0)
    };
    slots.filter_map(size).sum()
}
