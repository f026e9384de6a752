//! What may stand once only: a slot of a guest, and a VMID of the set. The second of two would win without a word.

use crate::base::diagnostic::Diagnostic;
use crate::base::id::VmId;
use crate::base::source::Span;
use crate::bind::documents::place;
use crate::manifest::load::Loaded;
use crate::manifest::tree::Node;
use crate::plan::desired::Desired;
use crate::resource::reference::{Claim, ResourceRef};
use std::collections::BTreeMap;

/// Slots that stand twice in one list of a spec.
pub fn slots(spec: &Node) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (key, list) in spec.as_mapping().unwrap_or_default() {
        let mut first: BTreeMap<&str, Span> = BTreeMap::new();
        for slot in list.as_sequence().unwrap_or_default().iter().filter_map(|item| item.get("slot")) {
            let Some(name) = slot.as_str() else { continue };
            match first.get(name) {
                None => {
                    first.insert(name, slot.span);
                }
                Some(earlier) => found.push(
                    Diagnostic::error("duplicate-slot", format!("`{name}` stands in `{}` twice", key.text))
                        .at(slot.span, "again here")
                        .also(*earlier, "first here")
                        .help("a slot holds one thing: give the other a slot of its own"),
                ),
            }
        }
    }
    found
}

/// VMIDs that two resources give.
pub fn numbers(loaded: &Loaded, resources: &BTreeMap<ResourceRef, Desired>) -> Vec<Diagnostic> {
    let mut first: BTreeMap<VmId, &ResourceRef> = BTreeMap::new();
    let mut found = Vec::new();
    for (resource, desired) in resources {
        let Claim::Guest { vmid: Some(vmid), .. } = desired.kind.claim(&resource.name, &desired.spec) else { continue };
        let Some(earlier) = first.get(&vmid) else {
            first.insert(vmid, resource);
            continue;
        };
        let span = |resource| place(loaded, resource, &["vmid".to_owned()]);
        let mut diagnostic =
            Diagnostic::error("duplicate-vmid", format!("{resource} has the VMID {vmid} of {earlier}"))
                .help("a VMID is one guest of the whole cluster");
        if let Some(span) = span(resource) {
            diagnostic = diagnostic.at(span, "again here");
        }
        if let Some(span) = span(earlier) {
            diagnostic = diagnostic.also(span, "first here");
        }
        found.push(diagnostic);
    }
    found
}
