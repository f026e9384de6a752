//! What jobs do, and how long it takes.

use super::disk::{Disk, Trouble, Worker};
use super::jobs::{DUE, later, seconds};
use super::packages::{After, Distribution, Update};
use super::system::{Place, System};
use crate::host::job::{Deed, Job, Package};
use crate::host::state::{Changed, Check, JobState, Pending, Phase};
use crate::sim::baseline::EPOCH_MS;
use crate::sim::world::World;
use serde_json::Value;

/// How often a check that fails is made again.
const CHECK_EVERY_MS: u64 = 10_000;

/// The unit that a broken update leaves behind.
const BROKEN: &str = "app.service";

/// How long a job takes when nothing is in its way. A health check looks for the first time after that.
pub(super) fn takes_ms(world: &World, place: &Place, job: &Job) -> u64 {
    let packages = |n: usize| 60_000 + 10_000 * u64::try_from(n).unwrap_or(u64::MAX).min(12);
    match &job.deed {
        Deed::Assess { refresh, .. } => {
            if *refresh {
                20_000
            } else {
                6000
            }
        }
        Deed::Patch { packages: list, .. } => packages(list.len()),
        Deed::Upgrade { .. } => 60_000 + packages(updates(world, place).len()),
        Deed::Health { .. } => 3000,
        Deed::Note { .. } | Deed::Revive { .. } => 0,
    }
}

/// What the system's index has that is newer, but for what is held.
fn updates(world: &World, place: &Place) -> Vec<Update> {
    let Some(system) = world.system(place) else { return Vec::new() };
    let Some(disk) = world.disk_of(place) else { return Vec::new() };
    let mut all = system.distribution.updates(system.container, &disk.packages, disk.index_ms.unwrap_or(EPOCH_MS));
    all.retain(|update| !disk.held.contains(&update.name));
    all
}

impl World {
    /// The updates of a node as its index has them.
    pub(in crate::sim) fn node_updates(&self, node: &str) -> Vec<Update> {
        updates(self, &Place::Node(node.to_owned()))
    }
}

/// What stands in the state at the end of a job; `None`: it is not at its end yet.
pub(super) fn done(world: &mut World, place: &Place, system: &System, worker: &Worker, job: &Job) -> Option<JobState> {
    let now = world.now();
    let (os, release, manager) = system.distribution.names();
    let mut state = JobState {
        phase: Phase::Done,
        exit: Some(0),
        started: seconds(worker.begun_ms / 1000),
        ended: Some(seconds(now)),
        beat: seconds(now),
        boot: world.boot_mark(place),
        ..JobState::default()
    };
    if !matches!(job.deed, Deed::Health { .. }) {
        (state.os, state.release, state.manager) = (os.to_owned(), release.to_owned(), manager.to_owned());
    }
    match &job.deed {
        Deed::Assess { refresh, .. } => assess(world, place, system, job, *refresh, &mut state),
        Deed::Patch { packages, .. } => patch(world, place, system, worker, packages, &mut state),
        Deed::Upgrade { .. } => {
            let all = updates(world, place).into_iter().map(|u| (u.name, u.to)).collect();
            install(world, place, system, worker, all, &mut state);
        }
        Deed::Health { tcp, units, command, timeout, .. } => {
            state.checks = checks(world, place, system, job, tcp, *units, command);
            let well = state.checks.iter().all(|check| check.ok);
            let deadline_ms = worker.begun_ms + u64::from(*timeout) * 1000;
            if !well && world.clock_ms < deadline_ms {
                let wait = CHECK_EVERY_MS.min(deadline_ms - world.clock_ms);
                later(world, place, job, DUE, wait);
                return None;
            }
            state.exit = Some(i32::from(!well));
        }
        Deed::Note { .. } | Deed::Revive { .. } => {}
    }
    Some(state)
}

fn assess(world: &mut World, place: &Place, system: &System, job: &Job, refresh: bool, state: &mut JobState) {
    let (now_ms, now) = (world.clock_ms, seconds(world.now()));
    if let Some(disk) = world.disk(place).filter(|_| refresh) {
        disk.index_ms = Some(now_ms);
    }
    let all = updates(world, place);
    let Some(disk) = world.disk(place) else { return };
    for Update { name, from, to, security, .. } in all {
        let key = format!("{} {name} {to}", job.window);
        let since = *disk.seen.entry(key).or_insert(now);
        state.pending.push(Pending { name, from, to, security, since });
    }
    state.held = disk.held.iter().cloned().collect();
    state.failed_units = disk.failed_units.iter().cloned().collect();
    state.reboot = reboot(disk, system);
    state.log = vec![format!("{} updates wait", state.pending.len())];
}

fn reboot(disk: &Disk, system: &System) -> Option<String> {
    disk.reboot.as_ref().filter(|(_, boot_ms)| *boot_ms == system.boot_ms).map(|(why, _)| why.clone())
}

fn patch(
    world: &mut World,
    place: &Place,
    system: &System,
    worker: &Worker,
    packages: &[Package],
    state: &mut JobState,
) {
    let candidates = updates(world, place);
    let Some(disk) = world.disk(place) else { return };
    let mut wanted = Vec::new();
    for Package { name, version } in packages {
        let (name, version) = (name.to_string(), version.to_string());
        let is = system.distribution.installed(&name, &disk.packages);
        if disk.held.contains(&name) {
            state.log.push(format!("{name} is held: left as it is"));
        } else if is == Some(version.as_str()) || (is.is_none() && system.distribution != Distribution::Windows) {
            state.log.push(format!("{name}: nothing to do"));
        } else if candidates.iter().any(|u| u.name == name && u.to == version) {
            wanted.push((name, version));
        } else {
            state.log.push(format!("E: Version '{version}' for '{name}' was not found"));
            state.exit = Some(100);
            return;
        }
    }
    install(world, place, system, worker, wanted, state);
}

/// Ends what was left half done, and installs.
fn install(
    world: &mut World,
    place: &Place,
    system: &System,
    worker: &Worker,
    wanted: Vec<(String, String)>,
    state: &mut JobState,
) {
    let candidates = updates(world, place);
    let Some(disk) = world.disk(place) else { return };
    if let Some(half) = disk.half_configured.take() {
        state.log.push("+ dpkg --force-confdef --force-confold --configure -a".to_owned());
        state.log.push(format!("Setting up {half} ..."));
    }
    if let Some(Trouble::Exits(code)) = worker.trouble {
        state.exit = Some(code);
        state.log.push("E: Sub-process /usr/bin/dpkg returned an error code (1)".to_owned());
        state.reboot = reboot(disk, system);
        return;
    }
    for (name, to) in wanted {
        let Some(update) = candidates.iter().find(|u| u.name == name) else { continue };
        state.log.push(format!("Setting up {name} ({to}) ..."));
        state.changed.push(Changed { name: name.clone(), from: update.from.clone(), to: to.clone() });
        state.cves.extend(update.cves.iter().cloned());
        match (update.after, system.container) {
            (After::Boot, false) => {
                let why = match system.distribution {
                    Distribution::Windows => "Windows Update says so".to_owned(),
                    Distribution::Proxmox => {
                        disk.kernel = Some(format!("{to}-pve"));
                        format!("kernel {to}-pve is installed, an older one runs")
                    }
                    Distribution::Debian
                    | Distribution::Alpine
                    | Distribution::Fedora
                    | Distribution::Suse
                    | Distribution::Arch => name.clone(),
                };
                disk.reboot = Some((why, system.boot_ms));
            }
            (After::Restart, true) => {
                disk.reboot = Some(("replaced files are still in use by: init".to_owned(), system.boot_ms));
            }
            (After::Boot | After::Restart | After::Nothing, _) => {}
        }
        disk.packages.insert(name, to);
    }
    state.cves.sort();
    state.cves.dedup();
    if worker.trouble == Some(Trouble::Breaks) {
        disk.failed_units.insert(BROKEN.to_owned());
    }
    state.reboot = reboot(disk, system);
    state.held = disk.held.iter().cloned().collect();
    if state.changed.iter().any(|changed| changed.name == "qemu-guest-agent") {
        forget_children(world, place);
    }
}

/// A new guest agent knows nothing of the processes that the old one started.
fn forget_children(world: &mut World, place: &Place) {
    let Place::Guest(vmid) = place else { return };
    if let Some(guest) = world.guests.get_mut(vmid) {
        for (_, child) in guest.agent.iter_mut().filter(|(key, _)| key.starts_with("pid/")) {
            *child = Value::Null;
        }
    }
}

/// What a job that died has done: half of its packages, and the next one is unpacked but not configured.
pub(super) fn half_done(world: &mut World, place: &Place, system: &System, job: &Job) {
    let candidates = updates(world, place);
    let wanted: Vec<(String, String)> = match &job.deed {
        Deed::Patch { packages, .. } => packages.iter().map(|p| (p.name.to_string(), p.version.to_string())).collect(),
        Deed::Upgrade { .. } => candidates.iter().map(|u| (u.name.clone(), u.to.clone())).collect(),
        Deed::Assess { .. } | Deed::Health { .. } | Deed::Note { .. } | Deed::Revive { .. } => return,
    };
    let possible = |(name, to): &(String, String)| candidates.iter().any(|u| u.name == *name && u.to == *to);
    let wanted: Vec<(String, String)> = wanted.into_iter().filter(possible).collect();
    let Some(disk) = world.disk(place) else { return };
    let half = wanted.len() / 2;
    for (index, (name, to)) in wanted.into_iter().enumerate() {
        match index.cmp(&half) {
            std::cmp::Ordering::Less => drop(disk.packages.insert(name, to)),
            std::cmp::Ordering::Equal if system.distribution != Distribution::Windows => {
                disk.half_configured = Some(name);
            }
            std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => {}
        }
    }
}

fn checks(
    world: &mut World,
    place: &Place,
    system: &System,
    job: &Job,
    tcp: &[u16],
    units: bool,
    command: &[String],
) -> Vec<Check> {
    let Some(disk) = world.disk(place) else { return Vec::new() };
    let well = system.ready && disk.failed_units.is_empty();
    let check = |what: String, ok: bool, good: &str, bad: &str| Check {
        what,
        ok,
        said: if ok { good } else { bad }.to_owned(),
    };
    let mut all: Vec<Check> = Vec::new();
    all.extend(tcp.iter().map(|port| check(format!("tcp:{port}"), well, "something listens", "nobody listens")));
    if matches!(place, Place::Node(_)) {
        let services = "active: pve-cluster pvedaemon pveproxy pvestatd";
        all.push(check("services".to_owned(), system.ready, services, "not active: pvedaemon pveproxy"));
    }
    // A system without systemd has no units to look at.
    if units && !matches!(system.distribution, Distribution::Alpine | Distribution::Windows) {
        let text = disk.windows.get(job.window.as_str()).map(String::as_str).unwrap_or_default();
        let state = crate::host::state::State::read(text);
        let first = format!("{}-assess", job.slot);
        let assessment = state.jobs.iter().find(|j| j.name.starts_with(&first) && j.phase == Phase::Done);
        let before = assessment.map(|j| j.failed_units.clone()).unwrap_or_default();
        let new: Vec<&str> = disk.failed_units.iter().filter(|u| !before.contains(u)).map(String::as_str).collect();
        let bad = if new.is_empty() { "(the system still starts)".to_owned() } else { new.join(" ") };
        all.push(check("units".to_owned(), system.ready && new.is_empty(), "none failed that was well before", &bad));
    }
    if let Some(program) = command.first() {
        let fails = program == "false" || program.ends_with("/false");
        all.push(check("command".to_owned(), well && !fails, "exit status 0", "exit status 1: it is not well"));
    }
    all
}
