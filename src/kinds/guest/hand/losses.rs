//! What becomes of a guest's volumes when a backup is restored over it. PVE does it differently for the two types
//! (`PVE::QemuServer`, `restore_cleanup_oldconf` and `update_disk_config`; `PVE::API2::LXC`, `create_vm`):
//!
//! - Of a VM, the volume in each slot that the backup has is deleted; every other one stays, as `unusedN`.
//! - Of a container, every volume is deleted, unused ones too. Mount points that were not backed up come back empty.
//!
//! Snapshots go in either case.

use crate::base::id::{GuestType, VmId};
use crate::base::quantity::Bytes;
use crate::kinds::guest::mapping::{self, Config};
use std::collections::BTreeMap;

/// A volume of a configuration: slot, volume, size as PVE writes it, and whether a backup has it.
struct Held {
    slot: String,
    volume: String,
    size: String,
    saved: bool,
}

fn held(guest: GuestType, config: &Config) -> Vec<Held> {
    let one = |(slot, text): (&String, &String)| {
        let parts = mapping::parts(guest, slot, text);
        let part = |key: &str| parts.get(key).map(str::to_owned);
        let volume = part("file").or_else(|| part("volume"))?;
        // Paths of the host are nobody's volumes; a CD is not the guest's, but for that of cloud-init.
        let disc = part("media").as_deref() == Some("cdrom") && !volume.contains("-cloudinit");
        if !volume.contains(':') || volume.starts_with('/') || disc {
            return None;
        }
        let flag = part("backup");
        let saved = match guest {
            GuestType::Qemu => !matches!(flag.as_deref(), Some("0" | "no" | "off" | "false")),
            GuestType::Lxc => slot == "rootfs" || matches!(flag.as_deref(), Some("1" | "yes" | "on" | "true")),
        };
        Some(Held { slot: slot.clone(), size: part("size").unwrap_or_default(), volume, saved })
    };
    config.iter().filter(|(key, _)| mapping::is_volume_slot(guest, key)).filter_map(one).collect()
}

/// The volumes that no backup of such a guest has: slot and volume.
pub fn left_out(guest: GuestType, config: &Config) -> Vec<(String, String)> {
    held(guest, config).into_iter().filter(|h| !h.saved).map(|h| (h.slot, h.volume)).collect()
}

/// The volumes of a configuration: slot and volume.
pub fn held_volumes(guest: GuestType, config: &Config) -> Vec<(String, String)> {
    held(guest, config).into_iter().map(|h| (h.slot, h.volume)).collect()
}

fn is_own(vmid: VmId, volume: &str) -> bool {
    [format!("vm-{vmid}-"), format!("base-{vmid}-"), format!("subvol-{vmid}-"), format!("basevol-{vmid}-")]
        .iter()
        .any(|word| volume.contains(word.as_str()))
}

/// What a VM's volumes that make way for a backup leave free, by storage.
pub fn freed(vmid: VmId, now: &Config, saved: &Config) -> BTreeMap<String, Bytes> {
    let back = held(GuestType::Qemu, saved);
    let mut freed: BTreeMap<String, Bytes> = BTreeMap::new();
    for Held { slot, volume, size, .. } in held(GuestType::Qemu, now) {
        let goes = back.iter().any(|b| b.slot == slot && b.saved) && is_own(vmid, &volume);
        if let (true, Some((storage, _)), Some(size)) = (goes, volume.split_once(':'), Bytes::parse(&size)) {
            let sum = freed.entry(storage.to_owned()).or_default();
            *sum = Bytes(sum.0 + size.0);
        }
    }
    freed
}

/// What is lost and what becomes unused when a backup with the configuration `saved` is restored over a guest with `now`.
pub fn losses(guest: GuestType, vmid: VmId, now: &Config, saved: &Config) -> Vec<String> {
    let (now_held, back) = (held(guest, now), held(guest, saved));
    let own = |volume: &str| is_own(vmid, volume);
    let sized = |size: &str| if size.is_empty() { String::new() } else { format!(", {size}") };
    let mut said = Vec::new();
    for Held { slot, volume, size, .. } in &now_held {
        let what = format!("{slot} ({volume}{})", sized(size));
        let in_backup = back.iter().find(|b| b.slot == *slot);
        said.push(match (guest, in_backup) {
            (_, None) if !own(volume) => format!("{what} is another guest's: the volume stays, and this guest loses it"),
            (_, Some(Held { saved: true, .. })) if !own(volume) => {
                format!("{what} is another guest's: the volume stays, and {slot} comes back from the backup with one of its own")
            }
            (GuestType::Qemu, Some(_)) if !own(volume) => {
                format!("{what} is another guest's: the volume stays, and this guest loses it")
            }
            (GuestType::Lxc, Some(_)) if !own(volume) => {
                format!("{what} is another guest's: the volume stays, and {slot} comes back EMPTY with one of its own")
            }
            (_, Some(Held { saved: true, size, .. })) => {
                format!("{what} is deleted; it comes back as it was in the backup{}", sized(size))
            }
            (GuestType::Qemu, Some(_)) => {
                format!("{what} is not in the backup (backup=0): it stays with what is on it, as an unused volume")
            }
            (GuestType::Qemu, None) => {
                format!("{what} is not in the backup: it stays with what is on it, as an unused volume")
            }
            (GuestType::Lxc, Some(_)) => format!(
                "{what} is deleted with what is on it, and comes back EMPTY: it was not backed up (no backup=1)"
            ),
            (GuestType::Lxc, None) => format!("{what} is deleted with what is on it, and the backup does not have it"),
        });
    }
    for Held { slot, volume, saved, .. } in &back {
        if now_held.iter().any(|h| h.slot == *slot) {
            continue;
        }
        said.push(match (guest, saved) {
            (_, true) => format!("{slot} comes back from the backup"),
            (GuestType::Lxc, false) => format!("{slot} comes back empty: it was not backed up"),
            (GuestType::Qemu, false) => format!("{slot} ({volume}) was not backed up, and does not come back"),
        });
    }
    let unused = now.iter().filter(|(key, _)| mapping::slot_number(key, "unused").is_some());
    if guest == GuestType::Lxc {
        said.extend(unused.map(|(slot, volume)| format!("{slot} ({volume}) is deleted with what is on it")));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn vmid() -> VmId {
        VmId::new(101).expect("a number")
    }

    #[test]
    fn of_a_machine_only_what_the_backup_has_goes() {
        let now = config(&[
            ("scsi0", "local-lvm:vm-101-disk-0,size=30G"),
            ("scsi1", "local-lvm:vm-101-disk-1,backup=0,size=2G"),
            ("scsi2", "tank:vm-101-disk-2,size=1G"),
            ("scsi3", "tank:vm-777-disk-0"),
            ("ide2", "local:iso/debian.iso,media=cdrom"),
            ("unused0", "tank:vm-101-disk-9"),
        ]);
        let saved = config(&[
            ("scsi0", "local-lvm:vm-101-disk-0,size=20G"),
            ("scsi1", "local-lvm:vm-101-disk-1,backup=0,size=2G"),
            ("scsi5", "tank:vm-101-disk-5,size=1G"),
        ]);
        assert_eq!(
            losses(GuestType::Qemu, vmid(), &now, &saved),
            [
                "scsi0 (local-lvm:vm-101-disk-0, 30G) is deleted; it comes back as it was in the backup, 20G",
                "scsi1 (local-lvm:vm-101-disk-1, 2G) is not in the backup (backup=0): it stays with what is on it, as an unused volume",
                "scsi2 (tank:vm-101-disk-2, 1G) is not in the backup: it stays with what is on it, as an unused volume",
                "scsi3 (tank:vm-777-disk-0) is another guest's: the volume stays, and this guest loses it",
                "scsi5 comes back from the backup",
            ]
        );
    }

    #[test]
    fn of_a_container_everything_goes() {
        let now = config(&[
            ("rootfs", "local-lvm:vm-101-disk-0,size=8G"),
            ("mp0", "local-lvm:vm-101-disk-1,mp=/data,backup=1,size=4G"),
            ("mp1", "local-lvm:vm-101-disk-2,mp=/cache,size=2G"),
            ("mp2", "/srv/share,mp=/share"),
            ("mp3", "local-lvm:vm-101-disk-4,mp=/new,backup=1,size=1G"),
            ("unused0", "local-lvm:vm-101-disk-9"),
        ]);
        let saved = config(&[
            ("rootfs", "local-lvm:vm-101-disk-0,size=8G"),
            ("mp0", "local-lvm:vm-101-disk-1,mp=/data,backup=1,size=4G"),
            ("mp1", "local-lvm:vm-101-disk-2,mp=/cache,size=2G"),
        ]);
        let foreign =
            config(&[("mp0", "nfs:777/vm-777-disk-1.raw,mp=/data"), ("mp1", "nfs:777/vm-777-disk-2.raw,mp=/cache")]);
        let said = losses(GuestType::Lxc, vmid(), &foreign, &saved);
        assert!(said[0].ends_with("mp0 comes back from the backup with one of its own"), "{said:#?}");
        assert!(said[1].ends_with("mp1 comes back EMPTY with one of its own"), "{said:#?}");
        let said = losses(GuestType::Lxc, vmid(), &now, &saved);
        assert_eq!(said.len(), 5, "{said:#?}");
        assert!(said[1].contains("comes back EMPTY"), "{said:#?}");
        assert!(said[2].starts_with("mp3 ") && said[2].ends_with("the backup does not have it"), "{said:#?}");
        assert!(said[4].starts_with("unused0 "), "{said:#?}");
    }
}
