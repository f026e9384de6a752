//! `snapshot list`, `snapshot tree` and the rules of `check` on snapshots, through the real program: of guests whose snapshots
//! are weeks old, belong to a policy, to somebody, or are half made.

use crate::cli::Scene;
use serde_json::{Value, json};

/// When the simulated homelab begins.
const BEGIN: u64 = 1_795_000_000;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// Changes the simulated cluster between two commands.
fn edit(scene: &Scene, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read_to_string(scene.state()).expect("the simulator keeps its state");
    let mut world: Value = serde_json::from_str(&text).expect("it is JSON");
    change(&mut world);
    std::fs::write(scene.state(), world.to_string()).expect("it can be written");
}

/// A snapshot of the firewall, so old, with its last line and what is left of a task.
fn put(world: &mut Value, name: &str, age: u64, words: &str, parent: Option<&str>, state: Option<&str>) {
    let guest = &mut world["guests"]["8100"];
    let mut config = guest["config"].clone();
    config["snaptime"] = (BEGIN - age).to_string().into();
    config["description"] = words.into();
    config["parent"] = parent.unwrap_or_default().into();
    if let Some(state) = state {
        config["snapstate"] = state.into();
    }
    guest["snapshots"][name] = json!({"config": config, "with_memory": false});
}

/// A firewall with a past: two branches, three owners.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.run("--sim snapshot create vm opnsense clean --description clean --yes").code(0);
    scene.run("--sim start vm opnsense --yes").code(0);
    scene.run("--sim snapshot create vm opnsense with-memory --ram --yes").code(0);
    edit(&scene, |world| {
        let times = [("clean", 20 * DAY), ("with-memory", 16 * DAY + 4 * HOUR)];
        for (name, age) in times {
            let time = (BEGIN - age - 600).to_string();
            world["guests"]["8100"]["snapshots"][name]["config"]["snaptime"] = time.into();
        }
        let policy = "taken with pvectl for SnapshotPolicy/nightly of homelab";
        put(world, "auto-20261102T020000Z", 16 * DAY, policy, Some("clean"), None);
        put(world, "theirs", 100 * DAY + HOUR, "before the big change", None, None);
    });
    scene
}

#[test]
fn a_list_says_how_old_each_is_what_it_takes_and_whose_it_is() {
    let scene = scene();
    insta::assert_snapshot!("snapshots_of_one", scene.run("--sim snapshot list vm opnsense").code(0).out);
    scene.run("--sim snapshot create ct legacy-dns s1 --yes").code(0);
    let said = scene.run("--sim snapshot list").code(0);
    assert!(said.out.contains("VirtualMachine/opnsense") && said.out.contains("Container/legacy-dns"), "{}", said.out);
    assert!(!said.out.contains("SIZE"), "sizes cost a request each");
    let said = scene.run("--sim snapshot list ct -o name").code(0);
    assert_eq!(said.out, "Container/legacy-dns s1\n");
    let said = scene.run("--sim snapshot list vm -o json").code(0);
    let rows: Value = serde_json::from_str(&said.out).expect("it is JSON");
    let policy = rows.as_array().into_iter().flatten().find(|r| r["name"] == "auto-20261102T020000Z").expect("listed");
    assert_eq!(policy["policy"], json!({"set": "homelab", "name": "nightly"}));
    assert_eq!((&policy["guest"], &policy["vmid"]), (&json!("VirtualMachine/opnsense"), &json!(8100)));
    scene.run("--sim snapshot list pool").code(2).says("Pool is no kind of guests");
}

#[test]
fn a_tree_says_where_the_guest_stands() {
    let scene = scene();
    insta::assert_snapshot!("snapshot_tree", scene.run("--sim snapshot tree vm opnsense").code(0).out);
    let said = scene.run("--sim snapshot rollback vm opnsense clean --yes --allow data-loss").code(0);
    let words = "snapshots that are newer stay, in another branch: with-memory, auto-20261102T020000Z";
    assert!(said.out.contains(words), "{}", said.out);
    let said = scene.run("--sim snapshot tree vm opnsense -o json").code(0);
    let tree: Value = serde_json::from_str(&said.out).expect("it is JSON");
    let clean = tree["snapshots"].as_array().into_iter().flatten().find(|s| s["name"] == "clean").expect("a root");
    let last = clean["after"].as_array().and_then(|a| a.last()).expect("its branches");
    assert_eq!(last, &json!({"here": true}));
    scene
        .run("--sim snapshot branch vm opnsense clean firewall-as-it-was --vmid 190 --yes")
        .code(0)
        .says("clone firewall-as-it-was is now VMID 190 on pve2");
}

#[test]
fn half_made_ones_are_listed_with_what_to_do_and_go_when_the_lock_is_gone() {
    let scene = scene();
    let dies = "--sim --sim-fault task-dies=1@POST:/snapshot snapshot create vm opnsense broken --yes";
    scene.run(dies).code(1).says("unexpected status").says("PVE left the lock `snapshot`");
    let said = scene.run("--sim snapshot list vm opnsense").code(0);
    insta::assert_snapshot!("snapshots_half_made", said.err);
    assert!(said.out.lines().any(|l| l.starts_with("broken") && l.contains("prepare")), "{}", said.out);
    scene.run("--sim snapshot list").code(0).says("qm unlock 8100");
    scene.run("--sim snapshot tree vm opnsense").code(0).says("half made: prepare").says("qm unlock 8100");
    scene.run("--sim snapshot delete vm opnsense broken --yes").code(3).says("qm unlock 8100");
    edit(&scene, |world| {
        world["guests"]["8100"]["config"].as_object_mut().map(|config| config.remove("lock"));
    });
    scene.run("--sim snapshot list vm opnsense").says("hint: pvectl snapshot delete VirtualMachine 8100 broken");
    scene.run("--sim snapshot delete vm opnsense broken --yes").code(0).says("snapshot broken is now gone");
    let said = scene.run("--sim snapshot list vm opnsense").code(0);
    assert_eq!(said.err, "");
}

#[test]
fn check_looks_at_the_age_of_snapshots_at_broken_and_at_forgotten_ones() {
    let scene = scene();
    edit(&scene, |world| {
        put(world, "broken", HOUR, "", None, Some("delete"));
        world["guests"]["8100"]["config"]["lock"] = "snapshot-delete".into();
    });
    let said = scene.run("--sim check vm opnsense").code(1);
    let of_snapshots = said.out.lines().filter(|l| l.starts_with("GUEST") || l.contains("snapshot-"));
    insta::assert_snapshot!("snapshots_checked", of_snapshots.collect::<Vec<_>>().join("\n"));
    let said = scene.run("--sim check vm opnsense --max-snapshot-age 30d").code(1);
    assert!(!said.out.contains("snapshot-age"), "{}", said.out);
    let said = scene.run("--sim check vm opnsense --rules Guest");
    assert!(!said.out.contains("snapshot-") && !said.err.contains("without any snapshot"), "{}", said.out);
    scene.run("--sim check vm opnsense --rules Guest --max-snapshot-age 1d").code(2);
    scene.run("--sim check ct legacy-dns").says("1 without any snapshot.");
}
