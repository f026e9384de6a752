//! What people do wrong, and what must then be said or must not happen: scenes through the real program.

use crate::cli::{Said, Scene};
use serde_json::Value;

const VM: &str = "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\n";

impl Scene {
    /// Runs `pvectl --sim ARGS -f FILE` with a file of this text.
    fn with(&self, words: &str, text: &str) -> Said {
        let file = self.write("given.yaml", text);
        let mut all = vec!["--sim"];
        all.extend(words.split_whitespace());
        all.extend(["-f", &file]);
        self.run_words(&all, "")
    }

    fn guest(&self, vmid: u32) -> Value {
        self.world()["guests"][vmid.to_string()].clone()
    }
}

/// A machine called web at 300, with more of its spec and its metadata.
fn web(metadata: &str, spec: &str) -> String {
    format!("{VM}metadata: {{name: web{metadata}}}\nspec: {{node: pve1, {spec}}}\n")
}

#[test]
fn a_changed_vmid_makes_no_second_guest() {
    let scene = Scene::new();
    scene.with("apply", &web("", "vmid: 300")).code(0);
    let before = scene.world();
    for verb in ["diff", "apply --yes"] {
        scene.with(verb, &web("", "vmid: 301")).code(3).says("guest 300 already").says("vmid: 300");
    }
    assert_eq!(before, scene.world());
    scene.with("apply", &web("", "vmidRange: 400-410")).code(0).says("1 object is as its manifest says");
}

#[test]
fn a_renamed_guest_says_how_to_go_on() {
    let scene = Scene::new();
    scene.with("apply", &web("", "vmid: 300")).code(0);
    let renamed = web("", "vmid: 300").replace("name: web", "name: shop");
    scene.with("apply --yes", &renamed).code(3).says("VMID 300 is VirtualMachine/web of this set").says("renamed");
    scene.run_words(&["--sim", "api", "PUT", "/nodes/pve1/qemu/300/config", "description="], "").code(0);
    scene.with("adopt --yes VirtualMachine/shop", &renamed).code(0);
    scene.with("diff", &renamed).code(0);
}

#[test]
fn a_guest_on_another_node_than_written_is_told() {
    let scene = Scene::new();
    scene.with("apply", &web("", "vmid: 300")).code(0);
    let moved = web("", "vmid: 300").replace("pve1", "pve3");
    scene.with("diff", &moved).says("it is on `pve1`, and its manifest says pve3");
    scene.with("apply", &moved).code(0).says("0 of 1 objects").says("pve3");
    scene.with("diff -o json", &moved).says("OnAnotherNode");
}

#[test]
fn ignored_fields_are_not_even_reset() {
    let scene = Scene::new();
    let spec = "vmid: 300, hardware: {cores: 2, memory: 1Gi}, tags: [a], disks: [{slot: scsi0, storage: local-lvm, size: 2Gi}]";
    scene.with("apply", &web("", spec)).code(0);
    let ignoring = web(", annotations: {pvectl/ignore-fields: 'hardware.cores,tags,disks.scsi0.size'}", spec);
    scene.with("diff", &ignoring).code(0);
    scene.run("--sim api PUT /nodes/pve1/qemu/300/config cores=7 tags=b;pvectl").code(0);
    scene.with("apply", &ignoring).code(0).says("Nothing to do");
    let said = scene.run("--sim api GET /nodes/pve1/qemu/300/config").code(0);
    assert!(said.out.contains("\"cores\": 7") && said.out.contains("b;pvectl"), "{}", said.out);
}

#[test]
fn a_misspelt_annotation_is_no_guard_and_an_error() {
    let scene = Scene::new();
    for (annotation, says) in [
        ("pvectl/paused: 'yes'", "one of: true, false"),
        ("pvectl/deletion-policy: retain", "one of: Retain, Delete"),
        ("pvectl/deletion-polcy: Retain", "did you mean `pvectl/deletion-policy`?"),
        ("pvectl/ignore-fields: 'hardware.corse'", "did you mean `cores`?"),
        ("pvectl/ignore-fields: 'tags, nope'", "names `nope`"),
    ] {
        let text = web(&format!(", annotations: {{{annotation}}}"), "vmid: 300");
        scene.with("validate", &text).code(2).says(says).says("given.yaml:3:");
        scene.with("apply --yes", &text).code(2);
    }
    let others =
        "other.org/paused: 'yes', pvectl/ignore-fields: 'spec.tags,disks.scsi0.size,options.args,networks.net0'";
    scene.with("validate", &web(&format!(", annotations: {{{others}}}"), "vmid: 300")).code(0);
}

#[test]
fn a_paused_or_locked_guest_is_not_called_done() {
    let scene = Scene::new();
    scene.with("apply", &web("", "vmid: 300")).code(0);
    let paused = web(", annotations: {pvectl/paused: 'true'}", "vmid: 300, hardware: {cores: 3}");
    scene.with("apply", &paused).code(0).says("0 of 1 objects").says("pvectl/paused");
    scene.with("diff -o json", &paused).code(0).says("left alone");
    scene.run("--sim api PUT /nodes/pve1/qemu/300/config lock=backup").code(0);
    scene.with("apply", &web("", "vmid: 300")).code(0).says("0 of 1 objects").says("the lock `backup`");
}

#[test]
fn what_stands_twice_is_told_without_a_cluster() {
    let scene = Scene::new();
    let disks = "disks: [{slot: scsi0, size: 1Gi}, {slot: scsi0, size: 2Gi}]";
    scene.with("validate", &web("", disks)).code(2).says("`scsi0` stands in `disks` twice");
    let two = format!("{}---\n{}", web("", "vmid: 300"), web("", "vmid: 300").replace("name: web", "name: shop"));
    scene.with("validate", &two).code(2).says("has the VMID 300 of").says("given.yaml:4:").says("9 | spec");
}

#[test]
fn selectors_in_every_shape() {
    let scene = Scene::new();
    let names = |selector: &str| {
        let words = ["--sim", "diff", "-f", "manifests/homelab", "-o", "name", "-l", selector];
        scene.run_words(&words, "").code(1).out
    };
    let web = "VirtualMachine/web-01\nVirtualMachine/web-02\n";
    assert_eq!(names("app=web"), web);
    assert_eq!(names("app in (web)"), web);
    assert_eq!(names("app,app notin (db, dns, postgres)"), web);
    for (selector, says) in [("app=wbe", "no manifest has the labels"), ("app>1", "no label selector")] {
        let words = ["--sim", "apply", "-f", "manifests/homelab", "-l", selector];
        scene.run_words(&words, "").code(2).says(says);
    }
}

#[test]
fn nothing_declared_is_not_done() {
    let scene = Scene::new();
    for verb in ["apply", "diff", "plan", "drift", "delete"] {
        scene.with(verb, "# all of it is a comment\n---\n").code(2).says("declare nothing");
    }
    scene.run_words(&["validate", "-f", "-", "-f", "-"], "").code(2).says("standard input is named twice");
}

#[test]
fn a_file_given_twice_stands_once() {
    let scene = Scene::new();
    scene.run("validate -f manifests/homelab -f manifests/homelab/web.yaml").code(0).says("8 documents");
}

#[test]
fn a_refused_object_is_not_unchanged() {
    let scene = Scene::new();
    let thief = web("", "vmid: 8100");
    scene.with("diff", &thief).code(3).says("0 unchanged, 1 refused").says("! VirtualMachine/web");
}

#[test]
fn a_manifest_given_as_a_plan_says_what_to_type() {
    let scene = Scene::new();
    scene.run("--sim apply manifests/homelab/web.yaml --yes").code(2).says("-f manifests/homelab/web.yaml");
    scene.run("--sim apply manifests/homelab --yes").code(2).says("-f manifests/homelab");
}

#[test]
fn a_deletion_is_refused_once_for_each_object() {
    let scene = Scene::new();
    scene.with("apply", &web("", "vmid: 300, power: Running")).code(0);
    let said = scene.run("--sim delete vm web --yes").code(3).says("1 thing stands");
    assert_eq!(said.err.matches("destroys data").count(), 1, "{}", said.err);
    assert!(scene.guest(300).is_object());
}

#[test]
fn a_bare_number_of_memory_is_not_to_be_quoted() {
    let scene = Scene::new();
    let said = scene.with("validate", &web("", "hardware: {memory: 2048}")).code(2).says("4Gi");
    assert!(!said.err.contains("quotes"), "{}", said.err);
}

#[test]
fn the_configuration_to_copy_can_be_copied() {
    let scene = Scene::new();
    scene.run("--config examples/config.yaml get pools").code(2).says("PVECTL_TOKEN_SECRET");
    scene.run("--config examples/config.yaml --context work get pools").code(2).says("work.password");
    let listed = scene.write("list.yaml", "contexts:\n  - name: home\n");
    scene.run_words(&["--config", &listed, "get", "pools"], "").code(2).says("list.yaml:2").says("names to contexts");
    let list = scene.write("list.yaml", "- home\n");
    scene.run_words(&["--config", &list, "get", "pools"], "").code(2).says("a mapping with `currentContext`");
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let program = assert_cmd::cargo::cargo_bin("pvectl");
    let ended = std::process::Command::new(program).args(["explain", "pool"]).stdout(full).output().expect("it runs");
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("standard output cannot be written"));
}

#[test]
fn a_disk_that_was_taken_out_is_not_replaced_by_an_empty_one() {
    let scene = Scene::new();
    let spec = "vmid: 300, disks: [{slot: scsi0, storage: local-lvm, size: 2Gi}]";
    scene.with("apply", &web("", spec)).code(0);
    scene.run("--sim api PUT /nodes/pve1/qemu/300/config delete=scsi0").code(0);
    let before = scene.world();
    scene
        .with("apply --yes", &web("", spec))
        .code(3)
        .says("scsi0 was taken out, and unused0 holds local-lvm:vm-300-disk-0")
        .says("plug it in again: write `volume: local-lvm:vm-300-disk-0` in place");
    assert_eq!(before, scene.world());
    scene
        .with("apply", &web("", &spec.replace("storage: local-lvm, size: 2Gi", "volume: 'local-lvm:vm-300-disk-0'")))
        .code(0);
    scene.with("apply", &web("", spec)).code(0);
    let config = &scene.guest(300)["config"];
    assert!(config["scsi0"].as_str().is_some_and(|d| d.contains("disk-0")) && config["unused0"].is_null(), "{config}");
}

#[test]
fn values_that_pve_would_refuse_are_refused_before_anything_is_sent() {
    let scene = Scene::new();
    let before = {
        scene.run("--sim get pool").code(0);
        scene.world()
    };
    for (spec, code, says) in [
        ("hardware: {memory: 1Ki}", 3, "PVE takes 16Mi and more"),
        ("tags: ['has space']", 3, "`has space` is not a tag"),
        ("disks: [{slot: scsi0, storage: local-lvm, size: 0Gi}]", 3, "no size of a volume"),
        ("disks: [{slot: scsi99, storage: local-lvm, size: 1Gi}]", 2, "scsi99"),
        ("networks: [{slot: net0, bridge: vmbr0, mac: zz}]", 3, "`ZZ` is not what `mac` takes"),
        ("networks: [{slot: net0, bridge: vmbr0, ip: 10.0.0.300/24}]", 3, "10.0.0.5/24 or dhcp"),
        ("networks: [{slot: net0, bridge: vmbr0, ip: 10.0.0.5}]", 3, "10.0.0.5/24 or dhcp"),
        ("networks: [{slot: net0, bridge: vmbr0, ip: dhcp, gateway: x}]", 3, "`x` is not what `gateway` takes"),
    ] {
        scene.with("apply --yes", &web("", &format!("vmid: 300, {spec}"))).code(code).says(says).says("given.yaml:4:");
        assert_eq!(before, scene.world(), "{spec}");
    }
}

#[test]
fn a_pools_ignored_comment_is_not_reset() {
    let scene = Scene::new();
    let pool = |metadata: &str| {
        format!("apiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {{name: lab{metadata}}}\nspec: {{comment: one}}\n")
    };
    scene.with("apply", &pool("")).code(0);
    scene.with("diff", &pool(", annotations: {pvectl/ignore-fields: comment}")).code(0);
    assert!(scene.world()["pools"]["lab"].to_string().contains("one"));
}

#[test]
fn colour_that_is_forced_and_colour_that_is_not() {
    let diff = |force: &str| {
        let home = tempfile::TempDir::new().expect("a folder of its own");
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("pvectl"));
        command.args(["--sim", "diff", "-f", "manifests/homelab"]).current_dir(env!("CARGO_MANIFEST_DIR")).env_clear();
        command.env("HOME", home.path()).env("CLICOLOR_FORCE", force);
        String::from_utf8_lossy(&command.output().expect("it runs").stdout).contains('\u{1b}')
    };
    assert!(diff("1"), "CLICOLOR_FORCE=1 colours a pipe, too");
    assert!(!diff("0"), "CLICOLOR_FORCE=0 forces nothing");
}

#[test]
fn what_is_described_and_waited_for_is_told_to_machines_too() {
    let scene = Scene::new();
    scene.run("--sim apply -f manifests/homelab --yes").code(0);
    let said = scene.run("--sim describe vm web-01 -o json").code(0);
    let value: Value = serde_json::from_str(&said.out).expect("it is JSON");
    assert_eq!(value["kind"], "VirtualMachine");
    assert_eq!(value["spec"]["hardware"]["cores"], 2);
    assert_eq!(value["status"]["owner"]["resource"], "VirtualMachine/web-01");
    assert_eq!(value["status"]["lastApplied"]["hardware.cores"], "2");
    assert_eq!(value["status"]["columns"]["vmid"], "101");
    let said = scene.run("--sim describe vm opnsense -o yaml").code(0).says("owner: null");
    assert!(serde_yaml::from_str::<Value>(&said.out).is_ok_and(|v| v["spec"]["disks"].is_array()), "{}", said.out);
    let said = scene.run("--sim describe vm web-01 -o name").code(0);
    assert_eq!(said.out, "VirtualMachine/web-01\n");
    let wait = |what: &str, code: i32| {
        let said = scene.run(&format!("--sim wait VirtualMachine/web-01 --for {what} --timeout 4s -o json")).code(code);
        serde_json::from_str::<Value>(&said.out).expect("it is JSON")["holds"].clone()
    };
    assert_eq!((wait("condition=Ready", 0), wait("delete", 1)), (Value::Bool(true), Value::Bool(false)));
}

#[test]
fn a_plan_for_machines_says_what_would_be_sent() {
    let scene = Scene::new();
    let said = scene.with("diff -o json", &web("", "vmid: 300, hardware: {cores: 3}")).code(1);
    let plan: Value = serde_json::from_str(&said.out).expect("it is JSON");
    let step = &plan["resources"][0]["steps"][0];
    assert_eq!(step["request"], "POST /nodes/pve1/qemu");
    assert_eq!((step["parameters"]["cores"].as_str(), step["parameters"]["vmid"].as_str()), (Some("3"), Some("300")));
}
