//! GitHub in a box: the part of GitHub that runner pools speak to, on the simulated cluster's time, in the same saved world.
//!
//! [`front::SimGitHub`] is the door: a [`crate::github::wire::Wire`]. A request goes through the faults that wait for it, then
//! [`rest`] (GitHub's REST API) or [`actions`] (the protocol of runner scale sets), and works on one [`state::GitHub`]. Jobs
//! are queued, handed to runners, run and end in virtual time ([`course`]); the runners are processes in the cluster's guests
//! ([`crate::sim::inside::runner`]). Any organisation, any repository and any token is one that GitHub knows.

pub mod front;
pub mod state;

mod actions;
pub(in crate::sim) mod course;
mod items;
pub(in crate::sim) mod rest;
mod sets;

mod exchange;
mod shapes;
mod words;

pub mod records;
pub mod webhook;

#[cfg(test)]
mod tests;
