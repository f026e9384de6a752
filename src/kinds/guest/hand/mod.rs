//! Guests by hand: start and stop, clone, migrate, snapshots and roll-back as values. [`deed`] is what they share; each of
//! the others says what one group of deeds reads, what stands against it, and the one request that it is.

pub mod clone;
pub mod deed;
pub mod half_made;
pub mod migrate;
pub mod power;
pub mod snapshot;
pub mod snapshot_checks;
pub mod target;
