//! The imperative shell: observes, executes, follows tasks, and repeats until nothing is left to do. Decides nothing that the
//! plan has not decided.

pub mod door;
pub mod execute;
pub mod follow;
pub mod hand;
pub mod observe;
pub mod reconcile;
