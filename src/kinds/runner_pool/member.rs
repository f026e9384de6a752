//! What is done about each machine, as deltas: made, configured, begun, marked, taken away.

use crate::base::id::{GuestType, VmId};
use crate::github::operation::Operation;
use crate::host::operation::Operation as Link;
use crate::host::token::Token;
use crate::kinds::guest::create::create;
use crate::kinds::guest::firewall;
use crate::kinds::guest::observed::GuestSeen;
use crate::kinds::runner_pool::decide::New;
use crate::kinds::runner_pool::judge::{Act, Stage, Verdict};
use crate::kinds::runner_pool::look::{Look, Own};
use crate::kinds::runner_pool::marks::Marks;
use crate::kinds::runner_pool::spec::{DemandMode, RegistrationMode, RunnerPoolSpec, place};
use crate::kinds::runner_pool::{wanted, way};
use crate::pve::request::{Call, Method, Query};
use crate::resource::kind::PlanContext;
use crate::resource::marker::Marker;
use crate::resource::merge::{Cause, Fields};
use crate::resource::privilege::{require, require_any};
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::{Action, Change, Delta, Expect, Guard, Impact, Keeps, Limit, Note, Step};

/// The parameter by which a runner's secret goes to what begins it.
const SECRET: &str = "input-data";
/// What a lost registration means.
const LOST: &str = "the registration that was made is taken away at the next look, and another is made";

/// A delta a machine, those that are to be made last. What stands against one of those is the pool's to tell ([`against`]): it
/// holds nothing up that is there.
pub fn deltas(cx: &PlanContext<'_>, spec: &RunnerPoolSpec, look: &Look) -> Vec<Delta> {
    let there = look.own.iter().zip(&look.decision.verdicts).map(|(own, verdict)| delta(cx, spec, own, verdict));
    let new = look.decision.new.iter().map(|new| made(cx, spec, look, new));
    there.chain(new.filter(|delta| delta.problems.is_empty())).collect()
}

/// What would stand against a machine, found by planning one: rights, bridges, groups, storages.
pub fn against(cx: &PlanContext<'_>, spec: &RunnerPoolSpec, look: &Look) -> Vec<crate::resource::step::Problem> {
    look.decision.new.first().map(|new| made(cx, spec, look, new).problems).unwrap_or_default()
}

fn identity(guest: GuestType, vmid: VmId, node: &str) -> Identity {
    Identity::Guest { guest, vmid, node: node.to_owned() }
}

fn change(path: &str, from: &str, to: &str, impact: Impact) -> Change {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Change { path: path.to_owned(), from: some(from), to: some(to), cause: Cause::Change, impact }
}

fn made(cx: &PlanContext<'_>, spec: &RunnerPoolSpec, look: &Look, new: &New) -> Delta {
    let resource = cx.resource.member(new.vmid);
    let guest = look.template.as_ref().map_or(GuestType::Qemu, |template| template.row.guest);
    let identity = identity(guest, new.vmid, &new.node);
    let inner = PlanContext { resource: &resource, identity: &identity, member_of: None, retain: false, ..*cx };
    let mut want = wanted::wanted(spec, guest, &new.name);
    want.version = look.template.as_ref().and_then(|t| t.marker.as_ref()?.version.clone());
    let mut delta = Delta::none(resource.clone(), Some(identity.clone()));
    create(&inner, &want, &mut delta);
    firewall::check(&inner, &want.fields, &mut delta);
    let vms = format!("/vms/{}", new.vmid);
    let paths: Vec<String> = std::iter::once(vms).chain(spec.pool.iter().map(|pool| format!("/pool/{pool}"))).collect();
    require_any(&inner, &mut delta, &paths, &["VM.PowerMgmt"]);
    if guest == GuestType::Qemu {
        // PVE 8 asks for VM.Monitor instead.
        require_any(&inner, &mut delta, &paths, &["VM.GuestAgent.Unrestricted", "VM.Monitor"]);
    }
    delta.changes.insert(0, change("machine", "", &new.name, Impact::None));
    delta.notes.retain(|note| note.info().is_none());
    // Its marks go with the request that makes it, so that no moment is lost.
    let notes = Marker {
        owner: resource,
        set: cx.set.to_owned(),
        vmid: Some(new.vmid.get()),
        retain: false,
        member_of: None,
        source: want.source.summary(),
        version: want.version.clone(),
        applied: new.marks.write(),
    };
    for step in delta.steps.iter_mut().filter(|step| step.call.path.ends_with("/clone")) {
        for (_, value) in step.call.params.iter_mut().filter(|(key, _)| key == "description") {
            *value = notes.join("");
        }
    }
    delta.next = Some(cx.seen.at + 3);
    delta
}

fn delta(cx: &PlanContext<'_>, spec: &RunnerPoolSpec, own: &Own, verdict: &Verdict) -> Delta {
    let m = &own.machine;
    let resource = cx.resource.member(m.vmid);
    let mut delta = Delta::none(resource, Some(identity(m.guest, m.vmid, &m.node)));
    delta.next = verdict.next;
    let words = match &verdict.waits {
        Some(why) => format!("{}: {why}", verdict.stage.as_str()),
        None => verdict.stage.as_str().to_owned(),
    };
    delta.notes.push(if verdict.warns { Note::Warning(words) } else { Note::Info(words) });
    if cx.going && verdict.act.is_none() {
        // It stands in the way of the pool's end.
        delta.action = Action::Delete;
    }
    let Some(act) = &verdict.act else { return delta };
    delta.action = Action::Update;
    let work = Work { cx, spec, own };
    match act {
        Act::Configure => work.configure(&mut delta),
        Act::Start => {
            delta.changes.push(change("power", "stopped", "running", Impact::Restart));
            delta.steps.push(work.start());
        }
        Act::Begin { stale } => work.begin(*stale, &mut delta),
        Act::Mark(marks) => {
            delta.changes.push(change("runner", "", verdict.stage.as_str(), Impact::None));
            delta.steps.push(work.mark(marks, &format!("note: {}", verdict.stage.as_str())));
        }
        Act::Leave { runner, why } => work.leave(*runner, why, &mut delta),
        Act::Fail { marks, runner, lock } => work.fail(marks, *runner, lock.as_deref(), &mut delta),
        Act::Still { runner } => {
            delta.changes.push(change("runner", Stage::Failed.as_str(), "put away", Impact::Restart));
            work.still(*runner, &mut delta);
        }
    }
    delta
}

/// The next machine of the same number has another moment.
fn made_at(marks: &Marks) -> Option<(String, String)> {
    let key = "runner.made".to_owned();
    let value = marks.write().get(&key)?.clone();
    Some((key, value))
}

struct Work<'a> {
    cx: &'a PlanContext<'a>,
    spec: &'a RunnerPoolSpec,
    own: &'a Own,
}

impl Work<'_> {
    fn base(&self) -> String {
        let m = &self.own.machine;
        format!("/nodes/{}/{}/{}", m.node, m.guest, m.vmid)
    }

    fn guest(&self) -> &GuestSeen {
        &self.own.guest
    }

    fn owner(&self) -> ResourceRef {
        self.cx.resource.member(self.own.machine.vmid)
    }

    fn guard(&self) -> Option<Guard> {
        let query = Query::new(format!("{}/config", self.base()));
        let applied = made_at(&self.own.machine.marks);
        Some(Guard { query, owner: self.owner(), set: self.cx.set.to_owned(), applied })
    }

    /// One thing at a time on a machine, whoever does it.
    fn limited(&self, step: Step) -> Step {
        let at = format!("guest/{}", self.own.machine.vmid);
        step.limit(Limit::Policy { of: String::new(), at, room: 1 })
    }

    fn notes(&self, marks: &Marks) -> String {
        let before = self.guest().marker.as_ref();
        let marker = Marker {
            owner: self.owner(),
            set: self.cx.set.to_owned(),
            vmid: Some(self.own.machine.vmid.get()),
            retain: false,
            member_of: None,
            source: before.and_then(|m| m.source.clone()),
            version: before.and_then(|m| m.version.clone()),
            applied: marks.write(),
        };
        marker.join(self.guest().config.get("description").map_or("", String::as_str))
    }

    /// Writes down how far it is. Somebody else's change in the same moment is looked at first.
    fn mark(&self, marks: &Marks, title: &str) -> Step {
        let call = Call::new(Method::Put, format!("{}/config", self.base())).with("description", self.notes(marks));
        let call = self.guest().digest.iter().fold(call, |call, digest| call.with("digest", digest));
        self.limited(Step::new(title, call, Impact::None))
    }

    fn start(&self) -> Step {
        let m = &self.own.machine;
        let call = Call::new(Method::Post, format!("{}/status/start", self.base()));
        self.limited(Step::new(format!("start {} {}", m.guest, m.vmid), call, Impact::Restart).task(&m.node))
    }

    fn configure(&self, delta: &mut Delta) {
        let m = &self.own.machine;
        let want = wanted::wanted(self.spec, m.guest, &m.name);
        let identity = identity(m.guest, m.vmid, &m.node);
        let inner = PlanContext { identity: &identity, ..*self.cx };
        let guarded = want.fields.keys().any(|path| firewall::is_field(path));
        if guarded && self.guest().firewall.is_none() {
            // It does not run a moment without what guards it.
            delta.notes.push(Note::Unsettled("its firewall was not read yet".to_owned()));
            return;
        }
        let (differences, params) = wanted::differences(&want, self.guest());
        let (before, after) = firewall::steps(&inner, self.guest().firewall.as_ref(), &differences, delta);
        let marks = Marks { started: Some(self.cx.seen.at), ..m.marks.clone() };
        let mut write = self.mark(&marks, &format!("configure {} {}", m.guest, m.vmid));
        write.call.params.extend(params.into_iter().filter(|(key, _)| key != "description"));
        delta.changes.extend(differences.iter().map(|d| Change {
            path: d.path.clone(),
            from: d.from.clone(),
            to: d.to.clone(),
            cause: d.cause,
            impact: Impact::None,
        }));
        delta.changes.push(change("power", "stopped", "running", Impact::Restart));
        delta.steps.extend(before);
        delta.steps.push(write);
        delta.steps.extend(after);
        delta.steps.push(self.start());
        delta.next = Some(self.cx.seen.at + 3);
    }

    /// That it is about to be registered stands on it before the registration is asked for, so that none is ever made for a machine
    /// that would be used twice.
    fn begin(&self, stale: Option<u64>, delta: &mut Delta) {
        let m = &self.own.machine;
        let place = place(self.spec);
        let start = way::start(self.spec, &m.name);
        let (first, begin) = match way::begin(&self.guest().row, self.spec, &start, m.address()) {
            Ok(way) => way,
            Err(why) => {
                delta.action = Action::NoOp;
                delta.notes.push(Note::Toothless(why));
                return;
            }
        };
        let marks = Marks { registering: Some(self.cx.seen.at), ..m.marks.clone() };
        let mut mark = self.mark(&marks, "note: registering");
        mark.first = first;
        let secret = match self.spec.bootstrap.registration {
            RegistrationMode::JustInTime => {
                let asks = Operation::JustInTime {
                    name: m.name.clone(),
                    labels: self.spec.labels.clone(),
                    group: self.spec.group().to_owned(),
                    folder: self.spec.work_folder().to_owned(),
                    scale_set: (self.spec.demand == DemandMode::ScaleSet).then(|| self.cx.resource.name.clone()),
                };
                (format!("register runner {}", m.name), asks)
            }
            RegistrationMode::Token => ("ask for a registration token".to_owned(), Operation::RegistrationToken),
        };
        let Some(call) = secret.1.call(&place) else { return };
        let mut register = self.limited(Step::new(secret.0, call, Impact::None));
        register.keeps = Some(Keeps { param: SECRET, lost: LOST });
        delta.changes.push(change("runner", "", "begun", Impact::Live));
        delta.steps.extend(stale.and_then(|runner| self.remove(runner)));
        delta.steps.push(mark);
        delta.steps.push(register);
        delta.steps.push(self.limited(Step::new("begin the runner", begin, Impact::Live)));
        delta.next = Some(self.cx.seen.at + 3);
    }

    fn remove(&self, runner: u64) -> Option<Step> {
        let call = Operation::Remove { runner }.call(&place(self.spec))?;
        Some(self.limited(Step::new(format!("take the registration {runner} away"), call, Impact::None)))
    }

    fn stop(&self) -> Step {
        let m = &self.own.machine;
        let call = Call::new(Method::Post, format!("{}/status/stop", self.base()));
        let step = Step::new(format!("stop {} {}", m.guest, m.vmid), call, Impact::Restart).task(&m.node);
        Step { guard: self.guard(), ..self.limited(step) }
    }

    fn is_off(&self) -> bool {
        self.own.machine.power == crate::kinds::runner_pool::machine::Power::Stopped
    }

    /// GitHub agrees first: the registration goes, or nothing does.
    fn leave(&self, runner: Option<u64>, why: &str, delta: &mut Delta) {
        let m = &self.own.machine;
        delta.changes.push(change("machine", &m.name, "", Impact::Restart));
        delta.notes.push(Note::Info(format!("it goes: {why}")));
        require(self.cx, delta, &format!("/vms/{}", m.vmid), "VM.Allocate");
        if self.guest().config.get("protection").is_some_and(|p| p == "1") {
            delta.notes.push(Note::Toothless(format!("guest {} is protected; take that away: its options", m.vmid)));
            return;
        }
        delta.steps.extend(runner.and_then(|runner| self.remove(runner)));
        if !self.is_off() {
            delta.steps.push(self.stop());
        }
        // What is not in the configuration is not ours to destroy; jobs and rules that name it go with its number.
        let call = Call::new(Method::Delete, self.base()).with("purge", 0).with("destroy-unreferenced-disks", 0);
        // It lives for one job and holds nothing that anybody keeps: that it goes is what its manifest asks for.
        let step = Step::new(format!("delete {} {}", m.guest, m.vmid), call, Impact::Restart).task(&m.node);
        delta.steps.push(Step { guard: self.guard(), ..self.limited(step) });
    }

    fn fail(&self, marks: &Marks, runner: Option<u64>, lock: Option<&str>, delta: &mut Delta) {
        let m = &self.own.machine;
        let cause = marks.failed.as_ref().map_or("failed", |failure| failure.cause.as_str());
        delta.changes.push(change("runner", "", cause, Impact::Restart));
        if let Some(lock) = lock {
            let word = Token::argument(lock).filter(|_| self.cx.links.reach(&m.node));
            let unlock = word.and_then(|lock| Link::Unlock { guest: m.guest, vmid: m.vmid, lock }.call(&m.node));
            let Some(call) = unlock else {
                let tool = if m.guest == GuestType::Qemu { "qm" } else { "pct" };
                delta.notes.push(Note::Toothless(format!(
                    "only root can take the lock `{lock}` away: on {}, {tool} unlock {}",
                    m.node, m.vmid
                )));
                return;
            };
            delta.steps.push(self.limited(Step::new(format!("take away the lock `{lock}`"), call, Impact::None)));
        }
        let mut mark = self.mark(marks, &format!("note: failed: {cause}"));
        if lock.is_some() {
            // The configuration is another one without its lock.
            mark.call.params.retain(|(key, _)| key != "digest");
        }
        delta.steps.push(mark);
        self.still(runner, delta);
    }

    fn still(&self, runner: Option<u64>, delta: &mut Delta) {
        // Its end is not put off by a registration that cannot be taken away just now.
        if !self.is_off() {
            delta.steps.push(self.stop());
        }
        delta.steps.extend(runner.and_then(|runner| self.remove(runner)));
    }
}

/// What is done where a pool's manifest is gone: the machine is deleted as any guest is, and who wants that says so.
pub fn forsaken(cx: &PlanContext<'_>, observed: &GuestSeen, applied: &Fields, delta: &mut Delta) {
    let (row, marks) = (&observed.row, Marks::read(applied));
    delta.action = Action::Delete;
    if let Some(lock) = &observed.lock {
        delta.notes.push(Note::Locked(lock.clone()));
        return;
    }
    require(cx, delta, &format!("/vms/{}", row.vmid), "VM.Allocate");
    let base = format!("/nodes/{}/{}/{}", row.node, row.guest, row.vmid);
    let guard = || {
        let query = Query::new(format!("{base}/config"));
        Some(Guard { query, owner: cx.resource.clone(), set: cx.set.to_owned(), applied: made_at(&marks) })
    };
    if marks.registering.is_some() {
        let text = "its manifest says no more how to speak to GitHub: its registration stays until GitHub removes it, a day after \
                    it was last connected; a job that it has is lost";
        delta.notes.push(Note::Info(text.to_owned()));
    }
    if observed.running() {
        let call = Call::new(Method::Post, format!("{base}/status/stop"));
        let step = Step::new(format!("stop {} {}", row.guest, row.vmid), call, Impact::DataLoss).task(&row.node);
        delta.steps.push(Step { guard: guard(), ..step });
    }
    let call = Call::new(Method::Delete, base.clone()).with("purge", 0).with("destroy-unreferenced-disks", 0);
    let step = Step::new(format!("delete {} {}", row.guest, row.vmid), call, Impact::DataLoss).task(&row.node);
    delta.steps.push(Step { guard: guard(), expect: Expect::Task, ..step });
}
