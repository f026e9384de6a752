//! Network profiles: what a guest's network is, by name. A profile has no object of its own on the cluster: it becomes a
//! security group, address sets, and the network options of the guests that name it.

pub mod spec;

pub mod ports;

pub mod peer;

pub mod compile;
