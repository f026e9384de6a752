//! A guest as it is: one read (`…/pending`) tells what runs, what waits for a restart, and the digest.

use crate::base::id::GuestType;
use crate::kinds::guest::firewall;
use crate::kinds::guest::mapping::{self, Config};
use crate::resource::index::{GuestRow, node_guests_query, text};
use crate::resource::kind::DecodeError;
use crate::resource::kind::Listed;
use crate::resource::marker::Marker;
use crate::resource::observation::{Observation, guest_query};
use crate::resource::reference::Identity;
use serde_json::Value;
use std::sync::Arc;

/// A guest as it is.
#[derive(Debug, Clone)]
pub struct GuestSeen {
    /// Its row in the index.
    pub row: Arc<GuestRow>,
    /// Its options with what is pending taken as done; notes without our marker.
    pub config: Config,
    /// Options that wait for the guest's next start.
    pub pending: Vec<String>,
    /// What is in force of those options.
    pub in_force: Config,
    /// PVE's digest of the configuration.
    pub digest: Option<String>,
    /// PVE's lock.
    pub lock: Option<String>,
    /// Our marker.
    pub marker: Option<Arc<Marker>>,
    /// Its firewall, where it was read.
    pub firewall: Option<firewall::Seen>,
}

impl GuestSeen {
    /// Whether it runs.
    pub fn running(&self) -> bool {
        self.row.status == "running"
    }

    /// What its next start changes, each in words: `memory: 1024 → 2048`.
    pub fn pending_changes(&self) -> Vec<String> {
        let shown = |config: &Config, key: &str| match (key, config.get(key)) {
            ("cipassword", Some(_)) => "(secret)".to_owned(),
            (_, value) => value.cloned().unwrap_or_else(|| "(none)".to_owned()),
        };
        let change = |key: &String| format!("{key}: {} → {}", shown(&self.in_force, key), shown(&self.config, key));
        self.pending.iter().filter(|k| *k != "description").map(change).collect()
    }
}

/// When a VM was made, in seconds since 1970, as PVE keeps it in `meta`; older VMs and containers have none.
pub fn created(config: &Config) -> Option<i64> {
    config.get("meta")?.split(',').find_map(|part| part.strip_prefix("ctime="))?.parse().ok()
}

/// The guest behind an identity, wherever the index says that it is; `None` if it is not there.
pub fn decode(identity: &Identity, seen: &Observation) -> Result<Option<GuestSeen>, DecodeError> {
    let Identity::Guest { vmid, .. } = identity else { return Ok(None) };
    let Some(row) = seen.index.guests.get(vmid) else { return Ok(None) };
    decode_row(row, seen)
}

/// The guest of an index row; an error if its configuration could not be read.
pub fn decode_row(row: &Arc<GuestRow>, seen: &Observation) -> Result<Option<GuestSeen>, DecodeError> {
    // Whether it runs and is a template is only known from the node's own list; the index may be ten seconds old.
    if let Some(Err(error)) = seen.answer(&node_guests_query(&row.node, row.guest)) {
        return Err(DecodeError { message: error.to_string() });
    }
    let query = guest_query(row);
    match seen.answer(&query) {
        None => Err(DecodeError { message: format!("{query} was not asked") }),
        Some(Err(error)) if error.is_absent() => Ok(None),
        Some(Err(error)) => Err(DecodeError { message: error.to_string() }),
        Some(Ok(value)) => {
            let mut guest = read(row, value, seen.guest_marker(row.vmid))?;
            guest.firewall = firewall::observe(row, seen).map_err(|message| DecodeError { message })?;
            Ok(Some(guest))
        }
    }
}

fn read(row: &Arc<GuestRow>, value: &Value, marker: Option<&Arc<Marker>>) -> Result<GuestSeen, DecodeError> {
    let rows =
        value.as_array().ok_or_else(|| DecodeError { message: format!("pending of guest {} is no list", row.vmid) })?;
    let mut seen = GuestSeen {
        row: Arc::clone(row),
        config: Config::new(),
        pending: Vec::new(),
        in_force: Config::new(),
        digest: None,
        lock: row.lock.clone(),
        marker: marker.cloned(),
        firewall: None,
    };
    for entry in rows {
        let Some(key) = entry["key"].as_str() else { continue };
        let waits = !entry["pending"].is_null() || !entry["delete"].is_null();
        if let (true, Some(now)) = (waits, text(&entry["value"])) {
            seen.in_force.insert(key.to_owned(), now);
        }
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
    if let Some(notes) = seen.config.get_mut("description") {
        *notes = if marker.is_some() { Marker::people(notes) } else { Marker::split(notes).0 };
    }
    seen.pending.sort();
    Ok(seen)
}

/// All guests of one type, templates or others.
pub fn list(guest: GuestType, template: bool, seen: &Observation) -> Vec<Listed> {
    let rows = seen.index.guests.values().filter(|r| r.guest == guest && r.template == template);
    rows.map(|row| {
        let marker = seen.guest_marker(row.vmid).cloned();
        Listed {
            name: marker.as_ref().map_or_else(|| row.name.clone(), |m| m.owner.name.clone()),
            identity: Identity::Guest { guest, vmid: row.vmid, node: row.node.clone() },
            marker,
        }
    })
    .collect()
}

/// The columns of `get` for a guest.
pub fn columns(listed: &Listed, seen: &Observation) -> Vec<(&'static str, String)> {
    let Identity::Guest { vmid, .. } = &listed.identity else { return Vec::new() };
    let Some(row) = seen.index.guests.get(vmid) else { return Vec::new() };
    vec![
        ("VMID", row.vmid.to_string()),
        ("NODE", row.node.clone()),
        ("STATUS", row.lock.as_ref().map_or_else(|| row.status.clone(), |l| format!("{} ({l})", row.status))),
        ("CPUS", row.cpus.to_string()),
        ("MEMORY", crate::base::quantity::Bytes(row.memory).to_string()),
        ("POOL", row.pool.clone().unwrap_or_default()),
        ("TAGS", mapping::normal_tags(row.tags.iter().map(String::as_str)).replace(';', ",")),
    ]
}
