//! `import`: manifests for what exists, such that nothing differs once they were adopted. What no manifest can say is told,
//! object by object; secrets and what changes by itself (whether a guest runs) are left out.

use crate::base::id::GuestType;
use crate::cli::args::{self, Global};
use crate::cli::exit;
use crate::cli::kind::find_kind;
use crate::cli::output::yaml;
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::session::Session;
use crate::cli::show::{document_schema, survey};
use crate::config::disk::write_atomically;
use crate::kinds::list::KINDS;
use crate::manifest::document::NAME_CHARACTERS_MAX;
use crate::manifest::document::{API_VERSION, is_dns_label};
use crate::resource::kind::{AnyKind, Listed, dns_label};
use crate::resource::observation::Observation;
use crate::resource::reference::Identity;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where the schemas lie that the manifests name, in the folder that they are written to.
const SCHEMAS: &str = ".schemas";

/// One object as its manifest.
struct Imported {
    kind: &'static str,
    name: String,
    text: String,
}

/// What came of it.
#[derive(Default)]
struct Haul {
    manifests: Vec<Imported>,
    /// What the manifests do not say, by object.
    unsaid: Vec<(String, Vec<String>)>,
    /// Objects without a manifest, and why.
    left_out: Vec<String>,
    /// Names that were asked for and are not there.
    missing: Vec<String>,
}

/// `import`.
pub fn import(global: &Global, args: &args::Import) -> Ended {
    let kinds: Vec<&'static dyn AnyKind> = match &args.kind {
        Some(kind) => vec![find_kind(kind)?],
        None => KINDS.to_vec(),
    };
    let session = Session::open(global, None)?;
    let mut haul = Haul::default();
    for kind in kinds {
        let (listed, seen) = block_on(survey(&session, kind))??;
        take(kind, &listed, &seen, &args.names, &mut haul);
    }
    session.close()?;
    match &args.directory {
        Some(folder) => write(folder, args.set.as_deref(), &haul.manifests)?,
        None => haul.manifests.iter().for_each(|m| print(&format!("---\n{}", m.text))),
    }
    tell(&haul, args.directory.as_deref());
    let whole = haul.missing.is_empty() && haul.left_out.is_empty();
    Ok(if whole { exit::DONE } else { exit::FAILED })
}

/// The manifests of one kind's objects; of those that were named, where any were.
fn take(kind: &'static dyn AnyKind, listed: &[Listed], seen: &Observation, names: &[String], haul: &mut Haul) {
    let labels = labels(listed, seen);
    let mut found: BTreeSet<&str> = BTreeSet::new();
    for (listed, label) in listed.iter().zip(labels) {
        // A pool makes its machines anew, and a manifest of one would keep it.
        let of_a_pool = listed.marker.as_ref().is_some_and(|marker| marker.owner.is_member());
        if names.is_empty() && (kind.is_native(&listed.identity, seen) || of_a_pool) {
            continue;
        }
        let number = match &listed.identity {
            Identity::Guest { vmid, .. } => vmid.to_string(),
            Identity::Pool(id) | Identity::Object { id, .. } => id.clone(),
        };
        let called = names.iter().find(|n| **n == listed.name || **n == label || **n == number);
        if !names.is_empty() && called.is_none() {
            continue;
        }
        found.extend(called.map(String::as_str));
        let object = format!("{}/{label}", kind.name());
        let mut spec = match kind.export(&listed.identity, seen) {
            Ok(Some(spec)) => spec,
            Ok(None) => continue,
            Err(error) => {
                haul.left_out.push(format!("{} could not be read: {}", listed.identity, error.message));
                continue;
            }
        };
        match (&listed.identity, spec.as_object_mut()) {
            (Identity::Guest { .. }, Some(fields)) => {
                fields.remove("power");
                if let (Some(own), false) = (own_name(listed, &label, seen), fields.contains_key("hostName")) {
                    fields.insert("hostName".into(), json!(own));
                }
            }
            (Identity::Pool(id), _) if *id != label => {
                let why = "a pool's id is the name of its manifest, which takes small letters, digits and `-`";
                haul.left_out.push(format!("pool `{id}`: {why}"));
                continue;
            }
            (_, _) => {}
        }
        let manifest =
            json!({"apiVersion": API_VERSION, "kind": kind.name(), "metadata": {"name": label}, "spec": spec});
        let head = format!("# yaml-language-server: $schema={SCHEMAS}/{}.json\n", kind.name());
        let text = head + &ordered(&manifest);
        let unsaid = kind.unsaid(&listed.identity, seen);
        if !unsaid.is_empty() {
            haul.unsaid.push((object, unsaid));
        }
        haul.manifests.push(Imported { kind: kind.name(), name: label, text });
    }
    haul.missing.extend(
        names.iter().filter(|n| !found.contains(n.as_str())).map(|n| format!("there is no {} `{n}`", kind.name())),
    );
}

/// A manifest's four parts in the order in which people write them.
fn ordered(manifest: &Value) -> String {
    ["apiVersion", "kind", "metadata", "spec"].iter().map(|key| yaml(&json!({*key: manifest[*key]}))).collect()
}

/// A name for each object that a manifest may have, no two alike: the object's own as far as it goes.
fn labels(listed: &[Listed], seen: &Observation) -> Vec<String> {
    let plain: Vec<String> = listed.iter().map(|l| label(l, seen)).collect();
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    plain.iter().for_each(|name| *count.entry(name).or_default() += 1);
    let mut out: Vec<String> = Vec::new();
    for (listed, name) in listed.iter().zip(&plain) {
        let ours = listed.marker.is_some();
        let unique = match &listed.identity {
            // Who is ours already keeps its name.
            Identity::Guest { vmid, .. } if count[name.as_str()] > 1 && !ours => {
                let number = format!("-{vmid}");
                let room = NAME_CHARACTERS_MAX - number.len();
                name.chars().take(room).collect::<String>().trim_end_matches('-').to_owned() + &number
            }
            // Two ids that come to one label are counted.
            Identity::Object { .. } if out.contains(name) && !ours => {
                let taken = (2..).map(|n| format!("{name}-{n}")).find(|name| !out.contains(name));
                taken.unwrap_or_else(|| name.clone())
            }
            Identity::Guest { .. } | Identity::Pool(_) | Identity::Object { .. } => name.clone(),
        };
        out.push(unique);
    }
    out
}

fn label(listed: &Listed, seen: &Observation) -> String {
    let Identity::Guest { vmid, guest, .. } = &listed.identity else { return dns_label(&listed.name) };
    let word = if *guest == GuestType::Qemu { "vm" } else { "ct" };
    match dns_label(&listed.name) {
        name if name.is_empty() || unnamed(listed, seen) => format!("{word}-{vmid}"),
        name => name,
    }
}

/// Whether PVE made its name up because it has none.
fn unnamed(listed: &Listed, seen: &Observation) -> bool {
    let Identity::Guest { vmid, .. } = &listed.identity else { return false };
    let name = seen.index.guests.get(vmid).map_or("", |row| row.name.as_str());
    listed.marker.is_none() && (name.is_empty() || name == format!("VM {vmid}") || name == format!("CT{vmid}"))
}

/// What PVE calls a guest, where its manifest has another name; empty where it has none, which then stays so.
fn own_name(listed: &Listed, label: &str, seen: &Observation) -> Option<String> {
    let Identity::Guest { vmid, .. } = &listed.identity else { return None };
    if unnamed(listed, seen) {
        return Some(String::new());
    }
    let name = &seen.index.guests.get(vmid)?.name;
    (name != label).then(|| name.clone())
}

/// Writes a file an object, or nothing at all.
fn write(folder: &Path, set: Option<&str>, manifests: &[Imported]) -> Result<(), Failure> {
    let mut files: BTreeMap<PathBuf, String> = BTreeMap::new();
    for Imported { kind, name, text } in manifests {
        files.insert(folder.join(format!("{}-{name}.yaml", kind.to_lowercase())), text.clone());
    }
    if let Some(set) = set {
        files.insert(folder.join("pvectl.yaml"), format!("set: {set}\n"));
    }
    let there: Vec<String> = files
        .iter()
        .filter(|(path, text)| std::fs::read_to_string(path).map_or_else(|_| path.exists(), |held| held != **text))
        .map(|(path, _)| path.display().to_string())
        .collect();
    if !there.is_empty() {
        let failure =
            Failure::new(exit::REFUSED, format!("these are there, and say something else: {}", there.join(", ")));
        return Err(failure.hint("nothing was written; name another folder, or move them away"));
    }
    for kind in KINDS.iter().filter(|k| manifests.iter().any(|m| m.kind == k.name())) {
        let schema = document_schema(kind.name(), kind.schema());
        files.insert(folder.join(SCHEMAS).join(format!("{}.json", kind.name())), format!("{schema:#}\n"));
    }
    for (path, text) in &files {
        write_atomically(path, text)
            .map_err(|e| Failure::new(exit::FAILED, format!("{} cannot be written: {e}", path.display())))?;
    }
    Ok(())
}

/// Says what the manifests do not, and what comes next.
fn tell(haul: &Haul, folder: Option<&Path>) {
    let mut err = anstream::stderr();
    for (object, words) in &haul.unsaid {
        let _ = writeln!(err, "{object}: its manifest does not say: {}", words.join("; "));
    }
    for why in haul.left_out.iter().chain(&haul.missing) {
        let _ = writeln!(err, "error: {why}");
    }
    if let Some(folder) = folder.filter(|_| !haul.manifests.is_empty()) {
        let count = haul.manifests.len();
        let (at, noun) = (folder.display(), if count == 1 { "manifest" } else { "manifests" });
        let _ = writeln!(err, "{count} {noun} in {at}; take them over with: pvectl adopt --all -f {at}");
    }
}

/// Whether a word can be the name of a manifest set.
pub fn set_name(text: &str) -> Result<String, String> {
    if is_dns_label(text) { Ok(text.to_owned()) } else { Err("expected small letters, digits and `-`".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_labels() {
        for (name, label) in [
            ("Windows Server", "windows-server"),
            ("web.example.com", "web-example-com"),
            ("--a__b--", "a-b"),
            ("Ünï", "n"),
            ("日本", ""),
            (&"x".repeat(80), &"x".repeat(63)),
        ] {
            assert_eq!(dns_label(name), label, "{name}");
            assert!(label.is_empty() || is_dns_label(label), "{label}");
        }
    }
}
