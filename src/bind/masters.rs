//! What two manifests would make of one object has one master. The firewall's options of a guest: its own `firewall`, or a
//! `FirewallOptions` that names it, by its number or by the name of its manifest, which becomes its number here. A job of
//! PVE's that backs guests up: a `BackupPolicy`, or a `BackupJob`.

use crate::base::diagnostic::{Diagnostic, nearest};
use crate::base::source::Span;
use crate::kinds::backup_policy::job;
use crate::manifest::document::Document;
use crate::manifest::load::Loaded;
use crate::manifest::tree::{Node, NodeValue};

const OPTIONS: &str = "FirewallOptions";

/// A guest of the manifests, as far as its firewall goes.
struct Guest {
    kind: String,
    name: String,
    vmid: Option<Node>,
    /// Where its own firewall stands, if that says any option.
    firewall: Option<Span>,
}

/// Puts numbers in the place of names, and refuses two masters.
pub fn bind(loaded: &mut Loaded) {
    let guests: Vec<Guest> = loaded.documents.iter().filter_map(guest).collect();
    let mut diagnostics = Vec::new();
    for document in loaded.documents.iter_mut().filter(|d| d.kind.0 == OPTIONS) {
        diagnostics.extend(number(document, &guests));
        let Some(vmid) = document.spec.get("vmid") else { continue };
        let twice = guests.iter().find(|g| g.vmid.as_ref().is_some_and(|own| own.value == vmid.value));
        let Some((guest, span)) = twice.and_then(|g| Some((g, g.firewall?))) else { continue };
        let message = format!(
            "{OPTIONS}/{} and the `firewall` of {}/{} both say what the firewall of that guest is",
            document.name.0, guest.kind, guest.name
        );
        diagnostics.push(
            Diagnostic::error("two-masters", message)
                .at(vmid.span, "this guest")
                .also(span, "its own `firewall`, or the profile that gives it one")
                .help("what one of them sets the other would take back: keep one of them"),
        );
    }
    diagnostics.extend(jobs(&loaded.documents));
    loaded.diagnostics.extend(diagnostics);
}

/// Jobs with the id of one that a policy makes.
fn jobs(documents: &[Document]) -> Vec<Diagnostic> {
    let policies = || documents.iter().filter(|d| d.kind.0 == job::NAME);
    let one = |document: &Document| {
        let own = document.spec.get("id").and_then(|id| Some((id.as_str()?, id.span)));
        let (id, span) = own.unwrap_or((&document.name.0, document.name.1));
        let policy = policies().find(|policy| job::id(&policy.name.0) == id)?;
        let message = format!(
            "BackupJob/{} and {}/{} are both the job `{id}` of PVE's",
            document.name.0,
            job::NAME,
            policy.name.0
        );
        Some(
            Diagnostic::error("two-masters", message)
                .at(span, "this job")
                .also(policy.name.1, "the policy that makes it")
                .help(
                    "what one of them sets the other would take back: keep one of them, or give the job another `id`",
                ),
        )
    };
    documents.iter().filter(|d| d.kind.0 == "BackupJob").filter_map(one).collect()
}

fn guest(document: &Document) -> Option<Guest> {
    let runs = matches!(document.kind.0.as_str(), "VirtualMachine" | "Container");
    let firewall = document.spec.get("firewall").filter(|own| match &own.value {
        // Groups are rules, which are no options.
        NodeValue::Mapping(entries) => entries.iter().any(|(key, _)| key.text != "groups"),
        NodeValue::Null
        | NodeValue::Bool(_)
        | NodeValue::Integer(_)
        | NodeValue::Float(_)
        | NodeValue::String(..)
        | NodeValue::Sequence(_) => false,
    });
    runs.then(|| Guest {
        kind: document.kind.0.clone(),
        name: document.name.0.clone(),
        vmid: document.spec.get("vmid").cloned(),
        firewall: firewall.map(|own| document.spec.entry("firewall").map_or(own.span, |(key, _)| key.span)),
    })
}

/// The number of the guest that a document names, in the place of the name.
fn number(document: &mut Document, guests: &[Guest]) -> Option<Diagnostic> {
    let (name, span) = document.spec.get("guest").and_then(|n| Some((n.as_str()?.to_owned(), n.span)))?;
    if document.spec.get("vmid").is_some() {
        // Both at once are refused with the other scopes.
        return None;
    }
    let resource = format!("{OPTIONS}/{}", document.name.0);
    let of_name: Vec<&Guest> = guests.iter().filter(|g| g.name == name).collect();
    let guest = match of_name.as_slice() {
        [one] => one,
        [] => {
            let near = nearest(&name, guests.iter().map(|g| g.name.as_str()));
            let help = near.map_or_else(
                || {
                    "declare a `kind: VirtualMachine` or a `kind: Container` of that name, or write its `vmid`"
                        .to_owned()
                },
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("{resource} names the guest `{name}`, which no manifest declares");
            return Some(Diagnostic::error("unknown-reference", message).at(span, "no such guest").help(help));
        }
        [..] => {
            let message =
                format!("{resource} names `{name}`, and there is a VirtualMachine and a Container of that name");
            let unclear = Diagnostic::error("invalid-value", message).at(span, "which of them?");
            return Some(unclear.help("write the `vmid` of the one that is meant in place of `guest`"));
        }
    };
    let Some(vmid) = &guest.vmid else {
        let message = format!("{resource} names `{name}`, whose number its manifest does not say");
        let help = format!("give {}/{name} a `vmid`, or write `firewall` in its own manifest", guest.kind);
        return Some(Diagnostic::error("invalid-value", message).at(span, "its number is allotted").help(help));
    };
    let vmid = Node { span, value: vmid.value.clone() };
    if let NodeValue::Mapping(entries) = &mut document.spec.value
        && let Some((key, value)) = entries.iter_mut().find(|(key, _)| key.text == "guest")
    {
        "vmid".clone_into(&mut key.text);
        *value = vmid;
    }
    None
}
