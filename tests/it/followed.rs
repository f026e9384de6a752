//! Address sets that follow guests; profiles of templates and of the members of sets; one master for a guest's firewall.

use crate::world::{Lab, bound, desired, differences, open, plain, stopped};
use futures::future::BoxFuture;
use pvectl::kinds::list::KINDS;
use pvectl::plan::desired::DesiredSet;
use pvectl::pve::api::Api;
use pvectl::pve::error::PveError;
use pvectl::pve::request::{Call, Query};
use pvectl::sim::SimApi;
use pvectl::sim::world::Power;
use serde_json::{Value, json};
use std::time::Duration;

// ---- guests that are followed ----------------------------------------------------------------------------------------

/// A VM with an agent and a container, both with addresses by DHCP, and a profile that lets `agent` reach them.
const FOLLOWED: &str = r"
{apiVersion: pvectl/v1alpha1, kind: NetworkProfile, metadata: {name: inner}, spec: {bridge: vmbr1, egress: {default: Deny, allow: [{to: {guests: {labels: {app: web}}, ports: [tcp/8080]}, except: [10.66.0.0/16]}]}}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: agent}, spec: {vmid: 131, node: pve1, networks: [{slot: net0, profile: inner}]}}
---
{apiVersion: pvectl/v1alpha1, kind: Container, metadata: {name: fixed, labels: {app: web}}, spec: {vmid: 132, node: pve1, from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}, rootfs: {storage: local-lvm, size: 1Gi}, networks: [{slot: net0, bridge: vmbr1, ip: 10.0.20.9/24}]}}
---
{apiVersion: pvectl/v1alpha1, kind: Container, metadata: {name: web, labels: {app: web}}, spec: {node: pve1, power: Running, from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}, rootfs: {storage: local-lvm, size: 1Gi}, networks: [{slot: net0, bridge: vmbr1, ip: dhcp}]}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: web, labels: {app: web}}, spec: {vmid: 133, node: pve1, power: Running, hardware: {guestAgent: true}, disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}], networks: [{slot: net0, bridge: vmbr1}]}}
";

/// The entries of the only set of the datacenter.
fn entries(lab: &Lab) -> Vec<String> {
    let sets = lab.world().tables["firewall"]["cluster"]["ipsets"].clone();
    let sets = sets.as_object().expect("sets");
    assert_eq!(sets.len(), 1, "{sets:?}");
    let list = sets.values().next().expect("a set")["entries"].clone();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let not = |e: &Value| if e["nomatch"] == "1" { "not " } else { "" };
    let one = |e: &Value| format!("{}{} {}", not(e), text(&e["cidr"]), text(&e["comment"])).trim().to_owned();
    let mut all: Vec<String> = list.as_array().into_iter().flatten().map(one).collect();
    all.sort();
    all
}

/// The guest of a name on the cluster.
fn named_guest(lab: &Lab, name: &str, container: bool) -> u32 {
    let key = if container { "hostname" } else { "name" };
    let world = lab.world();
    *world.guests.iter().find(|(_, g)| g.config.get(key).is_some_and(|n| n == name)).expect("a guest").0
}

fn takes(lab: &Lab, vmid: u32, addresses: &[&str]) {
    lab.sim.with_world(|w| {
        let guest = w.guests.get_mut(&vmid).expect("a guest");
        guest.agent.insert("addresses/net0".into(), json!(addresses));
    });
}

/// Applied, all up, and applied again; the number of the container.
fn followed() -> (Lab, DesiredSet, u32) {
    let lab = Lab::homelab();
    let set = desired(FOLLOWED);
    lab.apply(&set, &plain());
    lab.install();
    lab.sim.advance(Duration::from_millis(60_000));
    lab.apply(&set, &plain());
    let vmid = named_guest(&lab, "web", true);
    takes(&lab, vmid, &["10.0.20.50/24"]);
    takes(&lab, 133, &["10.0.20.60/24", "fd00::60/64", "fe80::60/64"]);
    lab.apply(&set, &plain());
    // What they had before they took these is gone an hour later.
    lab.sim.advance(Duration::from_millis(3_600_000));
    lab.apply(&set, &plain());
    (lab, set, vmid)
}

const SETTLED: [&str; 5] = [
    "10.0.20.50 Container/web",
    "10.0.20.60 VirtualMachine/web",
    "10.0.20.9 Container/fixed",
    "fd00::60 VirtualMachine/web",
    "not 10.66.0.0/16",
];

fn notes(lab: &Lab, set: &DesiredSet) -> String {
    let plan = lab.preview(set, &plain());
    assert!(plan.is_empty(), "{}", differences(&plan));
    let delta = plan.deltas.iter().find(|d| d.resource.kind == "IpSet").expect("a set");
    let conditions = format!("{:?}", pvectl::report::status::conditions(delta));
    assert!(conditions.contains("AsDeclared") && !conditions.contains("False"), "{conditions}");
    format!("{:?}", delta.notes)
}

#[test]
fn a_set_follows_the_guests_that_it_names() {
    let (lab, set, container) = followed();
    assert_eq!(entries(&lab), SETTLED);
    assert_eq!(notes(&lab, &set), "[]", "a quiet guest is written once, and nothing is said of it");
    // It moves: the old address is let through for an hour, and then no more.
    takes(&lab, container, &["10.0.20.51/24"]);
    lab.apply(&set, &plain());
    let now = entries(&lab);
    assert!(now.iter().any(|e| e.starts_with("10.0.20.50 Container/web, gone since 20")), "{now:?}");
    assert!(now.contains(&"10.0.20.51 Container/web".to_owned()), "{now:?}");
    assert_eq!(notes(&lab, &set), "[]");
    lab.sim.advance(Duration::from_millis(3_599_000));
    assert_eq!(notes(&lab, &set), "[]");
    lab.sim.advance(Duration::from_millis(2_000));
    lab.apply(&set, &plain());
    assert!(!entries(&lab).iter().any(|e| e.starts_with("10.0.20.50 ")), "{:?}", entries(&lab));
    // The other one takes the address: it is that one's.
    takes(&lab, container, &["10.0.20.52/24"]);
    takes(&lab, 133, &["10.0.20.51/24"]);
    lab.apply(&set, &plain());
    assert!(entries(&lab).contains(&"10.0.20.51 VirtualMachine/web".to_owned()), "{:?}", entries(&lab));
}

#[test]
fn guests_that_do_not_answer_keep_their_addresses() {
    let (lab, set, container) = followed();
    let later = |lab: &Lab| lab.sim.advance(Duration::from_millis(86_400_000));
    // The agent is down; PVE's words are said.
    lab.sim.with_world(|w| w.guests.get_mut(&133).expect("a guest").boot_seconds = None);
    later(&lab);
    let said = notes(&lab, &set);
    assert!(
        said.contains("VirtualMachine/web keeps its last known addresses: PVE says: QEMU guest agent is not running"),
        "{said}"
    );
    // Its agent answers without any address.
    lab.install();
    takes(&lab, 133, &[]);
    later(&lab);
    assert!(notes(&lab, &set).contains("no address on a network card of its own"), "{}", notes(&lab, &set));
    // Both are stopped on purpose.
    let stopped = desired(&FOLLOWED.replace("power: Running", "power: Stopped"));
    lab.apply(&stopped, &plain());
    assert_eq!(lab.world().guests[&container].power, Power::Stopped);
    later(&lab);
    let said = notes(&lab, &stopped);
    let both = "Container/web, VirtualMachine/web keep their last known addresses: not running";
    assert!(said.contains(both), "{said}");
    assert_eq!(entries(&lab), SETTLED);
    // They leave the selection: their addresses go at once.
    let without = FOLLOWED
        .replace("metadata: {name: web, labels: {app: web}}", "metadata: {name: web}")
        .replace("power: Running", "power: Stopped");
    lab.apply(&desired(&without), &plain());
    assert_eq!(entries(&lab), ["10.0.20.9 Container/fixed", "not 10.66.0.0/16"]);
}

#[test]
fn foreign_cards_and_addresses_that_are_not_meant_stay_out() {
    let (lab, set, container) = followed();
    let docker = json!([
        {"name": "docker0", "hardware-address": "02:42:ac:11:00:01", "hwaddr": "02:42:ac:11:00:01", "ip-addresses": [{"ip-address": "172.17.0.1", "prefix": 16}]},
        {"name": "wg0", "ip-addresses": [{"ip-address": "10.8.0.2", "prefix": 24}]},
    ]);
    lab.sim.with_world(|w| {
        for vmid in [133, container] {
            w.guests.get_mut(&vmid).expect("a guest").agent.insert("interfaces".into(), docker.clone());
        }
    });
    takes(&lab, 133, &["10.0.20.60/24", "fd00::60/64", "10.66.0.7/24", "127.0.0.2/8", "224.0.0.5/4", "0.0.0.0/0"]);
    assert_eq!(notes(&lab, &set), "[]");
    assert_eq!(entries(&lab), SETTLED);
    // As many as one guest may have, and no more; the next look changes nothing.
    let many: Vec<String> = (1..=40).map(|n| format!("10.1.0.{n}/24")).collect();
    takes(&lab, container, &many.iter().map(String::as_str).collect::<Vec<_>>());
    lab.apply(&set, &plain());
    assert_eq!(entries(&lab).iter().filter(|e| e.contains("Container/web")).count(), 16, "{:?}", entries(&lab));
    assert!(notes(&lab, &set).contains("tells of 40 addresses"), "{}", notes(&lab, &set));
}

#[test]
fn a_stranger_under_the_number_is_not_asked_for_its_word() {
    let (lab, set, _) = followed();
    lab.sim.with_world(|w| w.edit_guest(133, "description", None));
    takes(&lab, 133, &["10.0.20.66/24"]);
    let plan = lab.preview(&set, &plain());
    let delta = plan.deltas.iter().find(|d| d.resource.kind == "IpSet").expect("a set");
    assert!(delta.steps.is_empty() && format!("{:?}", delta.notes).contains("no mark"), "{:?}", delta.notes);
}

/// The time that passes while a container starts is enough for it to get its address.
struct Leisurely<'a>(&'a Lab, SimApi);

impl Api for Leisurely<'_> {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        self.1.get(query)
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        Box::pin(async move {
            let answer = self.1.send(call).await;
            if call.path.ends_with("/status/start") {
                self.0.sim.advance(Duration::from_secs(60));
            }
            answer
        })
    }
}

#[test]
fn a_guest_that_has_its_address_in_time_is_in_the_set_after_the_run_that_made_it() {
    let lab = Lab::homelab();
    let set = desired(FOLLOWED);
    let report = lab.try_apply(&Leisurely(&lab, lab.sim.api()), &KINDS, &set, &plain());
    let report = report.unwrap_or_else(|halt| panic!("{}", stopped(&halt)));
    assert!(report.converged(), "{}", open(&report));
    let all = entries(&lab);
    assert!(all.iter().any(|e| e.ends_with("Container/web")), "{all:?}");
    let first = report.first.deltas.iter().find(|d| d.resource.kind == "IpSet").expect("a set");
    assert!(format!("{:?}", first.notes).contains("not there yet"), "{:?}", first.notes);
}

#[test]
fn guests_are_asked_only_for_sets_that_follow_them() {
    let asked = |yaml: &str, times: usize| {
        let (lab, ..) = followed();
        let set = desired(yaml);
        lab.apply(&set, &plain());
        let from = lab.sim.request_log().len();
        lab.preview(&set, &plain());
        let log = lab.sim.request_log();
        let reads: Vec<&String> =
            log[from..].iter().map(|(_, path)| path).filter(|p| p.ends_with("interfaces")).collect();
        assert_eq!(reads.len(), times, "{reads:?}");
    };
    asked(FOLLOWED, 2);
    // Their manifests say their addresses, or no profile selects them.
    asked(&FOLLOWED.replace("app: web}}, ports", "app: other}}, ports"), 0);
    asked(&FOLLOWED.replace("bridge: vmbr1, ip: dhcp", "bridge: vmbr1, ip: 10.0.20.50/24"), 1);
}

#[test]
fn guests_of_a_set_written_by_hand_are_checked() {
    let set = |name: &str| {
        format!(
            "{{apiVersion: pvectl/v1alpha1, kind: IpSet, metadata: {{name: web}}, spec: {{guests: [{{kind: VirtualMachine, name: {name}}}]}}}}\n---\n{{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {{name: db}}, spec: {{vmid: 131, node: pve1}}}}"
        )
    };
    let (loaded, _) = bound(&set("dp"), "lab");
    let all: Vec<String> = loaded.diagnostics.iter().map(|d| format!("{} {:?}", d.message, d.help)).collect();
    assert!(
        all.len() == 1 && all[0].contains("VirtualMachine `dp`, which no manifest declares") && all[0].contains("`db`"),
        "{all:?}"
    );
    let lab = Lab::homelab();
    let set = desired(&set("db"));
    lab.apply(&set, &plain());
    assert!(entries(&lab).is_empty());
    assert!(notes(&lab, &set).contains("no address of VirtualMachine/db is in the set yet: not running"));
}

// ---- profiles ----------------------------------------------------------------------------------------------------------

const PROFILE: &str = "{apiVersion: pvectl/v1alpha1, kind: NetworkProfile, metadata: {name: inner}, spec: {bridge: vmbr1, vlan: 20, model: e1000, mtu: 1400, egress: {default: Deny, allow: [{to: 10.0.0.0/8}]}}}\n---\n";

fn net0(lab: &Lab, vmid: u32) -> String {
    lab.world().guests[&vmid].config["net0"].clone()
}

#[test]
fn templates_have_the_network_of_a_profile_and_no_rules() {
    let lab = Lab::homelab();
    let set = desired(&format!(
        "{PROFILE}{{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {{name: base}}, spec: {{vmid: 140, node: pve1, source: {{cloudImage: {{url: 'https://cloud-images.ubuntu.com/noble/current/noble-server-cloudimg-amd64.img', checksum: 'sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff', storage: local}}}}, disks: [{{slot: scsi0, storage: local-lvm}}], networks: [{{slot: net0, profile: inner, mtu: 1500}}]}}}}\n---\n\
         {{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {{name: ct-base}}, spec: {{type: Container, vmid: 141, node: pve1, source: {{osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}}, rootfs: {{storage: local-lvm, size: 1Gi}}, networks: [{{slot: net0, profile: inner}}]}}}}"
    ));
    lab.apply(&set, &plain());
    for (vmid, parts) in [(140, vec!["e1000=", "mtu=1500"]), (141, vec!["name=eth0", "mtu=1400"])] {
        let net = net0(&lab, vmid);
        let all = ["bridge=vmbr1", "tag=20", "firewall=1"].into_iter().chain(parts);
        all.for_each(|part| assert!(net.contains(part), "{part} is not in {net}"));
        assert!(!lab.world().tables["firewall"].contains_key(&format!("guest/{vmid}")), "a template has rules");
    }
    let (loaded, _) = bound(
        "{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {name: base}, spec: {node: pve1, source: {existing: {vmid: 101}}, networks: [{slot: net0, profile: none}]}}",
        "lab",
    );
    let said: Vec<&str> = loaded.diagnostics.iter().map(|d| d.message.as_str()).collect();
    assert!(said.len() == 1 && said[0].contains("NetworkProfile `none`, which no manifest declares"), "{said:?}");
}

#[test]
fn members_of_a_set_have_the_profile_of_its_template_and_are_followed() {
    let lab = Lab::homelab();
    let set = desired(&format!(
        "{PROFILE}{{apiVersion: pvectl/v1alpha1, kind: NetworkProfile, metadata: {{name: outer}}, spec: {{bridge: vmbr1, egress: {{default: Deny, allow: [{{to: {{guests: {{labels: {{app: web}}}}}}}}]}}}}}}\n---\n\
         {{apiVersion: pvectl/v1alpha1, kind: GuestSet, metadata: {{name: web, labels: {{app: web}}}}, spec: {{replicas: 2, vmidRange: 150-159, template: {{kind: VirtualMachine, spec: {{node: pve1, networks: [{{slot: net0, profile: inner}}]}}}}}}}}"
    ));
    lab.apply(&set, &plain());
    for vmid in [150, 151] {
        let net = net0(&lab, vmid);
        ["e1000=", "bridge=vmbr1", "tag=20", "firewall=1"].iter().for_each(|part| assert!(net.contains(part), "{net}"));
        let own = lab.world().tables["firewall"][&format!("guest/{vmid}")].clone();
        assert!(own["rules"][0]["action"] == "pv-inner" && own["options"]["policy_out"] == "DROP", "{own}");
    }
    let plan = lab.preview(&set, &plain());
    let notes = format!("{:?}", plan.deltas.iter().find(|d| d.resource.kind == "IpSet").expect("a set").notes);
    assert!(notes.contains("VirtualMachine/web-0, VirtualMachine/web-1"), "{notes}");
}

// ---- one master --------------------------------------------------------------------------------------------------------

fn options(of: &str, guest: &str) -> String {
    format!(
        "{{apiVersion: pvectl/v1alpha1, kind: FirewallOptions, metadata: {{name: own}}, spec: {{{of}, policyIn: REJECT, logLevelIn: info}}}}\n---\n{{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {{name: web}}, spec: {{node: pve1, {guest}}}}}\n---\n{PROFILE}"
    )
}

#[test]
fn options_of_a_guest_by_its_name_come_after_it() {
    let lab = Lab::homelab();
    let set = desired(&options("guest: web", "vmid: 160"));
    lab.apply(&set, &plain());
    let own = lab.world().tables["firewall"]["guest/160"]["options"].clone();
    assert!(own["policy_in"] == "REJECT" && own["log_level_in"] == "info", "{own}");
    assert!(lab.preview(&set, &plain()).is_empty());
}

#[test]
fn what_names_no_guest_or_a_guest_with_another_master_is_refused() {
    let cases = [
        ("guest: wep", "vmid: 160", "which no manifest declares", "did you mean `web`?"),
        ("guest: web", "pool: x", "whose number its manifest does not say", "VirtualMachine/web a `vmid`"),
        (
            "guest: web",
            "vmid: 160, firewall: {enabled: true}",
            "the `firewall` of VirtualMachine/web both say",
            "keep one",
        ),
        (
            "vmid: 160",
            "vmid: 160, firewall: {enabled: true}",
            "the `firewall` of VirtualMachine/web both say",
            "keep one",
        ),
        (
            "vmid: 160",
            "vmid: 160, networks: [{slot: net0, profile: inner}]",
            "the `firewall` of VirtualMachine/web",
            "keep one",
        ),
    ];
    for (of, guest, message, help) in cases {
        let (loaded, _) = bound(&options(of, guest), "lab");
        let hit = loaded.diagnostics.iter().find(|d| d.message.contains(message));
        let hit = hit.unwrap_or_else(|| panic!("{of}, {guest}: {:?}", loaded.diagnostics));
        assert!(hit.primary.is_some() && format!("{:?}", hit.help).contains(help), "{hit:?}");
    }
    // Two masters are named with both places.
    let (loaded, _) = bound(&options("guest: web", "vmid: 160, firewall: {enabled: true}"), "lab");
    let told = pvectl::base::diagnostic::render(&loaded.diagnostics[0], &loaded.sources, false);
    assert!(told.contains("this guest") && told.contains("its own `firewall`"), "{told}");
    // Rules are no options, and another guest is another.
    for guest in ["vmid: 160, firewall: {groups: []}", "vmid: 161, firewall: {enabled: true}"] {
        let (loaded, _) = bound(&options("vmid: 160", guest), "lab");
        assert!(loaded.diagnostics.is_empty(), "{guest}: {:?}", loaded.diagnostics);
    }
    // A name beside a number, or beside another scope, is one scope too many.
    for of in ["guest: web, vmid: 160", "guest: web, cluster: true"] {
        let plan = Lab::homelab().preview(&bound(&options(of, "vmid: 160"), "lab").1, &plain());
        assert!(differences(&plan).contains("does not say whose firewall"), "{}", differences(&plan));
    }
}
