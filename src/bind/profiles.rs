//! A `NetworkProfile` as what it becomes: a security group, address sets, and fields of the guests that name it. What they
//! have from the profile stands, for diagnostics, where the profile or the guest's network says it.

use crate::base::diagnostic::{Diagnostic, has_errors, nearest};
use crate::base::source::Span;
use crate::firewall::rule::{Deed, Rule};
use crate::kinds::network_profile::compile::{Compiled, Made, Set, compile};
use crate::kinds::network_profile::spec::{self, Default, NetworkProfileSpec};
use crate::kinds::network_profile::{parse, schema};
use crate::kinds::objects::followed::owner;
use crate::kinds::runner_pool;
use crate::manifest::document::Document;
use crate::manifest::load::Loaded;
use crate::manifest::schema::check;
use crate::manifest::tree::{Key, Node, NodeValue, PathSegment, Style};
use crate::resource::reference::ResourceRef;
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A profile that was understood.
struct Profile {
    spec: NetworkProfileSpec,
    compiled: Compiled,
    span: Span,
}

/// Adds what profiles become to the documents, and to the guests that name them.
pub fn expand(loaded: &mut Loaded) {
    let mut diagnostics = Vec::new();
    let profiles = read(loaded, &mut diagnostics);
    let mut added = Vec::new();
    for document in loaded.documents.iter().filter(|d| d.kind.0 == spec::NAME) {
        let Some(profile) = profiles.get(&document.name.0).filter(|p| guards(&p.spec)) else { continue };
        let comment = format!("network profile {}", document.name.0);
        let rules: Vec<Value> = profile.compiled.rules.iter().map(rule).collect();
        let group = json!({"comment": comment, "rules": rules});
        added.push(made(document, "SecurityGroup", &profile.compiled.group, &group));
        for set in &profile.compiled.sets {
            added.push(made(document, "IpSet", &set.name, &members(set, &comment, &loaded.documents)));
        }
    }
    let declared: Vec<String> =
        loaded.documents.iter().filter(|d| d.kind.0 == spec::NAME).map(|d| d.name.0.clone()).collect();
    for document in &mut loaded.documents {
        if document.kind.0 == runner_pool::NAME {
            first_network(&mut document.spec);
        }
        if matches!(document.kind.0.as_str(), "VirtualMachine" | "Container" | "GuestTemplate" | runner_pool::NAME) {
            diagnostics.extend(guest(document, &profiles, &declared));
        }
    }
    loaded.documents.extend(added);
    loaded.diagnostics.extend(diagnostics);
}

fn read(loaded: &Loaded, diagnostics: &mut Vec<Diagnostic>) -> BTreeMap<String, Profile> {
    let schema = schema();
    let mut profiles = BTreeMap::new();
    let mut groups: BTreeMap<String, String> = BTreeMap::new();
    for document in loaded.documents.iter().filter(|d| d.kind.0 == spec::NAME) {
        let found = check(&document.spec, &schema, "spec", Some(document.spec_key));
        let broken = has_errors(&found);
        diagnostics.extend(found);
        if broken {
            continue;
        }
        let name = document.name.0.clone();
        let understood =
            parse(&document.spec.to_json()).and_then(|spec| compile(&name, &spec).map(|compiled| (spec, compiled)));
        match understood {
            Err((path, message)) => {
                let span = document.spec.place(&PathSegment::path(&path));
                diagnostics.push(Diagnostic::error("invalid-value", message).at(span, format!("`{path}`")));
            }
            Ok((spec, compiled)) => {
                // Two hashes of 75 bits that meet: never seen, and never passed over.
                if let Some(other) = groups.insert(compiled.group.clone(), name.clone()) {
                    let message = format!("the profiles `{name}` and `{other}` come to one name in PVE");
                    diagnostics.push(Diagnostic::error("duplicate-name", message).at(document.name.1, "rename this"));
                }
                profiles.insert(name, Profile { spec, compiled, span: document.name.1 });
            }
        }
    }
    profiles
}

/// Whether a profile has PVE's firewall guard anything.
fn guards(spec: &NetworkProfileSpec) -> bool {
    spec.firewall.unwrap_or(true) && (spec.egress.is_some() || spec.ingress.is_some())
}

/// A rule as a manifest of a security group has it.
fn rule(made: &Made) -> Value {
    let Rule { deed, source, dest, proto, dest_ports, .. } = &made.rule;
    let Deed::Decide(direction, verdict) = deed else { return Value::Null };
    let mut out = Map::new();
    out.insert("type".into(), direction.as_str().into());
    out.insert("action".into(), verdict.as_str().into());
    for (key, text) in [("source", source), ("dest", dest), ("proto", proto), ("dport", dest_ports)] {
        if !text.is_empty() {
            out.insert(key.into(), text.as_str().into());
        }
    }
    out.extend(made.log.map(|level| ("log".to_owned(), level.into())));
    out.into()
}

/// What a set holds: addresses, names, and guests. Those whose manifests give them addresses are written down, the others are
/// followed.
fn members(set: &Set, comment: &str, documents: &[Document]) -> Value {
    let mut members: BTreeMap<String, Value> = set.nets.iter().map(|net| (net.clone(), json!({"cidr": net}))).collect();
    let not: Vec<IpNet> = set.except.iter().filter_map(|net| network(net)).collect();
    let mut followed: BTreeSet<ResourceRef> = BTreeSet::new();
    for labels in &set.guests {
        let carries = |d: &&Document| {
            matches!(d.kind.0.as_str(), "VirtualMachine" | "Container")
                && labels.iter().all(|(key, value)| d.labels.get(key) == Some(value))
        };
        for document in documents.iter().filter(carries) {
            let guest = ResourceRef::new(&document.kind.0, &document.name.0);
            let addresses = addresses(&document.spec);
            // The kernel would let an address win over the network around it that is not meant.
            for address in addresses.iter().filter(|address| !not.iter().any(|net| net.contains(*address))) {
                let entry = json!({"cidr": address.to_string(), "comment": owner(&guest)});
                members.insert(address.to_string(), entry);
            }
            if addresses.is_empty() {
                followed.insert(guest);
            }
        }
    }
    for net in &set.except {
        members.insert(net.clone(), json!({"cidr": net, "nomatch": true}));
    }
    let mut out = json!({"comment": comment, "members": members.into_values().collect::<Vec<_>>()});
    if !set.names.is_empty() {
        out["names"] = json!(set.names);
    }
    if !followed.is_empty() {
        out["guests"] = followed.iter().map(|guest| json!({"kind": guest.kind, "name": guest.name})).collect();
    }
    out
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// The addresses that a guest's manifest gives its networks.
fn addresses(spec: &Node) -> Vec<IpAddr> {
    let networks = spec.get("networks").and_then(Node::as_sequence).unwrap_or_default();
    let said = networks.iter().flat_map(|n| [n.get("ip"), n.get("ip6")]).flatten().filter_map(Node::as_str);
    said.filter_map(|text| text.split('/').next()?.parse().ok()).collect()
}

fn made(profile: &Document, kind: &str, name: &str, spec: &Value) -> Document {
    Document {
        kind: (kind.to_owned(), profile.kind.1),
        name: (name.to_owned(), profile.name.1),
        spec: node(spec, profile.spec_key),
        member_of: Some((spec::NAME.to_owned(), profile.name.0.clone())),
        ..profile.clone()
    }
}

/// A pool's `networkProfile` as the profile of its machines' first network.
fn first_network(spec: &mut Node) {
    let Some(profile) = spec.get("networkProfile").filter(|profile| profile.as_str().is_some()).cloned() else {
        return;
    };
    let span = profile.span;
    if spec.get("networks").is_none() {
        add(spec, "networks", Node { span, value: NodeValue::Sequence(Vec::new()) });
    }
    let NodeValue::Mapping(entries) = &mut spec.value else { return };
    let networks = entries.iter_mut().find(|(key, _)| key.text == "networks").map(|(_, node)| &mut node.value);
    let Some(NodeValue::Sequence(networks)) = networks else { return };
    let first = |network: &Node| network.get("slot").and_then(Node::as_str) == Some("net0");
    let at = networks.iter().position(first).unwrap_or_else(|| {
        networks.insert(0, node(&json!({"slot": "net0"}), span));
        0
    });
    if networks[at].get("profile").is_none() {
        add(&mut networks[at], "profile", profile);
    }
}

/// Fills in what a guest's networks have from their profiles; the guest's own word stands. A template has the options of its
/// networks only: it never runs, and PVE copies the firewall of what it clones (`PVE::Firewall::clone_vmfw_conf`), so that rules
/// on it would be on every clone, whatever profile that one has.
fn guest(document: &mut Document, profiles: &BTreeMap<String, Profile>, declared: &[String]) -> Vec<Diagnostic> {
    let template = document.kind.0 == "GuestTemplate";
    let of_containers = document.spec.get("type").and_then(Node::as_str) == Some("Container");
    // Of a pool it is the template's to say; of a container the card is passed over.
    let machine =
        matches!(document.kind.0.as_str(), "VirtualMachine" | runner_pool::NAME) || template && !of_containers;
    let mut diagnostics = Vec::new();
    let mut used: Vec<(&Profile, String, Span)> = Vec::new();
    let NodeValue::Mapping(entries) = &mut document.spec.value else { return diagnostics };
    let networks = entries.iter_mut().find(|(key, _)| key.text == "networks").map(|(_, node)| node);
    let Some(NodeValue::Sequence(items)) = networks.map(|n| &mut n.value) else { return diagnostics };
    for network in items {
        let Some((name, span)) = network.get("profile").and_then(|n| Some((n.as_str()?.to_owned(), n.span))) else {
            continue;
        };
        let Some(profile) = profiles.get(&name) else {
            // One that is there and broken has been told of.
            if !declared.contains(&name) {
                let message = format!(
                    "{}/{} names the {} `{name}`, which no manifest declares",
                    document.kind.0,
                    document.name.0,
                    spec::NAME
                );
                let near = nearest(&name, declared.iter().map(String::as_str));
                let help = near.map_or_else(
                    || format!("declare a `kind: {}` of that name", spec::NAME),
                    |n| format!("did you mean `{n}`?"),
                );
                diagnostics
                    .push(Diagnostic::error("unknown-reference", message).at(span, "no such profile").help(help));
            }
            continue;
        };
        for (key, value) in options(&profile.spec, machine) {
            if network.get(&key).is_none() {
                add(network, &key, node(&value, span));
            }
        }
        if template {
            continue;
        }
        let slot = network.get("slot").and_then(Node::as_str).unwrap_or_default().to_owned();
        let off = network.get("firewall").is_some_and(|n| n.value == NodeValue::Bool(false));
        if off && guards(&profile.spec) {
            let message = format!("`{name}` says what may pass, and `firewall: false` lets everything pass");
            let at = network.get("firewall").map_or(span, |n| n.span);
            diagnostics.push(
                Diagnostic::error("invalid-value", message).at(at, "take this out").also(profile.span, "the profile"),
            );
        } else if guards(&profile.spec) {
            used.push((profile, slot, span));
        }
    }
    if let Some((_, _, span)) = used.first() {
        let span = *span;
        firewall(&mut document.spec, &used, span);
    }
    diagnostics
}

/// The options of a network that a profile says.
fn options(spec: &NetworkProfileSpec, machine: bool) -> Vec<(String, Value)> {
    let NetworkProfileSpec { bridge, vlan, model, mtu, rate_limit, firewall, .. } = spec;
    let mut out = Map::new();
    out.extend(bridge.as_ref().map(|b| ("bridge".to_owned(), json!(b))));
    out.extend(vlan.map(|v| ("vlan".to_owned(), json!(v))));
    out.extend(model.as_ref().filter(|_| machine).map(|m| ("model".to_owned(), json!(m))));
    out.extend(mtu.map(|m| ("mtu".to_owned(), json!(m))));
    out.extend(rate_limit.map(|r| ("rateLimit".to_owned(), json!(r.0))));
    out.insert("firewall".into(), json!(firewall.unwrap_or(true)));
    out.into_iter().collect()
}

/// The guest's firewall: the groups of its profiles, and the strictest of their defaults. What the guest says itself stands.
fn firewall(spec: &mut Node, used: &[(&Profile, String, Span)], span: Span) {
    let strictest = |of: fn(&NetworkProfileSpec) -> Option<Default>| {
        let all: Vec<Default> = used.iter().filter_map(|(p, ..)| of(&p.spec)).collect();
        match () {
            () if all.contains(&Default::Deny) => Some("DROP"),
            () if all.contains(&Default::Reject) => Some("REJECT"),
            () if all.contains(&Default::Allow) => Some("ACCEPT"),
            () => None,
        }
    };
    let any = |of: fn(&NetworkProfileSpec) -> Option<bool>| {
        let all: Vec<bool> = used.iter().filter_map(|(p, ..)| of(&p.spec)).collect();
        (!all.is_empty()).then(|| all.contains(&true))
    };
    let mut says = Map::new();
    says.insert("enabled".into(), json!(true));
    // Where only one way is spoken of, the other is PVE's default: everything out, nothing in.
    says.insert("policyIn".into(), json!(strictest(|s| s.ingress.as_ref().map(|i| i.default)).unwrap_or("DROP")));
    says.insert("policyOut".into(), json!(strictest(|s| s.egress.as_ref().map(|e| e.default)).unwrap_or("ACCEPT")));
    says.extend(any(|s| s.mac_filter).map(|on| ("macFilter".to_owned(), json!(on))));
    says.extend(any(|s| s.ip_filter).map(|on| ("ipFilter".to_owned(), json!(on))));
    if spec.get("firewall").is_none() {
        add(spec, "firewall", Node::empty_mapping(span));
    }
    let NodeValue::Mapping(entries) = &mut spec.value else { return };
    let Some((_, own)) = entries.iter_mut().find(|(key, _)| key.text == "firewall") else { return };
    for (key, value) in says {
        if own.get(&key).is_none() {
            add(own, &key, node(&value, span));
        }
    }
    if own.get("groups").is_none() {
        add(own, "groups", Node { span, value: NodeValue::Sequence(Vec::new()) });
    }
    let NodeValue::Mapping(entries) = &mut own.value else { return };
    let groups = entries.iter_mut().find(|(key, _)| key.text == "groups").map(|(_, n)| &mut n.value);
    let Some(NodeValue::Sequence(groups)) = groups else { return };
    for (profile, slot, span) in used.iter().rev() {
        let one = json!({"group": profile.compiled.group, "interface": slot});
        if groups.iter().all(|g| g.to_json() != one) {
            groups.insert(0, node(&one, *span));
        }
    }
}

fn add(to: &mut Node, key: &str, value: Node) {
    if let NodeValue::Mapping(entries) = &mut to.value {
        entries.push((Key { text: key.to_owned(), span: value.span }, value));
    }
}

/// JSON as a tree whose every part stands at one place.
fn node(value: &Value, span: Span) -> Node {
    let value = match value {
        Value::Null => NodeValue::Null,
        Value::Bool(on) => NodeValue::Bool(*on),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => NodeValue::Integer(whole.into()),
            (None, Some(fraction)) => NodeValue::Float(fraction),
            (None, None) => NodeValue::Null,
        },
        Value::String(text) => NodeValue::String(text.clone(), Style::Quoted),
        Value::Array(items) => NodeValue::Sequence(items.iter().map(|item| node(item, span)).collect()),
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| (Key { text: key.clone(), span }, node(value, span));
            NodeValue::Mapping(map.iter().map(entry).collect())
        }
    };
    Node { span, value }
}
