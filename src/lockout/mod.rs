//! The way by which pvectl itself talks to PVE, and whether a plan would close it. A plan holds the calls, so that what the
//! firewall will be after it follows from what was read: each call is done to a copy of the answers.
//!
//! Only a way that is decided to be closed is refused. What was not read, or says what is not known here, decides nothing.

pub mod answers;
pub mod guard;
pub mod judge;
pub mod reads;
pub mod way;
