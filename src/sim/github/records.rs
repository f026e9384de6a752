//! What was asked of GitHub, for tests: all of it in short, and of each sort of exchange some in full.

use crate::github::wire::{Request, Response};
use std::collections::BTreeMap;

/// As many exchanges of one sort as are kept in full.
const OF_A_SORT: usize = 4;

/// A request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// `GET`, `POST`, ….
    pub method: &'static str,
    /// All of it, with its query.
    pub url: String,
    /// Headers but `Authorization`.
    pub headers: Vec<(String, String)>,
    /// What was sent.
    pub body: Option<String>,
    /// The status of the answer.
    pub status: u16,
    /// The answer's headers.
    pub answer_headers: Vec<(String, String)>,
    /// The answer.
    pub answer: Vec<u8>,
}

/// What was asked of GitHub.
#[derive(Clone, Debug, Default)]
pub struct Records {
    log: Vec<(&'static str, String)>,
    sorts: BTreeMap<String, Vec<Exchange>>,
}

impl Records {
    /// Notes that a request was sent, whatever becomes of it.
    pub(super) fn sent(&mut self, request: &Request) {
        self.log.push((request.method, request.url.clone()));
    }

    /// Keeps an exchange, if there are not enough of its sort.
    pub(super) fn keep(&mut self, request: &Request, response: &Response) {
        let path = request.url.split('?').next().unwrap_or_default();
        let plain =
            |part: &str| if part.contains(|c: char| c.is_ascii_digit()) { "#".to_owned() } else { part.to_owned() };
        let path: Vec<String> = path.split('/').map(plain).collect();
        let sort = format!("{} {} {}", request.method, response.status, path.join("/"));
        let kept = self.sorts.entry(sort).or_default();
        if kept.len() < OF_A_SORT {
            kept.push(Exchange {
                method: request.method,
                url: request.url.clone(),
                headers: request.headers.clone(),
                body: request.body.clone(),
                status: response.status,
                answer_headers: response.headers.clone(),
                answer: response.body.clone(),
            });
        }
    }

    /// Method and address of every request.
    pub fn log(&self) -> &[(&'static str, String)] {
        &self.log
    }

    /// The exchanges that were kept.
    pub fn kept(&self) -> impl Iterator<Item = &Exchange> {
        self.sorts.values().flatten()
    }
}
