//! Values that PVE would refuse in the middle of a run: they are refused before it, with the form that it takes.

use crate::base::quantity::Bytes;
use crate::kinds::guest::mapping::{self, Config};
use crate::kinds::guest::plan::GuestDesired;
use crate::resource::merge::Fields;
use crate::resource::step::{Delta, Problem};
use ipnet::IpNet;
use std::net::IpAddr;

/// The least memory of a guest (`PVE::QemuServer::Memory`, `PVE::LXC::Config`).
const MEMORY_MIN: Bytes = Bytes(16 << 20);

/// Checks every value that is not a matter of what is there.
pub fn check(want: &GuestDesired, delta: &mut Delta) {
    for (path, value) in &want.fields {
        let last = path.rsplit('.').next().unwrap_or(path);
        let size = || Bytes::parse(value);
        let problem = match path.as_str() {
            "hardware.memory" if size().is_some_and(|s| s < MEMORY_MIN) => {
                Some((format!("{value} of memory is less than a guest can have"), "PVE takes 16Mi and more".to_owned()))
            }
            "tags" => value.split(';').find(|tag| !is_tag(tag)).map(|tag| {
                let help = "a tag has letters, digits and `_-+.`, and begins with a letter, a digit or `_`";
                (format!("`{tag}` is not a tag"), help.to_owned())
            }),
            "description" if value.contains('\0') => {
                Some(("the description has a NUL character".to_owned(), "take it out".to_owned()))
            }
            _ if path.starts_with("networks.") => network(last, value),
            _ if mapping::volume_path(path).is_some() && last == "size" && size().is_some_and(|s| s.0 == 0) => {
                Some((format!("{value} is no size of a volume"), "write it like 8Gi".to_owned()))
            }
            _ => None,
        };
        delta.problems.extend(problem.map(|(message, help)| Problem::new(path, message).help(help)));
    }
}

fn network(part: &str, value: &str) -> Option<(String, String)> {
    let (sound, form) = match part {
        // `manual` is for containers: the interface is there, and somebody else gives it an address.
        "ip" => (matches!(value, "dhcp" | "manual") || is_interface(value), "10.0.0.5/24 or dhcp"),
        "gateway" => (value.parse::<IpAddr>().is_ok(), "10.0.0.1"),
        "mac" => (is_mac(value), "BC:24:11:12:34:56, the second digit even"),
        _ => return None,
    };
    (!sound).then(|| (format!("`{value}` is not what `{part}` takes"), format!("write it like {form}")))
}

fn is_interface(text: &str) -> bool {
    text.contains('/') && text.parse::<IpNet>().is_ok()
}

/// A unicast MAC address (`PVE::JSONSchema`'s `mac-addr`).
fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let byte = |p: &&str| (p.len() == 2).then(|| u8::from_str_radix(p, 16).ok()).flatten();
    let bytes: Vec<u8> = parts.iter().filter_map(byte).collect();
    parts.len() == 6 && bytes.len() == 6 && bytes[0] & 1 == 0
}

/// `pve-tag` of `PVE::JSONSchema`; our normal form is in lower case.
fn is_tag(tag: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.is_empty() || tag.starts_with(first) && tag.chars().all(|c| first(c) || "-+.".contains(c))
}

/// A volume that left its slot, and may be the one that the manifest speaks of: a new, empty one in its place would look
/// like a lost disk.
pub fn unplugged(applied: &Fields, config: &Config, slot: &str) -> Option<(String, String)> {
    let known = applied.keys().filter_map(|p| mapping::volume_path(p)).any(|(s, _)| s == slot);
    let unused = config.iter().find(|(k, _)| mapping::slot_number(k, "unused").is_some())?;
    known.then(|| (unused.0.clone(), unused.1.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_pve_takes() {
        for tag in ["a", "_x", "0.1", "a-b+c.d"] {
            assert!(is_tag(tag), "{tag}");
        }
        for tag in ["has space", "-a", "a/b", "ä"] {
            assert!(!is_tag(tag), "{tag}");
        }
        assert!(
            is_mac("BC:24:11:00:00:01") && !is_mac("zz") && !is_mac("BD:24:11:00:00:01") && !is_mac("BC:24:11:0:0:1")
        );
        assert!(is_interface("10.0.0.5/24") && is_interface("fd00::1/64"));
        for text in ["10.0.0.5", "10.0.0.300/24", "10.0.0.5/33", "x"] {
            assert!(!is_interface(text), "{text}");
        }
    }
}
