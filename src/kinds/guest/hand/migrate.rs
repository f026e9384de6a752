//! A guest to another node. A VM moves while it runs, with `withLocalDisks` its local disks with it; a container moves
//! between shutdown and start. PVE's own precheck is asked first, and its reasons are said.

use crate::base::id::GuestType;
use crate::kinds::guest::hand::clone::storages_of;
use crate::kinds::guest::hand::deed::{Scene, base, open, task};
use crate::kinds::guest::precheck::{self, Precheck, Reason};
use crate::pve::request::{Call, Method, Query};
use crate::resource::index::GuestRow;
use crate::resource::observation::guest_query;
use crate::resource::step::{Action, Delta, Impact};
use std::collections::BTreeSet;

/// How a guest moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Running guests online (containers by a restart), others offline.
    #[default]
    AsItIs,
    /// While it runs, or not at all.
    Online,
    /// While it is off, or not at all.
    Offline,
}

/// A move.
#[derive(Clone, Debug)]
pub struct Migrate {
    /// Where to.
    pub node: String,
    /// How.
    pub mode: Mode,
    /// Disks on storage that only the old node has move too, while it runs.
    pub with_local_disks: bool,
}

fn check_query(migrate: &Migrate, row: &GuestRow) -> Query {
    Query::new(format!("{}/migrate", base(row))).with("target", &migrate.node)
}

/// What is read.
pub fn reads(migrate: &Migrate, row: &GuestRow, first: bool) -> BTreeSet<Query> {
    if first && row.node != migrate.node {
        BTreeSet::from([check_query(migrate, row), guest_query(row)])
    } else {
        BTreeSet::new()
    }
}

/// What is to be done.
pub fn plan(migrate: &Migrate, scene: &Scene<'_>, delta: &mut Delta) {
    let Migrate { node, mode, with_local_disks } = migrate;
    let row = scene.row;
    if row.node == *node {
        scene.say(delta, format!("it is on `{node}` already"));
        delta.action = Action::NoOp;
        return;
    }
    let running = scene.running();
    scene.require_here(delta, &["VM.Migrate"]);
    target(node, scene, delta);
    modes(*mode, running, scene, delta);
    if scene.is_first() && delta.problems.is_empty() {
        prechecked(migrate, running, scene, delta);
        storages(node, scene, delta);
    }
    let mut call = Call::new(Method::Post, format!("{}/migrate", base(row))).with("target", node);
    let how = match (row.guest, running) {
        (GuestType::Qemu, true) => {
            call = call.with("online", 1);
            "online"
        }
        (GuestType::Lxc, true) => {
            call = call.with("restart", 1);
            scene.say(delta, "a container does not move while it runs: it is shut down, moved, and started there");
            "by a restart"
        }
        (GuestType::Qemu | GuestType::Lxc, false) => "offline",
    };
    if *with_local_disks && running && row.guest == GuestType::Qemu {
        call = call.with("with-local-disks", 1);
    }
    if scene.managed() {
        scene.say(delta, "HA manages it: PVE asks the HA manager to move it (task hamigrate), which does so later");
    }
    let step = task(format!("migrate {} to `{node}` ({how})", row.vmid), call, Impact::Migration, row);
    open(delta, "node", Some(&row.node), Some(node), step);
}

fn target(node: &str, scene: &Scene<'_>, delta: &mut Delta) {
    match scene.seen.index.nodes.get(node) {
        None => {
            let known = scene.seen.index.nodes.keys().cloned().collect::<Vec<_>>().join(", ");
            scene.refuse(delta, format!("there is no node `{node}`"), format!("nodes: {known}"));
        }
        Some(found) if !found.online => {
            scene.refuse(delta, format!("node `{node}` does not answer"), "take another, or wait until it is back");
        }
        Some(_) => {}
    }
}

fn modes(mode: Mode, running: bool, scene: &Scene<'_>, delta: &mut Delta) {
    let (word, vmid) = (scene.word(), scene.row.vmid);
    match (mode, running, scene.row.guest) {
        (Mode::Online, true, GuestType::Lxc) => scene.refuse(
            delta,
            "a container does not move while it runs",
            "leave --online out: it is then shut down, moved, and started there",
        ),
        (Mode::Online, false, _) => {
            scene.refuse(delta, format!("{word} {vmid} does not run"), "leave --online out");
        }
        (Mode::Offline, true, _) => scene.refuse(
            delta,
            format!("{word} {vmid} runs"),
            format!("shut it down first: pvectl shutdown {} {vmid}", scene.target.resource.kind),
        ),
        (Mode::AsItIs, _, _) | (Mode::Online, true, GuestType::Qemu) | (Mode::Offline, false, _) => {}
    }
}

/// What PVE's precheck says.
fn prechecked(migrate: &Migrate, running: bool, scene: &Scene<'_>, delta: &mut Delta) {
    let Some(check) = scene.seen.value(&check_query(migrate, scene.row)) else { return };
    let Precheck { storages, reasons, disks, local: _, mapped, along } =
        precheck::read(check, &scene.row.node, &migrate.node);
    if !storages.is_empty() {
        let Reason { message, help } = precheck::without_storages(&migrate.node, &storages);
        scene.refuse(delta, message, help);
    }
    for Reason { message, help } in reasons {
        scene.refuse(delta, message, help);
    }
    if running && !disks.is_empty() && !migrate.with_local_disks {
        scene.refuse(
            delta,
            format!("disks of it are on storage that only `{}` has: {}", scene.row.node, disks.join(", ")),
            "say --with-local-disks: they are copied while it runs",
        );
    }
    if running && !mapped.is_empty() {
        scene.say(delta, format!("it uses mapped devices, which not all move while it runs: {}", mapped.join(", ")));
    }
    if !along.is_empty() {
        scene.say(delta, format!("an HA affinity rule moves these along: {}", along.join(", ")));
    }
}

/// What the index knows about the storages of the other node, where PVE has no precheck.
fn storages(node: &str, scene: &Scene<'_>, delta: &mut Delta) {
    let key = |s: &String| (node.to_owned(), s.clone());
    let there = |s: &String| scene.seen.index.storages.get(&key(s)).is_some_and(|r| r.available);
    let absent: Vec<String> = storages_of(scene).into_iter().filter(|s| !there(s)).collect();
    if !absent.is_empty() && delta.problems.is_empty() {
        let Reason { message, help } = precheck::without_storages(node, &absent);
        scene.refuse(delta, message, help);
    }
}
