//! Parameters: backups and backup jobs.

use crate::sim::params::{self, storage::PRUNE_BACKUPS};
use crate::sim::verify::{Kind, Param, at_least, between, format, opt};

/// What a backup run and a job can be told.
pub const VZDUMP: &[Param] = &[
    opt("all", Kind::Bool),
    opt("bwlimit", at_least(0)),
    opt("compress", Kind::Enum(&["0", "1", "gzip", "lzo", "zstd"])),
    opt("dumpdir", Kind::Str),
    opt("exclude", Kind::List(params::vmid)),
    opt("exclude-path", Kind::Each(&Kind::Str)),
    opt("fleecing", Kind::Str),
    opt("ionice", between(0, 8)),
    opt("lockwait", at_least(0)),
    opt("mailnotification", Kind::Enum(&["always", "failure"])),
    opt("mailto", Kind::Str),
    opt("mode", Kind::Enum(&["snapshot", "suspend", "stop"])),
    opt("notes-template", Kind::Len(0, 1024)),
    opt("notification-mode", Kind::Enum(&["auto", "legacy-sendmail", "notification-system"])),
    opt("pbs-change-detection-mode", Kind::Enum(&["legacy", "data", "metadata"])),
    opt("performance", Kind::Str),
    opt("pigz", Kind::Int(None, None)),
    opt("pool", Kind::Str),
    opt("protected", Kind::Bool),
    opt("prune-backups", PRUNE_BACKUPS),
    opt("quiet", Kind::Bool),
    opt("remove", Kind::Bool),
    opt("script", Kind::Str),
    opt("stdexcludes", Kind::Bool),
    opt("stop", Kind::Bool),
    opt("stopwait", at_least(0)),
    opt("storage", format(params::storage_id)),
    opt("tmpdir", Kind::Str),
    opt("vmid", Kind::List(params::vmid)),
    opt("zstd", Kind::Int(None, None)),
];

/// What only a run has: a job cannot be told these.
pub const RUN: &[Param] = &[opt("job-id", Kind::Len(0, 50)), opt("stdout", Kind::Bool)];

/// `GET …/vzdump/defaults`.
pub const DEFAULTS: &[Param] = &[opt("storage", format(params::storage_id))];

/// `GET …/vzdump/extractconfig`.
pub const EXTRACT: &[Param] = &[crate::sim::verify::req("volume", Kind::Str)];

/// What a job has besides.
pub const JOB: &[Param] = &[
    opt("comment", Kind::Len(0, 512)),
    opt("dow", Kind::Str),
    opt("enabled", Kind::Bool),
    opt("node", format(params::node)),
    opt("repeat-missed", Kind::Bool),
    opt("schedule", Kind::Format(calendar_event, 128)),
    opt("starttime", Kind::Str),
];

/// A job's id where it is no part of the path.
pub const ID: &[Param] = &[opt("id", Kind::Str)];

/// `delete` of an update.
pub const DELETE: &[Param] = &[opt("delete", Kind::List(params::config_id))];

/// `GET /cluster/jobs/schedule-analyze`.
pub const ANALYZE: &[Param] = &[
    crate::sim::verify::req("schedule", Kind::Format(calendar_event, 128)),
    opt("iterations", between(1, 100)),
    opt("starttime", Kind::Int(None, None)),
];

/// `pve-calendar-event`, roughly: named spans, weekdays, times.
pub fn calendar_event(text: &str) -> Result<(), String> {
    const NAMED: &[&str] = &["minutely", "hourly", "daily", "weekly", "monthly", "yearly", "quarterly", "semiannually"];
    const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let word = |w: &str| {
        let day = w.split([',', '.']).filter(|p| !p.is_empty());
        let days = day.clone().all(|d| DAYS.iter().any(|name| d.to_ascii_lowercase().starts_with(name)));
        let time = w.starts_with(|c: char| c.is_ascii_digit() || c == '*')
            && w.chars().all(|c| c.is_ascii_digit() || "*/:-,.".contains(c));
        days || time
    };
    match NAMED.contains(&text) || (!text.is_empty() && text.split_whitespace().all(word)) {
        true => Ok(()),
        false => Err(format!(
            "invalid calendar event '{text}' - unable to parse calendar event at '{text}' - Context(\"weekday\")\n\n"
        )),
    }
}
