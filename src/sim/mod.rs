//! Proxmox VE in a box: an in-process, synchronous, deterministic core with virtual time, and thin shells around it.
//!
//! [`front::Sim`] is the door: [`crate::pve::api::Api`] in process, a virtual clock, faults on demand, and
//! [`serve::serve`] for real HTTPS. A request goes [`request::WireRequest`] → authentication → [`api::routes`] →
//! privileges → [`verify`] → an endpoint on [`ctx::Ctx`] → [`request::WireAnswer`]. All state is one [`world::World`],
//! which can be saved. The room knows the wire, not the kinds.

pub mod baseline;
pub mod front;
pub mod request;
pub mod world;

pub mod api;
pub mod ctx;
pub mod params;
pub mod rights;
pub mod router;
pub mod task;
pub mod verify;
pub mod volume;

pub mod inside;

pub mod github;

pub mod clock;
pub mod faults;
pub mod names;
pub mod serve;

#[cfg(test)]
mod conformance;

pub use front::{Sim, SimApi};
