//! Start, stop, shut down and restart. Only `stop` is hard: the others are asked of the guest (its agent, then ACPI), and
//! given up when it does not hear. What the HA manager looks after is asked of the manager, by PVE itself.

use crate::kinds::guest::hand::deed::{Scene, base, current_query, open, task};
use crate::pve::request::{Call, Method};
use crate::resource::index::number;
use crate::resource::step::{Delta, Impact, Problem};
use serde_json::Value;
use std::time::Duration;

/// How long the HA manager may take to see a request: it looks every ten seconds, on two nodes in turn.
const MANAGER_PATIENCE: Duration = Duration::from_secs(60);

/// What is done to a guest's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// On.
    Start,
    /// Off, at once.
    Stop,
    /// Off, when the guest has shut down; it has this many seconds.
    Shutdown(u64),
    /// Off and on, as orderly; it has this many seconds.
    Restart(u64),
}

/// A lock that does not hold up the deed: what was suspended to disk is started, and a shutdown that nobody hears is
/// overruled by a stop.
pub fn passes(power: &Power, lock: &str) -> bool {
    match power {
        Power::Start => lock == "suspended",
        Power::Stop => is_shutdown(lock),
        Power::Shutdown(_) | Power::Restart(_) => false,
    }
}

fn is_shutdown(lock: &str) -> bool {
    matches!(lock, "qmshutdown" | "vzshutdown")
}

/// Types of the task.
pub fn task_types(power: &Power) -> &'static [&'static str] {
    match power {
        Power::Start => &["qmstart", "vzstart", "hastart"],
        Power::Stop => &["qmstop", "vzstop", "hastop"],
        Power::Shutdown(_) => &["qmshutdown", "vzshutdown", "hastop"],
        Power::Restart(_) => &["qmreboot", "vzreboot"],
    }
}

/// How long after the task the effect may take to be seen.
pub fn patience(power: &Power) -> Duration {
    match power {
        Power::Start | Power::Stop => MANAGER_PATIENCE,
        Power::Shutdown(seconds) | Power::Restart(seconds) => MANAGER_PATIENCE + Duration::from_secs(*seconds),
    }
}

/// What is to be done.
pub fn plan(power: &Power, scene: &Scene<'_>, delta: &mut Delta) {
    let vmid = scene.row.vmid;
    let now = scene.power();
    let on = now != "stopped";
    let done = match power {
        Power::Start => on,
        Power::Stop | Power::Shutdown(_) => !on,
        Power::Restart(_) => on && scene.before.is_some_and(|_| restarted(scene)),
    };
    if done && now != "paused" {
        if scene.is_first() {
            scene.say(delta, format!("it is {now} already"));
        }
        return;
    }
    scene.require_here(delta, &["VM.PowerMgmt"]);
    let (verb, impact, to, seconds) = match power {
        Power::Start => ("start", Impact::Restart, "running", None),
        Power::Stop => ("stop", Impact::Restart, "stopped", None),
        Power::Shutdown(seconds) => ("shutdown", Impact::Restart, "stopped", Some(*seconds)),
        Power::Restart(seconds) => ("reboot", Impact::Restart, "running, newly started", Some(*seconds)),
    };
    if scene.row.template {
        scene.refuse(
            delta,
            format!("{} {vmid} is a template, and a template has no power", scene.word()),
            format!("make a guest of it: pvectl clone {} {} NEWNAME", scene.target.resource.kind, vmid),
        );
    }
    if *power != Power::Stop && now == "paused" && scene.is_first() {
        let resume = format!("pvectl api POST {}/status/resume", base(scene.row));
        delta.problems.push(Problem::new("", format!("VM {vmid} is paused")).help(resume));
    }
    if matches!(power, Power::Restart(_)) && !on {
        let start = format!("pvectl start {} {vmid}", scene.target.resource.kind);
        scene.refuse(delta, format!("{} {vmid} does not run, so it cannot be restarted", scene.word()), start);
    }
    let mut call = Call::new(Method::Post, format!("{}/status/{verb}", base(scene.row)));
    if let Some(seconds) = seconds {
        call = call.with("timeout", seconds);
    }
    let shutting = scene.row.lock.as_deref().is_some_and(is_shutdown);
    if *power == Power::Stop && shutting && !scene.managed() {
        call = call.with("overrule-shutdown", 1);
    }
    manager(power, scene, delta);
    manifest(to, scene, delta);
    let from = if matches!(power, Power::Restart(_)) && on { "running as before" } else { now };
    let hard = if *power == Power::Stop { ", hard" } else { "" };
    open(delta, "power", Some(from), Some(to), task(format!("{verb} {vmid}{hard}"), call, impact, scene.row));
}

/// What the HA manager makes of it.
fn manager(power: &Power, scene: &Scene<'_>, delta: &mut Delta) {
    if !scene.managed() {
        return;
    }
    let words = match power {
        Power::Start => {
            "HA manages it: PVE asks the HA manager to start it (task hastart), which does so later".to_owned()
        }
        Power::Stop => {
            "HA manages it: PVE asks the HA manager to stop it (task hastop), which keeps it stopped".to_owned()
        }
        Power::Shutdown(seconds) => format!(
            "HA manages it: PVE asks the HA manager to stop it (task hastop), which keeps it stopped, and stops it hard if \
             it has not shut down in {seconds} s"
        ),
        Power::Restart(_) => {
            "HA manages it: a restart does not go through the HA manager, which sees it run on".to_owned()
        }
    };
    scene.say(delta, words);
}

/// What the manifest will make of it.
fn manifest(to: &str, scene: &Scene<'_>, delta: &mut Delta) {
    let wanted = scene.target.marker.as_ref().and_then(|m| m.applied.get("power"));
    let against = match wanted.map(String::as_str) {
        Some("Running") => to == "stopped",
        Some("Stopped") => to != "stopped",
        Some(_) | None => false,
    };
    if let (true, Some(wanted)) = (against, wanted) {
        scene.say(delta, format!("its manifest says power: {wanted}, and the next apply makes it so again"));
    }
}

/// Whether it runs as another process than before.
fn restarted(scene: &Scene<'_>) -> bool {
    let before = scene.before.and_then(|b| {
        let row = b.index.guests.get(&scene.row.vmid)?;
        b.value(&current_query(row))
    });
    let (Some(before), Some(now)) = (before, scene.current) else { return false };
    let of = |value: &Value, key: &str| number(&value[key]).filter(|n| *n > 0);
    match (of(before, "pid"), of(now, "pid")) {
        (Some(old), Some(new)) => old != new,
        // Containers tell no process id on every version.
        (_, _) => number(&now["uptime"]) < number(&before["uptime"]),
    }
}
