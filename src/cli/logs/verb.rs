//! `logs`: whose log it is, where it comes from, and what is said where it cannot be had.

use crate::base::id::GuestType;
use crate::cli::args::Global;
use crate::cli::args::node::Logs;
use crate::cli::backups::{guest, guests};
use crate::cli::exit;
use crate::cli::logs::follow::{Dry, Tap, Wish, drain, follow};
use crate::cli::logs::inside::GuestJournal;
use crate::cli::logs::node::NodeJournal;
use crate::cli::logs::tasks::TaskLogs;
use crate::cli::run::{Ended, Failure, block_on, block_on_deaf, offer};
use crate::cli::session::{Session, WallClock};
use crate::engine::observe::index;
use crate::engine::reconcile::Cluster;
use crate::resource::index::Index;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

/// As many lines are shown where nobody says how many.
const LINES: usize = 100;

/// `logs GUEST|node/NODE`.
pub fn logs(global: &Global, args: &Logs) -> Ended {
    let session = Session::open(global, None)?;
    // Time goes by for whoever waits.
    if args.follow {
        session.keep_time(1.0);
    }
    let cluster = session.cluster();
    let ended = if args.follow {
        block_on_deaf(async {
            tokio::select! {
                ended = run(&cluster, args) => ended,
                _ = tokio::signal::ctrl_c() => Ok(exit::DONE),
            }
        })?
    } else {
        block_on(run(&cluster, args))?
    };
    session.close()?;
    ended
}

/// A moment as people write it: `2h`, `2026-11-21`, `2026-11-21 10:00`, `2026-11-21T10:00:00Z`.
pub fn moment(text: &str, now: i64, zone: &TimeZone) -> Result<i64, String> {
    if let Some(seconds) = crate::base::quantity::parse_seconds(text) {
        return Ok(now.saturating_sub(i64::try_from(seconds).unwrap_or(i64::MAX)));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_second());
    }
    let plain = text.trim().replace(' ', "T");
    let at = plain.parse::<DateTime>().or_else(|_| format!("{plain}T00:00:00").parse());
    let at = at.ok().and_then(|at| at.to_zoned(zone.clone()).ok());
    at.map(|at| at.timestamp().as_second()).ok_or_else(|| {
        format!("`{text}` is no time: 2h, 2026-11-21, `2026-11-21 10:00` (this machine's zone), 2026-11-21T10:00:00Z")
    })
}

async fn run(cluster: &Cluster<'_>, args: &Logs) -> Ended {
    let now = i64::try_from(cluster.clock.now_ms() / 1000).unwrap_or(i64::MAX);
    let since = args.since.as_deref().map(|text| moment(text, now, &TimeZone::system())).transpose();
    let since = since.map_err(|why| Failure::new(exit::USAGE, why))?;
    let lines = args.lines.or(if since.is_some() { None } else { Some(LINES) });
    let wish = Wish { lines, since };
    let tap = tap(cluster, args, wish).await?;
    let tell = |line: &str| offer(&format!("{line}\n"));
    give(cluster, args.follow, tap, wish, &tell).await
}

/// What there is to be read, and where else where it cannot be.
pub struct Source {
    /// Where the lines come from.
    pub tap: Box<dyn Tap>,
    /// Where they come from where that cannot be read.
    pub otherwise: Option<Box<dyn Tap>>,
    /// What to do to have the first.
    pub hint: &'static str,
}

async fn tap(cluster: &Cluster<'_>, args: &Logs, wish: Wish) -> Result<Source, Failure> {
    let wire = |e| Failure::wire(exit::FAILED, &e);
    let alone = |tap: Box<dyn Tap>| Source { tap, otherwise: None, hint: "" };
    let name = args.target.join("/");
    if let Some(node) = name.strip_prefix("node/").or_else(|| name.strip_prefix("nodes/")) {
        let index = index(cluster.api, cluster.clock, &BTreeSet::new()).await.map_err(wire)?;
        if !index.nodes.contains_key(node) {
            let known = index.nodes.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(
                Failure::new(exit::REFUSED, format!("there is no node `{node}`")).hint(format!("nodes: {known}"))
            );
        }
        return Ok(alone(Box::new(NodeJournal::new(node, wish))));
    }
    let seen = guests(cluster, std::slice::from_ref(&name)).await?;
    let target = guest(&name, &seen)?;
    let row = Arc::clone(seen.index.guests.get(&target.vmid).expect("it was found in this index"));
    let tasks = || Box::new(TaskLogs::new(row.vmid, online(&seen.index), wish)) as Box<dyn Tap>;
    if args.tasks {
        return Ok(alone(tasks()));
    }
    // Whether it runs, the node knows better than the index, which is up to ten seconds old.
    let hint = match row.guest {
        GuestType::Lxc => "a container's journal comes through the host link (the context's `link:`)",
        GuestType::Qemu => "a VM's journal comes through its guest agent, from a Linux that keeps one",
    };
    Ok(Source { tap: Box::new(GuestJournal::new(Arc::clone(&row), wish)), otherwise: Some(tasks()), hint })
}

fn online(index: &Index) -> Vec<String> {
    index.nodes.values().filter(|node| node.online).map(|node| node.name.clone()).collect()
}

fn worry(text: &str) {
    let _ = writeln!(anstream::stderr(), "warning: {text}");
}

/// Shows what there is, and what comes.
async fn give(cluster: &Cluster<'_>, follows: bool, source: Source, wish: Wish, tell: &dyn Fn(&str) -> bool) -> Ended {
    let Source { mut tap, otherwise, hint } = source;
    let most = if follows { None } else { wish.lines };
    let mut ended = drain(tap.as_mut(), cluster, most, tell).await;
    if let (Err(dry), Some(other)) = (&ended, otherwise) {
        let why = match dry {
            Dry::Wire(error) => error.to_string(),
            Dry::Never(why) => why.clone(),
        };
        worry(&format!("its journal cannot be read, so these are the logs of its tasks: {why}\n  hint: {hint}"));
        tap = other;
        ended = drain(tap.as_mut(), cluster, most, tell).await;
    }
    if tap.is_untimed() && wish.since.is_some() {
        worry("it keeps its log in a file of syslog, whose lines carry no year: `--since` was not heeded; use -n");
    }
    let ended = match ended {
        Ok(true) if follows => follow(tap.as_mut(), cluster, &WallClock, tell, &worry).await,
        Ok(_) => Ok(()),
        Err(dry) => Err(dry),
    };
    let dry = match ended {
        Ok(()) => return Ok(exit::DONE),
        Err(dry) => dry,
    };
    Err(match dry {
        Dry::Wire(error) => Failure::wire(exit::FAILED, &error),
        Dry::Never(why) => Failure::new(exit::FAILED, why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now = 1_795_309_200;
        let utc = |text: &str| moment(text, now, &TimeZone::UTC);
        assert_eq!(utc("2h"), Ok(now - 7200));
        assert_eq!(utc("90s"), Ok(now - 90));
        assert_eq!(utc("2026-11-22T01:00:00Z"), Ok(now));
        assert_eq!(utc("2026-11-22 01:00"), Ok(now));
        assert_eq!(utc("2026-11-22T02:00:00+01:00"), Ok(now));
        assert_eq!(utc("2026-11-22"), Ok(now - 3600));
        assert!(utc("yesterday").is_err());
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        assert_eq!(moment("2026-11-22 02:00", now, &berlin), Ok(now));
    }
}
