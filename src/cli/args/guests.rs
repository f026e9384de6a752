//! What may be typed after the verbs that do something to one guest by hand.

use crate::base::id::VmId;
use crate::cli::args::{Allow, FormatArgs, duration};
use crate::cli::played::{Length, Start, length, start};
use crate::kinds::guest::hand::snapshot::check_name;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Which guest.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// Its kind: vm, ct or template
    pub kind: String,
    /// Its name in the manifests, its name in PVE, or its VMID
    pub name: String,
}

/// What is agreed to, and how the end is told.
#[derive(Debug, Clone, Default, Args)]
pub struct Agreed {
    /// Permit what is refused otherwise; repeatable
    #[arg(long, value_enum, value_name = "WHAT")]
    pub allow: Vec<Allow>,
    /// Show what would be done and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `start`, `stop`.
#[derive(Debug, Args)]
pub struct Act {
    /// Which guest.
    #[command(flatten)]
    pub which: Which,
    /// What is agreed to.
    #[command(flatten)]
    pub agreed: Agreed,
}

/// `shutdown`, `restart`.
#[derive(Debug, Args)]
pub struct Orderly {
    /// Which guest.
    #[command(flatten)]
    pub which: Which,
    /// How long it may take to shut down: 30s, 5m
    #[arg(long, default_value = "3m", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,
    /// What is agreed to.
    #[command(flatten)]
    pub agreed: Agreed,
}

/// `clone`.
#[derive(Debug, Args)]
pub struct Clone {
    /// Which guest.
    #[command(flatten)]
    pub which: Which,
    /// The name of the new guest
    #[arg(value_name = "NEWNAME", value_parser = guest_name)]
    pub new: String,
    /// Its number [default: the smallest that is free]
    #[arg(long, value_name = "VMID", value_parser = number)]
    pub vmid: Option<VmId>,
    /// Copy the disks; the default for what is no template
    #[arg(long, conflicts_with = "linked")]
    pub full: bool,
    /// Let the disks hang on those of the source; the default for templates
    #[arg(long)]
    pub linked: bool,
    /// Put the disks of a full clone on this storage
    #[arg(long, value_name = "STORAGE", conflicts_with = "linked")]
    pub storage: Option<String>,
    /// Make it on this node; its disks must be on shared storage
    #[arg(long, value_name = "NODE")]
    pub target_node: Option<String>,
    /// Copy the guest as it was at this snapshot
    #[arg(long, value_name = "SNAP", value_parser = check_name)]
    pub snapshot: Option<String>,
    /// What is agreed to.
    #[command(flatten)]
    pub agreed: Agreed,
}

/// `migrate`.
#[derive(Debug, Args)]
pub struct Migrate {
    /// Which guest.
    #[command(flatten)]
    pub which: Which,
    /// The node that it moves to
    #[arg(value_name = "NODE")]
    pub node: String,
    /// Only while it runs, without an interruption (VMs)
    #[arg(long, conflicts_with = "offline")]
    pub online: bool,
    /// Only while it does not run
    #[arg(long)]
    pub offline: bool,
    /// Copy disks on local storage too while it runs
    #[arg(long)]
    pub with_local_disks: bool,
    /// What is agreed to.
    #[command(flatten)]
    pub agreed: Agreed,
}

/// `snapshot`.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Take a snapshot
    Create(SnapshotCreate),
    /// List the snapshots of a guest, of a kind, or of all guests, oldest first
    List(SnapshotList),
    /// Draw which snapshot came after which, and where the guest stands
    Tree(SnapshotTree),
    /// Delete a snapshot; one that pvectl did not take wants --allow data-loss
    Delete(SnapshotDelete),
    /// Roll a guest back to a snapshot; what came after it is lost
    Rollback(SnapshotRollback),
    /// Make a new guest of a snapshot, and leave the guest alone
    Branch(SnapshotBranch),
    /// Delete what the snapshot policies of manifests let go
    Prune(SnapshotPrune),
    /// Play the snapshot policies of manifests over a year, without a cluster
    Simulate(SnapshotSimulate),
}

/// `snapshot prune`.
#[derive(Debug, Args)]
pub struct SnapshotPrune {
    /// The manifests that hold the policies
    #[arg(short, long = "filename", value_name = "FILE|DIR|-|URL")]
    pub files: Vec<PathBuf>,
    /// Only this policy; repeatable
    #[arg(long, value_name = "NAME")]
    pub policy: Vec<String>,
    /// Show each snapshot with what the rule says of it, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `snapshot simulate`.
#[derive(Debug, Args)]
pub struct SnapshotSimulate {
    /// The manifests that hold the policies
    #[arg(short, long = "filename", value_name = "FILE|DIR|-|URL")]
    pub files: Vec<PathBuf>,
    /// Only this policy; repeatable
    #[arg(long, value_name = "NAME")]
    pub policy: Vec<String>,
    /// The first day, or a time such as 2026-01-01T12:00:00Z [default: today]
    #[arg(long, value_name = "DATE", value_parser = start)]
    pub from: Option<Start>,
    /// How long: 1y, 26w, 90d, 36h
    #[arg(long = "for", value_name = "TIME", default_value = "1y", value_parser = length)]
    pub length: Length,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `snapshot create`.
#[derive(Debug, Args)]
pub struct SnapshotCreate {
    /// Which guest.
    #[command(flatten)]
    pub which: Which,
    /// How it is called
    #[arg(value_name = "SNAP", value_parser = check_name)]
    pub snapshot: String,
    /// Save what is in the memory of a running VM, too
    #[arg(long, conflicts_with = "no_ram")]
    pub ram: bool,
    /// Save the disks alone (the default)
    #[arg(long)]
    pub no_ram: bool,
    /// A few words about it
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// What is agreed to.
    #[command(flatten)]
    pub agreed: Agreed,
}

/// `snapshot list`.
#[derive(Debug, Args)]
pub struct SnapshotList {
    /// Its kind: vm or ct [default: both]
    pub kind: Option<String>,
    /// Its name in the manifests, its name in PVE, or its VMID [default: all]
    pub name: Option<String>,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `snapshot tree`.
#[derive(Debug, Args)]
pub struct SnapshotTree {
    /// Which guest.
    #[command(flatten)]
    pub which: Which,
    /// Form of output.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// `snapshot delete`.
#[derive(Debug, Args)]
pub struct SnapshotDelete {
    /// Which guest.
    #[command(flatten)]
    pub which: Which,
    /// Which snapshot
    #[arg(value_name = "SNAP", value_parser = check_name)]
    pub snapshot: String,
    /// What is agreed to.
    #[command(flatten)]
    pub agreed: Agreed,
}

/// `snapshot rollback`.
#[derive(Debug, Args)]
pub struct SnapshotRollback {
    /// Which guest.
    #[command(flatten)]
    pub which: Which,
    /// Which snapshot
    #[arg(value_name = "SNAP", value_parser = check_name)]
    pub snapshot: String,
    /// Start the guest when it is rolled back
    #[arg(long)]
    pub start: bool,
    /// What is agreed to.
    #[command(flatten)]
    pub agreed: Agreed,
}

/// `snapshot branch`.
#[derive(Debug, Args)]
pub struct SnapshotBranch {
    /// Which guest.
    #[command(flatten)]
    pub which: Which,
    /// Which snapshot
    #[arg(value_name = "SNAP", value_parser = check_name)]
    pub snapshot: String,
    /// The name of the new guest
    #[arg(value_name = "NEWNAME", value_parser = guest_name)]
    pub new: String,
    /// Its number [default: the smallest that is free]
    #[arg(long, value_name = "VMID", value_parser = number)]
    pub vmid: Option<VmId>,
    /// Put its disks on this storage
    #[arg(long, value_name = "STORAGE")]
    pub storage: Option<String>,
    /// What is agreed to.
    #[command(flatten)]
    pub agreed: Agreed,
}

/// `restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// Which guest.
    #[command(flatten)]
    pub which: Which,
    /// Which snapshot
    #[arg(value_name = "SNAP", value_parser = check_name)]
    pub snapshot: String,
    /// Leave the guest alone and make a new one of the snapshot, with this name
    #[arg(long, value_name = "NEWNAME", value_parser = guest_name)]
    pub branch: Option<String>,
    /// Start the guest when it is rolled back
    #[arg(long, conflicts_with = "branch")]
    pub start: bool,
    /// The number of the new guest [default: the smallest that is free]
    #[arg(long, value_name = "VMID", value_parser = number, requires = "branch")]
    pub vmid: Option<VmId>,
    /// Put the disks of the new guest on this storage
    #[arg(long, value_name = "STORAGE", requires = "branch")]
    pub storage: Option<String>,
    /// What is agreed to.
    #[command(flatten)]
    pub agreed: Agreed,
}

pub(super) fn number(text: &str) -> Result<VmId, String> {
    let number = text.parse().ok().and_then(VmId::new);
    number.ok_or_else(|| format!("expected a number from {} to {}", VmId::MIN, VmId::MAX))
}

/// What PVE takes as a guest's name: a DNS name.
pub(super) fn guest_name(text: &str) -> Result<String, String> {
    let label = |l: &str| {
        let inside = l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        inside && !l.is_empty() && l.len() <= 63 && !l.starts_with('-') && !l.ends_with('-')
    };
    if text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    Err("expected a DNS name: letters, digits and - inside, such as web-02".to_owned())
}
