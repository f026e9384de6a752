//! Change without fear: guests that move, guests that HA looks after, and what exists and becomes a manifest.

use crate::cli::{Said, Scene};
use crate::corpus::LIVES;
use crate::guests::recorded;
use crate::laws::without_markers;
use crate::world::{Lab, desired, differences, nothing, plain, prune};
use pvectl::plan::assemble::Plan;
use pvectl::report::text;
use pvectl::resource::step::{Impact, Step};
use pvectl::sim::world::{Power, World};
use serde_json::json;

/// A scene whose simulator begins with a lab's cluster.
/// A scene whose simulator is as the lab's.
pub(crate) fn scene_of(lab: &Lab) -> Scene {
    let scene = Scene::new();
    std::fs::create_dir_all(scene.state().parent().expect("a folder")).expect("a folder can be made");
    std::fs::write(scene.state(), lab.sim.save()).expect("a file can be written");
    scene
}

fn world_of(scene: &Scene) -> World {
    let text = std::fs::read_to_string(scene.state()).expect("the simulator keeps its state");
    let sim = pvectl::sim::Sim::load(&text).expect("it is a state");
    sim.with_world(|w| w.clone())
}

// ---- import ----------------------------------------------------------------------------------------------------------

/// Configurations without what adoption writes: our tag, and our marker in the notes.
fn configurations(scene: &Scene) -> Vec<(u32, Vec<(String, String)>)> {
    let world = world_of(scene);
    let ours = |key: &String, value: &String| match key.as_str() {
        "tags" => {
            let tags: Vec<&str> = value.split(';').filter(|t| !t.is_empty() && *t != "pvectl").collect();
            (key.clone(), tags.join(";").to_lowercase())
        }
        "description" => (key.clone(), pvectl::resource::marker::Marker::split(value).0.trim_end().to_owned()),
        _ => (key.clone(), value.clone()),
    };
    world
        .guests
        .iter()
        .map(|(vmid, g)| {
            let held = g.config.iter().map(|(k, v)| ours(k, v));
            (*vmid, held.filter(|(k, v)| !(v.is_empty() && (k == "tags" || k == "description"))).collect())
        })
        .collect()
}

/// Imports all, adopts all, and finds nothing that differs and nothing that was changed.
fn imported_and_adopted(lab: &Lab, what: &str) -> Said {
    let scene = scene_of(lab);
    let before = configurations(&scene);
    let folder = scene.folder.path().join("imported").display().to_string();
    let said = scene.run(&format!("--sim import --all -o {folder} --set imported")).code(0);
    let adopted = scene.run(&format!("--sim adopt --all -f {folder} --yes"));
    assert_eq!(adopted.code, 0, "{what}: adopt\n{}\n{}", adopted.out, adopted.err);
    let diff = scene.run(&format!("--sim diff -f {folder}"));
    assert_eq!(diff.code, 0, "{what}: diff\n{}\n{}", diff.out, diff.err);
    assert_eq!(before, configurations(&scene), "{what}: adoption changed a guest");
    said
}

#[test]
fn what_lives_is_imported_and_differs_in_nothing_once_adopted() {
    for life in LIVES {
        let lab = Lab::homelab();
        for state in life.states {
            lab.apply(&desired(state), &prune());
        }
        without_markers(&lab);
        imported_and_adopted(&lab, life.name);
    }
}

#[test]
fn what_was_recorded_is_imported_and_differs_in_nothing_once_adopted() {
    for (at, lab) in recorded(|_| {}).into_iter().flatten() {
        imported_and_adopted(&lab, &at);
    }
}

/// A cluster with names that no manifest can have, and with what no manifest says.
fn odd() -> Lab {
    let lab = Lab::homelab();
    lab.sim.with_world(|w| {
        let like = w.guests[&8100].clone();
        for (vmid, name) in [(8101, Some("Web.Example.com")), (8102, Some("web-example-com")), (8103, None)] {
            let mut guest = like.clone();
            guest.config.retain(|key, _| !key.starts_with("scsi") && key != "name");
            guest.config.extend(name.map(|n| ("name".to_owned(), n.to_owned())));
            w.guests.insert(vmid, guest);
        }
        w.edit_guest(8103, "cipassword", Some("$5$geheim$x"));
        w.edit_guest(8103, "unused0", Some("local-lvm:vm-8103-disk-9"));
        w.collect_statistics();
    });
    lab
}

#[test]
fn names_that_no_manifest_can_have_stay_what_they_are() {
    let lab = odd();
    let said = imported_and_adopted(&lab, "odd names");
    let said = said.says("VirtualMachine/vm-8103: its manifest does not say: cloud-init's password");
    said.says("volumes that no slot holds: unused0 (local-lvm:vm-8103-disk-9)").says("pvectl adopt --all -f");
    let scene = scene_of(&lab);
    let all = scene.run("--sim import vm").code(0);
    assert!(!all.out.contains("geheim") && !all.out.contains("power:"), "{}", all.out);
    for text in ["name: web-example-com-8101", "name: web-example-com-8102", "name: vm-8103"] {
        assert!(all.out.contains(text), "{text}\n{}", all.out);
    }
    assert!(all.out.contains("hostName: Web.Example.com") && all.out.contains("hostName: ''"), "{}", all.out);
    let one = scene.run("--sim import vm Web.Example.com").code(0);
    assert_eq!(one.out.matches("kind: VirtualMachine").count(), 1, "{}", one.out);
    assert_eq!(scene.run("--sim import vm 8103").code(0).out.matches("kind:").count(), 1);
    scene.run("--sim import vm nothing").code(1).says("there is no VirtualMachine `nothing`");
}

#[test]
fn a_file_that_is_there_is_not_written_over() {
    let scene = Scene::new();
    let folder = scene.folder.path().join("mine").display().to_string();
    scene.run(&format!("--sim import ct -o {folder}")).code(0).says("1 manifest in");
    scene.run(&format!("--sim import ct -o {folder}")).code(0);
    let file = scene.folder.path().join("mine/container-legacy-dns.yaml");
    std::fs::write(&file, "mine\n").expect("a file can be written");
    let said = scene.run(&format!("--sim import --all -o {folder}")).code(3);
    said.says("container-legacy-dns.yaml").says("nothing was written");
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "mine\n");
    assert_eq!(std::fs::read_dir(scene.folder.path().join("mine")).expect("a folder").count(), 2);
}

// ---- moves -----------------------------------------------------------------------------------------------------------

fn vm(spec: &str) -> String {
    format!("{{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {{name: a}}, spec: {{vmid: 150, {spec}}}}}")
}

fn ct(spec: &str) -> String {
    let from = "{osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}";
    let spec = format!("vmid: 250, from: {from}, rootfs: {{storage: local-lvm, size: 1Gi}}, {spec}");
    format!("{{apiVersion: pvectl/v1alpha1, kind: Container, metadata: {{name: a}}, spec: {{{spec}}}}}")
}

const DISK: &str = "disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}], networks: [{slot: net0, bridge: vmbr0}]";

/// A running VM and a running CT on pve1.
fn at_home() -> Lab {
    let lab = Lab::homelab();
    let both =
        format!("{}\n---\n{}", vm(&format!("node: pve1, power: Running, {DISK}")), ct("node: pve1, power: Running"));
    lab.apply(&desired(&both), &plain());
    lab.install();
    lab
}

fn steps(plan: &Plan) -> Vec<&Step> {
    plan.deltas.iter().flat_map(|d| &d.steps).collect()
}

fn moves(plan: &Plan) -> Vec<(String, Impact)> {
    let calls = steps(plan).into_iter().filter(|s| !s.call.path.ends_with("/config"));
    calls.map(|s| (s.call.to_string(), s.impact)).collect()
}

#[test]
fn a_guest_moves_as_its_manifest_permits() {
    let lab = at_home();
    let plan = |yaml: String| lab.preview(&desired(&yaml), &plain());
    let never = plan(vm("node: pve2, power: Running"));
    assert!(moves(&never).is_empty(), "{}", differences(&never));
    assert!(
        text::plan(&never, false).contains("it is on `pve1`, and its manifest says pve2"),
        "{}",
        text::plan(&never, false)
    );
    for (yaml, wanted) in [
        (vm("node: pve2, update: {migrate: Online}"), vec![("POST /nodes/pve1/qemu/150/migrate", Impact::Migration)]),
        (
            vm("node: pve2, power: Running, update: {migrate: Offline}"),
            vec![
                ("POST /nodes/pve1/qemu/150/status/shutdown", Impact::Restart),
                ("POST /nodes/pve1/qemu/150/migrate", Impact::Migration),
                ("POST /nodes/pve2/qemu/150/status/start", Impact::Restart),
            ],
        ),
        (
            vm("node: pve2, power: Stopped, update: {migrate: Online}"),
            vec![
                ("POST /nodes/pve1/qemu/150/status/shutdown", Impact::Restart),
                ("POST /nodes/pve1/qemu/150/migrate", Impact::Migration),
            ],
        ),
        (ct("node: pve3, update: {migrate: Offline}"), vec![("POST /nodes/pve1/lxc/250/migrate", Impact::Restart)]),
        (vm("placement: {nodes: [pve3, pve1]}, update: {migrate: Online}"), vec![]),
    ] {
        let plan = plan(yaml.clone());
        let found = moves(&plan);
        assert_eq!(found.len(), wanted.len(), "{yaml}\n{}", text::plan(&plan, false));
        for ((call, impact), (start, wanted)) in found.iter().zip(wanted) {
            assert!(call.starts_with(start) && *impact == wanted, "{yaml}: {call} ({impact:?})");
        }
    }
    let online = plan(vm("node: pve2, update: {migrate: Online}"));
    let call = &steps(&online).into_iter().find(|s| s.call.path.ends_with("/migrate")).expect("a move").call;
    for param in [("target", "pve2"), ("online", "1"), ("with-local-disks", "1")] {
        assert!(call.params.iter().any(|(k, v)| (k.as_str(), v.as_str()) == param), "{call}");
    }
}

#[test]
fn a_placement_takes_the_node_that_can_and_has_most_room() {
    let lab = at_home();
    lab.sim.with_world(|w| {
        w.nodes.get_mut("pve2").expect("there").memory = 1 << 40;
        w.storages.get_mut("local-lvm").expect("there").config.insert("nodes".into(), "pve1,pve3".into());
    });
    let yaml = vm("placement: {nodes: [pve2, pve3]}, update: {migrate: Online}");
    let plan = lab.preview(&desired(&yaml), &plain());
    let step = steps(&plan).into_iter().find(|s| s.call.path.ends_with("/migrate")).expect("a move");
    assert!(step.title.contains("to pve3"), "pve2 has more memory, and not the storage: {}", step.title);
}

/// A change of the cluster, a manifest, and why it is refused with what to do.
type Refused = (fn(&mut World), String, &'static str, &'static str);

#[test]
fn moves_that_cannot_be_are_refused_with_every_reason() {
    let cases: Vec<Refused> = vec![
        (|_| {}, vm("node: pve9, update: {migrate: Online}"), "there is no node `pve9`", "nodes of this cluster: pve1"),
        (
            |w| w.nodes.get_mut("pve2").expect("there").online = false,
            vm("node: pve2, update: {migrate: Online}"),
            "node `pve2` does not answer",
            "name another one",
        ),
        (
            |w| drop(w.storages.get_mut("local-lvm").expect("there").config.insert("nodes".into(), "pve1".into())),
            vm("node: pve2, update: {migrate: Online}"),
            "`pve2` does not have the storages that it is on: local-lvm",
            "a storage that both nodes have",
        ),
        (
            |w| w.storages.get_mut("local-lvm").expect("there").size = 3 << 29,
            vm(&format!("node: pve2, update: {{migrate: Online}}, {}", DISK.replace("1Gi", "2Gi"))),
            "the guest's disks there take 2Gi",
            "make room there",
        ),
        (
            |w| drop(w.nodes.get_mut("pve2").expect("there").interfaces.remove("vmbr0")),
            vm("node: pve2, update: {migrate: Online}"),
            "`pve2` does not have the bridges that it uses: vmbr0",
            "make them there",
        ),
        (
            |w| w.edit_guest(150, "parent", Some("before")),
            vm("node: pve2, update: {migrate: Online}"),
            "runs and has snapshots",
            "delete its snapshots",
        ),
        (
            |w| w.edit_guest(150, "scsi0", Some("local-lvm:base-9000-disk-0/vm-150-disk-0,size=1G")),
            vm("node: pve2, update: {migrate: Online}"),
            "linked clones on storage that only `pve1` has",
            "whole copies",
        ),
        (
            |w| w.edit_guest(150, "ide2", Some("local:iso/debian-12.iso,media=cdrom")),
            vm("node: pve2, update: {migrate: Online}"),
            "a disc that only `pve1` has is in its drive",
            "take it out",
        ),
        (
            |_| {},
            vm("node: pve2, update: {migrate: Offline}"),
            "nothing says that it shall run again",
            "write `power: Running`",
        ),
        (
            managed,
            vm("node: pve2, power: Running, update: {migrate: Offline}"),
            "HA manages VM 150 and would start it again",
            "write `migrate: Online`",
        ),
    ];
    for (change, yaml, why, help) in cases {
        let lab = at_home();
        lab.sim.with_world(change);
        let plan = lab.preview(&desired(&yaml), &plain());
        let problems: Vec<String> = plan
            .deltas
            .iter()
            .flat_map(|d| &d.problems)
            .map(|p| format!("{}: {} ({})", p.path.join("."), p.message, p.help.as_deref().unwrap_or("")))
            .collect();
        assert!(problems.iter().any(|p| p.contains(why) && p.contains(help)), "{why}: {problems:?}");
        assert!(steps(&plan).is_empty(), "{yaml}: a refused plan has no step");
    }
}

// ---- HA --------------------------------------------------------------------------------------------------------------

fn managed(world: &mut World) {
    world
        .table("cluster/ha/resources")
        .insert("vm:150".into(), json!({"sid": "vm:150", "type": "vm", "state": "started"}));
}

#[test]
fn power_under_ha_is_asked_of_the_manager_once_and_waited_for() {
    let lab = at_home();
    lab.sim.with_world(managed);
    let state = |lab: &Lab| lab.sim.with_world(|w| w.table("cluster/ha/resources")["vm:150"]["state"].clone());
    for (power, wanted, on) in [("Stopped", "stopped", Power::Stopped), ("Running", "started", Power::Running)] {
        let log = lab.sim.request_log().len();
        lab.apply(&desired(&vm(&format!("node: pve1, power: {power}"))), &plain());
        assert_eq!((state(&lab), lab.world().guests[&150].power), (json!(wanted), on));
        let writes: Vec<_> = lab.sim.request_log().split_off(log).into_iter().filter(|(m, _)| m != "GET").collect();
        let asked = writes.iter().filter(|(_, path)| path.contains("/cluster/ha/resources/")).count();
        assert_eq!(asked, 1, "{writes:?}");
        assert!(!writes.iter().any(|(_, path)| path.contains("/status/")), "{writes:?}");
    }
}

#[test]
fn ha_moves_a_guest_and_keeps_it_from_being_deleted() {
    let lab = at_home();
    lab.sim.with_world(managed);
    lab.apply(&desired(&vm("node: pve2, power: Running, update: {migrate: Online}")), &plain());
    let world = lab.world();
    assert_eq!((world.guests[&150].node.as_str(), world.guests[&150].power), ("pve2", Power::Running));
    let asked = world.tasks.iter().filter(|t| t.task_type == "hamigrate").count();
    assert_eq!(asked, 1, "it is asked once, and waited for");
    let plan = lab.preview(&nothing(), &prune());
    let problem = plan.deltas.iter().flat_map(|d| &d.problems).next().expect("it is refused");
    assert!(problem.message.contains("guest 150 is the HA resource vm:150"), "{}", problem.message);
    assert_eq!(
        problem.help.as_deref(),
        Some("take it out of HA first: pvectl api DELETE /cluster/ha/resources/vm:150")
    );
}

#[test]
fn what_the_ha_manager_has_given_up_is_for_people() {
    let lab = at_home();
    lab.sim.with_world(|w| {
        managed(w);
        w.table("cluster/ha/resources").get_mut("vm:150").expect("there")["state"] = "error".into();
    });
    let plan = lab.preview(&desired(&vm("node: pve1, power: Stopped")), &plain());
    let problem = plan.deltas.iter().flat_map(|d| &d.problems).next().expect("it is refused");
    assert!(problem.help.as_deref().is_some_and(|h| h.contains("ha-manager set vm:150 --state disabled")));
}

// ---- what is said ----------------------------------------------------------------------------------------------------

#[test]
fn what_is_pending_is_no_drift_and_is_told_with_both_values() {
    let lab = at_home();
    let with = |memory: &str| desired(&vm(&format!("node: pve1, power: Running, hardware: {{memory: {memory}}}")));
    lab.apply(&with("2Gi"), &plain());
    let plan = lab.preview(&with("2Gi"), &plain());
    let text = text::plan(&plan, false);
    assert!(plan.is_empty() && plan.deltas.iter().all(|d| d.changes.is_empty()), "{text}");
    assert!(text.contains("pending in PVE, memory: ") && text.contains(" → 2048"), "{text}");
    assert!(text.contains("RebootRequired: takes effect at the next start: memory"), "{text}");
    let scene = scene_of(&lab);
    scene.run("--sim describe vm a").code(0).says("RebootRequired  True").says("→ 2048");
    let wide = scene.run("--sim get vm -o wide").code(0);
    assert!(wide.out.contains("REBOOT-REQUIRED") && wide.out.contains("memory"), "{}", wide.out);
}

#[test]
fn what_a_hand_took_out_of_a_slot_is_told_so() {
    let lab = at_home();
    let yaml = desired(&vm(&format!("node: pve1, {DISK}")));
    lab.apply(&yaml, &plain());
    lab.sim.with_world(|w| w.edit_guest(150, "net0", None));
    let text = text::plan(&lab.preview(&yaml, &plain()), false);
    assert!(text.contains("networks.net0.bridge: (removed by hand) → vmbr0  [drift,"), "{text}");
    assert!(!text.contains("(default) →"), "{text}");
}

#[test]
fn sets_are_listed_from_the_markers_of_their_members() {
    let lab = Lab::homelab();
    let set = r"
apiVersion: pvectl/v1alpha1
kind: GuestSet
metadata: {name: worker}
spec:
  replicas: 2
  vmidRange: 400-449
  template: {kind: VirtualMachine, spec: {node: pve1, power: Running, disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}]}}
";
    lab.apply(&desired(set), &plain());
    lab.sim.with_world(|w| w.guests.get_mut(&401).expect("there").power = Power::Stopped);
    let scene = scene_of(&lab);
    for name in ["GuestSet", "gset", "guestsets"] {
        scene.run(&format!("--sim get {name}")).code(0).says("worker  lab  VirtualMachine  1/2    400,401");
    }
    scene.run("--sim describe gset worker").code(0).says("worker-1  401   pve1  stopped");
    scene.run("--sim get gset worke").code(1).says("did you mean `worker`?");
    scene.run("--sim get gt").code(0);
    scene.run("--sim get lxc").code(0).says("legacy-dns");
}
