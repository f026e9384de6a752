//! `wait`: until a condition of an object holds, or it is gone.

use crate::cli::args::{self, Global};
use crate::cli::exit;
use crate::cli::kind::find_kind;
use crate::cli::output::{self, Format};
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::session::Session;
use crate::engine::observe::{index, read_all};
use crate::resource::observation::Observation;
use crate::resource::reference::Identity;
use serde_json::json;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Owned, unlocked, and in the power state that was last applied (or not so).
    Ready(bool),
    /// Not there.
    Gone,
}

fn until(text: &str) -> Result<Until, Failure> {
    match text.strip_prefix("condition=").map(str::to_lowercase).as_deref() {
        Some("ready" | "ready=true") => Ok(Until::Ready(true)),
        Some("ready=false") => Ok(Until::Ready(false)),
        _ if text == "delete" => Ok(Until::Gone),
        _ => Err(Failure::new(exit::USAGE, format!("`{text}` cannot be waited for"))
            .hint("condition=Ready, condition=Ready=False or delete")),
    }
}

/// `wait KIND/NAME --for WHAT --timeout TIME`.
pub fn wait(global: &Global, args: &args::Wait) -> Ended {
    let until = until(&args.until)?;
    let Some((kind, name)) = args.object.split_once('/') else {
        return Err(Failure::new(exit::USAGE, format!("`{}` names no object", args.object))
            .hint("write it like VirtualMachine/web-01"));
    };
    let kind = find_kind(kind)?;
    let session = Session::open(global, None)?;
    let held = block_on(async {
        let cluster = session.cluster();
        let lists = kind.lists().into_iter().collect();
        let end = cluster.clock.now_ms() + u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX / 2);
        loop {
            let wire = |e: crate::pve::error::PveError| Failure::wire(exit::FAILED, &e);
            let index = index(cluster.api, cluster.clock, &lists).await.map_err(wire)?;
            let bare = Observation::new(index.clone());
            let reads = kind.list(&bare).iter().flat_map(|l| kind.reads(&l.identity, None, &index)).collect();
            let seen = read_all(cluster.api, cluster.clock, index, reads).await.map_err(wire)?;
            let found = kind.list(&seen).into_iter().find(|l| l.name == name);
            let ready = found.as_ref().is_some_and(|l| {
                let power = l.marker.as_ref().and_then(|m| m.applied.get("power")).map(|p| p == "Running");
                match &l.identity {
                    Identity::Guest { vmid, .. } => seen
                        .index
                        .guests
                        .get(vmid)
                        .is_some_and(|r| r.lock.is_none() && power.is_none_or(|on| (r.status == "running") == on)),
                    Identity::Pool(_) | Identity::Object { .. } => true,
                }
            });
            let holds = match until {
                Until::Ready(wanted) => ready == wanted,
                Until::Gone => found.is_none(),
            };
            if holds || cluster.clock.now_ms() >= end {
                return Ok::<bool, Failure>(holds);
            }
            cluster.clock.sleep(LOOK_EVERY).await;
        }
    })??;
    session.close()?;
    match &args.format.output {
        // One shape, whether it came true or not; the exit code tells which.
        Some(Format::Value(form)) => {
            let value = json!({"object": args.object, "for": args.until, "holds": held});
            print(&output::write(&value, form)?);
        }
        Some(Format::Name) if held => print(&format!("{}\n", args.object)),
        Some(Format::Table | Format::Wide) | None if held => print(&format!("{}: {}\n", args.object, args.until)),
        Some(Format::Table | Format::Wide | Format::Name) | None => {}
    }
    if held {
        return Ok(exit::DONE);
    }
    Err(Failure::new(
        exit::FAILED,
        format!("{} did not come true for {} in {} s", args.until, args.object, args.timeout.as_secs()),
    ))
}
