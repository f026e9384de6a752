//! A mount as it is: the unit, what is mounted, and the marker in it.

use crate::host::mounts::{Folder, Mounted, Mounts, Unit};
use crate::host::operation::Operation;
use crate::host::token::Token;
use crate::kinds::host_mount::spec::NOFAIL;
use crate::kinds::host_mount::storage;
use crate::pve::error::{PveError, Refusal};
use crate::pve::request::Query;
use crate::resource::index::Index;
use crate::resource::marker::Marker;
use crate::resource::merge::Fields;
use crate::resource::observation::Observation;
use crate::resource::reference::Identity;
use serde_json::Value;

/// A mount as it is.
#[derive(Debug)]
pub enum HostMountSeen {
    /// Its node could not be looked into.
    Unread(Unread),
    /// It is there.
    There(Box<There>),
}

/// Why nothing is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The node does not answer.
    Away,
    /// There is no way to it: why, and what to do.
    NoLink(String),
    /// It answered with something else.
    Failed(String),
}

/// A mount that is there.
#[derive(Debug)]
pub struct There {
    /// Its unit.
    pub unit: Unit,
    /// What is mounted at its path.
    pub mounted: Option<Mounted>,
    /// Our marker in the unit.
    pub marker: Option<Marker>,
    /// Its node.
    pub node: String,
    /// The storage on it, as a manifest says it.
    pub storage: Option<Value>,
}

/// What a mount is addressed by.
pub fn id(node: &str, path: &str) -> String {
    format!("{node}:{path}")
}

/// Node and path of an identity.
pub fn place(identity: &Identity) -> (&str, &str) {
    match identity {
        // Names of nodes hold no colon.
        Identity::Object { id, .. } => id.split_once(':').unwrap_or((id, "")),
        Identity::Guest { .. } | Identity::Pool(_) => unreachable!("a mount is addressed by node and path"),
    }
}

/// The read of a node's mounts.
pub fn mounts_query(node: &str) -> Query {
    Operation::Mounts.query(node).expect("to look is a read")
}

/// The read of a folder; `None` where its path is not plain.
pub fn folder_query(node: &str, path: &str) -> Option<Query> {
    Operation::Folder { path: Token::argument(path)? }.query(node)
}

/// The mounts of a node; `None` where they were not asked for.
pub fn mounts(node: &str, seen: &Observation) -> Option<Result<Mounts, Unread>> {
    Some(match seen.answer(&mounts_query(node))? {
        Ok(value) => Mounts::read(value.as_str().unwrap_or_default()).map_err(Unread::Failed),
        Err(error) => Err(match (error.refusal(), error) {
            (Some(Refusal::NodeOffline), _) => Unread::Away,
            (Some(Refusal::Unsupported), PveError::Refused { reason, .. }) => Unread::NoLink(reason.clone()),
            (_, error) => Unread::Failed(error.to_string()),
        }),
    })
}

/// The folder of a mount, if it could be read.
pub fn folder(node: &str, path: &str, seen: &Observation) -> Option<Folder> {
    Folder::read(seen.value(&folder_query(node, path)?)?.as_str()?)
}

impl There {
    /// The mount of a unit.
    pub fn new(node: &str, unit: &Unit, mounts: &Mounts, index: &Index) -> There {
        let marker = unit.marker.as_deref().and_then(|comment| Marker::split(comment).1);
        let storage = storage::export(index, node, &unit.at);
        There { unit: unit.clone(), mounted: mounts.at(&unit.at).cloned(), marker, node: node.to_owned(), storage }
    }

    /// Whether what its unit names is mounted.
    pub fn is_mounted(&self) -> bool {
        self.mounted.as_ref().is_some_and(|m| Some(m.uuid.as_str()) == self.unit.uuid())
    }

    /// Whether it is mounted when the node boots.
    pub fn is_enabled(&self) -> bool {
        self.unit.enabled == "enabled"
    }

    /// What a field holds.
    pub fn field(&self, path: &str) -> Option<String> {
        match path {
            "uuid" => self.unit.uuid().map(str::to_owned),
            "fsType" => Some(self.unit.file_system.clone()),
            "options" => Some(options(self.unit.options.iter().map(String::as_str))),
            "required" => Some(u8::from(self.unit.required).to_string()),
            _ => None,
        }
    }
}

/// Options in normal form: in order, without what goes without saying.
pub fn options<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = all.filter(|o| *o != NOFAIL && *o != "defaults").collect();
    all.sort_unstable();
    all.dedup();
    all.join(",")
}

/// What absence of a field means.
pub fn default(path: &str) -> Option<String> {
    match path {
        "options" => Some(String::new()),
        "required" => Some("0".to_owned()),
        _ => None,
    }
}

/// What was applied to a mount, as its marker says.
pub fn applied(there: Option<&There>) -> Fields {
    there.and_then(|t| t.marker.as_ref()).map(|m| m.applied.clone()).unwrap_or_default()
}
