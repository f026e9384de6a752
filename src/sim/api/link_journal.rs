//! The journal inside of guests: what its system says at its start, and what stands in the table `guests/journal` by number: a list
//! of `[SECONDS, WHO, TEXT]`, or a text, which is a file of syslog.

use crate::host::journal::{Ask, LINES_AT_ONCE_MAX};
use crate::host::operation::Operation;
use crate::sim::api::link_mounts::{exits, operation};
use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Check, Refusal, Route};
use crate::sim::verify::{Kind, Param, at_least, opt, req};
use crate::sim::world::{Guest, GuestType, Power, World};
use serde_json::{Value, json};

const ASK: &[Param] = &[req("lines", at_least(0)), opt("since", at_least(0)), opt("after", Kind::Str)];

/// The endpoints.
pub const ROUTES: &[Route] = &[Route {
    method: "GET",
    path: "/link/{node}/pct/{vmid}/journal",
    params: &[ASK],
    check: Check::User,
    run: of_container,
}];

/// The file of syslog, as a place names it.
const FILE: &str = "/var/log/messages:77";

fn at_start(guest: &Guest) -> Vec<(u64, String, String)> {
    let (at, name) = (guest.started_ms / 1000, guest.config.get("hostname").or_else(|| guest.config.get("name")));
    let name = name.map_or("localhost", String::as_str);
    let said = [
        ("systemd-journald[42]", "Journal started".to_owned()),
        ("systemd[1]", format!("Hostname set to <{name}>.")),
        ("systemd[1]", "Reached target multi-user.target - Multi-User System.".to_owned()),
    ];
    said.into_iter().map(|(who, text)| (at, who.to_owned(), text)).collect()
}

/// What the program in the guest prints.
pub fn says(world: &World, vmid: u32, ask: &Ask) -> String {
    let Some(guest) = world.guests.get(&vmid) else { return "none\n".to_owned() };
    let own = world.tables.get("guests/journal").and_then(|t| t.get(&vmid.to_string()));
    let many = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let at_once = many(LINES_AT_ONCE_MAX);
    if let Some(text) = own.and_then(Value::as_str) {
        let place = ask.after.as_deref().and_then(|place| place.strip_prefix(FILE)?.trim().parse().ok());
        let tail = || {
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            lines[..lines.len().saturating_sub(many(ask.lines))].iter().map(|l| l.len()).sum::<usize>()
        };
        let start = place.unwrap_or_else(tail).min(text.len());
        let lines: String = text[start..].split_inclusive('\n').take(at_once).collect();
        return format!("file {FILE} {start}\n{lines}");
    }
    let mut all = at_start(guest);
    for row in own.and_then(Value::as_array).into_iter().flatten() {
        let word = |n: usize| row[n].as_str().unwrap_or_default().to_owned();
        all.push((row[0].as_u64().unwrap_or_default(), word(1), word(2)));
    }
    let since = ask.since.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
    let numbered = all.iter().enumerate();
    let place = ask.after.as_deref().and_then(|place| place.strip_prefix("s=sim;i=")?.parse::<usize>().ok());
    let found: Vec<_> = match place {
        Some(place) => numbered.filter(|(n, _)| *n > place).collect(),
        None => {
            let fits: Vec<_> = numbered.filter(|(_, (at, ..))| *at >= since).collect();
            fits[fits.len().saturating_sub(many(ask.lines))..].to_vec()
        }
    };
    let line = |(n, (at, who, text)): &(usize, &(u64, String, String))| {
        let (name, pid) = who.trim_end_matches(']').split_once('[').unwrap_or((who, ""));
        let entry = json!({
            "__CURSOR": format!("s=sim;i={n}"), "__REALTIME_TIMESTAMP": (at * 1_000_000).to_string(), "MESSAGE": text,
            "SYSLOG_IDENTIFIER": name, "_PID": pid,
        });
        format!("{entry}\n")
    };
    "journald\n".to_owned() + &found.iter().take(at_once).map(line).collect::<String>()
}

/// `GET /link/{node}/pct/{vmid}/journal`.
fn of_container(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let Operation::ContainerJournal { ask, .. } = operation("GET", args, &format!("pct/{}/journal", args.vmid()))?
    else {
        return Err(Refusal::new(501, "this is no journal"));
    };
    let vmid = args.vmid();
    let guest = ctx.guest(args.text("node"), GuestType::Lxc, vmid).map_err(|r| exits(255, r.reason.trim()))?;
    if guest.power != Power::Running {
        return Err(exits(255, format!("container '{vmid}' not running!")));
    }
    Ok(says(ctx.world, vmid, &ask).into())
}
