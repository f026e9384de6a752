//! A `GuestSet` as the documents of its members. What a member has from the set stands, for diagnostics, where the set says
//! it.

use crate::base::diagnostic::{Diagnostic, has_errors};
use crate::base::source::Span;
use crate::kinds::guest_set::{self, GuestSetSpec, Member};
use crate::manifest::document::{Document, is_dns_label};
use crate::manifest::load::Loaded;
use crate::manifest::schema;
use crate::manifest::tree::{Key, Node, NodeValue, Style};
use crate::plan::rolling::Rolling;
use crate::resource::reference::ResourceRef;
use std::collections::BTreeMap;

/// Adds the members of every set to the documents; returns how they are rolled, by kind and name.
pub fn expand(loaded: &mut Loaded) -> BTreeMap<ResourceRef, Rolling> {
    let mut rolling = BTreeMap::new();
    let mut added = Vec::new();
    let mut diagnostics = Vec::new();
    let schema = guest_set::schema();
    for document in loaded.documents.iter().filter(|d| d.kind.0 == guest_set::NAME) {
        let found = schema::check(&document.spec, &schema, "spec", Some(document.spec_key));
        let broken = has_errors(&found);
        diagnostics.extend(found);
        if broken {
            continue;
        }
        let spec = guest_set::parse(&document.spec.to_json());
        let members = spec.and_then(|spec| guest_set::members(&document.name.0, &spec).map(|m| (spec, m)));
        match members {
            Err((path, message)) => {
                let words: Vec<_> = path.split('.').map(str::to_owned).collect();
                diagnostics.push(Diagnostic::error("invalid-value", message).at(field(&document.spec, &words), ""));
            }
            Ok((spec, members)) => {
                for (ordinal, member) in (0_u32..).zip(members) {
                    match one(document, &spec, &member, loaded) {
                        Ok(made) => {
                            let group = ResourceRef::new(guest_set::NAME, &document.name.0);
                            let max = spec.update.as_ref().and_then(|u| u.max_unavailable).unwrap_or(1);
                            let max_unavailable = usize::try_from(max).unwrap_or(usize::MAX);
                            rolling.insert(
                                ResourceRef::new(&made.kind.0, &made.name.0),
                                Rolling { group, ordinal, max_unavailable },
                            );
                            added.push(made);
                        }
                        Err(diagnostic) => {
                            diagnostics.push(*diagnostic);
                            break;
                        }
                    }
                }
            }
        }
    }
    loaded.documents.extend(added);
    if !rolling.is_empty() {
        diagnostics.extend(crate::manifest::document::duplicates(&loaded.documents));
    }
    loaded.diagnostics.extend(diagnostics);
    rolling
}

fn one(set: &Document, spec: &GuestSetSpec, member: &Member, loaded: &Loaded) -> Result<Document, Box<Diagnostic>> {
    let template = set.spec.get("template");
    let kind_span = template.and_then(|t| t.get("kind")).map_or(set.kind.1, |n| n.span);
    let (spec_key, mut node) = match template.and_then(|t| t.entry("spec")) {
        Some((key, node)) => (key.span, node.clone()),
        None => (kind_span, Node::empty_mapping(kind_span)),
    };
    if !is_dns_label(&member.name) {
        let message = format!("`{}` would be the name of a member, and is too long", member.name);
        return Err(Box::new(Diagnostic::error("invalid-name", message).at(set.name.1, "shorten this")));
    }
    let place = |name: &str| set.spec.entry(name).map_or(kind_span, |(key, _)| key.span);
    if let Some(vmid) = member.vmid {
        add(&mut node, "vmid", NodeValue::Integer(vmid.get().into()), place("vmidRange"));
    }
    if let Some(name) = &member.node {
        add(&mut node, "node", text(name), place("spread"));
    }
    for (slot, address, gateway) in &member.addresses {
        let at = field(&set.spec, &["addresses".to_owned(), slot.clone()]);
        let Some(network) = network(&mut node, slot) else {
            let message = format!("the template has no network `{slot}` to give addresses to");
            return Err(Box::new(Diagnostic::error("unknown-slot", message).at(at, "")));
        };
        if network.get("ip").is_some() {
            let message = format!("the template gives `{slot}` an address, and so does the set");
            return Err(Box::new(Diagnostic::error("invalid-value", message).at(at, "take one of them out")));
        }
        add(network, "ip", text(address), at);
        if let Some(gateway) = gateway {
            add(network, "gateway", text(gateway), at);
        }
    }
    let kind = spec.template.kind.as_str();
    if let Some(defaults) = loaded.settings.as_ref().and_then(|s| s.defaults.get(kind)) {
        node.merge_defaults(defaults);
    }
    Ok(Document {
        kind: (kind.to_owned(), kind_span),
        name: (member.name.clone(), set.name.1),
        spec: node,
        spec_key,
        member_of: Some((guest_set::NAME.to_owned(), set.name.0.clone())),
        ..set.clone()
    })
}

fn text(value: &str) -> NodeValue {
    NodeValue::String(value.to_owned(), Style::Quoted)
}

fn add(node: &mut Node, key: &str, value: NodeValue, span: Span) {
    if let NodeValue::Mapping(entries) = &mut node.value {
        entries.push((Key { text: key.to_owned(), span }, Node { span, value }));
    }
}

fn network<'a>(node: &'a mut Node, slot: &str) -> Option<&'a mut Node> {
    let NodeValue::Mapping(entries) = &mut node.value else { return None };
    let networks = entries.iter_mut().find(|(key, _)| key.text == "networks").map(|(_, n)| n)?;
    let NodeValue::Sequence(items) = &mut networks.value else { return None };
    items.iter_mut().find(|n| n.get("slot").and_then(Node::as_str) == Some(slot))
}

/// The deepest place that a path of keys leads to.
fn field(node: &Node, path: &[String]) -> Span {
    let mut here = node;
    for word in path {
        let Some(next) = here.get(word) else { break };
        here = next;
    }
    here.span
}
