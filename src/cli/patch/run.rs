//! `patch run`: carries one window out, look after look, until everybody's turn has ended. Nothing is remembered here: one that
//! is killed and run again goes on from what the guests and nodes say.

use crate::cli::args::patch::{Run as Args, Which};
use crate::cli::args::{Global, Guards};
use crate::cli::exit;
use crate::cli::job::{self, AtTerminal, Job};
use crate::cli::live::{Live, View};
use crate::cli::manifests::Tree;
use crate::cli::patch::{Of, Scene, plan, read, status, survey};
use crate::cli::problems::problems;
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::session::Session;
use crate::daemon::windows::PatchRecord;
use crate::daemon::windows::news::summary;
use crate::engine::reconcile::{Halt, reconcile};
use crate::kinds::patch_window::NAME;
use crate::kinds::patch_window::node::decide::DRAIN;
use crate::kinds::patch_window::outcome::slot;
use crate::kinds::patch_window::record::{Target, slot_and_word};
use crate::kinds::patch_window::spec::PatchWindowSpec;
use crate::kinds::patch_window::standing::{Stand, Standing, standings};
use crate::plan::assemble::{Plan, Settings};
use crate::plan::gate::gate;
use crate::report::text::visible;
use crate::resource::reference::ResourceRef;
use crate::resource::step::Action;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

/// What is under way is looked at again so soon.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// What is under way when the window closes has so long to end, in seconds; what is not done then goes on by the next run.
const AFTER_MAX: i64 = 2 * 3600;
/// While everybody waits for something that is due later, it is looked at so often all the same.
const REST_MAX: Duration = Duration::from_secs(60);
/// A target whose steps fail so often in a row is given up for this run.
const FAILURES_MAX: u32 = 5;

/// `patch run`.
pub fn run(global: &Global, args: &Args) -> Ended {
    let which = Which { windows: vec![args.window.clone()], files: args.files.clone() };
    let (mut tree, only) = read(&which)?;
    let session = job::open(global, &tree)?;
    let ended = block_on(async {
        open(&session, (&mut tree, &only), args.now, global).await?;
        let job = Job {
            global,
            format: args.format.output.as_ref(),
            yes: args.yes,
            dry_run: false,
            consent: job::consent(&[], None),
            person: &AtTerminal,
        };
        let settings = Settings { only: Some(only.clone()), ..job::settings(&tree, &Guards::default(), &session)? };
        let (told, failures) = (BTreeMap::new(), BTreeMap::new());
        Drive { session: &session, tree: &tree, only: &only, job, settings, told, failures }.until_the_end().await
    })?;
    session.close()?;
    ended
}

fn set_opened(tree: &mut Tree, only: &BTreeSet<ResourceRef>, opened: Option<i64>) {
    for want in tree.desired.resources.values_mut().filter(|want| only.contains(&want.resource)) {
        if let Some(spec) = want.spec.downcast_mut::<PatchWindowSpec>() {
            spec.opened = opened;
        }
    }
}

fn only_window<'a>(scene: &'a Scene<'_>) -> Result<Of<'a>, Failure> {
    let window = scene.windows().into_iter().next();
    window.ok_or_else(|| Failure::new(exit::USAGE, "the window cannot be understood"))
}

/// Opens the window, by its schedule or by hand, or goes on with an opening by hand that a killed run left.
async fn open(
    session: &Session,
    (tree, only): (&mut Tree, &BTreeSet<ResourceRef>),
    by_hand: bool,
    global: &Global,
) -> Result<(), Failure> {
    let (now, left) = {
        let scene = survey(session, tree, only).await?;
        let (of, now) = (only_window(&scene)?, scene.now());
        if let Some(day) = of.window.frozen(now) {
            let failure =
                Failure::new(exit::REFUSED, format!("nothing is started on {day}: it is one of its frozen days"));
            return Err(failure.hint("if it must be, take that day out of `freeze`"));
        }
        if of.turns.opening.is_some_and(|opening| opening.is_open(now)) {
            // To open it once more would only do everything twice.
            return Ok(());
        }
        if !by_hand {
            let closed = format!("{NAME}/{} is closed: it {}", of.name, status::times(&of, now));
            return Err(Failure::new(exit::REFUSED, closed).hint("--now opens it at this moment"));
        }
        (now, begun(&of, now))
    };
    if let Some(slot) = left {
        set_opened(tree, only, Some(slot));
        let scene = survey(session, tree, only).await?;
        let of = only_window(&scene)?;
        let ended = |one: &Standing| matches!(one.stand, Stand::Ended(_));
        let starts = of.turns.opening.is_some_and(|opening| opening.starts(now));
        if starts && of.turns.halted.is_none() && !standings(&of.turns, &of.spec.updates, now).iter().all(ended) {
            if !global.quiet {
                let _ = writeln!(anstream::stderr(), "Goes on with what was opened by hand {}.", of.local(slot));
            }
            return Ok(());
        }
    }
    set_opened(tree, only, Some(now));
    Ok(())
}

/// The newest opening in which something was changed and that is not over by the window's own length.
fn begun(of: &Of<'_>, now: i64) -> Option<i64> {
    let length = of.spec.duration.signed();
    let changes = |word: &str| matches!(word, "patch" | "upgrade" | DRAIN);
    let guests = of.turns.turns.iter().map(|turn| (&turn.guest.inside, turn.guest.snapshots.as_deref()));
    let nodes = of.turns.nodes.iter().map(|turn| (&turn.node.inside, Ok(&[][..])));
    let slots = guests.chain(nodes).flat_map(|(inside, snapshots)| {
        let jobs = inside.state().into_iter().flat_map(|state| &state.jobs);
        let jobs = jobs.filter_map(|job| slot_and_word(&job.name)).filter(|(_, word)| changes(word));
        jobs.map(|(slot, _)| slot).chain(snapshots.unwrap_or_default().iter().filter_map(slot)).collect::<Vec<_>>()
    });
    slots.filter(|slot| (now.saturating_sub(length)..=now).contains(slot)).max()
}

/// A run of a window.
struct Drive<'a> {
    session: &'a Session,
    tree: &'a Tree,
    only: &'a BTreeSet<ResourceRef>,
    job: Job<'a>,
    settings: Settings,
    /// What was last told of each target.
    told: BTreeMap<Target, Stand>,
    /// How often in a row the steps of a target failed, and why the last time.
    failures: BTreeMap<ResourceRef, (u32, String)>,
}

impl Drive<'_> {
    async fn until_the_end(&mut self) -> Ended {
        let mut agreed = false;
        loop {
            let scene = survey(self.session, self.tree, self.only).await?;
            let (of, now) = (only_window(&scene)?, scene.now());
            let stands = standings(&of.turns, &of.spec.updates, now);
            if !agreed {
                self.agree(&scene, &of, now)?;
                agreed = true;
            }
            self.tell(&stands);
            // What was seen may be kept: where this is killed, another run goes on from here.
            self.session.save()?;
            if self.has_steps(&scene.plan) {
                drop(of);
                drop(scene);
                self.work().await?;
                continue;
            }
            if self.is_over(&of, &stands, &scene.plan, now) {
                return self.finish(&of, &stands, now);
            }
            self.session.cluster().clock.sleep(self.rest(&stands, &scene.plan, now)).await;
        }
    }

    /// Shows what would be done, and asks.
    fn agree(&self, scene: &Scene<'_>, of: &Of<'_>, now: i64) -> Result<(), Failure> {
        match self.job.view() {
            View::Lines => print(&plan::text(of, now)),
            View::Json => print(&format!("{}\n", json!({"event": "Planned", "window": of.record(now).window}))),
            View::Quiet => {}
        }
        let refusals = gate(&scene.plan, &self.job.consent);
        let count = problems(&scene.plan, Some(&self.tree.loaded), &refusals);
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

    /// Tells what is not as it was told last.
    fn tell(&mut self, stands: &[Standing]) {
        for one in stands {
            if self.told.get(&one.target) == Some(&one.stand) {
                continue;
            }
            self.told.insert(one.target.clone(), one.stand.clone());
            let (word, detail) = (one.stand.word(), visible(one.stand.detail()));
            match self.job.view() {
                View::Quiet => {}
                View::Json => {
                    let (target, label) = (one.target.key(), one.target.to_string());
                    let event =
                        json!({"event": "Stands", "target": target, "label": label, "state": word, "detail": detail});
                    print(&format!("{event}\n"));
                }
                View::Lines => {
                    let sign = match &one.stand {
                        stand if stand.is_bad() => "✗",
                        Stand::Ended(_) => "✓",
                        Stand::Idle(_) | Stand::Waiting(_) | Stand::Working(_) => "·",
                    };
                    let said = match &one.stand {
                        Stand::Working(what) => visible(what),
                        Stand::Idle(_) | Stand::Waiting(_) | Stand::Ended(_) if detail.is_empty() => word.to_owned(),
                        Stand::Idle(_) | Stand::Waiting(_) | Stand::Ended(_) => format!("{word}: {detail}"),
                    };
                    let label = visible(&one.target.to_string());
                    let _ = writeln!(anstream::stderr(), "  {sign} {label}: {said}");
                }
            }
        }
    }

    fn given_up(&self, resource: &ResourceRef) -> bool {
        self.failures.get(resource).is_some_and(|(count, _)| *count >= FAILURES_MAX)
    }

    fn has_steps(&self, plan: &Plan) -> bool {
        plan.deltas.iter().any(|delta| !delta.steps.is_empty() && !self.given_up(&delta.resource))
    }

    /// Something is to be done and waits for a lock, or is retried.
    fn has_more(&self, plan: &Plan) -> bool {
        plan.deltas.iter().any(|delta| delta.action != Action::NoOp && !self.given_up(&delta.resource))
    }

    async fn work(&mut self) -> Result<(), Failure> {
        let live = Live::new(self.job.view());
        let cluster = self.session.cluster();
        let consent = self.job.consent.clone();
        let ended = reconcile(&cluster, &self.tree.desired, &self.settings, consent, &live, &|_| true).await;
        let failed = match ended {
            Ok(report) => report.failed,
            Err(Halt::Unreadable(error)) => return Err(Failure::wire(exit::FAILED, &error)),
            // The cluster may come back: what was done stands there, and the next look tells.
            Err(Halt::Blind(blind)) => {
                let _ = writeln!(anstream::stderr(), "warning: the cluster went away: {}", blind.error);
                blind.report.failed
            }
            Err(Halt::Declined(_)) => BTreeMap::new(),
            Err(Halt::Refused(plan, refusals)) => {
                let count = problems(&plan, Some(&self.tree.loaded), &refusals);
                return Err(job::stand_against(count));
            }
        };
        self.failures.retain(|resource, _| failed.contains_key(resource));
        let any = !failed.is_empty();
        for (resource, why) in failed {
            let (count, last) = self.failures.entry(resource.clone()).or_default();
            *count += 1;
            if *last != why {
                let _ = writeln!(anstream::stderr(), "warning: {resource}: {why}");
            }
            *last = why;
        }
        if any {
            cluster.clock.sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Nothing moves any more in this opening.
    fn is_over(&self, of: &Of<'_>, stands: &[Standing], plan: &Plan, now: i64) -> bool {
        if stands.iter().all(|one| matches!(one.stand, Stand::Ended(_))) {
            return true;
        }
        let works = stands.iter().any(|one| matches!(one.stand, Stand::Working(_)));
        let Some(opening) = of.turns.opening.filter(|opening| opening.is_open(now)) else {
            let late = of.turns.opening.is_none_or(|opening| now > opening.end.saturating_add(AFTER_MAX));
            return late || !works;
        };
        let waits = of.turns.turns.iter().map(|turn| &turn.waits).chain(of.turns.nodes.iter().map(|turn| &turn.waits));
        let until = waits.flatten().filter_map(|wait| wait.until).any(|until| until > now && until < opening.end);
        let locked = self.has_more(plan) && opening.starts(now);
        !works && !locked && (!until || of.turns.halted.is_some())
    }

    /// How long nothing is to be done.
    fn rest(&self, stands: &[Standing], plan: &Plan, now: i64) -> Duration {
        if self.has_more(plan) || stands.iter().any(|one| matches!(one.stand, Stand::Working(_))) {
            return LOOK_AGAIN;
        }
        let next = plan.deltas.iter().filter_map(|delta| delta.next).filter(|next| *next > now).min();
        let rest = next.map_or(LOOK_AGAIN, |next| Duration::from_secs(next.abs_diff(now)));
        rest.clamp(LOOK_AGAIN, REST_MAX)
    }

    /// Sums it up.
    fn finish(&self, of: &Of<'_>, stands: &[Standing], now: i64) -> Ended {
        let seen = of.record(now);
        let opened = seen.window.opening.map(|opening| opening.opens_ms);
        let ended: Vec<&PatchRecord> =
            seen.patches.iter().filter(|patch| Some(patch.opened_ms) == opened && patch.result.is_some()).collect();
        let open: Vec<&Standing> = stands.iter().filter(|one| !matches!(one.stand, Stand::Ended(_))).collect();
        match self.job.view() {
            View::Quiet => {}
            View::Json => {
                let left: Vec<String> = open.iter().map(|one| one.target.key()).collect();
                print(&format!("{}\n", json!({"event": "Finished", "patches": ended, "left": left})));
            }
            View::Lines => {
                print(&format!("\n{}", status::text(of, now)));
                let left = if open.is_empty() { String::new() } else { format!(", {} not done", open.len()) };
                let _ = writeln!(anstream::stderr(), "{}{left}.", summary(&ended));
            }
        }
        for (resource, (_, why)) in &self.failures {
            let _ = writeln!(anstream::stderr(), "error: {resource}: {why}");
        }
        let works = open.iter().any(|one| matches!(one.stand, Stand::Working(_)));
        if stands.iter().any(|one| one.stand.is_bad()) || works || !self.failures.is_empty() {
            return Err(Failure { code: exit::FAILED, message: String::new(), hint: None });
        }
        Ok(exit::DONE)
    }
}
