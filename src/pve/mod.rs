//! The Proxmox wire: what is asked, how it is sent, what can go wrong, and the texts that PVE packs values into.
//! Starts no process. Only the configuration and the command line name [`http`]; everything else takes a `&dyn Api`.

pub mod api;
pub mod error;
pub mod http;
pub mod networks_lock;
pub mod property;
pub mod request;
pub mod upid;
