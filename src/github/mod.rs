//! The GitHub wire: runners, jobs, scale sets. What a plan asks of GitHub travels as a request whose path begins with
//! `/github/` ([`operation::Operation`]); the hub turns it into GitHub's own requests and keeps what these need (tokens,
//! entity tags, the rest of a budget). This room starts no process and knows no kind; secrets come by
//! [`wire::Secrets`] when they are used.

pub mod place;

pub mod runner;

pub mod demand;

pub mod operation;

pub mod wire;

pub mod webhook;

pub mod budget;

pub mod hub;
