//! Storages, their room, and the names of new volumes.

use crate::sim::request::Refusal;
use crate::sim::world::{Storage, Volume, World};

impl Storage {
    /// Whether all nodes see the same volumes.
    pub fn shared(&self) -> bool {
        self.config.get("shared").is_some_and(|v| v == "1")
            || matches!(self.storage_type.as_str(), "nfs" | "cifs" | "rbd" | "cephfs" | "pbs" | "glusterfs" | "iscsi")
    }

    /// Whether a node may use it.
    pub fn on_node(&self, node: &str) -> bool {
        self.config.get("nodes").is_none_or(|n| n.split(',').any(|n| n.trim() == node))
    }

    /// Whether it is enabled.
    pub fn enabled(&self) -> bool {
        self.config.get("disable").is_none_or(|d| d != "1")
    }

    /// Whether it takes a type of content.
    pub fn takes(&self, content: &str) -> bool {
        self.config.get("content").is_some_and(|c| c.split(',').any(|c| c == content))
    }

    /// Whether volumes are files in a folder.
    pub fn is_files(&self) -> bool {
        matches!(self.storage_type.as_str(), "dir" | "nfs" | "cifs" | "btrfs" | "cephfs" | "glusterfs")
    }

    /// The format of new images if none is asked for.
    pub fn default_format(&self) -> &'static str {
        match self.storage_type.as_str() {
            "dir" | "nfs" | "cifs" | "glusterfs" => "qcow2",
            _ => "raw",
        }
    }
}

/// The storage of a volume id.
pub fn storage_of(volid: &str) -> &str {
    volid.split_once(':').map_or(volid, |(s, _)| s)
}

/// A volume to be made.
#[derive(Clone, Debug)]
pub struct NewVolume<'a> {
    /// Where.
    pub storage: &'a str,
    /// On which node.
    pub node: &'a str,
    /// For whom.
    pub vmid: u32,
    /// Bytes.
    pub size: u64,
    /// `raw`, `qcow2`, `subvol`; `None` for the storage's own.
    pub format: Option<&'a str>,
    /// `images` or `rootdir`.
    pub content: &'a str,
    /// `disk` mostly; `cloudinit` and `state-NAME` have names of their own.
    pub label: &'a str,
}

impl World {
    /// A storage that is defined, enabled and on the node, or PVE's words.
    pub fn usable_storage(&self, storage: &str, node: &str) -> Result<&Storage, Refusal> {
        let found =
            self.storages.get(storage).ok_or_else(|| Refusal::died(format!("storage '{storage}' does not exist")))?;
        if !found.enabled() {
            return Err(Refusal::died(format!("storage '{storage}' is disabled")));
        }
        if !found.on_node(node) {
            return Err(Refusal::died(format!("storage '{storage}' is not available on node '{node}'")));
        }
        Ok(found)
    }

    /// Bytes in use on a storage as a node sees it.
    pub fn storage_used(&self, storage: &str, node: &str) -> u64 {
        let base = self.storages.get(storage).map_or(0, |s| s.base_used);
        let here = |v: &&Volume| storage_of(&v.volid) == storage && v.node.as_deref().is_none_or(|n| n == node);
        base + self.volumes.iter().filter(here).map(|v| v.used).sum::<u64>()
    }

    /// A volume as a node sees it.
    pub fn volume(&self, volid: &str, node: &str) -> Option<&Volume> {
        self.volumes.iter().find(|v| v.volid == volid && v.node.as_deref().is_none_or(|n| n == node))
    }

    /// The same, to be changed.
    pub fn volume_mut(&mut self, volid: &str, node: &str) -> Option<&mut Volume> {
        self.volumes.iter_mut().find(|v| v.volid == volid && v.node.as_deref().is_none_or(|n| n == node))
    }

    /// Frees a volume; whether there was one.
    pub fn free_volume(&mut self, volid: &str, node: &str) -> bool {
        let before = self.volumes.len();
        self.volumes.retain(|v| !(v.volid == volid && v.node.as_deref().is_none_or(|n| n == node)));
        self.volumes.len() != before
    }

    /// Makes a volume with the next free name and answers its id.
    pub fn allocate(&mut self, new: &NewVolume<'_>) -> Result<String, Refusal> {
        let NewVolume { storage, node, vmid, size, format, content, label } = *new;
        let definition = self.usable_storage(storage, node)?;
        if !definition.takes(content) {
            return Err(Refusal::died(format!("storage '{storage}' does not support content-type '{content}'")));
        }
        let format =
            format.unwrap_or(if content == "rootdir" { "raw" } else { definition.default_format() }).to_owned();
        let (files, shared, room) = (definition.is_files(), definition.shared(), definition.size);
        let thin = definition.storage_type == "lvmthin" || format == "qcow2";
        // Thin volumes occupy little at first; room runs out by what is promised, which a test can foresee.
        let used = if thin { size / 8 } else { size };
        if self.storage_used(storage, node) + used > room {
            return Err(Refusal::died(format!("unable to create image: not enough free space on storage '{storage}'")));
        }
        let name = |n: Option<u32>| {
            let stem = match n {
                Some(n) => format!("vm-{vmid}-{label}-{n}"),
                None => format!("vm-{vmid}-{label}"),
            };
            if files { format!("{storage}:{vmid}/{stem}.{format}") } else { format!("{storage}:{stem}") }
        };
        let taken = |volid: &str| {
            let stem = |v: &str| {
                v.rsplit(['/', ':']).next().unwrap_or(v).split('.').next().unwrap_or(v).replace("base-", "vm-")
            };
            self.volumes.iter().any(|v| {
                storage_of(&v.volid) == storage
                    && stem(&v.volid) == stem(volid)
                    && v.node.as_deref().is_none_or(|n| n == node)
            })
        };
        let volid = if label == "disk" {
            (0..).map(|n| name(Some(n))).find(|v| !taken(v)).unwrap_or_default()
        } else {
            name(None)
        };
        self.volumes.push(Volume {
            volid: volid.clone(),
            node: (!shared).then(|| node.to_owned()),
            size,
            used,
            format,
            content: content.to_owned(),
            vmid: Some(vmid),
            ctime: self.now(),
            ..Volume::default()
        });
        Ok(volid)
    }
}
