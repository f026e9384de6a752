//! Snapshots of both types of guests, as pve-guest-common's `AbstractConfig.pm` takes, deletes and goes back to them.
//!
//! A snapshot is a section of the guest's configuration and one snapshot a volume. The two are not made at once, so each of
//! the three works writes first what it begins, with a `lock` in the configuration:
//!
//! | work      | at its beginning                            | when a volume fails                | when it is killed         |
//! |-----------|---------------------------------------------|------------------------------------|---------------------------|
//! | taking    | `lock: snapshot`, `snapstate: prepare`      | all is taken back, the lock too    | both stay                 |
//! | deleting  | `lock: snapshot-delete`, `snapstate: delete`| both stay                          | both stay                 |
//! | rollback  | the guest is stopped, `lock: rollback`      | the lock stays                     | the lock stays            |
//!
//! While a lock is there each of the three is refused in its task, a second deletion too; no call of the API takes a lock away
//! but a write of root's with `skiplock`, so `qm unlock` and `pct unlock` on the node are the way. Without the lock a snapshot
//! in `prepare` or `delete` is deleted like any other, volume by volume: those that were done are gone from its section. A volume
//! that never got its snapshot fails the deletion (but with `force`), and the lock is back.

mod memory;
mod rollback;

pub use memory::memory_blockers;

use crate::sim::api::lxc::{config, view};
use crate::sim::api::qemu;
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::request::{Args, Refusal};
use crate::sim::task::{End, Task};
use crate::sim::volume::storage_of;
use crate::sim::world::{Guest, GuestType, Power, Snapshot, World};
use serde_json::{Value, json};

/// What a snapshot's section does not take from the configuration (`__snapshot_copy_config`).
const NOT_COPIED: [&str; 5] = ["snapstate", "snaptime", "vmstate", "lock", "description"];

/// The three works on snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// `snapshot_create`.
    Take,
    /// `snapshot_delete`.
    Delete,
    /// `snapshot_rollback`.
    Rollback,
}

impl Work {
    /// The name of its effect.
    const fn effect(self) -> &'static str {
        match self {
            Work::Take => "guest.snapshot",
            Work::Delete => "guest.snapshot.delete",
            Work::Rollback => "guest.snapshot.rollback",
        }
    }

    fn task_type(self, guest: GuestType) -> &'static str {
        match (self, guest) {
            (Work::Take, GuestType::Qemu) => "qmsnapshot",
            (Work::Take, GuestType::Lxc) => "vzsnapshot",
            (Work::Delete, GuestType::Qemu) => "qmdelsnapshot",
            (Work::Delete, GuestType::Lxc) => "vzdelsnapshot",
            (Work::Rollback, GuestType::Qemu) => "qmrollback",
            (Work::Rollback, GuestType::Lxc) => "vzrollback",
        }
    }
}

/// What the works do when their tasks are due.
pub const EFFECTS: &[crate::sim::task::Effect] = &[
    crate::sim::task::Effect { name: Work::Take.effect(), run: taken },
    crate::sim::task::Effect { name: Work::Delete.effect(), run: deleted },
    crate::sim::task::Effect { name: Work::Rollback.effect(), run: rollback::rolled_back },
];

/// Starts the task of a work. What it writes at its beginning is written now; why it cannot begin is how it ends.
pub fn start(ctx: &mut Ctx<'_>, args: &Args, work: Work, guest: GuestType) -> Value {
    let (node, vmid) = (args.text("node").to_owned(), args.vmid());
    let mut told = json!({
        "node": node, "vmid": vmid, "name": args.text("snapname"), "description": args.get("description"),
        "memory": args.on("vmstate"), "start": args.on("start"), "force": args.on("force"),
    });
    let begun = match work {
        Work::Take => prepare(ctx.world, &told),
        Work::Delete => begin_delete(ctx.world, &told),
        Work::Rollback => rollback::begin(ctx.world, &told),
    };
    let ms = match (work, args.on("vmstate")) {
        (Work::Take, true) => 5000,
        (Work::Take | Work::Delete, _) => 1000,
        (Work::Rollback, _) => 2000,
    };
    if let Err(text) = begun {
        told["refused"] = text.into();
    }
    ctx.start(NewTask::new(&node, work.task_type(guest), vmid).takes_ms(ms).then(work.effect(), told))
}

fn told_of(told: &Value) -> (u32, &str) {
    let vmid = told["vmid"].as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
    (vmid, told["name"].as_str().unwrap_or_default())
}

fn guest_of<'w>(world: &'w mut World, told: &Value) -> Result<&'w mut Guest, String> {
    let (vmid, _) = told_of(told);
    world
        .guests
        .get_mut(&vmid)
        .ok_or_else(|| format!("unable to find configuration file for VM {vmid} - no such machine"))
}

fn locked(guest: &Guest) -> Result<(), String> {
    let word = if guest.guest_type == GuestType::Qemu { "VM" } else { "CT" };
    guest.config.get("lock").map_or(Ok(()), |lock| Err(format!("{word} is locked ({lock})")))
}

fn is_template(guest: &Guest) -> bool {
    guest.config.get("template").is_some_and(|t| t == "1")
}

fn absent(name: &str) -> String {
    format!("snapshot '{name}' does not exist")
}

/// The volumes that a snapshot is made of, by their keys.
fn volumes(guest: GuestType, of: &std::collections::BTreeMap<String, String>) -> Vec<(String, String)> {
    match guest {
        GuestType::Qemu => {
            let drives = qemu::drives(of).into_iter().filter(|(_, text)| !text.contains("media=cdrom"));
            drives.map(|(key, text)| (key, qemu::file_of(&text).to_owned())).collect()
        }
        GuestType::Lxc => config::volumes(of).filter(|(key, _)| config::is_mount(key)).collect(),
    }
}

/// `__snapshot_prepare`: the checks, the lock, the section, the volume for the memory.
fn prepare(world: &mut World, told: &Value) -> Result<(), String> {
    let (vmid, name) = told_of(told);
    let now = world.now();
    let guest = guest_of(world, told)?.clone();
    if is_template(&guest) {
        return Err("you can't take a snapshot if it's a template".to_owned());
    }
    locked(&guest)?;
    if told["memory"] == true {
        memory_blockers(&guest)?;
    }
    if guest.snapshots.contains_key(name) {
        return Err(format!("snapshot name '{name}' already used"));
    }
    let able = match guest.guest_type {
        GuestType::Qemu => qemu::can_snapshot(world, &guest),
        GuestType::Lxc => view::can_snapshot(world, &guest),
    };
    if !able {
        return Err("snapshot feature is not available".to_owned());
    }
    let with_memory = told["memory"] == true && guest.power != Power::Stopped;
    let mut section = guest.config.clone();
    section.retain(|k, _| !config::numbered(k, "unused") && !NOT_COPIED.contains(&k.as_str()));
    if let Some(text) = told["description"].as_str().filter(|t| !t.is_empty()) {
        section.insert("description".to_owned(), text.to_owned());
    }
    section.insert("snaptime".to_owned(), now.to_string());
    section.insert("snapstate".to_owned(), "prepare".to_owned());
    if with_memory {
        section.insert("vmstate".to_owned(), memory::volume(world, &guest, vmid, name)?);
    }
    let guest = guest_of(world, told)?;
    // A parent of that name is one that is gone; it would make a circle now.
    guest.snapshots.values_mut().for_each(|s| {
        if s.config.get("parent").is_some_and(|p| p == name) {
            s.config.remove("parent");
        }
    });
    guest.snapshots.insert(name.to_owned(), Snapshot { config: section, with_memory, ..Snapshot::default() });
    guest.config.insert("lock".to_owned(), "snapshot".to_owned());
    Ok(())
}

/// The volumes' snapshots, and `__snapshot_commit`.
fn taken(world: &mut World, told: &Value, log: &mut Vec<String>) -> End {
    let (vmid, name) = told_of(told);
    if let Some(text) = told["refused"].as_str() {
        return End::Failed(text.to_owned());
    }
    let Ok(guest) = guest_of(world, told) else { return End::Failed("missing snapshot lock".to_owned()) };
    let (guest_type, running) = (guest.guest_type, guest.power != Power::Stopped);
    let Some(snapshot) = guest.snapshots.get(name).cloned() else { return End::Failed(absent(name)) };
    if snapshot.with_memory
        && running
        && let Some(text) = memory::passed_through(guest)
    {
        clean_up(world, told);
        return End::Failed(format!("VM {vmid} qmp command 'savevm-start' failed - {text}"));
    }
    if guest_type == GuestType::Qemu {
        let lines = volumes(guest_type, &snapshot.config).into_iter();
        log.extend(lines.map(|(key, volid)| format!("snapshotting 'drive-{key}' ({volid})")));
    }
    if guest.config.get("lock").is_none_or(|lock| lock != "snapshot") {
        return End::Failed("missing snapshot lock".to_owned());
    }
    guest.config.remove("lock");
    guest.config.insert("parent".to_owned(), name.to_owned());
    let disk = guest.disk.clone();
    if let Some(snapshot) = guest.snapshots.get_mut(name) {
        snapshot.config.remove("snapstate");
        snapshot.disk = disk;
    }
    End::Ok
}

/// What PVE does when a volume fails while a snapshot is taken: it deletes what it has made, by force, and the lock with it.
fn clean_up(world: &mut World, told: &Value) {
    let (_, name) = told_of(told);
    let Ok(guest) = guest_of(world, told) else { return };
    let node = guest.node.clone();
    let gone = guest.snapshots.remove(name);
    guest.config.remove("lock");
    if let Some(volid) = gone.and_then(|s| s.config.get("vmstate").cloned()) {
        world.free_volume(&volid, &node);
    }
}

/// Up to `snapstate: delete`. The lock comes before the look at `template`, and stays.
fn begin_delete(world: &mut World, told: &Value) -> Result<(), String> {
    let (_, name) = told_of(told);
    let guest = guest_of(world, told)?;
    if !guest.snapshots.contains_key(name) {
        return Err(absent(name));
    }
    locked(guest)?;
    guest.config.insert("lock".to_owned(), "snapshot-delete".to_owned());
    if is_template(guest) {
        return Err("you can't delete a snapshot if vm is a template".to_owned());
    }
    if let Some(snapshot) = guest.snapshots.get_mut(name) {
        snapshot.config.insert("snapstate".to_owned(), "delete".to_owned());
    }
    Ok(())
}

/// Takes the memory and up to so many volumes out of a snapshot; the error is a volume's that has no such snapshot.
fn take_volumes(world: &mut World, told: &Value, most: usize) -> Result<(), String> {
    let (vmid, name) = told_of(told);
    let guest = guest_of(world, told)?;
    let (guest_type, node, running) = (guest.guest_type, guest.node.clone(), guest.power != Power::Stopped);
    let snapshot = guest.snapshots.get_mut(name).ok_or_else(|| absent(name))?;
    let missing = snapshot.missing.clone();
    let memory = snapshot.config.remove("vmstate");
    let keys = volumes(guest_type, &snapshot.config);
    if let Some(volid) = memory {
        world.free_volume(&volid, &node);
    }
    for (key, volid) in keys.into_iter().take(most) {
        if missing.contains(&key) && told["force"] != true {
            return Err(no_such_snapshot(world, &volid, vmid, &key, name, running));
        }
        let guest = guest_of(world, told)?;
        if let Some(snapshot) = guest.snapshots.get_mut(name) {
            snapshot.config.remove(&key);
        }
    }
    Ok(())
}

/// A storage's words about a snapshot that it does not have.
fn no_such_snapshot(world: &World, volid: &str, vmid: u32, key: &str, name: &str, running: bool) -> String {
    let storage = world.storages.get(storage_of(volid)).map_or("", |s| s.storage_type.as_str());
    let volume = volid.split_once(':').map_or(volid, |(_, v)| v);
    match storage {
        "lvmthin" => format!(
            "lvremove snapshot 'pve/snap_{volume}_{name}' error:   Failed to find logical volume \"pve/snap_{volume}_{name}\""
        ),
        "zfspool" => "zfs error: could not find any snapshots to destroy; check snapshot names.".to_owned(),
        "rbd" => {
            format!("rbd snapshot '{volume}' error: rbd: failed to remove snapshot: (2) No such file or directory")
        }
        "btrfs" => "command 'btrfs subvolume delete' failed: exit code 1".to_owned(),
        _ if running => format!(
            "VM {vmid} qmp command 'blockdev-snapshot-delete-internal-sync' failed - Snapshot with id 'null' and name \
             '{name}' does not exist on device 'drive-{key}'"
        ),
        _ => format!("command '/usr/bin/qemu-img snapshot -d {name} {volume}' failed: exit code 1"),
    }
}

/// The volumes, and then the section: its children get its parent.
fn deleted(world: &mut World, told: &Value, _: &mut Vec<String>) -> End {
    let (_, name) = told_of(told);
    if let Some(text) = told["refused"].as_str() {
        return End::Failed(text.to_owned());
    }
    if let Err(text) = take_volumes(world, told, usize::MAX) {
        return End::Failed(text);
    }
    let Ok(guest) = guest_of(world, told) else { return End::Failed(absent(name)) };
    if guest.config.get("lock").is_none_or(|lock| lock != "snapshot-delete") {
        return End::Failed("encountered invalid lock, expected 'snapshot-delete'".to_owned());
    }
    let Some(gone) = guest.snapshots.remove(name) else { return End::Failed(absent(name)) };
    guest.config.remove("lock");
    let above = gone.config.get("parent").cloned();
    for config in guest.snapshots.values_mut().map(|s| &mut s.config).chain([&mut guest.config]) {
        if config.get("parent").is_some_and(|p| p == name) {
            match &above {
                Some(parent) => config.insert("parent".to_owned(), parent.clone()),
                None => config.remove("parent"),
            };
        }
    }
    End::Ok
}

impl World {
    /// What becomes of snapshots when their task fails at its first volume or is stopped: PVE takes back what it was taking,
    /// and leaves what it was deleting.
    pub(in crate::sim) fn abandon_snapshot(&mut self, effect: &str, told: &Value) {
        if effect == Work::Take.effect() && told["refused"].is_null() {
            clean_up(self, told);
        }
    }

    /// What becomes of snapshots when their task is killed after so many volumes: nothing is taken back.
    pub(in crate::sim) fn kill_snapshot(&mut self, task: &Task, done: usize) {
        let (told, name) = (&task.told, told_of(&task.told).1.to_owned());
        if !told["refused"].is_null() {
            return;
        }
        if task.effect == Work::Take.effect()
            && let Ok(guest) = guest_of(self, told)
        {
            let guest_type = guest.guest_type;
            if let Some(snapshot) = guest.snapshots.get_mut(&name) {
                snapshot.missing = volumes(guest_type, &snapshot.config).into_iter().skip(done).map(|v| v.0).collect();
            }
        } else if task.effect == Work::Delete.effect() && done > 0 {
            // It stops at a volume that fails, as it would have.
            let _ = take_volumes(self, told, done);
        }
    }
}

/// The names that PVE keeps for itself: they are refused before the task.
pub fn free_name(guest: GuestType, name: &str) -> Result<(), Refusal> {
    let reserved = match guest {
        GuestType::Qemu if name.eq_ignore_ascii_case("pending") => Some("pending"),
        GuestType::Lxc if name == "vzdump" => Some("vzdump"),
        GuestType::Qemu | GuestType::Lxc => (name == "current").then_some("current"),
    };
    reserved.map_or(Ok(()), |word| Err(Refusal::died(format!("unable to use snapshot name '{word}' (reserved name)"))))
}

/// `GET …/snapshot`'s row of a snapshot, but for what the types of guests say differently.
pub fn row(name: &str, snapshot: &Snapshot) -> Value {
    let text = |key: &str| snapshot.config.get(key).filter(|v| !v.is_empty());
    let mut row = json!({
        "name": name, "snaptime": text("snaptime").and_then(|t| t.parse::<u64>().ok()).unwrap_or(0),
        "description": text("description").cloned().unwrap_or_default(),
    });
    for key in ["parent", "snapstate"] {
        if let Some(value) = text(key) {
            row[key] = value.as_str().into();
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use crate::sim::api::testing::{ended, refused, root};
    use crate::sim::baseline::{Baseline, build};
    use crate::sim::faults::{Fault, FaultKind};
    use crate::sim::front::Sim;
    use crate::sim::request::{Auth, WireRequest};
    use crate::sim::world::{Power, World};
    use serde_json::{Value, json};

    const VM: &str = "/nodes/pve2/qemu/8100/snapshot";
    const CT: &str = "/nodes/pve3/lxc/8200/snapshot";

    fn world() -> World {
        build(Baseline::Homelab)
    }

    fn list(world: &mut World, path: &str) -> Vec<Value> {
        let list = root(world, &format!("GET {path}"), &json!({})).expect("a list");
        list.as_array().cloned().expect("rows").into_iter().filter(|r| r["name"] != "current").collect()
    }

    fn row(world: &mut World, path: &str) -> Value {
        list(world, path).remove(0)
    }

    /// Starts a task that is killed after so many volumes, and says how it ended.
    fn killed(world: &mut World, method: &str, path: &str, params: &Value, done: usize) -> String {
        let sim = Sim::load(&serde_json::to_string(world).expect("it is plain data")).expect("it loads");
        sim.inject(Fault::on(method, path, FaultKind::TaskDies(done)));
        let params = params.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let auth = Auth::Trusted("root@pam".to_owned());
        let answer = sim.handle(&WireRequest { method: method.to_owned(), path: path.to_owned(), params, auth });
        assert_eq!(answer.status, 200, "{answer:?}");
        sim.finish_tasks();
        *world = sim.with_world(|w| w.clone());
        world.tasks.last().expect("its task").exit_status.clone()
    }

    fn lock(world: &World, vmid: u32) -> Option<&'static str> {
        let known = ["snapshot", "snapshot-delete", "rollback"];
        let lock = world.guests[&vmid].config.get("lock")?;
        known.into_iter().find(|l| l == lock)
    }

    #[test]
    fn while_it_is_taken_it_is_in_the_list_and_the_guest_is_locked() {
        let world = &mut world();
        root(world, &format!("POST {VM}"), &json!({"snapname": "s1"})).expect("it starts");
        assert_eq!(row(world, VM)["snapstate"], "prepare");
        assert_eq!(lock(world, 8100), Some("snapshot"));
        let current = root(world, &format!("GET {VM}"), &json!({})).expect("a list");
        assert!(current.as_array().expect("rows").iter().all(|r| r["parent"].is_null()), "{current}");
        // A second one is refused in its task.
        assert_eq!(ended(world, &format!("POST {VM}"), &json!({"snapname": "s2"})), "VM is locked (snapshot)");
        assert_eq!((lock(world, 8100), row(world, VM)["snapstate"].is_null()), (None, true));
    }

    #[test]
    fn a_task_that_is_killed_while_it_takes_leaves_the_lock_and_the_section() {
        for done in [0, 1] {
            let world = &mut world();
            assert_eq!(killed(world, "POST", VM, &json!({"snapname": "s1"}), done), "unexpected status");
            assert_eq!((lock(world, 8100), row(world, VM)["snapstate"].as_str()), (Some("snapshot"), Some("prepare")));
            for (call, params) in [
                (format!("POST {VM}"), json!({"snapname": "s2"})),
                (format!("DELETE {VM}/s1"), json!({})),
                (format!("DELETE {VM}/s1"), json!({"force": 1})),
            ] {
                assert_eq!(ended(world, &call, &params), "VM is locked (snapshot)", "{call}");
            }
            // It is incomplete before the guest is locked.
            let words = "unable to rollback to incomplete snapshot (snapstate = prepare)";
            assert_eq!(ended(world, &format!("POST {VM}/s1/rollback"), &json!({})), words);
            // qm unlock
            world.edit_guest(8100, "lock", None);
            assert_eq!(
                ended(world, &format!("POST {VM}"), &json!({"snapname": "s1"})),
                "snapshot name 's1' already used"
            );
            let end = ended(world, &format!("DELETE {VM}/s1"), &json!({}));
            if done == 0 {
                assert!(end.contains("s1") && end != "OK", "its disk has no such snapshot: {end}");
                assert_eq!(
                    (lock(world, 8100), row(world, VM)["snapstate"].as_str()),
                    (Some("snapshot-delete"), Some("delete"))
                );
                world.edit_guest(8100, "lock", None);
                assert_eq!(ended(world, &format!("DELETE {VM}/s1"), &json!({"force": 1})), "OK");
            } else {
                assert_eq!(end, "OK");
            }
            assert_eq!((list(world, VM).len(), lock(world, 8100)), (0, None));
        }
    }

    #[test]
    fn a_deletion_that_fails_or_is_killed_leaves_both_and_goes_on_where_it_was() {
        let world = &mut world();
        for name in ["s1", "s2"] {
            assert_eq!(ended(world, &format!("POST {CT}"), &json!({"snapname": name})), "OK");
        }
        assert_eq!(killed(world, "DELETE", &format!("{CT}/s1"), &json!({}), 1), "unexpected status");
        assert_eq!(
            (lock(world, 8200), row(world, CT)["snapstate"].as_str()),
            (Some("snapshot-delete"), Some("delete"))
        );
        assert_eq!(ended(world, &format!("DELETE {CT}/s1"), &json!({})), "CT is locked (snapshot-delete)");
        assert_eq!(
            ended(world, &format!("POST {CT}/s1/rollback"), &json!({})),
            "unable to rollback to incomplete snapshot (snapstate = delete)"
        );
        assert_eq!(ended(world, &format!("POST {CT}"), &json!({"snapname": "s3"})), "CT is locked (snapshot-delete)");
        assert_eq!(
            refused(root(world, &format!("PUT {CT}/s2/config"), &json!({"description": "x"}))),
            "CT is locked (snapshot-delete)"
        );
        world.edit_guest(8200, "lock", None);
        assert_eq!(ended(world, &format!("DELETE {CT}/s1"), &json!({})), "OK");
        assert!(row(world, CT)["parent"].is_null(), "its child has no parent now");
    }

    #[test]
    fn a_volume_that_fails_while_it_is_taken_has_all_of_it_taken_back() {
        let world = &mut world();
        world.guests.get_mut(&8100).expect("there").power = Power::Running;
        world.edit_guest(8100, "hostpci0", Some("0000:01:00,pcie=1"));
        let before = world.volumes.len();
        let with_memory = json!({"snapname": "s1", "vmstate": 1});
        let words =
            "VM 8100 qmp command 'savevm-start' failed - 0000:01:00.0: VFIO migration is not supported in kernel";
        assert_eq!(ended(world, &format!("POST {VM}"), &with_memory), words);
        assert_eq!((list(world, VM).len(), lock(world, 8100), world.volumes.len()), (0, None, before));
        assert_eq!(ended(world, &format!("POST {VM}"), &json!({"snapname": "s1"})), "OK", "its disks can be had");
        world.edit_guest(8100, "virtiofs0", Some("share"));
        let words = "Cannot live-migrate, snapshot (with RAM), or hibernate a VM with: virtiofs";
        assert_eq!(refused(root(world, &format!("POST {VM}"), &json!({"snapname": "s2", "vmstate": 1}))), words);
    }

    #[test]
    fn a_task_that_is_stopped_takes_back_what_it_was_taking_and_leaves_what_it_was_deleting() {
        let world = &mut world();
        let stop = |world: &mut World, call: &str, params: &Value| {
            let upid = root(world, call, params).expect("a task").as_str().map(str::to_owned).expect("a UPID");
            let node = call.split('/').nth(2).expect("a node").to_owned();
            root(world, &format!("DELETE /nodes/{node}/tasks/{upid}"), &json!({})).expect("stopped");
        };
        stop(world, &format!("POST {CT}"), &json!({"snapname": "s1"}));
        assert_eq!((list(world, CT).len(), lock(world, 8200)), (0, None));
        assert_eq!(ended(world, &format!("POST {CT}"), &json!({"snapname": "s1"})), "OK");
        stop(world, &format!("DELETE {CT}/s1"), &json!({}));
        assert_eq!((list(world, CT).len(), lock(world, 8200)), (1, Some("snapshot-delete")));
    }

    #[test]
    fn zfs_goes_back_to_the_newest_and_a_rollback_that_is_killed_leaves_its_lock() {
        let world = &mut world();
        for name in ["s1", "s2"] {
            assert_eq!(ended(world, &format!("POST {VM}"), &json!({"snapname": name})), "OK");
        }
        let volid = super::volumes(crate::sim::world::GuestType::Qemu, &world.guests[&8100].config).remove(0).1;
        let storage = crate::sim::volume::storage_of(&volid).to_owned();
        let was = world.storages[&storage].storage_type.clone();
        world.storages.get_mut(&storage).expect("there").storage_type = "zfspool".to_owned();
        let words = format!("can't rollback, 's1' is not most recent snapshot on '{volid}'");
        assert_eq!(ended(world, &format!("POST {VM}/s1/rollback"), &json!({})), words);
        assert_eq!(ended(world, &format!("POST {VM}/s2/rollback"), &json!({})), "OK");
        world.storages.get_mut(&storage).expect("there").storage_type = was;
        assert_eq!(killed(world, "POST", &format!("{VM}/s1/rollback"), &json!({}), 0), "unexpected status");
        assert_eq!((lock(world, 8100), world.guests[&8100].power), (Some("rollback"), Power::Stopped));
    }

    #[test]
    fn names_that_pve_keeps_for_itself() {
        let world = &mut world();
        for (path, name, word) in [
            (VM, "current", "current"),
            (VM, "Pending", "pending"),
            (CT, "current", "current"),
            (CT, "vzdump", "vzdump"),
        ] {
            let words = format!("unable to use snapshot name '{word}' (reserved name)");
            assert_eq!(refused(root(world, &format!("POST {path}"), &json!({"snapname": name}))), words);
        }
        assert_eq!(ended(world, &format!("POST {CT}"), &json!({"snapname": "pending"})), "OK");
        assert_eq!(ended(world, &format!("POST {VM}"), &json!({"snapname": "vzdump"})), "OK");
        let memory = root(world, &format!("POST {CT}"), &json!({"snapname": "s1", "vmstate": 1}))
            .expect_err("no such parameter");
        assert!(memory["errors"]["vmstate"].as_str().is_some_and(|t| t.contains("not defined in schema")), "{memory}");
    }
}
