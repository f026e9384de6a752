//! Normal forms of fields: one text for everything that means the same, whether PVE or a manifest says it.

use crate::pve::property::PropertyString;
use crate::resource::index::text;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How a field's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it stands.
    Text,
    /// A number.
    Number,
    /// On or off; PVE's `1` and `0`.
    Flag,
    /// Words in any order: a list in manifests, separated by commas in PVE.
    Words,
    /// The same with numbers.
    Numbers,
    /// An address or a network: of a network without the bits of a host, of a single host without a prefix, as PVE keeps it
    /// (recorded: `10.9.0.1/16` is stored as `10.9.0.0/16`).
    Network,
    /// A moment: RFC 3339 in manifests, seconds since 1970 in PVE, where 0 is never.
    Moment,
    /// How many backups to keep: `{keepLast: 3}` in manifests, `keep-last=3` in PVE.
    Keep,
    /// Ranges of addresses: `{startAddress: …, endAddress: …}` in manifests, `start-address=…,end-address=…` in PVE, which
    /// keeps their order and takes another order for no change (`PVE::Network::SDN::encode_value`).
    Ranges,
}

/// A range, from either side's words.
fn range(value: &Value) -> Option<String> {
    let address = |t: String| t.parse::<IpAddr>().map_or(t, |a| a.to_string());
    let (first, last) = match value {
        Value::Object(map) => {
            let part = |dashed: &str| map.get(dashed).or_else(|| map.get(&camel(dashed))).and_then(text);
            (part("start-address")?, part("end-address")?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            let said = text(value)?;
            let parts = PropertyString::parse(&said, "");
            (parts.get("start-address")?.to_owned(), parts.get("end-address")?.to_owned())
        }
    };
    Some(format!("{}-{}", address(first), address(last)))
}

/// An address or a network in normal form; other text (the name of an alias) as it stands.
pub fn network(text: &str) -> String {
    match text.parse::<ipnet::IpNet>() {
        Ok(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        Ok(net) => net.trunc().to_string(),
        Err(_) => text.to_owned(),
    }
}

fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(text).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => text(value)
            .unwrap_or_default()
            .split([',', ';', ' '])
            .filter(|w| !w.is_empty())
            .map(str::to_owned)
            .collect(),
    }
}

/// `keepLast` as `keep-last`.
fn dashed(key: &str) -> String {
    let mut out = String::new();
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// `keep-last` as `keepLast`.
pub fn camel(key: &str) -> String {
    let mut parts = key.split('-');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| {
        let mut letters = part.chars();
        let head = letters.next().map(|c| c.to_ascii_uppercase().to_string()).unwrap_or_default();
        out + &head + letters.as_str()
    })
}

impl Form {
    /// A value in normal form, PVE's or a manifest's; `None` for what is not said.
    pub fn normal(self, value: &Value) -> Option<String> {
        if value.is_null() {
            return None;
        }
        match self {
            Form::Text | Form::Number => text(value),
            Form::Flag => text(value).map(|t| u8::from(matches!(t.as_str(), "1" | "true" | "yes" | "on")).to_string()),
            Form::Words => {
                Some(words(value).into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(","))
            }
            Form::Numbers => {
                let numbers: BTreeSet<u64> = words(value).iter().filter_map(|w| w.parse().ok()).collect();
                Some(numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(","))
            }
            Form::Network => text(value).map(|t| network(&t)),
            Form::Moment => {
                let text = text(value)?;
                let moment = text.parse::<jiff::Timestamp>().map(|t| t.as_second().to_string());
                Some(moment.unwrap_or(text))
            }
            Form::Keep => {
                let pairs: BTreeSet<String> = match value {
                    Value::Object(map) => map
                        .iter()
                        .filter_map(|(key, value)| Some(format!("{}={}", dashed(key), text(value)?)))
                        .collect(),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                        words(value).into_iter().collect()
                    }
                };
                Some(pairs.into_iter().collect::<Vec<_>>().join(","))
            }
            Form::Ranges => {
                let items = match value {
                    Value::Array(items) => items.as_slice(),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                        std::slice::from_ref(value)
                    }
                };
                let ranges: BTreeSet<String> = items.iter().filter_map(range).collect();
                Some(ranges.into_iter().collect::<Vec<_>>().join(","))
            }
        }
    }

    /// A normal form as PVE takes it: once for each element of what is an array in its API, and nothing for an empty one.
    pub fn sent(self, normal: &str) -> Vec<String> {
        match self {
            Form::Ranges => {
                let ranges = normal.split(',').filter_map(|range| range.split_once('-'));
                ranges.map(|(first, last)| format!("start-address={first},end-address={last}")).collect()
            }
            Form::Text
            | Form::Number
            | Form::Flag
            | Form::Words
            | Form::Numbers
            | Form::Network
            | Form::Moment
            | Form::Keep => vec![normal.to_owned()],
        }
    }

    /// A normal form as a manifest writes it.
    pub fn export(self, normal: &str) -> Value {
        let list = || normal.split(',').filter(|w| !w.is_empty());
        match self {
            Form::Text | Form::Network => normal.into(),
            Form::Number => normal.parse::<i64>().map_or_else(|_| normal.into(), Value::from),
            Form::Flag => (normal == "1").into(),
            Form::Words => list().collect(),
            Form::Numbers => list().filter_map(|w| w.parse::<u64>().ok()).collect(),
            Form::Moment => {
                let moment = normal.parse().ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
                moment.map_or_else(|| normal.into(), |t| t.to_string().into())
            }
            Form::Keep => {
                let pairs = list().filter_map(|pair| pair.split_once('='));
                let value = |key: &str, value: &str| match key {
                    "keep-all" => (value == "1").into(),
                    _ => value.parse::<i64>().map_or_else(|_| json!(value), Value::from),
                };
                pairs.map(|(key, text)| (camel(key), value(key, text))).collect()
            }
            Form::Ranges => list()
                .filter_map(|range| range.split_once('-'))
                .map(|(first, last)| json!({"startAddress": first, "endAddress": last}))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_come_to_one_text_and_back() {
        for (form, pve, manifest, normal) in [
            (Form::Words, json!("b,a"), json!(["a", "b"]), "a,b"),
            (Form::Numbers, json!("200,100"), json!([100, 200]), "100,200"),
            (Form::Flag, json!(1), json!(true), "1"),
            (Form::Network, json!("10.9.0.0/16"), json!("10.9.0.1/16"), "10.9.0.0/16"),
            (Form::Network, json!("10.9.0.1"), json!("10.9.0.1/32"), "10.9.0.1"),
            (Form::Moment, json!(1_767_225_600), json!("2026-01-01T00:00:00Z"), "1767225600"),
            (
                Form::Keep,
                json!({"keep-last": "2", "keep-daily": "7"}),
                json!({"keepDaily": 7, "keepLast": 2}),
                "keep-daily=7,keep-last=2",
            ),
            (Form::Keep, json!({"keep-all": "1"}), json!({"keepAll": true}), "keep-all=1"),
            (
                Form::Ranges,
                json!([{"start-address": "10.0.7.200", "end-address": "10.0.7.250"}, {"end-address": "10.0.7.9", "start-address": "10.0.7.5"}]),
                json!([{"startAddress": "10.0.7.5", "endAddress": "10.0.7.9"}, {"startAddress": "10.0.7.200", "endAddress": "10.0.7.250"}]),
                "10.0.7.200-10.0.7.250,10.0.7.5-10.0.7.9",
            ),
            (
                Form::Ranges,
                json!(["start-address=FD00:0::5,end-address=fd00::9"]),
                json!([{"startAddress": "fd00::5", "endAddress": "fd00::0:9"}]),
                "fd00::5-fd00::9",
            ),
            (Form::Ranges, json!([]), json!([]), ""),
        ] {
            assert_eq!(form.normal(&pve).as_deref(), Some(normal), "{pve}");
            assert_eq!(form.normal(&manifest).as_deref(), Some(normal), "{manifest}");
            assert_eq!(form.normal(&form.export(normal)).as_deref(), Some(normal), "{manifest} exported");
            if form == Form::Keep {
                assert_eq!(form.export(normal), manifest);
            }
        }
    }
}
