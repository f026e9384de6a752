//! The contract between kinds and everything else: what a kind is, what it may say (queries, changes, steps), the index of
//! the cluster, the ownership marker and the three-way merge. Values only: nothing here talks.

pub mod addresses;
pub mod hand;
pub mod index;
pub mod interfaces;
pub mod kind;
pub mod marker;
pub mod merge;
pub mod observation;
pub mod privilege;
pub mod reference;
pub mod step;
