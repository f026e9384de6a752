//! The way by which pvectl itself talks: plans that would close it are refused, before the first request, unless meant.

use crate::cli::Scene;
use crate::corpus::LIVES;
use crate::objects::{annotated, by_hand, one};
use crate::world::{Lab, desired, differences, plain, run};
use pvectl::engine::observe::observe;
use pvectl::engine::reconcile::Cluster;
use pvectl::firewall::rule::Rule;
use pvectl::kinds::list::KINDS;
use pvectl::lockout::answers::Answers;
use pvectl::lockout::way::Way;
use pvectl::plan::assemble::Settings;
use pvectl::plan::assemble::plan;
use pvectl::pve::api::Api;
use pvectl::pve::request::{Method, Query};
use pvectl::resource::step::Note;
use serde_json::Value;
use std::collections::BTreeSet;

/// The annotation that says that it is meant.
const MEANT: &str = "{pvectl/allow-lockout: 'true'}";

/// From an address to the API of pve1.
fn from(address: &str) -> Settings {
    let way = Way { from: address.parse().expect("an address"), to: "192.168.1.11:8006".parse().expect("an endpoint") };
    Settings { ways: vec![way], ..plain() }
}

/// All that stands against a plan; nothing may be sent where something does.
#[track_caller]
fn stands(lab: &Lab, yaml: &str, settings: &Settings) -> String {
    let plan = lab.preview(&desired(yaml), settings);
    let why = differences(&plan);
    if plan.deltas.iter().all(|delta| delta.problems.is_empty()) {
        return String::new();
    }
    let before = lab.sim.request_log().len();
    let halted = lab.try_apply(&lab.sim.api(), &KINDS, &desired(yaml), settings);
    assert!(halted.is_err() && lab.writes_since(before).is_empty(), "something was sent");
    why
}

/// A cluster with its firewall on and open.
fn guarded() -> Lab {
    let lab = Lab::homelab();
    by_hand(&lab, Method::Put, "/cluster/firewall/options", &[("enable", "1"), ("policy_in", "ACCEPT")]);
    lab
}

fn container(more: &str) -> String {
    let spec = "vmid: 132, node: pve1, power: Running, from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}, rootfs: {storage: local-lvm, size: 1Gi}";
    one(
        "Container",
        "server",
        &format!("{spec}, networks: [{{slot: net0, name: eth0, ip: 10.0.20.9/24, bridge: vmbr0{more}}}]"),
    )
}

fn profile(egress: &str, more: &str) -> String {
    let profile = one("NetworkProfile", "strict", &format!("egress: {{default: Deny, allow: [{egress}]}}{more}"));
    format!("{profile}\n---\n{}", container(", profile: strict"))
}

#[test]
fn a_profile_that_cuts_off_the_guest_that_pvectl_runs_in_is_refused() {
    let lab = guarded();
    lab.apply(&desired(&container("")), &plain());
    let closed = profile("{to: 10.0.0.0/8, ports: [tcp/5432]}", "");
    let why = stands(&lab, &closed, &from("10.0.20.9"));
    for words in [
        "the way by which pvectl talks to PVE would be closed: from 10.0.20.9 to 192.168.1.11:8006, DROP by the policy for what goes out of guest 132 (server)",
        "egress: {allow: [{to: 192.168.1.11, ports: [\\\"tcp/8006\\\"]}]}",
        "pvectl/allow-lockout",
    ] {
        assert!(why.contains(words), "{why}");
    }
    // Whoever talks from elsewhere closes nothing of their own.
    assert_eq!(stands(&lab, &closed, &from("10.0.20.10")), "");
    let open = profile("{to: 10.0.0.0/8, ports: [tcp/5432]}, {to: 192.168.1.11, ports: [tcp/8006]}", "");
    assert_eq!(stands(&lab, &open, &from("10.0.20.9")), "");
    lab.apply(&desired(&open), &from("10.0.20.9"));
    // The group alone is changed now, and the guest asks it already.
    let why = stands(&lab, &closed, &from("10.0.20.9"));
    assert!(why.contains("update SecurityGroup/pv-strict") && why.contains("would be closed"), "{why}");
    let meant = closed.replace("name: strict, annotations: {}", &format!("name: strict, annotations: {MEANT}"));
    assert_ne!(meant, closed);
    lab.apply(&desired(&meant), &from("10.0.20.9"));
    // What is closed stays so without a word.
    assert_eq!(stands(&lab, &closed, &from("10.0.20.9")), "");
}

#[test]
fn an_ip_filter_lets_out_only_what_pve_knows() {
    let machine = |filter: &str| {
        one(
            "VirtualMachine",
            "desk",
            &format!(
                "vmid: 131, node: pve1, power: Running, firewall: {{enabled: true{filter}}}, networks: [{{slot: net0, bridge: vmbr0, firewall: true, ip: 10.0.20.9/24}}], cloudInit: {{storage: local-lvm}}"
            ),
        )
    };
    let lab = guarded();
    lab.apply(&desired(&machine("")), &plain());
    let why = stands(&lab, &machine(", ipFilter: true"), &from("10.0.20.9"));
    assert!(why.contains("DROP by the IP filter of guest 131") && why.contains("`ipfilter-net0`"), "{why}");
    // A set of the guest's own may hold the address: what is not read decides nothing.
    let set = "/nodes/pve1/qemu/131/firewall/ipset";
    by_hand(&lab, Method::Post, set, &[("name", "ipfilter-net0")]);
    assert_eq!(stands(&lab, &machine(", ipFilter: true"), &from("10.0.20.9")), "");
    // PVE knows the addresses of containers.
    let lab = guarded();
    lab.apply(&desired(&container("")), &plain());
    let filtered = profile("{to: 192.168.1.11, ports: [tcp/8006]}", ", ipFilter: true");
    assert_eq!(stands(&lab, &filtered, &from("10.0.20.9")), "");
}

#[test]
fn a_node_that_would_not_hear_us_any_more_is_refused() {
    let drop = |meant: &str| annotated("FirewallOptions", "all", meant, "cluster: true, policyIn: DROP");
    let take = "{pvectl/take-over: 'true'}";
    let lab = guarded();
    let why = stands(&lab, &drop(take), &from("10.9.9.9"));
    for words in [
        "from 10.9.9.9 to 192.168.1.11:8006, DROP by the datacenter's policy for what comes in to node pve1",
        "in the address set `management`",
    ] {
        assert!(why.contains(words), "{why}");
    }
    // PVE lets its own network in, and whom the set `management` names.
    assert_eq!(stands(&lab, &drop(take), &from("192.168.1.50")), "");
    let set = one("IpSet", "management", "members: [{cidr: 10.9.0.0/16}]");
    let both = format!("{}\n---\n{set}", drop(take));
    assert_eq!(stands(&lab, &both, &from("10.9.9.9")), "");
    lab.apply(&desired(&both), &from("10.9.9.9"));
    let narrower = both.replace("10.9.0.0/16", "10.8.0.0/16");
    let why = stands(&lab, &narrower, &from("10.9.9.9"));
    assert!(why.contains("update IpSet/management") && why.contains("would be closed"), "{why}");
    // An endpoint that is no node's address is that of something before them: nothing is known of it.
    let elsewhere = Way { from: "10.9.9.9".parse().expect("one"), to: "203.0.113.7:8006".parse().expect("one") };
    assert_eq!(stands(&lab, &narrower, &Settings { ways: vec![elsewhere], ..plain() }), "");
    // Without the set there is nothing left of it, and no manifest that could allow it.
    let gone = lab.preview(&desired(&drop(take)), &Settings { prune: true, ..from("10.9.9.9") });
    let why = differences(&gone);
    assert!(why.contains("would be closed") && why.contains("none can allow it"), "{why}");
}

#[test]
fn the_firewall_of_one_node_counts() {
    let lab = guarded();
    by_hand(&lab, Method::Put, "/cluster/firewall/options", &[("policy_in", "DROP")]);
    for node in ["pve1", "pve2"] {
        by_hand(&lab, Method::Put, &format!("/nodes/{node}/firewall/options"), &[("enable", "0")]);
    }
    let on = |node: &str, more: &str| {
        annotated(
            "FirewallOptions",
            "node",
            &format!("{{pvectl/take-over: 'true'{more}}}"),
            &format!("node: {node}, enable: true"),
        )
    };
    let why = stands(&lab, &on("pve1", ""), &from("10.9.9.9"));
    assert!(why.contains("would be closed"), "{why}");
    assert_eq!(stands(&lab, &on("pve2", ""), &from("10.9.9.9")), "", "we talk to another node");
    // Meant, it is done, and SSH is spoken of.
    let meant = desired(&on("pve1", ", pvectl/allow-lockout: 'true'"));
    let plan = lab.preview(&meant, &from("10.9.9.9"));
    let said = |note: &Note| matches!(note, Note::Info(text) if text.contains("SSH would be closed") && text.contains("192.168.1.11:22"));
    assert!(plan.deltas.iter().any(|delta| delta.notes.iter().any(said)), "{plan:?}");
    lab.apply(&meant, &from("10.9.9.9"));
}

#[test]
fn what_does_not_speak_of_the_firewall_asks_nothing_more() {
    let count = |yaml: &str, settings: &Settings| {
        let lab = Lab::homelab();
        let before = lab.sim.request_log().len();
        lab.preview(&desired(yaml), settings);
        lab.sim.request_log().len() - before
    };
    let pool = "{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {name: web}, spec: {}}";
    assert_eq!(count(pool, &plain()), count(pool, &from("10.9.9.9")));
    let alias = one("FirewallAlias", "office", "cidr: 10.0.0.0/8");
    assert!(count(&alias, &plain()) < count(&alias, &from("10.9.9.9")), "the measure sees reads");
}

#[test]
fn the_program_says_it_at_the_line() {
    let scene = Scene::new();
    scene.run("--sim api PUT /cluster/firewall/options enable=1 policy_in=ACCEPT").code(0);
    let file = scene.write(
        "all.yaml",
        "apiVersion: pvectl/v1alpha1\nkind: FirewallOptions\nmetadata:\n  name: all\n  annotations: {pvectl/take-over: \"true\"}\nspec: {cluster: true, policyIn: DROP}\n",
    );
    scene
        .run(&format!("--sim --sim-from 10.9.9.9 apply --yes -f {file}"))
        .code(3)
        .says("from 10.9.9.9 to 192.168.1.11:8006")
        .says("all.yaml:4")
        .says("nothing was sent");
    scene.run(&format!("--sim --sim-from 192.168.1.50 apply --yes -f {file}")).code(0);
}

/// What decides about packets, of whatever is at a path.
fn deciding(path: &str, value: Option<&Value>) -> BTreeSet<String> {
    let rows = value.and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |row: &Value, key: &str| match &row[key] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    };
    let members = |keys: &[&str]| {
        rows.iter().map(|r| keys.iter().map(|k| text(r, k)).collect::<Vec<_>>().join(" ").replace(" 0", " ")).collect()
    };
    match path.split('/').collect::<Vec<_>>()[..] {
        [.., "options"] => {
            let value = value.cloned().unwrap_or_default();
            let keys = ["enable", "policy_in", "policy_out", "ipfilter", "macfilter", "nftables"];
            keys.iter().map(|key| format!("{key} {}", text(&value, key))).collect()
        }
        [.., "rules"] | [.., "groups", _] => {
            rows.iter().filter_map(Rule::decode).enumerate().map(|(n, rule)| format!("{n} {rule:?}")).collect()
        }
        // Absent is the same as 0.
        [.., "ipset", _] => members(&["cidr", "nomatch"]),
        [.., "groups"] => members(&["group"]),
        [.., "ipset"] => members(&["name"]),
        [.., "aliases"] => members(&["name", "cidr"]),
        _ => unreachable!("{path} is not looked at"),
    }
}

#[test]
fn what_is_foreseen_of_calls_is_what_comes_of_them() {
    let settings = from("10.0.20.9");
    let mut compared = 0;
    let speaks = ["NetworkProfile", "SecurityGroup", "IpSet", "FirewallAlias", "FirewallOptions"];
    for life in LIVES.iter().filter(|l| l.states.iter().any(|s| speaks.iter().any(|kind| s.contains(kind)))) {
        let lab = Lab::homelab();
        for state in life.states {
            let (api, clock, names) = (lab.sim.api(), lab.sim.clock(), lab.sim.names());
            let cluster = Cluster { api: &api, clock: &clock, kinds: &KINDS, names: &names, files: &lab.files };
            let set = desired(state);
            let seen = run(observe(&cluster, &set, &settings)).expect("it can be read");
            let steps = plan(&set, &seen, &KINDS, &Settings { ways: Vec::new(), ..settings.clone() });
            let calls: Vec<_> = steps.deltas.iter().flat_map(|d| &d.steps).map(|step| step.call.clone()).collect();
            let mut foreseen = Answers::new(&seen);
            let mut paths: BTreeSet<String> = BTreeSet::new();
            for call in calls.iter().filter(|call| Answers::concerns(call)) {
                // A digest is for the list as it was before.
                let mut call = call.clone();
                call.params.retain(|(key, _)| key != "digest");
                if !call.path.contains("/firewall/") || run(api.send(&call)).is_err() {
                    continue;
                }
                foreseen.apply(&call);
                let base = call.path.split("/firewall/").next().unwrap_or_default().to_owned();
                paths.extend(["options", "rules"].map(|part| format!("{base}/firewall/{part}")));
            }
            for list in ["groups", "ipset", "aliases"] {
                let path = format!("/cluster/firewall/{list}");
                let rows = foreseen.rows(&path).cloned().unwrap_or_default();
                let key = if list == "groups" { "group" } else { "name" };
                let inside = rows.iter().filter(|_| list != "aliases").filter_map(|row| row[key].as_str());
                paths.extend(inside.map(|name| format!("{path}/{name}")));
                paths.extend(foreseen.get(&path).map(|_| path.clone()));
            }
            for path in paths.iter().filter(|path| foreseen.get(path).is_some()) {
                let now = run(api.get(&Query::new(path))).expect("an answer");
                assert_eq!(deciding(path, foreseen.get(path)), deciding(path, Some(&now)), "{} {path}", life.name);
                compared += 1;
            }
            // On to the state as it shall be, so that the next one changes something.
            lab.apply(&set, &plain());
        }
    }
    assert!(compared > 60, "{compared} answers compared");
}
