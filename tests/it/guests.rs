//! Guests in full: every option of PVE's configuration API has its place in a manifest, and whatever is written there is
//! found again: what was applied differs in nothing, and what PVE recorded is exported as it is.

use crate::apidoc::{ApiDoc, say};
use crate::laws::round_trip;
use crate::world::{Lab, desired, differences, plain};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestError, TestRunner};
use pvectl::base::id::GuestType;
use pvectl::kinds::guest::mapping::slot_number;
use pvectl::kinds::guest::table::{At, Row, buses, engine_managed, field_of, rows};
use serde_json::{Value, json};
use std::collections::BTreeSet;

// ---- every option has its place --------------------------------------------------------------------------------------

/// Parts that no field is: what the engine writes itself, with the reason.
const OWN: &[(&str, &str)] = &[
    ("file", "storage, size, volume and iso say it"),
    ("volume", "storage, size, volume, hostPath and device say it"),
    ("size", "PVE's own record; the field `size` grows the volume"),
    ("format", "PVE's choice for the storage; read off the volume's name"),
    ("media", "iso says it"),
    ("import-from", "where a guest comes from is said by `from`"),
    ("type", "PVE has one type of container interface"),
];

/// What an endpoint declares, by the guest's type.
const ENDPOINTS: &[(GuestType, &str, &str)] = &[
    (GuestType::Qemu, "POST", "/nodes/{node}/qemu"),
    (GuestType::Qemu, "PUT", "/nodes/{node}/qemu/{vmid}/config"),
    (GuestType::Qemu, "POST", "/nodes/{node}/qemu/{vmid}/config"),
    (GuestType::Lxc, "POST", "/nodes/{node}/lxc"),
    (GuestType::Lxc, "PUT", "/nodes/{node}/lxc/{vmid}/config"),
];

fn parts_of(guest: GuestType, option: &str) -> Vec<&'static Row> {
    let of = |row: &&Row| match row.at {
        At::Part(o, _) => o == option,
        At::Numbered(stem, _) => slot_number(option, stem).is_some(),
        At::SlotPart(_) => match row.list() {
            None => option == "rootfs",
            Some(list) => buses(guest, list).iter().any(|b| slot_number(option, b).is_some()) && row.fits(option),
        },
        At::Option(_) | At::Slot | At::Volume | At::Index => false,
    };
    rows(guest).iter().filter(of).collect()
}

fn part(row: &Row) -> &'static str {
    match row.at {
        At::Part(_, part) | At::SlotPart(part) | At::Numbered(_, part) => part,
        At::Option(_) | At::Slot | At::Volume | At::Index => "",
    }
}

#[test]
fn every_option_of_a_guest_has_its_place_in_a_manifest() {
    let Some(doc) = ApiDoc::load() else { return };
    let (mut typed, mut open, mut managed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut wrong = Vec::new();
    for (guest, method, path) in ENDPOINTS {
        let declared = doc.0[*path][*method]["parameters"]["properties"].as_object().expect("parameters");
        for (name, schema) in declared {
            let option = name.replace("[n]", "0");
            let key = format!("{guest} {name}");
            match (field_of(*guest, &option), engine_managed(&option)) {
                (Some(_), None) => typed.insert(key.clone()),
                (None, None) => open.insert(key.clone()),
                (None, Some(_)) => managed.insert(key.clone()),
                (Some(field), Some(why)) => {
                    wrong.push(format!("{key} is `{field}`, and yet: {why}"));
                    continue;
                }
            };
            // Of what is typed, every part is.
            let Some(parts) = schema["format"].as_object().filter(|_| typed.contains(&key)) else { continue };
            let ours: BTreeSet<&str> = parts_of(*guest, &option).into_iter().map(part).collect();
            for (name, schema) in parts {
                let alias = !schema["alias"].is_null();
                let own = OWN.iter().any(|(part, _)| part == name);
                if !alias && !own && !ours.contains(name.as_str()) {
                    wrong.push(format!("{key}: no field is `{name}`"));
                }
            }
            for ours in ours.iter().filter(|p| !parts.contains_key(**p)) {
                wrong.push(format!("{key}: PVE does not know `{ours}`"));
            }
        }
    }
    say(&format!("{} typed, {} through options, {} of the engine", typed.len(), open.len(), managed.len()));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(typed.len() > 85 && open.len() > 10, "{} and {}", typed.len(), open.len());
    // What goes through `options` really does.
    let lab = Lab::homelab();
    for key in &open {
        let (guest, option) = key.split_once(' ').expect("two words");
        let option = option.replace("[n]", "0");
        let set = if guest == "qemu" {
            desired(&vm(&json!({"options": {option: "1"}})))
        } else {
            desired(&ct(&json!({"options": {option: "1"}})))
        };
        let plan = lab.preview(&set, &plain());
        assert!(plan.deltas.iter().all(|d| d.problems.is_empty()), "{key}: {}", differences(&plan));
    }
}

#[test]
fn every_row_of_the_table_is_an_option_of_pve() {
    let Some(doc) = ApiDoc::load() else { return };
    for (guest, path) in
        [(GuestType::Qemu, "/nodes/{node}/qemu/{vmid}/config"), (GuestType::Lxc, "/nodes/{node}/lxc/{vmid}/config")]
    {
        let declared = doc.0[path]["PUT"]["parameters"]["properties"].as_object().expect("parameters");
        for row in rows(guest) {
            let slot = row.list().and_then(|l| buses(guest, l).first()).map_or(String::new(), |bus| format!("{bus}0"));
            let Some(option) = row.option(&slot) else { continue };
            let stem = option.trim_end_matches('0');
            let there = declared.contains_key(&option) || declared.contains_key(&format!("{stem}[n]"));
            assert!(there, "{}: PVE has no `{option}`", row.path);
        }
    }
}

// ---- what was applied differs in nothing -----------------------------------------------------------------------------

fn document(kind: &str, base: Value, more: &Value) -> String {
    let mut spec = base;
    for (key, value) in more.as_object().expect("a spec") {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "pvectl/v1alpha1", "kind": kind, "metadata": {"name": "any"}, "spec": spec}).to_string()
}

fn vm(more: &Value) -> String {
    let base = json!({"vmid": 150, "node": "pve1", "update": {"reboot": "IfRequired"}});
    document("VirtualMachine", base, more)
}

fn ct(more: &Value) -> String {
    let from = json!({"osTemplate": "local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz"});
    let root = json!({"storage": "local-lvm", "size": "1Gi"});
    document("Container", json!({"vmid": 150, "node": "pve1", "from": from, "rootfs": root}), more)
}

/// Values of fields: the path in the spec (`disks.scsi0` is an entry of a list), and values that PVE takes.
type Samples = Vec<(&'static str, Vec<Value>)>;

fn of_both() -> Samples {
    vec![
        ("tags", vec![json!(["b", "a"]), json!(["X-1", "a"]), json!([])]),
        ("description", vec![json!("one"), json!("two\nlines  \n"), json!("")]),
        ("power", vec![json!("Running"), json!("Stopped"), json!("Unmanaged")]),
        ("protection", vec![json!(false)]),
        ("startup.onBoot", vec![json!(true), json!(false)]),
        ("startup.order", vec![json!(0), json!(7)]),
        ("startup.upDelay", vec![json!("90s"), json!("2m")]),
        ("startup.downDelay", vec![json!("1h")]),
        ("hardware.cpuLimit", vec![json!(0), json!(1.5), json!(2.0)]),
        ("hardware.cpuUnits", vec![json!(100), json!(2000)]),
        ("hardware.memory", vec![json!("512Mi"), json!("1Gi"), json!("1536Mi")]),
        ("networks.net0.bridge", vec![json!("vmbr0"), json!("vmbr1")]),
        ("networks.net0.vlan", vec![json!(20)]),
        ("networks.net0.trunks", vec![json!([2, 3]), json!([])]),
        ("networks.net0.mac", vec![json!("bc:24:11:00:00:0a")]),
        ("networks.net0.firewall", vec![json!(true), json!(false)]),
        ("networks.net0.linkDown", vec![json!(true), json!(false)]),
        ("networks.net0.rateLimit", vec![json!(10.0), json!(0.5)]),
        ("networks.net0.mtu", vec![json!(1400)]),
        ("networks.net0.ip", vec![json!("dhcp"), json!("10.0.0.9/24")]),
        ("networks.net0.gateway", vec![json!("10.0.0.1")]),
        ("networks.net0.gateway6", vec![json!("fd00::1")]),
        ("networks.net0.ip6", vec![json!("auto"), json!("fd00::9/64")]),
    ]
}

fn of_vms() -> Samples {
    let uuid = "7f279aec-a867-4cd2-9600-464f6e7290cb";
    let mut all = of_both();
    all.extend(vec![
        ("hardware.cores", vec![json!(1), json!(4)]),
        ("hardware.sockets", vec![json!(1), json!(2)]),
        ("hardware.vcpus", vec![json!(1)]),
        ("hardware.affinity", vec![json!("0,5,8-11")]),
        ("hardware.cpu", vec![json!("host"), json!("x86-64-v2-AES,flags=+aes;-pcid"), json!({"type": "kvm64"})]),
        ("hardware.cpu", vec![json!({"type": "host", "flags": ["+aes"], "hidden": true, "hvVendorId": "x", "physBits": "host", "guestPhysBits": 40, "reportedModel": "kvm64"})]),
        ("hardware.balloon", vec![json!(0), json!("256Mi")]),
        ("hardware.shares", vec![json!(1000), json!(0)]),
        ("hardware.numa", vec![json!(true), json!(false)]),
        ("hardware.hugePages", vec![json!("2"), json!("any")]),
        ("hardware.keepHugePages", vec![json!(true)]),
        ("hardware.allowKsm", vec![json!(true), json!(false)]),
        ("hardware.machine", vec![json!("q35"), json!({"type": "q35", "viommu": "intel", "awBits": 48, "enableS3": true, "enableS4": false})]),
        ("hardware.bios", vec![json!("ovmf"), json!("seabios")]),
        ("hardware.arch", vec![json!("x86_64")]),
        ("hardware.osType", vec![json!("l26"), json!("other"), json!("win11")]),
        ("hardware.scsiController", vec![json!("virtio-scsi-single"), json!("lsi")]),
        ("hardware.acpi", vec![json!(true), json!(false)]),
        ("hardware.kvm", vec![json!(true), json!(false)]),
        ("hardware.tablet", vec![json!(true), json!(false)]),
        ("hardware.keyboard", vec![json!("de-ch")]),
        ("hardware.localTime", vec![json!(true), json!(false)]),
        ("hardware.startDate", vec![json!("now"), json!("2026-11-21T10:00:00")]),
        ("hardware.hotplug", vec![json!(["disk", "network"]), json!(["network", "disk", "usb"]), json!(["0"])]),
        ("hardware.vmGenId", vec![json!(uuid), json!("0")]),
        ("hardware.guestAgent", vec![json!(true), json!(false), json!({"enabled": true, "type": "isa", "freezeFs": false, "fstrimClonedDisks": true})]),
        ("hardware.vga", vec![json!("virtio,memory=64"), json!("std"), json!({"type": "qxl", "memory": 32, "clipboard": "vnc"})]),
        ("hardware.rng", vec![json!({"source": "/dev/urandom"}), json!({"source": "/dev/hwrng", "maxBytes": 0, "period": 500})]),
        ("hardware.watchdog", vec![json!({"model": "i6300esb"}), json!({"model": "ib700", "action": "reset"})]),
        ("hardware.audio", vec![json!({"device": "AC97"}), json!({"device": "ich9-intel-hda", "driver": "none"})]),
        ("hardware.smbios", vec![json!({"uuid": uuid}), json!({"manufacturer": "Acme, Söhne = Co", "product": "p q", "version": "1", "serial": "s", "sku": "k", "family": "f"})]),
        ("hardware.spice", vec![json!({"folderSharing": true}), json!({"folderSharing": false, "videoStreaming": "all"})]),
        ("hardware.ivshmem", vec![json!({"size": 32}), json!({"size": 64, "name": "shared"})]),
        ("bootOrder", vec![json!(["net0", "scsi0"]), json!(["scsi0"])]),
        ("hookScript", vec![]),
        ("numaNodes.numa0", vec![json!({"cpus": "0-1", "memory": "512Mi"}), json!({"cpus": "0", "memory": "1Gi", "hostNodes": "0", "policy": "bind"})]),
        ("serialPorts.serial0", vec![json!({"device": "socket"}), json!({"device": "/dev/ttyS0"})]),
        ("usb.usb0", vec![json!({"host": "spice", "usb3": true}), json!({"mapping": "stick"}), json!({"host": "1d6b:0002", "usb3": false})]),
        ("pci.hostpci0", vec![
            json!({"mapping": "gpu", "pcie": true}),
            json!({"host": "0000:01:00.0", "romBar": false, "romFile": "x.bin", "xVga": true, "legacyIgd": false, "mdev": "nvidia-35", "driver": "keep", "deviceId": "0x1234", "vendorId": "0x10de", "subDeviceId": "0x1", "subVendorId": "0x2"}),
        ]),
        ("virtiofs.virtiofs0", vec![json!({"directory": "share"}), json!({"directory": "other", "cache": "always", "directIo": true, "exposeAcl": true, "exposeXattr": true})]),
        ("disks.scsi0", vec![
            json!({"storage": "local-lvm", "size": "1Gi"}),
            json!({"storage": "local-lvm", "size": "1Gi", "cache": "none", "discard": false, "backup": true, "replicate": true, "ssd": false, "readError": "report", "writeError": "enospc"}),
            json!({"storage": "local-lvm", "size": "1Gi", "cache": "writeback", "aio": "threads", "discard": true, "ssd": true, "ioThread": true, "backup": false, "replicate": false, "readOnly": true, "shared": true, "snapshot": true, "detectZeroes": false, "readError": "stop", "writeError": "ignore"}),
            json!({"storage": "local-lvm", "size": "1Gi", "serial": "SN 1,2=3/ü", "wwn": "0x5000c500a1b2c3d4", "vendor": "Acme", "product": "Disk", "queues": 4, "scsiBlock": false}),
            json!({"storage": "local-lvm", "size": "1Gi", "limits": {"iops": 100, "iopsMax": 200, "iopsMaxLength": "60s", "mbps": 10.5, "mbpsMax": 20}}),
            json!({"storage": "local-lvm", "size": "1Gi", "limits": {"iopsRd": 1, "iopsRdMax": 2, "iopsRdMaxLength": "3s", "iopsWr": 4, "iopsWrMax": 5, "iopsWrMaxLength": "6s", "mbpsRd": 1.5, "mbpsRdMax": 2, "mbpsWr": 3, "mbpsWrMax": 4}}),
            json!({"storage": "nfs", "size": "1Gi", "limits": {"bps": 1_000_000, "bpsMaxLength": "1s", "bpsRd": 2, "bpsRdMaxLength": "2s", "bpsWr": 3, "bpsWrMaxLength": "3s"}}),
            json!({"storage": "nfs", "size": "1Gi"}),
        ]),
        ("disks.ide0", vec![json!({"storage": "local-lvm", "size": "1Gi", "model": "Old disk"}), json!({"storage": "local-lvm", "size": "1Gi"})]),
        ("disks.sata0", vec![json!({"iso": "none"}), json!({"iso": "local:iso/debian-12.iso"})]),
        ("disks.virtio0", vec![json!({"storage": "nfs", "size": "1536Mi"})]),
        ("disks.efidisk0", vec![json!({"storage": "local-lvm", "efiType": "4m", "preEnrolledKeys": true, "msCert": "2023"})]),
        ("disks.tpmstate0", vec![json!({"storage": "local-lvm", "version": "v2.0"})]),
        ("networks.net0.model", vec![json!("virtio"), json!("vmxnet3"), json!("e1000-82540em")]),
        ("networks.net0.queues", vec![json!(4)]),
        ("cloudInit.storage", vec![json!("local-lvm")]),
        ("cloudInit.user", vec![json!("ops")]),
        ("cloudInit.sshKeys", vec![json!(["ssh-ed25519 AAAA+b/c= a@b", "ssh-rsa BBBB c d"]), json!(["ssh-rsa BBBB x"])]),
        ("cloudInit.nameservers", vec![json!(["9.9.9.9", "10.0.0.53"]), json!([])]),
        ("cloudInit.searchDomain", vec![json!("lan")]),
        ("cloudInit.upgrade", vec![json!(true), json!(false)]),
        ("cloudInit.type", vec![json!("nocloud"), json!("configdrive2")]),
        ("cloudInit.custom", vec![json!({"user": "local:snippets/u.yaml"}), json!({"network": "local:snippets/n.yaml", "meta": "local:snippets/m.yaml", "vendor": "local:snippets/v.yaml"})]),
    ]);
    all
}

fn of_cts() -> Samples {
    let mut all = of_both();
    all.extend(vec![
        ("unprivileged", vec![json!(true)]),
        ("hardware.cores", vec![json!(1), json!(2)]),
        ("hardware.swap", vec![json!("0Mi"), json!("512Mi")]),
        ("hardware.arch", vec![json!("amd64")]),
        ("osType", vec![json!("alpine"), json!("unmanaged")]),
        ("nameservers", vec![json!(["9.9.9.9", "1.1.1.1"]), json!([])]),
        ("searchDomain", vec![json!("lan")]),
        ("timeZone", vec![json!("host"), json!("Europe/Berlin")]),
        ("entryPoint", vec![json!("/sbin/init"), json!("/bin/app --x")]),
        ("env", vec![json!(["A=1", "B=two words"])]),
        ("debug", vec![json!(true), json!(false)]),
        ("console", vec![json!({"enabled": false}), json!({"enabled": true, "mode": "shell", "ttys": 4}), json!({"mode": "tty"})]),
        ("features", vec![json!({"nesting": true}), json!({"nesting": false, "keyctl": true, "fuse": true, "mknod": true, "mount": ["nfs", "cifs"], "forceRwSys": true})]),
        ("rootfs", vec![
            json!({"storage": "local-lvm", "size": "1Gi", "acl": true, "quota": true, "readOnly": false, "replicate": false, "shared": true, "mountOptions": ["noatime", "nosuid"]}),
            json!({"storage": "local-lvm", "size": "1Gi"}),
        ]),
        ("mounts.mp0", vec![
            json!({"storage": "local-lvm", "size": "1Gi", "path": "/srv"}),
            json!({"storage": "local-lvm", "size": "1Gi", "path": "/srv/data", "acl": false, "backup": true, "quota": false, "readOnly": true, "replicate": false, "shared": true, "keepAttrs": true, "mountOptions": ["discard"]}),
        ]),
        ("mounts.mp1", vec![json!({"hostPath": "/srv", "path": "/mnt/bind"}), json!({"hostPath": "/home", "path": "/mnt/bind"})]),
        ("mounts.mp2", vec![json!({"device": "/dev/sdb1", "path": "/mnt/device"})]),
        ("devices.dev0", vec![json!({"path": "/dev/ttyUSB0"}), json!({"path": "/dev/ttyUSB1", "mode": "0660", "uid": 100, "gid": 0, "denyWrite": true})]),
        ("networks.net0.name", vec![json!("eth0"), json!("lan0")]),
        ("networks.net0.hostManaged", vec![json!(true), json!(false)]),
    ]);
    all
}

fn put(into: &mut Value, words: &[&str], value: Value) {
    match words {
        [list, slot, rest @ ..] if slot.ends_with(|c: char| c.is_ascii_digit()) => {
            let entries = into[*list].as_array().cloned().unwrap_or_default();
            let (mut same, mut others): (Vec<Value>, Vec<Value>) =
                entries.into_iter().partition(|e| e["slot"] == *slot);
            let mut entry = same.pop().unwrap_or_else(|| json!({"slot": slot}));
            if rest.is_empty() {
                for (key, value) in value.as_object().expect("an entry") {
                    entry[key] = value.clone();
                }
            } else {
                put(&mut entry, rest, value);
            }
            others.push(entry);
            into[*list] = others.into();
        }
        [last] => into[*last] = value,
        [word, rest @ ..] => {
            if into[*word].is_null() {
                into[*word] = json!({});
            }
            put(&mut into[*word], rest, value);
        }
        [] => {}
    }
}

/// A spec with some of the fields, each with some value; `picks` are as many as there are samples.
fn spec(samples: &Samples, picks: &[(bool, Index)]) -> Value {
    let mut spec = json!({});
    for ((path, values), (on, which)) in samples.iter().zip(picks) {
        if *on && !values.is_empty() {
            put(&mut spec, &path.split('.').collect::<Vec<_>>(), which.get(values).clone());
        }
    }
    spec
}

fn applied_twice(make: fn(&Value) -> String, samples: &Samples, states: &[Vec<(bool, Index)>]) -> Result<(), String> {
    let lab = Lab::homelab();
    let api = lab.sim.api();
    for (number, picks) in states.iter().enumerate() {
        let text = make(&spec(samples, picks));
        let set = desired(&text);
        lab.install();
        let what = match lab.try_apply(&api, &pvectl::kinds::list::KINDS, &set, &plain()) {
            Ok(report) if report.converged() => String::new(),
            Ok(report) => format!("not converged: {}", crate::world::open(&report)),
            Err(halt) => format!("halted: {}", crate::world::stopped(&halt)),
        };
        let rest = differences(&lab.preview(&set, &plain()));
        if !what.is_empty() || !rest.is_empty() {
            return Err(format!("state {number}: {what}\nleft: {rest}\nof: {text}"));
        }
    }
    Ok(())
}

fn any_applied_twice(make: fn(&Value) -> String, samples: &Samples) {
    let picks = || prop::collection::vec(any::<(bool, Index)>(), samples.len());
    // Thousands were tried when the table was made; a run of all tests has time for some.
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(250);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(picks(), picks()), |(first, second)| {
        applied_twice(make, samples, &[first, second]).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, _)) => panic!("{why}"),
        Err(TestError::Abort(why)) => panic!("aborted: {why}"),
    }
}

#[test]
fn any_machine_that_was_applied_differs_in_nothing() {
    any_applied_twice(vm, &of_vms());
}

#[test]
fn any_container_that_was_applied_differs_in_nothing() {
    any_applied_twice(ct, &of_cts());
}

#[test]
fn the_samples_say_every_field() {
    for (guest, samples) in [(GuestType::Qemu, of_vms()), (GuestType::Lxc, of_cts())] {
        let mut said = BTreeSet::new();
        for (path, values) in &samples {
            said.insert((*path).to_owned());
            let mut walk: Vec<(String, &Value)> = values.iter().map(|v| ((*path).to_owned(), v)).collect();
            while let Some((at, value)) = walk.pop() {
                said.insert(at.clone());
                for (key, inner) in value.as_object().into_iter().flatten() {
                    walk.push((format!("{at}.{key}"), inner));
                }
            }
        }
        let unsaid: Vec<&str> = rows(guest)
            .iter()
            .map(|row| row.path)
            // Names are metadata's, a pool must be there, and a volume is plugged in by a test of its own.
            .filter(|path| !matches!(*path, "name" | "pool" | "hookScript" | "disks.*.volume" | "mounts.*.volume"))
            .filter(|path| {
                let (before, after) = path.split_once('*').unwrap_or((path, ""));
                !said
                    .iter()
                    .any(|s| if path.contains('*') { s.starts_with(before) && s.ends_with(after) } else { s == path })
            })
            .collect();
        assert!(unsaid.is_empty(), "{guest}: {unsaid:?}");
    }
}

// ---- what PVE recorded is exported as it is --------------------------------------------------------------------------

/// Every configuration of a guest that was recorded, as the only one of its type in a cluster; `None` where the recordings
/// are absent and may be.
pub(crate) fn recorded(bend: fn(&mut String)) -> Option<Vec<(String, Lab)>> {
    let beside = || std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/pve");
    let path = std::env::var_os("PVECTL_PVE_DATA").map_or_else(beside, Into::into).join("transcripts.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else {
        let required = std::env::var_os("PVECTL_TEST_REQUIRE_ALL").is_some_and(|v| v == "1");
        assert!(!required, "{} cannot be read", path.display());
        say(&format!("skipped: {} cannot be read", path.display()));
        return None;
    };
    let mut tried = BTreeSet::new();
    let mut labs = Vec::new();
    for call in text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a recording is JSON")) {
        let at = call["path"].as_str().unwrap_or("");
        let guest = match at.split('/').nth(3) {
            Some("qemu") => GuestType::Qemu,
            Some("lxc") => GuestType::Lxc,
            _ => continue,
        };
        let data = &call["response"]["data"];
        let config: Vec<(String, Value)> = match (at.rsplit('/').next(), data) {
            (Some("config"), Value::Object(map)) => map.clone().into_iter().collect(),
            (Some("pending"), Value::Array(rows)) => rows
                .iter()
                .filter_map(|r| Some((r["key"].as_str()?.to_owned(), r["value"].clone())))
                .filter(|(_, value)| !value.is_null())
                .collect(),
            _ => continue,
        };
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let config = config.iter().map(|(k, v)| (k.clone(), text(v))).filter(|(k, _)| k != "digest" && k != "parent");
        let config: std::collections::BTreeMap<String, String> = config.collect();
        if call["method"] != "GET" || !tried.insert(format!("{at} {config:?}")) {
            continue;
        }
        let lab = Lab::homelab();
        lab.sim.with_world(|world| {
            let stranger = if guest == GuestType::Qemu { 8100 } else { 8200 };
            let held = world.guests.get_mut(&stranger).expect("a stranger");
            held.config = config;
            held.config.retain(|key, _| key != "snaptime");
            let key = if guest == GuestType::Qemu { "name" } else { "hostname" };
            let mut name = held.config.remove(key).unwrap_or_default();
            bend(&mut name);
            if !name.is_empty() {
                held.config.insert(key.to_owned(), name);
            }
            held.power = pvectl::sim::world::Power::Stopped;
            world.collect_statistics();
        });
        labs.push((at.to_owned(), lab));
    }
    say(&format!("{} recorded configurations", labs.len()));
    assert!(labs.len() >= 25, "only {} configurations", labs.len());
    Some(labs)
}

#[test]
fn every_recorded_guest_is_exported_as_it_is() {
    // A name of PVE's is none of ours where it has capitals; that is told apart where they are imported.
    let plain = |name: &mut String| {
        *name = if name.is_empty() { "unnamed".to_owned() } else { name.to_lowercase() };
    };
    for (at, lab) in recorded(plain).into_iter().flatten() {
        match round_trip(&lab, |_| {}) {
            Ok(found) => assert!(found >= 3, "{found}"),
            Err(why) => panic!("{at}: {why}"),
        }
    }
}

// ---- disks without fear ----------------------------------------------------------------------------------------------

#[test]
fn a_volume_goes_through_its_life_without_being_deleted() {
    let life = crate::corpus::LIVES.iter().find(|l| l.name.starts_with("machine with everything")).expect("a life");
    let lab = Lab::homelab();
    let apply = |state: &str| {
        lab.install();
        lab.apply(&desired(state), &plain());
        lab.world().guests[&121].config.clone()
    };
    let first = apply(life.states[0]);
    let volume = |slot: &str| first[slot].split(',').next().expect("a volume").to_owned();
    let (system, data) = (volume("scsi0"), volume("scsi1"));
    assert!(system.starts_with("local-lvm:vm-121-disk-"), "{system}");
    let second = apply(life.states[1]);
    assert!(second["scsi0"].starts_with("nfs:"), "moved: {}", second["scsi0"]);
    assert_eq!(second.get("scsi1"), None, "taken out");
    assert_eq!(second["unused0"], data, "and kept");
    assert!(lab.world().volume(&system, "pve1").is_none(), "the source of the move is gone");
    let third = apply(life.states[2]);
    assert!(third["virtio3"].starts_with(&data), "plugged in again: {}", third["virtio3"]);
    assert_eq!(third.get("unused0"), None);
    assert!(third.contains_key("sata0"), "what left without `Detach` stays");
}

#[test]
fn a_move_with_snapshots_keeps_its_source() {
    let lab = Lab::homelab();
    let on = |storage: &str| desired(&vm(&json!({"disks": [{"slot": "scsi0", "storage": storage, "size": "1Gi"}]})));
    lab.apply(&on("local-lvm"), &plain());
    let deletes = |lab: &Lab| {
        let plan = lab.preview(&on("nfs"), &plain());
        let step = plan.deltas.iter().flat_map(|d| &d.steps).find(|s| s.call.path.ends_with("/move_disk")).cloned();
        step.expect("a move").call.params.iter().any(|(k, v)| k == "delete" && v == "1")
    };
    assert!(deletes(&lab));
    lab.sim.with_world(|w| w.edit_guest(150, "parent", Some("before")));
    assert!(!deletes(&lab), "a snapshot may still need it");
}
