//! Manifests on the command line: reading, showing what is wrong with them, selecting by labels.

use crate::base::diagnostic::{Diagnostic, Severity, has_errors, render};
use crate::base::quantity::counted;
use crate::bind::documents::bind;
use crate::cli::args::{Global, Sources, Validate};
use crate::cli::exit;
use crate::cli::fetch;
use crate::cli::output::{self, Format};
use crate::cli::run::{Ended, Failure, colour_err, print};
use crate::cli::selector::{Selector, parse};
use crate::kinds::list::names;
use crate::manifest::document::Document;
use crate::manifest::load::{Input, Loaded, load};
use crate::plan::desired::{Desired, DesiredSet};
use crate::resource::reference::ResourceRef;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;

/// Standard input is read up to this many bytes.
const STDIN_BYTES_MAX: u64 = 64 << 20;

/// What messages call standard input.
const STDIN: &str = "<stdin>";

/// Manifests that were read and bound, with the texts that errors quote.
pub struct Tree {
    /// Texts and documents.
    pub loaded: Loaded,
    /// What they want.
    pub desired: DesiredSet,
    /// What `-l` selects, or what the given part of a tree holds; `None`: everything.
    pub only: Option<BTreeSet<ResourceRef>>,
}

/// Reads and binds; prints every diagnostic; fails if one is an error.
pub fn read(sources: &Sources) -> Result<Tree, Failure> {
    let (tree, _) = collect(sources)?;
    show(&tree.loaded.diagnostics, &tree.loaded);
    if has_errors(&tree.loaded.diagnostics) {
        let count = tree.loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
        return Err(Failure::new(
            exit::USAGE,
            format!("{} in the manifests; nothing was sent", counted(count, "error")),
        ));
    }
    something(&tree, sources)?;
    Ok(tree)
}

/// Nothing declared and nothing selected is a mistake made before us: a template that came out empty, a label misspelt. To
/// call that done would be a lie. What is pruned has a word of its own.
fn something(tree: &Tree, sources: &Sources) -> Result<(), Failure> {
    let failure = match (&sources.selector, &tree.only) {
        (Some(selector), Some(only)) if only.is_empty() && !tree.desired.resources.is_empty() => {
            Failure::new(exit::USAGE, format!("no manifest has the labels `{selector}`"))
                .hint("labels stand under metadata.labels; look at them with: grep -r labels")
        }
        _ if tree.desired.resources.is_empty() => Failure::new(exit::USAGE, "the manifests declare nothing")
            .hint("is the file empty, or all of it a comment? To delete what was declared: pvectl delete KIND NAME"),
        _ => return Ok(()),
    };
    Err(failure)
}

fn collect(sources: &Sources) -> Result<(Tree, usize), Failure> {
    if sources.files.is_empty() {
        return Err(Failure::new(exit::USAGE, "no manifests were named").hint("name a file or a folder: -f manifests/"));
    }
    let mut inputs = Vec::new();
    for file in &sources.files {
        if file == Path::new("-") {
            if inputs.iter().any(|i| matches!(i, Input::Text { name, .. } if name == STDIN)) {
                return Err(Failure::new(exit::USAGE, "standard input is named twice, and can be read once"));
            }
            let mut bytes = Vec::new();
            std::io::stdin()
                .lock()
                .take(STDIN_BYTES_MAX + 1)
                .read_to_end(&mut bytes)
                .map_err(|e| Failure::new(exit::USAGE, format!("standard input cannot be read: {e}")))?;
            inputs.push(Input::Text { name: STDIN.into(), bytes });
        } else if let Some(address) = fetch::address(file)? {
            inputs.push(Input::Text { bytes: fetch::fetch(&address)?, name: address.into() });
        } else {
            inputs.push(Input::Path(file.clone()));
        }
    }
    let kinds = names();
    let mut loaded = load(&inputs, sources.recursive, &kinds);
    let desired = bind(&mut loaded, sources.set.as_deref());
    let terms = sources.selector.as_deref().map(parse).transpose()?;
    let given: Option<BTreeSet<ResourceRef>> = loaded.given.as_ref().map(|given| {
        let named = |d: &&Document| match &d.member_of {
            Some(maker) => given.contains(maker),
            None => given.contains(&(d.kind.0.clone(), d.name.0.clone())),
        };
        loaded.documents.iter().filter(named).map(|d| ResourceRef::new(&d.kind.0, &d.name.0)).collect()
    });
    let chosen = |d: &&Desired| {
        given.as_ref().is_none_or(|g| g.contains(&d.resource))
            && terms.as_ref().is_none_or(|t: &Selector| t.selects(&d.labels))
    };
    let only = (given.is_some() || terms.is_some())
        .then(|| desired.resources.values().filter(chosen).map(|d| d.resource.clone()).collect());
    let documents = match &loaded.given {
        Some(given) => given.len(),
        None => loaded.documents.iter().filter(|d| d.member_of.is_none()).count(),
    };
    Ok((Tree { loaded, desired, only }, documents))
}

/// Prints diagnostics to stderr, errors first as they stand in the files.
pub fn show(diagnostics: &[Diagnostic], loaded: &Loaded) {
    let colour = colour_err();
    let mut err = anstream::stderr();
    for diagnostic in diagnostics {
        let _ = writeln!(err, "{}\n", render(diagnostic, &loaded.sources, colour));
    }
}

/// `validate`.
pub fn validate(global: &Global, args: &Validate) -> Ended {
    let (tree, documents) = collect(&args.sources)?;
    let diagnostics = &tree.loaded.diagnostics;
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    if let Some(Format::Value(form)) = &args.format.output {
        let list: Vec<_> = diagnostics.iter().map(|d| {
            let place = d.primary.as_ref().map(|(span, label)| {
                let (line, column) = tree.loaded.sources.line_column(*span);
                json!({"file": tree.loaded.sources.name(span.source), "line": line, "column": column, "label": label})
            });
            json!({"severity": if d.severity == Severity::Error { "error" } else { "warning" }, "code": d.code, "message": d.message, "place": place, "help": d.help})
        }).collect();
        print(&output::write(&json!({"documents": documents, "errors": errors, "diagnostics": list}), form)?);
    } else {
        show(diagnostics, &tree.loaded);
        if errors == 0 && !global.quiet {
            print(&format!(
                "{} valid\n",
                match documents {
                    1 => "1 document is".to_owned(),
                    n => format!("{n} documents are"),
                }
            ));
        }
    }
    if errors > 0 {
        return Err(Failure::new(exit::USAGE, format!("{} in the manifests", counted(errors, "error"))));
    }
    Ok(exit::DONE)
}
