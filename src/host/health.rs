//! A node's disks and sensors: the program that asks smartctl and the kernel, and what they say, as values.

use crate::host::fed::program;
use crate::host::operation::Command;
use crate::host::token::Token;
use serde_json::Value;
use std::time::Duration;

const PROGRAM: &str = include_str!("program/health.sh");

/// Some disks behind controllers take seconds each.
const TIMEOUT: Duration = Duration::from_secs(120);
const BYTES_MAX: usize = 4 << 20;

/// The command that looks.
pub fn look() -> Command {
    program(PROGRAM, &[Token::own("health")], &[], TIMEOUT, BYTES_MAX)
}

/// What SMART says of a disk. What a disk does not tell is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Smart {
    /// `/dev/sda`.
    pub device: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Its own verdict.
    pub passed: Option<bool>,
    /// In degrees Celsius.
    pub celsius: Option<i64>,
    /// How long it ran, in hours.
    pub hours: Option<u64>,
    /// How much of its life is used up, in percent; above 100 where it lives longer than promised.
    pub worn_percent: Option<u64>,
    /// Sectors that were replaced by spare ones.
    pub reallocated: Option<u64>,
    /// Sectors that could not be read, and wait to be replaced.
    pub pending: Option<u64>,
    /// Errors that could not be corrected: media errors of an NVMe disk, offline uncorrectable sectors of another.
    pub uncorrectable: Option<u64>,
    /// Spare blocks of an NVMe disk that are left, and how few are too few; in percent.
    pub spare: Option<(u64, u64)>,
    /// It sleeps, and was not woken.
    pub asleep: bool,
}

/// What a sensor measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// A temperature, in thousandths of a degree Celsius.
    Temperature,
    /// A fan, in turns a minute.
    Fan,
}

/// A sensor of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sensor {
    /// Of which chip: `coretemp`.
    pub chip: String,
    /// What it is on: `Package_id_0`.
    pub label: String,
    /// What it measures.
    pub measure: Measure,
    /// The value.
    pub value: i64,
    /// From where on it is critical, where the chip says so.
    pub critical: Option<i64>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Health {
    /// Disks.
    pub disks: Vec<Smart>,
    /// Sensors.
    pub sensors: Vec<Sensor>,
    /// Programs that the node does not have.
    pub missing: Vec<String>,
}

/// Attributes whose normalised value is the share of its life that an SSD has left (drivedb.h of smartmontools).
const LIFE_LEFT: [u64; 5] = [231, 202, 233, 169, 177];

fn smart(device: &str, text: &str) -> Smart {
    // What is no JSON says nothing; the disk is shown all the same.
    let v: Value = serde_json::from_str(text).unwrap_or_default();
    let word = |key: &str| v[key].as_str().unwrap_or_default().to_owned();
    let table = v["ata_smart_attributes"]["table"].as_array();
    let attribute = |id: u64| table.into_iter().flatten().find(|row| row["id"] == id);
    let raw = |id: u64| attribute(id).and_then(|row| row["raw"]["value"].as_u64());
    let nvme = &v["nvme_smart_health_information_log"];
    let left = || LIFE_LEFT.iter().find_map(|id| attribute(*id)?["value"].as_u64());
    let turns = v["rotation_rate"].as_u64().is_some_and(|rate| rate > 0);
    let worn = nvme["percentage_used"]
        .as_u64()
        .or_else(|| v["endurance_used"]["current_percent"].as_u64())
        .or_else(|| v["scsi_percentage_used_endurance_indicator"].as_u64())
        .or_else(|| left().filter(|_| !turns).map(|left| 100u64.saturating_sub(left)));
    let messages = v["smartctl"]["messages"].as_array();
    let sleeps = |m: &Value| m["string"].as_str().is_some_and(|s| s.contains("STANDBY") || s.contains("SLEEP"));
    Smart {
        device: device.to_owned(),
        model: [word("model_name"), word("scsi_model_name")].into_iter().find(|m| !m.is_empty()).unwrap_or_default(),
        serial: word("serial_number"),
        passed: v["smart_status"]["passed"].as_bool(),
        celsius: v["temperature"]["current"].as_i64(),
        hours: v["power_on_time"]["hours"].as_u64(),
        worn_percent: worn,
        reallocated: raw(5).or_else(|| v["scsi_grown_defect_list"].as_u64()),
        pending: raw(197),
        uncorrectable: nvme["media_errors"].as_u64().or_else(|| raw(198)),
        spare: nvme["available_spare"].as_u64().zip(nvme["available_spare_threshold"].as_u64()),
        asleep: messages.is_some_and(|all| all.iter().any(sleeps)),
    }
}

fn sensor(line: &str) -> Option<Sensor> {
    let mut words = line.split(' ');
    let (chip, label) = (words.next()?.to_owned(), words.next()?.to_owned());
    let measure = match words.next()? {
        "temp" => Measure::Temperature,
        "fan" => Measure::Fan,
        _ => return None,
    };
    Some(Sensor { chip, label, measure, value: words.next()?.parse().ok()?, critical: words.next()?.parse().ok() })
}

impl Health {
    /// What the program says; why it cannot be read otherwise.
    pub fn read(text: &str) -> Result<Health, String> {
        let mut out = Health::default();
        let mut disk: Option<(String, String)> = None;
        let mut ended = false;
        for line in text.lines() {
            // smartctl indents what it prints: only the program's own lines begin with a bracket.
            let head = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            if let (Some(head), Some((device, json))) = (head, &disk)
                && !head.is_empty()
            {
                out.disks.push(smart(device, json));
                disk = None;
            }
            match (head, &mut disk) {
                (Some("end"), _) => ended = true,
                (Some("sensors"), _) => {}
                (Some(head), _) if head.starts_with("disk ") => {
                    disk = Some((head.trim_start_matches("disk ").to_owned(), String::new()));
                }
                (Some(head), _) if head.starts_with("missing ") => {
                    out.missing.push(head.trim_start_matches("missing ").to_owned());
                }
                (_, Some((_, json))) => {
                    json.push_str(line);
                    json.push('\n');
                }
                (_, None) => out.sensors.extend(sensor(line)),
            }
        }
        if ended { Ok(out) } else { Err("what the node says of its disks and sensors has no end".to_owned()) }
    }
}
