//! Snapshot policies: what is due on each guest, and what the rule lets go. PVE holds no object for a policy; it is in force
//! while a manifest declares it, and what it did stands on the snapshots themselves.

pub mod spec;
