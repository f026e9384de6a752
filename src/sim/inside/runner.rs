//! A GitHub runner inside of a guest: begun once by our program, connected after some seconds, gone after one job. What stands on
//! the guest's disk is one [`Seat`]; the process ends with its boot, and the state file goes on saying `running`.

use super::system::Place;
use crate::host::job::System;
use crate::host::runner::look::Look;
use crate::host::runner::{LOG, Registration, STATE, Start, WINDOWS_LOG, WINDOWS_STATE};
use crate::sim::api::qemu;
use crate::sim::github::course;
use crate::sim::github::rest::runners::{register, registers};
use crate::sim::github::state::{Event, Registered};
use crate::sim::world::{GuestType, Power, World};
use serde::{Deserialize, Serialize};

/// How long a guest needs to turn itself off.
const OFF_MS: u64 = 4000;

/// What goes wrong with the next runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunnerTrouble {
    /// The guest's agent never answers.
    AgentDead,
    /// It runs, and never connects to GitHub.
    NeverOnline,
    /// It takes a job and never ends.
    Hangs,
    /// It ends with this code before it is connected: 7 is a version that is too old.
    Exits(i32),
    /// The guest does not take its host name.
    HostName,
    /// The guest turns off while the job runs, so many seconds after its begin.
    TurnsOff(u64),
}

/// What stands on a guest's disk about its runner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seat {
    /// The runner's name.
    pub name: String,
    /// `preparing`, `running`, `ended`.
    pub phase: String,
    /// When it was begun, in seconds since 1970.
    pub started: u64,
    /// When it ended.
    pub ended: Option<u64>,
    /// Its exit code.
    pub exit: Option<i32>,
    /// What failed before it began.
    pub why: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The host name that the guest got.
    pub host_name: Option<String>,
    /// What it printed.
    pub log: Vec<String>,
    /// The boot in which it runs.
    pub boot_ms: u64,
    /// Its number on GitHub.
    pub runner: Option<u64>,
    /// What it does wrong.
    pub trouble: Option<RunnerTrouble>,
    /// What was given to it, until it has used it.
    held: Option<Held>,
}

/// What a runner was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    secret: String,
    /// The labels and the group, where it is registered by a token.
    by_token: Option<(Vec<String>, String)>,
}

impl Seat {
    fn text(&self) -> String {
        let mut text = format!("name={}\nstarted={}\n", self.name, self.started);
        let lines = [
            ("version", self.version.clone()),
            ("phase", Some(self.phase.clone())),
            ("why", self.why.clone()),
            ("exit", self.exit.map(|code| code.to_string())),
            ("ended", self.ended.map(|seconds| seconds.to_string())),
        ];
        for (key, value) in lines {
            if let Some(value) = value {
                text.push_str(&format!("{key}={value}\n"));
            }
        }
        text
    }

    fn end(&mut self, now: u64, code: i32, why: Option<&str>) {
        self.phase = "ended".to_owned();
        (self.exit, self.ended, self.held) = (Some(code), Some(now), None);
        self.why = why.map(str::to_owned);
        self.log.push(format!("Exiting runner... ({code})"));
    }
}

impl World {
    /// Makes the next runner go wrong, or the next one in a guest.
    pub fn runner_trouble(&mut self, vmid: Option<u32>, trouble: RunnerTrouble) {
        self.runner_troubles.entry(key(vmid)).or_default().push_back(trouble);
    }

    fn seat(&mut self, vmid: u32) -> Option<&mut Seat> {
        self.guests.get_mut(&vmid)?.disk.runner.as_deref_mut()
    }
}

fn key(vmid: Option<u32>) -> String {
    vmid.map_or_else(String::new, |vmid| vmid.to_string())
}

fn is_agent(trouble: &RunnerTrouble) -> bool {
    *trouble == RunnerTrouble::AgentDead
}

/// Takes the next trouble of a guest that is wanted.
fn next_trouble(world: &mut World, vmid: u32, wanted: impl Fn(&RunnerTrouble) -> bool) -> Option<RunnerTrouble> {
    for key in [key(Some(vmid)), key(None)] {
        let Some(all) = world.runner_troubles.get_mut(&key) else { continue };
        if all.front().is_some_and(&wanted) {
            let first = all.pop_front();
            world.runner_troubles.retain(|_, all| !all.is_empty());
            return first;
        }
    }
    None
}

/// Whether the agent of a guest that starts is to be dead.
pub(in crate::sim) fn agent_is_dead(world: &mut World, vmid: u32) -> bool {
    next_trouble(world, vmid, is_agent).is_some()
}

/// What the program that begins a runner says, and its exit code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::sim) struct Said {
    /// On standard output.
    pub(in crate::sim) out: &'static str,
    /// On standard error.
    pub(in crate::sim) err: &'static str,
    /// How it ended.
    pub(in crate::sim) code: i32,
}

/// Begins a runner, once.
pub(in crate::sim) fn begin(world: &mut World, vmid: u32, start: &Start, secret: &str) -> Said {
    let (now, now_ms) = (world.now(), world.clock_ms);
    let Some(boot_ms) = world.guests.get(&vmid).map(|guest| guest.started_ms) else { return Said::default() };
    if secret.trim().is_empty() {
        let err = "no secret came by standard input: nothing is begun\n";
        return Said { err, code: 64, ..Said::default() };
    }
    if world.seat(vmid).is_some() {
        return Said { out: "there already\n", ..Said::default() };
    }
    let trouble = next_trouble(world, vmid, |trouble| !is_agent(trouble));
    let settings = &world.github.settings;
    let (version, online_ms) = (settings.runner_version.clone(), settings.online_seconds * 1000);
    let by_token = match &start.registration {
        Registration::JustInTime => None,
        Registration::Token { labels, group, .. } => Some((labels.clone(), group.clone())),
    };
    let mut seat = Seat {
        name: start.name.clone(),
        phase: "preparing".to_owned(),
        started: now,
        version: Some(version.clone()),
        host_name: start.host_name.then(|| start.name.clone()),
        boot_ms,
        trouble,
        held: Some(Held { secret: secret.trim().to_owned(), by_token }),
        ..Seat::default()
    };
    let other = start.version.as_ref().filter(|wanted| **wanted != version);
    let hook = start.before.as_deref().is_some_and(|line| line.trim() == "false");
    if let Some(wanted) = other {
        seat.end(now, 1, Some(&format!("version: {version}, not {wanted}")));
    } else if trouble == Some(RunnerTrouble::HostName) {
        seat.host_name = None;
        seat.end(now, 1, Some("host name"));
    } else if hook {
        seat.end(now, 1, Some("hook before: exit 1"));
    } else {
        world.github.plan(now_ms + online_ms, Event::Connect { vmid, boot_ms });
    }
    if let Some(guest) = world.guests.get_mut(&vmid) {
        guest.disk.runner = Some(Box::new(seat));
    }
    Said { out: "begun\n", ..Said::default() }
}

/// Whether a guest runs in a boot, and its runner with it.
fn runs(world: &World, vmid: u32, boot_ms: u64) -> bool {
    let Some(guest) = world.guests.get(&vmid) else { return false };
    let seat = guest.disk.runner.as_ref().filter(|seat| seat.boot_ms == boot_ms && seat.phase != "ended");
    guest.power == Power::Running && guest.started_ms == boot_ms && seat.is_some()
}

/// The runner of a guest connects, or fails to.
pub(in crate::sim) fn connect(world: &mut World, vmid: u32, boot_ms: u64) {
    if !runs(world, vmid, boot_ms) {
        return;
    }
    let now = world.now();
    let windows = world.runs_windows(&Place::Guest(vmid));
    let Some(seat) = world.seat(vmid) else { return };
    let (trouble, name, held) = (seat.trouble, seat.name.clone(), seat.held.take().unwrap_or_default());
    seat.phase = "running".to_owned();
    match trouble {
        Some(RunnerTrouble::Exits(code)) => return seat.end(now, code, None),
        Some(RunnerTrouble::NeverOnline) => return seat.log.push("Connecting to server...".to_owned()),
        Some(
            RunnerTrouble::AgentDead | RunnerTrouble::Hangs | RunnerTrouble::HostName | RunnerTrouble::TurnsOff(_),
        )
        | None => {}
    }
    let found = match held.by_token {
        None => world.github.runners.values().find(|r| !r.used && r.blob == held.secret).map(|r| r.id),
        Some((labels, group)) => by_token(world, &held.secret, name, labels, &group),
    };
    let version = world.github.settings.runner_version.clone();
    let Some(seat) = world.seat(vmid) else { return };
    let Some(runner) = found else { return seat.end(now, 1, Some("configuration: GitHub does not take it")) };
    seat.runner = Some(runner);
    seat.log.push("√ Connected to GitHub".to_owned());
    seat.log.push("Listening for Jobs".to_owned());
    course::connected(world, runner, (vmid, boot_ms), if windows { "Windows" } else { "Linux" }, &version);
}

fn by_token(world: &mut World, token: &str, name: String, labels: Vec<String>, group: &str) -> Option<u64> {
    let at = registers(world, token)?;
    let groups = world.github.groups.iter().filter(|g| g.at == at);
    let group = match group {
        "" => 1,
        name if name.eq_ignore_ascii_case("default") => 1,
        name => groups.into_iter().find(|g| g.name.eq_ignore_ascii_case(name))?.id,
    };
    register(world, Registered { at, name, labels, group, ..Registered::default() }).ok()
}

/// Whether the process of a runner lives and GitHub can hear it.
pub(in crate::sim) fn alive(world: &World, runner: u64) -> bool {
    let seat = world.github.runners.get(&runner).and_then(|found| found.seat);
    seat.is_some_and(|(vmid, boot_ms)| {
        runs(world, vmid, boot_ms) && world.guests[&vmid].disk.runner.as_ref().is_some_and(|s| s.runner == Some(runner))
    })
}

/// A runner has begun a job. Whether it never ends.
pub(in crate::sim) fn hangs(world: &mut World, runner: u64) -> bool {
    let now_ms = world.clock_ms;
    let Some((vmid, boot_ms)) = world.github.runners.get(&runner).and_then(|found| found.seat) else { return false };
    let Some(seat) = world.seat(vmid) else { return false };
    seat.log.push("Running job".to_owned());
    match seat.trouble {
        Some(RunnerTrouble::Hangs) => true,
        Some(RunnerTrouble::TurnsOff(after)) => {
            world.github.plan(now_ms + after * 1000, Event::Off { vmid, boot_ms });
            false
        }
        Some(
            RunnerTrouble::AgentDead | RunnerTrouble::NeverOnline | RunnerTrouble::Exits(_) | RunnerTrouble::HostName,
        )
        | None => false,
    }
}

/// The runner's process in a guest ends; after a job the guest turns itself off.
pub(in crate::sim) fn exit(world: &mut World, vmid: u32, boot_ms: u64, code: i32) {
    if !runs(world, vmid, boot_ms) {
        return;
    }
    let (now, now_ms) = (world.now(), world.clock_ms);
    if let Some(seat) = world.seat(vmid) {
        seat.end(now, code, None);
    }
    if code == 0 {
        world.github.plan(now_ms + OFF_MS, Event::Off { vmid, boot_ms });
    }
}

/// A guest turns itself off.
pub(in crate::sim) fn off(world: &mut World, vmid: u32, boot_ms: u64) {
    let Some(guest) = world.guests.get_mut(&vmid) else { return };
    if guest.power != Power::Stopped && guest.started_ms == boot_ms {
        match guest.guest_type {
            GuestType::Qemu => qemu::turn_off(guest),
            GuestType::Lxc => guest.power = Power::Stopped,
        }
    }
}

/// What stands in a guest about its runner: the text of the state file; `None` where there is none.
pub(in crate::sim) fn state(world: &World, vmid: u32) -> Option<String> {
    world.guests.get(&vmid)?.disk.runner.as_ref().map(|seat| seat.text())
}

/// What the runner of a guest printed; `None` where there is no such file.
pub(in crate::sim) fn log(world: &World, vmid: u32) -> Option<String> {
    let seat = world.guests.get(&vmid)?.disk.runner.as_ref()?;
    Some(seat.log.iter().map(|line| format!("{line}\n")).collect())
}

/// The state and the last lines of the log, as the program prints them that reads them.
pub(in crate::sim) fn look(world: &World, vmid: u32, lines: u32) -> String {
    let log = log(world, vmid).unwrap_or_default();
    let all: Vec<&str> = log.lines().collect();
    let from = all.len().saturating_sub(usize::try_from(lines).unwrap_or(usize::MAX));
    let last: String = all[from..].iter().map(|line| format!("{line}\n")).collect();
    Look::write(&state(world, vmid).unwrap_or_default(), &last)
}

/// A file of a guest as its agent reads it, if it is of its runner.
pub(in crate::sim) fn file(world: &World, vmid: u32, path: &str) -> Option<String> {
    let system = if world.runs_windows(&Place::Guest(vmid)) { System::Windows } else { System::Linux };
    let (state_file, log_file) = match system {
        System::Windows => (WINDOWS_STATE, WINDOWS_LOG),
        System::Linux | System::Node => (STATE, LOG),
    };
    if path == state_file {
        state(world, vmid)
    } else if path == log_file {
        log(world, vmid)
    } else {
        None
    }
}

/// The host name that a guest got with its runner.
pub(in crate::sim) fn host_name(world: &World, vmid: u32) -> Option<String> {
    world.guests.get(&vmid)?.disk.runner.as_ref()?.host_name.clone()
}
