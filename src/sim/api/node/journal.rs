//! A node's log: what systemd says at boot, and a line for every task that started and ended.

use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use crate::sim::world::World;
use serde_json::{Value, json};

/// How many lines a call answers if no limit is given.
const DEFAULT_LIMIT: usize = 50;

/// All lines with their seconds since the epoch, the oldest first.
fn lines(world: &World, node: &str) -> Vec<(u64, String)> {
    let boot = world.nodes.get(node).map_or(0, |n| n.boot_ms / 1000);
    let mut out = vec![
        (boot, "systemd-journald[71]: Journal started".to_owned()),
        (boot, "kernel: Linux version 6.17.2-1-pve".to_owned()),
        (boot + 5, "systemd[1]: Started pvedaemon.service - PVE API Daemon.".to_owned()),
        (boot + 6, "systemd[1]: Started pveproxy.service - PVE API Proxy Server.".to_owned()),
    ];
    for task in world.tasks.iter().filter(|t| t.node == node && !t.unseen) {
        out.push((
            task.start_ms / 1000,
            format!("pvedaemon[{}]: <{}> starting task {}", task.pid, task.user, task.upid),
        ));
        if let Some(end) = task.end_ms {
            let (pid, user, upid, status) = (task.pid, &task.user, &task.upid, &task.exit_status);
            out.push((end / 1000, format!("pvedaemon[{pid}]: <{user}> end task {upid} {status}")));
        }
    }
    out.sort_by_key(|(time, _)| *time);
    out
}

fn shown(node: &str, (time, text): &(u64, String)) -> String {
    let stamp = i64::try_from(*time).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    let stamp = stamp.map_or_else(String::new, |t| t.strftime("%b %d %H:%M:%S").to_string());
    format!("{stamp} {node} {text}")
}

/// Seconds since the epoch of `2026-11-21 10:00:00` and shorter.
fn moment(text: &str) -> Option<u64> {
    let full = match text.len() {
        10 => format!("{text} 00:00:00"),
        16 => format!("{text}:00"),
        _ => text.to_owned(),
    };
    let time: jiff::civil::DateTime = full.replace(' ', "T").parse().ok()?;
    u64::try_from(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second()).ok()
}

/// `GET /nodes/{node}/syslog`.
pub fn syslog(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let (since, until) = (args.get("since").and_then(moment), args.get("until").and_then(moment));
    let unit = args.get("service").map(|s| s.trim_end_matches(".service"));
    let wanted = |(time, text): &(u64, String)| {
        since.is_none_or(|s| *time >= s)
            && until.is_none_or(|u| *time <= u)
            && unit.is_none_or(|u| text.starts_with(&format!("{u}[")))
    };
    let found: Vec<(u64, String)> = lines(ctx.world, node).into_iter().filter(wanted).collect();
    let number = |key: &str| args.int(key).and_then(|n| usize::try_from(n).ok());
    let (start, limit) = (number("start").unwrap_or(0), number("limit").unwrap_or(DEFAULT_LIMIT));
    let rows: Vec<Value> = found
        .iter()
        .enumerate()
        .skip(start)
        .take(limit)
        .map(|(i, line)| json!({ "n": i + 1, "t": shown(node, line) }))
        .collect();
    ctx.extra["total"] = found.len().into();
    Ok(rows.into())
}

/// `GET /nodes/{node}/journal`: a cursor, the lines, a cursor.
pub fn journal(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let node = args.text("node");
    let all = lines(ctx.world, node);
    let number = |key: &str| args.int(key).and_then(|n| u64::try_from(n).ok());
    let cursor = |key: &str| args.get(key).and_then(|c| c.strip_prefix("i=")).and_then(|c| c.parse::<usize>().ok());
    let wanted = |(i, (time, _)): &(usize, &(u64, String))| {
        number("since").is_none_or(|s| *time >= s)
            && number("until").is_none_or(|u| *time <= u)
            && cursor("startcursor").is_none_or(|c| *i >= c)
            && cursor("endcursor").is_none_or(|c| *i < c)
    };
    let found: Vec<(usize, &(u64, String))> = all.iter().enumerate().filter(wanted).collect();
    let last = number("lastentries").and_then(|n| usize::try_from(n).ok()).unwrap_or(found.len());
    let found = &found[found.len().saturating_sub(last)..];
    let (first, end) = (found.first().map_or(0, |f| f.0), found.last().map_or(all.len(), |f| f.0 + 1));
    let mut out = vec![format!("i={first}")];
    out.extend(found.iter().map(|(_, line)| shown(node, line)));
    out.push(format!("i={end}"));
    Ok(out.into())
}
