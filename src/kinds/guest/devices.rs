//! Devices of guests besides disks and networks, each by its slot.

use crate::kinds::guest::spec::Size;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A NUMA node of a VM.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NumaNode {
    /// Which node: `numa0` to `numa7`.
    #[schemars(regex(pattern = r"^numa[0-7]$"))]
    pub slot: String,
    /// Its processors, such as `0-3`.
    pub cpus: String,
    /// Its memory; whole MiB.
    #[serde(default)]
    pub memory: Option<Size>,
    /// The host's nodes that its memory comes from.
    #[serde(default)]
    pub host_nodes: Option<String>,
    /// How strictly: `preferred`, `bind`, `interleave`.
    #[serde(default)]
    #[schemars(extend("enum" = ["preferred", "bind", "interleave"]))]
    pub policy: Option<String>,
}

/// A serial port of a VM.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SerialPort {
    /// Which port: `serial0` to `serial3`.
    #[schemars(regex(pattern = r"^serial[0-3]$"))]
    pub slot: String,
    /// `socket` for a console, or a device of the node; PVE lets only root@pam give a device.
    #[schemars(regex(pattern = r"^(socket|/dev/.+)$"))]
    pub device: String,
}

/// A USB device of a VM: exactly one of `mapping` and `host`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Usb {
    /// Which device: `usb0` to `usb13`.
    #[schemars(regex(pattern = r"^usb([0-9]|1[0-3])$"))]
    pub slot: String,
    /// A resource mapping of the cluster.
    #[serde(default)]
    pub mapping: Option<String>,
    /// A device of the node, such as `1d6b:0002`, or `spice`. PVE lets only root@pam give a device.
    #[serde(default)]
    pub host: Option<String>,
    /// USB 3.
    #[serde(default)]
    pub usb3: Option<bool>,
}

/// A PCI device of a VM: exactly one of `mapping` and `host`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pci {
    /// Which device: `hostpci0` to `hostpci15`.
    #[schemars(regex(pattern = r"^hostpci([0-9]|1[0-5])$"))]
    pub slot: String,
    /// A resource mapping of the cluster.
    #[serde(default)]
    pub mapping: Option<String>,
    /// Addresses of the node's devices, such as `0000:01:00.0`. PVE lets only root@pam give them.
    #[serde(default)]
    pub host: Option<String>,
    /// As PCI Express; needs the machine type `q35`.
    #[serde(default)]
    pub pcie: Option<bool>,
    /// Show its ROM to the guest.
    #[serde(default)]
    pub rom_bar: Option<bool>,
    /// A file with its ROM.
    #[serde(default)]
    pub rom_file: Option<String>,
    /// As the primary display.
    #[serde(default)]
    pub x_vga: Option<bool>,
    /// Legacy mode of Intel's graphics.
    #[serde(default)]
    pub legacy_igd: Option<bool>,
    /// The type of a mediated device.
    #[serde(default)]
    pub mdev: Option<String>,
    /// The host's driver for it: `vfio`, `keep`.
    #[serde(default)]
    #[schemars(extend("enum" = ["vfio", "keep"]))]
    pub driver: Option<String>,
    /// The device id that the guest reads.
    #[serde(default)]
    pub device_id: Option<String>,
    /// The vendor id that the guest reads.
    #[serde(default)]
    pub vendor_id: Option<String>,
    /// The subsystem's device id that the guest reads.
    #[serde(default)]
    pub sub_device_id: Option<String>,
    /// The subsystem's vendor id that the guest reads.
    #[serde(default)]
    pub sub_vendor_id: Option<String>,
}

/// A directory of the node that a VM sees.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Virtiofs {
    /// Which share: `virtiofs0` to `virtiofs9`.
    #[schemars(regex(pattern = r"^virtiofs[0-9]$"))]
    pub slot: String,
    /// The directory mapping of the cluster.
    pub directory: String,
    /// What the guest may cache: `auto`, `always`, `metadata`, `never`.
    #[serde(default)]
    #[schemars(extend("enum" = ["auto", "always", "metadata", "never"]))]
    pub cache: Option<String>,
    /// Let the guest go past caches.
    #[serde(default)]
    pub direct_io: Option<bool>,
    /// Show POSIX ACLs; shows extended attributes too.
    #[serde(default)]
    pub expose_acl: Option<bool>,
    /// Show extended attributes.
    #[serde(default)]
    pub expose_xattr: Option<bool>,
}

/// A device of the node that a container may use. PVE lets only root@pam set it.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CtDevice {
    /// Which device: `dev0`, `dev1`, …
    #[schemars(regex(pattern = r"^dev([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$"))]
    pub slot: String,
    /// The device, such as `/dev/ttyUSB0`.
    #[schemars(regex(pattern = r"^/dev/.+$"))]
    pub path: String,
    /// Its mode inside, such as `0660`.
    #[serde(default)]
    #[schemars(regex(pattern = r"^0[0-7]{3}$"))]
    pub mode: Option<String>,
    /// Its owner inside.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Its group inside.
    #[serde(default)]
    pub gid: Option<u32>,
    /// The container may only read it.
    #[serde(default)]
    pub deny_write: Option<bool>,
}
