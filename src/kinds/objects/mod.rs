//! Objects of the datacenter, through one table. [`table`] holds a row for each kind: where its objects are listed, how they
//! are made, changed and deleted, and what their fields are called. A family's specs stand in a file of their own; a new
//! kind is a spec struct, a row, and an entry in the registry. What no row can say are the lists that some objects hold:
//! [`members`] of address sets, some of them [`followed`], and the [`rules`] of security groups.

pub mod object;
pub mod plan;
pub mod refuse;
pub mod row;
pub mod table;

pub mod access;
pub mod firewall;
pub mod network;
pub mod storage;
pub mod switches;
pub mod token;

pub mod content;
pub mod followed;
pub mod form;
pub mod members;
pub mod rules;
pub mod sdn;
