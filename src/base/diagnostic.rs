//! What is wrong with an input, where, and what to do: collected, never thrown. Rendering is [`render`], in rustc's shape.

use crate::base::source::{Sources, Span};

/// A place, and what is to be said under it.
type Place = (Span, String);

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is sent to the cluster while there is one of these.
    Error,
    /// Shown, and the run goes on.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// A stable word for tests and searches, such as `unknown-field`.
    pub code: &'static str,
    /// What is wrong: a lowercase fragment without a full stop.
    pub message: String,
    /// The place, and what is to be said right under it.
    pub primary: Option<(Span, String)>,
    /// Other places that explain the first (the first of two duplicates, say).
    pub related: Vec<(Span, String)>,
    /// What to do next.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error without a place yet.
    pub fn error(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code,
            message: message.into(),
            primary: None,
            related: Vec::new(),
            help: None,
        }
    }

    /// A warning without a place yet.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message) }
    }

    /// The same at a place, with a label under it.
    pub fn at(self, span: Span, label: impl Into<String>) -> Diagnostic {
        Diagnostic { primary: Some((span, label.into())), ..self }
    }

    /// The same with another place that explains it.
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Diagnostic {
        self.related.push((span, label.into()));
        self
    }

    /// The same with advice.
    pub fn help(self, help: impl Into<String>) -> Diagnostic {
        Diagnostic { help: Some(help.into()), ..self }
    }
}

/// Whether any of them is an error.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|d| d.severity == Severity::Error)
}

/// Text of one diagnostic, as rustc shows its own; with colour when `colour`.
pub fn render(diagnostic: &Diagnostic, sources: &Sources, colour: bool) -> String {
    use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code)
        .elements(Vec::<Snippet<'_, annotate_snippets::Annotation<'_>>>::new());
    let places = diagnostic.primary.iter().map(|p| (p, true)).chain(diagnostic.related.iter().map(|r| (r, false)));
    let mut by_source: Vec<(u32, Vec<(&Place, bool)>)> = Vec::new();
    for (place, primary) in places {
        match by_source.iter_mut().find(|(source, _)| *source == place.0.source) {
            Some((_, list)) => list.push((place, primary)),
            None => by_source.push((place.0.source, vec![(place, primary)])),
        }
    }
    for (source, list) in by_source {
        let text = sources.text(source);
        let mut snippet = Snippet::source(text).path(sources.name(source)).fold(true);
        for ((span, label), primary) in list {
            let kind = if primary { AnnotationKind::Primary } else { AnnotationKind::Context };
            snippet = snippet.annotation(kind.span(clamp(text, *span)).label(label.as_str()));
        }
        group = group.element(snippet);
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// The span as a byte range inside `text` on character boundaries, never empty unless the text is.
fn clamp(text: &str, span: Span) -> std::ops::Range<usize> {
    let mut start = (span.start as usize).min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = (span.end as usize).clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

/// The candidate nearest to `word` by edit distance, if near enough to be a typo: for "did you mean".
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|c| (distance(&word.to_lowercase(), &c.to_lowercase()), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, c)| (*d, *c))
        .map(|(_, c)| c)
}

/// Edit distance with neighbours swapped counted as one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (row[j - 1] + 1).min(rows[i - 1][j] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_find_their_word_and_strangers_do_not() {
        assert_eq!(nearest("corse", ["cores", "sockets"]), Some("cores"));
        assert_eq!(nearest("Memory", ["memory"]), Some("memory"));
        assert_eq!(nearest("xyz", ["cores", "sockets"]), None);
    }

    #[test]
    fn a_diagnostic_underlines_its_place() {
        let mut sources = Sources::default();
        let source = sources.add("a.yaml", "spec:\n  corse: 2\n");
        let d = Diagnostic::error("unknown-field", "unknown field `corse`")
            .at(Span { source, start: 8, end: 13 }, "not a field of `hardware`")
            .help("did you mean `cores`?");
        let text = render(&d, &sources, false);
        assert!(
            text.contains("a.yaml:2:3") && text.contains("^^^^^ not a field") && text.contains("help: did you mean"),
            "{text}"
        );
    }
}
