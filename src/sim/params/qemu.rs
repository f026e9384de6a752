//! Parameters of virtual machines.

use crate::sim::params::*;
use crate::sim::verify::{Kind, Param, at_least, between, format, many, opt, req};

const CONFIG_ID: Kind = Kind::Format(config_id, 40);
const STORAGE: Kind = format(storage_id);
const DIGEST: Param = opt("digest", Kind::Len(0, 40));
const SKIPLOCK: Param = opt("skiplock", Kind::Bool);
const MAC: Kind = format(mac);
const MODEL: Kind = Kind::Alias("model", "macaddr");

/// Emulated network cards.
pub const MODELS: &[&str] = &[
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
    "virtio",
    "vmxnet3",
];

/// Every disk slot, in PVE's order.
pub const DISKS: &[&str] = &[
    "ide0",
    "ide1",
    "ide2",
    "ide3",
    "scsi0",
    "scsi1",
    "scsi2",
    "scsi3",
    "scsi4",
    "scsi5",
    "scsi6",
    "scsi7",
    "scsi8",
    "scsi9",
    "scsi10",
    "scsi11",
    "scsi12",
    "scsi13",
    "scsi14",
    "scsi15",
    "scsi16",
    "scsi17",
    "scsi18",
    "scsi19",
    "scsi20",
    "scsi21",
    "scsi22",
    "scsi23",
    "scsi24",
    "scsi25",
    "scsi26",
    "scsi27",
    "scsi28",
    "scsi29",
    "scsi30",
    "virtio0",
    "virtio1",
    "virtio2",
    "virtio3",
    "virtio4",
    "virtio5",
    "virtio6",
    "virtio7",
    "virtio8",
    "virtio9",
    "virtio10",
    "virtio11",
    "virtio12",
    "virtio13",
    "virtio14",
    "virtio15",
    "sata0",
    "sata1",
    "sata2",
    "sata3",
    "sata4",
    "sata5",
    "efidisk0",
    "tpmstate0",
];

/// A disk's property string.
pub const DRIVE: &[Param] = &[
    req("file", format(volume_or_path)),
    opt("volume", Kind::Same("file")),
    opt("aio", Kind::Enum(&["native", "threads", "io_uring"])),
    opt("backup", Kind::Bool),
    opt("bps", at_least(0)),
    opt("bps_rd", at_least(0)),
    opt("bps_wr", at_least(0)),
    opt("cache", Kind::Enum(&["none", "writethrough", "writeback", "unsafe", "directsync"])),
    opt("detect_zeroes", Kind::Bool),
    opt("discard", Kind::Enum(&["ignore", "on"])),
    opt("efitype", Kind::Enum(&["2m", "4m"])),
    opt("format", Kind::Enum(&["raw", "qcow", "qed", "qcow2", "vmdk", "cloop"])),
    opt("import-from", Kind::Str),
    opt("iops", at_least(0)),
    opt("iops_max", at_least(0)),
    opt("iops_rd", at_least(0)),
    opt("iops_rd_max", at_least(0)),
    opt("iops_wr", at_least(0)),
    opt("iops_wr_max", at_least(0)),
    opt("iothread", Kind::Bool),
    opt("mbps", Kind::Num(None, None)),
    opt("mbps_max", Kind::Num(None, None)),
    opt("mbps_rd", Kind::Num(None, None)),
    opt("mbps_rd_max", Kind::Num(None, None)),
    opt("mbps_wr", Kind::Num(None, None)),
    opt("mbps_wr_max", Kind::Num(None, None)),
    opt("media", Kind::Enum(&["cdrom", "disk"])),
    opt("ms-cert", Kind::Enum(&["2011", "2023", "2023w", "2023k"])),
    opt("pre-enrolled-keys", Kind::Bool),
    opt("product", Kind::Str),
    opt("queues", at_least(2)),
    opt("replicate", Kind::Bool),
    opt("rerror", Kind::Enum(&["ignore", "report", "stop"])),
    opt("ro", Kind::Bool),
    opt("scsiblock", Kind::Bool),
    opt("serial", Kind::Str),
    opt("shared", Kind::Bool),
    opt("size", format(disk_size)),
    opt("snapshot", Kind::Bool),
    opt("ssd", Kind::Bool),
    opt("vendor", Kind::Str),
    opt("version", Kind::Enum(&["v1.2", "v2.0"])),
    opt("werror", Kind::Enum(&["enospc", "ignore", "report", "stop"])),
    opt("wwn", Kind::Str),
];

/// A network card's property string.
pub const NET: &[Param] = &[
    req("model", Kind::Enum(MODELS)),
    opt("macaddr", MAC),
    opt("bridge", format(iface)),
    opt("firewall", Kind::Bool),
    opt("link_down", Kind::Bool),
    opt("mtu", between(1, 65520)),
    opt("queues", between(0, 64)),
    opt("rate", Kind::Num(Some(0.0), None)),
    opt("tag", between(1, 4094)),
    opt("trunks", Kind::Str),
    opt("e1000", MODEL),
    opt("e1000-82540em", MODEL),
    opt("e1000-82544gc", MODEL),
    opt("e1000-82545em", MODEL),
    opt("e1000e", MODEL),
    opt("i82551", MODEL),
    opt("i82557b", MODEL),
    opt("i82559er", MODEL),
    opt("ne2k_isa", MODEL),
    opt("ne2k_pci", MODEL),
    opt("pcnet", MODEL),
    opt("rtl8139", MODEL),
    opt("virtio", MODEL),
    opt("vmxnet3", MODEL),
];

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

/// Only when creating.
pub const CREATE: &[Param] = &[
    req("vmid", VMID),
    opt("archive", Kind::Len(0, 255)),
    opt("bwlimit", at_least(0)),
    opt("force", Kind::Bool),
    opt("ha-managed", Kind::Bool),
    opt("import-working-storage", STORAGE),
    opt("live-restore", Kind::Bool),
    opt("pool", Kind::Str),
    opt("start", Kind::Bool),
    opt("storage", STORAGE),
    opt("unique", Kind::Bool),
];
/// Only when updating.
pub const UPDATE: &[Param] = &[
    opt("delete", Kind::List(config_id)),
    opt("revert", Kind::List(config_id)),
    opt("force", Kind::Bool),
    SKIPLOCK,
    DIGEST,
];
/// Only when updating by POST.
pub const UPDATE_ASYNC: &[Param] = &[opt("background_delay", between(1, 30)), opt("import-working-storage", STORAGE)];
/// Reading the configuration.
pub const READ: &[Param] = &[opt("current", Kind::Bool), opt("snapshot", CONFIG_ID)];
/// Cloning.
pub const CLONE: &[Param] = &[
    req("newid", VMID),
    opt("bwlimit", at_least(0)),
    opt("description", Kind::Str),
    opt("format", Kind::Enum(&["raw", "qcow2", "vmdk"])),
    opt("full", Kind::Bool),
    opt("name", format(dns_name)),
    opt("pool", Kind::Str),
    opt("snapname", CONFIG_ID),
    opt("storage", STORAGE),
    opt("target", format(node)),
];
/// Deleting.
pub const DESTROY: &[Param] = &[opt("destroy-unreferenced-disks", Kind::Bool), opt("purge", Kind::Bool), SKIPLOCK];
/// Starting.
pub const START: &[Param] = &[
    SKIPLOCK,
    opt("timeout", at_least(0)),
    opt("force-cpu", Kind::Str),
    opt("machine", Kind::Str),
    opt("migratedfrom", format(node)),
    opt("migration_network", Kind::Str),
    opt("migration_type", Kind::Enum(&["secure", "insecure"])),
    opt("stateuri", Kind::Len(0, 128)),
    opt("targetstorage", Kind::Str),
];
/// Stopping, shutting down, rebooting, resetting, pausing, resuming.
pub const STOP: &[Param] = &[
    SKIPLOCK,
    opt("timeout", at_least(0)),
    opt("keepActive", Kind::Bool),
    opt("migratedfrom", format(node)),
    opt("overrule-shutdown", Kind::Bool),
];
/// Shutting down.
pub const SHUTDOWN: &[Param] =
    &[SKIPLOCK, opt("timeout", at_least(0)), opt("keepActive", Kind::Bool), opt("forceStop", Kind::Bool)];
/// Rebooting.
pub const REBOOT: &[Param] = &[opt("timeout", at_least(0))];
/// Resetting.
pub const RESET: &[Param] = &[SKIPLOCK];
/// Pausing.
pub const SUSPEND: &[Param] = &[SKIPLOCK, opt("todisk", Kind::Bool), opt("statestorage", STORAGE)];
/// Resuming.
pub const RESUME: &[Param] = &[SKIPLOCK, opt("nocheck", Kind::Bool)];
/// Growing a disk.
pub const RESIZE: &[Param] =
    &[req("disk", Kind::Enum(DISKS)), req("size", Kind::Pattern(resize_size, usize::MAX)), SKIPLOCK, DIGEST];
/// Moving a disk.
pub const MOVE: &[Param] = &[
    req("disk", Kind::Enum(DISKS)),
    opt("storage", STORAGE),
    opt("format", Kind::Enum(&["raw", "qcow2", "vmdk"])),
    opt("delete", Kind::Bool),
    opt("bwlimit", at_least(0)),
    opt("target-vmid", VMID),
    opt("target-disk", Kind::Enum(DISKS)),
    opt("target-digest", Kind::Len(0, 40)),
    DIGEST,
];
/// Migrating.
pub const MIGRATE: &[Param] = &[
    req("target", format(node)),
    opt("bwlimit", at_least(0)),
    opt("force", Kind::Bool),
    opt("migration_network", Kind::Str),
    opt("migration_type", Kind::Enum(&["secure", "insecure"])),
    opt("online", Kind::Bool),
    opt("targetstorage", Kind::Str),
    opt("with-conntrack-state", Kind::Bool),
    opt("with-local-disks", Kind::Bool),
];
/// Asking about a migration.
pub const MIGRATE_CHECK: &[Param] = &[opt("target", format(node))];
/// Unlinking disks.
pub const UNLINK: &[Param] = &[req("idlist", Kind::List(config_id)), opt("force", Kind::Bool)];
/// Turning into a template.
pub const TEMPLATE: &[Param] = &[opt("disk", Kind::Enum(DISKS))];
/// Taking a snapshot.
pub const SNAPSHOT: &[Param] = &[req("snapname", CONFIG_ID), opt("description", Kind::Str), opt("vmstate", Kind::Bool)];
/// Deleting a snapshot.
pub const SNAPSHOT_DELETE: &[Param] = &[opt("force", Kind::Bool)];
/// Changing a snapshot.
pub const SNAPSHOT_CONFIG: &[Param] = &[opt("description", Kind::Str)];
/// Rolling back.
pub const ROLLBACK: &[Param] = &[opt("start", Kind::Bool)];
/// Asking for a feature.
pub const FEATURE: &[Param] = &[req("feature", Kind::Enum(&["snapshot", "clone", "copy"])), opt("snapname", CONFIG_ID)];
/// Listing.
pub const LIST: &[Param] = &[opt("full", Kind::Bool)];
/// Running a command by the agent.
pub const EXEC: &[Param] = &[req("command", Kind::Each(&Kind::Str)), opt("input-data", Kind::Len(0, 65536))];
/// Asking for a command's end.
pub const EXEC_STATUS: &[Param] = &[req("pid", at_least(0))];
/// Reading a file by the agent.
pub const FILE_READ: &[Param] = &[req("file", Kind::Str)];
/// Writing a file by the agent.
pub const FILE_WRITE: &[Param] = &[req("file", Kind::Str), req("content", Kind::Str), opt("encode", Kind::Bool)];
/// A cloud-init dump.
pub const CLOUDINIT_DUMP: &[Param] = &[req("type", Kind::Enum(&["user", "network", "meta"]))];
/// A time frame of statistics.
pub const RRD: &[Param] = &[
    req("timeframe", Kind::Enum(&["hour", "day", "week", "month", "year", "decade"])),
    opt("cf", Kind::Enum(&["AVERAGE", "MAX"])),
];
/// A console.
pub const VNC: &[Param] = &[opt("websocket", Kind::Bool), opt("generate-password", Kind::Bool)];
/// The monitor.
pub const MONITOR: &[Param] = &[req("command", Kind::Str)];

/// `mac-addr`.
pub fn mac(text: &str) -> Result<(), String> {
    let octets: Vec<&str> = text.split(':').collect();
    let hex = |o: &&str| o.len() == 2 && o.bytes().all(|b| b.is_ascii_hexdigit());
    let unicast = octets.first().and_then(|o| u8::from_str_radix(o, 16).ok()).is_some_and(|o| o & 1 == 0);
    match octets.len() == 6 && octets.iter().all(hex) && unicast {
        true => Ok(()),
        false => Err("value does not look like a valid unicast MAC address\n".to_owned()),
    }
}

fn volume_or_path(text: &str) -> Result<(), String> {
    if text == "none" || text == "cdrom" || text.starts_with('/') { Ok(()) } else { volume_id(text) }
}

fn disk_size(text: &str) -> Result<(), String> {
    match crate::base::quantity::Bytes::parse(text) {
        Some(_) => Ok(()),
        None => Err("value does not look like a valid disk size\n".to_owned()),
    }
}

fn resize_size(text: &str) -> bool {
    let text = text.strip_prefix('+').unwrap_or(text);
    let number = text.strip_suffix(['K', 'M', 'G', 'T']).unwrap_or(text);
    number.parse::<f64>().is_ok() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !number.starts_with('.')
}

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
