//! The command line: one file a group of verbs. The only room that opens configuration, prints and decides exit codes.

pub mod apply;
pub mod args;
pub mod bind;
pub mod exit;
pub mod live;
pub mod manifests;
pub mod raw;
pub mod run;
pub mod saved;
pub mod session;
pub mod show;
pub mod simulate;
pub mod wait;
