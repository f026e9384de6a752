//! A guest that is on another node than its manifest says. It is moved only where its manifest permits that, to where PVE's
//! precheck and the index see it run: everything that stands against it is said before anything is sent.

use crate::base::id::GuestType;
use crate::base::quantity::Bytes;
use crate::kinds::guest::fit::{bridges_query, is_hidden};
use crate::kinds::guest::ha;
use crate::kinds::guest::mapping;
use crate::kinds::guest::observed::GuestSeen;
use crate::kinds::guest::plan::{self, GuestDesired, SHUTDOWN_SECONDS, base};
use crate::kinds::guest::precheck::{self, Precheck, Reason};
use crate::kinds::guest::spec::{MigratePolicy, Placement, Update};
use crate::pve::error::Refusal;
use crate::pve::request::{Call, Method, Query};
use crate::resource::index::Index;
use crate::resource::kind::PlanContext;
use crate::resource::merge::Cause;
use crate::resource::privilege::require;
use crate::resource::reference::Identity;
use crate::resource::step::{Change, Delta, Impact, Limit, Note, Problem, Step};
use std::collections::BTreeMap;

/// Where a guest may be, and how it gets there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moving {
    /// The nodes that it may be on; empty for any.
    pub nodes: Vec<String>,
    /// The field that says so.
    pub field: &'static str,
    /// Whether and how it moves.
    pub policy: MigratePolicy,
}

impl Moving {
    /// From a spec.
    pub fn new(node: Option<&String>, placement: Option<&Placement>, update: Option<&Update>) -> Moving {
        Moving {
            nodes: plan::nodes(node, placement),
            field: if node.is_some() { "node" } else { "placement" },
            policy: update.map(|u| u.migrate).unwrap_or_default(),
        }
    }

    /// Whether a guest on a node is to go elsewhere.
    fn leaves(&self, node: &str) -> bool {
        self.policy != MigratePolicy::Never && !self.nodes.is_empty() && !self.nodes.iter().any(|n| n == node)
    }

    /// What a move reads: PVE's precheck, and the bridges of the nodes that it may go to. And what HA was asked for, which
    /// every change of power has to know.
    pub fn reads(&self, identity: &Identity, index: &Index) -> Vec<Query> {
        let Identity::Guest { vmid, .. } = identity else { return Vec::new() };
        let Some(row) = index.guests.get(vmid) else { return Vec::new() };
        let online = |node: &str| index.nodes.get(node).is_some_and(|n| n.online);
        if !online(&row.node) {
            return Vec::new();
        }
        let mut reads: Vec<Query> = ha::reads(row).into_iter().collect();
        if self.leaves(&row.node) {
            reads.push(check_query(identity));
            reads.extend(self.nodes.iter().filter(|n| online(n)).map(|n| bridges_query(n)));
        }
        reads
    }
}

/// The precheck for all nodes.
fn check_query(identity: &Identity) -> Query {
    Query::new(format!("{}/migrate", base(identity).3))
}

/// A move that was decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Where to.
    pub to: String,
    /// The guest runs, and is shut down for it and started there, by us.
    pub at_rest: bool,
    /// The guest runs, and the move restarts it by itself, which makes pending changes take effect.
    pub restarts: bool,
}

/// Whether the guest is to move and where to; what stands against it is a problem of the plan.
pub fn decide(cx: &PlanContext<'_>, want: &GuestDesired, seen: &GuestSeen, delta: &mut Delta) -> Option<Move> {
    let moving = &want.moving;
    let from = seen.row.node.as_str();
    if !moving.leaves(from) {
        return None;
    }
    let to = choose(cx, want, seen, delta);
    delta.changes.push(Change {
        path: "node".into(),
        from: Some(from.to_owned()),
        to: Some(to.clone().unwrap_or_else(|| moving.nodes.join(" or "))),
        cause: Cause::Change,
        impact: Impact::Migration,
    });
    let to = to?;
    let runs = seen.running();
    let stops = want.fields.get("power").is_some_and(|p| p == "Stopped");
    let machine = want.guest == GuestType::Qemu;
    let at_rest = machine && runs && !stops && moving.policy == MigratePolicy::Offline;
    let problem = |message: String, help: &str| Problem::new("update.migrate", message).help(help);
    let vmid = seen.row.vmid;
    if !machine && runs && !stops && moving.policy == MigratePolicy::Online {
        delta.problems.push(problem(
            format!("container {vmid} runs, and a container does not move while it runs"),
            "write `migrate: Offline`: PVE shuts it down, moves it, and starts it there",
        ));
    }
    if at_rest && seen.row.ha_managed() {
        delta.problems.push(problem(
            format!("HA manages VM {vmid} and would start it again before it is moved"),
            "write `migrate: Online`, or have HA move it at rest: ha-manager relocate",
        ));
    } else if at_rest && want.fields.get("power").is_none_or(|p| p != "Running") {
        delta.problems.push(problem(
            format!("VM {vmid} runs, is to move at rest, and nothing says that it shall run again after"),
            "write `power: Running`, or `migrate: Online`, or shut it down first",
        ));
    }
    require(cx, delta, &format!("/vms/{vmid}"), "VM.Migrate");
    if at_rest {
        require(cx, delta, &format!("/vms/{vmid}"), "VM.PowerMgmt");
    }
    Some(Move { to, at_rest, restarts: !machine && runs && !stops })
}

/// The node that it goes to: of those where nothing stands against it the one with the most free memory.
fn choose(cx: &PlanContext<'_>, want: &GuestDesired, seen: &GuestSeen, delta: &mut Delta) -> Option<String> {
    let index = &cx.seen.index;
    let mut open: Vec<(u64, &str)> = Vec::new();
    let mut closed: BTreeMap<&str, Vec<Reason>> = BTreeMap::new();
    for node in &want.moving.nodes {
        let reasons = against(cx, want, seen, node);
        match index.nodes.get(node) {
            Some(row) if reasons.is_empty() => open.push((row.memory.saturating_sub(row.memory_used), node)),
            Some(_) | None => {
                closed.insert(node, reasons);
            }
        }
    }
    // Among equals the first by name.
    if let Some((_, node)) = open.iter().max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(a.1))) {
        return Some((*node).to_owned());
    }
    for Reason { message, help } in closed.into_values().flatten() {
        let problem = Problem::new(want.moving.field, message).help(help);
        // What is the guest's own stands against every node.
        if !delta.problems.contains(&problem) {
            delta.problems.push(problem);
        }
    }
    None
}

/// All that stands against a node.
fn against(cx: &PlanContext<'_>, want: &GuestDesired, seen: &GuestSeen, node: &str) -> Vec<Reason> {
    let index = &cx.seen.index;
    match index.nodes.get(node) {
        None => {
            let known = index.nodes.keys().cloned().collect::<Vec<_>>().join(", ");
            return vec![Reason::new(format!("there is no node `{node}`"), format!("nodes of this cluster: {known}"))];
        }
        Some(row) if !row.online => {
            let help = "name another one, or wait until it is back";
            return vec![Reason::new(
                format!("node `{node}` does not answer, and guest {} is to move there", seen.row.vmid),
                help,
            )];
        }
        Some(_) => {}
    }
    let mut reasons = Vec::new();
    let asked = prechecked(cx, seen, node);
    match &asked {
        Ok(Some(check)) => {
            reasons.extend(check.reasons.iter().cloned());
            reasons.extend(snapshots(want, seen, check));
        }
        Ok(None) => {}
        Err(why) => reasons.push(why.clone()),
    }
    reasons.extend(clones(cx, want, seen));
    // What a volume will be on when the steps before the move are done.
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for (storage, size) in volumes(want, seen) {
        *sizes.entry(storage).or_default() += size;
    }
    let key = |storage: &str| (node.to_owned(), storage.to_owned());
    let absent: Vec<String> =
        sizes.keys().filter(|s| index.storages.get(&key(s)).is_none_or(|r| !r.available)).cloned().collect();
    if !absent.is_empty() {
        reasons.push(precheck::without_storages(node, &absent));
    }
    for (storage, size) in &sizes {
        let Some(row) = index.storages.get(&key(storage)).filter(|r| r.available && !r.shared) else { continue };
        let free = row.size.saturating_sub(row.used);
        if row.size > 0 && *size > free {
            reasons.push(Reason::new(
                format!(
                    "storage `{storage}` on `{node}` has {} free, and the guest's disks there take {}",
                    Bytes(free >> 20 << 20),
                    Bytes(*size)
                ),
                "make room there, or move its disks to another storage first",
            ));
        }
    }
    reasons.extend(bridges(cx, want, seen, node));
    reasons
}

/// PVE's precheck for a node; `None` where this version has none.
fn prechecked(cx: &PlanContext<'_>, seen: &GuestSeen, node: &str) -> Result<Option<Precheck>, Reason> {
    match cx.seen.answer(&check_query(cx.identity)) {
        Some(Ok(check)) => Ok(Some(precheck::read(check, &seen.row.node, node))),
        Some(Err(error)) if error.refusal() == Some(Refusal::Unsupported) => Ok(None),
        Some(Err(error)) => Err(Reason::new(
            format!("whether guest {} can move could not be asked: {error}", seen.row.vmid),
            error.hint().unwrap_or_else(|| "try again, or leave `update.migrate` out".into()),
        )),
        None => Ok(None),
    }
}

/// PVE copies no local disk of a running VM that has snapshots (`PVE::QemuMigrate`).
fn snapshots(want: &GuestDesired, seen: &GuestSeen, check: &Precheck) -> Option<Reason> {
    let live = want.guest == GuestType::Qemu && seen.running() && want.moving.policy == MigratePolicy::Online;
    (live && !check.disks.is_empty() && seen.config.contains_key("parent")).then(|| {
        Reason::new(
            format!("VM {} runs and has snapshots, and PVE copies no local disks of such a guest", seen.row.vmid),
            "delete its snapshots, move its disks to shared storage, or write `migrate: Offline`",
        )
    })
}

/// PVE copies no linked clone to another node (`PVE::QemuMigrate`, `PVE::LXC::Migrate`); a volume that the same plan moves to
/// another storage is none any more.
fn clones(cx: &PlanContext<'_>, want: &GuestDesired, seen: &GuestSeen) -> Option<Reason> {
    let guest = seen.row.guest;
    let local = |storage: &str| {
        let row = cx.seen.index.storages.get(&(seen.row.node.clone(), storage.to_owned()));
        row.is_some_and(|r| !r.shared)
    };
    let slots = seen.config.iter().filter(|(slot, _)| mapping::is_volume_slot(guest, slot));
    let linked = slots.filter_map(|(slot, text)| {
        let parts = mapping::parts(guest, slot, text);
        let volume = parts.get("file").or_else(|| parts.get("volume"))?;
        let (storage, name) = volume.split_once(':')?;
        let said = want.fields.get(&format!("{}.storage", crate::kinds::guest::room::prefix(guest, slot)));
        let stays = said.is_none_or(|s| s == storage);
        // `base-9000-disk-0/vm-101-disk-0`: the volume's own name stands last.
        let clone =
            name.rsplit_once('/').is_some_and(|(above, own)| above.contains("base-") && !own.starts_with("base-"));
        (clone && stays && local(storage)).then(|| volume.to_owned())
    });
    let linked: Vec<String> = linked.collect();
    (!linked.is_empty()).then(|| {
        Reason::new(
            format!("these are linked clones on storage that only `{}` has: {}", seen.row.node, linked.join(", ")),
            "move them to another storage first: that makes whole copies of them",
        )
    })
}

/// Storage and size of every volume, as they will be when the disks of the manifest are done.
fn volumes(want: &GuestDesired, seen: &GuestSeen) -> Vec<(String, u64)> {
    let guest = seen.row.guest;
    let mut slots: Vec<&str> = seen.config.keys().map(String::as_str).collect();
    slots.extend(want.fields.keys().filter_map(|p| mapping::volume_path(p)).map(|(slot, _)| slot));
    slots.sort_unstable();
    slots.dedup();
    let mut out = Vec::new();
    for slot in slots {
        let held = seen.config.get(slot).map(|text| mapping::parts(guest, slot, text));
        let unused = mapping::slot_number(slot, "unused").is_some();
        let holds = mapping::is_volume_slot(guest, slot) || unused;
        if !holds || held.as_ref().is_some_and(mapping::is_cdrom) {
            continue;
        }
        let prefix = crate::kinds::guest::room::prefix(guest, slot);
        let said = |word: &str| want.fields.get(&format!("{prefix}.{word}")).cloned();
        let there = held.as_ref().and_then(|h| h.get("file").or_else(|| h.get("volume")).map(str::to_owned));
        let storage = said("storage")
            .or_else(|| there.as_deref().and_then(|v| v.split_once(':')).map(|(storage, _)| storage.to_owned()));
        let size = said("size").or_else(|| held.as_ref().and_then(|h| h.get("size").map(str::to_owned)));
        let Some(storage) = storage.filter(|s| !s.starts_with('/')) else { continue };
        out.push((storage, size.and_then(|s| Bytes::parse(&s)).unwrap_or_default().0));
    }
    out
}

/// A bridge that the node does not have: PVE would find out when the guest starts there.
fn bridges(cx: &PlanContext<'_>, want: &GuestDesired, seen: &GuestSeen, node: &str) -> Option<Reason> {
    let list = cx.seen.value(&bridges_query(node))?.as_array()?;
    let known: Vec<&str> = list.iter().filter_map(|b| b["iface"].as_str()).collect();
    let used = seen.config.keys().filter(|k| mapping::is_network(k)).filter_map(|slot| {
        let path = format!("networks.{slot}.bridge");
        want.fields.get(&path).cloned().or_else(|| mapping::read(want.guest, &seen.config, &path))
    });
    let mut absent: Vec<String> = used.filter(|b| !known.contains(&b.as_str()) && !is_hidden(cx, node, b)).collect();
    absent.sort();
    absent.dedup();
    // PVE hides bridges without SDN rights: an empty list proves nothing.
    (!known.is_empty() && !absent.is_empty()).then(|| {
        Reason::new(
            format!("`{node}` does not have the bridges that it uses: {}", absent.join(", ")),
            format!("make them there, or take others; bridges of `{node}`: {}", known.join(", ")),
        )
    })
}

/// Adds the steps of a move to those of the plan.
pub fn steps(cx: &PlanContext<'_>, want: &GuestDesired, seen: &GuestSeen, go: &Move, delta: &mut Delta) {
    let (guest, vmid, node, path) = base(cx.identity);
    let stays_on = seen.running() && !go.at_rest && want.fields.get("power").is_none_or(|p| p != "Stopped");
    let mut call = Call::new(Method::Post, format!("{path}/migrate")).with("target", &go.to);
    let mut limits = vec![Limit::Node(go.to.clone())];
    let (how, impact) = match (guest, stays_on) {
        (GuestType::Qemu, true) => {
            call = call.with("online", 1);
            let local = prechecked(cx, seen, &go.to).ok().flatten().map(|c| c.local).unwrap_or_default();
            if !local.is_empty() {
                call = call.with("with-local-disks", 1);
                let text = format!("these are copied while it runs: {}", local.join(", "));
                delta.notes.push(Note::Info(text));
                let storages = local.iter().filter_map(|v| v.split_once(':')).map(|(s, _)| Limit::Storage(s.into()));
                limits.extend(storages);
                limits.sort();
                limits.dedup();
            }
            ("while it runs", Impact::Migration)
        }
        (GuestType::Lxc, true) => {
            call = call.with("restart", 1).with("timeout", SHUTDOWN_SECONDS);
            let text = "a container does not move while it runs: PVE shuts it down, moves it, and starts it there";
            delta.notes.push(Note::Info(text.into()));
            ("by a restart", Impact::Restart)
        }
        (GuestType::Qemu | GuestType::Lxc, false) => ("at rest", Impact::Migration),
    };
    let mut step = Step::new(format!("move {guest} {vmid} to {} ({how})", go.to), call, impact).task(node);
    limits.retain(|l| !step.limits.contains(l));
    step.limits.extend(limits);
    if seen.row.ha_managed() {
        let text = "HA manages it: PVE asks the HA manager to move it (task hamigrate), which does so in a moment";
        delta.notes.push(Note::Info(text.into()));
        step = step.settles(ha::SETTLES);
    }
    delta.steps.push(step);
}
