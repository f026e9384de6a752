//! The insides of guests and nodes: what is on their disks that a patch window cares for. Packages with a repository that brings
//! new versions as virtual time goes on, state files, and jobs that take virtual time and outlive whoever began them.
//!
//! What is on a disk is one [`disk::Disk`] a guest or node. A snapshot keeps it, a rollback brings it back, a clone copies it.
//! The processes of a job are no part of it: they end when the system goes down, and the state file goes on saying `running`.

pub mod disk;

pub mod packages;

mod system;

pub mod jobs;

pub mod runner;

mod deeds;

pub use disk::Trouble;
pub use system::Place;

use crate::sim::task::Effect;

/// What its tasks do.
pub const EFFECTS: &[Effect] =
    &[Effect { name: jobs::DUE, run: jobs::due }, Effect { name: jobs::KILLED, run: jobs::killed }];

#[cfg(test)]
mod tests;
