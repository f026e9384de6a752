//! Tokens of the API: their secrets are kept where the manifest says, and are to be seen nowhere else.

use crate::cli::Scene;
use crate::objects::{by_hand, one, read, refused};
use crate::remote::{Client, Inside};
use crate::world::{Lab, desired, differences, plain, prune};
use pvectl::kinds::list::KINDS;
use pvectl::pve::request::Method;
use pvectl::sim::Sim;
use pvectl::sim::faults::{Fault, FaultKind};
use std::path::Path;

const CI: &str = "user: root@pam, secret: {file: ci.token}";

fn kept(lab: &Lab) -> Option<String> {
    lab.files.0.lock().expect("nobody panics with it").get("ci.token").cloned()
}

fn put(lab: &Lab, text: &str) {
    lab.files.0.lock().expect("nobody panics with it").insert("ci.token".into(), text.into());
}

fn secret(sim: &Sim) -> String {
    sim.with_world(|world| world.users["root@pam"].tokens["ci"].secret.clone())
}

#[test]
fn a_secret_is_kept_in_the_form_that_pve_takes() {
    let lab = Lab::homelab();
    let set = desired(&one("ApiToken", "ci", CI));
    lab.apply(&set, &plain());
    assert_eq!(kept(&lab), Some(format!("root@pam!ci={}", secret(&lab.sim))));
    assert!(lab.preview(&set, &plain()).is_empty());
    // Once it is elsewhere, the manifest names it no more.
    lab.files.0.lock().expect("nobody panics with it").clear();
    let moved = desired(&one("ApiToken", "ci", "user: root@pam"));
    assert!(lab.preview(&moved, &plain()).is_empty());
}

#[test]
fn what_lasts_and_what_is_of_its_own_can_change() {
    let lab = Lab::homelab();
    lab.apply(
        &desired(&one("ApiToken", "ci", &format!("{CI}, expire: '2027-01-01T00:00:00Z', privsep: false"))),
        &plain(),
    );
    let token = |lab: &Lab| read(lab, "/access/users/root@pam/token/ci");
    assert_eq!((&token(&lab)["expire"], &token(&lab)["privsep"]), (&1_798_761_600.into(), &0.into()));
    lab.apply(&desired(&one("ApiToken", "ci", CI)), &plain());
    assert_eq!((&token(&lab)["expire"], &token(&lab)["privsep"]), (&0.into(), &1.into()), "what left is reset");
    let before = secret(&lab.sim);
    lab.apply(&desired(&one("ApiToken", "ci", &format!("{CI}, expire: '1970-01-01T00:00:00Z'"))), &plain());
    assert_eq!((&token(&lab)["expire"], secret(&lab.sim)), (&0.into(), before), "0 is never");
    lab.apply(&crate::world::nothing(), &prune());
    assert_eq!(lab.world().users["root@pam"].tokens.get("ci").map(|t| t.expire), None);
}

#[test]
fn no_token_is_made_whose_secret_cannot_be_kept() {
    for (spec, words) in [
        ("user: root@pam", "nothing says where to keep it"),
        ("user: nobody@pve, secret: {file: a}", "there is no User `nobody@pve`"),
        ("user: root@pam, id: x, secret: {file: a}", "`x` is no name of a token"),
        ("user: root@pam, id: 'a b', secret: {file: a}", "`a b` is no name of a token"),
        ("user: root@pam, expire: never, secret: {file: a}", "no moment"),
    ] {
        let why = refused(&Lab::homelab(), &one("ApiToken", "ci", spec));
        assert!(why.contains(words), "{spec}: {why}");
    }
    let lab = Lab::homelab();
    put(&lab, "root@pam!old=1");
    let log = lab.sim.request_log().len();
    let set = desired(&one("ApiToken", "ci", CI));
    assert!(lab.try_apply(&lab.sim.api(), &KINDS, &set, &plain()).is_err());
    assert_eq!(lab.writes_since(log), Vec::<String>::new());
    assert!(
        differences(&lab.preview(&set, &plain())).contains("`ci.token` is there already, and is never overwritten")
    );
    assert_eq!(kept(&lab).as_deref(), Some("root@pam!old=1"));
    // What a killed run left is empty, and is taken.
    put(&lab, "");
    lab.apply(&set, &plain());
    assert!(kept(&lab).is_some_and(|text| text.starts_with("root@pam!ci=")));
}

#[test]
fn a_refused_token_leaves_no_file() {
    let lab = Lab::homelab();
    let set = desired(&one("ApiToken", "ci", CI));
    lab.sim.inject(Fault::on("POST", "/token/ci", FaultKind::Status(403, "no".into())));
    let report = lab.try_apply(&lab.sim.api(), &KINDS, &set, &plain()).expect("it runs");
    assert!(!report.converged() && kept(&lab).is_none(), "{:?}", kept(&lab));
}

#[test]
fn a_lost_secret_is_told_with_the_way_out() {
    let lab = Lab::homelab();
    let set = desired(&one("ApiToken", "ci", CI));
    lab.sim.inject(Fault::on("POST", "/token/ci", FaultKind::DropAfter));
    let report = lab.try_apply(&lab.sim.api(), &KINDS, &set, &plain()).expect("it runs");
    lab.sim.clear_faults();
    let said = differences(&report.last);
    assert!(!report.converged() && kept(&lab).is_none(), "{said}");
    assert!(said.contains("its secret is not in `ci.token`") && said.contains("pvectl delete apitoken ci"), "{said}");
    let ready = pvectl::report::status::conditions(&report.last.deltas[0]);
    assert_eq!(ready[0].status, pvectl::base::condition::Truth::False);
    // It is not made a second time by itself, and others are not held up.
    let log = lab.sim.request_log().len();
    let more = [one("ApiToken", "ci", CI), one("Group", "ops", "")].join("\n---\n");
    let report = lab.try_apply(&lab.sim.api(), &KINDS, &desired(&more), &plain()).expect("it runs");
    assert!(!report.converged());
    assert_eq!(lab.writes_since(log), ["POST /access/groups"]);
    assert!(lab.obeys(&said));
    lab.apply(&set, &plain());
    assert_eq!(kept(&lab), Some(format!("root@pam!ci={}", secret(&lab.sim))));
}

#[test]
fn one_made_by_hand_is_taken_over_without_its_secret() {
    let lab = Lab::homelab();
    by_hand(&lab, Method::Post, "/access/users/root@pam/token/ci", &[("comment", "by hand"), ("privsep", "0")]);
    let yaml = one("ApiToken", "ci", "user: root@pam, privsep: false");
    assert!(refused(&lab, &yaml).contains("pvectl adopt ApiToken/ci"));
    let set = desired(&yaml);
    let adopt = set.resources.keys().cloned().collect();
    lab.apply(&set, &pvectl::plan::assemble::Settings { adopt, ..plain() });
    let comment = read(&lab, "/access/users/root@pam/token/ci")["comment"].as_str().map(str::to_owned);
    assert!(comment.is_some_and(|c| c.starts_with("by hand\n<!-- pvectl ")));
}

#[test]
fn ignored_fields_of_a_token_are_not_reset() {
    let lab = Lab::homelab();
    lab.apply(&desired(&one("ApiToken", "ci", &format!("{CI}, privsep: false"))), &plain());
    let annotations = "{pvectl/ignore-fields: privsep}";
    let ignoring = desired(&crate::objects::annotated("ApiToken", "ci", annotations, &format!("{CI}, privsep: false")));
    lab.apply(&ignoring, &plain());
    assert_eq!(read(&lab, "/access/users/root@pam/token/ci")["privsep"], 0);
}

fn manifest(folder: &Path) -> (String, String) {
    let token = folder.join("ci.token").display().to_string();
    let path = folder.join("ci.yaml");
    let text = one("ApiToken", "ci", &format!("user: root@pam, privsep: false, secret: {{file: {token}}}"));
    std::fs::write(&path, text).expect("a file can be written");
    (path.display().to_string(), token)
}

#[test]
fn a_secret_is_in_its_file_and_nowhere_else() {
    let server = Inside::start();
    let folder = tempfile::tempdir().expect("a folder of its own");
    let (yaml, token) = manifest(folder.path());
    let client = Client::of(&server.ready, "root@pam!test").with("PVECTL_LOG", "trace");
    let mut said = Vec::new();
    for words in [
        format!("plan -f {yaml} -o {}", folder.path().join("plan.json").display()),
        format!("apply -vv --yes -f {yaml} -o json"),
        format!("apply -vv --yes -f {yaml}"),
        format!("diff -vv -f {yaml} -o json"),
        "get apitokens -o json".to_owned(),
        "describe token ci".to_owned(),
    ] {
        let one = client.run(&words);
        assert!(one.code <= 1, "{words}: {}", one.err);
        said.push(one.out + &one.err);
    }
    said.push(std::fs::read_to_string(folder.path().join("plan.json")).expect("it was saved"));
    let secret = secret(&server.sim);
    assert_eq!(std::fs::read_to_string(&token).expect("it was made"), format!("root@pam!ci={secret}\n"));
    assert!(said[1].contains("create API token root@pam!ci, its secret to"), "{}", said[1]);
    let shown = said.iter().find(|text| text.contains(&secret));
    assert!(shown.is_none(), "it is shown: {shown:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&token).expect("it was made").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // What it holds opens the door, as it stands.
    let line = std::fs::read_to_string(&token).expect("it was made");
    client.with("PVECTL_TOKEN", line.trim()).run("get pools").code(0);
}

#[test]
fn a_file_that_is_there_is_refused_at_its_line() {
    let scene = Scene::new();
    let (yaml, token) = manifest(scene.folder.path());
    std::fs::write(&token, "dear\n").expect("a file can be written");
    scene
        .run_words(&["--sim", "apply", "--yes", "-f", &yaml], "")
        .code(3)
        .says("is there already, and is never overwritten")
        .says("ci.yaml:1:")
        .says("nothing was sent");
    assert_eq!(std::fs::read_to_string(&token).expect("it is there"), "dear\n");
    std::fs::remove_file(&token).expect("it is ours");
    scene.run_words(&["--sim", "--sim-fault", "drop-after@POST:/token/ci", "apply", "--yes", "-f", &yaml], "").code(1);
    assert!(!Path::new(&token).exists());
    scene
        .run_words(&["--sim", "apply", "--yes", "-f", &yaml], "")
        .code(1)
        .says("its secret is not in")
        .says("with the way out");
    scene.run("--sim delete apitoken ci --yes").code(0);
    scene.run_words(&["--sim", "apply", "--yes", "-f", &yaml], "").code(0);
    assert!(Path::new(&token).exists());
}
