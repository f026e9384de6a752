//! Text to trees with places, by `granit-parser`'s events. Reading goes on after a broken document at the next `---`, so
//! one pass reports every broken document of a file. All bounds are here, each with its reason.

use crate::base::diagnostic::{Diagnostic, nearest};
use crate::base::source::Span;
use crate::manifest::anchors::{Anchors, Refusal};
use crate::manifest::tag;
use crate::manifest::tree::{Key, Node, NodeValue, Style};
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, StructureStyle};
use std::collections::{HashMap, HashSet};

/// The largest file that is read: a hundred thousand guests fit, and a disk image given by mistake does not.
pub const FILE_BYTES_MAX: usize = 64 << 20;
/// How deep collections may nest, with aliases expanded: far deeper than any kind, and safe to walk by recursion.
pub const DEPTH_MAX: usize = 128;
/// How much the anchors and aliases of one document may add up to (in [`Node::weight`]).
pub const ALIAS_WEIGHT_DOCUMENT_MAX: usize = 100_000;
/// The same for all documents of a file.
pub const ALIAS_WEIGHT_FILE_MAX: usize = 1_000_000;
/// Diagnostics after which the rest of a file is not read: nobody reads more.
pub const DIAGNOSTICS_MAX: usize = 100;

const TAB_HELP: &str = "YAML indents with spaces only: replace the tab by spaces";

/// Reads all documents of a text that stands in [`crate::base::source::Sources`] as `source`. Empty documents and
/// documents of comments alone are left out.
pub fn read(source: u32, text: &str) -> (Vec<Node>, Vec<Diagnostic>) {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes, and at most {FILE_BYTES_MAX} are read", text.len());
        let place = Span { source, start: 0, end: 0 };
        return (Vec::new(), vec![Diagnostic::error("file-too-large", message).at(place, "not read")]);
    }
    let mut reader = Reader::new(source, text);
    let mut start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    while let Some(failed_at) = reader.read_from(start) {
        match next_document(text, failed_at) {
            Some(next) if reader.diagnostics.len() < DIAGNOSTICS_MAX => start = next,
            Some(_) | None => break,
        }
    }
    (reader.documents, reader.diagnostics)
}

/// The first `---` at the beginning of a line strictly behind `from`. It always separates documents: neither quoted text
/// nor blocks may hold it.
fn next_document(text: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += text.get(at..)?.find("\n---")? + 1;
        let rest = &text[at + 3..];
        if rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']) {
            return Some(at);
        }
    }
}

/// A collection that is still open.
struct Frame {
    span: Span,
    style: StructureStyle,
    anchor: usize,
    content: Content,
}

/// A mapping that is still open.
#[derive(Default)]
struct Fields {
    entries: Vec<(Key, Node)>,
    seen: HashMap<String, Span>,
    /// The key whose value comes next.
    key: Option<Key>,
    role: Role,
    /// The value of `<<`.
    merged: Option<Node>,
    merge_key: Option<Span>,
}

/// What becomes of the next value of a mapping.
#[derive(Clone, Copy, Default)]
enum Role {
    #[default]
    Field,
    Merge,
    Duplicate,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping(Fields),
}

struct Reader<'a> {
    source: u32,
    text: &'a str,
    documents: Vec<Node>,
    diagnostics: Vec<Diagnostic>,
    stack: Vec<Frame>,
    anchors: Anchors,
    root: Option<Node>,
}

impl<'a> Reader<'a> {
    fn new(source: u32, text: &'a str) -> Reader<'a> {
        Reader {
            source,
            text,
            documents: Vec::new(),
            diagnostics: Vec::new(),
            stack: Vec::new(),
            anchors: Anchors::default(),
            root: None,
        }
    }

    /// Reads documents from a byte on; answers where the document begins that could not be read, if one could not.
    fn read_from(&mut self, start: usize) -> Option<usize> {
        let mut options = granit_parser::Options::default();
        options.set_emit_comments(false);
        options.emit_unresolved_aliases = true;
        options.emit_anchor_events = true;
        options.flow_nesting_limit = DEPTH_MAX;
        options.block_nesting_limit = DEPTH_MAX;
        let mut boundary = start;
        self.begin_document();
        for next in Parser::new_from_str_with_options(&self.text[start..], options) {
            let (event, span) = match next {
                Ok((event, span)) => (event, self.span(start, span)),
                Err(error) => {
                    self.syntax_error(start, &error);
                    return Some(boundary);
                }
            };
            if matches!(event, Event::DocumentStart(..) | Event::DocumentEnd) {
                boundary = span.end as usize;
            }
            if !self.take(event, span) || self.diagnostics.len() >= DIAGNOSTICS_MAX {
                return Some(boundary);
            }
        }
        None
    }

    fn begin_document(&mut self) {
        self.stack.clear();
        self.anchors.begin_document();
        self.root = None;
    }

    fn span(&self, offset: usize, span: granit_parser::Span) -> Span {
        let range = span.byte_range().unwrap_or(0..0);
        self.bytes(offset + range.start, offset + range.end)
    }

    fn bytes(&self, start: usize, end: usize) -> Span {
        // A text has at most FILE_BYTES_MAX bytes, which fits.
        let fit = |at: usize| u32::try_from(at.min(self.text.len())).unwrap_or(u32::MAX);
        Span { source: self.source, start: fit(start), end: fit(end.max(start)) }
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Takes one event; `false` if this document must be given up.
    fn take(&mut self, event: Event<'_>, span: Span) -> bool {
        match event {
            Event::DocumentStart(..) => self.begin_document(),
            Event::DocumentEnd => {
                if let Some(root) = self.root.take()
                    && root.value != NodeValue::Null
                {
                    self.documents.push(root);
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                if self.expects_key() && self.leading_tab(span) {
                    self.report(
                        Diagnostic::error("tab-indentation", "a tab in the indentation").at(span, "").help(TAB_HELP),
                    );
                }
                if self.expects_key() {
                    self.key(text.into_owned(), style, anchor, span);
                } else {
                    let node =
                        Node { span, value: tag::scalar(&text, style, tag.as_deref(), span, &mut self.diagnostics) };
                    self.anchors.define(anchor, &node);
                    self.place(node);
                }
            }
            Event::SequenceStart(style, anchor, tag) => {
                tag::collection(tag.as_deref(), "seq", span, &mut self.diagnostics);
                return self.open(Frame { span, style, anchor, content: Content::Sequence(Vec::new()) });
            }
            Event::MappingStart(style, anchor, tag) => {
                tag::collection(tag.as_deref(), "map", span, &mut self.diagnostics);
                let content = Content::Mapping(Fields::default());
                return self.open(Frame { span, style, anchor, content });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(id) => return self.alias(id, span),
            Event::UnresolvedAlias(name) => {
                let diagnostic =
                    Diagnostic::error("unknown-anchor", format!("there is no anchor `&{name}` before this"));
                let near = nearest(&name, self.anchors.names.iter().map(String::as_str))
                    .map(|n| format!("did you mean `*{n}`?"));
                let help = near.unwrap_or_else(|| "anchors hold within their own document only".to_owned());
                self.report(diagnostic.at(span, "").help(help));
                self.place(Node { span, value: NodeValue::Null });
            }
            Event::Anchor(_, name) => self.anchors.names.push(name.into_owned()),
            // Stream marks, and whatever a later parser adds as presentation.
            Event::StreamStart | Event::StreamEnd | Event::Comment(..) | _ => {}
        }
        true
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { content: Content::Mapping(Fields { key: None, .. }), .. }))
    }

    /// Whether the line of a block mapping's key begins with a tab among its blanks (the parser lets some pass).
    fn leading_tab(&self, span: Span) -> bool {
        // In flow style a whole file may be one line: looking back at each key would take quadratic time.
        if self.stack.last().is_some_and(|f| f.style == StructureStyle::Flow) {
            return false;
        }
        let before = self.text.as_bytes().get(..span.start as usize).unwrap_or(&[]);
        let line = before.iter().rposition(|b| matches!(b, b'\n' | b'\r')).map_or(0, |i| i + 1);
        before[line..].iter().take_while(|b| matches!(b, b' ' | b'\t')).any(|b| *b == b'\t')
    }

    fn key(&mut self, text: String, style: ScalarStyle, anchor: usize, span: Span) {
        let merge = text == "<<" && style == ScalarStyle::Plain;
        if anchor != 0 {
            let value = NodeValue::String(text.clone(), Style::Quoted);
            self.anchors.define(anchor, &Node { span, value });
        }
        let Some(Frame { content: Content::Mapping(fields), .. }) = self.stack.last_mut() else { return };
        let first = if merge { fields.merge_key.replace(span) } else { fields.seen.get(&text).copied() };
        fields.key = Some(Key { text: text.clone(), span });
        fields.role = if merge { Role::Merge } else { Role::Field };
        match first {
            None if merge => {}
            None => {
                fields.seen.insert(text, span);
            }
            Some(first) => {
                fields.role = Role::Duplicate;
                self.report(
                    Diagnostic::error("duplicate-key", format!("the key `{text}` stands here twice"))
                        .at(span, "again here")
                        .also(first, "first here")
                        .help("keep one of the two"),
                );
            }
        }
    }

    fn open(&mut self, frame: Frame) -> bool {
        if self.expects_key() {
            self.report(
                Diagnostic::error("complex-key", "a list or a mapping cannot be a key")
                    .at(frame.span, "")
                    .help("a template such as `{{ name }}` must stand in quotes"),
            );
            return false;
        }
        if self.stack.len() >= DEPTH_MAX {
            self.report(too_deep(frame.span));
            return false;
        }
        self.stack.push(frame);
        true
    }

    fn close(&mut self, end: Span) {
        let Some(Frame { span, style, anchor, content }) = self.stack.pop() else { return };
        let (value, last) = match content {
            Content::Sequence(items) => {
                let last = items.last().map(|n| n.span.end);
                (NodeValue::Sequence(items), last)
            }
            Content::Mapping(Fields { entries, merged, .. }) => {
                let last = entries.last().map(|(k, n)| k.span.end.max(n.span.end));
                let last = last.max(merged.as_ref().map(|n| n.span.end));
                (NodeValue::Mapping(self.merge(entries, merged)), last)
            }
        };
        // A block ends where its last value ends; the parser's event stands at the next token.
        let end = match style {
            StructureStyle::Flow => end.end,
            StructureStyle::Block => last.unwrap_or(span.end),
        };
        let node = Node { span: Span { end: end.max(span.start), ..span }, value };
        self.anchors.define(anchor, &node);
        self.place(node);
    }

    /// Adds what a merge key brings: keys that stand in the mapping itself win, then the first of a list.
    fn merge(&mut self, mut entries: Vec<(Key, Node)>, brought: Option<Node>) -> Vec<(Key, Node)> {
        let Some(brought) = brought else { return entries };
        let span = brought.span;
        let sources = if brought.as_sequence().is_none() { vec![brought] } else { items(brought) };
        let mut seen: HashSet<String> = entries.iter().map(|(key, _)| key.text.clone()).collect();
        for source in sources {
            if let NodeValue::Mapping(theirs) = source.value {
                entries.extend(theirs.into_iter().filter(|(key, _)| seen.insert(key.text.clone())));
            } else {
                self.report(
                    Diagnostic::error("merge-key", "only mappings can be merged by `<<`")
                        .at(span, "not a mapping, nor a list of mappings"),
                );
            }
        }
        entries
    }

    fn place(&mut self, node: Node) {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame { content: Content::Sequence(items), .. }) => items.push(node),
            Some(Frame { content: Content::Mapping(fields), .. }) => match (fields.key.take(), fields.role) {
                (Some(key), Role::Field) => fields.entries.push((key, node)),
                (Some(_), Role::Merge) => fields.merged = Some(node),
                (Some(_), Role::Duplicate) | (None, _) => {}
            },
        }
    }

    fn alias(&mut self, id: usize, span: Span) -> bool {
        if self.expects_key() {
            if let Some(text) = self.anchors.text(id).map(str::to_owned) {
                self.key(text, ScalarStyle::DoubleQuoted, 0, span);
                return true;
            }
            self.report(Diagnostic::error("complex-key", "this alias is not a text and cannot be a key").at(span, ""));
            return false;
        }
        let (value, refused) = match self.anchors.expand(id, DEPTH_MAX - self.stack.len()) {
            Ok(value) => (value, None),
            Err(Refusal::Loop) => {
                let diagnostic = Diagnostic::error("alias-loop", "an alias cannot stand inside its own anchor");
                (NodeValue::Null, Some(diagnostic.at(span, "refers to itself")))
            }
            Err(Refusal::TooDeep) => (NodeValue::Null, Some(too_deep(span))),
            Err(Refusal::Budget(origin)) => {
                let diagnostic = Diagnostic::error("alias-budget", "the aliases of this document expand to too much")
                    .at(span, format!("over the budget of {ALIAS_WEIGHT_DOCUMENT_MAX} values"))
                    .also(origin, "anchored here")
                    .help("write the values out, or split the document");
                (NodeValue::Null, Some(diagnostic))
            }
        };
        let go_on = refused.as_ref().is_none_or(|d| d.code == "alias-loop");
        self.diagnostics.extend(refused);
        self.place(Node { span, value });
        go_on
    }

    fn syntax_error(&mut self, offset: usize, error: &granit_parser::ScanError) {
        let at = offset + error.marker().byte_offset().unwrap_or(0);
        let end = self.text.get(at..).and_then(|t| t.chars().next()).map_or(at, |c| at + c.len_utf8());
        let span = self.bytes(at, end);
        if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
            self.report(too_deep(span));
            return;
        }
        let info = error.info();
        let message = format!("broken YAML: {}", info.lines().next().unwrap_or("unreadable"));
        if info.to_lowercase().contains("tab") {
            let tab = self.tab_near(at).map_or(span, |tab| self.bytes(tab, tab + 1));
            self.report(Diagnostic::error("tab-indentation", message).at(tab, "a tab").help(TAB_HELP));
            return;
        }
        let quote = matches!(error.kind(), ErrorKind::InvalidQuotedScalarIndent | ErrorKind::UnclosedQuotedScalar);
        let indentation = matches!(error.kind(), ErrorKind::ExpectedBlockMappingKey);
        let help = match (quote, indentation) {
            (true, _) => Some("is a closing quote missing?"),
            (_, true) => Some("the indentation of this line fits no line above it"),
            (false, false) => None,
        };
        let diagnostic = Diagnostic::error("yaml-syntax", message).at(span, "");
        self.report(Diagnostic { help: help.map(str::to_owned), ..diagnostic });
    }

    /// The tab that a complaint at a byte is about: the last one before it on its line, else the next one.
    fn tab_near(&self, at: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let before = bytes.get(..at)?.iter().rposition(|b| matches!(b, b'\t' | b'\n')).filter(|i| bytes[*i] == b'\t');
        before.or_else(|| bytes.get(at..)?.iter().position(|b| *b == b'\t').map(|i| at + i))
    }
}

fn items(node: Node) -> Vec<Node> {
    if let NodeValue::Sequence(items) = node.value { items } else { Vec::new() }
}

fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::error("too-deep", format!("nested deeper than {DEPTH_MAX} levels")).at(span, "one level too many")
}
