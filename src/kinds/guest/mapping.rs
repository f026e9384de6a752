//! Which option of PVE a manifest field is, and its value there in normal form: the table applied to a configuration.

use crate::base::id::GuestType;
use crate::kinds::guest::form::Form;
use crate::kinds::guest::table::{self, At, Row};
use crate::pve::property::PropertyString;
use crate::resource::step::Impact;
use std::collections::BTreeMap;

pub use crate::kinds::guest::form::normal_tags;

/// A guest's options as text, as PVE holds them (pending values included); notes without our marker.
pub type Config = BTreeMap<String, String>;

/// The tag that every guest of ours carries, so that the index shows them.
pub const TAG: &str = "pvectl";

/// Where a field lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A whole option.
    Option(String),
    /// A part of a property string.
    Part(String, &'static str),
    /// Not an option: a disk's size and storage, power, pool, node.
    Elsewhere,
}

/// Network card models of QEMU as PVE names them (`PVE::QemuServer::Network`).
const MODELS: [&str; 14] = [
    "virtio",
    "e1000",
    "e1000-82540em",
    "e1000-82544gc",
    "e1000-82545em",
    "e1000e",
    "i82551",
    "i82557b",
    "i82559er",
    "ne2k_isa",
    "ne2k_pci",
    "pcnet",
    "rtl8139",
    "vmxnet3",
];

/// Other names of a part that PVE takes and keeps.
const ALIASES: [(&str, &str); 6] = [
    ("freeze-fs-on-backup", "freeze-fs"),
    ("guest-fsfreeze", "freeze-fs"),
    ("bps_rd_length", "bps_rd_max_length"),
    ("bps_wr_length", "bps_wr_max_length"),
    ("iops_rd_length", "iops_rd_max_length"),
    ("iops_wr_length", "iops_wr_max_length"),
];

/// Where a field of a guest lives in PVE's configuration.
pub fn place(guest: GuestType, path: &str) -> Place {
    if let Some(option) = path.strip_prefix("options.") {
        return Place::Option(option.to_owned());
    }
    let Some((row, slot)) = table::find(guest, path) else { return Place::Elsewhere };
    match (row.at, row.option(slot)) {
        (At::Option(_) | At::Slot, Some(option)) => Place::Option(option),
        (At::Part(_, part) | At::SlotPart(part) | At::Numbered(_, part), Some(option)) => Place::Part(option, part),
        (_, _) => Place::Elsewhere,
    }
}

/// An option's text as parts. A VM's network option is turned from `virtio=MAC,…` into `model=virtio,macaddr=MAC,…`.
pub fn parts(guest: GuestType, option: &str, text: &str) -> PropertyString {
    let read = PropertyString::parse(text, default_key(guest, option));
    let card = guest == GuestType::Qemu && is_network(option);
    let mut out = PropertyString::default();
    for (key, value) in read.iter() {
        if card && MODELS.contains(&key) {
            out.set("model", key);
            out.set("macaddr", value);
        } else {
            out.set(ALIASES.iter().find(|(alias, _)| *alias == key).map_or(key, |(_, name)| name), value);
        }
    }
    if option == "smbios1" { smbios(out) } else { out }
}

/// Texts of `smbios1`; with `base64=1` beside them they are in base64, as we always write them.
const SMBIOS: [&str; 6] = ["manufacturer", "product", "version", "serial", "sku", "family"];

/// `smbios1` with its texts in base64, whether they were or not, and without the flag that says so.
fn smbios(mut parts: PropertyString) -> PropertyString {
    if parts.remove("base64").as_deref() != Some("1") {
        for key in SMBIOS {
            if let Some(text) = parts.get(key).map(|t| Form::Base64.encode(t)) {
                parts.set(key, text);
            }
        }
    }
    parts
}

/// The other way round.
pub fn unparts(guest: GuestType, option: &str, parts: &PropertyString) -> String {
    if option == "smbios1" && SMBIOS.iter().any(|key| parts.get(key).is_some()) {
        return format!("base64=1,{}", parts.to_text(""));
    }
    if guest != GuestType::Qemu || !is_network(option) {
        return parts.to_text(default_key(guest, option));
    }
    let model = parts.get("model").unwrap_or("virtio");
    let head = parts.get("macaddr").map_or_else(|| model.to_owned(), |mac| format!("{model}={mac}"));
    let rest = parts.iter().filter(|(k, _)| *k != "model" && *k != "macaddr").map(|(k, v)| format!(",{k}={v}"));
    head + &rest.collect::<String>()
}

fn default_key(guest: GuestType, option: &str) -> &'static str {
    let stem = option.trim_end_matches(|c: char| c.is_ascii_digit());
    match (guest, stem) {
        (GuestType::Lxc, "rootfs" | "mp" | "unused") => "volume",
        (GuestType::Lxc, "dev") => "path",
        (GuestType::Qemu, "agent") => "enabled",
        (GuestType::Qemu, "cpu") => "cputype",
        (GuestType::Qemu, "vga" | "machine") => "type",
        (GuestType::Qemu, "memory") => "current",
        (GuestType::Qemu, "watchdog") => "model",
        (GuestType::Qemu, "rng") => "source",
        (GuestType::Qemu, "boot") => "legacy",
        (GuestType::Qemu, "usb" | "hostpci") => "host",
        (GuestType::Qemu, "virtiofs") => "dirid",
        (GuestType::Qemu, "net") => "model",
        (GuestType::Qemu | GuestType::Lxc, "startup") => "order",
        (GuestType::Qemu | GuestType::Lxc, _) => "file",
    }
}

/// The part without which PVE does not take the option at all.
pub fn needed_part(guest: GuestType, option: &str) -> &'static [&'static str] {
    let stem = option.trim_end_matches(|c: char| c.is_ascii_digit());
    match (guest, stem) {
        (GuestType::Qemu, "agent") => &["enabled"],
        (GuestType::Qemu, "rng") => &["source"],
        (GuestType::Qemu, "watchdog") => &["model"],
        (GuestType::Qemu, "audio") => &["device"],
        (GuestType::Qemu, "ivshmem") => &["size"],
        (GuestType::Qemu, "numa") => &["cpus"],
        (GuestType::Qemu, "usb" | "hostpci") => &["host", "mapping"],
        (GuestType::Qemu, "virtiofs") => &["dirid"],
        (GuestType::Lxc, "dev") => &["path"],
        (GuestType::Qemu | GuestType::Lxc, _) => &[],
    }
}

/// Whether an option is `netN`.
pub fn is_network(option: &str) -> bool {
    slot_number(option, "net").is_some()
}

/// Whether an option of a VM is a disk slot that may also hold a CD.
pub fn is_disk_slot(option: &str) -> bool {
    ["scsi", "virtio", "sata", "ide"].iter().any(|bus| slot_number(option, bus).is_some())
}

/// Whether an option holds a volume, or may.
pub fn is_volume_slot(guest: GuestType, option: &str) -> bool {
    let stems: &[&str] = match guest {
        GuestType::Qemu => &["scsi", "virtio", "sata", "ide", "efidisk", "tpmstate"],
        GuestType::Lxc => &["mp"],
    };
    option == "rootfs" || stems.iter().any(|stem| slot_number(option, stem).is_some())
}

/// The number behind a word: `slot_number("scsi7", "scsi")` is 7.
pub fn slot_number(option: &str, word: &str) -> Option<u32> {
    option
        .strip_prefix(word)
        .filter(|n| !n.is_empty() && n.len() <= 3 && n.bytes().all(|b| b.is_ascii_digit()))?
        .parse()
        .ok()
}

/// The value of a field in normal form, `None` where PVE holds nothing for it.
pub fn read(guest: GuestType, config: &Config, path: &str) -> Option<String> {
    if let Some(option) = path.strip_prefix("options.") {
        return config.get(option).cloned();
    }
    let (row, slot) = table::find(guest, path)?;
    read_row(guest, config, row, slot)
}

/// The same for a row and its slot.
pub fn read_row(guest: GuestType, config: &Config, row: &Row, slot: &str) -> Option<String> {
    let value = match row.at {
        At::Index => return None,
        At::Volume => volume_fact(guest, config, row, slot)?,
        At::Option(_) | At::Slot => config.get(&row.option(slot)?)?.clone(),
        At::Part(_, part) | At::SlotPart(part) | At::Numbered(_, part) => {
            let option = row.option(slot)?;
            let held = parts(guest, &option, config.get(&option)?);
            let value = held.get(part)?;
            // Three fields are one part, by what stands in it.
            let fits = match row.path {
                "disks.*.iso" => is_cdrom(&held),
                "mounts.*.device" => value.starts_with("/dev/"),
                "mounts.*.hostPath" => value.starts_with('/') && !value.starts_with("/dev/"),
                _ => true,
            };
            fits.then_some(value)?.to_owned()
        }
    };
    Some(row.form.normal(&value))
}

/// Whether a drive is a CD drive, and not cloud-init's.
pub fn is_cdrom(drive: &PropertyString) -> bool {
    drive.get("media") == Some("cdrom") && !is_cloud_init(drive)
}

/// Whether a drive is cloud-init's.
pub fn is_cloud_init(drive: &PropertyString) -> bool {
    drive.get("file").is_some_and(|f| f.ends_with(":cloudinit") || f.contains("-cloudinit"))
}

/// What is known of the volume behind a slot.
fn volume_fact(guest: GuestType, config: &Config, row: &Row, slot: &str) -> Option<String> {
    let slot = if slot.is_empty() { "rootfs" } else { slot };
    let drive = parts(guest, slot, config.get(slot)?);
    let volume = drive.get("file").or_else(|| drive.get("volume"))?;
    let (storage, _) = volume.split_once(':').filter(|_| drive.get("media") != Some("cdrom"))?;
    match row.path.rsplit('.').next()? {
        "size" => drive.get("size").map(str::to_owned),
        "storage" => Some(storage.to_owned()),
        "volume" => Some(volume.to_owned()),
        _ => None,
    }
}

/// The slot and the next word of a path below `disks`, `mounts` or `rootfs`.
pub fn volume_path(path: &str) -> Option<(&str, &str)> {
    let mut words = path.split('.');
    match (words.next()?, words.next()?, words.next()) {
        ("disks" | "mounts", slot, Some(part)) => Some((slot, part)),
        ("rootfs", part, None) => Some(("rootfs", part)),
        _ => None,
    }
}

/// A value in normal form as PVE takes it.
pub fn encode(guest: GuestType, path: &str, value: &str) -> String {
    table::find(guest, path).map_or_else(|| value.to_owned(), |(row, _)| row.form.encode(value))
}

/// What an absent value means, in normal form.
pub fn default(guest: GuestType, path: &str) -> Option<String> {
    table::find(guest, path)?.0.default.map(str::to_owned)
}

/// What changing a field does to a running guest. PVE's own answer (`/pending` after the write) is what counts in the end.
pub fn impact(guest: GuestType, path: &str) -> Impact {
    match table::find(guest, path) {
        Some((row, _)) if row.path == "power" => Impact::Restart,
        Some((row, _)) => row.impact,
        None => Impact::AfterReboot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn recorded_options_are_read_in_normal_form() {
        let vm = config(&[
            ("net0", "virtio=bc:24:11:7B:8D:43,bridge=vmbr0,firewall=1"),
            ("scsi0", "local:100/vm-100-disk-0.qcow2,discard=on,size=3G"),
            ("agent", "enabled=1"),
            ("memory", "128"),
            ("tags", "Zeta;alpha;pvectl"),
            ("ipconfig0", "ip=10.0.0.5/24,gw=10.0.0.1"),
        ]);
        for (path, value) in [
            ("networks.net0.mac", "BC:24:11:7B:8D:43"),
            ("networks.net0.model", "virtio"),
            ("networks.net0.firewall", "1"),
            ("networks.net0.ip", "10.0.0.5/24"),
            ("disks.scsi0.size", "3Gi"),
            ("disks.scsi0.storage", "local"),
            ("disks.scsi0.discard", "1"),
            ("hardware.guestAgent", "1"),
            ("hardware.memory", "128Mi"),
            ("tags", "alpha;zeta"),
        ] {
            assert_eq!(read(GuestType::Qemu, &vm, path).as_deref(), Some(value), "{path}");
        }
        assert_eq!(read(GuestType::Qemu, &config(&[("agent", "1")]), "hardware.guestAgent").as_deref(), Some("1"));
        let ct = config(&[
            ("net0", "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:CF:E2:3F,ip=dhcp,type=veth"),
            ("rootfs", "local-btrfs:200/vm-200-disk-0.raw,size=1G"),
        ]);
        for (path, value) in [("networks.net0.ip", "dhcp"), ("rootfs.size", "1Gi"), ("rootfs.storage", "local-btrfs")] {
            assert_eq!(read(GuestType::Lxc, &ct, path).as_deref(), Some(value), "{path}");
        }
    }

    #[test]
    fn texts_of_smbios_are_base64_and_say_so() {
        for text in ["uuid=x,manufacturer=Acme", "uuid=x,base64=1,manufacturer=QWNtZQ=="] {
            let held = config(&[("smbios1", text)]);
            let read = read(GuestType::Qemu, &held, "hardware.smbios.manufacturer");
            assert_eq!(read.as_deref(), Some("Acme"), "{text}");
            let written = unparts(GuestType::Qemu, "smbios1", &parts(GuestType::Qemu, "smbios1", text));
            assert_eq!(written, "base64=1,uuid=x,manufacturer=QWNtZQ==");
        }
        let bare = parts(GuestType::Qemu, "smbios1", "uuid=x");
        assert_eq!(unparts(GuestType::Qemu, "smbios1", &bare), "uuid=x");
    }

    #[test]
    fn a_network_keeps_its_address_and_unknown_parts() {
        let text = "virtio=BC:24:11:7B:8D:43,bridge=vmbr0,queues=4";
        let mut net = parts(GuestType::Qemu, "net0", text);
        net.set("tag", "20");
        assert_eq!(unparts(GuestType::Qemu, "net0", &net), "virtio=BC:24:11:7B:8D:43,bridge=vmbr0,queues=4,tag=20");
    }
}
