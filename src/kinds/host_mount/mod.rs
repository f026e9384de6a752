//! File systems of a node, mounted by their UUID: a systemd mount unit that carries our marker in a comment ([`seen`]), and a
//! storage on top of it. PVE's API mounts nothing that has data, so this goes through the host link.

pub mod spec;

pub mod place;

pub mod seen;

pub mod storage;

pub mod plan;

pub mod kind;
