//! Lines page by page: from the first question to the last, and then as they come. No line comes twice, none is lost: each
//! source knows the place of the last line that it gave.

use crate::base::clock::Clock;
use crate::engine::reconcile::Cluster;
use crate::pve::error::PveError;
use futures::future::BoxFuture;
use std::time::Duration;

/// How often is looked whether there is more.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a cluster may be away while its log is followed: a node that reboots is back by then.
const TRIES_MAX: u32 = 150;

/// Which lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The newest so many; `None`: all since then.
    pub lines: Option<usize>,
    /// Not older than this, in seconds since 1970.
    pub since: Option<i64>,
}

/// Where lines come from.
pub trait Tap: Send {
    /// The lines that were wished for, or those that came since; empty: there are no more just now.
    fn next<'a>(&'a mut self, cluster: &'a Cluster<'_>) -> BoxFuture<'a, Result<Vec<String>, Dry>>;
    /// It cannot be asked by time.
    fn is_untimed(&self) -> bool {
        false
    }
}

/// Why no lines come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dry {
    /// A request failed.
    Wire(PveError),
    /// There are none, and never will be: why.
    Never(String),
}

impl From<PveError> for Dry {
    fn from(error: PveError) -> Dry {
        Dry::Wire(error)
    }
}

/// Everything that there is; at most so many lines. Whether somebody still listens.
pub async fn drain(
    tap: &mut dyn Tap,
    cluster: &Cluster<'_>,
    most: Option<usize>,
    tell: &dyn Fn(&str) -> bool,
) -> Result<bool, Dry> {
    let mut left = most.unwrap_or(usize::MAX);
    while left > 0 {
        let lines = tap.next(cluster).await?;
        if lines.is_empty() {
            break;
        }
        if !lines.iter().take(left).all(|line| tell(line)) {
            return Ok(false);
        }
        left = left.saturating_sub(lines.len());
    }
    Ok(true)
}

/// Whatever comes, until somebody ends it, or nobody listens any more. A cluster that is away for a while is waited for: the place stays.
pub async fn follow(
    tap: &mut dyn Tap,
    cluster: &Cluster<'_>,
    clock: &dyn Clock,
    tell: &dyn Fn(&str) -> bool,
    worry: &dyn Fn(&str),
) -> Result<(), Dry> {
    let mut tries = 0;
    loop {
        match drain(tap, cluster, None, tell).await {
            Ok(true) => tries = 0,
            Ok(false) => return Ok(()),
            Err(Dry::Wire(error)) if tries < TRIES_MAX => {
                if tries == 0 {
                    worry(&format!("{error}; it is tried again"));
                }
                tries += 1;
            }
            Err(dry) => return Err(dry),
        }
        clock.sleep(LOOK_EVERY).await;
    }
}

/// A line as it can be shown: nothing in it moves the cursor of a terminal.
pub fn shown(line: &str) -> String {
    let line = line.trim_end_matches(['\n', '\r']);
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}
