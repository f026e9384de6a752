//! One run of the engine with its circumstances: shown, agreed to, watched, summed up.

use crate::cli::args::{Allow, Global, Guards};
use crate::cli::diff::show;
use crate::cli::ending::{finish, went_blind};
use crate::cli::exit;
use crate::cli::live::{Live, View};
use crate::cli::manifests::Tree;
use crate::cli::output::Format;
use crate::cli::problems::problems;
use crate::cli::run::{Ended, Failure, colour_out, print};
use crate::cli::session::Session;
use crate::engine::reconcile::{Halt, preview, reconcile};
use crate::manifest::load::Loaded;
use crate::plan::assemble::{Plan, Settings};
use crate::plan::desired::DesiredSet;
use crate::plan::gate::{Consent, DataLoss, Refusal, gate};
use crate::report::{json as as_json, text};
use crate::resource::reference::ResourceRef;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, Write};

/// What the engine is to look at, as the flags say. `-l` and `--prune` exclude each other: what was not read is not gone.
pub fn settings(tree: &Tree, guards: &Guards, session: &Session) -> Result<Settings, Failure> {
    if guards.prune && tree.loaded.partial {
        let failure = Failure::new(exit::USAGE, "--prune wants the whole tree: what was not read is not gone");
        return Err(failure.hint("name the folder that holds pvectl.yaml"));
    }
    if guards.prune && tree.desired.resources.is_empty() {
        let failure = Failure::new(exit::USAGE, "--prune with manifests that declare nothing would delete everything");
        return Err(failure.hint("if that is what you want: pvectl delete, object by object"));
    }
    if guards.prune && tree.only.is_some() {
        return Err(Failure::new(exit::USAGE, "--prune and -l do not go together: what a selector hides is not gone"));
    }
    Ok(Settings {
        partial: tree.loaded.partial,
        prune: guards.prune,
        only: tree.only.clone(),
        root_ticket: session.root_ticket,
        links: session.links.clone(),
        ways: session.ways(),
        left_lock: session.left_lock(),
        ..Settings::default()
    })
}

/// What the flags permit.
pub fn consent(allow: &[Allow], max_deletes: Option<usize>) -> Consent {
    let data_loss = if allow.contains(&Allow::DataLoss) { DataLoss::Any } else { DataLoss::Refused };
    Consent { data_loss, max_deletes }
}

/// The cluster that the flags name, or else the manifests' `pvectl.yaml`.
pub fn open(global: &Global, tree: &Tree) -> Result<Session, Failure> {
    let context = tree.loaded.settings.as_ref().and_then(|s| s.context.as_ref()).map(|(name, _)| name.as_str());
    Ok(Session::open(global, context)?)
}

/// One run of the engine with its circumstances.
pub struct Job<'a> {
    /// Flags of every verb.
    pub global: &'a Global,
    /// Where the plan goes, and whether events are wanted as JSON.
    pub format: Option<&'a Format>,
    /// `--yes`.
    pub yes: bool,
    /// `--dry-run`.
    pub dry_run: bool,
    /// What is permitted.
    pub consent: Consent,
    /// Who is asked.
    pub person: &'a dyn Person,
}

/// Somebody who may be asked, in words.
pub trait Person: Sync {
    /// What they answer; `None`: nobody is there.
    fn answer(&self, question: &str) -> Option<String>;
}

/// Whoever sits at the terminal that is our standard input.
pub struct AtTerminal;

impl Person for AtTerminal {
    fn answer(&self, question: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let _ = write!(anstream::stderr(), "{question}");
        let _ = anstream::stderr().flush();
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).is_ok().then(|| line.trim().to_owned())
    }
}

impl Job<'_> {
    /// Makes the cluster as the set says, or shows what that would take.
    pub async fn run(
        &self,
        session: &Session,
        desired: &DesiredSet,
        settings: &Settings,
        loaded: Option<&Loaded>,
    ) -> Ended {
        if self.dry_run {
            let plan =
                preview(&session.cluster(), desired, settings).await.map_err(|e| Failure::wire(exit::FAILED, &e))?;
            show(&plan, self.format)?;
            return match problems(&plan, loaded, &gate(&plan, &self.consent)) {
                0 => Ok(exit::DONE),
                count => Err(stand_against(count)),
            };
        }
        let live = Live::new(self.view());
        let agree = |plan: &Plan| {
            self.announce(plan);
            self.yes
                || match self.person.answer("Do this? [y/N] ") {
                    Some(answer) => matches!(answer.to_lowercase().as_str(), "y" | "yes"),
                    // Nobody is there, and nothing real is there to lose.
                    None => self.global.sim,
                }
        };
        let (cluster, consent) = (session.cluster(), self.consent.clone());
        let mut asked = false;
        let mut ended = reconcile(&cluster, desired, settings, consent, &live, &agree).await;
        if let Err(Halt::Refused(plan, refusals)) = &ended
            && let Some(losing) = self.losing(refusals)
        {
            asked = true;
            self.announce(plan);
            if losing.iter().all(|resource| self.gives_up(resource)) {
                let consent = Consent { data_loss: DataLoss::Of(losing), ..self.consent.clone() };
                // The plan was shown, and every loss in it was agreed to by name: that is the yes.
                ended = reconcile(&cluster, desired, settings, consent, &live, &|now| now == plan).await;
            }
        }
        match ended {
            Ok(report) => finish(&report, self.view()),
            Err(Halt::Unreadable(error)) => Err(Failure::wire(exit::FAILED, &error)),
            Err(Halt::Blind(blind)) => Err(went_blind(&blind, self.view())),
            Err(Halt::Declined(_)) => Err(Failure::new(exit::REFUSED, "not agreed to; nothing was sent")
                .hint("on a terminal it asks; elsewhere say --yes")),
            Err(Halt::Refused(plan, refusals)) => {
                if self.view() == View::Lines && !asked {
                    print(&text::plan(&plan, colour_out()));
                }
                Err(stand_against(problems(&plan, loaded, &refusals)))
            }
        }
    }

    /// How the run is shown.
    pub fn view(&self) -> View {
        match (Format::is_json(self.format), self.global.quiet) {
            (true, _) => View::Json,
            (false, true) => View::Quiet,
            (false, false) => View::Lines,
        }
    }

    fn announce(&self, plan: &Plan) {
        match self.view() {
            View::Lines => print(&text::plan(plan, colour_out())),
            View::Json => print(&format!("{}\n", json!({"event": "Planned", "plan": as_json::plan(plan)}))),
            View::Quiet => {}
        }
    }

    /// The resources that would lose data, if nothing else stands against the plan and we may ask.
    pub fn losing(&self, refusals: &[Refusal]) -> Option<BTreeSet<ResourceRef>> {
        if self.yes || self.view() != View::Lines {
            return None;
        }
        let loss = |refusal: &Refusal| match refusal {
            Refusal::DataLoss(resource, _) => Some(resource.clone()),
            Refusal::Problem(..) | Refusal::TooManyDeletes { .. } => None,
        };
        refusals.iter().map(loss).collect()
    }

    /// A person types the name of what they give up.
    pub fn gives_up(&self, resource: &ResourceRef) -> bool {
        let question = format!("This destroys data of {resource}. To agree, type its name: ");
        self.person.answer(&question).is_some_and(|a| a == resource.name || a == resource.to_string())
    }
}

/// The end of a plan that something stands against.
pub fn stand_against(count: usize) -> Failure {
    let things = if count == 1 { "1 thing stands" } else { &format!("{count} things stand") };
    Failure::new(exit::REFUSED, format!("{things} against this plan; nothing was sent"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Cli;
    use crate::cli::run::block_on;
    use crate::manifest::load::{Input, load};
    use clap::Parser;
    use std::sync::Mutex;

    const MANIFESTS: &str = "
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: one}
spec: {vmid: 501, node: pve1, disks: [{slot: scsi0, storage: local-lvm, size: 1Gi}]}
---
apiVersion: pvectl/v1alpha1
kind: VirtualMachine
metadata: {name: two}
spec: {vmid: 502, node: pve1}
";

    /// Gives its answers one by one, and then is gone.
    struct Canned(Mutex<Vec<&'static str>>);

    impl Person for Canned {
        fn answer(&self, _: &str) -> Option<String> {
            self.0.lock().expect("no holder panics").pop().map(str::to_owned)
        }
    }

    /// Creates two machines, deletes them with the given answers; says how that ended and whether they are still there.
    fn deleted(answers: &[&'static str], more: Flags) -> (Result<u8, u8>, usize) {
        let folder = tempfile::TempDir::new().expect("a folder of its own");
        let state = folder.path().join("sim.json").display().to_string();
        let cli = Cli::parse_from(["pvectl", "--sim", "--sim-state", &state, "-q", "version"]);
        let loud = Cli::parse_from(["pvectl", "--sim", "--sim-state", &state, "version"]);
        let mut loaded = load(&[Input::Text { name: "t".into(), bytes: MANIFESTS.into() }], false, &["VirtualMachine"]);
        let desired = crate::bind::documents::bind(&mut loaded, None);
        let session = Session::open(&cli.global, None).expect("a simulator");
        let everything = BTreeSet::from_iter(desired.resources.keys().cloned());
        let person = Canned(Mutex::new(answers.iter().rev().copied().collect()));
        let job = Job {
            global: &cli.global,
            format: None,
            yes: true,
            dry_run: false,
            consent: Consent::default(),
            person: &person,
        };
        let made = block_on(job.run(&session, &desired, &Settings::default(), None)).expect("a runtime");
        assert_eq!(made.map_err(|f| f.message), Ok(exit::DONE));
        let consent = Consent { max_deletes: more.max_deletes, ..Consent::default() };
        let job = Job { global: &loud.global, yes: more.yes, consent, ..job };
        let settings = Settings { delete: everything.clone(), only: Some(everything), ..Settings::default() };
        let ended = block_on(job.run(&session, &desired, &settings, None)).expect("a runtime");
        let rows = block_on(session.cluster().api.get(&crate::pve::request::Query::new("/cluster/resources")));
        let rows = rows.expect("a runtime").expect("an answer").to_string();
        (ended.map_err(|f| f.code), ["501", "502"].iter().filter(|id| rows.contains(&format!("\"vmid\":{id}"))).count())
    }

    #[derive(Default)]
    struct Flags {
        yes: bool,
        max_deletes: Option<usize>,
    }

    #[test]
    fn data_is_given_up_by_typing_each_name() {
        assert_eq!(deleted(&["one", "VirtualMachine/two"], Flags::default()), (Ok(exit::DONE), 0));
    }

    #[test]
    fn a_name_that_is_not_typed_keeps_everything() {
        for answers in [&["one"][..], &["one", "y"], &["yes", "yes"], &[]] {
            assert_eq!(deleted(answers, Flags::default()), (Err(exit::REFUSED), 2), "{answers:?}");
        }
    }

    #[test]
    fn a_yes_on_the_command_line_gives_up_nothing() {
        assert_eq!(deleted(&["one", "two"], Flags { yes: true, ..Flags::default() }), (Err(exit::REFUSED), 2));
    }

    #[test]
    fn what_else_stands_against_a_plan_is_not_asked_away() {
        let few = Flags { max_deletes: Some(1), ..Flags::default() };
        assert_eq!(deleted(&["one", "two"], few), (Err(exit::REFUSED), 2));
    }
}
