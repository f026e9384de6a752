//! The parts of a guest's spec, as users write them. Doc comments here are what `explain` shows.

use crate::base::quantity::{Bytes, parse_seconds};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A size such as `4Gi`, `512Mi` or `20G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub Bytes);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        let text = String::deserialize(deserializer)?;
        Bytes::parse(&text)
            .filter(|b| b.0 > 0 || text.starts_with('0'))
            .map(Size)
            .ok_or_else(|| Error::custom(format!("`{text}` is not a size; write it like 4Gi, 512Mi or 20G")))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?([KMGT](i|iB)?)?$", "description": "A size such as `4Gi`, `512Mi` or `20G` (powers of 1024)."})
    }
}

/// A span of time such as `30s` or `5m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl Seconds {
    /// As times are counted with: signed.
    pub fn signed(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_seconds(&text)
            .map(Seconds)
            .ok_or_else(|| Error::custom(format!("`{text}` is not a span of time; write it like 30s, 5m or 1h30m")))
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for Seconds {
    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^([0-9]+[smhd]?)+$", "description": "A span of time such as `30s`, `5m` or `1h30m`."})
    }
}

/// Whether a guest shall run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
pub enum Power {
    /// It shall run; it is started when it does not.
    Running,
    /// It shall not run; it is shut down in order, never by force.
    Stopped,
    /// Nobody's business: the default.
    Unmanaged,
}

/// How a new guest is made from its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum CloneMode {
    /// Shares the template's disks: quick and small; the template must stay.
    #[default]
    Linked,
    /// A whole copy of its own.
    Full,
}

impl CloneMode {
    /// What a copy is that says nothing of it, where its original may go.
    pub fn full() -> CloneMode {
        CloneMode::Full
    }
}

/// Where a new guest may be put.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// The nodes to choose from.
    #[schemars(length(min = 1))]
    pub nodes: Vec<String>,
    /// How to choose among them.
    #[serde(default)]
    pub prefer: Prefer,
}

/// How to choose among nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum Prefer {
    /// The node with the most free memory, counting what this plan puts there too.
    #[default]
    MostFreeMemory,
}

/// When and how a guest starts with its node.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Startup {
    /// Start it when its node starts.
    #[serde(default)]
    pub on_boot: Option<bool>,
    /// Its place in the order of starts; shutdown goes the other way.
    #[serde(default)]
    pub order: Option<u32>,
    /// How long to wait after its start before the next one starts.
    #[serde(default)]
    pub up_delay: Option<Seconds>,
    /// How long its shutdown may take.
    #[serde(default)]
    pub down_delay: Option<Seconds>,
}

/// How a running guest may be changed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Update {
    /// What to do when a change takes effect only at the next start.
    #[serde(default)]
    pub reboot: RebootPolicy,
    /// What becomes of a volume whose slot left the manifest.
    #[serde(default)]
    pub volumes: VolumePolicy,
    /// What to do when the guest is on another node than its manifest says.
    #[serde(default)]
    pub migrate: MigratePolicy,
}

/// What to do when a guest is on another node than its manifest says. It is never made anew elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum MigratePolicy {
    /// Report it, and leave the guest where it is.
    #[default]
    Never,
    /// Move it while it runs, with the disks that only its node has; one that is off is moved as it is. Virtual machines only.
    Online,
    /// Move it at rest: a running container is shut down, moved and started by PVE; a running VM is shut down first, and
    /// started on the other node, which takes `power: Running`.
    Offline,
}

/// What becomes of a volume whose slot left the manifest. It is never deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum VolumePolicy {
    /// It stays plugged in, and is no longer managed.
    #[default]
    Keep,
    /// It is taken out of its slot, and stays with the guest as `unusedN`.
    Detach,
}

/// What to do when a change takes effect only at the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum RebootPolicy {
    /// Write the change, report `RebootRequired`, and leave the guest running.
    #[default]
    Never,
    /// Reboot it in order (through the agent or ACPI), never by force.
    IfRequired,
}

/// A size, or `0` for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalloonSize(pub Bytes);

impl<'de> Deserialize<'de> for BalloonSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BalloonSize, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(n) if n.as_u64() == Some(0) => Ok(BalloonSize(Bytes(0))),
            Value::String(text) => Bytes::parse(&text)
                .map(BalloonSize)
                .ok_or_else(|| Error::custom(format!("`{text}` is not a size; write it like 4Gi, or 0"))),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(Error::custom(format!("`{other}` is not a size; write it like 4Gi, or 0")))
            }
        }
    }
}

impl Serialize for BalloonSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for BalloonSize {
    fn schema_name() -> Cow<'static, str> {
        "BalloonSize".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "minimum": 0, "maximum": 0, "description": "A size such as `2Gi`, or `0` to turn ballooning off."})
    }
}

/// A value that may also be written in short, as one word.
pub trait Short: Sized {
    /// From the word; an error says what is wrong with it.
    fn from_text(text: &str) -> Result<Self, String>;
    /// From on or off.
    fn from_flag(on: bool) -> Result<Self, String> {
        Err(format!("`{on}` is no word; write its name"))
    }
}

/// Reads a value that may be written in short.
struct ShortOrMap<T>(std::marker::PhantomData<T>);

impl<'de, T: Short + DeserializeMap<'de>> Visitor<'de> for ShortOrMap<T> {
    type Value = T;
    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("one word, or fields")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).map_err(E::custom)
    }
    fn visit_bool<E: Error>(self, on: bool) -> Result<T, E> {
        T::from_flag(on).map_err(E::custom)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::from_map(MapAccessDeserializer::new(map))
    }
}

/// The long way of writing such a value.
pub trait DeserializeMap<'de>: Sized {
    /// From its fields.
    fn from_map<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// Reads a value written in short or in full.
pub fn short_or_map<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Short + DeserializeMap<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(ShortOrMap(std::marker::PhantomData))
}

/// Any other option of PVE's configuration API, verbatim: text, number or boolean.
pub type Options = BTreeMap<String, OptionValue>;

/// A value of PVE's configuration API.
#[derive(Debug, Clone, PartialEq)]
pub struct OptionValue(pub String);

impl<'de> Deserialize<'de> for OptionValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OptionValue, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(OptionValue(text)),
            Value::Number(n) => Ok(OptionValue(n.to_string())),
            Value::Bool(b) => Ok(OptionValue(u8::from(b).to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err(Error::custom("an option is text, a number or a boolean"))
            }
        }
    }
}

impl JsonSchema for OptionValue {
    fn schema_name() -> Cow<'static, str> {
        "OptionValue".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number", "boolean"], "description": "A value as PVE's configuration API takes it."})
    }
}

/// A range of VMIDs such as `400-449`, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmIdRange(pub crate::base::id::VmId, pub crate::base::id::VmId);

impl<'de> Deserialize<'de> for VmIdRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<VmIdRange, D::Error> {
        use crate::base::id::VmId;
        let text = String::deserialize(deserializer)?;
        let ends = text
            .split_once('-')
            .and_then(|(a, b)| Some((VmId::new(a.trim().parse().ok()?)?, VmId::new(b.trim().parse().ok()?)?)));
        ends.filter(|(a, b)| a <= b)
            .map(|(a, b)| VmIdRange(a, b))
            .ok_or_else(|| Error::custom(format!("`{text}` is not a range of VMIDs; write it like 400-449")))
    }
}

impl JsonSchema for VmIdRange {
    fn schema_name() -> Cow<'static, str> {
        "VmIdRange".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+ *- *[0-9]+$", "description": "A range of VMIDs such as `400-449`, both ends included."})
    }
}
