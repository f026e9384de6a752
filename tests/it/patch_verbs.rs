//! `patch status`, `plan`, `run` and `report` through the real program, on the simulator's virtual time.

use crate::cli::{Said, Scene};
use serde_json::{Value, json};

const WINDOW: &str = "examples/patch-window.yaml";

/// A cluster with the homelab's guests.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.run("--sim apply -f manifests/homelab").code(0);
    // Until everybody is up and its agent answers.
    scene.run("--sim sim advance 2m").code(0);
    scene
}

/// Changes the simulated cluster between two commands.
fn edit(scene: &Scene, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read_to_string(scene.state()).expect("the simulator keeps its state");
    let mut world: Value = serde_json::from_str(&text).expect("it is JSON");
    change(&mut world);
    std::fs::write(scene.state(), world.to_string()).expect("it can be written");
}

fn parsed(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}", said.out))
}

fn target<'a>(list: &'a Value, target: &str) -> &'a Value {
    let mut all = list.as_array().into_iter().flatten();
    let found = all.rfind(|one| one["target"] == target);
    found.unwrap_or_else(|| panic!("{target} is not in {list:#}"))
}

fn snapshots(scene: &Scene) -> Vec<String> {
    let text = scene.run("--sim snapshot list -o name").code(0).out;
    text.lines().filter(|line| line.contains(" patch-")).map(str::to_owned).collect()
}

#[test]
fn a_window_is_looked_at_planned_run_and_reported() {
    let scene = scene();
    insta::assert_snapshot!("patch_status_before", scene.run(&format!("--sim patch status -f {WINDOW}")).code(0).out);
    let said = scene.run(&format!("--sim patch run sunday -f {WINDOW}")).code(3);
    assert!(said.err.contains("is closed: it opens Sun 2026-11-22 02:00 +01:00"), "{}", said.err);
    assert!(said.err.contains("--now opens it"), "{}", said.err);
    let said = scene.run(&format!("--sim patch plan --look -f {WINDOW}")).code(0);
    insta::assert_snapshot!("patch_plan", said.out);
    assert_eq!(snapshots(&scene), [""; 0], "a look takes none");
    let said = scene.run(&format!("--sim patch plan -f {WINDOW} -o json")).code(0);
    let plan = parsed(&said);
    let pg = target(&plan[0]["targets"], "200");
    assert!(pg["install"].as_array().is_some_and(|all| !all.is_empty()), "{pg:#}");
    let run = scene.run(&format!("--sim patch run sunday --now -f {WINDOW}")).code(0);
    assert!(run.err.contains("pg-01 (200): updated") && run.err.contains("take snapshot"), "{}", run.err);
    assert!(run.err.contains("web-01 (101): waiting: wave 1 is not done yet"), "{}", run.err);
    assert!(run.err.contains("what wave 1 got is soaking"), "{}", run.err);
    insta::assert_snapshot!("patch_report", scene.run(&format!("--sim patch report -f {WINDOW}")).code(0).out);
    let said = scene.run(&format!("--sim patch report sunday --since 1d -o json -f {WINDOW}")).code(0);
    let records = parsed(&said);
    let web = target(&records, "101");
    assert_eq!((&web["result"], &web["window"], &web["attempts"]), (&json!("Updated"), &json!("sunday"), &json!(1)));
    assert!(web["changed"].as_array().is_some_and(|all| all.iter().any(|c| c["name"] == "openssl")), "{web:#}");
    let said = scene.run(&format!("--sim patch status -o json -f {WINDOW}")).code(0);
    let status = parsed(&said);
    let pending = &target(&status[0]["targets"], "200")["pending"];
    assert_eq!((&pending["security"], &pending["other"]), (&json!(0), &json!(0)));
    let again = scene.run(&format!("--sim patch run sunday --now -f {WINDOW}")).code(0);
    assert!(again.err.contains("pg-01 (200): up to date") && !again.err.contains("200: install"), "{}", again.err);
}

#[test]
fn reports_come_in_every_form() {
    let scene = scene();
    scene.run(&format!("--sim patch report -f {WINDOW}")).code(0).says("Nothing is known of any opening.");
    scene.run(&format!("--sim patch run sunday --now -q -f {WINDOW}")).code(0);
    let page = scene.run(&format!("--sim patch report -o html -f {WINDOW}")).code(0).out;
    assert!(page.starts_with("<!doctype html>") && page.contains("openssl") && !page.contains("<script"), "{page}");
    let text = scene.run(&format!("--sim patch report -o markdown -f {WINDOW}")).code(0).out;
    assert!(text.starts_with("# Patch report\n") && text.contains("| `openssl` |"), "{text}");
    let text = scene.run(&format!("--sim patch report -o yaml -f {WINDOW}")).code(0).out;
    assert!(text.contains("result: Updated"), "{text}");
    scene.run(&format!("--sim patch report -o table -f {WINDOW}")).code(2).says("text, markdown, html");
    scene.run("--sim sim advance 2d").code(0);
    scene.run(&format!("--sim patch report --since 1d -f {WINDOW}")).code(0).says("Nothing is known");
}

#[test]
fn a_failure_goes_back_stops_the_window_and_is_told() {
    let scene = scene();
    edit(&scene, |world| world["troubles"] = json!({"200": ["Breaks"]}));
    let said = scene.run(&format!("--sim patch run sunday --now -f {WINDOW}")).code(1);
    assert!(said.err.contains("✗ pg-01 (200): went back"), "{}", said.err);
    assert!(said.out.contains("the window is halted, for pg-01 (200) failed"), "{}", said.out);
    let status = parsed(&scene.run(&format!("--sim patch report -o json -f {WINDOW}")).code(0));
    assert_eq!(target(&status, "200")["result"], "WentBack", "{status:#}");
    let text = scene.run(&format!("--sim patch report -f {WINDOW}")).code(0).out;
    assert!(text.contains("failed, and went back to its snapshot"), "{text}");
    let all = scene.run("--sim get containers").code(0).out;
    assert!(all.lines().any(|line| line.contains("pg-01") && line.contains("running")), "{all}");
}

#[test]
fn a_run_that_could_not_send_goes_on_when_it_is_run_again() {
    let scene = scene();
    // The cluster goes away for good in the middle of the run.
    let cut = format!("--sim --sim-fault unsent@POST:/snapshot* patch run sunday --now -f {WINDOW}");
    let said = scene.run(&cut).code(1);
    assert!(said.err.contains("200"), "{}", said.err);
    let said = scene.run(&format!("--sim patch run sunday --now -f {WINDOW}")).code(0);
    assert!(said.err.contains("pg-01 (200): updated"), "{}", said.err);
    assert_eq!(snapshots(&scene).iter().filter(|line| line.contains("pg-01")).count(), 1, "{:?}", snapshots(&scene));
}

#[test]
fn get_and_describe_read_the_manifests() {
    let scene = scene();
    scene.run("--sim get patchwindow").code(2).says("a PatchWindow stands in manifests, not on the cluster");
    insta::assert_snapshot!("patch_get", scene.run(&format!("--sim get patchwindow -f {WINDOW}")).code(0).out);
    let said = scene.run(&format!("--sim describe patchwindow sunday -f {WINDOW}")).code(0);
    insta::assert_snapshot!("patch_describe", said.out);
    scene.run(&format!("--sim describe patchwindow sundy -f {WINDOW}")).code(2).says("did you mean `sunday`?");
    scene.run(&format!("--sim patch status nobody -f {WINDOW}")).code(2).says("declare no PatchWindow `nobody`");
    assert_eq!(scene.run(&format!("--sim patch status -o name -f {WINDOW}")).code(0).out, "PatchWindow/sunday\n");
    let said = scene.run(&format!("--sim get patchwindow -o jsonpath={{[0].targets[*].target}} -f {WINDOW}")).code(0);
    assert!(said.out.contains("200"), "{}", said.out);
}

#[test]
fn nothing_starts_on_a_frozen_day() {
    let scene = scene();
    scene.run("--sim sim advance 40d").code(0);
    let said = scene.run(&format!("--sim patch run sunday --now -f {WINDOW}")).code(3);
    assert!(said.err.contains("one of its frozen days"), "{}", said.err);
}
