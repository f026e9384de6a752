//! `runners describe`, and `describe RunnerPool`: a pool, or one machine, in full.

use crate::cli::args::{FormatArgs, Global};
use crate::cli::exit;
use crate::cli::output::{self, Format, table, utc};
use crate::cli::patch::span;
use crate::cli::run::{Ended, print};
use crate::cli::runners::list::{about, detail, numbers};
use crate::cli::runners::{Found, Of, find, look_once, read};
use crate::kinds::runner_pool::NAME;
use crate::kinds::runner_pool::spec::place;
use crate::kinds::runner_pool::standing::MachineStanding;
use crate::report::text::visible;
use serde_json::{Value, json};
use std::path::PathBuf;

/// `runners describe`.
pub fn describe(global: &Global, name: &str, files: &[PathBuf], format: &FormatArgs) -> Ended {
    let (tree, only) = read(&[], files)?;
    let scene = look_once(global, &tree, &only)?;
    let (pools, now) = (scene.pools(), scene.now());
    let found = find(&pools, name)?;
    let (value, text, label): (Value, String, String) = match found {
        Found::Pool(of) => (json!(of.record(now).pool), pool(of, now), format!("{NAME}/{}", of.name)),
        Found::Machine(of, one) => {
            let record = of.record(now).pool;
            let value = record.machines.iter().find(|machine| machine.name == one.name).map(|machine| json!(machine));
            (value.unwrap_or(Value::Null), machine(of, one, now), one.name.clone())
        }
    };
    match &format.output {
        Some(Format::Value(form)) => print(&output::write(&value, form)?),
        Some(Format::Name) => print(&format!("{label}\n")),
        Some(Format::Table | Format::Wide) | None => print(&text),
    }
    Ok(exit::DONE)
}

fn pool(of: &Of<'_>, now: i64) -> String {
    let (place, spec) = (place(of.spec), of.spec);
    let record = of.record(now).pool;
    let mut out = format!("Name:      {}\nKind:      {NAME}\n", of.name);
    out += &format!("GitHub:    {} at {}\n", record.scope, place.api);
    out += &format!("Labels:    {}\n", spec.labels.join(", "));
    out += &format!("Demand:    {}\n", record.demand);
    let (from, to) = (spec.vmid_range.0, spec.vmid_range.1);
    out += &format!("Template:  {}, as guests {from} to {to}\n", spec.template);
    out += &format!("Now:       {}\n", numbers(of, now));
    if let Some(next) = of.stands.next.filter(|next| *next > now) {
        out += &format!("Next:      looked at again in {} at the latest\n", span(next - now));
    }
    let more: String = about(of, now).lines().skip(2).map(|line| format!("{line}\n")).collect();
    if !more.is_empty() {
        out += "Notes:\n";
        out += &more;
    }
    if let Ok(demand) = &of.stands.demand
        && !demand.jobs.is_empty()
    {
        out += "Jobs:\n";
        let rows = demand.jobs.iter().map(|job| {
            let queued = Some(job.queued).filter(|at| *at > 0).map(|at| format!("{} ago", span((now - at).max(0))));
            vec![
                job.id.to_string(),
                visible(&job.repository),
                visible(&job.name),
                queued.unwrap_or_default(),
                job.runner.clone().unwrap_or_default(),
            ]
        });
        out += &indented(&table(&["JOB", "REPOSITORY", "NAME", "QUEUED", "RUNNER"], rows));
    }
    out += "Machines:\n";
    let rows = of.stands.machines.iter().map(|machine| {
        let since = machine.since.map(|since| span((now - since).max(0))).unwrap_or_default();
        let stage = machine.stage.as_str().to_owned();
        vec![machine.name.clone(), machine.node.clone(), stage, since, visible(&detail(machine))]
    });
    out + &indented(&table(&["MACHINE", "NODE", "STAGE", "SINCE", "DETAIL"], rows))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn machine(of: &Of<'_>, one: &MachineStanding, now: i64) -> String {
    let mut out = format!("Name:      {}\nPool:      {NAME}/{}\n", one.name, of.name);
    out += &format!("Guest:     {} {} on {}\n", one.guest, one.vmid, one.node);
    let since = one.since.map(|since| format!(" for {}", span((now - since).max(0)))).unwrap_or_default();
    out += &format!("Stage:     {}{since}\n", one.stage.as_str());
    let detail = detail(one);
    if !detail.is_empty() {
        out += &format!("Detail:    {}\n", visible(&detail));
    }
    match &one.runner {
        Some(runner) => {
            let state = match (runner.online, runner.busy) {
                (true, true) => "online, works",
                (true, false) => "online, idle",
                (false, true) => "offline, works",
                (false, false) => "offline",
            };
            let version = one.version.as_ref().map(|version| format!(", version {version}")).unwrap_or_default();
            out += &format!("Runner:    {} ({state}{version})\n", runner.id);
        }
        None => out += "Runner:    not registered\n",
    }
    if let Some((name, repository)) = &one.job {
        out += &format!("Job:       {}: {}\n", visible(repository), visible(name));
    }
    if let Some(address) = one.address {
        out += &format!("Address:   {address}\n");
    }
    let marks = &one.marks;
    let times = [
        ("made", Some(marks.made)),
        ("started", marks.started),
        ("registered", marks.registering),
        ("online", marks.online),
        ("busy", marks.busy),
        ("ended", marks.ended),
        ("failed", marks.failed.as_ref().map(|failure| failure.at)),
    ];
    out += "Times:\n";
    for (word, at) in times {
        if let Some(at) = at.filter(|at| *at > 0).and_then(utc) {
            out += &format!("  {word:<11}{at}\n");
        }
    }
    if marks.tries > 0 {
        out += &format!("Tries:     {} machines failed in a row before it\n", marks.tries);
    }
    out
}
