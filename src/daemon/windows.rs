//! Patch windows as the daemon tells of them: how each stands, and what each target got. The shapes are a promise to whoever
//! reads the API, the store, or `pvectl patch report -o json`. Pure: what was seen goes in, records come out.

pub mod news;

use crate::host::state::Check;
use crate::host::token::Token;
use crate::kinds::patch_window::Around;
use crate::kinds::patch_window::decide::End;
use crate::kinds::patch_window::record::{Got, Left, Rebooted, Record, Target};
use crate::kinds::patch_window::spec::PatchWindowSpec;
use crate::kinds::patch_window::standing::{Stand, Standing, Waiting, standings};
use crate::kinds::patch_window::waves::Turns;
use crate::kinds::patch_window::window::{Opening, Window};
use crate::plan::desired::DesiredSet;
use crate::plan::identify::identify;
use crate::resource::observation::Observation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// So many of the next openings are told.
const NEXT_TOLD: usize = 5;

/// A patch window, as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowRecord {
    /// Whose manifests declare it.
    pub source: String,
    /// Its name.
    pub name: String,
    /// Its schedule as it is written.
    pub schedule: String,
    /// The zone of its schedule.
    pub time_zone: String,
    /// It is open.
    pub open: bool,
    /// Its newest opening; absent before the first.
    pub opening: Option<OpeningRecord>,
    /// The next openings.
    pub next: Vec<OpeningRecord>,
    /// Why nothing new is started in it.
    pub halted: Option<String>,
    /// Its targets, in the order of waves.
    pub targets: Vec<TargetRecord>,
    /// When it was looked at.
    pub seen_ms: u64,
}

/// When a window is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpeningRecord {
    /// It opens.
    pub opens_ms: u64,
    /// From then on nothing new is started.
    pub cutoff_ms: u64,
    /// It closes.
    pub closes_ms: u64,
}

/// A target of a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetRecord {
    /// `101`, `node/pve1`.
    pub target: String,
    /// Its name; may be empty.
    pub name: String,
    /// Its wave, from one.
    pub wave: usize,
    /// `Idle`, `Waiting`, `Working`, `Updated`, `UpToDate`, `LeftOut`, `Failed`, `WentBack`.
    pub state: String,
    /// Why, or what is being done; may be empty.
    pub detail: String,
    /// What waits; absent: nobody has looked, or it cannot be told just now.
    pub pending: Option<PendingRecord>,
    /// Why it needs a reboot; absent: no need is known.
    pub reboot_required: Option<String>,
    /// When it last ended well with all that it was to get; absent: not known.
    pub last_success_ms: Option<u64>,
}

/// Updates that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingRecord {
    /// Security updates; absent: it is not told which they are.
    pub security: Option<usize>,
    /// Others.
    pub other: usize,
    /// When they were looked for.
    pub seen_ms: u64,
}

/// What a target got in one opening of a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PatchRecord {
    /// Unique: `SOURCE/WINDOW/TARGET@OPENING`.
    pub id: String,
    /// Whose manifests declare the window.
    pub source: String,
    /// The window.
    pub window: String,
    /// `101`, `node/pve1`.
    pub target: String,
    /// Its name; may be empty.
    pub name: String,
    /// When the window opened.
    pub opened_ms: u64,
    /// When something was begun; absent: nothing was, or it is not known.
    pub began_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// `Updated`, `UpToDate`, `LeftOut`, `Failed`, `WentBack`; absent: it has not ended, or it is not known.
    pub result: Option<String>,
    /// Why.
    pub why: Option<String>,
    /// `debian 12`.
    pub system: Option<String>,
    /// `apt`.
    pub manager: Option<String>,
    /// Packages that changed.
    pub changed: Vec<ChangedRecord>,
    /// Updates that waited and were not installed.
    pub left: Vec<LeftRecord>,
    /// Vulnerabilities that the changelogs of what changed name.
    pub cves: Vec<String>,
    /// What was looked at afterwards.
    pub checks: Vec<CheckRecord>,
    /// The last lines of output.
    pub log: Vec<String>,
    /// It was rebooted.
    pub rebooted: bool,
    /// It needs a reboot that it did not get: why.
    pub reboot_required: Option<String>,
    /// How often the updates were begun.
    pub attempts: u32,
}

/// A package that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedRecord {
    /// As the package manager names it.
    pub name: String,
    /// What was installed; `-`: nothing.
    pub from: String,
    /// What is; `-`: nothing.
    pub to: String,
    /// A security update; absent: that is not known.
    pub security: Option<bool>,
}

/// An update that was not installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftRecord {
    /// As the package manager names it.
    pub name: String,
    /// Why, where that is known.
    pub why: Option<String>,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRecord {
    /// What: `tcp:22`, `units`, `command`.
    pub what: String,
    /// It is well.
    pub ok: bool,
    /// What was seen.
    pub said: String,
}

/// A look at one window: how it stands, and what its targets got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The window.
    pub window: WindowRecord,
    /// What its targets got, the oldest first.
    pub patches: Vec<PatchRecord>,
}

fn ms(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
}

fn opening(opening: Opening) -> OpeningRecord {
    let Opening { slot, cutoff, end } = opening;
    OpeningRecord { opens_ms: ms(slot), cutoff_ms: ms(cutoff), closes_ms: ms(end) }
}

/// All windows that a set declares and that can be understood.
pub fn windows(desired: &DesiredSet, seen: &Observation, source: &str) -> Vec<Seen> {
    let specs =
        desired.resources.values().filter_map(|want| Some((want, want.spec.downcast_ref::<PatchWindowSpec>()?)));
    let mut specs = specs.peekable();
    if specs.peek().is_none() {
        return Vec::new();
    }
    let identities = identify(desired, seen).known;
    let one = |(want, spec): (&crate::plan::desired::Desired, &PatchWindowSpec)| {
        let (window, name) = (Window::read(spec).ok()?, Token::argument(want.resource.name.as_str())?);
        let around = Around { seen, identities: &identities, set: &desired.set, name: &want.resource.name };
        let turns = around.look(spec, &window, &name);
        Some(look(source, &want.resource.name, spec, &window, &turns, seen.at))
    };
    specs.filter_map(one).collect()
}

/// One window.
pub fn look(source: &str, name: &str, spec: &PatchWindowSpec, window: &Window, turns: &Turns<'_>, now: i64) -> Seen {
    let standings = standings(turns, &spec.updates, now);
    let patches = standings.iter().flat_map(|standing| &standing.records).map(|record| patch(source, name, record));
    let record = WindowRecord {
        source: source.to_owned(),
        name: name.to_owned(),
        schedule: spec.schedule.clone().or_else(|| spec.cron.clone()).unwrap_or_default(),
        time_zone: spec.time_zone.clone().unwrap_or_else(|| "UTC".to_owned()),
        open: turns.opening.is_some_and(|opening| opening.is_open(now)),
        opening: turns.opening.map(opening),
        next: window.openings(now).take(NEXT_TOLD).map(opening).collect(),
        halted: turns.halted.clone(),
        targets: standings.iter().map(target).collect(),
        seen_ms: ms(now),
    };
    let mut patches: Vec<PatchRecord> = patches.collect();
    patches.sort_by_key(|patch| patch.opened_ms);
    Seen { window: record, patches }
}

/// A target's bare name.
fn bare(target: &Target) -> String {
    match target {
        Target::Guest { name, .. } | Target::Node(name) => name.clone(),
    }
}

fn result(end: &End) -> (&'static str, Option<&str>) {
    match end {
        End::Updated => ("Updated", None),
        End::UpToDate => ("UpToDate", None),
        End::LeftOut(why) => ("LeftOut", Some(why)),
        End::Failed(why) => ("Failed", Some(why)),
        End::WentBack(why) => ("WentBack", Some(why)),
    }
}

fn target(standing: &Standing) -> TargetRecord {
    let Standing { target, wave, stand, waiting, reboot, records } = standing;
    let state = match stand {
        Stand::Idle(_) => "Idle",
        Stand::Waiting(_) => "Waiting",
        Stand::Working(_) => "Working",
        Stand::Ended(end) => result(end).0,
    };
    let good = |record: &&Record| matches!(record.end, Some(End::Updated | End::UpToDate));
    let success = records.iter().rev().find(good).map(|record| ms(record.ended.unwrap_or(record.slot)));
    let pending =
        |waiting: &Waiting| PendingRecord { security: waiting.security, other: waiting.other, seen_ms: ms(waiting.at) };
    TargetRecord {
        target: target.key(),
        name: bare(target),
        wave: wave + 1,
        state: state.to_owned(),
        detail: stand.detail().to_owned(),
        pending: waiting.as_ref().map(pending),
        reboot_required: reboot.clone(),
        last_success_ms: success,
    }
}

/// What a target got, as it is kept.
pub fn patch(source: &str, window: &str, record: &Record) -> PatchRecord {
    let Record { target, slot, began, ended, end, system, manager, got, left, cves, checks, log, reboot, attempts } =
        record;
    let (word, why) = end.as_ref().map(result).unzip();
    let (rebooted, reboot_required) = match reboot {
        Some(Rebooted::Done) => (true, None),
        Some(Rebooted::Needed(why)) => (false, Some(why.clone())),
        None => (false, None),
    };
    let changed = |Got { name, from, to, security }: &Got| ChangedRecord {
        name: name.clone(),
        from: from.clone(),
        to: to.clone(),
        security: *security,
    };
    let check = |Check { what, ok, said }: &Check| CheckRecord { what: what.clone(), ok: *ok, said: said.clone() };
    PatchRecord {
        id: format!("{source}/{window}/{}@{slot}", target.key()),
        source: source.to_owned(),
        window: window.to_owned(),
        target: target.key(),
        name: bare(target),
        opened_ms: ms(*slot),
        began_ms: began.map(ms),
        ended_ms: ended.map(ms),
        result: word.map(str::to_owned),
        why: why.flatten().map(str::to_owned),
        system: system.clone(),
        manager: manager.clone(),
        changed: got.iter().map(changed).collect(),
        left: left.iter().map(|Left { name, why }| LeftRecord { name: name.clone(), why: why.clone() }).collect(),
        cves: cves.clone(),
        checks: checks.iter().map(check).collect(),
        log: log.clone(),
        rebooted,
        reboot_required,
        attempts: *attempts,
    }
}

impl PatchRecord {
    /// The target for people: `web (101)`, `101`, `node/pve1`.
    pub fn label(&self) -> String {
        label(&self.target, &self.name)
    }

    /// It ended as it should.
    pub fn is_good(&self) -> bool {
        matches!(self.result.as_deref(), Some("Updated" | "UpToDate"))
    }

    /// It ended badly.
    pub fn is_bad(&self) -> bool {
        matches!(self.result.as_deref(), Some("Failed" | "WentBack"))
    }

    /// What it took, in milliseconds.
    pub fn took_ms(&self) -> Option<u64> {
        Some(self.ended_ms?.saturating_sub(self.began_ms?))
    }
}

impl TargetRecord {
    /// The target for people.
    pub fn label(&self) -> String {
        label(&self.target, &self.name)
    }
}

fn label(target: &str, name: &str) -> String {
    if name.is_empty() || target.starts_with("node/") { target.to_owned() } else { format!("{name} ({target})") }
}

/// What is known of a window when it was looked at again: what could not be told this time is as it was.
pub fn carried(before: Option<&WindowRecord>, mut now: WindowRecord) -> WindowRecord {
    let Some(before) = before else { return now };
    let old: BTreeMap<&str, &TargetRecord> = before.targets.iter().map(|t| (t.target.as_str(), t)).collect();
    for target in &mut now.targets {
        let Some(old) = old.get(target.target.as_str()) else { continue };
        if target.pending.is_none() {
            target.pending = old.pending;
            target.reboot_required.clone_from(&old.reboot_required);
        }
        target.last_success_ms = target.last_success_ms.max(old.last_success_ms);
    }
    now
}
