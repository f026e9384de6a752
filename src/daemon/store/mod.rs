//! History: drift, events, runs, what patch windows did and what became of runners, in one SQLite file, so that operators can ask it with `sqlite3` and lose it without harm.
//! Nothing here decides what happens to the cluster; a file that is full, locked, gone or somebody else's costs lines of
//! history and one Warning. Who may write: the keeper's thread alone. Readers open the file anew, read-only, each time.
//!
//! # The file
//!
//! Times are milliseconds since the epoch, UTC: `datetime(seen_ms / 1000, 'unixepoch')`. `PRAGMA user_version` is 3,
//! `PRAGMA application_id` is `0x70766563`, "pvec".
//!
//! | table | a row is | columns |
//! |---|---|---|
//! | `drift` | one spell of drift of one object | `id`, `source`, `kind`, `name`, `identity`, `seen_ms`, `since_ms` (PVE's own time where it is known), `by_user`, `by_what`, `by_at_ms`, `healed_ms` (empty while it lasts), `healed_by` |
//! | `drift_fields` | one field of a spell | `drift_id`, `position`, `path`, `cluster` (what it held), `manifest` (what it should), `cause`, `impact` |
//! | `events` | a moment, the same in a row counted | `id`, `at_ms`, `source`, `kind`, `name`, `revision`, `level`, `reason`, `message`, `count` |
//! | `runs` | one run of the engine | `id`, `source`, `revision`, `began_ms`, `ended_ms`, `steps`, `converged`, `doing` (JSON, while it runs) |
//! | `patches` | what a target of a patch window got in one opening | `id`, `source`, `window`, `target` (`101`, `node/pve1`), `name`, `opened_ms`, `began_ms`, `ended_ms`, `result`, `why`, `system`, `manager`, `rebooted`, `reboot_required`, `attempts`, `cves`, `checks`, `log` (JSON) |
//! | `patch_packages` | a package of it | `patch_id`, `position`, `name`, `old_version`, `new_version` (both empty: it was left), `security`, `left_why` |
//! | `runners` | a machine of a runner pool | `id`, `source`, `pool`, `name`, `vmid`, `node`, `seen_ms`, `made_ms`, `started_ms`, `registering_ms`, `online_ms`, `busy_ms`, `ended_ms`, `gone_ms` (empty while it is there), `result` (`Done`, `Failed`, `Removed`), `cause`, `job` |
//! | `runner_jobs` | a job of a runner pool | `id`, `source`, `pool`, `job`, `repository`, `name`, `labels` (JSON), `seen_ms`, `queued_ms`, `began_ms`, `ended_ms`, `runner` |
//! | `run_objects` | an object of a run | `run_id`, `position` (empty: it failed without having been asked for), `kind`, `name`, `error` |

pub mod schema;

pub mod book;

pub mod query;

pub mod patches;

pub mod runners;

pub mod keeper;

#[cfg(test)]
mod tests;
