//! The virtual board of a VM: processors, memory, firmware, display and what is soldered on.

use crate::kinds::guest::spec::{BalloonSize, DeserializeMap, Short, Size, short_or_map};
use crate::pve::property::PropertyString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;

/// Processors, memory and the virtual board of a VM.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
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
    /// How many processors are plugged in at the start; all of them when left out.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub vcpus: Option<u32>,
    /// How many processors' time it may take; `0` for no limit.
    #[serde(default)]
    #[schemars(range(min = 0, max = 128))]
    pub cpu_limit: Option<f64>,
    /// Its weight against other guests when processors are short.
    #[serde(default)]
    #[schemars(range(min = 1, max = 262144))]
    pub cpu_units: Option<u32>,
    /// The host's processors that it may run on, such as `0,5,8-11`. PVE lets only root@pam set it.
    #[serde(default)]
    pub affinity: Option<String>,
    /// The processor that the guest sees: its type such as `host` or `x86-64-v2-AES`, or type and flags.
    #[serde(default)]
    pub cpu: Option<Cpu>,
    /// Memory; whole MiB.
    #[serde(default)]
    pub memory: Option<Size>,
    /// The least that ballooning may leave; `0` turns ballooning off.
    #[serde(default)]
    pub balloon: Option<BalloonSize>,
    /// Its weight when ballooning takes memory; `0` takes it out of automatic ballooning.
    #[serde(default)]
    #[schemars(range(min = 0, max = 50000))]
    pub shares: Option<u32>,
    /// Show the guest NUMA nodes; needed to plug in memory.
    #[serde(default)]
    pub numa: Option<bool>,
    /// Take memory in huge pages of so many MiB. PVE lets only root@pam set it: `any`, `2`, `1024`.
    #[serde(default)]
    #[schemars(extend("enum" = ["any", "2", "1024"]))]
    pub huge_pages: Option<String>,
    /// Keep huge pages when it stops. PVE lets only root@pam set it.
    #[serde(default)]
    pub keep_huge_pages: Option<bool>,
    /// Let the host merge its equal pages with those of others.
    #[serde(default)]
    pub allow_ksm: Option<bool>,
    /// Machine type, such as `q35`, or type and details.
    #[serde(default)]
    pub machine: Option<Machine>,
    /// Firmware.
    #[serde(default)]
    pub bios: Option<Bios>,
    /// Architecture of the processor. PVE lets only root@pam set it: `x86_64`, `aarch64`.
    #[serde(default)]
    #[schemars(extend("enum" = ["x86_64", "aarch64"]))]
    pub arch: Option<String>,
    /// Guest operating system as PVE names it: `other`, `wxp`, `w2k`, `w2k3`, `w2k8`, `wvista`, `win7`, `win8`, `win10`, `win11`, `l24`, `l26`, `solaris`.
    #[serde(default)]
    #[schemars(extend("enum" = ["other", "wxp", "w2k", "w2k3", "w2k8", "wvista", "win7", "win8", "win10", "win11", "l24", "l26", "solaris"]))]
    pub os_type: Option<String>,
    /// SCSI controller: `lsi`, `lsi53c810`, `virtio-scsi-pci`, `virtio-scsi-single`, `megasas`, `pvscsi`.
    #[serde(default)]
    #[schemars(extend("enum" = ["lsi", "lsi53c810", "virtio-scsi-pci", "virtio-scsi-single", "megasas", "pvscsi"]))]
    pub scsi_controller: Option<String>,
    /// Whether PVE talks to the QEMU guest agent, and how.
    #[serde(default)]
    pub guest_agent: Option<GuestAgent>,
    /// Display: `std`, `serial0`, `virtio`, …, or type and details.
    #[serde(default)]
    pub vga: Option<Vga>,
    /// ACPI.
    #[serde(default)]
    pub acpi: Option<bool>,
    /// Hardware virtualisation; off only where the host has none.
    #[serde(default)]
    pub kvm: Option<bool>,
    /// A pointing device with absolute positions, for consoles.
    #[serde(default)]
    pub tablet: Option<bool>,
    /// Keyboard layout of the VNC server: `de`, `de-ch`, `da`, `en-gb`, `en-us`, `es`, `fi`, `fr`, `fr-be`, `fr-ca`, `fr-ch`, `hu`, `is`, `it`, `ja`, `lt`, `mk`, `nl`, `no`, `pl`, `pt`, `pt-br`, `sv`, `sl`, `tr`.
    #[serde(default)]
    #[schemars(extend("enum" = ["de", "de-ch", "da", "en-gb", "en-us", "es", "fi", "fr", "fr-be", "fr-ca", "fr-ch", "hu", "is", "it", "ja", "lt", "mk", "nl", "no", "pl", "pt", "pt-br", "sv", "sl", "tr"]))]
    pub keyboard: Option<String>,
    /// The clock shows local time; PVE does so by itself for Windows.
    #[serde(default)]
    pub local_time: Option<bool>,
    /// What the clock shows at the start: `now`, or a date such as `2026-11-21T10:00:00`.
    #[serde(default)]
    pub start_date: Option<String>,
    /// What may be plugged in while it runs: `network`, `disk`, `usb`, `cpu`, `memory`, `cloudinit`; an empty list is written `["0"]`.
    #[serde(default)]
    pub hotplug: Option<Vec<String>>,
    /// The VM's generation id; `1` has one made up, `0` leaves it out. PVE lets only root@pam set it.
    #[serde(default)]
    #[schemars(regex(pattern = r"^([a-fA-F0-9]{8}(-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}|0)$"))]
    pub vm_gen_id: Option<String>,
    /// A source of randomness.
    #[serde(default)]
    pub rng: Option<Rng>,
    /// A watchdog.
    #[serde(default)]
    pub watchdog: Option<Watchdog>,
    /// A sound device.
    #[serde(default)]
    pub audio: Option<Audio>,
    /// What the guest reads as the make of the machine.
    #[serde(default)]
    pub smbios: Option<Smbios>,
    /// Additions to the SPICE display.
    #[serde(default)]
    pub spice: Option<Spice>,
    /// Memory shared with the host. PVE lets only root@pam set it.
    #[serde(default)]
    pub ivshmem: Option<Ivshmem>,
}

/// Firmware of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bios {
    /// The classic BIOS.
    Seabios,
    /// UEFI; give it an `efidisk0`.
    Ovmf,
}

/// The processor that the guest sees: a type, or type and flags.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// Type: `host`, `x86-64-v2-AES`, `kvm64`, `custom-NAME`, …
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Flags that are added or taken away: `+aes`, `-pcid`.
    pub flags: Option<Vec<String>>,
    /// Hide from the guest that it is a virtual machine.
    pub hidden: Option<bool>,
    /// The vendor id that Windows reads of the hypervisor.
    pub hv_vendor_id: Option<String>,
    /// Bits of physical addresses: `host`, or a number from 8 to 64.
    pub phys_bits: Option<String>,
    /// Bits of physical addresses that the guest may use.
    pub guest_phys_bits: Option<u32>,
    /// The model that a custom type shows.
    pub reported_model: Option<String>,
}

/// [`Cpu`] in full.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CpuFields {
    /// Type: `host`, `x86-64-v2-AES`, `kvm64`, `custom-NAME`, …
    #[serde(default)]
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Flags that are added or taken away: `+aes`, `-pcid`.
    #[serde(default)]
    flags: Option<Vec<String>>,
    /// Hide from the guest that it is a virtual machine.
    #[serde(default)]
    hidden: Option<bool>,
    /// The vendor id that Windows reads of the hypervisor.
    #[serde(default)]
    hv_vendor_id: Option<String>,
    /// Bits of physical addresses: `host`, or a number from 8 to 64.
    #[serde(default)]
    #[schemars(regex(pattern = r"^(host|[0-9]+)$"))]
    phys_bits: Option<String>,
    /// Bits of physical addresses that the guest may use.
    #[serde(default)]
    #[schemars(range(min = 32, max = 64))]
    guest_phys_bits: Option<u32>,
    /// The model that a custom type shows.
    #[serde(default)]
    reported_model: Option<String>,
}

impl<'de> DeserializeMap<'de> for Cpu {
    fn from_map<D: Deserializer<'de>>(deserializer: D) -> Result<Cpu, D::Error> {
        let CpuFields { kind, flags, hidden, hv_vendor_id, phys_bits, guest_phys_bits, reported_model } =
            CpuFields::deserialize(deserializer)?;
        Ok(Cpu { kind, flags, hidden, hv_vendor_id, phys_bits, guest_phys_bits, reported_model })
    }
}

impl<'de> Deserialize<'de> for Cpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cpu, D::Error> {
        short_or_map(deserializer)
    }
}

impl JsonSchema for Cpu {
    fn schema_name() -> Cow<'static, str> {
        "Cpu".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let fields = CpuFields::json_schema(generator);
        json_schema!({"description": "The processor that the guest sees: a type, or type and flags.", "anyOf": [{"type": "string"}, fields]})
    }
}

impl Short for Cpu {
    fn from_text(text: &str) -> Result<Cpu, String> {
        let mut cpu = Cpu::default();
        for (key, value) in PropertyString::parse(text, "cputype").iter() {
            let own = || Some(value.to_owned());
            match key {
                "cputype" => cpu.kind = own(),
                "flags" => cpu.flags = Some(value.split(';').map(str::to_owned).collect()),
                "hidden" => cpu.hidden = Some(value == "1"),
                "hv-vendor-id" => cpu.hv_vendor_id = own(),
                "phys-bits" => cpu.phys_bits = own(),
                "guest-phys-bits" => cpu.guest_phys_bits = value.parse().ok(),
                "reported-model" => cpu.reported_model = own(),
                _ => return Err(format!("`{key}` is no detail of a CPU")),
            }
        }
        Ok(cpu)
    }
}

/// Machine type, or type and details.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Type: `q35`, `pc`, or one with its version such as `pc-q35-9.2`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// A virtual IOMMU: `intel`, `virtio`.
    pub viommu: Option<String>,
    /// Bits of addresses that the IOMMU translates.
    pub aw_bits: Option<u32>,
    /// Sleep to memory.
    pub enable_s3: Option<bool>,
    /// Sleep to disk.
    pub enable_s4: Option<bool>,
}

/// [`Machine`] in full.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MachineFields {
    /// Type: `q35`, `pc`, or one with its version such as `pc-q35-9.2`.
    #[serde(default)]
    #[serde(rename = "type")]
    kind: Option<String>,
    /// A virtual IOMMU: `intel`, `virtio`.
    #[serde(default)]
    #[schemars(extend("enum" = ["intel", "virtio"]))]
    viommu: Option<String>,
    /// Bits of addresses that the IOMMU translates.
    #[serde(default)]
    #[schemars(range(min = 32, max = 64))]
    aw_bits: Option<u32>,
    /// Sleep to memory.
    #[serde(default)]
    enable_s3: Option<bool>,
    /// Sleep to disk.
    #[serde(default)]
    enable_s4: Option<bool>,
}

impl<'de> DeserializeMap<'de> for Machine {
    fn from_map<D: Deserializer<'de>>(deserializer: D) -> Result<Machine, D::Error> {
        let MachineFields { kind, viommu, aw_bits, enable_s3, enable_s4 } = MachineFields::deserialize(deserializer)?;
        Ok(Machine { kind, viommu, aw_bits, enable_s3, enable_s4 })
    }
}

impl<'de> Deserialize<'de> for Machine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Machine, D::Error> {
        short_or_map(deserializer)
    }
}

impl JsonSchema for Machine {
    fn schema_name() -> Cow<'static, str> {
        "Machine".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let fields = MachineFields::json_schema(generator);
        json_schema!({"description": "Machine type, or type and details.", "anyOf": [{"type": "string"}, fields]})
    }
}

impl Short for Machine {
    fn from_text(text: &str) -> Result<Machine, String> {
        let mut machine = Machine::default();
        for (key, value) in PropertyString::parse(text, "type").iter() {
            match key {
                "type" => machine.kind = Some(value.to_owned()),
                "viommu" => machine.viommu = Some(value.to_owned()),
                "aw-bits" => machine.aw_bits = value.parse().ok(),
                "enable-s3" => machine.enable_s3 = Some(value == "1"),
                "enable-s4" => machine.enable_s4 = Some(value == "1"),
                _ => return Err(format!("`{key}` is no detail of a machine")),
            }
        }
        Ok(machine)
    }
}

/// Display, or display and details.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Vga {
    /// Type: `std`, `virtio`, `virtio-gl`, `qxl`, `qxl2`, `qxl3`, `qxl4`, `serial0` to `serial3`, `cirrus`, `vmware`, `none`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its memory in MiB.
    pub memory: Option<u32>,
    /// A clipboard of its own: `vnc`.
    pub clipboard: Option<String>,
}

/// [`Vga`] in full.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VgaFields {
    /// Type: `std`, `virtio`, `virtio-gl`, `qxl`, `qxl2`, `qxl3`, `qxl4`, `serial0` to `serial3`, `cirrus`, `vmware`, `none`.
    #[serde(default)]
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Its memory in MiB.
    #[serde(default)]
    #[schemars(range(min = 4, max = 512))]
    memory: Option<u32>,
    /// A clipboard of its own: `vnc`.
    #[serde(default)]
    #[schemars(extend("enum" = ["vnc"]))]
    clipboard: Option<String>,
}

impl<'de> DeserializeMap<'de> for Vga {
    fn from_map<D: Deserializer<'de>>(deserializer: D) -> Result<Vga, D::Error> {
        let VgaFields { kind, memory, clipboard } = VgaFields::deserialize(deserializer)?;
        Ok(Vga { kind, memory, clipboard })
    }
}

impl<'de> Deserialize<'de> for Vga {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Vga, D::Error> {
        short_or_map(deserializer)
    }
}

impl JsonSchema for Vga {
    fn schema_name() -> Cow<'static, str> {
        "Vga".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let fields = VgaFields::json_schema(generator);
        json_schema!({"description": "Display, or display and details.", "anyOf": [{"type": "string"}, fields]})
    }
}

impl Short for Vga {
    fn from_text(text: &str) -> Result<Vga, String> {
        let mut vga = Vga::default();
        for (key, value) in PropertyString::parse(text, "type").iter() {
            match key {
                "type" => vga.kind = Some(value.to_owned()),
                "memory" => vga.memory = value.parse().ok(),
                "clipboard" => vga.clipboard = Some(value.to_owned()),
                _ => return Err(format!("`{key}` is no detail of a display")),
            }
        }
        Ok(vga)
    }
}

/// The QEMU guest agent: on or off, or in detail.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GuestAgent {
    /// Whether PVE talks to it.
    pub enabled: bool,
    /// How it is plugged in: `virtio`, `isa`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Have it freeze file systems for backups and snapshots.
    pub freeze_fs: Option<bool>,
    /// Have it trim disks after a clone, a move or a migration.
    pub fstrim_cloned_disks: Option<bool>,
}

/// [`GuestAgent`] in full.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GuestAgentFields {
    /// Whether PVE talks to it.
    enabled: bool,
    /// How it is plugged in: `virtio`, `isa`.
    #[serde(default)]
    #[schemars(extend("enum" = ["virtio", "isa"]))]
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Have it freeze file systems for backups and snapshots.
    #[serde(default)]
    freeze_fs: Option<bool>,
    /// Have it trim disks after a clone, a move or a migration.
    #[serde(default)]
    fstrim_cloned_disks: Option<bool>,
}

impl<'de> DeserializeMap<'de> for GuestAgent {
    fn from_map<D: Deserializer<'de>>(deserializer: D) -> Result<GuestAgent, D::Error> {
        let GuestAgentFields { enabled, kind, freeze_fs, fstrim_cloned_disks } =
            GuestAgentFields::deserialize(deserializer)?;
        Ok(GuestAgent { enabled, kind, freeze_fs, fstrim_cloned_disks })
    }
}

impl<'de> Deserialize<'de> for GuestAgent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GuestAgent, D::Error> {
        short_or_map(deserializer)
    }
}

impl JsonSchema for GuestAgent {
    fn schema_name() -> Cow<'static, str> {
        "GuestAgent".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let fields = GuestAgentFields::json_schema(generator);
        json_schema!({"description": "The QEMU guest agent: on or off, or in detail.", "anyOf": [{"type": "boolean"}, fields]})
    }
}

impl Short for GuestAgent {
    fn from_text(text: &str) -> Result<GuestAgent, String> {
        Err(format!("`{text}` is neither true nor false"))
    }
    fn from_flag(on: bool) -> Result<GuestAgent, String> {
        Ok(GuestAgent { enabled: on, ..GuestAgent::default() })
    }
}

/// A source of randomness.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rng {
    /// Where it comes from; the host's own takes the privilege `Mapping.Use` on `/mapping/hwrng`: `/dev/urandom`, `/dev/random`, `/dev/hwrng`.
    #[schemars(extend("enum" = ["/dev/urandom", "/dev/random", "/dev/hwrng"]))]
    pub source: String,
    /// The most bytes in a period; `0` for no limit.
    #[serde(default)]
    pub max_bytes: Option<u32>,
    /// The period in milliseconds.
    #[serde(default)]
    pub period: Option<u32>,
}

/// A watchdog.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Watchdog {
    /// Model: `i6300esb`, `ib700`.
    #[schemars(extend("enum" = ["i6300esb", "ib700"]))]
    pub model: String,
    /// What is done when the guest does not answer: `reset`, `shutdown`, `poweroff`, `pause`, `debug`, `none`.
    #[serde(default)]
    #[schemars(extend("enum" = ["reset", "shutdown", "poweroff", "pause", "debug", "none"]))]
    pub action: Option<String>,
}

/// A sound device.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Audio {
    /// Device: `ich9-intel-hda`, `intel-hda`, `AC97`.
    #[schemars(extend("enum" = ["ich9-intel-hda", "intel-hda", "AC97"]))]
    pub device: String,
    /// Where sound goes: `spice`, `none`.
    #[serde(default)]
    #[schemars(extend("enum" = ["spice", "none"]))]
    pub driver: Option<String>,
}

/// What the guest reads as the make of the machine.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Smbios {
    /// UUID; PVE makes one up, and it then stays.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[a-fA-F0-9]{8}(-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}$"))]
    pub uuid: Option<String>,
    /// Manufacturer.
    #[serde(default)]
    pub manufacturer: Option<String>,
    /// Product.
    #[serde(default)]
    pub product: Option<String>,
    /// Version.
    #[serde(default)]
    pub version: Option<String>,
    /// Serial number.
    #[serde(default)]
    pub serial: Option<String>,
    /// SKU.
    #[serde(default)]
    pub sku: Option<String>,
    /// Family.
    #[serde(default)]
    pub family: Option<String>,
}

/// Additions to the SPICE display.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spice {
    /// Share folders.
    #[serde(default)]
    pub folder_sharing: Option<bool>,
    /// Stream video: `off`, `all`, `filter`.
    #[serde(default)]
    #[schemars(extend("enum" = ["off", "all", "filter"]))]
    pub video_streaming: Option<String>,
}

/// Memory shared with the host.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ivshmem {
    /// Its size in MiB.
    #[schemars(range(min = 1))]
    pub size: u32,
    /// Its name.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[a-zA-Z0-9-]+$"))]
    pub name: Option<String>,
}
