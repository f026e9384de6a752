//! Text with a name, and places in it. A [`Span`] is meaningless without the [`Sources`] it was cut from.

use std::sync::Arc;

/// A half-open range of bytes in one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Index of the text in [`Sources`].
    pub source: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// All texts of a run, in the order in which they were read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    texts: Vec<(Arc<str>, Arc<str>)>,
}

impl Sources {
    /// Adds a text under its name (a path as the user wrote it, or `<stdin>`); returns its index for [`Span::source`].
    pub fn add(&mut self, name: &str, text: &str) -> u32 {
        self.texts.push((name.into(), text.into()));
        u32::try_from(self.texts.len() - 1).expect("fewer than four billion manifests")
    }

    /// The name of a source.
    pub fn name(&self, source: u32) -> &str {
        &self.texts[source as usize].0
    }

    /// The whole text of a source.
    pub fn text(&self, source: u32) -> &str {
        &self.texts[source as usize].1
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Line and column (both from 1, columns in characters) of a span's start.
    pub fn line_column(&self, span: Span) -> (usize, usize) {
        let text = self.text(span.source);
        let mut start = (span.start as usize).min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &text[..start];
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }

    /// `name:line` of a span, as errors quote it.
    pub fn place(&self, span: Span) -> String {
        format!("{}:{}", self.name(span.source), self.line_column(span).0)
    }
}
