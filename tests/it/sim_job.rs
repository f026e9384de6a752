//! `sim job`: jobs on the GitHub of the simulated cluster, which is kept between commands.

use crate::cli::Scene;
use serde_json::Value;

#[test]
fn jobs_are_queued_and_kept_between_commands() {
    let scene = Scene::new();
    let said = scene.run("--sim sim job acme/app --labels self-hosted,x64 --takes 2m --count 2").code(0);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", said.out);
    assert!(
        lines.iter().all(|line| line.starts_with("job ") && line.ends_with(" of acme/app is queued")),
        "{}",
        said.out
    );
    scene.run("--sim sim advance 25h").code(0);
    let text = std::fs::read_to_string(scene.state()).expect("the simulator keeps its state");
    let world: Value = serde_json::from_str(&text).expect("it is JSON");
    let jobs: Vec<&Value> = world["github"]["jobs"].as_object().expect("jobs").values().collect();
    assert_eq!(jobs.len(), 2);
    for job in jobs {
        assert_eq!((&job["takes_ms"], &job["labels"]), (&120_000.into(), &serde_json::json!(["self-hosted", "x64"])));
        assert_eq!(job["conclusion"], "cancelled", "nobody came for a day");
    }
}

#[test]
fn what_is_no_repository_is_refused() {
    let said = Scene::new().run("--sim sim job acme").code(2);
    assert!(said.err.contains("`acme` is no repository") && said.err.contains("owner/name"), "{}", said.err);
    Scene::new().run("--sim sim job acme/app --count 0").code(2);
}
