//! Definitions of storages, and jobs that back guests up to them.

use crate::kinds::objects::content::member;
use crate::kinds::objects::object::Seen;
use crate::kinds::objects::plan::plan;
use crate::kinds::objects::row::{Row, query};
use crate::resource::kind::PlanContext;
use crate::resource::privilege::require;
use crate::resource::reference::Reference;
use crate::resource::step::{Delta, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The definition of a storage. Deleting it never touches what is stored. PVE gives it no free text, so that it cannot carry
/// a mark of its owner: one that is there and differs is changed only once it is adopted, or with the annotation
/// `pvectl/take-over: "true"`, and it is deleted by its manifest (`pvectl delete -f`), never pruned. Passwords and keys are not
/// written in manifests: set them in PVE.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StorageSpec {
    /// PVE's id for it, where `metadata.name` cannot be that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What it is, in PVE's word: `dir`, `nfs`, `lvmthin`, `zfspool`, `pbs`, … Settled when it is made.
    #[serde(rename = "type")]
    pub storage_type: String,
    /// What it may hold: `images`, `rootdir`, `vztmpl`, `iso`, `backup`, `snippets`, `import`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Vec<String>>,
    /// The nodes that have it; left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<String>>,
    /// Whether it is switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable: Option<bool>,
    /// Whether all nodes see the same volumes there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
    /// The folder (`dir`, `btrfs`). Settled when it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The server (`nfs`, `cifs`, `pbs`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// What the server exports (`nfs`). Settled when it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<String>,
    /// The share (`cifs`). Settled when it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// The volume group (`lvm`, `lvmthin`). Settled when it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vgname: Option<String>,
    /// The thin pool (`lvmthin`). Settled when it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinpool: Option<String>,
    /// The pool (`zfspool`, `rbd`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The datastore (`pbs`). Settled when it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore: Option<String>,
    /// Who logs in (`cifs`, `pbs`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// How many backups of a guest stay there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Any other option of PVE's storage API, by its own name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Value>,
}

/// How many backups are kept, by PVE's rule for pruning.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retention {
    /// All of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_all: bool,
    /// The last so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<u32>,
    /// The last of each of so many hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_hourly: Option<u32>,
    /// The last of each of so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_daily: Option<u32>,
    /// The last of each of so many weeks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_weekly: Option<u32>,
    /// The last of each of so many months.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_monthly: Option<u32>,
    /// The last of each of so many years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_yearly: Option<u32>,
}

/// One of PVE's own backup jobs. Exactly one of `vmids`, `pool` and `all` says which guests it takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupJobSpec {
    /// PVE's id for it, where `metadata.name` cannot be that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// When it runs, as a calendar event of PVE: `02:30`, `mon..fri 22:00`.
    pub schedule: String,
    /// Where the backups go, by the storage's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// Whether it runs at all; left out: it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The guests that it takes, by their numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmids: Option<Vec<u32>>,
    /// The pool whose guests it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// It takes all guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// But not these, by their numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<u32>>,
    /// Only guests of this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// How a running guest is held meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<BackupMode>,
    /// How the archives are packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compress: Option<Compression>,
    /// How many backups of a guest stay; left out: as the storage says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Notes on each backup, with PVE's variables, such as `{{guestname}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes_template: Option<String>,
    /// Whether backups are protected from pruning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
    /// Whether a run that was missed is made up for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_missed: Option<bool>,
    /// Any other option of PVE's backup jobs, by its own name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Value>,
}

/// How a running guest is held while it is backed up.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackupMode {
    /// It runs on.
    Snapshot,
    /// It is suspended.
    Suspend,
    /// It is shut down.
    Stop,
}

/// How archives are packed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub enum Compression {
    /// Not at all.
    #[serde(rename = "0")]
    None,
    /// With gzip.
    #[serde(rename = "gzip")]
    Gzip,
    /// With LZO.
    #[serde(rename = "lzo")]
    Lzo,
    /// With Zstandard.
    #[serde(rename = "zstd")]
    Zstd,
}

/// Options of a storage that no change may name (PVE's schema of `PUT /storage/{storage}` does not have them).
const SETTLED: [&str; 13] = [
    "authsupported",
    "base",
    "datastore",
    "export",
    "iscsiprovider",
    "path",
    "portal",
    "share",
    "target",
    "thinpool",
    "type",
    "vgname",
    "volume",
];
/// Options that are secrets.
const SECRETS: [&str; 4] = ["password", "encryption-key", "keyring", "master-pubkey"];

/// Whether an option of a storage is settled when it is made.
pub fn is_settled(option: &str) -> bool {
    SETTLED.contains(&option)
}

/// PVE's rule for ids of configuration sections (`pve-configid`), and of storages (`pve-storage-id`: dots too, but not at the
/// end).
pub fn config_id(id: &str, dots: bool) -> Vec<Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || dots && c == '.';
    let ends = !dots || id.ends_with(|c: char| c.is_ascii_alphanumeric());
    if id.len() >= 2 && id.starts_with(|c: char| c.is_ascii_alphabetic()) && id.chars().all(plain) && ends {
        return Vec::new();
    }
    let help = "two characters at least: letters, digits, `-` and `_`, a letter first; give another as `id`";
    vec![Problem::new("id", format!("`{id}` is no id for PVE")).help(help)]
}

/// Options that `options` may not name: those that have a field, and secrets.
pub fn options(spec: &Value, fields: &[(&str, &str)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for key in spec["options"].as_object().into_iter().flat_map(Map::keys) {
        if let Some((field, _)) = fields.iter().find(|(_, option)| option == key) {
            problems.push(
                Problem::new(&format!("options.{key}"), format!("`{key}` has a field of its own"))
                    .help(format!("write it as `{field}`")),
            );
        }
        if SECRETS.contains(&key.as_str()) {
            problems.push(
                Problem::new(&format!("options.{key}"), format!("`{key}` is a secret, and a manifest holds none"))
                    .help("set it in PVE: pvesm set STORAGE --password; what is not in the manifest stays as it is"),
            );
        }
        if matches!(key.as_str(), "delete" | "digest" | "lock-token") {
            problems.push(
                Problem::new(&format!("options.{key}"), format!("`{key}` is no option, it steers a request"))
                    .help("take it out"),
            );
        }
    }
    problems
}

/// What a type cannot be defined without (`PVE::Storage::*Plugin`, options that are not `optional`; some are recorded).
const REQUIRED: [(&str, &[&str]); 9] = [
    ("dir", &["path"]),
    ("btrfs", &["path"]),
    ("nfs", &["server", "export"]),
    ("cifs", &["server", "share"]),
    ("lvm", &["vgname"]),
    ("lvmthin", &["vgname", "thinpool"]),
    ("zfspool", &["pool"]),
    ("pbs", &["server", "datastore"]),
    ("iscsi", &["portal", "target"]),
];

/// What is wrong with a storage.
pub fn storage(cx: &PlanContext<'_>, id: &str, spec: &Value) -> Vec<Problem> {
    let mut problems = config_id(id, true);
    let list = cx.seen.index.lists.get(&query("/storage")).and_then(|list| list.as_ref().ok());
    let there =
        list.and_then(|list| list.as_array()).is_some_and(|rows| rows.iter().any(|r| member(r, "storage") == id));
    let kind = spec["type"].as_str().unwrap_or_default();
    let required = REQUIRED.iter().find(|(known, _)| *known == kind).map_or(&[][..], |(_, required)| required);
    for option in required.iter().filter(|_| !there) {
        if spec[*option].is_null() && spec["options"][*option].is_null() {
            problems.push(
                Problem::new("", format!("a storage of type `{kind}` needs `{option}`"))
                    .help("PVE makes none without it: write it in the spec"),
            );
        }
    }
    let fields = [("content", "content"), ("nodes", "nodes"), ("retention", "prune-backups"), ("type", "type")];
    problems.extend(options(spec, &fields));
    problems
}

/// What is wrong with a backup job.
pub fn backup(cx: &PlanContext<'_>, id: &str, spec: &Value) -> Vec<Problem> {
    let mut problems = config_id(id, false);
    let fields = [
        ("vmids", "vmid"),
        ("retention", "prune-backups"),
        ("notesTemplate", "notes-template"),
        ("repeatMissed", "repeat-missed"),
        ("comment", "comment"),
        ("schedule", "schedule"),
    ];
    problems.extend(options(spec, &fields));
    let named = ["vmids", "pool", "all"].into_iter().filter(|k| !spec[*k].is_null() && spec[*k] != false).count();
    if named != 1 {
        problems.push(
            Problem::new("", format!("it names its guests in {named} ways"))
                .help("exactly one of `vmids`, `pool` and `all: true` says which guests it takes"),
        );
    }
    if spec["vmids"].as_array().is_some_and(Vec::is_empty) {
        problems.push(Problem::new("vmids", "it takes no guest").help("name one at least, or take the job out"));
    }
    let pools = &cx.seen.index.pools;
    if let Some(pool) = spec["pool"].as_str().filter(|p| !pools.contains_key(*p))
        && !cx.identities.values().any(|i| matches!(i, crate::resource::reference::Identity::Pool(id) if id == pool))
    {
        problems.push(
            Problem::new("pool", format!("there is no pool `{pool}`"))
                .help("no manifest of the set declares it, and it is not on the cluster: declare a `kind: Pool`, or mend the name"),
        );
    }
    problems
}

/// The storage of vzdump where nothing is said.
const DEFAULT_STORAGE: &str = "local";

/// What is to be done about a backup job. Beside the right to write jobs it takes one on the storage that they write to, as
/// it was and as it shall be (`PVE::API2::Backup`).
pub fn job_plan(row: &Row, cx: &PlanContext<'_>, desired: Option<Value>, observed: Option<&Seen>) -> Delta {
    let storage = |at: &Value| at["storage"].as_str().unwrap_or(DEFAULT_STORAGE).to_owned();
    let pool = desired.as_ref().and_then(|spec| spec["pool"].as_str()).map(str::to_owned);
    let onto: BTreeSet<String> = match &desired {
        Some(spec) => observed.map(|seen| storage(&seen.row)).into_iter().chain([storage(spec)]).collect(),
        None => BTreeSet::new(),
    };
    let mut delta = plan(row, cx, desired, observed);
    // The password of root@pam opens everything.
    if delta.steps.is_empty() || cx.root_ticket {
        return delta;
    }
    for storage in onto {
        require(cx, &mut delta, &format!("/storage/{storage}"), "Datastore.Allocate");
    }
    if let Some(pool) = pool {
        require(cx, &mut delta, &format!("/pool/{pool}"), "VM.Backup");
    }
    delta
}

/// The pool whose guests a job takes.
pub fn backup_refs(spec: &Value) -> Vec<Reference> {
    let pool = spec["pool"].as_str();
    pool.into_iter().map(|pool| crate::kinds::objects::table::reference("Pool", pool, "pool")).collect()
}

/// A storage's id and type.
pub fn export_storage(id: &str, object: &Value) -> Map<String, Value> {
    let export = json!({"id": id, "type": object["type"]});
    export.as_object().cloned().unwrap_or_default()
}
