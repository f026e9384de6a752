//! A backup of a guest, taken now. It is there when the storage lists one that was not there before.

use crate::base::id::GuestType;
use crate::kinds::backups::{self, Backup as Taken, age};
use crate::kinds::guest::file::content_query;
use crate::kinds::guest::hand::deed::{Scene, open, task};
use crate::kinds::guest::hand::losses::left_out;
use crate::kinds::guest::observed::decode_row;
use crate::kinds::objects::storage::{BackupMode, Compression};
use crate::pve::property::PropertyString;
use crate::pve::request::{Call, Method, Query};
use crate::resource::index::{GuestRow, Index, StorageRow, text};
use crate::resource::observation::{Observation, guest_query};
use crate::resource::step::{Delta, Impact, Limit};
use std::collections::BTreeSet;

/// A backup to be taken.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Where it goes; the only storage that takes backups when left out.
    pub storage: Option<String>,
    /// How a running guest is held meanwhile.
    pub mode: BackupMode,
    /// How it is packed; left out: with Zstandard, where the storage does not pack by itself.
    pub compress: Option<Compression>,
    /// Its notes, with PVE's variables.
    pub notes: String,
    /// It is neither pruned nor deleted.
    pub protected: bool,
    /// Older backups of the guest go as the storage's retention says; else they all stay.
    pub prune: bool,
}

/// The read that tells how many backups of a guest a storage keeps.
fn retention_query(row: &GuestRow, storage: &str) -> Query {
    Query::new(format!("/nodes/{}/vzdump/defaults", row.node)).with("storage", storage)
}

/// The storages of a node that take backups.
fn fitting<'a>(index: &'a Index, node: &'a str) -> impl Iterator<Item = &'a StorageRow> {
    index.storages.values().filter(move |s| s.node == node && s.available && s.content.contains("backup"))
}

/// The storage that is meant.
fn storage(backup: &Backup, row: &GuestRow, index: &Index) -> Option<String> {
    let mut fit = fitting(index, &row.node);
    match (&backup.storage, fit.next(), fit.next()) {
        (Some(storage), _, _) => Some(storage.clone()),
        (None, Some(only), None) => Some(only.storage.clone()),
        (None, _, _) => None,
    }
}

/// What is read.
pub fn reads(backup: &Backup, row: &GuestRow, index: &Index, first: bool) -> BTreeSet<Query> {
    let there = |storage: &String| index.storages.contains_key(&(row.node.clone(), storage.clone()));
    let storage = storage(backup, row, index).filter(there);
    let mut reads: BTreeSet<Query> =
        storage.iter().map(|storage| content_query(&row.node, storage, "backup")).collect();
    if first {
        reads.extend(storage.map(|storage| retention_query(row, &storage)));
        reads.insert(guest_query(row));
    }
    reads
}

/// The backups of the guest on a storage.
fn of_it(seen: &Observation, row: &GuestRow, storage: &str) -> Vec<Taken> {
    let list = seen.value(&content_query(&row.node, storage, "backup"));
    let all = list.map(|list| backups::rows(list, &row.node)).unwrap_or_default();
    all.into_iter().filter(|b| b.vmid == Some(row.vmid) && b.guest == row.guest).collect()
}

/// What is to be done.
pub fn plan(backup: &Backup, scene: &Scene<'_>, delta: &mut Delta) {
    let (row, vmid) = (scene.row, scene.row.vmid);
    let Some(storage) = storage(backup, row, &scene.seen.index) else {
        which_storage(scene, delta);
        return;
    };
    let now = of_it(scene.seen, row, &storage);
    if let Some(before) = scene.before {
        let before = of_it(before, row, &storage);
        if now.iter().any(|taken| !before.iter().any(|b| b.volume == taken.volume)) {
            return;
        }
    }
    scene.require_here(delta, &["VM.Backup"]);
    scene.require(delta, &format!("/storage/{storage}"), &["Datastore.AllocateSpace"]);
    takes_it(&storage, scene, delta);
    keeps(backup, &storage, &now, scene, delta);
    let started = matches!(row.ha.as_deref(), Some("started" | "starting" | "request_start"));
    if matches!(backup.mode, BackupMode::Stop) && started {
        scene.refuse(
            delta,
            "HA keeps it running, and PVE takes no backup of such a guest with mode stop",
            "leave --mode stop out, or stop it first",
        );
    }
    let config = scene.seen.index.guests.get(&vmid).and_then(|row| decode_row(row, scene.seen).ok().flatten());
    for (slot, volume) in config.iter().flat_map(|seen| left_out(row.guest, &seen.config)) {
        scene.say(delta, format!("{slot} ({volume}) is not in it: {}", why_not(row.guest)));
    }
    let plugin = scene.seen.index.storages.get(&(row.node.clone(), storage.clone())).map(|s| s.plugin.as_str());
    let compress = backup.compress.or((plugin != Some("pbs")).then_some(Compression::Zstd));
    let mut call = Call::new(Method::Post, format!("/nodes/{}/vzdump", row.node))
        .with("vmid", vmid)
        .with("storage", &storage)
        .with("mode", word(backup.mode))
        // PVE removes older backups unless it is told not to.
        .with("remove", u8::from(backup.prune))
        .with("notes-template", &backup.notes);
    if let Some(compress) = compress {
        call = call.with("compress", packed(compress));
    }
    if backup.protected {
        call = call.with("protected", 1);
    }
    let impact = match (backup.mode, scene.running()) {
        (BackupMode::Stop, true) => {
            scene.say(delta, "it runs: it is shut down, backed up from its start on, and runs again");
            Impact::Restart
        }
        (BackupMode::Suspend, true) => {
            scene.say(delta, "it runs, and stands still meanwhile");
            Impact::Live
        }
        (BackupMode::Snapshot, true) => Impact::Live,
        (BackupMode::Snapshot | BackupMode::Suspend | BackupMode::Stop, false) => Impact::None,
    };
    let at = scene.seen.at;
    let from =
        now.last().map_or_else(|| "none".to_owned(), |newest| format!("the newest is {} old", age(at - newest.time)));
    let step = task(format!("back up {vmid} to `{storage}` ({})", word(backup.mode)), call, impact, row);
    let step = step.limit(Limit::Storage(storage.clone()));
    open(delta, &format!("backup on {storage}"), Some(&from), Some("taken"), step);
}

/// What the storage's retention makes of the other backups. Where nothing is removed, PVE takes none beyond those that it may
/// keep (`PVE::VZDump::exec_backup_task`); protected ones are not counted.
fn keeps(backup: &Backup, storage: &str, now: &[Taken], scene: &Scene<'_>, delta: &mut Delta) {
    let said = scene.seen.value(&retention_query(scene.row, storage)).and_then(|v| text(&v["prune-backups"]));
    let retention = PropertyString::parse(&said.unwrap_or_default(), "");
    let limit = match retention.get("keep-all") {
        Some("1") => 0,
        _ => retention.iter().filter_map(|(_, count)| count.parse::<usize>().ok()).sum(),
    };
    if limit == 0 {
        return;
    }
    let rule = retention.to_text("");
    let there = now.iter().filter(|taken| !taken.protected).count();
    if backup.prune {
        scene.say(delta, format!("older backups of it on `{storage}` go as its retention says: {rule}"));
    } else if !backup.protected && there >= limit {
        scene.refuse(
            delta,
            format!("`{storage}` keeps {limit} backups of a guest ({rule}), and has {there} of it: PVE takes no further one"),
            "--prune lets the retention remove older ones, --protected keeps this one beside them, --storage takes another place",
        );
    }
}

fn why_not(guest: GuestType) -> &'static str {
    match guest {
        GuestType::Qemu => "it says backup=0",
        GuestType::Lxc => "of mount points, only those with backup=1 are",
    }
}

fn word(mode: BackupMode) -> &'static str {
    match mode {
        BackupMode::Snapshot => "snapshot",
        BackupMode::Suspend => "suspend",
        BackupMode::Stop => "stop",
    }
}

fn packed(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "0",
        Compression::Gzip => "gzip",
        Compression::Lzo => "lzo",
        Compression::Zstd => "zstd",
    }
}

fn names(scene: &Scene<'_>) -> String {
    let names: Vec<&str> = fitting(&scene.seen.index, &scene.row.node).map(|s| s.storage.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// It is not said where it goes.
fn which_storage(scene: &Scene<'_>, delta: &mut Delta) {
    let node = &scene.row.node;
    delta.action = crate::resource::step::Action::Update;
    match fitting(&scene.seen.index, node).count() {
        0 => scene.refuse(
            delta,
            format!("node `{node}` has no storage that takes backups"),
            "allow it on one: pvesm set STORAGE --content …,backup",
        ),
        _ => scene.refuse(
            delta,
            format!("node `{node}` has several storages that take backups"),
            format!("say which with --storage: {}", names(scene)),
        ),
    }
}

fn takes_it(storage: &str, scene: &Scene<'_>, delta: &mut Delta) {
    let node = &scene.row.node;
    let others = || format!("storages of `{node}` that do: {}", names(scene));
    match scene.seen.index.storages.get(&(node.clone(), storage.to_owned())) {
        None => scene.refuse(delta, format!("node `{node}` has no storage `{storage}`"), others()),
        Some(row) if !row.content.contains("backup") => {
            scene.refuse(delta, format!("storage `{storage}` does not take `backup`"), others());
        }
        Some(row) if !row.available => {
            scene.refuse(delta, format!("storage `{storage}` is not available on `{node}`"), others());
        }
        Some(_) => {}
    }
}
