//! What the manifests of a set want, bound to kinds.

use crate::plan::rolling::Rolling;
use crate::resource::kind::{AnyKind, AnySpec};
use crate::resource::reference::ResourceRef;
use std::collections::BTreeMap;

/// One resource as it shall be.
pub struct Desired {
    /// Its name.
    pub resource: ResourceRef,
    /// Its kind.
    pub kind: &'static dyn AnyKind,
    /// Its spec, as the kind parsed it.
    pub spec: AnySpec,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `pvectl/paused`: leave alone, still report.
    pub paused: bool,
    /// `pvectl/deletion-policy: Retain`: never pruned.
    pub retain: bool,
    /// It is changed in turn with others of its set.
    pub rolling: Option<Rolling>,
    /// The `GuestSet` or `NetworkProfile` that it is made for.
    pub member_of: Option<String>,
    /// `pvectl/ignore-fields`: never touched, not even reset. They are not in the spec.
    pub ignored: Vec<String>,
    /// `metadata.annotations`, for what a kind asks of them.
    pub annotations: BTreeMap<String, String>,
}

/// A manifest set.
pub struct DesiredSet {
    /// Its name: the unit of ownership and of pruning.
    pub set: String,
    /// Its resources, by name: the order in which they were written never matters.
    pub resources: BTreeMap<ResourceRef, Desired>,
}
