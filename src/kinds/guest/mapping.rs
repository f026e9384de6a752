//! Which option of PVE a manifest field is, and the normal form in which both sides are compared. Normal forms are the
//! manifest's: sizes as `4Gi`, booleans as `1` and `0`, tags sorted without our own, addresses in upper case.

use crate::base::id::GuestType;
use crate::base::quantity::Bytes;
use crate::pve::property::PropertyString;
use crate::resource::step::Impact;
use std::collections::{BTreeMap, BTreeSet};

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
const MODELS: [&str; 6] = ["virtio", "e1000", "e1000e", "rtl8139", "vmxnet3", "ne2k_pci"];

/// Where a field of a guest lives in PVE's configuration.
pub fn place(guest: GuestType, path: &str) -> Place {
    let mut words = path.splitn(3, '.');
    let option = |name: &str| Place::Option(name.to_owned());
    let qemu = guest == GuestType::Qemu;
    match (words.next().unwrap_or(""), words.next(), words.next()) {
        ("name", None, None) => option(if qemu { "name" } else { "hostname" }),
        (word @ ("description" | "tags" | "protection" | "unprivileged"), None, None) => option(word),
        ("nameservers", None, None) | ("cloudInit", Some("nameservers"), None) => option("nameserver"),
        ("searchDomain", None, None) | ("cloudInit", Some("searchDomain"), None) => option("searchdomain"),
        ("cloudInit", Some("user"), None) => option("ciuser"),
        ("cloudInit", Some("sshKeys"), None) => option("sshkeys"),
        ("hardware", Some(word), None) => match word {
            "osType" => option("ostype"),
            "scsiController" => option("scsihw"),
            "guestAgent" => Place::Part("agent".into(), "enabled"),
            other => option(other),
        },
        ("startup", Some("onBoot"), None) => option("onboot"),
        ("startup", Some("order"), None) => Place::Part("startup".into(), "order"),
        ("startup", Some("upDelay"), None) => Place::Part("startup".into(), "up"),
        ("startup", Some("downDelay"), None) => Place::Part("startup".into(), "down"),
        ("features", Some("nesting"), None) => Place::Part("features".into(), "nesting"),
        ("options", Some(_), _) => option(&path["options.".len()..]),
        ("disks" | "mounts", Some(slot), Some(part)) => volume_part(slot, part),
        ("rootfs", Some(part), None) => volume_part("rootfs", part),
        ("networks", Some(slot), Some(part)) => network_part(qemu, slot, part),
        _ => Place::Elsewhere,
    }
}

fn volume_part(slot: &str, part: &str) -> Place {
    let part = match part {
        "discard" => "discard",
        "ssd" => "ssd",
        "ioThread" => "iothread",
        "cache" => "cache",
        "backup" => "backup",
        "path" => "mp",
        _ => return Place::Elsewhere,
    };
    Place::Part(slot.to_owned(), part)
}

fn network_part(qemu: bool, slot: &str, part: &str) -> Place {
    let part = match part {
        "ip" | "gateway" if qemu => {
            let ipconfig = format!("ipconfig{}", slot.trim_start_matches("net"));
            return Place::Part(ipconfig, if part == "ip" { "ip" } else { "gw" });
        }
        "ip" => "ip",
        "gateway" => "gw",
        "bridge" => "bridge",
        "vlan" => "tag",
        "model" => "model",
        "mac" => {
            if qemu {
                "macaddr"
            } else {
                "hwaddr"
            }
        }
        "firewall" => "firewall",
        "mtu" => "mtu",
        "rateLimit" => "rate",
        "name" => "name",
        _ => return Place::Elsewhere,
    };
    Place::Part(slot.to_owned(), part)
}

/// An option's text as parts. A VM's network option is turned from `virtio=MAC,…` into `model=virtio,macaddr=MAC,…`.
pub fn parts(guest: GuestType, option: &str, text: &str) -> PropertyString {
    let default_key = default_key(option);
    let read = PropertyString::parse(text, default_key);
    if guest != GuestType::Qemu || !is_network(option) {
        return read;
    }
    let mut out = PropertyString::default();
    for (key, value) in read.iter() {
        if MODELS.contains(&key) {
            out.set("model", key);
            out.set("macaddr", value);
        } else {
            out.set(key, value);
        }
    }
    out
}

/// The other way round.
pub fn unparts(guest: GuestType, option: &str, parts: &PropertyString) -> String {
    if guest != GuestType::Qemu || !is_network(option) {
        return parts.to_text(default_key(option));
    }
    let model = parts.get("model").unwrap_or("virtio");
    let head = parts.get("macaddr").map_or_else(|| model.to_owned(), |mac| format!("{model}={mac}"));
    let rest = parts.iter().filter(|(k, _)| *k != "model" && *k != "macaddr").map(|(k, v)| format!(",{k}={v}"));
    head + &rest.collect::<String>()
}

fn default_key(option: &str) -> &'static str {
    if option == "agent" {
        "enabled"
    } else if option == "startup" {
        "order"
    } else if is_network(option) {
        "model"
    } else if option == "rootfs" || slot_number(option, "mp").is_some() {
        "volume"
    } else {
        "file"
    }
}

/// Whether an option is `netN`.
pub fn is_network(option: &str) -> bool {
    slot_number(option, "net").is_some()
}

/// Whether an option of a VM is a disk slot.
pub fn is_disk_slot(option: &str) -> bool {
    ["scsi", "virtio", "sata", "ide"].iter().any(|bus| slot_number(option, bus).is_some())
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
    let (option, part) = match place(guest, path) {
        Place::Option(option) => (option, None),
        Place::Part(option, part) => (option, Some(part)),
        Place::Elsewhere => return volume_fact(guest, config, path),
    };
    let text = config.get(&option)?;
    let value = match part {
        Some(part) => parts(guest, &option, text).get(part)?.to_owned(),
        None => text.clone(),
    };
    Some(normal(path, &value))
}

/// Size and storage of a volume.
fn volume_fact(guest: GuestType, config: &Config, path: &str) -> Option<String> {
    let (slot, part) = volume_path(path)?;
    let volume = parts(guest, slot, config.get(slot)?);
    match part {
        "size" => volume.get("size").map(|s| normal(path, s)),
        "storage" => volume.get("file").or_else(|| volume.get("volume"))?.split_once(':').map(|(s, _)| s.to_owned()),
        _ => None,
    }
}

/// The slot and the last word of a path below `disks`, `mounts` or `rootfs`.
pub fn volume_path(path: &str) -> Option<(&str, &str)> {
    let mut words = path.split('.');
    match (words.next()?, words.next()?, words.next()) {
        ("disks" | "mounts", slot, Some(part)) => Some((slot, part)),
        ("rootfs", part, None) => Some(("rootfs", part)),
        _ => None,
    }
}

/// A value of PVE in normal form.
fn normal(path: &str, value: &str) -> String {
    let last = path.rsplit('.').next().unwrap_or(path);
    match (path, last) {
        ("hardware.memory" | "hardware.swap" | "hardware.balloon", _) => {
            let mib = value.trim_start_matches("current=").split(',').next().unwrap_or("").trim();
            mib.parse::<u64>().map_or_else(|_| value.to_owned(), |mib| Bytes(mib << 20).to_string())
        }
        ("tags", _) => normal_tags(value.split([';', ',', ' '])),
        ("description", _) => value.trim_end().to_owned(),
        ("cloudInit.sshKeys", _) => normal_keys(&percent_encoding::percent_decode_str(value).decode_utf8_lossy()),
        ("cloudInit.nameservers" | "nameservers", _) => value.split_whitespace().collect::<Vec<_>>().join(" "),
        (p, "size") if !p.starts_with("options.") => {
            Bytes::parse(value).map_or_else(|| value.to_owned(), |b| b.to_string())
        }
        (p, "mac") if p.starts_with("networks.") => value.to_uppercase(),
        (p, "discard") if p.starts_with("disks.") => u8::from(value == "on").to_string(),
        _ => value.to_owned(),
    }
}

/// Tags sorted, in lower case, without our own.
pub fn normal_tags<'a>(tags: impl IntoIterator<Item = &'a str>) -> String {
    let set: BTreeSet<String> =
        tags.into_iter().map(|t| t.trim().to_lowercase()).filter(|t| !t.is_empty() && t != TAG).collect();
    set.into_iter().collect::<Vec<_>>().join(";")
}

/// SSH keys one a line, without blank lines.
pub fn normal_keys(text: &str) -> String {
    text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n")
}

/// A value in normal form as PVE takes it.
pub fn encode(path: &str, value: &str) -> String {
    let last = path.rsplit('.').next().unwrap_or(path);
    match (path, last) {
        ("hardware.memory" | "hardware.swap" | "hardware.balloon", _) => {
            Bytes::parse(value).map_or_else(|| value.to_owned(), |b| b.mib().to_string())
        }
        ("tags", _) => {
            let mut tags: BTreeSet<&str> = value.split(';').filter(|t| !t.is_empty()).collect();
            tags.insert(TAG);
            tags.into_iter().collect::<Vec<_>>().join(";")
        }
        // PVE decodes `sshkeys` once more inside the form value, and wants %20, not + (`PVE::QemuServer::Cloudinit`).
        ("cloudInit.sshKeys", _) => {
            percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
        }
        (p, "discard") if p.starts_with("disks.") => if value == "1" { "on" } else { "ignore" }.to_owned(),
        _ => value.to_owned(),
    }
}

/// What an absent value means, in normal form (`PVE::QemuServer`'s and `PVE::LXC::Config`'s schemas).
pub fn default(guest: GuestType, path: &str) -> Option<String> {
    let last = path.rsplit('.').next().unwrap_or(path);
    let qemu = guest == GuestType::Qemu;
    let value = match path {
        "hardware.cores" if qemu => "1",
        "hardware.sockets" => "1",
        "hardware.memory" | "hardware.swap" => "512Mi",
        "hardware.guestAgent" | "protection" | "startup.onBoot" | "unprivileged" => "0",
        "hardware.bios" => "seabios",
        "hardware.osType" if qemu => "other",
        "hardware.scsiController" => "lsi",
        "tags"
        | "description"
        | "cloudInit.nameservers"
        | "nameservers"
        | "searchDomain"
        | "cloudInit.searchDomain" => "",
        _ if path.starts_with("features.") => "0",
        _ if path.starts_with("options.") => return None,
        _ => match last {
            "discard" | "ssd" | "ioThread" | "firewall" => "0",
            "backup" => {
                if qemu {
                    "1"
                } else {
                    "0"
                }
            }
            "cache" => "none",
            "model" => "virtio",
            _ => return None,
        },
    };
    Some(value.to_owned())
}

/// What changing a field does to a running guest. PVE's own answer (`/pending` after the write) is what counts in the end.
pub fn impact(guest: GuestType, path: &str) -> Impact {
    match path.split('.').next().unwrap_or("") {
        "name" | "description" | "tags" | "startup" | "protection" | "pool" => Impact::None,
        "power" => Impact::Restart,
        "networks" | "disks" | "mounts" | "rootfs" => Impact::Live,
        "hardware" if guest == GuestType::Lxc => Impact::Live,
        "hardware" if path == "hardware.balloon" => Impact::Live,
        "nameservers" | "searchDomain" => Impact::Live,
        _ => Impact::AfterReboot,
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
    fn a_network_keeps_its_address_and_unknown_parts() {
        let text = "virtio=BC:24:11:7B:8D:43,bridge=vmbr0,queues=4";
        let mut net = parts(GuestType::Qemu, "net0", text);
        net.set("tag", "20");
        assert_eq!(unparts(GuestType::Qemu, "net0", &net), "virtio=BC:24:11:7B:8D:43,bridge=vmbr0,queues=4,tag=20");
    }
}
