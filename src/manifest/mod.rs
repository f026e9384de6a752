//! Text to documents with spans, and the checks that need no knowledge of a kind: the only opener of manifest files.
//!
//! Everything is collected: a reader returns what it understood and the diagnostics beside it.

pub mod tree;

pub mod scalar;

mod tag;

mod anchors;

pub mod read;

pub mod document;

pub mod settings;

pub mod load;

pub mod digest;

pub mod schema;

pub mod branch;

pub mod mismatch;

pub mod decode;

pub mod explain;

#[cfg(test)]
mod cases;

#[cfg(test)]
mod laws;
