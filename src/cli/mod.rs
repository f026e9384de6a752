//! The command line: what a kubectl user's fingers know. Arguments, then one file a verb, then an exit code.

pub mod args;
pub mod exit;
