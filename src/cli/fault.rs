//! Faults of the simulator as they are typed: `WHAT@WHEN`.
//!
//! | WHAT                                          | what goes wrong                                              |
//! |-----------------------------------------------|--------------------------------------------------------------|
//! | `unsent`, `drop-before`, `drop-after`         | the request never leaves; is lost before, after its effect   |
//! | `slow=MS`                                     | it takes so many milliseconds longer                         |
//! | `503`, `500=TEXT`, …                          | answered with a status (and a text), without effect          |
//! | `node-offline`, `expired`                     | 595; 401                                                     |
//! | `task-fails=TEXT`, `task-warns`               | the task it starts                                           |
//! | `task-dies=VOLUMES`                           | the task it starts is killed after so many volumes           |
//! | `locked=NAME`, `lock-timeout`, `digest-race`  | the guest's lock; its lock file; somebody else changes it    |
//! | `storage-full`                                | no room                                                      |
//!
//! `WHEN` is the number of a request from now (0 is the next), `writes`, or `METHOD:TEXT`, where either may be empty and
//! TEXT is a part of the path; of a request to GitHub, of its whole address (`POST:generate-jitconfig`). A `*` at its end: every time, not only the first.

use crate::sim::faults::{Fault, FaultKind, When};

/// Reads one fault; the error says what was expected.
pub fn parse(text: &str) -> Result<Fault, String> {
    let (what, when) = text.rsplit_once('@').ok_or("expected WHAT@WHEN, such as drop-after@POST:/clone")?;
    let (when, always) = when.strip_suffix('*').map_or((when, false), |w| (w, true));
    let fault = Fault { kind: kind(what)?, when: moment(when)?, once: true };
    Ok(if always { fault.always() } else { fault })
}

fn kind(what: &str) -> Result<FaultKind, String> {
    let (word, argument) = what.split_once('=').map_or((what, None), |(w, a)| (w, Some(a)));
    let said = |usual: &str| argument.unwrap_or(usual).to_owned();
    if let Ok(status) = word.parse::<u16>() {
        return match status {
            400..=599 => Ok(FaultKind::Status(status, said("made to fail"))),
            _ => Err(format!("{status} is no status of a failure: 400 to 599")),
        };
    }
    match (word, argument) {
        ("unsent", None) => Ok(FaultKind::Unsent),
        ("drop-before", None) => Ok(FaultKind::DropBefore),
        ("drop-after", None) => Ok(FaultKind::DropAfter),
        ("slow", Some(ms)) => {
            ms.parse().map(FaultKind::Slow).map_err(|_| format!("`{ms}` is no number of milliseconds"))
        }
        ("node-offline", None) => Ok(FaultKind::NodeOffline),
        ("expired", None) => Ok(FaultKind::Expired),
        ("task-fails", _) => Ok(FaultKind::TaskFails(said("made to fail"))),
        ("task-dies", volumes) => volumes
            .unwrap_or("0")
            .parse()
            .map(FaultKind::TaskDies)
            .map_err(|_| format!("`{}` is no number of volumes", volumes.unwrap_or_default())),
        ("task-warns", None) => Ok(FaultKind::TaskWarns),
        ("locked", _) => Ok(FaultKind::Locked(said("backup"))),
        ("lock-timeout", None) => Ok(FaultKind::LockTimeout),
        ("digest-race", None) => Ok(FaultKind::DigestRace),
        ("storage-full", None) => Ok(FaultKind::StorageFull),
        _ => Err(format!(
            "there is no fault `{what}`: unsent, drop-before, drop-after, slow=MS, a status, node-offline, expired, \
             task-fails=TEXT, task-dies=VOLUMES, task-warns, locked=NAME, lock-timeout, digest-race, storage-full"
        )),
    }
}

fn moment(when: &str) -> Result<When, String> {
    if when == "writes" {
        return Ok(When::Writes);
    }
    if let Ok(n) = when.parse() {
        return Ok(When::Request(n));
    }
    match when.split_once(':') {
        Some((method, path)) if ["", "GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method) => {
            Ok(When::Matching { method: method.to_owned(), path: path.to_owned() })
        }
        _ => Err(format!("`{when}` is no moment: a number, `writes`, or METHOD:PATH")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_typed() {
        assert_eq!(parse("drop-after@POST:/clone"), Ok(Fault::on("POST", "/clone", FaultKind::DropAfter)));
        assert_eq!(parse("slow=5000@3"), Ok(Fault::at(3, FaultKind::Slow(5000))));
        let always = Fault { kind: FaultKind::Status(503, "no @ today".into()), when: When::Writes, once: false };
        assert_eq!(parse("503=no @ today@writes*"), Ok(always));
        assert_eq!(parse("task-fails=boom@:"), Ok(Fault::on("", "", FaultKind::TaskFails("boom".into()))));
    }

    #[test]
    fn faults_that_cannot_be_are_refused() {
        for text in ["", "503", "503@", "200@1", "slow@1", "slow=x@1", "flood@1", "unsent=1@1", "unsent@FETCH:/x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
