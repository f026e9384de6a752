//! What cloud-init tells a VM.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;

/// What cloud-init tells a VM at its first start.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloudInit {
    /// The storage of the cloud-init drive, made where the guest has none.
    #[serde(default)]
    pub storage: Option<String>,
    /// The slot where it is made: `ide2` unless said.
    #[serde(default)]
    #[schemars(regex(pattern = r"^(scsi([0-9]|[12][0-9]|30)|sata[0-5]|ide[0-3])$"))]
    pub drive: Option<String>,
    /// The user to make.
    #[serde(default)]
    pub user: Option<String>,
    /// Not to be given: a password has no place in a manifest. Use `sshKeys`, or `custom.user` with a hash.
    #[serde(default)]
    pub password: Option<NoPassword>,
    /// Public SSH keys of that user.
    #[serde(default)]
    pub ssh_keys: Option<Vec<String>>,
    /// DNS servers.
    #[serde(default)]
    pub nameservers: Option<Vec<String>>,
    /// DNS search domain.
    #[serde(default)]
    pub search_domain: Option<String>,
    /// Upgrade packages at the first start.
    #[serde(default)]
    pub upgrade: Option<bool>,
    /// How it is told: `configdrive2`, `nocloud`, `opennebula`.
    #[serde(default)]
    #[schemars(extend("enum" = ["configdrive2", "nocloud", "opennebula"]))]
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Snippets that take the place of what PVE writes.
    #[serde(default)]
    pub custom: Option<CloudInitFiles>,
}

impl CloudInit {
    /// The slot and the storage of the drive that it needs, where it names a storage.
    pub fn drive_to_make(&self) -> Option<(String, String)> {
        Some((self.drive.clone().unwrap_or_else(|| "ide2".to_owned()), self.storage.clone()?))
    }
}

/// Snippets that take the place of what PVE writes, each a volume such as `local:snippets/user.yaml`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloudInitFiles {
    /// In place of the user's part.
    #[serde(default)]
    pub user: Option<String>,
    /// In place of the network's part.
    #[serde(default)]
    pub network: Option<String>,
    /// In place of the metadata.
    #[serde(default)]
    pub meta: Option<String>,
    /// The vendor's part.
    #[serde(default)]
    pub vendor: Option<String>,
}

/// A password, which is refused.
#[derive(Debug, Clone, Serialize)]
pub enum NoPassword {}

impl<'de> Deserialize<'de> for NoPassword {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<NoPassword, D::Error> {
        Err(D::Error::custom(
            "a password has no place in a manifest, and PVE gives none back to compare: give `sshKeys`, or a hash in a snippet named by `custom.user`",
        ))
    }
}

impl JsonSchema for NoPassword {
    fn schema_name() -> Cow<'static, str> {
        "NoPassword".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }
}
