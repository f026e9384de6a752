//! Patch windows as people look at them and run them: `patch status`, `plan`, `run` and `report`. A window stands in manifests
//! only, so these verbs are given them; how far it is stands on the guests and nodes.

pub mod status;

pub mod plan;

pub mod run;

pub mod report;

use crate::base::quantity::counted;
use crate::cli::args::Global;
use crate::cli::args::patch::{Patch, Which};
use crate::cli::declared;
use crate::cli::exit;
use crate::cli::job;
use crate::cli::manifests::Tree;
use crate::cli::run::{Ended, Failure, block_on};
use crate::cli::session::Session;
use crate::daemon::windows::{Seen, look};
use crate::engine::observe::observe;
use crate::host::token::Token;
use crate::kinds::patch_window::spec::PatchWindowSpec;
use crate::kinds::patch_window::waves::Turns;
use crate::kinds::patch_window::window::Window;
use crate::kinds::patch_window::{Around, NAME};
use crate::plan::assemble::{Plan, Settings, plan};
use crate::plan::identify::identify;
use crate::resource::observation::Observation;
use crate::resource::reference::{Identity, ResourceRef};
use jiff::{Timestamp, tz::TimeZone};
use std::collections::{BTreeMap, BTreeSet};

/// `patch`.
pub fn run(global: &Global, verb: &Patch) -> Ended {
    match verb {
        Patch::Status(args) => status::status(global, args),
        Patch::Plan(args) => plan::plan(global, args),
        Patch::Run(args) => run::run(global, args),
        Patch::Report(args) => report::report(global, args),
    }
}

/// What the cluster says of windows.
pub struct Scene<'t> {
    tree: &'t Tree,
    /// Everything seen.
    pub seen: Observation,
    /// What is to be done.
    pub plan: Plan,
    only: BTreeSet<ResourceRef>,
    identities: BTreeMap<ResourceRef, Identity>,
}

/// A window, and whose turn it is.
pub struct Of<'a> {
    /// Its name.
    pub name: &'a str,
    /// The same, plain.
    pub token: Token,
    /// What is written.
    pub spec: &'a PatchWindowSpec,
    /// Its times.
    pub window: Window,
    /// Everybody's turn.
    pub turns: Turns<'a>,
}

/// Reads the manifests of some windows, whose targets are looked into even while they are closed.
pub fn read(which: &Which) -> Result<(Tree, BTreeSet<ResourceRef>), Failure> {
    let mut tree = declared::read(NAME, &which.files)?;
    let only = declared::chosen(NAME, &tree, &which.windows)?;
    if only.is_empty() {
        return Err(Failure::new(exit::USAGE, format!("the manifests declare no {NAME}")));
    }
    for want in tree.desired.resources.values_mut() {
        if let Some(spec) = want.spec.downcast_mut::<PatchWindowSpec>() {
            spec.looked_into = true;
        }
    }
    Ok((tree, only))
}

/// Looks at the cluster.
pub async fn survey<'t>(session: &Session, tree: &'t Tree, only: &BTreeSet<ResourceRef>) -> Result<Scene<'t>, Failure> {
    let cluster = session.cluster();
    let settings = Settings { only: Some(only.clone()), ..settings(session) };
    let seen = observe(&cluster, &tree.desired, &settings).await.map_err(|e| Failure::wire(exit::FAILED, &e))?;
    let plan = plan(&tree.desired, &seen, cluster.kinds, &settings);
    let identities = identify(&tree.desired, &seen).known;
    Ok(Scene { tree, seen, plan, only: only.clone(), identities })
}

/// As every verb plans here.
pub fn settings(session: &Session) -> Settings {
    Settings { root_ticket: session.root_ticket, ways: session.ways(), ..Settings::default() }
}

/// Looks once, with a session of its own.
pub fn look_once<'t>(global: &Global, tree: &'t Tree, only: &BTreeSet<ResourceRef>) -> Result<Scene<'t>, Failure> {
    let session = job::open(global, tree)?;
    let scene = block_on(survey(&session, tree, only))??;
    session.close()?;
    Ok(scene)
}

impl Scene<'_> {
    /// The windows that were asked for.
    pub fn windows(&self) -> Vec<Of<'_>> {
        let asked = self.tree.desired.resources.values().filter(|want| self.only.contains(&want.resource));
        let one = |want| self.window(want);
        asked.filter_map(one).collect()
    }

    fn window<'a>(&'a self, want: &'a crate::plan::desired::Desired) -> Option<Of<'a>> {
        let spec = want.spec.downcast_ref::<PatchWindowSpec>()?;
        let name = want.resource.name.as_str();
        let (window, token) = (Window::read(spec).ok()?, Token::argument(name)?);
        let around = Around { seen: &self.seen, identities: &self.identities, set: &self.tree.desired.set, name };
        let turns = around.look(spec, &window, &token);
        Some(Of { name, token, spec, window, turns })
    }

    /// The manifest set.
    pub fn set(&self) -> &str {
        &self.tree.desired.set
    }

    /// When it was looked at, in seconds since 1970.
    pub fn now(&self) -> i64 {
        self.seen.at
    }
}

impl Of<'_> {
    /// How it stands, as machines read it.
    pub fn record(&self, now: i64) -> Seen {
        look("", self.name, self.spec, &self.window, &self.turns, now)
    }

    /// A time in its zone: `Sun 2026-11-22 02:00 +01:00`.
    pub fn local(&self, at: i64) -> String {
        local(self.window.zone(), at)
    }
}

/// A time in a zone.
pub fn local(zone: &TimeZone, at: i64) -> String {
    Timestamp::from_second(at)
        .map(|time| time.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M %:z").to_string())
        .unwrap_or_default()
}

/// A span for people: `45s`, `10m`, `1h30m`, `4d3h`.
pub fn span(seconds: i64) -> String {
    if (0..60).contains(&seconds) {
        return format!("{seconds}s");
    }
    crate::kinds::snapshot_policy::member::span(seconds)
}

/// Updates that wait: `3 (1 security)`.
pub fn waiting(security: Option<usize>, other: usize) -> String {
    match security {
        Some(0) | None => (security.unwrap_or(0) + other).to_string(),
        Some(count) => format!("{} ({count} security)", count + other),
    }
}

/// `1 package`, `3 packages`.
pub fn packages(count: usize) -> String {
    counted(count, "package")
}
