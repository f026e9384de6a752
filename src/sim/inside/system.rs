//! A guest or a node as something that has a disk, runs or does not, and was booted at some time.

use super::disk::{Disk, Trouble};
use super::packages::Distribution;
use crate::sim::world::{GuestType, Power, World};
use serde_json::{Value, json};

/// Whose inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A guest's.
    Guest(u32),
    /// A node's.
    Node(String),
}

/// What is known about a system now.
#[derive(Clone, Debug)]
pub(super) struct System {
    pub(super) distribution: Distribution,
    pub(super) container: bool,
    /// It is on.
    pub(super) up: bool,
    /// When it was booted.
    pub(super) boot_ms: u64,
    /// Its services have started.
    pub(super) ready: bool,
}

impl Place {
    /// What a task's effect is told.
    pub(super) fn told(&self) -> Value {
        match self {
            Place::Guest(vmid) => json!({ "vmid": vmid }),
            Place::Node(node) => json!({ "node": node }),
        }
    }

    /// The other way.
    pub(super) fn of(told: &Value) -> Place {
        match told["vmid"].as_u64().and_then(|vmid| u32::try_from(vmid).ok()) {
            Some(vmid) => Place::Guest(vmid),
            None => Place::Node(told["node"].as_str().unwrap_or_default().to_owned()),
        }
    }

    fn key(&self) -> String {
        match self {
            Place::Guest(vmid) => vmid.to_string(),
            Place::Node(node) => node.clone(),
        }
    }

    /// The node that it is on.
    pub(super) fn node(&self, world: &World) -> String {
        match self {
            Place::Guest(vmid) => world.guests.get(vmid).map(|g| g.node.clone()).unwrap_or_default(),
            Place::Node(node) => node.clone(),
        }
    }
}

impl World {
    /// A system's disk, to be changed by hand.
    pub fn disk(&mut self, place: &Place) -> Option<&mut Disk> {
        match place {
            Place::Guest(vmid) => self.guests.get_mut(vmid).map(|g| &mut g.disk),
            Place::Node(node) => self.nodes.get_mut(node).map(|n| &mut n.disk),
        }
    }

    /// What is on a system's disk.
    pub fn disk_of(&self, place: &Place) -> Option<&Disk> {
        match place {
            Place::Guest(vmid) => self.guests.get(vmid).map(|g| &g.disk),
            Place::Node(node) => self.nodes.get(node).map(|n| &n.disk),
        }
    }

    /// Makes the next installation in a guest or on a node go wrong; several are for several installations.
    pub fn trouble(&mut self, place: &Place, trouble: Trouble) {
        self.troubles.entry(place.key()).or_default().push_back(trouble);
    }

    /// Takes the next trouble.
    pub(super) fn next_trouble(&mut self, place: &Place) -> Option<Trouble> {
        self.troubles.get_mut(&place.key()).and_then(std::collections::VecDeque::pop_front)
    }

    /// What a system is.
    pub(super) fn system(&self, place: &Place) -> Option<System> {
        let now = self.clock_ms;
        match place {
            Place::Guest(vmid) => {
                let guest = self.guests.get(vmid)?;
                let container = guest.guest_type == GuestType::Lxc;
                let named = guest.agent.get("os").and_then(Value::as_str);
                let kind = named.or(guest.config.get("ostype").map(String::as_str)).unwrap_or_default();
                let boot = guest.boot_seconds.unwrap_or(0) * 1000;
                Some(System {
                    distribution: distribution(kind),
                    container,
                    up: guest.power != Power::Stopped,
                    boot_ms: guest.started_ms,
                    ready: now >= guest.started_ms + boot,
                })
            }
            Place::Node(node) => {
                let node = self.nodes.get(node)?;
                Some(System {
                    distribution: Distribution::Proxmox,
                    container: false,
                    up: node.online,
                    boot_ms: node.boot_ms,
                    ready: now >= node.boot_ms + 30_000,
                })
            }
        }
    }

    /// Whether a system is Windows.
    pub fn runs_windows(&self, place: &Place) -> bool {
        self.system(place).is_some_and(|system| system.distribution == Distribution::Windows)
    }

    /// What tells one boot of a system from another: on a machine the content of `/proc/sys/kernel/random/boot_id`.
    pub fn boot_mark(&self, place: &Place) -> String {
        let boot_ms = self.system(place).map_or(0, |system| system.boot_ms);
        let number = match place {
            Place::Guest(vmid) => *vmid,
            Place::Node(_) => 0,
        };
        format!("{number:08x}-0000-4000-8000-{boot_ms:012x}")
    }
}

/// `ostype` of a guest, or what somebody says it is.
fn distribution(kind: &str) -> Distribution {
    match kind {
        "alpine" => Distribution::Alpine,
        "fedora" | "centos" => Distribution::Fedora,
        "opensuse" => Distribution::Suse,
        "archlinux" => Distribution::Arch,
        other if other.starts_with("win") || other.starts_with("w2k") => Distribution::Windows,
        _ => Distribution::Debian,
    }
}
