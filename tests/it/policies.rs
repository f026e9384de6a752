//! Snapshot policies on the simulator, on virtual time: what is due is taken once, what the rule lets go is pruned, and nothing
//! else is touched.

use crate::world::{Lab, desired, open, plain};
use jiff::civil::ISOWeekDate;
use jiff::{Timestamp, tz::TimeZone};
use pvectl::base::clock::Clock;
use pvectl::base::condition::{ConditionType, Truth};
use pvectl::engine::reconcile::Report;
use pvectl::kinds::list::KINDS;
use pvectl::plan::desired::DesiredSet;
use pvectl::report::status::conditions;
use pvectl::resource::reference::ResourceRef;
use pvectl::resource::step::{Action, Delta};
use pvectl::sim::baseline::{Baseline, build};
use pvectl::sim::faults::{Fault, FaultKind};
use pvectl::sim::world::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// A policy on one of the homelab's guests, which nobody's manifests declare.
fn policy(spec: &str) -> DesiredSet {
    desired(&format!(
        "{{apiVersion: pvectl/v1alpha1, kind: SnapshotPolicy, metadata: {{name: keep}}, spec: {{{spec}}}}}"
    ))
}

fn advance(lab: &Lab, seconds: u64) {
    lab.sim.advance(Duration::from_secs(seconds));
}

fn now(lab: &Lab) -> i64 {
    i64::try_from(lab.sim.clock().now_ms() / 1000).expect("a time")
}

/// Lets time pass until so many seconds of the day, in UTC.
fn at_second_of_day(lab: &Lab, wanted: u64) {
    let of_day = (lab.sim.clock().now_ms() / 1000) % DAY;
    advance(lab, (wanted + DAY - of_day - 1) % DAY + 1);
}

/// A guest's snapshots: name and age.
fn snapshots(lab: &Lab, vmid: u32) -> BTreeMap<String, i64> {
    let time = |s: &Snapshot| s.config.get("snaptime").and_then(|t| t.parse().ok()).unwrap_or(0);
    lab.sim.with_world(|w| w.guests[&vmid].snapshots.iter().map(|(name, s)| (name.clone(), time(s))).collect())
}

fn names(lab: &Lab, vmid: u32) -> Vec<String> {
    snapshots(lab, vmid).into_keys().collect()
}

/// One by hand, in PVE.
fn by_hand(lab: &Lab, vmid: u32, name: &str) {
    let time = now(lab);
    lab.sim.with_world(|w| {
        let guest = w.guests.get_mut(&vmid).expect("it is there");
        let mut config = guest.config.clone();
        config.insert("snaptime".into(), time.to_string());
        config.insert("description".into(), "by hand".into());
        guest.config.insert("parent".into(), name.into());
        guest.snapshots.insert(name.into(), Snapshot { config, ..Snapshot::default() });
    });
}

fn apply_some(lab: &Lab, set: &DesiredSet) -> Report {
    lab.try_apply(&lab.sim.api(), &KINDS, set, &plain())
        .unwrap_or_else(|halt| panic!("{}", crate::world::stopped(&halt)))
}

/// What a look plans for a guest.
fn member(lab: &Lab, set: &DesiredSet, vmid: u32) -> Delta {
    let plan = lab.preview(set, &plain());
    let wanted = format!("keep:{vmid}");
    plan.deltas.into_iter().find(|d| d.resource.name == wanted).expect("it is meant")
}

fn said(delta: &Delta) -> String {
    delta.notes.iter().map(pvectl::report::text::note).collect::<Vec<_>>().join("; ")
}

#[test]
fn what_is_due_is_taken_once_and_seen_to_be_there() {
    let lab = Lab::homelab();
    let set = policy("selector: {vmids: [8000]}, schedule: '02:00', namePrefix: auto");
    at_second_of_day(&lab, 2 * HOUR + 30);
    let slot = Timestamp::from_second(now(&lab) / 86_400 * 86_400 + 2 * 3600).expect("a time");
    let wanted = slot.strftime("auto-%Y%m%dT%H%M%SZ").to_string();
    let report = lab.apply(&set, &plain());
    assert_eq!(report.steps, 1);
    assert_eq!(names(&lab, 8000), [wanted.as_str()]);
    let text = lab.sim.with_world(|w| w.guests[&8000].snapshots[&wanted].config["description"].clone());
    assert_eq!(text, "taken with pvectl for SnapshotPolicy/keep of lab");
    assert!(names(&lab, 8100).is_empty(), "it means 8000 only");
    for _ in 0..3 {
        let log = lab.sim.request_log().len();
        advance(&lab, 7 * HOUR);
        lab.apply(&set, &plain());
        assert_eq!(lab.writes_since(log), [""; 0], "nothing is due before the next day's 02:00");
    }
    advance(&lab, 3 * HOUR);
    lab.apply(&set, &plain());
    assert_eq!(names(&lab, 8000).len(), 2);
}

#[test]
fn after_a_long_absence_one_is_made_up_for_and_not_ten() {
    let lab = Lab::homelab();
    let set = policy("selector: {vmids: [8000]}, schedule: hourly");
    lab.apply(&set, &plain());
    advance(&lab, 10 * DAY + 20 * 60);
    lab.apply(&set, &plain());
    assert_eq!(names(&lab, 8000).len(), 2);
    let skips = policy("selector: {vmids: [8000]}, schedule: '00:00', missed: Skip");
    at_second_of_day(&lab, 5 * HOUR);
    let log = lab.sim.request_log().len();
    lab.apply(&skips, &plain());
    assert_eq!(lab.writes_since(log), [""; 0], "five hours late is too late");
    let next = member(&lab, &skips, 8000).next.expect("a time");
    assert_eq!(next, now(&lab) / 86_400 * 86_400 + 86_400);
    at_second_of_day(&lab, 50 * 60);
    lab.apply(&skips, &plain());
    assert_eq!(names(&lab, 8000).len(), 3, "fifty minutes are not");
}

/// The rule of PVE in another way of writing it: one rule after the other over a list of what nobody has judged yet.
fn reference(times: &[i64], counts: [usize; 6], zone: &TimeZone) -> BTreeSet<i64> {
    let period = |rule: usize, time: i64| -> String {
        let at = Timestamp::from_second(time).expect("a time").to_zoned(zone.clone());
        let week: ISOWeekDate = at.date().iso_week_date();
        match rule {
            0 => time.to_string(),
            1 => at.strftime("%Y-%m-%d %H").to_string(),
            2 => at.strftime("%Y-%m-%d").to_string(),
            3 => format!("{}-{}", week.year(), week.week()),
            4 => at.strftime("%Y-%m").to_string(),
            _ => at.strftime("%Y").to_string(),
        }
    };
    let mut open: Vec<i64> = times.to_vec();
    open.sort_by(|a, b| b.cmp(a));
    let mut kept = BTreeSet::new();
    for (rule, count) in counts.into_iter().enumerate() {
        let covered: BTreeSet<String> = kept.iter().map(|time| period(rule, *time)).collect();
        let mut periods: Vec<String> = Vec::new();
        let mut left = Vec::new();
        for time in open {
            let its = period(rule, time);
            if covered.contains(&its) {
                left.push(time);
            } else if periods.contains(&its) {
                // Of a period that was chosen, and not its newest: gone for all rules that follow.
            } else if periods.len() < count {
                periods.push(its);
                kept.insert(time);
            } else {
                left.push(time);
            }
        }
        open = left;
    }
    kept
}

#[test]
fn a_policy_run_hourly_for_a_year_keeps_exactly_the_reference_set() {
    let zone = TimeZone::get("Europe/Berlin").expect("a zone");
    let counts = [3, 24, 7, 4, 6, 1];
    let lab = Lab::homelab();
    let set = policy(
        "selector: {vmids: [8200]}, schedule: hourly, timeZone: Europe/Berlin, freshness: 2h, retention: {keepLast: 3, \
         keepHourly: 24, keepDaily: 7, keepWeekly: 4, keepMonthly: 6, keepYearly: 1}",
    );
    // One guest on one node: nothing else is of interest for a year.
    lab.sim.with_world(|w| {
        w.guests.retain(|vmid, _| *vmid == 8200);
        w.nodes.retain(|name, _| name == "pve3");
        w.volumes.retain(|v| v.vmid == Some(8200));
        w.pools.clear();
    });
    let mut expected: BTreeSet<i64> = BTreeSet::new();
    let start = now(&lab);
    let mut hours = 0;
    while now(&lab) < start + 366 * 86_400 {
        let steps = lab.apply(&set, &plain()).steps;
        lab.sim.with_world(|w| w.tasks.clear());
        let found = snapshots(&lab, 8200);
        let taken = found.values().copied().max().expect("one is there");
        expected.insert(taken);
        expected = reference(&expected.iter().copied().collect::<Vec<_>>(), counts, &zone);
        assert_eq!(found.into_values().collect::<BTreeSet<i64>>(), expected, "after {hours} hours");
        assert!((1..=3).contains(&steps), "{steps} steps after {hours} hours");
        // On the hour, and a little: no cron job comes to the second.
        advance(&lab, HOUR - (lab.sim.clock().now_ms() / 1000) % HOUR + 7);
        hours += 1;
    }
    assert!(hours >= 8_780 && (40..=45).contains(&expected.len()), "{hours} {}", expected.len());
}

#[test]
fn only_what_the_policy_made_or_adopts_is_pruned_and_what_is_protected_stays() {
    let lab = Lab::homelab();
    for name in ["before-upgrade", "daily-1", "daily-2", "daily-important"] {
        by_hand(&lab, 8000, name);
        advance(&lab, 60);
    }
    let set = policy(
        "selector: {vmids: [8000]}, schedule: daily, namePrefix: auto, retention: {keepLast: 1}, adopt: ['daily-*'], \
         protect: ['*important*']",
    );
    lab.apply(&set, &plain());
    let left = names(&lab, 8000);
    // daily-2 is what the protected one stands on.
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(left[0].starts_with("auto-") && left[1..] == ["before-upgrade", "daily-2", "daily-important"], "{left:?}");
    let without = policy("selector: {vmids: [8000]}, schedule: daily, namePrefix: auto, retention: {keepLast: 1}");
    advance(&lab, DAY);
    lab.apply(&without, &plain());
    let left = names(&lab, 8000);
    assert_eq!(left[1..], ["before-upgrade", "daily-2", "daily-important"], "{left:?}");
}

#[test]
fn another_policy_and_another_set_keep_theirs() {
    let lab = Lab::homelab();
    let two = |keep: u32| {
        desired(&format!(
            "{{apiVersion: pvectl/v1alpha1, kind: SnapshotPolicy, metadata: {{name: hourly}}, spec: {{selector: {{vmids: \
             [8000]}}, schedule: hourly, retention: {{keepLast: {keep}}}}}}}\n---\n{{apiVersion: pvectl/v1alpha1, kind: \
             SnapshotPolicy, metadata: {{name: daily}}, spec: {{selector: {{vmids: [8000]}}, schedule: daily}}}}"
        ))
    };
    at_second_of_day(&lab, 10 * HOUR);
    for _ in 0..30 {
        lab.apply(&two(2), &plain());
        advance(&lab, HOUR);
    }
    let left = names(&lab, 8000);
    let of = |prefix: &str| left.iter().filter(|name| name.starts_with(prefix)).count();
    assert_eq!((of("hourly-"), of("daily-")), (2, 2), "{left:?}");
    let other = pvectl_other_set("selector: {vmids: [8000]}, schedule: hourly, retention: {keepLast: 1}");
    apply_some(&lab, &other);
    assert!(names(&lab, 8000).len() >= left.len(), "a policy of the same name in another set owns none of them");
}

/// A policy `hourly` of another manifest set.
fn pvectl_other_set(spec: &str) -> DesiredSet {
    let yaml =
        format!("{{apiVersion: pvectl/v1alpha1, kind: SnapshotPolicy, metadata: {{name: hourly}}, spec: {{{spec}}}}}");
    crate::world::bound(&yaml, "other").1
}

#[test]
fn nothing_is_pruned_while_none_can_be_taken() {
    let lab = Lab::homelab();
    let set = policy("selector: {vmids: [8000]}, schedule: hourly, retention: {keepHourly: 4}");
    for _ in 0..6 {
        lab.apply(&set, &plain());
        advance(&lab, HOUR);
    }
    let before = names(&lab, 8000);
    assert_eq!(before.len(), 4);
    for _ in 0..5 {
        let fails = Fault::on("POST", "/snapshot", FaultKind::TaskFails("snapshot feature is not available".into()));
        lab.sim.inject(fails);
        let report = apply_some(&lab, &set);
        let why = report.failed.values().next().expect("it failed");
        assert!(why.contains("snapshot feature is not available"), "{why}");
        assert_eq!(names(&lab, 8000), before);
        advance(&lab, HOUR);
    }
    lab.sim.clear_faults();
    lab.apply(&set, &plain());
    let after = names(&lab, 8000);
    assert_eq!(after.len(), 4, "one is made up for, and the rule is kept again: {after:?}");
}

#[test]
fn one_guest_that_fails_does_not_keep_the_others_from_theirs() {
    let lab = Lab::homelab();
    let set = policy("selector: {}, schedule: hourly");
    lab.sim.inject(Fault::on("POST", "/8100/snapshot", FaultKind::TaskFails("no space left".into())));
    let report = apply_some(&lab, &set);
    assert_eq!(report.failed.keys().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["keep:8100"]);
    assert_eq!([8000, 8100, 8200].map(|vmid| names(&lab, vmid).len()), [1, 0, 1]);
}

#[test]
fn a_locked_guest_waits_and_gets_its_own_when_the_backup_is_done() {
    let lab = Lab::homelab();
    let set = policy("selector: {vmids: [8000]}, schedule: hourly");
    let lock = |on: bool| {
        lab.sim.with_world(|w| {
            let config = &mut w.guests.get_mut(&8000).expect("it is there").config;
            if on {
                config.insert("lock".into(), "backup".into())
            } else {
                config.remove("lock")
            };
        });
    };
    lock(true);
    let log = lab.sim.request_log().len();
    let report = apply_some(&lab, &set);
    assert!(!report.converged() && lab.writes_since(log).is_empty(), "{}", open(&report));
    assert!(said(&member(&lab, &set, 8000)).contains("PVE holds the lock `backup`"));
    lock(false);
    lab.apply(&set, &plain());
    assert_eq!(names(&lab, 8000).len(), 1);
}

#[test]
fn memory_is_saved_of_running_machines_and_refused_where_it_cannot_be() {
    let lab = Lab::homelab();
    lab.sim.with_world(|w| {
        w.guests.get_mut(&8100).expect("it is there").config.insert("hostpci0".into(), "0000:01:00.0".into())
    });
    let set = policy("selector: {}, schedule: hourly, includeMemory: true");
    let plan = lab.preview(&set, &plain());
    let of = |vmid: u32| plan.deltas.iter().find(|d| d.resource.name == format!("keep:{vmid}")).expect("it is meant");
    assert!(said(of(8200)).contains("PVE saves no memory of containers"), "{}", said(of(8200)));
    let running = lab.sim.with_world(|w| w.guests[&8100].power != pvectl::sim::world::Power::Stopped);
    assert!(running, "the homelab's firewall runs");
    assert!(said(of(8100)).contains("hostpci0"), "{}", said(of(8100)));
    assert!(of(8100).steps.is_empty() && of(8200).steps.is_empty());
    lab.sim.with_world(|w| w.guests.get_mut(&8100).expect("it is there").config.remove("hostpci0"));
    let delta = member(&lab, &set, 8100);
    assert!(delta.steps[0].call.params.contains(&("vmstate".into(), "1".into())));
    let report = apply_some(&lab, &set);
    assert_eq!(names(&lab, 8100).len(), 1, "{}", open(&report));
    assert!(names(&lab, 8200).is_empty(), "a container has none");
}

#[test]
fn a_storage_that_is_nearly_full_takes_no_more() {
    let lab = Lab::homelab();
    let set = policy("selector: {vmids: [8200]}, schedule: hourly, limits: {minFreeStorage: 15%}");
    let storage =
        lab.sim.with_world(|w| w.guests[&8200].config["rootfs"].split(':').next().expect("a storage").to_owned());
    let fill = |share: u64| {
        lab.sim.with_world(|w| {
            let known = w.storages.get_mut(&storage).expect("a storage");
            known.base_used = known.size / 100 * share;
        });
    };
    fill(90);
    advance(&lab, 60);
    let delta = member(&lab, &set, 8200);
    assert!(delta.steps.is_empty() && said(&delta).contains("15 % shall stay free"), "{}", said(&delta));
    let held = conditions(&delta).into_iter().find(|c| c.condition == ConditionType::Ready).expect("it has one");
    assert_eq!((held.status, held.reason.as_str()), (Truth::False, "WithoutEffect"));
    fill(10);
    advance(&lab, 60);
    let thin = lab.sim.with_world(|w| w.storages[&storage].storage_type == "lvmthin");
    assert!(thin, "the homelab's container is on a thin pool");
    lab.sim.with_world(|w| w.table("nodes/lvmthin").insert("pve/data".into(), 97.into()));
    let delta = member(&lab, &set, 8200);
    assert!(said(&delta).contains("room for metadata"), "{}", said(&delta));
    lab.sim.with_world(|w| w.table("nodes/lvmthin").clear());
    lab.apply(&set, &plain());
    assert_eq!(names(&lab, 8200).len(), 1);
}

#[test]
fn turns_are_spread_by_the_jitter_and_always_the_same() {
    let lab = Lab::homelab();
    let set = policy("selector: {}, schedule: '00:00', jitter: 4h");
    let offsets = |lab: &Lab| -> Vec<i64> {
        let midnight = now(lab) / 86_400 * 86_400;
        [8000, 8100, 8200].map(|vmid| member(lab, &set, vmid).next.expect("a time") - midnight - 86_400).to_vec()
    };
    at_second_of_day(&lab, 12 * HOUR);
    lab.apply(&set, &plain());
    let first = offsets(&lab);
    assert_eq!(first, offsets(&lab));
    assert!(first.iter().all(|o| (0..4 * 3600).contains(o)), "{first:?}");
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3, "{first:?}");
    at_second_of_day(&lab, u64::try_from(*first.iter().min().expect("three")).expect("positive") + 1);
    lab.apply(&set, &plain());
    let counts: usize = [8000, 8100, 8200].iter().map(|vmid| names(&lab, *vmid).len()).sum();
    assert_eq!(counts, 4, "one had its turn");
}

#[test]
fn labels_mean_guests_of_the_manifests_and_they_are_left_in_peace_while_they_change() {
    let guest = |name: &str, vmid: &str, app: &str| {
        format!(
            "{{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {{name: {name}, labels: {{app: {app}}}}}, spec: \
             {{{vmid} node: pve1, disks: [{{slot: scsi0, storage: local-lvm, size: 1Gi}}]}}}}\n---\n"
        )
    };
    let yaml = [guest("a", "vmid: 120,", "web"), guest("b", "", "web"), guest("c", "vmid: 122,", "db")].concat()
        + "{apiVersion: pvectl/v1alpha1, kind: SnapshotPolicy, metadata: {name: keep}, spec: {selector: {labels: {app: web}}, \
           schedule: daily}}";
    let lab = Lab::homelab();
    let set = desired(&yaml);
    lab.apply(&set, &plain());
    let of: BTreeMap<String, usize> = lab.sim.with_world(|w| {
        w.guests
            .values()
            .filter(|g| g.config.contains_key("name"))
            .map(|g| (g.config["name"].clone(), g.snapshots.len()))
            .collect()
    });
    assert_eq!((of["a"], of["b"], of["c"]), (1, 1, 0), "{of:?}");
    let delta = member(&lab, &set, 120);
    assert_eq!(delta.behind, [ResourceRef::new("VirtualMachine", "a")]);
    assert_eq!(delta.action, Action::NoOp);
}

#[test]
fn an_old_newest_is_told() {
    let lab = Lab::homelab();
    let set = policy("selector: {vmids: [8000]}, schedule: daily, freshness: 36h");
    lab.apply(&set, &plain());
    let fresh = |lab: &Lab| {
        let delta = member(lab, &set, 8000);
        conditions(&delta).into_iter().find(|c| c.condition == ConditionType::SnapshotsFresh).expect("it is told")
    };
    assert_eq!(fresh(&lab).status, Truth::True);
    lab.sim.inject(Fault::on("POST", "/snapshot", FaultKind::TaskFails("no".into())));
    advance(&lab, 3 * DAY);
    apply_some(&lab, &set);
    let told = fresh(&lab);
    assert_eq!((told.status, told.reason.as_str()), (Truth::False, "TooOld"));
    assert!(told.message.contains("3d") && told.message.contains("1d12h"), "{}", told.message);
}

#[test]
fn no_more_at_once_than_the_policy_says() {
    let lab = Lab::homelab();
    let guest = |vmid: u32| {
        format!(
            "{{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {{name: g{vmid}}}, spec: {{vmid: {vmid}, node: \
             pve1, disks: [{{slot: scsi0, storage: local-lvm, size: 1Gi}}]}}}}"
        )
    };
    let guests = (120..132).map(guest).collect::<Vec<_>>().join("\n---\n");
    lab.apply(&desired(&guests), &plain());
    for (limits, most) in [("{perNode: 3}", 3), ("{perNode: 3, perStorage: 1}", 1)] {
        let set = policy(&format!("selector: {{names: ['g*']}}, schedule: hourly, concurrency: {limits}"));
        advance(&lab, HOUR);
        let before = lab.sim.with_world(|w| w.tasks.len());
        lab.apply(&set, &plain());
        let tasks = running_at_once(&lab, before);
        assert_eq!(tasks, most, "{limits}");
    }
}

/// The most tasks of those after the first `from` that ran at one moment.
fn running_at_once(lab: &Lab, from: usize) -> usize {
    let spans: Vec<(u64, u64)> =
        lab.sim.with_world(|w| w.tasks.iter().skip(from).map(|t| (t.start_ms, t.end_ms.expect("it ended"))).collect());
    assert_eq!(spans.len(), 12);
    spans.iter().map(|(at, _)| spans.iter().filter(|(a, b)| a <= at && at < b).count()).max().unwrap_or(0)
}

#[test]
fn what_a_dead_task_left_is_said_and_cleaned_when_it_can_be() {
    let lab = Lab::homelab();
    let set = policy("selector: {vmids: [8000]}, schedule: hourly, namePrefix: auto");
    lab.sim.inject(Fault::on("POST", "/snapshot", FaultKind::TaskDies(1)));
    let report = apply_some(&lab, &set);
    assert!(!report.converged());
    let lock = |lab: &Lab| lab.sim.with_world(|w| w.guests[&8000].config.get("lock").cloned());
    assert_eq!(lock(&lab).as_deref(), Some("snapshot"));
    advance(&lab, 60);
    let delta = member(&lab, &set, 8000);
    assert!(delta.steps.is_empty() && said(&delta).contains("qm unlock 8000"), "{}", said(&delta));
    lab.sim.with_world(|w| w.guests.get_mut(&8000).expect("it is there").config.remove("lock"));
    advance(&lab, 60);
    let log = lab.sim.request_log().len();
    lab.apply(&set, &plain());
    let writes = lab.writes_since(log);
    assert!(writes.len() == 2 && writes[0].starts_with("DELETE") && writes[1].starts_with("POST"), "{writes:?}");
    assert_eq!(names(&lab, 8000).len(), 1);
    let whole = lab.preview(&set, &plain());
    assert!(whole.is_empty(), "{}", crate::world::differences(&whole));
}

#[test]
fn a_look_costs_one_request_a_guest_and_a_few() {
    let requests = |guests: u32| {
        let lab = Lab::of(build(Baseline::Scale { nodes: 3, guests }));
        let set = policy("selector: {}, schedule: daily, retention: {keepDaily: 3}");
        let before = lab.sim.requests();
        let plan = lab.preview(&set, &plain());
        assert!(plan.deltas.len() > 90 && lab.writes_since(0).is_empty());
        (lab.sim.requests() - before, plan.deltas.len() as u64 - 1)
    };
    let (few, small) = requests(100);
    let (many, large) = requests(300);
    assert_eq!(many - few, large - small, "one more for each guest more");
    assert!(few - small <= 20, "{few} for {small} guests");
}
