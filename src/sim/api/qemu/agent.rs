//! The guest agent: a machine with a bootable disk and `agent` switched on answers some seconds after its start.

use crate::host::job::System;
use crate::host::journal;
use crate::host::program::{self, Request};
use crate::host::runner::Start;
use crate::sim::api::link_journal;
use crate::sim::ctx::Ctx;
use crate::sim::inside::{Place, jobs, runner};
use crate::sim::request::{Args, Refusal};
use crate::sim::world::{Guest, GuestType, Power, World};
use serde_json::{Value, json};

fn ready<'c>(ctx: &'c mut Ctx<'_>, args: &Args) -> Result<&'c mut Guest, Refusal> {
    let now = ctx.world.clock_ms;
    let vmid = args.vmid();
    let guest = ctx.guest_mut(args.text("node"), GuestType::Qemu, vmid)?;
    let on = |v: &String| v.split(',').any(|p| p == "1" || p == "enabled=1");
    if !guest.config.get("agent").is_some_and(on) {
        return Err(Refusal::died("No QEMU guest agent configured"));
    }
    if guest.power == Power::Stopped {
        return Err(Refusal::died(format!("VM {vmid} is not running")));
    }
    match guest.boot_seconds {
        Some(seconds) if now >= guest.started_ms + seconds * 1000 => Ok(guest),
        _ => Err(Refusal::died("QEMU guest agent is not running")),
    }
}

/// `POST …/agent/ping`.
pub(super) fn ping(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ready(ctx, args)?;
    Ok(json!({"result": {}}))
}

/// The address that a guest's card has: the static one of cloud-init, or one from an imagined DHCP server.
pub(in crate::sim) fn address(guest: &Guest, vmid: u32, card: usize) -> (String, u8) {
    let text = guest.config.get(&format!("ipconfig{card}"));
    let fixed = text.and_then(|t| t.split(',').find_map(|p| p.strip_prefix("ip="))).and_then(|c| c.split_once('/'));
    match fixed {
        Some((ip, mask)) => (ip.to_owned(), mask.parse().unwrap_or(24)),
        None => (format!("192.168.{}.{}", 1 + card, 20 + vmid % 200), 24),
    }
}

/// `GET …/agent/network-get-interfaces`.
pub(super) fn interfaces(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let vmid = args.vmid();
    let guest = ready(ctx, args)?;
    let mut list = vec![json!({
        "name": "lo", "hardware-address": "00:00:00:00:00:00",
        "ip-addresses": [{"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8}],
    })];
    for card in 0..32 {
        let Some(net) = guest.config.get(&format!("net{card}")) else { continue };
        let mac = net.split(',').next().and_then(|m| m.split_once('=')).map_or("", |(_, m)| m).to_lowercase();
        let fixed = address(guest, vmid, card);
        let addresses = guest.own_addresses(&format!("net{card}")).unwrap_or_else(|| vec![(&fixed.0, fixed.1)]);
        let one = |(ip, prefix): &(&str, u8)| {
            let family = if ip.contains(':') { "ipv6" } else { "ipv4" };
            json!({"ip-address": ip, "ip-address-type": family, "prefix": prefix})
        };
        list.push(json!({
            "name": format!("eth{card}"), "hardware-address": mac,
            "ip-addresses": addresses.iter().map(one).collect::<Vec<_>>(),
        }));
    }
    list.extend(guest.own_cards().cloned());
    Ok(json!({"result": list}))
}

/// `GET …/agent/get-osinfo`.
pub(super) fn os_info(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ready(ctx, args)?;
    Ok(json!({"result": {"id": "debian", "name": "Debian GNU/Linux", "version-id": "12", "machine": "x86_64"}}))
}

/// `GET …/agent/get-host-name`.
pub(super) fn host_name(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let own = runner::host_name(ctx.world, args.vmid());
    let name = ready(ctx, args)?.config.get("name").cloned().unwrap_or_default();
    let name = own.unwrap_or(name);
    Ok(json!({"result": {"host-name": name}}))
}

/// `GET …/agent/info`.
pub(super) fn about(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ready(ctx, args)?;
    let known = ["guest-ping", "guest-info", "guest-exec", "guest-get-osinfo", "guest-network-get-interfaces"];
    let commands: Vec<Value> =
        known.iter().map(|c| json!({"name": c, "enabled": true, "success-response": true})).collect();
    Ok(json!({"result": {"version": "9.2.0", "supported_commands": commands}}))
}

/// `GET …/agent/get-time`: nanoseconds.
pub(super) fn time(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let now = ctx.world.clock_ms;
    ready(ctx, args)?;
    Ok(json!({"result": now * 1_000_000}))
}

/// `GET …/agent/get-timezone`.
pub(super) fn timezone(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ready(ctx, args)?;
    Ok(json!({"result": {"offset": 0, "zone": "UTC"}}))
}

/// `GET …/agent/get-users`: nobody is logged in.
pub(super) fn users(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ready(ctx, args)?;
    Ok(json!({"result": []}))
}

/// `GET …/agent/get-vcpus`.
pub(super) fn vcpus(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let guest = ready(ctx, args)?;
    let number = |key: &str| guest.config.get(key).and_then(|v| v.parse::<u32>().ok()).unwrap_or(1);
    let count = number("cores") * number("sockets");
    let each = (0..count).map(|i| json!({"logical-id": i, "online": true, "can-offline": i > 0}));
    Ok(json!({"result": each.collect::<Vec<_>>()}))
}

/// `GET …/agent/get-fsinfo`: one file system, on the first disk.
pub(super) fn file_systems(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let guest = ready(ctx, args)?;
    let size = crate::sim::api::cluster::resources::disk_size(guest);
    Ok(json!({"result": [{
        "name": "sda1", "mountpoint": "/", "type": "ext4", "total-bytes": size, "used-bytes": size / 4, "disk": [],
    }]}))
}

/// `POST …/agent/fsfreeze-…`: how many file systems were frozen or thawed.
pub(super) fn freeze(ctx: &mut Ctx<'_>, args: &Args, frozen: bool) -> Result<Value, Refusal> {
    ready(ctx, args)?.agent.insert("frozen".to_owned(), frozen.into());
    Ok(json!({"result": 1}))
}

/// `POST …/agent/fsfreeze-status`.
pub(super) fn frozen(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let frozen = ready(ctx, args)?.agent.get("frozen") == Some(&Value::Bool(true));
    Ok(json!({"result": if frozen { "frozen" } else { "thawed" }}))
}

/// `POST …/agent/fstrim`.
pub(super) fn trim(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ready(ctx, args)?;
    Ok(json!({"result": {"paths": [{"path": "/", "trimmed": 0, "minimum": 0}]}}))
}

/// `POST …/agent/exec`: remembers the command; it ends well at once, unless it is `false` or what is kept under `exit/` and
/// the command says how it ends.
pub(super) fn exec(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let words = args.strings("command");
    let command = words.join(" ");
    let pid = ctx.world.new_pid();
    ready(ctx, args)?;
    if let Some((system, request)) = program::heard(&words, args.text("input-data")) {
        let result = our_program(ctx.world, args.vmid(), system, &request)?;
        ready(ctx, args)?.agent.insert(format!("pid/{pid}"), result);
        return Ok(json!({"pid": pid}));
    }
    let whole: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    if let Some(start) = Start::of_words(&whole) {
        shell_of(ctx.world, args.vmid(), start.system)?;
        let said = runner::begin(ctx.world, args.vmid(), &start, args.text("input-data"));
        let result = json!({"exited": 1, "exitcode": said.code, "out-data": said.out, "err-data": said.err});
        ready(ctx, args)?.agent.insert(format!("pid/{pid}"), result);
        return Ok(json!({"pid": pid}));
    }
    let journal = journal::heard(&words, args.text("input-data"));
    let said = journal.map(|ask| link_journal::says(ctx.world, args.vmid(), &ask));
    let guest = ready(ctx, args)?;
    let fails = i64::from(command == "false" || command.ends_with("/false"));
    let code = guest.agent.get(&format!("exit/{command}")).and_then(Value::as_i64).unwrap_or(fails);
    let result = json!({"exited": 1, "exitcode": code, "out-data": said.unwrap_or_default(), "command": command});
    guest.agent.insert(format!("pid/{pid}"), result);
    Ok(json!({"pid": pid}))
}

/// A system of another kind has not what runs a program of ours.
fn shell_of(world: &World, vmid: u32, system: System) -> Result<(), Refusal> {
    let shell = if world.runs_windows(&Place::Guest(vmid)) { System::Windows } else { System::Linux };
    if shell == system {
        return Ok(());
    }
    let program = if system == System::Windows { "powershell.exe" } else { "/bin/sh" };
    Err(Refusal::died(format!(
        "Agent error: Guest agent command failed, error was 'Failed to execute child process “{program}” \
         (No such file or directory)'"
    )))
}

/// What a program of ours brings.
fn our_program(world: &mut World, vmid: u32, system: System, request: &Request) -> Result<Value, Refusal> {
    let place = Place::Guest(vmid);
    shell_of(world, vmid, system)?;
    let said = match request {
        Request::Look { window } => {
            let state = jobs::state(world, &place, window.as_str()).unwrap_or_default();
            format!("boot={}\n{state}", world.boot_mark(&place))
        }
        Request::Begin(job) => jobs::begin(world, &place, job),
    };
    Ok(json!({"exited": 1, "exitcode": 0, "out-data": said}))
}

/// `GET …/agent/exec-status`. A child of an agent that was replaced is unknown to the new one.
pub(super) fn exec_status(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let pid = args.text("pid").to_owned();
    let guest = ready(ctx, args)?;
    let Some(result) = guest.agent.get(&format!("pid/{pid}")) else {
        return Err(Refusal::died(format!("Agent error: PID {pid} does not exist")));
    };
    if result.is_null() {
        return Err(Refusal::died("Agent error: Invalid parameter 'pid'"));
    }
    let mut answer = json!({"exited": 1, "exitcode": result["exitcode"], "out-data": result["out-data"]});
    if result["err-data"].as_str().is_some_and(|text| !text.is_empty()) {
        answer["err-data"] = result["err-data"].clone();
    }
    Ok(answer)
}

/// `GET …/agent/file-read`.
pub(super) fn file_read(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let file = args.text("file").to_owned();
    ready(ctx, args)?;
    let of_runner = runner::file(ctx.world, args.vmid(), &file);
    if let Some(content) = of_runner.or_else(|| jobs::file(ctx.world, &Place::Guest(args.vmid()), &file)) {
        return Ok(json!({"bytes-read": content.len(), "content": content}));
    }
    let windows = ctx.world.runs_windows(&Place::Guest(args.vmid()));
    match ready(ctx, args)?.agent.get(&format!("file{file}")) {
        Some(content) => Ok(json!({"content": content})),
        None if windows => Err(Refusal::died(format!(
            "Agent error: failed to open file '{file}': The system cannot find the path specified."
        ))),
        None => Err(Refusal::died(format!(
            "Agent error: failed to open file '{file}' (mode: 'r'): No such file or directory"
        ))),
    }
}

/// `POST …/agent/file-write`.
pub(super) fn file_write(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (file, content) = (args.text("file").to_owned(), args.text("content").to_owned());
    ready(ctx, args)?.agent.insert(format!("file{file}"), content.into());
    Ok(Value::Null)
}
