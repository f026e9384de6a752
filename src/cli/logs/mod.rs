//! `logs`: what a guest or a node says of itself, page by page, and on as it comes. A node's journal comes through the API, a
//! container's through the host link, a VM's through its agent; the logs of a guest's tasks are always there.

pub mod verb;

pub mod follow;

pub mod node;

pub mod inside;

pub mod tasks;
