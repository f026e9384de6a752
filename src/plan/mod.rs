//! Across resources: which object each one is, what must be read, in which order steps go, what is pruned, and what a guard
//! refuses. Pure; never names a kind.

pub mod assemble;
pub mod batch;
pub mod desired;
pub mod gate;
pub mod identify;
pub mod rolling;
pub mod share;
