//! What is next for one guest, told from what is seen of it alone. Nothing is remembered: a run that was killed goes on here.

use crate::base::id::GuestType;
use crate::host::job::Package;
use crate::host::job::System;
use crate::host::state::{JobState, Phase};
use crate::kinds::guest::hand::snapshot::Row;
use crate::kinds::patch_window::choose::{Canaries, Choice, choose};
use crate::kinds::patch_window::guest::Guest;
use crate::kinds::patch_window::inside::{Inside, last_words, not_well};
use crate::kinds::patch_window::outcome::{self, Outcome};
use crate::kinds::patch_window::spec::{HealthCheck, OnFailure, PatchWindowSpec, Reboot, Stopped};
use crate::kinds::patch_window::window::{Opening, Window, late};

/// A job that gave no sign of life for so long, in seconds, is looked after. It gives one every ten seconds; the guest's clock
/// may be wrong by some minutes.
const BEAT_MAX: i64 = 600;
/// How often a look for updates, and the updates, are tried anew when they were killed.
const ATTEMPTS_MAX: u8 = 3;
/// A guest that was started may be silent for so long, in seconds: some systems install updates while they start.
const SILENT_MAX: i64 = 1800;
/// Why nothing was installed, where nothing waited.
pub(super) const UP_TO_DATE: &str = "it is up to date";
/// So long after the end of its opening what has not ended is given up, in seconds.
const PAST: i64 = 3600;
/// What updates take in a guest that never had any here, in seconds.
const ESTIMATE: i64 = 600;

/// One thing that is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Take the snapshot; whether it runs.
    Snapshot(bool),
    /// Start it.
    Start,
    /// Look what could be updated.
    Assess(u8),
    /// Install.
    Patch(u8, Vec<Package>),
    /// Reboot it.
    Reboot,
    /// Look whether it is well.
    Health(u8),
    /// Look whether a job still runs.
    Revive(String),
    /// Shut it down, for it did not run before, and write down how it ended.
    Stop(Outcome),
    /// Write down how it ended.
    Mark(Outcome),
    /// Go back to the snapshot, and write that down.
    GoBack(String),
    /// Delete the snapshot of an opening.
    Delete(i64),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Updates were installed.
    Updated,
    /// There was nothing to install.
    UpToDate,
    /// It was left out: why.
    LeftOut(String),
    /// It failed: why.
    Failed(String),
    /// It failed, and the guest went back: why.
    WentBack(String),
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing was begun.
    Idle,
    /// Something was begun, and has not ended: what.
    Working(String),
    /// It has ended for this opening.
    Ended(End),
}

/// What is next for a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The opening that it is about.
    pub slot: i64,
    /// How far it is.
    pub progress: Progress,
    /// What is done next, if anything.
    pub act: Option<Act>,
    /// It has failed, and is on its way back.
    pub failing: bool,
    /// The updates, weighed, where they are known.
    pub choice: Option<Choice>,
    /// A reboot is needed and not given: why it is needed.
    pub reboot: Option<String>,
}

impl Decision {
    fn new(slot: i64, progress: Progress, act: Option<Act>) -> Decision {
        Decision { slot, progress, act, failing: false, choice: None, reboot: None }
    }

    fn working(slot: i64, what: impl Into<String>, act: Act) -> Decision {
        Decision::new(slot, Progress::Working(what.into()), Some(act))
    }

    fn waits(slot: i64, what: impl Into<String>) -> Decision {
        Decision::new(slot, Progress::Working(what.into()), None)
    }

    fn failing(self) -> Decision {
        Decision { failing: true, ..self }
    }

    fn ended(slot: i64, end: End) -> Decision {
        Decision::new(slot, Progress::Ended(end), None)
    }
}

/// What a decision looks at besides the guest.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The window.
    pub spec: &'a PatchWindowSpec,
    /// When it is open.
    pub window: &'a Window,
    /// Its newest opening.
    pub opening: Option<Opening>,
    /// The present moment, in seconds since 1970.
    pub now: i64,
    /// What the wave before got; `None` for the first.
    pub canaries: Option<&'a Canaries>,
    /// Nothing new is started: why.
    pub halted: Option<&'a str>,
}

/// What updates of a guest take, in seconds, to the end of the look whether it is well.
pub fn estimate(guest: &Guest<'_>, spec: &PatchWindowSpec) -> i64 {
    let reboot = if spec.reboot == Reboot::Never { 0 } else { 120 };
    guest.inside.took(&["-patch", "-upgrade"]).unwrap_or(ESTIMATE).saturating_add(reboot).saturating_add(60)
}

impl HealthCheck {
    /// Whether something is looked at.
    pub fn looks(&self) -> bool {
        self.systemd || !self.tcp.is_empty() || !self.command.is_empty()
    }
}

impl Scene<'_> {
    /// What is next for a guest; `None` where no opening concerns it.
    pub fn decide(&self, guest: &Guest<'_>) -> Option<Decision> {
        let snapshots = guest.snapshots.as_ref().map_or(&[][..], Vec::as_slice);
        let open = |row: &&Row| matches!(outcome::outcome(row), None | Some(Outcome::GoingBack(..)));
        // What was begun is ended first, whichever opening it is of.
        let begun = snapshots.iter().filter(open).filter_map(outcome::slot).min();
        if let Some(slot) = guest.half.first().filter(|_| !guest.busy || guest.row.lock.is_some()) {
            return Some(Decision::working(*slot, "removing a snapshot that is not whole", Act::Delete(*slot)));
        }
        if let Some(old) = snapshots.iter().find(|row| self.is_old(row)).filter(|_| begun.is_none()) {
            let slot = outcome::slot(old)?;
            return Some(Decision::new(slot, Progress::Idle, Some(Act::Delete(slot))));
        }
        let slot = begun.or(self.opening.map(|opening| opening.slot))?;
        let snapshot = snapshots.iter().find(|row| outcome::slot(row) == Some(slot));
        Some(match snapshot.map(|row| (row, outcome::outcome(row))) {
            Some((_, Some(Outcome::Updated))) => Decision::ended(slot, End::Updated),
            Some((_, Some(Outcome::Unchanged(why)))) if why == UP_TO_DATE => Decision::ended(slot, End::UpToDate),
            Some((_, Some(Outcome::Unchanged(why)))) => Decision::ended(slot, End::LeftOut(why)),
            Some((_, Some(Outcome::Failed(why)))) => Decision::ended(slot, End::Failed(why)),
            Some((_, Some(Outcome::WentBack(why)))) => Decision::ended(slot, End::WentBack(why)),
            Some((row, Some(Outcome::GoingBack(since, why)))) => self.going_back(guest, slot, row, since, why),
            Some((row, None)) => self.go_on(guest, slot, Some(row)),
            None => self.go_on(guest, slot, None),
        })
    }

    /// A snapshot that is not needed any more.
    fn is_old(&self, row: &Row) -> bool {
        let keep = match outcome::outcome(row) {
            None | Some(Outcome::GoingBack(..)) => return false,
            Some(Outcome::Unchanged(_)) => 0,
            Some(Outcome::Updated | Outcome::Failed(_) | Outcome::WentBack(_)) => self.spec.before.keep.signed(),
        };
        let time = row.time.and_then(|time| i64::try_from(time).ok()).unwrap_or(i64::MAX);
        self.now.saturating_sub(time) > keep && !outcome::slot(row).is_some_and(|slot| self.is_open(slot))
    }

    /// The opening of a slot, whoever opened it, is open.
    fn is_open(&self, slot: i64) -> bool {
        self.window.opening(slot).is_open(self.now)
    }

    /// The opening of a slot was over long ago: what has not ended since then does not end any more.
    fn is_past(&self, slot: i64) -> bool {
        self.now >= self.window.opening(slot).end.saturating_add(PAST)
    }

    /// What cannot be told any more is a failure. Nothing goes back for it: nobody saw that it is ill.
    fn give_in(&self, guest: &Guest<'_>, slot: i64, snapshot: Option<&Row>, why: String) -> Decision {
        match snapshot {
            Some(row) => Decision::working(slot, "ending", self.end(guest, row, Outcome::Failed(why))),
            None => Decision::ended(slot, End::Failed(why)),
        }
    }

    /// It goes back to its snapshot. Whether it has been there already shows in how long it runs (both times are ours), and in
    /// that its disk knows of no updates any more.
    fn going_back(&self, guest: &Guest<'_>, slot: i64, row: &Row, since: i64, why: String) -> Decision {
        let fresh = guest.runs() && self.now.saturating_sub(guest.uptime) >= since;
        if fresh && outcome::ran(row) && guest.inside.latest(slot, "patch").is_none() {
            return Decision::working(slot, "going back to the snapshot", Act::Mark(Outcome::WentBack(why))).failing();
        }
        if guest.busy && guest.row.lock.is_none() {
            return Decision::waits(slot, "going back to the snapshot").failing();
        }
        // A newer snapshot on ZFS, a lock that nobody takes away: it does not get there.
        if self.now.saturating_sub(since) > PAST {
            let why = format!("{why}; and it could not go back to its snapshot");
            return Decision::working(slot, "ending", Act::Mark(Outcome::Failed(why)));
        }
        Decision::working(slot, "going back to the snapshot", Act::GoBack(why)).failing()
    }

    fn failed(&self, guest: &Guest<'_>, slot: i64, snapshot: Option<&Row>, why: String) -> Decision {
        let Some(row) = snapshot else { return Decision::ended(slot, End::Failed(why)) };
        let outcome = if self.spec.on_failure == OnFailure::Rollback {
            let what = format!("failed: {why}");
            return Decision::working(slot, what, Act::Mark(Outcome::GoingBack(self.now, why))).failing();
        } else {
            Outcome::Failed(why)
        };
        Decision::working(slot, "ending", self.end(guest, row, outcome))
    }

    /// What writes an end down; what did not run before is shut down first.
    fn end(&self, guest: &Guest<'_>, row: &Row, outcome: Outcome) -> Act {
        if !outcome::ran(row) && guest.runs() { Act::Stop(outcome) } else { Act::Mark(outcome) }
    }

    /// Nothing was changed, and nothing will be: the snapshot goes. That of a guest that did not run stays until the window has
    /// closed: there is nothing else that says that it was looked at.
    fn give_up(&self, guest: &Guest<'_>, slot: i64, snapshot: Option<&Row>, end: End) -> Decision {
        match snapshot {
            Some(row) if !outcome::ran(row) => {
                let outcome = match end {
                    End::Failed(why) | End::WentBack(why) => Outcome::Failed(why),
                    End::LeftOut(why) => Outcome::Unchanged(why),
                    End::UpToDate | End::Updated => Outcome::Unchanged(UP_TO_DATE.to_owned()),
                };
                Decision::working(slot, "ending", self.end(guest, row, outcome))
            }
            Some(_) => Decision::working(slot, "ending", Act::Delete(slot)),
            None => Decision::ended(slot, end),
        }
    }

    fn go_on(&self, guest: &Guest<'_>, slot: i64, snapshot: Option<&Row>) -> Decision {
        if let Err(why) = &guest.snapshots {
            return Decision::waits(slot, why.clone());
        }
        match &guest.inside {
            Inside::Off => self.off(guest, slot, snapshot),
            Inside::Away(why) if snapshot.is_some() => Decision::waits(slot, why.clone()),
            Inside::Away(why) => Decision::ended(slot, End::LeftOut(why.clone())),
            Inside::Shut(why) if snapshot.is_some() && self.is_past(slot) => {
                self.give_in(guest, slot, snapshot, why.clone())
            }
            Inside::Shut(why) if snapshot.is_some() => Decision::waits(slot, why.clone()),
            Inside::Shut(why) => Decision::ended(slot, End::LeftOut(why.clone())),
            Inside::Silent(why) => self.silent(guest, slot, snapshot, why),
            Inside::Read { boot, .. } => self.read(guest, slot, snapshot, boot),
        }
    }

    fn off(&self, guest: &Guest<'_>, slot: i64, snapshot: Option<&Row>) -> Decision {
        let open = self.is_open(slot);
        match snapshot {
            Some(_) if guest.busy => Decision::waits(slot, "it is off for a moment"),
            Some(row) if outcome::ran(row) => {
                let taken = row.time.and_then(|time| i64::try_from(time).ok()).unwrap_or(self.now);
                if self.now.saturating_sub(taken) > SILENT_MAX {
                    let why =
                        "it does not run, and did before: whoever stopped it, or why it does not start, is not known";
                    return self.give_in(guest, slot, snapshot, why.to_owned());
                }
                Decision::working(slot, "starting it: it ran before", Act::Start)
            }
            Some(_) if open => Decision::working(slot, "starting it", Act::Start),
            Some(_) => Decision::working(slot, "ending", Act::Delete(slot)),
            None if guest.row.guest == GuestType::Lxc && self.spec.stopped == Stopped::Start => {
                if open {
                    Decision::new(slot, Progress::Idle, Some(Act::Snapshot(false)))
                } else {
                    Decision::new(slot, Progress::Idle, None)
                }
            }
            None => Decision::ended(slot, End::LeftOut("it does not run".to_owned())),
        }
    }

    fn silent(&self, guest: &Guest<'_>, slot: i64, snapshot: Option<&Row>, why: &str) -> Decision {
        let patience = self.spec.health_check.timeout.signed();
        let taken = snapshot.and_then(|row| row.time).and_then(|time| i64::try_from(time).ok());
        let Some(taken) = taken else {
            return if guest.uptime < patience {
                Decision::waits(slot, format!("it does not answer yet: {why}"))
            } else {
                Decision::ended(slot, End::LeftOut(format!("it does not answer: {why}")))
            };
        };
        // It was started after its snapshot was taken, by our reboot: one that is silent for so long does not come up any more.
        let started = self.now.saturating_sub(guest.uptime);
        if started > taken && guest.uptime >= patience.max(SILENT_MAX) {
            return self.failed(guest, slot, snapshot, format!("it does not answer since it was started: {why}"));
        }
        // Otherwise its agent may be gone, or only this read: nobody knows how far it is, so it is left in peace.
        if self.is_past(slot) {
            return self.give_in(guest, slot, snapshot, format!("it does not answer: {why}"));
        }
        Decision::waits(slot, format!("it does not answer: {why}"))
    }

    /// A job that runs, or seems to.
    fn runs(&self, guest: &Guest<'_>, slot: i64, snapshot: Option<&Row>, job: &JobState, boot: &str) -> Decision {
        let word = job.name.rsplit_once('-').map_or("", |(_, word)| word);
        let what = match word.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "assess" => "looking for updates",
            "health" => "looking whether it is well",
            _ => "installing updates",
        };
        let another = !boot.is_empty() && !job.boot.is_empty() && boot != job.boot;
        if another || self.now.saturating_sub(job.beat) > BEAT_MAX {
            return Decision::working(slot, what, Act::Revive(job.name.clone()));
        }
        if self.is_past(slot) {
            let why = format!("`{}` still runs long after the window has closed: look at it in the guest", job.name);
            return self.give_in(guest, slot, snapshot, why);
        }
        Decision::waits(slot, what)
    }

    fn read(&self, guest: &Guest<'_>, slot: i64, snapshot: Option<&Row>, boot: &str) -> Decision {
        let patch = guest.inside.latest(slot, "patch");
        let (attempt, assess) = match guest.inside.latest(slot, "assess") {
            Some(found) => found,
            None if self.is_open(slot) => {
                let progress =
                    if snapshot.is_some() { Progress::Working("looking for updates".into()) } else { Progress::Idle };
                return Decision::new(slot, progress, Some(Act::Assess(1)));
            }
            None if snapshot.is_some() => return self.give_up(guest, slot, snapshot, End::UpToDate),
            None => return Decision::new(slot, Progress::Idle, None),
        };
        let unknown = match assess.phase {
            Phase::Running => return self.runs(guest, slot, snapshot, assess, boot),
            Phase::Died => Some("the look for updates was killed".to_owned()),
            Phase::Done if assess.exit != Some(0) => Some(format!("the look for updates failed{}", last_words(assess))),
            Phase::Done => None,
        };
        if let (Some(why), None) = (unknown, patch) {
            if attempt < ATTEMPTS_MAX && self.is_open(slot) {
                return Decision::working(slot, "looking for updates", Act::Assess(attempt + 1));
            }
            // Nothing was changed: there is nothing to go back from.
            return self.give_up(guest, slot, snapshot, End::Failed(why));
        }
        let choice = choose(assess, &self.spec.updates, self.canaries, self.now);
        let mut decision = match patch {
            None => self.unpatched(guest, slot, snapshot, &choice),
            Some(patch) => self.patched(guest, slot, snapshot, (patch, &choice), boot),
        };
        decision.choice = Some(choice);
        decision
    }

    fn unpatched(&self, guest: &Guest<'_>, slot: i64, snapshot: Option<&Row>, choice: &Choice) -> Decision {
        if choice.install.is_empty() {
            let end = match choice.left.as_slice() {
                [] => End::UpToDate,
                [(package, why)] => End::LeftOut(format!("{package} is left as it is: {why}")),
                [(package, why), others @ ..] => {
                    let word = if others.len() == 1 { "another one" } else { "others" };
                    End::LeftOut(format!("{package} is left as it is: {why}; so are {} {word}", others.len()))
                }
            };
            return self.give_up(guest, slot, snapshot, end);
        }
        if self.spec.before.snapshot && snapshot.is_none() && guest.snapless {
            let why = "PVE cannot take a snapshot of it, for where its disks are: give it a window with before.snapshot: false";
            return Decision::ended(slot, End::LeftOut(why.to_owned()));
        }
        let late = late(self.window.opening(slot), self.now, self.halted, estimate(guest, self.spec));
        if let Some(why) = late {
            return self.give_up(guest, slot, snapshot, End::LeftOut(format!("not begun: {why}")));
        }
        if self.spec.before.snapshot && snapshot.is_none() {
            return Decision::working(slot, "taking the snapshot", Act::Snapshot(true));
        }
        Decision::working(slot, "installing updates", Act::Patch(1, choice.install.clone()))
    }

    fn patched(
        &self,
        guest: &Guest<'_>,
        slot: i64,
        snapshot: Option<&Row>,
        ((attempt, patch), choice): ((u8, &JobState), &Choice),
        boot: &str,
    ) -> Decision {
        match patch.phase {
            Phase::Running => return self.runs(guest, slot, snapshot, patch, boot),
            Phase::Died if attempt < ATTEMPTS_MAX && self.is_open(slot) => {
                let act = Act::Patch(attempt + 1, choice.install.clone());
                return Decision::working(slot, "installing updates: they were killed in the middle", act);
            }
            Phase::Died => {
                return self.failed(guest, slot, snapshot, "the updates were killed in the middle".to_owned());
            }
            Phase::Done if patch.exit != Some(0) => {
                let code = patch.exit.map_or_else(|| "nothing".to_owned(), |code| code.to_string());
                let why = format!("{} ended with {code}{}", patch.manager, last_words(patch));
                return self.failed(guest, slot, snapshot, why);
            }
            Phase::Done => {}
        }
        let required = match self.spec.reboot {
            Reboot::Always => Some(patch.reboot.clone().unwrap_or_else(|| "the window reboots always".to_owned())),
            Reboot::Never | Reboot::IfRequired => patch.reboot.clone(),
        };
        let rebooted = self.rebooted(guest, snapshot, patch, boot);
        let required = required.filter(|_| !rebooted);
        if required.is_some() && self.spec.reboot != Reboot::Never && self.is_open(slot) {
            return Decision::working(slot, "rebooting", Act::Reboot);
        }
        let mut decision = self.checked(guest, slot, snapshot, boot);
        decision.reboot = required;
        decision
    }

    /// Whether it was started since its updates ended. Of Windows no boot can be read: there it counts from the snapshot, by
    /// PVE's clock, for the guest's may be wrong by hours; without a snapshot nobody can tell, and it is not rebooted.
    fn rebooted(&self, guest: &Guest<'_>, snapshot: Option<&Row>, patch: &JobState, boot: &str) -> bool {
        match guest.system {
            System::Windows => {
                let taken = snapshot.and_then(|row| row.time).and_then(|time| i64::try_from(time).ok());
                let took = patch.ended.map_or(0, |ended| ended.saturating_sub(patch.started));
                taken.is_none_or(|taken| self.now.saturating_sub(guest.uptime) >= taken.saturating_add(took))
            }
            System::Linux | System::Node => !boot.is_empty() && !patch.boot.is_empty() && boot != patch.boot,
        }
    }

    fn checked(&self, guest: &Guest<'_>, slot: i64, snapshot: Option<&Row>, boot: &str) -> Decision {
        if self.spec.health_check.looks() {
            match guest.inside.latest(slot, "health") {
                None => return Decision::working(slot, "looking whether it is well", Act::Health(1)),
                Some((_, health)) if health.phase == Phase::Running => {
                    return self.runs(guest, slot, snapshot, health, boot);
                }
                Some((attempt, health)) if health.phase == Phase::Died => {
                    if attempt < ATTEMPTS_MAX {
                        return Decision::working(slot, "looking whether it is well", Act::Health(attempt + 1));
                    }
                    let why = "the look whether it is well was killed".to_owned();
                    return self.failed(guest, slot, snapshot, why);
                }
                Some((_, health)) if health.exit != Some(0) => {
                    let why = not_well(health);
                    return self.failed(guest, slot, snapshot, why);
                }
                Some(_) => {}
            }
        }
        match snapshot {
            Some(row) => Decision::working(slot, "ending", self.end(guest, row, Outcome::Updated)),
            None => Decision::ended(slot, End::Updated),
        }
    }
}
