//! A plan for people.

use crate::plan::assemble::Plan;
use crate::resource::merge::Cause;
use crate::resource::step::{Action, Change, Delta, Note};
use anstyle::{AnsiColor, Style};
use similar::{ChangeTag, TextDiff};
use std::fmt::Write;

const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Unchanged lines shown around changed ones.
const CONTEXT_LINES: usize = 2;

/// Text in a style, or bare.
fn paint(style: Style, text: &str, colour: bool) -> String {
    if colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// One value, on one line. Control characters are shown, not sent: notes are written by strangers, too.
fn value(value: Option<&String>) -> String {
    match value {
        None => "(default)".into(),
        Some(text) if text.is_empty() => "(empty)".into(),
        Some(text) => visible(text),
    }
}

/// A text of strangers in one line: control characters are shown, not sent.
pub fn visible(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

fn change(change: &Change, action: Action, colour: bool) -> String {
    let Change { path, from, to, cause, impact } = change;
    let why = match (action, cause) {
        (Action::Create, Cause::Change) => String::new(),
        (_, cause) => format!("  [{}, {}]", cause.as_str(), impact.as_str()),
    };
    let why = paint(if *cause == Cause::Change { DIM } else { YELLOW }, &why, colour);
    let new = action == Action::Create && from.is_none();
    let sign = if new { paint(GREEN, "+", colour) } else { paint(YELLOW, "~", colour) };
    if from.iter().chain(to).any(|text| text.trim_end().contains('\n')) {
        let text = |side: &Option<String>| side.as_deref().unwrap_or_default().trim_end().to_owned();
        return format!("    {sign} {path}:{why}{}", lines(&text(from), &text(to), colour));
    }
    if new {
        return format!("    {sign} {path}: {}{why}", value(to.as_ref()));
    }
    // What a slot held is no default that came back.
    let removed = from.is_none() && *cause != Cause::Change && is_of_a_slot(path);
    let old = if removed { "(removed by hand)".to_owned() } else { value(from.as_ref()) };
    let old = paint(RED, &old, colour);
    let new = paint(GREEN, &value(to.as_ref()), colour);
    format!("    {sign} {path}: {old} → {new}{why}")
}

/// Whether a field is one of a slot's, such as `disks.scsi0.size`.
fn is_of_a_slot(path: &str) -> bool {
    let mut words = path.split('.');
    let slot = words.nth(1).is_some_and(|word| word.ends_with(|c: char| c.is_ascii_digit()));
    slot && words.next().is_some()
}

/// Two texts of several lines, as a unified diff: each line after a line's end.
fn lines(from: &str, to: &str, colour: bool) -> String {
    let diff = TextDiff::from_lines(from, to);
    let mut out = String::new();
    for (n, group) in diff.grouped_ops(CONTEXT_LINES).iter().enumerate() {
        if n > 0 {
            out.push_str(&format!("\n      {}", paint(DIM, "…", colour)));
        }
        for line in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (sign, style) = match line.tag() {
                ChangeTag::Equal => (' ', DIM),
                ChangeTag::Delete => ('-', RED),
                ChangeTag::Insert => ('+', GREEN),
            };
            let text = format!("{sign} {}", visible(line.value().trim_end_matches('\n')));
            out.push_str(&format!("\n      {}", paint(style, text.trim_end(), colour)));
        }
    }
    out
}

/// One resource of a plan; nothing for one that has nothing to say.
pub fn delta(delta: &Delta, colour: bool) -> String {
    let mut out = String::new();
    let notes: Vec<String> = delta.notes.iter().map(note).filter(|text| !text.is_empty()).collect();
    if delta.action == Action::NoOp && notes.is_empty() && delta.problems.is_empty() && delta.changes.is_empty() {
        return out;
    }
    let (sign, style) = match delta.action {
        Action::Create => ("+", GREEN),
        Action::Update => ("~", YELLOW),
        Action::Delete => ("-", RED),
        Action::NoOp if !delta.problems.is_empty() => ("!", RED),
        Action::NoOp => ("=", DIM),
    };
    let identity = delta.identity.as_ref().map(|i| format!("  {i}")).unwrap_or_default();
    let _ = writeln!(
        out,
        "  {} {}{}",
        paint(style, sign, colour),
        paint(BOLD, &delta.resource.to_string(), colour),
        paint(DIM, &identity, colour)
    );
    for c in &delta.changes {
        let _ = writeln!(out, "{}", change(c, delta.action, colour));
    }
    for step in &delta.steps {
        let _ = writeln!(
            out,
            "    {} {} {}",
            paint(DIM, "→", colour),
            step.title,
            paint(DIM, &format!("({})", step.impact.as_str()), colour)
        );
    }
    for text in notes {
        let _ = writeln!(out, "    {} {text}", paint(DIM, "·", colour));
    }
    for problem in &delta.problems {
        let _ = writeln!(out, "    {} {}", paint(RED, "!", colour), problem.message);
    }
    out
}

/// A note in words.
pub fn note(note: &Note) -> String {
    match note {
        Note::Waiting(resource) => format!("follows {resource}"),
        Note::Locked(lock) => format!("waits: PVE holds the lock `{lock}`"),
        Note::NodeOffline(node) => format!("left alone: node `{node}` does not answer"),
        Note::Unsettled(why) => format!("waits: {why}"),
        Note::Elsewhere { node, wanted } => {
            format!(
                "it is on `{node}`, and its manifest says {wanted}: left there; `update.migrate` may have it moved, or \
                 pvectl migrate"
            )
        }
        Note::Paused => "left alone: its manifest says pvectl/paused".into(),
        Note::RebootRequired(keys) => {
            format!("RebootRequired: takes effect at the next start: {}", keys.join(", "))
        }
        Note::Toothless(text) => format!("without effect: {text}"),
        Note::Fresh { late: Some(late), .. } => format!("too old: {late}"),
        // What is as it shall be is not told.
        Note::Fresh { late: None, .. } => String::new(),
        Note::Warning(text) => format!("warning: {text}"),
        Note::Info(text) => text.clone(),
    }
}

/// A whole plan, with a summary line.
pub fn plan(plan: &Plan, colour: bool) -> String {
    let mut out = String::new();
    for d in &plan.deltas {
        out.push_str(&delta(d, colour));
    }
    for orphan in &plan.orphans {
        let why =
            if orphan.retained { "kept by its deletion policy" } else { "no manifest declares it; --prune deletes it" };
        let _ = writeln!(out, "  {} {}  {} ({why})", paint(DIM, "?", colour), orphan.resource, orphan.identity);
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(&summary(plan));
    out.push('\n');
    out
}

/// `Plan: 2 to create, 1 to update, 0 to delete, 5 unchanged.`
pub fn summary(plan: &Plan) -> String {
    let refused = plan.deltas.iter().filter(|d| !d.problems.is_empty()).count();
    let count = |action| plan.deltas.iter().filter(|d| d.action == action && d.problems.is_empty()).count();
    format!(
        "Plan: {} to create, {} to update, {} to delete, {} unchanged{}.",
        count(Action::Create),
        count(Action::Update),
        count(Action::Delete),
        count(Action::NoOp),
        if refused > 0 { format!(", {refused} refused") } else { String::new() }
    )
}
