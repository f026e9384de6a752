//! Guests by hand: every verb on the simulator, every refusal by its name and before the first write, what goes wrong with
//! each request of a verb, and some scenes through the real program.

use crate::cli::Said;
use crate::faults::{Cut, Mortal};
use crate::remote::{Client, Inside};
use crate::world::{Lab, delta, desired, normal, plain, run};
use clap::Parser;
use pvectl::cli::actions::ordered;
use pvectl::cli::args::{Cli, Verb};
use pvectl::cli::backups;
use pvectl::cli::guests::find;
use pvectl::cli::job;
use pvectl::engine::hand::{Performed, perform};
use pvectl::engine::reconcile::{Cluster, Halt};
use pvectl::kinds::guest::hand::deed::ByHand;
use pvectl::kinds::list::KINDS;
use pvectl::plan::gate::Refusal;
use pvectl::pve::api::Api;
use pvectl::report::event::Nobody;
use pvectl::resource::step::Note;
use pvectl::secret_files::Folder;
use pvectl::sim::faults::{Fault, FaultKind};
use pvectl::sim::world::{Guest, GuestType, Power, Snapshot, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

pub(crate) const GUESTS: &str = r"
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: web}, spec: {vmid: 120, node: pve1, description: front end, power: Running, hardware: {cores: 1, guestAgent: true}, disks: [{slot: scsi0, storage: nfs, size: 1Gi}], networks: [{slot: net0, bridge: vmbr0}]}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: local}, spec: {vmid: 121, node: pve1, power: Stopped, disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}]}}
---
{apiVersion: pvectl/v1alpha1, kind: Container, metadata: {name: dns}, spec: {vmid: 220, node: pve1, power: Running, from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}, rootfs: {storage: local-lvm, size: 1Gi}}}
";

/// Three guests of ours, two with a system in them; `web` on shared storage, where PVE keeps qcow2.
pub(crate) fn lab() -> Lab {
    let lab = Lab::homelab();
    lab.apply(&desired(GUESTS), &plain());
    lab.install();
    lab.sim.with_world(|w| {
        w.edit_guest(8000, "template", Some("1"));
        w.collect_statistics();
    });
    lab.sim
        .with_world(|w| w.volumes.iter_mut().filter(|v| v.vmid == Some(120)).for_each(|v| v.format = "qcow2".into()));
    lab.sim.advance(std::time::Duration::from_secs(60));
    lab
}

fn cli(line: &str) -> Cli {
    Cli::try_parse_from(format!("pvectl {line}").split(' ')).unwrap_or_else(|e| panic!("{line}: {e}"))
}

/// What stands against it: each thing with what to do.
fn against(halt: &Halt) -> Vec<String> {
    match halt {
        Halt::Refused(_, refusals) => refusals
            .iter()
            .map(|refusal| match refusal {
                Refusal::Problem(_, problem) => {
                    format!("{} | {}", problem.message, problem.help.as_deref().unwrap_or("no help"))
                }
                Refusal::DataLoss(_, step) => format!("data loss: {step}"),
                Refusal::TooManyDeletes { .. } => "too many deletes".to_owned(),
            })
            .collect(),
        Halt::Unreadable(_) | Halt::Blind(_) | Halt::Declined(_) => vec![crate::world::stopped(halt)],
    }
}

/// Does what a line says, through the given door; `Err`: what stands against it.
pub(crate) async fn attempt(lab: &Lab, api: &dyn Api, line: &str) -> Result<Performed, Vec<String>> {
    let cli = cli(line);
    let clock = lab.sim.clock();
    let names = lab.sim.names();
    let cluster = Cluster { api, clock: &clock, kinds: &KINDS, names: &names, files: &Folder::new("") };
    let told = |f: pvectl::cli::run::Failure| vec![format!("{} | {}", f.message, f.hint.unwrap_or_default())];
    if let Verb::Backup(verb) = &cli.verb {
        let allow = backups::agreed(verb).expect("a deed").allow.clone();
        let mut last = None;
        for hand in backups::hands(&cluster, verb, false).await.map_err(told)? {
            let consent = job::consent(&allow, None);
            let ended = perform(&cluster, hand.as_ref(), &consent, &Nobody, &|_| true).await;
            let ended = ended.map_err(|halt| against(&halt))?;
            let failed = ended.failure.is_some();
            last = Some(ended);
            if failed {
                break;
            }
        }
        return Ok(last.expect("it does something"));
    }
    let order = ordered(&cli.verb).expect("a verb of guests");
    let (target, seen) = find(&cluster, order.which).await.map_err(told)?;
    let hand = ByHand { deed: (order.make)(&seen.index).map_err(told)?, target };
    let consent = job::consent(&order.agreed.allow, None);
    perform(&cluster, &hand, &consent, &Nobody, &|_| true).await.map_err(|halt| against(&halt))
}

/// Does it, and insists that it is done.
#[track_caller]
pub(crate) fn does(lab: &Lab, line: &str) -> Performed {
    match run(attempt(lab, &lab.sim.api(), line)) {
        Ok(performed) if performed.failure.is_none() => performed,
        Ok(performed) => panic!("{line}: {:?}", performed.failure),
        Err(why) => panic!("{line}: {}", why.join("\n")),
    }
}

/// What is said about it before it is done.
pub(crate) fn said(performed: &Performed) -> Vec<String> {
    let notes = performed.first.deltas.iter().flat_map(|d| &d.notes);
    notes.filter_map(|n| if let Note::Info(text) = n { Some(text.clone()) } else { None }).collect()
}

/// Everything that PVE can be asked by these verbs, for the check against its schema.
pub(crate) fn every_request<A: Api>(api_of: impl Fn(&Lab) -> A) {
    for lines in LIVES {
        let lab = lab();
        let api = api_of(&lab);
        for line in *lines {
            match run(attempt(&lab, &api, line)) {
                Ok(performed) => assert!(performed.failure.is_none(), "{line}: {:?}", performed.failure),
                Err(why) => panic!("{line}: {}", why.join("\n")),
            }
        }
    }
    // A shutdown that nobody hears is overruled by a stop.
    let lab = lab();
    deaf(&lab, 120);
    lab.sim.with_world(shutting_down);
    run(attempt(&lab, &api_of(&lab), "stop vm web")).expect("it is stopped");
}

const LIVES: &[&[&str]] = &[
    &[
        "snapshot create vm web clean --ram --description before",
        "restart vm web --timeout 90s",
        "clone vm web twin --snapshot clean --full --storage nfs --target-node pve2",
        "snapshot branch vm web clean branch --vmid 190",
        "restore vm web clean --branch other --vmid 191 --storage nfs",
        "restore vm web clean --start --allow data-loss",
        "snapshot delete vm web clean",
        "migrate vm web pve2 --online",
        "shutdown vm web --timeout 20s",
        "start vm web",
        "stop vm web",
    ],
    &["start vm local", "migrate vm local pve3 --with-local-disks", "clone template 8000 from-template"],
    &[
        "snapshot create ct dns clean",
        "clone ct dns twin --snapshot clean",
        "snapshot rollback ct dns clean --allow data-loss",
        "snapshot delete ct dns clean",
        "start ct dns",
        "migrate ct dns pve3",
        "restart ct dns",
        "shutdown ct dns",
        "clone ct dns other --full --storage local-lvm",
        "start ct dns",
        "stop ct dns",
    ],
    &[
        "backup now web dns --storage nfs --mode stop --compress gzip --notes {{guestname}} --protected",
        "backup now local --storage local --mode suspend",
        "backup restore web --as twin --vmid 190 --storage nfs --target-node pve2 --start",
        "backup restore dns@latest --keep-mac",
        "shutdown vm web",
        "shutdown ct dns",
        "backup restore web --in-place --allow data-loss",
        "backup restore dns --in-place --start --storage local-lvm --allow data-loss",
    ],
];

/// Takes the system out of a machine: it hears no request to shut down.
fn deaf(lab: &Lab, vmid: u32) {
    lab.sim.with_world(|w| w.guests.get_mut(&vmid).expect("it is there").boot_seconds = None);
}

/// Somebody has asked `web` to shut down, and it does not hear it.
fn shutting_down(world: &mut World) {
    let answer = pvectl::sim::request::WireRequest {
        method: "POST".into(),
        path: "/nodes/pve1/qemu/120/status/shutdown".into(),
        params: vec![("timeout".into(), json!("600"))],
        auth: pvectl::sim::request::Auth::Trusted("root@pam".into()),
    };
    let answer = pvectl::sim::router::answer(world, &answer, None);
    assert_eq!(answer.status, 200, "{answer:?}");
}

// ---- each verb -------------------------------------------------------------------------------------------------------

fn power(lab: &Lab, vmid: u32) -> Power {
    lab.sim.with_world(|w| w.guests[&vmid].power)
}

#[test]
fn start_shutdown_stop_and_what_is_so_already() {
    let lab = lab();
    let log = lab.sim.request_log().len();
    does(&lab, "start vm local");
    assert_eq!(power(&lab, 121), Power::Running);
    let again = does(&lab, "start vm local");
    assert!(again.first.is_empty() && said(&again).contains(&"it is running already".to_owned()), "{again:?}");
    does(&lab, "stop vm 121");
    does(&lab, "shutdown ct dns");
    does(&lab, "shutdown ct dns");
    assert_eq!((power(&lab, 121), power(&lab, 220)), (Power::Stopped, Power::Stopped));
    let base = "/nodes/pve1/qemu/121/status";
    let wanted =
        [format!("POST {base}/start"), format!("POST {base}/stop"), "POST /nodes/pve1/lxc/220/status/shutdown".into()];
    assert_eq!(lab.writes_since(log), wanted);
}

#[test]
fn a_restart_is_another_process_and_a_guest_that_does_not_hear_is_not_stopped_hard() {
    let lab = lab();
    let before = lab.sim.with_world(|w| w.guests[&120].pid);
    does(&lab, "restart vm web");
    assert_ne!(lab.sim.with_world(|w| w.guests[&120].pid), before);
    deaf(&lab, 120);
    for line in ["shutdown vm web --timeout 5s", "restart vm web --timeout 5s"] {
        let log = lab.sim.request_log().len();
        let ended = run(attempt(&lab, &lab.sim.api(), line)).expect("it is sent");
        let (why, hint) = ended.failure.expect("nobody hears it");
        assert!(why.contains("powerdown failed - got timeout") && hint.is_some(), "{why}");
        assert_eq!((power(&lab, 120), lab.writes_since(log).len()), (Power::Running, 1), "{line}");
    }
}

#[test]
fn a_shutdown_that_nobody_hears_is_overruled_by_a_stop() {
    let lab = lab();
    deaf(&lab, 120);
    lab.sim.with_world(shutting_down);
    let refused = run(attempt(&lab, &lab.sim.api(), "restart vm web")).expect_err("it is being shut down");
    assert!(refused[0].starts_with("VM 120 is locked (qmshutdown)"), "{refused:?}");
    does(&lab, "stop vm web");
    assert_eq!(power(&lab, 120), Power::Stopped);
    let ended =
        lab.sim.with_world(|w| w.tasks.iter().find(|t| t.task_type == "qmshutdown").map(|t| t.exit_status.clone()));
    assert_eq!(ended.as_deref(), Some("received interrupt"));
}

#[test]
fn a_manifest_that_says_otherwise_and_a_guest_of_nobody_are_told() {
    let lab = lab();
    let told = said(&does(&lab, "shutdown vm web"));
    assert!(
        told.contains(&"its manifest says power: Running, and the next apply makes it so again".to_owned()),
        "{told:?}"
    );
    assert!(said(&does(&lab, "start vm web")).is_empty());
    let told = said(&does(&lab, "restart ct legacy-dns"));
    assert_eq!(told, ["pvectl does not own it; this is done because it was named"]);
}

#[test]
fn what_ha_manages_goes_through_its_manager_and_is_waited_for() {
    let lab = lab();
    let add = |sid: &str| {
        lab.sim.with_world(|w| {
            w.table("cluster/ha/resources")
                .insert(sid.into(), json!({"sid": sid, "type": &sid[..2], "state": "started"}))
        })
    };
    add("vm:120");
    add("ct:220");
    for (line, words, vmid, wanted) in [
        ("shutdown vm web --timeout 40s", "stops it hard if it has not shut down in 40 s", 120, Power::Stopped),
        ("start vm web", "asks the HA manager to start it (task hastart)", 120, Power::Running),
        ("stop ct dns", "asks the HA manager to stop it (task hastop)", 220, Power::Stopped),
    ] {
        let done = does(&lab, line);
        assert!(said(&done).iter().any(|s| s.contains(words)), "{line}: {:?}", said(&done));
        assert_eq!(power(&lab, vmid), wanted, "{line}");
    }
    let done = does(&lab, "migrate vm web pve2");
    assert!(said(&done).iter().any(|s| s.contains("task hamigrate")), "{:?}", said(&done));
    assert_eq!(lab.sim.with_world(|w| w.guests[&120].node.clone()), "pve2");
    let types: Vec<String> = lab.sim.with_world(|w| w.tasks.iter().map(|t| t.task_type.clone()).collect());
    for wanted in ["hastop", "hastart", "hamigrate"] {
        assert!(types.iter().any(|t| t == wanted), "{wanted}: {types:?}");
    }
}

#[test]
fn a_snapshot_there_and_back_again() {
    let lab = lab();
    does(&lab, "snapshot create vm web clean --ram --description before");
    let kept = lab.sim.with_world(|w| w.guests[&120].snapshots["clean"].clone());
    assert_eq!((kept.with_memory, kept.config["description"].as_str()), (true, "before\ntaken with pvectl"));
    lab.sim.with_world(|w| w.edit_guest(120, "cores", Some("4")));
    let told = said(&does(&lab, "restore vm web clean --allow data-loss"));
    assert!(told.contains(&"it runs: PVE stops it hard before it goes back".to_owned()), "{told:?}");
    let web = lab.sim.with_world(|w| w.guests[&120].clone());
    assert_eq!(
        (web.config["cores"].as_str(), web.power),
        ("1", Power::Running),
        "it goes on where its memory was saved"
    );
    // What pvectl took, it deletes without being told twice.
    does(&lab, "snapshot delete vm web clean");
    assert!(lab.sim.with_world(|w| w.guests[&120].snapshots.is_empty()));
    assert!(lab.preview(&desired(GUESTS), &plain()).is_empty(), "it is still ours, and as its manifest says");
}

#[test]
fn a_clone_is_nobodys_and_carries_no_marker() {
    let lab = lab();
    does(&lab, "clone vm web twin");
    let twin = lab.sim.with_world(|w| w.guests.get(&100).cloned()).expect("the smallest free number");
    assert_eq!((twin.config["name"].as_str(), twin.config["description"].as_str()), ("twin", "front end"));
    does(&lab, "clone vm local copy --vmid 333 --full");
    let copy = lab.sim.with_world(|w| w.guests[&333].config.clone());
    assert_eq!(copy["description"], "clone of local (121)", "its source has no words of its own");
    for (config, vmid) in [(&twin.config, 100), (&copy, 333)] {
        assert!(!config.get("tags").is_some_and(|t| t.contains("pvectl")), "{vmid}: {config:?}");
    }
    assert!(lab.preview(&desired(GUESTS), &plain()).is_empty(), "the manifests are not disturbed by them");
}

#[test]
fn a_branch_is_the_guest_as_it_was() {
    let lab = lab();
    does(&lab, "snapshot create vm web clean");
    lab.sim.with_world(|w| w.edit_guest(120, "cores", Some("4")));
    does(&lab, "restore vm web clean --branch web-before --vmid 190");
    let branch = lab.sim.with_world(|w| w.guests[&190].config.clone());
    assert_eq!((branch["cores"].as_str(), branch["name"].as_str()), ("1", "web-before"));
    assert_eq!(lab.sim.with_world(|w| w.guests[&120].config["cores"].clone()), "4", "the guest itself is left alone");
}

#[test]
fn a_clone_of_a_guest_with_a_fixed_address_is_warned_of() {
    let lab = lab();
    assert!(!said(&does(&lab, "clone vm web one")).iter().any(|t| t.contains("fixed address")));
    lab.sim.with_world(|w| w.edit_guest(120, "ipconfig0", Some("ip=10.0.0.5/24,ip6=auto")));
    let told = said(&does(&lab, "clone vm web two"));
    assert!(
        told.contains(&"it has its source's fixed address (10.0.0.5/24): change it before both run".to_owned()),
        "{told:?}"
    );
    does(&lab, "shutdown ct legacy-dns");
    let told = said(&does(&lab, "clone ct legacy-dns three"));
    assert!(told.iter().any(|t| t.contains("(192.168.1.53/24)")), "{told:?}");
}

#[test]
fn a_migration_by_what_the_guest_does() {
    let lab = lab();
    does(&lab, "migrate vm web pve2");
    does(&lab, "migrate vm local pve2 --offline");
    let told = said(&does(&lab, "migrate ct dns pve2"));
    assert!(told.iter().any(|t| t.starts_with("a container does not move while it runs")), "{told:?}");
    let nodes = lab.sim.with_world(|w| [120, 121, 220].map(|v| w.guests[&v].node.clone()));
    assert_eq!(nodes, ["pve2", "pve2", "pve2"]);
    assert_eq!((power(&lab, 120), power(&lab, 220)), (Power::Running, Power::Running));
    assert!(does(&lab, "migrate vm web pve2").first.is_empty(), "it is there already");
}

#[test]
fn a_precheck_that_the_version_lacks_is_none_and_a_read_that_fails_is_a_reason_to_send_nothing() {
    let lab = lab();
    let lacks = FaultKind::Status(501, "Method 'GET /nodes/pve1/lxc/220/migrate' not implemented".into());
    lab.sim.inject(Fault::on("GET", "/lxc/220/migrate", lacks));
    does(&lab, "migrate ct dns pve2");
    let forbidden = FaultKind::Status(403, "Permission check failed (/vms/120, VM.Audit)".into());
    lab.sim.inject(Fault::on("GET", "/qemu/120/feature", forbidden).always());
    for line in ["clone vm web twin", "snapshot create vm web s1"] {
        let log = lab.sim.request_log().len();
        let why = run(attempt(&lab, &lab.sim.api(), line)).expect_err("it is refused");
        assert!(why[0].starts_with("what it takes could not be read: GET /nodes/pve1/qemu/120/feature"), "{why:?}");
        assert!(why[0].contains("--privs VM.Audit") && lab.writes_since(log).is_empty(), "{why:?}");
    }
}

// ---- each refusal ----------------------------------------------------------------------------------------------------

/// Refused before the first write, with these words and this advice.
#[track_caller]
pub(crate) fn refused(line: &str, change: impl FnOnce(&mut World), words: &str, help: &str) {
    refused_as("root@pam", line, change, words, help);
}

#[track_caller]
pub(crate) fn refused_as(user: &str, line: &str, change: impl FnOnce(&mut World), words: &str, help: &str) {
    let lab = lab();
    lab.sim.with_world(change);
    let log = lab.sim.request_log().len();
    let why = match run(attempt(&lab, &lab.sim.api_as(user), line)) {
        Err(why) => why,
        Ok(done) => panic!("{line} was not refused: {done:?}"),
    };
    assert!(why.iter().any(|w| w.contains(words) && w.contains(help)), "{line}: {why:?}");
    assert_eq!(lab.writes_since(log), Vec::<String>::new(), "{line} was refused, and something was sent");
}

fn web(world: &mut World) -> &mut Guest {
    world.guests.get_mut(&120).expect("it is there")
}

fn as_zfs(world: &mut World) {
    world.storages.get_mut("nfs").expect("it is there").storage_type = "zfspool".into();
}

fn with_snapshot(world: &mut World, name: &str, time: u64, description: &str) {
    let mut config = web(world).config.clone();
    config.insert("snaptime".into(), time.to_string());
    config.insert("description".into(), description.into());
    web(world).snapshots.insert(name.into(), Snapshot { config, ..Snapshot::default() });
    web(world).config.insert("parent".into(), name.into());
}

const EVERY: [&str; 9] = [
    "stop vm web",
    "shutdown vm web",
    "restart vm web",
    "clone vm web twin",
    "migrate vm web pve2",
    "snapshot create vm web x1",
    "snapshot delete vm web s1",
    "restore vm web s1 --allow data-loss",
    "backup now web --storage nfs",
];

#[test]
fn a_locked_guest_is_left_alone_by_every_verb() {
    for line in EVERY {
        let lock = |w: &mut World| {
            with_snapshot(w, "s1", 5, "");
            w.edit_guest(120, "lock", Some("backup"));
        };
        refused(line, lock, "VM 120 is locked (backup)", "wait until its task has ended");
    }
}

#[test]
fn without_a_quorum_or_its_node_no_verb_sends_anything() {
    for line in EVERY {
        let snapshot = |w: &mut World| with_snapshot(w, "s1", 5, "");
        let no_quorum = |w: &mut World| {
            snapshot(w);
            w.quorate = false;
        };
        refused(line, no_quorum, "the cluster has no quorum", "pvecm status");
        let offline = |w: &mut World| {
            snapshot(w);
            w.entry_node = "pve2".into();
            w.nodes.get_mut("pve1").expect("it is there").online = false;
        };
        let by_number = line.replace("vm web", "vm 120").replace("now web", "now 120");
        refused(&by_number, offline, "node `pve1` does not answer, and guest 120 is on it", "wait until it is back");
    }
}

#[test]
fn every_missing_privilege_is_named_with_its_path_and_the_command_that_grants_it() {
    const LOOK: [&str; 5] = ["VM.Audit", "Sys.Audit", "Pool.Audit", "Datastore.Audit", "SDN.Audit"];
    for (line, privilege, path) in [
        ("stop vm web", "VM.PowerMgmt", "/vms/120"),
        ("restart vm web", "VM.PowerMgmt", "/vms/120"),
        ("clone vm web twin --vmid 190", "VM.Clone", "/vms/120"),
        ("clone vm web twin --vmid 190", "VM.Allocate", "/vms/190"),
        ("clone vm web twin --vmid 190", "Datastore.AllocateSpace", "/storage/nfs"),
        ("clone vm local twin --storage nfs", "Datastore.AllocateSpace", "/storage/nfs"),
        ("migrate vm web pve2", "VM.Migrate", "/vms/120"),
        ("snapshot create vm web x1", "VM.Snapshot", "/vms/120"),
        ("snapshot delete vm web s1", "VM.Snapshot", "/vms/120"),
        ("restore vm web s1", "VM.Snapshot.Rollback", "/vms/120"),
        ("restore vm web s1 --start", "VM.PowerMgmt", "/vms/120"),
        ("backup now web --storage nfs", "VM.Backup", "/vms/120"),
        ("backup now web --storage nfs", "Datastore.AllocateSpace", "/storage/nfs"),
    ] {
        let few = |w: &mut World| {
            with_snapshot(w, "s1", 5, "taken with pvectl");
            w.roles.insert("few".into(), LOOK.map(str::to_owned).into());
            w.acl.push(pvectl::sim::world::AclEntry {
                path: "/".into(),
                subject_type: "token".into(),
                subject: "admin@pve!priv".into(),
                role: "few".into(),
                propagate: true,
            });
        };
        let words = format!("the privilege {privilege} on {path} is missing");
        refused_as("admin@pve!priv", line, few, &words, "pveum role modify ROLE --append 1 --privs");
    }
}

#[test]
fn power_that_cannot_be() {
    refused("start vm debian-12-cloud", |_| {}, "VM 8000 is a template", "pvectl clone VirtualMachine 8000 NEWNAME");
    refused("restart vm local", |_| {}, "VM 121 does not run", "pvectl start VirtualMachine 121");
    refused("shutdown vm web", |w| web(w).power = Power::Paused, "VM 120 is paused", "status/resume");
    refused("start vm web", |w| web(w).power = Power::Paused, "VM 120 is paused", "status/resume");
}

#[test]
fn names_that_name_no_guest_or_several() {
    refused("start vm wbe", |_| {}, "there is no VirtualMachine `wbe`", "did you mean `web`?");
    refused("start ct 120", |_| {}, "there is no Container `120`", "pvectl get Container lists what there is");
    let twins = |w: &mut World| {
        for (vmid, name) in [(121, "same"), (8100, "same")] {
            w.edit_guest(vmid, "name", Some(name));
            w.edit_guest(vmid, "description", None);
        }
        w.collect_statistics();
    };
    refused("stop vm same", twins, "several guests are called `same`: 121, 8100", "name it by its VMID");
    refused("start pool web", |_| {}, "Pool is no kind of guests", "vm, ct or template");
}

#[test]
fn snapshots_that_cannot_be() {
    let s1 = |w: &mut World| with_snapshot(w, "clean", 5, "by hand");
    refused("snapshot create vm web clean", s1, "VM 120 has a snapshot `clean` already", "take another name");
    refused("snapshot create vm local s1 --ram", |_| {}, "VM 121 does not run, so there is no memory to save", "--ram");
    refused("snapshot create ct dns s1 --ram", |_| {}, "PVE saves no memory of containers", "leave --ram out");
    let raw = |w: &mut World| {
        w.volumes.iter_mut().filter(|v| v.vmid == Some(120)).for_each(|v| v.format = "raw".into());
    };
    refused("snapshot create vm web s1", raw, "the storages of VM 120 (nfs) cannot take snapshots", "thin LVM, ZFS");
    refused("snapshot delete vm web claen", s1, "VM 120 has no snapshot `claen`", "did you mean `clean`?");
    refused("restore vm web gone --allow data-loss", s1, "VM 120 has no snapshot `gone`", "its snapshots: clean");
    refused("restore ct dns gone", |_| {}, "CT 220 has no snapshot `gone`", "it has no snapshots");
    refused("restore vm web gone --branch b", s1, "VM 120 has no snapshot `gone`", "its snapshots: clean");
}

#[test]
fn snapshots_that_cannot_be_taken_or_gone_back_to() {
    refused(
        "snapshot create vm web Pending",
        |_| {},
        "PVE keeps the snapshot name `Pending` for itself",
        "another name",
    );
    refused("snapshot create ct dns vzdump", |_| {}, "PVE keeps the snapshot name `vzdump` for itself", "another name");
    refused(
        "snapshot create vm 8000 s1",
        |_| {},
        "VM 8000 is a template, and PVE takes no snapshots of one",
        "clone it",
    );
    for (key, value) in [("hostpci0", "0000:01:00,pcie=1"), ("virtiofs0", "share"), ("amd-sev", "std")] {
        let with = |w: &mut World| w.edit_guest(120, key, Some(value));
        let words = format!("the memory of VM 120 cannot be saved: it has {key} ({value})");
        refused("snapshot create vm web s1 --ram", with, &words, "leave --ram out");
        let lab = lab();
        lab.sim.with_world(with);
        does(&lab, "snapshot create vm web s1");
    }
    let mapped = lab();
    mapped.sim.with_world(|w| w.edit_guest(120, "hostpci0", Some("mapping=gpu")));
    let ended = run(attempt(&mapped, &mapped.sim.api(), "snapshot create vm web s1 --ram")).expect("it may go");
    assert!(said(&ended).iter().any(|s| s.contains("live-migration-capable")), "{:?}", said(&ended));
    // What cannot be is said by QEMU in the task, and all of it is taken back.
    let (why, _) = ended.failure.expect("it is not");
    assert!(why.contains("VFIO migration is not supported in kernel"), "{why}");
    assert!(mapped.sim.with_world(|w| web(w).snapshots.is_empty() && !web(w).config.contains_key("lock")));
}

#[test]
fn what_is_newer_than_the_one_gone_back_to_is_told() {
    let lab = lab();
    lab.sim.with_world(|w| {
        with_snapshot(w, "old", 5, "");
        with_snapshot(w, "auto-1", 9, "taken with pvectl for SnapshotPolicy/nightly of lab");
        with_snapshot(w, "auto-2", 12, "taken with pvectl for SnapshotPolicy/nightly of lab");
    });
    let told = said(&does(&lab, "snapshot rollback vm web old --allow data-loss"));
    assert!(told.contains(&"snapshots that are newer stay, in another branch: auto-1, auto-2".to_owned()), "{told:?}");
    let words = "SnapshotPolicy nightly keeps and prunes its snapshots in both branches by their ages";
    assert_eq!(told.iter().filter(|t| *t == words).count(), 1, "{told:?}");
}

/// Does it with a task that is killed after so many volumes; how it was told.
fn dies(lab: &Lab, line: &str, method: &str, volumes: usize) -> (String, String) {
    lab.sim.inject(Fault::on(method, "/snapshot", FaultKind::TaskDies(volumes)));
    let ended = run(attempt(lab, &lab.sim.api(), line)).expect("it is sent");
    let (why, hint) = ended.failure.expect("its task was killed");
    (why, hint.unwrap_or_default())
}

fn refuses(lab: &Lab, line: &str) -> String {
    let log = lab.sim.request_log().len();
    let why = run(attempt(lab, &lab.sim.api(), line)).expect_err("it is refused").join("\n");
    assert_eq!(lab.writes_since(log), Vec::<String>::new(), "{line}");
    why
}

fn unlock(lab: &Lab, vmid: u32) {
    lab.sim.with_world(|w| w.edit_guest(vmid, "lock", None));
}

#[test]
fn a_snapshot_whose_task_was_killed_is_recognised_and_deleted_without_force() {
    let lab = lab();
    let started = lab.sim.with_world(|w| w.clock_ms);
    let (why, hint) = dies(&lab, "snapshot create vm web s1", "POST", 1);
    assert!(why.contains("unexpected status"), "{why}");
    assert_eq!(
        hint,
        "PVE left the lock `snapshot`: pvectl snapshot list VirtualMachine web says what is left and what to do"
    );
    assert!(lab.sim.with_world(|w| w.clock_ms) - started < 60_000, "a lock that nobody takes away is not waited for");
    // With the lock there, nothing is sent, and the way out is told.
    for line in
        ["snapshot create vm web s2", "snapshot delete vm web s1", "snapshot rollback vm web s1 --allow data-loss"]
    {
        let why = refuses(&lab, line);
        assert!(
            why.contains(
                "VM 120 is locked (snapshot) | when no task and no backup works on it any more, as root on node pve1: qm unlock 120"
            ),
            "{why}"
        );
    }
    unlock(&lab, 120);
    let half = "snapshot `s1` of 120 is half made (prepare): it was being taken when its task died | pvectl snapshot delete VirtualMachine 120 s1";
    for line in [
        "snapshot create vm web s1",
        "snapshot rollback vm web s1 --allow data-loss",
        "snapshot branch vm web s1 twin",
        "clone vm web twin --snapshot s1",
    ] {
        let why = refuses(&lab, line);
        assert!(why.contains(half), "{line}: {why}");
    }
    let done = does(&lab, "snapshot delete vm web s1");
    assert!(said(&done).iter().any(|s| s.starts_with("it is half made (prepare)")), "{:?}", said(&done));
    assert!(lab.sim.with_world(|w| web(w).snapshots.is_empty() && !web(w).config.contains_key("lock")));
}

#[test]
fn one_that_its_disk_does_not_have_goes_by_hand_only_and_that_is_said_before() {
    let lab = lab();
    dies(&lab, "snapshot create vm web s1", "POST", 0);
    unlock(&lab, 120);
    let ended = run(attempt(&lab, &lab.sim.api(), "snapshot delete vm web s1")).expect("it is sent");
    let words = "then it goes only by hand, as root on node pve1: qm unlock 120 && qm delsnapshot 120 s1 --force";
    assert!(said(&ended).iter().any(|s| s.ends_with(words)), "{:?}", said(&ended));
    let (why, hint) = ended.failure.expect("PVE cannot");
    assert!(why.contains("does not exist on device 'drive-scsi0'"), "{why}");
    assert!(hint.is_some_and(|h| h.starts_with("PVE left the lock `snapshot-delete`")));
    let sent = lab.sim.with_world(|w| w.tasks.iter().filter(|t| t.told["force"] == true).count());
    assert_eq!(sent, 0, "never with force");
}

#[test]
fn a_deletion_that_was_killed_goes_on_and_a_rollback_that_was_killed_says_where_it_stands() {
    let lab = lab();
    does(&lab, "snapshot create ct dns s1");
    let (_, hint) = dies(&lab, "snapshot delete ct dns s1", "DELETE", 1);
    assert!(hint.starts_with("PVE left the lock `snapshot-delete`"), "{hint}");
    assert!(refuses(&lab, "snapshot delete ct dns s1").contains("pct unlock 220"));
    unlock(&lab, 220);
    does(&lab, "snapshot delete ct dns s1");
    does(&lab, "snapshot create ct dns s2");
    let (why, hint) = dies(&lab, "snapshot rollback ct dns s2 --allow data-loss", "POST", 0);
    assert!(why.contains("unexpected status") && hint.starts_with("PVE left the lock `rollback`"), "{why}: {hint}");
    unlock(&lab, 220);
    does(&lab, "snapshot rollback ct dns s2 --allow data-loss");
}

#[test]
fn what_would_be_lost_is_not_given_up_unasked() {
    let foreign = |w: &mut World| with_snapshot(w, "clean", 5, "by hand");
    refused("restore vm web clean --yes", foreign, "data loss: roll 120 back to `clean`", "");
    refused("snapshot delete vm web clean --yes", foreign, "data loss: delete snapshot `clean` of 120", "");
}

#[test]
fn zfs_goes_back_to_the_newest_only_and_copies_nothing_out_of_a_snapshot() {
    let two = |w: &mut World| {
        as_zfs(w);
        with_snapshot(w, "old", 5, "");
        with_snapshot(w, "new", 9, "");
    };
    refused(
        "restore vm web old --allow data-loss",
        two,
        "`old` is not the newest snapshot, and storage `nfs` goes back to the newest only",
        "delete the newer ones first: new",
    );
    refused(
        "restore vm web new --branch b",
        two,
        "its storages (nfs) cannot copy out of a snapshot, so there is no branch of `new`",
        "pvectl restore VirtualMachine 120 new",
    );
}

#[test]
fn clones_that_cannot_be() {
    refused("clone vm web local", |_| {}, "there is a guest called `local` already (121 on pve1)", "another name");
    refused("clone vm web twin --vmid 220", |_| {}, "VMID 220 is taken by", "; 100 is free");
    refused("clone vm web twin --linked", |_| {}, "its storages (nfs) make linked clones of templates only", "--full");
    refused(
        "clone template 8000 twin --storage nfs",
        |_| {},
        "a linked clone stays on the storage of its base",
        "or say --full",
    );
    refused("clone vm web twin --storage zfs", |_| {}, "node `pve1` has no storage `zfs`", "that take `images`:");
    let no_images = |w: &mut World| {
        w.storages.get_mut("local").expect("it is there").config.insert("content".into(), "iso,backup".into());
    };
    refused(
        "clone vm web twin --storage local",
        no_images,
        "`local` does not take `images`",
        "that do: local-lvm, nfs",
    );
    refused("clone vm web twin --target-node pve9", |_| {}, "there is no node `pve9`", "nodes: pve1, pve2, pve3");
    let off = |w: &mut World| w.nodes.get_mut("pve3").expect("it is there").online = false;
    refused("clone vm web twin --target-node pve3", off, "node `pve3` does not answer", "take another");
    refused(
        "clone vm local twin --target-node pve2",
        |_| {},
        "it cannot be cloned to node `pve2`: its disks are on `local-lvm`, which only `pve1` has",
        "clone it on `pve1`, and migrate the copy",
    );
    refused(
        "clone ct dns twin",
        |_| {},
        "CT 220 runs, and PVE copies a running container only out of",
        "--snapshot NAME",
    );
}

#[test]
fn migrations_that_cannot_be() {
    refused("migrate vm web pve9", |_| {}, "there is no node `pve9`", "nodes: pve1, pve2, pve3");
    let off = |w: &mut World| w.nodes.get_mut("pve3").expect("it is there").online = false;
    refused("migrate vm web pve3", off, "node `pve3` does not answer", "take another");
    refused("migrate vm web pve2 --offline", |_| {}, "VM 120 runs", "pvectl shutdown VirtualMachine 120");
    refused("migrate vm local pve2 --online", |_| {}, "VM 121 does not run", "leave --online out");
    refused("migrate ct dns pve2 --online", |_| {}, "a container does not move while it runs", "leave --online out");
    refused("migrate vm 8100 pve1", |_| {}, "only `pve2` has: local-lvm:vm-8100-disk-0", "--with-local-disks");
    let only_here = |w: &mut World| {
        w.storages.get_mut("local-lvm").expect("it is there").config.insert("nodes".into(), "pve1".into());
    };
    let words = "`pve2` does not have the storages that it is on: local-lvm";
    refused("migrate vm local pve2", only_here, words, "a storage that both nodes have");
    // Containers are not prechecked by every version: the index says it.
    refused("migrate ct dns pve2", only_here, words, "a storage that both nodes have");
}

// ---- what goes wrong -------------------------------------------------------------------------------------------------

/// The state without what passes, and without when snapshots and backups were taken: of backups, that there is one.
fn lasting(world: &World) -> Value {
    let mut world = world.clone();
    let mut kept = BTreeSet::new();
    world.volumes.retain_mut(|volume| {
        if volume.content != "backup" {
            return true;
        }
        let storage = volume.volid.split(':').next().unwrap_or_default();
        volume.volid = format!("{storage}:backup/of-{}", volume.vmid.unwrap_or_default());
        (volume.ctime, volume.backup_of) = (0, None);
        kept.insert(volume.volid.clone())
    });
    for guest in world.guests.values_mut() {
        for snapshot in guest.snapshots.values_mut() {
            snapshot.config.remove("snaptime");
            snapshot.config.remove("vmgenid");
        }
    }
    normal(&world)
}

struct Ready {
    line: &'static str,
    start: World,
    wanted: Value,
    /// The requests that are wounded, by number, and whether they write.
    requests: Vec<(usize, bool)>,
}

/// A line of the matrix, and what was done before it.
const MATRIX: [(&str, &[&str]); 18] = [
    ("start vm local", &[]),
    ("stop vm web", &[]),
    ("shutdown ct dns", &[]),
    ("restart vm web", &[]),
    ("restart ct dns", &[]),
    ("clone vm web twin --vmid 190", &[]),
    ("clone ct dns twin --vmid 190 --snapshot s1", &["snapshot create ct dns s1"]),
    ("migrate vm web pve2", &[]),
    ("migrate ct dns pve2", &[]),
    ("snapshot create vm web s1 --ram", &[]),
    ("snapshot delete ct dns s1", &["snapshot create ct dns s1"]),
    ("restore vm web s1 --allow data-loss", &["snapshot create vm web s1", "migrate vm local pve2"]),
    ("backup now web --storage nfs --protected", &[]),
    ("backup restore web@latest --vmid 190 --as twin --storage nfs", &["backup now web --storage nfs"]),
    ("backup restore web --in-place --allow data-loss", &["backup now web --storage nfs", "shutdown vm web"]),
    ("backup restore ct/dns --in-place --allow data-loss", &["backup now dns --storage nfs", "shutdown ct dns"]),
    ("snapshot rollback ct dns s1 --start --allow data-loss", &["snapshot create ct dns s1"]),
    ("snapshot branch vm web s1 twin --vmid 190", &["snapshot create vm web s1"]),
];

fn ready((line, before): (&'static str, &[&str])) -> Ready {
    let lab = lab();
    before.iter().for_each(|line| drop(does(&lab, line)));
    if line.contains("restore") || line.starts_with("snapshot rollback") {
        let vmid = if line.contains("ct") { 220 } else { 120 };
        lab.sim.with_world(|w| w.edit_guest(vmid, "cores", Some("4")));
    }
    let start = lab.world();
    let log = lab.sim.request_log().len();
    does(&lab, line);
    lab.sim.finish_tasks();
    let paths = lab.sim.request_log().split_off(log);
    // Of many looks at the same, two stand for all.
    let fresh = |n: &usize| paths[..*n].iter().filter(|p| **p == paths[*n]).count() < 2;
    let requests = (0..paths.len()).filter(fresh).map(|n| (n, paths[n].0 != "GET")).collect();
    Ready { line, start, wanted: lasting(&lab.world()), requests }
}

/// The run after it: done, or told that it is so. `Err` says what is wrong.
fn second(ready: &Ready, lab: &Lab) -> Result<(), String> {
    lab.sim.finish_tasks();
    // A task of a snapshot that failed may have left its lock: it is said with the command for it, and that is done.
    if let Some((vmid, unlock)) = left(lab) {
        match run(attempt(lab, &lab.sim.api(), ready.line)) {
            Err(why) if why.iter().any(|w| w.contains(&unlock)) => {
                lab.sim.with_world(|w| w.edit_guest(vmid, "lock", None))
            }
            other => return Err(format!("nobody is told to say {unlock}: {other:?}")),
        }
    }
    match run(attempt(lab, &lab.sim.api(), ready.line)) {
        Ok(Performed { failure: None, .. }) => {}
        Ok(Performed { failure: Some((why, _)), .. }) => return Err(format!("the run after it fails: {why}")),
        // What it would make is there, and what it would delete is not.
        Err(why)
            if why
                .iter()
                .all(|w| w.contains("already") || w.contains("is taken by") || w.contains("has no snapshot")) => {}
        Err(why) => return Err(format!("the run after it is refused: {}", why.join("\n"))),
    }
    lab.sim.finish_tasks();
    // A clone that was cut short between its two requests keeps our tag, which says nothing without a marker.
    let untagged = |mut state: Value| {
        if let Some(config) = state.pointer_mut("/guests/190/config").and_then(Value::as_object_mut) {
            config.remove("tags");
        }
        state
    };
    // A container that is restored once more has its volumes under other numbers.
    let unnumbered = |state: Value| {
        let text = state.to_string();
        let text = if ready.line.contains("in-place") { text.replace("-disk-1", "-disk-0") } else { text };
        serde_json::from_str::<Value>(&text).expect("it was JSON")
    };
    let (now, wanted) = (unnumbered(untagged(lasting(&lab.world()))), unnumbered(untagged(ready.wanted.clone())));
    if now == wanted { Ok(()) } else { Err(format!("another end: {}", delta(&wanted, &now))) }
}

/// The guest on which a work on snapshots has left its lock, and the command that takes it away.
fn left(lab: &Lab) -> Option<(u32, String)> {
    lab.sim.with_world(|w| {
        let lock = |g: &Guest| g.config.get("lock").is_some_and(|l| l.starts_with("snapshot") || l == "rollback");
        let (vmid, guest) = w.guests.iter().find(|(_, g)| lock(g))?;
        let program = if guest.guest_type == GuestType::Qemu { "qm" } else { "pct" };
        Some((*vmid, format!("{program} unlock {vmid}")))
    })
}

fn wounded(ready: &Ready, n: usize, kind: &FaultKind) -> Result<(), String> {
    let lab = Lab::of(ready.start.clone());
    let log = lab.sim.request_log().len();
    lab.sim.inject(Fault::at(n as u64, kind.clone()));
    let ended = run(attempt(&lab, &lab.sim.api(), ready.line));
    lab.sim.clear_faults();
    let writes = lab.writes_since(log);
    // A clone is two requests: PVE copies our tag, which is taken off after.
    if writes.iter().collect::<BTreeSet<_>>().len() < writes.len() || writes.len() > 2 {
        return Err(format!("sent more than once: {writes:?}"));
    }
    lab.sim.finish_tasks();
    let now = lasting(&lab.world());
    match ended {
        Ok(Performed { failure: None, .. }) if now != ready.wanted => {
            return Err(format!("it says that it is done, but {}", delta(&ready.wanted, &now)));
        }
        Ok(Performed { failure: Some((why, _)), .. }) if why.trim().is_empty() => {
            return Err("it says nothing".to_owned());
        }
        Ok(_) => {}
        Err(why) if why.is_empty() || !writes.is_empty() => return Err(format!("refused after a write: {why:?}")),
        Err(_) => {}
    }
    second(ready, &lab)
}

fn killed(ready: &Ready, n: usize, cut: Cut) -> Result<(), String> {
    let lab = Lab::of(ready.start.clone());
    let api = Mortal::at(lab.sim.api(), n, cut);
    let mut future = pin!(attempt(&lab, &api, ready.line));
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..200_000 {
        if future.as_mut().poll(&mut cx).is_ready() || api.is_dead() {
            return second(ready, &lab);
        }
    }
    Err("it neither ends nor dies".to_owned())
}

/// What can happen to a request; tasks and file locks are no matter of reads.
fn wounds(write: bool) -> Vec<FaultKind> {
    let mut all = vec![
        FaultKind::Unsent,
        FaultKind::DropBefore,
        FaultKind::Status(500, "unable to read the configuration".into()),
        FaultKind::Status(503, "Service Unavailable".into()),
        FaultKind::Status(403, "Permission check failed".into()),
        FaultKind::NodeOffline,
        FaultKind::Locked("backup".into()),
        FaultKind::Expired,
    ];
    if write {
        all.extend([
            FaultKind::DropAfter,
            FaultKind::Slow(90_000),
            FaultKind::TaskFails("command 'lvcreate' failed: exit code 5".into()),
            FaultKind::TaskWarns,
            FaultKind::LockTimeout,
        ]);
    }
    all
}

#[test]
#[expect(clippy::print_stderr, reason = "the number of cases is worth knowing")]
fn whatever_goes_wrong_it_is_done_or_told_and_never_sent_twice() {
    let (mut cases, mut wrong) = (0, Vec::new());
    for scene in MATRIX {
        let ready = ready(scene);
        for (n, write) in ready.requests.iter().copied() {
            for kind in wounds(write) {
                cases += 1;
                if let Err(why) = wounded(&ready, n, &kind) {
                    wrong.push(format!("{} | request {n} | {kind:?}: {why}", ready.line));
                }
            }
            for cut in [Cut::Before, Cut::After] {
                cases += 1;
                if let Err(why) = killed(&ready, n, cut) {
                    wrong.push(format!("{} | request {n} | killed {cut:?}: {why}", ready.line));
                }
            }
        }
    }
    eprintln!("{cases} cases");
    let total = wrong.len();
    wrong.iter_mut().for_each(|why| why.truncate(700));
    wrong.truncate(20);
    assert!(wrong.is_empty(), "{total} of {cases} cases went wrong:\n{}", wrong.join("\n\n"));
    assert!(cases > 1500, "only {cases} cases");
}

#[test]
fn mutant_the_matrix_sees_a_wrong_end_and_a_second_request() {
    let mut wrong = ready(MATRIX[0]);
    wrong.wanted["guests"]["121"]["power"] = "paused".into();
    assert!(wounded(&wrong, 0, &FaultKind::Expired).is_err_and(|why| why.contains("it says that it is done")));
    let twice = Ready { line: "restart vm web", ..ready(MATRIX[3]) };
    let lab = Lab::of(twice.start.clone());
    let log = lab.sim.request_log().len();
    (0..2).for_each(|_| drop(does(&lab, twice.line)));
    assert_eq!(lab.writes_since(log).len(), 2, "writes are counted");
}

#[test]
fn a_lost_answer_is_found_in_the_task_list_and_one_that_never_arrived_is_told() {
    for (line, before, word) in [
        ("restart vm web", None, "reboot"),
        ("restore vm web s1 --allow data-loss", Some("snapshot create vm web s1"), "rollback"),
        ("clone vm web twin", None, "clone"),
    ] {
        for (kind, done) in [(FaultKind::DropAfter, true), (FaultKind::DropBefore, false)] {
            let lab = lab();
            before.iter().for_each(|line| drop(does(&lab, line)));
            lab.sim.inject(Fault::on("POST", word, kind.clone()));
            let ended = run(attempt(&lab, &lab.sim.api(), line)).expect("it is sent");
            match (done, ended.failure) {
                (true, None) => {
                    let warning = ended.warning.expect("it is told");
                    assert!(warning.contains("its task was found, and it ended well"), "{warning}");
                }
                (false, Some((why, Some(hint)))) => {
                    assert!(why.contains("it was looked for, and") || why.contains("its task was not found"), "{why}");
                    assert!(hint.contains("sent once, and not again"), "{hint}");
                }
                (_, failure) => panic!("{line} {kind:?}: {failure:?}"),
            }
        }
    }
}

#[test]
fn a_start_that_fails_and_yet_has_started_is_done_with_a_warning() {
    let lab = lab();
    lab.sim.inject(Fault::on("POST", "/status/start", FaultKind::TaskFails("start failed: got timeout".into())));
    lab.sim.with_world(|w| w.guests.get_mut(&121).expect("it is there").boot_seconds = Some(1));
    // Its task fails, and somebody else has started it meanwhile.
    let api = lab.sim.api();
    let mut future = pin!(attempt(&lab, &api, "start vm local"));
    let mut cx = Context::from_waker(Waker::noop());
    let ended = loop {
        if let std::task::Poll::Ready(ended) = future.as_mut().poll(&mut cx) {
            break ended.expect("it is sent");
        }
        if lab.sim.with_world(|w| w.tasks.iter().any(|t| t.task_type == "qmstart" && t.id == "121")) {
            lab.sim.with_world(|w| w.guests.get_mut(&121).expect("it is there").power = Power::Running);
        }
    };
    assert!(ended.failure.is_none(), "{:?}", ended.failure);
    assert!(ended.warning.is_some_and(|w| w.contains("got timeout") && w.contains("as it was asked")));
}

// ---- through the real program ----------------------------------------------------------------------------------------

/// Runs lines one after the other on one simulated cluster.
pub(crate) struct Scene(pub(crate) tempfile::TempDir);

impl Scene {
    pub(crate) fn run(&self, words: &str) -> Said {
        let state = self.0.path().join("sim.json");
        let output = assert_cmd::Command::cargo_bin("pvectl")
            .expect("the program is built")
            .args(["--sim", "--sim-state"])
            .arg(state)
            .args(words.split(' '))
            .env_clear()
            .output()
            .expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code().expect("it ended by itself"),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

#[test]
fn a_day_by_hand() {
    let scene = Scene(tempfile::TempDir::new().expect("a folder of its own"));
    scene.run("snapshot create vm opnsense clean --dry-run").code(0).says("take snapshot `clean` of 8100");
    scene.run("snapshot list vm opnsense").code(0).says("none");
    scene
        .run("snapshot create vm opnsense clean --ram --yes")
        .code(0)
        .says("snapshot clean is now there (disks and memory)");
    let listed = scene.run("snapshot list vm opnsense -o json").code(0);
    let listed: Value = serde_json::from_str(&listed.out).expect("it is JSON");
    assert_eq!(
        (&listed[0]["name"], &listed[0]["ram"], &listed[0]["ours"]),
        (&json!("clean"), &json!(true), &json!(true))
    );
    scene
        .run("snapshot create vm opnsense clean --yes")
        .code(3)
        .says("has a snapshot `clean` already")
        .says("nothing was sent");
    scene.run("restore vm opnsense clean --yes").code(3).says("--allow data-loss").says("nothing was sent");
    scene.run("restore vm opnsense clean --yes --allow data-loss").code(0).says("state is now as at clean");
    scene.run("restore vm opnsense clean --branch fw-old --yes").code(0).says("clone fw-old is now VMID 100 on pve2");
    scene.run("start vm fw-old").code(0).says("power is now running");
    scene.run("restart vm 100 --yes").code(0).says("running, newly started");
    scene.run("migrate vm fw-old pve1 --with-local-disks").code(0).says("node is now pve1");
    scene.run("stop vm fw-old -q").code(0);
    scene.run("stop vm fw-old").code(0).says("Nothing to do: it is stopped already.");
    scene.run("snapshot delete vm opnsense clean").code(0).says("snapshot clean is now gone");
    let said = scene.run("shutdown ct legacy-dns -o json").code(0);
    let events: Vec<Value> = said.out.lines().map(|l| serde_json::from_str(l).expect("a JSON object a line")).collect();
    let names: Vec<&str> = events.iter().filter_map(|e| e["event"].as_str()).collect();
    assert_eq!((names.first(), names.last()), (Some(&"Planned"), Some(&"Finished")));
    assert_eq!(events.last().map(|e| &e["error"]), Some(&Value::Null));
    let lost = "--sim-fault drop-before@POST:/status/start start ct legacy-dns";
    scene.run(lost).code(1).says("it was looked for, and power is stopped").says("sent once, and not again");
}

#[test]
fn elsewhere_than_in_a_box_a_deed_wants_a_yes() {
    let server = Inside::start();
    let client = Client::of(&server.ready, "root@pam!test");
    client.run("restart ct legacy-dns").code(3).says("not agreed to; nothing was sent").says("say --yes");
    assert!(server.writes().is_empty(), "{:?}", server.writes());
    client.run("restart ct legacy-dns --yes").code(0).says("newly started");
    assert_eq!(server.writes(), ["POST /nodes/pve3/lxc/8200/status/reboot"]);
}

#[test]
fn data_is_given_up_by_typing_the_name_and_nothing_else() {
    struct Says(&'static str);
    impl job::Person for Says {
        fn answer(&self, _: &str) -> Option<String> {
            Some(self.0.to_owned())
        }
    }
    for (answer, gone) in [("opnsense", true), ("VirtualMachine/opnsense", true), ("y", false), ("", false)] {
        let folder = tempfile::TempDir::new().expect("a folder of its own");
        let state = folder.path().join("sim.json").display().to_string();
        let cli = cli(&format!("--sim --sim-state {state} snapshot delete vm opnsense foreign"));
        let session = pvectl::cli::session::Session::open(&cli.global, None).expect("a simulator");
        let call =
            pvectl::pve::request::Call::new(pvectl::pve::request::Method::Post, "/nodes/pve2/qemu/8100/snapshot")
                .with("snapname", "foreign");
        let order = ordered(&cli.verb).expect("a verb of guests");
        let ended = pvectl::cli::run::block_on(async {
            session.cluster().api.send(&call).await.expect("somebody takes it");
            session.cluster().clock.sleep(std::time::Duration::from_secs(60)).await;
            pvectl::cli::guests::run(&cli.global, &session, &order, &Says(answer)).await
        });
        let ended = ended.expect("a runtime").map_err(|f| f.code);
        assert_eq!(ended, if gone { Ok(0) } else { Err(3) }, "{answer:?}");
    }
}

// ---- addresses -------------------------------------------------------------------------------------------------------

#[test]
fn addresses_are_asked_for_in_the_wide_table_alone() {
    let server = Inside::start();
    let client = Client::of(&server.ready, "root@pam!test");
    let asked = || {
        let log = server.sim.request_log();
        log.iter().filter(|(_, p)| p.ends_with("/interfaces") || p.contains("/agent/")).count()
    };
    client.run("get ct").code(0);
    client.run("get ct -o json").code(0);
    assert_eq!(asked(), 0);
    client.run("get ct -o wide").code(0).says("ADDRESSES").says("192.168.1.53");
    assert_eq!(asked(), 1);
    // A machine without an agent is not asked; one whose agent does not answer has none.
    client.run("get vm -o wide").code(0);
    assert_eq!(asked(), 1);
    server.sim.with_world(|w| {
        w.edit_guest(8100, "agent", Some("1"));
        w.guests.get_mut(&8100).expect("it is there").boot_seconds = None;
    });
    let said = client.run("get vm -o wide").code(0);
    let line = said.out.lines().find(|l| l.starts_with("opnsense")).expect("it is listed");
    assert!(line.ends_with(" -"), "{line}");
    assert_eq!(asked(), 2);
}
