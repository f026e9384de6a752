//! What users write.

use crate::kinds::network_profile::peer::Peer;
use crate::kinds::network_profile::ports::Ports;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;

/// Its name in manifests.
pub const NAME: &str = "NetworkProfile";

/// What the network of a guest is, by name: where it hangs, what it may reach, and who may reach it. Guests name it in
/// `networks`. It becomes a security group, address sets, and options of the guests' networks and firewalls.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkProfileSpec {
    /// The bridge.
    #[serde(default)]
    pub bridge: Option<String>,
    /// VLAN tag.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<u16>,
    /// The card that a VM sees, such as `virtio`; containers have none.
    #[serde(default)]
    pub model: Option<String>,
    /// Largest packet.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65520))]
    pub mtu: Option<u32>,
    /// How much may pass, such as `100MB/s`.
    #[serde(default)]
    pub rate_limit: Option<Rate>,
    /// Whether PVE's firewall guards it. Without it, nothing below holds: on unless said.
    #[serde(default)]
    pub firewall: Option<bool>,
    /// Only the guest's own MAC address may send.
    #[serde(default)]
    pub mac_filter: Option<bool>,
    /// Only the guest's own addresses may send: those that PVE knows (of containers), and those in the guest's set `ipfilter-netN`.
    #[serde(default)]
    pub ip_filter: Option<bool>,
    /// What the guest may reach.
    #[serde(default)]
    pub egress: Option<Egress>,
    /// Who may reach the guest.
    #[serde(default)]
    pub ingress: Option<Ingress>,
    /// How loud the rules are in PVE's firewall log.
    #[serde(default)]
    pub log: Log,
}

/// What the guest may reach: first what is allowed, in order, then what is denied, then the default.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Egress {
    /// What becomes of all else.
    pub default: Default,
    /// What it may reach.
    #[serde(default)]
    pub allow: Vec<To>,
    /// What it may not.
    #[serde(default)]
    pub deny: Vec<To>,
}

/// Who may reach the guest: first what is allowed, in order, then what is denied, then the default.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ingress {
    /// What becomes of all else.
    pub default: Default,
    /// Who may reach it.
    #[serde(default)]
    pub allow: Vec<From>,
    /// Who may not.
    #[serde(default)]
    pub deny: Vec<From>,
}

/// A destination.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct To {
    /// Addresses, a name with or without a port (`api.github.com:443`), `any`, or guests by their labels.
    pub to: Peer,
    /// Ports: `tcp/443`, `udp/53`, `tcp/8000-8010`, `tcp`, `icmp`. Any when left out.
    #[serde(default)]
    pub ports: Vec<Ports>,
    /// Addresses and networks within that are not meant.
    #[serde(default)]
    pub except: Vec<String>,
}

/// A source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct From {
    /// Addresses, a name, `any`, or guests by their labels.
    pub from: Peer,
    /// Ports of the guest: `tcp/22`, `icmp`. Any when left out.
    #[serde(default)]
    pub ports: Vec<Ports>,
    /// Addresses and networks within that are not meant.
    #[serde(default)]
    pub except: Vec<String>,
}

/// What becomes of what nothing else says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Default {
    /// It passes.
    Allow,
    /// It is dropped, and nobody is told.
    Deny,
    /// It is dropped, and the sender is told.
    Reject,
}

/// PVE's log levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "PVE's words, which say what they mean")]
pub enum Log {
    #[default]
    Nolog,
    Emerg,
    Alert,
    Crit,
    Err,
    Warning,
    Notice,
    Info,
    Debug,
}

impl Log {
    /// PVE's word; `None` for silence.
    pub fn as_pve(self) -> Option<&'static str> {
        match self {
            Log::Nolog => None,
            Log::Emerg => Some("emerg"),
            Log::Alert => Some("alert"),
            Log::Crit => Some("crit"),
            Log::Err => Some("err"),
            Log::Warning => Some("warning"),
            Log::Notice => Some("notice"),
            Log::Info => Some("info"),
            Log::Debug => Some("debug"),
        }
    }
}

/// A rate in megabytes a second, as PVE counts it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(pub f64);

impl Rate {
    /// Reads `100MB/s`, `1.5 GB/s`, `800Mbit/s`; a bare number is megabytes a second.
    pub fn parse(text: &str) -> Option<Rate> {
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let factor = match unit.trim() {
            "" | "MB/s" => 1.0,
            "kB/s" | "KB/s" => 1e-3,
            "GB/s" => 1e3,
            "Mbit/s" => 0.125,
            "Gbit/s" => 125.0,
            "MiB/s" => 1.048_576,
            _ => return None,
        };
        let rate = number.parse::<f64>().ok()? * factor;
        (rate.is_finite() && rate > 0.0).then_some(Rate(rate))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rate, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Rate::parse(&text)
            .ok_or_else(|| Error::custom(format!("`{text}` is not a rate; write it like 100MB/s or 1Gbit/s")))
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number"], "description": "A rate such as `100MB/s` or `1Gbit/s`; a bare number is megabytes a second."})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, rate) in [("100MB/s", 100.0), ("1Gbit/s", 125.0), ("2.5", 2.5), ("1.5 GB/s", 1500.0)] {
            assert_eq!(Rate::parse(text), Some(Rate(rate)), "{text}");
        }
        for text in ["", "fast", "0", "1MB", "-1"] {
            assert_eq!(Rate::parse(text), None, "{text}");
        }
    }
}
