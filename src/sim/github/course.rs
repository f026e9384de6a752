//! The course of jobs: queued, handed to a scale set or a runner, begun, ended, lost.

use super::items;
use super::state::{Event, Job, Registered, Status};
use super::webhook;
use crate::sim::inside::runner;
use crate::sim::world::World;

/// How long until a runner that a job was sent to takes it.
const PICK_MS: u64 = 1000;
/// How often GitHub hears of a runner that is connected.
const BEAT_MS: u64 = 30_000;
/// After that a job that was not taken is sent again, or offered again.
const AGAIN_MS: u64 = 60_000;
/// A job that has waited so long is cancelled; a registration that was not used so long is forgotten.
pub(super) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Lets happen what is due next.
pub(in crate::sim) fn happen(world: &mut World) {
    let Some(event) = world.github.take_next() else { return };
    match event {
        Event::Connect { vmid, boot_ms } => runner::connect(world, vmid, boot_ms),
        Event::Beat(runner) => beat(world, runner),
        Event::Pick { job, runner } => pick(world, job, runner),
        Event::End { job, runner } => end(world, job, runner),
        Event::Again(job) => again(world, job),
        Event::Offer(job) => offer_again(world, job),
        Event::Cancel(job) => cancel(world, job),
        Event::Forget(runner) => forget(world, runner),
        Event::Exit { vmid, boot_ms, code } => runner::exit(world, vmid, boot_ms, code),
        Event::Off { vmid, boot_ms } => runner::off(world, vmid, boot_ms),
    }
    hand_out(world);
}

/// Queues a job, or leaves it waiting for somebody's approval.
pub(super) fn queue(world: &mut World, job: Job) -> u64 {
    let (now, id) = (world.clock_ms, world.github.number());
    let job = Job { id, queued_ms: now, ..job };
    let waits = job.status == Status::Waiting;
    world.github.open.insert(id);
    world.github.jobs.insert(id, job);
    world.github.plan(now + DAY_MS, Event::Cancel(id));
    // GitHub tells of a job that waits for approval as `queued` too.
    webhook::tell(world, id, "queued");
    if waits {
        webhook::tell(world, id, "waiting");
    }
    hand_out(world);
    id
}

/// Somebody approves a job that waits.
pub(super) fn approve(world: &mut World, id: u64) {
    let now = world.clock_ms;
    let Some(job) = world.github.jobs.get_mut(&id).filter(|job| job.status == Status::Waiting) else { return };
    (job.status, job.queued_ms) = (Status::Queued, now);
    webhook::tell(world, id, "queued");
    hand_out(world);
}

/// Somebody cancels a job that has not ended; its runner is done with it.
pub(super) fn cancel(world: &mut World, id: u64) {
    let Some(job) = world.github.jobs.get(&id).filter(|job| job.status != Status::Completed) else { return };
    match job.runner.as_ref().map(|(runner, _)| *runner).filter(|_| job.status == Status::InProgress) {
        Some(runner) => leave(world, id, runner, "cancelled"),
        None => {
            if let Some((runner, ..)) = job.sent.last().cloned().filter(|_| job.pending)
                && let Some(runner) = world.github.runners.get_mut(&runner)
            {
                runner.sent = None;
            }
            complete(world, id, "cancelled", false);
        }
    }
    hand_out(world);
}

/// Gives every job that waits to whom it may go.
pub(super) fn hand_out(world: &mut World) {
    let waiting: Vec<u64> = {
        let github = &world.github;
        let queued = |id: &&u64| github.jobs.get(id).is_some_and(|job| job.status == Status::Queued && !job.pending);
        github.open.iter().filter(queued).copied().collect()
    };
    if waiting.is_empty() {
        return;
    }
    for id in waiting.iter().copied() {
        to_a_set(world, id);
    }
    let mut free: Vec<u64> = {
        let is_free = |runner: &&Registered| runner.online && runner.sent.is_none();
        world.github.runners.values().filter(is_free).map(|runner| runner.id).collect()
    };
    for id in waiting {
        let github = &world.github;
        let Some(job) = github.jobs.get(&id) else { continue };
        let takes = |runner: &&u64| github.runners.get(runner).is_some_and(|runner| may_take(github, runner, job));
        let Some(runner) = free.iter().find(takes).copied() else { continue };
        free.retain(|other| *other != runner);
        send(world, id, runner);
    }
}

fn may_take(github: &super::state::GitHub, runner: &Registered, job: &Job) -> bool {
    let group = job.group.as_deref().is_none_or(|name| github.group_name(runner.group).eq_ignore_ascii_case(name));
    match (runner.set, job.set) {
        (Some(set), Some(wanted)) => set == wanted && job.acquired_ms.is_some(),
        (None, None) => runner.at.covers(job) && group && job.fits(&runner.labels),
        // A job that a set has goes to its runners, and these take no other.
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn to_a_set(world: &mut World, id: u64) {
    let (now, offers) = (world.clock_ms, world.github.settings.offers);
    let github = &world.github;
    let Some(job) = github.jobs.get(&id).filter(|job| job.set.is_none()) else { return };
    let group = |set: u64| job.group.as_deref().is_none_or(|name| github.group_name(set).eq_ignore_ascii_case(name));
    let fits = |set: &&super::state::ScaleSet| set.at.covers(job) && group(set.group) && job.fits(&set.labels);
    let Some(set) = github.sets.values().find(fits).map(|set| set.id) else { return };
    if let Some(job) = world.github.jobs.get_mut(&id) {
        job.set = Some(set);
        job.offered_ms = Some(now);
    }
    match offers {
        true => {
            items::tell(world, id, "JobAvailable");
            world.github.plan(now + AGAIN_MS, Event::Offer(id));
        }
        false => acquire(world, id),
    }
}

/// A set gets a job.
pub(super) fn acquire(world: &mut World, id: u64) {
    let now = world.clock_ms;
    if let Some(job) = world.github.jobs.get_mut(&id).filter(|job| job.acquired_ms.is_none()) {
        job.acquired_ms = Some(now);
        items::tell(world, id, "JobAssigned");
    }
}

fn is_offered(world: &World, id: u64) -> bool {
    let job = world.github.jobs.get(&id);
    job.is_some_and(|job| job.status == Status::Queued && job.set.is_some() && job.acquired_ms.is_none())
}

fn offer_again(world: &mut World, id: u64) {
    let now = world.clock_ms;
    if !is_offered(world, id) {
        return;
    }
    let job = world.github.jobs.get(&id);
    let listened = job.and_then(|job| world.github.sets.get(&job.set?)).is_some_and(|set| set.session.is_some());
    // Where nobody listens the offers wait for who will.
    if listened {
        items::tell(world, id, "JobAvailable");
    }
    if let Some(job) = world.github.jobs.get_mut(&id) {
        job.offered_ms = Some(now);
    }
    world.github.plan(now + AGAIN_MS, Event::Offer(id));
}

fn send(world: &mut World, id: u64, runner: u64) {
    let now = world.clock_ms;
    let Some(name) = world.github.runners.get_mut(&runner).map(|r| {
        r.sent = Some(id);
        r.name.clone()
    }) else {
        return;
    };
    if let Some(job) = world.github.jobs.get_mut(&id) {
        job.pending = true;
        job.sent.push((runner, name, now));
    }
    world.github.plan(now + PICK_MS, Event::Pick { job: id, runner });
}

fn pick(world: &mut World, id: u64, runner: u64) {
    let now = world.clock_ms;
    let is_sent =
        world.github.jobs.get(&id).is_some_and(|job| job.pending && job.sent.last().is_some_and(|s| s.0 == runner));
    if !is_sent {
        return;
    }
    if !runner::alive(world, runner) {
        world.github.plan(now - PICK_MS + AGAIN_MS, Event::Again(id));
        return;
    }
    let Some(found) = world.github.runners.get_mut(&runner) else { return };
    found.busy = true;
    let name = found.name.clone();
    let hangs = runner::hangs(world, runner);
    let Some(job) = world.github.jobs.get_mut(&id) else { return };
    (job.status, job.pending, job.started_ms, job.runner) =
        (Status::InProgress, false, Some(now), Some((runner, name)));
    let takes_ms = job.takes_ms;
    if !hangs {
        world.github.plan(now + takes_ms, Event::End { job: id, runner });
    }
    items::tell(world, id, "JobStarted");
    webhook::tell(world, id, "in_progress");
}

fn end(world: &mut World, id: u64, runner: u64) {
    let runs = world.github.jobs.get(&id).is_some_and(|job| {
        job.status == Status::InProgress && job.runner.as_ref().is_some_and(|(number, _)| *number == runner)
    });
    match runs && runner::alive(world, runner) {
        true => leave(world, id, runner, "success"),
        false if runs => lose(world, id, runner),
        false => {}
    }
}

/// A runner is done with its job: it is gone from the list, and ends.
fn leave(world: &mut World, id: u64, runner: u64, conclusion: &str) {
    let now = world.clock_ms;
    complete(world, id, conclusion, false);
    if let Some((vmid, boot_ms)) = world.github.runners.remove(&runner).and_then(|runner| runner.seat) {
        world.github.plan(now + PICK_MS, Event::Exit { vmid, boot_ms, code: 0 });
    }
}

fn lose(world: &mut World, id: u64, runner: u64) {
    world.github.lost_jobs += 1;
    complete(world, id, "failure", true);
    unseat(world, runner);
}

fn complete(world: &mut World, id: u64, conclusion: &str, lost: bool) {
    let now = world.clock_ms;
    let Some(job) = world.github.jobs.get_mut(&id) else { return };
    (job.status, job.ended_ms, job.conclusion) = (Status::Completed, Some(now), Some(conclusion.to_owned()));
    (job.pending, job.lost) = (false, lost);
    world.github.open.remove(&id);
    items::tell(world, id, "JobCompleted");
    webhook::tell(world, id, "completed");
}

/// A runner is there no longer, but its registration is.
fn unseat(world: &mut World, runner: u64) {
    let now = world.clock_ms;
    if let Some(found) = world.github.runners.get_mut(&runner) {
        (found.online, found.busy, found.sent, found.seat) = (false, false, None, None);
        world.github.plan(now + DAY_MS, Event::Forget(runner));
    }
}

fn beat(world: &mut World, runner: u64) {
    let now = world.clock_ms;
    let Some(found) = world.github.runners.get(&runner).filter(|found| found.online) else { return };
    let (busy, sent) = (found.busy, found.sent);
    if runner::alive(world, runner) {
        world.github.plan(now + BEAT_MS, Event::Beat(runner));
        return;
    }
    match sent {
        Some(job) if busy => lose(world, job, runner),
        // A job that was sent to it and not taken comes back in its time.
        Some(_) => world.github.runners.entry(runner).and_modify(|r| r.online = false).or_default().online = false,
        None => unseat(world, runner),
    }
}

fn again(world: &mut World, id: u64) {
    let Some(job) = world.github.jobs.get_mut(&id).filter(|job| job.status == Status::Queued && job.pending) else {
        return;
    };
    job.pending = false;
    if let Some((runner, ..)) = job.sent.last().cloned() {
        unseat(world, runner);
    }
}

fn forget(world: &mut World, runner: u64) {
    if world.github.runners.get(&runner).is_some_and(|r| !r.online && r.sent.is_none()) {
        world.github.runners.remove(&runner);
    }
}

/// A runner connects.
pub(in crate::sim) fn connected(world: &mut World, runner: u64, seat: (u32, u64), os: &str, version: &str) {
    let now = world.clock_ms;
    if let Some(found) = world.github.runners.get_mut(&runner) {
        (found.online, found.used, found.seat) = (true, true, Some(seat));
        (found.version, found.os) = (Some(version.to_owned()), os.to_owned());
        world.github.plan(now + BEAT_MS, Event::Beat(runner));
    }
}

/// Takes a registration away; its runner learns of it and ends.
pub(super) fn unregister(world: &mut World, runner: u64) {
    let now = world.clock_ms;
    if let Some((vmid, boot_ms)) = world.github.runners.remove(&runner).and_then(|runner| runner.seat) {
        world.github.plan(now + 2 * PICK_MS, Event::Exit { vmid, boot_ms, code: 1 });
    }
}
