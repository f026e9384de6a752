//! What a policy does to one guest: what is due is taken; when it is seen to be there, what the rule lets go is deleted. Nothing
//! is deleted while something is due, so that a policy that cannot take snapshots any more keeps those that there are.

use crate::base::id::GuestType;
use crate::kinds::guest::hand::deed::base;
use crate::kinds::guest::hand::half_made::{
    HalfMade, Way, by_force, half_made, is_left, is_of_snapshots, unlocked_first,
};
use crate::kinds::guest::hand::snapshot::{Row, SnapState, list_query, policy_line, rows};
use crate::kinds::selector::matches;
use crate::kinds::snapshot_policy::rule::Rule;
use crate::kinds::snapshot_policy::spec::{Missed, SnapshotPolicySpec};
use crate::kinds::snapshot_policy::{name, room};
use crate::pve::request::{Call, Method, segment};
use crate::resource::index::GuestRow;
use crate::resource::kind::PlanContext;
use crate::resource::merge::Cause;
use crate::resource::privilege::require;
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::{Action, Change, Copies, Delta, Impact, Limit, Note, Step};
use crate::retention::class::{Class, class_of, name_of};
use crate::retention::judge::{Item, Verdict, judge};
use crate::schedule::slots::offset;
use serde_json::Value;
use std::time::Duration;

/// With `missed: Skip`, how long after its time a snapshot may still be taken.
const LATE_MAX: i64 = 3600;

/// A snapshot of a guest, and what the rule says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// As PVE lists it.
    pub row: Row,
    /// The rule's word; `None`: it is none of the policy's.
    pub verdict: Option<Verdict>,
}

/// A policy and one guest that it means.
pub struct Member<'a> {
    /// The policy's name.
    pub policy: &'a str,
    /// Of which manifest set it is.
    pub set: &'a str,
    /// The present moment, in seconds since 1970.
    pub now: i64,
    /// The policy.
    pub spec: &'a SnapshotPolicySpec,
    /// The policy, understood.
    pub rule: &'a Rule,
    /// The guest.
    pub row: &'a GuestRow,
    /// The resource of the manifests that it is, if one is.
    pub resource: Option<&'a ResourceRef>,
}

/// A time at which a snapshot of a guest shall be taken.
struct Due {
    slot: i64,
    /// By how much the guest's turn is later.
    offset: i64,
}

impl Member<'_> {
    /// Whether a snapshot was taken for this policy.
    fn took(&self, row: &Row) -> bool {
        row.policy.as_ref().is_some_and(|(set, name)| set == self.set && name == self.policy)
    }

    /// Whether the policy may prune a snapshot by its name or its marker.
    fn may_prune(&self, row: &Row) -> bool {
        self.took(row) || self.spec.adopt.iter().any(|pattern| matches(pattern, &row.name))
    }

    /// Every snapshot of a list with what the rule says, oldest first; one that is not whole is nobody's.
    pub fn judged(&self, list: &Value) -> Vec<Judged> {
        let all = rows(list);
        let whole = |row: &&Row| row.state.is_none() && row.time.is_some();
        let ours: Vec<&Row> = all.iter().filter(whole).filter(|row| self.may_prune(row)).collect();
        let verdicts = judge(&self.items(&ours, &all), &self.rule.keep, self.rule.schedule.zone(), self.now);
        let verdict = |row: &Row| {
            let at = ours.iter().position(|ours| ours.name == row.name)?;
            verdicts.get(at).cloned()
        };
        all.iter().map(|row| Judged { row: row.clone(), verdict: verdict(row) }).collect()
    }

    /// Snapshots as the rule weighs them.
    pub fn items(&self, ours: &[&Row], all: &[Row]) -> Vec<Item> {
        let held = |row: &Row| {
            if let Some(pattern) = self.protected_by(row) {
                return Some(format!("protect: {pattern}"));
            }
            // What was taken by hand stays, and what is protected. Of another policy it is that one's to say.
            let by_hand = |child: &Row| child.policy.is_none() && !self.may_prune(child);
            let stays = |child: &&Row| by_hand(child) || self.protected_by(child).is_some();
            let child = all.iter().filter(|child| child.parent.as_ref() == Some(&row.name)).find(stays)?;
            Some(format!("`{}` stands on it and stays", child.name))
        };
        let time = |row: &Row| row.time.and_then(|time| i64::try_from(time).ok()).unwrap_or(i64::MAX);
        ours.iter().map(|row| Item { name: row.name.clone(), time: time(row), held: held(row) }).collect()
    }

    fn protected_by(&self, row: &Row) -> Option<&String> {
        self.spec.protect.iter().find(|pattern| matches(pattern, &row.name))
    }

    /// How much later than others a guest has its turn.
    fn offset(&self, slot: i64) -> i64 {
        let jitter = Duration::from_secs(self.spec.jitter.map_or(0, |jitter| jitter.0));
        offset(&format!("{}:{}", self.policy, self.row.vmid), slot, jitter)
    }

    /// The newest time that has come, and whether it is too late for it.
    fn last(&self) -> Option<(Due, bool)> {
        let now = self.now;
        let schedule = &self.rule.schedule;
        let mut slot = schedule.last(now)?;
        if slot.saturating_add(self.offset(slot)) > now {
            slot = schedule.last(slot.checked_sub(1)?)?;
        }
        let offset = self.offset(slot);
        let half = schedule.next(slot).map_or(LATE_MAX, |next| (next - slot) / 2);
        let late = now.saturating_sub(slot.saturating_add(offset)) > LATE_MAX.min(half);
        Some((Due { slot, offset }, late && self.spec.missed == Missed::Skip))
    }

    /// The next time that comes.
    pub fn next(&self) -> Option<i64> {
        let now = self.now;
        let schedule = &self.rule.schedule;
        let waits = schedule.last(now).map(|slot| slot.saturating_add(self.offset(slot))).filter(|at| *at > now);
        waits.or_else(|| schedule.next(now).map(|slot| slot.saturating_add(self.offset(slot))))
    }

    /// What is to be done.
    pub fn plan(&self, cx: &PlanContext<'_>) -> Delta {
        let row = self.row;
        let identity = Identity::Guest { guest: row.guest, vmid: row.vmid, node: row.node.clone() };
        let mut delta = Delta::none(cx.resource.member(row.vmid), Some(identity));
        // A guest that is being changed is left in peace until that has ended.
        delta.behind = self.resource.cloned().into_iter().collect();
        if cx.seen.index.nodes.get(&row.node).is_some_and(|n| !n.online) {
            delta.notes.push(Note::NodeOffline(row.node.clone()));
            return delta;
        }
        require(cx, &mut delta, &format!("/vms/{}", row.vmid), "VM.Snapshot");
        let list = match cx.seen.answer(&list_query(row)) {
            Some(Ok(list)) => list,
            Some(Err(error)) => {
                delta.action = Action::Update;
                delta.notes.push(Note::Unsettled(format!("its snapshots could not be read: {error}")));
                return delta;
            }
            // The index is up to ten seconds old, and did not know the guest when it was asked.
            None => {
                delta.action = Action::Update;
                delta.notes.push(Note::Unsettled("it has just been made, and was not looked at yet".to_owned()));
                return delta;
            }
        };
        let all = rows(list);
        self.freshness(&all, &mut delta);
        let runs = cx.seen.index.working.get(&row.vmid).is_some_and(|task| is_of_snapshots(task));
        if is_left(row.lock.as_deref(), runs) {
            let lock = row.lock.as_deref().unwrap_or_default();
            delta.action = Action::Update;
            let mut left = format!("a task that is gone left the lock `{lock}`; {}", unlocked_first(row));
            // A deletion that fails again and again is one of disks that do not have the snapshot.
            let going = all.iter().find(|one| one.state == Some(SnapState::Delete) && self.took(one));
            if let Some(going) = going {
                left +=
                    &format!("; where `{}` cannot be deleted after that: {}", going.name, by_force(row, &going.name));
            }
            delta.notes.push(Note::Toothless(left));
            return delta;
        }
        let due = self.due(&all);
        if !self.clean(cx, &all, runs, &mut delta) {
            match &due {
                Some(due) => self.take(cx, due, &all, &mut delta),
                None => self.prune(cx, list, &mut delta),
            }
        }
        if let (Some(lock), false) = (&row.lock, delta.action == Action::NoOp) {
            delta.steps.clear();
            delta.notes.retain(|note| !matches!(note, Note::Locked(_)));
            delta.notes.push(Note::Locked(lock.clone()));
        }
        if due.is_none() {
            let turning = [self.next(), self.expires(&all), delta.next];
            delta.next = turning.into_iter().flatten().min();
        }
        delta
    }

    /// What has to be taken, if anything.
    fn due(&self, all: &[Row]) -> Option<Due> {
        if self.spec.prune_only {
            return None;
        }
        let (due, late) = self.last()?;
        let there = |row: &Row| row.state.is_none() && self.took(row) && name::slot(&row.name) >= Some(due.slot);
        (!late && !all.iter().any(there)).then_some(due)
    }

    /// How old the newest is that the policy took.
    fn freshness(&self, all: &[Row], delta: &mut Delta) {
        let now = self.now;
        let times = all.iter().filter(|row| row.state.is_none() && self.took(row)).filter_map(|row| row.time);
        delta.newest = times.max().and_then(|time| i64::try_from(time).ok());
        let Some(wanted) = self.spec.freshness.map(|s| i64::try_from(s.0).unwrap_or(i64::MAX)) else { return };
        let late = match delta.newest.map(|newest| now.saturating_sub(newest)) {
            // The first is due anyway; why it is not taken is said, where it is not.
            None => return,
            Some(age) if age > wanted => {
                Some(format!("its newest snapshot is {} old, and {} is wanted", span(age), span(wanted)))
            }
            Some(age) => {
                delta.next = Some(now.saturating_add(wanted - age).saturating_add(1));
                None
            }
        };
        delta.notes.push(Note::Fresh { copies: Copies::Snapshots, late });
    }

    /// When the next of them grows too old to be kept for its age alone.
    fn expires(&self, all: &[Row]) -> Option<i64> {
        let keep = &self.rule.keep;
        let ages = keep.within.iter().chain(keep.classes.values());
        let times: Vec<i64> = all.iter().filter_map(|row| row.time).filter_map(|t| i64::try_from(t).ok()).collect();
        let ends = ages.flat_map(|age| times.iter().map(move |time| time.saturating_add(*age).saturating_add(1)));
        ends.filter(|end| *end > self.now).min()
    }

    fn limits(&self, cx: &PlanContext<'_>, step: Step) -> Step {
        let limit = |at: String, room: u8| Limit::Policy { of: self.policy.to_owned(), at, room };
        let step = step.task(&self.row.node);
        let mut step = step.limit(limit(format!("node/{}", self.row.node), self.spec.concurrency.per_node.max(1)));
        if let Some(room) = self.spec.concurrency.per_storage {
            let guest = room::guest(self.row, cx.seen);
            let storages = guest.map(|guest| room::storages(&guest)).unwrap_or_default();
            step.limits.extend(storages.into_iter().map(|s| limit(format!("storage/{s}"), room.max(1))));
        }
        step
    }

    fn take(&self, cx: &PlanContext<'_>, due: &Due, all: &[Row], delta: &mut Delta) {
        let row = self.row;
        delta.action = Action::Update;
        let ours: Vec<&Row> = all.iter().filter(|row| row.state.is_none() && self.took(row)).collect();
        let existing = ours.iter().filter_map(|row| Some((Class::of_name(&row.name), name::slot(&row.name)?)));
        let class = class_of(due.slot, existing, &self.rule.keep.classes, self.rule.schedule.zone());
        let name = name_of(&name::prefix(self.policy, self.spec), due.slot, class);
        let guest = room::guest(row, cx.seen);
        let runs = row.status == "running";
        let memory = self.spec.include_memory && (runs || row.guest == GuestType::Lxc);
        let clash = all.iter().any(|row| row.name == name && !self.took(row));
        let against = clash
            .then(|| {
                format!("there is a snapshot `{name}` that this policy did not take: give it a namePrefix of its own")
            })
            .or_else(|| if memory { room::without_memory(row, guest.as_ref()) } else { None })
            .or_else(|| room::too_full(self.spec, guest.as_ref()?, cx.seen));
        if let Some(why) = against {
            delta.notes.push(Note::Toothless(format!("no snapshot is taken: {why}")));
            return;
        }
        if room::needs_config(self.spec) && guest.is_none() {
            delta.notes.push(Note::Unsettled("its configuration could not be read, so nothing is taken".into()));
            return;
        }
        let with = if memory { "disks and memory" } else { "disks" };
        let mut call = Call::new(Method::Post, format!("{}/snapshot", base(row)))
            .with("snapname", &name)
            .with("description", policy_line(self.set, self.policy));
        if memory {
            call = call.with("vmstate", 1);
        }
        let late = self.now.saturating_sub(due.slot.saturating_add(due.offset));
        if late > LATE_MAX && !ours.is_empty() {
            delta.notes.push(Note::Info(format!("it was due {} ago, and is made up for", span(late))));
        }
        delta.changes.push(change(&name, Some("not there".into()), Some(format!("there ({with})"))));
        delta.steps.push(self.limits(cx, Step::new(format!("take snapshot `{name}` ({with})"), call, Impact::Live)));
    }

    /// Deletes what this policy began and did not end, where no task is at it any more; whether there is such a thing.
    fn clean(&self, cx: &PlanContext<'_>, all: &[Row], runs: bool, delta: &mut Delta) -> bool {
        let broken = half_made(all, self.row.lock.as_deref(), runs);
        let ours = |half: &&HalfMade| all.iter().any(|row| row.name == half.name && self.took(row));
        let mut found = false;
        for half in broken.iter().filter(ours) {
            found = true;
            delta.action = Action::Update;
            if half.way != Way::Delete {
                let task = cx.seen.index.working.get(&self.row.vmid).or(self.row.lock.as_ref());
                delta.notes.extend(task.cloned().map(Note::Locked));
                continue;
            }
            delta.changes.push(change(&half.name, Some(half.story().to_owned()), Some("gone".into())));
            let title = format!("delete the half-made snapshot `{}`", half.name);
            delta.steps.push(self.delete(cx, &half.name, title));
        }
        found
    }

    /// Never with `force`: it would forget a snapshot whose disks still have it.
    fn delete(&self, cx: &PlanContext<'_>, name: &str, title: String) -> Step {
        let call = Call::new(Method::Delete, format!("{}/snapshot/{}", base(self.row), segment(name)));
        self.limits(cx, Step::new(title, call, Impact::Live))
    }

    fn prune(&self, cx: &PlanContext<'_>, list: &Value, delta: &mut Delta) {
        for Judged { row, verdict } in self.judged(list) {
            let Some(verdict) = verdict.filter(|verdict| !verdict.keep) else { continue };
            delta.action = Action::Update;
            delta.changes.push(change(&row.name, Some("there".into()), Some(format!("pruned: {}", verdict.reason))));
            let title = format!("prune snapshot `{}` ({})", row.name, verdict.reason);
            delta.steps.push(self.delete(cx, &row.name, title));
        }
    }
}

fn change(name: &str, from: Option<String>, to: Option<String>) -> Change {
    Change { path: format!("snapshot {name}"), from, to, cause: Cause::Change, impact: Impact::Live }
}

/// A span of time for people: `3d4h`, `5h`, `12m`.
pub fn span(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds % 86_400 / 3600, seconds % 3600 / 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}m"),
        (0, _) if minutes > 0 => format!("{hours}h{minutes}m"),
        (0, _) => format!("{hours}h"),
        (_, 0) => format!("{days}d"),
        (_, _) => format!("{days}d{hours}h"),
    }
}
