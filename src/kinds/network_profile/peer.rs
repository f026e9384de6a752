//! The other side of a connection.

use crate::kinds::network_profile::ports::Ports;
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// The other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Everybody.
    Any,
    /// An address or a network.
    Net(IpNet),
    /// A name of DNS, and the TCP port that stands with it.
    Name(String, Option<u16>),
    /// Guests of the manifests that carry all of these labels, and the ports that stand beside them.
    Guests(BTreeMap<String, String>, Vec<Ports>),
}

impl Peer {
    /// Reads `any`, `10.0.0.0/8`, `api.github.com`, `api.github.com:443`, `[fd00::1]:443` (without a port: `fd00::1`).
    ///
    /// # Errors
    /// What is wrong with the text, for people.
    pub fn parse(text: &str) -> Result<Peer, String> {
        if text == "any" {
            return Ok(Peer::Any);
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(if net.prefix_len() == 0 && net.addr().is_unspecified() {
                Peer::Net(net)
            } else {
                Peer::Net(net.trunc())
            });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Peer::Net(address.into()));
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => {
                let number = port.parse::<u16>().ok().filter(|p| *p > 0);
                (name, Some(number.ok_or_else(|| format!("`{port}` in `{text}` is no port"))?))
            }
            None => (text, None),
        };
        if name.parse::<IpAddr>().is_ok() || name.parse::<IpNet>().is_ok() || name.starts_with('[') {
            return Err(format!(
                "`{text}`: write the port of an address in `ports`, such as ports: [tcp/{}]",
                port.unwrap_or(443)
            ));
        }
        if name.contains('*') {
            return Err(format!(
                "`{name}` has a wildcard, and DNS cannot tell what stands behind it: addresses are let through, not \
                 names; write each name, or the networks that the service publishes"
            ));
        }
        if !is_name(name) {
            return Err(format!("`{text}` is neither an address, a network, a name of DNS, nor `any`"));
        }
        Ok(Peer::Name(name.trim_end_matches('.').to_ascii_lowercase(), port))
    }
}

/// A host name (RFC 1123) with a dot in it: a word without one is a slip, or depends on a search domain.
fn is_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let top = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.contains('.') && text.split('.').all(label) && !top.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Any => f.write_str("any"),
            Peer::Net(net) if net.prefix_len() == net.max_prefix_len() => write!(f, "{}", net.addr()),
            Peer::Net(net) => write!(f, "{net}"),
            Peer::Name(name, _) => f.write_str(name),
            Peer::Guests(labels, _) => {
                let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "guests {}", pairs.join(","))
            }
        }
    }
}

/// Guests by labels, as written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    guests: Selector,
    #[serde(default)]
    ports: Vec<Ports>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selector {
    labels: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Peer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Peer, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Peer::parse(&text).map_err(Error::custom),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                let written: Written = serde_json::from_value(other).map_err(Error::custom)?;
                if written.guests.labels.is_empty() {
                    return Err(Error::custom("no label is given: write guests: {labels: {app: web}}"));
                }
                Ok(Peer::Guests(written.guests.labels, written.ports))
            }
        }
    }
}

impl JsonSchema for Peer {
    fn schema_name() -> Cow<'static, str> {
        "Peer".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An address or network, a name of DNS with or without a port, `any`, or guests by their labels.",
            "anyOf": [
                {"type": "string"},
                {"type": "object", "additionalProperties": false, "required": ["guests"], "properties": {
                    "guests": {"type": "object", "description": "Guests of these manifests.", "additionalProperties": false, "required": ["labels"], "properties": {
                        "labels": {"type": "object", "description": "Labels that they carry, all of them.", "additionalProperties": {"type": "string"}, "minProperties": 1}
                    }},
                    "ports": {"type": "array", "description": "Ports, here or beside `to`.", "items": {"type": "string"}}
                }}
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, shown) in [
            ("any", "any"),
            ("10.0.0.1/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00::1", "fd00::1"),
            ("API.GitHub.com:443", "api.github.com"),
            ("deb.debian.org.", "deb.debian.org"),
        ] {
            assert_eq!(Peer::parse(text).map(|p| p.to_string()).as_deref(), Ok(shown), "{text}");
        }
        assert_eq!(Peer::parse("api.github.com:443"), Ok(Peer::Name("api.github.com".into(), Some(443))));
        for (text, why) in [
            ("*.github.com", "wildcard"),
            ("10.0.0.1:443", "ports: [tcp/443]"),
            ("[fd00::1]:443", "ports: [tcp/443]"),
            ("github", "neither"),
            ("a..b", "neither"),
            ("1.2.3", "neither"),
            ("x.y:0", "no port"),
            ("", "neither"),
        ] {
            let error = Peer::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
