//! Ports as profiles say them: protocol and port in one word.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;

/// A protocol, and a range of ports of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ports {
    /// Messages of ICMP, of either family.
    Icmp,
    /// TCP; all ports, or from the first to the last.
    Tcp(Option<(u16, u16)>),
    /// UDP.
    Udp(Option<(u16, u16)>),
}

impl Ports {
    /// Reads `tcp/443`, `udp/53`, `tcp/8000-8010`, `tcp`, `icmp`.
    pub fn parse(text: &str) -> Option<Ports> {
        let (protocol, ports) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let range = match ports {
            None => None,
            Some(ports) => {
                let (first, last) = ports.split_once(['-', ':']).unwrap_or((ports, ports));
                let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
                Some((first, last)).filter(|_| 0 < first && first <= last)?.into()
            }
        };
        match (protocol, range) {
            ("tcp", range) => Some(Ports::Tcp(range)),
            ("udp", range) => Some(Ports::Udp(range)),
            ("icmp", None) => Some(Ports::Icmp),
            _ => None,
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, range) = match self {
            Ports::Icmp => ("icmp", None),
            Ports::Tcp(range) => ("tcp", *range),
            Ports::Udp(range) => ("udp", *range),
        };
        match range {
            None => f.write_str(word),
            Some((first, last)) if first == last => write!(f, "{word}/{first}"),
            Some((first, last)) => write!(f, "{word}/{first}-{last}"),
        }
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ports, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ports::parse(&text).ok_or_else(|| {
            Error::custom(format!("`{text}` is no port; write it like tcp/443, udp/53, tcp/8000-8010, tcp or icmp"))
        })
    }
}

impl JsonSchema for Ports {
    fn schema_name() -> Cow<'static, str> {
        "Ports".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^(icmp|(tcp|udp)(/[0-9]+([-:][0-9]+)?)?)$", "description": "A protocol with its ports: `tcp/443`, `udp/53`, `tcp/8000-8010`, `tcp`, `icmp`."})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_back() {
        for text in ["tcp/443", "udp/53", "tcp/8000-8010", "tcp", "icmp"] {
            assert_eq!(Ports::parse(text).map(|p| p.to_string()).as_deref(), Some(text));
        }
        for text in ["443", "tcp/0", "tcp/9-8", "icmp/8", "tcp/70000", "sctp/1", ""] {
            assert_eq!(Ports::parse(text), None, "{text}");
        }
    }
}
