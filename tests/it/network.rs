//! Network profiles: no moment of a change is more open than before and after it, or cuts what both let through; names keep
//! their addresses when DNS fails; foreign rules stay in their place; what `network` says.

use crate::change::scene_of;
use crate::cli::Scene;
use crate::corpus::LIVES;
use crate::world::{ALL, Lab, desired, differences, open, plain, run};
use futures::future::BoxFuture;
use pvectl::base::resolver::Resolver;
use pvectl::engine::reconcile::{Cluster as Door, reconcile};
use pvectl::firewall::address::{Member, Names};
use pvectl::firewall::evaluate::evaluate;
use pvectl::firewall::rule::{Direction, Rule, Verdict};
use pvectl::firewall::scene::{Cluster, Guest, Interface, Options, Packet};
use pvectl::firewall::traffic::{Ported, Traffic};
use pvectl::kinds::list::KINDS;
use pvectl::plan::desired::DesiredSet;
use pvectl::pve::api::Api;
use pvectl::pve::error::PveError;
use pvectl::pve::request::{Call, Query};
use pvectl::report::event::Nobody;
use pvectl::sim::SimApi;
use pvectl::sim::world::{Power, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;

// ---- what a world lets through ---------------------------------------------------------------------------------------

fn names(part: &Value) -> Names {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let sets = part["ipsets"].as_object().into_iter().flatten().map(|(name, set)| {
        let entries = set["entries"].as_array().into_iter().flatten();
        let member = |e: &Value| Member { cidr: text(&e["cidr"]), nomatch: e["nomatch"] == "1" };
        (name.clone(), entries.map(member).collect())
    });
    let aliases = part["aliases"].as_object().into_iter().flatten();
    Names { sets: sets.collect(), aliases: aliases.map(|(n, a)| (n.clone(), text(&a["cidr"]))).collect() }
}

fn rules(list: &Value) -> Vec<Rule> {
    list.as_array().into_iter().flatten().filter_map(Rule::decode).collect()
}

/// Whether a packet gets through to or from a guest as the world is. A guest that is not there or does not run has none.
fn passes(world: &World, vmid: u32, packet: &Packet) -> bool {
    let Some(guest) = world.guests.get(&vmid).filter(|g| g.power == Power::Running) else { return false };
    let Some(net0) = guest.config.get("net0") else { return false };
    let none = BTreeMap::new();
    let tables = world.tables.get("firewall").unwrap_or(&none);
    let part = |scope: &str| tables.get(scope).cloned().unwrap_or(Value::Null);
    let (dc, own) = (part("cluster"), part(&format!("guest/{vmid}")));
    let groups = dc["groups"].as_object().into_iter().flatten().map(|(n, g)| (n.clone(), rules(&g["rules"])));
    let cluster = Cluster { enabled: true, names: names(&dc), groups: groups.collect() };
    let guest = Guest { options: Options::decode(&own["options"]), rules: rules(&own["rules"]), names: names(&own) };
    let firewall = net0.split(',').any(|p| p == "firewall=1");
    let interface = Interface { slot: "net0".into(), firewall, mac: String::new(), addresses: Vec::new() };
    let decision = evaluate(&cluster, &guest, &interface, packet).expect("everything is known here");
    decision.verdict == Verdict::Accept
}

fn packets() -> Vec<Packet> {
    let own: IpAddr = "10.0.20.50".parse().expect("an address");
    let dns = Lab::homelab().sim.names();
    let mut peers: Vec<IpAddr> = run(dns.resolve("api.github.com")).expect("addresses").into_iter().collect();
    peers.extend(
        ["10.0.0.5", "10.0.20.9", "10.0.20.10", "192.0.2.9", "203.0.113.7"].map(|a| a.parse::<IpAddr>().expect("one")),
    );
    let mut all = Vec::new();
    for peer in peers {
        for to in [22, 53, 80, 443, 5432, 8080] {
            for proto in [Ported::Tcp, Ported::Udp] {
                let traffic = Traffic::Ports { proto, from: 40_000, to };
                all.push(Packet { direction: Direction::Out, source: own, dest: peer, traffic });
                all.push(Packet { direction: Direction::In, source: peer, dest: own, traffic });
            }
        }
        let traffic = Traffic::Icmp { kind: 8, code: 0 };
        all.push(Packet { direction: Direction::In, source: peer, dest: own, traffic });
    }
    all
}

// ---- no moment -------------------------------------------------------------------------------------------------------

/// Remembers the world after every write.
struct Watcher<'a> {
    api: SimApi,
    lab: &'a Lab,
    moments: Mutex<Vec<(String, World)>>,
}

impl Api for Watcher<'_> {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        self.api.get(query)
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        Box::pin(async move {
            let answer = self.api.send(call).await;
            self.moments.lock().expect("no panic").push((call.to_string(), self.lab.world()));
            answer
        })
    }
}

/// Applies, and tells every moment in which a packet fared otherwise than both before and after.
fn disturbances(lab: &Lab, set: &DesiredSet, guests: &[u32]) -> (usize, Vec<String>) {
    let before = lab.world();
    let watcher = Watcher { api: lab.sim.api(), lab, moments: Mutex::new(Vec::new()) };
    let (clock, names) = (lab.sim.clock(), lab.sim.names());
    let door = Door { api: &watcher, clock: &clock, kinds: &KINDS, names: &names, files: &lab.files };
    let report = run(reconcile(&door, set, &plain(), ALL, &Nobody, &|_| true)).expect("it runs");
    assert!(report.last.is_empty() && report.failed.is_empty(), "{}", open(&report));
    let after = lab.world();
    let moments = watcher.moments.into_inner().expect("no panic");
    let mut wrong = Vec::new();
    for vmid in guests {
        for packet in packets() {
            let (first, last) = (passes(&before, *vmid, &packet), passes(&after, *vmid, &packet));
            // A guest that is made, started or stopped on the way has moments in which nothing passes.
            let restless = [&before, &after].iter().any(|w| !w.guests.contains_key(vmid));
            for (call, world) in &moments {
                let now = passes(world, *vmid, &packet);
                if now != first && now != last && (now || !restless) {
                    wrong.push(format!(
                        "guest {vmid}: {packet:?} {} after {call}",
                        if now { "passes" } else { "is cut" }
                    ));
                }
            }
        }
    }
    (moments.len(), wrong)
}

#[test]
fn no_moment_is_more_open_or_more_closed_than_before_and_after() {
    let life = LIVES.iter().find(|l| l.name.starts_with("network profiles")).expect("a life");
    let lab = Lab::homelab();
    let guests = [131, 132];
    let both = "{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: agent}, spec: {vmid: 131, node: pve1, power: Running, networks: [{slot: net0, bridge: vmbr0}]}}";
    let mut writes = 0;
    for state in [both, life.states[0], life.states[1], life.states[0], life.states[1]] {
        lab.install();
        let (count, wrong) = disturbances(&lab, &desired(state), &guests);
        writes += count;
        assert!(wrong.is_empty(), "{} disturbances, such as {}", wrong.len(), wrong[0]);
    }
    assert!(writes > 30, "{writes} writes");
}

#[test]
fn mutant_a_profile_that_is_pulled_apart() {
    // The measure sees what it is to see: a firewall that is switched off and on again.
    let life = LIVES.iter().find(|l| l.name.starts_with("network profiles")).expect("a life");
    let lab = Lab::homelab();
    lab.apply(&desired(life.states[0]), &plain());
    let closed = lab.world();
    lab.sim.with_world(|w| {
        let own = w.table("firewall").get_mut("guest/131").expect("a firewall");
        own["options"]["enable"] = json!("0");
    });
    let opened = lab.world();
    let packet = packets().into_iter().find(|p| !passes(&closed, 131, p)).expect("something is cut");
    assert!(passes(&opened, 131, &packet));
}

// ---- names -----------------------------------------------------------------------------------------------------------

fn named(names: &str) -> String {
    format!(
        "{{apiVersion: pvectl/v1alpha1, kind: IpSet, metadata: {{name: web}}, spec: {{members: [{{cidr: 10.0.0.0/24}}], names: [{names}]}}}}"
    )
}

fn members(lab: &Lab) -> Vec<String> {
    let entries = lab.world().tables["firewall"]["cluster"]["ipsets"]["web"]["entries"].clone();
    let mut all: Vec<String> = entries
        .as_array()
        .into_iter()
        .flatten()
        .map(|e| {
            format!("{} {}", e["cidr"].as_str().unwrap_or_default(), e["comment"].as_str().unwrap_or_default())
                .trim()
                .to_owned()
        })
        .collect();
    all.sort();
    all
}

fn says(lab: &Lab, addresses: &[&str]) {
    let all = addresses.iter().map(|a| a.parse().expect("an address")).collect();
    lab.sim.with_world(|w| w.names.insert("a.example".into(), all));
}

#[test]
fn addresses_of_names_follow_dns_and_outlive_its_faults() {
    let lab = Lab::homelab();
    let set = desired(&named("a.example"));
    says(&lab, &["192.0.2.1", "2001:db8::1"]);
    lab.apply(&set, &plain());
    assert_eq!(members(&lab), ["10.0.0.0/24", "192.0.2.1 a.example", "2001:db8::1 a.example"]);
    assert!(lab.preview(&set, &plain()).is_empty(), "a quiet name is written once");
    // One goes, one comes: the old one stays for its time.
    says(&lab, &["192.0.2.2", "2001:db8::1"]);
    lab.apply(&set, &plain());
    let now = members(&lab);
    assert!(now.iter().any(|m| m.starts_with("192.0.2.1 a.example, gone since 20")), "{now:?}");
    assert!(now.contains(&"192.0.2.2 a.example".to_owned()), "{now:?}");
    assert!(lab.preview(&set, &plain()).is_empty(), "{}", differences(&lab.preview(&set, &plain())));
    // DNS fails for a long time: nothing changes, and it is said.
    says(&lab, &[]);
    lab.sim.with_world(|w| w.clock_ms += 86_400_000);
    let plan = lab.preview(&set, &plain());
    assert!(plan.is_empty(), "{}", differences(&plan));
    assert!(
        format!("{:?}", plan.deltas[0].notes).contains("keeps its last known addresses"),
        "{:?}",
        plan.deltas[0].notes
    );
    // It is back: what was gone too long goes now.
    says(&lab, &["192.0.2.2"]);
    lab.apply(&set, &plain());
    let now = members(&lab);
    assert!(!now.iter().any(|m| m.starts_with("192.0.2.1 ")), "{now:?}");
    assert!(now.iter().any(|m| m.starts_with("2001:db8::1 a.example, gone")), "{now:?}");
}

#[test]
fn a_name_that_never_had_an_address_is_not_ready() {
    let lab = Lab::homelab();
    let set = desired(&named("nothing.invalid"));
    let report = lab.apply(&set, &plain());
    let conditions = pvectl::report::status::conditions(&report.last.deltas[0]);
    assert!(format!("{conditions:?}").contains("WithoutEffect"), "{conditions:?}");
    assert_eq!(members(&lab), ["10.0.0.0/24"]);
}

// ---- foreign rules ---------------------------------------------------------------------------------------------------

#[test]
fn foreign_rules_of_a_guest_stay_in_their_place() {
    let life = LIVES.iter().find(|l| l.name.starts_with("network profiles")).expect("a life");
    let lab = Lab::homelab();
    lab.apply(&desired(life.states[0]), &plain());
    let by_hand = |params: &[(&str, &str)]| {
        let mut call = Call::new(pvectl::pve::request::Method::Post, "/nodes/pve1/qemu/131/firewall/rules");
        call.params = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        run(lab.sim.api().send(&call)).expect("it is made");
    };
    by_hand(&[("type", "in"), ("action", "ACCEPT"), ("macro", "SSH"), ("enable", "1"), ("comment", "by hand")]);
    by_hand(&[("type", "group"), ("action", "theirs"), ("enable", "1")]);
    let shown = || -> Vec<String> {
        let rules = lab.world().tables["firewall"]["guest/131"]["rules"].clone();
        let one = |r: &Value| {
            format!("{} {}", r["action"].as_str().unwrap_or_default(), r["comment"].as_str().unwrap_or_default())
        };
        rules.as_array().into_iter().flatten().map(one).collect()
    };
    assert_eq!(shown(), ["theirs ", "ACCEPT by hand", "pv-api-access pvectl"]);
    assert!(lab.preview(&desired(life.states[0]), &plain()).is_empty(), "what is not ours is no drift");
    // Ours was taken out by hand: it comes back behind the others, which are not touched.
    lab.sim.with_world(|w| {
        let own = w.table("firewall").get_mut("guest/131").expect("a firewall");
        own["rules"].as_array_mut().expect("rules").pop();
    });
    lab.apply(&desired(life.states[0]), &plain());
    assert_eq!(shown(), ["theirs ", "ACCEPT by hand", "pv-api-access pvectl"]);
    // And goes alone.
    let without = life.states[0].replace(
        "networks: [{slot: net0, profile: api-access}]",
        "networks: [{slot: net0, bridge: vmbr1}], firewall: {enabled: false, groups: []}",
    );
    assert_ne!(without, life.states[0]);
    lab.apply(&desired(&without), &plain());
    assert_eq!(shown(), ["theirs ", "ACCEPT by hand"]);
}

// ---- the program -----------------------------------------------------------------------------------------------------

#[test]
fn the_program_shows_and_tests_networks() {
    let scene = Scene::new();
    let life = LIVES.iter().find(|l| l.name.starts_with("network profiles")).expect("a life");
    let file = scene.write("net.yaml", life.states[0]);
    scene
        .run(&format!("--sim apply --yes -f {file}"))
        .code(0)
        .says("without effect: the firewall of the cluster is off");
    scene.run("--sim network test agent --to 8.8.8.8:53").code(0).says("the cluster's firewall is off");
    scene.run("--sim api PUT /cluster/firewall/options enable=1").code(0);
    scene.run(&format!("--sim diff -f {file}")).code(0);
    scene
        .run(&format!("--sim network show agent -f {file}"))
        .code(0)
        .says("cluster on, guest on")
        .says("net.yaml:13")
        .says("DROP    all else  (policy)");
    scene.run("--sim network show 131 -o json").code(0).says("\"policy\": \"DROP\"");
    scene
        .run(&format!("--sim network test agent --to api.github.com:443 -f {file}"))
        .code(0)
        .says("rule 1 of pv-api-access");
    scene.run("--sim network test agent --to api.github.com:80").code(1).says("DROP").says("the policy");
    scene.run("--sim network test agent --to 10.0.20.9:8080").code(0).says("ACCEPT");
    scene.run("--sim network test agent --from 192.0.2.1 --icmp").code(0).says("ACCEPT");
    scene.run("--sim network test agent --from 192.0.2.1 --port 22").code(1).says("DROP");
    scene.run("--sim network test agent --to x").code(2).says("--to takes a host with its port");
    scene.run("--sim network test agent --to a.b:1 --interface net7").code(2).says("it has net0");
    scene.run("--sim network show nobody").code(3).says("nobody");
}

#[test]
fn a_profile_that_is_not_there_or_not_meant_is_told_at_its_line() {
    let scene = Scene::new();
    let profile = "apiVersion: pvectl/v1alpha1\nkind: NetworkProfile\nmetadata: {name: api-access}\nspec:\n  egress:\n    default: Deny\n    allow:\n      - to: \"*.github.com:443\"\n";
    let file = scene.write("wild.yaml", profile);
    scene.run(&format!("validate -f {file}")).code(2).says("wildcard").says("wild.yaml:8");
    let guest = "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {name: a}\nspec: {node: pve1, networks: [{slot: net0, profile: api-acess}]}\n---\n";
    let good = profile.replace("*.", "api.");
    let file = scene.write("near.yaml", &format!("{guest}{good}"));
    scene.run(&format!("validate -f {file}")).code(2).says("did you mean `api-access`?").says("near.yaml:4");
    let other = "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {name: b, labels: {app: web}}\nspec: {node: pve1, networks: [{slot: net0, bridge: vmbr0, ip: dhcp}]}\n---\n";
    let selects = good.replace("\"api.github.com:443\"", "{guests: {labels: {app: web}}}");
    let file = scene.write("selects.yaml", &format!("{other}{selects}"));
    scene.run(&format!("validate -f {file}")).code(0).says("2 documents are valid");
    let open = guest.replace("api-acess", "api-access, firewall: false");
    let file = scene.write("open.yaml", &format!("{open}{good}"));
    scene.run(&format!("validate -f {file}")).code(2).says("lets everything pass");
}

// ---- what became of a profile ----------------------------------------------------------------------------------------

const PROFILED: &str = r"
apiVersion: pvectl/v1alpha1
kind: NetworkProfile
metadata: {name: api-only}
spec:
  bridge: vmbr1
  egress:
    default: Deny
    allow:
      - {to: 10.0.0.0/8, except: [10.66.0.0/16], ports: [udp/53]}
      - to: api.github.com:443
      - {to: 10.0.30.0/24, ports: [tcp/443]}
  ingress: {default: Deny}
---
apiVersion: pvectl/v1alpha1
kind: NetworkProfile
metadata: {name: open}
spec: {bridge: vmbr1}
---
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: agent-01}
spec: {vmid: 601, node: pve1, networks: [{slot: net0, profile: api-only}, {slot: net1, profile: api-only}]}
---
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: agent-02}
spec: {vmid: 602, node: pve2, networks: [{slot: net0, profile: open}]}
";

#[test]
fn profiles_are_listed_from_what_was_made_for_them() {
    let lab = Lab::homelab();
    // One by hand, with a name that a profile could have: it was made for none.
    let by_hand = Call::new(pvectl::pve::request::Method::Post, "/cluster/firewall/groups").with("group", "pv-mine");
    run(lab.sim.api().send(&by_hand)).expect("it is taken");
    lab.apply(&desired(PROFILED), &plain());
    let scene = scene_of(&lab);
    for name in ["NetworkProfile", "networkprofiles", "netprofile", "netprofiles"] {
        let said = scene.run(&format!("--sim get {name}")).code(0);
        insta::assert_snapshot!("profiles_listed", said.out);
    }
    insta::assert_snapshot!("a_profile_described", scene.run("--sim describe netprofile api-only").code(0).out);
    let said = scene.run("--sim get netprofile api-only -o json").code(0);
    let json: Value = serde_json::from_str(&said.out).expect("it is JSON");
    let one = &json["items"][0];
    assert_eq!((&one["rules"], &one["inForce"], &one["set"]), (&json!(3), &json!(false), &json!("lab")));
    assert_eq!(
        one["guests"],
        json!([{"name": "agent-01", "vmid": 601, "node": "pve1", "interfaces": ["net0", "net1"]}])
    );
    scene.run("--sim get netprofile -o name").code(0).says("NetworkProfile/api-only");
    scene.run("--sim get netprofile api-onli").code(1).says("did you mean `api-only`?");
    scene.run("--sim describe netprofile open").code(1).says("leaves no trace");
    scene.run("--sim get netprofile -l a=b").code(2).says("labels stand in manifests");
    scene.run("explain netprofile").code(0).says("NetworkProfile");
    scene.run("--sim api PUT /cluster/firewall/options enable=1").code(0);
    scene.run("--sim describe netprofile api-only").code(0).says("In force: yes");
    // A rule that is switched off asks nothing; what cannot be read is not called unused.
    let rules = scene.run("--sim api GET /nodes/pve1/qemu/601/firewall/rules").code(0).out;
    for position in 0..rules.matches("\"pos\"").count() {
        scene.run(&format!("--sim api PUT /nodes/pve1/qemu/601/firewall/rules/{position} enable=0")).code(0);
    }
    scene.run("--sim describe netprofile api-only").code(0).says("Guests: none");
    scene.run("--sim --sim-fault 403@GET:/qemu/601/firewall/rules* describe netprofile api-only").says("Not read: 601");
}
