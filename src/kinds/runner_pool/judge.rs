//! How far one machine is, and what is done about it next, told from what is seen of it alone. Nothing is remembered: a pass that
//! was cut off goes on here.

use crate::github::runner::Runner;
use crate::host::runner::Phase;
use crate::kinds::runner_pool::machine::{Inside, Machine, Power};
use crate::kinds::runner_pool::marks::{Cause, Marks};
use crate::kinds::runner_pool::spec::{RegistrationMode, RunnerPoolSpec};

/// GitHub's list may be so old, in seconds: a registration that was just made may be missing in it, and one that is gone may be
/// in it still.
pub const LIST_LAG: i64 = 60;
/// A registered runner that goes offline has so long to come back, in seconds: networks and GitHub have their moments.
const OFFLINE_MAX: i64 = 600;
/// A hook after the runner may take so long, in seconds, and a minute more.
const HOOK_MAX: i64 = 960;
/// What begins a runner writes its first word at once; after so long, in seconds, nothing was begun.
const BEGIN: i64 = 30;
/// A machine that does not start is started again so often: every so many seconds.
const START_AGAIN: i64 = 20;
/// A lock that is no clone's, and that no task holds, is believed for so long after the last mark, in seconds.
const LOCK_MAX: i64 = 3600;
/// A machine that failed is stopped for so long, in seconds; one that runs later was started by a person.
const STILL: i64 = 300;
/// How soon something that is on its way is looked at again, in seconds: in its first minute, and later.
const SOON: (i64, i64) = (3, 10);
/// The runner's exit code when GitHub does not take its version any more.
const TOO_OLD: i32 = 7;

/// How far a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// It is being cloned.
    Cloning,
    /// It is there, and was not started yet.
    Cloned,
    /// It starts: nothing in it answers yet.
    Booting,
    /// It answers, and its runner can be begun.
    Ready,
    /// Its runner was begun, and is not online yet.
    Connecting,
    /// Its runner waits for a job.
    Idle,
    /// Its runner has a job.
    Busy,
    /// Its runner is done.
    Ended,
    /// It failed, and is being put away.
    Failed,
    /// It is taken away.
    Leaving,
    /// It failed, and is kept: for a look, or as the memory of how often that happened.
    Kept,
}

/// All of them, in their order.
pub const STAGES: [Stage; 11] = [
    Stage::Cloning,
    Stage::Cloned,
    Stage::Booting,
    Stage::Ready,
    Stage::Connecting,
    Stage::Idle,
    Stage::Busy,
    Stage::Ended,
    Stage::Failed,
    Stage::Leaving,
    Stage::Kept,
];

impl Stage {
    /// One word, in small letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Cloning => "cloning",
            Stage::Cloned => "cloned",
            Stage::Booting => "booting",
            Stage::Ready => "ready",
            Stage::Connecting => "connecting",
            Stage::Idle => "idle",
            Stage::Busy => "busy",
            Stage::Ended => "ended",
            Stage::Failed => "failed",
            Stage::Leaving => "leaving",
            Stage::Kept => "kept",
        }
    }

    /// It is on its way to its first job.
    pub fn is_starting(self) -> bool {
        match self {
            Stage::Cloning | Stage::Cloned | Stage::Booting | Stage::Ready | Stage::Connecting => true,
            Stage::Idle | Stage::Busy | Stage::Ended | Stage::Failed | Stage::Leaving | Stage::Kept => false,
        }
    }

    /// It has a job, or will take one.
    pub fn serves(self) -> bool {
        self.is_starting() || matches!(self, Stage::Idle | Stage::Busy)
    }
}

/// What is done next about a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Configure it, and start it for the first time.
    Configure,
    /// Start it.
    Start,
    /// Begin its runner; a registration of an earlier try goes first.
    Begin {
        /// GitHub's number for that.
        stale: Option<u64>,
    },
    /// Write down how far it is.
    Mark(Marks),
    /// Take it away: its registration first.
    Leave {
        /// GitHub's number for that.
        runner: Option<u64>,
        /// Why.
        why: String,
    },
    /// Write down that it failed, take its registration away where that may be, and stop it.
    Fail {
        /// As it will stand on it.
        marks: Marks,
        /// GitHub's number for its registration; `None` where there is none, or it works.
        runner: Option<u64>,
        /// PVE's lock, to be taken away first.
        lock: Option<String>,
    },
    /// Of a machine that failed: take its registration away, stop it.
    Still {
        /// GitHub's number for its registration.
        runner: Option<u64>,
    },
}

/// What is told of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How far it is.
    pub stage: Stage,
    /// What is done next.
    pub act: Option<Act>,
    /// What it waits for.
    pub waits: Option<String>,
    /// A person should look at that.
    pub warns: bool,
    /// When to look again at the latest.
    pub next: Option<i64>,
    /// It gets no job of this pool, whatever its stage: it counts for `size.max` alone.
    pub apart: bool,
}

impl Verdict {
    fn act(stage: Stage, act: Act) -> Verdict {
        Verdict { stage, act: Some(act), waits: None, warns: false, next: None, apart: false }
    }

    fn wait(stage: Stage, why: impl Into<String>, next: i64) -> Verdict {
        Verdict { stage, act: None, waits: Some(why.into()), warns: false, next: Some(next), apart: false }
    }

    fn quiet(stage: Stage, next: Option<i64>) -> Verdict {
        Verdict { stage, act: None, waits: None, warns: false, next, apart: false }
    }

    fn warned(self) -> Verdict {
        Verdict { warns: true, ..self }
    }

    /// It is told, and no job is expected of it.
    fn apart(self) -> Verdict {
        Verdict { apart: true, ..self.warned() }
    }

    /// It is taken away.
    pub fn leave(runner: Option<u64>, why: impl Into<String>) -> Verdict {
        Verdict::act(Stage::Leaving, Act::Leave { runner, why: why.into() })
    }
}

/// What a verdict looks at besides the machine.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The pool.
    pub spec: &'a RunnerPoolSpec,
    /// The present moment, in seconds since 1970.
    pub now: i64,
    /// Why GitHub's list could not be read.
    pub unreadable: Option<&'a str>,
    /// The proof in names of this pool.
    pub proof: &'a str,
    /// Why no runner can be begun just now: its scale set is not there yet.
    pub held: Option<&'a str>,
    /// No machine gets a further job.
    pub drained: bool,
}

impl Scene<'_> {
    /// How far a machine is, and what is next.
    pub fn judge(&self, m: &Machine) -> Verdict {
        let marks = &m.marks;
        if m.power == Power::Unknown {
            return Verdict::wait(self.by_marks(m), format!("its node `{}` does not answer", m.node), self.now + 30);
        }
        if let Some(lock) = &m.lock {
            return self.locked(m, lock);
        }
        if marks.failed.is_some() {
            return self.failed(m);
        }
        // One that GitHub lists for us is ours to judge, whatever the place was called when it was made.
        if marks.proof != self.proof && m.runner.is_none() {
            return self.elsewhere(m);
        }
        // Nothing of ours was begun in it yet.
        let former =
            m.state().filter(|state| marks.registering.is_none() && !state.name.is_empty() && state.name != m.name);
        if let Some(state) = former.filter(|_| marks.started.is_some()) {
            return self.fail(
                m,
                Cause::PrepareFailed,
                format!("the template holds the state of runner {}", state.name),
            );
        }
        let begun = marks.registering.is_some()
            || m.runner.as_ref().is_some_and(|runner| runner.online)
            || m.state().is_some_and(|state| state.phase != Phase::None);
        match (begun, m.power) {
            (false, _) if self.leaves(m) => self.leave(m, "it is not needed any more"),
            (false, Power::Stopped) => self.before_start(m),
            (false, Power::Running | Power::Unknown) => self.before_runner(m),
            (true, _) => self.after(m),
        }
    }

    fn leaves(&self, m: &Machine) -> bool {
        self.drained || m.marks.drained
    }

    /// How far it is by what stands on it alone.
    fn by_marks(&self, m: &Machine) -> Stage {
        let Marks { started, registering, online, busy, ended, failed, .. } = &m.marks;
        match () {
            () if failed.is_some() => Stage::Failed,
            () if ended.is_some() => Stage::Ended,
            () if busy.is_some() => Stage::Busy,
            () if online.is_some() => Stage::Idle,
            () if registering.is_some() => Stage::Connecting,
            () if started.is_some() => Stage::Booting,
            () if m.lock.as_deref().is_some_and(|lock| lock == "clone" || lock == "create") => Stage::Cloning,
            () => Stage::Cloned,
        }
    }

    /// How soon to look again at something that began at a moment.
    fn soon(&self, since: i64) -> i64 {
        self.now + if self.now - since < 60 { SOON.0 } else { SOON.1 }
    }

    fn leave(&self, m: &Machine, why: impl Into<String>) -> Verdict {
        Verdict::leave(m.runner.as_ref().map(|runner| runner.id), why)
    }

    fn fail(&self, m: &Machine, cause: Cause, why: impl Into<String>) -> Verdict {
        let why = why.into();
        let failed = crate::kinds::runner_pool::marks::Failure { cause, at: self.now, why: why.clone() };
        let marks = Marks { failed: Some(failed), ..m.marks.clone() };
        let runner = m.runner.as_ref().filter(|runner| !runner.busy).map(|runner| runner.id);
        let waits = if why.is_empty() { cause.as_str().to_owned() } else { format!("{}: {why}", cause.as_str()) };
        let act = Some(Act::Fail { marks, runner, lock: m.lock.clone() });
        Verdict { stage: Stage::Failed, act, waits: Some(waits), warns: true, next: None, apart: false }
    }

    fn mark(&self, m: &Machine, stage: Stage, change: impl FnOnce(&mut Marks)) -> Verdict {
        let mut marks = m.marks.clone();
        change(&mut marks);
        Verdict::act(stage, Act::Mark(marks))
    }

    fn locked(&self, m: &Machine, lock: &str) -> Verdict {
        let stage = self.by_marks(m);
        let late = self.now - m.marks.made >= self.spec.timeouts.clone.signed();
        if stage == Stage::Cloning && late {
            if m.working {
                return Verdict::wait(stage, "its clone takes longer than `timeouts.clone`", self.now + 30).warned();
            }
            return self.fail(m, Cause::CloneTimeout, format!("no task works on it, and PVE's lock `{lock}` is left"));
        }
        let Marks { made, started, registering, online, busy, ended, .. } = &m.marks;
        let moments = [*started, *registering, *online, *busy, *ended];
        let last = moments.into_iter().flatten().fold(*made, i64::max);
        if !m.working && m.runner.is_none() && self.now - last >= LOCK_MAX {
            let why = format!("PVE's lock `{lock}` is left on it, and no task works on it: look at it, and unlock it");
            return Verdict::wait(stage, why, self.now + 60).apart();
        }
        Verdict::wait(stage, format!("PVE works on it ({lock})"), self.soon(m.marks.made))
    }

    /// It was made for another place on GitHub, whose list we do not see. It may be in the middle of a job: only its guest can tell.
    fn elsewhere(&self, m: &Machine) -> Verdict {
        let why = "it was made for another place on GitHub, or by another name of this cluster";
        let ended = m.state().is_some_and(|state| state.phase == Phase::Ended);
        if m.power == Power::Stopped || m.marks.registering.is_none() || ended {
            return Verdict::leave(None, why);
        }
        let over = self.now - m.marks.made >= self.spec.timeouts.max_lifetime.signed();
        let then = if over {
            "its `timeouts.maxLifetime` is over: look at it, and stop it when it has no job"
        } else {
            "it goes when it stops"
        };
        let why = format!("{why}: whether it has a job cannot be seen, and {then}");
        Verdict::wait(self.by_marks(m), why, self.now + 60).apart()
    }

    fn failed(&self, m: &Machine) -> Verdict {
        if let Some(why) = self.unreadable.filter(|_| m.marks.registering.is_some()) {
            return Verdict::wait(Stage::Failed, why, self.now + 30);
        }
        if m.runner.is_none() && m.power == Power::Stopped {
            return Verdict::quiet(Stage::Kept, None);
        }
        let since = m.marks.failed.as_ref().map_or(0, |failure| self.now - failure.at);
        if m.runner.is_none() && since >= STILL {
            return Verdict::wait(Stage::Kept, "somebody looks at it", self.now + 60);
        }
        let runner = m.runner.as_ref();
        if m.power == Power::Stopped
            && let Some(working) = runner.filter(|runner| runner.busy && runner.online)
        {
            let why = format!("GitHub still sees its runner {} at work", working.id);
            return Verdict::wait(Stage::Failed, why, self.now + 15);
        }
        // Of one that works GitHub would refuse it: first it must stop.
        let runner = runner.filter(|runner| !runner.busy || m.power == Power::Stopped).map(|runner| runner.id);
        Verdict { next: Some(self.now + 60), ..Verdict::act(Stage::Failed, Act::Still { runner }) }
    }

    fn before_start(&self, m: &Machine) -> Verdict {
        let Some(started) = m.marks.started else { return Verdict::act(Stage::Cloned, Act::Configure) };
        let since = self.now - started;
        if since >= self.spec.timeouts.ready.signed() {
            return self.fail(m, Cause::StartFailed, "it does not start, or does not stay on");
        }
        if since < START_AGAIN {
            return Verdict::wait(Stage::Booting, "it is being started", started + START_AGAIN);
        }
        Verdict { next: Some(self.now + START_AGAIN), ..Verdict::act(Stage::Booting, Act::Start) }
    }

    fn before_runner(&self, m: &Machine) -> Verdict {
        let Some(started) = m.marks.started else {
            return self.leave(m, "somebody started it before it was configured");
        };
        let timeouts = &self.spec.timeouts;
        let since = self.now - started;
        let overdue = since >= timeouts.ready.signed();
        match &m.inside {
            Inside::Read(_) => {
                if let Some(why) = self.unreadable.or(self.held) {
                    return Verdict::wait(Stage::Ready, why, self.now + 15);
                }
                let stale = m.runner.as_ref().map(|runner| runner.id);
                Verdict::act(Stage::Ready, Act::Begin { stale })
            }
            Inside::Silent(why) if overdue => self.fail(m, Cause::NoAgent, why.clone()),
            Inside::Shut(why) if overdue => self.fail(m, Cause::NoAgent, why.clone()),
            Inside::Silent(why) => Verdict::wait(Stage::Booting, why.clone(), self.soon(started)),
            Inside::Shut(why) => Verdict::wait(Stage::Booting, why.clone(), self.soon(started)).warned(),
            Inside::NoAddress(why) if since >= timeouts.address.signed() => self.fail(m, Cause::NoAddress, why.clone()),
            Inside::NoAddress(why) => Verdict::wait(Stage::Booting, why.clone(), self.soon(started)),
            // Whether sshd lets us in shows when its runner is begun: that looks first, and fails before anything is asked.
            Inside::At(address) if overdue => {
                self.fail(m, Cause::SshRefused, format!("it is at {address}, and cannot be reached by SSH"))
            }
            Inside::At(_) => {
                if let Some(why) = self.unreadable.or(self.held) {
                    return Verdict::wait(Stage::Ready, why, self.now + 15);
                }
                let stale = m.runner.as_ref().map(|runner| runner.id);
                let begin = Verdict::act(Stage::Ready, Act::Begin { stale });
                Verdict { next: Some(self.soon(started)), ..begin }
            }
            // It was just seen to run: the next look reads it.
            Inside::Off | Inside::Unread => Verdict::wait(Stage::Booting, "it starts", self.soon(started)),
        }
    }

    fn after(&self, m: &Machine) -> Verdict {
        if let Some(why) = self.unreadable {
            return Verdict::wait(self.by_marks(m), why, self.now + 15);
        }
        let registering = m.marks.registering.unwrap_or(self.now);
        match &m.runner {
            _ if m.power == Power::Stopped => self.stopped(m),
            None => self.unlisted(m, registering),
            Some(runner) if runner.busy => self.busy(m, runner),
            Some(runner) if runner.online => self.online(m, registering),
            Some(_) => self.offline(m, registering),
        }
    }

    /// It has stopped after its runner was begun: it is over.
    fn stopped(&self, m: &Machine) -> Verdict {
        if let Some(runner) = m.runner.as_ref().filter(|runner| runner.busy && runner.online) {
            let why = format!("it is off, and GitHub still sees its runner {} at work", runner.id);
            let Some(ended) = m.marks.ended else {
                return Verdict {
                    waits: Some(why),
                    ..self.mark(m, Stage::Ended, |marks| marks.ended = Some(self.now))
                };
            };
            if self.now - ended < OFFLINE_MAX {
                return Verdict::wait(Stage::Ended, why, self.now + 15);
            }
        }
        self.leave(m, "its runner is done")
    }

    /// GitHub does not list its runner.
    fn unlisted(&self, m: &Machine, registering: i64) -> Verdict {
        let state = m.state();
        let phase = state.map_or(Phase::None, |state| state.phase);
        let worked = m.marks.online.is_some() || m.marks.busy.is_some();
        if phase == Phase::Ended {
            let exit = state.and_then(|state| state.exit);
            return match exit {
                Some(code) if code != 0 && !worked => self.ended_badly(m, code),
                Some(_) | None => self.leave(m, "its runner is done"),
            };
        }
        let since = self.now - registering;
        // With a token it is the guest that registers the runner.
        let patience = match self.spec.bootstrap.registration {
            RegistrationMode::JustInTime => LIST_LAG,
            RegistrationMode::Token => self.spec.timeouts.online.signed(),
        };
        if !worked && m.marks.ended.is_none() && since < patience {
            return Verdict::wait(Stage::Connecting, "its runner connects", self.soon(registering));
        }
        if !worked && self.spec.bootstrap.registration == RegistrationMode::Token {
            return self.fail(m, Cause::NeverOnline, "its runner did not register in time");
        }
        let Some(ended) = m.marks.ended else {
            return self.mark(m, Stage::Ended, |marks| marks.ended = Some(self.now));
        };
        // Its runner is done, and it powers itself off: it has so long for that, and for what comes after.
        let still = matches!(phase, Phase::Running | Phase::Preparing);
        let patience = match &self.spec.bootstrap.after {
            Some(_) if still => HOOK_MAX,
            Some(_) | None => LIST_LAG,
        };
        if self.now - ended < patience {
            return Verdict::wait(Stage::Ended, "its runner is not registered any more: it ends", self.soon(ended));
        }
        if still {
            return self.fail(m, Cause::RunnerGone, "GitHub does not know its runner any more, and it goes on");
        }
        self.leave(m, "its runner is not registered any more")
    }

    fn ended_badly(&self, m: &Machine, code: i32) -> Verdict {
        let why = m.state().and_then(|state| state.why.clone());
        match (code, why) {
            (TOO_OLD, _) => {
                self.fail(m, Cause::VersionTooOld, "GitHub does not take the version of the runner in the template")
            }
            (_, Some(why)) => self.fail(m, Cause::PrepareFailed, why),
            (code, None) => self.fail(m, Cause::RunnerFailed, format!("the runner ended with {code}")),
        }
    }

    fn busy(&self, m: &Machine, runner: &Runner) -> Verdict {
        let Some(since) = m.marks.busy.filter(|_| m.marks.ended.is_none()) else {
            return self.mark(m, Stage::Busy, |marks| {
                marks.online = marks.online.or(Some(self.now));
                marks.busy = marks.busy.or(Some(self.now));
                marks.ended = None;
            });
        };
        let end = since.saturating_add(self.spec.timeouts.job.signed());
        if self.now >= end {
            return self.fail(m, Cause::JobOverTime, format!("its job runs for {} s", self.now - since));
        }
        let waits = (!runner.online).then(|| "its runner is offline in the middle of a job".to_owned());
        Verdict { waits, ..Verdict::quiet(Stage::Busy, Some(end)) }
    }

    fn online(&self, m: &Machine, registering: i64) -> Verdict {
        let timeouts = &self.spec.timeouts;
        if m.marks.busy.is_some() {
            // It had a job, and takes no other.
            if m.marks.ended.is_none() {
                return self.mark(m, Stage::Ended, |marks| marks.ended = Some(self.now));
            }
            let ended = m.marks.ended.unwrap_or(self.now);
            if self.now - ended < OFFLINE_MAX {
                return Verdict::wait(Stage::Ended, "its job has ended", self.soon(ended));
            }
            return self.leave(m, "its job has ended, and its runner has not");
        }
        let Some(since) = m.marks.online.filter(|_| m.marks.ended.is_none()) else {
            return self.mark(m, Stage::Idle, |marks| {
                marks.registering = marks.registering.or(Some(registering));
                marks.online = Some(self.now);
                marks.ended = None;
            });
        };
        if self.leaves(m) {
            return self.leave(m, "the pool is drained");
        }
        let replaced = since.saturating_add(timeouts.idle.signed());
        let over = m.marks.made.saturating_add(timeouts.max_lifetime.signed());
        match () {
            () if self.now >= over => self.leave(m, "its `timeouts.maxLifetime` is over (LifetimeOver)"),
            () if self.now >= replaced => self.leave(m, "it was idle for `timeouts.idle` (IdleTooLong)"),
            () => Verdict::quiet(Stage::Idle, Some(replaced.min(over))),
        }
    }

    /// GitHub lists its runner, which is not connected.
    fn offline(&self, m: &Machine, registering: i64) -> Verdict {
        let state = m.state();
        let phase = state.map(|state| state.phase);
        let (since, timeouts) = (self.now - registering, &self.spec.timeouts);
        if phase == Some(Phase::Ended) {
            return match state.and_then(|state| state.exit) {
                Some(code) if code != 0 && m.marks.busy.is_none() => self.ended_badly(m, code),
                Some(_) | None => self.leave(m, "its runner is done"),
            };
        }
        if m.marks.online.is_some() {
            let Some(ended) = m.marks.ended else {
                return self.mark(m, Stage::Ended, |marks| marks.ended = Some(self.now));
            };
            if self.now - ended < OFFLINE_MAX {
                return Verdict::wait(Stage::Ended, "its runner went offline", self.soon(ended));
            }
            return self.fail(m, Cause::RunnerLost, "its runner went offline, and did not come back");
        }
        // A request that was lost, or an agent that was busy: what was registered is of no use, and is made anew.
        if phase == Some(Phase::None) && since >= BEGIN {
            let started = m.marks.started.unwrap_or(m.marks.made);
            if self.now - started >= timeouts.ready.signed() + timeouts.online.signed() {
                return self.fail(m, Cause::StartFailed, "its runner could not be begun");
            }
            if let Some(why) = self.held {
                return Verdict::wait(Stage::Ready, why, self.now + 15);
            }
            return Verdict::act(Stage::Ready, Act::Begin { stale: m.runner.as_ref().map(|runner| runner.id) });
        }
        if since >= timeouts.online.signed() {
            return self.fail(m, Cause::NeverOnline, "its runner was begun, and is not online");
        }
        Verdict::wait(Stage::Connecting, "its runner connects", self.soon(registering))
    }
}

#[cfg(test)]
pub(in crate::kinds::runner_pool) mod tests;
