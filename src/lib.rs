//! pvectl: a Kubernetes-style declarative reconciler for Proxmox VE.
//!
//! One way for everything: **manifests → desired → observed → plan → steps → verified**. Kinds speak in values, the
//! planner is pure, one small interpreter talks; everything else is a thin shell.
//!
//! ```text
//! text ──parse──▶ Document ──decode──▶ Desired ─┐                          (pure)
//!                                               ├─identify─▶ Identity       (pure)
//! GET /cluster/resources, … ───────▶ Index ─────┘     │
//!                                                     ▼ reads (values)
//! GETs ────────────────────────────▶ Observation ──decode──▶ Observed       (I/O, then pure)
//!                                                     │
//!        Desired × last applied × Observed ──plan──▶ Plan { Delta { changes, steps }, notes }   (pure)
//!                                                     ▼
//!                   Step ──send──▶ answer | UPID ──follow──▶ Outcome        (I/O, one place)
//!                                                     ▼
//!                   Report ──render──▶ text | json                          (pure)
//! ```
//!
//! Promises, each held by a test:
//!
//! 1. **Kinds never do I/O.** They return queries as values and decode answers.
//! 2. **A plan contains the calls.** VMIDs and nodes are allotted by the planner in a fixed order; every write that can
//!    carries what it expects (PVE's `digest`).
//! 3. **Observe is two rounds**: the index (a fixed handful of GETs shared by all kinds), then each kind's reads.
//! 4. **apply = diff + interpreter.**
//! 5. **Position is derived from observation, never from memory.**
//!
//! # Arrows: what each room may name
//!
//! `tests/` reads this table (`room: may use …`) and holds every `use crate::…` against it.
//!
//! ```arrows
//! base:
//! manifest: base
//! firewall: base
//! dns: base
//! schedule: base
//! retention: base schedule
//! secret_files: base
//! pve: base
//! host: base pve
//! github: base pve
//! config: base pve host
//! resource: base pve manifest
//! kinds: base schedule retention pve host github firewall resource
//! lockout: base pve firewall resource
//! plan: base pve resource lockout
//! bind: base manifest firewall resource kinds plan
//! report: base pve resource plan
//! engine: base pve host github resource lockout plan report
//! sim: base pve host github
//! daemon: base schedule retention manifest config pve host github resource kinds lockout plan bind report engine
//! cli: base schedule retention manifest config pve host github firewall dns secret_files resource kinds lockout plan bind report engine sim daemon
//! ```

pub mod base;
pub mod manifest;
pub mod pve;

pub mod host;

pub mod github;

pub mod firewall;

pub mod dns;

pub mod schedule;

pub mod retention;

pub mod secret_files;

pub mod config;

pub mod resource;

pub mod kinds;

pub mod lockout;

pub mod plan;

pub mod bind;

pub mod report;

pub mod engine;

pub mod sim;

pub mod daemon;

pub mod cli;
