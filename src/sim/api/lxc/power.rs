//! Start and stop.

use crate::sim::api::cluster::ha;
use crate::sim::api::lxc::config;
use crate::sim::api::node::network::has_bridge;
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::world::{GuestType, Power, World};
use serde_json::{Value, json};

fn task(ctx: &mut Ctx<'_>, args: &Args, task_type: &str, action: &str, ms: u64) -> Value {
    let (node, vmid) = (args.text("node"), args.vmid());
    let told = json!({ "vmid": vmid, "node": node, "action": action });
    let sid = format!("ct:{vmid}");
    if matches!(action, "start" | "stop") && task_type != "vzresume" && ha::is_managed(ctx.world, &sid) {
        let state = if action == "start" { "started" } else { "stopped" };
        return ha::request(ctx, node, &sid, state, &ha::Own { task_type, effect: "lxc.power", told });
    }
    ctx.start(NewTask::new(node, task_type, vmid).takes_ms(ms).holds(vmid).then("lxc.power", told))
}

/// `POST …/status/start`: of a running container refused at once, of a template in the task.
pub fn start(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let vmid = args.vmid();
    let guest = ctx.guest(args.text("node"), GuestType::Lxc, vmid)?;
    if args.on("skiplock") && !ctx.is_root() {
        return Err(Refusal::param("skiplock", "Only root may use this option."));
    }
    if guest.power != Power::Stopped {
        return Err(Refusal::died(format!("CT {vmid} already running")));
    }
    config::unlocked(guest)?;
    Ok(task(ctx, args, "vzstart", "start", 3000))
}

fn running(ctx: &Ctx<'_>, args: &Args, what: &str) -> Result<(), Refusal> {
    let vmid = args.vmid();
    match ctx.guest(args.text("node"), GuestType::Lxc, vmid)?.power {
        Power::Stopped => Err(Refusal::died(format!("{what} {vmid} not running"))),
        Power::Running | Power::Paused => Ok(()),
    }
}

/// `POST …/status/stop`.
pub fn stop(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    running(ctx, args, "CT")?;
    Ok(task(ctx, args, "vzstop", "stop", 1000))
}

/// `POST …/status/shutdown`.
pub fn shutdown(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    running(ctx, args, "CT")?;
    Ok(task(ctx, args, "vzshutdown", "stop", 4000))
}

/// `POST …/status/reboot`; here PVE says `VM`.
pub fn reboot(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    running(ctx, args, "VM")?;
    Ok(task(ctx, args, "vzreboot", "reboot", 6000))
}

/// `POST …/status/suspend`: to be tested only, says PVE.
pub fn suspend(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    running(ctx, args, "CT")?;
    Ok(task(ctx, args, "vzsuspend", "suspend", 2000))
}

/// `POST …/status/resume`.
pub fn resume(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let vmid = args.vmid();
    if ctx.guest(args.text("node"), GuestType::Lxc, vmid)?.power != Power::Stopped {
        return Err(Refusal::died(format!("CT {vmid} already running")));
    }
    Ok(task(ctx, args, "vzresume", "start", 2000))
}

/// The end of a start or stop.
pub fn changed(world: &mut World, told: &Value, lines: &mut Vec<String>) -> End {
    let vmid = told["vmid"].as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
    let pid = world.new_pid();
    let now = world.clock_ms;
    let Some(guest) = world.guests.get_mut(&vmid) else {
        let node = told["node"].as_str().unwrap_or_default();
        return End::Failed(format!("Configuration file 'nodes/{node}/lxc/{vmid}.conf' does not exist"));
    };
    if told["action"] == "stop" || told["action"] == "suspend" {
        guest.power = Power::Stopped;
        return End::Ok;
    }
    if guest.config.get("template").is_some_and(|t| t == "1") {
        return End::Failed("you can't start a CT if it's a template".to_owned());
    }
    if told["action"] == "start" && guest.power != Power::Stopped {
        return End::Failed(format!("CT {vmid} already running"));
    }
    config::apply_pending(guest);
    guest.power = Power::Stopped;
    match start_now(world, vmid, pid, now) {
        Ok(()) => End::Ok,
        Err(text) => {
            lines.push(text);
            End::Failed(format!("startup for container '{vmid}' failed"))
        }
    }
}

/// Turns a stopped container on: what waits comes into force first.
pub fn turn_on(world: &mut World, vmid: u32) -> Result<(), String> {
    let (pid, now) = (world.new_pid(), world.clock_ms);
    if let Some(guest) = world.guests.get_mut(&vmid) {
        config::apply_pending(guest);
    }
    start_now(world, vmid, pid, now)
}

/// Turns a container on, if all that it needs is there.
pub fn start_now(world: &mut World, vmid: u32, pid: u64, now: u64) -> Result<(), String> {
    let Some(guest) = world.guests.get(&vmid) else { return Err(format!("CT {vmid} does not exist")) };
    for (_, text) in guest.config.iter().filter(|(k, _)| config::numbered(k, "net")) {
        let net = crate::pve::property::PropertyString::parse(text, "");
        let Some(bridge) = net.get("bridge") else { continue };
        if !has_bridge(world, &guest.node, bridge) {
            return Err(format!("bridge '{bridge}' does not exist"));
        }
    }
    for (_, volid) in config::volumes(&guest.config).filter(|(k, _)| config::is_mount(k)) {
        if world.volume(&volid, &guest.node).is_none() {
            return Err(format!("volume '{volid}' does not exist"));
        }
    }
    if let Some(guest) = world.guests.get_mut(&vmid) {
        guest.power = Power::Running;
        guest.started_ms = now;
        guest.pid = pid;
    }
    Ok(())
}
