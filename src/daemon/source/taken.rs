//! A tree of manifests on disk to what it wants, well or with everything that is wrong with it. Used by every source. It
//! blocks: the caller sees to a thread for it.

use crate::base::diagnostic::{Diagnostic, Severity, has_errors, render};
use crate::base::source::Sources;
use crate::bind::documents::bind;
use crate::daemon::source::{Broken, Reading, Revision};
use crate::kinds::list::names;
use crate::manifest::load::{Input, Loaded, load};
use crate::manifest::settings::FILE_NAME;
use std::path::Path;

/// Reads the tree at `root` with its subfolders. In messages the folder `prefix` is cut from the front of paths.
pub(super) fn take(root: &Path, prefix: &str, set: Option<&str>, revision: Revision) -> Result<Reading, Broken> {
    let broken = |message: String| Broken { revision: Some(revision.clone()), message, diagnostics: Vec::new() };
    match std::fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(broken(format!("`{}` is no folder", root.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(broken(format!("there is no folder `{}`", root.display())));
        }
        Err(error) => return Err(broken(format!("`{}` cannot be read: {error}", root.display()))),
    }
    let mut loaded = load(&[Input::Path(root.to_owned())], true, &names());
    if loaded.partial {
        return Err(broken(part(root, &loaded.sources)));
    }
    let desired = bind(&mut loaded, set);
    shorten(&mut loaded, prefix);
    if has_errors(&loaded.diagnostics) {
        let errors = loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
        let message = format!("{errors} error{} in the manifests", if errors == 1 { "" } else { "s" });
        let diagnostics = loaded.diagnostics.iter().map(|d| render(d, &loaded.sources, false)).collect();
        return Err(Broken { revision: Some(revision), message, diagnostics });
    }
    // A volume that is not mounted yet, a template that came out empty: with pruning that would be the end of everything.
    if desired.resources.is_empty() {
        return Err(broken("the manifests declare nothing".to_owned()));
    }
    Ok(Reading { revision, loaded, desired })
}

/// Only a part of a tree was named. What the rest of the set wants would be taken for gone.
fn part(root: &Path, sources: &Sources) -> String {
    let ends = |name: &&str| Path::new(name).file_name().is_some_and(|n| n == FILE_NAME);
    let settings = (0..u32::try_from(sources.len()).unwrap_or(u32::MAX)).map(|at| sources.name(at)).find(ends);
    let above = settings.and_then(|name| Path::new(name).parent()).unwrap_or(Path::new("/"));
    part_of(&root.display().to_string(), &above.display().to_string())
}

/// The refusal of a part of a tree.
pub(super) fn part_of(part: &str, tree: &str) -> String {
    format!(
        "`{part}` is only a part of the tree `{tree}`, whose {FILE_NAME} holds for it: name `{tree}`, or put a {FILE_NAME} into `{part}`"
    )
}

/// Cuts the place of a checkout from names and messages: people know the paths of their repository.
fn shorten(loaded: &mut Loaded, prefix: &str) {
    if prefix.is_empty() {
        return;
    }
    let inside = format!("{prefix}/");
    let mut sources = Sources::default();
    for at in 0..u32::try_from(loaded.sources.len()).unwrap_or(u32::MAX) {
        let name = loaded.sources.name(at);
        sources.add(name.strip_prefix(&inside).unwrap_or(name), loaded.sources.text(at));
    }
    loaded.sources = sources;
    let cut = |text: &mut String| *text = text.replace(&inside, "").replace(prefix, ".");
    for Diagnostic { severity: _, code: _, message, primary, related, help } in &mut loaded.diagnostics {
        cut(message);
        help.iter_mut().for_each(cut);
        primary.iter_mut().chain(related).for_each(|(_, label)| cut(label));
    }
}
