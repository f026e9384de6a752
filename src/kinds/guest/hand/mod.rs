//! Guests by hand: start and stop, clone, migrate, snapshots and roll-back, backups as values. [`deed`] is what they share; each
//! of the others says what one group of deeds reads, what stands against it, and the one request that it is. A [`restore`] is
//! a hand of its own: the guest may not be there.

pub mod backup;
pub mod clone;
pub mod deed;
pub mod half_made;
pub mod losses;
pub mod migrate;
pub mod power;
pub mod put_back;
pub mod restore;
pub mod restore_checks;
pub mod snapshot;
pub mod snapshot_checks;
pub mod target;
pub mod whose;
