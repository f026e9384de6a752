//! A task followed to its end. PVE's 200 and UPID prove nothing: `OK` is success, `WARNINGS: n` is success with its warnings
//! shown, anything else is a failure with the log's last lines.

use crate::base::clock::Clock;
use crate::pve::api::Api;
use crate::pve::error::PveError;
use crate::pve::request::{Query, segment};
use crate::pve::upid::Upid;
use serde_json::Value;
use std::time::Duration;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Failed looks at a task in a row before it is given up; what became of it is then observed anew.
const BLIND_LOOKS_MAX: u32 = 12;
/// Looks at one task: at two seconds each, four hours and more.
const LOOKS_MAX: u32 = 8000;
/// Log lines that an error carries.
const LOG_TAIL: usize = 6;

/// How a task ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// `OK`.
    Ok,
    /// `WARNINGS: n`, with the lines that warn.
    Warnings(Vec<String>),
}

/// Follows a task; `progress` is told per cents as the log shows them.
pub async fn follow(
    api: &dyn Api,
    clock: &dyn Clock,
    request: &str,
    upid: &Upid,
    progress: &(dyn Fn(u8) + Sync),
) -> Result<Ended, PveError> {
    let base = format!("/nodes/{}/tasks/{}", upid.node, segment(upid.as_str()));
    let status = Query::new(format!("{base}/status"));
    let mut wait = FIRST_WAIT;
    let mut blind = 0;
    for look in 0..LOOKS_MAX {
        match api.get(&status).await {
            Ok(value) if value["status"] == "stopped" => return ended(api, request, upid, &base, &value).await,
            Ok(_) => blind = 0,
            Err(error) => {
                blind += 1;
                if blind >= BLIND_LOOKS_MAX {
                    return Err(PveError::Lost {
                        request: request.to_owned(),
                        cause: format!("its task {upid} could not be followed: {error}"),
                    });
                }
            }
        }
        if look % 4 == 3
            && let Ok(log) = api.get(&Query::new(format!("{base}/log")).with("limit", 500)).await
            && let Some(percent) = percent(&log)
        {
            progress(percent);
        }
        clock.sleep(wait).await;
        wait = LONGEST_WAIT.min(wait * 3 / 2);
    }
    Err(PveError::Lost { request: request.to_owned(), cause: format!("its task {upid} does not end") })
}

async fn ended(api: &dyn Api, request: &str, upid: &Upid, base: &str, status: &Value) -> Result<Ended, PveError> {
    let exit = status["exitstatus"].as_str().unwrap_or("").to_owned();
    if exit == "OK" {
        return Ok(Ended::Ok);
    }
    let log =
        api.get(&Query::new(format!("{base}/log")).with("limit", 5000)).await.map(|l| lines(&l)).unwrap_or_default();
    if exit.starts_with("WARNINGS:") {
        let warnings = log.into_iter().filter(|l| l.to_lowercase().contains("warn")).collect();
        return Ok(Ended::Warnings(warnings));
    }
    let tail = log.len().saturating_sub(LOG_TAIL);
    Err(PveError::TaskFailed {
        request: request.to_owned(),
        upid: upid.to_string(),
        exit_status: exit,
        log: log[tail..].to_vec(),
    })
}

fn lines(log: &Value) -> Vec<String> {
    log.as_array()
        .into_iter()
        .flatten()
        .filter_map(|l| l["t"].as_str())
        .filter(|t| !t.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The last per cent that a task's log names: `transferred 2.0 GiB of 20.0 GiB (10.00%)`.
fn percent(log: &Value) -> Option<u8> {
    lines(log).iter().rev().find_map(|line| {
        let end = line.rfind('%')?;
        let start = line[..end].rfind(|c: char| !c.is_ascii_digit() && c != '.').map_or(0, |i| i + 1);
        line[start..end].parse::<f64>().ok().filter(|p| (0.0..=100.0).contains(p)).map(|p| p as u8)
    })
}
