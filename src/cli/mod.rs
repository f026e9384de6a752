//! The command line: one file a group of verbs. The only room that opens configuration, prints and decides exit codes.

pub mod args;
pub mod exit;
pub mod session;
pub mod bind;
pub mod live;
pub mod run;
pub mod manifests;
pub mod apply;
pub mod saved;
pub mod show;
pub mod raw;
pub mod wait;
pub mod simulate;
