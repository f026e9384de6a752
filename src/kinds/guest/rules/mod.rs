//! Rule sets: what a guest should be, whoever owns it. A rule reads one thing, wants something of it, and says why; nothing
//! here changes a guest. Values only: what must be asked is returned as queries and calls, and the answers are decoded.

pub mod checks;
pub mod evaluate;
pub mod inside;
pub mod rule;
pub mod sets;
pub mod snapshots;
pub mod want;
