//! The GitHub wire: runners, jobs, scale sets. What a plan asks of GitHub travels as a request whose path begins with
//! `/github/` ([`operation::Operation`]); the hub turns it into GitHub's own requests and keeps what these need (tokens,
//! entity tags, the rest of a budget). This room starts no process and knows no kind; secrets come by
//! [`wire::Secrets`] when they are used.

pub mod place;

pub mod runner;

pub mod demand;

pub mod operation;

pub mod wire;

pub mod address;

pub mod webhook;

mod fault;

pub mod budget;

mod jwt;

mod tags;

mod line;

mod account;

mod registry;

mod tenant;

mod message;

mod scale_set;

pub mod ear;

pub(crate) mod book;

mod polled;

pub mod hub;

pub mod http;
