//! What `VirtualMachine`, `Container` and `GuestTemplate` share: the parts of their specs, the mapping between manifest
//! fields and PVE's options with its normal forms, and the plan of a guest. Values only.

pub mod compose;
pub mod desired;
pub mod export;
pub mod fit;
pub mod hand;
pub mod mapping;
pub mod observed;
pub mod plan;
pub mod rights;
pub mod spec;
pub mod values;
