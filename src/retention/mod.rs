//! What is kept and what may go: Proxmox's own prune rule, the floors on top of it, and the play of a policy over time.
//!
//! All of it is arithmetic on names and times. What a snapshot is, who made it and whether it may go at all is told by the
//! caller ([`judge::Item::held`]); what now is, too.

pub mod class;
pub mod period;

pub mod judge;

pub mod play;

#[cfg(test)]
mod tests;
