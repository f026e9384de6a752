//! A guest as it is: one read (`…/pending`) tells what runs, what waits for a restart, and the digest.

use crate::base::id::{GuestType, VmId};
use crate::kinds::guest::mapping::{self, Config};
use crate::pve::request::Query;
use crate::resource::index::{GuestRow, text};
use crate::resource::kind::DecodeError;
use crate::resource::kind::Listed;
use crate::resource::marker::Marker;
use crate::resource::observation::Observation;
use crate::resource::reference::Identity;
use serde_json::Value;

/// A guest as it is.
#[derive(Debug, Clone)]
pub struct GuestSeen {
    /// Its row in the index.
    pub row: GuestRow,
    /// Its options with what is pending taken as done; notes without our marker.
    pub config: Config,
    /// Options that wait for the guest's next start.
    pub pending: Vec<String>,
    /// PVE's digest of the configuration.
    pub digest: Option<String>,
    /// PVE's lock.
    pub lock: Option<String>,
    /// Our marker.
    pub marker: Option<Marker>,
}

impl GuestSeen {
    /// Whether it runs.
    pub fn running(&self) -> bool {
        self.row.status == "running"
    }
}

/// The read that tells all about a guest.
pub fn query(guest: GuestType, node: &str, vmid: VmId) -> Query {
    Query::new(format!("/nodes/{node}/{guest}/{vmid}/pending"))
}

/// The guest behind an identity, wherever the index says that it is; `None` if it is not there.
pub fn decode(identity: &Identity, seen: &Observation) -> Result<Option<GuestSeen>, DecodeError> {
    let Identity::Guest { vmid, .. } = identity else { return Ok(None) };
    let Some(row) = seen.index.guests.get(vmid) else { return Ok(None) };
    decode_row(row, seen)
}

/// The guest of an index row; an error if its configuration could not be read.
pub fn decode_row(row: &GuestRow, seen: &Observation) -> Result<Option<GuestSeen>, DecodeError> {
    let query = query(row.guest, &row.node, row.vmid);
    match seen.answer(&query) {
        None => Err(DecodeError { message: format!("{query} was not asked") }),
        Some(Err(error)) if error.is_absent() => Ok(None),
        Some(Err(error)) => Err(DecodeError { message: error.to_string() }),
        Some(Ok(value)) => read(row, value).map(Some),
    }
}

fn read(row: &GuestRow, value: &Value) -> Result<GuestSeen, DecodeError> {
    let rows =
        value.as_array().ok_or_else(|| DecodeError { message: format!("pending of guest {} is no list", row.vmid) })?;
    let mut seen = GuestSeen {
        row: row.clone(),
        config: Config::new(),
        pending: Vec::new(),
        digest: None,
        lock: row.lock.clone(),
        marker: None,
    };
    for entry in rows {
        let Some(key) = entry["key"].as_str() else { continue };
        let waits = !entry["pending"].is_null() || !entry["delete"].is_null();
        let value = if entry["pending"].is_null() { text(&entry["value"]) } else { text(&entry["pending"]) };
        match (key, value) {
            ("digest", value) => seen.digest = value,
            ("lock", value) => seen.lock = value,
            (_, Some(value)) if entry["delete"].is_null() => {
                seen.config.insert(key.to_owned(), value);
            }
            (_, _) => {}
        }
        if waits {
            seen.pending.push(key.to_owned());
        }
    }
    let (notes, marker) = Marker::split(seen.config.get("description").map_or("", String::as_str));
    seen.marker = marker.filter(|m| m.vmid.is_none_or(|v| v == row.vmid.get()));
    if seen.config.contains_key("description") {
        seen.config.insert("description".into(), notes);
    }
    seen.pending.sort();
    Ok(seen)
}

/// All guests of one type for `get`, templates or others.
pub fn list(guest: GuestType, template: bool, seen: &Observation) -> Vec<Listed> {
    let rows = seen.index.guests.values().filter(|r| r.guest == guest && r.template == template);
    rows.map(|row| {
        let marker = decode_row(row, seen).ok().flatten().and_then(|g| g.marker);
        Listed {
            name: marker.as_ref().map_or_else(|| row.name.clone(), |m| m.owner.name.clone()),
            identity: Identity::Guest { guest, vmid: row.vmid, node: row.node.clone() },
            marker,
            columns: vec![
                ("VMID", row.vmid.to_string()),
                ("NODE", row.node.clone()),
                ("STATUS", row.lock.as_ref().map_or_else(|| row.status.clone(), |l| format!("{} ({l})", row.status))),
                ("CPUS", row.cpus.to_string()),
                ("MEMORY", crate::base::quantity::Bytes(row.memory).to_string()),
                ("POOL", row.pool.clone().unwrap_or_default()),
                ("TAGS", mapping::normal_tags(row.tags.iter().map(String::as_str)).replace(';', ",")),
            ],
        }
    })
    .collect()
}
