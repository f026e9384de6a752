//! Normal forms: one text for everything that means the same, whether PVE or a manifest says it. Sizes as `4Gi`, booleans as
//! `1` and `0`, tags sorted without our own, addresses in upper case.

use crate::base::quantity::{Bytes, parse_seconds};
use crate::kinds::guest::mapping::TAG;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How a field's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it stands.
    Text,
    /// Notes: without white space at the end.
    Notes,
    /// A number.
    Number,
    /// On or off; PVE's `1` and `0`.
    Flag,
    /// On or off; PVE's `on` and `ignore`.
    OnIgnore,
    /// A size in MiB.
    Mib,
    /// A volume's size.
    Size,
    /// A span of time in seconds.
    Seconds,
    /// A MAC address.
    Mac,
    /// A list in its order, joined by this; a part of an option cannot be empty.
    List(&'static str),
    /// PVE's list of tags.
    Tags,
    /// SSH keys, one a line, percent-encoded.
    Keys,
    /// Text that PVE keeps percent-encoded.
    Percent,
    /// Text that PVE keeps in base64.
    Base64,
}

impl Form {
    /// What absence means where the row does not say otherwise.
    pub const fn default(self) -> Option<&'static str> {
        match self {
            Form::Flag | Form::OnIgnore => Some("0"),
            Form::List(_) | Form::Tags | Form::Notes => Some(""),
            Form::Text
            | Form::Number
            | Form::Mib
            | Form::Size
            | Form::Seconds
            | Form::Mac
            | Form::Keys
            | Form::Percent
            | Form::Base64 => None,
        }
    }

    /// PVE's text in normal form.
    pub fn normal(self, value: &str) -> String {
        match self {
            Form::Text => value.to_owned(),
            Form::Notes => value.trim_end().to_owned(),
            Form::Number | Form::Seconds => number(value),
            // PVE's own words for a boolean (`PVE::JSONSchema::parse_boolean`).
            Form::Flag => match value.to_ascii_lowercase().as_str() {
                "1" | "on" | "yes" | "true" => "1".to_owned(),
                "0" | "off" | "no" | "false" => "0".to_owned(),
                _ => value.to_owned(),
            },
            Form::OnIgnore => u8::from(value == "on").to_string(),
            Form::Mib => value.trim().parse::<u64>().map_or_else(|_| value.to_owned(), |m| Bytes(m << 20).to_string()),
            Form::Size => Bytes::parse(value).map_or_else(|| value.to_owned(), |b| b.to_string()),
            Form::Mac => value.to_uppercase(),
            Form::List(separator) => items(separator, value).join(separator),
            Form::Tags => normal_tags(value.split([';', ',', ' '])),
            Form::Keys => normal_keys(&percent_encoding::percent_decode_str(value).decode_utf8_lossy()),
            Form::Percent => percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned(),
            Form::Base64 => from_base64(value).unwrap_or_else(|| value.to_owned()),
        }
    }

    /// A value of a manifest in normal form; `None` for what is not said.
    pub fn of_manifest(self, value: &Value) -> Option<String> {
        let text = match value {
            Value::Null | Value::Object(_) => return None,
            Value::Bool(on) => return Some(u8::from(*on).to_string()),
            Value::Number(n) => n.to_string(),
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                let texts = items.iter().map(|i| i.as_str().map_or_else(|| i.to_string(), str::to_owned));
                let texts: Vec<String> = texts.collect();
                return Some(match self {
                    Form::Tags => normal_tags(texts.iter().map(String::as_str)),
                    Form::Keys => normal_keys(&texts.join("\n")),
                    Form::List(separator) => texts.join(separator),
                    Form::Text
                    | Form::Notes
                    | Form::Number
                    | Form::Flag
                    | Form::OnIgnore
                    | Form::Mib
                    | Form::Size
                    | Form::Seconds
                    | Form::Mac
                    | Form::Percent
                    | Form::Base64 => texts.join(","),
                });
            }
        };
        Some(match self {
            Form::Mib | Form::Size => Bytes::parse(&text).map_or(text, |b| b.to_string()),
            Form::Seconds => parse_seconds(&text).map_or(text, |s| s.to_string()),
            Form::Number => number(&text),
            Form::Mac => text.to_uppercase(),
            Form::Notes => text.trim_end().to_owned(),
            Form::Text
            | Form::Flag
            | Form::OnIgnore
            | Form::List(_)
            | Form::Tags
            | Form::Keys
            | Form::Percent
            | Form::Base64 => text,
        })
    }

    /// A value in normal form as PVE takes it.
    pub fn encode(self, value: &str) -> String {
        let percent = || percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string();
        match self {
            Form::Mib => Bytes::parse(value).map_or_else(|| value.to_owned(), |b| b.mib().to_string()),
            Form::Tags => {
                let mut tags: BTreeSet<&str> = value.split(';').filter(|t| !t.is_empty()).collect();
                tags.insert(TAG);
                tags.into_iter().collect::<Vec<_>>().join(";")
            }
            // PVE decodes `sshkeys` once more inside the form value, and wants %20, not + (`PVE::QemuServer::Cloudinit`).
            Form::Keys | Form::Percent => percent(),
            Form::OnIgnore => if value == "1" { "on" } else { "ignore" }.to_owned(),
            Form::Base64 => to_base64(value),
            Form::Text
            | Form::Notes
            | Form::Number
            | Form::Flag
            | Form::Size
            | Form::Seconds
            | Form::Mac
            | Form::List(_) => value.to_owned(),
        }
    }

    /// A value in normal form as a manifest says it.
    pub fn to_manifest(self, value: &str) -> Value {
        match self {
            Form::Number => value.parse::<u64>().map(|n| json!(n)).or_else(|_| value.parse::<f64>().map(|n| json!(n))),
            Form::Flag | Form::OnIgnore => Ok(json!(value == "1")),
            Form::Seconds => Ok(json!(format!("{value}s"))),
            Form::List(separator) => Ok(json!(items(separator, value))),
            Form::Tags => Ok(json!(items(";", value))),
            Form::Keys => Ok(json!(items("\n", value))),
            Form::Text | Form::Notes | Form::Mib | Form::Size | Form::Mac | Form::Percent | Form::Base64 => {
                Ok(json!(value))
            }
        }
        .unwrap_or_else(|_| json!(value))
    }
}

fn items<'a>(separator: &'static str, value: &'a str) -> Vec<&'a str> {
    let parts: Vec<&str> = match separator {
        " " => value.split([' ', ',', ';']).collect(),
        _ => value.split(separator).collect(),
    };
    parts.into_iter().map(str::trim).filter(|p| !p.is_empty()).collect()
}

/// `2.0` and `2` are one number, and so are `1e+06` and `1000000`.
fn number(text: &str) -> String {
    text.trim().parse::<f64>().map_or_else(|_| text.to_owned(), |n| n.to_string())
}

/// Tags sorted, in lower case, without our own.
pub fn normal_tags<'a>(tags: impl IntoIterator<Item = &'a str>) -> String {
    let set: BTreeSet<String> =
        tags.into_iter().map(|t| t.trim().to_lowercase()).filter(|t| !t.is_empty() && t != TAG).collect();
    set.into_iter().collect::<Vec<_>>().join(";")
}

/// SSH keys one a line, without blank lines.
pub fn normal_keys(text: &str) -> String {
    text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n")
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(text: &str) -> String {
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().chain([0, 0].iter()).take(3).fold(0u32, |bits, b| bits << 8 | u32::from(*b));
        for n in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * n) & 63) as usize];
            out.push(if n <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

fn from_base64(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for b in text.trim_end_matches('=').bytes() {
        bits = bits << 6 | u32::try_from(ALPHABET.iter().position(|a| *a == b)?).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 255).ok()?);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_back() {
        for (form, value) in [
            (Form::Base64, "Acme"),
            (Form::Base64, "Acme & Söhne"),
            (Form::Base64, "ab"),
            (Form::Percent, "SN 1,2=3"),
            (Form::Mib, "2Gi"),
            (Form::Mib, "0"),
            (Form::OnIgnore, "1"),
            (Form::Tags, "a;b"),
            (Form::Keys, "ssh-ed25519 AAAA+x/y= a@b\nssh-rsa B c@d"),
        ] {
            assert_eq!(form.normal(&form.encode(value)), value, "{form:?}");
        }
        assert_eq!(Form::Base64.encode("Acme"), "QWNtZQ==");
        assert_eq!((Form::Number.normal("1e+06"), Form::Number.normal("2.50")), ("1000000".into(), "2.5".into()));
    }
}
