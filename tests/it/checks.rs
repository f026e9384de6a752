//! Rule sets and `pvectl check`: every rule passes and fails where it should, what cannot be told is not called well, and
//! nothing is written.

use crate::cli::Scene;
use crate::remote::{Client, Inside};
use crate::world::{Lab, run};
use pvectl::base::id::GuestType;
use pvectl::cli::inside::look;
use pvectl::engine::observe::{index, read_all};
use pvectl::engine::reconcile::Cluster;
use pvectl::kinds::guest::observed::{GuestSeen, decode_row};
use pvectl::kinds::guest::rules::checks::{Check, Checks};
use pvectl::kinds::guest::rules::evaluate::{Inside as Found, evaluate, stops_conversion};
use pvectl::kinds::guest::rules::rule::{Finding, Severity, Verdict};
use pvectl::kinds::guest::rules::sets::{ALL, RuleSet};
use pvectl::kinds::list::KINDS;
use pvectl::resource::observation::{Observation, guest_query};
use pvectl::secret_files::Folder;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A guest of the homelab with just these options.
fn guest(vmid: u32, options: &[(&str, &str)]) -> GuestSeen {
    let lab = Lab::homelab();
    lab.sim.with_world(|world| {
        let guest = world.guests.get_mut(&vmid).expect("it is there");
        guest.config = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    });
    seen(&lab, vmid)
}

fn seen(lab: &Lab, vmid: u32) -> GuestSeen {
    let (api, clock) = (lab.sim.api(), lab.sim.clock());
    run(async {
        let index = index(&api, &clock, &Default::default()).await.expect("readable");
        let row = index.guests.values().find(|r| r.vmid.get() == vmid).expect("listed").clone();
        let seen = read_all(&api, &clock, index, BTreeSet::from([guest_query(&row)])).await.expect("readable");
        decode_row(&row, &seen).expect("readable").expect("there")
    })
}

fn verdicts(set: RuleSet, guest: &GuestSeen) -> BTreeMap<String, Verdict> {
    let found = evaluate(&Checks::of(set), guest, &Observation::default(), &Found::new());
    found.into_iter().map(|Finding { rule, verdict, .. }| (rule.id, verdict)).collect()
}

fn with(verdict: Verdict, verdicts: &BTreeMap<String, Verdict>) -> Vec<&str> {
    verdicts.iter().filter(|(_, v)| **v == verdict).map(|(id, _)| id.as_str()).collect()
}

const VM: u32 = 8100;
const CT: u32 = 8200;

const GOOD_WINDOWS: &[(&str, &str)] = &[
    ("agent", "enabled=1,type=virtio"),
    ("balloon", "0"),
    ("bios", "ovmf"),
    ("cores", "2"),
    ("cpu", "host,flags=+aes"),
    ("efidisk0", "local-lvm:vm-8100-disk-1,efitype=4m,size=4M"),
    ("machine", "pc-q35-9.2+pve1"),
    ("memory", "8192"),
    ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0"),
    ("ostype", "win11"),
    ("scsi0", "local-lvm:vm-8100-disk-0,cache=writeback,discard=on,iothread=1,size=64G,ssd=1"),
    ("scsihw", "virtio-scsi-single"),
    ("sockets", "2"),
    ("tpmstate0", "local-lvm:vm-8100-disk-2,size=4M,version=v2.0"),
];

#[test]
fn every_rule_of_every_set_can_pass_and_can_fail() {
    let none = |of: &BTreeMap<String, Verdict>| assert!(with(Verdict::Fail, of).is_empty(), "{of:?}");
    let linux: Vec<(&str, &str)> =
        GOOD_WINDOWS.iter().map(|(k, v)| if *k == "ostype" { (*k, "l26") } else { (*k, *v) }).collect();
    none(&verdicts(RuleSet::WindowsRunner, &guest(VM, GOOD_WINDOWS)));
    none(&verdicts(RuleSet::LinuxRunner, &guest(VM, &linux)));
    let bad = guest(
        VM,
        &[
            ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0"),
            ("net1", "e1000=BC:24:11:00:00:02,bridge=vmbr0"),
            ("ostype", "solaris"),
            ("scsi0", "local-lvm:vm-8100-disk-0,cache=unsafe,backup=0,size=64G"),
            ("tags", "critical"),
            ("tpmstate0", "local-lvm:vm-8100-disk-2,size=4M"),
        ],
    );
    // Where nobody asked, inside and at the agent, nothing is known; everything else fails.
    let unknown = ["agent-answers", "open-ssh", "runner-directory"];
    for set in [RuleSet::WindowsRunner, RuleSet::LinuxRunner] {
        let found = verdicts(set, &bad);
        assert_eq!(with(Verdict::NotKnown, &found), unknown, "{}", set.name());
        assert!(with(Verdict::Pass, &found).is_empty(), "{}: {found:?}", set.name());
    }
    let bare = verdicts(RuleSet::WindowsRunner, &guest(VM, &[]));
    assert_eq!(bare["virtio-net"], Verdict::Fail, "a runner without a card is none");
    let found = verdicts(RuleSet::Guest, &bad);
    assert_eq!(
        with(Verdict::Fail, &found),
        ["backed-up", "cache-safe", "guest-agent", "protected", "starts-with-node"]
    );
    let good = guest(
        VM,
        &[("agent", "1"), ("onboot", "1"), ("protection", "1"), ("tags", "critical;x"), ("scsi0", "a:b,size=1G")],
    );
    assert_eq!(with(Verdict::Pass, &verdicts(RuleSet::Guest, &good)).len(), found.len());
    let plain = verdicts(RuleSet::Guest, &guest(VM, &[("agent", "1")]));
    assert_eq!(plain["protected"], Verdict::Pass, "only what is critical must be protected");
}

#[test]
fn containers_keep_to_themselves() {
    let good = [
        ("cores", "2"),
        ("memory", "512"),
        ("mp0", "/srv/etc,mp=/data"),
        ("net0", "name=eth0,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:00:00:01"),
        ("rootfs", "local-lvm:vm-8200-disk-0,size=1G"),
        ("unprivileged", "1"),
    ];
    let found = verdicts(RuleSet::ContainerSecurity, &guest(CT, &good));
    assert_eq!(with(Verdict::NotKnown, &found), ["firewall"]);
    assert!(with(Verdict::Fail, &found).is_empty(), "{found:?}");
    let bad = [
        ("features", "nesting=1,keyctl=1,mknod=1"),
        ("memory", "0"),
        ("mp0", "/srv/data,mp=/data"),
        ("mp1", "/etc/pve,mp=/pve"),
        ("net0", "name=eth0,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:00:00:01"),
        ("net1", "name=eth1,bridge=vmbr0,hwaddr=BC:24:11:00:00:02"),
        ("tags", "critical"),
    ];
    let guest = guest(CT, &bad);
    let found = evaluate(&Checks::of(RuleSet::ContainerSecurity), &guest, &Observation::default(), &Found::new());
    assert!(found.iter().all(|f| f.verdict == Verdict::Fail || f.rule.id == "firewall"), "{found:?}");
    let read = |id: &str| found.iter().find(|f| f.rule.id == id).map(|f| f.read.as_str());
    // Of many slots only the bad ones are named.
    assert_eq!(read("host-paths"), Some("mp1: /etc/pve"));
    assert_eq!(read("interface-firewall"), Some("net1: false"));
}

#[test]
fn what_its_manifest_asks_for_is_no_finding_and_what_a_hand_turned_on_is() {
    let scene = Scene::new();
    scene.run("--sim apply -f manifests/homelab --yes").code(0);
    let nesting = |scene: &Scene| {
        let said = scene.run("--sim check ct pg-01 -o json").code(1);
        let value: Value = serde_json::from_str(&said.out).expect("it is JSON");
        let list = value["guests"][0]["findings"].as_array().expect("a list").clone();
        list.into_iter().find(|f| f["rule"] == "nesting").expect("a rule of the set")
    };
    let asked = nesting(&scene);
    assert_eq!((asked["verdict"].as_str(), asked["read"].as_str()), (Some("pass"), Some("true, as its manifest asks")));
    scene.run("--sim api PUT /nodes/pve2/lxc/100/config features=nesting=1").code(0);
    scene.run("--sim check ct dns-01").code(1).says("features.nesting: true");
}

#[test]
fn a_template_that_fails_says_which_rule_and_what_to_write() {
    let mut options = GOOD_WINDOWS.to_vec();
    options.retain(|(key, _)| *key != "tpmstate0" && *key != "machine");
    let problems = stops_conversion(&Checks::of(RuleSet::WindowsRunner), &guest(VM, &options));
    let texts: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        texts[0].contains("`machine-q35` of WindowsRunner: hardware.machine is (not set), and should be q35"),
        "{texts:?}"
    );
    assert!(problems[1].help.as_deref().is_some_and(|h| h.contains("tpmstate0") && h.contains("Windows 11")));
    assert!(stops_conversion(&Checks::of(RuleSet::WindowsRunner), &guest(VM, GOOD_WINDOWS)).is_empty());
    // Advice stops nothing.
    let rule = |severity: &str| {
        let rule = json!([{"id": "a", "field": "hardware.cores", "atLeast": 9, "why": "x", "severity": severity}]);
        stops_conversion(&Checks::from_value(&rule).expect("rules"), &guest(VM, GOOD_WINDOWS)).len()
    };
    assert_eq!((rule("Error"), rule("Warning")), (1, 0));
}

#[test]
fn rules_of_ones_own_compare_in_the_manifests_units() {
    let vm = guest(VM, GOOD_WINDOWS);
    let judge = |rule: Value| {
        let mut rule = rule;
        rule["id"] = json!("own");
        rule["why"] = json!("because");
        let checks = Checks::from_value(&json!([rule])).expect("a rule");
        assert!(checks.faults(GuestType::Qemu).is_empty(), "{:?}", checks.faults(GuestType::Qemu));
        evaluate(&checks, &vm, &Observation::default(), &Found::new())[0].verdict
    };
    for (field, wish, verdict) in [
        ("hardware.memory", json!({"atLeast": "4Gi"}), Verdict::Pass),
        ("hardware.memory", json!({"atMost": "4096Mi"}), Verdict::Fail),
        ("hardware.cores", json!({"equals": 2}), Verdict::Pass),
        ("hardware.guestAgent", json!({"equals": true}), Verdict::Pass),
        ("protection", json!({"equals": false}), Verdict::Pass),
        ("disks.*.discard", json!({"equals": true}), Verdict::Pass),
        ("disks.scsi0.size", json!({"atMost": "32Gi"}), Verdict::Fail),
        ("networks.*.vlan", json!({"present": true}), Verdict::Fail),
        ("networks.net7.bridge", json!({"present": false}), Verdict::Pass),
        ("options.cores", json!({"oneOf": ["2", "4"]}), Verdict::Pass),
        ("power", json!({"oneOf": ["Running", "Stopped"]}), Verdict::Pass),
        ("hardware.osType", json!({"atLeast": 3}), Verdict::NotKnown),
    ] {
        let mut rule = wish.clone();
        rule["field"] = field.into();
        assert_eq!(judge(rule), verdict, "{field} {wish}");
    }
    for (wrong, says) in [
        (json!([{"id": "a", "field": "b", "why": "c"}]), "not just one of"),
        (json!([{"id": "a", "field": "b", "why": "c", "equals": 1, "present": true}]), "not just one of"),
        (json!(["Windows"]), "there is no rule set `Windows`"),
        (json!(7), "neither a rule set's name nor a rule"),
    ] {
        let why = Checks::from_value(&wrong).expect_err("it is wrong");
        assert!(why.contains(says), "{why}");
    }
    let off = Checks::from_value(
        &json!(["ContainerSecurity", {"id": "a", "field": "hardware.corse", "atLeast": "many", "why": "c"}]),
    );
    let faults = off.expect("readable").faults(GuestType::Qemu);
    assert!(
        faults[0].contains("is for containers") && faults[1].contains("did you mean `hardware.cores`?"),
        "{faults:?}"
    );
}

#[test]
fn ids_are_kebab_case_and_every_rule_says_why_and_what_to_do() {
    for set in ALL {
        assert_eq!(RuleSet::find(set.name()), Some(set));
        let rules = set.rules();
        let ids: BTreeSet<&str> = rules.iter().map(|r| r.id.as_str()).collect();
        assert_eq!(ids.len(), rules.len(), "an id of {} comes twice", set.name());
        for rule in &rules {
            let kebab = rule.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
            assert!(kebab && rule.why.len() > 15 && !rule.subject().is_empty(), "{rule:?}");
        }
        assert!(rules.iter().any(|r| r.severity == Severity::Error));
        assert!(Checks(vec![Check::Set(set)]).faults(set.guest()).is_empty());
    }
}

#[test]
fn check_looks_at_any_guest_and_changes_none() {
    let scene = Scene::new();
    scene.run("--sim apply -f manifests/homelab --yes").code(0);
    let before = scene.world();
    let said = scene.run("--sim check").code(1).says("Container/legacy-dns").says("VirtualMachine/opnsense");
    assert!(said.err.contains("on 9 guests"), "{}", said.err);
    scene.run("--sim check vm web-01").code(0).says("0 failed");
    scene.run("--sim check vm 8100 -o name").code(1).says("VirtualMachine/opnsense");
    scene.run("--sim check vm web-01 web-20").code(3).says("there is no guest `web-20`; did you mean `web-0");
    scene.run("--sim check vm --rules ContainerSecurity").code(2).says("is for containers");
    scene.run("--sim check --rules Windows").code(2).says("WindowsRunner");
    scene.run("--sim check pool").code(2).says("no rules for a Pool");
    scene.run("--sim check -l app=web").code(2).says("labels stand in manifests");
    let said = scene.run("--sim check -f manifests/homelab -l app=web -o wide").code(0);
    assert!(said.out.contains("web-02") && !said.out.contains("opnsense"), "{}", said.out);
    let rules = scene
        .write("rules.yaml", "- ContainerSecurity\n- {id: big, field: hardware.cores, atLeast: 16, why: builds}\n");
    scene.run_words(&["--sim", "check", "vm", "web-01", "--rules", &rules], "").code(2).says("is for containers");
    scene.run_words(&["--sim", "check", "--rules", &rules], "").code(1).says("hardware.cores: 16");
    let wrong = scene.write("rules.yaml", "- {id: big, feld: hardware.cores, atLeast: 16, why: builds}\n");
    scene
        .run_words(&["--sim", "check", "--rules", &wrong], "")
        .code(2)
        .says("rules.yaml:1:13")
        .says("did you mean `field`?");
    assert_eq!(before, scene.world(), "a check changed something");
}

#[test]
fn manifests_say_which_rules_hold_for_which_guest() {
    let scene = Scene::new();
    let vm = |annotation: &str| {
        let head = "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\n";
        let text =
            format!("{head}metadata: {{name: ci, annotations: {{{annotation}}}}}\nspec: {{vmid: 300, node: pve1}}\n");
        scene.write("ci.yaml", &text)
    };
    let file = vm("pvectl/checks: LinuxRunner");
    scene.run_words(&["--sim", "check", "-f", &file], "").code(3).says("VirtualMachine/ci is not there");
    scene.run_words(&["--sim", "apply", "-f", &file], "").code(0);
    scene.run_words(&["--sim", "check", "-f", &file], "").code(1).says("virtio-net").says("no networks");
    scene
        .run_words(&["--sim", "check", "-f", &file, "--rules", "Guest"], "")
        .code(1)
        .says("guest-agent")
        .says("fail (warning)");
    let file = vm("pvectl/checks: LinuxRuner");
    scene.run_words(&["validate", "-f", &file], "").code(2).says("did you mean `LinuxRunner`?").says("ci.yaml:3:");
}

#[test]
fn a_look_inside_runs_only_when_asked_and_only_where_somebody_answers() {
    let server = Inside::start();
    let client = Client::of(&server.ready, "root@pam!test");
    client.run("apply -f manifests/homelab --yes").code(0);
    server.sim.advance(Duration::from_secs(120));
    let writes = || server.writes().into_iter().filter(|w| w.ends_with("agent/exec")).count();
    client.run("check vm web-01 --rules LinuxRunner").code(1).says("nobody looked inside");
    assert_eq!(writes(), 0);
    let said = client.run("check vm web-01 --rules LinuxRunner --inside -o wide").code(1).says("guest agent: answers");
    assert!(!said.out.contains("not-known"), "{}", said.out);
    assert_eq!(writes(), 2);
    // pxe-lab is stopped: nobody is asked.
    client.run("check vm pxe-lab --rules LinuxRunner --inside").code(1).says("it is stopped");
    assert_eq!(writes(), 2);
    // The guest says no.
    let no = "exit//bin/sh -c test -x /opt/actions-runner/run.sh".to_owned();
    server.sim.with_world(|w| w.guests.get_mut(&101).expect("web-01").agent.insert(no, json!(1)));
    let said = client.run("check vm web-01 --rules LinuxRunner --inside").code(1).says("/opt/actions-runner: no");
    assert!(!said.out.contains("open-ssh"), "{}", said.out);
    // An agent that died is a finding, and the commands are not known.
    server.sim.with_world(|w| w.guests.get_mut(&101).expect("web-01").boot_seconds = None);
    client.run("check vm web-01 --rules LinuxRunner --inside").code(1).says("does not answer").says("not-known");
}

#[test]
fn a_command_that_does_not_end_is_given_up() {
    struct Endless<'a>(&'a pvectl::sim::SimApi);
    impl pvectl::pve::api::Api for Endless<'_> {
        fn get<'a>(
            &'a self,
            query: &'a pvectl::pve::request::Query,
        ) -> futures::future::BoxFuture<'a, Result<Value, pvectl::pve::error::PveError>> {
            if query.path.ends_with("exec-status") {
                return Box::pin(async { Ok(json!({"exited": 0})) });
            }
            self.0.get(query)
        }
        fn send<'a>(
            &'a self,
            _: &'a pvectl::pve::request::Call,
        ) -> futures::future::BoxFuture<'a, Result<Value, pvectl::pve::error::PveError>> {
            Box::pin(async { Ok(json!({"pid": 7})) })
        }
    }
    let lab = Lab::homelab();
    lab.sim.with_world(|w| w.edit_guest(VM, "agent", Some("1")));
    let guest = seen(&lab, VM);
    assert!(guest.running(), "the homelab's firewall runs");
    let (api, clock) = (lab.sim.api(), lab.sim.clock());
    let names = lab.sim.names();
    let cluster = Cluster { api: &Endless(&api), clock: &clock, kinds: &KINDS, names: &names, files: &Folder::new("") };
    let found = run(look(&cluster, &Checks::of(RuleSet::LinuxRunner), &guest));
    assert_eq!(found.len(), 2);
    assert!(found.values().all(|f| f.as_ref().is_err_and(|why| why.contains("did not end in 10 s"))), "{found:?}");
}

#[test]
fn what_may_not_be_asked_and_what_is_out_of_sight_is_told_and_not_called_well() {
    let server = Inside::start();
    let root = Client::of(&server.ready, "root@pam!test");
    root.run("apply -f manifests/homelab --yes").code(0);
    server.sim.advance(Duration::from_secs(120));
    server.grant(&["Sys.Audit", "VM.Audit", "Pool.Audit", "Datastore.Audit", "SDN.Audit"]);
    let few = Client::of(&server.ready, "admin@pve!priv");
    let said = few.run("check vm web-01 --rules LinuxRunner --inside").code(1);
    assert!(said.out.contains("asking it takes VM.GuestAgent.Audit on /vms/101"), "{}", said.out);
    assert!(
        said.out.contains("/opt/actions-runner: POST /nodes/pve1/qemu/101/agent/exec was refused: 403"),
        "{}",
        said.out
    );
    // A node that is away hides its guests: what can be seen is shown, and the exit code says that it is not all.
    server.sim.with_world(|w| {
        w.nodes.get_mut("pve3").expect("a node").online = false;
        w.collect_statistics();
    });
    let said = root.run("check").code(3).says("Container/8200 could not be looked at");
    assert!(said.out.contains("VirtualMachine/opnsense") && said.err.contains("not everything could be checked"));
}
