//! The options of virtual machines.

use super::drive::DRIVE;
use super::net::NET;
use super::{CONFIG_ID, STORAGE};
use crate::sim::params::{dns_name, tag, volume_id};
use crate::sim::verify::{Kind, Param, at_least, between, format, many, opt, req};

const CPU: &[Param] = &[
    opt("cputype", Kind::Str),
    opt("flags", Kind::Str),
    opt("guest-phys-bits", between(32, 64)),
    opt("hidden", Kind::Bool),
    opt("hv-vendor-id", Kind::Str),
    opt("phys-bits", Kind::Str),
    opt("reported-model", Kind::Str),
];
const AGENT: &[Param] = &[
    req("enabled", Kind::Bool),
    opt("freeze-fs", Kind::Bool),
    opt("freeze-fs-on-backup", Kind::Same("freeze-fs")),
    opt("guest-fsfreeze", Kind::Same("freeze-fs")),
    opt("fstrim_cloned_disks", Kind::Bool),
    opt("type", Kind::Enum(&["virtio", "isa"])),
];
const VGA_TYPES: &[&str] = &[
    "cirrus",
    "qxl",
    "qxl2",
    "qxl3",
    "qxl4",
    "none",
    "serial0",
    "serial1",
    "serial2",
    "serial3",
    "std",
    "virtio",
    "virtio-gl",
    "vmware",
];
const VGA: &[Param] =
    &[opt("type", Kind::Enum(VGA_TYPES)), opt("clipboard", Kind::Enum(&["vnc"])), opt("memory", between(4, 512))];
const HOSTPCI: &[Param] = &[
    opt("host", Kind::Str),
    opt("device-id", Kind::Str),
    opt("legacy-igd", Kind::Bool),
    opt("driver", Kind::Enum(&["vfio", "keep"])),
    opt("mapping", CONFIG_ID),
    opt("mdev", Kind::Str),
    opt("pcie", Kind::Bool),
    opt("rombar", Kind::Bool),
    opt("romfile", Kind::Str),
    opt("sub-device-id", Kind::Str),
    opt("sub-vendor-id", Kind::Str),
    opt("vendor-id", Kind::Str),
    opt("x-vga", Kind::Bool),
];
const OS_TYPES: &[&str] =
    &["other", "wxp", "w2k", "w2k3", "w2k8", "wvista", "win7", "win8", "win10", "win11", "l24", "l26", "solaris"];
const KEYBOARDS: &[&str] = &[
    "de", "de-ch", "da", "en-gb", "en-us", "es", "fi", "fr", "fr-be", "fr-ca", "fr-ch", "hu", "is", "it", "ja", "lt",
    "mk", "nl", "no", "pl", "pt", "pt-br", "sv", "sl", "tr",
];
/// What a guest may be locked for.
const LOCKS: &[&str] =
    &["backup", "clone", "create", "migrate", "rollback", "snapshot", "snapshot-delete", "suspending", "suspended"];

/// A virtual machine's options: those of creation and update alike.
pub const CONFIG: &[Param] = &[
    opt("acpi", Kind::Bool),
    opt("affinity", Kind::Str),
    opt("agent", Kind::Props("enabled", AGENT)),
    opt("allow-ksm", Kind::Bool),
    opt("amd-sev", Kind::Str),
    opt("arch", Kind::Enum(&["x86_64", "aarch64"])),
    opt("args", Kind::Str),
    opt("audio0", Kind::Str),
    opt("autostart", Kind::Bool),
    opt("balloon", at_least(0)),
    opt("bios", Kind::Enum(&["seabios", "ovmf"])),
    opt("boot", Kind::Str),
    opt("bootdisk", Kind::Str),
    opt("cdrom", Kind::Str),
    opt("cicustom", Kind::Str),
    opt("cipassword", Kind::Str),
    opt("citype", Kind::Enum(&["configdrive2", "nocloud", "opennebula"])),
    opt("ciupgrade", Kind::Bool),
    opt("ciuser", Kind::Str),
    opt("cores", at_least(1)),
    opt("cpu", Kind::Props("cputype", CPU)),
    opt("cpulimit", Kind::Num(Some(0.0), Some(128.0))),
    opt("cpuunits", between(1, 262_144)),
    opt("description", Kind::Len(0, 8192)),
    opt("efidisk0", Kind::Props("file", DRIVE)),
    opt("freeze", Kind::Bool),
    opt("hookscript", format(volume_id)),
    many("hostpci", 16, Kind::Props("host", HOSTPCI)),
    opt("hotplug", Kind::Str),
    opt("hugepages", Kind::Enum(&["any", "2", "1024"])),
    many("ide", 4, Kind::Props("file", DRIVE)),
    opt("intel-tdx", Kind::Str),
    many("ipconfig", 32, format(ip_config)),
    opt("ivshmem", Kind::Str),
    opt("keephugepages", Kind::Bool),
    opt("keyboard", Kind::Enum(KEYBOARDS)),
    opt("kvm", Kind::Bool),
    opt("localtime", Kind::Bool),
    opt("lock", Kind::Enum(LOCKS)),
    opt("machine", Kind::Str),
    opt("memory", Kind::Props("current", &[req("current", at_least(16))])),
    opt("migrate_downtime", Kind::Num(Some(0.0), None)),
    opt("migrate_speed", at_least(0)),
    opt("name", format(dns_name)),
    opt("nameserver", Kind::Str),
    many("net", 32, Kind::Props("model", NET)),
    opt("numa", Kind::Bool),
    many("numa", 8, Kind::Str),
    opt("onboot", Kind::Bool),
    opt("ostype", Kind::Enum(OS_TYPES)),
    many("parallel", 3, Kind::Str),
    opt("protection", Kind::Bool),
    opt("reboot", Kind::Bool),
    opt("rng0", Kind::Str),
    many("sata", 6, Kind::Props("file", DRIVE)),
    many("scsi", 31, Kind::Props("file", DRIVE)),
    opt("scsihw", Kind::Enum(&["lsi", "lsi53c810", "virtio-scsi-pci", "virtio-scsi-single", "megasas", "pvscsi"])),
    opt("searchdomain", Kind::Str),
    many("serial", 4, Kind::Pattern(serial, usize::MAX)),
    opt("shares", between(0, 50_000)),
    opt("smbios1", Kind::Len(0, 512)),
    opt("smp", at_least(1)),
    opt("sockets", at_least(1)),
    opt("spice_enhancements", Kind::Str),
    opt("sshkeys", format(url_encoded)),
    opt("startdate", Kind::Str),
    opt("startup", format(startup_order)),
    opt("tablet", Kind::Bool),
    opt("tags", Kind::List(tag)),
    opt("tdf", Kind::Bool),
    opt("template", Kind::Bool),
    opt("tpmstate0", Kind::Props("file", DRIVE)),
    many("unused", 256, Kind::Props("file", DRIVE)),
    many("usb", 14, Kind::Str),
    opt("vcpus", at_least(1)),
    opt("vga", Kind::Props("type", VGA)),
    many("virtio", 16, Kind::Props("file", DRIVE)),
    many("virtiofs", 10, Kind::Str),
    opt("vmgenid", Kind::Str),
    opt("vmstatestorage", STORAGE),
    opt("watchdog", Kind::Str),
];

fn serial(text: &str) -> bool {
    text == "socket" || text.strip_prefix("/dev/").is_some_and(|r| !r.is_empty())
}

fn url_encoded(text: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.~%!*'()".contains(c);
    match text.chars().all(fine) {
        true => Ok(()),
        false => Err(format!("invalid urlencoded string: {text}\n")),
    }
}

fn ip_config(text: &str) -> Result<(), String> {
    for part in text.split(',').filter(|p| !p.is_empty()) {
        match part.split_once('=') {
            Some(("ip" | "gw" | "ip6" | "gw6", _)) => {}
            _ => return Err("invalid ipconfig\n".to_owned()),
        }
    }
    Ok(())
}

fn startup_order(text: &str) -> Result<(), String> {
    let number = |v: &str| v.parse::<u32>().is_ok();
    let fine = |part: &str| match part.split_once('=') {
        Some(("order" | "up" | "down", v)) => number(v),
        Some(_) => false,
        None => number(part),
    };
    match !text.is_empty() && text.split(',').all(fine) {
        true => Ok(()),
        false => Err("unable to parse startup options\n".to_owned()),
    }
}
