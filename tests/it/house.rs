//! The house rules as tests: who may name whom, what stays behind the fence, what files are called and how long they grow.
//! Each rule is a function from text to findings, so that a bad snippet can show that the rule is able to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Lines without tests above which a file is named in the output: it probably has two subjects.
const LINES_WANTED: usize = 400;
/// Lines without tests above which the test fails. Comes down to [`LINES_WANTED`] as files are split; never goes up.
const LINES_MAX: usize = 600;
/// Names that say nothing about what is inside. A file or folder of this name grows without end.
const EMPTY_NAMES: [&str; 13] = [
    "utils", "util", "helpers", "helper", "common", "misc", "manager", "handler", "service", "data", "info", "process",
    "prelude",
];

/// The files outside `host` that start a process.
const STARTERS: [&str; 2] = ["src/cli/command.rs", "src/daemon/source/git/program.rs"];

// ---- the rules -------------------------------------------------------------------------------------------------------

/// Which rooms a room may name, from the `arrows` table in the crate's documentation.
type Arrows = BTreeMap<String, BTreeSet<String>>;

fn arrows(lib: &str) -> Arrows {
    lib.lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .skip_while(|line| *line != "```arrows")
        .skip(1)
        .take_while(|line| *line != "```")
        .filter_map(|line| line.split_once(':'))
        .map(|(room, may)| (room.trim().to_owned(), may.split_whitespace().map(str::to_owned).collect()))
        .collect()
}

/// Rooms that the table does not allow, or does not know.
fn check_arrows(file: &str, text: &str, arrows: &Arrows) -> Vec<String> {
    let Some(room) = room(file) else { return Vec::new() };
    let Some(may) = arrows.get(room) else {
        return vec![format!("{file}: room `{room}` is not in the table of arrows in src/lib.rs")];
    };
    let named: BTreeSet<String> = paths("crate", without_tests(text)).into_iter().map(|path| first(&path)).collect();
    named
        .into_iter()
        .filter(|other| other != room && !may.contains(other))
        .map(|other| format!("{file}: `{room}` may not name `crate::{other}`"))
        .collect()
}

/// What only one place may touch: processes stay out of the wire, the real client stays with the command line.
fn check_fence(file: &str, text: &str) -> Vec<String> {
    let text = without_tests(text);
    let mut findings = Vec::new();
    if room(file) == Some("pve") {
        for root in ["std", "tokio"] {
            if paths(root, text).iter().any(|path| first(path) == "process") {
                findings.push(format!("{file}: the wire starts no process, but names `{root}::process`"));
            }
        }
    }
    // The one program that the command line runs tells a secret, the one of the daemon is git; what is done on hosts has a
    // room of its own.
    let may = room(file) == Some("host") || STARTERS.contains(&file);
    for path in ["std", "tokio"].iter().flat_map(|root| paths(root, text)) {
        let starts = path == "process" || path.starts_with("process::Command");
        if starts && !may && room(file) != Some("pve") {
            findings.push(format!("{file}: only `host` and {STARTERS:?} start a process, but it names `{path}`"));
        }
    }
    // Whoever may start processes on nodes speaks no HTTP, and opens no connection of its own.
    if room(file) == Some("host") {
        for root in ["std", "tokio"] {
            if paths(root, text).iter().any(|path| first(path) == "net") {
                findings.push(format!("{file}: `host` opens no connection, but names `{root}::net`"));
            }
        }
        for client in ["reqwest", "hyper", "hyper_util", "axum", "tokio_rustls", "rustls"] {
            if names(client, text) {
                findings.push(format!("{file}: `host` makes no HTTP call, but names `{client}`"));
            }
        }
    }
    if !matches!(room(file), Some("pve" | "config" | "cli") | None)
        && paths("crate", text).iter().any(|path| path == "pve::http" || path.starts_with("pve::http::"))
    {
        findings
            .push(format!("{file}: only the configuration and the command line name `pve::http`; take a `&dyn Api`"));
    }
    // The real way to GitHub is one of several; who plans or simulates takes a `Wire`.
    if !matches!(room(file), Some("github" | "cli" | "daemon") | None)
        && paths("crate", text).iter().any(|path| path == "github::http" || path.starts_with("github::http::"))
    {
        findings.push(format!("{file}: only the command line and the daemon name `github::http`; take a `&dyn Wire`"));
    }
    findings
}

/// Whether code names a crate: `use CRATE`, `CRATE::…`, `extern crate CRATE`.
fn names(root: &str, text: &str) -> bool {
    let whole = |line: &str, head: &str| {
        line.strip_prefix(head)
            .and_then(|rest| rest.strip_prefix(root))
            .is_some_and(|rest| rest.starts_with([';', ' ']))
    };
    !paths(root, text).is_empty()
        || text.lines().any(|line| whole(line.trim(), "use ") || whole(line.trim(), "extern crate "))
}

fn check_name(file: &str) -> Vec<String> {
    let path = Path::new(file).with_extension("");
    path.iter()
        .filter_map(|part| part.to_str())
        .filter(|part| EMPTY_NAMES.contains(part) || part.starts_with("do_"))
        .map(|part| format!("{file}: `{part}` says nothing; name the thing"))
        .collect()
}

fn check_doc(file: &str, text: &str) -> Vec<String> {
    if text.starts_with("//! ") { Vec::new() } else { vec![format!("{file}: no `//!` on the first line")] }
}

fn check_length(file: &str, text: &str, lines_max: usize) -> Vec<String> {
    let lines = without_tests(text).lines().count();
    if lines <= lines_max { Vec::new() } else { vec![format!("{file}: {lines} lines without tests, over {lines_max}")] }
}

/// Places that exist on one machine only have no business in what is shipped.
fn check_places(file: &str, text: &str) -> Vec<String> {
    let place = concat!("/wo", "rk/");
    text.lines()
        .enumerate()
        .filter(|(_, line)| line.contains(place))
        .map(|(number, line)| format!("{file}:{}: a path of one machine: {}", number + 1, line.trim()))
        .collect()
}

// ---- reading ---------------------------------------------------------------------------------------------------------

/// The room of `src/ROOM/…` or `src/ROOM.rs`; the roots `src/lib.rs` and `src/main.rs` are in none.
fn room(file: &str) -> Option<&str> {
    let inside = file.strip_prefix("src/")?;
    let room = inside.split_once('/').map_or_else(|| inside.trim_end_matches(".rs"), |(room, _)| room);
    (!matches!(room, "lib" | "main")).then_some(room)
}

/// The text before the `#[cfg(test)]` module at its end.
fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod ").map_or(text, |end| &text[..=end])
}

fn first(path: &str) -> String {
    path.split("::").next().unwrap_or_default().to_owned()
}

/// Every path after `ROOT::`, groups in braces opened out: `crate::{a::b, c}` gives `a::b` and `c`. Comments are skipped.
fn paths(root: &str, text: &str) -> Vec<String> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let needle = format!("{root}::");
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&needle) {
        let stands_alone = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$');
        if stands_alone {
            open(&code[at + needle.len()..], "", &mut found);
        }
    }
    found
}

/// Reads one use tree at the start of `rest`; returns what follows it.
fn open<'a>(rest: &'a str, prefix: &str, found: &mut Vec<String>) -> &'a str {
    let rest = rest.trim_start();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            inside = inside.trim_start().trim_start_matches(',').trim_start();
            if inside.is_empty() || inside.starts_with('}') {
                return inside.strip_prefix('}').unwrap_or(inside);
            }
            let before = inside.len();
            inside = open(inside, prefix, found);
            if let Some(renamed) = inside.trim_start().strip_prefix("as ") {
                inside = renamed.trim_start().trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
            }
            if inside.len() == before {
                return inside; // not a use tree after all
            }
        }
    }
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*')).unwrap_or(rest.len());
    let path = if prefix.is_empty() { rest[..end].to_owned() } else { format!("{prefix}::{}", &rest[..end]) };
    match rest[end..].strip_prefix("::") {
        Some(deeper) if !deeper.starts_with('<') => open(deeper, &path, found),
        Some(_) | None => {
            if end > 0 {
                found.push(path);
            }
            &rest[end..]
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `folder` with its path from the top of the project, in a fixed order. A folder that is not there has none.
fn files(folder: &str) -> Vec<(String, String)> {
    let top = root();
    let mut found = Vec::new();
    let mut open = vec![top.join(folder)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a folder of the project can be listed");
            open.extend(entries.map(|entry| entry.expect("an entry of a folder of the project").path()));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let file = path.strip_prefix(&top).expect("it was found under the top").to_string_lossy().into_owned();
            found.push((file, text));
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<(String, String)> {
    let found: Vec<_> = files("src").into_iter().filter(|(file, _)| file.ends_with(".rs")).collect();
    assert!(found.len() > 10, "the sources were not found");
    found
}

#[track_caller]
fn none(findings: impl IntoIterator<Item = String>) {
    let findings: Vec<String> = findings.into_iter().collect();
    assert!(findings.is_empty(), "house rules:\n  {}", findings.join("\n  "));
}

// ---- the rules on the project, each with the mutant that it must catch -----------------------------------------------

#[test]
fn rooms_name_only_what_the_arrows_allow() {
    let sources = rust_files();
    let lib = sources.iter().find(|(file, _)| file == "src/lib.rs").map(|(_, text)| text.as_str());
    let arrows = arrows(lib.expect("src/lib.rs"));
    assert!(arrows.contains_key("base") && arrows.contains_key("cli"), "the table of arrows was not found");
    none(sources.iter().flat_map(|(file, text)| check_arrows(file, text, &arrows)));
}

#[test]
fn mutant_arrows() {
    let arrows = arrows("//! ```arrows\n//! base:\n//! pve: base\n//! ```\n//! cli: base\n");
    assert_eq!(arrows.len(), 2);
    for bad in [
        "use crate::pve::api::Api;",
        "use crate::{base::id, pve::{request::Request, api as door}};",
        "fn f() { crate::pve::request::get(); }",
        "use crate::{\n    base,\n    pve,\n};",
        "mod tests_are_over {}\nuse crate::kinds::*;",
    ] {
        assert_eq!(check_arrows("src/base/id.rs", bad, &arrows).len(), 1, "{bad}");
    }
    assert_eq!(check_arrows("src/base.rs", "use crate::pve::Api;", &arrows).len(), 1);
    assert_eq!(check_arrows("src/attic/old.rs", "", &arrows).len(), 1, "a room outside the table");
    for good in [
        "use crate::base::id::VmId;",
        "use crate::{base::id::{VmId, NodeName as N}, pve::upid};",
        "//! see [`crate::cli`]\n",
        "fn f() {}\n#[cfg(test)]\nmod tests { use crate::cli::args; }",
        "$crate::cli::x",
    ] {
        assert_eq!(check_arrows("src/pve/api.rs", good, &arrows), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn the_fence_holds() {
    none(rust_files().iter().flat_map(|(file, text)| check_fence(file, text)));
}

#[test]
fn mutant_fence() {
    for bad in ["use std::process::Command;", "use std::{fs, process};", "tokio::process::Command::new(\"pvesh\")"] {
        assert_eq!(check_fence("src/pve/http.rs", bad).len(), 1, "{bad}");
    }
    assert_eq!(check_fence("src/engine/execute.rs", "use crate::pve::{api::Api, http::Client};").len(), 1);
    for bad in ["use std::process::{self, Command};", "tokio::process::Command::new(\"ssh\")"] {
        assert!(!check_fence("src/config/connect.rs", bad).is_empty(), "{bad}");
        assert!(check_fence("src/cli/command.rs", bad).is_empty() && check_fence("src/host/local.rs", bad).is_empty());
        for file in ["src/daemon/run.rs", "src/daemon/source/git/repository.rs", "src/daemon/source/folder.rs"] {
            assert!(!check_fence(file, bad).is_empty(), "{file}: {bad}");
        }
        assert!(check_fence("src/daemon/source/git/program.rs", bad).is_empty(), "{bad}");
    }
    for bad in [
        "use std::net::TcpStream;",
        "use std::{fs, net};",
        "tokio::net::TcpStream::connect(at)",
        "use reqwest::Client;",
        "use reqwest as web;",
        "extern crate hyper;",
        "use crate::pve::http::client::HttpApi;",
    ] {
        assert_eq!(check_fence("src/host/ssh.rs", bad).len(), 1, "{bad}");
    }
    for good in ["use crate::pve::request::Call;", "// no reqwest::Client here", "use crate::host::hyperbole::x;"] {
        assert_eq!(check_fence("src/host/ssh.rs", good), Vec::<String>::new(), "{good}");
    }
    for file in ["src/engine/door.rs", "src/sim/world.rs", "src/kinds/runner_pool/spec.rs"] {
        for bad in ["use crate::github::http::HttpWire;", "use crate::github::{http, hub::Hub};"] {
            assert_eq!(check_fence(file, bad).len(), 1, "{file}: {bad}");
        }
        assert!(check_fence(file, "use crate::github::hub::Hub;").is_empty(), "{file}");
    }
    assert!(check_fence("src/cli/github.rs", "use crate::github::http::HttpWire;").is_empty());
    assert!(check_fence("src/cli/run.rs", "use std::process::ExitCode; fn f() { std::process::exit(1) }").is_empty());
    assert!(check_fence("src/cli/mod.rs", "use std::process::ExitCode; use crate::pve::http::Client;").is_empty());
    assert!(check_fence("src/pve/http.rs", "use std::{fs, time}; // no std::process").is_empty());
}

#[test]
fn names_name_the_thing() {
    none(rust_files().iter().flat_map(|(file, _)| check_name(file)));
}

#[test]
fn mutant_names() {
    for bad in ["src/pve/utils.rs", "src/common/mod.rs", "src/cli/do_apply.rs", "src/engine/manager.rs"] {
        assert_eq!(check_name(bad).len(), 1, "{bad}");
    }
    assert!(check_name("src/kinds/virtual_machine/plan.rs").is_empty());
}

#[test]
fn every_file_says_what_it_owns() {
    none(rust_files().iter().flat_map(|(file, text)| check_doc(file, text)));
}

#[test]
fn mutant_doc() {
    for bad in ["use std::fmt;\n", "", "// not a module doc\n", "/// neither\nfn f() {}"] {
        assert_eq!(check_doc("src/pve/upid.rs", bad).len(), 1, "{bad}");
    }
    assert!(check_doc("src/pve/upid.rs", "//! Owns UPIDs.\n").is_empty());
}

#[test]
#[expect(clippy::print_stderr, reason = "long files are reported before they are an error")]
fn files_are_short() {
    let sources = rust_files();
    for finding in sources.iter().flat_map(|(file, text)| check_length(file, text, LINES_WANTED)) {
        eprintln!("{finding}");
    }
    none(sources.iter().flat_map(|(file, text)| check_length(file, text, LINES_MAX)));
}

#[test]
fn mutant_length() {
    let (code, tests) = ("fn f() {}\n".repeat(LINES_MAX), "#[test]\n".repeat(LINES_MAX));
    let fits = format!("{code}\n#[cfg(test)]\nmod tests {{\n{tests}}}\n");
    assert_eq!(check_length("src/x.rs", &format!("{code}fn g() {{}}\n"), LINES_MAX).len(), 1);
    assert_eq!(check_length("src/x.rs", &fits, LINES_MAX + 1), Vec::<String>::new(), "tests are not counted");
}

#[test]
fn nothing_names_a_place_on_one_machine() {
    let folders = [".ci", "examples", "manifests", "schemas", "src", "tests"];
    let tops = ["README.md", "CHANGELOG.md", "Cargo.toml", "deny.toml"];
    none(
        folders.iter().chain(&tops).flat_map(|place| files(place)).flat_map(|(file, text)| check_places(&file, &text)),
    );
}

#[test]
fn mutant_places() {
    let bad = concat!("# see /wo", "rk/notes.md");
    assert_eq!(check_places("README.md", bad).len(), 1);
    assert!(check_places("README.md", "network/interfaces, clockwork/ and /work-shop").is_empty());
}
