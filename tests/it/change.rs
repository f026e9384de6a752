//! Change without fear: guests that move, guests that HA looks after, and what exists and becomes a manifest.

use crate::cli::{Said, Scene};
use crate::corpus::LIVES;
use crate::guests::recorded;
use crate::laws::without_markers;
use crate::world::{Lab, desired, plain, prune};
use pvectl::sim::world::World;

/// A scene whose simulator begins with a lab's cluster.
fn scene_of(lab: &Lab) -> Scene {
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
