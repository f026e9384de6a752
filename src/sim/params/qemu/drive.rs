//! Drives of virtual machines.

use crate::sim::params::volume_id;
use crate::sim::verify::{Kind, Param, at_least, format, opt, req};

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
    opt("bps_max_length", at_least(1)),
    opt("bps_rd_max_length", at_least(1)),
    opt("bps_wr_max_length", at_least(1)),
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
    opt("iops_max_length", at_least(1)),
    opt("iops_rd_max_length", at_least(1)),
    opt("iops_wr_max_length", at_least(1)),
    opt("bps_rd_length", Kind::Same("bps_rd_max_length")),
    opt("bps_wr_length", Kind::Same("bps_wr_max_length")),
    opt("iops_rd_length", Kind::Same("iops_rd_max_length")),
    opt("iops_wr_length", Kind::Same("iops_wr_max_length")),
    opt("iothread", Kind::Bool),
    opt("mbps", Kind::Num(None, None)),
    opt("mbps_max", Kind::Num(None, None)),
    opt("mbps_rd", Kind::Num(None, None)),
    opt("mbps_rd_max", Kind::Num(None, None)),
    opt("mbps_wr", Kind::Num(None, None)),
    opt("mbps_wr_max", Kind::Num(None, None)),
    opt("media", Kind::Enum(&["cdrom", "disk"])),
    opt("model", Kind::Len(0, 120)),
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

fn volume_or_path(text: &str) -> Result<(), String> {
    if text == "none" || text == "cdrom" || text.starts_with('/') { Ok(()) } else { volume_id(text) }
}

fn disk_size(text: &str) -> Result<(), String> {
    match crate::base::quantity::Bytes::parse(text) {
        Some(_) => Ok(()),
        None => Err("value does not look like a valid disk size\n".to_owned()),
    }
}

/// A size, or what is to be added to it.
pub fn resize_size(text: &str) -> bool {
    let text = text.strip_prefix('+').unwrap_or(text);
    let number = text.strip_suffix(['K', 'M', 'G', 'T']).unwrap_or(text);
    number.parse::<f64>().is_ok() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !number.starts_with('.')
}
