//! The daemon over HTTP: health, metrics, an API of JSON, a small web page without scripts, GitHub's webhook. Reads the
//! state, asks the loop, and decides nothing itself. Loopback by default. Where it is read from: `site` holds what is served
//! and the routes, `gate` who may come in, `listen` the connections.

pub mod site;

pub mod gate;

pub mod listen;

pub mod health;

pub mod select;

pub mod api;

pub mod wish;

pub mod hook;

pub mod page;

pub mod windows;

pub mod runners;

pub mod words;

pub mod signed;

pub mod report;
