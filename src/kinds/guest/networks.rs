//! Network interfaces of guests.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::net::IpAddr;

/// A network interface of a VM.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Network {
    /// Which interface: `net0`, `net1`, …
    #[schemars(regex(pattern = r"^net([0-9]|[12][0-9]|3[01])$"))]
    pub slot: String,
    /// The `NetworkProfile` that says all that is not said here: bridge, VLAN, and what may pass.
    #[serde(default)]
    pub profile: Option<String>,
    /// The bridge that it hangs on.
    #[serde(default)]
    pub bridge: Option<String>,
    /// VLAN tag.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<u16>,
    /// VLANs that pass through with their tags: numbers, or ranges such as `2-4`.
    #[serde(default)]
    pub trunks: Option<Vec<Trunk>>,
    /// MAC address; PVE makes one up if none is given, and it then stays.
    #[serde(default)]
    pub mac: Option<String>,
    /// Whether PVE's firewall guards it.
    #[serde(default)]
    pub firewall: Option<bool>,
    /// As if the cable were pulled.
    #[serde(default)]
    pub link_down: Option<bool>,
    /// Rate limit in megabytes a second.
    #[serde(default)]
    pub rate_limit: Option<f64>,
    /// The card that the guest sees; `virtio` unless said: `virtio`, `e1000`, `e1000-82540em`, `e1000-82544gc`, `e1000-82545em`, `e1000e`, `i82551`, `i82557b`, `i82559er`, `ne2k_isa`, `ne2k_pci`, `pcnet`, `rtl8139`, `vmxnet3`.
    #[serde(default)]
    #[schemars(extend("enum" = ["virtio", "e1000", "e1000-82540em", "e1000-82544gc", "e1000-82545em", "e1000e", "i82551", "i82557b", "i82559er", "ne2k_isa", "ne2k_pci", "pcnet", "rtl8139", "vmxnet3"]))]
    pub model: Option<String>,
    /// Largest packet; `1` takes the bridge's.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65520))]
    pub mtu: Option<u32>,
    /// Packet queues.
    #[serde(default)]
    #[schemars(range(min = 0, max = 64))]
    pub queues: Option<u32>,
    /// Address with its prefix, or `dhcp`; given to the guest by cloud-init.
    #[serde(default)]
    pub ip: Option<String>,
    /// Gateway for that address.
    #[serde(default)]
    pub gateway: Option<String>,
    /// IPv6 address with its prefix, `auto` or `dhcp`; given to the guest by cloud-init.
    #[serde(default)]
    pub ip6: Option<String>,
    /// IPv6 gateway.
    #[serde(default)]
    pub gateway6: Option<String>,
}

/// A network interface of a container.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CtNetwork {
    /// Which interface: `net0`, `net1`, …
    #[schemars(regex(pattern = r"^net([0-9]|[12][0-9]|3[01])$"))]
    pub slot: String,
    /// Its name in the container: `eth0` unless said.
    #[serde(default)]
    pub name: Option<String>,
    /// The `NetworkProfile` that says all that is not said here: bridge, VLAN, and what may pass.
    #[serde(default)]
    pub profile: Option<String>,
    /// The bridge that it hangs on.
    #[serde(default)]
    pub bridge: Option<String>,
    /// VLAN tag.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<u16>,
    /// VLANs that pass through with their tags: numbers, or ranges such as `2-4`.
    #[serde(default)]
    pub trunks: Option<Vec<Trunk>>,
    /// MAC address; PVE makes one up if none is given, and it then stays.
    #[serde(default)]
    pub mac: Option<String>,
    /// Whether PVE's firewall guards it.
    #[serde(default)]
    pub firewall: Option<bool>,
    /// As if the cable were pulled.
    #[serde(default)]
    pub link_down: Option<bool>,
    /// Rate limit in megabytes a second.
    #[serde(default)]
    pub rate_limit: Option<f64>,
    /// The node sets its addresses up, for containers that cannot.
    #[serde(default)]
    pub host_managed: Option<bool>,
    /// Largest packet.
    #[serde(default)]
    #[schemars(range(min = 64, max = 65535))]
    pub mtu: Option<u32>,
    /// Address with its prefix, `dhcp` or `manual`.
    #[serde(default)]
    pub ip: Option<String>,
    /// Gateway for that address.
    #[serde(default)]
    pub gateway: Option<String>,
    /// IPv6 address with its prefix, `auto`, `dhcp` or `manual`.
    #[serde(default)]
    pub ip6: Option<String>,
    /// IPv6 gateway.
    #[serde(default)]
    pub gateway6: Option<String>,
}

impl CtNetwork {
    /// How an interface is called in the container where nothing is said: `eth0` for `net0`.
    pub fn usual_name(slot: &str) -> String {
        format!("eth{}", slot.trim_start_matches("net"))
    }
}

/// The addresses among what networks say: neither `dhcp` nor lengths.
pub fn addresses<'a>(said: impl Iterator<Item = &'a Option<String>>) -> Vec<IpAddr> {
    said.flatten().filter_map(|text| text.split('/').next()?.parse().ok()).collect()
}

/// A VLAN, or a range of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trunk(pub String);

impl<'de> Deserialize<'de> for Trunk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Trunk, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::String(text) => text,
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                other.to_string()
            }
        };
        let number = |n: &str| n.parse::<u16>().is_ok_and(|n| (1..=4094).contains(&n));
        let fits = text.split_once('-').map_or_else(|| number(&text), |(a, b)| number(a) && number(b));
        fits.then(|| Trunk(text.clone()))
            .ok_or_else(|| D::Error::custom(format!("`{text}` is no VLAN; write a number from 1 to 4094, or 2-4")))
    }
}

impl JsonSchema for Trunk {
    fn schema_name() -> Cow<'static, str> {
        "Trunk".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["integer", "string"], "pattern": "^[0-9]+(-[0-9]+)?$", "minimum": 1, "maximum": 4094, "description": "A VLAN, or a range such as `2-4`."})
    }
}
