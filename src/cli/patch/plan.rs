//! `patch plan`: what each target would get, by the newest look for updates on its disk. With `--look` that look is made now;
//! nothing is installed, and no snapshot is taken.

use crate::cli::args::Global;
use crate::cli::args::patch::Plan as Args;
use crate::cli::exit;
use crate::cli::job;
use crate::cli::live::{Live, View};
use crate::cli::output::{self, Form, Format, utc};
use crate::cli::patch::status::times;
use crate::cli::patch::{Of, Scene, read, span, survey};
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::session::Session;
use crate::engine::execute::{Stop, execute};
use crate::host::state::{JobState, Phase};
use crate::kinds::patch_window::NAME;
use crate::kinds::patch_window::choose::{Choice, choose};
use crate::kinds::patch_window::decide::{Act, estimate};
use crate::kinds::patch_window::inside::Inside;
use crate::kinds::patch_window::node::decide::estimate as node_estimate;
use crate::kinds::patch_window::record::{Target, newest};
use crate::kinds::patch_window::spec::Order;
use crate::kinds::patch_window::steps::Work;
use crate::kinds::patch_window::waves::{NodeTurn, Turn};
use crate::kinds::patch_window::window::Opening;
use crate::plan::assemble::Plan;
use crate::pve::request::{Call, Method};
use crate::report::text::visible;
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::{Action, Delta, Impact, Step};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

/// How long a look for updates may take.
const LOOK_MAX: Duration = Duration::from_secs(15 * 60);
/// How often it is asked after.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// `patch plan`.
pub fn plan(global: &Global, args: &Args) -> Ended {
    let (tree, only) = read(&args.which)?;
    let session = job::open(global, &tree)?;
    let view = match (Format::is_json(args.format.output.as_ref()), global.quiet) {
        (_, true) => View::Quiet,
        // What is done goes to standard error; the plan is what is asked for.
        (true, false) => View::Quiet,
        (false, false) => View::Lines,
    };
    let mut failed = 0;
    let scene = block_on(async {
        if args.look {
            failed = look(&session, &survey(&session, &tree, &only).await?, view, &tree, &only).await?;
        }
        survey(&session, &tree, &only).await
    })??;
    session.close()?;
    let (windows, now) = (scene.windows(), scene.now());
    match &args.format.output {
        Some(Format::Name) => windows.iter().for_each(|of| print(&format!("{NAME}/{}\n", of.name))),
        Some(Format::Value(form)) => show(&windows, now, form)?,
        Some(Format::Table | Format::Wide) | None => {
            let texts: Vec<String> = windows.iter().map(|of| text(of, now)).collect();
            print(&texts.join("\n"));
        }
    }
    if failed > 0 {
        return Err(Failure::new(exit::FAILED, format!("{failed} looks for updates failed")));
    }
    Ok(exit::DONE)
}

fn show(windows: &[Of<'_>], now: i64, form: &Form) -> Result<(), Failure> {
    let all: Vec<Value> = windows.iter().map(|of| as_json(of, now)).collect();
    print(&output::write(&Value::from(all), form)?);
    Ok(())
}

/// Begins a look for updates in every guest that can be looked into, fetches the index on every node, and waits for all.
/// Returns how many failed.
async fn look(
    session: &Session,
    scene: &Scene<'_>,
    view: View,
    tree: &crate::cli::manifests::Tree,
    only: &BTreeSet<ResourceRef>,
) -> Result<usize, Failure> {
    let slot = scene.now();
    let mut plan = Plan { set: scene.set().to_owned(), ..Plan::default() };
    let windows = scene.windows();
    for of in &windows {
        let member = ResourceRef::new(NAME, of.name);
        for turn in &of.turns.turns {
            let guest = &turn.guest;
            let Some(state) = guest.inside.state() else { continue };
            let busy = guest.row.lock.is_some() || state.jobs.iter().any(|job| runs(job, slot));
            let work = Work { window: &of.token, set: scene.set(), spec: of.spec, guest };
            let identity =
                Identity::Guest { guest: guest.row.guest, vmid: guest.row.vmid, node: guest.row.node.clone() };
            if let (false, Ok(steps)) = (busy, work.steps(slot, &Act::Assess(1))) {
                plan.deltas.push(delta(member.member(guest.row.vmid), identity, steps));
            }
        }
        for turn in &of.turns.nodes {
            let node = turn.node.name;
            let call = Call::new(Method::Post, format!("/nodes/{node}/apt/update"));
            let step = Step::new("fetch the index of packages", call, Impact::None).task(node);
            let identity = Identity::Object { kind: "Node", id: node.to_owned() };
            plan.deltas.push(delta(member.member_node(node), identity, vec![step]));
        }
    }
    let cluster = session.cluster();
    let ended = execute(&cluster, &plan, &Live::new(view)).await;
    let mut failed = BTreeSet::new();
    for done in &ended {
        if let Some(Stop::Failed { step, error }) = &done.stop {
            let _ = writeln!(anstream::stderr(), "warning: {}: {step}: {error}", done.resource);
            failed.insert(done.resource.clone());
        }
    }
    let until = session.cluster().clock.now_ms() + u64::try_from(LOOK_MAX.as_millis()).unwrap_or(u64::MAX);
    loop {
        let scene = survey(session, tree, only).await?;
        let mut open = 0;
        for of in &scene.windows() {
            let member = ResourceRef::new(NAME, of.name);
            for turn in &of.turns.turns {
                match turn.guest.inside.latest(slot, "assess") {
                    Some((_, job)) if runs(job, scene.now()) => open += 1,
                    Some((_, job)) if job.phase != Phase::Done || job.exit != Some(0) => {
                        failed.insert(member.member(turn.guest.row.vmid));
                    }
                    Some(_) | None => {}
                }
            }
        }
        if open == 0 || session.cluster().clock.now_ms() >= until {
            return Ok(failed.len() + open);
        }
        session.cluster().clock.sleep(LOOK_EVERY).await;
    }
}

/// Whether a job is in progress; one without a sign of life for long is not.
fn runs(job: &JobState, now: i64) -> bool {
    job.phase == Phase::Running && now.saturating_sub(job.beat) < 600
}

fn delta(resource: ResourceRef, identity: Identity, steps: Vec<Step>) -> Delta {
    Delta { action: Action::Update, steps, ..Delta::none(resource, Some(identity)) }
}

/// What a target would get, and when.
pub struct Forecast {
    target: Target,
    wave: usize,
    /// What it is about; why that is not known.
    what: Result<What, String>,
    /// What it takes, in seconds.
    takes: i64,
    /// When its turn is; `None`: not before the window closes.
    starts: Option<i64>,
}

/// Updates, weighed.
struct What {
    system: String,
    /// When they were looked for.
    at: i64,
    /// Name, from, to, security where that is told.
    install: Vec<(String, String, String, Option<bool>)>,
    left: Vec<(String, String)>,
}

fn of_guest(of: &Of<'_>, turn: &Turn<'_>, when: i64) -> Forecast {
    let guest = &turn.guest;
    let decided = turn.decision.as_ref().and_then(|decision| decision.choice.clone());
    let what = match &guest.inside {
        Inside::Off => Err("it does not run".to_owned()),
        Inside::Silent(why) | Inside::Shut(why) | Inside::Away(why) => Err(why.clone()),
        Inside::Read { state, .. } => match newest(state) {
            None => Err("nobody has looked for its updates: --look does".to_owned()),
            Some(job) => {
                let choice = decided.unwrap_or_else(|| choose(job, &of.spec.updates, None, when));
                Ok(weighed(job, &choice, state))
            }
        },
    };
    let takes = estimate(guest, of.spec);
    Forecast { target: Target::of(guest.row), wave: turn.wave, what, takes, starts: None }
}

fn weighed(job: &JobState, choice: &Choice, state: &crate::host::state::State) -> What {
    let gone = |name: &str, version: &str| {
        let later = state.jobs.iter().filter(|later| later.started >= job.started);
        later.flat_map(|later| &later.changed).any(|changed| changed.name == name && changed.to == version)
    };
    let install = choice.install.iter().filter(|package| !gone(package.name.as_str(), package.version.as_str()));
    let install = install.map(|package| {
        let pending = job.pending.iter().find(|pending| pending.name == package.name.as_str());
        let from = pending.map_or_else(|| "-".to_owned(), |pending| pending.from.clone());
        (package.name.to_string(), from, package.version.to_string(), pending.map(|pending| pending.security))
    });
    What {
        system: format!("{} {}", job.os, job.release).trim_end().to_owned(),
        at: job.ended.unwrap_or(job.started),
        install: install.collect(),
        left: choice.left.clone(),
    }
}

fn of_node(turn: &NodeTurn<'_>, now: i64) -> Forecast {
    let node = &turn.node;
    let what = match (&node.inside, &node.pending) {
        (Inside::Shut(why) | Inside::Away(why) | Inside::Silent(why), _) | (_, Err(why)) => Err(why.clone()),
        (Inside::Off | Inside::Read { .. }, Ok(pending)) => Ok(What {
            system: "pve".to_owned(),
            at: now,
            install: pending.iter().map(|p| (p.name.clone(), p.from.clone(), p.to.clone(), None)).collect(),
            left: Vec::new(),
        }),
    };
    let target = Target::Node(node.name.to_owned());
    Forecast { target, wave: turn.wave, what, takes: node_estimate(node), starts: None }
}

impl Forecast {
    fn has_work(&self) -> bool {
        self.what.as_ref().is_ok_and(|what| !what.install.is_empty())
    }
}

/// What everybody would get in the opening that is there or comes next, and when.
pub fn forecasts(of: &Of<'_>, now: i64) -> (Option<Opening>, Vec<Forecast>) {
    let open = of.turns.opening.filter(|opening| opening.starts(now));
    let opening = open.or_else(|| of.window.next(now));
    let begin = opening.map_or(now, |opening| opening.slot.max(now));
    let guests: Vec<Forecast> = of.turns.turns.iter().map(|turn| of_guest(of, turn, begin)).collect();
    let nodes: Vec<Forecast> = of.turns.nodes.iter().map(|turn| of_node(turn, now)).collect();
    let mut all: Vec<Forecast> = match of.spec.order {
        Order::GuestsFirst => guests.into_iter().chain(nodes).collect(),
        Order::HostsFirst => nodes.into_iter().chain(guests).collect(),
    };
    all.sort_by_key(|forecast| forecast.wave);
    if let Some(opening) = opening {
        let lanes = usize::try_from(of.spec.max_concurrent.max(1)).unwrap_or(1);
        let soak = |wave: usize| of.spec.waves.get(wave).and_then(|wave| wave.soak).map_or(0, |soak| soak.0);
        timed(&mut all, opening, begin, lanes, |wave| i64::try_from(soak(wave)).unwrap_or(i64::MAX));
    }
    (opening, all)
}

/// Gives everybody with work a time: a lane of so many, wave after wave, nodes by themselves.
fn timed(all: &mut [Forecast], opening: Opening, begin: i64, lanes: usize, soak: impl Fn(usize) -> i64) {
    let mut free = vec![begin; lanes];
    let (mut wave, mut nodes) = (0, false);
    for forecast in all.iter_mut().filter(|forecast| forecast.has_work()) {
        let node = matches!(forecast.target, Target::Node(_));
        let all_free = free.iter().copied().max().unwrap_or(begin);
        if forecast.wave != wave {
            let worked = all_free > begin;
            let ready = if worked { all_free.saturating_add(soak(wave)) } else { all_free };
            free.fill(ready);
        } else if node || node != nodes {
            // Guests and nodes are not worked on at once, and nodes one by one.
            free.fill(all_free);
        }
        (wave, nodes) = (forecast.wave, node);
        let Some(lane) = free.iter_mut().min() else { continue };
        if *lane < opening.cutoff && lane.saturating_add(forecast.takes) <= opening.end {
            forecast.starts = Some(*lane);
            *lane = lane.saturating_add(forecast.takes);
        }
    }
}

/// For people.
pub fn text(of: &Of<'_>, now: i64) -> String {
    let (opening, all) = forecasts(of, now);
    let mut out = format!("{NAME}/{}: {}\n", of.name, times(of, now));
    if let Some(why) = &of.turns.halted {
        out += &format!("  {why}\n");
    }
    let mut wave = None;
    for forecast in &all {
        if of.spec.waves.len() > 1 && wave != Some(forecast.wave) {
            wave = Some(forecast.wave);
            let note = if forecast.wave > 0 { ", gets what the wave before got" } else { "" };
            out += &format!("  wave {}{note}\n", forecast.wave + 1);
        }
        out += &target(of, forecast, opening, now);
    }
    let work = all.iter().filter(|forecast| forecast.has_work()).count();
    let fits = all.iter().filter(|forecast| forecast.starts.is_some()).count();
    out += &match (work, work - fits) {
        (0, _) => "Nothing to install.\n".to_owned(),
        (work, 0) => format!("{} to update; all of it fits into the window.\n", targets(work)),
        (work, late) => format!("{} to update; {late} of them do not fit into the window.\n", targets(work)),
    };
    out
}

fn targets(count: usize) -> String {
    crate::base::quantity::counted(count, "target")
}

fn target(of: &Of<'_>, forecast: &Forecast, opening: Option<Opening>, now: i64) -> String {
    let Forecast { target, what, takes, starts, .. } = forecast;
    let what = match what {
        Ok(what) => what,
        Err(why) => return format!("    {target}: not known: {}\n", visible(why)),
    };
    let age = match target {
        Target::Guest { .. } => format!(", looked for {} ago", span(now.saturating_sub(what.at).max(0))),
        Target::Node(_) => String::new(),
    };
    let count = what.install.len();
    let mut out = format!("    {}, {}: ", visible(&target.to_string()), visible(&what.system));
    out += &match (count, opening, starts) {
        (0, _, _) => format!("nothing to install{age}\n"),
        (_, Some(_), Some(starts)) => {
            let end = of.local(starts.saturating_add(*takes));
            format!("{count} to install{age}; about {}, from {} to {end}\n", span(*takes), of.local(*starts))
        }
        (_, Some(_), None) => {
            format!("{count} to install{age}; about {}, does not fit into the window\n", span(*takes))
        }
        (_, None, _) => format!("{count} to install{age}\n"),
    };
    for (name, from, to, security) in &what.install {
        let security = if *security == Some(true) { "  security" } else { "" };
        out += &format!("      {}  {} → {}{security}\n", visible(name), visible(from), visible(to));
    }
    for (name, why) in &what.left {
        out += &format!("      {} is left: {}\n", visible(name), visible(why));
    }
    out
}

fn as_json(of: &Of<'_>, now: i64) -> Value {
    let (opening, all) = forecasts(of, now);
    let one = |forecast: &Forecast| {
        let Forecast { target, wave, what, takes, starts } = forecast;
        let mut value = json!({
            "target": target.key(), "label": target.to_string(), "wave": wave + 1, "takesSeconds": takes,
            "starts": starts.and_then(utc), "fits": starts.is_some(),
        });
        match what {
            Ok(what) => {
                let install = what.install.iter().map(
                    |(name, from, to, security)| json!({"name": name, "from": from, "to": to, "security": security}),
                );
                value["system"] = json!(what.system);
                value["looked"] = json!(utc(what.at));
                value["install"] = install.collect();
                value["left"] = what.left.iter().map(|(name, why)| json!({"name": name, "why": why})).collect();
            }
            Err(why) => value["unknown"] = json!(why),
        }
        value
    };
    json!({
        "window": of.name, "opens": opening.and_then(|opening| utc(opening.slot)),
        "cutoff": opening.and_then(|opening| utc(opening.cutoff)),
        "closes": opening.and_then(|opening| utc(opening.end)), "halted": of.turns.halted,
        "targets": all.iter().map(one).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast(node: Option<&str>, wave: usize, takes: i64, work: bool) -> Forecast {
        let guest = || Target::Guest {
            vmid: crate::base::id::VmId::new(100).expect("a number of a guest"),
            guest: crate::base::id::GuestType::Lxc,
            name: String::new(),
        };
        let install = if work { vec![("a".into(), "1".into(), "2".into(), None)] } else { Vec::new() };
        Forecast {
            target: node.map_or_else(guest, |node| Target::Node(node.to_owned())),
            wave,
            what: Ok(What { system: String::new(), at: 0, install, left: Vec::new() }),
            takes,
            starts: None,
        }
    }

    fn starts(mut all: Vec<Forecast>, lanes: usize) -> Vec<Option<i64>> {
        let opening = Opening { slot: 0, cutoff: 900, end: 1000 };
        timed(&mut all, opening, 10, lanes, |_| 100);
        all.into_iter().map(|forecast| forecast.starts).collect()
    }

    #[test]
    fn turns_are_taken_in_lanes_and_waves_soak() {
        let all = vec![
            forecast(None, 0, 300, true),
            forecast(None, 0, 100, true),
            forecast(None, 0, 100, false),
            forecast(None, 0, 100, true),
            forecast(None, 1, 300, true),
            forecast(None, 1, 700, true),
        ];
        assert_eq!(starts(all, 2), [Some(10), Some(10), None, Some(110), Some(410), None]);
    }

    #[test]
    fn nodes_come_one_by_one_and_not_beside_guests() {
        let all =
            vec![forecast(None, 0, 100, true), forecast(Some("a"), 0, 200, true), forecast(Some("b"), 0, 200, true)];
        assert_eq!(starts(all, 3), [Some(10), Some(110), Some(310)]);
    }
}
