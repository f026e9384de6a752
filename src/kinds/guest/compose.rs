//! From differences to the parameters of one write: whole options set or deleted, parts of property strings edited in what
//! PVE holds, so that what we do not manage stays as it is.

use crate::base::id::GuestType;
use crate::base::quantity::Bytes;
use crate::kinds::guest::mapping::{self, Config, Place};
use crate::pve::property::PropertyString;
use crate::pve::request::Params;
use crate::resource::merge::{Difference, Fields};
use std::collections::{BTreeMap, BTreeSet};

/// What a write of the configuration says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// Options that get a value.
    pub set: BTreeMap<String, String>,
    /// Options that go.
    pub delete: BTreeSet<String>,
}

impl Write {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.delete.is_empty()
    }

    /// As parameters; `delete` only where something goes.
    pub fn params(&self) -> Params {
        let mut params: Params = self.set.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        if !self.delete.is_empty() {
            params.push(("delete".into(), self.delete.iter().cloned().collect::<Vec<_>>().join(",")));
        }
        params
    }
}

/// The write that makes `differences` true of `config`. Sizes of existing volumes, power, pool and node are not its
/// business. `desired` completes options that are not there yet.
pub fn write(guest: GuestType, config: &Config, desired: &Fields, differences: &[Difference]) -> Write {
    let mut write = Write::default();
    let mut edited: BTreeMap<String, PropertyString> = BTreeMap::new();
    let mut new_volumes: BTreeSet<String> = BTreeSet::new();
    for Difference { path, to, .. } in differences {
        if let Some((slot, _)) = mapping::volume_path(path)
            && !config.contains_key(slot)
            && mapping::is_volume_slot(guest, slot)
        {
            if to.is_some() {
                new_volumes.insert(slot.to_owned());
            }
            continue;
        }
        match mapping::place(guest, path) {
            Place::Elsewhere => {}
            Place::Option(option) => match to {
                Some(value) if value.is_empty() && path != "tags" => {
                    write.delete.insert(option);
                }
                Some(value) => {
                    write.set.insert(option, mapping::encode(guest, path, value));
                }
                None if path == "tags" => {
                    write.set.insert(option, mapping::TAG.to_owned());
                }
                // PVE deletes the memory of no container (`unable to delete required option`).
                None if guest == GuestType::Lxc && option == "memory" => {
                    write.set.insert(option, "512".to_owned());
                }
                None => {
                    write.delete.insert(option);
                }
            },
            Place::Part(option, part) => {
                let held = config.get(&option).map_or("", String::as_str);
                let parts = edited.entry(option.clone()).or_insert_with(|| mapping::parts(guest, &option, held));
                match to {
                    Some(value) if value.is_empty() => {
                        parts.remove(part);
                    }
                    Some(value) => parts.set(part, mapping::encode(guest, path, value)),
                    // A CT's interface cannot be without its name.
                    None if part == "name" => {}
                    None => {
                        parts.remove(part);
                    }
                }
            }
        }
    }
    for (option, parts) in edited {
        let prefix = format!("networks.{option}.");
        let gone = mapping::is_network(&option)
            && parts.get("bridge").is_none()
            && !desired.keys().any(|path| path.starts_with(&prefix));
        let needed = mapping::needed_part(guest, &option);
        let gone = gone || !needed.is_empty() && needed.iter().all(|part| parts.get(part).is_none());
        if parts.is_empty() || gone {
            if config.contains_key(&option) {
                write.delete.insert(option);
            }
            continue;
        }
        let text = mapping::unparts(guest, &option, &parts);
        write.set.insert(option, text);
    }
    for slot in new_volumes {
        write.set.insert(slot.clone(), new_volume(guest, &slot, desired));
    }
    write.delete.retain(|k| config.contains_key(k));
    write
}

/// What a slot gets that is empty: `storage:GiB,…` for a volume that PVE is to allocate, or what the manifest names.
fn new_volume(guest: GuestType, slot: &str, desired: &Fields) -> String {
    let mut parts = PropertyString::default();
    let (mut storage, mut size, mut named) = ("", Bytes(0), None);
    for (path, value) in desired.iter().filter(|(path, _)| mapping::volume_path(path).is_some_and(|(s, _)| s == slot)) {
        match path.rsplit('.').next() {
            Some("storage") => storage = value,
            Some("size") => size = Bytes::parse(value).unwrap_or_default(),
            Some("volume" | "hostPath" | "device") => named = Some(value.clone()),
            Some("iso") => named = Some(format!("{value},media=cdrom")),
            Some(_) | None => {
                if let (Place::Part(_, part), false) = (mapping::place(guest, path), value.is_empty()) {
                    parts.set(part, mapping::encode(guest, path, value));
                }
            }
        }
    }
    // PVE chooses the size of a TPM's state and of the firmware's settings.
    let fixed = ["efidisk", "tpmstate"].iter().any(|word| mapping::slot_number(slot, word).is_some());
    let gib = if fixed { 1.0 } else { size.0 as f64 / f64::from(1 << 30) };
    let rest: String = parts.iter().map(|(k, v)| format!(",{k}={v}")).collect();
    named.unwrap_or_else(|| format!("{storage}:{gib}")) + &rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::merge::Cause;

    fn difference(path: &str, to: Option<&str>) -> Difference {
        Difference { path: path.into(), from: None, to: to.map(str::to_owned), cause: Cause::Change }
    }

    #[test]
    fn parts_are_edited_in_place_and_volumes_are_made_once() {
        let config = Config::from([
            ("net0".into(), "virtio=BC:24:11:00:00:01,bridge=vmbr0,queues=2".into()),
            ("scsi0".into(), "local:vm-1-disk-0,size=4G".into()),
        ]);
        let desired = Fields::from([
            ("disks.scsi1.storage".into(), "local-lvm".into()),
            ("disks.scsi1.size".into(), "20Gi".into()),
            ("disks.scsi1.discard".into(), "1".into()),
        ]);
        let differences = [
            difference("networks.net0.vlan", Some("20")),
            difference("disks.scsi0.size", Some("8Gi")),
            difference("disks.scsi1.size", Some("20Gi")),
            difference("hardware.memory", Some("2Gi")),
            difference("description", Some("")),
        ];
        let write = write(GuestType::Qemu, &config, &desired, &differences);
        let set: Vec<(&str, &str)> = write.set.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            set,
            [
                ("memory", "2048"),
                ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0,queues=2,tag=20"),
                ("scsi1", "local-lvm:20,discard=on")
            ]
        );
        assert!(write.delete.is_empty());
    }
}
