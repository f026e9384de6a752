//! One deed by hand with its circumstances: the guest found by its name, the deed shown, agreed to, watched, and its end
//! told.

use crate::cli::actions::Order;
use crate::cli::args::Global;
use crate::cli::args::guests::{Agreed, Which};
use crate::cli::exit;
use crate::cli::job::{self, AtTerminal, Job, Person, stand_against};
use crate::cli::kind::find_kind;
use crate::cli::live::{Live, View};
use crate::cli::problems::problems;
use crate::cli::run::{Ended, Failure, block_on, colour_out, print};
use crate::cli::session::Session;
use crate::engine::hand::{Performed, perform, preview};
use crate::engine::observe::{index, read_all};
use crate::engine::reconcile::{Cluster, Halt};
use crate::kinds::guest::hand::deed::ByHand;
use crate::kinds::guest::hand::target::{self, NoTarget, Target};
use crate::plan::assemble::Plan;
use crate::plan::gate::{Consent, DataLoss, gate};
use crate::report::{json as as_json, text};
use crate::resource::hand::Hand;
use crate::resource::observation::Observation;
use crate::resource::step::Note;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write;

/// Does something to a guest by hand.
pub fn order(global: &Global, order: &Order<'_>) -> Ended {
    let session = Session::open(global, None)?;
    let ended = block_on(run(global, &session, order, &AtTerminal))?;
    session.close()?;
    ended
}

/// The guest that somebody named, and what was read to find it.
pub async fn find(cluster: &Cluster<'_>, which: &Which) -> Result<(Target, Observation), Failure> {
    let kind = find_kind(&which.kind)?.name();
    if !target::is_guests(kind) {
        return Err(Failure::new(exit::USAGE, format!("{kind} is no kind of guests")).hint("vm, ct or template"));
    }
    let wire = |e: crate::pve::error::PveError| Failure::wire(exit::FAILED, &e);
    let index = index(cluster.api, cluster.clock, &BTreeSet::new()).await.map_err(wire)?;
    let reads = target::reads(kind, &which.name, &index);
    let seen = read_all(cluster.api, cluster.clock, index, reads).await.map_err(wire)?;
    match target::find(kind, &which.name, &seen) {
        Ok(target) => Ok((target, seen)),
        Err(why) => Err(absent(why, kind, &which.name)),
    }
}

/// Why a name names no guest, in words.
pub fn absent(why: NoTarget, kind: &str, name: &str) -> Failure {
    match why {
        NoTarget::Several(numbers) => {
            let list = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Failure::new(exit::REFUSED, format!("several guests are called `{name}`: {list}"))
                .hint("name it by its VMID")
        }
        NoTarget::Unread(vmid, why) => {
            Failure::new(exit::FAILED, format!("guest {vmid} could not be read: {why}")).hint("nothing was sent")
        }
        NoTarget::Absent { near, offline } => {
            let hint = match (near, offline) {
                (_, Some(node)) => format!("node {node} does not answer, and what is on it is not known"),
                (Some(near), None) => format!("did you mean `{near}`?"),
                (None, None) if kind == "guest" => "pvectl get vm and get ct list what there is".to_owned(),
                (None, None) => format!("pvectl get {kind} lists what there is; a name, or a VMID"),
            };
            Failure::new(exit::REFUSED, format!("there is no {kind} `{name}`")).hint(hint)
        }
    }
}

/// The whole of it, with somebody who may be asked.
pub async fn run(global: &Global, session: &Session, order: &Order<'_>, person: &dyn Person) -> Ended {
    let Order { which, agreed, make } = order;
    let cluster = session.cluster();
    let (target, seen) = find(&cluster, which).await?;
    let hand = ByHand { deed: make(&seen.index)?, target };
    drive(global, session, agreed, &hand, person).await
}

/// Several deeds: all of them are looked at before the first is done, and agreed to at once.
pub async fn together(
    global: &Global,
    session: &Session,
    agreed: &Agreed,
    hands: &[Box<dyn Hand>],
    person: &dyn Person,
) -> Ended {
    let cluster = session.cluster();
    let job = job(global, agreed, person);
    let mut against = 0;
    for hand in hands {
        let plan = preview(&cluster, hand.as_ref()).await.map_err(|e| Failure::wire(exit::FAILED, &e))?;
        announce(&plan, job.view());
        against += problems(&plan, None, &gate(&plan, &job.consent));
    }
    if against > 0 {
        return Err(stand_against(against));
    }
    if job.dry_run {
        return Ok(exit::DONE);
    }
    let agrees = job.yes
        || match person.answer("Do all of this? [y/N] ") {
            Some(answer) => matches!(answer.to_lowercase().as_str(), "y" | "yes"),
            None => global.sim,
        };
    if !agrees {
        return Err(declined());
    }
    let live = Live::new(job.view());
    let mut failed: Option<Failure> = None;
    for hand in hands {
        let ended = perform(&cluster, hand.as_ref(), &job.consent, &live, &|_| true).await;
        // One that fails holds up no other; each says why by itself, and the last of them is the end.
        if let Err(failure) = told(ended, &job)
            && let Some(earlier) = failed.replace(failure)
        {
            let _ = writeln!(anstream::stderr(), "error: {}", earlier.message);
        }
    }
    failed.map_or(Ok(exit::DONE), Err)
}

fn declined() -> Failure {
    Failure::new(exit::REFUSED, "not agreed to; nothing was sent").hint("on a terminal it asks; elsewhere say --yes")
}

/// How a deed ended that was shown before.
fn told(ended: Result<Performed, Halt>, job: &Job<'_>) -> Ended {
    match ended {
        Ok(performed) => finish(&performed, job.view()),
        Err(Halt::Unreadable(error)) => Err(Failure::wire(exit::FAILED, &error)),
        Err(Halt::Blind(blind)) => Err(Failure::wire(exit::FAILED, &blind.error)),
        Err(Halt::Declined(_)) => Err(declined()),
        Err(Halt::Refused(plan, refusals)) => Err(stand_against(problems(&plan, None, &refusals))),
    }
}

fn job<'a>(global: &'a Global, agreed: &'a Agreed, person: &'a dyn Person) -> Job<'a> {
    Job {
        global,
        format: agreed.format.output.as_ref(),
        yes: agreed.yes,
        dry_run: agreed.dry_run,
        consent: job::consent(&agreed.allow, None),
        person,
    }
}

/// One deed: shown, agreed to, done, and its end told.
pub async fn drive(global: &Global, session: &Session, agreed: &Agreed, hand: &dyn Hand, person: &dyn Person) -> Ended {
    let cluster = session.cluster();
    let job = job(global, agreed, person);
    if job.dry_run {
        let plan = preview(&cluster, hand).await.map_err(|e| Failure::wire(exit::FAILED, &e))?;
        announce(&plan, job.view());
        return match problems(&plan, None, &gate(&plan, &job.consent)) {
            0 => Ok(exit::DONE),
            count => Err(stand_against(count)),
        };
    }
    let live = Live::new(job.view());
    let agree = |plan: &Plan| {
        announce(plan, job.view());
        job.yes
            || match person.answer("Do this? [y/N] ") {
                Some(answer) => matches!(answer.to_lowercase().as_str(), "y" | "yes"),
                // Nobody is there, and nothing real is there to lose.
                None => global.sim,
            }
    };
    let mut ended = perform(&cluster, hand, &job.consent, &live, &agree).await;
    let mut shown = false;
    if let Err(Halt::Refused(plan, refusals)) = &ended
        && let Some(losing) = job.losing(refusals)
    {
        shown = true;
        announce(plan, job.view());
        if losing.iter().all(|resource| job.gives_up(resource)) {
            let consent = Consent { data_loss: DataLoss::Of(losing), ..job.consent.clone() };
            // It was shown, and the loss was agreed to by name: that is the yes.
            ended = perform(&cluster, hand, &consent, &live, &|now| now == plan).await;
        }
    }
    if let Err(Halt::Refused(plan, _)) = &ended
        && !shown
    {
        announce(plan, job.view());
    }
    told(ended, &job)
}

fn announce(plan: &Plan, view: View) {
    match view {
        View::Lines => plan.deltas.iter().for_each(|d| print(&text::delta(d, colour_out()))),
        View::Json => print(&format!("{}\n", json!({"event": "Planned", "plan": as_json::plan(plan)}))),
        View::Quiet => {}
    }
}

/// Tells the end.
fn finish(performed: &Performed, view: View) -> Ended {
    let Performed { first, last, warning, failure } = performed;
    let nothing = first.is_empty();
    let open: Vec<String> = last.deltas.iter().filter(|d| d.is_open()).map(|d| d.resource.to_string()).collect();
    if view == View::Json {
        let (why, steps) = (failure.as_ref().map(|(why, _)| why), usize::from(failure.is_none() && !nothing));
        print(&format!(
            "{}\n",
            json!({"event": "Finished", "steps": steps, "error": why, "warning": warning, "open": open})
        ));
    }
    if let Some((why, hint)) = failure {
        let failure = Failure::new(exit::FAILED, why);
        return Err(match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        });
    }
    let mut err = anstream::stderr();
    if let Some(warning) = warning {
        let _ = writeln!(err, "warning: {warning}");
    }
    if view == View::Lines {
        let told = first.deltas.iter().flat_map(|d| &d.notes).find_map(Note::info);
        let end = match (nothing, told) {
            (true, Some(told)) => format!("Nothing to do: {told}."),
            (true, None) => "Nothing to do.".to_owned(),
            (false, _) => format!("Done: {}.", what(first)),
        };
        let _ = writeln!(err, "{end}");
    }
    Ok(exit::DONE)
}

/// What was done, as it is now.
fn what(first: &Plan) -> String {
    let change = first.deltas.iter().flat_map(|d| d.changes.iter().map(move |c| (d, c))).next();
    change.map_or_else(String::new, |(delta, change)| {
        format!("{}: {} is now {}", delta.resource, change.path, change.to.as_deref().unwrap_or("gone"))
    })
}
