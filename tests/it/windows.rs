//! Patch windows on the simulator, on virtual time: what is meant is looked at, updated, rebooted and looked at again; what goes
//! wrong goes back; nothing starts that cannot end; and what is killed goes on.

use crate::faults::{Cut, crash};
use crate::world::{Lab, desired, differences, plain, stopped};
use pvectl::base::clock::Clock;
use pvectl::engine::reconcile::Report;
use pvectl::kinds::list::KINDS;
use pvectl::plan::assemble::Plan;
use pvectl::plan::desired::DesiredSet;
use pvectl::pve::api::Api;
use pvectl::sim::baseline::{Baseline, add_guest, build};
use pvectl::sim::faults::{Fault, FaultKind};
use pvectl::sim::inside::Place;
use pvectl::sim::inside::Trouble;
use pvectl::sim::world::{GuestType, Power, Volume, World};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

/// As many looks as one window may take.
const LOOKS_MAX: usize = 2000;

fn add(world: &mut World, vmid: u32, kind: GuestType, node: &str, power: Power, more: &[(&str, &str)]) {
    let volid = format!("local-lvm:vm-{vmid}-disk-0");
    world.volumes.push(Volume {
        volid: volid.clone(),
        node: Some(node.to_owned()),
        size: 4 << 30,
        used: 1 << 30,
        format: "raw".to_owned(),
        content: if kind == GuestType::Qemu { "images" } else { "rootdir" }.to_owned(),
        vmid: Some(vmid),
        bootable: true,
        ..Volume::default()
    });
    let (name, disk) = (format!("g{vmid}"), format!("{volid},size=4G"));
    let machine: &[(&str, &str)] = &[
        ("name", &name),
        ("scsi0", &disk),
        ("agent", "1"),
        ("memory", "2048"),
        ("cores", "1"),
        ("scsihw", "virtio-scsi-single"),
        ("boot", "order=scsi0"),
        ("ostype", "l26"),
    ];
    let container: &[(&str, &str)] = &[
        ("hostname", &name),
        ("rootfs", &disk),
        ("memory", "512"),
        ("swap", "0"),
        ("cores", "1"),
        ("arch", "amd64"),
        ("ostype", "debian"),
        ("unprivileged", "1"),
    ];
    let config: Vec<(&str, &str)> =
        if kind == GuestType::Qemu { machine } else { container }.iter().chain(more).copied().collect();
    add_guest(world, vmid, kind, node, power, &config);
}

/// Three nodes with two machines and three containers, one of which is off.
fn lab() -> Lab {
    let mut world = build(Baseline::Homelab);
    for vmid in [8000, 8100, 8200] {
        world.guests.remove(&vmid);
    }
    add(&mut world, 101, GuestType::Qemu, "pve1", Power::Running, &[]);
    add(&mut world, 102, GuestType::Qemu, "pve2", Power::Running, &[]);
    add(&mut world, 201, GuestType::Lxc, "pve1", Power::Running, &[]);
    add(&mut world, 202, GuestType::Lxc, "pve2", Power::Running, &[]);
    add(&mut world, 203, GuestType::Lxc, "pve3", Power::Stopped, &[]);
    world.collect_statistics();
    Lab::of(world)
}

fn window(spec: &str) -> DesiredSet {
    desired(&format!(
        "{{apiVersion: pvectl/v1alpha1, kind: PatchWindow, metadata: {{name: w}}, spec: {{schedule: '02:00', duration: 3h, {spec}}}}}"
    ))
}

fn now(lab: &Lab) -> i64 {
    i64::try_from(lab.sim.clock().now_ms() / 1000).expect("a time")
}

fn advance(lab: &Lab, seconds: i64) {
    lab.sim.advance(Duration::from_secs(u64::try_from(seconds).expect("forward")));
}

/// Lets time pass until so many seconds of the day, in UTC.
fn at(lab: &Lab, second: i64) {
    let of_day = now(lab).rem_euclid(DAY);
    advance(lab, (second - of_day - 1).rem_euclid(DAY) + 1);
}

fn apply(lab: &Lab, set: &DesiredSet) -> Report {
    apply_by(&lab.sim.api(), lab, set)
}

fn apply_by(api: &dyn Api, lab: &Lab, set: &DesiredSet) -> Report {
    lab.try_apply(api, &KINDS, set, &plain()).unwrap_or_else(|halt| panic!("{}", stopped(&halt)))
}

/// When the next look is due.
fn next(plan: &Plan) -> Option<i64> {
    plan.deltas.iter().filter_map(|delta| delta.next).min()
}

/// Looks as the daemon does, whenever something is due, until a time.
fn play(lab: &Lab, set: &DesiredSet, until: i64) {
    play_by(&lab.sim.api(), lab, set, until);
}

fn play_by(api: &dyn Api, lab: &Lab, set: &DesiredSet, until: i64) {
    for _ in 0..LOOKS_MAX {
        let report = apply_by(api, lab, set);
        let due = next(&report.last).map_or(until, |next| next.max(now(lab) + 1)).min(now(lab) + 900);
        if due >= until {
            advance(lab, (until - now(lab)).max(0));
            return;
        }
        advance(lab, due - now(lab));
    }
    panic!("it never comes to rest: {}", differences(&apply(lab, set).last));
}

/// A window from its beginning to its end.
fn night(lab: &Lab, set: &DesiredSet) -> Vec<String> {
    at(lab, 2 * HOUR);
    let from = lab.sim.request_log().len();
    play(lab, set, now(lab) + 3 * HOUR + 10 * MINUTE);
    lab.writes_since(from)
}

fn packages(lab: &Lab, vmid: u32) -> BTreeMap<String, String> {
    lab.sim.with_world(|w| w.guests[&vmid].disk.packages.clone())
}

fn power(lab: &Lab, vmid: u32) -> Power {
    lab.sim.with_world(|w| w.guests[&vmid].power)
}

/// The outcome that stands on a guest's newest snapshot.
fn outcome(lab: &Lab, vmid: u32) -> Option<String> {
    lab.sim.with_world(|w| {
        let snapshot = w.guests[&vmid].snapshots.values().next_back()?;
        snapshot.config.get("description").cloned()
    })
}

fn count(writes: &[String], what: &str) -> usize {
    writes.iter().filter(|write| write.contains(what)).count()
}

fn trouble(lab: &Lab, vmid: u32, trouble: Trouble) {
    lab.sim.with_world(|w| w.trouble(&Place::Guest(vmid), trouble));
}

#[test]
fn outside_of_it_nothing_is_touched() {
    let lab = lab();
    let set = window("targets: {selector: {}}");
    at(&lab, 5 * HOUR);
    let from = lab.sim.request_log().len();
    let report = apply(&lab, &set);
    assert_eq!(lab.writes_since(from), Vec::<String>::new());
    assert_eq!(next(&report.last).map(|next| next.rem_euclid(DAY)), Some(2 * HOUR), "it wakes when it opens");
}

#[test]
fn a_night_updates_every_guest_once_and_what_is_off_stays_off() {
    let lab = lab();
    let set = window("targets: {selector: {}}, reboot: IfRequired, maxConcurrent: 4");
    let before: Vec<_> = [101, 102, 201, 202].map(|vmid| packages(&lab, vmid)).into();
    let writes = night(&lab, &set);
    for (vmid, before) in [101, 102, 201, 202].into_iter().zip(before) {
        assert_ne!(packages(&lab, vmid), before, "{vmid} was not updated");
        assert_eq!(power(&lab, vmid), Power::Running, "{vmid}");
        let said = outcome(&lab, vmid).expect("its snapshot is there");
        assert!(said.contains("\nupdated\n"), "{vmid}: {said}");
    }
    assert_eq!(power(&lab, 203), Power::Stopped);
    assert_eq!(count(&writes, "/203/"), 0, "what does not run is left out: {writes:?}");
    for vmid in [101, 102, 201, 202] {
        assert_eq!(count(&writes, &format!("/{vmid}/snapshot")), 2, "taken, and its end noted: {writes:?}");
    }
    // The same night again is another opening; the window is over now.
    let again = {
        let from = lab.sim.request_log().len();
        play(&lab, &set, now(&lab) + HOUR);
        lab.writes_since(from)
    };
    assert_eq!(again, Vec::<String>::new());
}

#[test]
fn what_is_off_is_started_and_stopped_as_told() {
    let lab = lab();
    let set = window("targets: {selector: {vmids: [203]}}, stopped: Start");
    let before = packages(&lab, 203);
    let writes = night(&lab, &set);
    assert_ne!(packages(&lab, 203), before);
    assert_eq!(power(&lab, 203), Power::Stopped, "{writes:?}");
    assert_eq!(count(&writes, "status/start"), 1, "{writes:?}");
    assert_eq!(count(&writes, "status/shutdown"), 1, "{writes:?}");
    // The next night nothing waits any more, or something new: it is off in the morning in any case, and nothing is left over.
    night(&lab, &set);
    assert_eq!(power(&lab, 203), Power::Stopped);
}

#[test]
fn what_is_not_well_goes_back_to_its_snapshot() {
    for (vmid, reboot) in [(201, "Never"), (101, "IfRequired")] {
        let lab = lab();
        let set = window(&format!(
            "targets: {{selector: {{vmids: [{vmid}]}}}}, onFailure: Rollback, reboot: {reboot}, healthCheck: {{systemd: true, timeout: 1m}}"
        ));
        trouble(&lab, vmid, Trouble::Breaks);
        let before = packages(&lab, vmid);
        let writes = night(&lab, &set);
        assert_eq!(packages(&lab, vmid), before, "{writes:?}");
        assert_eq!(power(&lab, vmid), Power::Running);
        assert_eq!(count(&writes, "/rollback"), 1, "{writes:?}");
        let said = outcome(&lab, vmid).expect("its snapshot is there");
        assert!(said.contains("went back: "), "{said}");
    }
}

#[test]
fn a_failure_stops_what_was_not_begun() {
    let lab = lab();
    let set = window("targets: {selector: {}}, maxConcurrent: 1, onFailure: Stop");
    trouble(&lab, 101, Trouble::Exits(100));
    let before: Vec<_> = [102, 201, 202].map(|vmid| packages(&lab, vmid)).into();
    let writes = night(&lab, &set);
    let after: Vec<_> = [102, 201, 202].map(|vmid| packages(&lab, vmid)).into();
    assert_eq!(after, before, "{writes:?}");
    assert!(
        outcome(&lab, 101).is_some_and(|said| said.contains("failed: apt ended with 100")),
        "{:?}",
        outcome(&lab, 101)
    );
    assert_eq!(outcome(&lab, 102), None);
}

#[test]
fn with_continue_the_others_go_on_until_there_are_too_many_errors() {
    let lab = lab();
    let set = window("targets: {selector: {}}, maxConcurrent: 1, onFailure: Continue, maxErrors: 2");
    trouble(&lab, 101, Trouble::Exits(100));
    trouble(&lab, 201, Trouble::Exits(1));
    let before = packages(&lab, 202);
    night(&lab, &set);
    assert!(outcome(&lab, 102).is_some_and(|said| said.contains("updated")));
    assert_eq!(packages(&lab, 202), before, "two have failed before it");
}

#[test]
fn what_is_killed_in_the_middle_is_repaired_and_ended() {
    for vmid in [101, 201] {
        let lab = lab();
        let set = window(&format!("targets: {{selector: {{vmids: [{vmid}]}}}}"));
        trouble(&lab, vmid, Trouble::Killed);
        let before = packages(&lab, vmid);
        let writes = night(&lab, &set);
        assert_ne!(packages(&lab, vmid), before, "{writes:?}");
        assert_eq!(lab.sim.with_world(|w| w.guests[&vmid].disk.half_configured.clone()), None);
        assert!(outcome(&lab, vmid).is_some_and(|said| said.contains("\nupdated\n")), "{:?}", outcome(&lab, vmid));
    }
}

#[test]
fn nothing_begins_that_cannot_end() {
    let lab = lab();
    let set = window("cutoff: 1h, targets: {selector: {vmids: [201]}}");
    let before = packages(&lab, 201);
    // After the cutoff.
    at(&lab, 4 * HOUR + 1);
    let from = lab.sim.request_log().len();
    play(&lab, &set, now(&lab) + HOUR);
    assert_eq!(lab.writes_since(from), Vec::<String>::new());
    assert_eq!(packages(&lab, 201), before);
    // Before it, but there is no time: a window of some minutes.
    let set = desired(
        "{apiVersion: pvectl/v1alpha1, kind: PatchWindow, metadata: {name: w}, spec: {schedule: '06:00', duration: 5m, cutoff: 1m, targets: {selector: {vmids: [201]}}}}",
    );
    at(&lab, 6 * HOUR);
    play(&lab, &set, now(&lab) + HOUR);
    assert_eq!(packages(&lab, 201), before);
    assert_eq!(outcome(&lab, 201), None, "no snapshot is left");
}

#[test]
fn on_frozen_days_it_stays_shut() {
    let lab = lab();
    let set = window("freeze: ['2026-11-18..2026-12-31'], targets: {selector: {}}");
    let from = lab.sim.request_log().len();
    night(&lab, &set);
    assert_eq!(lab.writes_since(from), Vec::<String>::new());
}

#[test]
fn a_later_wave_gets_what_the_first_got_after_it_has_soaked() {
    let lab = lab();
    let set = window(
        "cutoff: 30m, targets: {selector: {vmids: [201, 202]}}, waves: [{selector: {vmids: [201]}, soak: 1h}, {selector: {}}]",
    );
    at(&lab, 2 * HOUR);
    play(&lab, &set, now(&lab) + 50 * MINUTE);
    assert!(outcome(&lab, 201).is_some_and(|said| said.contains("updated")));
    assert_eq!(outcome(&lab, 202), None, "it soaks");
    play(&lab, &set, now(&lab) + 2 * HOUR);
    assert!(outcome(&lab, 202).is_some_and(|said| said.contains("updated")));
    assert_eq!(packages(&lab, 201), packages(&lab, 202));
}

#[test]
fn a_failed_first_wave_keeps_the_others_as_they_are() {
    let lab = lab();
    let set = window(
        "targets: {selector: {vmids: [201, 202]}}, onFailure: Rollback, waves: [{selector: {vmids: [201]}, soak: 10m}, {selector: {}}]",
    );
    trouble(&lab, 201, Trouble::Exits(100));
    let before = packages(&lab, 202);
    night(&lab, &set);
    assert_eq!(packages(&lab, 202), before);
}

#[test]
fn snapshots_go_when_they_are_old() {
    let lab = lab();
    let set = window("targets: {selector: {vmids: [201]}}, before: {snapshot: true, keep: 36h}");
    night(&lab, &set);
    assert!(outcome(&lab, 201).is_some());
    let set = window(
        "freeze: ['2026-11-20..2027-12-31'], targets: {selector: {vmids: [201]}}, before: {snapshot: true, keep: 36h}",
    );
    play(&lab, &set, now(&lab) + DAY);
    assert!(outcome(&lab, 201).is_some(), "it is a day old");
    play(&lab, &set, now(&lab) + DAY);
    assert_eq!(outcome(&lab, 201), None, "it is two days old");
}

#[test]
fn a_node_is_drained_upgraded_and_everything_comes_back() {
    let lab = lab();
    let set = window("targets: {nodes: [pve2]}, reboot: IfRequired, drain: {migrate: Online}");
    let homes = |lab: &Lab| -> BTreeMap<u32, (String, Power)> {
        lab.sim.with_world(|w| w.guests.iter().map(|(vmid, g)| (*vmid, (g.node.clone(), g.power))).collect())
    };
    let before = homes(&lab);
    let waits = |lab: &Lab| {
        lab.sim.with_world(|w| {
            w.tables.get("nodes/apt").and_then(|t| t.get("pve2")).map_or(0, |l| l.as_array().map_or(0, Vec::len))
        })
    };
    let writes = night(&lab, &set);
    assert_eq!(homes(&lab), before, "{writes:#?}");
    assert_eq!(count(&writes, "POST /nodes/pve2/apt/update"), 1, "{writes:#?}");
    assert_eq!(waits(&lab), 0, "{writes:#?}");
    assert!(count(&writes, "POST /link/pve2/jobs") >= 3, "{writes:#?}");
}

#[test]
fn of_two_nodes_one_waits_for_the_other() {
    let lab = lab();
    let set = window("targets: {nodes: [pve1, pve2, pve3]}, reboot: Always");
    at(&lab, 2 * HOUR);
    for _ in 0..LOOKS_MAX {
        let report = apply(&lab, &set);
        let down = lab.sim.with_world(|w| w.nodes.values().filter(|n| !n.online).count());
        assert!(down <= 1, "two nodes are down at once");
        let due = next(&report.last).unwrap_or(0).max(now(&lab) + 1).min(now(&lab) + 60);
        if due.rem_euclid(DAY) > 5 * HOUR {
            break;
        }
        advance(&lab, due - now(&lab));
    }
    let marks: Vec<bool> = lab.sim.with_world(|w| w.nodes.values().map(|n| n.online).collect());
    assert_eq!(marks, [true, true, true]);
}

// ---- whatever goes wrong ---------------------------------------------------------------------------------------------

/// Packages and their versions.
type Installed = BTreeMap<String, String>;

/// What a night leaves, as far as it may not depend on what went wrong in it.
#[derive(Debug, PartialEq, Eq)]
struct Morning {
    guests: BTreeMap<u32, (String, Power, Installed, Option<String>)>,
    /// The snapshots, each with how it ended.
    snapshots: BTreeMap<(u32, String), String>,
    maintenance: Vec<String>,
    nodes: BTreeMap<String, (bool, Installed)>,
    locks: Vec<u32>,
}

fn morning(lab: &Lab) -> Morning {
    lab.sim.finish_tasks();
    let maintenance = lab.sim.with_world(|w| {
        let table = w.tables.get("cluster/ha/maintenance").cloned().unwrap_or_default();
        table.into_keys().collect()
    });
    lab.sim.with_world(|w| Morning {
        guests: w
            .guests
            .iter()
            .map(|(vmid, g)| {
                (*vmid, (g.node.clone(), g.power, g.disk.packages.clone(), g.disk.half_configured.clone()))
            })
            .collect(),
        snapshots: w
            .guests
            .iter()
            .flat_map(|(vmid, g)| g.snapshots.iter().map(move |(name, s)| (*vmid, name.clone(), s)))
            .map(|(vmid, name, s)| {
                let words = s.config.get("description").cloned().unwrap_or_default();
                // Why it failed may be told in other words.
                let ended = ["updated", "went back", "failed", "nothing installed"];
                ((vmid, name), ended.into_iter().find(|e| words.contains(e)).unwrap_or("open").to_owned())
            })
            .collect(),
        maintenance,
        nodes: w.nodes.iter().map(|(name, n)| (name.clone(), (n.online, n.disk.packages.clone()))).collect(),
        locks: w.guests.iter().filter(|(_, g)| g.config.contains_key("lock")).map(|(vmid, _)| *vmid).collect(),
    })
}

/// A night in which something goes wrong once.
struct Night {
    name: &'static str,
    spec: &'static str,
    prepare: fn(&mut World),
}

const NIGHTS: &[Night] = &[
    Night { name: "a container", spec: "targets: {selector: {vmids: [201]}}", prepare: |_| {} },
    Night {
        name: "a machine with a reboot",
        spec: "targets: {selector: {vmids: [101]}}, reboot: Always",
        prepare: |_| {},
    },
    Night {
        name: "a container that is off",
        spec: "targets: {selector: {vmids: [203]}}, stopped: Start",
        prepare: |_| {},
    },
    Night {
        name: "a machine that goes back",
        spec: "targets: {selector: {vmids: [101]}}, onFailure: Rollback, healthCheck: {systemd: true, timeout: 1m}",
        prepare: |w| w.trouble(&Place::Guest(101), Trouble::Breaks),
    },
    Night {
        name: "a container that goes back",
        spec: "targets: {selector: {vmids: [201]}}, onFailure: Rollback, healthCheck: {systemd: true, timeout: 1m}",
        prepare: |w| w.trouble(&Place::Guest(201), Trouble::Breaks),
    },
    Night {
        name: "a node with its guests",
        spec: "targets: {nodes: [pve2]}, reboot: Always, drain: {migrate: Offline, nodeMaintenance: true}",
        prepare: |_| {},
    },
];

/// All that windows ask and send in these nights, and later, when snapshots go.
pub(crate) fn every_request<'a>(door: &dyn Fn(&Lab) -> Box<dyn Api + 'a>) {
    for night in NIGHTS {
        let (lab, set) = begun(night);
        play_by(&*door(&lab), &lab, &set, now(&lab) + 8 * DAY);
    }
}

/// What goes wrong.
#[derive(Clone, Debug)]
enum Wound {
    Fault(FaultKind),
    Killed(Cut),
}

fn begun(night: &Night) -> (Lab, DesiredSet) {
    let lab = lab();
    lab.sim.with_world(night.prepare);
    at(&lab, 2 * HOUR);
    (lab, window(night.spec))
}

/// The rest of a night: nothing more goes wrong.
fn rest(lab: &Lab, set: &DesiredSet) -> Morning {
    let end = now(lab) - now(lab).rem_euclid(DAY) + 5 * HOUR + 10 * MINUTE;
    play(lab, set, end);
    morning(lab)
}

/// Looks until the n-th write of the night, and dies there.
fn until_killed(lab: &Lab, set: &DesiredSet, n: usize, cut: Cut) {
    let mut left = n;
    for _ in 0..LOOKS_MAX {
        let from = lab.sim.request_log().len();
        if crash(lab, &KINDS, set, &plain(), left, cut, true).is_some() {
            return;
        }
        left -= lab.writes_since(from).len();
        let due =
            next(&lab.preview(set, &plain())).map_or(now(lab) + 60, |next| next.max(now(lab) + 1)).min(now(lab) + 900);
        advance(lab, due - now(lab));
    }
    panic!("there is no write {n}");
}

#[test]
fn whatever_goes_wrong_in_a_night_the_morning_is_the_same() {
    let faults = [
        FaultKind::DropBefore,
        FaultKind::DropAfter,
        FaultKind::Status(500, "unable to read the configuration".into()),
        FaultKind::NodeOffline,
        FaultKind::TaskFails("command 'lvcreate' failed: exit code 5".into()),
        FaultKind::LockTimeout,
    ];
    let wounds: Vec<Wound> =
        faults.into_iter().map(Wound::Fault).chain([Cut::Before, Cut::After].map(Wound::Killed)).collect();
    let only = std::env::var("NIGHT").unwrap_or_default();
    let mut cases = Vec::new();
    for night in NIGHTS.iter().filter(|night| night.name.contains(&only)) {
        let (lab, set) = begun(night);
        let from = lab.sim.request_log().len();
        let wanted = Arc::new(rest(&lab, &set));
        let log = lab.sim.request_log().split_off(from);
        let writes: Vec<usize> = (0..log.len()).filter(|n| log[*n].0 != "GET").collect();
        assert!(writes.len() >= 3, "{}: nothing is done: {writes:?}", night.name);
        for (count, n) in writes.iter().enumerate() {
            let write = format!("{} {}", log[*n].0, log[*n].1);
            cases.extend(wounds.iter().map(|w| (night, Arc::clone(&wanted), write.clone(), (count, *n), w)));
        }
    }
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some((night, wanted, write, (count, n), wound)) =
                    cases.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let (lab, set) = begun(night);
                    match wound {
                        Wound::Fault(kind) => lab.sim.inject(Fault::at(*n as u64, kind.clone())),
                        Wound::Killed(cut) => until_killed(&lab, &set, *count, *cut),
                    }
                    let found = rest(&lab, &set);
                    if found != **wanted {
                        let why = format!("{} | {write} | {wound:?}:\nwanted {wanted:?}\nfound {found:?}", night.name);
                        wrong.lock().expect("nobody panics with it").push(why);
                    }
                }
            });
        }
    });
    let (cases, mut wrong) = (cases.len(), wrong.into_inner().expect("nobody panics with it"));
    wrong.iter_mut().for_each(|why| why.truncate(3000));
    let total = wrong.len();
    wrong.truncate(8);
    assert!(wrong.is_empty(), "{total} of {cases} cases went wrong:\n{}", wrong.join("\n\n"));
    assert!(!only.is_empty() || cases >= 250, "only {cases} cases");
}

// ---- nodes -----------------------------------------------------------------------------------------------------------

fn node_packages(lab: &Lab, node: &str) -> BTreeMap<String, String> {
    lab.sim.with_world(|w| w.nodes[node].disk.packages.clone())
}

#[test]
fn no_node_goes_beside_one_that_is_away() {
    let lab = lab();
    lab.sim.with_world(|w| w.nodes.get_mut("pve3").expect("it is there").online = false);
    let set = window("targets: {nodes: [pve1, pve2]}, reboot: Always");
    let writes = night(&lab, &set);
    assert_eq!(writes, Vec::<String>::new());
    let report = apply(&lab, &set);
    assert!(report.failed.is_empty());
}

#[test]
fn a_node_that_fails_stops_the_others_and_its_guests_run_elsewhere() {
    let lab = lab();
    let set = window("targets: {nodes: [pve1, pve2]}, reboot: Always, drain: {migrate: Offline}");
    let powers = |lab: &Lab| -> BTreeMap<u32, Power> {
        lab.sim.with_world(|w| w.guests.iter().map(|(vmid, g)| (*vmid, g.power)).collect())
    };
    let (before, second) = (powers(&lab), node_packages(&lab, "pve2"));
    lab.sim.with_world(|w| w.trouble(&Place::Node("pve1".into()), Trouble::Exits(100)));
    let writes = night(&lab, &set);
    assert_eq!(powers(&lab), before, "{writes:#?}");
    assert_eq!(node_packages(&lab, "pve2"), second, "{writes:#?}");
}

#[test]
fn a_guest_that_nobody_looked_into_is_not_taken_back() {
    let lab = lab();
    let set = window("targets: {selector: {vmids: [101]}}, onFailure: Rollback");
    // The daemon dies in the middle of the night, when the updates are in, and is started three days later.
    at(&lab, 2 * HOUR);
    let before = packages(&lab, 101);
    // Until the updates are in, and nobody has looked since.
    for _ in 0..40 {
        if packages(&lab, 101) != before {
            break;
        }
        apply(&lab, &set);
        advance(&lab, 10);
    }
    let after = packages(&lab, 101);
    assert_ne!(after, before);
    advance(&lab, DAY * 5 / 2);
    let frozen = window("freeze: ['2026-11-20..2026-11-30'], targets: {selector: {vmids: [101]}}, onFailure: Rollback");
    let from = lab.sim.request_log().len();
    play(&lab, &frozen, now(&lab) + HOUR);
    let writes = lab.writes_since(from);
    assert_eq!(count(&writes, "/rollback"), 0, "{writes:?}");
    assert_eq!(packages(&lab, 101), after);
    // The next opening ends it.
    night(&lab, &set);
    assert!(outcome(&lab, 101).is_some_and(|said| !said.contains("went back")), "{:?}", outcome(&lab, 101));
}

#[test]
fn a_link_that_is_lost_for_a_night_takes_nobody_back() {
    let lab = lab();
    let set = window("targets: {selector: {vmids: [201]}}, onFailure: Rollback");
    at(&lab, 2 * HOUR);
    let before = packages(&lab, 201);
    // Until the updates are in, and nobody has looked since.
    for _ in 0..40 {
        if packages(&lab, 201) != before {
            break;
        }
        apply(&lab, &set);
        advance(&lab, 10);
    }
    let after = packages(&lab, 201);
    let lost = FaultKind::Status(501, "no host link to node pve1 is configured".into());
    lab.sim.inject(Fault::on("GET", "/link/pve1/pct/201/jobs", lost).always());
    play(&lab, &set, now(&lab) + 6 * HOUR);
    assert_eq!(packages(&lab, 201), after);
    assert!(outcome(&lab, 201).is_some_and(|said| said.contains("failed: ")), "{:?}", outcome(&lab, 201));
}

#[test]
fn what_runs_for_ever_is_given_up_and_told() {
    let lab = lab();
    let set = window("targets: {selector: {vmids: [201]}}, onFailure: Rollback");
    trouble(&lab, 201, Trouble::Hangs);
    at(&lab, 2 * HOUR);
    play(&lab, &set, now(&lab) + 5 * HOUR);
    let said = outcome(&lab, 201).expect("its snapshot is there");
    assert!(said.contains("still runs long after the window has closed"), "{said}");
}

#[test]
fn a_node_whose_upgrade_is_killed_is_repaired_and_ended() {
    let lab = lab();
    let set = window("targets: {nodes: [pve2]}, reboot: Never");
    lab.sim.with_world(|w| w.trouble(&Place::Node("pve2".into()), Trouble::Killed));
    let before = node_packages(&lab, "pve2");
    let writes = night(&lab, &set);
    assert_ne!(node_packages(&lab, "pve2"), before, "{writes:#?}");
    assert_eq!(lab.sim.with_world(|w| w.nodes["pve2"].disk.half_configured.clone()), None);
}

#[test]
fn guests_come_before_nodes_or_after_them_as_told() {
    for (order, guest_first) in [("GuestsFirst", true), ("HostsFirst", false)] {
        let lab = lab();
        let set =
            window(&format!("targets: {{nodes: [pve3], selector: {{vmids: [201]}}}}, reboot: Never, order: {order}"));
        let writes = night(&lab, &set);
        let at =
            |what: &str| writes.iter().position(|w| w.contains(what)).unwrap_or_else(|| panic!("{what}: {writes:#?}"));
        assert_eq!(at("/link/pve1/pct/201/jobs") < at("/link/pve3/jobs"), guest_first, "{order}: {writes:#?}");
    }
}

// ---- what later waves get --------------------------------------------------------------------------------------------

#[test]
fn a_later_wave_never_gets_what_came_after_the_first() {
    let lab = lab();
    // The first wave is updated today, the second when that has soaked for a day: meanwhile the repository has moved on.
    let set = window(
        "cutoff: 15m, targets: {selector: {vmids: [201, 202]}}, waves: [{selector: {vmids: [201]}, soak: 20h}, {selector: {}}]",
    );
    night(&lab, &set);
    let first = packages(&lab, 201);
    assert!(outcome(&lab, 201).is_some_and(|said| said.contains("updated")));
    assert_eq!(outcome(&lab, 202), None);
    night(&lab, &set);
    let second = packages(&lab, 202);
    for (package, version) in &second {
        assert_eq!(first.get(package), Some(version), "{package} is newer than the first wave's of the day before");
    }
    assert!(!second.is_empty());
}
