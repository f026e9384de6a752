//! Manifests of a repository, fetched with the `git` of this machine: its keys, credential helpers and settings are the
//! ones that count. What it may do is narrow: one branch, one commit deep, without tags, submodules or hooks, never asking
//! anybody, within a time limit. Only `program` starts it; the rest says what is wanted, and everything that it prints has
//! passed `address`, so that no password leaves this folder.
//!
//! ```text
//! <stateFolder>/git/<name>/
//! ├── repository.git   one commit of the branch, as fetched; thrown away and fetched again after a failure
//! └── tree-…           `path` of the commit that was read last
//! ```

pub mod address;

mod program;

mod repository;

mod checkout;

pub mod pace;

pub mod source;
