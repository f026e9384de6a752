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
use crate::resource::index::{GuestRow, text};
use crate::resource::kind::PlanContext;
use crate::resource::merge::Cause;
use crate::resource::privilege::require;
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::{Action, Change, Copies, Delta, Impact, Limit, Note, Rows, Step};
use crate::retention::class::{Class, class_of, name_of, slot};
use crate::retention::judge::{Item, Reason, Verdict, judge};
use crate::schedule::slots::offset;
use serde_json::Value;
use std::time::Duration;

/// What is locked is looked at again so soon, in seconds: nobody may tell when the lock is gone.
const LOOK_AGAIN: i64 = 15;
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

/// Whether a guest's turn has come.
enum Turn {
    /// A snapshot shall be taken.
    Due(Due),
    /// The newest was taken, or none was to be taken yet.
    Done,
    /// It was to be taken, and it is too late now: nothing is pruned either, until the next one is there.
    Missed,
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

    /// Whether the policy may prune a snapshot: one that it took, under an earlier name perhaps, or one that it adopts. What
    /// another policy took is that one's, whatever it is called: two that prune one another's would take them anew for ever.
    fn may_prune(&self, row: &Row) -> bool {
        match &row.policy {
            Some((set, name)) => {
                set == self.set && (name == self.policy || self.spec.adopt_policies.iter().any(|old| old == name))
            }
            None => self.spec.adopt.iter().any(|pattern| matches(pattern, &row.name)),
        }
    }

    /// The newest time for which a snapshot of the policy is there. A name that tells of a time to come is from a wrong clock.
    fn filled(&self, all: &[Row]) -> Option<i64> {
        self.taken(all).filter_map(|row| slot(&row.name)).filter(|slot| *slot <= self.now).max()
    }

    /// The whole snapshots that were taken for this policy.
    fn taken<'a>(&'a self, all: &'a [Row]) -> impl Iterator<Item = &'a Row> {
        all.iter().filter(|row| row.state.is_none() && self.took(row))
    }

    /// The snapshots that the rule has a say in.
    fn weighed<'a>(&self, all: &'a [Row]) -> Vec<&'a Row> {
        let whole = |row: &&Row| row.state.is_none() && row.time.is_some();
        all.iter().filter(whole).filter(|row| self.may_prune(row)).collect()
    }

    /// Every snapshot of a guest with what the rule says, in their order; one that is not whole is nobody's.
    pub fn judged(&self, all: &[Row]) -> Vec<Judged> {
        let ours = self.weighed(all);
        let verdicts = judge(&self.items(&ours, all), &self.rule.keep, self.rule.schedule.zone(), self.now);
        // What fills the newest slot stays, whatever the clock of its node said: it would only be taken again.
        let newest = self.filled(all);
        let fills = |row: &Row| self.took(row) && newest.is_some() && slot(&row.name) == newest;
        let verdict = |row: &Row| {
            let at = ours.iter().position(|ours| ours.name == row.name)?;
            let verdict = verdicts.get(at).cloned()?;
            Some(if fills(row) && !verdict.keep { Verdict { keep: true, reason: Reason::Newest } } else { verdict })
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
    fn offset(&self) -> i64 {
        let jitter = Duration::from_secs(self.spec.jitter.map_or(0, |jitter| jitter.0));
        // Always by the same: the slot has no say in it.
        offset(&format!("{}:{}", self.policy, self.row.vmid), 0, jitter)
    }

    /// The newest time that has come, and whether it is too late for it.
    fn last(&self) -> Option<(Due, bool)> {
        let now = self.now;
        let schedule = &self.rule.schedule;
        let offset = self.offset();
        let slot = schedule.last(now.checked_sub(offset)?)?;
        let half = schedule.next(slot).map_or(LATE_MAX, |next| (next - slot) / 2);
        let late = now.saturating_sub(slot.saturating_add(offset)) > LATE_MAX.min(half);
        Some((Due { slot, offset }, late && self.spec.missed == Missed::Skip))
    }

    /// The next time that comes.
    pub fn next(&self) -> Option<i64> {
        let now = self.now;
        let schedule = &self.rule.schedule;
        let offset = self.offset();
        schedule.next(now.checked_sub(offset)?).map(|slot| slot.saturating_add(offset))
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
            delta.next = Some(self.now.saturating_add(LOOK_AGAIN));
            return delta;
        }
        let turn = self.turn(&all);
        if !self.clean(cx, (list, &all), runs, &mut delta) {
            match &turn {
                Turn::Due(due) => self.take(cx, due, &all, &mut delta),
                Turn::Done => self.prune(cx, &all, &mut delta),
                Turn::Missed => {}
            }
        }
        if let (Some(lock), false) = (&row.lock, delta.action == Action::NoOp) {
            delta.steps.clear();
            delta.notes.retain(|note| !matches!(note, Note::Locked(_)));
            delta.notes.push(Note::Locked(lock.clone()));
            delta.next = Some(self.now.saturating_add(LOOK_AGAIN));
        }
        if !matches!(turn, Turn::Due(_)) {
            let turning = [self.next(), self.expires(&all), delta.next];
            delta.next = turning.into_iter().flatten().min();
        }
        delta
    }

    /// Whether its turn has come.
    fn turn(&self, all: &[Row]) -> Turn {
        match self.last() {
            _ if self.spec.prune_only => Turn::Done,
            Some((due, _)) if self.filled(all) >= Some(due.slot) => Turn::Done,
            Some((_, true)) => Turn::Missed,
            Some((due, false)) => Turn::Due(due),
            None => Turn::Done,
        }
    }

    /// How old the newest is that the policy took.
    fn freshness(&self, all: &[Row], delta: &mut Delta) {
        let now = self.now;
        let times = self.taken(all).filter_map(|row| row.time);
        delta.newest = times.max().and_then(|time| i64::try_from(time).ok());
        let Some(wanted) = self.spec.freshness.map(|age| age.signed()) else { return };
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
        // Of all policies together one at a time: PVE's lock holds the others up, and fails them.
        let guest = Limit::Policy { of: String::new(), at: format!("guest/{}", self.row.vmid), room: 1 };
        let step = step.limit(guest);
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
        let existing = self.taken(all).filter_map(|row| Some((Class::of_name(&row.name), slot(&row.name)?)));
        let class = class_of(due.slot, existing, &self.rule.keep.classes, self.rule.schedule.zone());
        let name = name_of(&name::prefix(self.policy, self.spec), due.slot, class);
        let guest = room::guest(row, cx.seen);
        let runs = row.status == "running";
        let memory = self.spec.include_memory && (runs || row.guest == GuestType::Lxc);
        let clash = all.iter().find(|row| row.name == name && !self.took(row)).map(|row| match &row.policy {
            Some((set, other)) => format!(
                "there is a snapshot `{name}` of SnapshotPolicy/{other} of the set `{set}`: give one of them a namePrefix of \
                 its own, or where it was renamed say adoptPolicies: [{other}]"
            ),
            None => format!("there is a snapshot `{name}` that no policy took: give this one a namePrefix of its own"),
        });
        let against =
            clash.or_else(|| if memory { room::without_memory(row, guest.as_ref()) } else { None }).or_else(|| {
                let full = room::too_full(self.spec, guest.as_ref()?, cx.seen)?;
                Some(format!("{full}; `pvectl snapshot prune -f …` frees what the rule lets go already"))
            });
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
        if late > LATE_MAX && self.taken(all).next().is_some() {
            delta.notes.push(Note::Info(format!("it was due {} ago, and is made up for", span(late))));
        }
        delta.changes.push(change(&name, Some("not there".into()), Some(format!("there ({with})"))));
        let after = self.lets_go(all, &name);
        if !after.is_empty() {
            delta.notes.push(Note::Info(format!("when it is there, these go by the rule: {}", after.join(", "))));
        }
        delta.steps.push(self.limits(cx, Step::new(format!("take snapshot `{name}` ({with})"), call, Impact::Live)));
    }

    /// What the rule lets go when one more is there.
    fn lets_go(&self, all: &[Row], name: &str) -> Vec<String> {
        let mut items = self.items(&self.weighed(all), all);
        items.push(Item { name: name.to_owned(), time: self.now, held: None });
        let verdicts = judge(&items, &self.rule.keep, self.rule.schedule.zone(), self.now);
        let gone = items.iter().zip(verdicts).filter(|(_, verdict)| !verdict.keep);
        gone.map(|(item, _)| item.name.clone()).collect()
    }

    /// Deletes what this policy began and did not end, where no task is at it any more; whether there is such a thing.
    fn clean(&self, cx: &PlanContext<'_>, (list, all): (&Value, &[Row]), runs: bool, delta: &mut Delta) -> bool {
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
            // Whoever took it may be about to end it: right before the call it must still be as it was seen.
            let keys: &[&str] = &["name", "snapstate"];
            let row = |row: &Value| keys.iter().map(|key| text(&row[*key]).unwrap_or_default()).collect();
            let rows = list.as_array().into_iter().flatten().map(row).collect();
            let rows = Rows { query: list_query(self.row), keys, rows };
            delta.steps.push(Step { rows: Some(rows), ..self.delete(cx, &half.name, title) });
            break;
        }
        found
    }

    /// Never with `force`: it would forget a snapshot whose disks still have it.
    fn delete(&self, cx: &PlanContext<'_>, name: &str, title: String) -> Step {
        let call = Call::new(Method::Delete, format!("{}/snapshot/{}", base(self.row), segment(name)));
        self.limits(cx, Step::new(title, call, Impact::Live))
    }

    fn prune(&self, cx: &PlanContext<'_>, all: &[Row], delta: &mut Delta) {
        for Judged { row, verdict } in self.judged(all) {
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
