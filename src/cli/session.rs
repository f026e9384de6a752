//! The cluster that a command talks to: a real one from the configuration, or the embedded simulator, whose state is kept
//! in a file between commands.

use crate::base::clock::Clock;
use crate::base::links::Links;
use crate::base::resolver::Resolver;
use crate::cli::args::{Connection, Global};
use crate::cli::command::Programs;
use crate::cli::ends::Ends;
use crate::cli::github;
use crate::cli::shelf::FileShelf;
use crate::config::connect::{connect, open};
use crate::config::disk::write_atomically;
use crate::config::resolve::{Credentials, Flags};
use crate::daemon::github::{GitHub, Nobody};
use crate::dns::System;
use crate::engine::door::Door;
use crate::engine::reconcile::Cluster;
use crate::github::hub::Hub;
use crate::host::link::{Link, Nowhere};
use crate::host::ways::Ways;
use crate::kinds::list::KINDS;
use crate::lockout::way::Way;
use crate::pve::api::Api;
use crate::pve::networks_lock::{Remembering, Shelf};
use crate::secret_files::Folder;
use crate::sim::Sim;
use crate::sim::baseline::Baseline;
use crate::sim::github::front::{NewJobs, SimSecrets};
use futures::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Real time.
pub struct WallClock;

impl Clock for WallClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Real time, so many milliseconds ahead: a simulated cluster whose time was let pass is ahead of ours.
#[derive(Clone, Copy, Debug, Default)]
pub struct AheadClock(u64);

impl AheadClock {
    /// As far ahead as the cluster of `--sim`; not at all for a real one.
    pub fn of(global: &Global) -> Result<AheadClock, Unusable> {
        if !global.sim {
            return Ok(AheadClock::default());
        }
        let there = Session::open(global, None)?.clock.now_ms();
        Ok(AheadClock(there.saturating_sub(WallClock.now_ms())))
    }
}

impl Clock for AheadClock {
    fn now_ms(&self) -> u64 {
        WallClock.now_ms().saturating_add(self.0)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        WallClock.sleep(duration)
    }
}

/// What went wrong before a command could begin: text, hint.
#[derive(Debug)]
pub struct Unusable {
    /// What.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// A cluster to talk to.
pub struct Session {
    api: Arc<dyn Api>,
    link: Option<Arc<dyn Link>>,
    hub: Option<Arc<Hub>>,
    shelf: Option<Arc<FileShelf>>,
    clock: Arc<dyn Clock>,
    names: Arc<dyn Resolver>,
    files: Arc<Folder>,
    sim: Option<(Sim, PathBuf)>,
    ends: Ends,
    /// We hold a ticket of root@pam, which may set what no token may.
    pub root_ticket: bool,
    /// The nodes that have a host link.
    pub links: Links,
}

impl Session {
    /// Opens what the flags name. `context` is what the manifests' `pvectl.yaml` names, where the flags name none.
    pub fn open(global: &Global, context: Option<&str>) -> Result<Session, Unusable> {
        if global.sim {
            return Session::simulated(global);
        }
        let context = global.context.clone().or_else(|| context.map(str::to_owned));
        let Connection { config, endpoints, fingerprints, ca_file, insecure } = global.connection.clone();
        let flags = Flags { config, context, endpoints, fingerprints, ca_file, insecure };
        let configured = |e: crate::config::error::ConfigError| Unusable { message: e.to_string(), hint: e.hint() };
        let connection = open(&flags, &|name| std::env::var(name).ok()).map_err(configured)?;
        let root_ticket =
            matches!(&connection.credentials.value, Credentials::Password { user, .. } if user == "root@pam");
        let ends = Ends::Endpoints(connection.endpoints.value.clone());
        let cluster = connection.endpoints.value.first().map(ToString::to_string).unwrap_or_default();
        let shelf = Arc::new(FileShelf::new(state_folder().as_deref(), &cluster));
        let link: Arc<dyn Link> = match connection.link.clone() {
            Some(link) => Arc::new(Ways::new(link.value)),
            None => Arc::new(Nowhere),
        };
        let links = link.links();
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        let hub = Arc::new(github::hub(Arc::clone(&clock)));
        let api = connect(connection, &Programs::default()).map_err(configured)?;
        let api = Arc::new(Remembering { api, shelf: Arc::clone(&shelf) });
        Ok(Session {
            api: Arc::new(Door::new(api, Arc::clone(&link)).with_hub(Arc::clone(&hub))),
            link: Some(link),
            hub: Some(hub),
            shelf: Some(shelf),
            clock,
            names: Arc::new(System::default()),
            files: Arc::new(Folder::new("")),
            sim: None,
            ends,
            root_ticket,
            links,
        })
    }

    fn simulated(global: &Global) -> Result<Session, Unusable> {
        let path = state_path(global)?;
        let unreadable = |why: String| Unusable {
            message: format!("the simulator's state {} cannot be used: {why}", path.display()),
            hint: Some("delete the file to begin anew".into()),
        };
        let sim = match std::fs::read_to_string(&path) {
            Ok(text) => Sim::load(&text).map_err(|e| unreadable(e.to_string()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Sim::new(Baseline::Homelab),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        sim.clear_faults();
        global.sim_fault.iter().cloned().for_each(|fault| sim.inject(fault));
        // Between commands nobody listens to whom GitHub could offer a job.
        sim.with_world(|world| world.github.settings.offers = false);
        let clock: Arc<dyn Clock> = Arc::new(sim.clock());
        let hub = Arc::new(Hub::new(Arc::new(sim.github()), Arc::clone(&clock), Arc::new(SimSecrets)));
        Ok(Session {
            // The simulator is its own link to its nodes.
            api: Arc::new(Door::of(Arc::new(sim.api())).with_hub(Arc::clone(&hub))),
            link: None,
            hub: Some(hub),
            // The simulator keeps nothing of a run that is killed.
            shelf: None,
            clock,
            names: Arc::new(sim.names()),
            files: Arc::new(Folder::new("")),
            sim: Some((sim, path)),
            ends: Ends::Simulated(global.sim_from),
            root_ticket: true,
            links: Links::Every,
        })
    }

    /// As the engine takes it.
    pub fn cluster(&self) -> Cluster<'_> {
        let Session { api, clock, names, files, .. } = self;
        Cluster {
            api: api.as_ref(),
            clock: clock.as_ref(),
            kinds: &KINDS,
            names: names.as_ref(),
            files: files.as_ref(),
        }
    }

    /// The way to a node itself, for what no API can do: `ssh root@10.0.0.1`. `None` where there is none.
    pub fn way(&self, node: &str) -> Option<String> {
        match &self.link {
            Some(link) => link.way(node),
            None => Some("simulated".to_owned()),
        }
    }

    /// What speaks to GitHub: listens to scale sets, is told of webhooks, knows the budgets. `None` where nothing does.
    pub fn hub(&self) -> Option<Arc<Hub>> {
        self.hub.clone()
    }

    /// From where to where we speak.
    pub fn ways(&self) -> Vec<Way> {
        self.ends.ways()
    }

    /// The token of PVE's lock on networks that a run of ours may have left.
    pub fn left_lock(&self) -> Option<String> {
        self.shelf.as_ref()?.left()
    }

    /// What a daemon shares between its runs.
    pub fn parts(&self) -> (Arc<dyn Api>, Arc<dyn Resolver>, Arc<Folder>) {
        (Arc::clone(&self.api), Arc::clone(&self.names), Arc::clone(&self.files))
    }

    /// What speaks to GitHub for a daemon.
    pub fn github(&self) -> Arc<dyn GitHub> {
        match self.hub() {
            Some(hub) => hub,
            None => Arc::new(Nobody),
        }
    }

    /// Lets the simulator's time pass by itself, so many times as fast as ours, beginning with ours if it is behind: for whoever stays.
    pub fn keep_time(&self, speed: f64) {
        let Some((sim, _)) = &self.sim else { return };
        let behind = WallClock.now_ms().saturating_sub(sim.clock().now_ms());
        sim.advance(Duration::from_millis(behind));
        sim.set_speed(Some(speed));
    }

    /// Lets time pass on the simulated cluster; tells what time it is there then.
    pub fn pass(&self, by: Duration) -> jiff::Timestamp {
        if let Some((sim, _)) = &self.sim {
            sim.advance(by);
        }
        let now = i64::try_from(self.clock.now_ms() / 1000).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(now).unwrap_or(jiff::Timestamp::MAX)
    }

    /// Queues jobs on the simulated GitHub. Their numbers.
    pub fn queue(&self, jobs: &NewJobs) -> Vec<u64> {
        self.sim.iter().flat_map(|(sim, _)| sim.github().queue(jobs)).collect()
    }

    /// Keeps the simulator's state for the next command.
    pub fn close(self) -> Result<(), Unusable> {
        self.save()
    }

    /// The same, for whoever shares it.
    pub fn save(&self) -> Result<(), Unusable> {
        let Some((sim, path)) = &self.sim else { return Ok(()) };
        write_atomically(path, &sim.save()).map_err(|error| Unusable {
            message: format!("the simulator's state could not be kept in {}: {error}", path.display()),
            hint: Some("name another file with --sim-state".into()),
        })
    }
}

/// Where what may be lost is kept between commands.
fn state_folder() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let base = base.or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".local/state")));
    base.map(|base| base.join("pvectl"))
}

fn state_path(global: &Global) -> Result<PathBuf, Unusable> {
    if let Some(path) = &global.sim_state {
        return Ok(path.clone());
    }
    state_folder().map(|folder| folder.join("sim.json")).ok_or_else(|| Unusable {
        message: "there is no home folder to keep the simulator's state in".into(),
        hint: Some("name a file with --sim-state".into()),
    })
}
