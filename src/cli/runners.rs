//! Runner pools as people look at them and steer them: `runners list`, `describe`, `logs`, `drain` and `scale`. A pool stands in
//! manifests only, so these verbs are given them; how far its machines are stands on these and in GitHub's list.

pub mod list;

pub mod describe;

pub mod logs;

pub mod drain;

pub mod scale;

pub mod drive;

use crate::base::diagnostic::nearest;
use crate::cli::args::Global;
use crate::cli::args::runners::Runners;
use crate::cli::declared;
use crate::cli::exit;
use crate::cli::job;
use crate::cli::manifests::Tree;
use crate::cli::patch;
use crate::cli::run::{Ended, Failure, block_on};
use crate::cli::session::Session;
use crate::daemon::runners::Seen;
use crate::daemon::runners::seen::record;
use crate::engine::observe::observe;
use crate::kinds::runner_pool::NAME;
use crate::kinds::runner_pool::look::Around;
use crate::kinds::runner_pool::spec::RunnerPoolSpec;
use crate::kinds::runner_pool::standing::{MachineStanding, Standing, standing};
use crate::plan::assemble::{Plan, Settings, plan};
use crate::plan::identify::identify;
use crate::resource::observation::Observation;
use crate::resource::reference::{Identity, ResourceRef};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// `runners`.
pub fn run(global: &Global, verb: &Runners) -> Ended {
    match verb {
        Runners::List(args) => list::list(global, args),
        Runners::Describe(args) => describe::describe(global, &args.name, &args.files, &args.format),
        Runners::Logs(args) => logs::logs(global, args),
        Runners::Drain(args) => drain::drain(global, args),
        Runners::Scale(args) => scale::scale(global, args),
    }
}

/// What the cluster and GitHub say of pools.
pub struct Scene<'t> {
    tree: &'t Tree,
    only: BTreeSet<ResourceRef>,
    /// Everything seen.
    pub seen: Observation,
    /// What is to be done.
    pub plan: Plan,
    identities: BTreeMap<ResourceRef, Identity>,
}

/// A pool, and how it stands.
pub struct Of<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is written.
    pub spec: &'a RunnerPoolSpec,
    /// How it stands.
    pub stands: Standing,
    around: Around<'a>,
}

/// Reads the manifests of some pools; all of them when none is named.
pub fn read(pools: &[String], files: &[PathBuf]) -> Result<(Tree, BTreeSet<ResourceRef>), Failure> {
    let tree = declared::read(NAME, files)?;
    let only = declared::chosen(NAME, &tree, pools)?;
    if only.is_empty() {
        return Err(Failure::new(exit::USAGE, format!("the manifests declare no {NAME}")));
    }
    Ok((tree, only))
}

/// Looks at the cluster and at GitHub.
pub async fn survey<'t>(session: &Session, tree: &'t Tree, only: &BTreeSet<ResourceRef>) -> Result<Scene<'t>, Failure> {
    let cluster = session.cluster();
    let settings =
        Settings { only: Some(only.clone()), links: session.links.clone(), partial: true, ..patch::settings(session) };
    let seen = observe(&cluster, &tree.desired, &settings).await.map_err(|e| Failure::wire(exit::FAILED, &e))?;
    let plan = plan(&tree.desired, &seen, cluster.kinds, &settings);
    let identities = identify(&tree.desired, &seen).known;
    Ok(Scene { tree, only: only.clone(), seen, plan, identities })
}

/// Looks once, with a session of its own.
pub fn look_once<'t>(global: &Global, tree: &'t Tree, only: &BTreeSet<ResourceRef>) -> Result<Scene<'t>, Failure> {
    let session = job::open(global, tree)?;
    let scene = block_on(survey(&session, tree, only))??;
    session.close()?;
    Ok(scene)
}

impl Scene<'_> {
    /// The pools that were asked for.
    pub fn pools(&self) -> Vec<Of<'_>> {
        let asked: BTreeSet<ResourceRef> = self.only.iter().map(ResourceRef::declared).collect();
        asked.iter().filter_map(|resource| self.pool(resource)).collect()
    }

    fn pool(&self, resource: &ResourceRef) -> Option<Of<'_>> {
        let want = self.tree.desired.resources.get(resource)?;
        let spec = want.spec.downcast_ref::<RunnerPoolSpec>()?;
        let around = Around {
            seen: &self.seen,
            identities: &self.identities,
            set: &self.tree.desired.set,
            name: &want.resource.name,
            annotations: &want.annotations,
            going: false,
        };
        Some(Of { name: &want.resource.name, spec, stands: standing(&around, spec), around })
    }

    /// When it was looked at, in seconds since 1970.
    pub fn now(&self) -> i64 {
        self.seen.at
    }
}

impl Of<'_> {
    /// How it stands, as machines read it.
    pub fn record(&self, now: i64) -> Seen {
        record("", self.name, self.spec, &self.stands, now)
    }

    /// A machine by its name or number.
    pub fn machine(&self, name: &str) -> Option<&MachineStanding> {
        self.stands.machines.iter().find(|m| m.name == name || m.vmid.to_string() == name)
    }

    /// What a look at it needs.
    pub fn around(&self) -> &Around<'_> {
        &self.around
    }
}

/// A pool of a name, or the pool with a machine of it.
pub enum Found<'a> {
    /// A pool.
    Pool(&'a Of<'a>),
    /// A machine of a pool.
    Machine(&'a Of<'a>, &'a MachineStanding),
}

/// What a name means: a pool before a machine.
pub fn find<'a>(pools: &'a [Of<'a>], name: &str) -> Result<Found<'a>, Failure> {
    if let Some(pool) = pools.iter().find(|of| of.name == name) {
        return Ok(Found::Pool(pool));
    }
    if let Some((pool, machine)) = pools.iter().find_map(|of| Some((of, of.machine(name)?))) {
        return Ok(Found::Machine(pool, machine));
    }
    let machines = pools.iter().flat_map(|of| &of.stands.machines).map(|machine| machine.name.as_str());
    let near = nearest(name, pools.iter().map(|of| of.name).chain(machines));
    let failure = Failure::new(exit::FAILED, format!("there is no {NAME} `{name}`, and no machine of one"));
    Err(near.map_or(failure.clone(), |near| failure.hint(format!("did you mean `{near}`?"))))
}
