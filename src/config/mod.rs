//! Which cluster, as whom, trusting whom: from flags, the environment and contexts in a file. Says where each value came
//! from. [`resolve`](resolve::resolve) is pure; [`open`](connect::open) and [`connect`](connect::connect) read files.
//!
//! | place                                   | counts                                                    |
//! |-----------------------------------------|-----------------------------------------------------------|
//! | flags                                   | always first                                              |
//! | `PVECTL_*`                              | unless `--context` names a context                        |
//! | the context (`--context`, `PVECTL_CONTEXT`, `currentContext`) | next                                |
//! | `PROXMOX_VE_*`, the names of other tools | only when no context is in force: they were set for others |
//!
//! ```yaml
//! currentContext: home
//! contexts:
//!   home:
//!     endpoints: [https://pve1:8006, https://pve2:8006]
//!     auth:
//!       token: {id: root@pam!pvectl, secret: {file: home.token}}
//!     tls: {caFile: pve-root-ca.pem}
//!     link: {ssh: {privateKey: ~/.ssh/pvectl}}
//!   lab:
//!     endpoint: 192.168.1.10
//!     auth: {user: root, realm: pam, password: {env: LAB_PASSWORD}}
//!     tls: {fingerprint: "AB:CD:…"}
//! ```

pub mod file;

pub mod link;

pub mod resolve;

mod environment;

pub mod connect;

pub mod roots;

pub mod error;

pub mod disk;
#[cfg(test)]
mod tests;
