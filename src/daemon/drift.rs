//! Spells of drift: when each began, who it was, what it grew to, when it was gone and what set it right. Pure; one spell an
//! object at a time.

use crate::daemon::queue::Key;
use crate::daemon::record::{Actor, DriftRecord, FieldRecord, Healer};
use crate::plan::assemble::Plan;
use crate::resource::merge::Cause;
use crate::resource::step::Delta;
use std::collections::BTreeMap;

/// The spells that last.
#[derive(Clone, Debug, Default)]
pub struct Ledger(BTreeMap<Key, DriftRecord>);

/// The fields of a delta, as records.
pub fn fields(delta: &Delta) -> Vec<FieldRecord> {
    let record = |c: &crate::resource::step::Change| FieldRecord {
        path: c.path.clone(),
        from: c.from.clone(),
        to: c.to.clone(),
        cause: c.cause.as_str().to_owned(),
        impact: c.impact.as_str().to_owned(),
    };
    delta.changes.iter().map(record).collect()
}

/// The fields that somebody changed on the cluster.
pub fn drifted(delta: &Delta) -> Vec<FieldRecord> {
    let theirs = |cause: &str| cause == Cause::Drift.as_str() || cause == Cause::Conflict.as_str();
    fields(delta).into_iter().filter(|f| theirs(&f.cause)).collect()
}

/// The drift of a plan that was made without a daemon: each object as if it had just been seen.
pub fn of_plan(plan: &Plan, now_ms: u64) -> Vec<DriftRecord> {
    let spell = |delta: &Delta| {
        let key = Key { source: plan.set.clone(), object: delta.resource.clone() };
        let fields = drifted(delta);
        (!fields.is_empty())
            .then(|| begin(&key, delta.identity.as_ref().map(ToString::to_string), fields, None, now_ms))
    };
    plan.deltas.iter().filter_map(spell).collect()
}

fn begin(key: &Key, identity: Option<String>, fields: Vec<FieldRecord>, by: Option<Actor>, now_ms: u64) -> DriftRecord {
    let Key { source, object } = key;
    DriftRecord {
        id: format!("{source}/{object}@{now_ms}"),
        source: source.clone(),
        kind: object.kind.clone(),
        name: object.name.clone(),
        identity,
        fields,
        seen_ms: now_ms,
        by,
        healed_ms: None,
        healed_by: None,
    }
}

impl Ledger {
    /// The spells that lasted when the daemon ended, from its history.
    pub fn resume(records: Vec<DriftRecord>) -> Ledger {
        let key = |r: &DriftRecord| Key {
            source: r.source.clone(),
            object: crate::resource::reference::ResourceRef::new(&r.kind, &r.name),
        };
        Ledger(records.into_iter().filter(|r| r.healed_ms.is_none()).map(|r| (key(&r), r)).collect())
    }

    /// An object differs by somebody's doing. Returns its spell if that is new, or grew.
    pub fn seen(
        &mut self,
        key: &Key,
        identity: Option<String>,
        fields: Vec<FieldRecord>,
        by: Option<Actor>,
        now_ms: u64,
    ) -> Option<DriftRecord> {
        let Some(spell) = self.0.get_mut(key) else {
            let spell = begin(key, identity, fields, by, now_ms);
            self.0.insert(key.clone(), spell.clone());
            return Some(spell);
        };
        let before = spell.clone();
        for field in fields {
            match spell.fields.iter_mut().find(|f| f.path == field.path) {
                Some(known) => *known = field,
                None => spell.fields.push(field),
            }
        }
        spell.fields.sort();
        // Whoever began it stays; one who was not known then may be known now.
        spell.by = spell.by.take().or(by);
        (*spell != before).then(|| spell.clone())
    }

    /// An object is as it should be again, or nobody says any more how it should be. Returns its spell, ended.
    pub fn gone(&mut self, key: &Key, by: Healer, now_ms: u64) -> Option<DriftRecord> {
        let mut spell = self.0.remove(key)?;
        (spell.healed_ms, spell.healed_by) = (Some(now_ms), Some(by));
        Some(spell)
    }

    /// Whether an object differs by somebody's doing.
    pub fn lasts(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }

    /// The objects of a source that differ by somebody's doing.
    pub fn of_source<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a Key> + 'a {
        self.0.keys().filter(move |k| k.source == source)
    }

    /// All spells that last, the oldest first.
    pub fn open(&self) -> Vec<DriftRecord> {
        let mut all: Vec<DriftRecord> = self.0.values().cloned().collect();
        all.sort_by_key(|r| (r.seen_ms, r.id.clone()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::reference::ResourceRef;

    fn field(path: &str, from: &str) -> FieldRecord {
        FieldRecord {
            path: path.into(),
            from: Some(from.into()),
            to: Some("2".into()),
            cause: "drift".into(),
            impact: "live".into(),
        }
    }

    #[test]
    fn a_spell_begins_grows_and_ends() {
        let key = Key { source: "s".into(), object: ResourceRef::new("VirtualMachine", "web") };
        let anna = Actor { user: "anna@pve".into(), what: "update VM 100: -cores 8".into(), at_ms: 90 };
        let otto = Actor { user: "otto@pve".into(), ..anna.clone() };
        let mut ledger = Ledger::default();
        let first = ledger.seen(&key, None, vec![field("cores", "8")], None, 100).expect("it is new");
        assert_eq!((first.id.as_str(), first.since_ms()), ("s/VirtualMachine/web@100", 100));
        assert_eq!(ledger.seen(&key, None, vec![field("cores", "8")], None, 110), None, "nothing is new");
        let known = ledger.seen(&key, None, vec![field("cores", "8")], Some(anna), 120).expect("who it was is new");
        assert_eq!(known.since_ms(), 90);
        let grown = ledger.seen(&key, None, vec![field("memory", "9")], Some(otto), 130).expect("it grew");
        assert_eq!((grown.fields.len(), grown.by.map(|b| b.user)), (2, Some("anna@pve".into())));
        let mut again = Ledger::resume(ledger.open());
        let ended = again.gone(&key, Healer::Pvectl, 200).expect("it lasted");
        assert_eq!((ended.healed_ms, ended.lasted_ms(999)), (Some(200), 110));
        assert_eq!(again.gone(&key, Healer::Hand, 201), None);
    }
}
