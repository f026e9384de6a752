//! What users write.

use crate::kinds::guest::spec::Seconds;
use crate::kinds::selector::Selector;
use schemars::JsonSchema;
use serde::Deserialize;

/// When guests and nodes get their updates, and what is done around it: looked at first, a snapshot as the way back, reboots, a
/// look whether all is well, and what happens when it is not. Work inside of containers and on nodes needs the host link, work
/// inside of VMs the QEMU guest agent.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchWindowSpec {
    /// When it opens, as PVE's and systemd's calendar events: `Sun 02:00`.
    #[serde(default)]
    pub schedule: Option<String>,
    /// When it opens, as cron has it: `0 2 * * 0`. Either this or `schedule`.
    #[serde(default)]
    pub cron: Option<String>,
    /// How long it is open.
    pub duration: Seconds,
    /// So long before its end nothing new is started any more. 15 minutes when left out, or a quarter of the window where that is less.
    #[serde(default)]
    pub cutoff: Option<Seconds>,
    /// The zone of the schedule and of the days of `freeze`: `Europe/Berlin`. `UTC` when left out.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Days on which nothing is started: `2026-12-24`, or from one day to another with both: `2026-12-20..2027-01-06`.
    #[serde(default)]
    pub freeze: Vec<String>,
    /// Who comes first. Each guest belongs to the first wave that means it; a later wave gets exactly the versions that the wave
    /// before it got, when these have been in use for its `soak` without failure. One wave of all when left out.
    #[serde(default)]
    pub waves: Vec<Wave>,
    /// After so many failures nothing new is started in this window.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub max_errors: u32,
    /// Who is updated.
    pub targets: Targets,
    /// Guests before nodes, or after them.
    #[serde(default)]
    pub order: Order,
    /// What is installed.
    #[serde(default)]
    pub updates: Updates,
    /// How many guests are worked on at once.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 64))]
    pub max_concurrent: u32,
    /// How many nodes are worked on at once. Never more than may be away without losing quorum.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1))]
    pub max_unavailable: u32,
    /// A node may be worked on although the others have no quorum without it: in a cluster of two.
    #[serde(default)]
    pub allow_quorum_loss: bool,
    /// What comes before the updates.
    #[serde(default)]
    pub before: Before,
    /// Whether what needs a reboot gets it.
    #[serde(default)]
    pub reboot: Reboot,
    /// What becomes of a node's guests while it is worked on.
    #[serde(default)]
    pub drain: Drain,
    /// How it is known that a guest is well after its updates.
    #[serde(default)]
    pub health_check: HealthCheck,
    /// What happens to a guest whose updates failed, or that is not well after them.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What becomes of containers that do not run.
    #[serde(default)]
    pub stopped: Stopped,
    /// What becomes of configuration files that were changed by hand when a package brings new ones.
    #[serde(default)]
    pub config_files: ConfigFiles,
    /// It is open now, since this moment, in seconds since 1970: `pvectl patch run --now`.
    #[serde(skip)]
    #[schemars(skip)]
    pub opened: Option<i64>,
}

fn one() -> u32 {
    1
}

fn two() -> u32 {
    2
}

/// Some of the targets.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wave {
    /// Its guests; `{}`: all that no earlier wave means, nodes too.
    #[serde(default)]
    pub selector: Option<Selector>,
    /// Its nodes.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// For how long its updates must have been in use before the next wave gets them.
    #[serde(default)]
    pub soak: Option<Seconds>,
}

/// Who is updated.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Targets {
    /// Nodes.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Guests; `{}` means every guest. None when left out.
    #[serde(default)]
    pub selector: Option<Selector>,
}

/// Guests before nodes, or after them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Order {
    /// Nodes when no guest is left to do.
    #[default]
    GuestsFirst,
    /// Guests when no node is left to do.
    HostsFirst,
}

/// What is installed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Updates {
    /// Which updates guests get; nodes get all, as Proxmox wants it (`dist-upgrade`).
    pub class: Class,
    /// Packages that are left as they are, with `*` and `?`. What an administrator holds in the guest is left anyway.
    pub exclude: Vec<String>,
    /// Only what has been available for so many days: since it was built where the package manager tells, else since pvectl first
    /// saw it in this guest.
    pub soak_days: u32,
}

/// A class of updates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Class {
    /// What the distribution calls security updates. Alpine and Arch do not tell: none there.
    Security,
    /// All.
    #[default]
    All,
}

/// What comes before the updates.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Before {
    /// Take a snapshot of the guest, without its memory. It is the way back.
    pub snapshot: bool,
    /// For how long it is kept after all went well. A week when left out.
    pub keep: Seconds,
    /// Fetch the index of packages.
    pub refresh_index: bool,
}

impl Default for Before {
    fn default() -> Before {
        Before { snapshot: true, keep: Seconds(7 * 86_400), refresh_index: true }
    }
}

/// Whether what needs a reboot gets it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Reboot {
    /// No; it is said that one is needed.
    #[default]
    Never,
    /// Where the updates need it.
    IfRequired,
    /// After every update.
    Always,
}

/// What becomes of a node's guests while it is worked on.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Drain {
    /// How guests leave the node.
    pub migrate: Migrate,
    /// Tell the HA manager that the node goes into maintenance; it moves its guests by itself.
    pub node_maintenance: bool,
}

/// How guests leave a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Migrate {
    /// They stay: they go down with the node's reboot, and come back with it.
    #[default]
    Never,
    /// VMs while they run; containers are restarted. What cannot move stays.
    Online,
    /// All are shut down, moved, and started there.
    Offline,
}

/// How it is known that a guest is well.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HealthCheck {
    /// A VM's guest agent must answer. It does the work, so it must in any case; said for the reader.
    pub guest_agent: bool,
    /// TCP ports on which something must listen.
    pub tcp: Vec<String>,
    /// A program and its arguments that must end with 0 inside of the guest. No shell.
    pub command: Vec<String>,
    /// No unit of systemd may have failed that was well before.
    pub systemd: bool,
    /// How long it may take until all is well.
    pub timeout: Seconds,
}

impl Default for HealthCheck {
    fn default() -> HealthCheck {
        HealthCheck { guest_agent: true, tcp: Vec::new(), command: Vec::new(), systemd: true, timeout: Seconds(300) }
    }
}

/// What happens to a guest whose updates failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// It goes back to the snapshot that was taken before. What it wrote since then is lost.
    Rollback,
    /// It stays as it is, and nothing new is started in this window.
    #[default]
    Stop,
    /// It stays as it is; the window goes on until `maxErrors`.
    Continue,
}

/// What becomes of containers that do not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Stopped {
    /// They are left out.
    #[default]
    Skip,
    /// They are started for it and stopped after it. VMs that do not run are left out all the same.
    Start,
}

/// What becomes of changed configuration files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ConfigFiles {
    /// The old ones stay.
    #[default]
    Keep,
    /// The new ones come, the old ones are kept beside them.
    Replace,
}
