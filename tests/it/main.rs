//! The integration tests, one binary: the house rules, the laws over all kinds, the fault matrix, the numbers of requests,
//! and the command line through the real program.

mod house;

mod runner_pools;
mod windows;
mod world;

mod corpus;

mod laws;
mod node_health;
mod objects;

mod backups;
mod tokens;

mod faults;

mod fleet;

mod scale;

mod sets;
mod shell;

mod github;
mod goldens;

mod cli;

mod user;

mod remote;

mod refusals;

mod hands;
mod host_mount;

mod snapshot_verbs;

mod apidoc;
mod openapi;
mod sim_job;

mod guests;

mod checks;

mod field;

mod change;
mod covered;
mod daemon;
mod packets;
mod patch_verbs;
mod sources;

mod followed;
mod link_ct;
mod lockout;
mod origins;
mod repositories;

mod network;
mod runners;
mod sdn;

mod browser;
mod daemon_runners;
mod daemon_verbs;
mod http;
mod logs;
mod metrics;
mod pages;
mod played;
mod policies;
mod runner_verbs;
mod site;

mod flapping;
mod inside;
mod keep;
mod kills;
mod link;
mod process;
mod runner_inside;
