//! A policy played over time without a cluster: each slot takes a snapshot and prunes, at once and without fail.

use crate::retention::class::{Ages, Class, class_of, name_of, slot_of};
use crate::retention::judge::{Item, Keep, Reason, Verdict, judge_dated};
use crate::retention::period::Dates;
use crate::schedule::slots::Schedule;
use jiff::tz::TimeZone;

/// So many slots ahead [`until_when`] plays at most.
const SLOTS_MAX: usize = 10_000;
/// How far [`until_when`] looks ahead: three years.
pub const AHEAD_MAX: i64 = 3 * 366 * 86_400;

/// A policy as it is played.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// When a snapshot is taken, and in which zone days begin.
    pub schedule: &'a Schedule,
    /// What is kept.
    pub keep: &'a Keep,
    /// What names begin with.
    pub prefix: &'a str,
}

/// What was seen while a policy was played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// What exists at the end, the oldest first, with the verdict on each.
    pub left: Vec<(Item, Verdict)>,
    /// All that happened, in order.
    pub events: Vec<Event>,
    /// The most that existed at once, and when that was first so: after a snapshot was taken and before others were pruned.
    pub most: (usize, Option<i64>),
    /// The greatest age that a snapshot had, in seconds, and its name.
    pub oldest: Option<(i64, String)>,
}

/// A snapshot came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The slot.
    pub at: i64,
    /// Its name.
    pub name: String,
    /// Taken, or pruned for a reason.
    pub what: What,
}

/// What happened to a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was taken, in this class.
    Taken(Class),
    /// It was pruned.
    Pruned(Reason),
}

/// Plays a policy on a guest without snapshots, from its first slot at `from` or later to the last before `until`.
pub fn play(policy: Policy<'_>, from: i64, until: i64) -> Played {
    let mut world = World::new(policy, &[]);
    let mut played = Played { left: Vec::new(), events: Vec::new(), most: (0, None), oldest: None };
    let mut last = None;
    for slot in policy.schedule.slots(from.saturating_sub(1), until.saturating_sub(1)) {
        let (name, class) = world.take(slot);
        played.events.push(Event { at: slot, name, what: What::Taken(class) });
        if world.items.len() > played.most.0 {
            played.most = (world.items.len(), Some(slot));
        }
        for item in &world.items {
            let age = slot - item.time;
            if played.oldest.as_ref().is_none_or(|(oldest, _)| age > *oldest) {
                played.oldest = Some((age, item.name.clone()));
            }
        }
        let gone = world.prune(slot).into_iter();
        played.events.extend(gone.map(|(item, reason)| Event {
            at: slot,
            name: item.name,
            what: What::Pruned(reason),
        }));
        last = Some(slot);
    }
    let verdicts = judge_dated(&world.items, &world.dates, policy.keep, last.unwrap_or(from));
    played.left = world.items.into_iter().zip(verdicts).collect();
    played.left.sort_by_key(|(item, _)| item.time);
    played
}

/// When each item will be pruned, if every slot after `now` is taken. `None`: not within [`AHEAD_MAX`], or never. What is to
/// be removed already goes at the next slot, for pruning follows a snapshot.
pub fn until_when(items: &[Item], policy: Policy<'_>, now: i64) -> Vec<Option<i64>> {
    let mut gone = vec![None; items.len()];
    if policy.keep.keeps_everything() {
        return gone;
    }
    let mut waiting = items.iter().filter(|item| item.held.is_none()).count();
    let mut world = World::new(policy, items);
    for slot in policy.schedule.slots(now, now.saturating_add(AHEAD_MAX)).take(SLOTS_MAX) {
        if waiting == 0 {
            break;
        }
        world.take(slot);
        for (item, _) in world.prune(slot) {
            if let Some(at) = items.iter().position(|known| *known == item).filter(|at| gone[*at].is_none()) {
                gone[at] = Some(slot);
                waiting -= 1;
            }
        }
    }
    gone
}

/// A guest's snapshots while a policy is played.
struct World<'a> {
    policy: Policy<'a>,
    zone: &'a TimeZone,
    items: Vec<Item>,
    dates: Vec<Dates>,
    slots: Vec<i64>,
}

impl<'a> World<'a> {
    fn new(policy: Policy<'a>, items: &[Item]) -> World<'a> {
        let zone = policy.schedule.zone();
        let slots = items.iter().map(|item| slot_of(policy.prefix, &item.name).unwrap_or(item.time)).collect();
        let dates = items.iter().map(|item| Dates::of(item.time, zone)).collect();
        World { policy, zone, items: items.to_vec(), dates, slots }
    }

    fn take(&mut self, slot: i64) -> (String, Class) {
        let ages: &Ages = &self.policy.keep.classes;
        let existing = self.items.iter().zip(&self.slots).map(|(item, slot)| (Class::of_name(&item.name), *slot));
        let class = class_of(slot, existing, ages, self.zone);
        let name = name_of(self.policy.prefix, slot, class);
        self.items.push(Item { name: name.clone(), time: slot, held: None });
        self.dates.push(Dates::of(slot, self.zone));
        self.slots.push(slot);
        (name, class)
    }

    fn prune(&mut self, now: i64) -> Vec<(Item, Reason)> {
        if self.policy.keep.keeps_everything() {
            return Vec::new();
        }
        let verdicts = judge_dated(&self.items, &self.dates, self.policy.keep, now);
        let mut gone = Vec::new();
        for (at, verdict) in verdicts.into_iter().enumerate().rev().filter(|(_, verdict)| !verdict.keep) {
            gone.push((self.items.remove(at), verdict.reason));
            self.dates.remove(at);
            self.slots.remove(at);
        }
        gone.reverse();
        gone
    }
}
