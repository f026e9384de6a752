//! The command line: one file a group of verbs. The only room that opens configuration, prints and decides exit codes.

pub mod adopt;
pub mod annotations;
pub mod apply;
pub mod args;
pub mod bind;
pub mod delete;
pub mod diff;
pub mod ending;
pub mod exit;
pub mod expand;
pub mod fault;
pub mod fetch;
pub mod job;
pub mod live;
pub mod manifests;
pub mod output;
pub mod problems;
pub mod raw;
pub mod run;
pub mod saved;
pub mod selector;
pub mod session;
pub mod show;
pub mod simulate;
pub mod twice;
pub mod wait;
