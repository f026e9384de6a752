//! `pvectl run`: when to reconcile. Sources say what should be, signs of the cluster say where to look, the queue says what
//! is next; the engine does it. What may enter: time through the clock, the cluster through `Api`, files through `source`,
//! processes only in `source::git`, the network only in `http` and `notice`. Everything that decides is pure and is handed
//! `now`.

pub mod record;

pub mod config;

pub mod shared;

pub mod source;

pub mod standing;

pub mod health;
pub mod history;

pub mod metrics;

pub mod http;

pub mod queue;

pub mod signs;

pub mod meter;

pub mod pace;

pub mod rota;

pub mod cache;

pub mod drift;

pub mod proposal;

pub mod look;

pub mod windows;

pub mod runners;

pub mod github;

pub mod listen;

pub mod suspend;

pub mod work;

pub mod run;

pub mod store;

pub mod notice;

pub mod report;

pub mod ears;

pub mod systemd;
