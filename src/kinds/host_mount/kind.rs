//! The kind `HostMount`.

use crate::host::mounts::Mounts;
use crate::kinds::host_mount::seen::{HostMountSeen, There, folder_query, id, mounts, mounts_query, options, place};
use crate::kinds::host_mount::spec::{HostMountSpec, check};
use crate::kinds::host_mount::{plan, storage};
use crate::kinds::objects::table::STORAGE;
use crate::pve::request::Query;
use crate::resource::index::Index;
use crate::resource::kind::{DecodeError, Kind, Listed, PlanContext};
use crate::resource::marker::Marker;
use crate::resource::observation::Observation;
use crate::resource::reference::{Claim, Identity, Reference};
use crate::resource::step::{Delta, Problem};
use serde_json::{Value, json};
use std::sync::Arc;

/// Its name in manifests.
pub const NAME: &str = "HostMount";

/// The kind.
pub struct HostMountKind;

fn listed(node: &str, mounts: &Mounts, index: &Index) -> Vec<Listed> {
    let one = |there: There| Listed {
        name: match &there.marker {
            Some(marker) => marker.owner.name.clone(),
            None => there.unit.at.trim_start_matches('/').replace('/', "-"),
        },
        identity: Identity::Object { kind: NAME, id: id(node, &there.unit.at) },
        marker: there.marker.map(Arc::new),
    };
    let by_uuid = mounts.units.iter().filter(|unit| unit.uuid().is_some() && !unit.at.is_empty());
    by_uuid.map(|unit| one(There::new(node, unit, mounts, index))).collect()
}

fn there(listed: &Listed, seen: &Observation) -> Option<Box<There>> {
    match HostMountKind::decode(&listed.identity, seen) {
        Ok(Some(HostMountSeen::There(there))) => Some(there),
        Ok(Some(HostMountSeen::Unread(_)) | None) | Err(_) => None,
    }
}

impl Kind for HostMountKind {
    const NAME: &'static str = NAME;
    type Spec = HostMountSpec;
    type Observed = HostMountSeen;

    fn refs(_spec: &HostMountSpec) -> Vec<Reference> {
        Vec::new()
    }

    fn check(spec: &HostMountSpec) -> Vec<Problem> {
        check(spec)
    }

    fn claim(_name: &str, spec: &HostMountSpec) -> Claim {
        Claim::Object { kind: NAME, id: id(&spec.node, &spec.path) }
    }

    fn lists() -> Vec<Query> {
        STORAGE.lists()
    }

    fn lists_of(node: &str, index: &Index) -> Vec<Query> {
        std::iter::once(mounts_query(node)).chain(storage::contents(index, node)).collect()
    }

    fn reads(identity: &Identity, spec: Option<&HostMountSpec>, index: &Index) -> Vec<Query> {
        let (node, path) = place(identity);
        if !index.nodes.get(node).is_some_and(|row| row.online) {
            return Vec::new();
        }
        let mut reads = vec![mounts_query(node)];
        if spec.is_some() {
            reads.extend(folder_query(node, path));
        }
        let keeps = spec.and_then(|spec| spec.storage.as_ref()).map(|s| s.id.as_str());
        reads.extend(storage::reads(index, node, path, keeps));
        reads
    }

    fn list(seen: &Observation) -> Vec<Listed> {
        let nodes = seen.index.nodes.keys();
        let read = nodes.filter_map(|node| Some((node, mounts(node, seen)?.ok()?)));
        read.flat_map(|(node, mounts)| listed(node, &mounts, &seen.index)).collect()
    }

    fn columns(listed: &Listed, seen: &Observation) -> Vec<(&'static str, String)> {
        let (node, path) = place(&listed.identity);
        let there = there(listed, seen);
        let of = |read: fn(&There) -> String| there.as_deref().map(read).unwrap_or_default();
        vec![
            ("NODE", node.to_owned()),
            ("PATH", path.to_owned()),
            ("UUID", of(|t| t.unit.uuid().unwrap_or_default().to_owned())),
            ("TYPE", of(|t| t.unit.file_system.clone())),
            ("MOUNTED", of(|t| if t.is_mounted() { "yes" } else { "no" }.to_owned())),
            ("STORAGE", of(|t| t.storage.as_ref().and_then(|s| s["id"].as_str()).unwrap_or_default().to_owned())),
        ]
    }

    fn decode(identity: &Identity, seen: &Observation) -> Result<Option<HostMountSeen>, DecodeError> {
        let (node, path) = place(identity);
        Ok(match mounts(node, seen) {
            None => None,
            Some(Err(why)) => Some(HostMountSeen::Unread(why)),
            Some(Ok(mounts)) => {
                let there = mounts.unit(path).map(|unit| There::new(node, unit, &mounts, &seen.index));
                there.map(|there| HostMountSeen::There(Box::new(there)))
            }
        })
    }

    fn marker(observed: &HostMountSeen) -> Option<&Marker> {
        match observed {
            HostMountSeen::There(there) => there.marker.as_ref(),
            HostMountSeen::Unread(_) => None,
        }
    }

    fn plan(cx: &PlanContext<'_>, desired: Option<&HostMountSpec>, observed: Option<&HostMountSeen>) -> Delta {
        plan::plan(cx, desired, observed)
    }

    fn export(observed: &HostMountSeen) -> Value {
        let HostMountSeen::There(there) = observed else { return json!({}) };
        let There { unit, node, storage, .. } = there.as_ref();
        let mut out = json!({
            "node": node, "uuid": unit.uuid().unwrap_or_default(), "path": unit.at, "fsType": unit.file_system,
        });
        let own = options(unit.options.iter().map(String::as_str));
        if !own.is_empty() {
            out["options"] = own.split(',').collect();
        }
        if unit.required {
            out["required"] = true.into();
        }
        if let Some(storage) = storage {
            out["storage"] = storage.clone();
        }
        out
    }
}
