//! What a target got: a record for each opening that still stands on its disk, in its snapshots, or in how it runs. Nothing is
//! invented: what cannot be told any more is absent.

use crate::base::id::{GuestType, VmId};
use crate::host::job::System;
use crate::host::state::{Changed, Check, JobState, Phase, State};
use crate::kinds::guest::hand::snapshot::Row;
use crate::kinds::patch_window::choose::{Choice, choose};
use crate::kinds::patch_window::decide::{Decision, End, Progress, UP_TO_DATE};
use crate::kinds::patch_window::guest::Guest;
use crate::kinds::patch_window::inside::last_words;
use crate::kinds::patch_window::outcome::{self, Outcome, PREFIX};
use crate::kinds::patch_window::spec::Updates;
use crate::kinds::patch_window::waves::{NodeTurn, Turn};
use crate::resource::index::GuestRow;
use crate::retention::class::slot_of;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Who is updated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A guest.
    Guest {
        /// Its number.
        vmid: VmId,
        /// VM or CT.
        guest: GuestType,
        /// Its name; may be empty.
        name: String,
    },
    /// A node.
    Node(String),
}

impl Target {
    /// The guest of a row.
    pub fn of(row: &GuestRow) -> Target {
        Target::Guest { vmid: row.vmid, guest: row.guest, name: row.name.clone() }
    }

    /// What tells it from all others, whatever its name is: `101`, `node/pve1`.
    pub fn key(&self) -> String {
        match self {
            Target::Guest { vmid, .. } => vmid.to_string(),
            Target::Node(name) => format!("node/{name}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Guest { vmid, name, .. } if name.is_empty() => write!(f, "{vmid}"),
            Target::Guest { vmid, name, .. } => write!(f, "{name} ({vmid})"),
            Target::Node(name) => write!(f, "node {name}"),
        }
    }
}

/// A package that is another than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// As the package manager names it.
    pub name: String,
    /// What was installed; `-`: nothing.
    pub from: String,
    /// What is; `-`: nothing.
    pub to: String,
    /// Whether it was a security update; `None`: it waited for nobody, it came along.
    pub security: Option<bool>,
}

/// An update that was not installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The package.
    pub name: String,
    /// Why, where that is known.
    pub why: Option<String>,
}

/// What became of a reboot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebooted {
    /// It was started anew after its updates.
    Done,
    /// It needs one, and got none: why it needs it.
    Needed(String),
}

/// What a target got in one opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who.
    pub target: Target,
    /// The opening.
    pub slot: i64,
    /// When something was begun.
    pub began: Option<i64>,
    /// When it ended.
    pub ended: Option<i64>,
    /// How; `None`: it has not, or nothing tells any more.
    pub end: Option<End>,
    /// `debian 12`.
    pub system: Option<String>,
    /// `apt`.
    pub manager: Option<String>,
    /// What changed.
    pub got: Vec<Got>,
    /// What waited and was not installed.
    pub left: Vec<Left>,
    /// Vulnerabilities that the changelogs of what changed name.
    pub cves: Vec<String>,
    /// What was looked at afterwards.
    pub checks: Vec<Check>,
    /// The last lines of the job that tells how it ended.
    pub log: Vec<String>,
    /// Whether it was rebooted, or should be; `None`: there is no need that is known.
    pub reboot: Option<Rebooted>,
    /// How often the updates were begun.
    pub attempts: u32,
}

impl Record {
    /// What it took, in seconds.
    pub fn took(&self) -> Option<i64> {
        Some(self.ended?.saturating_sub(self.began?).max(0))
    }
}

/// What a guest got, the oldest opening first. `updates` is what the window says of them now; `open`: it is; `now` tells a reboot where a system has no mark of its
/// boots.
pub fn of_guest(turn: &Turn<'_>, updates: &Updates, open: bool, now: i64) -> Vec<Record> {
    let Turn { guest, decision, .. } = turn;
    let snapshots = guest.snapshots.as_ref().map_or(&[][..], Vec::as_slice);
    let none = State::default();
    let (state, boot) = guest.inside.read().unwrap_or((&none, ""));
    let current = decision.as_ref().map(|decision| Current::of(decision, open));
    records(&Target::of(guest.row), (state, Some(updates)), snapshots, current, Present::of(guest, boot, now))
}

/// What a node got, the oldest opening first. `open`: its window is.
pub fn of_node(turn: &NodeTurn<'_>, open: bool) -> Vec<Record> {
    let NodeTurn { node, decision, .. } = turn;
    let target = Target::Node(node.name.to_owned());
    let none = State::default();
    let (state, boot) = node.inside.read().unwrap_or((&none, ""));
    let current = decision.as_ref().map(|decision| Current {
        slot: decision.slot,
        progress: &decision.progress,
        choice: None,
        reboot: decision.reboot.as_deref(),
        open,
    });
    records(&target, (state, None), &[], current, Present { boot, since: None })
}

/// What is known of a target's present opening.
#[derive(Clone, Copy, Debug)]
pub struct Current<'a> {
    /// The opening.
    pub slot: i64,
    /// How far it is.
    pub progress: &'a Progress,
    /// The updates, weighed, where that is known.
    pub choice: Option<&'a Choice>,
    /// Why a reboot is needed that it does not get.
    pub reboot: Option<&'a str>,
    /// It is open.
    pub open: bool,
}

impl<'a> Current<'a> {
    /// Of a guest's decision.
    pub fn of(decision: &'a Decision, open: bool) -> Current<'a> {
        let Decision { slot, progress, choice, reboot, act: _, failing: _ } = decision;
        Current { slot: *slot, progress, choice: choice.as_ref(), reboot: reboot.as_deref(), open }
    }
}

/// The boot that a target is in.
#[derive(Clone, Copy, Debug)]
pub struct Present<'a> {
    /// Its mark; empty where it has none.
    pub boot: &'a str,
    /// Since when it runs, where that tells boots apart.
    pub since: Option<i64>,
}

impl<'a> Present<'a> {
    /// A guest's.
    pub fn of(guest: &Guest<'_>, boot: &'a str, now: i64) -> Present<'a> {
        let since = now.saturating_sub(guest.uptime);
        Present { boot, since: (guest.system == System::Windows).then_some(since) }
    }

    /// Whether it was started since a job ended.
    pub fn is_after(self, job: &JobState) -> bool {
        let another = !self.boot.is_empty() && !job.boot.is_empty() && self.boot != job.boot;
        another || self.since.zip(job.ended).is_some_and(|(since, ended)| since >= ended)
    }
}

/// What a target got: of the jobs on its disk, of its snapshots, and of what is known of the present opening.
pub fn records(
    target: &Target,
    (state, updates): (&State, Option<&Updates>),
    snapshots: &[Row],
    current: Option<Current<'_>>,
    present: Present<'_>,
) -> Vec<Record> {
    let mut slots: BTreeMap<i64, Jobs<'_>> = BTreeMap::new();
    for job in &state.jobs {
        let Some((slot, word)) = slot_and_word(&job.name) else { continue };
        let jobs = slots.entry(slot).or_default();
        match word {
            "assess" => jobs.assess = Some(job),
            "patch" | "upgrade" => jobs.work.push(job),
            "health" => jobs.health = Some(job),
            _ => {}
        }
    }
    for slot in snapshots.iter().filter_map(outcome::slot).chain(ended_now(current)) {
        slots.entry(slot).or_default();
    }
    let newest = slots.keys().next_back().copied();
    let one = |(slot, jobs): (&i64, &Jobs<'_>)| {
        let snapshot = snapshots.iter().find(|row| outcome::slot(row) == Some(*slot));
        let current = current.filter(|current| current.slot == *slot);
        let present = (newest == Some(*slot)).then_some(present);
        jobs.record(target, (*slot, updates), snapshot, current, present)
    };
    slots.iter().map(one).collect()
}

/// The opening whose end leaves no trace on the disk: who is left out has none. Whether that was so in one that is over is not
/// known.
fn ended_now(current: Option<Current<'_>>) -> Option<i64> {
    let current = current?;
    (current.open && matches!(current.progress, Progress::Ended(_))).then_some(current.slot)
}

/// `20261122T010000Z-patch2` as its time and `patch`.
pub fn slot_and_word(name: &str) -> Option<(i64, &str)> {
    let (stamp, word) = name.split_once('-')?;
    let slot = slot_of(PREFIX, &format!("{PREFIX}-{stamp}"))?;
    Some((slot, word.trim_end_matches(|c: char| c.is_ascii_digit())))
}

/// The jobs of an opening; of each sort the newest attempt, of the updates all.
#[derive(Default)]
struct Jobs<'a> {
    assess: Option<&'a JobState>,
    work: Vec<&'a JobState>,
    health: Option<&'a JobState>,
}

impl Jobs<'_> {
    fn record(
        &self,
        target: &Target,
        (slot, updates): (i64, Option<&Updates>),
        snapshot: Option<&Row>,
        current: Option<Current<'_>>,
        present: Option<Present<'_>>,
    ) -> Record {
        let all = || self.assess.into_iter().chain(self.work.iter().copied()).chain(self.health);
        let end = match current.map(|current| current.progress) {
            Some(Progress::Ended(end)) => Some(end.clone()),
            Some(Progress::Working(_)) => None,
            Some(Progress::Idle) | None => self.end(snapshot.and_then(outcome::outcome)),
        };
        let taken = snapshot.and_then(|row| row.time).and_then(|time| i64::try_from(time).ok());
        let told = self.telling();
        let got = self.got();
        let left = self.left(current, (slot, updates), &got);
        let text = |of: fn(&JobState) -> &str| all().map(of).find(|text| !text.is_empty()).map(str::to_owned);
        let system = all().find(|job| !job.os.is_empty());
        let system = system.map(|job| format!("{} {}", job.os, job.release).trim_end().to_owned());
        let running = all().any(|job| job.phase == Phase::Running);
        Record {
            target: target.clone(),
            slot,
            began: all().map(|job| job.started).chain(taken).filter(|at| *at > 0).min(),
            ended: all().filter_map(|job| job.ended).max().filter(|_| end.is_some() && !running),
            end,
            system,
            manager: text(|job| job.manager.as_str()),
            got,
            left,
            cves: self.work.iter().flat_map(|job| job.cves.clone()).collect::<BTreeSet<_>>().into_iter().collect(),
            checks: self.health.map(|job| job.checks.clone()).unwrap_or_default(),
            log: told.map(|job| job.log.clone()).unwrap_or_default(),
            reboot: self.reboot(current, present),
            attempts: u32::try_from(self.work.len()).unwrap_or(u32::MAX),
        }
    }

    /// How it ended, as what is left of it tells.
    fn end(&self, outcome: Option<Outcome>) -> Option<End> {
        match outcome {
            Some(Outcome::Updated) => return Some(End::Updated),
            Some(Outcome::Unchanged(why)) if why == UP_TO_DATE => return Some(End::UpToDate),
            Some(Outcome::Unchanged(why)) => return Some(End::LeftOut(why)),
            Some(Outcome::Failed(why)) => return Some(End::Failed(why)),
            Some(Outcome::WentBack(why)) => return Some(End::WentBack(why)),
            Some(Outcome::GoingBack(..)) => return None,
            None => {}
        }
        let failed = |job: &JobState| End::Failed(format!("`{}` failed{}", job.name, last_words(job)));
        match (self.work.last().copied(), self.health, self.assess) {
            (Some(job), _, _) | (None, Some(job), _) | (None, None, Some(job)) if job.phase != Phase::Done => None,
            (Some(job), _, _) if job.exit != Some(0) => Some(failed(job)),
            (Some(_), Some(health), _) if health.phase != Phase::Done => None,
            (Some(_), Some(health), _) if health.exit != Some(0) => Some(failed(health)),
            (Some(_), _, _) => Some(End::Updated),
            (None, _, Some(assess)) if assess.exit != Some(0) => Some(failed(assess)),
            (None, _, Some(assess)) if assess.pending.is_empty() => Some(End::UpToDate),
            // Updates wait, and nothing tells whether they were to be installed.
            (None, _, Some(_) | None) => None,
        }
    }

    /// The job whose last lines tell how it ended: the first that did not go well, else the one that did the work.
    fn telling(&self) -> Option<&JobState> {
        let last = self.work.last().copied();
        let bad = |job: &&JobState| job.phase == Phase::Died || job.exit.is_some_and(|code| code != 0);
        last.filter(bad).or(self.health.filter(bad)).or(last).or(self.assess)
    }

    /// What changed, over all attempts: from what the first found to what the last left.
    fn got(&self) -> Vec<Got> {
        let mut all: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        for Changed { name, from, to } in self.work.iter().flat_map(|job| &job.changed) {
            all.entry(name).or_insert((from, to)).1 = to;
        }
        let class = |name: &str| self.assess?.pending.iter().find(|p| p.name == name).map(|p| p.security);
        all.into_iter()
            .filter(|(_, (from, to))| from != to)
            .map(|(name, (from, to))| Got {
                name: name.to_owned(),
                from: from.to_owned(),
                to: to.to_owned(),
                security: class(name),
            })
            .collect()
    }

    /// Why something stayed is what the window says now, where the disk alone is left to tell.
    fn left(&self, current: Option<Current<'_>>, (slot, updates): (i64, Option<&Updates>), got: &[Got]) -> Vec<Left> {
        if let Some(choice) = current.and_then(|current| current.choice) {
            let left = |(name, why): &(String, String)| Left { name: name.clone(), why: Some(why.clone()) };
            return choice.left.iter().map(left).collect();
        }
        let Some(assess) = self.assess else { return Vec::new() };
        let weighed = updates.map(|updates| choose(assess, updates, None, slot).left).unwrap_or_default();
        let weighed: BTreeMap<String, String> = weighed.into_iter().collect();
        let stayed = assess.pending.iter().filter(|pending| !got.iter().any(|got| got.name == pending.name));
        stayed.map(|pending| Left { name: pending.name.clone(), why: weighed.get(&pending.name).cloned() }).collect()
    }

    fn reboot(&self, current: Option<Current<'_>>, present: Option<Present<'_>>) -> Option<Rebooted> {
        let job = self.work.last()?;
        let health = self.health.map(|health| Present { boot: &health.boot, since: None });
        if health.into_iter().chain(present).any(|boot| boot.is_after(job)) {
            return Some(Rebooted::Done);
        }
        let why = current.and_then(|current| current.reboot.map(str::to_owned)).or_else(|| job.reboot.clone());
        why.map(Rebooted::Needed)
    }
}

/// The newest job of a state file that looked for updates and ended well.
pub fn newest(state: &State) -> Option<&JobState> {
    let well = |job: &&JobState| {
        job.phase == Phase::Done
            && job.exit == Some(0)
            && slot_and_word(&job.name).is_some_and(|(_, word)| word == "assess")
    };
    state.jobs.iter().filter(well).max_by_key(|job| job.ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::guest::hand::snapshot::rows;
    use serde_json::json;

    const SLOT: i64 = 1_795_309_200;

    const DISK: &str = "\
[20261122T010000Z-assess]
state=done
exit=0
started=1795309210
ended=1795309230
boot=b1
os=debian
release=12
manager=apt
pending=openssl 3.0.15-1 3.0.16-1 security 1795000000
pending=vim 9.0 9.1 other 1795000000
pending=nginx 1.22 1.24 other 1795000000
held=nginx
[20261122T010000Z-patch]
state=died
started=1795309240
boot=b1
os=debian
release=12
manager=apt
changed=libssl3 3.0.15-1 3.0.16-1
[20261122T010000Z-patch2]
state=done
exit=0
started=1795309300
ended=1795309400
boot=b1
manager=apt
changed=openssl 3.0.15-1 3.0.16-1
changed=libssl3 3.0.16-1 3.0.16-2
cve=CVE-2026-2
cve=CVE-2026-1
reboot=libc6
log=Setting up openssl
[20261122T010000Z-health]
state=done
exit=0
started=1795309500
ended=1795309510
boot=b2
check=tcp:22 ok listens
";

    fn target() -> Target {
        Target::Guest { vmid: VmId::new(200).expect("a number of a guest"), guest: GuestType::Lxc, name: "web".into() }
    }

    fn all(disk: &str, snapshots: &[Row], current: Option<&Decision>, boot: &str) -> Vec<Record> {
        records(
            &target(),
            (&State::read(disk), Some(&Updates::default())),
            snapshots,
            current.map(|decision| Current::of(decision, true)),
            Present { boot, since: None },
        )
    }

    fn snapshot(slot: i64, outcome: Option<&Outcome>) -> Vec<Row> {
        let vmid = VmId::new(200).expect("a number of a guest");
        let text = outcome::describe("lab", "sunday", vmid, true, outcome);
        rows(&json!([{"name": outcome::name(slot), "description": text, "snaptime": slot + 5}]))
    }

    fn decision(progress: Progress) -> Decision {
        Decision { slot: SLOT, progress, act: None, failing: false, choice: None, reboot: None }
    }

    #[test]
    fn what_two_attempts_got_is_told_as_one() {
        let found = all(DISK, &snapshot(SLOT, Some(&Outcome::Updated)), None, "b2");
        let [record] = found.as_slice() else { panic!("one opening: {found:#?}") };
        assert_eq!(record.end, Some(End::Updated));
        assert_eq!((record.began, record.ended, record.took()), (Some(SLOT + 5), Some(1_795_309_510), Some(305)));
        let got: Vec<_> = record.got.iter().map(|g| (g.name.as_str(), g.from.as_str(), g.to.as_str())).collect();
        assert_eq!(got, [("libssl3", "3.0.15-1", "3.0.16-2"), ("openssl", "3.0.15-1", "3.0.16-1")]);
        assert_eq!(record.got.iter().map(|g| g.security).collect::<Vec<_>>(), [None, Some(true)]);
        assert_eq!(record.cves, ["CVE-2026-1", "CVE-2026-2"]);
        assert_eq!(record.reboot, Some(Rebooted::Done), "its check ran in another boot");
        assert_eq!((record.attempts, record.manager.as_deref()), (2, Some("apt")));
        assert_eq!(record.system.as_deref(), Some("debian 12"));
        assert_eq!(record.checks.len(), 1);
        assert_eq!(record.log, ["Setting up openssl"]);
        let left: Vec<_> = record.left.iter().map(|l| (l.name.as_str(), l.why.as_deref())).collect();
        assert_eq!(left, [("vim", None), ("nginx", Some("held in the guest"))], "why vim stayed is not known any more");
    }

    #[test]
    fn the_present_decision_knows_more_than_the_disk() {
        let choice = Choice { install: Vec::new(), left: vec![("vim".into(), "no security update".into())] };
        let mut now = decision(Progress::Ended(End::Failed("tcp:22: nobody listens".into())));
        now.choice = Some(choice);
        let found = all(DISK, &[], Some(&now), "b1");
        assert_eq!(found[0].end, Some(End::Failed("tcp:22: nobody listens".into())));
        let why = Some("no security update".to_owned());
        assert_eq!(found[0].left, [Left { name: "vim".into(), why }]);
    }

    #[test]
    fn a_reboot_that_was_not_given_is_needed() {
        let text: String = DISK.lines().take_while(|l| !l.contains("-health")).map(|l| format!("{l}\n")).collect();
        let found = all(&text, &[], None, "b1");
        assert_eq!(found[0].reboot, Some(Rebooted::Needed("libc6".into())));
        assert_eq!(all(&text, &[], None, "b3")[0].reboot, Some(Rebooted::Done));
        assert_eq!(all(&text, &[], None, "")[0].reboot, Some(Rebooted::Needed("libc6".into())));
    }

    #[test]
    fn a_disk_that_went_back_leaves_what_its_snapshot_says() {
        let why = "the service does not answer".to_owned();
        let text: String = DISK.lines().take_while(|l| !l.contains("-patch]")).map(|l| format!("{l}\n")).collect();
        let found = all(&text, &snapshot(SLOT, Some(&Outcome::WentBack(why.clone()))), None, "b1");
        assert_eq!(found[0].end, Some(End::WentBack(why)));
        assert!(found[0].got.is_empty(), "nothing of it is there any more");
    }

    #[test]
    fn what_has_not_ended_has_no_end() {
        let found = all(DISK, &[], Some(&decision(Progress::Working("installing updates".into()))), "b1");
        assert_eq!((found[0].end.clone(), found[0].ended), (None, None));
        let running = "[20261122T010000Z-assess]\nstate=running\nstarted=1795309210\n";
        assert_eq!(all(running, &[], None, "")[0].end, None);
        let going = snapshot(SLOT, Some(&Outcome::GoingBack(5, "x".into())));
        assert_eq!(all("", &going, None, "")[0].end, None);
    }

    #[test]
    fn who_was_left_out_has_a_record_without_a_trace_on_its_disk() {
        let now = decision(Progress::Ended(End::LeftOut("it does not run".into())));
        let found = all("", &[], Some(&now), "");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].began, found[0].ended, found[0].attempts), (None, None, 0));
        assert!(all("", &[], Some(&decision(Progress::Idle)), "").is_empty());
        let over = Current { open: false, ..Current::of(&now, true) };
        let present = Present { boot: "", since: None };
        assert!(
            records(&target(), (&State::default(), None), &[], Some(over), present).is_empty(),
            "it is over: who knows"
        );
    }

    #[test]
    fn other_jobs_and_names_of_nobody_are_passed_over() {
        let odd = "[x]\nstate=done\n[20261122T010000Z]\n[-patch]\n[2026-patch]\n";
        assert!(all(odd, &[], None, "").is_empty());
        assert_eq!(slot_and_word("20261122T010000Z-patch2"), Some((SLOT, "patch")));
        assert_eq!(slot_and_word("20269999T010000Z-patch"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_disk_can_be_read(lines in proptest::collection::vec("(\\[20261122T0[0-9]0000Z-(patch|assess|health)2?\\]|state=|changed=|exit=|ended=|started=)[a-z0-9 =]{0,12}", 0..16)) {
            let _ = all(&lines.join("\n"), &[], None, "b");
        }
    }
}
