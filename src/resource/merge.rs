//! The three-way merge: what the manifest wants, what was last applied and what is there now, field by field. It tells apart
//! what others confuse: the manifest moved, the cluster moved, both did, or a field left the manifest.

use crate::resource::marker::shorten;
use std::collections::BTreeMap;

/// Values by dotted field path (`hardware.cores`, `disks.scsi0.size`), in normal form.
pub type Fields = BTreeMap<String, String>;

/// Why a field differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The manifest moved.
    Change,
    /// Somebody changed the cluster.
    Drift,
    /// Both moved, to different values.
    Conflict,
    /// The field left the manifest and is reset.
    Removed,
}

impl Cause {
    /// The word that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Change => "change",
            Cause::Drift => "drift",
            Cause::Conflict => "conflict",
            Cause::Removed => "removed",
        }
    }
}

/// A field that is to get another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field.
    pub path: String,
    /// What is there; `None` for PVE's default.
    pub from: Option<String>,
    /// What shall be there; `None` for PVE's default.
    pub to: Option<String>,
    /// Why.
    pub cause: Cause,
}

/// The differences between what is wanted and what is there.
///
/// `observed` gives what is there for a field, `None` where nothing is. `default` gives what an absent observed value means (PVE leaves out defaults), in the same normal form. A field that
/// left the manifest is reset only while it still holds the value that was applied: what somebody else wrote since is theirs.
pub fn merge(
    desired: &Fields,
    applied: &Fields,
    observed: impl Fn(&str) -> Option<String>,
    default: impl Fn(&str) -> Option<String>,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (path, want) in desired {
        let have = observed(path);
        if have.as_ref() == Some(want) || have.is_none() && default(path).as_ref() == Some(want) {
            continue;
        }
        let effective = have.clone().or_else(|| default(path));
        let cause = match applied.get(path) {
            None => Cause::Change,
            Some(last) if *last == shorten(want) => Cause::Drift,
            Some(last) if effective.as_deref().map(shorten).as_deref() == Some(last) => Cause::Change,
            Some(_) => Cause::Conflict,
        };
        differences.push(Difference { path: path.clone(), from: have, to: Some(want.clone()), cause });
    }
    for (path, last) in applied {
        if desired.contains_key(path) {
            continue;
        }
        let Some(have) = observed(path) else { continue };
        if shorten(&have) == *last && default(path).as_ref() != Some(&have) {
            differences.push(Difference { path: path.clone(), from: Some(have), to: None, cause: Cause::Removed });
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn causes_are_told_apart() {
        let desired = fields(&[("a", "2"), ("b", "2"), ("c", "2"), ("d", "2"), ("e", "1")]);
        let applied = fields(&[("a", "1"), ("b", "2"), ("c", "1"), ("gone", "x"), ("taken", "x")]);
        let observed = fields(&[("a", "1"), ("b", "1"), ("c", "3"), ("gone", "x"), ("taken", "y")]);
        let found = merge(&desired, &applied, |p| observed.get(p).cloned(), |p| (p == "e").then(|| "1".to_owned()));
        let found: Vec<(&str, Cause)> = found.iter().map(|d| (d.path.as_str(), d.cause)).collect();
        assert_eq!(
            found,
            [
                ("a", Cause::Change),
                ("b", Cause::Drift),
                ("c", Cause::Conflict),
                ("d", Cause::Change),
                ("gone", Cause::Removed)
            ]
        );
    }
}
