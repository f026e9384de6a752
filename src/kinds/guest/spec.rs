//! The parts of a guest's spec, as users write them. Doc comments here are what `explain` shows.

use crate::base::quantity::{Bytes, parse_seconds};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A size such as `4Gi`, `512Mi` or `20G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub Bytes);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        let text = String::deserialize(deserializer)?;
        Bytes::parse(&text)
            .filter(|b| b.0 > 0 || text.starts_with('0'))
            .map(Size)
            .ok_or_else(|| Error::custom(format!("`{text}` is not a size; write it like 4Gi, 512Mi or 20G")))
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?([KMGT](i|iB)?)?$", "description": "A size such as `4Gi`, `512Mi` or `20G` (powers of 1024)."})
    }
}

/// A span of time such as `30s` or `5m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_seconds(&text)
            .map(Seconds)
            .ok_or_else(|| Error::custom(format!("`{text}` is not a span of time; write it like 30s, 5m or 1h30m")))
    }
}

impl JsonSchema for Seconds {
    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^([0-9]+[smhd]?)+$", "description": "A span of time such as `30s`, `5m` or `1h30m`."})
    }
}

/// Whether a guest shall run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Power {
    /// It shall run; it is started when it does not.
    Running,
    /// It shall not run; it is shut down in order, never by force.
    Stopped,
    /// Nobody's business: the default.
    Unmanaged,
}

/// How a new guest is made from its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum CloneMode {
    /// Shares the template's disks: quick and small; the template must stay.
    #[default]
    Linked,
    /// A whole copy of its own.
    Full,
}

/// Where a new guest may be put.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// The nodes to choose from.
    #[schemars(length(min = 1))]
    pub nodes: Vec<String>,
    /// How to choose among them.
    #[serde(default)]
    pub prefer: Prefer,
}

/// How to choose among nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum Prefer {
    /// The node with the most free memory, counting what this plan puts there too.
    #[default]
    MostFreeMemory,
}

/// When and how a guest starts with its node.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Startup {
    /// Start it when its node starts.
    #[serde(default)]
    pub on_boot: Option<bool>,
    /// Its place in the order of starts; shutdown goes the other way.
    #[serde(default)]
    pub order: Option<u32>,
    /// How long to wait after its start before the next one starts.
    #[serde(default)]
    pub up_delay: Option<Seconds>,
    /// How long its shutdown may take.
    #[serde(default)]
    pub down_delay: Option<Seconds>,
}

/// How a running guest may be changed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Update {
    /// What to do when a change takes effect only at the next start.
    #[serde(default)]
    pub reboot: RebootPolicy,
}

/// What to do when a change takes effect only at the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum RebootPolicy {
    /// Write the change, report `RebootRequired`, and leave the guest running.
    #[default]
    Never,
    /// Reboot it in order (through the agent or ACPI), never by force.
    IfRequired,
}

/// Processors, memory and the virtual board of a VM.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hardware {
    /// Cores of each socket.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1024))]
    pub cores: Option<u32>,
    /// Sockets.
    #[serde(default)]
    #[schemars(range(min = 1, max = 64))]
    pub sockets: Option<u32>,
    /// CPU type with flags as PVE writes them, such as `host` or `x86-64-v2-AES,flags=+aes`.
    #[serde(default)]
    pub cpu: Option<String>,
    /// Memory; whole MiB.
    #[serde(default)]
    pub memory: Option<Size>,
    /// The least that ballooning may leave; `0` turns ballooning off.
    #[serde(default)]
    pub balloon: Option<BalloonSize>,
    /// Machine type, such as `q35`.
    #[serde(default)]
    pub machine: Option<String>,
    /// Firmware.
    #[serde(default)]
    pub bios: Option<Bios>,
    /// Guest operating system as PVE names it: `l26`, `win11`, …
    #[serde(default)]
    pub os_type: Option<String>,
    /// SCSI controller: `virtio-scsi-single`, `virtio-scsi-pci`, `lsi`, …
    #[serde(default)]
    pub scsi_controller: Option<String>,
    /// Whether PVE talks to the QEMU guest agent.
    #[serde(default)]
    pub guest_agent: Option<bool>,
    /// Display, as PVE writes it: `std`, `serial0`, `virtio,memory=64`, …
    #[serde(default)]
    pub vga: Option<String>,
}

/// Firmware of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bios {
    /// The classic BIOS.
    Seabios,
    /// UEFI.
    Ovmf,
}

/// A size, or `0` for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalloonSize(pub Bytes);

impl<'de> Deserialize<'de> for BalloonSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BalloonSize, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(n) if n.as_u64() == Some(0) => Ok(BalloonSize(Bytes(0))),
            Value::String(text) => Bytes::parse(&text)
                .map(BalloonSize)
                .ok_or_else(|| Error::custom(format!("`{text}` is not a size; write it like 4Gi, or 0"))),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(Error::custom(format!("`{other}` is not a size; write it like 4Gi, or 0")))
            }
        }
    }
}

impl JsonSchema for BalloonSize {
    fn schema_name() -> Cow<'static, str> {
        "BalloonSize".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "minimum": 0, "maximum": 0, "description": "A size such as `2Gi`, or `0` to turn ballooning off."})
    }
}

/// A disk of a VM.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disk {
    /// Where it is plugged in: `scsi0` to `scsi30`, `virtio0` to `virtio15`, `sata0` to `sata5`, `ide0` to `ide3`.
    #[schemars(regex(pattern = "^(scsi([0-9]|[12][0-9]|30)|virtio([0-9]|1[0-5])|sata[0-5]|ide[0-3])$"))]
    pub slot: String,
    /// The storage that holds it; needed to create it.
    #[serde(default)]
    pub storage: Option<String>,
    /// Its size. It may grow, never shrink.
    #[serde(default)]
    pub size: Option<Size>,
    /// Give freed blocks back to the storage.
    #[serde(default)]
    pub discard: Option<bool>,
    /// Show it to the guest as an SSD.
    #[serde(default)]
    pub ssd: Option<bool>,
    /// A thread of its own for its I/O.
    #[serde(default)]
    pub io_thread: Option<bool>,
    /// Cache mode.
    #[serde(default)]
    pub cache: Option<Cache>,
    /// Whether backups hold it.
    #[serde(default)]
    pub backup: Option<bool>,
}

/// Cache mode of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// No cache of the host.
    None,
    /// Writes are done when they are in the host's cache.
    Writeback,
    /// Writes are done when they are on the disk.
    Writethrough,
    /// Like writethrough, past the host's cache.
    Directsync,
    /// As fast as can be, and lost with the power.
    Unsafe,
}

/// A network interface of a VM.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Network {
    /// Which interface: `net0`, `net1`, …
    #[schemars(regex(pattern = "^net([0-9]|[12][0-9]|3[01])$"))]
    pub slot: String,
    /// The bridge that it hangs on.
    #[serde(default)]
    pub bridge: Option<String>,
    /// VLAN tag.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<u16>,
    /// The card that the guest sees: `virtio` unless said.
    #[serde(default)]
    pub model: Option<String>,
    /// MAC address; PVE makes one up if none is given, and it then stays.
    #[serde(default)]
    pub mac: Option<String>,
    /// Whether PVE's firewall guards it.
    #[serde(default)]
    pub firewall: Option<bool>,
    /// Largest packet.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65520))]
    pub mtu: Option<u32>,
    /// Rate limit in megabytes a second.
    #[serde(default)]
    pub rate_limit: Option<f64>,
    /// Address with its prefix, or `dhcp`; given to the guest by cloud-init.
    #[serde(default)]
    pub ip: Option<String>,
    /// Gateway for that address.
    #[serde(default)]
    pub gateway: Option<String>,
}

/// What cloud-init tells a VM at its first start.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloudInit {
    /// The storage of the cloud-init drive, made at `ide2` where the guest has none.
    #[serde(default)]
    pub storage: Option<String>,
    /// The user to make.
    #[serde(default)]
    pub user: Option<String>,
    /// Public SSH keys of that user.
    #[serde(default)]
    pub ssh_keys: Option<Vec<String>>,
    /// DNS servers.
    #[serde(default)]
    pub nameservers: Option<Vec<String>>,
    /// DNS search domain.
    #[serde(default)]
    pub search_domain: Option<String>,
}

/// Any other option of PVE's configuration API, verbatim: text, number or boolean.
pub type Options = BTreeMap<String, OptionValue>;

/// A value of PVE's configuration API.
#[derive(Debug, Clone, PartialEq)]
pub struct OptionValue(pub String);

impl<'de> Deserialize<'de> for OptionValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OptionValue, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(OptionValue(text)),
            Value::Number(n) => Ok(OptionValue(n.to_string())),
            Value::Bool(b) => Ok(OptionValue(u8::from(b).to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err(Error::custom("an option is text, a number or a boolean"))
            }
        }
    }
}

impl JsonSchema for OptionValue {
    fn schema_name() -> Cow<'static, str> {
        "OptionValue".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number", "boolean"], "description": "A value as PVE's configuration API takes it."})
    }
}

/// A range of VMIDs such as `400-449`, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmIdRange(pub crate::base::id::VmId, pub crate::base::id::VmId);

impl<'de> Deserialize<'de> for VmIdRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<VmIdRange, D::Error> {
        use crate::base::id::VmId;
        let text = String::deserialize(deserializer)?;
        let ends = text
            .split_once('-')
            .and_then(|(a, b)| Some((VmId::new(a.trim().parse().ok()?)?, VmId::new(b.trim().parse().ok()?)?)));
        ends.filter(|(a, b)| a <= b)
            .map(|(a, b)| VmIdRange(a, b))
            .ok_or_else(|| Error::custom(format!("`{text}` is not a range of VMIDs; write it like 400-449")))
    }
}

impl JsonSchema for VmIdRange {
    fn schema_name() -> Cow<'static, str> {
        "VmIdRange".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+ *- *[0-9]+$", "description": "A range of VMIDs such as `400-449`, both ends included."})
    }
}
