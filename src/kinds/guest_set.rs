//! Several guests alike, as a StatefulSet: its members are ordinary virtual machines or containers, with names, numbers,
//! nodes and addresses that follow from their ordinal alone. A set has no object of its own on the cluster.

use crate::base::id::VmId;
use crate::kinds::guest::spec::VmIdRange;
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Its name in manifests.
pub const NAME: &str = "GuestSet";
/// More than this is a slip of the finger.
pub const REPLICAS_MAX: u32 = 1000;

/// Several guests alike: `name-0` to `name-(N-1)`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestSetSpec {
    /// How many. When it shrinks, the highest ordinals are no longer declared: `--prune` deletes them, and their deletion
    /// policy is heeded.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: u32,
    /// Their numbers: the first of the range is that of `name-0`. Without it each is allotted one.
    #[serde(default)]
    pub vmid_range: Option<VmIdRange>,
    /// The nodes that they are made on, in turn.
    #[serde(default)]
    pub spread: Option<Spread>,
    /// Their addresses by network slot: the first of the pool is that of `name-0`.
    #[serde(default)]
    pub addresses: BTreeMap<String, AddressPool>,
    /// How they are changed.
    #[serde(default)]
    pub update: Option<SetUpdate>,
    /// What each of them is.
    pub template: MemberTemplate,
}

/// Nodes to spread over.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spread {
    /// The nodes, in turn.
    #[schemars(length(min = 1))]
    pub nodes: Vec<String>,
}

/// Addresses for a network slot.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddressPool {
    /// The addresses, such as `10.0.20.10-10.0.20.60/24`.
    pub pool: AddressRange,
    /// The gateway.
    #[serde(default)]
    pub gateway: Option<String>,
}

/// A range of addresses with the length of their network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
    prefix: u8,
}

impl AddressRange {
    /// Reads `10.0.20.10-10.0.20.60/24`: two addresses of one family, in order, in one network.
    pub fn parse(text: &str) -> Option<AddressRange> {
        let (range, prefix) = text.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        let prefix = prefix.trim().parse().ok()?;
        let net = IpNet::new(first, prefix).ok()?;
        (first <= last && net.contains(&last)).then_some(AddressRange { first, last, prefix })
    }

    /// The n-th address, from 0, with the prefix.
    pub fn nth(&self, n: u32) -> Option<String> {
        let address = match self.first {
            IpAddr::V4(v4) => IpAddr::from(u32::from(v4).checked_add(n)?.to_be_bytes()),
            IpAddr::V6(v6) => IpAddr::from(u128::from(v6).checked_add(n.into())?.to_be_bytes()),
        };
        (address <= self.last).then(|| format!("{address}/{}", self.prefix))
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AddressRange, D::Error> {
        let text = String::deserialize(deserializer)?;
        AddressRange::parse(&text).ok_or_else(|| {
            Error::custom(format!(
                "`{text}` is not a pool of addresses of one network; write it like 10.0.20.10-10.0.20.60/24"
            ))
        })
    }
}

impl JsonSchema for AddressRange {
    fn schema_name() -> Cow<'static, str> {
        "AddressRange".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9A-Fa-f.:]+ *- *[0-9A-Fa-f.:]+/[0-9]+$", "description": "A range of addresses with the length of their prefix, such as `10.0.20.10-10.0.20.60/24`."})
    }
}

/// How members are changed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetUpdate {
    /// How many may be down at once for a change; the others wait until these are ready again. 1 when left out.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub max_unavailable: Option<u32>,
}

/// What a member is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberTemplate {
    /// Its kind.
    pub kind: MemberKind,
    /// Its spec, as in a manifest of that kind.
    #[serde(default)]
    pub spec: Map<String, Value>,
}

/// A kind that comes in sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum MemberKind {
    /// Virtual machines.
    VirtualMachine,
    /// Containers.
    Container,
}

impl MemberKind {
    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            MemberKind::VirtualMachine => "VirtualMachine",
            MemberKind::Container => "Container",
        }
    }
}

/// What a member has of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// `name-0`, `name-1`, ….
    pub name: String,
    /// Its number, if the set has a range.
    pub vmid: Option<VmId>,
    /// The node that it is made on, if the set is spread.
    pub node: Option<String>,
    /// Its addresses: slot, address with prefix, gateway.
    pub addresses: Vec<(String, String, Option<String>)>,
}

/// The JSON Schema of the spec.
pub fn schema() -> Value {
    schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<GuestSetSpec>()
        .to_value()
}

/// Reads a spec; the error carries the path of the field and what is wrong with it.
pub fn parse(spec: &Value) -> Result<GuestSetSpec, (String, String)> {
    serde_path_to_error::deserialize(spec).map_err(|e| (e.path().to_string(), e.inner().to_string()))
}

/// The members of a set; what stands against it with the path of the field.
pub fn members(name: &str, spec: &GuestSetSpec) -> Result<Vec<Member>, (String, String)> {
    let GuestSetSpec { replicas, vmid_range, spread, addresses, update: _, template } = spec;
    if *replicas > REPLICAS_MAX {
        return Err(("replicas".into(), format!("a set has at most {REPLICAS_MAX} members")));
    }
    if template.spec.contains_key("vmid") || template.spec.contains_key("vmidRange") {
        return Err(("template.spec".into(), "members are numbered by the set: give it a `vmidRange`".into()));
    }
    if template.spec.contains_key("hostName") {
        return Err(("template.spec".into(), "members are named by the set, each by its ordinal".into()));
    }
    if spread.is_some() && (template.spec.contains_key("node") || template.spec.contains_key("placement")) {
        return Err(("template.spec".into(), "members are placed by the set's `spread`, or by their own spec".into()));
    }
    (0..*replicas)
        .map(|n| {
            let few = |what: &str| format!("too small for {replicas} members: {what}");
            let vmid = match vmid_range {
                None => None,
                Some(VmIdRange(first, last)) => {
                    let vmid = VmId::new(u64::from(first.get()) + u64::from(n)).filter(|v| v <= last);
                    Some(vmid.ok_or_else(|| ("vmidRange".to_owned(), few("widen the range")))?)
                }
            };
            let node = spread.as_ref().and_then(|s| s.nodes.get(n as usize % s.nodes.len().max(1))).cloned();
            let addresses = addresses
                .iter()
                .map(|(slot, AddressPool { pool, gateway })| match pool.nth(n) {
                    Some(address) => Ok((slot.clone(), address, gateway.clone())),
                    None => Err((format!("addresses.{slot}.pool"), few("lengthen the pool"))),
                })
                .collect::<Result<_, _>>()?;
            Ok(Member { name: format!("{name}-{n}"), vmid, node, addresses })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(more: &Value) -> GuestSetSpec {
        let mut all = json!({"replicas": 3, "template": {"kind": "VirtualMachine", "spec": {}}});
        let more = more.as_object().cloned().unwrap_or_default();
        all.as_object_mut().expect("is an object").extend(more);
        parse(&all).expect("is a spec")
    }

    #[test]
    fn members_follow_from_their_ordinal() {
        let spec = spec(&json!({
            "vmidRange": "400-449", "spread": {"nodes": ["pve1", "pve2"]},
            "addresses": {"net0": {"pool": "10.0.20.254-10.0.21.9/16", "gateway": "10.0.20.1"}},
        }));
        let made = members("w", &spec).expect("fits");
        let shown: Vec<_> = made
            .iter()
            .map(|m| format!("{} {:?} {:?} {}", m.name, m.vmid.map(VmId::get), m.node, m.addresses[0].1))
            .collect();
        assert_eq!(
            shown,
            [
                r#"w-0 Some(400) Some("pve1") 10.0.20.254/16"#,
                r#"w-1 Some(401) Some("pve2") 10.0.20.255/16"#,
                r#"w-2 Some(402) Some("pve1") 10.0.21.0/16"#,
            ]
        );
    }

    #[test]
    fn what_does_not_fit_says_where() {
        for (more, path) in [
            (json!({"vmidRange": "400-401"}), "vmidRange"),
            (json!({"addresses": {"net0": {"pool": "10.0.0.1-10.0.0.2/24"}}}), "addresses.net0.pool"),
            (json!({"template": {"kind": "Container", "spec": {"vmid": 100}}}), "template.spec"),
            (
                json!({"spread": {"nodes": ["a"]}, "template": {"kind": "Container", "spec": {"node": "b"}}}),
                "template.spec",
            ),
            (json!({"replicas": 1001}), "replicas"),
        ] {
            assert_eq!(members("w", &spec(&more)).map_err(|(path, _)| path), Err(path.to_owned()), "{more}");
        }
    }

    #[test]
    fn pools_of_addresses() {
        assert_eq!(AddressRange::parse("fd00::a-fd00::b/64").and_then(|r| r.nth(1)), Some("fd00::b/64".into()));
        for text in ["10.0.0.9-10.0.0.1/24", "10.0.0.1-10.0.1.1/24", "10.0.0.1-fd00::1/24", "10.0.0.1/24", "a-b/c"] {
            assert_eq!(AddressRange::parse(text), None, "{text}");
        }
    }
}
