//! What may be typed after `backup`.

use crate::base::id::VmId;
use crate::cli::args::FormatArgs;
use crate::cli::args::guests::{Agreed, guest_name, number};
use crate::kinds::objects::storage::{BackupMode, Compression};
use clap::{Args, Subcommand};

/// `backup`.
#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Back guests up now
    Now(BackupNow),
    /// List the backups that there are, oldest first
    List(BackupList),
    /// Make a guest of a backup: a new one, or the guest itself as it was
    Restore(BackupRestore),
}

/// `backup now`.
#[derive(Debug, Args)]
pub struct BackupNow {
    /// The guests: names or VMIDs; vm/NAME and ct/NAME where both have one of that name
    #[arg(required = true, value_name = "GUEST")]
    pub guests: Vec<String>,
    /// Where the backup goes [default: the only storage that takes backups]
    #[arg(long, value_name = "STORAGE")]
    pub storage: Option<String>,
    /// How a running guest is held meanwhile: snapshot, suspend or stop
    #[arg(long, value_name = "MODE", default_value = "snapshot", value_parser = mode)]
    pub mode: BackupMode,
    /// How it is packed: zstd, gzip, lzo or 0 [default: zstd; a Proxmox Backup Server packs by itself]
    #[arg(long, value_name = "WITH", value_parser = compression)]
    pub compress: Option<Compression>,
    /// Notes on it; PVE fills in {{guestname}}, {{vmid}}, {{node}} and {{cluster}}
    #[arg(long, value_name = "TEXT", default_value = "{{guestname}}")]
    pub notes: String,
    /// Keep it from being pruned or deleted
    #[arg(long)]
    pub protected: bool,
    /// Let the storage's retention remove older backups of the guests [default: they all stay]
    #[arg(long)]
    pub prune: bool,
    /// What is agreed to.
    #[command(flatten)]
    pub agreed: Agreed,
}

/// `backup list`.
#[derive(Debug, Args)]
pub struct BackupList {
    /// Only those of this guest: its name, or the VMID that it has or had
    #[arg(value_name = "GUEST")]
    pub guest: Option<String>,
    /// Only those on this storage
    #[arg(long, value_name = "STORAGE")]
    pub storage: Option<String>,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `backup restore`.
#[derive(Debug, Args)]
pub struct BackupRestore {
    /// The backup as PVE calls it (local:backup/vzdump-…), or GUEST, GUEST@latest, GUEST@TIME; of a time, its beginning is enough
    #[arg(value_name = "VOLUME|GUEST[@TIME]")]
    pub backup: String,
    /// The name of the new guest [default: that of the original, with -restored behind it]
    #[arg(long = "as", value_name = "NEWNAME", value_parser = guest_name, conflicts_with_all = ["in_place", "keep_hostname"])]
    pub name: Option<String>,
    /// Its number [default: the smallest that is free]
    #[arg(long, value_name = "VMID", value_parser = number, conflicts_with = "in_place")]
    pub vmid: Option<VmId>,
    /// Write over the guest that it is a backup of
    #[arg(long)]
    pub in_place: bool,
    /// Write over the guest although the backup may be of another that had its number
    #[arg(long, requires = "in_place")]
    pub other_guest: bool,
    /// Where the volumes go [default: where they were; all of a container's beside its root]
    #[arg(long, value_name = "STORAGE")]
    pub storage: Option<String>,
    /// Make the new guest on this node, which must see the backup
    #[arg(long, value_name = "NODE", conflicts_with = "in_place")]
    pub target_node: Option<String>,
    /// Give the new guest the original's MAC addresses
    #[arg(long, conflicts_with = "in_place")]
    pub keep_mac: bool,
    /// Give the new guest the original's name
    #[arg(long, conflicts_with = "in_place")]
    pub keep_hostname: bool,
    /// Start it when it is restored
    #[arg(long)]
    pub start: bool,
    /// What is agreed to.
    #[command(flatten)]
    pub agreed: Agreed,
}

fn mode(text: &str) -> Result<BackupMode, String> {
    match text.to_lowercase().as_str() {
        "snapshot" => Ok(BackupMode::Snapshot),
        "suspend" => Ok(BackupMode::Suspend),
        "stop" => Ok(BackupMode::Stop),
        _ => Err("expected snapshot, suspend or stop".to_owned()),
    }
}

fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "0" | "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "lzo" => Ok(Compression::Lzo),
        "zstd" => Ok(Compression::Zstd),
        _ => Err("expected zstd, gzip, lzo or 0".to_owned()),
    }
}
