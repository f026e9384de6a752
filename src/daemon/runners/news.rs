//! What a look at a pool has to tell that was not told before: a machine got further, failed, is gone; a job waited, began,
//! ended; something about the pool changed. Pure: what was known and what is seen go in.

use crate::daemon::record::Level;
use crate::daemon::runners::past::Known;
use crate::daemon::runners::{JobRecord, MachineRecord, PoolRecord, RunnerRecord, Seen};
use std::collections::BTreeSet;

/// A moment worth telling. It is about the pool, so that a hundred machines that fail for one cause are one trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Whether a person should look.
    pub level: Level,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// Something to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Count {
    /// A job waited so long for its runner, in milliseconds.
    Queued(u64),
    /// A machine was so long in a stage.
    Stage(&'static str, u64),
    /// A runner had a job for so long.
    Job(u64),
    /// A machine failed: why.
    Failed(String),
}

/// What a look comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// How the pool stands now.
    pub pool: PoolRecord,
    /// Machines of which something new is known.
    pub runners: Vec<RunnerRecord>,
    /// Jobs of which something new is known.
    pub jobs: Vec<JobRecord>,
    /// What is to be told.
    pub news: Vec<News>,
    /// What is to be counted.
    pub counts: Vec<Count>,
}

/// Takes a look in. `before`: how the pool stood at the last one; without it, what is there is no news.
pub fn take(before: Option<&PoolRecord>, known: &Known, seen: Seen) -> Taken {
    let Seen { pool, jobs } = seen;
    let mut taken = Taken { pool, ..Taken::default() };
    let first = before.is_none();
    let failing = before.and_then(|before| before.failing.clone());
    taken.pool.failing.clone_from(&failing);
    let machines = taken.pool.machines.clone();
    for machine in &machines {
        machine_is(&mut taken, known, machine, first);
    }
    gone(&mut taken, known, &machines, first);
    if let Some(jobs) = jobs {
        for job in &jobs {
            job_is(&mut taken, known, job, first);
        }
        let there = |job: &&JobRecord| jobs.iter().all(|seen| seen.id != job.job);
        let (source, pool) = (taken.pool.source.clone(), taken.pool.name.clone());
        for job in known.lasting(&source, &pool).filter(there) {
            job_ended(&mut taken, known, job);
        }
    }
    conditions(&mut taken, before);
    taken
}

/// What becomes of machines and jobs of pools that a source declares no more: nobody looks at them.
pub fn let_go(
    known: &Known,
    source: &str,
    declared: &BTreeSet<String>,
    now_ms: u64,
) -> (Vec<RunnerRecord>, Vec<JobRecord>) {
    let of = |of: &str, pool: &String| of == source && !declared.contains(pool);
    let runners = known.runners.values().filter(|one| one.lives() && of(&one.source, &one.pool));
    let jobs = known.jobs.values().filter(|one| one.lasts() && of(&one.source, &one.pool));
    let runners = runners.map(|one| RunnerRecord { gone_ms: Some(now_ms), ..one.clone() }).collect();
    (runners, jobs.map(|one| JobRecord { ended_ms: Some(now_ms), ..one.clone() }).collect())
}

fn id(pool: &PoolRecord, name: &str) -> String {
    format!("{}/{}/{name}", pool.source, pool.name)
}

fn machine_is(taken: &mut Taken, known: &Known, machine: &MachineRecord, first: bool) {
    let id = id(&taken.pool, &machine.name);
    let old = known.runners.get(&id);
    let now_ms = taken.pool.seen_ms;
    let mut new = RunnerRecord {
        id,
        source: taken.pool.source.clone(),
        pool: taken.pool.name.clone(),
        name: machine.name.clone(),
        vmid: machine.vmid,
        node: machine.node.clone(),
        times: old.map_or_else(Default::default, |old| old.times).or(machine.times),
        seen_ms: old.map_or(now_ms, |old| old.seen_ms),
        gone_ms: None,
        result: None,
        cause: machine.cause.clone().or_else(|| old.and_then(|old| old.cause.clone())),
        job: machine.job.clone().or_else(|| old.and_then(|old| old.job.clone())),
    };
    // Marks are written a moment after what they are about; what was seen meanwhile counts.
    if machine.online {
        new.times.online_ms = new.times.online_ms.or(Some(now_ms));
    }
    if machine.busy {
        new.times.busy_ms = new.times.busy_ms.or(Some(now_ms));
    }
    if machine.stage == "Ended" {
        new.times.ended_ms = new.times.ended_ms.or(Some(now_ms));
    }
    if new.cause.is_some() {
        new.result = Some("Failed".to_owned());
    } else if new.times.ended_ms.is_some() && new.times.busy_ms.is_some() {
        new.result = Some("Done".to_owned());
    }
    if !(first && old.is_none()) {
        counted(taken, old, &new);
    }
    if let Some(cause) = new.cause.clone().filter(|_| old.is_none_or(|old| old.cause.is_none())) {
        if !(first && old.is_none()) {
            taken.counts.push(Count::Failed(cause.clone()));
            let why = machine.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            let message = format!("{} ({}) failed: {cause}{why}", machine.name, machine.vmid);
            taken.news.push(News { level: Level::Warning, reason: "MachineFailed".to_owned(), message });
        }
        taken.pool.failing = Some(cause);
    }
    let came = new.times.online_ms.is_some() && old.is_none_or(|old| old.times.online_ms.is_none());
    if came && new.cause.is_none() && taken.pool.failing.take().is_some() {
        let message = format!("{} ({}) is online: machines come up again", machine.name, machine.vmid);
        taken.news.push(News { level: Level::Normal, reason: "MachineMended".to_owned(), message });
    }
    if old != Some(&new) {
        taken.runners.push(new);
    }
}

/// Stages that were over only now.
fn counted(taken: &mut Taken, old: Option<&RunnerRecord>, new: &RunnerRecord) {
    let before: Vec<&str> = old.into_iter().flat_map(|old| old.times.stages()).map(|(stage, _)| stage).collect();
    for (stage, took) in new.times.stages().filter(|(stage, _)| !before.contains(stage)) {
        taken.counts.push(Count::Stage(stage, took));
        if stage == "job" {
            taken.counts.push(Count::Job(took));
        }
    }
}

/// Machines that were there and are not any more.
fn gone(taken: &mut Taken, known: &Known, machines: &[MachineRecord], first: bool) {
    let (source, pool, now_ms) = (taken.pool.source.clone(), taken.pool.name.clone(), taken.pool.seen_ms);
    let there = |runner: &&RunnerRecord| machines.iter().all(|machine| machine.name != runner.name);
    for old in known.living(&source, &pool).filter(there) {
        let mut new = RunnerRecord { gone_ms: Some(now_ms), ..old.clone() };
        // Nobody saw when one ended that was gone at the first look.
        if new.times.busy_ms.is_some() && !first {
            new.times.ended_ms = new.times.ended_ms.or(Some(now_ms));
        }
        let result = match (&new.cause, new.times.busy_ms) {
            (Some(_), _) => "Failed",
            (None, Some(_)) => "Done",
            (None, None) => "Removed",
        };
        new.result = Some(result.to_owned());
        counted(taken, Some(old), &new);
        taken.runners.push(new);
    }
}

fn job_is(taken: &mut Taken, known: &Known, seen: &crate::daemon::runners::JobSeen, first: bool) {
    let id = id(&taken.pool, &seen.id.to_string());
    let old = known.jobs.get(&id);
    let now_ms = taken.pool.seen_ms;
    let runner = seen.runner.clone().or_else(|| old.and_then(|old| old.runner.clone()));
    let busy = || {
        let machine = taken.pool.machines.iter().find(|machine| Some(&machine.name) == runner.as_ref());
        machine.and_then(|machine| machine.times.busy_ms)
    };
    let began_ms = old.and_then(|old| old.began_ms).or_else(|| seen.runner.as_ref().map(|_| busy().unwrap_or(now_ms)));
    let new = JobRecord {
        id,
        source: taken.pool.source.clone(),
        pool: taken.pool.name.clone(),
        job: seen.id,
        repository: seen.repository.clone(),
        name: seen.name.clone(),
        labels: seen.labels.clone(),
        seen_ms: old.map_or(now_ms, |old| old.seen_ms),
        queued_ms: old.and_then(|old| old.queued_ms).or(seen.queued_ms),
        began_ms,
        ended_ms: None,
        runner,
    };
    let began_now = new.began_ms.is_some() && old.is_none_or(|old| old.began_ms.is_none());
    if began_now
        && !(first && old.is_none())
        && let Some(waited) = new.waited_ms()
    {
        taken.counts.push(Count::Queued(waited));
    }
    if old != Some(&new) {
        taken.jobs.push(new);
    }
}

/// A job of which GitHub tells no more. One whose runner is there and has not ended goes on: lists are cut.
fn job_ended(taken: &mut Taken, known: &Known, job: &JobRecord) {
    let now_ms = taken.pool.seen_ms;
    let runner = job.runner.as_ref().map(|name| id(&taken.pool, name)).and_then(|id| {
        let fresh = taken.runners.iter().find(|runner| runner.id == id);
        fresh.or_else(|| known.runners.get(&id))
    });
    let ended = match runner {
        Some(runner) if runner.lives() && runner.times.ended_ms.is_none() => return,
        Some(runner) => runner.times.ended_ms.or(runner.gone_ms).unwrap_or(now_ms),
        None => now_ms,
    };
    taken.jobs.push(JobRecord { ended_ms: Some(ended), ..job.clone() });
}

/// What came up about the pool, and what is over.
fn conditions(taken: &mut Taken, before: Option<&PoolRecord>) {
    let reasons = |pool: &PoolRecord| -> BTreeSet<String> {
        pool.conditions.iter().filter(|c| c.warns).map(|c| c.reason.clone()).collect()
    };
    let (was, is) = (before.map(reasons).unwrap_or_default(), reasons(&taken.pool));
    for condition in taken.pool.conditions.iter().filter(|condition| condition.warns) {
        if !was.contains(&condition.reason) {
            let (reason, message) = (condition.reason.clone(), condition.message.clone());
            taken.news.push(News { level: Level::Warning, reason, message });
        }
    }
    for over in was.difference(&is) {
        let (reason, message) = (format!("{over}Mended"), "it is well again".to_owned());
        taken.news.push(News { level: Level::Normal, reason, message });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::runners::{JobSeen, PoolCondition, Times};

    fn machine(name: &str, stage: &str, times: Times) -> MachineRecord {
        let online = matches!(stage, "Idle" | "Busy");
        let (name, busy, stage) = (name.to_owned(), stage == "Busy", stage.to_owned());
        MachineRecord {
            vmid: 50_000,
            node: "pve1".into(),
            name,
            stage,
            online,
            busy,
            times,
            ..MachineRecord::default()
        }
    }

    fn pool(at: u64, machines: &[MachineRecord]) -> PoolRecord {
        let machines = machines.to_vec();
        PoolRecord { source: "lab".into(), name: "ci".into(), machines, seen_ms: at, ..PoolRecord::default() }
    }

    struct Desk {
        known: Known,
        before: Option<PoolRecord>,
    }

    impl Desk {
        fn look(&mut self, pool: PoolRecord, jobs: Option<Vec<JobSeen>>) -> Taken {
            let taken = take(self.before.as_ref(), &self.known, Seen { pool, jobs });
            self.known.remember(taken.runners.clone(), taken.jobs.clone());
            self.before = Some(taken.pool.clone());
            taken
        }
    }

    fn desk() -> Desk {
        Desk { known: Known::default(), before: Some(pool(0, &[])) }
    }

    const MADE: Times = Times {
        made_ms: Some(1_000),
        started_ms: None,
        registering_ms: None,
        online_ms: None,
        busy_ms: None,
        ended_ms: None,
    };

    #[test]
    fn a_machine_is_followed_from_its_clone_to_the_end_of_its_job() {
        let mut desk = desk();
        let job = |runner: Option<&str>| JobSeen {
            id: 7,
            repository: "acme/app".into(),
            name: "CI / build".into(),
            queued_ms: Some(500),
            runner: runner.map(str::to_owned),
            ..JobSeen::default()
        };
        let taken = desk.look(pool(2_000, &[machine("ci-1", "Cloning", MADE)]), Some(vec![job(None)]));
        assert_eq!((taken.runners.len(), taken.jobs.len(), taken.counts.len()), (1, 1, 0));
        let started = Times { started_ms: Some(4_000), registering_ms: Some(9_000), ..MADE };
        let taken = desk.look(pool(10_000, &[machine("ci-1", "Connecting", started)]), Some(vec![job(None)]));
        assert_eq!(taken.counts, [Count::Stage("clone", 3_000), Count::Stage("boot", 5_000)]);
        // Its mark comes later: what was seen counts, and what was seen first.
        let taken = desk.look(pool(14_000, &[machine("ci-1", "Busy", started)]), Some(vec![job(Some("ci-1"))]));
        let counts = [Count::Stage("register", 5_000), Count::Stage("idle", 0), Count::Queued(13_500)];
        assert_eq!(taken.counts, counts);
        let late = Times { online_ms: Some(15_000), busy_ms: Some(16_000), ..started };
        let taken = desk.look(pool(20_000, &[machine("ci-1", "Busy", late)]), Some(vec![]));
        assert_eq!((taken.counts.len(), taken.jobs.len()), (0, 0), "GitHub's lists are cut; its runner goes on");
        let taken = desk.look(pool(34_000, &[]), Some(vec![]));
        assert_eq!(taken.counts, [Count::Stage("job", 20_000), Count::Job(20_000)]);
        let [runner] = &taken.runners[..] else { panic!("one: {taken:?}") };
        assert_eq!((runner.result.as_deref(), runner.gone_ms), (Some("Done"), Some(34_000)));
        assert_eq!(taken.jobs[0].ended_ms, Some(34_000));
        let taken = desk.look(pool(40_000, &[]), Some(vec![]));
        assert_eq!((taken.runners.len(), taken.jobs.len(), taken.news.len()), (0, 0, 0), "told once");
    }

    #[test]
    fn a_failure_is_told_once_and_the_first_machine_that_comes_up_after_it_too() {
        let mut desk = desk();
        let mut bad = machine("ci-1", "Failed", MADE);
        bad.cause = Some("NoAgent".into());
        let taken = desk.look(pool(2_000, &[bad.clone()]), None);
        assert_eq!(taken.counts, [Count::Failed("NoAgent".into())]);
        assert_eq!(taken.news[0].reason, "MachineFailed");
        assert_eq!(taken.runners[0].result.as_deref(), Some("Failed"));
        let taken = desk.look(pool(3_000, &[bad]), None);
        assert_eq!((taken.news.len(), taken.counts.len()), (0, 0));
        assert_eq!(taken.pool.failing.as_deref(), Some("NoAgent"));
        let taken = desk.look(pool(9_000, &[machine("ci-2", "Idle", MADE)]), None);
        assert_eq!(taken.news.iter().map(|n| n.reason.as_str()).collect::<Vec<_>>(), ["MachineMended"]);
        assert_eq!(taken.pool.failing, None);
        let gone = taken.runners.iter().find(|r| r.name == "ci-1").expect("it is gone");
        assert_eq!(gone.result.as_deref(), Some("Failed"));
        let taken = desk.look(pool(12_000, &[]), None);
        assert_eq!(taken.runners[0].result.as_deref(), Some("Removed"), "it had no job");
    }

    #[test]
    fn what_was_there_before_the_first_look_is_no_news() {
        let mut desk = Desk { known: Known::default(), before: None };
        let mut bad = machine("ci-1", "Failed", Times { started_ms: Some(2_000), ..MADE });
        bad.cause = Some("NoAgent".into());
        let job = JobSeen { id: 7, queued_ms: Some(1), runner: Some("x".into()), ..JobSeen::default() };
        let taken = desk.look(pool(9_000, &[bad]), Some(vec![job]));
        assert_eq!((taken.news.len(), taken.counts.len(), taken.runners.len(), taken.jobs.len()), (0, 0, 1, 1));
    }

    #[test]
    fn conditions_are_told_when_they_come_and_when_they_go() {
        let mut desk = desk();
        let mut stuck = pool(1_000, &[]);
        stuck.conditions.push(PoolCondition { reason: "JobsWait".into(), message: "no capacity".into(), warns: true });
        let told = |taken: &Taken| taken.news.iter().map(|n| n.reason.clone()).collect::<Vec<_>>();
        assert_eq!(told(&desk.look(stuck.clone(), None)), ["JobsWait"]);
        stuck.conditions[0].message = "still no capacity".into();
        assert!(desk.look(stuck, None).news.is_empty());
        assert_eq!(told(&desk.look(pool(3_000, &[]), None)), ["JobsWaitMended"]);
    }

    #[test]
    fn what_went_while_nobody_looked_is_not_measured_and_pools_may_go() {
        let mut desk = desk();
        let times = Times { online_ms: Some(2_000), busy_ms: Some(3_000), ..MADE };
        let job = JobSeen { id: 7, runner: Some("ci-1".into()), ..JobSeen::default() };
        desk.look(pool(4_000, &[machine("ci-1", "Busy", times), machine("ci-2", "Busy", times)]), Some(vec![job]));
        let (runners, jobs) = let_go(&desk.known, "lab", &BTreeSet::from(["ci".to_owned()]), 5_000);
        assert_eq!((runners.len(), jobs.len()), (0, 0));
        let (runners, jobs) = let_go(&desk.known, "lab", &BTreeSet::new(), 5_000);
        assert_eq!((runners.len(), jobs.len()), (2, 1));
        assert!(let_go(&desk.known, "other", &BTreeSet::new(), 5_000).0.is_empty());
        // Another daemon begins with what the history knows.
        desk.before = None;
        let taken = desk.look(pool(9_000_000, &[machine("ci-2", "Busy", times)]), None);
        assert_eq!((taken.counts.len(), taken.runners[0].times.ended_ms), (0, None));
        assert_eq!(taken.runners[0].result.as_deref(), Some("Done"));
    }

    #[test]
    fn a_job_that_was_cancelled_while_it_waited_is_over() {
        let mut desk = desk();
        let job = JobSeen { id: 7, queued_ms: Some(500), ..JobSeen::default() };
        desk.look(pool(1_000, &[]), Some(vec![job]));
        assert!(desk.look(pool(2_000, &[]), None).jobs.is_empty(), "nobody could be asked");
        let taken = desk.look(pool(3_000, &[]), Some(vec![]));
        assert_eq!((taken.jobs[0].ended_ms, taken.jobs[0].began_ms), (Some(3_000), None));
    }
}
