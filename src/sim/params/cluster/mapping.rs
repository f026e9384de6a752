//! Parameters: mappings of devices and directories.

use crate::sim::params;
use crate::sim::verify::{Kind, Param, format, opt, req};

const ID: Param = req("id", format(params::config_id));
const DESCRIPTION: Param = opt("description", Kind::Len(0, 4096));

const PCI_MAP: &[Param] = &[
    opt("description", Kind::Len(0, 4096)),
    req("id", Kind::Pattern(device_id, usize::MAX)),
    opt("iommugroup", Kind::Int(None, None)),
    req("node", format(params::node)),
    req("path", Kind::Pattern(pci_path, usize::MAX)),
    opt("subsystem-id", Kind::Pattern(device_id, usize::MAX)),
];
const USB_MAP: &[Param] = &[
    opt("description", Kind::Len(0, 4096)),
    req("id", Kind::Pattern(device_id, usize::MAX)),
    req("node", format(params::node)),
    opt("path", Kind::Pattern(usb_path, usize::MAX)),
];
const DIR_MAP: &[Param] = &[req("node", format(params::node)), req("path", format(path))];

/// Every list.
pub const LIST: &[Param] = &[opt("check-node", format(params::node))];
/// One mapping.
pub const GET: &[Param] = &[ID];
/// A changed mapping.
pub const CHANGE: &[Param] = &[opt("delete", Kind::List(params::config_id)), opt("digest", Kind::Len(0, 64))];
/// A mapping of PCI devices.
pub const PCI: &[Param] = &[ID, DESCRIPTION, opt("live-migration-capable", Kind::Bool), opt("mdev", Kind::Bool)];
/// A mapping of USB devices, or of directories.
pub const OTHER: &[Param] = &[ID, DESCRIPTION];
/// The devices behind a new mapping.
pub const PCI_NEW: &[Param] = &[req("map", Kind::Each(&Kind::Props("", PCI_MAP)))];
/// The devices behind a changed mapping.
pub const PCI_CHANGE: &[Param] = &[opt("map", Kind::Each(&Kind::Props("", PCI_MAP)))];
/// The devices behind a mapping.
pub const USB_NEW: &[Param] = &[req("map", Kind::Each(&Kind::Props("", USB_MAP)))];
/// The directories behind a new mapping.
pub const DIR_NEW: &[Param] = &[req("map", Kind::Each(&Kind::Props("", DIR_MAP)))];
/// The directories behind a changed mapping.
pub const DIR_CHANGE: &[Param] = &[opt("map", Kind::Each(&Kind::Props("", DIR_MAP)))];

fn hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn device_id(text: &str) -> bool {
    text.split_once(':').is_some_and(|(a, b)| hex(a) && hex(b) && a.len() == 4 && b.len() == 4)
}

fn pci_path(text: &str) -> bool {
    text.split(';').all(|p| {
        let parts: Vec<&str> = p.split(':').collect();
        parts.len() == 3 && hex(parts[0]) && hex(parts[1]) && parts[2].split('.').all(hex)
    })
}

fn usb_path(text: &str) -> bool {
    let number = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    text.split_once('-').is_some_and(|(bus, port)| number(bus) && port.split('.').all(number))
}

/// `pve-storage-path-in-property-string`.
fn path(text: &str) -> Result<(), String> {
    match text.starts_with('/') && !text.contains(['=', ',']) {
        true => Ok(()),
        false => Err("value does not look like a valid absolute path (must not contain '=' and ',')\n".to_owned()),
    }
}
