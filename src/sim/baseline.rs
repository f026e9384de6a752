//! The worlds that a simulator can start from.

use crate::sim::inside::packages::KERNEL;
use crate::sim::world::{AclEntry, Guest, GuestType, Node, Power, Storage, Token, User, Volume, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Which world to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// Three nodes at home: thin LVM, NFS, a cloud image template, three strangers that are not ours.
    Homelab,
    /// The one node that the recordings of genuine PVE were made on.
    Recordings,
    /// Many nodes and guests.
    Scale {
        /// How many nodes.
        nodes: u32,
        /// How many guests.
        guests: u32,
    },
}

const GIB: u64 = 1 << 30;
/// Where virtual time starts: November 2026.
pub const EPOCH_MS: u64 = 1_795_000_000_000;

/// The state at the start.
pub fn build(baseline: Baseline) -> World {
    let mut world = World {
        clock_ms: EPOCH_MS,
        seed: 42,
        quorate: true,
        latency_ms: 2,
        statistics_every_ms: STATISTICS_EVERY_MS,
        ..World::default()
    };
    match baseline {
        Baseline::Homelab => homelab(&mut world),
        Baseline::Recordings => recordings(&mut world),
        Baseline::Scale { nodes, guests } => scale(&mut world, nodes, guests),
    }
    world.collect_statistics();
    world
}

/// How often pvestatd looks (`PVE::Service::pvestatd`).
const STATISTICS_EVERY_MS: u64 = 10_000;

fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn bridge(cidr: Option<&str>, port: &str) -> BTreeMap<String, Value> {
    let mut fields = json!({
        "type": "bridge", "method": if cidr.is_some() { "static" } else { "manual" }, "method6": "manual",
        "families": ["inet"], "autostart": 1, "active": 1, "priority": 3,
        "bridge_ports": port, "bridge_stp": "off", "bridge_fd": "0",
    });
    if let Some((address, mask)) = cidr.and_then(|c| c.split_once('/')) {
        fields["cidr"] = format!("{address}/{mask}").into();
        fields["address"] = address.into();
        fields["netmask"] = mask.into();
    }
    fields.as_object().map(|o| o.iter().map(|(k, v)| (k.clone(), v.clone())).collect()).unwrap_or_default()
}

fn add_node(world: &mut World, name: &str, number: u32, bridges: &[&str]) {
    let interfaces = bridges
        .iter()
        .enumerate()
        .map(|(i, b)| {
            let cidr = format!("192.168.1.{}/24", 10 + number);
            ((*b).to_owned(), bridge((i == 0).then_some(cidr.as_str()), if i == 0 { "eno1" } else { "" }))
        })
        .collect();
    let node = Node {
        online: true,
        boot_ms: world.clock_ms - 864_000_000,
        cpus: 16,
        memory: 64 * GIB,
        interfaces,
        config: BTreeMap::new(),
        running_kernel: KERNEL.to_owned(),
        ..Node::default()
    };
    world.nodes.insert(name.to_owned(), node);
    if world.entry_node.is_empty() {
        world.entry_node = name.to_owned();
    }
}

fn add_storage(world: &mut World, id: &str, storage_type: &str, gib: u64, config: &[(&str, &str)]) {
    let storage = Storage {
        storage_type: storage_type.to_owned(),
        config: strings(config),
        size: gib * GIB,
        base_used: if storage_type == "dir" { 6 * GIB } else { 0 },
    };
    world.storages.insert(id.to_owned(), storage);
}

fn add_file(world: &mut World, node: Option<&str>, volid: &str, content: &str, format: &str, size: u64) {
    world.volumes.push(Volume {
        volid: volid.to_owned(),
        node: node.map(str::to_owned),
        size,
        used: size,
        format: format.to_owned(),
        content: content.to_owned(),
        ctime: world.now() - 86_400,
        ..Volume::default()
    });
}

fn add_user(world: &mut World, id: &str, password: &str, tokens: &[(&str, bool)]) {
    let tokens = tokens
        .iter()
        .map(|(name, privsep)| {
            let secret = world.new_uuid();
            ((*name).to_owned(), Token { privsep: *privsep, secret, ..Token::default() })
        })
        .collect();
    let user =
        User { config: strings(&[("enable", "1")]), password: Some(password.to_owned()), tokens, ..User::default() };
    world.users.insert(id.to_owned(), user);
}

fn grant(world: &mut World, subject_type: &str, subject: &str, role: &str) {
    world.acl.push(AclEntry {
        path: "/".to_owned(),
        subject_type: subject_type.to_owned(),
        subject: subject.to_owned(),
        role: role.to_owned(),
        propagate: true,
    });
}

fn people(world: &mut World) {
    add_user(world, "root@pam", "rootpw123", &[("test", false)]);
    add_user(world, "admin@pve", "adminpw123", &[("full", false), ("priv", true)]);
    add_user(world, "limited@pve", "limitedpw123", &[("ro", true)]);
    grant(world, "user", "admin@pve", "Administrator");
    grant(world, "user", "limited@pve", "PVEAuditor");
    grant(world, "token", "limited@pve!ro", "PVEAuditor");
}

fn recordings(world: &mut World) {
    world.latency_ms = 20;
    add_node(world, "pve1", 0, &[]);
    if let Some(node) = world.nodes.get_mut("pve1") {
        let mut vmbr0 = bridge(Some("10.11.12.1/24"), "eth0");
        vmbr0.extend([("gateway".to_owned(), "10.11.12.254".into()), ("priority".to_owned(), 4.into())]);
        let eth0 = json!({
            "type": "eth", "method": "manual", "method6": "manual", "families": ["inet"], "active": 1, "priority": 3,
        });
        let eth0 = eth0.as_object().cloned().unwrap_or_default().into_iter().collect();
        node.interfaces.extend([("eth0".to_owned(), eth0), ("vmbr0".to_owned(), vmbr0)]);
        (node.cpus, node.memory) = (2, 25_276_514_304);
    }
    let everything = "images,rootdir,vztmpl,iso,backup,snippets,import";
    let local = [("path", "/var/lib/vz"), ("content", everything), ("prune-backups", "keep-all=1")];
    add_storage(world, "local", "dir", 252, &local);
    let btrfs = [("path", "/srv/btr"), ("content", "images,rootdir"), ("is_mountpoint", "yes")];
    add_storage(world, "local-btrfs", "btrfs", 20, &btrfs);
    if let Some(local) = world.storages.get_mut("local") {
        (local.size, local.base_used) = (270_553_174_016, 30_006_124_544 - (4 << 20));
    }
    let alpine = "local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz";
    add_file(world, Some("pve1"), alpine, "vztmpl", "tgz", 3 << 20);
    add_file(world, Some("pve1"), "local:vztmpl/broken-1.0_amd64.tar.gz", "vztmpl", "tgz", 1024);
    add_file(world, Some("pve1"), "local:iso/test.iso", "iso", "iso", 1 << 20);
    // Debian's own ifupdown2, with which PVE refuses to bring SDN networks up.
    world.table("nodes/packages").insert("pve1".to_owned(), json!({ "ifupdown2": "3.0.0-1.3", "nfs-common": null }));
    let update = json!([{
        "Package": "bash", "Title": "GNU Bourne Again SHell", "Description": "", "Arch": "amd64", "Section": "shells",
        "Priority": "required", "Origin": "unknown", "OldVersion": "5.2.37-2+b10", "Version": "99.1-1",
    }]);
    world.table("nodes/apt").insert("pve1".to_owned(), update);
    let local = json!([{
        "Types": ["deb"], "URIs": ["file:/srv/localrepo"], "Suites": ["./"], "FileType": "list", "Enabled": 1,
        "Options": [{ "Key": "trusted", "Values": ["yes"] }],
    }]);
    world.table("nodes/apt.repositories").insert("pve1".to_owned(), local);
    people(world);
}

fn common_cluster(world: &mut World, nodes: u32) {
    world.cluster = Some("homelab".to_owned());
    for n in 1..=nodes {
        let name = format!("pve{n}");
        add_node(world, &name, n, &["vmbr0", "vmbr1"]);
    }
    let everything = "images,rootdir,vztmpl,iso,backup,snippets,import";
    add_storage(world, "local", "dir", 200, &[("path", "/var/lib/vz"), ("content", everything)]);
    let thin = [("vgname", "pve"), ("thinpool", "data"), ("content", "images,rootdir")];
    add_storage(world, "local-lvm", "lvmthin", 800, &thin);
    let nfs = [
        ("server", "192.168.1.5"),
        ("export", "/srv/pve"),
        ("path", "/mnt/pve/nfs"),
        ("content", "images,rootdir,vztmpl,iso,backup,snippets"),
    ];
    add_storage(world, "nfs", "nfs", 4000, &nfs);
    for n in 1..=nodes {
        let node = format!("pve{n}");
        for (file, format, mib) in [
            ("debian-12-standard_12.7-1_amd64.tar.zst", "tzst", 120),
            ("alpine-3.22-default_20260401_amd64.tar.gz", "tgz", 3),
        ] {
            add_file(world, Some(&node), &format!("local:vztmpl/{file}"), "vztmpl", format, mib << 20);
        }
        add_file(world, Some(&node), "local:iso/debian-12.iso", "iso", "iso", 660 << 20);
    }
    people(world);
}

fn add_disk(world: &mut World, node: &str, volid: &str, gib: u64, vmid: u32, format: &str) {
    world.volumes.push(Volume {
        volid: volid.to_owned(),
        node: Some(node.to_owned()),
        size: gib * GIB,
        used: gib * GIB / 8,
        format: format.to_owned(),
        content: "images".to_owned(),
        vmid: Some(vmid),
        ctime: world.now() - 86_400,
        bootable: true,
        ..Volume::default()
    });
}

fn homelab(world: &mut World) {
    common_cluster(world, 3);
    add_disk(world, "pve1", "local-lvm:vm-8000-disk-0", 4, 8000, "raw");
    add_disk(world, "pve1", "local-lvm:vm-8000-cloudinit", 1, 8000, "raw");
    add_disk(world, "pve2", "local-lvm:vm-8100-disk-0", 16, 8100, "raw");
    add_disk(world, "pve3", "local-lvm:vm-8200-disk-0", 2, 8200, "raw");
    if let Some(seed) = world.volumes.iter_mut().find(|v| v.volid.ends_with("cloudinit")) {
        (seed.size, seed.used, seed.bootable) = (4 << 20, 4 << 20, false);
    }
    let debian = [
        ("name", "debian-12-cloud"),
        ("scsi0", "local-lvm:vm-8000-disk-0,size=4G"),
        ("ide2", "local-lvm:vm-8000-cloudinit,media=cdrom,size=4M"),
        ("net0", "virtio=BC:24:11:00:80:00,bridge=vmbr0"),
        ("cores", "2"),
        ("memory", "2048"),
        ("agent", "1"),
        ("scsihw", "virtio-scsi-single"),
        ("boot", "order=scsi0"),
        ("serial0", "socket"),
    ];
    add_guest(world, 8000, GuestType::Qemu, "pve1", Power::Stopped, &debian);
    let opnsense = [
        ("name", "opnsense"),
        ("scsi0", "local-lvm:vm-8100-disk-0,size=16G"),
        ("net0", "virtio=BC:24:11:00:81:00,bridge=vmbr0"),
        ("net1", "virtio=BC:24:11:00:81:01,bridge=vmbr1"),
        ("cores", "2"),
        ("memory", "4096"),
        ("scsihw", "virtio-scsi-single"),
        ("boot", "order=scsi0"),
        ("ostype", "other"),
        ("onboot", "1"),
    ];
    add_guest(world, 8100, GuestType::Qemu, "pve2", Power::Running, &opnsense);
    let dns = [
        ("hostname", "legacy-dns"),
        ("rootfs", "local-lvm:vm-8200-disk-0,size=2G"),
        ("net0", "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:82:00,ip=192.168.1.53/24,type=veth"),
        ("memory", "512"),
        ("swap", "512"),
        ("cores", "1"),
        ("arch", "amd64"),
        ("ostype", "debian"),
        ("unprivileged", "1"),
        ("onboot", "1"),
    ];
    add_guest(world, 8200, GuestType::Lxc, "pve3", Power::Running, &dns);
    add_backup(world, 8000, "nfs:backup/vzdump-qemu-8000-2026_11_15-02_00_00.vma.zst", 400 << 20, &[]);
    // Made by root, with what PVE lets only root set.
    let features = [("features", "keyctl=1,nesting=1")];
    add_backup(world, 8200, "nfs:backup/vzdump-lxc-8200-2026_11_15-02_00_00.tar.zst", 300 << 20, &features);
}

/// A backup of a guest as it is, with some options as they were then.
fn add_backup(world: &mut World, vmid: u32, volid: &str, size: u64, then: &[(&str, &str)]) {
    let Some(mut guest) = world.guests.get(&vmid).cloned() else { return };
    guest.config.extend(strings(then));
    let ending = volid.split_once('.').map_or("", |(_, ending)| ending).to_owned();
    world.volumes.push(Volume {
        volid: volid.to_owned(),
        size,
        used: size,
        format: ending,
        content: "backup".to_owned(),
        vmid: Some(vmid),
        ctime: world.now() - 3 * 86_400,
        bootable: true,
        backup_of: Some(Box::new(guest)),
        ..Volume::default()
    });
}

/// Adds a guest whose volumes are there already.
pub fn add_guest(
    world: &mut World,
    vmid: u32,
    guest_type: GuestType,
    node: &str,
    power: Power,
    config: &[(&str, &str)],
) {
    let mut config = strings(config);
    if guest_type == GuestType::Qemu {
        let (uuid, id) = (world.new_uuid(), world.new_uuid());
        config.insert("smbios1".to_owned(), format!("uuid={uuid}"));
        config.insert("vmgenid".to_owned(), id);
        config.insert("meta".to_owned(), format!("creation-qemu=10.1.2,ctime={}", world.now() - 86_400));
    }
    let pid = if power == Power::Stopped { 0 } else { world.new_pid() };
    let guest = Guest {
        guest_type,
        node: node.to_owned(),
        config,
        power,
        started_ms: world.clock_ms - 3_600_000,
        pid,
        boot_seconds: Some(15),
        ..Guest::default()
    };
    world.guests.insert(vmid, guest);
}

fn scale(world: &mut World, nodes: u32, guests: u32) {
    let nodes = nodes.max(1);
    common_cluster(world, nodes);
    for storage in world.storages.values_mut() {
        storage.size = storage.size.max(u64::from(guests) * 8 * GIB);
    }
    for i in 0..guests {
        let (vmid, node) = (1000 + i, format!("pve{}", i % nodes + 1));
        let disk = format!("local-lvm:vm-{vmid}-disk-0");
        add_disk(world, &node, &disk, 8, vmid, "raw");
        let (name, scsi0, mac) = (format!("scale-{i}"), format!("{disk},size=8G"), world.new_mac());
        let net0 = format!("virtio={mac},bridge=vmbr0");
        let config = [
            ("name", name.as_str()),
            ("scsi0", &scsi0),
            ("net0", &net0),
            ("cores", "2"),
            ("memory", "2048"),
            ("scsihw", "virtio-scsi-single"),
            ("boot", "order=scsi0"),
        ];
        let power = if i % 3 == 0 { Power::Stopped } else { Power::Running };
        add_guest(world, vmid, GuestType::Qemu, &node, power, &config);
    }
}
