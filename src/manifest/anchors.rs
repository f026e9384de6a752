//! The anchors of a document, and the budget that keeps a short file from expanding into a long one.

use crate::base::source::Span;
use crate::manifest::read::{ALIAS_WEIGHT_DOCUMENT_MAX, ALIAS_WEIGHT_FILE_MAX};
use crate::manifest::tree::{Node, NodeValue};
use std::collections::HashMap;

/// Why an alias brings nothing.
pub(super) enum Refusal {
    /// It stands inside its own anchor.
    Loop,
    /// What it brings would nest too deeply.
    TooDeep,
    /// It would exceed the budget; its anchor stands here.
    Budget(Span),
}

struct Anchored {
    node: Node,
    weight: usize,
    depth: usize,
}

/// The anchors of the document being read.
#[derive(Default)]
pub(super) struct Anchors {
    by_id: HashMap<usize, Anchored>,
    /// Their names, for "did you mean".
    pub(super) names: Vec<String>,
    document_weight: usize,
    file_weight: usize,
}

impl Anchors {
    /// Forgets the anchors of the document before; the file's budget goes on.
    pub(super) fn begin_document(&mut self) {
        let file_weight = self.file_weight;
        *self = Anchors { file_weight, ..Anchors::default() };
    }

    /// Keeps an anchored value; 0 is no anchor. A value over the budget is not kept, and its first alias is refused.
    pub(super) fn define(&mut self, id: usize, node: &Node) {
        if id == 0 {
            return;
        }
        let (weight, depth) = (node.weight(), node.depth());
        let node = if self.spend(weight) { node.clone() } else { Node { span: node.span, value: NodeValue::Null } };
        self.by_id.insert(id, Anchored { node, weight, depth });
    }

    /// The anchored text, for an alias that is a key.
    pub(super) fn text(&self, id: usize) -> Option<&str> {
        self.by_id.get(&id)?.node.as_str()
    }

    /// The value of an alias that may be at most `depth_max` levels deep.
    pub(super) fn expand(&mut self, id: usize, depth_max: usize) -> Result<NodeValue, Refusal> {
        let Some(Anchored { node, weight, depth }) = self.by_id.get(&id) else { return Err(Refusal::Loop) };
        let (weight, origin) = (*weight, node.span);
        if *depth > depth_max {
            return Err(Refusal::TooDeep);
        }
        if !self.spend(weight) {
            return Err(Refusal::Budget(origin));
        }
        self.by_id.get(&id).map(|anchored| anchored.node.value.clone()).ok_or(Refusal::Loop)
    }

    fn spend(&mut self, weight: usize) -> bool {
        self.document_weight = self.document_weight.saturating_add(weight);
        self.file_weight = self.file_weight.saturating_add(weight);
        self.document_weight <= ALIAS_WEIGHT_DOCUMENT_MAX && self.file_weight <= ALIAS_WEIGHT_FILE_MAX
    }
}
