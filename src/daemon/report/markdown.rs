//! For wikis, pull requests and the summary of a CI job: GitHub's Markdown, one table.

use crate::daemon::report::findings::{Findings, value};
use crate::report::text::visible;

/// The report.
pub fn write(findings: &Findings<'_>) -> String {
    let lasting = findings.lasting();
    let mut out = format!("# Drift\n\n{}\n", findings.summary());
    if !lasting.is_empty() {
        let timed = lasting.iter().any(|drift| findings.since(drift).is_some());
        out.push_str("\n| Source | Object | Field | Cluster | Manifest |");
        out.push_str(if timed { " Since | By |\n" } else { "\n" });
        out.push_str("|---|---|---|---|---|");
        out.push_str(if timed { "---|---|\n" } else { "\n" });
    }
    for drift in &lasting {
        for field in &drift.fields {
            let object = plain(&format!("{}/{}", drift.kind, drift.name));
            let (from, to) = (code(&value(field.from.as_ref())), code(&value(field.to.as_ref())));
            let source = plain(&drift.source);
            out.push_str(&format!("| {source} | {object} | {} | {from} | {to} |", code(&visible(&field.path))));
            if let Some(since) = findings.since(drift) {
                let by = drift.by.as_ref().map_or_else(|| "–".to_owned(), |by| code(&visible(&by.user)));
                out.push_str(&format!(" {since} | {by} |"));
            }
            out.push('\n');
        }
    }
    let unseen = findings.unseen();
    if !unseen.is_empty() {
        out.push_str("\nNot compared:\n\n");
    }
    for object in unseen {
        let why = code(&visible(object.error.as_deref().unwrap_or_default()));
        let name = plain(&format!("{}/{}", object.kind, object.name));
        out.push_str(&format!("- {name} ({}): {why}\n", plain(&object.source)));
    }
    out
}

/// Text in which nothing has a meaning.
pub fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '&' => "&amp;".to_owned(),
        c if r"\`*_{}[]#|~!@".contains(c) => format!("\\{c}"),
        c => c.to_string(),
    };
    visible(text).chars().map(shown).collect()
}

/// Text as code: fenced by more backticks than stand in it. A `|` ends a cell even there, unless it is escaped.
pub fn code(text: &str) -> String {
    let runs = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(runs + 1);
    let room = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{room}{}{room}{fence}", text.replace('|', "\\|"))
}
