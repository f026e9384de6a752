//! A file that several resources of a plan need is fetched once: by the first of them, and the others come after it.

use crate::resource::reference::ResourceRef;
use crate::resource::step::{Delta, Limit, Note};
use std::collections::BTreeMap;

/// Leaves each file's step with the first delta that has it.
pub fn share(deltas: &mut [Delta]) {
    let mut first: BTreeMap<String, ResourceRef> = BTreeMap::new();
    for delta in deltas {
        let owner = delta.resource.clone();
        let mut others = Vec::new();
        delta.steps.retain(|step| {
            let file = step.limits.iter().find_map(|limit| match limit {
                Limit::File(file) => Some(file),
                Limit::Node(_)
                | Limit::Storage(_)
                | Limit::Template(_)
                | Limit::UserConfig
                | Limit::Config(_)
                | Limit::Policy { .. } => None,
            });
            match file.and_then(|file| first.get(file)) {
                Some(other) => {
                    others.push(other.clone());
                    false
                }
                None => {
                    first.extend(file.map(|file| (file.clone(), owner.clone())));
                    true
                }
            }
        });
        for other in others {
            delta.notes.push(Note::Info(format!("its file is fetched with {other}")));
            if !delta.after.contains(&other) {
                delta.after.push(other);
            }
        }
    }
}
