//! Schedules, retention and their play against others: systemd's own calendar, the simulator's own prune, and what people see.

use crate::apidoc::say;
use crate::cli::Scene;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pvectl::retention::judge::{Item, Keep, judge};
use pvectl::schedule::slots::Schedule;
use pvectl::sim::request::{Auth, WireRequest};
use pvectl::sim::world::Volume;
use pvectl::sim::{Sim, baseline::Baseline};
use serde_json::Value;
use std::process::{Command, Stdio};

// ---- systemd ---------------------------------------------------------------------------------------------------------

/// What systemd says of an expression: its slots after a time, in UTC. `None` where systemd is not there.
fn systemd(expression: &str, after: &str, count: usize) -> Option<Vec<i64>> {
    let mut command = Command::new("systemd-analyze");
    command.args(["calendar", &format!("--iterations={count}"), &format!("--base-time={after}"), expression]);
    let output = match command.env("TZ", "UTC").env("LC_ALL", "C").stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => {
            let required = std::env::var_os("PVECTL_TEST_REQUIRE_ALL").is_some_and(|v| v == "1");
            assert!(!required, "PVECTL_TEST_REQUIRE_ALL=1, but systemd-analyze is not to be had: {error}");
            say("skipped: no systemd-analyze");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "systemd refuses `{expression}`: {}", String::from_utf8_lossy(&output.stderr));
    // `Next elapse: Mon 2026-11-23 22:30:00 UTC`, and the others as `Iter. #2: …`.
    let times = text
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .filter(|(what, _)| *what == "Next elapse" || what.starts_with("Iter"));
    let slot = |(_, time): (&str, &str)| {
        let time = time.trim().trim_end_matches(" UTC");
        let time = jiff::civil::DateTime::strptime("%a %Y-%m-%d %H:%M:%S", time).ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
    };
    Some(times.filter_map(slot).collect())
}

#[test]
fn systemd_reads_calendar_events_as_we_do() {
    const AFTER: &str = "2026-11-21 10:20:30 UTC";
    const COUNT: usize = 12;
    let after = Timestamp::from_second(1_795_256_430).expect("a time");
    assert_eq!(after.to_string(), "2026-11-21T10:20:30Z");
    let expressions = [
        "minutely",
        "hourly",
        "daily",
        "weekly",
        "monthly",
        "quarterly",
        "semiannually",
        "yearly",
        "annually",
        "02:00",
        "2:5",
        "22:00:30",
        "*:0/15",
        "*:*",
        "*:*:0/20",
        "0/2:30",
        "8..17:00",
        "8..17/2:15,45",
        "1,13:30",
        "mon",
        "mon..fri 22:30",
        "Sat,Sun 4:00",
        "mon,wed..fri 1:00",
        "Monday 12:00",
        "*-*-01",
        "*-*-01 04:00",
        "12-24 18:00",
        "2026-12-24",
        "*-1,7-1 12:00",
        "*-02-29",
        "*-*-31 03:00",
        "Sat *-*-1..7 15:00",
        "mon *-02-29",
        "2026..2028-06-1..3 00:00",
        "*-*-5/10 06:00",
        "2026/2-01-01",
        "*-3/3-15",
        "tue,thu *-11,12-* 23:59:59",
    ];
    for expression in expressions {
        let Some(wanted) = systemd(expression, AFTER, COUNT) else { return };
        assert!(!wanted.is_empty(), "systemd says nothing of `{expression}`");
        let ours = Schedule::calendar(expression, None).unwrap_or_else(|error| panic!("{error}"));
        // systemd ends with the year 2199.
        let ours: Vec<i64> = ours.slots(after.as_second(), 7_258_118_399).take(COUNT).collect();
        assert_eq!(ours, wanted, "{expression}");
    }
}

// ---- the simulator's prune -------------------------------------------------------------------------------------------

/// The simulator has a prune rule of its own, as PVE has: both say the same of backups.
#[test]
fn the_simulator_prunes_as_we_do() {
    let newest = 1_773_144_000; // 2026-03-10 12:00 UTC
    // Gaps of 1 to 40 hours, the same in every run.
    let times: Vec<i64> = (0..120)
        .scan(newest, |at, n| {
            let taken = *at;
            *at -= (n * 7 % 40 + 1) * 3600;
            Some(taken)
        })
        .collect();
    let name = |n: usize| format!("local:backup/vzdump-qemu-777-{n:03}.vma.zst");
    let sim = Sim::new(Baseline::Homelab);
    sim.with_world(|world| {
        let of = |(n, time): (usize, &i64)| Volume {
            volid: name(n),
            node: Some("pve1".into()),
            size: 1,
            used: 1,
            format: "vma.zst".into(),
            content: "backup".into(),
            vmid: Some(777),
            protected: n % 9 == 4,
            ctime: u64::try_from(*time).expect("after 1970"),
            ..Volume::default()
        };
        world.volumes.extend(times.iter().enumerate().map(of));
    });
    let held = |n: usize| (n % 9 == 4).then(|| "protected".to_owned());
    let items: Vec<Item> =
        times.iter().enumerate().map(|(n, time)| Item { name: name(n), time: *time, held: held(n) }).collect();
    for numbers in
        [[0; 6], [3, 0, 0, 0, 0, 0], [2, 0, 7, 4, 3, 0], [0, 24, 7, 0, 0, 2], [0, 0, 1, 1, 1, 1], [1, 5, 0, 60, 0, 0]]
    {
        let [last, hourly, daily, weekly, monthly, yearly] = numbers.map(Some);
        let keep = Keep { last, hourly, daily, weekly, monthly, yearly, ..Keep::default() };
        let verdicts = judge(&items, &keep, &TimeZone::UTC, newest);
        let ours: Vec<&str> = verdicts.iter().map(|verdict| if verdict.keep { "keep" } else { "remove" }).collect();
        let keys = ["last", "hourly", "daily", "weekly", "monthly", "yearly"].iter().zip(numbers);
        let retention: Vec<String> = keys.map(|(key, number)| format!("keep-{key}={number}")).collect();
        let request = WireRequest {
            method: "GET".into(),
            path: "/nodes/pve1/storage/local/prunebackups".into(),
            params: vec![
                ("vmid".into(), "777".into()),
                ("type".into(), "qemu".into()),
                ("prune-backups".into(), retention.join(",").into()),
            ],
            auth: Auth::Trusted("root@pam".into()),
        };
        let answer = sim.handle(&request);
        let rows =
            answer.body.as_ref().and_then(|body| body["data"].as_array()).unwrap_or_else(|| panic!("{answer:?}"));
        let mark = |n: usize| rows.iter().find(|row| row["volid"] == name(n)).and_then(|row| row["mark"].as_str());
        for (n, ours) in ours.iter().enumerate() {
            let theirs = mark(n).map(|mark| if mark == "protected" { "keep" } else { mark });
            assert_eq!(theirs, Some(*ours), "{} with {numbers:?}", items[n].name);
        }
    }
}

// ---- what people see -------------------------------------------------------------------------------------------------

const POLICIES: &str = r#"
apiVersion: pvectl/v1alpha1
kind: SnapshotPolicy
metadata: {name: nightly}
spec:
  selector: {tags: [prod]}
  schedule: "02:30"
  timeZone: Europe/Berlin
  namePrefix: auto
  retention: {keepLast: 2, keepDaily: 7, keepWeekly: 4, keepMonthly: 3}
---
apiVersion: pvectl/v1alpha1
kind: SnapshotPolicy
metadata: {name: classes}
spec:
  selector: {}
  cron: "0 4 * * *"
  retention: {minKeep: 2, keepWithin: 36h, classes: {daily: 3d, weekly: 14d, monthly: 60d}}
---
apiVersion: pvectl/v1alpha1
kind: SnapshotPolicy
metadata: {name: everything}
spec: {selector: {}, schedule: "hourly"}
---
apiVersion: pvectl/v1alpha1
kind: SnapshotPolicy
metadata: {name: once}
spec: {selector: {}, schedule: "2025-05-05 12:00", retention: {keepLast: 1}}
"#;

fn scene() -> (Scene, String) {
    let scene = Scene::new();
    let file = scene.write("policies.yaml", POLICIES);
    (scene, file)
}

#[test]
fn a_policy_is_played_for_a_year() {
    let (scene, file) = scene();
    let said = scene.run(&format!("snapshot simulate -f {file} --policy nightly --from 2026-01-01")).code(0);
    insta::assert_snapshot!("played_for_a_year", said.out);
    assert!(!scene.state().exists(), "nothing is asked of a cluster");
}

#[test]
fn classes_are_played() {
    let (scene, file) = scene();
    let said = scene.run(&format!("snapshot simulate -f {file} --policy classes --from 2026-01-01 --for 10w")).code(0);
    insta::assert_snapshot!("played_by_classes", said.out);
}

#[test]
fn many_and_none_are_told_in_few_lines() {
    let (scene, file) = scene();
    let words = format!("snapshot simulate -f {file} --policy everything --policy once --from 2026-01-01 --for 6d");
    let said = scene.run(&words).code(0);
    insta::assert_snapshot!("played_many_and_none", said.out);
}

#[test]
fn machines_are_told_each_event() {
    let (scene, file) = scene();
    let words = format!("snapshot simulate -f {file} --policy classes --from 2026-01-01T00:00:00Z --for 8d -o json");
    let said = scene.run(&words).code(0);
    let value: Value = serde_json::from_str(&said.out).expect("it is JSON");
    assert_eq!(value[0]["events"].as_array().map(Vec::len), Some(10));
    insta::assert_snapshot!("played_for_machines", said.out);
    scene
        .run(&format!("snapshot simulate -f {file} -o yaml --from 2026-01-01 --for 1d"))
        .code(0)
        .says("policy: nightly");
    let names = scene.run(&format!("snapshot simulate -f {file} --policy nightly -o name --from 2026-01-01 --for 1d"));
    assert_eq!(names.code(0).out, "auto-20260101T013000Z\n");
}

#[test]
fn what_cannot_be_played_is_told() {
    let (scene, file) = scene();
    scene.run("snapshot simulate").code(2).says("a SnapshotPolicy stands in manifests").says("-f manifests/");
    scene.run(&format!("snapshot simulate -f {file} --policy nightli")).says("did you mean `nightly`?");
    let long = format!("snapshot simulate -f {file} --policy everything --for 5y");
    scene.run(&long).code(2).says("SnapshotPolicy/everything takes more than 40000 snapshots").says("--for 30d");
    scene.run(&format!("snapshot simulate -f {file} --for soon")).code(2).says("such as 1y, 26w, 90d or 36h");
    scene.run(&format!("snapshot simulate -f {file} --from soon")).code(2).says("a day such as 2026-01-01");
    scene.run(&format!("snapshot simulate -f {file} --from 9999-06-01")).code(2).says("outside of the calendar");
    let pool = scene.write("pool.yaml", "{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {name: lab}, spec: {}}");
    scene.run(&format!("snapshot simulate -f {pool}")).code(2).says("the manifests declare no SnapshotPolicy");
    let broken = POLICIES.replace("\"02:30\"", "\"25:30\"");
    let broken = scene.write("broken.yaml", &broken);
    scene.run(&format!("snapshot simulate -f {broken}")).says("the hour is 0 to 23, not `25:30`");
}
