//! Identities as Proxmox VE knows them. Each is parsed once at the edge and then carried as its own type.

use std::fmt;

/// The number of a guest, unique in a cluster: 100 to 999,999,999 (`pve-vmid` in PVE's `JSONSchema.pm`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId(u32);

impl VmId {
    /// The smallest number that PVE accepts.
    pub const MIN: u32 = 100;
    /// The largest number that PVE accepts.
    pub const MAX: u32 = 999_999_999;

    /// A VMID from a number; `None` outside 100..=999,999,999.
    pub fn new(number: u64) -> Option<VmId> {
        u32::try_from(number).ok().filter(|n| (VmId::MIN..=VmId::MAX).contains(n)).map(VmId)
    }

    /// The number itself.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a guest is a virtual machine or a container; PVE's paths say `qemu` and `lxc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GuestType {
    /// A virtual machine.
    Qemu,
    /// A container.
    Lxc,
}

impl GuestType {
    /// The word in PVE's paths and in the `type` field of `/cluster/resources`.
    pub fn as_str(self) -> &'static str {
        match self {
            GuestType::Qemu => "qemu",
            GuestType::Lxc => "lxc",
        }
    }
}

impl fmt::Display for GuestType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
