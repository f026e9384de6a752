//! Scenes through the real program against the embedded simulator, whose state is kept in a folder of the scene's own.

use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) struct Scene {
    pub(crate) folder: TempDir,
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    #[track_caller]
    pub(crate) fn code(self, wanted: i32) -> Said {
        assert_eq!(self.code, wanted, "exit code\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Said {
        assert!(
            self.out.contains(text) || self.err.contains(text),
            "`{text}` is not said\n--- stdout\n{}\n--- stderr\n{}",
            self.out,
            self.err
        );
        self
    }
}

impl Scene {
    pub(crate) fn new() -> Scene {
        Scene { folder: TempDir::new().expect("a folder of its own") }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state/pvectl/sim.json")
    }

    /// Runs `pvectl ARGS`, words apart by blanks.
    pub(crate) fn run(&self, words: &str) -> Said {
        self.run_words(&words.split_whitespace().collect::<Vec<_>>(), "")
    }

    pub(crate) fn run_words(&self, words: &[&str], stdin: &str) -> Said {
        self.run_with(words, stdin, &[])
    }

    /// The same with more of an environment.
    pub(crate) fn run_with(&self, words: &[&str], stdin: &str, more: &[(&str, &str)]) -> Said {
        let home = self.folder.path();
        let output = assert_cmd::Command::cargo_bin("pvectl")
            .expect("the program is built")
            .args(words)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear()
            .env("HOME", home)
            .env("XDG_STATE_HOME", home.join("state"))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .envs(more.iter().copied())
            .write_stdin(stdin)
            .timeout(std::time::Duration::from_secs(120))
            .output()
            .expect("it runs");
        Said {
            code: output.status.code().expect("it ended by itself"),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The simulated world, without the clock.
    pub(crate) fn world(&self) -> Value {
        let text = std::fs::read_to_string(self.state()).expect("the simulator keeps its state");
        let mut world: Value = serde_json::from_str(&text).expect("it is JSON");
        world["clock_ms"] = Value::Null;
        world["statistics"] = Value::Null;
        world
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path.display().to_string()
    }
}

const POOL: &str = "apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {name: lab}\nspec: {comment: one}\n";

#[test]
fn the_homelab_from_nothing_and_then_quiet() {
    let scene = Scene::new();
    scene.run("validate -f manifests/homelab").code(0).says("documents are valid");
    scene.run("--sim diff -f manifests/homelab").code(1).says("VirtualMachine/web-01");
    scene.run("--sim apply -f manifests/homelab --yes").code(0).says("are as their manifests say");
    scene.run("--sim apply -f manifests/homelab --yes").code(0).says("Nothing to do");
    scene.run("--sim diff -f manifests/homelab").code(0);
    let said = scene.run("--sim get vm").code(0);
    assert!(said.out.contains("web-01") && said.out.contains("opnsense"), "{}", said.out);
}

#[test]
fn a_change_by_hand_is_drift_and_apply_heals_it() {
    let scene = Scene::new();
    scene.run("--sim apply -f manifests/homelab --yes").code(0);
    scene.run("--sim drift -f manifests/homelab").code(0).says("0 objects drifted");
    scene.run("--sim api PUT /nodes/pve1/qemu/101/config tags=pvectl;mine").code(0);
    scene.run("--sim drift -f manifests/homelab").code(1).says("VirtualMachine/web-01");
    let said = scene.run("--sim drift -f manifests/homelab -o markdown").code(1);
    assert!(said.out.contains("| homelab | VirtualMachine/web-01 | `tags` | `mine` | `prod;web` |"), "{}", said.out);
    let said = scene.run("--sim drift -f manifests/homelab -o junit").code(1);
    assert!(said.out.contains(r#"<testsuite name="drift homelab" tests="8" failures="1" errors="0""#), "{}", said.out);
    assert!(said.out.contains("tags: cluster mine, manifest prod;web (drift, none)"), "{}", said.out);
    scene.run("--sim diff -f manifests/homelab -o junit").code(2).says("expected table");
    let said = scene.run("--sim diff -f manifests/homelab").code(1).says("web-01");
    assert!(said.out.contains("drift"), "{}", said.out);
    scene.run("--sim apply -f manifests/homelab --yes").code(0);
    scene.run("--sim drift -f manifests/homelab").code(0);
    scene.run("--sim diff -f manifests/homelab").code(0);
}

#[test]
fn a_dry_run_changes_nothing() {
    let scene = Scene::new();
    scene.run("--sim apply -f manifests/homelab --yes").code(0);
    let file = scene.write("pool.yaml", POOL);
    let before = scene.world();
    scene.run_words(&["--sim", "apply", "-f", &file, "--dry-run"], "").code(0).says("Pool/lab");
    assert_eq!(before, scene.world());
    scene.run_words(&["--sim", "diff", "-f", &file], "").code(1);
    assert_eq!(before, scene.world());
    // Nobody is there to be asked, and nothing is real: it is done.
    scene.run_words(&["--sim", "apply", "-f", &file], "").code(0).says("1 of 1 objects");
    assert_ne!(before, scene.world());
}

#[test]
fn a_deletion_must_be_allowed() {
    let scene = Scene::new();
    scene.run("--sim apply -f manifests/homelab --yes").code(0);
    let before = scene.world();
    scene.run("--sim delete vm web-01 --yes").code(3).says("--allow data-loss");
    assert_eq!(before, scene.world());
    scene.run("--sim delete vm opnsense --yes --allow data-loss").code(3).says("does not own");
    assert_eq!(before, scene.world());
    scene.run("--sim delete vm web-01 --yes --allow data-loss").code(0);
    assert!(before["guests"]["101"].is_object() && scene.world()["guests"]["101"].is_null());
    scene.run("--sim diff -f manifests/homelab").code(1).says("web-01");
}

#[test]
fn pruning_needs_to_be_asked_for_and_has_a_limit() {
    let scene = Scene::new();
    scene.run("--sim apply -f manifests/homelab --yes").code(0);
    let file = scene.write("pool.yaml", POOL);
    let before = scene.world();
    let prune = |more: &[&str]| {
        let mut words = vec!["--sim", "apply", "-f", &file, "--set", "homelab", "--yes", "--prune"];
        words.extend(more);
        scene.run_words(&words, "")
    };
    prune(&[]).code(3).says("--allow data-loss");
    prune(&["--allow", "data-loss"]).code(3).says("--max-deletes");
    assert_eq!(before, scene.world());
    scene.run_words(&["--sim", "apply", "-f", &file, "--set", "homelab", "--yes"], "").code(0);
    assert!(scene.world()["guests"]["101"].is_object(), "nothing is pruned unless asked");
}

#[test]
fn bad_manifests_are_refused_with_their_place() {
    let scene = Scene::new();
    let bad = scene.write(
        "bad.yaml",
        "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {name: x}\nspec:\n  hardware: {corse: 2}\n",
    );
    for verb in ["validate", "diff", "apply"] {
        let mut words = vec!["--sim", verb, "-f", &bad];
        if verb == "apply" {
            words.push("--yes");
        }
        scene.run_words(&words, "").code(2).says("bad.yaml:5:").says("corse").says("did you mean `cores`");
    }
    scene.run_words(&["validate", "-f", "-"], "kind: [").code(2).says("<stdin>");
    scene.run("validate -f no-such-folder").code(2).says("no-such-folder");
    scene.run("frobnicate").code(2);
    scene.run_words(&["validate", "-f", "-"], POOL).code(0);
    let file = scene.write(
        "thief.yaml",
        "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {name: thief}\nspec: {vmid: 8100}\n",
    );
    scene.run_words(&["--sim", "diff", "-f", &file], "").code(3).says("does not own");
    scene.run_words(&["--sim", "apply", "-f", &file, "--yes"], "").code(3).says("pvectl adopt");
}

#[test]
fn a_saved_plan_is_done_as_it_stands_or_refused() {
    let scene = Scene::new();
    let file = scene.write("pool.yaml", POOL);
    let plan = scene.folder.path().join("plan.json").display().to_string();
    scene.run_words(&["--sim", "plan", "-f", &file, "-o", &plan], "").code(0);
    scene.run_words(&["--sim", "apply", &plan, "--yes"], "").code(0);
    scene.run_words(&["--sim", "diff", "-f", &file], "").code(0);
    scene.run_words(&["--sim", "apply", &plan, "--yes"], "").code(3);
}

#[test]
fn schemas_are_fresh() {
    let scene = Scene::new();
    let made = scene.folder.path().join("schemas");
    scene.run_words(&["schema", "-d", &made.display().to_string()], "").code(0);
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let update = std::env::var_os("UPDATE").is_some_and(|v| v == "1");
    let mut stale = Vec::new();
    for entry in std::fs::read_dir(&made).expect("schemas were written") {
        let path = entry.expect("an entry").path();
        let kept = kept.join(path.file_name().expect("a file"));
        let text = std::fs::read_to_string(&path).expect("a schema");
        if update {
            std::fs::create_dir_all(kept.parent().expect("a folder")).expect("the folder of schemas");
            std::fs::write(&kept, &text).expect("a schema can be written");
        } else if std::fs::read_to_string(&kept).ok().as_deref() != Some(&text) {
            stale.push(kept.display().to_string());
        }
    }
    assert!(
        stale.is_empty(),
        "stale: {}; write them anew with UPDATE=1 cargo test --test it schemas",
        stale.join(", ")
    );
}

#[test]
fn output_is_what_kubectls_users_know() {
    let scene = Scene::new();
    scene.run("--sim apply -f manifests/homelab").code(0);
    let out = |words: &[&str]| scene.run_words(words, "").code(0).out;
    assert_eq!(out(&["--sim", "get", "vm", "web-01", "-o", "jsonpath={.spec.hardware.cores}"]), "2\n");
    let names = r#"jsonpath={range .items[?(@.spec.node=="pve2")]}{.metadata.name}{"\n"}{end}"#;
    assert_eq!(out(&["--sim", "get", "vm", "-o", names]), "pxe-lab\nopnsense\n");
    let loop_ = "template={% for i in items %}{{ i.metadata.name }} {{ i.spec.vmid }}\n{% endfor %}";
    assert!(out(&["--sim", "get", "ct", "-o", loop_]).contains("dns-01 100\n"));
    assert_eq!(out(&["--sim", "get", "pool", "web", "-o", "name"]), "Pool/web\n");
    assert_eq!(out(&["version", "-o", "jsonpath={.version}"]), concat!(env!("CARGO_PKG_VERSION"), "\n"));
    scene.run_words(&["--sim", "get", "vm", "-o", "jsonpath={.items["], "").code(2).says("jsonpath");
    let list = out(&["--sim", "get", "pool", "-o", "json"]);
    let valid = scene.run_words(&["validate", "-f", "-"], &list).code(0);
    assert_eq!(valid.out, "2 documents are valid\n");
}

#[test]
fn one_file_of_a_tree_is_applied_alone_and_knows_the_tree() {
    let scene = Scene::new();
    scene.run("--sim apply -f manifests/homelab").code(0);
    scene.run("--sim api PUT /nodes/pve1/qemu/101/config tags=pvectl;mine").code(0);
    scene.run("--sim api PUT /nodes/pve1/qemu/103/config tags=pvectl;mine").code(0);
    let said = scene.run("--sim diff -f manifests/homelab/web.yaml -l app=web -o name").code(1);
    assert_eq!(said.out, "VirtualMachine/web-01\nVirtualMachine/web-02\n");
    scene.run("--sim diff -f manifests/homelab/pools.yaml").code(0);
    scene.run("--sim apply -f manifests/homelab/pools.yaml --prune").code(2).says("the whole tree");
}

#[test]
fn faults_can_be_asked_for() {
    let scene = Scene::new();
    let file = scene.write("pool.yaml", POOL);
    let apply = |fault: &str| scene.run_words(&["--sim", "--sim-fault", fault, "apply", "-f", &file], "");
    apply("500=out of luck@POST:/pools*").code(1).says("out of luck").says("left: Pool/lab");
    apply("expired@GET:/cluster/resources*").code(1).says("hint:");
    apply("drop-after@POST:/pools").code(0).says("1 of 1 objects");
    scene.run_words(&["--sim", "diff", "-f", &file], "").code(0);
}

#[test]
fn pruning_with_nothing_declared_is_refused() {
    let scene = Scene::new();
    scene.run("--sim apply -f manifests/homelab").code(0);
    let before = scene.world();
    let empty = scene.write("empty.yaml", "# all of it is gone\n");
    let words = ["--sim", "apply", "-f", &empty, "--set", "homelab", "--prune", "--allow", "data-loss", "--yes"];
    scene.run_words(&words, "").code(2).says("declare nothing").says("pvectl delete");
    assert_eq!(before, scene.world());
}

#[test]
fn a_broken_document_has_its_references_checked_too() {
    let scene = Scene::new();
    let text = "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {name: web-03}\nspec:\n  \
                from: {template: debian-12-bse}\n  hardware: {corse: 2, memory: 2G}\n  \
                disks: [{slot: scsi0, size: 20}]\n  protection: yes\n---\napiVersion: pvectl/v1alpha1\n\
                kind: GuestTemplate\nmetadata: {name: debian-12-base}\nspec: {source: {clone: {vmid: 8000}}}\n";
    let file = scene.write("bad.yaml", text);
    let said = scene.run_words(&["validate", "-f", &file], "").code(2).says("4 errors in the manifests");
    said.says("did you mean `cores`?").says("bad.yaml:5:20").says("did you mean `debian-12-base`?");
}

#[test]
fn a_token_of_least_privilege_is_set_up_and_checked() {
    let scene = Scene::new();
    let commands = scene.run("auth setup").code(0).out;
    for line in commands.lines() {
        assert!(include_str!("../../README.md").lines().any(|l| l == line), "the README does not have: {line}");
    }
    let few = scene.run("auth setup -f examples/pool.yaml").code(0).out;
    assert!(few.contains("Pool.Allocate") && !few.contains("VM.Allocate"), "{few}");
    let made = scene.run("--sim auth setup --run").code(0).says("made the role Reconciler").says("shows this once");
    let secret = made.out.lines().last().expect("a secret").to_owned();
    assert!(secret.len() == 36 && secret.matches('-').count() == 4, "{secret}");
    let again = scene.run("--sim auth setup --run").code(0).says("only who made it knows its secret");
    assert!(!again.out.contains(&secret));
    scene.run("--sim auth setup --run --role PVEmine").code(1).says("cannot use role ID");
    scene.run("--sim auth check").code(0).says("privileges are held on /");
}

#[test]
fn what_is_there_is_shown_and_what_is_not_is_told() {
    let scene = Scene::new();
    let said = scene.run("--sim get vm opnsense opnsens").code(1).says("there is no VirtualMachine `opnsens`");
    assert!(said.out.contains("8100") && said.err.contains("did you mean `opnsense`?"), "{}", said.out);
}
