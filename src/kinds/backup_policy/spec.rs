//! What users write.

use crate::kinds::guest::spec::Seconds;
use crate::kinds::objects::storage::{Compression, Retention};
use crate::kinds::selector::Selector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Backups of chosen guests: one of PVE's own jobs, whose list of guests follows them as they come and leave, and a check that
/// recent backups are really there. The job is PVE's: it runs when pvectl does not.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupPolicySpec {
    /// Which guests. `{}` means every guest, those to come included; templates are left out.
    pub selector: Selector,
    /// When, as PVE's calendar events: `03:30`, `mon..fri 22:00`, `*-*-01 04:00`. The zone is that of the nodes.
    pub schedule: String,
    /// Where the backups go, by the storage's id.
    pub storage: String,
    /// Whether it runs at all; left out: it does.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// How a running guest is held meanwhile. PVE says `Snapshot` where it is left out.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// How the archives are packed. A Proxmox Backup Server packs in its own way.
    #[serde(default)]
    pub compress: Option<Compression>,
    /// How many backups of a guest stay; left out: as the storage says.
    #[serde(default)]
    pub retention: Option<Retention>,
    /// Notes on each backup, with PVE's variables, such as `{{guestname}}`.
    #[serde(default)]
    pub notes_template: Option<String>,
    /// Where what a VM writes over meanwhile is kept, so that a slow target does not hold it up.
    #[serde(default)]
    pub fleecing: Option<Fleecing>,
    /// Whether a run that was missed is made up for.
    #[serde(default)]
    pub repeat_missed: Option<bool>,
    /// Whether backups are protected from pruning.
    #[serde(default)]
    pub protected: Option<bool>,
    /// Only guests of this node.
    #[serde(default)]
    pub node: Option<String>,
    /// The newest good backup of a guest may be so old, such as `36h`: condition `BackupsFresh`. One whose verification failed
    /// is not good.
    #[serde(default)]
    pub max_age: Option<Seconds>,
    /// The namespace on the Proxmox Backup Server. It is a property of the storage: here it is held against that.
    #[serde(default)]
    pub namespace: Option<String>,
}

/// How a running guest is held while it is backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// It runs on.
    Snapshot,
    /// It is suspended.
    Suspend,
    /// It is shut down, and started again.
    Stop,
}

impl Mode {
    /// PVE's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Snapshot => "snapshot",
            Mode::Suspend => "suspend",
            Mode::Stop => "stop",
        }
    }
}

/// Fleecing: what a VM writes over while it is backed up is first kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fleecing {
    /// Whether it is done.
    pub enabled: bool,
    /// The storage for it: fast, and on every node that backs up VMs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
}
