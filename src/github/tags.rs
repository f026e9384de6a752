//! What lists looked like the last time, by GitHub's entity tags: a list that has not changed costs nothing of the budget.

use crate::github::wire::Response;
use std::collections::BTreeMap;

/// Answers that are remembered.
const ANSWERS_MAX: usize = 2_000;
/// A larger one is not.
const BYTES_MAX: usize = 2 << 20;
/// One that nobody asked for in so long is forgotten.
const AGE_MS_MAX: u64 = 3_600_000;

/// Answers by who asked what where.
#[derive(Default)]
pub(super) struct Tags(BTreeMap<(String, String), Kept>);

struct Kept {
    tag: String,
    body: Vec<u8>,
    at_ms: u64,
}

impl Tags {
    fn key(api: &str, asked: &str) -> (String, String) {
        (api.to_owned(), asked.to_owned())
    }

    /// The tag to ask with.
    pub(super) fn tag(&self, api: &str, asked: &str) -> Option<String> {
        self.0.get(&Tags::key(api, asked)).map(|kept| kept.tag.clone())
    }

    /// The answer that has not changed.
    pub(super) fn body(&self, api: &str, asked: &str) -> Option<Response> {
        let kept = self.0.get(&Tags::key(api, asked))?;
        Some(Response { status: 200, headers: Vec::new(), body: kept.body.clone() })
    }

    /// Remembers an answer, if it has a tag.
    pub(super) fn keep(&mut self, api: &str, asked: &str, response: &Response, now_ms: u64) {
        let key = Tags::key(api, asked);
        let Some(tag) = response.header("etag").filter(|_| response.body.len() <= BYTES_MAX) else {
            self.0.remove(&key);
            return;
        };
        if self.0.len() >= ANSWERS_MAX {
            self.0.retain(|_, kept| now_ms.saturating_sub(kept.at_ms) < AGE_MS_MAX);
        }
        if self.0.len() < ANSWERS_MAX || self.0.contains_key(&key) {
            self.0.insert(key, Kept { tag: tag.to_owned(), body: response.body.clone(), at_ms: now_ms });
        }
    }
}
