//! What a window wants done on each of its guests, as deltas.

use crate::base::id::{GuestType, VmId};
use crate::host::operation::Operation;
use crate::host::token::Token;
use crate::kinds::guest::hand::half_made::{is_left, is_of_snapshots, unlocked_first};
use crate::kinds::patch_window::choose::Choice;
use crate::kinds::patch_window::decide::{Act, Decision, End, Progress};
use crate::kinds::patch_window::spec::PatchWindowSpec;
use crate::kinds::patch_window::steps::Work;
use crate::kinds::patch_window::waves::{Turn, Turns, Wait};
use crate::kinds::patch_window::window::{Opening, Window};
use crate::resource::kind::PlanContext;
use crate::resource::merge::Cause;
use crate::resource::privilege::{require, require_any};
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::{Action, Change, Delta, Impact, Note, Step};
use std::collections::BTreeMap;

/// What is under way is looked at again so soon, in seconds.
pub const LOOK_AGAIN: i64 = 15;

/// A delta a guest.
pub fn deltas(
    cx: &PlanContext<'_>,
    spec: &PatchWindowSpec,
    window: &Window,
    name: &Token,
    turns: &Turns<'_>,
) -> Vec<Delta> {
    let declared = cx.declared();
    let of = |turn| delta(cx, spec, (window, name), turns, turn, &declared);
    turns.turns.iter().map(of).collect()
}

/// How an end reads.
pub fn end_words(end: &End) -> String {
    match end {
        End::Updated => "updated".to_owned(),
        End::UpToDate => "up to date".to_owned(),
        End::LeftOut(why) => format!("left out: {why}"),
        End::Failed(why) => format!("failed: {why}"),
        End::WentBack(why) => format!("failed, and went back to its snapshot: {why}"),
    }
}

/// How far a guest or a node is.
pub struct How<'a> {
    /// How far.
    pub progress: &'a Progress,
    /// A reboot is needed and not given: why it is needed.
    pub reboot: Option<&'a String>,
}

impl How<'_> {
    fn of(decision: &Decision) -> How<'_> {
        How { progress: &decision.progress, reboot: decision.reboot.as_ref() }
    }
}

/// Says how far a target is, and when it is looked at again.
pub fn tell(
    delta: &mut Delta,
    now: i64,
    (window, opening): (&Window, Option<Opening>),
    waits: Option<&Wait>,
    how: Option<How<'_>>,
) {
    let open = opening.filter(|opening| opening.is_open(now));
    delta.next = open.map(|opening| opening.end).or_else(|| window.next(now).map(|opening| opening.slot));
    if let Some(wait) = waits {
        delta.notes.push(if wait.warns { Note::Warning(wait.why.clone()) } else { Note::Info(wait.why.clone()) });
        delta.next = wait.until.into_iter().chain(delta.next).min();
    }
    let Some(How { progress, reboot }) = how else { return };
    match progress {
        Progress::Idle => {}
        Progress::Working(what) => {
            delta.notes.push(Note::Info(what.clone()));
            delta.next = Some(now.saturating_add(LOOK_AGAIN));
        }
        Progress::Ended(end) if open.is_some() => {
            let words = end_words(end);
            delta.notes.push(match end {
                End::Failed(_) | End::WentBack(_) => Note::Warning(words),
                End::Updated | End::UpToDate | End::LeftOut(_) => Note::Info(words),
            });
        }
        Progress::Ended(_) => {}
    }
    if let Some(why) = reboot.filter(|_| matches!(progress, Progress::Ended(End::Updated))) {
        delta.notes.push(Note::RebootRequired(vec![why.clone()]));
    }
}

fn delta(
    cx: &PlanContext<'_>,
    spec: &PatchWindowSpec,
    (window, name): (&Window, &Token),
    turns: &Turns<'_>,
    turn: &Turn<'_>,
    declared: &BTreeMap<VmId, ResourceRef>,
) -> Delta {
    let (row, now) = (turn.guest.row, cx.seen.at);
    let identity = Identity::Guest { guest: row.guest, vmid: row.vmid, node: row.node.clone() };
    let mut delta = Delta::none(cx.resource.member(row.vmid), Some(identity));
    // A guest that is being changed is left in peace until that has ended.
    delta.behind = declared.get(&row.vmid).cloned().into_iter().collect();
    rights(cx, spec, turn, &mut delta);
    tell(&mut delta, now, (window, turns.opening), turn.waits.as_ref(), turn.decision.as_ref().map(How::of));
    let Some(decision) = &turn.decision else { return delta };
    let Some(act) = &decision.act else { return delta };
    act_on(cx, (spec, name), turn, (decision, act), &mut delta);
    delta
}

fn act_on(
    cx: &PlanContext<'_>,
    (spec, name): (&PatchWindowSpec, &Token),
    turn: &Turn<'_>,
    (decision, act): (&Decision, &Act),
    delta: &mut Delta,
) {
    let row = turn.guest.row;
    let runs = cx.seen.index.working.get(&row.vmid).is_some_and(|task| is_of_snapshots(task));
    delta.action = Action::Update;
    delta.next = Some(cx.seen.at.saturating_add(LOOK_AGAIN));
    if is_left(row.lock.as_deref(), runs) {
        let lock = row.lock.as_deref().unwrap_or_default();
        // Whether a task runs after all is looked at once more on the node.
        let ours = match lock {
            "rollback" => matches!(act, Act::GoBack(_)),
            _ => !turn.guest.half.is_empty(),
        };
        let word = Token::argument(lock).filter(|_| ours && cx.links.reach(&row.node));
        let call = word.and_then(|lock| Operation::Unlock { guest: row.guest, vmid: row.vmid, lock }.call(&row.node));
        match call {
            Some(call) => {
                delta.changes.push(change("lock", Some(lock.to_owned()), Some("none".to_owned()), Impact::None));
                let title = format!("take away the lock `{lock}` of a task that is gone");
                delta.steps.push(Step::new(title, call, Impact::None));
            }
            None => {
                let left = format!("a task that is gone left the lock `{lock}`; {}", unlocked_first(row));
                delta.notes.push(Note::Toothless(left));
            }
        }
        return;
    }
    if let Some(lock) = row.lock.as_ref().or(cx.seen.index.working.get(&row.vmid)) {
        delta.notes.push(Note::Locked(lock.clone()));
        return;
    }
    if matches!(act, Act::Snapshot(_)) {
        let taken = crate::kinds::patch_window::outcome::name(decision.slot);
        if turn.guest.foreign.contains(&taken) {
            delta.notes.push(Note::Toothless(format!(
                "there is a snapshot `{taken}` that this window did not take: let windows of one guest open at different times"
            )));
            return;
        }
    }
    let work = Work { window: name, set: cx.set, spec, guest: &turn.guest };
    match work.steps(decision.slot, act) {
        Ok(steps) => {
            delta.changes = changes(act, decision.choice.as_ref());
            if matches!(act, Act::Patch(..)) {
                let left = decision.choice.iter().flat_map(|choice| &choice.left);
                delta.notes.extend(left.map(|(package, why)| Note::Info(format!("{package} is left as it is: {why}"))));
            }
            delta.steps = steps;
        }
        Err(why) => delta.notes.push(Note::Toothless(why)),
    }
}

fn change(path: &str, from: Option<String>, to: Option<String>, impact: Impact) -> Change {
    Change { path: path.to_owned(), from, to, cause: Cause::Change, impact }
}

fn changes(act: &Act, choice: Option<&Choice>) -> Vec<Change> {
    let some = |text: &str| Some(text.to_owned());
    match act {
        Act::Snapshot(_) => vec![change("snapshot", some("not there"), some("there (disks)"), Impact::Live)],
        Act::Start => vec![change("power", some("stopped"), some("running"), Impact::Restart)],
        Act::Assess(_) => vec![change("updates", some("unknown"), some("known"), Impact::Live)],
        Act::Patch(_, packages) => packages
            .iter()
            .map(|package| {
                change(&format!("package {}", package.name), None, Some(package.version.to_string()), Impact::Live)
            })
            .chain(
                choice
                    .filter(|_| packages.is_empty())
                    .map(|_| change("updates", some("half done"), some("done"), Impact::Live)),
            )
            .collect(),
        Act::Reboot => vec![change("boot", some("before its updates"), some("after its updates"), Impact::Restart)],
        Act::Health(_) => vec![change("health", some("unknown"), some("known"), Impact::Live)],
        Act::Revive(job) => vec![change(job, some("silent"), some("known"), Impact::None)],
        Act::Stop(_) => vec![change("power", some("running"), some("stopped, as before"), Impact::Restart)],
        Act::Mark(_) => vec![change("outcome", None, some("noted"), Impact::None)],
        Act::GoBack(why) => vec![change("disks", some(why), some("as in the snapshot"), Impact::Restart)],
        Act::Delete(_) => {
            vec![change("snapshot", some("there"), some("gone: it is not needed any more"), Impact::Live)]
        }
    }
}

fn rights(cx: &PlanContext<'_>, spec: &PatchWindowSpec, turn: &Turn<'_>, delta: &mut Delta) {
    let path = format!("/vms/{}", turn.guest.row.vmid);
    if spec.before.snapshot {
        require(cx, delta, &path, "VM.Snapshot");
    }
    require(cx, delta, &path, "VM.PowerMgmt");
    if turn.guest.row.guest == GuestType::Qemu {
        // PVE 8 asks for VM.Monitor instead.
        require_any(cx, delta, &[path], &["VM.GuestAgent.Unrestricted", "VM.Monitor"]);
    }
}
