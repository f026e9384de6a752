//! Network profiles: what a guest's network is, by name. A profile has no object of its own on the cluster: it becomes a
//! security group, address sets, and the network options of the guests that name it.

pub mod spec;

pub mod ports;

pub mod peer;

pub mod compile;

use crate::kinds::network_profile::spec::NetworkProfileSpec;
use serde_json::Value;

/// JSON Schema (draft 2020-12) of the spec.
pub fn schema() -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    settings.into_generator().into_root_schema_for::<NetworkProfileSpec>().to_value()
}

/// Reads a spec.
///
/// # Errors
/// The path of the field, and what is wrong with it.
pub fn parse(spec: &Value) -> Result<NetworkProfileSpec, (String, String)> {
    serde_path_to_error::deserialize(spec)
        .map_err(|e: serde_path_to_error::Error<serde_json::Error>| (e.path().to_string(), e.inner().to_string()))
}
