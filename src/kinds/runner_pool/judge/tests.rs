//! A table of situations: what stands on a machine, what is seen of it, and what comes of it.

use super::*;
use crate::base::id::{GuestType, VmId};
use crate::host::runner::RunnerState;
use crate::kinds::runner_pool::marks::{Failure, Marks};
use serde_json::{Value, json};

/// The present moment of all situations; the machine was made a quarter of an hour ago.
const NOW: i64 = 1_795_315_200;

pub(in crate::kinds::runner_pool) fn spec(change: &[(&str, Value)]) -> RunnerPoolSpec {
    let mut spec = json!({
        "github": {"scope": {"organization": "acme"}, "auth": {"token": {"env": "GITHUB_TOKEN"}}},
        "labels": ["self-hosted", "x64"], "template": "debian", "size": {"max": 4},
        "vmidRange": "50000-50099", "bootstrap": {},
    });
    for (path, value) in change {
        let (parents, last) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = parents.split('/').filter(|p| !p.is_empty()).fold(&mut spec, |at, key| &mut at[key]);
        parent[last] = value.clone();
    }
    serde_json::from_value(spec).expect("is a spec")
}

pub(in crate::kinds::runner_pool) fn machine(vmid: u64) -> Machine {
    Machine {
        guest: GuestType::Qemu,
        vmid: VmId::new(vmid).expect("a number"),
        node: "pve1".into(),
        name: format!("ci-{vmid}-ab12cd34000000"),
        power: Power::Stopped,
        lock: None,
        working: false,
        memory: 4 << 30,
        version: None,
        marks: Marks { made: NOW - 900, proof: "ab12cd34".into(), template: VmId::new(9000), ..Marks::default() },
        inside: Inside::Off,
        runner: None,
    }
}

pub(in crate::kinds::runner_pool) fn runner(name: &str, online: bool, busy: bool) -> Runner {
    Runner { id: 7, name: name.to_owned(), online, busy, ..Runner::default() }
}

fn state(phase: Phase, exit: Option<i32>, why: Option<&str>) -> Inside {
    Inside::Read(RunnerState { phase, exit, why: why.map(str::to_owned), ..RunnerState::default() })
}

fn running(m: &mut Machine, marks: &[(&str, i64)], inside: Inside) {
    m.power = Power::Running;
    m.inside = inside;
    for (mark, ago) in marks {
        let at = Some(NOW - ago);
        match *mark {
            "started" => m.marks.started = at,
            "registering" => m.marks.registering = at,
            "online" => m.marks.online = at,
            "busy" => m.marks.busy = at,
            "ended" => m.marks.ended = at,
            other => panic!("no such mark: {other}"),
        }
    }
}

fn listed(m: &mut Machine, online: bool, busy: bool) {
    m.runner = Some(runner(&m.name, online, busy));
}

/// The stage and the act in a few words.
fn shown(verdict: &Verdict) -> String {
    let act = match &verdict.act {
        None => "-".to_owned(),
        Some(Act::Configure) => "configure".to_owned(),
        Some(Act::Start) => "start".to_owned(),
        Some(Act::Begin { stale: None }) => "begin".to_owned(),
        Some(Act::Begin { stale: Some(id) }) => format!("begin again without {id}"),
        Some(Act::Mark(marks)) => {
            let at = |name: &str, at: Option<i64>| (at == Some(NOW)).then(|| name.to_owned());
            let all = [at("online", marks.online), at("busy", marks.busy), at("ended", marks.ended)];
            format!("mark {}", all.into_iter().flatten().collect::<Vec<_>>().join("+"))
        }
        Some(Act::Leave { runner, .. }) => format!("leave{}", if runner.is_some() { " with registration" } else { "" }),
        Some(Act::Fail { marks, runner, lock }) => {
            let cause = marks.failed.as_ref().map_or("?", |f| f.cause.as_str());
            let lock = if lock.is_some() { " locked" } else { "" };
            format!("fail {cause}{}{lock}", if runner.is_some() { " with registration" } else { "" })
        }
        Some(Act::Still { runner }) => format!("still{}", if runner.is_some() { " with registration" } else { "" }),
    };
    format!("{} {act}{}", verdict.stage.as_str(), if verdict.warns { " !" } else { "" })
}

struct Case {
    what: &'static str,
    set: fn(&mut Machine),
    comes: &'static str,
}

const fn case(what: &'static str, set: fn(&mut Machine), comes: &'static str) -> Case {
    Case { what, set, comes }
}

const STARTED: [(&str, i64); 1] = [("started", 100)];
const BEGUN: [(&str, i64); 2] = [("started", 100), ("registering", 40)];
const LONG_BEGUN: [(&str, i64); 2] = [("started", 500), ("registering", 400)];
const ONLINE: [(&str, i64); 3] = [("started", 300), ("registering", 240), ("online", 200)];
const WORKING: [(&str, i64); 4] = [("started", 300), ("registering", 240), ("online", 200), ("busy", 150)];

const CASES: &[Case] = &[
    case("its node is away", |m| m.power = Power::Unknown, "cloned -"),
    case("being cloned", |m| (m.lock, m.working, m.marks.made) = (Some("clone".into()), true, NOW - 9), "cloning -"),
    case("its clone takes long", |m| (m.lock, m.working) = (Some("clone".into()), true), "cloning - !"),
    case("its clone was cut off", |m| m.lock = Some("clone".into()), "failed fail CloneTimeout locked !"),
    case("a backup holds it", |m| m.lock = Some("backup".into()), "cloned -"),
    case("a lock is left", |m| (m.lock, m.marks.made) = (Some("backup".into()), NOW - 3600), "cloned - !"),
    case(
        "a long backup",
        |m| (m.lock, m.working, m.marks.made) = (Some("backup".into()), true, NOW - 3600),
        "cloned -",
    ),
    case(
        "its template was once a runner",
        |m| {
            running(m, &STARTED, state(Phase::Ended, Some(0), None));
            if let Inside::Read(state) = &mut m.inside {
                state.name = "ci-50009-ab12cd34000000".into();
            }
        },
        "failed fail PrepareFailed !",
    ),
    case("cloned", |_| {}, "cloned configure"),
    case("just started", |m| m.marks.started = Some(NOW - 5), "booting -"),
    case("started, and off", |m| m.marks.started = Some(NOW - 60), "booting start"),
    case("does not stay on", |m| m.marks.started = Some(NOW - 300), "failed fail StartFailed !"),
    case("started by hand", |m| running(m, &[], Inside::Silent("no".into())), "leaving leave"),
    case("starts", |m| running(m, &STARTED, Inside::Silent("no agent".into())), "booting -"),
    case("just seen to run", |m| running(m, &STARTED, Inside::Unread), "booting -"),
    case("no right to look", |m| running(m, &STARTED, Inside::Shut("no right".into())), "booting - !"),
    case(
        "silent for too long",
        |m| running(m, &[("started", 300)], Inside::Silent("no".into())),
        "failed fail NoAgent !",
    ),
    case("no address yet", |m| running(m, &STARTED, Inside::NoAddress("none".into())), "booting -"),
    case(
        "no address",
        |m| running(m, &[("started", 120)], Inside::NoAddress("none".into())),
        "failed fail NoAddress !",
    ),
    case("has an address", |m| running(m, &STARTED, Inside::At([10, 0, 0, 5].into())), "ready begin"),
    case(
        "sshd says no",
        |m| running(m, &[("started", 300)], Inside::At([10, 0, 0, 5].into())),
        "failed fail SshRefused !",
    ),
    case("answers", |m| running(m, &STARTED, state(Phase::None, None, None)), "ready begin"),
    case("answers late", |m| running(m, &[("started", 800)], state(Phase::None, None, None)), "ready begin"),
    case("begun", |m| running(m, &BEGUN, state(Phase::Preparing, None, None)), "connecting -"),
    case(
        "registered, being prepared",
        |m| {
            running(m, &BEGUN, state(Phase::Preparing, None, None));
            listed(m, false, false);
        },
        "connecting -",
    ),
    case(
        "registered, and nothing was begun",
        |m| {
            running(m, &BEGUN, state(Phase::None, None, None));
            listed(m, false, false);
        },
        "ready begin again without 7",
    ),
    case(
        "the same for long",
        |m| {
            running(m, &LONG_BEGUN, state(Phase::None, None, None));
            listed(m, false, false);
        },
        "failed fail StartFailed with registration !",
    ),
    case(
        "never online",
        |m| {
            running(m, &LONG_BEGUN, state(Phase::Running, None, None));
            listed(m, false, false);
        },
        "failed fail NeverOnline with registration !",
    ),
    case(
        "its hook fails",
        |m| {
            running(m, &BEGUN, state(Phase::Ended, Some(3), Some("the hook ended with 3")));
            listed(m, false, false);
        },
        "failed fail PrepareFailed with registration !",
    ),
    case(
        "its runner fails",
        |m| {
            running(m, &BEGUN, state(Phase::Ended, Some(1), None));
            listed(m, false, false);
        },
        "failed fail RunnerFailed with registration !",
    ),
    case(
        "its runner is too old",
        |m| running(m, &BEGUN, state(Phase::Ended, Some(7), None)),
        "failed fail VersionTooOld !",
    ),
    case(
        "marked, and cut off before anything was registered",
        |m| running(m, &LONG_BEGUN, state(Phase::None, None, None)),
        "ended mark ended",
    ),
    case(
        "the same a minute later",
        |m| running(m, &[("started", 500), ("registering", 400), ("ended", 60)], state(Phase::None, None, None)),
        "leaving leave",
    ),
    case(
        "online",
        |m| {
            running(m, &BEGUN, state(Phase::Running, None, None));
            listed(m, true, false);
        },
        "idle mark online",
    ),
    case(
        "online, and its mark was lost",
        |m| {
            running(m, &STARTED, state(Phase::Running, None, None));
            listed(m, true, false);
        },
        "idle mark online",
    ),
    case(
        "idle",
        |m| {
            running(m, &ONLINE, state(Phase::Running, None, None));
            listed(m, true, false);
        },
        "idle -",
    ),
    case(
        "idle for a day",
        |m| {
            running(m, &[("started", 90_000), ("registering", 90_000), ("online", 86_400)], Inside::Unread);
            m.marks.made = NOW - 90_000;
            listed(m, true, false);
        },
        "leaving leave with registration",
    ),
    case(
        "its life is over",
        |m| {
            running(m, &ONLINE, Inside::Unread);
            m.marks.made = NOW - 36 * 3600;
            listed(m, true, false);
        },
        "leaving leave with registration",
    ),
    case(
        "has a job at once",
        |m| {
            running(m, &BEGUN, state(Phase::Running, None, None));
            listed(m, true, true);
        },
        "busy mark online+busy",
    ),
    case(
        "gets a job",
        |m| {
            running(m, &ONLINE, state(Phase::Running, None, None));
            listed(m, true, true);
        },
        "busy mark busy",
    ),
    case(
        "works",
        |m| {
            running(m, &WORKING, state(Phase::Running, None, None));
            listed(m, true, true);
        },
        "busy -",
    ),
    case(
        "works beyond its life",
        |m| {
            running(m, &WORKING, Inside::Silent("busy".into()));
            m.marks.made = NOW - 40 * 3600;
            listed(m, true, true);
        },
        "busy -",
    ),
    case(
        "works too long",
        |m| {
            running(
                m,
                &[("started", 30_000), ("registering", 30_000), ("online", 30_000), ("busy", 21_600)],
                Inside::Unread,
            );
            listed(m, true, true);
        },
        "failed fail JobOverTime !",
    ),
    case(
        "is offline in a job",
        |m| {
            running(m, &WORKING, Inside::Silent("no".into()));
            listed(m, false, true);
        },
        "busy -",
    ),
    case("its job is done", |m| running(m, &WORKING, state(Phase::Running, None, None)), "ended mark ended"),
    case(
        "its job is done, and its runner has ended",
        |m| running(m, &WORKING, state(Phase::Ended, Some(0), None)),
        "leaving leave",
    ),
    case(
        "the same, and its runner says no",
        |m| running(m, &WORKING, state(Phase::Ended, Some(1), None)),
        "leaving leave",
    ),
    case(
        "its job is done, and it goes on",
        |m| {
            running(m, &WORKING, state(Phase::Running, None, None));
            m.marks.ended = Some(NOW - 60);
        },
        "failed fail RunnerGone !",
    ),
    case(
        "its job is done, and it is silent",
        |m| {
            running(m, &WORKING, Inside::Silent("no".into()));
            m.marks.ended = Some(NOW - 60);
        },
        "leaving leave",
    ),
    case(
        "went offline",
        |m| {
            running(m, &ONLINE, state(Phase::Running, None, None));
            listed(m, false, false);
        },
        "ended mark ended",
    ),
    case(
        "is offline for a minute",
        |m| {
            running(m, &ONLINE, state(Phase::Running, None, None));
            m.marks.ended = Some(NOW - 60);
            listed(m, false, false);
        },
        "ended -",
    ),
    case(
        "came back",
        |m| {
            running(m, &ONLINE, state(Phase::Running, None, None));
            m.marks.ended = Some(NOW - 60);
            listed(m, true, false);
        },
        "idle mark online",
    ),
    case(
        "came back to a job",
        |m| {
            running(m, &WORKING, state(Phase::Running, None, None));
            m.marks.ended = Some(NOW - 60);
            listed(m, true, true);
        },
        "busy mark ",
    ),
    case(
        "did not come back",
        |m| {
            running(m, &ONLINE, state(Phase::Running, None, None));
            m.marks.ended = Some(NOW - 600);
            listed(m, false, false);
        },
        "failed fail RunnerLost with registration !",
    ),
    case("off after its job", |m| m.marks.registering = Some(NOW - 300), "leaving leave"),
    case(
        "off, and still listed",
        |m| {
            m.marks.registering = Some(NOW - 300);
            listed(m, false, false);
        },
        "leaving leave with registration",
    ),
    case(
        "off in the middle of a job",
        |m| {
            m.marks.registering = Some(NOW - 300);
            listed(m, true, true);
        },
        "ended mark ended",
    ),
    case(
        "the same later",
        |m| {
            (m.marks.registering, m.marks.ended) = (Some(NOW - 300), Some(NOW - 30));
            listed(m, true, true);
        },
        "ended -",
    ),
    case(
        "the same much later",
        |m| {
            (m.marks.registering, m.marks.ended) = (Some(NOW - 900), Some(NOW - 600));
            listed(m, true, true);
        },
        "leaving leave with registration",
    ),
    case("of another place, off", |m| m.marks.proof = "ffff0000".into(), "leaving leave"),
    case(
        "of another place, at work perhaps",
        |m| {
            m.marks.proof = "ffff0000".into();
            running(m, &WORKING, state(Phase::Running, None, None));
        },
        "busy - !",
    ),
    case(
        "of another place, at work perhaps, for longer than it may live",
        |m| {
            (m.marks.proof, m.marks.made) = ("ffff0000".into(), NOW - 40 * 3600);
            running(m, &WORKING, Inside::Silent("no".into()));
        },
        "busy - !",
    ),
    case(
        "of another place, and its runner has ended",
        |m| {
            m.marks.proof = "ffff0000".into();
            running(m, &WORKING, state(Phase::Ended, Some(0), None));
        },
        "leaving leave",
    ),
    case(
        "of another name of the cluster, at work",
        |m| {
            m.marks.proof = "ffff0000".into();
            running(m, &WORKING, Inside::Unread);
            listed(m, true, true);
        },
        "busy -",
    ),
    case(
        "of another place, not begun",
        |m| {
            m.marks.proof = "ffff0000".into();
            running(m, &STARTED, Inside::Unread);
        },
        "leaving leave",
    ),
    case("drained by hand, not begun", |m| m.marks.drained = true, "leaving leave"),
    case(
        "drained by hand, idle",
        |m| {
            m.marks.drained = true;
            running(m, &ONLINE, Inside::Unread);
            listed(m, true, false);
        },
        "leaving leave with registration",
    ),
    case(
        "drained by hand, at work",
        |m| {
            m.marks.drained = true;
            running(m, &WORKING, Inside::Unread);
            listed(m, true, true);
        },
        "busy -",
    ),
    case("failed, and runs", |m| failed(m, Power::Running, None), "failed still"),
    case(
        "failed, and started by a person",
        |m| {
            failed(m, Power::Running, None);
            m.marks.failed.as_mut().expect("it failed").at = NOW - 301;
        },
        "kept -",
    ),
    case("failed, and listed", |m| failed(m, Power::Stopped, Some((false, false))), "failed still with registration"),
    case("failed at work, and runs", |m| failed(m, Power::Running, Some((true, true))), "failed still"),
    case("failed at work, just stopped", |m| failed(m, Power::Stopped, Some((true, true))), "failed -"),
    case("failed at work", |m| failed(m, Power::Stopped, Some((false, true))), "failed still with registration"),
    case("failed, and put away", |m| failed(m, Power::Stopped, None), "kept -"),
];

fn failed(m: &mut Machine, power: Power, at_github: Option<(bool, bool)>) {
    m.marks.registering = Some(NOW - 500);
    m.marks.failed = Some(Failure { cause: Cause::NeverOnline, at: NOW - 100, why: String::new() });
    m.power = power;
    if let Some((online, busy)) = at_github {
        listed(m, online, busy);
    }
}

fn scene<'a>(spec: &'a RunnerPoolSpec, unreadable: Option<&'a str>) -> Scene<'a> {
    Scene { spec, now: NOW, unreadable, proof: "ab12cd34", held: None, drained: false }
}

#[test]
fn every_situation() {
    let spec = spec(&[]);
    let mut wrong = Vec::new();
    for Case { what, set, comes } in CASES {
        let mut m = machine(50_000);
        set(&mut m);
        let verdict = scene(&spec, None).judge(&m);
        let shown = shown(&verdict);
        if shown != *comes {
            wrong.push(format!("{what}: {shown}, and not {comes}"));
        }
        assert!(verdict.next.is_none_or(|next| next > NOW), "{what}: looks again in the past");
        let idle_hands = verdict.act.is_none() && verdict.stage != Stage::Kept;
        assert!(!idle_hands || verdict.next.is_some(), "{what}: nobody would ever look again");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// While GitHub's list cannot be read, nothing of it is concluded: no registered machine is touched.
#[test]
fn without_github_nothing_goes_and_nothing_is_begun() {
    let spec = spec(&[]);
    for Case { what, set, .. } in CASES {
        let mut m = machine(50_000);
        set(&mut m);
        m.runner = None;
        let proven = m.marks.proof == "ab12cd34";
        let verdict = scene(&spec, Some("GitHub cannot be read")).judge(&m);
        let harmless = match verdict.act {
            None | Some(Act::Configure | Act::Start) => true,
            Some(Act::Mark(_) | Act::Begin { .. }) => false,
            // What was never registered can fail and go without GitHub.
            Some(Act::Fail { .. } | Act::Leave { .. } | Act::Still { .. }) => m.marks.registering.is_none() || !proven,
        };
        assert!(harmless, "{what}: {}", shown(&verdict));
    }
}

/// A drained pool begins nothing, and leaves what has a job.
#[test]
fn a_drained_pool_begins_nothing() {
    let spec = spec(&[]);
    for Case { what, set, .. } in CASES {
        let mut m = machine(50_000);
        set(&mut m);
        let verdict = Scene { drained: true, ..scene(&spec, None) }.judge(&m);
        assert!(
            !matches!(verdict.act, Some(Act::Configure | Act::Start | Act::Begin { stale: None })),
            "{what}: {}",
            shown(&verdict)
        );
        let works = m.runner.as_ref().is_some_and(|runner| runner.busy && runner.online) && m.power == Power::Running;
        assert!(!works || !matches!(verdict.act, Some(Act::Leave { .. })), "{what}: {}", shown(&verdict));
    }
}

#[test]
fn a_scale_set_that_is_not_there_holds_runners_back() {
    let spec = spec(&[]);
    let mut m = machine(50_000);
    running(&mut m, &STARTED, state(Phase::None, None, None));
    let verdict = Scene { held: Some("its scale set comes first"), ..scene(&spec, None) }.judge(&m);
    assert_eq!(shown(&verdict), "ready -");
}

#[test]
fn with_a_token_the_guest_registers_its_runner() {
    let spec = spec(&[("demand", json!("Idle")), ("bootstrap/registration", json!("Token"))]);
    let mut m = machine(50_000);
    running(&mut m, &[("started", 200), ("registering", 150)], state(Phase::Preparing, None, None));
    assert_eq!(shown(&scene(&spec, None).judge(&m)), "connecting -");
    running(&mut m, &[("started", 300), ("registering", 180)], state(Phase::Preparing, None, None));
    assert_eq!(shown(&scene(&spec, None).judge(&m)), "failed fail NeverOnline !");
}

#[test]
fn a_hook_after_the_runner_has_its_time() {
    let spec = spec(&[("bootstrap/after", json!("upload-logs"))]);
    let mut m = machine(50_000);
    running(&mut m, &WORKING, state(Phase::Running, None, None));
    m.marks.ended = Some(NOW - 600);
    assert_eq!(shown(&scene(&spec, None).judge(&m)), "ended -");
    m.marks.ended = Some(NOW - 960);
    assert_eq!(shown(&scene(&spec, None).judge(&m)), "failed fail RunnerGone !");
}
