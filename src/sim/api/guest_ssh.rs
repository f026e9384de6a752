//! What goes to a guest by SSH: its sshd answers when the guest has booted, and any key opens it. In process only, as the host
//! link is.

use crate::host::guest::{Login, Operation};
use crate::host::job::System;
use crate::host::runner::{Handed, Start};
use crate::sim::api::qemu::agent::address;
use crate::sim::inside::{Place, runner};
use crate::sim::request::{Refusal, WireRequest};
use crate::sim::world::{Guest, Power, World};
use serde_json::Value;

/// Answers a request: the operation's standard output.
pub fn answer(world: &mut World, request: &WireRequest) -> Result<Value, Refusal> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let params: Vec<(String, String)> = request.params.iter().map(|(k, v)| (k.clone(), text(v))).collect();
    let unknown = || Refusal::new(501, format!("Method '{} {}' not implemented", request.method, request.path));
    let (login, operation) = Operation::read(&request.method, &request.path, &params).ok_or_else(unknown)?;
    let vmid = reached(world, &login)?;
    let system = match &operation {
        Operation::RunnerState { system, .. } => *system,
        Operation::Runner { start, .. } => start.system,
    };
    if world.runs_windows(&Place::Guest(vmid)) != (system == System::Windows) {
        return Err(Refusal::died("exit status 127: command not found"));
    }
    match &operation {
        Operation::RunnerState { lines, .. } => Ok(runner::look(world, vmid, *lines).into()),
        Operation::Runner { start, secret } => run(world, vmid, start, secret),
    }
}

fn run(world: &mut World, vmid: u32, start: &Start, secret: &Handed) -> Result<Value, Refusal> {
    let said = runner::begin(world, vmid, start, secret.expose().unwrap_or_default());
    match said.code {
        0 => Ok(said.out.into()),
        code => Err(Refusal::died(format!("exit status {code}: {}", said.err.trim_end()))),
    }
}

/// The guest whose sshd answers at an address.
fn reached(world: &World, login: &Login) -> Result<u32, Refusal> {
    let wanted = login.address.to_string();
    let has = |vmid: u32, guest: &Guest| {
        (0..8).filter(|card| guest.config.contains_key(&format!("net{card}"))).any(|card| {
            match guest.own_addresses(&format!("net{card}")) {
                Some(own) => own.iter().any(|(address, _)| *address == wanted),
                None => address(guest, vmid, card).0 == wanted,
            }
        })
    };
    let on = world.guests.iter().filter(|(_, guest)| guest.power == Power::Running);
    let way = format!("connect to host {wanted} port {}", login.port);
    let Some((vmid, guest)) = on.into_iter().find(|(vmid, guest)| has(**vmid, guest)) else {
        return Err(Refusal::new(595, format!("{way}: No route to host")));
    };
    match guest.boot_seconds {
        Some(seconds) if world.clock_ms >= guest.started_ms + seconds * 1000 => Ok(*vmid),
        Some(_) | None => Err(Refusal::new(595, format!("{way}: Connection refused"))),
    }
}
