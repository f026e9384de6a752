//! What `VirtualMachine`, `Container` and `GuestTemplate` share: the parts of their specs, the table that maps manifest
//! fields to PVE's options with its normal forms, and the plan of a guest. Values only.

pub mod file;
pub mod from;
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
pub mod ha;
pub mod hand;
pub mod moving;
pub mod observed;
pub mod plan;
pub mod precheck;
pub mod restore;
pub mod rights;
pub mod room;
pub mod rules;
pub mod said;
pub mod update;
pub mod values;
pub mod versions;
pub mod words;
