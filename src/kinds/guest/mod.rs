//! What `VirtualMachine`, `Container` and `GuestTemplate` share: the parts of their specs, the table that maps manifest
//! fields to PVE's options with its normal forms, and the plan of a guest. Values only.

pub mod spec;

pub mod board;
pub mod cloud_init;
pub mod devices;
pub mod firewall;
pub mod networks;
pub mod volumes;

pub mod form;
pub mod table;
mod table_ct;
mod table_vm;

pub mod mapping;

pub mod compose;
pub mod create;
pub mod desired;
pub mod export;
pub mod fit;
pub mod hand;
pub mod observed;
pub mod plan;
pub mod rights;
pub mod room;
pub mod update;
pub mod values;
pub mod words;
