//! Backups: policies that are jobs of PVE's, whose guests come and leave, and whether what they made is there.

use crate::hands::{self, GUESTS, Scene, does, said};
use crate::objects::{by_hand, one, read, refused};
use crate::world::{Lab, bound, desired, nothing, open, plain, prune, run};
use pvectl::kinds::list::KINDS;
use pvectl::plan::assemble::{Plan, Settings};
use pvectl::pve::api::Api;
use pvectl::pve::request::{Call, Method};
use pvectl::report::status::conditions;
use pvectl::resource::step::Note;
use pvectl::sim::faults::{Fault, FaultKind};
use pvectl::sim::world::{Power, Volume, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tempfile::TempDir;

fn policy(spec: &str) -> String {
    one("BackupPolicy", "nightly", spec)
}

/// A machine of the manifests, with a label.
fn guest(name: &str, vmid: u32, app: &str) -> String {
    format!(
        "\n---\n{{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {{name: {name}, labels: {{app: {app}}}}}, spec: {{vmid: {vmid}, node: pve1, tags: [prod]}}}}"
    )
}

fn job(lab: &Lab) -> Value {
    let jobs = read(lab, "/cluster/backup");
    let mine = jobs.as_array().into_iter().flatten().find(|j| j["id"] == "pvectl-nightly");
    mine.cloned().unwrap_or_default()
}

fn notes(plan: &Plan) -> Vec<String> {
    let of = plan.deltas.iter().filter(|d| d.resource.kind == "BackupPolicy").flat_map(|d| &d.notes);
    of.map(pvectl::report::text::note).filter(|n| !n.is_empty()).collect()
}

/// The condition `BackupsFresh` of the policy: its message where it is false.
fn late(lab: &Lab, yaml: &str) -> Option<String> {
    let plan = lab.preview(&desired(yaml), &plain());
    let delta = plan.deltas.iter().find(|d| d.resource.kind == "BackupPolicy").expect("the policy");
    assert!(!delta.is_open(), "a policy whose backups are old is Ready all the same: {delta:?}");
    let all = conditions(delta);
    assert!(all.iter().any(|c| format!("{c:?}").contains("Ready") && format!("{c:?}").contains("True")), "{all:?}");
    let note =
        delta.notes.iter().find_map(|n| if let Note::Fresh { late, .. } = n { Some(late.clone()) } else { None });
    note.expect("it is told")
}

#[test]
fn a_policy_is_a_job_whose_guests_come_and_leave() {
    let lab = Lab::homelab();
    let spec = "selector: {labels: {app: web}}, schedule: '03:30', storage: nfs, mode: Stop, compress: zstd, retention: {keepDaily: 7}";
    let first = policy(spec) + &guest("a", 301, "web") + &guest("b", 302, "db");
    let plan = lab.preview(&desired(&first), &plain());
    assert_eq!(notes(&plan), ["follows VirtualMachine/a"], "it is told that there will be a job");
    lab.apply(&desired(&first), &plain());
    let made = job(&lab);
    assert_eq!((made["vmid"].as_str(), made["mode"].as_str()), (Some("301"), Some("stop")), "{made}");
    assert_eq!((&made["storage"], &made["prune-backups"]), (&json!("nfs"), &json!({"keep-daily": "7"})));
    assert!(
        made["comment"].as_str().is_some_and(|c| c.contains(r#""kind":"BackupPolicy","name":"nightly""#)),
        "{made}"
    );
    // Another label, one guest more, and none of it perpetual.
    let second = policy(spec) + &guest("a", 301, "db") + &guest("b", 302, "web") + &guest("c", 303, "web");
    let set = desired(&second);
    let log = lab.sim.request_log().len();
    let report = lab.apply(&set, &plain());
    assert_eq!(job(&lab)["vmid"], "302,303");
    assert!(lab.writes_since(log).iter().any(|w| w == "PUT /cluster/backup/pvectl-nightly"));
    assert!(notes(&report.first).contains(&"b (302) comes to be backed up".to_owned()), "{:?}", notes(&report.first));
    assert!(notes(&report.first).contains(&"a (301) is backed up no more".to_owned()));
    assert!(lab.preview(&set, &plain()).is_empty());
    // Nobody is left: there is no job that names nobody, and the policy is as it shall be.
    let third = policy(spec) + &guest("a", 301, "db") + &guest("b", 302, "db") + &guest("c", 303, "db");
    lab.apply(&desired(&third), &plain());
    assert_eq!(job(&lab), Value::Null);
    let plan = lab.preview(&desired(&third), &plain());
    assert_eq!(notes(&plan), ["it chooses no guest, so there is no job"]);
    // And back again; then the manifest goes, and the job with it.
    lab.apply(&desired(&first), &plain());
    assert_eq!(job(&lab)["vmid"], "301");
    lab.apply(&nothing(), &prune());
    assert_eq!(job(&lab), Value::Null);
}

#[test]
fn everyone_and_one_pool_are_said_in_pves_way() {
    let lab = Lab::homelab();
    lab.sim.with_world(|w| {
        w.edit_guest(8000, "template", Some("1"));
        w.collect_statistics();
    });
    by_hand(&lab, Method::Post, "/pools", &[("poolid", "web")]);
    let rest = "schedule: 'sat 04:00', storage: nfs";
    lab.apply(&desired(&policy(&format!("selector: {{}}, {rest}"))), &plain());
    let made = job(&lab);
    assert_eq!((&made["all"], made["exclude"].as_str(), &made["vmid"]), (&json!(1), Some("8000"), &Value::Null));
    let plan = lab.preview(&desired(&policy(&format!("selector: {{pools: [web]}}, {rest}"))), &plain());
    let told: Vec<String> =
        plan.deltas[0].changes.iter().map(|c| format!("{}: {:?} → {:?}", c.path, c.from, c.to)).collect();
    assert!(told.contains(&r#"selector: Some("every guest") → None"#.to_owned()), "{told:?}");
    lab.apply(&desired(&policy(&format!("selector: {{pools: [web]}}, {rest}"))), &plain());
    let made = job(&lab);
    assert_eq!((made["pool"].as_str(), &made["all"], &made["exclude"]), (Some("web"), &Value::Null, &Value::Null));
    // A template in the pool is not meant, and a pool cannot leave it out.
    by_hand(&lab, Method::Put, "/pools/web", &[("vms", "8000,8200")]);
    lab.apply(&desired(&policy(&format!("selector: {{pools: [web]}}, {rest}"))), &plain());
    assert_eq!(job(&lab)["vmid"], "8200");
}

#[test]
fn what_somebody_changed_is_drift_and_what_left_the_manifest_is_reset() {
    let lab = Lab::homelab();
    let spec = "selector: {vmids: [8200]}, schedule: '03:30', storage: nfs";
    lab.apply(&desired(&policy(&format!("{spec}, enabled: false, mode: Suspend, fleecing: {{enabled: true, storage: local-lvm}}, protected: true, repeatMissed: true, node: pve3, notesTemplate: 'x'"))), &plain());
    assert_eq!(job(&lab)["fleecing"], json!({"enabled": "1", "storage": "local-lvm"}));
    by_hand(&lab, Method::Put, "/cluster/backup/pvectl-nightly", &[("vmid", "8000,8200"), ("mode", "stop")]);
    let full = policy(&format!(
        "{spec}, enabled: false, mode: Suspend, fleecing: {{enabled: true, storage: local-lvm}}, protected: true, repeatMissed: true, node: pve3, notesTemplate: 'x'"
    ));
    let plan = lab.preview(&desired(&full), &plain());
    let told: Vec<String> = plan.deltas[0]
        .changes
        .iter()
        .map(|c| {
            format!(
                "{} {}→{} {}",
                c.path,
                c.from.as_deref().unwrap_or("-"),
                c.to.as_deref().unwrap_or("-"),
                c.cause.as_str()
            )
        })
        .collect();
    assert_eq!(told, ["guests 8000,8200→8200 drift", "mode Stop→Suspend drift"]);
    lab.apply(&desired(&policy(spec)), &plain());
    let made = job(&lab);
    assert_eq!(made["mode"], "stop", "what somebody else set meanwhile is theirs");
    for gone in ["fleecing", "node", "notes-template", "protected", "repeat-missed"] {
        assert_eq!(made[gone], Value::Null, "{gone}");
    }
    assert_eq!(made["enabled"], 1, "PVE has no `delete` for it: it is set");
}

#[test]
fn a_guest_whose_node_is_away_stays_on_the_list() {
    let lab = Lab::homelab();
    lab.sim.with_world(|w| {
        w.edit_guest(8100, "template", Some("1"));
        w.collect_statistics();
    });
    let yaml = policy("selector: {names: [legacy-*, deb*]}, schedule: '03:30', storage: nfs");
    let all = policy("selector: {}, schedule: '03:30', storage: nfs");
    lab.apply(&desired(&yaml), &plain());
    assert_eq!(job(&lab)["vmid"], "8000,8200");
    // PVE does not tell the names of what is on a node that is away, nor that 8100 is a template.
    let away = |lab: &Lab, online: bool| {
        lab.sim.with_world(|w| {
            for vmid in [8100, 8200] {
                let node = w.guests[&vmid].node.clone();
                w.nodes.get_mut(&node).expect("there").online = online;
            }
        });
    };
    away(&lab, false);
    let plan = lab.preview(&desired(&yaml), &plain());
    assert!(plan.is_empty(), "{:?}", plan.deltas);
    away(&lab, true);
    lab.apply(&desired(&all), &plain());
    assert_eq!(job(&lab)["exclude"], "8100");
    away(&lab, false);
    assert!(lab.preview(&desired(&all), &plain()).is_empty());
}

/// A machine of the manifests, with a label and without a number.
fn unnumbered(name: &str, app: &str) -> String {
    guest(name, 0, app).replace("vmid: 0, ", "")
}

#[test]
fn a_guest_that_cannot_be_read_just_now_stays_on_the_list() {
    let lab = Lab::homelab();
    let yaml = policy("selector: {labels: {app: web}}, schedule: '03:30', storage: nfs")
        + &guest("a", 301, "web")
        + &guest("b", 302, "web")
        + &unnumbered("c", "web");
    lab.apply(&desired(&yaml), &plain());
    let listed = job(&lab)["vmid"].as_str().map(str::to_owned).expect("a list");
    let number = listed.split(',').find(|n| *n != "301" && *n != "302").expect("three of them").to_owned();
    lab.sim.inject(
        Fault::on(
            "GET",
            &format!("/qemu/{number}/pending"),
            FaultKind::Status(403, "Permission check failed".to_owned()),
        )
        .always(),
    );
    let plan = lab.preview(&desired(&yaml), &plain());
    let told = notes(&plan);
    let stays = format!(
        "c ({number}) keeps its place in the job: its configuration could not be read, so it is not known whose it is"
    );
    assert_eq!(told, [stays]);
    let policy = plan.deltas.iter().find(|d| d.resource.kind == "BackupPolicy").expect("the policy");
    assert!(policy.steps.is_empty() && policy.changes.is_empty(), "{policy:?}");
    // Somebody took its tag as well: nothing says that it is ours, and yet one of the manifests has no guest.
    lab.sim.with_world(|w| {
        w.edit_guest(number.parse().expect("a number"), "tags", None);
        w.collect_statistics();
    });
    let plan = lab.preview(&desired(&yaml), &plain());
    assert!(notes(&plan).iter().any(|n| n.contains("keeps its place")), "{:?}", notes(&plan));
    lab.sim.clear_faults();
    // Another label, and it is known: it leaves.
    lab.sim.with_world(|w| {
        w.edit_guest(number.parse().expect("a number"), "tags", Some("prod;pvectl"));
        w.collect_statistics();
    });
    lab.apply(&desired(&yaml.replace(&unnumbered("c", "web"), &unnumbered("c", "db"))), &plain());
    assert_eq!(job(&lab)["vmid"], "301,302");
}

#[test]
fn a_policy_that_is_applied_alone_loses_nobody() {
    let lab = Lab::homelab();
    let alone = policy("selector: {labels: {app: web}}, schedule: '03:30', storage: nfs");
    let (a, b) = (guest("a", 301, "web"), guest("b", 302, "web"));
    lab.apply(&desired(&(alone.clone() + &a + &b)), &plain());
    let plan = lab.preview(&desired(&alone), &plain());
    let policy_of =
        |plan: &Plan| plan.deltas.iter().find(|d| d.resource.kind == "BackupPolicy").cloned().expect("there");
    assert_eq!(
        notes(&plan),
        ["a (301)", "b (302)"]
            .map(|who| format!("{who} keeps its place in the job: its manifest is not among those that were read"))
    );
    assert!(policy_of(&plan).steps.is_empty(), "{plan:?}");
    let plan = lab.preview(&desired(&(alone.clone() + &a)), &plain());
    assert!(policy_of(&plan).steps.is_empty(), "half of them: {plan:?}");
    // Their backups are looked at all the same.
    let aged = alone.replace("storage: nfs", "storage: nfs, maxAge: 36h");
    assert_eq!(late(&lab, &aged).as_deref(), Some("a (301): no backup yet; b (302): no backup yet"));
    // Where the manifest's guest goes with it, it leaves.
    lab.apply(&desired(&(alone.clone() + &a)), &prune());
    assert_eq!(job(&lab)["vmid"], "301");
}

#[test]
fn a_policy_says_whose_backups_are_too_old() {
    let lab = Lab::homelab();
    lab.sim.with_world(|w| w.volumes.retain(|v| v.content != "backup"));
    let yaml = policy("selector: {vmids: [8100, 8200]}, schedule: '03:30', storage: nfs, maxAge: 36h");
    lab.apply(&desired(&yaml), &plain());
    let (firewall, dns) = lab.sim.with_world(|w| {
        let name = |v: u32| {
            w.guests[&v].config.get("name").or(w.guests[&v].config.get("hostname")).cloned().unwrap_or_default()
        };
        (name(8100), name(8200))
    });
    assert_eq!(late(&lab, &yaml), Some(format!("{firewall} (8100): no backup yet; {dns} (8200): no backup yet")));
    for vmid in [8100, 8200] {
        let node = lab.sim.with_world(|w| w.guests[&vmid].node.clone());
        by_hand(
            &lab,
            Method::Post,
            &format!("/nodes/{node}/vzdump"),
            &[("vmid", &vmid.to_string()), ("storage", "nfs")],
        );
        lab.sim.advance(Duration::from_secs(600));
    }
    assert_eq!(late(&lab, &yaml), None);
    lab.sim.advance(Duration::from_secs(30 * 3600));
    by_hand(&lab, Method::Post, "/nodes/pve3/vzdump", &[("vmid", "8200"), ("storage", "nfs")]);
    lab.sim.advance(Duration::from_secs(18 * 3600));
    assert_eq!(late(&lab, &yaml), Some(format!("{firewall} (8100): its newest good backup is 2d old")));
    // A damaged one is not good, however new.
    lab.sim.with_world(|w| {
        let newest = w.volumes.iter_mut().rfind(|v| v.content == "backup" && v.vmid == Some(8200));
        newest.expect("taken").verification = Some("failed".into());
    });
    let said = late(&lab, &yaml).expect("late");
    assert!(
        said.contains(&format!(
            "{dns} (8200): the verification of its newest backup failed, and its newest good backup is 2d old"
        )),
        "{said}"
    );
    // What cannot be read is not told as absent.
    lab.sim.with_world(|w| w.storages.get_mut("nfs").expect("there").config.insert("disable".into(), "1".into()));
    let said = late(&lab, &yaml).expect("not known");
    assert!(said.contains("not known") && !said.contains("no backup yet"), "{said}");
}

#[test]
fn a_policy_is_refused_before_anything_is_sent() {
    let lab = Lab::homelab();
    lab.sim.with_world(|w| {
        let mut vault = w.storages["nfs"].clone();
        vault.storage_type = "pbs".into();
        vault.config = BTreeMap::from([("content".into(), "backup".into()), ("namespace".into(), "home".into())]);
        w.storages.insert("vault".into(), vault);
    });
    let some = "selector: {vmids: [8200]}, schedule: '03:30'";
    for (spec, words) in [
        (format!("{some}, storage: nope"), "there is no Storage `nope`"),
        (format!("{some}, storage: local-lvm"), "storage `local-lvm` does not take `backup`"),
        (format!("{some}, storage: nfs, node: pve9"), "there is no node `pve9`"),
        (format!("{some}, storage: nfs, namespace: x"), "is no Proxmox Backup Server, and has no namespace"),
        (format!("{some}, storage: vault, namespace: x"), "writes to the namespace `home`, and the policy says `x`"),
        ("selector: {pools: [nope]}, schedule: '03:30', storage: nfs".to_owned(), "there is no pool `nope`"),
    ] {
        let told = refused(&lab, &policy(&spec));
        assert!(told.contains(words), "{spec}: {told}");
    }
    let long = one("BackupPolicy", &"n".repeat(44), &format!("{some}, storage: nfs"));
    assert!(refused(&lab, &long).contains("a name of 43 characters at most"));
    lab.apply(&desired(&policy(&format!("{some}, storage: vault, namespace: home"))), &plain());
    // In the manifests.
    for (spec, words) in [
        (format!("{some}, storage: nfs, fleecing: {{enabled: true}}"), "no `storage` says where"),
        (format!("{some}, storage: nfs, mode: snapshot"), "mode"),
        ("selector: {}, schedule: 'every night', storage: nfs".to_owned(), "every night"),
        ("selector: {}, schedule: '0 3 * * *', storage: nfs".to_owned(), "cron is none of them"),
        ("schedule: '03:30', storage: nfs".to_owned(), "selector"),
    ] {
        let said = format!("{:?}", bound(&policy(&spec), "lab").0.diagnostics);
        assert!(said.contains(words), "{spec}: {said}");
    }
    let both = policy(&format!("{some}, storage: nfs"))
        + "\n---\n"
        + &one("BackupJob", "other", "id: pvectl-nightly, schedule: daily, all: true");
    let said = format!("{:?}", bound(&both, "lab").0.diagnostics);
    assert!(said.contains("are both the job `pvectl-nightly`"), "{said}");
}

#[test]
fn a_job_of_somebody_is_not_taken_and_one_of_a_policy_is_no_backup_job() {
    let lab = Lab::homelab();
    by_hand(&lab, Method::Post, "/cluster/backup", &[("id", "pvectl-nightly"), ("schedule", "daily"), ("all", "1")]);
    let yaml = policy("selector: {vmids: [8200]}, schedule: '03:30', storage: nfs");
    assert!(refused(&lab, &yaml).contains("there is a backup job `pvectl-nightly` already, which pvectl does not own"));
    let adopt = Settings { adopt: desired(&yaml).resources.keys().cloned().collect(), ..plain() };
    lab.apply(&desired(&yaml), &adopt);
    assert_eq!((job(&lab)["vmid"].as_str(), &job(&lab)["all"]), (Some("8200"), &Value::Null));
    // Its job does not go with the jobs of manifests.
    lab.apply(
        &desired(&(yaml.clone() + "\n---\n" + &one("BackupJob", "weekly", "schedule: weekly, all: true"))),
        &prune(),
    );
    lab.apply(&desired(&yaml), &prune());
    assert_eq!(job(&lab)["vmid"], "8200");
}

#[test]
fn what_a_token_lacks_is_named() {
    let lab = Lab::homelab();
    let rights = |privileges: &[(&str, &str)]| {
        lab.sim.with_world(|w| {
            w.acl.retain(|e| !e.path.is_empty());
        });
        privileges.len()
    };
    let _ = rights(&[]);
    let api = lab.sim.api();
    let made = |method, path: &str, params: &[(&str, &str)]| {
        let call = params.iter().fold(Call::new(method, path), |call, (k, v)| call.with(k, v));
        run(api.send(&call)).expect("the simulator takes it")
    };
    made(Method::Post, "/access/roles", &[("roleid", "Backs"), ("privs", "Sys.Audit,Sys.Modify,Datastore.Audit")]);
    made(Method::Post, "/access/users", &[("userid", "backs@pve")]);
    made(Method::Put, "/access/acl", &[("path", "/"), ("roles", "Backs"), ("users", "backs@pve")]);
    let limited = lab.sim.api_as("backs@pve");
    let yaml = policy("selector: {tags: [prod]}, schedule: '03:30', storage: nfs, maxAge: 36h");
    let settings = Settings::default();
    let plan = lab.preview_through(&limited, &desired(&yaml), &settings);
    let told = format!("{:?}", plan.deltas[0].problems);
    assert!(told.contains("VM.Audit on /vms is missing"), "{told}");
    assert!(lab.try_apply(&limited, &KINDS, &desired(&yaml), &settings).is_err());
    made(Method::Put, "/access/roles/Backs", &[("privs", "VM.Audit"), ("append", "1")]);
    let all = policy("selector: {}, schedule: '03:30', storage: nfs, maxAge: 36h");
    let told = format!("{:?}", lab.preview_through(&limited, &desired(&all), &settings).deltas[0].problems);
    assert!(told.contains("Datastore.Allocate on /storage/nfs is missing"), "{told}");
    lab.apply(&desired(&all), &plain());
    let plan = lab.preview_through(&limited, &desired(&all), &settings);
    assert!(notes(&plan).iter().any(|n| n.contains("are hidden from us")), "{:?}", notes(&plan));
    // A guest that is hidden from us is not gone.
    let two = policy("selector: {vmids: [8000, 8200]}, schedule: '03:30', storage: nfs");
    lab.apply(&desired(&two), &plain());
    made(Method::Post, "/access/roles", &[("roleid", "Pushes"), ("privs", "VM.PowerMgmt")]);
    made(Method::Put, "/access/acl", &[("path", "/vms/8200"), ("roles", "Pushes"), ("users", "backs@pve")]);
    let plan = lab.preview_through(&limited, &desired(&two), &settings);
    assert!(plan.deltas[0].changes.is_empty(), "{:?}", plan.deltas[0].changes);
    assert_eq!(notes(&plan), ["guest 8200 keeps its place in the job: it is hidden from us"]);
}

/// A backup that lies on a storage, without having been taken.
pub(crate) fn lying(storage: &str, vmid: u32, ctime: u64) -> Volume {
    Volume {
        volid: format!("{storage}:backup/vzdump-qemu-{vmid}-{ctime}.vma.zst"),
        size: 1 << 20,
        used: 1 << 20,
        format: "vma.zst".into(),
        content: "backup".into(),
        vmid: Some(vmid),
        ctime,
        ..Volume::default()
    }
}

#[test]
fn one_list_of_a_shared_storage_is_asked_for() {
    let lab = Lab::homelab();
    let yaml = policy("selector: {}, schedule: '03:30', storage: nfs, maxAge: 36h");
    let report = lab.apply(&desired(&yaml), &plain());
    assert!(report.converged(), "{}", open(&report));
    lab.sim.with_world(|w| {
        let now = w.now();
        w.volumes.push(lying("nfs", 8000, now));
    });
    let log = lab.sim.request_log().len();
    lab.preview(&desired(&yaml), &plain());
    let asked = lab.sim.request_log().into_iter().skip(log).filter(|(_, path)| path.contains("/content")).count();
    assert_eq!(asked, 1);
}

// ---- by hand ---------------------------------------------------------------------------------------------------------

fn taken(lab: &Lab, vmid: u32) -> Vec<Volume> {
    lab.sim
        .with_world(|w| w.volumes.iter().filter(|v| v.content == "backup" && v.vmid == Some(vmid)).cloned().collect())
}

fn config(lab: &Lab, vmid: u32) -> BTreeMap<String, String> {
    lab.sim.with_world(|w| w.guests[&vmid].config.clone())
}

#[test]
fn a_backup_now_is_there_with_its_notes() {
    let lab = hands::lab();
    lab.sim.with_world(|w| w.edit_guest(120, "scsi1", Some("nfs:120/vm-120-disk-9.qcow2,backup=0,size=1G")));
    let done = does(&lab, "backup now web --storage nfs --protected --notes {{guestname}}-by-hand");
    let told = said(&done);
    assert!(
        told.contains(&"scsi1 (nfs:120/vm-120-disk-9.qcow2) is not in it: it says backup=0".to_owned()),
        "{told:?}"
    );
    let backup = taken(&lab, 120).remove(0);
    assert_eq!((backup.notes.as_deref(), backup.protected), (Some("web-by-hand"), true));
    assert!(backup.volid.ends_with(".vma.zst"), "{}", backup.volid);
    lab.sim.advance(Duration::from_secs(3 * 86_400));
    let again = does(&lab, "backup now 120 ct/dns --storage nfs");
    assert_eq!((taken(&lab, 120).len(), taken(&lab, 220).len()), (2, 1));
    assert!(again.first.deltas[0].changes[0].from.as_deref() == Some("none"), "{:?}", again.first.deltas[0].changes);
    let third = does(&lab, "backup now web --storage nfs");
    let from = third.first.deltas[0].changes[0].from.clone();
    assert!(from.as_deref().is_some_and(|f| f.ends_with("old")), "{from:?}");
}

#[test]
fn a_backup_now_removes_no_older_one_unless_it_is_told_to() {
    let lab = hands::lab();
    lab.sim.with_world(|w| {
        let nfs = w.storages.get_mut("nfs").expect("there");
        nfs.config.insert("prune-backups".into(), "keep-last=2".into());
        laid(w, 1_795_000_000, |_| {});
    });
    does(&lab, "backup now local --storage nfs");
    assert_eq!(taken(&lab, 121).len(), 2);
    // PVE takes no third one: it is told before.
    let why = run(hands::attempt(&lab, &lab.sim.api(), "backup now local --storage nfs")).expect_err("no room");
    assert!(why[0].contains("keeps 2 backups of a guest (keep-last=2), and has 2 of it"), "{why:?}");
    assert!(why[0].contains("--prune"), "{why:?}");
    does(&lab, "backup now local --storage nfs --protected");
    lab.sim.advance(Duration::from_secs(60));
    let told = said(&does(&lab, "backup now local --storage nfs --prune"));
    assert!(
        told.contains(&"older backups of it on `nfs` go as its retention says: keep-last=2".to_owned()),
        "{told:?}"
    );
    let left = taken(&lab, 121);
    assert_eq!((left.len(), left.iter().filter(|v| v.protected).count()), (3, 1), "two and the protected one");
    assert!(left.iter().all(|v| v.ctime != 1_795_000_000), "the oldest went");
}

#[test]
fn our_tag_stays_behind_and_the_others_come_along() {
    let lab = hands::lab();
    lab.sim.with_world(|w| w.edit_guest(120, "tags", Some("prod;pvectl;web")));
    does(&lab, "backup now web --storage nfs");
    does(&lab, "backup restore web");
    assert_eq!(config(&lab, 100)["tags"], "prod;web");
}

#[test]
fn a_backup_becomes_a_guest_of_nobody() {
    let lab = hands::lab();
    lab.sim.with_world(|w| w.edit_guest(120, "ipconfig0", Some("ip=10.0.0.5/24")));
    does(&lab, "backup now web --storage nfs");
    let told = said(&does(&lab, "backup restore web"));
    let (old, new) = (config(&lab, 120), config(&lab, 100));
    assert_eq!(
        (new["name"].as_str(), new["description"].as_str()),
        ("web-restored", "front end"),
        "no marker is on it"
    );
    assert!(!new.get("tags").is_some_and(|t| t.contains("pvectl")), "{new:?}");
    assert_ne!(new["net0"], old["net0"], "its MAC addresses are new");
    for words in [
        "it has the original's fixed address (10.0.0.5/24): change it before both run",
        "it belongs to no manifest; pvectl adopt takes it over",
    ] {
        assert!(told.contains(&words.to_owned()), "{told:?}");
    }
    let told = said(&does(&lab, "backup restore web --as kept --vmid 195 --keep-mac"));
    assert_eq!(config(&lab, 195)["net0"], old["net0"]);
    assert!(told.iter().any(|t| t.contains("keeps the MAC addresses")), "{told:?}");
    // Of a guest that is gone there is still a backup, by its number, and its marker makes nobody ours.
    lab.apply(&nothing(), &prune());
    let told = said(&does(&lab, "backup restore 120@latest --keep-hostname"));
    assert!(told.contains(&"the original's number 120 is free: --vmid 120 takes it again".to_owned()), "{told:?}");
    does(&lab, "backup restore 120 --as again --vmid 120");
    let plan = lab.preview(&nothing(), &prune());
    assert!(plan.is_empty() && plan.orphans.is_empty(), "a restored guest is nobody's: {plan:?}");
    // A container by its volume.
    let volume = lab.sim.with_world(|w| {
        w.volumes.iter().find(|v| v.content == "backup" && v.vmid == Some(8200)).map(|v| v.volid.clone())
    });
    let volume = volume.expect("the homelab has one");
    does(&lab, &format!("backup restore {volume} --as old-dns --vmid 196 --storage local-lvm"));
    assert_eq!(config(&lab, 196)["hostname"], "old-dns");
}

#[test]
fn in_place_a_guest_stays_ours_and_diff_shows_what_went_back() {
    let lab = hands::lab();
    let before = desired(GUESTS);
    does(&lab, "backup now web --storage nfs");
    let after = desired(&GUESTS.replace("{cores: 1, guestAgent: true}", "{cores: 2, guestAgent: true}"));
    lab.apply(&after, &plain());
    does(&lab, "snapshot create vm web later");
    does(&lab, "shutdown vm web");
    let told = said(&does(&lab, "backup restore web --in-place --allow data-loss"));
    for words in
        ["is deleted; it comes back as it was in the backup", "its snapshots go: later", "pvectl diff shows what"]
    {
        assert!(told.iter().any(|t| t.contains(words)), "{words}: {told:?}");
    }
    let now = config(&lab, 120);
    assert_eq!((now["cores"].as_str(), now["tags"].contains("pvectl")), ("1", true));
    let plan = lab.preview(&after, &plain());
    let told = crate::world::differences(&plan);
    assert!(told.contains("hardware.cores") && told.contains("drift"), "{told}");
    lab.apply(&after, &plain());
    assert_eq!(config(&lab, 120)["cores"], "2");
    // The marker that stands in the backup is that of the older manifest: it was not taken.
    does(&lab, "shutdown vm web");
    does(&lab, "backup restore web --in-place --allow data-loss");
    lab.apply(&before, &plain());
    assert!(lab.preview(&before, &plain()).is_empty());
}

/// Lays a backup of guest 121 on `nfs`, whose configuration somebody changed.
fn laid(w: &mut World, time: u64, change: impl FnOnce(&mut BTreeMap<String, String>)) {
    let mut guest = Box::new(w.guests[&121].clone());
    change(&mut guest.config);
    w.volumes.push(Volume { backup_of: Some(guest), ..lying("nfs", 121, time) });
}

#[test]
fn in_place_a_backup_of_another_guest_is_refused() {
    let line = "backup restore local --in-place --allow data-loss";
    let marked = |w: &mut World| {
        laid(w, 1_795_226_400, |c| {
            let notes = c.get_mut("description").expect("its marker");
            *notes = notes.replace(r#""name":"local""#, r#""name":"db1""#);
        });
    };
    let why = "it is one of VirtualMachine/db1, and the guest is VirtualMachine/local";
    hands::refused(line, marked, why, "--other-guest");
    let called = |w: &mut World| {
        laid(w, 1_795_226_400, |c| {
            c.remove("description");
            c.insert("name".into(), "db1".into());
        });
    };
    hands::refused(line, called, "it is one of `db1`, and the guest is `local`", "leave --in-place out");
    let unmarked = |w: &mut World, ago: u64| {
        let now = w.now();
        w.edit_guest(121, "description", None);
        w.edit_guest(121, "meta", Some(&format!("creation-qemu=10.0.13,ctime={}", now - 600)));
        laid(w, now - ago, |_| {});
    };
    hands::refused(line, |w| unmarked(w, 700), "it is older than the guest", "--other-guest");
    let lab = hands::lab();
    lab.sim.with_world(|w| unmarked(w, 500));
    does(&lab, line);
    let lab = hands::lab();
    lab.sim.with_world(marked);
    let told = said(&does(&lab, &format!("{line} --other-guest")));
    assert!(told.contains(&format!("the backup may be another guest's: {why}")), "{told:?}");
}

#[test]
fn what_is_the_newest_is_told_only_where_every_list_was_read() {
    let has = |w: &mut World| {
        let now = w.now();
        laid(w, now - 60, |_| {});
    };
    let in_place = "backup restore local --in-place --allow data-loss";
    let away = |w: &mut World| {
        has(w);
        w.nodes.get_mut("pve3").expect("there").online = false;
    };
    hands::refused(
        in_place,
        away,
        "which backup is the newest cannot be told: node pve3 is away, and `local` on it",
        "name it: nfs:backup/vzdump-qemu-121-",
    );
    let lab = hands::lab();
    lab.sim.with_world(away);
    let volume = taken(&lab, 121).remove(0).volid;
    let told = said(&does(&lab, "backup restore local"));
    assert!(told.contains(&"there may be a newer backup: node pve3 is away, and `local` on it".to_owned()), "{told:?}");
    does(&lab, &format!("backup restore {volume} --in-place --allow data-loss"));
    // A list that could not be read.
    let lab = hands::lab();
    lab.sim.with_world(has);
    let unread = FaultKind::Status(500, "storage 'local' is not online".to_owned());
    lab.sim.inject(Fault::on("GET", "/nodes/pve1/storage/local/content", unread).always());
    let why = run(hands::attempt(&lab, &lab.sim.api(), in_place)).expect_err("it cannot be told");
    assert!(why.iter().any(|w| w.contains("a list could not be read")), "{why:?}");
    does(&lab, "backup restore local@2026 --in-place --allow data-loss");
}

#[test]
fn what_pve_would_put_back_otherwise_is_told_before() {
    let line = "backup restore local --in-place --allow data-loss";
    let of = |change: fn(&mut BTreeMap<String, String>)| move |w: &mut World| laid(w, 1_795_226_400, change);
    let template = of(|c| drop(c.insert("template".into(), "1".into())));
    hands::refused(line, template, "it is a backup of a template, and VM 121 would become one", "to a new guest");
    let moved = |w: &mut World| {
        laid(w, 1_795_226_400, |c| drop(c.insert("scsi9".into(), "local-lvm:vm-121-cloudinit,media=cdrom".into())));
        w.edit_guest(121, "ide2", Some("local-lvm:vm-121-cloudinit,media=cdrom"));
    };
    hands::refused(line, moved, "is in ide2 now and in scsi9 in the backup", "qm set 121 --delete ide2");
    // What makes way is room, and no more than that.
    let grown = |w: &mut World, size: &str| {
        laid(w, 1_795_226_400, |c| drop(c.insert("scsi0".into(), format!("local-lvm:vm-121-disk-0,size={size}"))));
        let used = w.storage_used("local-lvm", "pve1");
        w.storages.get_mut("local-lvm").expect("there").size = used + (1 << 29);
    };
    hands::refused(line, |w| grown(w, "3G"), "2Gi are asked for", "make room");
    let lab = hands::lab();
    lab.sim.with_world(|w| grown(w, "1G"));
    let told = said(&does(&lab, line));
    for words in [
        "its firewall rules go back too, where the backup has any",
        "if it fails half way, VM 121 is gone until a backup is restored",
    ] {
        assert!(told.contains(&words.to_owned()), "{words}: {told:#?}");
    }
}

#[test]
fn raw_lines_of_a_container_are_named() {
    let raw = |w: &mut World| {
        w.guests.get_mut(&220).expect("there").power = Power::Stopped;
        let mut guest = Box::new(w.guests[&220].clone());
        guest.config.insert("lxc.idmap".into(), "u 0 100000 65536".into());
        let mut backup = Volume { backup_of: Some(guest), ..lying("nfs", 220, 1_795_226_400) };
        backup.volid = "nfs:backup/vzdump-lxc-220-2026_11_21-02_00_00.tar.zst".into();
        w.volumes.push(backup);
    };
    hands::refused("backup restore dns --in-place --allow data-loss", raw, "would lose them: lxc.idmap", "root@pam");
    let lab = hands::lab();
    lab.sim.with_world(raw);
    let told = said(&does(&lab, "backup restore dns"));
    assert!(told.iter().any(|t| t.contains("raw lines of the original do not come along")), "{told:#?}");
}

#[test]
fn a_restore_in_place_that_fails_says_how_to_have_the_guest_again() {
    let lab = hands::lab();
    lab.sim.with_world(|w| laid(w, 1_795_226_400, |_| {}));
    lab.sim.inject(Fault::on("POST", "/qemu", FaultKind::TaskFails("no space left".to_owned())));
    let line = "backup restore local --in-place --allow data-loss";
    let ended = run(hands::attempt(&lab, &lab.sim.api(), line)).expect("it was sent");
    let (_, hint) = ended.failure.expect("it failed");
    let again =
        "pvectl backup restore nfs:backup/vzdump-qemu-121-1795226400.vma.zst --vmid 121 --keep-hostname --keep-mac";
    assert!(hint.as_deref().is_some_and(|h| h.ends_with(again)), "{hint:?}");
}

#[test]
fn a_new_guest_takes_no_number_that_still_has_backups() {
    let lab = hands::lab();
    lab.sim.with_world(|w| {
        laid(w, 1_795_226_400, |_| {});
        w.volumes.push(lying("nfs", 100, 1_795_000_000));
    });
    does(&lab, "backup restore local --as one");
    assert_eq!(config(&lab, 101)["name"], "one", "100 has a backup of somebody");
    let told = said(&does(&lab, "backup restore local --as two --vmid 100 --keep-mac"));
    for words in ["backups of another guest lie under the number 100 (1)", "it keeps the MAC addresses of the original"]
    {
        assert!(told.iter().any(|t| t.starts_with(words)), "{words}: {told:#?}");
    }
}

#[test]
fn two_guests_with_one_mac_are_not_started_side_by_side() {
    let runs = |w: &mut World| {
        w.guests.get_mut(&121).expect("there").power = Power::Running;
        laid(w, 1_795_226_400, |_| {});
        w.collect_statistics();
    };
    hands::refused("backup restore local --keep-mac --start", runs, "the original `local` (121) runs", "--keep-mac");
}

#[test]
fn in_place_a_guest_of_nobody_gets_no_tag_of_ours() {
    let lab = hands::lab();
    lab.sim.with_world(|w| {
        laid(w, 1_795_226_400, |_| {});
        w.edit_guest(121, "description", None);
        w.edit_guest(121, "meta", None);
        w.edit_guest(121, "tags", None);
        w.collect_statistics();
    });
    does(&lab, "backup restore local --in-place --allow data-loss");
    let now = config(&lab, 121);
    assert!(!now.contains_key("tags") && !now["description"].contains("pvectl {"), "{now:?}");
}

#[test]
fn backups_on_a_node_that_is_away_are_not_told_as_missing() {
    let lab = Lab::homelab();
    let yaml = policy("selector: {vmids: [8200]}, schedule: '03:30', storage: local, maxAge: 36h");
    lab.apply(&desired(&yaml), &plain());
    let node = lab.sim.with_world(|w| w.guests[&8200].node.clone());
    lab.sim.with_world(|w| w.nodes.get_mut(&node).expect("there").online = false);
    assert_eq!(late(&lab, &yaml), Some(format!("guest 8200: not known: node {node} is away, and `local` on it")));
}

#[test]
fn the_backups_of_a_guest_that_is_gone_are_not_those_of_its_successor() {
    let lab = Lab::homelab();
    let yaml = policy("selector: {vmids: [301]}, schedule: '03:30', storage: nfs, maxAge: 36h") + &guest("a", 301, "x");
    lab.apply(&desired(&yaml), &plain());
    lab.sim.with_world(|w| {
        let now = w.now();
        w.volumes.push(lying("nfs", 301, now - 7200));
    });
    assert_eq!(late(&lab, &yaml).as_deref(), Some("a (301): no backup yet"));
}

#[test]
fn what_becomes_of_each_volume_is_said() {
    let lab = hands::lab();
    does(&lab, "shutdown ct dns");
    lab.sim.with_world(|w| w.edit_guest(220, "mp0", Some("local-lvm:vm-220-disk-7,mp=/data,size=1G")));
    does(&lab, "backup now dns --storage nfs");
    lab.sim.with_world(|w| w.edit_guest(220, "unused0", Some("local-lvm:vm-220-disk-8")));
    let told = said(&does(&lab, "backup restore dns --in-place --allow data-loss"));
    for words in [
        "rootfs (local-lvm:vm-220-disk-0, 1G) is deleted; it comes back as it was in the backup, 1G",
        "mp0 (local-lvm:vm-220-disk-7, 1G) is deleted with what is on it, and comes back EMPTY: it was not backed up (no backup=1)",
        "unused0 (local-lvm:vm-220-disk-8) is deleted with what is on it",
    ] {
        assert!(told.contains(&words.to_owned()), "{words}: {told:#?}");
    }
    assert!(lab.preview(&desired(GUESTS), &plain()).deltas.iter().all(|d| d.problems.is_empty()));
}

#[test]
fn backups_that_cannot_be() {
    let two = |_: &mut World| {};
    hands::refused(
        "backup now web",
        two,
        "node `pve1` has several storages that take backups",
        "say which with --storage: ",
    );
    hands::refused("backup now web --storage nope", two, "node `pve1` has no storage `nope`", "that do: ");
    hands::refused("backup now web --storage local-lvm", two, "`local-lvm` does not take `backup`", "that do: ");
    hands::refused("backup now wbe --storage nfs", two, "there is no guest `wbe`", "did you mean `web`?");
    let managed = |w: &mut World| {
        w.table("cluster/ha/resources").insert("vm:120".into(), json!({"state": "started"}));
        w.collect_statistics();
    };
    hands::refused("backup now web --storage nfs --mode stop", managed, "HA keeps it running", "leave --mode stop out");
    let locked = |w: &mut World| w.edit_guest(120, "lock", Some("migrate"));
    hands::refused("backup now web --storage nfs", locked, "VM 120 is locked (migrate)", "wait until");
    let twin = |w: &mut World| {
        w.edit_guest(121, "name", Some("dns"));
        w.edit_guest(121, "description", None);
        w.collect_statistics();
    };
    hands::refused("backup now dns --storage nfs", twin, "a VM and a CT are called `dns`", "vm/dns or ct/dns");
    let has = |w: &mut World| {
        let guest = Box::new(w.guests[&121].clone());
        w.volumes.push(Volume { backup_of: Some(guest), ..lying("nfs", 121, 1_795_226_400) });
    };
    hands::refused("backup restore web", |_| {}, "there is no backup of `web` that we may see", "pvectl backup list");
    hands::refused("backup restore local@2020", has, "there is no backup of `local` at 2020", "there are: 2026-");
    hands::refused(
        "backup restore nfs:backup/nope",
        has,
        "there is no backup `nfs:backup/nope`",
        "backup list --storage nfs",
    );
    hands::refused("backup restore local --as web", has, "there is a guest called `web` already", "--as");
    hands::refused("backup restore local --vmid 120", has, "VMID 120 is taken by `web`", "--in-place");
    hands::refused("backup restore local --storage zfs", has, "node `pve1` has no storage `zfs`", "");
    hands::refused("backup restore local --target-node pve9", has, "node `pve9` does not see", "node `pve1` does");
    hands::refused("backup restore local --in-place", has, "data loss: restore nfs:backup/vzdump-qemu-121", "");
    let running = |w: &mut World| {
        has(w);
        w.guests.get_mut(&121).expect("there").power = Power::Running;
    };
    hands::refused("backup restore local --in-place --allow data-loss", running, "VM 121 runs", "pvectl shutdown");
    let protected = |w: &mut World| {
        has(w);
        w.edit_guest(121, "protection", Some("1"));
    };
    hands::refused(
        "backup restore local --in-place --allow data-loss",
        protected,
        "VM 121 is protected",
        "`protection: false`",
    );
    let broken = |w: &mut World| {
        has(w);
        w.volumes.last_mut().expect("there").verification = Some("failed".into());
    };
    hands::refused(
        "backup restore local",
        broken,
        "the last verification of every backup of `local` failed",
        "by its time",
    );
    let volume = "nfs:backup/vzdump-qemu-121-1795226400.vma.zst";
    let line = format!("backup restore {volume} --in-place --allow data-loss");
    hands::refused(&line, broken, "the last verification of this backup failed", "to a new guest");
    // A container's new volumes are made before the old ones go, and it is lost where they do not fit.
    let full = |w: &mut World| {
        w.guests.get_mut(&220).expect("there").power = Power::Stopped;
        let guest = Box::new(w.guests[&220].clone());
        let mut backup = Volume { backup_of: Some(guest), ..lying("nfs", 220, 1_795_226_400) };
        backup.volid = "nfs:backup/vzdump-lxc-220-2026_11_21-02_00_00.tar.zst".into();
        w.volumes.push(backup);
        let used = w.storage_used("local-lvm", "pve1");
        w.storages.get_mut("local-lvm").expect("there").size = used + 1;
    };
    hands::refused("backup restore dns --in-place --allow data-loss", full, "are asked for", "make room");
}

#[test]
fn the_newest_whose_verification_did_not_fail_is_the_latest() {
    let lab = hands::lab();
    does(&lab, "backup now local --storage nfs");
    let first = taken(&lab, 121).remove(0).volid;
    lab.sim.advance(Duration::from_secs(3600));
    does(&lab, "backup now local --storage nfs");
    lab.sim.with_world(|w| {
        let newest = w.volumes.iter_mut().rfind(|v| v.content == "backup" && v.vmid == Some(121));
        newest.expect("taken").verification = Some("failed".into());
    });
    let done = does(&lab, "backup restore local@latest");
    assert!(done.first.deltas[0].steps[0].title.contains(&first), "{:?}", done.first.deltas[0].steps);
}

#[test]
fn a_day_with_backups() {
    let scene = Scene(TempDir::new().expect("a folder of its own"));
    let tree = scene.0.path().join("nightly.yaml");
    let yaml = policy("selector: {vmids: [8000, 8200]}, schedule: '03:30', storage: nfs, maxAge: 36h");
    std::fs::write(&tree, yaml).expect("a file");
    let apply = format!("apply -f {} --yes", tree.display());
    scene.run(&apply).code(0).says("create backup job pvectl-nightly");
    let diff = format!("diff -f {}", tree.display());
    scene
        .run(&diff)
        .code(0)
        .says("too old: debian-12-cloud (8000): its newest good backup is 3d old; legacy-dns (8200)");
    scene.run("get backuppolicies").code(0).says("pvectl-nightly").says("03:30");
    scene.run("explain backuppolicy.maxAge").code(0).says("BackupsFresh");
    let listed: Value = serde_json::from_str(&scene.run("backup list legacy-dns -o json").code(0).out).expect("JSON");
    assert_eq!(
        (&listed[0]["vmid"], &listed[0]["verified"], &listed[0]["type"]),
        (&json!(8200), &Value::Null, &json!("lxc"))
    );
    scene.run("backup now debian-12-cloud ct/legacy-dns --storage nfs --dry-run").code(0).says("back up 8200 to `nfs`");
    scene.run("backup list 8200 -o name").code(0).says("nfs:backup/vzdump-lxc-8200-2026_11_15");
    scene
        .run("backup now debian-12-cloud ct/legacy-dns --storage nope --yes")
        .code(3)
        .says("node `pve3` has no storage `nope`")
        .says("2 things stand against this plan; nothing was sent");
    scene
        .run("backup now debian-12-cloud ct/legacy-dns --storage nfs --yes")
        .code(0)
        .says("backup on nfs is now taken");
    let said = scene.run(&diff).code(0);
    assert!(!said.out.contains("too old") && !said.err.contains("too old"), "{}", said.out);
    scene.run("backup restore legacy-dns@2026-11 --yes").code(3).says("several backups of `legacy-dns` are of 2026-11");
    scene.run("backup restore legacy-dns --yes").code(0).says("guest legacy-dns-restored is now VMID 100 on pve3");
    scene
        .run("backup restore legacy-dns --in-place --yes")
        .code(3)
        .says("CT 8200 runs")
        .says("pvectl shutdown Container 8200");
    scene.run("shutdown ct legacy-dns --yes").code(0);
    scene.run("backup restore legacy-dns --in-place --yes").code(3).says("--allow data-loss").says("nothing was sent");
    let lost = "--sim-fault drop-after@POST:/lxc backup restore legacy-dns --in-place --yes --allow data-loss";
    scene.run(lost).code(0).says("its task was found, and it ended well");
    scene.run("backup list --storage local-lvm").code(3).says("does not take `backup`");
    scene.run("backup restore nobody").code(3).says("there is no guest `nobody`");
}
