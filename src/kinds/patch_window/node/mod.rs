//! Nodes as targets of a window: their guests leave or stay as told, PVE's own `dist-upgrade` runs, the node reboots where it
//! must, and what was there comes back. How far it is stands on the node's disk and in the cluster.

pub mod seen;

pub mod decide;

pub mod deltas;
