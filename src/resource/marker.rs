//! The ownership marker: an HTML comment at the end of an object's notes that says whose it is and what was last applied.
//! Invisible in PVE's web interface, which renders notes as Markdown. It is the only memory that pvectl needs.

use crate::resource::merge::Fields;
use crate::resource::reference::ResourceRef;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

const OPEN: &str = "<!-- pvectl ";
const CLOSE: &str = " -->";
/// Longer values are kept as a hash: PVE bounds notes to 8 KiB, and equality is all that is asked of them.
const VALUE_MAX: usize = 48;

/// Who owns an object, and what was last applied to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Kind and name in the manifests.
    pub owner: ResourceRef,
    /// The manifest set.
    pub set: String,
    /// The VMID of the guest that it was written for: a clone made by hand copies the notes, and is not ours.
    pub vmid: Option<u32>,
    /// The manifest said `pvectl/deletion-policy: Retain`: never pruned.
    pub retain: bool,
    /// The `GuestSet` or `NetworkProfile` that it is made for.
    pub member_of: Option<String>,
    /// Where the guest came from when it was made, in a few words; `None` where that is nothing to speak of.
    pub source: Option<String>,
    /// The version of the image that it is (`version` of a `GuestTemplate`).
    pub version: Option<String>,
    /// Fields last applied, each value short or hashed ([`shorten`]).
    pub applied: Fields,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    kind: String,
    name: String,
    set: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vmid: Option<u32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    retain: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member: Option<String>,
    #[serde(default, rename = "from", skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    applied: BTreeMap<String, String>,
}

/// A value as the marker keeps it: itself, or its hash when it is long.
pub fn shorten(value: &str) -> String {
    // What was read from a marker may be written again: a hash stays as it is.
    if value.len() <= VALUE_MAX {
        return value.to_owned();
    }
    format!("sha256:{}", hex::encode(&Sha256::digest(value.as_bytes())[..12]))
}

/// Whether two values are kept as the same.
fn is_short_for(a: &str, b: &str) -> bool {
    a == b || shorten(a) == shorten(b)
}

/// What people wrote before and after the marker.
fn around(before: &str, after: &str) -> String {
    let mut text = before.trim_end().to_owned();
    let rest = after.trim();
    if !rest.is_empty() {
        // Somebody wrote below our comment: their words are kept.
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(rest);
    }
    text
}

impl Marker {
    /// Splits notes into the people's text (without trailing white space) and the marker, if one stands there.
    /// A marker that cannot be read is left in the text: it is nobody's.
    pub fn split(notes: &str) -> (String, Option<Marker>) {
        let Some(start) = notes.rfind(OPEN) else { return (notes.trim_end().to_owned(), None) };
        let body = &notes[start + OPEN.len()..];
        let Some(end) = body.find(CLOSE) else { return (notes.trim_end().to_owned(), None) };
        let Ok(wire) = serde_json::from_str::<Wire>(&body[..end]) else { return (notes.trim_end().to_owned(), None) };
        (
            around(&notes[..start], &body[end + CLOSE.len()..]),
            Some(Marker {
                owner: ResourceRef::new(wire.kind, wire.name),
                set: wire.set,
                vmid: wire.vmid,
                retain: wire.retain,
                member_of: wire.member,
                source: wire.source,
                version: wire.version,
                applied: wire.applied,
            }),
        )
    }

    /// The people's text of notes that are known to carry a marker: as [`Marker::split`], without reading it again.
    pub fn people(notes: &str) -> String {
        let comment = notes.rfind(OPEN).and_then(|start| {
            let body = &notes[start + OPEN.len()..];
            body.find(CLOSE).map(|end| around(&notes[..start], &body[end + CLOSE.len()..]))
        });
        comment.unwrap_or_else(|| notes.trim_end().to_owned())
    }

    /// Whether another marker would be written in the same words.
    pub fn is_as(&self, other: &Marker) -> bool {
        let same = |(a, b): ((&String, &String), (&String, &String))| a.0 == b.0 && is_short_for(a.1, b.1);
        self.owner == other.owner
            && self.set == other.set
            && self.vmid == other.vmid
            && self.retain == other.retain
            && self.member_of == other.member_of
            && self.source == other.source
            && self.version == other.version
            && self.applied.len() == other.applied.len()
            && self.applied.iter().zip(&other.applied).all(same)
    }

    /// Notes with the marker at their end.
    pub fn join(&self, text: &str) -> String {
        let Marker { owner, set, vmid, retain, member_of, source, version, applied } = self;
        let applied = applied.iter().map(|(k, v)| (k.clone(), shorten(v))).collect();
        let wire = Wire {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            set: set.clone(),
            vmid: *vmid,
            retain: *retain,
            member: member_of.clone(),
            source: source.clone(),
            version: version.clone(),
            applied,
        };
        // `>` and `-` pairs would end the comment early; JSON may write any character as \u.
        let json =
            serde_json::to_string(&wire).expect("strings serialise").replace('>', "\\u003e").replace("--", "-\\u002d");
        let text = text.trim_end();
        let gap = if text.is_empty() { "" } else { "\n" };
        format!("{text}{gap}{OPEN}{json}{CLOSE}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_survives_notes_that_try_to_break_it() {
        let applied =
            Fields::from([("options.args".into(), "--> x -- <b>".into()), ("description".into(), "y".repeat(200))]);
        let marker = Marker {
            owner: ResourceRef::new("VirtualMachine", "a"),
            set: "home".into(),
            vmid: Some(101),
            retain: false,
            member_of: None,
            source: Some("image -- x.qcow2".into()),
            version: Some("2026-11".into()),
            applied,
        };
        let notes = marker.join("front end\n");
        assert_eq!(notes.matches("-->").count(), 1);
        let (text, read) = Marker::split(&format!("{notes}\n"));
        let read = read.expect("a marker");
        assert_eq!(text, "front end");
        assert_eq!(read.applied["options.args"], "--> x -- <b>");
        assert_eq!(read.applied["description"], shorten(&"y".repeat(200)));
        assert_eq!(Marker::split(&read.join(&text)).1.as_ref(), Some(&read));
    }

    #[test]
    fn words_below_the_marker_are_kept_and_foreign_comments_are_nobodys() {
        let marker = Marker {
            owner: ResourceRef::new("Pool", "a"),
            set: "s".into(),
            vmid: None,
            retain: false,
            member_of: None,
            source: Some("image -- x.qcow2".into()),
            version: Some("2026-11".into()),
            applied: Fields::new(),
        };
        assert_eq!(Marker::split(&format!("{}\nmore", marker.join("top"))).0, "top\nmore");
        assert_eq!(Marker::split("<!-- pvectl nonsense -->"), ("<!-- pvectl nonsense -->".into(), None));
    }
}
