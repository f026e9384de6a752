//! Files and folders to documents: the only place that opens manifests.

use crate::base::diagnostic::Diagnostic;
use crate::base::source::{Sources, Span};
use crate::manifest::document::{Document, duplicates, unpacked};
use crate::manifest::read::{FILE_BYTES_MAX, read};
use crate::manifest::settings::{FILE_NAME, TreeSettings};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest number of files of one run: more is a folder given by mistake.
pub const FILES_MAX: usize = 20_000;
/// How deep folders are walked.
pub const FOLDER_DEPTH_MAX: usize = 64;

/// Where manifests come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file, or a folder of files.
    Path(PathBuf),
    /// A text that somebody else read, such as standard input.
    Text {
        /// What diagnostics call it.
        name: String,
        /// The text as it came.
        bytes: Vec<u8>,
    },
}

/// What was read, and all that is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// All texts: what spans point into.
    pub sources: Sources,
    /// The documents in the order of inputs, files and text, with the tree's defaults merged under their specs.
    pub documents: Vec<Document>,
    /// `pvectl.yaml` of a given folder.
    pub settings: Option<TreeSettings>,
    /// The settings come from a folder above what was given: only a part of the tree was named. The rest of it was read
    /// too, since references lead there and numbers are taken there.
    pub partial: bool,
    /// With `partial`: kind and name of the documents that were named.
    pub given: Option<BTreeSet<(String, String)>>,
    /// Everything found.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads all inputs; folders with their subfolders if `recursive`. `kinds` are the known kinds. Nothing stops at an error.
pub fn load(inputs: &[Input], recursive: bool, kinds: &[&str]) -> Loaded {
    let mut loader = Loader::new(kinds);
    for input in inputs {
        match input {
            Input::Text { name, bytes } => {
                let documents = loader.text(name, bytes);
                loader.loaded.documents.extend(documents);
            }
            Input::Path(path) => loader.path(path, recursive),
        }
    }
    loader.rest_of_trees();
    let Loader { mut loaded, .. } = loader;
    let twice = duplicates(&loaded.documents);
    loaded.diagnostics.extend(twice);
    loaded
}

/// The manifests of a folder and its subfolders, in the order in which [`load`] reads them, and why some are not listed.
pub(super) fn files(folder: &Path) -> (Vec<PathBuf>, Vec<Diagnostic>) {
    let mut loader = Loader::new(&[]);
    let mut files = Vec::new();
    loader.walk(folder, true, &mut Vec::new(), &mut files);
    (files, loader.loaded.diagnostics)
}

/// The bytes of a file, and not more than one beyond what is read of a manifest.
pub(super) fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

struct Loader<'a> {
    loaded: Loaded,
    kinds: &'a [&'a str],
    settings_span: Option<Span>,
    /// Settings that were read, by their file.
    roots: BTreeMap<PathBuf, Option<TreeSettings>>,
    /// The real paths of the manifests that were read.
    read: BTreeSet<PathBuf>,
    /// Folders whose settings hold for something in them that was given.
    above: BTreeSet<PathBuf>,
    files: usize,
}

impl Loader<'_> {
    fn new<'a>(kinds: &'a [&'a str]) -> Loader<'a> {
        Loader {
            loaded: Loaded::default(),
            kinds,
            settings_span: None,
            roots: BTreeMap::new(),
            read: BTreeSet::new(),
            above: BTreeSet::new(),
            files: 0,
        }
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.loaded.diagnostics.push(diagnostic);
    }

    fn path(&mut self, path: &Path, recursive: bool) {
        match fs::metadata(path) {
            Err(error) => self.unreadable(path, &error),
            Ok(metadata) if metadata.is_dir() => self.folder(path, recursive),
            Ok(_) if path.file_name().is_some_and(|name| name == FILE_NAME) => {
                self.settings(path);
            }
            Ok(_) => {
                let settings = path.parent().and_then(|folder| self.settings_above(folder));
                self.documents(path, settings.as_ref());
            }
        }
    }

    /// The documents of one file, with the tree's defaults merged under their specs.
    fn documents(&mut self, path: &Path, settings: Option<&TreeSettings>) {
        // A file that is given twice, by itself and by its folder, stands once.
        if !self.read.insert(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())) {
            return;
        }
        let mut documents = self.file(path);
        for document in &mut documents {
            if let Some(defaults) = settings.and_then(|s| s.defaults.get(&document.kind.0)) {
                document.spec.merge_defaults(defaults);
            }
        }
        self.loaded.documents.extend(documents);
    }

    /// The settings of the tree that a file or folder is a part of: the nearest `pvectl.yaml` in a folder above, up to the
    /// root of a git work tree. Otherwise one file of a tree would belong to another set than the tree.
    fn settings_above(&mut self, folder: &Path) -> Option<TreeSettings> {
        let real = fs::canonicalize(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }).ok()?;
        for above in real.ancestors().take(FOLDER_DEPTH_MAX) {
            let candidate = above.join(FILE_NAME);
            if candidate.is_file() {
                self.loaded.partial = true;
                self.above.insert(above.to_owned());
                return self.settings(&candidate);
            }
            if above.join(".git").exists() {
                break;
            }
        }
        None
    }

    /// Reads what was not given of the trees that something given is a part of.
    fn rest_of_trees(&mut self) {
        if self.above.is_empty() {
            return;
        }
        let name = |d: &Document| (d.kind.0.clone(), d.name.0.clone());
        self.loaded.given = Some(self.loaded.documents.iter().map(name).collect());
        for root in std::mem::take(&mut self.above) {
            let mut files = Vec::new();
            self.walk(&root, true, &mut Vec::new(), &mut files);
            let settings_file = root.join(FILE_NAME);
            let settings = self.settings(&settings_file);
            // A folder with settings of its own is a tree of its own.
            let others: Vec<PathBuf> = files
                .iter()
                .filter(|f| **f != settings_file && f.file_name().is_some_and(|n| n == FILE_NAME))
                .filter_map(|f| f.parent().map(Path::to_owned))
                .collect();
            for file in files {
                let here = file != settings_file && !others.iter().any(|other| file.starts_with(other));
                if here && !self.read.contains(&file) {
                    self.documents(&shown(&file), settings.as_ref());
                }
            }
        }
    }

    fn unreadable(&mut self, path: &Path, error: &std::io::Error) {
        let (code, what) = if error.kind() == std::io::ErrorKind::NotFound {
            ("missing-file", "there is no file or folder".to_owned())
        } else {
            ("unreadable-file", format!("cannot read ({error})"))
        };
        self.report(Diagnostic::error(code, format!("{what} `{}`", path.display())));
    }

    fn folder(&mut self, folder: &Path, recursive: bool) {
        let mut files = Vec::new();
        let mut trail = Vec::new();
        self.walk(folder, recursive, &mut trail, &mut files);
        let root_settings = folder.join(FILE_NAME);
        let settings = match files.contains(&root_settings) {
            true => self.settings(&root_settings),
            false => self.settings_above(folder),
        };
        files.retain(|file| *file != root_settings);
        if files.is_empty() {
            let message = format!("no manifests in `{}`", folder.display());
            let depth = if recursive { "" } else { "; subfolders are read with --recursive" };
            let help = format!("manifests are files named *.yaml, *.yml or *.json{depth}");
            self.report(Diagnostic::error("empty-folder", message).help(help));
        }
        for file in files {
            self.documents(&file, settings.as_ref());
        }
    }

    /// Collects the manifests of a folder, sorted by path. `trail` has the real paths of the folders above: a link that
    /// leads back into them is a loop.
    fn walk(&mut self, folder: &Path, recursive: bool, trail: &mut Vec<PathBuf>, files: &mut Vec<PathBuf>) {
        let entries = match fs::canonicalize(folder).and_then(|real| fs::read_dir(folder).map(|e| (real, e))) {
            Ok((real, _)) if trail.contains(&real) || trail.len() >= FOLDER_DEPTH_MAX => return,
            Ok((real, entries)) => {
                trail.push(real);
                entries
            }
            Err(error) => return self.unreadable(folder, &error),
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|e| e.path())).collect();
        paths.sort();
        for path in paths {
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if hidden {
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() && recursive => self.walk(&path, recursive, trail, files),
                Ok(metadata) if metadata.is_file() && is_manifest(&path) => {
                    self.files += 1;
                    match self.files.cmp(&(FILES_MAX + 1)) {
                        std::cmp::Ordering::Less => files.push(path),
                        std::cmp::Ordering::Equal => {
                            let message = format!("more than {FILES_MAX} manifests; the rest is not read");
                            self.report(Diagnostic::error("too-many-files", message));
                        }
                        std::cmp::Ordering::Greater => {}
                    }
                }
                Err(error) if is_manifest(&path) => self.unreadable(&path, &error),
                Ok(_) | Err(_) => {}
            }
        }
        trail.pop();
    }

    fn bytes(&mut self, path: &Path) -> Option<Vec<u8>> {
        bytes(path).map_err(|error| self.unreadable(path, &error)).ok()
    }

    fn file(&mut self, path: &Path) -> Vec<Document> {
        let Some(bytes) = self.bytes(path) else { return Vec::new() };
        let name = path.display().to_string();
        if path.file_name().is_some_and(|n| n == FILE_NAME) {
            let message = format!("`{name}` counts only at the root of a given folder");
            self.report(Diagnostic::error("misplaced-settings", message));
            return Vec::new();
        }
        self.text(&name, &bytes)
    }

    fn settings(&mut self, path: &Path) -> Option<TreeSettings> {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if let Some(known) = self.roots.get(&real) {
            return known.clone();
        }
        let settings = self.read_settings(path);
        self.roots.insert(real, settings.clone());
        settings
    }

    fn read_settings(&mut self, path: &Path) -> Option<TreeSettings> {
        let bytes = self.bytes(path)?;
        let (source, nodes) = self.nodes(&path.display().to_string(), &bytes);
        if let Some(extra) = nodes.get(1) {
            let message = format!("`{FILE_NAME}` has one document only");
            self.report(Diagnostic::error("misplaced-settings", message).at(extra.span, "a second one"));
        }
        let place = nodes.first().map_or(Span { source, start: 0, end: 0 }, |n| n.span);
        if let Some(first) = self.settings_span.replace(place) {
            let message = format!("two `{FILE_NAME}` are given, and a run has one set and one context");
            self.report(Diagnostic::error("duplicate-settings", message).at(place, "").also(first, "first here"));
        }
        let settings = nodes.first().map(|node| {
            let (settings, diagnostics) = TreeSettings::from_node(node, self.kinds);
            self.loaded.diagnostics.extend(diagnostics);
            settings
        });
        if self.loaded.settings.is_none() {
            self.loaded.settings.clone_from(&settings);
        }
        settings
    }

    fn text(&mut self, name: &str, bytes: &[u8]) -> Vec<Document> {
        let (_, nodes) = self.nodes(name, bytes);
        let mut documents = Vec::new();
        for node in &nodes {
            for node in unpacked(node, &mut self.loaded.diagnostics) {
                let (document, diagnostics) = Document::from_node(node, self.kinds);
                documents.extend(document);
                self.loaded.diagnostics.extend(diagnostics);
            }
        }
        documents
    }

    fn nodes(&mut self, name: &str, bytes: &[u8]) -> (u32, Vec<crate::manifest::tree::Node>) {
        let text = String::from_utf8_lossy(bytes);
        let source = self.loaded.sources.add(name, if bytes.len() > FILE_BYTES_MAX { "" } else { &text });
        if let Err(error) = std::str::from_utf8(bytes)
            && bytes.len() <= FILE_BYTES_MAX
        {
            let start = u32::try_from(error.valid_up_to()).unwrap_or(u32::MAX);
            let utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
            let help = if utf16 { "this looks like UTF-16: save it as UTF-8" } else { "save the file as UTF-8" };
            let span = Span { source, start, end: start };
            self.report(
                Diagnostic::error("not-utf8", "the file is not UTF-8").at(span, "the first such byte").help(help),
            );
            return (source, Vec::new());
        }
        let (nodes, diagnostics) = read(source, &text);
        self.loaded.diagnostics.extend(diagnostics);
        (source, nodes)
    }
}

/// A path as people know it: below the working folder where it is there.
fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().and_then(fs::canonicalize);
    here.ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned)).unwrap_or_else(|| path.to_owned())
}

fn is_manifest(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| matches!(e, "yaml" | "yml" | "json"))
}
