//! A YAML tree in which every value and every key knows its place. Depth is bounded by the reader
//! ([`crate::manifest::read::DEPTH_MAX`]), so recursion over it is safe.

use crate::base::source::Span;
use serde_json::{Map, Number, Value};

/// A value at its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands. The value of an alias stands at the alias; what is inside it stands at the anchor.
    pub span: Span,
    /// What it is.
    pub value: NodeValue,
}

/// The seven shapes of YAML's core schema.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeValue {
    /// `null`, `~`, or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that fits `i64` or `u64`.
    Integer(i128),
    /// A finite number with a fraction or an exponent.
    Float(f64),
    /// Text.
    String(String, Style),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the order in which they stand; keys are unique.
    Mapping(Vec<(Key, Node)>),
}

/// How text was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes: it might have been meant as something else.
    Plain,
    /// In quotes, as a block, or tagged `!!str`: it was meant as text.
    Quoted,
}

/// A key at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// One step into a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathSegment {
    /// Into a mapping.
    Key(String),
    /// Into a sequence, from 0.
    Index(usize),
}

impl PathSegment {
    /// A path as errors write it, `egress.allow[0].to`, step by step.
    pub fn path(text: &str) -> Vec<PathSegment> {
        let words = text.split(['.', '[', ']']).filter(|w| !w.is_empty());
        words.map(|w| w.parse().map_or_else(|_| PathSegment::Key(w.to_owned()), PathSegment::Index)).collect()
    }
}

impl Node {
    /// An empty mapping at a place.
    pub fn empty_mapping(span: Span) -> Node {
        Node { span, value: NodeValue::Mapping(Vec::new()) }
    }

    /// The keys and values of a mapping.
    pub fn as_mapping(&self) -> Option<&[(Key, Node)]> {
        if let NodeValue::Mapping(entries) = &self.value { Some(entries) } else { None }
    }

    /// The items of a sequence.
    pub fn as_sequence(&self) -> Option<&[Node]> {
        if let NodeValue::Sequence(items) = &self.value { Some(items) } else { None }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        if let NodeValue::String(text, _) = &self.value { Some(text) } else { None }
    }

    /// Key and value of a field of a mapping.
    pub fn entry(&self, name: &str) -> Option<(&Key, &Node)> {
        self.as_mapping()?.iter().find(|(key, _)| key.text == name).map(|(key, node)| (key, node))
    }

    /// The value of a field of a mapping.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|(_, node)| node)
    }

    /// The value at a path; `None` if the path leads nowhere.
    pub fn at(&self, path: &[PathSegment]) -> Option<&Node> {
        path.iter().try_fold(self, |node, segment| match segment {
            PathSegment::Key(key) => node.get(key),
            PathSegment::Index(index) => node.as_sequence()?.get(*index),
        })
    }

    /// The place of the value at a path, or of the deepest value on the way to it that exists.
    pub fn place(&self, path: &[PathSegment]) -> Span {
        let deepest = (0..=path.len()).rev().find_map(|length| self.at(&path[..length]));
        deepest.map_or(self.span, |node| node.span)
    }

    /// The same value as JSON, without places.
    pub fn to_json(&self) -> Value {
        match &self.value {
            NodeValue::Null => Value::Null,
            NodeValue::Bool(value) => Value::Bool(*value),
            NodeValue::Integer(value) => number(*value),
            NodeValue::Float(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
            NodeValue::String(text, _) => Value::String(text.clone()),
            NodeValue::Sequence(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            NodeValue::Mapping(entries) => {
                let entries = entries.iter().map(|(key, node)| (key.text.clone(), node.to_json()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// Fills in from `defaults` what this value leaves out: mappings are merged at every depth, everything else stays
    /// as it is. What comes from the defaults keeps its own place.
    pub fn merge_defaults(&mut self, defaults: &Node) {
        let (NodeValue::Mapping(mine), NodeValue::Mapping(theirs)) = (&mut self.value, &defaults.value) else { return };
        for (key, value) in theirs {
            match mine.iter_mut().find(|(k, _)| k.text == key.text) {
                Some((_, own)) => own.merge_defaults(value),
                None => mine.push((key.clone(), value.clone())),
            }
        }
    }

    /// How many values and keys there are in this one, itself included; long text counts for more.
    pub fn weight(&self) -> usize {
        const BYTES_PER_UNIT: usize = 64;
        match &self.value {
            NodeValue::Null | NodeValue::Bool(_) | NodeValue::Integer(_) | NodeValue::Float(_) => 1,
            NodeValue::String(text, _) => 1 + text.len() / BYTES_PER_UNIT,
            NodeValue::Sequence(items) => 1 + items.iter().map(Node::weight).sum::<usize>(),
            NodeValue::Mapping(entries) => {
                1 + entries.iter().map(|(k, n)| 1 + k.text.len() / BYTES_PER_UNIT + n.weight()).sum::<usize>()
            }
        }
    }

    /// How many levels of collections there are: 0 for a scalar.
    pub fn depth(&self) -> usize {
        match &self.value {
            NodeValue::Null
            | NodeValue::Bool(_)
            | NodeValue::Integer(_)
            | NodeValue::Float(_)
            | NodeValue::String(..) => 0,
            NodeValue::Sequence(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            NodeValue::Mapping(entries) => 1 + entries.iter().map(|(_, n)| n.depth()).max().unwrap_or(0),
        }
    }
}

fn number(value: i128) -> Value {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(small), _) => Value::from(small),
        (_, Ok(large)) => Value::from(large),
        (Err(_), Err(_)) => Value::Null,
    }
}
