//! `run`: the daemon, put together from its configuration: clusters, sources, history, messages, HTTP, signals.

use crate::base::clock::Clock;
use crate::base::quantity::counted;
use crate::cli::args::Global;
use crate::cli::args::daemon::{Run, RunMode};
use crate::cli::command::Programs;
use crate::cli::exit;
use crate::cli::github::Stored;
use crate::cli::run::{Ended, Failure, block_on_deaf, print};
use crate::cli::session::{AheadClock, Session};
use crate::config::error::ConfigError;
use crate::daemon::cache::Cache;
use crate::daemon::config::{self, DaemonConfig, HttpConfig, LISTEN, Listen, SourceConfig, WatchConfig};
use crate::daemon::ears::{Ears, Own};
use crate::daemon::health::watch as watch_health;
use crate::daemon::history::{History, Past};
use crate::daemon::http::gate::Gate;
use crate::daemon::http::hook::Hook;
use crate::daemon::http::listen::{Tls, serve};
use crate::daemon::http::signed::Signed;
use crate::daemon::http::site::Site;
use crate::daemon::metrics::Metrics;
use crate::daemon::notice::post::Web;
use crate::daemon::notice::sinks::{Notices, targets};
use crate::daemon::record::{DriftRecord, Mode, State};
use crate::daemon::report::writer::Writer;
use crate::daemon::run::{End, Line, Setup, Signal, run as turn};
use crate::daemon::shared::Shared;
use crate::daemon::source;
use crate::daemon::store::book::Bounds;
use crate::daemon::store::keeper::Keeper;
use crate::daemon::suspend::Suspensions;
use crate::daemon::systemd::{Pulse, tell};
use crate::daemon::windows::news::remember;
use crate::daemon::work::{Outside, Place};
use crate::kinds::list;
use crate::lockout::way::Way;
use crate::manifest::load::{Input, load};
use sd_notify::NotifyState;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

/// How long messages and history may take when the daemon ends.
const CLOSING: Duration = Duration::from_secs(5);
/// How fast the simulator goes when nobody stays to watch.
const HURRY: f64 = 50.0;
/// Results of patch windows, machines and jobs of runner pools, that are read back, of each so many, when the daemon begins.
const PATCHES_REMEMBERED: usize = 2_000;
/// How long our own address is believed: to ask for it may take a question to DNS.
const WAYS: Duration = Duration::from_secs(60);

/// `run`.
pub fn run(global: &Global, args: &Run) -> Ended {
    let mut config = configuration(args)?;
    let mut state = State { unready: Some("the daemon begins".to_owned()), ..State::default() };
    loop {
        let (end, left) = block_on_deaf(life(global, args, config, state))??;
        match end {
            End::Asked(Signal::Reload, _) => {
                // It was read before the loop was asked to end.
                config = configuration(args)?;
                state = left;
                state.running.clear();
            }
            End::Asked(Signal::Go | Signal::Stop, true) => return Ok(exit::DONE),
            End::Asked(Signal::Go | Signal::Stop, false) => {
                let failure = Failure::new(exit::FAILED, "some steps were still in progress");
                return Err(failure.hint("their tasks go on in PVE; the next start goes on from what is there"));
            }
            End::Done => return summary(&left),
        }
    }
}

/// The configuration that the arguments name or make.
fn configuration(args: &Run) -> Result<DaemonConfig, Failure> {
    let mut config = match (&args.file, &args.folder) {
        (Some(file), _) => config::load(file).map_err(unusable)?,
        (None, folder) => {
            let folder = folder.clone().unwrap_or_default();
            let mode = match args.mode {
                RunMode::Observe => Mode::Observe,
                RunMode::Propose => Mode::Propose,
                RunMode::Enforce => Mode::Enforce,
            };
            let mut source = SourceConfig::of_folder("default", folder);
            (source.mode, source.prune, source.set) = (mode, args.prune, args.set.clone());
            DaemonConfig {
                sources: vec![source],
                watch: WatchConfig::default(),
                store: args.store.clone(),
                state_folder: None,
                http: HttpConfig::default(),
                notify: Vec::new(),
                reports: None,
            }
        }
    };
    if let Some(text) = &args.listen {
        config.http.listen = Some(match text.as_str() {
            "none" => Listen::None,
            _ => Listen::At(text.parse().map_err(|_| {
                Failure::new(exit::USAGE, format!("`{text}` is no address with a port, such as {LISTEN}"))
            })?),
        });
    }
    config::check(&config).map_err(|why| Failure::new(exit::USAGE, why))?;
    Ok(config)
}

fn unusable(error: ConfigError) -> Failure {
    Failure { code: exit::USAGE, message: error.to_string(), hint: error.hint() }
}

/// What a session knows of the way to its cluster. Our address is asked for in the background once it is known.
struct Ends {
    session: Arc<Session>,
    known: Arc<Mutex<(Instant, Vec<Way>)>>,
}

impl Outside for Ends {
    fn ways(&self) -> Vec<Way> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0.elapsed() > WAYS {
            known.0 = Instant::now();
            let (session, later) = (Arc::clone(&self.session), Arc::clone(&self.known));
            std::thread::spawn(move || {
                let ways = session.ways();
                later.lock().unwrap_or_else(PoisonError::into_inner).1 = ways;
            });
        }
        known.1.clone()
    }

    fn left_lock(&self) -> Option<String> {
        self.session.left_lock()
    }
}

/// The clusters of the sources, each once, and which one each source is for.
struct Clusters {
    sessions: Vec<Arc<Session>>,
    places: Vec<Place>,
    of: Vec<usize>,
}

fn clusters(
    global: &Global,
    config: &DaemonConfig,
    once: bool,
    meter: &Arc<Metrics>,
    clock: AheadClock,
) -> Result<Clusters, Failure> {
    let mut out = Clusters { sessions: Vec::new(), places: Vec::new(), of: Vec::new() };
    let mut known: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for source in &config.sources {
        let context = if global.sim { None } else { context(source) };
        if let Some(place) = known.get(&context) {
            out.of.push(*place);
            continue;
        }
        let session = Arc::new(Session::open(global, context.as_deref())?);
        session.keep_time(if once { HURRY } else { 1.0 });
        let name = match (&context, global.sim) {
            (_, true) => "sim".to_owned(),
            (Some(name), false) => name.clone(),
            (None, false) => global.context.clone().unwrap_or_else(|| "default".to_owned()),
        };
        let (api, names, files) = session.parts();
        let cache = Cache::new(&name, api, Arc::new(clock), Arc::clone(meter) as _);
        let known_ways = Arc::new(Mutex::new((Instant::now(), session.ways())));
        out.places.push(Place {
            name,
            cache: Arc::new(cache),
            names,
            files,
            outside: Arc::new(Ends { session: Arc::clone(&session), known: known_ways }),
            root_ticket: session.root_ticket,
            links: session.links.clone(),
            github: session.github(),
        });
        out.of.push(out.places.len() - 1);
        known.insert(context, out.places.len() - 1);
        out.sessions.push(session);
    }
    Ok(out)
}

/// The context of a source: its own, or the one that its tree names. A repository was not fetched yet, and names none.
fn context(source: &SourceConfig) -> Option<String> {
    let of_tree = || {
        let loaded = load(&[Input::Path(source.folder.clone()?)], true, &list::names());
        loaded.settings.and_then(|s| s.context).map(|(name, _)| name)
    };
    source.context.clone().or_else(of_tree)
}

/// Everybody who is told, and the drift that lasted when the history was last written.
fn ears(
    config: &DaemonConfig,
    own: &Own,
    metrics: &Arc<Metrics>,
    clock: AheadClock,
) -> Result<(Ears, Vec<DriftRecord>), Failure> {
    let at = move || Arc::new(clock) as Arc<dyn Clock>;
    let (keeper, open_drift) = match &config.store {
        None => (None, Vec::new()),
        Some(path) => {
            let own = own.clone();
            let hear = Box::new(move |news: crate::daemon::store::keeper::News| own.leave(news.event(clock.now_ms())));
            let (keeper, open) = Keeper::start(path, Bounds::default(), at(), hear);
            (Some(keeper), open)
        }
    };
    let notices = match &config.notify[..] {
        [] => None,
        configs => {
            let targets = targets(configs, &Programs::default()).map_err(unusable)?;
            let web = Web::new().map_err(|why| Failure::new(exit::USAGE, why))?;
            let own = own.clone();
            Some(Notices::start(targets, Arc::new(web), at(), Arc::new(move |event| own.leave(event))))
        }
    };
    let reports = config.reports.as_ref().map(|folder| {
        let own = own.clone();
        Writer::start(folder, at(), Box::new(move |event| own.leave(event)))
    });
    let metrics = Some(Arc::clone(metrics));
    Ok((Ears { keeper, notices, reports, own: own.clone(), metrics, ..Ears::default() }, open_drift))
}

/// With what targets of patch windows got, and what became of runners, in earlier lives, so that it is not told as news. Where nothing can be read, nothing
/// is known.
fn remembering(mut state: State, history: Option<&dyn History>) -> State {
    let past = Past { limit: PATCHES_REMEMBERED, ..Past::default() };
    let read = history.map(|history| history.patches(&past));
    if let Some(Ok(patches)) = read {
        remember(&mut state.patches, patches);
        state.remembers = true;
    }
    if let Some(history) = history {
        let past = Past { limit: PATCHES_REMEMBERED, ..Past::default() };
        let (runners, jobs) = (history.runners(&past).unwrap_or_default(), history.jobs(&past).unwrap_or_default());
        state.runners.remember(runners, jobs);
    }
    state
}

/// What is served over HTTP, and where; `None`: nothing.
async fn site(
    config: &HttpConfig,
    shared: &Shared,
    metrics: &Arc<Metrics>,
    (history, clock): (Option<Arc<dyn History>>, AheadClock),
) -> Result<Option<(TcpListener, Option<Arc<Tls>>, Arc<Site>)>, Failure> {
    let at = match config.listen {
        Some(Listen::None) => return Ok(None),
        Some(Listen::At(at)) => at,
        None => LISTEN.parse().expect("an address of ours"),
    };
    let wrong = |why: String| Failure::new(exit::USAGE, why);
    let reveal = |field| config::reveal(field, &Programs::default()).map_err(unusable);
    let token = config.token.as_ref().map(reveal).transpose()?;
    let hook = config.github_webhook.as_ref().map(reveal).transpose()?;
    let hook = Signed::new(hook, Arc::new(Stored), Arc::new(clock));
    let tls = config.tls.as_ref().map(|tls| Tls::load(&tls.cert_file, &tls.key_file)).transpose().map_err(wrong)?;
    let site = Site {
        shared: shared.clone(),
        metrics: Arc::clone(metrics),
        history,
        hook: Some(Arc::new(hook) as Arc<dyn Hook>),
        clock: Arc::new(clock),
        gate: Gate::new(token.as_ref(), config.hosts.clone()).map_err(wrong)?,
        began_ms: clock.now_ms(),
    };
    let listener = TcpListener::bind(at).await.map_err(|error| {
        Failure::new(exit::FAILED, format!("{at} cannot be listened on: {error}"))
            .hint("is another daemon running? --listen names another address, `none` turns it off")
    })?;
    Ok(Some((listener, tls.map(Arc::new), Arc::new(site))))
}

/// One life of the daemon, from a configuration to its end.
async fn life(global: &Global, args: &Run, config: DaemonConfig, state: State) -> Result<(End, State), Failure> {
    let clock = AheadClock::of(global)?;
    let metrics = Arc::new(Metrics::new());
    let own = Own::default();
    let carried = state.drift.clone();
    let (ears, open_drift) = ears(&config, &own, &metrics, clock)?;
    let open_drift = if carried.is_empty() { open_drift } else { carried };
    let history = ears.keeper.as_ref().map(|keeper| Arc::new(keeper.history()) as Arc<dyn History>);
    let state = remembering(state, history.as_deref());
    let ears = Arc::new(Pulse::new(ears));
    let suspended = Suspensions::open(config.state_folder.clone()).map_err(|why| {
        Failure::new(exit::USAGE, why).hint("mend it or delete it; what it suspends is then no longer")
    })?;
    let Clusters { sessions, places, of } = clusters(global, &config, args.once, &metrics, clock)?;
    let (shared, asked) = Shared::new(state);
    let (signals, signal) = watch::channel(Signal::Go);
    let over = Arc::new(Notify::new());
    let served = if args.once { None } else { site(&config.http, &shared, &metrics, (history, clock)).await? };
    let server = served.map(|(listener, tls, site)| {
        let scheme = if tls.is_some() { "https" } else { "http" };
        if let (Ok(at), false) = (listener.local_addr(), global.quiet) {
            print(&format!("listening on {scheme}://{at}/\n"));
        }
        let over = Arc::clone(&over);
        tokio::spawn(serve(listener, tls, site, async move { over.notified().await }))
    });
    let healths = places.iter().zip(&sessions).filter(|_| !args.once).map(|(place, session)| {
        let (api, ..) = session.parts();
        let (links, metrics) = (session.links.clone(), Arc::clone(&metrics));
        tokio::spawn(watch_health(place.name.clone(), api, Arc::new(clock), links, metrics))
    });
    let healths: Vec<_> = healths.collect();
    let lines = config.sources.iter().zip(of).map(|(source, place)| Line {
        config: source.clone(),
        place,
        source: source::open(source, config.state_folder.as_deref()),
    });
    let setup = Setup {
        clock: Arc::new(clock),
        places,
        lines: lines.collect(),
        watch: config.watch.clone(),
        shared: shared.clone(),
        asked,
        signal,
        ear: Arc::clone(&ears) as _,
        meter: metrics,
        open_drift,
        suspended,
        once: args.once,
    };
    let listening = tokio::spawn(listen_to_signals(signals, args.file.clone()));
    tell(&[NotifyState::Ready]);
    let end = turn(setup).await;
    if !matches!(end, End::Asked(Signal::Reload, _)) {
        tell(&[NotifyState::Stopping]);
    }
    over.notify_one();
    if let Some(server) = server {
        drop(tokio::time::timeout(CLOSING, server).await);
    }
    ears.ear.close(CLOSING, &clock).await;
    listening.abort();
    healths.iter().for_each(tokio::task::JoinHandle::abort);
    for session in sessions {
        session.save()?;
    }
    let state = shared.state().clone();
    Ok((end, state))
}

/// SIGTERM and SIGINT end; a second one does not wait. SIGHUP begins anew, if the configuration is well.
async fn listen_to_signals(signals: watch::Sender<Signal>, config: Option<PathBuf>) {
    let streams = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut term), Ok(mut int), Ok(mut hup)) = streams else {
        tracing::warn!("signals cannot be listened to");
        return;
    };
    let mut asked = false;
    loop {
        let stop = tokio::select! {
            _ = term.recv() => true,
            _ = int.recv() => true,
            _ = hup.recv() => false,
        };
        if stop && asked {
            std::process::exit(exit::FAILED.into());
        }
        if stop {
            asked = true;
            tracing::info!("asked to end: the steps in progress are ended, and no other is begun");
            let _ = signals.send(Signal::Stop);
            continue;
        }
        match config.as_deref().map(config::load) {
            Some(Err(error)) => tracing::error!("the configuration stays as it was: {error}"),
            Some(Ok(_)) | None => {
                let _ = signals.send(Signal::Reload);
            }
        }
    }
}

/// What `--once` found and left.
fn summary(state: &State) -> Ended {
    let mut code = exit::DONE;
    let mut err = anstream::stderr();
    for source in state.sources.values() {
        for text in &source.diagnostics {
            let _ = writeln!(err, "{text}\n");
        }
        for claim in source.conditions.iter().filter(|c| c.condition == "Degraded") {
            let _ = writeln!(err, "error: source {}: {}", source.name, claim.message);
            code = code.max(if claim.reason == "SourceBroken" { exit::USAGE } else { exit::NOT_COMPARED });
        }
    }
    let mut open = 0;
    for object in state.objects.values() {
        let Some(claim) = object.conditions.iter().find(|c| c.condition == "Ready" && c.status != "True") else {
            continue;
        };
        open += 1;
        code = code.max(if claim.reason == "NodeOffline" { exit::NOT_COMPARED } else { exit::DIFFERENCES });
        print(&format!("{}/{}: {}: {}\n", object.kind, object.name, claim.reason, claim.message));
        if let Some(error) = &object.error {
            let _ = writeln!(err, "error: {}/{}: {error}", object.kind, object.name);
        }
    }
    let all = state.objects.len();
    let done: usize = state.runs.iter().map(|run| run.steps).sum();
    let done = if done == 0 { String::new() } else { format!("{} done; ", counted(done, "step")) };
    print(&format!("{done}{} of {} as declared\n", all - open, counted(all, "object")));
    for proposal in state.proposals.values() {
        let _ = writeln!(err, "hint: source {} may only propose; do it with pvectl apply", proposal.source);
    }
    Ok(code)
}
