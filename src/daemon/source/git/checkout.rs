//! The manifests of a commit as files: exactly `path`, into a folder that nobody has seen before, so that no reading sees
//! half of it. `path` is a tree of its own, or it is refused; links that lead out of it are refused too: what they lead to is
//! not part of the commit, and what is not read would be taken for gone.

use crate::daemon::source::folder::blocking;
use crate::daemon::source::git::repository::{Commit, Cure, Fault, Repository};
use crate::daemon::source::taken::part_of;
use crate::manifest::settings::FILE_NAME;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// A large tree on a slow disk.
const CHECKOUT_TIME_MAX: Duration = Duration::from_secs(300);
/// What checkouts are called.
const PREFIX: &str = "tree-";
/// Links and folders that are looked at; a repository with more is refused.
const ENTRIES_MAX: usize = 1_000_000;

/// Puts `path` of the commit into a new folder in `folder`; returns the root of the checkout. `path` in it is the tree.
pub(super) async fn checkout(
    repository: &Repository,
    commit: &Commit,
    path: &Path,
    folder: &Path,
) -> Result<PathBuf, Fault> {
    let inside = words(path);
    tree(repository, commit, &inside).await?;
    let root =
        folder.join(format!("{PREFIX}{}-{:08x}", commit.short(), crate::daemon::source::git::source::roll() >> 32));
    let index = root.with_extension("index");
    std::fs::create_dir(&root)
        .map_err(|e| Fault::new(format!("`{}` cannot be made: {e}", root.display()), Cure::Time))?;
    let what = if inside.is_empty() { "." } else { &inside };
    let words = ["checkout", "--quiet", "--force", &commit.id, "--", what];
    let said = repository.git(&words, Some((&root, &index)), CHECKOUT_TIME_MAX).await;
    // The index is of no use to anybody.
    let _ = std::fs::remove_file(&index);
    let said = said?;
    if !said.well {
        return Err(Fault::said("git checkout", &said));
    }
    // Settings are looked for up to the root of a work tree, and this is one.
    std::fs::write(root.join(".git"), "")
        .map_err(|e| Fault::new(format!("`{}` cannot be written: {e}", root.display()), Cure::Time))?;
    let at = root.clone();
    let lost = blocking(move || stray(&at)).await.map_err(|broken| Fault::new(broken.message, Cure::Time))?;
    lost.map_or(Ok(root), |why| Err(Fault::new(why, Cure::Commit)))
}

/// Removes all checkouts but one, and what a killed git left. It blocks.
pub(super) fn remove_others(folder: &Path, keep: Option<&Path>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if ours && Some(path.as_path()) != keep {
            // What stays is removed by the next one.
            let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        }
    }
}

/// A path as git writes it: `a/b`, and nothing for the whole commit.
fn words(path: &Path) -> String {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(word) => Some(word.to_string_lossy()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Whether there is such a folder, and it is a tree of its own.
async fn tree(repository: &Repository, commit: &Commit, path: &str) -> Result<(), Fault> {
    if path.is_empty() {
        return Ok(());
    }
    let said = repository.local(&["cat-file", "-t", &format!("{}:{path}", commit.id)]).await?;
    if said.out.trim() != "tree" {
        let what = if said.well { "is no folder" } else { "is not there" };
        return Err(Fault::new(format!("`{path}` {what} in the commit {}", commit.short()), Cure::Commit)
            .hint("`path` is the folder of the manifests, from the top of the repository"));
    }
    let mut trees: Vec<&str> = path.match_indices('/').map(|(end, _)| &path[..end]).collect();
    trees.insert(0, "");
    trees.push(path);
    let settings = |tree: &&str| if tree.is_empty() { FILE_NAME.to_owned() } else { format!("{tree}/{FILE_NAME}") };
    let files: Vec<String> = trees.iter().map(settings).collect();
    let mut words = vec!["ls-tree", "-z", "--name-only", &commit.id, "--"];
    words.extend(files.iter().map(String::as_str));
    let said = repository.local(&words).await?;
    if !said.well {
        return Err(Fault::said("git ls-tree", &said));
    }
    let there: Vec<&str> = said.out.split('\0').collect();
    // The nearest one counts, as on the command line.
    let nearest = trees.iter().zip(&files).rev().find(|(_, file)| there.contains(&file.as_str()));
    match nearest {
        Some((tree, _)) if *tree != path => {
            let tree = if tree.is_empty() { "." } else { tree };
            Err(Fault::new(part_of(path, tree), Cure::Commit))
        }
        Some(_) | None => Ok(()),
    }
}

/// A link in the checkout that leads to something outside. It blocks.
fn stray(root: &Path) -> Option<String> {
    let real = std::fs::canonicalize(root).ok()?;
    let mut open = vec![real.clone()];
    let mut entries = 0;
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).ok()?.flatten() {
            entries += 1;
            if entries > ENTRIES_MAX {
                return Some(format!("there are more than {ENTRIES_MAX} files in it"));
            }
            let (path, kind) = (entry.path(), entry.file_type().ok()?);
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_symlink() && leads_out(&path, &real) {
                let link = path.strip_prefix(&real).unwrap_or(&path);
                let target = std::fs::read_link(&path).unwrap_or_default();
                return Some(format!(
                    "the link `{}` leads to `{}`, which is not in `path` of the repository",
                    link.display(),
                    target.display()
                ));
            }
        }
    }
    None
}

/// Whether what a link leads to would be read, and is not inside. A link to nowhere counts if it may have been a folder.
fn leads_out(link: &Path, root: &Path) -> bool {
    let other_file = link.extension().is_some_and(|e| !matches!(e.to_str(), Some("yaml" | "yml" | "json")));
    match std::fs::canonicalize(link) {
        Ok(target) if target.starts_with(root) => false,
        Ok(target) => target.is_dir() || !other_file,
        Err(_) => !other_file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_git_does() {
        for (path, says) in [("", ""), (".", ""), ("a/b/", "a/b"), ("./a", "a"), ("a//b", "a/b")] {
            assert_eq!(words(Path::new(path)), says);
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_inside_or_are_refused() {
        use std::os::unix::fs::symlink;
        for (link, target, bad) in [
            ("a.yaml", "sub/b.yaml", false),
            ("more", "sub", false),
            ("a.yaml", "/etc/hostname", true),
            ("etc", "/etc", true),
            ("base", "../base", true),
            ("README.md", "../README.md", false),
            ("result", "/nowhere/at/all", true),
            (".hidden", "/etc", false),
            ("here", ".", false),
        ] {
            let root = tempfile::tempdir().expect("a folder");
            std::fs::create_dir(root.path().join("sub")).expect("a folder");
            std::fs::write(root.path().join("sub/b.yaml"), "").expect("a file");
            symlink(target, root.path().join(link)).expect("a link");
            assert_eq!(stray(root.path()).is_some(), bad, "{link} -> {target}: {:?}", stray(root.path()));
        }
    }
}
