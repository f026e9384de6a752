//! Each refusal by its name: what cannot be done is refused before the first request that changes anything, and the message
//! names the object, the place in the manifests and what to do. Through the real program over HTTPS, where requests are
//! counted.

use crate::cli::Said;
use crate::remote::{Client, Inside};
use pvectl::sim::faults::{Fault, FaultKind};
use pvectl::sim::world::{GuestType, Power, World};

const APPLY: &str = "--yes --allow data-loss --max-deletes 99";

/// A cluster and somebody who works on it.
pub(crate) struct Bench {
    pub(crate) server: Inside,
    client: Client,
}

impl Bench {
    /// The homelab, with a token of root.
    pub(crate) fn new() -> Bench {
        let server = Inside::start();
        let client = Client::of(&server.ready, "root@pam!test");
        Bench { server, client }
    }

    /// The same with a log-in of root, which may what no token may.
    fn with_a_ticket() -> Bench {
        let Bench { server, client } = Bench::new();
        let client = client.without("PVECTL_TOKEN");
        Bench { server, client: client.with("PVECTL_USERNAME", "root@pam").with("PVECTL_PASSWORD", "rootpw123") }
    }

    pub(crate) fn world<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        self.server.sim.with_world(change)
    }

    /// Writes manifests; each line of the text stays the line that it is.
    pub(crate) fn manifests(&self, yaml: &str) -> String {
        self.client.file("lab.yaml", yaml)
    }

    /// Makes the cluster so.
    #[track_caller]
    pub(crate) fn apply(&self, yaml: &str) {
        let file = self.manifests(yaml);
        self.client.run(&format!("apply -f {file} --set lab {APPLY}")).code(0);
    }

    /// Runs, and insists on the exit code and on no write.
    #[track_caller]
    pub(crate) fn run(&self, words: &str, code: i32) -> Said {
        let before = self.writes();
        let said = self.client.run(words).code(code);
        assert_eq!(before, self.writes(), "it was refused, and something was sent\n{}", said.err);
        said
    }

    /// Writes to the cluster; a log-in is none.
    fn writes(&self) -> Vec<String> {
        self.server.writes().into_iter().filter(|w| w != "POST /access/ticket").collect()
    }

    /// `apply` of these manifests, with everything allowed, is refused by a guard: exit code 3, at this line.
    #[track_caller]
    pub(crate) fn refuses(&self, yaml: &str, line: usize, object: &str, why: &str, help: &str) -> Said {
        let file = self.manifests(yaml);
        let said = self.run(&format!("apply -f {file} --set lab {APPLY}"), 3);
        said.says(&format!("{object}: {why}")).says(&format!("lab.yaml:{line}:")).says(help).says("nothing was sent")
    }
}

/// A manifest on four lines: `spec` stands on the fourth.
pub(crate) fn manifest(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: pvectl/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

pub(crate) fn vm(spec: &str) -> String {
    manifest("VirtualMachine", "a", spec)
}

pub(crate) fn ct(spec: &str) -> String {
    manifest("Container", "a", spec)
}

const ALPINE: &str = "local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz";

fn ct_of_alpine(more: &str) -> String {
    ct(&format!(
        "{{vmid: 150, node: pve1, from: {{osTemplate: '{ALPINE}'}}, rootfs: {{storage: local-lvm, size: 1Gi}}{more}}}"
    ))
}

// ---- room ------------------------------------------------------------------------------------------------------------

#[test]
fn a_storage_that_is_not_there() {
    Bench::new().refuses(
        &vm("{vmid: 150, node: pve1, disks: [{slot: scsi0, storage: local-zfs, size: 1Gi}]}"),
        4,
        "VirtualMachine/a",
        "node `pve1` has no storage `local-zfs`",
        "storages of `pve1` that we may see: local, local-lvm, nfs",
    );
}

#[test]
fn a_storage_that_does_not_take_what_is_to_be_put_there() {
    let bench = Bench::new();
    bench.world(|w| {
        w.storages.get_mut("nfs").expect("it is there").config.insert("content".into(), "backup,iso".into())
    });
    bench.refuses(
        &vm("{vmid: 150, node: pve1, disks: [{slot: scsi0, storage: nfs, size: 1Gi}]}"),
        4,
        "VirtualMachine/a",
        "storage `nfs` does not take `images`",
        "pvesm set nfs --content backup,iso,images",
    );
    bench.refuses(
        &ct(&format!(
            "{{vmid: 150, node: pve1, from: {{osTemplate: '{ALPINE}'}}, rootfs: {{storage: nfs, size: 1Gi}}}}"
        )),
        4,
        "Container/a",
        "storage `nfs` does not take `rootdir`",
        "pvesm set nfs --content backup,iso,rootdir",
    );
}

#[test]
fn a_storage_without_the_room() {
    Bench::new().refuses(
        &vm("{vmid: 150, node: pve1, disks: [{slot: scsi0, storage: local-lvm, size: 900Gi}]}"),
        4,
        "VirtualMachine/a",
        "storage `local-lvm` on `pve1` has 799Gi free, and 900Gi are asked for",
        "make room, or take another that has it: nfs",
    );
}

#[test]
fn a_disk_of_which_nobody_says_where_or_how_large() {
    let bench = Bench::new();
    let yaml =
        vm("\n  vmid: 150\n  node: pve1\n  disks:\n    - {slot: scsi0, size: 9Gi}\n    - {slot: scsi1, storage: nfs}");
    bench.refuses(
        &yaml,
        8,
        "VirtualMachine/a",
        "scsi0 is not there yet, and no `storage` says where to make it",
        "storages of `pve1` that take it: local, local-lvm, nfs",
    );
    bench.refuses(
        &yaml,
        9,
        "VirtualMachine/a",
        "scsi1 is not there yet, and no `size` says how large to make it",
        "write its size, such as `size: 20Gi`",
    );
}

#[test]
fn a_bridge_that_is_not_there() {
    Bench::new().refuses(
        &vm("{vmid: 150, node: pve1, networks: [{slot: net0, bridge: vmbr7}]}"),
        4,
        "VirtualMachine/a",
        "node `pve1` has no bridge `vmbr7`",
        "bridges of `pve1`: vmbr0, vmbr1",
    );
}

#[test]
fn a_node_that_is_not_there() {
    Bench::new().refuses(
        &vm("{vmid: 150, node: pve9}"),
        4,
        "VirtualMachine/a",
        "there is no node `pve9`",
        "nodes of this cluster: pve1, pve2, pve3",
    );
}

#[test]
fn no_node_of_which_one_could_be_chosen() {
    let bench = Bench::new();
    bench.world(|w| w.nodes.values_mut().for_each(|n| n.online = n.boot_ms == 0));
    // The node that we speak to answers, or nobody would.
    bench.refuses(
        &vm("{vmid: 150}"),
        3,
        "VirtualMachine/a",
        "no node can be chosen for it",
        "give a `node`; is any node online?",
    );
}

#[test]
fn a_pool_that_is_not_there() {
    let bench = Bench::new();
    bench.apply(&manifest("Pool", "web", "{}"));
    bench.refuses(
        &vm("{vmid: 150, node: pve1, pool: wep}"),
        4,
        "VirtualMachine/a",
        "there is no pool `wep`",
        "did you mean `web`? Or declare it: `kind: Pool`",
    );
}

// ---- numbers ---------------------------------------------------------------------------------------------------------

#[test]
fn a_vmid_that_a_stranger_has_names_adopt() {
    Bench::new().refuses(
        &vm("{vmid: 8100}"),
        4,
        "VirtualMachine/a",
        "VMID 8100 is taken by `opnsense`, which pvectl does not own",
        "give another `vmid`, or take it over with: pvectl adopt VirtualMachine/a -f",
    );
}

#[test]
fn a_vmid_of_a_guest_of_the_other_type() {
    Bench::new().refuses(
        &vm("{vmid: 8200}"),
        4,
        "VirtualMachine/a",
        "VMID 8200 is a guest of the other type (lxc)",
        "give another `vmid`",
    );
}

#[test]
fn two_manifests_with_one_vmid() {
    let yaml = vm("{vmid: 150, node: pve1}")
        + "---\n"
        + &manifest(
            "Container",
            "b",
            &format!(
                "{{vmid: 150, node: pve1, from: {{osTemplate: '{ALPINE}'}}, rootfs: {{storage: local-lvm, size: 1Gi}}}}"
            ),
        );
    let bench = Bench::new();
    let file = bench.manifests(&yaml);
    bench
        .run(&format!("apply -f {file} --set lab {APPLY}"), 2)
        .says("VirtualMachine/a has the VMID 150 of Container/b")
        .says("lab.yaml:4:")
        .says("a VMID is one guest of the whole cluster");
}

#[test]
fn a_range_without_a_free_vmid() {
    let yaml = vm("{vmidRange: 8100-8100, node: pve1}");
    Bench::new().refuses(
        &yaml,
        4,
        "VirtualMachine/a",
        "no VMID is free from 8100 to 8100",
        "widen the range, or delete guests in it",
    );
}

#[test]
fn two_guests_that_say_they_are_the_same() {
    let bench = Bench::new();
    bench.apply(&vm("{node: pve1, description: x}"));
    bench.world(|w| {
        let mut twin = w.guests[&100].clone();
        // As a restored backup is: the same notes, without the number in them.
        let notes = twin.config["description"].replace("\"vmid\":100,", "").replace("vmid=100", "");
        twin.config.insert("description".into(), notes.clone());
        w.guests.get_mut(&100).expect("it was made").config.insert("description".into(), notes);
        w.guests.insert(101, twin);
    });
    bench.refuses(
        &vm("{node: pve1, description: x}"),
        3,
        "VirtualMachine/a",
        "several guests say that they are VirtualMachine/a: 100, 101",
        "give the right one's number as `vmid`",
    );
}

#[test]
fn an_object_of_another_set() {
    let bench = Bench::new();
    bench.apply(&(vm("{vmid: 150, node: pve1}") + "---\n" + &manifest("Pool", "p", "{}")));
    let file = bench.manifests(&(vm("{vmid: 150, node: pve1}") + "---\n" + &manifest("Pool", "p", "{}")));
    bench
        .run(&format!("apply -f {file} --set other {APPLY}"), 3)
        .says("VirtualMachine/a: VMID 150 belongs to VirtualMachine/a of the manifest set `lab`, not to VirtualMachine/a of `other`")
        .says("lab.yaml:4:")
        .says("one object has one owner: give another `vmid`, or take it out of the other set first")
        .says("Pool/p: pool `p` belongs to Pool/p of the manifest set `lab`")
        .says("lab.yaml:8:")
        .says("one object has one owner: take it out of the other set first");
}

#[test]
fn a_pool_that_is_there_unmarked_names_adopt() {
    let bench = Bench::new();
    bench.world(|w| w.pools.insert("web".into(), pvectl::sim::world::Pool::default()));
    bench.refuses(
        &manifest("Pool", "web", "{comment: x}"),
        3,
        "Pool/web",
        "there is a pool `web` already, which pvectl does not own",
        "take it over with: pvectl adopt Pool/web -f",
    );
}

// ---- sources ---------------------------------------------------------------------------------------------------------

#[test]
fn a_template_that_no_manifest_declares() {
    let bench = Bench::new();
    let file = bench.manifests(&vm("{vmid: 150, node: pve1, from: {template: debian}}"));
    bench
        .run(&format!("apply -f {file} {APPLY}"), 2)
        .says("lab.yaml:4:")
        .says("VirtualMachine/a names the GuestTemplate `debian`, which no manifest declares")
        .says("declare a `kind: GuestTemplate` of that name")
        .says("nothing was sent");
}

#[test]
fn a_template_name_that_is_a_machine_is_no_template() {
    let bench = Bench::new();
    let file = bench.manifests(
        &(vm("{vmid: 150, node: pve1, from: {template: golden}}")
            + "---\n"
            + &manifest("VirtualMachine", "golden", "{vmid: 151, node: pve1}")),
    );
    bench.run(&format!("apply -f {file} {APPLY}"), 2).says("lab.yaml:4:").says("names the GuestTemplate `golden`");
}

#[test]
fn an_archive_that_is_not_there() {
    let bench = Bench::new();
    let of = |volume: &str| {
        ct(&format!(
            "{{vmid: 150, node: pve1, from: {{osTemplate: '{volume}'}}, rootfs: {{storage: local-lvm, size: 1Gi}}}}"
        ))
    };
    bench.refuses(
        &of("local:vztmpl/alpine-3.22-default_20260401_amd64.tar.xz"),
        4,
        "Container/a",
        "node `pve1` has no CT template `local:vztmpl/alpine-3.22-default_20260401_amd64.tar.xz`",
        &format!("did you mean `{ALPINE}`?"),
    );
    bench.refuses(
        &of("alpine"),
        4,
        "Container/a",
        "`alpine` is no volume id",
        "write it like STORAGE:vztmpl/NAME; pvesm list STORAGE --content vztmpl shows them",
    );
}

#[test]
fn a_container_that_is_made_of_nothing() {
    Bench::new().refuses(
        &ct("{vmid: 150, node: pve1}"),
        3,
        "Container/a",
        "a container is made from something",
        "give `from: {osTemplate: local:vztmpl/…}`, `{appliance: debian-12-standard, storage: local}`",
    );
}

#[test]
fn a_source_that_is_not_there() {
    let bench = Bench::new();
    bench.refuses(
        &manifest("GuestTemplate", "t", "{vmid: 9000, node: pve1, source: {clone: {vmid: 7777}}}"),
        4,
        "GuestTemplate/t",
        "there is no guest 7777 to clone",
        "give the VMID of a guest that is there: pvectl get vm",
    );
    bench.refuses(
        &manifest("GuestTemplate", "t", "{node: pve1, source: {existing: {vmid: 7777}}}"),
        4,
        "GuestTemplate/t",
        "there is no guest 7777 to take over",
        "give the VMID of a guest that exists, or a `clone` source",
    );
}

#[test]
fn a_source_of_the_other_type() {
    Bench::new().refuses(
        &manifest("GuestTemplate", "t", "{vmid: 9000, node: pve3, source: {clone: {vmid: 8200}}}"),
        4,
        "GuestTemplate/t",
        "guest 8200 is a container, and this is to be a virtual machine",
        "clone a virtual machine, or declare a container",
    );
}

#[test]
fn a_copy_that_proxmox_ve_does_not_make() {
    let bench = Bench::new();
    bench.refuses(
        &manifest("GuestTemplate", "t", "{vmid: 9000, node: pve1, source: {clone: {vmid: 8000, mode: Linked}}}"),
        4,
        "GuestTemplate/t",
        "guest 8000 is no template, and only a template has linked clones",
        "say `mode: Full`, or declare it as a GuestTemplate and clone that",
    );
    bench.refuses(
        &manifest("GuestTemplate", "t", "{type: Container, vmid: 9000, node: pve3, source: {clone: {vmid: 8200}}}"),
        4,
        "GuestTemplate/t",
        "container 8200 runs, and PVE copies a container only at rest",
        "stop it for the copy: pct shutdown 8200",
    );
}

#[test]
fn a_template_with_two_sources_or_none() {
    let bench = Bench::new();
    for (source, why) in [
        ("{existing: {vmid: 8000}, clone: {vmid: 8000}}", "it names 2 sources (clone, existing); give exactly one"),
        ("{}", "it names no source; give exactly one of cloudImage, clone, archive"),
    ] {
        let yaml = manifest("GuestTemplate", "t", &format!("{{vmid: 9000, node: pve1, source: {source}}}"));
        let file = bench.manifests(&yaml);
        bench.run(&format!("apply -f {file} --set lab {APPLY}"), 2).says("lab.yaml:4:").says(why);
    }
}

#[test]
fn a_source_on_storage_that_the_node_does_not_share() {
    Bench::new().refuses(
        &manifest("GuestTemplate", "t", "{vmid: 9000, node: pve3, source: {clone: {vmid: 8000, storage: local-lvm}}}"),
        4,
        "GuestTemplate/t",
        "its source 8000 is on node `pve1`, on storage that `pve3` does not share",
        "put it on `pve1`, or keep a template on `pve3` too",
    );
}

#[test]
fn references_that_go_in_a_circle() {
    let one = |name: &str, vmid: u32, of: &str| {
        manifest("GuestTemplate", name, &format!("{{vmid: {vmid}, node: pve1, source: {{clone: {{template: {of}}}}}}}"))
    };
    Bench::new().refuses(
        &(one("t", 9000, "u") + "---\n" + &one("u", 9001, "t")),
        3,
        "GuestTemplate/t",
        "it waits for itself: its references go in a circle",
        "take one of the references out of the circle",
    );
}

// ---- changes that cannot be ------------------------------------------------------------------------------------------

#[test]
fn a_disk_that_would_shrink() {
    let bench = Bench::new();
    let sized = |gib: u32| {
        vm(&format!("{{vmid: 150, node: pve1, disks: [{{slot: scsi0, storage: local-lvm, size: {gib}Gi}}]}}"))
    };
    bench.apply(&sized(4));
    bench.refuses(
        &sized(3),
        4,
        "VirtualMachine/a",
        "scsi0 has 4Gi and cannot shrink to 3Gi",
        "PVE only grows disks; write the size that it has, or more",
    );
}

#[test]
fn a_disk_that_would_move_to_a_storage_without_the_room() {
    let bench = Bench::new();
    let on = |storage: &str| {
        vm(&format!("{{vmid: 150, node: pve1, disks: [{{slot: scsi0, storage: {storage}, size: 1Gi}}]}}"))
    };
    bench.apply(&on("local-lvm"));
    bench.refuses(&on("nowhere"), 4, "VirtualMachine/a", "node `pve1` has no storage `nowhere`", "storages of `pve1`");
}

#[test]
fn what_a_slot_holds_is_never_replaced() {
    let bench = Bench::new();
    bench.apply(&vm("{vmid: 150, node: pve1, disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}]}"));
    for (field, value) in [("iso", "none"), ("volume", "local-lvm:vm-150-disk-7")] {
        bench.refuses(
            &vm(&format!("{{vmid: 150, node: pve1, disks: [{{slot: scsi0, {field}: {value}}}]}}")),
            4,
            "VirtualMachine/a",
            &format!("scsi0 holds `local-lvm:vm-150-disk-0`, and the manifest says `{field}: {value}`"),
            "what a slot holds is never replaced",
        );
    }
}

#[test]
fn a_volume_that_is_not_the_guests_own_is_not_plugged_in() {
    Bench::new().refuses(
        &vm("{vmid: 150, node: pve1, disks: [{slot: scsi0, volume: 'local-lvm:vm-8100-disk-0'}]}"),
        4,
        "VirtualMachine/a",
        "`local-lvm:vm-8100-disk-0` is no unused volume of this guest",
        "its unused volumes: none",
    );
}

#[test]
fn a_part_that_a_bus_does_not_take() {
    Bench::new().refuses(
        &vm("{vmid: 150, node: pve1, disks: [{slot: virtio0, storage: local-lvm, size: 1Gi, ssd: true}]}"),
        4,
        "VirtualMachine/a",
        "virtio0 takes no `ssd`",
        "PVE knows it for: scsi, sata, ide",
    );
}

#[test]
fn options_that_no_manifest_says() {
    for (option, why) in [
        ("digest", "every write carries the digest"),
        ("cipassword", "a password has no place in a manifest"),
        ("unused0", "plug one in with `volume`"),
        ("lxc.idmap", "/etc/pve/lxc/VMID.conf"),
    ] {
        Bench::new().refuses(
            &vm(&format!("{{vmid: 150, node: pve1, options: {{{option}: 'x'}}}}")),
            4,
            "VirtualMachine/a",
            &format!("`{option}` is no option of a manifest"),
            why,
        );
    }
}

#[test]
fn a_container_that_runs_keeps_its_volumes_where_they_are() {
    let bench = Bench::new();
    let on = |storage: &str| {
        ct_of_alpine(&format!(", power: Running, mounts: [{{slot: mp0, storage: {storage}, size: 1Gi, path: /srv}}]"))
    };
    bench.apply(&on("local-lvm"));
    bench.refuses(
        &on("nfs"),
        4,
        "Container/a",
        "mp0 is to move, and PVE moves volumes of a container only at rest",
        "say `power: Stopped`",
    );
}

#[test]
fn a_container_that_would_become_privileged() {
    let bench = Bench::new();
    bench.apply(&ct_of_alpine(", unprivileged: true"));
    bench.refuses(
        &ct_of_alpine(", unprivileged: false"),
        4,
        "Container/a",
        "whether a container is unprivileged is decided when it is made",
        "take a backup and restore it the other way, or put the old value back",
    );
}

#[test]
fn notes_that_are_longer_than_proxmox_ve_keeps() {
    let bench = Bench::new();
    let long = |letters: usize| vm(&format!("{{vmid: 150, node: pve1, description: {}}}", "x".repeat(letters)));
    let help = "shorten the description by";
    bench.refuses(&long(8190), 4, "VirtualMachine/a", "the notes would have 8", help).says("PVE keeps 8192");
    bench.apply(&long(7000));
    bench.refuses(&long(8190), 4, "VirtualMachine/a", "the notes would have 8", help);
    // A clone is given its notes when it is there: it is refused before it is made.
    let clone = |letters: usize| {
        manifest(
            "GuestTemplate",
            "t",
            &format!(
                "{{vmid: 9000, node: pve1, source: {{clone: {{vmid: 8000}}}}, description: {}}}",
                "x".repeat(letters)
            ),
        )
    };
    bench.refuses(&clone(8190), 4, "GuestTemplate/t", "the notes would have 8", help);
}

#[test]
fn what_a_spec_says_twice_is_refused_without_a_cluster() {
    let bench = Bench::new();
    for (yaml, why, help) in [
        (vm("{vmid: 150, options: {memory: 4096}}"), "`memory` has a field of its own", "write it as hardware.memory"),
        (
            vm("{vmid: 150, options: {scsi0: 'local-lvm:8'}}"),
            "`scsi0` has a field of its own",
            "write it as disks.scsi0",
        ),
        (vm("{vmid: 150, options: {name: x}}"), "`name` has a field of its own", "write it as hostName"),
        (ct("{vmid: 150, options: {mp0: '/srv,mp=/srv'}}"), "`mp0` has a field of its own", "write it as mounts.mp0"),
        (vm("{vmid: 150, vmidRange: 400-449}"), "either a `vmid` or a `vmidRange`", "take one of them out"),
        (vm("{node: pve1, placement: {nodes: [pve2]}}"), "either a `node` or a `placement`", "take one of them out"),
        (vm("{hostName: Web.example.com}"), "is found by its number", "give its `vmid`"),
        (ct("{update: {migrate: Online}}"), "a container does not move while it runs", "write `migrate: Offline`"),
    ] {
        let file = bench.manifests(&yaml);
        let said = bench.run(&format!("validate -f {file}"), 2);
        said.says(why).says(help).says("lab.yaml:4:");
    }
}

#[test]
fn a_guest_that_cannot_be_read_is_not_guessed() {
    let bench = Bench::new();
    bench.apply(&vm("{vmid: 150, node: pve1, description: x}"));
    let broken = FaultKind::Status(500, "unable to read the configuration".into());
    bench.server.sim.inject(Fault::on("GET", "/qemu/150/pending", broken).always());
    bench.refuses(
        &vm("{vmid: 150, node: pve1, description: y}"),
        3,
        "VirtualMachine/a",
        "it could not be read: GET /nodes/pve1/qemu/150/pending was refused: 500 unable to read the configuration",
        "nothing is known of it, so nothing is done; try again when the cluster answers",
    );
}

// ---- what only root may ----------------------------------------------------------------------------------------------

#[test]
fn options_of_a_machine_that_only_root_may_set() {
    let bench = Bench::new();
    for (option, value) in [("args", "-snapshot"), ("parallel0", "/dev/parport0")] {
        bench.refuses(
            &vm(&format!("{{vmid: 150, node: pve1, options: {{{option}: '{value}'}}}}")),
            4,
            "VirtualMachine/a",
            &format!("PVE lets only root@pam's own login set `{option}` like this, never a token"),
            "log in with user root@pam and a password, or set it on the host with qm set",
        );
    }
}

#[test]
fn fields_that_only_root_may_set() {
    let bench = Bench::new();
    let client = Client::of(&bench.server.ready, "admin@pve!full");
    let bench = Bench { server: bench.server, client };
    for (spec, option) in [
        ("hardware: {affinity: '0-3'}", "affinity"),
        ("hardware: {vmGenId: '0'}", "vmgenid"),
        ("serialPorts: [{slot: serial0, device: /dev/ttyS0}]", "serial0"),
        ("usb: [{slot: usb0, host: '1d6b:0002'}]", "usb0"),
        ("pci: [{slot: hostpci0, host: '0000:01:00.0', pcie: true}]", "hostpci0"),
        ("hookScript: 'local:snippets/hook.pl'", "hookscript"),
    ] {
        let text = format!("PVE lets only root@pam's own login set `{option}` like this, never a token");
        bench.refuses(
            &vm(&format!("{{vmid: 150, node: pve1, {spec}}}")),
            4,
            "VirtualMachine/a",
            &text,
            "log in with user",
        );
    }
    for (spec, option) in [
        ("features: {keyctl: true}", "features"),
        ("mounts: [{slot: mp0, hostPath: /srv, path: /srv}]", "mp0"),
        ("devices: [{slot: dev0, path: /dev/ttyS0}]", "dev0"),
    ] {
        let text = format!("PVE lets only root@pam's own login set `{option}` like this, never a token");
        bench.refuses(&ct_of_alpine(&format!(", {spec}")), 4, "Container/a", &text, "log in with user");
    }
    // What is mapped, or is no device of the node, is nobody's but the user's.
    let fine = "serialPorts: [{slot: serial0, device: socket}], usb: [{slot: usb0, host: spice}, {slot: usb1, mapping: stick}], pci: [{slot: hostpci0, mapping: gpu, pcie: true}]";
    bench.apply(&vm(&format!("{{vmid: 150, node: pve1, {fine}}}")));
}

#[test]
fn mappings_that_may_not_be_used() {
    let bench = Bench::new();
    bench.server.grant(&["VM.Audit", "VM.Allocate", "VM.Config.HWType", "VM.Config.Options", "Sys.Audit"]);
    let client = Client::of(&bench.server.ready, "admin@pve!priv");
    let bench = Bench { server: bench.server, client };
    for (spec, mapping) in [
        ("usb: [{slot: usb0, mapping: stick}]", "usb/stick"),
        ("pci: [{slot: hostpci0, mapping: gpu, pcie: true}]", "pci/gpu"),
        ("virtiofs: [{slot: virtiofs0, directory: share}]", "dir/share"),
        ("hardware: {rng: {source: /dev/hwrng}}", "hwrng"),
    ] {
        let said = bench.refuses(
            &vm(&format!("{{vmid: 150, node: pve1, {spec}}}")),
            3,
            "VirtualMachine/a",
            &format!("the privilege Mapping.Use on /mapping/{mapping} is missing"),
            "Mapping.Use",
        );
        assert_eq!(said.err.matches("error[refused]").count(), 1, "{}", said.err);
    }
}

#[test]
fn options_of_a_container_that_only_root_may_set() {
    let bench = Bench::new();
    for (option, spec) in [
        ("hookscript", "hookScript: local:snippets/hook.pl"),
        ("mp0", "mounts: [{slot: mp0, hostPath: /srv/data, path: /data}]"),
        ("dev0", "devices: [{slot: dev0, path: /dev/dri/renderD128}]"),
        ("features", "features: {keyctl: true}"),
    ] {
        bench.refuses(
            &ct_of_alpine(&format!(", {spec}")),
            4,
            "Container/a",
            &format!("PVE lets only root@pam's own login set `{option}` like this, never a token"),
            "log in with user root@pam and a password, or set it on the host with pct set",
        );
    }
    // Nesting is for everybody, but not in a privileged container.
    bench.refuses(
        &ct_of_alpine(", unprivileged: false, features: {nesting: true}"),
        4,
        "Container/a",
        "PVE lets only root@pam's own login set `features` like this, never a token",
        "log in with user root@pam",
    );
}

#[test]
fn both_ways_out_of_a_refusal_for_root_are_open() {
    let args = vm("{vmid: 150, node: pve1, options: {args: '-snapshot'}}");
    // A log-in of root may.
    Bench::with_a_ticket().apply(&args);
    // So may a token when the host has set it already.
    let bench = Bench::new();
    bench.apply(&vm("{vmid: 150, node: pve1}"));
    bench.world(|w| w.edit_guest(150, "args", Some("-snapshot")));
    bench.apply(&args);
    // And what goes over a mapping is no root's business.
    let mapped =
        "{vmid: 151, node: pve1, usb: [{slot: usb0, mapping: stick}], serialPorts: [{slot: serial0, device: socket}]}";
    bench.apply(&(args.clone() + "---\n" + &manifest("VirtualMachine", "b", mapped)));
    // To take an option away is to set it.
    bench.refuses(
        &vm("{vmid: 150, node: pve1}"),
        3,
        "VirtualMachine/a",
        "PVE lets only root@pam's own login set `args` like this, never a token",
        "log in with user root@pam",
    );
}

// ---- privileges ------------------------------------------------------------------------------------------------------

/// The role that the README gives to a token.
fn privileges_of_the_readme() -> Vec<&'static str> {
    let role =
        include_str!("../../README.md").lines().find_map(|l| l.strip_prefix("pveum role add Reconciler --privs \""));
    role.expect("the README says which role").trim_end_matches('"').split(',').collect()
}

#[test]
fn the_role_of_the_readme_is_enough_for_the_homelab_and_for_its_end() {
    let server = Inside::start();
    server.grant(&privileges_of_the_readme());
    let client = Client::of(&server.ready, "admin@pve!priv");
    client.run("apply -f manifests/homelab --yes").code(0).says("8 of 8 objects are as their manifests say");
    client.run("diff -f manifests/homelab").code(0);
    client.run("delete vm web-01 web-02 pxe-lab --yes --allow data-loss").code(0);
    client.run("diff -f manifests/homelab").code(1).says("Plan: 3 to create");
}

#[test]
fn a_token_without_one_of_its_privileges_is_refused_before_the_first_write_or_needs_it_not() {
    let all: Vec<&str> = privileges_of_the_readme();
    let mut unneeded = Vec::new();
    // PVE takes either of Cloudinit and Network for cloud-init.
    for missing in all.iter().copied().filter(|p| *p != "VM.Config.Cloudinit") {
        let server = Inside::start();
        let held: Vec<&str> = all.iter().copied().filter(|p| *p != missing).collect();
        server.grant(&held);
        let client = Client::of(&server.ready, "admin@pve!priv");
        let said = client.run("apply -f manifests/homelab --yes");
        match said.code {
            0 => unneeded.push(missing),
            code => {
                assert_eq!(
                    server.writes(),
                    Vec::<String>::new(),
                    "without {missing}: refused in the middle\n{}",
                    said.err
                );
                // Without a right to look at the cluster nothing can be compared at all.
                assert!(code == 3 || (code == 1 && missing == "Sys.Audit"), "without {missing}: {code}\n{}", said.err);
                said.says(&format!("--privs {missing}"));
            }
        }
    }
    // What only the sources of guests take, which the homelab has none of (`sources.rs`).
    assert_eq!(unneeded, ["Datastore.AllocateTemplate", "VM.Backup"]);
}

#[test]
fn changes_take_privileges_too_and_every_missing_one_is_named() {
    let bench = Bench::new();
    let before = "{vmid: 150, node: pve1, power: Stopped, hardware: {cores: 1, memory: 1Gi}, disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}], networks: [{slot: net0, bridge: vmbr0}]}";
    let after = "{vmid: 150, node: pve1, power: Running, hardware: {cores: 2, memory: 2Gi}, disks: [{slot: scsi0, storage: local-lvm, size: 2Gi}], networks: [{slot: net0, bridge: vmbr1}], pool: p, startup: {order: 1}}";
    let pool = manifest("Pool", "p", "{}") + "---\n";
    bench.apply(&(pool.clone() + &vm(before)));
    bench.server.grant(&["Sys.Audit", "VM.Audit", "Pool.Audit", "Datastore.Audit", "SDN.Audit"]);
    let client = Client::of(&bench.server.ready, "admin@pve!priv");
    let bench = Bench { server: bench.server, client };
    let said = bench.refuses(
        &(pool + &vm(after)),
        8,
        "VirtualMachine/a",
        "the privilege VM.Config.CPU on /vms/150 is missing",
        "pveum role modify ROLE --append 1 --privs VM.Config.CPU",
    );
    for missing in [
        "VM.Config.Memory on /vms/150",
        "VM.Config.Disk on /vms/150",
        "VM.Config.Network on /vms/150",
        "VM.Config.Options on /vms/150",
        "VM.PowerMgmt on /vms/150",
        "Datastore.AllocateSpace on /storage/local-lvm",
        "SDN.Use on /sdn/zones/localnetwork/vmbr1",
        "Pool.Allocate on /pool/p",
        "VM.Allocate on /vms/150",
        "Sys.Modify on /",
    ] {
        assert!(said.err.contains(&format!("the privilege {missing} is missing")), "{missing} in {}", said.err);
    }
    assert_eq!(said.err.matches("error[refused]").count(), 11, "each once: {}", said.err);
    let doomed = bench.run("delete vm a --yes --allow data-loss", 3);
    doomed.says("the privilege VM.Allocate on /vms/150 is missing");
    bench.run("delete pool p --yes", 3).says("the privilege Pool.Allocate on /pool/p is missing");
}

// ---- deletion --------------------------------------------------------------------------------------------------------

#[test]
fn data_loss_that_nobody_allowed() {
    let bench = Bench::new();
    let disk = vm("{vmid: 150, node: pve1, power: Running, disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}]}");
    bench.apply(&disk);
    bench
        .run("delete vm a --yes", 3)
        .says("error[data-loss]: VirtualMachine/a: `delete qemu 150` destroys data")
        .says("if that is what you want: --allow data-loss")
        .says("nothing was sent");
    let file = bench.manifests(&manifest("Pool", "p", "{}"));
    bench
        .run(&format!("apply -f {file} --set lab --prune --yes"), 3)
        .says("VirtualMachine/a: `delete qemu 150` destroys data")
        .says("--allow data-loss");
    // Without --prune it is only said that it is there.
    bench.client.run(&format!("apply -f {file} --set lab --yes")).code(0).says("--prune deletes it");
    assert!(bench.world(|w| w.guests.contains_key(&150)));
}

#[test]
fn a_protected_guest_is_not_deleted() {
    let bench = Bench::new();
    bench.apply(&vm("{vmid: 150, node: pve1, protection: true}"));
    let file = bench.manifests(&vm("{vmid: 150, node: pve1, protection: true}"));
    for words in [
        "delete vm a --yes --allow data-loss".to_owned(),
        format!("delete -f {file} --set lab --yes --allow data-loss"),
    ] {
        bench
            .run(&words, 3)
            .says("VirtualMachine/a: guest 150 is protected")
            .says("set `protection: false` in its manifest and apply that first");
    }
    bench.run(&format!("delete -f {file} --set lab --yes --allow data-loss"), 3).says("lab.yaml:4:");
}

#[test]
fn what_is_to_be_retained_is_not_pruned() {
    let bench = Bench::new();
    let kept = "apiVersion: pvectl/v1alpha1\nkind: VirtualMachine\nmetadata: {name: a, annotations: {pvectl/deletion-policy: Retain}}\nspec: {vmid: 150, node: pve1}\n";
    bench.apply(&(kept.to_owned() + "---\n" + &manifest("Pool", "p", "{}")));
    let file = bench.manifests(&manifest("Pool", "p", "{}"));
    bench.run(&format!("apply -f {file} --set lab --prune {APPLY}"), 0);
    bench
        .run(&format!("diff -f {file} --set lab --prune"), 0)
        .says("VirtualMachine/a  qemu/150 on pve1 (kept by its deletion policy)");
}

#[test]
fn more_deletions_than_the_limit() {
    let bench = Bench::new();
    let pools: Vec<String> = (0..7).map(|n| manifest("Pool", &format!("p{n}"), "{}")).collect();
    bench.apply(&pools.join("---\n"));
    let file = bench.manifests(&pools[0]);
    bench
        .run(&format!("apply -f {file} --set lab --prune --yes"), 3)
        .says("error[too-many-deletes]: 6 objects would be deleted, and at most 5 may")
        .says("if that is what you want: --max-deletes 6");
    bench.run(&format!("apply -f {file} --set lab --prune --yes --max-deletes 0"), 3).says("and at most 0 may");
    bench.client.run(&format!("apply -f {file} --set lab --prune --yes --max-deletes 6")).code(0);
    assert_eq!(bench.world(|w| w.pools.len()), 1);
}

#[test]
fn pruning_with_an_empty_folder_is_an_error_and_with_a_part_of_the_tree_too() {
    let bench = Bench::new();
    bench.client.run("apply -f manifests/homelab --yes").code(0);
    let empty = bench.client.file("empty", "");
    std::fs::remove_file(&empty).expect("it was written");
    std::fs::create_dir(&empty).expect("a folder can be made");
    bench
        .run(&format!("apply -f {empty} --set homelab --prune {APPLY}"), 2)
        .says("no manifests in `")
        .says("manifests are files named *.yaml, *.yml or *.json")
        .says("nothing was sent");
    bench
        .run(&format!("apply -f manifests/homelab/pools.yaml --prune {APPLY}"), 2)
        .says("--prune wants the whole tree: what was not read is not gone")
        .says("name the folder that holds pvectl.yaml");
    bench
        .run(&format!("apply -f manifests/homelab -l app=web --prune {APPLY}"), 2)
        .says("--prune and -l do not go together: what a selector hides is not gone");
    // A file without a document declares nothing, and one with little declares too little.
    let nothing = bench.client.file("nothing.yaml", "# all of it left\n");
    bench.run(&format!("apply -f {nothing} --set homelab --prune {APPLY}"), 2).says("declare nothing");
    let little = bench.client.file("little.yaml", &manifest("Pool", "other", "{}"));
    bench
        .run(&format!("apply -f {little} --set homelab --prune --yes"), 3)
        .says("8 objects would be deleted, and at most 5 may")
        .says("--allow data-loss");
}

#[test]
fn a_template_with_linked_clones_is_not_deleted() {
    let bench = Bench::new();
    // On thin LVM a clone outlives its base; on files it does not.
    let clone = |name: &str| manifest("VirtualMachine", name, "{node: pve1, from: {template: base}}");
    let base =
        manifest("GuestTemplate", "base", "{vmid: 9000, node: pve1, source: {clone: {vmid: 8000, storage: nfs}}}");
    bench.apply(&[base, clone("a"), clone("b")].join("---\n"));
    bench
        .run("delete guesttemplate base --yes --allow data-loss", 3)
        .says("GuestTemplate/base: template 9000 still has linked clones: 100, 101")
        .says("delete the clones first, or keep the template");
}

#[test]
fn a_pool_with_guests_of_others_is_not_deleted() {
    let bench = Bench::new();
    bench.apply(&manifest("Pool", "p", "{}"));
    bench.world(|w| w.pools.get_mut("p").expect("it was made").guests.insert(8100));
    bench
        .run("delete pool p --yes", 3)
        .says("Pool/p: pool `p` still has 1 guests")
        .says("PVE deletes only empty pools: move or delete its guests first");
}

#[test]
fn what_is_not_ours_is_not_deleted() {
    let bench = Bench::new();
    bench
        .run("delete vm opnsense --yes --allow data-loss", 3)
        .says("pvectl owns no VirtualMachine/opnsense")
        .says("it is there, but pvectl does not own it, so pvectl does not delete it");
    bench.run("delete vm nobody --yes --allow data-loss", 3).says("pvectl get lists what there is");
}

// ---- what waits, and many at once ------------------------------------------------------------------------------------

#[test]
fn a_locked_guest_is_waited_for_and_then_left_with_a_word() {
    // In process, on virtual time: the wait is a minute and more.
    let lab = crate::world::Lab::homelab();
    let set = crate::world::desired(&vm("{vmid: 150, node: pve1, description: x}"));
    lab.apply(&set, &crate::world::plain());
    lab.sim.with_world(|w| w.edit_guest(150, "lock", Some("backup")));
    let set = crate::world::desired(&vm("{vmid: 150, node: pve1, description: y}"));
    let from = lab.sim.request_log().len();
    let (before, api) = (lab.world().clock_ms, lab.sim.api());
    let report = lab
        .try_apply(&api, &pvectl::kinds::list::KINDS, &set, &crate::world::plain())
        .expect("it is no error that somebody makes a backup");
    assert!(!report.converged());
    let shown = pvectl::report::text::plan(&report.last, false);
    assert!(shown.contains("waits: PVE holds the lock `backup`"), "{shown}");
    assert!(lab.world().clock_ms - before > 60_000, "it waited");
    assert_eq!(lab.writes_since(from), Vec::<String>::new());
    lab.sim.with_world(|w| w.edit_guest(150, "lock", None));
    lab.apply(&set, &crate::world::plain());
}

#[test]
fn five_faults_in_five_manifests_are_five_problems_in_one_run() {
    let bench = Bench::new();
    bench.world(|w| {
        pvectl::sim::baseline::add_guest(w, 160, GuestType::Qemu, "pve1", Power::Stopped, &[("name", "stranger")]);
    });
    let yaml = [
        vm("{vmid: 150, node: pve1, disks: [{slot: scsi0, storage: nowhere, size: 1Gi}]}"),
        manifest("VirtualMachine", "b", "{vmid: 151, node: pve1, networks: [{slot: net0, bridge: vmbr9}]}"),
        manifest("VirtualMachine", "c", "{vmid: 152, node: pve9}"),
        manifest("VirtualMachine", "d", "{vmid: 160}"),
        manifest("VirtualMachine", "e", "{vmid: 153, node: pve1, options: {args: -S}}"),
        manifest("Pool", "fine", "{comment: nothing is wrong with it}"),
    ]
    .join("---\n");
    let file = bench.manifests(&yaml);
    for (verb, code) in [("apply --yes", 3), ("apply --dry-run", 3), ("plan", 3), ("diff", 3)] {
        let said = bench.run(&format!("{verb} -f {file} --set lab"), code);
        let problems: Vec<&str> = said.err.lines().filter(|l| l.starts_with("error[refused]: ")).collect();
        assert_eq!(
            problems,
            [
                "error[refused]: VirtualMachine/a: node `pve1` has no storage `nowhere`",
                "error[refused]: VirtualMachine/b: node `pve1` has no bridge `vmbr9`",
                "error[refused]: VirtualMachine/c: there is no node `pve9`",
                "error[refused]: VirtualMachine/d: VMID 160 is taken by `stranger`, which pvectl does not own",
                "error[refused]: VirtualMachine/e: PVE lets only root@pam's own login set `args` like this, never a token",
            ]
        );
        for line in [4, 9, 14, 19, 24] {
            assert!(said.err.contains(&format!("lab.yaml:{line}:")), "{verb}: line {line} in {}", said.err);
        }
        assert!(said.err.contains("error: 5 "), "{}", said.err);
    }
    assert!(bench.world(|w| w.pools.is_empty()), "what is fine waits with the rest");
}
