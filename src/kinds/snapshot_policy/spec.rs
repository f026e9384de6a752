//! What users write.

use crate::kinds::guest::spec::Seconds;
use crate::kinds::selector::Selector;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

/// Snapshots that are taken on time and kept by rule. PVE knows nothing of it: every `apply` takes what is due and prunes what
/// the rule lets go, and the daemon does so by itself.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotPolicySpec {
    /// Which guests. `{}` means every guest.
    pub selector: Selector,
    /// When, as PVE's and systemd's calendar events: `02:00`, `mon..fri 22:30`, `*:0/15`, `hourly`.
    #[serde(default)]
    pub schedule: Option<String>,
    /// When, as cron has it: `0 2 * * *`. Either this or `schedule`.
    #[serde(default)]
    pub cron: Option<String>,
    /// The zone of the schedule, and of the days, weeks and months of the retention: `Europe/Berlin`. `UTC` when left out.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Not all guests at once: each a while later, by less than this, and always by the same.
    #[serde(default)]
    pub jitter: Option<Seconds>,
    /// What their names begin with; the time comes after it: `auto-20261121T020000Z`. The policy's name when left out.
    #[serde(default)]
    #[schemars(length(min = 1, max = 15), regex(pattern = "^[A-Za-z][A-Za-z0-9_-]*$"))]
    pub name_prefix: Option<String>,
    /// Save what is in the memory of running VMs, too. It takes twice the memory on the storage, and the VM waits.
    #[serde(default)]
    pub include_memory: bool,
    /// What is kept. Everything when left out.
    #[serde(default)]
    pub retention: Retention,
    /// What becomes of a time that was missed: it is made up for once, or left out.
    #[serde(default)]
    pub missed: Missed,
    /// Names that are never pruned, with `*` and `?`. Snapshots that the policy did not take are not pruned anyway.
    #[serde(default)]
    pub protect: Vec<String>,
    /// Names of snapshots that it did not take and may prune all the same, with `*` and `?`.
    #[serde(default)]
    pub adopt: Vec<String>,
    /// Earlier names of this policy: what it took under them is its own.
    #[serde(default)]
    pub adopt_policies: Vec<String>,
    /// How many snapshots are worked on at once.
    #[serde(default)]
    pub concurrency: Concurrency,
    /// The newest good snapshot of a guest may be so old: condition `SnapshotsFresh`, and a warning.
    #[serde(default)]
    pub freshness: Option<Seconds>,
    /// When none is taken.
    #[serde(default)]
    pub limits: Limits,
    /// Take nothing, whatever is due: `pvectl snapshot prune`.
    #[serde(skip)]
    #[schemars(skip)]
    pub prune_only: bool,
}

/// What is kept: Proxmox's own rule for backups. The newest come first; each rule takes the newest of its periods, and passes
/// over periods in which something is kept already. With no rule at all, everything is kept.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retention {
    /// The newest so many.
    pub keep_last: Option<u32>,
    /// One an hour, of so many hours.
    pub keep_hourly: Option<u32>,
    /// One a day.
    pub keep_daily: Option<u32>,
    /// One a week, from Monday to Sunday.
    pub keep_weekly: Option<u32>,
    /// One a month.
    pub keep_monthly: Option<u32>,
    /// One a year.
    pub keep_yearly: Option<u32>,
    /// Whatever is younger, on top of the rules.
    pub keep_within: Option<Seconds>,
    /// Never fewer than so many.
    #[schemars(range(min = 1))]
    pub min_keep: Option<u32>,
    /// How long snapshots of a class are kept. The first of a month has a name that ends in `-monthly`, the first of a week in
    /// `-weekly`, where these classes are said; all others are daily.
    pub classes: Classes,
}

/// How long snapshots of a class are kept.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Classes {
    /// All others.
    pub daily: Option<Seconds>,
    /// The first of a week.
    pub weekly: Option<Seconds>,
    /// The first of a month.
    pub monthly: Option<Seconds>,
    /// The first of a year.
    pub yearly: Option<Seconds>,
}

/// What becomes of a time that was missed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Missed {
    /// One snapshot is taken as soon as may be, however many were missed. So does a guest that has none yet.
    #[default]
    RunOnce,
    /// Nothing is taken later than an hour after its time, or than half the way to the next.
    Skip,
}

/// How many snapshots are worked on at once.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Concurrency {
    /// On one node.
    #[schemars(range(min = 1, max = 64))]
    pub per_node: u8,
    /// On one storage; as many as the nodes allow when left out.
    #[schemars(range(min = 1, max = 64))]
    pub per_storage: Option<u8>,
}

impl Default for Concurrency {
    fn default() -> Concurrency {
        Concurrency { per_node: 2, per_storage: None }
    }
}

/// When no snapshot is taken.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// While a storage of the guest has less room than this share of it: `15%`. Of thin pools, data and metadata.
    pub min_free_storage: Option<Percent>,
}

/// A share such as `15%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u8);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Percent, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.strip_suffix('%').and_then(|n| n.trim().parse().ok()).filter(|n| *n <= 100);
        number.map(Percent).ok_or_else(|| D::Error::custom(format!("`{text}` is no share; write it like 15%")))
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]{1,3}%$", "description": "A share such as `15%`."})
    }
}
