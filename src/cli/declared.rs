//! What stands in manifests only, and not on the cluster: the verbs that look at it are given the manifests.

use crate::base::diagnostic::nearest;
use crate::cli::args::Sources;
use crate::cli::exit;
use crate::cli::manifests::{self, Tree};
use crate::cli::run::Failure;
use crate::resource::reference::ResourceRef;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The manifests that hold objects of a kind.
pub fn read(kind: &str, files: &[PathBuf]) -> Result<Tree, Failure> {
    if files.is_empty() {
        return Err(Failure::new(exit::USAGE, format!("a {kind} stands in manifests, not on the cluster"))
            .hint("say where: -f manifests/"));
    }
    manifests::read(&Sources { files: files.to_vec(), ..Sources::default() })
}

/// The objects of a kind that a tree declares: all, or those of some names.
pub fn chosen(kind: &str, tree: &Tree, names: &[String]) -> Result<BTreeSet<ResourceRef>, Failure> {
    let all: Vec<&ResourceRef> = tree.desired.resources.keys().filter(|r| r.kind == kind).collect();
    let mut out = BTreeSet::new();
    for name in names {
        let Some(found) = all.iter().find(|r| r.name == *name) else {
            let failure = Failure::new(exit::USAGE, format!("the manifests declare no {kind} `{name}`"));
            let near = nearest(name, all.iter().map(|r| r.name.as_str()));
            return Err(near.map_or(failure.clone(), |near| failure.hint(format!("did you mean `{near}`?"))));
        };
        out.insert((*found).clone());
    }
    if names.is_empty() {
        out.extend(all.into_iter().cloned());
    }
    Ok(out)
}
