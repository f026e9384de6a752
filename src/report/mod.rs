//! What happened and what is, for people and machines: events, plans as text, conditions. Pure.

pub mod event;
pub mod json;
pub mod status;
pub mod text;
