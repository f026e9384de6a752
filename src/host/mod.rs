//! The host link: what PVE's API cannot do. A closed list of typed operations ([`operation::Operation`]), each with the reason
//! why it cannot be the API, and the transports that run them on a node. This room starts processes; it never makes an HTTP
//! call. What comes from outside goes into a command line only as a [`token::Token`], everything else by standard input.

pub mod token;

pub mod job;

pub mod state;

pub mod program;

pub mod fed;

pub mod mounts;

pub mod journal;

pub mod health;

pub mod runner;

pub mod operation;

pub mod list;

pub mod command;

pub mod tools;

pub mod link;

mod child;

pub mod local;

pub mod ssh;

pub mod guest;

pub mod ways;

pub mod gate;
