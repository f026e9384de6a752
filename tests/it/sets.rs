//! Sets of guests: stable members, growing and shrinking, changed in turn.

use crate::world::{Lab, bound, desired, differences, plain, prune};
use pvectl::base::diagnostic::render;
use pvectl::resource::step::{Action, Note};

fn set(replicas: u32, memory: &str, reboot: &str) -> String {
    format!(
        "
apiVersion: pvectl/v1alpha1
kind: GuestSet
metadata: {{name: worker, labels: {{app: k3s}}}}
spec:
  replicas: {replicas}
  vmidRange: 400-449
  spread: {{nodes: [pve1, pve2, pve3]}}
  addresses: {{net0: {{pool: 10.0.20.10-10.0.20.60/24, gateway: 10.0.20.1}}}}
  update: {{maxUnavailable: 1}}
  template:
    kind: VirtualMachine
    spec:
      power: Running
      hardware: {{cores: 1, memory: {memory}}}
      disks: [{{slot: scsi0, storage: local-lvm, size: 1Gi}}]
      networks: [{{slot: net0, bridge: vmbr0}}]
      update: {{reboot: {reboot}}}
"
    )
}

fn names(lab: &Lab) -> Vec<String> {
    let world = lab.world();
    let ours = world.guests.iter().filter(|(vmid, _)| (400..450).contains(*vmid));
    ours.map(|(vmid, g)| format!("{vmid} {} {} {}", g.config["name"], g.node, g.config["ipconfig0"])).collect()
}

#[test]
fn members_have_their_names_numbers_nodes_and_addresses_for_good() {
    let lab = Lab::homelab();
    lab.apply(&desired(&set(2, "512Mi", "Never")), &plain());
    let two = ["400 worker-0 pve1 gw=10.0.20.1,ip=10.0.20.10/24", "401 worker-1 pve2 gw=10.0.20.1,ip=10.0.20.11/24"];
    assert_eq!(names(&lab), two);
    assert!(lab.preview(&desired(&set(2, "512Mi", "Never")), &plain()).is_empty());
    lab.apply(&desired(&set(4, "512Mi", "Never")), &plain());
    assert_eq!(
        names(&lab)[2..],
        ["402 worker-2 pve3 gw=10.0.20.1,ip=10.0.20.12/24", "403 worker-3 pve1 gw=10.0.20.1,ip=10.0.20.13/24"]
    );
    // Fewer: nothing goes unless it is asked for, and then the highest go.
    let fewer = desired(&set(2, "512Mi", "Never"));
    let plan = lab.preview(&fewer, &plain());
    let left: Vec<String> = plan.orphans.iter().map(|o| o.resource.to_string()).collect();
    assert_eq!(
        (plan.is_empty(), left),
        (true, vec!["VirtualMachine/worker-2".into(), "VirtualMachine/worker-3".into()])
    );
    lab.apply(&fewer, &prune());
    assert_eq!(names(&lab), two);
}

#[test]
fn a_change_that_needs_a_restart_takes_one_member_at_a_time() {
    let lab = Lab::homelab();
    lab.apply(&desired(&set(3, "512Mi", "IfRequired")), &plain());
    lab.install();
    let before = lab.sim.request_log().len();
    lab.apply(&desired(&set(3, "1Gi", "IfRequired")), &plain());
    let log = lab.sim.request_log();
    let restarts: Vec<usize> = (before..log.len()).filter(|i| log[*i].1.ends_with("/status/reboot")).collect();
    assert_eq!(restarts.len(), 3, "{:?}", lab.writes_since(before));
    for pair in restarts.windows(2) {
        // Between two restarts everything was looked at again: the first was ready.
        let looked = log[pair[0]..pair[1]].iter().filter(|(_, path)| path == "/cluster/resources").count();
        assert!(looked > 0, "{:?}", &log[pair[0]..=pair[1]]);
    }
    let order: Vec<&str> = restarts.iter().map(|i| log[*i].1.as_str()).collect();
    assert!(order[0].contains("/400/") && order[1].contains("/401/") && order[2].contains("/402/"), "{order:?}");
}

#[test]
fn a_broken_member_holds_the_others_back_and_hides_nobodys_status() {
    let lab = Lab::homelab();
    lab.apply(&desired(&set(3, "512Mi", "IfRequired")), &plain());
    lab.install();
    let wanted = desired(&set(3, "1Gi", "IfRequired"));
    // The writes are done, nobody was restarted yet, and member 1 does not come up again.
    let written = desired(&set(3, "1Gi", "Never"));
    lab.apply(&written, &plain());
    lab.sim
        .with_world(|world| world.guests.get_mut(&401).expect("was made").power = pvectl::sim::world::Power::Stopped);
    let plan = lab.preview(&wanted, &plain());
    let by = |name: &str| plan.deltas.iter().find(|d| d.resource.name == name).expect("a member");
    assert!(by("worker-1").steps.iter().any(|s| s.title.starts_with("start")), "{}", differences(&plan));
    for waiting in ["worker-0", "worker-2"] {
        let delta = by(waiting);
        assert!(delta.steps.is_empty() && delta.action == Action::Update, "{}", differences(&plan));
        assert!(delta.notes.contains(&Note::Waiting(by("worker-1").resource.clone())), "{:?}", delta.notes);
    }
}

#[test]
fn what_is_wrong_with_a_set_is_said_once_where_it_stands() {
    let told = |yaml: &str| {
        let (loaded, _) = bound(yaml, "lab");
        let texts: Vec<String> = loaded.diagnostics.iter().map(|d| render(d, &loaded.sources, false)).collect();
        (texts.len(), texts.join("\n"))
    };
    let good = set(3, "1Gi", "Never");
    for (from, to, place, words) in [
        ("cores: 1", "corse: 1", "test.yaml:15:18", "did you mean `cores`?"),
        ("replicas: 3", "replicas: 60", "test.yaml:7:14", "widen the range"),
        ("slot: net0, bridge", "slot: net1, bridge", "test.yaml:9:", "no network `net0`"),
        ("power: Running", "power: Running\n      vmid: 7", "test.yaml:", "numbered by the set"),
        ("power: Running", "from: {template: nobody}", "test.yaml:14:24", "no manifest declares"),
        ("kind: VirtualMachine", "kind: Pool", "test.yaml:12:11", "VirtualMachine, Container"),
    ] {
        let (count, text) = told(&good.replacen(from, to, 1));
        assert_eq!(count, 1, "{to}: {text}");
        assert!(text.contains(place) && text.contains(words), "{to}: {text}");
    }
    let twice = format!("{good}---\napiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {{name: worker-1}}\n");
    let (_, text) = told(&twice);
    assert!(text.contains("VirtualMachine/worker-1 stands in the manifests twice"), "{text}");
}
