//! Names of resources, and what a resource is on the cluster.

use crate::base::id::{GuestType, VmId};
use std::fmt;

/// One thing that manifests name: `Kind/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceRef {
    /// The kind's name, such as `VirtualMachine`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
}

impl ResourceRef {
    /// A reference from its two words.
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> ResourceRef {
        ResourceRef { kind: kind.into(), name: name.into() }
    }

    /// What a policy does to one of the guests that it means: `SnapshotPolicy/nightly:101`. No manifest has such a name.
    pub fn member(&self, vmid: VmId) -> ResourceRef {
        ResourceRef { kind: self.kind.clone(), name: format!("{}:{vmid}", self.name) }
    }

    /// What a policy does to one node: `PatchWindow/sunday:node/pve1`.
    pub fn member_node(&self, node: &str) -> ResourceRef {
        ResourceRef { kind: self.kind.clone(), name: format!("{}:node/{node}", self.name) }
    }

    /// Whether it is what a policy does to one guest or node.
    pub fn is_member(&self) -> bool {
        self.name.contains(':')
    }

    /// The resource that a manifest declares: the policy, of what it does to one guest or node.
    pub fn declared(&self) -> ResourceRef {
        let name = self.name.split_once(':').map_or(self.name.as_str(), |(policy, _)| policy);
        ResourceRef { kind: self.kind.clone(), name: name.to_owned() }
    }
}

impl fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// A name in a spec that must be another resource of the same manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Which resource.
    pub to: ResourceRef,
    /// Where it stands in the spec, field by field.
    pub path: Vec<String>,
    /// Whether an object of the cluster that no manifest declares will do as well (a pool made by hand, say).
    pub or_on_cluster: bool,
}

/// Which object of the cluster a resource is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// A guest, found by its VMID wherever it runs.
    Guest {
        /// VM or CT.
        guest: GuestType,
        /// Its number: the identity proper.
        vmid: VmId,
        /// Where it is, or, when it is not there yet, where it will be made.
        node: String,
    },
    /// A pool by its id.
    Pool(String),
    /// An object of the datacenter: a security group, a user, a storage.
    Object {
        /// Its kind in manifests, such as `IpSet`.
        kind: &'static str,
        /// PVE's id for it; ids of several parts are joined by the kind.
        id: String,
    },
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Guest { guest, vmid, node } => write!(f, "{guest}/{vmid} on {node}"),
            Identity::Pool(id) => write!(f, "pool/{id}"),
            Identity::Object { kind, id } => write!(f, "{}/{id}", kind.to_lowercase()),
        }
    }
}

/// What a spec wants to be on the cluster, before numbers and nodes are allotted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A guest.
    Guest {
        /// VM or CT.
        guest: GuestType,
        /// The number that the manifest gives.
        vmid: Option<VmId>,
        /// The numbers to choose from, both ends included.
        range: Option<(VmId, VmId)>,
        /// The nodes to choose from; empty: where its source is, or any.
        nodes: Vec<String>,
        /// A guest that exists already and is to be taken over as it stands (`source.existing`).
        takes_over: bool,
        /// The resource that it is cloned from, whose node is the default.
        source: Option<ResourceRef>,
        /// Or the number of the guest that it is cloned from.
        source_vmid: Option<VmId>,
        /// The version of the image that it is to be; another version of it is another guest.
        version: Option<String>,
        /// Memory that it will take, in bytes, for placement.
        memory: u64,
    },
    /// A pool.
    Pool(String),
    /// An object of the datacenter.
    Object {
        /// Its kind in manifests.
        kind: &'static str,
        /// PVE's id for it.
        id: String,
    },
}
