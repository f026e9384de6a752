//! Saved plans: what was to be done, with the manifests it was made from. A plan is a pure function of manifests and
//! cluster, so it is made again before it is done, and refused if it came out differently.

use crate::base::diagnostic::has_errors;
use crate::bind::documents::bind;
use crate::cli::exit;
use crate::cli::manifests::{self, Tree};
use crate::cli::run::Failure;
use crate::config::disk::write_atomically;
use crate::kinds::list::names;
use crate::manifest::load::{Input, load};
use crate::plan::assemble::{Plan, Settings};
use crate::resource::reference::ResourceRef;
use crate::resource::step::Delta;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const FORMAT: &str = "pvectl/plan/v1";

/// A saved plan.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Saved {
    format: String,
    /// The manifest set.
    pub set: String,
    /// It was made with `--prune`.
    pub prune: bool,
    only: Option<Vec<(String, String)>>,
    documents: Vec<serde_json::Value>,
    /// What is to be done about each resource, as a hash of every call with its digest.
    fingerprints: BTreeMap<String, String>,
}

fn fingerprint(delta: &Delta) -> String {
    let calls: Vec<_> = delta.steps.iter().map(|s| (&s.call, s.impact)).collect();
    hex::encode(Sha256::digest(format!("{:?} {:?} {calls:?}", delta.action, delta.identity)))
}

fn fingerprints(plan: &Plan) -> BTreeMap<String, String> {
    plan.deltas.iter().map(|d| (d.resource.to_string(), fingerprint(d))).collect()
}

/// Saves a plan.
pub fn save(path: &Path, tree: &Tree, settings: &Settings, plan: &Plan) -> Result<(), Failure> {
    let documents = tree.loaded.documents.iter().filter(|d| d.member_of.is_none()).map(|d| {
        serde_json::json!({"apiVersion": d.api_version.0, "kind": d.kind.0, "metadata": d.metadata.to_json(), "spec": d.spec.to_json()})
    }).collect();
    let only = settings.only.as_ref().map(|o| o.iter().map(|r| (r.kind.clone(), r.name.clone())).collect());
    let saved = Saved {
        format: FORMAT.into(),
        set: plan.set.clone(),
        prune: settings.prune,
        only,
        documents,
        fingerprints: fingerprints(plan),
    };
    let text = serde_json::to_string_pretty(&saved).expect("a plan serialises");
    write_atomically(path, &text)
        .map_err(|e| Failure::new(exit::FAILED, format!("the plan could not be saved in {}: {e}", path.display())))
}

/// Reads a saved plan, and binds its manifests.
pub fn load_text(name: &str, text: &str) -> Result<(Tree, Saved), Failure> {
    let saved: Saved = serde_json::from_str(text)
        .map_err(|e| Failure::new(exit::USAGE, format!("{name} is no saved plan: {e}")).hint(not_a_plan(name)))?;
    if saved.format != FORMAT {
        return Err(Failure::new(
            exit::USAGE,
            format!("{name} is a plan of the format `{}`, and this pvectl reads `{FORMAT}`", saved.format),
        ));
    }
    let mut bytes = Vec::new();
    for document in &saved.documents {
        bytes.extend_from_slice(b"---\n");
        bytes.extend_from_slice(document.to_string().as_bytes());
        bytes.push(b'\n');
    }
    let kinds = names();
    let mut loaded = load(&[Input::Text { name: name.to_owned(), bytes }], false, &kinds);
    let desired = bind(&mut loaded, Some(&saved.set));
    if has_errors(&loaded.diagnostics) {
        manifests::show(&loaded.diagnostics, &loaded);
        return Err(Failure::new(exit::USAGE, format!("the manifests in {name} are not valid")));
    }
    let only = saved.only.as_ref().map(|o| o.iter().map(|(k, n)| ResourceRef::new(k, n)).collect::<BTreeSet<_>>());
    Ok((Tree { loaded, desired, only }, saved))
}

/// Reads a saved plan from its file.
pub fn load_file(path: &Path) -> Result<(Tree, Saved), Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| {
        Failure::new(exit::USAGE, format!("{name} cannot be read as a saved plan: {e}")).hint(not_a_plan(&name))
    })?;
    load_text(&name, &text)
}

fn not_a_plan(name: &str) -> String {
    format!("if these are manifests: -f {name}; a plan is made with: pvectl plan -f … -o FILE")
}

/// Refuses if the plan, made again, is not the one that was saved; names what moved.
pub fn compare(saved: &Saved, plan: &Plan) -> Result<(), Failure> {
    let now = fingerprints(plan);
    let all: BTreeSet<&String> = saved.fingerprints.keys().chain(now.keys()).collect();
    let moved: Vec<&str> =
        all.into_iter().filter(|k| saved.fingerprints.get(*k) != now.get(*k)).map(String::as_str).collect();
    if moved.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        exit::REFUSED,
        format!("the cluster has changed since this plan was saved: {}; nothing was sent", moved.join(", ")),
    )
    .hint("look at the new plan: pvectl plan -f …"))
}
