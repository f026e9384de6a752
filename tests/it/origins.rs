//! Folders as sources of the daemon, on the real file system: how people, editors, Kubernetes and git-sync change them. Waits
//! are for a condition, with a bound that only a bug reaches.

use pvectl::daemon::source::folder::FolderSource;
use pvectl::daemon::source::{Broken, Reading, Source};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Longer than any machine takes.
const LONG: Duration = Duration::from_secs(10);
/// Long enough for a sign that should not come.
const SHORT: Duration = Duration::from_millis(500);

/// A document that is well.
pub(crate) fn pool(name: &str, comment: &str) -> String {
    format!(
        "---\napiVersion: pvectl/v1alpha1\nkind: Pool\nmetadata: {{name: {name}}}\nspec: {{comment: \"{comment}\"}}\n"
    )
}

/// The names of what a reading declares.
pub(crate) fn declared(reading: &Reading) -> BTreeSet<String> {
    reading.desired.resources.keys().map(|resource| resource.name.clone()).collect()
}

pub(crate) fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) fn broken(result: Result<Reading, Broken>) -> Broken {
    match result {
        Ok(reading) => panic!("it is well: {:?}", declared(&reading)),
        Err(broken) => broken,
    }
}

/// Reads what must be well.
pub(crate) async fn read(source: &mut dyn Source) -> Reading {
    match source.read().await {
        Ok(reading) => reading,
        Err(broken) => panic!("{}\n{}", broken.message, broken.diagnostics.join("\n")),
    }
}

/// Waits for a sign, and then for a reading that declares just these.
async fn becomes(source: &mut FolderSource, wanted: &[&str]) {
    let wanted = names(wanted);
    let begun = Instant::now();
    loop {
        timeout(LONG, source.changed()).await.expect("a sign of the change");
        match source.read().await {
            Ok(reading) if declared(&reading) == wanted => return,
            Ok(reading) => assert!(begun.elapsed() < LONG, "{:?} instead of {wanted:?}", declared(&reading)),
            Err(broken) => assert!(begun.elapsed() < LONG, "{}", broken.message),
        }
    }
}

async fn quiet(source: &mut FolderSource) {
    assert!(timeout(SHORT, source.changed()).await.is_err(), "nothing has changed");
}

struct Tree {
    _keep: tempfile::TempDir,
    path: PathBuf,
}

impl Tree {
    fn new() -> Tree {
        let keep = tempfile::tempdir().expect("a folder");
        let path = keep.path().join("manifests");
        fs::create_dir(&path).expect("a folder");
        let tree = Tree { _keep: keep, path };
        tree.write("a.yaml", &pool("a", ""));
        tree
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn source(&self) -> FolderSource {
        FolderSource::new(self.path.clone(), None)
    }
}

#[tokio::test]
async fn a_folder_is_read_and_watched() {
    let tree = Tree::new();
    let mut source = tree.source();
    assert_eq!(source.origin(), tree.path.display().to_string());
    assert!(!source.follows(&["https://github.com/acme/lab".to_owned()], "main"));
    timeout(LONG, source.changed()).await.expect("what was never read may have changed");
    let first = read(&mut source).await;
    assert_eq!((declared(&first), first.desired.set.as_str()), (names(&["a"]), "default"));
    assert!(first.revision.id.starts_with("sha256:") && first.revision.subject.is_none());
    // Neither reading it, nor the same bytes again, nor what is no manifest.
    quiet(&mut source).await;
    tree.write("a.yaml", &pool("a", ""));
    tree.write(".a.yaml.swp", "x");
    tree.write("README.md", "x");
    quiet(&mut source).await;
    tree.write("b.yaml", &pool("b", ""));
    becomes(&mut source, &["a", "b"]).await;
    tree.write("b.yaml", &pool("c", ""));
    becomes(&mut source, &["a", "c"]).await;
    fs::remove_file(tree.path.join("b.yaml")).expect("it was there");
    becomes(&mut source, &["a"]).await;
    assert_eq!(read(&mut source).await.revision, first.revision, "the same content is the same revision");
}

#[tokio::test]
async fn a_sign_is_not_lost_by_whoever_waits_for_it_in_pieces() {
    let tree = Tree::new();
    let mut source = tree.source();
    read(&mut source).await;
    tree.write("b.yaml", &pool("b", ""));
    let begun = Instant::now();
    while timeout(Duration::from_millis(3), source.changed()).await.is_err() {
        assert!(begun.elapsed() < LONG, "it never comes");
    }
    // Until it is read.
    timeout(LONG, source.changed()).await.expect("still changed");
    read(&mut source).await;
    quiet(&mut source).await;
}

#[tokio::test]
async fn a_save_is_seen_at_once() {
    let tree = Tree::new();
    let mut source = tree.source();
    read(&mut source).await;
    let (mut best, mut all) = (LONG, LONG);
    for n in 0..10 {
        let begun = Instant::now();
        tree.write("a.yaml", &pool("a", &n.to_string()));
        timeout(LONG, source.changed()).await.expect("a sign");
        best = best.min(begun.elapsed());
        read(&mut source).await;
        all = all.min(begun.elapsed());
    }
    crate::apidoc::say(&format!(
        "a save is seen after {} ms at best, read after {}",
        best.as_millis(),
        all.as_millis()
    ));
    assert!(best < Duration::from_millis(150) && all < Duration::from_millis(250), "{best:?} {all:?}");
}

#[tokio::test]
async fn editors_save_by_renaming() {
    let tree = Tree::new();
    let mut source = tree.source();
    read(&mut source).await;
    for n in 0..3 {
        // As most do.
        tree.write(".a.yaml.new", &pool(&format!("new-{n}"), ""));
        fs::rename(tree.path.join(".a.yaml.new"), tree.path.join("a.yaml")).expect("a rename");
        becomes(&mut source, &[&format!("new-{n}")]).await;
        // As vim does: the old one goes first.
        fs::rename(tree.path.join("a.yaml"), tree.path.join("a.yaml~")).expect("a rename");
        tree.write("a.yaml", &pool(&format!("vim-{n}"), ""));
        becomes(&mut source, &[&format!("vim-{n}")]).await;
    }
}

#[tokio::test]
async fn folders_that_are_made_later_are_watched() {
    let tree = Tree::new();
    let mut source = tree.source();
    read(&mut source).await;
    tree.write("deep/er/b.yaml", &pool("b", ""));
    becomes(&mut source, &["a", "b"]).await;
    tree.write("deep/er/b.yaml", &pool("c", ""));
    becomes(&mut source, &["a", "c"]).await;
    // Gone and back under the same name.
    fs::remove_dir_all(tree.path.join("deep")).expect("it was there");
    becomes(&mut source, &["a"]).await;
    tree.write("deep/er/d.yaml", &pool("d", ""));
    becomes(&mut source, &["a", "d"]).await;
    tree.write("deep/er/d.yaml", &pool("e", ""));
    becomes(&mut source, &["a", "e"]).await;
}

#[tokio::test]
async fn a_folder_that_goes_and_comes_back() {
    let tree = Tree::new();
    let mut source = tree.source();
    read(&mut source).await;
    for name in ["b", "c"] {
        fs::remove_dir_all(&tree.path).expect("it was there");
        timeout(LONG, source.changed()).await.expect("a sign");
        let gone = broken(source.read().await);
        assert!(gone.message.starts_with("there is no folder"), "{}", gone.message);
        quiet(&mut source).await;
        tree.write("a.yaml", &pool(name, ""));
        becomes(&mut source, &[name]).await;
        // Moved away, with another one in its place.
        fs::rename(&tree.path, tree.path.with_extension("old")).expect("a rename");
        tree.write("a.yaml", &pool(&format!("{name}2"), ""));
        becomes(&mut source, &[&format!("{name}2")]).await;
        fs::remove_dir_all(tree.path.with_extension("old")).expect("it was there");
    }
}

#[tokio::test]
async fn a_folder_that_comes_late() {
    let tree = Tree::new();
    let late = tree.path.join("not/yet/there");
    let mut source = FolderSource::new(late.clone(), None);
    broken(source.read().await);
    fs::create_dir_all(&late).expect("a folder");
    fs::write(late.join("b.yaml"), pool("b", "")).expect("a file");
    becomes(&mut source, &["b"]).await;
}

#[cfg(unix)]
mod links {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// Puts a link in the place of another one at once.
    fn switch(target: &str, link: &Path) {
        let next = link.with_file_name("..next");
        symlink(target, &next).expect("a link");
        fs::rename(&next, link).expect("a rename");
    }

    #[tokio::test]
    async fn kubernetes_switches_a_mounted_volume() {
        let tree = Tree::new();
        fs::remove_file(tree.path.join("a.yaml")).expect("it was there");
        tree.write("..1/a.yaml", &pool("one", ""));
        switch("..1", &tree.path.join("..data"));
        symlink("..data/a.yaml", tree.path.join("a.yaml")).expect("a link");
        let mut source = tree.source();
        assert_eq!(declared(&read(&mut source).await), names(&["one"]));
        for n in 2..5 {
            tree.write(&format!("..{n}/a.yaml"), &pool(&format!("v{n}"), ""));
            switch(&format!("..{n}"), &tree.path.join("..data"));
            fs::remove_dir_all(tree.path.join(format!("..{}", n - 1))).expect("it was there");
            becomes(&mut source, &[&format!("v{n}")]).await;
        }
    }

    #[tokio::test]
    async fn git_sync_switches_a_link() {
        let tree = Tree::new();
        let link = tree.path.join("current");
        tree.write("trees/1/lab/a.yaml", &pool("one", ""));
        switch("trees/1", &link);
        let mut source = FolderSource::new(link.join("lab"), None);
        assert_eq!(declared(&read(&mut source).await), names(&["one"]));
        for n in 2..5 {
            tree.write(&format!("trees/{n}/lab/a.yaml"), &pool(&format!("v{n}"), ""));
            switch(&format!("trees/{n}"), &link);
            becomes(&mut source, &[&format!("v{n}")]).await;
            // What the link leads to now is watched, and what it led to is not.
            tree.write(&format!("trees/{n}/lab/b.yaml"), &pool("more", ""));
            becomes(&mut source, &[&format!("v{n}"), "more"]).await;
            tree.write(&format!("trees/{}/lab/c.yaml", n - 1), &pool("old", ""));
            quiet(&mut source).await;
        }
    }
}

#[tokio::test]
async fn a_folder_without_events_is_polled() {
    let tree = Tree::new();
    let mut source = FolderSource::polled(tree.path.clone(), None, Duration::from_millis(100));
    read(&mut source).await;
    quiet(&mut source).await;
    tree.write("b.yaml", &pool("b", ""));
    becomes(&mut source, &["a", "b"]).await;
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place() {
    let tree = Tree::new();
    let mut source = tree.source();
    let good = read(&mut source).await;
    tree.write("a.yaml", &pool("a", "").replace("comment", "coment").replace("kind: Pool", "kind: Pol"));
    tree.write("b.yaml", &pool("b", "").replace("comment", "coment"));
    timeout(LONG, source.changed()).await.expect("a sign");
    let bad = broken(source.read().await);
    assert_eq!(bad.message, "2 errors in the manifests");
    assert_ne!(bad.revision.expect("it came that far").id, good.revision.id);
    let text = bad.diagnostics.join("\n");
    assert!(text.contains("b.yaml:5:") && text.contains("did you mean `comment`?"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour: {text}");
    fs::remove_file(tree.path.join("b.yaml")).expect("it was there");
    tree.write("a.yaml", &pool("a", ""));
    timeout(LONG, source.changed()).await.expect("a sign");
    assert_eq!(read(&mut source).await.revision, good.revision);
}

#[tokio::test]
async fn nothing_declared_is_never_in_force() {
    let tree = Tree::new();
    tree.write("a.yaml", "# a template that came out empty\n");
    let mut source = tree.source();
    assert_eq!(broken(source.read().await).message, "the manifests declare nothing");
    // A volume that is not mounted yet.
    fs::remove_file(tree.path.join("a.yaml")).expect("it was there");
    let empty = broken(source.read().await);
    assert!(empty.diagnostics.concat().contains("no manifests in"), "{empty:?}");
    tree.write("a.yaml", &pool("a", ""));
    becomes(&mut source, &["a"]).await;
    let mut file = FolderSource::new(tree.path.join("a.yaml"), None);
    assert!(broken(file.read().await).message.ends_with("is no folder"));
}

#[tokio::test]
async fn a_part_of_a_tree_is_refused() {
    let tree = Tree::new();
    tree.write("pvectl.yaml", "set: lab\n");
    tree.write("sub/b.yaml", &pool("b", ""));
    assert_eq!(read(&mut tree.source()).await.desired.set, "lab");
    let given = FolderSource::new(tree.path.clone(), Some("other".to_owned())).read().await.map(|r| r.desired.set);
    assert_eq!(given.ok().as_deref(), Some("other"));
    let mut part = FolderSource::new(tree.path.join("sub"), None);
    let refused = broken(part.read().await);
    assert!(refused.message.contains("is only a part of the tree"), "{}", refused.message);
    tree.write("sub/pvectl.yaml", "set: sub\n");
    assert_eq!(read(&mut part).await.desired.set, "sub", "a tree of its own");
}

/// A file that is written in halves is never read as its half, unless its writer slept for as long as between two saves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_save_is_never_in_force() {
    let tree = Tree::new();
    let stop = Arc::new(AtomicBool::new(false));
    // How long the half of each save stood there: on a busy machine longer than was meant.
    let halves = Arc::new(Mutex::new(Vec::new()));
    let (path, stopped, told) = (tree.path.join("a.yaml"), stop.clone(), halves.clone());
    let whole = |n: &str| pool("a", n) + &pool("b", n);
    fs::write(&path, whole("0")).expect("a file");
    let writer = std::thread::spawn(move || {
        for n in 0.. {
            let begun = Instant::now();
            fs::write(&path, pool("a", &format!("save {n}."))).expect("a file");
            std::thread::sleep(Duration::from_millis(8));
            fs::write(&path, whole(&format!("save {n}."))).expect("a file");
            told.lock().expect("no panic").push(begun.elapsed());
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_millis(8));
        }
    });
    let mut watched = tree.source();
    let mut polled = FolderSource::polled(tree.path.clone(), None, Duration::from_millis(50));
    for source in [&mut watched, &mut polled] {
        let Ok(reading) = source.read().await else { continue };
        if declared(&reading) != names(&["a", "b"]) {
            let text = reading.loaded.sources.text(0);
            let n = text.split_once("save ").and_then(|(_, rest)| rest.split_once('.')).expect("a number").0;
            let n: usize = n.parse().expect("a number");
            while halves.lock().expect("no panic").len() <= n {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let stood = halves.lock().expect("no panic")[n];
            // Times of files tick a few milliseconds apart.
            assert!(stood >= Duration::from_millis(40), "half of save {n} was read, which stood for {stood:?}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("it ends");
    for source in [&mut watched, &mut polled] {
        timeout(LONG, source.changed()).await.expect("a sign");
        assert_eq!(declared(&read(source).await), names(&["a", "b"]));
    }
}
