//! The command line: one file a group of verbs. The only room that opens configuration, prints and decides exit codes.

pub mod actions;
pub mod addresses;
pub mod adopt;
pub mod apply;
pub mod args;
pub mod bind;
pub mod delete;
pub mod diff;
pub mod ending;
pub mod exit;
pub mod fault;
pub mod fetch;
pub mod guests;
pub mod job;
pub mod live;
pub mod manifests;
pub mod output;
pub mod problems;
pub mod raw;
pub mod run;
pub mod saved;
pub mod session;
pub mod show;
pub mod simulate;
pub mod snapshots;
pub mod wait;
