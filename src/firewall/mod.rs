//! Proxmox VE's firewall as a pure function: rules, address sets, aliases and options in; what becomes of a packet, and
//! which rule decided, out. It knows neither kinds nor requests; the order of evaluation is that of pve-firewall
//! (`PVE::Firewall`, chains `tapNiM-IN`, `tapNiM-OUT` and `GROUP-…`).

pub mod address;
pub mod traffic;

pub mod macros;
pub mod rule;

pub mod scene;

pub mod evaluate;
pub mod host;
