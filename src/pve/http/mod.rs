//! The real Proxmox VE API over HTTPS, named by the configuration and the command line only.
//!
//! Reading order: [`endpoint`] (where), [`auth`] (who), [`tls`] (whom we trust), [`limits`] (how much at once),
//! [`client`] (the [`Api`](crate::pve::api::Api) itself: fail-over, repeats), `login` (tickets), `answer` (what PVE says),
//! `cause` (why nothing was said). Invariant: a write is sent at most once; only a read, or a request that certainly never
//! left, is repeated.
//!
//! Proxies: `HTTPS_PROXY` and `NO_PROXY` are honoured as reqwest does by default, except that a loopback endpoint never goes
//! through a proxy.

pub mod endpoint;

pub mod auth;

pub mod tls;

pub mod limits;

pub mod client;

mod login;

mod answer;

mod cause;

#[cfg(test)]
mod tests;
