//! A table of pools: what is there, what is wanted, and what comes of it.

use super::*;
use crate::github::demand::Job;
use crate::kinds::runner_pool::judge::tests::{machine, runner, spec};
use crate::kinds::runner_pool::machine::Inside;
use serde_json::{Value, json};

const NOW: i64 = 1_795_315_200;
const GIB: i64 = 1 << 30;

struct Pool {
    spec: RunnerPoolSpec,
    machines: Vec<Machine>,
    demand: Result<Demand, String>,
    runners: Result<Vec<Runner>, String>,
    rooms: Vec<Room>,
    taken: BTreeSet<VmId>,
    making: BTreeSet<VmId>,
    unread: BTreeSet<VmId>,
    cut_off: usize,
    template: Result<Template, String>,
    drained: bool,
    going: bool,
}

fn pool(change: &[(&str, Value)]) -> Pool {
    let room = |node: &str, gib: i64| Room { node: node.to_owned(), memory: gib * GIB, against: None };
    Pool {
        spec: spec(change),
        machines: Vec::new(),
        demand: Ok(Demand::default()),
        runners: Ok(Vec::new()),
        rooms: vec![room("pve1", 32), room("pve2", 30)],
        taken: BTreeSet::new(),
        making: BTreeSet::new(),
        unread: BTreeSet::new(),
        cut_off: 0,
        template: Ok(Template { vmid: vmid(9000), version: None, memory: 4 << 30 }),
        drained: false,
        going: false,
    }
}

fn vmid(number: u64) -> VmId {
    VmId::new(number).expect("a number")
}

impl Pool {
    fn assigned(mut self, assigned: u32, running: u32) -> Pool {
        let waiting_since = (assigned > running).then_some(NOW - 20);
        self.demand = Ok(Demand { assigned, running, at: NOW, waiting_since, ..Demand::default() });
        self
    }

    fn with(mut self, m: Machine) -> Pool {
        self.taken.insert(m.vmid);
        if let (Some(one), Ok(list)) = (&m.runner, &mut self.runners) {
            list.push(one.clone());
        }
        self.machines.push(m);
        self
    }

    fn decide(&self) -> Decision {
        decide(&Seen {
            spec: &self.spec,
            pool: "ci",
            now: NOW,
            idle: Idle { wanted: self.spec.size.min_idle, until: None },
            proof: "ab12cd34",
            runners: self.runners.as_deref().map_err(Clone::clone),
            demand: self.demand.as_ref().map_err(Clone::clone),
            machines: self.machines.clone(),
            making: self.making.clone(),
            unread: self.unread.clone(),
            cut_off: self.cut_off,
            taken: self.taken.clone(),
            template: self.template.clone(),
            rooms: self.rooms.clone(),
            drained: self.drained,
            going: self.going,
        })
    }
}

fn on(m: &mut Machine, online: i64) {
    m.power = Power::Running;
    m.inside = Inside::Unread;
    m.marks.started = Some(NOW - online - 60);
    m.marks.registering = Some(NOW - online - 30);
    m.marks.online = Some(NOW - online);
}

/// An idle runner that is online for so many seconds.
fn idle(number: u64, online: i64) -> Machine {
    let mut m = machine(number);
    on(&mut m, online);
    m.runner = Some(runner(&m.name, true, false));
    m
}

fn busy(number: u64) -> Machine {
    let mut m = machine(number);
    on(&mut m, 200);
    m.marks.busy = Some(NOW - 100);
    m.runner = Some(runner(&m.name, true, true));
    m
}

fn booting(number: u64) -> Machine {
    let mut m = machine(number);
    m.power = Power::Running;
    m.marks.started = Some(NOW - 20);
    m.inside = Inside::Silent("no agent".into());
    m
}

/// One that failed so many seconds ago, as the so-manieth in a row, and is put away.
fn failed(number: u64, cause: Cause, ago: i64, tries: u32) -> Machine {
    let mut m = machine(number);
    m.marks.tries = tries;
    m.marks.registering = Some(NOW - ago - 10);
    m.marks.failed = Some(Failure { cause, at: NOW - ago, why: String::new() });
    m
}

fn made(decision: &Decision) -> Vec<String> {
    decision.new.iter().map(|new| format!("{}@{}", new.vmid, new.node)).collect()
}

fn leaving(pool: &Pool, decision: &Decision) -> Vec<u32> {
    let pairs = pool.machines.iter().zip(&decision.verdicts);
    pairs.filter(|(_, v)| matches!(v.act, Some(Act::Leave { .. }))).map(|(m, _)| m.vmid.get()).collect()
}

fn reasons(decision: &Decision) -> Vec<&'static str> {
    decision.conditions.iter().map(|condition| condition.reason).collect()
}

#[test]
fn as_many_as_wait_and_the_idle_ones_but_never_more_than_may_be() {
    for (assigned, min_idle, max, starting, there, wanted) in [
        (0, 0, 4, 2, vec![], vec![]),
        (0, 1, 4, 2, vec![], vec!["50000@pve1"]),
        (1, 1, 4, 2, vec![], vec!["50000@pve1", "50001@pve2"]),
        (9, 1, 4, 2, vec![], vec!["50000@pve1", "50001@pve2"]),
        (9, 1, 4, 9, vec![], vec!["50000@pve1", "50001@pve2", "50002@pve1", "50003@pve2"]),
        (2, 0, 4, 2, vec![busy(50_000), busy(50_001)], vec![]),
        (3, 0, 4, 2, vec![busy(50_000), busy(50_001)], vec!["50002@pve1"]),
        (3, 1, 4, 2, vec![busy(50_000), idle(50_002, 10)], vec!["50001@pve1", "50003@pve2"]),
        (9, 0, 2, 2, vec![busy(50_000), busy(50_001)], vec![]),
        (9, 0, 4, 2, vec![booting(50_000)], vec!["50001@pve1"]),
        (9, 0, 4, 2, vec![booting(50_000), booting(50_001)], vec![]),
        // A job that runs and that GitHub's statistics do not show yet.
        (0, 1, 4, 2, vec![busy(50_000)], vec!["50001@pve1"]),
    ] {
        let change = [("size", json!({"minIdle": min_idle, "max": max, "maxStarting": starting}))];
        let running = u32::try_from(there.iter().filter(|m: &&Machine| m.marks.busy.is_some()).count()).expect("few");
        let pool =
            there.iter().fold(pool(&change).assigned(assigned, running.min(assigned)), |pool, m| pool.with(m.clone()));
        let decision = pool.decide();
        let words = format!("{assigned} assigned, {min_idle} idle, {max} at most, {} there", there.len());
        assert_eq!(made(&decision), wanted, "{words}");
        assert!(decision.target <= max, "{words}");
        assert_eq!(leaving(&pool, &decision), [0u32; 0], "{words}");
    }
}

#[test]
fn a_new_machine_says_whose_it_is() {
    let decision = pool(&[]).assigned(1, 0).decide();
    let [new] = decision.new.as_slice() else { panic!("one: {:?}", decision.new) };
    assert_eq!(new.name, "ci-50000-ab12cd34tovu2o");
    assert_eq!((new.marks.made, new.marks.proof.as_str(), new.marks.template), (NOW, "ab12cd34", Some(vmid(9000))));
}

#[test]
fn numbers_and_nodes_that_are_taken_or_full_are_passed_over() {
    let mut full = pool(&[("size", json!({"max": 6, "maxStarting": 6}))]).assigned(6, 0);
    full.taken.extend([vmid(50_000), vmid(50_002)]);
    full.rooms[0].memory = 9 * GIB;
    full.rooms[1].against = Some("storage `local-lvm` has only 1GiB left".into());
    let decision = full.decide();
    assert_eq!(made(&decision), ["50001@pve1", "50003@pve1"]);
    assert_eq!(reasons(&decision), ["NoCapacity"]);
    let message = &decision.conditions[0].message;
    assert!(message.contains("pve1: 1.0 GiB of memory to give, and a machine takes 4.0 GiB"), "{message}");
    assert!(message.contains("pve2: storage `local-lvm`"), "{message}");
    // What is on its way and does not run yet has its memory to come.
    let mut cloned = machine(50_001);
    cloned.node = "pve1".into();
    assert_eq!(made(&full.with(cloned).decide()), ["50003@pve1"]);

    let mut numbers = pool(&[("vmidRange", json!("50000-50003"))]).assigned(1, 0);
    numbers.taken.extend((50_000..50_004).map(vmid));
    let decision = numbers.decide();
    assert_eq!((made(&decision).len(), reasons(&decision)), (0, vec!["NoNumber"]));
}

/// A clone carries our marker from the first; what carries none yet may be one of ours all the same, and counts.
#[test]
fn what_is_being_made_counts() {
    let mut one = pool(&[("size", json!({"max": 1}))]).assigned(1, 0);
    one.making.insert(vmid(50_000));
    one.taken.insert(vmid(50_000));
    assert_eq!(made(&one.decide()), [""; 0]);
}

/// What cannot be read may be at work; it is not on its way.
#[test]
fn what_cannot_be_read_counts() {
    let there = |assigned: u32| {
        let mut one = pool(&[("size", json!({"max": 2, "maxStarting": 1}))]).assigned(assigned, 0);
        one.unread.insert(vmid(50_000));
        one.taken.insert(vmid(50_000));
        one
    };
    assert_eq!(made(&there(1).decide()), [""; 0]);
    assert_eq!(made(&there(3).decide()), ["50001@pve1"]);
    assert_eq!(made(&there(3).with(busy(50_001)).decide()), [""; 0]);
}

/// A clone that was cut off takes room until a person has looked at it, and does no job.
#[test]
fn what_was_cut_off_takes_room_alone() {
    let there = |max: u32| {
        let mut one = pool(&[("size", json!({"max": max, "maxStarting": 1}))]).assigned(1, 0);
        one.taken.insert(vmid(50_000));
        one.cut_off = 1;
        one.decide()
    };
    assert_eq!(made(&there(2)), ["50001@pve1"]);
    assert_eq!((made(&there(1)), reasons(&there(1))), (vec![], vec!["AtMaximum"]));
}

#[test]
fn idle_ones_that_are_too_many_go_oldest_first_when_they_are_old_enough() {
    let three = || {
        pool(&[("size", json!({"minIdle": 1, "max": 4}))])
            .with(idle(50_000, 100))
            .with(idle(50_001, 300))
            .with(idle(50_002, 59))
    };
    let pool = three();
    assert_eq!(leaving(&pool, &pool.decide()), [50_000, 50_001]);
    // A job is on its way to one of them.
    let pool = three().assigned(1, 0);
    assert_eq!(leaving(&pool, &pool.decide()), [50_001]);
    let mut pool = three();
    pool.demand = Err("502".into());
    let decision = pool.decide();
    assert_eq!((leaving(&pool, &decision), reasons(&decision)), (vec![], vec!["GitHubUnreadable"]));
}

/// What cannot be seen idle may have a job.
#[test]
fn what_cannot_be_seen_idle_is_not_one_too_many() {
    let change: [fn(&mut Machine); 5] = [
        |m| (m.marks.proof, m.runner) = ("ffff0000".into(), None),
        |m| m.marks.proof = "ffff0000".into(),
        |m| m.lock = Some("backup".into()),
        |m| m.power = Power::Unknown,
        |m| m.runner.iter_mut().for_each(|runner| runner.busy = true),
    ];
    for (at, change) in change.into_iter().enumerate() {
        let mut one = idle(50_000, 3600);
        change(&mut one);
        let pool = pool(&[]).with(one);
        assert_eq!(leaving(&pool, &pool.decide()), [0u32; 0], "situation {at}");
    }
}

/// One of another place takes room, and no job of ours.
#[test]
fn one_of_another_place_counts_for_the_maximum_alone() {
    let there = |max: u32| {
        let mut one = idle(50_000, 3600);
        (one.marks.proof, one.runner) = ("ffff0000".into(), None);
        pool(&[("size", json!({"max": max}))]).assigned(1, 0).with(one)
    };
    let decision = there(2).decide();
    assert_eq!((decision.target, made(&decision)), (1, vec!["50001@pve1".to_owned()]));
    let decision = there(1).decide();
    assert_eq!((made(&decision), reasons(&decision)), (vec![], vec!["AtMaximum"]));
}

#[test]
fn young_ones_that_are_too_many_are_looked_at_when_they_are_old_enough() {
    let pool = pool(&[("size", json!({"max": 4}))]).with(idle(50_000, 50));
    let decision = pool.decide();
    assert_eq!(leaving(&pool, &decision), [0u32; 0]);
    assert_eq!(decision.next, Some(NOW + 10));
}

#[test]
fn idle_ones_of_an_older_template_are_replaced_one_by_one() {
    let mut old = idle(50_000, 300);
    let mut older = idle(50_001, 400);
    (old.marks.template, older.marks.template) = (VmId::new(8000), VmId::new(8000));
    let size = ("size", json!({"minIdle": 2, "max": 4}));
    let two = pool(std::slice::from_ref(&size)).with(old.clone()).with(older.clone());
    assert_eq!(leaving(&two, &two.decide()), [50_001]);
    // Its successor comes first.
    let later = pool(std::slice::from_ref(&size)).with(old.clone());
    let decision = later.decide();
    assert_eq!((leaving(&later, &decision), made(&decision)), (vec![], vec!["50001@pve1".to_owned()]));
    let starting = pool(&[size]).with(old).with(booting(50_001));
    assert_eq!(leaving(&starting, &starting.decide()), [0u32; 0]);
}

/// What was registered with other labels gets jobs that are not the pool's, and not those that are.
#[test]
fn idle_ones_of_other_labels_are_replaced() {
    for (demand, labels, leaves) in [
        ("Polling", vec!["self-hosted", "X64"], vec![]),
        ("Polling", vec!["self-hosted"], vec![50_000]),
        ("Polling", vec![], vec![]),
        ("ScaleSet", vec!["ci"], vec![]),
    ] {
        let mut one = idle(50_000, 300);
        one.runner.as_mut().expect("it has one").labels = labels.iter().map(|&label| label.to_owned()).collect();
        let pool = pool(&[("size", json!({"minIdle": 1, "max": 4})), ("demand", json!(demand))]).with(one);
        assert_eq!(leaving(&pool, &pool.decide()), leaves, "{demand} {labels:?}");
    }
}

#[test]
fn failures_in_a_row_make_the_pool_wait_longer_and_longer() {
    for (tries, ago, makes) in [
        (0, 1, true),
        (1, 4, false),
        (1, 5, true),
        (2, 9, false),
        (2, 10, true),
        (3, 20, true),
        (4, 1799, false),
        (4, 1800, true),
        (9, 1799, false),
    ] {
        let pool = pool(&[("size", json!({"max": 4, "maxStarting": 2}))]).assigned(3, 0).with(failed(
            50_000,
            Cause::NeverOnline,
            ago,
            tries,
        ));
        let decision = pool.decide();
        assert_eq!(decision.new.len(), usize::from(makes), "{tries} before it, {ago} s ago");
        assert!(decision.new.iter().all(|new| new.marks.tries == tries + 1));
        assert_eq!(leaving(&pool, &decision), [0u32; 0], "the next is not there yet, and nobody else knows");
        if !makes {
            let reason = if tries + 1 >= FAILURES_MAX { "BreakerOpen" } else { "Backoff" };
            assert_eq!(reasons(&decision), [reason]);
            assert!(decision.next.is_some_and(|next| next <= NOW + 1800 - ago.min(1799)));
        }
    }
}

/// The look that finds a failure knows of it already.
#[test]
fn one_that_fails_now_counts_now() {
    let mut fails = booting(50_000);
    (fails.marks.started, fails.marks.tries) = (Some(NOW - 400), 4);
    let decision = pool(&[]).assigned(1, 0).with(fails).decide();
    assert_eq!((made(&decision), reasons(&decision)), (vec![], vec!["BreakerOpen"]));
}

#[test]
fn the_next_try_counts_on_and_what_failed_goes() {
    let mut next = booting(50_001);
    (next.marks.tries, next.marks.made) = (3, NOW - 30);
    let pool = pool(&[("size", json!({"max": 4, "maxStarting": 4}))])
        .assigned(4, 0)
        .with(failed(50_000, Cause::NoAgent, 60, 2))
        .with(next.clone());
    let decision = pool.decide();
    assert_eq!(leaving(&pool, &decision), [50_000]);
    assert_eq!(made(&decision), [""; 0], "one try at a time");
    // Without the one that failed it is known as well.
    let alone = self::pool(&[("size", json!({"max": 4, "maxStarting": 4}))]).assigned(4, 0).with(next);
    assert_eq!(made(&alone.decide()), [""; 0]);
}

#[test]
fn one_that_does_better_ends_it() {
    let keeps = |keep: u32| {
        let change = [("size", json!({"max": 4, "maxStarting": 2})), ("onFailure", json!({"keep": keep}))];
        pool(&change).assigned(4, 1).with(failed(50_000, Cause::NoAgent, 60, 4)).with(idle(50_001, 20))
    };
    let pool = keeps(0);
    let decision = pool.decide();
    assert_eq!((leaving(&pool, &decision), decision.new.len()), (vec![50_000], 2));
    let pool = keeps(1);
    let decision = pool.decide();
    assert!(
        matches!(&decision.verdicts[0].act, Some(Act::Mark(marks)) if marks.forgiven),
        "it does not count any more"
    );
    assert_eq!(decision.new.len(), 2);
}

#[test]
fn the_newest_that_failed_are_kept_for_a_look() {
    let pool = pool(&[("onFailure", json!({"keep": 2}))])
        .with(failed(50_000, Cause::JobOverTime, 900, 0))
        .with(failed(50_001, Cause::RunnerLost, 800, 0))
        .with(failed(50_002, Cause::RunnerGone, 700, 0));
    let decision = pool.decide();
    assert_eq!(leaving(&pool, &decision), [50_000]);
    let mut going = pool;
    going.going = true;
    assert_eq!(leaving(&going, &going.decide()), [50_000, 50_001, 50_002]);
}

#[test]
fn nothing_is_kept_that_nobody_needs() {
    let pool = pool(&[]).with(failed(50_000, Cause::NeverOnline, 60, 1));
    assert_eq!(leaving(&pool, &pool.decide()), [50_000], "no machine is wanted, and its time is over");
    let pool = self::pool(&[]).with(failed(50_000, Cause::NeverOnline, 60, 6));
    assert_eq!(leaving(&pool, &pool.decide()), [0u32; 0], "the breaker is open still");
}

#[test]
fn a_runner_that_is_too_old_stops_the_pool_until_its_template_is_new() {
    let mut pool = pool(&[]).assigned(2, 0).with(failed(50_000, Cause::VersionTooOld, 7200, 0));
    let decision = pool.decide();
    assert_eq!((made(&decision), reasons(&decision)), (vec![], vec!["VersionTooOld"]));
    assert!(decision.conditions[0].warns);
    assert_eq!(leaving(&pool, &decision), [0u32; 0]);
    pool.template = Ok(Template { vmid: vmid(9001), version: Some("2".into()), memory: 4 << 30 });
    assert_eq!(pool.decide().new.len(), 1);
}

/// Failures of jobs say nothing of the template.
#[test]
fn failures_of_jobs_hold_nothing_back() {
    let pool = pool(&[]).assigned(2, 0).with(failed(50_000, Cause::JobOverTime, 1, 3));
    assert_eq!(pool.decide().new.len(), 2);
}

#[test]
fn what_failed_and_still_runs_takes_room() {
    let mut runs = failed(50_000, Cause::NeverOnline, 60, 0);
    runs.power = Power::Running;
    let pool = pool(&[("size", json!({"max": 1}))]).assigned(1, 0).with(runs);
    let decision = pool.decide();
    assert_eq!((decision.new.len(), reasons(&decision)), (0, vec!["AtMaximum"]));
}

#[test]
fn a_job_that_waits_long_is_explained_and_gets_one_runner_more() {
    let long = |pool: Pool, jobs: Vec<Job>| {
        let demand =
            Demand { assigned: 1, running: 0, at: NOW, waiting_since: Some(NOW - 300), jobs, ..Demand::default() };
        Pool { demand: Ok(demand), ..pool }
    };
    let says = |pool: &Pool, words: &str| {
        let decision = pool.decide();
        let told = decision.conditions.iter().find(|condition| condition.reason == "JobsWait");
        assert!(told.is_some_and(|c| c.warns && c.message.contains(words)), "{words}: {:?}", decision.conditions);
        decision
    };
    let decision = says(&long(pool(&[]).with(idle(50_000, 100)), vec![]), "runner group");
    assert_eq!((decision.target, made(&decision)), (2, vec!["50001@pve1".to_owned()]));
    says(&long(pool(&[]), vec![]), "on their way");
    says(&long(pool(&[("size", json!({"max": 1}))]).with(busy(50_000)), vec![]), "size.max");
    let job = Job { name: "CI / build".into(), labels: vec!["X64".into(), "gpu".into()], ..Job::default() };
    says(&long(pool(&[]), vec![job]), "asks for the label `gpu`");
    let job = Job { name: "CI / build".into(), labels: vec!["CI".into()], ..Job::default() };
    says(&long(pool(&[]), vec![job]), "on their way");
    let mut unfit = long(pool(&[]), vec![]);
    unfit.template = Err("the template 9000: it fails the rule `agent-on`".into());
    says(&unfit, "fails the rule");
    says(&long(pool(&[]).with(failed(50_000, Cause::NoAgent, 10, 5)), vec![]), "failed in a row");
    let mut drained = long(pool(&[]), vec![]);
    drained.drained = true;
    assert_eq!(says(&drained, "drained").new.len(), 0);
}

#[test]
fn registrations_without_a_machine_go_where_they_are_provably_ours() {
    let mut pool = pool(&[]);
    let name = |number: u64, proof: &str, ago: i64| name::name("ci", vmid(number), proof, NOW - ago);
    let list = [
        (name(50_001, "ab12cd34", 3600), false, false),
        (name(50_002, "ab12cd34", 3600), true, false),
        (name(50_003, "ab12cd34", 3600), false, true),
        (name(50_004, "ffff0000", 3600), false, false),
        (name(50_005, "ab12cd34", 60), false, false),
        (name(50_006, "ab12cd34", 3600), false, false),
        ("ci-by-hand".to_owned(), false, false),
    ];
    pool.runners = Ok(list.iter().map(|(name, online, busy)| runner(name, *online, *busy)).collect());
    // A guest of that number that cannot be proven to be ours, or not to be.
    pool.taken.insert(vmid(50_006));
    let decision = pool.decide();
    let orphans: Vec<&str> = decision.orphans.iter().map(|runner| runner.name.as_str()).collect();
    assert_eq!(orphans, [list[0].0.as_str()]);
    let strangers: Vec<&str> = decision.strangers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(strangers, [list[1].0.as_str(), &list[2].0, &list[3].0, &list[5].0]);
}

#[test]
fn without_github_a_pool_is_left_as_it_is() {
    let mut pool = pool(&[("size", json!({"minIdle": 3, "max": 4}))]).with(idle(50_000, 100)).with(busy(50_001));
    pool.runners = Err("GitHub: 503".into());
    let decision = pool.decide();
    assert!(decision.new.is_empty() && decision.orphans.is_empty());
    assert!(decision.verdicts.iter().all(|verdict| verdict.act.is_none()));
    assert_eq!(reasons(&decision), ["GitHubUnreadable"]);
}

#[test]
fn a_pool_that_goes_takes_away_what_has_no_job() {
    let mut pool = pool(&[("size", json!({"minIdle": 3, "max": 4}))])
        .assigned(3, 1)
        .with(idle(50_000, 100))
        .with(busy(50_001))
        .with(booting(50_002));
    pool.going = true;
    let decision = pool.decide();
    assert_eq!((leaving(&pool, &decision), decision.new.len()), (vec![50_000, 50_002], 0));
}
