//! `runners list`, `describe`, `logs`, `drain` and `scale` through the real program, on the simulated cluster and GitHub.

use crate::cli::{Said, Scene};
use serde_json::{Value, json};

const POOL: &str = "examples/runner-pool.yaml";

/// The pool's template, with a system on it as far as the simulator goes.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.run(&format!("--sim apply -f {POOL} -l os=debian --yes -q")).code(0);
    // It is no working day then: nothing is kept warm.
    scene.run("--sim sim advance 4d").code(0);
    let text = std::fs::read_to_string(scene.state()).expect("the simulator keeps its state");
    let mut world: Value = serde_json::from_str(&text).expect("it is JSON");
    for volume in world["volumes"].as_array_mut().expect("volumes").iter_mut().filter(|v| !v["vmid"].is_null()) {
        volume["bootable"] = json!(true);
    }
    for guest in world["guests"].as_object_mut().expect("guests").values_mut() {
        guest["boot_seconds"] = json!(5);
    }
    std::fs::write(scene.state(), world.to_string()).expect("it can be written");
    scene
}

fn runners(scene: &Scene, verb: &str) -> Said {
    scene.run(&format!("--sim runners {verb} -f {POOL}"))
}

fn names(scene: &Scene) -> Vec<String> {
    runners(scene, "list -o name").code(0).out.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect()
}

fn machines(scene: &Scene) -> Value {
    let said = runners(scene, "list -o json").code(0);
    let pools: Value = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}", said.out));
    pools[0]["machines"].clone()
}

#[test]
fn runners_are_made_by_hand_work_and_are_drained() {
    let scene = scene();
    assert_eq!(names(&scene), Vec::<String>::new());
    runners(&scene, "scale linux-ci 9").code(2).says("more than its `size.max`, which is 4");
    let said = runners(&scene, "scale linux-ci 2 --yes").code(0);
    assert!(said.err.contains("2 idle now") && said.err.contains("idle\n"), "{}", said.err);
    insta::assert_snapshot!("runners_list_idle", runners(&scene, "list -o wide").code(0).out);
    scene.run("--sim sim job acme/app --labels self-hosted,linux --takes 10m").code(0);
    scene.run(&format!("--sim apply -f {POOL} --yes -q")).code(0);
    scene.run("--sim sim advance 20s").code(0);
    insta::assert_snapshot!("runners_get", scene.run(&format!("--sim get RunnerPool -f {POOL}")).code(0).out);
    insta::assert_snapshot!(
        "runners_describe",
        scene.run(&format!("--sim describe RunnerPool linux-ci -f {POOL}")).code(0).out
    );
    let all = machines(&scene);
    let busy = all.as_array().into_iter().flatten().find(|m| m["stage"] == "Busy").expect("one works").clone();
    let name = busy["name"].as_str().expect("a name").to_owned();
    insta::assert_snapshot!("runners_describe_machine", runners(&scene, &format!("describe {name}")).code(0).out);
    insta::assert_snapshot!("runners_logs", runners(&scene, &format!("logs {} --tail 2", busy["vmid"])).code(0).out);
    let said = runners(&scene, "drain linux-ci --yes").code(0);
    assert!(said.err.contains(&format!("1 machine ({name}); --wait waits for that")), "{}", said.err);
    assert!(said.err.contains("pvectl/runners-drain"), "{}", said.err);
    assert_eq!(names(&scene), std::slice::from_ref(&name), "who works goes on");
    runners(&scene, "drain linux-ci --wait --yes -q").code(0);
    assert_eq!(names(&scene), Vec::<String>::new());
    let jobs = std::fs::read_to_string(scene.state()).expect("the simulator keeps its state");
    let world: Value = serde_json::from_str(&jobs).expect("JSON");
    assert_eq!(world["github"]["runners"].as_object().map(serde_json::Map::len), Some(0), "no registration is left");
}

#[test]
fn one_machine_is_drained_and_the_others_stay() {
    let scene = scene();
    runners(&scene, "scale linux-ci 2 --yes -q").code(0);
    let before = names(&scene);
    assert_eq!(before.len(), 2);
    runners(&scene, &format!("drain {} --yes", before[0])).code(0);
    assert_eq!(names(&scene), before[1..]);
}

#[test]
fn what_is_not_there_is_said() {
    let scene = scene();
    scene.run("--sim runners list").code(2).says("stands in manifests, not on the cluster");
    runners(&scene, "list linux-c").code(2).says("did you mean `linux-ci`?");
    runners(&scene, "describe linux-cii").code(1).says("did you mean `linux-ci`?");
    runners(&scene, "logs linux-ci").code(2).says("is a pool; name one of its machines");
    runners(&scene, "drain 50999").code(1).says("there is no RunnerPool `50999`, and no machine of one");
    scene.run("--sim runners list -f examples/pool.yaml").code(2).says("declare no RunnerPool");
}
