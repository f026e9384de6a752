//! Volumes of guests: disks and CDs of VMs, root and mount points of CTs.

use crate::kinds::guest::spec::{Seconds, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A disk or CD drive of a VM.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disk {
    /// Where it is plugged in: `scsi0`, `virtio1`, `sata0`, `ide0`, …; `efidisk0` holds the firmware's settings, `tpmstate0` the TPM's.
    #[schemars(regex(
        pattern = r"^(scsi([0-9]|[12][0-9]|30)|virtio([0-9]|1[0-5])|sata[0-5]|ide[0-3]|efidisk0|tpmstate0)$"
    ))]
    pub slot: String,
    /// The storage that holds it; needed to create it. Another storage moves it there, while the VM runs.
    #[serde(default)]
    pub storage: Option<String>,
    /// Its size. It may grow, never shrink. PVE chooses that of `efidisk0` and `tpmstate0`.
    #[serde(default)]
    pub size: Option<Size>,
    /// A volume that is there and is plugged in here, such as one that stands as `unusedN` of this VM.
    #[serde(default)]
    pub volume: Option<String>,
    /// Makes it a CD drive with this image, such as `local:iso/debian.iso`; `none` for an empty drive.
    #[serde(default)]
    pub iso: Option<String>,
    /// Cache of the host: `none`, `writeback`, `writethrough`, `directsync`, `unsafe`.
    #[serde(default)]
    #[schemars(extend("enum" = ["none", "writeback", "writethrough", "directsync", "unsafe"]))]
    pub cache: Option<String>,
    /// How the host does its I/O: `native`, `threads`, `io_uring`.
    #[serde(default)]
    #[schemars(extend("enum" = ["native", "threads", "io_uring"]))]
    pub aio: Option<String>,
    /// Give freed blocks back to the storage.
    #[serde(default)]
    pub discard: Option<bool>,
    /// Show it to the guest as an SSD.
    #[serde(default)]
    pub ssd: Option<bool>,
    /// A thread of its own for its I/O.
    #[serde(default)]
    pub io_thread: Option<bool>,
    /// Whether backups hold it.
    #[serde(default)]
    pub backup: Option<bool>,
    /// Whether replication jobs copy it.
    #[serde(default)]
    pub replicate: Option<bool>,
    /// The guest may not write to it.
    #[serde(default)]
    pub read_only: Option<bool>,
    /// It is there on all nodes, though its storage does not say so.
    #[serde(default)]
    pub shared: Option<bool>,
    /// Forget all writes when the VM stops.
    #[serde(default)]
    pub snapshot: Option<bool>,
    /// Look for zeroes that are written.
    #[serde(default)]
    pub detect_zeroes: Option<bool>,
    /// What is done when a read fails: `ignore`, `report`, `stop`.
    #[serde(default)]
    #[schemars(extend("enum" = ["ignore", "report", "stop"]))]
    pub read_error: Option<String>,
    /// What is done when a write fails: `enospc`, `ignore`, `report`, `stop`.
    #[serde(default)]
    #[schemars(extend("enum" = ["enospc", "ignore", "report", "stop"]))]
    pub write_error: Option<String>,
    /// The serial number that the guest reads.
    #[serde(default)]
    pub serial: Option<String>,
    /// The world wide name that the guest reads.
    #[serde(default)]
    #[schemars(regex(pattern = r"^0x[0-9a-fA-F]{16}$"))]
    pub wwn: Option<String>,
    /// The model that the guest reads (IDE).
    #[serde(default)]
    pub model: Option<String>,
    /// The vendor that the guest reads (SCSI).
    #[serde(default)]
    pub vendor: Option<String>,
    /// The product that the guest reads (SCSI).
    #[serde(default)]
    pub product: Option<String>,
    /// I/O queues (SCSI).
    #[serde(default)]
    #[schemars(range(min = 2))]
    pub queues: Option<u32>,
    /// Pass a whole device of the host through (SCSI).
    #[serde(default)]
    pub scsi_block: Option<bool>,
    /// Limits of its I/O.
    #[serde(default)]
    pub limits: Option<DiskLimits>,
    /// Size of the firmware's settings; `4m` for Secure Boot (`efidisk0`): `2m`, `4m`.
    #[serde(default)]
    #[schemars(extend("enum" = ["2m", "4m"]))]
    pub efi_type: Option<String>,
    /// With the keys of Microsoft and distributions enrolled; decided when it is made (`efidisk0`).
    #[serde(default)]
    pub pre_enrolled_keys: Option<bool>,
    /// Microsoft's certificates that are enrolled (`efidisk0`): `2011`, `2023`, `2023w`, `2023k`.
    #[serde(default)]
    #[schemars(extend("enum" = ["2011", "2023", "2023w", "2023k"]))]
    pub ms_cert: Option<String>,
    /// Version of the TPM; decided when it is made (`tpmstate0`): `v1.2`, `v2.0`.
    #[serde(default)]
    #[schemars(extend("enum" = ["v1.2", "v2.0"]))]
    pub version: Option<String>,
}

/// Limits of a disk's I/O.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiskLimits {
    /// Reads and writes: operations a second.
    #[serde(default)]
    pub iops: Option<u32>,
    /// Reads and writes in a burst: operations a second.
    #[serde(default)]
    pub iops_max: Option<u32>,
    /// Reads and writes: how long a burst may last.
    #[serde(default)]
    pub iops_max_length: Option<Seconds>,
    /// Reads: operations a second.
    #[serde(default)]
    pub iops_rd: Option<u32>,
    /// Reads in a burst: operations a second.
    #[serde(default)]
    pub iops_rd_max: Option<u32>,
    /// Reads: how long a burst may last.
    #[serde(default)]
    pub iops_rd_max_length: Option<Seconds>,
    /// Writes: operations a second.
    #[serde(default)]
    pub iops_wr: Option<u32>,
    /// Writes in a burst: operations a second.
    #[serde(default)]
    pub iops_wr_max: Option<u32>,
    /// Writes: how long a burst may last.
    #[serde(default)]
    pub iops_wr_max_length: Option<Seconds>,
    /// Reads and writes: bytes a second.
    #[serde(default)]
    pub bps: Option<u64>,
    /// Reads and writes: how long a burst may last.
    #[serde(default)]
    pub bps_max_length: Option<Seconds>,
    /// Reads: bytes a second.
    #[serde(default)]
    pub bps_rd: Option<u64>,
    /// Reads: how long a burst may last.
    #[serde(default)]
    pub bps_rd_max_length: Option<Seconds>,
    /// Writes: bytes a second.
    #[serde(default)]
    pub bps_wr: Option<u64>,
    /// Writes: how long a burst may last.
    #[serde(default)]
    pub bps_wr_max_length: Option<Seconds>,
    /// Reads and writes: megabytes a second.
    #[serde(default)]
    pub mbps: Option<f64>,
    /// Reads and writes in a burst: megabytes a second.
    #[serde(default)]
    pub mbps_max: Option<f64>,
    /// Reads: megabytes a second.
    #[serde(default)]
    pub mbps_rd: Option<f64>,
    /// Reads in a burst: megabytes a second.
    #[serde(default)]
    pub mbps_rd_max: Option<f64>,
    /// Writes: megabytes a second.
    #[serde(default)]
    pub mbps_wr: Option<f64>,
    /// Writes in a burst: megabytes a second.
    #[serde(default)]
    pub mbps_wr_max: Option<f64>,
}

/// The root file system of a container.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RootFs {
    /// The storage that holds it; needed to create it. Another storage moves it there, while the container is stopped.
    #[serde(default)]
    pub storage: Option<String>,
    /// Its size. It may grow, never shrink.
    #[serde(default)]
    pub size: Option<Size>,
    /// POSIX ACLs.
    #[serde(default)]
    pub acl: Option<bool>,
    /// User quotas inside (privileged containers).
    #[serde(default)]
    pub quota: Option<bool>,
    /// The container may not write to it.
    #[serde(default)]
    pub read_only: Option<bool>,
    /// Whether replication jobs copy it.
    #[serde(default)]
    pub replicate: Option<bool>,
    /// It is there on all nodes, though its storage does not say so.
    #[serde(default)]
    pub shared: Option<bool>,
    /// Mount options: `discard`, `lazytime`, `noatime`, `nodev`, `noexec`, `nosuid`.
    #[serde(default)]
    pub mount_options: Option<Vec<String>>,
}

/// A mount point of a container: a volume, or a directory or device of the node.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// Which mount point: `mp0`, `mp1`, …
    #[schemars(regex(pattern = r"^mp([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$"))]
    pub slot: String,
    /// The storage that holds its volume; needed to create it. Another storage moves it there, while the container is stopped.
    #[serde(default)]
    pub storage: Option<String>,
    /// Its size. It may grow, never shrink.
    #[serde(default)]
    pub size: Option<Size>,
    /// A volume that is there and is mounted here, such as one that stands as `unusedN` of this container.
    #[serde(default)]
    pub volume: Option<String>,
    /// A directory of the node (bind mount), in place of a volume. PVE lets only root@pam set it.
    #[serde(default)]
    pub host_path: Option<String>,
    /// A block device of the node, in place of a volume. PVE lets only root@pam set it.
    #[serde(default)]
    pub device: Option<String>,
    /// Where it is mounted in the container.
    pub path: String,
    /// Whether backups hold it.
    #[serde(default)]
    pub backup: Option<bool>,
    /// Keep the owner and mode that its directory has.
    #[serde(default)]
    pub keep_attrs: Option<bool>,
    /// POSIX ACLs.
    #[serde(default)]
    pub acl: Option<bool>,
    /// User quotas inside (privileged containers).
    #[serde(default)]
    pub quota: Option<bool>,
    /// The container may not write to it.
    #[serde(default)]
    pub read_only: Option<bool>,
    /// Whether replication jobs copy it.
    #[serde(default)]
    pub replicate: Option<bool>,
    /// It is there on all nodes, though its storage does not say so.
    #[serde(default)]
    pub shared: Option<bool>,
    /// Mount options: `discard`, `lazytime`, `noatime`, `nodev`, `noexec`, `nosuid`.
    #[serde(default)]
    pub mount_options: Option<Vec<String>>,
}
