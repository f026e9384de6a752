//! `node health`: what needs a person, with and without a link; and the program that asks disks and sensors, by a real shell.

use crate::cli::Scene;
use crate::shell::{Stage, run_command};
use crate::world::{Lab, run};
use pvectl::engine::observe::{index, read_all};
use pvectl::host::health::{self, Health, Measure};
use pvectl::kinds::node_health::{ceph_query, queries, queries_then};
use pvectl::pve::api::Api;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The simulator's state after something was done to it by hand.
fn tamper(scene: &Scene, table: &str, key: &str, value: Value) {
    let text = std::fs::read_to_string(scene.state()).expect("the simulator keeps its state");
    let mut world: Value = serde_json::from_str(&text).expect("it is JSON");
    world["tables"][table][key] = value;
    std::fs::write(scene.state(), world.to_string()).expect("it can be written");
}

fn disk(path: &str, health: &str, wearout: Value, smart: Value) -> Value {
    json!({
        "devpath": path, "size": 500u64 << 30, "model": "Disk 3000", "serial": "S1", "health": health, "wearout": wearout,
        "used": "ZFS", "gpt": 1, "osdid": -1, "type": "ssd", "smart": smart,
    })
}

/// Everything that `node health` asks without a link, through a door of somebody's own: it asks more of PVE's API then.
pub(crate) fn every_request<A: Api>(door: impl Fn(&Lab) -> A) {
    let lab = Lab::homelab();
    lab.sim.with_world(|world| {
        world.table("nodes/disks").insert("pve1".into(), json!([disk("/dev/sda", "PASSED", json!(95), Value::Null)]));
        let pool = json!([{"name": "tank", "health": "ONLINE", "alloc": 1, "size": 100, "detail": {"name": "tank", "state": "ONLINE"}}]);
        world.table("nodes/zfs").insert("pve1".into(), pool);
    });
    let (api, clock) = (door(&lab), lab.sim.clock());
    let index = run(index(&api, &clock, &BTreeSet::new())).expect("it is read");
    let first = queries("pve1", false).into_iter().chain([ceph_query()]).collect();
    let seen = run(read_all(&api, &clock, index.clone(), first)).expect("it is read");
    let then: BTreeSet<_> = queries_then("pve1", &seen).into_iter().collect();
    assert_eq!(then.len(), 2, "a disk and a pool: {then:?}");
    run(read_all(&api, &clock, index, then)).expect("it is read");
}

#[test]
fn a_healthy_cluster_is_said_to_be_well() {
    let scene = Scene::new();
    scene.run("--sim node health").code(0).says("all is well").says("pve3").says("47°C");
    scene.run("--sim node health pve2").code(0).says("pve2");
    scene.run("--sim node health pve9").code(3).says("there is no node `pve9`").says("pve1, pve2, pve3");
    let all: Value = serde_json::from_str(&scene.run("--sim node health -o json").code(0).out).expect("it is JSON");
    assert_eq!((all["nodes"].as_array().map(Vec::len), &all["findings"]), (Some(3), &json!([])));
    assert_eq!(all["nodes"][0]["sensors"][0]["celsius"], 47.0);
}

#[test]
fn what_needs_a_person_is_said_with_its_evidence_and_what_to_do() {
    let scene = Scene::new();
    scene.run("--sim get nodes").code(2);
    scene.run("--sim node health").code(0);
    tamper(
        &scene,
        "nodes/disks",
        "pve1",
        json!([
            disk("/dev/sda", "PASSED", json!(95), Value::Null),
            disk("/dev/nvme0n1", "PASSED", json!("N/A"), Value::Null)
        ]),
    );
    let sda = json!({
        "model_name": "Disk 3000", "serial_number": "S1", "smart_status": {"passed": true}, "temperature": {"current": 61},
        "power_on_time": {"hours": 30000}, "rotation_rate": 0,
        "ata_smart_attributes": {"table": [
            {"id": 5, "value": 99, "raw": {"value": 8}}, {"id": 197, "value": 100, "raw": {"value": 2}}, {"id": 231, "value": 15, "raw": {"value": 85}},
        ]},
    });
    let nvme = json!({
        "model_name": "Fast", "smart_status": {"passed": false},
        "nvme_smart_health_information_log": {"percentage_used": 104, "available_spare": 3, "available_spare_threshold": 10, "media_errors": 7},
    });
    let text = format!(
        "[disk /dev/sda]\n{sda:#}\n[disk /dev/nvme0n1]\n{nvme}\n[sensors]\nk10temp Tctl temp 101000 100000\nnct fan1 fan 900 -\n[end]\n"
    );
    tamper(&scene, "nodes/health", "pve1", text.into());
    let detail = json!({
        "name": "tank", "state": "DEGRADED", "errors": "2 data errors, use '-v' for a list",
        "scan": "scrub repaired 0B in 00:01:23 with 0 errors on Sun Mar  8 00:25:24 2026",
        "children": [{"name": "mirror-0", "state": "DEGRADED", "children": [
            {"name": "/dev/sda3", "state": "ONLINE", "read": 0, "write": 0, "cksum": 12}, {"name": "/dev/sdb3", "state": "FAULTED", "read": 4, "write": 0, "cksum": 0},
        ]}],
    });
    tamper(
        &scene,
        "nodes/zfs",
        "pve1",
        json!([{"name": "tank", "health": "DEGRADED", "alloc": 92, "size": 100, "free": 8, "frag": 1, "dedup": 1.0, "detail": detail}]),
    );
    tamper(
        &scene,
        "cluster/ceph",
        "status",
        json!({"health": {"status": "HEALTH_WARN", "checks": {"OSD_DOWN": {"severity": "HEALTH_WARN", "summary": {"message": "1 osds down"}}}}}),
    );
    let said = scene.run("--sim node health").code(1);
    for words in [
        "critical: pve1 disk /dev/sda: Disk 3000: 2 sectors cannot be read",
        "warning: pve1 disk /dev/sda: Disk 3000: 8 sectors were replaced by spare ones",
        "warning: pve1 disk /dev/sda: Disk 3000: 85% of its promised life is used up",
        "warning: pve1 disk /dev/sda: Disk 3000: 61 °C",
        "critical: pve1 disk /dev/nvme0n1: Fast: SMART says that it fails",
        "critical: pve1 disk /dev/nvme0n1: Fast: 104% of its promised life is used up",
        "critical: pve1 disk /dev/nvme0n1: Fast: 3% of its spare blocks are left, 10% are the least",
        "critical: pve1 disk /dev/nvme0n1: Fast: 7 errors could not be corrected",
        "critical: pve1 sensor k10temp Tctl: 101 °C, and 100 °C is critical",
        "warning: pve1 pool tank: it is DEGRADED",
        "warning: pve1 pool tank: /dev/sda3 is ONLINE: 0 read, 0 write, 12 checksum errors",
        "warning: pve1 pool tank: /dev/sdb3 is FAULTED: 4 read, 0 write, 0 checksum errors",
        "critical: pve1 pool tank: data are damaged: 2 data errors",
        "critical: pve1 pool tank: 92% of",
        "warning: pve1 pool tank: its last scrub was 2",
        "warning: ceph: HEALTH_WARN OSD_DOWN: 1 osds down",
        "do: zpool status tank names the part",
    ] {
        assert!(said.out.contains(words), "`{words}` is not said:\n{}", said.out);
    }
    let first_warning = said.out.find("\nwarning: ").expect("there are warnings");
    assert!(said.out[first_warning..].find("\ncritical: ").is_none(), "the worst comes first:\n{}", said.out);
    scene.run("--sim node health pve2 -o json").code(1).says("HEALTH_WARN");
}

#[test]
fn without_a_link_the_api_tells_what_it_knows_and_the_rest_is_named() {
    let scene = Scene::new();
    scene.run("--sim node health").code(0);
    let ata = json!({"health": "PASSED", "type": "ata", "attributes": [
        {"id": "  5", "name": "Reallocated_Sector_Ct", "raw": "3", "value": 100}, {"id": "194", "name": "Temperature_Celsius", "raw": "38 (Min/Max 20/45)", "value": 62},
    ]});
    let nvme = json!({"health": "PASSED", "type": "text", "text": "SMART/Health Information (NVMe Log 0x02)\nTemperature:      71 Celsius\nAvailable Spare:      100%\nAvailable Spare Threshold:  10%\nPower On Hours:    12,345\nMedia and Data Integrity Errors:   0\n"});
    tamper(
        &scene,
        "nodes/disks",
        "pve1",
        json!([disk("/dev/sda", "PASSED", json!(15), ata), disk("/dev/nvme0n1", "PASSED", json!(90), nvme)]),
    );
    let fault = "--sim --sim-fault 501=no@GET:/link/pve1/health* node health pve1";
    let said = scene.run(fault).code(1);
    for words in [
        "warning: pve1 disk /dev/sda: Disk 3000: 3 sectors were replaced",
        "warning: pve1 disk /dev/sda: Disk 3000: 85% of its promised life",
        "warning: pve1 disk /dev/nvme0n1: Disk 3000: 71 °C",
    ] {
        assert!(said.out.contains(words), "`{words}` is not said:\n{}", said.out);
    }
    assert!(said.out.contains("12345"), "{}", said.out);
    assert!(
        said.err.contains("pve1: sensors, and wear and temperature of some disks, are not known: no"),
        "{}",
        said.err
    );
}

// ---- the program -----------------------------------------------------------------------------------------------------

const LSBLK: &str = r#"
[ "$*" = "-d -n -o PATH,TYPE" ] || { echo "lsblk does not take: $*" >&2; exit 64; }
printf '/dev/sda disk\n/dev/sr0 rom\n/dev/zd0 disk\n/dev/nvme0n1 disk\n'
"#;
const SMARTCTL: &str = r#"
case "$*" in
"-j -n standby -i -H -A /dev/sda") printf '{\n  "smartctl": {"exit_status": 2, "messages": [{"string": "Device is in STANDBY mode, exit(2)", "severity": "information"}]}\n}\n'; exit 2 ;;
"-j -n standby -i -H -A /dev/nvme0n1") printf '{\n  "model_name": "Fast",\n  "list": [\n  ],\n  "temperature": {\n    "current": 41\n  }\n}\n' ;;
*) echo "smartctl does not take: $*" >&2; exit 64 ;;
esac
"#;

#[test]
fn the_program_asks_every_disk_and_wakes_none() {
    let stage = Stage::new(&[("lsblk", LSBLK), ("smartctl", SMARTCTL)]);
    let chip = stage.path("hwmon/hwmon0");
    std::fs::create_dir_all(&chip).expect("a folder");
    for (file, text) in [
        ("name", "core temp\n"),
        ("temp1_input", "47000\n"),
        ("temp1_label", "Package id 0\n"),
        ("temp1_crit", "100000\n"),
        ("temp2_input", "39000\n"),
        ("fan1_input", "900\n"),
    ] {
        std::fs::write(chip.join(file), text).expect("a file");
    }
    let command = health::look();
    let input = command.input.replace("hwmon=/sys/class/hwmon", &format!("hwmon={}", stage.path("hwmon").display()));
    let (code, out, err) = run_command(&stage, &command, &input);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let seen = Health::read(&out).expect("it can be read");
    let disks: Vec<(&str, bool, Option<i64>)> =
        seen.disks.iter().map(|d| (d.device.as_str(), d.asleep, d.celsius)).collect();
    assert_eq!(disks, [("/dev/sda", true, None), ("/dev/nvme0n1", false, Some(41))]);
    let sensors: Vec<(&str, &str, Measure, i64, Option<i64>)> =
        seen.sensors.iter().map(|s| (s.chip.as_str(), s.label.as_str(), s.measure, s.value, s.critical)).collect();
    assert_eq!(
        sensors,
        [
            ("core_temp", "Package_id_0", Measure::Temperature, 47_000, Some(100_000)),
            ("core_temp", "temp2", Measure::Temperature, 39_000, None),
            ("core_temp", "fan1", Measure::Fan, 900, None),
        ]
    );
    assert!(Health::read("[sensors]\n").is_err(), "what was cut off is not taken for all");
}
