//! `sim serve`: the simulator as a server of its own, over HTTPS on loopback. `sim advance`, `sim job`: what happens by itself in
//! a real data centre, and on a real GitHub.

use crate::cli::args::Global;
use crate::cli::args::sim::{Baseline as Wanted, Sim as Asked, SimAdvance, SimJob, SimServe};
use crate::cli::exit;
use crate::cli::run::{Ended, Failure, block_on_deaf, print};
use crate::cli::session::Session;
use crate::config::disk::write_atomically;
use crate::github::place::Scope;
use crate::sim::Sim;
use crate::sim::baseline::Baseline;
use crate::sim::github::front::NewJobs;
use crate::sim::serve::serve;

/// Guests and nodes of `--baseline scale` where nothing is said.
const SCALE: (u32, u32) = (3, 100);
/// At this speed no task of the recordings takes over a second.
const RECORDINGS_SPEED: f64 = 50.0;
/// As fast as life, but for patience.
const USUAL_SPEED: f64 = 10.0;

/// `sim`.
pub fn sim(global: &Global, args: &Asked) -> Ended {
    match args {
        Asked::Serve(args) => serve_it(args),
        Asked::Advance(args) => advance(global, args),
        Asked::Job(args) => job(global, args),
    }
}

/// `sim advance`.
fn advance(global: &Global, args: &SimAdvance) -> Ended {
    let session = Session::open(&Global { sim: true, ..global.clone() }, None)?;
    let now = session.pass(args.by);
    session.close()?;
    print(&format!("it is {now} on the simulated cluster\n"));
    Ok(exit::DONE)
}

/// `sim job`.
fn job(global: &Global, args: &SimJob) -> Ended {
    let SimJob { repository, labels, takes, count, api, enterprise } = args;
    if !Scope::Repository(repository.clone()).is_plain() {
        let said = format!("`{repository}` is no repository");
        return Err(Failure::new(exit::USAGE, said).hint("write it as owner/name: acme/app"));
    }
    let session = Session::open(&Global { sim: true, ..global.clone() }, None)?;
    let new = NewJobs {
        api: api.trim_end_matches('/').to_owned(),
        enterprise: enterprise.clone(),
        count: usize::try_from(*count).unwrap_or(1),
        labels: labels.clone(),
        ..NewJobs::new(repository, &[], *takes)
    };
    let ids = session.queue(&new);
    session.close()?;
    let jobs: String = ids.iter().map(|id| format!("job {id} of {repository} is queued\n")).collect();
    print(&jobs);
    Ok(exit::DONE)
}

/// `sim serve`.
fn serve_it(args: &SimServe) -> Ended {
    let SimServe { listen, state, baseline, nodes, guests, speed, fault } = args;
    if (nodes.is_some() || guests.is_some()) && *baseline != Wanted::Scale {
        return Err(Failure::new(exit::USAGE, "--nodes and --guests go with --baseline scale"));
    }
    let fresh = || {
        Sim::new(match baseline {
            Wanted::Homelab => Baseline::Homelab,
            Wanted::Recordings => Baseline::Recordings,
            Wanted::Scale => Baseline::Scale { nodes: nodes.unwrap_or(SCALE.0), guests: guests.unwrap_or(SCALE.1) },
        })
    };
    let unusable = |why: String| Failure::new(exit::USAGE, format!("the state file cannot be used: {why}"));
    let sim = match state {
        None => fresh(),
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => Sim::load(&text).map_err(|e| unusable(e.to_string()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => fresh(),
            Err(error) => return Err(unusable(error.to_string())),
        },
    };
    let usual = if *baseline == Wanted::Recordings { RECORDINGS_SPEED } else { USUAL_SPEED };
    let speed = speed.unwrap_or(usual);
    if !(speed.is_finite() && speed > 0.0) {
        return Err(Failure::new(exit::USAGE, "--speed is a number greater than zero"));
    }
    sim.set_speed(Some(speed));
    fault.iter().cloned().for_each(|fault| sim.inject(fault));
    let ended = block_on_deaf(async {
        let served = serve(sim.clone(), *listen, |ready| print(&format!("{}\n", ready.to_json())));
        tokio::select! {
            ended = served => ended,
            _ = stopped() => Ok(()),
        }
    })?;
    if let Some(path) = state {
        write_atomically(path, &sim.save()).map_err(|e| unusable(e.to_string()))?;
    }
    ended.map_err(|e| {
        Failure::new(exit::FAILED, format!("{listen} cannot be served: {e}"))
            .hint("is the port taken? --listen 127.0.0.1:0 takes any free one")
    })?;
    Ok(exit::DONE)
}

/// SIGINT or SIGTERM.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}
