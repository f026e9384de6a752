//! What is on a system's disk, as plain data that can be saved.

use super::runner::Seat;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The part of a disk that patching knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// Packages whose version is another than that of the image.
    pub packages: BTreeMap<String, String>,
    /// When the index of the repositories was fetched, in virtual milliseconds; `None`: when the cluster began.
    pub index_ms: Option<u64>,
    /// Packages that an administrator holds.
    pub held: BTreeSet<String>,
    /// A package that was being configured when its job was killed.
    pub half_configured: Option<String>,
    /// Units of systemd that fail at each boot. While there is one, no port listens and no command ends well.
    pub failed_units: BTreeSet<String>,
    /// Why a reboot is needed, and the boot in which it is.
    pub reboot: Option<(String, u64)>,
    /// The kernel that a node boots next; `None`: that of the image.
    pub kernel: Option<String>,
    /// State files by window.
    pub windows: BTreeMap<String, String>,
    /// When an update was first seen, by window, name and version.
    pub seen: BTreeMap<String, i64>,
    /// Jobs that have not ended.
    pub workers: Vec<Worker>,
    /// The GitHub runner that was begun in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner: Option<Box<Seat>>,
}

impl Disk {
    /// Nothing is on it that was not on its image.
    pub fn is_untouched(&self) -> bool {
        *self == Disk::default()
    }
}

/// A job that has not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// The job as it was sent: words and list.
    pub job: (String, String),
    /// The boot in which it runs: with another one it is gone.
    pub boot_ms: u64,
    /// When it began.
    pub begun_ms: u64,
    /// When it is to be done; `None`: it hangs for ever.
    pub due_ms: Option<u64>,
    /// What it does wrong.
    pub trouble: Option<Trouble>,
}

/// What goes wrong with the next installation in a guest or on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    /// It ends well, and a service does not run after it.
    Breaks,
    /// It ends with this code, and has changed nothing.
    Exits(i32),
    /// It never ends.
    Hangs,
    /// It is killed half way.
    Killed,
}
