//! Which guests a policy means. What is said of manifests (labels) is settled when they are read; everything else is looked up
//! in the index, so that a guest that comes or leaves is seen by the next look.

use crate::base::id::{GuestType, VmId};
use crate::resource::index::{GuestRow, Index};
use crate::resource::kind::Labelled;
use crate::resource::reference::{Identity, ResourceRef};
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};

/// Our tag: guests of manifests carry it.
pub const TAG: &str = "pvectl";

/// Which guests. Everything that is said must hold; of a list, one is enough. `{}` means every guest. Templates are never meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selector {
    /// Labels of their manifests, all of them: guests that no manifest of the same tree declares have none.
    pub labels: BTreeMap<String, String>,
    /// Tags in PVE.
    #[serde(deserialize_with = "some")]
    pub tags: Vec<String>,
    /// Pools.
    #[serde(deserialize_with = "some")]
    pub pools: Vec<String>,
    /// Names in PVE; `*` stands for any letters, `?` for one.
    #[serde(deserialize_with = "some")]
    pub names: Vec<String>,
    /// Numbers.
    #[schemars(inner(range(min = 100, max = 999_999_999)))]
    #[serde(deserialize_with = "some")]
    pub vmids: Vec<u32>,
    /// `VirtualMachine`, `Container`; both when left out.
    #[serde(deserialize_with = "some")]
    pub types: Vec<SelectedType>,
    /// The guests of the manifests that carry the labels.
    #[serde(skip)]
    #[schemars(skip)]
    pub chosen: Vec<Labelled>,
}

/// A list that names somebody: an empty one would mean nobody to whoever writes it, and everybody to the rule.
fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(deserializer)?;
    if list.is_empty() {
        return Err(D::Error::custom("an empty list means nobody: name somebody, or leave it out to mean everybody"));
    }
    Ok(list)
}

/// A type of guest, as manifests name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum SelectedType {
    /// Virtual machines.
    VirtualMachine,
    /// Containers.
    Container,
}

impl SelectedType {
    fn guest(self) -> GuestType {
        match self {
            SelectedType::VirtualMachine => GuestType::Qemu,
            SelectedType::Container => GuestType::Lxc,
        }
    }
}

impl Selector {
    /// Settles which guests of the manifests the labels mean.
    pub fn choose(&mut self, guests: &[Labelled]) {
        let carries = |guest: &&Labelled| self.labels.iter().all(|(key, value)| guest.labels.get(key) == Some(value));
        self.chosen =
            if self.labels.is_empty() { Vec::new() } else { guests.iter().filter(carries).cloned().collect() };
    }

    /// Whether nothing is said: every guest is meant.
    pub fn is_all(&self) -> bool {
        *self == Selector::default()
    }

    /// The one pool that it names, if it says nothing else.
    pub fn only_pool(&self) -> Option<&str> {
        match self.pools.as_slice() {
            [pool] => (Selector { pools: Vec::new(), ..self.clone() }).is_all().then_some(pool),
            _ => None,
        }
    }

    /// The guests that may be meant, before it is known which guest each manifest is; in the order of their numbers.
    pub fn candidates<'a>(&'a self, index: &'a Index) -> impl Iterator<Item = &'a GuestRow> {
        let may_be = |row: &GuestRow| {
            self.labels.is_empty()
                || self.chosen.iter().any(|one| match one.vmid {
                    Some(vmid) => vmid == row.vmid,
                    None => row.tags.contains(TAG) && one.resource.name == row.name,
                })
        };
        // Of a guest that was just made the index has no name yet, nor tags.
        let new = |row: &GuestRow| row.name.is_empty() && !row.template;
        index.guests.values().map(AsRef::as_ref).filter(move |row| new(row) || self.fits(row) && may_be(row))
    }

    /// The guests that are meant; in the order of their numbers. `identities` is what every resource of the set is.
    pub fn guests<'a>(
        &'a self,
        index: &'a Index,
        identities: &BTreeMap<ResourceRef, Identity>,
    ) -> impl Iterator<Item = &'a GuestRow> {
        let number = |one: &Labelled| match identities.get(&one.resource) {
            Some(Identity::Guest { vmid, .. }) => Some(*vmid),
            Some(Identity::Pool(_) | Identity::Object { .. }) | None => None,
        };
        let chosen: BTreeSet<VmId> = self.chosen.iter().filter_map(number).collect();
        let all = self.labels.is_empty();
        let rows = index.guests.values().map(AsRef::as_ref);
        rows.filter(move |row| self.fits(row) && (all || chosen.contains(&row.vmid)))
    }

    /// Whether what the index shows of a guest fits.
    fn fits(&self, row: &GuestRow) -> bool {
        let one = |list: &[String], fits: &dyn Fn(&String) -> bool| list.is_empty() || list.iter().any(fits);
        !row.template
            && one(&self.tags, &|tag| row.tags.contains(&tag.to_lowercase()))
            && one(&self.pools, &|pool| row.pool.as_ref() == Some(pool))
            && one(&self.names, &|pattern| matches(pattern, &row.name))
            && (self.vmids.is_empty() || self.vmids.contains(&row.vmid.get()))
            && (self.types.is_empty() || self.types.iter().any(|t| t.guest() == row.guest))
    }
}

/// Whether a name fits a pattern in which `*` stands for any letters and `?` for one.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to go back to: behind the last star, and how many letters it takes.
    let mut back: Option<(usize, usize)> = None;
    while n < name.len() {
        match (pattern.get(p), back) {
            (Some('*'), _) => {
                back = Some((p + 1, n));
                p += 1;
            }
            (Some(c), _) if *c == '?' || *c == name[n] => (p, n) = (p + 1, n + 1),
            (_, Some((star, from))) => {
                back = Some((star, from + 1));
                (p, n) = (star, from + 1);
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn index() -> Index {
        let null = Value::Null;
        let resources = json!([
            {"type": "qemu", "vmid": 100, "node": "a", "name": "web-1", "tags": "prod;pvectl", "pool": "web"},
            {"type": "qemu", "vmid": 101, "node": "a", "name": "pg-1", "tags": "prod"},
            {"type": "lxc", "vmid": 200, "node": "a", "name": "pg-2", "pool": "web"},
            {"type": "qemu", "vmid": 900, "node": "a", "name": "pg-golden", "template": 1},
        ]);
        Index::decode([&null, &null, &resources, &null, &null, &null])
    }

    fn selected(selector: &Value) -> Vec<u32> {
        let selector: Selector = serde_json::from_value(selector.clone()).expect("a selector");
        selector.guests(&index(), &BTreeMap::new()).map(|row| row.vmid.get()).collect()
    }

    #[test]
    fn everything_that_is_said_must_hold_and_of_a_list_one() {
        assert_eq!(selected(&json!({})), [100, 101, 200], "templates are never meant");
        assert_eq!(selected(&json!({"tags": ["PROD"]})), [100, 101]);
        assert_eq!(selected(&json!({"tags": ["prod"], "names": ["pg-*"]})), [101]);
        assert_eq!(selected(&json!({"names": ["pg-*", "web-?"]})), [100, 101, 200]);
        assert_eq!(selected(&json!({"pools": ["web"], "types": ["Container"]})), [200]);
        assert_eq!(selected(&json!({"vmids": [101, 900]})), [101]);
        assert_eq!(selected(&json!({"labels": {"app": "web"}})), [0; 0], "no manifest carries it");
    }

    #[test]
    fn labels_are_those_of_manifests() {
        let labels = |app: &str| BTreeMap::from([("app".to_owned(), app.to_owned()), ("x".to_owned(), "y".to_owned())]);
        let guest = |name: &str, app: &str, vmid: Option<u64>| Labelled {
            resource: ResourceRef::new("VirtualMachine", name),
            labels: labels(app),
            vmid: vmid.and_then(VmId::new),
        };
        let guests = [guest("web-1", "web", None), guest("db", "pg", Some(101)), guest("other", "web", Some(555))];
        let mut selector: Selector = serde_json::from_value(json!({"labels": {"app": "web"}})).expect("a selector");
        selector.choose(&guests);
        assert_eq!(selector.chosen.len(), 2);
        let index = index();
        assert_eq!(selector.candidates(&index).map(|r| r.vmid.get()).collect::<Vec<_>>(), [100]);
        let vmid = VmId::new(100).expect("a number");
        let is = Identity::Guest { guest: GuestType::Qemu, vmid, node: "a".into() };
        let identities = BTreeMap::from([(ResourceRef::new("VirtualMachine", "web-1"), is)]);
        assert_eq!(selector.guests(&index, &identities).map(|r| r.vmid.get()).collect::<Vec<_>>(), [100]);
    }

    #[test]
    fn patterns() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*c", "abbc", true),
            ("a*c", "abcb", false),
            ("*b*b", "abab", true),
            ("a?c", "abc", true),
            ("a?", "a", false),
            ("***", "x", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
