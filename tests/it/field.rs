//! The forty behaviours of other tools that their users complain of most, by the numbers of the list that the project keeps
//! (data loss 1–8, perpetual diffs 9–15, reboots and power 16–19, waits 20, concurrency 21–25, nodes and vanished objects
//! 26–29, permissions 30–32, transport and speed 33–35, what is asked for 36–40). Each has a test of its own here, which shows
//! that pvectl does otherwise.

use crate::cli::Scene;
use crate::corpus::LIVES;
use crate::faults::{Cut, Mortal, crash};
use crate::fleet::fleet;
use crate::remote::{Client, Inside};
use crate::world::{Lab, bound, desired, differences, nothing, open, orphans, plain, prune};
use futures::future::BoxFuture;
use pvectl::kinds::list::KINDS;
use pvectl::plan::assemble::Settings;
use pvectl::pve::api::Api;
use pvectl::pve::error::PveError;
use pvectl::pve::request::{Call, Query};
use pvectl::resource::step::Note;
use pvectl::sim::SimApi;
use pvectl::sim::faults::{Fault, FaultKind};
use pvectl::sim::world::{Guest, Power, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

#[test]
fn all_forty_have_a_test() {
    let source = include_str!("field.rs");
    let tested = source.lines().filter_map(|line| line.strip_prefix("fn f")?.get(..2)?.parse::<u32>().ok());
    let mut numbers: Vec<u32> = tested.collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=40).collect::<Vec<u32>>(), "each number stands once");
    // What is counted is run: each such line follows a `#[test]`.
    let lines: Vec<&str> = source.lines().collect();
    let bare = lines.windows(2).find(|pair| pair[1].starts_with("fn f") && pair[0] != "#[test]");
    assert!(bare.is_none(), "{bare:?} is no test");
}

// ---- what the tests need ---------------------------------------------------------------------------------------------

/// A machine called `one` at 300 on pve1, with more of its spec.
fn one(spec: &str) -> String {
    format!(
        "{{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {{name: one}}, spec: {{vmid: 300, node: pve1, {spec}}}}}"
    )
}

/// A container called `ct` at 310 on pve1, with more of its spec.
fn ct(spec: &str) -> String {
    format!(
        "{{apiVersion: pvectl/v1alpha1, kind: Container, metadata: {{name: ct}}, spec: {{vmid: 310, node: pve1, from: {{osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}}, rootfs: {{storage: local-lvm, size: 1Gi}}, {spec}}}}}"
    )
}

/// A template called `NAME` with its VMID, of the homelab's cloud image.
fn template(name: &str, vmid: u32) -> String {
    format!(
        "{{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {{name: {name}}}, spec: {{vmid: {vmid}, node: pve1, source: {{clone: {{vmid: 8000, storage: local-lvm}}}}}}}}"
    )
}

const DISK: &str = "disks: [{slot: scsi0, storage: local-lvm, size: 2Gi}]";

fn config(lab: &Lab, vmid: u32, key: &str) -> Option<String> {
    lab.sim.with_world(|w| w.guests.get(&vmid).and_then(|g| g.config.get(key).cloned()))
}

fn guest(lab: &Lab, vmid: u32) -> Guest {
    lab.world().guests.get(&vmid).expect("it is there").clone()
}

fn edit(lab: &Lab, vmid: u32, options: &[(&str, Option<&str>)]) {
    lab.sim.with_world(|w| options.iter().for_each(|(key, value)| w.edit_guest(vmid, key, *value)));
}

/// A lab where these manifests were applied.
#[track_caller]
fn made(yaml: &str) -> Lab {
    let lab = Lab::homelab();
    lab.apply(&desired(yaml), &plain());
    lab
}

/// Nothing differs, and nothing would be sent.
#[track_caller]
fn same(lab: &Lab, yaml: &str) {
    let rest = differences(&lab.preview(&desired(yaml), &plain()));
    assert!(rest.is_empty(), "it differs: {rest}");
}

/// Writes since the log had so many entries, with what each said.
fn logged(lab: &Lab) -> usize {
    lab.sim.request_log().len()
}

fn notes(lab: &Lab, yaml: &str) -> Vec<Note> {
    lab.preview(&desired(yaml), &plain()).deltas.iter().flat_map(|d| d.notes.clone()).collect()
}

/// What happens on the cluster behind our back.
type Meddling<'a> = Mutex<Option<Box<dyn FnOnce(&mut World) + Send + 'a>>>;

/// The simulator, and somebody else who is faster: just before the first request of a path, they do something.
struct Meddler<'a> {
    api: SimApi,
    lab: &'a Lab,
    path: &'a str,
    meddle: Meddling<'a>,
}

impl<'a> Meddler<'a> {
    fn before(path: &'a str, lab: &'a Lab, meddle: impl FnOnce(&mut World) + Send + 'a) -> Meddler<'a> {
        Meddler { api: lab.sim.api(), lab, path, meddle: Mutex::new(Some(Box::new(meddle))) }
    }

    fn first(&self, request: &str) {
        if request.ends_with(self.path)
            && let Some(meddle) = self.meddle.lock().expect("nobody panics with it").take()
        {
            self.lab.sim.with_world(meddle);
        }
    }
}

impl Api for Meddler<'_> {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        self.first(&query.to_string());
        self.api.get(query)
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        self.first(&call.to_string());
        self.api.send(call)
    }
}

/// A stranger's machine without a disk.
fn stranger(world: &mut World, vmid: u32) {
    let mut guest = world.guests[&8100].clone();
    guest.config.retain(|key, _| matches!(key.as_str(), "cores" | "memory"));
    guest.config.insert("name".into(), "somebody-elses".into());
    guest.node = "pve1".into();
    guest.power = Power::Stopped;
    world.guests.insert(vmid, guest);
}

// ---- data loss and unwanted replacement ------------------------------------------------------------------------------

#[test]
fn f01_a_disk_that_left_is_never_a_replacement_nor_deleted() {
    let two = "disks: [{slot: scsi0, storage: local-lvm, size: 2Gi}, {slot: scsi1, storage: local-lvm, size: 1Gi}]";
    let lab = made(&one(two));
    let held = config(&lab, 300, "scsi1").expect("it was made");
    let volume = held.split(',').next().expect("a volume").to_owned();
    let before = logged(&lab);
    lab.apply(&desired(&one(DISK)), &plain());
    assert_eq!(config(&lab, 300, "scsi1"), Some(held), "unsaid: it stays where it is");
    lab.apply(&desired(&one(&format!("{two}, update: {{volumes: Detach}}"))), &plain());
    lab.apply(&desired(&one(&format!("{DISK}, update: {{volumes: Detach}}"))), &plain());
    assert_eq!(config(&lab, 300, "scsi1"), None);
    assert_eq!(config(&lab, 300, "unused0").as_deref(), Some(volume.as_str()));
    assert!(lab.world().volumes.iter().any(|v| v.volid == volume), "the volume is gone");
    let writes = lab.writes_since(before);
    let replaced = writes.iter().any(|w| w.starts_with("DELETE") || w.ends_with("/qemu") || w.ends_with("/clone"));
    assert!(!replaced, "{writes:?}");
}

#[test]
fn f02_another_template_rebuilds_nobody() {
    let templates = format!("{}\n---\n{}\n---\n", template("old", 9000), template("new", 9001));
    let from = |name: &str| format!("{templates}{}", one(&format!("from: {{template: {name}}}, tags: [a]")));
    let lab = made(&from("old"));
    let before = (lab.world().guests[&300].config.clone(), logged(&lab));
    lab.apply(&desired(&from("new")), &plain());
    let (config, from_then) = before;
    assert_eq!(guest(&lab, 300).config["scsi0"], config["scsi0"]);
    let writes = lab.writes_since(from_then);
    assert!(writes.iter().all(|w| w.ends_with("/300/config")), "more than its notes were written: {writes:?}");
}

#[test]
fn f03_an_import_restarts_nothing_and_then_differs_in_nothing() {
    let scene = Scene::new();
    let yaml = scene.run("--sim get vm opnsense -o yaml").code(0).out;
    let file = scene.write("opnsense.yaml", &yaml);
    let before = scene.world()["guests"]["8100"].clone();
    assert_eq!(before["power"], "running", "{before}");
    scene.run_words(&["--sim", "adopt", "--yes", "VirtualMachine/opnsense", "-f", &file], "").code(0);
    scene.run_words(&["--sim", "diff", "-f", &file], "").code(0);
    let after = scene.world()["guests"]["8100"].clone();
    for field in ["power", "started_ms", "pid", "pending", "node"] {
        assert_eq!(before[field], after[field], "{field} moved");
    }
    for (key, value) in before["config"].as_object().expect("options") {
        let ours = ["description", "tags", "digest"].contains(&key.as_str());
        assert!(ours || after["config"][key] == *value, "{key}: {value} became {}", after["config"][key]);
    }
}

#[test]
fn f04_a_vmid_that_somebody_else_has_now_is_not_deleted() {
    let lab = made(&one(DISK));
    let set = nothing();
    // Deleted by hand and made anew by somebody else after our plan: it is read once more right before the deletion.
    let api = Meddler::before("GET /nodes/pve1/qemu/300/config", &lab, |w| stranger(w, 300));
    let report = lab.try_apply(&api, &KINDS, &set, &prune());
    assert!(!lab.writes_since(0).iter().any(|w| w.starts_with("DELETE")), "{}", report.is_ok());
    assert_eq!(guest(&lab, 300).config["name"], "somebody-elses", "a stranger's guest is gone");
    // And one that was there before we looked is not even planned for.
    let lab = made(&one(DISK));
    lab.sim.with_world(|w| stranger(w, 300));
    let plan = lab.preview(&set, &prune());
    assert!(plan.deltas.iter().all(|d| d.steps.is_empty()), "{}", differences(&plan));
}

#[test]
fn f05_already_exists_is_no_success() {
    let lab = Lab::homelab();
    let api = Meddler::before("POST /nodes/pve1/qemu", &lab, |w| stranger(w, 300));
    let set = desired(&one(DISK));
    let report = lab.try_apply(&api, &KINDS, &set, &plain());
    assert!(report.is_err() || report.is_ok_and(|r| !r.converged()), "somebody else's guest was taken for ours");
    let found = guest(&lab, 300);
    assert!(
        found.config["name"] == "somebody-elses" && !found.config.contains_key("description"),
        "{:?}",
        found.config
    );
}

#[test]
fn f06_a_deletion_purges_no_more_than_it_says() {
    let lab = made(&one(DISK));
    // A volume of this guest's that no configuration names, and a backup job that lists it.
    lab.sim.with_world(|w| {
        let mut other = w.volumes.iter().find(|v| v.vmid == Some(300)).expect("its disk").clone();
        other.volid = "nfs:300/vm-300-disk-9.raw".into();
        other.node = None;
        w.volumes.push(other);
    });
    let plan = lab.preview(&nothing(), &prune());
    let step = plan.deltas.iter().flat_map(|d| &d.steps).find(|s| s.call.path.ends_with("/300")).expect("a deletion");
    for key in ["purge", "destroy-unreferenced-disks"] {
        assert_eq!(step.call.param(key), Some("0"), "{key}");
    }
    assert!(
        differences(&plan).contains("local-lvm:vm-300-disk-0"),
        "the volumes are not named: {}",
        differences(&plan)
    );
    lab.apply(&nothing(), &prune());
    let left = lab.world().volumes;
    assert!(left.iter().any(|v| v.volid == "nfs:300/vm-300-disk-9.raw"), "an unreferenced volume went too");
    assert!(!left.iter().any(|v| v.volid == "local-lvm:vm-300-disk-0"));
}

#[test]
fn f07_a_clone_has_its_templates_disks_and_no_blank_one() {
    let of = |spec: &str| format!("{}\n---\n{}", template("base", 9000), one(spec));
    let lab = made(&of("from: {template: base}, disks: [{slot: scsi0, size: 8Gi}]"));
    let guest = guest(&lab, 300);
    let slots: Vec<&str> = guest
        .config
        .keys()
        .map(String::as_str)
        .filter(|k| k.starts_with("scsi") || k.starts_with("unused") || k.starts_with("ide"))
        .collect();
    assert_eq!(slots, ["ide2", "scsi0", "scsihw"]);
    assert!(guest.config["scsi0"].contains("size=8G"), "{}", guest.config["scsi0"]);
    let disk = guest.config["scsi0"].split(',').next().expect("a volume").to_owned();
    let system = lab.world().volumes.iter().find(|v| v.volid == disk).map(|v| v.bootable);
    assert_eq!(system, Some(true), "the template's system is not on {disk}");
    assert!(orphans(&lab.world()).is_empty(), "{:?}", orphans(&lab.world()));
}

#[test]
fn f08_another_node_destroys_nothing() {
    let lab = made(&one(DISK));
    let elsewhere = one(DISK).replace("node: pve1", "node: pve3");
    let before = logged(&lab);
    let plan = lab.preview(&desired(&elsewhere), &prune());
    let worst = plan.deltas.iter().map(pvectl::resource::step::Delta::impact).max();
    assert!(worst < Some(pvectl::resource::step::Impact::DataLoss), "{}", differences(&plan));
    let _ = lab.try_apply(&lab.sim.api(), &KINDS, &desired(&elsewhere), &prune());
    let writes = lab.writes_since(before);
    assert!(!writes.iter().any(|w| w.starts_with("DELETE") || w.ends_with("/qemu")), "{writes:?}");
    assert!(lab.world().volumes.iter().any(|v| v.vmid == Some(300)), "its disk is gone");
}

// ---- perpetual diffs -------------------------------------------------------------------------------------------------

#[test]
fn f09_tags_are_a_set_whatever_their_order_and_case() {
    let text = one("tags: [web, Prod, app]");
    let lab = made(&text);
    same(&lab, &text);
    for tags in ["pvectl;web;prod;app", "app,prod,pvectl,web", "WEB;app;Prod;pvectl"] {
        edit(&lab, 300, &[("tags", Some(tags))]);
        same(&lab, &text);
    }
    edit(&lab, 300, &[("tags", Some("app;prod;pvectl"))]);
    assert!(
        differences(&lab.preview(&desired(&text), &plain())).contains("tags"),
        "a tag that is missing is a difference"
    );
}

#[test]
fn f10_notes_keep_what_people_wrote() {
    let notes = r#"description: "100 % sure, a=b & c+d ü\n\n# Title\n- *one*\n\n\n""#;
    for (text, vmid) in [(one(notes), 300), (ct(notes), 310)] {
        let lab = made(&text);
        same(&lab, &text);
        // PVE adds a newline to a container's notes; an editor adds more.
        let held = config(&lab, vmid, "description").expect("notes");
        assert!(held.starts_with("100 % sure, a=b & c+d ü\n\n# Title\n- *one*"), "{held}");
        edit(&lab, vmid, &[("description", Some(&format!("{held}\n\n")))]);
        same(&lab, &text);
    }
}

#[test]
fn f11_an_unsaid_mac_stays() {
    let net = |more: &str| one(&format!("networks: [{{slot: net0, bridge: vmbr0{more}}}]"));
    let lab = made(&net(""));
    let mac = |lab: &Lab| config(lab, 300, "net0").and_then(|n| n.split(',').next().map(str::to_owned));
    let first = mac(&lab);
    for more in [", vlan: 20", ", firewall: true", ", model: e1000", ""] {
        lab.apply(&desired(&net(more)), &plain());
        same(&lab, &net(more));
        let now = mac(&lab);
        let address = |text: &Option<String>| text.as_ref().and_then(|t| t.split_once('=').map(|(_, a)| a.to_owned()));
        assert!(address(&first).is_some() && address(&now) == address(&first), "{more}: {first:?} became {now:?}");
    }
}

#[test]
fn f12_cloud_inits_keys_do_not_differ_for_ever_and_passwords_are_not_compared() {
    let text = one(
        "cloudInit: {storage: local-lvm, user: ops, sshKeys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5v a b@c  ', 'ssh-rsa AAAAB3Nza x+y']}",
    );
    let lab = made(&text);
    same(&lab, &text);
    edit(
        &lab,
        300,
        &[(
            "sshkeys",
            Some("ssh-ed25519%20AAAAC3NzaC1lZDI1NTE5AAAAIJ5v%20a%20b%40c%0A%0Assh-rsa%20AAAAB3Nza%20x%2By%0A"),
        )],
    );
    same(&lab, &text);
    // One that was set by hand reads as stars, and stays.
    edit(&lab, 300, &[("cipassword", Some("$5$salt$hash"))]);
    same(&lab, &text);
    // In a manifest it has no place: it would differ for ever, and stand in a repository.
    let refused = lab.preview(&desired(&one("options: {cipassword: secret}")), &plain());
    assert!(
        format!("{:?}", refused.deltas).contains("a password has no place in a manifest"),
        "{}",
        differences(&refused)
    );
}

#[test]
fn f13_defaults_that_pve_does_not_tell_are_no_difference() {
    let defaults = "hardware: {cores: 1, sockets: 1, bios: seabios, cpu: kvm64, memory: 512Mi, acpi: true, kvm: true, osType: other}, protection: false, startup: {onBoot: false}";
    let lab = made(&one(DISK));
    let said = one(&format!("{DISK}, {defaults}"));
    let plan = lab.preview(&desired(&said), &plain());
    assert!(plan.deltas.iter().all(|d| d.changes.is_empty()), "{}", differences(&plan));
    let before = guest(&lab, 300).config;
    lab.apply(&desired(&said), &plain());
    same(&lab, &said);
    let after = guest(&lab, 300).config;
    let moved: Vec<&String> = after.keys().filter(|key| before.get(*key) != after.get(*key)).collect();
    assert!(
        moved.iter().all(|key| matches!(key.as_str(), "description" | "digest")),
        "only the marker says more: {moved:?}"
    );
    // Unsaid is not managed: what a hand sets there stays, and is no drift.
    let lab = made(&one(DISK));
    edit(&lab, 300, &[("cpuunits", Some("2048")), ("protection", Some("1"))]);
    same(&lab, &one(DISK));
    // Said and then taken out is reset.
    let lab = made(&one(&format!("{DISK}, hardware: {{cores: 4}}")));
    lab.apply(&desired(&one(DISK)), &plain());
    assert_eq!(config(&lab, 300, "cores"), None);
}

#[test]
fn f14_a_disks_text_is_compared_by_what_it_means() {
    let text = one("disks: [{slot: scsi0, storage: local-lvm, size: 2048Mi, discard: true}]");
    let lab = made(&text);
    same(&lab, &text);
    let held = config(&lab, 300, "scsi0").expect("a disk");
    let volume = held.split(',').next().expect("a volume").to_owned();
    // Another order, other words, parts that no field says.
    edit(&lab, 300, &[("scsi0", Some(&format!("{volume},size=2G,iothread=1,discard=on,cache=writeback,format=raw")))]);
    same(&lab, &text);
    // One part changes: the others stay, and no other volume is made.
    lab.apply(&desired(&text.replace("discard: true", "discard: true, ssd: true")), &plain());
    let now = config(&lab, 300, "scsi0").expect("a disk");
    for part in [volume.as_str(), "iothread=1", "cache=writeback", "discard=on", "ssd=1", "size=2G"] {
        assert!(now.contains(part), "{part} is not in {now}");
    }
    assert_eq!(lab.world().volumes.iter().filter(|v| v.vmid == Some(300)).count(), 1);
}

#[test]
fn f15_a_containers_addresses_and_the_order_of_lists_are_no_drift() {
    let nets = "{slot: net1, name: eth1, bridge: vmbr1, ip: dhcp}, {slot: net0, name: eth0, bridge: vmbr0, ip: dhcp, ip6: auto}";
    let text = ct(&format!(
        "power: Running, networks: [{nets}], nameservers: [10.0.0.53, 1.1.1.1], features: {{nesting: true}}"
    ));
    let lab = made(&text);
    lab.sim.advance(Duration::from_secs(300));
    same(&lab, &text);
    let turned = text.replace(nets, "{slot: net0, name: eth0, bridge: vmbr0, ip6: auto, ip: dhcp}, {slot: net1, name: eth1, bridge: vmbr1, ip: dhcp}");
    assert_ne!(turned, text);
    same(&lab, &turned);
    edit(&lab, 310, &[("nameserver", Some("10.0.0.53  1.1.1.1"))]);
    same(&lab, &text);
}

// ---- reboot and power ------------------------------------------------------------------------------------------------

#[test]
fn f16_a_change_reboots_nobody_who_did_not_say_so() {
    let text = |cores: u32| one(&format!("{DISK}, power: Running, hardware: {{cores: {cores}}}"));
    let lab = made(&text(1));
    lab.install();
    let before = guest(&lab, 300);
    let from = logged(&lab);
    lab.apply(&desired(&text(2)), &plain());
    let after = guest(&lab, 300);
    assert_eq!((before.started_ms, before.power), (after.started_ms, after.power), "it was restarted");
    assert!(!lab.writes_since(from).iter().any(|w| w.contains("/status/")), "{:?}", lab.writes_since(from));
}

#[test]
fn f17_what_waits_for_a_restart_is_told_and_is_no_drift() {
    let text = |cores: u32| one(&format!("{DISK}, power: Running, hardware: {{cores: {cores}}}"));
    let lab = made(&text(1));
    lab.apply(&desired(&text(2)), &plain());
    let waits = |notes: Vec<Note>| {
        notes.into_iter().find_map(|n| if let Note::RebootRequired(keys) = n { Some(keys) } else { None })
    };
    let keys = waits(notes(&lab, &text(2))).expect("the plan says that a restart is needed");
    assert!(keys.iter().any(|k| k.contains("cores")), "{keys:?}");
    same(&lab, &text(2));
    // Restarted by hand, it is done.
    lab.sim.with_world(|w| {
        let guest = w.guests.get_mut(&300).expect("it is there");
        let pending: Vec<(String, Option<String>)> = std::mem::take(&mut guest.pending).into_iter().collect();
        for (key, value) in pending {
            match value {
                Some(value) => drop(guest.config.insert(key, value)),
                None => drop(guest.config.remove(&key)),
            }
        }
    });
    assert_eq!(waits(notes(&lab, &text(2))), None);
    assert_eq!(config(&lab, 300, "cores").as_deref(), Some("2"));
}

#[test]
fn f18_stopping_a_guest_of_the_ha_manager_goes_through_it() {
    let scene = Scene::new();
    scene.run("--sim apply -f manifests/homelab --yes").code(0);
    scene.run("--sim api POST /cluster/ha/resources sid=ct:200").code(0);
    scene.run("--sim stop ct pg-01 --yes").code(0).says("hastop");
    let world = scene.world();
    assert_eq!(world["guests"]["200"]["power"], "stopped");
    assert_eq!(world["tables"]["cluster/ha/resources"]["ct:200"]["state"], "stopped", "PVE keeps both alike");
}

#[test]
fn f19_power_that_nobody_declared_is_the_operators() {
    let lab = made(&one(DISK));
    for power in [Power::Running, Power::Stopped] {
        lab.sim.with_world(|w| w.guests.get_mut(&300).expect("it is there").power = power);
        same(&lab, &one(DISK));
        same(&lab, &one(&format!("{DISK}, power: Unmanaged")));
    }
}

// ---- waits -----------------------------------------------------------------------------------------------------------

#[test]
fn f20_no_look_waits_for_a_guest_agent() {
    let text = one(&format!(
        "{DISK}, power: Running, hardware: {{guestAgent: true}}, networks: [{{slot: net0, bridge: vmbr0}}]"
    ));
    let lab = made(&text);
    let (from, clock) = (logged(&lab), lab.world().clock_ms);
    same(&lab, &text);
    lab.apply(&desired(&text), &plain());
    let asked: Vec<String> = lab.sim.request_log().into_iter().skip(from).map(|(_, path)| path).collect();
    assert!(
        !asked.is_empty() && asked.iter().all(|p| !p.contains("/agent/") && !p.contains("/interfaces")),
        "{asked:?}"
    );
    assert!(lab.world().clock_ms - clock < 5_000, "a look took {} ms", lab.world().clock_ms - clock);
}

// ---- concurrency -----------------------------------------------------------------------------------------------------

#[test]
fn f21_a_number_that_was_taken_meanwhile_is_left_to_who_has_it() {
    let lab = Lab::homelab();
    let text = one(DISK).replace("vmid: 300", "vmidRange: 400-409");
    let api = Meddler::before("POST /nodes/pve1/qemu", &lab, |w| stranger(w, 400));
    let _ = lab.try_apply(&api, &KINDS, &desired(&text), &plain());
    lab.apply(&desired(&text), &plain());
    assert_eq!(guest(&lab, 400).config["name"], "somebody-elses");
    assert_eq!(guest(&lab, 401).config["name"], "one");
    same(&lab, &text);
    assert!(orphans(&lab.world()).is_empty(), "{:?}", orphans(&lab.world()));
}

#[test]
fn f22_locks_are_waited_for_and_never_gone_past() {
    let text = |tag: &str| one(&format!("{DISK}, tags: [{tag}]"));
    let lab = made(&text("a"));
    // Somebody's task holds the guest for a moment: the write is tried again.
    lab.sim.inject(Fault::on("PUT", "/300/config", FaultKind::LockTimeout));
    lab.apply(&desired(&text("b")), &plain());
    // A backup runs: it is left alone, said, and done when the lock is gone.
    edit(&lab, 300, &[("lock", Some("backup"))]);
    let from = logged(&lab);
    let _ = lab.try_apply(&lab.sim.api(), &KINDS, &desired(&text("c")), &plain());
    assert_eq!(lab.writes_since(from), Vec::<String>::new(), "something was written past the lock");
    assert!(notes(&lab, &text("c")).contains(&Note::Locked("backup".into())));
    edit(&lab, 300, &[("lock", None)]);
    lab.apply(&desired(&text("c")), &plain());
    same(&lab, &text("c"));
}

#[test]
fn f23_what_is_independent_is_done_side_by_side() {
    const NFS: &str = "nfs:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst";
    let took = |nodes: &[&str]| {
        let lab = Lab::homelab();
        let documents: Vec<String> = nodes
            .iter()
            .enumerate()
            .map(|(i, node)| {
                ct("power: Running")
                    .replace("name: ct", &format!("name: ct-{i}"))
                    .replace("vmid: 310", &format!("vmid: {}", 310 + i))
                    .replace("node: pve1", &format!("node: {node}"))
                    .replace("local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz", NFS)
            })
            .collect();
        lab.sim.with_world(|w| {
            let mut archive =
                w.volumes.iter().find(|v| v.volid.contains("debian-12-standard")).expect("an archive").clone();
            (archive.volid, archive.node) = (NFS.to_owned(), None);
            w.volumes.push(archive);
            let content = w.storages.get_mut("nfs").expect("it is there").config.get_mut("content").expect("content");
            content.push_str(",vztmpl");
        });
        let start = lab.world().clock_ms;
        lab.apply(&desired(&documents.join("\n---\n")), &plain());
        lab.world().clock_ms - start
    };
    let (single, three) = (took(&["pve1"]), took(&["pve1", "pve2", "pve3"]));
    assert!(three < single * 2, "one takes {single} ms, and three on three nodes {three} ms");
}

#[test]
fn f24_a_clone_in_flight_is_found_again_after_a_crash() {
    let text = format!("{}\n---\n{}", template("base", 9000), one("from: {template: base, mode: Full}"));
    let set = desired(&text);
    let mut cases = 0;
    for n in 0.. {
        let lab = Lab::homelab();
        if crash(&lab, &KINDS, &set, &plain(), n, Cut::After, true).is_none() {
            break;
        }
        cases += 1;
        lab.apply(&set, &plain());
        let clones = lab.writes_since(0).into_iter().filter(|w| w.ends_with("/9000/clone")).count();
        assert_eq!(clones, 1, "killed after write {n}");
        assert!(orphans(&lab.world()).is_empty(), "killed after write {n}: {:?}", orphans(&lab.world()));
    }
    assert!(cases >= 4, "only {cases} writes");
}

#[test]
fn f25_a_failure_in_the_middle_leaves_neither_orphan_nor_taint() {
    let text = format!(
        "{}\n---\n{}",
        template("base", 9000),
        one("from: {template: base}, power: Running, disks: [{slot: scsi0, size: 9Gi}], tags: [a]")
    );
    let set = desired(&text);
    for (method, path) in
        [("POST", "/9000/clone"), ("PUT", "/300/config"), ("PUT", "/300/resize"), ("POST", "/300/status/start")]
    {
        let lab = Lab::homelab();
        let kind = if path.ends_with("config") {
            FaultKind::Status(500, "disk quota exceeded".into())
        } else {
            FaultKind::TaskFails("it burst".into())
        };
        lab.sim.inject(Fault::on(method, path, kind));
        let report = lab.try_apply(&lab.sim.api(), &KINDS, &set, &plain());
        assert!(report.is_ok_and(|r| !r.failed.is_empty()), "{path}: nobody said that it failed");
        lab.sim.clear_faults();
        lab.apply(&set, &plain());
        same(&lab, &text);
        assert!(orphans(&lab.world()).is_empty(), "{path}: {:?}", orphans(&lab.world()));
        assert_eq!(guest(&lab, 300).power, Power::Running);
    }
}

// ---- nodes and vanished objects --------------------------------------------------------------------------------------

#[test]
fn f26_a_guest_that_was_moved_is_found_where_it_is() {
    let text = one("disks: [{slot: scsi0, storage: nfs, size: 1Gi}], tags: [a]");
    let lab = made(&text);
    lab.sim.with_world(|w| w.guests.get_mut(&300).expect("it is there").node = "pve2".into());
    let plan = lab.preview(&desired(&text), &prune());
    let created = plan.deltas.iter().flat_map(|d| &d.steps).any(|s| s.call.path.ends_with("/qemu"));
    assert!(!created, "{}", differences(&plan));
    let from = logged(&lab);
    let changed = text.replace("tags: [a]", "tags: [b]").replace("node: pve1", "placement: {nodes: [pve1, pve2]}");
    lab.apply(&desired(&changed), &plain());
    assert!(
        lab.writes_since(from).contains(&"PUT /nodes/pve2/qemu/300/config".to_owned()),
        "{:?}",
        lab.writes_since(from)
    );
    assert_eq!(lab.world().guests.len(), 4, "there are two of it");
}

#[test]
fn f27_a_node_that_is_away_is_not_an_absence() {
    let lab = made(&one(&format!("{DISK}, tags: [a]")));
    lab.sim.with_world(|w| {
        w.nodes.get_mut("pve1").expect("a node").online = false;
        w.collect_statistics();
    });
    let from = logged(&lab);
    for yaml in [Some(one(&format!("{DISK}, tags: [b]"))), None] {
        let set = yaml.as_deref().map_or_else(nothing, desired);
        let _ = lab.try_apply(&lab.sim.api(), &KINDS, &set, &prune());
        assert_eq!(lab.writes_since(from), Vec::<String>::new());
    }
    let hidden = notes(&lab, &one(&format!("{DISK}, tags: [b]")));
    assert!(hidden.contains(&Note::NodeOffline("pve1".into())), "{hidden:?}");
    // Without a quorum nobody writes either.
    let lab = made(&one(&format!("{DISK}, tags: [a]")));
    lab.sim.with_world(|w| w.quorate = false);
    let from = logged(&lab);
    let _ = lab.try_apply(&lab.sim.api(), &KINDS, &nothing(), &prune());
    assert_eq!(lab.writes_since(from), Vec::<String>::new());
}

#[test]
fn f28_what_may_not_be_seen_is_not_taken_for_gone() {
    let server = Inside::start();
    let root = Client::of(&server.ready, "root@pam!test");
    let file = root.file("one.yaml", &one(DISK));
    root.run(&format!("apply -f {file} --yes")).code(0);
    // All that is needed to make it anew, but not the right to see it: PVE then lists no guests at all, without a word.
    server.grant(&[
        "Sys.Audit",
        "Datastore.Audit",
        "Datastore.AllocateSpace",
        "VM.Allocate",
        "VM.Config.Disk",
        "VM.Config.Options",
        "VM.Config.CPU",
        "VM.Config.Memory",
        "VM.Config.HWType",
    ]);
    let few = Client::of(&server.ready, "admin@pve!priv");
    let before = server.writes().len();
    few.run(&format!("apply -f {file} --yes")).code(3).says("VM.Audit");
    let empty = few.file("pool.yaml", "{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {name: p}, spec: {}}\n");
    let _ = few.run(&format!("apply -f {empty} --prune --yes --allow data-loss"));
    assert_eq!(server.writes().len(), before, "{:?}", server.writes());
    assert!(server.sim.with_world(|w| w.guests.contains_key(&300)));
}

#[test]
fn f29_the_next_node_is_asked_when_one_does_not_answer() {
    let server = Inside::start();
    // A port that was free a moment ago: nobody listens there.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let urls = format!("https://127.0.0.1:{dead},{}", server.ready.url);
    let client = Client::of(&server.ready, "root@pam!test").with("PVECTL_ENDPOINT", &urls);
    client.run("get vm").code(0).says("opnsense");
    client.run("apply -f manifests/homelab --yes").code(0);
}

// ---- permissions and tokens ------------------------------------------------------------------------------------------

#[test]
fn f30_what_only_root_may_set_is_refused_in_the_plan() {
    let lab = Lab::homelab();
    let token = Settings { root_ticket: false, ..plain() };
    let text = one("options: {args: -snapshot}, hookScript: 'local:snippets/hook.pl'");
    let plan = lab.preview(&desired(&text), &token);
    let problems: Vec<String> = plan.deltas.iter().flat_map(|d| d.problems.iter().map(|p| p.message.clone())).collect();
    assert!(
        problems.iter().any(|p| p.contains("args")) && problems.iter().any(|p| p.contains("hookscript")),
        "{problems:?}"
    );
    let from = logged(&lab);
    assert!(lab.try_apply(&lab.sim.api(), &KINDS, &desired(&text), &token).is_err());
    assert_eq!(lab.writes_since(from), Vec::<String>::new());
}

#[test]
fn f31_the_least_role_is_one_that_this_version_of_pve_takes() {
    let scene = Scene::new();
    let said = scene.run("--sim auth setup").code(0);
    assert!(
        said.out.contains("VM.Audit") && !said.out.contains("VM.Monitor"),
        "PVE 9 refuses VM.Monitor: {}",
        said.out
    );
    scene.run("--sim auth setup --run --yes").code(0);
    let roles = scene.world()["roles"].clone();
    assert!(roles["Reconciler"].to_string().contains("VM.Clone"), "{roles}");
    scene.run("--sim api POST /access/roles roleid=old privs=VM.Monitor").code(1);
}

#[test]
fn f32_nothing_goes_over_ssh_and_what_would_have_to_is_refused() {
    let lab = Lab::homelab();
    for (text, says) in [
        (ct("options: {lxc.idmap: 'u 0 100000 65536'}"), "write them on the node"),
        (ct("options: {idmap: 'u 0 100000 65536'}"), "write them on the node"),
    ] {
        let (loaded, set) = bound(&text, "lab");
        let early = format!("{:?}", loaded.diagnostics);
        let plan = lab.preview(&set, &plain());
        assert!(early.contains(says) || format!("{:?}", plan.deltas).contains(says), "{early}\n{}", differences(&plan));
    }
    // A snippet is named, never uploaded: an archive, a disk and cloud-init's files go by the API alone.
    let text = one("cloudInit: {storage: local-lvm, user: ops, custom: {user: 'local:snippets/user.yaml'}}");
    let lab = made(&text);
    assert_eq!(config(&lab, 300, "cicustom").as_deref(), Some("user=local:snippets/user.yaml"));
    same(&lab, &text);
}

// ---- transport and speed ---------------------------------------------------------------------------------------------

#[test]
fn f33_a_look_costs_one_request_a_guest_and_a_handful() {
    let cost = |guests: u32| {
        let (lab, set) = fleet(4, guests);
        let from = logged(&lab);
        let plan = lab.preview(&set, &plain());
        assert_eq!(differences(&plan), "");
        lab.sim.request_log().len() - from
    };
    let (small, large) = (cost(10), cost(60));
    assert_eq!(large - small, 50, "each further guest costs one request");
    assert!(small - 10 <= 20, "{small} requests for 10 guests");
}

#[test]
fn f34_a_ticket_that_expired_is_renewed_and_the_run_goes_on() {
    let server = Inside::start();
    let client = Client::of(&server.ready, "root@pam!test").without("PVECTL_TOKEN");
    let client = client.with("PVECTL_USERNAME", "root@pam").with("PVECTL_PASSWORD", "rootpw123");
    let file = client.file("one.yaml", &one(&format!("{DISK}, power: Running")));
    // In the middle of the run all tickets are forgotten, as after two hours.
    server.sim.inject(Fault::on("GET", "/tasks/", FaultKind::Expired));
    client.run(&format!("apply -f {file} --yes")).code(0);
    let logins = server.writes().into_iter().filter(|w| w == "POST /access/ticket").count();
    assert_eq!(logins, 2, "one at the beginning, one when it had expired");
    assert_eq!(server.writes().into_iter().filter(|w| w.ends_with("/qemu")).count(), 1);
}

#[test]
fn f35_reads_are_tried_again_and_writes_are_looked_after() {
    let text = one(DISK);
    for kind in [
        FaultKind::Status(596, "broken pipe".into()),
        FaultKind::Status(599, "Too many redirections".into()),
        FaultKind::DropBefore,
    ] {
        let lab = Lab::homelab();
        lab.sim.inject(Fault::on("GET", "/cluster/resources", kind));
        lab.apply(&desired(&text), &plain());
    }
    for kind in [FaultKind::DropAfter, FaultKind::DropBefore] {
        let lab = Lab::homelab();
        lab.sim.inject(Fault::on("POST", "/nodes/pve1/qemu", kind.clone()));
        let report = lab.try_apply(&lab.sim.api(), &KINDS, &desired(&text), &plain());
        let posts = lab.writes_since(0).into_iter().filter(|w| w.ends_with("/qemu")).count();
        let there = usize::from(kind == FaultKind::DropAfter);
        assert!(posts <= 2 - there, "{kind:?}: it was sent {posts} times");
        lab.sim.clear_faults();
        lab.apply(&desired(&text), &plain());
        assert_eq!(
            lab.world().volumes.iter().filter(|v| v.vmid == Some(300)).count(),
            1,
            "{kind:?}: {}",
            report.map_or_else(|h| crate::world::stopped(&h), |r| open(&r))
        );
    }
}

// ---- what is asked for -----------------------------------------------------------------------------------------------

#[test]
fn f36_what_is_changed_in_sdn_is_applied_once_for_all_of_it() {
    let lab = Lab::homelab();
    let life = LIVES.iter().find(|l| l.states[0].contains("kind: SdnZone")).expect("a life");
    let from = logged(&lab);
    lab.apply(&desired(life.states[0]), &plain());
    let applied = lab.writes_since(from).into_iter().filter(|w| w == "PUT /cluster/sdn").count();
    assert_eq!(applied, 1, "all writes take effect together");
    let from = logged(&lab);
    lab.apply(&desired(life.states[0]), &plain());
    assert_eq!(lab.writes_since(from), Vec::<String>::new(), "and nothing is applied that did not change");
}

#[test]
fn f37_rules_of_the_firewall_stand_in_the_order_of_their_manifest() {
    let lab = Lab::homelab();
    let group = |macros: &[&str]| {
        let rules: Vec<String> = macros.iter().map(|m| format!("{{type: in, action: ACCEPT, macro: {m}}}")).collect();
        let spec = format!("{{rules: [{}]}}", rules.join(", "));
        desired(&format!("{{apiVersion: pvectl/v1alpha1, kind: SecurityGroup, metadata: {{name: web}}, spec: {spec}}}"))
    };
    for order in [["SSH", "HTTP", "Ping"], ["Ping", "SSH", "HTTP"], ["HTTP", "DNS", "SSH"]] {
        lab.apply(&group(&order), &plain());
        let rules = lab.world().tables["firewall"]["cluster"]["groups"]["web"]["rules"].clone();
        let there: Vec<&str> = rules.as_array().into_iter().flatten().filter_map(|r| r["macro"].as_str()).collect();
        assert_eq!(there, order);
        assert!(lab.preview(&group(&order), &plain()).is_empty());
    }
}

#[test]
fn f38_a_grown_disk_stays_grown_over_a_restart() {
    let disk = |size: &str, more: &str| {
        one(&format!(
            "power: Running, hardware: {{hotplug: [usb]}}, disks: [{{slot: scsi0, storage: local-lvm, size: {size}{more}}}]"
        ))
    };
    let lab = made(&disk("2Gi", ""));
    lab.install();
    lab.apply(&desired(&disk("3Gi", ", cache: writeback, ssd: true")), &plain());
    lab.apply(&desired(&disk("4Gi", ", cache: writeback, ssd: true")), &plain());
    let restarted = disk("4Gi", ", cache: writeback, ssd: true").replace("power: Running", "power: Stopped");
    lab.apply(&desired(&restarted), &plain());
    lab.apply(&desired(&disk("4Gi", ", cache: writeback, ssd: true")), &plain());
    let guest = guest(&lab, 300);
    assert!(
        guest.pending.is_empty() && guest.config["scsi0"].contains("size=4G"),
        "{:?} {:?}",
        guest.config["scsi0"],
        guest.pending
    );
    assert!(lab.world().volumes.iter().any(|v| v.vmid == Some(300) && v.size == 4 << 30));
    // A growth that fails is told and done by the next run; a shrink is refused.
    lab.sim.inject(Fault::on("PUT", "/resize", FaultKind::TaskFails("no space".into())));
    let report = lab.try_apply(&lab.sim.api(), &KINDS, &desired(&disk("5Gi", "")), &plain());
    assert!(report.is_ok_and(|r| !r.failed.is_empty()));
    lab.sim.clear_faults();
    lab.apply(&desired(&disk("5Gi", "")), &plain());
    let plan = lab.preview(&desired(&disk("1Gi", "")), &plain());
    assert!(plan.deltas.iter().any(|d| !d.problems.is_empty()), "{}", differences(&plan));
}

#[test]
fn f39_a_clone_to_a_node_that_does_not_see_the_disks_is_explained_beforehand() {
    let text = format!(
        "{}\n---\n{}",
        template("base", 9000),
        one("from: {template: base}").replace("node: pve1", "node: pve2")
    );
    let lab = Lab::homelab();
    lab.apply(&desired(&template("base", 9000)), &plain());
    let from = logged(&lab);
    let plan = lab.preview(&desired(&text), &plain());
    let clone = plan.deltas.iter().find(|d| d.resource.name == "one").expect("a delta");
    let said = format!("{:?}", clone.problems);
    assert!(said.contains("on node `pve1`") && said.contains("`pve2` does not share"), "{}", differences(&plan));
    assert!(lab.try_apply(&lab.sim.api(), &KINDS, &desired(&text), &plain()).is_err());
    assert_eq!(lab.writes_since(from), Vec::<String>::new());
}

#[test]
fn f40_every_kind_has_a_diff_that_writes_nothing_and_is_empty_when_done() {
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    for life in LIVES {
        let lab = Lab::homelab();
        for state in life.states {
            let (_, set) = bound(state, "lab");
            let before = lab.world().guests;
            let from = logged(&lab);
            let plan = lab.preview(&set, &prune());
            assert_eq!(lab.writes_since(from), Vec::<String>::new(), "{}", life.name);
            assert_eq!(json!(before), json!(lab.world().guests), "{}: a diff changed something", life.name);
            shown.extend(
                plan.deltas
                    .iter()
                    .filter(|d| d.is_open())
                    .map(|d| KINDS.iter().find(|k| k.name() == d.resource.kind).map_or("", |k| k.name())),
            );
            let api = Mortal::at(lab.sim.api(), usize::MAX, Cut::Before);
            let report = lab.try_apply(&api, &KINDS, &set, &prune());
            assert!(
                report.as_ref().is_ok_and(|r| r.converged()),
                "{}: {}",
                life.name,
                report.map_or_else(|h| crate::world::stopped(&h), |r| open(&r))
            );
            lab.install();
            let again = lab.preview(&set, &prune());
            assert!(again.is_empty(), "{}: {}", life.name, differences(&again));
        }
    }
    // These are always there, and so have no life; tests/it/objects.rs has theirs.
    shown.insert("FirewallOptions");
    // A window is shut in its life; tests/it/windows.rs opens it.
    shown.insert("PatchWindow");
    // A pool without a GitHub does nothing; tests/it/runner_pools.rs has one.
    shown.insert("RunnerPool");
    assert_eq!(shown, KINDS.iter().map(|k| k.name()).collect(), "a kind without a life");
}
