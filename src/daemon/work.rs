//! What the loop sets going and waits for: polls, readings in turn, looks and runs. Each is one future that ends with a
//! [`Moment`]; a panic in one of them ends that one only.

use crate::base::clock::Clock;
use crate::base::id::VmId;
use crate::base::links::Links;
use crate::base::resolver::Resolver;
use crate::base::secret_file::SecretFiles;
use crate::daemon::cache::{Cache, Look, Run, Scanned};
use crate::daemon::github::GitHub;
use crate::daemon::pace::Haste;
use crate::daemon::queue::Batch;
use crate::daemon::runners::Seen as Pool;
use crate::daemon::runners::seen::pools;
use crate::daemon::shared::Shared;
use crate::daemon::signs;
use crate::daemon::source::{Broken, Reading, Source};
use crate::daemon::windows::{Seen, windows};
use crate::engine::observe::observe;
use crate::engine::reconcile::{Cluster, Halt, Report, reconcile};
use crate::github::demand::Ask;
use crate::github::place::Place as OnGitHub;
use crate::kinds::list::KINDS;
use crate::lockout::way::Way;
use crate::plan::assemble::{Plan, Settings, plan};
use crate::plan::gate::Consent;
use crate::pve::error::PveError;
use crate::pve::request::Query;
use crate::report::event::{Event, Watch};
use crate::resource::index::number;
use crate::resource::reference::ResourceRef;
use futures::future::BoxFuture;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// The longest wait between two polls of a cluster that does not answer.
const POLL_MAX: Duration = Duration::from_secs(30);
/// How long the orderly end of a listener may take.
const HANG_UP: Duration = Duration::from_secs(10);
/// How long a reading in turn goes on before it tells what it found.
const SCAN_TICK: Duration = Duration::from_millis(500);

/// One cluster.
pub struct Place {
    /// Its name, for people: a context's, or `sim`.
    pub name: String,
    /// What is known of it, and the door to it.
    pub cache: Arc<Cache>,
    /// DNS.
    pub names: Arc<dyn Resolver>,
    /// Where secrets are kept that PVE tells once.
    pub files: Arc<dyn SecretFiles>,
    /// What this machine knows of our way to it.
    pub outside: Arc<dyn Outside>,
    /// We speak with a ticket of root@pam.
    pub root_ticket: bool,
    /// The nodes that have a host link.
    pub links: Links,
    /// What speaks to GitHub for it.
    pub github: Arc<dyn GitHub>,
}

/// What this machine knows of our way to a cluster; asked again before each look, since it may change.
pub trait Outside: Send + Sync {
    /// From where to where we speak: nothing may close it.
    fn ways(&self) -> Vec<Way>;
    /// The token of PVE's lock on networks that a run of ours may have left when it was killed.
    fn left_lock(&self) -> Option<String>;
}

/// Something has ended.
pub enum Moment {
    /// A source was read.
    Read {
        /// Which line.
        line: usize,
        /// The source, to be asked again.
        tap: Tap,
        /// What it holds.
        read: Box<Result<Reading, Broken>>,
    },
    /// A cluster was polled.
    Polled {
        /// Which.
        place: usize,
        /// Answers to [`signs::queries`].
        answers: Vec<Result<Value, PveError>>,
        /// The containers of some nodes, as these list them.
        live: Vec<Value>,
        /// How far the cluster's clock is ahead of ours, in milliseconds, if it was asked.
        ahead_ms: Option<i64>,
    },
    /// Some guests were read in turn.
    Scanned {
        /// Of which cluster.
        place: usize,
        /// Those that are not as they were.
        moved: BTreeSet<VmId>,
        /// Something that is no guest's is not as it was.
        others: bool,
    },
    /// Everything of a source was compared.
    Looked(Box<Looked>),
    /// A run has ended.
    Ran(Box<Ran>),
    /// A turn of a listener has ended.
    Listened {
        /// Which line, and the pool's name.
        key: (usize, String),
        /// How.
        ended: Listened,
    },
}

/// How a turn of a listener ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listened {
    /// Well; whether there is news.
    Well(bool),
    /// GitHub did not answer, or said no.
    Failed(String),
    /// It was told to end, and has.
    HungUp,
}

/// A look that has ended.
pub struct Looked {
    /// Which line.
    pub line: usize,
    /// When it began.
    pub began_ms: u64,
    /// After how many moments of the loop it began.
    pub after: u64,
    /// With which manifests.
    pub reading: Arc<Reading>,
    /// What was seen.
    pub glance: Result<Glance, String>,
}

/// What a look saw.
pub struct Glance {
    /// The plan of everything.
    pub plan: Plan,
    /// How patch windows stand.
    pub windows: Vec<Seen>,
    /// How runner pools stand.
    pub pools: Vec<Pool>,
}

/// A run that has ended.
pub struct Ran {
    /// Its id.
    pub id: String,
    /// Which line.
    pub line: usize,
    /// What it was for.
    pub batch: Batch,
    /// The proposal that it carried out.
    pub proposal: Option<String>,
    /// The guests that it was about.
    pub guests: BTreeSet<VmId>,
    /// When it began.
    pub began_ms: u64,
    /// The steps that ended well, of each object.
    pub did: BTreeMap<ResourceRef, Vec<String>>,
    /// How it ended; the text tells of a bug.
    pub ended: Result<Result<Report, Halt>, String>,
}

/// A future that ends with a moment.
pub type Work = BoxFuture<'static, Moment>;

/// Why a source is read although it saw nothing itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poke {
    /// Somebody asks.
    Asked,
    /// A repository was pushed to: its addresses and the branch.
    Pushed(Vec<String>, String),
}

/// A source, and what it is poked by.
pub struct Tap {
    /// The source.
    pub source: Box<dyn Source>,
    /// The pokes.
    pub pokes: mpsc::Receiver<Poke>,
}

/// Waits until a source may have moved, and reads it; at once if `now`.
pub fn read(line: usize, mut tap: Tap, now: bool) -> Work {
    Box::pin(async move {
        loop {
            if now {
                break;
            }
            let Tap { source, pokes } = &mut tap;
            let poke = tokio::select! {
                () = source.changed() => break,
                poke = pokes.recv() => poke,
            };
            match poke {
                Some(Poke::Pushed(urls, branch)) if !tap.source.follows(&urls, &branch) => {}
                Some(Poke::Pushed(..) | Poke::Asked) => break,
                // The loop is gone.
                None => futures::future::pending().await,
            }
        }
        let read = Box::new(tap.source.read().await);
        Moment::Read { line, tap, read }
    })
}

/// How far a node's clock is ahead of ours: `/nodes/NODE/time`, which has whole seconds. Half of what the question took is
/// the way there.
async fn ahead(cache: &Cache, clock: &dyn Clock, node: &str) -> Option<i64> {
    let began = clock.now_ms();
    let answer = cache.fresh(&Query::new(format!("/nodes/{node}/time")), &Haste::Soon(Arc::default())).await.ok()?;
    let ours = began.midpoint(clock.now_ms());
    let theirs = number(&answer["time"])?.saturating_mul(1000);
    Some(i64::try_from(theirs).ok()? - i64::try_from(ours).ok()?)
}

/// Asks a cluster for signs of change, a little later; later still when it did not answer before. Also for lists of
/// containers, and for the time of a node, if one is named.
pub fn poll(
    place: usize,
    cache: Arc<Cache>,
    clock: Arc<dyn Clock>,
    every: Duration,
    failures: u32,
    (live, node): (Vec<Query>, Option<String>),
) -> Work {
    Box::pin(async move {
        clock.sleep(every.saturating_mul(1 << failures.min(5)).min(POLL_MAX.max(every))).await;
        let (queries, haste) = (signs::queries(), Haste::Soon(Arc::default()));
        let answers = futures::future::join_all(queries.iter().map(|query| cache.fresh(query, &haste))).await;
        let live = futures::future::join_all(live.iter().map(|query| cache.fresh(query, &haste))).await;
        let live = live.into_iter().filter_map(Result::ok).collect();
        let ahead_ms = match node {
            Some(node) => ahead(&cache, &*clock, &node).await,
            None => None,
        };
        Moment::Polled { place, answers, live, ahead_ms }
    })
}

/// Reads guests in turn, at most so many a second, until one has moved or it is time to tell.
pub fn scan(place: usize, cache: Arc<Cache>, clock: Arc<dyn Clock>, per_second: u32, scan: Duration) -> Work {
    Box::pin(async move {
        let (mut moved, mut others) = (BTreeSet::new(), false);
        let (mut spent, pause) = (Duration::ZERO, Duration::from_secs(1) / per_second.max(1));
        while spent < SCAN_TICK {
            clock.sleep(pause).await;
            spent += pause;
            match cache.scan(u64::try_from(scan.as_millis()).unwrap_or(u64::MAX)).await {
                Scanned::Nothing => {
                    clock.sleep(SCAN_TICK.saturating_sub(spent)).await;
                    break;
                }
                Scanned::Same => {}
                Scanned::Moved(Some(guest)) => drop(moved.insert(guest)),
                Scanned::Moved(None) => others = true,
            }
        }
        Moment::Scanned { place, moved, others }
    })
}

/// Compares everything that a source declares: which line it is, and after how many moments of the loop it begins.
pub fn look(
    (line, after): (usize, u64),
    (source, reading): (&str, Arc<Reading>),
    place: &Place,
    clock: Arc<dyn Clock>,
    settings: Settings,
    haste: Haste,
) -> Work {
    let (cache, names, files) = (Arc::clone(&place.cache), Arc::clone(&place.names), Arc::clone(&place.files));
    let began_ms = clock.now_ms();
    let (of, source) = (Arc::clone(&reading), source.to_owned());
    let task = tokio::spawn(async move {
        let api = Look { cache, haste };
        let cluster = Cluster { api: &api, clock: &*clock, kinds: &KINDS, names: &*names, files: &*files };
        let seen = observe(&cluster, &of.desired, &settings).await?;
        let plan = plan(&of.desired, &seen, cluster.kinds, &settings);
        let (windows, pools) = (windows(&of.desired, &seen, &source), pools(&of.desired, &seen, &source));
        Ok::<Glance, PveError>(Glance { plan, windows, pools })
    });
    Box::pin(async move {
        let glance = match task.await {
            Ok(glance) => glance.map_err(|error| error.to_string()),
            Err(bug) => Err(format!("a bug of pvectl: {bug}")),
        };
        Moment::Looked(Box::new(Looked { line, began_ms, after, reading, glance }))
    })
}

/// One turn of a pool's listener, until it ends or is told to.
pub fn listen(key: (usize, String), github: Arc<dyn GitHub>, (place, ask): (OnGitHub, Ask), stop: Arc<Notify>) -> Work {
    let task = tokio::spawn(async move {
        let turn = tokio::select! {
            biased;
            () = stop.notified() => None,
            turn = github.listen(&place, &ask) => Some(turn),
        };
        if turn.is_none() {
            end_call(&*github, &place, &ask).await;
        }
        turn
    });
    Box::pin(async move {
        let ended = match task.await {
            Ok(Some(Ok(news))) => Listened::Well(news),
            Ok(Some(Err(error))) => Listened::Failed(error.to_string()),
            Ok(None) => Listened::HungUp,
            Err(bug) => Listened::Failed(format!("a bug of pvectl: {bug}")),
        };
        Moment::Listened { key, ended }
    })
}

/// The end of a pool's listener that does not wait for GitHub just now.
pub fn hang_up(key: (usize, String), github: Arc<dyn GitHub>, (place, ask): (OnGitHub, Ask)) -> Work {
    let task = tokio::spawn(async move { end_call(&*github, &place, &ask).await });
    Box::pin(async move {
        // Whatever became of it: nobody listens any more.
        drop(task.await);
        Moment::Listened { key, ended: Listened::HungUp }
    })
}

async fn end_call(github: &dyn GitHub, place: &OnGitHub, ask: &Ask) {
    if tokio::time::timeout(HANG_UP, github.hang_up(place, ask)).await.is_err() {
        tracing::debug!("GitHub was not told that nobody listens for {} any more; it finds out by itself", ask.pool);
    }
}

/// What a run needs besides its manifests.
pub struct Errand {
    /// Its id.
    pub id: String,
    /// Which line.
    pub line: usize,
    /// What it is for.
    pub batch: Batch,
    /// The proposal that it carries out: id, and the test that a plan is the very same.
    pub proposal: Option<String>,
    /// The source's name and revision, to make a proposal again.
    pub revision: String,
    /// The guests that it is about.
    pub guests: BTreeSet<VmId>,
    /// How to plan.
    pub settings: Settings,
    /// What may be destroyed.
    pub consent: Consent,
}

/// Makes some objects of a source as they should be.
pub fn run(errand: Errand, reading: Arc<Reading>, place: &Place, clock: Arc<dyn Clock>, shared: Shared) -> Work {
    let Errand { id, line, batch, proposal, revision, guests, settings, consent } = errand;
    let (names, files) = (Arc::clone(&place.names), Arc::clone(&place.files));
    let api = Arc::new(Run::new(Arc::clone(&place.cache), guests));
    let began_ms = clock.now_ms();
    let source = batch.source.clone();
    let (door, wanted, run) = (Arc::clone(&api), proposal.clone(), id.clone());
    let did = Arc::new(Mutex::default());
    let steps = Arc::clone(&did);
    let task = tokio::spawn(async move {
        let cluster = Cluster { api: &*door, clock: &*clock, kinds: &KINDS, names: &*names, files: &*files };
        let watch = Doing { shared: &shared, run: &run, did: &steps };
        let agree = |plan: &Plan| {
            let same = |id: &String| crate::daemon::proposal::propose(&source, &revision, plan, 0, 0).id == *id;
            wanted.as_ref().is_none_or(same)
        };
        reconcile(&cluster, &reading.desired, &settings, consent, &watch, &agree).await
    });
    Box::pin(async move {
        let ended = task.await.map_err(|bug| format!("a bug of pvectl: {bug}"));
        let did = std::mem::take(&mut *did.lock().unwrap_or_else(PoisonError::into_inner));
        Moment::Ran(Box::new(Ran { id, line, batch, proposal, guests: api.guests(), began_ms, did, ended }))
    })
}

/// Shows what a run is doing.
struct Doing<'a> {
    shared: &'a Shared,
    run: &'a str,
    did: &'a Mutex<BTreeMap<ResourceRef, Vec<String>>>,
}

impl Doing<'_> {
    fn set(&self, resource: &ResourceRef, doing: Option<String>, done: usize) {
        let mut state = self.shared.write();
        let Some(run) = state.running.get_mut(self.run) else { return };
        run.steps += done;
        match doing {
            Some(text) => drop(run.doing.insert(resource.to_string(), text)),
            None => drop(run.doing.remove(&resource.to_string())),
        }
    }
}

impl Watch for Doing<'_> {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::RoundStarted { .. } => {}
            Event::StepStarted { resource, step, .. } => {
                tracing::info!(run = self.run, "{resource}: {}", step.title);
                self.set(resource, Some(step.title.clone()), 0);
            }
            Event::Progress { resource, step, percent } => {
                self.set(resource, Some(format!("{} ({percent} %)", step.title)), 0);
            }
            Event::StepEnded { resource, step, outcome, took_ms } => {
                let well =
                    matches!(outcome, crate::report::event::Outcome::Done | crate::report::event::Outcome::Warned(_));
                tracing::debug!(run = self.run, "{resource}: {} ended after {took_ms} ms: {outcome:?}", step.title);
                if well {
                    let mut did = self.did.lock().unwrap_or_else(PoisonError::into_inner);
                    did.entry(resource.clone()).or_default().push(step.title.clone());
                }
                self.set(resource, None, usize::from(well));
            }
        }
    }
}
