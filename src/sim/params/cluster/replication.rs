//! Parameters: replication jobs.

use crate::sim::params::cluster::backup::calendar_event;
use crate::sim::params::{self};
use crate::sim::verify::{Kind, Param, format, opt, req};

const JOB_ID: Param = req("id", Kind::Format(job_id, usize::MAX));

/// A job's options.
pub const JOB: &[Param] = &[
    JOB_ID,
    opt("comment", Kind::Len(0, 4096)),
    opt("disable", Kind::Bool),
    opt("rate", Kind::Num(Some(1.0), None)),
    opt("remove_job", Kind::Enum(&["local", "full"])),
    opt("schedule", Kind::Format(calendar_event, 128)),
    opt("source", format(params::node)),
];

/// A new job.
pub const NEW: &[Param] = &[req("target", format(params::node)), req("type", Kind::Enum(&["local"]))];

/// A changed job.
pub const CHANGE: &[Param] = &[opt("delete", Kind::List(params::config_id)), opt("digest", Kind::Len(0, 64))];

/// A removed job.
pub const DELETE: &[Param] = &[JOB_ID, opt("force", Kind::Bool), opt("keep", Kind::Bool)];

/// One job.
pub const GET: &[Param] = &[JOB_ID];

/// `GET /nodes/{node}/replication`.
pub const ON_NODE: &[Param] = &[opt("guest", params::VMID)];

/// `pve-replication-job-id`: the guest and a number.
fn job_id(text: &str) -> Result<(), String> {
    let number = |t: &str| !t.is_empty() && t.len() <= 9 && t.bytes().all(|b| b.is_ascii_digit());
    match text.split_once('-') {
        Some((guest, n)) if number(guest) && number(n) && guest.len() >= 3 && !guest.starts_with('0') => Ok(()),
        _ => Err(format!("invalid replication job id '{text}'\n")),
    }
}
