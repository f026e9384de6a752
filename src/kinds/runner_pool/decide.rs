//! What is done about a whole pool: how many machines there shall be, which are made and where, which go, and what a person should
//! know. Pure: the same seen, the same decided.

use crate::base::id::VmId;
use crate::github::demand::Demand;
use crate::github::runner::Runner;
use crate::kinds::runner_pool::judge::{Act, LIST_LAG, Scene, Stage, Verdict};
use crate::kinds::runner_pool::machine::{Machine, Power};
use crate::kinds::runner_pool::marks::{Cause, Failure, Marks};
use crate::kinds::runner_pool::name::{self, Named};
use crate::kinds::runner_pool::spec::{DemandMode, RunnerPoolSpec};
use crate::kinds::runner_pool::warm::Idle;
use std::collections::BTreeSet;

/// How long after a failure the next machine is made, in seconds, by how many failed in a row before it.
const BACKOFF: [i64; 5] = [0, 5, 10, 20, 40];
/// After so many failures in a row the breaker is open.
pub const FAILURES_MAX: u32 = 5;
/// With an open breaker one machine is tried every so many seconds.
pub const BREAKER: i64 = 1800;
/// So many registrations are taken away in a pass that belong to no machine any more.
const ORPHANS_AT_ONCE: usize = 10;
/// A registration without a machine is left alone until its name is so old, in seconds.
const ORPHAN_AGE: i64 = 900;
/// How often a pool is looked at while jobs wait, and otherwise, in seconds.
const LOOK: (i64, i64) = (10, 60);

/// A node on which machines may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Its name.
    pub node: String,
    /// Bytes of memory that are free there for machines; what stays free is taken off.
    pub memory: i64,
    /// Why none can be made there.
    pub against: Option<String>,
}

/// The template as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its number.
    pub vmid: VmId,
    /// Its version, where versions are kept.
    pub version: Option<String>,
    /// Bytes of memory that a clone of it takes.
    pub memory: u64,
}

/// Everything that is looked at.
pub struct Seen<'a> {
    /// The pool.
    pub spec: &'a RunnerPoolSpec,
    /// Its name.
    pub pool: &'a str,
    /// The present moment, in seconds since 1970.
    pub now: i64,
    /// How many idle ones are wanted.
    pub idle: Idle,
    /// The proof in names.
    pub proof: &'a str,
    /// GitHub's runners, or why they could not be read.
    pub runners: Result<&'a [Runner], String>,
    /// How much work there is, or why that could not be read.
    pub demand: Result<&'a Demand, String>,
    /// The machines.
    pub machines: Vec<Machine>,
    /// Numbers of the range under which something is being made that carries no marker yet: it may be one of ours.
    pub making: BTreeSet<VmId>,
    /// Numbers of guests that may be its machines and could not be read: each may have a job.
    pub unread: BTreeSet<VmId>,
    /// How many clones were cut off that may have become its machines: they take room, and no job.
    pub cut_off: usize,
    /// Every number that is taken on the cluster.
    pub taken: BTreeSet<VmId>,
    /// The template; why no machine can be made of it.
    pub template: Result<Template, String>,
    /// The nodes that may have machines.
    pub rooms: Vec<Room>,
    /// No machine is made, and idle ones go.
    pub drained: bool,
    /// The pool itself goes, and its failed machines with it.
    pub going: bool,
}

/// A machine that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// Its number.
    pub vmid: VmId,
    /// Where.
    pub node: String,
    /// Its name.
    pub name: String,
    /// What will stand on it.
    pub marks: Marks,
}

/// Something that a person should know of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// One word.
    pub reason: &'static str,
    /// In words.
    pub message: String,
    /// A person should look at it.
    pub warns: bool,
}

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How many machines there shall be.
    pub target: u32,
    /// How many of them idle.
    pub idle_wanted: u32,
    /// Of each machine, in their order.
    pub verdicts: Vec<Verdict>,
    /// What is made.
    pub new: Vec<New>,
    /// Registrations of ours whose machines are gone.
    pub orphans: Vec<Runner>,
    /// Registrations that have our pool's name and are not provably ours, or go on without a machine: why they are left alone.
    pub strangers: Vec<(String, String)>,
    /// What a person should know.
    pub conditions: Vec<Condition>,
    /// When to look again at the latest.
    pub next: Option<i64>,
}

/// Failures in a row, as they stand on machines.
struct Failures<'a> {
    /// How many.
    row: u32,
    /// The last of them.
    last: Option<(&'a Machine, &'a Failure)>,
    /// A machine did better since then.
    over: bool,
}

/// Failures in a row; one that is found in this very look counts.
fn failures<'a>(machines: &'a [Machine], verdicts: &'a [Verdict]) -> Failures<'a> {
    let all = || machines.iter().zip(verdicts).map(|(m, verdict)| (m, failure(m, verdict)));
    let counts = |(m, failure): &(&Machine, &Failure)| failure.cause.of_template() && !m.marks.forgiven;
    let failed = all().filter_map(|(m, failure)| Some((m, failure?)));
    let last = failed.filter(counts).max_by_key(|(m, failure)| (failure.at, m.vmid));
    // The next try carries the number on until it is online, or fails.
    let trying = all().filter(|(m, failure)| failure.is_none() && m.marks.online.is_none());
    let trying = trying.map(|(m, _)| m.marks.tries).max().unwrap_or(0);
    let Some((machine, failure)) = last else { return Failures { row: trying, last: None, over: false } };
    // Of one that was made before the failure it says nothing that it came online before it.
    let better = |m: &Machine| m.marks.online.is_some_and(|online| online > failure.at);
    let over = machines.iter().any(better);
    Failures { row: if over { 0 } else { machine.marks.tries.saturating_add(1).max(trying) }, last, over }
}

/// How a machine failed: as it stands on it, or as it will.
fn failure<'a>(m: &'a Machine, verdict: &'a Verdict) -> Option<&'a Failure> {
    match &verdict.act {
        Some(Act::Fail { marks, .. }) => marks.failed.as_ref(),
        Some(
            Act::Configure | Act::Start | Act::Begin { .. } | Act::Mark(_) | Act::Leave { .. } | Act::Still { .. },
        )
        | None => m.marks.failed.as_ref(),
    }
}

/// What is done.
pub fn decide(seen: &Seen<'_>) -> Decision {
    let (spec, now) = (seen.spec, seen.now);
    let unreadable = seen.runners.as_ref().err().map(|why| format!("GitHub cannot be read: {why}"));
    let held = seen.demand.as_ref().ok().and_then(|demand| demand.unset.as_ref());
    let held = held.map(|why| format!("its scale set comes first: {why}"));
    let scene = Scene {
        spec,
        now,
        unreadable: unreadable.as_deref(),
        proof: seen.proof,
        held: held.as_deref(),
        drained: seen.drained || seen.going,
    };
    let verdicts: Vec<Verdict> = seen.machines.iter().map(|m| scene.judge(m)).collect();
    let judged = verdicts.clone();
    let failures = failures(&seen.machines, &judged);
    let mut decision = Decision {
        target: 0,
        idle_wanted: if scene.drained { 0 } else { seen.idle.wanted },
        verdicts,
        new: Vec::new(),
        orphans: Vec::new(),
        strangers: Vec::new(),
        conditions: Vec::new(),
        next: None,
    };
    decision.target = target(seen, &decision);
    watch(seen, &mut decision);
    let readable = seen.runners.is_ok() && seen.demand.is_ok();
    if readable {
        shrink(seen, &mut decision);
        let why = grow(seen, &failures, &mut decision);
        explain(seen, why, &mut decision);
    } else {
        let why = seen.runners.as_ref().err().or(seen.demand.as_ref().err()).cloned().unwrap_or_default();
        let message = format!("GitHub cannot be read, so no machine is made and none is taken away: {why}");
        decision.conditions.push(Condition { reason: "GitHubUnreadable", message, warns: true });
    }
    clear(seen, &failures, &mut decision);
    if let Ok(runners) = &seen.runners {
        registrations(seen, runners, &mut decision);
    }
    decision.next = next(seen, &failures, &decision);
    decision
}

fn count(decision: &Decision, of: impl Fn(Stage) -> bool) -> u32 {
    u32::try_from(decision.verdicts.iter().filter(|verdict| !verdict.apart && of(verdict.stage)).count())
        .unwrap_or(u32::MAX)
}

/// How many there shall be.
fn target(seen: &Seen<'_>, decision: &Decision) -> u32 {
    let busy = count(decision, |stage| stage == Stage::Busy);
    if seen.drained || seen.going {
        return busy;
    }
    // GitHub's statistics may be older than its list.
    let assigned = match (seen.spec.demand, &seen.demand) {
        (DemandMode::Idle, _) | (_, Err(_)) => busy,
        // What was polled may be older than the list, too: the jobs of machines that are done just now are in it still.
        (DemandMode::Polling, Ok(demand)) => demand
            .assigned
            .saturating_sub(count(decision, |stage| stage == Stage::Ended || stage == Stage::Leaving))
            .max(busy),
        (DemandMode::ScaleSet | DemandMode::Webhook, Ok(demand)) => demand.assigned.max(busy),
    };
    decision.idle_wanted.saturating_add(assigned).min(seen.spec.size.max)
}

/// The time since which jobs wait, where that is too long.
fn waits_long(seen: &Seen<'_>) -> Option<i64> {
    let demand = seen.demand.as_ref().ok().filter(|demand| demand.waiting() > 0)?;
    demand.waiting_since.filter(|since| seen.now - since >= seen.spec.watchdog.queued.signed())
}

/// A job that waits for long gets one runner more: its own may be one that GitHub forgot.
fn watch(seen: &Seen<'_>, decision: &mut Decision) {
    if waits_long(seen).is_some() && !seen.drained && !seen.going {
        decision.target = decision.target.saturating_add(1).min(seen.spec.size.max);
    }
}

/// Takes idle ones away that are too many, the oldest first; and one of an older template, where nothing else moves.
fn shrink(seen: &Seen<'_>, decision: &mut Decision) {
    let serving = count(decision, Stage::serves);
    let mut idle: Vec<(i64, VmId, usize)> = Vec::new();
    for (at, (m, verdict)) in seen.machines.iter().zip(&decision.verdicts).enumerate() {
        let online = m.marks.online.unwrap_or(seen.now);
        let old_enough = seen.now - online >= seen.spec.timeouts.min_idle_age.signed();
        // One that we do not see idle may have a job.
        let seen_idle = m.runner.as_ref().is_some_and(|runner| runner.online && !runner.busy);
        let plain = m.marks.proof == seen.proof && m.lock.is_none() && m.power == Power::Running;
        if verdict.stage == Stage::Idle && verdict.act.is_none() && old_enough && seen_idle && plain {
            idle.push((online, m.vmid, at));
        }
    }
    idle.sort_unstable();
    let surplus = usize::try_from(serving.saturating_sub(decision.target)).unwrap_or(0);
    let go = |at: usize, why: &str, decision: &mut Decision| {
        let runner = seen.machines[at].runner.as_ref().map(|runner| runner.id);
        decision.verdicts[at] = Verdict::leave(runner, why);
    };
    if surplus > 0 {
        idle.iter().take(surplus).for_each(|(_, _, at)| go(*at, "it is one more than are needed", decision));
        return;
    }
    let starting = count(decision, Stage::is_starting);
    let leaving = count(decision, |stage| stage == Stage::Leaving);
    let outdated = |at: usize| {
        let m = &seen.machines[at];
        let why = if is_outdated(m, seen.template.as_ref().ok()) {
            "its template has a new version"
        } else if lacks_labels(m, seen.spec) {
            "it does not have the pool's labels"
        } else {
            return None;
        };
        Some((at, why))
    };
    if serving < decision.target {
        return;
    }
    if let (0, 0, Some((at, why))) = (starting, leaving, idle.iter().find_map(|(_, _, at)| outdated(*at))) {
        go(at, why, decision);
    }
}

/// Whether it is a clone of another version of the template than the present one.
pub fn is_outdated(machine: &Machine, template: Option<&Template>) -> bool {
    template
        .is_some_and(|now| machine.marks.template.is_some_and(|of| of != now.vmid) || machine.version != now.version)
}

/// Whether it was registered before the pool's labels were changed. A runner of a scale set has none of its own.
fn lacks_labels(machine: &Machine, spec: &RunnerPoolSpec) -> bool {
    let listed = machine.runner.as_ref().map_or(&[][..], |runner| &runner.labels);
    let has = |label: &String| listed.iter().any(|own| own.eq_ignore_ascii_case(label));
    spec.demand != DemandMode::ScaleSet && !listed.is_empty() && !spec.labels.iter().all(has)
}

/// What keeps a pool from growing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Against {
    /// Nothing: it is as large as it shall be, or grows.
    Nothing,
    /// Why.
    Why(&'static str, String),
}

/// Makes what is missing, as far as may be; what keeps it from more.
fn grow(seen: &Seen<'_>, failures: &Failures<'_>, decision: &mut Decision) -> Against {
    let (spec, now) = (seen.spec, seen.now);
    let making = u32::try_from(seen.making.len()).unwrap_or(u32::MAX);
    let unread = u32::try_from(seen.unread.len()).unwrap_or(u32::MAX);
    let serving = count(decision, Stage::serves).saturating_add(making).saturating_add(unread);
    let missing = decision.target.saturating_sub(serving);
    if missing == 0 {
        let waits = seen.demand.as_ref().is_ok_and(|demand| demand.waiting() > 0);
        let idle = count(decision, |stage| stage == Stage::Idle);
        return if waits && idle == 0 && serving >= spec.size.max {
            Against::Why("AtMaximum", format!("all {serving} machines have a job, or are on their way (`size.max`)"))
        } else {
            Against::Nothing
        };
    }
    let template = match &seen.template {
        Ok(template) => template,
        Err(why) => return Against::Why("TemplateUnfit", why.clone()),
    };
    if let Some(against) = held_back(seen, failures, template) {
        return against;
    }
    // What failed and has stopped takes no room; what leaves does until it is gone.
    let there = seen.machines.iter().filter(|m| !(m.has_failed() && m.power == Power::Stopped)).count();
    let there = u32::try_from(there.saturating_add(seen.cut_off)).unwrap_or(u32::MAX);
    let there = there.saturating_add(making).saturating_add(unread);
    let starting = count(decision, Stage::is_starting).saturating_add(making);
    let alone = if failures.row > 0 { 1 } else { spec.size.max_starting };
    let (by_max, by_starting) = (spec.size.max.saturating_sub(there), alone.saturating_sub(starting));
    let number = missing.min(by_max).min(by_starting);
    let mut against = match () {
        () if missing <= number => Against::Nothing,
        () if by_max <= by_starting => {
            Against::Why("AtMaximum", format!("{there} machines are there, and `size.max` is {}", spec.size.max))
        }
        () => Against::Why("Starting", format!("{starting} machines are on their way, and more are not begun at once")),
    };
    let mut rooms = seen.rooms.clone();
    // What is on its way does not use its memory yet.
    for m in seen.machines.iter().zip(&decision.verdicts).filter(|(_, v)| v.stage.is_starting()).map(|(m, _)| m) {
        if m.power != Power::Running {
            take(&mut rooms, &m.node, m.memory.max(template.memory));
        }
    }
    let (first, last) = (spec.vmid_range.0.get(), spec.vmid_range.1.get());
    let mut free = (first..=last).filter_map(|n| VmId::new(n.into())).filter(|vmid| !seen.taken.contains(vmid));
    for _ in 0..number {
        let Some(node) = roomiest(&rooms, template.memory) else {
            against = Against::Why("NoCapacity", no_room(&rooms, template.memory));
            break;
        };
        let Some(vmid) = free.next() else {
            against = Against::Why("NoNumber", format!("every number of {first}-{last} (`vmidRange`) is taken"));
            break;
        };
        take(&mut rooms, &node, template.memory);
        let name = name::name(seen.pool, vmid, seen.proof, now);
        let marks = Marks {
            made: now,
            proof: seen.proof.to_owned(),
            template: Some(template.vmid),
            tries: failures.row,
            ..Marks::default()
        };
        decision.new.push(New { vmid, node, name, marks });
    }
    against
}

/// Failures in a row keep the next machine back.
fn held_back(seen: &Seen<'_>, failures: &Failures<'_>, template: &Template) -> Option<Against> {
    let (machine, failure) = failures.last.filter(|_| !failures.over)?;
    if failure.cause == Cause::VersionTooOld && !is_outdated(machine, Some(template)) {
        let message = format!(
            "GitHub takes no jobs for the version of the runner in template {}: bring a newer one into it, and change its \
             `version`; until then no machine is made",
            template.vmid
        );
        return Some(Against::Why("VersionTooOld", message));
    }
    let until = retry_at(failures)?;
    if seen.now >= until || is_outdated(machine, Some(template)) {
        return None;
    }
    let words = format!("{} machines failed in a row, the last of them with {}", failures.row, failure.cause.as_str());
    let why = if failure.why.is_empty() { String::new() } else { format!(" ({})", failure.why) };
    let reason = if failures.row >= FAILURES_MAX { "BreakerOpen" } else { "Backoff" };
    Some(Against::Why(reason, format!("{words}{why}; the next is tried in {} s", until - seen.now)))
}

/// When the next machine may be made after failures.
fn retry_at(failures: &Failures<'_>) -> Option<i64> {
    let (_, failure) = failures.last.filter(|_| !failures.over)?;
    let wait = if failures.row >= FAILURES_MAX {
        BREAKER
    } else {
        let at = usize::try_from(failures.row.saturating_sub(1)).unwrap_or(0);
        BACKOFF.get(at).copied().unwrap_or(BREAKER)
    };
    Some(failure.at.saturating_add(wait))
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn take(rooms: &mut [Room], node: &str, memory: u64) {
    for room in rooms.iter_mut().filter(|room| room.node == node) {
        room.memory = room.memory.saturating_sub(signed(memory));
    }
}

/// The node with the most free memory, where a machine fits.
fn roomiest(rooms: &[Room], memory: u64) -> Option<String> {
    let fits = |room: &&Room| room.against.is_none() && room.memory >= signed(memory);
    let best = rooms.iter().filter(fits).max_by(|a, b| a.memory.cmp(&b.memory).then_with(|| b.node.cmp(&a.node)));
    best.map(|room| room.node.clone())
}

fn no_room(rooms: &[Room], memory: u64) -> String {
    let gib = |bytes: i64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    let words = rooms.iter().map(|room| match &room.against {
        Some(why) => format!("{}: {why}", room.node),
        None => format!(
            "{}: {} of memory to give, and a machine takes {}",
            room.node,
            gib(room.memory.max(0)),
            gib(signed(memory))
        ),
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { "no node of `nodes` is there".to_owned() } else { words.join("; ") }
}

/// Says why jobs wait, and what holds the pool back.
fn explain(seen: &Seen<'_>, against: Against, decision: &mut Decision) {
    let long = waits_long(seen);
    let idle = count(decision, |stage| stage == Stage::Idle);
    if let Against::Why(reason, message) = &against {
        // These pass by themselves.
        let warns = !matches!(*reason, "AtMaximum" | "Starting" | "Backoff");
        decision.conditions.push(Condition { reason, message: message.clone(), warns });
    }
    if seen.drained && !seen.going {
        let message = "it is drained: no machine is made, and those that are idle go".to_owned();
        decision.conditions.push(Condition { reason: "Drained", message, warns: false });
    }
    let Some(since) = long else { return };
    let demand = seen.demand.as_ref().ok();
    // A scale set has its pool's name for a label.
    let has = |label: &String| {
        let mut own = seen.spec.labels.iter().map(String::as_str).chain([seen.pool]);
        own.any(|own| own.eq_ignore_ascii_case(label))
    };
    let foreign = demand.iter().flat_map(|demand| &demand.jobs).filter(|job| job.runner.is_none());
    let foreign = foreign.filter_map(|job| Some((job, job.labels.iter().find(|label| !has(label))?))).next();
    let why = match (&against, foreign) {
        (_, Some((job, label))) => {
            format!("`{}` asks for the label `{label}`, which its runners do not have", job.name)
        }
        _ if seen.drained => "the pool is drained".to_owned(),
        (Against::Why(_, why), None) => why.clone(),
        (Against::Nothing, None) if idle > 0 => format!(
            "{idle} runners are idle and do not get it: look whether the runner group lets its repository and workflow in"
        ),
        (Against::Nothing, None) => "machines are on their way".to_owned(),
    };
    let message = format!("a job waits for {} s: {why}", seen.now - since);
    decision.conditions.push(Condition { reason: "JobsWait", message, warns: true });
}

/// What becomes of machines that failed: the newest are kept for a look, and the last one as the memory of failures in a row,
/// until the next machine is made, which goes on counting.
fn clear(seen: &Seen<'_>, failures: &Failures<'_>, decision: &mut Decision) {
    let mut kept: Vec<(i64, usize)> = Vec::new();
    for (at, (m, verdict)) in seen.machines.iter().zip(&decision.verdicts).enumerate() {
        if let (Stage::Kept, Some(failure)) = (verdict.stage, &m.marks.failed) {
            kept.push((failure.at, at));
        }
    }
    kept.sort_unstable_by_key(|(failed, at)| (std::cmp::Reverse(*failed), *at));
    let for_a_look = if seen.going { 0 } else { usize::try_from(seen.spec.on_failure.keep).unwrap_or(0) };
    let memory = failures.last.filter(|_| !failures.over && !seen.going && !seen.drained).map(|(m, failure)| {
        let halts =
            failure.cause == Cause::VersionTooOld && !seen.template.as_ref().is_ok_and(|t| is_outdated(m, Some(t)));
        (m.vmid, halts || retry_at(failures).is_some_and(|until| seen.now < until))
    });
    for (place, (_, at)) in kept.iter().enumerate() {
        let m = &seen.machines[*at];
        let remembers = memory.is_some_and(|(vmid, needed)| vmid == m.vmid && needed);
        // The next machine counts on; until it is there, only this one knows.
        let waits_for_next = memory.is_some_and(|(vmid, _)| vmid == m.vmid)
            && decision.target > 0
            && !seen
                .machines
                .iter()
                .any(|other| !other.has_failed() && other.marks.made >= m.marks.failed.as_ref().map_or(0, |f| f.at));
        if place < for_a_look {
            if failures.over && !m.marks.forgiven {
                let marks = Marks { forgiven: true, ..m.marks.clone() };
                decision.verdicts[*at].act = Some(Act::Mark(marks));
            }
            decision.verdicts[*at].waits = Some("it is kept for a look (`onFailure.keep`)".to_owned());
        } else if remembers || waits_for_next {
            decision.verdicts[*at].waits = Some("it is the memory of failures in a row until the next try".to_owned());
        } else {
            let act = Act::Leave { runner: None, why: "it failed, and is not kept".to_owned() };
            decision.verdicts[*at].stage = Stage::Leaving;
            decision.verdicts[*at].act = Some(act);
        }
    }
}

/// Registrations that have a name of this pool, and no machine.
fn registrations(seen: &Seen<'_>, runners: &[Runner], decision: &mut Decision) {
    let names: BTreeSet<&str> = seen.machines.iter().map(|m| m.name.as_str()).collect();
    for runner in runners.iter().filter(|runner| !names.contains(runner.name.as_str())) {
        let Some(Named { vmid, proof, made }) = name::read(seen.pool, &runner.name) else { continue };
        // What stands under its number may be the machine after all, and cannot be told just now.
        let hidden = seen.taken.contains(&vmid) && !seen.machines.iter().any(|m| m.vmid == vmid);
        let young = seen.now - made < ORPHAN_AGE.max(LIST_LAG);
        let why = match () {
            () if proof != seen.proof => "another pool, set or cluster gave it its name",
            () if hidden => "there is a guest of its number that is not provably this pool's",
            () if runner.busy || runner.online => "it has no machine here, and is connected all the same",
            () if young => continue,
            () => {
                if decision.orphans.len() < ORPHANS_AT_ONCE {
                    decision.orphans.push(runner.clone());
                }
                continue;
            }
        };
        decision.strangers.push((runner.name.clone(), why.to_owned()));
    }
}

fn next(seen: &Seen<'_>, failures: &Failures<'_>, decision: &Decision) -> Option<i64> {
    let waiting = seen.demand.as_ref().is_ok_and(|demand| demand.waiting() > 0);
    let moves = waiting || !decision.new.is_empty() || seen.runners.is_err();
    let look = seen.now + if moves { LOOK.0 } else { LOOK.1 };
    let retry = retry_at(failures).filter(|at| *at > seen.now);
    // A machine that is one too many grows old enough to go.
    let age = seen.spec.timeouts.min_idle_age.signed();
    let surplus = count(decision, Stage::serves) > decision.target;
    let idle = seen.machines.iter().filter(|_| surplus).filter_map(|m| Some(m.marks.online? + age));
    let idle = idle.filter(|at| *at > seen.now);
    let own = decision.verdicts.iter().filter_map(|verdict| verdict.next);
    own.chain(idle).chain(retry).chain(seen.idle.until).chain([look]).min()
}

#[cfg(test)]
mod tests;
