//! `runners list`: the machines of pools. And `get RunnerPool`: the pools themselves.

use crate::base::quantity::counted;
use crate::cli::args::runners::List;
use crate::cli::args::{self, Global};
use crate::cli::exit;
use crate::cli::output::{self, Format, table};
use crate::cli::patch::span;
use crate::cli::run::{Ended, print};
use crate::cli::runners::{Of, look_once, read};
use crate::kinds::runner_pool::NAME;
use crate::kinds::runner_pool::judge::Stage;
use crate::kinds::runner_pool::standing::MachineStanding;
use crate::report::text::visible;
use serde_json::{Value, json};

/// `runners list`.
pub fn list(global: &Global, args: &List) -> Ended {
    let (tree, only) = read(&args.pools, &args.files)?;
    let scene = look_once(global, &tree, &only)?;
    let (pools, now) = (scene.pools(), scene.now());
    let machines = || pools.iter().flat_map(|of| of.stands.machines.iter().map(move |machine| (of, machine)));
    match &args.format.output {
        Some(Format::Name) => machines().for_each(|(_, machine)| print(&format!("{}\n", machine.name))),
        Some(Format::Value(form)) => {
            let all: Vec<Value> = pools.iter().map(|of| json!(of.record(now).pool)).collect();
            print(&output::write(&Value::from(all), form)?);
        }
        shown @ (Some(Format::Table | Format::Wide) | None) => {
            let wide = matches!(shown, Some(Format::Wide));
            let mut head = vec!["MACHINE", "POOL", "VMID", "NODE", "STAGE", "SINCE", "JOB"];
            if wide {
                head.extend(["RUNNER", "VERSION", "ADDRESS"]);
            }
            head.push("DETAIL");
            print(&table(&head, machines().map(|(of, machine)| row(of, machine, now, wide))));
            for of in &pools {
                print(&about(of, now));
            }
        }
    }
    Ok(exit::DONE)
}

fn row(of: &Of<'_>, machine: &MachineStanding, now: i64, wide: bool) -> Vec<String> {
    let mut row = vec![
        machine.name.clone(),
        of.name.to_owned(),
        machine.vmid.to_string(),
        machine.node.clone(),
        machine.stage.as_str().to_owned(),
        machine.since.map(|since| span((now - since).max(0))).unwrap_or_default(),
        machine.job.as_ref().map(|(name, repository)| visible(&format!("{repository}: {name}"))).unwrap_or_default(),
    ];
    if wide {
        row.extend([
            machine.runner.as_ref().map(|runner| runner.id.to_string()).unwrap_or_default(),
            machine.version.clone().unwrap_or_default(),
            machine.address.map(|address| address.to_string()).unwrap_or_default(),
        ]);
    }
    row.push(visible(&detail(machine)));
    row
}

/// Why it failed, and what it waits for.
pub fn detail(machine: &MachineStanding) -> String {
    let failed = machine.failure.as_ref().map(|failure| match failure.why.as_str() {
        "" => failure.cause.as_str().to_owned(),
        why => format!("{}: {why}", failure.cause.as_str()),
    });
    let parts: Vec<String> = failed.into_iter().chain(machine.waits.clone()).collect();
    parts.join("; ")
}

/// What is to be known of a pool besides its machines: what is wanted, what waits, what stands in the way.
pub fn about(of: &Of<'_>, now: i64) -> String {
    let stands = &of.stands;
    let mut text = format!("\n{NAME}/{}: {}\n", of.name, numbers(of, now));
    for condition in &stands.conditions {
        let sign = if condition.warns { "!" } else { "·" };
        text += &format!("  {sign} {}: {}\n", condition.reason, visible(&condition.message));
    }
    for runner in &stands.orphans {
        text += &format!(
            "  · {} is registered and has no machine: its registration is taken away\n",
            visible(&runner.name)
        );
    }
    for (name, why) in &stands.strangers {
        text += &format!("  · runner {} is left alone: {}\n", visible(name), visible(why));
    }
    for foreign in &stands.foreign {
        let name = visible(&foreign.name);
        text += &format!("  · guest {} ({name}) is left alone: {}\n", foreign.vmid, visible(&foreign.why));
    }
    text
}

/// In numbers: `2 machines (3 wanted, 1 of them idle, at most 4); 1 job waiting (for 40s), 1 running`.
pub fn numbers(of: &Of<'_>, now: i64) -> String {
    let stands = &of.stands;
    let there = stands.machines.iter().filter(|machine| machine.stage.serves()).count();
    let jobs = match (&stands.demand, of.spec.asks()) {
        (_, false) => "jobs are not asked for".to_owned(),
        (Err(why), true) => format!("it is not known how many jobs wait: {}", visible(why)),
        (Ok(demand), true) => {
            let waiting = demand.waiting();
            let since = demand.waiting_since.filter(|_| waiting > 0);
            let since = since.map(|since| format!(" (for {})", span((now - since).max(0)))).unwrap_or_default();
            format!(
                "{waiting} {} waiting{since}, {} running",
                if waiting == 1 { "job" } else { "jobs" },
                demand.running
            )
        }
    };
    format!(
        "{} ({} wanted, {} of them idle, at most {}); {jobs}",
        counted(there, "machine"),
        stands.target,
        stands.idle_wanted,
        stands.max
    )
}

/// `get RunnerPool`.
pub fn get(global: &Global, args: &args::Get) -> Ended {
    let (tree, only) = read(&args.names, &args.files)?;
    let scene = look_once(global, &tree, &only)?;
    let (pools, now) = (scene.pools(), scene.now());
    match &args.format.output {
        Some(Format::Name) => pools.iter().for_each(|of| print(&format!("{NAME}/{}\n", of.name))),
        Some(Format::Value(form)) => {
            let all: Vec<Value> = pools.iter().map(|of| json!(of.record(now).pool)).collect();
            print(&output::write(&Value::from(all), form)?);
        }
        Some(Format::Table | Format::Wide) | None => {
            let rows = pools.iter().map(|of| {
                let record = of.record(now).pool;
                let count = |stage: Stage| of.stands.machines.iter().filter(|m| m.stage == stage).count().to_string();
                let starting = of.stands.machines.iter().filter(|m| m.stage.is_starting()).count();
                let failed = of.stands.machines.iter().filter(|m| m.failure.is_some()).count();
                let jobs = |jobs: Option<u32>| jobs.map_or_else(|| "-".to_owned(), |jobs| jobs.to_string());
                let waiting = record.assigned.zip(record.running).map(|(all, run)| all.saturating_sub(run));
                vec![
                    of.name.to_owned(),
                    record.scope,
                    record.demand,
                    jobs(waiting),
                    count(Stage::Busy),
                    count(Stage::Idle),
                    starting.to_string(),
                    failed.to_string(),
                    format!("{}/{}", of.stands.target, of.stands.max),
                ]
            });
            let head = ["NAME", "SCOPE", "DEMAND", "WAITING", "BUSY", "IDLE", "STARTING", "FAILED", "TARGET"];
            print(&table(&head, rows));
        }
    }
    Ok(exit::DONE)
}
