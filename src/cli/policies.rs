//! Snapshot policies as people look at them: `get` and `describe`, and `snapshot prune`. A policy stands in manifests only, so
//! these verbs are given them; what it did is read off the guests.

use crate::cli::args::guests::SnapshotPrune;
use crate::cli::args::{self, Global};
use crate::cli::declared;
use crate::cli::exit;
use crate::cli::job::{self, AtTerminal, Job};
use crate::cli::manifests::Tree;
use crate::cli::output::{self, Form, Format, table, utc};
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::session::Session;
use crate::engine::observe::observe;
use crate::kinds::guest::hand::snapshot::{Row, list_query, rows};
use crate::kinds::snapshot_policy::NAME;
use crate::kinds::snapshot_policy::member::{Judged, Member, span};
use crate::kinds::snapshot_policy::name::prefix;
use crate::kinds::snapshot_policy::rule::{Rule, understand};
use crate::kinds::snapshot_policy::spec::SnapshotPolicySpec;
use crate::plan::assemble::{Plan, Settings, plan};
use crate::plan::desired::Desired;
use crate::plan::identify::identify;
use crate::report::text::note;
use crate::resource::index::GuestRow;
use crate::resource::observation::Observation;
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::{Action, Delta};
use crate::retention::play::{Policy as Played, until_when};
use crate::schedule::slots::Schedule;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many of its next times `describe` shows.
const NEXT_SHOWN: usize = 5;

/// Policies, and what the cluster says of them.
struct Scene {
    tree: Tree,
    seen: Observation,
    plan: Plan,
    identities: BTreeMap<ResourceRef, Identity>,
}

/// A policy of the manifests.
pub struct Policy<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is written.
    pub spec: &'a SnapshotPolicySpec,
    /// What it means.
    pub rule: Rule,
}

/// A guest of a policy with its snapshots.
struct Of<'a> {
    row: &'a GuestRow,
    /// `None`: they could not be read.
    snapshots: Option<Vec<Judged>>,
    /// When each that is kept will be let go, by its name.
    until: BTreeMap<String, Option<i64>>,
    next: Option<i64>,
    delta: Option<&'a Delta>,
}

/// A resource as a policy, if it is one that can be understood.
pub fn policy(want: &Desired) -> Option<Policy<'_>> {
    let spec = want.spec.downcast_ref::<SnapshotPolicySpec>()?;
    Some(Policy { name: &want.resource.name, spec, rule: understand(spec).ok()? })
}

async fn survey(session: &Session, tree: Tree, only: BTreeSet<ResourceRef>) -> Result<Scene, Failure> {
    let cluster = session.cluster();
    let settings = Settings { only: Some(only), ..Settings::default() };
    let seen = observe(&cluster, &tree.desired, &settings).await.map_err(|e| Failure::wire(exit::FAILED, &e))?;
    let plan = plan(&tree.desired, &seen, cluster.kinds, &settings);
    let identities = identify(&tree.desired, &seen).known;
    Ok(Scene { tree, seen, plan, identities })
}

impl Scene {
    fn policies(&self) -> impl Iterator<Item = Policy<'_>> {
        let asked = |want: &&Desired| self.plan.deltas.iter().any(|d| d.resource == want.resource);
        self.tree.desired.resources.values().filter(asked).filter_map(policy)
    }

    /// The guests of a policy; `far`: with when each snapshot will go, which takes a while.
    fn guests<'a>(&'a self, policy: &'a Policy<'a>, far: bool) -> Vec<Of<'a>> {
        let members: BTreeMap<&ResourceRef, &'a Delta> = self.plan.deltas.iter().map(|d| (&d.resource, d)).collect();
        let rows = policy.spec.selector.guests(&self.seen.index, &self.identities);
        rows.map(|row| self.guest(policy, row, &members, far)).collect()
    }

    fn guest<'a>(
        &'a self,
        policy: &'a Policy<'a>,
        row: &'a GuestRow,
        members: &BTreeMap<&ResourceRef, &'a Delta>,
        far: bool,
    ) -> Of<'a> {
        let Policy { name, spec, rule } = policy;
        let member =
            Member { policy: name, set: &self.tree.desired.set, now: self.seen.at, spec, rule, row, resource: None };
        let list = self.seen.value(&list_query(row)).map(rows);
        let snapshots = list.as_deref().map(|all| member.judged(all));
        let all = list.unwrap_or_default();
        let ours: Vec<&Row> =
            snapshots.iter().flatten().filter(|s| s.verdict.as_ref().is_some_and(|v| v.keep)).map(|s| &s.row).collect();
        let prefix = prefix(name, spec);
        let played = Played { schedule: &rule.schedule, keep: &rule.keep, prefix: &prefix };
        let items = member.items(&ours, &all);
        let times = if far { until_when(&items, played, self.seen.at) } else { Vec::new() };
        let until = ours.iter().map(|row| row.name.clone()).zip(times).collect();
        let resource = ResourceRef::new(NAME, *name).member(row.vmid);
        let delta = members.get(&resource).copied();
        Of { row, snapshots, until, next: member.next(), delta }
    }
}

/// A time in the zone of a schedule.
pub fn local(schedule: &Schedule, at: i64) -> String {
    Timestamp::from_second(at)
        .map(|time| time.to_zoned(schedule.zone().clone()).strftime("%Y-%m-%d %H:%M %:z").to_string())
        .unwrap_or_default()
}

impl Of<'_> {
    fn newest(&self) -> Option<i64> {
        self.delta.and_then(|delta| delta.newest)
    }

    fn ours(&self) -> usize {
        self.snapshots.iter().flatten().filter(|s| s.verdict.is_some()).count()
    }

    /// What is to be done, and why not.
    fn state(&self) -> String {
        let Some(delta) = self.delta else { return "not looked at".to_owned() };
        let steps = delta.steps.iter().map(|step| step.title.clone());
        let notes = delta.notes.iter().map(note).filter(|text| !text.is_empty());
        let problems = delta.problems.iter().map(|p| p.message.clone());
        let words: Vec<String> = steps.chain(notes).chain(problems).collect();
        match words.as_slice() {
            [] if delta.action == Action::NoOp => "as it shall be".to_owned(),
            words => words.join("; "),
        }
    }

    fn json(&self) -> Value {
        let Of { row, snapshots, next, .. } = self;
        let snapshots = snapshots.as_ref().map(|all| all.iter().map(|s| self.snapshot(s)).collect::<Vec<_>>());
        json!({
            "vmid": row.vmid.get(), "name": row.name, "newest": self.newest().and_then(utc), "next": next.and_then(utc),
            "state": self.state(), "snapshots": snapshots,
        })
    }

    fn snapshot(&self, one: &Judged) -> Value {
        let Judged { row, verdict } = one;
        let taken = row.time.and_then(|time| utc(i64::try_from(time).ok()?));
        let until = self.until.get(&row.name).copied().flatten().and_then(utc);
        let word = match verdict {
            Some(verdict) if verdict.keep => "keep",
            Some(_) => "prune",
            None => "leave",
        };
        json!({
            "name": row.name, "taken": taken, "verdict": word, "rule": verdict.as_ref().map(|v| v.reason.to_string()),
            "until": until,
        })
    }
}

/// `get SnapshotPolicy`.
pub fn get(global: &Global, args: &args::Get) -> Ended {
    let tree = declared::read(NAME, &args.files)?;
    let only = declared::chosen(NAME, &tree, &args.names)?;
    let scene = look(global, tree, only)?;
    let one = |policy: &Policy<'_>| {
        let guests = scene.guests(policy, false);
        let next = guests.iter().filter_map(|of| of.next).min().or_else(|| policy.rule.schedule.next(scene.seen.at));
        let snapshots: usize = guests.iter().map(Of::ours).sum();
        let open = guests.iter().filter(|of| of.delta.is_none_or(Delta::is_open)).count();
        (guests.len(), next, snapshots, open)
    };
    match &args.format.output {
        Some(Format::Name) => scene.policies().for_each(|p| print(&format!("{NAME}/{}\n", p.name))),
        Some(Format::Value(form)) => {
            let all = scene.policies().map(|policy| {
                let (guests, next, snapshots, open) = one(&policy);
                json!({
                    "name": policy.name, "schedule": policy.rule.schedule.text(), "next": next.and_then(utc),
                    "timeZone": policy.rule.schedule.zone_name(), "guests": guests, "snapshots": snapshots, "open": open,
                })
            });
            show(&Value::from(all.collect::<Vec<_>>()), form)?;
        }
        Some(Format::Table | Format::Wide) | None => {
            let rows = scene.policies().map(|policy| {
                let (guests, next, snapshots, open) = one(&policy);
                let schedule = &policy.rule.schedule;
                vec![
                    policy.name.to_owned(),
                    schedule.text().to_owned(),
                    schedule.zone_name().to_owned(),
                    next.map(|at| local(schedule, at)).unwrap_or_default(),
                    guests.to_string(),
                    snapshots.to_string(),
                    open.to_string(),
                ]
            });
            print(&table(&["NAME", "SCHEDULE", "ZONE", "NEXT", "GUESTS", "SNAPSHOTS", "OPEN"], rows));
        }
    }
    Ok(exit::DONE)
}

fn show(value: &Value, form: &Form) -> Result<(), Failure> {
    print(&output::write(value, form)?);
    Ok(())
}

fn look(global: &Global, tree: Tree, only: BTreeSet<ResourceRef>) -> Result<Scene, Failure> {
    let session = job::open(global, &tree)?;
    let scene = block_on(survey(&session, tree, only))??;
    session.close()?;
    Ok(scene)
}

/// `describe SnapshotPolicy`.
pub fn describe(global: &Global, args: &args::Describe) -> Ended {
    let tree = declared::read(NAME, &args.files)?;
    let only = declared::chosen(NAME, &tree, std::slice::from_ref(&args.name))?;
    let scene = look(global, tree, only)?;
    let Some(policy) = scene.policies().next() else {
        return Err(Failure::new(exit::FAILED, format!("{NAME}/{} cannot be understood", args.name)));
    };
    let far = matches!(args.format.output, Some(Format::Value(_)));
    let guests = scene.guests(&policy, far);
    let schedule = &policy.rule.schedule;
    let next: Vec<i64> =
        std::iter::successors(schedule.next(scene.seen.at), |at| schedule.next(*at)).take(NEXT_SHOWN).collect();
    match &args.format.output {
        Some(Format::Value(form)) => {
            let value = json!({
                "kind": NAME, "name": policy.name, "schedule": schedule.text(), "timeZone": schedule.zone_name(),
                "next": next.iter().filter_map(|at| utc(*at)).collect::<Vec<_>>(), "keep": policy.rule.keep.to_string(),
                "guests": guests.iter().map(Of::json).collect::<Vec<_>>(),
            });
            show(&value, form)?;
        }
        Some(Format::Name) => print(&format!("{NAME}/{}\n", policy.name)),
        Some(Format::Table | Format::Wide) | None => {
            print(&format!("Name:      {}\nKind:      {NAME}\n", policy.name));
            print(&format!("Schedule:  {} ({})\n", schedule.text(), schedule.zone_name()));
            for (n, at) in next.iter().enumerate() {
                print(&format!("{}{}\n", if n == 0 { "Next:      " } else { "           " }, local(schedule, *at)));
            }
            print(&format!("Keeps:     {}\nGuests:\n", policy.rule.keep));
            let rows = guests.iter().map(|of| {
                let age = of.newest().map(|at| span(scene.seen.at.saturating_sub(at)));
                vec![
                    of.row.vmid.to_string(),
                    of.row.name.clone(),
                    of.ours().to_string(),
                    age.unwrap_or_default(),
                    of.next.map(|at| local(schedule, at)).unwrap_or_default(),
                    of.state(),
                ]
            });
            let text = table(&["VMID", "NAME", "SNAPSHOTS", "NEWEST", "NEXT", "STATE"], rows);
            text.lines().for_each(|line| print(&format!("  {line}\n")));
        }
    }
    Ok(exit::DONE)
}

/// `snapshot prune`.
pub fn prune(global: &Global, args: &SnapshotPrune) -> Ended {
    let mut tree = declared::read(NAME, &args.files)?;
    let only = declared::chosen(NAME, &tree, &args.policy)?;
    if only.is_empty() {
        return Err(Failure::new(exit::USAGE, format!("the manifests declare no {NAME}")));
    }
    for want in tree.desired.resources.values_mut() {
        if let Some(spec) = want.spec.downcast_mut::<SnapshotPolicySpec>() {
            spec.prune_only = true;
        }
    }
    let session = job::open(global, &tree)?;
    if args.dry_run {
        let scene = block_on(survey(&session, tree, only))??;
        session.close()?;
        return table_of(&scene, args);
    }
    let settings = Settings { only: Some(only), ..job::settings(&tree, &args::Guards::default(), &session)? };
    let job = Job {
        global,
        format: args.format.output.as_ref(),
        yes: args.yes,
        dry_run: false,
        consent: job::consent(&[], None),
        person: &AtTerminal,
    };
    let ended = block_on(job.run(&session, &tree.desired, &settings, Some(&tree.loaded)))?;
    session.close()?;
    ended
}

/// Each snapshot of each guest, kept or pruned, by which rule, until when.
fn table_of(scene: &Scene, args: &SnapshotPrune) -> Ended {
    if let Some(Format::Value(form)) = &args.format.output {
        let all = scene.policies().map(|policy| {
            let guests: Vec<Value> = scene.guests(&policy, true).iter().map(Of::json).collect();
            json!({"policy": policy.name, "guests": guests})
        });
        show(&Value::from(all.collect::<Vec<_>>()), form)?;
        return Ok(exit::DONE);
    }
    let (mut kept, mut pruned, mut unread) = (0, 0, 0);
    for policy in scene.policies() {
        let schedule = &policy.rule.schedule;
        print(&format!("{NAME}/{}: {}\n", policy.name, policy.rule.keep));
        let guests = scene.guests(&policy, true);
        let mut rows = Vec::new();
        for of in &guests {
            unread += usize::from(of.snapshots.is_none());
            for Judged { row, verdict } in of.snapshots.iter().flatten() {
                let time = row.time.and_then(|t| i64::try_from(t).ok());
                let (word, rule) = match verdict {
                    Some(verdict) if verdict.keep => ("keep", verdict.reason.to_string()),
                    Some(verdict) => ("prune", verdict.reason.to_string()),
                    None if row.state.is_some() => ("leave", "it is not whole".to_owned()),
                    None => ("leave", "not of this policy".to_owned()),
                };
                kept += usize::from(word == "keep");
                pruned += usize::from(word == "prune");
                let until = match (word, of.until.get(&row.name)) {
                    ("keep", Some(Some(at))) => local(schedule, *at),
                    ("keep", _) => "further on".to_owned(),
                    _ => String::new(),
                };
                rows.push(vec![
                    format!("{} {}", of.row.vmid, of.row.name),
                    row.name.clone(),
                    time.map(|at| local(schedule, at)).unwrap_or_default(),
                    time.map(|at| span(scene.seen.at.saturating_sub(at))).unwrap_or_default(),
                    word.to_owned(),
                    rule,
                    until,
                ]);
            }
        }
        let text = table(&["GUEST", "SNAPSHOT", "TAKEN", "AGE", "VERDICT", "RULE", "UNTIL"], rows.into_iter());
        text.lines().for_each(|line| print(&format!("  {line}\n")));
    }
    print(&format!("{kept} kept, {pruned} to prune\n"));
    if unread > 0 {
        return Err(Failure::new(exit::FAILED, format!("the snapshots of {unread} guests could not be read")));
    }
    Ok(exit::DONE)
}
