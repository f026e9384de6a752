//! Carries a pool to where a verb wants it, look after look. Nothing is remembered here: one that is killed and run again goes
//! on from what machines and GitHub say.

use crate::cli::args::Guards;
use crate::cli::exit;
use crate::cli::job::{self, Job};
use crate::cli::live::{Live, View};
use crate::cli::manifests::Tree;
use crate::cli::problems::problems;
use crate::cli::run::{Failure, print};
use crate::cli::runners::list::detail;
use crate::cli::runners::{Of, survey};
use crate::cli::session::Session;
use crate::engine::reconcile::{Halt, reconcile};
use crate::kinds::runner_pool::judge::Stage;
use crate::kinds::runner_pool::standing::Standing;
use crate::plan::assemble::{Plan, Settings};
use crate::plan::gate::gate;
use crate::report::text::{plan as as_text, visible};
use crate::resource::reference::ResourceRef;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

/// What is on its way is looked at again so soon, and at the latest.
const LOOK_MIN: Duration = Duration::from_secs(3);
const LOOK_MAX: Duration = Duration::from_secs(15);
/// Machines whose steps fail so often in a row end it.
const FAILURES_MAX: u32 = 5;

/// How far it is.
pub enum End {
    /// Not there yet.
    Further,
    /// All is as it was wanted.
    There,
}

/// A drive of one pool.
pub struct Drive<'a> {
    /// The cluster.
    pub session: &'a Session,
    /// The manifests, as they are to be understood.
    pub tree: &'a Tree,
    /// The pool, or one machine of it.
    pub only: BTreeSet<ResourceRef>,
    /// How it is shown and agreed to.
    pub job: Job<'a>,
    /// It is given up after so many seconds.
    pub timeout: i64,
}

impl Drive<'_> {
    /// Drives until `end` says so. The standing at the end.
    pub async fn until(&self, end: impl Fn(&Of<'_>) -> End) -> Result<Standing, Failure> {
        let settings =
            Settings { only: Some(self.only.clone()), ..job::settings(self.tree, &Guards::default(), self.session)? };
        let (mut agreed, mut began, mut failures) = (false, None, 0);
        let mut told: BTreeMap<String, (Stage, String)> = BTreeMap::new();
        loop {
            let scene = survey(self.session, self.tree, &self.only).await?;
            let (pools, now) = (scene.pools(), scene.now());
            let Some(of) = pools.first() else {
                return Err(Failure::new(exit::USAGE, "the pool cannot be understood"));
            };
            let began = *began.get_or_insert(now);
            self.tell(&of.stands, &mut told);
            self.session.save()?;
            if matches!(end(of), End::There) {
                return Ok(of.stands.clone());
            }
            if !agreed {
                self.agree(&scene.plan)?;
                agreed = true;
            }
            if now - began >= self.timeout {
                let failure = Failure::new(exit::FAILED, format!("it is not done after {} s", now - began));
                return Err(failure.hint("the same command goes on from what is there; --timeout gives it longer"));
            }
            if scene.plan.deltas.iter().any(|delta| !delta.steps.is_empty()) {
                let went_well = self.work(&settings).await?;
                failures = if went_well { 0 } else { failures + 1 };
                if failures >= FAILURES_MAX {
                    return Err(Failure::new(exit::FAILED, format!("it failed {FAILURES_MAX} times in a row")));
                }
                if went_well {
                    continue;
                }
            }
            let next = of.stands.next.map_or(LOOK_MAX, |next| Duration::from_secs((next - now).max(0).unsigned_abs()));
            self.session.cluster().clock.sleep(next.clamp(LOOK_MIN, LOOK_MAX)).await;
        }
    }

    /// Shows what is done first, and asks.
    fn agree(&self, plan: &Plan) -> Result<(), Failure> {
        match self.job.view() {
            View::Lines => print(&as_text(plan, crate::cli::run::colour_out())),
            View::Json => print(&format!("{}\n", json!({"event": "Planned", "plan": crate::report::json::plan(plan)}))),
            View::Quiet => {}
        }
        let count = problems(plan, Some(&self.tree.loaded), &gate(plan, &self.job.consent));
        if count > 0 {
            return Err(job::stand_against(count));
        }
        let yes = self.job.yes
            || match self.job.person.answer("Do this? [y/N] ") {
                Some(answer) => matches!(answer.to_lowercase().as_str(), "y" | "yes"),
                // Nobody is there, and nothing real is there to lose.
                None => self.job.global.sim,
            };
        if yes {
            return Ok(());
        }
        Err(Failure::new(exit::REFUSED, "not agreed to; nothing was sent")
            .hint("on a terminal it asks; elsewhere say --yes"))
    }

    async fn work(&self, settings: &Settings) -> Result<bool, Failure> {
        let live = Live::new(self.job.view());
        let cluster = self.session.cluster();
        let consent = self.job.consent.clone();
        let ended = reconcile(&cluster, &self.tree.desired, settings, consent, &live, &|_| true).await;
        let failed = match ended {
            Ok(report) => report.failed,
            Err(Halt::Unreadable(error)) => return Err(Failure::wire(exit::FAILED, &error)),
            // The cluster may come back: what was done stands there, and the next look tells.
            Err(Halt::Blind(blind)) => {
                let _ = writeln!(anstream::stderr(), "warning: the cluster went away: {}", blind.error);
                return Ok(false);
            }
            Err(Halt::Declined(_)) => BTreeMap::new(),
            Err(Halt::Refused(plan, refusals)) => {
                return Err(job::stand_against(problems(&plan, Some(&self.tree.loaded), &refusals)));
            }
        };
        for (resource, why) in &failed {
            let _ = writeln!(anstream::stderr(), "warning: {resource}: {why}");
        }
        Ok(failed.is_empty())
    }

    /// Tells what is not as it was told last.
    fn tell(&self, stands: &Standing, told: &mut BTreeMap<String, (Stage, String)>) {
        let now: BTreeMap<String, (Stage, String)> =
            stands.machines.iter().map(|machine| (machine.name.clone(), (machine.stage, detail(machine)))).collect();
        let gone = told.keys().filter(|name| !now.contains_key(*name)).map(|name| (name, "gone", String::new()));
        let moved = now.iter().filter(|(name, (stage, _))| told.get(*name).is_none_or(|(old, _)| old != stage));
        let moved = moved.map(|(name, (stage, detail))| (name, stage.as_str(), visible(detail)));
        for (name, stage, detail) in gone.chain(moved) {
            match self.job.view() {
                View::Quiet => {}
                View::Json => {
                    print(&format!(
                        "{}\n",
                        json!({"event": "Stands", "machine": name, "stage": stage, "detail": detail})
                    ));
                }
                View::Lines if detail.is_empty() => drop(writeln!(anstream::stderr(), "  · {name}: {stage}")),
                View::Lines => drop(writeln!(anstream::stderr(), "  · {name}: {stage}: {detail}")),
            }
        }
        *told = now;
    }
}
