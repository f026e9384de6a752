//! What is in a machine's memory: where a snapshot puts it, and what keeps it from being saved.

use super::volumes;
use crate::sim::api::lxc::config;
use crate::sim::volume::{NewVolume, storage_of};
use crate::sim::world::{Guest, GuestType, World};

/// `check_non_migratable_resources` of qemu-server: what keeps a VM's memory from being saved, in PVE's words.
pub fn memory_blockers(guest: &Guest) -> Result<(), String> {
    let mut blockers: Vec<&str> = [("amd-sev", "amd-sev"), ("intel-tdx", "intel-tdx")]
        .iter()
        .filter(|(k, _)| guest.config.contains_key(*k))
        .map(|b| b.1)
        .collect();
    if guest.config.keys().any(|k| config::numbered(k, "virtiofs")) {
        blockers.push("virtiofs");
    }
    match blockers.as_slice() {
        [] => Ok(()),
        some => Err(format!("Cannot live-migrate, snapshot (with RAM), or hibernate a VM with: {}", some.join(", "))),
    }
}

/// The volume for what is in memory: twice the memory and 500 MiB, where the configuration says, or beside a disk.
pub(super) fn volume(world: &mut World, guest: &Guest, vmid: u32, name: &str) -> Result<String, String> {
    let disks = volumes(GuestType::Qemu, &guest.config);
    let said = guest.config.get("vmstatestorage").cloned();
    let storage = said.unwrap_or_else(|| disks.first().map_or("local", |(_, volid)| storage_of(volid)).to_owned());
    let memory = guest.config.get("memory").and_then(|m| m.parse::<u64>().ok()).unwrap_or(512);
    let label = format!("state-{name}");
    let new = NewVolume {
        storage: &storage,
        node: &guest.node,
        vmid,
        size: (2 * memory + 500) << 20,
        format: Some("raw"),
        content: "images",
        label: &label,
    };
    world.allocate(&new).map_err(|r| r.reason)
}

/// QEMU's words about a device of the host that a VM has: its memory cannot be saved.
pub(super) fn passed_through(guest: &Guest) -> Option<String> {
    let text = guest.config.iter().find(|(k, _)| config::numbered(k, "hostpci"))?.1;
    let device = text.split([',', ';']).next().unwrap_or_default();
    let device = device.strip_prefix("host=").unwrap_or(device);
    let device = if device.contains('.') { device.to_owned() } else { format!("{device}.0") };
    let device = if device.len() > "01:00.0".len() { device } else { format!("0000:{device}") };
    Some(format!("{device}: VFIO migration is not supported in kernel"))
}
