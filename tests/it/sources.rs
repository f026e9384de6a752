//! Where guests come from: files that are fetched once, backups that become others, branches, and golden images in versions.

use crate::refusals::{Bench, ct, manifest, vm};
use crate::remote::Client;
use crate::world::{ALL, Lab, desired, differences, open, orphans, plain, prune, run};
use pvectl::base::id::VmId;
use pvectl::kinds::list::KINDS;
use pvectl::plan::assemble::Settings;
use pvectl::pve::api::Api;
use pvectl::pve::request::{Call, Method};
use pvectl::resource::marker::Marker;
use pvectl::resource::step::{Action, Note};
use pvectl::secret_files::Folder;
use pvectl::sim::faults::{Fault, FaultKind};
use pvectl::sim::world::World;

const SUM: &str = "sha256:4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c";
const VM_BACKUP: &str = "nfs:backup/vzdump-qemu-8000-2026_11_15-02_00_00.vma.zst";
const CT_BACKUP: &str = "nfs:backup/vzdump-lxc-8200-2026_11_15-02_00_00.tar.zst";

fn document(kind: &str, name: &str, spec: &str) -> String {
    format!("{{apiVersion: pvectl/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}\n")
}

fn of_image(name: &str, vmid: u32, url: &str) -> String {
    document(
        "VirtualMachine",
        name,
        &format!(
            "{{vmid: {vmid}, node: pve1, from: {{image: {{url: '{url}', checksum: '{SUM}', storage: local}}}}, disks: [{{slot: scsi0, storage: \
             local-lvm, size: 5Gi}}]}}"
        ),
    )
}

const DEBIAN: &str = "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-generic-amd64.qcow2";
const FETCHED: &str = "local:import/debian-12-generic-amd64-4d5e6f708192.qcow2";

fn posts(lab: &Lab, ending: &str) -> usize {
    lab.sim.request_log().iter().filter(|(method, path)| method == "POST" && path.ends_with(ending)).count()
}

fn option(world: &World, vmid: u32, key: &str) -> String {
    world.guests.get(&vmid).and_then(|g| g.config.get(key)).cloned().unwrap_or_default()
}

fn marker(world: &World, vmid: u32) -> Marker {
    Marker::split(&option(world, vmid, "description")).1.expect("it carries our marker")
}

// ---- files -----------------------------------------------------------------------------------------------------------

#[test]
fn an_image_is_fetched_once_for_all_and_named_after_its_checksum() {
    let lab = Lab::homelab();
    let set = desired(&[of_image("a", 121, DEBIAN), of_image("b", 122, DEBIAN)].join("---\n"));
    let plan = lab.preview(&set, &plain());
    let fetches = plan.deltas.iter().flat_map(|d| &d.steps).filter(|s| s.call.path.ends_with("/download-url")).count();
    assert_eq!(fetches, 1, "{}", differences(&plan));
    lab.apply(&set, &plain());
    let world = lab.world();
    assert_eq!(posts(&lab, "/download-url"), 1);
    assert!(world.volume(FETCHED, "pve1").is_some_and(|v| v.checksum.as_deref() == Some(SUM)));
    for vmid in [121, 122] {
        assert!(option(&world, vmid, "scsi0").ends_with("size=5G"), "{}", option(&world, vmid, "scsi0"));
        assert_eq!(marker(&world, vmid).source.as_deref(), Some("image debian-12-generic-amd64-4d5e6f708192.qcow2"));
    }
    // It is there for the next one, and another checksum is another file.
    lab.apply(&desired(&of_image("c", 123, DEBIAN)), &plain());
    assert_eq!(posts(&lab, "/download-url"), 1);
    let other = of_image("d", 124, DEBIAN).replace("sha256:4d5e", "sha256:ffff");
    lab.apply(&desired(&other), &plain());
    assert_eq!(posts(&lab, "/download-url"), 2);
    assert!(lab.world().volume("local:import/debian-12-generic-amd64-ffff6f708192.qcow2", "pve1").is_some());
}

#[test]
fn a_fetch_that_is_under_way_is_waited_for() {
    let lab = Lab::homelab();
    let call = Call::new(Method::Post, "/nodes/pve1/storage/local/download-url")
        .with("content", "import")
        .with("filename", "debian-12-generic-amd64-4d5e6f708192.qcow2")
        .with("url", DEBIAN)
        .with("checksum", SUM.trim_start_matches("sha256:"))
        .with("checksum-algorithm", "sha256");
    run(lab.sim.api().send(&call)).expect("it starts");
    let set = desired(&of_image("a", 121, DEBIAN));
    let plan = lab.preview(&set, &plain());
    let waits = |n: &Note| matches!(n, Note::Unsettled(why) if why.contains("is just being fetched to `local`"));
    assert!(plan.deltas[0].steps.is_empty() && plan.deltas[0].notes.iter().any(waits), "{}", differences(&plan));
    lab.apply(&set, &plain());
    assert_eq!(posts(&lab, "/download-url"), 1);
}

#[test]
fn what_cannot_be_fetched_says_so_in_proxmoxs_words_and_leaves_nothing() {
    for (url, words) in [
        ("https://mirror.example/tampered.qcow2", "checksum mismatch: got '"),
        ("https://unreachable.example/a.qcow2", "Connecting to unreachable.example... failed"),
        ("https://mirror.example/missing.qcow2", "404 Not Found"),
    ] {
        let lab = Lab::homelab();
        let set = desired(&[of_image("a", 121, url), of_image("b", 122, url)].join("---\n"));
        let report = lab.try_apply(&lab.sim.api(), &KINDS, &set, &plain()).expect("it runs");
        assert!(!report.converged() && open(&report).contains(words), "{url}: {}", open(&report));
        assert_eq!(posts(&lab, "/download-url"), 1, "{url}: what failed is not tried again, for no one");
        let world = lab.world();
        assert!(!world.guests.contains_key(&121) && !world.guests.contains_key(&122) && orphans(&world).is_empty());
    }
}

#[test]
fn the_newest_appliance_is_taken_from_the_storage_before_the_list() {
    let lab = Lab::homelab();
    let of = |name: &str, vmid: u32, appliance: &str| {
        let from = format!("{{appliance: {appliance}, storage: local}}");
        document(
            "Container",
            name,
            &format!("{{vmid: {vmid}, node: pve1, from: {from}, rootfs: {{storage: local-lvm, size: 1Gi}}}}"),
        )
    };
    // On the storage is 12.7; the list has 12.12.
    lab.apply(&desired(&of("a", 221, "debian-12-standard")), &plain());
    assert_eq!(posts(&lab, "/aplinfo"), 0);
    lab.apply(&desired(&of("b", 222, "debian-12-standard_12.12-1")), &plain());
    lab.apply(&desired(&of("c", 223, "debian-12-standard")), &plain());
    assert_eq!(posts(&lab, "/aplinfo"), 1);
    let tasks = lab.world().tasks;
    let made = |vmid: &str| tasks.iter().find(|t| t.task_type == "vzcreate" && t.id == vmid).map(|t| t.log.join("\n"));
    assert!(made("221").is_some_and(|log| log.contains("debian-12-standard_12.7-1")));
    assert!(made("223").is_some_and(|log| log.contains("debian-12-standard_12.12-1")));
}

#[test]
fn an_oci_image_brings_its_command_and_the_manifest_has_the_last_word() {
    let lab = Lab::homelab();
    let nginx = |spec: &str| {
        let more =
            format!("{{vmid: 221, node: pve1, from: {{oci: 'docker.io/library/nginx:1.27', storage: local}}, {spec}}}");
        desired(&document("Container", "web", &more))
    };
    lab.apply(&nginx("rootfs: {storage: local-lvm, size: 1Gi}"), &plain());
    assert!(lab.world().volume("local:vztmpl/docker.io_library_nginx_1.27.tar", "pve1").is_some());
    assert!(option(&lab.world(), 221, "entrypoint").contains("nginx"));
    let lab = Lab::homelab();
    lab.apply(&nginx("rootfs: {storage: local-lvm, size: 1Gi}, entryPoint: /bin/sh"), &plain());
    assert_eq!(option(&lab.world(), 221, "entrypoint"), "/bin/sh");
}

#[test]
fn a_cd_goes_where_there_is_room_for_it() {
    let lab = Lab::homelab();
    let spec = "{vmid: 121, node: pve1, from: {iso: 'local:iso/debian-12.iso'}, disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}], cloudInit: \
                {storage: local-lvm}}";
    lab.apply(&desired(&document("VirtualMachine", "a", spec)), &plain());
    let world = lab.world();
    assert!(option(&world, 121, "ide2").contains("cloudinit"));
    assert!(option(&world, 121, "ide0").starts_with("local:iso/debian-12.iso"));
    assert_eq!(option(&world, 121, "boot"), "order=scsi0;ide0");
}

// ---- copies ----------------------------------------------------------------------------------------------------------

#[test]
fn a_branch_is_a_copy_of_a_snapshot() {
    let lab = Lab::homelab();
    let snapshot = Call::new(Method::Post, "/nodes/pve2/qemu/8100/snapshot").with("snapname", "before");
    run(lab.sim.api().send(&snapshot)).expect("it starts");
    lab.sim.finish_tasks();
    lab.sim.with_world(|w| w.edit_guest(8100, "cores", Some("7")));
    let spec =
        "{vmid: 121, from: {clone: {guest: opnsense, snapshot: before}}, networks: [{slot: net0, bridge: vmbr1}]}";
    lab.apply(&desired(&document("VirtualMachine", "branch", spec)), &plain());
    let world = lab.world();
    assert_eq!((option(&world, 121, "cores"), world.guests[&121].node.clone()), ("2".into(), "pve2".into()));
    assert_eq!(marker(&world, 121).source.as_deref(), Some("clone opnsense@before"));
    assert_ne!(option(&world, 121, "net1"), option(&world, 8100, "net1"), "a copy has addresses of its own");
}

#[test]
fn a_restored_guest_is_ours_at_once_and_never_its_original() {
    let lab = Lab::homelab();
    let original = "{vmid: 120, node: pve1, description: the first, tags: [one], disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}], networks: \
                    [{slot: net0, bridge: vmbr0}]}";
    let original = document("VirtualMachine", "original", original);
    lab.apply(&desired(&original), &plain());
    let backup = Call::new(Method::Post, "/nodes/pve1/vzdump").with("vmid", 120).with("storage", "nfs");
    run(lab.sim.api().send(&backup)).expect("it starts");
    lab.sim.finish_tasks();
    let world = lab.world();
    let archive = world.volumes.iter().find(|v| v.volid.contains("vzdump-qemu-120-")).map(|v| v.volid.clone());
    let archive = archive.expect("a backup was made");
    let kept = |more: &str| {
        let spec = format!("{{node: pve2, from: {{archive: '{archive}', storage: local-lvm{more}}}}}");
        desired(&format!("{original}---\n{}", document("VirtualMachine", "copy", &spec)))
    };
    for (more, same) in [("", false), (", keepMac: true", true)] {
        let lab = Lab::of(world.clone());
        let set = kept(more);
        // Whoever looks while it is restored finds neither a second original nor the copy.
        let plan = lab.preview(&set, &plain());
        let step = plan.deltas.iter().flat_map(|d| &d.steps).next().expect("a step");
        run(lab.sim.api().send(&step.call)).expect("it starts");
        let during = lab.preview(&set, &prune());
        assert!(
            during.deltas.iter().all(|d| d.problems.is_empty() && d.action != Action::Delete),
            "{}",
            differences(&during)
        );
        lab.apply(&set, &prune());
        let world = lab.world();
        assert_eq!(marker(&world, 100).owner.name, "copy");
        assert_eq!(marker(&world, 120).owner.name, "original");
        assert_eq!(option(&world, 100, "name"), "copy");
        assert_eq!(option(&world, 100, "net0") == option(&world, 120, "net0"), same, "{more}");
        assert!(option(&world, 100, "tags").contains("pvectl") && option(&world, 100, "tags").contains("one"));
        assert_eq!(posts(&lab, "/nodes/pve2/qemu"), 1);
    }
}

#[test]
fn a_restored_container_keeps_what_only_root_may_set() {
    let lab = Lab::homelab();
    let spec = |more: &str| {
        format!(
            "{{vmid: 221, node: pve2, from: {{archive: '{CT_BACKUP}', storage: local-lvm{more}}}, description: mine}}"
        )
    };
    let set = desired(&document("Container", "copy", &spec("")));
    let plan = lab.preview(&set, &Settings::default());
    let told = |n: &Note| matches!(n, Note::Info(text) if text.contains("fixed address (192.168.1.53/24)"));
    assert!(plan.deltas[0].notes.iter().any(told), "{:?}", plan.deltas[0].notes);
    lab.apply(&set, &Settings::default());
    let world = lab.world();
    let parts = ["features", "unprivileged", "hostname"].map(|key| option(&world, 221, key));
    assert_eq!(parts, ["keyctl=1,nesting=1", "1", "copy"]);
    assert!(!option(&world, 221, "net0").contains("BC:24:11:00:82:00"), "the original runs with this address");
    let lab = Lab::homelab();
    lab.apply(
        &desired(&document("Container", "copy", &spec(", keepMac: true, keepHostname: true"))),
        &Settings::default(),
    );
    let world = lab.world();
    assert_eq!(option(&world, 221, "hostname"), "legacy-dns");
    assert!(option(&world, 221, "net0").contains("BC:24:11:00:82:00"));
}

#[test]
fn a_source_that_changed_is_told_and_never_acted_on() {
    let lab = Lab::homelab();
    lab.apply(&desired(&of_image("a", 121, DEBIAN)), &plain());
    let moved = desired(&of_image("a", 121, "https://mirror.example/other.qcow2"));
    let plan = lab.preview(&moved, &prune());
    assert!(plan.is_empty(), "{}", differences(&plan));
    let told =
        |n: &Note| matches!(n, Note::Info(text) if text.contains("source changed from `image debian-12-generic"));
    assert!(plan.deltas[0].notes.iter().any(told), "{:?}", plan.deltas[0].notes);
}

// ---- golden images ---------------------------------------------------------------------------------------------------

fn base(version: &str, more: &str) -> String {
    let spec = format!(
        "{{vmidRange: 9000-9009, node: pve1{version}, source: {{clone: {{vmid: 8000, storage: nfs}}}}, hardware: {{cores: 2}}{more}}}"
    );
    document("GuestTemplate", "base", &spec)
}

fn linked(name: &str, vmid: u32) -> String {
    document("VirtualMachine", name, &format!("{{vmid: {vmid}, from: {{template: base}}}}"))
}

#[test]
fn a_new_version_is_built_beside_the_old_which_goes_when_nothing_is_linked_to_it() {
    let lab = Lab::homelab();
    let first = [base(", version: '1'", ""), linked("a", 121)].join("---\n");
    lab.apply(&desired(&first), &plain());
    let second = [base(", version: '2'", ""), linked("a", 121), linked("b", 122)].join("---\n");
    lab.apply(&desired(&second), &prune());
    let world = lab.world();
    assert_eq!([9000, 9001].map(|vmid| marker(&world, vmid).version.unwrap_or_default()), ["1", "2"]);
    assert!([9000, 9001].iter().all(|vmid| option(&world, *vmid, "template") == "1"));
    assert!(option(&world, 121, "scsi0").contains("base-9000-"), "what is there keeps its image");
    assert!(option(&world, 122, "scsi0").contains("base-9001-"), "what is made from now on has the new one");
    let note = |yaml: &str, settings: &Settings| {
        let plan = lab.preview(&desired(yaml), settings);
        assert!(plan.deltas.iter().all(|d| d.problems.is_empty()), "{}", differences(&plan));
        let template = plan.deltas.iter().find(|d| d.resource.kind == "GuestTemplate" && d.action != Action::Delete);
        let notes = template.map(|d| format!("{:?}", d.notes)).unwrap_or_default();
        (notes, plan.deltas.iter().filter(|d| d.action == Action::Delete).map(|d| d.resource.to_string()).collect())
    };
    let (told, gone): (String, Vec<String>) = note(&second, &prune());
    assert!(
        told.contains("version 1 is qemu/9000 on pve1: it stays: template 9000 still has linked clones: 121"),
        "{told}"
    );
    assert!(gone.is_empty());
    // The last clone leaves: with --prune the old version may follow it, without it is noted.
    let third = [base(", version: '2'", ""), linked("b", 122)].join("---\n");
    let (told, gone) = note(&third, &plain());
    assert!(told.contains("it stays") && gone.is_empty(), "{told}");
    let (_, gone) = note(&third, &prune());
    assert_eq!(gone, ["VirtualMachine/a", "GuestTemplate/base@1"]);
    lab.apply(&desired(&third), &prune());
    let world = lab.world();
    assert!(!world.guests.contains_key(&9000) && world.guests.contains_key(&9001) && orphans(&world).is_empty());
}

#[test]
fn a_version_that_nothing_is_linked_to_waits_for_its_successor_and_for_consent() {
    let lab = Lab::homelab();
    lab.apply(&desired(&base(", version: '1'", "")), &plain());
    let second = desired(&base(", version: '2'", ""));
    let plan = lab.preview(&second, &prune());
    let told = format!("{:?}", plan.deltas[0].notes);
    assert!(told.contains("version 1 is qemu/9000 on pve1: it is deleted when the new one is ready"), "{told}");
    assert_eq!(plan.deltas.len(), 1, "{}", differences(&plan));
    lab.apply(&second, &plain());
    let told = format!("{:?}", lab.preview(&second, &plain()).deltas[0].notes);
    assert!(told.contains("nothing is linked to it, and --prune deletes it"), "{told}");
    let refusals = pvectl::plan::gate::gate(&lab.preview(&second, &prune()), &pvectl::plan::gate::Consent::default());
    assert!(format!("{refusals:?}").contains("DataLoss"), "{refusals:?}");
    lab.apply(&second, &prune());
    assert!(!lab.world().guests.contains_key(&9000));
    // Both go when the manifest goes, each under its own name.
    lab.apply(&desired(&base(", version: '3'", "")), &plain());
    let plan = lab.preview(&crate::world::nothing(), &prune());
    let names: Vec<String> = plan.deltas.iter().map(|d| d.resource.to_string()).collect();
    assert_eq!(names, ["GuestTemplate/base@3", "GuestTemplate/base@2"]);
    lab.apply(&crate::world::nothing(), &prune());
    assert_eq!(lab.world().guests.len(), 3);
}

#[test]
fn a_version_that_was_given_up_half_built_is_not_forgotten() {
    let lab = Lab::homelab();
    lab.apply(&desired(&base(", version: '1'", "")), &plain());
    // Killed after the clone: 9001 is no template yet.
    let clone = lab.preview(&desired(&base(", version: '2'", "")), &plain());
    let call = clone.deltas[0].steps[0].call.clone();
    run(lab.sim.api().send(&call)).expect("it starts");
    lab.sim.finish_tasks();
    let third = desired(&base(", version: '3'", ""));
    lab.apply(&third, &prune());
    let world = lab.world();
    let left: Vec<u32> = world.guests.keys().copied().filter(|vmid| *vmid < 9100 && *vmid >= 9000).collect();
    assert_eq!(left, [9002]);
    assert_eq!(marker(&world, 9002).version.as_deref(), Some("3"));
    assert!(orphans(&world).is_empty());
}

#[test]
fn a_first_version_is_a_label_and_builds_nothing() {
    let lab = Lab::homelab();
    lab.apply(&desired(&base("", "")), &plain());
    lab.apply(&desired(&base(", version: '2026-11'", "")), &plain());
    assert_eq!(marker(&lab.world(), 9000).version.as_deref(), Some("2026-11"));
    assert_eq!(posts(&lab, "/clone"), 1);
    // And taken out of the manifest it stays.
    lab.apply(&desired(&base("", ", tags: [x]")), &plain());
    assert_eq!(marker(&lab.world(), 9000).version.as_deref(), Some("2026-11"));
}

#[test]
fn a_clone_that_cannot_be_read_is_not_made_twice() {
    let lab = Lab::homelab();
    let set = desired(&base(", version: '1'", ""));
    let call = lab.preview(&set, &plain()).deltas[0].steps[0].call.clone();
    run(lab.sim.api().send(&call)).expect("it starts");
    lab.sim.finish_tasks();
    lab.sim.inject(Fault::on("GET", "/qemu/9000/pending", FaultKind::Status(403, "Permission check failed".into())));
    let plan = lab.preview(&set, &plain());
    assert!(plan.deltas[0].steps.is_empty() && plan.deltas[0].identity.is_none(), "{}", differences(&plan));
    lab.sim.clear_faults();
    lab.apply(&set, &plain());
    assert_eq!(posts(&lab, "/clone"), 1);
    assert!(VmId::new(9000).is_some_and(|vmid| lab.world().guests.contains_key(&vmid.get())));
}

// ---- what is refused -------------------------------------------------------------------------------------------------

#[test]
fn two_sources_or_none_are_an_error_at_the_line() {
    let bench = Bench::new();
    for (yaml, why) in [
        (
            vm("{vmid: 150, node: pve1, from: {}}"),
            "it names no source; give exactly one of template, clone, image, iso",
        ),
        (
            vm("{vmid: 150, node: pve1, from: {template: a, iso: 'local:iso/debian-12.iso'}}"),
            "it names 2 sources (template, iso)",
        ),
        (
            vm("{vmid: 150, node: pve1, from: {iso: 'local:iso/debian-12.iso', keepMac: true}}"),
            "`keepMac` goes with archive",
        ),
        (
            vm("{vmid: 150, node: pve1, from: {image: {url: 'https://x/a.qcow2', storage: local}}}"),
            "`url` with `checksum` and `storage`",
        ),
        (vm(&format!("{{vmid: 150, node: pve1, from: {{archive: '{CT_BACKUP}'}}}}")), "is a backup of a container"),
        (ct("{vmid: 150, node: pve1, from: {appliance: debian-12-standard}}"), "`appliance` needs `storage`"),
    ] {
        let file = bench.manifests(&yaml);
        bench.run(&format!("apply -f {file} --set lab --yes"), 2).says("lab.yaml:4:").says(why);
    }
}

#[test]
fn a_storage_that_takes_no_images_is_named_with_the_command() {
    let bench = Bench::new();
    let image = format!("{{image: {{url: '{DEBIAN}', checksum: '{SUM}', storage: local-lvm}}}}");
    bench.refuses(
        &vm(&format!("{{vmid: 150, node: pve1, from: {image}, disks: [{{slot: scsi0, storage: local-lvm}}]}}")),
        4,
        "VirtualMachine/a",
        "storage `local-lvm` does not take `import`",
        "pvesm set local-lvm --content images,rootdir,import",
    );
    bench.refuses(
        &vm("{vmid: 150, node: pve1, from: {image: {volume: 'local:import/none.qcow2'}}, disks: [{slot: scsi0, storage: local-lvm}]}"),
        4,
        "VirtualMachine/a",
        "node `pve1` has no file `local:import/none.qcow2`",
        "the storage holds none of its type",
    );
    let packed = format!("{{image: {{url: 'https://x/a.qcow2.xz', checksum: '{SUM}', storage: local}}}}");
    bench.refuses(
        &vm(&format!("{{vmid: 150, node: pve1, from: {packed}, disks: [{{slot: scsi0, storage: local-lvm}}]}}")),
        4,
        "VirtualMachine/a",
        "`https://x/a.qcow2.xz` has not the ending of a file that PVE downloads as `import`",
        "PVE takes .qcow2, .raw, .vmdk",
    );
    let image = format!("{{image: {{url: '{DEBIAN}', checksum: '{SUM}', storage: local}}}}");
    bench.refuses(
        &vm(&format!("{{vmid: 150, node: pve1, from: {image}}}")),
        4,
        "VirtualMachine/a",
        "the image goes to scsi0, and `disks` says nothing of it",
        "disks: [{slot: scsi0, storage: …}]",
    );
}

#[test]
fn appliances_snapshots_and_backups_that_are_not_there() {
    let bench = Bench::new();
    let rootfs = "rootfs: {storage: local-lvm, size: 1Gi}";
    bench.refuses(
        &ct(&format!("{{vmid: 150, node: pve1, from: {{appliance: debian-14-standard, storage: local}}, {rootfs}}}")),
        4,
        "Container/a",
        "there is no container template `debian-14-standard` on `local`, nor on the list that node `pve1` has",
        "did you mean `debian-1",
    );
    bench.refuses(
        &vm("{vmid: 150, from: {clone: {vmid: 8100, snapshot: before}}}"),
        4,
        "VirtualMachine/a",
        "virtual machine 8100 has no snapshot `before`",
        "it has no snapshots",
    );
    bench.refuses(
        &vm("{vmid: 150, node: pve1, from: {clone: {guest: opnsens}}}"),
        4,
        "VirtualMachine/a",
        "there is no virtual machine `opnsens`",
        "did you mean `opnsense`?",
    );
    bench.refuses(
        &vm(&format!("{{vmid: 150, node: pve1, from: {{archive: '{}'}}}}", VM_BACKUP.replace("11_15", "11_16"))),
        4,
        "VirtualMachine/a",
        "node `pve1` sees no backup `nfs:backup/vzdump-qemu-8000-2026_11_16",
        "did you mean `nfs:backup/vzdump-qemu-8000-2026_11_15",
    );
}

#[test]
fn what_a_backup_decides_is_not_decided_by_the_manifest() {
    let bench = Bench::new();
    bench.refuses(
        &ct(&format!(
            "{{vmid: 150, node: pve1, from: {{archive: '{CT_BACKUP}', storage: local-lvm}}, unprivileged: false}}"
        )),
        4,
        "Container/a",
        &format!("the container in `{CT_BACKUP}` is unprivileged, and is to be privileged"),
        "leave `unprivileged` out",
    );
    bench.refuses(
        &ct(&format!("{{vmid: 150, node: pve1, from: {{archive: '{CT_BACKUP}'}}}}")),
        4,
        "Container/a",
        "nothing says where the volumes of the backup go",
        "give `storage` beside `archive`",
    );
}

#[test]
fn a_node_that_is_too_old_pulls_no_oci_images() {
    let lab = Lab::homelab();
    let spec = "{vmid: 221, node: pve1, from: {oci: 'docker.io/library/nginx:1.27', storage: local}, rootfs: {storage: local-lvm, size: 1Gi}}";
    let set = desired(&document("Container", "web", spec));
    let index = pvectl::resource::index::queries();
    let clock = lab.sim.clock();
    let api = lab.sim.api();
    let names = lab.sim.names();
    let cluster = pvectl::engine::reconcile::Cluster {
        api: &api,
        clock: &clock,
        kinds: &KINDS,
        names: &names,
        files: &Folder::new(""),
    };
    let mut seen = run(pvectl::engine::observe::observe(&cluster, &set, &plain())).expect("readable");
    assert!(!index.is_empty());
    seen.index.version = "9.0.11".into();
    let plan = pvectl::plan::assemble::plan(&set, &seen, &KINDS, &plain());
    assert!(plan.deltas[0].problems[0].message.contains("this is Proxmox VE 9.0.11"), "{}", differences(&plan));
    seen.index.version = "9.1.1".into();
    assert!(pvectl::plan::gate::gate(&pvectl::plan::assemble::plan(&set, &seen, &KINDS, &plain()), &ALL).is_empty());
}

#[test]
fn a_new_version_under_a_fixed_number_is_refused() {
    let bench = Bench::new();
    let of = |version: &str| {
        manifest(
            "GuestTemplate",
            "t",
            &format!("{{vmid: 9000, version: '{version}', node: pve1, source: {{clone: {{vmid: 8000}}}}}}"),
        )
    };
    bench.apply(&of("1"));
    bench.refuses(
        &of("2"),
        4,
        "GuestTemplate/t",
        "guest 9000 is version 1, and version 2 is built beside it, under another number",
        "give a `vmidRange` in place of `vmid: 9000`",
    );
}

#[test]
fn a_template_has_the_words_of_its_type() {
    let bench = Bench::new();
    let image = format!("{{cloudImage: {{url: '{DEBIAN}', checksum: '{SUM}', storage: local}}}}");
    for (spec, why) in [
        (
            "{vmid: 9000, node: pve1, source: {clone: {vmid: 8000}}, features: {nesting: true}}".to_owned(),
            "a virtual machine has no `features`",
        ),
        (
            "{vmid: 9000, node: pve1, source: {clone: {vmid: 8000}}, hardware: {swap: 1Gi}}".to_owned(),
            "`hardware` is not that of a virtual machine",
        ),
        (
            format!("{{type: Container, vmid: 9000, node: pve1, source: {image}}}"),
            "`cloudImage` makes a virtual machine",
        ),
    ] {
        bench.refuses(&manifest("GuestTemplate", "t", &spec), 4, "GuestTemplate/t", why, "");
    }
}

#[test]
fn a_token_without_the_right_to_fetch_is_told_which() {
    let bench = Bench::new();
    bench.server.grant(&[
        "VM.Allocate",
        "VM.Audit",
        "VM.Config.Disk",
        "VM.Config.Options",
        "Datastore.Audit",
        "Datastore.AllocateSpace",
        "Sys.Audit",
        "Pool.Audit",
    ]);
    let client = Client::of(&bench.server.ready, "admin@pve!priv");
    let file = client.file("lab.yaml", &of_image("a", 121, DEBIAN));
    let said = client.run(&format!("apply -f {file} --set lab --yes")).code(3);
    said.says("the privilege Datastore.AllocateTemplate on /storage/local is missing")
        .says("the privilege Sys.AccessNetwork on /nodes/pve1 is missing")
        .says("nothing was sent");
}

// ---- examples --------------------------------------------------------------------------------------------------------

#[test]
fn the_images_of_the_examples_are_built_as_they_are_written() {
    let lab = Lab::homelab();
    let files = [include_str!("../../examples/coding-agent.yaml"), include_str!("../../examples/hub.yaml")];
    let set = desired(&files.join("\n---\n"));
    lab.apply(&set, &plain());
    let world = lab.world();
    for (vmid, cores, memory, size) in [(9100, "2", "4096", "size=20G"), (9110, "4", "8192", "size=50G")] {
        let parts = ["cores", "memory", "template"].map(|key| option(&world, vmid, key));
        assert_eq!(parts, [cores, memory, "1"], "{vmid}");
        assert!(option(&world, vmid, "scsi0").contains(size), "{}", option(&world, vmid, "scsi0"));
        assert!(option(&world, vmid, "cicustom").starts_with("vendor=local:snippets/"));
    }
    assert_eq!(posts(&lab, "/download-url"), 1, "both begin with the same image");
    // Every snippet that is named lies beside the examples, and is what cloud-init reads.
    for (name, text) in [
        ("coding-agent", include_str!("../../examples/snippets/coding-agent.yaml")),
        ("hub", include_str!("../../examples/snippets/hub.yaml")),
    ] {
        assert!(
            text.starts_with("#cloud-config\n") && files.iter().any(|f| f.contains(&format!("snippets/{name}.yaml")))
        );
    }
}

// ---- what an image must pass -----------------------------------------------------------------------------------------

#[test]
fn an_image_that_fails_its_rules_is_built_and_not_converted() {
    let lab = Lab::homelab();
    let image = |cores: u32| {
        let rule = "{id: enough-cores, field: hardware.cores, atLeast: 4, why: jobs are slow}";
        let spec = format!(
            "{{vmid: 9300, node: pve1, checks: [{rule}], source: {{clone: {{vmid: 8000, mode: Full}}}}, hardware: {{cores: {cores}}}}}"
        );
        desired(&format!(
            "{{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {{name: runner}}, spec: {spec}}}"
        ))
    };
    let report = lab.try_apply(&lab.sim.api(), &KINDS, &image(2), &plain()).expect("it runs");
    assert!(!report.converged());
    let text = differences(&report.last);
    assert!(text.contains("enough-cores") && text.contains("hardware.cores is 2"), "{text}");
    assert_eq!(lab.world().guests[&9300].config.get("template"), None, "{text}");
    lab.apply(&image(4), &plain());
    assert_eq!(lab.world().guests[&9300].config["template"], "1");
}
