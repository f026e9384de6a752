//! Starting, stopping and what lies between.

use super::{drives, ended, file_of, machine, told, unlocked};
use crate::sim::api::cluster::ha;
use crate::sim::api::node::network::has_bridge;
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::inside::runner::agent_is_dead;
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::volume::{NewVolume, storage_of};
use crate::sim::world::{Guest, GuestType, Power, World};
use serde_json::{Value, json};

/// How long a guest without a system lets a shutdown wait (PVE's default).
const SHUTDOWN_SECONDS: i64 = 60;
const LOCK_WAIT_MS: u64 = 10_000;

fn root_only(ctx: &Ctx<'_>, args: &Args) -> Result<(), Refusal> {
    match args.on("skiplock") && !ctx.is_root() {
        true => Err(Refusal::param("skiplock", "Only root may use this option.")),
        false => Ok(()),
    }
}

/// Starts a power task: it waits for the guest's file lock inside the task, as PVE does.
fn task(ctx: &mut Ctx<'_>, args: &Args, task_type: &str, ms: u64, what: &str) -> Result<Value, Refusal> {
    root_only(ctx, args)?;
    let (node, vmid) = (args.text("node").to_owned(), args.vmid());
    let sid = format!("vm:{vmid}");
    if matches!(what, "start" | "stop" | "shutdown") && ha::is_managed(ctx.world, &sid) {
        // The manager stops by force in the end.
        let told = json!({ "node": node, "vmid": vmid, "what": what, "force": true, "skiplock": false });
        let state = if what == "start" { "started" } else { "stopped" };
        return Ok(ha::request(ctx, &node, &sid, state, &ha::Own { task_type, effect: "qemu.power", told }));
    }
    let now = ctx.world.clock_ms;
    let held = ctx.world.tasks.iter().filter(|t| t.running() && t.holds == Some(vmid)).map(|t| t.due_ms - now).max();
    if held.is_some_and(|ms| ms > LOCK_WAIT_MS) {
        let text = format!("can't lock file '/var/lock/qemu-server/lock-{vmid}.conf' - got timeout");
        let new = NewTask::new(&node, task_type, vmid).takes_ms(LOCK_WAIT_MS).says("trying to acquire lock...");
        return Ok(ctx.start(new.then("qemu.fail", json!({"text": text}))));
    }
    let told = json!({
        "node": node, "vmid": vmid, "what": what, "force": args.on("forceStop"), "skiplock": args.on("skiplock"),
    });
    let new = NewTask::new(&node, task_type, vmid).takes_ms(ms + held.unwrap_or(0)).holds(vmid);
    Ok(ctx.start(new.then("qemu.power", told)))
}

fn running(ctx: &Ctx<'_>, args: &Args) -> Result<(), Refusal> {
    let guest = ctx.guest(args.text("node"), GuestType::Qemu, args.vmid())?;
    match guest.power {
        Power::Stopped => Err(Refusal::died(format!("VM {} not running", args.vmid()))),
        Power::Running | Power::Paused => Ok(()),
    }
}

/// Whether a shutdown request is heard by a system in the guest.
fn hears(ctx: &Ctx<'_>, args: &Args) -> bool {
    ctx.world.guests.get(&args.vmid()).is_some_and(|g| g.power == Power::Stopped || g.boot_seconds.is_some())
}

pub(super) fn start(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    task(ctx, args, "qmstart", 2000, "start")
}

pub(super) fn stop(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    if args.on("overrule-shutdown") {
        let id = args.text("vmid").to_owned();
        let waiting: Vec<usize> = (0..ctx.world.tasks.len())
            .filter(|i| {
                let t = &ctx.world.tasks[*i];
                t.running() && t.task_type == "qmshutdown" && t.id == id
            })
            .collect();
        waiting.into_iter().for_each(|i| ctx.world.interrupt_task(i));
    }
    task(ctx, args, "qmstop", 1000, "stop")
}

pub(super) fn shutdown(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let patience = u64::try_from(args.int("timeout").unwrap_or(SHUTDOWN_SECONDS)).unwrap_or(0) * 1000;
    let ms = if hears(ctx, args) { 4000.min(patience.max(500)) } else { patience };
    task(ctx, args, "qmshutdown", ms, "shutdown")
}

pub(super) fn reboot(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    running(ctx, args)?;
    let ms = if hears(ctx, args) { 6000 } else { 60_000 };
    task(ctx, args, "qmreboot", ms, "reboot")
}

pub(super) fn reset(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    running(ctx, args)?;
    task(ctx, args, "qmreset", 500, "reset")
}

pub(super) fn suspend(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    running(ctx, args)?;
    if !args.on("todisk") {
        return task(ctx, args, "qmpause", 500, "suspend");
    }
    let (node, vmid) = (args.text("node").to_owned(), args.vmid());
    if ha::is_managed(ctx.world, &format!("vm:{vmid}")) {
        return Err(Refusal::died("Cannot suspend HA managed VM to disk"));
    }
    ctx.require(&format!("/vms/{vmid}"), &["VM.Config.Disk"])?;
    if let Some(storage) = args.get("statestorage") {
        ctx.require(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    }
    root_only(ctx, args)?;
    let told = json!({
        "node": node, "vmid": vmid, "what": "hibernate", "skiplock": args.on("skiplock"),
        "storage": args.get("statestorage"),
    });
    Ok(ctx.start(NewTask::new(&node, "qmsuspend", vmid).takes_ms(5000).holds(vmid).then("qemu.power", told)))
}

pub(super) fn resume(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    running(ctx, args)?;
    task(ctx, args, "qmresume", 500, "resume")
}

/// A task that only fails.
pub(super) fn fail(_: &mut World, what: &Value, _: &mut Vec<String>) -> End {
    End::Failed(what["text"].as_str().unwrap_or("failed").to_owned())
}

/// Pending changes become the configuration.
pub(super) fn apply_pending(guest: &mut Guest) {
    for (key, value) in std::mem::take(&mut guest.pending) {
        match value {
            Some(value) => guest.config.insert(key, value),
            None => guest.config.remove(&key),
        };
    }
}

/// Turns a machine on.
pub fn turn_on(world: &mut World, node: &str, vmid: u32) -> Result<(), String> {
    let (pid, now) = (world.new_pid(), world.clock_ms);
    let guest = machine(world, node, vmid)?;
    apply_pending(guest);
    let config = guest.config.clone();
    for (_, value) in config.iter().filter(|(k, _)| k.starts_with("net")) {
        let Some(bridge) = value.split(',').find_map(|p| p.strip_prefix("bridge=")) else { continue };
        if !has_bridge(world, node, bridge) {
            return Err(format!("bridge '{bridge}' does not exist"));
        }
    }
    let guest = machine(world, node, vmid)?;
    let files: Vec<String> = drives(&guest.config).iter().map(|(_, v)| file_of(v).to_owned()).collect();
    let missing = files.iter().find(|f| world.volume(f, node).is_none()).cloned();
    if let Some(missing) = missing {
        return Err(format!("volume '{missing}' does not exist"));
    }
    let images = config.values().filter(|v| v.contains("media=cdrom")).map(|v| file_of(v).to_owned());
    let absent = images.filter(|f| f.contains(':')).find(|f| world.volume(f, node).is_none());
    if let Some(missing) = absent {
        return Err(format!("volume '{missing}' does not exist"));
    }
    let bootable = files.iter().any(|f| world.volume(f, node).is_some_and(|v| v.bootable));
    let answers = bootable && !agent_is_dead(world, vmid);
    let guest = machine(world, node, vmid)?;
    (guest.power, guest.started_ms, guest.pid) = (Power::Running, now, pid);
    guest.boot_seconds = answers.then_some(15);
    Ok(())
}

/// Saves a machine's memory and turns it off; it carries a lock until it is started again.
fn hibernate(world: &mut World, node: &str, vmid: u32, storage: Option<&str>) -> Result<(), String> {
    let guest = machine(world, node, vmid)?;
    let memory = guest.config.get("memory").and_then(|m| m.parse::<u64>().ok()).unwrap_or(512) << 20;
    let first = drives(&guest.config).first().map(|(_, text)| storage_of(file_of(text)).to_owned());
    let configured = guest.config.get("vmstatestorage").cloned();
    let storage = storage.map(str::to_owned).or(configured).or(first).unwrap_or_else(|| "local".to_owned());
    let label = "state-suspend";
    // The state of the machine takes what its memory takes, and some more.
    let size = memory + (512 << 20);
    let new = NewVolume { storage: &storage, node, vmid, size, format: Some("raw"), content: "images", label };
    let volid = world.allocate(&new).map_err(|r| r.reason)?;
    let guest = machine(world, node, vmid)?;
    guest.config.insert("vmstate".to_owned(), volid);
    guest.config.insert("lock".to_owned(), "suspended".to_owned());
    (guest.power, guest.pid) = (Power::Stopped, 0);
    Ok(())
}

/// Starts a machine where it was left.
fn awake(world: &mut World, node: &str, vmid: u32) -> Result<(), String> {
    turn_on(world, node, vmid)?;
    let guest = machine(world, node, vmid)?;
    guest.config.remove("lock");
    if let Some(volid) = guest.config.remove("vmstate") {
        world.free_volume(&volid, node);
    }
    Ok(())
}

/// Turns a machine off; pending changes take place.
pub fn turn_off(guest: &mut Guest) {
    (guest.power, guest.pid) = (Power::Stopped, 0);
    apply_pending(guest);
}

pub(super) fn power_effect(world: &mut World, what: &Value, log: &mut Vec<String>) -> End {
    let (node, vmid) = told(what);
    ended((|| {
        let guest = machine(world, &node, vmid)?;
        let suspended = guest.config.get("lock").is_some_and(|l| l == "suspended");
        if what["skiplock"] != true && !(suspended && what["what"] == "start") {
            unlocked(guest)?;
        }
        let off = guest.power == Power::Stopped;
        match what["what"].as_str().unwrap_or_default() {
            "start" if guest.config.get("template").is_some_and(|t| t == "1") => {
                Err("you can't start a vm if it's a template".to_owned())
            }
            "start" if !off => Err(format!("VM {vmid} already running")),
            "start" if suspended => awake(world, &node, vmid),
            "start" => turn_on(world, &node, vmid),
            "hibernate" => hibernate(world, &node, vmid, what["storage"].as_str()),
            "stop" => {
                turn_off(guest);
                Ok(())
            }
            "shutdown" if off => Ok(()),
            "shutdown" if guest.boot_seconds.is_some() => {
                turn_off(guest);
                Ok(())
            }
            "shutdown" if what["force"] == true => {
                log.push("VM still running - terminating now with SIGTERM".to_owned());
                turn_off(guest);
                Ok(())
            }
            "shutdown" | "reboot" if guest.boot_seconds.is_none() => {
                Err("VM quit/powerdown failed - got timeout".to_owned())
            }
            "reboot" => {
                turn_off(guest);
                turn_on(world, &node, vmid)
            }
            "suspend" => {
                guest.power = Power::Paused;
                Ok(())
            }
            "resume" => {
                guest.power = Power::Running;
                Ok(())
            }
            _ => Ok(()),
        }
    })())
}

#[cfg(test)]
mod tests {
    use crate::sim::api::testing::{ended, refused, root};
    use crate::sim::baseline::{Baseline, build};
    use crate::sim::world::Power;
    use serde_json::json;

    #[test]
    fn a_managed_machine_is_started_by_its_manager_later() {
        let world = &mut build(Baseline::Homelab);
        world.guests.get_mut(&8100).expect("there").power = Power::Stopped;
        root(world, "POST /cluster/ha/resources", &json!({ "sid": "vm:8100", "state": "stopped" })).expect("managed");
        assert_eq!(ended(world, "POST /nodes/pve2/qemu/8100/status/start", &json!({})), "OK");
        assert_eq!(world.tasks[0].task_type, "hastart");
        assert_eq!(world.guests[&8100].power, Power::Stopped, "only the state is written down");
        assert_eq!(world.tables["cluster/ha/resources"]["vm:8100"]["state"], "started");
        let later = world.clock_ms + 20_000;
        world.advance_to(later);
        assert_eq!(world.guests[&8100].power, Power::Running);
    }

    #[test]
    fn a_suspended_machine_is_locked_until_it_is_started() {
        let world = &mut build(Baseline::Homelab);
        let base = "/nodes/pve2/qemu/8100";
        assert_eq!(ended(world, &format!("POST {base}/status/suspend"), &json!({ "todisk": 1 })), "OK");
        assert_eq!(world.guests[&8100].power, Power::Stopped);
        let locked = refused(root(world, &format!("PUT {base}/config"), &json!({ "cores": 4 })));
        assert_eq!(locked, "VM is locked (suspended)");
        let state = world.guests[&8100].config["vmstate"].clone();
        assert_eq!(ended(world, &format!("POST {base}/status/start"), &json!({})), "OK");
        assert!(!world.guests[&8100].config.contains_key("lock"));
        assert!(world.volume(&state, "pve2").is_none(), "its memory is read and gone");
    }

    #[test]
    fn a_machine_without_its_image_does_not_start() {
        let world = &mut build(Baseline::Homelab);
        world.guests.get_mut(&8100).expect("there").power = Power::Stopped;
        world.edit_guest(8100, "ide2", Some("local:iso/gone.iso,media=cdrom,size=1M"));
        let end = ended(world, "POST /nodes/pve2/qemu/8100/status/start", &json!({}));
        assert_eq!(end, "volume 'local:iso/gone.iso' does not exist");
    }
}
